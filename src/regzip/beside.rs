//! Blocks of pgzip, some of them made beside others: each depends on the 16 KiB before it alone (MB-ENC-01).

use std::collections::VecDeque;
use std::io::{Error, Result, Write};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::{Builder, JoinHandle};

use super::chunked::Chunked;
use super::{Family, Help, Level};

/// Blocks that wait to be written, made or not.
const WAITING: usize = 4;

/// What holds and makes a block, and what is made.
struct Job {
    encoder: Box<Chunked>,
    made: Vec<u8>,
}

impl Job {
    fn new(family: Family, level: Level) -> Self {
        Self { encoder: Box::new(Chunked::new(family, level, None)), made: Vec::new() }
    }

    fn run(&mut self, last: bool) {
        self.encoder.end(last, &mut self.made);
    }
}

enum Block {
    Made(Job),
    Making(JoinHandle<Option<Job>>),
}

/// Makes the blocks, in as many threads as there is help.
pub(super) struct Beside {
    family: Family,
    level: Level,
    size: usize,
    help: Arc<dyn Help>,
    /// What is being filled.
    next: Job,
    waiting: VecDeque<Block>,
    idle: Vec<Job>,
}

impl Beside {
    pub(super) fn new(family: Family, level: Level, size: usize, help: Arc<dyn Help>) -> Self {
        let mut next = Job::new(family, level);
        next.encoder.behind(&[]);
        Self { family, level, size, help, next, waiting: VecDeque::new(), idle: Vec::new() }
    }

    /// Takes input and writes the blocks that are made by now.
    pub(super) fn write(&mut self, mut input: &[u8], out: &mut dyn Write) -> Result<()> {
        while !input.is_empty() {
            let (now, later) = input.split_at(input.len().min(self.size - self.next.encoder.held()));
            self.next.encoder.fill(now);
            input = later;
            if self.next.encoder.held() == self.size {
                self.make(false);
                self.give(WAITING, out)?;
            }
        }
        Ok(())
    }

    /// Makes the last block, which is shorter than the others and may be empty, and writes all.
    pub(super) fn finish(&mut self, out: &mut dyn Write) -> Result<()> {
        self.make(true);
        self.give(0, out)
    }

    /// Makes the block that is filled, here or in another thread, and begins the next.
    fn make(&mut self, last: bool) {
        let mut after = self.idle.pop().unwrap_or_else(|| Job::new(self.family, self.level));
        after.encoder.behind(self.next.encoder.tail());
        let mut job = std::mem::replace(&mut self.next, after);
        if !last && let Some(place) = self.help.place() {
            let (give, take) = sync_channel::<Job>(1);
            let made = Builder::new().name("encoder".to_owned()).spawn(move || {
                let _place = place;
                let mut job = take.recv().ok()?;
                job.run(false);
                Some(job)
            });
            // Without another thread, here.
            if let Ok(thread) = made {
                match give.send(job) {
                    Ok(()) => return self.waiting.push_back(Block::Making(thread)),
                    Err(back) => job = back.0,
                }
            }
        }
        job.run(last);
        self.waiting.push_back(Block::Made(job));
    }

    /// Writes what is made, in order; waits while more than `most` blocks do.
    fn give(&mut self, most: usize, out: &mut dyn Write) -> Result<()> {
        while let Some(first) = self.waiting.front() {
            if matches!(first, Block::Making(thread) if !thread.is_finished()) && self.waiting.len() <= most {
                return Ok(());
            }
            let mut job = match self.waiting.pop_front() {
                Some(Block::Made(job)) => job,
                Some(Block::Making(thread)) => {
                    thread.join().ok().flatten().ok_or_else(|| Error::other("a block could not be made"))?
                }
                None => return Ok(()),
            };
            out.write_all(&job.made)?;
            job.made.clear();
            self.idle.push(job);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::regzip::{BlockSize, Gzip, Method, Recipe};

    /// Places for so many threads more, and how many were taken.
    struct Places(AtomicUsize, AtomicUsize);

    impl Help for Places {
        fn place(&self) -> Option<Box<dyn Send>> {
            let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).ok();
            taken.map(|_| {
                self.1.fetch_add(1, Ordering::Relaxed);
                Box::new(()) as Box<dyn Send>
            })
        }
    }

    /// MB-ENC-01.
    #[test]
    fn blocks_made_beside_others_are_the_same_bytes_in_the_same_order() {
        let header = [0x1f, 0x8b, 8, 0, 0, 9, 0x6e, 0x88, 0, 0xff];
        let mut state = 1u64;
        let content: Vec<u8> = (0..(1 << 21) + 300_000)
            .map(|i| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                if i % 7 < 5 { (i / 1000) as u8 } else { (state >> 60) as u8 }
            })
            .collect();
        let size = BlockSize::QuarterMiB.bytes();
        for (family, level) in [(Family::A, Level::L5), (Family::B, Level::L6), (Family::B, Level::L1)] {
            let recipe = Recipe::new(family, level, Method::Pgzip(BlockSize::QuarterMiB), &header).unwrap();
            for (length, places) in [(0, 9), (1, 0), (size, 9), (4 * size, 2), (content.len(), 0), (content.len(), 100)]
            {
                let mut alone = Gzip::new(&recipe, Vec::new());
                alone.write_all(&content[..length]).unwrap();
                let help = Arc::new(Places(AtomicUsize::new(places), AtomicUsize::new(0)));
                let mut beside = Gzip::with_help(&recipe, Vec::new(), help.clone());
                content[..length].chunks(70_001).for_each(|piece| beside.write_all(piece).unwrap());
                assert!(alone.finish().unwrap() == beside.finish().unwrap(), "{family:?} {length} {places}");
                assert_eq!(help.1.load(Ordering::Relaxed), places.min(length / size));
            }
        }
    }
}
