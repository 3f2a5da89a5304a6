//! What a client needs to reach a database and log in: the fields of a credential under the names that the makers of
//! Secrets give them.
//! Sources: the Secrets of CloudNativePG, Crunchy's PGO, Zalando's operator, RabbitMQ's cluster operator, and the Service
//! Binding Specification; docs/formats/README.md has the whole list.

use crate::credential::{Credential, Engine, FieldName, Keys};
use crate::escape::{Refused, Rule, unpercent};
use crate::render::error::Problem;
use crate::render::fields::{Fields, text};
use crate::secret::{SecretBuffer, SecretBytes};

/// A part of a connection, by the names that its field may have. The first that is there and not empty counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part(pub(super) &'static [&'static str]);

pub(super) const USERNAME: Part = Part(&["username", "user"]);
pub(super) const PASSWORD: Part = Part(&["password", "pass"]);
pub(super) const HOST: Part = Part(&["host", "hostname", "endpoint"]);
pub(super) const PORT: Part = Part(&["port"]);
pub(super) const DATABASE: Part = Part(&["database", "dbname", "db"]);
pub(super) const ENGINE: Part = Part(&["engine", "type"]);
pub(super) const OPTIONS: Part = Part(&["options"]);

/// All of them: what has another name is an option, where the annotations name it.
const PARTS: [Part; 7] = [USERNAME, PASSWORD, HOST, PORT, DATABASE, ENGINE, OPTIONS];
/// Fields of a Service Binding that say where it comes from, and nothing that a client would be told.
const ABOUT: [&str; 1] = ["provider"];

impl Part {
    fn is_named(self, field: &str) -> bool {
        self.0.contains(&field)
    }
}

/// What the fields of a credential say. A part that is empty is not given.
pub(super) struct Connection<'a> {
    /// The annotation's, the field's, or that of a `uri` which came with the others.
    pub(super) engine: Option<Engine>,
    pub(super) username: Option<Given<'a>>,
    pub(super) password: Option<Given<'a>>,
    /// In their order; none, one, or several where `host` is a list.
    pub(super) hosts: Vec<Host<'a>>,
    /// Where it was given beside the hosts.
    pub(super) port: Option<&'a str>,
    pub(super) database: Option<Given<'a>>,
    /// Names and values, in the order in which `.set` or `.keys` has them, then those of the field `options`.
    pub(super) options: Vec<(String, SecretBytes)>,
}

/// A part with the field that it came from.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) field: &'a FieldName,
    pub(super) text: &'a str,
}

impl Given<'_> {
    /// Writes it by a rule.
    pub(super) fn write(&self, rule: Rule, out: &mut SecretBuffer) -> Result<(), Problem> {
        rule(self.text, out).map_err(|Refused(what)| Problem::Refused { field: self.field.clone(), what })
    }
}

/// One server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Host<'a> {
    /// A name, an address (of IPv6 without its brackets), or the absolute path of a Unix socket or its folder.
    pub(super) name: &'a str,
    /// Its own, or the one that all have.
    pub(super) port: Option<&'a str>,
}

impl Host<'_> {
    pub(super) fn is_socket(&self) -> bool {
        self.name.starts_with('/')
    }

    pub(super) fn is_ipv6(&self) -> bool {
        self.name.contains(':')
    }
}

impl<'a> Connection<'a> {
    /// Reads the fields.
    pub(super) fn of(credential: &'a Credential, fields: &'a Fields<'a>) -> Result<Self, Problem> {
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
    pub(super) fn needs_engine(&self) -> Result<Engine, Problem> {
        self.engine.ok_or(Problem::NoEngine)
    }

    /// The hosts, at least one.
    pub(super) fn needs_hosts(&self, fields: &Fields<'_>) -> Result<&[Host<'a>], Problem> {
        if self.hosts.is_empty() { Err(missing(HOST, fields)) } else { Ok(&self.hosts) }
    }

    /// The only host.
    pub(super) fn needs_one_host(&self, fields: &Fields<'_>) -> Result<&Host<'a>, Problem> {
        match self.needs_hosts(fields)? {
            [host] => Ok(host),
            _ => Err(Problem::SeveralHosts),
        }
    }
}

/// A part that is not there.
pub(super) fn missing(part: Part, fields: &Fields<'_>) -> Problem {
    Problem::NoPart { part, present: fields.keys().map(ToString::to_string).collect() }
}

/// A part as text.
pub(super) fn given<'a>(fields: &'a Fields<'a>, part: Part) -> Result<Option<Given<'a>>, Problem> {
    for name in part.0 {
        let found =
            fields.iter().find(|(field, value)| field.as_str() == *name && !value.expose().is_empty());
        if let Some((field, value)) = found {
            return Ok(Some(Given { field, text: text(field, value)? }));
        }
    }
    Ok(None)
}

fn engine(credential: &Credential, fields: &Fields<'_>) -> Result<Option<Engine>, Problem> {
    if let Some(engine) = credential.engine {
        return Ok(Some(engine));
    }
    match given(fields, ENGINE)? {
        Some(given) => {
            let known = Engine::parse(given.text.trim());
            known.map(Some).map_err(|_| Problem::UnknownEngine { field: given.field.clone() })
        }
        None => {
            let uri = given(fields, Part(&["uri"]))?.and_then(|uri| uri.text.split_once("://"));
            Ok(uri.and_then(|(scheme, _)| Engine::parse(scheme).ok()))
        }
    }
}

/// Reads a list of hosts: `name`, `name:port`, an IPv6 address with or without brackets, or a path, between commas.
fn hosts<'a>(given: Given<'a>, port: Option<&'a str>) -> Result<Vec<Host<'a>>, Problem> {
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

/// What `.set` and `.keys` name that is no part, and what the field `options` holds as the query of a URI.
fn options(credential: &Credential, fields: &Fields<'_>) -> Result<Vec<(String, SecretBytes)>, Problem> {
    let listed = match &credential.keys {
        Keys::All => &[][..],
        Keys::Listed(keys) => keys,
    };
    let named =
        listed.iter().map(|(field, _)| field).chain(credential.literals.iter().map(|(field, _)| field));
    let is_option = |field: &&FieldName| {
        !PARTS.iter().any(|part| part.is_named(field.as_str())) && !ABOUT.contains(&field.as_str())
    };
    let mut options = Vec::new();
    for field in named.filter(is_option) {
        // One that is optional may be missing.
        if let Some(value) = fields.get(field) {
            text(field, value)?;
            options.push((field.to_string(), (*value).clone()));
        }
    }
    if let Some(given) = given(fields, OPTIONS)? {
        let bad = || Problem::BadPart {
            field: given.field.clone(),
            form: "options as in a URI, name=value&name=value",
        };
        for pair in given.text.trim().trim_start_matches('?').split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(bad)?;
            let name =
                unpercent(name).and_then(|name| Some(name.expose_text()?.to_owned())).ok_or_else(bad)?;
            let value = unpercent(value).filter(|value| value.expose_text().is_some()).ok_or_else(bad)?;
            if name.is_empty() || options.iter().any(|(other, _)| *other == name) {
                return Err(bad());
            }
            options.push((name, value));
        }
    }
    Ok(options)
}
