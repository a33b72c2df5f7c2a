//! Contents on their way to the sessions of a scanner, bounded in number and bytes.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::Content;
use super::gate::lock;
use super::results::Key;
use crate::error::Result;
use crate::observer::Observer;

/// A content to scan.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) content: Arc<Content>,
    /// Whose verdict it is.
    pub(super) own: Key,
    /// The content of the bundle that it is, or that it is in.
    pub(super) top: Key,
}

/// A queue.
#[derive(Debug)]
pub(super) struct Queue {
    most: usize,
    bytes: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Bytes that wait or are being scanned.
    bytes: u64,
    /// Nothing more comes.
    closed: bool,
    /// Nobody takes anything any more.
    dead: bool,
}

impl Queue {
    pub(super) fn new(most: usize, bytes: u64) -> Queue {
        Queue { most, bytes, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Waits for room. False if nobody will take it.
    pub(super) fn push(&self, job: Job, observer: &dyn Observer) -> Result<bool> {
        let size = job.content.len();
        let mut state = lock(&self.state);
        loop {
            if state.dead {
                return Ok(false);
            }
            let room = state.bytes == 0 || state.bytes.saturating_add(size) <= self.bytes;
            if room && state.jobs.len() < self.most {
                break;
            }
            observer.check()?;
            state = self.wait(state);
        }
        state.bytes += size;
        state.jobs.push_back(job);
        drop(state);
        self.changed.notify_all();
        Ok(true)
    }

    /// Up to `most` contents; waits for the first. `None` at the end.
    pub(super) fn take(&self, most: usize) -> Option<Vec<Job>> {
        let mut state = lock(&self.state);
        while state.jobs.is_empty() {
            if state.closed || state.dead {
                return None;
            }
            state = self.wait(state);
        }
        let mut out: Vec<Job> = Vec::new();
        let mut bytes = 0;
        while out.len() < most {
            let Some(next) = state.jobs.front().map(|job| job.content.len()) else { break };
            // Large ones go alone.
            if !out.is_empty() && bytes + next > 4 << 20 {
                break;
            }
            bytes += next;
            out.extend(state.jobs.pop_front());
        }
        drop(state);
        self.changed.notify_all();
        Some(out)
    }

    /// So many bytes are done.
    pub(super) fn done(&self, bytes: u64) {
        let mut state = lock(&self.state);
        state.bytes = state.bytes.saturating_sub(bytes);
        self.changed.notify_all();
    }

    /// Nothing more comes.
    pub(super) fn close(&self) {
        lock(&self.state).closed = true;
        self.changed.notify_all();
    }

    /// What waits is dropped, and nothing is taken any more.
    pub(super) fn kill(&self) {
        let mut state = lock(&self.state);
        state.dead = true;
        state.jobs.clear();
        self.changed.notify_all();
    }

    fn wait<'a>(&self, state: std::sync::MutexGuard<'a, State>) -> std::sync::MutexGuard<'a, State> {
        self.changed.wait_timeout(state, Duration::from_millis(100)).unwrap_or_else(PoisonError::into_inner).0
    }
}
