//! How a name or value that somebody else wrote is shown in a message: short, on one line, without control characters; and
//! which word was meant by a misspelt one.

use std::fmt;

/// The longest piece of foreign text that a message repeats, in characters.
const SHOWN_CHARACTERS: usize = 80;

/// Shows text in double quotes, escaped as Rust does it and cut after 80 characters.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars().take(SHOWN_CHARACTERS) {
            write!(f, "{}", c.escape_debug())?;
        }
        let cut = self.0.chars().nth(SHOWN_CHARACTERS).is_some();
        f.write_str(if cut { "…\"" } else { "\"" })
    }
}

/// Shows what text begins with, in double quotes: it ends before the first character that a name does not have, because what
/// stands behind it may be a password that somebody put in the wrong place.
pub(crate) struct Beginning<'a>(pub(crate) &'a str);

impl fmt::Display for Beginning<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.find([':', '=', '@', '{', '\'', '"']).unwrap_or(self.0.len());
        let (shown, rest) = self.0.split_at(end);
        write!(f, "{}{}", Quoted(shown), if rest.is_empty() { "" } else { " …" })
    }
}

/// How many errors a message lists before it only counts them.
const LISTED: usize = 20;

/// Writes errors a line each, the first ones.
pub(crate) fn list(f: &mut fmt::Formatter<'_>, errors: &[impl fmt::Display]) -> fmt::Result {
    for (index, error) in errors.iter().take(LISTED).enumerate() {
        write!(f, "{}{error}", if index == 0 { "" } else { "\n  " })?;
    }
    match errors.len().saturating_sub(LISTED) {
        0 => Ok(()),
        more => write!(f, "\n  and {more} more"),
    }
}

/// A message from elsewhere as one line: what does not show as itself becomes a space, and it ends after `limit`
/// characters.
pub(crate) fn one_line(text: &str, limit: usize) -> String {
    text.chars().take(limit).map(|c| if is_shown(c) { c } else { ' ' }).collect()
}

/// Whether a character shows as itself: no control character, and none that turns the direction of text or ends a line.
pub(crate) fn is_shown(c: char) -> bool {
    matches!(c, '\'' | '"' | '\\') || c.escape_debug().len() == 1
}

/// The most characters of a wrong word that are compared, and the most edits between it and the right one.
const COMPARED_CHARACTERS: usize = 64;
const EDITS: usize = 2;

/// The candidate that `text` is most probably a misspelling of.
pub(crate) fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let text: String = text.chars().take(COMPARED_CHARACTERS).collect::<String>().to_ascii_lowercase();
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= COMPARED_CHARACTERS)
        .map(|candidate| (strsim::osa_distance(&text, candidate), candidate))
        .filter(|(edits, candidate)| *edits <= EDITS && *edits < candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

/// Ends a message with the spelling that is probably meant, if one is known.
pub(crate) fn suggest(nearest: Option<&str>) -> String {
    nearest.map(|word| format!("; did you mean {}?", Quoted(word))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_on_one_line_and_short() {
        assert_eq!(Quoted("a\nb\u{1b}[31m").to_string(), "\"a\\nb\\u{1b}[31m\"");
        assert_eq!(Quoted(&"x".repeat(1000)).to_string().chars().count(), SHOWN_CHARACTERS + 3);
        assert_eq!(Beginning("postgresql://u:secret@h").to_string(), "\"postgresql\" …");
        assert_eq!(Beginning("plain").to_string(), "\"plain\"");
        assert_eq!(one_line("two\nlines\u{1b}", 100), "two lines ");
        assert_eq!(one_line("abcdef", 3), "abc");
        assert_eq!(one_line("\u{202e}a\u{2028}\u{200b}é\"'\\", 100), " a  é\"'\\");
    }

    #[test]
    fn a_misspelt_word_finds_the_nearest_one_and_a_strange_word_none() {
        let words = ["token", "token_file", "id"];
        assert_eq!(nearest("Tokne", words), Some("token"));
        assert_eq!(nearest("token-file", words), Some("token_file"));
        assert_eq!(nearest("x", words), None);
        assert_eq!(suggest(Some("id")), "; did you mean \"id\"?");
        assert_eq!(suggest(None), "");
    }
}
