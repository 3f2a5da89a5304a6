use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::escape::{RULES, Unrepresentable};
use crate::secret::SecretBuffer;

/// Text that value that must not appear in any message.
const MARKER: &str = "test-marker-5d1e";
/// Limit after which time, rendering counts as unbounded. Each template below takes milliseconds on an idle machine.
const QUICKLY: Duration = Duration::from_secs(20);

fn render(text: &str, fields: &[(&str, &[u8])]) -> Result<String, String> {
    let values: Vec<_> = fields.iter().map(|(_, value)| SecretBytes::new(value.to_vec())).collect();
    let fields = fields.iter().zip(&values).map(|((name, _), value)| (*name, value)).collect();
    let made = Template::parse(text, &Delimiters::default()).and_then(|template| template.render(&fields));
    made.map(|made| made.expose_text().unwrap().to_owned()).map_err(|error| error.to_string())
}

const PLAIN: &[(&str, &[u8])] =
    &[("password", b"it's \"1\" & $x"), ("port", b"5432"), ("tls.crt", b"\xff\x00"), ("username", b"app")];

#[test]
fn a_template_renders_fields() {
    for (text, expected) in [
        ("u={{ username }}\n", "u=app\n"),
        ("u={{ username }}", "u=app"),
        ("u={{ username }}\n\n", "u=app\n\n"),
        ("{# nothing #}", ""),
        ("{{ fields.username }} {{ fields['username'] }} {{ fields['user' ~ 'name'] }}", "app app app"),
        ("{{ fields[\"tls.crt\"] | b64encode }}", "/wA="),
        ("{{ username ~ ':' ~ port | b64encode }}", "app:NTQzMg=="),
        ("{{ (username ~ ':' ~ port) | b64encode }}", "YXBwOjU0MzI="),
        ("{{ 'YXBw' | b64decode }} {{ 'YX\nBw\n' | b64decode }} {{ 'YQ' | b64decode }}", "app app a"),
        ("{{ 'ab' | upper | lower }}{{ ' x\n' | trim }}", "abx"),
        ("{{ 'a.b.c' | replace('.', '') }}{{ 'aaa' | replace('aa', 'b') }}", "abcba"),
        ("{{ '$x$' | replace('$', '$$') }} {{ '@P@!' | replace('@P@', username) }}", "$$x$$ app!"),
        ("{{ username | replace(username, 'a') | replace('z', 'y') | upper }}", "A"),
        ("{% set a | replace('x', port) | json %}x{{ 'x' }}{% endset %}{{ a }}", "\"54325432\""),
        ("{{ 5432 }} {{ 1.5 }} {{ true }} {{ port == 5432 }}", "5432 1.5 true true"),
        (
            "{% if username == 'app' and not port != '5432' %}a{% elif x is defined %}b{% else %}c{% endif %}",
            "a",
        ),
        ("{{ 'yes' if 'port' in fields else 'no' }}{{ 'x' if 'host' in fields }}", "yes"),
        ("{{ 'p' in username }} {{ 'z' not in username }}", "true true"),
        ("{{ host | default('localhost') }} {{ port | default('1') }}", "localhost 5432"),
        ("{% if host is undefined %}{{ port is defined }}{% endif %}", "true"),
        ("{% if host is defined %}{{ host }}{% endif %}-", "-"),
        ("{{ '' or username }} {{ '' and username }}", "app "),
        (
            "{% for name in fields %}{{ name }}{{ ',' if not loop.last }}{% endfor %}",
            "password,port,tls.crt,username",
        ),
        (
            "{% for name, value in fields|items %}{{ loop.index }}/{{ loop.length }}={{ value | b64encode }};{% endfor %}",
            "1/4=aXQncyAiMSIgJiAkeA==;2/4=NTQzMg==;3/4=/wA=;4/4=YXBw;",
        ),
        ("{% set a = username %}{% set a = a ~ a %}{{ a }}", "appapp"),
        ("{% set a | json %}{{ password }}{% endset %}{{ a }}", "\"it's \\\"1\\\" & $x\""),
        ("{% set a = 'x' %}{% for n in fields %}{% set a = a ~ n %}{% endfor %}{{ a }}", "x"),
        ("{% raw %}{{ x }}{% endraw %}", "{{ x }}"),
        ("a  {{- username -}}  b", "aappb"),
        ("\u{e9}\r\n{{ username }}\r\n", "\u{e9}\r\napp\r\n"),
    ] {
        assert_eq!(render(text, PLAIN).as_deref(), Ok(expected), "{text}");
    }
    assert_eq!(render("{% for n in fields %}x{% else %}none{% endfor %}", &[]).as_deref(), Ok("none"));
}

