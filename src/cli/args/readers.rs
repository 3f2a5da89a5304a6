//! The flags of the commands that read what podcreds has written, or ask the sidecar: `probe`, `status` and `exec`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgAction;
use clap::builder::BoolishValueParser;
use rustix::process::Signal;

use crate::cli::args::{ListenArgs, REPORTING, ROTATION, VOLUME, VOLUME_FLAGS, with_variable};
use crate::cli::cluster_access::SourceArgs;
use crate::credential::{PathError, RelativePath};
use crate::duration::{duration, positive_duration};
use crate::supervisor::parse_signal;
use crate::telemetry::server::Listen;

#[derive(Debug, clap::Args)]
#[command(mut_args(with_variable))]
pub(crate) struct ProbeArgs {
    #[command(flatten)]
    pub(crate) listen: ListenArgs,

    /// How long to wait for the response
    // Not PODCREDS_TIMEOUT: probe runs in the sidecar's container and sees its environment, but the sidecar's --timeout limits
    // something else.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "2s",
        value_parser = positive_duration,
        env = "PODCREDS_PROBE_TIMEOUT"
    )]
    pub(crate) timeout: Duration,

    /// Instead of querying the sidecar, fail if published files have changed since this container started: for the liveness probe of
    /// an application that reads its credentials once
    #[arg(
        long,
        action = ArgAction::SetTrue,
        value_parser = BoolishValueParser::new(),
        help_heading = ROTATION, env = "PODCREDS_CHANGED_SINCE_START"
    )]
    pub(crate) changed_since_start: bool,

    /// File or directory whose changes count, relative to the volume; repeatable, or separated by commas [default: everything that podcreds publishes]
    #[arg(
        long = "file",
        value_name = "PATH",
        value_delimiter = ',',
        value_parser = env_file,
        help_heading = ROTATION, env = "PODCREDS_FILES"
    )]
    pub(crate) files: Vec<RelativePath>,

    /// Longest delay between a change and the failure; each pod waits for a part of it, so that replicas do not restart at once
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "0s",
        value_parser = duration,
        help_heading = ROTATION, env = "PODCREDS_SPLAY"
    )]
    pub(crate) splay: Duration,

    /// The pod's name, from which the delay is computed [default: the host name]
    #[arg(long, value_name = "NAME", help_heading = ROTATION, env = "POD_NAME")]
    pub(crate) pod: Option<String>,

    /// Directory that podcreds init or sidecar writes
    #[arg(long, value_name = "DIR", default_value = VOLUME, help_heading = VOLUME_FLAGS, env = "PODCREDS_VOLUME")]
    pub(crate) volume: PathBuf,
}

#[derive(Debug, clap::Args)]
#[command(mut_args(with_variable))]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) listen: ListenArgs,

    /// How long to wait for the response
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = positive_duration, env = "PODCREDS_PROBE_TIMEOUT")]
    pub(crate) timeout: Duration,

    /// Output format
    #[arg(long, short, value_name = "FORMAT", default_value = "table", value_parser = ["table", "json"], env = "PODCREDS_OUTPUT")]
    pub(crate) output: String,
}

#[derive(Debug, clap::Args)]
#[command(mut_args(with_variable))]
#[command(
    mut_arg("allow_none", |arg| arg.help("Accept missing env files; with --render, also a pod without podcreds annotations")),
    mut_arg("timeout", |arg| arg.help("How long to wait for the first files; with --render, time limit for reading all objects, retries included")),
)]
pub(crate) struct ExecArgs {
    /// Directory to read from: a volume that podcreds init or sidecar writes
    #[arg(long, value_name = "DIR", default_value = VOLUME, help_heading = VOLUME_FLAGS, env = "PODCREDS_VOLUME")]
    pub(crate) volume: PathBuf,

    /// File to take variables from, relative to the volume; repeatable, or separated by commas [default: all files that end in .env]
    #[arg(
        long = "env-file",
        value_name = "FILE",
        value_delimiter = ',',
        value_parser = env_file,
        env = "PODCREDS_ENV_FILES"
    )]
    pub(crate) env_files: Vec<RelativePath>,

    /// Read annotations and Secrets as init does, and take the variables from all credentials that set variables, without a volume
    #[arg(long, action = ArgAction::SetTrue, value_parser = BoolishValueParser::new(), env = "PODCREDS_RENDER")]
    pub(crate) render: bool,

    #[command(flatten)]
    pub(crate) restart: RestartArgs,

    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// The program to run, with its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

// How exec supervises CMD. Not a doc comment: see `SourceArgs`.
#[derive(Debug, clap::Args)]
pub(crate) struct RestartArgs {
    /// Keep running as the parent of CMD, and restart CMD when its variables change
    #[arg(
        long,
        action = ArgAction::SetTrue,
        value_parser = BoolishValueParser::new(),
        help_heading = ROTATION, env = "PODCREDS_RESTART_ON_CHANGE"
    )]
    pub(crate) restart_on_change: bool,

    /// Signal that ends CMD before a restart: HUP, INT, QUIT, TERM, USR1, USR2 or WINCH
    #[arg(
        long,
        value_name = "SIGNAL",
        default_value = "TERM",
        value_parser = parse_signal,
        help_heading = ROTATION, env = "PODCREDS_STOP_SIGNAL"
    )]
    pub(crate) stop_signal: Signal,

    /// How long CMD may take to end after that signal, before it is killed
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "30s",
        value_parser = duration,
        help_heading = ROTATION, env = "PODCREDS_STOP_TIMEOUT"
    )]
    pub(crate) stop_timeout: Duration,

    /// Longest delay before a restart; each replica waits for a part of it
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "0s",
        value_parser = duration,
        help_heading = ROTATION, env = "PODCREDS_SPLAY"
    )]
    pub(crate) splay: Duration,

    /// Address and port of /healthz, /livez, /readyz and /metrics while CMD is supervised, or off
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "off",
        value_parser = Listen::parse,
        help_heading = REPORTING, env = "PODCREDS_LISTEN"
    )]
    pub(crate) listen: Listen,
}

impl RestartArgs {
    /// The flags that only apply with `--restart-on-change`.
    pub(crate) const DEPENDENT: [&str; 4] = ["--stop-signal", "--stop-timeout", "--splay", "--listen"];
}

/// A path in the volume. In a manifest, the list may have spaces after its commas.
fn env_file(text: &str) -> Result<RelativePath, PathError> {
    RelativePath::parse(text.trim())
}
