//! Follows a volume for the supervisor: looks at it each second, and reads it when something was published. The volume may be one that
//! inotify does not see, such as one from another container.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use crate::commands::exec::{self, Error, Settings, Source};
use crate::credential::RelativePath;
use crate::supervisor::{Update, Updates};

/// How often the volume is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// What is followed: [`exec::Settings`] for a thread.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) path: PathBuf,
    pub(super) files: Vec<RelativePath>,
    pub(super) allow_none: bool,
    /// The publication that the program was started with.
    pub(super) fingerprint: u64,
}

impl Follower {
    pub(super) fn run(mut self, updates: &Updates) {
        loop {
            sleep(INTERVAL);
            match self.look() {
                Ok(None) => {}
                Ok(Some(update)) => updates.send(update),
                // The supervisor logs it once.
                Err(error) => updates.send(Update::Failed(error.to_string())),
            }
        }
    }

    /// The variables of a new publication. `None` means that there is none.
    fn look(&mut self) -> Result<Option<Update>, Error> {
        let Some(publication) = exec::read(&self.path, &self.files, Some(self.fingerprint))? else {
            return Ok(None);
        };
        self.fingerprint = publication.fingerprint;
        let source = Source::Volume { path: &self.path, timeout: Duration::ZERO };
        let settings = Settings { source, files: &self.files, allow_none: self.allow_none };
        let environment = settings.environment(&publication.files)?;
        let version = format!("{:x}", publication.fingerprint);
        Ok(Some(Update::Environment { environment, version, splay: None }))
    }
}
