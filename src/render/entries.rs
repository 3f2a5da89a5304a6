//! The values of the sources by key, before any of them becomes a field.

use std::collections::BTreeMap;

use crate::credential::{FieldName, Source};
use crate::formats::NameList;
use crate::object::{Kind, ObjectData, ServiceData};
use crate::render::error::Problem;
use crate::secret::SecretBytes;

/// The values of a source that can become fields, by key.
pub(crate) type Entries<'a> = BTreeMap<&'a str, &'a SecretBytes>;

/// A source with its values by key.
pub(crate) type Found<'a> = (&'a Source, Entries<'a>);

/// Whether the values of a source are not secret.
pub(crate) fn is_public(source: &Source) -> bool {
    source.object.kind != Kind::Secret
}

pub(crate) fn entries(data: &ObjectData) -> Entries<'_> {
    data.keys().into_iter().flatten().map(|(key, value)| (key.as_str(), value)).collect::<BTreeMap<_, _>>()
}

/// Returns the host and the selected port of a Service, and the problem if the port cannot be selected. A Service without
/// ports is a problem only if `.service` names one.
pub(crate) fn service_entries<'a>(
    service: &Source,
    address: &'a ServiceData,
) -> (Entries<'a>, Option<Problem>) {
    let mut provided = Entries::from([("host", &address.host)]);
    let ports: Vec<_> = address.ports.iter().collect();
    let available = || NameList::new(ports.iter().map(|(name, _)| name));
    let object = || service.object.clone();
    let chosen = match (&service.port, ports.as_slice()) {
        (None, []) => return (provided, None),
        (None, [(_, number)]) => Ok(*number),
        (None, _) => Err(Problem::AmbiguousPort { service: object(), available: available() }),
        (Some(port), ports) => {
            // A name can look like a number. Names take precedence, because they identify ports in Kubernetes.
            let named = ports.iter().find(|(name, _)| *name == port);
            let numbered = || ports.iter().find(|(_, number)| number.expose() == port.as_bytes());
            named.or_else(numbered).map(|(_, number)| *number).ok_or_else(|| Problem::MissingPort {
                service: object(),
                port: port.clone(),
                available: available(),
            })
        }
    };
    match chosen {
        Ok(number) => {
            provided.insert("port", number);
            (provided, None)
        }
        Err(problem) => (provided, Some(problem)),
    }
}

/// The sources that have a key of `.keys`, each with its value there.
pub(crate) fn holders<'a>(
    key: &FieldName,
    found: &[Found<'a>],
) -> impl Iterator<Item = (&'a Source, &'a SecretBytes)> {
    found.iter().filter_map(|(source, entries)| Some((*source, *entries.get(source.key(key.as_str())?)?)))
}
