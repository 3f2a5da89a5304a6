//! Worker threads for jobs that may block, such as reads from API servers. Threads start on demand, up to a limit, and end when
//! they have been idle for a while: an idle process has none.
//!
//! Jobs that are likely to hang have a lane of their own, which occupies at most half of the threads. However many of them hang,
//! other jobs are run. A job reports its result itself.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::thread::{Job, lock, spawn};

/// How long a thread waits for another job before it ends.
const IDLE: Duration = Duration::from_secs(3);
/// How many jobs one thread is for, as long as each job takes less than [`PATIENCE`]: each busy thread uses a connection,
/// and a connection costs a handshake.
const JOBS_PER_THREAD: usize = 4;
/// How long a job waits for a thread that is busy before it gets one of its own.
const PATIENCE: Duration = Duration::from_millis(50);

/// Which jobs a job competes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Jobs that are expected to end soon.
    Regular,
    /// Jobs that may hang, because the last one of their kind failed.
    Suspect,
}

/// A pool of threads. Clones share the threads. The queued jobs are run even after the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Shared>);

struct Shared {
    limit: usize,
    idle: Duration,
    patience: Duration,
    start: fn(&str, Job) -> io::Result<()>,
    state: Mutex<State>,
    /// Wakes an idle thread for a queued job.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    regular: VecDeque<Job>,
    suspect: VecDeque<Job>,
    /// The number of running threads.
    threads: usize,
    /// The number of jobs under way, each on a thread.
    busy: usize,
    /// The number of those of [`Lane::Suspect`].
    suspects: usize,
}

impl Pool {
    /// A pool of at most `limit` threads. [`Lane::Suspect`] needs a limit of at least 2 to leave a thread to the other lane.
    pub(crate) fn new(limit: usize) -> Self {
        Self::with(limit, IDLE, PATIENCE, |name, run| spawn(name, run).map(drop))
    }

    fn with(
        limit: usize,
        idle: Duration,
        patience: Duration,
        start: fn(&str, Job) -> io::Result<()>,
    ) -> Self {
        let state = Mutex::default();
        Self(Arc::new(Shared { limit: limit.max(1), idle, patience, start, state, changed: Condvar::new() }))
    }

    /// Queues a job, and starts a thread for it if none is idle and the limit allows one. The jobs of a lane begin in the order in
    /// which they were submitted, and regular ones before suspect ones.
    ///
    /// # Errors
    /// If no thread is running and none can be started. The job is then dropped. As long as a thread is running, the job waits for
    /// it instead.
    pub(crate) fn submit(&self, lane: Lane, job: Job) -> io::Result<()> {
        let mut state = lock(&self.0.state);
        state.queue(lane).push_back(job);
        if state.startable(self.0.limit) > state.free() && state.threads < self.0.limit {
            let shared = Arc::clone(&self.0);
            state.threads += 1;
            if let Err(error) = (self.0.start)("worker", Box::new(move || shared.work())) {
                state.threads -= 1;
                if state.threads == 0 {
                    state.queue(lane).pop_back();
                    return Err(error);
                }
            }
        }
        drop(state);
        self.0.changed.notify_one();
        Ok(())
    }
}

impl Shared {
    /// Runs jobs until none has been there for a while.
    fn work(&self) {
        let mut state = lock(&self.state);
        // Whether a job has waited for longer than the patience.
        let mut is_late = false;
        loop {
            if (is_late || state.needs_thread())
                && let Some((lane, job)) = state.take(self.limit)
            {
                drop(state);
                job();
                state = lock(&self.state);
                state.busy -= 1;
                state.suspects -= usize::from(lane == Lane::Suspect);
                is_late = false;
                continue;
            }
            let has_jobs = state.startable(self.limit) > 0;
            let wait = if has_jobs { self.patience } else { self.idle };
            let waited = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
            let is_over = waited.1.timed_out();
            is_late = has_jobs && is_over;
            if is_over && !has_jobs && state.startable(self.limit) == 0 {
                state.threads -= 1;
                return;
            }
        }
    }
}

impl State {
    fn queue(&mut self, lane: Lane) -> &mut VecDeque<Job> {
        match lane {
            Lane::Regular => &mut self.regular,
            Lane::Suspect => &mut self.suspect,
        }
    }

    /// The number of threads that wait for a job or are about to.
    fn free(&self) -> usize {
        self.threads - self.busy
    }

