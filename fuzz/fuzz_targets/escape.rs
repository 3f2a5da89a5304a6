//! The output of every escaping rule must read back unchanged with a minimal parser of its format, or the rule must reject the
//! text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use podcreds::escape::{RULES, percent_decode};
use podcreds::secret::SecretBuffer;

fuzz_target!(|text: &str| {
    for (name, rule) in RULES {
        let mut out = SecretBuffer::default();
        match rule(text, &mut out) {
            Err(refused) => assert!(!refused.0.is_empty() && refuses(name, text), "{name} refuses {text:?}"),
            Ok(()) => {
                let written = out.finish();
                let written = written.expose_text().expect("text");
                assert_eq!(read(name, written).as_deref(), Some(text), "{name} wrote {written:?}");
            }
        }
    }
});

/// Whether no escaping makes this text valid in the format.
fn refuses(name: &str, text: &str) -> bool {
    match name {
        "xml" => {
            text.contains(|c: char| (c < ' ' && !"\t\n\r".contains(c)) || "\u{fffe}\u{ffff}".contains(c))
        }
        "pgpass" => text.contains(['\0', '\n', '\r']),
        _ => text.contains('\0'),
    }
}

fn read(name: &str, written: &str) -> Option<String> {
    match name {
        "json" => serde_json::from_str(written).ok(),
        "libpq" => backslashes(unquoted(written, '\'')?, |c| Some(c.to_string())),
        "mycnf" => backslashes(unquoted(written, '"')?, |c| {
            Some(match c {
                'n' => "\n".to_owned(),
                'r' => "\r".to_owned(),
                't' => "\t".to_owned(),
                'b' => "\u{8}".to_owned(),
                's' => " ".to_owned(),
                '"' | '\'' | '\\' => c.to_string(),
                other => format!("\\{other}"),
            })
        }),
        "pgpass" => backslashes(written, |c| Some(c.to_string())).filter(|_| !has_bare(written, ':')),
        "properties" => properties(written),
        "shell" => shell(written),
        "urlencode" => Some(percent_decode(written)?.expose_text()?.to_owned()),
        "xml" => xml(written),
        "yaml" => yaml(unquoted(written, '"')?),
        other => panic!("missing parser for {other}"),
    }
}

fn unquoted(text: &str, quote: char) -> Option<&str> {
    text.strip_prefix(quote)?.strip_suffix(quote).filter(|inner| !has_bare(inner, quote))
}

/// Whether the text contains the character without a backslash before it.
fn has_bare(text: &str, wanted: char) -> bool {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            c if c == wanted => return true,
            _ => {}
        }
    }
    false
}

fn backslashes(text: &str, escape: impl Fn(char) -> Option<String>) -> Option<String> {
    let (mut read, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => read.push_str(&escape(chars.next()?)?),
            c => read.push(c),
        }
    }
    Some(read)
}

fn shell(text: &str) -> Option<String> {
    let (mut read, mut rest) = (String::new(), text);
    while !rest.is_empty() {
        rest = match rest.strip_prefix('\'') {
            Some(quoted) => {
                let (inner, after) = quoted.split_once('\'')?;
                read.push_str(inner);
                after
            }
            None => {
                read.push('\'');
                rest.strip_prefix("\\'")?
            }
        };
    }
    Some(read)
}

fn properties(text: &str) -> Option<String> {
    let (mut units, mut chars) = (Vec::new(), text.chars());
    if text.starts_with([' ', '\t', '\x0c']) || !text.is_ascii() || text.contains(['\n', '\r']) {
        return None;
    }
    while let Some(c) = chars.next() {
        let read = match c {
            '\\' => match chars.next()? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'f' => '\x0c',
                'u' => {
                    let digits: String = chars.by_ref().take(4).collect();
                    units.push(u16::from_str_radix(&digits, 16).ok()?);
                    continue;
                }
                other => other,
            },
            other => other,
        };
        units.extend_from_slice(read.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16(&units).ok()
}

fn yaml(text: &str) -> Option<String> {
    let (mut read, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        let digits = match c {
            '\\' => match chars.next()? {
                'x' => 2,
                'u' => 4,
                'n' => {
                    read.push('\n');
                    continue;
                }
                'r' => {
                    read.push('\r');
                    continue;
                }
                't' => {
                    read.push('\t');
                    continue;
                }
                other @ ('"' | '\\') => {
                    read.push(other);
                    continue;
                }
                _ => return None,
            },
            c if c < ' ' || ('\u{7f}'..='\u{a0}').contains(&c) => return None,
            c => {
                read.push(c);
                continue;
            }
        };
        let number: String = chars.by_ref().take(digits).collect();
        read.push(char::from_u32(u32::from_str_radix(&number, 16).ok()?)?);
    }
    Some(read)
}

fn xml(text: &str) -> Option<String> {
    let (mut read, mut rest) = (String::new(), text);
    while let Some(c) = rest.chars().next() {
        if c != '&' {
            if "<>\"'\t\n\r".contains(c) {
                return None;
            }
            read.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let (name, after) = rest[1..].split_once(';')?;
        read.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            "#9" => '\t',
            "#10" => '\n',
            "#13" => '\r',
            _ => return None,
        });
        rest = after;
    }
    Some(read)
}
