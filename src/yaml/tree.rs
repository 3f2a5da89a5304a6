//! Builds a tree from the events of the parser. Depth, number of values and the bytes that aliases repeat are bounded.

use std::borrow::Cow;
use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};

use crate::secret::SecretBytes;
use crate::text::RedactedPrefix;
use crate::yaml::error::{SyntaxError, SyntaxErrorKind};
use crate::yaml::grammar;
use crate::yaml::span::{Offsets, Place, Span};
use crate::yaml::{Key, Limits, Node, Position, Value, resolve};

const START: Position = Position { line: 1, column: 1 };

/// Parses a single document within [`Limits::KUBECONFIG`]. Empty text is `null`.
///
/// # Errors
/// The first syntax error, duplicate key or exceeded bound.
pub(crate) fn parse(text: &[u8]) -> Result<Node, SyntaxError> {
    let text = decode(text, &Limits::KUBECONFIG)?;
    let (mut tree, mut offsets) = (Tree::new(Limits::KUBECONFIG), Offsets::new(text));
    let mut events = Parser::new_from_str(text);
    while let Some(event) = events.next_event() {
        let (event, span) = event.map_err(|error| syntax(text, &error))?;
        tree.take((position(span.start), offsets.span(&event, &span)), event)?;
    }
    Ok(tree.root.unwrap_or_else(|| Node::new(Value::Null, (START, Span::default()))))
}

/// Parses all documents of a stream, together within [`Limits::MANIFEST`]. Documents that are empty or `null` are skipped.
///
/// # Errors
/// The first syntax error, duplicate key or exceeded bound.
pub(crate) fn parse_stream(text: &[u8]) -> Result<Vec<Node>, SyntaxError> {
    parse_within(Limits::MANIFEST, text)
}

pub(super) fn parse_within(limits: Limits, text: &[u8]) -> Result<Vec<Node>, SyntaxError> {
    let text = decode(text, &limits)?;
    let mut documents = Vec::new();
    let (mut tree, mut offsets) = (Tree::new(limits), Offsets::new(text));
    let mut events = Parser::new_from_str(text);
    while let Some(event) = events.next_event() {
        let (event, span) = event.map_err(|error| syntax(text, &error))?;
        if let Event::DocumentEnd = event {
            // All documents are in memory together.
            let next = Tree { nodes: tree.nodes, repeated: tree.repeated, ..Tree::new(limits) };
            let tree = std::mem::replace(&mut tree, next);
            documents.extend(tree.root.filter(|root| !matches!(root.value, Value::Null)));
        } else {
            tree.take((position(span.start), offsets.span(&event, &span)), event)?;
        }
    }
    Ok(documents)
}

fn decode<'a>(text: &'a [u8], limits: &Limits) -> Result<&'a str, SyntaxError> {
    if text.len() > limits.text {
        return Err(SyntaxErrorKind::TooLong { limit: limits.text }.at(START));
    }
    std::str::from_utf8(text).map_err(|error| {
        let line = text[..error.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        SyntaxErrorKind::NotText.at(Position { line, ..START })
    })
}

fn position(mark: Marker) -> Position {
    Position { line: mark.line(), column: mark.col() + 1 }
}

fn syntax(text: &str, error: &ScanError) -> SyntaxError {
    let (said, at) = grammar::cause(text, error, position(*error.marker()));
    SyntaxErrorKind::Grammar(said.to_owned()).at(at)
}

/// The name of a tag, if it is of the YAML core schema.
fn core(tag: &Tag) -> Option<&str> {
    tag.is_yaml_core_schema().then_some(&tag.suffix)
}

/// A tree under construction.
struct Tree {
    limits: Limits,
    /// The enclosing collections of the next node.
    open: Vec<OpenNode>,
    root: Option<Node>,
    /// Anchored nodes, by the number that the parser gives them.
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
    repeated: usize,
}

/// A collection whose end event is still to come.
struct OpenNode {
    place: Place,
    anchor: usize,
    frame: Frame,
}

enum Frame {
    List(Vec<Node>),
    Map(Entries),
}

impl Tree {
    fn new(limits: Limits) -> Self {
        Self { limits, open: Vec::new(), root: None, anchors: BTreeMap::new(), nodes: 0, repeated: 0 }
    }

