//! Changes a Secret that many programs follow, and measures how long each change takes to reach the files of all of them.
//!
//! The files share a machine with the programs that write them, so this program waits with inotify, and for one millisecond
//! after each batch of events: to poll hundreds of files would take the processors from the programs that it measures.
//!
//! `spread CHANGES PAUSE SECRET SERVER` reads the files from standard input, one path a line. PAUSE is in milliseconds and
//! precedes each change. SERVER is the process ID of the API server, or `-` if it is not on this machine. Prints JSON: for
//! each change, the milliseconds from the start of the request until half of the files and until all of them have the new
//! value, and the API server's processor time in milliseconds, without the share that it also takes during the pauses.

use std::collections::HashMap;
use std::error::Error;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, fs, io, process, thread};

use podcreds_bench::Pod;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use serde_json::json;

const USAGE: &str = "usage: spread CHANGES PAUSE SECRET SERVER <FILES";
/// Bounds the number of times that this program wakes up, and is the resolution of the results.
const BATCH: Duration = Duration::from_millis(1);
/// How long to wait for an event before all files are read: the kernel drops events if its queue is full.
const RECHECK: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// A change that takes longer counts as lost.
const LOST: Duration = Duration::from_secs(60);
/// The API server's work for a change ends a little after the last program has written its file.
const TAIL: Duration = Duration::from_millis(100);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [changes, pause, secret, server] = arguments.as_slice() else { return Err(USAGE.into()) };
    let (changes, pause) = (changes.parse::<usize>()?, Duration::from_millis(pause.parse()?));
    let server = if server == "-" { None } else { Some(Server { pid: server.parse()? }) };
    let files = io::read_to_string(io::stdin())?.lines().map(PathBuf::from).collect();
    let pod = Pod::from_env()?;
    let mut watched = Watched::new(files)?;

    let (mut half, mut all) = (Vec::new(), Vec::new());
    let (mut busy, mut idle) = (Vec::new(), Usage::default());
    for change in 0..changes {
        let pause_began = Reading::now(server.as_ref())?;
        thread::sleep(pause);
        let value = format!("test-password-{}-{change}", process::id());
        let before = Reading::now(server.as_ref())?;
        let requested = Instant::now();
        pod.set_password(secret, &value)?;
        let arrivals = watched.wait_for(&value, requested)?;
        thread::sleep(TAIL);
        busy.push(Reading::now(server.as_ref())?.since(&before));
        let paused = before.since(&pause_began);
        idle = Usage { period: idle.period + paused.period, cpu: idle.cpu + paused.cpu };
        half.push(milliseconds(arrivals[(arrivals.len() - 1) / 2]));
        all.push(milliseconds(arrivals[arrivals.len() - 1]));
    }
    let cpu = server.map(|_| busy.iter().map(|usage| usage.beyond(&idle)).collect::<Vec<_>>());
    println!("{}", json!({ "half_ms": half, "all_ms": all, "server_ms": cpu }));
    Ok(())
}

/// The API server.
struct Server {
    pid: u32,
}

impl Server {
    /// The processor time of all of its threads, as the kernel counts it. `/proc/PID/stat` rounds to 10 ms, which is more than
    /// one change may take.
    /// Source: <https://docs.kernel.org/scheduler/sched-stats.html>
    fn cpu(&self) -> Result<Duration, Box<dyn Error>> {
        let mut nanoseconds = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let text = fs::read_to_string(thread?.path().join("schedstat"))?;
            let first = text.split(' ').next().ok_or("schedstat is empty")?;
            nanoseconds += first.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }
}

/// The API server's processor time until a moment.
struct Reading {
    at: Instant,
    cpu: Duration,
}

impl Reading {
    /// Without a server, its processor time is zero.
    fn now(server: Option<&Server>) -> Result<Self, Box<dyn Error>> {
        Ok(Self { cpu: server.map_or(Ok(Duration::ZERO), Server::cpu)?, at: Instant::now() })
    }

    fn since(&self, earlier: &Self) -> Usage {
        Usage { period: self.at - earlier.at, cpu: self.cpu.saturating_sub(earlier.cpu) }
    }
}

/// The API server's processor time in a period.
#[derive(Default)]
struct Usage {
    period: Duration,
    cpu: Duration,
}

impl Usage {
    /// The milliseconds of processor time beyond those that the server takes in the same time while nothing changes.
    fn beyond(&self, idle: &Self) -> f64 {
        let share = if idle.period.is_zero() { 0.0 } else { idle.cpu.div_duration_f64(idle.period) };
        milliseconds(self.cpu.saturating_sub(self.period.mul_f64(share)))
    }
}

/// When each file had the value of the current change.
struct Arrivals {
    start: Instant,
    /// By index of the file, counted from `start`. `None` means that the file does not have the value yet.
    after: Vec<Option<Duration>>,
}

impl Arrivals {
    fn new(files: usize, start: Instant) -> Self {
        Self { start, after: vec![None; files] }
    }

    fn missing(&self) -> usize {
        self.after.iter().filter(|after| after.is_none()).count()
    }

    fn sorted(self) -> Vec<Duration> {
        let mut times: Vec<_> = self.after.into_iter().flatten().collect();
        times.sort();
        times
    }
}

/// The files, and an inotify instance that watches their directories.
struct Watched {
    files: Vec<PathBuf>,
    inotify: OwnedFd,
    /// By watch descriptor: the index of the file.
    descriptors: HashMap<i32, usize>,
}

