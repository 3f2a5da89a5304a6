//! The decisions of the supervisor, as a pure state machine: events and the time in, actions and the next deadline out.
//!
//! ```text
//!            other variables            quiet             deadline
//!   Running ────────────────► Settling ───────► Waiting ────────────► Stopping ── timeout ──► Killed
//!      ▲ ▲        same again     │                 │                     │                      │
//!      │ └───────────────────────┴─────────────────┘                     │ ended                │ ended
//!      └──────────────────────────────── start ──────────────────────────┴──────────────────────┘
//! ```
//!
//! If the program has left other processes of its group behind, these are stopped and killed in the same way before the start.
//!
//! The program runs until the stop signal ends it, also during the splay and the back-off. A program that ends before it was sent
//! the stop signal has ended by itself, and podcreds ends with it: the kubelet decides what follows, with its own back-off. A stop
//! signal from outside leads to [`Phase::Ending`], in which podcreds restarts nothing.

mod event;

use std::time::{Duration, Instant};

use log::Level;
use rustix::process::Signal;

pub(crate) use event::{Action, Event, Update};

use crate::env_file::Environment;
use crate::splay;
use crate::supervisor::signals;
use crate::text::ShortDuration;

/// How long the variables must stay the same before the program is restarted: a rotation may change several files, and a Secret may
/// be edited twice.
const QUIET: Duration = Duration::from_secs(2);
/// Variables that never stay the same delay a restart by this at most.
const QUIET_LIMIT: Duration = Duration::from_secs(10);
/// The least time between the first restart and the second one, and then twice as long before each further one.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// The longest time between two starts that the back-off demands, as for the kubelet's restarts of a container.
const MAX_BACKOFF: Duration = Duration::from_secs(5 * 60);
/// A program that ran for this long is restarted at once again, as by the kubelet.
const BACKOFF_RESET: Duration = Duration::from_secs(10 * 60);
/// Added to the number of a signal that ended a program, as shells do.
pub(super) const SIGNAL_BASE: i32 = 128;
/// How often the supervisor looks whether the processes that the program has left behind have ended.
const LOOK: Duration = Duration::from_millis(100);
/// How long a process that was killed may delay the start: one that waits for a device does not end.
const REST_LIMIT: Duration = Duration::from_secs(10);
/// The maximum number of variables that a message names.
const NAMED: usize = 3;

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// What ends the program.
    pub(crate) stop_signal: Signal,
    /// How long after it the program is killed.
    pub(crate) stop_timeout: Duration,
    /// How far the replicas' restarts are spread, unless an update has a splay of its own.
    pub(crate) splay: Duration,
    /// The name that tells the replicas apart.
    pub(crate) pod: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// There are other variables, which may change again.
    Settling {
        quiet: Instant,
        latest: Instant,
    },
    /// The restart is delayed by the splay or the back-off.
    Waiting {
        until: Instant,
    },
    /// The program was sent the stop signal.
    Stopping {
        kill: Instant,
    },
    Killed,
    /// The program has ended, but not all processes of its group. They were sent the stop signal.
    StoppingRest {
        kill: Instant,
        /// When to look again: they may be children of another process.
        look: Instant,
    },
    /// The same after they were killed.
    KilledRest {
        /// When to start the program all the same.
        latest: Instant,
        look: Instant,
    },
    /// podcreds received a signal that ends the program.
    Ending,
}

/// The variables of the next start.
#[derive(Debug)]
struct Next {
    environment: Environment,
    version: String,
    splay: Option<Duration>,
}

#[derive(Debug)]
pub(crate) struct Machine {
    settings: Settings,
    phase: Phase,
    /// The variables that the program was started with.
    environment: Environment,
    /// Set in all phases but [`Phase::Running`] and [`Phase::Ending`].
    next: Option<Next>,
    started: Instant,
    /// The number of restarts since the program last ran for [`BACKOFF_RESET`].
    restarts: u32,
    /// The failure that was logged last, until variables arrive.
    failure: Option<String>,
}

impl Machine {
    /// The program was started with these variables.
    pub(crate) fn new(settings: Settings, now: Instant, environment: Environment) -> Self {
        Self {
            settings,
            phase: Phase::Running,
            environment,
            next: None,
            started: now,
            restarts: 0,
            failure: None,
        }
    }