#[test]
fn a_field_may_have_any_name() {
    let fields: &[(&str, &[u8])] = &[("fields", b"a"), ("loop", b"b"), ("not", b"c"), ("1-x.y", b"d")];
    let text = "{{ fields.fields }}{{ loop }}{{ fields['not'] }}{{ fields['1-x.y'] }}";
    assert_eq!(render(text, fields).as_deref(), Ok("abcd"));
}

#[test]
fn a_field_name_may_have_dots() {
    let fields: &[(&str, &[u8])] = &[
        ("credentials.json", b"e"),
        ("db.password", b"a"),
        ("db.tls.key", b"b"),
        ("db.tls-ca", b"c"),
        ("loop.first", b"d"),
    ];
    for (text, expected) in [
        ("{{ db.password }}{{ db.tls.key | upper }}{{ db.user | default('x') }}", "aBx"),
        ("{{ fields.db.password }}{{ fields['db.tls-ca'] }}{{ db['tls-ca'] }}", "acc"),
        ("{% set db = 'x' %}{{ db.password }}{{ 'db.password' in fields }}", "atrue"),
        ("{% if db.password is defined and db.host is undefined %}{{ loop.first }}{% endif %}", "d"),
        ("{{ fields['credentials.json'] }}{{ fields.credentials.json }}", "ee"),
    ] {
        assert_eq!(render(text, fields).as_deref(), Ok(expected), "{text}");
    }
    let template = Template::parse("{{ db.password }}{{ tls.crt }}", &Delimiters::default()).unwrap();
    assert_eq!(template.required_names().collect::<Vec<_>>(), ["db.password", "tls.crt"]);
}

#[test]
fn a_template_may_use_fields_of_other_credentials() {
    let text = "{{ credentials.db.password }}{{ credentials['my-db']['tls.crt'] | upper }}{{ password }}\
                {{ credentials.db.tls.key | default('none') }}{% if credentials.x.y is defined %}{{ credentials.x.y }}{% endif %}\
                {% for name in fields %}{{ name }}{% endfor %}{{ credentials }}";
    let template = Template::parse(text, &Delimiters::default()).unwrap();
    let references = [("db", "password"), ("db", "tls.key"), ("my-db", "tls.crt"), ("x", "y")];
    let found: Vec<_> = template.references().map(|(credential, field, _)| (credential, field)).collect();
    assert_eq!(found, references);
    assert_eq!(template.required_names().collect::<Vec<_>>(), ["credentials", "password"]);
    let [own, a, b] = ["own", "a", "b"].map(SecretBytes::from);
    let fields = Fields::from([("password", &own), ("credentials", &own)]);
    let mut others = Fields::from([("db.password", &a), ("my-db.tls.crt", &b)]);
    let rendered = template.render_within(&fields, &others, WORK_LIMIT).unwrap();
    assert_eq!(rendered.expose_text(), Some("aBownnonecredentialspasswordown"));

    others.remove("db.password");
    others.extend([("db.passwd", &a), ("dbx.a", &a)]);
    let message = template.render_within(&fields, &others, WORK_LIMIT).unwrap_err().to_string();
    assert_eq!(
        message,
        "line 1, column 4: credential \"db\" has no field \"password\"; available: passwd; did you mean \"passwd\"?"
    );
    let unknown = template.unknown_credentials(&BTreeSet::from(["db", "x"]));
    let messages: Vec<_> = unknown.iter().map(ToString::to_string).collect();
    assert_eq!(messages, ["line 1, column 33: unknown credential \"my-db\"; available: db, x"]);
}

