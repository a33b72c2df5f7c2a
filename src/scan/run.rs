//! A run: contents come in as a bundle is read, each different one once, and go to every scanner that has no earlier
//! verdict about it.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::content::{HELD, Taken, take_rest, take_small};
use super::gate::{Gate, lock};
use super::line::Line;
use super::memory_file::MemoryFile;
use super::opener::{self, Inside, Way};
use super::proof;
use super::queue::{Job, Queue};
use super::results::{Done, Key, Place, Results, Seen};
use super::{Answer, Content, Engine, Finding, Origin, Session, Store, Summary, Used};
use crate::archive::{Budget, Limits, Reason, Stop, Trouble};
use crate::content::facts::{self, Fact};
use crate::error::{Code, Error, Result};
use crate::observer::Observer;

/// Bytes of contents for each session of a scanner.
const SESSION: u64 = 34 << 20;
/// Contents that wait for each session.
const WAITING: usize = 64;
/// The most members of a found archive that are scanned to name the bad ones.
const TO_NAME: usize = 10_000;

/// Settings of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The limits of archives.
    pub limits: Limits,
    /// The largest content that is held in a file in memory.
    pub memory_file: u64,
    /// Sessions of each scanner.
    pub sessions: usize,
    /// The time, in seconds since 1970, for verdicts that are kept.
    pub now: u64,
}

/// A scanner, with its earlier verdicts: those that count, and those that are written.
pub type Scanner = (Box<dyn Engine>, Option<Store>);

/// Is told at once what a scanner has found.
pub(super) type Told<'t> = dyn Fn(&Finding) + Sync + 't;

/// A run.
pub struct Scan<'a> {
    lines: Vec<Line>,
    stores: Vec<Option<Store>>,
    /// Whether earlier verdicts count.
    earlier: bool,
    options: Options,
    gate: Arc<Gate>,
    results: Mutex<Results>,
    observer: &'a dyn Observer,
    told: &'a Told<'a>,
    dead: AtomicBool,
    ended: Mutex<Option<String>>,
}

/// Proves the scanners, and scans what `feed` hands over. Returns what `feed` returned, and what was found.
///
/// # Errors
/// [`Code::IncompleteCheck`] if a scanner cannot be used: then nothing was scanned.
pub fn start<R>(
    scanners: Vec<Scanner>,
    earlier: bool,
    options: Options,
    observer: &dyn Observer,
    told: &Told<'_>,
    feed: impl FnOnce(&Scan<'_>) -> Result<R>,
) -> Result<(Result<R>, Summary)> {
    MemoryFile::of(b"").map_err(|e| {
        Error::new(Code::IncompleteCheck, format!("contents cannot be held in memory for the scanners: {e}"))
            .state("nothing was scanned")
            .hint("scan on Linux, where files in memory can be sealed")
    })?;
    let sessions = options.sessions.max(1);
    let (mut lines, mut stores) = (Vec::new(), Vec::new());
    for (engine, store) in scanners {
        proof::basic(engine.as_ref(), observer)?;
        lines.push(Line::new(engine, Queue::new(WAITING * sessions, SESSION * sessions as u64)));
        stores.push(store);
    }
    let scan = Scan {
        gate: Gate::new(SESSION * (sessions * lines.len()) as u64),
        lines,
        stores,
        earlier,
        options,
        results: Mutex::default(),
        observer,
        told,
        dead: AtomicBool::new(false),
        ended: Mutex::default(),
    };
    let fed = std::thread::scope(|threads| {
        for at in 0..scan.lines.len() {
            for _ in 0..sessions {
                let scan = &scan;
                threads.spawn(move || scan.work(at));
            }
        }
        let closing = Closing(&scan);
        let fed = feed(&scan);
        if fed.is_err() {
            scan.lines.iter().for_each(|line| line.queue.kill());
        }
        drop(closing);
        fed
    });
    scan.stores.iter().flatten().try_for_each(Store::flush)?;
    let used = scan.lines.iter().zip(&scan.stores);
    let used = used.map(|(line, store)| Used {
        identity: line.engine.identity().clone(),
        proof: line.proof(),
        writes: line.engine.writes(),
        kept: store.is_some(),
    });
    let mut summary = lock(&scan.results).summary(used.collect());
    summary.ended = lock(&scan.ended).take();
    Ok((fed, summary))
}

/// The workers end when nothing more comes, also after a panic.
struct Closing<'s, 'a>(&'s Scan<'a>);

impl Drop for Closing<'_, '_> {
    fn drop(&mut self) {
        self.0.lines.iter().for_each(|line| line.queue.close());
    }
}

/// A worker that panics takes nothing any more.
struct Working<'s, 'a>(&'s Scan<'a>);

impl Drop for Working<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end("a thread of this program failed".to_owned());
        }
    }
}

