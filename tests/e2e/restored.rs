//! Layers carried as differences (MB-CAR-13), as skopeo compresses them, from registry to registry.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use mirror_bundle::oci::Digest;

use crate::harness::*;
use crate::support::proxy::{Fault, Proxy, status};
use crate::support::registry::Registry;

/// Two images of one repository, each with three layers that differ in a few bytes, pushed by skopeo.
struct Source {
    registry: Registry,
    dir: tempfile::TempDir,
}

fn file(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut out = mirror_bundle::bundle::tar::header(name, bytes.len() as u64, 1_700_000_000).to_vec();
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

/// The content of layer `n` of image `number`.
fn layer(n: u64, number: u64) -> Vec<u8> {
    let mut bytes = crate::support::noise(150_000, n);
    bytes[usize::try_from(number).unwrap() * 100] ^= 1;
    let mut out = file("a", &bytes);
    out.extend(file(&format!("stamp-{number}"), format!("{n} {number}").as_bytes()));
    out.resize(out.len() + 1024, 0);
    out
}

impl Source {
    fn start() -> Source {
        let source = Source { registry: Registry::start(), dir: folder() };
        for number in 1..=3 {
            source.push(number);
        }
        source.create("1.tar", 1, &[]);
        source.create("full.tar", 2, &[]);
        source.create("2.tar", 2, &["--base".into(), source.path("1.tar").into()]);
        source
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// As Docker's and podman's builders do: skopeo compresses with pgzip.
    fn push(&self, number: u64) {
        let folder = self.path(&format!("raw-{number}"));
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let put = |bytes: &[u8], media_type: &str| {
            let digest = Digest::of(bytes);
            fs::write(blobs.join(digest.hex()), bytes).unwrap();
            let media_type = format!("application/vnd.oci.image.{media_type}");
            serde_json::json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() })
        };
        let layers: Vec<Vec<u8>> = (1..=3).map(|n| layer(n, number)).collect();
        let diffs: Vec<String> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
        let config = serde_json::json!({ "architecture": "amd64", "os": "linux", "config": {}, "rootfs": { "type": "layers", "diff_ids": diffs } });
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": put(config.to_string().as_bytes(), "config.v1+json"),
            "layers": layers.iter().map(|layer| put(layer, "layer.v1.tar")).collect::<Vec<_>>(),
        });
        let entry = put(manifest.to_string().as_bytes(), "manifest.v1+json");
        fs::write(
            folder.join("index.json"),
            serde_json::json!({ "schemaVersion": 2, "manifests": [entry] }).to_string(),
        )
        .unwrap();
        fs::write(folder.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").unwrap();
        let to = format!("docker://{}/apps/web:{number}", self.registry.host());
        let from = format!("oci:{}", folder.display());
        tool("skopeo", &args!["copy", "-q", "--dest-tls-verify=false", "--dest-compress-format", "gzip", from, to]);
    }

    fn create(&self, name: &str, number: u64, more: &[OsString]) {
        let image = format!("{}/apps/web:{number}", self.registry.host());
        let args = with(
            create_signed(&self.path(name)),
            args!["--image", image, "--name", "apps", "--sequence", number.to_string()],
        );
        let run = finish(command(&[args, more.to_vec()].concat()).env("SOURCE_DATE_EPOCH", "1700000000"));
        assert_eq!(run.code, 0, "{}", run.stderr);
    }

    fn unpack(&self, name: &str, host: &str) -> Vec<OsString> {
        let to = args!["unpack", self.path(name), "--to", format!("{host}/site"), "--plain-http", "127.0.0.1"];
        with(with(to, trust()), args!["--mirror-set", "none", "--retries", "1", "--timeout", "5"])
    }

    fn encoded(&self, name: &str) -> usize {
        let listed = ok(&args!["ls", self.path(name), "--blobs", "-o", "json"]).json();
        listed["encoded"].as_object().map_or(0, serde_json::Map::len)
    }

    /// The layers of an image, as the source has them.
    fn layers(&self, number: u64) -> Vec<String> {
        let from = format!("docker://{}/apps/web:{number}", self.registry.host());
        let seen = tool("skopeo", &args!["inspect", "--tls-verify=false", from]).json();
        seen["Layers"].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
    }

    /// The site has the image, bit by bit.
    #[track_caller]
    fn complete(&self, host: &str, number: u64) {
        let of = |from: &str| tool("skopeo", &args!["inspect", "--tls-verify=false", from]).json();
        let (ours, theirs) = (
            of(&format!("docker://{}/apps/web:{number}", self.registry.host())),
            of(&format!("docker://{host}/site/apps/web:{number}")),
        );
        assert_eq!((&ours["Digest"], &ours["Layers"]), (&theirs["Digest"], &theirs["Layers"]));
        let to = tempfile::tempdir_in(self.dir.path()).unwrap();
        let by_digest = format!("docker://{host}/site/apps/web@{}", ours["Digest"].as_str().unwrap());
        tool(
            "skopeo",
            &args!["copy", "-q", "--src-tls-verify=false", by_digest, format!("dir:{}", to.path().display())],
        );
    }
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

