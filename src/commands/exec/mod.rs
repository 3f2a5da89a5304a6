//! `podcreds exec`: runs a program that has the credentials in its environment, for applications that read no files. [`run`] calls
//! exec(2): signals and the exit code are the program's own. [`supervise`] stays in front of the program and restarts it after a
//! rotation, with the variables that [`follow`] finds in the volume, or [`watch`] in the sources.

mod follow;
pub(crate) mod supervise;
mod watch;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use log::{debug, info};
use rustix::io::Errno;

use crate::credential::{Credential, RelativePath};
use crate::env_file::{self, Environment};
use crate::kube::config::registry::Clusters;
use crate::sidecar;
use crate::supervisor;
use crate::sync;
use crate::telemetry::server;
use crate::text::{Quoted, ShortDuration};
use crate::volume::{self, Files, Reader};

/// How often a volume without files is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// The file name extension of format `env`, unless the credential has a `.path`.
const EXTENSION: &str = ".env";

/// Where the variables come from.
#[derive(Debug)]
pub(crate) enum Source<'a> {
    /// The `env` files that `init` or `sidecar` publishes.
    Volume {
        path: &'a Path,
        /// How long to wait for the first publication.
        timeout: Duration,
    },
    /// Annotations and Secrets, first read as `init` does, and then watched as `sidecar` does; nothing is written.
    Rendered { settings: &'a sidecar::Settings, clusters: &'a Arc<Clusters> },
}

/// Which variables the program gets.
#[derive(Debug)]
pub(crate) struct Settings<'a> {
    pub(crate) source: Source<'a>,
    /// The files to read, by path in the volume. Empty means all that end in `.env`, or with [`Source::Rendered`] all of
    /// format `env`.
    pub(crate) files: &'a [RelativePath],
    /// Whether the program starts if such a file is missing.
    pub(crate) allow_none: bool,
}

/// Replaces this process with `command`, a program and its arguments, and adds the variables to its environment. The
/// program inherits everything else: user, working directory, umask, standard streams. `Command` sorts the environment and
/// keeps the last of several variables with the same name.
///
/// # Errors
/// Why the program was not started. On success it does not return.
pub(crate) fn run(settings: &Settings<'_>, command: &[OsString]) -> Result<Infallible, Error> {
    let Settings { source, files: wanted, .. } = settings;
    let files = match source {
        Source::Volume { path, timeout } => await_files(path, *timeout, wanted)?.files,
        Source::Rendered { settings, clusters } => render(&settings.sync, clusters, wanted)?,
    };
    let environment = settings.environment(&files)?;
    debug!("{} variables from {} files of {source}", environment.len(), files.len());
    let [program, arguments @ ..] = command else { return Err(Error::NoCommand) };
    let variables = environment.iter().map(|(name, value)| (name, OsStr::from_bytes(value.expose())));
    // This also restores SIGPIPE and the signal mask, which Rust's runtime and podcreds' handlers changed.
    let cause = Command::new(program).args(arguments).envs(variables).exec();
    Err(Error::from_exec(program, cause, &environment))
}

impl Settings<'_> {
    /// The variables that these files set.
    fn environment(&self, files: &Files) -> Result<Environment, Error> {
        if !self.allow_none {
            if let Some(file) = self.files.iter().find(|file| !files.contains_key(file)) {
                return Err(Error::NoFile { file: file.clone(), from: self.source.to_string() });
            }
            if files.is_empty() {
                return Err(Error::NoFiles { from: self.source.to_string() });
            }
        }
        Ok(Environment::from_files(files)?)
    }
}

/// What a volume holds.
#[derive(Debug)]
struct Publication {
    /// Differs from that of other publications.
    fingerprint: u64,
    files: Files,
}

/// Reads the env files in a volume; waits for the first publication.
fn await_files(path: &Path, timeout: Duration, wanted: &[RelativePath]) -> Result<Publication, Error> {
    let started = Instant::now();
    let mut logged = false;
    loop {
        if let Some(reader) = Reader::open(path)?
            && let Some(publication) = read(&reader, wanted, None)?
        {
            return Ok(publication);
        }
        if !logged {
            info!("waiting for the first files in {}", path.display());
            logged = true;
        }
        let left = timeout.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(Error::Unpublished { path: path.to_owned(), waited: started.elapsed() });
        }
        sleep(left.min(POLL_INTERVAL));
    }
}

