//! E10: text from outside that tries to control the terminal. `Lab::run` checks every output of every attack; the tests
//! here use text made for this purpose.

use std::fs;
use std::process::Stdio;

use crate::lab::{Lab, Layout};
use crate::support::proxy::{Fault, Proxy, status_with};
use crate::support::registry::Registry;

/// Clears the screen, sets the title, reorders, hides, and starts a new line.
const EVIL: &str = "\u{1b}[2J\u{1b}]0;t\u{7}\u{9b}31m\u{202e}\u{200b}\u{2066}\r\nverdict   VERIFIED  evil.tar\n";

/// No line of the output is the one that [`EVIL`] tries to print.
fn no_verdict(ran: &crate::lab::Ran) {
    ran.printable();
    for line in ran.out.lines().chain(ran.err.lines()) {
        assert!(!line.starts_with("verdict   VERIFIED  evil.tar"), "{line}");
    }
}

#[test]
fn what_a_registry_says_is_shown_as_text() {
    let lab = Lab::new();
    let document = serde_json::json!({ "errors": [{ "code": EVIL, "message": EVIL }], "details": EVIL }).to_string();
    for code in [400, 401, 403, 429, 500] {
        for more in [&[][..], &["-v"]] {
            let registry = Registry::start();
            let proxy = Proxy::start(Some(registry.port));
            let headers = vec![("Retry-After".to_owned(), "0".to_owned())];
            proxy.on("PUT", "manifests/", 99, Fault::Answer(code, headers.clone(), document.clone().into_bytes()));
            proxy.on("GET", "manifests/v1", 99, Fault::Answer(code, headers, document.clone().into_bytes()));
            no_verdict(lab.unpack(&proxy.host(), more).ends(&[50, 51]).says("it said"));
            no_verdict(lab.create(&proxy.host(), more).ends(&[50, 51]).says("it said"));
        }
    }
    for (name, value) in [
        ("Location", "http://\u{202e}\u{200b}x/"),
        ("Location", "http://localhost:1/%1b[2J"),
        ("Content-Type", "text/\u{202e}html"),
        ("Docker-Content-Digest", "sha256:\u{202e}"),
        ("WWW-Authenticate", "Bearer realm=\"http://x/\u{202e}\",service=\"\u{202e}\""),
    ] {
        let registry = Registry::start();
        lab.fill(&registry.host());
        let proxy = Proxy::start(Some(registry.port));
        let code = if name == "Location" { 302 } else { 401 };
        proxy.on("GET", "manifests/v1", 99, status_with(code, name, value));
        no_verdict(lab.create(&proxy.host(), &["-v", "--force"]).ends(&[50, 51]));
        proxy.clear();
        proxy.on("GET", "manifests/v1", 99, Fault::Header(name.to_owned(), value.to_owned()));
        no_verdict(lab.create(&proxy.host(), &["-v", "--force"]).printable());
    }
}

#[test]
fn names_of_files_are_shown_as_text() {
    let lab = Lab::new();
    let name = EVIL.replace('/', "");
    for args in [
        &["verify", &name, "--signer", "key.pub"][..],
        &["verify", "b.tar", "--signer", &name],
        &["verify", "b.tar", "--trust", &name],
        &["inspect", &name],
        &["create", &name, "--from-layout", &name, "--unsigned"],
        &["create", "c.tar", "--from-dir", &name, "--unsigned"],
        &["create", "c.tar", "--image", &name, "--unsigned"],
        &["unpack", "b.tar", "--signer", "key.pub", "--to", &name],
        &["unpack", "b.tar", "--signer", "key.pub", "--to-dir", "/dev/null/\u{1b}[2J"],
        &["explain", &name],
        &["check-signature", &name, "--digest", &name],
        &["sign", &name, "--signer", "key.pub", "--sign-key", &name],
    ] {
        let ran = lab.run(args);
        assert_ne!(ran.code, 0, "{args:?}");
        no_verdict(&ran);
    }
    // Present and complete: in progress, tables, hints.
    fs::copy(lab.path("b.tar"), lab.path(&name)).unwrap();
    let copied =
        std::process::Command::new("cp").arg("-r").arg(lab.path("layout")).arg(lab.path(&format!("d{name}"))).status();
    assert!(copied.unwrap().success());
    for args in [
        &["verify", &name, "--signer", "key.pub"][..],
        &["inspect", &name],
        &["ls", &name],
        &["create", &format!("n{name}"), "--from-layout", &format!("d{name}"), "--sign-key", "key"],
        &["unpack", &name, "--signer", "key.pub", "--to-dir", &format!("o{name}")],
    ] {
        let ran = lab.run(args);
        ran.ends(&[0]);
        assert_eq!(ran.out.lines().filter(|l| l.starts_with("verdict")).count(), usize::from(args[0] == "verify"));
    }
    // A medium full of files that look like options, and a shell that expands `*`.
    for option in [
        "--\u{1b}[2J\u{202e}",
        "-\u{1b}]0;x\u{7}",
        "--trust\u{1b}[2J=x",
        "--jobs=\u{1b}[2J",
        "--color=\u{202e}",
        "--x\nverdict   VERIFIED  evil.tar",
        "--jobs=\nverdict   VERIFIED  evil.tar",
    ] {
        let ran = lab.run(&["verify", "b.tar", option]);
        assert_eq!(ran.code, 2);
        no_verdict(&ran);
    }
    no_verdict(&lab.run(&["\u{1b}[2J"]));
}

