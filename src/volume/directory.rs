//! One directory of credential files, laid out as the kubelet lays out a Secret volume:
//!
//! ```text
//! db/password                        -> ..data/password
//! db/..data                          -> ..2026_11_20_17_40_01.123456789
//! db/..2026_11_20_17_40_01.123456789/password
//! ```
//!
//! A version never changes once `..data` points to it. A reader that resolves `..data` once sees one version; a reader that
//! opens a path sees the old version or the new one, at every instant and after a crash at any instruction: links for new
//! names are created before the swap, while they dangle, and links of old names are removed after it, when they dangle again.
//!
//! Source: the kubelet's `AtomicWriter`, <https://pkg.go.dev/k8s.io/kubernetes/pkg/volume/util#AtomicWriter>

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{fstat, readlinkat_raw, renameat, symlinkat};
use rustix::io::Errno;

use crate::text::formattable;
use crate::volume::grace::Grace;
use crate::volume::plan::{Directory, File};
use crate::volume::tree::{self, Entry, if_present};

/// The link to the current version, and the temporary name of the link to the next one.
pub(crate) const DATA: &str = "..data";
pub(crate) const NEXT_DATA: &str = "..data_tmp";
/// The maximum number of earlier versions of a directory that are kept for their grace period.
pub(crate) const KEPT_VERSIONS: usize = 500;
/// The room for the target of a link: `..data/` and a name of at most 255 bytes, and one byte more, so that a longer target does
/// not match.
const TARGET: usize = DATA.len() + 1 + 255 + 1;
/// The maximum number of names of a listing that are neither versions nor links of podcreds. Another process may have created any
/// number of them. A bundle has at most as many files, and so fewer subdirectories.
const FOREIGN_LIMIT: usize = 10_000;

/// The name of a version's directory: `..2026_11_20_17_40_01.123456789`, its time in UTC.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct VersionName(String);

impl VersionName {
    pub(crate) fn new(now: SystemTime) -> Self {
        let time = humantime::format_rfc3339_nanos(formattable(now)).to_string();
        Self(format!("..{}", time.trim_end_matches('Z').replace(['-', 'T', ':'], "_")))
    }

    /// The name of a version that is created after this one, even if the clock was set back since.
    pub(crate) fn next(&self, now: SystemTime) -> Self {
        let name = Self::new(now);
        let next = Self::new(self.time() + Duration::from_nanos(1));
        // An invalid time, and the last one that can be formatted, have no successor. podcreds creates no such names, and removes
        // a version that is newer than the current one.
        if name <= *self && next > *self { next } else { name }
    }

