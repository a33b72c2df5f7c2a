//! Mutations of the bytes of a bundle, of the text or meaning of its index, and of its documents.

use mirror_bundle::bundle::index::{Blob, Image, Index, Kind};
use mirror_bundle::bundle::{layout, tar};
use mirror_bundle::oci::{Digest, Role, media_type};
use mirror_bundle::sign::{self, MessageHash, Namespace, SecretKey};

use super::Random;
use super::model::{self, Model};

/// One mutated bundle, and what was done to it.
pub(crate) fn one(random: &mut Random, key: &SecretKey) -> (String, Vec<u8>) {
    match random.below(10) {
        0..=3 => raw(random, key),
        4 => signature(random, key),
        5..=6 => text(random, key),
        7 => meaning(random, key),
        _ => documents(random, key),
    }
}

/// Changes bytes of a finished bundle.
fn raw(random: &mut Random, key: &SecretKey) -> (String, Vec<u8>) {
    damaged(random, model::good().archive(key))
}

/// These bytes, changed.
pub(super) fn damaged(random: &mut Random, mut bytes: Vec<u8>) -> (String, Vec<u8>) {
    let mut done = Vec::new();
    for _ in 0..1 + random.below(2) {
        let at = place(random, &bytes);
        let what = match random.below(12) {
            0..=3 => {
                bytes[at] ^= 1 << random.below(8);
                format!("bit at {at}")
            }
            4 => {
                bytes[at] = *random.pick(&[0, 1, b'0', b'7', b' ', b'/', 0x80, 0xff]);
                format!("byte at {at}")
            }
            5 => {
                bytes.truncate(at);
                format!("cut at {at}")
            }
            6 => {
                bytes.truncate(at / 512 * 512);
                format!("cut at block {}", at / 512)
            }
            7 => {
                let (one, two) = (at / 512 * 512, random.below(bytes.len() / 512) * 512);
                for i in 0..512 {
                    bytes.swap(one + i, two + i);
                }
                format!("blocks at {one} and {two} swapped")
            }
            8 => {
                let more = vec![*random.pick(&[0, 0, b'x']); *random.pick(&[1, 30, 512, 1024])];
                bytes.splice(at..at, more.iter().copied());
                format!("{} bytes of {} at {at}", more.len(), more[0])
            }
            9 => {
                let block = at / 512 * 512;
                let copy = bytes[block..block + 512].to_vec();
                bytes.splice(block..block, copy);
                format!("block at {block} twice")
            }
            10 => {
                let end = bytes.len().min(at + *random.pick(&[1, 512, 1536]));
                bytes.drain(at..end);
                format!("{at} to {end} gone")
            }
            _ => addendum(random, &mut bytes),
        };
        done.push(what);
        if bytes.len() < 2048 {
            break;
        }
    }
    (done.join(", "), bytes)
}

/// A position; more often one where single bytes matter.
fn place(random: &mut Random, bytes: &[u8]) -> usize {
    match random.below(4) {
        0 => random.below(bytes.len()),
        1 => random.below(bytes.len().min(6000)),
        2 => bytes.len() - 1 - random.below(bytes.len().min(2600)),
        _ => {
            random.below(bytes.len() / 512) * 512
                + *random.pick(&[0, 5, 99, 100, 124, 130, 135, 136, 147, 150, 156, 257, 300, 345, 511])
        }
    }
}

/// Appends members that are, or are not, addenda, before the end.
fn addendum(random: &mut Random, bytes: &mut Vec<u8>) -> String {
    let names = [
        "signature-builder-0123456789abcdef",
        "signature-reviewer-0123456789abcde",
        "x",
        "con",
        "a/b",
        "A",
        "",
        "record-0123456789abcdef.json.sig",
    ];
    let name = *random.pick(&names);
    let folder = *random.pick(&[layout::ADDENDA, layout::ADDENDA, layout::ADDENDA, "mirror-bundle/", "blobs/"]);
    let size = *random.pick(&[0u64, 5, 512, 513, (1 << 20) + 1]);
    let end = bytes.len().saturating_sub(1024);
    let mut member = tar::header(&format!("{folder}{name}"), size, random.next() >> random.below(64)).to_vec();
    member.resize(512 + size.next_multiple_of(512) as usize, 0);
    let times = 1 + random.below(2);
    (0..times).for_each(|_| _ = bytes.splice(end..end, member.iter().copied()));
    format!("{folder}{name} of {size} bytes, {times} times")
}

