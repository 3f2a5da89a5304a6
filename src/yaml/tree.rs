//! From the events of the parser to a tree, with a bound on all that grows.

use std::borrow::Cow;
use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};

use crate::secret::SecretBytes;
use crate::text::Beginning;
use crate::yaml::scalar::resolve;
use crate::yaml::{DEPTH_LIMIT, Key, NODE_LIMIT, Node, Position, TEXT_LIMIT, Value};

/// Reads the one document of a text. An empty text is a document that is null.
///
/// # Errors
/// The first thing that is no YAML, that stands twice, or that goes over a bound.
pub(crate) fn parse(text: &[u8]) -> Result<Node, SyntaxError> {
    let start = Position { line: 1, column: 1 };
    if text.len() > TEXT_LIMIT {
        return Err(Fault::TooLong.at(start));
    }
    let text = std::str::from_utf8(text).map_err(|error| {
        let line = text[..error.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        Fault::NotText.at(Position { line, ..start })
    })?;
    let mut tree = Tree::default();
    let mut events = Parser::new_from_str(text);
    while let Some(event) = events.next_event() {
        let (event, span) = event.map_err(|error| grammar(&error))?;
        tree.take(event, position(span.start))?;
    }
    Ok(tree.root.unwrap_or(Node { value: Value::Null, at: start }))
}

fn position(mark: Marker) -> Position {
    Position { line: mark.line(), column: mark.col() + 1 }
}

fn grammar(error: &ScanError) -> SyntaxError {
    let said = match error.info() {
        // This one goes on with a character of the document.
        said if said.starts_with("unexpected character") => "a value that begins with @, ` or % needs quotes",
        said => said,
    };
    Fault::Grammar(said.to_owned()).at(position(*error.marker()))
}

/// The name of a tag of YAML itself.
fn core(tag: &Tag) -> Option<&str> {
    tag.is_yaml_core_schema().then_some(&tag.suffix)
}

/// A tree that grows with every event.
#[derive(Default)]
struct Tree {
    /// The collections around what comes next.
    open: Vec<Open>,
    root: Option<Node>,
    /// What aliases can repeat, by the parser's number.
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
    repeated: usize,
}

/// A collection whose end has not come.
struct Open {
    at: Position,
    anchor: usize,
    inside: Inside,
}

enum Inside {
    List(Vec<Node>),
    Map(Entries),
}

impl Tree {
    fn take(&mut self, event: Event<'_>, at: Position) -> Result<(), SyntaxError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = self.scalar(text, style, tag.as_deref(), at)?;
                if let Some(value) = value {
                    self.complete(Node { value, at }, anchor)?;
                }
            }
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).ok_or_else(|| Fault::Circle.at(at))?;
                let size = Size::of(node);
                if self.open.len() + size.height > DEPTH_LIMIT {
                    return Err(Fault::TooDeep.at(at));
                }
                let node = node.clone();
                self.count(&size, at)?;
                self.complete(Node { at, ..node }, 0)?;
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(Inside::List(Vec::new()), anchor, "seq", tag.as_deref(), at)?;
            }
            Event::MappingStart(anchor, tag) => {
                self.open(Inside::Map(Entries::default()), anchor, "map", tag.as_deref(), at)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Open { at, anchor, inside }) = self.open.pop() {
                    let value = match inside {
                        Inside::List(items) => Value::List(items),
                        Inside::Map(entries) => Value::Map(entries.finish()),
                    };
                    self.complete(Node { value, at }, anchor)?;
                }
            }
            Event::DocumentStart(_) if self.root.is_some() => return Err(Fault::SecondDocument.at(at)),
            _ => {}
        }
        Ok(())
    }

    /// The value of a scalar; none for a merge key.
    fn scalar(
        &mut self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        tag: Option<&Tag>,
        at: Position,
    ) -> Result<Option<Value>, SyntaxError> {
        let plain = style == ScalarStyle::Plain;
        if plain && tag.is_none() && text == "<<" && self.merges(at)? {
            return Ok(None);
        }
        let text = SecretBytes::new(text.into_owned().into_bytes());
        Ok(Some(match tag.map(core) {
            None if plain => resolve(text),
            None | Some(Some("str")) => Value::Text(text),
            Some(Some("int" | "float" | "bool" | "null")) => resolve(text),
            Some(_) if tag.is_some_and(|tag| tag.handle.is_empty() && tag.suffix == "!") => Value::Text(text),
            Some(_) => return Err(Fault::Tag.at(at)),
        }))
    }

    /// Whether `<<` is a merge key here: where a key is due.
    fn merges(&mut self, at: Position) -> Result<bool, SyntaxError> {
        match self.open.last_mut() {
            Some(Open { inside: Inside::Map(entries), .. }) if entries.wants_key() => {
                entries.merge(at)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn open(
        &mut self,
        inside: Inside,
        anchor: usize,
        kind: &str,
        tag: Option<&Tag>,
        at: Position,
    ) -> Result<(), SyntaxError> {
        if tag.is_some_and(|tag| core(tag) != Some(kind)) {
            return Err(Fault::Tag.at(at));
        }
        if self.open.len() == DEPTH_LIMIT {
            return Err(Fault::TooDeep.at(at));
        }
        if let Some(Open { inside: Inside::Map(entries), .. }) = self.open.last()
            && entries.wants_key()
        {
            return Err(Fault::Key.at(at));
        }
        self.open.push(Open { at, anchor, inside });
        Ok(())
    }

    /// Puts a whole node where it belongs.
    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), SyntaxError> {
        self.nodes += 1;
        if self.nodes > NODE_LIMIT {
            return Err(Fault::TooMany.at(node.at));
        }
        if anchor != 0 {
            self.count(&Size::of(&node), node.at)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.inside) {
            None => self.root = Some(node),
            Some(Inside::List(items)) => items.push(node),
            Some(Inside::Map(entries)) => entries.take(node)?,
        }
        Ok(())
    }

    /// Counts what is copied.
    fn count(&mut self, size: &Size, at: Position) -> Result<(), SyntaxError> {
        self.nodes += size.nodes;
        self.repeated += size.bytes;
        if self.nodes > NODE_LIMIT {
            return Err(Fault::TooMany.at(at));
        }
        if self.repeated > TEXT_LIMIT { Err(Fault::Repeated.at(at)) } else { Ok(()) }
    }
}

/// How much a node holds, itself among it.
struct Size {
    nodes: usize,
    bytes: usize,
    height: usize,
}

impl Size {
    fn of(node: &Node) -> Self {
        let mut size = Self { nodes: 1, bytes: 0, height: 0 };
        match &node.value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(text) | Value::Text(text) => size.bytes = text.expose().len(),
            Value::List(items) => items.iter().for_each(|item| size.add(&Self::of(item))),
            Value::Map(entries) => {
                for (key, node) in entries {
                    size.bytes += key.text.len();
                    size.add(&Self::of(node));
                }
            }
        }
        if matches!(node.value, Value::List(_) | Value::Map(_)) {
            size.height += 1;
        }
        size
    }

    fn add(&mut self, inner: &Self) {
        self.nodes += inner.nodes;
        self.bytes += inner.bytes;
        self.height = self.height.max(inner.height);
    }
}

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
            Some(first) => Err(Fault::Twice(Beginning(text).to_string(), first).at(at)),
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

