//! The connection that the fields of a credential describe: where the server is, how to log in, and options.

use crate::credential::{Credential, Engine, FieldName};
use crate::escape::{Unrepresentable, percent_decode};
use crate::formats::options::{OptionSet, is_allowed, is_same};
use crate::formats::parts::{
    DATABASE, FieldAliases, FieldText, HOST, IGNORED_FIELDS, OPTIONS, PASSWORD, PORT, USERNAME, find_engine,
    find_field, find_field_of, is_line_break_at_end, is_part_of_connection, missing_engine, missing_field,
};
use crate::formats::{Fields, FormatError, field_text};
use crate::secret::{SecretBuffer, SecretBytes};

/// The maximum number of hosts of a connection. Database clusters have a few, because a client tries one after the other.
const HOST_LIMIT: usize = 64;
/// The maximum number of options of a connection, from all fields together. No client supports as many.
pub(crate) const OPTION_LIMIT: usize = 256;
/// The maximum size of all values of a connection together, and of a file with the connection, in bytes.
pub(crate) const CONNECTION_LIMIT: usize = 1024 * 1024;

/// The parameters of a connection. An empty field counts as missing.
pub(crate) struct Connection<'a> {
    pub(crate) engine: Option<Engine>,
    pub(crate) username: Option<FieldText<'a>>,
    pub(crate) password: Option<FieldText<'a>>,
    /// In the order of the field `host`, which may be a list.
    pub(crate) hosts: Vec<Host<'a>>,
    /// The field with the hosts.
    hosts_field: Option<&'a FieldName>,
    /// The port of the field `port`, which every host without its own port has.
    pub(crate) port: Option<&'a str>,
    port_field: Option<&'a FieldName>,
    pub(crate) database: Option<FieldText<'a>>,
    /// In the order of `.keys` and `.set`, then in the order of the field `options`.
    pub(crate) options: Vec<ConnParam>,
    /// Every field, for messages about those that are missing.
    fields: &'a Fields<'a>,
}

/// An option of a connection.
#[derive(Clone)]
pub(crate) struct ConnParam {
    pub(crate) name: String,
    pub(crate) value: SecretBytes,
    /// The field that contains the name as well; the name is then as secret as the value.
    pub(crate) from: Option<FieldName>,
}

impl ConnParam {
    /// The value, which is always text.
    pub(crate) fn text(&self) -> &str {
        self.value.expose_text().unwrap_or_default()
    }

    pub(crate) fn unsupported(&self, refused: Unrepresentable) -> FormatError {
        let Unrepresentable(what) = refused;
        match &self.from {
            Some(field) => FormatError::Unsupported { field: field.clone(), what },
            None if is_line_break_at_end(self.text(), refused) => {
                FormatError::LineBreakAtEnd { name: self.name.clone() }
            }
            None => FormatError::UnsupportedOption { name: self.name.clone(), what },
        }
    }

    /// The name is not one that readers of the format know as an option.
    pub(crate) fn invalid_name(&self) -> FormatError {
        match &self.from {
            Some(field) => FormatError::Unsupported { field: field.clone(), what: "an invalid option name" },
            None => FormatError::InvalidOptionName { name: self.name.clone() },
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Host<'a> {
    /// A host name, an address (IPv6 without brackets), or the absolute path of a Unix socket or its directory.
    pub(crate) name: &'a str,
    /// The host's own port, or the common one.
    pub(crate) port: Option<&'a str>,
}

impl Host<'_> {
    pub(crate) fn is_socket(&self) -> bool {
        self.name.starts_with('/')
    }

    pub(crate) fn is_ipv6(&self) -> bool {
        self.name.contains(':')
    }

    /// Writes the name as the authority of a URI holds it: an IPv6 address in brackets.
    pub(crate) fn write_name(&self, out: &mut SecretBuffer) {
        let (open, close) = if self.is_ipv6() { ("[", "]") } else { ("", "") };
        [open, self.name, close].into_iter().for_each(|part| out.push_str(part));
    }
}

impl<'a> Connection<'a> {
    /// Reads the connection from fields. An `engine` of the annotations takes precedence over the fields.
    pub(crate) fn from_fields(
        credential: &Credential,
        engine: Option<Engine>,
        option_set: OptionSet,
        fields: &'a Fields<'a>,
    ) -> Result<Self, FormatError> {
        let find = |aliases| find_field_of(credential, fields, aliases);
        let port = find(PORT)?.map(FieldText::trim);
        port.map_or(Ok(()), check_port)?;
        let (port, port_field) = (port.map(|port| port.text), port.map(|port| port.field));
        let found = find(HOST)?;
        let hosts_field = found.map(|found| found.field);
        let mut hosts = found.map_or_else(|| Ok(Vec::new()), |found| parse_hosts(found, port))?;
        let overrides = |aliases: FieldAliases| {
            credential.overrides.iter().any(|(field, _)| aliases.contains(field.as_str()))
        };
        if overrides(PORT) && !overrides(HOST) {
            hosts.iter_mut().for_each(|host| host.port = port);
        }
        let engine = engine.map_or_else(|| find_engine(credential, fields), |engine| Ok(Some(engine)))?;
        let (username, password, database) = (find(USERNAME)?, find(PASSWORD)?, find(DATABASE)?);
        let texts = [username, password, database].into_iter().flatten();
        let size = texts.map(|found| found.text.len()).sum();
        let options = match option_set {
            OptionSet::OfConnection => options(credential, engine, fields, size)?,
            OptionSet::Of(client) => options(credential, Some(client), fields, size)?,
            OptionSet::Empty => Vec::new(),
        };
        Ok(Self {
            engine,
            username,
            password,
            hosts,
            hosts_field,
            port,
            port_field,
            database,
            options,
            fields,
        })
    }

