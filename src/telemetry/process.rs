//! The `process_*` metrics, as Prometheus' client libraries define them.
//! Source: <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>, proc_pid_stat(5), proc_pid_status(5)

use std::fs::{self, File};
use std::io::{self, Read};
use std::time::{Duration, SystemTime};

use rustix::process::{Resource, getrlimit};

/// Maximum size of a file in /proc, in bytes.
const LIMIT: u64 = 4096;
/// `USER_HZ`: the same on all platforms that Rust supports, and a constant in Prometheus' procfs library too. sysconf(3) would
/// need the auxiliary vector, which a process that is not dumpable may not read.
const TICKS_PER_SECOND: f64 = 100.0;

/// What the kernel counts for this process. A field is `None` if /proc does not have it, as in some sandboxes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct ProcessStats {
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) open_fds: Option<u64>,
    pub(crate) max_fds: Option<u64>,
    pub(crate) virtual_memory_bytes: Option<u64>,
    pub(crate) resident_memory_bytes: Option<u64>,
    pub(crate) threads: Option<u64>,
}

impl ProcessStats {
    pub(crate) fn read() -> Self {
        let stat = Stat::read();
        let stat = stat.as_ref();
        Self {
            cpu_seconds: stat.map(|stat| seconds(stat.cpu_ticks)),
            // The directory itself is one of them while it is read.
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count().saturating_sub(1) as u64),
            max_fds: getrlimit(Resource::Nofile).current,
            virtual_memory_bytes: stat.map(|stat| stat.virtual_bytes),
            // In `stat` it is a number of pages, whose size differs between kernels.
            resident_memory_bytes: read("/proc/self/status").ok().and_then(|status| resident_bytes(&status)),
            threads: stat.map(|stat| stat.threads),
        }
    }
}

/// When this process started. The kernel counts from the boot, so each call may differ by the resolution of its clocks: a
/// caller keeps the first result.
pub(crate) fn start_time() -> Option<SystemTime> {
    let uptime: f64 = read("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()?;
    let age = uptime - seconds(Stat::read()?.start_ticks);
    SystemTime::now().checked_sub(Duration::try_from_secs_f64(age.max(0.0)).ok()?)
}

struct Stat {
    cpu_ticks: u64,
    threads: u64,
    /// From the boot.
    start_ticks: u64,
    virtual_bytes: u64,
}

impl Stat {
    fn read() -> Option<Self> {
        Self::parse(&read("/proc/self/stat").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The second field is a name in parentheses that may itself contain spaces and parentheses.
        let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
        })
    }
}

/// Finds `VmRSS:   1234 kB` in `/proc/self/status`.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

fn read(path: &str) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LIMIT).read_to_string(&mut text)?;
    Ok(text)
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / TICKS_PER_SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_after_a_name_with_parentheses_are_parsed() {
        let text = "42 (a) (b c) S 1 42 42 0 -1 4194560 5 0 0 0 150 50 7 8 20 0 3 0 1000 8192000 200 1 2\n";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.cpu_ticks, stat.threads, stat.start_ticks), (200, 3, 1000));
        assert_eq!(stat.virtual_bytes, 8_192_000);
        assert_eq!(resident_bytes("Name:\ta\nVmRSS:\t    2 kB\nThreads:\t3\n"), Some(2048));
        assert_eq!(resident_bytes("Name:\ta\n"), None);
        for cut in ["", "42 (a", "42 (a) S 1"] {
            assert!(Stat::parse(cut).is_none(), "{cut}");
        }
    }

    #[test]
    fn this_process_has_plausible_stats() {
        let stats = ProcessStats::read();
        assert!(stats.cpu_seconds.is_some_and(|seconds| (0.0..3600.0).contains(&seconds)), "{stats:?}");
        assert!(
            stats.open_fds.is_some_and(|count| count >= 3) && stats.open_fds <= stats.max_fds,
            "{stats:?}"
        );
        assert!(stats.threads.is_some_and(|count| count >= 1), "{stats:?}");
        assert!(stats.resident_memory_bytes > Some(100_000), "{stats:?}");
        assert!(stats.virtual_memory_bytes > stats.resident_memory_bytes, "{stats:?}");
        let age = start_time().unwrap().elapsed().unwrap_or_default();
        assert!(age < Duration::from_secs(3600), "{age:?}");
    }
}
