//! Tables of the tracker: every state with every input.

use super::*;
use crate::sidecar::controller::timers::Timers;
use crate::sidecar::controller::tracker::{Context, State, Tracker};
use crate::telemetry::Component;

const INTERVAL: Duration = Duration::from_secs(60);
const RESYNC: Duration = Duration::from_secs(600);
/// Longer than a watch must last to count as a success.
const LONG: Duration = Duration::from_secs(6);

/// What happens to a tracker. Results belong to the last read or watch that the tracker began, whether or not it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    /// The object has version 5.
    Found,
    NotFound,
    Failed,
    /// With a Retry-After of 7 seconds.
    FailedForSevenSeconds,
    /// A read that is not the last one has found version 3.
    OldResult,
    Opened,
    /// To version 9.
    Changed,
    /// With version 9.
    Bookmark,
    /// The API server closes the watch after a bookmark and a long time.
    EndedLate,
    /// The API server closes the watch after a bookmark, without any time in between.
    EndedAtOnce,
    /// The API server closes the watch after a long time, and has sent nothing.
    EndedSilent,
    Forbidden,
    Gone,
    Broken,
    /// With a Retry-After of 7 seconds.
    BrokenForSevenSeconds,
    /// A watch that is not the last one reports version 3 and breaks.
    OldWatch,
    /// The timer, if there is one.
    Fires,
}

use Input::*;

const INPUTS: [Input; 17] = [
    Found,
    NotFound,
    Failed,
    FailedForSevenSeconds,
    OldResult,
    Opened,
    Changed,
    Bookmark,
    EndedLate,
    EndedAtOnce,
    EndedSilent,
    Forbidden,
    Gone,
    Broken,
    BrokenForSevenSeconds,
    OldWatch,
    Fires,
];

/// When the timer fires.
#[derive(Clone, Copy, Debug)]
enum Wait {
    Never,
    /// After a random time up to this one.
    UpTo(Duration),
    Exactly(Duration),
    /// After this time, give or take a tenth, less the time that an input takes.
    About(Duration),
}

use Wait::*;

impl Wait {
    fn allows(self, timer: Option<Duration>) -> bool {
        match (self, timer) {
            (Never, None) => true,
            (UpTo(most), Some(timer)) => timer <= most,
            (Exactly(time), Some(timer)) => timer == time,
            (About(time), Some(timer)) => timer + LONG >= time.mul_f64(0.9) && timer <= time.mul_f64(1.1),
            _ => false,
        }
    }
}

const FIRST_READ: Wait = UpTo(Duration::from_millis(100));
const FIRST_WATCH: Wait = UpTo(Duration::from_millis(500));
const FIRST_REFUSAL: Wait = UpTo(Duration::from_millis(100));
const SEVEN: Wait = Exactly(Duration::from_secs(7));

/// A tracker and what its transitions use.
struct Rig {
    tracker: Tracker,
    timers: Timers,
    status: Status,
    now: Moment,
    watch: WatchSettings,
    last_id: u64,
    actions: Vec<Action>,
    /// The last read and the last watch; 0 means none.
    ids: (u64, u64),
}

impl Rig {
    fn new(can_watch: bool, resync: Option<Duration>) -> Self {
        let now = Moment::now();
        let watch = WatchSettings {
            is_enabled: can_watch,
            poll_interval: INTERVAL,
            resync,
            timeout: Duration::from_secs(300),
        };
        let (mut timers, mut status) = (Timers::default(), Status::new(now, STALE_AFTER));
        let (mut actions, mut last_id) = (Vec::new(), 0);
        let mut context = Context {
            now,
            watch,
            timers: &mut timers,
            status: &mut status,
            actions: &mut actions,
            last_id: &mut last_id,
        };
        let component = Component::Watch(secret("a"));
        let tracker = Tracker::start(source("a"), component, can_watch, INTERVAL, &mut context);
        let mut rig = Self { tracker, timers, status, now, watch, last_id, actions, ids: (0, 0) };
        assert_eq!(rig.take_actions(), "read");
        rig
    }

