//! Process 1 of a container becomes the parent of the processes whose own parent has exited. If podcreds is process 1, each process
//! that a plugin leaves behind would stay a zombie, until the pod's pids limit is reached.

use std::sync::Mutex;

use rustix::process::{WaitOptions, getpid, wait};

use crate::thread::lock;

/// The number of plugins that are running. It is global, because all children belong to the process.
static RUNNING: Mutex<usize> = Mutex::new(0);

/// Exists while a plugin runs, from before its start until it was waited for.
///
/// Orphans are reaped before the first and after the last of the plugins that run at the same time: waiting for any child would
/// otherwise take the exit status of another plugin. An orphan that exits later is reaped at the next run.
pub(super) struct PluginRun(());

impl PluginRun {
    pub(super) fn start() -> Self {
        let mut running = lock(&RUNNING);
        if *running == 0 {
            reap();
        }
        *running += 1;
        Self(())
    }
}

impl Drop for PluginRun {
    fn drop(&mut self) {
        let mut running = lock(&RUNNING);
        *running -= 1;
        if *running == 0 {
            reap();
        }
    }
}

fn reap() {
    if getpid().is_init() {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    }
}
