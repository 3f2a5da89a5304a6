//! The errors of the parser, with positions at which a person finds the cause.

use saphyr_parser::ScanError;

use crate::text::Position;

/// What an error says, and where. `at` is the position that it names.
pub(super) fn cause<'e>(text: &str, error: &'e ScanError, mut at: Position) -> (&'e str, Position) {
    let said = match error.info() {
        // The parser reports the end of the scalar before it.
        said if said.ends_with("found a tab") => {
            let mut rest = text.lines().enumerate().skip(at.line).filter(|(_, line)| !line.trim().is_empty());
            let indented = |line: &str| line.find(|c| c != ' ').filter(|at| line[*at..].starts_with('\t'));
            match rest.next().and_then(|(index, line)| Some((index, indented(line)?))) {
                Some((index, column)) => {
                    at = Position { line: index + 1, column: column + 1 };
                    "a tab indents this line: use spaces"
                }
                None => said,
            }
        }
        // The text of this error holds a character of the document, which may be part of a secret.
        said if said.starts_with("unexpected character") => "a value that begins with @, ` or % needs quotes",
        said => said,
    };
    (said, at)
}
