//! The volume in real pods: applications of every user open, list and enter its entries, and see rotations.
//!
//! On a node with `fs.protected_symlinks=1`, in a sticky, world-writable directory, the kernel follows a link at the end of a
//! path only if the link belongs to the process or to the directory's owner (`may_follow_link` in fs/namei.c).
//! An `emptyDir` with `medium: Memory` is such a directory, and no capability helps. Distributions enable the protection
//! and the kernel's default is off, so each application here reports the node's setting, and a test fails without it.

mod changes;
mod earlier;
mod obstacles;
mod readers;
mod subpath;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use std::{iter, thread};

use serde_json::{Value, json};

use crate::kubectl::{Namespace, PATIENCE};
use crate::pods;
use crate::requirements::since;
use crate::sidecar::{FIRST, put_password};

/// The user of podcreds' image, which tests use by default.
const PODCREDS: u32 = 65_532;
/// A user that is neither root nor podcreds'.
const OTHER: u32 = 1000;
/// Poll interval for the logs of a pod.
const PAUSE: Duration = Duration::from_millis(200);

/// Prints the output of the shell function `report` whenever it has changed, between the lines `[` and `]`.
const REPORTS: &str = r#"
    trap 'exit 0' TERM
    while :; do
        now=$(echo "protected_symlinks=$(cat /proc/sys/fs/protected_symlinks)"; report 2>&1 | sort)
        [ "$now" = "$seen" ] || printf '[\n%s\n]\n' "$now"
        seen=$now
        sleep 0.5
    done
"#;

/// The first line of a report from a node without the protection that these tests need.
const UNPROTECTED: &str = "protected_symlinks=0";

/// An `emptyDir` as the kubelet makes it.
#[derive(Clone, Copy)]
struct Place {
    medium: &'static str,
    fs_group: Option<u32>,
}

const MEMORY: Place = Place { medium: "Memory", fs_group: None };
const MEMORY_WITH_GROUP: Place = Place { medium: "Memory", fs_group: Some(2000) };
const DISK: Place = Place { medium: "", fs_group: None };
const DISK_WITH_GROUP: Place = Place { medium: "", fs_group: Some(2000) };

impl Place {
    fn mount_in(self, pod: &mut Value) {
        pod["spec"]["volumes"][0]["emptyDir"] = json!({"medium": self.medium, "sizeLimit": "8Mi"});
        if let Some(group) = self.fs_group {
            pod["spec"]["securityContext"] = json!({"fsGroup": group});
        }
    }
}

/// A user that an application runs as.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum User {
    /// User 0 without any capability.
    Root,
    /// User 0 with the capabilities that a container has by default, `CAP_DAC_OVERRIDE` among them.
    CapableRoot,
    /// Neither root nor the user of podcreds.
    Other,
    /// The user of podcreds.
    Podcreds,
}

const USERS: &[User] = &[User::Root, User::CapableRoot, User::Other, User::Podcreds];

impl User {
    fn container(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::CapableRoot => "capable-root",
            Self::Other => "other",
            Self::Podcreds => "own",
        }
    }

    /// Whether this user reads a file of mode 0600 that the user `podcreds` wrote.
    fn reads_private_files_of(self, podcreds: u32) -> bool {
        match self {
            Self::Root => podcreds == 0,
            Self::CapableRoot | Self::Podcreds => true,
            Self::Other => false,
        }
    }
}

/// A pod with podcreds as its native sidecar, and one application for each user, all of which report.
///
/// `report` is the body of a shell function.
fn pod(annotations: Value, podcreds: u32, place: Place, users: &[User], report: &str) -> Value {
    let script = format!("report() {{\n{report}\n}}\n{REPORTS}");
    let mut pod = pods::pod(annotations, podcreds, OTHER, &script);
    place.mount_in(&mut pod);
    pod["spec"]["terminationGracePeriodSeconds"] = json!(1);
    let sidecar = &mut pod["spec"]["initContainers"][0];
    sidecar["args"] = json!(["sidecar"]);
    sidecar["restartPolicy"] = "Always".into();
    sidecar["startupProbe"] = json!({
        "exec": {"command": ["/bin/podcreds", "probe"]},
        "periodSeconds": 1,
        "timeoutSeconds": 10,
        "failureThreshold": 60,
    });
    let application = pod["spec"]["containers"][0].take();
    let application = |user: &User| {
        let mut application = application.clone();
        application["name"] = user.container().into();
        let context = &mut application["securityContext"];
        let uid = match user {
            User::Root | User::CapableRoot => 0,
            User::Other => OTHER,
            User::Podcreds => podcreds,
        };
        context["runAsUser"] = uid.into();
        context["runAsNonRoot"] = (uid != 0).into();
        if *user == User::CapableRoot {
            context["capabilities"] = json!({});
        }
        application
    };
    pod["spec"]["containers"] = users.iter().map(application).collect();
    pod
}

