//! A field of a line of `.pgpass`: a backslash stands before `:` and `\`.
//! Source: <https://www.postgresql.org/docs/current/libpq-pgpass.html>

use crate::escape::{Refused, without_nul};
use crate::secret::SecretBuffer;

/// Writes the text as one field.
///
/// # Errors
/// For NUL and for what ends a line.
pub(crate) fn pgpass(text: &str, out: &mut SecretBuffer) -> Result<(), Refused> {
    without_nul(text)?;
    if text.contains(['\n', '\r']) {
        return Err(Refused("a line break"));
    }
    for c in text.chars() {
        if matches!(c, ':' | '\\') {
            out.push_str("\\");
        }
        out.push_char(c);
    }
    Ok(())
}
