//! `dotenv`: a file for dotenv libraries. There is no standard, and libraries differ in escapes and in what they expand,
//! so only what Node's dotenv (from version 16), Node's own `--env-file`, python-dotenv and Rust's dotenvy read alike is
//! written; a value that needs more is an error and not a guess.
//!
//! Sources: <https://github.com/motdotla/dotenv>, <https://nodejs.org/api/util.html#utilparseenvcontent>,
//! <https://github.com/theskumar/python-dotenv>, <https://github.com/allan2/dotenvy>

use crate::render::error::Problem;
use crate::render::fields::{Fields, text, variable};
use crate::secret::SecretBuffer;

/// Writes `NAME='value'` lines, with double quotes around a value that holds a single one.
pub(crate) fn write(fields: &Fields<'_>, out: &mut SecretBuffer) -> Result<(), Problem> {
    for (field, value) in fields {
        let (name, text) = (variable(field)?, text(field, value)?);
        let quote = quote(text).map_err(|what| Problem::NotPortable { field: field.clone(), what })?;
        out.push_str(name);
        out.push_str("=");
        out.push_str(quote);
        out.push_str(text);
        out.push_str(quote);
        out.push_str("\n");
    }
    Ok(())
}

/// The quotes in which every library takes this text as it is; if there are none, what is in the way.
fn quote(text: &str) -> Result<&'static str, &'static str> {
    // Node turns CR LF into LF, also in quotes.
    if text.contains('\r') {
        return Err("a carriage return");
    }
    // python-dotenv expands `${…}` in single quotes; dotenvy expands `$` in double quotes; dotenv-expand runs `$(…)`.
    if text.contains("${") || text.contains("$(") {
        return Err("${ or $(");
    }
    // In single quotes python-dotenv reads `\\` and `\'` as escapes, the others none; in double quotes all have more.
    let escapes = text.contains("\\\\") || text.ends_with('\\');
    match (text.contains('\''), text.contains('"')) {
        (false, _) if escapes => Err("backslashes in a row or at its end"),
        (false, _) => Ok("'"),
        (true, true) => Err("both kinds of quotes"),
        (true, false) if text.contains(['\\', '$', '`']) => Err("a single quote together with \\, $ or `"),
        (true, false) => Ok("\""),
    }
}
