use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::credential::RelativePath;
use crate::secret::SecretBytes;

const SECOND: Duration = Duration::from_secs(1);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// The variable `A`, and `B` if there is a second value.
fn environment(values: &[&str]) -> Environment {
    let lines = ["A", "B"].iter().zip(values).map(|(name, value)| format!("export {name}='{value}'\n"));
    let file =
        (RelativePath::parse("db.env").unwrap(), SecretBytes::from(lines.collect::<String>().as_str()));
    Environment::from_files(&BTreeMap::from([file])).unwrap()
}

fn update(values: &[&str]) -> Event {
    update_with(values, None)
}

fn update_with(values: &[&str], splay: Option<Duration>) -> Event {
    Event::Update(Update::Environment { environment: environment(values), version: values.concat(), splay })
}

fn signal(signal: Signal) -> Event {
    Event::Signal { signal, is_shared: false }
}

/// A machine with a clock. Only the actions without log lines are compared.
struct Run {
    machine: Machine,
    now: Instant,
    logged: Vec<String>,
}

impl Run {
    fn new() -> Self {
        Self::with_splay(Duration::ZERO)
    }

    fn with_splay(splay: Duration) -> Self {
        let settings = Settings {
            stop_signal: Signal::QUIT,
            stop_timeout: STOP_TIMEOUT,
            splay,
            pod: "app-0".to_owned(),
        };
        let now = Instant::now();
        Self { machine: Machine::new(settings, now, environment(&["1"])), now, logged: Vec::new() }
    }

    fn step(&mut self, event: Event) -> Vec<Action> {
        let mut actions = self.machine.step(self.now, event);
        actions.retain(|action| match action {
            Action::Log(Level::Debug, _) => false,
            Action::Log(_, message) => {
                self.logged.push(message.clone());
                false
            }
            _ => true,
        });
        actions
    }

    /// Lets time pass.
    fn after(&mut self, time: Duration) -> Vec<Action> {
        self.now += time;
        self.step(Event::Timer)
    }

    /// Advances to the next deadline.
    fn at_deadline(&mut self) -> Vec<Action> {
        self.now = self.machine.deadline().expect("a deadline");
        self.step(Event::Timer)
    }

    /// Advances until the program is to be stopped; returns how long that took.
    fn until_stopped(&mut self) -> Duration {
        let from = self.now;
        while self.at_deadline() != [Action::Stop(Signal::QUIT)] {}
        self.now - from
    }

    fn runs(&self, values: &[&str]) -> bool {
        self.machine.environment().has_same_variables(&environment(values))
    }
}

#[test]
fn other_variables_restart_the_program_once_after_a_quiet_time() {
    let mut run = Run::new();
    assert_eq!(run.step(update(&["2"])), []);
    assert_eq!(run.after(QUIET - Duration::from_millis(1)), []);
    assert_eq!(run.after(Duration::from_millis(1)), [Action::Stop(Signal::QUIT)]);
    assert!(run.runs(&["1"]));
    assert_eq!(run.step(Event::Ended { code: 143, has_rest: false }), [Action::Start]);
    assert!(run.runs(&["2"]));
    assert_eq!(run.machine.deadline(), None);
}

#[test]
fn the_same_variables_restart_nothing() {
    let mut run = Run::new();
    assert_eq!(run.step(update(&["1"])), []);
    assert_eq!(run.machine.deadline(), None);
}

#[test]
fn a_changed_an_added_and_a_removed_variable_each_restart_the_program() {
    for values in [&["2"][..], &["1", "1"], &[]] {
        let mut run = Run::new();
        run.step(update(values));
        assert_eq!(run.until_stopped(), QUIET);
        run.step(Event::Ended { code: 0, has_rest: false });
        assert!(run.runs(values));
    }
}

