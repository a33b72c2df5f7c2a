//! `verify`: checks everything, writes nothing, opens no socket.

use crate::bundle::Inputs;
use crate::error::{Code, Error, Result};
use crate::ops::{Observer, Task};
use crate::verify::{Admission, Admitted, Conditions, Extent, Report, Trust, Visit, admit};

/// Checks a bundle. With `quick` the bytes of configurations and layers are left out, and the verdict is never good.
pub fn verify(
    inputs: Inputs,
    trust: &Trust,
    conditions: &Conditions,
    quick: bool,
    jobs: usize,
    observer: &dyn Observer,
) -> Result<Report> {
    if quick && inputs.is_stream() {
        return Err(Error::new(Code::Usage, "--quick needs a file: a stream has to be read anyway"));
    }
    let mut admitted = match admit(inputs, trust, conditions)? {
        Admission::Refused(report) => return Ok(report),
        Admission::Admitted(admitted) => admitted,
    };
    if quick {
        return admitted.conclude(true);
    }
    rest(&mut admitted, jobs, observer)
}

/// Reads every configuration and layer for its digest, and draws the verdict.
pub(super) fn rest(admitted: &mut Admitted<'_>, jobs: usize, observer: &dyn Observer) -> Result<Report> {
    let (items, bytes) = admitted.content();
    observer.begin(Task::Verify, items, bytes);
    let read = admitted.blobs(jobs, Extent::All, &|_, reader, buffer| {
        loop {
            observer.check()?;
            match reader.next(buffer)? {
                0 => break,
                n => observer.advance(n as u64),
            }
        }
        observer.item();
        Ok(Visit::Read)
    });
    observer.end();
    match read {
        Err(e) if e.code().is_verdict() => {}
        other => other.map_err(|e| e.interrupted("not everything was checked; there is no verdict"))?,
    }
    admitted.conclude(false)
}
