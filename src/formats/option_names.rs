//! Fields of `.keys` and `.set` that would become options of a connection, but are probably meant as a part of it. As an option, a
//! misspelt `password` would put the password into the query of a URI, which clients and proxies log.
//!
//! Sources of the keywords: the documentation of the drivers in docs/formats/adonet.md and docs/formats/jdbc.md, and
//! <https://www.postgresql.org/docs/current/libpq-envars.html>.

use crate::credential::{Credential, FieldName, Format, KeyEntry};
use crate::formats::options::{is_known, is_same};
use crate::formats::parts::{
    ALL_ALIASES, DATABASE, FieldAliases, HOST, IGNORED_FIELDS, PASSWORD, PORT, USERNAME, find_aliases,
};
use crate::secret::SecretBytes;
use crate::text::{is_misspelling, shown_key, suggest};

/// Why a field cannot be an option.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OptionNameError {
    #[error("field {field} would become an option of the connection{}", suggest(Some(part)))]
    Part { field: FieldName, part: &'static str },
    /// The key seems to contain the user or the password.
    #[error("field {field} would become an option of the connection: write {entry}")]
    Key {
        field: FieldName,
        /// The right entry of `.keys`.
        entry: String,
    },
    /// The value seems to have several options, in the form of a connection string or the query of a URI.
    #[error(
        "the value of option {field} continues with another option: separate options with commas, not with `;` or `&`"
    )]
    Several { field: FieldName },
}

/// Names of parts in the connection strings of .NET.
const ADONET: [(FieldAliases, &str); 5] = [
    (USERNAME, "username userid uid user"),
    (PASSWORD, "password pwd psw"),
    (HOST, "host server datasource address addr networkaddress"),
    (PORT, "port"),
    (DATABASE, "database db initialcatalog"),
];
/// Names of parts in JDBC URLs.
const JDBC: [(FieldAliases, &str); 3] =
    [(HOST, "servername server"), (PORT, "portnumber"), (DATABASE, "databasename")];
/// Names of parts for libpq and AMQP.
const COMMON: [(FieldAliases, &str); 5] = [
    (USERNAME, "pguser"),
    (PASSWORD, "pgpassword"),
    (HOST, "pghost"),
    (PORT, "pgport"),
    (DATABASE, "pgdatabase pgdbname vhost"),
];

/// Checks an entry of `.keys`.
///
/// # Errors
/// For a name that is probably meant as a part, and for a key that probably contains the user or the password.
pub(crate) fn check_entry(credential: &Credential, entry: &KeyEntry) -> Result<(), OptionNameError> {
    let KeyEntry { field, key, pointer, .. } = entry;
    if !is_option(field) {
        return Ok(());
    }
    let own =
        |name| credential.sources.iter().filter(|source| source.alias.is_some()).find_map(|s| s.key(name));
    let found = |part: FieldAliases| {
        let key = shown_key(key.as_str());
        let entry = match pointer {
            Some(pointer) => format!("{}={key}#{pointer}", part.name()),
            None if key == part.name() => key.into_owned(),
            None => format!("{}={key}", part.name()),
        };
        Err(OptionNameError::Key { field: field.clone(), entry })
    };
    // Without a name of its own, the field still has the alias of its source.
    if let Some(part) = own(field.as_str()).and_then(find_aliases) {
        return found(part);
    }
    let last =
        pointer.as_ref().and_then(|pointer| pointer.tokens().last()).map_or(key.as_str(), String::as_str);
    let is_mapped =
        |part: &FieldAliases| credential.named_fields().any(|field| part.contains(field.as_str()));
    let mut login = [PASSWORD, USERNAME].into_iter();
    match login.find(|part| part.end(last) && !is_mapped(part)) {
        Some(part) if !is_other_login(field.as_str()) => found(part),
        _ => check_name(credential.output.format(), field),
    }
}

/// Checks an entry of `.set`.
///
/// # Errors
/// For a name that is probably meant as a part, and for several options in one value.
pub(crate) fn check_literal(
    credential: &Credential,
    (field, value): (&FieldName, &SecretBytes),
) -> Result<(), OptionNameError> {
    if !is_option(field) {
        return Ok(());
    }
    let rest = value.expose_text().and_then(|text| text.split_once([';', '&']));
    if rest.is_some_and(|(_, rest)| rest.contains('=')) && is_known(field.as_str()) {
        return Err(OptionNameError::Several { field: field.clone() });
    }
    check_name(credential.output.format(), field)
}

