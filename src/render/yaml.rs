//! `yaml`: a mapping of strings, every value in double quotes.

use crate::escape;
use crate::render::error::Problem;
use crate::render::fields::{Fields, escaped};
use crate::secret::SecretBuffer;

/// Plain words that YAML 1.1 or 1.2 reads as something other than a string.
/// Source: <https://yaml.org/type/bool.html>, <https://yaml.org/type/null.html>
const RESERVED: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

/// Writes one `key: "value"` line a field.
pub(crate) fn write(fields: &Fields<'_>, out: &mut SecretBuffer) -> Result<(), Problem> {
    if fields.is_empty() {
        out.push_str("{}\n");
    }
    for (field, value) in fields {
        if is_plain(field.as_str()) {
            out.push_str(field.as_str());
        } else {
            escaped(escape::yaml, field, &field.as_str().into(), out)?;
        }
        out.push_str(": ");
        escaped(escape::yaml, field, value, out)?;
        out.push_str("\n");
    }
    Ok(())
}

/// Whether a field's name is a string for every reader without quotes: it begins with a letter, is no reserved word, and
/// is not what some readers of YAML 1.1 take for an exponent alone (`e3`).
fn is_plain(name: &str) -> bool {
    let digits = |rest: &str| rest.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && !RESERVED.iter().any(|word| word.eq_ignore_ascii_case(name))
        && !name.strip_prefix(['e', 'E']).is_some_and(digits)
}
