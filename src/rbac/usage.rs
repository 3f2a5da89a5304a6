//! How a pod runs podcreds, as far as the commands of its containers show. Pure.
//!
//! Arguments and variables may be secret: deserialization keeps only the words that podcreds' own command line has.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use crate::manifest::Template;
use crate::yaml::Node;

/// The name of the program, and the beginning of that of its image.
const NAME: &str = "podcreds";

/// What the podcreds containers of a pod do that depends on permissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// `sidecar`, except with `--sync poll`, and `exec --render --restart-on-change`.
    pub(crate) watches: bool,
    /// Without `--annotations-file`; also with it if Events need the pod's UID.
    pub(crate) reads_pod: bool,
    /// `sidecar --follow-annotations`.
    pub(crate) watches_pod: bool,
    /// `--events` of `init` and `sidecar`.
    pub(crate) records_events: bool,
}

impl Usage {
    /// `init` without flags.
    pub(crate) const INIT: Self =
        Self { watches: false, reads_pod: true, watches_pod: false, records_events: false };
    /// `sidecar` without flags.
    pub(crate) const SIDECAR: Self = Self { watches: true, ..Self::INIT };

    /// How the pods of a manifest run podcreds. `None` means that no container's command shows it.
    pub(crate) fn of_template(template: &Template<'_>) -> Option<Self> {
        let words = |list: Option<&Node>| {
            let items = list.map(Node::items).unwrap_or_default();
            items.iter().map(|item| Words::parse(item.text().unwrap_or_default())).collect::<Vec<_>>()
        };
        let of_container = |container: &Node| {
            let env = container.get("env").map(Node::items).unwrap_or_default();
            let variables = env.iter().filter_map(|variable| {
                let flag = Word::of_variable(variable.get("name")?.text()?)?;
                let value = variable.get("value").and_then(Node::text).map(Words::parse);
                Some((flag, Words::of_variable(value, variable.get("valueFrom").is_some())))
            });
            let text = |key| container.get(key).and_then(Node::text).unwrap_or_default();
            let is_podcreds = is_podcreds(text("image"), text("name"));
            let (command, args) = (words(container.get("command")), words(container.get("args")));
            Self::of_container(is_podcreds, &command, &args, variables)
        };
        template.containers().filter_map(of_container).reduce(Self::and)
    }

    /// What several containers of a pod do together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            watches: self.watches || other.watches,
            reads_pod: self.reads_pod || other.reads_pod,
            watches_pod: self.watches_pod || other.watches_pod,
            records_events: self.records_events || other.records_events,
        }
    }

    /// Reads a container's `command` and `args`, and podcreds' variables. `None` means that they do not show a podcreds command that
    /// reads Secrets. A container without a `command` runs the image's entrypoint, which `is_podcreds` tells about.
    pub(crate) fn of_container(
        is_podcreds: bool,
        command: &[Words],
        args: &[Words],
        variables: impl Iterator<Item = (Word, Words)>,
    ) -> Option<Self> {
        let entrypoint = (command.is_empty() && is_podcreds).then_some(Word::Podcreds);
        let words = command.iter().chain(args).flat_map(|words| words.0.iter().copied());
        let words: Vec<_> = entrypoint.into_iter().chain(words).collect();
        let (at, subcommand) = subcommand(&words)?;
        // What follows `--` belongs to the program that exec runs. Flags win over variables, so they come first.
        let mut flags: Vec<_> =
            words[at + 1..].iter().copied().take_while(|word| *word != Word::End).collect();
        for (flag, Words(value)) in variables {
            if !matches!(value.as_slice(), [] | [Word::No]) {
                flags.push(flag);
                flags.extend(value);
            }
        }
        let has = |flag| flags.contains(&flag);
        if subcommand == Word::Exec && !has(Word::RenderFlag) {
            return None;
        }
        let is_sidecar = subcommand == Word::Sidecar;
        let polls = flags.iter().skip_while(|word| **word != Word::Sync).nth(1) == Some(&Word::Poll);
        let has_file = has(Word::AnnotationsFile);
        let watches =
            if is_sidecar { !polls } else { subcommand == Word::Exec && has(Word::RestartOnChange) };
        let records_events = matches!(subcommand, Word::Init | Word::Sidecar) && has(Word::Events);
        Some(Self {
            watches,
            reads_pod: !has_file || (records_events && !has(Word::PodUid)),
            watches_pod: is_sidecar && watches && !has_file && has(Word::FollowAnnotations),
            records_events,
        })
    }
}

/// Whether the entrypoint of a container's image is podcreds, as far as the names show it. Other programs have a subcommand
/// `sidecar` too, such as Thanos.
pub(crate) fn is_podcreds(image: &str, container: &str) -> bool {
    repository(image).contains(NAME) || container.contains(NAME)
}

/// The last part of an image's name, without tag and digest.
pub(crate) fn repository(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    name.split(':').next().unwrap_or_default()
}

