//! `mirror-bundle split` and `mirror-bundle join`

use std::path::Path;

use super::answer::{self, Table};
use super::args::{Global, Join, Output, Split};
use super::term::Terminal;
use super::{inputs, volumes};
use crate::bundle::index::title;
use crate::error::{Code, Error, Result};
use crate::ops::{Observer, join, observer, split};

/// What both verbs prove, and what they do not.
fn checked(blobs: usize) -> String {
    format!("{}; signatures were not evaluated", observer::count(blobs, "blob digest"))
}

pub(super) fn run(args: &Split, global: &Global, term: &Terminal) -> Result<u8> {
    let size = args.volumes.size().ok_or_else(|| {
        Error::new(Code::Usage, "no volume size given").hint("--volume-size 4GiB, or --media fat32|dvd|bd25|bd50|bd100")
    })?;
    let options = split::Options {
        folder: args.folder.clone(),
        size,
        only: args.only.iter().copied().collect(),
        force: args.force,
        dry_run: args.dry_run,
        jobs: inputs::processors(global.jobs),
        read_back: args.read_back,
    };
    let summary = split::split(&args.bundle, &options, term)?;
    volumes::read_back(summary.read_back.as_ref(), Path::new(&summary.bundle), term)?;
    if summary.volumes.is_empty() {
        let where_it_is = if summary.unchanged { "; it stays where it is" } else { " under its plain name" };
        term.say("Note", &format!("it fits in one volume, so it is one whole bundle{where_it_is}"));
    }
    match global.output {
        Output::Json | Output::Jsonl => answer::json(global, &summary),
        Output::Text if global.quiet < 2 => answer::text(&render(&summary)),
        Output::Text => {}
    }
    if !summary.dry_run && !summary.unchanged {
        let all = summary.volumes.first().is_none_or(|v| v.of as usize == summary.volumes.len());
        let paths: Vec<String> = match summary.volumes.as_slice() {
            [] => vec![summary.bundle],
            volumes => volumes.iter().map(|v| v.path.clone()).collect(),
        };
        let what = if all {
            volumes::pattern(&paths)
        } else {
            paths.iter().map(|path| answer::quoted(path)).collect::<Vec<_>>().join(" ")
        };
        let partial = if all { "" } else { " --partial" };
        term.next(&[
            "verify the media where they will be used".to_owned(),
            format!("mirror-bundle verify {what} --signer KEY.pub{partial}"),
        ]);
    }
    Ok(0)
}

fn render(summary: &split::Summary) -> String {
    let mut table = Table::default();
    table.row(if summary.dry_run { "would make" } else { "bundle" }, &summary.bundle);
    table.row("index", summary.index.to_string());
    table.row("name", title(&super::escape::title(&summary.name), summary.sequence));
    volumes::rows(&mut table, &summary.volumes);
    match summary.dry_run {
        true => table.row("free", observer::size(summary.free)),
        false if summary.unchanged => table.row("written", "nothing"),
        false => table.row("checked", checked(summary.blobs)),
    };
    table.render()
}

pub(super) fn join(args: &Join, global: &Global, term: &Terminal) -> Result<u8> {
    if args.bundle.is_dir() {
        let name = args.bundle.display();
        return Err(Error::new(Code::Usage, format!("`{name}` is a folder, not a file to write"))
            .state("nothing was written")
            .hint("the bundle to write comes first: mirror-bundle join BUNDLE DIR"));
    }
    let options = join::Options {
        bundle: args.bundle.clone(),
        force: args.force,
        jobs: inputs::processors(global.jobs),
        read_back: args.read_back,
    };
    let summary = join::join(&args.volumes, &options, term)?;
    volumes::read_back(summary.read_back.as_ref(), &args.bundle, term)?;
    match global.output {
        Output::Json | Output::Jsonl => answer::json(global, &summary),
        Output::Text if global.quiet < 2 => {
            let mut table = Table::default();
            table.row("bundle", format!("{} ({})", summary.bundle, observer::size(summary.bytes)));
            table.row("index", summary.index.to_string());
            table.row("name", title(&super::escape::title(&summary.name), summary.sequence));
            table.row("checked", checked(summary.blobs));
            answer::text(&table.render());
        }
        Output::Text => {}
    }
    term.next(&[
        "check who made it".to_owned(),
        format!("mirror-bundle verify {} --signer KEY.pub", answer::quoted(&summary.bundle)),
    ]);
    Ok(0)
}
