//! Format `template`: the sources of a template and the rendered file.

use super::*;

/// Renders credential `db` from Secret `s` with a template in ConfigMap `c` under `t`.
fn render_from(annotations: &[(&str, &str)], config: Option<&[(&str, &[u8])]>) -> Result<Vec<u8>, String> {
    let all = [&[("db.secret", "s"), ("db.template-from", "c/t")], annotations].concat();
    let sources = Sources::from([
        (object(Kind::Secret, "s"), Some(data(PLAIN))),
        (object(Kind::ConfigMap, "c"), config.map(data)),
    ]);
    let credentials = credentials(&all);
    let checked = check_templates(&credentials, &sources).map_err(|errors| errors.to_string());
    let bundle = bundle(&credentials, &sources).map_err(|errors| errors.to_string());
    if let (Err(checked), Err(rendered)) = (&checked, &bundle) {
        assert_eq!(checked, rendered);
    }
    checked?;
    Ok(bundle?.into_values().next().map(|file| file.content.expose().to_vec()).unwrap_or_default())
}

#[test]
fn a_template_in_an_annotation_is_rendered_to_one_file() {
    let files = render(&[("db.template", "{{ username }}:{{ password | json }}")], PLAIN).unwrap();
    assert_eq!(files["db.txt"], b"app:\"it's a \\\"test\\\"\\n\"");
    let message = render(&[("db.template", "\n{{ passwd }}")], PLAIN).unwrap_err();
    assert_eq!(
        message,
        "credential db: the template: line 2, column 4: unknown field \"passwd\"; available: password, username; did you mean \"password\"?"
    );
    let all = "{{ usr }}\n{{ pasword }}{{ a }}";
    let message = render(&[("db.template", all)], PLAIN).unwrap_err();
    let unknown: Vec<_> = message.lines().map(|line| line.split('"').nth(1).unwrap()).collect();
    assert_eq!(unknown, ["usr", "pasword", "a"], "{message}");
}

