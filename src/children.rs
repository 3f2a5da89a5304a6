//! The child processes of podcreds: the exec plugins of kubeconfigs and the program of a supervisor. Process 1 of a container also becomes
//! the parent of orphans, the processes whose own parent has exited. If podcreds is process 1, each orphan would stay a zombie until the
//! pod's limit on pids is reached.
//!
//! Waiting for any child takes the exit status of whichever child has exited. So orphans are reaped only while no plugin runs, and a
//! status of the program that this finds is kept for the supervisor.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Mutex;

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, kill_process_group, test_kill_process_group,
    wait, waitpid,
};

use crate::thread::lock;

/// Global, because all children belong to the process.
static CHILDREN: Mutex<Children> =
    Mutex::new(Children { plugins: 0, program: None, group: None, ended: None });

struct Children {
    /// The number of plugins that are running.
    plugins: usize,
    /// The program, until it has ended.
    program: Option<Pid>,
    /// The process group of the program that was started last, if it has one of its own.
    group: Option<Pid>,
    /// How the program ended, until the supervisor takes it.
    ended: Option<WaitStatus>,
}

/// Exists while a plugin runs, from before its start until it was waited for.
///
/// Orphans are reaped before the first and after the last of the plugins that run at the same time. An orphan that exits later is
/// reaped at the next run.
pub(crate) struct PluginRun(());

impl PluginRun {
    pub(crate) fn start() -> Self {
        let mut children = lock(&CHILDREN);
        children.reap();
        children.plugins += 1;
        Self(())
    }
}

impl Drop for PluginRun {
    fn drop(&mut self) {
        let mut children = lock(&CHILDREN);
        children.plugins -= 1;
        children.reap();
    }
}

/// Starts the program that [`signal_program`] and [`reap_program`] are about, if `has_group` in a process group of its own.
///
/// # Errors
/// If it cannot be started.
pub(crate) fn start_program(command: &mut Command, has_group: bool) -> io::Result<()> {
    let mut children = lock(&CHILDREN);
    if has_group {
        command.process_group(0);
    }
    let pid = Pid::from_child(&command.spawn()?);
    children.program = Some(pid);
    children.group = has_group.then_some(pid);
    Ok(())
}

/// Whether processes are in the group of the program that was started last. The kernel reuses its number only after the last of
/// them.
pub(crate) fn has_group_members() -> bool {
    // A refusal means that there is a process, of another user.
    lock(&CHILDREN).group.is_some_and(|group| test_kill_process_group(group) != Err(Errno::SRCH))
}

/// Sends a signal to the processes of that group.
pub(crate) fn signal_group(signal: Signal) {
    if let Some(group) = lock(&CHILDREN).group {
        // What cannot be signalled is not waited for any longer than the rest.
        let _ = kill_process_group(group, signal);
    }
}

/// The program that is running.
pub(crate) fn program() -> Option<Pid> {
    lock(&CHILDREN).program
}

/// Sends a signal to the program, unless it was waited for: then another process may have its pid.
///
/// # Errors
/// If this process may not send it.
pub(crate) fn signal_program(signal: Signal) -> Result<(), Errno> {
    lock(&CHILDREN).program.map_or(Ok(()), |pid| kill_process(pid, signal))
}

/// Reaps what has exited, and returns how the program ended; `None` means that it is running.
pub(crate) fn reap_program() -> Option<WaitStatus> {
    let mut children = lock(&CHILDREN);
    children.reap();
    if let Some(pid) = children.program
        && let Ok(Some((_, status))) = waitpid(Some(pid), WaitOptions::NOHANG)
    {
        children.note(pid, status);
    }
    children.ended.take()
}

impl Children {
    fn reap(&mut self) {
        if self.plugins == 0 && getpid().is_init() {
            while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
                self.note(pid, status);
            }
        }
    }

    fn note(&mut self, pid: Pid, status: WaitStatus) {
        if self.program == Some(pid) {
            self.program = None;
            self.ended = Some(status);
        }
    }
}
