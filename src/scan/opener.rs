//! Opens a content level by level, and hands over what is in it.

use std::io::{Cursor, Read};
use std::sync::Arc;

use super::Content;
use super::content::{HELD, Taken, take_rest, take_small};
use crate::archive::{self, Budget, Form, Limits, Member, Part, Reason, Stop, Trouble};
use crate::error::{Error, Result};

/// The most bytes of one member that are held in memory.
const MEMBER: u64 = 32 << 20;
/// The longest name of a member in a message.
const NAME: usize = 1024;

/// What is done with what is found inside.
pub(super) trait Inside {
    /// Which scanners, by number, have to get a member with this way to it on their own.
    fn wanted(&mut self, way: &Way, budget: &Budget) -> Vec<usize>;
    /// Takes a member for these scanners.
    fn member(&mut self, name: &[u8], content: &Arc<Content>, wanted: &[usize]) -> Result<()>;
    /// Something was not opened.
    fn trouble(&mut self, name: &[u8], trouble: Trouble);
    /// Whether a scanner is trusted to open what this way leads to.
    fn trusts(&self, way: &Way) -> bool;
    /// Whether there is nothing more to do.
    fn enough(&self) -> Result<bool>;
}

/// The way to a member: the forms from the outermost, and for each scanner the content that it was last sent on it.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) chain: Vec<Form>,
    /// The last form is packed as not every reader sees it: what is in it goes to all.
    pub(super) each: bool,
    pub(super) sent: Vec<Sent>,
}

/// A content that a scanner was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) depth: usize,
    pub(super) size: u64,
    pub(super) inflated: u64,
    pub(super) members: u64,
}

/// Opens `content`, a form of which is `form`.
///
/// # Errors
/// Those of `inside`.
pub(super) fn open(
    content: &Content,
    form: Form,
    limits: Limits,
    scanners: usize,
    inside: &mut dyn Inside,
) -> Result<()> {
    let sent = Sent { depth: 0, size: content.len(), inflated: 0, members: 0 };
    let way = Way { chain: Vec::new(), each: false, sent: vec![sent; scanners] };
    let budget = Budget::new(limits);
    Opener { inside, budget: &budget }.form(b"", form, Input::Held(content), &way)
}

enum Input<'a> {
    Held(&'a Content),
    Stream(&'a mut dyn Read),
}

struct Opener<'a> {
    inside: &'a mut dyn Inside,
    budget: &'a Budget,
}

