//! `mycnf`: an option file of MySQL and MariaDB for `--defaults-extra-file`.
//! Sources: <https://dev.mysql.com/doc/refman/8.4/en/option-files.html>,
//! <https://mariadb.com/docs/server/server-management/install-and-upgrade-mariadb/configuring-mariadb/configuring-mariadb-with-option-files>

use crate::credential::Credential;
use crate::escape::{self, Unrepresentable};
use crate::render::connection::{Connection, Given};
use crate::render::error::Problem;
use crate::render::fields::Fields;
use crate::secret::SecretBuffer;

/// The longest line, its line break not counted: the clients read into a buffer of 4096 bytes, and go on with the rest as
/// with a line of its own (`my_default.c`).
const LINE: usize = 4094;

/// Writes the group that every client reads, and the database in the group of the command-line client alone: `mysqldump`
/// and `mysqladmin` end with an error where they are given one.
pub(crate) fn write(
    _: &Credential,
    fields: &Fields<'_>,
    connection: &Connection<'_>,
    out: &mut SecretBuffer,
) -> Result<(), Problem> {
    out.push_str("[client]\n");
    if !connection.hosts.is_empty() {
        let host = connection.needs_one_host(fields)?;
        let name = if host.is_socket() { "socket" } else { "host" };
        option(name, host.name, out).map_err(|refused| bad(name, refused))?;
        if let Some(port) = host.port.filter(|_| !host.is_socket()) {
            option("port", port, out).map_err(|refused| bad("port", refused))?;
        }
    } else if let Some(port) = connection.port {
        option("port", port, out).map_err(|refused| bad("port", refused))?;
    }
    for (name, given) in [("user", connection.username), ("password", connection.password)] {
        if let Some(given) = given {
            option(name, given.text, out).map_err(|refused| cannot(given, refused))?;
        }
    }
    for parameter in &connection.options {
        if !parameter.name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
            return Err(parameter.refused(Unrepresentable("a name that is no option")));
        }
        option(&parameter.name, parameter.text(), out).map_err(|refused| parameter.refused(refused))?;
    }
    if let Some(database) = connection.database {
        out.push_str("\n[mysql]\n");
        option("database", database.text, out).map_err(|refused| cannot(database, refused))?;
    }
    Ok(())
}

/// A line; what would not fit into one would be read as another option.
fn option(name: &str, value: &str, out: &mut SecretBuffer) -> Result<(), Unrepresentable> {
    let start = out.len();
    out.push_str(name);
    out.push_str("=");
    escape::mycnf(value, out)?;
    if out.len() - start > LINE {
        return Err(Unrepresentable("more than about 4000 bytes"));
    }
    out.push_str("\n");
    Ok(())
}

fn cannot(given: Given<'_>, Unrepresentable(what): Unrepresentable) -> Problem {
    Problem::Refused { field: given.field.clone(), what }
}

fn bad(name: &str, Unrepresentable(what): Unrepresentable) -> Problem {
    Problem::BadOption { name: name.to_owned(), what }
}
