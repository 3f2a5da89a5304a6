//! What libpq reads: a connection string (`libpq`), a password file (`pgpass`) and a connection service file
//! (`pgservice`).
//! Sources: <https://www.postgresql.org/docs/current/libpq-connect.html>,
//! <https://www.postgresql.org/docs/current/libpq-pgpass.html>,
//! <https://www.postgresql.org/docs/current/libpq-pgservice.html>

use std::borrow::Cow;

use crate::credential::Credential;
use crate::escape::{self, Unrepresentable};
use crate::render::connection::{Connection, Given, Parameter, missing};
use crate::render::error::Problem;
use crate::render::fields::Fields;
use crate::render::part::PASSWORD;
use crate::secret::SecretBuffer;

/// The longest line of a service file, its line break not counted: libpq reads into a buffer of 1024 bytes, and takes a line
/// that fills it for one that is longer (`fe-connect.c`, `parseServiceFile`).
const SERVICE_LINE: usize = 1021;

/// `host='…' port='…' dbname='…' user='…' password='…'`, without a new line at the end. Where the kubelet is to read it, no value is
/// in quotes, because a single quote ends the variable's value.
pub(crate) fn write(
    credential: &Credential,
    _: &Fields<'_>,
    connection: &Connection<'_>,
    out: &mut SecretBuffer,
) -> Result<(), Problem> {
    for (index, parameter) in parameters(connection)?.iter().enumerate() {
        out.push_str(if index == 0 { "" } else { " " });
        out.push_str(parameter.keyword);
        out.push_str("=");
        if !credential.is_for_kubelet() {
            escape::libpq(&parameter.value, out).map_err(|refused| parameter.refused(refused.0))?;
            continue;
        }
        if parameter.value.is_empty() {
            return Err(parameter.refused("nothing"));
        }
        if !parameter.value.bytes().all(is_plain) {
            return Err(parameter.refused("a character that a connection string needs single quotes for"));
        }
        out.push_str(&parameter.value);
    }
    Ok(())
}

/// Whether every reader takes this byte as it is without quotes. libpq asks the locale for white space, so that some take a byte
/// beyond ASCII for a blank; other drivers know no backslash outside quotes.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'\'' | b'\\')
}

/// `host:port:database:user:password` lines, one for each host, `*` where a part is not given.
pub(crate) fn write_pgpass(
    _: &Credential,
    fields: &Fields<'_>,
    connection: &Connection<'_>,
    out: &mut SecretBuffer,
) -> Result<(), Problem> {
    let password = connection.password.ok_or_else(|| missing(PASSWORD, fields))?;
    let mut hosts: Vec<_> = connection.hosts.iter().map(|host| (host.name, host.port)).collect();
    if hosts.is_empty() {
        hosts.push(("*", connection.port));
    }
    for (host, port) in hosts {
        // Names and addresses have nothing that is refused.
        let _ = escape::pgpass(host, out);
        out.push_str(":");
        out.push_str(port.unwrap_or("*"));
        for given in [connection.database, connection.username] {
            out.push_str(":");
            match given {
                // Alone it would stand for any.
                Some(given) if given.text == "*" => {
                    return Err(Problem::Refused { field: given.field.clone(), what: "nothing but *" });
                }
                Some(given) => given.write(escape::pgpass, out)?,
                None => out.push_str("*"),
            }
        }
        out.push_str(":");
        password.write(escape::pgpass, out)?;
        out.push_str("\n");
    }
    Ok(())
}

/// A section, named after the credential, of `keyword=value` lines. The file knows no escapes: libpq cuts white space at
/// the end of a line, and takes no long ones.
pub(crate) fn write_pgservice(
    credential: &Credential,
    _: &Fields<'_>,
    connection: &Connection<'_>,
    out: &mut SecretBuffer,
) -> Result<(), Problem> {
    out.push_str(&format!("[{}]\n", credential.name));
    for parameter in parameters(connection)? {
        let Keyword { keyword, value, .. } = &parameter;
        if value.contains(['\n', '\r']) {
            return Err(parameter.refused("a line break"));
        }
        // What C takes for white space.
        if value.ends_with([' ', '\t', '\x0b', '\x0c']) {
            return Err(parameter.refused("white space at its end"));
        }
        if keyword.len() + 1 + value.len() > SERVICE_LINE {
            return Err(parameter.refused("more than about 1000 bytes"));
        }
        out.push_str(keyword);
        out.push_str("=");
        out.push_str(value);
        out.push_str("\n");
    }
    Ok(())
}

/// A connection parameter.
struct Keyword<'a> {
    keyword: &'a str,
    value: Cow<'a, str>,
    /// Where the value comes from, unless it is an option or made of several.
    given: Option<Given<'a>>,
    option: Option<&'a Parameter>,
}

impl Keyword<'_> {
    fn refused(&self, what: &'static str) -> Problem {
        match (self.given, self.option) {
            (Some(given), _) => Problem::Refused { field: given.field.clone(), what },
            (None, Some(option)) => option.refused(Unrepresentable(what)),
            (None, None) => Problem::BadOption { name: self.keyword.to_owned(), what },
        }
    }
}

/// Every parameter that is given.
fn parameters<'a>(connection: &'a Connection<'a>) -> Result<Vec<Keyword<'a>>, Problem> {
    let Connection { hosts, database, username, password, options, .. } = connection;
    let mut parameters = Vec::new();
    if !hosts.is_empty() {
        let join = |part: fn(&_) -> &'a str| hosts.iter().map(part).collect::<Vec<_>>().join(",");
        parameters.push(Keyword {
            keyword: "host",
            value: join(|host| host.name).into(),
            given: None,
            option: None,
        });
        if hosts.iter().any(|host| host.port.is_some()) {
            let ports = join(|host| host.port.unwrap_or_default());
            parameters.push(Keyword { keyword: "port", value: ports.into(), given: None, option: None });
        }
    } else if let Some(port) = connection.port {
        parameters.push(Keyword { keyword: "port", value: port.into(), given: None, option: None });
    }
    for (keyword, given) in [("dbname", database), ("user", username), ("password", password)] {
        if let Some(given) = given {
            parameters.push(Keyword { keyword, value: given.text.into(), given: Some(*given), option: None });
        }
    }
    for option in options {
        if !option.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
            return Err(option.refused(Unrepresentable("a name that is no parameter of libpq")));
        }
        let value = option.text().into();
        parameters.push(Keyword { keyword: &option.name, value, given: None, option: Some(option) });
    }
    Ok(parameters)
}
