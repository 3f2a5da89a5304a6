//! Where the sidecar publishes: the volume, or the memory of a process that uses the values itself.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use log::warn;

use crate::credential::{Bundle, Credential, RelativePath};
use crate::sidecar::earlier;
use crate::volume::{Error, Files, Lock, Published, VersionName, Volume};

pub(crate) enum Sink {
    Volume {
        volume: Volume,
        path: PathBuf,
        /// How long to keep a superseded version.
        grace: Duration,
        /// Held to exclude other sidecars; see [`Volume::lock_for_sidecar`].
        _lock: Option<Lock>,
    },
    Memory(Memory),
}

/// Files in memory, for `exec --render`: those of credentials of format `env`. The process starts with files of its own, so every change
/// is a rotation.
pub(crate) struct Memory {
    /// The selected files, by path; empty means all of format `env`.
    selected: Vec<RelativePath>,
    files: Files,
    /// The credentials of this run.
    credentials: Vec<Credential>,
    /// The longest delay before the process reacts to a rotation, unless a credential has its own.
    splay: Duration,
    version: VersionName,
    deliver: Deliver,
}

/// Receives each rotation.
type Deliver = Box<dyn FnMut(Rotation<'_>) + Send>;

/// Files that have changed.
pub(crate) struct Rotation<'a> {
    /// All files, unchanged ones too.
    pub(crate) files: &'a Files,
    /// Identifies the rotation.
    pub(crate) version: &'a str,
    /// The longest splay of the changed credentials.
    pub(crate) splay: Duration,
}

impl Sink {
    /// Opens the volume, and locks it against other sidecars.
    ///
    /// # Errors
    /// If the volume cannot be opened or written, or another sidecar of this pod uses it.
    pub(crate) fn open(path: &Path, grace: Duration) -> Result<Self, Error> {
        let volume = Volume::open_to_publish(path, grace, 2)?;
        let lock = volume.lock_for_sidecar()?;
        Ok(Self::Volume { volume, path: path.to_owned(), grace, _lock: lock })
    }

    /// The credentials to publish among those that the annotations describe.
    pub(super) fn select(&mut self, mut credentials: Vec<Credential>) -> Vec<Credential> {
        let Self::Memory(memory) = self else { return credentials };
        credentials.retain(|credential| credential.is_selected_env_file(&memory.selected));
        for credential in &mut credentials {
            if credential.on_change.take().is_some() {
                let name = &credential.name;
                warn!(credential:% = name; "credential {name}: ignoring .on-change, because exec --restart-on-change restarts the program after a rotation");
            }
        }
        memory.credentials.clone_from(&credentials);
        credentials
    }

    /// The entries that an earlier run has written.
    ///
    /// # Errors
    /// If the volume cannot be read.
    pub(super) fn entries(&self) -> Result<BTreeSet<String>, Error> {
        let mut entries = BTreeSet::new();
        match self {
            Self::Volume { volume, .. } => return volume.entries(),
            Self::Memory(memory) => {
                entries.extend(memory.files.keys().filter_map(|path| path.parts().next()).map(str::to_owned));
            }
        }
        Ok(entries)
    }

    /// When an earlier run wrote the files of this credential, and as which version, if that is known.
    pub(super) fn written(&self, credential: &Credential) -> Option<(Option<String>, SystemTime)> {
        match self {
            Self::Volume { path, .. } => earlier::written(path, credential),
            Self::Memory(_) => None,
        }
    }

    /// Publishes a bundle and leaves the entries in `kept` as they are.
    ///
    /// # Errors
    /// If the volume cannot be written.
    pub(super) fn publish(&mut self, bundle: Bundle, kept: &BTreeSet<String>) -> Result<Published, Error> {
        match self {
            Self::Volume { volume, .. } => volume.publish_keeping(&bundle, kept),
            Self::Memory(memory) => Ok(memory.publish(bundle, kept, SystemTime::now())),
        }
    }

