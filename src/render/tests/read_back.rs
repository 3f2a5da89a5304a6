//! Rendered files read back by independent readers, with arbitrary values.

use std::process::Command;

use proptest::prelude::*;

use super::*;

/// Covers every variable that is set when a shell sets and if podcreds would write accepts any value and runs nothing.
#[test]
fn no_variable_makes_a_shell_run_its_value() {
    for (shell, list) in [("sh", "set"), ("bash", "compgen -v"), ("mksh", "typeset +")] {
        let Ok(output) = program(shell).args(["-c", list]).output() else { continue };
        let listed = String::from_utf8_lossy(&output.stdout).into_owned();
        let words = listed.lines().filter_map(|line| line.split('=').next()?.split(' ').next_back());
        let more = ["RANDOM", "SRANDOM", "HISTCMD", "OPTIND", "SECONDS", "COLUMNS", "PGRP"];
        for name in words.chain(more).filter(|name| FieldName::parse(name).is_ok()) {
            let secret = [(name, &b"x[$(touch made)0]"[..]), ("zz_VALUE", b"after")];
            let Ok(files) =
                render(&[("db.format", "env"), ("db.keys", &format!("{name},VALUE=zz_VALUE"))], &secret)
            else {
                continue;
            };
            let file = String::from_utf8(files["db.env"].clone()).unwrap();
            assert_eq!(sourced_by(shell, &file).as_deref(), Some(&b"after"[..]), "{shell}: {name}");
        }
    }
}

/// Generates any text, with the characters that are special higher some format that are by chance.
pub(crate) fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ -~\n\r\t]{0,40}",
        "['\"\\\\$`{}#=:! \n\t\u{85}\u{2028}\u{feff}\u{7f}\u{a0}é😀]{0,20}"
    ]
    .prop_map(|text| text.replace('\0', ""))
}

/// A shell with its first arguments.
pub(crate) fn program(shell: &str) -> Command {
    let mut words = shell.split(' ');
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    command
}

fn sourced_by(shell: &str, file: &str) -> Option<Vec<u8>> {
    environment_after(shell, file)?
        .split(|b| *b == 0)
        .find_map(|pair| pair.strip_prefix(b"VALUE="))
        .map(<[u8]>::to_vec)
}

/// The variables with an upper-case letter first that the file sets, except those that the shell itself sets.
pub(crate) fn variables_of_shell(shell: &str, file: &str) -> Option<BTreeMap<String, String>> {
    let text = String::from_utf8(environment_after(shell, file)?).unwrap();
    let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
    let own = ["PATH", "PWD", "OLDPWD", "SHLVL", "_"];
    let pairs = pairs.filter(|(name, _)| !own.contains(name));
    Some(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// Sources the file and returns the environment of a program that the shell then starts.
fn environment_after(shell: &str, file: &str) -> Option<Vec<u8>> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db.env");
    std::fs::write(&path, file).unwrap();
    let output = program(shell)
        .args(["-c", "umask 077; . \"$1\" && exec env -0", "sh"])
        .arg(&path)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .current_dir(directory.path())
        .output()
        .ok()?;
    assert!(output.status.success(), "{shell}: {output:?}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "sourcing {file:?} made a file");
    Some(output.stdout)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn env_is_read_back_by_a_shell(value in any_text()) {
        let file = one_file("env", &[("VALUE", value.as_bytes())]);
        prop_assert_eq!(sourced_by("sh", &file).unwrap(), value.as_bytes());
        if let Some(read) = sourced_by("bash", &file) {
            prop_assert_eq!(read, value.as_bytes());
        }
    }
}

proptest! {
    #[test]
    fn dotenv_is_read_back_by_dotenvy(value in any_text()) {
        if let Ok(files) = render(&[("db.format", "dotenv")], &[("VALUE", value.as_bytes())]) {
            let read: Vec<_> = dotenvy::from_read_iter(files["db.env"].as_slice()).map(Result::unwrap).collect();
            prop_assert_eq!(read, [("VALUE".to_owned(), value)]);
        }
    }

    #[test]
    fn json_is_read_back_by_a_parser(value in any::<String>()) {
        let file = one_file("json", &[("a", value.as_bytes())]);
        let read: BTreeMap<String, String> = serde_json::from_str(&file).unwrap();
        prop_assert_eq!(&read["a"], &value);
    }

    #[test]
    fn yaml_is_read_back_by_a_parser(value in any_text(), name in "[-._a-zA-Z0-9]{1,8}") {
        prop_assume!(FieldName::parse(&name).is_ok());
        let file = one_file("yaml", &[(name.as_str(), value.as_bytes())]);
        let read: BTreeMap<String, String> = yaml_serde::from_str(&file).unwrap();
        prop_assert_eq!(read, BTreeMap::from([(name, value)]));
    }

    #[test]
    fn properties_are_read_back_by_a_parser(value in any_text(), name in "[-._a-zA-Z0-9]{1,8}") {
        prop_assume!(FieldName::parse(&name).is_ok());
        // This reader does not combine surrogate pairs; tests/formats.rs tests them with Java's own reader.
        let value = value.replace(|c: char| c > '\u{ffff}', "");
        let file = one_file("properties", &[(name.as_str(), value.as_bytes())]);
        let read = java_properties::read(file.as_bytes()).unwrap();
        prop_assert_eq!(read, std::collections::HashMap::from([(name, value)]));
    }
}
