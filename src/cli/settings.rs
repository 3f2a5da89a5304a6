//! What was typed, and what the environment adds, as validated settings.

use crate::annotations::Scope;
use crate::cli::access::{self, Found};
use crate::cli::args::{InspectArgs, OnDeleteArg, OutputArg, SidecarArgs, Subject, SyncBy};
use crate::cli::failure::Failure;
use crate::cli::source::SourceArgs;
use crate::commands::inspect::{ClustersFormat, Inquiry};
use crate::inspect::{Format, Question, Target};
use crate::kube;
use crate::kube::config::clusters::Clusters;
use crate::kube::config::clusters::file::Labels;
use crate::object::{ClusterId, Kind, NameError, Namespace, ObjectRef, is_subdomain};
use crate::sidecar::{self, EventTarget, OnDelete, WatchSettings};
use crate::sync::{AnnotationSource, Settings};
use crate::telemetry;
use crate::text::{Quoted, nearest, suggest};

/// Reads the settings of a pass and the way to the API server.
pub(crate) fn of(args: &SourceArgs) -> Result<(Settings, Found), Failure> {
    let found = access::find(args)?;
    let scope = Scope { namespace: found.namespace.clone(), clusters: access::namespaces(&found) };
    let prefix = args.annotation_prefix.trim_end_matches('/').to_owned();
    if !is_subdomain(&prefix) {
        return Err(Failure::Setting(format!(
            "--annotation-prefix: {} is no DNS subdomain",
            Quoted(&prefix)
        )));
    }
    let annotations = match &args.annotations_file {
        Some(path) => AnnotationSource::File(path.clone()),
        None => {
            let (pod, named_by_host) = pod(args, scope.namespace.clone())?;
            AnnotationSource::Pod { pod, named_by_host }
        }
    };
    let settings = Settings {
        annotations,
        prefix,
        scope,
        allow_none: args.allow_none,
        timeout: args.timeout,
        gives_up: kube::Error::is_final,
    };
    Ok((settings, found))
}

/// Reads the settings of a sidecar and the way to the API server.
pub(crate) fn of_sidecar(args: &SidecarArgs) -> Result<(sidecar::Settings, Clusters), Failure> {
    let (sync, found) = of(&args.source)?;
    let watch = WatchSettings {
        is_enabled: args.sync == SyncBy::Watch,
        poll_interval: args.poll_interval,
        resync: found.resync,
        timeout: args.watch_timeout,
    };
    let on_delete = match args.on_delete {
        OnDeleteArg::Keep => OnDelete::Keep,
        OnDeleteArg::Clear => OnDelete::Clear,
    };
    let events = match args.events {
        true => {
            let (pod, _) = pod(&args.source, sync.scope.namespace.clone())?;
            Some(EventTarget { pod, uid: given(args.pod_uid.as_deref()).map(str::to_owned) })
        }
        false => None,
    };
    Ok((
        sidecar::Settings {
            sync,
            volume: args.target.volume.clone(),
            grace: args.target.sidecar_grace(),
            watch,
            on_delete,
            follow_annotations: args.follow_annotations,
            stale_after: args.stale_after,
            exit_on_change: args.exit_on_change,
            events,
        },
        found.clusters,
    ))
}

/// The clusters, as the metrics call them.
pub(crate) fn health(clusters: &Clusters) -> Vec<telemetry::Cluster> {
    let own = telemetry::Cluster { requests: clusters.own().requests(), ..telemetry::Cluster::default() };
    let others = clusters.others().iter().map(|(id, member)| {
        let Labels { name, environment, region } = member.labels().clone();
        let labels = [("name", name), ("environment", environment), ("region", region)];
        telemetry::Cluster {
            id: Some(id.clone()),
            labels: labels.into_iter().filter_map(|(label, value)| Some((label, value?))).collect(),
            requests: member.requests(),
        }
    });
    std::iter::once(own).chain(others).collect()
}

