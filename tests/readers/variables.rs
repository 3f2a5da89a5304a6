//! Variables on which installed shells and interpreters act. They are the judges of the names that podcreds rejects: a shell must
//! keep every variable that format `env` sets and run nothing, and a variable with which an interpreter runs something must be
//! rejected unless `.keys` names it.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Case, TIMEOUT, find, render, require};
use crate::support::run::{run, run_on};

/// The longest word of a shell's binary that may be the name of a variable.
const LONGEST: usize = 24;
/// What an interactive shell does after it has read the file: its prompts, a traced command, and one that does not exist.
const SESSION: &str = ". ./db.env\ntrue\necho 'two\nlines'\nset -x\ntrue\nset +x\nunknown-command\ncd /\ncd -\necho end-$((1 + 1))\n";

/// Whether podcreds sets the variable if the key of a Secret has its name and no annotation does.
fn is_accepted(format: &str, name: &str) -> bool {
    let case = Case { name: name.to_owned(), fields: [(name.to_owned(), "x".to_owned())].into() };
    render(&[("format", format)], &case).is_ok()
}

/// The variables that this shell has at its start, and the words of its binary in upper case: most of its variables are among
/// them. podcreds accepts all of the returned names.
fn names(shell: &Path, arguments: &[&str]) -> BTreeSet<String> {
    let mut command = Command::new(shell);
    command.args(arguments).args(["-c", "set"]);
    let set = run(command, TIMEOUT).stdout;
    let assigned =
        set.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b'=').next());
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let binary = fs::read(shell).unwrap();
    let words = binary.split(|byte| !is_inner(*byte));
    let words = words.filter(|word| word.len() > 1 && !word.iter().any(u8::is_ascii_lowercase));
    let names = assigned.chain(words).filter_map(|name| str::from_utf8(name).ok());
    let names = names.filter(|name| {
        name.len() <= LONGEST
            && name.bytes().all(is_inner)
            && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
    });
    names.filter(|name| is_accepted("env", name)).map(str::to_owned).collect()
}

/// A shell in a directory of its own, with an `env` file that sets each name to this value.
fn shell_with(
    shell: &Path,
    directory: &Path,
    names: &BTreeSet<String>,
    value: impl Fn(&str) -> String,
) -> Command {
    let fields = names.iter().map(|name| (name.clone(), value(name))).collect();
    let case = Case { name: "names".to_owned(), fields };
    fs::write(directory.join("db.env"), render(&[("format", "env")], &case).unwrap().1).unwrap();
    let mut command = Command::new(shell);
    command
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap())
        .env("HOME", directory)
        .current_dir(directory);
    command
}

/// The variables whose values the shell has run.
fn ran(directory: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    entries.filter(|name| name.starts_with("made")).collect()
}

/// Fails if the shell changes or runs a value of a variable that podcreds sets.
fn keeps_every_variable(program: &str, arguments: &[&str]) {
    let Some(shell) = require(program, find(program)) else { return };
    let names = names(&shell, arguments);
    assert!(names.len() > 50, "{program} has only {} names", names.len());
    let directory = tempfile::tempdir().unwrap();
    // If the shell computes the variable, it evaluates this value as arithmetic.
    let value = "x[$(touch made)0]";
    let mut command = shell_with(&shell, directory.path(), &names, |_| value.to_owned());
    command.args(arguments).args(["-c", ". ./db.env && exec /usr/bin/env -0"]);
    let finished = run(command, TIMEOUT);
    let kept: BTreeSet<_> = finished
        .stdout
        .split(|byte| *byte == 0)
        .filter_map(|entry| str::from_utf8(entry).ok()?.strip_suffix(&format!("={value}")).map(str::to_owned))
        .collect();
    let lost: Vec<_> = names.difference(&kept).collect();
    assert!(lost.is_empty(), "{program} {arguments:?} loses {lost:?}: {}", finished.stderr);
    assert_eq!(ran(directory.path()), [""; 0], "{program} {arguments:?} evaluates a value");

    let mut command = shell_with(&shell, directory.path(), &names, |name| format!("$(touch made-{name})"));
    command.args(arguments).arg("-i");
    let session = directory.path().join("session");
    fs::write(&session, SESSION).unwrap();
    let finished = run_on(command, fs::File::open(session).unwrap(), TIMEOUT);
    assert!(finished.stdout_text().contains("end-2"), "{program} {arguments:?}: {}", finished.stderr);
    assert_eq!(
        ran(directory.path()),
        [""; 0],
        "{program} {arguments:?} runs a value in an interactive session"
    );
}

