//! Edited annotations: when they are applied, and what an edit that is not applied does.

use super::*;
use crate::sidecar::controller::{AnnotationsFailure, FILE_INTERVAL};
use crate::sync;
use crate::telemetry::{Component, Reason};

const ONE: &[(&str, &str)] = &[("a.secret", "a"), ("a.keys", "password")];
const TWO: &[(&str, &str)] =
    &[("a.secret", "a"), ("a.keys", "password"), ("b.secret", "b"), ("b.keys", "password")];
const MISSING_KEY: &[(&str, &str)] =
    &[("a.secret", "a"), ("a.keys", "password"), ("b.secret", "b"), ("b.keys", "token")];
const WITHOUT_KEY: &[(&str, &str)] = &[("user", "test")];

/// `a` is written and watched, and the annotations are watched.
fn running(annotations: &[(&str, &str)]) -> Harness {
    let mut harness = Harness::start(following(), annotations, &[]);
    harness.edits("1", annotations);
    harness.step(annotations_watch(&harness, Update::Opened));
    for name in ["a", "b"] {
        if harness.last_read(&source(name)).is_some() {
            harness.reads(name, "1", &[("password", "1")]);
            harness.opens(name);
        }
    }
    assert!(harness.status.ready);
    harness
}

fn annotations_watch(
    harness: &Harness,
    update: Update<crate::sidecar::controller::AnnotationsResult>,
) -> Event {
    let (watch, _) = harness.watches[&Target::Annotations];
    Event::AnnotationsWatch { watch, update }
}

fn wrong() -> sync::Error {
    sync::Error::NoAnnotations { from: "test".to_owned(), prefix: "podcreds.io".to_owned(), similar: None }
}

fn edits_wrongly(harness: &mut Harness) {
    let update = Update::Event(WatchEvent::Applied { version: "7".to_owned(), data: Err(wrong()) });
    harness.step(annotations_watch(harness, update));
}

fn is_rejected(harness: &Harness) -> bool {
    harness.status.is_failing(&Component::Annotations)
}

fn is_tracked(harness: &Harness, name: &str) -> bool {
    harness.controller.sources.contains_key(&secret(name))
}

#[test]
fn an_edit_is_applied_when_all_that_it_names_was_read() {
    let mut harness = running(ONE);
    harness.edits("2", TWO);
    assert_eq!(harness.controller.credentials, credentials(ONE), "b is being read");
    assert!(!is_rejected(&harness), "waiting is not a failure");
    harness.reads("b", "5", &[("password", "5")]);
    assert_eq!(harness.controller.credentials, credentials(TWO));
    assert_eq!(harness.file("b/password"), Some("5"));
    assert!(harness.is_logged("applied the edited annotations"));
}

#[test]
fn an_edit_that_names_no_further_object_is_applied_at_once() {
    let mut harness = running(TWO);
    harness.edits("2", ONE);
    assert_eq!(harness.volume.keys().collect::<Vec<_>>(), ["a/password"]);
    assert!(!is_tracked(&harness, "b") && !harness.watches.contains_key(&source("b")));
    assert!(!harness.controller.contents.contains_key(&secret("b")));
    assert_eq!(harness.controller.timers.at(&Timer::Read(source("b"))), None);
    assert!(harness.is_logged("removed files that no annotation names"), "{:?}", harness.log);
    harness.edits("3", &[]);
    assert_eq!(harness.volume.len(), 0, "the last credential is removed too");
}

#[test]
fn an_edit_tells_the_notifier_first() {
    let mut harness = running(TWO);
    let (watch, _) = harness.watches[&Target::Annotations];
    let update = Update::Event(WatchEvent::Applied { version: "2".to_owned(), data: Ok(credentials(ONE)) });
    let event = Event::AnnotationsWatch { watch, update };
    let actions = harness.controller.step(harness.now, event, &mut harness.status);
    let place = |is: fn(&Action) -> bool| actions.iter().position(is).unwrap();
    let notified =
        place(|action| matches!(action, Action::SetNotified { credentials } if credentials.len() == 1));
    assert!(notified < place(|action| matches!(action, Action::Publish { .. })), "{actions:?}");
}

