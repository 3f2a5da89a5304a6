//! The commands and their flags, as clap parses them. Each flag has an environment variable; the flag wins.

mod check;
mod inject;
mod manifests;
mod readers;

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{BoolishValueParser, PossibleValuesParser, Resettable, TypedValueParser};
use clap::{Arg, ArgAction, Parser, Subcommand, ValueEnum};
use log::LevelFilter;

use crate::cli::cluster_access::SourceArgs;
use crate::duration::{duration, positive_duration, whole_seconds};
use crate::inspect::{Target, TargetError};
use crate::telemetry::server::Listen;

pub(crate) use check::CheckArgs;
pub(crate) use inject::InjectArgs;
pub(crate) use manifests::{ModeArg, RbacArgs};
pub(crate) use readers::{ExecArgs, ProbeArgs, RestartArgs, StatusArgs};

/// Where the volume is mounted.
const VOLUME: &str = "/podcreds";
/// Where the kubelet looks for a container's termination message.
pub(crate) const TERMINATION_LOG: &str = "/dev/termination-log";
pub(crate) const TERMINATION_LOG_VARIABLE: &str = "PODCREDS_TERMINATION_LOG";

/// Headings of the help.
const VOLUME_FLAGS: &str = "Volume";
const WATCHING: &str = "Watching";
const ROTATION: &str = "Rotation";
const REPORTING: &str = "Reporting";

const EXIT_CODES: &str = "Exit codes:
  0         success
  1         internal error (a bug in podcreds)
  2         invalid usage, annotations or configuration
  3         the API server denied access, or an object does not exist
  4         the API server is unreachable, the sidecar is not ready or does not answer, exec found no published files in time,
            or credentials have changed since the start of the container, with probe --changed-since-start
  5         the volume or the standard output cannot be written, or the volume cannot be read
  6 to 125  sidecar: credentials rotated, with --exit-on-change
  126, 127  exec: CMD cannot be started, CMD not found
            exec --restart-on-change: otherwise the exit code of CMD, or 128 and the number of the signal that ended it
  130, 143  terminated by SIGINT, SIGTERM; the sidecar exits with 0 instead";

/// Delivers database credentials to a pod as files.
#[derive(Debug, Parser)]
#[command(name = "podcreds", version, after_help = EXIT_CODES)]
#[command(mut_args(with_variable))]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Log level; overrides RUST_LOG [default: info]
    #[arg(
        long,
        value_parser = log_levels(),
        global = true,
        help_heading = "Logging",
        value_name = "LEVEL",
        env = "PODCREDS_LOG_LEVEL"
    )]
    pub(crate) log_level: Option<LevelFilter>,

    /// Log format: text, or one JSON object per line
    #[arg(
        long,
        global = true,
        help_heading = "Logging",
        value_enum,
        default_value_t,
        env = "PODCREDS_LOG_FORMAT"
    )]
    pub(crate) log_format: LogFormat,

    /// File to which the final message is also written, if the file exists
    // Declared only for the help text. `cli::termination_log` reads the flag before clap does, because usage errors are written
    // to the file too.
    #[arg(long = "termination-log", global = true, help_heading = "Logging", value_name = "FILE", default_value = TERMINATION_LOG, env = TERMINATION_LOG_VARIABLE)]
    pub(crate) _termination_log: PathBuf,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

// Deferred: clap describes the flags of the selected command only, and looks up only their variables. All commands together have
// over a hundred flags.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Write every credential once and exit: for an init container
    Init(InitArgs),
    /// Write every credential and keep it current: for a sidecar
    Sidecar(SidecarArgs),
    /// Print what init would write, with the values of Secrets hidden
    Render(RenderArgs),
    /// Report what would go wrong with a pod: in manifests, without a cluster, or in the cluster
    Check(CheckArgs),
    /// Check whether the sidecar in this container is ready, or whether credentials have changed: for an exec probe
    Probe(ProbeArgs),
    /// Show which version of each credential the sidecar in this pod serves, and what fails
    Status(StatusArgs),
    /// Run CMD with the variables of env files in its environment: for applications that read no files
    Exec(ExecArgs),
    /// Copy this binary into a volume, for containers whose image does not include it
    Install(InstallArgs),
    /// Show the objects a pod depends on, or the configured clusters, as far as RBAC permits
    Inspect(InspectArgs),
    /// Add podcreds to the pods in manifests: container, volume and mounts
    Inject(InjectArgs),
    /// Print the least Roles and RoleBindings that the annotations of manifests need, or check them
    Rbac(RbacArgs),
}

