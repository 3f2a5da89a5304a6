//! All files of all credentials, rendered and not yet written: what `render` makes and `volume` publishes.

use std::collections::BTreeMap;

use crate::credential::{FileMode, RelativePath};
use crate::secret::SecretBytes;

/// The files of a bundle, by path. No path is another's folder: whoever fills it sees to that.
pub(crate) type Bundle = BTreeMap<RelativePath, BundleFile>;

/// One file.
#[derive(Debug)]
pub struct BundleFile {
    /// Its bytes.
    pub content: SecretBytes,
    /// Its mode; none means the volume's default.
    pub mode: Option<FileMode>,
}
