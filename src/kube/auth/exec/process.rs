//! Runs a program and reads its standard output, within a time and a size limit. It polls instead of reading in a thread: a program
//! that hangs, or whose children keep its output open, would block that thread forever.

use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdout, Command, ExitStatus};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::kube::auth::exec::PluginErrorKind;
use crate::kube::retry::Deadline;
use crate::secret::{SecretBuffer, SecretBytes};

/// The largest output, in bytes: some hundreds of certificates.
pub(crate) const OUTPUT_LIMIT: usize = 1024 * 1024;
/// The bytes per read.
const CHUNK: usize = 8 * 1024;
/// How often to check whether a silent program has exited: if one of its children keeps its output open, nothing else shows it.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Runs a command whose standard output is a pipe.
///
/// # Errors
/// If it cannot be started, fails, prints too much or takes too long. In the last two cases it is killed.
pub(crate) fn output(
    command: &mut Command,
    install_hint: Option<&str>,
    deadline: Deadline,
) -> Result<SecretBytes, PluginErrorKind> {
    let mut child = command.spawn().map_err(|error| PluginErrorKind::from_spawn(error, install_hint))?;
    let read = read(&mut child, deadline);
    if read.is_err() {
        // Harmless if it has exited already: std does not signal a child that was waited for.
        let _ = child.kill();
        let _ = child.wait();
    }
    let (status, output) = read?;
    if status.success() { Ok(output) } else { Err(PluginErrorKind::Failed(status)) }
}

/// Reads until the program has exited and its output is drained.
fn read(child: &mut Child, deadline: Deadline) -> Result<(ExitStatus, SecretBytes), PluginErrorKind> {
    let mut stdout = child.stdout.take();
    let mut output = SecretBuffer::default();
    let mut chunk = Zeroizing::new([0; CHUNK]);
    let mut status = None;
    loop {
        // After the exit, the rest of the output is in the pipe already.
        let wait = if status.is_some() { Duration::ZERO } else { POLL_INTERVAL.min(deadline.remaining()) };
        match &mut stdout {
            Some(open) if is_readable(open, wait)? => match open.read(chunk.as_mut_slice()) {
                Ok(0) => stdout = None,
                Ok(count) if output.len() + count > OUTPUT_LIMIT => {
                    return Err(PluginErrorKind::TooMuchOutput { limit: OUTPUT_LIMIT });
                }
                Ok(count) => output.push(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(PluginErrorKind::Unreadable(error)),
            },
            // It has exited, but a child of its own still holds the pipe open, maybe forever.
            Some(_) | None if let Some(status) = status => return Ok((status, output.finish())),
            Some(_) => {}
            None => thread::sleep(wait),
        }
        if status.is_none() {
            status = child.try_wait().map_err(PluginErrorKind::Unreadable)?;
        }
        if deadline.remaining().is_zero() {
            return Err(PluginErrorKind::TimedOut(deadline.elapsed()));
        }
    }
}

/// Waits until there is output, or end of file.
fn is_readable(stdout: &ChildStdout, wait: Duration) -> Result<bool, PluginErrorKind> {
    let fd = stdout.as_fd();
    let mut polled = [PollFd::new(&fd, PollFlags::IN)];
    match poll(&mut polled, Timespec::try_from(wait).ok().as_ref()) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(PluginErrorKind::Unreadable(errno.into())),
    }
}
