//! The launcher: podcreds as a short-lived child of the supervisor, which becomes the program by exec(2). It does what has to be done
//! in the program's own process before that: it asks the kernel to kill the program when the supervisor ends. A closure between
//! fork(2) and exec(2) would be `unsafe`.
//! Source: <https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html>

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// The first argument of a launcher. Recognised before all others, and never by a variable: the environment is the program's.
pub(crate) const ARGUMENT: &str = "--podcreds-launcher";

/// Becomes `command`, whose parent is the process `supervisor`. Returns only if that fails; `None` means that the supervisor has ended.
/// The environment is already the program's. exec(2) also restores SIGPIPE and the signal mask.
pub(crate) fn launch(supervisor: &OsStr, program: &OsStr, arguments: &[OsString]) -> Option<io::Error> {
    // First the request, then the check: a supervisor that ends after the check is noticed by the kernel.
    if let Err(errno) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return Some(errno.into());
    }
    let parent = getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if parent.as_deref().map(OsStr::new) != Some(supervisor) {
        return None;
    }
    Some(Command::new(program).args(arguments).exec())
}
