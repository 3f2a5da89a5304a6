//! Parses YAML, and JSON as a subset, to a tree with positions (`tree`), and reads typed values from it (`fields`). All type errors
//! are reported at once. `span` says where each value is in the text, for edits. This module does no I/O.
//!
//! Plain scalars have the types of YAML 1.1, because kubectl reads kubeconfigs by them: `yes` and `y` are booleans, `0o17` is a
//! number. Scalars are stored as secrets, because a kubeconfig is full of them. Error messages hold names of keys and no other
//! text of the document.
//! Source: <https://github.com/kubernetes-sigs/yaml/blob/master/goyaml.v2/resolve.go>

mod error;
mod fields;
mod grammar;
mod span;
mod tree;

use std::fmt;

pub(crate) use error::SyntaxError;
pub(crate) use fields::{Cursor, Fields, ValueError, ValueErrors};
pub(crate) use span::{Child, Span};
pub(crate) use tree::{parse, parse_stream};

use crate::secret::SecretBytes;
pub(crate) use crate::text::Position;
use crate::text::RedactedPrefix;

/// The maximum size of a document, in bytes: a kubeconfig of a thousand clusters with inline certificates fits.
pub(crate) const TEXT_LIMIT: usize = 1024 * 1024;

/// The limits of a document, or of all documents of a stream together.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// The size of the text, in bytes.
    text: usize,
    /// The size of what aliases repeat, in bytes.
    repeated: usize,
    /// The nesting.
    depth: usize,
    /// The number of values, where a key counts as one, and each alias as all the values that it repeats. A value takes up to 500
    /// bytes, with what is read from it.
    nodes: usize,
}

impl Limits {
    /// A kubeconfig has 7 levels, and an extension a few more. A kubeconfig of a thousand clusters has about 40,000 values.
    const KUBECONFIG: Self = Self { text: TEXT_LIMIT, repeated: TEXT_LIMIT, depth: 64, nodes: 100_000 };
    /// On a workstation: all objects of a large chart or of a namespace. The schemas of some CRDs have more than 64 levels.
    const MANIFEST: Self =
        Self { text: 64 * TEXT_LIMIT, repeated: 4 * TEXT_LIMIT, depth: 256, nodes: 4_000_000 };
}

/// A value and its position. Aliases and merge keys are resolved.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    value: Value,
    at: Position,
    span: Span,
    /// The text of this value is, or may be, used in other places too: through an anchor, an alias or a merge key.
    is_shared: bool,
}

/// Numbers keep their text, because a number may be a password without quotes.
#[derive(Clone, Debug)]
enum Value {
    Null,
    Bool(bool),
    Number(SecretBytes),
    Text(SecretBytes),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

impl Node {
    fn new(value: Value, (at, span): (Position, Span)) -> Self {
        Self { value, at, span, is_shared: false }
    }

    pub(crate) fn at(&self) -> Position {
        self.at
    }

    /// The value of a key. `None` means that this is not a mapping, or that the key is missing or `null`, which are the same to the
    /// API server.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let (_, _, node) = self.entries().find(|(other, ..)| *other == key)?;
        Some(node).filter(|node| !matches!(node.value, Value::Null))
    }

    /// The value at a path of keys.
    pub(crate) fn find(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// The entries of a mapping, with the positions of their keys; empty for any other value.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, Position, &Self)> {
        let entries = if let Value::Map(entries) = &self.value { &entries[..] } else { &[] };
        entries.iter().map(|(key, node)| (key.text.as_str(), key.at, node))
    }

    /// The items of a list; empty for any other value.
    pub(crate) fn items(&self) -> &[Self] {
        if let Value::List(items) = &self.value { items } else { &[] }
    }

    /// `None` means that this is not text.
    pub(crate) fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { text.expose_text() } else { None }
    }

    /// `None` means that this is neither `true` nor `false`.
    pub(crate) fn boolean(&self) -> Option<bool> {
        if let Value::Bool(value) = self.value { Some(value) } else { None }
    }

    /// `None` means that this is not a whole number of at least 0.
    pub(crate) fn whole_number(&self) -> Option<u64> {
        let Value::Number(text) = &self.value else { return None };
        integer(text).filter(|(is_negative, _)| !is_negative).map(|(_, number)| number)
    }

    pub(crate) fn is_mapping(&self) -> bool {
        matches!(self.value, Value::Map(_))
    }

    /// As `text` would be in an error message: `a number`, `true or false` and so on.
    pub(crate) fn type_name(&self) -> &'static str {
        self.value.type_name()
    }

    /// The value as JSON, whatever its type.
    pub(crate) fn json(&self) -> serde_json::Value {
        fields::json(self)
    }
}

impl Value {
    fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// The key of a mapping entry.
#[derive(Clone)]
struct Key {
    text: String,
    at: Position,
    /// In bytes.
    start: usize,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `{password:value}` lacks a space, so the whole text is a key.
        write!(f, "{}", RedactedPrefix(&self.text))
    }
}

/// Resolves a plain scalar.
fn resolve(text: SecretBytes) -> Value {
    match text.expose() {
        b"" | b"~" | b"null" | b"Null" | b"NULL" => Value::Null,
        b"y" | b"Y" | b"yes" | b"Yes" | b"YES" => Value::Bool(true),
        b"on" | b"On" | b"ON" | b"true" | b"True" | b"TRUE" => Value::Bool(true),
        b"n" | b"N" | b"no" | b"No" | b"NO" => Value::Bool(false),
        b"off" | b"Off" | b"OFF" | b"false" | b"False" | b"FALSE" => Value::Bool(false),
        bytes if is_number(bytes) => Value::Number(text),
        _ => Value::Text(text),
    }
}

