//! What the published files come from: for each credential the version of its files, the time since which they are served, the
//! resourceVersion of each source, and the last notification.
//!
//! A resourceVersion that was read is not one that is served: the credential may be impossible to render, or the volume to
//! write. So each content of an object has a number here, and a credential refers to the contents that its files were rendered
//! from. A new resourceVersion with the same content, for example with another label, is served at once.

use std::collections::BTreeSet;
use std::time::SystemTime;

use crate::object::ObjectRef;
use crate::telemetry::status::certificates::Certificate;

#[derive(Debug, Default)]
pub(crate) struct Served {
    /// Lists, because there are few, and each is used by its own key only.
    objects: Vec<Known>,
    credentials: Vec<Credential>,
    last_content: u64,
}

/// An object that was read.
#[derive(Debug)]
struct Known {
    object: ObjectRef,
    /// The resourceVersion that was read last; `None` means that the object is missing.
    read: Option<String>,
    /// The content that credentials are rendered from now.
    content: Option<Source>,
}

/// A content of a source.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) object: ObjectRef,
    /// The latest resourceVersion with this content; `None` means that the object was missing.
    pub(crate) version: Option<String>,
    number: u64,
}

/// What a read or a watch has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The content that credentials are rendered from already.
    Same,
    New,
    /// Content that is not used, because the sources are too large together.
    Rejected,
}

#[derive(Debug)]
pub(crate) struct Credential {
    name: String,
    /// The publication that wrote the files; `None` means that it is not known.
    pub(crate) version: Option<String>,
    /// When the files last changed; `None` means that there are none.
    pub(crate) since: Option<SystemTime>,
    /// What the files were rendered from. Empty if an earlier run has written them.
    pub(crate) sources: Vec<Source>,
    /// The sources of the publication that is in progress.
    rendered: Vec<Source>,
    /// The last failure that concerned the credential, also if it is over.
    pub(crate) last_error: Option<(String, SystemTime)>,
    /// The certificates in its files.
    pub(crate) certificates: Vec<Certificate>,
    /// The last notification of its application.
    pub(crate) notification: Option<Notification>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notification {
    pub(crate) application: String,
    /// The version that the application has to load.
    pub(crate) version: String,
    pub(crate) requested: SystemTime,
    /// `None` until the application has been notified of this version.
    pub(crate) delivered: Option<SystemTime>,
}

impl Served {
    /// Keeps only the credentials that match.
    pub(crate) fn retain(&mut self, is_named: impl Fn(&str) -> bool) {
        self.credentials.retain(|credential| is_named(&credential.name));
    }

    pub(crate) fn credential(&self, name: &str) -> Option<&Credential> {
        self.credentials.iter().find(|credential| credential.name == name)
    }

    fn credential_mut(&mut self, name: &str) -> &mut Credential {
        let found = self.credentials.iter().position(|credential| credential.name == name);
        let index = found.unwrap_or_else(|| {
            self.credentials.push(Credential {
                name: name.to_owned(),
                version: None,
                since: None,
                sources: Vec::new(),
                rendered: Vec::new(),
                last_error: None,
                certificates: Vec::new(),
                notification: None,
            });
            self.credentials.len() - 1
        });
        &mut self.credentials[index]
    }

    fn known(&self, object: &ObjectRef) -> Option<&Known> {
        self.objects.iter().find(|known| known.object == *object)
    }

    /// The resourceVersion of an object that was read last; `None` means that it is missing or was not read.
    pub(crate) fn read_version(&self, object: &ObjectRef) -> Option<&str> {
        self.known(object)?.read.as_deref()
    }

    /// Whether the files of the credential were rendered from another content of the object than its current one.
    pub(crate) fn is_behind(&self, name: &str, object: &ObjectRef) -> bool {
        let current = self.known(object).and_then(|known| known.content.as_ref());
        let sources = self.credential(name).map(|credential| credential.sources.as_slice());
        let served = sources.unwrap_or_default().iter().find(|source| source.object == *object);
        current.map(|source| source.number) != served.map(|source| source.number)
    }

    /// An earlier run has written the files.
    pub(crate) fn found(&mut self, name: &str, version: Option<String>, since: SystemTime) {
        let credential = self.credential_mut(name);
        (credential.version, credential.since) = (version, Some(since));
    }

    /// An object was read, or is missing (`None`).
    pub(crate) fn read(&mut self, object: &ObjectRef, version: Option<&str>, content: Content) {
        let version = version.map(str::to_owned);
        if self.known(object).is_none() {
            self.objects.push(Known { object: object.clone(), read: None, content: None });
        }
        let Some(known) = self.objects.iter_mut().find(|known| known.object == *object) else { return };
        known.read.clone_from(&version);
        match (content, &mut known.content) {
            (Content::Rejected, _) => {}
            (Content::Same, Some(current)) => {
                let number = current.number;
                current.version.clone_from(&version);
                for credential in &mut self.credentials {
                    let sources = credential.sources.iter_mut().chain(&mut credential.rendered);
                    for source in sources.filter(|source| source.number == number) {
                        source.version.clone_from(&version);
                    }
                }
            }
            _ => {
                self.last_content += 1;
                known.content = Some(Source { object: object.clone(), version, number: self.last_content });
            }
        }
    }

