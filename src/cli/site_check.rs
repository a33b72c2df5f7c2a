//! `receipt verify` for the receipt of a site, and for an inventory.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::answer::{self, Table};
use super::args::{Global, Output, Receipt as Args};
use super::escape::name as named;
use super::inputs;
use super::term::Terminal;
use crate::bundle::Index;
use crate::error::{Code, Error, Result};
use crate::fs::small;
use crate::host::trust::{self, Named};
use crate::oci::{Digest, Invalid, Repository};
use crate::ops::observer;
use crate::report::Standing;
use crate::sign::policy::Outcome;
use crate::sign::{MAX_SIGNATURE, PublicKey};
use crate::site::{Inventory, MAX_INVENTORY, PREFIX, Receipt, Receivers, SCHEMA, Signed, check};

/// How far ahead of this host's clock a receipt may be dated.
const TOLERANCE: SignedDuration = SignedDuration::from_hours(24);

/// What a site wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Receipt,
    Inventory,
}

/// Which of them a file is; `None`: neither.
pub(super) fn kind(path: &Path) -> Result<Option<Kind>> {
    let start = small::read_start(path, 512).map_err(|e| e.error("cannot read", path, Code::Usage))?;
    let inventory = start.windows(SCHEMA.len()).any(|window| window == SCHEMA.as_bytes());
    Ok(match () {
        () if start.starts_with(PREFIX.trim_end().get(..3).unwrap_or(PREFIX).as_bytes()) => Some(Kind::Receipt),
        () if inventory => Some(Kind::Inventory),
        () => None,
    })
}

/// The answer.
#[derive(Debug, Serialize)]
struct Checked {
    schema: &'static str,
    kind: &'static str,
    digest: Digest,
    index: Option<Digest>,
    sequence: Option<u64>,
    /// What the bundle is called, if its index was looked at.
    bundle: Option<String>,
    created: String,
    registry: String,
    signature: Standing,
    signed: bool,
    name: Option<String>,
    key: Option<String>,
    /// Of an inventory: repositories, blobs, and what could not be looked at.
    repositories: Option<usize>,
    blobs: Option<usize>,
    unread: Option<usize>,
    /// Whether the registry was asked, and has everything.
    at_registry: Option<Found>,
}

/// What a registry that was asked has.
#[derive(Debug, Serialize)]
struct Found {
    registry: String,
    images: usize,
    blobs: usize,
}

pub(super) fn run(args: &Args, kind: Kind, global: &Global, term: &Terminal) -> Result<u8> {
    let now = inputs::moment(args.at.as_deref())?;
    let checked = match kind {
        Kind::Receipt => receipt(args, now, global, term)?,
        Kind::Inventory => inventory(args, now)?,
    };
    match global.output {
        Output::Json | Output::Jsonl => answer::json(global, &checked),
        Output::Text if global.quiet < 2 => answer::text(&render(&checked)),
        Output::Text => {}
    }
    Ok(0)
}

fn receipt(args: &Args, now: Timestamp, global: &Global, term: &Terminal) -> Result<Checked> {
    let path = args.path();
    let name = path.display().to_string();
    let bytes = small::read_start(path, 4096).map_err(|e| e.error("cannot read", path, Code::Usage))?;
    let receipt = Receipt::parse(&name, &bytes)?;
    if let Some(wanted) = &args.expect_index {
        let wanted: Digest = wanted.parse().map_err(|e: Invalid| Error::new(Code::Usage, e.to_string()))?;
        if receipt.index != wanted {
            return Err(Error::new(Code::Policy, format!("`{name}` is about another bundle"))
                .fact(format!("expected {wanted}"))
                .fact(format!("found    {}", receipt.index)));
        }
    }
    in_time(args, &name, &receipt.created, now)?;
    let signed = signed(args, &name, &receipt.line(), receipt.signature.as_deref(), now)?;
    let target = target(args, &receipt, term)?;
    let index = match target.is_some() || !args.index.is_empty() {
        true => Some(crate::select::base::index_of(path, &receipt, &args.index)?),
        false => None,
    };
    let at_registry = match (&target, &index) {
        (Some(to), Some(index)) => Some(at_registry(args, &receipt, to, index, global, term)?),
        _ => None,
    };
    Ok(Checked {
        kind: "receipt",
        bundle: index.map(|index| index.title()),
        digest: receipt.digest(),
        index: Some(receipt.index),
        sequence: receipt.sequence,
        registry: receipt.registry.to_string(),
        at_registry,
        ..Checked::of(&receipt.created, signed)
    })
}

