//! Locking and starting threads, done the same way everywhere. [`pool`] keeps threads for many jobs; [`semaphore`] limits how many
//! threads do something at the same time.

pub(crate) mod pool;
pub(crate) mod semaphore;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

/// The stack of a thread that sends requests: enough for TLS and JSON. The default would reserve 2 MiB.
const STACK: usize = 256 * 1024;

/// What a thread runs.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// Locks a mutex, even if a thread panicked while it held the lock: no critical section in this crate leaves its data
/// half-changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a thread.
///
/// # Errors
/// If the operating system refuses another thread.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    builder(name).spawn(run)
}

/// Starts a thread that ends before its scope does.
///
/// # Errors
/// If the operating system refuses another thread.
pub(crate) fn spawn_scoped<'scope, 'env, T: Send + 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    name: &str,
    run: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    builder(name).spawn_scoped(scope, run)
}

/// A thread that may be started later than it was made, because no thread can be started now.
pub(crate) struct LateThread {
    name: &'static str,
    /// Taken by the thread.
    run: Arc<Mutex<Option<Job>>>,
    is_started: AtomicBool,
}

impl LateThread {
    pub(crate) fn new(name: &'static str, run: impl FnOnce() + Send + 'static) -> Self {
        Self { name, run: Arc::new(Mutex::new(Some(Box::new(run)))), is_started: AtomicBool::new(false) }
    }

    /// Starts the thread, unless it was started before.
    ///
    /// # Errors
    /// If the operating system refuses another thread. The next call tries again.
    pub(crate) fn start(&self) -> io::Result<()> {
        self.start_by(|name, run| spawn(name, run).map(drop))
    }

    fn start_by(&self, start: impl FnOnce(&str, Job) -> io::Result<()>) -> io::Result<()> {
        if self.is_started.load(Ordering::Relaxed) {
            return Ok(());
        }
        let shared = Arc::clone(&self.run);
        let run = move || {
            let run = lock(&shared).take();
            if let Some(run) = run {
                run();
            }
        };
        start(self.name, Box::new(run))?;
        self.is_started.store(true, Ordering::Relaxed);
        Ok(())
    }
}

fn builder(name: &str) -> Builder {
    Builder::new().name(name.to_owned()).stack_size(STACK)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_thread_that_could_not_be_started_is_started_later_and_once() {
        let (sender, receiver) = channel();
        let late = LateThread::new("test", move || sender.send("ran").unwrap());
        assert!(late.start_by(|_, _| Err(io::Error::other("test"))).is_err());
        assert!(receiver.try_recv().is_err());
        late.start().unwrap();
        assert_eq!(receiver.recv(), Ok("ran"));
        late.start_by(|_, _| Err(io::Error::other("test"))).unwrap();
        assert!(receiver.recv().is_err(), "the sender is gone");
    }

    #[test]
    fn a_lock_survives_a_panic_of_its_holder() {
        let mutex = Arc::new(Mutex::new(1));
        let held = Arc::clone(&mutex);
        let panicking = spawn("test", move || {
            let _guard = lock(&held);
            std::panic::resume_unwind(Box::new("test"));
        });
        assert!(panicking.unwrap().join().is_err() && mutex.is_poisoned());
        assert_eq!(*lock(&mutex), 1);
    }
}
