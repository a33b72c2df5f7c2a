//! The guides in `docs/` hold: the `sh` blocks of each, in order, run as a reader would run them.
//!
//! What a reader has and a test has not is replaced: the medium by a folder, the registries of the guides by local
//! ones, the release by that of the tests' world. Lines that begin with `oc ` need a cluster; the folder that they name
//! must exist, and kubectl must read it.
#![cfg(all(feature = "registry", feature = "cli"))]
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code)]
#[path = "scan/lab.rs"]
mod lab;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use mirror_bundle::Code;
use support::program::{PROGRAM, tool};
use support::registry::Registry;
use support::release::{RELEASES, world};
use support::skip::have;

const RELEASE: &str = "quay.io/openshift-release-dev/ocp-release:4.16.37-x86_64";

/// The release after it; in the tests' world it is for two architectures.
const NEXT: &str = "quay.io/openshift-release-dev/ocp-release:4.16.38-x86_64";

/// The host of one reader.
struct Desk {
    dir: tempfile::TempDir,
    source: Registry,
    target: Registry,
}

impl Desk {
    fn new() -> Desk {
        let (dir, world) = (tempfile::tempdir().unwrap(), world());
        for folder in ["bin", "usb", "manifests"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let namespace = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: demo\n";
        fs::write(dir.path().join("manifests/namespace.yaml"), namespace).unwrap();
        for graph in ["stable-4.17.json", "stable-4.18.json"] {
            let saved = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cmd/list.in").join(graph);
            fs::copy(saved, dir.path().join(graph)).unwrap();
        }
        // Adds what a guide leaves out because Red Hat's keys and TLS are the default.
        let wrapper = format!(
            "#!/bin/sh\nverb=$1\nshift\ncase $verb in\n\
             create) set -- \"$@\" --plain-http 127.0.0.1 --release-keyring '{keyring}' --signature-store '{store}' ;;\n\
             unpack) set -- \"$@\" --release-keyring '{keyring}'\n\
             \x20 case \" $* \" in *' --to '*) set -- \"$@\" --plain-http 127.0.0.1 ;; esac ;;\n\
             ls|cat|extract|diff|sbom|scan) case \" $* \" in *' --signer '*) set -- \"$@\" --release-keyring '{keyring}' ;; esac ;;\n\
             receipt|inventory) set -- \"$@\" --plain-http 127.0.0.1 ;;\n\
             list) case \" $* \" in *' --update-graph '*) ;; *)\n\
             \x20 set -- \"$@\" --update-graph stable-4.18.json --update-graph stable-4.17.json ;; esac ;;\n\
             verify|report|sign|scrub|repair) set -- \"$@\" --release-keyring '{keyring}' ;;\nesac\n\
             exec '{PROGRAM}' \"$verb\" \"$@\"\n",
            keyring = world.keyring().display(),
            store = world.store().display(),
        );
        let path = dir.path().join("bin/mirror-bundle");
        fs::write(&path, wrapper).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Desk { dir, source: world.registry(), target: Registry::start() }
    }

    /// A bundle and the builder's key, as the guide before leaves them.
    fn with_a_bundle() -> Desk {
        let desk = Desk::new();
        desk.run(&format!(
            "mirror-bundle keygen builder.key --comment build-host --no-passphrase\n\
             mirror-bundle create /media/usb/ocp.tar --sign-key builder.key --release {RELEASE} --manifests manifests\n"
        ));
        desk
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// Runs these lines; returns what they print, answers first.
    #[track_caller]
    fn run(&self, lines: &str) -> String {
        let at = self.dir.path();
        let lines = lines
            .replace("/media/usb", "usb")
            .replace("/run/clamav/clamd.ctl", "./clamd.ctl")
            .replace("--volume-size 4GiB", "--volume-size 300KiB")
            .replace(RELEASE, &format!("{}/{RELEASES}:4.16.37-x86_64", self.source.host()))
            .replace(NEXT, &format!("{}/{RELEASES}:4.16.38-multi", self.source.host()))
            .replace("registry.example.com", &self.target.host());
        let mut bash = tool("bash", at);
        let path = std::env::var("PATH").unwrap_or_default();
        bash.args(["-eu", "-c", &lines]).env("PATH", format!("{}:{path}", at.join("bin").display()));
        let out = bash.output().unwrap();
        let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "{lines}\n{}\n{stdout}\n{stderr}", out.status);
        stdout.into_owned() + &stderr
    }

    /// Runs a guide to its end; returns what it prints.
    #[track_caller]
    fn follow(&self, guide: &str) -> String {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(guide)).unwrap();
        let blocks = blocks(&text);
        assert!(blocks.len() > 2, "{guide} has {} blocks", blocks.len());
        let mut out = String::new();
        for block in blocks {
            let (cluster, here): (Vec<&str>, Vec<&str>) = block.lines().partition(|line| line.starts_with("oc "));
            let scanner = self.path("clamd.ctl").exists();
            let here: Vec<&str> =
                here.into_iter().filter(|l| scanner || !l.starts_with("mirror-bundle scan")).collect();
            out += &self.run(&here.join("\n"));
            for line in cluster {
                self.would_apply(line);
            }
        }
        out
    }

