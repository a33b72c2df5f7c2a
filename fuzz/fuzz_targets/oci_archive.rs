//! OCI layouts in a tar file: opened, listed, every manifest and blob read. The first byte, when odd, lets the input
//! be `path\n%%content` parts that are given their headers; even: raw tar.
#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use mirror_bundle::oci::{self, Digest};
use mirror_bundle::source::archive;
use mirror_bundle_fuzz as host;

fuzz_target!(|data: &[u8]| {
    let [mode, rest @ ..] = data else { return };
    let memory = match mode & 1 {
        0 => host::Memory::new(rest),
        _ => host::Memory::new(&host::parts::archive(rest)),
    };
    let Ok(layout) = archive::open(&memory.path(), std::env::temp_dir().as_path()) else { return };
    let Ok(names) = layout.names() else { return };
    for named in names.iter().take(8) {
        let _ = layout.referrers(&named.digest);
        if let Some(tag) = &named.tag {
            let _ = layout.resolve(tag);
        }
        let Ok(Some(fetched)) = layout.manifest(&named.digest) else { continue };
        assert_eq!(Digest::of(&fetched.bytes), named.digest);
        let Ok(document) = oci::parse(&fetched.bytes, &fetched.media_type) else { continue };
        for child in document.children().take(8) {
            for offset in [0, 1] {
                let Ok(blob) = layout.blob(child, offset) else { continue };
                let mut bytes = Vec::new();
                if blob.take(1 << 20).read_to_end(&mut bytes).is_ok() {
                    assert!(bytes.len() as u64 <= child.size - offset.min(child.size));
                }
            }
        }
    }
});
