//! Directory walks, globs and libraries find the same files in both volumes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::support::run::run;
use crate::{Scene, TIMEOUT, password, tools};

/// podcreds' own directory at the top of its volume.
const OWN: &str = "..podcreds";
/// The directory of a credential, the parent of two such directories, and the root.
const DIRECTORIES: [&str; 3] = ["db", "conf", ""];

#[test]
fn python_finds_the_files_of_a_secret_volume() {
    let Some(python) = tools::python() else { return };
    let walks = ["os.walk", "os.walk, links followed", "glob", "glob, recursive", "Path.rglob"];
    assert_same_files(python, &[&walks[..], &["pydantic-settings"]].concat());
}

#[test]
fn ruby_finds_the_files_of_a_secret_volume() {
    let Some(ruby) = tools::ruby() else { return };
    assert_same_files(ruby, &["Dir.glob", "Dir.glob, one level"]);
}

#[test]
fn go_finds_the_files_of_a_secret_volume() {
    let Some(mut go) = tools::go() else { return };
    go.arg("walks");
    assert_same_files(go, &["filepath.Walk", "filepath.WalkDir", "filepath.Glob"]);
}

#[test]
fn java_and_smallrye_find_the_files_of_a_secret_volume() {
    let Some(mut java) = tools::java() else { return };
    java.arg("walks");
    assert_same_files(java, &["Files.walk", "Files.walk, links followed", "SmallRye"]);
}

#[test]
fn find_finds_the_files_of_a_secret_volume() {
    let Some(find) = tools::program("find") else { return };
    let scene = scene();
    for arguments in [["-P", "f"], ["-P", "f,l"], ["-L", "f"]] {
        for directory in DIRECTORIES {
            let [podcreds, reference] = [scene.path(directory), scene.reference_path(directory)]
                .map(|root| comparable(found_by(&find, arguments, &root)));
            assert!(reference.values().any(|text| text.contains(&password(0))), "{reference:?}");
            assert_eq!(podcreds, reference, "find {arguments:?} in {directory:?}");
        }
    }
}

/// Runs `find [-P|-L] ROOT -type …` and returns the text of each found file.
fn found_by(find: &Path, [links, types]: [&str; 2], root: &Path) -> BTreeMap<String, String> {
    let mut command = Command::new(find);
    command.arg(links).arg(root).args(["-type", types, "-printf", "%P\n"]);
    let found = run(command, TIMEOUT);
    assert_eq!((found.code, found.stderr.as_str()), (Some(0), ""), "{root:?}");
    // A link to a directory has no text.
    let with_text = |path: &str| (path.to_owned(), fs::read_to_string(root.join(path)).unwrap_or_default());
    found.stdout_text().lines().map(with_text).collect()
}

/// The result of one reader for one directory.
#[derive(Deserialize)]
struct ReaderOutput {
    reader: String,
    directory: PathBuf,
    /// The text of each file, by its path below the directory.
    #[serde(default)]
    files: BTreeMap<String, String>,
    error: Option<String>,
}

/// A credential with a directory at the top, two with a common parent directory, and one with a file at the top.
fn scene() -> Scene {
    let annotations = [
        ("db.secret", "db"),
        ("one.secret", "db"),
        ("one.path", "conf/app"),
        ("two.secret", "db"),
        ("two.path", "conf/web"),
        ("top.secret", "db"),
        ("top.template", "{{ password }}\n"),
    ];
    let scene = Scene::start(&annotations, "top.txt").with_secret_volumes(&["db", "conf/app", "conf/web"]);
    fs::write(scene.reference_path("top.txt"), password(0) + "\n").unwrap();
    scene
}

/// Runs a program of `tests/readers/volume/` on both volumes, and compares the files that each of these readers finds.
#[track_caller]
fn assert_same_files(mut program: Command, readers: &[&str]) {
    let scene = scene();
    for directory in DIRECTORIES {
        program.arg(scene.path(directory)).arg(scene.reference_path(directory));
    }
    let finished = run(program, TIMEOUT);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let stdout = finished.stdout_text();
    let mut outputs: BTreeMap<_, _> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .map(|output: ReaderOutput| {
            let found = match output.error {
                Some(error) => Err(error),
                None => Ok(comparable(output.files)),
            };
            ((output.reader, output.directory), found)
        })
        .collect();
    let mut wrong = Vec::new();
    for reader in readers {
        let mut found_any = false;
        for directory in DIRECTORIES {
            let mut found = |root: &Path| outputs.remove(&((*reader).to_owned(), root.join(directory)));
            let (podcreds, reference) = (found(&scene.path("")), found(&scene.reference_path("")));
            found_any |=
                matches!(&reference, Some(Ok(files)) if files.values().any(|text| *text == password(0)));
            if podcreds != reference {
                wrong.push(format!(
                    "{reader} in {directory:?}\n    podcreds      {podcreds:?}\n    Secret volume {reference:?}"
                ));
            }
        }
        assert!(found_any, "{reader} reads nothing in a Secret volume:\n{stdout}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let left: BTreeSet<_> = outputs.into_keys().map(|(reader, _)| reader).collect();
    assert!(left.is_empty(), "the test does not expect {left:?}");
}

/// Replaces the names of version directories, and removes podcreds' own directory.
fn comparable(files: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let named = |path: String| {
        let names = path.split('/').map(|name| if name.starts_with("..2") { "..VERSION" } else { name });
        names.collect::<Vec<_>>().join("/")
    };
    let is_own = |path: &str| path.split('/').next() == Some(OWN);
    files.into_iter().filter(|(path, _)| !is_own(path)).map(|(path, text)| (named(path), text)).collect()
}
