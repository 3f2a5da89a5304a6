//! A value of a keyword/value connection string of libpq, in single quotes; a backslash stands before `'` and `\`.
//! Source: <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-KEYWORD-VALUE>

use crate::escape::{Refused, without_nul};
use crate::secret::SecretBuffer;

/// Writes the text in single quotes.
///
/// # Errors
/// For NUL.
pub(crate) fn libpq(text: &str, out: &mut SecretBuffer) -> Result<(), Refused> {
    without_nul(text)?;
    out.push_str("'");
    for c in text.chars() {
        if matches!(c, '\'' | '\\') {
            out.push_str("\\");
        }
        out.push_char(c);
    }
    out.push_str("'");
    Ok(())
}