/// The first call of podcreds whose command reads Secrets: the index of that command, which flags with values may precede.
fn subcommand(words: &[Word]) -> Option<(usize, Word)> {
    words.iter().enumerate().filter(|(_, word)| **word == Word::Podcreds).find_map(|(program, _)| {
        let mut at = program + 1;
        while words.get(at) == Some(&Word::Flag) {
            at += if words.get(at + 1) == Some(&Word::Other) { 2 } else { 1 };
        }
        let word = *words.get(at)?;
        matches!(word, Word::Init | Word::Sidecar | Word::Render | Word::Exec).then_some((at, word))
    })
}

/// A word of podcreds' command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// The program, with any directory.
    Podcreds,
    Init,
    Sidecar,
    Render,
    Exec,
    /// `--`
    End,
    AnnotationsFile,
    RenderFlag,
    Sync,
    Poll,
    FollowAnnotations,
    Events,
    PodUid,
    RestartOnChange,
    /// Any other flag.
    Flag,
    /// A false boolean.
    No,
    /// Any other word.
    Other,
}

impl Word {
    fn parse(text: &str) -> Self {
        match text {
            "init" => Self::Init,
            "sidecar" => Self::Sidecar,
            "render" => Self::Render,
            "exec" => Self::Exec,
            "--" => Self::End,
            "--annotations-file" => Self::AnnotationsFile,
            "--render" => Self::RenderFlag,
            "--sync" => Self::Sync,
            "poll" => Self::Poll,
            "--follow-annotations" => Self::FollowAnnotations,
            "--events" => Self::Events,
            "--pod-uid" => Self::PodUid,
            "--restart-on-change" => Self::RestartOnChange,
            "false" | "no" | "n" | "off" | "f" | "0" => Self::No,
            path if path.rsplit('/').next() == Some(NAME) => Self::Podcreds,
            flag if flag.starts_with("--") => Self::Flag,
            _ => Self::Other,
        }
    }

    /// The flag that an environment variable sets.
    pub(crate) fn of_variable(name: &str) -> Option<Self> {
        match name {
            "PODCREDS_ANNOTATIONS_FILE" => Some(Self::AnnotationsFile),
            "PODCREDS_RENDER" => Some(Self::RenderFlag),
            "PODCREDS_SYNC" => Some(Self::Sync),
            "PODCREDS_FOLLOW_ANNOTATIONS" => Some(Self::FollowAnnotations),
            "PODCREDS_EVENTS" => Some(Self::Events),
            "POD_UID" => Some(Self::PodUid),
            "PODCREDS_RESTART_ON_CHANGE" => Some(Self::RestartOnChange),
            _ => None,
        }
    }
}

/// The words of an argument or of a variable's value. An argument may be a shell script, and has a flag and its value if they are
/// joined by `=`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Words(Vec<Word>);

impl Words {
    fn parse(text: &str) -> Self {
        let words = text.split(|c: char| c.is_whitespace() || matches!(c, '=' | ';' | '&' | '|'));
        Self(words.filter(|word| !word.is_empty()).map(Word::parse).collect::<Vec<_>>())
    }

    /// The value of a variable. One that comes from a field or an object is not known, but the variable is set.
    pub(crate) fn of_variable(value: Option<Self>, has_source: bool) -> Self {
        value.unwrap_or_else(|| Self(if has_source { vec![Word::Other] } else { Vec::new() }))
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordsVisitor;

        impl Visitor<'_> for WordsVisitor {
            type Value = Words;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E>(self, text: &str) -> Result<Words, E> {
                Ok(Words::parse(text))
            }
        }

        deserializer.deserialize_str(WordsVisitor)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::inspect::PodSpec;
    use crate::manifest::Manifest;

    /// Also checks that a manifest shows the same as the API's response.
    fn usage_of(spec: &Value) -> Option<Usage> {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": spec}).to_string();
        let manifest = Manifest::parse("pod.json", pod).unwrap();
        let usage = Usage::of_template(&manifest.objects()[0].template().unwrap());
        assert_eq!(usage, serde_json::from_value::<PodSpec>(spec.clone()).unwrap().usage(), "{spec}");
        usage
    }

    fn usage(container: Value) -> Option<Usage> {
        let mut named = container;
        if named.get("name").is_none() {
            named["name"] = "podcreds".into();
        }
        usage_of(&json!({ "containers": [named] }))
    }

    const INIT: Usage = Usage::INIT;
    const SIDECAR: Usage = Usage::SIDECAR;

