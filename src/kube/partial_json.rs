//! A few fields of a large JSON document. Decoding drops every other field, such as the variables in a pod's spec.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

use crate::kube::error::Cause;

/// The fields that are kept, wherever they occur.
const FIELDS: [&str; 18] = [
    "apiGroups",
    "args",
    "command",
    "containers",
    "initContainerStatuses",
    "initContainers",
    "name",
    "phase",
    "resourceNames",
    "resourceRules",
    "resources",
    "restartPolicy",
    "running",
    "spec",
    "state",
    "status",
    "terminated",
    "verbs",
];
/// The largest document, in bytes. Decoded, it may take several times as much memory.
const LIMIT: usize = 1024 * 1024;

/// A value of the document.
#[derive(Debug, Default)]
pub(crate) enum PartialJson {
    /// Only fields of [`FIELDS`].
    Object(Vec<(&'static str, Self)>),
    List(Vec<Self>),
    /// Zeroed on drop: an argument may be a password.
    Text(Zeroizing<String>),
    /// A number, a boolean or null; also the value of a missing field.
    #[default]
    Other,
}

impl PartialJson {
    /// Decodes a response.
    ///
    /// # Errors
    /// If it is not JSON or too large.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Cause> {
        if body.len() > LIMIT {
            return Err(Cause::TooLarge { limit: LIMIT });
        }
        serde_json::from_slice(body).map_err(|_| Cause::unreadable("not JSON"))
    }

    pub(crate) fn get(&self, field: &str) -> &Self {
        const MISSING: &PartialJson = &PartialJson::Other;
        let Self::Object(fields) = self else { return MISSING };
        fields.iter().find(|(name, _)| *name == field).map_or(MISSING, |(_, value)| value)
    }

    /// The items of a list; none of any other value.
    pub(crate) fn items(&self) -> &[Self] {
        if let Self::List(items) = self { items } else { &[] }
    }

    /// The text; empty for any other value.
    pub(crate) fn text(&self) -> &str {
        if let Self::Text(text) = self { text } else { "" }
    }

    /// Whether a list has one of these texts.
    pub(crate) fn has_any(&self, texts: [&str; 2]) -> bool {
        self.items().iter().any(|item| texts.contains(&item.text()))
    }
}

impl<'de> Deserialize<'de> for PartialJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PartialJsonVisitor)
    }
}

struct PartialJsonVisitor;

impl<'de> Visitor<'de> for PartialJsonVisitor {
    type Value = PartialJson;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PartialJson, A::Error> {
        let mut fields = Vec::new();
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            match FIELDS.iter().find(|field| **field == key) {
                Some(field) => fields.push((*field, map.next_value()?)),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(PartialJson::Object(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<PartialJson, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(PartialJson::List(items))
    }

    fn visit_str<E>(self, text: &str) -> Result<PartialJson, E> {
        Ok(PartialJson::Text(Zeroizing::new(text.to_owned())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<PartialJson, E> {
        Ok(PartialJson::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<PartialJson, E> {
        Ok(PartialJson::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<PartialJson, E> {
        Ok(PartialJson::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<PartialJson, E> {
        Ok(PartialJson::Other)
    }

    fn visit_unit<E>(self) -> Result<PartialJson, E> {
        Ok(PartialJson::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_fields_that_podcreds_uses_are_kept() {
        let body =
            br#"{"spec":{"name":"a","env":[{"name":"X","value":"test-value"}],"args":["b",1,null,true,0.5]}}"#;
        let decoded = PartialJson::parse(body).unwrap();
        let spec = decoded.get("spec");
        assert_eq!((spec.get("name").text(), spec.get("args").items().len()), ("a", 5));
        assert!(spec.get("args").has_any(["b", "c"]) && !spec.get("args").has_any(["c", "d"]));
        assert!(matches!(spec, PartialJson::Object(fields) if fields.len() == 2), "{spec:?}");
        assert!(matches!(spec.get("env").get("value"), PartialJson::Other));
    }

    #[test]
    fn a_document_that_is_not_json_or_too_large_is_rejected() {
        for body in [&b""[..], b"<html>", b"{", &b"[".repeat(100_000), &b" ".repeat(LIMIT + 1)] {
            assert!(PartialJson::parse(body).is_err());
        }
    }
}
