//! The addresses of the database servers that credentials name, for `check --connect`.

use crate::credential::{Credential, CredentialName, Output};
use crate::formats::Fields;
use crate::formats::options::OptionSet;
use crate::render::write::{ConnectionInput, write_connection};
use crate::render::{Sources, fields, work_share};

/// Where a client of a credential would connect.
pub(crate) struct Address {
    pub(crate) credential: CredentialName,
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// The addresses of all credentials whose fields describe a connection. Skips Unix sockets, and hosts whose port is neither given nor
/// the default of a known engine.
pub(crate) fn addresses(credentials: &[Credential], sources: &Sources) -> Vec<Address> {
    let mut found = Vec::new();
    for credential in credentials {
        let Ok(Some(selection)) = fields::select(credential, sources, work_share(credentials)) else {
            continue;
        };
        let fields::Selection { fields: selected, overrides, url, .. } = selection;
        let mut values = Fields::new();
        values.extend(selected.iter().map(|(field, value)| (field.clone(), &**value)));
        let engine = match &credential.output {
            Output::ConnectionString { engine, .. } | Output::ClientFile { engine, .. } => *engine,
            _ => None,
        };
        // One line for each host, whether or not the rest of the connection is complete.
        let lines = write_connection(
            credential,
            engine,
            OptionSet::Empty,
            &values,
            &ConnectionInput { url, overrides: &overrides, redaction: None, is_public: &|_| true },
            &|connection, out| {
                let default =
                    connection.engine.and_then(|engine| engine.default_port()).map(|port| port.to_string());
                for host in connection.hosts.iter().filter(|host| !host.is_socket()) {
                    let port = host.port.or(default.as_deref()).unwrap_or_default();
                    [host.name, " ", port, "\n"].into_iter().for_each(|part| out.push_str(part));
                }
                Ok(())
            },
        );
        let Ok((lines, _)) = lines else { continue };
        for line in lines.expose_text().unwrap_or_default().lines() {
            if let Some((host, port)) = line.rsplit_once(' ')
                && let Ok(port) = port.parse()
            {
                found.push(Address { credential: credential.name.clone(), host: host.to_owned(), port });
            }
        }
    }
    found
}
