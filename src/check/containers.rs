//! How the pod runs podcreds: as which kind of container, in which order, with which probes and arguments.

use crate::check::pod::{Container, DEFAULT_VOLUME, Role, below, inject_label, trimmed};
use crate::check::program::{Program, Setting, Subcommand};
use crate::check::rule::{
    ARGUMENT_TYPE, COMMAND_LINE, EXEC_BINARY, EXEC_FILES, EXEC_SHELL, EXIT_ON_CHANGE, INIT_PLACE,
    INIT_RESTARTS, NO_CONTAINER, NO_INIT, NO_STARTUP_PROBE, ORDER, SIDECAR_BLOCKS, SIDECAR_IN_JOB,
    STARTUP_PROBE, TWO_SIDECARS,
};
use crate::check::{Report, Subject};
use crate::credential::RelativePath;
use crate::yaml::Node;

/// What a pod of `podcreds exec` needs besides its binary.
const WRITE_FOR_EXEC: &str = "add a container that runs podcreds init or sidecar, and its volume, or use podcreds exec --render, which needs neither";

pub(super) fn check<'a>(subject: &Subject<'_, 'a>, report: &mut Report<'a>) {
    let pod = &subject.pod;
    let (template, object) = (subject.template(), subject.object());
    let reads = pod.programs().any(|(_, program)| program.reads_sources());
    let declined = inject_label(template.node).and_then(Node::text) == Some("false");
    if !reads
        && !pod.is_injected
        && !declined
        && !subject.is_explained
        && template.is_annotated(subject.prefix)
    {
        let place = pod.place(template.node.find(&["metadata", "annotations"]).unwrap_or(template.node));
        let exec = pod.programs().find(|(_, program)| program.subcommand == Subcommand::Exec);
        match exec {
            // podcreds inject does not change such a pod.
            Some((container, _)) => {
                let message = format!(
                    "{} runs podcreds exec, and no container writes the files that it reads",
                    container.label()
                );
                report.add_with(NO_CONTAINER, object, place, message, WRITE_FOR_EXEC.to_owned());
            }
            None => {
                let message =
                    "the pod has annotations of podcreds, but no container runs podcreds init or sidecar";
                report.add(NO_CONTAINER, object, place, message.to_owned());
            }
        }
    }
    for (container, program) in pod.programs() {
        command_line(subject, container, program, report);
        match program.subcommand {
            Subcommand::Init => init(subject, container, report),
            Subcommand::Sidecar => sidecar(subject, container, program, report),
            Subcommand::Exec => exec(subject, container, program, report),
            _ => {}
        }
    }
    for container in &pod.containers {
        types(subject, container, report);
        binaries(subject, container, report);
    }
    order(subject, report);
}

/// Reports arguments and values of variables that YAML reads as a number or a boolean, such as `off`.
fn types<'a>(subject: &Subject<'_, 'a>, container: &Container<'a>, report: &mut Report<'a>) {
    let items = |key| container.node.get(key).map(Node::items).unwrap_or_default();
    let arguments = items("command").iter().chain(items("args")).map(|item| (item, "an argument"));
    let values = items("env")
        .iter()
        .filter_map(|entry| entry.get("value"))
        .map(|value| (value, "the value of a variable"));
    for (node, what) in arguments.chain(values).filter(|(node, _)| node.text().is_none()) {
        let message = format!("{what} of {} is {}, not text", container.label(), node.type_name());
        report.add(ARGUMENT_TYPE, subject.object(), subject.pod.place(node), message);
    }
}

fn command_line<'a>(
    subject: &Subject<'_, 'a>,
    container: &Container<'a>,
    program: &Program<'a>,
    report: &mut Report<'a>,
) {
    if program.is_joined {
        let place = subject.pod.place(container.node.get("args").unwrap_or(container.node));
        let message = format!("{} has several arguments in one list item", container.label());
        let remedy = "write one argument per list item, as in args: [sidecar, --events]".to_owned();
        report.add_with(COMMAND_LINE, subject.object(), place, message, remedy);
        return;
    }
    // The kubelet and shells replace variables.
    if program.shell.is_some() || program.words.iter().any(|word| word.is_empty() || word.contains("$(")) {
        return;
    }
    if let Some(problem) = (subject.options.parse_command)(&program.words) {
        let message = format!("{}: {problem}", container.label());
        let place = subject.pod.place(container.node.get("args").unwrap_or(container.node));
        report.add(COMMAND_LINE, subject.object(), place, message);
    }
}

/// Whether the pods of this object run until they complete.
fn is_job(subject: &Subject<'_, '_>) -> bool {
    matches!(subject.object().kind, "Job" | "CronJob")
}