    pub(crate) fn require_engine(&self) -> Result<Engine, FormatError> {
        self.engine.ok_or_else(|| missing_engine(self.fields))
    }

    /// Returns at least one host.
    pub(crate) fn require_hosts(&self) -> Result<&[Host<'a>], FormatError> {
        if self.hosts.is_empty() { Err(missing_field(self.fields, HOST)) } else { Ok(&self.hosts) }
    }

    pub(crate) fn require_one_host(&self) -> Result<&Host<'a>, FormatError> {
        match self.require_hosts()? {
            [host] => Ok(host),
            _ => Err(FormatError::SeveralHosts),
        }
    }

    pub(crate) fn require_password(&self) -> Result<FieldText<'a>, FormatError> {
        self.password.ok_or_else(|| missing_field(self.fields, PASSWORD))
    }
}

/// Parses a comma-separated list of hosts: `name`, `name:port`, an IPv6 address with or without brackets, or a path.
pub(crate) fn parse_hosts<'a>(
    list: FieldText<'a>,
    port: Option<&'a str>,
) -> Result<Vec<Host<'a>>, FormatError> {
    let invalid = |expected| FormatError::InvalidField { field: list.field.clone(), expected };
    let bad = || invalid("a host name, an address or an absolute path, or a comma-separated list of them");
    if list.text.split(',').nth(HOST_LIMIT).is_some() {
        return Err(FormatError::TooMany { field: list.field.clone(), limit: HOST_LIMIT, what: "hosts" });
    }
    let parse = |text: &'a str| {
        if text.contains("://") {
            return Err(invalid("a host: remove the scheme and `://`, and write host or host:port"));
        }
        let (name, own) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((name, "")) => (name, None),
            Some((name, rest)) => (name, Some(rest.strip_prefix(':').ok_or_else(bad)?)),
            None if text.starts_with('/') || text.matches(':').count() > 1 => (text, None),
            None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
        };
        if !own.is_none_or(is_port) {
            return Err(invalid(
                "a host with a port from 1 to 65535 after the `:`: write host or host:port, without a scheme or path",
            ));
        }
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        let is_good = match name.as_bytes() {
            [] => false,
            [b'/', rest @ ..] => rest.iter().all(|b| (b' '..=b'~').contains(b)),
            _ if name.contains(':') => name.parse::<core::net::Ipv6Addr>().is_ok(),
            bytes => bytes.iter().all(|b| is_plain(*b)),
        };
        if is_good { Ok(Host { name, port: own.or(port) }) } else { Err(bad()) }
    };
    list.text.trim().split(',').map(|text| parse(text.trim())).collect()
}

fn check_port(port: FieldText<'_>) -> Result<(), FormatError> {
    if is_port(port.text) {
        return Ok(());
    }
    Err(FormatError::InvalidField { field: port.field.clone(), expected: "a port, from 1 to 65535" })
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && matches!(text.parse::<u16>(), Ok(1..))
}

