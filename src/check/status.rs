//! What the kubelet reports about podcreds' containers of a pod that does not start.

use crate::check::Report;
use crate::check::pod::Pod;
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
    for list in ["initContainerStatuses", "containerStatuses"] {
        let statuses = object.node.find(&["status", list]).map(Node::items).unwrap_or_default();
        for status in statuses {
            let text = |path: &[&str]| status.find(path).and_then(Node::text).filter(|text| !text.is_empty());
            let reason = text(&["state", "waiting", "reason"]).filter(|reason| REASONS.contains(reason));
            let (Some(reason), Some(name)) = (reason, text(&["name"])) else { continue };
            let Some((container, _)) = pod.programs().find(|(container, _)| container.name == name) else {
                continue;
            };
            let mut message = format!("{} does not start: {reason}", container.label());
            let ended = ["lastState", "terminated"];
            let code = status.find(&[ended[0], ended[1], "exitCode"]).and_then(Node::whole_number);
            let more = code.map(|code| format!("its last exit code is {code}"));
            let said = text(&["state", "waiting", "message"]).map(str::to_owned);
            for part in said.into_iter().chain(more) {
                message.push_str("; ");
                message.push_str(part.trim());
            }
            let remedy = match reason {
                "CrashLoopBackOff" => format!("kubectl logs --previous -c {name} has podcreds' message"),
                _ => NOT_STARTING.remedy.to_owned(),
            };
            report.add_live(NOT_STARTING, &object.to_string(), message, remedy);
        }
    }
}
