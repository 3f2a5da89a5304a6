//! The command line: what can be typed (`args`, `source`), what was (`typed`), what it means (`settings`), what is said about it (`logging`,
//! `failure`). The environment is read here and nowhere else.

mod access;
mod args;
mod deferred;
mod failure;
mod logging;
mod settings;
mod source;
mod typed;

use std::ffi::OsString;
use std::io::{self, Write};
use std::panic::Location;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::error::ErrorKind;
use log::{Level, error, info};
use rustix::fs::Mode;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::args::{Command, ExecArgs, InspectArgs};
use crate::cli::deferred::Deferred;
use crate::cli::failure::Failure;
use crate::commands::{self, exec};
use crate::kube;
use crate::log_object::log_object;
use crate::sidecar::{self, Exit};
use crate::sync;
use crate::telemetry::{Health, probe, server};

/// The exit code of a defect of ours.
pub const DEFECT: u8 = 1;
/// The exit code of wrong usage.
const USAGE: u8 = 2;

/// Runs the command that `args` (with the program's name first) and the environment ask for, and returns its exit code.
/// Takes over the process: its umask, its handling of SIGTERM and SIGINT, and its logger.
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let args: Vec<_> = args.into_iter().collect();
    let last_words = typed::termination_log(&args);
    let args = match typed::parse(&args) {
        Ok(args) => args,
        Err(error) => return usage(&error, &args, &last_words),
    };
    logging::start(args.log_level, args.log_format, std::env::var("RUST_LOG").ok().as_deref());
    // Whatever umask the container's runtime gave us: the volume sets each mode itself, and `install` makes folders for
    // everybody. A credential plugin inherits it, and what that keeps for later is for its user alone. So does what exec
    // becomes, which is to find what we were given.
    match args.command {
        Command::Exec(_) => {}
        Command::Install(_) => drop(rustix::process::umask(Mode::empty())),
        _ => drop(rustix::process::umask(Mode::RWXG | Mode::RWXO)),
    }
    // A probe runs in the sidecar's container, whose last words are not its to write.
    let is_probe = matches!(args.command, Command::Probe(_));
    match execute(args.command, &last_words) {
        Ok(code) => code,
        Err(failure) => {
            let message = failure.to_string();
            if is_probe {
                // Without the time of a log line, so that the kubelet takes each failure for the same.
                let _ = writeln!(io::stderr(), "{message}");
            } else {
                match failure.object() {
                    Some(object) => log_object!(Level::Error, object, "{message}"),
                    None => error!("{message}"),
                }
                failure::write_termination_log(&last_words, &message);
            }
            failure.exit_code()
        }
    }
}

/// Runs a command and returns the exit code of its success.
fn execute(command: Command, last_words: &Path) -> Result<u8, Failure> {
    match command {
        Command::Init(Deferred(init)) => {
            end_on_signals(|signal| 128 + signal)?;
            let (settings, found) = settings::of(&init.source)?;
            commands::init::run(&settings, &found.clusters, &init.target.volume, init.target.init_grace())?;
        }
        Command::Sidecar(Deferred(sidecar)) => {
            // For a sidecar, being told to end is the right end: a Job whose containers end so has succeeded.
            end_on_signals(|_| 0)?;
            let (settings, clusters) = settings::of_sidecar(&sidecar)?;
            let health = Arc::new(Health::new(settings::health(&clusters)));
            server::start(sidecar.listen.listen, Arc::clone(&health))?;
            let Exit { code, reason } = sidecar::run(settings, clusters, &health)?;
            let message = format!("{reason}; exiting with code {code} (--exit-on-change)");
            info!("{message}");
            failure::write_termination_log(last_words, &message);
            return Ok(code);
        }
        Command::Probe(Deferred(args)) => probe::check_ready(args.listen.listen, args.timeout)?,
        Command::Exec(Deferred(args)) => {
            // A handler would undo that whoever started us ignores a signal, which CMD is to inherit. Any other process than
            // the first of a container ends without.
            if rustix::process::getpid().is_init() {
                end_on_signals(|signal| 128 + signal)?;
            }
            exec(&args)?;
        }
        // It is done in milliseconds, so that no signal has to end it half-way.
        Command::Install(Deferred(install)) => commands::install::run(&install.path)?,
        Command::Render(Deferred(render)) => {
            end_on_signals(|signal| 128 + signal)?;
            let (settings, found) = settings::of(&render.source)?;
            // Somebody looks on.
            let settings = sync::Settings { gives_up: kube::Error::wants_a_person, ..settings };
            commands::render::run(&settings, &found.clusters, render.reveal, &mut io::stdout().lock())?;
        }
        Command::Inspect(Deferred(args)) => {
            end_on_signals(|signal| 128 + signal)?;
            inspect(args)?;
        }
    }
    Ok(0)
}

fn inspect(args: InspectArgs) -> Result<(), Failure> {
    let (inquiry, clusters) = settings::of_inspect(args)?;
    Ok(commands::inspect::run(&inquiry, &clusters, &mut io::stdout().lock())?)
}

fn exec(args: &ExecArgs) -> Result<(), Failure> {
    let ExecArgs { volume, env_files, render, source, command } = args;
    let become_command = |from| {
        let settings = exec::Settings { source: from, files: env_files, allow_none: source.allow_none };
        match exec::run(&settings, command)? {}
    };
    if *render {
        let (settings, found) = settings::of(source)?;
        become_command(exec::Source::Rendered { settings: &settings, clusters: &found.clusters })
    } else {
        become_command(exec::Source::Volume { path: volume, timeout: source.timeout })
    }
}

/// Ends the process at once on SIGTERM and SIGINT, with the exit code for that signal. The kernel does not do that for
/// PID 1. Nothing has to be cleared up: a volume is whole at every instruction.
fn end_on_signals(code: fn(i32) -> i32) -> Result<(), Failure> {
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register_conditional_shutdown(
            signal,
            code(signal),
            Arc::new(AtomicBool::new(true)),
        )
        .map_err(Failure::Signals)?;
    }
    Ok(())
}

/// What clap has to say: an error, or the help or version that was asked for.
fn usage(error: &clap::Error, args: &[OsString], last_words: &Path) -> u8 {
    let _ = error.print();
    if !error.use_stderr() {
        return 0;
    }
    let mut message = error.to_string();
    if let Some(variable) = typed::variable_of(error, args) {
        let note = format!("The value comes from the environment variable {}.", variable.display());
        let _ = writeln!(io::stderr(), "{note}");
        message = format!("{}\n{note}", message.trim_end());
    }
    let is_exec = args.iter().any(|arg| arg == "exec") && !args.iter().any(|arg| arg == "--");
    if is_exec && matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::MissingRequiredArgument) {
        let note = "Write -- before the program: podcreds exec -- PROGRAM ARGUMENTS";
        let _ = writeln!(io::stderr(), "{note}");
        message = format!("{}\n{note}", message.trim_end());
    }
    failure::write_termination_log(last_words, &message);
    USAGE
}

/// Says where a panic happened, and not with what.
pub fn report_defect(location: Option<&Location<'_>>) {
    let place = location.map(ToString::to_string).unwrap_or_default();
    let message = format!("podcreds has a defect at {place}: please report it with this line");
    let _ = writeln!(io::stderr(), "{message}");
    let args: Vec<_> = std::env::args_os().collect();
    failure::write_termination_log(&typed::termination_log(&args), &message);
}
