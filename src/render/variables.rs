//! `env` in the vocabulary of vault-db-injector: variables that get the user and the password, or a URI with both.

use std::collections::BTreeMap;

use crate::credential::{Exported, FieldName, UriTemplate, VariableFile, Variables};
use crate::escape::percent;
use crate::render::connection::{Given, given, missing};
use crate::render::error::Problem;
use crate::render::fields::Fields;
use crate::render::part::{PASSWORD, Part, USERNAME};
use crate::render::{dotenv, env, envfile};
use crate::secret::{SecretBuffer, SecretBytes};

/// Writes one line for each variable.
pub(crate) fn write(
    variables: &Variables,
    fields: &Fields<'_>,
    out: &mut SecretBuffer,
) -> Result<(), Problem> {
    // Nothing else of the Secret matters, and nothing else of it can be wrong.
    let part = |part: Part| given(fields, part)?.ok_or_else(|| missing(part, fields));
    let (username, password) = (part(USERNAME)?, part(PASSWORD)?);
    match variables {
        Variables::Classic { user, password: names } => {
            let (username, password) = (SecretBytes::from(username.text), SecretBytes::from(password.text));
            env::write(
                &named(user, &username).chain(named(names, &password)).collect::<BTreeMap<_, _>>(),
                out,
            )
        }
        Variables::Uri { names, uri } => {
            let uri = with_user(uri, username, password)?;
            env::write(&named(names, &uri).collect::<BTreeMap<_, _>>(), out)
        }
    }
}

/// A file that sets each of these variables to this text.
pub(crate) fn export(exported: &Exported, text: &SecretBytes) -> Result<SecretBytes, Problem> {
    let write = match exported.file {
        VariableFile::Env => env::write,
        VariableFile::Dotenv => dotenv::write,
        VariableFile::Envfile => envfile::write,
    };
    let mut out = SecretBuffer::default();
    write(&named(&exported.names, text).collect::<BTreeMap<_, _>>(), &mut out)?;
    Ok(out.finish())
}

fn named<'a>(
    names: &'a [FieldName],
    value: &'a SecretBytes,
) -> impl Iterator<Item = (FieldName, &'a SecretBytes)> {
    names.iter().map(move |name| (name.clone(), value))
}

fn with_user(uri: &UriTemplate, username: Given<'_>, password: Given<'_>) -> Result<SecretBytes, Problem> {
    let mut out = SecretBuffer::default();
    out.push_str(uri.scheme());
    username.write(percent, &mut out)?;
    out.push_str(":");
    password.write(percent, &mut out)?;
    out.push_str("@");
    out.push_str(uri.rest());
    Ok(out.finish())
}