/// Results for the object that only the edit names, and a part of the message.
#[test]
fn an_edit_waits_for_an_object_that_cannot_be_read() {
    type Fail = fn() -> Cause;
    let rows: [(Fail, &str); 3] = [
        (not_found, "Secret prod/b: not found; waiting for it; keeping the current credentials"),
        (
            forbidden,
            "Secret prod/b: forbidden: forbidden; keeping the current files; keeping the current credentials",
        ),
        (|| unavailable(None), "Secret prod/b: the API server answered 503: test; keeping"),
    ];
    for (cause, message) in rows {
        let mut harness = running(ONE);
        harness.edits("2", TWO);
        harness.read_fails("b", cause());
        assert!(is_rejected(&harness) && harness.is_logged(message), "{:?}", harness.log);
        assert_eq!(harness.status.message(&Component::Source(secret("b"))), None);
        harness.applies("a", "6", &[("password", "6")]);
        assert_eq!(harness.file("a/password"), Some("6"), "the current ones rotate on");
        harness.advance(harness.next_read("b").unwrap_or_default());
        harness.reads("b", "5", &[("password", "5")]);
        assert!(!is_rejected(&harness));
        assert_eq!(harness.file("b/password"), Some("5"));
    }
}

#[test]
fn an_edit_that_cannot_be_rendered_is_not_applied_until_it_can() {
    let mut harness = running(ONE);
    harness.edits("2", MISSING_KEY);
    harness.reads("b", "5", &[("password", "5")]);
    assert!(is_rejected(&harness));
    assert!(harness.is_logged("key token not found in Secret prod/b"), "{:?}", harness.log);
    assert_eq!(harness.controller.credentials, credentials(ONE));
    harness.opens("b");
    harness.applies("b", "6", &[("token", "6")]);
    assert!(!is_rejected(&harness));
    assert_eq!(harness.file("b/token"), Some("6"));
}

#[test]
fn a_broken_credential_that_the_edit_does_not_touch_does_not_block_it() {
    let mut harness = running(ONE);
    harness.applies("a", "2", WITHOUT_KEY);
    harness.edits("2", TWO);
    harness.reads("b", "5", &[("password", "5")]);
    assert_eq!((harness.file("a/password"), harness.file("b/password")), (Some("1"), Some("5")));
    assert!(harness.status.is_failing(&Component::Credential("a".to_owned())) && !is_rejected(&harness));
    harness.applies("a", "6", &[("password", "6")]);
    assert_eq!(harness.file("a/password"), Some("6"));
    assert!(!harness.is_stale());
}

#[test]
fn an_edit_may_repair_a_broken_credential() {
    let mut harness = running(ONE);
    harness.applies("a", "2", WITHOUT_KEY);
    harness.edits("2", &[("a.secret", "a"), ("a.keys", "user")]);
    assert_eq!((harness.file("a/user"), harness.file("a/password")), (Some("test"), None));
    assert!(!harness.is_stale());
}

#[test]
fn an_edit_may_remove_a_broken_credential() {
    let mut harness = running(TWO);
    harness.applies("b", "2", WITHOUT_KEY);
    harness.ends("b", Some(unavailable(None)));
    assert!(harness.is_stale());
    harness.edits("2", ONE);
    assert!(!harness.is_stale());
    assert_eq!(harness.status.credentials_stale_since().map(|(name, _)| name).collect::<Vec<_>>(), ["a"]);
}

#[test]
fn an_entry_that_an_edit_does_not_touch_is_not_written() {
    let mut harness = running(ONE);
    harness.edits("2", TWO);
    let read = harness.last_read(&source("b")).unwrap();
    let result = Ok(Object { version: "5".to_owned(), data: data(&[("password", "5")]) });
    let event = Event::Read { object: secret("b"), read, result };
    let actions = harness.controller.step(harness.now, event, &mut harness.status);
    let kept = actions.into_iter().find_map(|action| match action {
        Action::Publish { kept, .. } => Some(kept),
        _ => None,
    });
    assert_eq!(kept, Some(["a".to_owned()].into()));
}

