//! The flags of the commands that read manifests.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, ArgGroup, ValueEnum};

use crate::cli::args::with_variable;
use crate::cli::cluster_access::SourceArgs;
use crate::inspect::Target;

#[derive(Debug, clap::Args)]
#[command(mut_args(with_variable))]
#[command(group = ArgGroup::new("input").required(true).args(["target", "filenames"]))]
// Hidden, because they have no effect; accepted, because a variable may be set for other commands.
#[command(
    mut_arg("pod", |arg| arg.hide(true)),
    mut_arg("annotations_file", |arg| arg.hide(true)),
    mut_arg("namespace", |arg| arg.help("Namespace of objects without metadata.namespace [default: none, with --check and KIND/NAME that of the kubeconfig's context]")),
    mut_arg("allow_none", |arg| arg.help("Accept manifests without podcreds annotations")),
)]
pub(crate) struct RbacArgs {
    /// `NAME` of a pod, or `KIND/NAME` of a pod or workload in the cluster (deploy/app), instead of manifests
    #[arg(value_name = "KIND/NAME", value_parser = Target::parse)]
    pub(crate) target: Option<Target>,

    /// Manifests to read: files, directories, or - for the standard input; repeatable
    #[arg(long = "filename", short = 'f', value_name = "FILE", env = "PODCREDS_FILENAME")]
    pub(crate) filenames: Vec<PathBuf>,

    /// How pods run podcreds whose manifest has no podcreds container, because it is injected later
    #[arg(long, value_enum, value_name = "MODE", default_value_t, env = "PODCREDS_MODE")]
    pub(crate) mode: ModeArg,

    /// Instead of printing Roles, ask the API server whether the service accounts have the rights
    #[arg(long, action = ArgAction::SetTrue, value_parser = BoolishValueParser::new(), env = "PODCREDS_CHECK")]
    pub(crate) check: bool,

    /// Print the Roles for this other cluster, which `.cluster` annotations name
    #[arg(long, value_name = "ID", conflicts_with = "check", env = "PODCREDS_CLUSTER_ID")]
    pub(crate) cluster_id: Option<String>,

    #[command(flatten)]
    pub(crate) source: SourceArgs,
}

/// How an injected container runs podcreds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeArg {
    #[default]
    #[value(alias = "native-sidecar")]
    Sidecar,
    Init,
}
