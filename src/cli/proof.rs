//! Receipts and the log: what a run leaves on this host, and `mirror-bundle receipt` and `mirror-bundle log`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::answer::{self, Table};
use super::args::{self, Check, Global, Output};
use super::inputs;
use super::term::Terminal;
use crate::bundle::reader::Bundle;
use crate::error::{Code, Error, Result};
use crate::host::log as chain;
use crate::host::trust::{self, Named};
use crate::oci::Digest;
use crate::ops::observer;
use crate::ops::receipt::{self, Books, Done, Wanted};
use crate::report::{Place, Proof, Report, Standing};
use crate::sign::policy::Outcome;
use crate::sign::{MessageHash, Namespace, Role, SecretKey};
use crate::verify::Trust;

/// Opens the receipt and the log of a run of this verb, before it does anything. A dry run leaves nothing.
pub(super) fn open(
    event: &'static str,
    args: &args::Proof,
    key: Option<Arc<SecretKey>>,
    trust: &Trust,
    dry_run: bool,
) -> Result<Books> {
    if !dry_run {
        let log = log_file(args.log.as_deref(), Some(trust));
        return Books::open(event, Wanted { receipt: args.receipt.clone(), key, log });
    }
    if args.receipt.is_some() || args.log.is_some() {
        return Err(Error::new(
            Code::Usage,
            "--dry-run writes nothing, so there is no receipt of it and no line in a log",
        )
        .hint("leave out --receipt and --log"));
    }
    Ok(Books::none(event))
}

/// The key that signs a receipt.
pub(super) fn key(path: Option<&Path>, term: &Terminal) -> Result<Option<Arc<SecretKey>>> {
    path.map(|path| super::passphrase::key(path, term).map(Arc::new)).transpose()
}

/// Writes the receipt and the line in the log, about a run that came to a verdict.
pub(super) fn close(books: &Books, report: &Report, exit_code: u8, more: Map<String, Value>) -> Result<Proof> {
    books.close(&Done { report, verdict: None, exit_code, more, now: Timestamp::now() })
}

/// Opens the log of a run that writes no receipt.
pub(super) fn log_of(event: &'static str, log: Option<&Path>, trust: Option<&Trust>) -> Result<Books> {
    Books::open(event, Wanted { log: log_file(log, trust), ..Wanted::default() })
}

/// The log that the arguments name, else the trust policy.
fn log_file(named: Option<&Path>, trust: Option<&Trust>) -> Option<PathBuf> {
    let policy = trust.and_then(Trust::policy);
    named.map(Path::to_owned).or_else(|| policy.and_then(|policy| policy.log.clone()))
}

/// The same about a run whose outcome is more than the verdict of the bundle.
pub(super) fn note(
    books: &Books,
    report: &Report,
    verdict: &'static str,
    exit_code: u8,
    more: Map<String, Value>,
) -> Result<Proof> {
    books.close(&Done { report, verdict: Some(verdict), exit_code, more, now: Timestamp::now() })
}

/// Records that a run ended with an error.
pub(super) fn failed(books: &Books, error: Error, bundle: &[PathBuf], term: &Terminal) -> Error {
    let code = super::exit_code(&error, term);
    // Not of a stream, which has been read.
    let index = match bundle {
        [one] if one.is_file() => Bundle::open(one).ok().map(|bundle| bundle.head().digest()),
        _ => None,
    };
    books.failed(error, code, index, Timestamp::now())
}

/// The lines of an answer about the receipt and the log.
pub(super) fn lines(proof: &Proof) -> String {
    let mut out = String::new();
    if let Some(digest) = &proof.receipt {
        out.push_str(&format!("receipt   {digest}\n"));
    }
    if let Some(place) = &proof.log {
        out.push_str(&format!("{place}\n"));
    }
    out
}

/// The answer of `log verify`.
#[derive(Debug, Serialize)]
struct Checked {
    schema: &'static str,
    lines: u64,
    torn: u64,
    first: Option<String>,
    last: Option<String>,
    end: Place,
    receipts: Vec<Found>,
    sheets: Vec<u64>,
    cannot_tell: String,
}

/// A receipt that is in a log.
#[derive(Debug, Serialize)]
struct Found {
    file: String,
    n: u64,
}

/// `log verify`
pub(super) fn log(args: &args::Log, global: &Global) -> Result<u8> {
    let Check::Verify = args.what;
    let path = &args.file;
    let log = chain::read(path)?;
    let receipts = args.receipt.iter().map(|file| named_by(path, &log, file)).collect::<Result<Vec<_>>>()?;
    let sheets = args.sheet.iter().map(|text| sheet(path, &log, text)).collect::<Result<Vec<_>>>()?;
    let end = log.last();
    let cannot_tell = format!("cannot tell whether lines were cut off after {}", end.n);
    let times = log.times.clone().unzip();
    let checked = Checked {
        schema: "mirror-bundle/log/v1",
        lines: end.n,
        torn: log.torn,
        first: times.0,
        last: times.1,
        end,
        receipts,
        sheets,
        cannot_tell,
    };
    match global.output {
        Output::Json | Output::Jsonl => answer::json(global, &checked),
        Output::Text if global.quiet < 2 => answer::text(&render(&checked)),
        Output::Text => {}
    }
    Ok(0)
}

