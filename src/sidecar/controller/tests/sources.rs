//! What follows from a result of a read or watch, by what is known of the object and what the policy says.

use super::*;
use crate::telemetry::Component;

const REQUIRED: &[(&str, &str)] = &[("a.secret", "a"), ("a.keys", "password")];
const OPTIONAL: &[(&str, &str)] = &[("a.secret", "a"), ("a.keys", "password"), ("a.optional", "true")];
const KEEP: OnDelete = OnDelete::Keep;
const CLEAR: OnDelete = OnDelete::Clear;

/// What was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum History {
    /// Neither files nor results.
    First,
    /// An earlier run has written the file `old`.
    Restart,
    /// The object was read, and its file says `new`.
    Present,
    /// As `Present`, and then a watch has reported its end.
    Deleted,
}

use History::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// A read does not find it.
    Missing,
    /// A read is refused.
    Refused,
    /// A watch reports its end.
    Ended,
    /// A read finds it.
    Back,
}

use Outcome::*;

fn start(annotations: &[(&str, &str)], on_delete: OnDelete, history: History) -> Harness {
    fastrand::seed(7);
    let earlier: &[_] = if history == Restart { &[("a/password", "old")] } else { &[] };
    let mut harness = Harness::start(Policy { on_delete, ..policy() }, annotations, earlier);
    if [Present, Deleted].contains(&history) {
        harness.reads("a", "5", &[("password", "new")]);
        harness.opens("a");
    }
    if history == Deleted {
        harness.deletes("a", "6");
    }
    harness
}

fn component() -> Component {
    Component::Source(secret("a"))
}

/// Makes the controller read the object, if it is not being read.
fn begin_read(harness: &mut Harness) {
    if harness.last_read(&source("a")).is_some() {
        return;
    }
    if harness.watches.contains_key(&source("a")) {
        harness.ends("a", Some(Cause::unreadable("broken")));
    }
    harness.advance(harness.next_read("a").unwrap());
}

/// What the status says of the object.
fn status(harness: &Harness) -> &'static str {
    match (harness.status.is_failing(&component()), harness.status.message(&component())) {
        (true, _) => "failing",
        (false, Some(_)) => "degraded",
        (false, None) => "works",
    }
}

/// The credential, the policy, what was before, the result; what the status says, the file, whether a timer leads to a read,
/// and a part of the log.
type Row = (
    &'static [(&'static str, &'static str)],
    OnDelete,
    History,
    Outcome,
    &'static str,
    Option<&'static str>,
    bool,
    &'static str,
);

const WAITING: &str = "credential a: Secret prod/a: not found; waiting for it";
const KEEPING: &str = "credential a: Secret prod/a: not found; keeping its files (--on-delete keep)";
const REMOVING: &str = "credential a: Secret prod/a: not found; removing its files (--on-delete clear)";
const KEPT_DELETED: &str = "was deleted; keeping its files (--on-delete keep)";
const CLEARED: &str = "was deleted; removing its files (--on-delete clear)";
const REFUSED: &str = "credential a: Secret prod/a: forbidden: forbidden; keeping the current files";
const UNREAD: &str = "credential a: Secret prod/a: forbidden: forbidden; retrying";
const SKIPPED: &str = "skipping optional credential a";
const AGAIN: &str = "is available again";