/// A good index with another signature: damaged, by another key, in another role, over other bytes.
fn signature(random: &mut Random, key: &SecretKey) -> (String, Vec<u8>) {
    let mut model = model::good();
    let raw = model.index_bytes();
    let other = SecretKey::generate("other").unwrap();
    let by = |key: &SecretKey, namespace, raw: &[u8]| sign::sign(key, namespace, &MessageHash::of(raw));
    let builder = Namespace::Index(sign::Role::Builder);
    let mut armored = by(key, builder, &raw).into_bytes();
    let what = match random.below(8) {
        0 => {
            armored = by(&other, builder, &raw).into_bytes();
            "by a stranger".to_owned()
        }
        1 => {
            let role = *random.pick(&[Namespace::Record, Namespace::Index(sign::Role::Reviewer)]);
            armored = by(key, role, &raw).into_bytes();
            "for something else".to_owned()
        }
        2 => {
            let key = if random.below(2) == 0 { key } else { &other };
            armored = by(key, builder, b"other bytes").into_bytes();
            "over other bytes".to_owned()
        }
        3 => return ("no signature".to_owned(), model.pack(&raw, None)),
        4 => {
            let at = random.below(armored.len());
            armored.insert(at, *random.pick(b"\n\r A=-"));
            format!("armor with a byte more at {at}")
        }
        5 => {
            let at = random.below(armored.len());
            armored.remove(at);
            format!("armor without the byte at {at}")
        }
        _ => {
            // Inside of what base64 holds, so that the armor stays good.
            use base64::Engine as _;
            let engine = base64::engine::general_purpose::STANDARD;
            let text = String::from_utf8(armored).unwrap();
            let body: String = text.lines().filter(|l| !l.starts_with('-')).collect();
            let mut blob = engine.decode(body).unwrap();
            let at = random.below(blob.len());
            match random.below(4) {
                0 => blob.truncate(at),
                1 => blob.insert(at, random.next() as u8),
                _ => blob[at] ^= 1 << random.below(8),
            }
            let body = engine.encode(blob);
            let width = *random.pick(&[64, 70, 76, 77, 1]);
            let lines: Vec<&str> = body.as_bytes().chunks(width).map(|l| std::str::from_utf8(l).unwrap()).collect();
            armored =
                format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n")).into();
            format!("the signature itself at {at}, {width} columns")
        }
    };
    (format!("signature {what}"), model.pack(&raw, Some(&armored)))
}

/// Changes the text of the index and signs it.
fn text(random: &mut Random, key: &SecretKey) -> (String, Vec<u8>) {
    let mut model = if random.below(2) == 0 { model::good() } else { model::with_release() };
    let text = String::from_utf8(model.index_bytes()).unwrap();
    let (what, text) = if random.below(3) == 0 { replace(random, &text) } else { lines(random, &text) };
    model.text = Some(text.into_bytes());
    model.derive = false;
    (format!("index: {what}"), model.archive(key))
}

/// Works on the lines of the index: every value has its own.
pub(super) fn lines(random: &mut Random, text: &str) -> (String, String) {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let at = random.below(lines.len());
    let line = lines[at].clone();
    let what = match random.below(9) {
        0 => {
            lines.remove(at);
            format!("without `{line}`")
        }
        1 => {
            lines.insert(at, line.clone());
            format!("twice `{line}`")
        }
        2 => {
            let other = (at + 1).min(lines.len() - 1);
            lines.swap(at, other);
            format!("swapped `{line}`")
        }
        3 => {
            let with =
                *random.pick(&["\"unknown\": 1,", "\"base\": null,", "\"urls\": [],", "\"release\": 1,", "\"a\","]);
            let indent = line.len() - line.trim_start().len();
            lines.insert(at, format!("{}{with}", " ".repeat(indent)));
            format!("{with} before `{line}`")
        }
        _ => match line.split_once(": ") {
            Some((name, value)) => {
                let (value, comma) = value.strip_suffix(',').map_or((value, ""), |v| (v, ","));
                let value = other_value(random, value);
                lines[at] = format!("{name}: {value}{comma}");
                format!("`{}`", lines[at])
            }
            None => {
                lines[at] = format!("{line} ");
                format!("a space behind `{line}`")
            }
        },
    };
    (what, lines.join("\n") + "\n")
}

