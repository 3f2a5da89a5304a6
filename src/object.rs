//! References to Kubernetes objects, and the content of Secrets, ConfigMaps and Services. Names are valid by construction, so
//! that they can be used in a URL path without encoding.

use std::collections::BTreeMap;
use std::fmt;

use crate::secret::SecretBytes;
use crate::text::Excerpt;

/// The kinds of objects that podcreds reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `v1 Pod`
    Pod,
    /// `v1 Secret`
    Secret,
    /// `v1 ConfigMap`
    ConfigMap,
    /// `v1 Service`
    Service,
    /// `v1 Event`
    Event,
}

impl Kind {
    /// The resource name, as in URLs and RBAC rules.
    pub(crate) fn resource(self) -> &'static str {
        match self {
            Self::Pod => "pods",
            Self::Secret => "secrets",
            Self::ConfigMap => "configmaps",
            Self::Service => "services",
            Self::Event => "events",
        }
    }

    /// The name of the kind, as in the field `kind`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::Service => "Service",
            Self::Event => "Event",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A valid namespace name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Namespace(Box<str>);

impl Namespace {
    /// Accepts an RFC 1123 DNS label: at most 63 of `a-z 0-9 -`, with no `-` at the ends.
    /// Source: <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/>
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if is_label(text) { Ok(Self(text.into())) } else { Err(NameError::new(NameKind::Namespace, text)) }
    }

    /// The namespace that the command which applies a manifest chooses. Only for objects that are never requested: it has no name.
    pub(crate) fn unspecified() -> Self {
        Self("".into())
    }

    pub(crate) fn is_unspecified(&self) -> bool {
        self.0.is_empty()
    }
}

impl Namespace {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of a cluster in the clusters file, as `.cluster` refers to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClusterId(Box<str>);

impl ClusterId {
    /// Accepts what Kubernetes accepts as a label value: at most 63 of `A-Z a-z 0-9 - _ .`, with a letter or digit at both
    /// ends.
    /// Source: <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set>
    pub(crate) fn parse(text: &str) -> Result<Self, NameError> {
        let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = text.as_bytes();
        if text.len() <= 63 && bytes.iter().copied().all(inner) && ends(bytes.first()) && ends(bytes.last()) {
            Ok(Self(text.into()))
        } else {
            Err(NameError::new(NameKind::ClusterId, text))
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The cluster that an object is in.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ClusterRef {
    /// The cluster of the pod, or of the kubeconfig's context.
    #[default]
    Local,
    /// A cluster of the clusters file.
    Named(ClusterId),
}

impl ClusterRef {
    /// The id of a named cluster; `None` means the local one, which has no id.
    pub(crate) fn id(&self) -> Option<&ClusterId> {
        match self {
            Self::Local => None,
            Self::Named(id) => Some(id),
        }
    }
}

/// A reference to an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectRef {
    pub(crate) cluster: ClusterRef,
    pub(crate) kind: Kind,
    pub(crate) namespace: Namespace,
    name: Box<str>,
}

impl ObjectRef {
    /// A reference in the local cluster. Accepts a name that is a DNS subdomain of at most 253 characters.
    /// Source: <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/>
    pub fn new(kind: Kind, namespace: Namespace, name: &str) -> Result<Self, NameError> {
        if is_subdomain(name) {
            Ok(Self { cluster: ClusterRef::Local, kind, namespace, name: name.into() })
        } else {
            Err(NameError::new(NameKind::Object, name))
        }
    }

    /// An object in the same namespace that is named after this one: the name, truncated if necessary, a dot and the number in
    /// hexadecimal digits.
    pub(crate) fn numbered(&self, kind: Kind, number: u128) -> Self {
        let number = format!(".{number:x}");
        // Names are ASCII.
        let name = &self.name[..self.name.len().min(SUBDOMAIN_LIMIT - number.len())];
        let name = format!("{}{number}", name.trim_end_matches(['.', '-']));
        Self { cluster: self.cluster.clone(), kind, namespace: self.namespace.clone(), name: name.into() }
    }

    /// Reads `[namespace/]name`; `default` is the namespace of a reference without one.
    pub fn parse(kind: Kind, text: &str, default: &Namespace) -> Result<Self, NameError> {
        match text.split_once('/') {
            _ if is_list(text) => Err(NameError::new(NameKind::List, text)),
            // With a second slash it is unclear which part is wrong, so the message shows the whole reference.
            Some((_, name)) if name.contains('/') => Err(NameError::new(NameKind::Reference, text)),
            Some((namespace, name)) => Self::new(kind, Namespace::parse(namespace)?, name),
            None => Self::new(kind, default.clone(), text),
        }
    }

    /// The same reference in another cluster.
    #[must_use]
    pub(crate) fn in_cluster(self, cluster: ClusterRef) -> Self {
        Self { cluster, ..self }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)?;
        match &self.cluster {
            ClusterRef::Named(cluster) => write!(f, " of cluster {cluster}"),
            ClusterRef::Local => Ok(()),
        }
    }
}

/// The decoded `data` of a Secret, or `data` and `binaryData` of a ConfigMap.
pub(crate) type Data = BTreeMap<String, SecretBytes>;

/// The content of an object that credentials are read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectData {
    /// A Secret or ConfigMap.
    Keys(Data),
    /// A Service.
    Service(ServiceData),
}

/// The address of a Service. The host and port numbers become field values unchanged, so they are stored in that type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceData {
    pub(crate) host: SecretBytes,
    /// The port numbers by port name. The name is empty if the Service has a single port and does not name it.
    pub(crate) ports: BTreeMap<String, SecretBytes>,
}

