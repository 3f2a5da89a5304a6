//! Attempts at many items, repeated until all have succeeded. Many items of one server are attempted in parallel, and the items
//! of several servers side by side. Each item has its own back-off, so that one that fails or hangs delays no other while a
//! thread is free.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use log::{Level, debug};

use crate::kube::error::{Cause, Error};
use crate::kube::log_object;
use crate::kube::retry::{Backoff, Deadline};
use crate::kube::transport::MAX_CONNECTIONS;
use crate::text::ShortDuration;
use crate::thread::{lock, spawn_scoped};

/// The longest delay between two attempts at an item, unless the API server asks for a longer one.
pub(crate) const LONGEST_DELAY: Duration = Duration::from_secs(8);
/// How many items one connection serves. A further connection costs a handshake, which takes about as long as two requests.
const ITEMS_PER_CONNECTION: usize = 4;

/// The number of threads for the items of one server. Each thread has at most one request under way, and so one connection.
fn workers(items: usize) -> usize {
    items.div_ceil(ITEMS_PER_CONNECTION).min(MAX_CONNECTIONS)
}

/// Calls `attempt` for every item until all have succeeded. An item that failed is retried after a delay of its own. Retries end
/// for all items once `gives_up` is true for an error ([`Error::is_final`] or [`Error::is_actionable`]) or no further attempt at
/// an item fits before the deadline; each item is attempted at least once. `server` names what an item is read from. Results
/// come in the order of the items.
///
/// # Errors
/// The last error of every item that did not succeed.
pub(crate) fn retry_until_done<K: Sync, V: Send, S: Ord>(
    items: impl IntoIterator<Item = K>,
    server: impl Fn(&K) -> S,
    deadline: Deadline,
    gives_up: fn(&Error) -> bool,
    attempt: impl Fn(&K) -> Result<V, Error> + Sync,
) -> Result<Vec<(K, V)>, Vec<Error>> {
    let items = items.into_iter().collect::<Vec<_>>();
    let attempts = Attempts::new(&items, server, deadline, gives_up, attempt);
    attempts.run();
    let State { progress, .. } = attempts.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut results = Vec::new();
    let mut errors = Vec::new();
    for (item, Progress { result, .. }) in items.into_iter().zip(progress) {
        match result {
            Some(Ok(value)) => results.push((item, value)),
            Some(Err(error)) => errors.push(error),
            None => {}
        }
    }
    if errors.is_empty() { Ok(results) } else { Err(errors) }
}

/// What the threads share.
struct Attempts<'a, K, V, F> {
    items: &'a [K],
    deadline: Deadline,
    gives_up: fn(&Error) -> bool,
    attempt: F,
    state: Mutex<State<V>>,
    /// Wakes threads that wait until the next item is due.
    changed: Condvar,
}

struct State<V> {
    /// For each server, the items to attempt: when, and which. A thread that attempts an item removes it.
    queues: Vec<BTreeSet<(Instant, usize)>>,
    /// In the order of the items.
    progress: Vec<Progress<V>>,
    /// Whether nothing is retried any more.
    is_over: bool,
}

/// The progress of an item.
struct Progress<V> {
    /// The result of the last attempt; `None` before the first.
    result: Option<Result<V, Error>>,
    backoff: Backoff,
    /// The message of the last warning, which is not repeated.
    warned: String,
}

