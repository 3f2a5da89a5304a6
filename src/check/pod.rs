//! A pod template as the checks see it: its containers with what they run, their mounts, and the volumes.

use crate::check::program::{Program, Setting, Subcommand};
use crate::manifest::{Place, Template};
use crate::object::is_subdomain;
use crate::rbac::repository;
use crate::yaml::Node;

/// Where podcreds' volume is mounted unless flags say otherwise.
pub(super) const DEFAULT_VOLUME: &str = "/podcreds";
/// The user of podcreds' image.
const IMAGE_USER: u64 = 65532;

pub(super) struct Pod<'a> {
    pub(super) template: Template<'a>,
    /// The init containers, then the others.
    pub(super) containers: Vec<Container<'a>>,
    /// Whether podcreds' container, volume and mounts are added later.
    pub(super) is_injected: bool,
    /// Whether it has a container with the name of the one that the injection adds.
    pub(super) has_own: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// An init container that must end.
    Init,
    /// An init container with `restartPolicy: Always`.
    NativeSidecar,
    Main,
}

pub(super) struct Container<'a> {
    pub(super) node: &'a Node,
    pub(super) name: &'a str,
    pub(super) role: Role,
    /// `None` means that it does not run podcreds.
    pub(super) program: Option<Program<'a>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Mount<'a> {
    pub(super) node: &'a Node,
    /// Without a slash at its end.
    pub(super) path: &'a str,
    pub(super) volume: &'a str,
    pub(super) sub_path: Option<&'a str>,
    pub(super) is_read_only: bool,
}

impl<'a> Pod<'a> {
    pub(super) fn new(template: Template<'a>, injected: bool) -> Self {
        let list = |key| template.spec().and_then(|spec| spec.get(key)).map(Node::items).unwrap_or_default();
        let init = list("initContainers").iter().map(|node| {
            let is_native = node.get("restartPolicy").and_then(Node::text) == Some("Always");
            (node, if is_native { Role::NativeSidecar } else { Role::Init })
        });
        let all = init.chain(list("containers").iter().map(|node| (node, Role::Main)));
        let mut containers = Vec::new();
        for (node, role) in all {
            let name = node.get("name").and_then(Node::text).unwrap_or_default();
            let mut container = Container { node, name, role, program: None };
            container.program = Program::of_container(&container);
            containers.push(container);
        }
        let is_labeled = inject_label(template.node).and_then(Node::text) == Some("true");
        let has_own = containers.iter().any(|container| container.name == "podcreds");
        Self { template, containers, is_injected: (injected || is_labeled) && !has_own, has_own }
    }

    /// Each call of podcreds with its container, in the order of the pod.
    pub(super) fn programs(&self) -> impl Iterator<Item = (&Container<'a>, &Program<'a>)> {
        self.containers.iter().filter_map(|container| Some((container, container.program.as_ref()?)))
    }

    pub(super) fn writers(&self) -> impl Iterator<Item = (&Container<'a>, &Program<'a>)> {
        self.programs().filter(|(_, program)| program.writes())
    }

