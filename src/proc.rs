//! What the kernel reports about processes in /proc: their state, their age, and which of them run in this container.
//! Source: proc_pid_stat(5), cgroups(7)

use std::fs::{self, File};
use std::io::{self, Read};
use std::time::Duration;

use rustix::process::Pid;
use rustix::time::{ClockId, clock_gettime};

/// Maximum size of a file in /proc, in bytes.
const LIMIT: u64 = 64 * 1024;
/// `USER_HZ`: the same on all platforms that Rust supports, and a constant in Prometheus' procfs library too. sysconf(3) would
/// need the auxiliary vector, which a process that is not dumpable may not read.
pub(crate) const TICKS_PER_SECOND: f64 = 100.0;

/// Reads a file of limited size.
///
/// # Errors
/// For example if the process has ended.
pub(crate) fn read(path: &str) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LIMIT).read_to_string(&mut text)?;
    Ok(text)
}

/// The path of a file about this process.
pub(crate) fn path(pid: Pid, file: &str) -> String {
    format!("/proc/{}/{file}", pid.as_raw_nonzero())
}

/// All processes that this process sees.
pub(crate) fn processes() -> impl Iterator<Item = Pid> {
    let names = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| Pid::from_raw(name.parse().ok()?))
}

/// Fields of `/proc/PID/stat`.
pub(crate) struct Stat {
    pub(crate) state: char,
    /// `None` means that the parent is not in this process namespace.
    pub(crate) parent: Option<Pid>,
    pub(crate) cpu_ticks: u64,
    pub(crate) threads: u64,
    /// From the boot. exec(2) does not change it.
    start_ticks: u64,
    pub(crate) virtual_bytes: u64,
}

impl Stat {
    /// `None` means that the process has ended.
    pub(crate) fn of(pid: Pid) -> Option<Self> {
        Self::parse(&read(&path(pid, "stat")).ok()?)
    }

    /// Of this process; `None` means that /proc does not have it.
    pub(crate) fn own() -> Option<Self> {
        Self::parse(&read("/proc/self/stat").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The second field is a name in parentheses that may itself contain spaces and parentheses.
        let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            state: fields.first()?.chars().next()?,
            parent: fields.get(1).and_then(|parent| Pid::from_raw(parent.parse().ok()?)),
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
        })
    }

    /// How long ago the process started. Independent of the wall clock. /proc/uptime would be wrong where LXCFS replaces it with
    /// the age of the container.
    pub(crate) fn age(&self) -> Duration {
        let now = clock_gettime(ClockId::Boottime);
        let now = Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32);
        now.saturating_sub(Duration::from_millis(self.start_ticks * 10))
    }
}

/// How long ago this container started: the age of its oldest process. With `shareProcessNamespace`, process 1 is the pause
/// container, and the other containers' processes are visible too; only the cgroup tells them apart. `None` means that /proc is
/// not mounted.
pub(crate) fn container_age() -> Option<Duration> {
    // Without cgroups, all texts are empty and all visible processes count.
    let own = read("/proc/self/cgroup").unwrap_or_default();
    let is_own = |pid: &Pid| is_within(&own, &read(&path(*pid, "cgroup")).unwrap_or_default());
    processes().filter(is_own).filter_map(Stat::of).map(|stat| stat.age()).max()
}

