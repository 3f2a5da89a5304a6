//! `mycnf`: an option file for MySQL and MariaDB clients, for `--defaults-extra-file`.
//! Sources: <https://dev.mysql.com/doc/refman/8.4/en/option-files.html>,
//! <https://mariadb.com/docs/server/server-management/install-and-upgrade-mariadb/configuring-mariadb/configuring-mariadb-with-option-files>

use crate::escape::{self, Unrepresentable};
use crate::formats::FormatError;
use crate::formats::connection::Connection;
use crate::secret::SecretBuffer;

/// The longest line, without its line break: the clients read into a buffer of 4096 bytes, and parse the rest of a longer
/// line as another line (`my_default.c`).
const LINE_LIMIT: usize = 4094;

/// Writes the group `client`, which every client reads. The database is in the group of the command-line client alone,
/// because `mysqldump` and `mysqladmin` fail if the file names one.
pub(crate) fn write(connection: &Connection<'_>, out: &mut SecretBuffer) -> Result<(), FormatError> {
    out.push_str("[client]\n");
    if !connection.hosts.is_empty() {
        let host = connection.require_one_host()?;
        let name = if host.is_socket() { "socket" } else { "host" };
        option(name, host.name, out).map_err(|refused| unsupported(name, refused))?;
        if let Some(port) = host.port.filter(|_| !host.is_socket()) {
            option("port", port, out).map_err(|refused| unsupported("port", refused))?;
        }
    } else if let Some(port) = connection.port {
        option("port", port, out).map_err(|refused| unsupported("port", refused))?;
    }
    for (name, value) in [("user", connection.username), ("password", connection.password)] {
        if let Some(value) = value {
            option(name, value.text, out).map_err(|refused| value.unsupported(refused))?;
        }
    }
    for parameter in &connection.options {
        if !parameter.name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
            return Err(parameter.invalid_name());
        }
        option(&parameter.name, parameter.text(), out).map_err(|refused| parameter.unsupported(refused))?;
    }
    if let Some(database) = connection.database {
        out.push_str("\n[mysql]\n");
        option("database", database.text, out).map_err(|refused| database.unsupported(refused))?;
    }
    Ok(())
}

/// Writes one line.
fn option(name: &str, value: &str, out: &mut SecretBuffer) -> Result<(), Unrepresentable> {
    let start = out.len();
    out.push_str(name);
    out.push_str("=");
    escape::mycnf(value, out)?;
    if out.len() - start > LINE_LIMIT {
        return Err(Unrepresentable("more than about 4000 bytes"));
    }
    out.push_str("\n");
    Ok(())
}

fn unsupported(name: &str, Unrepresentable(what): Unrepresentable) -> FormatError {
    FormatError::UnsupportedOption { name: name.to_owned(), what }
}
