//! `mirror-bundle create`

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::answer::{self, Table};
use super::args::{BaseTrust, Carrying, Create, Global, Output};
use super::escape::name as named;
use super::term::Terminal;
use super::{inputs, volumes};
use crate::bundle::Stock;
use crate::bundle::index::title;
use crate::error::{Code, Error, Result};
use crate::host::trust::Named;
use crate::oci::Invalid;
use crate::ops::create::{Options, Summary, Target, create};
use crate::ops::expand::Encoding;
use crate::ops::{self, Observer, observer};
use crate::select;
use crate::select::base::Bases;
use crate::site::Receivers;
use crate::source::Network;
use crate::verify::Trust;

pub(super) fn run(args: &Create, global: &Global, term: &Terminal) -> Result<u8> {
    let started = Instant::now();
    let to_stdout = args.bundle == Path::new("-");
    if to_stdout && !args.dry_run && std::io::stdout().is_terminal() {
        return Err(Error::new(Code::Usage, "refusing to write a bundle to a terminal")
            .hint("redirect standard output, or name a file"));
    }
    if to_stdout && global.output == Output::Jsonl {
        return Err(Error::new(Code::Usage, "standard output cannot carry both a bundle and JSON lines")
            .hint("name a file, or follow the work with --progress-fd N"));
    }
    if to_stdout && args.read_back {
        return Err(
            Error::new(Code::Usage, "a stream cannot be read back").hint("name a file, or leave --read-back out")
        );
    }
    if args.sign_key.is_none() && !args.unsigned && !args.dry_run {
        return Err(Error::new(Code::Usage, "no signing key")
            .hint("sign with --sign-key FILE (keygen makes one), or give --unsigned"));
    }
    if let Some(percent) = args.recovery
        && !args.dry_run
    {
        protectable(args, percent)?;
    }
    let (what, options) = (what(args, global, term)?, options(args, term, inputs::processors(global.jobs))?);
    #[cfg(feature = "registry")]
    let client = inputs::client(&args.registry, crate::registry::Side::Source, term)?;
    #[cfg(feature = "registry")]
    let network: Option<&dyn Network> = Some(&client);
    #[cfg(not(feature = "registry"))]
    let network: Option<&dyn Network> = None;

    if args.unsigned && !args.dry_run {
        term.warn("the bundle will not be signed (--unsigned); receivers must accept it with --allow-unsigned");
    }
    let mut stdout;
    let target = match (args.dry_run, to_stdout) {
        (true, _) => Target::DryRun(if to_stdout { Path::new(".") } else { &args.bundle }),
        (false, false) => Target::File(&args.bundle),
        (false, true) => {
            stdout = std::io::stdout().lock();
            Target::Stream(&mut stdout)
        }
    };
    let summary = create(&what, target, &options, network, term)?;
    #[cfg(feature = "registry")]
    inputs::late_notices(&client, term);
    if options.volume.is_some() && summary.volumes.is_empty() {
        term.say("Note", "it fits in one volume, so it is one whole bundle under its plain name");
    }
    let recovery = match args.recovery.filter(|_| !args.dry_run) {
        Some(percent) => Some(protect(args, percent, &summary, term)?),
        None => None,
    };
    term.say("Finished", &format!("in {}", elapsed(started)));
    volumes::read_back(summary.read_back.as_ref(), &args.bundle, term)?;
    match global.output {
        // The stream is the result.
        _ if to_stdout && !args.dry_run => {}
        Output::Json | Output::Jsonl => answer::json(global, &Made { made: &summary, recovery: recovery.as_ref() }),
        Output::Text if global.quiet < 2 => answer::text(&render(args, &summary, recovery.as_ref())),
        Output::Text => {}
    }
    if !args.dry_run && !to_stdout {
        let signer = if summary.signed_by.is_some() { " --signer KEY.pub" } else { " --allow-unsigned" };
        let one = [args.bundle.display().to_string()];
        let (carry, what) = match summary.volumes.as_slice() {
            [] => ("carry the file across, then run", volumes::pattern(&one)),
            all => {
                let paths: Vec<String> = all.iter().map(|v| v.path.clone()).collect();
                ("carry the volumes across, then run", volumes::pattern(&paths))
            }
        };
        term.next(&[carry.to_owned(), format!("mirror-bundle unpack {what}{signer} --to REGISTRY/REPOSITORY")]);
    }
    Ok(0)
}

/// The result, with its recovery data.
#[derive(serde::Serialize)]
struct Made<'a> {
    #[serde(flatten)]
    made: &'a Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery: Option<&'a ops::recovery::Summary>,
}

