//! When a publication happens, and what follows from it.

use super::*;
use crate::telemetry::{Component, Reason};

const TWO: &[(&str, &str)] = &[
    ("a.secret", "a"),
    ("a.keys", "password"),
    ("a.on-change", "touch reload"),
    ("b.secret", "b"),
    ("b.keys", "password"),
    ("b.on-change", "touch reload"),
];
const MILLISECOND: Duration = Duration::from_millis(1);

fn running(policy: Policy) -> Harness {
    let mut harness = Harness::start(policy, TWO, &[]);
    for name in ["a", "b"] {
        harness.reads(name, "1", &[("password", "1")]);
        harness.opens(name);
    }
    harness
}

fn change(harness: &mut Harness, name: &str, version: &str) {
    harness.update(
        name,
        Update::Event(WatchEvent::Applied {
            version: version.to_owned(),
            data: data(&[("password", version)]),
        }),
    );
}

#[test]
fn changes_within_the_window_are_one_publication() {
    for exit_on_change in [None, Some(88)] {
        let ends = exit_on_change.is_some();
        let mut harness = running(Policy { exit_on_change, ..policy() });
        harness.advance(SECOND);
        change(&mut harness, "a", "2");
        assert_eq!(harness.publications, if ends { 1 } else { 2 }, "the first one is published at once");
        let before = harness.publications;
        change(&mut harness, "a", "3");
        change(&mut harness, "b", "3");
        assert_eq!(harness.publications, before, "it waits for further changes");
        harness.advance(MILLISECOND);
        assert_eq!(harness.publications, before + 1);
        assert_eq!(harness.file("a/password"), Some("3"));
    }
}

#[test]
fn a_publication_is_at_most_fifty_milliseconds_after_the_first_change() {
    let mut harness = running(Policy { exit_on_change: Some(88), ..policy() });
    let first = harness.now.instant;
    for version in 2..400 {
        change(&mut harness, "a", &version.to_string());
        if harness.publications > 1 {
            break;
        }
        harness.advance(MILLISECOND / 2);
    }
    assert_eq!(harness.now.instant.duration_since(first), 50 * MILLISECOND);
    let due = harness.now.instant + MILLISECOND;
    change(&mut harness, "a", "1000");
    assert_eq!(harness.controller.timers.at(&Timer::Publish), Some(due), "the window begins again");
}

#[test]
fn a_storm_of_changes_ends_at_the_last_value() {
    let mut harness = running(policy());
    for version in 2..10_002 {
        change(&mut harness, "a", &version.to_string());
    }
    harness.advance(SECOND);
    assert_eq!(harness.file("a/password"), Some("10001"));
    assert_eq!(harness.publications, 2);
}

#[test]
fn a_full_volume_is_tried_again_with_delays_that_grow() {
    fastrand::seed(11);
    let mut harness = running(policy());
    harness.volume_fails = true;
    change(&mut harness, "a", "2");
    harness.advance(MILLISECOND);
    assert!(harness.status.is_failing(&Component::Volume));
    assert!(harness.is_logged("is full") && harness.is_logged("keeping the current files"));
    let mut bound = Duration::from_millis(100);
    for _ in 0..15 {
        let due = harness.controller.timers.at(&Timer::Publish).expect("it is tried again");
        let delay = due.duration_since(harness.now.instant);
        assert!(delay <= bound, "{delay:?}");
        bound = (bound * 2).min(30 * SECOND);
        harness.advance(delay);
    }
    assert_eq!(harness.status.syncs.failed, 16);
    assert_eq!(harness.status.failures[Reason::Volume as usize], 16);
    harness.advance(40 * SECOND);
    assert!(harness.is_stale());
    harness.volume_fails = false;
    harness.advance(30 * SECOND);
    assert_eq!(harness.file("a/password"), Some("2"));
    assert!(!harness.is_stale());
    assert_eq!(harness.notified, [["a"]]);

    harness.volume_fails = true;
    change(&mut harness, "a", "3");
    harness.advance(MILLISECOND);
    let due = harness.controller.timers.at(&Timer::Publish).unwrap();
    assert!(due.duration_since(harness.now.instant) <= 100 * MILLISECOND, "a success resets the delays");
}

#[test]
fn what_changes_while_the_volume_fails_is_published_with_it() {
    let mut harness = running(policy());
    harness.volume_fails = true;
    change(&mut harness, "a", "2");
    harness.advance(SECOND);
    change(&mut harness, "b", "3");
    harness.advance(SECOND);
    harness.volume_fails = false;
    harness.advance(30 * SECOND);
    assert_eq!((harness.file("a/password"), harness.file("b/password")), (Some("2"), Some("3")));
    assert_eq!(harness.notified, [["a", "b"]]);
    assert!(harness.status.rotations.sum() >= SECOND, "the latency counts from the change");
}

