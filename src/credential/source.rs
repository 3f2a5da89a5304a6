//! The objects that a credential takes its fields from: the values of `.secret`, `.configmap` and `.service`.

use std::borrow::Cow;

use crate::credential::key_mapping::{KeyMapping, Naming};
use crate::credential::names::FieldName;
use crate::object::{ClusterRef, Kind, NameError, Namespace, ObjectRef, is_label};
use crate::text::Excerpt;

/// The most sources of one annotation.
const SOURCE_LIMIT: usize = 32;
/// The longest alias, in characters.
const ALIAS_LIMIT: usize = 40;
/// Names that have a meaning of their own in templates.
const RESERVED_ALIASES: [&str; 2] = ["fields", "credentials"];

/// The fields that a Service provides, under the names by which `.keys` can rename them.
const SERVICE_FIELDS: [&str; 2] = ["host", "port"];

/// An object that provides fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// With an alias, the fields are called `alias.key`, without one `key`.
    pub(crate) alias: Option<FieldName>,
    pub(crate) object: ObjectRef,
    /// The name or number of a Service's port. `None` means its only port.
    pub(crate) port: Option<String>,
}

impl Source {
    /// Parses `[namespace/]name`, or several sources as `alias=[namespace/]name, …`. The namespace defaults to `default`. The name of
    /// a Service may be followed by a port, as in `name:port`.
    pub(crate) fn parse_list(
        kind: Kind,
        text: &str,
        default: &Namespace,
        cluster: &ClusterRef,
    ) -> Result<Vec<Self>, SourceError> {
        let entries = || text.split([',', '\n']).map(str::trim).filter(|entry| !entry.is_empty());
        let count = entries().count();
        if count > SOURCE_LIMIT {
            return Err(SourceError::TooMany);
        }
        if count <= 1 && !text.contains('=') {
            let name = entries().next().unwrap_or_default();
            return Ok(vec![Self::parse(kind, None, name, default, cluster)?]);
        }
        let mut sources: Vec<Self> = Vec::new();
        for entry in entries() {
            let (alias, object) = entry.split_once('=').ok_or(SourceError::NoAlias)?;
            let alias = parse_alias(alias.trim())?;
            if sources.iter().any(|other| other.alias.as_ref() == Some(&alias)) {
                return Err(SourceError::DuplicateAlias(alias));
            }
            sources.push(Self::parse(kind, Some(alias), object.trim(), default, cluster)?);
        }
        Ok(sources)
    }

    fn parse(
        kind: Kind,
        alias: Option<FieldName>,
        text: &str,
        default: &Namespace,
        cluster: &ClusterRef,
    ) -> Result<Self, SourceError> {
        let (object, port) = match text.split_once(':') {
            Some((object, port)) if kind == Kind::Service => (object, Some(port)),
            _ => (text, None),
        };
        // A port's name is a DNS label, and so is a number.
        // Source: <https://kubernetes.io/docs/concepts/services-networking/service/#multi-port-services>
        if port.is_some_and(|port| !is_label(port)) {
            return Err(SourceError::Port(Excerpt::new(text)));
        }
        let object = ObjectRef::parse(kind, object, default)?.in_cluster(cluster.clone());
        Ok(Self { alias, object, port: port.map(str::to_owned) })
    }

    /// Whether the credential has the host and port of this Service without naming them in `.keys`.
    pub(crate) fn is_plain_service(&self) -> bool {
        self.object.kind == Kind::Service && self.alias.is_none()
    }

    /// The field that a key of this source is.
    pub(crate) fn field<'k>(&self, key: &'k str) -> Cow<'k, str> {
        match &self.alias {
            None => key.into(),
            Some(alias) => format!("{alias}.{key}").into(),
        }
    }

    /// The key of this source that a name in `.keys` means. `None` means that the name has the alias of another source.
    pub(crate) fn key<'k>(&self, name: &'k str) -> Option<&'k str> {
        match &self.alias {
            None => Some(name),
            Some(alias) => name.strip_prefix(alias.as_str())?.strip_prefix('.'),
        }
    }
}

fn parse_alias(text: &str) -> Result<FieldName, SourceError> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let is_alias = text.len() <= ALIAS_LIMIT
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(inner)
        && !RESERVED_ALIASES.contains(&text);
    let name = FieldName::parse(text).ok().filter(|_| is_alias);
    name.ok_or_else(|| {
        SourceError::Alias(Excerpt::of_word(text, RESERVED_ALIASES.into_iter().find(|name| *name == text)))
    })
}

/// The fields that Services without an alias provide although no entry of `.keys` names them.
pub(crate) fn unlisted_service_fields(
    sources: &[Source],
    keys: &KeyMapping,
    naming: &Naming,
) -> impl Iterator<Item = FieldName> {
    let has_service = sources.iter().any(Source::is_plain_service);
    let is_listed = |key: &str| keys.entries().iter().any(|entry| entry.key.as_str() == key);
    let fields = SERVICE_FIELDS.into_iter().filter(move |key| has_service && !is_listed(key));
    fields.filter_map(|key| FieldName::parse(&naming.apply(key)).ok())
}

