use super::deadlines::clock;
use super::*;
use crate::kube::Cause;
use crate::object::{ClusterId, ClusterRef, Kind, Namespace};

const STALE_AFTER: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// A status, under a clock that only [`Test::pass`] moves.
struct Test {
    status: Status,
    start: Moment,
    now: Moment,
}

fn object(name: &str, cluster: &ClusterRef) -> ObjectRef {
    let mut object = ObjectRef::new(Kind::Secret, Namespace::parse("prod").unwrap(), name).unwrap();
    object.cluster = cluster.clone();
    object
}

fn local(name: &str) -> ObjectRef {
    object(name, &ClusterRef::Local)
}

fn hub() -> ClusterRef {
    ClusterRef::Named(ClusterId::parse("hub").unwrap())
}

fn source(name: &str) -> Component {
    Component::Source(local(name))
}

fn watch(name: &str) -> Component {
    Component::Watch(local(name))
}

impl Test {
    /// Not ready yet, with a credential of each object: `a` and `b`, and `far` of another cluster.
    fn starting() -> Self {
        let now = Moment::now();
        let mut status = Status::new(now, STALE_AFTER);
        let objects = [("a", local("a")), ("b", local("b")), ("far", object("far", &hub()))];
        let credentials = objects.map(|(name, object)| (name.to_owned(), BTreeSet::from([object])));
        status.set_credentials(credentials.into());
        Self { status, start: now, now }
    }

    fn ready() -> Self {
        let mut test = Self::starting();
        test.status.set_waiting(BTreeMap::new());
        test
    }

    fn pass(&mut self, time: Duration) -> Moment {
        self.now = Moment { instant: self.now.instant + time, time: self.now.time + time };
        self.now
    }

    fn fails(&mut self, component: Component, reason: Reason, message: &str) {
        self.status.failing(self.now, component, reason, message);
    }

    /// When the deadlines have to be checked again.
    fn due(&mut self) -> Option<Duration> {
        let due = self.status.check_deadlines(self.now);
        due.map(|at| at.duration_since(self.now.instant))
    }

    fn events(&mut self) -> Vec<(EventReason, String)> {
        let events = self.status.take_reports().into_iter().filter_map(|report| match report {
            Report::Event { reason, message } => Some((reason, message)),
            Report::Log { .. } => None,
        });
        events.collect()
    }

    fn log(&mut self) -> Vec<(Level, String)> {
        let lines = self.status.take_reports().into_iter().filter_map(|report| match report {
            Report::Log { level, message, .. } => Some((level, message)),
            Report::Event { .. } => None,
        });
        lines.collect()
    }

    fn reasons(&mut self) -> Vec<EventReason> {
        self.events().into_iter().map(|(reason, _)| reason).collect()
    }

    /// The credentials that are stale, each with the seconds from the start.
    fn stale(&self) -> Vec<(&str, u64)> {
        let since = |since: Moment| since.instant.duration_since(self.start.instant).as_secs();
        let stale = self.status.credentials_stale_since();
        stale.filter_map(|(name, moment)| Some((name, since(moment?)))).collect()
    }

    /// The same for all of them, in seconds from the start.
    fn stale_since(&self) -> Option<u64> {
        let since = self.status.stale_since()?;
        Some(since.instant.duration_since(self.start.instant).as_secs())
    }

    fn cluster_stale_since(&self, cluster: &ClusterRef) -> Option<u64> {
        let since = self.status.cluster_stale_since(cluster)?;
        Some(since.instant.duration_since(self.start.instant).as_secs())
    }
}

use Reason::{ApiRefused, ApiUnreachable};

