//! Character data and attribute values of XML.
//! Source: <https://www.w3.org/TR/xml/#charsets>, <https://www.w3.org/TR/xml/#syntax>

use crate::escape::Refused;
use crate::secret::SecretBuffer;

/// Writes the text for a place between tags or between the quotes of an attribute.
///
/// # Errors
/// For control characters and others that no XML 1.0 document can hold in any form.
pub(crate) fn xml(text: &str, out: &mut SecretBuffer) -> Result<(), Refused> {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // A reader changes line breaks, and in attributes all white space, unless they are references.
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => return Err(Refused("a control character")),
            _ => out.push_char(c),
        }
    }
    Ok(())
}
