//! Takes the values of a tree by their keys, and notes each that is not what is wanted.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use crate::secret::SecretBytes;
use crate::text::{Beginning, Quoted, nearest, suggest};
use crate::yaml::scalar::{integer, number};
use crate::yaml::{Key, Node, Position, Value};

/// A value, or the lack of one, at a place in a document. `null` is a lack, as it is for kubectl.
pub(crate) struct Place<'a> {
    node: Option<&'a Node>,
    at: Position,
    path: String,
    problems: &'a Problems,
}

/// The entries of a mapping.
pub(crate) struct Fields<'a> {
    entries: &'a [(Key, Node)],
    at: Position,
    path: String,
    problems: &'a Problems,
}

impl<'a> Place<'a> {
    /// The whole document. What is wrong in it goes to `problems`.
    pub(crate) fn document(node: &'a Node, problems: &'a Problems) -> Self {
        Self::new(Some(node), node.at, String::new(), problems)
    }

    fn new(node: Option<&'a Node>, at: Position, path: String, problems: &'a Problems) -> Self {
        let node = node.filter(|node| !matches!(node.value, Value::Null));
        Self { node, at, path, problems }
    }

    /// A lack at the same place.
    #[must_use]
    pub(crate) fn nothing(&self) -> Self {
        Self::new(None, self.at, self.path.clone(), self.problems)
    }

    /// Where it stands; if it is absent, where the mapping begins that lacks it.
    pub(crate) fn at(&self) -> Position {
        self.at
    }

    /// Whether nothing stands there.
    pub(crate) fn is_absent(&self) -> bool {
        self.node.is_none()
    }

    /// Notes that something is wrong here. The text says what, and what would be right, without any value.
    pub(crate) fn report(&self, text: impl Into<String>) {
        self.problems.add(self.at, &self.path, text.into());
    }

    /// Notes it if nothing stands here; an empty text is nothing.
    pub(crate) fn required(&self) -> &Self {
        let is_empty =
            self.node.is_none_or(|node| matches!(&node.value, Value::Text(text) if text.expose().is_empty()));
        if is_empty {
            self.report("is missing");
        }
        self
    }

    /// Text that may be shown. An empty one counts as absent, as it does for kubectl.
    pub(crate) fn string(&self) -> Option<String> {
        self.text().and_then(SecretBytes::expose_text).map(str::to_owned)
    }

    /// Text that may be shown, of a form that people may take for another type: `example` is one. An empty one counts as absent.
    pub(crate) fn string_such_as(&self, example: &str) -> Option<String> {
        match &self.node?.value {
            Value::Text(_) => self.string(),
            _ => {
                self.report(format!("must be text such as {example}"));
                None
            }
        }
    }

    /// Text that may not be shown. An empty one counts as absent.
    pub(crate) fn secret(&self) -> Option<SecretBytes> {
        self.text().cloned()
    }