#[test]
fn a_reference_to_another_credential_needs_a_field() {
    let needs_field = "credentials[\"db\"] needs a field, as in credentials[\"db\"].password; a field of this credential whose name begins with `credentials.` is written fields[\"credentials.…\"]";
    for (text, column) in [
        ("{{ credentials.db }}", 4),
        ("{{ credentials['db'] }}", 4),
        ("{{ credentials.db | default('x') }}", 4),
        ("{% if credentials.db is defined %}{% endif %}", 7),
    ] {
        let message = render(text, PLAIN).unwrap_err();
        assert_eq!(message, format!("line 1, column {column}: {needs_field}"), "{text}");
    }
}

#[test]
fn a_name_with_a_dash_is_explained() {
    for (text, written) in [
        ("{{ db-user }}", "fields[\"db-user\"]"),
        ("{{ a-b-1 | urlencode }}", "fields[\"a-b-1\"]"),
        ("{{ fields.tls-key.pem }}", "fields[\"tls-key.pem\"]"),
        ("{% if db-user is defined %}{% endif %}", "fields[\"db-user\"]"),
        ("{{ credentials.my-db.tls.crt }}", "credentials[\"my-db\"][\"tls.crt\"]"),
    ] {
        let message = render(text, PLAIN).unwrap_err();
        let expected = format!("which has no subtraction; a name that contains `-` is written {written}");
        assert!(message.ends_with(&expected), "{text}: {message}");
    }
    assert!(render("{{ 'x' - username }}", PLAIN).unwrap_err().contains("arithmetic is not supported"));
}

#[test]
fn misspelt_filters_and_open_blocks_get_a_correction() {
    let message = render("{{ password | urlencoded }}", PLAIN).unwrap_err();
    assert!(message.ends_with("; did you mean \"urlencode\"?"), "{message}");
    for text in ["{% if password %}x", "{% for name in fields %}{{ name }}", "{% set a %}b"] {
        let message = render(text, PLAIN).unwrap_err();
        assert!(message.ends_with("write {% endif %}, {% endfor %} or {% endset %}"), "{message}");
    }
}

#[test]
fn a_checked_reference_does_not_require_its_credential() {
    let text = "{{ credentials.a.x }}{{ credentials.b.x | default('') }}{% if credentials.c.x is defined %}{{ credentials.c.x }}{% endif %}";
    let template = Template::parse(text, &Delimiters::default()).unwrap();
    assert_eq!(
        ["a", "b", "c", "x"].map(|name| template.requires_credential(name)),
        [true, false, false, false]
    );
}