    /// Whether the busy threads are too few for the jobs.
    fn needs_thread(&self) -> bool {
        let jobs = self.busy + self.regular.len() + self.suspect.len();
        self.busy < jobs.div_ceil(JOBS_PER_THREAD)
    }

    /// How many more jobs of the suspect lane may begin.
    fn suspects_left(&self, limit: usize) -> usize {
        (limit / 2).max(1).saturating_sub(self.suspects)
    }

    /// The number of queued jobs that may begin now.
    fn startable(&self, limit: usize) -> usize {
        self.regular.len() + self.suspect.len().min(self.suspects_left(limit))
    }

    /// Takes the next job that may begin, from the regular lane first.
    fn take(&mut self, limit: usize) -> Option<(Lane, Job)> {
        let (lane, job) = match self.regular.pop_front() {
            Some(job) => (Lane::Regular, job),
            None if self.suspects_left(limit) == 0 => return None,
            None => (Lane::Suspect, self.suspect.pop_front()?),
        };
        self.busy += 1;
        self.suspects += usize::from(lane == Lane::Suspect);
        Some((lane, job))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread::yield_now;
    use std::time::Instant;

    use super::*;

    /// Limit after which a test counts as hanging.
    const HANGS: Duration = Duration::from_secs(10);

    /// Holds jobs back until it is opened.
    #[derive(Clone, Default)]
    struct Gate(Arc<(Mutex<bool>, Condvar)>);

    impl Gate {
        fn pass(&self) {
            let (is_open, opened) = &*self.0;
            drop(opened.wait_timeout_while(lock(is_open), HANGS, |is_open| !*is_open).unwrap());
        }

        fn open(&self) {
            *lock(&self.0.0) = true;
            self.0.1.notify_all();
        }
    }

    /// A pool whose jobs send a name when they begin, and again when the gate has let them end.
    struct Scene {
        pool: Pool,
        begun: (Sender<&'static str>, Receiver<&'static str>),
        ended: (Sender<&'static str>, Receiver<&'static str>),
    }

    impl Scene {
        fn new(limit: usize) -> Self {
            Self::on(Pool::with(limit, IDLE, Duration::ZERO, |name, run| spawn(name, run).map(drop)))
        }

        fn on(pool: Pool) -> Self {
            Self { pool, begun: channel(), ended: channel() }
        }

        fn submit(&self, lane: Lane, name: &'static str, gate: &Gate) {
            let (begun, ended, gate) = (self.begun.0.clone(), self.ended.0.clone(), gate.clone());
            let job = move || {
                begun.send(name).unwrap();
                gate.pass();
                ended.send(name).unwrap();
            };
            self.pool.submit(lane, Box::new(job)).unwrap();
        }

        fn next_begun(&self) -> &'static str {
            self.begun.1.recv_timeout(HANGS).unwrap()
        }

        fn next_ended(&self) -> &'static str {
            self.ended.1.recv_timeout(HANGS).unwrap()
        }

        fn wait_until(&self, condition: impl Fn(&State) -> bool) {
            let started = Instant::now();
            while !condition(&lock(&self.pool.0.state)) {
                assert!(started.elapsed() < HANGS);
                yield_now();
            }
        }

