//! The command line. `args` and `cluster_access` define the flags, `settings` turns them into validated settings, `logging` sets up
//! the log, `exit` reports how a run ended. This module also reads the raw arguments and environment, for what it
//! needs even if clap rejects the command line.
//!
//! The environment is read here and nowhere else.

mod args;
mod check;
mod cluster_access;
mod exit;
mod logging;
mod settings;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};
use log::{Level, error, info, warn};
use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::args::{
    Args, Command, ExecArgs, LogFormat, RestartArgs, TERMINATION_LOG, TERMINATION_LOG_VARIABLE,
};
use crate::cli::exit::Error;
use crate::commands::exec::supervise::{self, Supervision};
use crate::commands::probe::Changes;
use crate::commands::{self, exec, render};
use crate::descriptors;
use crate::inspect::Target;
use crate::kube::log_object;
use crate::sidecar::Exit;
use crate::supervisor::{Program, launcher};
use crate::text::Printable;

/// The exit code of a bug in podcreds.
pub const EXIT_BUG: u8 = exit::BUG;

/// How the supervisor asks its launcher for JSON lines.
const JSON: &str = "json";

/// Runs the command that `args` (with the program's name first) and the environment ask for, and returns its exit code.
/// Sets up the process: whether it is dumpable, its umask, its handling of SIGTERM and SIGINT, and its logger.
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let args = as_typed(args.into_iter().collect());
    // A process that is not dumpable leaves no core, not even in a program (`core_pattern`), which `RLIMIT_CORE` would not prevent.
    // Other processes of the same user cannot open its memory, environment, files and root in /proc. execve(2) resets this, so a
    // program that `exec` or a kubeconfig starts is as dumpable as any other.
    let dumpable = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    if let [_, first, settings @ ..] = args.as_slice()
        && first == launcher::ARGUMENT
    {
        return launch(settings);
    }
    let termination_log = termination_log(&args);
    let misplaced = RestartArgs::DEPENDENT.into_iter().find(|flag| {
        let is_flag = |arg: &OsString| arg.to_str().is_some_and(|arg| arg.split('=').next() == Some(flag));
        our_args(&args).iter().any(is_flag)
    });
    let args = match Args::try_parse_from(&args) {
        Ok(args) => args,
        Err(error) => return report_usage(&error, &args, termination_log.as_deref()),
    };
    logging::start(args.log_level, args.log_format, std::env::var("RUST_LOG").ok().as_deref());
    if let Err(errno) = dumpable {
        warn!("cannot protect the memory of this process ({errno}): disable core dumps on the node");
    }
    set_umask(&args.command);
    let is_probe = matches!(args.command, Command::Probe(_) | Command::Status(_));
    let context =
        Context { log_format: args.log_format, misplaced, termination_log: termination_log.as_deref() };
    match execute(args.command, &context) {
        Ok(code) => code,
        Err(error) => {
            let message = exit::message(&error);
            if is_probe {
                // Without the timestamp of a log line, so that the kubelet's Events of repeated failures are the same text.
                let _ = writeln!(io::stderr(), "{}", Printable(&message));
            } else {
                match error.object() {
                    Some(object) => log_object!(Level::Error, object, "{message}"),
                    None => error!("{message}"),
                }
                exit::write_termination_log(termination_log.as_deref(), &message);
            }
            error.exit_code()
        }
    }
}

/// Names the program as the user did: kubectl runs the file `kubectl-podcreds` for `kubectl podcreds`. clap takes the name in the
/// usage text from the first argument.
/// <https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/>
fn as_typed(mut args: Vec<OsString>) -> Vec<OsString> {
    if let Some(program) = args.first_mut()
        && Path::new(program).file_name() == Some(OsStr::new("kubectl-podcreds"))
    {
        *program = "kubectl podcreds".into();
    }
    args
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

/// What some commands need to know besides their own flags.
struct Context<'a> {
    log_format: LogFormat,
    /// A flag that was passed and requires `--restart-on-change`. Its variable may be meant for other commands.
    misplaced: Option<&'static str>,
    termination_log: Option<&'a Path>,
}

