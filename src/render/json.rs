//! Finds values inside the JSON text of a key, by JSON pointer (RFC 6901). Reads the text level by level and keeps no tree of it, so
//! that it takes little memory and no copies of secrets.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::credential::{FieldName, JsonPointer};
use crate::formats::NameList;
use crate::object::ObjectRef;
use crate::render::error::shown_pointer;
use crate::secret::{SecretBuffer, SecretBytes};

/// How many bytes of JSON may still be read.
#[derive(Default)]
pub(crate) struct JsonWork(usize);

impl JsonWork {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(bytes)
    }
}

/// A pointer of `.keys` that selects no value.
#[derive(Debug, thiserror::Error)]
#[error("{object}, key {key}, JSON pointer {}: {cause}", shown_pointer(pointer))]
pub(crate) struct JsonProblem {
    pub(crate) object: ObjectRef,
    pub(crate) key: FieldName,
    pub(crate) pointer: JsonPointer,
    pub(crate) cause: JsonError,
}

/// Why a pointer selects no value. Messages contain names of members, never values.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JsonError {
    #[error("the key's value is not JSON: correct it, or remove `#` and the pointer from the entry in .keys")]
    NotJson,
    /// A member or element that does not exist.
    #[error("not found; {available}")]
    Missing { available: Level },
    #[error("selects {selected}, not a string, number or boolean; {available}")]
    NotScalar { selected: &'static str, available: Level },
    #[error("continues after a string, number, boolean or null: shorten it")]
    TooDeep,
    #[error(
        "all pointers of this credential together read too much JSON: use fewer pointers, or a smaller value"
    )]
    TooMuchWork,
}

impl JsonError {
    /// Whether what the pointer names may still be added to the JSON.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }
}

/// What an object or array contains, for a message.
#[derive(Debug)]
pub(crate) enum Level {
    Members(NameList),
    Elements(usize),
    Nothing,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Members(names) => write!(f, "available: {names}"),
            Self::Elements(count) => write!(f, "the array has {count} elements"),
            Self::Nothing => {
                f.write_str("store a value there, or remove the null and mark the entry optional with `?`")
            }
        }
    }
}

/// Finds the value that the pointer selects: a string without its quotes and escapes, a number in its own digits, or a boolean.
pub(crate) fn find(
    value: &SecretBytes,
    pointer: &JsonPointer,
    work: &mut JsonWork,
) -> Result<SecretBytes, JsonError> {
    let text = value.expose_text().ok_or(JsonError::NotJson)?;
    let mut rest: &RawValue = read(text, work)?;
    for token in pointer.tokens() {
        rest = match rest.get().as_bytes() {
            [b'{' | b'[', ..] => read_seed(rest.get(), Child { token }, work)?
                .ok_or(())
                .or_else(|()| Err(JsonError::Missing { available: level(rest.get(), work)? }))?,
            _ => return Err(JsonError::TooDeep),
        };
    }
    let text = rest.get();
    let selected = match text.as_bytes() {
        [b'"', ..] => return unescape(text).ok_or(JsonError::NotJson),
        [b'{', ..] => "an object",
        [b'[', ..] => "an array",
        [b'n', ..] => "null",
        _ => return Ok(text.into()),
    };
    Err(JsonError::NotScalar { selected, available: level(text, work)? })
}

/// Reads a whole JSON text.
fn read<'t, T: serde::Deserialize<'t>>(text: &'t str, work: &mut JsonWork) -> Result<T, JsonError> {
    read_seed(text, std::marker::PhantomData, work)
}

fn read_seed<'t, S: DeserializeSeed<'t>>(
    text: &'t str,
    seed: S,
    work: &mut JsonWork,
) -> Result<S::Value, JsonError> {
    work.0 = work.0.checked_sub(text.len()).ok_or(JsonError::TooMuchWork)?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = seed.deserialize(&mut deserializer).map_err(|_| JsonError::NotJson)?;
    deserializer.end().map_err(|_| JsonError::NotJson)?;
    Ok(value)
}

/// Selects the member or element of this name. Of several members with one name, the last, as nearly all readers do.
#[derive(Clone, Copy)]
struct Child<'p> {
    token: &'p str,
}

impl Child<'_> {
    /// The index that the name is: digits, without leading zeros.
    fn index(self) -> Option<usize> {
        let is_index = self.token == "0" || !self.token.starts_with(['0', '+']);
        self.token.parse().ok().filter(|_| is_index)
    }
}