    /// `None` means that podcreds does not create such names.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let form = b"..0000_00_00_00_00_00.000000000";
        let fits =
            |(byte, form): (u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == *form };
        let valid = name.len() == form.len() && name.bytes().zip(form).all(fits);
        valid.then(|| Self(name.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The time in the name.
    pub(crate) fn time(&self) -> SystemTime {
        // `..2026_11_20_17_40_01.123456789` is `2026-11-20T17:40:01.123456789Z`.
        let (day, time) = (self.0[2..12].replace('_', "-"), self.0[13..].replace('_', ":"));
        humantime::parse_rfc3339(&format!("{day}T{time}Z")).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

impl fmt::Display for VersionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The version that `..data` points to. `None` means that there is none.
pub(crate) fn current(directory: BorrowedFd<'_>) -> Option<VersionName> {
    VersionName::parse(&tree::link_target(directory, DATA)?)
}

/// Opens the current version. `None` means that there is none.
pub(crate) fn open_current(directory: BorrowedFd<'_>) -> Result<Option<OwnedFd>, Errno> {
    let Some(version) = current(directory) else { return Ok(None) };
    tree::open_directory(directory, version.as_str()).map(Some)
}

/// Whether this is a link `name -> ..data/name`.
pub(crate) fn is_published(directory: BorrowedFd<'_>, name: &str) -> bool {
    let mut buffer = [MaybeUninit::uninit(); TARGET];
    let Ok((target, _)) = readlinkat_raw(directory, name, &mut buffer) else { return false };
    let file = target.strip_prefix(DATA.as_bytes()).and_then(|target| target.strip_prefix(b"/"));
    file == Some(name.as_bytes())
}

fn target_of(name: &str) -> String {
    format!("{DATA}/{name}")
}

/// All versions, oldest first.
pub(crate) fn versions(directory: BorrowedFd<'_>) -> Result<BTreeSet<VersionName>, Errno> {
    let names = tree::entries_where(directory, |name| name.starts_with(b"..2"))?;
    Ok(names.iter().filter_map(|name| VersionName::parse(name.to_str().ok()?)).collect::<BTreeSet<_>>())
}

/// What exists at the name of a file that should be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Free,
    /// The link of the file.
    Published,
    /// Something else.
    Taken,
}

pub(crate) fn place(directory: BorrowedFd<'_>, name: &str) -> Result<Place, Errno> {
    if is_published(directory, name) {
        return Ok(Place::Published);
    }
    Ok(tree::entry(directory, name)?.map_or(Place::Free, |_| Place::Taken))
}

/// A directory that podcreds published. Each publication opens and lists it once.
pub(crate) struct Listing {
    pub(crate) open: OwnedFd,
    /// The permissions, without set-group-ID and sticky.
    pub(crate) mode: u32,
    pub(crate) current: Option<VersionName>,
    /// The current version; `None` means that there is none, or that its content is known.
    pub(crate) open_version: Option<OwnedFd>,
    pub(crate) versions: BTreeSet<VersionName>,
    /// The names in the current version.
    pub(crate) files: BTreeSet<String>,
    /// All names except `..data` and those of versions. After [`FOREIGN_LIMIT`] names only those of podcreds' own links.
    names: Vec<String>,
}

impl Listing {
    /// Opens and lists a directory. `None` means that this process's user does not own a directory of that name.
    pub(crate) fn open(parent: BorrowedFd<'_>, name: &str) -> Result<Option<Self>, Errno> {
        Self::open_knowing(parent, name, |_| None)
    }

    /// [`Listing::open`] that does not open the current version if `known` has the names in it.
    pub(crate) fn open_knowing(
        parent: BorrowedFd<'_>,
        name: &str,
        known: impl FnOnce(&VersionName) -> Option<BTreeSet<String>>,
    ) -> Result<Option<Self>, Errno> {
        let Some(open) = if_present(tree::open_directory(parent, name))? else { return Ok(None) };
        let status = fstat(&open)?;
        if Entry::from_stat(&status).is_own() {
            Self::list(open, tree::permissions(&status), known).map(Some)
        } else {
            Ok(None)
        }
    }

    /// [`Listing::open`] for a path.
    pub(crate) fn open_path(root: BorrowedFd<'_>, path: &str) -> Result<Option<Self>, Errno> {
        let path = path.trim_end_matches('/');
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        match parent {
            "" => Self::open(root, name),
            _ => match if_present(tree::open_own_path(root, parent))? {
                Some(parent) => Self::open(parent.as_fd(), name),
                None => Ok(None),
            },
        }
    }

    fn list(
        open: OwnedFd,
        mode: u32,
        known: impl FnOnce(&VersionName) -> Option<BTreeSet<String>>,
    ) -> Result<Self, Errno> {
        let current = current(open.as_fd());
        let (mut versions, mut others) = (BTreeSet::new(), 0);
        let entries = tree::list(&open, |name, may_be_link| {
            let name = str::from_utf8(name).unwrap_or_default();
            if [DATA, NEXT_DATA].contains(&name) {
                return name == NEXT_DATA;
            }
            if let Some(version) = VersionName::parse(name) {
                versions.insert(version);
                return false;
            }
            others += 1;
            // Links are read only in a directory with very many entries.
            others <= FOREIGN_LIMIT || (may_be_link && is_published(open.as_fd(), name))
        })?;
        let names = entries.iter().map(|name| name.to_string_lossy().into_owned()).collect();
        let known = current.as_ref().and_then(known);
        let open_version = match &current {
            Some(version) if known.is_none() => {
                if_present(tree::open_directory(open.as_fd(), version.as_str()))?
            }
            _ => None,
        };
        let mut files = known.unwrap_or_default();
        if let Some(version) = &open_version {
            files.extend(tree::entries(version)?.iter().map(|name| name.to_string_lossy().into_owned()));
        }
        Ok(Self { open, mode, current, open_version, versions, files, names })
    }

    /// The files in which a version of this directory differs from the desired one: by content or mode, or because they are
    /// missing or extra.
    pub(crate) fn differences(
        &self,
        version: Option<&OwnedFd>,
        files: &BTreeMap<&str, File<'_>>,
    ) -> BTreeSet<String> {
        let differs = |name: &str, file: &File<'_>| {
            version.is_none_or(|version| {
                !tree::file_matches(version.as_fd(), name, file.mode, file.content.expose()).unwrap_or(false)
            })
        };
        let differing = files.iter().filter(|(name, file)| differs(name, file)).map(|(name, _)| *name);
        let extra = self.files.iter().map(String::as_str).filter(|name| !files.contains_key(name));
        differing.chain(extra).map(str::to_owned).collect()
    }

    /// Removes links of files that the current version does not have, versions that were never current, and versions that were
    /// replaced longer ago than the grace period. Returns whether superseded versions are left.
    pub(crate) fn prune(&self, grace: &Grace) -> Result<bool, Errno> {
        self.prune_after(self.current.as_ref(), |name| self.files.contains(name), grace)
    }

    /// [`Listing::prune`] after a publication that made another version the current one.
    pub(crate) fn prune_after(
        &self,
        current: Option<&VersionName>,
        has_file: impl Fn(&str) -> bool,
        grace: &Grace,
    ) -> Result<bool, Errno> {
        let directory = self.open.as_fd();
        for name in &self.names {
            if name == NEXT_DATA || (!has_file(name) && is_published(directory, name)) {
                tree::remove_file(directory, name.as_str())?;
            }
        }
        let mut versions = self.versions.clone();
        versions.extend(current.cloned());
        let expired = expired(&versions, current, grace, Instant::now(), SystemTime::now());
        let mut result = Ok(versions.len() > expired.len() + 1);
        for version in expired {
            let removed = match self.current.as_ref() == Some(version) {
                true => tree::remove_with(directory, version.as_str(), &self.files),
                false => tree::remove(directory, version.as_str()),
            };
            result = removed.and(result);
        }
        result
    }

    /// The name of an entry that podcreds did not create. `known` says whether podcreds published a subdirectory of this name.
    pub(crate) fn foreign(&self, known: impl Fn(&str) -> bool) -> Option<&str> {
        let is_own = |name: &str| name == NEXT_DATA || is_published(self.open.as_fd(), name) || known(name);
        self.names.iter().map(String::as_str).find(|name| !is_own(name))
    }

    /// Removes everything that podcreds put into the directory. All files disappear at once, with `..data`.
    pub(crate) fn clear(&self) -> Result<(), Errno> {
        if self.current.is_some() {
            tree::remove_file(self.open.as_fd(), DATA)?;
        }
        self.prune_after(None, |_| false, &Grace::default()).map(drop)
    }
}

/// Writes a version beside the current one, and the links of new names. Nothing changes for readers yet.
pub(crate) fn prepare<'a>(
    directory: BorrowedFd<'_>,
    version: &VersionName,
    desired: &Directory<'_>,
    new_names: impl IntoIterator<Item = &'a str>,
) -> Result<(), Errno> {
    let made = tree::create_directory(directory, version.as_str(), desired.mode)?;
    for (name, file) in &desired.files {
        tree::write_file(made.as_fd(), name, file.mode, file.content.expose())?;
    }
    for name in new_names {
        match symlinkat(target_of(name), directory, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    match symlinkat(version.as_str(), directory, NEXT_DATA) {
        Err(Errno::EXIST) => {
            tree::remove_file(directory, NEXT_DATA)?;
            symlinkat(version.as_str(), directory, NEXT_DATA)
        }
        result => result,
    }
}

/// Makes the prepared version the current one.
pub(crate) fn swap(directory: BorrowedFd<'_>) -> Result<(), Errno> {
    renameat(directory, NEXT_DATA, directory, DATA)
}

/// Creates the link of one file under another name, for a rename into place.
pub(crate) fn create_link(parent: BorrowedFd<'_>, name: &str, file: &str) -> Result<(), Errno> {
    symlinkat(target_of(file), parent, name)
}

/// The versions that no reader should be using: those that were never current, and those that were replaced longer ago than
/// the grace period. A version was current until the next one was created. However fast versions follow each other, only the
/// latest [`KEPT_VERSIONS`] are kept.
fn expired<'a>(
    versions: &'a BTreeSet<VersionName>,
    current: Option<&VersionName>,
    grace: &Grace,
    now: Instant,
    clock: SystemTime,
) -> Vec<&'a VersionName> {
    let mut successor: Option<&VersionName> = None;
    let mut kept = 0;
    let mut expired = Vec::new();
    for version in versions.iter().rev() {
        let was_current = current.is_some_and(|current| version < current);
        let in_grace = successor.is_some_and(|successor| grace.covers_before(successor, now, clock));
        if was_current && in_grace && kept < KEPT_VERSIONS {
            kept += 1;
        } else if Some(version) != current {
            expired.push(version);
        }
        successor = Some(version);
    }
    expired
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::new(1_795_196_400 + seconds, 5)
    }

