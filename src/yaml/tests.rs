use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::yaml::error::SyntaxErrorKind;

fn as_json(text: &str) -> serde_json::Value {
    let (node, problems) = (parse(text.as_bytes()).unwrap(), ValueErrors::default());
    Cursor::document(&node, &problems).json().unwrap_or_default()
}

fn refusal(text: &str) -> String {
    parse(text.as_bytes()).unwrap_err().to_string()
}

/// The errors that a reader of the text reports.
fn problems(text: &str, read: impl FnOnce(&Fields<'_>)) -> Vec<String> {
    let (node, problems) = (parse(text.as_bytes()).unwrap(), ValueErrors::default());
    read(&Cursor::document(&node, &problems).fields().unwrap());
    problems.into_vec().iter().map(ToString::to_string).collect()
}

#[test]
fn block_yaml_flow_yaml_and_json_give_the_same_tree() {
    let tree = json!({"a": [1, -2, 0.5], "b": {"c": "x y", "d": true, "e": null}, "f": "1"});
    for text in [
        "a:\n- 1\n- -2\n- .5\nb:\n  c: x y\n  d: yes\n  e:\nf: '1'\n",
        "---\n# comment\n{a: [1, -2, .5], b: {c: x y, d: on, e: ~}, f: !!str 1}\n...\n",
        "{\"a\":[1,-2,0.5],\"b\":{\"c\":\"x y\",\"d\":true,\"e\":null},\"f\":\"1\"}",
        "{\n\t\"a\":\t[1, -2, 0.5],\n\t\"b\": {\"c\": \"\\u0078 y\", \"d\": true, \"e\": null},\r\n\t\"f\": \"1\"\n}\n",
        "\u{feff}a: [1, -2, 0.5]\nb: {c: \"x\\\n  \\ y\", d: True, e: Null}\nf: ! 1\n",
    ] {
        assert_eq!(as_json(text), tree, "{text}");
    }
    for text in ["", "\n", "# nothing\n", "---\n", "---\n...\n", "~"] {
        assert_eq!(as_json(text), json!(null), "{text:?}");
    }
    assert_eq!(
        as_json("a: |\n  one\n  two\nb: >-\n  one\n  two\n"),
        json!({"a": "one\ntwo\n", "b": "one two"})
    );
}

#[test]
fn aliases_and_merge_keys_are_resolved() {
    assert_eq!(
        as_json("a: &x {k: 1}\nb: *x\nc: [*x, *x]\n*n : &n 1\n".replace("*n : &n 1\n", "").as_str()),
        json!({"a": {"k": 1}, "b": {"k": 1}, "c": [{"k": 1}, {"k": 1}]})
    );
    assert_eq!(
        as_json("a: &x {k: 1, l: 2}\nb: &y {l: 3, m: 4}\nc:\n  <<: [*x, *y]\n  k: 5\n"),
        json!({"a": {"k": 1, "l": 2}, "b": {"l": 3, "m": 4}, "c": {"k": 5, "l": 2, "m": 4}})
    );
    assert_eq!(as_json("'<<': 1"), json!({"<<": 1}));
    assert!(refusal("a: &x {k: 1}\nb:\n  k: 2\n  <<: *x\n").starts_with("line 4, column 3: a merge key"));
    assert!(refusal("<<: 1").contains("merge key"));
    assert!(
        refusal("a: &x [*x]")
            .starts_with("line 1, column 8: an alias (*) refers to a value that contains it")
    );
    assert!(refusal("a: *x").contains("unknown anchor"));
}

#[test]
fn duplicate_keys_are_rejected_with_both_positions() {
    assert_eq!(
        refusal("a: 1\nb: 2\na: 3\n"),
        "line 3, column 1: duplicate key \"a\", first at line 1, column 1"
    );
    assert!(refusal("x: {1: a, 1: b}").contains("duplicate key"));
    assert!(refusal("a: 1\n---\nb: 1\n").starts_with("line 2, column 1: starts a second document"));
}

#[test]
fn no_message_shows_a_value() {
    for text in [
        "a: @test-secret",
        "a: `test-secret",
        "a: %test-secret",
        "a: 'test-secret",
        "a: \"test-secret\\q\"",
        "a:\n\ttest-secret: b",
        "a: [test-secret",
        "a: test-secret: b",
        "a: &x test-secret\nb: *test-secret",
        "a: !test-secret b",
        "%TAG test-secret",
        "a: {password:test-secret, password:test-secret}",
        "? [test-secret]\n: b",
        "- test-secret\nb: c",
        "a: test-secret\n b: c",
    ] {
        let error = parse(text.as_bytes()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("test-secret"), "{text:?}: {error}");
        assert!(error.at.line >= 1 && error.at.column >= 1, "{text:?}: {error}");
    }
    assert!(refusal("a: @test-secret").ends_with("a value that begins with @, ` or % needs quotes"));
    let node = parse(b"token: test-secret\nnumber: 123456").unwrap();
    assert!(!format!("{node:?}").contains("test-secret") && !format!("{node:?}").contains("123456"));
    let found = problems("{token:test-secret}", |fields| fields.deny_unknown(&["token"]));
    assert_eq!(found, ["line 1, column 2: the document: unknown key \"token\" …"]);
}

#[test]
fn size_depth_and_aliases_are_bounded() {
    assert!(refusal(&" ".repeat(TEXT_LIMIT + 1)).contains("larger than"));
    assert!(parse(" ".repeat(TEXT_LIMIT).as_bytes()).is_ok());
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(nested(Limits::KUBECONFIG.depth).as_bytes()).is_ok());
    assert!(refusal(&nested(Limits::KUBECONFIG.depth + 1)).contains("nested deeper"));
    let dashes = format!("{}a", "- ".repeat(Limits::KUBECONFIG.depth + 1));
    assert!(refusal(&dashes).contains("nested deeper"));
    assert!(refusal(&format!("[{}]", "1,".repeat(Limits::KUBECONFIG.nodes))).contains("values"));

    // Nested aliases that expand to a billion nodes or a gigabyte, and nesting without brackets.
    let mut bomb = "a0: &a0 [x]\n".to_owned();
    for level in 1..10 {
        let repeated = format!("*a{},", level - 1).repeat(10);
        bomb += &format!("a{level}: &a{level} [{repeated}]\n");
    }
    assert!(refusal(&bomb).contains("values"));
    let wide = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), "*a,".repeat(10_000));
    assert!(refusal(&wide).contains("repeat more than"));
    let mut deep = "a0: &a0 [x]\n".to_owned();
    for level in 1..=Limits::KUBECONFIG.depth {
        deep += &format!("a{level}: &a{level} [*a{}]\n", level - 1);
    }
    assert!(refusal(&deep).contains("nested deeper"));
}

