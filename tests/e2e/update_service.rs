//! The update graph: carried as an image that everybody can make again, and put where the update service finds it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use mirror_bundle::oci::Digest;
use serde_json::{Value, json};

use crate::harness::*;
use crate::support::image::{Blob, Image, Pusher, layer};
use crate::support::registry::{Registry, Setup};
use crate::support::release::{Release, world};
use crate::support::stub::{Answer, Rule, Stub};

/// The repository of the releases and their components.
const REPOSITORY: &str = "lab/release";
/// What belongs to the graph in the image.
const FOLDER: &str = "var/lib/cincinnati-graph-data";

/// Three releases as in the golden case: 4.18.2 after .1, 4.18.3 after both.
struct Lab {
    registry: Registry,
    releases: Vec<Release>,
    /// A list for two architectures.
    multi: Release,
}

fn lab() -> &'static Lab {
    static LAB: OnceLock<Lab> = OnceLock::new();
    LAB.get_or_init(|| {
        let registry = Registry::with(&Setup { storage: Some(world().dir.join("lab")), ..Setup::default() });
        let to = Pusher::new(&registry.host());
        let base = shell();
        let cli = Image::docker("amd64", json!({}), std::slice::from_ref(&base));
        let operator = Image::docker("amd64", json!({}), &[base.clone(), layer(&[("bin/cvo", b"cvo")])]);
        let components = vec![("cli".to_owned(), cli), ("cluster-version-operator".to_owned(), operator)];
        let at = format!("quay.io/lab/{REPOSITORY}");
        let make = |previous: &[&str], version| Release::after(previous, version, "amd64", &at, &components, "a: b\n");
        let releases = vec![make(&[], "4.18.1"), make(&["4.18.1"], "4.18.2"), make(&["4.18.1", "4.18.2"], "4.18.3")];
        let arches = ["amd64", "arm64"];
        let both = |extra: &[Blob]| {
            Image::list(arches.map(|arch| Image::oci(arch, &[std::slice::from_ref(&base), extra].concat())).to_vec())
        };
        let lists = vec![
            ("cli".to_owned(), both(&[])),
            ("cluster-version-operator".to_owned(), both(&[layer(&[("bin/cvo", b"cvo")])])),
        ];
        let mut multi = Release::after(&["4.18.1"], "4.18.2", "multi", &at, &lists, "a: b\n");
        let arm = Image { platform: ("linux".to_owned(), "arm64".to_owned()), ..multi.image.clone() };
        multi.image = Image::list(vec![multi.image, arm]);
        for release in releases.iter().chain([&multi]) {
            for (_, image) in &release.components {
                to.push(REPOSITORY, image, None);
            }
            let arch = if std::ptr::eq(release, &multi) { "multi" } else { "x86_64" };
            to.push(REPOSITORY, &release.image, Some(&format!("{}-{arch}", release.version)));
        }
        let last = &releases[2].image;
        to.push(REPOSITORY, &Image::cosign(last, "quay.io/x:y"), Some(&last.sig_tag()));
        to.refer(REPOSITORY, last, &Image::referrer(last));
        Lab { registry, releases, multi }
    })
}

/// A layer with a shell and `cp`, as the component `cli` has them.
fn shell() -> Blob {
    let busybox = fs::read("/bin/busybox").or_else(|_| fs::read("/usr/bin/busybox")).unwrap_or_default();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o755);
    header.set_size(busybox.len() as u64);
    tar.append_data(&mut header, "bin/busybox", busybox.as_slice()).unwrap();
    for name in ["bin/sh", "bin/cp"] {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, name, "busybox").unwrap();
    }
    let plain = tar.into_inner().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &plain).unwrap();
    let media_type = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    Blob { diff_id: Some(Digest::of(&plain)), ..Blob::new(media_type, gzip.finish().unwrap()) }
}

/// The graph of the golden case.
fn graph() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/update-graphs/osus/graph-data")
}

fn create(bundle: &Path, releases: &[&str], more: Vec<std::ffi::OsString>) -> Vec<std::ffi::OsString> {
    let mut out = create_signed(bundle);
    for release in releases {
        out.extend(args!["--release", format!("{}/{REPOSITORY}:{release}", lab().registry.host())]);
    }
    out.extend(args!["--allow-unsigned-release", "--signature-store", world().store()]);
    with(out, more)
}

const ALL: [&str; 3] = ["4.18.1-x86_64", "4.18.2-x86_64", "4.18.3-x86_64"];

fn trusted() -> Vec<std::ffi::OsString> {
    with(trust(), args!["--allow-unsigned-release"])
}