#[test]
fn a_first_publication_that_fails_is_tried_again() {
    let mut harness = Harness::new(TWO);
    harness.volume_fails = true;
    harness.reads("a", "1", &[("password", "1")]);
    harness.reads("b", "1", &[("password", "1")]);
    assert!(!harness.status.ready);
    harness.volume_fails = false;
    harness.advance(SECOND);
    assert_eq!((harness.status.ready, harness.volume.len()), (true, 2));
    assert_eq!(harness.notified, Vec::<Vec<String>>::new());
}

#[test]
fn the_first_files_lead_to_no_notification() {
    let mut harness = running(policy());
    assert_eq!(harness.notified, Vec::<Vec<String>>::new());
    assert_eq!(
        harness.events,
        [(EventReason::Written, "wrote 2 files of 2 credentials to /podcreds".to_owned())]
    );
    assert_eq!(harness.status.rotations.sum(), Duration::ZERO);
    change(&mut harness, "b", "2");
    harness.advance(MILLISECOND);
    assert_eq!(harness.notified, [["b"]]);
    assert_eq!(harness.events.last(), Some(&(EventReason::Rotated, "rotated b".to_owned())));
    assert!(
        harness.is_logged("rotated b: wrote 1 file of 1 credential to /podcreds in 0 ms, as version ..2")
    );
    assert_eq!(harness.status.rotations.sum(), MILLISECOND);
}

#[test]
fn a_change_while_no_sidecar_ran_is_a_rotation() {
    let mut harness = Harness::start(policy(), TWO, &[("a/password", "0"), ("b/password", "1")]);
    harness.reads("a", "1", &[("password", "1")]);
    harness.reads("b", "1", &[("password", "1")]);
    assert_eq!(harness.notified, [["a"]]);
}

#[test]
fn the_same_files_are_not_written_and_that_is_logged_at_the_start() {
    let mut harness = Harness::start(policy(), TWO, &[("a/password", "1"), ("b/password", "1")]);
    harness.publications = 1;
    harness.reads("a", "1", &[("password", "1")]);
    harness.reads("b", "1", &[("password", "1")]);
    assert_eq!((harness.publications, harness.status.ready), (1, true));
    assert!(harness.is_logged("/podcreds is up to date, with 1 file of 1 credential: nothing written"));
    assert_eq!(harness.status.syncs.succeeded, 2);
}

/// What happens, and the reason with which the sidecar ends.
type Change = fn(&mut Harness);

const EXITS: [(&str, Change, Option<&str>); 4] = [
    ("nothing", |_| (), None),
    ("a rotation", |harness| change(harness, "a", "2"), Some("rotated a")),
    (
        "two",
        |harness| ["a", "b"].into_iter().for_each(|name| change(harness, name, "2")),
        Some("rotated a, b"),
    ),
    ("removed files", |harness| harness.deletes("a", "2"), None),
];

#[test]
fn a_rotation_may_end_the_sidecar() {
    for (name, change, reason) in EXITS {
        let policy = Policy { exit_on_change: Some(3), on_delete: OnDelete::Clear, ..policy() };
        let mut harness = running(policy);
        change(&mut harness);
        harness.advance(SECOND);
        let exit = harness.exit.take().map(|exit| (exit.code, exit.reason));
        assert_eq!(exit, reason.map(|reason| (3, reason.to_owned())), "{name}");
        assert!(harness.notified.is_empty() || exit.is_none(), "{name}");
    }
}

#[test]
fn removed_files_are_reported_as_cleared() {
    let mut harness = running(Policy { on_delete: OnDelete::Clear, ..policy() });
    change(&mut harness, "b", "2");
    harness.deletes("a", "3");
    assert!(harness.is_logged("rotated b; cleared a"), "{:?}", harness.log);
}

#[test]
fn notices_are_logged_when_they_change() {
    let optional: &[_] = &[("a.secret", "a"), ("a.keys", "password, user?"), ("b.secret", "b")];
    let notice = "writing credential a without optional field user: key user not found in Secret prod/a; available: password";
    let mut harness = Harness::new(optional);
    harness.reads("b", "1", &[("password", "1")]);
    harness.reads("a", "1", &[("password", "1")]);
    let count = |harness: &Harness| harness.log.iter().filter(|(_, message)| message == notice).count();
    assert_eq!(count(&harness), 1, "{:?}", harness.log);
    ["a", "b"].into_iter().for_each(|name| harness.opens(name));
    harness.applies("a", "2", &[("password", "2")]);
    harness.applies("b", "3", &[("password", "3")]);
    assert_eq!(count(&harness), 1, "it is the same");
    harness.applies("a", "4", &[("password", "4"), ("user", "test")]);
    harness.applies("a", "5", &[("password", "5")]);
    assert_eq!(count(&harness), 2, "it has come back");
}

