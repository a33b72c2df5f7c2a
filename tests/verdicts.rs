//! Nothing read is nothing verified (MB-VER-16): every verb, at every destination, with every kind of damage. None
//! exits with 0, leaves anything under a final name, or remembers the bundle.
#![cfg(feature = "registry")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

#[allow(dead_code)]
#[path = "recovery/kit.rs"]
mod kit;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use kit::{Kit, PROGRAM, of_size};
use mirror_bundle::bundle::layout;
use mirror_bundle::parallel::Pace;
use support::registry::Registry;

/// The damage of `b.tar`.
struct Damage {
    name: &'static str,
    make: fn(&Kit),
    /// Whether verbs without a trust argument (`join`, `split`, `recovery`) can notice it.
    without_trust: bool,
}

const DAMAGES: &[Damage] = &[
    Damage { name: "bit in a layer", make: |kit| bit(kit, |b| of_size(b, 300_000).data()), without_trust: true },
    Damage { name: "bit in the last byte of a layer", make: |kit| bit(kit, last_of_layer), without_trust: true },
    Damage { name: "bit in a configuration", make: |kit| bit(kit, config), without_trust: true },
    Damage { name: "bit in a manifest", make: |kit| bit(kit, document), without_trust: true },
    Damage { name: "bit in a Kubernetes file", make: |kit| bit(kit, |b| member(b, "manifests/")), without_trust: true },
    Damage { name: "bit in the index", make: |kit| bit(kit, |b| member(b, layout::INDEX) + 40), without_trust: true },
    Damage {
        name: "bit in the signature",
        make: |kit| bit(kit, |b| member(b, layout::SIGNATURE) + 60),
        without_trust: false,
    },
    Damage { name: "cut in a layer", make: |kit| cut(kit, |b| of_size(b, 4_500_000).data() + 9), without_trust: true },
    Damage { name: "cut before the last blob", make: |kit| cut(kit, last_blob), without_trust: true },
    Damage { name: "a blob that is taken out", make: without_blob, without_trust: true },
    Damage { name: "a member that is not listed", make: unlisted, without_trust: true },
    Damage { name: "the signature of another bundle", make: other_signature, without_trust: false },
    Damage { name: "another key", make: |kit| kit.copy("reviewer.pub", "builder.pub"), without_trust: false },
];

type Map = mirror_bundle::bundle::survey::Blueprint;

fn bit(kit: &Kit, at: impl Fn(&Map) -> u64) {
    let at = at(&kit.blueprint());
    kit.flip("b.tar", at);
}

fn cut(kit: &Kit, at: impl Fn(&Map) -> u64) {
    let at = at(&kit.blueprint());
    kit.damage("b.tar", |bytes| bytes.truncate(usize::try_from(at).unwrap()));
}

fn member(map: &Map, prefix: &str) -> u64 {
    map.layout.members().iter().find(|m| m.path.starts_with(prefix)).unwrap().data()
}

fn last_of_layer(map: &Map) -> u64 {
    of_size(map, 4_500_000).data() + 4_499_999
}

fn last_blob(map: &Map) -> u64 {
    map.layout.blobs().last().unwrap().header
}

fn of_role(map: &Map, document: bool) -> u64 {
    let blobs = map.index.blobs.iter().zip(map.layout.blobs());
    let config = |size| size < 200;
    let mut wanted = blobs.filter(|(b, _)| b.role.is_document() == document && (document || config(b.size)));
    wanted.next().unwrap().1.data() + 5
}

fn config(map: &Map) -> u64 {
    of_role(map, false)
}

fn document(map: &Map) -> u64 {
    of_role(map, true)
}

fn without_blob(kit: &Kit) {
    let map = kit.blueprint();
    let member = of_size(&map, 300_000);
    let end = member.data() as usize + 300_000usize.next_multiple_of(512);
    kit.damage("b.tar", |bytes| drop(bytes.drain(member.header as usize..end)));
}

fn unlisted(kit: &Kit) {
    let map = kit.blueprint();
    let header = mirror_bundle::bundle::tar::header("blobs/sha256/x", 3, 1_700_000_000);
    let mut more = header.to_vec();
    more.extend(b"abc");
    more.resize(1024, 0);
    let at = last_blob(&map) as usize;
    kit.damage("b.tar", |bytes| drop(bytes.splice(at..at, more)));
}

