//! `mirror-bundle apply`, and what happened at a cluster as text.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::answer::{self, Table};
use super::args::{self, Apply, Global, Output};
use super::term::Terminal;
use super::{create, inputs, verify};
use crate::bundle::Inputs;
use crate::cluster::{self, Entry, Outcome as Did};
use crate::error::{Code, Error, Result};
use crate::ops::Observer;
use crate::ops::apply::{Applied, Options, Outcome, What, apply};

/// How long an answer of the cluster may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The most fields of an object that are shown.
const FIELDS: usize = 20;

pub(super) fn run(args: &Apply, global: &Global, term: &Terminal) -> Result<u8> {
    let started = Instant::now();
    let what = what(&args.bundle)?;
    if let (What::Folder(dir), false) = (&what, args.trust.allow_unsigned) {
        return Err(Error::new(
            Code::Unsigned,
            format!("nobody signed the files in `{}`: anyone could have changed them", dir.display()),
        )
        .state("nothing was applied")
        .hint("apply the bundle that they are from; or accept them, and have that recorded: --allow-unsigned"));
    }
    let trust = inputs::trust(&args.trust)?;
    let conditions = inputs::conditions(&args.trust, &args.bundle, false)?;
    let memory = crate::host::memory::folder();
    if matches!(what, What::Bundle(_)) && !args.dry_run {
        crate::host::memory::ready(&memory)?;
    }
    let options = Options {
        cluster: options(&args.cluster, term),
        overwrite: args.overwrite,
        mirror_sets: args.apply_mirror_sets,
        go_on: args.continue_on_error,
        dry_run: args.dry_run,
        jobs: inputs::processors(global.jobs),
    };
    match apply(what, &trust, &conditions, &options, term)? {
        Outcome::Refused(report) => {
            verify::refused(&report, global, term, "nothing was applied", ("apply", "applied"));
            Ok(report.exit_code)
        }
        Outcome::Applied { bundle, report, applied } => {
            if let (Some(verified), false, None) = (&bundle, args.dry_run, applied.code()) {
                crate::host::memory::remember(&memory, verified, args.trust.allow_rollback)
                    .map_err(|e| e.state("everything is applied, but this host could not record that"))?;
            }
            let code = applied.code().map_or(report.exit_code, Code::exit);
            problems(&applied, term);
            term.say("Finished", &format!("in {}", create::elapsed(started)));
            match global.output {
                Output::Json | Output::Jsonl => {
                    answer::verified(global, "apply", "applied", Some(&*applied), Some(&report), code);
                }
                Output::Text if global.quiet < 2 => {
                    let mut table = Table::default();
                    rows(&applied, &mut table);
                    for exception in &report.exceptions {
                        table.row("exception", super::escape::name(exception));
                    }
                    answer::text(&table.render());
                }
                Output::Text => {}
            }
            Ok(code)
        }
    }
}

/// A bundle, or manifests by themselves.
fn what(paths: &[PathBuf]) -> Result<What> {
    match paths {
        [one] if is_manifest(one) || (one.is_dir() && holds_manifests(one)) => Ok(What::Folder(one.clone())),
        several => Ok(What::Bundle(Inputs::of(several)?)),
    }
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json")
}

/// Whether a folder holds manifests, at any depth, and so is not one of volumes.
fn holds_manifests(dir: &Path) -> bool {
    let entries = crate::fs::dir::list_start(dir, crate::fs::dir::MAX_ENTRIES).unwrap_or_default();
    entries.iter().any(|(name, kind)| match kind {
        crate::fs::EntryKind::Directory => holds_manifests(&dir.join(name)),
        _ => is_manifest(Path::new(name)),
    })
}

/// How the cluster is reached.
pub(super) fn options(args: &args::Cluster, term: &Terminal) -> cluster::Options {
    cluster::Options {
        kubeconfig: args.kubeconfig.clone(),
        context: args.context.clone(),
        timeout: TIMEOUT,
        environment: crate::host::environment,
        stop: term.stop_flag(),
    }
}

/// Every object that failed, and why the rest was not tried.
pub(super) fn problems(applied: &Applied, term: &Terminal) {
    applied.objects.iter().filter_map(|entry| entry.error.as_ref()).chain(&applied.error).for_each(|e| term.report(e));
}

/// What happened, as lines of a table.
pub(super) fn rows(applied: &Applied, table: &mut Table) {
    let about = &applied.cluster;
    let context = about.context.as_ref().map(|context| format!(" (context {context})")).unwrap_or_default();
    let user = about.user.as_deref().unwrap_or("an unknown user");
    let all = [Did::Created, Did::Unchanged, Did::Changed, Did::Differs, Did::Failed, Did::NotApplied, Did::LeftOut];
    let counts = all.iter().map(|did| (applied.count(*did), did.as_str())).filter(|(n, _)| *n > 0);
    let counts: Vec<String> = counts.map(|(n, word)| format!("{n} {word}")).collect();
    table.row(if applied.dry_run { "would be" } else { "applied" }, counts.join(", "));
    table.row("cluster", format!("{}{context}, Kubernetes {}, as {user}", about.server, about.version));
    for entry in &applied.objects {
        let after = entry.after.as_ref().filter(|_| applied.dry_run);
        let after = after.map(|after| format!(" (after {after})")).unwrap_or_default();
        table.row(entry.outcome.as_str(), format!("{}{after}", entry.name()));
        if applied.dry_run || entry.outcome == Did::Differs {
            fields(entry, table);
        }
    }
    table.row("state", &applied.state);
}

/// What differs, field by field.
fn fields(entry: &Entry, table: &mut Table) {
    for change in entry.changes.iter().take(FIELDS) {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "(absent)".to_owned());
        let owner = entry.conflicts.iter().find(|conflict| {
            change.field == conflict.field || change.field.starts_with(&format!("{}[", conflict.field))
        });
        let owner = owner.map(|conflict| format!("  {}", conflict.owner)).unwrap_or_default();
        table.row("", format!("{}: {} -> {}{owner}", change.field, value(&change.from), value(&change.to)));
    }
    if entry.changes.len() > FIELDS {
        table.row("", format!("and {} more", entry.changes.len() - FIELDS));
    }
}
