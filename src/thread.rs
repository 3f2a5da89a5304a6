//! Locking and starting threads, done the same way everywhere. [`pool`] keeps threads for many jobs.

pub(crate) mod pool;

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

/// The stack of a thread that sends requests: enough for TLS and JSON. The default would reserve 2 MiB.
const STACK: usize = 256 * 1024;

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

fn builder(name: &str) -> Builder {
    Builder::new().name(name.to_owned()).stack_size(STACK)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

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