fn other_signature(kit: &Kit) {
    kit.create("other.tar", "newer", &["--sequence", "6"]);
    let signature = |bytes: &[u8], at: u64| bytes[at as usize..at as usize + 200].to_vec();
    let other = mirror_bundle::bundle::Bundle::open(&kit.path("other.tar")).unwrap();
    let theirs = other.head().signature.clone().unwrap();
    let at = member(&kit.blueprint(), layout::SIGNATURE) as usize;
    assert!(!signature(&theirs, 0).is_empty());
    kit.damage("b.tar", |bytes| bytes[at..at + theirs.len()].copy_from_slice(&theirs));
    kit.remove("other.tar");
}

/// A verb and its destination.
struct Way {
    args: &'static [&'static str],
    /// Reads `b.tar` from standard input.
    stream: bool,
    /// Run on damage that only trust can reveal.
    trust: bool,
}

const SIGNER: &[&str] = &["--signer", "builder.pub"];

const WAYS: &[Way] = &[
    Way { args: &["verify", "b.tar"], stream: false, trust: true },
    Way { args: &["verify", "b.tar", "--partial"], stream: false, trust: true },
    Way { args: &["verify", "-"], stream: true, trust: true },
    Way {
        args: &["unpack", "b.tar", "--to", "REGISTRY/mirror", "--plain-http", "REGISTRY"],
        stream: false,
        trust: true,
    },
    Way { args: &["unpack", "-", "--to", "REGISTRY/mirror", "--plain-http", "REGISTRY"], stream: true, trust: true },
    Way { args: &["unpack", "b.tar", "--to-dir", "out"], stream: false, trust: true },
    Way { args: &["unpack", "-", "--to-dir", "out"], stream: true, trust: true },
    Way { args: &["unpack", "b.tar", "--to-layout", "out"], stream: false, trust: true },
    Way { args: &["unpack", "-", "--to-layout", "out"], stream: true, trust: true },
    Way { args: &["unpack", "b.tar", "--to-layout", "out", "--partial"], stream: false, trust: true },
    Way { args: &["unpack", "b.tar", "--manifests-to-dir", "out"], stream: false, trust: true },
    Way { args: &["unpack", "-", "--manifests-to-dir", "out"], stream: true, trust: true },
    Way { args: &["unpack", "b.tar", "--manifests-to-dir", "out", "--partial"], stream: false, trust: true },
    Way { args: &["unpack", "b.tar", "--dry-run"], stream: false, trust: true },
    Way { args: &["unpack", "-", "--dry-run"], stream: true, trust: true },
    Way { args: &["unpack", "b.tar", "--to-dir", "out", "--dry-run"], stream: false, trust: true },
    Way { args: &["sign", "b.tar", "--sign-key", "reviewer", "--role", "reviewer"], stream: false, trust: true },
    Way {
        args: &["sign", "b.tar", "--sign-key", "reviewer", "--role", "reviewer", "--detach"],
        stream: false,
        trust: true,
    },
    Way { args: &["repair", "b.tar"], stream: false, trust: true },
    Way { args: &["repair", "b.tar", "--to", "out"], stream: false, trust: true },
    Way { args: &["split", "b.tar", "out", "--volume-size", "2MiB"], stream: false, trust: false },
    Way { args: &["join", "out", "b.tar"], stream: false, trust: false },
    Way { args: &["recovery", "b.tar"], stream: false, trust: false },
];

fn run(kit: &Kit, way: &Way, registry: &str) -> (i32, String) {
    let mut args: Vec<String> = way.args.iter().map(|a| a.replace("REGISTRY", registry)).collect();
    if way.trust {
        args.extend(SIGNER.iter().map(|a| (*a).to_owned()));
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut command: Command = kit.command(PROGRAM, &args);
    command.stdin(match way.stream {
        true => Stdio::from(fs::File::open(kit.path("b.tar")).unwrap()),
        false => Stdio::null(),
    });
    let out = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    (out.status.code().unwrap_or(-1), text)
}

/// Names under which any content of a bundle could be found: tags, manifests, entries, files, new archives.
fn findable(kit: &Kit, storage: &Path) -> Vec<String> {
    let mut out = Vec::new();
    for entry in walkdir::WalkDir::new(kit.path("out")).into_iter().flatten() {
        let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path().display().to_string());
        let folder = path.split('/').rev().nth(1).unwrap_or_default();
        // Blobs under their digests are not reachable; leftovers of a killed run have temporary names.
        let leads = folder == "manifests" || folder == "out" || name == "index.json" || name.ends_with(".yaml");
        let own = name == "oci-layout" || name.contains(".partial") || entry.file_type().is_dir();
        if (leads && !own) || entry.file_type().is_symlink() || (entry.depth() == 0 && entry.file_type().is_file()) {
            out.push(path);
        }
    }
    for entry in walkdir::WalkDir::new(storage).into_iter().flatten() {
        let path = entry.path().display().to_string();
        if path.contains("/_manifests/") && entry.file_type().is_file() {
            out.push(path);
        }
    }
    for name in ["b.tar.recovery", "out.1.tar", "state/unpacked.json"] {
        out.extend(kit.path(name).exists().then(|| name.to_owned()));
    }
    out.extend(kit.files("b.tar.").into_keys().filter(|n| n.ends_with(".sig") || n.contains("reviewer")));
    out
}

