//! Joins what several credentials write to one file. Each part is complete on its own; `render` has checked that no two parts
//! have an entry in common.

use std::collections::BTreeMap;

use crate::credential::Format;
use crate::secret::{SecretBuffer, SecretBytes};

/// Joins the parts in their order. A part without entries adds nothing.
pub(crate) fn join<'a>(format: Format, parts: impl Iterator<Item = &'a SecretBytes> + Clone) -> SecretBytes {
    // What follows what, for formats in which the file is more than the sequence of its entries.
    let (open, separator, close, empty) = match format {
        Format::Json => ("{", ",", "\n}\n", "{}\n"),
        Format::Yaml => ("", "", "", "{}\n"),
        _ => ("", "", "", ""),
    };
    let entries = parts.map(SecretBytes::expose).filter(|part| *part != empty.as_bytes()).map(|part| {
        let part = part.strip_prefix(open.as_bytes()).unwrap_or(part);
        part.strip_suffix(close.as_bytes()).unwrap_or(part)
    });
    let size = entries.clone().map(|part| part.len() + separator.len()).sum::<usize>();
    let mut out = SecretBuffer::with_capacity(open.len() + size + close.len());
    for (index, part) in entries.enumerate() {
        out.push_str(if index == 0 { open } else { separator });
        out.push(part);
    }
    out.push_str(if out.is_empty() { empty } else { close });
    out.finish()
}

/// Host, port, database and user of a line of a `pgpass` file, with their escapes.
type PgpassLine<'a> = [&'a [u8]; 4];

/// The lines of a `pgpass` file that podcreds has written.
fn pgpass_lines(file: &SecretBytes) -> Vec<PgpassLine<'_>> {
    let mut lines = Vec::new();
    lines.extend(file.expose().split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(pgpass_line));
    lines
}

/// A backslash escapes the byte after it.
fn pgpass_line(line: &[u8]) -> PgpassLine<'_> {
    let mut is_escaped = false;
    let mut parts = line.split(move |byte| {
        let is_end = *byte == b':' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        is_end
    });
    [(); 4].map(|()| parts.next().unwrap_or_default())
}

/// The lines of the parts of a `pgpass` file, each with the index of the first part that contains this line.
#[derive(Default)]
pub(crate) struct PgpassParts<'a> {
    lines: BTreeMap<PgpassLine<'a>, usize>,
    /// How many parts have been added.
    count: usize,
}

impl<'a> PgpassParts<'a> {
    /// Adds the lines of a part. Returns the index of the first earlier part that hides one of them: libpq takes the first line that
    /// matches host, port, database and user, each of which may be `*`, so it never reaches a line if an earlier one matches as much.
    /// Source: <https://www.postgresql.org/docs/current/libpq-pgpass.html>
    pub(crate) fn add(&mut self, part: &'a SecretBytes) -> Option<usize> {
        let lines = pgpass_lines(part);
        let hiding = lines.iter().filter_map(|line| self.first_that_hides(line)).min();
        for line in lines {
            self.lines.entry(line).or_insert(self.count);
        }
        self.count += 1;
        hiding
    }

    /// The first part with this line, or with this line and `*` in place of some of its four fields. These are 16 lookups, however
    /// many lines there are.
    fn first_that_hides(&self, line: &PgpassLine<'a>) -> Option<usize> {
        let covering = (0..16).map(|mask| {
            let field = |index: usize| if mask >> index & 1 == 0 { line[index] } else { b"*" };
            [field(0), field(1), field(2), field(3)]
        });
        covering.filter_map(|line| self.lines.get(&line).copied()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(format: Format, parts: &[&str]) -> String {
        let parts: Vec<SecretBytes> = parts.iter().map(|part| (*part).into()).collect();
        join(format, parts.iter()).expose_text().unwrap().to_owned()
    }

    #[test]
    fn parts_without_entries_add_nothing() {
        let (a, b) = ("{\n  \"a\": \"{}\"\n}\n", "{\n  \"b\": \"2\"\n}\n");
        let both = "{\n  \"a\": \"{}\",\n  \"b\": \"2\"\n}\n";
        assert_eq!(joined(Format::Json, &[a, b]), both);
        assert_eq!(joined(Format::Json, &["{}\n", a, "{}\n", b]), both);
        assert_eq!(joined(Format::Json, &["{}\n", "{}\n"]), "{}\n");
        assert_eq!(joined(Format::Yaml, &["a: \"1\"\n", "{}\n", "b: \"2\"\n"]), "a: \"1\"\nb: \"2\"\n");
        assert_eq!(joined(Format::Yaml, &["{}\n", "{}\n"]), "{}\n");
        assert_eq!(joined(Format::Properties, &["", "a=1\n", "", "b=2\n"]), "a=1\nb=2\n");
        assert_eq!(joined(Format::Env, &["", ""]), "");
    }

    #[test]
    fn a_pgpass_line_is_hidden_by_an_earlier_one_that_matches_as_much() {
        for (first, second, hides) in [
            ("db:5432:orders:app:a\n", "db:5432:orders:app:b\n", true),
            ("db:5432:orders:app:a\n", "db:5432:orders:other:b\n", false),
            ("db:5432:orders:app:a\n", "db:5433:orders:app:b\n", false),
            ("db:5432:*:app:a\n", "db:5432:orders:app:b\n", true),
            ("db:5432:orders:app:a\n", "db:5432:*:app:b\n", false),
            ("*:*:*:*:a\n", "db:5432:orders:app:b\n", true),
            ("a:1:x:u:p\nb:1:x:u:p\n", "c:1:x:u:p\nb:1:x:u:q\n", true),
            // The password is not compared, and colons of the other parts are escaped.
            ("db:5432:orders:app:a:b\n", "db:5432:orders:app\\:a:b\n", false),
            (r"\:\:1:1:x:u\\:p", r"\:\:1:1:x:u\\:q", true),
            (r"\:\:1:1:x:u:p", r"\:\:2:1:x:u:p", false),
            ("", "db:5432:orders:app:a\n", false),
        ] {
            let files = [first, second].map(SecretBytes::from);
            let mut parts = PgpassParts::default();
            assert_eq!(parts.add(&files[0]), None);
            assert_eq!(parts.add(&files[1]).is_some(), hides, "{first:?} {second:?}");
        }
    }

    #[test]
    fn the_first_part_that_hides_a_line_is_found() {
        let parts =
            ["a:1:x:u:p\na:1:x:u:p\n", "*:1:x:u:p\n", "a:1:y:u:p\n", "a:1:x:u:p\n", "a:1:y:u:p\nb:1:x:u:p\n"];
        let parts = parts.map(SecretBytes::from);
        let mut earlier = PgpassParts::default();
        let found: Vec<_> = parts.iter().map(|part| earlier.add(part)).collect();
        // No line of a part is hidden by the others of that part.
        assert_eq!(found, [None, None, None, Some(0), Some(1)]);
    }
}