    #[test]
    fn a_container_shows_its_command_in_every_usual_form() {
        for (container, expected) in [
            (json!({"args": ["init"]}), Some(INIT)),
            (json!({"args": ["init", "--events"]}), Some(Usage { records_events: true, ..INIT })),
            (json!({"args": ["render", "--events"]}), Some(INIT)),
            (json!({"args": ["sidecar", "--listen", "off"]}), Some(SIDECAR)),
            (json!({"args": ["--log-level", "debug", "--log-format=json", "init"]}), Some(INIT)),
            (json!({"command": ["/bin/podcreds"], "args": ["sidecar"]}), Some(SIDECAR)),
            (json!({"command": ["podcreds", "render", "--reveal"]}), Some(INIT)),
            (json!({"command": ["/bin/sh", "-c", "sleep 1; exec podcreds sidecar"]}), Some(SIDECAR)),
            (json!({"command": ["/bin/podcreds", "exec", "--render", "--", "/app"]}), Some(INIT)),
            (
                json!({"command": ["/bin/podcreds", "exec", "--render", "--restart-on-change", "--", "/app"]}),
                Some(SIDECAR),
            ),
            (
                json!({"command": ["/bin/podcreds", "exec", "--render", "--", "/app", "--restart-on-change"]}),
                Some(INIT),
            ),
            (json!({"command": ["/bin/podcreds", "exec", "--restart-on-change", "--", "/app"]}), None),
            (json!({"args": ["init", "--restart-on-change"]}), Some(INIT)),
            (json!({"command": ["/bin/podcreds", "exec", "--", "/app", "--render"]}), None),
            (json!({"command": ["/bin/podcreds", "install", "/podcreds/bin"]}), None),
            (
                json!({"name": "creds", "image": "example.com/podcreds:1@sha256:0", "args": ["init"]}),
                Some(INIT),
            ),
            (json!({"name": "creds", "image": "example.com/credentials", "args": ["sidecar"]}), None),
            (json!({"name": "thanos", "image": "podcreds.example.com/thanos", "args": ["sidecar"]}), None),
            (json!({"command": ["/app"], "args": ["sidecar"]}), None),
            // Istio's proxy.
            (json!({"args": ["proxy", "sidecar", "--domain", "x"]}), None),
            (json!({"command": null, "args": null}), None),
            (json!({}), None),
        ] {
            assert_eq!(usage(container.clone()), expected, "{container}");
        }
    }

    #[test]
    fn flags_and_variables_change_what_it_needs() {
        let polling = Usage { watches: false, ..SIDECAR };
        let from_file = Usage { reads_pod: false, ..SIDECAR };
        let all = Usage { watches_pod: true, records_events: true, ..SIDECAR };
        let sidecar = |flags: &[&str], variables: &[(&str, &str)]| {
            let env: Vec<_> =
                variables.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
            let args = [&["sidecar"], flags].concat();
            usage(json!({"args": args, "env": env})).unwrap()
        };
        assert_eq!(sidecar(&["--sync=poll"], &[]), polling);
        assert_eq!(sidecar(&["--sync", "poll"], &[]), polling);
        assert_eq!(sidecar(&[], &[("PODCREDS_SYNC", "poll")]), polling);
        assert_eq!(sidecar(&["--sync=watch"], &[("PODCREDS_SYNC", "poll")]), SIDECAR);
        assert_eq!(sidecar(&["--annotations-file=/etc/podinfo/annotations"], &[]), from_file);
        assert_eq!(sidecar(&["--follow-annotations"], &[("PODCREDS_ANNOTATIONS_FILE", "/a")]), from_file);
        assert_eq!(sidecar(&["--follow-annotations", "--events"], &[]), all);
        assert_eq!(sidecar(&[], &[("PODCREDS_FOLLOW_ANNOTATIONS", "true"), ("PODCREDS_EVENTS", "1")]), all);
        assert_eq!(
            sidecar(&[], &[("PODCREDS_FOLLOW_ANNOTATIONS", "false"), ("PODCREDS_EVENTS", "")]),
            SIDECAR
        );
    }

    #[test]
    fn the_needs_of_all_containers_add_up() {
        let spec = json!({
            "initContainers": [{"name": "a", "image": "podcreds", "args": ["init"]}],
            "containers": [{"name": "app"}, {"name": "b", "image": "podcreds", "args": ["sidecar", "--annotations-file", "/a"]}],
        });
        assert_eq!(usage_of(&spec), Some(SIDECAR));
    }

    #[test]
    fn events_need_the_pod_unless_its_uid_is_known() {
        let args = ["sidecar", "--annotations-file=/a", "--events"];
        let uid = |env: Value| usage(json!({"args": args, "env": env})).unwrap();
        let all = Usage { records_events: true, ..SIDECAR };
        assert_eq!(uid(json!([])), all);
        assert_eq!(uid(json!([{"name": "POD_UID"}])), all);
        let known = Usage { reads_pod: false, ..all };
        assert_eq!(uid(json!([{"name": "POD_UID", "value": "a"}])), known);
        let field = json!({"fieldRef": {"fieldPath": "metadata.uid"}});
        assert_eq!(uid(json!([{"name": "POD_UID", "valueFrom": field}])), known);
    }
}
