//! Runs over points with a few threads, takes samples, and counts.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A sample of the default tests takes one point of so many, beginning with a fixed one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Extent {
    All,
    Sample { every: usize, from: usize },
}

impl Extent {
    pub(crate) fn of<T: Clone>(self, points: &[T]) -> Vec<T> {
        match self {
            Extent::All => points.to_vec(),
            Extent::Sample { every, from } => points.iter().skip(from % every).step_by(every).cloned().collect(),
        }
    }
}

/// Does `one` for every point, from a thread for each processor. Returns how many panicked.
pub(crate) fn over<T: Sync>(points: &[T], one: impl Fn(&T) + Sync) -> usize {
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(1, 8);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| one(point)));
                    failed.fetch_add(usize::from(done.is_err()), Ordering::Relaxed);
                }
            });
        }
    });
    failed.into_inner()
}