    #[test]
    fn version_names_are_recognised_and_nothing_else_is() {
        let name = VersionName::new(at(1));
        assert_eq!(name.as_str(), "..2026_11_20_17_40_01.000000005");
        assert_eq!(name.time(), at(1));
        assert_eq!(VersionName::parse(name.as_str()), Some(name));
        for other in [
            "..data",
            "..2026_11_20_17_40_01.12345678",
            "..2026-11-20_17_40_01.123456789",
            "../../../etc/passwd",
        ] {
            assert_eq!(VersionName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_listing_of_very_many_entries_keeps_those_of_podcreds() {
        let volume = tempfile::tempdir().unwrap();
        let path = volume.path().join("db");
        let version = VersionName::new(at(1));
        std::fs::create_dir_all(path.join(version.as_str())).unwrap();
        std::os::unix::fs::symlink(version.as_str(), path.join(DATA)).unwrap();
        for index in 0..FOREIGN_LIMIT + 10 {
            std::fs::write(path.join(format!("f{index}")), "").unwrap();
        }
        // Created last: the order of a listing is not that of creation on every file system.
        for name in ["password", "username"] {
            std::os::unix::fs::symlink(target_of(name), path.join(name)).unwrap();
        }
        let root = tree::open_directory(rustix::fs::CWD, volume.path()).unwrap();
        let listing = Listing::open(root.as_fd(), "db").unwrap().unwrap();
        assert!(listing.names.len() <= FOREIGN_LIMIT + 2, "{}", listing.names.len());
        assert!(["password", "username"].iter().all(|own| listing.names.iter().any(|name| name == own)));
        assert_eq!((listing.current.as_ref(), listing.versions.len()), (Some(&version), 1));
        assert!(listing.foreign(|_| false).is_some_and(|name| name.starts_with('f')));
        listing.prune(&Grace::default()).unwrap();
        assert!(path.join("password").symlink_metadata().is_err(), "a link of no file is removed");
    }

    #[test]
    fn a_version_expires_one_grace_period_after_its_successor_was_created() {
        let names = [1, 2, 10, 20].map(|seconds| VersionName::new(at(seconds)));
        let versions = BTreeSet::from(names.clone());
        let [first, second, current, unfinished] = &names;
        let expired = |grace, now| {
            expired(
                &versions,
                Some(current),
                &Grace::new(Duration::from_secs(grace)),
                Instant::now(),
                at(now),
            )
        };
        // The first was replaced at 2, the second at 10; what is newer than the current one never was current.
        assert_eq!(expired(5, 6), [unfinished]);
        assert_eq!(expired(5, 8), [unfinished, first]);
        assert_eq!(expired(5, 15), [unfinished, second, first]);
        assert_eq!(expired(0, 0), [unfinished, second, first]);
    }

    #[test]
    fn without_a_current_version_all_are_unfinished() {
        let versions = BTreeSet::from([1, 2].map(|seconds| VersionName::new(at(seconds))));
        let grace = Grace::new(Duration::from_secs(3600));
        assert_eq!(expired(&versions, None, &grace, Instant::now(), at(3)).len(), 2);
    }

    #[test]
    fn a_new_version_follows_the_newest_one_whatever_the_clock_says() {
        let newest = VersionName::new(at(10));
        assert_eq!(newest.next(at(11)), VersionName::new(at(11)));
        let before_1970 = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        let after_9999 = at(1 << 40);
        for clock in [at(10), at(9), SystemTime::UNIX_EPOCH, before_1970, after_9999] {
            assert_eq!(newest.next(clock).as_str(), "..2026_11_20_17_40_11.000000006".replace("11.", "10."));
        }
        assert_eq!(VersionName::new(before_1970).as_str(), "..1970_01_01_00_00_00.000000000");
        assert_eq!(VersionName::new(after_9999), VersionName::new(before_1970));
        // Names without a successor.
        for name in ["..9999_12_31_23_59_59.999999999", "..2999_99_99_99_99_99.999999999"] {
            let name = VersionName::parse(name).unwrap();
            assert_eq!(name.next(at(1)), VersionName::new(at(1)));
        }
    }
}