    /// `oc apply -Rf FOLDER` would find files that the cluster can read.
    #[track_caller]
    fn would_apply(&self, line: &str) {
        let folder = line.strip_prefix("oc apply -Rf ").unwrap_or_else(|| panic!("not checked here: {line}"));
        // A `*` is for the shell.
        let folder = self.path(self.run(&format!("echo {folder}")).trim());
        assert!(folder.is_dir(), "{line}: no such folder in {:?}", names(self.dir.path()));
        if !have("kubectl") {
            return;
        }
        let mut kubectl = Command::new("kubectl");
        kubectl.args(["label", "--local", "-o", "name", "a=b", "-Rf"]).arg(&folder);
        support::program::clean(&mut kubectl, self.dir.path());
        let out = kubectl.output().unwrap();
        assert!(out.status.success(), "{line}: {}", String::from_utf8_lossy(&out.stderr));
        assert!(!out.stdout.is_empty(), "{line}: nothing to apply");
    }
}

fn names(dir: &Path) -> Vec<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The `sh` blocks of a guide.
fn blocks(text: &str) -> Vec<String> {
    let (mut all, mut block) = (Vec::new(), None::<String>);
    for line in text.lines() {
        match (&mut block, line) {
            (None, "```sh") => block = Some(String::new()),
            (Some(_), "```") => all.extend(block.take()),
            (Some(lines), line) => *lines += &format!("{line}\n"),
            (None, _) => {}
        }
    }
    assert!(block.is_none(), "a block does not end");
    all
}

#[test]
fn filling_a_medium_works_as_written() {
    let desk = Desk::new();
    let out = desk.follow("fill-a-medium.md");
    assert!(out.contains("verdict   VERIFIED  usb/ocp.tar"), "{out}");
    assert!(desk.path("usb/ocp.tar").is_file() && desk.path("usb/ocp.tar.recovery").is_file());
    assert!(names(&desk.path("discs")).len() > 1, "the guide's volumes are several");
}

#[test]
fn reviewing_works_as_written() {
    let desk = Desk::with_a_bundle();
    let clamd = lab::Daemon::start(lab::WIDE);
    if let Some(clamd) = &clamd {
        std::os::unix::fs::symlink(clamd.socket(), desk.path("clamd.ctl")).unwrap();
    }
    let out = desk.follow("reviewer.md");
    assert!(clamd.is_none() || out.contains("verdict   CLEAN"), "{out}");
    let verdict = out.rsplit("verdict ").next().unwrap();
    assert!(verdict.contains("VERIFIED") && verdict.contains("reviewer review-desk"), "{out}");
}

#[test]
fn importing_works_as_written() {
    let desk = Desk::with_a_bundle();
    let out = desk.follow("import.md");
    assert!(out.contains("oc adm upgrade --allow-explicit-upgrade --to-image"), "{out}");
    assert!(desk.path("mirror").is_dir() && desk.path("layout/index.json").is_file());
}

#[test]
fn updating_a_site_works_as_written() {
    let desk = Desk::with_a_bundle();
    let out = desk.follow("update-a-site.md");
    assert!(out.contains("receipt of this site") && out.contains("there     everything"), "{out}");
    assert!(out.contains("form      without"), "{out}");
    // Everything of the release of the last month is there: only what must be carried is.
    let size = |name: &str| fs::metadata(desk.path("usb").join(name)).unwrap().len();
    assert!(size("again.tar") < size("ocp.tar") / 2, "{} {}", size("again.tar"), size("ocp.tar"));
}