#[test]
fn errors_have_line_and_column() {
    assert_eq!(render("{{ .5 }}", PLAIN), Err("line 1, column 4: unexpected `.`".to_owned()));
    for (text, part) in [
        ("", "empty template"),
        ("{{ username", "line 1, column 4: unexpected end of input"),
        ("a\n\u{e9} {{ username | }}", "line 2, column 17: unexpected end of variable block"),
        ("{{ 'a }}", "line 1, column 9: unexpected end of string"),
        ("{# a", "unexpected end of comment"),
        (
            "host: db\nuser: {{ .Values.user }}",
            "line 2, column 10: unexpected `.`; this looks like a Helm expression: render the chart with Helm first, or, if the file itself needs {{ }}, set .delimiters to other delimiters, such as [[ ]]",
        ),
        ("{{- include \"a.b\" . }}", "this looks like a Helm expression"),
        ("{{ if (eq .Values.a 1) }}{{ end }}", "this looks like a Helm expression"),
        ("{{ range $k, $v := .Values.a }}", "this looks like a Helm expression"),
        ("{% if a %}", "unexpected end of input"),
        ("x\n{% include 'a' %}", "line 2, column 4: unknown statement include; available: if, for, set"),
        ("{% macro a() %}{% endmacro %}", "unknown statement macro"),
        ("{% extends 'a' %}", "unknown statement extends"),
        ("{% import 'a' as b %}", "unknown statement import"),
        (
            "\n{{ user }}",
            "line 2, column 4: unknown field \"user\"; available: password, port, tls.crt, username",
        ),
        ("{{ fields['a b'] }}", "line 1, column 4: unknown field \"a…\"; available: password"),
        ("{{ fields.user }}", "unknown field \"user\""),
        ("{% if false %}{{ user }}{% endif %}", "unknown field \"user\""),
        ("{{ fields[username] }}", "column 4: the value in brackets is not the name of a field"),
        ("{% if host is defined %}{% endif %}{{ host }}", "line 1, column 39: unknown field \"host\""),
        (
            "{{ tls.cert }}",
            "line 1, column 4: unknown field \"tls.cert\"; available: password, port, tls.crt, username; did you mean \"tls.crt\"?",
        ),
        ("{{ tls.crt }}", "column 4: the value of field \"tls.crt\" is binary"),
        ("{{ port.a.b }}", "column 4: unknown field \"port.a.b\""),
        ("{% for n in fields %}{{ n.a }}{% endfor %}", "column 25: unknown field \"n.a\""),
        ("{{ loop.index }}", "column 4: unknown field \"loop.index\""),
        ("{{ (port ~ 'a').b }}", "a dot is not supported: only names of fields can have it"),
        ("{{ fields[port].b }}", "[ ] is not supported"),
        ("{{ credentials.db }}", "column 4: credentials[\"db\"] needs a field"),
        (
            "{{ credentials.db.pasword }}",
            "column 4: credential \"db\" has no field \"pasword\"; available: none",
        ),
        (
            "{{ username | urlencoded }}",
            "line 1, column 15: unknown filter \"urlencoded\"; available: adonet, b64decode, b64encode, default, ini, json, libpq, lower",
        ),
        ("{{ username is number }}", "unknown test \"number\"; available: defined, undefined"),
        (
            "{{ fields['tls.crt'] }}",
            "column 4: the value of field \"tls.crt\" is binary; only b64encode can write it",
        ),
        ("{{ 'x' ~ fields['tls.crt'] }}", "the value of field \"tls.crt\" is binary"),
        ("{{ fields['tls.crt'] | json }}", "the value of field \"tls.crt\" is binary"),
        ("{% for n, v in fields|items %}{{ v }}{% endfor %}", "field \"v\" is binary"),
        ("{{ fields }}", "fields is not text"),
        ("{{ fields | json }}", "fields is not text"),
        ("{{ password | b64decode }}", "column 15: the value is not base64"),
        (
            "{{ 'a\\nb' | pgpass }}",
            "column 13: the value contains a line break, which pgpass cannot represent",
        ),
        ("{{ port + 1 }}", "arithmetic is not supported: values are text; concatenate them with ~"),
        ("{{ -1 }}", "arithmetic is not supported"),
        ("{{ port > 1 }}", "comparing with < or > is not supported"),
        ("{{ 'a' < 'b' < 'c' }}", "comparing with < or > is not supported"),
        ("{{ [1] }}", "a list is not supported"),
        ("{{ (1, 2) }}", "a list is not supported"),
        ("{{ {'a': 1} }}", "a map is not supported"),
        ("{{ username[1:] }}", "a slice is not supported"),
        ("{{ username[1] }}", "[ ] is not supported: write the name of a field in it, in quotes"),
        ("{{ credentials[port]['a'] }}", "[ ] is not supported"),
        ("{{ credentials['db'][port] }}", "[ ] is not supported"),
        ("{{ range(9) }}", "a call is not supported: there are no functions"),
        ("{{ username.upper() }}", "a call is not supported"),
        ("{{ none }}", "none is not supported"),
        ("{{ username | upper(1) }}", "an argument of this filter is not supported"),
        (
            "{{ username | replace('a') }}",
            "replace without exactly two arguments is not supported: write replace(\"old\", \"new\")",
        ),
        ("{{ username | replace(old='a', new='b') }}", "replace without exactly two arguments"),
        (
            "{{ host | default('a') | replace('', 'b') }}",
            "column 34: the text that replace searches for is empty",
        ),
        (
            "{% set a %}{% endset %}{{ username | replace(a, 'b') }}",
            "column 46: the text that replace searches for is empty",
        ),
        ("{{ fields['tls.crt'] | replace('a', 'b') }}", "the value of field \"tls.crt\" is binary"),
        ("{{ username | replace('a', fields['tls.crt']) }}", "the value of field \"tls.crt\" is binary"),
        ("{{ username | replace('a', fields) }}", "fields is not text"),
        (
            "{{ '/wA=' | b64decode | json }}",
            "column 13: the value is binary: only b64encode can follow b64decode here",
        ),
        ("{{ 'x' ~ ('/wA=' | b64decode) }}", "column 20: the value is binary: only b64encode"),
        ("{% set a | json %}{{ '/wA=' | b64decode }}{% endset %}", "column 12: the value is binary"),
        ("{{ host | default }}", "default without exactly one argument"),
        ("{{ (username ~ port) | default('a') }}", "default after anything but a field"),
        ("{{ ('a' ~ port) is defined }}", "a test of anything but a field"),
        ("{% for a in username %}{% endfor %}", "a loop over anything but the fields is not supported"),
        ("{% for a, b in fields %}{% endfor %}", "this number of names"),
        ("{% for a in fields|items %}{% endfor %}", "this number of names"),
        ("{% for a in fields if a %}{% endfor %}", "write an if inside the loop"),
        ("{% for a in fields recursive %}{% endfor %}", "recursive is not supported"),
        ("{% for a in fields %}{{ loop.cycle }}{% endfor %}", "use first, last, index"),
        ("{% for a in fields %}{{ loop.first.x }}{% endfor %}", "use first, last, index"),
        ("{% for fields in fields %}{% endfor %}", "that name means all fields"),
        ("{% set fields = 'a' %}", "that name means all fields"),
        ("{% set a.b = 'a' %}", "set one name"),
        ("{% with a = 1 %}{% endwith %}", "with is not supported"),
        ("{% filter json %}{% endfilter %}", "write {% set text | json %}"),
        ("{% autoescape true %}{% endautoescape %}", "autoescape is not supported"),
        ("{% do a() %}", "do is not supported"),
    ] {
        let message = render(text, PLAIN).expect_err(text);
        assert!(message.contains(part), "{text}\n{part}\nis not in\n{message}");
        assert!(part == "empty template" || message.starts_with("line "), "{message}");
    }
}

