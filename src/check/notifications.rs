//! `.on-change`: what the sidecar needs to notify the application.

use crate::check::program::Subcommand;
use crate::check::rule::{NEVER_NOTIFIED, NOTIFIED_PORT, SIGNAL_NAMESPACE, SIGNAL_USER};
use crate::check::{Report, Subject};
use crate::credential::{Credential, OnChange};

pub(super) fn check<'a>(subject: &Subject<'_, 'a>, report: &mut Report<'a>) {
    let (pod, object) = (&subject.pod, subject.object());
    for credential in subject.credentials.iter().flatten() {
        let Some(action) = &credential.on_change else { continue };
        let place = subject.template().annotation_place(&annotation(subject, credential));
        let notifies = pod.is_injected || pod.has(Subcommand::Sidecar);
        if !notifies && pod.has(Subcommand::Init) {
            let message = format!(
                "credential {} has .on-change, and the pod runs no podcreds sidecar",
                credential.name
            );
            report.add(NEVER_NOTIFIED, object, place, message);
        }
        match action {
            OnChange::Signal { process, .. } => {
                if !pod.is_on("shareProcessNamespace") && !pod.is_on("hostPID") {
                    let message = format!(
                        "podcreds cannot see the process {process}, because the containers do not share their processes"
                    );
                    report.add(SIGNAL_NAMESPACE, object, place, message);
                } else {
                    users(subject, process, credential, report);
                }
            }
            OnChange::Post(url) | OnChange::Get(url) => {
                let Some(port) = local_port(url) else { continue };
                let mut ports = pod.applications().flat_map(|container| container.ports()).peekable();
                // An application need not declare its ports. One that declares others probably means those.
                if ports.peek().is_some() && !ports.any(|(number, ..)| number == port) {
                    let message = format!(
                        "credential {} notifies port {port}, which no container declares",
                        credential.name
                    );
                    report.add(NOTIFIED_PORT, object, place, message);
                }
            }
            OnChange::Touch(_) => {}
        }
    }
}

fn annotation(subject: &Subject<'_, '_>, credential: &Credential) -> String {
    format!("{}/{}.on-change", subject.prefix, credential.name)
}

/// Reports that podcreds may not send signals, if no application runs as its user.
fn users<'a>(subject: &Subject<'_, 'a>, process: &str, credential: &Credential, report: &mut Report<'a>) {
    let pod = &subject.pod;
    let Some((sidecar, _)) = pod.writers().find(|(_, program)| program.subcommand == Subcommand::Sidecar)
    else {
        return;
    };
    let Some(sender) = pod.user(sidecar).filter(|user| *user != 0) else { return };
    let mut receivers = pod.applications().map(|container| pod.user(container)).peekable();
    if receivers.peek().is_some() && receivers.all(|user| user.is_some_and(|user| user != sender)) {
        let message = format!(
            "podcreds runs as user {sender}, and may not send signals to {process}: all other containers run as other users"
        );
        let place = subject.template().annotation_place(&annotation(subject, credential));
        report.add(SIGNAL_USER, subject.object(), place, message);
    }
}

/// The port of a URL of the pod itself. `None` means another host.
pub(super) fn local_port(url: &str) -> Option<u64> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (host, port.parse().ok()?),
        _ => (authority, if scheme == "https" { 443 } else { 80 }),
    };
    let is_local = host.eq_ignore_ascii_case("localhost") || host == "[::1]" || host.starts_with("127.");
    is_local.then_some(port)
}