fn render(checked: &Checked) -> String {
    let mut table = Table::default();
    let mut lines = observer::count_of(checked.lines);
    if let (Some(first), Some(last)) = (&checked.first, &checked.last) {
        lines.push_str(&format!(", {first} to {last}"));
    }
    table.row("lines", lines);
    if checked.torn > 0 {
        let text = "incomplete, and closed by the next line: a run was killed while it wrote";
        table.row("torn", format!("{} {text}", checked.torn));
    }
    for found in &checked.receipts {
        table.row("receipt", format!("{} is line {}", found.file, found.n));
    }
    for n in &checked.sheets {
        table.row("sheet", format!("line {n} is the one that it names"));
    }
    table.row("unknown", &checked.cannot_tell);
    format!("{}{}\n", table.render(), checked.end)
}

/// The line of a receipt.
fn named_by(path: &Path, log: &chain::Chain, file: &Path) -> Result<Found> {
    let (receipt, _) = receipt::read(file)?;
    let name = file.display();
    let Some(line) = &receipt.details.log else {
        return Err(Error::new(Code::Malformed, format!("the receipt `{name}` names no line of a log"))
            .hint("it was written by a run without --log"));
    };
    missing(path, log, line.n, &format!("the receipt `{name}`"))?;
    if log.line_of(&receipt.digest) != Some(line.n) {
        let err = changed(path, line.n, &format!("the receipt `{name}`"));
        return Err(err.hint("or the run was killed after it wrote the receipt and before it wrote the line"));
    }
    if log.hash(line.n - 1) != Some(line.prev.as_str()) {
        return Err(changed(path, line.n - 1, &format!("the receipt `{name}`")));
    }
    Ok(Found { file: name.to_string(), n: line.n })
}

/// The line that a printed sheet names.
fn sheet(path: &Path, log: &chain::Chain, text: &str) -> Result<u64> {
    let usage = || {
        Error::new(Code::Usage, format!("`{text}` does not name a line"))
            .hint("write the number and the 16 characters after it, as printed: --sheet '41 0123456789abcdef'")
    };
    let text = text.trim().strip_prefix("log ").unwrap_or(text.trim());
    let (n, hex) = text.split_once(' ').ok_or_else(usage)?;
    let n: u64 = n.parse().ok().filter(|n| *n > 0).ok_or_else(usage)?;
    let is_hex =
        (16..=64).contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !is_hex {
        return Err(usage());
    }
    missing(path, log, n, "the sheet")?;
    match log.hash(n).is_some_and(|hash| hash.starts_with(hex)) {
        true => Ok(n),
        false => Err(changed(path, n, "the sheet")),
    }
}

/// An error if a log ends before this line.
fn missing(path: &Path, log: &chain::Chain, n: u64, whose: &str) -> Result<()> {
    let last = log.len();
    if n <= last {
        return Ok(());
    }
    let lines = if n == last + 1 { format!("line {n}") } else { format!("lines {} to {n}", last + 1) };
    let are = if n == last + 1 { "is" } else { "are" };
    Err(Error::new(Code::Malformed, format!("{lines} of `{}` {are} missing: {whose} names line {n}", path.display())))
}

fn changed(path: &Path, line: u64, whose: &str) -> Error {
    let why = format!("was changed or exchanged: it is not the one of {whose}");
    chain::error(path, &chain::Broken { line, why })
}

/// The answer of `receipt verify`.
#[derive(Debug, Serialize)]
struct Read {
    schema: &'static str,
    receipt: String,
    signature: Standing,
    signed: bool,
    name: Option<String>,
    key: Option<String>,
    host: String,
    created: String,
    event: String,
    verdict: String,
    run_exit_code: u8,
    bundle: Option<String>,
    index: Option<String>,
    log: Option<u64>,
}