#[derive(Debug, clap::Args)]
#[command(mut_args(with_variable))]
#[command(mut_arg("grace", |arg| with_default(arg, "0s")))]
pub(crate) struct InitArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    #[command(flatten)]
    pub(crate) volume: VolumeArgs,

    #[command(flatten)]
    pub(crate) events: EventArgs,
}

#[derive(Debug, clap::Args)]
#[command(mut_args(with_variable))]
#[command(mut_arg("grace", |arg| with_default(arg, "10s")), mut_arg("listen", |arg| arg.help_heading(REPORTING)))]
pub(crate) struct SidecarArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    #[command(flatten)]
    pub(crate) volume: VolumeArgs,

    /// How to detect changes: watch the sources, or read them at intervals
    #[arg(long, value_enum, default_value_t, help_heading = WATCHING, env = "PODCREDS_SYNC")]
    pub(crate) sync: SyncBy,

    /// Interval at which sources that are not watched are read, plus or minus a tenth
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "1m",
        value_parser = positive_duration,
        help_heading = WATCHING, env = "PODCREDS_POLL_INTERVAL"
    )]
    pub(crate) poll_interval: Duration,

    /// Duration of one watch request; a connection that stays silent for longer is considered dead
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "5m",
        value_parser = whole_seconds,
        help_heading = WATCHING, env = "PODCREDS_WATCH_TIMEOUT"
    )]
    pub(crate) watch_timeout: Duration,

    /// Apply annotations that are edited after the start; requires permission to watch the pod
    #[arg(
        long,
        action = ArgAction::SetTrue,
        value_parser = BoolishValueParser::new(),
        help_heading = WATCHING, env = "PODCREDS_FOLLOW_ANNOTATIONS"
    )]
    pub(crate) follow_annotations: bool,

    /// What to do with a credential's files when its Secret, ConfigMap or Service is deleted
    #[arg(long, value_enum, default_value_t, help_heading = ROTATION, env = "PODCREDS_ON_DELETE")]
    pub(crate) on_delete: OnDeleteArg,

    /// How long a failure must last before the log and an Event report stale files
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "1m",
        value_parser = duration,
        help_heading = REPORTING, env = "PODCREDS_STALE_AFTER"
    )]
    pub(crate) stale_after: Duration,

    /// Warn in the log and with an Event this long before a certificate in the files expires, and again when it has expired
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "7d",
        value_parser = duration,
        help_heading = REPORTING, env = "PODCREDS_EXPIRY_WARNING"
    )]
    pub(crate) expiry_warning: Duration,

    #[command(flatten)]
    pub(crate) events: EventArgs,

    /// PEM file of certificate authorities for .on-change with https, in addition to those of the system
    #[arg(long, value_name = "FILE", help_heading = ROTATION, env = "PODCREDS_ON_CHANGE_CA")]
    pub(crate) on_change_ca: Option<PathBuf>,

    /// Exit with this code, 6 to 125, after a rotation, so that a container restart rule can restart the whole pod in place
    // Codes below 6 are podcreds' own; those above 125 are what shells and container runtimes use for commands that cannot
    // be started and for signals. With one of these, a restart rule could not tell a rotation from a failure.
    #[arg(
        long,
        value_name = "CODE",
        value_parser = clap::value_parser!(u8).range(6..=125),
        help_heading = ROTATION, env = "PODCREDS_EXIT_ON_CHANGE"
    )]
    pub(crate) exit_on_change: Option<u8>,

    /// Longest delay between new files and .on-change or --exit-on-change; each replica waits for a part of it
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "0s",
        value_parser = duration,
        help_heading = ROTATION, env = "PODCREDS_SPLAY"
    )]
    pub(crate) splay: Duration,

    #[command(flatten)]
    pub(crate) listen: ListenArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct EventArgs {
    /// Record Events for the pod, shown by `kubectl describe pod`; requires permission to create and patch events
    #[arg(
        long,
        action = ArgAction::SetTrue,
        value_parser = BoolishValueParser::new(),
        help_heading = REPORTING, env = "PODCREDS_EVENTS"
    )]
    pub(crate) events: bool,

    /// The pod's UID, for its Events [default: read from the API server]
    #[arg(long, value_name = "UID", help_heading = REPORTING, env = "POD_UID")]
    pub(crate) pod_uid: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListenArgs {
    /// Address and port of the sidecar's /healthz, /livez, /readyz, /metrics and /status, or off
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "[::]:8081",
        value_parser = Listen::parse, env = "PODCREDS_LISTEN"
    )]
    pub(crate) listen: Listen,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum SyncBy {
    #[default]
    Watch,
    Poll,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum OnDeleteArg {
    #[default]
    Keep,
    Clear,
}

// Where init and sidecar write. Not a doc comment: see `SourceArgs`.
#[derive(Debug, clap::Args)]
pub(crate) struct VolumeArgs {
    /// Directory to write to: a volume that the application mounts too
    #[arg(long, value_name = "DIR", default_value = VOLUME, help_heading = VOLUME_FLAGS, env = "PODCREDS_VOLUME")]
    pub(crate) volume: PathBuf,

    /// How long to keep the previous version of a directory for readers that still have it open
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = VOLUME_FLAGS, env = "PODCREDS_GRACE")]
    pub(crate) grace: Option<Duration>,
}

