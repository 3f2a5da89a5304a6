//! Entries are independent of each other: one that cannot be rendered keeps its files, and the others rotate on.

use super::*;
use crate::telemetry::Component;

const THREE: &[(&str, &str)] = &[
    ("a.secret", "a"),
    ("a.keys", "password"),
    ("b.secret", "b"),
    ("b.keys", "password"),
    ("c.secret", "c"),
    ("c.keys", "password"),
];
/// Two credentials of one directory, and one of its own.
const SHARED: &[(&str, &str)] = &[
    ("a.secret", "a"),
    ("a.keys", "A=password"),
    ("a.format", "env"),
    ("a.path", "app/a.env"),
    ("b.secret", "b"),
    ("b.keys", "B=password"),
    ("b.format", "env"),
    ("b.path", "app/b.env"),
    ("c.secret", "c"),
    ("c.keys", "password"),
];
const WITHOUT_KEY: &[(&str, &str)] = &[("user", "test")];

/// All Secrets are at version 1, watched, and written.
fn running(annotations: &[(&str, &str)]) -> Harness {
    let mut harness = Harness::new(annotations);
    for name in ["a", "b", "c"] {
        harness.reads(name, "1", &[("password", "1")]);
        harness.opens(name);
    }
    assert_eq!(harness.publications, 1);
    harness
}

fn fails(harness: &Harness, credential: &str) -> bool {
    harness.status.is_failing(&Component::Credential(credential.to_owned()))
}

/// The credentials that are stale.
fn stale(harness: &Harness) -> Vec<&str> {
    let stale = harness.status.credentials_stale_since().filter(|(_, since)| since.is_some());
    stale.map(|(name, _)| name).collect()
}

#[test]
fn the_first_publication_waits_for_all_credentials() {
    let mut harness = Harness::new(THREE);
    harness.reads("a", "1", &[("password", "1")]);
    harness.reads("b", "1", &[("password", "1")]);
    assert_eq!((harness.publications, harness.status.ready), (0, false));
    assert!(!harness.is_logged("waiting for"), "it is not known yet that anything is missing");
    harness.read_fails("c", not_found());
    harness.advance(Duration::from_millis(1));
    assert_eq!((harness.publications, harness.status.ready), (0, false));
    assert!(harness.is_logged("no files are written yet: waiting for"));
    assert!(harness.is_logged("c (Secret prod/c)"), "{:?}", harness.log);
    harness.advance(harness.next_read("c").unwrap_or_default());
    harness.reads("c", "2", &[("password", "2")]);
    assert_eq!((harness.publications, harness.status.ready), (1, true));
    assert_eq!(harness.volume.len(), 3);
}

#[test]
fn the_first_publication_waits_for_a_credential_that_cannot_be_rendered() {
    let mut harness = Harness::new(THREE);
    harness.reads("a", "1", &[("password", "1")]);
    harness.reads("b", "1", &[("password", "1")]);
    harness.reads("c", "1", WITHOUT_KEY);
    assert_eq!((harness.publications, harness.status.ready), (0, false));
    let message = "credential c: key password not found in Secret prod/c; available: user";
    assert!(harness.is_logged(message), "{:?}", harness.log);
    assert!(harness.is_logged("c (it cannot be rendered)"), "{:?}", harness.log);
    harness.opens("c");
    harness.applies("c", "2", &[("password", "2")]);
    assert_eq!((harness.publications, harness.status.ready), (1, true));
    assert!(harness.is_logged("credential c can be rendered now"));
}

#[test]
fn what_is_waited_for_is_logged_once() {
    let mut harness = Harness::new(&THREE[..2]);
    for _ in 0..5 {
        harness.read_fails("a", not_found());
        harness.advance(harness.next_read("a").unwrap());
    }
    let waiting = harness.log.iter().filter(|(_, message)| message.contains("waiting for a"));
    assert_eq!(waiting.count(), 1, "{:?}", harness.log);
}

