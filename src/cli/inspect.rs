//! `mirror-bundle inspect` and `ls`: what the index says. Nothing is verified, and that is said.

use std::path::PathBuf;

use super::answer::{self, Table};
use super::args::{Global, Inspect, Ls, Output};
use super::escape::{name, title};
use crate::bundle::Inputs;
use crate::bundle::index::{Index, Kind};
use crate::error::Result;
use crate::ops::inspect::{Inspected, inspect};
use crate::ops::observer;

pub(super) fn run(args: &Inspect, global: &Global) -> Result<u8> {
    let seen = open(&args.bundle)?;
    match global.output {
        Output::Json => answer::json(&serde_json::json!({
            "schema": "mirror-bundle/inspect/v1", "verified": false, "path": named(&args.bundle),
            "index_digest": seen.digest, "signed": seen.signed, "bytes": seen.bytes, "index": seen.index,
            "volumes": seen.volumes.as_ref().map(|(here, of)| serde_json::json!({ "here": here, "of": of })),
        })),
        Output::Text => answer::text(&render(&args.bundle, &seen)),
    }
    Ok(0)
}

fn open(paths: &[PathBuf]) -> Result<Inspected> {
    inspect(Inputs::of(paths)?)
}

fn named(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" ")
}

fn render(paths: &[PathBuf], seen: &Inspected) -> String {
    let index = &seen.index;
    let mut table = Table::default();
    table.row("bundle", format!("{} (contents not verified)", named(paths)));
    if let Some((here, of)) = &seen.volumes {
        let here: Vec<String> = here.iter().map(u32::to_string).collect();
        table.row("volumes", format!("{} of {of}", here.join(", ")));
    }
    table.row("index", seen.digest.to_string());
    table.row("name", format!("{} #{}", title(&index.name), index.sequence));
    table.row("created", &index.created);
    if let Some(expires) = &index.expires {
        table.row("expires", expires);
    }
    table.row("signed", if seen.signed { "yes (signature not judged)" } else { "no" });
    for release in &index.releases {
        table.row("release", format!("{} {} {}", release.version, release.architecture, release.digest));
    }
    for kind in [Kind::Release, Kind::Component, Kind::Additional, Kind::Signature, Kind::Referrer] {
        let n = index.images.iter().filter(|i| i.kind == kind).count();
        if n > 0 {
            table.row("images", format!("{n} {}", kind.as_str()));
        }
    }
    table.row("blobs", format!("{}, {}", index.blobs.len(), observer::size(index.blobs.iter().map(|b| b.size).sum())));
    let objects: usize = index.files.iter().map(|f| f.objects.len()).sum();
    table.row("manifests", observer::count(objects, "object"));
    for exception in &index.exceptions {
        table.row("exception", name(exception));
    }
    for missing in &index.missing {
        table.row("missing", format!("{}: {}", name(&missing.reference), name(&missing.reason)));
    }
    table.render()
}

pub(super) fn ls(args: &Ls, global: &Global, warn: &dyn Fn(&str)) -> Result<u8> {
    let seen = open(&args.bundle)?;
    let all = !(args.images || args.blobs || args.manifests);
    if global.output == Output::Json {
        let index = &seen.index;
        let mut out = serde_json::json!({ "schema": "mirror-bundle/ls/v1", "verified": false });
        if args.images || all {
            out["images"] = serde_json::json!(index.images);
        }
        if args.blobs {
            out["blobs"] = serde_json::json!(index.blobs);
        }
        if args.manifests {
            out["files"] = serde_json::json!(index.files);
        }
        answer::json(&out);
        return Ok(0);
    }
    warn("this is what the index says; contents are not verified");
    answer::text(&lines(&seen.index, args.images || all, args.blobs, args.manifests));
    Ok(0)
}

fn lines(index: &Index, images: bool, blobs: bool, manifests: bool) -> String {
    let mut out = String::new();
    for image in index.images.iter().filter(|_| images) {
        let component = image.component.as_deref().unwrap_or("-");
        let platforms = if image.platforms.is_empty() { "-".to_owned() } else { image.platforms.join(",") };
        let reference = image.reference().unwrap_or_else(|| "-".to_owned());
        out.push_str(&format!(
            "{:10} {} {} {} {}\n",
            image.kind.as_str(),
            image.digest,
            name(component),
            name(&platforms),
            name(&reference)
        ));
    }
    for blob in index.blobs.iter().filter(|_| blobs) {
        out.push_str(&format!("{:10} {} {}\n", blob.role.as_str(), blob.digest, blob.size));
    }
    for file in index.files.iter().filter(|_| manifests) {
        for object in &file.objects {
            let namespace = object.namespace.as_deref().unwrap_or("-");
            out.push_str(&format!(
                "{} {} {} {} {}\n",
                name(&object.kind),
                name(&object.api_version),
                name(namespace),
                name(&object.name),
                name(&file.path)
            ));
        }
    }
    out
}