#[test]
fn updates_within_the_quiet_time_are_one_restart_with_the_newest_variables() {
    let mut run = Run::new();
    run.step(update(&["2"]));
    assert_eq!(run.after(SECOND), []);
    run.step(update(&["3"]));
    assert_eq!(run.after(SECOND), []);
    assert_eq!(run.after(SECOND), [Action::Stop(Signal::QUIT)]);
    run.step(Event::Ended { code: 0, has_rest: false });
    assert!(run.runs(&["3"]));
}

#[test]
fn variables_that_never_come_to_rest_delay_the_restart_for_a_limited_time() {
    let mut run = Run::new();
    let start = run.now;
    for number in 2..30 {
        run.step(update(&[&number.to_string()]));
        if run.after(SECOND) == [Action::Stop(Signal::QUIT)] {
            break;
        }
    }
    assert_eq!(run.now - start, QUIET_LIMIT);
}

#[test]
fn a_change_back_cancels_the_restart_in_the_quiet_time_and_in_the_splay() {
    let mut run = Run::with_splay(STOP_TIMEOUT);
    run.step(update(&["2"]));
    run.step(update(&["1"]));
    assert_eq!(run.machine.deadline(), None);
    run.step(update(&["2"]));
    assert_eq!(run.at_deadline(), []);
    run.step(update(&["1"]));
    assert_eq!(run.machine.deadline(), None);
    assert!(run.logged.last().unwrap().starts_with("not restarting the program"), "{:?}", run.logged);
}

#[test]
fn the_splay_delays_the_restart_and_later_updates_do_not() {
    let splay = Duration::from_secs(3600);
    let expected = splay::delay(splay, "app-0", "2");
    assert!(!expected.is_zero());
    for event in [update_with(&["2"], None), update_with(&["2"], Some(splay))] {
        let own_splay = matches!(&event, Event::Update(Update::Environment { splay: Some(_), .. }));
        let mut run = Run::with_splay(if own_splay { Duration::ZERO } else { splay });
        let start = run.now;
        run.step(event);
        assert_eq!(run.at_deadline(), []);
        run.step(update(&["3"]));
        assert_eq!(run.at_deadline(), [Action::Stop(Signal::QUIT)]);
        assert_eq!(run.now - start, QUIET + expected);
        assert!(run.logged[0].contains(" (splay), because variables have changed: A"), "{:?}", run.logged);
        run.step(Event::Ended { code: 0, has_rest: false });
        assert!(run.runs(&["3"]));
    }
}

#[test]
fn the_splay_of_an_update_wins_also_when_it_is_zero() {
    let mut run = Run::with_splay(Duration::from_secs(3600));
    run.step(update_with(&["2"], Some(Duration::ZERO)));
    assert_eq!(run.until_stopped(), QUIET);
}

#[test]
fn a_program_that_ignores_the_stop_signal_is_killed() {
    let mut run = Run::new();
    run.step(update(&["2"]));
    run.until_stopped();
    assert_eq!(run.after(STOP_TIMEOUT - SECOND), []);
    assert_eq!(run.after(SECOND), [Action::Send(Signal::KILL)]);
    assert!(
        run.logged.last().unwrap().contains("within 30 s of SIGQUIT (--stop-timeout)"),
        "{:?}",
        run.logged
    );
    assert_eq!(run.machine.deadline(), None);
    assert_eq!(run.step(Event::Ended { code: 137, has_rest: false }), [Action::Start]);
}

/// Ends the program after its stop signal, 10 s before the stop timeout is over, with other processes left behind.
fn with_rest() -> Run {
    let mut run = Run::new();
    run.step(update(&["2"]));
    run.until_stopped();
    run.after(STOP_TIMEOUT - 10 * SECOND);
    assert_eq!(run.step(Event::Ended { code: 0, has_rest: true }), [Action::StopRest(Signal::QUIT)]);
    assert!(run.logged.last().unwrap().contains("left processes behind"), "{:?}", run.logged);
    run
}