    fn text(&self) -> Option<&'a SecretBytes> {
        match &self.node?.value {
            Value::Text(text) => Some(text).filter(|text| !text.expose().is_empty()),
            other => self.wrong("text", other),
        }
    }

    /// `true` or `false`, by any name that YAML 1.1 has for them.
    pub(crate) fn boolean(&self) -> Option<bool> {
        match &self.node?.value {
            Value::Bool(value) => Some(*value),
            other => self.wrong("true or false", other),
        }
    }

    /// A finite number.
    pub(crate) fn number(&self) -> Option<f64> {
        match &self.node?.value {
            Value::Number(text) => number(text).or_else(|| {
                self.report("must be a finite number");
                None
            }),
            other => self.wrong("a number", other),
        }
    }

    /// A whole number that is not negative.
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
            other => self.wrong("a whole number", other),
        }
    }

    /// The items of a list; none if it is absent.
    pub(crate) fn items(&self) -> Vec<Self> {
        let items = match self.node.map(|node| &node.value) {
            None => return Vec::new(),
            Some(Value::List(items)) => items,
            Some(other) => return self.wrong("a list", other).unwrap_or_default(),
        };
        let path = |index| format!("{}[{index}]", self.path);
        let place =
            |(index, node): (usize, &'a Node)| Self::new(Some(node), node.at, path(index), self.problems);
        items.iter().enumerate().map(place).collect()
    }

    /// The items of a list of texts. Where one is `null` or empty, an empty text stands.
    pub(crate) fn strings(&self) -> Vec<String> {
        self.items().iter().map(|item| item.string().unwrap_or_default()).collect()
    }

    /// The entries of a mapping whose keys are known; none if it is absent or no mapping.
    pub(crate) fn fields(&self) -> Option<Fields<'a>> {
        match &self.node?.value {
            Value::Map(entries) => {
                Some(Fields { entries, at: self.at, path: self.path.clone(), problems: self.problems })
            }
            other => self.wrong("a mapping", other),
        }
    }

    /// The entries of a mapping whose keys may be any; none if it is absent.
    pub(crate) fn entries(&self) -> BTreeMap<String, Self> {
        let fields = self.fields();
        let entries = fields.iter().flat_map(|fields| fields.entries);
        let path = |key: &Key| format!("{}[{}]", self.path, Quoted(&key.text));
        entries
            .map(|(key, node)| (key.text.clone(), Self::new(Some(node), node.at, path(key), self.problems)))
            .collect::<BTreeMap<_, _>>()
    }

    /// Whatever stands there, as JSON.
    pub(crate) fn json(&self) -> Option<serde_json::Value> {
        self.node.map(json)
    }

    fn wrong<T>(&self, wanted: &str, found: &Value) -> Option<T> {
        let (found, remedy) = match found {
            Value::Null => ("null", ""),
            Value::Bool(_) if wanted == "text" => ("true or false", ": put it in quotes"),
            Value::Number(_) if wanted == "text" => ("a number", ": put it in quotes"),
            Value::Text(_) if wanted != "a list" && wanted != "a mapping" => {
                ("text", ": write it without quotes")
            }
            Value::Bool(_) => ("true or false", ""),
            Value::Number(_) => ("a number", ""),
            Value::Text(_) => ("text", ""),
            Value::List(_) => ("a list", ""),
            Value::Map(_) => ("a mapping", ""),
        };
        self.report(format!("must be {wanted}, not {found}{remedy}"));
        None
    }
}

impl<'a> Fields<'a> {
    /// Where the mapping begins.
    pub(crate) fn at(&self) -> Position {
        self.at
    }

    /// Adds to the path in messages what names this mapping for people, such as the id in it.
    #[must_use]
    pub(crate) fn named(mut self, name: &str) -> Self {
        self.path = format!("{} ({name})", self.path);
        self
    }

    /// The value under a key, or the lack of it.
    pub(crate) fn get(&self, key: &str) -> Place<'a> {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        match self.entries.iter().find(|(other, _)| other.text == key) {
            Some((_, node)) => Place::new(Some(node), node.at, path, self.problems),
            None => Place::new(None, self.at, path, self.problems),
        }
    }

    /// Notes every key that is none of these, each with the one that it is probably a misspelling of.
    pub(crate) fn only(&self, known: &[&str]) {
        for (key, _) in self.entries.iter().filter(|(key, _)| !known.contains(&key.text.as_str())) {
            let text = format!(
                "key {} is unknown{}",
                Beginning(&key.text),
                suggest(nearest(&key.text, known.iter().copied()))
            );
            self.problems.add(key.at, &self.path, text);
        }
    }

    /// Notes each of these keys that stands there, with the reason.
    pub(crate) fn without(&self, keys: &[&str], reason: &str) {
        for (key, _) in self.entries.iter().filter(|(key, _)| keys.contains(&key.text.as_str())) {
            let path =
                if self.path.is_empty() { key.text.clone() } else { format!("{}.{}", self.path, key.text) };
            self.problems.add(key.at, &path, reason.to_owned());
        }
    }
}

fn json(node: &Node) -> serde_json::Value {
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

/// The most problems that are kept. A message lists far fewer.
const PROBLEM_LIMIT: usize = 1000;

/// One value that is wrong, missing or unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands, or where the mapping begins that lacks it.
    pub(crate) at: Position,
    /// The way to it, as in `users[0].user.token`; empty for the document itself.
    pub(crate) path: String,
    /// What is wrong, and what would be right; no value.
    pub(crate) text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "the document" } else { &self.path };
        write!(f, "{}: {path}: {}", self.at, self.text)
    }
}

/// Where a reader puts what it finds wrong, while it goes on.
#[derive(Debug, Default)]
pub(crate) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    pub(crate) fn add(&self, at: Position, path: &str, text: String) {
        let mut found = self.0.borrow_mut();
        if found.len() == PROBLEM_LIMIT {
            return;
        }
        // There are few; to sort them at the end would be 20 KB of code.
        let place = found.partition_point(|problem| problem.at <= at);
        found.insert(place, Problem { at, path: path.to_owned(), text });
    }

    /// All that was found, in the order of the document.
    pub(crate) fn into_vec(self) -> Vec<Problem> {
        self.0.into_inner()
    }
}