impl ObjectData {
    /// The keys of a Secret or ConfigMap; `None` means that this is a Service.
    pub fn keys(&self) -> Option<&Data> {
        match self {
            Self::Keys(data) => Some(data),
            Self::Service(_) => None,
        }
    }

    /// What the object takes in memory, in bytes, estimated. Of many keys with short values, the values are the smallest part.
    pub(crate) fn size(&self) -> usize {
        let entries = match self {
            Self::Keys(data) => data,
            Self::Service(service) => &service.ports,
        };
        entries.iter().map(|(key, value)| ENTRY_SIZE + key.len() + value.expose().len()).sum()
    }

    /// The address of a Service; `None` means that this is a Secret or ConfigMap.
    pub(crate) fn service(&self) -> Option<&ServiceData> {
        match self {
            Self::Keys(_) => None,
            Self::Service(service) => Some(service),
        }
    }
}

impl FromIterator<(String, SecretBytes)> for ObjectData {
    fn from_iter<I: IntoIterator<Item = (String, SecretBytes)>>(entries: I) -> Self {
        Self::Keys(entries.into_iter().collect())
    }
}

/// Whether a user wrote several references. An expression of Helm has spaces too.
fn is_list(text: &str) -> bool {
    let words = text.split([',', ' ', '\n']).filter(|word| !word.is_empty());
    !text.contains("{{") && words.count() > 1
}

/// What a key and its value take in a map besides their bytes, in bytes.
const ENTRY_SIZE: usize = 128;

/// A name that Kubernetes would reject.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid {kind} {excerpt}: {}", kind.syntax())]
pub struct NameError {
    kind: NameKind,
    excerpt: Excerpt,
}

/// The kinds of names, each with its own syntax.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NameKind {
    Object,
    Namespace,
    Reference,
    /// Several references where one belongs.
    List,
    ClusterId,
}

impl NameError {
    fn new(kind: NameKind, text: &str) -> Self {
        Self { kind, excerpt: Excerpt::new(text) }
    }
}

impl NameKind {
    /// The syntax, as advice in a message.
    fn syntax(self) -> &'static str {
        match self {
            Self::Object => {
                "use lower-case letters, digits, `-` and `.`, with a letter or digit at both ends"
            }
            Self::Namespace => "use lower-case letters, digits and `-`, with a letter or digit at both ends",
            Self::Reference => "write name or namespace/name",
            Self::List => {
                "name one object, or give each an alias: alias=name, alias=name; a credential has one of each kind, so add a second credential for the second object"
            }
            Self::ClusterId => {
                "use letters, digits, `-`, `_` and `.`, at most 63, with a letter or digit at both ends"
            }
        }
    }
}

impl fmt::Display for NameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Object => "name",
            Self::Namespace => "namespace",
            Self::Reference => "reference",
            Self::List => "list of objects",
            Self::ClusterId => "cluster id",
        })
    }
}

/// The maximum length of a DNS subdomain, in bytes.
const SUBDOMAIN_LIMIT: usize = 253;

/// Whether Kubernetes accepts this as a DNS subdomain, the syntax of most names and of annotation prefixes.
pub(crate) fn is_subdomain(text: &str) -> bool {
    text.len() <= SUBDOMAIN_LIMIT && text.split('.').all(is_subdomain_part)
}

/// Whether Kubernetes accepts this as a DNS label, the syntax of namespace names and of Service port names.
pub(crate) fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_subdomain_part(text)
}

fn is_subdomain_part(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Result<ObjectRef, NameError> {
        ObjectRef::parse(Kind::Secret, text, &Namespace::parse("prod").unwrap())
    }

    #[test]
    fn a_reference_has_the_default_namespace_or_its_own() {
        assert_eq!(secret("db").unwrap().to_string(), "Secret prod/db");
        assert_eq!(secret("other/db.v2").unwrap().to_string(), "Secret other/db.v2");
    }

    #[test]
    fn many_empty_values_have_a_size() {
        let keys = (0..1000).map(|index| (format!("key{index:03}"), SecretBytes::default()));
        assert_eq!(keys.collect::<ObjectData>().size(), 1000 * (128 + "key000".len()));
    }

    #[test]
    fn an_object_in_another_cluster_is_a_different_object() {
        let hub = ClusterId::parse("hub.eu-1").unwrap();
        let there = secret("db").unwrap().in_cluster(ClusterRef::Named(hub));
        assert_eq!(there.to_string(), "Secret prod/db of cluster hub.eu-1");
        assert_ne!(there, secret("db").unwrap());
        for wrong in ["", "-a", "a.", "a b", "a/b", "ä", &"a".repeat(64)] {
            assert!(ClusterId::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_numbered_name_is_valid_for_every_valid_name() {
        let named = |name: &str| secret(name).unwrap().numbered(Kind::Event, 0x1f);
        assert_eq!(named("db").to_string(), "Event prod/db.1f");
        for name in
            ["a".repeat(253), format!("{}.{}", "a".repeat(249), "b"), format!("{}-b", "a".repeat(249))]
        {
            let numbered = named(&name).name().to_owned();
            assert!(is_subdomain(&numbered) && numbered.ends_with("a.1f"), "{numbered}");
        }
    }

    #[test]
    fn names_that_kubernetes_rejects_are_rejected() {
        let long = "a".repeat(254);
        for text in [
            "", "/", "a/", "/a", "a/b/c", "A", "a_b", "-a", "a-", "a..b", "..", "a\n", "a b", "ä", "a%2f",
            &long,
        ] {
            assert!(secret(text).is_err(), "{text:?} was accepted");
        }
        assert!(Namespace::parse(&"a".repeat(64)).is_err());
        assert!(secret(&"a".repeat(253)).is_ok());
    }
}