#[test]
fn staleness_begins_with_the_first_failure_that_still_holds() {
    let mut test = Test::ready();
    assert_eq!(test.stale_since(), None);
    test.pass(5 * SECOND);
    test.fails(source("a"), ApiRefused, "a");
    test.pass(5 * SECOND);
    test.fails(source("b"), ApiRefused, "b");
    test.pass(5 * SECOND);
    test.fails(source("a"), ApiRefused, "a");
    assert_eq!(test.stale_since(), Some(5), "a repeated failure does not postpone it");
    test.status.healthy(&source("a"));
    assert_eq!(test.stale_since(), Some(10));
    test.status.degraded(&source("b"), Level::Warn, "b is missing, and may be");
    assert_eq!(test.stale_since(), None);
    test.pass(5 * SECOND);
    test.fails(source("a"), ApiRefused, "a");
    assert_eq!(test.stale_since(), Some(20), "a failure that ended does not count again");
}

#[test]
fn staleness_is_reported_after_a_while_and_when_it_ends() {
    let mut test = Test::ready();
    assert_eq!(test.due(), None);
    test.fails(watch("a"), ApiRefused, "it broke");
    test.status.take_reports();
    assert_eq!(test.due(), Some(STALE_AFTER));
    test.pass(STALE_AFTER - SECOND);
    assert_eq!((test.due(), test.events()), (Some(SECOND), vec![]));
    test.pass(SECOND);
    assert_eq!(test.due(), None);
    let events = test.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].0, EventReason::Stale);
    let since = clock(test.start);
    assert_eq!(events[0].1, format!("the files may have been out of date since {since}: it broke"));
    test.pass(STALE_AFTER);
    assert_eq!((test.due(), test.events()), (None, vec![]), "once");
    test.status.healthy(&watch("a"));
    assert_eq!(test.due(), None);
    let ended = format!("the files are current again (stale since {since})");
    assert_eq!(test.events(), [(EventReason::Current, ended)]);
    assert_eq!((test.due(), test.events()), (None, vec![]));
}

#[test]
fn staleness_continues_while_another_failure_holds() {
    let mut test = Test::ready();
    test.fails(source("a"), ApiRefused, "a");
    test.pass(STALE_AFTER);
    test.due();
    test.fails(source("b"), ApiRefused, "b");
    test.status.healthy(&source("a"));
    test.status.take_reports();
    assert_eq!((test.due(), test.events()), (Some(STALE_AFTER), vec![]));
    test.status.healthy(&source("b"));
    test.due();
    assert_eq!(test.reasons(), [EventReason::Current]);
}

#[test]
fn a_failure_that_lasts_does_not_hide_a_later_one() {
    let mut test = Test::ready();
    test.fails(source("a"), ApiRefused, "a");
    test.pass(STALE_AFTER);
    test.due();
    test.fails(source("b"), ApiRefused, "b");
    test.status.take_reports();
    test.pass(STALE_AFTER);
    assert_eq!(test.due(), None);
    let events = test.events();
    assert!(matches!(&events[..], [(EventReason::Stale, message)] if message.ends_with(": b")), "{events:?}");
    test.status.healthy(&source("b"));
    assert_eq!(test.events(), [(EventReason::Current, format!("{}: recovered", source("b")))]);
}

#[test]
fn a_failure_that_ends_in_time_is_not_staleness() {
    let mut test = Test::ready();
    test.fails(source("a"), ApiRefused, "a");
    test.pass(STALE_AFTER / 2);
    test.status.healthy(&source("a"));
    test.pass(STALE_AFTER);
    assert_eq!(test.due(), None);
    assert_eq!(test.reasons(), [EventReason::Failed, EventReason::Current]);
}

#[test]
fn at_most_three_failures_are_named() {
    let mut test = Test::ready();
    let components = ["a", "b", "c", "d", "e"].map(source);
    for (component, message) in components.into_iter().zip(["1", "2", "3", "4", "5"]) {
        test.fails(component, ApiRefused, message);
    }
    test.status.take_reports();
    test.pass(STALE_AFTER);
    test.due();
    assert!(test.events()[0].1.ends_with(": 1; 2; 3; and 2 more"));
}

