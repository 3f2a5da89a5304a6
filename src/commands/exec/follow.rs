//! Follows a volume for the supervisor: looks at it each second, and reads it when something was published. The volume may be one that
//! inotify does not see, such as one from another container.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use crate::commands::exec::{self, Error, Settings, Source};
use crate::credential::RelativePath;
use crate::supervisor::{Update, Updates};
use crate::volume::Reader;

/// How often the volume is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// What is followed: [`exec::Settings`] for a thread.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) path: PathBuf,
    pub(super) files: Vec<RelativePath>,
    pub(super) allow_none: bool,
    /// The publication that was read last; `None` after a failure.
    pub(super) fingerprint: Option<u64>,
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
        // Forgotten if anything fails: the supervisor then gets the variables again as soon as they can be read, and logs the next
        // failure, even if it is the same.
        let known = self.fingerprint.take();
        let reader = Reader::open(&self.path)?.ok_or_else(|| Error::Emptied { path: self.path.clone() })?;
        let Some(publication) = exec::read(&reader, &self.files, known)? else {
            self.fingerprint = known;
            return Ok(None);
        };
        self.fingerprint = Some(publication.fingerprint);
        let source = Source::Volume { path: &self.path, timeout: Duration::ZERO };
        let settings = Settings { source, files: &self.files, allow_none: self.allow_none };
        let environment = settings.environment(&publication.files)?;
        let version = format!("{:x}", publication.fingerprint);
        Ok(Some(Update::Environment { environment, version, splay: None }))
    }
}
