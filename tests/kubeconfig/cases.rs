//! Difficult cases for a kubeconfig parser. Many result from kubectl's merge rules or from YAML's rules.

use std::fs;

use tempfile::TempDir;

/// Some files and the expected result.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Paths and texts.
    pub(crate) files: &'static [(&'static str, &'static str)],
    /// The files in `KUBECONFIG`.
    pub(crate) list: &'static [&'static str],
    /// `--context`
    pub(crate) context: Option<&'static str>,
    /// A part of podcreds' error, if the files must be rejected.
    pub(crate) refused: Option<&'static str>,
}

const ORDINARY: Case = Case { name: "", files: &[], list: &["a"], context: None, refused: None };

impl Case {
    pub(crate) fn write(&self) -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in self.files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        directory
    }
}

const A: &str = "
clusters: [{name: c, cluster: {server: 'https://a:1', tls-server-name: a}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
users: [{name: u, user: {tokenFile: token, as: a}}]
";
const B: &str = "
current-context: x
clusters:
- {name: c, cluster: {server: 'https://b:1', insecure-skip-tls-verify: true}}
- {name: d, cluster: {server: 'https://d:1/path', proxy-url: 'http://proxy:3128'}}
contexts:
- {name: x, context: {cluster: d, user: u, namespace: from-b}}
- {name: z, context: {cluster: c, user: v, namespace: z}}
users: [{name: u, user: {token: test-token-b}}, {name: v, user: {token: test-token-v}}]
";
const C: &str = "
current-context: z
clusters: [{name: d, cluster: {server: 'https://c:1'}}]
contexts: [{name: z, context: {cluster: d, user: w}}, {name: w, context: {cluster: d, user: w}}]
users: [{name: w, user: {token: test-token-c}}, {name: v, user: {as: c, token: test-token-c}}]
";

pub(crate) const CASES: &[Case] = &[
    Case { name: "same names, other fields", files: &[("a", A), ("b", B)], list: &["a", "b"], ..ORDINARY },
    Case { name: "the other order", files: &[("a", A), ("b", B)], list: &["b", "a"], ..ORDINARY },
    Case { name: "three files", files: &[("a", A), ("b", B), ("c", C)], list: &["c", "b", "a"], ..ORDINARY },
    Case {
        name: "three files, a b c",
        files: &[("a", A), ("b", B), ("c", C)],
        list: &["a", "b", "c"],
        ..ORDINARY
    },
    Case {
        name: "another context",
        files: &[("a", A), ("b", B), ("c", C)],
        list: &["b", "c"],
        context: Some("w"),
        ..ORDINARY
    },
    Case { name: "an empty first file", files: &[("a", ""), ("b", B)], list: &["a", "b"], ..ORDINARY },
    Case {
        name: "a first file with only comments",
        files: &[("a", "# a\n---\n"), ("b", B)],
        list: &["a", "b"],
        ..ORDINARY
    },
    Case { name: "missing files", files: &[("b", B)], list: &["a", "b", "c/d"], ..ORDINARY },
    Case { name: "a file twice", files: &[("a", A), ("b", B)], list: &["a", "b", "a"], ..ORDINARY },
    Case {
        name: "an empty current context first",
        files: &[("a", "current-context: ''"), ("b", B)],
        list: &["a", "b"],
        ..ORDINARY
    },
    Case {
        name: "an entry without fields first",
        files: &[("a", "users: [{name: u}]"), ("b", B)],
        list: &["a", "b"],
        ..ORDINARY
    },
    Case {
        name: "relative paths in several directories",
        files: &[
            (
                "one/config",
                "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n\
                 clusters: [{name: c, cluster: {server: 'https://a', certificate-authority: ../pki/./ca.crt}}]",
            ),
            ("two/deep/config", "users: [{name: u, user: {client-certificate: crt, client-key: ../key}}]"),
            ("pki/ca.crt", "test-ca"),
            ("one/crt", "test-wrong"),
            ("two/deep/crt", "test-certificate"),
            ("two/key", "test-key"),
        ],
        list: &["one/config", "two/deep/config"],
        ..ORDINARY
    },
    Case {
        name: "JSON",
        files: &[(
            "a",
            "{\n\t\"apiVersion\": \"v1\", \"kind\": \"Config\",\n\t\"current-context\": \"x\\u0021\",\n\t\"contexts\":[{\"name\":\"x!\",\"context\":{\"cluster\":\"c\",\"user\":\"u\"}}],\n\t\
             \"clusters\": [{\"name\":\"c\",\"cluster\":{\"server\":\"https://a\"}}],\"users\":[{\"name\":\"u\",\"user\":{\"token\":\"test-\\\"token\\\"\"}}]}",
        )],
        ..ORDINARY
    },
    Case {
        name: "quotes, anchors and merges",
        files: &[(
            "a",
            "\u{feff}%YAML 1.1\n---\ncurrent-context: &x \"x y\"\ncontexts:\n- name: *x\n  context: &context {cluster: \"c\\x31\", user: 'it''s'}\n\
             - name: other\n  context:\n    <<: *context\n    namespace: \"apps\"\nclusters:\n- name: c1\n  cluster:\n    server: >-\n      https://a\n\
             users:\n- name: it's\n  user:\n    token: \"test-\\\n      token\"\n...\n",
        )],
        context: Some("other"),
        ..ORDINARY
    },
    Case {
        name: "Windows line endings",
        files: &[(
            "a",
            "current-context: x\r\ncontexts:\r\n- name: x\r\n  context:\r\n    cluster: c\r\n    user: u\r\nclusters:\r\n- name: c\r\n  cluster:\r\n    server: https://a\r\nusers:\r\n- name: u\r\n  user:\r\n    token: test-token\r\n",
        )],
        ..ORDINARY
    },
    Case {
        name: "nulls and unknown keys",
        files: &[(
            "a",
            "current-context: x\nextensions: null\ncontexts:\n- {name: x, context: {cluster: c, user: u, namespace: ~, no: {such: key}}}\n\
             clusters:\n- {name: c, cluster: {server: https://a, certificate-authority: null, insecure-skip-tls-verify: null}}\n\
             users:\n- {name: u, user: {token: test-token, exec: null, as-groups: null, auth-provider: }}\n",
        )],
        ..ORDINARY
    },
    Case {
        name: "exec",
        files: &[(
            "a",
            "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n\
             clusters: [{name: c, cluster: {server: 'https://a', extensions: [{name: client.authentication.k8s.io/exec, extension: {a: 1}}]}}]\n\
             users: [{name: u, user: {exec: {command: ./get, args: ['', \"1\"], env: [{name: A, value: ''}, {name: B, value: 2020-01-01}], \
             apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, provideClusterInfo: on, installHint: \"a\\nb\"}}}]",
        )],
        ..ORDINARY
    },
    Case {
        name: "impersonation",
        files: &[(
            "a",
            "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: 'https://a'}}]\n\
             users: [{name: u, user: {token: t, as: 'a:b', as-uid: '1', as-groups: [g, 'h'], as-user-extra: {k: [v, w], 'l/m': []}}}]",
        )],
        ..ORDINARY
    },
    Case {
        name: "token and tokenFile, and base64 with line breaks",
        files: &[(
            "a",
            "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n\
             clusters:\n- name: c\n  cluster:\n    server: https://a\n    certificate-authority-data: |\n      dGVz\n      dA==\n\
             users: [{name: u, user: {token: test-token, tokenFile: sub/token}}]",
        )],
        ..ORDINARY
    },
    Case {
        name: "a context without a user",
        files: &[(
            "a",
            "current-context: x\ncontexts: [{name: x, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: 'https://a'}}]",
        )],
        ..ORDINARY
    },
    Case {
        name: "an invalid entry that is not selected",
        files: &[
            ("a", A),
            (
                "b",
                "current-context: x\nclusters: [{name: e, cluster: {server: 'no url', certificate-authority: a, certificate-authority-data: YQ==}}]\nusers: [{name: e, user: {client-key-data: YQ==, exec: {}}}]",
            ),
        ],
        list: &["a", "b"],
        ..ORDINARY
    },
    Case {
        name: "an entry twice",
        files: &[("a", "users: [{name: u, user: {}}, {name: u, user: {}}]")],
        refused: Some("users[1].name: duplicate name \"u\""),
        ..ORDINARY
    },
    Case {
        name: "a boolean of YAML 1.1 as a name",
        files: &[("a", "contexts: [{name: y, context: {cluster: c}}]")],
        refused: Some("contexts[0].name: must be text, not true or false"),
        ..ORDINARY
    },
    Case {
        name: "a number as a token",
        files: &[("a", "users: [{name: u, user: {token: 0o17}}]")],
        refused: Some("users[0].user.token: must be text, not a number"),
        ..ORDINARY
    },
    Case {
        name: "invalid base64",
        files: &[("a", "users: [{name: u, user: {client-key-data: dGVzdA}}]")],
        refused: Some("users[0].user.client-key-data: must be PEM in base64"),
        ..ORDINARY
    },
    Case {
        name: "a mapping of clusters",
        files: &[("a", "clusters: {c: {server: 'https://a'}}")],
        refused: Some("clusters: must be a list"),
        ..ORDINARY
    },
    Case {
        name: "an unknown API version",
        files: &[("a", "apiVersion: v2\nkind: Config")],
        refused: Some("apiVersion: expected v1"),
        ..ORDINARY
    },
    Case { name: "invalid YAML", files: &[("a", "a: [b\nc: d")], refused: Some("invalid YAML"), ..ORDINARY },
    Case { name: "a tab", files: &[("a", "a:\n\tb: c")], refused: Some("line 2, column "), ..ORDINARY },
    Case {
        name: "an invalid file after a valid one",
        files: &[("a", A), ("b", "users: {}")],
        list: &["a", "b"],
        context: Some("x"),
        refused: Some("users: must be a list"),
    },
    Case {
        name: "a missing context",
        files: &[("b", B)],
        list: &["b"],
        context: Some("w"),
        refused: Some("context \"w\" not found"),
    },
    Case {
        name: "a missing cluster",
        files: &[("a", "current-context: x\ncontexts: [{name: x, context: {cluster: gone}}]")],
        refused: Some("cluster \"gone\" not found"),
        ..ORDINARY
    },
    Case {
        name: "a missing user",
        files: &[(
            "a",
            "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: gone}}]\nclusters: [{name: c, cluster: {server: 'https://a'}}]",
        )],
        refused: Some("user \"gone\" not found"),
        ..ORDINARY
    },
    Case { name: "no current context", files: &[("a", A)], refused: Some("no current-context"), ..ORDINARY },
];

/// Two contexts, and servers that refuse connections.
pub(crate) const OVERRIDES: Case = Case {
    name: "overrides",
    files: &[(
        "a",
        "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}, {name: z, context: {cluster: d, user: v}}]\n\
         clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}, {name: d, cluster: {server: 'https://127.0.0.1:2'}}]\n\
         users: [{name: u, user: {token: t, as: test-u}}, {name: v, user: {token: t, as: test-v}}]",
    )],
    ..ORDINARY
};

/// Users whose files do not exist.
pub(crate) const PATHS: Case = Case {
    name: "paths",
    files: &[(
        "one/two/a",
        "current-context: x\ncontexts: [{name: x, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n\
         users: [{name: token, user: {tokenFile: ../gone/./token}}, {name: command, user: {exec: {command: ./../get, apiVersion: client.authentication.k8s.io/v1beta1}}}]",
    )],
    list: &["one/two/a"],
    ..ORDINARY
};