impl VolumeArgs {
    /// The sidecar publishes while applications read.
    pub(crate) fn sidecar_grace(&self) -> Duration {
        self.grace.unwrap_or(Duration::from_secs(10))
    }

    /// Init containers run before the application, even when the pod's sandbox is recreated, so no process still reads the
    /// old version, and the old password must not stay in the volume.
    pub(crate) fn init_grace(&self) -> Duration {
        self.grace.unwrap_or_default()
    }
}

#[derive(Debug, clap::Args)]
#[command(mut_args(with_variable))]
pub(crate) struct InstallArgs {
    /// Destination: a file, or a directory to create the file `podcreds` in; missing directories are created
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,
}

#[derive(Debug, clap::Args)]
#[command(mut_args(with_variable))]
pub(crate) struct RenderArgs {
    /// `NAME` of a pod, or `KIND/NAME` of a pod or of a workload whose pod template to read (deploy/app) [default: this pod]
    #[arg(value_name = "KIND/NAME", value_parser = Target::parse)]
    pub(crate) target: Option<Target>,

    /// Manifests with pod templates to read instead: files, directories, or - for the standard input; repeatable
    #[arg(
        long = "filename",
        short = 'f',
        value_name = "FILE",
        conflicts_with = "target",
        env = "PODCREDS_FILENAME"
    )]
    pub(crate) filenames: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// Print the values of Secrets; in a pod, they end up in its log
    #[arg(long, action = ArgAction::SetTrue, value_parser = BoolishValueParser::new(), env = "PODCREDS_REVEAL")]
    pub(crate) reveal: bool,
}

#[derive(Debug, clap::Args)]
#[command(mut_args(with_variable))]
// Hidden, because they have no effect; accepted, because a variable may be set for other commands.
#[command(mut_arg("annotations_file", |arg| arg.hide(true)), mut_arg("allow_none", |arg| arg.hide(true)))]
pub(crate) struct InspectArgs {
    /// `NAME` of a pod, `KIND/NAME` of a pod or of a workload that owns pods (deploy/app), or `clusters` [default: this pod]
    #[arg(value_name = "KIND/NAME", value_parser = InspectTarget::parse)]
    pub(crate) target: Option<InspectTarget>,

    /// Output format: tree, json or mermaid for objects, table or json for clusters [default: tree, or table for clusters]
    #[arg(long, short, value_enum, value_name = "FORMAT", env = "PODCREDS_OUTPUT")]
    pub(crate) output: Option<OutputArg>,

    /// Cluster in the clusters file to query; with `clusters`, can be repeated or be a comma-separated list [default: the local cluster, or all with `clusters`]
    #[arg(long = "cluster-id", value_name = "ID", value_delimiter = ',', env = "PODCREDS_CLUSTER_ID")]
    pub(crate) cluster_ids: Vec<String>,

    #[command(flatten)]
    pub(crate) source: SourceArgs,
}

/// What is inspected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InspectTarget {
    Clusters,
    Object(Target),
}

