//! Checks at startup, not only at the first rotation, whether this process may write to the volume. Messages name the missing
//! permission and the settings of the pod that add it.

use std::fs;
use std::os::fd::BorrowedFd;
use std::path::Path;

use log::warn;
use rustix::fs::{Access, AtFlags, Mode, Stat, accessat, fstat};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid, getgroups};

use crate::volume::error::Problem;

/// The bit of CAP_FSETID in the capabilities of a process: <https://man7.org/linux/man-pages/man7/capabilities.7.html>
const CAP_FSETID: u32 = 4;

/// The user and groups of this process.
pub(crate) struct Identity {
    pub(crate) uid: u32,
    /// Its own group, followed by the supplementary ones.
    pub(crate) groups: Vec<u32>,
}

impl Identity {
    pub(crate) fn current() -> Self {
        let mut groups = vec![getegid().as_raw()];
        groups.extend(getgroups().unwrap_or_default().into_iter().map(|group| group.as_raw()));
        Self { uid: geteuid().as_raw(), groups }
    }

    fn is_member(&self, group: u32) -> bool {
        self.groups.contains(&group)
    }
}

/// Checks that this process may create entries in the volume.
///
/// # Errors
/// If the volume is read-only, or its mode does not allow it.
pub(crate) fn check(root: BorrowedFd<'_>) -> Result<(), Problem> {
    match accessat(root, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::empty()) {
        Err(errno @ (Errno::ACCESS | Errno::ROFS)) => Err(Problem::from_write(root, "create entries", errno)),
        _ => Ok(()),
    }
}

/// What lets this process write to a volume. The usual setting is `fsGroup`; it does not help if the volume has a group already,
/// or if the mode does not deny the access.
pub(crate) fn remedy(status: &Stat, identity: &Identity) -> String {
    let mode = Mode::from_raw_mode(status.st_mode);
    let (owner, group, bits) = (status.st_uid, status.st_gid, status.st_mode & 0o7777);
    let belongs = format!("it belongs to uid {owner} and gid {group} with mode {bits:04o}");
    let has_group = mode.contains(Mode::SGID);
    let needed = Mode::from_raw_mode(if identity.uid == owner {
        0o300
    } else if identity.is_member(group) {
        0o030
    } else {
        0o003
    });
    if mode.contains(needed) && mode.contains(Mode::SVTX) {
        format!(
            "{belongs}, and in a sticky directory only the owner of an entry can replace it: set the same runAsUser for all containers that write to it"
        )
    } else if mode.contains(needed) {
        format!(
            "{belongs}, which allows it: check the rules of SELinux or AppArmor, and the export options of a network file system"
        )
    } else if identity.uid == owner {
        format!("{belongs}, so its owner cannot write: give the volume's directory mode 0700 or more")
    } else if (has_group || (group != 0 && identity.is_member(group))) && !mode.contains(Mode::WGRP) {
        format!("{belongs}, so its group cannot write: give the volume's directory mode 2770")
    } else if has_group && !identity.is_member(group) {
        format!(
            "{belongs}: set fsGroup: {group} or supplementalGroups: [{group}] in the pod's securityContext"
        )
    } else {
        format!(
            "{belongs}: set fsGroup in the pod's securityContext (a hostPath volume ignores it), or run podcreds as uid {owner}"
        )
    }
}

/// Warns if files will not get the volume's group. Only a process with CAP_FSETID or in that group can set the modes of directories
/// without losing the set-group-ID bit. Source: `setattr_prepare` in
/// <https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/fs/attr.c>
pub(crate) fn warn_of_group(path: &Path, root: BorrowedFd<'_>) {
    let Ok(status) = fstat(root) else { return };
    let (identity, group) = (Identity::current(), status.st_gid);
    let own = identity.groups[0];
    if loses_group(&status, &identity) && !has_fsetid() {
        warn!(
            "volume {}: files will belong to podcreds' group {own} instead of the volume's group {group}, of which podcreds is not a member, so applications in group {group} cannot read files of mode 0440: set fsGroup: {group} or supplementalGroups: [{group}] in the pod's securityContext",
            path.display()
        );
    }
}

fn loses_group(status: &Stat, identity: &Identity) -> bool {
    Mode::from_raw_mode(status.st_mode).contains(Mode::SGID) && !identity.is_member(status.st_gid)
}

/// Whether the process has CAP_FSETID. If this is unknown, it is assumed.
fn has_fsetid() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    effective.is_none_or(|bits| bits & (1 << CAP_FSETID) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(owner: u32, group: u32, mode: u32) -> Stat {
        let mut status = fstat(fs::File::open("/").unwrap()).unwrap();
        (status.st_uid, status.st_gid, status.st_mode) = (owner, group, 0o040_000 | mode);
        status
    }

    #[test]
    fn the_remedy_names_a_setting_that_helps() {
        let identity = Identity { uid: 1000, groups: vec![1000, 2000] };
        let sets_fs_group = "set fsGroup in the pod's securityContext (a hostPath volume ignores it), or run podcreds as uid 0";
        for (owner, group, mode, part) in [
            (0, 0, 0o755, sets_fs_group),
            (0, 2000, 0o750, "so its group cannot write: give the volume's directory mode 2770"),
            (0, 3000, 0o750, sets_fs_group),
            (0, 2000, 0o2750, "so its group cannot write: give the volume's directory mode 2770"),
            (0, 3000, 0o2770, "set fsGroup: 3000 or supplementalGroups: [3000]"),
            (
                0,
                0,
                0o1777,
                "sticky directory only the owner of an entry can replace it: set the same runAsUser",
            ),
            (
                0,
                2000,
                0o3777,
                "sticky directory only the owner of an entry can replace it: set the same runAsUser",
            ),
            (0, 2000, 0o2770, "which allows it: check the rules of SELinux"),
            (1000, 1000, 0o755, "which allows it: check the rules of SELinux"),
            (1000, 2000, 0o2070, "so its owner cannot write"),
        ] {
            let remedy = remedy(&status(owner, group, mode), &identity);
            assert!(remedy.contains(part), "{mode:o}: {remedy}");
            assert!(
                remedy.contains(&format!("uid {owner} and gid {group} with mode {mode:04o}")),
                "{remedy}"
            );
            assert_eq!(remedy.contains("fsGroup"), part.contains("fsGroup"), "{mode:o}: {remedy}");
        }
    }

    #[test]
    fn only_a_set_group_id_directory_of_another_group_loses_its_group() {
        let identity = Identity { uid: 1000, groups: vec![1000, 2000] };
        for (group, mode, loses) in
            [(3000, 0o2770, true), (2000, 0o2770, false), (1000, 0o2770, false), (3000, 0o777, false)]
        {
            assert_eq!(loses_group(&status(0, group, mode), &identity), loses, "{group} {mode:o}");
        }
    }
}