#[test]
fn superseded_versions_are_pruned_after_their_grace() {
    let mut harness = running(policy());
    harness.advance(60 * SECOND);
    assert_eq!(harness.controller.timers.at(&Timer::Prune), None);
    let prune = |harness: &mut Harness| {
        let due = harness.controller.timers.at(&Timer::Prune).unwrap();
        let wait = due.duration_since(harness.now.instant);
        harness.set_clock(due);
        let actions = harness.controller.step(harness.now, Event::Tick, &mut harness.status);
        assert!(matches!(actions.as_slice(), [Action::Prune]), "{actions:?}");
        wait
    };
    change(&mut harness, "a", "2");
    harness.advance(4 * SECOND);
    change(&mut harness, "b", "2");
    assert_eq!(prune(&mut harness), 6 * SECOND, "rotations of others do not keep the old version longer");
    assert_eq!(prune(&mut harness), 4 * SECOND);
    assert_eq!(harness.controller.timers.at(&Timer::Prune), None);
}

#[test]
fn what_an_earlier_run_superseded_is_pruned_too() {
    let harness = Harness::new(TWO);
    let due = harness.controller.timers.at(&Timer::Prune).unwrap();
    assert_eq!(due.duration_since(harness.now.instant), 10 * SECOND);
}

#[test]
fn without_credentials_the_files_of_earlier_ones_are_removed() {
    let mut harness = Harness::start(policy(), &[], &[("a/password", "0")]);
    harness.advance(SECOND);
    assert_eq!((harness.volume.len(), harness.status.ready), (0, true));
}

#[test]
fn nothing_is_published_while_a_publication_is_under_way() {
    let mut harness = running(policy());
    let step =
        |harness: &mut Harness, event| harness.controller.step(harness.now, event, &mut harness.status);
    let applied = |version: &str| {
        Update::Event(WatchEvent::Applied {
            version: version.to_owned(),
            data: data(&[("password", version)]),
        })
    };
    let (watch, _) = harness.watches[&source("a")];
    step(&mut harness, Event::Watch { object: secret("a"), watch, update: applied("2") });
    harness.set_clock(harness.now.instant + MILLISECOND);
    let actions = step(&mut harness, Event::Tick);
    assert!(matches!(actions.as_slice(), [Action::Publish { .. }]), "{actions:?}");
    step(&mut harness, Event::Watch { object: secret("a"), watch, update: applied("3") });
    harness.set_clock(harness.now.instant + SECOND);
    let actions = step(&mut harness, Event::Tick);
    assert!(actions.is_empty(), "{actions:?}");
    let published = Published::Swapped { version: "..2".to_owned(), changed: None };
    step(&mut harness, Event::Published { result: Ok(published), took: Duration::ZERO });
    harness.advance(SECOND);
    assert_eq!(harness.file("a/password"), Some("3"), "what has changed meanwhile follows");
}

#[test]
fn reports_come_before_an_action_that_ends_the_process() {
    let mut harness = running(Policy { exit_on_change: Some(0), ..policy() });
    let (watch, _) = harness.watches[&source("a")];
    let update =
        Update::Event(WatchEvent::Applied { version: "2".to_owned(), data: data(&[("password", "2")]) });
    harness.controller.step(
        harness.now,
        Event::Watch { object: secret("a"), watch, update },
        &mut harness.status,
    );
    harness.set_clock(harness.now.instant + MILLISECOND);
    harness.controller.step(harness.now, Event::Tick, &mut harness.status);
    let changed = Some(["a/password".to_owned()].into());
    let result = Ok(Published::Swapped { version: "..2".to_owned(), changed });
    let event = Event::Published { result, took: Duration::ZERO };
    let actions = harness.controller.step(harness.now, event, &mut harness.status);
    let (last, reports) = actions.split_last().unwrap();
    assert!(matches!(last, Action::Exit(_)), "{last:?}");
    assert!(!reports.is_empty() && reports.iter().all(|report| matches!(report, Action::Report(_))));
}

#[test]
fn a_change_does_not_shorten_the_back_off_of_a_volume_that_fails() {
    let mut harness = running(policy());
    harness.volume_fails = true;
    change(&mut harness, "a", "2");
    harness.advance(60 * SECOND);
    let failed = harness.status.syncs.failed;
    for version in 3..40_u32 {
        change(&mut harness, "b", &version.to_string());
        harness.advance(2 * MILLISECOND);
    }
    assert!(harness.status.syncs.failed <= failed + 1, "{} attempts", harness.status.syncs.failed - failed);
    harness.volume_fails = false;
    harness.advance(60 * SECOND);
    assert_eq!(harness.file("b/password"), Some("39"));
}