impl<'t> DeserializeSeed<'t> for Child<'_> {
    type Value = Option<&'t RawValue>;

    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'t> Visitor<'t> for Child<'_> {
    type Value = Option<&'t RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or array")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_wanted) = members.next_key_seed(Name { wanted: self.token })? {
            match is_wanted {
                true => found = Some(members.next_value()?),
                false => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let (wanted, mut found, mut at) = (self.index(), None, 0);
        while let Some(element) = elements.next_element::<&RawValue>()? {
            if wanted == Some(at) {
                found = Some(element);
            }
            at += 1;
        }
        Ok(found)
    }
}

/// Compares the name of a member.
struct Name<'p> {
    wanted: &'p str,
}

impl<'t> DeserializeSeed<'t> for Name<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.wanted)
    }
}

/// Lists what an object or array contains.
fn level(text: &str, work: &mut JsonWork) -> Result<Level, JsonError> {
    match text.as_bytes() {
        [b'{' | b'[', ..] => read_seed(text, List, work),
        _ => Ok(Level::Nothing),
    }
}

struct List;

impl<'t> DeserializeSeed<'t> for List {
    type Value = Level;

    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<Level, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'t> Visitor<'t> for List {
    type Value = Level;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or array")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut members: A) -> Result<Level, A::Error> {
        let mut names = Vec::new();
        while let Some(name) = members.next_key::<String>()? {
            members.next_value::<IgnoredAny>()?;
            names.push(name);
        }
        Ok(Level::Members(NameList::new(names)))
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut elements: A) -> Result<Level, A::Error> {
        let mut count = 0;
        while elements.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Level::Elements(count))
    }
}

/// The characters of a valid JSON string. `None` means that it has half of a surrogate pair, which is not a character.
fn unescape(text: &str) -> Option<SecretBytes> {
    let mut out = SecretBuffer::with_capacity(text.len());
    let mut rest = text.strip_prefix('"')?.strip_suffix('"')?;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let (escape, after) = after.split_at_checked(1)?;
        rest = after;
        let c = match escape {
            "n" => '\n',
            "r" => '\r',
            "t" => '\t',
            "b" => '\u{8}',
            "f" => '\u{c}',
            "u" => {
                let (first, after) = unit(rest)?;
                let (second, after) = match (0xD800..0xDC00).contains(&first) {
                    true => unit(after.strip_prefix("\\u")?).map(|(second, after)| (Some(second), after))?,
                    false => (None, after),
                };
                rest = after;
                char::decode_utf16([first].into_iter().chain(second)).next()?.ok()?
            }
            // The quote, the backslash and the slash.
            other => other.chars().next()?,
        };
        out.push_char(c);
    }
    out.push_str(rest);
    Some(out.finish())
}

/// Reads four hexadecimal digits.
fn unit(text: &str) -> Option<(u16, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    Some((u16::from_str_radix(digits, 16).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a\"\\\\\n/é😀\u{1}]{0,5}".prop_map(Value::from),
        ];
        let name = "[a~/0 é\"]{0,2}";
        leaf.prop_recursive(4, 32, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(name, inner, 0..4).prop_map(|members| json!(members)),
            ]
        })
    }

    /// The text of a scalar.
    fn scalar(value: &Value) -> Option<String> {
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    proptest! {
        /// serde_json's own `Value::pointer` builds a tree and walks it.
        #[test]
        fn pointers_select_what_another_implementation_selects(
            value in value(),
            names in prop::collection::vec("[a~/0123 é\"]{0,2}", 0..4),
            is_pretty in any::<bool>(),
        ) {
            let escaped = |name: &String| format!("/{}", name.replace('~', "~0").replace('/', "~1"));
            let pointer: String = names.iter().map(escaped).collect();
            let text = if is_pretty { format!("{value:#}") } else { value.to_string() };
            let found = JsonPointer::parse(&pointer).map(|pointer| {
                find(&text.as_str().into(), &pointer, &mut JsonWork::new(usize::MAX))
            });
            let expected = value.pointer(&pointer).and_then(scalar);
            match found.unwrap() {
                Ok(found) => prop_assert_eq!(found.expose_text().unwrap(), expected.unwrap()),
                Err(error) => prop_assert!(expected.is_none(), "{}", error),
            }
        }

        #[test]
        fn no_text_causes_a_panic(text in r#"[{}\[\]":,a0\\ud8]{0,24}"#) {
            let pointer = JsonPointer::parse("/a/0").unwrap();
            let _ = find(&text.as_str().into(), &pointer, &mut JsonWork::new(1000));
        }
    }
}