#[test]
fn an_edit_that_changes_no_file_is_not_logged_as_if_at_the_start() {
    let mut harness = running(ONE);
    let before = harness.status.syncs.succeeded;
    harness.edits("2", &[("a.secret", "a"), ("a.keys", "password"), ("a.on-change", "touch reloaded")]);
    assert_eq!((harness.publications, harness.status.syncs.succeeded), (1, before + 1));
    assert!(!harness.is_logged("is up to date"));
}

#[test]
fn files_are_removed_once() {
    let mut harness = running(TWO);
    harness.edits("2", ONE);
    let before = harness.status.syncs.succeeded;
    harness.applies("a", "6", WITHOUT_KEY);
    assert_eq!(harness.status.syncs.succeeded, before, "there is nothing to publish");
}

#[test]
fn a_wrong_edit_is_reported_and_harmless() {
    let mut harness = running(TWO);
    edits_wrongly(&mut harness);
    assert!(is_rejected(&harness));
    assert!(harness.is_logged("; keeping the current credentials"));
    assert_eq!(harness.status.failures[Reason::Annotations as usize], 1);
    harness.applies("a", "6", &[("password", "6")]);
    assert_eq!(harness.file("a/password"), Some("6"));
    harness.edits("8", TWO);
    assert!(!is_rejected(&harness));
}

#[test]
fn edits_that_are_reverted_drop_what_they_named() {
    type Revert = fn(&mut Harness);
    let reverts: [(&str, Revert); 3] = [
        ("to the current ones", |harness| harness.edits("3", ONE)),
        ("to wrong ones", edits_wrongly),
        ("to others", |harness| harness.edits("3", &[("c.secret", "c"), ("a.secret", "a")])),
    ];
    for (name, revert) in reverts {
        let mut harness = running(ONE);
        harness.edits("2", TWO);
        assert!(is_tracked(&harness, "b"), "{name}");
        let read = harness.last_read(&source("b")).unwrap();
        revert(&mut harness);
        assert!(!is_tracked(&harness, "b"), "{name}");
        harness.answer("b", read, Ok(Object { version: "5".to_owned(), data: data(&[("password", "5")]) }));
        harness.advance(SECOND);
        assert_eq!(harness.controller.credentials, credentials(ONE), "{name}");
        assert!(!harness.controller.contents.contains_key(&secret("b")), "{name}");
    }
}

#[test]
fn however_many_edits_there_were_only_what_the_last_one_names_is_watched_and_kept() {
    let mut harness = running(ONE);
    for edit in 0..120_u32 {
        let names: Vec<_> = (0..4).map(|index| format!("n{edit}-{index}")).collect();
        let annotations: Vec<_> = names
            .iter()
            .flat_map(|name| {
                [(format!("{name}.secret"), name.as_str()), (format!("{name}.keys"), "password")]
            })
            .collect();
        let annotations: Vec<_> = annotations.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        harness.edits(&(edit + 2).to_string(), &annotations);
        // Every other edit is replaced before all of its objects were read.
        let read = if edit % 2 == 0 { 3 } else { 4 };
        for name in &names[..read] {
            harness.reads(name, "1", &[("password", "1")]);
            harness.opens(name);
        }
    }
    let count =
        |text: &str| harness.controller.sources.keys().filter(|it| it.name().starts_with(text)).count();
    assert_eq!((harness.controller.sources.len(), count("n119-")), (4, 4));
    assert_eq!((harness.controller.contents.len(), harness.volume.len()), (4, 4));
    // The harness removes a watch if it is stopped.
    assert_eq!(harness.watches.len(), 5, "those of four objects and the pod");
}