/// The graph-data image of a bundle, as its index has it.
fn image(bundle: &Path) -> Value {
    let seen = ok(&args!["inspect", bundle, "-o", "json"]).json();
    assert_eq!(seen["index"]["features"]["incompatible"], json!(["graph-data"]));
    let images = seen["index"]["images"].as_array().unwrap();
    images.iter().find(|image| image["kind"] == "graph-data").unwrap().clone()
}

#[test]
fn the_update_graph_is_carried_as_an_image_on_cli_and_its_updates_are_listed() {
    let dir = folder();
    let bundle = dir.path().join("b.tar");
    let made = ok(&create(&bundle, &ALL, args!["--graph-data", graph()]));
    assert!(made.stderr.contains("the graph-data image on"), "{}", made.stderr);
    let image = image(&bundle);
    let base = lab().releases[2].component("cli").digest();
    assert_eq!(image["derived"]["base"], json!(base));
    let verified = ok(&with(args!["verify", &bundle], trusted()));
    let text = verified.text();
    assert!(text.contains("graph-data image"), "{text}");
    // 4.18.3 only with the risk that graph-data adds.
    assert!(text.contains("4.18.3 amd64 from 4.18.2, 4.18.1 (risk LabAlways)"), "{text}");
    assert!(text.contains("4.18.2 amd64 from 4.18.1"), "{text}");
    let inspected = ok(&args!["inspect", &bundle]).text();
    assert!(inspected.contains("4.18.3 amd64 from 4.18.2, 4.18.1 (risk LabAlways)"), "{inspected}");
    let report = ok(&with(args!["verify", &bundle, "-o", "json"], trusted())).json();
    let updates = report["updates"].as_array().unwrap();
    assert_eq!(updates.len(), 3);
    assert_eq!(updates[2]["from"][0], json!({ "version": "4.18.1", "carried": true, "risks": ["LabAlways"] }));
    // As a stream too.
    let bytes = fs::read(&bundle).unwrap();
    let run = fed(&mut command(&with(args!["verify", "-", "-o", "json"], trusted())), &bytes);
    assert_eq!((run.code, &run.json()["updates"]), (0, &report["updates"]));
}

#[test]
fn what_the_graph_does_not_offer_is_said_when_the_bundle_is_made() {
    let dir = folder();
    let made =
        ok(&create(&dir.path().join("b.tar"), &["4.18.1-x86_64", "4.18.3-x86_64"], args!["--graph-data", graph()]));
    assert!(made.stderr.contains("LabAlways"), "{}", made.stderr);
    assert!(made.stderr.contains("the update graph goes on to 4.18."), "{}", made.stderr);
    let other = dir.path().join("graph");
    fs::create_dir_all(other.join("channels")).unwrap();
    fs::create_dir_all(other.join("raw")).unwrap();
    fs::write(other.join("raw/metadata.json"), "{}").unwrap();
    fs::write(other.join("version"), "1.1.0\n").unwrap();
    fs::write(other.join("channels/stable-4.18.yaml"), "name: stable-4.18\nversions:\n- 4.18.2\n- 4.18.3\n").unwrap();
    let made =
        ok(&create(&dir.path().join("c.tar"), &["4.18.1-x86_64", "4.18.2-x86_64"], args!["--graph-data", &other]));
    assert!(made.stderr.contains("release 4.18.1 amd64 is in no channel of the update graph"), "{}", made.stderr);
    assert!(made.stderr.contains("no update of the graph leads to release 4.18.2 amd64"), "{}", made.stderr);
    fs::write(other.join("version"), "2.0.0\n").unwrap();
    let bad = ends(12, &create(&dir.path().join("d.tar"), &ALL[..1], args!["--graph-data", &other]));
    assert!(
        bad.stderr.contains("would refuse the update graph") && bad.stderr.contains("nothing was written"),
        "{}",
        bad.stderr
    );
}

#[test]
fn the_graph_data_image_is_the_same_bytes_from_every_source_and_form() {
    let dir = folder();
    let first = dir.path().join("a.tar");
    ok(&create(&first, &ALL, args!["--graph-data", graph()]));
    let expected = image(&first);
    // From the tree that the first bundle was unpacked to, on another host; and the graph from an archive.
    let tree = dir.path().join("tree");
    ok(&with(args!["unpack", &first, "--to-dir", &tree], trusted()));
    let archive = dir.path().join("graph.tar.gz");
    tool("tar", &args!["-C", graph(), "--owner=1000850000", "-czf", &archive, "."]);
    let below = dir.path().join("repository.tar");
    // With a global header, as `git archive` writes it.
    let pax = args!["--format=posix", "--pax-option=comment=abc", "-cf", &below, "graph-data"];
    tool("tar", &with(args!["-C", graph().parent().unwrap()], pax));
    for (n, graph) in [archive, below].iter().enumerate() {
        let other = dir.path().join(format!("{n}.tar"));
        let mut again = create_signed(&other);
        again.extend(args!["--from-dir", &tree, "--allow-unsigned-release", "--graph-data", graph]);
        again.extend(args!["--signature-store", world().store()]);
        ok(&again);
        let image = image(&other);
        assert_eq!((&image["digest"], &image["derived"]), (&expected["digest"], &expected["derived"]));
    }
}