fn other_value(random: &mut Random, value: &str) -> String {
    const VALUES: &[&str] = &[
        "null",
        "true",
        "[]",
        "{}",
        "0",
        "1",
        "2",
        "30",
        "31",
        "-1",
        "-0",
        "1.0",
        "1e3",
        "18446744073709551616",
        "18446744073709551615",
        "8388609",
        "17592186044417",
        "1125899906842625",
        "8589934592",
        "\"\"",
        "\"a\"",
        "\"openpgp\"",
        "\"layer\"",
        "\"index\"",
        "\"referrer\"",
        "\"additional\"",
        "\"linux\"",
        "\"linux/arm/v7\"",
        "\"a:b/c\"",
        "\"a.b/c\"",
        "\"A.b/c\"",
        "\"a..b/c\"",
        "\"localhost/c\"",
        "\"[::1]:5/c\"",
        "\"a_b/c__d\"",
        "\"a/C\"",
        "\"manifests/con.yaml\"",
        "\"manifests/a.yaml\"",
        "\"manifests/a/../b.yaml\"",
        "\"manifests/A.yaml\"",
        "\"/a\"",
        "\"signatures/a\"",
        "\"2026-11-24T00:00:00Z\"",
        "\"2026-11-24T00:00:01Z\"",
        "\"2026-11-23T00:00:00Z\"",
        "\"2026-02-29T00:00:00Z\"",
        "\"2026-11-22T24:00:00Z\"",
        "\"2026-11-22T23:59:60Z\"",
        "\"9999-12-31T23:59:59Z\"",
        "\"9998-12-31T23:59:59Z\"",
        "\"1969-12-31T23:59:59Z\"",
        "\"1970-01-01T00:00:00Z\"",
        "\"0000-01-01T00:00:00Z\"",
        "\"2026-11-22T00:00:00+00:00\"",
        "\"2026-11-22 00:00:00Z\"",
        "\"\\u0061\"",
        "\"\\ud800\"",
        "\"\u{202e}x\"",
        "\"\u{1}\"",
        "\"\u{85}\"",
        "\"\u{7f}\"",
        "\"é\"",
        "\"\\/\"",
        "\"application/vnd.oci.image.index.v1+json\"",
        "\"application/vnd.docker.distribution.manifest.v2+json\"",
        "\"sha256:\"",
        "NaN",
        "01",
    ];
    let long = |n: usize| format!("\"{}\"", "x".repeat(n));
    match random.below(8) {
        0 => long(1024),
        1 => long(1025),
        2 if value.len() > 2 => {
            let mut bytes = value.as_bytes().to_vec();
            let at = random.below(bytes.len());
            bytes[at] = *random.pick(b"0123456789abcdefAZ.-_/:=\"");
            String::from_utf8_lossy(&bytes).into_owned()
        }
        3 => value.parse::<u64>().map_or_else(
            |_| value.to_uppercase(),
            |n| n.wrapping_add(random.below(3) as u64).wrapping_sub(1).to_string(),
        ),
        _ => (*random.pick(VALUES)).to_owned(),
    }
}

