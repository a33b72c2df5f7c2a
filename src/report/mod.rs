//! The result of a verification: checks, findings, a verdict. A verdict is not an error.
//!
//! The JSON form is `mirror-bundle/report/v1` (`spec/verification.md`, "The report").

use serde::Serialize;

use crate::error::{Code, Error};

mod evidence;
mod policy;
mod proof;
mod release;
mod removal;
pub mod signature;
mod updates;

pub use evidence::{Closed, Evidence, EvidenceImage};
pub use policy::{Accepted, Decision, PolicyUsed};
pub use proof::{Place, Proof};
pub use release::SignedRelease;
pub use removal::RemovalOutcome;
pub use signature::{Attestation, RecordOutcome, SignatureOutcome, Standing, Vouched};
pub use updates::{UpdateFrom, Updates};

/// A check: an id for JSON and the specification, and a title for people. Each module defines the ids of its own
/// checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckId {
    place: u16,
    id: &'static str,
    title: &'static str,
}

impl CheckId {
    /// A check with this id and title. A report sorts checks by `place`; the checks of this module have 10, 20, and so
    /// on.
    pub const fn new(place: u16, id: &'static str, title: &'static str) -> CheckId {
        CheckId { place, id, title }
    }

    /// The id used in JSON and the spec.
    pub fn as_str(self) -> &'static str {
        self.id
    }

    /// The title for people.
    pub fn title(self) -> &'static str {
        self.title
    }
}

impl Serialize for CheckId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.id)
    }
}

/// The checks of `spec/verification.md`, in the order in which they run.
#[allow(non_upper_case_globals)]
impl CheckId {
    /// MB-VER-01: magic, tar subset, member order.
    pub const Format: CheckId = CheckId::new(10, "format", "format and limits");
    /// MB-VER-02: signatures over the raw index against the trust policy.
    pub const BundleSignature: CheckId = CheckId::new(20, "bundle-signature", "bundle signature");
    /// MB-VER-03: schema, limits, features, expiry, expectations.
    pub const Index: CheckId = CheckId::new(30, "index", "index");
    /// MB-RMV: what was removed, and by whom.
    pub const Removals: CheckId = CheckId::new(35, "removals", "removals");
    /// MB-CAR: how the file carries the blobs, and who says so.
    pub const Carriage: CheckId = CheckId::new(37, "carriage", "carriage");
    /// MB-VER-04: the file is as long as the index says.
    pub const Length: CheckId = CheckId::new(40, "length", "length");
    /// MB-SET: every volume is there, and nothing that belongs to another bundle.
    pub const Volumes: CheckId = CheckId::new(50, "volumes", "volumes and copies");
    /// MB-VER-05: every member against its digest.
    pub const BlobDigests: CheckId = CheckId::new(60, "blob-digests", "blob digests");
    /// MB-VER-19: what the file does not carry as it is comes out right.
    pub const RestoredBlobs: CheckId = CheckId::new(65, "restored-blobs", "restored blobs");
    /// MB-VER-06: closure of every image; nothing unlisted.
    pub const ImageGraph: CheckId = CheckId::new(70, "image-graph", "image graph complete");
    /// MB-VER-06: release payloads against the images of the bundle.
    pub const ReleasePayload: CheckId = CheckId::new(80, "release-payload", "release payload");
    /// MB-VER-07: OpenPGP release signatures.
    pub const ReleaseSignatures: CheckId = CheckId::new(90, "release-signatures", "release signature");
    /// MB-VER-08: cosign image signatures.
    pub const ImageSignatures: CheckId = CheckId::new(100, "image-signatures", "image signatures");
    /// MB-VER-17: the default image policy of clusters from 4.21 on.
    pub const DefaultImagePolicy: CheckId = CheckId::new(105, "default-image-policy", "default image policy");
    /// MB-VER-18: the graph-data image against its base and its update graph.
    pub const GraphData: CheckId = CheckId::new(107, "graph-data", "graph-data image");
    /// MB-VER-09: Kubernetes manifests.
    pub const Manifests: CheckId = CheckId::new(110, "manifests", "manifests");
    /// MB-POL: the rules of a policy.
    pub const Policy: CheckId = CheckId::new(140, "policy", "policy");
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing; does not change the verdict.
    Notice,
    /// To be looked at; does not change the verdict.
    Warning,
    /// The bundle must not be used.
    Error,
}