#[test]
fn required_names_are_neither_set_nor_checked_by_the_template() {
    let text = "{{ b }}{{ a|json }}{{ fields['c.d'] }}{{ e|default(f) }}{% if g is defined %}{{ g }}{% endif %}\
                {% if 'h' in fields %}{{ h }}{% endif %}{% set i = 'x' %}{{ i }}{% for j in fields %}{{ j }}{% endfor %}";
    let template = Template::parse(text, &Delimiters::default()).unwrap();
    assert_eq!(template.required_names().collect::<Vec<_>>(), ["a", "b", "c.d", "f"]);
    let unknown = template.unknown_names(&BTreeSet::from(["a", "b", "f"]));
    let messages: Vec<_> = unknown.iter().map(ToString::to_string).collect();
    assert_eq!(messages, ["line 1, column 23: unknown field \"c.d\"; available: a, b, f"]);
    let text = "{{ zeta }} {{ pasword }}\n{{ alpha }}{{ pasword }} {{ fields['app:test-password'] }}";
    let template = Template::parse(text, &Delimiters::default()).unwrap();
    let unknown = template.unknown_names(&BTreeSet::from(["password", "username"]));
    let messages: Vec<_> = unknown.iter().map(ToString::to_string).collect();
    assert_eq!(
        messages,
        [
            "line 1, column 4: unknown field \"zeta\"; available: password, username",
            "line 1, column 15: unknown field \"pasword\"; available: password, username; did you mean \"password\"?",
            "line 2, column 4: unknown field \"alpha\"; available: password, username",
            "line 2, column 29: unknown field \"app…\"; available: password, username",
        ]
    );
    let template = Template::parse("{{ b }}", &Delimiters::default()).unwrap();
    let many: Vec<_> = (0..30).map(|i| format!("f{i:02}")).collect();
    let message = template.unknown_names(&many.iter().map(String::as_str).collect())[0].to_string();
    assert!(message.ends_with("f18, f19 and 10 more"), "{message}");
}

#[test]
fn other_delimiters_leave_those_of_a_helm_chart_alone() {
    for (delimiters, text) in [
        ("[[ ]]", "{{ .Values.x }}[% if true %][[ fields['username'] ]][% endif %][# no #]"),
        ("<< >>", "{{ .Values.x }}<% if true %><< username >><% endif %><# no #>"),
        ("${ }", "{{ .Values.x }}$% if true %}${ fields['username'] }$% endif %}$# no #}"),
        ("[[ ]", "{{ .Values.x }}[[ fields['username'] ]"),
    ] {
        let template = Template::parse(text, &Delimiters::parse(delimiters).unwrap()).unwrap();
        let username = SecretBytes::from("app");
        let made = template.render(&Fields::from([("username", &username)])).unwrap();
        assert_eq!(made.expose_text(), Some("{{ .Values.x }}app"), "{delimiters}");
    }
}

