//! Runs commands and takes what the kernel says of each.

use std::error::Error;
use std::io::{self, Read as _};
use std::path::Path;
use std::process::{self, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use wait4::Wait4 as _;

use crate::commands::Command;

/// The argument that makes this program end at once.
pub(crate) const NOTHING: &str = "--nothing";

/// The cost of one run, all processes of the command together; the peak is that of the largest of them.
pub(crate) struct Sample {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    pub(crate) peak_kib: u64,
}

/// Measures each command once, in order or backward. The samples are in the order of the commands either way. The first
/// command that fails ends it: a run that did not do the job has no cost.
///
/// An uncounted run comes right before each, because a large process leaves the caches cold for whatever follows it:
/// without that, the same program measures slower after kubectl than after itself.
pub(crate) fn round(commands: &[Command], backward: bool) -> Result<Vec<Sample>, Box<dyn Error>> {
    let warm = |command| run(command).and_then(|_| run(command));
    if !backward {
        return commands.iter().map(warm).collect();
    }
    let mut samples = commands.iter().rev().map(warm).collect::<Result<Vec<_>, _>>()?;
    samples.reverse();
    Ok(samples)
}

fn run(command: &Command) -> Result<Sample, Box<dyn Error>> {
    for folder in &command.empty {
        empty(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let mut process = process::Command::new(&command.program);
    process
        .args(&command.arguments)
        .env_clear()
        .envs(command.environment.iter().map(|(key, value)| (key, value)));
    process.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());

    let start = Instant::now();
    let mut child = process.spawn().map_err(|error| format!("{}: {error}", command.program.display()))?;
    let mut messages = Vec::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_end(&mut messages)?;
    }
    let used = child.wait4()?;
    let wall = start.elapsed();

    if !used.status.success() {
        return Err(
            format!("{}: {}\n{}", command.name, used.status, String::from_utf8_lossy(&messages)).into()
        );
    }
    let cpu = used.rusage.utime + used.rusage.stime;
    Ok(Sample { wall, cpu, peak_kib: used.rusage.maxrss / 1024 })
}

fn empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The peak of a program that does nothing (this one, told so), which is the least that can be measured: until a child
/// replaces itself by its program it shares or copies its parent's memory, and Linux counts that into the child's
/// `ru_maxrss` (getrusage(2), execve(2)).
pub(crate) fn least_peak_kib() -> Result<u64, Box<dyn Error>> {
    let program = env::current_exe()?;
    let nothing = Command { program, arguments: vec![NOTHING.to_owned()], ..Command::default() };
    Ok(run(&nothing)?.peak_kib)
}
