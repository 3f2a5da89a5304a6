//! Text for messages: untrusted names and values are shown short, on one line and without control characters, and a misspelt
//! word gets a suggestion.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The maximum length of untrusted text in a message, in characters.
const SHOWN_CHARACTERS: usize = 80;

/// Shows text in double quotes, escaped like a Rust string and truncated after 80 characters.
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

/// Shows the start of a text in double quotes, up to the first character that cannot be part of a name. The rest may be a
/// password in the wrong place.
pub(crate) struct RedactedPrefix<'a>(pub(crate) &'a str);

impl fmt::Display for RedactedPrefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.find([':', '=', '@', '{', '\'', '"']).unwrap_or(self.0.len());
        let (shown, rest) = self.0.split_at(end);
        write!(f, "{}{}", Quoted(shown), if rest.is_empty() { "" } else { " …" })
    }
}

/// How many characters of a typed text a message shows.
const EXCERPT_CHARACTERS: usize = 4;

/// The start of a text that a user typed where a name belongs, for a message. The text may be a misplaced password, or a URL with
/// one. So the excerpt ends at the first character that no name contains, and after four characters at the latest. Errors about
/// annotations keep nothing else of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Excerpt(String);

impl Excerpt {
    pub(crate) fn new(text: &str) -> Self {
        let end = text.bytes().take(EXCERPT_CHARACTERS).take_while(|b| is_name_byte(*b)).count();
        // The bytes before the end are ASCII.
        Self(format!("\"{}{}\"", &text[..end], if end < text.len() { "…" } else { "" }))
    }

    /// The whole text if it is a misspelling of a known word, which no password is.
    pub(crate) fn of_word(text: &str, nearest: Option<&str>) -> Self {
        let is_word = nearest.is_some() && text.len() <= COMPARED_CHARACTERS;
        if is_word { Self(Quoted(text).to_string()) } else { Self::new(text) }
    }

    /// The whole text if it consists of the characters of a key or a field name.
    pub(crate) fn of_name(text: &str) -> Self {
        if text.bytes().all(is_name_byte) { Self(Quoted(text).to_string()) } else { Self::new(text) }
    }
}

/// The longest text that a message shows as a key, in characters.
const KEY_CHARACTERS: usize = 40;

/// A key that `.keys` names and that does not exist. Such a key may be a password in the wrong place, since `.set` has the same
/// form. So it is shown as a whole only if it is short and consists of letters of one case, `-`, `_` and `.`, and otherwise its first
/// characters.
pub(crate) fn shown_key(key: &str) -> Cow<'_, str> {
    let is = |shape: fn(u8) -> bool| key.bytes().all(|b| shape(b) || matches!(b, b'-' | b'_' | b'.'));
    match key.len() <= KEY_CHARACTERS && (is(|b| b.is_ascii_lowercase()) || is(|b| b.is_ascii_uppercase())) {
        true => key.into(),
        false => key.chars().take(EXCERPT_CHARACTERS).chain(['…']).collect::<String>().into(),
    }
}

fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/')
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text for a terminal. Escapes all unprintable characters except line breaks and tabs, because a terminal would act on them.
pub(crate) struct Printable<'a>(pub(crate) &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_escaped = |c: char| !matches!(c, '\n' | '\t') && !is_shown(c);
        let mut rest = self.0;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_escaped(*c)) {
            write!(f, "{}{}", &rest[..at], c.escape_debug())?;
            rest = &rest[at + c.len_utf8()..];
        }
        f.write_str(rest)
    }
}

/// A position in a text, for messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    /// Counted from 1.
    pub(crate) line: usize,
    /// Counted from 1, in characters.
    pub(crate) column: usize,
}

impl Position {
    /// The position of a byte. After the end of the text, that of the end.
    pub(crate) fn from_offset(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        Self { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// A duration in the unit that people read it in: milliseconds below a second, tenths of a second below ten, else seconds.
pub(crate) struct ShortDuration(pub(crate) Duration);

impl fmt::Display for ShortDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            0 => write!(f, "{} ms", self.0.as_millis()),
            1..10 => write!(f, "{:.1} s", self.0.as_secs_f64()),
            _ => write!(f, "{:.0} s", self.0.as_secs_f64()),
        }
    }
}

