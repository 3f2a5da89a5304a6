//! Finds the readers: programs of the machine, and programs that `.ci/run` installs or builds.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::skip::require;

/// Names the Python that has the modules of `tests/readers/requirements.txt`.
const PYTHON: &str = "PODCREDS_TEST_PYTHON";
/// Names the directory with the libraries of `tests/readers/volume/pom.xml`.
const JARS: &str = "PODCREDS_TEST_JARS";
/// Names the program built from `tests/readers/volume/main.go`.
const GO: &str = "PODCREDS_TEST_GO_READER";

/// A program in PATH.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    require(name, env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.is_file()))
}

/// `volume.py`, with pydantic-settings.
pub(crate) fn python() -> Option<Command> {
    let python = env::var_os(PYTHON).unwrap_or_else(|| "python3".into());
    let imported = Command::new(&python).args(["-c", "import pydantic_settings"]).output();
    let found = imported.is_ok_and(|output| output.status.success()).then_some(python);
    let what = "Python with pydantic_settings (pip install -r tests/readers/requirements.txt)";
    Some(script(Command::new(require(what, found)?), "volume.py"))
}

/// `volume.rb`.
pub(crate) fn ruby() -> Option<Command> {
    Some(script(Command::new(program("ruby")?), "volume.rb"))
}

/// `watch.mjs`.
pub(crate) fn node() -> Option<Command> {
    Some(script(Command::new(program("node")?), "watch.mjs"))
}

/// `Volume.java`, with its libraries; `java` compiles it.
pub(crate) fn java() -> Option<Command> {
    program("javac")?;
    let jars = env::var_os(JARS).map(PathBuf::from).filter(|jars| jars.is_dir());
    let jars = require(&format!("{JARS} (mvn dependency:copy-dependencies, of tests/readers/volume)"), jars)?;
    let mut command = Command::new(program("java")?);
    command.arg("-cp").arg(jars.join("*"));
    Some(script(command, "Volume.java"))
}

/// The program of `main.go`.
pub(crate) fn go() -> Option<Command> {
    let built: Option<OsString> = env::var_os(GO).filter(|path| Path::new(path).is_file());
    require(&format!("{GO} (go build, in tests/readers/volume)"), built).map(Command::new)
}

fn script(mut command: Command, name: &str) -> Command {
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers/volume").join(name));
    command
}
