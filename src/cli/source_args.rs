//! The flags that select the pod, its annotations, and the clusters to query.

use std::path::PathBuf;
use std::time::Duration;

use clap::ArgAction;
use clap::builder::BoolishValueParser;

use crate::annotations::DEFAULT_PREFIX;
use crate::kube::config::clusters_file;
use crate::kube::config::clusters_file::positive_duration;
use crate::kube::config::in_cluster::SERVICE_ACCOUNT_DIR;

/// Set on each flag: clap's `next_help_heading` would also apply to the flags after a flattened group.
const CLUSTERS: &str = "Clusters";

/// Which pod's annotations are read, and how API servers are reached.
#[derive(Debug, clap::Args)]
pub(crate) struct SourceArgs {
    /// Pod to read the annotations of [default: the hostname]
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    pub(crate) pod: Option<String>,

    /// The pod's namespace [default: the namespace of the service account or of the kubeconfig's context]
    #[arg(long, short, value_name = "NAME", env = "POD_NAMESPACE")]
    pub(crate) namespace: Option<String>,

    /// Read the annotations from this file of a downward API volume instead of from the API server
    #[arg(long, value_name = "FILE", env = "PODCREDS_ANNOTATIONS_FILE")]
    pub(crate) annotations_file: Option<PathBuf>,

    /// Prefix of the annotation keys that podcreds reads, without the slash
    #[arg(long, value_name = "PREFIX", default_value = DEFAULT_PREFIX, env = "PODCREDS_ANNOTATION_PREFIX")]
    pub(crate) annotation_prefix: String,

    /// Accept a pod without annotations for podcreds; with exec, also a missing env file
    #[arg(long, action = ArgAction::SetTrue, value_parser = BoolishValueParser::new(), env = "PODCREDS_ALLOW_NONE")]
    pub(crate) allow_none: bool,

    #[command(flatten)]
    pub(crate) access: AccessArgs,

    /// Directory where token, ca.crt and namespace are mounted
    #[arg(long, help_heading = CLUSTERS, value_name = "DIR", default_value = SERVICE_ACCOUNT_DIR, env = "PODCREDS_SERVICE_ACCOUNT_DIR")]
    pub(crate) service_account_dir: PathBuf,

    /// Time limit for reading all objects, retries included; exec waits as long for the first files
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = positive_duration, env = "PODCREDS_TIMEOUT")]
    pub(crate) timeout: Duration,

    /// Time limit for each phase of one request: sending it, receiving the first byte, receiving the rest
    #[arg(long, help_heading = CLUSTERS, value_name = "DURATION", default_value = "10s", value_parser = positive_duration, env = "PODCREDS_REQUEST_TIMEOUT")]
    pub(crate) request_timeout: Duration,
}

/// Which clusters are queried, and as which user.
#[derive(Debug, clap::Args)]
pub(crate) struct AccessArgs {
    /// Kubeconfig file; KUBECONFIG may list several [default: the service account in a pod, ~/.kube/config elsewhere]
    #[arg(long, help_heading = CLUSTERS, value_name = "FILE", env = "PODCREDS_KUBECONFIG")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig [default: the current context]
    #[arg(long, help_heading = CLUSTERS, value_name = "NAME", env = "PODCREDS_CONTEXT")]
    pub(crate) context: Option<String>,

    /// Cluster of the kubeconfig [default: the context's cluster]
    #[arg(long, help_heading = CLUSTERS, value_name = "NAME", env = "PODCREDS_CLUSTER")]
    pub(crate) cluster: Option<String>,

    /// User of the kubeconfig [default: the context's user]
    #[arg(long, help_heading = CLUSTERS, value_name = "NAME", env = "PODCREDS_USER")]
    pub(crate) user: Option<String>,

    /// File that configures other clusters, for `.cluster` annotations
    #[arg(long, help_heading = CLUSTERS, value_name = "FILE", env = "PODCREDS_CLUSTERS")]
    pub(crate) clusters: Option<PathBuf>,

    /// Average number of requests per second to the API server; 0 means no limit [default: 0]
    #[arg(long, help_heading = CLUSTERS, value_name = "NUMBER", value_parser = qps, env = "PODCREDS_QPS")]
    pub(crate) qps: Option<f64>,

    /// Maximum number of requests in a burst, with --qps
    #[arg(long, help_heading = CLUSTERS, value_name = "NUMBER", default_value_t = clusters_file::DEFAULT_BURST, value_parser = clap::value_parser!(u32).range(1..), env = "PODCREDS_BURST")]
    pub(crate) burst: u32,
}

fn qps(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(qps) if qps == 0.0 || (clusters_file::MIN_QPS..=f64::MAX).contains(&qps) => Ok(qps),
        _ => Err(format!("must be 0 (unlimited) or at least {}", clusters_file::MIN_QPS)),
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
