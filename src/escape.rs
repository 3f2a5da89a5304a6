//! Escaping rules: how text is written in each format so that a reader of that format gets back exactly the same text.
//! Pure. The output formats and the template filters share these functions, so each format has one rule.
//!
//! Text that a format cannot represent is an error; it is never altered.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::secret::{SecretBuffer, SecretBytes};

/// A character or property that the format cannot represent: a noun phrase for a message, never the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unrepresentable(pub &'static str);

pub(crate) const LINE_BREAK: Unrepresentable = Unrepresentable("a line break");

/// Appends the text in the syntax of one format.
pub(crate) type EscapeFn = fn(&str, &mut SecretBuffer) -> Result<(), Unrepresentable>;

/// Every rule by the name of its template filter, sorted by name.
pub const RULES: [(&str, EscapeFn); 12] = [
    ("adonet", adonet),
    ("ini", ini),
    ("json", json),
    ("libpq", libpq),
    ("mycnf", mycnf),
    ("pgpass", pgpass),
    ("properties", properties),
    ("shell", shell),
    ("urlencode", percent),
    ("userlist", userlist),
    ("xml", xml),
    ("yaml", yaml),
];

/// Writes a value of an ADO.NET connection string, in double quotes, inside which `;`, `=`, `'` and white space mean nothing.
/// Source: <https://learn.microsoft.com/en-us/dotnet/api/system.data.common.dbconnectionstringbuilder.connectionstring#remarks>
///
/// # Errors
/// For NUL, which ends the string in .NET's parser.
pub(crate) fn adonet(text: &str, out: &mut SecretBuffer) -> Result<(), Unrepresentable> {
    reject_nul(text)?;
    double_quotes(text, out);
    Ok(())
}

/// Writes the value of an entry that Python's `configparser` reads, the text after `name =`. `BasicInterpolation`, which is its
/// default and what alembic and `logging.config` use, takes `%` as the start of a reference.
/// Source: <https://docs.python.org/3/library/configparser.html#configparser.BasicInterpolation>
///
/// # Errors
/// For line breaks, and for white space at the ends, which the parser removes.
pub(crate) fn ini(text: &str, out: &mut SecretBuffer) -> Result<(), Unrepresentable> {
    reject_line_breaks(text)?;
    // Four control characters are white space for Python, but not in Unicode.
    let is_space = |c: char| c.is_whitespace() || matches!(c, '\x1c'..='\x1f');
    if text.starts_with(is_space) || text.ends_with(is_space) {
        return Err(Unrepresentable("white space at its start or end"));
    }
    double(text, '%', out);
    Ok(())
}

/// Writes a JSON string, with its quotes (RFC 8259, section 7).
///
/// # Errors
/// Never: JSON has an escape for every character.
pub(crate) fn json(text: &str, out: &mut SecretBuffer) -> Result<(), Unrepresentable> {
    // Serializing a string into memory cannot fail.
    let _ = serde_json::to_writer(out, text);
    Ok(())
}

/// Writes a value of a libpq keyword/value connection string, in single quotes.
/// Source: <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-KEYWORD-VALUE>
///
/// # Errors
/// For NUL.
pub(crate) fn libpq(text: &str, out: &mut SecretBuffer) -> Result<(), Unrepresentable> {
    reject_nul(text)?;
    out.push_str("'");
    backslash_escape(text, ['\'', '\\'], out);
    out.push_str("'");
    Ok(())
}

/// Writes a value of a MySQL or MariaDB option file. The double quotes preserve leading and trailing spaces, and keep `#` from
/// starting a comment.
/// Source: <https://dev.mysql.com/doc/refman/8.4/en/option-files.html#option-file-syntax>
///
/// # Errors
/// For NUL.
pub(crate) fn mycnf(text: &str, out: &mut SecretBuffer) -> Result<(), Unrepresentable> {
    reject_nul(text)?;
    out.push_str("\"");
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            _ => out.push_char(c),
        }
    }
    out.push_str("\"");
    Ok(())
}

/// Writes one field of a `.pgpass` line.
/// Source: <https://www.postgresql.org/docs/current/libpq-pgpass.html>
///
/// # Errors
/// For NUL and for line breaks.
pub(crate) fn pgpass(text: &str, out: &mut SecretBuffer) -> Result<(), Unrepresentable> {
    reject_nul(text)?;
    reject_line_breaks(text)?;
    backslash_escape(text, [':', '\\'], out);
    Ok(())
}

