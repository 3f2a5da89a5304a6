//! What a release consists of: versions and addresses that several files repeat. `.ci/run` builds the files of a release and
//! installs them; `.ci/workflows` lints the workflows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The value of the line that begins with `start`.
fn value<'a>(text: &'a str, start: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(start));
    line.unwrap_or_else(|| panic!("no line begins with {start:?}")).trim().trim_matches('"')
}

#[test]
fn the_version_of_the_image_is_that_of_the_crate() {
    assert_eq!(value(&read("Dockerfile"), "ARG VERSION="), VERSION);
}

#[test]
fn the_version_of_the_chart_is_that_of_the_crate() {
    // The chart itself may have a version of its own.
    assert_eq!(value(&read("deploy/chart/Chart.yaml"), "appVersion:"), VERSION);
}

#[test]
fn the_image_has_the_labels_of_the_oci_specification() {
    let dockerfile = read("Dockerfile");
    let label = |name: &str| {
        let line = dockerfile.split(&format!("org.opencontainers.image.{name}=\"")).nth(1);
        line.unwrap_or_else(|| panic!("no label {name}")).split('"').next().unwrap()
    };
    for (name, expected) in [
        ("title", env!("CARGO_PKG_NAME")),
        ("licenses", env!("CARGO_PKG_LICENSE")),
        ("source", REPOSITORY),
        ("url", REPOSITORY),
        ("documentation", &format!("{REPOSITORY}/tree/main/docs")),
        ("base.name", "scratch"),
        ("version", "$VERSION"),
        ("revision", "$REVISION"),
        ("created", "$CREATED"),
        ("vendor", "podcreds"),
    ] {
        assert_eq!(label(name), expected, "{name}");
    }
    assert!(env!("CARGO_PKG_DESCRIPTION").starts_with(label("description")));
    // An argument that is declared before FROM is empty after it, and one stage does not see those of another.
    let (_, image) = dockerfile.split_once("\nFROM scratch\n").unwrap();
    for argument in ["VERSION", "REVISION", "CREATED"] {
        assert!(
            image.contains(&format!("\nARG {argument}=")),
            "{argument} is not declared in the last stage"
        );
    }
}

#[test]
fn every_file_names_the_same_repository() {
    for file in ["deploy/krew/podcreds.yaml", "docs/install.md", "SECURITY.md"] {
        let text = read(file);
        assert!(text.contains(REPOSITORY), "{file} does not name {REPOSITORY}");
        for address in text.split("https://github.com/").skip(1) {
            let Some(path) = address.strip_prefix("podcreds/") else { continue };
            assert!(path.starts_with("podcreds"), "{file}: https://github.com/{address:.40}");
        }
    }
    assert_eq!(value(&read("deploy/krew/podcreds.yaml"), "homepage:"), REPOSITORY);
}

#[test]
fn the_krew_manifest_has_every_placeholder_that_a_release_replaces() {
    let manifest = read("deploy/krew/podcreds.yaml");
    let script = read(".ci/release-files");
    for placeholder in ["SHA256_AMD64", "SHA256_ARM64"] {
        assert_eq!(value(&manifest, &format!("sha256: {placeholder}")), "");
        assert!(script.contains(placeholder), "{placeholder} stays in the manifest");
    }
    for architecture in ["amd64", "arm64"] {
        let archive = format!("{REPOSITORY}/releases/download/TAG/podcreds-TAG-linux-{architecture}.tar.gz");
        assert!(manifest.contains(&archive), "no platform has {archive}");
        assert!(script.contains(&format!("archive \"${architecture}\" {architecture}")), "{architecture}");
    }
}

#[test]
fn the_workflows_test_with_the_minimum_rust_version() {
    let workflow = read(".github/workflows/ci.yaml");
    let version = value(&workflow, "RUSTUP_TOOLCHAIN:").split('"').next().unwrap();
    assert_eq!(version, env!("CARGO_PKG_RUST_VERSION"));
}

#[test]
fn every_action_is_pinned_by_commit_and_every_job_has_a_time_limit() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/workflows");
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    for (file, workflow) in files.map(|path| (path.display().to_string(), fs::read_to_string(path).unwrap()))
    {
        for line in workflow.lines().filter_map(|line| line.split_once("uses: ")).map(|(_, action)| action) {
            let Some((action, pin)) = line.split_once('@') else {
                assert!(line.starts_with("./"), "{file}: {line}");
                continue;
            };
            let commit = pin.split(' ').next().unwrap();
            let is_commit = commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit());
            assert!(is_commit && pin.contains(" # v"), "{file}: {action} has no commit or no version: {pin}");
        }
        let machines = workflow.matches("runs-on:").count();
        assert_eq!(workflow.matches("timeout-minutes:").count(), machines, "{file}");
    }
}

/// The programs that a release installs must not be able to sign or publish.
#[test]
fn a_job_that_can_write_runs_no_program_of_the_repository_or_a_package_registry() {
    let workflow = read(".github/workflows/release.yaml");
    let (_, jobs) = workflow.split_once("\njobs:\n").unwrap();
    let is_name = |line: &&str| line.starts_with("  ") && !line.starts_with("   ") && line.ends_with(':');
    let names: Vec<_> = jobs.lines().filter(is_name).collect();
    assert_eq!(names, ["  test:", "  image:", "  files:", "  publish:"]);
    for (index, name) in names.iter().enumerate() {
        let (_, job) = jobs.split_once(&format!("{name}\n")).unwrap();
        let job = names.get(index + 1).map_or(job, |next| job.split_once(&format!("\n{next}\n")).unwrap().0);
        let can_write = job.contains(": write");
        assert_eq!(can_write, ["  image:", "  publish:"].contains(name), "{name}");
        for program in ["cargo ", "pip ", "npm ", "go install", ".ci/"] {
            assert!(!can_write || !job.contains(program), "{name} runs {program}");
        }
    }
}

#[test]
fn dependabot_updates_every_file_with_dependencies() {
    const FILES: [&str; 6] =
        ["Cargo.toml", "go.mod", "package.json", "pom.xml", "requirements.txt", "Dockerfile"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut expected = BTreeSet::new();
    let mut directories: Vec<PathBuf> =
        ["tests", "bench", "fuzz"].iter().map(|directory| root.join(directory)).collect();
    directories.push(root.to_owned());
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap().map(Result::unwrap) {
            if FILES.iter().any(|file| entry.file_name() == *file) {
                expected.insert(format!("/{}", directory.strip_prefix(root).unwrap().display()));
            }
            let is_output = entry.file_name() == "target" || entry.file_name() == "node_modules";
            if directory != root && !is_output && entry.file_type().unwrap().is_dir() {
                directories.push(entry.path());
            }
        }
    }
    let configuration = read(".github/dependabot.yaml");
    let lists = configuration.lines().filter_map(|line| {
        let line = line.trim_start();
        line.strip_prefix("directory: ").or_else(|| line.strip_prefix("directories: "))
    });
    let configured: BTreeSet<_> =
        lists.flat_map(|list| list.trim_matches(['[', ']']).split(", ")).map(str::to_owned).collect();
    assert_eq!(configured, expected);
}
