//! What to change in a pod template.

use crate::inject::container::{Container, NAME, SIDECAR, matches, parse, quote};
use crate::inject::requests::{INJECT_PREFIX, Requests};
use crate::inject::{Mode, Options};
use crate::manifest::Template;
use crate::manifest::edit::{Action, Change, Step};
use crate::rbac::repository;
use crate::yaml::{Node, SyntaxError};

/// The label that opts a pod in or out of the policy.
const LABEL: &str = "podcreds.io/inject";
const DEFAULT_VOLUME_SIZE: &str = "1Mi";

/// What to do with a pod template.
#[derive(Debug)]
pub(super) enum Plan {
    /// Nothing to remove.
    Nothing,
    /// The template stays as it is, for this reason.
    Left(String),
    Edit {
        changes: Vec<Change>,
        /// For the user.
        done: String,
        warnings: Vec<String>,
    },
}

const INIT_CONTAINERS: &str = "initContainers";
const CONTAINERS: &str = "containers";
const MOUNTS: &str = "volumeMounts";
const VOLUMES: &str = "volumes";

/// The lists of containers with podcreds, and the names.
const SLOTS: [(&str, &str); 2] = [(INIT_CONTAINERS, NAME), (CONTAINERS, SIDECAR)];

/// Plans the changes of a pod template. Reports wrong annotations.
pub(super) fn for_template(
    text: &str,
    template: &Template<'_>,
    options: &Options,
    problems: &mut Vec<String>,
) -> Result<Plan, SyntaxError> {
    let Some(spec) = template.spec() else {
        return Ok(Plan::Left("the pod template has no spec".to_owned()));
    };
    let pod = Pod::new(template, spec);
    let label = template.node.get("metadata").and_then(|metadata| metadata.get("labels")?.get(LABEL)?.text());
    if label == Some("false") && !options.uninject {
        return Ok(Plan::Left(format!("it has the label {LABEL}: \"false\"")));
    }
    let mut found = [None, None];
    for (found, (list, name)) in found.iter_mut().zip(SLOTS) {
        let Some(index) = pod.all.iter().position(|entry| entry.name == name) else { continue };
        let entry = &pod.all[index];
        match Container::read(entry.node)?.filter(|_| entry.list == list) {
            Some(container) => *found = Some((index, container)),
            None => {
                let advice = match options.uninject {
                    true => "remove it by hand",
                    false => "remove it if it should be injected",
                };
                return Ok(Plan::Left(format!(
                    "its container {name} is not one that podcreds inject adds, or was edited; {advice}"
                )));
            }
        }
    }
    if options.uninject {
        return Ok(pod.remove(text, &found));
    }
    if let Some(entry) = pod.all.iter().find(|entry| !entry.is_slot() && runs_podcreds(entry.node)) {
        return Ok(Plan::Left(format!("its container {} runs podcreds itself", entry.name)));
    }
    let names: Vec<_> = pod.all.iter().map(|entry| entry.name).collect();
    let place = template.object.place(template.node);
    if pod.all.iter().all(|entry| entry.list != CONTAINERS) {
        problems.push(format!("{place}: {}: the pod template has no containers", template.object));
        return Ok(Plan::Nothing);
    }
    let Some(requests) = Requests::read(template, &names, options, problems) else {
        return Ok(Plan::Nothing);
    };
    pod.add(&found, &requests, options)
}

/// Whether the container of an application starts podcreds, as for `podcreds exec`.
fn runs_podcreds(container: &Node) -> bool {
    let is_image =
        container.get("image").and_then(Node::text).is_some_and(|image| repository(image).contains(NAME));
    let words = container.get("command").map(Node::items).unwrap_or_default();
    is_image || words.iter().filter_map(Node::text).any(|word| word.rsplit('/').next() == Some(NAME))
}

/// A container of a pod.
struct Entry<'a> {
    list: &'static str,
    index: usize,
    name: &'a str,
    node: &'a Node,
}

impl Entry<'_> {
    fn is_slot(&self) -> bool {
        SLOTS.iter().any(|(_, name)| *name == self.name)
    }

    fn path(&self) -> [Step; 2] {
        [Step::Key(self.list), Step::Item(self.index)]
    }
}

/// A pod template under change.
struct Pod<'a> {
    spec: &'a Node,
    /// From the object to `spec`.
    path: Vec<Step>,
    all: Vec<Entry<'a>>,
    is_job: bool,
}

impl<'a> Pod<'a> {
    fn new(template: &Template<'a>, spec: &'a Node) -> Self {
        let mut path = Vec::new();
        path.extend(template.path.iter().map(|key| Step::Key(key)));
        path.push(Step::Key("spec"));
        let mut all = Vec::new();
        for list in [INIT_CONTAINERS, CONTAINERS] {
            for (index, node) in spec.get(list).map(Node::items).unwrap_or_default().iter().enumerate() {
                let name = node.get("name").and_then(Node::text).unwrap_or_default();
                all.push(Entry { list, index, name, node });
            }
        }
        Self { spec, path, all, is_job: template.object.kind.ends_with("Job") }
    }

