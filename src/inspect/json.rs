//! Renders a graph as JSON. `docs/inspect.md` documents the fields, which are stable.

use serde_json::{Value, json};

use crate::inspect::graph::{Detail, Edge, Graph, Index, Node, ObjectId, Relation};
use crate::inspect::resource::percent_encode;

pub(crate) fn render(graph: &Graph) -> String {
    let id = |index: Index| id(&graph.nodes[index].id);
    let edge = |edge: &Edge| {
        let mut value = json!({
            "from": id(edge.from),
            "to": id(edge.to),
            "relation": edge.relation.name(),
            "by": edge.by,
        });
        if edge.relation == Relation::Uses {
            value["optional"] = json!(edge.optional);
        }
        if let Some(access) = &edge.access {
            value["allowed"] = json!(access.allowed);
            value["denied"] = json!(access.denied);
            value["remedy"] = json!(access.remedy);
        }
        value
    };
    let document = json!({
        "root": graph.nodes.first().map(|_| id(0)),
        "nodes": graph.nodes.iter().map(node).collect::<Vec<_>>(),
        "edges": graph.edges.iter().map(edge).collect::<Vec<_>>(),
        "more": graph.truncated.iter().map(|list| json!({"of": id(list.owner), "kind": list.kind.name()})).collect::<Vec<_>>(),
        "refusals": graph.refusals.iter().map(|refusal| json!({
            "what": refusal.what, "reason": refusal.reason, "remedy": refusal.remedy,
        })).collect::<Vec<_>>(),
        "problems": graph.annotation_errors,
    });
    format!("{document:#}\n")
}

fn node(node: &Node) -> Value {
    let Node { id: object, state, details } = node;
    let mut value = json!({
        "id": id(object),
        "group": object.group,
        "kind": object.kind,
        "namespace": object.namespace,
        "name": object.name,
        "state": state.name(),
    });
    if let Some(cluster) = object.cluster.id() {
        value["cluster"] = json!(cluster.as_str());
    }
    for detail in details {
        let (key, detail) = match detail {
            Detail::Phase(phase) => ("phase", json!(phase)),
            Detail::Volume(volume) => ("volume", json!(volume)),
            Detail::Ready(ready) => ("ready", json!(ready)),
            Detail::Kubelet(version) => ("kubelet", json!(version)),
            Detail::Deleting => ("deleting", json!(true)),
        };
        value[key] = detail;
    }
    value
}

/// `[CLUSTER:]KIND[.GROUP]/[NAMESPACE/]NAME`. Percent-encoding each part makes the ID unique, whatever the names contain.
fn id(object: &ObjectId) -> String {
    let ObjectId { cluster, group, kind, namespace, name } = object;
    let cluster =
        cluster.id().map(|cluster| format!("{}:", percent_encode(cluster.as_str()))).unwrap_or_default();
    // An unencoded dot separates the group.
    let kind = percent_encode(kind).replace('.', "%2E");
    let group = if group.is_empty() { String::new() } else { format!(".{}", percent_encode(group)) };
    let namespace =
        namespace.as_ref().map(|namespace| format!("{}/", percent_encode(namespace))).unwrap_or_default();
    format!("{cluster}{kind}{group}/{namespace}{}", percent_encode(name))
}
