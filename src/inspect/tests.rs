//! Golden tests of the output formats, and a property: no name escapes its place in any of them.

use proptest::prelude::*;
use serde_json::Value;

use super::Format;
use super::graph::{Access, Detail, Graph, ObjectId, Refusal, Relation, State, Truncated};
use super::resource::Kind;
use crate::object::{ClusterId, ClusterRef};
use crate::text::is_shown;

/// A pod with one node of each relation, state and detail.
fn graph() -> Graph {
    let mut graph = Graph::default();
    let id = |kind, name: &str| ObjectId::new(kind, Some("prod"), name);
    let mut put = |id: ObjectId, state, details: &[Detail]| {
        let index = graph.add(id);
        graph.nodes[index].state = state;
        graph.nodes[index].details = details.to_vec();
        index
    };
    let pod =
        put(id(Kind::Pod, "app-0"), State::Exists, &[Detail::Phase("Running".into()), Detail::Deleting]);
    let set = put(id(Kind::ReplicaSet, "app"), State::Exists, &[]);
    let rollout = put(
        ObjectId {
            cluster: ClusterRef::Local,
            group: "argoproj.io".into(),
            kind: "Rollout".into(),
            namespace: None,
            name: "app".into(),
        },
        State::Named,
        &[],
    );
    let node = put(
        ObjectId::new(Kind::Node, None, "node-1"),
        State::Exists,
        &[Detail::Ready(false), Detail::Kubelet("v1.20.2".into())],
    );
    let account = put(id(Kind::ServiceAccount, "app"), State::Unread, &[]);
    let secret = put(id(Kind::Secret, "db"), State::Exists, &[]);
    let missing = put(id(Kind::Secret, "tls"), State::Missing, &[]);
    let optional = put(ObjectId::new(Kind::ConfigMap, Some("other"), "extra"), State::Missing, &[]);
    let hub =
        ObjectId { cluster: ClusterRef::Named(ClusterId::parse("hub").unwrap()), ..id(Kind::Secret, "db") };
    let hub = put(hub, State::Named, &[]);
    let claim = put(
        id(Kind::PersistentVolumeClaim, "data"),
        State::Exists,
        &[Detail::Phase("Bound".into()), Detail::Volume("pv-1".into())],
    );
    graph.connect(pod, Relation::OwnedBy, set);
    graph.connect(set, Relation::OwnedBy, rollout);
    graph.connect(pod, Relation::RunsOn, node);
    graph.connect(pod, Relation::RunsAs, account);
    for (to, by) in [
        (
            secret,
            vec![
                "annotation podcreds.io/db.secret",
                "env A of container app",
                "env B of container app",
                "env C of container app",
                "env D of container app",
            ],
        ),
        (missing, vec!["volume certs"]),
        (optional, vec!["envFrom of container app"]),
        (hub, vec!["annotation podcreds.io/hub.secret"]),
        (claim, vec!["volume data"]),
    ] {
        let edge = graph.connect(pod, Relation::Uses, to);
        edge.by = by.into_iter().map(str::to_owned).collect();
        edge.optional = to == optional;
    }
    graph.connect(account, Relation::MayRead, secret).access = Some(Access {
        allowed: vec!["get"],
        denied: vec!["watch"],
        remedy: Some("needs the rule {…}".into()),
    });
    graph.truncated.push(Truncated { owner: set, kind: Kind::Pod });
    graph.refusals.push(Refusal {
        what: "get ServiceAccount prod/app".into(),
        reason: "forbidden: test".into(),
        remedy: Some("needs the rule {…}".into()),
    });
    graph.annotation_errors.push("podcreds.io/x.secert: test".into());
    graph.notes.push("test note".into());
    graph
}

#[test]
fn a_tree_shows_dependencies_and_errors() {
    let expected = "\
Pod prod/app-0 (Running, being deleted)
├── owned by ReplicaSet app
│   ├── owned by Rollout app
│   └── list truncated: more pods may exist
├── runs on Node node-1 (not ready, kubelet v1.20.2)
├── runs as ServiceAccount app (could not be read)
│   └── may get, may not watch Secret db: needs the rule {…}
├── uses Secret db: annotation podcreds.io/db.secret, env A of container app, env B of container app, env C of container app and 1 more
├── uses Secret tls (missing): volume certs
├── uses ConfigMap other/extra (missing, optional): envFrom of container app
├── uses Secret prod/db of cluster hub (not read): annotation podcreds.io/hub.secret
└── uses PersistentVolumeClaim data (Bound, volume pv-1): volume data

invalid annotations:
  podcreds.io/x.secert: test

notes:
  test note

could not be read:
  get ServiceAccount prod/app: forbidden: test; needs the rule {…}
";
    assert_eq!(Format::Tree.render(&graph()), expected);
}

