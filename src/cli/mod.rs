//! The command line. `args` and `source_args` define the flags, `raw_args` reads them, `settings` and `cluster_access` turn
//! them into validated settings, `logging` sets up the log, `exit` and `remedy` report how a run ended.
//!
//! The environment is read here and nowhere else.

mod args;
mod cluster_access;
mod exit;
mod logging;
mod raw_args;
mod remedy;
mod settings;
mod source_args;

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

use crate::cli::args::{Command, ExecArgs};
use crate::cli::exit::Error;
use crate::commands;
use crate::commands::exec;
use crate::kube::log_object;
use crate::sidecar::Exit;

/// The exit code of a bug in podcreds.
pub const EXIT_BUG: u8 = exit::BUG;

/// Runs the command that `args` (with the program's name first) and the environment ask for, and returns its exit code.
/// Takes over the process: its umask, its handling of SIGTERM and SIGINT, and its logger.
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let args: Vec<_> = args.into_iter().collect();
    let termination_log = raw_args::termination_log(&args);
    let args = match raw_args::parse(&args) {
        Ok(args) => args,
        Err(error) => return report_usage(&error, &args, &termination_log),
    };
    logging::start(args.log_level, args.log_format, std::env::var("RUST_LOG").ok().as_deref());
    set_umask(&args.command);
    // A probe runs in the sidecar's container, whose termination log belongs to the sidecar.
    let is_probe = matches!(args.command, Command::Probe(_));
    match execute(args.command, &termination_log) {
        Ok(code) => code,
        Err(error) => {
            let message = remedy::message(&error);
            if is_probe {
                // Without the timestamp of a log line, so that the kubelet's Events of repeated failures are the same text.
                let _ = writeln!(io::stderr(), "{message}");
            } else {
                match error.object() {
                    Some(object) => log_object!(Level::Error, object, "{message}"),
                    None => error!("{message}"),
                }
                exit::write_termination_log(&termination_log, &message);
            }
            error.exit_code()
        }
    }
}

/// Makes file modes independent of the container runtime's umask: the volume sets the mode of each file itself, and
/// `install` creates directories that every user can read. Exec plugins inherit the umask, so that what they cache is
/// readable by their user alone. `exec` leaves it to CMD as it was.
fn set_umask(command: &Command) {
    match command {
        Command::Exec(_) => {}
        Command::Install(_) => drop(rustix::process::umask(Mode::empty())),
        _ => drop(rustix::process::umask(Mode::RWXG | Mode::RWXO)),
    }
}

/// Runs a command and returns the exit code of its success.
fn execute(command: Command, termination_log: &Path) -> Result<u8, Error> {
    match command {
        Command::Init(args) => {
            exit_on_signals(|signal| 128 + signal)?;
            let (settings, access) = settings::from_source_args(&args.source)?;
            commands::init::run(&settings, &access.clusters, &args.volume.volume, args.volume.init_grace())?;
        }
        Command::Sidecar(args) => {
            // A sidecar that is terminated has succeeded: with 0, a Job whose other containers succeeded completes.
            exit_on_signals(|_| 0)?;
            let (settings, clusters) = settings::for_sidecar(&args)?;
            let Exit { code, reason } = commands::sidecar::run(settings, clusters, args.listen.listen)?;
            let message = format!("{reason}; exiting with code {code} (--exit-on-change)");
            info!("{message}");
            exit::write_termination_log(termination_log, &message);
            return Ok(code);
        }
        Command::Probe(args) => commands::probe::run(args.listen.listen, args.timeout)?,
        Command::Exec(args) => {
            // Installing a handler would reset an inherited SIG_IGN, which CMD must keep. Only PID 1 needs one: the kernel
            // terminates every other process by itself.
            if rustix::process::getpid().is_init() {
                exit_on_signals(|signal| 128 + signal)?;
            }
            exec_command(&args)?;
        }
        // No handlers: it takes milliseconds, and a signal must not end it half-way.
        Command::Install(args) => commands::install::run(&args.path)?,
        Command::Render(args) => {
            exit_on_signals(|signal| 128 + signal)?;
            let (settings, access) = settings::for_render(&args.source)?;
            commands::render::run(&settings, &access.clusters, args.reveal, &mut io::stdout().lock())?;
        }
        Command::Inspect(args) => {
            exit_on_signals(|signal| 128 + signal)?;
            let (command, clusters) = settings::for_inspect(args)?;
            commands::inspect::run(&command, &clusters, &mut io::stdout().lock())?;
        }
    }
    Ok(0)
}

fn exec_command(args: &ExecArgs) -> Result<(), Error> {
    let ExecArgs { volume, env_files, render, source, command } = args;
    let run = |from| {
        let settings = exec::Settings { source: from, files: env_files, allow_none: source.allow_none };
        match exec::run(&settings, command)? {}
    };
    if *render {
        let (settings, access) = settings::from_source_args(source)?;
        run(exec::Source::Rendered { settings: &settings, clusters: &access.clusters })
    } else {
        run(exec::Source::Volume { path: volume, timeout: source.timeout })
    }
}

/// Exits at once on SIGTERM and SIGINT, with the exit code for that signal. The kernel does not terminate PID 1 by itself.
/// Nothing has to be cleaned up: a volume is consistent at every instruction.
fn exit_on_signals(code: fn(i32) -> i32) -> Result<(), Error> {
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register_conditional_shutdown(
            signal,
            code(signal),
            Arc::new(AtomicBool::new(true)),
        )
        .map_err(Error::Signals)?;
    }
    Ok(())
}

/// Prints what clap returns instead of arguments: a usage error, or the requested help or version.
fn report_usage(error: &clap::Error, args: &[OsString], termination_log: &Path) -> u8 {
    let _ = error.print();
    if !error.use_stderr() {
        return 0;
    }
    let mut message = error.to_string();
    let mut note = |note: &str| {
        let _ = writeln!(io::stderr(), "{note}");
        message = format!("{}\n{note}", message.trim_end());
    };
    if let Some(variable) = raw_args::variable_of(error, args) {
        note(&format!("The value comes from the environment variable {}.", variable.display()));
    }
    let is_exec = args.iter().any(|arg| arg == "exec") && !args.iter().any(|arg| arg == "--");
    if is_exec && matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::MissingRequiredArgument) {
        note("Write -- before the program: podcreds exec -- PROGRAM ARGUMENTS");
    }
    exit::write_termination_log(termination_log, &message);
    exit::USAGE
}

/// Reports where a panic happened, without its message, which could contain a value.
pub fn report_panic(location: Option<&Location<'_>>) {
    let place = location.map(ToString::to_string).unwrap_or_default();
    let message = format!("internal error at {place} (a bug in podcreds); please report this line");
    let _ = writeln!(io::stderr(), "{message}");
    let args: Vec<_> = std::env::args_os().collect();
    exit::write_termination_log(&raw_args::termination_log(&args), &message);
}