/// Replaces one of some strings somewhere.
fn replace(random: &mut Random, text: &str) -> (String, String) {
    const PAIRS: &[(&str, &str)] = &[
        ("size", "Size"),
        ("size", "\u{17f}ize"),
        ("layers", "Layers"),
        ("config", "CONFIG"),
        ("digest", "diges\u{2bc}"),
        ("digest", "di\u{1e7}est"),
        ("\":", "\" :"),
        (",", " ,"),
        (",", ","),
        ("{", "{\n"),
        ("}", "}\n"),
        ("sha256", "sha512"),
        ("sha256:", "SHA256:"),
        ("\"schemaVersion\":2", "\"schemaVersion\":2.0"),
        ("\"schemaVersion\":2", "\"schemaVersion\":\"2\""),
        ("\"schemaVersion\":2", "\"schemaVersion\":1"),
        ("\"schemaVersion\":2", "\"schemaVersion\":2,\"schemaVersion\":2"),
        ("\"schemaVersion\":2", "\"schemaVersion\":2,\"x\":1e999"),
        ("\"schemaVersion\":2", "\"schemaVersion\":2,\"x\":-0"),
        ("\"schemaVersion\":2", "\"schemaVersion\":2,\"x\":\"\\ud800\""),
        ("\"schemaVersion\":2", "\"schemaVersion\":2,\"x\":\"\\ud83d\\ude00\""),
        ("\"schemaVersion\":2", "\"schemaVersion\":2,\"\\udc00\":1"),
        ("\"schemaVersion\":2", "\"schemaVersion\":2,\"x\":NaN"),
        ("\"schemaVersion\":2", "\"schemaVersion\":2,\"x\":01"),
        ("\"schemaVersion\":2", "\"schemaVersion\":2,\"manifests\":null"),
        ("\"schemaVersion\":2", "\"schemaVersion\":2,\"manifests\":[]"),
        ("\"schemaVersion\":2", "\"schemaVersion\":2,\"layers\":null"),
        ("\"schemaVersion\":2", "\"schemaVersion\":2,\"subject\":null"),
        ("\"schemaVersion\":2", "\"schemaVersion\":2,\"subject\":{}"),
        ("\"schemaVersion\":2", "\"schemaVersion\":2,\"config\":{}"),
        ("\"schemaVersion\":2", "\"schemaVersion\":2,\"artifactType\":1"),
        ("\"schemaVersion\":2", "\"schemaVersion\":2,\"artifactType\":\"\""),
        ("\"schemaVersion\":2", "\"schemaVersion\":2,\"Subject\":1"),
        ("\"schemaVersion\":2", "\"schemaVersion\":2,\"annotations\":{\"x\":1}"),
        ("\"schemaVersion\":2", "\"schemaVersion\":2,\"mediaType\":null"),
        ("\"schemaVersion\":2", "\"schemaVersion\":2,\"x\":[[[[{}]]]]"),
        ("\"schemaVersion\":2", "\"schemaVersion\":4294967298"),
        ("\"size\":", "\"data\":\"AA==\",\"size\":"),
        ("\"size\":", "\"data\":1,\"size\":"),
        ("\"size\":", "\"urls\":[\"http://x\"],\"size\":"),
        ("\"size\":", "\"urls\":null,\"size\":"),
        ("\"size\":", "\"urls\":[1],\"size\":"),
        ("\"size\":", "\"platform\":{},\"size\":"),
        ("\"size\":", "\"platform\":null,\"size\":"),
        ("\"size\":", "\"annotations\":{\"a\":null},\"size\":"),
        ("\"size\":", "\"annotations\":{\"a\":\"b\"},\"size\":"),
        ("\"size\":", "\"artifactType\":[],\"size\":"),
        ("\"size\":", "\"size\":1"),
        ("\"size\":", "\"size\":-"),
        ("\"size\":", "\"size\":0"),
        ("\"size\":", "\"x\":"),
        ("\"size\":", "\"size\":99999999999999999999"),
        ("\"os\":\"linux\"", "\"os\":\"linux\",\"features\":[]"),
        ("\"os\":\"linux\"", "\"os\":\"linux\",\"features\":[1]"),
        ("\"os\":\"linux\"", "\"os\":\"linux\",\"variant\":8"),
        ("\"os\":\"linux\"", "\"os\":\"linux\",\"os.version\":8"),
        ("\"os\":\"linux\"", "\"os\":\"\""),
        ("\"os\":\"linux\"", "\"os\":null"),
        ("\"os\":\"linux\",", ""),
        ("manifest.v1+json", "index.v1+json"),
        ("index.v1+json", "manifest.v1+json"),
        ("manifest.v2+json", "manifest.list.v2+json"),
        ("manifest.v1+json", "manifest.v1+JSON"),
        ("manifest.v2+json", "manifest.v1+json"),
        ("\"layers\":[", "\"layers\":["),
        ("\"layers\":[", "\"layers\":[null,"),
        ("\"manifests\":[", "\"manifests\":[{},"),
        ("\"subject\"", "\"subjects\""),
        ("linux", "li\\nnux"),
        ("{", "\u{feff}{"),
        ("}", ",}"),
        ("\"mediaType\":\"application", "\"mediaType\":\""),
        ("\"mediaType\":\"application/vnd.oci.image.config.v1+json\",", ""),
    ];
    let found: Vec<_> = PAIRS.iter().filter(|(from, _)| text.contains(from)).collect();
    let (from, to) = **random.pick(&found);
    let places: Vec<usize> = text.match_indices(from).map(|(at, _)| at).collect();
    let at = *random.pick(&places);
    (format!("{from:?} at {at} is {to:?}"), format!("{}{to}{}", &text[..at], &text[at + from.len()..]))
}

/// Changes the content of the index, in its canonical form, and signs it.
fn meaning(random: &mut Random, key: &SecretKey) -> (String, Vec<u8>) {
    let mut model = if random.below(2) == 0 { model::good() } else { model::with_release() };
    let mut done = Vec::new();
    for _ in 0..1 + random.below(2) {
        let what = random.below(28);
        model.settle();
        edit(random, &mut model, what);
        done.push(what.to_string());
    }
    (format!("meaning {}", done.join(", ")), model.archive(key))
}

