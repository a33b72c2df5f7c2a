//! Members: every field of a header, types, order, names.

use mirror_bundle::bundle::layout;
use mirror_bundle::error::Code;

use super::super::archive::{Archive, Entry, checksum};
use super::super::draft::Draft;
use super::Vectors;

fn broken(change: impl FnOnce(&mut Archive)) -> Archive {
    let mut archive = Draft::tiny().archive();
    change(&mut archive);
    archive
}

pub fn list(out: &mut Vectors) {
    out.group("header");
    let malformed = ("C1", Some(Code::Malformed), "MB-FMT-02");
    let name = "manifests/map.yaml";

    // Each field of a ustar header, with a right checksum.
    type Edit = fn(&mut [u8; 512]);
    let fields: &[(&str, Edit)] = &[
        ("mode", |h| h[100..108].copy_from_slice(b"0000777\0")),
        ("mode-setuid", |h| h[100..108].copy_from_slice(b"0004755\0")),
        ("uid", |h| h[108..116].copy_from_slice(b"0001750\0")),
        ("gid", |h| h[116..124].copy_from_slice(b"0001750\0")),
        ("size-spaces", |h| h[124] = b' '),
        ("size-no-nul", |h| h[135] = b' '),
        ("size-base256", |h| {
            let size = u64::from_str_radix(std::str::from_utf8(&h[124..135]).unwrap(), 8).unwrap();
            h[124..136].fill(0);
            h[124] = 0x80;
            h[128..136].copy_from_slice(&size.to_be_bytes());
        }),
        ("size-negative", |h| h[124..136].fill(0xff)),
        ("size-zero", |h| h[124..136].copy_from_slice(b"00000000000\0")),
        ("size-huge", |h| h[124..136].copy_from_slice(b"77777777777\0")),
        ("mtime", |h| h[136..148].copy_from_slice(b"00000000001\0")),
        ("link-name", |h| h[157..168].copy_from_slice(b"/etc/passwd")),
        ("magic-gnu", |h| h[257..265].copy_from_slice(b"ustar  \0")),
        ("magic-v7", |h| h[257..265].fill(0)),
        ("user-name", |h| h[265..269].copy_from_slice(b"root")),
        ("group-name", |h| h[297..301].copy_from_slice(b"root")),
        ("device-major", |h| h[329..337].copy_from_slice(b"0000001\0")),
        ("device-minor", |h| h[337..345].copy_from_slice(b"0000001\0")),
        ("prefix", |h| h[345..349].copy_from_slice(b"../x")),
        ("rest", |h| h[508..512].copy_from_slice(b"tar\0")),
        ("name-behind-nul", |h| h[60..64].copy_from_slice(b"evil")),
    ];
    for (field, edit) in fields {
        let archive = broken(|a| a.edit_header(name, edit));
        out.add(field, &format!("the header of a manifest with another {field}"), malformed, archive);
    }
    let spaces = broken(|a| {
        a.edit_header(name, |_| {});
        let header = a.entry(name).header.as_mut().unwrap();
        header[148] = b' ';
    });
    out.add("checksum-spaces", "a checksum with a space in front", malformed, spaces);
    let wrong = broken(|a| {
        a.edit_header(name, |_| {});
        a.entry(name).header.as_mut().unwrap()[150] ^= 1;
    });
    out.add("checksum-wrong", "a wrong checksum", malformed, wrong);
    let zero = broken(|a| a.entry(name).header = Some([0; 512]));
    out.add("zeroed", "a header of zeros in the middle", ("C14", Some(Code::Malformed), "MB-FMT-02"), zero);
    let first = broken(|a| a.edit_header(layout::OCI_LAYOUT, |h| h[100..108].copy_from_slice(b"0000600\0")));
    out.add("first-mode", "the first header with another mode", ("C1", Some(Code::NotABundle), "MB-FMT-02"), first);
    let layer = Draft::tiny().archive().entries.last().unwrap().name.clone();
    let late = broken(|a| a.edit_header(&layer, |h| h[100..108].copy_from_slice(b"0000600\0")));
    out.add("layer-mode", "the header of a layer with another mode", malformed, late).late();

    for flag in b"\x001234567gxLKSDMNVA\x80" {
        let archive = broken(|a| a.edit_header(name, |h| h[156] = *flag));
        let shown = if flag.is_ascii_graphic() { char::from(*flag).to_string() } else { format!("x{flag:02x}") };
        // Some file systems fold case.
        let label = if flag.is_ascii_uppercase() { format!("upper-{}", shown.to_lowercase()) } else { shown.clone() };
        let is = ("C4 C10", Some(Code::Malformed), "MB-FMT-02");
        out.add(&format!("type-{label}"), &format!("a member of type `{shown}`"), is, archive);
    }

    out.group("member");
    let pax = |a: &mut Archive, flag: u8, name: &str, before: &str, content: &[u8]| {
        let mut entry = Entry::new(name, content);
        let mut header = mirror_bundle::bundle::tar::header(name, content.len() as u64, a.mtime);
        header[156] = flag;
        checksum(&mut header);
        entry.header = Some(header);
        let at = a.at(before);
        a.entries.insert(at, entry);
    };
    let is = ("C1", Some(Code::Malformed), "MB-FMT-02 MB-FMT-03");
    let archive = broken(|a| pax(a, b'x', "paxheaders/map", layout::SUMS, b"14 path=evil/x\n"));
    out.add("pax", "a PAX header in front of a member of the head", is, archive);
    let archive = broken(|a| pax(a, b'L', "././@LongLink", layout::SUMS, b"evil\0"));
    out.add("gnu-long-name", "a GNU long name in front of a member of the head", is, archive);
    let first = ("C1", Some(Code::NotABundle), "MB-FMT-03");
    let archive = broken(|a| pax(a, b'g', "pax_global_header", layout::OCI_LAYOUT, b"13 comment=x\n"));
    out.add("pax-global", "a global PAX header in front of everything", first, archive);

    let swap = |a: &mut Archive, one: &str, two: &str| {
        let (one, two) = (a.at(one), a.at(two));
        a.entries.swap(one, two);
    };
    let order = ("C1", Some(Code::Malformed), "MB-FMT-03");
    out.add(
        "swapped-sums",
        "SHA256SUMS before the signature",
        order,
        broken(|a| swap(a, layout::SUMS, layout::SIGNATURE)),
    );
    out.add("swapped-files", "two files in the wrong order", order, broken(|a| swap(a, layout::OCI_INDEX, name)));
    out.add(
        "swapped-blobs",
        "two blobs in the wrong order",
        order,
        broken(|a| {
            let last = a.entries.len() - 1;
            a.entries.swap(last, last - 1);
        }),
    )
    .late();
    out.add("swapped-first", "the index in front of oci-layout", first, broken(|a| a.entries.swap(0, 1)));
    out.add("no-oci-layout", "without oci-layout", first, broken(|a| _ = a.entries.remove(0)));
    out.add("no-index", "without the bundle index", first, broken(|a| _ = a.entries.remove(1)));
    out.add("no-sums", "without SHA256SUMS", order, broken(|a| _ = a.entries.remove(3)));
    // Lengths are compared before anything behind the head is read.
    let short = ("C2 B9", Some(Code::Truncated), "MB-VER-04");
    out.add("no-file", "a listed file is not there", short, broken(|a| _ = a.entries.remove(a.at(name))))
        .stream(Code::Malformed);
    out.add("no-blob", "a listed blob is not there", short, broken(|a| _ = a.entries.remove(a.at("blobs/"))))
        .stream(Code::Malformed);
    out.add("no-last-blob", "the last blob is not there", short, broken(|a| _ = a.entries.pop()))
        .stream(Code::Malformed)
        .late();
    let extra = ("A3 C1", Some(Code::UnlistedContent), "MB-FMT-03");
    out.add(
        "doubled-file",
        "a manifest twice",
        extra,
        broken(|a| {
            let entry = a.entry(name).clone();
            a.entries.insert(a.at(name), entry);
        }),
    )
    .stream(Code::Malformed);
    out.add(
        "doubled-blob",
        "the last blob twice",
        extra,
        broken(|a| a.entries.push(a.entries.last().unwrap().clone())),
    )
    .late();
    out.add(
        "unlisted-last",
        "a manifest behind the blobs that no index lists",
        extra,
        broken(|a| {
            a.entries.push(Entry::new("manifests/evil.yaml", b"kind: Secret\n"));
        }),
    )
    .late();
    out.add(
        "unlisted-file",
        "a manifest between the others that no index lists",
        extra,
        broken(|a| {
            a.entries.insert(a.at(name), Entry::new("manifests/a.yaml", b"kind: Secret\n"));
        }),
    )
    .stream(Code::Malformed);
    out.add(
        "doubled-sums",
        "SHA256SUMS twice",
        ("C1", Some(Code::UnlistedContent), "MB-FMT-03"),
        broken(|a| {
            let entry = a.entry(layout::SUMS).clone();
            a.entries.insert(3, entry);
        }),
    )
    .stream(Code::Malformed);
    out.add(
        "index-again-last",
        "another bundle index behind the blobs",
        extra,
        broken(|a| {
            a.entries.push(Entry::new(layout::INDEX, b"{}"));
        }),
    )
    .late();

    // Names that another tar reader would take for the right one.
    for (label, other) in [
        ("dot-slash", "./manifests/map.yaml"),
        ("absolute", "/manifests/map.yaml"),
        ("trailing-slash", "manifests/map.yaml/"),
        ("upper-case", "manifests/MAP.yaml"),
        ("elsewhere", "../../etc/cron.d/x"),
        ("escapes", "manifests/\x1b[2Jmap.yaml"),
    ] {
        let archive = broken(|a| a.entry(name).name = other.to_owned());
        out.add(
            &format!("name-{label}"),
            "the header names the file in another way than the index",
            ("C3 C5 C6", Some(Code::Malformed), "MB-FMT-06"),
            archive,
        );
    }
    out.add("mtime-all", "all members have another time than SOURCE_DATE_EPOCH", malformed, broken(|a| a.mtime += 1));
    for (label, from, to) in [("hex", "0", "1"), ("separator", "  ", " *")] {
        let archive = broken(|a| {
            let entry = a.entry(layout::SUMS);
            let text = String::from_utf8(entry.bytes.clone()).unwrap();
            entry.bytes = text.replacen(from, to, 1).into_bytes();
        });
        out.add(&format!("sums-{label}"), "SHA256SUMS says something else than the index", order, archive);
    }
    let archive =
        broken(|a| a.entry(layout::SUMS).bytes.extend_from_slice(format!("{}  evil\n", "0".repeat(64)).as_bytes()));
    out.add("sums-line", "SHA256SUMS has a line too many", order, archive);
    let archive = broken(|a| a.entry(layout::OCI_LAYOUT).bytes = b"{\"imageLayoutVersion\":\"1.0.1\"}".to_vec());
    out.add("layout-version", "oci-layout names another version", order, archive);
    let archive = broken(|a| a.entry(layout::OCI_LAYOUT).bytes = b"{\"imageLayoutVersion\": \"1.0.0\"}".to_vec());
    out.add("layout-longer", "oci-layout is written in another way", first, archive);
}
