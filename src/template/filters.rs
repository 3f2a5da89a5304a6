//! The filters. Each escaping rule of `escape` is one.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose};

use crate::escape::{LINE_BREAK, RULES, Unrepresentable};
use crate::secret::{SecretBuffer, SecretBytes};
use crate::template::error::Problem;

/// Decodes base64 with or without padding.
const DECODER: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The other filters of a value. `default` is not among them, because it takes a name that may be undefined.
const OTHERS: [&str; 6] = ["b64decode", "b64encode", "lower", REPLACE, "trim", "upper"];

/// The only one with arguments: the text to search for, and its replacement. The renderer applies it.
pub(crate) const REPLACE: &str = "replace";

/// The names of all filters, sorted.
pub(crate) fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = RULES.iter().map(|(name, _)| *name).chain(OTHERS).chain(["default"]).collect();
    names.sort_unstable();
    names
}

/// The filter of this name.
pub(crate) fn find(name: &str) -> Option<&'static str> {
    RULES.iter().map(|(name, _)| *name).chain(OTHERS).find(|known| *known == name)
}

/// Applies a filter without arguments. With `placeholders`, `b64decode` passes through a value that is not base64.
///
/// # Errors
/// For binary input of a text filter, and for a value that the filter cannot write.
pub(crate) fn apply(name: &'static str, value: &[u8], placeholders: bool) -> Result<SecretBytes, Problem> {
    if name == "b64encode" {
        let mut out = vec![0; base64::encoded_len(value.len(), true).unwrap_or(0)];
        // The buffer has the exact length, so encoding cannot fail.
        let _ = general_purpose::STANDARD.encode_slice(value, &mut out);
        return Ok(SecretBytes::new(out));
    }
    let text = std::str::from_utf8(value).map_err(|_| Problem::Binary { field: None })?;
    let mut out = SecretBuffer::with_capacity(text.len() + 2);
    match name {
        "b64decode" => match decode(text) {
            Some(decoded) => return Ok(decoded),
            None if placeholders => out.push_str(text),
            None => return Err(Problem::NotBase64),
        },
        "lower" => text.chars().flat_map(char::to_lowercase).for_each(|c| out.push_char(c)),
        "trim" => out.push_str(text.trim()),
        "upper" => text.chars().flat_map(char::to_uppercase).for_each(|c| out.push_char(c)),
        _ => {
            if let Some((_, rule)) = RULES.iter().find(|(rule, _)| *rule == name) {
                rule(text, &mut out).map_err(|refused| unrepresentable(name, text, refused))?;
            }
        }
    }
    Ok(out.finish())
}

fn unrepresentable(filter: &'static str, text: &str, refused: Unrepresentable) -> Problem {
    let rest = text.trim_end_matches(['\n', '\r']);
    let is_at_end = refused == LINE_BREAK && !rest.contains(['\n', '\r']);
    Problem::Unrepresentable { filter, what: refused.0, is_at_end }
}

/// Decodes base64 and ignores line breaks, which many encoders insert.
fn decode(text: &str) -> Option<SecretBytes> {
    let mut packed = SecretBuffer::with_capacity(text.len());
    text.split_ascii_whitespace().for_each(|piece| packed.push_str(piece));
    let packed = packed.finish();
    let mut out = vec![0; base64::decoded_len_estimate(packed.expose().len())];
    // Wrapped before the result is checked, so that the bytes are overwritten even if decoding fails.
    let decoded = DECODER.decode_slice(packed.expose(), &mut out);
    let out = SecretBytes::new(out);
    Some(SecretBytes::new(out.expose().get(..decoded.ok()?)?.to_vec()))
}
