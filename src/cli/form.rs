//! `mirror-bundle expand` and `mirror-bundle shrink`

use std::path::PathBuf;
use std::sync::Arc;

use super::answer::{self, Table};
use super::args::{Expand, Global, Output, Shrink};
use super::escape::{name as named, title as shown};
use super::term::Terminal;
use super::{create, inputs, passphrase, volumes};
use crate::bundle::index::title;
use crate::error::{Code, Error, Result};
use crate::ops::expand::{Options, Summary, expand, shrink};
use crate::ops::observer;

pub(super) fn expanded(args: &Expand, global: &Global, term: &Terminal) -> Result<u8> {
    let options = Options {
        bundle: to(&args.to)?,
        force: args.force,
        jobs: inputs::processors(global.jobs),
        read_back: args.read_back,
        dry_run: args.dry_run,
    };
    let named =
        crate::host::trust::Named { signers: &args.signer, policy: args.trust.as_deref(), ..Default::default() };
    // Only some forms need it.
    let trust = match crate::host::trust::read(&named) {
        Ok(trust) => Some(trust),
        Err(_) if args.signer.is_empty() && args.trust.is_none() => None,
        Err(e) => return Err(e),
    };
    let now = inputs::moment(None)?;
    let trust = trust.as_ref().map(|trust| (trust, now));
    let stock = Arc::new(inputs::stock(&args.base, trust).map_err(|e| e.state("nothing was written"))?);
    let summary = expand(std::slice::from_ref(&args.bundle), &stock, trust, &options, term)?;
    show(&summary, &options, global, term)?;
    if !args.dry_run {
        let path = answer::quoted(&summary.bundle);
        term.next(&["check who made it".to_owned(), format!("mirror-bundle verify {path} --signer KEY.pub")]);
    }
    Ok(0)
}

pub(super) fn shrunk(args: &Shrink, global: &Global, term: &Terminal) -> Result<u8> {
    if args.sign_key.is_none() && !args.unsigned && !args.dry_run {
        return Err(Error::new(Code::Usage, "no signing key")
            .hint("sign with --sign-key FILE, of the builder or of a carrier, or give --unsigned"));
    }
    let options = Options {
        bundle: to(&args.to)?,
        force: args.force,
        jobs: inputs::processors(global.jobs),
        read_back: args.read_back,
        dry_run: args.dry_run,
    };
    let (bases, stock) = create::bases(&args.base, &args.base_trust, term)?;
    let encoding = create::encoding(&args.carrying, !stock.is_empty(), &stock, options.jobs);
    let key = args.sign_key.as_deref().map(|path| passphrase::key(path, term)).transpose()?;
    let summary = shrink(std::slice::from_ref(&args.bundle), &bases, key.as_ref(), encoding.as_ref(), &options, term)?;
    show(&summary, &options, global, term)?;
    if !args.dry_run {
        let path = answer::quoted(&summary.bundle);
        let carrier = summary.signed_by.as_deref().is_some_and(|by| by.starts_with("carrier "));
        let trust = if carrier { "--trust POLICY, which names the carrier" } else { "--signer KEY.pub" };
        term.next(&[
            "carry the file across, then run".to_owned(),
            format!("mirror-bundle unpack {path} --to REGISTRY/REPOSITORY {trust}"),
        ]);
    }
    Ok(0)
}

/// The file to write.
fn to(path: &std::path::Path) -> Result<PathBuf> {
    match path.is_dir() {
        true => Err(Error::new(Code::Usage, format!("`{}` is a folder, not a file to write", path.display()))
            .state("nothing was written")),
        false => Ok(path.to_owned()),
    }
}

fn show(summary: &Summary, options: &Options, global: &Global, term: &Terminal) -> Result<()> {
    volumes::read_back(summary.read_back.as_ref(), &options.bundle, term)?;
    match global.output {
        Output::Json | Output::Jsonl => answer::json(global, summary),
        Output::Text if global.quiet < 2 => answer::text(&render(summary)),
        Output::Text => {}
    }
    Ok(())
}

fn render(summary: &Summary) -> String {
    let mut table = Table::default();
    let what = if summary.dry_run { "would make" } else { "bundle" };
    table.row(what, format!("{} ({})", summary.bundle, observer::size(summary.bytes)));
    table.row("index", summary.index.to_string());
    table.row("name", title(&shown(&summary.name), summary.sequence));
    match &summary.form {
        Some(form) => table.row("form", named(&form.words())),
        None => table.row("form", format!("in full; {} restored", observer::count(summary.restored, "blob"))),
    };
    if let Some(by) = &summary.signed_by {
        table.row("signed", by);
    }
    if !summary.dry_run {
        let checked = observer::count(summary.blobs, "blob digest");
        table.row("checked", format!("{checked}; signatures were not evaluated"));
    }
    table.render()
}
