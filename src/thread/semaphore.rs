//! A counting semaphore: a limit on how many threads do something at the same time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::thread::lock;

/// Clones share the permits.
#[derive(Clone, Debug)]
pub(crate) struct Semaphore(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The number of permits that are left.
    left: Mutex<usize>,
    changed: Condvar,
}

/// A permit, which dropping it returns.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Shared>);

impl Semaphore {
    pub(crate) fn new(permits: usize) -> Self {
        Self(Arc::new(Shared { left: Mutex::new(permits), changed: Condvar::new() }))
    }

    /// Waits for a permit, for at most `within`. `None` means that the time is over, or that [`Self::cancel`] has set `cancelled`.
    pub(crate) fn acquire(&self, within: Duration, cancelled: &AtomicBool) -> Option<Permit> {
        let is_cancelled = || cancelled.load(Ordering::Relaxed);
        let waits = |left: &mut usize| *left == 0 && !is_cancelled();
        let waited = self.0.changed.wait_timeout_while(lock(&self.0.left), within, waits);
        let (mut left, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if is_cancelled() {
            return None;
        }
        *left = left.checked_sub(1)?;
        Some(Permit(Arc::clone(&self.0)))
    }

    /// Ends the wait of the thread that passes this flag, now or later.
    pub(crate) fn cancel(&self, cancelled: &AtomicBool) {
        // Under the lock: the thread has either not looked at the flag yet, or is waiting and is woken.
        let _left = lock(&self.0.left);
        cancelled.store(true, Ordering::Relaxed);
        self.0.changed.notify_all();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *lock(&self.0.left) += 1;
        // All, because the one that is woken may have been cancelled.
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::thread::spawn;

    /// Limit after which a test counts as hanging.
    const HANGS: Duration = Duration::from_secs(10);

    fn never() -> AtomicBool {
        AtomicBool::new(false)
    }

    #[test]
    fn only_as_many_permits_are_out_as_there_are() {
        let semaphore = Semaphore::new(2);
        let acquire = || semaphore.acquire(Duration::ZERO, &never());
        let (first, second) = (acquire(), acquire());
        assert!(first.is_some() && second.is_some() && acquire().is_none());
        drop(first);
        let third = acquire();
        assert!(third.is_some() && acquire().is_none());
    }

    #[test]
    fn each_waiting_thread_gets_a_returned_permit() {
        let (semaphore, (sender, receiver)) = (Semaphore::new(1), channel());
        let first = semaphore.acquire(HANGS, &never());
        for _ in 0..8 {
            let (semaphore, sender) = (semaphore.clone(), sender.clone());
            spawn("test", move || {
                let permit = semaphore.acquire(HANGS, &never());
                sender.send(permit.is_some()).unwrap();
            })
            .unwrap();
        }
        drop(first);
        (0..8).for_each(|_| assert_eq!(receiver.recv_timeout(HANGS * 2), Ok(true)));
    }

    #[test]
    fn a_cancelled_wait_ends_and_takes_no_permit() {
        let (semaphore, (sender, receiver)) = (Semaphore::new(1), channel());
        let first = semaphore.acquire(HANGS, &never());
        let cancelled = Arc::new(never());
        let (waiting, flag) = (semaphore.clone(), Arc::clone(&cancelled));
        spawn("test", move || {
            sender.send(waiting.acquire(Duration::MAX, &flag).is_none()).unwrap();
        })
        .unwrap();
        semaphore.cancel(&cancelled);
        assert_eq!(receiver.recv_timeout(HANGS), Ok(true));
        drop(first);
        assert!(semaphore.acquire(HANGS, &cancelled).is_none(), "also a wait that begins later");
        assert!(semaphore.acquire(Duration::ZERO, &never()).is_some());
    }
}
