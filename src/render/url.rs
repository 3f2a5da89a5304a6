//! The parts of a connection in the URL of a source that has no key for any of them, such as a Secret with `DATABASE_URL` alone.

use std::fmt;

use crate::credential::{Credential, Engine, FieldName, KeyEntry, KeyMapping, Source};
use crate::formats::connection::parse_hosts;
use crate::formats::parts::{FieldAliases, FieldText, HOST, PARTS, PORT, URI, engine_of_uri, find_part};
use crate::formats::{FormatError, NameList, uri};
use crate::object::Kind;
use crate::render::entries::{Entries, Found, entries, service_entries};
use crate::render::fields::Sources;
use crate::render::notice::Notice;
use crate::secret::SecretBytes;

const ONE_HOST: &str = "a URI with a single host, which the fields host and port need: use a format that can write several hosts, such as uri, jdbc, adonet or libpq";

/// The URLs of the sources, each parsed at most once, and only if a part of one is needed.
pub(crate) struct Urls<'f, 'a> {
    keys: &'f [KeyEntry],
    found: &'f [Found<'a>],
    parsed: Option<Vec<Url<'a>>>,
}

/// The URL of one source.
struct Url<'a> {
    source: &'a Source,
    key: &'a str,
    /// Whether a field has one of its parts.
    is_used: bool,
    /// The parts that are not empty, or why they cannot be read: `None` after that was reported.
    parts: Result<Vec<(FieldAliases, SecretBytes)>, Option<FormatError>>,
    /// Why `host` and `port` cannot be read although other parts can: `None` as above.
    several_hosts: Option<Option<FormatError>>,
}

/// A part of the URL in a key.
pub(crate) struct FoundPart<'a> {
    pub(crate) source: &'a Source,
    pub(crate) key: &'a str,
    pub(crate) value: Part,
}

/// The value of a part, or why it cannot be read: `None` if the same was reported before.
pub(crate) type Part = Result<SecretBytes, Option<FormatError>>;

impl<'f, 'a> Urls<'f, 'a> {
    pub(crate) fn new(credential: &'f Credential, found: &'f [Found<'a>]) -> Self {
        Self { keys: credential.key_mapping.entries(), found, parsed: None }
    }

    /// The parts that an entry of `.keys` names whose key no source has.
    pub(crate) fn find(&mut self, entry: &KeyEntry) -> Vec<FoundPart<'a>> {
        if entry.pointer.is_some() { Vec::new() } else { self.find_named(entry.key.as_str()) }
    }

    /// The parts with this name, which has the alias of its source.
    pub(crate) fn find_named(&mut self, name: &str) -> Vec<FoundPart<'a>> {
        if !self.found.iter().any(|(source, _)| part_of(source, name).is_some()) {
            return Vec::new();
        }
        let mut parts = Vec::new();
        for url in self.parsed.get_or_insert_with(|| parse_all(self.keys, self.found)) {
            if let Some(part) = part_of(url.source, name).and_then(|aliases| url.part(aliases)) {
                url.is_used = true;
                parts.push(FoundPart { source: url.source, key: url.key, value: part });
            }
        }
        parts
    }

    /// Whether a URL has the part that a field would have.
    pub(crate) fn has(&mut self, field: &FieldName) -> bool {
        self.find_named(field.as_str()).iter().any(|part| part.value.is_ok())
    }

    /// Why [`Self::find`] finds nothing.
    pub(crate) fn hint(&self, entry: &KeyEntry) -> UrlHint {
        for one in self.found {
            let Some(aliases) = part_of(one.0, entry.key.as_str()).filter(|_| entry.pointer.is_none()) else {
                continue;
            };
            match choose(self.keys, self.found, one).as_slice() {
                [] => {}
                [(key, ..)] => return UrlHint::Missing { key: (*key).to_owned(), part: aliases.name() },
                several => return UrlHint::Several(NameList::new(several.iter().map(|(key, ..)| key))),
            }
        }
        UrlHint::Nothing
    }
}

impl Url<'_> {
    fn part(&mut self, aliases: FieldAliases) -> Option<Part> {
        let parts = match &mut self.parts {
            Ok(parts) => parts,
            Err(error) => return Some(Err(error.take())),
        };
        if let Some(error) = self.several_hosts.as_mut().filter(|_| aliases == HOST || aliases == PORT) {
            return Some(Err(error.take()));
        }
        parts.iter().find(|(part, _)| *part == aliases).map(|(_, value)| Ok(value.clone()))
    }
}

/// The part that a name with the alias of this source means: only the preferred names mean one.
fn part_of(source: &Source, name: &str) -> Option<FieldAliases> {
    let name = source.key(name)?;
    PARTS.into_iter().find(|aliases| aliases.name() == name)
}

fn parse_all<'a>(keys: &[KeyEntry], found: &[Found<'a>]) -> Vec<Url<'a>> {
    let mut urls = Vec::new();
    for one in found {
        if let [(key, value, engine)] = choose(keys, found, one)[..] {
            urls.push(parse(one.0, key, value, engine));
        }
    }
    urls
}

