//! What a client needs to reach a database and log in: the fields of a credential under the names that the makers of
//! Secrets give them.
//! Sources: the Secrets of CloudNativePG, Crunchy's PGO, Zalando's operator, RabbitMQ's cluster operator, and the Service
//! Binding Specification; docs/formats/secrets.md has the whole list.

use crate::credential::{Credential, Engine, FieldName, Keys};
use crate::escape::{EscapeFn, Unrepresentable, percent_decode};
use crate::render::error::Problem;
use crate::render::fields::{Fields, text};
use crate::render::part::{
    ABOUT, DATABASE, ENGINE, HOST, OPTIONS, PARTS, PASSWORD, PORT, Part, URI, USERNAME,
};
use crate::secret::{SecretBuffer, SecretBytes};

/// What the fields of a credential say. A part that is empty is not given.
pub(crate) struct Connection<'a> {
    /// The annotation's, the field's, or that of a `uri` which came with the others.
    pub(crate) engine: Option<Engine>,
    pub(crate) username: Option<Given<'a>>,
    pub(crate) password: Option<Given<'a>>,
    /// In their order; none, one, or several where `host` is a list.
    pub(crate) hosts: Vec<Host<'a>>,
    /// Where it was given beside the hosts.
    pub(crate) port: Option<&'a str>,
    pub(crate) database: Option<Given<'a>>,
    /// Names and values, in the order in which `.set` or `.keys` has them, then those of the field `options`.
    pub(crate) options: Vec<Parameter>,
}

/// An option.
#[derive(Clone)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) value: SecretBytes,
    /// The field that holds its name too, which is then as secret as its value.
    pub(crate) from: Option<FieldName>,
}

impl Parameter {
    /// Its value, which is text.
    pub(crate) fn text(&self) -> &str {
        self.value.expose_text().unwrap_or_default()
    }

    /// That it cannot be written.
    pub(crate) fn refused(&self, Unrepresentable(what): Unrepresentable) -> Problem {
        match &self.from {
            Some(field) => Problem::Refused { field: field.clone(), what },
            None => Problem::BadOption { name: self.name.clone(), what },
        }
    }
}

/// A part with the field that it came from.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a> {
    pub(crate) field: &'a FieldName,
    pub(crate) text: &'a str,
}

impl Given<'_> {
    /// Writes it by a rule.
    pub(crate) fn write(&self, rule: EscapeFn, out: &mut SecretBuffer) -> Result<(), Problem> {
        rule(self.text, out)
            .map_err(|Unrepresentable(what)| Problem::Refused { field: self.field.clone(), what })
    }
}

/// One server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Host<'a> {
    /// A name, an address (of IPv6 without its brackets), or the absolute path of a Unix socket or its folder.
    pub(crate) name: &'a str,
    /// Its own, or the one that all have.
    pub(crate) port: Option<&'a str>,
}

impl Host<'_> {
    pub(crate) fn is_socket(&self) -> bool {
        self.name.starts_with('/')
    }

    pub(crate) fn is_ipv6(&self) -> bool {
        self.name.contains(':')
    }
}

impl<'a> Connection<'a> {
    /// Reads the fields.
    pub(crate) fn of(credential: &'a Credential, fields: &'a Fields<'a>) -> Result<Self, Problem> {
        let part = |part: Part| given(fields, part);
        let port = part(PORT)?.map(|given| check_port(given).map(|()| given.text)).transpose()?;
        let hosts = part(HOST)?.map_or_else(|| Ok(Vec::new()), |given| hosts(given, port))?;
        Ok(Self {
            engine: engine(credential, fields)?,
            username: part(USERNAME)?,
            password: part(PASSWORD)?,
            hosts,
            port,
            database: part(DATABASE)?,
            options: options(credential, fields)?,
        })
    }

    /// The engine, which some formats cannot do without.
    pub(crate) fn needs_engine(&self) -> Result<Engine, Problem> {
        self.engine.ok_or(Problem::NoEngine)
    }

    /// The hosts, at least one.
    pub(crate) fn needs_hosts(&self, fields: &Fields<'_>) -> Result<&[Host<'a>], Problem> {
        if self.hosts.is_empty() { Err(missing(HOST, fields)) } else { Ok(&self.hosts) }
    }

    /// The only host.
    pub(crate) fn needs_one_host(&self, fields: &Fields<'_>) -> Result<&Host<'a>, Problem> {
        match self.needs_hosts(fields)? {
            [host] => Ok(host),
            _ => Err(Problem::SeveralHosts),
        }
    }
}

/// A part that is not there.
pub(crate) fn missing(part: Part, fields: &Fields<'_>) -> Problem {
    Problem::NoPart { part, present: fields.keys().map(ToString::to_string).collect() }
}

/// A part as text.
pub(crate) fn given<'a>(fields: &'a Fields<'a>, part: Part) -> Result<Option<Given<'a>>, Problem> {
    for name in part.0 {
        let found =
            fields.iter().find(|(field, value)| field.as_str() == *name && !value.expose().is_empty());
        if let Some((field, value)) = found {
            return Ok(Some(Given { field, text: text(field, value)? }));
        }
    }
    Ok(None)
}

/// The engine: the annotation's, that of a field, or that of the URI. A field names the service, and the URI beside it
/// may say that this is reached by TLS.
fn engine(credential: &Credential, fields: &Fields<'_>) -> Result<Option<Engine>, Problem> {
    if let Some(engine) = credential.engine {
        return Ok(Some(engine));
    }
    let of_uri = uri(fields)?.map(|(_, engine)| engine);
    let Some(given) = given(fields, ENGINE)? else { return Ok(of_uri) };
    let named = Engine::parse(given.text.trim())
        .map_err(|_| Problem::UnknownEngine { field: given.field.clone() })?;
    Ok(match (named, of_uri) {
        (Engine::Amqp, Some(Engine::Amqps)) | (Engine::Redis, Some(Engine::Rediss)) => of_uri,
        _ => Some(named),
    })
}

/// The URI that came with the other fields and its engine, if it is one of a database.
pub(crate) fn uri<'a>(fields: &'a Fields<'a>) -> Result<Option<(Given<'a>, Engine)>, Problem> {
    let given = given(fields, URI)?;
    Ok(given.and_then(|uri| Some((uri, Engine::parse(uri.text.trim().split_once("://")?.0).ok()?))))
}