    fn volume(&self) -> Option<(usize, &'a Node)> {
        let volumes = self.spec.get(VOLUMES).map(Node::items).unwrap_or_default();
        volumes.iter().enumerate().find(|(_, volume)| is_named(volume))
    }

    fn change(&self, steps: &[Step], action: Action) -> Change {
        Change { path: [&self.path, steps].concat(), action }
    }

    /// Adds an item to a list, which may be missing.
    fn append(
        &self,
        (parent, path): (&Node, &[Step]),
        key: &'static str,
        (item, is_first): (&str, bool),
    ) -> Result<Change, SyntaxError> {
        let mut path = path.to_vec();
        path.push(Step::Key(key));
        let written = parent.children().iter().any(|child| child.key == Some(key));
        let before = (key == INIT_CONTAINERS).then_some(CONTAINERS);
        let action = match parent.get(key) {
            Some(list) => {
                path.push(Step::Item(if is_first { 0 } else { list.items().len() }));
                Action::Insert { value: parse(item)?, before: None }
            }
            None if written => Action::Replace(parse(&format!("[{item}]"))?),
            None => Action::Insert { value: parse(&format!("[{item}]"))?, before },
        };
        Ok(self.change(&path, action))
    }

    fn add(
        &self,
        found: &[Option<(usize, Container<'_>)>; 2],
        requests: &Requests<'_>,
        options: &Options,
    ) -> Result<Plan, SyntaxError> {
        let old_path = found.iter().flatten().map(|(_, container)| container.mount_path).next();
        let path = options.mount_path.as_str();
        let mount =
            |path: &str| format!(r#"{{"name": "{NAME}", "mountPath": {}, "readOnly": true}}"#, quote(path));
        let mut changes = Vec::new();
        let chosen = |name: &str| requests.containers.is_empty() || requests.containers.contains(&name);
        for entry in self.all.iter().filter(|entry| !entry.is_slot() && chosen(entry.name)) {
            let mounts = entry.node.get(MOUNTS).map(Node::items).unwrap_or_default();
            let steps = entry.path();
            match mounts.iter().position(|mount| is_named(mount) || mount_path(mount) == Some(path)) {
                None => changes.push(self.append((entry.node, &steps), MOUNTS, (&mount(path), false))?),
                Some(index) => {
                    let own =
                        old_path.filter(|old| *old != path).map(|old| parse(&mount(old))).transpose()?;
                    if own.is_some_and(|own| own.is_same(&mounts[index])) {
                        let steps = [&steps[..], &[Step::Key(MOUNTS), Step::Item(index)]].concat();
                        changes.push(self.change(&steps, Action::Replace(parse(&mount(path))?)));
                    }
                }
            }
        }
        let mut first = None;
        for ((found, (list, name)), is_init) in found.iter().zip(SLOTS).zip([true, false]) {
            let wanted = is_init || requests.mode == Mode::Sidecar;
            let container = self.container(name, is_init, requests, options);
            match found {
                None if wanted => {
                    let change = self.append((self.spec, &[]), list, (&container.json(), is_init))?;
                    // Insertions at the front shift the other containers, so they come last.
                    if is_init { first = Some(change) } else { changes.push(change) }
                }
                None => {}
                Some((index, _)) => {
                    let entry = &self.all[*index];
                    let value = parse(&container.json())?;
                    if !wanted {
                        changes.push(self.change(&entry.path(), Action::Remove));
                    } else if !matches(&value, entry.node) {
                        changes.push(self.change(&entry.path(), Action::Replace(value)));
                    }
                }
            }
        }
        let volume = |size: &str| {
            format!(
                r#"{{"name": "{NAME}", "emptyDir": {{"medium": "Memory", "sizeLimit": {}}}}}"#,
                quote(size)
            )
        };
        let size = options.volume_size.as_deref();
        match (self.volume(), size) {
            (None, size) => {
                let item = volume(size.unwrap_or(DEFAULT_VOLUME_SIZE));
                changes.push(self.append((self.spec, &[]), VOLUMES, (&item, false))?);
            }
            (Some((index, node)), Some(size)) if size_limit(node).is_some_and(|old| old != size) => {
                let is_own = size_limit(node).map(|old| parse(&volume(old))).transpose()?;
                if is_own.is_some_and(|own| own.is_same(node)) {
                    let steps = [Step::Key(VOLUMES), Step::Item(index)];
                    changes.push(self.change(&steps, Action::Replace(parse(&volume(size))?)));
                }
            }
            _ => {}
        }
        changes.extend(first);
        let is_new = found.iter().all(Option::is_none);
        let done = match (changes.is_empty(), is_new) {
            (true, _) => "unchanged: podcreds is injected already".to_owned(),
            (_, true) => format!("injected podcreds (mode {})", requests.mode.name()),
            _ => format!("updated podcreds (mode {})", requests.mode.name()),
        };
        Ok(Plan::Edit { changes, done, warnings: self.warnings(requests) })
    }

    fn warnings(&self, requests: &Requests<'_>) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.spec.get("automountServiceAccountToken").and_then(Node::boolean) == Some(false) {
            warnings.push(
                "podcreds has no service account token in this pod: set automountServiceAccountToken: true in the pod's spec"
                    .to_owned(),
            );
        }
        let is_writable = |volume: &Node| volume.entries().any(|(key, ..)| key == "emptyDir");
        if self.volume().is_some_and(|(_, volume)| !is_writable(volume)) {
            warnings.push(format!(
                "the pod's own volume {NAME} is not an emptyDir, and podcreds writes its files there: rename that volume"
            ));
        }
        let listens = |entry: &&Entry<'_>| {
            let ports = entry.node.get("ports").map(Node::items).unwrap_or_default();
            ports.iter().any(|port| {
                port.get("containerPort")
                    .and_then(Node::scalar)
                    .is_some_and(|(text, _)| text == requests.port)
            })
        };
        let taken = self.all.iter().filter(|entry| !entry.is_slot()).find(listens);
        if let Some(entry) = taken.filter(|_| requests.mode != Mode::Init) {
            warnings.push(format!(
                "port {} is a port of container {} and of podcreds: choose another one for podcreds in the annotation {INJECT_PREFIX}/port",
                requests.port, entry.name
            ));
        }
        if self.is_job && requests.mode == Mode::Sidecar {
            warnings.push(
                "an ordinary sidecar keeps running, so the Job does not complete: choose the mode native-sidecar or init"
                    .to_owned(),
            );
        }
        warnings
    }

    fn container<'o>(
        &self,
        name: &'o str,
        is_init: bool,
        requests: &'o Requests<'_>,
        options: &'o Options,
    ) -> Container<'o> {
        let is_native = is_init && requests.mode == Mode::NativeSidecar;
        let mut args = vec![if is_native || !is_init { "sidecar" } else { "init" }];
        args.extend(options.args.iter().map(String::as_str));
        let user = self.spec.find(&["securityContext", "runAsUser"]).and_then(Node::whole_number);
        Container {
            name,
            image: &options.image,
            pull_policy: options.pull_policy.as_deref(),
            args,
            is_native,
            port: &requests.port,
            mount_path: &options.mount_path,
            memory_limit: &options.memory_limit,
            sets_user: user == Some(0),
        }
    }

    /// Removes what was added.
    fn remove(&self, text: &str, found: &[Option<(usize, Container<'_>)>; 2]) -> Plan {
        let Some(path) = found.iter().flatten().map(|(_, container)| container.mount_path).next() else {
            return Plan::Nothing;
        };
        let mut changes = Vec::new();
        for (index, _) in found.iter().flatten() {
            let entry = &self.all[*index];
            changes.push(self.remove_item(text, (self.spec, &[]), entry.list, entry.index));
        }
        let mut is_volume_used = false;
        for entry in self.all.iter().filter(|entry| !entry.is_slot()) {
            for (index, mount) in
                entry.node.get(MOUNTS).map(Node::items).unwrap_or_default().iter().enumerate()
            {
                let is_own = is_named(mount)
                    && mount_path(mount) == Some(path)
                    && mount.get("readOnly").and_then(Node::boolean) == Some(true)
                    && mount.entries().count() == 3;
                if is_own {
                    changes.push(self.remove_item(text, (entry.node, &entry.path()), MOUNTS, index));
                } else {
                    is_volume_used |= is_named(mount);
                }
            }
        }
        if let Some((index, volume)) = self.volume().filter(|_| !is_volume_used)
            && size_limit(volume).is_some()
        {
            changes.push(self.remove_item(text, (self.spec, &[]), VOLUMES, index));
        }
        Plan::Edit { changes, done: "removed podcreds".to_owned(), warnings: Vec::new() }
    }

    /// Removes an item, and the list if it is empty afterwards. An empty list in which the item was written stays.
    fn remove_item(
        &self,
        text: &str,
        (parent, path): (&Node, &[Step]),
        key: &'static str,
        index: usize,
    ) -> Change {
        let mut path = path.to_vec();
        path.push(Step::Key(key));
        let is_last = parent
            .get(key)
            .is_some_and(|list| list.items().len() == 1 && !text[list.span().start..].starts_with("[ "));
        if !is_last {
            path.push(Step::Item(index));
        }
        self.change(&path, Action::Remove)
    }
}

/// Whether this volume or mount is of the volume of podcreds.
fn is_named(node: &Node) -> bool {
    node.get("name").and_then(Node::text) == Some(NAME)
}

/// Without a slash at its end, as in the options.
fn mount_path(mount: &Node) -> Option<&str> {
    let path = mount.get("mountPath").and_then(Node::text)?;
    Some(path.trim_end_matches('/'))
}

/// The size of a volume as it is added. `None` means another kind of volume.
fn size_limit(volume: &Node) -> Option<&str> {
    let directory = volume.get("emptyDir").filter(|directory| directory.entries().count() == 2)?;
    let is_memory = directory.get("medium").and_then(Node::text) == Some("Memory");
    let size = directory.get("sizeLimit").and_then(Node::text).filter(|_| is_memory);
    size.filter(|_| volume.entries().count() == 2)
}
