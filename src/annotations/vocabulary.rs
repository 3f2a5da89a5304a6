//! The words after the dot of an annotation's name, the names of formats, and the nearest right spelling of a wrong one.

use crate::annotations::error::Problem;
use crate::credential::Format;

/// A word after the dot that this version understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Word {
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

const WORDS: [(&str, Word); 16] = [
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
    ("template", Word::Template),
    ("template-from", Word::TemplateFrom),
    ("delimiters", Word::Delimiters),
    ("cluster", Word::Cluster),
];

/// What the annotations of vault-db-injector begin with.
pub const INJECTORS_PREFIX: &str = "db-creds-injector.numberly.io";

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

    pub(super) fn as_str(self) -> &'static str {
        WORDS
            .iter()
            .chain(&INJECTORS_WORDS)
            .find(|(_, word)| *word == self)
            .map_or("", |(spelling, _)| spelling)
    }
}

/// Reads a value of `.format`.
pub(super) fn parse_format(text: &str) -> Result<Format, Problem> {
    let text = text.trim();
    if let Some((_, format)) = Format::ALL.iter().find(|(spelling, _)| *spelling == text) {
        return Ok(*format);
    }
    let known = Format::ALL.iter().map(|(spelling, _)| *spelling);
    Err(Problem::UnknownFormat { format: text.to_owned(), nearest: nearest(text, known) })
}

/// The most characters of a wrong word that are compared, and the most edits between it and the right one.
const COMPARED_CHARACTERS: usize = 64;
const EDITS: usize = 2;

/// The candidate that `text` is most probably a misspelling of.
pub(super) fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let text: String = text.chars().take(COMPARED_CHARACTERS).collect::<String>().to_ascii_lowercase();
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= COMPARED_CHARACTERS)
        .map(|candidate| (strsim::osa_distance(&text, candidate), candidate))
        .filter(|(edits, candidate)| *edits <= EDITS && *edits < candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}
