//! `adonet`: a connection string of .NET that contains user and password, without a line break at its end. Each driver has its
//! own keywords: Npgsql for PostgreSQL, MySqlConnector (and Connector/NET) for MySQL and MariaDB, SqlClient for SQL Server.
//! Sources: <https://learn.microsoft.com/en-us/dotnet/framework/data/adonet/connection-strings>,
//! <https://www.npgsql.org/doc/connection-string-parameters.html>, <https://mysqlconnector.net/connection-options/>,
//! <https://learn.microsoft.com/en-us/dotnet/api/microsoft.data.sqlclient.sqlconnection.connectionstring>

use std::slice;

use crate::credential::Engine;
use crate::escape;
use crate::formats::FormatError;
use crate::formats::connection::{ConnParam, Connection, Host};
use crate::formats::options::is_same;
use crate::secret::SecretBuffer;

pub(crate) fn write(connection: &Connection<'_>, out: &mut SecretBuffer) -> Result<(), FormatError> {
    let engine = connection.require_engine()?;
    let (database, username) = match engine {
        Engine::Postgresql => ("Database", "Username"),
        Engine::Mysql | Engine::Mariadb => ("Database", "User ID"),
        Engine::Sqlserver => ("Initial Catalog", "User ID"),
        _ => return Err(FormatError::UnsupportedEngine { format: "adonet", engine: engine.name() }),
    };
    server(engine, connection, out)?;
    for (keyword, value) in
        [(database, connection.database), (username, connection.username), ("Password", connection.password)]
    {
        if let Some(value) = value {
            assign(keyword, out);
            value.write(escape::adonet, out)?;
        }
    }
    for option in &connection.options {
        option_name(engine, option, out)?;
        let value = ssl_mode(engine, option).unwrap_or(option.text());
        escape::adonet(value, out).map_err(|refused| option.unsupported(refused))?;
    }
    Ok(())
}

fn assign(keyword: &str, out: &mut SecretBuffer) {
    [";", keyword, "="].into_iter().for_each(|part| out.push_str(part));
}

/// Writes the hosts and ports. Only Npgsql supports several hosts with their own ports; it separates a host from its port
/// at a single colon, and accepts the directory of a Unix socket as the host.
fn server(engine: Engine, connection: &Connection<'_>, out: &mut SecretBuffer) -> Result<(), FormatError> {
    let hosts = match engine {
        Engine::Postgresql => connection.require_hosts()?,
        _ => slice::from_ref(connection.require_one_host()?),
    };
    if hosts.iter().any(Host::is_socket) {
        match hosts {
            [_] if engine != Engine::Postgresql => {
                return Err(FormatError::UnixSocket { engine: engine.name() });
            }
            [host] if host.name.matches(':').count() == 1 || host.name.contains(']') => {
                let what = "a single colon or a bracket";
                return Err(FormatError::UnsupportedOption { name: "host".to_owned(), what });
            }
            [_] => {}
            _ => return Err(FormatError::SeveralHosts),
        }
    }
    let default = engine.default_port().unwrap_or_default().to_string();
    let port = |host: &Host<'_>, out: &mut SecretBuffer| out.push_str(host.port.unwrap_or(&default));
    out.push_str(match engine {
        Engine::Postgresql => "Host=",
        Engine::Sqlserver => "Data Source=",
        _ => "Server=",
    });
    match hosts {
        // A name or an address, neither of which contains a quote.
        [host] if engine == Engine::Sqlserver => {
            ["\"", host.name, ","].into_iter().for_each(|part| out.push_str(part));
            port(host, out);
            out.push_str("\"");
        }
        [host] => {
            let invalid = |_| FormatError::UnixSocket { engine: engine.name() };
            escape::adonet(host.name, out).map_err(invalid)?;
            assign("Port", out);
            out.push_str("\"");
            port(host, out);
            out.push_str("\"");
        }
        hosts => {
            for (index, host) in hosts.iter().enumerate() {
                out.push_str(if index == 0 { "\"" } else { "," });
                host.write_name(out);
                out.push_str(":");
                port(host, out);
            }
            out.push_str("\"");
        }
    }
    Ok(())
}

/// Keywords that differ from the names that URIs and other drivers have for the same option. The drivers ignore the case of
/// their keywords. Npgsql and MySqlConnector accept each also without spaces, SqlClient only some.
const NPGSQL: [(&str, &str); 5] = [
    ("connect_timeout", "Timeout"),
    ("gssencmode", "GSS Encryption Mode"),
    ("sslcert", "SSL Certificate"),
    ("sslrootcert", "Root Certificate"),
    ("target_session_attrs", "Target Session Attributes"),
];
const MYSQLCONNECTOR: [(&str, &str); 1] = [("connect_timeout", "Connection Timeout")];
const SQLCLIENT: [(&str, &str); 14] = [
    ("app_name", "Application Name"),
    ("application_name", "Application Name"),
    ("command_timeout", "Command Timeout"),
    ("connect_timeout", "Connect Timeout"),
    ("connection_lifetime", "Connection Lifetime"),
    ("connection_timeout", "Connect Timeout"),
    ("current_language", "Current Language"),
    ("max_pool_size", "Max Pool Size"),
    ("min_pool_size", "Min Pool Size"),
    ("packet_size", "Packet Size"),
    ("transaction_binding", "Transaction Binding"),
    ("trusted_connection", "Trusted_Connection"),
    ("type_system_version", "Type System Version"),
    ("workstation_id", "Workstation ID"),
];

/// Writes `;name=` with the driver's keyword. No driver has a keyword with `-` or `.`, so a name that is not in the tables is written
/// without `-` and `_`, as in `sslmode` for `ssl-mode`.
fn option_name(engine: Engine, option: &ConnParam, out: &mut SecretBuffer) -> Result<(), FormatError> {
    let keywords = match engine {
        Engine::Postgresql => &NPGSQL[..],
        Engine::Sqlserver => &SQLCLIENT,
        _ => &MYSQLCONNECTOR,
    };
    if let Some((_, keyword)) = keywords.iter().find(|(name, _)| is_same(name, &option.name)) {
        assign(keyword, out);
        return Ok(());
    }
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b' ' | b'-' | b'_');
    let pieces = option.name.split(['-', '_']);
    if option.name.starts_with(' ') || !option.name.bytes().all(is_name) || pieces.clone().all(str::is_empty)
    {
        return Err(option.invalid_name());
    }
    out.push_str(";");
    pieces.for_each(|piece| out.push_str(piece));
    out.push_str("=");
    Ok(())
}

/// The value of the option `sslmode` as Npgsql or MySqlConnector spells it. `None` means that it has no other spelling.
fn ssl_mode(engine: Engine, option: &ConnParam) -> Option<&'static str> {
    let is_npgsql = match engine {
        Engine::Postgresql => true,
        Engine::Mysql | Engine::Mariadb => false,
        _ => return None,
    };
    if !is_same(&option.name, "sslmode") {
        return None;
    }
    [
        ("disable disabled none", "Disable", "None"),
        ("allow", "Allow", "Preferred"),
        ("prefer preferred", "Prefer", "Preferred"),
        ("require required", "Require", "Required"),
        ("verify-ca", "VerifyCA", "VerifyCA"),
        ("verify-full verify-identity", "VerifyFull", "VerifyFull"),
    ]
    .into_iter()
    .find(|(names, ..)| names.split(' ').any(|name| is_same(name, option.text())))
    .map(|(_, npgsql, mysqlconnector)| if is_npgsql { npgsql } else { mysqlconnector })
}
