//! Hosts without a dot in Secrets and ConfigMaps that are not in the pod's namespace. An operator writes the name of its database's
//! Service, which resolves only in the namespace of that Service:
//! <https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/#namespaces-of-services>.

use crate::credential::{Credential, FieldName, KeyEntry, KeyMapping, Source};
use crate::formats::parts::{FieldText, HOST, engine_of_uri};
use crate::formats::uri;
use crate::object::Kind;
use crate::render::entries::{Entries, Found};
use crate::render::url::{FoundPart, Urls, of_connection};
use crate::secret::{SecretBuffer, SecretBytes};

/// The keys in which CloudNativePG stores URIs with longer names of the host.
/// Source: `pkg/specs/secrets.go` of CloudNativePG.
const LONGER: [&str; 2] = ["fqdn-uri", "uri"];

/// A host that the pod does not resolve as the author of the source meant it.
pub(crate) struct ShortHost<'a> {
    pub(crate) source: &'a Source,
    /// The field with the host.
    pub(crate) field: FieldName,
    pub(crate) key: &'a str,
    /// The host with a name that resolves in each namespace, for a connection.
    pub(crate) whole: Option<SecretBytes>,
}

pub(crate) fn find<'a>(
    credential: &Credential,
    found: &[Found<'a>],
    urls: &mut Urls<'_, 'a>,
) -> Vec<ShortHost<'a>> {
    let mut hosts = Vec::new();
    if !found.iter().any(|(source, _)| credential.is_elsewhere(&source.object)) {
        return hosts;
    }
    for (source, entries) in found {
        hosts.extend(find_in(credential, source, entries));
    }
    for entry in credential.key_mapping.entries().iter().filter(|entry| is_host(entry)) {
        for FoundPart { source, key, value } in urls.find(entry) {
            if value.is_ok_and(|host| short_length(&host).is_some()) {
                hosts.push(ShortHost { source, field: entry.field.clone(), key, whole: None });
            }
        }
    }
    if credential.is_connection()
        && !found.iter().any(|(source, _)| source.is_plain_service())
        && let Some((source, key, url)) = of_connection(credential, found)
        && host_of(url).is_some_and(|host| short_length(&host).is_some())
        && let Ok(field) = FieldName::parse(HOST.name())
    {
        hosts.push(ShortHost { source, field, key, whole: None });
    }
    hosts.retain(|host| credential.is_elsewhere(&host.source.object) && !is_overridden(credential, host));
    hosts
}

/// Whether an entry of `.keys` may select the host of a URL: not to parse URLs for other entries.
fn is_host(entry: &KeyEntry) -> bool {
    entry.key.as_str().ends_with(HOST.name())
}

fn find_in<'a>(credential: &Credential, source: &'a Source, entries: &Entries<'a>) -> Option<ShortHost<'a>> {
    if source.object.kind == Kind::Service || !credential.is_elsewhere(&source.object) {
        return None;
    }
    let (key, host) = HOST.0.iter().find_map(|name| entries.get_key_value(name))?;
    let length = short_length(host)?;
    let field = match &credential.key_mapping {
        KeyMapping::All => FieldName::parse(&credential.naming.apply(&source.field(key))).ok()?,
        KeyMapping::Listed(keys) => {
            let is_host =
                |entry: &KeyEntry| entry.pointer.is_none() && source.key(entry.key.as_str()) == Some(*key);
            keys.iter().find(|entry| is_host(entry))?.field.clone()
        }
    };
    let is_connection = credential.is_connection() && HOST.contains(field.as_str());
    let whole = match source.object.cluster.id() {
        None if is_connection => whole_host(host, length, entries),
        _ => None,
    };
    Some(ShortHost { source, field, key, whole })
}

/// Whether the annotations name the host on purpose.
fn is_overridden(credential: &Credential, host: &ShortHost<'_>) -> bool {
    let is_host = |field: &FieldName| {
        *field == host.field || (credential.is_connection() && HOST.contains(field.as_str()))
    };
    credential.overrides.iter().chain(&credential.inline_fields).any(|(field, _)| is_host(field))
}

/// The length of the name in front of a port, if the text is a single host whose name resolves only in the pod's own namespace.
fn short_length(host: &SecretBytes) -> Option<usize> {
    let host = host.expose_text()?.trim();
    let (name, port) = host.split_once(':').unwrap_or((host, "0"));
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let is_short = !name.is_empty()
        && name.bytes().all(is_name)
        && port.bytes().all(|b| b.is_ascii_digit())
        && !name.eq_ignore_ascii_case("localhost");
    is_short.then_some(name.len())
}

/// The host with the longer name that a URI of the same source contains: the same first label, then others.
fn whole_host(host: &SecretBytes, length: usize, entries: &Entries<'_>) -> Option<SecretBytes> {
    let (name, port) = host.expose_text()?.trim().split_at(length);
    let whole = LONGER.into_iter().filter_map(|key| host_of(entries.get(key)?)).find(|whole| {
        let whole = whole.expose_text().unwrap_or_default();
        whole.strip_prefix(name).is_some_and(|rest| rest.starts_with('.') && !rest.contains([',', ':']))
    })?;
    let mut complete = SecretBuffer::default();
    complete.push(whole.expose());
    complete.push_str(port);
    Some(complete.finish())
}

/// The hosts of a URI, without the port of a single one.
fn host_of(uri: &SecretBytes) -> Option<SecretBytes> {
    let text = uri.expose_text()?;
    let field = FieldName::parse(HOST.name()).ok()?;
    let parts = uri::parts(FieldText { field: &field, text }, engine_of_uri(text)?, &|_| false).ok()?;
    parts.into_iter().find(|(part, _)| *part == HOST).map(|(_, host)| host)
}
