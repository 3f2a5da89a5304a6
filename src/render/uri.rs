//! `uri`: one URI with user and password in it, without a new line at the end. Every part is percent-encoded.
//! Sources: RFC 3986; for what stands where, the documentation of each engine's clients, as docs/formats/uri.md lists it.

use std::slice;

use crate::credential::{Credential, Engine};
use crate::escape::{Unrepresentable, percent};
use crate::render::connection::{Connection, Given, Host, Parameter};
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
    if engine == Engine::Oracle {
        return Err(Problem::NotForEngine { format: "uri", engine: engine.name() });
    }
    let hosts = match engine {
        Engine::Postgresql | Engine::Mongodb | Engine::Clickhouse | Engine::Cassandra => {
            connection.needs_hosts(fields)?
        }
        _ => slice::from_ref(connection.needs_one_host(fields)?),
    };
    if hosts.len() > 1 && hosts.iter().any(Host::is_socket) {
        return Err(Problem::SeveralHosts);
    }
    let mut query = Query::default();
    out.push_str(engine.name());
    out.push_str("://");
    user_info(engine, connection, out)?;
    for (index, host) in hosts.iter().enumerate() {
        out.push_str(if index == 0 { "" } else { "," });
        authority(engine, host, &mut query, out)?;
    }
    database(engine, connection.database, &mut query, out)?;
    query.0.extend(connection.options.iter().cloned());
    query.write(out)
}

/// `user:password@`, with nothing where one is not given.
fn user_info(engine: Engine, connection: &Connection<'_>, out: &mut SecretBuffer) -> Result<(), Problem> {
    let Connection { username, password, .. } = connection;
    match username {
        Some(username) => username.write(percent, out)?,
        // Its clients differ in what no user means; this is the one that a password alone is for (Redis 6 and later).
        None if password.is_some() && matches!(engine, Engine::Redis | Engine::Rediss) => {
            out.push_str("default")
        }
        None => {}
    }
    if let Some(password) = password {
        out.push_str(":");
        password.write(percent, out)?;
    }
    if username.is_some() || password.is_some() {
        out.push_str("@");
    }
    Ok(())
}

/// A host with its port, in the form that the engine's clients have for it.
fn authority(
    engine: Engine,
    host: &Host<'_>,
    query: &mut Query,
    out: &mut SecretBuffer,
) -> Result<(), Problem> {
    if host.is_socket() {
        return socket(engine, host, query, out);
    }
    if host.is_ipv6() {
        out.push_str("[");
        out.push_str(host.name);
        out.push_str("]");
    } else {
        out.push_str(host.name);
    }
    // A DNS record says the ports of `mongodb+srv`, and a URI that says one is an error there.
    if engine != Engine::MongodbSrv {
        let default = engine.default_port().map(|port| port.to_string());
        if let Some(port) = host.port.or(default.as_deref()) {
            out.push_str(":");
            out.push_str(port);
        }
    }
    Ok(())
}

/// A Unix socket: libpq takes its folder for a host of the query, others a path in place of the host.
fn socket(engine: Engine, host: &Host<'_>, query: &mut Query, out: &mut SecretBuffer) -> Result<(), Problem> {
    match engine {
        Engine::Postgresql => {
            query.add("host", host.name);
            if let Some(port) = host.port {
                query.add("port", port);
            }
        }
        Engine::Mysql | Engine::Mariadb | Engine::Mongodb => {
            percent(host.name, out)
                .map_err(|Unrepresentable(_)| Problem::NoSockets { engine: engine.name() })?;
        }
        _ => return Err(Problem::NoSockets { engine: engine.name() }),
    }
    Ok(())
}

/// The database: a path, or for SQL Server, whose path is an instance, a parameter.
fn database(
    engine: Engine,
    database: Option<Given<'_>>,
    query: &mut Query,
    out: &mut SecretBuffer,
) -> Result<(), Problem> {
    match (engine, database) {
        (Engine::Sqlserver, Some(database)) => query.add("database", database.text),
        // Readers take such a path away, encoded or not (RFC 3986, section 5.2.4).
        (_, Some(Given { field, text: "." | ".." })) => {
            return Err(Problem::Refused { field: field.clone(), what: "dots alone" });
        }
        (_, Some(database)) => {
            out.push_str("/");
            database.write(percent, out)?;
        }
        // Its options stand behind a path, be it empty.
        (Engine::Mongodb | Engine::MongodbSrv, None) => out.push_str("/"),
        (_, None) => {}
    }
    Ok(())
}

/// What stands behind the `?`.
#[derive(Default)]
struct Query(Vec<Parameter>);

impl Query {
    fn add(&mut self, name: &str, value: &str) {
        self.0.push(Parameter { name: name.to_owned(), value: value.into(), from: None });
    }

    fn write(self, out: &mut SecretBuffer) -> Result<(), Problem> {
        for (index, option) in self.0.iter().enumerate() {
            out.push_str(if index == 0 { "?" } else { "&" });
            percent(&option.name, out).map_err(|refused| option.refused(refused))?;
            out.push_str("=");
            percent(option.text(), out).map_err(|refused| option.refused(refused))?;
        }
        Ok(())
    }
}