/// Prompts for the passphrase before anything is fetched.
fn protectable(args: &Create, percent: u8) -> Result<()> {
    if args.bundle == Path::new("-") {
        return Err(Error::new(Code::Usage, "--recovery needs a file: there is no recovery data for a stream"));
    }
    let to = ops::recovery::beside(&args.bundle);
    if !args.force && crate::fs::dir::exists(&to) {
        return Err(crate::fs::durable::already_exists(&to));
    }
    crate::recovery::Geometry::new(&[1], percent).map(|_| ())
}

/// The bundle is finished: a later failure leaves it in place.
fn protect(args: &Create, percent: u8, made: &Summary, term: &Terminal) -> Result<ops::recovery::Summary> {
    let mut paths: Vec<PathBuf> = made.volumes.iter().map(|v| v.path.clone().into()).collect();
    if paths.is_empty() {
        paths.push(args.bundle.clone());
    }
    let to = Some(ops::recovery::beside(&args.bundle));
    let options = ops::recovery::Options { percent, to, force: args.force };
    ops::recovery::recovery(&paths, &options, term).map_err(|e| {
        let names: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
        let again = format!("mirror-bundle recovery {} --percent {percent}%", volumes::pattern(&names));
        e.state("the bundle is finished; it has no recovery data yet").hint(again)
    })
}

/// The selection of content.
fn what(args: &Create, global: &Global, term: &Terminal) -> Result<select::Options> {
    #[cfg(not(feature = "registry"))]
    let _ = term;
    let usage = |e: Invalid| Error::new(Code::Usage, e.to_string());
    #[cfg(feature = "registry")]
    let parse = |list: &[String]| list.iter().map(|text| inputs::reference(text, term)).collect::<Result<Vec<_>>>();
    Ok(select::Options {
        #[cfg(feature = "registry")]
        releases: parse(&args.release).map_err(release_version)?,
        #[cfg(feature = "registry")]
        images: parse(&args.image)?,
        #[cfg(not(feature = "registry"))]
        releases: Vec::new(),
        #[cfg(not(feature = "registry"))]
        images: Vec::new(),
        #[cfg(feature = "registry")]
        updates: args.path.updates(),
        #[cfg(not(feature = "registry"))]
        updates: None,
        layouts: args.from_layout.clone(),
        room: crate::fs::dir::folder_of(&args.bundle).to_owned(),
        #[cfg(feature = "registry")]
        mirrors: mirrors(&args.mirror_config)?,
        #[cfg(not(feature = "registry"))]
        mirrors: select::Mirrors::default(),
        foreign: match args.foreign_layers {
            super::args::ForeignLayers::Fetch => select::ForeignLayers::Fetch,
            super::args::ForeignLayers::Skip => select::ForeignLayers::Skip,
            super::args::ForeignLayers::Refuse => select::ForeignLayers::Refuse,
        },
        graph_data: graph_data(args, term)?,
        dirs: args.from_dir.clone(),
        manifests: args.manifests.clone(),
        platform: args.platform.as_deref().map(str::parse).transpose().map_err(usage)?,
        allow_kinds: inputs::rules(&args.allow_kind)?,
        stores: args.signature_store.iter().map(|s| select::Store::parse(s)).collect(),
        keyrings: crate::host::trust::keyrings(&args.release_keyring)?,
        allow_unsigned_release: args.allow_unsigned_release,
        allow_missing_image_signature: args.allow_missing_image_signature,
        now: inputs::moment(None)?,
        without_referrers: args.without_referrers,
        pace: inputs::transfers(global.jobs),
    })
}

fn graph_data(args: &Create, term: &Terminal) -> Result<Option<select::GraphInput>> {
    #[cfg(feature = "registry")]
    let base = args.graph_base.as_deref().map(|text| inputs::reference(text, term)).transpose()?;
    #[cfg(not(feature = "registry"))]
    let (base, _) = (None, term);
    let from = args.graph_data.as_deref().map(select::GraphSource::parse);
    Ok(from.map(|from| select::GraphInput { from, base }))
}

fn options(args: &Create, term: &Terminal, jobs: usize) -> Result<Options> {
    let bases = bases(&args.base, &args.base_trust, term)?;
    Ok(Options {
        name: args.name.clone(),
        sequence: args.sequence,
        expires: args.expires.as_deref().map(|text| expires(text, inputs::source_date_epoch()?)).transpose()?,
        key: args.sign_key.as_deref().map(|path| super::passphrase::key(path, term)).transpose()?,
        source_date_epoch: inputs::source_date_epoch()?,
        force: args.force,
        read_back: args.read_back,
        encoding: encoding(&args.carrying, bases.0.all.iter().any(|base| base.index.is_some()), &bases.1, jobs),
        bases: bases.0,
        volume: args.volumes.size(),
    })
}

