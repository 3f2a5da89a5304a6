//! What can be typed. Each flag has an environment variable; the flag wins.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{BoolishValueParser, PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use log::LevelFilter;

use crate::cli::deferred::Deferred;
use crate::cli::source::SourceArgs;
use crate::credential::{PathError, RelativePath};
use crate::duration::{duration, positive_duration, whole_seconds};
use crate::inspect::{Target, TargetError};
use crate::telemetry::server::Listen;

/// Where the volume is mounted.
const VOLUME: &str = "/podcreds";
/// Where the kubelet looks for a container's last words.
pub(crate) const TERMINATION_LOG: &str = "/dev/termination-log";
/// The environment variable that names another place.
pub(crate) const TERMINATION_LOG_VARIABLE: &str = "PODCREDS_TERMINATION_LOG";

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  a defect of podcreds
  2  wrong usage, annotations or configuration
  3  the API server refused, or has no such object
  4  the API server could not be reached in time, the sidecar is not ready, or exec found nothing written
  5  the volume could not be written or read
  6 to 125  sidecar: a rotation, with --exit-on-change
  126, 127  exec: CMD cannot be started, is not found
  130, 143  ended by SIGINT, SIGTERM; the sidecar ends with 0";

/// Delivers database credentials to a pod as files.
#[derive(Debug, Parser)]
#[command(name = "podcreds", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// How much is said; RUST_LOG is understood too [default: info]
    #[arg(
        long,
        value_parser = log_levels(),
        global = true,
        help_heading = "Messages",
        value_name = "LEVEL",
        env = "PODCREDS_LOG_LEVEL",
        hide_env_values = true
    )]
    pub(crate) log_level: Option<LevelFilter>,

    /// How it is said: a line for people, or a JSON object a line
    #[arg(
        long,
        global = true,
        help_heading = "Messages",
        value_enum,
        default_value_t,
        env = "PODCREDS_LOG_FORMAT",
        hide_env_values = true
    )]
    pub(crate) log_format: LogFormat,

    /// Where the last message of a failure goes too, if the file exists
    // Read by `typed::termination_log`, which understands it in wrong arguments too; here for the help.
    #[arg(long = "termination-log", global = true, help_heading = "Messages", value_name = "FILE", default_value = TERMINATION_LOG, env = TERMINATION_LOG_VARIABLE, hide_env_values = true)]
    pub(crate) _termination_log: PathBuf,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write every credential once and exit: an init container
    Init(Deferred<InitArgs>),
    /// Write every credential and keep them current: a sidecar
    Sidecar(Deferred<SidecarArgs>),
    /// Print what init would write, values hidden
    Render(Deferred<RenderArgs>),
    /// Ask the sidecar of this container whether it is ready: an exec probe
    Probe(Deferred<ProbeArgs>),
    /// Become CMD with the variables of env files in its environment: for applications that read no files
    Exec(Deferred<ExecArgs>),
    /// Copy this program into a volume, for an image that does not have it
    Install(Deferred<InstallArgs>),
    /// Show what a pod hangs on, or which clusters there are, as far as the rights reach
    Inspect(Deferred<InspectArgs>),
}

#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SidecarArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    #[command(flatten)]
    pub(crate) target: TargetArgs,

    /// How changes are noticed: by watches, or by reading everything now and then
    #[arg(long, value_enum, default_value_t, env = "PODCREDS_SYNC", hide_env_values = true)]
    pub(crate) sync: SyncBy,

    /// How often everything is read where it is not watched, a tenth more or less
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "1m",
        value_parser = positive_duration,
        env = "PODCREDS_POLL_INTERVAL",
        hide_env_values = true
    )]
    pub(crate) poll_interval: Duration,

    /// How long one watch lasts before the next; a line that is silent for longer is taken for dead
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "5m",
        value_parser = whole_seconds,
        env = "PODCREDS_WATCH_TIMEOUT",
        hide_env_values = true
    )]
    pub(crate) watch_timeout: Duration,

    /// Apply annotations that are edited after the start; needs the right to watch the pod
    #[arg(
        long,
        action = ArgAction::SetTrue,
        value_parser = BoolishValueParser::new(),
        env = "PODCREDS_FOLLOW_ANNOTATIONS",
        hide_env_values = true
    )]
    pub(crate) follow_annotations: bool,

    /// What becomes of the files of a Secret that is deleted
    #[arg(long, value_enum, default_value_t, env = "PODCREDS_ON_DELETE", hide_env_values = true)]
    pub(crate) on_delete: OnDeleteArg,

    /// How long something must fail until the log and an Event say that the files are stale
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "1m",
        value_parser = duration,
        env = "PODCREDS_STALE_AFTER",
        hide_env_values = true
    )]
    pub(crate) stale_after: Duration,

    /// Record Events for the pod, which `kubectl describe pod` shows; needs the right to create and patch events
    #[arg(
        long,
        action = ArgAction::SetTrue,
        value_parser = BoolishValueParser::new(),
        env = "PODCREDS_EVENTS",
        hide_env_values = true
    )]
    pub(crate) events: bool,

    /// The pod's uid, for its Events [default: the API server is asked]
    #[arg(long, value_name = "UID", env = "POD_UID", hide_env_values = true)]
    pub(crate) pod_uid: Option<String>,

    /// Exit with this code, 6 to 125, after a rotation: for a restart rule of the kubelet that restarts the whole pod in place
    // Below are our own exit codes, above those that shells and container runtimes report for commands that cannot be
    // started and for signals: with one of them, a rule could not tell a rotation from a failure.
    #[arg(
        long,
        value_name = "CODE",
        value_parser = clap::value_parser!(u8).range(6..=125),
        env = "PODCREDS_EXIT_ON_CHANGE",
        hide_env_values = true
    )]
    pub(crate) exit_on_change: Option<u8>,

    #[command(flatten)]
    pub(crate) listen: ListenArgs,
}

