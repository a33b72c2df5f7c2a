//! Runs the same work on many items with a few threads, which mostly wait for a network or a disk.
//!
//! How many items are worked on at once finds itself: a [`Pace`] starts small, grows while more gets done, and falls
//! back when it does not. Only items whose bytes move count against it: while they do, the next ones ask whether they are
//! needed, small ones come and go, and those that are nearly handed over wait for their answers.

mod climber;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::climber::Climber;
use crate::error::{Code, Error, Result};

/// Items of up to this size are small: most of their time is spent waiting, not moving bytes.
const SMALL: u64 = 1 << 20;
/// With so many bytes left, an item makes room for the next, whose first request takes a moment.
const NEARLY: u64 = 4 << 20;
/// The default for the most items at once.
const MOST: usize = 32;

/// How many items are worked on at once. One pace can serve several maps, one after the other or at the same time: the
/// next starts with what an earlier one has learnt.
#[derive(Debug)]
pub struct Pace {
    most: usize,
    /// Threads that work now.
    busy: AtomicUsize,
    /// For large and for small items.
    climbers: [Mutex<Climber>; 2],
}

/// Positions of [`Pace::climbers`] and of the lanes of a map.
const LARGE: usize = 0;
const LITTLE: usize = 1;
/// For an item that nothing else is worked on beside.
const ALONE: usize = 2;

impl Default for Pace {
    /// A pace that finds itself, with at most 32 items at once.
    fn default() -> Pace {
        Pace::up_to(MOST)
    }
}

impl Pace {
    /// A pace that finds itself, with at most `most` items at once.
    pub fn up_to(most: usize) -> Pace {
        let most = most.max(1);
        Pace {
            most,
            busy: AtomicUsize::new(0),
            climbers: [Climber::new(LARGE, 3, most), Climber::new(LITTLE, 8, most)],
        }
    }

    /// Always `jobs` items at once: for work of processors, which do not wait.
    pub fn fixed(jobs: usize) -> Pace {
        let most = jobs.max(1);
        Pace { most, busy: AtomicUsize::new(0), climbers: [LARGE, LITTLE].map(|lane| Climber::fixed(lane, most)) }
    }