#[test]
fn before_the_first_files_it_is_stale_since_the_start_and_that_is_not_reported() {
    let mut test = Test::starting();
    let waiting = BTreeMap::from([("a".to_owned(), "Secret prod/a".to_owned())]);
    test.status.set_waiting(waiting.clone());
    test.pass(10 * SECOND);
    test.fails(source("b"), ApiRefused, "b");
    assert_eq!(test.stale_since(), Some(0));
    assert_eq!(test.stale(), [("a", 0), ("b", 10)]);
    assert_eq!(test.status.waiting(), &waiting);
    test.pass(STALE_AFTER);
    assert_eq!(test.due(), None);
    assert_eq!(test.reasons(), [EventReason::Failed]);
    test.status.set_waiting(BTreeMap::new());
    assert!(test.status.ready);
    assert_eq!(test.stale_since(), Some(10), "a failure from before counts once there are files");
    test.due();
    assert_eq!(test.reasons(), [EventReason::Stale]);
    test.status.set_waiting(waiting);
    assert!(test.status.ready, "it is final");
}

/// A failing component, and the credentials and clusters that it makes stale.
#[test]
fn staleness_is_by_credential_and_by_cluster() {
    let far = || object("far", &hub());
    let rows: [(Component, &[&str], bool, bool); 8] = [
        (source("a"), &["a"], true, false),
        (watch("b"), &["b"], true, false),
        (Component::Source(far()), &["far"], false, true),
        (Component::Watch(far()), &["far"], false, true),
        (Component::Credential("far".to_owned()), &["far"], false, false),
        (Component::Credential("a".to_owned()), &["a"], false, false),
        (Component::Annotations, &[], true, false),
        (Component::Volume, &[], false, false),
    ];
    for (component, credentials, is_local, is_hub) in rows {
        let mut test = Test::ready();
        test.pass(SECOND);
        test.fails(component.clone(), ApiRefused, "test");
        assert_eq!(test.stale_since(), Some(1), "{component}");
        let stale: Vec<_> = test.stale().into_iter().map(|(name, _)| name).collect();
        assert_eq!(stale, credentials, "{component}");
        assert_eq!(test.cluster_stale_since(&ClusterRef::Local), is_local.then_some(1), "{component}");
        assert_eq!(test.cluster_stale_since(&hub()), is_hub.then_some(1), "{component}");
    }
}

#[test]
fn credentials_that_edits_drop_are_forgotten() {
    let mut test = Test::ready();
    test.fails(Component::Credential("a".to_owned()), Reason::Render, "a");
    test.fails(Component::Credential("b".to_owned()), Reason::Render, "b");
    test.status.set_credentials(BTreeMap::from([("b".to_owned(), BTreeSet::new())]));
    assert_eq!(test.stale(), [("b", 0)]);
    assert_eq!(test.status.message(&Component::Credential("a".to_owned())), None);
    assert_eq!(test.status.message(&Component::Credential("b".to_owned())), Some("b"));
}

/// Failures in a row, each with its message, and the Events of the last one.
type Failures = &'static [(fn() -> Component, Reason, &'static str)];

const A: fn() -> Component = || source("a");
const B: fn() -> Component = || source("b");
const WATCH_A: fn() -> Component = || watch("a");
const FAR: fn() -> Component = || Component::Source(object("far", &hub()));
const CREDENTIAL: fn() -> Component = || Component::Credential("a".to_owned());

const EVENTS: [(&str, Failures, usize); 14] = [
    ("a failure", &[(A, ApiRefused, "1")], 1),
    ("the same failure", &[(A, ApiRefused, "1"), (A, ApiRefused, "1")], 0),
    ("another message", &[(A, ApiRefused, "1"), (A, ApiRefused, "2")], 1),
    ("another object", &[(A, ApiRefused, "1"), (B, ApiRefused, "1")], 1),
    ("the first break of a watch", &[(WATCH_A, ApiRefused, "1")], 0),
    ("the second", &[(WATCH_A, ApiRefused, "1"), (WATCH_A, ApiRefused, "1")], 1),
    ("the third", &[(WATCH_A, ApiRefused, "1"), (WATCH_A, ApiRefused, "1"), (WATCH_A, ApiRefused, "1")], 0),
    ("an API server that cannot be reached", &[(A, ApiUnreachable, "1")], 1),
    ("again, for another object", &[(A, ApiUnreachable, "1"), (B, ApiUnreachable, "2")], 0),
    ("again, for the same object", &[(A, ApiUnreachable, "1"), (A, ApiUnreachable, "2")], 1),
    ("another cluster", &[(A, ApiUnreachable, "1"), (FAR, ApiUnreachable, "2")], 1),
    ("another reason", &[(A, ApiUnreachable, "1"), (B, ApiRefused, "2")], 1),
    ("after a watch that only broke", &[(WATCH_A, ApiUnreachable, "1"), (A, ApiUnreachable, "2")], 1),
    ("a credential beside an API server", &[(A, ApiUnreachable, "1"), (CREDENTIAL, Reason::Render, "2")], 1),
];

