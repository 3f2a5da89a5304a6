//! Formats of libpq: a connection string (`libpq`), a password file (`pgpass`) and a connection service file (`pgservice`).
//! Sources: <https://www.postgresql.org/docs/current/libpq-connect.html>,
//! <https://www.postgresql.org/docs/current/libpq-pgpass.html>,
//! <https://www.postgresql.org/docs/current/libpq-pgservice.html>

use std::borrow::Cow;

use crate::credential::CredentialName;
use crate::escape::{self, Unrepresentable};
use crate::formats::FormatError;
use crate::formats::connection::{ConnParam, Connection};
use crate::formats::parts::FieldText;
use crate::secret::SecretBuffer;

/// The longest line of a service file, without its line break: libpq reads into a buffer of 1024 bytes, and rejects a line
/// that fills it as too long (`fe-connect.c`, `parseServiceFile`).
const SERVICE_LINE_LIMIT: usize = 1021;

/// Whether the values of a connection string are in single quotes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quoting {
    Quoted,
    /// Without quotes, for a file that the kubelet reads: a single quote would end the value of the variable.
    Unquoted,
}

/// Writes `host='…' port='…' dbname='…' user='…' password='…'`, without a line break at the end.
pub(crate) fn write(
    connection: &Connection<'_>,
    quoting: Quoting,
    out: &mut SecretBuffer,
) -> Result<(), FormatError> {
    for (index, parameter) in parameters(connection)?.iter().enumerate() {
        out.push_str(if index == 0 { "" } else { " " });
        out.push_str(parameter.keyword);
        out.push_str("=");
        if quoting == Quoting::Quoted {
            escape::libpq(&parameter.value, out).map_err(|refused| parameter.unsupported(refused.0))?;
            continue;
        }
        if parameter.value.is_empty() {
            return Err(parameter.unsupported("nothing"));
        }
        if !parameter.value.bytes().all(is_plain) {
            let is_break = parameter.value.trim_end_matches(['\n', '\r']).bytes().all(is_plain);
            let what =
                if is_break { escape::LINE_BREAK.0 } else { "a character that requires single quotes" };
            return Err(parameter.unsupported(what));
        }
        out.push_str(&parameter.value);
    }
    Ok(())
}

/// Whether every reader takes this byte literally without quotes. libpq finds white space by the locale, which may include
/// bytes beyond ASCII; other drivers support no backslash outside quotes.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'\'' | b'\\')
}

/// Writes one `host:port:database:user:password` line per host, with `*` for each missing value.
pub(crate) fn write_pgpass(connection: &Connection<'_>, out: &mut SecretBuffer) -> Result<(), FormatError> {
    let password = connection.require_password()?;
    let mut hosts: Vec<_> = connection.hosts.iter().map(|host| (host.name, host.port)).collect();
    if hosts.is_empty() {
        hosts.push(("*", connection.port));
    }
    for (host, port) in hosts {
        if out.has_overflowed() {
            break;
        }
        // Host names and addresses contain nothing that the rule rejects.
        let _ = escape::pgpass(host, out);
        out.push_str(":");
        out.push_str(port.unwrap_or("*"));
        for value in [connection.database, connection.username] {
            out.push_str(":");
            match value {
                // A lone `*` would match every name.
                Some(value) if value.text == "*" => {
                    return Err(value.unsupported(Unrepresentable("nothing but *")));
                }
                Some(value) => value.write(escape::pgpass, out)?,
                None => out.push_str("*"),
            }
        }
        out.push_str(":");
        password.write(escape::pgpass, out)?;
        out.push_str("\n");
    }
    Ok(())
}

/// Writes a section with the credential's name and `keyword=value` lines. The file has no escapes: libpq removes white space
/// at the end of a line, and rejects long lines.
pub(crate) fn write_pgservice(
    credential: &CredentialName,
    connection: &Connection<'_>,
    out: &mut SecretBuffer,
) -> Result<(), FormatError> {
    out.push_str(&format!("[{}]\n", credential));
    for parameter in parameters(connection)? {
        let LibpqParam { keyword, value, .. } = &parameter;
        if value.contains(['\n', '\r']) {
            return Err(parameter.unsupported(escape::LINE_BREAK.0));
        }
        // The white space of C's `isspace`.
        if value.ends_with([' ', '\t', '\x0b', '\x0c']) {
            return Err(parameter.unsupported("white space at its end"));
        }
        if keyword.len() + 1 + value.len() > SERVICE_LINE_LIMIT {
            return Err(parameter.unsupported("more than about 1000 bytes"));
        }
        out.push_str(keyword);
        out.push_str("=");
        out.push_str(value);
        out.push_str("\n");
    }
    Ok(())
}

/// A parameter of a connection string or service file.
struct LibpqParam<'a> {
    keyword: &'a str,
    value: Cow<'a, str>,
    origin: Origin<'a>,
}

/// Where the value of a parameter comes from.
#[derive(Clone, Copy)]
enum Origin<'a> {
    Field(FieldText<'a>),
    Option(&'a ConnParam),
    /// Joined from the hosts and ports, which are validated already.
    Hosts,
}

impl LibpqParam<'_> {
    fn unsupported(&self, what: &'static str) -> FormatError {
        match self.origin {
            Origin::Field(field) => field.unsupported(Unrepresentable(what)),
            Origin::Option(option) => option.unsupported(Unrepresentable(what)),
            Origin::Hosts => FormatError::UnsupportedOption { name: self.keyword.to_owned(), what },
        }
    }
}

/// Returns the parameters that the fields define.
fn parameters<'a>(connection: &'a Connection<'a>) -> Result<Vec<LibpqParam<'a>>, FormatError> {
    let Connection { hosts, database, username, password, options, .. } = connection;
    let mut parameters = Vec::new();
    if !hosts.is_empty() {
        let join = |part: fn(&_) -> &'a str| hosts.iter().map(part).collect::<Vec<_>>().join(",");
        let names = join(|host| host.name);
        parameters.push(LibpqParam { keyword: "host", value: names.into(), origin: Origin::Hosts });
        if hosts.iter().any(|host| host.port.is_some()) {
            let ports = join(|host| host.port.unwrap_or_default());
            parameters.push(LibpqParam { keyword: "port", value: ports.into(), origin: Origin::Hosts });
        }
    } else if let Some(port) = connection.port {
        parameters.push(LibpqParam { keyword: "port", value: port.into(), origin: Origin::Hosts });
    }
    for (keyword, field) in [("dbname", database), ("user", username), ("password", password)] {
        if let Some(field) = field {
            let origin = Origin::Field(*field);
            parameters.push(LibpqParam { keyword, value: field.text.into(), origin });
        }
    }
    for option in options {
        if !option.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
            return Err(option.invalid_name());
        }
        let value = option.text().into();
        parameters.push(LibpqParam { keyword: &option.name, value, origin: Origin::Option(option) });
    }
    Ok(parameters)
}
