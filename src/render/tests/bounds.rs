//! What a credential may take is checked before it is copied, and each message names the field and the bound.

use super::*;
use crate::formats::connection::CONNECTION_LIMIT;

/// `f0=key, f1=key, …`
fn one_key_under(names: usize, key: &str) -> String {
    (0..names).map(|index| format!("f{index}={key}")).collect::<Vec<_>>().join(",")
}

/// Renders a connection to `hosts`, which may be a list, in a format for PostgreSQL.
fn connect_with(
    format: &str,
    more: &[(&str, &str)],
    secret: &[(&str, &[u8])],
) -> Result<BTreeMap<String, Vec<u8>>, String> {
    render(&[&[("db.format", format), ("db.engine", "postgresql")], more].concat(), secret)
}

fn error<T: std::fmt::Debug>(result: Result<T, String>) -> String {
    result.unwrap_err()
}

fn list(count: usize, item: &str, delimiter: &str) -> String {
    vec![item; count].join(delimiter)
}

#[test]
fn a_connection_has_up_to_64_hosts() {
    for format in ["pgpass", "uri", "libpq"] {
        let connect = |count| {
            connect_with(format, &[], &[("host", list(count, "a", ",").as_bytes()), ("password", b"x")])
        };
        assert!(connect(64).is_ok(), "{format}");
        let message = error(connect(65));
        let expected = "credential db: with field host, the connection has more than 64 hosts: remove some from that field";
        assert_eq!(message, expected, "{format}");
    }
}

#[test]
fn a_uri_with_too_many_hosts_is_named_in_the_message() {
    let uri = |hosts| {
        let uri = format!("postgresql://app:x@{}/db?sslmode=require", list(hosts, "a", ","));
        render(&[("db.format", "libpq")], &[("uri", uri.as_bytes())])
    };
    assert!(uri(64).is_ok());
    assert!(error(uri(65)).contains("with field uri, the connection has more than 64 hosts"));
}

#[test]
fn a_connection_has_up_to_256_options_of_all_fields_together() {
    let options =
        ["sslmode=require", "connect_timeout=1", "keepalives=1", "keepalives_idle=1", "gssencmode=disable"];
    let connect = |count: usize| {
        let keys = format!("host,options,{}", one_key_under(252, "mode"));
        let options = options[..count].join("&");
        connect_with(
            "uri",
            &[("db.keys", &keys)],
            &[("host", b"h"), ("mode", b"x"), ("options", options.as_bytes())],
        )
    };
    connect(4).unwrap();
    assert!(error(connect(5)).contains("with field options, the connection has more than 256 options"));
    // Fields of the annotations alone.
    let keys = format!("host,{}", one_key_under(200, "mode"));
    let literals = (0..57).map(|index| format!("s{index}=x")).collect::<Vec<_>>().join(",");
    let named =
        connect_with("uri", &[("db.keys", &keys), ("db.set", &literals)], &[("host", b"h"), ("mode", b"x")]);
    assert!(error(named).contains("with field s56, the connection has more than 256 options"));
}

#[test]
fn the_values_of_a_connection_have_a_bound_together() {
    let large = vec![b'x'; CONNECTION_LIMIT / 4];
    let names = |count| format!("host,{}", one_key_under(count, "big"));
    let connect =
        |count| connect_with("uri", &[("db.keys", &names(count))], &[("host", b"h"), ("big", &large)]);
    assert!(connect(3).is_ok());
    let message = error(connect(5));
    assert!(
        message.contains("the connection takes more than 1048576 bytes: remove hosts or options"),
        "{message}"
    );
}