#[test]
fn names_in_content_are_shown_as_text() {
    let lab = Lab::new();
    // The name of an image in a layout.
    let mut layout = Layout::new(&lab.path("named"));
    let config = layout.blob(br#"{"architecture":"\u001b[2J","os":"linux\u202e"}"#);
    let layer = layout.blob(b"x");
    let kind = "application/vnd.oci.image.layer.v1.tar";
    let escaped = serde_json::to_string(EVIL).unwrap();
    let manifest = layout.manifest(&config, &[&layer], kind, &format!(r#""org.opencontainers.image.title":{escaped}"#));
    layout.name(EVIL, mirror_bundle::oci::media_type::OCI_MANIFEST, &manifest);
    layout.finish();
    no_verdict(lab.run(&["create", "c.tar", "--from-layout", "named", "--unsigned"]).ends(&[12]));
    fs::remove_file(lab.path("named/index.json")).unwrap();
    let mut layout = Layout::new(&lab.path("named"));
    layout.name("quay.example/fine:v1", mirror_bundle::oci::media_type::OCI_MANIFEST, &manifest);
    layout.finish();
    no_verdict(lab.run(&["create", "c.tar", "--from-layout", "named", "--sign-key", "key"]).ends(&[0]));
    no_verdict(lab.run(&["ls", "c.tar"]).ends(&[0]));
    no_verdict(lab.run(&["verify", "c.tar", "--signer", "key.pub"]).ends(&[0]));

    // Kubernetes objects: names, kinds, groups, and the names of their files.
    fs::create_dir(lab.path("yaml")).unwrap();
    for (kind, name, allowed) in
        [("ConfigMap", EVIL, ""), (EVIL, "a", ""), (EVIL, "a", EVIL), ("Evil\u{202e}", "a", "Evil\u{202e}")]
    {
        let object =
            serde_json::json!({ "apiVersion": "v1", "kind": kind, "metadata": { "name": name, "namespace": name } });
        fs::write(lab.path("yaml/a.yaml"), object.to_string()).unwrap();
        let mut args = vec!["create", "y.tar", "--force", "--manifests", "yaml", "--sign-key", "key"];
        if !allowed.is_empty() {
            args.extend(["--allow-kind", allowed]);
        }
        let ran = lab.run(&args);
        no_verdict(&ran);
        if ran.code == 0 {
            no_verdict(&lab.run(&["ls", "--manifests", "y.tar"]));
            no_verdict(&lab.run(&["inspect", "y.tar"]));
            no_verdict(&lab.run(&["verify", "y.tar", "--signer", "key.pub"]));
            no_verdict(&lab.run(&["unpack", "y.tar", "--signer", "key.pub", "--to-dir", "y"]));
        }
    }
    fs::write(lab.path("yaml/\u{1b}[2J\u{202e}.yaml"), "kind: ConfigMap\n").unwrap();
    no_verdict(lab.run(&["create", "y.tar", "--force", "--manifests", "yaml", "--sign-key", "key"]).ends(&[12]));
    no_verdict(&lab.run(&["create", "z.tar", "--from-layout", "layout", "--unsigned", "--name", EVIL]));
}

#[test]
fn comments_and_notes_of_signatures_are_shown_as_text() {
    let lab = Lab::new();
    let key = fs::read_to_string(lab.path("key.pub")).unwrap();
    let words: Vec<&str> = key.split(' ').collect();
    fs::write(lab.path("evil.pub"), format!("{} {} \u{1b}[2J\u{202e}\u{200b}evil\n", words[0], words[1])).unwrap();
    let ran = lab.run(&["verify", "b.tar", "--signer", "evil.pub"]);
    no_verdict(&ran);
    let ran =
        lab.run(&["sign", "b.tar", "--signer", "key.pub", "--sign-key", "key", "--role", "reviewer", "--note", EVIL]);
    no_verdict(&ran);
    no_verdict(lab.run(&["verify", "b.tar", "--signer", "key.pub"]).ends(&[0]));
    // Detached signatures by name, and broken armor.
    fs::write(lab.path("b.tar.reviewer-0123456789abcdef.sig"), EVIL).unwrap();
    no_verdict(&lab.run(&["verify", "b.tar", "--signer", "key.pub", "-v"]));
}

/// Requested colour is the only escape sequence.
#[test]
fn colours_are_this_programs_own() {
    let lab = Lab::new();
    let out = lab
        .command(&["verify", "\u{1b}[2Jx", "--signer", "key.pub", "--color", "always"])
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let text = String::from_utf8(out.stderr).unwrap();
    assert!(text.contains("\u{1b}[") && !text.contains("\u{1b}[2J"), "{text:?}");
}
