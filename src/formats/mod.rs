//! How fields are written: one file per family of formats, which takes fields or a connection and appends bytes. Quoting rules
//! are in `escape`, the choice of the format and the paths of the files in `render`. Pure: no I/O, no clock, no environment.

pub(crate) mod connection;
mod error;
pub(crate) mod jdbc;
pub(crate) mod libpq;
pub(crate) mod mycnf;
pub(crate) mod text;
pub(crate) mod uri;

use std::collections::BTreeMap;

pub(crate) use error::{FormatError, NameList};

use crate::credential::FieldName;
use crate::secret::SecretBytes;

/// The values of one credential, in order of field name.
pub(crate) type Fields<'a> = BTreeMap<FieldName, &'a SecretBytes>;

/// Returns a value as text without NUL, which no line of a text format can represent.
pub(crate) fn field_text<'a>(field: &FieldName, value: &'a SecretBytes) -> Result<&'a str, FormatError> {
    value
        .expose_text()
        .filter(|text| !text.contains('\0'))
        .ok_or_else(|| FormatError::Binary { field: field.clone() })
}
