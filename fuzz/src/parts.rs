//! Bundles from a text of parts, with every digest, size, order and signature put right.
//!
//! A part is a line `%%` + kind + argument, and its content up to the next such line. `I`: the index, without files
//! and blobs; `F path`: a file; `X`, `M`, `C`, `L`: a blob that is an index, manifest, configuration or layer; an `L`
//! with a path is a tar layer that holds the content under it. A layer's path may begin with `z:` (gzip) or `s:`
//! (zstd). In all of them `$A$`, `#A#`, `&A&` stand for the digest, size and hex of the first blob, and so on; blobs
//! may name later blobs only. `\n%%A name`: an addendum; its name may be `$record`, `$sig` (over the index) or
//! `$recordsig` (over the addendum before it).

use std::io::Write;

use mirror_bundle::bundle::index::{Blob, Index};
use mirror_bundle::bundle::{addendum, layout, tar, writer::Plan};
use mirror_bundle::oci::{Digest, Role as BlobRole};
use mirror_bundle::sign::{MessageHash, Namespace, Role, sign};

struct Part<'a> {
    kind: u8,
    arg: &'a [u8],
    content: &'a [u8],
}

fn split(text: &[u8]) -> Vec<Part<'_>> {
    let mut starts: Vec<usize> =
        text.windows(3).enumerate().filter(|(_, w)| *w == b"\n%%").map(|(at, _)| at + 1).collect();
    if text.starts_with(b"%%") {
        starts.insert(0, 0);
    }
    let ends: Vec<usize> = starts.iter().skip(1).map(|s| s - 1).chain([text.len()]).collect();
    let parts = starts.iter().zip(ends).filter_map(|(start, end)| {
        let (line, content) = match text[*start..end].iter().position(|b| *b == b'\n') {
            Some(at) => (&text[*start..start + at], &text[start + at + 1..end]),
            None => (&text[*start..end], &b""[..]),
        };
        let kind = *line.get(2)?;
        Some(Part { kind, arg: line.get(4..).unwrap_or_default(), content })
    });
    parts.take(64).collect()
}

fn fill(text: &[u8], blobs: &[Option<(Digest, u64)>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        if let [open @ (b'$' | b'#' | b'&'), name @ b'A'..=b'Z', close, ..] = &text[at..]
            && open == close
        {
            let (digest, size) = blobs.get(usize::from(name - b'A')).copied().flatten().unwrap_or((Digest::of(b""), 0));
            match open {
                b'$' => out.extend_from_slice(digest.to_string().as_bytes()),
                b'#' => out.extend_from_slice(size.to_string().as_bytes()),
                _ => out.extend_from_slice(digest.hex().as_bytes()),
            }
            at += 3;
        } else {
            out.push(text[at]);
            at += 1;
        }
    }
    out
}

fn layer(arg: &[u8], content: Vec<u8>) -> Vec<u8> {
    let (pack, path) = match arg {
        [pack @ (b'z' | b's'), b':', path @ ..] => (Some(pack), path),
        path => (None, path),
    };
    let mut raw = content;
    if !path.is_empty() {
        let mut out = Vec::new();
        super::push(&mut out, &String::from_utf8_lossy(path), 0, &raw);
        out.resize(out.len() + 1024, 0);
        raw = out;
    }
    match pack {
        Some(b'z') => {
            let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            to.write_all(&raw).unwrap();
            to.finish().unwrap()
        }
        Some(_) => zstd::encode_all(&raw[..], 1).unwrap(),
        None => raw,
    }
}