#[test]
fn the_examples_in_the_documentation_are_correct() {
    let page = include_str!("../../docs/formats/template.md");
    let blocks: Vec<_> =
        page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let template: String = blocks[0].split("template: |\n").nth(1).unwrap().replace("\n  ", "\n");
    let fields: &[(&str, &[u8])] =
        &[("host", b"db.prod"), ("password", br#"it's "1" \ $x"#), ("username", b"app")];
    assert_eq!(render(template.trim_start(), fields).as_deref(), Ok(blocks[1]));

    let value = br#"it's "1" & $x"#;
    let rows = page
        .split("becomes | for |")
        .nth(1)
        .unwrap()
        .lines()
        .skip(2)
        .map_while(|line| line.strip_prefix("| `"));
    let mut shown = 0;
    for row in rows {
        let Some((filter, rest)) = row.split_once("` | `") else { continue };
        let filter = filter.split('`').next().unwrap();
        let expected = rest.split('`').next().unwrap();
        assert_eq!(render(&format!("{{{{ v | {filter} }}}}"), &[("v", value)]), Ok(expected.to_owned()));
        shown += 1;
    }
    assert_eq!(shown, RULES.len() + 1, "each rule, and base64");
}

#[test]
fn each_format_has_a_filter() {
    for name in [
        "urlencode",
        "b64encode",
        "b64decode",
        "json",
        "yaml",
        "shell",
        "pgpass",
        "mycnf",
        "properties",
        "xml",
        "adonet",
        "ini",
        "userlist",
        "replace('a', 'b')",
    ] {
        assert!(Template::parse(&format!("{{{{ a | {name} }}}}"), &Delimiters::default()).is_ok(), "{name}");
    }
    assert!(filters::names().is_sorted());
}

#[test]
fn decoded_bytes_are_written_unchanged() {
    let encoded = SecretBytes::from("/wAK");
    let fields = Fields::from([("keystore", &encoded)]);
    for text in [
        "{{ keystore | b64decode }}",
        "{% set a = keystore | b64decode %}{{ a }}",
        "{% set a %}{{ keystore | b64decode }}{% endset %}{{ a }}",
        "{{ keystore | b64decode | b64encode | b64decode }}",
        "{{ keystore | b64decode if true }}",
    ] {
        let template = Template::parse(text, &Delimiters::default()).unwrap();
        assert_eq!(template.render(&fields).unwrap().expose(), b"\xff\0\n", "{text}");
    }
}

#[test]
fn replace_takes_no_memory_beyond_its_limits() {
    let (ones, long) = ("1".repeat(64 * 1024), "x".repeat(64 * 1024));
    let fields: &[(&str, &[u8])] = &[("ones", ones.as_bytes()), ("long", long.as_bytes())];
    // 4 GiB. The position of the filter shows that it is not the printing of the result that fails.
    let message = render("{{ ones | replace('1', long) }}", fields).unwrap_err();
    assert!(message.starts_with("line 1, column 11: rendering takes more than 16777216 bytes"), "{message}");
    let largest = render("{{ ones | replace('1', '0123456789abcdef') }}", fields).unwrap();
    assert_eq!(largest.len(), 1024 * 1024);
    let message = render("{{ ones | replace('1', '0123456789abcdef!') }}", fields).unwrap_err();
    assert!(
        message.starts_with("line 1, column 11: rendering takes more than 1048576 bytes of output"),
        "{message}"
    );
    let often = format!("{{{{ long{} }}}}", "|replace('x', 'y')|replace('y', 'x')".repeat(8));
    assert!(render(&often, fields).is_ok());
    let template = Template::parse(&often, &Delimiters::default()).unwrap();
    let value = SecretBytes::from(long.as_str());
    let error = template
        .render_within(&Fields::from([("long", &value)]), &Fields::new(), 16 * long.len())
        .unwrap_err();
    assert!(error.to_string().contains("bytes of intermediate text"), "{error}");
}

/// Templates that would use unbounded memory, time or stack.
fn hostile() -> Vec<String> {
    let nested = |open: &str, inner: &str, close: &str, times| {
        format!("{}{inner}{}", open.repeat(times), close.repeat(times))
    };
    let loops = |depth| nested("{% for n in fields %}", "{{ a }}", "{% endfor %}", depth);
    vec![
        // Repeated work on intermediate values.
        format!("{{% set b = a %}}{}", "{% set b = b ~ b %}".repeat(3000)),
        format!("{{% set b = '\"' %}}{}", "{% set b = b | json %}".repeat(2000)),
        format!("{{% set b = a %}}{}", "{% set b = b | replace('t', b) %}".repeat(1500)),
        format!(
            "{{% for n in fields %}}{}{{% endfor %}}",
            "{% if a|replace(a, '') %}{% endif %}".repeat(2000)
        ),
        format!("{{% set b = a %}}{}", "{% set b %}{{ b }}{{ b }}{% endset %}".repeat(1500)),
        format!("{{{{ '\"'{} }}}}", "|json".repeat(90)),
        format!("{{{{ a{} }}}}", "|b64encode".repeat(90)),
        format!("{{% for n in fields %}}{}{{% endfor %}}", "{% if a == a %}{% endif %}".repeat(2000)),
        format!("{{% for n in fields %}}{}{{% endfor %}}", "{% if a in a %}{% endif %}".repeat(2000)),
        loops(2),
        loops(10),
        loops(140),
        nested("{% for n in fields %}", "", "{% endfor %}", 100),
        format!("{{% for n in fields %}}{}{{% endfor %}}", "x".repeat(60_000)),
        format!("{{% for n in fields %}}{{% set b %}}{}{{% endset %}}{{% endfor %}}", "x".repeat(60_000)),
        // Templates by are costly in minijinja itself.
        "{{ 'x' * 100000000 }}".to_owned(),
        "{% for i in range(100000000) %}{% endfor %}".to_owned(),
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_owned(),
        "{% for n in fields recursive %}{{ loop(fields) }}{% endfor %}".to_owned(),
        "{% for n in fields %}{{ loop.cycle() }}{% endfor %}".to_owned(),
        // Recursion for each token.
        nested("(", "a", ")", 30_000).replace("((", "{{ (("),
        format!("{{{{ {} }}}}", nested("(", "a", ")", 99)),
        format!("{{{{ {}a }}}}", "not ".repeat(15_000)),
        format!("{{{{ {}1 }}}}", "-".repeat(60_000)),
        format!("{{{{ a{} }}}}", "~a".repeat(30_000)),
        format!("{{{{ a{} }}}}", "|trim".repeat(12_000)),
        format!("{{{{ a{} }}}}", ".a".repeat(30_000)),
        format!("{{{{ a{} }}}}", " if a".repeat(12_000)),
        format!("{{{{ {} }}}}", "[".repeat(60_000)),
        format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(5_000)),
        nested("{% if a %}", "", "{% endif %}", 3_000),
        "{{".repeat(32_000),
        "{%".repeat(32_000),
        "{#".repeat(32_000),
        "{% raw %}".repeat(7_000),
    ]
}

#[test]
fn hostile_templates_end_with_an_error() {
    let long = MARKER.repeat(2_500);
    let names: Vec<_> = (0..2_000).map(|i| format!("f{i}")).collect();
    let mut fields: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), b"x".as_slice())).collect();
    fields.push(("a", long.as_bytes()));
    for text in hostile() {
        let started = Instant::now();
        let shown = &text[..text.len().min(60)];
        let message = render(&text, &fields).expect_err(shown);
        assert!(started.elapsed() < QUICKLY, "{shown} took {:?}", started.elapsed());
        assert!(message.len() < 600 && !message.contains(MARKER), "{shown}: {message}");
    }
    let text = "x".repeat(TEXT_LIMIT + 1);
    assert_eq!(render(&text, &[]), Err("is longer than 65536 bytes".to_owned()));
}