/// A finding of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable code; [`Code::exit`] gives the exit code.
    #[serde(serialize_with = "code")]
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// The digest, path or name it concerns.
    pub subject: String,
    /// One sentence.
    pub message: String,
    /// Expected and found values, and where.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The rule of the policy that found it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

fn code<S: serde::Serializer>(code: &Code, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(code.as_str())
}

impl Finding {
    /// A finding that makes the verdict bad.
    pub fn new(code: Code, subject: impl Into<String>, message: impl Into<String>) -> Finding {
        Finding {
            code,
            severity: Severity::Error,
            subject: subject.into(),
            message: message.into(),
            facts: vec![],
            hint: None,
            rule: None,
        }
    }

    /// The finding for an error.
    pub fn of(subject: impl Into<String>, err: &Error) -> Finding {
        Finding {
            facts: err.facts().to_vec(),
            hint: err.hint_text().map(str::to_owned),
            ..Finding::new(err.code(), subject, err.message())
        }
    }

    /// A finding that does not change the verdict.
    pub fn notice(code: Code, subject: impl Into<String>, message: impl Into<String>) -> Finding {
        Finding { severity: Severity::Notice, ..Finding::new(code, subject, message) }
    }

    /// Adds a fact.
    pub fn fact(mut self, fact: impl Into<String>) -> Finding {
        self.facts.push(fact.into());
        self
    }

    /// Sets the hint: what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Finding {
        self.hint = Some(hint.into());
        self
    }
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It completed and found nothing bad.
    Pass,
    /// It found something bad.
    Fail,
}

/// A check that ran.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// Its id.
    pub id: CheckId,
    /// How it ended.
    pub outcome: Outcome,
    /// How many items it examined.
    pub examined: u64,
    /// How many items there are.
    pub of: u64,
    /// A few words for a person: sizes, names, fingerprints.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// What it found: the first [`FINDINGS`], and at least one of each code, severity and rule.
    pub findings: Vec<Finding>,
    /// How many further findings were dropped.
    #[serde(skip_serializing_if = "is_zero")]
    pub more: u64,
    /// How many of those are errors.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_errors: u64,
}

/// The most findings of one check in a report (MB-LIM-18).
pub const FINDINGS: usize = 256;
/// The most bytes of one text of a finding (MB-LIM-18).
pub const TEXT: usize = 2048;
/// The most facts of a finding (MB-LIM-18).
const FACTS: usize = 32;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Truncates a text to [`TEXT`] bytes.
fn cut(text: &mut String) {
    if text.len() > TEXT {
        let more = text.len() - TEXT;
        let end = (0..=TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str(&format!("… ({more} more bytes)"));
        text.shrink_to_fit();
    }
}

impl Check {
    /// A check that has not examined anything yet.
    pub fn new(id: CheckId) -> Check {
        Check {
            id,
            outcome: Outcome::Pass,
            examined: 0,
            of: 0,
            details: vec![],
            findings: vec![],
            more: 0,
            more_errors: 0,
        }
    }

    /// Records a finding, or counts it if there are too many. The exit code never depends on which ones were kept.
    pub fn find(&mut self, mut finding: Finding) {
        if finding.severity == Severity::Error {
            self.outcome = Outcome::Fail;
        }
        let same = |f: &Finding| (f.code, f.severity, &f.rule) == (finding.code, finding.severity, &finding.rule);
        if self.findings.len() >= FINDINGS && self.findings.iter().any(same) {
            self.more += 1;
            self.more_errors += u64::from(finding.severity == Severity::Error);
            return;
        }
        finding.facts.truncate(FACTS);
        let texts = [&mut finding.subject, &mut finding.message].into_iter().chain(&mut finding.facts);
        texts.chain(&mut finding.hint).for_each(cut);
        self.findings.push(finding);
    }
}

/// A check that did not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotChecked {
    /// Its id.
    pub id: CheckId,
    /// Why.
    pub reason: String,
    /// Whether the verdict requires it.
    pub required: bool,
}

