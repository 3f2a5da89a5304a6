use super::*;

fn written(rule: EscapeFn, text: &str) -> Result<String, Unrepresentable> {
    let mut out = SecretBuffer::default();
    rule(text, &mut out)?;
    Ok(out.finish().expose_text().unwrap().to_owned())
}

#[test]
fn each_rule_follows_the_documentation_of_its_format() {
    for (rule, text, expected) in [
        (shell as EscapeFn, "it's $(x) \\", r"'it'\''s $(x) \'"),
        (json, "a\"\\\n\u{1}é", r#""a\"\\\n\u0001é""#),
        (yaml, "no\"\\\n\u{85}\u{2028}", r#""no\"\\\n\x85\u2028""#),
        (properties, "  a b\\\u{e9}\u{1f511}=:#! ", "\\u0020\\u0020a b\\\\\\u00E9\\uD83D\\uDD11=:#!\\u0020"),
        (properties, " ", "\\u0020"),
        (
            percent,
            "a-._~ /?#[]@!$&'()*+,;=%é",
            "a-._~%20%2F%3F%23%5B%5D%40%21%24%26%27%28%29%2A%2B%2C%3B%3D%25%C3%A9",
        ),
        (pgpass, r"a:b\c #", r"a\:b\\c #"),
        (libpq, r"it's \ = ", r"'it\'s \\ = '"),
        (mycnf, " \"#;'\\\n ", r##"" \"#;'\\\n ""##),
        (adonet, " a;Host=b'c\"\n", "\" a;Host=b'c\"\"\n\""),
        (adonet, "", "\"\""),
        (ini, "100%(here)s # a;b", "100%%(here)s # a;b"),
        (userlist, " a\"b\\;", "\" a\"\"b\\;\""),
        (xml, "<a b='\"'>&\n]]>", "&lt;a b=&apos;&quot;&apos;&gt;&amp;&#10;]]&gt;"),
    ] {
        assert_eq!(written(rule, text).as_deref(), Ok(expected));
    }
}

#[test]
fn what_a_format_cannot_represent_is_an_error_that_names_it() {
    let nul = Unrepresentable("a NUL character");
    for rule in [shell as EscapeFn, percent, pgpass, libpq, mycnf, adonet, userlist] {
        assert_eq!(written(rule, "a\0b"), Err(nul));
    }
    for text in ["a\nb", "a\rb", "\n"] {
        for rule in [pgpass as EscapeFn, ini, userlist] {
            assert_eq!(written(rule, text), Err(Unrepresentable("a line break")), "{text:?}");
        }
    }
    for text in [" a", "a\t", "\u{a0}a", "a\u{1f}", " "] {
        let ends = Unrepresentable("white space at its start or end");
        assert_eq!(written(ini, text), Err(ends), "{text:?}");
    }
    for text in ["\0", "\u{1b}", "\u{ffff}"] {
        assert_eq!(written(xml, text), Err(Unrepresentable("a control character")), "{text:?}");
    }
}

#[test]
fn percent_encoded_text_decodes_to_the_original() {
    for text in ["", "plain", "100 %\u{e9}", "%25"] {
        let encoded = written(percent, text).unwrap();
        assert_eq!(percent_decode(&encoded).unwrap().expose_text(), Some(text));
    }
    for broken in ["%", "%2", "%zz", "a%+1"] {
        assert!(percent_decode(broken).is_none(), "{broken}");
    }
}

#[test]
fn rules_are_sorted_by_name() {
    assert!(RULES.is_sorted_by_key(|(name, _)| name));
}