impl Opener<'_> {
    /// Opens one level.
    fn form(&mut self, name: &[u8], form: Form, input: Input<'_>, way: &Way) -> Result<()> {
        let mut way = way.clone();
        way.chain.push(form);
        if !form.is_opened() {
            self.inside.trouble(name, Trouble::new(Reason::UnknownForm, archive::unopened(form)));
            return Ok(());
        }
        if way.chain.len() > self.budget.limits().depth {
            let text = format!("is nested more than {} levels deep", self.budget.limits().depth);
            self.inside.trouble(name, Trouble::new(Reason::TooDeep, text));
            return Ok(());
        }
        let held = match &input {
            Input::Held(content) => Some(*content),
            Input::Stream(_) => None,
        };
        let before = self.budget.replace_odd(false);
        self.walk(name, form, input, &way)?;
        let odd = self.budget.replace_odd(before) && self.inside.trusts(&way);
        match held {
            Some(content) if odd => {
                way.each = true;
                let before = self.budget.replace_odd(false);
                self.walk(name, form, Input::Held(content), &way)?;
                self.budget.replace_odd(before);
            }
            None if odd => {
                let text = "is packed in a way that not every reader opens, and is too large to be scanned in parts";
                self.inside.trouble(name, Trouble::new(Reason::TooLarge, text));
            }
            _ => {}
        }
        Ok(())
    }

    /// Visits the members of one level.
    fn walk(&mut self, name: &[u8], form: Form, input: Input<'_>, way: &Way) -> Result<()> {
        let budget = self.budget;
        let mut fatal: Option<Error> = None;
        let mut visit = |member: &[u8], what: Member<'_>| {
            let mut full = name.to_vec();
            full.push(b'!');
            full.extend_from_slice(&member[..member.len().min(NAME)]);
            self.member(&full, what, way)
        };
        let ended = match (form, input) {
            (Form::Zip, Input::Held(content)) => archive::open_zip(content, budget, &mut visit),
            (_, Input::Held(content)) => archive::open(form, &mut Part::whole(content), budget, &mut visit),
            (_, Input::Stream(stream)) => archive::open(form, stream, budget, &mut visit),
        };
        match ended {
            Ok(()) => {}
            Err(Stop::Trouble(trouble)) => self.inside.trouble(name, trouble),
            Err(Stop::Fatal(e)) => fatal = Some(e),
        }
        fatal.map_or(Ok(()), Err)
    }

    fn member(&mut self, name: &[u8], what: Member<'_>, way: &Way) -> Result<(), Stop> {
        if self.inside.enough()? {
            return Ok(());
        }
        let stream = match what {
            Member::Closed(trouble) => {
                self.inside.trouble(name, trouble);
                return Ok(());
            }
            Member::Content(stream) => stream,
        };
        let beginning = match take_small(stream, None) {
            Ok(Taken::Whole(content)) => return Ok(self.whole(name, &Arc::new(content), way)?),
            Ok(Taken::Beginning(beginning)) => beginning,
            Err((partial, stop)) => {
                self.send(name, &Arc::new(partial), way)?;
                return Err(stop);
            }
        };
        let form = archive::detect(&beginning);
        let wanted = !self.inside.wanted(way, self.budget).is_empty();
        if !wanted && form != Some(Form::Zip) {
            return match form {
                Some(form) => {
                    let mut whole = Cursor::new(beginning).chain(stream);
                    Ok(self.form(name, form, Input::Stream(&mut whole), way)?)
                }
                None => self.skip(name, beginning, stream),
            };
        }
        match take_rest(&beginning, stream, MEMBER) {
            Ok(content) => Ok(self.whole(name, &Arc::new(content), way)?),
            Err((partial, stop)) => {
                if let Some(partial) = partial {
                    self.send(name, &Arc::new(partial), way)?;
                    return Err(stop);
                }
                match stop {
                    Stop::Fatal(_) => Err(stop),
                    Stop::Trouble(_) => {
                        let text =
                            format!("is larger than {MEMBER} bytes within an archive, more than is held in memory");
                        self.inside.trouble(name, Trouble::new(Reason::TooLarge, text));
                        Ok(())
                    }
                }
            }
        }
    }

    /// Skips a large member that no scanner has to get on its own. A zip file shows only at its end.
    fn skip(&mut self, name: &[u8], mut tail: Vec<u8>, stream: &mut dyn Read) -> Result<(), Stop> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => tail.extend_from_slice(&buffer[..count]),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
            if tail.len() > HELD {
                tail.drain(..tail.len() - archive::TAIL);
            }
        }
        if archive::ends_as_zip(&tail) {
            let text = "ends as a zip file, and is too large to be opened within an archive";
            self.inside.trouble(name, Trouble::new(Reason::TooLarge, text));
        }
        Ok(())
    }

    fn whole(&mut self, name: &[u8], content: &Arc<Content>, way: &Way) -> Result<()> {
        let form = content.form();
        let way = self.send(name, content, way)?;
        match form {
            Some(form) => self.form(name, form, Input::Held(content), &way),
            None => Ok(()),
        }
    }

    /// Sends a member to those that have to get it. Returns the way from there on.
    fn send(&mut self, name: &[u8], content: &Arc<Content>, way: &Way) -> Result<Way> {
        let wanted = self.inside.wanted(way, self.budget);
        let mut way = way.clone();
        if wanted.is_empty() || content.len() == 0 {
            return Ok(way);
        }
        let sent = Sent {
            depth: way.chain.len(),
            size: content.len(),
            inflated: self.budget.inflated(),
            members: self.budget.members(),
        };
        self.inside.member(name, content, &wanted)?;
        wanted.iter().for_each(|scanner| way.sent[*scanner] = sent);
        way.each = false;
        Ok(way)
    }
}
