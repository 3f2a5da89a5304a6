//! A program's standard output, with a bound on its size and on the time that it takes. No thread waits for it: a program
//! that hangs, and one whose own children keep its output open, would hold that thread for ever.

use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdout, Command, ExitStatus};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::kube::auth::exec_plugin::error::PluginProblem;
use crate::kube::retry::Deadline;
use crate::secret::{SecretBuffer, SecretBytes};

/// The most that is read, in bytes: some hundreds of certificates.
pub(crate) const OUTPUT_LIMIT: usize = 1024 * 1024;
/// The bytes that are read at once.
const CHUNK: usize = 8 * 1024;
/// How often it is looked whether a program has ended that says nothing: nothing else tells where its output stays open.
const LOOK: Duration = Duration::from_millis(5);

/// Runs a command, whose output is a pipe, to its end.
///
/// # Errors
/// If it cannot be started, fails, prints too much or takes too long; in the last two cases it is ended.
pub(crate) fn output(
    command: &mut Command,
    install_hint: Option<&str>,
    deadline: Deadline,
) -> Result<SecretBytes, PluginProblem> {
    let mut child = command.spawn().map_err(|cause| PluginProblem::of_start(cause, install_hint))?;
    let read = read(&mut child, deadline);
    if read.is_err() {
        // One that has ended is not killed again: std knows which have been waited for.
        let _ = child.kill();
        let _ = child.wait();
    }
    let (status, output) = read?;
    if status.success() { Ok(output) } else { Err(PluginProblem::Failed(status)) }
}

/// Reads until the program has ended and all that it printed is read.
fn read(child: &mut Child, deadline: Deadline) -> Result<(ExitStatus, SecretBytes), PluginProblem> {
    let mut stdout = child.stdout.take();
    let mut output = SecretBuffer::default();
    let mut chunk = Zeroizing::new([0; CHUNK]);
    let mut status = None;
    loop {
        // What it printed before its end can be read at once.
        let wait = if status.is_some() { Duration::ZERO } else { LOOK.min(deadline.remaining()) };
        match &mut stdout {
            Some(open) if is_readable(open, wait)? => match open.read(chunk.as_mut_slice()) {
                Ok(0) => stdout = None,
                Ok(count) if output.len() + count > OUTPUT_LIMIT => {
                    return Err(PluginProblem::TooMuch { limit: OUTPUT_LIMIT });
                }
                Ok(count) => output.push(&chunk[..count]),
                Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                Err(cause) => return Err(PluginProblem::Unread(cause)),
            },
            // A child of its own may keep the output open for as long as it likes.
            Some(_) | None if let Some(status) = status => return Ok((status, output.finish())),
            Some(_) => {}
            None => thread::sleep(wait),
        }
        if status.is_none() {
            status = child.try_wait().map_err(PluginProblem::Unread)?;
        }
        if deadline.remaining().is_zero() {
            return Err(PluginProblem::TimedOut(deadline.waited()));
        }
    }
}

/// Waits until something can be read, or the output is closed.
fn is_readable(stdout: &ChildStdout, wait: Duration) -> Result<bool, PluginProblem> {
    let fd = stdout.as_fd();
    let mut polled = [PollFd::new(&fd, PollFlags::IN)];
    match poll(&mut polled, Timespec::try_from(wait).ok().as_ref()) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(PluginProblem::Unread(errno.into())),
    }
}
