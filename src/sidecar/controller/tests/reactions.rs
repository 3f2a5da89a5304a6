//! What follows a rotation, and when.

use super::*;
use crate::splay;
use crate::telemetry::Component;

const SPLAY: Duration = Duration::from_secs(60);

/// Two credentials, each with the application of this file.
fn with(files: [&str; 2], more: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut annotations = Vec::new();
    for (name, file) in ["a", "b"].into_iter().zip(files) {
        for (key, value) in [("secret", name), ("keys", "password"), ("on-change", file)] {
            annotations.push((format!("{name}.{key}"), value.to_owned()));
        }
    }
    annotations.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    annotations
}

fn borrowed(annotations: &[(String, String)]) -> Vec<(&str, &str)> {
    annotations.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

/// The files of `a` and `b` are published, and a while has passed.
fn running(policy: Policy, annotations: &[(String, String)]) -> Harness {
    let mut harness = Harness::start(policy, &borrowed(annotations), &[]);
    if harness.last_read(&Target::Annotations).is_some() {
        harness.edits("1", &borrowed(annotations));
    }
    for name in ["a", "b"] {
        harness.reads(name, "1", &[("password", "1")]);
        harness.opens(name);
    }
    harness.advance(SECOND);
    harness
}

fn splayed() -> Policy {
    Policy { splay: SPLAY, ..policy() }
}

/// The first reaction is about to happen.
fn until_reaction(harness: &mut Harness) -> Duration {
    let at = harness.controller.timers.at(&Timer::React).expect("a reaction waits");
    let wait = at.duration_since(harness.now.instant);
    harness.advance(wait - Duration::from_millis(1));
    wait
}

#[test]
fn files_change_at_once_and_the_application_is_notified_after_its_part_of_the_splay() {
    let mut harness = running(splayed(), &with(["touch x", "touch x"], &[]));
    harness.applies("a", "2", &[("password", "2")]);
    assert_eq!(harness.file("a/password"), Some("2"));
    assert!(harness.notified.is_empty());
    let delay = splay::delay(SPLAY, "app-0", "..2");
    assert!(
        harness.is_logged(&format!("notifying touch x in {:.0} s (splay)", delay.as_secs_f64())),
        "{:?}",
        harness.log
    );
    let wait = until_reaction(&mut harness);
    assert_eq!(wait, delay - Duration::from_millis(50), "since the files have changed");
    assert!(harness.notified.is_empty());
    harness.advance(Duration::from_millis(1));
    assert_eq!(harness.notified, [["a"]]);
    harness.advance(2 * SPLAY);
    assert_eq!(harness.notified.len(), 1);
}

#[test]
fn without_a_splay_nothing_waits_and_no_wait_is_logged() {
    let mut harness = running(policy(), &with(["touch x", "touch y"], &[]));
    harness.applies("a", "2", &[("password", "2")]);
    assert_eq!((harness.notified.len(), harness.controller.timers.at(&Timer::React)), (1, None));
    assert!(!harness.is_logged("splay"), "{:?}", harness.log);
}

#[test]
fn rotations_during_the_wait_are_one_notification_at_the_time_of_the_first() {
    let mut harness = running(splayed(), &with(["touch x", "touch x"], &[]));
    harness.applies("a", "2", &[("password", "2")]);
    let first = harness.controller.timers.at(&Timer::React);
    harness.applies("b", "3", &[("password", "3")]);
    harness.applies("a", "4", &[("password", "4")]);
    assert_eq!(harness.controller.timers.at(&Timer::React), first);
    until_reaction(&mut harness);
    assert_eq!((harness.file("a/password"), harness.notified.len()), (Some("4"), 0));
    let actions = {
        harness.set_clock(first.unwrap());
        harness.controller.step(harness.now, Event::Tick, &mut harness.status)
    };
    let [Action::Notify { credentials, version }] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!((credentials.len(), version.as_str()), (2, "..4"), "of the newest version");
    // The next rotation waits again.
    harness.applies("a", "5", &[("password", "5")]);
    assert!(harness.controller.timers.at(&Timer::React).is_some());
}

#[test]
fn each_application_waits_for_its_own_splay_which_wins_over_the_flag() {
    for (flag, longer, shorter) in [(SPLAY, "1h", "0s"), (Duration::ZERO, "1h", "0s")] {
        let annotations = with(["touch x", "touch y"], &[("a.splay", shorter), ("b.splay", longer)]);
        let mut harness = running(Policy { splay: flag, ..policy() }, &annotations);
        harness.applies("a", "2", &[("password", "2")]);
        assert_eq!(harness.notified, [["a"]], "{flag:?}");
        harness.applies("b", "2", &[("password", "2")]);
        let wait = until_reaction(&mut harness);
        let delay = splay::delay(Duration::from_secs(3600), "app-0", "..3");
        assert_eq!(wait, delay - Duration::from_millis(49), "{flag:?}: published after the debounce window");
    }
}

#[test]
fn the_longest_splay_of_the_changed_credentials_of_an_application_counts() {
    let annotations = with(["touch x", "touch x"], &[("a.splay", "0s"), ("b.splay", "1h")]);
    let mut harness = running(policy(), &annotations);
    // The first change is published at once, so both must be in the next publication.
    harness.volume_fails = true;
    harness.applies("a", "2", &[("password", "2")]);
    harness.applies("b", "2", &[("password", "2")]);
    harness.volume_fails = false;
    harness.advance(SECOND);
    assert!(harness.notified.is_empty());
    harness.advance(splay::delay(Duration::from_secs(3600), "app-0", "..2"));
    assert_eq!(harness.notified, [["a", "b"]]);
}

#[test]
fn a_wait_does_not_count_as_a_failure() {
    let mut harness = running(Policy { splay: 60 * SPLAY, ..policy() }, &with(["touch x", "touch x"], &[]));
    harness.applies("a", "2", &[("password", "2")]);
    until_reaction(&mut harness);
    assert!(!harness.is_stale() && harness.status.pending_notifications.is_empty());
    assert!(harness.log.iter().all(|(level, _)| *level > Level::Warn), "{:?}", harness.log);
    let status = &harness.status;
    assert!(status.rotations.sum() < SECOND, "the splay is not a part of the latency");
    assert!(!status.is_failing(&Component::Volume));
}

#[test]
fn edited_annotations_decide_which_application_is_notified() {
    for (edited, notified) in [
        (with(["touch y", "touch y"], &[]), vec![vec!["a"]]),
        // `a` has no application any more, and then `a` itself is gone.
        (with(["touch x", "touch x"], &[])[..2].to_vec(), vec![vec!["a"]]),
        (with(["touch x", "touch x"], &[])[3..].to_vec(), vec![vec![]]),
    ] {
        let policy = Policy { splay: SPLAY, ..following() };
        let mut harness = running(policy, &with(["touch x", "touch x"], &[]));
        harness.applies("a", "2", &[("password", "2")]);
        harness.edits("2", &borrowed(&edited));
        assert!(harness.is_logged("applied the edited annotations"), "{:?}", harness.log);
        assert!(harness.notified.is_empty());
        harness.advance(2 * SPLAY);
        assert_eq!(harness.notified, notified, "{edited:?}");
    }
}

#[test]
fn the_exit_waits_too_while_files_are_still_published() {
    let mut harness = running(
        Policy { exit_on_change: Some(88), ..splayed() },
        &with(["touch x", "touch y"], &[("a.splay", "1h")]),
    );
    harness.applies("b", "2", &[("password", "2")]);
    assert!(harness.is_logged("exiting with code 88 in "), "{:?}", harness.log);
    harness.applies("a", "3", &[("password", "3")]);
    until_reaction(&mut harness);
    assert_eq!((harness.file("a/password"), harness.file("b/password")), (Some("3"), Some("2")));
    assert!(harness.exit.is_none());
    harness.advance(SECOND);
    let exit = harness.exit.take().expect("the sidecar ends");
    assert_eq!((exit.code, exit.reason.as_str()), (88, "rotated a, b"));
    assert!(harness.notified.is_empty());
}

#[test]
fn files_that_are_removed_during_the_wait_end_no_sidecar() {
    let policy = Policy { exit_on_change: Some(88), on_delete: OnDelete::Clear, ..splayed() };
    let mut harness = running(policy, &with(["touch x", "touch y"], &[]));
    harness.applies("a", "2", &[("password", "2")]);
    harness.deletes("a", "3");
    harness.advance(2 * SPLAY);
    assert!(harness.exit.is_none() && harness.file("a/password").is_none());
    harness.applies("b", "4", &[("password", "4")]);
    harness.advance(2 * SPLAY);
    assert_eq!(harness.exit.take().map(|exit| exit.reason).as_deref(), Some("rotated b"));
}