#[test]
fn an_ownership_cycle_is_shown_once() {
    let mut graph = Graph::default();
    let id = |name: &str| ObjectId::new(Kind::Job, Some("prod"), name);
    let (a, b) = (graph.add(id("a")), graph.add(id("b")));
    graph.connect(a, Relation::OwnedBy, b);
    graph.connect(b, Relation::OwnedBy, a);
    assert_eq!(Format::Tree.render(&graph), "Job prod/a\n└── owned by Job b\n    └── owned by Job a\n");
}

#[test]
fn json_has_the_documented_shape() {
    let document: Value = serde_json::from_str(&Format::Json.render(&graph())).unwrap();
    assert_eq!(document["root"], "Pod/prod/app-0");
    let node = |id: &str| document["nodes"].as_array().unwrap().iter().find(|node| node["id"] == id).unwrap();
    assert_eq!(
        *node("Pod/prod/app-0"),
        serde_json::json!({
            "id": "Pod/prod/app-0", "group": "", "kind": "Pod", "namespace": "prod", "name": "app-0", "state": "exists",
            "phase": "Running", "deleting": true,
        })
    );
    assert_eq!(node("Rollout.argoproj.io/app")["namespace"], Value::Null);
    assert_eq!(node("Node/node-1")["ready"], false);
    assert_eq!(node("PersistentVolumeClaim/prod/data")["volume"], "pv-1");
    assert_eq!(node("hub:Secret/prod/db")["cluster"], "hub");
    let edges = document["edges"].as_array().unwrap();
    let edge = |to: &str, relation: &str| {
        edges.iter().find(|edge| edge["to"] == to && edge["relation"] == relation).unwrap()
    };
    assert_eq!(
        *edge("ConfigMap/other/extra", "uses"),
        serde_json::json!({
            "from": "Pod/prod/app-0", "to": "ConfigMap/other/extra", "relation": "uses",
            "by": ["envFrom of container app"], "optional": true,
        })
    );
    assert_eq!(edge("Secret/prod/db", "may_read")["denied"], serde_json::json!(["watch"]));
    assert_eq!(edge("Secret/prod/db", "uses")["by"].as_array().unwrap().len(), 5);
    assert_eq!(document["more"], serde_json::json!([{"of": "ReplicaSet.apps/prod/app", "kind": "Pod"}]));
    assert_eq!(document["refusals"][0]["what"], "get ServiceAccount prod/app");
    assert_eq!(document["problems"], serde_json::json!(["podcreds.io/x.secert: test"]));
    assert_eq!(document["notes"], serde_json::json!(["test note"]));
}

#[test]
fn similar_objects_have_different_ids() {
    let mut graph = Graph::default();
    for (cluster, group, kind, namespace, name) in [
        (None, "b", "A", None, "x"),
        (None, "", "A.b", None, "x"),
        (None, "", "A", Some("b"), "x"),
        (None, "", "A", None, "b/x"),
        (None, "", "A", None, "b%2Fx"),
        (Some("hub"), "", "A", None, "x"),
        (None, "", "hub:A", None, "x"),
    ] {
        graph.add(ObjectId {
            cluster: cluster.map_or(ClusterRef::Local, |id| ClusterRef::Named(ClusterId::parse(id).unwrap())),
            group: group.to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        });
    }
    let document: Value = serde_json::from_str(&Format::Json.render(&graph)).unwrap();
    let nodes = document["nodes"].as_array().unwrap();
    let ids: std::collections::BTreeSet<_> = nodes.iter().map(|node| node["id"].as_str().unwrap()).collect();
    assert_eq!((ids.len(), nodes.len()), (7, 7), "{ids:?}");
}