#[test]
fn failures_become_events_as_the_table_says() {
    for (name, failures, expected) in EVENTS {
        let mut test = Test::ready();
        for (component, reason, message) in failures {
            test.status.take_reports();
            test.fails(component(), *reason, message);
        }
        let reasons = test.reasons();
        assert_eq!(reasons, vec![EventReason::Failed; expected], "{name}");
    }
}

#[test]
fn a_recovery_is_an_event_if_the_failure_was_one() {
    let mut test = Test::ready();
    test.fails(watch("a"), ApiRefused, "it broke");
    assert!(test.status.healthy(&watch("a")));
    assert_eq!(test.events(), []);
    test.fails(source("a"), ApiRefused, "refused");
    test.fails(source("a"), ApiRefused, "refused");
    test.status.take_reports();
    assert!(test.status.healthy(&source("a")));
    assert_eq!(test.events(), [(EventReason::Current, "Secret prod/a: recovered".to_owned())]);
    assert!(!test.status.healthy(&source("a")));
    assert_eq!(test.events(), []);
}

#[test]
fn a_new_message_is_a_warning_and_a_repeated_one_is_not() {
    let mut test = Test::ready();
    for message in ["1", "1", "2", "1"] {
        test.fails(source("a"), ApiRefused, message);
    }
    let levels: Vec<_> = test.log().into_iter().map(|(level, _)| level).collect();
    assert_eq!(levels, [Level::Warn, Level::Debug, Level::Warn, Level::Warn]);
    assert_eq!(test.status.failures[ApiRefused as usize], 4, "each is counted");
    test.status.healthy(&source("a"));
    test.fails(source("a"), ApiRefused, "1");
    assert_eq!(test.log(), [(Level::Warn, "1".to_owned())]);
}

#[test]
fn a_limitation_is_logged_once_and_is_neither_a_failure_nor_an_event() {
    let mut test = Test::ready();
    test.status.degraded(&watch("a"), Level::Warn, "polled");
    test.status.degraded(&watch("a"), Level::Warn, "polled");
    let reports = test.status.take_reports();
    let levels = reports.iter().map(|report| match report {
        Report::Log { level, .. } => *level,
        Report::Event { .. } => panic!("{report:?}"),
    });
    assert_eq!(levels.collect::<Vec<_>>(), [Level::Warn, Level::Debug]);
    assert_eq!((test.stale_since(), test.status.failures), (None, [0; Reason::ALL.len()]));
    assert_eq!(test.status.message(&watch("a")), Some("polled"));
}

#[test]
fn removed_files_are_an_event() {
    let mut test = Test::ready();
    test.fails(source("a"), ApiRefused, "refused");
    test.status.take_reports();
    test.status.cleared(&source("a"), "removing");
    assert_eq!(test.events(), [(EventReason::Failed, "removing".to_owned())]);
    assert_eq!(test.stale_since(), None);
}

#[test]
fn what_is_forgotten_does_not_fail() {
    let mut test = Test::ready();
    test.fails(source("a"), ApiRefused, "refused");
    test.status.forget(&source("a"));
    assert_eq!((test.stale_since(), test.status.message(&source("a"))), (None, None));
}

