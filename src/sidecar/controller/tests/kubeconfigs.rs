//! Changed kubeconfigs.

use super::*;
use crate::object::{ClusterId, ClusterRef};
use crate::telemetry::Component;

const PLAIN: &[(&str, &str)] = &[("a.secret", "a"), ("b.secret", "b")];

fn changed(harness: &mut Harness, cluster: ClusterRef, is_changed: bool, failure: Option<&str>) {
    harness.step(Event::Kubeconfig { cluster, is_changed, failure: failure.map(str::to_owned) });
}

/// Both objects and the annotations are watched.
fn watching() -> Harness {
    let mut harness = Harness::start(following(), PLAIN, &[]);
    harness.edits("100", PLAIN);
    harness.reads("a", "900", &[("password", "old")]);
    harness.reads("b", "900", &[("password", "old")]);
    harness
}

#[test]
fn everything_is_read_again_after_a_change_of_the_kubeconfig() {
    let mut harness = watching();
    let (old, _) = harness.watches[&source("a")];
    let read = {
        // A read that the previous server answers late.
        harness.controller.timers.set(Timer::Read(source("b")), harness.now.instant);
        harness.advance(Duration::ZERO);
        harness.last_read(&source("b")).unwrap()
    };
    changed(&mut harness, ClusterRef::Local, true, None);
    assert!(harness.watches.is_empty(), "no watch of the previous server stays");
    assert!(harness.last_read(&Target::Annotations).is_some());
    harness.answer("b", read, Ok(Object { version: "901".into(), data: data(&[("password", "late")]) }));
    let event = WatchEvent::Applied { version: "902".into(), data: data(&[("password", "late")]) };
    harness.step(Event::Watch { object: secret("a"), watch: old, update: Update::Event(event) });
    assert_eq!((harness.file("a/password"), harness.file("b/password")), (Some("old"), Some("old")));

    // Its resourceVersions are lower.
    harness.reads("a", "5", &[("password", "new")]);
    harness.reads("b", "6", &[("password", "new")]);
    harness.edits("7", PLAIN);
    assert_eq!((harness.file("a/password"), harness.file("b/password")), (Some("new"), Some("new")));
    assert_eq!(harness.watches_from("a"), Some(&Position::At("5".into())));
    harness.applies("a", "8", &[("password", "newer")]);
    assert_eq!(harness.file("a/password"), Some("newer"));
}

#[test]
fn only_objects_of_the_cluster_are_read_again() {
    let mut harness = watching();
    changed(&mut harness, ClusterRef::Named(ClusterId::parse("hub").unwrap()), true, None);
    changed(&mut harness, ClusterRef::Local, false, None);
    assert_eq!((harness.watches.len(), harness.reads.len()), (3, 0));
}

#[test]
fn a_kubeconfig_that_cannot_be_used_is_a_failure_until_it_can() {
    let mut harness = watching();
    let component = Component::Kubeconfig(ClusterRef::Local);
    for _ in 0..2 {
        changed(&mut harness, ClusterRef::Local, false, Some("test failure"));
        assert!(harness.is_stale() && harness.status.is_failing(&component));
    }
    let warnings = harness
        .log
        .iter()
        .filter(|(level, message)| (*level, message.as_str()) == (Level::Warn, "test failure"));
    assert_eq!(warnings.count(), 1);
    assert!(harness.status.credentials_stale_since().all(|(_, since)| since.is_some()));
    // No annotation names this cluster.
    changed(&mut harness, ClusterRef::Named(ClusterId::parse("hub").unwrap()), false, Some("test failure"));
    assert!(
        !harness
            .status
            .is_failing(&Component::Kubeconfig(ClusterRef::Named(ClusterId::parse("hub").unwrap())))
    );
    changed(&mut harness, ClusterRef::Local, true, None);
    assert!(!harness.status.is_failing(&component) && harness.is_logged("the kubeconfig is in use again"));
}