    /// No annotation names the object any more.
    pub(crate) fn forget(&mut self, object: &ObjectRef) {
        self.objects.retain(|known| known.object != *object);
    }

    /// The credential was rendered from the current contents of these objects, and is being published.
    pub(crate) fn rendered<'a>(&mut self, name: &str, objects: impl Iterator<Item = &'a ObjectRef>) {
        let mut rendered = Vec::<Source>::new();
        for object in objects {
            if let Some(source) = self.known(object).and_then(|known| known.content.as_ref())
                && !rendered.iter().any(|other| other.number == source.number)
            {
                rendered.push(source.clone());
            }
        }
        self.credential_mut(name).rendered = rendered;
    }

    /// The volume has the files that were rendered last. `changed` is the publication that has changed them; `None` means that
    /// the volume had them already.
    pub(crate) fn published(&mut self, name: &str, changed: Option<(&str, SystemTime)>) {
        let credential = self.credential_mut(name);
        credential.sources = std::mem::take(&mut credential.rendered);
        if let Some((version, time)) = changed {
            (credential.version, credential.since) = (Some(version.to_owned()), Some(time));
        }
    }

    /// Sets the fields that contain a certificate, each with the time at which it expires.
    pub(crate) fn set_certificates<'a>(
        &mut self,
        name: &str,
        found: impl Iterator<Item = (&'a str, SystemTime)>,
    ) {
        let credential = self.credential_mut(name);
        let before = std::mem::take(&mut credential.certificates);
        for (field, not_after) in found {
            let known = before.iter().find(|known| known.field == field && known.not_after == not_after);
            let certificate = known.cloned().unwrap_or_else(|| Certificate::new(field, not_after));
            credential.certificates.push(certificate);
        }
    }

    pub(super) fn certificates_mut(&mut self) -> impl Iterator<Item = (&str, &mut Certificate)> {
        self.credentials.iter_mut().flat_map(|Credential { name, certificates, .. }| {
            certificates.iter_mut().map(|certificate| (name.as_str(), certificate))
        })
    }

    /// A failure concerns the credential.
    pub(crate) fn failed(&mut self, name: &str, message: &str, time: SystemTime) {
        self.credential_mut(name).last_error = Some((message.to_owned(), time));
    }

    /// The application has to be notified of this version of the credential.
    pub(crate) fn notifying(&mut self, name: &str, application: String, version: &str, now: SystemTime) {
        let version = version.to_owned();
        let notification = Notification { application, version, requested: now, delivered: None };
        self.credential_mut(name).notification = Some(notification);
    }

    /// The application of the credential, after an edit; `None` means that it has none. An undelivered notification goes there.
    pub(crate) fn set_application(&mut self, name: &str, application: Option<String>) {
        let credential = self.credential_mut(name);
        match (&mut credential.notification, application) {
            (notification, None) => *notification = None,
            // What was delivered was delivered to the application of that time.
            (Some(notification), Some(application)) if notification.delivered.is_none() => {
                notification.application = application;
            }
            (_, Some(_)) => {}
        }
    }