/// The verdict of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Verdict {
    /// Every required check ran and passed.
    #[serde(rename = "verified")]
    Verified,
    /// No problem found, but a required check did not run.
    #[serde(rename = "not-fully-checked")]
    NotFullyChecked,
    /// Something bad was found.
    #[serde(rename = "fail")]
    Failed,
}

/// The bundle that a report is about.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Subject {
    /// Path as given, or `-`.
    pub path: String,
    /// Digest of the index.
    pub index: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Name, once the index was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its number in the series of the name, if it is in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Creation time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
}

/// A Kubernetes object of the bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Object {
    /// The path of its file in the bundle.
    pub file: String,
    /// As in the file.
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    /// As in the file.
    pub kind: String,
    /// As in the file, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// As in the file.
    pub name: String,
}

/// The complete result of a verification.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `mirror-bundle/report/v1`.
    pub schema: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// The exit code for the verdict.
    pub exit_code: u8,
    /// The bundle that was verified.
    pub bundle: Subject,
    /// The time at which validity was evaluated.
    pub checked_at: String,
    /// Flags of this run, and of the bundle's creation, that exempted something from a check.
    pub exceptions: Vec<String>,
    /// The signatures over the index.
    pub signatures: Vec<SignatureOutcome>,
    /// Review records: reported, never counted toward a threshold.
    pub records: Vec<RecordOutcome>,
    /// Statements about what was removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removals: Vec<RemovalOutcome>,
    /// Attestations about images: the first [`FINDINGS`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attestations: Vec<Attestation>,
    /// How many more attestations there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_attestations: u64,
    /// The releases, and who signed them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub releases: Vec<SignedRelease>,
    /// For each carried release, the updates to it, if the bundle carries an update graph.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub updates: Vec<Updates>,
    /// The Kubernetes objects that were read: the first [`FINDINGS`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<Object>,
    /// How many more objects there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_objects: u64,
    /// What other programs found, from files that the user named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
    /// The policy whose rules were evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyUsed>,
    /// What was found and accepted, by the entries of the policy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<Accepted>,
    /// Fingerprints of the keys of the trust policy that signed each image, by its digest in the index.
    #[serde(skip)]
    pub signed: std::collections::BTreeMap<String, Vec<String>>,
    /// SHA-256 of the trust policy, if it is a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_policy: Option<String>,
    /// The checks that ran.
    pub checks: Vec<Check>,
    /// The checks that did not.
    pub not_checked: Vec<NotChecked>,
    /// The receipt of this run, and its line in the log of this host.
    #[serde(skip_serializing_if = "Proof::is_empty")]
    pub proof: Proof,
}

impl Report {
    /// An empty report.
    pub fn new(bundle: Subject, checked_at: String) -> Report {
        Report {
            schema: "mirror-bundle/report/v1",
            verdict: Verdict::NotFullyChecked,
            exit_code: Code::IncompleteCheck.exit(),
            bundle,
            checked_at,
            exceptions: Vec::new(),
            signatures: Vec::new(),
            records: Vec::new(),
            removals: Vec::new(),
            attestations: Vec::new(),
            more_attestations: 0,
            releases: Vec::new(),
            updates: vec![],
            objects: Vec::new(),
            more_objects: 0,
            evidence: Vec::new(),
            policy: None,
            accepted: Vec::new(),
            signed: std::collections::BTreeMap::new(),
            trust_policy: None,
            checks: Vec::new(),
            not_checked: Vec::new(),
            proof: Proof::default(),
        }
    }

    /// Adds a check.
    pub fn add(&mut self, check: Check) {
        self.checks.push(check);
    }

    /// Records a check that did not run.
    pub fn skip(&mut self, id: CheckId, required: bool, reason: impl Into<String>) {
        self.not_checked.push(NotChecked { id, reason: reason.into(), required });
    }

    /// Lists an attestation, or counts it where there are too many.
    pub fn attest(&mut self, one: impl FnOnce() -> Attestation) {
        if self.attestations.len() >= FINDINGS {
            self.more_attestations += 1;
            return;
        }
        let mut one = one();
        one.predicate_type.iter_mut().chain(&mut one.detail).for_each(cut);
        self.attestations.push(one);
    }

