//! The annotation keys after the dot, as in `podcreds.io/db.secret`, and what the values of some mean: `.format` and
//! `.variable-format`, the lists of `.keys`, `.set` and `.override`, and the template with its format and delimiters.

use core::time::Duration;
use std::collections::BTreeSet;

use crate::annotations::Values;
use crate::annotations::error::Problem;
use crate::credential::{
    CredentialName, EnvFileFormat, FieldName, Format, JsonPointer, KeyEntry, KeyMapping, Naming,
    TemplateSource, parse_template_key,
};
use crate::duration::duration;
use crate::object::Namespace;
use crate::secret::{SecretBuffer, SecretBytes};
use crate::template::{Delimiters, Template};
use crate::text::{Excerpt, nearest};

/// A key after the dot that this version supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AnnotationKey {
    Secret,
    Configmap,
    Service,
    Keys,
    Set,
    Override,
    Prefix,
    Names,
    Trim,
    Format,
    Path,
    FileMode,
    Optional,
    OnChange,
    OnChangeHeader,
    Splay,
    Engine,
    Scheme,
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

pub(super) const KEYS: [(&str, AnnotationKey); 24] = [
    ("secret", AnnotationKey::Secret),
    ("configmap", AnnotationKey::Configmap),
    ("service", AnnotationKey::Service),
    ("keys", AnnotationKey::Keys),
    ("set", AnnotationKey::Set),
    ("override", AnnotationKey::Override),
    ("prefix", AnnotationKey::Prefix),
    ("names", AnnotationKey::Names),
    ("trim", AnnotationKey::Trim),
    ("format", AnnotationKey::Format),
    ("path", AnnotationKey::Path),
    ("file-mode", AnnotationKey::FileMode),
    ("optional", AnnotationKey::Optional),
    ("on-change", AnnotationKey::OnChange),
    ("on-change-header", AnnotationKey::OnChangeHeader),
    ("splay", AnnotationKey::Splay),
    ("engine", AnnotationKey::Engine),
    ("scheme", AnnotationKey::Scheme),
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
pub(super) const INJECTOR_KEYS: [(&str, AnnotationKey); 5] = [
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

/// The problem with an annotation like `podcreds.io/my.db.secret`, whose credential has a dot in its name.
pub(super) fn dotted_name(prefix: &str, rest: &str) -> Option<Problem> {
    let (name, key) = rest.rsplit_once('.')?;
    let name = CredentialName::parse(&name.replace('.', "-"))?;
    let key = AnnotationKey::parse(key, prefix).ok()?.as_str();
    Some(Problem::DottedName { suggestion: format!("{prefix}/{name}.{key}") })
}

/// Other words for formats.
const OTHER_FORMATS: [(&str, &str); 4] =
    [("jks", "pkcs12"), ("keystore", "pkcs12"), ("p12", "pkcs12"), ("pfx", "pkcs12")];

/// Reads a value of `.format`.
pub(crate) fn parse_format(text: &str) -> Result<Format, Problem> {
    let text = text.trim();
    if let Some((_, format)) = Format::ALL.iter().find(|(spelling, _)| *spelling == text) {
        return Ok(*format);
    }
    let known = Format::ALL.iter().map(|(spelling, _)| *spelling);
    let other = OTHER_FORMATS.iter().find(|(word, _)| *word == text).map(|(_, name)| *name);
    let nearest = other.or_else(|| nearest(text, known));
    Err(Problem::UnknownFormat { format: Excerpt::of_word(text, nearest), nearest })
}

/// Reads a value of `.variable-format`.
pub(crate) fn parse_variable_format(text: &str) -> Result<EnvFileFormat, Problem> {
    let text = text.trim();
    let known = EnvFileFormat::ALL.into_iter().map(|file| (file.format().name(), file));
    if let Some((_, file)) = known.clone().find(|(spelling, _)| *spelling == text) {
        return Ok(file);
    }
    let nearest = nearest(text, known.map(|(spelling, _)| spelling));
    Err(Problem::UnknownVariableFormat { format: Excerpt::of_word(text, nearest), nearest })
}

/// The longest value of `.prefix`, in characters.
const PREFIX_LIMIT: usize = 100;

/// Reads a value of `.prefix`.
pub(super) fn parse_prefix(text: &str) -> Result<String, Problem> {
    let text = text.trim();
    match FieldName::parse(text) {
        Ok(_) if text.len() <= PREFIX_LIMIT => Ok(text.to_owned()),
        _ => Err(Problem::InvalidPrefix { text: Excerpt::new(text) }),
    }
}

/// Reads a value of `.names`.
pub(super) fn parse_names(text: &str) -> Result<bool, Problem> {
    match text.trim() {
        "upper" => Ok(true),
        other => Err(Problem::InvalidNames { text: Excerpt::of_word(other, nearest(other, ["upper"])) }),
    }
}

/// Reads a value of `.splay`.
pub(super) fn parse_splay(text: &str) -> Result<Duration, Problem> {
    duration(text.trim()).map_err(|_| Problem::InvalidDuration { text: Excerpt::new(text.trim()) })
}

/// The maximum number of entries of `.keys`, `.set` and `.override`.
const ENTRY_LIMIT: usize = 256;

/// An invalid list. Messages show an entry's field, never its value.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ListError {
    #[error("empty list: add an entry, or remove the annotation")]
    Empty,
    #[error("has more than {ENTRY_LIMIT} entries")]
    TooLong,
    /// An entry of `.keys`. The message does not show it, because a user may have written `field=value`.
    #[error(
        "entry {0} has an invalid key or field name: write key, field=key or field=key#/json/pointer, with commas between entries and `?` after one that may be missing; a name has at most 253 letters, digits, `-`, `_` and `.`, and does not begin with `..`; a value that is not secret belongs in .set"
    )]
    InvalidName(usize),
    #[error(
        "entry {0} has a JSON pointer but no field name: write field=key#/member (`#` does not begin a comment here)"
    )]
    UnnamedPointer(usize),
    #[error(
        "entry {0} has an invalid JSON pointer after `#`: write key#/member or key#/member/member (RFC 6901), with `~1` for `/`, `~0` for `~`, and `%2C` for a comma; `#` does not begin a comment here"
    )]
    InvalidPointer(usize),
    /// An entry of `.set` without `=`. The message does not show it, because it may be part of a value.
    #[error("entry {0} has no `=`: write field=value, and quote a value that contains a comma or a newline")]
    NoValue(usize),
    /// An entry of `.set` whose field name is invalid. The message does not show it, because it may be part of a value.
    #[error(
        "entry {0} does not start with a field name (letters, digits, `-`, `_` and `.`): quote a value that contains a comma or a newline"
    )]
    NoField(usize),
    /// The same, for words that are a keyword of a driver.
    #[error(
        "entry {0} has spaces before its `=`: write a name without them, as in TrustServerCertificate=true, or, if the entry is a part of a value, quote the value"
    )]
    SpaceInField(usize),
    #[error("the value of field {0} has no closing quote")]
    Unclosed(FieldName),
    #[error(
        "the value of field {0} continues after its closing quote: add a comma, or quote the whole value"
    )]
    AfterQuote(FieldName),
    #[error("the value of field {0} has an unknown escape; supported: \\\\, \\\", \\n, \\r, \\t")]
    BadEscape(FieldName),
}

