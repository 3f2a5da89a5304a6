//! Turns parsed flags into the validated settings of each command.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::annotations::{DEFAULT_PREFIX, ReferenceScope};
use crate::cli::args::{
    EventArgs, InjectArgs, InspectArgs, InspectTarget, ModeArg, OnDeleteArg, OutputArg, RbacArgs, RenderArgs,
    RestartArgs, SidecarArgs, SyncBy,
};
use crate::cli::cluster_access::{self, ClusterAccess, SourceArgs};
use crate::cli::exit::Error;
use crate::commands::inspect::{self, ClustersFormat};
use crate::commands::{rbac, render};
use crate::inject;
use crate::inspect::{Format, Query, Target};
use crate::kube;
use crate::kube::config::registry::Clusters;
use crate::object::{ClusterId, ClusterRef, Kind, NameError, Namespace, ObjectRef, is_subdomain};
use crate::rbac::{Defaults, Usage};
use crate::render::Sources;
use crate::sidecar::{self, OnDelete, WatchSettings};
use crate::supervisor;
use crate::sync::{AnnotationSource, Settings, Waits};
use crate::telemetry::events::EventTarget;
use crate::text::{Quoted, nearest, suggest};

/// Settings for a pass over all credentials, which retries until `--timeout`.
pub(crate) fn from_source_args(args: &SourceArgs) -> Result<(Settings, ClusterAccess), Error> {
    let access = cluster_access::resolve(args)?;
    let scope = ReferenceScope { namespace: access.namespace.clone(), clusters: access.namespaces() };
    let settings = settings_in(args, scope)?;
    Ok((settings, access))
}

fn settings_in(args: &SourceArgs, scope: ReferenceScope) -> Result<Settings, Error> {
    let prefix = annotation_prefix(&args.annotation_prefix)?;
    let annotations = match &args.annotations_file {
        Some(path) => AnnotationSource::File(path.clone()),
        None => {
            let (pod, named_by_host) = pod(args, scope.namespace.clone())?;
            AnnotationSource::Pod { pod, named_by_host }
        }
    };
    Ok(Settings {
        annotations,
        prefix,
        scope,
        allow_none: args.allow_none,
        known: Sources::new(),
        timeout: args.timeout,
        gives_up: kube::Error::is_final,
        waits: Waits::default(),
    })
}

fn annotation_prefix(text: &str) -> Result<String, Error> {
    let prefix = text.trim_end_matches('/').to_owned();
    match is_subdomain(&prefix) {
        true => Ok(prefix),
        false => {
            Err(Error::Setting(format!("--annotation-prefix: {} is not a DNS subdomain", Quoted(&prefix))))
        }
    }
}

/// Like [`from_source_args`], but a person is waiting: errors that need user action end the command at once. Manifests may have all
/// objects, so the error about a cluster that is not configured is returned beside the command.
pub(crate) fn for_render(mut args: RenderArgs) -> Result<(render::Command, Result<Clusters, Error>), Error> {
    // The name of the pod is then not needed, and the hostname of a workstation may not be a valid one.
    let instead = match &args.target {
        Some(target) => Some(("KIND/NAME", target.name())),
        None => (!args.filenames.is_empty()).then_some(("--filename", "podcreds")),
    };
    if let Some((what, name)) = instead {
        if args.source.annotations_file.is_some() {
            return Err(Error::Setting(format!("--annotations-file: cannot be combined with {what}")));
        }
        args.source.pod = Some(name.to_owned());
    }
    if args.source.annotations_file.is_none() {
        require_name(&args.source, "render")?;
    }
    let (settings, clusters) = match from_source_args(&args.source) {
        Ok((settings, access)) => (settings, Ok(access.clusters)),
        Err(error @ (Error::Kubeconfig(_) | Error::Connect(_))) if !args.filenames.is_empty() => {
            let mut scope = cluster_access::offline_scope(&args.source)?;
            if scope.namespace.is_unspecified() {
                scope.namespace = cluster_access::kubectl_namespace()?;
            }
            (settings_in(&args.source, scope)?, Err(error))
        }
        Err(error) => return Err(error),
    };
    let target = args.target.map(|target| Query {
        target,
        cluster: ClusterRef::Local,
        scope: settings.scope.clone(),
        named_by_host: false,
        prefix: settings.prefix.clone(),
        timeout: settings.timeout,
    });
    let settings = Settings { gives_up: kube::Error::is_actionable, ..settings };
    let escape = !args.reveal || std::io::stdout().is_terminal();
    let manifests = args.filenames;
    Ok((render::Command { settings, target, manifests, reveal: args.reveal, escape }, clusters))
}

/// The pod that Events are about; `None` means that they are disabled.
pub(crate) fn event_target(
    args: &EventArgs,
    source: &SourceArgs,
    sync: &Settings,
) -> Result<Option<EventTarget>, Error> {
    if !args.events {
        return Ok(None);
    }
    let (pod, _) = pod(source, sync.scope.namespace.clone())?;
    Ok(Some(EventTarget { pod, uid: non_empty(args.pod_uid.as_deref()).map(str::to_owned) }))
}

