//! `env`: a file that any POSIX shell can source, whatever the values hold.

use crate::credential::is_shells_own;
use crate::escape;
use crate::render::error::Problem;
use crate::render::fields::{Fields, escaped, variable};
use crate::secret::SecretBuffer;

/// Writes `export NAME='value'` lines, so that what is sourced reaches the programs that the shell starts.
pub(crate) fn write(fields: &Fields<'_>, out: &mut SecretBuffer) -> Result<(), Problem> {
    for (field, value) in fields {
        let name = variable(field)?;
        if is_shells_own(name) {
            return Err(Problem::ShellsOwn { field: field.clone() });
        }
        out.push_str("export ");
        out.push_str(name);
        out.push_str("=");
        escaped(escape::shell, field, value, out)?;
        out.push_str("\n");
    }
    Ok(())
}