#[test]
fn a_template_may_become_the_value_of_variables() {
    let template = ("db.template", "it's {{ username }}\n");
    let variable = [template, ("db.variable", "B_TOKEN, A_TOKEN")];
    let files = render(&variable, PLAIN).unwrap();
    assert_eq!(files["db.env"], b"export A_TOKEN='it'\\''s app\n'\nexport B_TOKEN='it'\\''s app\n'\n");
    let files = render(&[&variable[..], &[("db.variable-format", "dotenv")]].concat(), PLAIN).unwrap();
    assert_eq!(files["db.env"], b"A_TOKEN=\"it's app\\n\"\nB_TOKEN=\"it's app\\n\"\n");
    let of_config = [("db.variable", "TOKEN"), ("db.variable-format", "envfile")];
    let config: &[(&str, &[u8])] = &[("t", b"{{ username }}")];
    assert_eq!(render_from(&of_config, Some(config)).unwrap(), b"TOKEN='app'\n");
    for (template, name, part) in [
        ("{{ '/wA=' | b64decode }}", "TOKEN", "the value of variable TOKEN is binary"),
        ("{{ username }}", "PATH", "the annotations name variable PATH, which shells"),
    ] {
        let message = render(&[("db.template", template), ("db.variable", name)], PLAIN).unwrap_err();
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_template_in_a_config_map_provides_no_fields() {
    let config: &[(&str, &[u8])] = &[("t", b"{% for n in fields %}{{ n }} {% endfor %}"), ("other", b"x")];
    assert_eq!(render_from(&[], Some(config)).unwrap(), b"password username ");
    for (annotations, config, expected) in [
        (
            &[][..],
            &[("t", b"\n {{ x".as_slice())][..],
            "ConfigMap prod/c, key t: line 2, column 5: unexpected end",
        ),
        (&[], &[("t", b"{{ x }}")], "ConfigMap prod/c, key t: line 1, column 4: unknown field \"x\""),
        (
            &[("db.keys", "username")],
            &[("t", b"{{ password }}")],
            "unknown field \"password\"; available: username",
        ),
        (
            &[],
            &[("t", b"a {{ credentials.other.x }}")],
            "ConfigMap prod/c, key t: line 1, column 6: a template in a ConfigMap cannot use fields of other credentials: add their Secrets to .secret, as in alias=name, and use alias.field",
        ),
        (&[], &[("t", b"\xff")], "ConfigMap prod/c, key t: the template is not text"),
        (&[], &[("u", b"")], "key t not found in ConfigMap prod/c; available: u"),
    ] {
        let message = render_from(annotations, Some(config)).unwrap_err();
        assert!(message.contains(expected), "{expected}\nis not in\n{message}");
    }
}

#[test]
fn an_optional_credential_without_the_config_map_of_its_template_has_no_file() {
    let optional = [("db.optional", "true")];
    assert_eq!(render_from(&optional, None).unwrap(), b"");
    let message = render_from(&optional, Some(&[("u", b"".as_slice())])).unwrap_err();
    assert!(message.contains("key t not found in ConfigMap prod/c; available: u"), "{message}");
    let credentials =
        credentials(&[("db.secret", "s"), ("db.template-from", "c/t"), ("db.optional", "true")]);
    let sources =
        Sources::from([(object(Kind::Secret, "s"), Some(data(PLAIN))), (object(Kind::ConfigMap, "c"), None)]);
    let reported: Vec<_> = missing_inputs(&credentials, &sources).map(|notice| notice.to_string()).collect();
    assert_eq!(reported, ["skipping optional credential db: ConfigMap prod/c not found"]);
}

#[test]
fn redacted_values_never_make_a_template_fail() {
    let text = b"{{ username }} {{ b64 | b64decode }} {{ fields[which] }} {{ raw | b64encode }}".as_slice();
    let secret: &[(&str, &[u8])] =
        &[("username", b"app"), ("b64", b"YXBw"), ("which", b"username"), ("raw", b"\xff")];
    let sources = Sources::from([
        (object(Kind::Secret, "s"), Some(data(secret))),
        (object(Kind::ConfigMap, "c"), Some(data(&[("t", text)]))),
    ]);
    for template in [("db.template", std::str::from_utf8(text).unwrap()), ("db.template-from", "c/t")] {
        let credentials = credentials(&[("db.secret", "s"), template]);
        let content = |bundle: Bundle| {
            String::from_utf8(bundle.into_values().next().unwrap().content.expose().to_vec()).unwrap()
        };
        assert_eq!(content(bundle(&credentials, &sources).unwrap()), "app app app /w==");
        assert_eq!(content(hidden(&credentials, &sources, "***").unwrap()), "*** *** *** Kioq");
    }
}

#[test]
fn placeholders_that_are_longer_than_the_values_exceed_no_limit() {
    let starts = ["x", "y", "z"].map(|name| format!("{{% for {name} in fields %}}"));
    let text = format!("{}{{{{ a }}}}{}", starts.concat(), "{% endfor %}".repeat(3));
    let credentials = credentials(&[("db.secret", "s"), ("db.template", &text)]);
    let names: Vec<_> = (0..29).map(|index| format!("f{index}")).chain(["a".to_owned()]).collect();
    let secret: Vec<_> = names.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(&secret)))]);
    let size = |bundle: Bundle| Size::of(&bundle).bytes;
    let written = size(bundle(&credentials, &sources).unwrap());
    let shown = size(hidden(&credentials, &sources, &"*".repeat(60)).unwrap());
    assert!(written < 1024 * 1024 && shown > 1024 * 1024, "{written}, {shown}");
}

#[test]
fn a_template_has_the_fields_of_other_credentials_as_they_write_them() {
    let annotations = [
        ("app.secret", "s"),
        ("app.template", "{{ username }}/{{ credentials.cache.PW }}/{{ credentials[\"app\"].username }}"),
        ("cache.secret", "redis"),
        ("cache.keys", "PW=password"),
        ("cache.trim", "true"),
    ];
    let sources = |redis| {
        Sources::from([
            (object(Kind::Secret, "s"), Some(data(PLAIN))),
            (object(Kind::Secret, "redis"), redis),
        ])
    };
    let filled = sources(Some(data(&[("password", b"p2\n")])));
    let all = credentials(&annotations);
    let files = bundle(&all, &filled).unwrap();
    assert_eq!(files[&RelativePath::parse("app.txt").unwrap()].content.expose(), b"app/p2/app");
    let objects: Vec<_> = all[0].objects().map(ToString::to_string).collect();
    assert_eq!(objects, ["Secret prod/s", "Secret prod/redis"], "a change of either is a change of the file");
    let shown = hidden(&all, &filled, "****").unwrap();
    assert_eq!(shown[&RelativePath::parse("app.txt").unwrap()].content.expose(), b"****/****/****");

    let message = bundle(&all, &sources(Some(data(&[("user", b"x")])))).unwrap_err().to_string();
    let missing = "key password not found in Secret prod/redis; available: user";
    assert!(message.contains(&format!("credential app: {missing}")), "{message}");
    let optional = [&annotations[..], &[("app.optional", "true"), ("cache.optional", "true")]].concat();
    assert!(bundle(&credentials(&optional), &sources(None)).unwrap().is_empty());

    let misspelt =
        [("app.template", "{{ credentials.cache.pw }}"), annotations[0], annotations[2], annotations[3]];
    let message = bundle(&credentials(&misspelt), &filled).unwrap_err().to_string();
    assert!(message.contains("credential \"cache\" has no field \"pw\"; available: PW"), "{message}");
}