/// Reads `.keys`: `field`, `field=key` or `field=key#/json/pointer`, each with a `?` at its end if it may be missing, separated by commas
/// or newlines. An entry `field` means the key of that name, and its field is named as `naming` says.
/// Blank entries (after a trailing comma, or an empty line) are skipped, here and in [`assignments`].
pub(super) fn mappings(text: &str, naming: &Naming) -> Result<Vec<KeyEntry>, ListError> {
    let entries = text.split([',', '\n']).map(str::trim).filter(|entry| !entry.is_empty());
    let entries = entries.take(ENTRY_LIMIT + 1).zip(1..);
    check(entries.map(|(entry, number)| mapping(entry, number, naming)).collect::<Result<_, _>>()?)
}

fn mapping(entry: &str, number: usize, naming: &Naming) -> Result<KeyEntry, ListError> {
    let (entry, optional) = match entry.strip_suffix('?') {
        Some(entry) => (entry.trim_end(), true),
        None => (entry, false),
    };
    let name = |text: &str| FieldName::parse(text.trim()).map_err(|_| ListError::InvalidName(number));
    let Some((field, key)) = entry.split_once('=') else {
        if entry.contains('#') {
            return Err(ListError::UnnamedPointer(number));
        }
        return Ok(KeyEntry {
            field: name(&naming.apply(entry))?,
            key: name(entry)?,
            pointer: None,
            optional,
        });
    };
    let (key, pointer) = match key.split_once('#') {
        Some((key, pointer)) => {
            (key, Some(JsonPointer::parse(pointer).ok_or(ListError::InvalidPointer(number))?))
        }
        None => (key, None),
    };
    Ok(KeyEntry { field: name(field)?, key: name(key)?, pointer, optional })
}

