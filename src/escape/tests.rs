use super::*;

fn written(rule: Rule, text: &str) -> Result<String, Refused> {
    let mut out = SecretBuffer::default();
    rule(text, &mut out)?;
    Ok(out.finish().expose_text().unwrap().to_owned())
}

#[test]
fn each_rule_escapes_as_its_reader_documents() {
    for (rule, text, expected) in [
        (shell as Rule, "it's $(x) \\", r"'it'\''s $(x) \'"),
        (json, "a\"\\\n\u{1}é", r#""a\"\\\n\u0001é""#),
        (yaml, "no\"\\\n\u{85}\u{2028}", r#""no\"\\\n\x85\u2028""#),
        (properties, "  a b\\\u{e9}\u{1f511}=:#!", "\\ \\ a b\\\\\\u00E9\\uD83D\\uDD11=:#!"),
        (
            percent,
            "a-._~ /?#[]@!$&'()*+,;=%é",
            "a-._~%20%2F%3F%23%5B%5D%40%21%24%26%27%28%29%2A%2B%2C%3B%3D%25%C3%A9",
        ),
        (pgpass, r"a:b\c #", r"a\:b\\c #"),
        (libpq, r"it's \ = ", r"'it\'s \\ = '"),
        (mycnf, " \"#;'\\\n ", r##"" \"#;'\\\n ""##),
        (xml, "<a b='\"'>&\n]]>", "&lt;a b=&apos;&quot;&apos;&gt;&amp;&#10;]]&gt;"),
    ] {
        assert_eq!(written(rule, text).as_deref(), Ok(expected));
    }
}

#[test]
fn characters_that_a_reader_cannot_represent_are_rejected_by_name() {
    let nul = Refused("a NUL character");
    for rule in [shell as Rule, percent, pgpass, libpq, mycnf] {
        assert_eq!(written(rule, "a\0b"), Err(nul));
    }
    for text in ["a\nb", "a\rb", "\n"] {
        assert_eq!(written(pgpass, text), Err(Refused("a line break")), "{text:?}");
    }
    for text in ["\0", "\u{1b}", "\u{ffff}"] {
        assert_eq!(written(xml, text), Err(Refused("a control character")), "{text:?}");
    }
}

#[test]
fn percent_encoding_reads_back() {
    for text in ["", "plain", "100 %\u{e9}", "%25"] {
        let encoded = written(percent, text).unwrap();
        assert_eq!(unpercent(&encoded).unwrap().expose_text(), Some(text));
    }
    for broken in ["%", "%2", "%zz", "a%+1"] {
        assert!(unpercent(broken).is_none(), "{broken}");
    }
}

#[test]
fn rules_are_in_order_of_name() {
    assert!(RULES.is_sorted_by_key(|(name, _)| name));
}
