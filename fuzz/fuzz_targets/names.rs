//! Digests, references, tags, platforms and member names: what parses is printed as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirror_bundle::bundle::{name, tar};
use mirror_bundle::oci::{Digest, Platform, Reference, Repository, Tag};

fn same<T: std::str::FromStr + std::fmt::Display>(text: &str) {
    if let Ok(parsed) = text.parse::<T>() {
        assert_eq!(parsed.to_string(), text);
    }
}

fn same_but_for_the_case_of_the_host<T: std::str::FromStr + std::fmt::Display>(text: &str) {
    if let Ok(parsed) = text.parse::<T>() {
        let printed = parsed.to_string();
        let host = text.split('/').next().unwrap().len();
        assert_eq!(printed, text[..host].to_ascii_lowercase() + &text[host..]);
        same::<T>(&printed);
    }
}

fuzz_target!(|data: &[u8]| {
    if let Some(block) = data.first_chunk::<512>()
        && let Some(entry) = tar::parse(block)
    {
        assert_eq!(&tar::header(&entry.name, entry.size, entry.mtime), block);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    same::<Digest>(text);
    same::<Platform>(text);
    same_but_for_the_case_of_the_host::<Reference>(text);
    same_but_for_the_case_of_the_host::<Repository>(text);
    same::<Tag>(text);
    if let Ok(digest) = Digest::from_hex(text) {
        assert_eq!(digest.hex(), text);
    }
    if name::check(text).is_ok() {
        assert!(text.len() <= 100 && text.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase()));
        assert!(text.split('/').all(|c| !c.is_empty() && c != "." && c != ".."));
        let block = tar::header(text, 1, 2);
        assert_eq!(tar::parse(&block).map(|e| e.name).as_deref(), Some(text));
    }
    if let Ok(reference) = text.parse::<Reference>() {
        let _ = reference.repository.join("a/b");
        assert!(!reference.repository.registry().is_empty());
    }
});
