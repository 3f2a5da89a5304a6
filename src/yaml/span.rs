//! Where values are in the text, in bytes, and trees as they are after an edit. The parser reports characters, and ends that include
//! comments and blank lines; an edit must not touch these.

use saphyr_parser::{Event, ScalarStyle, Span as Marks};

use crate::yaml::{Key, Node, Position, Value, resolve};

/// The text of a value, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    /// The first character of the first key or item of a block collection, and the bracket of a flow collection.
    pub(crate) start: usize,
    /// After the last character of the last value, without comments.
    pub(crate) end: usize,
}

impl Span {
    /// The span of a collection that starts here, with the span of its end event and the end of its last value.
    pub(super) fn until(self, end: Self, last: Option<usize>) -> Self {
        // A flow collection ends with a bracket, and its end event also covers the spaces and comments after it. A block collection
        // has no text of its own.
        let is_flow = end.end > end.start && self.end > self.start;
        Self { end: if is_flow { end.start + 1 } else { last.unwrap_or(self.end) }, ..self }
    }
}

/// Where a value is: for messages and for edits.
pub(super) type Place = (Position, Span);

/// Converts positions of the parser to bytes.
pub(super) struct Offsets<'a> {
    text: &'a str,
    /// The last position: events follow one another, so that each is near the one before.
    characters: usize,
    bytes: usize,
}

impl<'a> Offsets<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, characters: 0, bytes: 0 }
    }

    pub(super) fn span(&mut self, event: &Event<'_>, marks: &Marks) -> Span {
        let (start, end) = (self.byte(marks.start.index()), self.byte(marks.end.index()));
        let text = self.text.get(start..end).unwrap_or_default();
        let length = match event {
            Event::Scalar(_, ScalarStyle::SingleQuoted, ..) => quoted_length(text, '\''),
            Event::Scalar(_, ScalarStyle::DoubleQuoted, ..) => quoted_length(text, '"'),
            Event::Scalar(value, ScalarStyle::Literal | ScalarStyle::Folded, ..) => {
                // Blank lines at the end belong to the value if its header has `+`.
                let content = value.strip_suffix('\n').unwrap_or(value);
                match content.ends_with(char::is_whitespace) {
                    true => text.rfind('\n').unwrap_or(text.len()),
                    false => text.trim_end().len(),
                }
            }
            // Nothing is written. The position is that of the colon, or of the next token.
            Event::Scalar(value, ScalarStyle::Plain, ..) if value.is_empty() => {
                let start = start + usize::from(self.text[start..].starts_with(':'));
                return Span { start, end: start };
            }
            _ => text.len(),
        };
        Span { start, end: start + length }
    }

    fn byte(&mut self, index: usize) -> usize {
        if index < self.characters {
            let back = self.text[..self.bytes].chars().rev().take(self.characters - index);
            self.bytes -= back.map(char::len_utf8).sum::<usize>();
        } else {
            let ahead = self.text[self.bytes..].chars().take(index - self.characters);
            self.bytes += ahead.map(char::len_utf8).sum::<usize>();
        }
        self.characters = index;
        self.bytes
    }
}

/// The length of a text that begins with a quoted scalar, perhaps after an anchor or tag, up to the closing quote.
fn quoted_length(text: &str, quote: char) -> usize {
    let Some(open) = text.find(quote) else { return text.len() };
    let mut rest = text.char_indices().skip_while(|(at, _)| *at <= open);
    while let Some((at, c)) = rest.next() {
        if c == '\\' && quote == '"' {
            rest.next();
        } else if c == quote {
            let end = at + 1;
            if quote == '\'' && text[end..].starts_with(quote) {
                rest.next();
            } else {
                return end;
            }
        }
    }
    text.len()
}

/// An entry or item of a collection, in the order of the text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Child<'a> {
    /// `None` means an item.
    pub(crate) key: Option<&'a str>,
    /// The start of the key, or of the item.
    pub(crate) start: usize,
    pub(crate) node: &'a Node,
}

impl Node {
    pub(crate) fn span(&self) -> Span {
        self.span
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared
    }

