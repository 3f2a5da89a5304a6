//! `env` files for annotations of vault-db-injector: variables with the user name and the password, or with a URI that
//! contains both.

use std::collections::BTreeMap;

use crate::credential::{FieldName, InjectorEnv, UriTemplate};
use crate::escape::percent;
use crate::formats::Fields;
use crate::formats::connection::{FieldText, require_field};
use crate::formats::error::FormatError;
use crate::formats::field_alias::{PASSWORD, USERNAME};
use crate::formats::text::write_env;
use crate::secret::{SecretBuffer, SecretBytes};

/// Writes one line per variable. Only user name and password are read, so that other fields of the Secret cannot be invalid.
pub(crate) fn write(
    variables: &InjectorEnv,
    fields: &Fields<'_>,
    out: &mut SecretBuffer,
) -> Result<(), FormatError> {
    let (username, password) = (require_field(fields, USERNAME)?, require_field(fields, PASSWORD)?);
    match variables {
        InjectorEnv::Classic { user, password: names } => {
            let (username, password) = (SecretBytes::from(username.text), SecretBytes::from(password.text));
            let variables = assign(user, &username).chain(assign(names, &password));
            write_env(&variables.collect::<BTreeMap<_, _>>(), out)
        }
        InjectorEnv::Uri { names, uri } => {
            let uri = insert_user(uri, username, password)?;
            write_env(&assign(names, &uri).collect::<BTreeMap<_, _>>(), out)
        }
    }
}

fn assign<'a>(
    names: &'a [FieldName],
    value: &'a SecretBytes,
) -> impl Iterator<Item = (FieldName, &'a SecretBytes)> {
    names.iter().map(move |name| (name.clone(), value))
}

fn insert_user(
    uri: &UriTemplate,
    username: FieldText<'_>,
    password: FieldText<'_>,
) -> Result<SecretBytes, FormatError> {
    let mut out = SecretBuffer::default();
    out.push_str(uri.scheme());
    username.write(percent, &mut out)?;
    out.push_str(":");
    password.write(percent, &mut out)?;
    out.push_str("@");
    out.push_str(uri.rest());
    Ok(out.finish())
}
