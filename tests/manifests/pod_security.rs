//! The restricted profile of the Pod Security Standards, control by control, for a Pod or a pod template as JSON.
//!
//! <https://kubernetes.io/docs/concepts/security/pod-security-standards/>, as of Kubernetes 1.34. Where the restricted
//! profile has a stricter row for the same control (volumes, seccomp, capabilities), the baseline row is omitted, because the
//! stricter row implies it. The exceptions for Windows pods and for pods in a user namespace are not implemented.

use serde_json::Value;

/// A control's name in the standard, and a function that returns the fields that violate it.
type Control = (&'static str, fn(&Value) -> Vec<String>);

/// Every control of the restricted profile.
pub(crate) const CONTROLS: [Control; 15] = [
    ("HostProcess", host_process),
    ("Host Namespaces", host_namespaces),
    ("Privileged Containers", privileged_containers),
    ("Host Ports", host_ports),
    ("Host Probes / Lifecycle Hooks", host_probes),
    ("AppArmor", app_armor),
    ("SELinux", se_linux),
    ("/proc Mount Type", proc_mount_type),
    ("Sysctls", sysctls),
    ("Volume Types", volume_types),
    ("Privilege Escalation", privilege_escalation),
    ("Running as Non-root", running_as_non_root),
    ("Running as Non-root user", running_as_non_root_user),
    ("Seccomp", seccomp),
    ("Capabilities", capabilities),
];

/// One line for each field that violates a control: `control: field is value`. Empty for a pod that is admitted.
pub(crate) fn violations(pod: &Value) -> Vec<String> {
    CONTROLS
        .iter()
        .flat_map(|(control, check)| check(pod).into_iter().map(move |field| format!("{control}: {field}")))
        .collect()
}

/// Containers of all three kinds, each with its place in the pod.
pub(crate) fn containers(pod: &Value) -> Vec<(String, &Value)> {
    ["initContainers", "containers", "ephemeralContainers"]
        .iter()
        .flat_map(|kind| items(&pod["spec"][kind]).map(move |container| (kind, container)))
        .map(|(kind, container)| (format!("spec.{kind}[{}]", text(&container["name"])), container))
        .collect()
}

fn host_process(pod: &Value) -> Vec<String> {
    refused(everywhere(pod, "/windowsOptions/hostProcess"), unset_or_false)
}

fn host_namespaces(pod: &Value) -> Vec<String> {
    let fields = ["hostNetwork", "hostPID", "hostIPC"];
    refused(fields.map(|field| (format!("spec.{field}"), &pod["spec"][field])), unset_or_false)
}

fn privileged_containers(pod: &Value) -> Vec<String> {
    refused(in_containers(pod, "/securityContext/privileged"), unset_or_false)
}

fn host_ports(pod: &Value) -> Vec<String> {
    let ports = containers(pod).into_iter().flat_map(|(place, container)| {
        items(&container["ports"]).map(move |port| (format!("{place}.ports.hostPort"), &port["hostPort"]))
    });
    refused(ports, |port| port.is_null() || port == 0)
}

fn host_probes(pod: &Value) -> Vec<String> {
    let handlers =
        ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle/postStart", "lifecycle/preStop"];
    let hosts = handlers
        .iter()
        .flat_map(|handler| [format!("/{handler}/httpGet/host"), format!("/{handler}/tcpSocket/host")])
        .flat_map(|field| in_containers(pod, &field));
    refused(hosts, unset_or_empty)
}

fn app_armor(pod: &Value) -> Vec<String> {
    let annotations = pod["metadata"]["annotations"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| key.starts_with("container.apparmor.security.beta.kubernetes.io/"))
        .map(|(key, profile)| (format!("metadata.annotations[{key}]"), profile));
    let mut found = refused(annotations, |profile| {
        matches!(text(profile), "" | "runtime/default") || text(profile).starts_with("localhost/")
    });
    found.extend(refused(everywhere(pod, "/appArmorProfile/type"), |profile| {
        profile.is_null() || one_of(profile, &["RuntimeDefault", "Localhost"])
    }));
    found
}

fn se_linux(pod: &Value) -> Vec<String> {
    let types = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
    let mut found =
        refused(everywhere(pod, "/seLinuxOptions/type"), |kind| kind.is_null() || one_of(kind, &types));
    for field in ["/seLinuxOptions/user", "/seLinuxOptions/role"] {
        found.extend(refused(everywhere(pod, field), unset_or_empty));
    }
    found
}

fn proc_mount_type(pod: &Value) -> Vec<String> {
    refused(in_containers(pod, "/securityContext/procMount"), |kind| kind.is_null() || kind == "Default")
}

fn sysctls(pod: &Value) -> Vec<String> {
    let safe = [
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_syncookies",
    ];
    let names = items(&pod["spec"]["securityContext"]["sysctls"])
        .map(|sysctl| ("spec.securityContext.sysctls.name".to_owned(), &sysctl["name"]));
    refused(names, |name| one_of(name, &safe))
}

fn volume_types(pod: &Value) -> Vec<String> {
    let core = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        // Since 1.33: <https://github.com/kubernetes/kubernetes/pull/130394>
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    let volumes = items(&pod["spec"]["volumes"]).map(|volume| ("spec.volumes".to_owned(), volume));
    refused(volumes, |volume| core.iter().any(|kind| !volume[kind].is_null()))
}

fn privilege_escalation(pod: &Value) -> Vec<String> {
    refused(in_containers(pod, "/securityContext/allowPrivilegeEscalation"), |allowed| allowed == false)
}

fn running_as_non_root(pod: &Value) -> Vec<String> {
    unless_inherited(pod, "/runAsNonRoot", |non_root| non_root == true)
}

fn running_as_non_root_user(pod: &Value) -> Vec<String> {
    refused(everywhere(pod, "/runAsUser"), |user| user != 0)
}

fn seccomp(pod: &Value) -> Vec<String> {
    unless_inherited(pod, "/seccompProfile/type", |profile| one_of(profile, &["RuntimeDefault", "Localhost"]))
}

fn capabilities(pod: &Value) -> Vec<String> {
    let mut found = refused(in_containers(pod, "/securityContext/capabilities/drop"), |dropped| {
        items(dropped).any(|capability| capability == "ALL")
    });
    found.extend(refused(in_containers(pod, "/securityContext/capabilities/add"), |added| {
        items(added).all(|capability| capability == "NET_BIND_SERVICE")
    }));
    found
}

/// The field of each container, null where it is unset.
fn in_containers<'a>(pod: &'a Value, field: &str) -> Vec<(String, &'a Value)> {
    containers(pod)
        .into_iter()
        .map(|(place, container)| (place + &field.replace('/', "."), at(container, field)))
        .collect()
}

