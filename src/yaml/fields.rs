//! Typed access to the values of a tree. Errors are collected, so that one run reports them all.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use crate::secret::SecretBytes;
use crate::text::{Quoted, RedactedPrefix, nearest, suggest};
use crate::yaml::{Key, Node, Position, Value, integer, number};

/// A position in a document with the value there, if any. `null` counts as absent, as it does for kubectl.
pub(crate) struct Cursor<'a> {
    node: Option<&'a Node>,
    at: Position,
    path: String,
    problems: &'a ValueErrors,
}

/// A mapping.
pub(crate) struct Fields<'a> {
    entries: &'a [(Key, Node)],
    at: Position,
    path: String,
    problems: &'a ValueErrors,
}

impl<'a> Cursor<'a> {
    /// The root of a document. Errors go to `problems`.
    pub(crate) fn document(node: &'a Node, problems: &'a ValueErrors) -> Self {
        Self::new(Some(node), node.at, String::new(), problems)
    }

    fn new(node: Option<&'a Node>, at: Position, path: String, problems: &'a ValueErrors) -> Self {
        let node = node.filter(|node| !matches!(node.value, Value::Null));
        Self { node, at, path, problems }
    }

    /// An absent value at the same position.
    #[must_use]
    pub(crate) fn absent(&self) -> Self {
        Self::new(None, self.at, self.path.clone(), self.problems)
    }

    /// The position of the value, or that of the enclosing mapping if the value is absent.
    pub(crate) fn at(&self) -> Position {
        self.at
    }

    pub(crate) fn is_absent(&self) -> bool {
        self.node.is_none()
    }

    /// Reports an error. The text says what is wrong and what is expected; it must not hold a value.
    pub(crate) fn report(&self, text: impl Into<String>) {
        self.problems.add(self.at, &self.path, text.into());
    }

    /// Reports an absent value or empty text.
    pub(crate) fn required(&self) -> &Self {
        let is_empty =
            self.node.is_none_or(|node| matches!(&node.value, Value::Text(text) if text.expose().is_empty()));
        if is_empty {
            self.report("is missing");
        }
        self
    }

    /// Text that messages may show. Empty text counts as absent, as it does for kubectl.
    pub(crate) fn string(&self) -> Option<String> {
        self.text().and_then(SecretBytes::expose_text).map(str::to_owned)
    }

    /// As [`Self::string`], with an example in the message, for text whose form users may take for another type.
    pub(crate) fn string_with_example(&self, example: &str) -> Option<String> {
        match &self.node?.value {
            Value::Text(_) => self.string(),
            _ => {
                self.report(format!("must be text such as {example}"));
                None
            }
        }
    }

    /// Text that messages must not show. Empty text counts as absent.
    pub(crate) fn secret(&self) -> Option<SecretBytes> {
        self.text().cloned()
    }

    fn text(&self) -> Option<&'a SecretBytes> {
        match &self.node?.value {
            Value::Text(text) => Some(text).filter(|text| !text.expose().is_empty()),
            other => self.type_error("text", other),
        }
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        match &self.node?.value {
            Value::Bool(value) => Some(*value),
            other => self.type_error("true or false", other),
        }
    }

    pub(crate) fn number(&self) -> Option<f64> {
        match &self.node?.value {
            Value::Number(text) => number(text).or_else(|| {
                self.report("must be a finite number");
                None
            }),
            other => self.type_error("a number", other),
        }
    }

    pub(crate) fn whole_number(&self) -> Option<u64> {
        match &self.node?.value {
            Value::Number(text) => match integer(text) {
                Some((false, number)) => Some(number),
                Some((true, 0)) => Some(0),
                _ => {
                    self.report("must be a whole number that is not negative");
                    None
                }
            },
            other => self.type_error("a whole number", other),
        }
    }

    /// The items of a list, empty if it is absent.
    pub(crate) fn seq(&self) -> Vec<Self> {
        let items = match self.node.map(|node| &node.value) {
            None => return Vec::new(),
            Some(Value::List(items)) => items,
            Some(other) => return self.type_error("a list", other).unwrap_or_default(),
        };
        let path = |index| format!("{}[{index}]", self.path);
        let place =
            |(index, node): (usize, &'a Node)| Self::new(Some(node), node.at, path(index), self.problems);
        items.iter().enumerate().map(place).collect()
    }

    /// A list of strings. `null` items become empty strings.
    pub(crate) fn string_seq(&self) -> Vec<String> {
        self.seq().iter().map(|item| item.string().unwrap_or_default()).collect()
    }

    /// A mapping with known keys. `None` means that it is absent or of a wrong type.
    pub(crate) fn fields(&self) -> Option<Fields<'a>> {
        match &self.node?.value {
            Value::Map(entries) => {
                Some(Fields { entries, at: self.at, path: self.path.clone(), problems: self.problems })
            }
            other => self.type_error("a mapping", other),
        }
    }

    /// The entries of a mapping with arbitrary keys, empty if it is absent.
    pub(crate) fn entries(&self) -> BTreeMap<String, Self> {
        let fields = self.fields();
        let entries = fields.iter().flat_map(|fields| fields.entries);
        let path = |key: &Key| format!("{}[{}]", self.path, Quoted(&key.text));
        entries
            .map(|(key, node)| (key.text.clone(), Self::new(Some(node), node.at, path(key), self.problems)))
            .collect::<BTreeMap<_, _>>()
    }

    /// The value as JSON, whatever its type.
    pub(crate) fn json(&self) -> Option<serde_json::Value> {
        self.node.map(json)
    }

    fn type_error<T>(&self, wanted: &str, found: &Value) -> Option<T> {
        let remedy = match found {
            Value::Bool(_) | Value::Number(_) if wanted == "text" => ": put it in quotes",
            Value::Text(_) if wanted != "a list" && wanted != "a mapping" => ": write it without quotes",
            _ => "",
        };
        let found = found.type_name();
        self.report(format!("must be {wanted}, not {found}{remedy}"));
        None
    }
}

