//! `mirror-bundle report`.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::args::{Global, Output, Report as Args};
use super::term::Terminal;
use super::{answer, inputs, proof, scan};
use crate::bundle::Inputs;
use crate::error::{Code, Error, Result};
use crate::oci::Digest;
use crate::ops::Observer;
use crate::ops::observer::count_of;
use crate::ops::reading::Basis;
use crate::ops::report::{Older, Reported, report};
use crate::ops::review::{Ask, at_once};
use crate::ops::sbom::to_file;
use crate::page::{self, Made, Sheet, Trusted};
use crate::scan::Outcome;
use crate::sign::Role;
use crate::verify::{Conditions, Finding, Trust, Verdict};

/// How many errors are shown.
const SHOWN: usize = 8;

pub(super) fn run(args: &Args, global: &Global, term: &Terminal) -> Result<u8> {
    if args.html.is_none() && args.markdown.is_none() && global.output == Output::Text {
        return Err(Error::new(Code::Usage, "no file for the sheet is named")
            .hint("--html FILE, --markdown FILE, or -o json for everything as one document"));
    }
    if args.html.is_some() && args.html == args.markdown {
        return Err(Error::new(Code::Usage, "HTML and Markdown cannot both go to one file"));
    }
    let files = [&args.html, &args.markdown];
    files.into_iter().flatten().try_for_each(|path| is_free(path, args.force))?;
    let trust = inputs::trust(&args.trust)?;
    let conditions = inputs::conditions(&args.trust, &args.bundle, false)?;
    let now = conditions.now;
    let older = args.since.as_ref().map(|path| older(args, path)).transpose()?;
    let found = inputs::evidence(&args.rules.evidence, args.rules.r#for.as_ref())?;
    let policy = inputs::policy(args.rules.policy.as_deref(), now)?;
    let (scanners, options) = scan::prepared(&args.scanners, global, term, now)?;
    let trusted = trusted(&trust);
    let books =
        proof::open("report", &args.proof.proof, proof::key(args.proof.sign_key.as_deref(), term)?, &trust, false)?;
    let ask = Ask {
        policy: policy.as_ref().map(|(policy, _)| policy),
        policy_file: policy.as_ref().map_or("", |(_, name)| name),
        packages: true,
        files: true,
        scanners,
        scan: options.scan,
        earlier: options.earlier,
        evidence: &found,
        jobs: options.jobs,
    };
    let basis = Basis { trust: Some(trust), conditions };
    let made = Inputs::of(&args.bundle).and_then(|from| report(from, basis, ask, older, term));
    let mut made = made.map_err(|e| proof::failed(&books, e, &args.bundle, term))?;
    made.report.proof = match word(&made) {
        None => proof::close(&books, &made.report, made.exit_code, Map::new())?,
        Some(word) => proof::note(&books, &made.report, word, made.exit_code, Map::new())?,
    };
    let document = document(&made, now)?;
    write(args, global, term, &made, (trusted, now, &document))?;
    show(&made, global, term, &document);
    Ok(made.exit_code)
}

/// Before anything is read: the file can be written.
fn is_free(path: &Path, force: bool) -> Result<()> {
    if !force && std::fs::symlink_metadata(path).is_ok() {
        return Err(Error::new(Code::Conflict, format!("`{}` exists already", path.display()))
            .state("nothing was read")
            .hint("--force replaces it"));
    }
    Ok(())
}

/// The older bundle is neither expected to be anything, nor compared with what this host remembers.
fn older(args: &Args, path: &Path) -> Result<Older> {
    let trust =
        super::args::Trust { expect_release: None, expect_index: None, signature: Vec::new(), ..args.trust.clone() };
    let conditions = inputs::conditions(&trust, &[path.to_owned()], false)?;
    Ok(Older { path: path.to_owned(), conditions: Conditions { seen: Default::default(), ..conditions } })
}

/// What the sheet says of the trust of this host.
fn trusted(trust: &Trust) -> Trusted {
    let Some(policy) = trust.policy() else { return Trusted::default() };
    let reviewers = policy.signers().iter().filter(|signer| signer.roles.contains(&Role::Reviewer));
    Trusted {
        required: policy.required().map(|(role, need)| (role.as_str(), need)).collect(),
        reviewers: reviewers.map(|signer| (signer.name.clone(), signer.key.fingerprint())).collect(),
    }
}

/// The word for the log where the outcome is more than the verdict of the bundle.
fn word(made: &Reported) -> Option<&'static str> {
    (made.exit_code != made.report.exit_code).then_some(match made.exit_code {
        35 => "found",
        42 => "not-fully-scanned",
        _ => "fail",
    })
}

