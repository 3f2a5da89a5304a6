//! Label selectors as the API takes them in a query. Pure.
//! Source: <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#api>

use crate::inspect::api::{Requirement, Selector};

/// The longest selector that goes into an address, in bytes, encoded. What does not fit is left out: it only lets more
/// through, and who owns what is decided by uid.
const SELECTOR_LIMIT: usize = 2048;

/// The selector as the value of a query's parameter; empty if it says nothing.
pub(crate) fn query(selector: &Selector) -> String {
    let labels = selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}={value}"));
    let expressions = selector.match_expressions.iter().flatten().filter_map(expression);
    join(labels.chain(expressions))
}

/// A selector for one label with any of these values.
pub(crate) fn any_of(key: &str, values: &[&str]) -> String {
    encode(&format!("{key} in ({})", values.join(",")))
}

fn expression(Requirement { key, operator, values }: &Requirement) -> Option<String> {
    let values = || values.as_deref().unwrap_or_default().join(",");
    match operator.as_str() {
        "In" => Some(format!("{key} in ({})", values())),
        "NotIn" => Some(format!("{key} notin ({})", values())),
        "Exists" => Some(key.clone()),
        "DoesNotExist" => Some(format!("!{key}")),
        _ => None,
    }
}

fn join(requirements: impl Iterator<Item = String>) -> String {
    let mut query = String::new();
    for requirement in requirements {
        let encoded = encode(&requirement);
        let comma = if query.is_empty() { "" } else { "%2C" };
        if query.len() + comma.len() + encoded.len() <= SELECTOR_LIMIT {
            query.push_str(comma);
            query.push_str(&encoded);
        }
    }
    query
}

/// Percent-encodes all that RFC 3986 does not call unreserved.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_and_expressions_become_one_query() {
        let selector = json!({
            "matchLabels": {"app": "app", "example.com/tier": "db"},
            "matchExpressions": [
                {"key": "zone", "operator": "In", "values": ["a", "b"]},
                {"key": "old", "operator": "DoesNotExist"},
                {"key": "track", "operator": "NotIn", "values": ["x"]},
                {"key": "new", "operator": "Exists", "values": []},
            ],
        });
        let query = query(&serde_json::from_value(selector).unwrap());
        let plain = "app=app,example.com/tier=db,zone in (a,b),!old,track notin (x),new";
        assert_eq!(query, encode(plain));
        assert_eq!(encode("a=b,c in (d)&e"), "a%3Db%2Cc%20in%20%28d%29%26e");
    }

    #[test]
    fn a_selector_that_is_too_long_loses_requirements_and_stays_whole() {
        let labels: std::collections::BTreeMap<_, _> =
            (0..100).map(|i| (format!("{i:063}"), "x".repeat(63))).collect();
        let query = query(&serde_json::from_value(json!({ "matchLabels": labels })).unwrap());
        assert!(query.len() <= SELECTOR_LIMIT && query.len() > SELECTOR_LIMIT - 200);
        assert!(query.split("%2C").all(|one| one.len() == 63 + 3 + 63), "{query}");
    }
}
