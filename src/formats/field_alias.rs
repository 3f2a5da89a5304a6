//! The field names that are recognized without `.keys`: the ones that database operators and providers write into Secrets.

use std::fmt;

/// The names that a value of a connection may have. The first field that exists and is not empty is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FieldAliases(pub(crate) &'static [&'static str]);

pub(crate) const USERNAME: FieldAliases = FieldAliases(&["username", "user"]);
pub(crate) const PASSWORD: FieldAliases = FieldAliases(&["password", "pass"]);
pub(crate) const HOST: FieldAliases = FieldAliases(&["host", "hostname", "endpoint"]);
pub(crate) const PORT: FieldAliases = FieldAliases(&["port"]);
pub(crate) const DATABASE: FieldAliases = FieldAliases(&["database", "dbname", "db"]);
pub(crate) const ENGINE: FieldAliases = FieldAliases(&["engine", "type"]);
pub(crate) const OPTIONS: FieldAliases = FieldAliases(&["options"]);
/// A whole connection in one value. RabbitMQ's cluster operator writes `connection_string`, MongoDB's operator the others.
pub(crate) const URI: FieldAliases =
    FieldAliases(&["uri", "connection_string", "connectionString.standard", "connectionString.standardSrv"]);

/// Every list of aliases. Any other field that the annotations name is an option.
pub(crate) const ALL: [FieldAliases; 8] = [USERNAME, PASSWORD, HOST, PORT, DATABASE, ENGINE, OPTIONS, URI];
/// Fields of a Service Binding that describe its origin and are not options of a connection.
pub(crate) const IGNORED: [&str; 1] = ["provider"];

impl FieldAliases {
    /// The preferred name.
    pub(crate) fn name(self) -> &'static str {
        self.0.first().copied().unwrap_or_default()
    }

    pub(crate) fn contains(self, field: &str) -> bool {
        self.0.contains(&field)
    }
}

impl fmt::Display for FieldAliases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] | [_] => f.write_str(self.name()),
            [name, aliases @ ..] => write!(f, "{name} (aliases: {})", aliases.join(", ")),
        }
    }
}
