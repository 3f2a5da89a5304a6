//! Notifications by signal, to processes that are found by their name. With `shareProcessNamespace`, the containers of a pod see
//! each other's processes; with `hostPID` also those of the node and of other pods, which [`pod`] tells apart.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;

use log::warn;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

use crate::credential::SignalName;
use crate::proc::{self, Stat};
use crate::sidecar::notify::{NotifyError, pod};
use crate::text::one_line;

/// Checks whether a signal can arrive at all. It is not an error if the process is not running yet.
pub(crate) fn check(name: &str) -> Result<(), NotifyError> {
    // Without a shared namespace the sidecar itself is process 1, and the only one.
    if getpid().is_init() {
        return Err(NotifyError::NotShared { process: name.to_owned() });
    }
    open(getpid()).map(drop)
}

/// Sends the signal to the processes of this name whose parent has a different name: to a server, not to its workers. Never
/// signals podcreds itself, nor a process of another pod.
pub(crate) fn signal(signal: SignalName, name: &str) -> Result<(), NotifyError> {
    let pod = Pod::own();
    let is_target = |pid| is_named(pid, name) && pod.has(pid);
    let found: Vec<_> = processes().filter(|pid| is_target(*pid)).collect();
    let tops = found.iter().filter(|pid| parent(**pid).is_none_or(|parent| !found.contains(&parent)));
    let (mut signalled, mut failure) = (0, None);
    for pid in tops {
        // A pid may be reused. The descriptor refers to one process, whose name is checked again once it is open.
        let sent = open(*pid)?.and_then(|process| {
            if is_target(*pid) { pidfd_send_signal(&process, number(signal)) } else { Err(Errno::SRCH) }
        });
        match sent {
            Ok(()) => signalled += 1,
            // The process has ended.
            Err(Errno::SRCH) => {}
            Err(errno) => {
                failure = Some(NotifyError::Refused { process: pid.as_raw_nonzero().get(), errno });
            }
        }
    }
    match (signalled, failure) {
        (0, Some(failure)) => Err(failure),
        (0, None) => Err(not_found(name, &pod)),
        // A retry would signal the successful processes again.
        (_, Some(failure)) => {
            warn!("{failure}");
            Ok(())
        }
        (_, None) => Ok(()),
    }
}

/// Maximum number of process names in a message.
const SHOWN: usize = 8;

fn not_found(name: &str, pod: &Pod) -> NotifyError {
    if let Err(error) = check(name) {
        return error;
    }
    let others = processes().filter(|pid| pod.has(*pid));
    let names: BTreeSet<_> = others.filter_map(|pid| proc::read(&proc::path(pid, "comm")).ok()).collect();
    let names: Vec<_> = names.iter().take(SHOWN).map(|name| one_line(name.trim_end(), 16)).collect();
    let running = if names.is_empty() { "no other process".to_owned() } else { names.join(", ") };
    NotifyError::NotFound { process: name.to_owned(), running }
}

/// Opens a process. The outer error holds for every process: of this kernel, or of the seccomp profile.
fn open(pid: Pid) -> Result<rustix::io::Result<OwnedFd>, NotifyError> {
    match pidfd_open(pid, PidfdFlags::empty()) {
        Err(errno @ (Errno::NOSYS | Errno::PERM)) => Err(NotifyError::NoDescriptors(errno)),
        opened => Ok(opened),
    }
}

/// The pod of this process, by its `/proc/self/cgroup`; empty without cgroups.
struct Pod(String);

impl Pod {
    fn own() -> Self {
        Self(proc::read("/proc/self/cgroup").unwrap_or_default())
    }

    fn has(&self, pid: Pid) -> bool {
        let is_same = |cgroups: String| pod::is_same(&self.0, &cgroups);
        self.0.is_empty() || proc::read(&proc::path(pid, "cgroup")).is_ok_and(is_same)
    }
}

/// All processes but this one.
fn processes() -> impl Iterator<Item = Pid> {
    proc::processes().filter(|pid| *pid != getpid())
}

/// Whether a process has this name: as the kernel stores it (the first 15 bytes), or as the base name of its command line.
fn is_named(pid: Pid, name: &str) -> bool {
    // A zombie cannot handle a signal.
    if matches!(Stat::of(pid).map(|stat| stat.state), None | Some('Z' | 'X')) {
        return false;
    }
    let file = |file: &str| fs::read(proc::path(pid, file)).unwrap_or_default();
    let started = file("cmdline");
    let program = started.split(|byte| *byte == 0).next().unwrap_or_default();
    let base = program.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    base == name.as_bytes() || file("comm").trim_ascii_end() == name.as_bytes()
}

fn parent(pid: Pid) -> Option<Pid> {
    Stat::of(pid)?.parent
}

fn number(signal: SignalName) -> Signal {
    match signal {
        SignalName::Hup => Signal::HUP,
        SignalName::Int => Signal::INT,
        SignalName::Quit => Signal::QUIT,
        SignalName::Term => Signal::TERM,
        SignalName::Usr1 => Signal::USR1,
        SignalName::Usr2 => Signal::USR2,
        SignalName::Winch => Signal::WINCH,
    }
}