    /// The prefix of the annotations that a container passes, if it is valid.
    pub(super) fn prefix(&self) -> Option<&'a str> {
        let mut prefix = None;
        for (_, program) in self.programs().filter(|(_, program)| program.reads_sources()) {
            if let Setting::Text(own) = program.setting("--annotation-prefix") {
                prefix = Some(own.trim_end_matches('/')).filter(|own| is_subdomain(own));
            }
        }
        prefix
    }

    pub(super) fn has(&self, subcommand: Subcommand) -> bool {
        self.programs().any(|(_, program)| program.subcommand == subcommand)
    }

    /// The containers that do not run `init`, `sidecar` or `install`.
    pub(super) fn applications(&self) -> impl Iterator<Item = &Container<'a>> {
        self.containers.iter().filter(|container| {
            let is_ours =
                |program: &Program<'_>| program.writes() || program.subcommand == Subcommand::Install;
            !container.program.as_ref().is_some_and(is_ours)
        })
    }

    /// Whether the injection mounts the volume at this path of a container.
    pub(super) fn is_mounted_later(&self, container: &Container<'a>, path: &str) -> bool {
        let chosen = self.template.node.find(&["metadata", "annotations", "inject.podcreds.io/containers"]);
        let chosen = chosen.and_then(Node::text).unwrap_or_default();
        let is_chosen = || chosen.split(',').any(|name| name.trim() == container.name);
        self.is_injected && below(path, DEFAULT_VOLUME).is_some() && (chosen.trim().is_empty() || is_chosen())
    }

    pub(super) fn spec(&self, path: &[&str]) -> Option<&'a Node> {
        self.template.spec()?.find(path)
    }

    pub(super) fn is_on(&self, key: &str) -> bool {
        self.spec(&[key]).and_then(Node::boolean) == Some(true)
    }

    /// The declaration of a volume.
    pub(super) fn volume(&self, name: &str) -> Option<&'a Node> {
        let volumes = self.spec(&["volumes"]).map(Node::items).unwrap_or_default();
        volumes.iter().find(|volume| volume.get("name").and_then(Node::text) == Some(name))
    }

    /// Whether a StatefulSet claims a volume of this name for each pod.
    pub(super) fn claims(&self, name: &str) -> bool {
        let claims = self.template.object.node.find(&["spec", "volumeClaimTemplates"]);
        let mut claims = claims.map(Node::items).unwrap_or_default().iter();
        claims.any(|claim| claim.find(&["metadata", "name"]).and_then(Node::text) == Some(name))
    }

    /// The names of the volumes that podcreds writes to.
    pub(super) fn volumes(&self) -> Vec<&'a str> {
        let mut names = Vec::new();
        if self.is_injected {
            names.push("podcreds");
        }
        for (container, program) in self.writers() {
            let path = program.setting("--volume").or(DEFAULT_VOLUME);
            if let Some(mount) = path.and_then(|path| container.mount_of(path))
                && !names.contains(&mount.volume)
            {
                names.push(mount.volume);
            }
        }
        names
    }

    /// The user that a container runs as. `None` means that its image decides.
    pub(super) fn user(&self, container: &Container<'a>) -> Option<u64> {
        let own = container.node.find(&["securityContext", "runAsUser"]);
        let user = own.or_else(|| self.spec(&["securityContext", "runAsUser"]));
        match user {
            Some(user) => user.whole_number(),
            None if repository(container.image()) == "podcreds" => Some(IMAGE_USER),
            None => None,
        }
    }

    pub(super) fn place(&self, node: &Node) -> Place<'a> {
        self.template.object.place(node)
    }
}

/// The label that asks for injection.
pub(super) fn inject_label(node: &Node) -> Option<&Node> {
    node.find(&["metadata", "labels", "podcreds.io/inject"])
}

impl<'a> Container<'a> {
    pub(super) fn image(&self) -> &'a str {
        self.node.get("image").and_then(Node::text).unwrap_or_default()
    }

    pub(super) fn mounts(&self) -> impl Iterator<Item = Mount<'a>> {
        let mounts = self.node.get("volumeMounts").map(Node::items).unwrap_or_default();
        mounts.iter().filter_map(|node| {
            let text = |key| node.get(key).and_then(Node::text);
            Some(Mount {
                node,
                path: trimmed(text("mountPath")?),
                volume: text("name")?,
                sub_path: text("subPath").or_else(|| text("subPathExpr")),
                is_read_only: node.get("readOnly").and_then(Node::boolean) == Some(true),
            })
        })
    }

    /// The mount that a path is in: the one with the longest path.
    pub(super) fn mount_of(&self, path: &str) -> Option<Mount<'a>> {
        let mut found: Option<Mount<'a>> = None;
        for mount in self.mounts().filter(|mount| below(trimmed(path), mount.path).is_some()) {
            if found.is_none_or(|other| mount.path.len() > other.path.len()) {
                found = Some(mount);
            }
        }
        found
    }

    /// The port numbers that it declares, each with its name.
    pub(super) fn ports(&self) -> impl Iterator<Item = (u64, Option<&'a str>, &'a Node)> {
        let ports = self.node.get("ports").map(Node::items).unwrap_or_default();
        ports.iter().filter_map(|port| {
            let protocol = port.get("protocol").and_then(Node::text).unwrap_or("TCP");
            let number = port.get("containerPort")?.whole_number()?;
            (protocol == "TCP").then_some((number, port.get("name").and_then(Node::text), port))
        })
    }

    /// As messages name it.
    pub(super) fn label(&self) -> String {
        let kind = if self.role == Role::Main { "container" } else { "init container" };
        format!("{kind} {}", self.name)
    }
}

/// A path without slashes at its end.
pub(super) fn trimmed(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() { "/" } else { trimmed }
}

/// The part of a path below a directory; empty for the directory itself. `None` means that it is elsewhere.
pub(super) fn below<'p>(path: &'p str, directory: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(directory.trim_end_matches('/'))?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

/// A quantity of bytes, such as `8Mi`. `None` means that it is not one, or that it has a fraction.
pub(super) fn bytes(node: &Node) -> Option<u64> {
    if let Some(number) = node.whole_number() {
        return Some(number);
    }
    let text = node.text()?;
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" => 1,
        "k" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}
