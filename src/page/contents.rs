//! What is in the bundle: images, sizes, packages, and what is new.

use std::collections::{BTreeMap, BTreeSet};

use super::block::{Bar, Block, Fill, Line, Picture, Span, Table, code, digest, name, small, strong, text};
use super::{LISTED, Since, View, count, grouped};
use crate::policy::facts::ImageFacts;
use crate::report::size;

/// The most bars of a picture.
const BARS: usize = 16;
/// The most purls that are named of one kind.
const LICENCES: usize = 12;

/// The images that run, each manifest once.
fn running<'a>(sheet: &'a View<'_>) -> Vec<&'a ImageFacts> {
    let images = sheet.facts.map(|facts| facts.images.as_slice()).unwrap_or_default();
    let mut seen = BTreeSet::new();
    images.iter().filter(|image| image.runs && seen.insert(&image.digest)).collect()
}

fn called(image: &ImageFacts) -> &str {
    image.components.first().or(image.names.first()).map_or(image.digest.as_str(), String::as_str)
}

/// What is new since the older bundle, as a picture and in words.
pub(super) fn since(sheet: &View<'_>, out: &mut Vec<Block>) {
    let Some(since) = &sheet.since else { return };
    out.push(Block::Heading(format!("What is new since {}", since.title)));
    let of = |what: &str| since.images.iter().filter(|image| image.what == what).count();
    out.push(Block::Text(vec![
        strong(format!("{} new, {} changed, {} gone", of("new"), of("changed"), of("gone"))),
        text(format!(
            ", {} the same. {} that the older bundle did not have. Its index is ",
            grouped(since.same),
            size(since.bytes)
        )),
        digest(&since.index),
        text(format!("; {}.", crate::escape::name(&since.standing))),
    ]));
    picture(since, out);
    let gone: Vec<&str> =
        since.images.iter().filter(|image| image.what == "gone").map(|image| image.name.as_str()).collect();
    if !gone.is_empty() {
        let mut line: Line = vec![strong("Gone: ")];
        for one in gone.iter().take(40) {
            line.extend([name(one), text(" ")]);
        }
        if gone.len() > 40 {
            line.push(text(format!("and {} more", gone.len() - 40)));
        }
        out.push(Block::Text(line));
    }
    if !since.objects.is_empty() {
        let mut line: Line = vec![strong("Manifests: ")];
        for (what, one) in since.objects.iter().take(40) {
            line.extend([text(format!("{what} ")), name(one), text("; ")]);
        }
        if since.objects.len() > 40 {
            line.push(text(format!("and {} more", since.objects.len() - 40)));
        }
        out.push(Block::Text(line));
    }
}

fn picture(since: &Since, out: &mut Vec<Block>) {
    let mut changed: Vec<_> = since.images.iter().filter(|image| image.what != "gone").collect();
    changed.sort_by(|a, b| (b.bytes, &a.name).cmp(&(a.bytes, &b.name)));
    if changed.is_empty() {
        return;
    }
    let all = changed.len();
    let bar = |image: &&super::Change| {
        let (mark, fill) = if image.what == "new" { ("+", Fill::Stripes) } else { ("≠", Fill::Dots) };
        Bar { name: image.name.clone(), mark, parts: vec![(fill, image.bytes)] }
    };
    let more = if all > BARS { format!(" The {BARS} largest of {all}.") } else { String::new() };
    out.push(Block::Picture(Picture {
        id: 'n',
        title: "Bytes that are new, by image",
        bars: changed.iter().take(BARS).map(bar).collect(),
        caption: format!(
            "Bytes that the older bundle did not have, by image; a layer of several images counts for each. + new image \
             (stripes), ≠ changed image (dots).{more}"
        ),
    }));
}