/// Reads `field=value, …`. A single-quoted value is literal, a double-quoted value has the escapes `\\ \" \n \r \t`, and an
/// unquoted value is trimmed and ends before the next comma or newline.
pub(crate) fn assignments(text: &str) -> Result<Vec<(FieldName, SecretBytes)>, ListError> {
    let mut entries = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| c == ',' || c.is_whitespace());
        if rest.is_empty() || entries.len() > ENTRY_LIMIT {
            return check(entries);
        }
        let end = rest.find([',', '\n', '=']).unwrap_or(rest.len());
        let number = entries.len() + 1;
        let after = rest[end..].strip_prefix('=').ok_or(ListError::NoValue(number))?;
        let name = rest[..end].trim();
        let field = FieldName::parse(name).map_err(|_| {
            match name.split(' ').all(|w| FieldName::parse(w).is_ok()) {
                true => ListError::SpaceInField(number),
                false => ListError::NoField(number),
            }
        })?;
        let (value, after) = value(&field, after.trim_start_matches([' ', '\t']))?;
        entries.push((field, value));
        rest = after;
    }
}

/// Reads one value; returns it and the remaining text.
fn value<'a>(field: &FieldName, text: &'a str) -> Result<(SecretBytes, &'a str), ListError> {
    let Some(quote @ ('"' | '\'')) = text.chars().next() else {
        let end = text.find([',', '\n']).unwrap_or(text.len());
        return Ok((text[..end].trim().into(), &text[end..]));
    };
    let mut value = SecretBuffer::default();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            _ if c == quote => {
                let after = text[at + 1..].trim_start_matches([' ', '\t', '\r']);
                return if after.is_empty() || after.starts_with([',', '\n']) {
                    Ok((value.finish(), after))
                } else {
                    Err(ListError::AfterQuote(field.clone()))
                };
            }
            '\\' if quote == '"' => value.push_char(match chars.next() {
                Some((_, c @ ('\\' | '"'))) => c,
                Some((_, 'n')) => '\n',
                Some((_, 'r')) => '\r',
                Some((_, 't')) => '\t',
                Some(_) => return Err(ListError::BadEscape(field.clone())),
                None => break,
            }),
            _ => value.push_char(c),
        }
    }
    Err(ListError::Unclosed(field.clone()))
}

fn check<T>(entries: Vec<T>) -> Result<Vec<T>, ListError> {
    match entries.len() {
        0 => Err(ListError::Empty),
        1..=ENTRY_LIMIT => Ok(entries),
        _ => Err(ListError::TooLong),
    }
}

