//! The filters: how a value is written for its reader. Those for a format are the rules of `escape`, under their names.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose};

use crate::escape::{RULES, Unrepresentable};
use crate::secret::{SecretBuffer, SecretBytes};
use crate::template::error::Problem;

/// Base64 with or without `=` at its end.
const DECODER: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The filters that are no rules of `escape`. `default` is none of these: it is about a name, and no value.
const OTHERS: [&str; 5] = ["b64decode", "b64encode", "lower", "trim", "upper"];

/// The name of every filter, in order.
pub(crate) fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = RULES.iter().map(|(name, _)| *name).chain(OTHERS).chain(["default"]).collect();
    names.sort_unstable();
    names
}

/// The filter of this name, if there is one that takes a value alone.
pub(crate) fn find(name: &str) -> Option<&'static str> {
    RULES.iter().map(|(name, _)| *name).chain(OTHERS).find(|known| *known == name)
}

/// Applies a filter. `b64decode` leaves what is no base64 as it is where the values only stand for others.
///
/// # Errors
/// For bytes where the filter wants text, and for a value that it cannot write.
pub(crate) fn apply(name: &'static str, value: &[u8], stand_ins: bool) -> Result<SecretBytes, Problem> {
    if name == "b64encode" {
        let mut out = vec![0; base64::encoded_len(value.len(), true).unwrap_or(0)];
        // The length is that of base64, always.
        let _ = general_purpose::STANDARD.encode_slice(value, &mut out);
        return Ok(SecretBytes::new(out));
    }
    let text = std::str::from_utf8(value).map_err(|_| Problem::Binary { field: None })?;
    let mut out = SecretBuffer::with_capacity(text.len() + 2);
    match name {
        "b64decode" => match decode(text) {
            Some(decoded) => return Ok(decoded),
            None if stand_ins => out.push_str(text),
            None => return Err(Problem::NotBase64),
        },
        "lower" => text.chars().flat_map(char::to_lowercase).for_each(|c| out.push_char(c)),
        "trim" => out.push_str(text.trim()),
        "upper" => text.chars().flat_map(char::to_uppercase).for_each(|c| out.push_char(c)),
        _ => {
            if let Some((_, rule)) = RULES.iter().find(|(rule, _)| *rule == name) {
                rule(text, &mut out)
                    .map_err(|Unrepresentable(what)| Problem::Refused { filter: name, what })?;
            }
        }
    }
    Ok(out.finish())
}

/// Reads base64, with the line breaks that its writers put in.
fn decode(text: &str) -> Option<SecretBytes> {
    let mut packed = SecretBuffer::with_capacity(text.len());
    text.split_ascii_whitespace().for_each(|piece| packed.push_str(piece));
    let packed = packed.finish();
    let mut out = vec![0; base64::decoded_len_estimate(packed.expose().len())];
    // Overwritten when dropped, also where what it holds turns out to be no base64.
    let decoded = DECODER.decode_slice(packed.expose(), &mut out);
    let out = SecretBytes::new(out);
    Some(SecretBytes::new(out.expose().get(..decoded.ok()?)?.to_vec()))
}
