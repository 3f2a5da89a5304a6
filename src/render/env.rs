//! `env`: a file that any POSIX shell can source, whatever the values hold. Inside single quotes a shell changes
//! nothing, and a single quote itself is written as `'\''`.
//! Source: <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html#tag_19_02_02>

use crate::render::error::Problem;
use crate::render::fields::{Fields, text, variable};
use crate::secret::SecretBuffer;

/// Writes `export NAME='value'` lines, so that what is sourced reaches the programs that the shell starts.
pub(super) fn write(fields: &Fields<'_>, out: &mut SecretBuffer) -> Result<(), Problem> {
    for (field, value) in fields {
        let (name, text) = (variable(field)?, text(field, value)?);
        out.push_str("export ");
        out.push_str(name);
        out.push_str("='");
        for (index, piece) in text.split('\'').enumerate() {
            out.push_str(if index == 0 { "" } else { "'\\''" });
            out.push_str(piece);
        }
        out.push_str("'\n");
    }
    Ok(())
}
