//! What was typed, and what the environment adds, as validated settings.

use crate::annotations::Scope;
use crate::cli::access::{self, Found};
use crate::cli::args::{OnDeleteArg, SidecarArgs, SourceArgs, SyncBy, TargetArgs};
use crate::cli::failure::Failure;
use crate::clusters::Clusters;
use crate::clusters::file::Labels;
use crate::health;
use crate::object::{Kind, NameError, Namespace, ObjectRef, is_subdomain};
use crate::quote::Quoted;
use crate::sidecar::{self, EventsFor, Follow, OnDelete};
use crate::sync::{AnnotationsFrom, Settings};

/// Reads the settings of a pass and the way to the API server.
pub(super) fn of(args: &SourceArgs) -> Result<(Settings, Found), Failure> {
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
        Some(path) => AnnotationsFrom::File(path.clone()),
        None => {
            let (pod, named_by_host) = pod(args, scope.namespace.clone())?;
            AnnotationsFrom::Pod { pod, named_by_host }
        }
    };
    let settings =
        Settings { annotations, prefix, scope, allow_none: args.allow_none, timeout: args.timeout };
    Ok((settings, found))
}

/// Reads the settings of a sidecar and the way to the API server.
pub(super) fn of_sidecar(args: &SidecarArgs) -> Result<(sidecar::Settings, Clusters), Failure> {
    let (sync, found) = of(&args.source)?;
    let follow = Follow {
        watch: args.sync == SyncBy::Watch,
        poll_interval: args.poll_interval,
        resync: found.resync,
        watch_timeout: args.watch_timeout,
    };
    let on_delete = match args.on_delete {
        OnDeleteArg::Keep => OnDelete::Keep,
        OnDeleteArg::Clear => OnDelete::Clear,
    };
    let events = match args.events {
        true => {
            let (pod, _) = pod(&args.source, sync.scope.namespace.clone())?;
            Some(EventsFor { pod, uid: given(args.pod_uid.as_deref()).map(str::to_owned) })
        }
        false => None,
    };
    let TargetArgs { volume, grace } = &args.target;
    Ok((
        sidecar::Settings {
            sync,
            volume: volume.clone(),
            grace: *grace,
            follow,
            on_delete,
            follow_annotations: args.follow_annotations,
            stale_after: args.stale_after,
            events,
        },
        found.clusters,
    ))
}

/// The clusters, as the metrics call them.
pub(super) fn health(clusters: &Clusters) -> Vec<health::Cluster> {
    let own = health::Cluster { requests: clusters.own().requests(), ..health::Cluster::default() };
    let others = clusters.others().iter().map(|(id, member)| {
        let Labels { name, environment, region } = member.labels().clone();
        let labels = [("name", name), ("environment", environment), ("region", region)];
        health::Cluster {
            id: Some(id.clone()),
            labels: labels.into_iter().filter_map(|(label, value)| Some((label, value?))).collect(),
            requests: member.requests(),
        }
    });
    std::iter::once(own).chain(others).collect()
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