#[test]
fn dash_keeps_every_variable_that_env_sets() {
    keeps_every_variable("dash", &[]);
}

#[test]
fn bash_keeps_every_variable_that_env_sets() {
    keeps_every_variable("bash", &[]);
}

#[test]
fn bash_in_posix_mode_keeps_every_variable_that_env_sets() {
    keeps_every_variable("bash", &["--posix"]);
}

#[test]
fn busybox_keeps_every_variable_that_env_sets() {
    keeps_every_variable("busybox", &["sh"]);
}

#[test]
fn mksh_keeps_every_variable_that_env_sets() {
    keeps_every_variable("mksh", &[]);
}

#[test]
fn ksh93_keeps_every_variable_that_env_sets() {
    keeps_every_variable("ksh93", &[]);
}

#[test]
fn zsh_as_sh_keeps_every_variable_that_env_sets() {
    keeps_every_variable("zsh", &["--emulate", "sh"]);
}

/// A program that runs something because of its variables.
struct Interpreter {
    program: &'static str,
    arguments: &'static [&'static str],
    /// Names and values, with the directory of [`FILES`] as `@`.
    variables: &'static [(&'static str, &'static str)],
    /// What the program prints as the proof that it acts on them. Empty means that it creates the file `made`.
    prints: &'static str,
}

/// The files that interpreters run.
const FILES: [(&str, &str); 9] = [
    ("sitecustomize.py", "open('made', 'w')\n"),
    ("start.py", "open('made', 'w')\n"),
    ("Made.pm", "open(F, '>made'); 1;\n"),
    ("made.rb", "File.write('made', '')\n"),
    ("made.js", "require('fs').writeFileSync('made', '')\n"),
    ("made.sh", "touch made\n"),
    ("made.ini", "auto_prepend_file=made.php\n"),
    ("made.php", "<?php touch('made');\n"),
    ("empty.php", ""),
];

