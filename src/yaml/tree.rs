//! From the events of the parser to a tree, with a bound on all that grows.

use std::borrow::Cow;
use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};

use crate::secret::SecretBytes;
use crate::yaml::entries::Entries;
use crate::yaml::scalar::resolve;
use crate::yaml::syntax::Fault;
use crate::yaml::{DEPTH_LIMIT, NODE_LIMIT, Node, Position, SyntaxError, TEXT_LIMIT, Value};

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