fn is_option(field: &FieldName) -> bool {
    find_aliases(field.as_str()).is_none() && !IGNORED_FIELDS.contains(&field.as_str())
}

fn check_name(format: Format, field: &FieldName) -> Result<(), OptionNameError> {
    let name = field.as_str();
    let own: &[_] = match format {
        Format::Adonet => &ADONET,
        Format::Jdbc => &JDBC,
        _ => &[],
    };
    let is_keyword = |words: &str| words.split(' ').any(|word| is_same(name, word));
    let keyword = own.iter().chain(&COMMON).find(|(_, words)| is_keyword(words));
    let part = keyword.map(|(part, _)| part.name()).or_else(|| misspelt(name));
    part.map_or(Ok(()), |part| Err(OptionNameError::Part { field: field.clone(), part }))
}

/// The name of a part that is probably meant.
fn misspelt(name: &str) -> Option<&'static str> {
    if is_other_login(name) {
        return None;
    }
    ALL_ALIASES.iter().flat_map(|part| part.0).find(|part| is_misspelling(name, part)).copied()
}

/// Whether an option may well be similar to a user or a password: an option of some client (`sslpassword`), the password of a key store,
/// or another factor of a login (`password2`).
fn is_other_login(name: &str) -> bool {
    is_known(name)
        || name.ends_with(|c: char| c.is_ascii_digit())
        || name.to_ascii_lowercase().contains("store")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::options::LISTS;

    #[test]
    fn no_known_option_is_similar_to_a_part() {
        for name in LISTS.into_iter().flat_map(|list| list.split(' ')) {
            let field = FieldName::parse(name).unwrap();
            for (_, format) in Format::ALL {
                assert!(!is_option(&field) || check_name(format, &field).is_ok(), "{name}");
            }
        }
    }

    #[test]
    fn only_a_misspelling_of_a_part_is_one() {
        for (name, part) in [
            ("pasword", "password"),
            ("Password", "password"),
            ("passwd", "password"),
            ("pass-word", "password"),
            ("usrname", "username"),
            ("user_name", "username"),
            ("USER", "user"),
            ("hots", "host"),
            ("prot", "port"),
            ("databse", "database"),
            ("db_name", "dbname"),
            ("URI", "uri"),
            ("option", "options"),
        ] {
            assert_eq!(misspelt(name), Some(part), "{name}");
        }
        // Options that are not in the lists for sources.
        for name in
            "hostaddr passfile service name password2 trustStorePassword path ur dbuser pool socketFactory \
                     uid pw init-command krbsrvname gsslib proxyHost proxyUsername"
                .split_ascii_whitespace()
        {
            assert_eq!(misspelt(name), None, "{name}");
        }
    }

    #[test]
    fn keywords_of_drivers_are_names_of_parts() {
        for (format, name, part) in [
            (Format::Adonet, "Host", Some("host")),
            (Format::Adonet, "Server", Some("host")),
            (Format::Adonet, "Data_Source", Some("host")),
            (Format::Adonet, "PASSWORD", Some("password")),
            (Format::Adonet, "Pwd", Some("password")),
            (Format::Adonet, "UID", Some("username")),
            (Format::Adonet, "UserID", Some("username")),
            (Format::Adonet, "InitialCatalog", Some("database")),
            (Format::Adonet, "SslMode", None),
            (Format::Adonet, "TrustServerCertificate", None),
            (Format::Adonet, "databaseName", None),
            (Format::Jdbc, "databaseName", Some("database")),
            (Format::Jdbc, "serverName", Some("host")),
            (Format::Jdbc, "socketFactory", None),
            (Format::Libpq, "PGUSER", Some("username")),
            (Format::Uri, "vhost", Some("database")),
            (Format::Uri, "server", None),
        ] {
            let found = match check_name(format, &FieldName::parse(name).unwrap()) {
                Err(OptionNameError::Part { part, .. }) => Some(part),
                _ => None,
            };
            assert_eq!(found, part, "{name}");
        }
    }
}