/// An invalid value of `.secret`, `.configmap` or `.service`. The text after the colon may be the rest of a URI, so messages do not
/// show it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SourceError {
    #[error(
        "invalid port after the colon of {_0}: write name:port or namespace/name:port, with the port's name (at most 63 lower-case letters, digits and `-`) or its number"
    )]
    Port(Excerpt),
    #[error(transparent)]
    Object(#[from] NameError),
    #[error(
        "several objects need an alias each: write alias=name, alias=name; their fields are then alias.key, as in db.password"
    )]
    NoAlias,
    #[error(
        "invalid alias {_0} before `=`: use a letter, then letters, digits, `-` and `_`, at most {ALIAS_LIMIT} characters; `fields` and `credentials` are reserved"
    )]
    Alias(Excerpt),
    #[error("duplicate alias {_0}: fields of two objects would have the same names")]
    DuplicateAlias(FieldName),
    #[error("has more than {SOURCE_LIMIT} entries")]
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: Kind, text: &str) -> Result<Vec<String>, String> {
        let default = Namespace::parse("prod").unwrap();
        let sources = Source::parse_list(kind, text, &default, &ClusterRef::Local);
        let shown = |Source { alias, object, port }: &Source| {
            let alias = alias.as_ref().map(|alias| format!("{alias}=")).unwrap_or_default();
            let port = port.as_ref().map(|port| format!(":{port}")).unwrap_or_default();
            format!("{alias}{object}{port}")
        };
        sources.map(|all| all.iter().map(shown).collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn one_object_needs_no_alias_and_several_have_one_each() {
        for (text, expected) in [
            ("orders-db", &["Secret prod/orders-db"][..]),
            (" other/orders-db ", &["Secret other/orders-db"]),
            ("orders-db,\n", &["Secret prod/orders-db"]),
            ("db=orders-db", &["db=Secret prod/orders-db"]),
            (
                "db = orders-db,\n Cache_2=other/redis,",
                &["db=Secret prod/orders-db", "Cache_2=Secret other/redis"],
            ),
            ("a=same, b=same", &["a=Secret prod/same", "b=Secret prod/same"]),
        ] {
            assert_eq!(parse(Kind::Secret, text).unwrap(), expected, "{text:?}");
        }
        for (text, part) in [
            ("", "name"),
            (",", "name"),
            ("db, redis", "need an alias each"),
            ("db=a, redis", "need an alias each"),
            ("=a", "invalid alias"),
            ("1=a", "invalid alias"),
            ("d.b=a", "invalid alias"),
            ("fields=a", "invalid alias"),
            ("credentials=a", "invalid alias"),
            ("db=a, db=b", "duplicate alias db"),
            ("db=A", "\"A\""),
            ("db=", "name"),
        ] {
            let message = parse(Kind::Secret, text).unwrap_err();
            assert!(message.contains(part), "{text:?}: {message}");
        }
        let many = |count: usize| (0..count).map(|at| format!("a{at}=s,")).collect::<String>();
        assert_eq!(parse(Kind::Secret, &many(32)).unwrap().len(), 32);
        assert_eq!(parse(Kind::Secret, &many(33)).unwrap_err(), "has more than 32 entries");
    }

    #[test]
    fn a_port_is_named_by_its_name_or_number_or_not_at_all() {
        for (text, expected) in [
            ("db", "Service prod/db"),
            ("db:postgresql", "Service prod/db:postgresql"),
            ("data/db:5432", "Service data/db:5432"),
            ("db=data/db:5432", "db=Service data/db:5432"),
        ] {
            assert_eq!(parse(Kind::Service, text).unwrap(), [expected], "{text}");
        }
        for (text, part) in [
            ("db:", "invalid port"),
            ("db:a:b", "invalid port"),
            ("db:-a", "invalid port"),
            (&format!("db:{}", "a".repeat(64)), "invalid port"),
            ("postgresql://app:test-password@db:5432/orders", "invalid port"),
            (":5432", "name"),
            ("data/:5432", "name"),
        ] {
            let message = parse(Kind::Service, text).unwrap_err();
            assert!(message.contains(part) && !message.contains("test-password"), "{text}: {message}");
        }
        assert!(parse(Kind::Secret, "db:5432").is_err(), "only a Service has ports");
    }

    #[test]
    fn no_part_of_a_misplaced_url_is_shown() {
        for text in [
            "postgresql://app:test-password@db/orders?sslmode=require",
            "db=postgresql://app:test-password@db/orders",
            "app:test-password@db, x=y",
        ] {
            let message = parse(Kind::Secret, text).unwrap_err();
            assert!(!message.contains("test"), "{text}: {message}");
        }
    }

    #[test]
    fn fields_have_the_alias_of_their_source() {
        let named = |text: &str| {
            let default = Namespace::parse("prod").unwrap();
            Source::parse_list(Kind::Secret, text, &default, &ClusterRef::Local).unwrap().remove(0)
        };
        let (plain, aliased) = (named("s"), named("db=s"));
        assert_eq!((plain.field("a"), aliased.field("a")), ("a".into(), "db.a".into()));
        assert_eq!((plain.key("db.a"), aliased.key("db.a")), (Some("db.a"), Some("a")));
        assert_eq!(
            (aliased.key("a"), aliased.key("dbx.a"), aliased.key("db.tls.crt")),
            (None, None, Some("tls.crt"))
        );
    }
}