/// How large the images are, and what they share.
pub(super) fn sizes(sheet: &View<'_>, out: &mut Vec<Block>) {
    let mut images = running(sheet);
    if images.is_empty() {
        return;
    }
    images.sort_by(|a, b| (b.size, called(a)).cmp(&(a.size, called(b))));
    let all = images.len();
    let bar = |image: &&ImageFacts| {
        let shared: u64 = image.layers.iter().filter(|layer| layer.shared > 1).map(|layer| layer.size).sum();
        let parts = vec![(Fill::White, shared), (Fill::Dark, image.size.saturating_sub(shared))];
        Bar { name: called(image).to_owned(), mark: "", parts }
    };
    let (blobs, bytes) =
        sheet.index.map_or((0, 0), |index| (index.blobs.len(), index.blobs.iter().map(|b| b.size).sum::<u64>()));
    let which = if all > BARS { format!("The {BARS} largest of {all} images. ") } else { String::new() };
    out.push(Block::Heading("Size".to_owned()));
    out.push(Block::Picture(Picture {
        id: 'z',
        title: "Size of images",
        bars: images.iter().take(BARS).map(bar).collect(),
        caption: format!(
            "{which}White: layers that other images have too, carried once. Dark: what this image alone has. All together {} in {}.",
            size(bytes),
            count(blobs, "blob")
        ),
    }));
}

/// The packages, counted.
pub(super) fn packages(sheet: &View<'_>, out: &mut Vec<Block>) {
    let images = running(sheet);
    let known: Vec<&&ImageFacts> = images.iter().filter(|image| image.packages.is_some()).collect();
    if known.is_empty() {
        return;
    }
    out.push(Block::Heading("Packages".to_owned()));
    let mut kinds: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut licences: BTreeMap<&str, u64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for package in known.iter().flat_map(|image| image.packages.iter().flatten()) {
        let kind = package.purl.strip_prefix("pkg:").and_then(|rest| rest.split('/').next()).unwrap_or("other");
        kinds.entry(kind).or_default().insert(&package.purl);
        if seen.insert(&package.purl) {
            *licences.entry(package.license.as_deref().unwrap_or("none given")).or_default() += 1;
        }
    }
    let all: usize = kinds.values().map(BTreeSet::len).sum();
    let by_kind: Vec<String> = kinds
        .iter()
        .map(|(kind, purls)| format!("{} {}", grouped(purls.len() as u64), crate::escape::name(kind)))
        .collect();
    let more: u64 = known.iter().map(|image| image.more_packages).sum();
    let more = if more > 0 { format!(" {} are only in the SBOM.", grouped(more)) } else { String::new() };
    out.push(Block::Text(vec![
        strong(count(all, "different package")),
        text(format!(" in {}: {}.{more}", count(known.len(), "image"), by_kind.join(", "))),
    ]));
    let mut most: Vec<(&str, u64)> = licences.into_iter().collect();
    most.sort_by(|a, b| (b.1, a.0).cmp(&(a.1, b.0)));
    let mut line: Line = vec![text("Licences as their databases write them: ")];
    for (licence, n) in most.iter().take(LICENCES) {
        line.extend([name(licence), text(format!(" {}; ", grouped(*n)))]);
    }
    if most.len() > LICENCES {
        line.push(text(format!("and {}", count(most.len() - LICENCES, "other"))));
    }
    out.push(Block::Text(line));
    let unread: Vec<(&str, &String)> =
        known.iter().flat_map(|image| image.unknowns.iter().map(|why| (called(image), why))).collect();
    if !unread.is_empty() {
        let row = |(image, why): &(&str, &String)| vec![vec![name(image)], vec![text(crate::escape::name(why))]];
        out.push(Block::Text(vec![strong("Could not be read, so the list is not complete there:")]));
        let rows = unread.iter().take(LISTED / 4).map(row).collect();
        out.push(Block::Table(Table { class: "u2", head: &["Image", "What, and why"], rows }));
        if unread.len() > LISTED / 4 {
            out.push(Block::Note(vec![text(format!("And {} more.", unread.len() - LISTED / 4))]));
        }
    }
    out.push(Block::Note(vec![
        text("In full, with licences and the files that they come from: "),
        code(
            format!(
                "mirror-bundle sbom {} {} -o bundle.cdx.json",
                crate::escape::shell(&sheet.made.bundle),
                sheet.made.trust
            )
            .replace("  ", " "),
        ),
        text(". They are what package databases and programs say; a program without such data is not in them."),
    ]));
}

