//! A string of YAML in double quotes, in which any character can be written, so that no reader takes `no`, `1e3` or
//! `2024-01-01` for something else.
//! Source: <https://yaml.org/spec/1.2.2/#57-escaped-characters>; the escapes used are in YAML 1.1 too.

use crate::escape::{Refused, hexadecimal};
use crate::secret::SecretBuffer;

/// Writes the text in double quotes.
///
/// # Errors
/// None: YAML has an escape for every character.
pub(crate) fn yaml(text: &str, out: &mut SecretBuffer) -> Result<(), Refused> {
    out.push_str("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // C0, DEL and C1 controls, NEL among them, which YAML 1.1 takes for a line break.
            '\0'..='\x1f' | '\x7f'..='\u{a0}' => {
                out.push_str("\\x");
                hexadecimal(c.into(), 2, out);
            }
            // Line and paragraph separators, the byte order mark, and what is no character.
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                out.push_str("\\u");
                hexadecimal(c.into(), 4, out);
            }
            _ => out.push_char(c),
        }
    }
    out.push_str("\"");
    Ok(())
}