const TABLE: [Row; 30] = [
    (REQUIRED, KEEP, First, Missing, "failing", None, true, WAITING),
    (REQUIRED, CLEAR, First, Missing, "failing", None, true, WAITING),
    (OPTIONAL, KEEP, First, Missing, "degraded", None, false, SKIPPED),
    (OPTIONAL, CLEAR, First, Missing, "degraded", None, false, SKIPPED),
    (REQUIRED, KEEP, Restart, Missing, "failing", Some("old"), true, KEEPING),
    (REQUIRED, CLEAR, Restart, Missing, "degraded", None, false, REMOVING),
    // Whether the earlier run has skipped it is not known.
    (OPTIONAL, KEEP, Restart, Missing, "failing", Some("old"), true, KEEPING),
    (OPTIONAL, CLEAR, Restart, Missing, "degraded", None, false, REMOVING),
    (REQUIRED, KEEP, Present, Missing, "failing", Some("new"), true, KEEPING),
    (REQUIRED, CLEAR, Present, Missing, "degraded", None, false, REMOVING),
    (OPTIONAL, KEEP, Present, Missing, "failing", Some("new"), true, KEEPING),
    (OPTIONAL, CLEAR, Present, Missing, "degraded", None, false, REMOVING),
    (REQUIRED, KEEP, Present, Ended, "failing", Some("new"), true, KEPT_DELETED),
    (REQUIRED, CLEAR, Present, Ended, "degraded", None, false, CLEARED),
    (OPTIONAL, KEEP, Present, Ended, "failing", Some("new"), true, KEPT_DELETED),
    (OPTIONAL, CLEAR, Present, Ended, "degraded", None, false, CLEARED),
    // A read that confirms a deletion does not change the message.
    (REQUIRED, KEEP, Deleted, Missing, "failing", Some("new"), true, KEPT_DELETED),
    (REQUIRED, CLEAR, Deleted, Missing, "degraded", None, false, CLEARED),
    (OPTIONAL, KEEP, Deleted, Missing, "failing", Some("new"), true, KEPT_DELETED),
    (REQUIRED, KEEP, First, Refused, "failing", None, true, UNREAD),
    (OPTIONAL, KEEP, First, Refused, "failing", None, true, UNREAD),
    (REQUIRED, CLEAR, Restart, Refused, "failing", Some("old"), true, REFUSED),
    (OPTIONAL, CLEAR, Restart, Refused, "failing", Some("old"), true, REFUSED),
    (REQUIRED, CLEAR, Present, Refused, "failing", Some("new"), true, REFUSED),
    (OPTIONAL, CLEAR, Deleted, Refused, "failing", None, true, REFUSED),
    (REQUIRED, KEEP, First, Back, "works", Some("back"), false, ""),
    (REQUIRED, KEEP, Restart, Back, "works", Some("back"), false, ""),
    (REQUIRED, KEEP, Deleted, Back, "works", Some("back"), false, AGAIN),
    (REQUIRED, CLEAR, Deleted, Back, "works", Some("back"), false, AGAIN),
    (OPTIONAL, CLEAR, Deleted, Back, "works", Some("back"), false, AGAIN),
];

#[test]
fn each_result_leads_where_the_table_says() {
    for (annotations, on_delete, history, result, expected, file, is_retried, message) in TABLE {
        let row = format!("{annotations:?}, {on_delete:?}, {history:?}, {result:?}");
        let mut harness = start(annotations, on_delete, history);
        if result != Ended {
            begin_read(&mut harness);
        }
        match result {
            Missing => harness.read_fails("a", not_found()),
            Refused => harness.read_fails("a", forbidden()),
            Back => harness.reads("a", "9", &[("password", "back")]),
            Ended => harness.update("a", Update::Event(WatchEvent::Deleted { version: "6".to_owned() })),
        }
        let retry = harness.next_read("a");
        assert_eq!(retry.is_some(), is_retried, "{row}");
        assert!(retry.is_none_or(|delay| delay <= SECOND), "{row}: {retry:?}");
        if retry.is_none() || retry > Some(Duration::from_millis(50)) {
            harness.advance(Duration::from_millis(50));
        }
        let found = (status(&harness), harness.file("a/password"));
        assert_eq!(found, (expected, file), "{row}");
        assert!(harness.is_logged(message), "{row}: {:?}", harness.log);
    }
}

#[test]
fn an_object_that_was_cleared_is_not_reported_again() {
    let mut harness = start(REQUIRED, CLEAR, Deleted);
    harness.log.clear();
    for _ in 0..3 {
        begin_read(&mut harness);
        harness.read_fails("a", not_found());
    }
    let is_warned =
        |(level, message): &(Level, String)| *level == Level::Warn && message.contains("removing");
    assert!(!harness.log.iter().any(is_warned), "{:?}", harness.log);
    assert_eq!(harness.publications, 2, "written and removed");
}

