//! What was typed, and what the environment adds, as validated settings.

use crate::cli::args::{
    InspectArgs, OnDeleteArg, OutputArg, SidecarArgs, SourceArgs, Subject, SyncBy, TargetArgs,
};
use crate::cli::failure::Failure;
use crate::commands::inspect::{ClustersFormat, Inquiry};
use crate::inspect::{Format, Question, Target};
use crate::kube::{ClientConfig, in_cluster};
use crate::object::{Kind, NameError, Namespace, ObjectRef, is_subdomain};
use crate::quote::Quoted;
use crate::sidecar::{self, EventsFor, Follow, OnDelete};
use crate::sync::{AnnotationsFrom, Settings};

/// Reads the settings of a pass and the way to the API server.
pub(super) fn of(args: &SourceArgs) -> Result<(Settings, ClientConfig), Failure> {
    let folder = &args.service_account_dir;
    // What is not UTF-8 is no address either, and is shown as what it looks like.
    let variable = |name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let client = in_cluster::load(
        folder,
        variable("KUBERNETES_SERVICE_HOST").as_deref(),
        variable("KUBERNETES_SERVICE_PORT").as_deref(),
        args.request_timeout,
    )?;
    let namespace = match given(args.namespace.as_deref()) {
        Some(name) => Namespace::parse(name).map_err(|cause| wrong("--namespace", &cause))?,
        None => in_cluster::namespace(folder)?,
    };
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
            let (pod, named_by_host) = pod(args, namespace.clone())?;
            AnnotationsFrom::Pod { pod, named_by_host }
        }
    };
    let settings =
        Settings { annotations, prefix, namespace, allow_none: args.allow_none, timeout: args.timeout };
    Ok((settings, client))
}

/// Reads the settings of a sidecar and the way to the API server.
pub(super) fn of_sidecar(args: &SidecarArgs) -> Result<(sidecar::Settings, ClientConfig), Failure> {
    let (sync, client) = of(&args.source)?;
    let follow = Follow {
        watch: args.sync == SyncBy::Watch,
        poll_interval: args.poll_interval,
        watch_timeout: args.watch_timeout,
    };
    let on_delete = match args.on_delete {
        OnDeleteArg::Keep => OnDelete::Keep,
        OnDeleteArg::Clear => OnDelete::Clear,
    };
    let events = match args.events {
        true => {
            let (pod, _) = pod(&args.source, sync.namespace.clone())?;
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
        client,
    ))
}

/// Reads what is inspected and how it is written, and the way to the API server.
pub(super) fn of_inspect(mut args: InspectArgs) -> Result<(Inquiry, ClientConfig), Failure> {
    // Where it is not asked about, the own pod needs no name: that of a host may be none of a pod.
    match &args.subject {
        Some(Subject::Object(target)) => args.source.pod = Some(target.name().to_owned()),
        Some(Subject::Clusters) => args.source.pod = Some("clusters".to_owned()),
        None => {}
    }
    let (settings, client) = of(&args.source)?;
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
            return Ok((Inquiry::Clusters { format, timeout: settings.timeout }, client));
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
            let (pod, named_by_host) = pod(&args.source, settings.namespace.clone())?;
            (Target::pod(&pod), named_by_host)
        }
    };
    let Settings { prefix, namespace, timeout, .. } = settings;
    let question = Question { target, namespace, named_by_host, prefix, timeout };
    Ok((Inquiry::Object { question, format }, client))
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
