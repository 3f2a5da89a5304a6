//! Fields from a Service beside those of a Secret.

use super::*;
use crate::object::ServiceData;

/// The data of a fetched Service.
fn service(ports: &[(&str, &str)]) -> ObjectData {
    let ports = ports.iter().map(|(name, number)| ((*name).to_owned(), (*number).into())).collect();
    ObjectData::Service(ServiceData { host: "db.prod.svc".into(), ports })
}

/// Renders a credential `db` from Secret `s` and Service `d`.
fn render_with(
    annotations: &[(&str, &str)],
    secret: &[(&str, &[u8])],
    ports: &[(&str, &str)],
) -> Result<BTreeMap<String, String>, String> {
    let all = [&[("db.secret", "s"), ("db.service", "d")], annotations].concat();
    let sources = Sources::from([
        (object(Kind::Secret, "s"), Some(data(secret))),
        (object(Kind::Service, "d"), Some(service(ports))),
    ]);
    let bundle = bundle(&credentials(&all), &sources).map_err(|errors| errors.to_string())?;
    let text = |file: BundleFile| file.content.expose_text().unwrap().to_owned();
    Ok(bundle.into_iter().map(|(path, file)| (path.to_string(), text(file))).collect())
}

/// Renders the Secret and the Service in format `env`.
fn env(annotations: &[(&str, &str)], ports: &[(&str, &str)]) -> Result<String, String> {
    let all = [&[("db.format", "env")], annotations].concat();
    Ok(render_with(&all, &[("username", b"app")], ports)?.remove("db.env").unwrap())
}

const SEVERAL: &[(&str, &str)] = &[("9187", "1"), ("metrics", "9187"), ("sql", "5432")];

#[test]
fn a_service_completes_a_secret_with_only_user_and_password() {
    let annotations = [("db.format", "uri"), ("db.engine", "postgresql"), ("db.set", "database=orders")];
    let files = render_with(&annotations, PLAIN, &[("", "6432")]).unwrap();
    assert_eq!(files["db.uri"], "postgresql://app:it%27s%20a%20%22test%22%0A@db.prod.svc:6432/orders");
}

#[test]
fn the_port_is_selected_by_name_or_number_or_is_the_only_one() {
    for (chosen, ports, port) in [
        ("d", &[("", "6432")][..], "6432"),
        ("d", &[("sql", "5432")], "5432"),
        ("d:6432", &[("", "6432")], "6432"),
        ("d:sql", SEVERAL, "5432"),
        ("d:5432", SEVERAL, "5432"),
        ("d:9187", SEVERAL, "1"),
    ] {
        let expected = format!("export host='db.prod.svc'\nexport port='{port}'\nexport username='app'\n");
        assert_eq!(env(&[("db.service", chosen)], ports), Ok(expected), "{chosen}");
    }
    assert_eq!(env(&[], &[]).unwrap(), "export host='db.prod.svc'\nexport username='app'\n");
}

#[test]
fn a_port_that_cannot_be_selected_is_an_error_that_lists_the_ports() {
    for (chosen, ports, said) in [
        (
            "d",
            SEVERAL,
            "Service prod/d has several ports (9187, metrics, sql): choose one in .service, for example prod/d:9187",
        ),
        ("d:pg", SEVERAL, "Service prod/d has no port \"pg\"; available: 9187, metrics, sql"),
        ("d:5434", SEVERAL, "Service prod/d has no port \"5434\"; available: 9187, metrics, sql"),
        ("d:pg", &[("", "6432")], "Service prod/d has no port \"pg\"; available: one unnamed port"),
        ("d:pg", &[], "Service prod/d has no port \"pg\"; available: none"),
    ] {
        let message = env(&[("db.service", chosen)], ports).unwrap_err();
        assert!(message.starts_with(&format!("credential db: {said}")), "{message}");
        // Reported once, together with the other problem.
        let message = env(&[("db.service", chosen), ("db.keys", "PGPORT=port, passwd")], ports).unwrap_err();
        assert!(message.contains(said) && message.contains("key passwd not found"), "{message}");
        assert_eq!(message.lines().count(), 2, "{message}");
    }
}

#[test]
fn keys_rename_the_fields_of_a_service_and_exclude_none() {
    for (keys, expected) in [
        ("username", "export host='db.prod.svc'\nexport port='5432'\nexport username='app'\n"),
        ("PGHOST=host, PGPORT=port", "export PGHOST='db.prod.svc'\nexport PGPORT='5432'\n"),
        ("A=port, B=port", "export A='5432'\nexport B='5432'\nexport host='db.prod.svc'\n"),
    ] {
        assert_eq!(env(&[("db.keys", keys)], &[("sql", "5432")]).unwrap(), expected, "{keys}");
    }
    let message = env(&[("db.keys", "PGPORT=port")], &[]).unwrap_err();
    assert_eq!(
        message,
        "credential db: key port not found in Secret prod/s and Service prod/d; available: username, host"
    );
}

