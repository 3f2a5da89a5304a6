//! A mapping while it is read: no key twice, and merge keys resolved.
//! Source: <https://yaml.org/type/merge.html>

use std::collections::BTreeMap;

use crate::text::RedactedPrefix;
use crate::yaml::syntax::Fault;
use crate::yaml::{Key, Node, Position, SyntaxError, Value};

/// Entries, one event after the other.
#[derive(Default)]
pub(crate) struct Entries {
    own: Vec<(Key, Node)>,
    /// Where each own key stands.
    seen: BTreeMap<String, Position>,
    /// Entries of mappings that are merged into this one; those that come first count.
    merged: Vec<(Key, Node)>,
    /// The key whose value is next.
    next: Option<MapKey>,
}

enum MapKey {
    Own(Key),
    Merge(Position),
}

impl Entries {
    /// Whether a key is next, and no value.
    pub(crate) fn wants_key(&self) -> bool {
        self.next.is_none()
    }

    /// Takes a merge key, whose value is next.
    pub(crate) fn merge(&mut self, at: Position) -> Result<(), SyntaxError> {
        // kubectl lets a later merge win over an earlier key, other readers do not.
        if !self.own.is_empty() || !self.merged.is_empty() {
            return Err(Fault::Merge.at(at));
        }
        self.next = Some(MapKey::Merge(at));
        Ok(())
    }

    /// Takes a key or a value.
    pub(crate) fn take(&mut self, node: Node) -> Result<(), SyntaxError> {
        match self.next.take() {
            None => self.next = Some(MapKey::Own(self.key(node)?)),
            Some(MapKey::Own(key)) => self.own.push((key, node)),
            Some(MapKey::Merge(at)) => {
                let sources = if let Value::List(items) = node.value { items } else { vec![node] };
                for source in sources {
                    let Value::Map(entries) = source.value else { return Err(Fault::Merge.at(at)) };
                    self.merged.extend(entries);
                }
            }
        }
        Ok(())
    }

    fn key(&mut self, node: Node) -> Result<Key, SyntaxError> {
        let at = node.at;
        let text = match &node.value {
            Value::Text(text) | Value::Number(text) => text.expose_text().unwrap_or_default(),
            Value::Bool(true) => "true",
            Value::Bool(false) => "false",
            Value::Null => "null",
            Value::List(_) | Value::Map(_) => return Err(Fault::Key.at(at)),
        };
        match self.seen.insert(text.to_owned(), at) {
            Some(first) => Err(Fault::Twice(RedactedPrefix(text).to_string(), first).at(at)),
            None => Ok(Key { text: text.to_owned(), at }),
        }
    }

    /// All entries: those of the mapping itself, and then those merged ones whose keys it does not have.
    pub(crate) fn finish(mut self) -> Vec<(Key, Node)> {
        for (key, node) in self.merged {
            if !self.seen.contains_key(&key.text) {
                self.seen.insert(key.text.clone(), key.at);
                self.own.push((key, node));
            }
        }
        self.own
    }
}