    /// The most items at once.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Calls `work` for each item; results are in the order of the items.
    ///
    /// The first error is returned and stops the other threads from starting new items. Each thread passes `work` a
    /// value of its own, made by `local` (a buffer).
    pub fn map<T: Sync, L, R: Send>(
        &self,
        items: &[T],
        local: impl Fn() -> L + Sync,
        work: impl Fn(&mut L, &T) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        let results: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::new());
        self.run(
            items.len(),
            |_| 0,
            local,
            |own, at, _| {
                let result = work(own, &items[at])?;
                lock(&results).push((at, result));
                Ok(())
            },
        )?;
        Ok(in_order(results))
    }

    /// Like [`Pace::map`], for items of different sizes in bytes: the largest come first, so that no thread is left
    /// alone with a large one at the end, and the small ones beside them. `work` reports to its [`Turn`] which bytes it
    /// has moved.
    pub fn sized<T: Sync, L>(
        &self,
        items: &[T],
        size: impl Fn(&T) -> u64 + Sync,
        local: impl Fn() -> L + Sync,
        work: impl Fn(&mut L, &T, &Turn<'_>) -> Result<()> + Sync,
    ) -> Result<()> {
        self.run(items.len(), |at| size(&items[at]), local, |own, at, turn| work(own, &items[at], turn))
    }

    /// Works on items by their positions. An index may have many: a few bytes for each.
    fn run<L>(
        &self,
        count: usize,
        size: impl Fn(usize) -> u64 + Sync,
        local: impl Fn() -> L + Sync,
        work: impl Fn(&mut L, usize, &Turn<'_>) -> Result<()> + Sync,
    ) -> Result<()> {
        let count32 = u32::try_from(count).map_err(|_| Error::new(Code::Internal, "too many items to work on"))?;
        let mut large: Vec<u32> = (0..count32).collect();
        large.sort_by_key(|at| std::cmp::Reverse(size(*at as usize)));
        let small = large.split_off(large.partition_point(|at| size(*at as usize) > SMALL));
        let lane = |items: Vec<u32>| Lane { waiting: items.into_iter(), asking: 0, moving: 0, ending: 0 };
        let lanes = Mutex::new([lane(large), lane(small)]);
        let queue = Queue { pace: self, lanes, changed: Condvar::new(), stop: AtomicBool::new(false) };
        self.climbers.iter().for_each(|climber| lock(climber).begin());
        let failed: Mutex<Option<(usize, Error)>> = Mutex::new(None);
        let one = |own: &mut L, lane, at: usize| {
            let turn = Turn { queue: &queue, lane, left: AtomicU64::new(size(at)), stage: Mutex::new(Stage::Asking) };
            if let Err(e) = work(own, at, &turn) {
                queue.stop.store(true, Ordering::Relaxed);
                let mut failed = lock(&failed);
                if failed.as_ref().is_none_or(|(before, _)| at < *before) {
                    *failed = Some((at, e));
                }
            }
            turn
        };
        let run = |(mut lane, mut at): (usize, usize)| {
            let mut own = local();
            loop {
                match queue.after(&one(&mut own, lane, at)) {
                    Some(next) => (lane, at) = next,
                    None => break queue.changed.notify_all(),
                }
            }
        };
        let run = &run;
        if self.most == 1 || count == 1 {
            let mut own = local();
            self.busy.fetch_add(1, Ordering::Relaxed);
            let next = || lock(&queue.lanes).iter_mut().find_map(|lane| lane.waiting.next());
            while let Some(at) = next() {
                if !one(&mut own, ALONE, at as usize).goes_on() {
                    break;
                }
            }
            self.busy.fetch_sub(1, Ordering::Relaxed);
        } else {
            std::thread::scope(|scope| {
                let mut lanes = lock(&queue.lanes);
                while !queue.stop.load(Ordering::Relaxed) && lanes.iter().any(|lane| lane.waiting.len() > 0) {
                    match queue.next(&mut lanes) {
                        Some(first) => _ = scope.spawn(move || run(first)),
                        // A limit can grow without a signal.
                        None => {
                            lanes = queue.changed.wait_timeout(lanes, LOOK).unwrap_or_else(PoisonError::into_inner).0
                        }
                    }
                }
            });
        }
        failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), |(_, e)| Err(e))
    }

    /// Like [`Pace::map`], for small requests within an item that is being worked on: this thread does them, with the
    /// help of as many more as there are free places.
    pub fn share<T: Sync, R: Send>(&self, items: &[T], work: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let results: Mutex<Vec<(usize, Result<R>)>> = Mutex::new(Vec::new());
        let one = || {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at).filter(|_| !stop.load(Ordering::Relaxed)) else { return false };
            let result = work(item);
            stop.fetch_or(result.is_err(), Ordering::Relaxed);
            lock(&results).push((at, result));
            true
        };
        let one = &one;
        std::thread::scope(|scope| {
            loop {
                while next.load(Ordering::Relaxed) + 1 < items.len() && self.take_place() {
                    scope.spawn(move || {
                        while one() {}
                        self.busy.fetch_sub(1, Ordering::Relaxed);
                    });
                }
                if !one() {
                    break;
                }
            }
        });
        in_order(results).into_iter().collect()
    }

    /// Does one thing beside others, if there is a free place for it.
    pub fn beside<R>(&self, work: impl FnOnce() -> R) -> Option<R> {
        let done = self.take_place().then(work)?;
        self.busy.fetch_sub(1, Ordering::Relaxed);
        Some(done)
    }

    /// Takes one of the free places, if there is one.
    fn take_place(&self) -> bool {
        let more = |busy: usize| (busy < self.most).then_some(busy + 1);
        self.busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }
}

/// An item that is being worked on.
#[derive(Debug)]
pub struct Turn<'q> {
    queue: &'q Queue<'q>,
    lane: usize,
    left: AtomicU64,
    stage: Mutex<Stage>,
}

/// What an item is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was moved yet; perhaps nothing has to be.
    Asking,
    /// Some bytes were moved.
    Moving,
    /// Nearly all bytes are handed over, or an answer is to come.
    Ending,
}

