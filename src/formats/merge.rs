//! Joins what several credentials write to one file. Each part is complete on its own; `render` has checked that no two parts
//! have an entry in common.

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
pub(crate) type PgpassLine<'a> = [&'a [u8]; 4];

/// The lines of a `pgpass` file that podcreds has written.
pub(crate) fn pgpass_lines(file: &SecretBytes) -> Vec<PgpassLine<'_>> {
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

/// Whether libpq never reaches one of the second lines, because one of the first matches whatever it matches. libpq takes the first
/// line that matches host, port, database and user, each of which may be `*`.
/// Source: <https://www.postgresql.org/docs/current/libpq-pgpass.html>
pub(crate) fn hides_pgpass_line(first: &[PgpassLine<'_>], second: &[PgpassLine<'_>]) -> bool {
    let covers = |first: &PgpassLine<'_>, second: &PgpassLine<'_>| {
        first.iter().zip(second).all(|(first, second)| *first == b"*" || first == second)
    };
    second.iter().any(|second| first.iter().any(|first| covers(first, second)))
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
            let [earlier, later] = [&files[0], &files[1]].map(pgpass_lines);
            assert_eq!(hides_pgpass_line(&earlier, &later), hides, "{first:?} {second:?}");
        }
    }
}
