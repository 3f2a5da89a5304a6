//! How podcreds knows its pod, and authenticates to the API server.

use crate::check::pod::{Container, inject_label};
use crate::check::program::{Program, Setting};
use crate::check::rule::{NO_POD_NAME, NO_TOKEN, POD_NAME, ROOT_USER, SERVICE_ACCOUNT};
use crate::check::{Report, Subject};
use crate::manifest::Object;
use crate::text::{nearest, suggest};
use crate::yaml::Node;

/// The longest host name. Controllers generate shorter names for their pods.
const HOST_NAME_LIMIT: usize = 63;

pub(super) fn check<'a>(subject: &Subject<'_, 'a>, report: &mut Report<'a>) {
    let pod = &subject.pod;
    for (container, _) in pod.programs() {
        let own = container.node.find(&["securityContext", "runAsNonRoot"]);
        let refuses_root = own.or_else(|| pod.spec(&["securityContext", "runAsNonRoot"]));
        if refuses_root.and_then(Node::boolean) == Some(true) && pod.user(container) == Some(0) {
            let message = format!(
                "{} runs as user 0 and has runAsNonRoot: true, so the kubelet does not start it (CreateContainerConfigError)",
                container.label()
            );
            report.add(ROOT_USER, subject.object(), pod.place(container.node), message);
        }
    }
    let readers: Vec<_> = pod.programs().filter(|(_, program)| program.reads_sources()).collect();
    for (container, program) in &readers {
        pod_name(subject, container, program, report);
    }
    let needs_token = |(container, program): &&(&Container<'a>, &Program<'a>)| {
        program.setting("--kubeconfig") == Setting::Unset && !mounts_token(subject, container)
    };
    let place = match readers.iter().find(needs_token) {
        Some((container, _)) => pod.place(container.node),
        None if pod.is_injected => {
            pod.place(inject_label(subject.template().node).unwrap_or(subject.template().node))
        }
        None => return,
    };
    let own = pod.spec(&["automountServiceAccountToken"]);
    let named = subject.template().service_account();
    let accounts = || {
        subject.objects.iter().filter(|object| object.kind == "ServiceAccount" && is_near(subject, object))
    };
    let account = accounts().find(|object| object.name() == Some(named));
    let inherited = || account.and_then(|account| account.node.get("automountServiceAccountToken"));
    if own.and_then(Node::boolean) == Some(false) {
        let place = own.map_or(place, |own| pod.place(own));
        report.add(
            NO_TOKEN,
            subject.object(),
            place,
            "automountServiceAccountToken is false: podcreds has no token for the API server".to_owned(),
        );
    } else if own.is_none() && inherited().and_then(Node::boolean) == Some(false) {
        let message = format!(
            "automountServiceAccountToken is false in ServiceAccount/{named}: podcreds has no token for the API server"
        );
        report.add(NO_TOKEN, subject.object(), place, message);
    }
    if account.is_none() && named != "default" && accounts().next().is_some() {
        let near = nearest(named, accounts().filter_map(Object::name));
        let message = format!("these manifests define service accounts, but not {named}{}", suggest(near));
        let place = pod.spec(&["serviceAccountName"]).map_or(place, |node| pod.place(node));
        report.add(SERVICE_ACCOUNT, subject.object(), place, message);
    }
}

/// Whether an object is in the namespace of the pod.
fn is_near(subject: &Subject<'_, '_>, object: &Object<'_>) -> bool {
    subject.namespace(object) == subject.namespace(subject.object())
}

/// Whether a container mounts a service account token that the manifest asks for.
fn mounts_token(subject: &Subject<'_, '_>, container: &Container<'_>) -> bool {
    container.mounts().filter_map(|mount| subject.pod.volume(mount.volume)).any(|volume| {
        let sources = volume.find(&["projected", "sources"]).map(Node::items).unwrap_or_default();
        sources.iter().any(|source| source.get("serviceAccountToken").is_some())
    })
}

fn pod_name<'a>(
    subject: &Subject<'_, 'a>,
    container: &Container<'a>,
    program: &Program<'a>,
    report: &mut Report<'a>,
) {
    let (pod, object) = (&subject.pod, subject.object());
    let is_from_file = !matches!(program.setting("--annotations-file"), Setting::Unset);
    // Events are recorded for the pod.
    if is_from_file && !program.is_on("--events") {
        return;
    }
    let entries = container.node.get("env").map(Node::items).unwrap_or_default();
    let variable = entries.iter().find(|entry| entry.get("name").and_then(Node::text) == Some("POD_NAME"));
    let field = variable.and_then(|entry| entry.find(&["valueFrom", "fieldRef", "fieldPath"]));
    match program.setting("--pod") {
        Setting::Text(name) if object.kind != "Pod" || object.name().is_some_and(|own| own != name) => {
            let place = pod.place(variable.unwrap_or(container.node));
            report.add(
                POD_NAME,
                object,
                place,
                format!(
                    "{} reads the annotations of pod {name}, which is not its own name",
                    container.label()
                ),
            );
        }
        Setting::Unknown if field.and_then(Node::text).is_some_and(|field| field != "metadata.name") => {
            let place = pod.place(variable.unwrap_or(container.node));
            report.add(
                POD_NAME,
                object,
                place,
                format!("POD_NAME of {} is not the pod's name", container.label()),
            );
        }
        Setting::Unset => {
            let place = pod.place(container.node);
            let reason = if pod.is_on("hostNetwork") {
                Some("hostNetwork makes the host name that of the node")
            } else if ["hostname", "hostnameOverride"].iter().any(|key| pod.spec(&[key]).is_some())
                || pod.is_on("setHostnameAsFQDN")
            {
                Some("the pod sets another host name")
            } else if object.kind == "Pod" && object.name().is_some_and(|name| name.len() > HOST_NAME_LIMIT) {
                Some("the host name is the pod's name cut to 63 characters")
            } else {
                None
            };
            match reason {
                Some(reason) => {
                    report.add(
                        POD_NAME,
                        object,
                        place,
                        format!("{} has no POD_NAME, and {reason}", container.label()),
                    );
                }
                None => {
                    report.add(
                        NO_POD_NAME,
                        object,
                        place,
                        format!(
                            "{} has no POD_NAME, and takes the host name for the pod's name",
                            container.label()
                        ),
                    );
                }
            }
        }
        _ => {}
    }
}