/// Runs a command and returns the exit code of its success.
fn execute(command: Command, context: &Context<'_>) -> Result<u8, Error> {
    match command {
        Command::Init(args) => {
            exit_on_signals(|signal| 128 + signal)?;
            descriptors::raise_limit();
            let (settings, access) = settings::from_source_args(&args.source)?;
            let events = settings::event_target(&args.events, &args.source, &settings)?;
            let volume = (&*args.volume.volume, args.volume.init_grace());
            commands::init::run(settings, access.clusters, volume, events)?;
        }
        Command::Sidecar(args) => {
            // A sidecar that is terminated has succeeded: with 0, a Job whose other containers succeeded completes.
            exit_on_signals(|_| 0)?;
            descriptors::raise_limit();
            let (settings, clusters) = settings::for_sidecar(&args)?;
            let volume = (&*args.volume.volume, args.volume.sidecar_grace());
            let Exit { code, reason } =
                commands::sidecar::run(settings, volume, clusters, args.listen.listen)?;
            let message = format!("{reason}; exiting with code {code} (--exit-on-change)");
            info!("{message}");
            exit::write_termination_log(context.termination_log, &message);
            return Ok(code);
        }
        Command::Exec(args) => return run_exec(&args, context),
        Command::Probe(args) if args.changed_since_start => {
            let host = rustix::system::uname();
            let pod = args.pod.filter(|pod| !pod.is_empty());
            commands::probe::check_unchanged(&Changes {
                volume: &args.volume,
                files: &args.files,
                splay: args.splay,
                pod: &pod.unwrap_or_else(|| host.nodename().to_string_lossy().into_owned()),
            })?;
        }
        Command::Probe(args) => commands::probe::check_ready(args.listen.listen, args.timeout)?,
        Command::Status(args) => {
            let text = commands::status::run(args.listen.listen, args.output == "table", args.timeout)?;
            commands::inspect::print(&text, &mut io::stdout().lock())?;
        }
        // No handlers: it takes milliseconds, and a signal must not end it half-way.
        Command::Install(args) => commands::install::run(&args.path)?,
        Command::Render(args) => {
            exit_on_signals(|signal| 128 + signal)?;
            let (command, clusters) = settings::for_render(args)?;
            match (render::run(command, clusters.as_ref().ok(), &mut io::stdout().lock()), clusters) {
                (Err(render::Error::NoCluster), Err(not_configured)) => return Err(not_configured),
                (result, _) => result?,
            }
        }
        Command::Check(args) => {
            exit_on_signals(|signal| 128 + signal)?;
            return Ok(commands::check::run(check::settings(args)?, &mut io::stdout().lock())?);
        }
        Command::Inspect(args) => {
            exit_on_signals(|signal| 128 + signal)?;
            let (command, clusters) = settings::for_inspect(args)?;
            commands::inspect::run(&command, &clusters, &mut io::stdout().lock())?;
        }
        Command::Inject(args) => {
            exit_on_signals(|signal| 128 + signal)?;
            let (files, options) = settings::for_inject(args)?;
            commands::inject::run(&files, &options, &mut io::stdout().lock())?;
        }
        Command::Rbac(args) => {
            exit_on_signals(|signal| 128 + signal)?;
            let (command, clusters) = settings::for_rbac(args)?;
            commands::rbac::run(&command, clusters.as_ref(), &mut io::stdout().lock())?;
        }
    }
    Ok(0)
}

