//! `podcreds rbac`: prints the least Roles that the pods of manifests need, or checks whether the cluster grants them.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use log::{info, warn};

use crate::check;
use crate::commands::inspect::print;
use crate::inspect::review::{self, REVIEW_RULE, ResourceAttributes, Subject};
use crate::inspect::{self, Query};
use crate::kube::config::registry::Clusters;
use crate::kube::{Cause, Client, Deadline, Rule};
use crate::manifest::{self, Manifest};
use crate::object::{ClusterRef, Kind};
use crate::rbac::{self, Defaults, PodSource, Problem, Problems, Role, Workload, documents, roles};

/// Where the pods are described.
#[derive(Debug)]
pub(crate) enum Input {
    /// Files, directories, or `-`.
    Manifests(Vec<PathBuf>),
    /// A pod or workload in the cluster.
    Live(Query),
}

/// What to print.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) input: Input,
    pub(crate) defaults: Defaults,
    /// Whether the manifests may have no annotation with the prefix.
    pub(crate) allow_none: bool,
    /// The cluster for which the Roles are.
    pub(crate) cluster: ClusterRef,
    /// The time limit for checking the rights instead.
    pub(crate) check: Option<Duration>,
}

/// Prints the Roles as YAML, or the rights that the service accounts have. `clusters` is `None` if no cluster is needed.
///
/// # Errors
/// Wrong manifests, missing rights, and what the API server does not answer.
pub(crate) fn run(command: &Command, clusters: Option<&Clusters>, out: &mut dyn Write) -> Result<(), Error> {
    let Command { input, defaults, .. } = command;
    let workloads = match (input, clusters) {
        (Input::Manifests(paths), _) => of_manifests(&manifest::load(paths)?, defaults)?,
        (Input::Live(query), Some(clusters)) => of_pods(query, defaults, clusters)?,
        (Input::Live(_), None) => Vec::new(),
    };
    if workloads.is_empty() && !command.allow_none {
        let from = match input {
            Input::Live(query) => format!("{} {}", query.target.kind, query.target.name()),
            Input::Manifests(paths) => {
                let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
                names.join(", ")
            }
        };
        return Err(Error::NoAnnotations { from, prefix: defaults.prefix.clone() });
    }
    let all = roles(&workloads);
    if let Some(role) = all.iter().find(|role| role.is_elsewhere() && role.account.namespace.is_unspecified())
    {
        let (account, namespace) = (role.account.name.clone(), role.namespace.to_string());
        return Err(Error::NoNamespace { workload: role.workloads.concat(), account, namespace });
    }
    match (command.check, clusters) {
        (Some(timeout), Some(clusters)) => review_all(&all, clusters, Deadline::after(timeout), out),
        _ => {
            let (mut selected, mut others) = (Vec::new(), Vec::new());
            for role in all {
                match (role.cluster == command.cluster, role.cluster.id()) {
                    (true, _) => selected.push(role),
                    // In the output, they would be applied to the wrong cluster.
                    (false, Some(id)) if !others.contains(id) => others.push(id.clone()),
                    _ => {}
                }
            }
            match (&command.cluster, selected.is_empty()) {
                (ClusterRef::Named(id), true) => return Err(Error::UnusedCluster { id: id.to_string() }),
                (ClusterRef::Named(_), false) => {}
                (ClusterRef::Local, _) => others.iter().for_each(|id| {
                    info!("the pods also read from cluster {id}: print its Roles with --cluster-id {id}");
                }),
            }
            Ok(print(&documents(&selected), out)?)
        }
    }
}