#[test]
fn a_graph_is_taken_from_the_address_that_serves_it() {
    let dir = folder();
    let archive = dir.path().join("graph.tar.gz");
    tool("tar", &args!["-C", graph(), "-czf", &archive, "."]);
    let bytes = fs::read(&archive).unwrap();
    let rule: Rule = Box::new(move |request, _| {
        (request.path == "/api/upgrades_info/graph-data").then(|| Answer(200, vec![], bytes.clone()))
    });
    let service = Stub::start(false, vec![rule]);
    let url = format!("http://{}/api/upgrades_info/graph-data", service.host());
    let (one, other) = (dir.path().join("a.tar"), dir.path().join("b.tar"));
    ok(&create(&one, &ALL[..1], args!["--graph-data", url]));
    ok(&create(&other, &ALL[..1], args!["--graph-data", graph()]));
    assert_eq!(image(&one)["digest"], image(&other)["digest"]);
    let run = ends(
        50,
        &create(&dir.path().join("c.tar"), &ALL[..1], args!["--graph-data", format!("http://{}/none", service.host())]),
    );
    assert!(run.stderr.contains("nothing was written"), "{}", run.stderr);
}

/// The tags of a repository.
fn tags(registry: &Registry, repository: &str) -> BTreeSet<String> {
    let (_, body) = get(registry.port, &format!("/v2/{repository}/tags/list"));
    let list: Value = serde_json::from_slice(&body).unwrap();
    list["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned()).collect()
}

#[test]
fn releases_are_alone_in_the_repository_that_the_update_service_reads() {
    let dir = folder();
    let bundle = dir.path().join("b.tar");
    let releases = [&ALL[..], &["4.18.2-multi"]].concat();
    ok(&create(&bundle, &releases, args!["--graph-data", graph()]));
    let inside = Registry::start();
    let manifests = dir.path().join("m");
    let to = args![
        "unpack",
        &bundle,
        "--to",
        format!("{}/ocp/release", inside.host()),
        "--plain-http",
        "127.0.0.1",
        "--manifests-to-dir",
        &manifests,
    ];
    let run = ok(&with(to.clone(), trusted()));
    let signature = lab().releases[2].image.sig_tag();
    let expected = ["4.18.1-x86_64", "4.18.2-x86_64", "4.18.3-x86_64", "4.18.2-multi", &signature];
    assert_eq!(tags(&inside, "ocp/release/release-images"), expected.map(str::to_owned).into());
    // Everything of a list is beside it, as a release is read through its last image.
    for image in lab().multi.image.documents() {
        let path = format!("/v2/ocp/release/release-images/manifests/{}", image.digest());
        assert_eq!(get(inside.port, &path).0, 200);
    }
    // The usual places hold the releases with their components, as without a graph.
    assert!(tags(&inside, "ocp/release").is_superset(&ALL.map(str::to_owned).into()));
    let graph = image(&bundle);
    let digest = graph["digest"].as_str().unwrap();
    assert_eq!(tags(&inside, "ocp/release/graph-data"), [graph["tag"].as_str().unwrap().to_owned()].into());
    // The base is that of a list: so is the image.
    let (_, body) = get(inside.port, &format!("/v2/ocp/release/graph-data/manifests/{digest}"));
    let list: Value = serde_json::from_slice(&body).unwrap();
    let arches: Vec<&Value> =
        list["manifests"].as_array().unwrap().iter().map(|m| &m["platform"]["architecture"]).collect();
    assert_eq!(arches, ["amd64", "arm64"]);

    let file = dir.path().join("m-update-service/update-service.yaml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(&format!("releases: \"{}/ocp/release/release-images\"", inside.host())), "{text}");
    assert!(text.contains(&format!("graphDataImage: \"{}/ocp/release/graph-data@{digest}\"", inside.host())), "{text}");
    for said in [
        "cincinnati-operator",
        "updateservice-registry=CA.pem",
        "set data configmap/NAME",
        "api/upgrades_info/v1/graph",
    ] {
        assert!(run.stderr.contains(said), "{said}: {}", run.stderr);
    }
    let answer = ok(&with(with(to, trusted()), args!["-o", "json"])).json();
    assert_eq!(
        answer["unpacked"]["update_service"]["releases"],
        format!("{}/ocp/release/release-images", inside.host())
    );
    // A mirror set points at the usual place alone.
    let sets = fs::read_dir(dir.path().join("m-mirror-set")).unwrap();
    for set in sets {
        let text = fs::read_to_string(set.unwrap().path()).unwrap();
        assert!(!text.contains("release-images"), "{text}");
    }
}