fn init<'a>(subject: &Subject<'_, 'a>, container: &Container<'a>, report: &mut Report<'a>) {
    let (pod, object) = (&subject.pod, subject.object());
    let place = pod.place(container.node);
    match container.role {
        Role::Init => {}
        Role::NativeSidecar => {
            let message = format!(
                "{} has restartPolicy: Always, and podcreds init ends: it is restarted forever",
                container.label()
            );
            report.add(INIT_RESTARTS, object, place, message);
        }
        Role::Main
            if !is_job(subject)
                && pod
                    .spec(&["restartPolicy"])
                    .and_then(Node::text)
                    .is_none_or(|policy| policy == "Always") =>
        {
            let message = format!(
                "{} runs podcreds init beside the application: it ends, and is restarted forever",
                container.label()
            );
            report.add(INIT_PLACE, object, place, message);
        }
        Role::Main => {}
    }
}

fn sidecar<'a>(
    subject: &Subject<'_, 'a>,
    container: &Container<'a>,
    program: &Program<'a>,
    report: &mut Report<'a>,
) {
    let (pod, object) = (&subject.pod, subject.object());
    let place = pod.place(container.node);
    let label = container.label();
    // An init container before this one has written the files already, or the applications wait for them.
    let is_preceded = pod
        .writers()
        .take_while(|(other, _)| !std::ptr::eq(other.node, container.node))
        .any(|(_, other)| other.subcommand == Subcommand::Init)
        || applications_wait(subject);
    match container.role {
        Role::Init => {
            report.add(
                SIDECAR_BLOCKS,
                object,
                place,
                format!(
                    "{label} runs podcreds sidecar, which does not end: the containers after it never start"
                ),
            );
        }
        Role::Main if is_job(subject) => {
            report.add(
                SIDECAR_IN_JOB,
                object,
                place,
                format!("{label} runs podcreds sidecar, which does not end: the Job never completes"),
            );
        }
        Role::Main if !is_preceded && container.node.find(&["lifecycle", "postStart"]).is_none() => {
            report.add(
                NO_INIT,
                object,
                place,
                format!("the application may start before {label} has written the files"),
            );
        }
        Role::Main => {}
        Role::NativeSidecar => {
            match container.node.get("startupProbe") {
                None if !is_preceded => {
                    report.add(NO_STARTUP_PROBE, object, place, format!("{label} has no startupProbe: the containers after it start before the files exist"));
                }
                Some(probe) if !is_preceded && !waits_for_files(container, probe) => {
                    report.add(
                        STARTUP_PROBE,
                        object,
                        pod.place(probe),
                        format!("the startupProbe of {label} succeeds before the files exist"),
                    );
                }
                _ => {}
            }
        }
    }
    let mut sidecars = pod.writers().filter(|(_, program)| program.subcommand == Subcommand::Sidecar);
    if sidecars.next().is_some_and(|(first, _)| !std::ptr::eq(first.node, container.node)) {
        report.add(TWO_SIDECARS, object, place, format!("{label} is the second sidecar of the pod"));
    }
    if let Setting::Text(code) = program.setting("--exit-on-change") {
        let rules = container.node.get("restartPolicyRules").map(Node::items).unwrap_or_default();
        let has_code = |rule: &&Node| {
            let values = rule.find(&["exitCodes", "values"]).map(Node::items).unwrap_or_default();
            values.iter().any(|value| value.whole_number().is_some_and(|value| value.to_string() == code))
        };
        if !rules.iter().any(|rule| has_code(&rule)) {
            report.add(EXIT_ON_CHANGE, object, place, format!("{label} exits with code {code} after a rotation, and no restart rule has this code: only podcreds restarts"));
        }
    }
}

/// Whether `podcreds exec` starts all containers that mount the volume: it waits for the first files.
fn applications_wait(subject: &Subject<'_, '_>) -> bool {
    let volumes = subject.pod.volumes();
    let mounts = |container: &&Container<'_>| container.mounts().any(|mount| volumes.contains(&mount.volume));
    let mut readers = subject.pod.applications().filter(mounts).peekable();
    let waits = |program: &Program<'_>| program.subcommand == Subcommand::Exec;
    readers.peek().is_some() && readers.all(|container| container.program.as_ref().is_some_and(waits))
}

/// Whether a startup probe succeeds only when the files exist.
fn waits_for_files<'a>(container: &Container<'a>, probe: &'a Node) -> bool {
    let is_ready = probe.find(&["httpGet", "path"]).and_then(Node::text) == Some("/readyz");
    is_ready || Program::of_probe(container, probe).is_some_and(|probe| probe.subcommand == Subcommand::Probe)
}