/// Why a text is no document that is read, and where. Nothing of the text is in it but a key that stands twice.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {fault}")]
pub struct SyntaxError {
    /// Where it was noticed.
    pub(crate) at: Position,
    pub(crate) fault: Fault,
}

/// What is wrong with the text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("is larger than {TEXT_LIMIT} bytes")]
    TooLong,
    #[error("is not UTF-8 text")]
    NotText,
    /// What the parser says.
    #[error("is no YAML: {0}")]
    Grammar(String),
    #[error("starts a second document: write one a file")]
    SecondDocument,
    #[error("is nested deeper than {} levels", super::DEPTH_LIMIT)]
    TooDeep,
    #[error("holds more than {} values, those that aliases repeat among them", super::NODE_LIMIT)]
    TooMany,
    #[error("aliases (*) repeat more than {TEXT_LIMIT} bytes")]
    Repeated,
    #[error("an alias (*) stands inside of what it repeats")]
    Circle,
    #[error("a key must be text")]
    Key,
    /// With the beginning of the key, as it is shown.
    #[error("key {0} stands there twice, first at {1}")]
    Twice(String, Position),
    #[error("a merge key (<<) must be the first of its mapping, and name mappings")]
    Merge,
    #[error(
        "a tag (!) other than !!str, !!int, !!float, !!bool, !!null, !!seq and !!map is not understood: remove it"
    )]
    Tag,
}

impl Fault {
    pub(crate) fn at(self, at: Position) -> SyntaxError {
        SyntaxError { at, fault: self }
    }
}
