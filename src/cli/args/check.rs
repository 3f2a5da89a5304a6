//! The flags of `check`.

use std::path::PathBuf;

use clap::ArgAction;
use clap::builder::BoolishValueParser;

use crate::cli::args::with_variable;
use crate::cli::cluster_access::SourceArgs;
use crate::commands::check::Format;
use crate::inspect::Target;

#[derive(Debug, clap::Args)]
#[command(mut_args(with_variable))]
// Hidden, because they have no effect; accepted, because a variable may be set for other commands.
#[command(mut_arg("annotations_file", |arg| arg.hide(true)), mut_arg("allow_none", |arg| arg.hide(true)))]
pub(crate) struct CheckArgs {
    /// `NAME` of a pod, or `KIND/NAME` of a pod or of a workload (deploy/app), to check in the cluster [default: this pod]
    #[arg(value_name = "KIND/NAME", value_parser = Target::parse)]
    pub(crate) target: Option<Target>,

    /// Manifest to check without a cluster: a file, a directory, or - for the standard input; repeatable
    #[arg(long = "filename", short = 'f', value_name = "FILE", env = "PODCREDS_FILENAME")]
    pub(crate) files: Vec<PathBuf>,

    /// Expect that podcreds' container and volume are added later to every annotated pod
    #[arg(long, action = ArgAction::SetTrue, value_parser = BoolishValueParser::new(), env = "PODCREDS_INJECTED")]
    pub(crate) injected: bool,

    /// Fail for warnings too
    #[arg(long, action = ArgAction::SetTrue, value_parser = BoolishValueParser::new(), env = "PODCREDS_STRICT")]
    pub(crate) strict: bool,

    /// With KIND/NAME, also connect to the database servers, from where podcreds runs
    #[arg(long, action = ArgAction::SetTrue, value_parser = BoolishValueParser::new(), env = "PODCREDS_CONNECT")]
    pub(crate) connect: bool,

    /// Output format: text, JSON, or workflow commands of GitHub Actions
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT", env = "PODCREDS_OUTPUT")]
    pub(crate) output: Format,

    #[command(flatten)]
    pub(crate) source: SourceArgs,
}