/// The env files in the volume. `None` means that the first or a later publication has not finished, or that nothing was published
/// since the one with the fingerprint `known`.
fn read(reader: &Reader, wanted: &[RelativePath], known: Option<u64>) -> Result<Option<Publication>, Error> {
    if !reader.is_complete() {
        return Ok(None);
    }
    // Before the files: a publication that follows is then noticed later.
    let fingerprint = reader.fingerprint();
    if known == Some(fingerprint) {
        return Ok(None);
    }
    let files = match wanted {
        [] => reader.read(|path| path.to_string().ends_with(EXTENSION))?,
        wanted => reader.read(|path| wanted.contains(path))?,
    };
    Ok(Some(Publication { fingerprint, files }))
}

fn render(settings: &sync::Settings, clusters: &Clusters, wanted: &[RelativePath]) -> Result<Files, Error> {
    let is_wanted = |credential: &Credential| credential.is_selected_env_file(wanted);
    let (bundle, _) = sync::incomplete::render_when_complete(settings, clusters, is_wanted)?;
    Ok(bundle.into_iter().map(|(path, file)| (path, file.content)).collect::<BTreeMap<_, _>>())
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume { path, .. } => write!(f, "volume {}", path.display()),
            Self::Rendered { settings, .. } => settings.sync.annotations.fmt(f),
        }
    }
}

/// Why the program was not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Sync(#[from] sync::Error),
    #[error(transparent)]
    Volume(#[from] volume::Error),
    /// The first publication did not finish in time.
    #[error("volume {}: no files published within {}", path.display(), ShortDuration(*waited))]
    Unpublished { path: PathBuf, waited: Duration },
    /// The volume had files when the program was started.
    #[error("volume {}: nothing is published in it any more", path.display())]
    Emptied { path: PathBuf },
    #[error("{from} has no env file")]
    NoFiles {
        /// The volume, pod or annotations file.
        from: String,
    },
    /// A file that `--env-file` names is missing.
    #[error("{from} has no env file {file}")]
    NoFile { file: RelativePath, from: String },
    /// A file of another format, or files that contradict each other.
    #[error(transparent)]
    EnvFile(#[from] env_file::Errors),
    #[error(transparent)]
    Listen(#[from] server::Error),
    #[error(transparent)]
    Supervisor(#[from] supervisor::Error),
    #[error("missing command: pass it after --, as in podcreds exec -- /app")]
    NoCommand,
    #[error("program {} {why}", Quoted(program))]
    NotFound { program: String, why: &'static str },
    #[error("program {} {why}", Quoted(program))]
    NotExecutable { program: String, why: String },
}

impl Error {
    /// Explains the error that exec(2) returned.
    fn from_exec(program: &OsStr, cause: io::Error, environment: &Environment) -> Self {
        let has_path = program.as_bytes().contains(&b'/');
        let exists = Path::new(program).exists();
        let program = program.to_string_lossy().into_owned();
        if cause.kind() == ErrorKind::NotFound {
            let why = match (has_path, exists) {
                (false, _) => "not found in PATH: pass its path, as in /usr/bin/app",
                (true, false) => "does not exist: correct the path after --, or add the program to the image",
                // The kernel reports a missing interpreter as if the program itself were missing.
                (true, true) => {
                    "exists, but its interpreter does not: the one in its first line (#!), or the dynamic linker that it was built for"
                }
            };
            return Self::NotFound { program, why };
        }
        let why = match Errno::from_io_error(&cause) {
            Some(Errno::ACCESS) => format!(
                "permission denied (uid {}): it is not a file that this user may execute, or its file system is mounted noexec",
                rustix::process::geteuid().as_raw()
            ),
            Some(Errno::NOEXEC) => {
                "is not an executable for this machine: it was built for another architecture, or is a script without #! in its first line".to_owned()
            }
            Some(Errno::TOOBIG) => {
                let largest = environment.largest().map(|(name, file)| format!("; the largest variable from an env file is {name}, in file {file}"));
                format!(
                    "cannot be started: its arguments and environment are too large (Linux allows 128 KiB for one variable, and a quarter of the stack limit in total){}: drop it with .keys, or deliver it as a file (.format files)",
                    largest.unwrap_or_default()
                )
            }
            _ => format!("cannot be started: {cause}"),
        };
        Self::NotExecutable { program, why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// glibc's execvp runs such a file with a shell instead, so a process that calls it never sees this error.
    #[test]
    fn a_program_for_another_machine_is_reported_as_such() {
        let error = Error::from_exec("app".as_ref(), Errno::NOEXEC.into(), &Environment::default());
        assert!(matches!(&error, Error::NotExecutable { .. }));
        assert!(
            error.to_string().starts_with("program \"app\" is not an executable for this machine"),
            "{error}"
        );
    }
}
