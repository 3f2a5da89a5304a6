//! The Service that a credential takes host and port from.

use crate::credential::Keys;
use crate::object::{ClusterRef, Kind, NameError, Namespace, ObjectRef, is_label};
use crate::text::RedactedPrefix;

/// What a Service gives, under the names by which `.keys` can rename it.
pub(crate) const SERVICE_FIELDS: [&str; 2] = ["host", "port"];

/// A Service, and which of its ports is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServicePort {
    /// The Service.
    pub(crate) object: ObjectRef,
    /// The port's name or its number; none for the only one.
    pub(crate) port: Option<String>,
}

impl ServicePort {
    /// Reads `[namespace/]name[:port]`; without a namespace it is `default`. The port is named as Kubernetes has it, by a
    /// DNS label; a number is one too.
    /// Source: <https://kubernetes.io/docs/concepts/services-networking/service/#multi-port-services>
    ///
    /// # Errors
    /// For parts that are no names.
    pub(crate) fn parse(text: &str, default: &Namespace) -> Result<Self, ServicePortError> {
        let (object, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
        if port.is_some_and(|port| !is_label(port)) {
            return Err(ServicePortError::Port(text.to_owned()));
        }
        let object = ObjectRef::parse(Kind::Service, object, default)?;
        Ok(Self { object, port: port.map(str::to_owned) })
    }

    /// The same Service and port in the given cluster.
    #[must_use]
    pub(crate) fn in_cluster(self, cluster: ClusterRef) -> Self {
        Self { object: self.object.in_cluster(cluster), ..self }
    }

    /// Which fields it gives under their own names: those that `.keys` does not name.
    pub(crate) fn own_fields(keys: &Keys) -> impl Iterator<Item = &str> {
        let renamed = |field: &str| match keys {
            Keys::All => false,
            Keys::Listed(keys) => keys.iter().any(|(_, key)| key.as_str() == field),
        };
        SERVICE_FIELDS.into_iter().filter(move |field| !renamed(field))
    }
}

/// A wrong value of `.service`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ServicePortError {
    /// What stands behind the colon. It may be the rest of a URI, so it is not shown.
    #[error(
        "{} names no port behind its colon: write name:port or namespace/name:port, with the port's name (lower-case letters, digits and `-`, at most 63) or its number",
        RedactedPrefix(.0)
    )]
    Port(String),
    /// A wrong name of the Service or its namespace.
    #[error(transparent)]
    Object(#[from] NameError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ServicePort, String> {
        ServicePort::parse(text, &Namespace::parse("prod").unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_port_is_named_by_its_name_or_number_or_not_at_all() {
        for (text, object, port) in [
            ("db", "Service prod/db", None),
            ("db:postgres", "Service prod/db", Some("postgres")),
            ("other/db:5432", "Service other/db", Some("5432")),
        ] {
            let service = parse(text).unwrap();
            assert_eq!((service.object.to_string().as_str(), service.port.as_deref()), (object, port));
        }
    }

    #[test]
    fn what_names_no_service_is_refused_and_no_more_than_its_beginning_is_shown() {
        for (text, part) in [
            ("", "invalid name"),
            ("DB", "invalid name \"DB\""),
            ("a/b/c:pg", "write name or namespace/name"),
            ("db:", "\"db\" … names no port behind its colon: write name:port"),
            ("db:Postgres", "\"db\" … names no port"),
            ("db:a:b", "\"db\" … names no port"),
            ("postgresql://app:test-password@db", "\"postgresql\" … names no port"),
        ] {
            let message = parse(text).unwrap_err();
            assert!(message.contains(part) && !message.contains("test-password"), "{text}: {message}");
        }
    }
}