#[test]
fn each_deletion_has_a_message_of_its_own() {
    let mut harness = start(REQUIRED, KEEP, Deleted);
    harness.applies("a", "7", &[("password", "back")]);
    begin_read(&mut harness);
    harness.read_fails("a", not_found());
    assert!(harness.is_logged(KEEPING), "{:?}", harness.log);
}

#[test]
fn a_missing_object_is_retried_although_it_is_watched() {
    let mut harness = start(REQUIRED, KEEP, First);
    for _ in 0..20 {
        harness.read_fails("a", not_found());
        let delay = harness.next_read("a").expect("a retry is scheduled");
        assert!(delay <= 30 * SECOND, "{delay:?}");
        assert_eq!(harness.watches_from("a"), Some(&Position::Any));
        harness.advance(delay);
    }
    harness.reads("a", "5", &[("password", "new")]);
    assert_eq!(harness.file("a/password"), Some("new"));
    assert_eq!(harness.next_read("a"), None);
}

#[test]
fn an_object_that_a_watch_reports_again_needs_no_read() {
    for on_delete in [KEEP, CLEAR] {
        let mut harness = start(REQUIRED, on_delete, Present);
        harness.update("a", Update::Event(WatchEvent::Deleted { version: "6".to_owned() }));
        harness.update(
            "a",
            Update::Event(WatchEvent::Applied {
                version: "7".to_owned(),
                data: data(&[("password", "back")]),
            }),
        );
        assert_eq!((harness.next_read("a"), harness.last_read(&source("a"))), (None, None));
        harness.advance(SECOND);
        assert_eq!(harness.file("a/password"), Some("back"));
        assert_eq!(status(&harness), "works");
    }
}

#[test]
fn a_created_object_that_a_read_did_not_find_is_read_and_not_believed() {
    let mut harness = start(OPTIONAL, KEEP, First);
    harness.read_fails("a", not_found());
    harness.opens("a");
    harness.applies("a", "4", &[("password", "a stale cache")]);
    assert_eq!(harness.file("a/password"), None);
    harness.read_fails("a", not_found());
    harness.advance(SECOND);
    assert_eq!(harness.file("a/password"), None, "it was deleted before the first read");
    harness.applies("a", "8", &[("password", "created")]);
    harness.reads("a", "8", &[("password", "created")]);
    assert_eq!(harness.file("a/password"), Some("created"));
}

#[test]
fn a_change_during_the_read_of_a_created_object_is_not_lost() {
    let mut harness = start(OPTIONAL, KEEP, First);
    harness.read_fails("a", not_found());
    harness.opens("a");
    harness.applies("a", "8", &[("password", "created")]);
    let read = harness.last_read(&source("a")).unwrap();
    harness.applies("a", "9", &[("password", "changed")]);
    harness.answer("a", read, Ok(Object { version: "8".to_owned(), data: data(&[("password", "created")]) }));
    harness.advance(SECOND);
    assert_eq!(harness.file("a/password"), Some("created"), "better than nothing");
    harness.reads("a", "9", &[("password", "changed")]);
    assert_eq!(harness.file("a/password"), Some("changed"));
    assert_eq!(harness.last_read(&source("a")), None);
}

/// A watch has overtaken a read: what it has reported since the read began, the answer, the file, and whether it is read again.
type Overtaken = (&'static str, Option<&'static str>, Option<&'static str>, &'static str, bool);

const OVERTAKEN: [Overtaken; 7] = [
    ("changed, and an older answer", Some("8"), Some("5"), "8", false),
    ("changed, and the same answer", Some("8"), Some("8"), "8", false),
    ("changed, and a newer answer", Some("8"), Some("9"), "9", false),
    ("changed, and it is not found", Some("8"), None, "8", true),
    ("deleted, and an older answer", None, Some("5"), "5", false),
    ("deleted, and a newer answer", None, Some("9"), "9", false),
    ("deleted, and it is not found", None, None, "5", true),
];