/// The field of the pod's security context and of each container's.
fn everywhere<'a>(pod: &'a Value, field: &str) -> Vec<(String, &'a Value)> {
    let field = format!("/securityContext{field}");
    let of_pod = (format!("spec{}", field.replace('/', ".")), at(&pod["spec"], &field));
    [vec![of_pod], in_containers(pod, &field)].concat()
}

/// A field that each container must have, either itself or from the pod.
fn unless_inherited(pod: &Value, field: &str, allowed: fn(&Value) -> bool) -> Vec<String> {
    let mut of_containers = everywhere(pod, field);
    let of_pod = of_containers.remove(0);
    let inherited = allowed(of_pod.1);
    let mut found = refused([of_pod], |value| value.is_null() || allowed(value));
    found.extend(refused(of_containers, |value| allowed(value) || (value.is_null() && inherited)));
    found
}

fn refused<'a>(
    fields: impl IntoIterator<Item = (String, &'a Value)>,
    allowed: impl Fn(&Value) -> bool,
) -> Vec<String> {
    let refused = fields.into_iter().filter(|(_, value)| !allowed(value));
    refused.map(|(field, value)| format!("{field} is {value}")).collect()
}

fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn one_of(value: &Value, allowed: &[&str]) -> bool {
    value.as_str().is_some_and(|value| allowed.contains(&value))
}

fn unset_or_false(value: &Value) -> bool {
    value.is_null() || value == false
}

