//! What may be appended after signing, and what may not.

use mirror_bundle::bundle::{layout, tar};
use mirror_bundle::error::Code;

use super::super::archive::{Archive, Entry};
use super::super::draft::Draft;
use super::Vectors;

pub fn list(out: &mut Vectors) {
    out.group("addendum");
    let good = || Draft::tiny().archive();
    let is = |code| ("A3 D5", Some(code), "MB-FMT-07 MB-LIM");
    let mut many = good();
    for n in 0..65 {
        many = many.with_addendum(&format!("a{n}"), b"");
    }
    out.add("65", "65 addenda", is(Code::Malformed), many).late();
    let mut many = good();
    for n in 0..64 {
        many = many.with_addendum(&format!("record-{n:016x}.json.sig"), b"");
    }
    out.add("64", "good: 64 addenda", ("", None, "MB-FMT-07"), many);
    out.add(
        "twice",
        "an addendum twice",
        is(Code::Malformed),
        good().with_addendum("a", b"1").with_addendum("a", b"2"),
    )
    .late();
    let mut large = good();
    large.tail = tar::header(&format!("{}a", layout::ADDENDA), (1 << 20) + 1, large.mtime).to_vec();
    large.tail.extend([0; 1024]);
    out.add("1-mib", "an addendum that says it is larger than 1 MiB", is(Code::Malformed), large).late();
    let mut cut = good();
    cut.tail = tar::header(&format!("{}a", layout::ADDENDA), 5000, cut.mtime).to_vec();
    cut.tail.extend([0; 1024]);
    out.add("cut", "an addendum that ends early", is(Code::Truncated), cut).late();
    let unlisted = is(Code::UnlistedContent);
    for (name, path) in [
        ("upper-case", "A"),
        ("traversal", "../x"),
        ("empty", ""),
        ("escapes", "\u{1b}[2J"),
        ("device", "nul"),
        ("space", "a b"),
    ] {
        out.add(
            &format!("name-{name}"),
            "an addendum with a name that is not allowed",
            unlisted,
            good().with_addendum(path, b"x"),
        )
        .late();
    }
    out.add("name-folder", "an addendum in a folder", is(Code::Malformed), good().with_addendum("a/b", b"x")).late();
    let mut archive = good().with_addendum("a", b"x");
    archive.last().padding = Some(1);
    out.add("padding", "an addendum with padding that is not zero", unlisted, archive).late();
    let mut archive = good().with_addendum("a", b"x");
    let name = archive.last().name.clone();
    archive.edit_header(&name, |h| h[156] = b'2');
    out.add("link", "an addendum that is a link", unlisted, archive).late();
    let mut archive = good().with_addendum("a", b"x");
    archive.edit_header(&name, |h| h[100..108].copy_from_slice(b"0004755\0"));
    out.add("mode", "an addendum that is executable", unlisted, archive).late();
    let mut archive: Archive = good();
    let at = archive.at("blobs/");
    archive.entries.insert(at, Entry::new(&format!("{}a", layout::ADDENDA), b"x"));
    out.add("in-the-middle", "an addendum in front of the blobs", unlisted, archive).stream(Code::Malformed);
    let mut archive = good().with_addendum("a", b"x");
    archive.tail = vec![];
    out.add("no-end", "an addendum and then no end", is(Code::Truncated), archive).late();
    let mut archive = good().with_addendum("a", b"x");
    archive.tail.push(0);
    out.add("tail", "an addendum and a byte after the end", unlisted, archive).late();
}
