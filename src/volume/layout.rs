//! The links of a volume and the names of its versions.
//! Source: the kubelet's `AtomicWriter`, <https://pkg.go.dev/k8s.io/kubernetes/pkg/volume/util#AtomicWriter>

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::time::{Duration, SystemTime};

use rustix::fs::{
    AtFlags, FileType, Timespec, Timestamps, UTIME_NOW, readlinkat, renameat, statat, symlinkat, unlinkat,
    utimensat,
};
use rustix::io::Errno;

use crate::ordered;
use crate::volume::error::Problem;
use crate::volume::tree;

/// The link to the current version, and the name under which the next one is made.
const DATA: &str = "..data";
const NEXT_DATA: &str = "..data_tmp";

/// The name of a version's folder: `..2026_11_20_17_40_01.123456789`, its time in UTC.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct VersionName(String);

impl VersionName {
    pub(super) fn new(now: SystemTime) -> Self {
        let time = humantime::format_rfc3339_nanos(now).to_string();
        Self(format!("..{}", time.trim_end_matches('Z').replace(['-', 'T', ':'], "_")))
    }

    /// The name, if it has the form that podcreds gives.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let form = b"..0000_00_00_00_00_00.000000000";
        let fits =
            |(byte, form): (u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == *form };
        let valid = name.len() == form.len() && name.bytes().zip(form).all(fits);
        valid.then(|| Self(name.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// How long ago it was made; nothing if the clock was set back since.
    pub(super) fn age(&self, now: SystemTime) -> Duration {
        // `..2026_11_20_17_40_01.123456789` is `2026-11-20T17:40:01.123456789Z`.
        let (day, time) = (self.0[2..12].replace('_', "-"), self.0[13..].replace('_', ":"));
        let made = humantime::parse_rfc3339(&format!("{day}T{time}Z")).unwrap_or(SystemTime::UNIX_EPOCH);
        now.duration_since(made).unwrap_or_default()
    }
}

impl fmt::Display for VersionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The version that `..data` leads to, if it is there.
pub(super) fn current(root: BorrowedFd<'_>) -> Result<Option<VersionName>, Problem> {
    let foreign = || Problem::Foreign { name: DATA.to_owned() };
    let target = match readlinkat(root, DATA, Vec::new()) {
        Ok(target) => target,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::INVAL) => return Err(foreign()),
        Err(errno) => return Err(Problem::of("read links", errno)),
    };
    target.to_str().ok().and_then(VersionName::parse).ok_or_else(foreign).map(Some)
}

/// The names of the links at the top of the volume that podcreds made.
pub(super) fn links(root: BorrowedFd<'_>) -> Result<BTreeSet<String>, Problem> {
    let names = tree::entries(root).map_err(|errno| Problem::of("list files", errno))?;
    let names = names.into_iter().filter_map(|name| name.into_string().ok());
    Ok(ordered::set(names.filter(|name| is_ours(root, name))))
}

/// Whether this is a link `name -> ..data/name`: nobody else makes those.
fn is_ours(root: BorrowedFd<'_>, name: &str) -> bool {
    readlinkat(root, name, Vec::new()).is_ok_and(|target| target.to_bytes() == target_of(name).as_bytes())
}

/// Whether this is a link through `..data`, wherever it leads.
pub(super) fn is_published(folder: BorrowedFd<'_>, name: &OsStr) -> bool {
    readlinkat(folder, name, Vec::new()).is_ok_and(|target| target.to_bytes().starts_with(b"..data/"))
}

/// Makes sure that nothing stands where links are to be made.
pub(super) fn check_foreign<'a>(
    root: BorrowedFd<'_>,
    names: impl Iterator<Item = &'a str>,
) -> Result<(), Problem> {
    let is_link = |mode| FileType::from_raw_mode(mode) == FileType::Symlink;
    if statat(root, NEXT_DATA, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|status| !is_link(status.st_mode)) {
        return Err(Problem::Foreign { name: NEXT_DATA.to_owned() });
    }
    for name in names {
        match statat(root, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(Problem::of("look at files", errno)),
            Ok(_) => return Err(Problem::Foreign { name: name.to_owned() }),
        }
    }
    Ok(())
}

/// Makes links for new names. Until the swap they lead nowhere.
pub(super) fn make_links(root: BorrowedFd<'_>, names: &[&str]) -> Result<(), Problem> {
    names
        .iter()
        .try_for_each(|name| symlinkat(target_of(name), root, *name))
        .map_err(|errno| Problem::of("make links", errno))
}

/// Removes links of names that the current version does not have. One that cannot be removed leads nowhere.
pub(super) fn remove_links<'a>(root: BorrowedFd<'_>, names: impl Iterator<Item = &'a str>) {
    names.filter(|name| is_ours(root, name)).for_each(|name| {
        let _ = unlinkat(root, name, AtFlags::empty());
    });
}

/// Makes a version the current one.
pub(super) fn swap(root: BorrowedFd<'_>, version: &VersionName) -> Result<(), Problem> {
    let swap = || {
        match unlinkat(root, NEXT_DATA, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        symlinkat(version.as_str(), root, NEXT_DATA)?;
        renameat(root, NEXT_DATA, root, DATA)
    };
    swap().map_err(|errno| Problem::of("swap versions", errno))
}

/// Gives a regular file a new modification time; makes it, empty, if it is not there.
pub(super) fn touch(root: BorrowedFd<'_>, name: &str, mode: u32) -> Result<(), Problem> {
    let failed = |errno| Problem::of("touch files", errno);
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    match statat(root, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(status) if FileType::from_raw_mode(status.st_mode) == FileType::RegularFile => {
            utimensat(root, name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
        }
        Ok(_) => Err(Problem::Foreign { name: name.to_owned() }),
        Err(Errno::NOENT) => tree::write_file(root, name, mode, b"").map_err(failed),
        Err(errno) => Err(failed(errno)),
    }
}

/// The versions that there are, current or not, oldest first.
pub(super) fn versions(root: BorrowedFd<'_>) -> Vec<VersionName> {
    let is_folder = |name: &VersionName| {
        statat(root, name.as_str(), AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|status| FileType::from_raw_mode(status.st_mode) == FileType::Directory)
    };
    let names = tree::entries(root).unwrap_or_default();
    let versions = ordered::set(names.iter().filter_map(|name| VersionName::parse(name.to_str().ok()?)));
    versions.into_iter().filter(is_folder).collect()
}

fn target_of(name: &str) -> String {
    format!("{DATA}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_names_are_recognised_and_nothing_else_is() {
        let name = VersionName::new(SystemTime::UNIX_EPOCH + Duration::new(1_795_196_401, 5));
        assert_eq!(name.as_str(), "..2026_11_20_17_40_01.000000005");
        assert_eq!(
            name.age(SystemTime::UNIX_EPOCH + Duration::new(1_795_196_403, 5)),
            Duration::from_secs(2)
        );
        assert_eq!(name.age(SystemTime::UNIX_EPOCH), Duration::ZERO);
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
}