fn edit(random: &mut Random, model: &mut Model, what: usize) {
    let Index { images, blobs, files, releases, .. } = &mut model.index;
    let image = random.below(images.len().max(1));
    let blob = random.below(blobs.len().max(1));
    if images.is_empty() || blobs.is_empty() || files.len() < 4 {
        return;
    }
    let digest = blobs[blob].digest;
    let roles = [Role::Index, Role::Manifest, Role::Config, Role::Layer];
    let kinds = [Kind::Release, Kind::Component, Kind::Additional, Kind::Signature, Kind::Referrer];
    match what {
        0 => _ = images.remove(image),
        1 => images.swap(0, image),
        2 => images[image].digest = digest,
        3 => images[image].size = random.next() >> random.below(64),
        4 => images[image].kind = *random.pick(&kinds),
        5 => images[image].subject = if random.below(2) == 0 { Some(digest) } else { None },
        6 => images[image].release = if random.below(2) == 0 { Some(digest) } else { None },
        7 => images[image].tag = random.pick(&[None, Some("1.0".to_owned()), Some("-".to_owned())]).clone(),
        8 => images[image].repository = random.pick(&[None, Some("a/b".to_owned()), Some("a:b/c".to_owned())]).clone(),
        9 => images[image].media_type = (*random.pick(&media_type::ACCEPTED)).to_owned(),
        10 => images[image].component = random.pick(&[None, Some(String::new()), Some("x".to_owned())]).clone(),
        11 => _ = blobs.remove(blob),
        12 => blobs[blob].role = *random.pick(&roles),
        13 => {
            blobs[blob].role = *random.pick(&roles);
            blobs.sort_by_key(|b| (b.role.max(Role::Manifest), b.digest));
        }
        14 => blobs[blob].size = blobs[blob].size.wrapping_add(random.below(3) as u64).wrapping_sub(1),
        15 => blobs[blob].size = random.next() >> random.below(64),
        16 => {
            let bytes = vec![1; random.below(600)];
            blobs.push(Blob { digest: Digest::of(&bytes), size: bytes.len() as u64, role: *random.pick(&roles) });
            model.contents.push(bytes);
            blobs.sort_by_key(|b| (b.role.max(Role::Manifest), b.digest));
        }
        17 => blobs.swap(0, blob),
        18 => files.swap(2, 3),
        19 => _ = files.remove(random.below(4)),
        20 => {
            let copy = files[2 + random.below(2)].clone();
            files.insert(3, copy);
        }
        21 => files[random.below(4)].size = *random.pick(&[0, 29, 30, 31, 512, 513, 65_537, 1 << 40, u64::MAX]),
        22 => files[random.below(4)].digest = digest,
        23 => model.derive = false,
        24 => releases.clear(),
        25 => releases.iter_mut().for_each(|r| r.digest = digest),
        26 => model.index.source_date_epoch = *random.pick(&[None, Some(0), Some((1 << 33) - 1), Some(1 << 33)]),
        _ => {
            let at = images[image].clone();
            images.push(Image { tag: Some("copy".into()), ..at });
            images.sort_by_key(|i| (i.kind, i.repository.clone(), i.tag.clone(), i.component.clone(), i.digest));
        }
    }
}

/// Changes a document below the images, and updates everything that names it.
fn documents(random: &mut Random, key: &SecretKey) -> (String, Vec<u8>) {
    let name = *random.pick(&["amd64", "arm64", "inner", "list", "signature", "referrer"]);
    let mut what = String::new();
    let model = model::with_documents(&mut |this, text| {
        if this != name {
            return text;
        }
        let (done, text) = match random.below(8) {
            0 => {
                let mut bytes = text.into_bytes();
                let at = random.below(bytes.len());
                bytes[at] = *random.pick(b"0123456789abcdef\"{}[],: ");
                (format!("byte at {at}"), String::from_utf8_lossy(&bytes).into_owned())
            }
            1 => {
                let end = text.char_indices().map(|(at, _)| at).nth(random.below(text.chars().count())).unwrap();
                (format!("cut at {end}"), text[..end].to_owned())
            }
            2 => {
                let levels = 120 + random.below(16);
                let deep = format!("\"schemaVersion\":2,\"deep\":{}{}", "[".repeat(levels), "]".repeat(levels));
                (format!("{levels} levels"), text.replacen("\"schemaVersion\":2", &deep, 1))
            }
            _ => replace(random, &text),
        };
        what = format!("document {name}: {done}");
        text
    });
    (what, model.archive(key))
}
