//! URI schemes: which engine a client's own scheme means, and the scheme of `.scheme`.
//! Sources of the names: <https://docs.sqlalchemy.org/en/20/core/engines.html#database-urls> (`dialect+driver`),
//! <https://guides.rubyonrails.org/configuring.html#configuring-a-database>,
//! <https://github.com/rgeo/activerecord-postgis-adapter#usage>,
//! <https://github.com/jazzband/dj-database-url#url-schema>, <https://django-environ.readthedocs.io/en/latest/types.html>,
//! <https://www.doctrine-project.org/projects/doctrine-dbal/en/current/reference/configuration.html#connecting-using-a-url>,
//! `ConfigurationUrlParser` of Laravel, <https://www.prisma.io/docs/orm/reference/connection-urls>,
//! <https://github.com/golang-migrate/migrate#databases>, `TRANSPORT_ALIASES` of Kombu, and `connection.py` of valkey-py.

use crate::credential::Engine;
use crate::text::{Excerpt, nearest, suggest};

/// The schemes of clients that differ from the names of the engines ([`Engine::ALL`]).
const CLIENT_SCHEMES: [(&str, Engine); 22] = [
    ("postgis", Engine::Postgresql),
    ("psql", Engine::Postgresql),
    ("pdo-pgsql", Engine::Postgresql),
    ("pgx", Engine::Postgresql),
    ("pgx5", Engine::Postgresql),
    ("cockroach", Engine::Postgresql),
    ("cockroachdb", Engine::Postgresql),
    ("redshift", Engine::Postgresql),
    ("timescale", Engine::Postgresql),
    ("timescalegis", Engine::Postgresql),
    ("mysql2", Engine::Mysql),
    ("mysqlgis", Engine::Mysql),
    ("mysql-connector", Engine::Mysql),
    ("mysqli", Engine::Mysql),
    ("pdo-mysql", Engine::Mysql),
    ("trilogy", Engine::Mysql),
    ("mssqlms", Engine::Sqlserver),
    ("sqlsrv", Engine::Sqlserver),
    ("pdo-sqlsrv", Engine::Sqlserver),
    ("oraclegis", Engine::Oracle),
    ("pyamqp", Engine::Amqp),
    ("valkeys", Engine::Rediss),
];

/// Drivers of SQLAlchemy, which are not schemes of their own.
const DRIVERS: [&str; 17] = [
    "postgresql+asyncpg",
    "postgresql+psycopg",
    "postgresql+psycopg2",
    "postgresql+psycopg2cffi",
    "postgresql+pg8000",
    "mysql+pymysql",
    "mysql+aiomysql",
    "mysql+asyncmy",
    "mysql+mysqldb",
    "mysql+mysqlclient",
    "mysql+mysqlconnector",
    "mariadb+mariadbconnector",
    "mssql+pyodbc",
    "mssql+pymssql",
    "mssql+aioodbc",
    "oracle+oracledb",
    "oracle+cx_oracle",
];

/// The default ports of databases that speak PostgreSQL's protocol on another port than PostgreSQL.
const PORTS: [(&str, u16); 3] = [("cockroach", 26257), ("cockroachdb", 26257), ("redshift", 5439)];

/// The engine that a scheme means, in any case. In `dialect+driver`, the dialect decides; SQLAlchemy has this form for the
/// engines below. In other schemes the text after the `+` may mean TLS or a proxy, such as `amqp+ssl` or `redis+sentinel`.
pub(crate) fn engine_of_scheme(scheme: &str) -> Option<Engine> {
    let known = CLIENT_SCHEMES.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(scheme));
    if let Some(engine) = Engine::find(scheme).or(known.map(|(_, engine)| engine)) {
        return Some(engine);
    }
    let is_sql = |engine: &Engine| {
        matches!(
            engine,
            Engine::Postgresql | Engine::Mysql | Engine::Mariadb | Engine::Sqlserver | Engine::Oracle
        )
    };
    let (dialect, driver) = scheme.split_once('+')?;
    let is_driver = !driver.is_empty() && !driver.contains('+');
    if is_driver { engine_of_scheme(dialect).filter(is_sql) } else { None }
}

