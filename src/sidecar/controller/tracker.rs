//! Keeps one object current, by a watch or by reading it again. A tracker knows the object's resourceVersion, but not its
//! content.
//!
//! ```text
//!             read                  watch
//! Reading ───────────▶ Watching ◀──────────┐ renewed: a long watch that the API server closed
//!   ▲  │ failed          │  │ ▲  └──────────┘
//!   │  ▼                 │  │ └ read ─┐
//!   │ Retrying ◀─────────┘  └▶ Confirming   a timer: read a watched object again
//!   │  │      ended, broken
//!   │  │ timer
//!   └──┴── Polling: not watched, a timer leads out
//! ```

use std::time::{Duration, Instant};

use log::Level;

use crate::kube::{Backoff, Cause, Error, WatchEvent};
use crate::sidecar::WatchSettings;
use crate::sidecar::controller::timers::{Timer, Timers};
use crate::sidecar::controller::{Action, Position, Target, Update};
use crate::telemetry::{Component, Moment, Reason, Status, Subject};

/// Maximum delay between attempts at a failing operation.
pub(crate) const MAX_DELAY: Duration = Duration::from_secs(30);
/// Maximum delay that an API server can demand with Retry-After.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);
/// Maximum of the first random delay after a watch has ended. An API server that restarts ends the watches of all pods at once,
/// and each pod then reads its objects again.
const FIRST_WATCH_DELAY: Duration = Duration::from_millis(500);
/// How long a watch must last to reset the back-off.
const GOOD_WATCH: Duration = Duration::from_secs(5);

/// The state outside of a [`Tracker`] that its transitions use.
pub(crate) struct Context<'a> {
    pub(crate) now: Moment,
    pub(crate) watch: WatchSettings,
    pub(crate) timers: &'a mut Timers,
    pub(crate) status: &'a mut Status,
    pub(crate) actions: &'a mut Vec<Action>,
    /// The last id of a read or watch.
    pub(crate) last_id: &'a mut u64,
}

impl Context<'_> {
    fn id(&mut self) -> u64 {
        *self.last_id += 1;
        *self.last_id
    }

    fn after(&self, delay: Duration) -> Instant {
        self.now.instant + delay
    }
}