/// The first second after the year 9999, after which humantime fails. It panics before 1970.
const YEAR_10000: u64 = 253_402_300_800;

/// A time that humantime can format: a clock that is wrong by centuries must not end the process. Other times become 1970.
pub(crate) fn formattable(time: SystemTime) -> SystemTime {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) if since.as_secs() < YEAR_10000 => time,
        _ => UNIX_EPOCH,
    }
}

/// Rows as a table: columns aligned to the left, two spaces apart.
pub(crate) fn columns(rows: &[[String; 6]]) -> String {
    let widths: Vec<_> =
        (0..6).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<_> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}", width = *width)).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// The first names of a list, and the number of the rest: "a, b" or "a, b and 3 more".
pub(crate) fn and_more(shown: &[String], more: usize) -> String {
    let shown = shown.join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

/// The maximum number of errors that a message lists; it counts the rest.
const LISTED: usize = 20;

/// Writes the first errors, one per line, and the number of the rest.
pub(crate) fn list(f: &mut fmt::Formatter<'_>, errors: &[impl fmt::Display]) -> fmt::Result {
    for (index, error) in errors.iter().take(LISTED).enumerate() {
        write!(f, "{}{error}", if index == 0 { "" } else { "\n  " })?;
    }
    match errors.len().saturating_sub(LISTED) {
        0 => Ok(()),
        more => write!(f, "\n  and {more} more"),
    }
}

/// An untrusted message on one line: truncated to `limit` characters, with a space for each character that is not printable.
pub(crate) fn one_line(text: &str, limit: usize) -> String {
    text.chars().take(limit).map(|c| if is_shown(c) { c } else { ' ' }).collect()
}

/// Whether a character is printable: not a control character, a line separator or a change of text direction.
pub(crate) fn is_shown(c: char) -> bool {
    matches!(c, '\'' | '"' | '\\') || c.escape_debug().len() == 1
}

/// The maximum length of compared words in characters, and the maximum edit distance of a suggestion.
const COMPARED_CHARACTERS: usize = 64;
const EDITS: usize = 2;

/// The candidate closest to `text`; `None` means that none is close enough to be suggested.
pub(crate) fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    nearest_of(text, &mut candidates.into_iter())
}

