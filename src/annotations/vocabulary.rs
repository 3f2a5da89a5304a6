//! The words after the dot of an annotation's name, and the names of formats.

use crate::annotations::error::Problem;
use crate::credential::{EnvFileFormat, Format};
use crate::text::nearest;

/// A word after the dot that this version understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Word {
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

const WORDS: [(&str, Word); 17] = [
    ("secret", Word::Secret),
    ("configmap", Word::Configmap),
    ("service", Word::Service),
    ("keys", Word::Keys),
    ("set", Word::Set),
    ("format", Word::Format),
    ("path", Word::Path),
    ("file-mode", Word::FileMode),
    ("optional", Word::Optional),
    ("on-change", Word::OnChange),
    ("engine", Word::Engine),
    ("variable", Word::Variable),
    ("variable-format", Word::VariableFormat),
    ("template", Word::Template),
    ("template-from", Word::TemplateFrom),
    ("delimiters", Word::Delimiters),
    ("cluster", Word::Cluster),
];

/// What the annotations of vault-db-injector begin with.
pub(crate) const INJECTORS_PREFIX: &str = "db-creds-injector.numberly.io";

/// Words of vault-db-injector, beside ours with its prefix.
const INJECTORS_WORDS: [(&str, Word); 5] = [
    ("mode", Word::Mode),
    ("env-key-dbuser", Word::EnvKeyDbuser),
    ("env-key-dbpassword", Word::EnvKeyDbpassword),
    ("env-key-uri", Word::EnvKeyUri),
    ("role", Word::Role),
];

impl Word {
    /// The word, as it stands after the dot of an annotation with this prefix.
    pub(super) fn parse(text: &str, prefix: &str) -> Result<Self, Problem> {
        let more: &[_] = if prefix == INJECTORS_PREFIX { &INJECTORS_WORDS } else { &[] };
        let known = || WORDS.iter().chain(more);
        if let Some((_, word)) = known().find(|(spelling, _)| *spelling == text) {
            return Ok(*word);
        }
        let known = known().map(|(spelling, _)| *spelling);
        Err(Problem::UnknownWord { word: text.to_owned(), nearest: nearest(text, known) })
    }

    pub(crate) fn as_str(self) -> &'static str {
        WORDS
            .iter()
            .chain(&INJECTORS_WORDS)
            .find(|(_, word)| *word == self)
            .map_or("", |(spelling, _)| spelling)
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