/// The comment on each variant names the transitions that lead out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The object is being read. A result leads to `Watching` or `Polling`, a failure to `Retrying`.
    Reading { read: u64 },
    /// A read failed, or a watch ended. The timer leads to `Reading`.
    Retrying,
    /// The object is not watched. The timer leads to `Reading`.
    Polling,
    /// The object is watched. The end of the watch leads to another watch, to `Retrying` or to `Polling`; the timer leads to
    /// `Confirming`.
    Watching { watch: Watch },
    /// The object is watched and being read. A result leads to `Watching`, a failure to `Retrying`, the end of the watch to
    /// `Reading`.
    Confirming { watch: Watch, read: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Watch {
    id: u64,
    /// `None` until the API server has accepted it.
    opened: Option<Instant>,
    /// Whether it has sent an event or a bookmark.
    heard: bool,
    /// Whether it began at [`Position::Any`].
    from_any: bool,
    /// Whether it began at [`Position::Any`] and has not yet sent the object that the last read found.
    expects_object: bool,
}

#[cfg(test)]
impl Watch {
    pub(crate) fn is_open(&self) -> bool {
        self.opened.is_some()
    }
}

/// One object, or the pod's annotations.
pub(crate) struct Tracker {
    target: Target,
    /// The component that fails if the watch breaks.
    component: Component,
    can_watch: bool,
    interval: Duration,
    state: State,
    /// Whether the last read failed.
    read_failed: bool,
    /// The resourceVersion to watch from; `None` while the object does not exist.
    version: Option<String>,
    /// A resourceVersion that the API server no longer has, so that no watch can begin there. `None` means that none is known.
    expired: Option<String>,
    reads: Backoff,
    watches: Backoff,
    /// For watches that are forbidden, or that the API server cannot open because its etcd is too old. An API server that has
    /// just started may refuse requests that it permits later.
    refusals: Backoff,
    /// When the next watch may begin. `None` means at any time.
    watch_from: Option<Instant>,
}

impl Tracker {
    /// Starts to read the target. `interval` is how often to read it while it is not watched.
    pub(crate) fn start(
        target: Target,
        component: Component,
        can_watch: bool,
        interval: Duration,
        context: &mut Context<'_>,
    ) -> Self {
        let read = context.id();
        context.actions.push(Action::Read { target: target.clone(), read, is_retry: false });
        Self {
            target,
            component,
            can_watch,
            interval,
            state: State::Reading { read },
            read_failed: false,
            version: None,
            expired: None,
            reads: Backoff::up_to(MAX_DELAY),
            watches: Backoff::new(FIRST_WATCH_DELAY, MAX_DELAY),
            refusals: Backoff::up_to(interval),
            watch_from: None,
        }
    }

    #[cfg(test)]
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Stops the watch and the timer. The result of a read that is in progress is ignored.
    pub(crate) fn stop(self, context: &mut Context<'_>) {
        context.timers.cancel(&self.timer());
        context.status.forget(&self.component);
        self.stop_watch(context);
    }

    fn stop_watch(&self, context: &mut Context<'_>) {
        if let State::Watching { watch } | State::Confirming { watch, .. } = &self.state {
            context.actions.push(Action::StopWatch { watch: watch.id });
        }
    }

    fn timer(&self) -> Timer {
        Timer::Read(self.target.clone())
    }

    /// Reads the target now, unless a read is already in progress.
    pub(crate) fn read(&mut self, context: &mut Context<'_>) {
        let watch = match &self.state {
            State::Reading { .. } | State::Confirming { .. } => return,
            State::Retrying | State::Polling => None,
            State::Watching { watch } => Some(watch.clone()),
        };
        let (read, is_retry) = (context.id(), self.read_failed);
        context.timers.cancel(&self.timer());
        context.actions.push(Action::Read { target: self.target.clone(), read, is_retry });
        self.state = match watch {
            Some(watch) => State::Confirming { watch, read },
            None => State::Reading { read },
        };
    }

    /// Discards the state of the target and reads it again, because another API server may serve it from now on. Results of requests
    /// to the previous one are ignored.
    pub(crate) fn start_over(&mut self, context: &mut Context<'_>) {
        self.stop_watch(context);
        context.timers.cancel(&self.timer());
        (self.version, self.expired, self.watch_from) = (None, None, None);
        let read = context.id();
        context.actions.push(Action::Read { target: self.target.clone(), read, is_retry: false });
        self.state = State::Reading { read };
    }

    /// Whether this is the read that is in progress.
    pub(crate) fn awaits(&self, id: u64) -> bool {
        matches!(self.state, State::Reading { read } | State::Confirming { read, .. } if read == id)
    }

    /// The read that is in progress has succeeded. For `version`, `None` means that the object does not exist.
    pub(crate) fn on_read(&mut self, version: Option<String>, context: &mut Context<'_>) {
        self.read_failed = false;
        if version.is_some() {
            self.reads.reset();
        }
        match &self.state {
            State::Confirming { watch, .. } => {
                let mut watch = watch.clone();
                // The object may be deleted after the read, but before a watch from `Position::Any` opens.
                // That watch never sends it.
                watch.expects_object = watch.from_any && !watch.heard && version.is_some();
                self.state = State::Watching { watch };
                self.schedule_resync(context);
            }
            _ => {
                self.version = version;
                self.begin_watch(context);
            }
        }
    }

    /// The read that is in progress has failed.
    pub(crate) fn on_read_failure(&mut self, retry_after: Option<Duration>, context: &mut Context<'_>) {
        self.read_failed = true;
        self.stop_watch(context);
        let delay = self.reads.delay().max(bounded(retry_after));
        self.retry(delay, context);
    }

    /// The object is missing, but needed: schedules another read, although the watch would report its creation too.
    pub(crate) fn read_again_later(&mut self, context: &mut Context<'_>) {
        let delay = self.reads.delay();
        self.read_again_after(delay, context);
    }

    /// Schedules another read, unless one is due sooner.
    pub(crate) fn read_again_after(&self, delay: Duration, context: &mut Context<'_>) {
        let at = context.after(delay);
        let at = context.timers.at(&self.timer()).map_or(at, |earlier| earlier.min(at));
        context.timers.set(self.timer(), at);
    }

    /// A watch has reported the object: a read that [`Self::read_again_later`] has scheduled is not needed any more.
    pub(crate) fn found(&mut self, context: &mut Context<'_>) {
        self.reads.reset();
        if matches!(self.state, State::Watching { .. }) {
            context.timers.cancel(&self.timer());
            self.schedule_resync(context);
        }
    }

    /// Applies an update of a watch. Returns whether that watch is the current one.
    pub(crate) fn on_update<T>(&mut self, id: u64, update: &Update<T>, context: &mut Context<'_>) -> bool {
        let (State::Watching { watch } | State::Confirming { watch, .. }) = &mut self.state else {
            return false;
        };
        if watch.id != id {
            return false;
        }
        match update {
            Update::Opened => {
                watch.opened = Some(context.now.instant);
                // An API server may accept a watch from `Position::Any` and then refuse it.
                if !watch.from_any {
                    self.works(context);
                }
            }
            Update::Event(event) => {
                let is_bookmark = matches!(event, WatchEvent::Bookmark { .. });
                // The object was deleted between the last read and the beginning of the watch.
                let was_missed = watch.expects_object && is_bookmark;
                (watch.heard, watch.expects_object) = (true, was_missed);
                self.version = Some(event.version().to_owned());
                self.works(context);
                if was_missed {
                    self.read(context);
                }
            }
            Update::Ended(error) => self.on_end(error.as_ref(), context),
        }
        true
    }

    fn works(&self, context: &mut Context<'_>) {
        if context.status.healthy(&self.component)
            && let Component::Watch(object) = &self.component
        {
            let message = format!("{object} is watched again");
            context.status.log(Level::Info, Subject::from(&self.component), message);
        }
    }

    fn on_end(&mut self, error: Option<&Error>, context: &mut Context<'_>) {
        let (watch, read) = match &self.state {
            State::Watching { watch } => (watch.clone(), None),
            State::Confirming { watch, read } => (watch.clone(), Some(*read)),
            State::Reading { .. } | State::Retrying | State::Polling => return,
        };
        let good = GOOD_WATCH.min(context.watch.timeout / 2);
        let lasted = watch.opened.is_some_and(|opened| context.now.instant.duration_since(opened) > good);
        // A watch that lasted long enough counts as a success, however it ended.
        if lasted {
            self.watches.reset();
            self.refusals.reset();
        }
        if error.is_some() || !lasted {
            context.status.watch_restarted();
        }
        match error {
            None if lasted && watch.heard => {
                // The requested duration is over: routine.
                return match read {
                    Some(read) => self.state = State::Reading { read },
                    None => self.begin_watch(context),
                };
            }
            // Without even a bookmark, the API server may not have reached this resourceVersion yet: read the object instead.
            None => {}
            // An API server in front of an old etcd refuses watches from `Position::Any`.
            Some(error)
                if error.is_forbidden()
                    || matches!(error.cause, Cause::NoDescriptor { .. })
                    || (watch.from_any
                        && !watch.heard
                        && matches!(error.cause, Cause::Unavailable { retry_after: None, .. })) =>
            {
                let message = format!("{error}; polling it at least every {:?} instead", self.interval);
                context.status.degraded(&self.component, Level::Warn, &message);
                let delay = self.refusals.delay();
                self.watch_from = Some(context.after(delay));
                if read.is_none() {
                    self.state = State::Polling;
                    context.timers.set(self.timer(), context.after(delay));
                    return;
                }
            }
            // The API server keeps resourceVersions for minutes only, so this is routine, not a failure.
            Some(error) if matches!(error.cause, Cause::Gone { .. }) => {
                let subject = Subject::from(&self.component);
                context.status.log(Level::Debug, subject, format!("{error}; reading it again"));
                self.expired = self.version.take();
            }
            Some(error) => {
                let message = format!("{error}; reading it again before the next watch");
                context.status.failing(context.now, self.component.clone(), Reason::from(error), &message);
                self.watch_from = error.retry_after().map(|delay| context.after(bounded(Some(delay))));
            }
        }
        let delay = self.watches.delay();
        match read {
            Some(read) => self.state = State::Reading { read },
            None => self.retry(delay, context),
        }
    }

    fn retry(&mut self, delay: Duration, context: &mut Context<'_>) {
        self.state = State::Retrying;
        context.timers.set(self.timer(), context.after(delay));
    }

    /// Watches from the last known resourceVersion, or polls if a watch is not possible now.
    fn begin_watch(&mut self, context: &mut Context<'_>) {
        let now = context.now.instant;
        let not_before = self.watch_from.filter(|from| *from > now);
        if !self.can_watch || not_before.is_some() {
            let interval = now + jittered(self.interval);
            self.state = State::Polling;
            context.timers.set(self.timer(), not_before.map_or(interval, |from| from.min(interval)));
            return;
        }
        let position = match &self.version {
            Some(version) if self.expired.as_ref() != Some(version) => Position::At(version.clone()),
            _ => Position::Any,
        };
        let from_any = position == Position::Any;
        let expects_object = from_any && self.version.is_some();
        let watch = Watch { id: context.id(), opened: None, heard: false, from_any, expects_object };
        context.actions.push(Action::Watch { target: self.target.clone(), watch: watch.id, from: position });
        self.state = State::Watching { watch };
        if context.timers.at(&self.timer()).is_none() {
            self.schedule_resync(context);
        }
    }

    fn schedule_resync(&self, context: &mut Context<'_>) {
        if let Some(resync) = context.watch.resync {
            context.timers.set(self.timer(), context.after(jittered(resync)));
        }
    }
}

fn bounded(retry_after: Option<Duration>) -> Duration {
    retry_after.unwrap_or_default().min(MAX_RETRY_AFTER)
}

/// Varies a duration by up to a tenth, so that many pods do not send their requests at the same time.
pub(crate) fn jittered(time: Duration) -> Duration {
    time.mul_f64(0.9 + 0.2 * fastrand::f64())
}