#[test]
fn mermaid_shows_every_node_and_edge() {
    let graph = graph();
    let mermaid = Format::Mermaid.render(&graph);
    for line in [
        "  n0[\"Pod prod/app-0<br/>Running, being deleted\"]",
        "  n2[\"Rollout app\"]:::unread",
        "  n6[\"Secret prod/tls<br/>missing\"]:::missing",
        "  n0 -->|\"uses<br/>volume certs\"| n6",
        "  n0 -.->|\"uses<br/>envFrom of container app\"| n7",
        "  n1 --- m0[\"list truncated#58; more pods may exist\"]",
        "  %% test note",
        "  %% get ServiceAccount prod/app: forbidden: test; needs the rule …",
    ] {
        assert!(mermaid.lines().any(|other| other == line), "{line}\nis not in\n{mermaid}");
    }
}

/// Two objects and a reference between them, where every name is this text.
fn named(text: &str) -> Graph {
    let mut graph = Graph::default();
    let id = |kind: &str| ObjectId {
        cluster: ClusterRef::Local,
        group: text.to_owned(),
        kind: kind.to_owned(),
        namespace: Some(text.to_owned()),
        name: text.to_owned(),
    };
    let (from, to) = (graph.add(id(&format!("{text}x"))), graph.add(id(text)));
    graph.nodes[to].details = vec![Detail::Phase(text.to_owned()), Detail::Volume(text.to_owned())];
    graph.connect(from, Relation::Uses, to).by = vec![text.to_owned()];
    graph.refusals.push(Refusal { what: text.to_owned(), reason: text.to_owned(), remedy: None });
    graph.annotation_errors.push(text.to_owned());
    graph.notes.push(text.to_owned());
    graph
}

/// The text with control characters replaced, as it appears on one line.
fn shown(text: &str) -> String {
    text.chars().map(|c| if is_shown(c) { c } else { ' ' }).collect()
}

/// Parses a Mermaid label up to its closing quote; also returns the rest.
fn mermaid_label(text: &str) -> (String, &str) {
    let (label, rest) = text.split_once('"').expect("a label ends");
    let mut read = String::new();
    for line in label.split("<br/>") {
        let mut parts = line.split('#');
        read.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let (number, plain) = part.split_once(';').expect("an entity ends");
            read.push(char::from_u32(number.parse().unwrap()).unwrap());
            read.push_str(plain);
        }
        assert!(!line.contains(['<', '>', '&', '|', '[', ']', '`', '\\']), "{line}");
        read.push('\n');
    }
    (read.trim_end_matches('\n').to_owned(), rest)
}

proptest! {
    #[test]
    fn no_name_escapes_its_place_in_any_format(text in "(\\PC|[\"\\\\&#;|`<>{}\\[\\]\\n\\r\u{1b}\u{202e}%/:. -]){1,40}") {
        let graph = named(&text);
        let plain = shown(&text);
        let label = format!("{plain} {plain}/{plain}\n{plain}, volume {plain}");
        let place = format!("uses\n{plain}");

        let tree = Format::Tree.render(&graph);
        prop_assert_eq!(tree.lines().count(), 2 + 3 + 3 + 3, "{}", tree);
        prop_assert!(tree.chars().all(|c| c == '\n' || is_shown(c)));

        let json: Value = serde_json::from_str(&Format::Json.render(&graph)).unwrap();
        prop_assert_eq!(json["nodes"][1]["name"].as_str(), Some(text.as_str()));
        prop_assert_eq!(json["edges"][0]["by"][0].as_str(), Some(text.as_str()));
        prop_assert!(json["nodes"][0]["id"] != json["nodes"][1]["id"]);

        let mermaid = Format::Mermaid.render(&graph);
        let lines: Vec<_> = mermaid.lines().collect();
        prop_assert_eq!(lines.len(), 9);
        prop_assert_eq!(mermaid_label(lines[2].strip_prefix("  n1[\"").unwrap()), (label, "]:::unread"));
        prop_assert_eq!(mermaid_label(lines[3].strip_prefix("  n0 -->|\"").unwrap()), (place, "| n1"));
        let is_comment = |line: &&str| line.starts_with("  %% ") && !line.contains(['{', '}']);
        prop_assert!(lines[6..].iter().all(is_comment));
    }
}
