//! `podcreds exec --restart-on-change`: connects the supervisor with the volume and with the HTTP server for probes.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::io::Errno;

use crate::commands::exec::follow::Follower;
use crate::commands::exec::{Error, Settings, await_files};
use crate::env_file::Environment;
use crate::supervisor::{self, Program, Updates, launcher};
use crate::telemetry::Health;
use crate::telemetry::server::{self, Listen};
use crate::thread::spawn;

/// How the program is supervised.
#[derive(Debug)]
pub(crate) struct Supervision<'a> {
    pub(crate) supervisor: supervisor::Settings,
    pub(crate) program: Program<'a>,
    /// Where to answer probes.
    pub(crate) listen: Listen,
    /// Set while SIGTERM and SIGINT end podcreds.
    pub(crate) exits_on_signals: &'a AtomicBool,
}

/// Runs the program with the variables of env files in the volume at `path`, and restarts it when they change. Returns the exit code
/// of the program once it has ended by itself or by a signal that podcreds received.
///
/// # Errors
/// Why the program was not started.
pub(crate) fn run(
    settings: &Settings<'_>,
    (path, timeout): (&Path, Duration),
    supervision: Supervision<'_>,
) -> Result<u8, Error> {
    let health = Arc::new(Health::new(Vec::new(), Duration::ZERO));
    health.status().program_starts = Some(0);
    server::start(supervision.listen, Arc::clone(&health))?;
    let publication = await_files(path, timeout, settings.files)?;
    let environment = settings.environment(&publication.files)?;
    let follower = Follower {
        path: path.to_owned(),
        files: settings.files.to_vec(),
        allow_none: settings.allow_none,
        fingerprint: publication.fingerprint,
    };
    drop(publication);
    supervise(supervision, &health, environment, |updates| spawn("volume", move || follower.run(&updates)))
}

/// Starts the program with these variables, and restarts it with those that the thread sends which `follow` starts.
fn supervise(
    supervision: Supervision<'_>,
    health: &Health,
    environment: Environment,
    follow: impl FnOnce(Updates) -> io::Result<JoinHandle<()>>,
) -> Result<u8, Error> {
    let Supervision { supervisor, program, exits_on_signals, .. } = supervision;
    let (updates, inbox) = supervisor::inbox().map_err(supervisor::Error::Setup)?;
    follow(updates).map_err(supervisor::Error::Setup)?;
    let on_change = |is_running: bool| health.status().set_program(is_running);
    supervisor::run(supervisor, &program, environment, &inbox, exits_on_signals, &on_change).map_err(
        |error| {
            match error {
                // The launcher has the arguments and the environment of the program.
                supervisor::Error::Start { cause, environment }
                    if Errno::from_io_error(&cause) == Some(Errno::TOOBIG) =>
                {
                    Error::from_exec(program.name, cause, &environment)
                }
                error => error.into(),
            }
        },
    )
}

/// Becomes the program, in a process that the supervisor has started for that.
///
/// # Errors
/// Why the program was not started.
pub(crate) fn launch(supervisor: &OsStr, program: &OsStr, arguments: &[OsString]) -> Result<(), Error> {
    let failed = launcher::launch(supervisor, program, arguments);
    failed.map_or(Ok(()), |cause| Err(Error::from_exec(program, cause, &Environment::default())))
}
