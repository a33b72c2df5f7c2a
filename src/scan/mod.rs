//! Scanners: virus scanners and other programs that look at content and say what they found.
//!
//! A scanner is not believed before it has shown what it finds ([`proof`]), and then only up to the size and within the
//! forms of archive that it has shown. Content goes to it from memory; nothing of a bundle is written to a disk.
//! Each different content is scanned once, wherever it lies.
//! Spec: `spec/scan.md`.

mod answer;
pub mod clamd;
mod config;
mod content;
mod gate;
mod line;
mod memory_file;
mod opener;
pub mod program;
pub mod proof;
mod queue;
mod results;
mod run;
mod samples;
mod store;
pub mod summary;
mod words;

use std::io::Read;

use crate::error::Result;
use crate::observer::Observer;

pub use answer::Answer;
pub use config::{Kind, MOST, Named, check_name, parse as parse_scanners};
pub use content::{Content, HELD};
pub use program::Program;
pub use run::{Options, Scan, Scanner, start};
pub use samples::eicar;
pub use store::Store;
pub use summary::{Earlier, Finding, Origin, Outcome, Spot, Summary, Used};

/// What a scanner is: the verdicts of another version, or with another database, are other verdicts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The name that the user gave, or `clamd`.
    pub name: String,
    /// The address or the command.
    pub how: String,
    /// The version, as it says.
    pub version: String,
    /// The version of its database, if it says.
    pub database: Option<String>,
    /// The time of its database, in seconds since 1970, if it says.
    pub database_time: Option<i64>,
    /// What else decides its verdicts; `None`: this cannot be known, and no verdict is kept.
    pub fingerprint: Option<String>,
}

/// A scanner that can be asked.
pub trait Engine: Send + Sync {
    /// What it is.
    fn identity(&self) -> &Identity;
    /// Opens a session. A session reconnects by itself.
    fn session<'a>(&'a self, observer: &'a dyn Observer) -> Box<dyn Session + 'a>;
    /// How many contents a session takes at once.
    fn batch(&self) -> usize;
    /// What its proof has to find: `None` if it gets none.
    fn probe(&self) -> Option<&[u8]>;
    /// Decides how its answers are read, from what it says of the probe and of plain text. A program that says nothing
    /// about plain text has found what it says something about.
    fn learn(&self, _silent: bool) {}
    /// What it writes to a disk, in words.
    fn writes(&self) -> Option<&'static str> {
        None
    }
}

/// A connection to a scanner, or the running of a program.
pub trait Session {
    /// Asks about contents: one answer for each, in their order.
    fn scan(&mut self, contents: &[&Content]) -> Vec<Answer>;
    /// Asks about a content of this size that is made as it is read.
    fn stream(&mut self, size: u64, content: &mut dyn Read) -> Answer;
}

/// That each scanner has a name of its own.
///
/// # Errors
/// [`crate::Code::Usage`]
pub fn check_names(engines: &[Box<dyn Engine>]) -> Result<()> {
    let mut names: Vec<&str> = engines.iter().map(|e| e.identity().name.as_str()).collect();
    names.sort_unstable();
    if let Some(two) = names.windows(2).find(|two| two[0] == two[1]) {
        let text = format!("two scanners have the name `{}`", two[0]);
        return Err(crate::error::Error::new(crate::error::Code::Usage, text).hint("give each a name: NAME=COMMAND"));
    }
    Ok(())
}
