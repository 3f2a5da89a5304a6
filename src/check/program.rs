//! How a container runs podcreds: the subcommand and flags in its `command` and `args`, and the variables of its `env`.

use crate::check::pod::Container;
use crate::rbac::{is_podcreds, repository};
use crate::yaml::Node;

const NAME: &str = "podcreds";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subcommand {
    Init,
    Sidecar,
    Exec,
    Install,
    Probe,
    /// One that neither reads nor writes the volume.
    Other,
}

impl Subcommand {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "init" => Self::Init,
            "sidecar" => Self::Sidecar,
            "exec" => Self::Exec,
            "install" => Self::Install,
            "probe" => Self::Probe,
            "render" | "status" | "inspect" | "check" | "inject" | "rbac" => Self::Other,
            _ => return None,
        })
    }
}

/// A call of podcreds.
#[derive(Debug)]
pub(super) struct Program<'a> {
    pub(super) subcommand: Subcommand,
    /// The path of the binary; `None` means the image's entrypoint.
    pub(super) binary: Option<&'a str>,
    /// Its arguments, the subcommand included.
    pub(super) words: Vec<&'a str>,
    /// The word before it in a shell script; `None` means that no shell runs it.
    pub(super) shell: Option<&'a str>,
    /// Whether one item of a list has several arguments, such as `sidecar --events`.
    pub(super) is_joined: bool,
    env: Option<&'a Node>,
    has_env_from: bool,
}

/// A setting, as far as the manifest shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting<'a> {
    Unset,
    Text(&'a str),
    /// It comes from another object, or from a variable.
    Unknown,
}

impl<'a> Setting<'a> {
    /// `None` means that it is unknown.
    pub(super) fn or(self, default: &'a str) -> Option<&'a str> {
        match self {
            Self::Unset => Some(default),
            Self::Text(text) => Some(text),
            Self::Unknown => None,
        }
    }
}

impl<'a> Program<'a> {
    /// What a container runs. `None` means that it is not podcreds.
    pub(super) fn of_container(container: &Container<'a>) -> Option<Self> {
        let (command, args) = (texts(container.node.get("command")), texts(container.node.get("args")));
        let program = if command.is_empty() {
            if !is_podcreds(container.image(), container.name) {
                return None;
            }
            let (words, is_joined) = separated(&args, 0);
            let subcommand = match words.first() {
                Some(_) => subcommand(&words)?,
                None if repository(container.image()) == NAME => Subcommand::Other,
                None => return None,
            };
            Self { subcommand, binary: None, words, shell: None, is_joined, env: None, has_env_from: false }
        } else {
            let (words, is_joined) = separated(&[command, args].concat(), 1);
            Self { is_joined, ..Self::of_command(&words)? }
        };
        Some(program.with_env(container))
    }

    /// The call of podcreds in a probe of a container.
    pub(super) fn of_probe(container: &Container<'a>, probe: &'a Node) -> Option<Self> {
        let command = texts(probe.find(&["exec", "command"]));
        Self::of_command(&command).map(|program| program.with_env(container))
    }

    fn with_env(self, container: &Container<'a>) -> Self {
        let has_env_from = container.node.get("envFrom").is_some();
        Self { env: container.node.get("env"), has_env_from, ..self }
    }

    fn of_command(words: &[&'a str]) -> Option<Self> {
        let start = |words: Vec<&'a str>, shell| {
            // Not a namespace, as in `kubectl -n podcreds exec`.
            let is_namespace = |at: usize| at > 0 && matches!(words[at - 1], "-n" | "--namespace");
            let calls = |at: usize| words[at].rsplit('/').next() == Some(NAME) && !is_namespace(at);
            let at = (0..words.len()).find(|at| calls(*at) && subcommand(&words[at + 1..]).is_some())?;
            let before = if at == 0 { "" } else { words[at - 1] };
            let rest = words[at + 1..].to_vec();
            let (env, has_env_from) = (None, false);
            let subcommand = subcommand(&rest)?;
            let shell = if shell { Some(before) } else { None };
            let binary = Some(words[at]);
            Some(Self { subcommand, binary, words: rest, shell, is_joined: false, env, has_env_from })
        };
        let is_script = |word: &&str| word.contains(char::is_whitespace);
        start(words.to_vec(), false).or_else(|| {
            words.iter().filter(|word| is_script(word)).find_map(|script| start(script_words(script), true))
        })
    }

