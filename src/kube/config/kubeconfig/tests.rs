use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::raw::File;
use super::*;
use crate::kube::{Interactive, PemSource, PluginVersion};

/// A kubeconfig with one context and these lines for its cluster and its user.
fn with(cluster: &str, user: &str) -> String {
    format!(
        "current-context: x\ncontexts:\n- name: x\n  context: {{cluster: c, user: u, namespace: apps}}\n\
         clusters:\n- name: c\n  cluster: {{server: 'https://10.0.0.1:6443', {cluster}}}\n\
         users:\n- name: u\n  user: {{{user}}}\n"
    )
}

fn read(text: &str) -> File {
    parse(text.as_bytes(), Path::new("/etc/k/config")).unwrap()
}

fn select(text: &str) -> Result<ResolvedConfig, Error> {
    merge(vec![read(text)]).select(&Overrides::default())
}

fn user(user: &str) -> Result<ResolvedConfig, Error> {
    select(&with("", user))
}

fn refusal(result: Result<ResolvedConfig, Error>) -> String {
    result.unwrap_err().to_string()
}

fn path(material: Option<&PemSource>) -> &Path {
    match material {
        Some(PemSource::File(path)) => path,
        other => panic!("{other:?}"),
    }
}

fn inline(material: Option<&PemSource>) -> &[u8] {
    match material {
        Some(PemSource::Inline(bytes)) => bytes.expose(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_token_and_an_authority_give_access() {
    let pem = STANDARD.encode("test-pem");
    let cluster =
        format!("certificate-authority-data: {pem}, tls-server-name: api, proxy-url: 'http://u:test-pw@p:1'");
    let access = select(&with(&cluster, "token: test-token-1, tokenFile: ./t, unknown: {a: 1}")).unwrap();
    assert_eq!(access.context.as_deref(), Some("x"));
    assert_eq!(access.namespace.as_ref().unwrap().to_string(), "apps");
    assert_eq!(access.server.to_string(), "https://10.0.0.1:6443");
    assert_eq!(access.server_name.as_deref(), Some("api"));
    assert_eq!(inline(access.authority.as_ref()), b"test-pem");
    assert_eq!(access.proxy_url.as_ref().unwrap().expose(), b"http://u:test-pw@p:1");
    assert_eq!(access.token.as_ref().unwrap().expose(), b"test-token-1");
    assert_eq!(access.token_file.as_deref(), Some(Path::new("/etc/k/t")));
    assert!(!access.insecure && access.client_certificate.is_none() && access.exec.is_none());
    let shown = format!("{access:?}");
    assert!(
        !["test-token", "test-pem", "test-pw", &pem].iter().any(|secret| shown.contains(secret)),
        "{shown}"
    );
}

#[test]
fn base64_may_contain_line_breaks() {
    let text = with("certificate-authority-data: \"dGVz\\ndA==\\n\"", "");
    assert_eq!(inline(select(&text).unwrap().authority.as_ref()), b"test");
    for wrong in ["/etc/test-secret.crt", "dGVz dA==", "dGVzdA", "-_-_"] {
        let error =
            parse(with("", &format!("client-key-data: {wrong}")).as_bytes(), Path::new("k")).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("users[0].user.client-key-data: must be PEM in base64"), "{shown}");
        assert!(!shown.contains(wrong), "{shown}");
    }
}

#[test]
fn relative_paths_are_resolved_against_the_directory_of_their_file() {
    let access = select(&with(
        "certificate-authority: ../ca.crt",
        "client-certificate: pki/./a.crt, client-key: /a/../b.key, exec: {command: ./bin/../get, \
         apiVersion: client.authentication.k8s.io/v1beta1}",
    ))
    .unwrap();
    let (certificate, key) = access.client_certificate.unwrap();
    assert_eq!(path(access.authority.as_ref()), Path::new("/etc/ca.crt"));
    assert_eq!(path(Some(&certificate)), Path::new("/etc/k/pki/a.crt"));
    assert_eq!(path(Some(&key)), Path::new("/b.key"));
    assert_eq!(access.exec.unwrap().plugin.command, Path::new("/etc/k/get"));

    let text = with("", "exec: {command: aws, apiVersion: client.authentication.k8s.io/v1beta1}");
    assert_eq!(select(&text).unwrap().exec.unwrap().plugin.command, Path::new("aws"));
    // A file named without a directory is in the working directory, but its command must not be searched in PATH.
    let text = with("", "exec: {command: ./get, apiVersion: client.authentication.k8s.io/v1beta1}");
    let access =
        merge(vec![parse(text.as_bytes(), Path::new("config")).unwrap()]).select(&Overrides::default());
    assert!(access.unwrap().exec.unwrap().plugin.command.is_absolute());
}

#[test]
fn exec_plugins_are_read_with_their_clusters_data() {
    let text = with(
        "certificate-authority: ca.crt, proxy-url: 'socks5://p:1', extensions: [{name: other, extension: 1}, \
         {name: client.authentication.k8s.io/exec, extension: {audience: test-audience, size: 0x10}}]",
        "exec: {command: get-token, args: [--a, 'test-argument'], env: [{name: A, value: test-value}, {name: B}], \
         apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, installHint: install it, \
         provideClusterInfo: true}",
    );
    let access = select(&text).unwrap();
    let shown = format!("{access:?}");
    assert!(
        !["test-argument", "test-value", "test-audience"].iter().any(|value| shown.contains(value)),
        "{shown}"
    );
    let exec = access.exec.unwrap();
    assert_eq!((exec.plugin.version, exec.plugin.interactive), (PluginVersion::V1, Interactive::Never));
    assert_eq!(exec.plugin.args, ["--a", "test-argument"]);
    let env: Vec<_> = exec.plugin.env.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(env, [("A", &b"test-value"[..]), ("B", b"")]);
    assert_eq!(exec.plugin.install_hint.as_deref(), Some("install it"));
    let cluster = exec.cluster.unwrap();
    assert_eq!(cluster.server, "https://10.0.0.1:6443");
    assert_eq!(path(cluster.authority.as_ref()), Path::new("/etc/k/ca.crt"));
    assert_eq!(cluster.proxy_url.unwrap().expose(), b"socks5://p:1");
    assert_eq!(cluster.config.unwrap(), serde_json::json!({"audience": "test-audience", "size": 16}));
    assert_eq!(exec.plugin.version.name(), "client.authentication.k8s.io/v1");

    let access = user("exec: {command: get, apiVersion: client.authentication.k8s.io/v1beta1}").unwrap();
    let exec = access.exec.unwrap();
    assert_eq!(
        (exec.plugin.version, exec.plugin.interactive),
        (PluginVersion::V1Beta1, Interactive::IfAvailable)
    );
    assert!(exec.cluster.is_none() && exec.plugin.args.is_empty() && exec.plugin.env.is_empty());
}

#[test]
fn all_errors_of_an_exec_plugin_are_reported() {
    let error = refusal(user("exec: {env: [{value: test-value}, {name: A=B}], args: [\"\\0\"]}"));
    for part in [
        "exec.apiVersion is missing",
        "exec.command is missing",
        "exec.env[0]",
        "exec.env[1]",
        "exec.args contains NUL",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(error.starts_with("5 errors:\n") && !error.contains("test-value"), "{error}");
    let version = |rest: &str| {
        refusal(user(&format!("exec: {{command: get, apiVersion: client.authentication.k8s.io/{rest}}}")))
    };
    assert!(version("v1alpha1").contains("v1alpha1\": use client.authentication.k8s.io/v1 or"));
    assert!(version("v1").contains("interactiveMode is missing, which v1 requires"));
    assert!(
        version("v1beta1, interactiveMode: never")
            .contains("interactiveMode \"never\": use Never, IfAvailable or Always")
    );
}

#[test]
fn removed_features_are_rejected_with_a_replacement() {
    for (text, remedy) in [
        ("auth-provider: {name: gcp, config: {access-token: test-token-1}}", "gke-gcloud-auth-plugin"),
        ("auth-provider: {name: azure}", "kubelogin convert-kubeconfig"),
        ("auth-provider: {name: oidc}", "oidc-login"),
        ("auth-provider: {}", "use exec"),
        ("username: admin", "use a token"),
        ("password: test-password-1", "API servers have rejected them since Kubernetes 1.19"),
    ] {
        let error = refusal(user(text));
        assert!(error.contains("user \"u\": ") && error.contains(remedy), "{error}");
        assert!(error.starts_with("kubeconfig /etc/k/config, line 9, column 3: "), "{error}");
        assert!(!error.contains("test-"), "{error}");
    }
}

#[test]
fn conflicting_keys_are_rejected() {
    for (cluster, user, reason) in [
        (
            "certificate-authority: a, certificate-authority-data: YQ==",
            "",
            "certificate-authority conflicts with certificate-authority-data",
        ),
        (
            "insecure-skip-tls-verify: true, certificate-authority: a",
            "",
            "insecure-skip-tls-verify conflicts with",
        ),
        ("proxy-url: 'p:3128'", "", "proxy-url must begin with"),
        ("proxy-url: 'http://'", "", "proxy-url must begin with"),
        ("", "client-certificate: a", "client-certificate requires client-key"),
        ("", "client-key-data: YQ==", "client-key requires client-certificate"),
        (
            "",
            "client-certificate: a, client-certificate-data: YQ==, client-key: k",
            "client-certificate conflicts with client-certificate-data",
        ),
        (
            "",
            "client-certificate: a, client-key: k, client-key-data: YQ==",
            "client-key conflicts with client-key-data",
        ),
        ("", "as-uid: '1'", "require as"),
        ("", "as-groups: [a]", "require as"),
        ("", "as-user-extra: {a: [b]}", "require as"),
    ] {
        let error = refusal(select(&with(cluster, user)));
        assert!(error.contains(reason) && !error.contains("errors:"), "{reason}: {error}");
    }
    // `false` and empty texts conflict with nothing.
    assert!(
        select(&with("insecure-skip-tls-verify: false, certificate-authority: a", "client-key: ''")).is_ok()
    );
}

#[test]
fn impersonation_is_read() {
    let access =
        user("as: system:admin, as-uid: '7', as-groups: [a, b], as-user-extra: {scopes: [c], 'x/y': [d, e]}");
    let impersonate = access.unwrap().impersonate.unwrap();
    assert_eq!(impersonate.user, "system:admin");
    assert_eq!(impersonate.uid.as_deref(), Some("7"));
    assert_eq!(impersonate.groups, ["a", "b"]);
    assert_eq!(impersonate.extra["x/y"], ["d", "e"]);
}

#[test]
fn all_wrong_types_are_reported_with_line_and_column() {
    let text = "apiVersion: v1\nclusters:\n- name: c\n  cluster: {server: 1, insecure-skip-tls-verify: 'true'}\nusers:\n- name: u\n  user:\n    token: 12345\n    exec: [a]\ncontexts: {}\n";
    let error = parse(text.as_bytes(), Path::new("/k")).unwrap_err().to_string();
    assert_eq!(
        error,
        "kubeconfig /k: 5 errors:\n  \
         line 4, column 21: clusters[0].cluster.server: must be text, not a number: put it in quotes\n  \
         line 4, column 50: clusters[0].cluster.insecure-skip-tls-verify: must be true or false, not text: write it without quotes\n  \
         line 8, column 12: users[0].user.token: must be text, not a number: put it in quotes\n  \
         line 9, column 11: users[0].user.exec: must be a mapping, not a list\n  \
         line 10, column 11: contexts: must be a list, not a mapping"
    );
    let error = parse(b"a: [\n", Path::new("/k")).unwrap_err().to_string();
    assert!(error.starts_with("kubeconfig /k: line "), "{error}");
}

#[test]
fn a_file_of_another_kind_is_rejected() {
    for text in ["apiVersion: v2\nkind: Config", "apiVersion: v1\nkind: Secret", "[]", "text"] {
        assert!(matches!(parse(text.as_bytes(), Path::new("/k")), Err(Error::Values { .. })), "{text}");
    }
    assert!(parse(b"", Path::new("/k")).is_ok());
}

#[test]
fn a_duplicate_name_in_one_file_is_rejected() {
    for key in ["clusters", "users", "contexts"] {
        let text = format!("{key}:\n- name: a\n- name: b\n- name: a\n");
        let error = parse(text.as_bytes(), Path::new("/k")).unwrap_err().to_string();
        assert_eq!(error, format!("kubeconfig /k: line 4, column 9: {key}[2].name: duplicate name \"a\""));
    }
}

#[test]
fn the_first_file_with_an_entry_provides_all_of_it() {
    let first = read(
        "clusters: [{name: c, cluster: {server: 'https://first:1'}}]\nusers: [{name: u, user: {as: first}}]",
    );
    let second = parse(
        b"current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n\
          clusters: [{name: c, cluster: {server: 'https://second:1', tls-server-name: second}}]\n\
          users: [{name: u, user: {token: test-token-2}}]",
        Path::new("/other/config"),
    )
    .unwrap();
    let third = read("current-context: z");
    let access = merge(vec![first, second, third]).select(&Overrides::default()).unwrap();
    assert_eq!(access.context.as_deref(), Some("x"));
    assert_eq!((access.server.to_string().as_str(), access.server_name), ("https://first:1", None));
    assert!(access.token.is_none() && access.impersonate.unwrap().user == "first");
}

#[test]
fn selected_names_take_precedence_over_the_context() {
    let config = merge(vec![read(
        "current-context: x\n\
         contexts: [{name: x, context: {cluster: c, user: u}}, {name: z, context: {cluster: d, namespace: z}}]\n\
         clusters: [{name: c, cluster: {server: 'https://c:1'}}, {name: d, cluster: {server: 'https://d:1'}}]\n\
         users: [{name: u, user: {as: u}}, {name: v, user: {as: v}}]",
    )]);
    let select = |context: &str, cluster: &str, user: &str| {
        let some = |text: &str| Some(text.to_owned());
        let access = config
            .select(&Overrides { context: some(context), cluster: some(cluster), user: some(user) })
            .unwrap();
        (access.context.unwrap(), access.server.to_string(), access.impersonate.map(|who| who.user))
    };
    let is = |context: &str, server: &str, user: Option<&str>| {
        (context.to_owned(), format!("https://{server}:1"), user.map(str::to_owned))
    };
    assert_eq!(select("", "", ""), is("x", "c", Some("u")));
    assert_eq!(select("z", "", ""), is("z", "d", None));
    assert_eq!(select("z", "c", "v"), is("z", "c", Some("v")));
    assert_eq!(select("", "d", "v"), is("x", "d", Some("v")));
}

#[test]
fn a_cluster_without_a_context_gives_access_without_credentials() {
    let text = "clusters: [{name: c, cluster: {server: 'https://c:1'}}]";
    let wanted = Overrides { cluster: Some("c".into()), ..Overrides::default() };
    let access = merge(vec![read(text)]).select(&wanted).unwrap();
    assert!(access.context.is_none() && access.namespace.is_none() && access.token.is_none());
}

#[test]
fn an_unknown_name_is_reported_with_the_known_ones() {
    let text = "contexts: [{name: prod, context: {cluster: gone, user: u}}, {name: dev, context: {cluster: c, user: me}}, {name: bare}]\n\
                clusters: [{name: c, cluster: {}}]\nusers: [{name: u, user: {}}]";
    let config = merge(vec![read(text), parse(b"", Path::new("/b")).unwrap()]);
    let error = |context: Option<&str>| {
        config
            .select(&Overrides { context: context.map(str::to_owned), ..Overrides::default() })
            .unwrap_err()
            .to_string()
    };
    let files = "in /etc/k/config, /b";
    let contexts = "available: \"bare\", \"dev\", \"prod\"";
    assert_eq!(
        error(None),
        format!("no current-context {files}: select a context with --context; {contexts}")
    );
    assert_eq!(
        error(Some("prdo")),
        format!("context \"prdo\" not found {files}; {contexts}; did you mean \"prod\"?")
    );
    assert_eq!(
        error(Some("prod")),
        format!("cluster \"gone\" not found {files} (named by context \"prod\"); available: \"c\"")
    );
    assert!(error(Some("dev")).starts_with("user \"me\" not found in "));
    assert!(error(Some("bare")).ends_with("context \"bare\": cluster is missing"));
    let many: String = (0..15).map(|number| format!("{{name: c{number:02}}},")).collect();
    let config = merge(vec![read(&format!("contexts: [{many}]"))]);
    assert!(config.select(&Overrides::default()).unwrap_err().to_string().ends_with("\"c09\" and 5 more"));
}

#[test]
fn only_selected_servers_and_namespaces_are_checked() {
    let text = |server: &str, namespace: &str| {
        format!(
            "current-context: x\ncontexts: [{{name: x, context: {{cluster: c, namespace: '{namespace}'}}}}, {{name: other, context: {{namespace: ÄÖ}}}}]\n\
             clusters: [{{name: c, cluster: {{server: '{server}'}}}}]"
        )
    };
    let error = refusal(select(&text("http://c", "A_B")));
    assert!(
        error.contains("2 errors")
            && error.contains("invalid namespace \"A_B\"")
            && error.contains("http:// is not allowed")
    );
    assert!(refusal(select(&text("", ""))).contains("cluster \"c\": server is missing"));
    assert!(select(&text("https://c/k8s/clusters/c-1", "a-b")).is_ok());
}

#[test]
fn files_are_found_as_kubectl_finds_them() {
    let directory = tempfile::tempdir().unwrap();
    let there = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (a, empty, missing) =
        (there("a", "current-context: a"), there("empty", ""), directory.path().join("missing"));

    let list =
        |paths: &[&PathBuf]| load(&LoadingRules::List(paths.iter().map(|path| (*path).clone()).collect()));
    let found = list(&[&missing, &PathBuf::new(), &empty, &a, &a]).unwrap();
    assert_eq!(found.files, [empty.clone(), a.clone()]);
    assert_eq!(found.entries.current_context.as_deref(), Some("a"));
    let error = list(&[&missing]).unwrap_err().to_string();
    assert_eq!(error, format!("no kubeconfig found in {}", missing.display()));
    assert!(list(&[]).is_err());
    assert!(list(&[&a, &directory.path().to_owned()]).unwrap_err().to_string().contains("cannot be read"));

    assert_eq!(load(&LoadingRules::File(a.clone())).unwrap().files, [a]);
    assert!(matches!(load(&LoadingRules::File(missing)), Err(Error::Read { .. })));
    let large = there("large", &" ".repeat(TEXT_LIMIT + 1));
    assert!(load(&LoadingRules::File(large)).unwrap_err().to_string().contains("larger than"));
}
