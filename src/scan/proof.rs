//! A scanner proves itself: what it finds, up to which size, in which forms of archive, at which depth.

use std::collections::BTreeMap;
use std::io::Read;

use serde::Serialize;

use super::samples::{last_of, many, stores, text, wrap};
use super::{Answer, Content, Engine};
use crate::archive::Form;
use crate::error::{Code, Error, Result};
use crate::observer::Observer;

/// The size that is proved before the first content; more when it is needed.
pub const FIRST: u64 = 32 << 20;
/// A size below which a scanner that finds the probe alone is believed.
pub const LEAST: u64 = 64 << 10;
/// The members that are proved.
const MEMBERS: u64 = 5000;
/// The depth that is proved.
pub const DEPTH: usize = 4;

/// What a scanner has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// Whether there was one; without, no `OK` counts.
    pub made: bool,
    /// The size in bytes of the largest file at whose end it found the probe.
    pub size: u64,
    /// The most members of an archive of which it found the last.
    pub members: u64,
    /// The depth up to which it opens each form.
    pub forms: BTreeMap<&'static str, usize>,
}

impl Proof {
    /// Whether it has shown that it finds what is in such an archive: its forms from the outermost, the size of the
    /// outermost, and what was inflated and passed within it.
    pub fn covers(&self, chain: &[Form], size: u64, inflated: u64, members: u64) -> bool {
        let depth = |form: &Form| self.forms.get(form.title()).copied().unwrap_or(0);
        let forms = chain.iter().all(|form| depth(form) >= chain.len().min(DEPTH)) && chain.len() <= DEPTH;
        forms && size.max(inflated) <= self.size && members <= self.members
    }
}

/// (a) and (b): finds the probe, and nothing in plain text. A scanner without a probe is used without proof.
///
/// # Errors
/// [`Code::IncompleteCheck`]: it cannot be used.
pub fn basic(engine: &dyn Engine, observer: &dyn Observer) -> Result<()> {
    let name = &engine.identity().name;
    let refused = |why: String| {
        Error::new(Code::IncompleteCheck, format!("the scanner `{name}` {why}"))
            .state("nothing was scanned")
            .hint("a scanner is used only after it has found a test file and nothing in plain text")
    };
    let Some(probe) = engine.probe() else { return Ok(()) };
    let mut session = engine.session(observer);
    let mut ask = |bytes: &[u8]| {
        let answer = session.scan(&[&Content::of(bytes.to_vec())]).pop();
        observer.check().map(|()| answer.unwrap_or_else(|| Answer::failed("no answer")))
    };
    // A program that says nothing about plain text has found what it says something about.
    engine.learn(true);
    let mut plain = ask(&text())?;
    if matches!(plain, Answer::Found(_)) {
        engine.learn(false);
        plain = ask(&text())?;
    }
    match plain {
        Answer::Clean | Answer::Warned(_) => {}
        Answer::Found(names) => return Err(refused("finds something in plain text".into()).fact(names.join(", "))),
        Answer::NotOpened(why) | Answer::Failed(why) => {
            return Err(refused("gives no answer about plain text".into()).fact(why));
        }
    }
    match ask(probe)? {
        Answer::Found(_) => {}
        Answer::Failed(why) => return Err(refused("gives no answer about the test file".into()).fact(why)),
        _ => return Err(refused("does not find the test file".into())),
    }
    // Among many, and not the first of them.
    if engine.batch() > 1 {
        let (text, probe) = (Content::of(text()), Content::of(probe.to_vec()));
        let contents: Vec<&Content> = (1..engine.batch()).map(|_| &text).chain([&probe]).collect();
        let answers = session.scan(&contents);
        let right = answers.iter().zip(1..).all(|(a, n)| matches!(a, Answer::Found(_)) == (n == contents.len()));
        if !right || answers.len() != contents.len() {
            return Err(refused("does not find the test file among several".into()));
        }
    }
    Ok(())
}

/// (c) and (d): sizes and forms.
///
/// # Errors
/// Only an interruption.
pub fn full(engine: &dyn Engine, observer: &dyn Observer) -> Result<Proof> {
    let Some(probe) = engine.probe() else { return Ok(Proof::default()) };
    let mut proof = Proof { made: true, ..Proof::default() };
    proof.size = largest(engine, observer, 0, FIRST)?;
    let mut session = engine.session(observer);
    let mut finds = |bytes: Vec<u8>| {
        let answer = session.scan(&[&Content::of(bytes)]).pop();
        observer.check().map(|()| matches!(answer, Some(Answer::Found(_))))
    };
    let lost = |_| Error::new(Code::Internal, "a test file could not be made");
    // In a form that only stores, the probe stands in clear, and a scanner may find it without opening anything: there
    // it is packed in a form that the scanner opens.
    let mut packed: Option<Vec<u8>> = None;
    // Of forms that are not opened here nobody sees how they are packed, and a scanner that opens one way of it opens not
    // all.
    for form in Form::OPENED {
        let stores = stores(form);
        let Some(inner) = packed.as_deref().or((!stores).then_some(probe)) else { continue };
        let mut sample = wrap(form, if stores { inner } else { probe }).map_err(lost)?;
        if !finds(sample.clone())? {
            continue;
        }
        // Scanners look for zip files within other bytes: not there.
        if packed.is_none() && !stores && form != Form::Zip {
            packed = Some(sample.clone());
        }
        for _ in 1..DEPTH {
            sample = wrap(form, &sample).map_err(lost)?;
        }
        proof.forms.insert(form.title(), if finds(sample)? { DEPTH } else { 1 });
    }
    if let Some(packed) = packed.filter(|_| proof.forms.contains_key("tar"))
        && finds(many(&packed, MEMBERS))?
    {
        proof.members = MEMBERS;
    } else {
        proof.members = 1;
    }
    Ok(proof)
}

/// The largest size between `proved` and `wanted` that it searches to the end, to a mebibyte.
///
/// # Errors
/// Only an interruption.
pub fn largest(engine: &dyn Engine, observer: &dyn Observer, proved: u64, wanted: u64) -> Result<u64> {
    const STEP: u64 = 1 << 20;
    let Some(probe) = engine.probe() else { return Ok(0) };
    let finds = |size: u64| {
        let mut session = engine.session(observer);
        let mut tar = last_of(probe, size);
        let answer = match size <= FIRST {
            true => {
                let mut bytes = Vec::new();
                let _ = tar.read_to_end(&mut bytes);
                let content = super::content::take_rest(&bytes, &mut std::io::empty(), FIRST);
                drop(bytes);
                match content {
                    Ok(content) => session.scan(&[&content]).pop(),
                    Err(_) => None,
                }
            }
            false => Some(session.stream(size, &mut tar)),
        };
        observer.check().map(|()| matches!(answer, Some(Answer::Found(_))))
    };
    if finds(wanted)? {
        return Ok(wanted);
    }
    let mut good = proved;
    if good < LEAST {
        good = if finds(LEAST)? { LEAST } else { return Ok(0) };
    }
    let (mut low, mut high) = (good / STEP, wanted.div_ceil(STEP));
    while low + 1 < high {
        let middle = u64::midpoint(low, high);
        if finds(middle * STEP)? { (low, good) = (middle, middle * STEP) } else { high = middle }
    }
    Ok(good)
}
