//! Runs `podcreds init` to write one file for each user, and checks the errors for unsupported values.

use std::path::{Path, PathBuf};

use crate::support::pod::PodFolder;
use crate::support::run::{Finished, run};
use crate::support::server::ApiServer;
use crate::users::User;
use crate::{PODCREDS, TIMEOUT};

/// The most credentials of one pod.
const CREDENTIALS: usize = 64;

/// Writes users with these annotations, which have neither prefix nor credential name.
pub(crate) struct Writer {
    format: &'static str,
    annotations: Vec<(&'static str, String)>,
    /// Keeps the volumes with the files.
    pods: Vec<PodFolder>,
}

/// A field that a format does not support, and the part of its value that the error message names.
pub(crate) type Refusal = (&'static str, &'static str);

impl Writer {
    /// Each user is a Secret with `username`, `password` and `database`; `.set` has the address of the server.
    pub(crate) fn new(format: &'static str, engine: &str, port: u16) -> Self {
        let mut annotations = vec![
            ("format", format.to_owned()),
            ("keys", "username, password, database".to_owned()),
            ("set", format!("host=127.0.0.1, port={port}")),
            // Only the owner may read the files: libpq ignores other password files.
            ("file-mode", "0400".to_owned()),
        ];
        // A template has no engine.
        annotations.extend((format != "template").then(|| ("engine", engine.to_owned())));
        Self { format, annotations, pods: Vec::new() }
    }

    /// Replaces or adds an annotation.
    pub(crate) fn annotate(mut self, word: &'static str, value: &str) -> Self {
        self.annotations.retain(|(other, _)| *other != word);
        self.annotations.push((word, value.to_owned()));
        self
    }

    /// Writes the users and returns their files, except for the users for which `unsupported` returns a refusal. podcreds must
    /// reject those with a message that names the field and not the value.
    #[track_caller]
    pub(crate) fn write<'a>(
        &mut self,
        users: &'a [User],
        unsupported: impl Fn(&User) -> Option<Refusal>,
    ) -> Vec<(&'a User, PathBuf)> {
        let mut files = Vec::new();
        let (refused, written): (Vec<_>, Vec<_>) = users.iter().partition(|user| unsupported(user).is_some());
        for users in written.chunks(CREDENTIALS) {
            let (pod, finished) = self.init(users);
            assert_eq!(finished.code, Some(0), "{}: {}", self.format, finished.stderr);
            files.extend(users.iter().enumerate().map(|(index, user)| (*user, file(&pod, index))));
            self.pods.push(pod);
        }
        for user in refused {
            let (pod, finished) = self.init(&[user]);
            let (field, what) = unsupported(user).unwrap();
            let message = format!("credential c0: the value of field {field} ");
            let reason = format!(" {what}, which this format cannot represent: ");
            assert_eq!(finished.code, Some(2), "{}, {user:?}: {}", self.format, finished.stderr);
            let is_reported = finished.stderr.contains(&message) && finished.stderr.contains(&reason);
            assert!(is_reported, "{}, {user:?}: {}", self.format, finished.stderr);
            assert!(!file(&pod, 0).exists(), "{}, {user:?}", self.format);
        }
        files
    }

    fn init(&self, users: &[&User]) -> (PodFolder, Finished) {
        let server = ApiServer::start();
        let directory = PodFolder::new(&server);
        let mut annotations = Vec::new();
        for (index, User { name, password, database }) in users.iter().enumerate() {
            let secret = format!("user-{index}");
            let data = [("username", name), ("password", password), ("database", database)];
            let data: Vec<_> = data.iter().map(|(key, value)| (*key, value.as_bytes())).collect();
            server.put_secret("prod", &secret, &data);
            annotations.push((format!("podcreds.io/c{index}.secret"), secret));
            annotations.push((format!("podcreds.io/c{index}.path"), format!("c{index}")));
            let more = self.annotations.iter();
            annotations
                .extend(more.map(|(key, value)| (format!("podcreds.io/c{index}.{key}"), value.clone())));
        }
        let annotations: Vec<_> =
            annotations.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        server.put_pod("prod", "app-0", &annotations);
        let mut command = directory.command(Path::new(PODCREDS), &server);
        command.arg("init");
        let finished = run(command, TIMEOUT);
        (directory, finished)
    }
}

/// The file of the user with this number in a pod.
fn file(pod: &PodFolder, index: usize) -> PathBuf {
    pod.volume().join(format!("c{index}"))
}
