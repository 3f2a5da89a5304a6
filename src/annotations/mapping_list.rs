//! The grammar of `.keys` and `.set`: entries `name` or `name=value`, separated by commas or newlines. Blank entries (after a
//! trailing comma, or an empty line) are skipped.

use crate::credential::FieldName;
use crate::secret::{SecretBuffer, SecretBytes};

/// The maximum number of entries.
const ENTRY_LIMIT: usize = 256;

/// An invalid list. Messages show an entry's field, never its value.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ListError {
    #[error("empty list: add an entry, or remove the annotation")]
    Empty,
    #[error("has more than {ENTRY_LIMIT} entries")]
    TooLong,
    /// An entry of `.set` without `=`. The message does not show it, because it may be part of a value.
    #[error("entry {0} has no `=`: write field=value, and quote a value that contains a comma or a newline")]
    NoValue(usize),
    /// An entry of `.set` whose field name is invalid. The message does not show it, because it may be part of a value.
    #[error(
        "entry {0} does not start with a field name (letters, digits, `-`, `_` and `.`): quote a value that contains a comma or a newline"
    )]
    NoField(usize),
    #[error("the value of field {0} has no closing quote")]
    Unclosed(FieldName),
    #[error(
        "the value of field {0} continues after its closing quote: add a comma, or quote the whole value"
    )]
    AfterQuote(FieldName),
    #[error("the value of field {0} has an unknown escape; supported: \\\\, \\\", \\n, \\r, \\t")]
    BadEscape(FieldName),
}

/// Reads `field=key, field, …` as pairs of field and key. An entry `field` means `field=field`.
pub(crate) fn keys(text: &str) -> Result<Vec<(&str, &str)>, ListError> {
    let entries = text
        .split([',', '\n'])
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .map(|entry| entry.split_once('=').map_or((entry, entry), |(field, key)| (field.trim(), key.trim())))
        .take(ENTRY_LIMIT + 1)
        .collect::<Vec<_>>();
    check(entries)
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
        let field = FieldName::parse(rest[..end].trim()).map_err(|_| ListError::NoField(number))?;
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(text: &str) -> Result<Vec<(String, String)>, ListError> {
        let plain = |value: SecretBytes| value.expose_text().unwrap().to_owned();
        Ok(assignments(text)?.into_iter().map(|(field, value)| (field.to_string(), plain(value))).collect())
    }

    fn field() -> FieldName {
        FieldName::parse("a").unwrap()
    }

    #[test]
    fn keys_are_separated_by_commas_or_newlines() {
        assert_eq!(
            keys("user=username, password\n\n tls = tls.crt ,\n"),
            Ok(vec![("user", "username"), ("password", "password"), ("tls", "tls.crt")])
        );
        assert_eq!(keys(" , \n"), Err(ListError::Empty));
        assert_eq!(keys(&"a,".repeat(257)), Err(ListError::TooLong));
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
            ("a=test,pass word=1", ListError::NoField(2)),
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
        fn no_text_causes_a_panic(text in "[a=,'\"\\\\\n é]{0,40}") {
            let _ = (keys(&text), assignments(&text));
        }
    }
}