#[test]
fn a_reverted_edit_ends_its_failure() {
    let mut harness = running(ONE);
    harness.edits("2", TWO);
    harness.read_fails("b", not_found());
    assert!(is_rejected(&harness));
    harness.edits("3", ONE);
    assert!(!is_rejected(&harness) && !harness.is_stale());
}

#[test]
fn the_same_edit_again_changes_nothing() {
    let mut harness = running(ONE);
    harness.edits("2", TWO);
    let (reads, log) = (harness.reads.len(), harness.log.len());
    harness.edits("3", TWO);
    assert_eq!((harness.reads.len(), harness.log.len()), (reads, log));
}

#[test]
fn an_optional_object_that_becomes_required_is_read_again() {
    let optional: Vec<_> = TWO.iter().copied().chain([("b.optional", "true")]).collect();
    let mut harness = Harness::start(following(), &optional, &[]);
    harness.edits("1", &optional);
    harness.reads("a", "1", &[("password", "1")]);
    harness.read_fails("b", not_found());
    harness.opens("b");
    harness.advance(SECOND);
    let component = Component::Source(secret("b"));
    assert!(harness.status.ready && !harness.status.is_failing(&component));
    assert_eq!(harness.last_read(&source("b")), None);
    harness.edits("2", TWO);
    assert!(harness.last_read(&source("b")).is_some(), "it is read");
    harness.read_fails("b", not_found());
    assert!(harness.status.is_failing(&component), "and it is missed");
    assert!(harness.next_read("b").unwrap() <= SECOND);
    harness.advance(harness.next_read("b").unwrap());
    harness.reads("b", "3", &[("password", "3")]);
    assert_eq!((harness.file("b/password"), harness.is_stale()), (Some("3"), false));
}

#[test]
fn annotations_that_cannot_be_read_are_reported_and_read_again() {
    let mut harness = Harness::start(following(), ONE, &[]);
    harness.reads("a", "1", &[("password", "1")]);
    let read = harness.last_read(&Target::Annotations).unwrap();
    harness.reads.remove(&read);
    let fail = |retry_after| {
        let message = "test".to_owned();
        Err(AnnotationsFailure { reason: Reason::ApiUnreachable, message, retry_after })
    };
    harness.step(Event::AnnotationsRead { read: 999, result: fail(None) });
    assert!(!is_rejected(&harness), "a read that is not under way");
    harness.step(Event::AnnotationsRead { read, result: fail(Some(7 * SECOND)) });
    assert!(is_rejected(&harness) && harness.is_logged("test; keeping the current credentials"));
    assert_eq!(harness.status.failures[Reason::ApiUnreachable as usize], 1);
    let at = harness.controller.timers.at(&Timer::Read(Target::Annotations)).unwrap();
    assert_eq!(at.duration_since(harness.now.instant), 7 * SECOND);
    harness.advance(7 * SECOND);
    harness.edits("2", ONE);
    assert!(!is_rejected(&harness));
    assert_eq!(harness.watches[&Target::Annotations].1, Position::At("2".to_owned()));
}

#[test]
fn edits_of_an_old_watch_are_ignored() {
    let mut harness = running(ONE);
    let update = Update::Event(WatchEvent::Applied { version: "9".to_owned(), data: Ok(credentials(&[])) });
    harness.step(Event::AnnotationsWatch { watch: 999, update });
    assert_eq!(harness.controller.annotations.candidate, None);
    assert_eq!(harness.controller.credentials, credentials(ONE));
}

#[test]
fn a_file_of_annotations_is_polled() {
    let follow = Follow { pod: None, interval: FILE_INTERVAL };
    let mut harness = Harness::start(Policy { follow: Some(follow), ..policy() }, ONE, &[]);
    for _ in 0..3 {
        harness.edits("", ONE);
        assert!(!harness.watches.contains_key(&Target::Annotations));
        harness.advance(FILE_INTERVAL.mul_f64(1.1));
        assert!(harness.last_read(&Target::Annotations).is_some());
    }
}

