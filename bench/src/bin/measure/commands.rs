//! Parses the commands file. Each line is a keyword and a value that extends to the end of the line, without quoting:
//!
//! ```text
//! command NAME      begins a command
//! env KEY=VALUE     adds to the environment, which is empty otherwise; the last value of a key wins
//! empty DIR         empties the directory before each run, outside of the measurement
//! run PROGRAM       the program, executed without a shell
//! arg ARGUMENT      one argument; may be repeated
//! ```
//!
//! Empty lines and lines that begin with `#` are ignored.

use std::fs;
use std::path::{Path, PathBuf};

#[derive(Debug, Default)]
pub(crate) struct Command {
    pub(crate) name: String,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) empty: Vec<PathBuf>,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
}

pub(crate) fn load(path: &Path) -> Result<Vec<Command>, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    parse(&text).map_err(|error| format!("{}: {error}", path.display()))
}

pub(crate) fn parse(text: &str) -> Result<Vec<Command>, String> {
    let mut commands: Vec<Command> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let invalid =
            || format!("line {}: `{line}`: expected command, env, empty, run or arg, and a value", index + 1);
        let (keyword, value) = line.split_once(' ').ok_or_else(invalid)?;
        if keyword == "command" {
            commands.push(Command { name: value.to_owned(), ..Command::default() });
            continue;
        }
        let command =
            commands.last_mut().ok_or_else(|| format!("line {}: no `command` line before it", index + 1))?;
        match keyword {
            "env" => {
                let (key, value) = value.split_once('=').ok_or_else(invalid)?;
                command.environment.push((key.to_owned(), value.to_owned()));
            }
            "empty" => command.empty.push(value.into()),
            "run" => command.program = value.into(),
            "arg" => command.arguments.push(value.to_owned()),
            _ => return Err(invalid()),
        }
    }
    if commands.is_empty() {
        return Err("no `command` line".to_owned());
    }
    match commands.iter().find(|command| command.program.as_os_str().is_empty()) {
        Some(command) => Err(format!("{}: no `run` line", command.name)),
        None => Ok(commands),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_spaces_and_equal_signs() -> Result<(), String> {
        let text =
            "# two\ncommand a b\nenv K=v=w x\nempty /t mp\nrun /bin/ls\narg -l -a\n\ncommand c\nrun d\n";
        let commands = parse(text)?;
        assert_eq!(commands.len(), 2);
        assert_eq!(commands[0].name, "a b");
        assert_eq!(commands[0].environment, [("K".to_owned(), "v=w x".to_owned())]);
        assert_eq!(commands[0].empty, [PathBuf::from("/t mp")]);
        assert_eq!(commands[0].arguments, ["-l -a"]);
        Ok(())
    }

    #[test]
    fn the_error_for_an_invalid_line_has_its_number() {
        for (text, message) in [
            ("command a\nrun b\nenv c", "line 3: `env c`"),
            ("command a\nrum b", "line 2: `rum b`"),
            ("run b", "line 1: no `command` line"),
            ("command a", "a: no `run` line"),
            ("", "no `command` line"),
        ] {
            let error = parse(text).map(|_| ()).unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
