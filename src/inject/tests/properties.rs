//! Manifests of any layout: what is not ours stays, byte for byte, and other parsers read what is expected.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{edited, options, parsed, uninject};
use crate::inject::{Mode, Options};

/// Writes values in layouts that it chooses by a seed.
struct Writer {
    seed: u64,
    newline: &'static str,
    /// The indentation of lists and mappings in block style.
    list: usize,
    unit: usize,
    is_json: bool,
}

impl Writer {
    fn choose(&mut self, of: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % of
    }

    fn scalar(&mut self, value: &Value) -> String {
        match value.as_str() {
            Some(text) if !self.is_json && text.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                match self.choose(3) {
                    0 => format!("'{text}'"),
                    1 => value.to_string(),
                    _ => text.to_owned(),
                }
            }
            _ => value.to_string(),
        }
    }

    fn flow(&mut self, value: &Value, indent: Option<usize>) -> String {
        let items: Vec<String> = match value {
            Value::Object(entries) => {
                let inner = indent.map(|indent| indent + 2);
                let quote = |key: &str, is_json| if is_json { format!("\"{key}\"") } else { key.to_owned() };
                entries
                    .iter()
                    .map(|(key, value)| format!("{}: {}", quote(key, self.is_json), self.flow(value, inner)))
                    .collect()
            }
            Value::Array(items) => items.iter().map(|item| self.flow(item, indent.map(|i| i + 2))).collect(),
            scalar => return self.scalar(scalar),
        };
        let (open, close) = if value.is_array() { ('[', ']') } else { ('{', '}') };
        match indent {
            Some(indent) if !items.is_empty() => {
                let separator = format!(",{}{:2$}", self.newline, "", indent + 2);
                let body = items.join(&separator);
                format!("{open}{0}{1:2$}{body}{0}{1:indent$}{close}", self.newline, "", indent + 2)
            }
            _ => format!("{open}{}{close}", items.join(", ")),
        }
    }

    fn comment(&mut self, indent: usize, out: &mut String) {
        match self.choose(6) {
            0 => out.push_str(&format!("{:indent$}# a comment: [x]{}", "", self.newline)),
            1 => out.push_str(self.newline),
            _ => {}
        }
    }

    fn end_line(&mut self, out: &mut String) {
        if self.choose(5) == 0 {
            out.push_str(" # é");
        }
        out.push_str(self.newline);
    }

    /// Writes a collection in block style; the first line is indented already.
    fn block(&mut self, value: &Value, indent: usize, out: &mut String) {
        let pad = |out: &mut String, first: bool| {
            if !first {
                out.push_str(&" ".repeat(indent));
            }
        };
        match value {
            Value::Object(entries) => {
                for (index, (key, value)) in entries.iter().enumerate() {
                    if index > 0 {
                        self.comment(indent, out);
                    }
                    pad(out, index == 0);
                    out.push_str(key);
                    out.push(':');
                    let deeper = indent + if value.is_array() { self.list } else { self.unit };
                    self.value(value, deeper, out);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        self.comment(indent, out);
                    }
                    pad(out, index == 0);
                    out.push_str("- ");
                    if self.is_block(item) {
                        self.block(item, indent + 2, out);
                    } else {
                        let text = self.flow(item, None);
                        out.push_str(&text);
                        self.end_line(out);
                    }
                }
            }
            _ => unreachable!(),
        }
    }

    fn is_block(&mut self, value: &Value) -> bool {
        let is_empty = value.as_object().is_none_or(serde_json::Map::is_empty)
            && value.as_array().is_none_or(Vec::is_empty);
        !is_empty && self.choose(4) > 0
    }

    fn value(&mut self, value: &Value, indent: usize, out: &mut String) {
        if self.is_block(value) {
            self.end_line(out);
            self.comment(indent, out);
            out.push_str(&" ".repeat(indent));
            self.block(value, indent, out);
        } else if value.as_str() == Some("text") {
            let (header, end) = [("|", ""), (">-", ""), ("|+", self.newline)][self.choose(3) as usize];
            out.push_str(&format!(
                " {header}{0}{1:2$}one: - #{0}{0}{1:2$}two{0}{end}",
                self.newline, "", indent
            ));
        } else {
            let text = self.flow(value, None);
            out.push(' ');
            out.push_str(&text);
            self.end_line(out);
        }
    }
}

