//! The files that `podcreds init` writes for users, one for each, and its refusals.

use std::path::{Path, PathBuf};

use crate::support::pod::PodFolder;
use crate::support::run::{Finished, run};
use crate::support::server::ApiServer;
use crate::users::User;
use crate::{HANGS, PODCREDS};

/// The most credentials of one pod.
const CREDENTIALS: usize = 64;

/// How users are written: annotations without prefix and name, `format` among them.
pub(crate) struct Written {
    format: &'static str,
    annotations: Vec<(&'static str, String)>,
    /// Their volumes hold the files.
    pods: Vec<PodFolder>,
}

/// A field that a format cannot carry and what it holds, in the words of the message.
pub(crate) type Refusal = (&'static str, &'static str);

impl Written {
    /// Each user is a Secret with `username`, `password` and `database`; where the server is, `.set` says.
    pub(crate) fn new(format: &'static str, engine: &str, port: u16) -> Self {
        let annotations = vec![
            ("format", format.to_owned()),
            ("engine", engine.to_owned()),
            ("keys", "username, password, database".to_owned()),
            ("set", format!("host=127.0.0.1, port={port}")),
            // What holds a password is for its owner alone: libpq reads no other password file.
            ("file-mode", "0400".to_owned()),
        ];
        Self { format, annotations, pods: Vec::new() }
    }

    /// With this value in place of the annotation's own.
    pub(crate) fn annotate(mut self, word: &'static str, value: &str) -> Self {
        self.annotations.retain(|(other, _)| *other != word);
        self.annotations.push((word, value.to_owned()));
        self
    }

    /// Writes them all, and returns the file of each. Those of which `cannot` says so are refused, each by a message that
    /// names the field and never the value, and are not among them.
    #[track_caller]
    pub(crate) fn write<'a>(
        &mut self,
        users: &'a [User],
        cannot: impl Fn(&User) -> Option<Refusal>,
    ) -> Vec<(&'a User, PathBuf)> {
        let mut files = Vec::new();
        let (refused, written): (Vec<_>, Vec<_>) = users.iter().partition(|user| cannot(user).is_some());
        for users in written.chunks(CREDENTIALS) {
            let (pod, finished) = self.init(users);
            assert_eq!(finished.code, Some(0), "{}: {}", self.format, finished.stderr);
            files.extend(users.iter().enumerate().map(|(index, user)| (*user, file(&pod, index))));
            self.pods.push(pod);
        }
        for user in refused {
            let (pod, finished) = self.init(&[user]);
            let (field, what) = cannot(user).unwrap();
            let said = format!(
                "credential c0: the value of field {field} contains {what}, which this format cannot represent: use another format, or exclude the field with .keys"
            );
            assert_eq!(finished.code, Some(2), "{}, {user:?}: {}", self.format, finished.stderr);
            assert!(finished.stderr.contains(&said), "{}, {user:?}: {}", self.format, finished.stderr);
            assert!(!file(&pod, 0).exists(), "{}, {user:?}", self.format);
        }
        files
    }

    fn init(&self, users: &[&User]) -> (PodFolder, Finished) {
        let server = ApiServer::start();
        let folder = PodFolder::new(&server);
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
                .extend(more.map(|(word, value)| (format!("podcreds.io/c{index}.{word}"), value.clone())));
        }
        let annotations: Vec<_> =
            annotations.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        server.put_pod("prod", "app-0", &annotations);
        let mut command = folder.command(Path::new(PODCREDS), &server);
        command.arg("init");
        let finished = run(command, HANGS);
        (folder, finished)
    }
}

/// The file of the user with this number in a pod.
fn file(pod: &PodFolder, index: usize) -> PathBuf {
    pod.volume().join(format!("c{index}"))
}
