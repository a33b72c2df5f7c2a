//! Runs the same work on many items with a few threads, which mostly wait for a network or a disk.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::error::Result;

/// Calls `work` for each item in at most `jobs` threads; results are in the order of the items.
///
/// The first error is returned and stops the other threads from starting new items. Each thread passes `work` a value
/// of its own, made by `local` (a buffer).
pub fn map<T, L, R>(
    jobs: usize,
    items: &[T],
    local: impl Fn() -> L + Sync,
    work: impl Fn(&mut L, &T) -> Result<R> + Sync,
) -> Result<Vec<R>>
where
    T: Sync,
    R: Send,
{
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let results: Mutex<Vec<(usize, Result<R>)>> = Mutex::new(Vec::with_capacity(items.len()));
    let run = || {
        let mut own = local();
        while !stop.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { break };
            let result = work(&mut own, item);
            stop.fetch_or(result.is_err(), Ordering::Relaxed);
            results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((at, result));
        }
    };
    let jobs = jobs.clamp(1, items.len().max(1));
    if jobs == 1 {
        run();
    } else {
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(run);
            }
        });
    }
    let mut results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::map;
    use crate::error::{Code, Error};

    #[test]
    fn results_keep_the_order_and_the_first_error_stops_the_rest() {
        let items: Vec<u32> = (0..1000).collect();
        for jobs in [1, 8] {
            assert_eq!(
                map(jobs, &items, || (), |(), n| Ok(n * 2)).unwrap(),
                items.iter().map(|n| n * 2).collect::<Vec<_>>()
            );
            let seen = std::sync::atomic::AtomicU32::new(0);
            let failed = map(
                jobs,
                &items,
                || (),
                |(), n| {
                    seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if *n == 3 { Err(Error::new(Code::Io, "no")) } else { Ok(()) }
                },
            );
            assert!(failed.is_err());
            assert!(seen.into_inner() < 1000);
        }
    }
}
