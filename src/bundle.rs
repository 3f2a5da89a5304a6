//! The files of all credentials, rendered but not yet written. This is the interface between `render`, which fills a bundle,
//! and `volume`, which publishes it; neither imports the other.

use std::collections::BTreeMap;

use crate::credential::{FileMode, RelativePath};
use crate::secret::SecretBytes;

/// The files of a bundle, by path. `render` ensures that no path is the directory of another one.
pub(crate) type Bundle = BTreeMap<RelativePath, BundleFile>;

/// A file of a bundle.
#[derive(Debug)]
pub struct BundleFile {
    /// The content.
    pub content: SecretBytes,
    /// The mode; `None` means the volume's default.
    pub mode: Option<FileMode>,
}