#[test]
fn what_skopeo_compresses_arrives_bit_by_bit_from_its_differences() {
    let (source, site) = (Source::start(), Registry::start());
    assert_eq!(source.encoded("2.tar"), 3, "skopeo compresses otherwise now");
    assert!(size(&source.path("2.tar")) * 10 < size(&source.path("full.tar")));
    let run = ends(30, &source.unpack("2.tar", &site.host()));
    for text in ["carried as a difference to", "apps #1", "nothing was written", "--base BUNDLE"] {
        assert!(run.stderr.contains(text), "{text}: {}", run.stderr);
    }
    ok(&source.unpack("1.tar", &site.host()));
    let tried = ok(&with(source.unpack("2.tar", &site.host()), args!["--dry-run", "-o", "json"])).json();
    assert_eq!(tried["report"]["verdict"], "verified");
    ok(&source.unpack("2.tar", &site.host()));
    source.complete(&site.host(), 2);
    // The next month, against what this one left.
    source.create("3.tar", 3, &["--base".into(), source.path("full.tar").into()]);
    assert_eq!(source.encoded("3.tar"), 3);
    ok(&source.unpack("3.tar", &site.host()));
    source.complete(&site.host(), 3);
    // What is there already needs no reference.
    let again = ok(&with(source.unpack("2.tar", &site.host()), args!["--allow-rollback", "-o", "json"])).json();
    assert_eq!(again["unpacked"]["new_blobs"], 0);
    // From a stream, and with the base at hand, into an empty registry.
    let other = Registry::start();
    ok(&with(source.unpack("2.tar", &other.host()), args!["--base", source.path("1.tar")]));
    source.complete(&other.host(), 2);
    let (third, bytes) = (Registry::start(), fs::read(source.path("2.tar")).unwrap());
    ok(&source.unpack("1.tar", &third.host()));
    let mut args = source.unpack("2.tar", &third.host());
    args[1] = "-".into();
    assert_eq!(fed(&mut command(&args), &bytes).code, 0);
    source.complete(&third.host(), 2);
    let out = source.path("out.tar");
    let world = crate::support::release::world();
    ok(&args!["expand", source.path("2.tar"), out, "--base", source.path("1.tar"), "--signer", world.public_key()]);
    assert!(fs::read(&out).unwrap() == fs::read(source.path("full.tar")).unwrap());
}