/// A pod's spec with one to three containers, and other fields.
fn spec(bits: u64) -> Value {
    let bit = |index: u64| bits >> index & 1 == 1;
    let container = |name: &str, first: u64| {
        let mut container = json!({"image": "registry.example.com/app:1", "name": name});
        if bit(first) {
            container["volumeMounts"] = json!([{"mountPath": "/data", "name": "data"}]);
        }
        if bit(first + 1) {
            container["args"] = json!(["text", "--flag=a b", "9"]);
        }
        if bit(first + 2) {
            container["zone"] = "text".into();
        }
        container
    };
    let mut spec = json!({"containers": [container("app", 0)]});
    if bit(10) {
        spec["containers"].as_array_mut().unwrap().push(container("proxy", 3));
    }
    if bit(11) {
        spec["initContainers"] = json!([container("wait", 6)]);
    }
    if bit(12) {
        spec["volumes"] = json!([{"emptyDir": {}, "name": "data"}]);
    }
    if bit(13) {
        spec["affinity"] = json!({"podAffinity": {}, "zone": "text"});
    }
    if bit(14) {
        spec["zzz"] = "text".into();
    }
    spec
}

fn manifest(bits: u64, seed: u64) -> String {
    let pod = json!({"metadata": {"annotations": {"podcreds.io/db.secret": "db"}}, "spec": spec(bits)});
    let (object, other) = match bits >> 20 & 3 {
        0 => (
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": pod["metadata"], "spec": pod["spec"]}),
            true,
        ),
        1 => (
            json!({"apiVersion": "batch/v1", "kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": pod}}}}),
            true,
        ),
        2 => (
            json!({"apiVersion": "v1", "kind": "List", "items": [
                {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "text"}},
                {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": pod}}
            ]}),
            false,
        ),
        _ => (json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": pod}}), true),
    };
    let newline = if bits >> 22 & 1 == 1 { "\r\n" } else { "\n" };
    let list = if bits >> 23 & 1 == 1 { 2 } else { 0 };
    let unit = if bits >> 24 & 1 == 1 { 4 } else { 2 };
    let mut writer = Writer { seed, newline, list, unit, is_json: bits >> 25 & 3 == 0 };
    let mut text = String::new();
    if writer.is_json {
        let indent = (bits >> 27 & 1 == 1).then_some(0);
        text = writer.flow(&object, indent);
    } else {
        if other && bits >> 28 & 1 == 1 {
            text = format!("# ü first{newline}a: 1{newline}---{newline}");
        }
        writer.block(&object, 0, &mut text);
    }
    // Parsers disagree whether a block scalar at the end of such a text ends with a line break.
    if bits >> 29 & 1 == 1 && !text.trim_end().ends_with("two") {
        text.truncate(text.trim_end().len());
    }
    text
}

/// The last document, without what podcreds adds.
fn without_ours(text: &str) -> Value {
    let document = text.rsplit("---").find(|document| !document.trim().is_empty()).unwrap();
    let mut value = parsed(document);
    fn strip(value: &mut Value) {
        match value {
            Value::Array(items) => {
                items.retain(|item| !item["name"].as_str().is_some_and(|name| name.starts_with("podcreds")));
                items.iter_mut().for_each(strip);
            }
            Value::Object(entries) => {
                entries.values_mut().for_each(strip);
                let lists = ["initContainers", "volumes", "volumeMounts"];
                entries.retain(|key, value| {
                    !lists.contains(&key.as_str()) || value.as_array().is_none_or(|items| !items.is_empty())
                });
            }
            _ => {}
        }
    }
    strip(&mut value);
    value
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn manifests_of_any_layout_are_injected_and_restored(bits in any::<u64>(), seed in any::<u64>()) {
        let text = manifest(bits, seed);
        let mode = [Mode::NativeSidecar, Mode::Sidecar, Mode::Init][(bits >> 40) as usize % 3];
        let options = Options { mode: Some(mode), ..options() };
        let injected = edited(&text, &options);
        prop_assert_ne!(&injected, &text);
        prop_assert_eq!(without_ours(&injected), without_ours(&text), "{}\n=>\n{}", text, injected);
        prop_assert_eq!(&edited(&injected, &options), &injected, "{}", injected);
        prop_assert_eq!(&edited(&injected, &uninject()), &text, "{}", injected);
        if text.starts_with('{') && text.contains('"') && bits >> 25 & 3 == 0 {
            prop_assert!(serde_json::from_str::<Value>(&injected).is_ok(), "{}", injected);
        }
    }
}
