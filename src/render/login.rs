//! Connections without a login. If a Secret has the user and the password under names that are not known, a connection could be
//! written without them, and every client would fail to log in.

use crate::credential::{ClientFileFormat, Credential, Engine, KeyMapping, Output};
use crate::formats::connection::Connection;
use crate::formats::parts::{FieldAliases, PASSWORD, USERNAME, missing_login};
use crate::formats::{Fields, FormatError, NameList};
use crate::object::Kind;
use crate::render::notice::Notice;

/// Checks that a connection has a user or a password, and finds out which of them is probably missing by mistake.
///
/// Only all keys of a Secret are expected to contain a login: an author who lists keys, or uses a ConfigMap or a Service alone, decides
/// that there is none (`trust`, `peer`, a server without authentication). The same applies to a URL without user information.
/// `is_alone` tells whether the connection lacks nothing else.
///
/// # Errors
/// If it has neither.
pub(crate) fn check<'a>(
    credential: &'a Credential,
    fields: &Fields<'_>,
    connection: &Connection<'_>,
    has_url: bool,
    is_alone: bool,
) -> Result<Option<Notice<'a>>, FormatError> {
    let has_secret = credential.source_objects().any(|object| object.kind == Kind::Secret);
    if has_url || !has_secret || credential.key_mapping != KeyMapping::All {
        return Ok(None);
    }
    let missing = match (connection.username, connection.password) {
        (None, None) => return Err(missing_login(fields, is_alone)),
        (None, Some(_)) if !needs_user(credential, connection) => return Ok(None),
        (None, Some(_)) => USERNAME,
        (Some(_), None) => PASSWORD,
        (Some(_), Some(_)) => return Ok(None),
    };
    Ok(Some(notice(credential, fields, missing)))
}

/// Redis has a default user. The client of a password file names the user.
fn needs_user(credential: &Credential, connection: &Connection<'_>) -> bool {
    let is_redis = matches!(connection.engine, Some(Engine::Redis | Engine::Rediss));
    !is_redis && !matches!(credential.output, Output::ClientFile { format: ClientFileFormat::Pgpass, .. })
}

fn notice<'a>(credential: &'a Credential, fields: &Fields<'_>, part: FieldAliases) -> Notice<'a> {
    let available = NameList::new(fields.keys().map(|field| field.as_str()));
    Notice::Login { name: &credential.name, part, entry: part.entry(fields), available }
}
