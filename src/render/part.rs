//! The parts of a connection, by the names that the makers of Secrets give them.

/// A part of a connection, by the names that its field may have. The first that is there and not empty counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part(pub(crate) &'static [&'static str]);

pub(crate) const USERNAME: Part = Part(&["username", "user"]);
pub(crate) const PASSWORD: Part = Part(&["password", "pass"]);
pub(crate) const HOST: Part = Part(&["host", "hostname", "endpoint"]);
pub(crate) const PORT: Part = Part(&["port"]);
pub(crate) const DATABASE: Part = Part(&["database", "dbname", "db"]);
pub(crate) const ENGINE: Part = Part(&["engine", "type"]);
pub(crate) const OPTIONS: Part = Part(&["options"]);
/// All in one: `connection_string` is what RabbitMQ's cluster operator calls it, the others MongoDB's operator.
pub(crate) const URI: Part =
    Part(&["uri", "connection_string", "connectionString.standard", "connectionString.standardSrv"]);

/// All of them: what has another name is an option, where the annotations name it.
pub(crate) const PARTS: [Part; 8] = [USERNAME, PASSWORD, HOST, PORT, DATABASE, ENGINE, OPTIONS, URI];
/// Fields of a Service Binding that say where it comes from, and nothing that a client would be told.
pub(crate) const ABOUT: [&str; 1] = ["provider"];

impl Part {
    /// The name that it is looked for first.
    pub(crate) fn name(self) -> &'static str {
        self.0.first().copied().unwrap_or_default()
    }

    pub(crate) fn is_named(self, field: &str) -> bool {
        self.0.contains(&field)
    }
}
