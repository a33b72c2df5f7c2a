//! Runs `spec/verify.py`, and gets the comparable result of this crate.

pub(crate) mod forms;
pub(crate) mod model;
pub(crate) mod mutate;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use mirror_bundle::ops::{self, Silent};
use mirror_bundle::verify::{CheckId, Conditions, Finding, Trust};

/// The time at which the mutated bundle is verified.
pub(crate) const NOW: &str = "2026-11-23T00:00:00Z";

/// The result of one of the two verifiers.
pub(crate) struct Verdict {
    /// The exit code of verification.md; 0: accepted.
    pub(crate) code: u8,
    pub(crate) text: String,
}

/// A running `verify.py --batch`.
pub(crate) struct SecondVerifier {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl SecondVerifier {
    pub(crate) fn start(arguments: &[String], folder: &Path) -> SecondVerifier {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("spec/verify.py");
        let mut child = Command::new("python3")
            .arg(script)
            .arg("--batch")
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is there");
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        SecondVerifier { child, input, output }
    }

    pub(crate) fn send(&mut self, bundle: &Path) {
        writeln!(self.input, "{}", bundle.display()).unwrap();
        self.input.flush().unwrap();
    }

    pub(crate) fn hear(&mut self) -> Verdict {
        let mut text = String::new();
        self.output.read_line(&mut text).unwrap();
        let code = match text.trim_end().split(' ').collect::<Vec<_>>()[..] {
            ["VERIFIED"] => 0,
            ["FAILED", code, ..] => code.parse().unwrap(),
            _ => panic!("verify.py says `{text}`"),
        };
        Verdict { code, text: text.trim_end().to_owned() }
    }

    pub(crate) fn ask(&mut self, bundle: &Path) -> Verdict {
        self.send(bundle);
        self.hear()
    }
}

impl Drop for SecondVerifier {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Findings of what only this crate does: to restore blobs from members.
const RESTORING: [&str; 3] =
    ["cannot be restored: ", " does not come out of the member that carries it", " is restored to another size than "];

/// The result of this crate, without the checks that `verify.py` lacks.
pub(crate) fn ours(bundle: &Path, (trust, conditions): &(Trust, Conditions)) -> Verdict {
    let options = ops::verify::Options { quick: false, jobs: 1 };
    let report = match ops::verify::verify(bundle.into(), trust, conditions, &options, &Silent) {
        Ok(report) => report,
        Err(e) => return Verdict { code: e.code().exit(), text: format!("{e:?}") },
    };
    const OURS_ALONE: [CheckId; 3] = [CheckId::ReleaseSignatures, CheckId::ReleasePayload, CheckId::ImageSignatures];
    let name = |f: &Finding| f.message.contains("has the name of a release");
    let findings = report.checks.iter().flat_map(|c| c.findings.iter().map(move |f| (c.id, f)));
    let errors = findings.filter(|(id, f)| !OURS_ALONE.contains(id) || name(f)).map(|(_, f)| f);
    let errors: Vec<_> = errors
        .filter(|f| f.severity == mirror_bundle::verify::Severity::Error)
        .filter(|f| !f.subject.starts_with("mirror-bundle/addenda/record-"))
        // The content of signature ConfigMaps is not compared.
        .filter(|f| f.code != mirror_bundle::error::Code::ReleaseUnverified || name(f))
        .filter(|f| !f.message.starts_with("the signature ConfigMap") && !f.message.contains("holds a signature for"))
        // `verify.py` restores nothing.
        .filter(|f| !RESTORING.iter().any(|text| f.message.contains(text)))
        .collect();
    // What this crate restored counts as not restored (MB-CAR-16).
    let restored = report.checks.iter().any(|check| check.id == CheckId::RestoredBlobs)
        || report.not_checked.iter().any(|one| one.id == CheckId::RestoredBlobs && one.required);
    let code = errors.iter().map(|f| f.code.exit()).min().unwrap_or(if restored { 42 } else { 0 });
    Verdict { code, text: errors.iter().map(|f| format!("{}: {}", f.code, f.message)).collect::<Vec<_>>().join("; ") }
}

/// A small generator with a seed: splitmix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`, which is not 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
