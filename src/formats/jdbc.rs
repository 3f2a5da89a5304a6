//! `jdbc`: a JDBC URL that contains user and password, without a line break at its end.
//! Sources: <https://jdbc.postgresql.org/documentation/use/>,
//! <https://dev.mysql.com/doc/connector-j/en/connector-j-reference-jdbc-url-format.html>,
//! <https://mariadb.com/docs/connectors/mariadb-connector-j/about-mariadb-connector-j>,
//! <https://learn.microsoft.com/en-us/sql/connect/jdbc/building-the-connection-url>,
//! <https://docs.oracle.com/en/database/oracle/oracle-database/23/jjdbc/data-sources-and-URLs.html>

use crate::credential::Engine;
use crate::escape::{LINE_BREAK, Unrepresentable, percent};
use crate::formats::FormatError;
use crate::formats::connection::{Connection, Host};
use crate::formats::parts::FieldText;
use crate::secret::SecretBuffer;

pub(crate) fn write(connection: &Connection<'_>, out: &mut SecretBuffer) -> Result<(), FormatError> {
    let engine = connection.require_engine()?;
    match engine {
        Engine::Postgresql | Engine::Mysql | Engine::Mariadb => {
            let hosts = connection.require_hosts()?;
            with_query(engine, hosts, connection, out)
        }
        Engine::Sqlserver => sqlserver(connection.require_one_host()?, connection, out),
        Engine::Oracle => oracle(connection.require_one_host()?, connection, out),
        _ => Err(FormatError::UnsupportedEngine { format: "jdbc", engine: engine.name() }),
    }
}

/// `jdbc:postgresql://host:5432/database?user=…&password=…`
fn with_query(
    engine: Engine,
    hosts: &[Host<'_>],
    connection: &Connection<'_>,
    out: &mut SecretBuffer,
) -> Result<(), FormatError> {
    let rule = if engine == Engine::Mariadb { raw_mariadb } else { percent };
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
            return Err(database.unsupported(Unrepresentable("a question mark")));
        }
        database.write(rule, out)?;
    }
    let mut separator = "?";
    for (name, value) in [("user", connection.username), ("password", connection.password)] {
        if let Some(value) = value {
            out.push_str(separator);
            out.push_str(name);
            out.push_str("=");
            value.write(rule, out)?;
            separator = "&";
        }
    }
    for option in &connection.options {
        out.push_str(separator);
        percent(&option.name, out).map_err(|refused| option.unsupported(refused))?;
        out.push_str("=");
        if engine == Engine::Mariadb && option.name.ends_with("address") && option.text().starts_with('(') {
            return Err(option.unsupported(Unrepresentable("`address=(`")));
        }
        rule(option.text(), out).map_err(|refused| option.unsupported(refused))?;
        separator = "&";
    }
    Ok(())
}

/// Writes a value for MariaDB's driver, which in all its versions splits the query at `&` and decodes nothing (`UrlParser`,
/// and `Configuration` since 3.0).
fn raw_mariadb(text: &str, out: &mut SecretBuffer) -> Result<(), Unrepresentable> {
    if text.contains('&') {
        return Err(Unrepresentable("an ampersand"));
    }
    // Since 3.0, the driver looks for descriptions of hosts in the whole URL, and may never end if one is not closed.
    if text.contains("address=(") {
        return Err(Unrepresentable("`address=(`"));
    }
    if text.contains('\0') {
        return Err(Unrepresentable("a NUL character"));
    }
    out.push_str(text);
    Ok(())
}

/// `jdbc:sqlserver://host:1433;databaseName=…;user=…;password={…}`: in braces only the
/// closing brace is special, and is doubled.
fn sqlserver(
    host: &Host<'_>,
    connection: &Connection<'_>,
    out: &mut SecretBuffer,
) -> Result<(), FormatError> {
    out.push_str("jdbc:sqlserver://");
    // The driver ends the name at the first colon, and supports an IPv6 address as a property alone.
    if host.is_ipv6() && !host.is_socket() {
        out.push_str(";serverName=");
        out.push_str(host.name);
        out.push_str(";portNumber=");
        out.push_str(host.port.unwrap_or("1433"));
    } else {
        authority(Engine::Sqlserver, host, out)?;
    }
    let Connection { database, username, password, options, .. } = connection;
    for (name, value) in [("databaseName", database), ("user", username), ("password", password)] {
        if let Some(value) = value {
            property(name, value.text, out);
        }
    }
    for option in options {
        if !option.name.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(option.invalid_name());
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

/// `jdbc:oracle:thin:user/"password"@//host:1521/service`. The driver takes the text up to the last `@` and supports
/// no escapes in it. A password with a double quote is rejected; no password of Oracle can contain one.
fn oracle(host: &Host<'_>, connection: &Connection<'_>, out: &mut SecretBuffer) -> Result<(), FormatError> {
    out.push_str("jdbc:oracle:thin:");
    if let Some(username) = connection.username {
        write_unescaped(username, &['"', '/', '@', ' '], "a character that this URL cannot escape", out)?;
    }
    if let Some(password) = connection.password {
        out.push_str("/\"");
        write_unescaped(password, &['"'], "a double quote", out)?;
        out.push_str("\"");
    }
    out.push_str("@//");
    authority(Engine::Oracle, host, out)?;
    if let Some(database) = connection.database {
        out.push_str("/");
        write_unescaped(
            database,
            &['"', '/', '@', '?', ' '],
            "a character that this URL cannot escape",
            out,
        )?;
    }
    let mut separator = "?";
    for option in &connection.options {
        let is_refused = |c: char| c.is_control() || ['?', '&', '=', '"', '@'].contains(&c);
        if option.name.contains(is_refused) || option.text().contains(is_refused) {
            return Err(option.unsupported(Unrepresentable("a character that this URL cannot escape")));
        }
        out.push_str(separator);
        out.push_str(&option.name);
        out.push_str("=");
        out.push_str(option.text());
        separator = "&";
    }
    Ok(())
}

fn write_unescaped(
    value: FieldText<'_>,
    unsupported: &[char],
    what: &'static str,
    out: &mut SecretBuffer,
) -> Result<(), FormatError> {
    let is_refused = |text: &str| text.contains(unsupported) || text.contains(char::is_control);
    if is_refused(value.text) {
        let is_break = !is_refused(value.text.trim_end_matches(['\n', '\r']));
        return Err(value.unsupported(if is_break { LINE_BREAK } else { Unrepresentable(what) }));
    }
    out.push_str(value.text);
    Ok(())
}

fn authority(engine: Engine, host: &Host<'_>, out: &mut SecretBuffer) -> Result<(), FormatError> {
    if host.is_socket() {
        return Err(FormatError::UnixSocket { engine: engine.name() });
    }
    host.write_name(out);
    let default = engine.default_port().map(|port| port.to_string());
    if let Some(port) = host.port.or(default.as_deref()) {
        out.push_str(":");
        out.push_str(port);
    }
    Ok(())
}
