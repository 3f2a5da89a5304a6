//! A value of a file for `java.util.Properties`, in ASCII with `\u` escapes, so that it reads the same whether the reader
//! takes the file for ISO 8859-1 or for UTF-8.
//! Source: <https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/util/Properties.html#load(java.io.Reader)>

use crate::escape::{Refused, hexadecimal};
use crate::secret::SecretBuffer;

/// Writes the text as what stands behind `key=`.
///
/// # Errors
/// None: there is an escape for every character.
pub(crate) fn properties(text: &str, out: &mut SecretBuffer) -> Result<(), Refused> {
    let mut leading = true;
    for c in text.chars() {
        match c {
            ' ' if leading => out.push_str("\\ "),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0c' => out.push_str("\\f"),
            ' '..='~' => out.push_char(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str("\\u");
                    hexadecimal((*unit).into(), 4, out);
                }
            }
        }
        leading &= c == ' ';
    }
    Ok(())
}
