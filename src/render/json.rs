//! `json`: an object of strings.
//! Source: RFC 8259.

use std::collections::BTreeMap;

use crate::render::error::Problem;
use crate::render::fields::Fields;
use crate::secret::SecretBuffer;

/// Writes one member a field, indented by two spaces.
pub(crate) fn write(fields: &Fields<'_>, out: &mut SecretBuffer) -> Result<(), Problem> {
    let mut members = BTreeMap::new();
    for (field, value) in fields {
        let Some(text) = value.expose_text() else { return Err(Problem::Binary { field: field.clone() }) };
        members.insert(field.as_str(), text);
    }
    // Strings into memory: there is nothing that could fail.
    let _ = serde_json::to_writer_pretty(&mut *out, &members);
    out.push_str("\n");
    Ok(())
}
