//! The commands file. Each line is a word and the rest of the line as it is, so that nothing needs quoting:
//!
//! ```text
//! command NAME      begins a command
//! env KEY=VALUE     its environment: such lines and nothing else; the last one of a key counts
//! empty FOLDER      what the folder holds is removed before each run, outside of the measurement
//! run PROGRAM       the program, with no shell in between
//! arg ARGUMENT      one argument; any number of such lines
//! ```
//!
//! Empty lines and lines that begin with `#` say nothing.

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
        let wrong =
            || format!("line {}: `{line}`: expected command, env, empty, run or arg, and a value", index + 1);
        let (word, rest) = line.split_once(' ').ok_or_else(wrong)?;
        if word == "command" {
            commands.push(Command { name: rest.to_owned(), ..Command::default() });
            continue;
        }
        let command = commands.last_mut().ok_or_else(|| format!("line {}: no command yet", index + 1))?;
        match word {
            "env" => {
                let (key, value) = rest.split_once('=').ok_or_else(wrong)?;
                command.environment.push((key.to_owned(), value.to_owned()));
            }
            "empty" => command.empty.push(rest.into()),
            "run" => command.program = rest.into(),
            "arg" => command.arguments.push(rest.to_owned()),
            _ => return Err(wrong()),
        }
    }
    match commands.iter().find(|command| command.program.as_os_str().is_empty()) {
        Some(command) => Err(format!("{}: no `run` line", command.name)),
        None if commands.is_empty() => Err("no command".to_owned()),
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
    fn a_wrong_line_is_named_by_its_number() {
        for (text, message) in [
            ("command a\nrun b\nenv c", "line 3: `env c`"),
            ("command a\nrum b", "line 2: `rum b`"),
            ("run b", "line 1: no command"),
            ("command a", "a: no `run` line"),
            ("", "no command"),
        ] {
            let error = parse(text).map(|_| ()).unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