#[test]
fn annotations_are_neither_read_nor_watched_if_edits_are_ignored() {
    let mut harness = Harness::new(ONE);
    harness.reads("a", "1", &[("password", "1")]);
    harness.advance(600 * SECOND);
    assert!(harness.last_read(&Target::Annotations).is_none());
    assert!(!harness.watches.contains_key(&Target::Annotations));
}

#[test]
fn edits_do_not_repeat_notices_and_forget_those_of_dropped_credentials() {
    let optional: Vec<_> =
        [("a.secret", "a"), ("b.secret", "b"), ("b.keys", "password, user?")].into_iter().collect();
    let mut harness = running(&optional);
    let count = |harness: &Harness| {
        harness.log.iter().filter(|(_, it)| it.contains("without optional field user")).count()
    };
    assert_eq!(count(&harness), 1, "{:?}", harness.log);
    harness.edits("2", &[&optional[..], &[("c.secret", "a")]].concat());
    assert_eq!(count(&harness), 1);
    harness.edits("3", &[("a.secret", "a")]);
    harness.edits("4", &optional);
    harness.reads("b", "5", &[("password", "5")]);
    assert_eq!(count(&harness), 2);
}

#[test]
fn an_edit_that_needs_an_object_known_to_be_missing_removes_no_files() {
    let before = [("a.secret", "late"), ("a.optional", "true"), ("c.secret", "c")];
    let mut harness = Harness::start(following(), &before, &[]);
    harness.read_fails("late", not_found());
    harness.reads("c", "1", &[("password", "1")]);
    harness.edits("1", &before);
    assert_eq!(harness.file("c/password"), Some("1"));
    harness.edits("2", &[("a.secret", "late"), ("a.optional", "true"), ("c.secret", "late")]);
    assert_eq!(harness.file("c/password"), Some("1"));
    assert!(
        harness.is_logged("Secret prod/late not found; keeping the current credentials"),
        "{:?}",
        harness.log
    );
}

#[test]
fn an_edit_that_makes_a_missing_object_optional_is_applied() {
    let mut harness = Harness::start(following(), &[("a.secret", "late"), ("c.secret", "c")], &[]);
    harness.edits("1", &[("a.secret", "late"), ("c.secret", "c")]);
    harness.read_fails("late", not_found());
    harness.reads("c", "1", &[("password", "1")]);
    assert_eq!(harness.file("c/password"), None, "an application starts with all credentials");
    harness.edits("2", &[("a.secret", "late"), ("a.optional", "true"), ("c.secret", "c")]);
    harness.advance(harness.next_read("late").unwrap_or_default());
    harness.read_fails("late", not_found());
    harness.advance(SECOND);
    assert_eq!((harness.file("c/password"), harness.status.ready), (Some("1"), true));
}

#[test]
fn a_template_needs_the_object_of_an_optional_credential_only_without_a_default() {
    let with = |template| {
        [("app.secret", "a"), ("app.template", template), ("c.secret", "c"), ("c.optional", "true")]
    };
    let checked = with("{{ credentials.c.password | default('none') }}");
    let mut harness = Harness::start(following(), &checked, &[]);
    harness.edits("1", &checked);
    harness.reads("a", "1", &[("password", "1")]);
    harness.read_fails("c", not_found());
    assert_eq!((harness.file("app.txt"), harness.status.ready), (Some("none"), true));
    harness.edits("2", &with("{{ credentials.c.password }}"));
    assert_eq!(harness.file("app.txt"), Some("none"));
    let hint = "Secret prod/c not found; credential app uses fields of credential c, which is optional and missing: in the template, write default";
    assert!(harness.is_logged(hint), "{:?}", harness.log);
    harness.edits("3", &checked);
    harness.opens("c");
    harness.applies("c", "4", &[("password", "2")]);
    harness.reads("c", "4", &[("password", "2")]);
    assert_eq!(harness.file("app.txt"), Some("2"));
}