/// Where the sidecar says how it is.
#[derive(Debug, clap::Args)]
pub(crate) struct ListenArgs {
    /// Where /healthz, /readyz and /metrics are answered: an address with its port, or off
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "[::]:8081",
        value_parser = Listen::parse,
        env = "PODCREDS_LISTEN",
        hide_env_values = true
    )]
    pub(crate) listen: Listen,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ProbeArgs {
    #[command(flatten)]
    pub(crate) listen: ListenArgs,

    /// How long to wait for the answer
    // Not the variable of --timeout elsewhere: that bounds another thing, and both commands see one environment.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "2s",
        value_parser = positive_duration,
        env = "PODCREDS_PROBE_TIMEOUT",
        hide_env_values = true
    )]
    pub(crate) timeout: Duration,
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

/// Where the files go.
#[derive(Debug, clap::Args)]
pub(crate) struct TargetArgs {
    /// The directory to write: a volume that the application mounts too
    #[arg(
        long,
        value_name = "FOLDER",
        default_value = VOLUME,
        env = "PODCREDS_VOLUME",
        hide_env_values = true
    )]
    pub(crate) volume: PathBuf,

    /// How long the previous version of a directory is kept for readers that are still in it [default: 10s for sidecar; 0s for init, which runs before there are readers]
    #[arg(long, value_name = "DURATION", value_parser = duration, env = "PODCREDS_GRACE", hide_env_values = true)]
    pub(crate) grace: Option<Duration>,
}

impl TargetArgs {
    /// The grace of a sidecar, beside which applications read.
    pub(crate) fn sidecar_grace(&self) -> Duration {
        self.grace.unwrap_or(Duration::from_secs(10))
    }

    /// The grace of an init container: it runs before the application, also when the pod's sandbox was restarted, and the
    /// old password must not stay in the volume.
    pub(crate) fn init_grace(&self) -> Duration {
        self.grace.unwrap_or_default()
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct ExecArgs {
    /// The directory to read: a volume that podcreds init or sidecar writes
    #[arg(long, value_name = "FOLDER", default_value = VOLUME, env = "PODCREDS_VOLUME", hide_env_values = true)]
    pub(crate) volume: PathBuf,

    /// A file to take variables from, relative to the volume; again, or with commas, for more [default: all that end in .env]
    #[arg(
        long = "env-file",
        value_name = "FILE",
        value_delimiter = ',',
        value_parser = env_file,
        env = "PODCREDS_ENV_FILES",
        hide_env_values = true
    )]
    pub(crate) env_files: Vec<RelativePath>,

    /// Read annotations and Secrets as init does, and take the variables of all credentials of format env; no volume is needed
    #[arg(long, action = ArgAction::SetTrue, value_parser = BoolishValueParser::new(), env = "PODCREDS_RENDER", hide_env_values = true)]
    pub(crate) render: bool,

    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// The program to become, and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct InstallArgs {
    /// Where to: a file, or a folder for a file `podcreds` in it; folders that are missing are made
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RenderArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// Show the values; in a pod they are then in its log
    #[arg(long, action = ArgAction::SetTrue, value_parser = BoolishValueParser::new(), env = "PODCREDS_REVEAL", hide_env_values = true)]
    pub(crate) reveal: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// `NAME` of a pod, `KIND/NAME` of a pod or of what owns pods (deploy/app), or `clusters` [default: the own pod]
    #[arg(value_name = "KIND/NAME", value_parser = Subject::parse)]
    pub(crate) subject: Option<Subject>,

    /// How it is written; table is for clusters, and tree, dot and mermaid are for the others [default: tree or table]
    #[arg(long, short, value_enum, value_name = "FORMAT", env = "PODCREDS_OUTPUT", hide_env_values = true)]
    pub(crate) output: Option<OutputArg>,

    /// The cluster of the clusters file that is asked; again, or with commas, for more with `clusters` [default: the own one, and with `clusters` all]
    #[arg(
        long = "cluster",
        value_name = "ID",
        value_delimiter = ',',
        env = "PODCREDS_CLUSTER",
        hide_env_values = true
    )]
    pub(crate) cluster_ids: Vec<String>,

    #[command(flatten)]
    pub(crate) source: SourceArgs,
}

/// What is inspected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Clusters,
    Object(Target),
}

impl Subject {
    /// A pod that is called `clusters` is `pod/clusters`.
    fn parse(text: &str) -> Result<Self, TargetError> {
        if text == "clusters" { Ok(Self::Clusters) } else { Target::parse(text).map(Self::Object) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputArg {
    Tree,
    Json,
    Dot,
    Mermaid,
    Table,
}

fn log_levels() -> impl TypedValueParser<Value = LevelFilter> {
    let levels = PossibleValuesParser::new(["off", "error", "warn", "info", "debug"]);
    levels.map(|level| level.parse().unwrap_or(LevelFilter::Info))
}

/// A path in the volume; a list in a manifest may have spaces after its commas.
fn env_file(text: &str) -> Result<RelativePath, PathError> {
    RelativePath::parse(text.trim())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
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
            }
        }
    }
}