/// `receipt verify`
pub(super) fn receipt(args: &args::Receipt, global: &Global, term: &Terminal) -> Result<u8> {
    if let Some(site) = super::site_check::kind(args.path())? {
        return super::site_check::run(args, site, global, term);
    }
    #[cfg(feature = "registry")]
    if args.site.to.is_some() {
        return Err(Error::new(Code::Usage, format!("`{}` is the receipt of a run", args.path().display()))
            .hint("--to asks a registry about the receipt of a site, which begins with mbr1"));
    }
    let (receipt, bytes) = receipt::read(args.path())?;
    let name = args.path().display();
    if let Some(wanted) = &args.expect_index {
        let wanted: Digest = wanted.parse().map_err(|e: crate::oci::Invalid| Error::new(Code::Usage, e.to_string()))?;
        let found = receipt.index.clone().unwrap_or_else(|| "no bundle".to_owned());
        if found != wanted.to_string() {
            return Err(Error::new(Code::Policy, format!("`{name}` is about another bundle"))
                .fact(format!("expected {wanted}"))
                .fact(format!("found    {found}")));
        }
    }
    let (standing, signer, key) = signed(args, &bytes)?;
    let checked = Read {
        schema: "mirror-bundle/receipt-check/v1",
        receipt: receipt.digest.to_string(),
        signed: key.is_some(),
        signature: standing,
        name: signer,
        key,
        host: receipt.details.host,
        created: receipt.created,
        event: receipt.details.event,
        verdict: receipt.details.verdict,
        run_exit_code: receipt.details.exit_code,
        bundle: receipt.bundle,
        index: receipt.index,
        log: receipt.details.log.map(|line| line.n),
    };
    match global.output {
        Output::Json | Output::Jsonl => answer::json(global, &checked),
        Output::Text if global.quiet < 2 => answer::text(&render_receipt(&checked)),
        Output::Text => {}
    }
    Ok(0)
}

/// Who signed a receipt, if that counts here.
fn signed(args: &args::Receipt, bytes: &[u8]) -> Result<(Standing, Option<String>, Option<String>)> {
    let mut beside = args.path().to_owned().into_os_string();
    beside.push(".sig");
    let (beside, name) = (PathBuf::from(beside), args.path().display());
    let armored = match crate::fs::small::read(&beside, receipt::SIGNATURE) {
        Ok(armored) => armored,
        Err(e) if e.is_missing() && args.allow_unsigned => return Ok((Standing::NotEvaluated, None, None)),
        Err(e) if e.is_missing() => {
            return Err(Error::new(Code::Unsigned, format!("`{name}` has no signature"))
                .fact(format!("looked for {}", beside.display()))
                .hint("anyone could have written it; to read it anyway: --allow-unsigned"));
        }
        Err(e) => return Err(e.error("cannot read", &beside, Code::Usage)),
    };
    let hash = MessageHash::of(bytes);
    let bad = |why: String| Error::new(Code::BadSignature, format!("the signature of `{name}` does not hold: {why}"));
    let signature = crate::sign::verify(&hash, &armored).map_err(|e| bad(e.to_string()))?;
    if signature.namespace() != Namespace::Record.as_str() {
        return Err(bad(format!("it was made for `{}`", signature.namespace())));
    }
    let key = signature.key().fingerprint();
    if !args.signer.is_empty() {
        for path in &args.signer {
            let public = crate::sign::read_public_key(path)?;
            if public.blob() == signature.key().blob() {
                let comment = public.comment().to_owned();
                let named = (!comment.is_empty()).then_some(comment);
                return Ok((Standing::Evaluated(Outcome::Good), named, Some(key)));
            }
        }
        return Err(untrusted(&name.to_string(), &key, "it is by another key"));
    }
    let named =
        Named { signers: &[], policy: args.trust.as_deref(), keyrings: &[], allow_unsigned: args.allow_unsigned };
    let trust = trust::read(&named)?;
    let Some(policy) = trust.policy() else { return Ok((Standing::NotEvaluated, None, Some(key))) };
    let now = inputs::moment(args.at.as_deref())?;
    let one = policy.evaluate_record(&beside.display().to_string(), &armored, &hash, Role::Receiver, now);
    match one.outcome {
        Outcome::Good => Ok((Standing::Evaluated(Outcome::Good), one.signer, Some(key))),
        _ => Err(untrusted(&name.to_string(), &key, &one.detail)),
    }
}

fn untrusted(name: &str, key: &str, why: &str) -> Error {
    Error::new(Code::Untrusted, format!("nobody whom this host trusts as receiver signed `{name}`"))
        .fact(format!("signed by {key}"))
        .fact(why.to_owned())
        .hint("name the key of the host that wrote it: --signer KEY.pub")
}

fn render_receipt(read: &Read) -> String {
    let mut table = Table::default();
    table.row("receipt", &read.receipt);
    match (&read.key, read.signature) {
        (None, _) => table.row("signed", "no: anyone could have written it (--allow-unsigned)"),
        (Some(key), Standing::NotEvaluated) => table.row("signed", format!("by {key}, which no policy knows here")),
        (Some(key), _) => table.row("signed", format!("by {} {key}", read.name.as_deref().unwrap_or("?"))),
    };
    table.row("host", format!("{}, {}", read.host, read.created));
    table.row("event", format!("{}: {}, exit code {}", read.event, read.verdict, read.run_exit_code));
    if let Some(bundle) = &read.bundle {
        table.row("bundle", bundle);
    }
    table.row("index", read.index.as_deref().unwrap_or("none: it could not be read"));
    if let Some(n) = read.log {
        table.row("line", format!("{n} of the log"));
    }
    table.render()
}
