//! The supervisor of `podcreds exec --restart-on-change`: starts the program, passes signals on to it, and restarts it when its
//! variables change. [`machine`] decides; this module is the loop around it. The caller finds the new variables and sends them as
//! [`Update`]s from another thread.
//!
//! The loop runs on the main thread, because the kernel kills the program when the thread that started it ends ([`launcher`]).

pub(crate) mod launcher;
mod machine;
mod signals;

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use log::{debug, log, warn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, WaitStatus, getpid};

pub(crate) use machine::{Settings, Update};
pub(crate) use signals::parse as parse_signal;

use crate::children;
use crate::env_file::Environment;
use crate::supervisor::machine::{Action, Event, Machine, SIGNAL_BASE};

/// The binary of this process, also if another release has replaced the file meanwhile.
const OWN_BINARY: &str = "/proc/self/exe";

/// The program, and how to start it.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    /// The first arguments of podcreds, which make it a launcher.
    pub(crate) launcher: Vec<OsString>,
    pub(crate) name: &'a OsStr,
    pub(crate) arguments: &'a [OsString],
}

/// Sends updates to the supervisor.
#[derive(Debug)]
pub(crate) struct Updates {
    updates: Sender<Update>,
    wake: UnixStream,
}

impl Updates {
    pub(crate) fn send(&self, update: Update) {
        if self.updates.send(update).is_ok() {
            // A full socket wakes the supervisor too.
            let _ = (&self.wake).write(&[0]);
        }
    }
}

/// What the supervisor waits for.
#[derive(Debug)]
pub(crate) struct Inbox {
    updates: Receiver<Update>,
    wake: UnixStream,
    /// For the handlers of signals.
    waker: UnixStream,
}

/// # Errors
/// If no sockets can be opened.
pub(crate) fn inbox() -> io::Result<(Updates, Inbox)> {
    let (updates, received) = channel();
    let (wake, waker) = UnixStream::pair()?;
    wake.set_nonblocking(true)?;
    waker.set_nonblocking(true)?;
    Ok((Updates { updates, wake: waker.try_clone()? }, Inbox { updates: received, wake, waker }))
}

/// Starts the program and supervises it until it ends for good; returns the exit code for podcreds. Call it on the main thread.
///
/// `exits_on_signals` is set while SIGTERM and SIGINT end podcreds. From the first start on, the program gets them. `on_change` learns
/// when the program has started, and when it is about to be stopped.
///
/// # Errors
/// If the program cannot be started.
pub(crate) fn run(
    settings: Settings,
    program: &Program<'_>,
    environment: Environment,
    inbox: &Inbox,
    exits_on_signals: &AtomicBool,
    on_change: &dyn Fn(bool),
) -> Result<u8, Error> {
    signals::register(&inbox.waker).map_err(Error::Setup)?;
    exits_on_signals.store(false, Ordering::Release);
    let mut machine = Machine::new(settings, Instant::now(), environment);
    let mut actions = vec![Action::Start];
    loop {
        for action in actions {
            match action {
                Action::Log(level, message) => log!(level, "{message}"),
                Action::Send(signal) => send(signal),
                Action::StopRest(signal) => children::signal_group(signal),
                Action::Stop(signal) => {
                    on_change(false);
                    send(signal);
                }
                Action::Start => {
                    if let Err(cause) = program.start(machine.environment()) {
                        return Err(Error::Start { cause, environment: machine.into_environment() });
                    }
                    on_change(true);
                }
                Action::Exit(code) => return Ok(code),
            }
        }
        let timeout = machine.deadline().map(|at| at.saturating_duration_since(Instant::now()));
        wait(inbox, timeout.and_then(|timeout| Timespec::try_from(timeout).ok()).as_ref());
        actions = next_actions(&mut machine, inbox);
    }
}

/// Collects the events since the last call, and returns the actions that follow from them. Signals come first: a program that SIGTERM
/// has ended is not restarted.
fn next_actions(machine: &mut Machine, inbox: &Inbox) -> Vec<Action> {
    let now = Instant::now();
    let mut actions = Vec::new();
    for signal in signals::take() {
        let is_shared = signals::is_from_terminal(signal, children::program());
        actions.extend(machine.step(now, Event::Signal { signal, is_shared }));
    }
    while let Ok(update) = inbox.updates.try_recv() {
        actions.extend(machine.step(now, Event::Update(update)));
    }
    let event = match children::reap_program() {
        Some(status) => Event::Ended { code: exit_code(status), has_rest: children::has_group_members() },
        None if machine.waits_for_rest() && !children::has_group_members() => Event::RestEnded,
        None => Event::Timer,
    };
    actions.extend(machine.step(now, event));
    actions
}

/// Waits until something happens, or for this time.
fn wait(inbox: &Inbox, timeout: Option<&Timespec>) {
    match poll(&mut [PollFd::new(&inbox.wake, PollFlags::IN)], timeout) {
        Ok(_) | Err(Errno::INTR) => {}
        // Such as no memory, which may be over soon. The signal handlers' flags are not lost.
        Err(errno) => warn!("cannot wait for signals: {errno}"),
    }
    let mut drained = [0; 64];
    while matches!((&inbox.wake).read(&mut drained), Ok(1..)) {}
}

impl Program<'_> {
    fn start(&self, environment: &Environment) -> io::Result<()> {
        let variables = environment.iter().map(|(name, value)| (name, OsStr::from_bytes(value.expose())));
        let mut command = Command::new(OWN_BINARY);
        command.arg0("podcreds").args(&self.launcher).arg(getpid().as_raw_nonzero().to_string());
        // A program that ends its children with `kill 0` must not send podcreds that signal too. With a terminal it stays in the
        // group of podcreds: only the foreground group may read from the terminal.
        let has_group = !signals::has_terminal();
        children::start_program(command.arg(self.name).args(self.arguments).envs(variables), has_group)
    }
}

fn send(signal: Signal) {
    let number = signal.as_raw();
    match children::signal_program(signal) {
        Ok(()) => debug!("sent signal {number} to the program"),
        Err(errno) => {
            warn!("cannot send signal {number} to the program, which may run as another user: {errno}")
        }
    }
}

/// As a shell reports it.
fn exit_code(status: WaitStatus) -> u8 {
    let signal = || status.terminating_signal().map(|signal| SIGNAL_BASE + signal);
    status.exit_status().or_else(signal).and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Why the program does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Too few descriptors or threads.
    #[error("cannot prepare to supervise the program: {0}")]
    Setup(io::Error),
    /// The launcher cannot be started.
    #[error("cannot start the program through {OWN_BINARY}: {cause}")]
    Start {
        cause: io::Error,
        /// What it was to be started with.
        environment: Environment,
    },
}
