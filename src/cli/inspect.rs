//! `mirror-bundle inspect` and `ls`: show what the index says, and that it was not verified.

use std::io::IsTerminal;
use std::path::PathBuf;

use super::answer::{self, Table};
use super::args::{Global, Inspect, Ls, Output};
use super::escape::{name, title};
use crate::bundle::Inputs;
use crate::bundle::index::{self, Blob, Image, Index, Kind};
use crate::error::{Code, Error, Result};
use crate::ops::claims::ImageClaims;
use crate::ops::inspect::{Inspected, inspect};
use crate::ops::observer;
use crate::sign::cosign::ImageKey;
use crate::verify::Trust;

pub(super) fn run(args: &Inspect, global: &Global) -> Result<u8> {
    let trust = args.trust.as_deref().map(|policy| {
        crate::host::trust::read(&crate::host::trust::Named { policy: Some(policy), ..Default::default() })
    });
    let trust = trust.transpose()?;
    let seen = open(&args.bundle, trust.as_ref().map(Trust::image_keys).unwrap_or_default(), true)?;
    let (attestations, more) = seen.attestations.as_ref().map_or((None, 0), |(listed, more)| (Some(listed), *more));
    match global.output {
        Output::Json | Output::Jsonl => answer::json(
            global,
            &answer::Object([
                ("schema", serde_json::json!("mirror-bundle/inspect/v1")),
                ("verified", serde_json::json!(false)),
                ("path", serde_json::json!(named(&args.bundle))),
                ("index_digest", serde_json::json!(seen.digest)),
                ("signed", serde_json::json!(seen.signed)),
                ("bytes", serde_json::json!(seen.bytes)),
                ("index", serde_json::json!(*seen.index)),
                ("attestations", serde_json::json!(attestations)),
                ("more_attestations", serde_json::json!(more)),
                ("image_claims", serde_json::json!(seen.images)),
                ("updates", serde_json::json!(seen.updates)),
                ("removed", serde_json::json!(seen.removed)),
                ("form", serde_json::json!(seen.form)),
                (
                    "volumes",
                    seen.volumes.as_ref().map_or(serde_json::Value::Null, |(here, of)| {
                        serde_json::json!(answer::Object([("here", here.as_slice().into()), ("of", (*of).into())]))
                    }),
                ),
            ]),
        ),
        Output::Text if global.quiet < 2 => answer::text(&render(&args.bundle, &seen)),
        Output::Text => {}
    }
    Ok(0)
}

fn open(paths: &[PathBuf], keys: &[ImageKey], images: bool) -> Result<Inspected> {
    inspect(Inputs::of(paths)?, keys, images)
}

fn named(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" ")
}

/// The most objects that are shown by name.
const OBJECTS: usize = 20;

fn render(paths: &[PathBuf], seen: &Inspected) -> String {
    let index = &seen.index;
    let mut table = Table::default();
    table.row("bundle", format!("{} (contents not verified)", named(paths)));
    if let Some((here, of)) = &seen.volumes {
        let here: Vec<String> = here.iter().map(u32::to_string).collect();
        let word = if here.len() == 1 { "volume" } else { "volumes" };
        table.row(word, format!("{} of {of}", here.join(", ")));
    }
    table.row("index", seen.digest.to_string());
    table.row("name", index::title(&title(&index.name), index.sequence));
    table.row("created", &index.created);
    if let Some(expires) = &index.expires {
        table.row("expires", expires);
    }
    table.row("signed", if seen.signed { "yes (signature not evaluated)" } else { "no" });
    if let Some(form) = &seen.form {
        table.row("form", format!("{} (signature not evaluated)", name(&form.words())));
        table.row("", "skopeo, umoci and podman read its images after: mirror-bundle expand");
    }
    for release in &index.releases {
        table.row("release", format!("{} {} {}", release.version, release.architecture, release.digest));
    }
    for kind in [Kind::Release, Kind::Component, Kind::Additional, Kind::Signature, Kind::Referrer, Kind::GraphData] {
        let n = index.images.iter().filter(|i| i.kind == kind).count();
        if n > 0 {
            table.row("images", format!("{n} {}", kind.as_str()));
        }
    }
    table.row("blobs", format!("{}, {}", index.blobs.len(), observer::size(index.blobs.iter().map(|b| b.size).sum())));
    let objects: usize = index.files.iter().map(|f| f.objects.len()).sum();
    table.row("manifests", observer::count(objects, "object"));
    for object in index.files.iter().flat_map(|f| &f.objects).take(OBJECTS) {
        let place = object.namespace.as_deref().map(|n| format!("{}/", name(n))).unwrap_or_default();
        table.row("manifest", format!("{} {place}{}", name(&object.kind), name(&object.name)));
    }
    if objects > OBJECTS {
        table.row("", format!("and {} more: mirror-bundle ls --manifests", objects - OBJECTS));
    }
    for exception in &index.exceptions {
        table.row("exception", name(exception));
    }
    if !seen.removed.is_empty() {
        table.row("removed", format!("{} (signature not evaluated)", seen.removed));
    }
    for missing in &index.missing {
        table.row("missing", format!("{}: {}", name(&missing.reference), name(&missing.reason)));
    }
    let mut out = table.render();
    super::verify::updates(seen.updates.as_deref().unwrap_or_default(), &mut out);
    match &seen.attestations {
        Some((listed, more)) => super::verify::attested(listed, *more, &mut out),
        None if index.images.iter().any(|image| image.subject.is_some()) => {
            out.push_str(&format!("{:9} not read from a stream\n", "attested"));
        }
        None => {}
    }
    out.push_str(&claims(seen.images.as_deref().unwrap_or_default(), std::io::stdout().is_terminal()));
    out
}