#[test]
fn values_that_other_credentials_derive_count_together() {
    let annotations = [
        ("app.secret", "s"),
        ("app.template", "{{ credentials.a.x }}{{ credentials.b.x }}"),
        ("a.secret", "large"),
        ("a.trim", "true"),
        ("b.secret", "large"),
        ("b.trim", "true"),
    ];
    let large = [vec![b'x'; 3 * 1024 * 1024], b"\n".to_vec()].concat();
    let sources = Sources::from([
        (object(Kind::Secret, "s"), Some(data(PLAIN))),
        (object(Kind::Secret, "large"), Some(data(&[("big", &large), ("x", b"1")]))),
    ]);
    let message = bundle(&credentials(&annotations), &sources).unwrap_err().to_string();
    assert!(
        message.starts_with("credential app: the values that .trim shortens")
            && !message.contains("credential b"),
        "{message}"
    );
}

#[test]
fn an_optional_credential_without_its_source_has_no_fields_for_templates() {
    let checked = "{{ credentials.c.pw | default('none') }}{% if credentials.c.x is defined %}x{% endif %}";
    let credentials_with = |template, more: &[(&str, &str)]| {
        let base =
            [("app.secret", "s"), ("app.template", template), ("c.secret", "c"), ("c.optional", "true")];
        credentials(&[&base, more].concat())
    };
    let sources = |c: Option<ObjectData>| {
        Sources::from([(object(Kind::Secret, "s"), Some(data(PLAIN))), (object(Kind::Secret, "c"), c)])
    };
    let needed =
        |credential: &Credential| credential.needed_objects().map(ToString::to_string).collect::<Vec<_>>();
    let all = credentials_with(checked, &[]);
    assert_eq!(needed(&all[0]), ["Secret prod/s"]);
    assert_eq!(all[0].needed_optional(&object(Kind::Secret, "c")), None);
    let path = RelativePath::parse("app.txt").unwrap();
    let text = |c| bundle(&all, &sources(c)).unwrap()[&path].content.expose().to_vec();
    assert_eq!(text(None), b"none");
    assert_eq!(text(Some(data(&[("pw", b"p"), ("x", b"")]))), b"px");
    let reported: Vec<_> = missing_inputs(&all, &sources(None)).map(|notice| notice.to_string()).collect();
    assert_eq!(reported, ["skipping optional credential c: Secret prod/c not found"]);

    let required = "{{ credentials.c.pw }}";
    let all = credentials_with(required, &[]);
    assert_eq!(needed(&all[0]), ["Secret prod/s", "Secret prod/c"]);
    assert_eq!(all[0].needed_optional(&object(Kind::Secret, "c")).unwrap().as_str(), "c");
    let all = credentials_with(required, &[("app.optional", "true")]);
    assert_eq!(all[0].needed_optional(&object(Kind::Secret, "c")), None);
    assert!(bundle(&all, &sources(None)).unwrap().is_empty());
}

#[test]
fn a_template_uses_at_most_eight_other_credentials() {
    let parsed = |count: usize| {
        let mut all = BTreeMap::new();
        let mut text = String::from("x");
        for at in 0..count {
            all.insert(format!("{DEFAULT_PREFIX}/c{at}.secret"), "s".to_owned());
            text.push_str(&format!("{{{{ credentials.c{at}.a }}}}"));
        }
        all.insert(format!("{DEFAULT_PREFIX}/t.secret"), "s".to_owned());
        all.insert(format!("{DEFAULT_PREFIX}/t.template"), text);
        parse(&all, DEFAULT_PREFIX, &ReferenceScope::local(Namespace::parse("prod").unwrap()))
    };
    assert!(parsed(8).is_ok());
    let message = parsed(9).unwrap_err().to_string();
    assert!(message.contains("podcreds.io/t.template: more than 8 other credentials"), "{message}");
}