/// Collects the options: fields that `.keys` and `.set` name and that are not part of an address, a login or a header, then the field
/// `options`, which has the form of a URI query. `client` is the engine whose clients read them; `size` is the size of the other
/// values, in bytes.
fn options(
    credential: &Credential,
    client: Option<Engine>,
    fields: &Fields<'_>,
    mut size: usize,
) -> Result<Vec<ConnParam>, FormatError> {
    let is_option = |field: &&FieldName| {
        !is_part_of_connection(field)
            && !IGNORED_FIELDS.contains(&field.as_str())
            && !credential.is_for_header(field)
    };
    // Checked before a value is copied or decoded.
    let check = |field: &FieldName, count: usize, size: usize| match (count, size) {
        (OPTION_LIMIT.., _) => {
            Err(FormatError::TooMany { field: field.clone(), limit: OPTION_LIMIT, what: "options" })
        }
        (_, ..=CONNECTION_LIMIT) => Ok(()),
        _ => Err(FormatError::LongConnection { limit: CONNECTION_LIMIT }),
    };
    let mut options: Vec<ConnParam> = Vec::new();
    for field in credential.named_fields().filter(is_option) {
        // A field of an optional credential may be missing.
        if let Some(value) = fields.get(field) {
            size += value.expose().len();
            check(field, options.len(), size)?;
            field_text(field, value)?;
            options.push(ConnParam { name: field.to_string(), value: (*value).clone(), from: None });
        }
    }
    if let Some(query) = find_field(fields, OPTIONS)? {
        let bad = || FormatError::InvalidField {
            field: query.field.clone(),
            expected: "options as in a URI: name=value&name=value, percent-encoded, each name once (write libpq's own parameter options as options=-c%20search_path%3Dapp)",
        };
        let client = client.ok_or_else(|| missing_engine(fields))?;
        for pair in query.text.trim().trim_start_matches('?').split('&').filter(|pair| !pair.is_empty()) {
            size += pair.len();
            check(query.field, options.len(), size)?;
            let (name, value) = pair.split_once('=').ok_or_else(bad)?;
            let name =
                percent_decode(name).and_then(|name| Some(name.expose_text()?.to_owned())).ok_or_else(bad)?;
            let is_text = |value: &SecretBytes| value.expose_text().is_some_and(|text| !text.contains('\0'));
            let value = percent_decode(value).filter(is_text).ok_or_else(bad)?;
            if name.is_empty() || options.iter().any(|other| is_same(&other.name, &name)) {
                return Err(bad());
            }
            if !is_allowed(client, &name, value.expose_text().unwrap_or_default()) {
                let engine = client.name();
                return Err(FormatError::ForbiddenOption { field: query.field.clone(), engine });
            }
            options.push(ConnParam { name, value, from: Some(query.field.clone()) });
        }
    }
    Ok(options)
}

/// Placeholder for redacted values, which satisfies the grammar of every format.
const REDACTED: &str = "hidden";

impl<'a> Connection<'a> {
    /// Replaces values by a placeholder, so that the output can be shown: all but those of fields that are public.
    pub(crate) fn redacted(mut self, is_public: &dyn Fn(&FieldName) -> bool) -> Self {
        for found in [&mut self.username, &mut self.password, &mut self.database].into_iter().flatten() {
            if !is_public(found.field) {
                found.text = REDACTED;
            }
        }
        let [hides_hosts, hides_port] =
            [self.hosts_field, self.port_field].map(|field| !field.is_some_and(is_public));
        for host in &mut self.hosts {
            // A host without a port of its own has the common one.
            let is_common = host.port.zip(self.port).is_some_and(|(own, common)| std::ptr::eq(own, common));
            if hides_hosts {
                host.name = if host.is_socket() { "/hidden" } else { REDACTED };
            }
            if if is_common { hides_port } else { hides_hosts } {
                host.port = host.port.map(|_| "1");
            }
        }
        if hides_port {
            self.port = self.port.map(|_| "1");
        }
        for option in &mut self.options {
            let is_shown = match &option.from {
                Some(field) => is_public(field),
                None => FieldName::parse(&option.name).is_ok_and(|field| is_public(&field)),
            };
            if !is_shown {
                option.value = REDACTED.into();
                if option.from.is_some() {
                    REDACTED.clone_into(&mut option.name);
                }
            }
        }
        self
    }
}
