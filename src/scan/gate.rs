//! The memory that contents may take at once.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::Result;
use crate::observer::Observer;

/// A bound for the bytes that are held.
#[derive(Debug)]
pub(super) struct Gate {
    most: u64,
    held: Mutex<u64>,
    freed: Condvar,
}

/// Bytes that are held; given back when dropped.
#[derive(Debug)]
pub(super) struct Hold {
    gate: Arc<Gate>,
    bytes: u64,
}

impl Gate {
    pub(super) fn new(most: u64) -> Arc<Gate> {
        Arc::new(Gate { most, held: Mutex::new(0), freed: Condvar::new() })
    }

    /// Waits until so many bytes may be held. What is larger than the bound is held alone.
    pub(super) fn hold(self: &Arc<Gate>, bytes: u64, observer: &dyn Observer) -> Result<Hold> {
        let mut held = lock(&self.held);
        while *held > 0 && held.saturating_add(bytes) > self.most {
            observer.check()?;
            held = self.freed.wait_timeout(held, Duration::from_millis(100)).unwrap_or_else(PoisonError::into_inner).0;
        }
        *held += bytes;
        Ok(Hold { gate: Arc::clone(self), bytes })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = lock(&self.gate.held);
        *held = held.saturating_sub(self.bytes);
        self.gate.freed.notify_all();
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
