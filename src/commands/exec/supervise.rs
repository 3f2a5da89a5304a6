//! `podcreds exec --restart-on-change`: connects the supervisor with the volume or the sources, and with the HTTP server for probes.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::Builder;
use std::time::Duration;

use rustix::io::Errno;

use crate::commands::exec::follow::Follower;
use crate::commands::exec::watch::Watcher;
use crate::commands::exec::{Error, Settings, Source, await_files, render};
use crate::env_file::Environment;
use crate::supervisor::{self, Program, Updates, launcher};
use crate::telemetry::Health;
use crate::telemetry::server::{self, Listen};

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

/// Runs the program with the variables of env files, and restarts it when they change. Returns the exit code of the program once it has
/// ended by itself or by a signal that podcreds received.
///
/// # Errors
/// Why the program was not started.
pub(crate) fn run(settings: &Settings<'_>, supervision: Supervision<'_>) -> Result<u8, Error> {
    let Supervision { supervisor, program, listen, exits_on_signals } = supervision;
    let health = Arc::new(Health::new(Vec::new(), Duration::ZERO));
    health.status().program_starts = Some(0);
    server::start(listen, Arc::clone(&health))?;
    let (environment, follow) = first(settings)?;
    let (updates, inbox) = supervisor::inbox().map_err(supervisor::Error::Setup)?;
    // With the default stack: elsewhere, rendering runs on the main thread.
    let follower = Builder::new().name("follow".to_owned());
    follower.spawn(move || follow(updates)).map_err(supervisor::Error::Setup)?;
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

/// Sends the variables after each change. Runs on a thread of its own.
type Follow = Box<dyn FnOnce(Updates) + Send>;

/// Waits for the first variables. Returns them, and what follows their changes.
fn first(settings: &Settings<'_>) -> Result<(Environment, Follow), Error> {
    let selected = settings.files.to_vec();
    Ok(match &settings.source {
        Source::Volume { path, timeout } => {
            let publication = await_files(path, *timeout, &selected)?;
            let environment = settings.environment(&publication.files)?;
            let follower = Follower {
                path: path.to_path_buf(),
                files: selected,
                allow_none: settings.allow_none,
                fingerprint: Some(publication.fingerprint),
            };
            (environment, Box::new(move |updates| follower.run(&updates)))
        }
        Source::Rendered { settings: watched, clusters } => {
            let files = render(&watched.sync, clusters, &selected)?;
            let environment = settings.environment(&files)?;
            let (settings, clusters) = ((*watched).clone(), Arc::clone(clusters));
            let watcher = Watcher { settings, clusters, selected, files };
            (environment, Box::new(move |updates| watcher.run(updates)))
        }
    })
}

/// Becomes the program, in a process that the supervisor has started for that.
///
/// # Errors
/// Why the program was not started.
pub(crate) fn launch(supervisor: &OsStr, program: &OsStr, arguments: &[OsString]) -> Result<(), Error> {
    let failed = launcher::launch(supervisor, program, arguments);
    failed.map_or(Ok(()), |cause| Err(Error::from_exec(program, cause, &Environment::default())))
}
