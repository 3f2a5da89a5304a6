//! The limit on open files. Each watch needs a file descriptor, and each directory of the volume two while it is published, so a
//! soft limit of 1024, which is usual, is too low for many objects. Programs that podcreds starts get that limit back: select(2),
//! which they may use, knows no descriptors above it.
//! Source: <https://man7.org/linux/man-pages/man2/select.2.html>

use std::sync::OnceLock;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

/// File descriptors beyond these are of no use: they are enough for thousands of objects.
const MAX: u64 = 65_536;

/// The limit that this process was started with; unset unless it was raised.
static INHERITED: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit of this process as far as the hard limit allows. Programs in Go do the same when they start.
pub(crate) fn raise_limit() {
    let inherited = getrlimit(Resource::Nofile);
    let Rlimit { current, maximum } = inherited;
    let wanted = maximum.unwrap_or(MAX).min(MAX);
    if current.is_some_and(|current| current < wanted) {
        // With the lower limit some objects are polled.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
        let _ = INHERITED.set(inherited);
    }
}

/// Gives a child process the limit that this process was started with. The child may run already: it has the raised limit for a
/// moment, which is harmless until it has that many files open.
pub(crate) fn restore_limit(child: Pid) {
    if let Some(inherited) = INHERITED.get() {
        // Fails if the child has exited, or has become another user.
        let _ = prlimit(Some(child), Resource::Nofile, *inherited);
    }
}