impl<'a, K: Sync, V: Send, F: Fn(&K) -> Result<V, Error> + Sync> Attempts<'a, K, V, F> {
    fn new<S: Ord>(
        items: &'a [K],
        server: impl Fn(&K) -> S,
        deadline: Deadline,
        gives_up: fn(&Error) -> bool,
        attempt: F,
    ) -> Self {
        let now = Instant::now();
        let mut queues = BTreeMap::<S, BTreeSet<_>>::new();
        for (index, item) in items.iter().enumerate() {
            queues.entry(server(item)).or_default().insert((now, index));
        }
        let state = State {
            queues: queues.into_values().collect(),
            progress: items.iter().map(|_| Progress::new()).collect(),
            is_over: false,
        };
        Self { items, deadline, gives_up, attempt, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Attempts all items. The present thread is the first worker, so a few items of one server need no other thread. It also takes
    /// over the servers for which no thread can be started.
    fn run(&self) {
        let counts = lock(&self.state).queues.iter().map(BTreeSet::len).collect::<Vec<_>>();
        thread::scope(|scope| {
            let mut own = Vec::new();
            for (server, count) in counts.into_iter().enumerate() {
                for worker in 0..workers(count) {
                    if own.is_empty() {
                        own.push(server);
                    } else if let Err(error) = spawn_scoped(scope, "read", move || self.work(&[server])) {
                        debug!("cannot start a thread: {error}");
                        if worker == 0 {
                            own.push(server);
                        }
                    }
                }
            }
            self.work(&own);
        });
    }

    /// Attempts items of these servers until none is queued. An item under way on another thread is left to that thread.
    fn work(&self, servers: &[usize]) {
        let mut state = lock(&self.state);
        while let Some((due, index, server)) = state.next(servers) {
            let wait = due.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                let waited = self.changed.wait_timeout(state, wait);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            state.queues[server].remove(&(due, index));
            drop(state);
            let result = (self.attempt)(&self.items[index]);
            state = lock(&self.state);
            self.settle(&mut state, server, index, result);
            self.changed.notify_all();
        }
    }

    /// Keeps the result of an attempt, and queues the next attempt if it failed.
    fn settle(&self, state: &mut State<V>, server: usize, index: usize, result: Result<V, Error>) {
        let progress = &mut state.progress[index];
        match result {
            // Only the clock ended this attempt. The error of an earlier one says more about what is wrong.
            Err(Error {
                cause: Cause::DeadlineExceeded { .. } | Cause::TimedOut { is_cut_short: true, .. },
                ..
            }) if progress.result.is_some() => {}
            result => progress.result = Some(result),
        }
        let Some(Err(error)) = &progress.result else { return };
        let delay = self.deadline.next_delay(progress.backoff.delay(), error.retry_after());
        match delay.filter(|_| !state.is_over && !(self.gives_up)(error)) {
            Some(delay) => {
                progress.log_retry(delay, self.deadline);
                state.queues[server].insert((Instant::now() + delay, index));
            }
            None => state.end_retries(),
        }
    }
}

impl<V> State<V> {
    /// The item of these servers that is due next.
    fn next(&self, servers: &[usize]) -> Option<(Instant, usize, usize)> {
        let first = |server: &usize| self.queues[*server].first().map(|(due, index)| (*due, *index, *server));
        servers.iter().filter_map(first).min()
    }

    fn end_retries(&mut self) {
        self.is_over = true;
        for queue in &mut self.queues {
            queue.retain(|(_, index)| self.progress[*index].result.is_none());
        }
    }
}

impl<V> Progress<V> {
    fn new() -> Self {
        Self { result: None, backoff: Backoff::up_to(LONGEST_DELAY), warned: String::new() }
    }

    /// Logs why the item is retried: as a warning if the reason is a new one.
    fn log_retry(&mut self, delay: Duration, deadline: Deadline) {
        let Some(Err(error)) = &self.result else { return };
        let message = error.to_string();
        let (delay, left) = (ShortDuration(delay), ShortDuration(deadline.remaining()));
        if message == self.warned {
            log_object!(
                Level::Debug,
                error.object(),
                "{}: still failing; retrying in {delay}",
                error.object()
            );
        } else {
            log_object!(Level::Warn, error.object(), "{message}; retrying in {delay}, for up to {left}");
            self.warned = message;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::thread::ThreadId;

    use super::*;
    use crate::kube::config::Server;
    use crate::object::{Kind, Namespace, ObjectRef};

    fn error(cause: Cause) -> Error {
        let namespace = Namespace::parse("prod").unwrap();
        Error::new(&ObjectRef::new(Kind::Secret, namespace, "db").unwrap(), cause)
    }

    fn unavailable(retry_after: Option<Duration>) -> Error {
        error(Cause::Unavailable { status: 429, message: String::new(), retry_after })
    }

    fn refused() -> Error {
        error(Cause::Refused { status: 400, message: String::new() })
    }

    fn deadline() -> Deadline {
        Deadline::after(Duration::from_secs(20))
    }

    /// Limit after which a test counts as hanging.
    const HANGS: Duration = Duration::from_secs(10);

    /// Lets attempts continue in groups of a size, each once all of the group are under way.
    struct Meeting {
        size: usize,
        arrived: Mutex<usize>,
        changed: Condvar,
    }

    impl Meeting {
        fn of(size: usize) -> Self {
            Self { size, arrived: Mutex::default(), changed: Condvar::new() }
        }

        fn join(&self) -> Result<(), Error> {
            let mut arrived = lock(&self.arrived);
            *arrived += 1;
            let all = arrived.div_ceil(self.size) * self.size;
            self.changed.notify_all();
            let waited = self.changed.wait_timeout_while(arrived, HANGS, |arrived| *arrived < all);
            if waited.unwrap().1.timed_out() { Err(refused()) } else { Ok(()) }
        }
    }

    /// Items of one server.
    fn retry<K: Sync, V: Send>(
        items: impl IntoIterator<Item = K>,
        attempt: impl Fn(&K) -> Result<V, Error> + Sync,
    ) -> Result<Vec<(K, V)>, Vec<Error>> {
        retry_until_done(items, |_| (), deadline(), Error::is_final, attempt)
    }

    #[test]
    fn four_items_share_a_thread_and_a_server_has_at_most_eight() {
        let counts = [0, 1, 4, 5, 8, 9, 28, 29, 33, 60, 1000];
        assert_eq!(counts.map(workers), [0, 1, 1, 2, 2, 3, 7, 8, 8, 8, 8]);
    }

    #[test]
    fn only_items_that_failed_are_retried() {
        let attempted = Mutex::new(Vec::new());
        let results = retry(["a", "b", "c"], |item| {
            let mut attempted = lock(&attempted);
            attempted.push(*item);
            if *item == "b" && attempted.len() < 5 { Err(unavailable(None)) } else { Ok(attempted.len()) }
        });
        assert_eq!(results.unwrap(), [("a", 1), ("b", 5), ("c", 3)]);
        assert_eq!(*lock(&attempted), ["a", "b", "c", "b", "b"]);
    }

    #[test]
    fn a_final_error_ends_the_retries_and_all_errors_are_returned() {
        let attempts = AtomicUsize::new(0);
        let errors = retry(["a", "b", "c"], |item| {
            attempts.fetch_add(1, Ordering::SeqCst);
            Err::<(), _>(if *item == "b" { refused() } else { unavailable(Some(Duration::from_secs(9))) })
        });
        let errors: Vec<_> = errors.unwrap_err().iter().map(Error::is_final).collect();
        assert_eq!((errors, attempts.into_inner()), (vec![false, true, false], 3));
    }

    #[test]
    fn a_retry_after_beyond_the_deadline_is_not_waited_for() {
        let retry_after = Some(Duration::from_secs(3600));
        let attempts = AtomicUsize::new(0);
        let errors = retry(["a"], |_| {
            attempts.fetch_add(1, Ordering::SeqCst);
            Err::<(), _>(unavailable(retry_after))
        });
        assert_eq!((errors.unwrap_err().len(), attempts.into_inner()), (1, 1));
    }

    #[test]
    fn the_error_of_an_earlier_attempt_outlives_an_exceeded_deadline() {
        let server = || Server::parse("10.0.0.1", "443").unwrap();
        let exceeded = || Cause::DeadlineExceeded { server: server() };
        let cut_short = || Cause::TimedOut { server: server(), phase: "", is_cut_short: true };
        let ends: [&(dyn Fn() -> Cause + Sync); 2] = [&exceeded, &cut_short];
        for end in ends {
            let attempts = AtomicUsize::new(0);
            let deadline = Deadline::after(Duration::from_millis(100));
            let attempt = |_: &&str| {
                let is_late = attempts.fetch_add(1, Ordering::SeqCst) >= 2;
                Err::<(), _>(if is_late { error(end()) } else { unavailable(None) })
            };
            let errors = retry_until_done(["a", "b"], |_| (), deadline, Error::is_final, attempt);
            let is_unavailable = |error: &Error| matches!(error.cause, Cause::Unavailable { .. });
            assert!(errors.unwrap_err().iter().all(is_unavailable) && attempts.into_inner() > 2);
        }
    }

    /// Passes only if eight attempts are under way at the same time, eight times.
    #[test]
    fn many_items_are_attempted_in_parallel_and_their_results_are_in_order() {
        let (meeting, threads) = (Meeting::of(8), Mutex::new(BTreeSet::new()));
        let results = retry(0..64, |item| {
            lock(&threads).insert(format!("{:?}", thread::current().id()));
            meeting.join().map(|()| *item)
        });
        assert_eq!(results.unwrap(), (0..64).map(|item| (item, item)).collect::<Vec<_>>());
        assert_eq!(lock(&threads).len(), 8);
    }

    #[test]
    fn a_few_items_need_no_other_thread() {
        let results = retry(0..4, |_| Ok(thread::current().id()));
        let own = thread::current().id();
        assert!(results.unwrap().into_iter().all(|(_, id): (_, ThreadId)| id == own));
    }

    #[test]
    fn the_items_of_several_servers_are_attempted_side_by_side() {
        let meeting = Meeting::of(3);
        let items = [("a", 1), ("b", 1), ("c", 1)];
        let results = retry_until_done(items, |item| item.0, deadline(), Error::is_final, |_| meeting.join());
        assert_eq!(results.unwrap().len(), 3);
    }

    /// The first item hangs until all others are done. One of them has failed before.
    #[test]
    fn an_item_that_hangs_delays_neither_the_others_nor_their_retries() {
        let (sender, receiver) = mpsc::channel();
        let (receiver, failed) = (Mutex::new(receiver), AtomicUsize::new(0));
        let results = retry(0..5, |item| match item {
            0 => (1..5).try_for_each(|_| lock(&receiver).recv_timeout(HANGS)).map_err(|_| refused()),
            3 if failed.fetch_add(1, Ordering::SeqCst) < 2 => Err(unavailable(None)),
            _ => sender.send(()).map_err(|_| refused()),
        });
        assert_eq!(results.unwrap().len(), 5);
    }

    #[test]
    fn one_thread_can_attempt_the_items_of_all_servers() {
        let items = [("a", 1), ("b", 1), ("a", 2), ("b", 2)];
        let order = Mutex::new(Vec::new());
        let attempt = |item: &(&'static str, u32)| {
            let mut order = lock(&order);
            order.push(*item);
            if order.len() == 1 { Err(unavailable(None)) } else { Ok(()) }
        };
        let attempts = Attempts::new(&items, |item| item.0, deadline(), Error::is_final, attempt);
        attempts.work(&[0, 1]);
        assert!(
            lock(&attempts.state).progress.iter().all(|progress| matches!(progress.result, Some(Ok(()))))
        );
        assert_eq!(*lock(&order), [items[0], items[1], items[2], items[3], items[0]]);
    }
}