#[test]
fn an_answer_that_a_watch_has_overtaken_is_judged_by_its_version() {
    for (name, reported, answer, file, is_read_again) in OVERTAKEN {
        fastrand::seed(7);
        let resync = Some(600 * SECOND);
        let watch = WatchSettings { resync, ..policy().watch };
        let mut harness = Harness::start(Policy { watch, ..policy() }, REQUIRED, &[]);
        harness.reads("a", "5", &[("password", "5")]);
        harness.opens("a");
        harness.advance(harness.next_read("a").unwrap());
        let read = harness.last_read(&source("a")).unwrap();
        match reported {
            Some(version) => harness.applies("a", version, &[("password", version)]),
            None => harness.deletes("a", "7"),
        }
        let result = match answer {
            Some(version) => Ok(Object { version: version.to_owned(), data: data(&[("password", version)]) }),
            None => Err(error("a", not_found())),
        };
        harness.answer("a", read, result);
        let again = harness.last_read(&source("a")).is_some();
        harness.advance(Duration::from_millis(1));
        assert_eq!((harness.file("a/password"), again), (Some(file), is_read_again), "{name}");
        let is_deleted = reported.is_none() && answer != Some("9");
        assert_eq!(status(&harness) == "failing", is_deleted, "{name}");
    }
}

#[test]
fn a_read_that_no_watch_has_overtaken_counts_even_if_it_is_older() {
    let mut harness = start(REQUIRED, KEEP, Present);
    harness.applies("a", "9", &[("password", "9")]);
    harness.ends("a", Some(gone()));
    harness.advance(harness.next_read("a").unwrap());
    harness.reads("a", "3", &[("password", "restored from a backup")]);
    assert_eq!(harness.file("a/password"), Some("restored from a backup"));
}

#[test]
fn older_states_from_a_watch_are_ignored() {
    let mut harness = start(REQUIRED, KEEP, Present);
    harness.applies("a", "10", &[("password", "10")]);
    harness.applies("a", "9", &[("password", "9")]);
    harness.applies("a", "10", &[("password", "the same version again")]);
    harness.deletes("a", "8");
    assert_eq!((harness.file("a/password"), status(&harness)), (Some("10"), "works"));
    harness.deletes("a", "11");
    harness.applies("a", "10", &[("password", "before its end")]);
    assert_eq!((harness.file("a/password"), status(&harness)), (Some("10"), "failing"));
}

#[test]
fn answers_to_a_read_of_an_object_that_was_dropped_meanwhile_are_ignored() {
    let both: &[_] = &[("a.secret", "a"), ("b.secret", "b")];
    let one: &[_] = &[("b.secret", "b")];
    let mut harness = Harness::start(following(), both, &[]);
    harness.edits("1", both);
    let old = harness.last_read(&source("a")).unwrap();
    harness.reads("b", "2", &[("password", "b")]);
    harness.edits("2", one);
    assert!(!harness.controller.sources.contains_key(&secret("a")));
    harness.edits("3", both);
    let new = harness.last_read(&source("a")).unwrap();
    assert_ne!(old, new);
    let answer = |version: &str| Object { version: version.to_owned(), data: data(&[("password", version)]) };
    harness.answer("a", old, Ok(answer("4")));
    harness.advance(SECOND);
    assert_eq!(harness.file("a/password"), None);
    harness.answer("a", new, Ok(answer("6")));
    harness.answer("a", old, Err(error("a", not_found())));
    harness.advance(SECOND);
    assert_eq!(harness.file("a/password"), Some("6"));
    let update =
        Update::Event(WatchEvent::Applied { version: "9".to_owned(), data: data(&[("password", "9")]) });
    harness.step(Event::Watch { object: secret("a"), watch: old, update });
    harness.advance(SECOND);
    assert_eq!(harness.file("a/password"), Some("6"));
}

#[test]
fn messages_name_the_credentials() {
    let shared = [("a.secret", "a"), ("b.secret", "a"), ("c.secret", "a"), ("d.secret", "b")];
    for (count, names) in
        [(1, "credential a: "), (2, "credential a and 1 more: "), (3, "credential a and 2 more: ")]
    {
        let mut harness = Harness::new(&shared[..count]);
        harness.read_fails("a", forbidden());
        assert!(harness.log.iter().any(|(_, message)| message.starts_with(names)), "{:?}", harness.log);
    }
}