#[test]
fn the_program_starts_once_the_processes_that_it_left_behind_have_ended() {
    let mut run = with_rest();
    assert_eq!(run.at_deadline(), []);
    run.step(update(&["3"]));
    assert_eq!(run.step(Event::RestEnded), [Action::Start]);
    assert!(run.runs(&["3"]));
    assert_eq!(run.machine.deadline(), None);
}

#[test]
fn processes_left_behind_are_killed_at_the_end_of_the_stop_timeout() {
    let mut run = with_rest();
    assert_eq!(run.after(9 * SECOND), []);
    assert_eq!(run.after(SECOND), [Action::StopRest(Signal::KILL)]);
    assert_eq!(run.step(Event::RestEnded), [Action::Start]);
}

#[test]
fn processes_that_cannot_be_killed_delay_the_start_for_a_limited_time() {
    let mut run = with_rest();
    run.after(10 * SECOND);
    assert_eq!(run.after(9 * SECOND), []);
    assert_eq!(run.after(SECOND), [Action::Start]);
}

#[test]
fn a_signal_that_ends_the_program_ends_podcreds_while_processes_are_left_behind() {
    for (signal_, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::QUIT, 131)] {
        assert_eq!(with_rest().step(signal(signal_)), [Action::Exit(code)]);
    }
    let mut killed = with_rest();
    killed.after(10 * SECOND);
    assert_eq!(killed.step(signal(Signal::TERM)), [Action::Exit(143)]);
}

#[test]
fn variables_that_arrive_while_it_stops_are_those_of_the_start() {
    let mut run = Run::new();
    run.step(update(&["2"]));
    run.until_stopped();
    assert_eq!(run.step(update(&["3"])), []);
    run.after(STOP_TIMEOUT);
    assert_eq!(run.step(update(&["4"])), []);
    assert_eq!(run.step(Event::Ended { code: 137, has_rest: false }), [Action::Start]);
    assert!(run.runs(&["4"]));
    assert_eq!(run.machine.deadline(), None, "one restart");
}

#[test]
fn the_old_variables_while_it_stops_are_those_of_the_start_too() {
    let mut run = Run::new();
    run.step(update(&["2"]));
    run.until_stopped();
    run.step(update(&["1"]));
    assert_eq!(run.step(Event::Ended { code: 0, has_rest: false }), [Action::Start]);
    assert!(run.runs(&["1"]));
}

#[test]
fn a_program_that_ends_by_itself_ends_podcreds_also_while_a_restart_is_pending() {
    for code in [0, 1, 137, 143] {
        let mut run = Run::with_splay(STOP_TIMEOUT);
        assert_eq!(run.step(Event::Ended { code, has_rest: false }), [Action::Exit(code)]);
        let mut settling = Run::new();
        settling.step(update(&["2"]));
        assert_eq!(settling.step(Event::Ended { code, has_rest: false }), [Action::Exit(code)]);
        let mut waiting = Run::with_splay(STOP_TIMEOUT);
        waiting.step(update(&["2"]));
        assert_eq!(waiting.at_deadline(), []);
        assert_eq!(waiting.step(Event::Ended { code, has_rest: false }), [Action::Exit(code)]);
    }
}

#[test]
fn a_program_that_ends_right_after_a_restart_ends_podcreds() {
    let mut run = Run::new();
    run.step(update(&["2"]));
    run.until_stopped();
    run.step(Event::Ended { code: 143, has_rest: false });
    assert_eq!(run.step(Event::Ended { code: 1, has_rest: false }), [Action::Exit(1)]);
    assert_eq!(run.logged.last().unwrap(), "the program has ended by itself, with exit code 1");
}

#[test]
fn nothing_is_logged_about_a_program_that_was_never_restarted() {
    let mut run = Run::new();
    assert_eq!(run.step(Event::Ended { code: 1, has_rest: false }), [Action::Exit(1)]);
    assert_eq!(run.logged, [""; 0]);
}