impl Scan<'_> {
    /// Adds a blob or file of the bundle that contents come from.
    pub fn origin(&self, origin: Origin) -> u32 {
        let mut results = lock(&self.results);
        results.origins.push(origin);
        u32::try_from(results.origins.len() - 1).unwrap_or(u32::MAX)
    }

    /// Whether the run ended early.
    pub fn is_over(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Scans a content of the bundle. `size` is its size if it is known.
    ///
    /// # Errors
    /// Those of reading it; [`Code::IncompleteCheck`] when the run ends because a scanner fails.
    pub fn content(&self, origin: u32, path: &[u8], size: Option<u64>, stream: &mut dyn Read) -> Result<()> {
        if self.is_over() {
            return Err(self.over());
        }
        let place = || Place::Top(origin, path.into());
        let beginning = match take_small(stream, size) {
            Ok(Taken::Whole(content)) => return self.settle(content, place()),
            Ok(Taken::Beginning(beginning)) => beginning,
            Err((partial, stop)) => return self.partly(Some(partial), stop, place()),
        };
        let expected = size.unwrap_or(u64::MAX).clamp(HELD as u64, self.options.memory_file);
        let hold = self.gate.hold(expected, self.observer)?;
        match take_rest(&beginning, stream, self.options.memory_file) {
            Ok(mut content) => {
                content.hold = Some(hold);
                drop(beginning);
                self.settle(content, place())
            }
            Err((partial, stop)) => {
                let partial = partial.map(|mut partial| {
                    partial.hold = Some(hold);
                    partial
                });
                self.partly(partial, stop, place())
            }
        }
    }

    /// A content that could not be read to its end: what was read is scanned.
    fn partly(&self, partial: Option<Content>, stop: Stop, place: Place) -> Result<()> {
        if let Some(partial) = partial {
            self.settle(partial, place.clone())?;
        }
        match stop {
            Stop::Fatal(e) => Err(e),
            Stop::Trouble(trouble) => {
                lock(&self.results).unread(place, trouble);
                Ok(())
            }
        }
    }

    /// Something of the bundle was not read to its end.
    pub fn unread(&self, origin: u32, reason: Reason, why: &str) {
        lock(&self.results).unread(Place::Top(origin, Box::default()), Trouble::new(reason, why));
    }

    /// Notes a fact about something at this path.
    pub fn fact(&self, origin: u32, path: &[u8], fact: Fact) {
        lock(&self.results).notice(fact, Place::Top(origin, path.into()));
    }

    /// A content with its digest: asks whoever has no verdict about it.
    fn settle(&self, content: Content, place: Place) -> Result<()> {
        let key = (content.digest, 0);
        if content.len() == 0 {
            return Ok(());
        }
        if lock(&self.results).begin(key, content.len(), place.clone()) != Seen::New {
            return Ok(());
        }
        for fact in facts::of_content(&content.first(facts::FIRST)) {
            lock(&self.results).notice(fact, place.clone());
        }
        let times: Vec<Option<u64>> =
            self.stores.iter().map(|store| store.as_ref().filter(|_| self.earlier)?.get(&content.digest)).collect();
        let needed: Vec<usize> = times.iter().enumerate().filter(|(_, t)| t.is_none()).map(|(at, _)| at).collect();
        if let Some(time) = times.iter().flatten().min().filter(|_| needed.is_empty()) {
            let mut results = lock(&self.results);
            results.earlier.note(*time);
            results.known(key);
            return Ok(());
        }
        let content = Arc::new(content);
        for at in &needed {
            self.lines[*at].prove(self.observer)?;
            self.ask(*at, &content, key, key)?;
        }
        if let Some(form) = content.form() {
            let mut inside = Queued { scan: self, top: key, needed: &needed };
            opener::open(&content, form, self.options.limits, self.lines.len(), &mut inside)?;
        }
        let done = lock(&self.results).finish(key);
        self.keep(done)
    }

    fn ask(&self, line: usize, content: &Arc<Content>, own: Key, top: Key) -> Result<()> {
        lock(&self.results).ask(own, top, line);
        let job = Job { content: Arc::clone(content), own, top };
        match self.lines[line].queue.push(job, self.observer)? {
            true => Ok(()),
            false => Err(self.over()),
        }
    }

    fn keep(&self, done: Done) -> Result<()> {
        for (digest, asked) in done {
            let asked = self.stores.iter().enumerate().filter(|(at, _)| asked & (1 << at) != 0);
            let stores = asked.filter_map(|(_, store)| store.as_ref());
            stores.into_iter().try_for_each(|store| store.put(&digest, self.options.now))?;
        }
        Ok(())
    }

    fn over(&self) -> Error {
        let why = lock(&self.ended).clone().unwrap_or_default();
        Error::new(Code::IncompleteCheck, format!("the run ended: {why}"))
    }

    fn end(&self, why: String) {
        lock(&self.ended).get_or_insert(why);
        self.dead.store(true, Ordering::Relaxed);
        self.lines.iter().for_each(|line| line.queue.kill());
    }

    /// A session of a scanner, to the end of its queue.
    fn work(&self, at: usize) {
        let _working = Working(self);
        let line = &self.lines[at];
        let mut session = line.engine.session(self.observer);
        while let Some(jobs) = line.queue.take(line.engine.batch()) {
            let contents: Vec<&Content> = jobs.iter().map(|job| job.content.as_ref()).collect();
            let answers = session.scan(&contents);
            for (job, answer) in jobs.iter().zip(answers) {
                if self.observer.stopped().is_some() {
                    line.queue.kill();
                    return;
                }
                let answer = line.weigh(answer, job.content.len(), self.observer);
                if line.too_many_failures(&answer) {
                    let name = &line.engine.identity().name;
                    let why = if let Answer::Failed(why) = &answer { why.as_str() } else { "" };
                    self.end(format!("the scanner `{name}` failed more than 10 times in a row: {why}"));
                }
                if let Answer::Found(names) = &answer {
                    let found = lock(&self.results).just_found(&job.own, &line.engine.identity().name, names);
                    found.iter().for_each(self.told);
                    self.name_members(at, session.as_mut(), job);
                }
                let done = lock(&self.results).answered(job.own, job.top, at, answer);
                if let Err(e) = self.keep(done) {
                    self.end(e.message().to_owned());
                }
            }
            line.queue.done(jobs.iter().map(|job| job.content.len()).sum());
        }
    }

    /// Something was found in a content: if it is an archive, which of its members has it.
    fn name_members(&self, at: usize, session: &mut dyn Session, job: &Job) {
        let Some(form) = job.content.form().filter(|form| form.is_opened()).filter(|_| job.own.1 == 0) else { return };
        let found = Vec::new();
        let mut inside = Naming { scan: self, line: at, session, left: TO_NAME, found };
        // What cannot be opened was told before.
        let _ = opener::open(&job.content, form, self.options.limits, self.lines.len(), &mut inside);
        let found = inside.found;
        let names: Vec<Vec<u8>> = found.iter().map(|(name, ..)| [name.as_slice(), b"!"].concat()).collect();
        let mut results = lock(&self.results);
        for ((name, key, size, answer), inner) in found.into_iter().zip(&names) {
            // An archive is not named beside its bad member.
            if names.iter().any(|other| other.len() > inner.len() && other.starts_with(inner)) {
                continue;
            }
            results.found(key, size, Place::Inside(job.top.0, name.into()), at, answer);
        }
    }
}