    /// A flag, or else its variable.
    pub(super) fn setting(&self, flag: &str) -> Setting<'a> {
        let mut words = self.flags();
        while let Some(word) = words.next() {
            let Some(rest) = word.strip_prefix(flag) else { continue };
            let value = match rest.strip_prefix('=') {
                None if rest.is_empty() => words.next(),
                value => value,
            };
            match value {
                // The kubelet, or a shell, replaces it.
                Some(value) if value.contains('$') => return Setting::Unknown,
                Some(value) => return Setting::Text(value),
                None => {}
            }
        }
        self.variable(&variable_of(flag))
    }

    fn variable(&self, name: &str) -> Setting<'a> {
        let mut entries = self.env.map(Node::items).unwrap_or_default().iter();
        let entry = entries.find(|entry| entry.get("name").and_then(Node::text) == Some(name));
        match entry {
            Some(entry) if entry.get("valueFrom").is_some() => Setting::Unknown,
            Some(entry) => match entry.get("value").and_then(Node::text).filter(|value| !value.is_empty()) {
                Some(value) if value.contains("$(") => Setting::Unknown,
                Some(value) => Setting::Text(value),
                None => Setting::Unset,
            },
            None if self.has_env_from => Setting::Unknown,
            None => Setting::Unset,
        }
    }

    /// Whether a flag without a value is passed, or its variable is set to something that is not false.
    pub(super) fn is_on(&self, flag: &str) -> bool {
        let is_false = |text: &str| matches!(text, "false" | "no" | "n" | "off" | "f" | "0");
        self.flags().any(|word| word == flag)
            || matches!(self.variable(&variable_of(flag)), Setting::Text(text) if !is_false(text))
    }

    /// The arguments before `--`.
    fn flags(&self) -> impl Iterator<Item = &'a str> {
        self.words.iter().copied().take_while(|word| *word != "--")
    }

    /// The first argument after the subcommand that is not a flag.
    pub(super) fn operand(&self) -> Option<&'a str> {
        self.flags()
            .skip_while(|word| Subcommand::parse(word).is_none())
            .skip(1)
            .find(|word| !word.starts_with('-'))
    }

    pub(super) fn writes(&self) -> bool {
        matches!(self.subcommand, Subcommand::Init | Subcommand::Sidecar)
    }

    /// Whether it reads the files that `init` or `sidecar` writes.
    pub(super) fn reads_volume(&self) -> bool {
        self.subcommand == Subcommand::Exec && !self.is_on("--render")
    }

    /// Whether it requests Secrets from the API server.
    pub(super) fn reads_sources(&self) -> bool {
        self.writes() || self.subcommand == Subcommand::Exec && self.is_on("--render")
    }
}

/// The subcommand of a command line, which flags may precede.
fn subcommand(words: &[&str]) -> Option<Subcommand> {
    let mut words = words.iter();
    let mut word = words.next()?;
    while word.starts_with("--") && word.len() > 2 {
        if !word.contains('=') {
            words.next();
        }
        word = words.next()?;
    }
    Subcommand::parse(word)
}

/// The words of a command line, of which the first `binary` ones are podcreds, and whether they had to be separated to find the
/// subcommand.
fn separated<'a>(words: &[&'a str], binary: usize) -> (Vec<&'a str>, bool) {
    let mut all = Vec::new();
    words.iter().for_each(|word| all.extend(word.split_whitespace()));
    let is_ours = binary == 0 || all.first().is_some_and(|word| word.rsplit('/').next() == Some(NAME));
    let has = |words: &[&str]| words.get(binary..).is_some_and(|words| subcommand(words).is_some());
    match is_ours && !has(words) && has(&all) {
        true => (all, true),
        false => (words.to_vec(), false),
    }
}

fn variable_of(flag: &str) -> String {
    match flag {
        "--pod" => "POD_NAME".to_owned(),
        flag => format!("PODCREDS_{}", flag.trim_start_matches('-').replace('-', "_").to_ascii_uppercase()),
    }
}

fn texts(list: Option<&Node>) -> Vec<&str> {
    list.map(Node::items).unwrap_or_default().iter().map(|item| item.text().unwrap_or_default()).collect()
}

/// The words of a shell script, as far as they can be the call of a program.
fn script_words(script: &str) -> Vec<&str> {
    let words = script.split(|c: char| c.is_whitespace() || matches!(c, ';' | '&' | '|' | '(' | ')' | '`'));
    words.map(|word| word.trim_matches(['"', '\''])).filter(|word| !word.is_empty()).collect()
}