fn inventory(args: &Args, now: Timestamp) -> Result<Checked> {
    let path = args.path();
    let name = path.display().to_string();
    let usage = |text: &str| Err(Error::new(Code::Usage, format!("`{name}` is an inventory: {text}")));
    if args.expect_index.is_some() {
        return usage("it is about no bundle, so --expect-index cannot be met");
    }
    #[cfg(feature = "registry")]
    if args.site.to.is_some() {
        return usage("to compare it with the registry, write a new one");
    }
    let bytes = inputs::read(path, MAX_INVENTORY)?;
    let inventory = Inventory::parse(&name, &bytes)?;
    in_time(args, &name, &inventory.created, now)?;
    let beside = crate::fs::beside(path, ".sig");
    let armored = match small::read(&beside, MAX_SIGNATURE as u64) {
        Ok(armored) => Some(armored),
        Err(e) if e.is_missing() => None,
        Err(e) => return Err(e.error("cannot read", &beside, Code::Usage)),
    };
    let signed = signed(args, &name, &bytes, armored.as_deref(), now)?;
    Ok(Checked {
        kind: "inventory",
        digest: Digest::of(&bytes),
        registry: inventory.registry,
        repositories: Some(inventory.repositories.len()),
        blobs: Some(inventory.blobs.len()),
        unread: Some(inventory.unread.len()),
        ..Checked::of(&inventory.created, signed)
    })
}

impl Checked {
    fn of(created: &str, signed: Signed) -> Checked {
        Checked {
            schema: "mirror-bundle/site-check/v1",
            kind: "",
            digest: Digest::of(b""),
            index: None,
            sequence: None,
            bundle: None,
            created: created.to_owned(),
            registry: String::new(),
            signature: if signed.trusted { Standing::Evaluated(Outcome::Good) } else { Standing::NotEvaluated },
            signed: signed.key.is_some(),
            name: signed.signer,
            key: signed.key,
            repositories: None,
            blobs: None,
            unread: None,
            at_registry: None,
        }
    }
}

/// An error for a receipt from the future, or one older than the user accepts: it may be a copy of an old one.
fn in_time(args: &Args, name: &str, created: &str, now: Timestamp) -> Result<()> {
    let at: Timestamp = created.parse().map_err(|e| Error::new(Code::Malformed, format!("`{name}`: {e}")))?;
    if at.duration_since(now) > TOLERANCE {
        return Err(Error::new(Code::Expired, format!("`{name}` is dated in the future"))
            .fact(format!("it is of    {created}"))
            .fact(format!("this host   {}", crate::site::seconds(now)))
            .hint("check the clocks of both hosts"));
    }
    let Some(text) = &args.max_age else { return Ok(()) };
    let most = crate::sign::policy::length(text)
        .ok_or_else(|| Error::new(Code::Usage, format!("`{text}` is not an age")).hint("write 45d, 12h or 2w"))?;
    if now.duration_since(at) > most {
        return Err(Error::new(Code::Expired, format!("`{name}` is older than {text}"))
            .fact(format!("it is of {created}"))
            .hint("ask the site for a new one: mirror-bundle unpack writes it, and receipt --check --to confirms it"));
    }
    Ok(())
}

/// Who signed, if that counts here.
fn signed(args: &Args, name: &str, message: &[u8], armored: Option<&[u8]>, now: Timestamp) -> Result<Signed> {
    if armored.is_none() && args.allow_unsigned {
        return Ok(Signed::default());
    }
    if !args.signer.is_empty() {
        let keys = args.signer.iter().map(|path| crate::sign::read_public_key(path));
        let keys = keys.collect::<Result<Vec<PublicKey>>>()?;
        return check(name, message, armored, Receivers::Keys(&keys));
    }
    let named =
        Named { signers: &[], policy: args.trust.as_deref(), keyrings: &[], allow_unsigned: args.allow_unsigned };
    let trust = trust::read(&named)?;
    match trust.policy() {
        Some(policy) => check(name, message, armored, Receivers::Policy(policy, now)),
        None => check(name, message, armored, Receivers::Unknown),
    }
}