/// The second part of a key for what a scanner sees.
fn number(line: usize) -> u8 {
    u8::try_from(line + 1).unwrap_or(u8::MAX)
}

/// Members that go to scanners which have not proved that they open what the members are in.
struct Queued<'s, 'a> {
    scan: &'s Scan<'a>,
    top: Key,
    needed: &'s [usize],
}

impl Inside for Queued<'_, '_> {
    fn wanted(&mut self, way: &Way, budget: &Budget) -> Vec<usize> {
        let covered = |at: &usize| {
            let sent = way.sent[*at];
            let (inflated, members) = (budget.inflated() - sent.inflated, budget.members() - sent.members);
            self.scan.lines[*at].covers(&way.chain[sent.depth..], sent.size, inflated, members)
        };
        self.needed.iter().copied().filter(|at| way.each || !covered(at)).collect()
    }

    fn trusts(&self, way: &Way) -> bool {
        let lines = self.needed.iter().map(|at| (&self.scan.lines[*at], way.sent[*at]));
        lines.into_iter().any(|(line, sent)| line.covers(&way.chain[sent.depth..], sent.size, 0, 0))
    }

    fn member(&mut self, name: &[u8], content: &Arc<Content>, wanted: &[usize]) -> Result<()> {
        for at in wanted {
            let own = (content.digest, number(*at));
            let place = Place::Inside(self.top.0, name.into());
            let seen = lock(&self.scan.results).begin(own, content.len(), place);
            match seen {
                Seen::Clean => {}
                Seen::Open => lock(&self.scan.results).wait(own, self.top, *at),
                Seen::New => {
                    self.scan.ask(*at, content, own, self.top)?;
                    // Its answer is the last that is to be done about it.
                    let done = lock(&self.scan.results).finish(own);
                    self.scan.keep(done)?;
                }
            }
        }
        Ok(())
    }