#[test]
fn one_broken_credential_among_three_holds_up_no_other() {
    let mut harness = running(THREE);
    harness.applies("b", "2", WITHOUT_KEY);
    assert!(fails(&harness, "b"));
    assert_eq!(stale(&harness), ["b"]);
    for version in 3..103 {
        let password = version.to_string();
        harness.applies("a", &password, &[("password", &password)]);
        harness.applies("c", &password, &[("password", &password)]);
        let files = ["a/password", "b/password", "c/password"].map(|path| harness.file(path));
        assert_eq!(files, [Some(password.as_str()), Some("1"), Some(password.as_str())]);
    }
    assert_eq!(harness.publications, 201);
    assert!(harness.status.ready);
    harness.applies("b", "200", &[("password", "200")]);
    assert_eq!((harness.file("b/password"), stale(&harness)), (Some("200"), vec![]));
    assert!(harness.is_logged("credential b can be rendered again"));
}

#[test]
fn a_credential_that_cannot_be_rendered_is_not_rendered_again_before_it_changes() {
    let mut harness = running(THREE);
    harness.applies("b", "2", WITHOUT_KEY);
    let failures = harness.status.syncs.failed;
    for version in 3..10 {
        harness.applies("a", &version.to_string(), &[("password", &version.to_string())]);
    }
    assert_eq!(harness.status.syncs.failed, failures);
}

#[test]
fn a_rotation_beside_a_broken_credential_is_not_counted_since_that_broke() {
    let mut harness = running(THREE);
    harness.applies("b", "2", WITHOUT_KEY);
    harness.advance(3600 * SECOND);
    harness.update(
        "a",
        Update::Event(WatchEvent::Applied { version: "3".to_owned(), data: data(&[("password", "3")]) }),
    );
    harness.advance(SECOND);
    assert_eq!(harness.file("a/password"), Some("3"));
    assert!(harness.status.rotations.sum() < SECOND, "{:?}", harness.status.rotations.sum());
}

#[test]
fn a_shared_entry_stays_as_a_whole() {
    let mut harness = running(SHARED);
    harness.applies("a", "2", WITHOUT_KEY);
    harness.applies("b", "3", &[("password", "3")]);
    harness.applies("c", "4", &[("password", "4")]);
    assert_eq!(harness.file("app/a.env"), Some("export A='1'\n"));
    assert_eq!(harness.file("app/b.env"), Some("export B='1'\n"));
    assert_eq!(harness.file("c/password"), Some("4"));
    assert_eq!(stale(&harness), ["a", "b"]);
    assert!(harness.is_logged("credential b: shares app with a; keeping its current files"));
    harness.applies("a", "5", &[("password", "5")]);
    assert_eq!(harness.file("app/a.env"), Some("export A='5'\n"));
    assert_eq!(harness.file("app/b.env"), Some("export B='3'\n"));
    assert_eq!(stale(&harness), Vec::<&str>::new());
}

#[test]
fn a_restart_keeps_what_cannot_be_read_and_publishes_the_others() {
    let earlier = [("a/password", "0"), ("b/password", "0"), ("c/password", "0"), ("old/password", "0")];
    let mut harness = Harness::start(policy(), THREE, &earlier);
    harness.reads("b", "1", &[("password", "1")]);
    harness.read_fails("a", forbidden());
    harness.reads("c", "1", WITHOUT_KEY);
    let files = ["a/password", "b/password", "c/password"].map(|path| harness.file(path));
    assert_eq!(files, [Some("0"), Some("1"), Some("0")]);
    assert_eq!(harness.file("old/password"), None, "no annotation names it any more");
    assert!(harness.status.ready, "{:?}", harness.status.waiting());
    assert_eq!(stale(&harness), ["a", "c"]);
}

#[test]
fn files_of_an_earlier_run_count_once_it_is_known_that_they_stay() {
    let earlier: &[_] = &[("a/password", "0")];
    let start = |earlier| Harness::start(policy(), &THREE[..2], earlier);
    assert!(!start(earlier).status.ready, "they may be replaced soon");
    for (earlier, is_ready) in [(earlier, true), (&[], false)] {
        let mut harness = start(earlier);
        harness.read_fails("a", unavailable(None));
        assert_eq!(harness.status.ready, is_ready, "it cannot be read");
        let mut harness = start(earlier);
        harness.read("a", Ok(Object { version: "1".to_owned(), data: data(WITHOUT_KEY) }));
        assert!(!harness.status.ready, "it is not rendered yet");
        harness.advance(SECOND);
        assert_eq!(harness.status.ready, is_ready, "it cannot be rendered");
        let mut harness = start(earlier);
        harness.volume_fails = true;
        harness.reads("a", "1", &[("password", "1")]);
        assert_eq!(harness.status.ready, is_ready, "it cannot be written");
        let mut harness = start(earlier);
        harness.reads("a", "1", &[("password", "0")]);
        assert!(harness.status.ready, "it was rendered");
    }
}

