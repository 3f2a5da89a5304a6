//! Finds the parts of a connection among the fields of a credential, each under the names that it may have.
//! Sources of the names: the Secrets of CloudNativePG, Crunchy's PGO, Zalando's operator, RabbitMQ's cluster
//! operator, and the Service Binding Specification; docs/formats/secrets.md has the whole list.

use std::fmt;

use crate::credential::{Credential, Engine, FieldName, engine_of_scheme};
use crate::escape::{EscapeFn, LINE_BREAK, Unrepresentable};
use crate::formats::hint::Hint;
use crate::formats::{Fields, FormatError, NameList, field_text};
use crate::secret::SecretBuffer;

/// The names that a value of a connection may have without `.keys`: the ones that database operators and providers write into
/// Secrets. The first field that exists and is not empty is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FieldAliases(pub(crate) &'static [&'static str]);

pub(crate) const USERNAME: FieldAliases = FieldAliases(&["username", "user"]);
pub(crate) const PASSWORD: FieldAliases = FieldAliases(&["password", "pass"]);
pub(crate) const HOST: FieldAliases = FieldAliases(&["host", "hostname", "endpoint"]);
pub(crate) const PORT: FieldAliases = FieldAliases(&["port"]);
pub(crate) const DATABASE: FieldAliases = FieldAliases(&["database", "dbname", "db"]);
pub(crate) const ENGINE: FieldAliases = FieldAliases(&["engine", "type"]);
pub(crate) const OPTIONS: FieldAliases = FieldAliases(&["options"]);
/// A whole connection in one value. RabbitMQ's cluster operator writes `connection_string`, MongoDB's operator the others.
pub(crate) const URI: FieldAliases =
    FieldAliases(&["uri", "connection_string", "connectionString.standard", "connectionString.standardSrv"]);

/// Every list of aliases. Any other field that the annotations name is an option.
pub(crate) const ALL_ALIASES: [FieldAliases; 8] =
    [USERNAME, PASSWORD, HOST, PORT, DATABASE, ENGINE, OPTIONS, URI];
/// Fields of a Service Binding that describe its origin and are not options of a connection.
pub(crate) const IGNORED_FIELDS: [&str; 1] = ["provider"];

/// What a URI contains besides options.
pub(crate) const PARTS: [FieldAliases; 5] = [USERNAME, PASSWORD, HOST, PORT, DATABASE];

/// The row of names that contains this one, if it is a part of a connection that a URI holds.
pub(crate) fn find_part(name: &str) -> Option<FieldAliases> {
    PARTS.into_iter().find(|aliases| aliases.contains(name))
}

/// The row of names that contains this one.
pub(crate) fn find_aliases(name: &str) -> Option<FieldAliases> {
    ALL_ALIASES.into_iter().find(|aliases| aliases.contains(name))
}

/// Whether a field is part of the address or login of a connection.
pub(crate) fn is_part_of_connection(field: &FieldName) -> bool {
    find_aliases(field.as_str()).is_some()
}

impl FieldAliases {
    /// The preferred name.
    pub(crate) fn name(self) -> &'static str {
        self.0.first().copied().unwrap_or_default()
    }

    pub(crate) fn contains(self, field: &str) -> bool {
        self.0.contains(&field)
    }

    /// Whether the last word of a name is one of these, as in `POSTGRES_PASSWORD`, `db.user` and `PGHOST`.
    pub(crate) fn end(self, name: &str) -> bool {
        let word = name.rsplit(['-', '_', '.']).next().unwrap_or_default().to_ascii_lowercase();
        self.0.iter().any(|alias| word == *alias || (alias.len() > 3 && word.ends_with(alias)))
    }

    /// The entry of `.keys` that maps the part, with the only field that seems to contain it.
    pub(crate) fn entry(self, fields: &Fields<'_>) -> String {
        let is_similar = |field: &&FieldName| self.end(field.as_str()) && !self.contains(field.as_str());
        let mut similar = fields.keys().filter(is_similar);
        let key = match (similar.next(), similar.next()) {
            (Some(field), None) => field.as_str(),
            _ => "<its key>",
        };
        format!("{}={key}", self.name())
    }
}

impl fmt::Display for FieldAliases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] | [_] => f.write_str(self.name()),
            [name, others @ ..] => write!(f, "{name} (also read from: {})", others.join(", ")),
        }
    }
}

/// The text of a field.
#[derive(Clone, Copy)]
pub(crate) struct FieldText<'a> {
    pub(crate) field: &'a FieldName,
    pub(crate) text: &'a str,
}

