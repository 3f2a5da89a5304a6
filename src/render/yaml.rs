//! `yaml`: a mapping of strings. Every value is in double quotes, in which any character can be written, so that no
//! reader takes `no`, `1e3` or `2024-01-01` for something else.
//! Source: <https://yaml.org/spec/1.2.2/#57-escaped-characters>; the escapes used are in YAML 1.1 too.

use crate::render::error::Problem;
use crate::render::fields::Fields;
use crate::secret::SecretBuffer;

/// Plain words that YAML 1.1 or 1.2 reads as something other than a string.
/// Source: <https://yaml.org/type/bool.html>, <https://yaml.org/type/null.html>
const RESERVED: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

/// Writes one `key: "value"` line a field.
pub(super) fn write(fields: &Fields<'_>, out: &mut SecretBuffer) -> Result<(), Problem> {
    if fields.is_empty() {
        out.push_str("{}\n");
    }
    for (field, value) in fields {
        let Some(text) = value.expose_text() else { return Err(Problem::Binary { field: field.clone() }) };
        if is_plain(field.as_str()) {
            out.push_str(field.as_str());
        } else {
            quoted(field.as_str(), out);
        }
        out.push_str(": ");
        quoted(text, out);
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

fn quoted(text: &str, out: &mut SecretBuffer) {
    out.push_str("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // C0, DEL and C1 controls, NEL among them, which YAML 1.1 takes for a line break.
            '\0'..='\x1f' | '\x7f'..='\u{a0}' => escape(c, 'x', 2, out),
            // Line and paragraph separators, the byte order mark, and what is no character.
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => escape(c, 'u', 4, out),
            _ => out.push_char(c),
        }
    }
    out.push_str("\"");
}

fn escape(c: char, letter: char, digits: u32, out: &mut SecretBuffer) {
    out.push_char('\\');
    out.push_char(letter);
    for digit in (0..digits).rev() {
        let nibble = (u32::from(c) >> (4 * digit)) & 0xf;
        out.push_char(char::from_digit(nibble, 16).unwrap_or('0'));
    }
}