#[test]
fn publications_are_counted_and_reported() {
    let mut test = Test::ready();
    test.status.publish_failed(test.now, Component::Volume, Reason::Volume, "full");
    assert_eq!((test.status.syncs.succeeded, test.status.syncs.failed), (0, 1));
    assert_eq!(test.status.last_success, None);
    test.status.take_reports();
    let now = test.pass(SECOND);
    test.status.published(now, None, "written");
    test.status.published(now, Some(SECOND), "rotated");
    test.status.succeeded(now);
    assert_eq!((test.status.syncs.succeeded, test.status.syncs.failed), (3, 1));
    assert_eq!(test.status.last_success, Some(now.time));
    assert_eq!(test.status.rotations.sum(), SECOND);
    assert_eq!(test.stale_since(), None);
    assert_eq!(test.reasons(), [EventReason::Current, EventReason::Written, EventReason::Rotated]);
}

#[test]
fn a_clock_before_1970_does_not_panic() {
    let time = SystemTime::UNIX_EPOCH - Duration::from_secs(3600);
    let start = Moment { instant: Instant::now(), time };
    let mut status = Status::new(start, STALE_AFTER);
    status.set_waiting(BTreeMap::new());
    status.failing(start, source("a"), ApiRefused, "refused");
    status.notify_failed(start, "app", "test");
    let now = Moment { instant: start.instant + STALE_AFTER, time };
    status.check_deadlines(now);
    let messages: Vec<_> = status.take_reports().into_iter().map(|report| format!("{report:?}")).collect();
    let shown = messages.iter().filter(|message| message.contains("since 1970-01-01T00:00:00Z"));
    assert_eq!(shown.count(), 4, "{messages:?}");
}

#[test]
fn a_step_of_the_wall_clock_changes_no_deadline() {
    for step in [SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 33)] {
        let mut test = Test::ready();
        test.fails(source("a"), ApiRefused, "refused");
        test.now.time = step;
        assert_eq!(test.due(), Some(STALE_AFTER));
        test.pass(STALE_AFTER);
        test.due();
        let message = format!("out of date since {}", clock(test.start));
        assert!(test.events().iter().any(|(_, text)| text.contains(&message)));
    }
}

#[test]
fn notifications_that_fail_for_long_are_reported() {
    let mut test = Test::ready();
    test.status.notify_failed(test.now, "app", "test");
    test.pass(SECOND);
    test.status.notify_failed(test.now, "app", "test");
    test.status.notify_failed(test.now, "web", "test");
    test.status.notified(test.now, "db", &BTreeSet::new(), "..1");
    assert_eq!((test.status.notifications.succeeded, test.status.notifications.failed), (1, 3));
    assert_eq!(test.due(), Some(STALE_AFTER - SECOND), "it counts from the first attempt");
    test.pass(STALE_AFTER - SECOND);
    assert_eq!(test.due(), Some(SECOND), "the next one is due");
    let message = format!("app: notification failing since {}: test", clock(test.start));
    assert_eq!(test.events(), [(EventReason::NotifyFailed, message)]);
    test.pass(SECOND);
    assert_eq!(test.due(), None);
    assert_eq!(test.reasons(), [EventReason::NotifyFailed]);
    assert_eq!((test.due(), test.events()), (None, vec![]), "once");
    test.status.notified(test.now, "app", &BTreeSet::new(), "..1");
    test.status.notify_cancelled("web");
    assert_eq!(test.due(), None);
    let ended: Vec<_> = test.events().into_iter().map(|(_, message)| message).collect();
    assert_eq!(ended, ["app: notified", "web: notified"]);
    assert_eq!(test.stale_since(), None, "the files themselves are current");
}

#[test]
fn a_notification_that_succeeds_in_time_is_not_reported() {
    let mut test = Test::ready();
    test.status.notify_failed(test.now, "app", "test");
    test.status.notified(test.now, "app", &BTreeSet::new(), "..1");
    test.pass(2 * STALE_AFTER);
    assert_eq!((test.due(), test.events()), (None, vec![]));
}