/// The annotated pod templates.
fn of_manifests(manifests: &[Manifest], defaults: &Defaults) -> Result<Vec<Workload>, Error> {
    let (mut workloads, mut problems) = (Vec::new(), Vec::new());
    for object in manifests.iter().flat_map(Manifest::objects) {
        let Some(template) = object.template() else { continue };
        let prefix = check::own_prefix(&object).unwrap_or(&defaults.prefix);
        let defaults = Defaults { prefix: prefix.to_owned(), ..defaults.clone() };
        match Workload::from_template(&template, &defaults) {
            Ok(Some(workload)) => workloads.push(workload),
            Ok(None) if manifest::has_prefix(object.node, &defaults.prefix) => warn!(
                "{}: annotations {}/… of {object} itself have no effect: podcreds reads those of its pods, {}.metadata.annotations",
                object.place(object.node),
                defaults.prefix,
                template.path.join(".")
            ),
            Ok(None) => {}
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(workloads) } else { Err(Problems(problems).into()) }
}

fn of_pods(query: &Query, defaults: &Defaults, clusters: &Clusters) -> Result<Vec<Workload>, Error> {
    let text = inspect::object_text(clusters, query)?;
    let manifest = Manifest::parse("the response of the API server", text)?;
    let prefix = manifest.objects().iter().find_map(check::own_prefix).unwrap_or(&defaults.prefix).to_owned();
    let query = &Query { prefix: prefix.clone(), ..query.clone() };
    let defaults = &Defaults { prefix, ..defaults.clone() };
    let pods = inspect::pods(clusters, query)?;
    if pods.annotations.is_empty() {
        return Ok(Vec::new());
    }
    let source = PodSource {
        name: &pods.name,
        namespace: query.scope.namespace.clone(),
        service_account: &pods.service_account,
        // The next pod of a workload has another name.
        pod: None,
        usage: pods.usage,
        annotations: &pods.annotations,
    };
    let workload = Workload::new(&source, defaults).map_err(|causes| {
        let place = format!("{} in namespace {}", pods.name, query.scope.namespace);
        let problem = |cause| Problem { place: place.clone(), cause };
        Problems(causes.into_iter().map(problem).collect())
    })?;
    Ok(vec![workload])
}

/// Prints which rights the service accounts have.
fn review_all(
    all: &[Role],
    clusters: &Clusters,
    deadline: Deadline,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let mut report = String::new();
    let mut missing = 0;
    for role in all {
        if let Some(id) = role.cluster.id().filter(|id| !clusters.others().contains_key(*id)) {
            warn!("cluster {id} is not checked: pass the file that configures it with --clusters");
            continue;
        }
        let unreviewed = |cause: Cause| inspect::Error {
            object: format!("review access of {}", subject_name(role)),
            hint: matches!(cause, Cause::Forbidden { .. })
                .then(|| REVIEW_RULE.grant(None, "the current user")),
            cause: Box::new(cause),
        };
        let reviewed = report.len();
        let client = clusters.client(&role.cluster);
        match client.and_then(|client| check_role(role, &client, deadline, &mut report)) {
            Ok(count) => missing += count,
            Err(cause) => {
                report.truncate(reviewed);
                print(&report, out)?;
                return Err(unreviewed(cause).into());
            }
        }
    }
    print(&report, out)?;
    if missing == 0 { Ok(()) } else { Err(Error::Missing { count: missing }) }
}

/// Appends the report about one Role. Returns how many objects may not be read as needed.
fn check_role(role: &Role, client: &Client, deadline: Deadline, report: &mut String) -> Result<usize, Cause> {
    let namespace = role.namespace.to_string();
    // In another cluster, podcreds has the account that the clusters file names.
    let mut subject = match role.cluster {
        ClusterRef::Local => Subject::account(&role.account.namespace.to_string(), &role.account.name),
        ClusterRef::Named(_) => Subject::CurrentUser,
    };
    let mut can = |verb: &str, kind: Kind, name: &str| {
        let access = ResourceAttributes {
            namespace: Some(&namespace),
            verb,
            group: "",
            resource: kind.resource(),
            name,
        };
        review::can(client, deadline, &mut subject, &access)
    };
    let who = subject_name(role);
    report.push_str(&format!("{who} in namespace {namespace}\n"));
    let mut missing = 0;
    for rbac::Rule { kind, verbs, objects } in role.rules() {
        let mut names: Vec<_> = objects.iter().map(|object| object.name.as_deref()).collect();
        if names.is_empty() {
            names.push(None);
        }
        for name in names {
            let mut denied = Vec::new();
            for verb in verbs {
                if !can(verb, kind, name.unwrap_or_default())? {
                    denied.push(*verb);
                }
            }
            let object = name.map_or_else(|| kind.resource().to_owned(), |name| format!("{kind} {name}"));
            let line = if denied.is_empty() {
                format!("  ok: {} {object}\n", verbs.join(", "))
            } else {
                missing += 1;
                let rule = Rule { group: "", resource: kind.resource(), name, verbs: &verbs.join(", ") };
                format!("  missing: {} {object}; {}\n", denied.join(", "), rule.grant(Some(&namespace), &who))
            };
            report.push_str(&line);
        }
    }
    let mut wide = Vec::new();
    for verb in ["get", "list", "watch"] {
        if can(verb, Kind::Secret, "")? {
            wide.push(verb);
        }
    }
    if !wide.is_empty() {
        report.push_str(&format!(
            "  warning: may {} every Secret in namespace {namespace}, which podcreds does not need: limit the rule with resourceNames\n",
            wide.join(", ")
        ));
    }
    Ok(missing)
}

fn subject_name(role: &Role) -> String {
    match role.cluster.id() {
        None => format!("ServiceAccount {}", role.account),
        Some(id) => format!("the account of cluster {id}"),
    }
}

/// Why nothing is printed, or what is missing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    #[error(transparent)]
    Problems(#[from] Problems),
    #[error(
        "{from}: no pod template has an annotation that begins with {prefix}/; in a Deployment, StatefulSet or Job, set annotations in spec.template.metadata.annotations, in a CronJob in spec.jobTemplate.spec.template.metadata.annotations"
    )]
    NoAnnotations { from: String, prefix: String },
    #[error(
        "{workload} has no metadata.namespace, and its ServiceAccount {account} reads from namespace {namespace}, where the RoleBinding has to name its namespace: pass --namespace"
    )]
    NoNamespace { workload: String, account: String, namespace: String },
    #[error("--cluster-id: no annotation reads from cluster {id}")]
    UnusedCluster { id: String },
    #[error(
        "rights are missing ({count}), see the report: podcreds rbac without --check prints the Roles that grant them"
    )]
    Missing { count: usize },
    #[error(transparent)]
    Inspect(#[from] inspect::Error),
    #[error(transparent)]
    Output(#[from] crate::commands::inspect::Error),
}
