//! The databases of rpm: sqlite with its write-ahead log, ndb and bdb, and the headers that all of them hold.

mod bdb;
mod header;
mod ndb;
mod sqlite;

pub use bdb::read as bdb;
pub use ndb::read as ndb;
pub use sqlite::read as sqlite;

#[cfg(test)]
mod tests;

use super::{Reading, Unreadable};

/// Adds the package of each header, which `next` gives to `take`.
fn headers(read: impl FnOnce(&mut dyn FnMut(&[u8])) -> Result<(), Unreadable>) -> Reading {
    let mut reading = Reading::default();
    let (mut rows, mut bad) = (0_usize, 0_usize);
    let mut why = None;
    let end = read(&mut |blob| {
        rows += 1;
        match header::package(blob) {
            Ok(Some(package)) => reading.push(package),
            Ok(None) => {}
            Err(Unreadable(reason)) => {
                bad += 1;
                why.get_or_insert(reason);
            }
        }
    });
    if let Some(why) = why {
        reading.problem(format!("has {bad} of {rows} headers that cannot be read: {why}"));
    }
    match end {
        Err(Unreadable(reason)) => reading.problem(reason),
        // rpm makes one for its first package; one without any was wiped, or its tree is damaged.
        Ok(()) if rows == 0 => reading.problem("has no row at all"),
        Ok(()) => {}
    }
    reading
}