impl<'a> Fields<'a> {
    pub(crate) fn at(&self) -> Position {
        self.at
    }

    /// Adds a label, such as the id of an entry, to the path in messages.
    #[must_use]
    pub(crate) fn with_label(mut self, name: &str) -> Self {
        self.path = format!("{} ({name})", self.path);
        self
    }

    /// The value under a key, which may be absent.
    pub(crate) fn get(&self, key: &str) -> Cursor<'a> {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        match self.entries.iter().find(|(other, _)| other.text == key) {
            Some((_, node)) => Cursor::new(Some(node), node.at, path, self.problems),
            None => Cursor::new(None, self.at, path, self.problems),
        }
    }

    /// Reports every key that is not in `known`, with the most similar one, up to the limit of errors.
    pub(crate) fn deny_unknown(&self, known: &[&str]) {
        let unknown = self.entries.iter().filter(|(key, _)| !known.contains(&key.text.as_str()));
        for (key, _) in unknown.take(self.problems.room()) {
            let text = format!(
                "unknown key {}{}",
                RedactedPrefix(&key.text),
                suggest(nearest(&key.text, known.iter().copied()))
            );
            self.problems.add(key.at, &self.path, text);
        }
    }

    /// Reports each of these keys that is present, with the reason.
    pub(crate) fn reject(&self, keys: &[&str], reason: &str) {
        for (key, _) in self.entries.iter().filter(|(key, _)| keys.contains(&key.text.as_str())) {
            let path =
                if self.path.is_empty() { key.text.clone() } else { format!("{}.{}", self.path, key.text) };
            self.problems.add(key.at, &path, reason.to_owned());
        }
    }
}

pub(super) fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Number(text) => match integer(text) {
            Some((false, number)) => number.into(),
            Some((true, magnitude)) => 0_i64.wrapping_sub_unsigned(magnitude).into(),
            None => number(text).map_or(serde_json::Value::Null, Into::into),
        },
        Value::Text(text) => text.expose_text().unwrap_or_default().into(),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|(key, node)| (key.text.clone(), json(node)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

/// Errors beyond these are dropped. A message lists far fewer.
const PROBLEM_LIMIT: usize = 1000;

/// A wrong, missing or unknown value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueError {
    /// The position of the value, or that of the enclosing mapping if the value is missing.
    pub(crate) at: Position,
    /// Such as `users[0].user.token`; empty for the document itself.
    pub(crate) path: String,
    /// What is wrong and what is expected, without a value.
    pub(crate) text: String,
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "the document" } else { &self.path };
        write!(f, "{}: {path}: {}", self.at, self.text)
    }
}

/// Error sink: readers record errors and continue.
#[derive(Debug, Default)]
pub(crate) struct ValueErrors(RefCell<Vec<ValueError>>);

impl ValueErrors {
    pub(crate) fn add(&self, at: Position, path: &str, text: String) {
        if self.room() == 0 {
            return;
        }
        let mut found = self.0.borrow_mut();
        // Insertion is fast enough for so few, and a sort at the end would add 20 KB of code.
        let place = found.partition_point(|problem| problem.at <= at);
        found.insert(place, ValueError { at, path: path.to_owned(), text });
    }

    /// How many more errors are kept.
    fn room(&self) -> usize {
        PROBLEM_LIMIT - self.0.borrow().len()
    }

    /// All errors, in the order of the document.
    pub(crate) fn into_vec(self) -> Vec<ValueError> {
        self.0.into_inner()
    }
}
