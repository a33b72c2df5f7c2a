//! The bundle index: what parses is written back as the same bytes, and has a layout.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirror_bundle::bundle::{Index, Layout, layout};

fuzz_target!(|data: &[u8]| {
    let Ok(index) = Index::parse(data) else { return };
    assert_eq!(index.to_bytes().unwrap(), data);
    let mut sorted = index.clone();
    sorted.sort();
    assert_eq!(sorted, index);
    let layout = Layout::new(&index, data, Some(b"x")).unwrap();
    let mut at = 0;
    for member in layout.members() {
        assert_eq!(member.header, at);
        at = member.end();
    }
    let oci = layout::oci_index(&index).unwrap();
    mirror_bundle::oci::parse(&oci, mirror_bundle::oci::media_type::OCI_INDEX).unwrap();
});