#[test]
fn a_file_of_a_connection_has_a_bound() {
    // The password is written for each host, and encoded.
    let password = vec![b'x'; CONNECTION_LIMIT / 16];
    let hosts = |count| list(count, "a", ",");
    let connect = |count, password: &[u8]| {
        connect_with("pgpass", &[], &[("host", hosts(count).as_bytes()), ("password", password)])
    };
    assert!(connect(15, &password).is_ok());
    assert!(error(connect(16, &password)).contains("the connection takes more than 1048576 bytes"));
    let encoded =
        connect_with("uri", &[], &[("host", b"h"), ("password", &vec![b'/'; CONNECTION_LIMIT / 2])]);
    assert!(error(encoded).contains("the connection takes more than 1048576 bytes"));
}

/// Renders a credential `db` where the others leave this many bytes.
fn render_into(room: usize, annotations: &[(&str, &str)], secret: &[(&str, &[u8])]) -> Result<Size, String> {
    let credentials = credentials(&[&[("db.secret", "s")], annotations].concat());
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(secret)))]);
    let taken = Size { bytes: BUNDLE_LIMIT - room, files: 0 };
    let rendered = render_beside(taken, BUNDLE_LIMIT, &credentials, &sources);
    rendered.map(|rendered| Size::of(&rendered.bundle)).map_err(|errors| errors.to_string())
}

#[test]
fn one_key_under_many_names_counts_for_each_name() {
    let large = vec![b'x'; 1000];
    for format in ["files", "env", "dotenv", "json", "yaml", "properties"] {
        let keys = one_key_under(256, "big");
        let annotations = [("db.format", format), ("db.keys", &keys)];
        let size = render_into(300_000, &annotations, &[("big", &large)]).unwrap();
        assert!((256_000..270_000).contains(&size.bytes), "{format}: {size:?}");
        for room in [0, 255_999] {
            let message = error(render_into(room, &annotations, &[("big", &large)]));
            assert!(
                message.contains("credential db: ") && message.contains("limit of 16777216 bytes"),
                "{message}"
            );
        }
    }
}

#[test]
fn names_delimiters_and_escapes_count_too() {
    for (format, size) in [("json", 10 * 6 + 14), ("yaml", 10 * 4 + 6), ("properties", 10 * 6 + 3)] {
        let secret: &[(&str, &[u8])] = &[("a", &[1; 10])];
        let written = render_into(100, &[("db.format", format)], secret).unwrap();
        assert_eq!(render_into(written.bytes, &[("db.format", format)], secret), Ok(written), "{format}");
        assert!(written.bytes >= size - 10, "{format}: {written:?}");
        let message = error(render_into(written.bytes - 1, &[("db.format", format)], secret));
        assert!(message.contains("exceed the limit of 16777216 bytes"), "{message}");
    }
}

#[test]
fn a_connection_and_a_template_count_too() {
    let secret: &[(&str, &[u8])] = &[("host", b"h"), ("password", b"x")];
    for annotations in [
        &[("db.format", "pgpass")][..],
        &[("db.format", "uri"), ("db.engine", "postgresql")],
        &[("db.format", "uri"), ("db.engine", "postgresql"), ("db.variable", "A,B")],
        &[("db.template", "{{ host }}")],
    ] {
        let written = render_into(1000, annotations, secret).unwrap();
        assert_eq!(render_into(written.bytes, annotations, secret), Ok(written), "{annotations:?}");
        let message = error(render_into(written.bytes - 1, annotations, secret));
        assert!(message.contains("exceed the limit of 16777216 bytes"), "{message}");
    }
}

#[test]
fn the_bound_is_that_of_all_credentials_together() {
    let two = credentials(&[("a.secret", "s"), ("b.secret", "s"), ("b.format", "json")]);
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(PLAIN)))]);
    let render = |bytes, files| {
        let taken = Size { bytes: BUNDLE_LIMIT - bytes, files: FILE_LIMIT - files };
        render_beside(taken, BUNDLE_LIMIT, &two, &sources).map(|_| ()).map_err(|errors| errors.to_string())
    };
    let bundle = bundle(&two, &sources).unwrap();
    let size = Size::of(&bundle);
    assert_eq!(render(size.bytes, size.files), Ok(()));
    for (bytes, files, limit) in
        [(size.bytes - 1, size.files, "16777216 bytes"), (size.bytes, size.files - 1, "10000 files")]
    {
        let message = error(render(bytes, files));
        let beginning =
            "credential b: with this credential, the files of all credentials exceed the limit of ";
        assert!(message.starts_with(&format!("{beginning}{limit}")), "{message}");
    }
}

