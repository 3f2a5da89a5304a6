//! Database engines, which decide the form of URIs and JDBC URLs.

use crate::text::{Excerpt, nearest, suggest};

/// A database engine, as far as the forms of its addresses differ. TLS is part of the scheme of Redis and AMQP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// PostgreSQL, and databases that speak its protocol.
    Postgresql,
    /// MySQL.
    Mysql,
    /// MariaDB.
    Mariadb,
    /// MongoDB.
    Mongodb,
    /// MongoDB whose servers are listed by a DNS SRV record.
    MongodbSrv,
    /// Redis and Valkey.
    Redis,
    /// Redis and Valkey over TLS.
    Rediss,
    /// RabbitMQ and other servers of AMQP 0-9-1.
    Amqp,
    /// AMQP 0-9-1 over TLS.
    Amqps,
    /// Microsoft SQL Server.
    Sqlserver,
    /// ClickHouse.
    Clickhouse,
    /// Apache Cassandra.
    Cassandra,
    /// Oracle Database.
    Oracle,
}

impl Engine {
    /// Every accepted spelling; the first one of each engine is its canonical name. AWS Secrets Manager writes those of Aurora
    /// into `engine`.
    pub const ALL: [(&'static str, Self); 21] = [
        ("postgresql", Self::Postgresql),
        ("postgres", Self::Postgresql),
        ("pgsql", Self::Postgresql),
        ("aurora-postgresql", Self::Postgresql),
        ("mysql", Self::Mysql),
        ("aurora-mysql", Self::Mysql),
        ("mariadb", Self::Mariadb),
        ("mongodb", Self::Mongodb),
        ("mongo", Self::Mongodb),
        ("mongodb+srv", Self::MongodbSrv),
        ("redis", Self::Redis),
        ("valkey", Self::Redis),
        ("rediss", Self::Rediss),
        ("amqp", Self::Amqp),
        ("rabbitmq", Self::Amqp),
        ("amqps", Self::Amqps),
        ("sqlserver", Self::Sqlserver),
        ("mssql", Self::Sqlserver),
        ("clickhouse", Self::Clickhouse),
        ("cassandra", Self::Cassandra),
        ("oracle", Self::Oracle),
    ];

    /// Parses a name, ignoring case.
    pub(crate) fn parse(text: &str) -> Result<Self, EngineError> {
        Self::find(text).ok_or_else(|| {
            let nearest = nearest(text, Self::ALL.iter().map(|(name, _)| *name));
            EngineError { excerpt: Excerpt::of_word(text, nearest), nearest }
        })
    }

    /// As [`Self::parse`], for a text that may be part of a Secret's value and must not be copied.
    pub(crate) fn find(text: &str) -> Option<Self> {
        let known = Self::ALL.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        known.map(|(_, engine)| engine)
    }

    /// The canonical name, which is also the URI scheme.
    pub(crate) fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, engine)| *engine == self).map_or("", |(name, _)| name)
    }

    /// The default port; `None` means that addresses of this engine have no port.
    /// Source: the documentation of each engine.
    pub(crate) fn default_port(self) -> Option<u16> {
        match self {
            Self::Postgresql => Some(5432),
            Self::Mysql | Self::Mariadb => Some(3306),
            Self::Mongodb => Some(27017),
            Self::MongodbSrv => None,
            Self::Redis | Self::Rediss => Some(6379),
            Self::Amqp => Some(5672),
            Self::Amqps => Some(5671),
            Self::Sqlserver => Some(1433),
            Self::Clickhouse => Some(9000),
            Self::Cassandra => Some(9042),
            Self::Oracle => Some(1521),
        }
    }
}

/// An unknown engine.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "unknown engine {excerpt} (supported: postgresql, mysql, mariadb, mongodb, mongodb+srv, redis, rediss, amqp, amqps, sqlserver, clickhouse, cassandra, oracle){}",
    suggest(*nearest)
)]
pub(crate) struct EngineError {
    excerpt: Excerpt,
    nearest: Option<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_known_by_their_usual_names() {
        for (name, engine) in Engine::ALL {
            assert_eq!(Engine::parse(&name.to_uppercase()), Ok(engine));
            assert_eq!(Engine::parse(engine.name()), Ok(engine));
        }
        assert_eq!(Engine::parse("Postgres").unwrap().name(), "postgresql");
        let message = Engine::parse("db2").unwrap_err().to_string();
        assert!(Engine::ALL.iter().all(|(_, engine)| message.contains(engine.name())), "{message}");
        let message = Engine::parse("postgress").unwrap_err().to_string();
        assert!(message.starts_with("unknown engine \"postgress\" "), "{message}");
        assert!(message.ends_with("; did you mean \"postgres\"?"), "{message}");
    }
}