/// What [`bundle`] made.
pub struct Made {
    /// The plan.
    pub plan: Plan,
    /// The blobs, in the order of the layout.
    pub blobs: Vec<Vec<u8>>,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// The bundle of these parts, if they make one. Signed or not.
pub fn bundle(text: &[u8], signed: bool) -> Option<Made> {
    let parts = split(text);
    let blob = |p: &&Part<'_>| matches!(p.kind, b'X' | b'M' | b'C' | b'L');
    let blobs: Vec<&Part<'_>> = parts.iter().filter(blob).take(26).collect();
    let mut known: Vec<Option<(Digest, u64)>> = vec![None; blobs.len()];
    let mut content: Vec<(Blob, Vec<u8>)> = Vec::new();
    for (at, part) in blobs.iter().enumerate().rev() {
        let bytes = fill(part.content, &known);
        let (role, bytes) = match part.kind {
            b'X' => (BlobRole::Index, bytes),
            b'M' => (BlobRole::Manifest, bytes),
            b'C' => (BlobRole::Config, bytes),
            _ => (BlobRole::Layer, layer(part.arg, bytes)),
        };
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        known[at] = Some((digest, size));
        if !content.iter().any(|(b, _)| b.digest == digest) {
            content.push((Blob { digest, size, role }, bytes));
        }
    }
    let class = |role: BlobRole| match role {
        BlobRole::Index | BlobRole::Manifest => 0,
        BlobRole::Config => 1,
        BlobRole::Layer => 2,
    };
    content.sort_by_key(|(b, _)| (class(b.role), b.digest));

    let text = fill(parts.iter().find(|p| p.kind == b'I')?.content, &known);
    let mut index: Index = serde_json::from_slice(&text).ok()?;
    index.sort();
    let mut files: Vec<(String, Vec<u8>)> = parts
        .iter()
        .filter(|p| p.kind == b'F')
        .map(|p| (String::from_utf8_lossy(&fill(p.arg, &known)).into_owned(), fill(p.content, &known)))
        .collect();
    files.sort();
    files.dedup_by(|a, b| a.0 == b.0);
    index.blobs = content.iter().map(|(b, _)| b.clone()).collect();
    files.insert(0, (layout::OCI_LAYOUT.into(), layout::OCI_LAYOUT_JSON.to_vec()));
    files.insert(1, (layout::OCI_INDEX.into(), layout::oci_index(&index).ok()?));
    index.files = files
        .iter()
        .map(|(path, bytes)| {
            let mut file = layout::file(path, bytes);
            if path.starts_with("manifests/") {
                file.objects = mirror_bundle::kubernetes::read(bytes).map(|m| m.object).into_iter().collect();
            }
            file
        })
        .collect();
    let hash = MessageHash::of(&index.to_bytes().ok()?);
    let sign_as = |role| sign(super::key(), Namespace::Index(role), &hash).into_bytes();
    let signature = signed.then(|| sign_as(Role::Builder));
    let plan = Plan::new(index, files.into_iter().map(|(_, b)| b).collect(), signature).ok()?;

    let mut bytes = plan.head(&plan.archives()[0].layout).concat();
    let mtime = plan.archives()[0].layout.mtime();
    let blobs: Vec<Vec<u8>> = content.into_iter().map(|(_, b)| b).collect();
    for (member, blob) in plan.archives()[0].layout.blobs().iter().zip(&blobs) {
        super::push(&mut bytes, &member.path, mtime, blob);
    }
    let mut last = Vec::new();
    for part in parts.iter().filter(|p| p.kind == b'A') {
        let mut content = replace(part.content, b"$I$", plan.digest().hex().as_bytes());
        let name = match part.arg {
            b"$record" => addendum::record_name(&content),
            b"$recordsig" => {
                content = sign(super::key(), Namespace::Record, &MessageHash::of(&last)).into_bytes();
                format!("{}.sig", addendum::record_name(&last))
            }
            b"$sig" => {
                content = sign_as(Role::Builder);
                addendum::signature_name(Role::Builder, super::key().public().blob())
            }
            other => String::from_utf8_lossy(other).into_owned(),
        };
        super::push(&mut bytes, &format!("{}{name}", layout::ADDENDA), mtime, &content);
        last = content;
    }
    bytes.resize(bytes.len() + 2 * tar::BLOCK as usize, 0);
    Some(Made { plan, blobs, bytes })
}

/// `text` with every `from` as `to`.
pub fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with(from) {
            out.extend_from_slice(to);
            at += from.len();
        } else {
            out.push(text[at]);
            at += 1;
        }
    }
    out
}

/// A tar file of parts: each `%%` line's argument is the path, `&A&` and the others as in [`bundle`].
pub fn archive(text: &[u8]) -> Vec<u8> {
    let parts = split(text);
    let mut known = vec![None; parts.len().min(26)];
    let mut members = Vec::new();
    for (at, part) in parts.iter().enumerate().rev() {
        let content = fill(part.content, &known);
        let own = Some((Digest::of(&content), content.len() as u64));
        if let Some(slot) = known.get_mut(at) {
            *slot = own;
        }
        members.push((fill(part.arg, &[own]), content));
    }
    let mut out = Vec::new();
    for (path, content) in members {
        // `&A&` in a path is the member's own.
        super::push(&mut out, &String::from_utf8_lossy(&path), 0, &content);
    }
    out.resize(out.len() + 1024, 0);
    out
}