#[test]
fn no_verb_ends_well_or_leaves_or_remembers_anything_of_a_damaged_bundle() {
    let mut wrong = Vec::new();
    let mut asked = 0;
    for damage in DAMAGES {
        let registry = Registry::start();
        for way in WAYS.iter().filter(|way| way.trust || damage.without_trust) {
            let kit = Kit::new();
            kit.remove("r");
            if way.args[0] == "split" {
                fs::create_dir(kit.path("out")).unwrap();
            }
            (damage.make)(&kit);
            let before = kit.read("b.tar");
            let (code, text) = run(&kit, way, &registry.host());
            let what = format!("{}: {}", damage.name, way.args.join(" "));
            asked += 1;
            // Everything listed exists, so a repaired copy is complete.
            if damage.name == "a member that is not listed" && way.args == ["repair", "b.tar", "--to", "out"] {
                assert_eq!(code, 0, "{text}");
                kit.verifies("out");
                continue;
            }
            if !(10..50).contains(&code) {
                wrong.push(format!("{what}: exit code {code}\n{text}"));
            }
            let found = findable(&kit, &registry.storage());
            if !found.is_empty() {
                wrong.push(format!("{what}: leaves {found:?}"));
            }
            if kit.read("b.tar") != before {
                wrong.push(format!("{what}: changes the bundle"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {asked} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// The table can fail: the same verbs succeed with a good bundle.
#[test]
fn every_way_of_the_table_ends_well_with_a_good_bundle() {
    let registry = Registry::start();
    for way in WAYS {
        let kit = Kit::new();
        kit.remove("r");
        if way.args[0] == "split" {
            fs::create_dir(kit.path("out")).unwrap();
        }
        let (code, text) = run(&kit, way, &registry.host());
        assert_eq!(code, 0, "{}\n{text}", way.args.join(" "));
        let unpacked = way.args[0] == "unpack" && !way.args.contains(&"--dry-run");
        assert_eq!(kit.path("state/unpacked.json").exists(), unpacked, "{}", way.args.join(" "));
        if unpacked && !way.args.contains(&"--to") {
            assert!(!findable(&kit, Path::new("/nonexistent")).is_empty(), "{}", way.args.join(" "));
        }
    }
}

/// A single volume is not a bundle: the available content is checked, and the verdict says that it is incomplete.
#[test]
fn volumes_that_are_missing_or_damaged_never_end_well() {
    let kit = Kit::new();
    fs::create_dir(kit.path("v")).unwrap();
    kit.run(&["split", "b.tar", "v", "--volume-size", "2MiB"]).is(0);
    let mut volumes: Vec<String> = Vec::new();
    for entry in fs::read_dir(kit.path("v")).unwrap() {
        volumes.push(format!("v/{}", entry.unwrap().file_name().to_str().unwrap()));
    }
    volumes.sort();
    assert!(volumes.len() > 2, "{volumes:?}");
    let names: Vec<&str> = volumes.iter().map(String::as_str).collect();
    let with = |verb: &[&str], files: &[&str], more: &[&str]| {
        let args = [verb, files, more, SIGNER].concat();
        kit.run(&args)
    };
    for to in [["--to-layout", "out"], ["--to-dir", "out"], ["--manifests-to-dir", "out"]] {
        with(&["unpack"], &names[1..], &to).is(11);
        with(&["unpack"], &names[1..], &[&to[..], &["--partial"]].concat()).is(42);
        assert_eq!(findable(&kit, Path::new("/nonexistent")), Vec::<String>::new(), "{to:?}");
        let _ = fs::remove_dir_all(kit.path("out"));
    }
    with(&["verify"], &names[1..], &[]).is(11);
    with(&["verify"], &names[1..], &["--partial"]).is(42);
    with(&["sign"], &names[1..], &["--sign-key", "reviewer", "--role", "reviewer"]).is(11);
    with(&["repair"], &names[1..], &[]).is(42);
    kit.run(&[&["join", "out"], &names[1..]].concat()).is(11);
    let middle = kit.read(names[1]).len() as u64 / 2;
    kit.flip(names[1], middle);
    for to in [&["--to-layout", "out"][..], &["--to-dir", "out"], &["--manifests-to-dir", "out"], &["--dry-run"]] {
        for more in [&[][..], &["--partial"]] {
            with(&["unpack"], &names, &[to, more].concat()).is(31);
            assert_eq!(findable(&kit, Path::new("/nonexistent")), Vec::<String>::new(), "{to:?}");
            let _ = fs::remove_dir_all(kit.path("out"));
        }
    }
    with(&["verify"], &names, &[]).is(31);
    kit.run(&[&["join", "out"], &names[..]].concat()).is(31);
}

/// `examples/embed.rs`: another program, with a policy file.
#[test]
fn another_program_verifies_and_unpacks_with_a_policy_file() {
    let kit = Kit::new();
    let key = String::from_utf8(kit.read("builder.pub")).unwrap();
    kit.write(
        "trust.yaml",
        format!("signers: [{{name: builder, roles: [builder], key: \"{}\"}}]\n", key.trim()).as_bytes(),
    );
    let build = ["build", "--quiet", "--locked", "--example", "embed"];
    assert!(
        Command::new(env!("CARGO")).args(build).current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success()
    );
    // Two folders above the test itself.
    let program = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/embed");
    let program = program.to_str().unwrap();
    let arguments = ["b.tar", "trust.yaml", "out"];
    kit.tool(program, &arguments).is(0).says("2 images in out");
    assert!(kit.path("out/index.json").exists() && kit.path("state/unpacked.json").exists());
    fs::remove_dir_all(kit.path("out")).unwrap();
    fs::remove_dir_all(kit.path("state")).unwrap();
    kit.flip("b.tar", of_size(&kit.blueprint(), 300_000).data());
    kit.tool(program, &arguments).is(31).says("blob-mismatch");
    assert!(!kit.path("out/index.json").exists() && !kit.path("state/unpacked.json").exists());
}

/// `-o json`: one line of JSON on standard error, even if the work does not react to the signal itself.
#[test]
fn an_interruption_is_reported_as_json_where_json_is_wanted() {
    let kit = Kit::new();
    for (signal, code, word) in [("-INT", 130, "interrupted"), ("-TERM", 143, "terminated")] {
        let args = ["verify", "-", "-o", "json", "--signer", "builder.pub"];
        let mut command = kit.command(PROGRAM, &args);
        // No process ever writes to it.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let waits = || fs::read_to_string(format!("/proc/{}/wchan", child.id())).is_ok_and(|w| w.contains("pipe"));
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !waits() && std::time::Instant::now() < end {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let keep = child.stdin.take();
        let out = child.wait_with_output().unwrap();
        drop(keep);
        assert_eq!(out.status.code(), Some(code));
        let stderr = String::from_utf8(out.stderr).unwrap();
        let line: serde_json::Value = serde_json::from_str(stderr.trim()).unwrap_or_else(|e| panic!("{e}: {stderr}"));
        assert_eq!((line["type"].as_str(), line["code"].as_str()), (Some("error"), Some(word)), "{stderr}");
    }
}

#[test]
fn a_relative_destination_is_like_an_absolute_one() {
    let kit = Kit::new();
    fs::create_dir_all(kit.path("sub/dir")).unwrap();
    let listed = |dir: &Path| -> Vec<String> {
        let all = walkdir::WalkDir::new(dir).sort_by_file_name().into_iter().flatten();
        all.map(|e| e.path().strip_prefix(dir).unwrap().display().to_string()).collect()
    };
    for to in ["--to-dir", "--to-layout", "--manifests-to-dir"] {
        let absolute = kit.path("absolute");
        let run = |to_place: &str| {
            let place = absolute.to_str().filter(|_| to_place == "absolute").unwrap_or(to_place);
            let args = ["unpack", "b.tar", "--signer", "builder.pub", "--progress", "plain", "-v", to, place];
            let ran = kit.run(&args).is(0);
            assert!(!ran.err.contains("Pushing"), "{}", ran.err);
        };
        run("absolute");
        for relative in ["a", "./b/c", "sub/../d", "sub/dir"] {
            run(relative);
            assert_eq!(listed(&kit.path(relative)), listed(&absolute), "{to} {relative}");
            let _ = fs::remove_dir_all(kit.path(relative));
        }
        fs::remove_dir_all(&absolute).unwrap();
    }
}

/// A receiver that claims to have everything.
struct Liar;

impl mirror_bundle::verify::Receiver for Liar {
    fn has(&self, _: &mirror_bundle::bundle::index::Blob) -> mirror_bundle::Result<bool> {
        Ok(true)
    }

    fn receive(
        &self,
        _: &mirror_bundle::bundle::index::Blob,
        _: &mut mirror_bundle::verify::BlobReader<'_>,
        _: &mut [u8],
    ) -> mirror_bundle::Result<mirror_bundle::verify::Visit> {
        Ok(mirror_bundle::verify::Visit::LeftOut)
    }
}

struct Quiet;

impl mirror_bundle::sink::Watch for Quiet {
    fn check(&self) -> mirror_bundle::Result<()> {
        Ok(())
    }
    fn warn(&self, _: &str) {}
    fn advance(&self, _: u64) {}
    fn item(&self) {}
}

/// A third-party program can claim anything about a destination: the destination relies on what it has seen itself.
#[test]
fn no_destination_writes_an_image_whose_content_it_was_not_handed() {
    use mirror_bundle::bundle::Inputs;
    use mirror_bundle::oci::Repository;
    use mirror_bundle::sink::Destination;
    use mirror_bundle::sink::destination::{Layout, Tree};
    use mirror_bundle::verify::{Admission, Conclusion, Conditions, Extent, Trust, admit};

    let kit = Kit::new();
    let conditions = Conditions::new(jiff::Timestamp::now());
    let trust = Trust::Unsigned { keyrings: vec![] };
    let conclude = |receiver: &dyn mirror_bundle::verify::Receiver| {
        let admitted = match admit(Inputs::from(kit.path("b.tar").as_path()), &trust, &conditions).unwrap() {
            Admission::Admitted(admitted) => admitted,
            Admission::Refused(report) => panic!("{report:?}"),
        };
        admitted.blobs(&Pace::fixed(1), Extent::Needed, receiver).unwrap();
        admitted.conclude(false).unwrap()
    };
    let Conclusion::Verified(verified) = conclude(&Liar) else { panic!("nobody was lied to") };
    let (tree, layout) = (kit.path("tree"), kit.path("layout-of-liar"));
    let index = verified.index().clone();
    let destinations: [Box<dyn Destination>; 2] = [
        Box::new(Tree::new(&tree, &index, &|digest| verified.document(digest), &Default::default()).unwrap()),
        Box::new(Layout::new(&layout)),
    ];
    for destination in &destinations {
        destination.prepare().unwrap();
        let error = destination.images(&verified, &Quiet).unwrap_err();
        assert!(error.to_string().contains("was not handed to"), "{error}");
    }
    assert!(!layout.join("index.json").exists() && names(&tree).iter().all(|name| !name.contains("manifests/")));
    let registry = Registry::start();
    let target: Repository = format!("{}/liar", registry.host()).parse().unwrap();
    let options = mirror_bundle::registry::Options {
        auth_file: Some("/dev/null".into()),
        plain_http: vec![registry.host()],
        ..Default::default()
    };
    let client = mirror_bundle::registry::Client::new(options).unwrap();
    let (placing, pace) = (Default::default(), Pace::fixed(1));
    let to = mirror_bundle::sink::destination::Registry::new(
        &target,
        &client,
        &index,
        &|d| verified.document(d),
        Default::default(),
        &placing,
        &pace,
    );
    assert!(to.unwrap().images(&verified, &Quiet).unwrap_err().to_string().contains("was not handed to"));
    // Manifests that the verified bundle does not carry are not written in its name.
    let folder = mirror_bundle::sink::files::Folder::named(kit.path("other-manifests"));
    let other: [(&str, &[u8]); 1] = [("manifests/role.yaml", b"{}")];
    let to = mirror_bundle::sink::FileFolder::manifests(folder, other.into_iter(), Default::default());
    assert!(to.images(&verified, &Quiet).unwrap_err().to_string().contains("not those of the verified bundle"));
    assert!(!kit.path("other-manifests").exists());
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() { names(&path) } else { vec![path.display().to_string()] }
        })
        .collect()
}