/// Replaces this process with CMD, or supervises it and returns its exit code.
fn run_exec(args: &ExecArgs, context: &Context<'_>) -> Result<u8, Error> {
    let ExecArgs { volume, env_files, render, restart, source, command } = args;
    if let Some(flag) = context.misplaced.filter(|_| !restart.restart_on_change) {
        return Err(Error::Setting(format!(
            "{flag} has no effect without --restart-on-change: pass both, or neither"
        )));
    }
    let exits_on_signals = Arc::new(AtomicBool::new(true));
    // Installing a handler would reset an inherited SIG_IGN, which CMD must keep. Only PID 1 needs one: the kernel terminates every
    // other process by itself.
    if rustix::process::getpid().is_init() {
        exit_on_signals_while(&exits_on_signals, |signal| 128 + signal)?;
    }
    let rendered = if *render { Some(settings::for_rendered_exec(source, restart)?) } else { None };
    let from = match &rendered {
        Some((settings, clusters)) => exec::Source::Rendered { settings, clusters },
        None => exec::Source::Volume { path: volume, timeout: source.timeout },
    };
    let settings = exec::Settings { source: from, files: env_files, allow_none: source.allow_none };
    if !restart.restart_on_change {
        match exec::run(&settings, command)? {}
    }
    let [name, arguments @ ..] = command.as_slice() else { return Err(exec::Error::NoCommand.into()) };
    let launcher = [
        launcher::ARGUMENT.into(),
        if matches!(context.log_format, LogFormat::Json) { JSON.into() } else { OsString::new() },
        log::max_level().as_str().to_ascii_lowercase().into(),
        context.termination_log.map_or_else(OsString::new, |path| path.as_os_str().to_owned()),
    ];
    let supervision = Supervision {
        supervisor: settings::for_supervisor(source, restart),
        program: Program { launcher: launcher.into(), name, arguments },
        listen: restart.listen,
        exits_on_signals: &exits_on_signals,
    };
    Ok(supervise::run(&settings, supervision)?)
}

/// Becomes the program of a supervisor, which has passed these settings. Reports a failure as the supervisor would.
fn launch(settings: &[OsString]) -> u8 {
    let [format, level, termination_log, supervisor, name, arguments @ ..] = settings else {
        return exit::USAGE;
    };
    let format = if format == JSON { LogFormat::Json } else { LogFormat::Text };
    logging::start(level.to_str().and_then(|level| level.parse().ok()), format, None);
    let Err(error) = supervise::launch(supervisor, name, arguments) else { return exit::BUG };
    let error = Error::from(error);
    let message = exit::message(&error);
    error!("{message}");
    exit::write_termination_log(Some(Path::new(termination_log)), &message);
    error.exit_code()
}

/// Exits at once on SIGTERM and SIGINT, with the exit code for that signal. The kernel does not terminate PID 1 by itself.
/// Nothing has to be cleaned up: a volume is consistent at every instruction.
fn exit_on_signals(code: fn(i32) -> i32) -> Result<(), Error> {
    exit_on_signals_while(&Arc::new(AtomicBool::new(true)), code)
}

/// [`exit_on_signals`] while the condition is set.
fn exit_on_signals_while(condition: &Arc<AtomicBool>, code: fn(i32) -> i32) -> Result<(), Error> {
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register_conditional_shutdown(signal, code(signal), Arc::clone(condition))
            .map_err(Error::Signals)?;
    }
    Ok(())
}

/// Prints what clap returns instead of arguments: a usage error, or the requested help or version.
fn report_usage(error: &clap::Error, args: &[OsString], termination_log: Option<&Path>) -> u8 {
    if !error.use_stderr() {
        let _ = error.print();
        return 0;
    }
    let mut message = error.to_string();
    // The message repeats arguments and variables, which clap would print as they are.
    let _ = write!(io::stderr(), "{}", Printable(&message));
    let mut note = |note: &str| {
        let _ = writeln!(io::stderr(), "{note}");
        message = format!("{}\n{note}", message.trim_end());
    };
    if let Some(variable) = variable_of(error, args) {
        note(&format!("The value comes from the environment variable {}.", variable.display()));
    }
    if let Some(target) = kind_and_name(error, args) {
        note(&format!("Write KIND/NAME as one argument: {target}"));
    }
    let is_exec = is_command(args, "exec") && !args.iter().any(|arg| arg == "--");
    if is_exec && matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::MissingRequiredArgument) {
        note("Write -- before the program: podcreds exec -- PROGRAM ARGUMENTS");
    }
    exit::write_termination_log(termination_log, &message);
    exit::USAGE
}

