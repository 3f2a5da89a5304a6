//! The annotation keys after the dot, as in `podcreds.io/db.secret`, and the values of `.format` and `.variable-format`.

use crate::annotations::error::Problem;
use crate::credential::{EnvFileFormat, Format};
use crate::text::nearest;

/// A key after the dot that this version supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AnnotationKey {
    Secret,
    Configmap,
    Service,
    Keys,
    Set,
    Format,
    Path,
    FileMode,
    Optional,
    OnChange,
    Engine,
    Variable,
    VariableFormat,
    Template,
    TemplateFrom,
    Delimiters,
    Cluster,
    Mode,
    EnvKeyDbuser,
    EnvKeyDbpassword,
    EnvKeyUri,
    Role,
}

const KEYS: [(&str, AnnotationKey); 17] = [
    ("secret", AnnotationKey::Secret),
    ("configmap", AnnotationKey::Configmap),
    ("service", AnnotationKey::Service),
    ("keys", AnnotationKey::Keys),
    ("set", AnnotationKey::Set),
    ("format", AnnotationKey::Format),
    ("path", AnnotationKey::Path),
    ("file-mode", AnnotationKey::FileMode),
    ("optional", AnnotationKey::Optional),
    ("on-change", AnnotationKey::OnChange),
    ("engine", AnnotationKey::Engine),
    ("variable", AnnotationKey::Variable),
    ("variable-format", AnnotationKey::VariableFormat),
    ("template", AnnotationKey::Template),
    ("template-from", AnnotationKey::TemplateFrom),
    ("delimiters", AnnotationKey::Delimiters),
    ("cluster", AnnotationKey::Cluster),
];

/// The annotation prefix of vault-db-injector.
pub(crate) const INJECTOR_PREFIX: &str = "db-creds-injector.numberly.io";

/// Keys of vault-db-injector. With its prefix they are supported in addition to [`KEYS`].
const INJECTOR_KEYS: [(&str, AnnotationKey); 5] = [
    ("mode", AnnotationKey::Mode),
    ("env-key-dbuser", AnnotationKey::EnvKeyDbuser),
    ("env-key-dbpassword", AnnotationKey::EnvKeyDbpassword),
    ("env-key-uri", AnnotationKey::EnvKeyUri),
    ("role", AnnotationKey::Role),
];

impl AnnotationKey {
    /// Reads the key of an annotation with this prefix.
    pub(super) fn parse(text: &str, prefix: &str) -> Result<Self, Problem> {
        let more: &[_] = if prefix == INJECTOR_PREFIX { &INJECTOR_KEYS } else { &[] };
        let known = || KEYS.iter().chain(more);
        if let Some((_, key)) = known().find(|(spelling, _)| *spelling == text) {
            return Ok(*key);
        }
        let known = known().map(|(spelling, _)| *spelling);
        Err(Problem::UnknownKey { key: text.to_owned(), nearest: nearest(text, known) })
    }

    pub(crate) fn as_str(self) -> &'static str {
        KEYS.iter().chain(&INJECTOR_KEYS).find(|(_, key)| *key == self).map_or("", |(spelling, _)| spelling)
    }
}

/// Reads a value of `.format`.
pub(crate) fn parse_format(text: &str) -> Result<Format, Problem> {
    let text = text.trim();
    if let Some((_, format)) = Format::ALL.iter().find(|(spelling, _)| *spelling == text) {
        return Ok(*format);
    }
    let known = Format::ALL.iter().map(|(spelling, _)| *spelling);
    Err(Problem::UnknownFormat { format: text.to_owned(), nearest: nearest(text, known) })
}

/// Reads a value of `.variable-format`.
pub(crate) fn parse_variable_format(text: &str) -> Result<EnvFileFormat, Problem> {
    let text = text.trim();
    let known = EnvFileFormat::ALL.into_iter().map(|file| (file.format().name(), file));
    if let Some((_, file)) = known.clone().find(|(spelling, _)| *spelling == text) {
        return Ok(file);
    }
    let nearest = nearest(text, known.map(|(spelling, _)| spelling));
    Err(Problem::UnknownVariableFormat { format: text.to_owned(), nearest })
}