/// The port that clients of a scheme use if the URI has none.
pub(crate) fn port_of_scheme(scheme: &str, engine: Engine) -> Option<u16> {
    let dialect = scheme.split('+').next().unwrap_or_default();
    let own = PORTS.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(dialect));
    own.map_or(engine.default_port(), |(_, port)| Some(port))
}

/// Whether the path of a URI is the database. In the URIs of Microsoft's drivers it is an instance; other clients of SQL Server
/// have other schemes.
pub(crate) fn has_database_as_path(scheme: &str) -> bool {
    !scheme.eq_ignore_ascii_case("sqlserver")
}

/// The scheme that `.scheme` chooses for a URI, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scheme(String);

impl Scheme {
    /// Parses a scheme (RFC 3986, section 3.1).
    pub(crate) fn parse(text: &str) -> Result<Self, SchemeError> {
        let is_inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        let is_scheme = text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(is_inner);
        match is_scheme {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err(SchemeError::Invalid(Excerpt::new(text))),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The engine of a connection with this scheme. `named` is the value of `.engine`, which must agree with a known scheme.
    /// Where the scheme says more than `.engine`, about TLS or the records of `mongodb+srv`, the scheme decides.
    pub(crate) fn engine(&self, named: Option<Engine>) -> Result<Engine, SchemeError> {
        let Some(known) = engine_of_scheme(&self.0) else {
            return named.ok_or_else(|| {
                let known = Engine::ALL.iter().chain(&CLIENT_SCHEMES).map(|(name, _)| *name);
                let is_own =
                    |scheme: &&str| scheme.split_once('+').is_some_and(|(_, driver)| driver == self.0);
                let nearest = DRIVERS.into_iter().find(is_own).or_else(|| nearest(&self.0, known));
                SchemeError::Unknown { excerpt: Excerpt::of_word(&self.0, nearest), nearest }
            });
        };
        match (named.unwrap_or(known), known) {
            (named, known) if named == known => Ok(known),
            (named @ (Engine::Mysql | Engine::Mariadb), Engine::Mysql | Engine::Mariadb) => Ok(named),
            (Engine::Redis, Engine::Rediss)
            | (Engine::Amqp, Engine::Amqps)
            | (Engine::Mongodb, Engine::MongodbSrv) => Ok(known),
            (named, known) => Err(SchemeError::OtherEngine { named: named.name(), known: known.name() }),
        }
    }
}

/// An invalid value of `.scheme`, or one that does not fit `.engine`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SchemeError {
    #[error(
        "invalid scheme {_0}: write the part of the URI before `://`, for example postgresql+asyncpg: a letter, then letters, digits, `+`, `-` and `.`"
    )]
    Invalid(Excerpt),
    #[error("unknown scheme {excerpt}: add .engine, for example postgresql{}", suggest(*nearest))]
    Unknown { excerpt: Excerpt, nearest: Option<&'static str> },
    #[error("is a scheme of engine {known}, but .engine is {named}: change one of them, or remove .engine")]
    OtherEngine { named: &'static str, known: &'static str },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_of_a_common_client_means_its_engine() {
        for (engine, schemes) in [
            (
                Engine::Postgresql,
                "postgresql postgres pgsql postgresql+asyncpg postgresql+psycopg postgres+psycopg2 postgis \
                 PostGIS cockroachdb cockroachdb+asyncpg redshift+psycopg2 timescale pdo-pgsql pgx5",
            ),
            (Engine::Mysql, "mysql mysql2 MYSQL2 trilogy mysql+pymysql mysqlgis pdo-mysql mysqli"),
            (Engine::Mariadb, "mariadb mariadb+mariadbconnector"),
            (Engine::Sqlserver, "sqlserver mssql mssql+pyodbc sqlsrv pdo-sqlsrv"),
            (Engine::Oracle, "oracle oracle+oracledb"),
            (Engine::Mongodb, "mongodb"),
            (Engine::MongodbSrv, "mongodb+srv"),
            (Engine::Redis, "redis valkey"),
            (Engine::Rediss, "rediss valkeys"),
            (Engine::Amqp, "amqp pyamqp"),
            (Engine::Amqps, "amqps"),
        ] {
            for scheme in schemes.split_ascii_whitespace() {
                assert_eq!(engine_of_scheme(scheme), Some(engine), "{scheme}");
                assert!(Scheme::parse(scheme).unwrap().engine(None) == Ok(engine), "{scheme}");
            }
        }
    }

    /// The text after the `+` may mean TLS, so these are not the engine's plain scheme.
    #[test]
    fn a_plus_is_a_driver_only_in_the_schemes_of_sql() {
        for scheme in "https amqp+ssl redis+ssl redis+sentinel mongodb+x postgresql+ postgresql+a+b +mysql \
                       rediss+x x+mysql sqlite"
            .split_ascii_whitespace()
        {
            assert_eq!(engine_of_scheme(scheme), None, "{scheme}");
        }
    }

    #[test]
    fn databases_with_postgresqls_protocol_keep_their_ports() {
        for (scheme, port) in [
            ("postgis", 5432),
            ("cockroachdb", 26257),
            ("cockroachdb+asyncpg", 26257),
            ("Cockroach", 26257),
            ("redshift", 5439),
        ] {
            assert_eq!(port_of_scheme(scheme, Engine::Postgresql), Some(port), "{scheme}");
        }
    }

    #[test]
    fn engine_and_scheme_must_agree() {
        let engine = |scheme: &str, named| Scheme::parse(scheme).unwrap().engine(named);
        for (scheme, named, resolved) in [
            ("mysql2", Engine::Mariadb, Engine::Mariadb),
            ("mariadb", Engine::Mysql, Engine::Mysql),
            ("rediss", Engine::Redis, Engine::Rediss),
            ("amqps", Engine::Amqp, Engine::Amqps),
            ("mongodb+srv", Engine::Mongodb, Engine::MongodbSrv),
            ("jaydebeapi", Engine::Postgresql, Engine::Postgresql),
        ] {
            assert_eq!(engine(scheme, Some(named)), Ok(resolved), "{scheme}");
        }
        for (scheme, named, message) in [
            (
                "mysql2",
                Some(Engine::Postgresql),
                "is a scheme of engine mysql, but .engine is postgresql: change one of them, or remove .engine",
            ),
            ("redis", Some(Engine::Rediss), "is a scheme of engine redis, but .engine is rediss: "),
            ("amqp", Some(Engine::Amqps), "is a scheme of engine amqp, but .engine is amqps: "),
            ("mongodb", Some(Engine::MongodbSrv), "is a scheme of engine mongodb, but "),
            ("jaydebeapi", None, "unknown scheme \"jayd…\": add .engine, for example postgresql"),
            ("postgiss", None, "; did you mean \"postgis\"?"),
            (
                "asyncpg",
                None,
                "unknown scheme \"asyncpg\": add .engine, for example postgresql; did you mean \"postgresql+asyncpg\"?",
            ),
            ("PyMySQL", None, "; did you mean \"mysql+pymysql\"?"),
        ] {
            let said = engine(scheme, named).unwrap_err().to_string();
            assert!(said.contains(message), "{said}");
        }
    }

    #[test]
    fn a_scheme_follows_the_grammar_of_uris() {
        assert_eq!(Scheme::parse("PostgreSQL+AsyncPG").unwrap().as_str(), "postgresql+asyncpg");
        for text in ["", "2mysql", "+x", "postgresql://", "postgresql:", "a b", "a_b", "é", "a\n"] {
            let message = Scheme::parse(text).unwrap_err().to_string();
            assert!(message.starts_with("invalid scheme \""), "{text}: {message}");
        }
    }
}