#[test]
fn text_that_is_not_utf8_is_rejected_with_its_line() {
    assert_eq!(parse(b"a: 1\nb: \xff").unwrap_err().to_string(), "line 2, column 1: is not UTF-8 text");
}

#[test]
fn every_wrong_value_is_reported_with_path_and_position() {
    let text =
        "token: 12\nflag: 'true'\nlist: a\nmap: [1]\nnumber: x\nwhole: -1\nusers:\n- user: {as: yes}\n- 1\n";
    let found = problems(text, |fields| {
        assert_eq!(fields.get("token").string(), None);
        assert_eq!(fields.get("flag").boolean(), None);
        assert!(fields.get("list").seq().is_empty());
        assert!(fields.get("map").fields().is_none());
        assert_eq!(fields.get("number").number(), None);
        assert_eq!(fields.get("whole").whole_number(), None);
        for user in fields.get("users").seq() {
            if let Some(user) = user.fields().and_then(|entry| entry.get("user").fields()) {
                assert_eq!(user.get("as").string(), None);
            }
        }
        assert_eq!(fields.get("absent").required().string(), None);
    });
    assert_eq!(
        found,
        [
            "line 1, column 1: absent: is missing",
            "line 1, column 8: token: must be text, not a number: put it in quotes",
            "line 2, column 7: flag: must be true or false, not text: write it without quotes",
            "line 3, column 7: list: must be a list, not text",
            "line 4, column 6: map: must be a mapping, not a list",
            "line 5, column 9: number: must be a number, not text: write it without quotes",
            "line 6, column 8: whole: must be a whole number that is not negative",
            "line 8, column 14: users[0].user.as: must be text, not true or false: put it in quotes",
            "line 9, column 3: users[1]: must be a mapping, not a number",
        ]
    );
}

#[test]
fn the_limits_of_a_stream_hold_for_all_its_documents_together() {
    let limits = Limits { nodes: 100, repeated: 100, ..Limits::MANIFEST };
    let refused = |document: &str| {
        assert!(tree::parse_within(limits, document.as_bytes()).is_ok(), "{document}");
        tree::parse_within(limits, document.repeat(5).as_bytes()).err().map(|error| error.kind)
    };
    let values = "---\na: &a [~, ~, ~, ~, ~]\nb: [*a, *a, *a]\n";
    assert_eq!(refused(values), Some(SyntaxErrorKind::TooMany { limit: 100 }));
    let bytes = "---\na: &a abcdefghij\nb: [*a, *a, *a]\n";
    assert_eq!(refused(bytes), Some(SyntaxErrorKind::Repeated { limit: 100 }));
}

#[test]
fn null_and_empty_texts_count_as_absent() {
    let found = problems("a: null\nb: ''\nc:\nd: [null, '', x]\n", |fields| {
        assert!(fields.get("a").is_absent());
        assert_eq!(fields.get("b").string(), None);
        assert!(fields.get("b").secret().is_none());
        assert!(fields.get("c").fields().is_none() && fields.get("c").seq().is_empty());
        assert_eq!(fields.get("d").string_seq(), ["", "", "x"]);
    });
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn unknown_keys_are_reported_with_the_most_similar_one() {
    let found = problems("id: a\ntls_confg: {}\nqps: 1\n", |fields| {
        fields.deny_unknown(&["id", "tls_config", "qps"]);
        fields.reject(&["qps"], "is for others");
    });
    assert_eq!(
        found,
        [
            "line 2, column 1: the document: unknown key \"tls_confg\"; did you mean \"tls_config\"?",
            "line 3, column 1: qps: is for others",
        ]
    );
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "[ \\t\\n\\-:,?!&*<>|@`%'\"\\\\#{}\\[\\]a0~.é\u{feff}]{0,60}") {
        let _ = parse(text.as_bytes());
    }

    #[test]
    fn any_bytes_are_read_or_rejected(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn any_json_reads_back_the_same(texts in proptest::collection::vec("[^\u{0}-\u{1f}\u{7f}-\u{9f}\u{fffe}\u{ffff}]{0,20}", 0..5), number in any::<i64>()) {
        let value = json!({"texts": texts, "number": number, "inner": {"none": null, "yes": true}});
        prop_assert_eq!(as_json(&value.to_string()), value.clone());
        prop_assert_eq!(as_json(&serde_json::to_string_pretty(&value).unwrap()), value);
    }
}