#[test]
fn signals_are_forwarded_unless_the_program_has_them_already() {
    let mut run = Run::new();
    for forwarded in [Signal::HUP, Signal::USR1, Signal::WINCH, Signal::TERM] {
        assert_eq!(run.step(signal(forwarded)), [Action::Send(forwarded)]);
    }
    assert_eq!(run.step(Event::Signal { signal: Signal::INT, is_shared: true }), []);
}

#[test]
fn after_a_signal_that_ends_the_program_there_is_no_restart() {
    for ends in [Signal::TERM, Signal::INT, Signal::QUIT] {
        // Before the update, in the quiet time, in the splay, and while it stops.
        for phase in 0..4 {
            let mut run = Run::with_splay(Duration::from_secs(3600));
            let steps: [fn(&mut Run); 3] = [
                |run| drop(run.step(update(&["2"]))),
                |run| drop(run.at_deadline()),
                |run| drop(run.at_deadline()),
            ];
            steps.iter().take(phase).for_each(|step| step(&mut run));
            assert_eq!(run.step(signal(ends)), [Action::Send(ends)]);
            assert_eq!(run.machine.deadline(), None, "nor is it killed");
            run.step(update(&["3"]));
            assert_eq!(run.machine.deadline(), None);
            assert_eq!(run.step(Event::Ended { code: 143, has_rest: false }), [Action::Exit(143)]);
        }
    }
}

#[test]
fn other_signals_do_not_prevent_a_restart() {
    let mut run = Run::new();
    run.step(update(&["2"]));
    run.step(signal(Signal::HUP));
    assert_eq!(run.until_stopped(), QUIET);
    run.step(signal(Signal::USR1));
    assert_eq!(run.step(Event::Ended { code: 0, has_rest: false }), [Action::Start]);
}

#[test]
fn a_failure_is_logged_once_and_again_after_a_success() {
    let mut run = Run::new();
    let failed = || Event::Update(Update::Failed("file db.env, line 1".to_owned()));
    assert_eq!(run.step(failed()), []);
    assert_eq!(run.step(failed()), []);
    assert_eq!(run.machine.deadline(), None, "the program keeps its variables");
    assert_eq!(run.logged.len(), 1);
    assert!(run.logged[0].contains("file db.env, line 1"), "{:?}", run.logged);
    run.step(update(&["1"]));
    run.step(failed());
    assert_eq!(run.logged.len(), 2);
}

#[test]
fn a_failure_does_not_cancel_a_restart() {
    let mut run = Run::new();
    run.step(update(&["2"]));
    run.step(Event::Update(Update::Failed("gone".to_owned())));
    assert_eq!(run.until_stopped(), QUIET);
}

/// Rotates as soon as the program has started; returns the time between this start and the next stop.
fn rotate(run: &mut Run, value: usize) -> Duration {
    run.step(update(&[&value.to_string()]));
    let took = run.until_stopped();
    run.step(Event::Ended { code: 0, has_rest: false });
    took
}

#[test]
fn rotations_that_outpace_the_program_are_spaced_by_a_growing_back_off() {
    let mut run = Run::new();
    let seconds: Vec<_> = (2..16).map(|value| rotate(&mut run, value).as_secs()).collect();
    assert_eq!(seconds, [2, 2, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300]);
    let waits = run.logged.iter().filter(|message| message.contains(" (back-off, restarts so far: "));
    assert_eq!(waits.count(), 11, "{:?}", run.logged);
    run.after(BACKOFF_RESET);
    let seconds: Vec<_> = (16..20).map(|value| rotate(&mut run, value).as_secs()).collect();
    assert_eq!(seconds, [2, 2, 2, 4]);
}

#[test]
fn messages_name_the_variables_and_never_the_values() {
    let mut run = Run::new();
    run.step(update(&["test-password-2", "x"]));
    run.until_stopped();
    assert_eq!(run.logged, ["restarting the program now, because variables have changed: A, B"]);
}