#[test]
fn unchanged_content_is_not_published() {
    let mut harness = start(REQUIRED, KEEP, Present);
    harness.update(
        "a",
        Update::Event(WatchEvent::Applied { version: "6".to_owned(), data: data(&[("password", "new")]) }),
    );
    assert_eq!(harness.controller.timers.at(&Timer::Publish), None);
    harness.ends("a", Some(gone()));
    harness.advance(harness.next_read("a").unwrap());
    harness.reads("a", "7", &[("password", "new")]);
    assert_eq!(harness.publications, 1);
    harness.opens("a");
    harness.applies("a", "8", &[("password", "changed")]);
    assert_eq!((harness.publications, harness.file("a/password")), (2, Some("changed")));
}

#[test]
fn an_object_of_several_credentials_is_read_and_watched_once() {
    let mut harness = Harness::new(&[("a.secret", "a"), ("b.secret", "a"), ("c.secret", "c")]);
    assert_eq!(harness.reads.len(), 2);
    harness.reads("a", "5", &[("password", "5")]);
    assert_eq!(harness.watches.len(), 1);
}

#[test]
fn an_object_that_hangs_delays_no_other() {
    let earlier = &[("a/password", "old"), ("b/password", "old")];
    let mut harness = Harness::start(policy(), &[("a.secret", "a"), ("b.secret", "b")], earlier);
    harness.reads("b", "5", &[("password", "5")]);
    harness.opens("b");
    for version in 6..20 {
        harness.applies("b", &version.to_string(), &[("password", &version.to_string())]);
        assert_eq!(harness.file("b/password"), Some(version.to_string().as_str()));
    }
    assert_eq!(harness.file("a/password"), Some("old"));
}

#[test]
fn a_source_for_which_there_is_no_room_is_read_again_without_haste_and_holds_up_no_other() {
    let annotations = [("a.secret", "a"), ("a.keys", "password"), ("b.secret", "b"), ("b.keys", "password")];
    let mut harness = Harness::start(Policy { sources_limit: 1024, ..policy() }, &annotations, &[]);
    let half = "x".repeat(512);
    harness.reads("a", "1", &[("password", "1"), ("unused", &half)]);
    harness.reads("b", "1", &[("password", "1")]);
    ["a", "b"].into_iter().for_each(|name| harness.opens(name));
    harness.applies("b", "2", &[("password", "2"), ("unused", &half)]);
    assert_eq!(harness.file("b/password"), Some("1"));
    assert!(
        harness.is_logged("credential b: Secret prod/b: with this object, all Secrets"),
        "{:?}",
        harness.log
    );
    assert!(harness.is_stale());
    assert_eq!(harness.next_read("b").map(|delay| delay > 20 * SECOND), Some(true));
    harness.applies("a", "3", &[("password", "3")]);
    assert_eq!(harness.file("a/password"), Some("3"));
    harness.advance(harness.next_read("b").unwrap());
    harness.reads("b", "2", &[("password", "2"), ("unused", &half)]);
    assert_eq!((harness.file("b/password"), harness.is_stale()), (Some("2"), false));
}

#[test]
fn an_object_that_an_edit_names_again_is_read_again_whatever_its_old_watch_reports() {
    let both: &[_] = &[("a.secret", "a"), ("b.secret", "b")];
    let one: &[_] = &[("b.secret", "b")];
    let mut harness = Harness::start(following(), both, &[]);
    harness.edits("1", both);
    harness.reads("b", "2", &[("password", "b")]);
    harness.reads("a", "3", &[("password", "3")]);
    harness.opens("a");
    harness.advance(SECOND);
    let (old, _) = harness.watches[&source("a")];
    harness.edits("4", one);
    assert_eq!(harness.watches_from("a"), None);
    harness.edits("5", both);
    // The old watch reports a change that it received before it was stopped.
    let event = WatchEvent::Applied { version: "9".into(), data: data(&[("password", "9")]) };
    let event = Event::Watch { object: secret("a"), watch: old, update: Update::Event(event) };
    harness.step(event);
    harness.reads("a", "9", &[("password", "9")]);
    harness.advance(SECOND);
    assert_eq!(harness.file("a/password"), Some("9"));
    assert_eq!(harness.watches_from("a"), Some(&Position::At("9".into())));
}