    /// A tracker in this state: at version 5, for no time.
    fn in_state(state: &str) -> Self {
        let inputs: &[Input] = match state {
            "reading" => &[],
            "retrying" => &[Failed],
            "polling" => &[Found, Opened, Forbidden],
            "opening" => &[Found],
            "watching" => &[Found, Opened],
            "confirming" => &[Found, Opened, Fires],
            _ => panic!("{state}"),
        };
        let mut rig = Self::new(true, Some(RESYNC));
        inputs.iter().for_each(|input| rig.input(*input));
        rig.take_actions();
        assert_eq!(rig.state(), state);
        rig
    }

    fn with(&mut self, run: impl FnOnce(&mut Tracker, &mut Context<'_>)) {
        let mut context = Context {
            now: self.now,
            watch: self.watch,
            timers: &mut self.timers,
            status: &mut self.status,
            actions: &mut self.actions,
            last_id: &mut self.last_id,
        };
        run(&mut self.tracker, &mut context);
        for action in &self.actions {
            match action {
                Action::Read { read, .. } => self.ids.0 = *read,
                Action::Watch { watch, from, .. } => {
                    self.ids.1 = *watch;
                    assert_ne!(*from, Position::At(String::new()), "a watch begins somewhere");
                }
                _ => {}
            }
        }
    }

    fn finds(&mut self, read: u64, version: Option<&str>) {
        self.with(|tracker, context| {
            if tracker.awaits(read) {
                tracker.on_read(version.map(str::to_owned), context);
            }
        });
    }

    fn fails(&mut self, retry_after: Option<Duration>) {
        let read = self.ids.0;
        self.with(|tracker, context| {
            if tracker.awaits(read) {
                tracker.on_read_failure(retry_after, context);
            }
        });
    }

    fn update(&mut self, update: &Update<()>) {
        let watch = self.ids.1;
        self.with(|tracker, context| {
            tracker.on_update(watch, update, context);
        });
    }

    fn changes(&mut self, version: &str) {
        self.update(&Update::Event(WatchEvent::Applied { version: version.to_owned(), data: () }));
    }

    fn ends(&mut self, cause: Option<Cause>) {
        let error = cause.map(|cause| error("a", cause));
        self.update(&Update::Ended(error));
    }

    fn input(&mut self, input: Input) {
        let read = self.ids.0;
        match input {
            Found => self.finds(read, Some("5")),
            NotFound => self.finds(read, None),
            Failed => self.fails(None),
            FailedForSevenSeconds => self.fails(Some(7 * SECOND)),
            OldResult => self.finds(read.wrapping_sub(1), Some("3")),
            Opened => self.update(&Update::Opened),
            Changed => self.changes("9"),
            Bookmark => self.update(&Update::Event(WatchEvent::Bookmark { version: "9".to_owned() })),
            EndedLate => {
                self.input(Bookmark);
                self.pass(LONG);
                self.ends(None);
            }
            EndedAtOnce => {
                self.input(Bookmark);
                self.ends(None);
            }
            EndedSilent => {
                self.pass(LONG);
                self.ends(None);
            }
            Forbidden => self.ends(Some(forbidden())),
            Gone => self.ends(Some(gone())),
            Broken => self.ends(Some(unavailable(None))),
            BrokenForSevenSeconds => self.ends(Some(unavailable(Some(7 * SECOND)))),
            OldWatch => {
                let watch = std::mem::replace(&mut self.ids.1, 0);
                self.changes("3");
                self.ids.1 = 0;
                self.ends(Some(unavailable(None)));
                self.ids.1 = watch;
            }
            Fires => {
                let Some(at) = self.timers.next() else { return };
                self.pass(at.saturating_duration_since(self.now.instant));
                self.timers.take_due(at);
                self.with(Tracker::read);
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = Moment { instant: self.now.instant + time, time: self.now.time + time };
    }

    fn state(&self) -> &'static str {
        let is_open = |watch: &crate::sidecar::controller::tracker::Watch| watch.is_open();
        match self.tracker.state() {
            State::Reading { .. } => "reading",
            State::Retrying => "retrying",
            State::Polling => "polling",
            State::Watching { watch } if is_open(watch) => "watching",
            State::Watching { .. } => "opening",
            State::Confirming { .. } => "confirming",
        }
    }

    fn take_actions(&mut self) -> String {
        let actions: Vec<_> = std::mem::take(&mut self.actions)
            .into_iter()
            .map(|action| match action {
                Action::Read { read, .. } => {
                    self.ids.0 = read;
                    "read".to_owned()
                }
                Action::Watch { from: Position::At(version), .. } => format!("watch from {version}"),
                Action::Watch { from: Position::Any, .. } => "watch from any".to_owned(),
                Action::StopWatch { .. } => "stop the watch".to_owned(),
                other => panic!("{other:?}"),
            })
            .collect();
        actions.join(", ")
    }

    /// Time until the timer fires.
    fn timer(&self) -> Option<Duration> {
        self.timers.next().map(|at| at.saturating_duration_since(self.now.instant))
    }

    fn status(&self) -> &'static str {
        let component = Component::Watch(secret("a"));
        match (self.status.is_failing(&component), self.status.message(&component)) {
            (true, _) => "failing",
            (false, Some(_)) => "degraded",
            (false, None) => "works",
        }
    }
}

/// State, input, next state, actions, timer, what the status says of the watch.
type Row = (&'static str, Input, &'static str, &'static str, Wait, &'static str);

/// All that leads to something. An input that is not listed with a state changes nothing in it.
const TABLE: [Row; 42] = [
    ("reading", Found, "opening", "watch from 5", About(RESYNC), "works"),
    ("reading", NotFound, "opening", "watch from any", About(RESYNC), "works"),
    ("reading", Failed, "retrying", "", FIRST_READ, "works"),
    ("reading", FailedForSevenSeconds, "retrying", "", SEVEN, "works"),
    ("retrying", Fires, "reading", "read", Never, "works"),
    ("polling", Fires, "reading", "read", Never, "degraded"),
    ("opening", Opened, "watching", "", About(RESYNC), "works"),
    ("opening", Changed, "opening", "", About(RESYNC), "works"),
    ("opening", Bookmark, "opening", "", About(RESYNC), "works"),
    ("opening", EndedLate, "retrying", "", FIRST_WATCH, "works"),
    ("opening", EndedAtOnce, "retrying", "", FIRST_WATCH, "works"),
    ("opening", EndedSilent, "retrying", "", FIRST_WATCH, "works"),
    ("opening", Forbidden, "polling", "", FIRST_REFUSAL, "degraded"),
    ("opening", Gone, "retrying", "", FIRST_WATCH, "works"),
    ("opening", Broken, "retrying", "", FIRST_WATCH, "failing"),
    ("opening", BrokenForSevenSeconds, "retrying", "", FIRST_WATCH, "failing"),
    ("opening", Fires, "confirming", "read", Never, "works"),
    ("watching", Opened, "watching", "", About(RESYNC), "works"),
    ("watching", Changed, "watching", "", About(RESYNC), "works"),
    ("watching", Bookmark, "watching", "", About(RESYNC), "works"),
    ("watching", EndedLate, "opening", "watch from 9", About(RESYNC), "works"),
    ("watching", EndedAtOnce, "retrying", "", FIRST_WATCH, "works"),
    ("watching", EndedSilent, "retrying", "", FIRST_WATCH, "works"),
    ("watching", Forbidden, "polling", "", FIRST_REFUSAL, "degraded"),
    ("watching", Gone, "retrying", "", FIRST_WATCH, "works"),
    ("watching", Broken, "retrying", "", FIRST_WATCH, "failing"),
    ("watching", BrokenForSevenSeconds, "retrying", "", FIRST_WATCH, "failing"),
    ("watching", Fires, "confirming", "read", Never, "works"),
    ("confirming", Found, "watching", "", About(RESYNC), "works"),
    ("confirming", NotFound, "watching", "", About(RESYNC), "works"),
    ("confirming", Failed, "retrying", "stop the watch", FIRST_READ, "works"),
    ("confirming", FailedForSevenSeconds, "retrying", "stop the watch", SEVEN, "works"),
    ("confirming", Opened, "confirming", "", Never, "works"),
    ("confirming", Changed, "confirming", "", Never, "works"),
    ("confirming", Bookmark, "confirming", "", Never, "works"),
    ("confirming", EndedLate, "reading", "", Never, "works"),
    ("confirming", EndedAtOnce, "reading", "", Never, "works"),
    ("confirming", EndedSilent, "reading", "", Never, "works"),
    ("confirming", Forbidden, "reading", "", Never, "degraded"),
    ("confirming", Gone, "reading", "", Never, "works"),
    ("confirming", Broken, "reading", "", Never, "failing"),
    ("confirming", BrokenForSevenSeconds, "reading", "", Never, "failing"),
];

const STATES: [&str; 6] = ["reading", "retrying", "polling", "opening", "watching", "confirming"];

#[test]
fn every_state_and_input_leads_where_the_table_says() {
    for seed in 0..4 {
        fastrand::seed(seed);
        for (state, input, next, actions, wait, status) in TABLE {
            let mut rig = Rig::in_state(state);
            rig.input(input);
            let found = (rig.state(), rig.take_actions(), rig.status());
            assert_eq!(found, (next, actions.to_owned(), status), "{state}, {input:?}");
            assert!(wait.allows(rig.timer()), "{state}, {input:?}: {:?}, not {wait:?}", rig.timer());
        }
    }
}

#[test]
fn an_input_that_the_table_does_not_list_changes_nothing() {
    for state in STATES {
        for input in INPUTS {
            if TABLE.iter().any(|row| (row.0, row.1) == (state, input)) {
                continue;
            }
            let mut rig = Rig::in_state(state);
            let before = (rig.tracker.state().clone(), rig.timers.next(), rig.status());
            rig.input(input);
            let after = (rig.tracker.state().clone(), rig.timers.next(), rig.status());
            assert_eq!((after, rig.take_actions().as_str()), (before, ""), "{state}, {input:?}");
        }
    }
}

/// What happens to a tracker, and all that it does.
const POSITIONS: [(&str, &[Input], &str); 15] = [
    ("the read's version", &[Found], "watch from 5"),
    ("any version of an object that does not exist", &[NotFound], "watch from any"),
    ("the last change", &[Found, Opened, Changed, EndedLate], "watch from 5, watch from 9"),
    ("the last bookmark", &[Found, Opened, Bookmark, EndedLate], "watch from 5, watch from 9"),
    (
        "the next read's version",
        &[Found, Opened, Changed, Broken, Fires, Found],
        "watch from 5, read, watch from 5",
    ),
    ("a version that expired", &[Found, Gone, Fires, Found], "watch from 5, read, watch from any"),
    (
        "a version that expired later",
        &[Found, Opened, Gone, Fires, Found],
        "watch from 5, read, watch from any",
    ),
    (
        "a change that expired",
        &[Found, Opened, Changed, Gone, Fires, Found],
        "watch from 5, read, watch from 5",
    ),
    ("expired, then deleted", &[Found, Gone, Fires, NotFound], "watch from 5, read, watch from any"),
    (
        "expired twice",
        &[Found, Gone, Fires, Found, Gone, Fires, Found],
        "watch from 5, read, watch from any, read, watch from any",
    ),
    (
        "expired, and a read fails",
        &[Found, Gone, Fires, Failed, Fires, Found],
        "watch from 5, read, read, watch from any",
    ),
    (
        "expired, and a watch from any version reaches another",
        &[Found, Gone, Fires, Found, Opened, Changed, EndedLate],
        "watch from 5, read, watch from any, watch from 9",
    ),
    (
        "does not exist, and expired",
        &[NotFound, Gone, Fires, NotFound],
        "watch from any, read, watch from any",
    ),
    (
        "the end of a watch during a read",
        &[Found, Opened, Fires, Broken, Found],
        "watch from 5, read, watch from 5",
    ),
    (
        "a read does not move the watch back",
        &[Found, Opened, Changed, Fires, Found, EndedLate],
        "watch from 5, read, watch from 9",
    ),
];

#[test]
fn a_watch_begins_where_the_last_one_or_the_read_has_ended() {
    for (name, inputs, expected) in POSITIONS {
        let mut rig = Rig::new(true, Some(RESYNC));
        let mut actions = Vec::new();
        for input in inputs {
            rig.input(*input);
            actions.push(rig.take_actions());
        }
        actions.retain(|action| !action.is_empty());
        assert_eq!(actions.join(", "), expected, "{name}");
    }
}

#[test]
fn expired_versions_do_not_lead_to_a_loop() {
    let mut rig = Rig::new(true, None);
    let mut waited = Duration::ZERO;
    for _ in 0..30 {
        rig.input(Found);
        rig.input(Gone);
        waited += rig.timer().expect("it waits before each read");
        rig.input(Fires);
    }
    assert!(waited > 60 * SECOND, "{waited:?} for thirty reads");
}

/// What happens after a watch from any version has opened, and how often the object is read.
const EXPECTED: [(&[Input], usize); 8] = [
    (&[], 0),
    (&[Bookmark], 1),
    (&[Bookmark, Bookmark], 1),
    (&[Changed], 0),
    (&[Changed, Bookmark], 0),
    // It may have been deleted after that read, and before the watch has begun.
    (&[Fires, Found, Bookmark], 2),
    (&[Fires, NotFound, Bookmark], 1),
    (&[Changed, Fires, Found, Bookmark], 1),
];

#[test]
fn a_bookmark_before_the_expected_object_leads_to_a_read() {
    for (inputs, reads) in EXPECTED {
        let mut rig = Rig::new(true, Some(RESYNC));
        [Found, Gone, Fires, Found, Opened].into_iter().for_each(|input| rig.input(input));
        rig.take_actions();
        inputs.iter().for_each(|input| rig.input(*input));
        assert_eq!(rig.take_actions().matches("read").count(), reads, "{inputs:?}");
    }
    let mut rig = Rig::new(true, None);
    [NotFound, Opened, Bookmark].into_iter().for_each(|input| rig.input(input));
    assert_eq!(rig.state(), "watching", "nothing is expected of an object that does not exist");
}

/// The delays after each of these failures in a row, with many seeds: the largest of each.
fn largest_delays(times: usize, fail: impl Fn(&mut Rig)) -> Vec<Duration> {
    let mut largest = vec![Duration::ZERO; times];
    for seed in 0..40 {
        fastrand::seed(seed);
        let mut rig = Rig::new(true, None);
        for most in &mut largest {
            fail(&mut rig);
            *most = rig.timer().expect("it is tried again").max(*most);
            rig.input(Fires);
        }
    }
    largest
}

/// Delays double from `first` to `last`: the largest of many is more than half of the bound, and never more than the bound.
fn double(delays: &[Duration], first: Duration, last: Duration) {
    let mut bound = first;
    for delay in delays {
        assert!(*delay <= bound && *delay > bound / 2, "{delays:?}");
        bound = (bound * 2).min(last);
    }
}

#[test]
fn delays_grow_and_are_bounded() {
    let (short, second) = (Duration::from_millis(100), Duration::from_millis(500));
    double(&largest_delays(12, |rig| rig.input(Failed)), short, 30 * SECOND);
    let broken = largest_delays(10, |rig| [Found, Opened, Broken].into_iter().for_each(|it| rig.input(it)));
    double(&broken, second, 30 * SECOND);
    let forbidden = largest_delays(12, |rig| [Found, Forbidden].into_iter().for_each(|it| rig.input(it)));
    double(&forbidden, short, INTERVAL);
}

/// What happens ten times, what happens then, and whether the delay that follows is a first one again.
const RESETS: [(&[Input], &[Input], Wait, bool); 6] = [
    (&[Failed, Fires], &[Found, Fires, Failed], FIRST_READ, true),
    (&[Failed, Fires], &[NotFound, Fires, Failed], FIRST_READ, false),
    (&[Found, Opened, Broken, Fires], &[Found, Opened, EndedLate, Opened, Broken], FIRST_WATCH, true),
    (
        &[Found, Opened, Broken, Fires],
        &[Found, Opened, EndedAtOnce, Fires, Found, Broken],
        FIRST_WATCH,
        false,
    ),
    (&[Found, Opened, Forbidden, Fires], &[Found, Opened, EndedLate, Opened, Forbidden], FIRST_REFUSAL, true),
    (
        &[Found, Opened, Forbidden, Fires],
        &[Found, EndedAtOnce, Fires, Found, Forbidden],
        FIRST_REFUSAL,
        false,
    ),
];

#[test]
fn only_a_success_resets_the_delays() {
    for (failure, then, first, resets) in RESETS {
        let is_first = (0..20).all(|seed| {
            fastrand::seed(seed);
            let mut rig = Rig::new(true, Some(RESYNC));
            let inputs = std::iter::repeat_n(failure, 10).flatten().chain(then);
            inputs.for_each(|input| rig.input(*input));
            first.allows(rig.timer())
        });
        assert_eq!(is_first, resets, "{failure:?}, {then:?}");
    }
}

#[test]
fn a_retry_after_is_obeyed_up_to_a_bound() {
    let hour = Some(3600 * SECOND);
    let mut rig = Rig::new(true, None);
    rig.fails(hour);
    assert_eq!(rig.timer(), Some(300 * SECOND));

    let mut rig = Rig::new(true, None);
    rig.input(Found);
    rig.ends(Some(unavailable(hour)));
    let asked = rig.now.instant;
    let mut polls = 0;
    loop {
        rig.input(Fires);
        rig.input(Found);
        if rig.state() == "opening" {
            break;
        }
        assert_eq!(rig.state(), "polling");
        assert!(rig.timer().unwrap() <= INTERVAL.mul_f64(1.1), "it is read as often as without a watch");
        polls += 1;
    }
    assert_eq!(rig.now.instant.duration_since(asked), 300 * SECOND);
    assert!((5..=7).contains(&polls), "{polls}");
}

#[test]
fn what_may_not_be_watched_is_polled() {
    let mut rig = Rig::new(false, Some(RESYNC));
    for found in [Found, NotFound, Found] {
        rig.input(found);
        assert_eq!((rig.state(), rig.take_actions().as_str()), ("polling", ""));
        assert!(About(INTERVAL).allows(rig.timer()));
        rig.input(Fires);
        assert_eq!(rig.take_actions(), "read");
    }
}

#[test]
fn a_forbidden_watch_is_polled_and_tried_again() {
    let mut rig = Rig::new(true, None);
    [Found, Forbidden, Fires].into_iter().for_each(|input| rig.input(input));
    rig.take_actions();
    rig.input(Found);
    assert_eq!((rig.state(), rig.take_actions().as_str()), ("opening", "watch from 5"));
    assert_eq!(rig.status(), "degraded");
    rig.input(Opened);
    assert_eq!(rig.status(), "works");
}

#[test]
fn an_object_without_a_descriptor_for_its_watch_is_polled_and_not_stale() {
    let mut rig = Rig::new(true, None);
    rig.input(Found);
    rig.ends(Some(Cause::NoDescriptor { limit: 24 }));
    assert_eq!((rig.state(), rig.status()), ("polling", "degraded"));
    rig.take_actions();
    [Fires, Found].into_iter().for_each(|input| rig.input(input));
    assert_eq!((rig.state(), rig.take_actions().as_str()), ("opening", "read, watch from 5"));
}

#[test]
fn an_object_without_a_thread_for_its_read_or_watch_is_tried_again() {
    let no_thread = || Cause::NoThread { reason: "test".to_owned() };
    let mut rig = Rig::new(true, None);
    rig.fails(None);
    assert!(rig.timer().unwrap() <= SECOND);
    [Fires, Found].into_iter().for_each(|input| rig.input(input));
    rig.ends(Some(no_thread()));
    assert_eq!((rig.state(), rig.status()), ("retrying", "failing"));
    rig.take_actions();
    [Fires, Found].into_iter().for_each(|input| rig.input(input));
    assert_eq!((rig.state(), rig.take_actions().as_str()), ("opening", "read, watch from 5"));
}

#[test]
fn a_watch_that_is_forbidden_during_a_read_is_not_tried_again_at_once() {
    fastrand::seed(7);
    let mut rig = Rig::in_state("confirming");
    [Forbidden, Found].into_iter().for_each(|input| rig.input(input));
    assert_eq!((rig.state(), rig.take_actions().as_str()), ("polling", ""));
    assert!(FIRST_REFUSAL.allows(rig.timer()));
}

#[test]
fn a_watched_object_is_read_again_only_if_resync_says_so() {
    let mut rig = Rig::new(true, None);
    for input in [Found, Opened, Changed, Bookmark, EndedLate, Opened] {
        rig.input(input);
        assert_eq!(rig.timer(), None, "{input:?}");
    }
    let mut rig = Rig::new(true, Some(RESYNC));
    rig.input(Found);
    let first = rig.timers.next();
    for input in [Opened, Changed, EndedLate, Opened, EndedLate] {
        rig.input(input);
        assert_eq!(rig.timers.next(), first, "{input:?} does not postpone it");
    }
    [Fires, Found].into_iter().for_each(|input| rig.input(input));
    assert!(About(RESYNC).allows(rig.timer()));
}

/// How a watch ends, and whether that counts as a restart.
const RESTARTS: [(&[Input], u64); 6] = [
    (&[EndedLate], 0),
    (&[EndedAtOnce], 1),
    (&[EndedSilent], 0),
    (&[Gone], 1),
    (&[Broken], 1),
    (&[Forbidden], 1),
];

#[test]
fn early_ends_and_errors_count_as_restarts() {
    for (inputs, expected) in RESTARTS {
        let mut rig = Rig::in_state("watching");
        inputs.iter().for_each(|input| rig.input(*input));
        assert_eq!(rig.status.watch_restarts, expected, "{inputs:?}");
    }
}

#[test]
fn half_of_a_short_lifetime_is_a_long_time() {
    for (time, next) in [(Duration::from_millis(900), "retrying"), (Duration::from_millis(1100), "opening")] {
        let mut rig = Rig::new(true, None);
        rig.watch.timeout = 2 * SECOND;
        [Found, Opened, Bookmark].into_iter().for_each(|input| rig.input(input));
        rig.pass(time);
        rig.ends(None);
        assert_eq!(rig.state(), next, "{time:?}");
    }
}

#[test]
fn a_missing_object_is_read_again_although_it_is_watched() {
    let mut rig = Rig::new(true, Some(RESYNC));
    [NotFound, Opened].into_iter().for_each(|input| rig.input(input));
    rig.with(Tracker::read_again_later);
    assert!(FIRST_READ.allows(rig.timer()));
    rig.with(Tracker::read_again_later);
    assert!(FIRST_READ.allows(rig.timer()), "a later attempt does not postpone it");
    rig.with(Tracker::found);
    assert!(About(RESYNC).allows(rig.timer()), "it is not missing any more");
    assert_eq!(rig.state(), "watching");

    let mut rig = Rig::in_state("polling");
    let at = rig.timers.next();
    rig.with(Tracker::found);
    assert_eq!(rig.timers.next(), at, "only a watched object needs no timer");
}

#[test]
fn stopping_leaves_nothing_behind() {
    for state in STATES {
        let mut rig = Rig::in_state(state);
        let Rig { tracker, timers, status, now, watch, last_id, actions, .. } = &mut rig;
        let mut context = Context { now: *now, watch: *watch, timers, status, actions, last_id };
        let other = Component::Watch(secret("b"));
        let replacement = Tracker::start(source("b"), other, true, INTERVAL, &mut context);
        std::mem::replace(tracker, replacement).stop(&mut context);
        assert_eq!(rig.timers.next(), None, "{state}");
        assert_eq!(rig.status(), "works", "{state}");
        let has_watch = ["opening", "watching", "confirming"].contains(&state);
        assert_eq!(rig.take_actions().ends_with("stop the watch"), has_watch, "{state}");
    }
}