#[test]
fn the_deepest_accepted_templates_fit_a_small_stack() {
    let deep = [
        format!("{{{{ {}a }}}}", "not ".repeat(198)),
        format!("{{{{ a{} }}}}", "~a".repeat(99)),
        format!("{{{{ a{} }}}}", "|trim".repeat(99)),
        format!("{{{{ {}a{} }}}}", "(".repeat(70), ")".repeat(70)),
        format!("{{{{ {}a{} }}}}", "not (".repeat(65), ")".repeat(65)),
        format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(99)),
        format!("{}{}", "{% if a %}".repeat(140), "{% endif %}".repeat(140)),
        format!("{}{}{}", "{% for n in fields %}".repeat(140), "a", "{% endfor %}".repeat(140)),
    ];
    let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(move || {
        for text in deep {
            let made = render(&text, &[("a", b"x")]);
            assert!(made.is_ok(), "{:.40}: {made:?}", text);
        }
    });
    thread.unwrap().join().unwrap();
}

/// Templates that fail after they have read the value.
const FAILING: [&str; 16] = [
    "{{ binary | replace(a, a) }}",
    "{{ a | replace(a, a ~ a) | b64decode }}",
    "{{ a | b64decode }}",
    "{{ (a ~ '\n') | pgpass }}",
    "{{ (a ~ '\\u0000') | shell }}",
    "{{ (a ~ '\\u0001') | xml }}",
    "{{ fields[a] }}",
    "{{ a ~ binary }}",
    "{{ binary | json }}",
    "{{ a ~ fields }}",
    "{% set b = a ~ a %}{% for n in fields %}{% for m in fields %}{% set c = b ~ fields[m] %}{% endfor %}{{ x }}{% endfor %}",
    "{% if x is defined or a == a %}{{ x }}{% endif %}",
    "{% for n, v in fields|items %}{{ fields[v] }}{% endfor %}",
    "{% set b | b64decode %}{{ a }}!{% endset %}",
    "{{ a in fields and fields in a }}{{ fields in a }}",
    "{{ (a | upper | lower | json ~ '\n') | mycnf | pgpass }}{{ binary }}",
];