#[test]
fn files_that_are_being_written_do_not_count_yet() {
    let mut harness = Harness::start(policy(), &THREE[..2], &[("a/password", "0")]);
    harness.read("a", Ok(Object { version: "1".to_owned(), data: data(&[("password", "1")]) }));
    harness.set_clock(harness.now.instant + SECOND);
    let actions = harness.controller.step(harness.now, Event::Tick, &mut harness.status);
    assert!(matches!(actions.as_slice(), [Action::Publish { .. }]), "{actions:?}");
    assert!(!harness.status.ready);
    let event = Event::Published { result: Ok(Published::Unchanged), took: Duration::ZERO };
    harness.controller.step(harness.now, event, &mut harness.status);
    assert!(harness.status.ready);
}

#[test]
fn a_timer_reports_staleness_even_if_nothing_else_happens() {
    let mut harness = running(THREE);
    harness
        .update("b", Update::Event(WatchEvent::Applied { version: "2".to_owned(), data: data(WITHOUT_KEY) }));
    harness.advance(20 * SECOND);
    let since = harness.status.stale_since().unwrap();
    assert_eq!(harness.controller.next_timer(), Some(since.instant + STALE_AFTER));
    harness.advance(STALE_AFTER);
    assert!(harness.is_logged("the files may have been out of date since"));
    assert_eq!(harness.controller.next_timer(), None);
}

#[test]
fn a_new_credential_after_a_restart_is_waited_for_without_delaying_the_others() {
    let mut harness = Harness::start(policy(), THREE, &[("a/password", "0"), ("b/password", "0")]);
    harness.reads("a", "1", &[("password", "1")]);
    harness.reads("b", "1", &[("password", "1")]);
    harness.read_fails("c", not_found());
    assert_eq!(harness.file("a/password"), Some("1"));
    assert!(!harness.status.ready);
    assert_eq!(harness.status.waiting().keys().collect::<Vec<_>>(), ["c"]);
    harness.advance(harness.next_read("c").unwrap());
    harness.reads("c", "1", &[("password", "1")]);
    assert!(harness.status.ready);
    assert_eq!(harness.file("c/password"), Some("1"));
}

#[test]
fn readiness_is_final() {
    let mut harness = running(THREE);
    for name in ["a", "b", "c"] {
        harness.applies(name, "2", WITHOUT_KEY);
        harness.deletes(name, "3");
    }
    assert!(harness.status.ready);
}

const LIMITED: &[(&str, &str)] = &[("a.secret", "a"), ("b.secret", "b"), ("c.secret", "c")];

/// Changes a Secret to this number of keys, each a file: all entries together may have 10,000.
fn grow(harness: &mut Harness, name: &str, version: &str, files: usize) {
    let data = (0..files).map(|key| (key.to_string(), SecretBytes::from(version))).collect();
    harness.update(name, Update::Event(WatchEvent::Applied { version: version.to_owned(), data }));
}

/// The number of files of each entry.
fn files(harness: &Harness) -> [usize; 3] {
    ["a", "b", "c"].map(|name| harness.volume.keys().filter(|path| top(path) == name).count())
}

#[test]
fn the_limit_of_a_bundle_holds_across_entries() {
    let mut harness = running(LIMITED);
    grow(&mut harness, "a", "2", 6000);
    grow(&mut harness, "b", "3", 4000);
    harness.advance(SECOND);
    assert_eq!(files(&harness), [6000, 1, 1], "entries of one publication share it");
    assert!(fails(&harness, "b") && !fails(&harness, "a"));
    grow(&mut harness, "b", "4", 4000);
    grow(&mut harness, "c", "5", 2);
    harness.advance(SECOND);
    assert_eq!(files(&harness), [6000, 1, 2], "they share it with those of earlier ones too");
    grow(&mut harness, "a", "6", 1);
    harness.advance(SECOND);
    assert_eq!(files(&harness), [1, 4000, 2], "an entry that had no room is tried again");
    grow(&mut harness, "b", "7", 4000);
    harness.advance(SECOND);
    assert_eq!(files(&harness), [1, 4000, 2], "what an entry took before does not count");
    assert_eq!(stale(&harness), Vec::<&str>::new());
}