impl Turn<'_> {
    /// Waits until the bytes of this item may be moved.
    pub fn start(&self) {
        if self.lane != LARGE {
            return;
        }
        let mut lanes = lock(&self.queue.lanes);
        if *lock(&self.stage) != Stage::Asking {
            return;
        }
        let Queue { pace, changed, stop, .. } = self.queue;
        pace.busy.fetch_sub(1, Ordering::Relaxed);
        while !stop.load(Ordering::Relaxed) {
            if lanes[LARGE].moving < lock(&pace.climbers[LARGE]).limit && pace.take_place() {
                return self.enter(&mut lanes, Stage::Moving);
            }
            lanes = changed.wait_timeout(lanes, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        pace.busy.fetch_add(1, Ordering::Relaxed);
    }

    fn goes_on(&self) -> bool {
        !self.queue.stop.load(Ordering::Relaxed)
    }

    /// Reports bytes that were moved. With the last of an item, the next may start.
    pub fn moved(&self, bytes: u64) {
        if self.lane != LARGE {
            return;
        }
        let more = lock(&self.queue.pace.climbers[LARGE]).note(bytes, Instant::now());
        let left = self.left.load(Ordering::Relaxed).saturating_sub(bytes);
        self.left.store(left, Ordering::Relaxed);
        let now = if left <= NEARLY { Stage::Ending } else { Stage::Moving };
        let stage = *lock(&self.stage);
        let next = stage != Stage::Ending && stage != now;
        if next {
            self.enter(&mut lock(&self.queue.lanes), now);
        }
        if more || next {
            self.queue.changed.notify_all();
        }
    }

    fn enter(&self, lanes: &mut [Lane; 2], next: Stage) {
        let mut stage = lock(&self.stage);
        let lane = &mut lanes[self.lane];
        *lane.count(*stage) -= 1;
        *lane.count(next) += 1;
        *stage = next;
    }
}

/// A panic in one thread ends the others, which may wait for it, and is passed on.
impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.queue.stop.store(true, Ordering::Relaxed);
            self.queue.changed.notify_all();
        }
    }
}

/// The items of one map.
#[derive(Debug)]
struct Queue<'a> {
    pace: &'a Pace,
    lanes: Mutex<[Lane; 2]>,
    changed: Condvar,
    stop: AtomicBool,
}

/// Items of one kind: those that wait, as positions, and how many are at each stage.
#[derive(Debug)]
struct Lane {
    waiting: std::vec::IntoIter<u32>,
    asking: usize,
    moving: usize,
    ending: usize,
}

impl Lane {
    fn active(&self) -> usize {
        self.asking + self.moving + self.ending
    }

    fn count(&mut self, stage: Stage) -> &mut usize {
        match stage {
            Stage::Asking => &mut self.asking,
            Stage::Moving => &mut self.moving,
            Stage::Ending => &mut self.ending,
        }
    }
}

impl Queue<'_> {
    /// Takes the next item that may be started now: its lane and its position.
    fn next(&self, lanes: &mut [Lane; 2]) -> Option<(usize, usize)> {
        let most = self.pace.most;
        let [large, little] = &*lanes;
        let limit = [LARGE, LITTLE].map(|lane| lock(&self.pace.climbers[lane]).limit);
        // Some places are kept for small items, so that they do not all come last.
        let kept = if little.waiting.len() > 0 { most / 4 } else { 0 };
        let may = large.asking + large.moving < limit[LARGE] || large.asking < limit[LITTLE];
        let lane = if large.waiting.len() > 0 && may && large.active() < most - kept {
            LARGE
        } else if little.waiting.len() > 0 && little.active() < limit[LITTLE] {
            LITTLE
        } else {
            return None;
        };
        if self.stop.load(Ordering::Relaxed) || !self.pace.take_place() {
            return None;
        }
        let at = lanes[lane].waiting.next()?;
        lanes[lane].asking += 1;
        Some((lane, at as usize))
    }

    /// Ends a turn. Returns the next item for the same thread.
    fn after(&self, turn: &Turn<'_>) -> Option<(usize, usize)> {
        let stage = *lock(&turn.stage);
        let asked = turn.lane == LITTLE || stage == Stage::Asking;
        let more = asked && lock(&self.pace.climbers[LITTLE]).note(1, Instant::now());
        let mut lanes = lock(&self.lanes);
        *lanes[turn.lane].count(stage) -= 1;
        self.pace.busy.fetch_sub(1, Ordering::Relaxed);
        if more || stage == Stage::Moving {
            self.changed.notify_all();
        }
        self.next(&mut lanes)
    }
}

