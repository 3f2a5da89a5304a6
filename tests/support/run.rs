//! Processes and conditions with a deadline: a test that would hang fails, and says what it saw.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// Between two looks at something that is awaited.
const PAUSE: Duration = Duration::from_millis(2);

/// Starts `command` and waits for its end.
///
/// # Panics
/// When it has not ended, or not closed its output, `within` the time: it is killed first, and what it printed is told.
pub(crate) fn run(command: Command, within: Duration) -> Finished {
    Running::start(command).wait(within)
}

/// The same with this file as its input.
pub(crate) fn run_on(command: Command, input: File, within: Duration) -> Finished {
    Running::start_on(command, input.into()).wait(within)
}

/// Waits until `condition` holds.
///
/// # Panics
/// With `what`, when it does not hold `within` the time.
pub(crate) fn poll_until(within: Duration, what: &str, condition: impl FnMut() -> bool) {
    poll_every(PAUSE, within, what, condition);
}

/// The same for what costs something to look at.
pub(crate) fn poll_every(
    interval: Duration,
    within: Duration,
    what: &str,
    mut condition: impl FnMut() -> bool,
) {
    let deadline = Instant::now() + within;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        thread::sleep(interval);
    }
}

/// The processor time that a process has taken so far, in all its threads, those that have ended too.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    // USER_HZ, which is 100 wherever Kubernetes runs.
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    // After the name come the third field and those that follow; the name may hold anything (proc_pid_stat(5)).
    let fields: Vec<_> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    let ticks: u32 = fields[14 - 3..=15 - 3].iter().map(|field| field.parse::<u32>().unwrap()).sum();
    TICK * ticks
}

/// How a process ended and what it printed.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The exit code; `None` where a signal ended it.
    pub(crate) code: Option<i32>,
    /// The number of the signal that ended it.
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    /// From before the start to the end of process and output.
    pub(crate) elapsed: Duration,
}

impl Finished {
    /// Standard output as text; what is not UTF-8 is replaced.
    pub(crate) fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// A process at work, killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    started: Instant,
    stdout: Arc<Mutex<Vec<u8>>>,
    stderr: Arc<Mutex<Vec<u8>>>,
    closed: Receiver<()>,
}

impl Running {
    /// Starts `command` with no input; its output is collected from now on.
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

    /// What it wrote to standard output so far.
    pub(crate) fn stdout(&self) -> Vec<u8> {
        self.stdout.lock().unwrap().clone()
    }

    /// What it wrote to standard error so far.
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().unwrap()).into_owned()
    }

    /// Whether it has not ended yet.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.ended().is_none()
    }

    /// Sends a signal, such as `Signal::TERM`. Nothing happens where the process has ended already.
    pub(crate) fn send(&mut self, signal: Signal) {
        if self.is_alive() {
            let pid = Pid::from_child(&self.child);
            rustix::process::kill_process(pid, signal).expect("a process of ours takes a signal");
        }
    }

    /// Waits for its end; see [`run`].
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

    /// Kills by the id of the child, which stays ours until it is waited for.
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

/// Reads to the end on a thread of its own, so that a full pipe never blocks the process.
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
        // Nobody waits any more when the test has given up.
        let _ = closed.send(());
    });
    collected
}