/// `KIND/NAME` if they are two arguments, which kubectl accepts too.
fn kind_and_name(error: &clap::Error, args: &[OsString]) -> Option<String> {
    let ContextValue::String(name) = error.get(ContextKind::InvalidArg)? else { return None };
    let target = |pair: &[OsString]| {
        let [kind, next] = pair else { return None };
        let target = format!("{}/{name}", kind.to_str()?);
        (next == name.as_str() && Target::parse(&target).is_ok()).then_some(target)
    };
    our_args(args).windows(2).find_map(target)
}

/// Reports where a panic happened, without its message, which could contain a value.
pub fn report_panic(location: Option<&Location<'_>>) {
    let place = location.map(ToString::to_string).unwrap_or_default();
    let message = format!("internal error at {place} (a bug in podcreds); please report this line");
    let _ = writeln!(io::stderr(), "{message}");
    let args: Vec<_> = std::env::args_os().collect();
    exit::write_termination_log(termination_log(&args).as_deref(), &message);
}

/// The path of the termination log. Found before the arguments are parsed, because a usage error is written there too. `None` means
/// `probe` or `status`: they run in the sidecar's container, whose termination log belongs to the sidecar.
fn termination_log(args: &[OsString]) -> Option<PathBuf> {
    const FLAG: &str = "--termination-log";
    if ["probe", "status"].into_iter().any(|name| is_command(args, name)) {
        return None;
    }
    let args = our_args(args);
    let inline = |arg: &OsString| arg.to_str()?.strip_prefix(FLAG)?.strip_prefix('=').map(PathBuf::from);
    let next = args.iter().position(|arg| arg == FLAG).and_then(|at| args.get(at + 1)).map(PathBuf::from);
    let variable =
        || std::env::var_os(TERMINATION_LOG_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    next.or_else(|| args.iter().find_map(inline)).or_else(variable).or_else(|| Some(TERMINATION_LOG.into()))
}

/// Whether `name` is the command: the first argument that is the name of a command. The arguments may be invalid.
fn is_command(args: &[OsString], name: &str) -> bool {
    let args = our_args(args);
    // Building the description of all commands would slow down each start.
    args.iter().any(|arg| arg == name) && {
        let commands = Args::command();
        args.iter().skip(1).find(|arg| commands.find_subcommand(arg).is_some()).is_some_and(|arg| arg == name)
    }
}

/// The arguments before `--`; those after it belong to another program.
fn our_args(args: &[OsString]) -> &[OsString] {
    args.split(|arg| arg == "--").next().unwrap_or_default()
}

/// The variable that an invalid value came from; `None` means that it was passed as an argument.
fn variable_of(error: &clap::Error, args: &[OsString]) -> Option<OsString> {
    let ContextValue::String(flag) = error.get(ContextKind::InvalidArg)? else { return None };
    let long = flag.split([' ', '=']).next()?;
    let mut command = Args::command();
    command.build();
    // Flags of two commands can have the same name: --timeout of probe has a variable of its own.
    let is_named = |command: &&clap::Command| args.iter().any(|arg| arg == command.get_name());
    let own = command.get_subcommands().filter(is_named).flat_map(clap::Command::get_arguments);
    let mut flags = own.chain(command.get_arguments());
    let named = flags.find(|arg| arg.get_long().is_some_and(|name| long.strip_prefix("--") == Some(name)))?;
    let short = named.get_short().map(|short| format!("-{short}"));
    let matches = |arg: &str| {
        let is_short = |short: &String| arg.starts_with(short) && !arg.starts_with("--");
        arg.split('=').next() == Some(long) || short.as_ref().is_some_and(is_short)
    };
    let is_argument = our_args(args).iter().filter_map(|arg| arg.to_str()).any(matches);
    named.get_env().filter(|_| !is_argument).map(OsStr::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_of(args: &[&str]) -> Option<PathBuf> {
        termination_log(&args.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn an_invalid_value_comes_from_the_variable_of_its_command() {
        let variable_of_timeout = |command: &str| {
            let error = Args::try_parse_from(["podcreds", command, "--timeout", "x"]).unwrap_err();
            variable_of(&error, &["podcreds".into(), command.into()])
        };
        assert_eq!(variable_of_timeout("init"), Some("PODCREDS_TIMEOUT".into()));
        assert_eq!(variable_of_timeout("probe"), Some("PODCREDS_PROBE_TIMEOUT".into()));
    }

    #[test]
    fn the_usage_text_of_the_kubectl_plugin_names_kubectl() {
        let usage = |program: &str| {
            let args = as_typed(vec![program.into(), "inspect".into(), "--wrong".into()]);
            let error = Args::try_parse_from(args).unwrap_err().to_string();
            error.lines().find_map(|line| line.strip_prefix("Usage: ")).unwrap().to_owned()
        };
        let plugin = usage("/root/.krew/bin/kubectl-podcreds");
        assert!(plugin.starts_with("kubectl podcreds inspect "), "{plugin}");
        let program = usage("/bin/podcreds");
        assert!(program.starts_with("podcreds inspect "), "{program}");
    }

    #[test]
    fn a_kind_and_a_name_belong_into_one_argument() {
        let hint = |args: &[&str]| {
            let error = Args::try_parse_from(args).unwrap_err();
            kind_and_name(&error, &args.iter().map(OsString::from).collect::<Vec<_>>())
        };
        assert_eq!(
            hint(&["podcreds", "render", "-n", "app", "deploy", "app"]).as_deref(),
            Some("deploy/app")
        );
        assert_eq!(hint(&["podcreds", "inspect", "sts", "db", "-o", "json"]).as_deref(), Some("sts/db"));
        for other in [&["render", "app-0", "app-1"][..], &["render", "--no-such-flag"], &["init", "deploy"]] {
            assert_eq!(hint(&[&["podcreds"], other].concat()), None, "{other:?}");
        }
    }

    #[test]
    fn the_termination_log_is_found_in_invalid_arguments_too() {
        let default = Some(PathBuf::from(TERMINATION_LOG));
        assert_eq!(log_of(&["podcreds", "init", "--termination-log", "/a"]), Some("/a".into()));
        assert_eq!(log_of(&["podcreds", "--wrong", "--termination-log=/b", "x"]), Some("/b".into()));
        assert_eq!(log_of(&["podcreds", "init", "--termination-log"]), default);
        for after_dashes in [&["--termination-log=/c"][..], &["--termination-log", "/c"]] {
            let args = [&["podcreds", "exec", "--", "app"], after_dashes].concat();
            assert_eq!(log_of(&args), default);
        }
    }

    #[test]
    fn a_probe_has_no_termination_log_even_with_invalid_arguments() {
        for probe in [
            &["probe"][..],
            &["status"],
            &["probe", "--wrong"],
            &["--log-level", "x", "probe", "--timeout", "1"],
        ] {
            let termination_log = ["--termination-log", "/a"];
            assert_eq!(log_of(&[&["podcreds"], probe, &termination_log].concat()), None, "{probe:?}");
        }
        assert!(log_of(&["podcreds", "sidecar", "--pod", "probe"]).is_some());
        assert!(log_of(&["podcreds", "exec", "--", "probe"]).is_some());
    }
}
