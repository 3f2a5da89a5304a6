//! Holds the language: no file of the repository uses a phrase that a reader has to read twice.
//!
//! `prose/phrases.txt` has the phrases, with what to write in their place; `prose/allowed.txt` has the lines that may use
//! one, each with its reason. Names count as text too: `_` is read as a space.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// A phrase to avoid and what to write instead.
struct Phrase {
    words: String,
    instead: String,
}

/// A line that may use a phrase: its file ends with `file`, and the line contains `excerpt`.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Allowed {
    file: String,
    excerpt: String,
}

/// Reads lines of `A | B | …`; lines that begin with `#` are comments.
fn columns<const N: usize>(text: &str) -> Vec<[String; N]> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let columns: Vec<_> = line.splitn(N, " | ").map(|column| column.trim().to_owned()).collect();
            columns.try_into().unwrap_or_else(|_| panic!("expected {N} columns: {line}"))
        })
        .collect()
}

fn phrases() -> Vec<Phrase> {
    let lines = columns(include_str!("prose/phrases.txt"));
    lines.into_iter().map(|[words, instead]| Phrase { words, instead }).collect()
}

/// Lower case, with each run of characters that are not part of a word as one space, and a space at both ends.
fn normalized(line: &str) -> String {
    let words = line.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|word| !word.is_empty());
    let mut text = " ".to_owned();
    for word in words {
        text.push_str(&word.to_lowercase());
        text.push(' ');
    }
    text
}

/// The phrases that a line uses. "There is no file" is plain English, "it is no file" is not.
fn found<'a>(line: &str, phrases: &'a [Phrase]) -> Vec<&'a Phrase> {
    let text = normalized(line).replace(" there is no ", " ").replace(" there are no ", " ");
    phrases.iter().filter(|phrase| text.contains(&format!(" {} ", phrase.words))).collect()
}

/// All files of the repository that people write, except for this check itself.
fn files(root: &Path) -> Vec<PathBuf> {
    const ENDINGS: [&str; 9] = ["rs", "md", "toml", "yaml", "yml", "sh", "py", "js", "go"];
    let mut files = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                if !["target", ".git", "prose", "node_modules"].contains(&name) {
                    directories.push(path);
                }
            } else if name != "prose.rs"
                && (name == "run"
                    || path.extension().is_some_and(|e| ENDINGS.iter().any(|ending| e == *ending)))
            {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

#[test]
fn no_line_uses_a_phrase_to_avoid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let phrases = phrases();
    let allowed: Vec<_> = columns(include_str!("prose/allowed.txt"))
        .into_iter()
        .map(|[file, excerpt, _reason]| Allowed { file, excerpt })
        .collect();
    let mut unused: BTreeSet<_> = allowed.iter().collect();
    let mut report = String::new();
    for path in files(root) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let name = path.strip_prefix(root).unwrap().to_str().unwrap();
        for (index, line) in text.lines().enumerate() {
            for phrase in found(line, &phrases) {
                let exception = allowed
                    .iter()
                    .find(|allowed| name.ends_with(&allowed.file) && line.contains(&allowed.excerpt));
                match exception {
                    Some(exception) => _ = unused.remove(exception),
                    None => {
                        writeln!(report, "{name}:{}: \"{}\": {}", index + 1, phrase.words, phrase.instead)
                            .unwrap();
                    }
                }
            }
        }
    }
    for Allowed { file, excerpt } in unused {
        writeln!(report, "tests/prose/allowed.txt: nothing needs {file} | {excerpt} any more").unwrap();
    }
    assert!(report.is_empty(), "{} lines:\n{report}", report.lines().count());
}

#[test]
fn phrases_are_found_in_prose_names_and_strings() {
    let phrases = phrases();
    for line in [
        "/// What is told to whoever asks.",
        "fn what_is_left_out_is_told() {",
        "    #[error(\"{0} is no name of a credential\")]",
        "let folder = path;",
    ] {
        assert!(!found(line, &phrases).is_empty(), "{line}");
    }
    for line in ["/// There is no file.", "if there are no files", "let directory = path;", "untold"] {
        assert!(found(line, &phrases).is_empty(), "{line}");
    }
}
