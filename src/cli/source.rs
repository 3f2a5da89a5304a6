//! What can be typed of the pod, its annotations, and the clusters that are asked.

use std::path::PathBuf;
use std::time::Duration;

use clap::ArgAction;
use clap::builder::BoolishValueParser;

use crate::annotations::DEFAULT_PREFIX;
use crate::kube::config::clusters_file;
use crate::kube::config::duration::positive_duration;
use crate::kube::config::in_cluster::SERVICE_ACCOUNT_DIR;

/// Whose annotations are read, and how the API server is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct SourceArgs {
    /// The pod whose annotations are read [default: the host name]
    #[arg(long, value_name = "NAME", env = "POD_NAME", hide_env_values = true)]
    pub(crate) pod: Option<String>,

    /// The pod's namespace [default: that of the service account, or of the kubeconfig's context]
    #[arg(long, short, value_name = "NAME", env = "POD_NAMESPACE", hide_env_values = true)]
    pub(crate) namespace: Option<String>,

    /// Read the annotations from this file of a downward API volume, and do not ask for the pod
    #[arg(long, value_name = "FILE", env = "PODCREDS_ANNOTATIONS_FILE", hide_env_values = true)]
    pub(crate) annotations_file: Option<PathBuf>,

    /// What annotations for podcreds begin with, before the slash
    #[arg(long, value_name = "PREFIX", default_value = DEFAULT_PREFIX, env = "PODCREDS_ANNOTATION_PREFIX", hide_env_values = true)]
    pub(crate) annotation_prefix: String,

    /// Accept a pod that has no annotation for podcreds; with exec, also that an env file is missing
    #[arg(long, action = ArgAction::SetTrue, value_parser = BoolishValueParser::new(), env = "PODCREDS_ALLOW_NONE", hide_env_values = true)]
    pub(crate) allow_none: bool,

    #[command(flatten)]
    pub(crate) access: AccessArgs,

    /// Where token, ca.crt and namespace are mounted
    #[arg(long, value_name = "FOLDER", default_value = SERVICE_ACCOUNT_DIR, env = "PODCREDS_SERVICE_ACCOUNT_DIR", hide_env_values = true)]
    pub(crate) service_account_dir: PathBuf,

    /// How long to try to read everything, retries included; exec waits as long for the first files
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = positive_duration, env = "PODCREDS_TIMEOUT", hide_env_values = true)]
    pub(crate) timeout: Duration,

    /// How long one request may take to send, to get its first byte, and to get the rest
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = positive_duration, env = "PODCREDS_REQUEST_TIMEOUT", hide_env_values = true)]
    pub(crate) request_timeout: Duration,
}

/// Which clusters are asked, and as whom.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Clusters")]
pub(crate) struct AccessArgs {
    /// The kubeconfig to read; KUBECONFIG may name several [default: the pod's own service account, outside of a pod ~/.kube/config]
    #[arg(long, value_name = "FILE", env = "PODCREDS_KUBECONFIG", hide_env_values = true)]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME", env = "PODCREDS_CONTEXT", hide_env_values = true)]
    pub(crate) context: Option<String>,

    /// The cluster of the kubeconfig [default: that of the context]
    #[arg(long, value_name = "NAME", env = "PODCREDS_CLUSTER_NAME", hide_env_values = true)]
    pub(crate) cluster_name: Option<String>,

    /// The user of the kubeconfig [default: that of the context]
    #[arg(long, value_name = "NAME", env = "PODCREDS_USER", hide_env_values = true)]
    pub(crate) user: Option<String>,

    /// The file that describes other clusters, for `.cluster` annotations
    #[arg(long, value_name = "FILE", env = "PODCREDS_CLUSTERS", hide_env_values = true)]
    pub(crate) clusters: Option<PathBuf>,

    /// The most requests a second to the API server, on average; 0 for no limit [default: 0]
    #[arg(long, value_name = "NUMBER", value_parser = qps, env = "PODCREDS_QPS", hide_env_values = true)]
    pub(crate) qps: Option<f64>,

    /// The most requests at once, where --qps limits them
    #[arg(long, value_name = "NUMBER", default_value_t = clusters_file::DEFAULT_BURST, value_parser = clap::value_parser!(u32).range(1..), env = "PODCREDS_BURST", hide_env_values = true)]
    pub(crate) burst: u32,
}

fn qps(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(qps) if qps == 0.0 || (clusters_file::MIN_QPS..=f64::MAX).contains(&qps) => Ok(qps),
        _ => Err(format!("must be 0, for no limit, or a number from {} on", clusters_file::MIN_QPS)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_or_none() {
        assert_eq!((qps("0"), qps("0.5"), qps("500")), (Ok(0.0), Ok(0.5), Ok(500.0)));
        for wrong in ["-1", "NaN", "inf", "0.0000001", "x", ""] {
            assert!(qps(wrong).is_err(), "{wrong}");
        }
    }
}
