//! `properties`: a file for `java.util.Properties`, in ASCII with `\u` escapes, so that it reads the same whether the
//! reader takes it for ISO 8859-1 or for UTF-8.
//! Source: <https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/util/Properties.html#load(java.io.Reader)>

use crate::render::error::Problem;
use crate::render::fields::Fields;
use crate::secret::SecretBuffer;

/// Writes one `key=value` line a field. The names of fields need no escapes.
pub(super) fn write(fields: &Fields<'_>, out: &mut SecretBuffer) -> Result<(), Problem> {
    for (field, value) in fields {
        let Some(text) = value.expose_text() else { return Err(Problem::Binary { field: field.clone() }) };
        out.push_str(field.as_str());
        out.push_str("=");
        escaped(text, out);
        out.push_str("\n");
    }
    Ok(())
}

fn escaped(text: &str, out: &mut SecretBuffer) {
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
            _ => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| unicode(*unit, out)),
        }
        leading &= c == ' ';
    }
}

fn unicode(unit: u16, out: &mut SecretBuffer) {
    out.push_str("\\u");
    for digit in (0..4).rev() {
        let nibble = (u32::from(unit) >> (4 * digit)) & 0xf;
        out.push_char(char::from_digit(nibble, 16).unwrap_or('0'));
    }
}
