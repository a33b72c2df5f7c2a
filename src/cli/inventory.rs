//! `mirror-bundle inventory`: what a registry has, for `create --base`.

use std::time::Instant;

use serde::Serialize;

use super::answer::{self, Table};
use super::args::{Global, Inventory as Args, Output};
use super::escape::name as named;
use super::term::Terminal;
use super::{create, inputs, passphrase};
use crate::error::{Code, Error, Result};
use crate::fs::beside;
use crate::oci::{Digest, Invalid, Repository};
use crate::ops::inventory::{Options, inventory};
use crate::ops::observer::{self, Observer};
use crate::ops::site;
use crate::registry::Side;
use crate::sign::{MessageHash, sign};
use crate::site::{NAMESPACE, Unread};

/// The most warnings that are shown; all are in the inventory.
const SHOWN: usize = 8;

/// The answer.
#[derive(Serialize)]
struct Written<'a> {
    schema: &'static str,
    file: String,
    digest: Digest,
    registry: &'a str,
    created: &'a str,
    repositories: usize,
    blobs: usize,
    bytes: u64,
    unread: &'a [Unread],
    key: Option<String>,
}

pub(super) fn run(args: &Args, global: &Global, term: &Terminal) -> Result<u8> {
    let started = Instant::now();
    let global = &Global { output: args.output, ..global.clone() };
    let word = args.file.to_str().unwrap_or_default();
    if matches!(word, "json" | "jsonl" | "text" | "-") {
        return Err(Error::new(Code::Usage, format!("here -o names the file of the inventory, and `{word}` is none"))
            .hint("--output json for the answer; -o ./json for a file of this name"));
    }
    let options = options(args, term)?;
    let signature = beside(&args.file, ".sig");
    site::ready(&args.file, args.force)?;
    if !args.unsigned {
        site::ready(&signature, true)?;
    }
    let key = args.sign_key.as_deref().map(|path| passphrase::key(path, term)).transpose()?;
    let client = inputs::client(&args.registries, Side::Source, term)?;
    let made = inventory(&client, &options, &inputs::transfers(global.jobs), term)
        .map_err(|e| if e.state_text().is_none() { e.state("no inventory was written") } else { e })?;
    inputs::late_notices(&client, term);
    for one in made.unread.iter().take(SHOWN) {
        term.warn(&format!("not in the inventory: {}: {}", one.what, one.why));
    }
    if made.unread.len() > SHOWN {
        term.warn(&format!("and {} more; the inventory lists them", made.unread.len() - SHOWN));
    }
    let bytes = made.to_bytes()?;
    // The signature first: an inventory is never there without it.
    match &key {
        Some(key) => {
            let armored = sign(key, NAMESPACE, &MessageHash::of(&bytes));
            site::write(&signature, armored.as_bytes(), true)?;
        }
        None => {
            if crate::fs::dir::exists(&signature) {
                std::fs::remove_file(&signature).map_err(|e| Error::io("cannot remove", &signature, e))?;
            }
        }
    }
    site::write(&args.file, &bytes, args.force)?;
    term.say("Finished", &format!("in {}", create::elapsed(started)));
    let written = Written {
        schema: "mirror-bundle/inventory-written/v1",
        file: args.file.display().to_string(),
        digest: Digest::of(&bytes),
        registry: &made.registry,
        created: &made.created,
        repositories: made.repositories.len(),
        blobs: made.blobs.len(),
        bytes: made.blobs.iter().map(|blob| blob.size).sum(),
        unread: &made.unread,
        key: key.map(|key| key.public().fingerprint()),
    };
    match global.output {
        Output::Json | Output::Jsonl => answer::json(global, &written),
        Output::Text if global.quiet < 2 => answer::text(&render(&written)),
        Output::Text => {}
    }
    Ok(0)
}

fn options(args: &Args, term: &Terminal) -> Result<Options> {
    let usage = |e: Invalid| Error::new(Code::Usage, e.to_string());
    let text = inputs::bare(&args.registry, term)?.trim_end_matches('/');
    let (registry, below) = match text.contains('/') {
        true => {
            let below: Repository = text.parse().map_err(usage)?;
            (below.registry().to_owned(), Some(below))
        }
        false => {
            // A registry is checked as that of any repository.
            let any: Repository = format!("{text}/any").parse().map_err(|_| {
                Error::new(Code::Usage, format!("`{text}` is not a registry"))
                    .hint("write HOST:PORT, or HOST/PATH for some of its repositories")
            })?;
            (any.registry().to_owned(), None)
        }
    };
    let repository = |text: &String| {
        let own = format!("{registry}/");
        let full = if text.starts_with(&own) { text.clone() } else { format!("{own}{text}") };
        full.parse::<Repository>().map_err(usage)
    };
    let repositories = args.repository.iter().map(repository).collect::<Result<Vec<Repository>>>()?;
    Ok(Options { registry, below, repositories, now: jiff::Timestamp::now() })
}

fn render(written: &Written<'_>) -> String {
    let mut table = Table::default();
    table.row("inventory", named(&written.file));
    table.row("digest", written.digest.to_string());
    table.row("registry", format!("{}, {}", named(written.registry), written.created));
    table.row(
        "has",
        format!(
            "{} ({}) in {}",
            observer::count(written.blobs, "blob"),
            observer::size(written.bytes),
            match written.repositories {
                1 => "1 repository".to_owned(),
                n => format!("{} repositories", observer::count_of(n as u64)),
            }
        ),
    );
    if !written.unread.is_empty() {
        table.row("unread", format!("{}: nothing is said about them", observer::count(written.unread.len(), "thing")));
    }
    match &written.key {
        Some(key) => table.row("signed", format!("by {key}")),
        None => table.row("signed", "no (--unsigned): anyone could have written it"),
    };
    table.render()
}