/// The value of a number. `None` means that it is not finite.
pub(crate) fn number(text: &SecretBytes) -> Option<f64> {
    let plain = without_underscores(text.expose());
    match whole(&plain) {
        Some((negative, magnitude)) => {
            let magnitude = magnitude as f64;
            Some(if negative { -magnitude } else { magnitude })
        }
        None if is_decimal(&plain) => std::str::from_utf8(&plain).ok()?.parse().ok(),
        None => None,
    }
    .filter(|number: &f64| number.is_finite())
}

/// The sign (true if negative) and magnitude of a whole number.
pub(crate) fn integer(text: &SecretBytes) -> Option<(bool, u64)> {
    whole(&without_underscores(text.expose()))
}

fn is_number(bytes: &[u8]) -> bool {
    let special = matches!(
        bytes.strip_prefix(b"+").or(bytes.strip_prefix(b"-")).unwrap_or(bytes),
        b".inf" | b".Inf" | b".INF"
    ) || matches!(bytes, b".nan" | b".NaN" | b".NAN");
    if special {
        return true;
    }
    // A number that begins with a point must not contain underscores.
    let begins = bytes.first().is_some_and(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-'));
    if !begins && (bytes.first() != Some(&b'.') || bytes.contains(&b'_')) {
        return false;
    }
    let plain = without_underscores(bytes);
    whole(&plain).is_some() || is_decimal(&plain) && !is_infinite(&plain)
}

/// A decimal number beyond the range of `f64` stays text, because Go's `ParseFloat` fails.
fn is_infinite(plain: &[u8]) -> bool {
    std::str::from_utf8(plain).ok().and_then(|text| text.parse::<f64>().ok()).is_none_or(f64::is_infinite)
}

fn without_underscores(bytes: &[u8]) -> zeroize::Zeroizing<Vec<u8>> {
    zeroize::Zeroizing::new(bytes.iter().copied().filter(|b| *b != b'_').collect())
}

/// A whole number of 64 bits, as Go reads one that names its own base: `0x1f`, `0o17`, `017`, `0b11`, `-12`.
fn whole(plain: &[u8]) -> Option<(bool, u64)> {
    let (negative, digits) = match plain {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, plain),
    };
    let (base, digits) = match digits {
        [b'0', b'x' | b'X', rest @ ..] => (16, rest),
        [b'0', b'o' | b'O', rest @ ..] => (8, rest),
        [b'0', b'b' | b'B', rest @ ..] => (2, rest),
        [b'0', rest @ ..] if !rest.is_empty() => (8, rest),
        _ => (10, digits),
    };
    // `from_str_radix` would accept a second sign.
    if !digits.iter().all(u8::is_ascii_alphanumeric) {
        return None;
    }
    let magnitude = u64::from_str_radix(std::str::from_utf8(digits).ok()?, base).ok()?;
    (!negative || magnitude <= i64::MIN.unsigned_abs()).then_some((negative, magnitude))
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_decimal(plain: &[u8]) -> bool {
    let unsigned = |bytes: &[u8]| matches!(bytes.first(), Some(b'+' | b'-'));
    let digits = |bytes: &[u8]| bytes.iter().take_while(|b| b.is_ascii_digit()).count();
    let rest = if unsigned(plain) { &plain[1..] } else { plain };
    let before = digits(rest);
    let rest = &rest[before..];
    let (after, rest) = match rest {
        [b'.', rest @ ..] => (digits(rest), &rest[digits(rest)..]),
        _ => (0, rest),
    };
    if before + after == 0 {
        return false;
    }
    match rest {
        [] => true,
        [b'e' | b'E', rest @ ..] => {
            let rest = if unsigned(rest) { &rest[1..] } else { rest };
            !rest.is_empty() && digits(rest) == rest.len()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod scalar_tests {
    use super::*;

    fn kind(text: &str) -> &'static str {
        match resolve(text.into()) {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            _ => "text",
        }
    }

    // What kubectl 1.32 made of each.
    #[test]
    fn scalars_have_the_types_that_kubectl_gives_them() {
        for text in ["y", "Yes", "ON", "false", "n"] {
            assert_eq!(kind(text), "bool", "{text}");
        }
        for text in ["", "~", "null"] {
            assert_eq!(kind(text), "null", "{text}");
        }
        for text in [
            "12",
            "0o17",
            "1_0",
            "1e3",
            "1.",
            "+.5",
            "099",
            ".inf",
            "0x1_f",
            "99999999999999999999999",
            "1__0.",
            "-0b11",
            "-.5e-3",
            ".nan",
        ] {
            assert_eq!(kind(text), "number", "{text}");
        }
        for text in [
            "2020-01-01",
            "12:30:45",
            "0b12",
            "__",
            "1e400",
            "=",
            "yEs",
            "_1",
            "+",
            "-",
            "0x",
            "1.2.3",
            "1e",
            "+-5",
            "0x-1",
            "10.0.0.1",
            "é",
            ".",
            ".5_0",
        ] {
            assert_eq!(kind(text), "text", "{text}");
        }
    }

    #[test]
    fn numbers_have_the_value_that_was_written() {
        let cases = [
            ("0x1f", 31.0),
            ("-0b11", -3.0),
            ("017", 15.0),
            ("1_000.5", 1000.5),
            ("1e3", 1000.0),
            (".5", 0.5),
        ];
        for (text, value) in cases {
            assert_eq!(number(&text.into()), Some(value), "{text}");
        }
        assert_eq!(number(&".inf".into()), None);
        assert_eq!(integer(&"-9223372036854775808".into()), Some((true, 1 << 63)));
        assert_eq!(integer(&"-9223372036854775809".into()), None);
        assert_eq!(integer(&"18446744073709551615".into()), Some((false, u64::MAX)));
    }
}
