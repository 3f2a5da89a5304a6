//! The signals that podcreds passes on to the program, as `tini` does: all that a process can handle, except those that report a fault
//! of the process itself, and those of the terminal that stop a background process (SIGTTIN, SIGTTOU).
//!
//! Handlers set a flag and write to a socket, which the main loop waits for.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Pid, Signal};
use signal_hook::{flag, low_level::pipe};

/// In the order in which those that arrive together are sent: after SIGTSTP and SIGCONT the program must not stay stopped.
const FORWARDED: [Signal; 18] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
    Signal::ALARM,
    Signal::TERM,
    Signal::STKFLT,
    Signal::TSTP,
    Signal::CONT,
    Signal::URG,
    Signal::XCPU,
    Signal::XFSZ,
    Signal::VTALARM,
    Signal::PROF,
    Signal::WINCH,
    Signal::IO,
    Signal::POWER,
];

/// The signals of `--stop-signal`, which are those of `.on-change`.
const NAMES: [(&str, Signal); 7] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("TERM", Signal::TERM),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("WINCH", Signal::WINCH),
];

/// Whether each of [`FORWARDED`] was received since it was last taken.
static RECEIVED: [AtomicBool; FORWARDED.len()] = [const { AtomicBool::new(false) }; FORWARDED.len()];

/// Reads the value of `--stop-signal`.
pub(crate) fn parse(text: &str) -> Result<Signal, &'static str> {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let found = NAMES.iter().find(|(known, _)| *known == name);
    found.map(|(_, signal)| *signal).ok_or("supported: HUP, INT, QUIT, TERM, USR1, USR2, WINCH")
}

pub(crate) fn name(signal: Signal) -> &'static str {
    NAMES.iter().find(|(_, named)| *named == signal).map_or("the signal", |(name, _)| name)
}

/// Installs the handlers, which write to `wake`, also at the end of a child. A signal that this process ignores stays ignored: the
/// program inherits that, and a handler would undo it.
pub(super) fn register(wake: &UnixStream) -> io::Result<()> {
    let ignored = ignored();
    for (signal, received) in FORWARDED.into_iter().zip(&RECEIVED) {
        if ignored & (1 << (signal.as_raw() - 1)) == 0 {
            flag::register(signal.as_raw(), received)?;
            pipe::register(signal.as_raw(), wake.try_clone()?)?;
        }
    }
    // If it were ignored, the exit status of a child would be lost.
    pipe::register(Signal::CHILD.as_raw(), wake.try_clone()?)?;
    Ok(())
}

/// The signals received since the last call.
pub(super) fn take() -> impl Iterator<Item = Signal> {
    let received =
        |(signal, received): (Signal, &AtomicBool)| received.swap(false, Ordering::AcqRel).then_some(signal);
    FORWARDED.into_iter().zip(&RECEIVED).filter_map(received)
}

/// The signals that this process ignores, one bit each.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bits = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or_default()
}

/// Whether a key of the terminal has sent this signal to the program too: it sends SIGINT and SIGQUIT to all processes of the
/// foreground group. The program may have left that group, as after setsid(2).
pub(super) fn is_from_terminal(signal: Signal, program: Option<Pid>) -> bool {
    let is_key = [Signal::INT, Signal::QUIT].contains(&signal);
    let is_in_foreground =
        |process: &str| Job::of(process).is_some_and(|job| job.terminal != 0 && job.group == job.foreground);
    is_key
        && is_in_foreground("self")
        && program.is_some_and(|pid| is_in_foreground(&pid.as_raw_nonzero().to_string()))
}

/// Whether this process has a controlling terminal.
pub(super) fn has_terminal() -> bool {
    Job::of("self").is_some_and(|job| job.terminal != 0)
}

/// The process group of a process, its controlling terminal (0 for none), and the foreground group of that.
#[derive(Debug, PartialEq, Eq)]
struct Job {
    group: i32,
    terminal: i32,
    foreground: i32,
}

impl Job {
    fn of(process: &str) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
    }

    /// Source: proc_pid_stat(5), fields 5, 7 and 8. The name, field 2, may contain anything.
    fn parse(stat: &str) -> Option<Self> {
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(2);
        let (group, _session) = (fields.next()?.parse().ok()?, fields.next());
        let (terminal, foreground) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Self { group, terminal, foreground })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_of_a_process_is_parsed_after_its_name() {
        let job = |group, terminal, foreground| Some(Job { group, terminal, foreground });
        assert_eq!(Job::parse("7 (a) b) S 1 7 5 34816 9 4194304 0"), job(7, 34816, 9));
        assert_eq!(Job::parse("7 (app) S 1 7 5 0 -1 4194304 0"), job(7, 0, -1), "no terminal");
        assert_eq!(Job::parse(""), None);
    }

    #[test]
    fn a_program_that_is_stopped_and_continued_at_once_runs() {
        let position = |signal| FORWARDED.iter().position(|forwarded| *forwarded == signal).unwrap();
        assert!(position(Signal::TSTP) < position(Signal::CONT));
    }

    #[test]
    fn stop_signals_have_the_names_that_on_change_knows() {
        assert_eq!(parse("TERM"), Ok(Signal::TERM));
        assert_eq!(parse("SIGUSR1"), Ok(Signal::USR1));
        for unknown in ["", "KILL", "term", "9", "SIG"] {
            assert!(parse(unknown).is_err(), "{unknown}");
        }
    }
}