/// The files, and what to add to the pods in them.
pub(crate) fn for_inject(args: InjectArgs) -> Result<(Vec<PathBuf>, inject::Options), Error> {
    let prefix = annotation_prefix(&args.annotation_prefix)?;
    let mut container_args = args.args;
    if prefix != DEFAULT_PREFIX {
        container_args.insert(0, format!("--annotation-prefix={prefix}"));
    }
    let options = inject::Options {
        image: args.image,
        pull_policy: args.image_pull_policy,
        mode: args.mode.as_deref().and_then(inject::Mode::parse),
        has_native_sidecars: args.kubernetes.unwrap_or(true),
        port: args.port,
        mount_path: args.mount_path,
        volume_size: args.volume_size,
        memory_limit: args.memory_limit,
        args: container_args,
        prefix,
        uninject: args.uninject,
    };
    Ok((args.filenames, options))
}

pub(crate) fn for_sidecar(args: &SidecarArgs) -> Result<(sidecar::Settings, Clusters), Error> {
    let (sync, access) = from_source_args(&args.source)?;
    let watch = WatchSettings {
        is_enabled: args.sync == SyncBy::Watch,
        poll_interval: args.poll_interval,
        resync: access.resync,
        timeout: args.watch_timeout,
    };
    let on_delete = match args.on_delete {
        OnDeleteArg::Keep => OnDelete::Keep,
        OnDeleteArg::Clear => OnDelete::Clear,
    };
    let events = event_target(&args.events, &args.source, &sync)?;
    let settings = sidecar::Settings {
        sync: Arc::new(sync),
        watch,
        on_delete,
        follow_annotations: args.follow_annotations,
        stale_after: args.stale_after,
        expiry_warning: args.expiry_warning,
        on_change_ca: args.on_change_ca.clone(),
        exit_on_change: args.exit_on_change,
        splay: args.splay,
        events,
    };
    Ok((settings, access.clusters))
}

/// What `exec --render` reads, and with `--restart-on-change` watches as a sidecar with the default flags does.
pub(crate) fn for_rendered_exec(
    source: &SourceArgs,
    restart: &RestartArgs,
) -> Result<(sidecar::Settings, Arc<Clusters>), Error> {
    let (sync, access) = from_source_args(source)?;
    let minute = Duration::from_secs(60);
    let watch =
        WatchSettings { is_enabled: true, poll_interval: minute, resync: access.resync, timeout: 5 * minute };
    let settings = sidecar::Settings {
        sync: Arc::new(sync),
        watch,
        on_delete: OnDelete::Keep,
        follow_annotations: false,
        stale_after: minute,
        expiry_warning: Duration::ZERO,
        exit_on_change: None,
        splay: restart.splay,
        on_change_ca: None,
        events: None,
    };
    Ok((settings, Arc::new(access.clusters)))
}

pub(crate) fn for_supervisor(source: &SourceArgs, restart: &RestartArgs) -> supervisor::Settings {
    supervisor::Settings {
        stop_signal: restart.stop_signal,
        stop_timeout: restart.stop_timeout,
        splay: restart.splay,
        pod: pod_name(source),
    }
}

pub(crate) fn for_inspect(mut args: InspectArgs) -> Result<(inspect::Command, Clusters), Error> {
    // Only a query for this pod needs the pod's name; the hostname of a workstation may not be a valid one.
    match &args.target {
        Some(InspectTarget::Object(target)) => args.source.pod = Some(target.name().to_owned()),
        Some(InspectTarget::Clusters) => args.source.pod = Some("clusters".to_owned()),
        None => require_name(&args.source, "inspect")?,
    }
    let (settings, access) = from_source_args(&args.source)?;
    let ids = cluster_ids(&args.cluster_ids, &access)?;
    let unsupported = |format: &str, what: &str, formats: &str| {
        Err(Error::Setting(format!("--output: {format} is not supported for {what}: use {formats}")))
    };
    let target = match args.target {
        Some(InspectTarget::Clusters) => {
            let format = match args.output {
                None | Some(OutputArg::Table) => ClustersFormat::Table,
                Some(OutputArg::Json) => ClustersFormat::Json,
                Some(OutputArg::Tree) => return unsupported("tree", "clusters", "table or json"),
                Some(OutputArg::Mermaid) => return unsupported("mermaid", "clusters", "table or json"),
            };
            let command = inspect::Command::Clusters {
                ids,
                local_name: access.name,
                format,
                timeout: settings.timeout,
            };
            return Ok((command, access.clusters));
        }
        Some(InspectTarget::Object(target)) => Some(target),
        None => None,
    };
    let format = match args.output {
        None | Some(OutputArg::Tree) => Format::Tree,
        Some(OutputArg::Json) => Format::Json,
        Some(OutputArg::Mermaid) => Format::Mermaid,
        Some(OutputArg::Table) => return unsupported("table", "objects", "tree, json or mermaid"),
    };
    let (target, named_by_host) = match target {
        Some(target) => (target, false),
        None => {
            let (pod, named_by_host) = pod(&args.source, settings.scope.namespace.clone())?;
            (Target::pod(&pod), named_by_host)
        }
    };
    let cluster = match ids.as_slice() {
        [] => ClusterRef::Local,
        [id] => ClusterRef::Named(id.clone()),
        _ => return Err(Error::Setting("--cluster-id: pass one ID: an object is in one cluster".to_owned())),
    };
    let Settings { prefix, mut scope, timeout, .. } = settings;
    // Without --namespace, an object in another cluster is in the default namespace of that cluster.
    if non_empty(args.source.namespace.as_deref()).is_none()
        && let Some(namespace) = cluster.id().and_then(|cluster| scope.clusters.get(cluster))
    {
        scope.namespace = namespace.clone();
    }
    let query = Query { target, cluster, scope, named_by_host, prefix, timeout };
    Ok((inspect::Command::Object { query, format }, access.clusters))
}

