//! What the machine receives, and what it answers.

use std::time::Duration;

use log::Level;
use rustix::process::Signal;

use crate::env_file::Environment;

/// The result of reading the variables after a rotation.
#[derive(Debug)]
pub(crate) enum Update {
    Environment {
        environment: Environment,
        /// Identifies the rotation.
        version: String,
        /// `None` means that [`Settings::splay`](super::Settings::splay) applies.
        splay: Option<Duration>,
    },
    /// They cannot be read.
    Failed(String),
}

#[derive(Debug)]
pub(crate) enum Event {
    Update(Update),
    /// The program ended.
    Ended {
        /// Its exit code; 128 and the signal's number if a signal ended it.
        code: u8,
        /// Whether other processes of its group still run.
        has_rest: bool,
    },
    /// The last process of the group of the ended program has ended.
    RestEnded,
    /// podcreds received a signal.
    Signal {
        signal: Signal,
        /// Whether the program received it too, from the terminal.
        is_shared: bool,
    },
    /// Time has passed.
    Timer,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start the program with [`Machine::environment`](super::Machine::environment).
    Start,
    Send(Signal),
    /// Send the stop signal.
    Stop(Signal),
    /// Send a signal to the processes that the program has left behind.
    StopRest(Signal),
    /// End podcreds with this exit code.
    Exit(u8),
    Log(Level, String),
}
