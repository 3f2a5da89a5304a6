//! `jdbc`: one JDBC URL with user and password in it, without a new line at the end.
//! Sources: <https://jdbc.postgresql.org/documentation/use/>,
//! <https://dev.mysql.com/doc/connector-j/en/connector-j-reference-jdbc-url-format.html>,
//! <https://mariadb.com/docs/connectors/mariadb-connector-j/about-mariadb-connector-j>,
//! <https://learn.microsoft.com/en-us/sql/connect/jdbc/building-the-connection-url>,
//! <https://docs.oracle.com/en/database/oracle/oracle-database/23/jjdbc/data-sources-and-URLs.html>

use crate::credential::{Credential, Engine};
use crate::escape::{Unrepresentable, percent};
use crate::render::connection::{Connection, Given, Host};
use crate::render::error::Problem;
use crate::render::fields::Fields;
use crate::secret::SecretBuffer;

pub(crate) fn write(
    _: &Credential,
    fields: &Fields<'_>,
    connection: &Connection<'_>,
    out: &mut SecretBuffer,
) -> Result<(), Problem> {
    let engine = connection.needs_engine()?;
    match engine {
        Engine::Postgresql | Engine::Mysql | Engine::Mariadb => {
            let hosts = connection.needs_hosts(fields)?;
            with_query(engine, hosts, connection, out)
        }
        Engine::Sqlserver => sqlserver(connection.needs_one_host(fields)?, connection, out),
        Engine::Oracle => oracle(connection.needs_one_host(fields)?, connection, out),
        _ => Err(Problem::NotForEngine { format: "jdbc", engine: engine.name() }),
    }
}

/// `jdbc:postgresql://host:5432/database?user=…&password=…`
fn with_query(
    engine: Engine,
    hosts: &[Host<'_>],
    connection: &Connection<'_>,
    out: &mut SecretBuffer,
) -> Result<(), Problem> {
    let rule = if engine == Engine::Mariadb { as_it_is } else { percent };
    out.push_str("jdbc:");
    out.push_str(engine.name());
    out.push_str("://");
    for (index, host) in hosts.iter().enumerate() {
        out.push_str(if index == 0 { "" } else { "," });
        authority(engine, host, out)?;
    }
    out.push_str("/");
    if let Some(database) = connection.database {
        if engine == Engine::Mariadb && database.text.contains('?') {
            return Err(Problem::Refused { field: database.field.clone(), what: "a question mark" });
        }
        database.write(rule, out)?;
    }
    let mut separator = "?";
    for (name, given) in [("user", connection.username), ("password", connection.password)] {
        if let Some(given) = given {
            out.push_str(separator);
            out.push_str(name);
            out.push_str("=");
            given.write(rule, out)?;
            separator = "&";
        }
    }
    for option in &connection.options {
        out.push_str(separator);
        percent(&option.name, out).map_err(|refused| option.refused(refused))?;
        out.push_str("=");
        rule(option.text(), out).map_err(|refused| option.refused(refused))?;
        separator = "&";
    }
    Ok(())
}

/// MariaDB's driver, in all its versions, takes what stands between `&` and `&` as it is and decodes nothing
/// (`UrlParser`, and `Configuration` since 3.0).
fn as_it_is(text: &str, out: &mut SecretBuffer) -> Result<(), Unrepresentable> {
    if text.contains('&') {
        return Err(Unrepresentable("an ampersand"));
    }
    if text.contains('\0') {
        return Err(Unrepresentable("a NUL character"));
    }
    out.push_str(text);
    Ok(())
}

/// `jdbc:sqlserver://host:1433;databaseName=…;user=…;password={…}`: in braces everything stands for itself, but a closing
/// one is doubled.
fn sqlserver(host: &Host<'_>, connection: &Connection<'_>, out: &mut SecretBuffer) -> Result<(), Problem> {
    out.push_str("jdbc:sqlserver://");
    authority(Engine::Sqlserver, host, out)?;
    let Connection { database, username, password, options, .. } = connection;
    for (name, given) in [("databaseName", database), ("user", username), ("password", password)] {
        if let Some(given) = given {
            property(name, given.text, out);
        }
    }
    for option in options {
        if !option.name.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(option.refused(Unrepresentable("a name that is none")));
        }
        property(&option.name, option.text(), out);
    }
    Ok(())
}

fn property(name: &str, value: &str, out: &mut SecretBuffer) {
    out.push_str(";");
    out.push_str(name);
    out.push_str("={");
    for (index, piece) in value.split('}').enumerate() {
        out.push_str(if index == 0 { "" } else { "}}" });
        out.push_str(piece);
    }
    out.push_str("}");
}

/// `jdbc:oracle:thin:user/"password"@//host:1521/service`. The driver takes the text up to the last `@` and knows no
/// escapes in it, so that a password with a double quote, which no Oracle password can hold, is refused.
fn oracle(host: &Host<'_>, connection: &Connection<'_>, out: &mut SecretBuffer) -> Result<(), Problem> {
    out.push_str("jdbc:oracle:thin:");
    if let Some(username) = connection.username {
        plain(username, &['"', '/', '@', ' '], "a character that this URL has no escape for", out)?;
    }
    if let Some(password) = connection.password {
        out.push_str("/\"");
        plain(password, &['"'], "a double quote", out)?;
        out.push_str("\"");
    }
    out.push_str("@//");
    authority(Engine::Oracle, host, out)?;
    if let Some(database) = connection.database {
        out.push_str("/");
        plain(database, &['"', '/', '@', '?', ' '], "a character that this URL has no escape for", out)?;
    }
    let mut separator = "?";
    for option in &connection.options {
        let is_refused = |c: char| c.is_control() || ['?', '&', '=', '"', '@'].contains(&c);
        if option.name.contains(is_refused) || option.text().contains(is_refused) {
            return Err(option.refused(Unrepresentable("a character that this URL has no escape for")));
        }
        out.push_str(separator);
        out.push_str(&option.name);
        out.push_str("=");
        out.push_str(option.text());
        separator = "&";
    }
    Ok(())
}

fn plain(
    given: Given<'_>,
    refused: &[char],
    what: &'static str,
    out: &mut SecretBuffer,
) -> Result<(), Problem> {
    if given.text.contains(refused) || given.text.contains(char::is_control) {
        return Err(Problem::Refused { field: given.field.clone(), what });
    }
    out.push_str(given.text);
    Ok(())
}

fn authority(engine: Engine, host: &Host<'_>, out: &mut SecretBuffer) -> Result<(), Problem> {
    if host.is_socket() {
        return Err(Problem::NoSockets { engine: engine.name() });
    }
    if host.is_ipv6() {
        out.push_str("[");
        out.push_str(host.name);
        out.push_str("]");
    } else {
        out.push_str(host.name);
    }
    let default = engine.default_port().map(|port| port.to_string());
    if let Some(port) = host.port.or(default.as_deref()) {
        out.push_str(":");
        out.push_str(port);
    }
    Ok(())
}