/// Every image.
pub(super) fn images(sheet: &View<'_>, out: &mut Vec<Block>) {
    let Some(facts) = sheet.facts else { return };
    out.push(Block::Heading("Every image".to_owned()));
    if facts.images.is_empty() {
        out.push(Block::Text(vec![text("There is none: the bundle has Kubernetes manifests only.")]));
        return;
    }
    let change = |image: &ImageFacts| -> Option<&'static str> {
        let since = sheet.since.as_ref()?;
        match since.images.iter().find(|change| change.digests.contains(&image.digest)).map(|change| change.what) {
            Some("new") => Some("+ new"),
            Some(_) => Some("≠ changed"),
            None => Some("= same"),
        }
    };
    let mut seen = BTreeSet::new();
    let mut rows = Vec::new();
    let (mut attached, mut dropped) = (0usize, 0usize);
    for image in &facts.images {
        if !seen.insert(&image.digest) {
            continue;
        }
        if !image.runs {
            attached += 1;
            continue;
        }
        if rows.len() >= 2 * LISTED {
            dropped += 1;
            continue;
        }
        rows.push(row(image, change(image)));
    }
    if !rows.is_empty() {
        out.push(Block::Table(Table {
            class: "i",
            head: match sheet.since {
                Some(_) => &["Image", "Newest layer", "Layers", "Size", "Packages", "Since"],
                None => &["Image", "Newest layer", "Layers", "Size", "Packages"],
            },
            rows,
        }));
    }
    let mut note = vec![text("Names, users and dates are what the sender says; digests and sizes were checked.")];
    if attached > 0 {
        note.push(text(format!(
            " Besides, {} that no runtime takes for an image: signatures, attestations, charts.",
            count(attached, "manifest")
        )));
    }
    if dropped > 0 {
        note.push(strong(format!(" {} are only in the document of -o json.", count(dropped, "more image"))));
    }
    out.push(Block::Note(note));
}

fn row(image: &ImageFacts, change: Option<&'static str>) -> Vec<Line> {
    let mut what: Line = Vec::new();
    let mut more: Vec<String> = Vec::new();
    match image.components.as_slice() {
        [] => {
            for called in image.names.iter().take(3) {
                if !what.is_empty() {
                    what.push(Span::Break);
                }
                what.push(name(called));
            }
            if image.names.len() > 3 {
                what.push(small(format!(" and {} more names", image.names.len() - 3)));
            }
        }
        // Its digest stands below, and all components are in one repository.
        components => {
            what.push(name(&components.join(", ")));
            more.extend(image.repositories.first().cloned());
        }
    }
    more.extend(image.platform.clone());
    more.extend(image.system.clone());
    let root = matches!(image.user.split(':').next().unwrap_or_default(), "" | "0" | "root");
    more.push(if root { "runs as root".to_owned() } else { format!("runs as {}", image.user) });
    let notable = ["setuid", "setgid", "capabilities", "private-key", "device", "world-writable"];
    more.extend(notable.iter().filter_map(|word| image.counts.get(word).map(|n| format!("{n} {word}"))));
    if !image.signed_by.is_empty() {
        more.push(format!("signed by {}", image.signed_by.join(", ")));
    }
    let more: Vec<String> = more.iter().map(|one| crate::escape::name(one)).collect();
    what.extend([Span::Break, small(more.join(", ")), Span::Break, digest(&image.digest)]);
    let day = image
        .newest_layer
        .as_deref()
        .or(image.created.as_deref())
        .map_or_else(|| "?".to_owned(), |at| crate::escape::name(at.get(..10).unwrap_or(at)));
    let packages =
        image.packages.as_ref().map_or_else(String::new, |all| grouped(all.len() as u64 + image.more_packages));
    let mut cells = vec![
        what,
        vec![text(day)],
        vec![text(image.layers.len().to_string())],
        vec![text(size(image.size))],
        vec![text(packages)],
    ];
    cells.extend(change.map(|change| vec![text(change)]));
    cells
}
