//! Whether there is room for the files in the volume and in the memory of the container: the files of a volume with
//! `medium: Memory` count towards the container's memory limit.
//!
//! A rotation needs room for a second version of the files that change, until the previous version is removed.

use std::fmt;
use std::fs;
use std::os::fd::BorrowedFd;
use std::path::Path;

use log::warn;
use rustix::fs::{fstatfs, fstatvfs};

use crate::credential::Bundle;

/// Files occupy whole blocks: pages of memory, or blocks of a disk.
const BLOCK: u64 = 4096;
/// `TMPFS_MAGIC`: <https://man7.org/linux/man-pages/man2/statfs.2.html>
const TMPFS: i64 = 0x0102_1994;
/// The limit of this container's memory, by cgroup v2 and v1.
/// Source: <https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files>
const MEMORY_LIMITS: [&str; 2] = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
/// The memory that the process takes with small Secrets, in bytes, rounded up.
const PROCESS: u64 = 6 * 1024 * 1024;

/// How many bytes a full volume lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    needed: u64,
    free: u64,
    /// The size that suffices. `None` means that the volume is on disk.
    suggested: Option<SizeLimit>,
}

impl Room {
    /// `None` means that the volume has no limit.
    pub(crate) fn new(root: BorrowedFd<'_>, needed: u64) -> Option<Self> {
        // The next rotation needs the same again.
        let suggested = SizeLimit::with(root, needed.saturating_mul(2));
        free(root).map(|free| Self { needed, free, suggested })
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { needed, free, suggested } = *self;
        if let Some(limit) = suggested.filter(|_| free < needed) {
            limit.fmt(f)?;
        }
        write!(f, " ({} needed, {} free", Kibibytes(needed), Kibibytes(free))?;
        f.write_str(if free < needed { ")" } else { ", so a quota or the number of files is the limit)" })
    }
}

/// A size in the unit of `sizeLimit`.
struct Kibibytes(u64);

impl fmt::Display for Kibibytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}Ki", self.0.div_ceil(1024))
    }
}

/// A value for `sizeLimit`, in mebibytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SizeLimit(u64);

impl SizeLimit {
    /// For what is in the volume, and this many bytes more. `None` means a volume on disk: the file system shows the size of the
    /// node's disk there.
    fn with(root: BorrowedFd<'_>, more: u64) -> Option<Self> {
        fstatfs(root).ok().filter(|status| status.f_type == TMPFS)?;
        let status = fstatvfs(root).ok()?;
        let used = status.f_blocks.saturating_sub(status.f_bavail).saturating_mul(status.f_frsize);
        Some(Self(used.saturating_add(more).div_ceil(1024 * 1024)))
    }
}

impl fmt::Display for SizeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " to {}Mi", self.0)
    }
}

/// The bytes that a file occupies.
pub(crate) fn occupied(length: usize) -> u64 {
    (length as u64).div_ceil(BLOCK) * BLOCK
}

/// The free bytes of the volume; `None` means that it has no limit.
fn free(root: BorrowedFd<'_>) -> Option<u64> {
    let status = fstatvfs(root).ok().filter(|status| status.f_blocks > 0)?;
    Some(status.f_bavail.saturating_mul(status.f_frsize))
}

fn size(bundle: &Bundle, of_file: impl Fn(usize) -> u64) -> u64 {
    bundle.values().map(|file| of_file(file.content.expose().len())).sum()
}

/// Warns after the first publication if a rotation of all files would not fit. The `sizeLimit` of a volume on disk is not visible
/// here.
pub(crate) fn warn_of_space(path: &Path, root: BorrowedFd<'_>, bundle: &Bundle) {
    let needed = size(bundle, occupied);
    if let Some(free) = free(root).filter(|free| *free < needed) {
        warn!(
            "volume {}: a rotation of all files needs {} of free space, but only {} are free: raise the sizeLimit of the emptyDir{}, which must leave room for two versions of each file",
            path.display(),
            Kibibytes(needed),
            Kibibytes(free),
            SizeLimit::with(root, needed).map(|limit| limit.to_string()).unwrap_or_default()
        );
    }
}

/// Warns before the first publication if the container's memory may not suffice for this many versions of the files: the kernel
/// would then kill the process without a message.
pub(crate) fn warn_of_memory(path: &Path, root: BorrowedFd<'_>, bundle: &Bundle, versions: u64) {
    let limit = MEMORY_LIMITS.iter().find_map(|path| fs::read_to_string(path).ok());
    let Some(limit) = limit.as_deref().and_then(parse_limit) else { return };
    let in_memory = fstatfs(root).is_ok_and(|status| status.f_type == TMPFS);
    let (content, files) = (size(bundle, |length| length as u64), size(bundle, occupied));
    let needed = memory_needed(content, versions, if in_memory { files } else { 0 });
    if limit < needed {
        warn!(
            "volume {}: with {} of files, podcreds may need {} of memory, but its container's limit is {}: raise resources.limits.memory, or the container may be OOMKilled",
            path.display(),
            Kibibytes(files),
            Kibibytes(needed),
            Kibibytes(limit)
        );
    }
}

/// `None` means unlimited. In cgroup v1, a limit of several exbibytes means unlimited too.
fn parse_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// An estimate. `init` keeps the content of the files as received and as rendered in memory; a sidecar also keeps the previous one
/// while it receives and renders a new one. The files of a volume with `medium: Memory` are memory as well: `in_memory` is what they
/// occupy.
fn memory_needed(content: u64, versions: u64, in_memory: u64) -> u64 {
    content.saturating_mul(1 + 2 * versions) + in_memory.saturating_mul(versions) + PROCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    const MI: u64 = 1024 * 1024;

    #[test]
    fn the_figures_say_what_is_missing() {
        let room = |needed, limit: Option<u64>| {
            Room { needed, free: 84 * 1024, suggested: limit.map(SizeLimit) }.to_string()
        };
        assert_eq!(room(300 * 1024, None), " (300Ki needed, 84Ki free)");
        assert_eq!(room(300 * 1024, Some(2)), " to 2Mi (300Ki needed, 84Ki free)");
        let no_inodes = " (4Ki needed, 84Ki free, so a quota or the number of files is the limit)";
        assert_eq!(room(4096, Some(2)), no_inodes);
        assert_eq!([0, 1, 4096, 4097].map(occupied), [0, 4096, 4096, 8192]);
    }

    #[test]
    fn a_memory_limit_is_read_from_both_versions_of_cgroups() {
        assert_eq!(parse_limit("33554432\n"), Some(32 * MI));
        assert_eq!(parse_limit("max\n"), None);
        assert!(
            parse_limit("9223372036854771712\n")
                .is_some_and(|limit| limit > memory_needed(64 * MI, 2, 64 * MI))
        );
    }

    #[test]
    fn the_memory_of_a_rotation_includes_two_versions_in_a_memory_volume() {
        // Small files fit the limits of deploy/, even if each occupies a page; twelve Secrets of 0.9 MB do not.
        assert!(memory_needed(64 * 1024, 2, 64 * 1024) < 16 * MI);
        assert!(memory_needed(1000 * 20, 2, 1000 * occupied(20)) < 16 * MI);
        let files = 12 * occupied(900_000);
        assert!(memory_needed(files, 1, files) > 32 * MI);
        assert!(memory_needed(files, 2, files) > memory_needed(files, 1, files));
        assert_eq!(memory_needed(files, 2, files) - memory_needed(files, 2, 0), 2 * files);
    }
}