#[test]
fn a_field_of_a_secret_and_a_service_is_an_error_with_a_remedy() {
    let secret: &[(&str, &[u8])] = &[("host", b"old"), ("password", b"x")];
    for annotations in [&[][..], &[("db.keys", "host, password")], &[("db.keys", "password, host=password")]]
    {
        let message = render_with(annotations, secret, &[]).unwrap_err();
        let said = "field host comes from Secret prod/s and from Service prod/d: a Service always provides host and port";
        assert!(message.contains(said), "{message}");
    }
    let message = render_with(&[("db.keys", "password"), ("db.set", "port=1")], secret, &[("", "5432")]);
    let said = "field port comes from Service prod/d and from the annotation .set: remove it from .set, or move it to .override";
    assert!(message.unwrap_err().contains(said));
    let helped = render_with(&[("db.keys", "password"), ("db.set", "port=1")], secret, &[]).unwrap();
    assert_eq!((helped["db/host"].as_str(), helped["db/port"].as_str()), ("db.prod.svc", "1"));
}

#[test]
fn an_optional_service_may_be_missing_but_not_its_port() {
    let optional =
        |service| credentials(&[("db.secret", "s"), ("db.service", service), ("db.optional", "true")]);
    let sources = |service| {
        Sources::from([
            (object(Kind::Secret, "s"), Some(data(&[("password", b"x")]))),
            (object(Kind::Service, "d"), service),
        ])
    };
    let (credentials, without) = (optional("d"), sources(None));
    assert!(bundle(&credentials, &without).unwrap().is_empty());
    let reported: Vec<_> = missing_inputs(&credentials, &without).map(|notice| notice.to_string()).collect();
    assert_eq!(reported, ["skipping optional credential db: Service prod/d not found"]);
    for (chosen, message) in [
        ("d:pg", "credential db: Service prod/d has no port \"pg\"; available: "),
        ("d", "credential db: Service prod/d has several ports"),
    ] {
        let (credentials, sources) = (optional(chosen), sources(Some(service(SEVERAL))));
        let said = bundle(&credentials, &sources).unwrap_err().to_string();
        assert!(said.starts_with(message), "{said}");
        assert_eq!(missing_inputs(&credentials, &sources).count(), 0);
    }
}

#[test]
fn an_optional_entry_may_name_the_port_of_a_service_without_ports() {
    let credentials = credentials(&[("db.secret", "s"), ("db.service", "d"), ("db.keys", "H=host, P=port?")]);
    let sources = Sources::from([
        (object(Kind::Secret, "s"), Some(data(&[]))),
        (object(Kind::Service, "d"), Some(service(&[]))),
    ]);
    let rendered = super::super::render(&credentials, &sources).unwrap();
    let reported: Vec<_> = rendered.notices.iter().map(ToString::to_string).collect();
    let expected = "writing credential db without optional field P: key port not found in Secret prod/s and Service prod/d; available: host";
    assert_eq!(reported, [expected]);
    assert_eq!(rendered.bundle.len(), 1);
}

#[test]
fn a_template_of_a_config_map_may_use_the_fields_of_a_service() {
    let base = [("db.secret", "s"), ("db.service", "d"), ("db.template-from", "c/t"), ("db.keys", "H=host")];
    let sources = |template: &[u8]| {
        Sources::from([
            (object(Kind::ConfigMap, "c"), Some(data(&[("t", template)]))),
            (object(Kind::Secret, "s"), Some(data(&[]))),
            (object(Kind::Service, "d"), Some(service(&[("", "1")]))),
        ])
    };
    let credentials = credentials(&base);
    assert!(check_templates(&credentials, &sources(b"{{ H }}:{{ port }}")).is_ok());
    let message = check_templates(&credentials, &sources(b"{{ host }}")).unwrap_err().to_string();
    assert!(message.contains("unknown field \"host\"; available: H, port"), "{message}");
}

#[test]
fn a_file_with_only_the_host_of_a_service_is_an_error() {
    let message =
        render_with(&[("db.format", "env")], &[("user-name", b"app")], &[("", "5432")]).unwrap_err();
    assert!(message.contains("field user-name is not a valid environment variable name"), "{message}");
}
