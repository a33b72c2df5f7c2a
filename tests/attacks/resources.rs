//! Memory and handles: D6, D7.

use std::fs::File;

use mirror_bundle::oci::Hasher;

use crate::lab::{Lab, Layout};
use crate::support::registry::Registry;

/// D6: with 64 handles, a blob of 300 MiB needs no more memory than a small one, with every source and destination.
#[test]
fn memory_and_handles_do_not_grow_with_the_content() {
    const SIZE: usize = 300 << 20;
    let lab = Lab::new();
    let mut layout = Layout::new(&lab.path("big"));
    let mut hasher = Hasher::new();
    let zeros = vec![0; 1 << 20];
    (0..SIZE >> 20).for_each(|_| hasher.update(&zeros));
    let big = (hasher.finish(), SIZE);
    File::create(layout.blob_path(&big.0)).unwrap().set_len(SIZE as u64).unwrap();
    // And many small ones, so that every worker has something open.
    let small: Vec<_> = (0..150u32).map(|n| layout.blob(&n.to_le_bytes())).collect();
    let config = layout.blob(br#"{"architecture":"amd64","os":"linux"}"#);
    let layers: Vec<_> = small.iter().chain([&big]).collect();
    let manifest = layout.manifest(&config, &layers, "application/vnd.oci.image.layer.v1.tar", "");
    layout.name("quay.example/big:v1", mirror_bundle::oci::media_type::OCI_MANIFEST, &manifest);
    layout.finish();
    let registry = Registry::start();
    let (host, to) = (registry.host(), format!("{}/in", registry.host()));
    let trust = ["--signer", "key.pub", "-j", "8"];
    for args in [
        &[
            "create",
            "big.tar",
            "--from-layout",
            "big",
            "--sign-key",
            "key",
            "--name",
            "big",
            "--sequence",
            "1",
            "-j",
            "8",
        ][..],
        &[&["verify", "big.tar"], &trust[..]].concat(),
        &[&["unpack", "big.tar", "--to-layout", "out"], &trust[..]].concat(),
        &[&["unpack", "big.tar", "--to", &to, "--plain-http", &host], &trust[..]].concat(),
    ] {
        let ran = lab.wrapped(&["/usr/bin/time", "prlimit", "--nofile=64:64"], args).wait();
        eprintln!("{}: {} KiB", args[0], ran.peak);
        ran.ends(&[0]);
        assert!(ran.peak > 5_000, "the peak is known");
    }
}

/// D7: sizes at the limits of integers are refused and do not overflow.
#[test]
fn sizes_at_the_borders_of_integers_are_refused() {
    let lab = Lab::new();
    for (n, size) in [
        "-1",
        "1e3",
        "1.0",
        "2147483648",
        "4294967296",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "\"5\"",
        "null",
        "9007199254740993",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("l{n}");
        let mut layout = Layout::new(&lab.path(&name));
        let config = layout.blob(br#"{"architecture":"amd64","os":"linux"}"#);
        let layer = layout.blob(b"layer");
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{}","size":{size}}}]}}"#,
            config.0, config.1, layer.0
        );
        let manifest = layout.blob(manifest.as_bytes());
        layout.name("quay.example/x:v1", mirror_bundle::oci::media_type::OCI_MANIFEST, &manifest);
        layout.finish();
        lab.run(&["create", "x.tar", "--from-layout", &name, "--sign-key", "key"]).ends(&[3, 12, 31]);
        assert!(!lab.path("x.tar").exists(), "{size}");
    }
}
