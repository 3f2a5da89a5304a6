//! Parses the file in which a downward API volume publishes `metadata.annotations`: one line `key="value"` per annotation, the
//! value quoted by Go's `strconv.Quote`.
//! Source: <https://pkg.go.dev/strconv#Quote>, and `FormatMap` in the kubelet's `pkg/fieldpath`.

use std::collections::BTreeMap;

use crate::text::Quoted;

/// Parses the file's text.
///
/// # Errors
/// Reports the first line that the kubelet would not have written, with its number (from 1).
pub fn parse(text: &str) -> Result<BTreeMap<String, String>, DownwardError> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty());
    lines
        .map(|(index, line)| entry(line).map_err(|problem| DownwardError { line: index + 1, problem }))
        .collect::<Result<BTreeMap<_, _>, _>>()
}

fn entry(line: &str) -> Result<(String, String), Problem> {
    let (key, value) = line.split_once('=').ok_or(Problem::NoValue)?;
    let quoted =
        value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).ok_or(Problem::NotQuoted)?;
    Ok((key.to_owned(), unquote(quoted)?))
}

fn unquote(quoted: &str) -> Result<String, Problem> {
    let mut bytes = Vec::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Err(Problem::NotQuoted),
            '\\' => escape(&mut chars, &mut bytes)?,
            _ => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    String::from_utf8(bytes).map_err(|_| Problem::NotUtf8)
}

/// Reads the escape after a backslash. `\x` is a byte, `\u` and `\U` are characters, as in the Go specification.
fn escape(chars: &mut std::str::Chars<'_>, bytes: &mut Vec<u8>) -> Result<(), Problem> {
    let letter = chars.next().ok_or(Problem::NotQuoted)?;
    let digits = match letter {
        'x' => 2,
        'u' => 4,
        'U' => 8,
        _ => {
            bytes.push(control(letter).ok_or(Problem::InvalidEscape(letter))?);
            return Ok(());
        }
    };
    let hex = chars.as_str().get(..digits).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    let code = hex.and_then(|hex| u32::from_str_radix(hex, 16).ok());
    let code = code.ok_or(Problem::InvalidEscape(letter))?;
    chars.nth(digits - 1);
    if letter == 'x' {
        bytes.push(u8::try_from(code).map_err(|_| Problem::InvalidEscape(letter))?);
    } else {
        let c = char::from_u32(code).ok_or(Problem::InvalidEscape(letter))?;
        bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(())
}

/// The byte of a one-letter escape.
fn control(letter: char) -> Option<u8> {
    Some(match letter {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' => b'\\',
        '"' => b'"',
        _ => return None,
    })
}

/// A file that was not written by a downward API volume.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "line {line} {problem}; a downward API volume with fieldPath metadata.annotations writes key=\"value\""
)]
pub struct DownwardError {
    line: usize,
    problem: Problem,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
enum Problem {
    #[error("has no =")]
    NoValue,
    #[error("has a value without double quotes")]
    NotQuoted,
    #[error("has an invalid escape {}", Quoted(&format!("\\{_0}")))]
    InvalidEscape(char),
    #[error("has a value that is not UTF-8")]
    NotUtf8,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_in_the_format_of_the_kubelet_is_parsed() {
        let text = "kubernetes.io/config.source=\"api\"\npodcreds.io/db.keys=\"user=username\\n\\tpass=\\\"p\\\\w\\\"\"\n\
                    x=\"\\x7f\\u00ad\\U000e0001é=\"\n";
        let read = parse(text).unwrap();
        assert_eq!(read["podcreds.io/db.keys"], "user=username\n\tpass=\"p\\w\"");
        assert_eq!(read["x"], "\u{7f}\u{ad}\u{e0001}é=");
        assert_eq!(read.len(), 3);
        assert_eq!(parse(""), Ok(BTreeMap::new()));
    }

    #[test]
    fn an_invalid_line_is_reported_by_number() {
        for line in [
            "x",
            "x=y",
            "x=\"",
            "x=\"a\"b\"",
            "x=\"\\q\"",
            "x=\"\\u12\"",
            "x=\"\\ud800\"",
            "x=\"\\xff\"",
            "x=\"\\x+f\"",
            "x=\"\\\"",
        ] {
            assert_eq!(parse(&format!("a=\"b\"\n{line}\n")).unwrap_err().line, 2, "{line}");
        }
    }

    proptest! {
        /// For these characters, Rust and Go have the same escapes.
        #[test]
        fn quoted_text_reads_back(value in "[ -~\n\t\ré€😀]{0,40}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\t', "\\t").replace('\r', "\\r");
            prop_assert_eq!(&parse(&format!("k=\"{quoted}\"")).unwrap()["k"], &value);
        }

        #[test]
        fn no_text_causes_a_panic(text in "(k=\")?[\\\\xuU0-9a-f\"=é\n]{0,40}") {
            let _ = parse(&text);
        }
    }
}
