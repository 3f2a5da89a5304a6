//! Whether applications read what podcreds writes: paths in arguments and variables, `fileKeyRef`, and files that only their owner can
//! read.

use crate::check::pod::{Container, DEFAULT_VOLUME, below};
use crate::check::program::{Program, Subcommand};
use crate::check::rule::{FILE_KEY_REF, FILE_OWNER, UNKNOWN_PATH};
use crate::check::{Level, Report, Subject};
use crate::credential::{Credential, EnvFileFormat, FieldName, KeyMapping, OnChange, Output};
use crate::object::Kind;
use crate::text::{nearest, suggest};
use crate::yaml::Node;

/// The permissions of others than the owner.
const OTHERS: u32 = 0o044;

/// The paths that the credentials write, relative to the volume.
#[derive(Default)]
pub(super) struct Written {
    files: Vec<String>,
    /// Directories whose files depend on the keys of their sources.
    open: Vec<String>,
}

impl Written {
    pub(super) fn new(credentials: &[Credential]) -> Self {
        let mut written = Self::default();
        for credential in credentials {
            let path = credential.path.to_string();
            match &credential.output {
                Output::Files if has_known_fields(credential) => {
                    for field in credential.named_fields() {
                        written.files.push(credential.path.join(field).to_string());
                    }
                }
                Output::Files | Output::Pkcs12 => written.open.push(path),
                _ => written.files.push(path),
            }
            if let Some(OnChange::Touch(name)) = &credential.on_change {
                written.files.push(name.to_string());
            }
        }
        written
    }

    pub(super) fn has_file(&self, path: &str) -> bool {
        self.files.iter().any(|file| file == path)
    }

    /// Whether a path is a directory with known files, or a directory that may have any.
    pub(super) fn has_directory(&self, path: &str) -> bool {
        let is_inside = |file: &String| below(file, path).is_some_and(|rest| !rest.is_empty());
        path.is_empty() || self.is_open_directory(path) || self.files.iter().chain(&self.open).any(is_inside)
    }

    /// Whether a path is in a directory that may have any files.
    pub(super) fn is_open(&self, path: &str) -> bool {
        self.open.iter().any(|directory| below(path, directory).is_some())
    }

    pub(super) fn is_open_directory(&self, path: &str) -> bool {
        self.open.iter().any(|directory| directory == path)
    }

    pub(super) fn suggest(&self, path: &str) -> String {
        let near = nearest(path, self.files.iter().chain(&self.open).map(String::as_str));
        match near {
            Some(_) => suggest(near),
            None => format!("; they write {}", self.list()),
        }
    }

    fn list(&self) -> String {
        let directories = self.open.iter().map(|directory| format!("{directory}/"));
        let all: Vec<_> = self.files.iter().cloned().chain(directories).collect();
        let shown = &all[..all.len().min(8)];
        crate::text::and_more(shown, all.len() - shown.len())
    }
}

/// Whether the annotations name all fields.
pub(super) fn has_known_fields(credential: &Credential) -> bool {
    let is_listed = matches!(credential.key_mapping, KeyMapping::Listed(_)) || credential.sources.is_empty();
    is_listed && !credential.sources.iter().any(|source| source.object.kind == Kind::Service)
}

pub(super) fn check<'a>(subject: &Subject<'_, 'a>, report: &mut Report<'a>) {
    let pod = &subject.pod;
    let Some(credentials) = subject.credentials.as_ref().filter(|credentials| !credentials.is_empty()) else {
        return;
    };
    let written = Written::new(credentials);
    let volumes = pod.volumes();
    for container in &pod.containers {
        file_keys(subject, container, credentials, report);
        if container.program.as_ref().is_some_and(Program::writes) {
            continue;
        }
        for volume in &volumes {
            let mut mounts: Vec<_> = container
                .mounts()
                .filter(|mount| mount.volume == *volume && mount.sub_path.is_none())
                .map(|mount| mount.path)
                .collect();
            if mounts.is_empty() && pod.is_injected {
                mounts.push(DEFAULT_VOLUME);
            }
            for mount in mounts {
                paths(subject, container, mount, &written, report);
            }
        }
    }
    owners(subject, credentials, report);
}

/// Checks the paths below a mount in the arguments and variables of a container.
fn paths<'a>(
    subject: &Subject<'_, 'a>,
    container: &Container<'a>,
    mount: &str,
    written: &Written,
    report: &mut Report<'a>,
) {
    let env = container.node.get("env").map(Node::items).unwrap_or_default();
    let lists = ["command", "args"].into_iter().filter_map(|key| container.node.get(key));
    let texts = lists.flat_map(Node::items).chain(env.iter().filter_map(|entry| entry.get("value")));
    let installed: Vec<_> = subject
        .pod
        .programs()
        .filter(|(_, program)| program.subcommand == Subcommand::Install)
        .filter_map(|(_, program)| program.operand())
        .collect();
    for node in texts {
        for path in paths_in(node.text().unwrap_or_default(), mount) {
            let (path, is_whole) = path;
            let inside = path.trim_end_matches('/');
            let full = format!("{mount}/{inside}");
            let is_known = match is_whole {
                true => written.has_file(inside) || written.has_directory(inside) || written.is_open(inside),
                // A pattern, or the beginning of a longer path.
                false => inside.is_empty() || written.has_directory(inside) || written.is_open(inside),
            };
            // podcreds' own links, and its binary.
            let is_binary =
                container.program.as_ref().and_then(|program| program.binary) == Some(full.as_str());
            let is_own = is_binary
                || inside.split('/').any(|part| part.starts_with(".."))
                || installed
                    .iter()
                    .any(|target| below(target, mount).is_some_and(|target| target.starts_with(inside)));
            // Another volume may be mounted there.
            let is_other = container.mount_of(&full).is_some_and(|other| other.path != mount);
            if !is_known && !is_own && !is_other && is_whole {
                let message = format!(
                    "{} refers to {full}, which no credential writes{}",
                    container.label(),
                    written.suggest(inside)
                );
                report.add(UNKNOWN_PATH, subject.object(), subject.pod.place(node), message);
            }
        }
    }
}