    fn trouble(&mut self, name: &[u8], trouble: Trouble) {
        lock(&self.scan.results).trouble(self.top, name, trouble);
    }

    fn enough(&self) -> Result<bool> {
        self.scan.observer.check()?;
        if self.scan.is_over() { Err(self.scan.over()) } else { Ok(false) }
    }
}

/// Members of a content in which something was found, to name the bad ones.
struct Naming<'s, 'a, 'e> {
    scan: &'s Scan<'a>,
    line: usize,
    session: &'e mut dyn Session,
    left: usize,
    /// Names, digests, sizes and answers.
    found: Vec<(Vec<u8>, Key, u64, Answer)>,
}

impl Inside for Naming<'_, '_, '_> {
    fn wanted(&mut self, _: &Way, _: &Budget) -> Vec<usize> {
        vec![self.line]
    }

    fn member(&mut self, name: &[u8], content: &Arc<Content>, _: &[usize]) -> Result<()> {
        self.left = self.left.saturating_sub(1);
        if let Some(answer @ Answer::Found(_)) = self.session.scan(&[content]).pop() {
            self.found.push((name.to_vec(), (content.digest, number(self.line)), content.len(), answer));
        }
        Ok(())
    }

    fn trouble(&mut self, _: &[u8], _: Trouble) {}

    fn trusts(&self, _: &Way) -> bool {
        false
    }

    fn enough(&self) -> Result<bool> {
        Ok(self.left == 0 || self.scan.is_over() || self.scan.observer.stopped().is_some())
    }
}
