//! `properties`: a file for `java.util.Properties`.

use crate::escape;
use crate::render::error::Problem;
use crate::render::fields::{Fields, escaped};
use crate::secret::SecretBuffer;

/// Writes one `key=value` line a field. The names of fields need no escapes.
pub(crate) fn write(fields: &Fields<'_>, out: &mut SecretBuffer) -> Result<(), Problem> {
    for (field, value) in fields {
        out.push_str(field.as_str());
        out.push_str("=");
        escaped(escape::properties, field, value, out)?;
        out.push_str("\n");
    }
    Ok(())
}