/// The paths below a directory that a text contains, and whether each ends there: a pattern or a variable may follow.
pub(super) fn paths_in<'t>(text: &'t str, directory: &str) -> Vec<(&'t str, bool)> {
    let mut found = Vec::new();
    let mut rest = text;
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '+' | '@');
    while let Some(at) = rest.find(directory) {
        let before = rest[..at].chars().next_back();
        rest = &rest[at + directory.len()..];
        let Some(path) = rest.strip_prefix('/').filter(|_| !before.is_some_and(is_part)) else { continue };
        let end = path.find(|c| !is_part(c)).unwrap_or(path.len());
        let is_whole = !path[end..].starts_with(['*', '?', '[', '$', '{', '%', '<', '\\']);
        // The full stop of a sentence is not part of a path.
        found.push((path[..end].trim_end_matches(['.', ':']), is_whole));
    }
    found
}

/// Checks variables that the kubelet reads from files.
fn file_keys<'a>(
    subject: &Subject<'_, 'a>,
    container: &Container<'a>,
    credentials: &[Credential],
    report: &mut Report<'a>,
) {
    let pod = &subject.pod;
    for entry in container.node.get("env").map(Node::items).unwrap_or_default() {
        let Some(reference) = entry.find(&["valueFrom", "fileKeyRef"]) else { continue };
        let text = |key| reference.get(key).and_then(Node::text);
        let (Some(volume), Some(path), Some(key)) = (text("volumeName"), text("path"), text("key")) else {
            continue;
        };
        if !pod.volumes().contains(&volume) {
            continue;
        }
        let writers: Vec<_> =
            credentials.iter().filter(|credential| credential.path.to_string() == path).collect();
        let message = if writers.is_empty() {
            format!(
                "fileKeyRef names the file {path}, which no credential writes{}",
                Written::new(credentials).suggest(path)
            )
        } else if let Some(credential) =
            writers.iter().find(|credential| credential.output.env_file() != Some(EnvFileFormat::Envfile))
        {
            format!(
                "fileKeyRef names the file {path}, and credential {} writes it in another format than envfile",
                credential.name
            )
        } else if let Some(known) = known_variables(&writers)
            && !known.iter().any(|name| name.as_str() == key)
        {
            format!(
                "fileKeyRef names the key {key}, which {path} does not have{}",
                suggest(nearest(key, known.iter().map(|name| name.as_str())))
            )
        } else {
            continue;
        };
        let object = subject.object();
        report.add(FILE_KEY_REF, object, pod.place(reference), message);
        // The container starts without the variable.
        if reference.get("optional").and_then(Node::boolean) == Some(true) {
            for finding in
                report.findings.iter_mut().filter(|finding| finding.place == Some(pod.place(reference)))
            {
                finding.level = Level::Warning;
            }
        }
    }
}

/// The variables of an env file. `None` means that they depend on the keys of the sources.
fn known_variables<'c>(credentials: &[&'c Credential]) -> Option<Vec<&'c FieldName>> {
    let mut names = Vec::new();
    for credential in credentials {
        match credential.output.exported_variables() {
            Some(variables) => names.extend(variables.into_iter().flatten()),
            None if has_known_fields(credential) => names.extend(credential.named_fields()),
            None => return None,
        }
    }
    Some(names)
}

/// Reports files that only their owner can read, if the application runs as another user.
fn owners<'a>(subject: &Subject<'_, 'a>, credentials: &[Credential], report: &mut Report<'a>) {
    let pod = &subject.pod;
    let private =
        credentials.iter().find(|credential| credential.mode.is_some_and(|mode| mode.bits() & OTHERS == 0));
    let Some(credential) = private else { return };
    for (writer, _) in pod.writers() {
        for container in pod.applications() {
            let shares =
                container.mounts().any(|mount| writer.mounts().any(|other| other.volume == mount.volume));
            let (Some(owner), Some(reader)) = (pod.user(writer), pod.user(container)) else { continue };
            // Root may read every file.
            if shares && owner != reader && reader != 0 {
                let message = format!(
                    "{} runs as user {reader} and cannot read {}, whose mode allows only its owner, user {owner}",
                    container.label(),
                    credential.path
                );
                report.add(FILE_OWNER, subject.object(), pod.place(container.node), message);
            }
        }
    }
}
