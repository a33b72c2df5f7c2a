//! Volumes with tools that every system has.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::bench::*;

/// The names of blobs below a folder.
fn blobs(dir: &Path) -> Vec<String> {
    files(&dir.join("blobs/sha256")).into_keys().collect()
}

#[test]
fn tar_sha256sum_and_cat_check_volumes_and_put_them_together() {
    let dir = folder();
    let dir = dir.path();
    bundle(dir, &[&[40_000, 9000], &[150_000]]);
    let volumes = make(dir, "volumes");
    run(dir, 0, "split b.tar volumes --volume-size 60kB -qq");
    let whole = make(dir, "whole");
    tool(dir, "tar", &["xf", "b.tar", "-C", "whole"]);
    let all = make(dir, "all");
    for name in files(&volumes).keys() {
        let one = make(dir, name);
        tool(dir, "tar", &["xf", &format!("volumes/{name}"), "-C", name]);
        tool(&one, "sha256sum", &["-c", "--quiet", "mirror-bundle/SHA256SUMS"]);
        tool(dir, "tar", &["xf", &format!("volumes/{name}"), "-C", "all"]);
        // The pieces of a volume are its description's.
        let description: Value =
            serde_json::from_slice(&fs::read(one.join("mirror-bundle/volume.json")).unwrap()).unwrap();
        let pieces: Vec<String> = blobs(&one).into_iter().filter(|b| b.contains(".p")).collect();
        assert_eq!(description["digests"].as_array().unwrap().len(), pieces.len(), "{name}");
    }
    let pieces: Vec<String> = blobs(&all).into_iter().filter(|b| b.contains(".p")).collect();
    assert!(pieces.len() > 2, "{pieces:?}");
    let hex = pieces[0].split('.').next().unwrap().to_owned();
    assert!(pieces.iter().all(|p| p.starts_with(&hex)));
    // As the specification says: join pieces by name.
    let script = format!("cd all/blobs/sha256 && cat {hex}.p* > {hex} && rm {hex}.p*");
    tool(dir, "sh", &["-c", &script]);
    for (name, bytes) in files(&whole.join("blobs/sha256")) {
        assert!(fs::read(all.join("blobs/sha256").join(&name)).unwrap() == bytes, "{name}");
    }
    assert_eq!(blobs(&all), blobs(&whole));
    // The list of a whole bundle checks everything at once.
    fs::copy(whole.join("mirror-bundle/SHA256SUMS"), all.join("mirror-bundle/SHA256SUMS")).unwrap();
    tool(&all, "sha256sum", &["-c", "--quiet", "mirror-bundle/SHA256SUMS"]);
}

#[test]
fn skopeo_reads_from_a_volume_the_images_that_are_whole_there() {
    if !have("skopeo") {
        return;
    }
    let dir = folder();
    let dir = dir.path();
    bundle(dir, &[&[20_000, 15_000], &[21_000, 14_000], &[22_000, 13_000]]);
    make(dir, "volumes");
    run(dir, 0, "split b.tar volumes --volume-size 60kB -qq");
    let mut copied = 0;
    for name in files(&dir.join("volumes")).keys() {
        for image in 0..3 {
            let from = format!("oci-archive:volumes/{name}:quay.io/test/{image}:1");
            let to = format!("dir:{name}-{image}");
            let args = ["--insecure-policy", "copy", "-q", &from, &to];
            copied += u32::from(end(&mut clean(std::process::Command::new("skopeo"), dir, &args)).code == 0);
            // Manifests are on every volume.
            tool(dir, "skopeo", &["inspect", "--raw", &from]);
        }
    }
    assert_eq!(copied, 3, "what belongs to one image lies together");
}
