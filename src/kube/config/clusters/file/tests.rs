use proptest::prelude::*;

use super::*;

const SAMPLE: &str = "\
clusters:
  - id: prod-us-east-1
    name: Production US East
    environment: prod
    region: us-east-1
    auth_method: kubeconfig
    kubeconfig_path: prod.kubeconfig
    kubeconfig_context: prod
    qps: 50
    burst: 100
    timeout: 30s
  - id: hub
    auth_method: service_account
    api_server_url: https://k8s-api.example.com:6443
    service_account_token_file: /var/run/secrets/hub/token
    tls_config: {insecure: false, ca_file: hub-ca.crt, cert_file: client.crt, key_file: /k/client.key, server_name: api}
  - {id: here, auth_method: in_cluster, qps: 0, burst: 1}
  - {id: t1, auth_method: token, api_server_url: 'https://t', token: test-token-1, tls_config: {insecure: yes}}
  - {id: t2, auth_method: token, api_server_url: 'https://t/path', token_file: t2.token, qps: .5}
default_namespace: default
resync_period: 10m
";

fn read(text: &str) -> Result<ClustersFile, Error> {
    parse(text.as_bytes(), Path::new("/etc/podcreds/clusters.yaml"))
}

/// What is wrong, without the name of the file.
fn problems(text: &str) -> Vec<String> {
    match read(text) {
        Err(Error::Values { problems, .. }) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

/// What is wrong with one cluster that has these keys beside an id.
fn of_one(keys: &str) -> Vec<String> {
    let lead = "line 1, column 13: clusters[0] (id \"a\").";
    problems(&format!("clusters: [ {{id: a, {keys}}}]"))
        .iter()
        .map(|problem| {
            let without_place = problem.split_once(": ").map_or(problem.as_str(), |(_, rest)| rest);
            problem
                .strip_prefix(lead)
                .unwrap_or(without_place)
                .trim_start_matches("clusters[0] (id \"a\")")
                .to_owned()
        })
        .collect()
}

#[test]
fn the_whole_vocabulary_is_read() {
    let file = read(SAMPLE).unwrap();
    assert_eq!(file.default_namespace.unwrap().to_string(), "default");
    assert_eq!(file.resync_period, Some(Duration::from_secs(600)));
    let [prod, hub, here, t1, t2] = file.clusters.try_into().unwrap();

    assert_eq!(prod.id.as_str(), "prod-us-east-1");
    assert_eq!(prod.labels.name.as_deref(), Some("Production US East"));
    assert_eq!(prod.labels.environment.as_deref(), Some("prod"));
    assert_eq!(prod.labels.region.as_deref(), Some("us-east-1"));
    assert_eq!((prod.qps, prod.burst, prod.timeout), (Some(50.0), 100, Some(Duration::from_secs(30))));
    let Method::Kubeconfig { path, context } = prod.method else { panic!("{:?}", prod.method) };
    assert_eq!(
        (path.as_path(), context.as_deref()),
        (Path::new("/etc/podcreds/prod.kubeconfig"), Some("prod"))
    );

    assert_eq!((hub.qps, hub.burst, hub.timeout), (Some(DEFAULT_QPS), DEFAULT_BURST, None));
    assert_eq!(hub.labels, Labels::default());
    let Method::ServiceAccount { server, token_file, tls } = hub.method else { panic!("{:?}", hub.method) };
    assert_eq!(server.to_string(), "https://k8s-api.example.com:6443");
    assert_eq!(token_file, Path::new("/var/run/secrets/hub/token"));
    assert_eq!(
        tls,
        Tls {
            insecure: false,
            ca_file: Some("/etc/podcreds/hub-ca.crt".into()),
            client_certificate: Some(("/etc/podcreds/client.crt".into(), "/k/client.key".into())),
            server_name: Some("api".into()),
        }
    );

    assert!(matches!(here.method, Method::InCluster));
    assert_eq!((here.qps, here.burst), (None, 1));
    let shown = format!("{t1:?}");
    let Method::Token { token: TokenFrom::Inline(token), tls, .. } = t1.method else {
        panic!("{:?}", t1.method)
    };
    assert!(token.expose() == b"test-token-1" && !shown.contains("test-token") && tls.insecure);
    let Method::Token { server, token: TokenFrom::File(path), tls } = t2.method else {
        panic!("{:?}", t2.method)
    };
    assert_eq!(
        (server.to_string().as_str(), path.as_path()),
        ("https://t:443/path", Path::new("/etc/podcreds/t2.token"))
    );
    assert_eq!((tls, t2.qps), (Tls::default(), Some(0.5)));
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_place() {
    let text = "\
clusters:
- id: a
  auth_metod: in_cluster
  qps: fast
- name: no id
  auth_method: service_account
  tls_config: {ca: x}
- id: a
  auth_method: kubeconfig
  token: test-token-1
- id: a/b
  auth_method: in_cluster
default_namespace: A_B
resync: 10m
";
    let found = problems(text);
    assert_eq!(
        found,
        [
            "line 2, column 3: clusters[0] (id \"a\").auth_method: is missing: write kubeconfig, in_cluster, service_account or token",
            "line 3, column 3: clusters[0] (id \"a\"): key \"auth_metod\" is unknown; did you mean \"auth_method\"?",
            "line 4, column 8: clusters[0] (id \"a\").qps: must be a number, not text: write it without quotes",
            "line 5, column 3: clusters[1].id: is missing",
            "line 5, column 3: clusters[1].api_server_url: is missing",
            "line 5, column 3: clusters[1].service_account_token_file: is missing",
            "line 7, column 16: clusters[1].tls_config: key \"ca\" is unknown",
            "line 8, column 3: clusters[2] (id \"a\").kubeconfig_path: is missing",
            "line 8, column 7: clusters[2] (id \"a\").id: stands there twice, first at line 2, column 7",
            "line 10, column 3: clusters[2] (id \"a\").token: belongs to auth_method token, and this one is kubeconfig",
            "line 11, column 7: clusters[3].id: \"a/b\" is no id of a cluster: letters, digits, `-`, `_` and `.`, at most 63, with a letter or digit at both ends",
            "line 13, column 20: default_namespace: \"A_B\" is no namespace: lower-case letters, digits and `-`, with a letter or digit at both ends",
            "line 14, column 1: the document: key \"resync\" is unknown",
        ]
    );
    let message = read(text).unwrap_err().to_string();
    assert!(
        message.starts_with("clusters file /etc/podcreds/clusters.yaml: 13 errors:\n  line 2,"),
        "{message}"
    );
    assert!(!message.contains("test-token"), "{message}");
}

#[test]
fn a_missing_method_is_guessed_by_the_other_keys() {
    for (keys, method) in [
        ("kubeconfig_path: x", "auth_method: kubeconfig"),
        ("service_account_token_file: x, api_server_url: 'https://a'", "auth_method: service_account"),
        ("token: x, api_server_url: 'https://a'", "auth_method: token"),
        ("api_server_url: 'https://a'", "auth_method: service_account or auth_method: token"),
        ("qps: 1", "kubeconfig, in_cluster, service_account or token"),
    ] {
        assert_eq!(of_one(keys), [format!("auth_method: is missing: write {method}")], "{keys}");
    }
    assert_eq!(
        of_one("auth_method: incluster"),
        [
            ".auth_method: \"incluster\" is unknown: write kubeconfig, in_cluster, service_account or token; did you mean \"in_cluster\"?"
        ]
    );
}

#[test]
fn what_does_not_go_together_is_refused() {
    let token = "auth_method: token, api_server_url: 'https://a'";
    for (keys, problem) in [
        (
            "auth_method: in_cluster, api_server_url: 'https://a'",
            ".api_server_url: belongs to auth_method service_account, and this one is in_cluster",
        ),
        (
            &format!("{token}, token: a, token_file: b"),
            ".token_file: does not go with token: remove one of them",
        ),
        (token, "token: is missing: write token or token_file"),
        (&format!("{token}, token: ''"), ".token: is missing"),
        (&format!("{token}, token: 12345"), ".token: must be text, not a number: put it in quotes"),
        (
            &format!("{token}, token: a, tls_config: {{insecure: true, ca_file: b}}"),
            ".tls_config.insecure: does not go with ca_file: remove one of them",
        ),
        (
            &format!("{token}, token: a, tls_config: {{cert_file: b}}"),
            ".tls_config.cert_file: needs key_file: a certificate and its key come together",
        ),
        (
            &format!("{token}, token: a, tls_config: {{key_file: b}}"),
            ".tls_config.key_file: needs cert_file: a certificate and its key come together",
        ),
        (&format!("{token}, token: a, tls_config: [b]"), ".tls_config: must be a mapping, not a list"),
        (
            "auth_method: token, token: a, api_server_url: 'http://a'",
            ".api_server_url: http:// is not allowed, because it would send the token in clear text; use https://",
        ),
    ] {
        assert_eq!(of_one(keys), [problem], "{keys}");
    }
}

#[test]
fn limits_and_times_are_checked() {
    for (keys, problem) in [
        ("qps: -1", ".qps: must be 0, which is no limit, or 0.001 and more"),
        ("qps: 1e-300", ".qps: must be 0, which is no limit, or 0.001 and more"),
        ("qps: .inf", ".qps: must be a finite number"),
        ("burst: 0", ".burst: must be a whole number from 1 to 4294967295"),
        ("burst: 1.5", ".burst: must be a whole number that is not negative"),
        ("burst: 4294967296", ".burst: must be a whole number from 1 to 4294967295"),
        ("timeout: 30", ".timeout: must be text such as 30s"),
        ("timeout: 0s", ".timeout: must be longer than zero"),
        ("name: \"a\\nb\"", ".name: must be at most 128 characters on one line, without control characters"),
        (
            &format!("region: {}", "x".repeat(129)),
            ".region: must be at most 128 characters on one line, without control characters",
        ),
    ] {
        assert_eq!(of_one(&format!("auth_method: in_cluster, {keys}")), [problem], "{keys}");
    }
    assert!(
        read(&format!("clusters: [{{id: a, auth_method: in_cluster, name: {}}}]", "ä".repeat(128))).is_ok()
    );
}

#[test]
fn a_file_names_one_to_a_hundred_clusters() {
    let many = |count: usize| {
        let entries: String = (0..count).map(|n| format!("{{id: c{n}, auth_method: in_cluster}},")).collect();
        format!("clusters: [{entries}]")
    };
    assert_eq!(read(&many(CLUSTER_LIMIT)).unwrap().clusters.len(), CLUSTER_LIMIT);
    assert_eq!(
        problems(&many(CLUSTER_LIMIT + 1)),
        ["line 1, column 11: clusters: must name at most 100 clusters, not 101"]
    );
    // Those beyond are not looked at.
    assert_eq!(problems(&many(CLUSTER_LIMIT + 1).replace("c100", "c0")).len(), 1);
    for text in ["clusters: []", "{}", "clusters:"] {
        assert!(problems(text)[0].ends_with("clusters: must name at least one cluster"), "{text}");
    }
    assert_eq!(problems(""), ["line 1, column 1: the document: is missing"]);
    assert_eq!(problems("clusters: [null]"), ["line 1, column 12: clusters[0]: is missing"]);
    assert_eq!(problems("[]"), ["line 1, column 1: the document: must be a mapping, not a list"]);
    assert!(
        read("clusters: [")
            .unwrap_err()
            .to_string()
            .starts_with("clusters file /etc/podcreds/clusters.yaml: line ")
    );
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(
        lines in proptest::collection::vec(
            (0_usize..4, "(clusters|id|qps|burst|timeout|auth_method|token|tls_config|insecure|name|x)?", "(: |: \\[|- |\\{|: \\{)?",
             "(a|1|-1|null|yes|token|kubeconfig|in_cluster|'|\"|&a|\\*a|30s|https://a)?[\\]}]{0,2}"), 0..12),
    ) {
        let text: String =
            lines.iter().map(|(indent, key, sign, value)| format!("{}{key}{sign}{value}\n", " ".repeat(*indent))).collect();
        let _ = read(&text);
        let _ = read(&format!("clusters:\n- id: a\n  auth_method: token\n{}", text.replace('\n', "\n  ")));
    }
}
