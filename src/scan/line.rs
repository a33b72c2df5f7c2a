//! A scanner in a run: its queue, its proof, and how often it failed.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use super::gate::lock;
use super::proof::{self, Proof};
use super::queue::Queue;
use super::{Answer, Engine};
use crate::archive::Form;
use crate::error::Result;
use crate::observer::{Observer, size};

/// More failures in a row end a run.
const FAILURES: u32 = 10;

pub(super) struct Line {
    pub(super) engine: Box<dyn Engine>,
    pub(super) queue: Queue,
    proof: OnceLock<Mutex<Proved>>,
    making: Mutex<()>,
    failures: AtomicU32,
}

struct Proved {
    proof: Proof,
    /// A size that it did not search to the end.
    failed: Option<u64>,
}

impl Line {
    pub(super) fn new(engine: Box<dyn Engine>, queue: Queue) -> Line {
        Line { engine, queue, proof: OnceLock::new(), making: Mutex::new(()), failures: AtomicU32::new(0) }
    }

    /// Makes the proof, unless it was made.
    pub(super) fn prove(&self, observer: &dyn Observer) -> Result<()> {
        if self.proof.get().is_some() {
            return Ok(());
        }
        let _turn = lock(&self.making);
        if self.proof.get().is_none() {
            let proof = proof::full(self.engine.as_ref(), observer)?;
            let failed = (proof.size < proof::FIRST).then_some(proof.size + 1);
            _ = self.proof.set(Mutex::new(Proved { proof, failed }));
        }
        Ok(())
    }

    /// What was proved; `None`: it was not needed.
    pub(super) fn proof(&self) -> Option<Proof> {
        self.proof.get().map(|proved| lock(proved).proof.clone())
    }

    pub(super) fn covers(&self, chain: &[Form], size: u64, inflated: u64, members: u64) -> bool {
        self.proof.get().is_some_and(|proved| lock(proved).proof.covers(chain, size, inflated, members))
    }

    /// Whether its answer about a content of this size counts. A larger size is proved when it is needed.
    pub(super) fn searches(&self, bytes: u64, observer: &dyn Observer) -> Result<bool> {
        let Some(proved) = self.proof.get() else { return Ok(false) };
        let mut proved = lock(proved);
        if !proved.proof.made {
            return Ok(false);
        }
        if bytes <= proved.proof.size {
            return Ok(true);
        }
        if proved.failed.is_some_and(|failed| bytes >= failed) {
            return Ok(false);
        }
        let before = proved.proof.size;
        for wanted in [bytes.next_power_of_two(), bytes.next_multiple_of(1 << 20)] {
            proved.proof.size = proof::largest(self.engine.as_ref(), observer, before, wanted)?.max(before);
            if bytes <= proved.proof.size {
                return Ok(true);
            }
        }
        proved.failed = Some(proved.proof.size + 1);
        Ok(false)
    }

    /// The answer as it counts.
    pub(super) fn weigh(&self, answer: Answer, bytes: u64, observer: &dyn Observer) -> Answer {
        if !matches!(answer, Answer::Clean | Answer::Warned(_)) {
            return answer;
        }
        match self.searches(bytes, observer) {
            Ok(true) => answer,
            Ok(false) => Answer::NotOpened(self.beyond()),
            Err(_) => Answer::failed("the run was stopped"),
        }
    }

    /// Why a size is too much.
    pub(super) fn beyond(&self) -> String {
        match self.proof() {
            Some(proof) if proof.made => {
                format!("larger than what the scanner proved to search ({})", size(proof.size))
            }
            _ => "the scanner has not proved what it finds".to_owned(),
        }
    }

    /// Counts an answer; true when there were too many failures in a row.
    pub(super) fn too_many_failures(&self, answer: &Answer) -> bool {
        match answer {
            Answer::Failed(_) => self.failures.fetch_add(1, Ordering::Relaxed) >= FAILURES,
            _ => {
                self.failures.store(0, Ordering::Relaxed);
                false
            }
        }
    }
}
