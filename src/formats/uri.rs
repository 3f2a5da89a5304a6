//! `uri`: a URI that contains user and password, without a line break at its end. Every part is percent-encoded. The second
//! half of this file reads such a URI from a Secret.
//! Sources: RFC 3986; for the forms, the documentation of each engine's clients, listed in docs/formats/uri.md.

use std::slice;

use crate::credential::{Credential, Engine, FieldName, Scheme, has_database_as_path, port_of_scheme};
use crate::escape::{Unrepresentable, percent, percent_decode};
use crate::formats::connection::{ConnParam, Connection, Host, OPTION_LIMIT, parse_hosts};
use crate::formats::options::is_same;
use crate::formats::parts::{
    DATABASE, FieldAliases, FieldText, HOST, OPTIONS, PASSWORD, PORT, USERNAME, find_field, find_part,
    find_uri,
};
use crate::formats::{Fields, FormatError};
use crate::secret::{SecretBuffer, SecretBytes};

/// `scheme` means the engine of the connection; `None` is the engine's usual scheme.
pub(crate) fn write(
    connection: &Connection<'_>,
    scheme: Option<&Scheme>,
    out: &mut SecretBuffer,
) -> Result<(), FormatError> {
    let engine = connection.require_engine()?;
    if engine == Engine::Oracle {
        return Err(FormatError::UnsupportedEngine { format: "uri", engine: engine.name() });
    }
    let hosts = match engine {
        Engine::Postgresql | Engine::Mongodb | Engine::Clickhouse | Engine::Cassandra => {
            connection.require_hosts()?
        }
        _ => slice::from_ref(connection.require_one_host()?),
    };
    if hosts.len() > 1 && hosts.iter().any(Host::is_socket) {
        return Err(FormatError::SeveralHosts);
    }
    let mut query = Query::default();
    let scheme = scheme.map_or(engine.name(), Scheme::as_str);
    out.push_str(scheme);
    out.push_str("://");
    user_info(engine, connection, out)?;
    for (index, host) in hosts.iter().enumerate() {
        out.push_str(if index == 0 { "" } else { "," });
        authority(engine, scheme, host, &mut query, out)?;
    }
    database(engine, scheme, connection.database, &mut query, out)?;
    query.0.extend(connection.options.iter().cloned());
    query.write(out)
}

/// Writes `user:password@`, without the parts that are missing.
fn user_info(engine: Engine, connection: &Connection<'_>, out: &mut SecretBuffer) -> Result<(), FormatError> {
    let Connection { username, password, .. } = connection;
    match username {
        Some(username) => username.write(percent, out)?,
        // Clients of Redis differ if the user is empty. Since Redis 6, a password alone belongs to the user `default`.
        None if password.is_some() && matches!(engine, Engine::Redis | Engine::Rediss) => {
            out.push_str("default")
        }
        None => {}
    }
    if let Some(password) = password {
        out.push_str(":");
        password.write(percent, out)?;
    }
    if username.is_some() || password.is_some() {
        out.push_str("@");
    }
    Ok(())
}

/// Writes a host with its port in the form of the engine's clients.
fn authority(
    engine: Engine,
    scheme: &str,
    host: &Host<'_>,
    query: &mut Query,
    out: &mut SecretBuffer,
) -> Result<(), FormatError> {
    if host.is_socket() {
        return socket(engine, host, query, out);
    }
    host.write_name(out);
    // The ports of `mongodb+srv` come from a DNS record, and its clients reject a URI with a port.
    if engine != Engine::MongodbSrv {
        let default = port_of_scheme(scheme, engine).map(|port| port.to_string());
        if let Some(port) = host.port.or(default.as_deref()) {
            out.push_str(":");
            out.push_str(port);
        }
    }
    Ok(())
}

/// Writes a Unix socket: libpq expects its directory as the host of the query, others a path in place of the host.
fn socket(
    engine: Engine,
    host: &Host<'_>,
    query: &mut Query,
    out: &mut SecretBuffer,
) -> Result<(), FormatError> {
    match engine {
        Engine::Postgresql => {
            query.add("host", host.name);
            if let Some(port) = host.port {
                query.add("port", port);
            }
        }
        Engine::Mysql | Engine::Mariadb | Engine::Mongodb => {
            percent(host.name, out)
                .map_err(|Unrepresentable(_)| FormatError::UnixSocket { engine: engine.name() })?;
        }
        _ => return Err(FormatError::UnixSocket { engine: engine.name() }),
    }
    Ok(())
}

