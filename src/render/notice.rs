//! What a credential omits although it can be rendered, and what is probably a mistake in its sources.

use std::collections::BTreeMap;
use std::fmt;

use crate::credential::{Credential, CredentialName, FieldName, KeyEntry, KeyMapping, Output};
use crate::formats::parts::FieldAliases;
use crate::formats::{Fields, NameList, is_part_of_connection};
use crate::object::ObjectRef;
use crate::render::entries::holders;
use crate::render::error::shown_pointer;
use crate::render::fields::{KEY_LENGTH, Sources, ends_with_line_break};
use crate::render::missing_key::MissingKey;
use crate::render::url::{UrlHint, Urls, found_sources};
use crate::secret::SecretBytes;
use crate::text::one_line;

/// What keeps no credential from being rendered, but may surprise.
#[derive(Debug)]
pub(crate) enum Notice<'a> {
    /// A source without keys.
    Keys { name: &'a CredentialName, object: &'a ObjectRef },
    /// A source of an optional credential, or the ConfigMap of its template: the credential is skipped.
    Object { name: &'a CredentialName, object: &'a ObjectRef },
    /// An optional entry of `.keys`: the credential is written without the field.
    Key { name: &'a CredentialName, missing: MissingKey },
    /// An optional entry of `.keys` whose JSON lacks what its pointer names: the credential is written without the field.
    Json { name: &'a CredentialName, entry: &'a KeyEntry, object: &'a ObjectRef },
    /// A key whose name no variable can have: the credential is written without it.
    Variable { name: &'a CredentialName, field: FieldName },
    /// A URL under another name than `uri` from which parts of a connection are read.
    Url { name: &'a CredentialName, key: &'a str, object: &'a ObjectRef },
    /// A host without a dot in a source of another namespace or cluster.
    ShortHost {
        name: &'a CredentialName,
        field: FieldName,
        key: &'a str,
        object: &'a ObjectRef,
        /// Whether the connection has the whole host name, which the source contains too.
        is_whole: bool,
    },
    /// A connection of all keys of a Secret that has a user without a password, or a password without a user.
    Login { name: &'a CredentialName, part: FieldAliases, entry: String, available: NameList },
    /// A value of a connection that ends with a line break.
    LineBreak { name: &'a CredentialName, field: FieldName },
}

impl Notice<'_> {
    /// The credential that is affected.
    pub(crate) fn credential(&self) -> &CredentialName {
        match self {
            Self::Keys { name, .. }
            | Self::Object { name, .. }
            | Self::Key { name, .. }
            | Self::Json { name, .. }
            | Self::Variable { name, .. }
            | Self::Url { name, .. }
            | Self::ShortHost { name, .. }
            | Self::Login { name, .. }
            | Self::LineBreak { name, .. } => name,
        }
    }

    /// Whether it is probably a mistake, and not what an annotation allows.
    pub(crate) fn is_suspicious(&self) -> bool {
        match self {
            Self::Keys { .. } | Self::Variable { .. } | Self::Login { .. } | Self::LineBreak { .. } => true,
            Self::Object { .. } | Self::Key { .. } | Self::Json { .. } | Self::Url { .. } => false,
            Self::ShortHost { is_whole, .. } => !is_whole,
        }
    }
}

impl fmt::Display for Notice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Login { name, part, entry, available } => write!(
                f,
                "credential {name}: writing the connection without a {}: missing field {part}; map it in .keys beside the other keys, as in {entry}; if the login needs none, list only the other keys; available: {available}",
                part.name()
            ),
            Self::Keys { name, object } => write!(
                f,
                "credential {name}: {object} has no keys, so it provides no fields: check its name, and the operator or job that should fill it"
            ),
            Self::Object { name, object } => {
                write!(f, "skipping optional credential {name}: {object} not found")
            }
            Self::Key { name, missing } => {
                write!(f, "writing credential {name} without optional field {}: {missing}", missing.field)
            }
            Self::Json { name, entry, object } => write!(
                f,
                "writing credential {name} without optional field {}: {object}, key {}, JSON pointer {}: not found",
                entry.field,
                entry.key,
                entry.pointer.iter().map(shown_pointer).collect::<String>()
            ),
            Self::Variable { name, field } => write!(
                f,
                "writing credential {name} without field {field}, whose name is not a valid environment variable name: rename it with .keys or .names, or list only the needed keys in .keys"
            ),
            Self::Url { name, key, object } => write!(
                f,
                "credential {name}: reading parts of the connection from the URL in key {} of {object}",
                one_line(key, KEY_LENGTH)
            ),
            Self::ShortHost { name, key, object, is_whole: true, .. } => write!(
                f,
                "credential {name}: writing the whole host name from a URI in {object}, because the short one in key {} resolves only in namespace {}",
                one_line(key, KEY_LENGTH),
                object.namespace
            ),
            Self::ShortHost { name, field, key, object, .. } => match object.cluster.id() {
                Some(_) => write!(
                    f,
                    "credential {name}: the host in key {} of {object} has no dot, and a Service of another cluster does not resolve in this one: replace it with .override: {field}=<an address that the pod reaches>",
                    one_line(key, KEY_LENGTH)
                ),
                None => write!(
                    f,
                    "credential {name}: the host in key {} of {object} has no dot, so the pod resolves it in its own namespace: if it is a Service of namespace {namespace}, set .override: {field}=<service>.{namespace}.svc",
                    one_line(key, KEY_LENGTH),
                    namespace = object.namespace
                ),
            },
            Self::LineBreak { name, field } => write!(
                f,
                "credential {name}: the value of field {field} ends with a line break, which probably came from `echo` or an editor: store it without, or add .trim: \"true\""
            ),
        }
    }
}

/// Finds what is missing of optional credentials and of optional fields, and the ConfigMaps without keys.
pub(crate) fn missing_inputs<'a>(
    credentials: &'a [Credential],
    sources: &'a Sources,
) -> impl Iterator<Item = Notice<'a>> {
    let content = |object: &ObjectRef| sources.get(object).and_then(Option::as_ref);
    credentials.iter().flat_map(move |credential| {
        let Credential { name, key_mapping, .. } = credential;
        if credential.optional
            && let Some(object) = credential.needed_objects().find(|object| content(object).is_none())
        {
            return vec![Notice::Object { name, object }];
        }
        let data = credential.sources.iter().filter_map(|source| Some((source, content(&source.object)?)));
        match key_mapping {
            KeyMapping::All => {
                let empty = data.filter(|(_, data)| data.keys().is_some_and(BTreeMap::is_empty));
                empty.map(|(source, _)| Notice::Keys { name, object: &source.object }).collect()
            }
            KeyMapping::Listed(keys) => {
                let found = found_sources(credential, sources);
                let mut urls = Urls::new(credential, &found);
                let mut notices = Vec::new();
                for entry in keys.iter().filter(|entry| entry.optional) {
                    if holders(&entry.key, &found).next().is_none() && urls.find(entry).is_empty() {
                        let missing = MissingKey::new(credential, entry, &found, UrlHint::Nothing);
                        notices.push(Notice::Key { name, missing });
                    }
                }
                notices
            }
        }
    })
}

/// Finds the parts of a connection whose value ends with a line break.
pub(crate) fn line_breaks<'a>(credential: &'a Credential, fields: &Fields<'_>) -> Vec<Notice<'a>> {
    let (Output::ConnectionString { .. } | Output::ClientFile { .. } | Output::InjectorEnv(_)) =
        credential.output
    else {
        return Vec::new();
    };
    let is_ended = |(field, value): &(&FieldName, &&SecretBytes)| {
        is_part_of_connection(field) && ends_with_line_break(value)
    };
    let notice =
        |(field, _): (&FieldName, _)| Notice::LineBreak { name: &credential.name, field: field.clone() };
    fields.iter().filter(is_ended).map(notice).collect()
}