fn exec<'a>(
    subject: &Subject<'_, 'a>,
    container: &Container<'a>,
    program: &Program<'a>,
    report: &mut Report<'a>,
) {
    let (pod, object) = (&subject.pod, subject.object());
    let place = pod.place(container.node);
    if program.is_on("--restart-on-change") && program.shell.is_some_and(|word| word != "exec") {
        report.add(EXEC_SHELL, object, place, format!("a shell runs podcreds exec in {}", container.label()));
    }
    let Some(credentials) =
        subject.credentials.as_ref().filter(|_| !program.is_on("--allow-none") && !program.is_on("--render"))
    else {
        return;
    };
    let Some(list) = program.setting("--env-file").or("") else { return };
    let mut selected = Vec::new();
    for path in list.split(',').map(str::trim).filter(|path| !path.is_empty()) {
        selected.extend(RelativePath::parse(path));
    }
    if !credentials.is_empty()
        && !credentials.iter().any(|credential| credential.is_selected_env_file(&selected))
    {
        let message = match list {
            "" => format!("{} runs podcreds exec, and no credential has .format: env", container.label()),
            list => format!(
                "{} runs podcreds exec --env-file {list}, and no credential of .format: env writes it",
                container.label()
            ),
        };
        report.add(EXEC_FILES, object, place, message);
    }
}

/// Checks that the binaries that a container and its probes call exist, as far as they are in volumes.
fn binaries<'a>(subject: &Subject<'_, 'a>, container: &Container<'a>, report: &mut Report<'a>) {
    let pod = &subject.pod;
    let probes = ["startupProbe", "livenessProbe", "readinessProbe"].map(|key| container.node.get(key));
    let probes = probes.into_iter().flatten().filter_map(|probe| Program::of_probe(container, probe));
    let mut calls: Vec<_> = probes.filter_map(|program| program.binary).collect();
    calls.extend(container.program.as_ref().and_then(|program| program.binary));
    let reads = container.program.as_ref().is_some_and(Program::reads_volume);
    for binary in calls {
        let Some(mount) = container.mount_of(binary) else {
            // The mount that is missing hides what the image has there.
            let is_hidden = below(binary, DEFAULT_VOLUME).is_some_and(|path| !path.is_empty());
            if is_hidden && (reads || pod.is_mounted_later(container, binary)) {
                let message =
                    format!("{} runs {binary}, which no container installs into a volume", container.label());
                report.add(EXEC_BINARY, subject.object(), pod.place(container.node), message);
            }
            continue;
        };
        // A binary outside the volumes is part of the image.
        if !pod.volumes().contains(&mount.volume) {
            continue;
        }
        let place = below(binary, mount.path).unwrap_or_default();
        let installs = pod.programs().filter(|(_, program)| program.subcommand == Subcommand::Install);
        let mut targets = installs.filter_map(|(installer, program)| {
            let target = trimmed(program.operand()?);
            let mount = installer.mount_of(target).filter(|other| other.volume == mount.volume)?;
            below(target, mount.path)
        });
        // `install` takes a file, or a directory in which it creates `podcreds`.
        if !targets.any(|target| {
            target == place
                || place.strip_prefix(target) == Some("/podcreds")
                || target.is_empty() && place == "podcreds"
        }) {
            let message = format!(
                "{} runs {binary}, which no container installs into the volume {}",
                container.label(),
                mount.volume
            );
            report.add(EXEC_BINARY, subject.object(), pod.place(container.node), message);
        }
    }
}

/// Reports init containers that mount the volume and run before podcreds has filled it.
fn order<'a>(subject: &Subject<'_, 'a>, report: &mut Report<'a>) {
    let pod = &subject.pod;
    let volumes = pod.volumes();
    let Some((writer, _)) = pod.writers().find(|(container, _)| container.role != Role::Main) else { return };
    let earlier = pod.containers.iter().take_while(|container| !std::ptr::eq(container.node, writer.node));
    for container in earlier.filter(|container| container.program.is_none()) {
        if let Some(mount) = container.mounts().find(|mount| volumes.contains(&mount.volume)) {
            let message = format!(
                "{} mounts the volume {}, but runs before podcreds has filled it",
                container.label(),
                mount.volume
            );
            report.add(ORDER, subject.object(), pod.place(container.node), message);
        }
    }
}

/// Where a program looks for the volume.
pub(super) fn volume_path<'a>(program: &Program<'a>) -> Option<&'a str> {
    program.setting("--volume").or(DEFAULT_VOLUME)
}