/// Whether a process belongs to the container of another one, by their `/proc/PID/cgroup` as the first of them reads it: its
/// cgroups are the same, or below those, as with systemd in a container. With a private cgroup namespace, paths are relative to
/// it, and those of other containers begin with `/..`.
fn is_within(own: &str, other: &str) -> bool {
    let is_below = |(own, other): (&str, &str)| {
        let rest = other.strip_prefix(own.trim_end_matches('/'));
        rest.is_some_and(|rest| (rest.is_empty() || rest.starts_with('/')) && !rest.starts_with("/.."))
    };
    own.lines().count() == other.lines().count() && own.lines().zip(other.lines()).all(is_below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_after_a_name_with_parentheses_are_parsed() {
        let text = "42 (a) (b c) S 7 42 42 0 -1 4194560 5 0 0 0 150 50 7 8 20 0 3 0 1000 8192000 200 1 2\n";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.state, stat.parent), ('S', Pid::from_raw(7)));
        assert_eq!((stat.cpu_ticks, stat.threads, stat.start_ticks), (200, 3, 1000));
        assert_eq!(stat.virtual_bytes, 8_192_000);
        for cut in ["", "42 (a", "42 (a) S 1"] {
            assert!(Stat::parse(cut).is_none(), "{cut}");
        }
    }

    #[test]
    fn this_process_is_not_older_than_its_container() {
        let own = Stat::own().unwrap();
        assert!(container_age().unwrap() >= own.age());
        let boot = clock_gettime(ClockId::Boottime);
        assert!(own.age() < Duration::from_secs(boot.tv_sec.unsigned_abs()));
        assert!(own.age() < Duration::from_secs(3600), "{:?}", own.age());
    }

    /// The cgroup of a container by driver systemd.
    const SYSTEMD: &str =
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a1b2c3d.slice/cri-containerd-";

    #[test]
    fn processes_of_a_container_have_its_cgroup_or_one_below() {
        let v1 =
            |path: &str| format!("12:pids:{path}\n11:cpu,cpuacct:{path}\n1:name=systemd:{path}\n0::{path}\n");
        let v2 = |path: &str| format!("0::{path}\n");
        for lines in [v1, v2] as [fn(&str) -> String; 2] {
            for (own, same, foreign) in [
                // A private cgroup namespace, with runc and with crun.
                (
                    "/".to_owned(),
                    ["/", "/init.scope", "/app/worker"].map(str::to_owned).to_vec(),
                    [
                        "/../b",
                        "/../../podX/b",
                        "/../cri-containerd-b.scope",
                        "/../../../../init.scope",
                        "/..",
                    ]
                    .map(str::to_owned)
                    .to_vec(),
                ),
                (
                    "/container".to_owned(),
                    vec!["/container".to_owned(), "/container/a".to_owned()],
                    vec![
                        "/../../crio-b.scope/container".to_owned(),
                        "/container2".to_owned(),
                        "/".to_owned(),
                    ],
                ),
                // The node's cgroup namespace.
                (
                    "/kubepods/burstable/podX/a".to_owned(),
                    vec![
                        "/kubepods/burstable/podX/a".to_owned(),
                        "/kubepods/burstable/podX/a/init.scope".to_owned(),
                    ],
                    [
                        "/kubepods/burstable/podX/ab",
                        "/kubepods/burstable/podX/b",
                        "/kubepods/burstable/podX",
                        "/",
                    ]
                    .map(str::to_owned)
                    .to_vec(),
                ),
                (
                    format!("{SYSTEMD}a.scope"),
                    vec![format!("{SYSTEMD}a.scope"), format!("{SYSTEMD}a.scope/container")],
                    vec![format!("{SYSTEMD}b.scope"), "/system.slice/kubelet.service".to_owned()],
                ),
            ] {
                let own_lines = lines(&own);
                for other in same {
                    assert!(is_within(&own_lines, &lines(&other)), "{own} {other}");
                }
                for other in foreign {
                    assert!(!is_within(&own_lines, &lines(&other)), "{own} {other}");
                }
            }
        }
    }

    #[test]
    fn one_controller_of_another_container_is_enough_to_tell_it_apart() {
        assert!(!is_within("4:pids:/a\n3:memory:/a\n", "4:pids:/a\n3:memory:/b\n"));
        assert!(!is_within("4:pids:/a\n", ""), "the process has ended");
    }

    #[test]
    fn without_cgroups_all_visible_processes_count() {
        assert!(is_within("", ""));
    }
}