impl InspectTarget {
    /// `clusters` is never the name of a pod; `pod/clusters` names that pod.
    fn parse(text: &str) -> Result<Self, TargetError> {
        if text == "clusters" { Ok(Self::Clusters) } else { Target::parse(text).map(Self::Object) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputArg {
    Tree,
    Json,
    Mermaid,
    Table,
}

/// Ignores an empty variable, which is how manifests and charts leave a setting out, and hides the values of others in the help.
fn with_variable(arg: Arg) -> Arg {
    let is_empty = |name: &OsStr| env::var_os(name).is_some_and(|value| value.is_empty());
    let arg = if arg.get_env().is_some_and(is_empty) { arg.env(Resettable::Reset) } else { arg };
    arg.hide_env_values(true)
}

/// The help of a flag whose default differs between commands.
fn with_default(arg: Arg, default: &str) -> Arg {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    arg.help(format!("{help} [default: {default}]"))
}

fn log_levels() -> impl TypedValueParser<Value = LevelFilter> {
    let levels = PossibleValuesParser::new(["off", "error", "warn", "info", "debug"]);
    levels.map(|level| level.parse().unwrap_or(LevelFilter::Info))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    fn help(args: &[&str]) -> String {
        let shown = Args::command().try_get_matches_from([&["podcreds"], args].concat()).unwrap_err();
        assert_eq!(shown.exit_code(), 0, "{shown}");
        shown.to_string()
    }

    #[test]
    fn help_is_a_command_too() {
        assert_eq!(help(&["help", "sidecar"]), help(&["sidecar", "--help"]));
        assert_eq!(help(&["help"]), help(&["--help"]));
    }

    #[test]
    fn the_help_of_the_sidecar_groups_its_flags_by_subject() {
        let help = help(&["sidecar", "--help"]);
        let headings: Vec<_> =
            help.lines().filter(|line| line.ends_with(':') && !line.starts_with(' ')).collect();
        let expected = [
            "Options:",
            "Logging:",
            "Source:",
            "Clusters:",
            "Volume:",
            "Watching:",
            "Rotation:",
            "Reporting:",
        ];
        assert_eq!(headings, expected);
        let ungrouped = help.split("Options:\n").nth(1).unwrap().split("Logging:").next().unwrap();
        assert_eq!(ungrouped.matches("--").count(), 1, "{ungrouped}");
    }

    #[test]
    fn the_help_of_a_flag_speaks_of_its_own_command() {
        for (command, hints) in [
            ("init", &["with exec", "for sidecar"][..]),
            ("sidecar", &["with exec", "for init", "init, which"]),
            ("render", &["with exec"]),
            ("inspect", &["with exec", "--annotations-file", "--allow-none"]),
            ("check", &["with exec", "--annotations-file", "--allow-none"]),
        ] {
            let help = help(&[command, "--help"]);
            assert!(hints.iter().all(|hint| !help.contains(hint)), "{help}");
        }
        assert!(help(&["init", "-h"]).contains("still have it open [default: 0s]"));
        assert!(help(&["sidecar", "-h"]).contains("still have it open [default: 10s]"));
        assert!(help(&["exec", "-h"]).contains("Accept missing env files"));
    }

    #[test]
    fn the_flags_of_a_command_leave_its_description_alone() {
        let command = Args::command();
        let mut built = Args::command();
        built.build();
        let abouts = |command: &clap::Command| {
            // clap adds the command `help` when it builds the others.
            let own = command.get_subcommands().filter(|command| command.get_name() != "help");
            own.map(|command| command.get_about().map(ToString::to_string)).collect::<Vec<_>>()
        };
        assert_eq!(abouts(&built), abouts(&command));
    }

    #[test]
    fn every_flag_has_a_variable() {
        let mut args = Args::command();
        args.build();
        for command in args.get_subcommands() {
            let flags = command.get_arguments().filter(|arg| !arg.is_positional());
            for flag in flags.filter(|flag| !["help", "version"].contains(&flag.get_id().as_str())) {
                let variable = flag.get_env().and_then(|name| name.to_str());
                assert!(variable.is_some_and(|name| name.starts_with("POD")), "--{}", flag.get_id());
                assert!(
                    flag.is_hide_env_values_set(),
                    "{} prints the value of --{}",
                    command.get_name(),
                    flag.get_id()
                );
            }
        }
    }
}