/// How often a map looks whether more may be started.
const LOOK: Duration = Duration::from_millis(100);
fn in_order<R>(results: Mutex<Vec<(usize, R)>>) -> Vec<R> {
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_unstable_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[test]
    fn results_keep_the_order_and_the_first_error_stops_the_rest() {
        let items: Vec<u32> = (0..1000).collect();
        for pace in [Pace::fixed(1), Pace::fixed(8), Pace::up_to(1), Pace::default()] {
            let doubled: Vec<u32> = items.iter().map(|n| n * 2).collect();
            assert_eq!(pace.map(&items, || (), |(), n| Ok(n * 2)).unwrap(), doubled);
            assert_eq!(pace.share(&items, |n| Ok(n * 2)).unwrap(), doubled);
            let sum = AtomicU32::new(0);
            let add = |(): &mut (), n: &u32, turn: &Turn<'_>| {
                turn.start();
                turn.moved(u64::from(*n) << 12);
                sum.fetch_add(*n, Ordering::Relaxed);
                Ok(())
            };
            pace.sized(&items, |n| u64::from(*n) << 12, || (), add).unwrap();
            assert_eq!(sum.into_inner(), items.iter().sum::<u32>());
            let seen = AtomicU32::new(0);
            let fail = |n: &u32| {
                seen.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_micros(100));
                if *n == 3 { Err(Error::new(Code::Io, "no")) } else { Ok(()) }
            };
            assert!(pace.map(&items, || (), |(), n| fail(n)).is_err());
            assert!(seen.swap(0, Ordering::Relaxed) < 1000);
            assert!(pace.share(&items, fail).is_err());
            assert!(seen.into_inner() < 1000);
            assert_eq!(pace.busy.into_inner(), 0);
        }
    }

    /// The most that were worked on at the same time.
    #[derive(Default)]
    struct Peak(AtomicUsize, AtomicUsize);

    impl Peak {
        fn during(&self, work: impl FnOnce()) {
            self.1.fetch_max(self.0.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            work();
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn no_more_than_the_upper_bound_is_worked_on_at_once_also_within_an_item() {
        for most in [1, 2, 5] {
            let (pace, all, moving) = (Pace::up_to(most), Peak::default(), Peak::default());
            let sizes: Vec<u64> = (0..40).map(|n| if n % 2 == 0 { 2 << 20 } else { 10 }).collect();
            let wait = || std::thread::sleep(Duration::from_millis(2));
            let work = |(): &mut (), size: &u64, turn: &Turn<'_>| {
                turn.start();
                moving.during(|| {
                    all.during(wait);
                    turn.moved(*size);
                });
                pace.share(&[2; 4], |_| {
                    all.during(wait);
                    Ok(())
                })
                .map(drop)
            };
            pace.sized(&sizes, |size| *size, || (), work).unwrap();
            assert!(all.1.into_inner() <= most, "{most}");
        }
    }

    #[test]
    fn what_is_done_beside_others_needs_a_free_place() {
        let pace = Pace::up_to(2);
        assert_eq!(pace.beside(|| pace.beside(|| pace.beside(|| 1))), Some(Some(None)));
        assert_eq!(pace.beside(|| 2), Some(2));
    }

    #[test]
    fn a_panic_in_one_thread_ends_those_that_wait_for_it() {
        let sizes = vec![8 << 20; 20];
        let panics = |(): &mut (), size: &u64, turn: &Turn<'_>| {
            turn.start();
            turn.moved(*size / 4);
            panic!("on purpose");
        };
        let all = std::panic::AssertUnwindSafe(|| Pace::up_to(4).sized(&sizes, |size| *size, || (), panics));
        assert!(std::panic::catch_unwind(all).is_err());
    }
}