/// Reads a list of hosts: `name`, `name:port`, an IPv6 address with or without brackets, or a path, between commas.
pub(crate) fn hosts<'a>(given: Given<'a>, port: Option<&'a str>) -> Result<Vec<Host<'a>>, Problem> {
    let bad = || Problem::BadPart {
        field: given.field.clone(),
        form: "a host name, an address or an absolute path, or several between commas",
    };
    let read = |text: &'a str| {
        let (name, own) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((name, "")) => (name, None),
            Some((name, rest)) => (name, Some(rest.strip_prefix(':').ok_or_else(bad)?)),
            None if text.starts_with('/') || text.matches(':').count() > 1 => (text, None),
            None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
        };
        own.map_or(Ok(()), |port| check_port(Given { text: port, ..given }))?;
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        let is_good = match name.as_bytes() {
            [] => false,
            [b'/', rest @ ..] => rest.iter().all(|b| (b' '..=b'~').contains(b)),
            _ if name.contains(':') => name.parse::<core::net::Ipv6Addr>().is_ok(),
            bytes => bytes.iter().all(|b| is_plain(*b)),
        };
        if is_good { Ok(Host { name, port: own.or(port) }) } else { Err(bad()) }
    };
    given.text.trim().split(',').map(|text| read(text.trim())).collect()
}

fn check_port(given: Given<'_>) -> Result<(), Problem> {
    let digits = given.text.bytes().all(|b| b.is_ascii_digit());
    match given.text.parse::<u16>() {
        Ok(1..) if digits => Ok(()),
        _ => Err(Problem::BadPart { field: given.field.clone(), form: "a port, from 1 to 65535" }),
    }
}

/// The fields that `.keys` and `.set` name.
pub(crate) fn named(credential: &Credential) -> impl Iterator<Item = &FieldName> {
    let listed = match &credential.keys {
        Keys::All => &[][..],
        Keys::Listed(keys) => keys,
    };
    listed.iter().map(|(field, _)| field).chain(credential.literals.iter().map(|(field, _)| field))
}

/// What `.set` and `.keys` name that is no part, and what the field `options` holds as the query of a URI.
fn options(credential: &Credential, fields: &Fields<'_>) -> Result<Vec<Parameter>, Problem> {
    let is_option = |field: &&FieldName| {
        !PARTS.iter().any(|part| part.is_named(field.as_str())) && !ABOUT.contains(&field.as_str())
    };
    let mut options: Vec<Parameter> = Vec::new();
    for field in named(credential).filter(is_option) {
        // One that is optional may be missing.
        if let Some(value) = fields.get(field) {
            text(field, value)?;
            options.push(Parameter { name: field.to_string(), value: (*value).clone(), from: None });
        }
    }
    if let Some(given) = given(fields, OPTIONS)? {
        let bad = || Problem::BadPart {
            field: given.field.clone(),
            form: "options as in a URI, name=value&name=value, none of them user, password, host, port or database",
        };
        for pair in given.text.trim().trim_start_matches('?').split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(bad)?;
            let name =
                percent_decode(name).and_then(|name| Some(name.expose_text()?.to_owned())).ok_or_else(bad)?;
            let is_text = |value: &SecretBytes| value.expose_text().is_some_and(|text| !text.contains('\0'));
            let value = percent_decode(value).filter(is_text).ok_or_else(bad)?;
            let is_taken = options.iter().any(|other| other.name == name) || is_reserved(&name);
            if name.is_empty() || name.contains('\0') || is_taken {
                return Err(bad());
            }
            options.push(Parameter { name, value, from: Some(given.field.clone()) });
        }
    }
    Ok(options)
}

/// Names by which an option would be another server, user or database than the one that the fields name.
const RESERVED: [&str; 18] = [
    "user",
    "username",
    "password",
    "pass",
    "host",
    "hostname",
    "hostaddr",
    "endpoint",
    "port",
    "database",
    "dbname",
    "db",
    "databasename",
    "servername",
    "portnumber",
    "instancename",
    "service",
    "socket",
];

fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name.to_ascii_lowercase().as_str())
}

/// What stands for parts that are not to be seen, in the form that a part must have.
const HIDDEN: &str = "hidden";

impl<'a> Connection<'a> {
    /// The same with every value replaced, so that what it is written to can be shown.
    pub(crate) fn hidden(mut self) -> Self {
        for given in [&mut self.username, &mut self.password, &mut self.database].into_iter().flatten() {
            given.text = HIDDEN;
        }
        for host in &mut self.hosts {
            host.name = if host.is_socket() { "/hidden" } else { HIDDEN };
            host.port = host.port.map(|_| "1");
        }
        self.port = self.port.map(|_| "1");
        for option in &mut self.options {
            option.value = HIDDEN.into();
            if option.from.is_some() {
                HIDDEN.clone_into(&mut option.name);
            }
        }
        self
    }
}
