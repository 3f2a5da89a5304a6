//! What only the cluster shows: objects that are missing, rights that the service account lacks, and whether the files can be rendered.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::check::{IN_CLUSTER, IN_CLUSTER_NOTE, Report};
use crate::commands::inspect;
use crate::inspect::{self as objects, Query, Unknown};
use crate::kube::Class;
use crate::kube::config::registry::Clusters;
use crate::render::{self, Address};
use crate::sync::{self, AnnotationSource, FetchedSources, Settings};

/// How long a connection to a database may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Adds the findings. Returns whether an API server or a database cannot be reached.
///
/// # Errors
/// If the workload cannot be read.
pub(super) fn check(
    clusters: &Clusters,
    query: &Query,
    mut settings: Settings,
    (connects, is_own): (bool, bool),
    report: &mut Report<'_>,
) -> Result<bool, inspect::Error> {
    let name = format!("{}/{}", query.target.kind, query.target.name());
    let mut problems = objects::problems(clusters, query).map_err(inspect::Error::Object)?;
    if is_own {
        // podcreds itself needs none of what only this command reads. What it needs is reviewed.
        problems.unknown.retain(|problem| !problem.is_forbidden_get);
    }
    let is_missing = !problems.errors.is_empty();
    for (message, remedy) in problems.errors {
        report.add_live(IN_CLUSTER, &name, message, remedy);
    }
    for Unknown { message, remedy, .. } in problems.unknown {
        report.add_live(IN_CLUSTER_NOTE, &name, message, remedy);
    }
    // Annotations that are invalid are reported already.
    if report.uses == 0 || is_missing || report.has_annotation_errors() {
        return Ok(false);
    }
    if !query.target.is_pod() {
        let annotations = objects::template_annotations(clusters, query).map_err(inspect::Error::Object)?;
        settings.annotations = AnnotationSource::Template { workload: name.clone(), annotations };
    }
    let FetchedSources { credentials, sources } = match sync::fetch_all(&settings, clusters) {
        Ok(fetched) => fetched,
        Err(error @ sync::Error::Unread { .. }) => {
            let is_unreachable = matches!(&error, sync::Error::Unread { errors, .. } if errors.iter().all(|error| error.class() == Class::Unreachable));
            let remedy = "the files were not rendered: the user who runs podcreds check must be able to read the objects";
            let rule = if is_unreachable { IN_CLUSTER } else { IN_CLUSTER_NOTE };
            report.add_live(rule, &name, error.to_string(), remedy.to_owned());
            return Ok(is_unreachable);
        }
        Err(sync::Error::NoAnnotations { .. }) => return Ok(false),
        // The annotations are valid; this process has no file that configures the other clusters.
        Err(error @ sync::Error::Annotations(_)) => {
            let remedy =
                "the files were not rendered: pass --clusters with the file that the pod has".to_owned();
            report.add_live(IN_CLUSTER_NOTE, &name, error.to_string(), remedy);
            return Ok(false);
        }
        Err(error) => {
            report.add_live(
                IN_CLUSTER,
                &name,
                error.to_string(),
                "correct the annotations or the objects".to_owned(),
            );
            return Ok(false);
        }
    };
    match render::render(&credentials, &sources) {
        Ok(rendered) => {
            for notice in rendered.notices.iter().filter(|notice| notice.is_suspicious()) {
                report.add_live(IN_CLUSTER_NOTE, &name, notice.to_string(), "check the object".to_owned());
            }
        }
        Err(errors) => {
            for error in &errors.0 {
                report.add_live(
                    IN_CLUSTER,
                    &name,
                    error.to_string(),
                    "correct the object, or the annotations".to_owned(),
                );
            }
            return Ok(false);
        }
    }
    let addresses = if connects { render::addresses(&credentials, &sources) } else { Vec::new() };
    let mut is_unreachable = false;
    for Address { credential, host, port } in addresses {
        if let Err(cause) = connect(&host, port) {
            is_unreachable = true;
            let message =
                format!("credential {credential}: cannot connect to its server, port {port}: {cause}");
            let remedy = match is_own {
                true => "check the server, its name and port, and the network policies of both sides",
                false => {
                    "podcreds connected from here, not from the pod: run it in the pod if only the pod's network reaches the server"
                }
            };
            report.add_live(IN_CLUSTER, &name, message, remedy.to_owned());
        }
    }
    Ok(is_unreachable)
}

fn connect(host: &str, port: u16) -> Result<(), std::io::Error> {
    let mut last = None;
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(_) => return Ok(()),
            Err(cause) => last = Some(cause),
        }
    }
    Err(last.unwrap_or_else(|| std::io::Error::other("the host name has no address")))
}