/// The registry to ask, if the user named it: the one of the receipt.
#[cfg(feature = "registry")]
fn target(args: &Args, receipt: &Receipt, term: &Terminal) -> Result<Option<Repository>> {
    let Some(to) = &args.site.to else { return Ok(None) };
    let usage = |e: Invalid| Error::new(Code::Usage, e.to_string());
    let to: Repository = inputs::bare(to, term)?.trim_end_matches('/').parse().map_err(usage)?;
    if to != receipt.registry {
        let name = args.path().display();
        return Err(Error::new(Code::Policy, format!("`{name}` is the receipt of another registry"))
            .fact(format!("asked for {to}"))
            .fact(format!("it is of  {}", receipt.registry)));
    }
    Ok(Some(to))
}
#[cfg(not(feature = "registry"))]
fn target(_: &Args, _: &Receipt, _: &Terminal) -> Result<Option<Repository>> {
    Ok(None)
}

/// Asks it for everything.
#[cfg(feature = "registry")]
fn at_registry(
    args: &Args,
    receipt: &Receipt,
    to: &Repository,
    index: &Index,
    global: &Global,
    term: &Terminal,
) -> Result<Found> {
    use crate::ops::{Observer, observer, site};
    use crate::sink::placement::Placing;
    let usage = |e: Invalid| Error::new(Code::Usage, e.to_string());
    let placing = Placing {
        by_host: args.site.placement == super::args::Placement::Host,
        maps: args.site.map.iter().map(|map| map.parse()).collect::<Result<_, Invalid>>().map_err(usage)?,
        ..Placing::default()
    };
    let places = site::places(index, to, &placing, args.site.max_nested_paths.map(usize::from))?;
    let client = inputs::client(&args.site.registry, crate::registry::Side::Source, term)?;
    term.say("Checking", &format!("{} in {to}", observer::count(index.blobs.len(), "blob")));
    let lacks = site::lacking(&client, index, &places, &inputs::transfers(global.jobs), term)?;
    inputs::late_notices(&client, term);
    if !lacks.is_empty() {
        let hint = "unpack the bundle again; if it was unpacked with --placement, --map or --max-nested-paths, \
                    give them here too";
        return Err(site::missing(&lacks, to)
            .state(format!("the receipt of {} is not right any more", receipt.created))
            .hint(hint));
    }
    Ok(Found { registry: to.to_string(), images: index.images.len(), blobs: index.blobs.len() })
}
#[cfg(not(feature = "registry"))]
fn at_registry(_: &Args, _: &Receipt, to: &Repository, _: &Index, _: &Global, _: &Terminal) -> Result<Found> {
    Err(Error::new(Code::Usage, format!("this build of mirror-bundle has no network code to ask `{to}`")))
}

fn render(checked: &Checked) -> String {
    let mut table = Table::default();
    table.row(checked.kind, checked.digest.to_string());
    match (&checked.key, checked.signature) {
        (None, _) => table.row("signed", "no: anyone could have written it (--allow-unsigned)"),
        (Some(key), Standing::NotEvaluated) => table.row("signed", format!("by {key}, which no policy knows here")),
        (Some(key), _) => table.row("signed", format!("by {} {key}", checked.name.as_deref().unwrap_or("?"))),
    };
    table.row("registry", format!("{}, {}", checked.registry, checked.created));
    if let Some(index) = &checked.index {
        let number = checked.sequence.map(|n| format!(", number {n} of its series")).unwrap_or_default();
        table.row("index", format!("{index}{number}"));
    }
    if let Some(bundle) = &checked.bundle {
        table.row("bundle", named(bundle));
    }
    if let (Some(repositories), Some(blobs)) = (checked.repositories, checked.blobs) {
        let repositories = observer::count_of(repositories as u64);
        table.row("has", format!("{} in {repositories} repositories", observer::count(blobs, "blob")));
    }
    if let Some(unread) = checked.unread.filter(|n| *n > 0) {
        table.row("unread", format!("{unread} entries that could not be looked at"));
    }
    match &checked.at_registry {
        Some(found) => {
            table.row(
                "there",
                format!(
                    "everything: {} of {}",
                    observer::count(found.blobs, "blob"),
                    observer::count(found.images, "image")
                ),
            );
        }
        None if checked.index.is_some() => {
            table.row("there", "not asked: --to REGISTRY/REPO does that");
        }
        None => {}
    }
    table.render()
}