        fn threads(&self) -> usize {
            lock(&self.pool.0.state).threads
        }
    }

    #[test]
    fn a_thread_is_started_for_each_job_up_to_the_limit() {
        let (scene, gate) = (Scene::new(3), Gate::default());
        for count in 1..=8 {
            scene.submit(Lane::Regular, "job", &gate);
            assert_eq!(scene.threads(), count.min(3));
        }
        (0..3).for_each(|_| assert_eq!(scene.next_begun(), "job"));
        assert_eq!((scene.begun.1.try_recv().is_err(), lock(&scene.pool.0.state).regular.len()), (true, 5));
        gate.open();
        (0..8).for_each(|_| assert_eq!(scene.next_ended(), "job"));
        assert_eq!(scene.threads(), 3);
    }

    #[test]
    fn a_few_jobs_share_one_thread_until_one_takes_too_long() {
        let patient = Pool::with(8, IDLE, HANGS, |name, run| spawn(name, run).map(drop));
        let (scene, gate) = (Scene::on(patient), Gate::default());
        (0..4).for_each(|_| scene.submit(Lane::Regular, "job", &gate));
        scene.next_begun();
        scene.wait_until(|state| state.busy == 1 && state.regular.len() == 3);
        scene.submit(Lane::Regular, "fifth", &gate);
        scene.next_begun();
        scene.wait_until(|state| state.busy == 2 && state.regular.len() == 3);
        gate.open();
        (0..5).for_each(|_| assert!(!scene.next_ended().is_empty()));

        let (scene, gate) = (Scene::new(8), Gate::default());
        (0..4).for_each(|_| scene.submit(Lane::Regular, "job", &gate));
        scene.wait_until(|state| state.busy == 4);
        gate.open();
        (0..4).for_each(|_| assert_eq!(scene.next_ended(), "job"));
    }

    #[test]
    fn an_idle_thread_takes_the_next_job() {
        let (scene, gate) = (Scene::new(3), Gate::default());
        gate.open();
        for _ in 0..5 {
            scene.submit(Lane::Regular, "job", &gate);
            scene.next_ended();
            scene.wait_until(|state| state.free() == 1);
        }
        assert_eq!(scene.threads(), 1);
    }

    #[test]
    fn jobs_that_hang_occupy_at_most_half_of_the_threads() {
        let (scene, gate, open) = (Scene::new(4), Gate::default(), Gate::default());
        open.open();
        (0..10).for_each(|_| scene.submit(Lane::Suspect, "suspect", &gate));
        assert_eq!((scene.next_begun(), scene.next_begun(), scene.threads()), ("suspect", "suspect", 2));
        for _ in 0..20 {
            scene.submit(Lane::Regular, "regular", &open);
            assert_eq!((scene.next_begun(), scene.next_ended()), ("regular", "regular"));
        }
        // The others that wait for their lane keep no thread busy.
        scene.wait_until(|state| state.busy == 2 && state.suspect.len() == 8);
        gate.open();
        (0..10).for_each(|_| assert_eq!(scene.next_ended(), "suspect"));
    }

    #[test]
    fn regular_jobs_begin_first_and_each_lane_is_in_order() {
        let (scene, gate) = (Scene::new(1), Gate::default());
        scene.submit(Lane::Suspect, "s1", &gate);
        assert_eq!(scene.next_begun(), "s1");
        for (lane, name) in
            [(Lane::Suspect, "s2"), (Lane::Regular, "r1"), (Lane::Suspect, "s3"), (Lane::Regular, "r2")]
        {
            scene.submit(lane, name, &gate);
        }
        gate.open();
        assert_eq!([(); 4].map(|()| scene.next_begun()), ["r1", "r2", "s2", "s3"]);
    }

    #[test]
    fn idle_threads_end_and_new_ones_start_for_the_next_jobs() {
        let scene =
            Scene::on(Pool::with(4, Duration::ZERO, Duration::ZERO, |name, run| spawn(name, run).map(drop)));
        for _ in 0..3 {
            let gate = Gate::default();
            (0..4).for_each(|_| scene.submit(Lane::Regular, "job", &gate));
            (0..4).for_each(|_| assert_eq!(scene.next_begun(), "job"));
            gate.open();
            (0..4).for_each(|_| assert_eq!(scene.next_ended(), "job"));
            scene.wait_until(|state| state.threads == 0);
        }
    }

    #[test]
    fn a_thread_that_cannot_be_started_is_an_error_only_without_a_running_one() {
        static REFUSES: AtomicBool = AtomicBool::new(true);
        let start = |name: &str, run| match REFUSES.load(Ordering::SeqCst) {
            true => Err(io::Error::other("test")),
            false => spawn(name, run).map(drop),
        };
        let (scene, gate) = (Scene::on(Pool::with(4, HANGS, Duration::ZERO, start)), Gate::default());
        let has_run = Arc::new(AtomicBool::new(false));
        let held = Arc::clone(&has_run);
        let refused = scene.pool.submit(Lane::Regular, Box::new(move || held.store(true, Ordering::SeqCst)));
        assert!(refused.is_err() && Arc::strong_count(&has_run) == 1, "the job is dropped");
        REFUSES.store(false, Ordering::SeqCst);
        scene.submit(Lane::Regular, "first", &gate);
        scene.next_begun();
        REFUSES.store(true, Ordering::SeqCst);
        scene.submit(Lane::Regular, "second", &gate);
        assert_eq!(scene.threads(), 1);
        gate.open();
        assert_eq!([scene.next_ended(), scene.next_ended()], ["first", "second"]);
        assert!(!has_run.load(Ordering::SeqCst));
    }
}