/// Compiled once, not for each type of iterator.
fn nearest_of<'a>(text: &str, candidates: &mut dyn Iterator<Item = &'a str>) -> Option<&'a str> {
    let text: String = text.chars().take(COMPARED_CHARACTERS).collect::<String>().to_ascii_lowercase();
    candidates
        .filter(|candidate| candidate.len() <= COMPARED_CHARACTERS)
        .map(|candidate| (strsim::osa_distance(&text, candidate), candidate))
        .filter(|(edits, candidate)| *edits <= EDITS && *edits < candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

/// Whether `text` is a word with other case or a few typing errors. Stricter than [`nearest`] for short words.
pub(crate) fn is_misspelling(text: &str, word: &str) -> bool {
    let edits = match word.len() {
        ..=3 => 0,
        4..=6 => 1,
        _ => EDITS,
    };
    text.len() <= COMPARED_CHARACTERS && strsim::osa_distance(&text.to_ascii_lowercase(), word) <= edits
}

/// The end of a message that suggests a spelling, or nothing.
pub(crate) fn suggest(nearest: Option<&str>) -> String {
    nearest.map(|word| format!("; did you mean {}?", Quoted(word))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untrusted_text_stays_short_and_on_one_line() {
        assert_eq!(Quoted("a\nb\u{1b}[31m").to_string(), "\"a\\nb\\u{1b}[31m\"");
        assert_eq!(Quoted(&"x".repeat(1000)).to_string().chars().count(), SHOWN_CHARACTERS + 3);
        assert_eq!(RedactedPrefix("postgresql://u:secret@h").to_string(), "\"postgresql\" …");
        assert_eq!(RedactedPrefix("plain").to_string(), "\"plain\"");
        assert_eq!(one_line("two\nlines\u{1b}", 100), "two lines ");
        assert_eq!(one_line("abcdef", 3), "abc");
        assert_eq!(one_line("\u{202e}a\u{2028}\u{200b}é\"'\\", 100), " a  é\"'\\");
    }

    #[test]
    fn an_excerpt_is_the_start_of_a_name() {
        for (text, shown) in [
            ("", "\"\""),
            ("db", "\"db\""),
            ("a/_b", "\"a/_b\""),
            ("Hunter2pw", "\"Hunt…\""),
            ("p@ssword", "\"p…\""),
            ("a=b", "\"a…\""),
            ("äb", "\"…\""),
            ("abcé", "\"abc…\""),
            ("\u{1b}[2K", "\"…\""),
        ] {
            assert_eq!(Excerpt::new(text).to_string(), shown, "{text}");
        }
        assert_eq!(Excerpt::of_word("postgress", Some("postgres")).to_string(), "\"postgress\"");
        assert_eq!(Excerpt::of_word("Hunter2pw", None).to_string(), "\"Hunt…\"");
        assert_eq!(Excerpt::of_name("user-name.x").to_string(), "\"user-name.x\"");
        assert_eq!(Excerpt::of_name("app:password").to_string(), "\"app…\"");
    }

    #[test]
    fn a_text_that_may_be_a_value_is_not_shown_as_a_key() {
        for (text, shown) in [
            ("ca.crt", "ca.crt"),
            ("DB_USER", "DB_USER"),
            ("hunter2", "hunt…"),
            ("DbUser", "DbUs…"),
            (&"a".repeat(40), &"a".repeat(40)),
            (&"a".repeat(41), "aaaa…"),
        ] {
            assert_eq!(shown_key(text), shown);
        }
    }

    #[test]
    fn control_characters_are_escaped_for_a_terminal() {
        let text = "a\tb\n\u{1b}[2K\u{1b}]52;c;eA==\u{7}\r\u{9b}1A\u{202e}é\"\\";
        let escaped = "a\tb\n\\u{1b}[2K\\u{1b}]52;c;eA==\\u{7}\\r\\u{9b}1A\\u{202e}é\"\\";
        assert_eq!(Printable(text).to_string(), escaped);
    }

    #[test]
    fn a_duration_below_a_second_is_not_shown_as_zero() {
        for (milliseconds, shown) in
            [(0, "0 ms"), (42, "42 ms"), (999, "999 ms"), (1000, "1.0 s"), (1250, "1.2 s"), (60_000, "60 s")]
        {
            assert_eq!(ShortDuration(Duration::from_millis(milliseconds)).to_string(), shown);
        }
    }

    #[test]
    fn a_time_before_1970_or_after_9999_is_shown_as_1970() {
        for (time, shown) in [
            (UNIX_EPOCH - Duration::from_nanos(1), "1970-01-01T00:00:00Z"),
            (UNIX_EPOCH, "1970-01-01T00:00:00Z"),
            (UNIX_EPOCH + Duration::from_secs(YEAR_10000) - Duration::from_nanos(1), "9999-12-31T23:59:59Z"),
            (UNIX_EPOCH + Duration::from_secs(YEAR_10000), "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(humantime::format_rfc3339_seconds(formattable(time)).to_string(), shown);
        }
    }

    #[test]
    fn only_a_misspelt_word_gets_a_suggestion() {
        let words = ["token", "token_file", "id"];
        assert_eq!(nearest("Tokne", words), Some("token"));
        assert_eq!(nearest("token-file", words), Some("token_file"));
        assert_eq!(nearest("x", words), None);
        assert_eq!(suggest(Some("id")), "; did you mean \"id\"?");
        assert_eq!(suggest(None), "");
    }
}