impl Watched {
    /// Watches the directory of each file, where a rename replaces either the file or a symbolic link that leads to it. Each
    /// file needs a directory of its own.
    fn new(files: Vec<PathBuf>) -> Result<Self, Box<dyn Error>> {
        if files.is_empty() {
            return Err(USAGE.into());
        }
        let inotify = inotify::init(CreateFlags::NONBLOCK)?;
        let mut descriptors = HashMap::new();
        for (index, file) in files.iter().enumerate() {
            let directory = file.parent().ok_or("a file without a directory")?;
            let descriptor = inotify::add_watch(&inotify, directory, WatchFlags::MOVED_TO)
                .map_err(|error| format!("{}: {error}", directory.display()))?;
            descriptors.insert(descriptor, index);
        }
        Ok(Self { files, inotify, descriptors })
    }

    /// Waits until all files have the value, and returns how long after `start` each of them had it, in ascending order.
    fn wait_for(&mut self, value: &str, start: Instant) -> Result<Vec<Duration>, Box<dyn Error>> {
        let mut arrivals = Arrivals::new(self.files.len(), start);
        while arrivals.missing() > 0 {
            if start.elapsed() > LOST {
                let (missing, count) = (arrivals.missing(), self.files.len());
                return Err(format!("{missing} of {count} files did not get {value} within {LOST:?}").into());
            }
            self.note(&mut arrivals, value)?;
            thread::sleep(BATCH);
        }
        Ok(arrivals.sorted())
    }

    /// Waits for changes, and notes the files that now have the value.
    fn note(&mut self, arrivals: &mut Arrivals, value: &str) -> Result<(), Errno> {
        for index in self.changed()? {
            let has_value = || fs::read(&self.files[index]).is_ok_and(|text| text == value.as_bytes());
            if arrivals.after[index].is_none() && has_value() {
                arrivals.after[index] = Some(arrivals.start.elapsed());
            }
        }
        Ok(())
    }

    /// The indexes of the files that may have changed. Waits for the first of them.
    fn changed(&mut self) -> Result<Vec<usize>, Errno> {
        if poll(&mut [PollFd::new(&self.inotify, PollFlags::IN)], Some(&RECHECK))? == 0 {
            return Ok((0..self.files.len()).collect());
        }
        let mut buffer = [MaybeUninit::uninit(); 65536];
        let mut events = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut changed = Vec::new();
        loop {
            match events.next() {
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => {
                    changed.extend(0..self.files.len());
                }
                Ok(event) => changed.extend(self.descriptors.get(&event.wd())),
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error),
            }
        }
        changed.sort_unstable();
        changed.dedup();
        Ok(changed)
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    /// A directory for each name, deleted at the end.
    struct Place(PathBuf);

    impl Place {
        fn new(test: &str, names: &[&str]) -> Result<Self, io::Error> {
            let place = Self(env::temp_dir().join(format!("spread-{test}-{}", process::id())));
            for name in names {
                fs::create_dir_all(place.0.join(name))?;
            }
            Ok(place)
        }

        fn file(&self, name: &str) -> PathBuf {
            self.0.join(name).join("password")
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn replace(file: &Path, value: &str) -> io::Result<()> {
        let temporary = file.with_file_name(".password");
        fs::write(&temporary, value)?;
        fs::rename(temporary, file)
    }

    #[test]
    fn a_replaced_file_and_a_replaced_symbolic_link_are_changes() -> Result<(), Box<dyn Error>> {
        let place = Place::new("changes", &["a", "b", "c", "c/..1", "c/..2"])?;
        for version in ["c/..1", "c/..2"] {
            fs::write(place.file(version), version)?;
        }
        symlink("..1", place.0.join("c/..data"))?;
        symlink("..data/password", place.file("c"))?;
        let mut watched = Watched::new(["a", "b", "c"].map(|name| place.file(name)).into())?;

        replace(&place.file("b"), "new")?;
        symlink("..2", place.0.join("c/..new"))?;
        fs::rename(place.0.join("c/..new"), place.0.join("c/..data"))?;
        assert_eq!(watched.changed()?, [1, 2]);
        Ok(())
    }

    #[test]
    fn a_file_with_another_value_has_not_arrived() -> Result<(), Box<dyn Error>> {
        let place = Place::new("values", &["a", "b"])?;
        let mut watched = Watched::new(["a", "b"].map(|name| place.file(name)).into())?;
        let mut arrivals = Arrivals::new(2, Instant::now());
        replace(&place.file("a"), "old")?;
        replace(&place.file("b"), "new")?;
        watched.note(&mut arrivals, "new")?;
        assert_eq!(arrivals.missing(), 1);
        replace(&place.file("a"), "new")?;
        watched.note(&mut arrivals, "new")?;
        assert_eq!(arrivals.missing(), 0);
        Ok(())
    }

    #[test]
    fn the_idle_share_is_subtracted() {
        let usage =
            |period, cpu| Usage { period: Duration::from_secs(period), cpu: Duration::from_secs(cpu) };
        assert_eq!(usage(10, 5).beyond(&usage(100, 20)), 3000.0);
        assert_eq!(usage(10, 5).beyond(&Usage::default()), 5000.0, "without a pause, nothing is known");
        assert_eq!(usage(10, 1).beyond(&usage(100, 20)), 0.0, "never negative");
    }
}
