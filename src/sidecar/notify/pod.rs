//! Which processes belong to this pod. With `hostPID: true` podcreds sees all processes of the node, but may signal those of its own
//! pod only. The kubelet gives each pod a cgroup with its UID in the name, and each container one below that.
//! Sources: <https://man7.org/linux/man-pages/man7/cgroup_namespaces.7.html>,
//! <https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/cm/pod_container_manager_linux.go>

/// The minimum number of digits in a pod's UID: the UID of a static pod is a hash of 32 digits without dashes.
const UID_DIGITS: usize = 32;

/// The maximum number of levels between the cgroup of a pod and the root of a container's cgroup namespace: crun adds a cgroup
/// `container` below that of the container.
const MAX_DEPTH: usize = 2;

/// Whether two processes belong to one pod, by their `/proc/PID/cgroup` as the first of them reads it.
///
/// With the host's cgroup namespace, the usual case with cgroup v1, both paths name their pod. With a private one, paths are relative
/// to podcreds' container: another container of the pod is `/../ID`, another pod is further up and has its name in the path, and the
/// node's own processes are above all pods.
pub(crate) fn is_same(own: &str, other: &str) -> bool {
    match (name(own), name(other)) {
        (None, None) => {
            paths(other).all(|path| path.split('/').filter(|part| *part == "..").count() <= MAX_DEPTH)
        }
        (own, other) => own == other,
    }
}

/// The path of each line `ID:CONTROLLERS:PATH`.
fn paths(cgroups: &str) -> impl Iterator<Item = &str> {
    cgroups.lines().filter_map(|line| line.splitn(3, ':').nth(2))
}

/// The UID of the pod that a path names, as in `kubepods/burstable/podUID/ID` (driver cgroupfs) or
/// `kubepods-burstable-podUID.slice/cri-containerd-ID.scope` (driver systemd, with `_` for `-`).
fn name(cgroups: &str) -> Option<&str> {
    paths(cgroups).flat_map(|path| path.split('/')).find_map(|part| {
        let (before, uid) = part.strip_suffix(".slice").unwrap_or(part).rsplit_once("pod")?;
        let is_uid = uid.len() >= UID_DIGITS
            && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'-' | b'_'));
        (is_uid && (before.is_empty() || before.ends_with('-'))).then_some(uid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "0a1b2c3d-0001-4002-8003-0a1b2c3d4e5f";
    const OTHER: &str = "0a1b2c3d-0001-4002-8003-0a1b2c3d4e60";
    const STATIC: &str = "0a1b2c3d00014002800300000000abcd";

    /// The cgroup of a container by driver systemd.
    fn systemd(pod: &str, id: &str) -> String {
        let pod = pod.replace('-', "_");
        format!(
            "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{pod}.slice/cri-containerd-{id}.scope"
        )
    }

    fn all_same(own: &str, same: &[String], foreign: &[String]) {
        for other in same {
            assert!(is_same(own, other), "{own} {other}");
        }
        for other in foreign {
            assert!(!is_same(own, other), "{own} {other}");
        }
    }

    #[test]
    fn whole_paths_are_of_one_pod_if_its_uid_is_the_same() {
        let v1 = |path: &str| format!("12:pids:{path}\n11:cpu,cpuacct:{path}\n1:name=systemd:{path}\n0::/\n");
        let v2 = |path: &str| format!("0::{path}\n");
        for lines in [v1, v2] as [fn(&str) -> String; 2] {
            for (class, node) in [("", "/"), ("burstable/", "/"), ("besteffort/", "/kubelet/")] {
                let container = |pod: &str, id: &str| lines(&format!("{node}kubepods/{class}pod{pod}/{id}"));
                all_same(
                    &container(POD, "a"),
                    &[container(POD, "b"), container(POD, "b/init.scope")],
                    &[
                        container(OTHER, "b"),
                        container(STATIC, "c"),
                        lines("/"),
                        lines("/system.slice/cron.service"),
                    ],
                );
            }
            let container = |pod: &str, id: &str| lines(&format!("/{}", systemd(pod, id)));
            all_same(
                &container(POD, "a"),
                &[container(POD, "b"), container(POD, "b") + "/container"],
                &[
                    container(OTHER, "b"),
                    container(STATIC, "c"),
                    lines("/init.scope"),
                    lines("/kubepods.slice"),
                ],
            );
        }
    }

    /// The namespaces of runc and crun, which puts the container one level deeper.
    #[test]
    fn relative_paths_are_of_one_pod_if_they_lead_to_a_sibling() {
        let other = OTHER.replace('-', "_");
        let lines = |path: &str| format!("0::{path}\n");
        let foreign = [
            format!("/../../pod{OTHER}/b"),
            format!("/../../../besteffort/pod{OTHER}/b"),
            format!("/../../../pod{STATIC}/c"),
            format!("/../../kubepods-burstable-pod{other}.slice/cri-containerd-b.scope"),
            format!("/../../../kubepods-pod{other}.slice/crio-b.scope/container"),
            "/../../..".to_owned(),
            "/../../../../init.scope".to_owned(),
            "/../../../../system.slice/kubelet.service".to_owned(),
        ];
        all_same(
            "0::/\n",
            &["/", "/init.scope", "/../b", "/../cri-containerd-b.scope", "/../../crio-b.scope/container"]
                .map(lines),
            &foreign.each_ref().map(|path| lines(path)),
        );
        let v1 = |path: &str| format!("4:pids:{path}\n3:memory:{path}\n");
        all_same(
            &v1("/"),
            &[v1("/"), v1("/../b")],
            &[v1(&foreign[0]), "4:pids:/../b\n3:memory:/../../..\n".into()],
        );
    }

    #[test]
    fn outside_of_a_pod_all_processes_count() {
        all_same("", &[String::new()], &[]);
        all_same("0::/user.slice/session-1.scope\n", &["0::/system.slice/nginx.service\n".into()], &[]);
    }
}
