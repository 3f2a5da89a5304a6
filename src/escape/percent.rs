//! A part of a URI: all but unreserved characters become `%` and two digits for each byte of UTF-8, whatever part it is.
//! Source: RFC 3986, sections 2.1 and 2.3.

use crate::escape::{Refused, hexadecimal, without_nul};
use crate::secret::{SecretBuffer, SecretBytes};

/// Writes the text percent-encoded.
///
/// # Errors
/// For NUL.
pub(crate) fn percent(text: &str, out: &mut SecretBuffer) -> Result<(), Refused> {
    without_nul(text)?;
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(&[byte]);
        } else {
            out.push_str("%");
            hexadecimal(byte.into(), 2, out);
        }
    }
    Ok(())
}

/// Reads what was percent-encoded; none if a `%` is not followed by two digits.
pub fn unpercent(text: &str) -> Option<SecretBytes> {
    let mut out = SecretBuffer::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = match first {
            b'%' => {
                let digits = after.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
                out.push(&[u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?]);
                &after[2..]
            }
            _ => {
                out.push(&[*first]);
                after
            }
        };
    }
    Some(out.finish())
}
