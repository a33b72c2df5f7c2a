//! `mirror-bundle create`

use std::io::IsTerminal;
use std::path::Path;
use std::time::Instant;

use super::answer::{self, Table};
use super::args::{Create, Global, Output};
use super::term::Terminal;
use super::{inputs, volumes};
use crate::error::{Code, Error, Result};
use crate::oci::Invalid;
use crate::ops::create::{Options, Store, Summary, Target, create};
use crate::ops::{Observer, observer};
use crate::sign::SecretKey;
use crate::source::Network;

pub(super) fn run(args: &Create, global: &Global, term: &Terminal) -> Result<u8> {
    let started = Instant::now();
    let to_stdout = args.bundle == Path::new("-");
    if to_stdout && !args.dry_run && std::io::stdout().is_terminal() {
        return Err(Error::new(Code::Usage, "a bundle is not written to a terminal")
            .hint("redirect standard output, or name a file"));
    }
    if args.sign_key.is_none() && !args.unsigned && !args.dry_run {
        return Err(Error::new(Code::Usage, "no signing key")
            .hint("sign with --sign-key FILE (keygen makes one), or say --unsigned"));
    }
    let options = options(args, global)?;
    #[cfg(feature = "registry")]
    let client = inputs::client(&args.registry, crate::registry::Side::Source, term)?;
    #[cfg(feature = "registry")]
    let network: Option<&dyn Network> = Some(&client);
    #[cfg(not(feature = "registry"))]
    let network: Option<&dyn Network> = None;

    if args.unsigned && !args.dry_run {
        term.warn("the bundle will not be signed (--unsigned); a receiver has to accept it with --allow-unsigned");
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
    let summary = create(&options, target, network, term)?;
    if options.volume.is_some() && summary.volumes.is_empty() {
        term.say("Note", "it fits one volume, so it is a whole bundle under its plain name");
    }
    term.say("Finished", &format!("in {}", elapsed(started)));
    match global.output {
        // The stream is the answer.
        _ if to_stdout && !args.dry_run => {}
        Output::Json => answer::json(&summary),
        Output::Text if global.quiet < 2 => answer::text(&render(args, &summary)),
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

fn options(args: &Create, global: &Global) -> Result<Options> {
    let usage = |e: Invalid| Error::new(Code::Usage, e.to_string());
    #[cfg(feature = "registry")]
    let parse = |list: &[String]| list.iter().map(|r| r.parse()).collect::<Result<Vec<_>, Invalid>>().map_err(usage);
    Ok(Options {
        #[cfg(feature = "registry")]
        releases: parse(&args.release)?,
        #[cfg(feature = "registry")]
        images: parse(&args.image)?,
        #[cfg(not(feature = "registry"))]
        releases: Vec::new(),
        #[cfg(not(feature = "registry"))]
        images: Vec::new(),
        layouts: args.from_layout.clone(),
        dirs: args.from_dir.clone(),
        manifests: args.manifests.clone(),
        platform: args.platform.as_deref().map(str::parse).transpose().map_err(usage)?,
        allow_kinds: args.allow_kind.clone(),
        stores: args.signature_store.iter().map(|s| Store::parse(s)).collect(),
        keyrings: inputs::keyrings(&args.release_keyring)?,
        allow_unsigned_release: args.allow_unsigned_release,
        allow_missing_image_signature: args.allow_missing_image_signature,
        name: args.name.clone(),
        sequence: args.sequence,
        expires: args.expires.as_deref().map(inputs::time).transpose()?,
        key: args.sign_key.as_deref().map(key).transpose()?,
        now: inputs::moment(None)?,
        source_date_epoch: inputs::source_date_epoch()?,
        jobs: inputs::transfers(global.jobs),
        force: args.force,
        volume: args.volumes.size(),
    })
}

pub(super) fn key(path: &Path) -> Result<SecretKey> {
    crate::sign::read_secret_key(path, || super::keygen::passphrase(&format!("Passphrase for {}: ", path.display())))
}

fn render(args: &Create, summary: &Summary) -> String {
    let mut table = Table::default();
    let what = if summary.dry_run { "would make" } else { "bundle" };
    table.row(what, args.bundle.display().to_string());
    table.row("index", summary.index.to_string());
    table.row("name", format!("{} #{}", summary.name, summary.sequence));
    for release in &summary.releases {
        table.row("release", format!("{} {} {}", release.version, release.architecture, release.digest));
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
        table.row("exception", exception);
    }
    table.render()
}

/// `4m 12s`, `3.1 s`.
pub(super) fn elapsed(since: Instant) -> String {
    let seconds = since.elapsed().as_secs_f64();
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{:.0}m {:02.0}s", (seconds / 60.0).floor(), seconds % 60.0)
    }
}