/// Reads what is inspected and how it is written, and the way to the API server.
pub(crate) fn of_inspect(mut args: InspectArgs) -> Result<(Inquiry, Clusters), Failure> {
    // Where it is not asked about, the own pod needs no name: that of a host may be none of a pod.
    match &args.subject {
        Some(Subject::Object(target)) => args.source.pod = Some(target.name().to_owned()),
        Some(Subject::Clusters) => args.source.pod = Some("clusters".to_owned()),
        None => {}
    }
    let (settings, found) = of(&args.source)?;
    let wanted = wanted(&args.cluster_ids, &found)?;
    let unfit = |what: &str, formats: &str| {
        Err(Failure::Setting(format!("--output: {what} are written as {formats}")))
    };
    let target = match args.subject {
        Some(Subject::Clusters) => {
            let format = match args.output {
                None | Some(OutputArg::Table) => ClustersFormat::Table,
                Some(OutputArg::Json) => ClustersFormat::Json,
                Some(_) => return unfit("clusters", "table or json"),
            };
            let inquiry = Inquiry::Clusters { wanted, own: found.name, format, timeout: settings.timeout };
            return Ok((inquiry, found.clusters));
        }
        Some(Subject::Object(target)) => Some(target),
        None => None,
    };
    let format = match args.output {
        None | Some(OutputArg::Tree) => Format::Tree,
        Some(OutputArg::Json) => Format::Json,
        Some(OutputArg::Dot) => Format::Dot,
        Some(OutputArg::Mermaid) => Format::Mermaid,
        Some(OutputArg::Table) => return unfit("objects", "tree, json, dot or mermaid"),
    };
    let (target, named_by_host) = match target {
        Some(target) => (target, false),
        None => {
            let (pod, named_by_host) = pod(&args.source, settings.scope.namespace.clone())?;
            (Target::pod(&pod), named_by_host)
        }
    };
    let cluster = match wanted.as_slice() {
        [] => None,
        [cluster] => Some(cluster.clone()),
        _ => return Err(Failure::Setting("--cluster: an object is in one cluster: name one".to_owned())),
    };
    let Settings { prefix, mut scope, timeout, .. } = settings;
    // In another cluster, a namespace that nobody named is that of its entry.
    if given(args.source.namespace.as_deref()).is_none()
        && let Some(namespace) = cluster.as_ref().and_then(|cluster| scope.clusters.get(cluster))
    {
        scope.namespace = namespace.clone();
    }
    let question = Question { target, cluster, scope, named_by_host, prefix, timeout };
    Ok((Inquiry::Object { question, format }, found.clusters))
}

/// The clusters that were named, which must be in the clusters file.
fn wanted(named: &[String], found: &Found) -> Result<Vec<ClusterId>, Failure> {
    let known = found.clusters.others();
    let wanted = |name: &String| match known.keys().find(|id| id.as_str() == name) {
        Some(id) => Ok(id.clone()),
        None if known.is_empty() => Err(Failure::Setting(format!(
            "--cluster: nothing describes {}: name a clusters file with --clusters",
            Quoted(name)
        ))),
        None => {
            let nearest = nearest(name, known.keys().map(ClusterId::as_str));
            Err(Failure::Setting(format!(
                "--cluster: {} is no cluster of the clusters file (--clusters){}",
                Quoted(name),
                suggest(nearest)
            )))
        }
    };
    named.iter().map(wanted).collect()
}

/// The pod, and whether its name is a guess.
fn pod(args: &SourceArgs, namespace: Namespace) -> Result<(ObjectRef, bool), Failure> {
    let named = given(args.pod.as_deref());
    let name = match named {
        Some(name) => name.to_owned(),
        None => rustix::system::uname().nodename().to_string_lossy().into_owned(),
    };
    let flag = if named.is_some() { "--pod" } else { "the host name, taken because POD_NAME is not set" };
    let pod = ObjectRef::new(Kind::Pod, namespace, &name).map_err(|cause| wrong(flag, &cause))?;
    Ok((pod, named.is_none()))
}

/// An empty variable is how a manifest says nothing.
fn given(value: Option<&str>) -> Option<&str> {
    value.filter(|value| !value.is_empty())
}

fn wrong(flag: &str, cause: &NameError) -> Failure {
    Failure::Setting(format!("{flag}: {cause}"))
}
