//! What a pod asks for in its annotations.

use crate::inject::{Mode, Options};
use crate::manifest::Template;
use crate::text::Quoted;
use crate::yaml::Node;

/// The prefix of the annotations that only injection reads.
pub(super) const INJECT_PREFIX: &str = "inject.podcreds.io";

/// What the annotations of a pod ask for, and otherwise the options.
pub(super) struct Requests<'a> {
    pub(super) mode: Mode,
    /// Empty means all containers.
    pub(super) containers: Vec<&'a str>,
    pub(super) port: String,
}

impl<'a> Requests<'a> {
    pub(super) fn read(
        template: &Template<'a>,
        containers_of_pod: &[&str],
        options: &Options,
        problems: &mut Vec<String>,
    ) -> Option<Self> {
        let before = problems.len();
        let mut report = |name: &str, text: String| {
            let place = template.annotation_place(&format!("{INJECT_PREFIX}/{name}"));
            problems.push(format!("{place}: {}: annotation {INJECT_PREFIX}/{name}: {text}", template.object));
        };
        let annotations = template.node.get("metadata").and_then(|metadata| metadata.get("annotations"));
        let mut mode = None;
        let mut port = options.port.to_string();
        let mut containers = Vec::new();
        for (key, _, value) in annotations.into_iter().flat_map(Node::entries) {
            let Some(name) = key.strip_prefix(INJECT_PREFIX).and_then(|rest| rest.strip_prefix('/')) else {
                continue;
            };
            let value = value.text().unwrap_or_default();
            match name {
                "mode" => match Mode::parse(value) {
                    Some(parsed) => mode = Some(parsed),
                    None => report(
                        name,
                        format!("unknown mode {}; write native-sidecar, sidecar or init", Quoted(value)),
                    ),
                },
                "port" => match value.parse::<u16>().ok().filter(|port| *port > 0) {
                    Some(parsed) => port = parsed.to_string(),
                    None => report(
                        name,
                        format!(
                            "invalid port {}; write a free port of the pod, such as \"8081\"",
                            Quoted(value)
                        ),
                    ),
                },
                "containers" => {
                    containers = value.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
                    for unknown in containers.iter().filter(|name| !containers_of_pod.contains(name)) {
                        report(name, format!("the pod has no container {}", Quoted(unknown)));
                    }
                }
                _ => report(name, "unknown annotation key; write mode, containers or port".to_owned()),
            }
        }
        let is_job = template.object.kind.ends_with("Job");
        let mode = mode.or(options.mode).unwrap_or(match () {
            () if options.has_native_sidecars => Mode::NativeSidecar,
            // The ordinary sidecar of a Job would keep it from completing.
            () if is_job => Mode::Init,
            () => Mode::Sidecar,
        });
        if mode == Mode::NativeSidecar && !options.has_native_sidecars {
            let place = template.object.place(template.node);
            problems.push(format!(
                "{place}: {}: mode native-sidecar needs Kubernetes 1.29 or newer (--kubernetes); choose sidecar or init",
                template.object
            ));
        }
        (problems.len() == before).then_some(Self { mode, containers, port })
    }
}
