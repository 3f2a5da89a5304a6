//! When an earlier run wrote the files of a credential, and as which version: after a restart, the status shows both.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use crate::credential::Credential;

/// The version in the volume, if the credential is in a directory, and the time at which its files were written. `None` means that
/// there are no files. Only for display: links are followed, which is harmless.
pub(crate) fn written(volume: &Path, credential: &Credential) -> Option<(Option<String>, SystemTime)> {
    let data = |directory: &Path| directory.join("..data");
    let entry = volume.join(credential.path.parts().next()?);
    let version =
        fs::read_link(data(&entry)).ok().and_then(|target| target.into_os_string().into_string().ok());
    let path = volume.join(credential.path.to_string());
    // The directory at the top also changes when an old version is removed; a version itself never does.
    let metadata = fs::metadata(data(&path)).or_else(|_| fs::metadata(&path)).ok()?;
    Some((version, metadata.modified().ok()?))
}
