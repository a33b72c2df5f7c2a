//! Layers of a release image. The first byte says plain, gzip or zstd (as the input is, or compressed here), and
//! whether the layer lies on one that has a release.
#![no_main]

use std::io::Write;

use libfuzzer_sys::fuzz_target;
use mirror_bundle::openshift::payload::{Limits, Overlay, scan};
use mirror_bundle_fuzz as host;

const TYPES: [&str; 3] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
];

fuzz_target!(|data: &[u8]| {
    let [mode, rest @ ..] = data else { return };
    let limits = Limits { entries: 200, inflated: 1 << 20, entry: 64 << 10 };
    let packed = match (mode & 7) % 5 {
        3 => {
            let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            to.write_all(rest).unwrap();
            to.finish().unwrap()
        }
        4 => zstd::encode_all(rest, 1).unwrap(),
        _ => rest.to_vec(),
    };
    let media_type = TYPES[[0, 1, 2, 1, 2][usize::from((mode & 7) % 5)]];
    let found = scan(media_type, &packed[..], &limits);
    if (mode & 7) % 5 > 2 {
        // Packing changes nothing.
        let plain = scan(TYPES[0], rest, &limits);
        assert_eq!(plain.is_ok(), found.is_ok(), "{plain:?} {found:?}");
    }
    let Ok(view) = found else { return };
    let mut overlay = Overlay::default();
    if overlay.add(view).is_err() {
        return;
    }
    if mode & 8 != 0 && !overlay.decided() {
        let mut lower = Vec::new();
        let references = br#"{"kind":"ImageStream","apiVersion":"image.openshift.io/v1","metadata":{"name":"4.0.0"},"spec":{"tags":[]}}"#;
        host::push(&mut lower, "release-manifests/image-references", 0, references);
        lower.resize(lower.len() + 1024, 0);
        overlay.add(scan(TYPES[0], &lower[..], &limits).unwrap()).unwrap();
    }
    let _ = overlay.payload();
});