/// What the sender says about each image; on a terminal in columns, with a picture of the sizes.
fn claims(images: &[ImageClaims], columns: bool) -> String {
    if images.is_empty() {
        return String::new();
    }
    let largest = images.iter().map(|image| image.size).max().unwrap_or(0);
    let mut out =
        "\nimages, as the sender describes them (claims by the sender; nothing here is verified)\n".to_owned();
    let shared = |image: &ImageClaims| match image.shared_layers {
        0 => "-".to_owned(),
        n => format!("{n} of {} ({})", image.layers, observer::size(image.shared_size)),
    };
    let row = |image: &ImageClaims| {
        let created = image.created.as_deref().map_or_else(|| "-".to_owned(), name);
        let mut row = vec![name(&image.name), created, observer::size(image.size), shared(image)];
        row.extend(columns.then(|| bar(image.size, image.shared_size, largest)));
        row
    };
    let mut heading = vec!["IMAGE", "CREATED", "SIZE", "SHARED LAYERS"];
    heading.extend(columns.then_some("PICTURE (# own, = shared)"));
    let mut rows: Vec<(Vec<String>, Vec<String>)> = Vec::new();
    for image in images.iter().take(IMAGES) {
        let attached = image.attached.iter().map(|one| {
            let by = one.author.as_deref().map(|author| format!(" by {}", name(author))).unwrap_or_default();
            format!("          {} {}{by}: claim by the sender", one.kind, name(&one.r#type))
        });
        rows.push((row(image), attached.collect()));
    }
    let cells: Vec<Vec<String>> = rows.iter().map(|(cells, _)| cells.clone()).collect();
    let mut lines = align(&heading, cells, columns).into_iter();
    out.extend(lines.next().filter(|_| columns));
    for (line, (_, attached)) in lines.zip(&rows) {
        out.push_str(&line);
        attached.iter().for_each(|one| out.push_str(&format!("{one}\n")));
    }
    if images.len() > IMAGES {
        out.push_str(&format!("and {} more: -o json lists all\n", images.len() - IMAGES));
    }
    out
}

/// The most images that are described.
const IMAGES: usize = 200;

/// A size as a bar of up to 30 characters; what is shared is drawn differently.
fn bar(size: u64, shared: u64, largest: u64) -> String {
    const WIDTH: u64 = 30;
    let scaled = |bytes: u64| usize::try_from(u128::from(bytes) * u128::from(WIDTH) / u128::from(largest.max(1)));
    let (all, shared) = (scaled(size).unwrap_or(0).max(1), scaled(shared.min(size)).unwrap_or(0));
    format!("{}{}", "=".repeat(shared.min(all)), "#".repeat(all.saturating_sub(shared)))
}

/// The heading and the rows as lines: aligned, or with single blanks.
fn align(heading: &[&str], rows: Vec<Vec<String>>, columns: bool) -> Vec<String> {
    let head = heading.iter().map(|word| (*word).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let wide = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..heading.len()).map(|at| wide(at).filter(|_| columns).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join(if columns { "  " } else { " " }).trim_end())
    };
    rows.iter().map(line).collect()
}

pub(super) fn ls(args: &Ls, global: &Global, unverified: &dyn Fn(&str)) -> Result<u8> {
    let trust = &args.trust;
    if !trust.signer.is_empty() || trust.trust.is_some() || trust.allow_unsigned {
        let err = Error::new(Code::Usage, "ls shows what the index says, and verifies a bundle only with --files");
        return Err(err.hint("mirror-bundle verify BUNDLE --signer KEY.pub; or leave out what names trust"));
    }
    let seen = open(&args.bundle, &[], false)?;
    let all = !(args.images || args.blobs || args.manifests);
    if global.output != Output::Text {
        let index = &seen.index;
        let of = |list: serde_json::Value, wanted: bool| if wanted { list } else { serde_json::Value::Null };
        let out = answer::Object([
            ("schema", "mirror-bundle/ls/v1".into()),
            ("verified", false.into()),
            ("images", of(serde_json::json!(index.images), args.images || all)),
            ("blobs", of(serde_json::json!(index.blobs), args.blobs)),
            ("files", of(serde_json::json!(index.files), args.manifests)),
            ("absent", of(serde_json::json!(seen.absent), args.blobs && seen.form.is_some())),
        ]);
        answer::json(global, &out);
        return Ok(0);
    }
    if global.quiet > 1 {
        return Ok(0);
    }
    unverified("this is what the index says");
    let columns = std::io::stdout().is_terminal();
    answer::text(&lines(&seen, args.images || all, args.blobs, args.manifests, columns));
    if columns {
        answer::text(&summary(&seen.index));
    }
    Ok(0)
}

/// A picture of what takes the space: the blobs by role.
fn summary(index: &Index) -> String {
    let mut sizes: Vec<(&str, usize, u64)> = Vec::new();
    for blob in &index.blobs {
        match sizes.iter_mut().find(|(role, _, _)| *role == blob.role.as_str()) {
            Some((_, count, bytes)) => (*count, *bytes) = (*count + 1, *bytes + blob.size),
            None => sizes.push((blob.role.as_str(), 1, blob.size)),
        }
    }
    let largest = sizes.iter().map(|(_, _, bytes)| *bytes).max().unwrap_or(0);
    let row = |(role, count, bytes): &(&str, usize, u64)| {
        vec![(*role).to_owned(), count.to_string(), observer::size(*bytes), bar(*bytes, 0, largest)]
    };
    format!("\n{}", align(&["BLOBS", "COUNT", "SIZE", "PICTURE"], sizes.iter().map(row).collect(), true).concat())
}

/// One item per line; on a terminal in columns with a heading, on a pipe with single blanks.
fn lines(seen: &Inspected, images: bool, blobs: bool, manifests: bool, columns: bool) -> String {
    let index = &seen.index;
    let dash = |text: Option<&str>| text.map_or_else(|| "-".to_owned(), name);
    let mut out = String::new();
    let mut block = |heading: &[&str], rows: Vec<Vec<String>>| {
        out.extend(align(heading, rows, columns).into_iter().skip(usize::from(!columns)));
    };
    if images {
        let row = |image: &Image| {
            let platforms = image.platforms.join(",");
            vec![
                image.kind.as_str().to_owned(),
                image.digest.to_string(),
                dash(image.component.as_deref()),
                dash(Some(platforms.as_str()).filter(|p| !p.is_empty())),
                dash(image.reference().as_deref()),
            ]
        };
        block(&["KIND", "DIGEST", "COMPONENT", "PLATFORMS", "REFERENCE"], index.images.iter().map(row).collect());
    }
    if blobs {
        let row = |blob: &Blob| {
            let mut row = vec![blob.role.as_str().to_owned(), blob.digest.to_string(), blob.size.to_string()];
            let word = if seen.absent.contains(&blob.digest) { "absent" } else { "-" };
            row.extend(seen.form.is_some().then(|| word.to_owned()));
            row
        };
        let mut heading = vec!["ROLE", "DIGEST", "BYTES"];
        heading.extend(seen.form.is_some().then_some("FORM"));
        block(&heading, index.blobs.iter().map(row).collect());
    }
    if manifests {
        let objects = index.files.iter().flat_map(|file| file.objects.iter().map(move |object| (file, object)));
        let rows = objects.map(|(file, object)| {
            vec![
                name(&object.kind),
                name(&object.api_version),
                dash(object.namespace.as_deref()),
                name(&object.name),
                name(&file.path),
            ]
        });
        block(&["KIND", "VERSION", "NAMESPACE", "NAME", "FILE"], rows.collect());
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn claims_have_a_picture_of_the_sizes_on_a_terminal_and_are_plain_on_a_pipe() {
        let image = |name: &str, size, shared_size| ImageClaims {
            name: name.into(),
            platform: None,
            digest: crate::oci::Digest::of(b"x"),
            created: None,
            size,
            layers: 2,
            shared_layers: u64::from(shared_size > 0),
            shared_size,
            attached: vec![],
        };
        let images = [image("large", 3000, 1000), image("small\u{1b}[2J", 10, 0)];
        let (drawn, plain) = (claims(&images, true), claims(&images, false));
        assert!(drawn.contains(&format!("{}{}\n", "=".repeat(10), "#".repeat(20))), "{drawn}");
        assert!(plain.contains("\nlarge - 2.9 KiB 1 of 2 (1000 B)\n") && !plain.contains('#'), "{plain}");
        assert!(plain.contains("claims by the sender") && !plain.contains('\u{1b}'), "{plain}");
        let index = crate::bundle::index::tests::sample();
        assert!(summary(&index).contains("layer  1      1 B   ####"), "{}", summary(&index));
    }

    #[test]
    fn lists_have_aligned_columns_with_a_heading_on_a_terminal_and_single_blanks_on_a_pipe() {
        let index = crate::bundle::index::tests::sample();
        let seen = Inspected {
            digest: index.blobs[0].digest,
            index: index.into(),
            removed: String::new(),
            form: None,
            absent: std::collections::BTreeSet::new(),
            signed: true,
            bytes: 1,
            volumes: None,
            attestations: None,
            images: None,
            updates: None,
        };
        let (aligned, plain) = (lines(&seen, true, true, true, true), lines(&seen, true, true, true, false));
        assert!(aligned.starts_with("KIND") && !plain.contains("KIND"), "{aligned}");
        assert!(!plain.contains("  "), "{plain}");
    }
}
