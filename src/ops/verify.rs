//! `verify`: checks everything, writes nothing, opens no connection.

use crate::bundle::Inputs;
use crate::bundle::index::Blob;
use crate::error::{Code, Error, Result};
use crate::ops::evidence::Files;
use crate::ops::{Observer, Task};
use crate::parallel::Pace;
use crate::verify::{
    Admission, Admitted, BlobReader, Conclusion, Conditions, Extent, Receiver, Report, Trust, Visit, admit,
};

/// Options of `verify`.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Skip the bytes of configurations and layers: the verdict is then never good.
    pub quick: bool,
    /// Threads.
    pub jobs: usize,
}

/// Checks a bundle.
pub fn verify(
    inputs: Inputs,
    trust: &Trust,
    conditions: &Conditions,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Report> {
    verify_with(inputs, trust, conditions, options, &Files::default(), observer)
}

/// As [`verify`], and adds the evidence of other programs to the report.
///
/// # Errors
/// Also [`Code::Usage`] when evidence is not about images of this bundle.
pub fn verify_with(
    inputs: Inputs,
    trust: &Trust,
    conditions: &Conditions,
    options: &Options,
    evidence: &Files,
    observer: &dyn Observer,
) -> Result<Report> {
    if options.quick && inputs.is_stream() {
        return Err(Error::new(Code::Usage, "--quick needs a file: a stream has to be read anyway"));
    }
    let admitted = match admit(inputs, trust, conditions)? {
        Admission::Refused(report) => return Ok(report),
        Admission::Admitted(admitted) => admitted,
    };
    let evidence = evidence.bind(&admitted, conditions.now)?;
    let report = match options.quick {
        true => admitted.conclude(true)?.into_report(),
        false => rest(*admitted, options.jobs, observer)?.into_report(),
    };
    Ok(Report { evidence, ..report })
}

/// Says who signed the bundle and its releases, and warns of what was found.
pub(super) fn announce(admitted: &Admitted<'_>, observer: &dyn Observer) {
    let report = admitted.report();
    let signers: Vec<&str> = report
        .signatures
        .iter()
        .filter(|s| s.is_good())
        .filter_map(|s| s.name.as_deref().or(s.key.as_deref()))
        .collect();
    match signers.is_empty() {
        true => observer.warn("the bundle's signature was not checked; it is taken because of --allow-unsigned"),
        false => {
            observer.say("Verified", &format!("index {}, signed by {}", report.bundle.index, signers.join(" and ")))
        }
    }
    for release in report.releases.iter().filter(|release| release.signed) {
        observer.say("Verified", &format!("release {}", release.title()));
    }
    for finding in report.findings() {
        observer.warn(&finding.message);
    }
}

/// Hashes every configuration and layer, and draws the verdict.
pub(super) fn rest<'a>(admitted: Admitted<'a>, jobs: usize, observer: &dyn Observer) -> Result<Conclusion<'a>> {
    let (items, bytes) = admitted.content();
    observer.begin(Task::Verify, items, bytes);
    let read = admitted.blobs(&Pace::fixed(jobs), Extent::All, &Reading(observer));
    observer.end();
    match read {
        Err(e) if e.code().is_verdict() => {}
        other => other.map_err(|e| e.interrupted("not everything was checked; there is no verdict"))?,
    }
    admitted.conclude(false)
}

/// A receiver that keeps nothing, so that everything is read.
struct Reading<'a>(&'a dyn Observer);

impl Receiver for Reading<'_> {
    fn has(&self, _: &Blob) -> Result<bool> {
        Ok(false)
    }

    fn receive(&self, _: &Blob, reader: &mut BlobReader<'_>, buffer: &mut [u8]) -> Result<Visit> {
        loop {
            self.0.check()?;
            match reader.next(buffer)? {
                0 => break,
                n => self.0.advance(n as u64),
            }
        }
        self.0.item();
        Ok(Visit::Read)
    }
}