    pub(crate) fn is_list(&self) -> bool {
        matches!(self.value, Value::List(_))
    }

    /// The items, or the entries that are in the text of this mapping: those of merge keys are elsewhere.
    pub(crate) fn children(&self) -> Vec<Child<'_>> {
        let mut children = Vec::new();
        match &self.value {
            Value::Map(entries) => {
                let inside = self.span.start..self.span.end;
                let own = entries.iter().filter(|(key, _)| inside.contains(&key.start));
                children.extend(own.map(|(key, node)| Child {
                    key: Some(&key.text),
                    start: key.start,
                    node,
                }));
            }
            Value::List(items) => {
                children.extend(items.iter().map(|node| Child { key: None, start: node.span.start, node }));
            }
            _ => {}
        }
        children
    }

    /// Whether two trees have the same values. The order of keys does not matter.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (&self.value, &other.value) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(one), Value::Bool(other)) => one == other,
            (Value::Number(one), Value::Number(other)) | (Value::Text(one), Value::Text(other)) => {
                one == other
            }
            (Value::List(one), Value::List(other)) => {
                one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.is_same(other))
            }
            (Value::Map(one), Value::Map(other)) => {
                one.len() == other.len()
                    && one.iter().enumerate().all(|(index, (key, node))| {
                        // Nearly always at the same index.
                        let at = if other[index].0.text == key.text {
                            Some(&other[index])
                        } else {
                            other.iter().find(|(found, _)| found.text == key.text)
                        };
                        at.is_some_and(|(_, found)| node.is_same(found))
                    })
            }
            _ => false,
        }
    }

    /// Whether this text, as a plain scalar, would be read as this text by any YAML parser.
    pub(crate) fn is_plain(text: &str) -> bool {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'-' | b':');
        let first = |b: &u8| b.is_ascii_alphabetic() || *b == b'/';
        // 12:30 and 1_000 are numbers for parsers of YAML 1.1.
        let word = text.as_bytes().first().is_some_and(first) || !text.contains([':', '_', '-', '/']);
        let types = || matches!(resolve(crate::secret::SecretBytes::new(text.into())), Value::Text(_));
        word && text.bytes().all(allowed) && !text.ends_with(':') && types()
    }

    /// A value as it is written as a plain or quoted scalar. `None` means that this is a collection.
    pub(crate) fn scalar(&self) -> Option<(&str, bool)> {
        match &self.value {
            Value::Null => Some(("null", false)),
            Value::Bool(value) => Some((if *value { "true" } else { "false" }, false)),
            Value::Number(text) => Some((text.expose_text().unwrap_or_default(), false)),
            Value::Text(text) => Some((text.expose_text().unwrap_or_default(), true)),
            _ => None,
        }
    }

    /// The value of a key, which may be `null`.
    pub(crate) fn entry_mut(&mut self, key: &str) -> Option<&mut Self> {
        let Value::Map(entries) = &mut self.value else { return None };
        entries.iter_mut().find(|(other, _)| other.text == key).map(|(_, node)| node)
    }

    pub(crate) fn item_mut(&mut self, index: usize) -> Option<&mut Self> {
        if let Value::List(items) = &mut self.value { items.get_mut(index) } else { None }
    }

    /// Adds an entry to a mapping.
    pub(crate) fn push_entry(&mut self, key: &str, node: Self) {
        if let Value::Map(entries) = &mut self.value {
            entries.push((Key { text: key.to_owned(), at: node.at, start: usize::MAX }, node));
        }
    }

    /// Adds an item to a list.
    pub(crate) fn insert_item(&mut self, index: usize, node: Self) {
        if let Value::List(items) = &mut self.value {
            items.insert(index.min(items.len()), node);
        }
    }

    pub(crate) fn remove_entry(&mut self, key: &str) {
        if let Value::Map(entries) = &mut self.value {
            entries.retain(|(other, _)| other.text != key);
        }
    }

    pub(crate) fn remove_item(&mut self, index: usize) {
        if let Value::List(items) = &mut self.value
            && index < items.len()
        {
            items.remove(index);
        }
    }
}
