//! The port of the health endpoints, which all containers of a pod share, and the probes that use it.

use crate::check::pod::{Container, Role};
use crate::check::program::{Program, Subcommand};
use crate::check::rule::{HOST_PORT, PORT_TAKEN, PROBE_PORT};
use crate::check::{Report, Subject};
use crate::telemetry::server::Listen;
use crate::yaml::Node;

/// The default address of the sidecar.
const DEFAULT: &str = "[::]:8081";

pub(super) fn check<'a>(subject: &Subject<'_, 'a>, report: &mut Report<'a>) {
    let (pod, object) = (&subject.pod, subject.object());
    let mut taken: Vec<u64> = Vec::new();
    for (container, program) in pod.programs() {
        let Some(listen) = address(program) else { continue };
        probes(subject, container, listen, report);
        let Listen::At(address) = listen else { continue };
        let port = u64::from(address.port());
        let mut others = pod.containers.iter().filter(|other| !std::ptr::eq(other.node, container.node));
        let other =
            others.find(|other| other.role != Role::Init && other.ports().any(|(number, ..)| number == port));
        if other.is_some() || taken.contains(&port) {
            let by = other.map_or_else(|| "another podcreds".to_owned(), Container::label);
            let message = format!("{} listens on port {port}, which {by} uses too", container.label());
            report.add(PORT_TAKEN, object, pod.place(container.node), message);
        }
        taken.push(port);
        if pod.is_on("hostNetwork") && !container.ports().any(|(number, ..)| number == port) {
            let message = format!(
                "{} listens on port {port} of the node, because the pod has hostNetwork",
                container.label()
            );
            report.add(HOST_PORT, object, pod.place(container.node), message);
        }
    }
    if pod.is_injected {
        injected(subject, report);
    }
}

/// Reports an application that uses the port of the container that is injected.
fn injected<'a>(subject: &Subject<'_, 'a>, report: &mut Report<'a>) {
    let annotation = |name: &str| {
        let key = format!("inject.podcreds.io/{name}");
        let annotations = subject.template().node.find(&["metadata", "annotations"])?;
        annotations.get(&key).and_then(Node::text)
    };
    if annotation("mode") == Some("init") {
        return;
    }
    let port = annotation("port").and_then(|port| port.parse().ok()).unwrap_or(8081);
    for container in &subject.pod.containers {
        let uses = |(number, ..): &(u64, Option<&str>, &Node)| *number == port;
        if let Some((.., node)) = container.ports().find(uses).filter(|_| container.role != Role::Init) {
            let message =
                format!("{} uses port {port}, and so does the container that is injected", container.label());
            let remedy = "set the annotation inject.podcreds.io/port to a free port".to_owned();
            report.add_with(PORT_TAKEN, subject.object(), subject.pod.place(node), message, remedy);
        }
    }
}

/// Where podcreds listens. `None` means that it does not, or that the address is invalid or unknown.
fn address(program: &Program<'_>) -> Option<Listen> {
    let default = match program.subcommand {
        Subcommand::Sidecar => DEFAULT,
        Subcommand::Exec if program.is_on("--restart-on-change") => "off",
        _ => return None,
    };
    Listen::parse(program.setting("--listen").or(default)?).ok()
}

/// Checks the HTTP probes of podcreds' container. Those of a container with exec may be the application's.
fn probes<'a>(subject: &Subject<'_, 'a>, container: &Container<'a>, listen: Listen, report: &mut Report<'a>) {
    let is_sidecar =
        container.program.as_ref().is_some_and(|program| program.subcommand == Subcommand::Sidecar);
    for key in ["startupProbe", "livenessProbe", "readinessProbe"].into_iter().filter(|_| is_sidecar) {
        let Some(port) = container.node.find(&[key, "httpGet", "port"]) else { continue };
        let number = match port.text() {
            Some(name) => {
                let named =
                    container.ports().find(|(_, other, _)| *other == Some(name)).map(|(number, ..)| number);
                named.or_else(|| name.parse().ok())
            }
            None => port.whole_number(),
        };
        let problem = match listen {
            Listen::Off => "and podcreds listens on none".to_owned(),
            Listen::At(address) if address.ip().is_loopback() => {
                format!("and podcreds listens on {address}, where the kubelet cannot reach it")
            }
            Listen::At(address) if number != Some(u64::from(address.port())) => {
                format!("and podcreds listens on port {}", address.port())
            }
            Listen::At(_) => continue,
        };
        let shown = match (number, port.text()) {
            (Some(number), _) => number.to_string(),
            (None, name) => format!("{}, which the container does not declare", name.unwrap_or_default()),
        };
        let message = format!("the {key} of {} probes port {shown}, {problem}", container.label());
        report.add(PROBE_PORT, subject.object(), subject.pod.place(port), message);
    }
}