/// Reads the format and, for format `template`, the template. If `.keys` lists the fields, or the template uses other credentials
/// instead of a source, the template is also checked against the fields that annotations name. The format is `None` if `.format` is
/// invalid.
pub(crate) fn read_template(
    values: &mut Values<'_>,
    namespace: &Namespace,
    keys: &KeyMapping,
    of_annotations: &[FieldName],
    has_source: bool,
) -> (Option<Format>, Option<TemplateSource>) {
    let has = |values: &Values<'_>, key| values.texts.contains_key(&key);
    let (is_inline, is_named) =
        (has(values, AnnotationKey::Template), has(values, AnnotationKey::TemplateFrom));
    let has_template = is_inline || is_named;
    let default = if has_template { Format::Template } else { Format::Files };
    let given = values.read(AnnotationKey::Format, parse_format);
    let format = match given {
        // Another format is reported here, and the other annotations may fit the template.
        _ if has_template => Some(Format::Template),
        None if has(values, AnnotationKey::Format) => None,
        given => Some(given.unwrap_or(default)),
    };
    match (given, has_template) {
        (Some(Format::Template), false) => {
            let problem = "missing template: add .template or .template-from";
            values.push(AnnotationKey::Format, Problem::Combination(problem));
        }
        (Some(Format::Template) | None, _) | (Some(_), false) => {}
        (Some(_), true) => {
            let problem = "must be \"template\" when .template or .template-from is set: remove one of them; the format of a file with .variable belongs in .variable-format";
            values.push(AnnotationKey::Format, Problem::Combination(problem));
        }
    }
    if is_inline && is_named {
        let problem = "conflicts with .template: remove one of them";
        values.push(AnnotationKey::TemplateFrom, Problem::Combination(problem));
    }
    let has_text = has_template || has(values, AnnotationKey::OnChangeHeader);
    if !has_text && has(values, AnnotationKey::Delimiters) {
        let problem =
            "missing template: add .template, .template-from or .on-change-header, or remove .delimiters";
        values.push(AnnotationKey::Delimiters, Problem::Combination(problem));
    }
    let delimiters = match values.read(AnnotationKey::Delimiters, |text| Ok(Delimiters::parse(text)?)) {
        // Parsed with other delimiters, the template would only yield misleading errors.
        None if has(values, AnnotationKey::Delimiters) => return (format, None),
        delimiters => delimiters.unwrap_or_default(),
    };
    let text = values.read(AnnotationKey::Template, |text| Ok(Template::parse(text, &delimiters)?));
    let are_known = |template: &&Template| {
        matches!(keys, KeyMapping::Listed(_)) || (!has_source && template.references().next().is_some())
    };
    if let Some(template) = text.as_ref().filter(are_known) {
        let fields = keys.entries().iter().map(|entry| &entry.field).chain(of_annotations);
        let fields = fields.map(FieldName::as_str).collect::<BTreeSet<_>>();
        for error in template.unknown_names(&fields) {
            values.push(AnnotationKey::Template, error.into());
        }
    }
    let key =
        values.read(AnnotationKey::TemplateFrom, |text| Ok(parse_template_key(text.trim(), namespace)?));
    let named = key.map(|(object, key)| TemplateSource::ConfigMap { object, key, delimiters });
    (format, text.map(TemplateSource::Text).or(named))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_page_describes_every_annotation_key() {
        let page = include_str!("../../docs/annotations.md");
        let described: Vec<_> = page
            .lines()
            .filter_map(|line| line.strip_prefix("| ")?.split_once(" | "))
            .flat_map(|(keys, _)| keys.split(", "))
            .filter_map(|key| key.strip_prefix("`.")?.strip_suffix('`'))
            .collect();
        let mut keys = KEYS.map(|(spelling, _)| spelling).to_vec();
        keys.retain(|key| !described.contains(key));
        assert!(keys.is_empty(), "missing in docs/annotations.md: {keys:?}");
        assert_eq!(described.len(), KEYS.len(), "{described:?}");
    }

    fn set(text: &str) -> Result<Vec<(String, String)>, ListError> {
        let plain = |value: SecretBytes| value.expose_text().unwrap().to_owned();
        Ok(assignments(text)?.into_iter().map(|(field, value)| (field.to_string(), plain(value))).collect())
    }

    fn field() -> FieldName {
        FieldName::parse("a").unwrap()
    }

    #[test]
    fn keys_are_separated_by_commas_or_newlines() {
        let read = |text: &str| {
            let entries = mappings(text, &Naming::default())?;
            let shown = |entry: KeyEntry| {
                let pointer = entry.pointer.map(|pointer| format!("#{pointer}")).unwrap_or_default();
                let optional = if entry.optional { "?" } else { "" };
                format!("{}={}{pointer}{optional}", entry.field, entry.key)
            };
            Ok(entries.into_iter().map(shown).collect::<Vec<_>>())
        };
        for (text, expected) in [
            (
                "user=username, password\n\n tls = tls.crt ,\n",
                &["user=username", "password=password", "tls=tls.crt"][..],
            ),
            ("ca.crt?, ca = tls.ca ? ", &["ca.crt=ca.crt?", "ca=tls.ca?"]),
            ("u=config.json#/user, h=c#/a/0?", &["u=config.json#/user", "h=c#/a/0?"]),
            ("u=db.config.json#/a%2Cb, all=c#", &["u=db.config.json#/a,b", "all=c#"]),
        ] {
            assert_eq!(read(text).unwrap(), expected, "{text:?}");
        }
        for (text, error) in [
            (" , \n", ListError::Empty),
            (&"a,".repeat(257), ListError::TooLong),
            ("a,c#/user", ListError::UnnamedPointer(2)),
            ("u=c#user", ListError::InvalidPointer(1)),
            ("u=c#/a~", ListError::InvalidPointer(1)),
            ("u=c#/%zz", ListError::InvalidPointer(1)),
            ("u=#/a", ListError::InvalidName(1)),
            ("?", ListError::InvalidName(1)),
            ("a??", ListError::InvalidName(1)),
            ("a?=b", ListError::InvalidName(1)),
        ] {
            assert_eq!(read(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn only_fields_without_a_name_of_their_own_are_named_in_bulk() {
        let naming = Naming { prefix: "APP_".to_owned(), upper: true };
        let entries = mappings("db-user, own=db-user, db.password?", &naming).unwrap();
        let fields = entries.iter().map(|entry| (entry.field.as_str(), entry.key.as_str()));
        assert_eq!(
            fields.collect::<Vec<_>>(),
            [("APP_DB_USER", "db-user"), ("own", "db-user"), ("APP_DB_PASSWORD", "db.password")]
        );
    }

    #[test]
    fn values_may_be_unquoted_or_quoted() {
        let text = "a=1, b = 'x, y=\"z\" \\n' ,c=\"l\\\\1\\n\\\"2\\\"\"\nd=it's = fine\ne=,f=";
        assert_eq!(
            set(text).unwrap(),
            [
                ("a", "1"),
                ("b", "x, y=\"z\" \\n"),
                ("c", "l\\1\n\"2\""),
                ("d", "it's = fine"),
                ("e", ""),
                ("f", "")
            ]
            .map(|(field, value)| (field.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn errors_name_the_field_and_not_the_value() {
        for (text, error) in [
            ("", ListError::Empty),
            ("a", ListError::NoValue(1)),
            ("a=1,b", ListError::NoValue(2)),
            ("a=test,pass\nword=1,!", ListError::NoValue(2)),
            ("a=test,pass word=1", ListError::SpaceInField(2)),
            ("Trust Server Certificate=true", ListError::SpaceInField(1)),
            ("a=test,pass +word=1", ListError::NoField(2)),
            ("a/b=1", ListError::NoField(1)),
            ("a=\"1", ListError::Unclosed(field())),
            ("a='1", ListError::Unclosed(field())),
            ("a=\"1\\", ListError::Unclosed(field())),
            ("a=\"1\"2", ListError::AfterQuote(field())),
            ("a=\"\\x\"", ListError::BadEscape(field())),
        ] {
            assert_eq!(set(text), Err(error), "{text}");
        }
        assert_eq!(set(&"a=1,".repeat(257)), Err(ListError::TooLong));
    }

    proptest! {
        #[test]
        fn any_text_can_be_quoted(value in any::<String>()) {
            let double = value.replace('\\', "\\\\").replace('"', "\\\"");
            let text = format!("a=\"{double}\", b=1");
            prop_assert_eq!(set(&text).unwrap(), [("a".to_owned(), value), ("b".to_owned(), "1".to_owned())]);
        }

        #[test]
        fn no_text_causes_a_panic(text in "[a=,'\"\\\\\n é#/~%?]{0,40}") {
            let _ = (mappings(&text, &Naming::default()), assignments(&text));
        }
    }
}