proptest! {
    #[test]
    fn each_filter_writes_the_output_of_its_rule(value in any::<String>()) {
        for (name, rule) in RULES {
            let mut expected = SecretBuffer::default();
            let expected = rule(&value, &mut expected).map(|()| expected.finish().expose_text().unwrap().to_owned());
            let made = render(&format!("{{{{ password|{name} }}}}."), &[("password", value.as_bytes())]);
            match expected {
                Ok(expected) => prop_assert_eq!(made, Ok(format!("{expected}."))),
                Err(Unrepresentable(what)) => {
                    let message = made.unwrap_err();
                    prop_assert!(message.starts_with("line 1, column 13: the value contains ") && message.contains(what), "{}", message);
                }
            }
        }
    }

    #[test]
    fn base64_reads_back(value in any::<Vec<u8>>()) {
        let made = render("{{ a | b64encode | b64decode | b64encode }}", &[("a", &value)]).unwrap();
        let once = render("{{ a | b64encode }}", &[("a", &value)]).unwrap();
        prop_assert_eq!(made, once);
    }

    #[test]
    fn no_error_shows_a_value(around in "[a-z \n\"'\\\\$]{0,20}", which in 0..FAILING.len()) {
        let value = format!("{around}{MARKER}{around}\n!");
        let message = render(FAILING[which], &[("a", value.as_bytes()), ("binary", b"\xff")]).unwrap_err();
        prop_assert!(!message.contains("marker") && !message.contains("MARKER"), "{}", message);
    }

    #[test]
    fn no_text_causes_a_panic(pieces in proptest::collection::vec(prop_oneof![
        "\\PC{0,6}",
        proptest::sample::select(vec![
            "{{", "}}", "{%", "%}", "{#", "#}", "-", "if ", "elif ", "else ", "endif ", "for ", "in ", "endfor ", "set ",
            "endset ", "fields", "|items", "loop", ".", "[", "]", "(", ")", "'", "\"", "~", "|json", "|default", "is defined",
            " not ", " and ", "==", "a", "1", ",", "=", "{", "}", "raw", "endraw", "\n", " ", "\\",
        ]).prop_map(str::to_owned),
    ], 0..40)) {
        let text = pieces.concat();
        let message = render(&text, &[("a", MARKER.as_bytes())]);
        prop_assert!(!message.is_err_and(|message| message.contains(MARKER)));
    }
}
