//! Writes a text into a bounded buffer, above all a connection: with the values that only a URI in the fields contains, and in redacted
//! output without those from Secrets.

use crate::credential::{Credential, Engine, FieldName};
use crate::formats::connection::{CONNECTION_LIMIT, Connection};
use crate::formats::options::OptionSet;
use crate::formats::parts::{URI, find_uri};
use crate::formats::text::FormatErrors;
use crate::formats::{Fields, FormatError, uri};
use crate::render::error::Problem;
use crate::render::login;
use crate::render::notice::Notice;
use crate::render::redaction::Redaction;
use crate::secret::{SecretBuffer, SecretBytes};

/// Writes one kind of connection.
pub(crate) type WriteConnection<'a> =
    &'a dyn Fn(&Connection<'_>, &mut SecretBuffer) -> Result<(), FormatError>;

/// What a connection is read from besides the fields.
pub(crate) struct ConnectionInput<'a> {
    /// The URL that is read as if its key were `uri`, and whether it does not come from a Secret.
    pub(crate) url: Option<(&'a SecretBytes, bool)>,
    /// Replace other names of a part, or a part of a URI.
    pub(crate) overrides: &'a [(&'a FieldName, &'a SecretBytes)],
    pub(crate) redaction: Option<Redaction<'a>>,
    /// Whether the value of a field does not come from a Secret.
    pub(crate) is_public: &'a dyn Fn(&FieldName) -> bool,
}

/// Writes a connection, including the values that only a URI in the fields contains, and returns it with a notice about its login.
/// For redacted output, it redacts the parsed connection, not the fields: a single placeholder for all fields would not be a valid
/// port or host.
pub(crate) fn write_connection<'a>(
    credential: &'a Credential,
    engine: Option<Engine>,
    option_set: OptionSet,
    values: &Fields<'_>,
    ConnectionInput { url, overrides, redaction, is_public }: &ConnectionInput<'_>,
    write: WriteConnection<'_>,
) -> Result<(SecretBytes, Option<Notice<'a>>), Vec<Problem>> {
    let one = |error: FormatError| problems(vec![error]);
    let mut fields = values.clone();
    // A URI of `.override` counts, whatever the source calls its own.
    let of_uri = overrides.iter().filter(|(field, _)| URI.contains(field.as_str()));
    fields.extend(of_uri.map(|(field, value)| ((*field).clone(), *value)));
    let uri = find_uri(credential, &fields).map_err(one)?.map(|(uri, _)| uri.field.clone());
    if let (Some((url, _)), None, Ok(field)) = (*url, &uri, FieldName::parse(URI.name())) {
        fields.insert(field, url);
    }
    let from_uri = uri::missing_fields(credential, &fields, url.is_some()).map_err(one)?;
    fields.extend(from_uri.iter().map(|(field, value)| (field.clone(), value)));
    fields.extend(overrides.iter().map(|(field, value)| ((*field).clone(), *value)));
    let connection = Connection::from_fields(credential, engine, option_set, &fields).map_err(one)?;
    let connection = match redaction {
        Some(Redaction { all, .. }) => connection.redacted(&|field| {
            // In the order in which they replace each other.
            let is_override = |field: &FieldName| overrides.iter().any(|(other, _)| *other == field);
            let is_of_uri = from_uri.iter().any(|(other, _)| other == field);
            let is_public_uri = || match &uri {
                Some(uri) => is_override(uri) || is_public(uri),
                None => url.is_some_and(|(_, public)| public),
            };
            !all && (is_override(field) || if is_of_uri { is_public_uri() } else { is_public(field) })
        }),
        None => connection,
    };
    let too_long = FormatError::LongConnection { limit: CONNECTION_LIMIT };
    let write = |out: &mut SecretBuffer| write(&connection, out).map_err(|error| vec![error]);
    let content = buffered(&write, CONNECTION_LIMIT, too_long.into());
    let login = login::check(credential, values, &connection, !from_uri.is_empty(), content.is_ok());
    match (content, login) {
        (Ok(content), Ok(notice)) => Ok((content, notice)),
        (Ok(_), Err(error)) => Err(problems(vec![error])),
        (Err(mut all), Err(error)) if all.iter().all(Problem::is_missing_part) => {
            all.extend(problems(vec![error]));
            Err(all)
        }
        (Err(all), _) => Err(all),
    }
}

pub(crate) type Write<'a> = &'a dyn Fn(&mut SecretBuffer) -> Result<(), FormatErrors>;

/// Writes into a buffer of at most `limit` bytes. `beyond` is the problem if that is not enough.
pub(crate) fn buffered(write: Write<'_>, limit: usize, beyond: Problem) -> Result<SecretBytes, Vec<Problem>> {
    let mut out = SecretBuffer::bounded(limit);
    write(&mut out).map_err(problems)?;
    if out.has_overflowed() { Err(vec![beyond]) } else { Ok(out.finish()) }
}

pub(crate) fn problems(errors: FormatErrors) -> Vec<Problem> {
    errors.into_iter().map(Problem::Format).collect()
}