#[test]
fn the_image_copies_the_graph_under_any_user_and_has_no_owner_but_root() {
    if !(have("umoci") && have("busybox") && have("skopeo")) {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return skip("only root can change the root folder");
    }
    let dir = folder();
    let bundle = dir.path().join("b.tar");
    ok(&create(&bundle, &ALL, args!["--graph-data", graph()]));
    let inside = Registry::start();
    let to = args!["--to", format!("{}/ocp", inside.host()), "--plain-http", "127.0.0.1"];
    ok(&[args!["unpack", &bundle, "--manifests-to-dir", dir.path().join("m")], to, trusted()].concat());
    let alone = dir.path().join("alone");
    let from = format!("docker://{}/ocp/graph-data:{}", inside.host(), image(&bundle)["tag"].as_str().unwrap());
    tool("skopeo", &args!["copy", "--src-tls-verify=false", from, format!("oci:{}:graph", alone.display())]);
    let unpacked = dir.path().join("unpacked");
    tool("umoci", &args!["unpack", "--image", format!("{}:graph", alone.display()), &unpacked]);
    let root = unpacked.join("rootfs");
    let mut files = BTreeSet::new();
    let mut look = vec![root.join(FOLDER)];
    while let Some(path) = look.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mtime()), (0, 0, 0), "{path:?}");
        if meta.is_dir() {
            assert_eq!(meta.permissions().mode() & 0o7777, 0o755);
            look.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            assert_eq!(meta.permissions().mode() & 0o7777, 0o644);
            let relative = path.strip_prefix(root.join(FOLDER)).unwrap().to_owned();
            assert_eq!(fs::read(&path).unwrap(), fs::read(graph().join(&relative)).unwrap());
            files.insert(relative);
        }
    }
    assert!(
        files.contains(Path::new("version")) && files.contains(Path::new("channels/stable-4.18.yaml")),
        "{files:?}"
    );

    // What the operator does: it mounts an empty folder, and runs the image under a user of the namespace.
    let mounted = root.join("var/lib/cincinnati/graph-data");
    fs::create_dir_all(&mounted).unwrap();
    fs::set_permissions(&mounted, fs::Permissions::from_mode(0o777)).unwrap();
    let config: Value = serde_json::from_slice(&fs::read(unpacked.join("config.json")).unwrap()).unwrap();
    let command: Vec<&str> =
        config["process"]["args"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
    assert_eq!(command[..2], ["/bin/sh", "-c"]);
    let _ = symlink("busybox", root.join("bin/none"));
    let run = Command::new("chroot")
        .args(["--userspec=1000850000:0"])
        .arg(&root)
        .args(&command)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    for file in &files {
        assert_eq!(fs::read(mounted.join(file)).unwrap(), fs::read(root.join(FOLDER).join(file)).unwrap());
        assert_eq!(fs::metadata(mounted.join(file)).unwrap().uid(), 1_000_850_000);
    }
}

#[test]
fn a_graph_needs_something_to_be_made_on_and_another_base_can_be_named() {
    let dir = folder();
    let bundle = dir.path().join("b.tar");
    let mut none = create_signed(&bundle);
    none.extend(args!["--image", format!("{}/{REPOSITORY}:4.18.1-x86_64", lab().registry.host())]);
    let run = ends(2, &with(none.clone(), args!["--graph-data", graph()]));
    assert!(run.stderr.contains("--graph-base"), "{}", run.stderr);
    let run = ends(3, &with(none, args!["--graph-data", dir.path().join("nothing")]));
    assert!(run.stderr.contains("nothing"), "{}", run.stderr);
    let cli = lab().releases[0].component("cli").digest();
    let base = format!("{}/{REPOSITORY}@{cli}", lab().registry.host());
    let mut named = create_signed(&bundle);
    named.extend(args!["--graph-data", graph(), "--graph-base", &base]);
    ok(&named);
    assert_eq!(image(&bundle)["derived"]["base"], json!(cli));
    ok(&with(args!["verify", &bundle], trusted()));
}