    /// Removes the versions whose grace period has ended.
    pub(super) fn prune(&self) {
        match self {
            Self::Volume { volume, .. } => volume.prune(),
            Self::Memory(_) => {}
        }
    }

    pub(super) fn grace(&self) -> Duration {
        match self {
            Self::Volume { grace, .. } => *grace,
            Self::Memory(_) => Duration::ZERO,
        }
    }

    /// The directory of the files that `.on-change: touch` names. In memory there are no such files: [`Sink::select`] drops `.on-change`.
    pub(super) fn directory(&self) -> PathBuf {
        match self {
            Self::Volume { path, .. } => path.clone(),
            Self::Memory(_) => PathBuf::new(),
        }
    }
}

impl fmt::Display for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume { path, .. } => path.display().fmt(f),
            Self::Memory(_) => f.write_str("the memory of exec"),
        }
    }
}

impl Memory {
    /// `files` are those that the process has already. Of later ones, only those with a path in `selected` count, or all of format
    /// `env` if it is empty.
    pub(crate) fn new(selected: Vec<RelativePath>, files: Files, splay: Duration, deliver: Deliver) -> Self {
        let version = VersionName::new(SystemTime::now());
        Self { selected, files, credentials: Vec::new(), splay, version, deliver }
    }

    fn publish(&mut self, mut bundle: Bundle, kept: &BTreeSet<String>, now: SystemTime) -> Published {
        let mut changed = BTreeSet::new();
        self.files.retain(|path, content| {
            let new = bundle.remove(path).map(|file| file.content);
            let is_kept = path.parts().next().is_some_and(|entry| kept.contains(entry));
            let stays = is_kept || new.is_some();
            if !stays || new.as_ref().is_some_and(|new| new != content) {
                changed.insert(path.to_string());
            }
            if let Some(new) = new {
                *content = new;
            }
            stays
        });
        for (path, file) in bundle {
            changed.insert(path.to_string());
            self.files.insert(path, file.content);
        }
        if changed.is_empty() {
            return Published::Unchanged;
        }
        self.version = self.version.next(now);
        let has_changed = |credential: &&Credential| changed.iter().any(|path| credential.overlaps(path));
        let splays = self.credentials.iter().filter(has_changed);
        let splay = splays.map(|credential| credential.splay.unwrap_or(self.splay)).max();
        let (version, splay) = (self.version.as_str(), splay.unwrap_or(self.splay));
        (self.deliver)(Rotation { files: &self.files, version, splay });
        Published::Swapped { version: version.to_owned(), changed: Some(changed) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::annotations::{self, ReferenceScope};
    use crate::credential::BundleFile;
    use crate::object::Namespace;
    use crate::secret::SecretBytes;

    const FLAG: Duration = Duration::from_secs(60);

    /// The paths and texts of all files, the version and the splay.
    type Delivered = (Vec<(String, String)>, String, Duration);

    fn path(text: &str) -> RelativePath {
        RelativePath::parse(text).unwrap()
    }

    fn credentials(annotations: &[(&str, &str)]) -> Vec<Credential> {
        let named =
            annotations.iter().map(|(key, value)| (format!("podcreds.io/{key}"), (*value).to_owned()));
        let scope = ReferenceScope::local(Namespace::parse("prod").unwrap());
        annotations::parse(&named.collect(), "podcreds.io", &scope).unwrap()
    }

    /// A sink for a process that has these files, and what it delivers.
    fn memory(selected: &[&str], files: &[(&str, &str)]) -> (Sink, Receiver<Delivered>) {
        let (sender, received) = channel();
        let files = files.iter().map(|(name, text)| (path(name), SecretBytes::from(*text))).collect();
        let selected = selected.iter().map(|name| path(name)).collect();
        let deliver = move |rotation: Rotation<'_>| {
            let text = |content: &SecretBytes| content.expose_text().unwrap().to_owned();
            let files = rotation.files.iter().map(|(path, content)| (path.to_string(), text(content)));
            sender.send((files.collect(), rotation.version.to_owned(), rotation.splay)).unwrap();
        };
        (Sink::Memory(Memory::new(selected, files, FLAG, Box::new(deliver))), received)
    }

    fn publish(sink: &mut Sink, files: &[(&str, &str)], kept: &[&str]) -> Published {
        let file = |text: &str| BundleFile { content: SecretBytes::from(text), mode: None };
        let bundle = files.iter().map(|(name, text)| (path(name), file(text))).collect();
        sink.publish(bundle, &kept.iter().map(|name| (*name).to_owned()).collect()).unwrap()
    }

    fn changed(published: &Published) -> Vec<&str> {
        match published {
            Published::Swapped { changed, .. } => changed.iter().flatten().map(String::as_str).collect(),
            Published::Unchanged => Vec::new(),
        }
    }

    #[test]
    fn files_that_the_process_has_already_are_not_delivered() {
        let (mut sink, delivered) = memory(&[], &[("a.env", "1"), ("b/x.env", "2")]);
        assert!(sink.entries().unwrap().iter().eq(["a.env", "b"]));
        assert_eq!(publish(&mut sink, &[("a.env", "1"), ("b/x.env", "2")], &[]), Published::Unchanged);
        assert_eq!(publish(&mut sink, &[("a.env", "1")], &["b"]), Published::Unchanged);
        assert!(delivered.try_recv().is_err());
    }

    #[test]
    fn a_rotation_delivers_all_files_with_a_newer_version() {
        let (mut sink, delivered) = memory(&[], &[("a.env", "1"), ("b/x.env", "2"), ("c.env", "3")]);
        let first = publish(&mut sink, &[("a.env", "4"), ("d.env", "5")], &["b"]);
        assert_eq!(changed(&first), ["a.env", "c.env", "d.env"], "a removed file too");
        let (files, version, splay) = delivered.recv().unwrap();
        let expected = [("a.env", "4"), ("b/x.env", "2"), ("d.env", "5")];
        assert_eq!(files, expected.map(|(path, text)| (path.to_owned(), text.to_owned())));
        assert_eq!(splay, FLAG);
        assert!(matches!(first, Published::Swapped { version: own, .. } if own == version));
        publish(&mut sink, &[("a.env", "6")], &["b", "d.env"]);
        assert!(delivered.recv().unwrap().1 > version);
    }

    #[test]
    fn only_selected_env_files_are_published_and_no_application_is_notified() {
        let annotations = [
            ("a.secret", "a"),
            ("b.secret", "b"),
            ("b.format", "env"),
            ("b.on-change", "touch reload"),
            ("c.secret", "c"),
            ("c.format", "env"),
        ];
        for (selected, names) in [(&[][..], &["b", "c"][..]), (&["b.env"], &["b"])] {
            let (mut sink, _) = memory(selected, &[]);
            let found = sink.select(credentials(&annotations));
            assert!(found.iter().map(|credential| credential.name.as_str()).eq(names.iter().copied()));
            assert!(found.iter().all(|credential| credential.on_change.is_none()));
        }
    }

    #[test]
    fn the_longest_splay_of_the_changed_credentials_counts() {
        let annotations = [
            ("a.secret", "a"),
            ("a.format", "env"),
            ("a.splay", "10s"),
            ("b.secret", "b"),
            ("b.format", "env"),
            ("b.splay", "2m"),
            ("c.secret", "c"),
            ("c.format", "env"),
        ];
        for (files, splay) in [
            (&["a.env"][..], Duration::from_secs(10)),
            (&["a.env", "b.env"], Duration::from_secs(120)),
            (&["a.env", "c.env"], FLAG),
        ] {
            let (mut sink, delivered) = memory(&[], &[]);
            sink.select(credentials(&annotations));
            publish(&mut sink, &files.iter().map(|file| (*file, "1")).collect::<Vec<_>>(), &[]);
            assert_eq!(delivered.recv().unwrap().2, splay, "{files:?}");
        }
    }
}