fn unset_or_empty(value: &Value) -> bool {
    value.is_null() || value == ""
}

mod tests {
    use super::{CONTROLS, violations};
    use serde_json::{Value, json};

    /// A pod with a container of each kind that the restricted profile admits.
    fn admitted() -> Value {
        let container = |name: &str| {
            json!({"name": name, "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
            }})
        };
        json!({
            "metadata": {"annotations": {}},
            "spec": {
                "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                "initContainers": [container("first")],
                "containers": [container("main")],
                "ephemeralContainers": [container("debugger")],
                "volumes": [{"name": "scratch", "emptyDir": {}}],
            },
        })
    }

    /// The admitted pod with one field changed; parents of the field are created. Null is the same as unset.
    fn admitted_but(path: &str, value: &Value) -> Value {
        let mut pod = admitted();
        let mut place = &mut pod;
        for step in path.split('.') {
            place = match step.parse::<usize>() {
                Ok(index) => &mut place[index],
                Err(_) => &mut place[step],
            };
        }
        *place = value.clone();
        pod
    }

    /// `path` itself, or with `*` for each kind of container.
    fn each_kind(path: &str) -> Vec<String> {
        let kinds = ["initContainers", "containers", "ephemeralContainers"];
        match path.strip_prefix("*.") {
            Some(field) => kinds.map(|kind| format!("spec.{kind}.0.{field}")).to_vec(),
            None => vec![path.to_owned()],
        }
    }

    /// A control, a field, and a value of the field that violates only this control. `*` is each kind of container.
    fn breaches() -> Vec<(&'static str, &'static str, Value)> {
        vec![
            ("HostProcess", "spec.securityContext.windowsOptions.hostProcess", json!(true)),
            ("HostProcess", "*.securityContext.windowsOptions.hostProcess", json!(true)),
            ("Host Namespaces", "spec.hostNetwork", json!(true)),
            ("Host Namespaces", "spec.hostPID", json!(true)),
            ("Host Namespaces", "spec.hostIPC", json!(true)),
            ("Privileged Containers", "*.securityContext.privileged", json!(true)),
            ("Host Ports", "*.ports", json!([{"containerPort": 80}, {"containerPort": 81, "hostPort": 81}])),
            ("Host Probes / Lifecycle Hooks", "*.livenessProbe.httpGet.host", json!("10.0.0.1")),
            ("Host Probes / Lifecycle Hooks", "*.readinessProbe.tcpSocket.host", json!("10.0.0.1")),
            ("Host Probes / Lifecycle Hooks", "*.startupProbe.httpGet.host", json!("10.0.0.1")),
            ("Host Probes / Lifecycle Hooks", "*.lifecycle.postStart.httpGet.host", json!("10.0.0.1")),
            ("Host Probes / Lifecycle Hooks", "*.lifecycle.preStop.tcpSocket.host", json!("10.0.0.1")),
            (
                "AppArmor",
                "metadata.annotations",
                json!({"container.apparmor.security.beta.kubernetes.io/main": "unconfined"}),
            ),
            ("AppArmor", "spec.securityContext.appArmorProfile.type", json!("Unconfined")),
            ("AppArmor", "*.securityContext.appArmorProfile.type", json!("Unconfined")),
            ("SELinux", "spec.securityContext.seLinuxOptions.type", json!("spc_t")),
            ("SELinux", "*.securityContext.seLinuxOptions.type", json!("spc_t")),
            ("SELinux", "*.securityContext.seLinuxOptions.user", json!("system_u")),
            ("SELinux", "spec.securityContext.seLinuxOptions.role", json!("system_r")),
            ("/proc Mount Type", "*.securityContext.procMount", json!("Unmasked")),
            ("Sysctls", "spec.securityContext.sysctls", json!([{"name": "kernel.msgmax", "value": "65536"}])),
            ("Volume Types", "spec.volumes", json!([{"name": "host", "hostPath": {"path": "/"}}])),
            ("Volume Types", "spec.volumes", json!([{"name": "share", "nfs": {"server": "a", "path": "/"}}])),
            ("Privilege Escalation", "*.securityContext.allowPrivilegeEscalation", json!(true)),
            ("Privilege Escalation", "*.securityContext.allowPrivilegeEscalation", json!(null)),
            ("Running as Non-root", "spec.securityContext.runAsNonRoot", json!(null)),
            ("Running as Non-root", "spec.securityContext.runAsNonRoot", json!(false)),
            ("Running as Non-root", "*.securityContext.runAsNonRoot", json!(false)),
            ("Running as Non-root user", "spec.securityContext.runAsUser", json!(0)),
            ("Running as Non-root user", "*.securityContext.runAsUser", json!(0)),
            ("Seccomp", "spec.securityContext.seccompProfile", json!(null)),
            ("Seccomp", "spec.securityContext.seccompProfile.type", json!("Unconfined")),
            ("Seccomp", "*.securityContext.seccompProfile.type", json!("Unconfined")),
            ("Capabilities", "*.securityContext.capabilities", json!(null)),
            ("Capabilities", "*.securityContext.capabilities.drop", json!(["NET_RAW"])),
            ("Capabilities", "*.securityContext.capabilities.add", json!(["CHOWN"])),
            ("Capabilities", "*.securityContext.capabilities.add", json!(["NET_BIND_SERVICE", "SYS_ADMIN"])),
        ]
    }

    #[test]
    fn a_pod_that_violates_one_control_is_rejected_for_that_control_only() {
        for (control, path, value) in breaches() {
            for path in each_kind(path) {
                let found = violations(&admitted_but(&path, &value));
                assert!(!found.is_empty(), "{path} = {value} is admitted");
                let others: Vec<_> =
                    found.iter().filter(|line| !line.starts_with(&format!("{control}: "))).collect();
                assert!(
                    others.is_empty(),
                    "{path} = {value} violates {control}, but is also reported for {others:?}"
                );
            }
        }
    }

    #[test]
    fn every_control_has_a_pod_that_violates_it() {
        for (control, _) in CONTROLS {
            assert!(breaches().iter().any(|(broken, ..)| *broken == control), "nothing violates {control}");
        }
    }

    #[test]
    fn allowed_values_are_admitted() {
        assert_eq!(violations(&admitted()), [""; 0]);
        for (path, value) in [
            ("spec.hostNetwork", json!(false)),
            ("*.ports", json!([{"containerPort": 8080, "hostPort": 0}])),
            ("*.livenessProbe.httpGet.host", json!("")),
            (
                "metadata.annotations",
                json!({"container.apparmor.security.beta.kubernetes.io/main": "localhost/strict"}),
            ),
            ("spec.securityContext.appArmorProfile.type", json!("RuntimeDefault")),
            ("*.securityContext.seLinuxOptions.type", json!("container_t")),
            ("*.securityContext.seLinuxOptions.level", json!("s0:c1,c2")),
            ("*.securityContext.procMount", json!("Default")),
            ("spec.securityContext.sysctls", json!([{"name": "net.ipv4.tcp_syncookies", "value": "1"}])),
            (
                "spec.volumes",
                json!([{"name": "info", "downwardAPI": {}}, {"name": "token", "projected": {}}]),
            ),
            ("*.securityContext.runAsUser", json!(65532)),
            ("*.securityContext.seccompProfile.type", json!("Localhost")),
            ("*.securityContext.capabilities.add", json!(["NET_BIND_SERVICE"])),
        ] {
            for path in each_kind(path) {
                assert_eq!(violations(&admitted_but(&path, &value)), [""; 0], "{path} = {value}");
            }
        }
    }

    #[test]
    fn containers_may_set_fields_that_the_pod_does_not_set() {
        let mut pod = admitted();
        pod["spec"]["securityContext"] = Value::Null;
        for kind in ["initContainers", "containers", "ephemeralContainers"] {
            pod["spec"][kind][0]["securityContext"]["runAsNonRoot"] = json!(true);
            pod["spec"][kind][0]["securityContext"]["seccompProfile"] = json!({"type": "RuntimeDefault"});
        }
        assert_eq!(violations(&pod), [""; 0]);
    }
}