#[test]
fn a_message_names_only_some_of_many_variables() {
    let lines: String = (0..5).map(|number| format!("export V{number}='x'\n")).collect();
    let file = (RelativePath::parse("db.env").unwrap(), SecretBytes::from(lines.as_str()));
    let many = Environment::from_files(&BTreeMap::from([file])).unwrap();
    assert_eq!(changes(&Environment::default(), &many), "V0, V1, V2 and 2 more");
    assert_eq!(changes(&many, &Environment::default()), "V0, V1, V2 and 2 more");
}

fn event() -> impl Strategy<Value = (u64, Event)> {
    let kind = prop_oneof![
        4 => (0..3u8).prop_map(|value| vec![value]),
        2 => (0..3u8, 0..2u8).prop_map(|(a, b)| vec![a, b]),
    ];
    let event = prop_oneof![
        4 => kind.prop_map(Some),
        6 => Just(None),
    ];
    (0..400u64, event, 0..40u8).prop_map(|(seconds, values, other)| {
        let event = match (values, other) {
            (Some(values), _) => {
                let values: Vec<_> = values.iter().map(ToString::to_string).collect();
                update(&values.iter().map(String::as_str).collect::<Vec<_>>())
            }
            (None, 0) => signal(Signal::TERM),
            (None, 1..4) => signal(Signal::HUP),
            (None, 4..8) => Event::Update(Update::Failed("gone".to_owned())),
            (None, 8..20) => Event::Ended { code: other, has_rest: false },
            (None, _) => Event::Timer,
        };
        (seconds, event)
    })
}

proptest! {
    /// Whatever happens: one start for one end, and only after a stop signal; no signal to a program that has ended; and the
    /// deadline is always of use.
    #[test]
    fn whatever_happens_there_is_one_program_or_an_exit(events in prop::collection::vec(event(), 1..60)) {
        let mut run = Run::with_splay(Duration::from_secs(60));
        let mut stopping = false;
        let mut is_ending = false;
        let mut newest = environment(&["1"]);
        for (seconds, event) in events {
            let ended = matches!(event, Event::Ended { code: _, has_rest: false });
            is_ending |= matches!(event, Event::Signal { signal: Signal::TERM, .. });
            if let Event::Update(Update::Environment { environment, .. }) = &event {
                let files = environment.iter().map(|(name, value)| format!("export {name}='{}'\n", value.expose_text().unwrap()));
                let file = (RelativePath::parse("db.env").unwrap(), SecretBytes::from(files.collect::<String>().as_str()));
                newest = Environment::from_files(&BTreeMap::from([file])).unwrap();
            }
            run.now += Duration::from_secs(seconds);
            let mut actions = run.step(event);
            if !actions.iter().any(|action| matches!(action, Action::Exit(_))) {
                actions.extend(run.step(Event::Timer));
                // Otherwise the loop would spin.
                prop_assert!(run.machine.deadline().is_none_or(|deadline| deadline > run.now));
            }
            for action in &actions {
                match action {
                    Action::Start => {
                        prop_assert!(ended && stopping && !is_ending);
                        prop_assert!(run.machine.environment().has_same_variables(&newest));
                        stopping = false;
                    }
                    Action::Exit(_) => prop_assert!(ended && (!stopping || is_ending)),
                    Action::Stop(_) => {
                        prop_assert!(!ended && !stopping && !is_ending);
                        stopping = true;
                    }
                    Action::Send(Signal::KILL) => prop_assert!(!ended && stopping && !is_ending),
                    Action::Send(_) => prop_assert!(!ended),
                    Action::StopRest(_) => prop_assert!(false, "the program leaves nothing behind"),
                    Action::Log(..) => {}
                }
            }
            prop_assert_eq!(ended, actions.iter().any(|action| matches!(action, Action::Start | Action::Exit(_))));
            if actions.iter().any(|action| matches!(action, Action::Exit(_))) {
                return Ok(());
            }
            prop_assert!(!is_ending || run.machine.deadline().is_none());
        }
    }
}
