//! The list of vectors, one module for each group of faults.

mod addenda;
mod blobs;
pub mod carriage;
mod container;
mod documents;
mod encoded;
mod graph_data;
mod index;
mod manifests;
mod members;
mod names;
mod releases;
pub mod removals;
mod signatures;

use super::vector::{Vector, Vectors};

/// Every vector, always the same.
pub fn all() -> Vec<Vector> {
    let mut out = Vectors::default();
    good::list(&mut out);
    container::list(&mut out);
    members::list(&mut out);
    index::list(&mut out);
    names::list(&mut out);
    signatures::list(&mut out);
    blobs::list(&mut out);
    documents::list(&mut out);
    releases::list(&mut out);
    graph_data::list(&mut out);
    manifests::list(&mut out);
    addenda::list(&mut out);
    removals::list(&mut out);
    carriage::list(&mut out);
    encoded::list(&mut out);
    out.all
}

mod good {
    //! Bundles without a fault: they show that the others fail because of theirs.
    use super::super::draft::Draft;
    use super::Vectors;
    use crate::forge::sshsig;
    use mirror_bundle::error::Code;

    pub fn list(out: &mut Vectors) {
        out.group("good");
        let ok = ("", None, "MB-VER-01 MB-VER-02 MB-VER-03 MB-VER-04 MB-VER-05 MB-VER-06 MB-VER-09");
        out.add("tiny", "one image and one Namespace", ok, Draft::tiny().archive());
        let ok = ("", None, "MB-VER-06 MB-VER-07");
        out.add(
            "full",
            "a release, a multi-arch image with signature and referrer, manifests",
            ok,
            Draft::full().archive(),
        );
        out.add("empty", "no image and no manifest at all", ok, Draft::empty().archive());
        let excepted = |i: &mut mirror_bundle::bundle::Index| {
            let words = [
                "kind:Secret",
                "kind:rbac.authorization.k8s.io/v1/Role",
                "missing-image-signature",
                "unsigned-release",
            ];
            i.exceptions = words.map(str::to_owned).to_vec();
        };
        out.add("exceptions", "every exception that can be made at creation", ok, Draft::tiny().archive_of(excepted));
        let unnamed = |i: &mut mirror_bundle::bundle::Index| i.sequence = None;
        out.add("no-series", "a bundle that is in no series", ok, Draft::tiny().archive_of(unnamed));
        let soon = |i: &mut mirror_bundle::bundle::Index| i.created = "2026-11-23T20:00:00Z".into();
        out.add(
            "created-soon",
            "created 20 hours ahead of the clock, as clocks drift",
            ok,
            Draft::tiny().archive_of(soon),
        );
        let later = |i: &mut mirror_bundle::bundle::Index| i.expires = Some("2026-11-23T00:00:01Z".into());
        out.add("expires-soon", "expires one second from now", ok, Draft::tiny().archive_of(later));
        let narrow = |bytes: &[u8]| {
            let text = String::from_utf8(sshsig::sign(&sshsig::BUILDER, bytes)).unwrap();
            let mut lines = text.lines();
            let (first, body) = (lines.next().unwrap(), lines.collect::<Vec<_>>());
            let (last, body) = body.split_last().unwrap();
            let body = body.concat();
            let cut: Vec<&str> = body.as_bytes().chunks(64).map(|c| std::str::from_utf8(c).unwrap()).collect();
            Some(format!("{first}\n{}\n{last}\n", cut.join("\n")).into_bytes())
        };
        out.add(
            "signature-64-columns",
            "the signature in lines of 64 characters",
            ok,
            Draft::tiny().archive_signed(narrow),
        );
        out.add(
            "unsigned-allowed",
            "no signature, with --allow-unsigned",
            ("A1", None, "MB-VER-02"),
            Draft::tiny().archive_signed(|_| None),
        )
        .and(&["--allow-unsigned"]);
        out.add(
            "quick",
            "--quick leaves layers unread, and the verdict is never good",
            ("", Some(Code::IncompleteCheck), "MB-VER-05"),
            Draft::tiny().archive(),
        )
        .and(&["--quick"])
        .verify_only = true;
        out.add(
            "addendum",
            "with an addendum",
            ok,
            Draft::tiny().archive().with_addendum("record-0123456789abcdef.json.sig", b"x"),
        );
    }
}