    /// The application was notified of these credentials. Notifications are merged into one with the version of the newest, so it
    /// covers all earlier versions, whose names come first. The credentials count because applications whose URLs differ only in
    /// their queries have the same name.
    pub(crate) fn notified(
        &mut self,
        application: &str,
        credentials: &BTreeSet<String>,
        version: &str,
        now: SystemTime,
    ) {
        for credential in self.credentials.iter_mut().filter(|it| credentials.contains(&it.name)) {
            let Some(notification) = &mut credential.notification else { continue };
            let is_covered = notification.application == application && *notification.version <= *version;
            if is_covered && notification.delivered.is_none() {
                notification.delivered = Some(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::object::{Kind, Namespace};

    const START: SystemTime = SystemTime::UNIX_EPOCH;

    fn object(name: &str) -> ObjectRef {
        ObjectRef::new(Kind::Secret, Namespace::parse("prod").unwrap(), name).unwrap()
    }

    fn versions(served: &Served, name: &str) -> Vec<Option<String>> {
        let sources = served.credential(name).map(|credential| credential.sources.as_slice());
        sources.unwrap_or_default().iter().map(|source| source.version.clone()).collect()
    }

    /// `db` is served from version 1 of its Secret.
    fn serving() -> Served {
        let mut served = Served::default();
        served.read(&object("db"), Some("1"), Content::New);
        served.rendered("db", [object("db"), object("db")].iter());
        assert!(served.is_behind("db", &object("db")), "nothing is published yet");
        served.published("db", Some(("..1", START)));
        served
    }

    #[test]
    fn a_version_that_was_read_is_served_only_once_it_is_published() {
        let mut served = serving();
        served.read(&object("db"), Some("2"), Content::New);
        assert_eq!(versions(&served, "db"), [Some("1".to_owned())]);
        assert_eq!(served.read_version(&object("db")), Some("2"));
        assert!(served.is_behind("db", &object("db")));
        served.rendered("db", [object("db")].iter());
        assert_eq!(versions(&served, "db"), [Some("1".to_owned())], "the volume cannot be written");
        served.published("db", Some(("..2", START + Duration::from_secs(1))));
        assert_eq!(versions(&served, "db"), [Some("2".to_owned())]);
        assert!(!served.is_behind("db", &object("db")));
        let credential = served.credential("db").unwrap();
        assert_eq!(credential.version.as_deref(), Some("..2"));
        assert_eq!(credential.since, Some(START + Duration::from_secs(1)));
    }

    #[test]
    fn a_version_with_the_same_content_is_served_at_once() {
        let mut served = serving();
        served.read(&object("db"), Some("2"), Content::Same);
        assert_eq!(versions(&served, "db"), [Some("2".to_owned())]);
        // Also while a publication of that content is in progress.
        served.read(&object("db"), Some("3"), Content::New);
        served.rendered("db", [object("db")].iter());
        served.read(&object("db"), Some("4"), Content::Same);
        assert_eq!(versions(&served, "db"), [Some("2".to_owned())]);
        served.published("db", None);
        assert_eq!(versions(&served, "db"), [Some("4".to_owned())]);
        assert_eq!(served.credential("db").unwrap().since, Some(START), "its files did not change");
    }

    #[test]
    fn a_rejected_content_is_read_and_does_not_count_when_the_old_one_returns() {
        let mut served = serving();
        served.read(&object("db"), Some("2"), Content::Rejected);
        assert_eq!(served.read_version(&object("db")), Some("2"));
        assert_eq!(versions(&served, "db"), [Some("1".to_owned())]);
        served.read(&object("db"), Some("3"), Content::Same);
        assert_eq!(versions(&served, "db"), [Some("3".to_owned())]);
    }

    #[test]
    fn a_content_that_is_read_during_a_publication_is_not_served_by_it() {
        let mut served = serving();
        served.read(&object("db"), Some("2"), Content::New);
        served.rendered("db", [object("db")].iter());
        served.read(&object("db"), Some("3"), Content::New);
        served.published("db", Some(("..2", START)));
        assert_eq!(versions(&served, "db"), [Some("2".to_owned())]);
        assert!(served.is_behind("db", &object("db")));
    }

    #[test]
    fn a_missing_object_has_no_version() {
        let mut served = serving();
        served.read(&object("db"), None, Content::New);
        served.rendered("db", [object("db")].iter());
        served.published("db", Some(("..2", START)));
        assert_eq!(versions(&served, "db"), [None]);
        served.forget(&object("db"));
        served.retain(|_| false);
        assert!(served.objects.is_empty() && served.credentials.is_empty());
    }

    #[test]
    fn a_notification_counts_for_all_credentials_of_the_application_up_to_its_version() {
        let mut served = Served::default();
        for (name, application, version) in [("a", "app", "..1"), ("b", "app", "..2"), ("c", "other", "..2")]
        {
            served.notifying(name, application.to_owned(), version, START);
        }
        let later = START + Duration::from_secs(9);
        let delivered = |served: &Served| {
            ["a", "b", "c"]
                .map(|name| served.credential(name).unwrap().notification.clone().unwrap().delivered)
        };
        let names = |text: &str| text.split(' ').map(str::to_owned).collect();
        served.notified("app", &names("a b"), "..1", later);
        assert_eq!(delivered(&served), [Some(later), None, None], "b has rotated meanwhile");
        served.notified("app", &names("a b"), "..3", later + Duration::from_secs(1));
        assert_eq!(delivered(&served), [Some(later), Some(later + Duration::from_secs(1)), None]);
        served.set_application("c", Some("app".to_owned()));
        served.set_application("a", None);
        served.notified("app", &names("c"), "..3", later);
        assert_eq!(served.credential("c").unwrap().notification.clone().unwrap().delivered, Some(later));
        assert_eq!(served.credential("a").unwrap().notification, None);
    }

    #[test]
    fn a_notification_counts_only_for_the_credentials_that_it_names() {
        // POST http://app/reload?service=a and POST http://app/reload?service=b: the query is not shown.
        let mut served = Served::default();
        served.notifying("a", "POST http://app/reload".to_owned(), "..1", START);
        served.notifying("b", "POST http://app/reload".to_owned(), "..1", START);
        served.notified("POST http://app/reload", &BTreeSet::from(["a".to_owned()]), "..1", START);
        let delivered = |name: &str| served.credential(name).unwrap().notification.clone().unwrap().delivered;
        assert_eq!((delivered("a"), delivered("b")), (Some(START), None));
    }

    #[test]
    fn an_edit_does_not_claim_that_the_new_application_was_notified() {
        let mut served = Served::default();
        served.notifying("a", "app".to_owned(), "..1", START);
        served.notified("app", &BTreeSet::from(["a".to_owned()]), "..1", START);
        served.set_application("a", Some("other".to_owned()));
        let notification = served.credential("a").unwrap().notification.clone().unwrap();
        assert_eq!((notification.application.as_str(), notification.delivered), ("app", Some(START)));
    }
}