/// Writes the database as the path, or for Microsoft's drivers as a parameter.
fn database(
    engine: Engine,
    scheme: &str,
    database: Option<FieldText<'_>>,
    query: &mut Query,
    out: &mut SecretBuffer,
) -> Result<(), FormatError> {
    match (engine, database) {
        (_, Some(database)) if !has_database_as_path(scheme) => query.add("database", database.text),
        // Readers remove such a path, encoded or not (RFC 3986, section 5.2.4).
        (_, Some(database @ FieldText { text: "." | "..", .. })) => {
            return Err(database.unsupported(Unrepresentable("dots alone")));
        }
        (_, Some(database)) => {
            out.push_str("/");
            database.write(percent, out)?;
        }
        // Options of MongoDB must follow a path, even an empty one.
        (Engine::Mongodb | Engine::MongodbSrv, None) => out.push_str("/"),
        (_, None) => {}
    }
    Ok(())
}

/// The parameters after the `?`.
#[derive(Default)]
struct Query(Vec<ConnParam>);

impl Query {
    fn add(&mut self, name: &str, value: &str) {
        self.0.push(ConnParam { name: name.to_owned(), value: value.into(), from: None });
    }

    fn write(self, out: &mut SecretBuffer) -> Result<(), FormatError> {
        for (index, option) in self.0.iter().enumerate() {
            out.push_str(if index == 0 { "?" } else { "&" });
            percent(&option.name, out).map_err(|refused| option.unsupported(refused))?;
            out.push_str("=");
            percent(option.text(), out).map_err(|refused| option.unsupported(refused))?;
        }
        Ok(())
    }
}

/// Reads the values that only the URI among the fields contains, each under its preferred field name. Some Secrets have the
/// address only there: <https://github.com/mongodb/mongodb-kubernetes/blob/master/docs/mongodbcommunity/deploy-configure.md>.
///
/// The URI is read if no field names a host, or if its Secret has no part of a connection under a key of its own
/// (`is_whole_source`), and then for every missing value: fields take precedence.
pub(crate) fn missing_fields(
    credential: &Credential,
    fields: &Fields<'_>,
    is_whole_source: bool,
) -> Result<Vec<(FieldName, SecretBytes)>, FormatError> {
    let Some((uri, engine)) = find_uri(credential, fields)? else { return Ok(Vec::new()) };
    if !is_whole_source && find_field(fields, HOST)?.is_some() {
        return Ok(Vec::new());
    }
    let mut missing = Vec::new();
    // A key of an optional credential may be missing, and then replaces nothing.
    let is_replaced = |name: &str| {
        credential.named_fields().any(|field| is_same(field.as_str(), name) && fields.contains_key(field))
    };
    for (aliases, value) in parts(uri, engine, &is_replaced)? {
        if find_field(fields, aliases)?.is_none() {
            let value = if aliases == HOST && find_field(fields, PORT)?.is_some() {
                strip_ports(uri, &value)
            } else {
                value
            };
            missing.push((FieldName::parse(aliases.name()).map_err(|_| invalid(uri))?, value));
        }
    }
    Ok(missing)
}

/// The parts of a URI, each at most once. A single host has no port, which is a part of its own; in a list, each host may have one.
///
/// A URI is parsed strictly by RFC 3986, extended by the lists of hosts that some engines have. A password that was not encoded
/// would shift the parts around it, so nothing is read from a URI in which a part contains a character that should be encoded.
pub(crate) fn parts(
    uri: FieldText<'_>,
    engine: Engine,
    is_replaced: &dyn Fn(&str) -> bool,
) -> Result<Vec<(FieldAliases, SecretBytes)>, FormatError> {
    if uri.text.split_once('?').is_some_and(|(_, query)| query.split('&').nth(OPTION_LIMIT).is_some()) {
        return Err(FormatError::TooMany { field: uri.field.clone(), limit: OPTION_LIMIT, what: "options" });
    }
    let parts = parse(uri, engine, is_replaced).ok_or_else(|| invalid(uri))?;
    if let Some((_, hosts)) = parts.iter().find(|(part, _)| *part == HOST) {
        let text = hosts.expose_text().unwrap_or_default();
        if let Err(error @ FormatError::TooMany { .. }) = parse_hosts(FieldText { text, ..uri }, None) {
            return Err(error);
        }
    }
    Ok(parts)
}

fn invalid(uri: FieldText<'_>) -> FormatError {
    FormatError::InvalidField { field: uri.field.clone(), expected: FORM }
}

/// Removes the ports of the hosts, because a field with the port takes precedence.
fn strip_ports(uri: FieldText<'_>, value: &SecretBytes) -> SecretBytes {
    let text = value.expose_text().unwrap_or_default();
    let hosts = parse_hosts(FieldText { text, ..uri }, None).unwrap_or_default();
    let names: Vec<_> = hosts.iter().map(|host| host.name).collect();
    names.join(",").as_str().into()
}

/// The expected form, for messages.
const FORM: &str = "a URI with percent-encoded parts, scheme://user:password@host:port/database?name=value&name=value, \
                    in which every part occurs once and an IPv6 address is in brackets; \
                    to do without it, list the other keys in .keys, and add host with .set";