#[test]
fn an_error_has_a_reason_by_what_an_operator_can_do() {
    let refused = kube_error(Cause::NotFound { message: String::new() });
    let unreachable =
        kube_error(Cause::Unavailable { status: 503, message: String::new(), retry_after: None });
    assert_eq!((Reason::from(&refused), Reason::from(&unreachable)), (ApiRefused, ApiUnreachable));
    for (index, reason) in Reason::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, index, "{} has its place among the counters", reason.label());
    }
}

fn kube_error(cause: Cause) -> crate::kube::Error {
    crate::kube::Error::new(&local("a"), cause)
}

const DAY: Duration = Duration::from_secs(86_400);

/// Passes time until the deadlines report something, and returns how much it was, with the reports.
fn until_reported(test: &mut Test) -> (Duration, Vec<(EventReason, String)>) {
    let start = test.now.time;
    for _ in 0..24 * 400 {
        let due = test.due();
        let events = test.events();
        if !events.is_empty() {
            return (test.now.time.duration_since(start).unwrap(), events);
        }
        let due = due.expect("a certificate has to be checked again");
        assert!(due <= 3600 * SECOND, "{due:?}");
        test.pass(due);
    }
    panic!("nothing was reported");
}

#[test]
fn a_certificate_is_reported_once_before_it_expires_and_once_afterwards() {
    let mut test = Test::ready();
    assert_eq!(test.due(), None);
    let expires = test.now.time + 30 * DAY + 90 * SECOND;
    test.status.served.set_certificates("a", [("tls.crt", expires)].into_iter());
    let at = humantime::format_rfc3339_seconds(expires);
    let message = |verb: &str| {
        format!("credential a: the certificate in field tls.crt {verb} at {at}: renew it at its source")
    };
    let expected = vec![(EventReason::Expires, message("expires"))];
    assert_eq!(until_reported(&mut test), (23 * DAY + 90 * SECOND, expected));
    // The same certificate was published again, for example because another field has changed.
    test.status.served.set_certificates("a", [("tls.crt", expires)].into_iter());
    let expected = vec![(EventReason::Expires, message("expired"))];
    assert_eq!(until_reported(&mut test), (7 * DAY, expected));
    assert_eq!((test.due(), test.events()), (None, vec![]), "there is nothing more to report");
}

#[test]
fn a_renewed_certificate_is_reported_again_and_a_removed_one_is_not() {
    let mut test = Test::ready();
    let set = |test: &mut Test, days: u32| {
        let expires = test.now.time + days * DAY;
        test.status.served.set_certificates("a", [("tls.crt", expires)].into_iter());
        test.due();
        test.log()
    };
    let lines = set(&mut test, 1);
    assert!(matches!(&lines[..], [(Level::Warn, _)]), "{lines:?}");
    assert_eq!(set(&mut test, 90), []);
    assert_eq!(set(&mut test, 2).len(), 1);
    test.status.served.set_certificates("a", std::iter::empty());
    test.pass(3 * DAY);
    assert_eq!((test.due(), test.log()), (None, vec![]));
}

#[test]
fn without_a_warning_only_an_expired_certificate_is_reported() {
    let mut test = Test::ready();
    test.status.expiry_warning = Duration::ZERO;
    test.status.served.set_certificates("a", [("tls.crt", test.now.time + DAY)].into_iter());
    let (passed, events) = until_reported(&mut test);
    assert_eq!(passed, DAY);
    assert!(events[0].1.contains("expired at"), "{events:?}");
}

#[test]
fn objects_are_unwatched_while_they_are_polled_instead() {
    let mut test = Test::ready();
    test.fails(watch("a"), ApiUnreachable, "it broke");
    test.status.degraded(&source("b"), Level::Warn, "b is missing, and may be");
    assert_eq!(test.status.unwatched(), 0);
    test.status.degraded(&watch("a"), Level::Warn, "forbidden");
    test.status.degraded(&watch("b"), Level::Warn, "forbidden");
    assert_eq!(test.status.unwatched(), 2);
    test.status.healthy(&watch("a"));
    test.status.forget(&watch("b"));
    assert_eq!(test.status.unwatched(), 0);
}