    /// Lists an object, or counts it where there are too many.
    pub fn list(&mut self, one: impl FnOnce() -> Object) {
        if self.objects.len() >= FINDINGS {
            self.more_objects += 1;
        } else {
            self.objects.push(one());
        }
    }

    /// All findings, in the order of the checks.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.checks.iter().flat_map(|c| &c.findings)
    }

    /// The findings that make the verdict bad.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings().filter(|f| f.severity == Severity::Error)
    }

    /// The finding that decides the exit code: the lowest code of 10 to 49, else the lowest of all.
    pub fn worst(&self) -> Option<&Finding> {
        self.errors().min_by_key(|f| (!f.code.is_verdict(), f.code.exit()))
    }

    /// Computes the verdict from the findings. Call it after adding all checks.
    ///
    /// A finding of several checks is reported once, by the first, unless another check would fail without a finding.
    pub fn conclude(&mut self) {
        let mut reported = std::collections::BTreeSet::new();
        for check in &mut self.checks {
            let first = check.findings.iter().find(|f| f.severity == Severity::Error).cloned();
            check.findings.retain(|f| reported.insert((f.code, f.severity, f.message.clone())));
            if !check.findings.iter().any(|f| f.severity == Severity::Error) {
                check.findings.extend(first);
            }
        }
        let missing = self.not_checked.iter().any(|n| n.required);
        (self.verdict, self.exit_code) = match self.worst() {
            Some(finding) => (Verdict::Failed, finding.code.exit()),
            None if missing || self.checks.is_empty() => (Verdict::NotFullyChecked, Code::IncompleteCheck.exit()),
            None => (Verdict::Verified, 0),
        };
    }
}

/// A size for a person: binary units, one decimal.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = 0;
    tenths /= 1024;
    while tenths >= 10_235 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(codes: &[Code]) -> Report {
        let mut report = Report::new(Subject::default(), String::new());
        let mut check = Check::new(CheckId::Format);
        for code in codes {
            check.find(Finding::new(*code, "x", "x"));
        }
        report.add(check);
        report.conclude();
        report
    }

    #[test]
    fn the_lowest_code_of_the_content_group_is_the_exit_code() {
        assert_eq!(report(&[]).exit_code, 0);
        assert_eq!(report(&[Code::Policy, Code::BlobMismatch, Code::Io]).exit_code, 31);
        assert_eq!(report(&[Code::Io]).exit_code, 3);
    }

    #[test]
    fn findings_are_counted_beyond_a_bound_and_the_exit_code_is_that_of_all() {
        let mut check = Check::new(CheckId::Format);
        (0..10_000).for_each(|n| check.find(Finding::new(Code::Policy, n.to_string(), "x".repeat(10 * TEXT))));
        check.find(Finding::new(Code::BlobMissing, "x", "é".repeat(TEXT)));
        check.find(Finding::new(Code::BlobMissing, "y", "y"));
        assert_eq!((check.findings.len(), check.more), (FINDINGS + 1, 10_001 - FINDINGS as u64));
        assert!(check.findings.iter().all(|f| f.message.len() < TEXT + 40));
        let mut report = Report::new(Subject::default(), String::new());
        report.add(check);
        report.conclude();
        assert_eq!(report.exit_code, Code::BlobMissing.exit());
    }

    #[test]
    fn every_failed_check_has_a_finding_also_when_another_found_the_same() {
        let mut report = Report::new(Subject::default(), String::new());
        for id in [CheckId::BlobDigests, CheckId::ImageGraph] {
            let mut check = Check::new(id);
            check.find(Finding::new(Code::BlobMissing, "x", "x"));
            check.find(Finding::notice(Code::Policy, "x", "once"));
            report.add(check);
        }
        report.conclude();
        let found: Vec<usize> = report.checks.iter().map(|c| c.findings.len()).collect();
        assert_eq!(found, [2, 1]);
    }

    #[test]
    fn a_required_check_that_did_not_run_is_never_verified() {
        let mut report = report(&[]);
        report.skip(CheckId::BlobDigests, true, "--quick");
        report.conclude();
        assert_eq!((report.verdict, report.exit_code), (Verdict::NotFullyChecked, 42));
    }
}
