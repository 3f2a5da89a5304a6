//! `podcreds exec`: becomes another program that has the credentials in its environment, for applications that read no
//! files. No process stays behind: signals and the exit code are that program's own.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use log::{debug, info};
use rustix::io::Errno;

use crate::credential::RelativePath;
use crate::env_file::{self, Environment};
use crate::kube::config::clusters::Clusters;
use crate::sync;
use crate::text::Quoted;
use crate::volume::{self, Files, Reader};

/// Between two looks at a volume that holds nothing yet.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// What the name of an `env` file ends with, unless its credential has a `.path`.
const ENDING: &str = ".env";

/// Where the variables come from.
#[derive(Debug)]
pub(crate) enum Source<'a> {
    /// The `env` files that another podcreds writes to a volume.
    Volume {
        /// The volume.
        path: &'a Path,
        /// How long to wait for the first files in it.
        timeout: Duration,
    },
    /// Annotations and Secrets; nothing is written.
    Rendered {
        /// Those of `init`.
        settings: &'a sync::Settings,
        /// The way to the API server.
        clusters: &'a Clusters,
    },
}

/// Which variables a program gets.
#[derive(Debug)]
pub(crate) struct Settings<'a> {
    /// Where they come from.
    pub(crate) source: Source<'a>,
    /// The files that are read, by path in the volume; if none is named, all that end in `.env`, or rendered, all of
    /// format `env`.
    pub(crate) files: &'a [RelativePath],
    /// Whether the program starts if there is no such file.
    pub(crate) allow_none: bool,
}

/// Becomes the program that `command` begins with, with the arguments that follow, and with the variables set in the
/// environment of this process. Everything else is handed on as it is: user, folder, umask, standard streams.
///
/// # Errors
/// Why it did not become that program. On success it does not return.
pub(crate) fn run(settings: &Settings<'_>, command: &[OsString]) -> Result<Infallible, Error> {
    let Settings { source, files: wanted, allow_none } = settings;
    let files = match source {
        Source::Volume { path, timeout } => await_files(path, *timeout, wanted)?,
        Source::Rendered { settings, clusters } => render(settings, clusters, wanted)?,
    };
    if !allow_none {
        if let Some(file) = wanted.iter().find(|file| !files.contains_key(file)) {
            return Err(Error::NoFile { file: file.clone(), from: source.to_string() });
        }
        if files.is_empty() {
            return Err(Error::NoFiles { from: source.to_string() });
        }
    }
    let environment = Environment::of(&files)?;
    debug!("{} variables from {} files of {source}", environment.len(), files.len());
    let [program, arguments @ ..] = command else { return Err(Error::NoCommand) };
    let variables = environment.iter().map(|(name, value)| (name, OsStr::from_bytes(value.expose())));
    // This also gives back SIGPIPE and the signal mask, which Rust's own start and our handlers changed.
    let cause = Command::new(program).args(arguments).envs(variables).exec();
    Err(Error::of_exec(program, cause, &environment))
}

/// Reads the env files in a volume, and waits until there is a first publication.
fn await_files(path: &Path, timeout: Duration, wanted: &[RelativePath]) -> Result<Files, Error> {
    let started = Instant::now();
    let mut said = false;
    loop {
        if let Some(files) = read(path, wanted)? {
            return Ok(files);
        }
        if !said {
            info!("waiting for the first files in {}", path.display());
            said = true;
        }
        let left = timeout.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(Error::Nothing { path: path.to_owned(), waited: started.elapsed() });
        }
        sleep(left.min(POLL_INTERVAL));
    }
}

/// The env files in the volume; `None` if the first publication has not ended yet.
fn read(path: &Path, wanted: &[RelativePath]) -> Result<Option<Files>, Error> {
    let Some(reader) = Reader::open(path)?.filter(Reader::is_complete) else { return Ok(None) };
    let files = match wanted {
        [] => reader.read(|path| path.to_string().ends_with(ENDING))?,
        wanted => reader.read(|path| wanted.contains(path))?,
    };
    Ok(Some(files))
}

