//! A bundle as the tree of directories and files that the volume should hold.

use std::collections::{BTreeMap, BTreeSet};

use crate::bundle::Bundle;
use crate::credential::FileMode;
use crate::secret::SecretBytes;

#[derive(Default)]
pub(crate) struct Directory<'a> {
    pub(crate) mode: u32,
    /// The files in it, by name.
    pub(crate) files: BTreeMap<&'a str, File<'a>>,
    /// The directories in it, by name. No name is also a file's.
    pub(crate) directories: BTreeMap<&'a str, Directory<'a>>,
}

pub(crate) struct File<'a> {
    pub(crate) mode: u32,
    pub(crate) content: &'a SecretBytes,
}

impl<'a> Directory<'a> {
    /// The root of the volume. Every user who may read a file may enter and list the directories above it.
    pub(crate) fn from_bundle(bundle: &'a Bundle, default_mode: FileMode) -> Self {
        let mut root = Self::default();
        for (path, file) in bundle {
            let mode = file.mode.unwrap_or(default_mode);
            let parts: Vec<_> = path.parts().collect();
            let file = File { mode: mode.bits(), content: &file.content };
            root.insert(&parts, file, mode.directory_bits());
        }
        root
    }

    fn insert(&mut self, parts: &[&'a str], file: File<'a>, directory_mode: u32) {
        self.mode |= directory_mode;
        match parts {
            [] => {}
            [name] => drop(self.files.insert(name, file)),
            [name, rest @ ..] => {
                self.directories.entry(name).or_default().insert(rest, file, directory_mode);
            }
        }
    }

    /// The paths for the record: each directory, with a slash at the end, and the files at the top.
    pub(crate) fn recorded_paths(&self) -> BTreeSet<String> {
        let mut paths = self.files.keys().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        self.add_directories("", &mut paths);
        paths
    }

    fn add_directories(&self, prefix: &str, paths: &mut BTreeSet<String>) {
        for (name, directory) in &self.directories {
            let path = format!("{prefix}{name}/");
            directory.add_directories(&path, paths);
            paths.insert(path);
        }
    }

    /// All files in and below this directory. `prefix` is the path of this directory.
    pub(crate) fn all_files(&self, prefix: &str) -> Vec<(String, &File<'a>)> {
        let mut files: Vec<_> =
            self.files.iter().map(|(name, file)| (format!("{prefix}{name}"), file)).collect();
        for (name, directory) in &self.directories {
            files.extend(directory.all_files(&format!("{prefix}{name}/")));
        }
        files
    }
}
