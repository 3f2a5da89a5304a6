//! A word of a POSIX shell. Inside single quotes a shell changes nothing, and a single quote itself is written as `'\''`.
//! Source: <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html#tag_19_02_02>

use crate::escape::{Refused, without_nul};
use crate::secret::SecretBuffer;

/// Writes the text in single quotes.
///
/// # Errors
/// For NUL.
pub fn shell(text: &str, out: &mut SecretBuffer) -> Result<(), Refused> {
    without_nul(text)?;
    out.push_str("'");
    for (index, piece) in text.split('\'').enumerate() {
        out.push_str(if index == 0 { "" } else { "'\\''" });
        out.push_str(piece);
    }
    out.push_str("'");
    Ok(())
}
