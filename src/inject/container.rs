//! The containers that are added, and how to recognize them later.

use std::fmt::Write;

use crate::yaml::{self, Node, SyntaxError};

/// The name of the container, if there is one, and of the volume.
pub(super) const NAME: &str = "podcreds";
/// The name of the ordinary sidecar, which runs beside the init container `podcreds`.
pub(super) const SIDECAR: &str = "podcreds-sidecar";
/// Tells the container where the volume is mounted.
const VOLUME_VARIABLE: &str = "PODCREDS_VOLUME";
/// The image's own user, for a pod that runs as root.
const USER: &str = "65532";

/// A container with podcreds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Container<'a> {
    pub(super) name: &'a str,
    pub(super) image: &'a str,
    pub(super) pull_policy: Option<&'a str>,
    /// `init` or `sidecar`, and its flags.
    pub(super) args: Vec<&'a str>,
    /// Whether an init container keeps running.
    pub(super) is_native: bool,
    pub(super) port: &'a str,
    pub(super) mount_path: &'a str,
    pub(super) memory_limit: &'a str,
    /// Whether the pod runs as root, and this container must not.
    pub(super) sets_user: bool,
}

/// A string in JSON.
pub(super) fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl<'a> Container<'a> {
    /// The container as JSON. Like the policy's, it has the fields of `deploy/native-sidecar`, and those that the pod sets there.
    pub(super) fn json(&self) -> String {
        let (image, path) = (quote(self.image), quote(self.mount_path));
        let mut json = format!(r#"{{"name": "{}", "image": {image}, "#, self.name);
        let out = &mut json;
        if let Some(policy) = self.pull_policy {
            let _ = write!(out, r#""imagePullPolicy": {}, "#, quote(policy));
        }
        let args: Vec<_> = self.args.iter().map(|arg| quote(arg)).collect();
        let _ = write!(out, r#""args": [{}], "#, args.join(", "));
        if self.is_native {
            out.push_str(r#""restartPolicy": "Always", "#);
        }
        let _ = write!(
            out,
            r#""env": [{{"name": "POD_NAME", "valueFrom": {{"fieldRef": {{"fieldPath": "metadata.name"}}}}}}, {{"name": "{VOLUME_VARIABLE}", "value": {path}}}"#
        );
        let is_sidecar = self.args.first() == Some(&"sidecar");
        if is_sidecar {
            let port = self.port;
            let probe = match self.is_native {
                true => {
                    r#""startupProbe": {"exec": {"command": ["/bin/podcreds", "probe"]}, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 300}"#
                }
                false => {
                    r#""readinessProbe": {"httpGet": {"path": "/readyz", "port": "health"}, "periodSeconds": 5, "timeoutSeconds": 5}"#
                }
            };
            let _ = write!(
                out,
                r#", {{"name": "PODCREDS_LISTEN", "value": ":{port}"}}], "ports": [{{"name": "health", "containerPort": {port}}}], {probe}, "livenessProbe": {{"httpGet": {{"path": "/healthz", "port": "health"}}, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3}}"#
            );
        } else {
            out.push(']');
        }
        let user = if self.sets_user { format!(r#""runAsUser": {USER}, "#) } else { String::new() };
        let _ = write!(
            out,
            r#", "volumeMounts": [{{"name": "{NAME}", "mountPath": {path}}}], "resources": {{"requests": {{"cpu": "10m", "memory": "16Mi"}}, "limits": {{"cpu": "500m", "memory": {}}}}}, "securityContext": {{"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "runAsNonRoot": true, {user}"capabilities": {{"drop": ["ALL"]}}, "seccompProfile": {{"type": "RuntimeDefault"}}}}}}"#,
            quote(self.memory_limit)
        );
        json
    }

    /// Reads a container that `podcreds inject` added, whatever its options were. `None` means that a user wrote or changed it.
    pub(super) fn read(node: &'a Node) -> Result<Option<Self>, SyntaxError> {
        let text = |path: &[&str]| node.find(path).and_then(Node::scalar).map(|(text, _)| text);
        let listed = |key| node.get(key).map(Node::items).unwrap_or_default();
        let variable = |item: &&Node| item.get("name").and_then(Node::text) == Some(VOLUME_VARIABLE);
        let mount_path = listed("env").iter().find(variable).and_then(|item| item.get("value")?.text());
        let port = listed("ports").first().and_then(|port| port.get("containerPort")?.scalar());
        let (Some(name), Some(image), Some(mount_path), Some(memory_limit)) =
            (text(&["name"]), text(&["image"]), mount_path, text(&["resources", "limits", "memory"]))
        else {
            return Ok(None);
        };
        let container = Self {
            name,
            image,
            pull_policy: text(&["imagePullPolicy"]),
            args: listed("args").iter().filter_map(Node::text).collect(),
            is_native: text(&["restartPolicy"]).is_some(),
            port: port.map_or("", |(text, _)| text),
            mount_path,
            memory_limit,
            sets_user: text(&["securityContext", "runAsUser"]).is_some(),
        };
        let is_own = matches(&parse(&container.json())?, node);
        Ok(is_own.then_some(container))
    }
}

pub(super) fn parse(json: &str) -> Result<Node, SyntaxError> {
    yaml::parse(json.as_bytes())
}

/// Fields that the API server adds to a container.
const DEFAULTS: [&str; 8] = [
    "apiVersion",
    "hostPort",
    "imagePullPolicy",
    "protocol",
    "scheme",
    "successThreshold",
    "terminationMessagePath",
    "terminationMessagePolicy",
];

/// Whether a value is the expected one, perhaps with the API server's defaults.
pub(super) fn matches(expected: &Node, found: &Node) -> bool {
    if expected.is_mapping() && found.is_mapping() {
        let known = |key: &str| DEFAULTS.contains(&key) || expected.get(key).is_some();
        return found.entries().all(|(key, ..)| known(key))
            && expected
                .entries()
                .all(|(key, _, value)| found.get(key).is_some_and(|found| matches(value, found)));
    }
    if expected.is_list() && found.is_list() {
        let (expected, found) = (expected.items(), found.items());
        return expected.len() == found.len()
            && expected.iter().zip(found).all(|(expected, found)| matches(expected, found));
    }
    expected.is_same(found)
}