fn render(settings: &sync::Settings, clusters: &Clusters, wanted: &[RelativePath]) -> Result<Files, Error> {
    let fetched = sync::fetch_matching(settings, clusters, |credential| {
        credential.is_environment() && (wanted.is_empty() || wanted.contains(&credential.path))
    })?;
    let bundle = sync::render(&fetched.credentials, &fetched.sources)?;
    Ok(bundle.into_iter().map(|(path, file)| (path, file.content)).collect::<BTreeMap<_, _>>())
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume { path, .. } => write!(f, "volume {}", path.display()),
            Self::Rendered { settings, .. } => settings.annotations.fmt(f),
        }
    }
}

/// Why this process did not become the program.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Annotations or Secrets.
    #[error(transparent)]
    Sync(#[from] sync::Error),
    /// The volume cannot be read.
    #[error(transparent)]
    Volume(#[from] volume::Error),
    /// Nothing was published in time.
    #[error(
        "volume {}: nothing was written to it in {:.1} s: see the log of the container that runs podcreds init or sidecar on it; --render does without a volume",
        path.display(),
        waited.as_secs_f64()
    )]
    Nothing {
        /// The volume.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// No file to read variables from.
    #[error(
        "{from} has no env file: give a credential .format env, and where its .path does not end in {ENDING}, name it with --env-file (--allow-none starts without variables)"
    )]
    NoFiles {
        /// Where they were looked for.
        from: String,
    },
    /// A file that was asked for.
    #[error(
        "{from} has no env file {file}: correct --env-file, or give a credential .format env and this .path (--allow-none starts without)"
    )]
    NoFile {
        /// The file.
        file: RelativePath,
        /// Where it was looked for.
        from: String,
    },
    /// Files that hold something else, or contradict each other.
    #[error(transparent)]
    Environment(#[from] env_file::Errors),
    /// An empty command line.
    #[error("there is no program to become: write it after --, as in podcreds exec -- /app")]
    NoCommand,
    /// The program is not there.
    #[error("program {} {why}", Quoted(program))]
    NotFound {
        /// The program.
        program: String,
        /// What exactly is missing, and what to do.
        why: &'static str,
    },
    /// The program cannot be started.
    #[error("program {} {why}", Quoted(program))]
    NotStarted {
        /// The program.
        program: String,
        /// What is in the way, and what to do.
        why: String,
    },
}

impl Error {
    /// What the kernel has against a program.
    fn of_exec(program: &OsStr, cause: io::Error, environment: &Environment) -> Self {
        let named_by_path = program.as_bytes().contains(&b'/');
        let is_there = Path::new(program).exists();
        let program = program.to_string_lossy().into_owned();
        if cause.kind() == ErrorKind::NotFound {
            let why = match (named_by_path, is_there) {
                (false, _) => "is in no folder of PATH: write its path, as in /usr/bin/app",
                (true, false) => "is not there: correct the path after --, or add the program to the image",
                (true, true) => {
                    "is there, but not what it needs to start: the interpreter of its first line (#!) or the dynamic linker that it was built for"
                }
            };
            return Self::NotFound { program, why };
        }
        let why = match Errno::from_io_error(&cause) {
            Some(Errno::ACCESS) => format!(
                "may not be run by this process (uid {}): it is no file that this user may execute, or it is mounted noexec",
                rustix::process::geteuid().as_raw()
            ),
            Some(Errno::NOEXEC) => {
                "is no program for this machine: it was built for another one, or is a script without #! in its first line".to_owned()
            }
            Some(Errno::TOOBIG) => {
                let largest = environment.largest().map(|(name, file)| format!("; the largest from an env file is {name}, in file {file}"));
                format!(
                    "cannot be started, because its arguments and environment are too large: Linux takes 128 KiB for one variable, and a quarter of the stack's limit for all{}: leave it out with .keys, or deliver it as a file (.format files)",
                    largest.unwrap_or_default()
                )
            }
            _ => format!("cannot be started: {cause}"),
        };
        Self::NotStarted { program, why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a shell is taken for such a file, by glibc's execvp, the kernel's word does not come through.
    #[test]
    fn a_program_for_another_machine_is_said() {
        let error = Error::of_exec("app".as_ref(), Errno::NOEXEC.into(), &Environment::default());
        assert!(matches!(&error, Error::NotStarted { .. }));
        assert!(error.to_string().starts_with("program \"app\" is no program for this machine"), "{error}");
    }
}