#[test]
fn an_optional_credential_that_is_missing_after_a_restart_keeps_its_files() {
    let annotations = [("a.secret", "a"), ("b.secret", "b"), ("b.optional", "true")];
    let earlier = [("a/password", "1"), ("b/password", "1")];
    for (on_delete, kept) in [(OnDelete::Keep, Some("1")), (OnDelete::Clear, None)] {
        let mut harness = Harness::start(Policy { on_delete, ..policy() }, &annotations, &earlier);
        harness.reads("a", "1", &[("password", "2")]);
        harness.read_fails("b", not_found());
        harness.advance(SECOND);
        assert_eq!((harness.file("a/password"), harness.file("b/password")), (Some("2"), kept));
        assert!(harness.status.ready);
    }
    let mut shared = Harness::start(
        policy(),
        &[
            ("a.secret", "a"),
            ("a.path", "both/a"),
            ("b.secret", "b"),
            ("b.path", "both/b"),
            ("b.optional", "true"),
        ],
        &[("both/a/password", "1"), ("both/b/password", "1")],
    );
    shared.read_fails("b", not_found());
    shared.reads("a", "1", &[("password", "2")]);
    assert_eq!(shared.file("both/a/password"), Some("2"), "a missing optional Secret holds up no other");
}

#[test]
fn a_credential_without_files_is_not_said_to_keep_them() {
    let mut harness = Harness::new(&[("a.secret", "a"), ("a.keys", "password")]);
    harness.reads("a", "1", &[("other", "1")]);
    assert!(harness.is_logged("credential a: key password not found"));
    assert!(!harness.is_logged("keeping its current files"));
    assert_eq!(harness.status.waiting()["a"], "it cannot be rendered");
}

#[test]
fn a_template_follows_the_secrets_of_the_credentials_that_it_uses() {
    let mut harness = Harness::new(&[
        ("a.secret", "a"),
        ("a.template", "{{ password }}+{{ credentials.b.password }}"),
        ("b.secret", "b"),
    ]);
    harness.reads("a", "1", &[("password", "1")]);
    harness.reads("b", "1", &[("password", "2")]);
    assert_eq!(harness.file("a.txt"), Some("1+2"));
    ["a", "b"].into_iter().for_each(|name| harness.opens(name));
    harness.applies("b", "2", &[("password", "3")]);
    assert_eq!(harness.file("a.txt"), Some("1+3"));
}

#[test]
fn a_header_is_replaced_before_the_notification_and_without_one() {
    let annotations = [
        ("db.secret", "db"),
        ("db.template", "{{ password }}"),
        ("db.on-change", "POST https://app/reload"),
        ("db.on-change-header", "X-Key: {{ token }}"),
    ];
    let mut harness = Harness::new(&annotations);
    let change = |harness: &mut Harness, version: &str, password: &str, token: &str| {
        let data = data(&[("password", password), ("token", token)]);
        harness.advance(SECOND);
        harness.update("db", Update::Event(WatchEvent::Applied { version: version.to_owned(), data }));
        std::mem::take(&mut harness.notified).concat()
    };
    harness.reads("db", "1", &[("password", "1"), ("token", "a")]);
    harness.opens("db");
    assert_eq!(std::mem::take(&mut harness.notified).concat(), ["a"], "files of the start are not notified");
    assert_eq!(change(&mut harness, "2", "2", "b"), ["b", "db"]);
    assert_eq!(change(&mut harness, "3", "2", "c"), ["c"], "no file has changed");
    assert_eq!(change(&mut harness, "4", "3", "c"), ["c", "db"]);
    harness.volume_fails = true;
    assert_eq!(
        change(&mut harness, "5", "4", "d"),
        [""; 0],
        "the header belongs to files that are not there"
    );
    harness.volume_fails = false;
    harness.advance(60 * SECOND);
    assert_eq!(harness.notified.concat(), ["d", "db"]);
}

#[test]
fn a_header_follows_the_field_of_another_credential() {
    let mut harness = Harness::new(&[
        ("db.secret", "db"),
        ("db.keys", "password"),
        ("db.on-change", "POST https://app/reload"),
        ("db.on-change-header", "X-Key: {{ credentials.reload.token }}"),
        ("reload.secret", "reload"),
    ]);
    harness.reads("db", "1", &[("password", "1")]);
    harness.opens("db");
    harness.reads("reload", "1", &[("token", "a")]);
    harness.opens("reload");
    harness.advance(SECOND);
    let data = data(&[("token", "b")]);
    harness.update("reload", Update::Event(WatchEvent::Applied { version: "2".to_owned(), data }));
    harness.advance(SECOND);
    assert_eq!(
        harness.notified.concat(),
        ["a", "b"],
        "reload names no application, and no file of db has changed"
    );
}