    fn take(&mut self, place: Place, event: Event<'_>) -> Result<(), SyntaxError> {
        let (at, span) = place;
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = self.scalar(text, style, tag.as_deref(), at)?;
                if let Some(value) = value {
                    self.complete(Node::new(value, place), anchor)?;
                }
            }
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).ok_or_else(|| SyntaxErrorKind::Circle.at(at))?;
                let size = NodeSize::new(node);
                if self.open.len() + size.height > self.limits.depth {
                    return Err(self.too_deep(at));
                }
                let node = node.clone();
                self.count(&size, at)?;
                self.complete(Node { at, span, is_shared: true, ..node }, 0)?;
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(Frame::List(Vec::new()), anchor, "seq", tag.as_deref(), place)?;
            }
            Event::MappingStart(anchor, tag) => {
                self.open(Frame::Map(Entries::default()), anchor, "map", tag.as_deref(), place)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(OpenNode { place: (at, start), anchor, frame }) = self.open.pop() {
                    let (last, value) = match frame {
                        Frame::List(items) => (items.last().map(|item| item.span.end), Value::List(items)),
                        Frame::Map(entries) => (entries.end, Value::Map(entries.finish())),
                    };
                    self.complete(Node::new(value, (at, start.until(span, last))), anchor)?;
                }
            }
            Event::DocumentStart(_) if self.root.is_some() => {
                return Err(SyntaxErrorKind::SecondDocument.at(at));
            }
            _ => {}
        }
        Ok(())
    }

    /// The value of a scalar. `None` means that it is a merge key.
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
            Some(_) => return Err(SyntaxErrorKind::Tag.at(at)),
        }))
    }

    /// Whether `<<` is a merge key here, which it is where a key is expected.
    fn merges(&mut self, at: Position) -> Result<bool, SyntaxError> {
        match self.open.last_mut() {
            Some(OpenNode { frame: Frame::Map(entries), .. }) if entries.expects_key() => {
                entries.merge(at)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn open(
        &mut self,
        frame: Frame,
        anchor: usize,
        kind: &str,
        tag: Option<&Tag>,
        place: Place,
    ) -> Result<(), SyntaxError> {
        let (at, _) = place;
        if tag.is_some_and(|tag| core(tag) != Some(kind)) {
            return Err(SyntaxErrorKind::Tag.at(at));
        }
        if self.open.len() == self.limits.depth {
            return Err(self.too_deep(at));
        }
        if let Some(OpenNode { frame: Frame::Map(entries), .. }) = self.open.last()
            && entries.expects_key()
        {
            return Err(SyntaxErrorKind::Key.at(at));
        }
        self.open.push(OpenNode { place, anchor, frame });
        Ok(())
    }

    /// Adds a complete node to the enclosing collection.
    fn complete(&mut self, mut node: Node, anchor: usize) -> Result<(), SyntaxError> {
        self.nodes += 1;
        self.check_nodes(node.at)?;
        if anchor != 0 {
            node.is_shared = true;
            self.count(&NodeSize::new(&node), node.at)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.frame) {
            None => self.root = Some(node),
            Some(Frame::List(items)) => items.push(node),
            Some(Frame::Map(entries)) => entries.take(node)?,
        }
        Ok(())
    }

    /// Charges a copy to the bounds.
    fn count(&mut self, size: &NodeSize, at: Position) -> Result<(), SyntaxError> {
        self.nodes += size.nodes;
        self.repeated += size.bytes;
        self.check_nodes(at)?;
        let limit = self.limits.repeated;
        if self.repeated > limit { Err(SyntaxErrorKind::Repeated { limit }.at(at)) } else { Ok(()) }
    }

    fn check_nodes(&self, at: Position) -> Result<(), SyntaxError> {
        let limit = self.limits.nodes;
        if self.nodes > limit { Err(SyntaxErrorKind::TooMany { limit }.at(at)) } else { Ok(()) }
    }

    fn too_deep(&self, at: Position) -> SyntaxError {
        SyntaxErrorKind::TooDeep { limit: self.limits.depth }.at(at)
    }
}

/// The size of a node, including the node itself.
struct NodeSize {
    nodes: usize,
    bytes: usize,
    height: usize,
}

impl NodeSize {
    fn new(node: &Node) -> Self {
        let mut size = Self { nodes: 1, bytes: 0, height: 0 };
        match &node.value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(text) | Value::Text(text) => size.bytes = text.expose().len(),
            Value::List(items) => items.iter().for_each(|item| size.add(&Self::new(item))),
            Value::Map(entries) => {
                for (key, node) in entries {
                    size.bytes += key.text.len();
                    size.add(&Self::new(node));
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

/// A mapping under construction. Duplicate keys are rejected, and merge keys are resolved.
/// Source: <https://yaml.org/type/merge.html>
#[derive(Default)]
pub(crate) struct Entries {
    own: Vec<(Key, Node)>,
    /// The positions of its own keys.
    seen: BTreeMap<String, Position>,
    /// Entries of merged mappings. The first one with a key wins.
    merged: Vec<(Key, Node)>,
    /// The key of the next value.
    next: Option<MapKey>,
    /// The end of the last value in the text.
    end: Option<usize>,
}

enum MapKey {
    Own(Key),
    Merge(Position),
}

impl Entries {
    pub(crate) fn expects_key(&self) -> bool {
        self.next.is_none()
    }

    pub(crate) fn merge(&mut self, at: Position) -> Result<(), SyntaxError> {
        // In kubectl a merge after a key overrides that key, in other libraries it does not. Reject what is ambiguous.
        if !self.own.is_empty() || !self.merged.is_empty() {
            return Err(SyntaxErrorKind::Merge.at(at));
        }
        self.next = Some(MapKey::Merge(at));
        Ok(())
    }

    pub(crate) fn take(&mut self, node: Node) -> Result<(), SyntaxError> {
        self.end = Some(node.span.end);
        match self.next.take() {
            None => self.next = Some(MapKey::Own(self.key(node)?)),
            Some(MapKey::Own(key)) => self.own.push((key, node)),
            Some(MapKey::Merge(at)) => {
                let sources = if let Value::List(items) = node.value { items } else { vec![node] };
                for source in sources {
                    let Value::Map(entries) = source.value else { return Err(SyntaxErrorKind::Merge.at(at)) };
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
            Value::List(_) | Value::Map(_) => return Err(SyntaxErrorKind::Key.at(at)),
        };
        match self.seen.insert(text.to_owned(), at) {
            Some(first) => Err(SyntaxErrorKind::Twice(RedactedPrefix(text).to_string(), first).at(at)),
            None => Ok(Key { text: text.to_owned(), at, start: node.span.start }),
        }
    }

    /// Its own entries, and then the merged ones whose keys it does not have.
    pub(crate) fn finish(mut self) -> Vec<(Key, Node)> {
        for (key, node) in self.merged {
            if !self.seen.contains_key(&key.text) {
                self.seen.insert(key.text.clone(), key.at);
                self.own.push((key, Node { is_shared: true, ..node }));
            }
        }
        // A `Vec` begins with room for four entries, and there may be very many mappings of one.
        self.own.shrink_to_fit();
        self.own
    }
}