impl FieldText<'_> {
    /// Without white space at the ends, which `echo` and editors leave in a Secret.
    pub(crate) fn trim(self) -> Self {
        Self { text: self.text.trim(), ..self }
    }

    /// Writes the text by an escaping rule.
    pub(crate) fn write(&self, rule: EscapeFn, out: &mut SecretBuffer) -> Result<(), FormatError> {
        rule(self.text, out).map_err(|refused| self.unsupported(refused))
    }

    pub(crate) fn unsupported(&self, refused: Unrepresentable) -> FormatError {
        match is_line_break_at_end(self.text, refused) {
            true => FormatError::LineBreakAtEnd { name: self.field.to_string() },
            false => FormatError::unsupported(self.field, refused),
        }
    }
}

/// Whether all that a format cannot represent is the line break that `.trim` removes.
pub(crate) fn is_line_break_at_end(text: &str, refused: Unrepresentable) -> bool {
    let rest = text.strip_suffix('\n').map(|rest| rest.strip_suffix('\r').unwrap_or(rest));
    refused == LINE_BREAK && rest.is_some_and(|rest| !rest.contains(['\n', '\r']))
}

pub(crate) fn missing_field(fields: &Fields<'_>, aliases: FieldAliases) -> FormatError {
    missing_field_with(fields, aliases, Hint::find(fields))
}

pub(crate) fn missing_field_with(fields: &Fields<'_>, aliases: FieldAliases, hint: Hint) -> FormatError {
    let available = NameList::new(fields.keys().map(FieldName::as_str));
    FormatError::MissingField { aliases, entry: aliases.entry(fields), available, hint }
}

/// Neither user nor password. `with_hint` is false beside another error that has the hint.
pub(crate) fn missing_login(fields: &Fields<'_>, with_hint: bool) -> FormatError {
    FormatError::MissingLogin {
        entries: format!("{}, {}", USERNAME.entry(fields), PASSWORD.entry(fields)),
        available: NameList::new(fields.keys().map(FieldName::as_str)),
        hint: if with_hint { Hint::find(fields) } else { Hint::Nothing },
    }
}

pub(crate) fn missing_engine(fields: &Fields<'_>) -> FormatError {
    FormatError::MissingEngine { hint: Hint::find(fields) }
}

/// Finds the first field with one of these names that is not empty.
pub(crate) fn find_field<'a>(
    fields: &'a Fields<'a>,
    aliases: FieldAliases,
) -> Result<Option<FieldText<'a>>, FormatError> {
    for name in aliases.0 {
        let found =
            fields.iter().find(|(field, value)| field.as_str() == *name && !value.expose().is_empty());
        if let Some((field, value)) = found {
            return Ok(Some(FieldText { field, text: field_text(field, value)? }));
        }
    }
    Ok(None)
}

/// As [`find_field`], but a name from `.override` or `.set` takes precedence: if the annotations decide where a password goes, by
/// whatever name, no source can change it.
pub(crate) fn find_field_of<'a>(
    credential: &Credential,
    fields: &'a Fields<'a>,
    aliases: FieldAliases,
) -> Result<Option<FieldText<'a>>, FormatError> {
    for (field, value) in credential.overrides.iter().chain(&credential.inline_fields) {
        if aliases.contains(field.as_str())
            && !value.expose().is_empty()
            && let Some((field, value)) = fields.get_key_value(field)
        {
            return Ok(Some(FieldText { field, text: field_text(field, value)? }));
        }
    }
    find_field(fields, aliases)
}

pub(crate) fn require_field<'a>(
    fields: &'a Fields<'a>,
    aliases: FieldAliases,
) -> Result<FieldText<'a>, FormatError> {
    find_field(fields, aliases)?.ok_or_else(|| missing_field(fields, aliases))
}

/// Finds the engine in the field `engine` or `type`, or in the scheme of the URI. The field names the service alone, so the
/// scheme decides whether the service is reached over TLS.
pub(crate) fn find_engine(
    credential: &Credential,
    fields: &Fields<'_>,
) -> Result<Option<Engine>, FormatError> {
    let of_uri = find_uri(credential, fields)?.map(|(_, engine)| engine);
    let Some(found) = find_field_of(credential, fields, ENGINE)? else { return Ok(of_uri) };
    let named = Engine::find(found.text.trim())
        .ok_or_else(|| FormatError::UnknownEngine { field: found.field.clone() })?;
    Ok(match (named, of_uri) {
        (Engine::Amqp, Some(Engine::Amqps)) | (Engine::Redis, Some(Engine::Rediss)) => of_uri,
        _ => Some(named),
    })
}

/// Finds the field with a whole URI, if its scheme is that of a database engine.
pub(crate) fn find_uri<'a>(
    credential: &Credential,
    fields: &'a Fields<'a>,
) -> Result<Option<(FieldText<'a>, Engine)>, FormatError> {
    let found = find_field_of(credential, fields, URI)?;
    Ok(found.and_then(|uri| Some((uri, engine_of_uri(uri.text)?))))
}

/// The engine that the scheme of a URI names.
pub(crate) fn engine_of_uri(text: &str) -> Option<Engine> {
    engine_of_scheme(text.trim().split_once("://")?.0)
}
