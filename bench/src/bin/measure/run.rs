//! Runs commands and reads their resource usage from the kernel.

use std::error::Error;
use std::io::{self, Read as _};
use std::path::Path;
use std::process::{self, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use wait4::Wait4 as _;

use crate::commands::Command;

/// With this argument, this program exits at once.
pub(crate) const NOTHING: &str = "--nothing";

/// The cost of one run: the sum over all processes of the command, and the peak of the largest process.
pub(crate) struct Sample {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    pub(crate) peak_kib: u64,
}

/// Measures each command once, in order or backward, and returns the samples in the order of the commands. Fails with the
/// first command that fails, because a run that did not do its job has no meaningful cost.
///
/// A warm-up run precedes each measured run, because a large process leaves the caches cold for its successor: without it,
/// the same program measures slower after kubectl than after itself.
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
    for directory in &command.empty {
        empty(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
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

fn empty(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The peak of a program that does nothing (this one with [`NOTHING`]), which is the least that can be measured: until a
/// child calls `execve`, it shares or copies its parent's memory, and Linux counts that into the child's `ru_maxrss`
/// (getrusage(2), execve(2)).
pub(crate) fn least_peak_kib() -> Result<u64, Box<dyn Error>> {
    let program = env::current_exe()?;
    let nothing = Command { program, arguments: vec![NOTHING.to_owned()], ..Command::default() };
    Ok(run(&nothing)?.peak_kib)
}