fn parse<'a>(source: &'a Source, key: &'a str, value: &SecretBytes, engine: Engine) -> Url<'a> {
    let mut url = Url { source, key, is_used: false, parts: Ok(Vec::new()), several_hosts: None };
    let Ok(field) = FieldName::parse(key) else { return url };
    let uri = FieldText { field: &field, text: value.expose_text().unwrap_or_default() };
    let read = uri::parts(uri, engine, &|_| false).and_then(|mut parts| {
        let hosts = parts.iter().find(|(part, _)| *part == HOST).map(|(_, hosts)| hosts.clone());
        let text = hosts.as_ref().and_then(SecretBytes::expose_text).unwrap_or_default();
        let hosts = if text.is_empty() { Vec::new() } else { parse_hosts(FieldText { text, ..uri }, None)? };
        if let [host] = hosts.as_slice() {
            parts.retain(|(part, _)| *part != HOST);
            parts.push((HOST, host.name.into()));
            parts.extend(host.port.map(|port| (PORT, port.into())));
        } else if !hosts.is_empty() {
            url.several_hosts =
                Some(Some(FormatError::InvalidField { field: field.clone(), expected: ONE_HOST }));
        }
        // Comes last, so that it counts only if the URL has no port.
        parts.extend(engine.default_port().map(|port| (PORT, port.to_string().as_str().into())));
        parts.retain(|(_, value)| !value.expose().is_empty());
        Ok(parts)
    });
    url.parts = read.map_err(Some);
    url
}

/// The URLs of a source that could give its parts: none if it has a key for one of them (with the other sources without an alias, if
/// it has none), so that the URL of one server is not mixed with the login of another. Otherwise the URL that `.keys` or its key calls
/// `uri`, or all.
fn choose<'a>(
    keys: &[KeyEntry],
    found: &[Found<'a>],
    (source, entries): &Found<'a>,
) -> Vec<(&'a str, &'a SecretBytes, Engine)> {
    let is_kin = |other: &Source| other.alias == source.alias && other.object.kind != Kind::Service;
    let has_part = |entries: &Entries<'_>| entries.keys().any(|key| find_part(key).is_some());
    if !is_kin(source) || found.iter().any(|(other, entries)| is_kin(other) && has_part(entries)) {
        return Vec::new();
    }
    let engine = |value: &SecretBytes| value.expose_text().and_then(engine_of_uri);
    let mut urls: Vec<(&str, &SecretBytes, Engine)> = Vec::new();
    for (key, value) in entries {
        // Aiven's operator writes one URL under two keys.
        if let Some(engine) = engine(value)
            && !urls.iter().any(|(_, other, _)| other == value)
        {
            urls.push((key, value, engine));
        }
    }
    let listed = keys.iter().filter(|entry| is_uri(entry)).filter_map(|entry| source.key(entry.key.as_str()));
    let mut preferred = listed.chain(URI.0.iter().copied());
    let named = |name| {
        let (key, value) = entries.get_key_value(name)?;
        Some((*key, *value, engine(value)?))
    };
    match preferred.find_map(named) {
        Some(url) => vec![url],
        None => urls,
    }
}

/// Whether an entry of `.keys` names the URI of a connection.
fn is_uri(entry: &KeyEntry) -> bool {
    entry.pointer.is_none() && URI.contains(entry.field.as_str())
}

/// The URL from which a connection is read although a field names its host, under whatever key: the only one of sources that have no
/// part of a connection under a key of its own.
pub(crate) fn of_connection<'a>(
    credential: &Credential,
    found: &[Found<'a>],
) -> Option<(&'a Source, &'a str, &'a SecretBytes)> {
    if credential.inline_fields.iter().any(|(field, _)| URI.contains(field.as_str())) {
        return None;
    }
    let keys = credential.key_mapping.entries();
    let mut urls = Vec::new();
    for one @ (source, _) in found {
        let is_read = |key: &str| match &credential.key_mapping {
            KeyMapping::All => source.alias.is_none(),
            KeyMapping::Listed(_) => {
                keys.iter().any(|entry| is_uri(entry) && source.key(entry.key.as_str()) == Some(key))
            }
        };
        let chosen = choose(keys, found, one).into_iter().filter(|(key, ..)| is_read(key));
        urls.extend(chosen.map(|(key, value, _)| (*source, key, value)));
    }
    match urls.as_slice() {
        [url] => Some(*url),
        _ => None,
    }
}

/// Notices about the URLs that are read although neither `.keys` nor their own key calls them a URI.
pub(crate) fn notices<'a>(
    credential: &'a Credential,
    connection: Option<(&'a Source, &'a str, &'a SecretBytes)>,
    urls: Urls<'_, 'a>,
) -> Vec<Notice<'a>> {
    let is_named = |key: &str| matches!(credential.key_mapping, KeyMapping::Listed(_)) || URI.contains(key);
    let of_connection = connection.filter(|(_, key, _)| !is_named(key));
    let mut read: Vec<_> = of_connection.map(|(source, key, _)| (source, key)).into_iter().collect();
    read.extend(urls.parsed.iter().flatten().filter(|url| url.is_used).map(|url| (url.source, url.key)));
    let notice =
        |(source, key): (&'a Source, _)| Notice::Url { name: &credential.name, key, object: &source.object };
    read.into_iter().map(notice).collect()
}

/// The sources of a credential that exist, with their values.
pub(crate) fn found_sources<'a>(credential: &'a Credential, sources: &'a Sources) -> Vec<Found<'a>> {
    let mut found = Vec::new();
    for source in &credential.sources {
        if let Some(Some(data)) = sources.get(&source.object) {
            let entries = match data.service() {
                Some(address) => service_entries(source, address).0,
                None => entries(data),
            };
            found.push((source, entries));
        }
    }
    found
}

/// What a message about a missing key adds if a URL could have had the part.
#[derive(Debug)]
pub(crate) enum UrlHint {
    Nothing,
    /// The only URL of the source lacks the part.
    Missing {
        key: String,
        part: &'static str,
    },
    Several(NameList),
}

impl fmt::Display for UrlHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Missing { key, part } => write!(f, "; the URL in key {key} has no {part}"),
            Self::Several(keys) => write!(
                f,
                "; several keys contain URLs ({keys}): to use the parts of one, add uri=<its key> to .keys"
            ),
        }
    }
}