/// Writes the value of a `java.util.Properties` entry, the text after `key=`. The output is ASCII with `\u` escapes, so that
/// it reads the same as ISO 8859-1 and as UTF-8. A space at either end is such an escape too, because commons-configuration2
/// removes a plain one and keeps the backslash of `\ `.
/// Source: <https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/util/Properties.html#load(java.io.Reader)>
///
/// # Errors
/// Never: there is an escape for every character.
pub(crate) fn properties(text: &str, out: &mut SecretBuffer) -> Result<(), Unrepresentable> {
    let first = text.len() - text.trim_start_matches(' ').len();
    let end = text.trim_end_matches(' ').len();
    for (index, c) in text.char_indices() {
        match c {
            ' ' if index < first || index >= end => out.push_str("\\u0020"),
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
    }
    Ok(())
}

/// Writes a POSIX shell word in single quotes, inside which a shell expands nothing. A single quote is written as `'\''`.
/// Source: <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html#tag_19_02_02>
///
/// # Errors
/// For NUL.
pub fn shell(text: &str, out: &mut SecretBuffer) -> Result<(), Unrepresentable> {
    reject_nul(text)?;
    out.push_str("'");
    for (index, piece) in text.split('\'').enumerate() {
        out.push_str(if index == 0 { "" } else { "'\\''" });
        out.push_str(piece);
    }
    out.push_str("'");
    Ok(())
}

/// Everything but RFC 3986's unreserved characters (section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Percent-encodes a name that is not secret, for any component of a URI.
pub(crate) fn percent_encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// Percent-encodes a value, for any component of a URI.
///
/// # Errors
/// For NUL.
pub(crate) fn percent(text: &str, out: &mut SecretBuffer) -> Result<(), Unrepresentable> {
    reject_nul(text)?;
    utf8_percent_encode(text, RESERVED).for_each(|piece| out.push_str(piece));
    Ok(())
}

/// Decodes percent-encoded text. `None` means that a `%` is not followed by two hexadecimal digits, which the crate that encodes
/// would pass on unchanged.
pub fn percent_decode(text: &str) -> Option<SecretBytes> {
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

/// Writes a name or a password of PgBouncer's `auth_file`, in double quotes.
/// Source: <https://www.pgbouncer.org/config.html#authentication-file-format>
///
/// # Errors
/// For NUL and for line breaks: an entry is one line.
pub(crate) fn userlist(text: &str, out: &mut SecretBuffer) -> Result<(), Unrepresentable> {
    reject_nul(text)?;
    reject_line_breaks(text)?;
    double_quotes(text, out);
    Ok(())
}

/// Writes XML character data that is also valid inside a quoted attribute value.
/// Source: <https://www.w3.org/TR/xml/#charsets>, <https://www.w3.org/TR/xml/#syntax>
///
/// # Errors
/// For control characters and noncharacters, which an XML 1.0 document cannot contain even as references.
pub(crate) fn xml(text: &str, out: &mut SecretBuffer) -> Result<(), Unrepresentable> {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // Parsers normalize literal line breaks, and all white space in attributes, but not references.
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => return Err(Unrepresentable("a control character")),
            _ => out.push_char(c),
        }
    }
    Ok(())
}

/// Writes a double-quoted YAML scalar. In double quotes every character can be written, and no parser reads `no`, `1e3` or
/// `2024-01-01` as anything but text.
/// Source: <https://yaml.org/spec/1.2.2/#57-escaped-characters>; YAML 1.1 has the escapes used here too.
///
/// # Errors
/// Never: YAML has an escape for every character.
pub(crate) fn yaml(text: &str, out: &mut SecretBuffer) -> Result<(), Unrepresentable> {
    out.push_str("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // C0, DEL and C1 controls. C1 includes NEL, which is a line break in YAML 1.1.
            '\0'..='\x1f' | '\x7f'..='\u{a0}' => {
                out.push_str("\\x");
                hexadecimal(c.into(), 2, out);
            }
            // Line and paragraph separators, the byte order mark, and noncharacters.
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

/// Rejects NUL, which ends a string for every reader written in C.
fn reject_nul(text: &str) -> Result<(), Unrepresentable> {
    if text.contains('\0') { Err(Unrepresentable("a NUL character")) } else { Ok(()) }
}

fn reject_line_breaks(text: &str) -> Result<(), Unrepresentable> {
    if text.contains(['\n', '\r']) { Err(LINE_BREAK) } else { Ok(()) }
}

/// Writes the text in double quotes, with each double quote in it doubled.
fn double_quotes(text: &str, out: &mut SecretBuffer) {
    out.push_str("\"");
    double(text, '"', out);
    out.push_str("\"");
}

/// Writes the text with each `special` character doubled.
fn double(text: &str, special: char, out: &mut SecretBuffer) {
    for c in text.chars() {
        if c == special {
            out.push_char(c);
        }
        out.push_char(c);
    }
}

/// Writes the text with a backslash before each special character.
fn backslash_escape(text: &str, special: [char; 2], out: &mut SecretBuffer) {
    let mut written = 0;
    for (index, _) in text.match_indices(special) {
        out.push_str(&text[written..index]);
        out.push_str("\\");
        written = index;
    }
    out.push_str(&text[written..]);
}

/// Writes the lowest `digits` hexadecimal digits of a number.
fn hexadecimal(number: u32, digits: u32, out: &mut SecretBuffer) {
    for digit in (0..digits).rev() {
        let nibble = (number >> (4 * digit)) & 0xf;
        out.push_char(char::from_digit(nibble, 16).unwrap_or('0').to_ascii_uppercase());
    }
}

#[cfg(test)]
mod tests;
