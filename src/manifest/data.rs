//! The values of a Secret or ConfigMap, as the API server stores them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::manifest::Object;
use crate::object::Data;
use crate::secret::SecretBytes;
use crate::text::shown_key;
use crate::yaml::Node;

/// The values of all keys. `stringData` replaces keys of `data`, and `null` is an empty value.
///
/// # Errors
/// The first value that the API server rejects, and why.
pub(crate) fn data<'a>(object: &Object<'a>) -> Result<Data, (&'a Node, String)> {
    let is_secret = object.kind == "Secret";
    let [encoded, plain] = if is_secret { ["data", "stringData"] } else { ["binaryData", "data"] };
    let entries = |field| object.node.get(field).into_iter().flat_map(Node::entries);
    let mut data = Data::new();
    for (key, _, value) in entries(encoded) {
        let decoded = decode(value).ok_or_else(|| {
            let key = shown_key(key);
            (value, format!("{encoded}.{key} is not base64: plain text belongs in {plain}"))
        })?;
        data.insert(key.to_owned(), decoded);
    }
    for (key, _, value) in entries(plain) {
        let text = text_or_null(value).ok_or_else(|| {
            let (key, found) = (shown_key(key), value.type_name());
            (
                value,
                format!("{plain}.{key} is {found}, and the API server accepts only text: put it in quotes"),
            )
        })?;
        data.insert(key.to_owned(), text.into());
    }
    Ok(data)
}

/// Decodes a value as the API server does: without line breaks. `None` means that it is not base64.
pub(crate) fn decode(value: &Node) -> Option<SecretBytes> {
    let text = text_or_null(value)?.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n'));
    let text = Zeroizing::new(text.collect::<Vec<_>>());
    STANDARD.decode(&*text).ok().map(SecretBytes::new)
}

fn text_or_null(value: &Node) -> Option<&str> {
    if value.type_name() == "null" { Some("") } else { value.text() }
}