#[test]
fn serving_updates_works_as_written() {
    let desk = Desk::with_a_bundle();
    let channel = "name: stable-4.16\nversions: [4.16.36, 4.16.37]\n";
    for (path, text) in [("version", "1.1.0\n"), ("raw/metadata.json", "{}"), ("channels/stable-4.16.yaml", channel)] {
        let path = desk.path("graph-data").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let out = desk.follow("update-service.md");
    assert!(out.contains("graph-data image") && out.contains("set data configmap/NAME"), "{out}");
    // The lists of the section on choosing releases.
    assert!(out.contains("4.18.8   3 updates, via 4.17.20") && out.contains("stable-4.18  6 releases"), "{out}");
    let service = names(desk.dir.path()).into_iter().find(|name| name.ends_with("-manifests-update-service")).unwrap();
    assert!(desk.path(&service).join("update-service.yaml").is_file());
}

/// All but the builds, which `.ci/run` does.
#[test]
fn installing_works_as_written() {
    let desk = Desk::with_a_bundle();
    desk.run(
        "cp usb/ocp.tar . && cp bin/mirror-bundle . && echo '{}' > mirror-bundle.cdx.json\n\
         mirror-bundle keygen release.key --no-passphrase\n\
         sha256sum mirror-bundle mirror-bundle.cdx.json > SHA256SUMS\n",
    );
    let release = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/release")).unwrap();
    let sign = release.lines().find(|line| line.contains("ssh-keygen -q -Y sign")).unwrap();
    desk.run(&sign.replace("$key", "release.key"));
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/install.md")).unwrap();
    let here = |line: &&str| !line.starts_with("kubectl ") || have("kubectl");
    let blocks = blocks(&text).into_iter().map(|block| {
        let lines: Vec<&str> = block.lines().filter(here).collect();
        lines.join("\n").replace("/usr/local/bin/", "bin/").replace("~/", "home/")
    });
    let (builds, blocks): (Vec<_>, Vec<_>) =
        blocks.partition(|b| b.contains("cargo install") || b.contains(".ci/release"));
    assert_eq!((builds.len(), blocks.len()), (2, 3));
    let out: String = blocks.iter().map(|block| desk.run(block)).collect();
    assert!(
        out.contains("Good \"mirror-bundle-release\" signature for release") && out.contains("mirror-bundle: OK"),
        "{out}"
    );
    assert!(!have("kubectl") || out.contains("VERIFIED"), "{out}");
    for name in ["bash-completion/completions/mirror-bundle", "man/man1/mirror-bundle-verify.1"] {
        assert!(fs::metadata(desk.path("home/.local/share").join(name)).unwrap().len() > 0, "{name}");
    }
    // What was changed on the way is noticed.
    let verify = blocks.iter().find(|block| block.contains("sha256sum -c")).unwrap();
    let verify = verify.trim_end();
    for change in ["echo >> SHA256SUMS", "echo >> mirror-bundle"] {
        let run = format!("cp SHA256SUMS kept; {change}; if {verify}; then exit 1; fi; cp kept SHA256SUMS");
        desk.run(&run);
    }
}

#[test]
fn the_commands_of_the_readme_work_as_written() {
    let desk = Desk::new();
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let release = text.split("\n## ").find(|section| section.starts_with("A release,")).unwrap();
    for block in blocks(release) {
        let (cluster, here): (Vec<&str>, Vec<&str>) = block.lines().partition(|line| line.starts_with("oc "));
        desk.run(&here.join("\n").replace("keygen builder.key", "keygen builder.key --no-passphrase"));
        for line in cluster {
            desk.would_apply(line);
        }
    }
}

/// README.md and every guide.
fn pages() -> Vec<(std::path::PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guides = names(&root.join("docs")).into_iter().filter(|name| name.ends_with(".md"));
    let pages =
        guides.map(|name| root.join("docs").join(name)).chain(["README.md", "SECURITY.md"].map(|p| root.join(p)));
    pages.map(|page| (page.clone(), fs::read_to_string(page).unwrap())).collect()
}

#[test]
fn links_of_the_guides_lead_somewhere() {
    let mut links = 0;
    for (page, text) in pages() {
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if !link.starts_with("https://") {
                links += 1;
                assert!(page.parent().unwrap().join(link).exists(), "{}: {link}", page.display());
            }
        }
    }
    assert!(links > 20);
}

#[test]
fn exit_codes_in_the_guides_are_those_of_the_program() {
    let (_, text) = pages().into_iter().find(|(page, _)| page.ends_with("docs/troubleshooting.md")).unwrap();
    let mut seen = 0;
    // `name` (number)
    for part in text.split('`').collect::<Vec<_>>().windows(2) {
        let Some(number) = part[1].strip_prefix(" (").and_then(|rest| rest.split(')').next()?.parse::<u8>().ok())
        else {
            continue;
        };
        let code = Code::ALL.iter().find(|code| code.as_str() == part[0]).unwrap_or_else(|| panic!("{}", part[0]));
        assert_eq!(code.exit(), number, "{}", part[0]);
        seen += 1;
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn the_readme_is_short_and_its_picture_is_there() {
    let (page, text) = pages().into_iter().find(|(page, _)| page.ends_with("README.md")).unwrap();
    assert!(text.lines().count() <= 120 && text.contains("](docs/flow.svg)"));
    assert!(fs::read_to_string(page.with_file_name("docs/flow.svg")).unwrap().contains("aria-label"));
}

#[test]
fn the_screens_of_the_readme_are_those_of_the_demo() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().unwrap();
    let mut demo = tool("sh", dir.path());
    let out = demo.arg(root.join("examples/demo.sh")).env("MIRROR_BUNDLE", PROGRAM).output().unwrap();
    let demo = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{demo}{}", String::from_utf8_lossy(&out.stderr));
    let text = fs::read_to_string(root.join("README.md")).unwrap();
    let screen = text.split("```console\n").nth(1).unwrap().split("```").next().unwrap();
    let mut lines = demo.lines();
    for line in screen.lines().filter(|line| !line.is_empty() && *line != "..." && !line.contains("demo.sh")) {
        // A comment, and a key and an index of another day.
        let line = ["  #", "SHA256:", "-1f2e3d4c"].iter().fold(line, |line, end| line.split(end).next().unwrap());
        let line = line.trim_end();
        assert!(lines.any(|shown| shown.starts_with(line)), "not in the demo, or not in this order: {line}\n{demo}");
    }
}
