//! The entries at the top of the volume. An entry is the unit of publishing: it is rendered and written as a whole, independently
//! of the others (docs/decisions/failing-sources.md).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use log::Level;

use crate::credential::{Bundle, Credential, CredentialName, Header};
use crate::object::ObjectRef;
use crate::render::{self, Expiry, Rendered, Size, Sources};

/// The credentials of one entry: one, or several that share a file or directory.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) credentials: Vec<Credential>,
    pub(crate) files: Files,
    /// Whether it has to be rendered: a source has changed, or the last publication of the entry failed.
    pub(crate) is_dirty: bool,
    /// Its size in the volume.
    size: Size,
    /// Whether it could not be rendered because of the size of the others.
    needs_room: bool,
}

/// Whether the volume has the files of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Files {
    /// No run of podcreds is known to have written files. The first publication leads to `Current`.
    None,
    /// An earlier run of podcreds has written files. A publication leads to `Current`.
    Earlier,
    /// This run has written the files, or found that they were current, and keeps them current.
    Current,
}

/// The entries of all credentials, by name: the first component of the path.
#[derive(Debug, Default)]
pub(crate) struct Entries(BTreeMap<String, Entry>);

/// Entries that were rendered together, to be published together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) bundle: Bundle,
    pub(crate) names: BTreeSet<String>,
    /// The number of files.
    files: usize,
    /// The number of credentials that were not skipped.
    credentials: usize,
    /// The message for each missing input, with the credential and the level.
    pub(crate) notices: BTreeSet<(CredentialName, Level, String)>,
    /// The headers of the notifications, each with its credential.
    pub(crate) headers: Vec<(CredentialName, Header)>,
    /// When the certificates expire, each with its credential and field.
    pub(crate) expiries: Vec<(CredentialName, String, SystemTime)>,
    sizes: BTreeMap<String, Size>,
}

impl Entries {
    /// The entries of these credentials, all dirty. `earlier` has the names of the entries that an earlier run has written.
    pub(crate) fn new(credentials: &[Credential], earlier: &BTreeSet<String>) -> Self {
        let mut entries = BTreeMap::<_, Entry>::new();
        for credential in credentials {
            let name = name(credential);
            let files = if earlier.contains(&name) { Files::Earlier } else { Files::None };
            let entry = entries.entry(name).or_insert_with(|| Entry::new(files));
            entry.credentials.push(credential.clone());
        }
        Self(entries)
    }

    /// Replaces the credentials. Entries whose credentials do not change keep their state.
    pub(crate) fn replace(&mut self, credentials: &[Credential]) {
        let mut before = std::mem::take(&mut self.0);
        *self = Self::new(credentials, &BTreeSet::new());
        for (name, entry) in &mut self.0 {
            match before.remove(name) {
                Some(same) if same.credentials == entry.credentials => *entry = same,
                Some(other) => (entry.files, entry.size) = (other.files, other.size),
                None => {}
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.0.iter()
    }

    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.0.keys().cloned().collect::<BTreeSet<_>>()
    }

    pub(crate) fn has_files(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|entry| entry.files != Files::None)
    }

    /// Whether the only files of the object's credentials are those of an earlier run. An entry of several credentials does not count:
    /// while the object is missing, it has to be updated for the others.
    pub(crate) fn is_only_earlier(&self, object: &ObjectRef) -> bool {
        let mut entries =
            self.0.values().filter(|entry| entry.objects().any(|named| named == object)).peekable();
        entries.peek().is_some()
            && entries.all(|entry| entry.files == Files::Earlier && entry.credentials.len() == 1)
    }

    /// A source has changed: all entries that depend on it have to be rendered.
    pub(crate) fn mark_dirty(&mut self, object: &ObjectRef) {
        self.retry_without_room();
        for entry in self.0.values_mut() {
            if entry.objects().any(|named| named == object) {
                entry.is_dirty = true;
            }
        }
    }

