//! Checks the direction of imports: data flows through the modules in the order of `LAYERS`, and imports only point backwards.
//! Also checks that the modules of podcreds and the crates that the linker script names exist.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each top-level module, and the modules that it may import.
const LAYERS: &[(&str, &[&str])] = &[
    ("text", &[]),
    ("proc", &[]),
    ("thread", &[]),
    ("splay", &[]),
    ("children", &["thread"]),
    ("descriptors", &[]),
    ("duration", &[]),
    ("secret", &[]),
    ("object", &["text", "secret"]),
    ("yaml", &["text", "secret"]),
    ("manifest", &["object", "text", "secret", "yaml"]),
    ("escape", &["secret"]),
    ("template", &["escape", "text", "secret"]),
    ("credential", &["escape", "object", "text", "secret", "template"]),
    ("formats", &["credential", "escape", "text", "secret"]),
    ("env_file", &["credential", "text", "secret"]),
    ("supervisor", &["children", "env_file", "splay", "text"]),
    (
        "annotations",
        &["credential", "duration", "formats", "manifest", "object", "text", "secret", "template"],
    ),
    ("kube", &["children", "descriptors", "duration", "object", "text", "thread", "secret", "yaml"]),
    ("render", &["credential", "formats", "object", "text", "secret", "template"]),
    ("volume", &["credential", "text", "thread", "secret"]),
    ("sync", &["annotations", "credential", "kube", "object", "render", "secret", "text", "volume"]),
    ("telemetry", &["kube", "object", "proc", "text", "thread"]),
    (
        "sidecar",
        &[
            "credential",
            "kube",
            "object",
            "proc",
            "render",
            "splay",
            "sync",
            "telemetry",
            "text",
            "thread",
            "volume",
        ],
    ),
    ("rbac", &["annotations", "credential", "manifest", "object", "text", "yaml"]),
    (
        "check",
        &[
            "annotations",
            "credential",
            "manifest",
            "object",
            "rbac",
            "render",
            "secret",
            "telemetry",
            "text",
            "yaml",
        ],
    ),
    (
        "inspect",
        &["annotations", "credential", "escape", "kube", "object", "rbac", "text", "thread", "secret"],
    ),
    ("inject", &["annotations", "manifest", "object", "rbac", "text", "yaml"]),
    (
        "commands",
        &[
            "annotations",
            "check",
            "credential",
            "env_file",
            "inject",
            "inspect",
            "kube",
            "manifest",
            "object",
            "proc",
            "rbac",
            "text",
            "render",
            "secret",
            "sidecar",
            "splay",
            "supervisor",
            "sync",
            "telemetry",
            "thread",
            "volume",
            "yaml",
        ],
    ),
    (
        "cli",
        &[
            "annotations",
            "check",
            "commands",
            "credential",
            "descriptors",
            "duration",
            "inject",
            "inspect",
            "kube",
            "manifest",
            "object",
            "rbac",
            "render",
            "text",
            "secret",
            "sidecar",
            "supervisor",
            "sync",
            "telemetry",
            "volume",
        ],
    ),
];

/// Paths that a pure module must not use: I/O, the clock, the environment.
const IMPURE: [&str; 9] = [
    "std::fs",
    "std::io",
    "std::env",
    "std::net",
    "std::time",
    "std::process",
    "std::thread",
    "rustix",
    "log::",
];

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("tests") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
    found
}

/// The code of a file, without comments and its module of tests.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The code of each top-level module, without comments and tests.
fn modules() -> BTreeMap<String, String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut modules = BTreeMap::<_, String>::new();
    for path in sources(&src) {
        let inside = path.strip_prefix(&src).unwrap().to_str().unwrap();
        let module = inside.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
        let text = fs::read_to_string(&path).unwrap();
        modules.entry(module).or_default().push_str(&code(&text));
    }
    modules.retain(|module, _| module != "main" && module != "lib");
    modules
}

fn imports(code: &str) -> BTreeSet<&str> {
    let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    code.split("crate::").skip(1).map(|rest| rest.split(ends).next().unwrap()).collect()
}

#[test]
fn modules_import_only_earlier_modules() {
    let modules = modules();
    let known: BTreeMap<_, _> = LAYERS.iter().copied().collect();
    assert_eq!(
        modules.keys().map(String::as_str).collect::<Vec<_>>(),
        known.keys().copied().collect::<Vec<_>>()
    );
    for (module, code) in &modules {
        let allowed = known[module.as_str()];
        let wrong: Vec<_> =
            imports(code).into_iter().filter(|other| other != module && !allowed.contains(other)).collect();
        assert!(wrong.is_empty(), "{module} imports {wrong:?}");
    }
    let order: Vec<_> = LAYERS.iter().map(|(module, _)| *module).collect();
    for (place, (module, allowed)) in LAYERS.iter().enumerate() {
        assert!(
            allowed.iter().all(|other| order[..place].contains(other)),
            "{module} is listed before a module that it imports"
        );
    }
}

