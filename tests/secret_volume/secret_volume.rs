//! A Secret volume as the kubelet writes it, for comparison.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::{FILES, text};

/// A directory with the keys of a Secret, in the layout of the kubelet's atomic writer
/// (<https://github.com/kubernetes/kubernetes/blob/v1.37.0/pkg/volume/util/atomic_writer.go>).
pub(crate) struct SecretVolume {
    directory: PathBuf,
    published: Cell<usize>,
}

impl SecretVolume {
    pub(crate) fn mount(directory: &Path) -> Self {
        fs::create_dir_all(directory).unwrap();
        Self { directory: directory.to_owned(), published: Cell::new(0) }
    }

    /// Writes a new version directory, renames `..data_tmp` over `..data`, links the files through it, and removes the old version
    /// directory.
    pub(crate) fn publish(&self, password: &str) {
        let data = self.directory.join("..data");
        let before = fs::read_link(&data).ok();
        self.published.set(self.published.get() + 1);
        let version = format!("..2026_11_29_03_00_00.{:010}", self.published.get());
        fs::create_dir(self.directory.join(&version)).unwrap();
        for file in FILES {
            fs::write(self.directory.join(&version).join(file), text(file, password)).unwrap();
        }
        let new = self.directory.join("..data_tmp");
        symlink(&version, &new).unwrap();
        fs::rename(&new, &data).unwrap();
        match before {
            Some(before) => fs::remove_dir_all(self.directory.join(before)).unwrap(),
            None => FILES.iter().for_each(|file| {
                symlink(Path::new("..data").join(file), self.directory.join(file)).unwrap();
            }),
        }
    }
}
