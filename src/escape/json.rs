//! A string of JSON.
//! Source: RFC 8259, section 7.

use crate::escape::Refused;
use crate::secret::SecretBuffer;

/// Writes the text as a string with its quotes.
///
/// # Errors
/// None: JSON has an escape for every character.
pub(crate) fn json(text: &str, out: &mut SecretBuffer) -> Result<(), Refused> {
    // A string into memory: there is nothing that could fail.
    let _ = serde_json::to_writer(out, text);
    Ok(())
}