#[test]
fn errors_of_other_credentials_are_reported_beside_one_that_is_too_large() {
    let two = credentials(&[("a.secret", "s"), ("a.keys", "none"), ("b.secret", "s")]);
    let large = vec![b'x'; BUNDLE_LIMIT + 1];
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(&[("big", &large)])))]);
    let errors = bundle(&two, &sources).unwrap_err();
    assert!(errors.is_too_large() && errors.0.len() == 2, "{errors}");
}

#[test]
fn the_parts_of_a_shared_file_are_joined_once() {
    let names: Vec<_> = (0..20).map(|index| format!("c{index:02}")).collect();
    let annotations: Vec<_> = names
        .iter()
        .flat_map(|name| {
            [("secret", "s"), ("format", "pgpass"), ("path", "pgpass")]
                .map(|(key, value)| (format!("{name}.{key}"), value))
        })
        .collect();
    let hosts: Vec<_> = names.iter().map(|name| (format!("{name}.set"), format!("host={name}"))).collect();
    let hosts = hosts.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let annotations: Vec<_> =
        annotations.iter().map(|(key, value)| (key.as_str(), *value)).chain(hosts).collect();
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(&[("password", b"x")])))]);
    let bundle = bundle(&credentials(&annotations), &sources).unwrap();
    let files: Vec<_> = bundle.values().map(|file| file.content.expose_text().unwrap()).collect();
    let lines = names.iter().map(|name| format!("{name}:*:*:*:x\n"));
    assert_eq!(files, [lines.collect::<String>()]);
}

#[test]
fn the_templates_of_a_pod_share_their_work_equally() {
    let annotations: Vec<_> = (0..8)
        .flat_map(|index| {
            [(format!("c{index}.secret"), "s"), (format!("c{index}.template"), "{% set x = big ~ big %}")]
        })
        .collect();
    let annotations: Vec<_> = annotations.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    let all = credentials(&annotations);
    assert_eq!(work_share(&all), template::TOTAL_WORK_LIMIT / 8);
    assert_eq!(work_share(&all[..1]), template::TOTAL_WORK_LIMIT / 4, "one template has its own limit");
    let value = vec![b'x'; 1000];
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(&[("big", &value)])))]);
    let render = |work| {
        render_beside(Size::default(), work, &all, &sources).map(|_| ()).map_err(|errors| errors.0.len())
    };
    assert_eq!(render(2000), Ok(()));
    assert_eq!(render(1999), Err(8), "each on its own");
}

#[test]
fn the_templates_of_config_maps_share_the_length_of_their_texts() {
    let text = "x".repeat(64 * 1024);
    let sources = |length: usize| {
        Sources::from([
            (object(Kind::Secret, "s"), Some(data(PLAIN))),
            (object(Kind::ConfigMap, "t"), Some(data(&[("t", &text.as_bytes()[..length])]))),
        ])
    };
    for (templates, limit) in [(1, 65_536), (32, 65_536), (64, 32_768), (128, 16_384)] {
        let annotations: Vec<_> = (0..templates)
            .flat_map(|index| [(format!("c{index}.secret"), "s"), (format!("c{index}.template-from"), "t/t")])
            .collect();
        let annotations: Vec<_> = annotations.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        let all = credentials(&annotations);
        assert!(check_templates(&all, &sources(limit)).is_ok(), "{templates}");
        if limit < text.len() {
            let errors = check_templates(&all, &sources(limit + 1)).unwrap_err();
            assert_eq!(errors.0.len(), templates);
            let message = format!("credential c0: ConfigMap prod/t, key t: is longer than {limit} bytes");
            assert_eq!(errors.0[0].to_string(), message);
        }
    }
}
