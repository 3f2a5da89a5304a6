//! What this process knows of the directories that it has published. Before a rotation it need not read back the files that it
//! is about to replace, only to find out which of them differ.
//!
//! Only differences are decided from here: a directory that does not seem to differ is compared on disk, so that changes by other
//! processes are found and repaired. There are hashes here and no values, with a random key of the process.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hash, Hasher};

use crate::volume::directory::VersionName;
use crate::volume::plan::File;

#[derive(Debug, Default)]
pub(crate) struct Written {
    key: RandomState,
    directories: Vec<Directory>,
}

/// The current version of a directory. Small, because a sidecar keeps one for each directory.
#[derive(Debug)]
struct Directory {
    path: u64,
    version: u64,
    /// A hash of all names.
    names: u64,
    /// A hash for each file of mode and content, in the order of names.
    files: Box<[u64]>,
}

impl Written {
    /// The directory has exactly these files in this version.
    pub(crate) fn add(&mut self, path: &str, version: &VersionName, files: &BTreeMap<&str, File<'_>>) {
        self.remove(path);
        let mut hashes = Vec::with_capacity(files.len());
        hashes.extend(files.values().map(|file| self.hash_file(file)));
        self.directories.push(Directory {
            path: self.key.hash_one(path),
            version: self.key.hash_one(version.as_str()),
            names: self.hash_names(files),
            files: hashes.into(),
        });
    }

    pub(crate) fn remove(&mut self, path: &str) {
        let path = self.key.hash_one(path);
        self.directories.retain(|directory| directory.path != path);
    }

    /// The files that differ between this version of a directory and the desired one. Empty if none is known to differ, or if
    /// names were added or removed.
    pub(crate) fn differences(
        &self,
        path: &str,
        version: &VersionName,
        desired: &BTreeMap<&str, File<'_>>,
    ) -> BTreeSet<String> {
        let (path, version) = (self.key.hash_one(path), self.key.hash_one(version.as_str()));
        let mut known = self.directories.iter();
        let known = known.find(|directory| (directory.path, directory.version) == (path, version));
        let mut differing = BTreeSet::new();
        if let Some(known) = known
            && known.names == self.hash_names(desired)
        {
            for ((name, file), hash) in desired.iter().zip(&known.files) {
                if *hash != self.hash_file(file) {
                    differing.insert((*name).to_owned());
                }
            }
        }
        differing
    }

    fn hash_names(&self, files: &BTreeMap<&str, File<'_>>) -> u64 {
        let mut hasher = self.key.build_hasher();
        files.keys().for_each(|name| name.hash(&mut hasher));
        hasher.finish()
    }

    fn hash_file(&self, file: &File<'_>) -> u64 {
        self.key.hash_one((file.mode, file.content.expose()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::secret::SecretBytes;

    #[test]
    fn only_files_of_the_known_version_differ() {
        let contents = ["1", "2", "3"].map(SecretBytes::from);
        let file = |mode, index: usize| File { mode, content: &contents[index] };
        let (mut written, version) = (Written::default(), VersionName::new(SystemTime::UNIX_EPOCH));
        let other = version.next(SystemTime::UNIX_EPOCH + Duration::from_secs(1));
        let now = [("a", file(0o444, 0)), ("b", file(0o444, 1)), ("c", file(0o444, 2))];
        written.add("db/", &other, &BTreeMap::new());
        written.add("db/", &version, &BTreeMap::from(now));
        assert_eq!(written.directories.len(), 1);

        let desired = BTreeMap::from([("a", file(0o444, 0)), ("b", file(0o444, 0)), ("c", file(0o400, 2))]);
        let differences = |path, version| written.differences(path, version, &desired).into_iter();
        assert!(differences("db/", &version).eq(["b", "c"]));
        assert!(differences("db/", &other).eq([""; 0]), "another process has published");
        assert!(differences("other/", &version).eq([""; 0]));
        for names in [&["a", "b"][..], &["a", "b", "d"], &["a", "b", "c", "d"]] {
            let desired = names.iter().map(|name| (*name, file(0o400, 0))).collect();
            assert!(written.differences("db/", &version, &desired).is_empty(), "{names:?}");
        }
        written.remove("db/");
        assert!(written.directories.is_empty());
    }
}