#[test]
fn annotations_and_render_are_pure() {
    for (module, code) in modules() {
        if [
            "annotations",
            "render",
            "credential",
            "env_file",
            "escape",
            "formats",
            "inject",
            "object",
            "rbac",
            "template",
            "yaml",
        ]
        .contains(&module.as_str())
        {
            let used: Vec<_> = IMPURE.into_iter().filter(|word| code.contains(word)).collect();
            assert!(used.is_empty(), "{module} uses {used:?}");
        }
    }
}

#[test]
fn only_the_command_line_reads_the_environment() {
    for (module, code) in modules() {
        let reads = ["env::var", "env::vars", "env::args"].into_iter().any(|word| code.contains(word));
        assert_eq!(reads, module == "cli", "{module}");
    }
}

/// What a decision of the sidecar must not use. The log's levels are only a value.
const SIDE_EFFECTS: [&str; 16] = [
    "Instant::now",
    "SystemTime::now",
    "std::fs",
    "std::io",
    "std::net",
    "std::thread",
    "std::env",
    "std::process",
    "thread::",
    "log!(",
    "error!(",
    "warn!(",
    "info!(",
    "debug!(",
    "trace!(",
    "log_object!(",
];

/// The one place where a moment comes from.
const NOW: &str = "Self { instant: Instant::now(), time: SystemTime::now() }";

#[test]
fn the_decisions_of_the_sidecar_are_pure() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = sources(&src.join("sidecar/controller"));
    assert!(files.len() > 5, "{files:?}");
    files.extend(
        ["supervisor/machine.rs", "telemetry/component.rs", "telemetry/status.rs"].map(|file| src.join(file)),
    );
    files.extend(sources(&src.join("telemetry/status")));
    files.extend(sources(&src.join("supervisor/machine")));
    for path in files {
        let mut code = code(&fs::read_to_string(&path).unwrap());
        if path.ends_with("telemetry/status.rs") {
            assert_eq!(code.matches(NOW).count(), 1);
            code = code.replace(NOW, "");
        }
        let used: Vec<_> = SIDE_EFFECTS.into_iter().filter(|word| code.contains(word)).collect();
        assert!(used.is_empty(), "{} uses {used:?}", path.display());
        let logs = code.matches("log::").count() - code.matches("use log::Level;").count();
        assert_eq!(logs, 0, "{} logs", path.display());
    }
}

/// Crates and modules that are part of the standard library.
const STANDARD: [&str; 8] =
    ["alloc", "core", "addr2line", "backtrace_rs", "gimli", "libunwind", "miniz_oxide", "rustc_demangle"];

/// The parts of a path in v0 mangling, such as `8podcreds5check`: each follows its length.
fn demangle(mut path: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    while !path.is_empty() {
        let digits = path.chars().take_while(char::is_ascii_digit).count();
        let length: usize = path[..digits].parse().unwrap_or_else(|_| panic!("no length: {path}"));
        let part = path.get(digits..digits + length).unwrap_or_else(|| panic!("too short: {path}"));
        parts.push(part);
        path = &path[digits + length..];
    }
    parts
}

#[test]
fn the_linker_script_names_what_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = fs::read_to_string(root.join("layout.ld")).unwrap();
    let lock = fs::read_to_string(root.join("Cargo.lock")).unwrap().replace('-', "_");
    // `.text.*8podcreds5check*`: what is between the first asterisk and the next wildcard.
    let words = script.split([' ', '\n', '(', ')']).filter_map(|word| word.strip_prefix(".text."));
    let patterns: Vec<_> = words
        .filter(|word| word.contains(|c: char| c.is_ascii_digit()))
        .map(|word| word.split(['*', '?']).nth(1).unwrap_or_else(|| panic!("no asterisk: {word}")))
        .collect();
    assert!(patterns.len() > 20, "{patterns:?}");
    for pattern in patterns {
        let (name, modules) =
            demangle(pattern).split_first().map(|(name, rest)| (*name, rest.join("/"))).unwrap();
        let exists = if name == "podcreds" {
            let module = root.join("src").join(&modules);
            module.is_dir() || module.with_extension("rs").is_file()
        } else {
            STANDARD.contains(&name) || lock.contains(&format!("name = \"{name}\"\n"))
        };
        assert!(exists, "layout.ld names {pattern}, which does not exist");
    }
}