/// Returns the clusters only if the command needs one.
pub(crate) fn for_rbac(mut args: RbacArgs) -> Result<(rbac::Command, Option<Clusters>), Error> {
    // Not used, but the hostname of a workstation may not be a valid name.
    args.source.pod = Some("podcreds".to_owned());
    args.source.annotations_file = None;
    let RbacArgs { target, filenames, mode, check, cluster_id, source } = args;
    let (scope, prefix, timeout, clusters) = if check || target.is_some() {
        let (settings, access) = from_source_args(&source)?;
        (settings.scope, settings.prefix, settings.timeout, Some(access.clusters))
    } else {
        (
            cluster_access::offline_scope(&source)?,
            annotation_prefix(&source.annotation_prefix)?,
            source.timeout,
            None,
        )
    };
    let cluster = match non_empty(cluster_id.as_deref()).map(ClusterId::parse) {
        None => ClusterRef::Local,
        Some(Ok(id)) => ClusterRef::Named(id),
        Some(Err(cause)) => return Err(Error::Setting(format!("--cluster-id: {cause}"))),
    };
    let input = match target {
        None => rbac::Input::Manifests(filenames),
        Some(target) => rbac::Input::Live(Query {
            target,
            cluster: ClusterRef::Local,
            scope: scope.clone(),
            named_by_host: false,
            prefix: prefix.clone(),
            timeout,
        }),
    };
    let usage = if mode == ModeArg::Init { Usage::INIT } else { Usage::SIDECAR };
    let defaults = Defaults { scope, any_cluster: source.access.clusters.is_none(), prefix, usage };
    let check = check.then_some(timeout);
    Ok((rbac::Command { input, defaults, allow_none: source.allow_none, cluster, check }, clusters))
}

/// The values of `--cluster-id`, which must be in the clusters file.
fn cluster_ids(names: &[String], access: &ClusterAccess) -> Result<Vec<ClusterId>, Error> {
    let known = access.clusters.others();
    let find = |name: &String| match known.keys().find(|id| id.as_str() == name) {
        Some(id) => Ok(id.clone()),
        None if known.is_empty() => Err(Error::Setting(format!(
            "--cluster-id: unknown cluster {}: no clusters file given (--clusters)",
            Quoted(name)
        ))),
        None => {
            let nearest = nearest(name, known.keys().map(ClusterId::as_str));
            Err(Error::Setting(format!(
                "--cluster-id: {} is not in the clusters file (--clusters){}",
                Quoted(name),
                suggest(nearest)
            )))
        }
    };
    names.iter().map(find).collect()
}

/// Outside a cluster, the hostname is not the name of a pod.
fn require_name(args: &SourceArgs, command: &str) -> Result<(), Error> {
    if non_empty(args.pod.as_deref()).is_some() || cluster_access::is_in_pod() {
        return Ok(());
    }
    Err(Error::Setting(format!(
        "name a pod or a workload, as in podcreds {command} app-0 or podcreds {command} deploy/app"
    )))
}

/// The pod, and whether its name is a guess from the hostname.
pub(crate) fn pod(args: &SourceArgs, namespace: Namespace) -> Result<(ObjectRef, bool), Error> {
    let explicit = non_empty(args.pod.as_deref());
    let name = pod_name(args);
    let origin = if explicit.is_some() { "--pod" } else { "hostname (used because POD_NAME is not set)" };
    let invalid = |cause: NameError| Error::Setting(format!("{origin}: {cause}"));
    let pod = ObjectRef::new(Kind::Pod, namespace, &name).map_err(invalid)?;
    Ok((pod, explicit.is_none()))
}

fn pod_name(args: &SourceArgs) -> String {
    match non_empty(args.pod.as_deref()) {
        Some(name) => name.to_owned(),
        None => rustix::system::uname().nodename().to_string_lossy().into_owned(),
    }
}

/// Manifests and charts set a variable to the empty string to leave it out.
fn non_empty(value: Option<&str>) -> Option<&str> {
    value.filter(|value| !value.is_empty())
}
