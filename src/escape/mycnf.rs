//! A value of an option file of MySQL and MariaDB, in double quotes, so that spaces at its ends stay and `#` begins no
//! comment.
//! Source: <https://dev.mysql.com/doc/refman/8.4/en/option-files.html#option-file-syntax>

use crate::escape::{Refused, without_nul};
use crate::secret::SecretBuffer;

/// Writes the text in double quotes.
///
/// # Errors
/// For NUL.
pub(crate) fn mycnf(text: &str, out: &mut SecretBuffer) -> Result<(), Refused> {
    without_nul(text)?;
    out.push_str("\"");
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            _ => out.push_char(c),
        }
    }
    out.push_str("\"");
    Ok(())
}