/// Everything as one document: the report, with facts and what scanners found.
fn document(made: &Reported, now: Timestamp) -> Result<Value> {
    let internal = |e: serde_json::Error| Error::new(Code::Internal, format!("cannot write the report: {e}"));
    let mut out = serde_json::to_value(&made.report).map_err(internal)?;
    let members = out.as_object_mut().ok_or_else(|| Error::new(Code::Internal, "the report is no object"))?;
    members.insert("exit_code".into(), made.exit_code.into());
    if let Some(facts) = &made.facts {
        members.insert("facts".into(), serde_json::to_value(facts).map_err(internal)?);
    }
    if let Some(summary) = &made.scan {
        members.insert("scan".into(), serde_json::to_value(scan::render::found(summary, now)).map_err(internal)?);
    }
    Ok(out)
}

/// The paths of the bundle as a shell has them.
fn bundle(args: &Args) -> String {
    args.bundle.first().map(|path| path.display().to_string()).unwrap_or_default()
}

/// The flags of trust, as they are typed again.
fn flags(args: &Args) -> String {
    let mut out: Vec<String> = args.trust.signer.iter().map(|key| format!("--signer {}", quoted(key))).collect();
    out.extend(args.trust.trust.iter().map(|policy| format!("--trust {}", quoted(policy))));
    out.extend(args.trust.allow_unsigned.then(|| "--allow-unsigned".to_owned()));
    out.extend(args.trust.allow_unsigned_release.then(|| "--allow-unsigned-release".to_owned()));
    out.extend(args.trust.release_keyring.iter().map(|keys| format!("--release-keyring {}", quoted(keys))));
    out.extend(args.trust.allow_kind.iter().map(|kind| format!("--allow-kind {}", answer::quoted(kind))));
    out.join(" ")
}

fn quoted(path: &Path) -> String {
    answer::quoted(&path.display().to_string())
}

fn write(
    args: &Args,
    global: &Global,
    term: &Terminal,
    made: &Reported,
    (trusted, now, document): (Trusted, Timestamp, &Value),
) -> Result<()> {
    let sheet = Sheet {
        made: Made {
            version: env!("CARGO_PKG_VERSION"),
            host: crate::host::name(),
            at: crate::host::log::seconds(now),
            given: args.trust.at.is_some(),
            document: if global.output == Output::Json {
                Digest::of(text(document).as_bytes()).hex()
            } else {
                String::new()
            },
            bundle: bundle(args),
            trust: flags(args),
        },
        report: &made.report,
        exit_code: made.exit_code,
        refused: made.refused,
        index: made.index.as_ref(),
        facts: made.facts.as_ref(),
        scan: made.scan.as_ref(),
        trusted,
        effects: made.effects.clone(),
        since: made.since.clone(),
    };
    let one = |path: &Option<PathBuf>, text: &dyn Fn() -> String| -> Result<()> {
        let Some(path) = path else { return Ok(()) };
        to_file(path, text().as_bytes(), args.force)?;
        term.say("Written", &path.display().to_string());
        Ok(())
    };
    one(&args.html, &|| page::html(&sheet))?;
    one(&args.markdown, &|| page::markdown(&sheet))
}

/// The document as it is printed.
fn text(document: &Value) -> String {
    let mut out = serde_json::to_string_pretty(document).unwrap_or_default();
    out.push('\n');
    super::escape::escape_json(&out)
}

fn show(made: &Reported, global: &Global, term: &Terminal, document: &Value) {
    let report = &made.report;
    if global.output != Output::Text {
        problems(made, term);
        return answer::json(global, document);
    }
    if global.quiet < 2 {
        answer::text(&line(made));
    }
    if global.quiet == 0 {
        problems(made, term);
        answer::text(&proof::lines(&report.proof));
    }
}

/// The first errors; all of them, with warnings and notices, are on the sheet.
fn problems(made: &Reported, term: &Terminal) {
    let found = made.scan.iter().flat_map(|scan| &scan.findings);
    let found = found.filter(|one| one.outcome == Outcome::Found && one.accepted.is_none()).map(at_once);
    let mut errors: Vec<Finding> = made.report.errors().cloned().chain(found).collect();
    errors.sort_by_key(|finding| (!finding.code.is_verdict(), finding.code.exit()));
    let state = made.refused.then_some("nothing of its content was looked at");
    let shown = errors.len().min(SHOWN);
    for (at, finding) in errors.iter().take(shown).enumerate() {
        term.finding(finding, state.filter(|_| at + 1 == shown));
    }
    if errors.len() > shown {
        term.note(&format!("and {} more; the sheet lists them", count_of((errors.len() - shown) as u64)));
    }
}

/// The verdict in a line.
fn line(made: &Reported) -> String {
    let word = match made.exit_code {
        _ if made.refused => "REFUSED",
        0 if made.report.verdict == Verdict::Verified && made.scan.is_none() => "VERIFIED, NOT SCANNED",
        0 => "VERIFIED AND SCANNED",
        42 => "NOT FULLY CHECKED",
        35 => "FOUND",
        _ => "FAILED",
    };
    let accepted = made.report.accepted.iter().map(|one| one.findings).sum::<u64>();
    let accepted = if accepted > 0 { format!("  except {accepted} accepted") } else { String::new() };
    let but = super::verify::but(&made.report);
    format!("verdict   {word}  {}{accepted}{but}\n", super::escape::name(&made.report.bundle.path))
}
