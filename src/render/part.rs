//! The parts of a connection, by the names that the makers of Secrets give them.

/// A part of a connection, by the names that its field may have. The first that is there and not empty counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part(pub(super) &'static [&'static str]);

pub(super) const USERNAME: Part = Part(&["username", "user"]);
pub(super) const PASSWORD: Part = Part(&["password", "pass"]);
pub(super) const HOST: Part = Part(&["host", "hostname", "endpoint"]);
pub(super) const PORT: Part = Part(&["port"]);
pub(super) const DATABASE: Part = Part(&["database", "dbname", "db"]);
pub(super) const ENGINE: Part = Part(&["engine", "type"]);
pub(super) const OPTIONS: Part = Part(&["options"]);
/// All in one: `connection_string` is what RabbitMQ's cluster operator calls it, the others MongoDB's operator.
pub(super) const URI: Part =
    Part(&["uri", "connection_string", "connectionString.standard", "connectionString.standardSrv"]);

/// All of them: what has another name is an option, where the annotations name it.
pub(super) const PARTS: [Part; 8] = [USERNAME, PASSWORD, HOST, PORT, DATABASE, ENGINE, OPTIONS, URI];
/// Fields of a Service Binding that say where it comes from, and nothing that a client would be told.
pub(super) const ABOUT: [&str; 1] = ["provider"];

impl Part {
    /// The name that it is looked for first.
    pub(super) fn name(self) -> &'static str {
        self.0.first().copied().unwrap_or_default()
    }

    pub(super) fn is_named(self, field: &str) -> bool {
        self.0.contains(&field)
    }
}