/// What `--base` names, whose receipts count there, and the bundles among it.
pub(super) fn bases(paths: &[PathBuf], trust: &BaseTrust, term: &Terminal) -> Result<(Bases, Arc<Stock>)> {
    if paths.is_empty() {
        return Ok((Bases::default(), Arc::new(inputs::stock(&[], None)?)));
    }
    let keys = trust.base_signer.iter().map(|path| crate::sign::read_public_key(path)).collect::<Result<Vec<_>>>()?;
    let named = Named { policy: trust.base_policy.as_deref(), ..Named::default() };
    let policy = trust.base_policy.as_ref().map(|_| crate::host::trust::read(&named)).transpose()?;
    let receivers = match policy.as_ref().and_then(Trust::policy) {
        Some(policy) => Receivers::Policy(policy, jiff::Timestamp::now()),
        None if !keys.is_empty() => Receivers::Keys(&keys),
        None => Receivers::Unknown,
    };
    let bases = crate::select::base::load(paths, receivers).map_err(|e| e.state("nothing was written"))?;
    bases.notices().iter().for_each(|text| term.warn(text));
    let stock = inputs::stock(&bases.bundles(), None)?;
    Ok((bases, Arc::new(stock)))
}

/// How layers are carried: as differences to those of the bases, unless they are to be carried as they are. `known`:
/// there is an index that says which layers these are.
pub(super) fn encoding(args: &Carrying, known: bool, stock: &Arc<Stock>, jobs: usize) -> Option<Encoding> {
    let differences = !args.blobs_only && known;
    (differences || args.compact).then(|| Encoding {
        differences,
        compact: args.compact,
        effort: args.effort,
        memory: args.memory << 20,
        jobs,
        stock: stock.clone(),
    })
}

#[cfg(feature = "registry")]
fn mirrors(files: &[PathBuf]) -> Result<select::Mirrors> {
    let mut mirrors = select::Mirrors::default();
    files.iter().try_for_each(|file| mirrors.add(file))?;
    Ok(mirrors)
}

fn render(args: &Create, summary: &Summary, recovery: Option<&ops::recovery::Summary>) -> String {
    let mut table = Table::default();
    let what = if summary.dry_run { "would make" } else { "bundle" };
    table.row(what, args.bundle.display().to_string());
    table.row("index", summary.index.to_string());
    table.row("name", title(&super::escape::title(&summary.name), summary.sequence));
    for release in &summary.releases {
        table
            .row("release", format!("{} {} {}", named(&release.version), named(&release.architecture), release.digest));
    }
    table.row(
        "contents",
        format!(
            "{}, {}, {}, {}",
            observer::count(summary.images, "image"),
            observer::count(summary.blobs, "blob"),
            observer::count(summary.manifests, "manifest"),
            observer::size(summary.bytes)
        ),
    );
    if let Some(form) = &summary.form {
        table.row("form", named(&form.words()));
    }
    volumes::rows(&mut table, &summary.volumes);
    if let (true, Some(free)) = (summary.dry_run, summary.free) {
        table.row("free", observer::size(free));
        let minutes = |rate: u64| (summary.bytes / (rate << 20)).div_ceil(60).max(1);
        table.row("forecast", format!("{} min at 10 MiB/s, {} min at 100 MiB/s", minutes(10), minutes(100)));
    }
    match &summary.signed_by {
        Some(key) => table.row("signed", format!("builder {key}")),
        None => table.row("signed", "no"),
    };
    for exception in &summary.exceptions {
        table.row("exception", named(exception));
    }
    if let Some(recovery) = recovery {
        super::recovery::line(&mut table, recovery);
    }
    table.render()
}

/// `4m 12s`, `3.1 s`.
pub(super) fn elapsed(since: Instant) -> String {
    let seconds = since.elapsed().as_secs_f64();
    if seconds < 60.0 { format!("{seconds:.1} s") } else { super::progress::span(since.elapsed().as_secs()) }
}

/// A version alone is what people give for a release that they know from `oc adm upgrade`.
#[cfg(feature = "registry")]
fn release_version(err: Error) -> Error {
    match err.message().contains("looks like a version") {
        true => err.hint("for example quay.io/openshift-release-dev/ocp-release:4.16.37-x86_64"),
        false => err,
    }
}

/// The time of `--expires`. A bundle that has expired when it is made is of no use; the creation time may be chosen.
fn expires(text: &str, created: Option<u64>) -> Result<jiff::Timestamp> {
    let time = inputs::time(text)?;
    let now = jiff::Timestamp::now().as_second();
    let created = created.map_or(now, |seconds| i64::try_from(seconds).unwrap_or(i64::MAX));
    if time.as_second() <= created {
        return Err(Error::new(Code::Usage, format!("--expires {text} is not after the creation of the bundle"))
            .state("nothing was written")
            .hint("give a time in the future"));
    }
    Ok(time)
}
