//! The volume that podcreds writes to, and who mounts it how.

use crate::check::containers::volume_path;
use crate::check::files::Written;
use crate::check::pod::{Container, Mount, bytes, trimmed};
use crate::check::program::Subcommand;
use crate::check::rule::{
    DUPLICATE_MOUNT, MEMORY_LIMIT, NO_MOUNT, NO_VOLUME, NOT_MOUNTED, READ_ONLY_MOUNT, SUB_PATH,
    VOLUME_ON_DISK, VOLUME_SIZE, VOLUME_TYPE,
};
use crate::check::{Report, Subject};
use crate::yaml::Node;

/// What podcreds' binary takes, in bytes, with room for the files.
const INSTALLED_SIZE: u64 = 5 << 20;

pub(super) fn check<'a>(subject: &Subject<'_, 'a>, report: &mut Report<'a>) {
    let (pod, object) = (&subject.pod, subject.object());
    for (container, program) in pod.programs() {
        let reads = program.reads_volume();
        if !program.writes() && !reads {
            continue;
        }
        let Some(path) = volume_path(program) else { continue };
        match container.mount_of(path) {
            None if reads && pod.is_mounted_later(container, path) => {}
            None => {
                let others: Vec<_> = container.mounts().map(|mount| mount.path.to_owned()).collect();
                let others = if others.is_empty() { "nothing".to_owned() } else { others.join(", ") };
                let message = format!("{} mounts no volume at {path}; it mounts {others}", container.label());
                report.add(NO_MOUNT, object, pod.place(container.node), message);
            }
            Some(mount) if mount.is_read_only && program.writes() => {
                let message = format!(
                    "{} mounts the volume {} read-only, and podcreds writes to it",
                    container.label(),
                    mount.volume
                );
                report.add(READ_ONLY_MOUNT, object, pod.place(mount.node), message);
            }
            Some(_) => {}
        }
    }
    for container in &pod.containers {
        duplicates(subject, container, report);
    }
    for name in pod.volumes() {
        declaration(subject, name, report);
        users(subject, name, report);
    }
}

fn duplicates<'a>(subject: &Subject<'_, 'a>, container: &Container<'a>, report: &mut Report<'a>) {
    let mut seen: Vec<&str> = Vec::new();
    for mount in container.mounts() {
        if seen.contains(&mount.path) {
            let message = format!("{} has two mounts at {}", container.label(), mount.path);
            report.add(DUPLICATE_MOUNT, subject.object(), subject.pod.place(mount.node), message);
        }
        seen.push(mount.path);
    }
}

/// Checks the declaration of a volume that podcreds writes to.
fn declaration<'a>(subject: &Subject<'_, 'a>, name: &str, report: &mut Report<'a>) {
    let (pod, object) = (&subject.pod, subject.object());
    let Some(volume) = pod.volume(name) else {
        let mounts = pod.containers.iter().flat_map(Container::mounts);
        // An injected pod gets the volume with the container.
        let mount = mounts
            .into_iter()
            .find(|mount| mount.volume == name)
            .filter(|_| !pod.is_injected && !pod.claims(name));
        if let Some(mount) = mount {
            report.add(
                NO_VOLUME,
                object,
                pod.place(mount.node),
                format!("the pod has no volume {name}, which a container mounts"),
            );
        }
        return;
    };
    let Some(directory) = volume.entries().find(|(key, ..)| *key == "emptyDir").map(|(.., node)| node) else {
        let kind = volume.entries().map(|(key, ..)| key).find(|key| *key != "name").unwrap_or("no type");
        let message = match kind {
            "persistentVolumeClaim" | "hostPath" | "ephemeral" | "csi" | "nfs" => {
                format!("the volume {name} ({kind}) keeps the credentials after the pod is gone")
            }
            kind => format!("podcreds cannot write to the volume {name} ({kind})"),
        };
        report.add(VOLUME_TYPE, object, pod.place(volume), message);
        return;
    };
    let is_memory = directory.get("medium").and_then(Node::text) == Some("Memory");
    if !is_memory {
        report.add(
            VOLUME_ON_DISK,
            object,
            pod.place(volume),
            format!("the volume {name} is on the node's disk"),
        );
    }
    let Some((limit, limit_node)) = directory.get("sizeLimit").and_then(|node| Some((bytes(node)?, node)))
    else {
        return;
    };
    let installs = pod.programs().any(|(container, program)| {
        let target = program.operand().filter(|_| program.subcommand == Subcommand::Install);
        target.and_then(|target| container.mount_of(target)).is_some_and(|mount| mount.volume == name)
    });
    if installs && limit < INSTALLED_SIZE {
        let message = format!(
            "the volume {name} is too small for podcreds' binary, which podcreds install copies into it"
        );
        report.add(VOLUME_SIZE, object, pod.place(limit_node), message);
    }
    for (container, _) in pod.writers().filter(|_| is_memory) {
        let Some(memory) = container.node.find(&["resources", "limits", "memory"]) else { continue };
        if bytes(memory).is_some_and(|memory| memory <= limit)
            && container.mounts().any(|mount| mount.volume == name)
        {
            let message =
                format!("the memory limit of {} does not cover the volume {name}", container.label());
            report.add(MEMORY_LIMIT, object, pod.place(memory), message);
        }
    }
}

/// Checks that an application uses the volume, and how.
fn users<'a>(subject: &Subject<'_, 'a>, name: &str, report: &mut Report<'a>) {
    let (pod, object) = (&subject.pod, subject.object());
    let refers = |container: &Container<'a>| {
        container.mounts().any(|mount| mount.volume == name)
            || container.node.get("env").map(Node::items).unwrap_or_default().iter().any(|entry| {
                entry.find(&["valueFrom", "fileKeyRef", "volumeName"]).and_then(Node::text) == Some(name)
            })
    };
    if !pod.is_injected
        && pod.applications().next().is_some()
        && !pod.applications().any(refers)
        && let Some((writer, _)) = pod.writers().next()
    {
        let message =
            format!("no container of the application mounts the volume {name}, which podcreds writes to");
        report.add(NOT_MOUNTED, object, pod.place(writer.node), message);
    }
    let Some(written) = subject.credentials.as_ref().map(|credentials| Written::new(credentials)) else {
        return;
    };
    let rotates = pod.is_injected || pod.has(Subcommand::Sidecar);
    for container in pod.applications() {
        for mount in container.mounts().filter(|mount| mount.volume == name) {
            let Mount { sub_path: Some(path), node, .. } = mount else { continue };
            let path = trimmed(path);
            // The kubelet mounts the file that is there at the start, and a rotation puts another one in its place.
            let message =
                if written.has_file(path) || written.is_open(path) && !written.is_open_directory(path) {
                    if !rotates {
                        continue;
                    }
                    format!(
                        "{} mounts the file {path} with subPath, and does not see its rotation",
                        container.label()
                    )
                } else if written.has_directory(path) || path.contains('$') {
                    continue;
                } else {
                    format!(
                        "{} mounts {path} with subPath, which no credential writes{}",
                        container.label(),
                        written.suggest(path)
                    )
                };
            report.add(SUB_PATH, object, pod.place(node), message);
        }
    }
}