/// An init container that runs this script as this user before all others, with the volume writable.
fn prepend_shell(pod: &mut Value, user: u32, script: &str) {
    let mut shell = pod["spec"]["containers"][0].clone();
    shell["name"] = "before".into();
    shell["command"] = json!(["sh", "-euc", script]);
    shell["securityContext"]["runAsUser"] = user.into();
    shell["securityContext"]["runAsNonRoot"] = (user != 0).into();
    shell["volumeMounts"] = pod["spec"]["initContainers"][0]["volumeMounts"].clone();
    pod["spec"]["initContainers"].as_array_mut().expect("a list").insert(0, shell);
}

/// A namespace with the Secret `db`, which its service account may watch; `None` below Kubernetes 1.29.
fn namespace() -> Option<Namespace> {
    since(29, "native sidecars")?;
    let namespace = pods::namespace()?;
    put_password(&namespace, FIRST);
    namespace.grant_watch(&["db"]);
    Some(namespace)
}

type Report = Vec<String>;

/// A report with these lines, from an application on a node with the protection.
fn report<S: Into<String>>(lines: impl IntoIterator<Item = S>) -> Report {
    let mut lines: Vec<String> = lines.into_iter().map(Into::into).collect();
    lines.sort_unstable();
    iter::once("protected_symlinks=1".to_owned()).chain(lines).collect()
}

/// The last report of each container in a pod.
fn reports(namespace: &Namespace, pod: &str) -> BTreeMap<String, Report> {
    let log = namespace.kubectl(&["logs", pod, "--all-containers", "--prefix"]);
    let mut open: BTreeMap<&str, Report> = BTreeMap::new();
    let mut reports = BTreeMap::new();
    for line in log.lines() {
        // [pod/NAME/CONTAINER] LINE
        let (prefix, line) = line.split_once("] ").unwrap_or_else(|| panic!("kubectl printed {line:?}"));
        let container = prefix.rsplit('/').next().expect("a last part");
        match line {
            "[" => drop(open.insert(container, Report::new())),
            "]" => {
                reports.extend(open.remove(container).map(|report| (container.to_owned(), report)));
            }
            line => open.entry(container).or_default().push(line.to_owned()),
        }
    }
    reports
}

/// Waits until these applications of a pod send the expected report, and panics with the difference if they do not.
#[track_caller]
fn assert_reports(
    namespace: &Namespace,
    pod: &str,
    users: &[User],
    when: &str,
    expected: impl Fn(User) -> Report,
) {
    let expected: BTreeMap<_, _> =
        users.iter().map(|user| (user.container().to_owned(), expected(*user))).collect();
    let deadline = Instant::now() + PATIENCE / 2;
    loop {
        let seen = reports(namespace, pod);
        if seen == expected {
            return;
        }
        assert!(
            seen.values().flatten().all(|line| line != UNPROTECTED),
            "the node must protect links as distributions do: sysctl fs.protected_symlinks=1"
        );
        if Instant::now() >= deadline {
            let differences: Vec<_> = expected
                .iter()
                .filter(|(container, report)| seen.get(*container) != Some(report))
                .map(|(container, report)| difference(container, report, seen.get(container)))
                .collect();
            panic!("pod {pod}, {when}:\n{}", differences.join(""));
        }
        thread::sleep(PAUSE);
    }
}

fn difference(container: &str, expected: &Report, seen: Option<&Report>) -> String {
    let Some(seen) = seen else { return format!("{container} has not reported\n") };
    let lines = |sign: char, left: &Report, right: &Report| -> String {
        left.iter()
            .filter(|line| !right.contains(line))
            .map(|line| format!("{container}: {sign} {line}\n"))
            .collect()
    };
    lines('-', expected, seen) + &lines('+', seen, expected)
}
