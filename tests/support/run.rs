//! Processes and conditions with a deadline: a test that would hang fails and shows the output so far.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// Interval between two checks of a condition.
const PAUSE: Duration = Duration::from_millis(2);

/// Starts `command` and waits for its end.
///
/// # Panics
/// If the process has not exited and closed its output `within` the time. It is killed first, and the panic shows its
/// output.
pub(crate) fn run(command: Command, within: Duration) -> Finished {
    Running::start(command).wait(within)
}

/// Like [`run`], with this file as standard input.
pub(crate) fn run_on(command: Command, input: File, within: Duration) -> Finished {
    Running::start_on(command, input.into()).wait(within)
}

/// Waits until `condition` holds.
///
/// # Panics
/// If the condition does not hold `within` the time; the message contains `what`.
pub(crate) fn poll_until(within: Duration, what: &str, condition: impl FnMut() -> bool) {
    poll_every(PAUSE, within, what, condition);
}

/// Like [`poll_until`], for conditions that are expensive to check.
pub(crate) fn poll_every(interval: Duration, within: Duration, what: &str, condition: impl FnMut() -> bool) {
    assert!(holds_within(interval, within, condition), "not within {within:?}: {what}");
}

/// Checks the condition until it holds. Returns whether it did `within` the time.
fn holds_within(interval: Duration, within: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    while !condition() {
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(interval);
    }
    true
}

/// The processor time that a process has used so far, including its finished threads.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    // USER_HZ, which is 100 on every platform that Kubernetes supports.
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process exists");
    // The name may contain anything, so fields are counted from its end, where the third one follows
    // (proc_pid_stat(5)).
    let fields: Vec<_> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    let ticks: u32 = fields[14 - 3..=15 - 3].iter().map(|field| field.parse::<u32>().unwrap()).sum();
    TICK * ticks
}

/// The most memory that a process has had resident so far, in bytes.
pub(crate) fn peak_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process exists");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux reports it");
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kibibytes * 1024
}

/// How a process ended and what it printed.
#[derive(Debug)]
pub(crate) struct Finished {
    /// `None` if a signal ended the process.
    pub(crate) code: Option<i32>,
    /// The signal that ended the process, if any.
    pub(crate) signal: Option<i32>,
    /// Whether the kernel wrote a core, to a file or a program.
    pub(crate) core_dumped: bool,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    /// From before the start until the process has exited and closed its output.
    pub(crate) elapsed: Duration,
}

impl Finished {
    /// Standard output as text, with invalid UTF-8 replaced.
    pub(crate) fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// A running process, killed on drop.
pub(crate) struct Running {
    child: Child,
    started: Instant,
    stdout: Arc<Mutex<Vec<u8>>>,
    stderr: Arc<Mutex<Vec<u8>>>,
    closed: Receiver<()>,
}

impl Running {
    /// Starts `command` without input and collects its output.
    pub(crate) fn start(command: Command) -> Self {
        Self::start_on(command, Stdio::null())
    }

    fn start_on(mut command: Command, input: Stdio) -> Self {
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let (sender, closed) = mpsc::channel();
        let stdout = collect(child.stdout.take().expect("stdout is piped"), sender.clone());
        let stderr = collect(child.stderr.take().expect("stderr is piped"), sender);
        Self { child, started, stdout, stderr, closed }
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The standard output so far.
    pub(crate) fn stdout(&self) -> Vec<u8> {
        self.stdout.lock().unwrap().clone()
    }

    /// The standard error so far.
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().unwrap()).into_owned()
    }

    /// Waits until `condition` holds.
    ///
    /// # Panics
    /// If it does not hold `within` the time. The message contains `what` and the standard error.
    #[track_caller]
    pub(crate) fn poll_until(&self, within: Duration, what: &str, condition: impl FnMut() -> bool) {
        let holds = holds_within(PAUSE, within, condition);
        assert!(holds, "not within {within:?}: {what}; log:\n{}", self.stderr());
    }

    /// Whether the process is still running.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.ended().is_none()
    }

    /// Sends a signal such as `Signal::TERM`, unless the process has exited.
    pub(crate) fn send(&mut self, signal: Signal) {
        if self.is_alive() {
            let pid = Pid::from_child(&self.child);
            rustix::process::kill_process(pid, signal).expect("a process of ours takes a signal");
        }
    }

    /// Waits for the process to exit; see [`run`].
    pub(crate) fn wait(mut self, within: Duration) -> Finished {
        let deadline = Instant::now() + within;
        let status = loop {
            if let Some(status) = self.ended() {
                break status;
            }
            if Instant::now() >= deadline {
                self.give_up(&format!("has not ended within {within:?}"));
            }
            thread::sleep(PAUSE);
        };
        for _ in ["stdout", "stderr"] {
            if self.closed.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_err() {
                self.give_up("has ended, but something that it started still holds its output open");
            }
        }
        Finished {
            code: status.code(),
            signal: status.signal(),
            core_dumped: status.core_dumped(),
            elapsed: self.started.elapsed(),
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    fn give_up(&mut self, why: &str) -> ! {
        self.end();
        let stdout = String::from_utf8_lossy(&self.stdout()).into_owned();
        let stderr = self.stderr();
        panic!("process {} {why}\n--- stdout\n{stdout}\n--- stderr\n{stderr}", self.id());
    }

    /// The id stays the child's until it is waited for, so this cannot kill another process.
    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Reads to the end on a separate thread, so that a full pipe never blocks the process.
fn collect(mut from: impl Read + Send + 'static, closed: Sender<()>) -> Arc<Mutex<Vec<u8>>> {
    let collected = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&collected);
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => into.lock().unwrap().extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        // The receiver is gone if the test has given up.
        let _ = closed.send(());
    });
    collected
}
