//! What the kubelet reports about podcreds' containers of a pod that does not start.

use crate::check::Report;
use crate::check::pod::{Pod, Role};
use crate::check::rule::NOT_STARTING;
use crate::manifest::Object;
use crate::yaml::Node;

/// The reasons for which a container waits that do not pass by themselves.
const REASONS: [&str; 8] = [
    "ImagePullBackOff",
    "ErrImagePull",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
];

/// Adds a finding for each container of a pod in the cluster that runs podcreds and does not start.
pub(crate) fn not_starting(object: &Object<'_>, report: &mut Report<'_>) {
    let Some(template) = object.template().filter(|_| object.kind == "Pod") else { return };
    let pod = Pod::new(template, false);
    let pod_name = object.name().unwrap_or_default();
    let kubectl = match object.namespace() {
        Some(namespace) => format!("kubectl -n {namespace}"),
        None => "kubectl".to_owned(),
    };
    for list in ["initContainerStatuses", "containerStatuses"] {
        let statuses = object.node.find(&["status", list]).map(Node::items).unwrap_or_default();
        for status in statuses {
            let text = |path: &[&str]| status.find(path).and_then(Node::text).filter(|text| !text.is_empty());
            let Some(name) = text(&["name"]) else { continue };
            let Some((container, _)) = pod.programs().find(|(container, _)| container.name == name) else {
                continue;
            };
            let exit_code = |state| status.find(&[state, "terminated", "exitCode"])?.whole_number();
            let logs = format!("see its last messages: {kubectl} logs {pod_name} -c {name}");
            let mut message = format!("{} does not start: ", container.label());
            let waits = text(&["state", "waiting", "reason"]).filter(|reason| REASONS.contains(reason));
            let remedy = if let Some(reason) = waits {
                message.push_str(reason);
                let said = text(&["state", "waiting", "message"]).map(str::to_owned);
                let code = exit_code("lastState").map(|code| format!("its last exit code is {code}"));
                for part in said.into_iter().chain(code) {
                    message.push_str("; ");
                    message.push_str(part.trim());
                }
                match reason {
                    "CrashLoopBackOff" => logs + " --previous",
                    _ => format!("see the Events of the pod: {kubectl} describe pod {pod_name}"),
                }
            } else if let Some(code) =
                exit_code("state").filter(|code| container.role == Role::Init && *code != 0)
            {
                // Between two attempts, or after the last one. The others end with the pod, too.
                message.push_str(&format!("it ended with exit code {code}"));
                logs
            } else {
                continue;
            };
            report.add_live(NOT_STARTING, &object.to_string(), message, remedy);
        }
    }
}