    /// Renders the dirty entries whose sources are all known, each on its own. Returns the batch to publish, and the errors of
    /// each entry that cannot be rendered. Such an entry is not rendered again before one of its sources changes.
    pub(crate) fn render(&mut self, sources: &Sources) -> (Batch, Vec<(String, render::Errors)>) {
        let (mut batch, mut failures) = (Batch::default(), Vec::new());
        let work = render::work_share(self.0.values().flat_map(|entry| &entry.credentials));
        for name in self.names() {
            let Some(entry) = self.0.get(&name).filter(|entry| entry.is_dirty && entry.is_known(sources))
            else {
                continue;
            };
            let taken = self.size_without(&name, &batch);
            match render::render_beside(taken, work, &entry.credentials, sources) {
                Ok(rendered) => batch.add(name, rendered),
                Err(errors) => failures.push((name, errors)),
            }
        }
        for (name, errors) in &failures {
            if let Some(entry) = self.0.get_mut(name) {
                (entry.is_dirty, entry.needs_room) = (false, errors.is_too_large());
            }
        }
        (batch, failures)
    }

    /// The total size of all other entries.
    fn size_without(&self, name: &str, batch: &Batch) -> Size {
        let others = self.0.iter().filter(|(other, _)| other.as_str() != name);
        others.map(|(other, entry)| batch.sizes.get(other).copied().unwrap_or(entry.size)).sum()
    }

    /// Whether this run has already published all entries of the batch.
    pub(crate) fn are_current(&self, batch: &Batch) -> bool {
        batch.names.iter().all(|name| self.0.get(name).is_some_and(|entry| entry.files == Files::Current))
    }

    /// The batch was published, or the volume already had its files.
    pub(crate) fn published(&mut self, batch: &Batch) {
        for name in &batch.names {
            if let Some(entry) = self.0.get_mut(name) {
                entry.files = Files::Current;
                entry.size = batch.sizes.get(name).copied().unwrap_or_default();
            }
        }
        self.retry_without_room();
    }

    /// Tries the entries again that had no room: others may have become smaller.
    fn retry_without_room(&mut self) {
        for entry in self.0.values_mut() {
            entry.is_dirty |= std::mem::take(&mut entry.needs_room);
        }
    }

    /// The batch is about to be published.
    pub(crate) fn publishing(&mut self, batch: &Batch) {
        self.set_dirty(batch, false);
    }

    /// The batch could not be published.
    pub(crate) fn not_published(&mut self, batch: &Batch) {
        self.set_dirty(batch, true);
    }

    fn set_dirty(&mut self, batch: &Batch, is_dirty: bool) {
        for name in &batch.names {
            if let Some(entry) = self.0.get_mut(name) {
                entry.is_dirty = is_dirty;
            }
        }
    }
}

impl Entry {
    fn new(files: Files) -> Self {
        Self { credentials: Vec::new(), files, is_dirty: true, size: Size::default(), needs_room: false }
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = &ObjectRef> {
        self.credentials.iter().flat_map(Credential::objects)
    }

    /// Whether all sources of the entry were read.
    pub(crate) fn is_known(&self, sources: &Sources) -> bool {
        self.objects().all(|object| sources.contains_key(object))
    }
}

impl Batch {
    /// For messages: `2 files of 1 credential`.
    pub(crate) fn summary(&self) -> String {
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let Self { files, credentials, .. } = *self;
        format!("{files} file{} of {credentials} credential{}", plural(files), plural(credentials))
    }

    fn add(&mut self, name: String, rendered: Rendered<'_>) {
        for notice in &rendered.notices {
            let level = if notice.is_suspicious() { Level::Warn } else { Level::Info };
            self.notices.insert((notice.credential().clone(), level, notice.to_string()));
        }
        self.sizes.insert(name.clone(), Size::of(&rendered.bundle));
        self.credentials += rendered.credentials;
        self.files += rendered.bundle.len();
        for (credential, header) in rendered.headers {
            self.headers.push((credential.name.clone(), header));
        }
        for Expiry { credential, field, not_after } in rendered.expiries {
            self.expiries.push((
                credential.clone(),
                field.to_string(),
                UNIX_EPOCH + Duration::from_secs(not_after),
            ));
        }
        self.bundle.extend(rendered.bundle);
        self.names.insert(name);
    }
}

/// The name of a credential's entry.
pub(crate) fn name(credential: &Credential) -> String {
    credential.path.parts().next().unwrap_or_default().to_owned()
}