    /// The variables of the program, and after [`Action::Start`] those to start it with.
    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }

    pub(crate) fn into_environment(self) -> Environment {
        self.environment
    }

    /// When to send [`Event::Timer`]; `None` means that only another event leads on.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Settling { quiet: at, .. }
            | Phase::Waiting { until: at }
            | Phase::Stopping { kill: at }
            | Phase::StoppingRest { look: at, .. }
            | Phase::KilledRest { look: at, .. } => Some(at),
            Phase::Running | Phase::Killed | Phase::Ending => None,
        }
    }

    pub(crate) fn step(&mut self, now: Instant, event: Event) -> Vec<Action> {
        match event {
            Event::Update(Update::Failed(reason)) => self.failed(reason),
            Event::Update(Update::Environment { environment, version, splay }) => {
                self.update(now, Next { environment, version, splay })
            }
            Event::Ended { code, has_rest } => self.ended(now, code, has_rest),
            Event::RestEnded => {
                let mut actions =
                    vec![Action::Log(Level::Info, "starting the program with the new variables".to_owned())];
                actions.extend(self.start(now));
                actions
            }
            Event::Signal { signal, is_shared } => self.signal(signal, is_shared),
            Event::Timer => self.timer(now),
        }
    }

    fn failed(&mut self, reason: String) -> Vec<Action> {
        if self.failure.as_ref() == Some(&reason) {
            return Vec::new();
        }
        let message =
            format!("cannot read the new variables, so the program continues with earlier ones: {reason}");
        self.failure = Some(reason);
        vec![Action::Log(Level::Warn, message)]
    }

    fn update(&mut self, now: Instant, next: Next) -> Vec<Action> {
        self.failure = None;
        let is_same = next.environment.has_same_variables(&self.environment);
        match self.phase {
            Phase::Ending => return Vec::new(),
            Phase::Running if is_same => {
                return vec![Action::Log(
                    Level::Debug,
                    "the variables of the program have not changed".to_owned(),
                )];
            }
            Phase::Running => {
                self.phase = Phase::Settling { quiet: now + QUIET, latest: now + QUIET_LIMIT };
            }
            Phase::Settling { .. } | Phase::Waiting { .. } if is_same => {
                self.phase = Phase::Running;
                self.next = None;
                return vec![Action::Log(
                    Level::Info,
                    "not restarting the program: its variables have changed back".to_owned(),
                )];
            }
            Phase::Settling { latest, .. } => {
                self.phase = Phase::Settling { quiet: latest.min(now + QUIET), latest }
            }
            Phase::Waiting { .. }
            | Phase::Stopping { .. }
            | Phase::Killed
            | Phase::StoppingRest { .. }
            | Phase::KilledRest { .. } => {}
        }
        self.next = Some(next);
        Vec::new()
    }

    fn ended(&mut self, now: Instant, code: u8, has_rest: bool) -> Vec<Action> {
        let kill = match self.phase {
            Phase::Stopping { kill } => kill,
            Phase::Killed => now,
            Phase::Ending => return vec![Action::Exit(code)],
            // Until the first restart, the log belongs to the program alone.
            _ if self.restarts == 0 => return vec![Action::Exit(code)],
            _ => {
                let message = format!("the program has ended by itself, with exit code {code}");
                return vec![Action::Log(Level::Info, message), Action::Exit(code)];
            }
        };
        if !has_rest {
            let message =
                format!("the program has ended with exit code {code}; starting it with the new variables");
            let mut actions = vec![Action::Log(Level::Info, message)];
            actions.extend(self.start(now));
            return actions;
        }
        self.phase = Phase::StoppingRest { kill, look: now + LOOK };
        let signal = self.settings.stop_signal;
        let message = format!(
            "the program has ended with exit code {code}, and left processes behind that have the old variables: sending them SIG{} as well; if the program is a shell, let it exec the application",
            signals::name(signal)
        );
        vec![Action::Log(Level::Warn, message), Action::StopRest(signal)]
    }

    /// Whether the start waits for the processes that the program has left behind.
    pub(crate) fn waits_for_rest(&self) -> bool {
        matches!(self.phase, Phase::StoppingRest { .. } | Phase::KilledRest { .. })
    }

    /// Starts the program with the next variables.
    fn start(&mut self, now: Instant) -> Vec<Action> {
        let Some(Next { environment, .. }) = self.next.take() else { return Vec::new() };
        let ran = now.saturating_duration_since(self.started);
        self.restarts = if ran < BACKOFF_RESET { self.restarts.saturating_add(1) } else { 1 };
        self.environment = environment;
        self.started = now;
        self.phase = Phase::Running;
        vec![Action::Start]
    }

    fn signal(&mut self, signal: Signal, is_shared: bool) -> Vec<Action> {
        // SIGQUIT does not end every program: a Java virtual machine prints its threads. For a program that it ends, it is the stop
        // signal.
        if [Signal::TERM, Signal::INT, self.settings.stop_signal].contains(&signal) {
            if self.waits_for_rest() {
                // The program has ended already.
                return vec![Action::Exit(u8::try_from(SIGNAL_BASE + signal.as_raw()).unwrap_or(u8::MAX))];
            }
            // The sender, such as the kubelet, has a time limit of its own. So the program is not killed any more either.
            self.phase = Phase::Ending;
            self.next = None;
        }
        if is_shared { Vec::new() } else { vec![Action::Send(signal)] }
    }

    fn timer(&mut self, now: Instant) -> Vec<Action> {
        match (self.phase, &self.next) {
            (Phase::Settling { quiet, .. }, Some(next)) if now >= quiet => {
                let Settings { splay, pod, .. } = &self.settings;
                let delay = splay::delay(next.splay.unwrap_or(*splay), pod, &next.version);
                let (after_splay, after_backoff) = (now + delay, self.started + self.backoff());
                let until = after_splay.max(after_backoff);
                let wait = ShortDuration(until.saturating_duration_since(now));
                let when = match until {
                    _ if until <= now => "now".to_owned(),
                    _ if until > after_splay => {
                        format!("in {wait} (back-off, restarts so far: {})", self.restarts)
                    }
                    _ => format!("in {wait} (splay)"),
                };
                let names = changes(&self.environment, &next.environment);
                self.phase = Phase::Waiting { until };
                let message =
                    format!("restarting the program {when}, because variables have changed: {names}");
                let mut actions = vec![Action::Log(Level::Info, message)];
                actions.extend(self.timer(now));
                actions
            }
            (Phase::Waiting { until }, _) if now >= until => {
                self.phase = Phase::Stopping { kill: now + self.settings.stop_timeout };
                vec![Action::Stop(self.settings.stop_signal)]
            }
            (Phase::Stopping { kill }, _) if now >= kill => {
                self.phase = Phase::Killed;
                let message = format!(
                    "killing the program: it has not ended within {} of SIG{} (--stop-timeout)",
                    ShortDuration(self.settings.stop_timeout),
                    signals::name(self.settings.stop_signal)
                );
                vec![Action::Log(Level::Warn, message), Action::Send(Signal::KILL)]
            }
            (Phase::StoppingRest { kill, .. }, _) if now >= kill => {
                self.phase = Phase::KilledRest { latest: now + REST_LIMIT, look: now + LOOK };
                let message = "killing the processes that the program has left behind (--stop-timeout)";
                vec![Action::Log(Level::Warn, message.to_owned()), Action::StopRest(Signal::KILL)]
            }
            (Phase::KilledRest { latest, .. }, _) if now >= latest => {
                let message = "the processes that the program has left behind cannot be killed; starting the program all the same";
                let mut actions = vec![Action::Log(Level::Warn, message.to_owned())];
                actions.extend(self.start(now));
                actions
            }
            (Phase::StoppingRest { kill, look }, _) if now >= look => {
                self.phase = Phase::StoppingRest { kill, look: kill.min(now + LOOK) };
                Vec::new()
            }
            (Phase::KilledRest { latest, look }, _) if now >= look => {
                self.phase = Phase::KilledRest { latest, look: latest.min(now + LOOK) };
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// The time from the last start to the next one, at least.
    fn backoff(&self) -> Duration {
        match self.restarts {
            0 => Duration::ZERO,
            restarts => FIRST_BACKOFF.saturating_mul(1 << (restarts - 1).min(16)).min(MAX_BACKOFF),
        }
    }
}

/// The names of the variables that differ.
fn changes(old: &Environment, new: &Environment) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (these, others) in [(new, old), (old, new)] {
        for (name, value) in these.iter() {
            if others.get(name) != Some(value) && !names.contains(&name) {
                names.push(name);
            }
        }
    }
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let named = names.join(", ");
    if more == 0 { named } else { format!("{named} and {more} more") }
}

#[cfg(test)]
mod tests;