#[test]
fn last_months_layers_are_read_from_their_registry_where_they_are_not_at_hand() {
    let (source, site) = (Source::start(), Registry::start());
    let receipt = source.path("site.mbr1");
    ok(&with(source.unpack("1.tar", &site.host()), args!["--site-receipt", receipt]));
    fs::remove_file(source.path("1.tar")).unwrap();
    // The receipt, and the index that was kept: the same differences as with the bundle.
    source.create("from-receipt.tar", 2, &args!["--base", receipt]);
    assert_eq!(source.encoded("from-receipt.tar"), 3);
    ok(&source.unpack("from-receipt.tar", &site.host()));
    source.complete(&site.host(), 2);
    // A base that is itself made of differences has none of its layers.
    source.create("3.tar", 3, &args!["--base", source.path("2.tar")]);
    assert_eq!(source.encoded("3.tar"), 3);
    ok(&source.unpack("3.tar", &site.host()));
    source.complete(&site.host(), 3);
    // What the registry lost is carried as it is, and said.
    let lost = |digest: &str| {
        let hex = digest.trim_start_matches("sha256:");
        let path = format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
        fs::remove_file(source.registry.storage().join(path)).unwrap();
    };
    lost(&source.layers(1)[0]);
    let create = |name: &str| {
        let args =
            with(create_signed(&source.path(name)), args!["--name", "apps", "--sequence", "2", "--base", receipt]);
        ok(&with(args, args!["--image", format!("{}/apps/web:2", source.registry.host()), "--retries", "1"]))
    };
    let run = create("less.tar");
    assert_eq!(source.encoded("less.tar"), 2, "{}", run.stderr);
    assert!(run.stderr.contains("of a base is not used"), "{}", run.stderr);
    let index: serde_json::Value = serde_json::from_slice(&fs::read(source.path("1.index.json")).unwrap()).unwrap();
    lost(index["images"][0]["digest"].as_str().unwrap());
    let run = create("none.tar");
    assert_eq!(source.encoded("none.tar"), 0, "{}", run.stderr);
    assert!(run.stderr.contains("1 image of apps #1 cannot be read where the new bundle comes from"), "{}", run.stderr);
}

#[test]
fn a_registry_that_does_not_give_back_a_reference_gets_no_tag() {
    let source = Source::start();
    let reference = source.layers(1)[1].clone();
    for (fault, code) in [(status(404), 50), (status(401), 51), (Fault::FlipByte(1000), 31), (Fault::CutBody(500), 50)]
    {
        let site = Registry::start();
        ok(&source.unpack("1.tar", &site.host()));
        let proxy = Proxy::start(Some(site.port));
        // The look-up is answered.
        proxy.on("GET", format!("apps/web/blobs/{reference}"), 1, Fault::NoHeader("x-none".into()));
        proxy.on("GET", format!("apps/web/blobs/{reference}"), 100, fault);
        let run = finish(&mut command(&source.unpack("2.tar", &proxy.host())));
        assert_eq!(run.code, code, "{}", run.stderr);
        assert!(run.stderr.contains("no manifest and no tag was written"), "{}", run.stderr);
        let tags = format!("{}/site/apps/web", site.host());
        let listed = tool("skopeo", &args!["list-tags", "--tls-verify=false", format!("docker://{tags}")]).json();
        assert_eq!(listed["Tags"], serde_json::json!(["1"]));
        // When it answers again, the same command completes it.
        ok(&source.unpack("2.tar", &site.host()));
        source.complete(&site.host(), 2);
    }
}

#[test]
fn what_does_not_come_out_right_is_never_closed_in_a_registry() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/vectors");
    for name in ["wrong-encoder", "other-blob", "longer-content", "frame-bomb", "frame-less", "other-bytes"] {
        let site = Registry::start();
        let bundle = vectors.join(format!("encoded-{name}.tar"));
        let to = args!["unpack", bundle, "--to", format!("{}/site", site.host()), "--plain-http", "127.0.0.1"];
        let keys = args!["--signer", vectors.join("keys/builder.pub"), "--at", "2026-11-23T00:00:00Z"];
        let run = ends(31, &with(with(to, keys), args!["--mirror-set", "none", "--retries", "1"]));
        assert!(run.stderr.contains("no manifest and no tag was written"), "{name}: {}", run.stderr);
        // What is there has its digest as name. (A registry keeps the bytes of an upload that was cancelled until its purge.)
        let all =
            walkdir::WalkDir::new(site.storage()).into_iter().flatten().filter(|entry| entry.file_type().is_file());
        for entry in all {
            let path = entry.path();
            let text = path.to_string_lossy();
            assert!(!text.contains("/tags/"), "{name}: {text}");
            if path.ends_with("data") && text.contains("/blobs/sha256/") {
                let digest = Digest::of(&fs::read(path).unwrap());
                assert!(text.contains(&digest.hex()), "{name}: {text}");
            }
        }
    }
}