const INTERPRETERS: [Interpreter; 16] = [
    Interpreter { program: "sh", arguments: &["-ic", ":"], variables: &[("ENV", "@/made.sh")], prints: "" },
    Interpreter {
        program: "bash",
        arguments: &["-c", ":"],
        variables: &[("BASH_ENV", "@/made.sh")],
        prints: "",
    },
    Interpreter {
        program: "env",
        arguments: &["true"],
        variables: &[("LD_PRELOAD", "@/made.so")],
        prints: "made.so",
    },
    Interpreter {
        program: "python3",
        arguments: &["-c", "0"],
        variables: &[("PYTHONPATH", "@")],
        prints: "",
    },
    Interpreter {
        program: "python3",
        arguments: &["-i"],
        variables: &[("PYTHONSTARTUP", "@/start.py")],
        prints: "",
    },
    Interpreter {
        program: "python3",
        arguments: &["-W", "error", "-c", "breakpoint()"],
        variables: &[("PYTHONPATH", "@"), ("PYTHONBREAKPOINT", "start.x")],
        prints: "",
    },
    Interpreter {
        program: "node",
        arguments: &["-e", "0"],
        variables: &[("NODE_OPTIONS", "--require=@/made.js")],
        prints: "",
    },
    Interpreter {
        program: "node",
        arguments: &["-e", "require('made')"],
        variables: &[("NODE_PATH", "@")],
        prints: "",
    },
    Interpreter {
        program: "perl",
        arguments: &["-e", "0"],
        variables: &[("PERL5OPT", "-MMade"), ("PERL5LIB", "@")],
        prints: "",
    },
    Interpreter {
        program: "ruby",
        arguments: &["-e", "0"],
        variables: &[("RUBYOPT", "-r@/made.rb")],
        prints: "",
    },
    Interpreter {
        program: "ruby",
        arguments: &["-e", "require 'made'"],
        variables: &[("RUBYLIB", "@")],
        prints: "",
    },
    Interpreter {
        program: "java",
        arguments: &["-version"],
        variables: &[("JAVA_TOOL_OPTIONS", "-Dx=y")],
        prints: "Picked up JAVA_TOOL_OPTIONS",
    },
    Interpreter {
        program: "java",
        arguments: &["-version"],
        variables: &[("_JAVA_OPTIONS", "-Dx=y")],
        prints: "Picked up _JAVA_OPTIONS",
    },
    Interpreter {
        program: "java",
        arguments: &["-version"],
        variables: &[("JDK_JAVA_OPTIONS", "-Dx=y")],
        prints: "Picked up JDK_JAVA_OPTIONS",
    },
    Interpreter {
        program: "php",
        arguments: &["empty.php"],
        variables: &[("PHP_INI_SCAN_DIR", "@")],
        prints: "",
    },
    Interpreter {
        program: "git",
        arguments: &["ls-remote", "ssh://db.invalid/x"],
        variables: &[("GIT_SSH_COMMAND", "touch made;")],
        prints: "",
    },
];

/// Fails if a Secret's key may set one of the variables with which this program runs something.
fn is_out_of_reach_of_keys(program: &str) {
    let Some(path) = require(program, find(program)) else { return };
    for interpreter in INTERPRETERS.iter().filter(|interpreter| interpreter.program == program) {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in FILES {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let mut command = Command::new(&path);
        command.args(interpreter.arguments).current_dir(directory.path());
        for (name, value) in interpreter.variables {
            command.env(name, value.replace('@', directory.path().to_str().unwrap()));
        }
        let finished = run(command, TIMEOUT);
        let acts = match interpreter.prints {
            "" => directory.path().join("made").exists(),
            text => finished.stderr.contains(text),
        };
        let names: Vec<_> = interpreter.variables.iter().map(|(name, _)| *name).collect();
        assert!(acts, "{program} does not act on {names:?}: {}", finished.stderr);
        for name in names {
            for format in ["env", "dotenv"] {
                assert!(
                    !is_accepted(format, name),
                    "a key {name} decides what {program} runs, in format {format}"
                );
            }
        }
    }
}

#[test]
fn what_shells_run_is_out_of_reach_of_keys() {
    is_out_of_reach_of_keys("sh");
    is_out_of_reach_of_keys("bash");
}

#[test]
fn what_the_linker_runs_is_out_of_reach_of_keys() {
    is_out_of_reach_of_keys("env");
}

#[test]
fn what_python_runs_is_out_of_reach_of_keys() {
    is_out_of_reach_of_keys("python3");
}

#[test]
fn what_node_runs_is_out_of_reach_of_keys() {
    is_out_of_reach_of_keys("node");
}

#[test]
fn what_perl_runs_is_out_of_reach_of_keys() {
    is_out_of_reach_of_keys("perl");
}

#[test]
fn what_ruby_runs_is_out_of_reach_of_keys() {
    is_out_of_reach_of_keys("ruby");
}

#[test]
fn what_java_runs_is_out_of_reach_of_keys() {
    is_out_of_reach_of_keys("java");
}

#[test]
fn what_php_runs_is_out_of_reach_of_keys() {
    is_out_of_reach_of_keys("php");
}

#[test]
fn what_git_runs_is_out_of_reach_of_keys() {
    is_out_of_reach_of_keys("git");
}
