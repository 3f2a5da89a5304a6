//! What a Service gives a credential: its host, and the port that was chosen.

use std::collections::BTreeMap;

use crate::credential::ServicePort;
use crate::object::ServiceData;
use crate::render::error::{KEY_SHOWN, Problem};
use crate::secret::SecretBytes;
use crate::text::one_line;

/// What a source holds that can become a field, by key.
pub(crate) type Entries<'a> = BTreeMap<&'a str, &'a SecretBytes>;

/// Reads host and port, and says what is wrong with the choice of the port. A Service without any is only wrong where one
/// is asked for.
pub(crate) fn entries<'a>(service: &ServicePort, address: &'a ServiceData) -> (Entries<'a>, Option<Problem>) {
    let mut given = Entries::from([("host", &address.host)]);
    let ports: Vec<_> = address.ports.iter().collect();
    let present = || ports.iter().map(|(name, _)| one_line(name, KEY_SHOWN)).collect();
    let object = || service.object.clone();
    let chosen = match (&service.port, ports.as_slice()) {
        (None, []) => return (given, None),
        (None, [(_, number)]) => Ok(*number),
        (None, _) => Err(Problem::WhichPort { service: object(), present: present() }),
        (Some(port), ports) => {
            // A name can look like a number, and a name is what Kubernetes knows a port by.
            let named = ports.iter().find(|(name, _)| *name == port);
            let numbered = || ports.iter().find(|(_, number)| number.expose() == port.as_bytes());
            named.or_else(numbered).map(|(_, number)| *number).ok_or_else(|| Problem::NoPort {
                service: object(),
                port: port.clone(),
                present: present(),
            })
        }
    };
    match chosen {
        Ok(number) => {
            given.insert("port", number);
            (given, None)
        }
        Err(problem) => (given, Some(problem)),
    }
}