/// Splits a URI into its parts. Hosts and options stay encoded, the others are decoded. Returns `None` if any part is invalid.
fn parse(
    uri: FieldText<'_>,
    engine: Engine,
    is_replaced: &dyn Fn(&str) -> bool,
) -> Option<Vec<(FieldAliases, SecretBytes)>> {
    let (scheme, rest) = uri.text.trim().split_once("://")?;
    let (rest, query) = split_first(rest, '?');
    let (authority, path) = split_first(rest, '/');
    let (user_info, authority) =
        authority.rsplit_once('@').map_or((None, authority), |(user_info, hosts)| (Some(user_info), hosts));
    let mut parts = Vec::new();
    let (mut has_port, mut lacks_port) = (false, true);
    if let Some(user_info) = user_info {
        let (username, password) = split_first(user_info, ':');
        parts.push((USERNAME, decode_component(username)?));
        if let Some(password) = password {
            parts.push((PASSWORD, decode_component(password)?));
        }
    }
    if !authority.is_empty() {
        // The caller reports too many hosts, and `None` all other errors.
        let hosts = match parse_hosts(FieldText { text: authority, ..uri }, None) {
            Ok(hosts) => hosts,
            Err(FormatError::TooMany { .. }) => Vec::new(),
            Err(_) => return None,
        };
        // RFC 3986 requires brackets around an IPv6 address. Without them, clients disagree on where the port begins.
        let is_bare = |host: &&str| host.matches(':').count() > 1 && !host.trim_start().starts_with('[');
        authority.split(',').find(is_bare).is_none().then_some(())?;
        lacks_port = hosts.is_empty() || hosts.iter().any(|host| host.port.is_none());
        if let [host] = hosts.as_slice() {
            parts.push((HOST, host.name.into()));
            parts.extend(host.port.map(|port| (PORT, port.into())));
        } else {
            has_port = hosts.iter().any(|host| host.port.is_some());
            parts.push((HOST, authority.into()));
        }
    }
    if let Some(path) = path.filter(|path| !path.is_empty()) {
        has_database_as_path(scheme).then_some(())?;
        parts.push((DATABASE, decode_component(path)?));
    }
    if let Some(query) = query {
        let options = parse_query(query, engine, is_replaced, &mut parts)?;
        parts.push((OPTIONS, options));
    }
    // Clients disagree on whether the port of the authority or that of the query counts.
    let has_parameter = parts.iter().any(|(part, _)| *part == PORT);
    (!has_port || !has_parameter).then_some(())?;
    // The URI is written again with the engine's scheme, whose clients use another default port.
    let default = port_of_scheme(scheme, engine).filter(|port| Some(*port) != engine.default_port());
    if let Some(port) = default.filter(|_| lacks_port && !has_parameter) {
        parts.push((PORT, port.to_string().as_str().into()));
    }
    Some(parts)
}

/// Returns the options of a query, except those that fields of the annotations replace. Parameters that are part of the address or login
/// are added to `parts`.
fn parse_query(
    query: &str,
    engine: Engine,
    is_replaced: &dyn Fn(&str) -> bool,
    parts: &mut Vec<(FieldAliases, SecretBytes)>,
) -> Option<SecretBytes> {
    let mut options = SecretBuffer::default();
    let is_libpq = engine == Engine::Postgresql;
    for pair in query.strip_suffix('&').unwrap_or(query).split('&') {
        if pair.is_empty() && (query.is_empty() || !is_libpq) {
            continue;
        }
        let (name, value) = pair.split_once('=')?;
        // libpq rejects a second `=`, and so an option that other clients would read to its end.
        (!is_libpq || !value.contains('=')).then_some(())?;
        let (name, value) = (decode_component(name)?, decode_option(value)?);
        let name = name.expose_text()?;
        if let Some(part) = find_part(name) {
            (!parts.iter().any(|(other, _)| *other == part)).then(|| parts.push((part, value)))?;
        } else if !is_replaced(name) {
            options.push_str(if options.is_empty() { "" } else { "&" });
            options.push_str(pair);
        }
    }
    Some(options.finish())
}

/// Splits at the first delimiter, if there is one.
fn split_first(text: &str, delimiter: char) -> (&str, Option<&str>) {
    text.split_once(delimiter).map_or((text, None), |(before, after)| (before, Some(after)))
}

/// Decodes a component. Returns `None` if it contains a character that should be encoded.
fn decode_component(text: &str) -> Option<SecretBytes> {
    text.chars().all(is_component).then(|| percent_decode(text)).flatten()
}

/// Decodes the value of an option, in which some writers leave `/` and `:` unencoded.
fn decode_option(text: &str) -> Option<SecretBytes> {
    text.chars().all(|c| is_component(c) || matches!(c, '/' | ':')).then(|| percent_decode(text)).flatten()
}

/// Whether RFC 3986 allows this character in a component: unreserved, sub-delims, or the `%` of an encoded byte.
fn is_component(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=%".contains(c)
}
