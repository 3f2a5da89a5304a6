//! How text is written so that its reader gets back exactly that text, one file for each reader. Pure; the formats and the
//! filters of templates both write with these, so there is one rule for each reader.
//!
//! Text that a reader can take in no form is refused, and never changed.

mod json;
mod libpq;
mod mycnf;
mod percent;
mod pgpass;
mod properties;
mod shell;
mod xml;
mod yaml;

pub(crate) use json::json;
pub(crate) use libpq::libpq;
pub(crate) use mycnf::mycnf;
pub(crate) use percent::percent;
pub use percent::unpercent;
pub(crate) use pgpass::pgpass;
pub(crate) use properties::properties;
pub use shell::shell;
pub(crate) use xml::xml;
pub(crate) use yaml::yaml;

use crate::secret::SecretBuffer;

/// What a text holds that its reader cannot take: a noun for a message, never the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(pub &'static str);

/// A rule: appends the text as its reader wants it.
pub(crate) type Rule = fn(&str, &mut SecretBuffer) -> Result<(), Refused>;

/// Every rule, by the name of its filter in templates.
pub const RULES: [(&str, Rule); 9] = [
    ("json", json),
    ("libpq", libpq),
    ("mycnf", mycnf),
    ("pgpass", pgpass),
    ("properties", properties),
    ("shell", shell),
    ("urlencode", percent),
    ("xml", xml),
    ("yaml", yaml),
];

/// Refuses NUL, which ends the text for every reader that is written in C.
fn without_nul(text: &str) -> Result<(), Refused> {
    if text.contains('\0') { Err(Refused("a NUL character")) } else { Ok(()) }
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
