//! Common first mistakes, and the program's responses.

use std::process::Command;

use crate::{bundle, flow, program, run, skip};

#[test]
fn files_that_are_not_bundles_are_named_for_what_they_are() {
    let dir = bundle();
    let at = dir.path();
    for (name, bytes) in
        [("gz", &b"\x1f\x8b\x08"[..]), ("zst", b"\x28\xb5\x2f\xfd"), ("xz", b"\xfd7zXZ\0"), ("zip", b"PK\x03\x04")]
    {
        std::fs::write(at.join(name), [bytes, &[0; 1024]].concat()).unwrap();
    }
    let tar = |name: &str, from: &std::path::Path, members: &[&str]| {
        let made = Command::new("tar").arg("-cf").arg(at.join(name)).arg("-C").arg(from).args(members).status();
        assert!(made.unwrap().success());
    };
    tar("oci.tar", &flow().join("layout"), &["."]);
    for file in ["docker/manifest.json", "mirror/working-dir/x/y", "other/x"] {
        std::fs::create_dir_all(at.join(file).parent().unwrap()).unwrap();
        std::fs::write(at.join(file), "[]").unwrap();
    }
    tar("docker.tar", &at.join("docker"), &["manifest.json"]);
    tar("mirror.tar", &at.join("mirror"), &["working-dir"]);
    tar("other.tar", &at.join("other"), &["x"]);
    let layout = flow().join("layout");
    let cases = [
        ("gz", "compressed with gzip", "gunzip"),
        ("zst", "compressed with zstd", "zstd -d"),
        ("xz", "compressed with xz", "xz -d"),
        ("zip", "a zip archive", "unzip"),
        ("oci.tar", "an OCI image archive", "--from-layout"),
        ("docker.tar", "a docker archive", "--from-layout"),
        ("mirror.tar", "an archive of oc-mirror", "oc mirror"),
        ("other.tar", "another tar archive", "create"),
        (layout.to_str().unwrap(), "is an OCI image layout", "--from-layout"),
    ];
    for (name, what, hint) in cases {
        for verb in ["verify", "inspect"] {
            let args: &[&str] = if verb == "verify" { &[verb, name, "--allow-unsigned"] } else { &[verb, name] };
            let (code, _, err) = run(at, args);
            assert!(code == 10 && err.contains(what) && err.contains(hint), "{verb} {name}: {err}");
        }
    }
}

#[test]
fn a_quiet_verdict_names_the_code_of_the_worst_finding() {
    let dir = bundle();
    run(dir.path(), &["keygen", "k", "--no-passphrase"]);
    let (_, out, _) = run(dir.path(), &["verify", "b.tar", "--signer", "k.pub", "-q"]);
    assert_eq!(out, "verdict   FAILED  b.tar  unsigned\n");
    let unpack = ["unpack", "b.tar", "--signer", "k.pub", "--to-dir", "out"];
    let (code, out, err) = run(dir.path(), &[&unpack[..], &["-q"]].concat());
    assert!(code == 20 && out == "verdict   FAILED  b.tar  unsigned\n" && err.contains("nothing was written"), "{err}");
    for args in [&unpack[..], &["ls", "b.tar"], &["inspect", "b.tar"], &["keygen", "q", "--no-passphrase"]] {
        let (_, out, err) = run(dir.path(), &[args, &["-qq"]].concat());
        assert!(out.is_empty() && err.is_empty(), "{args:?}: {out}{err}");
    }
}

#[test]
fn a_bundle_that_is_expired_when_it_is_made_is_a_wrong_argument() {
    let dir = bundle();
    let layout = flow().join("layout").display().to_string();
    let args = ["create", "n.tar", "--unsigned", "--from-layout", &layout, "--expires", "2020-01-01"];
    let (code, _, err) = run(dir.path(), &args);
    assert!(code == 2 && err.contains("is not after the creation"), "{code} {err}");
}

#[test]
fn codes_are_explained_in_any_spelling_and_success_too() {
    let dir = bundle();
    for (what, says) in
        [("Blob_Missing", "blob-missing (exit code 30)"), ("0", "ok (exit code 0)"), ("OK", "ok (exit code 0)")]
    {
        let (code, out, _) = run(dir.path(), &["explain", what]);
        assert!(code == 0 && out.starts_with(says), "{what}: {out}");
    }
}

#[test]
fn the_public_key_where_the_private_one_is_needed_is_said() {
    let dir = bundle();
    run(dir.path(), &["keygen", "my key", "--no-passphrase"]);
    let (code, _, err) = run(dir.path(), &["sign", "b.tar", "--allow-unsigned", "--sign-key", "my key.pub"]);
    assert!(code == 2 && err.contains("is a public key") && err.contains("hint:  --sign-key 'my key'"), "{err}");
}

#[test]
fn one_manifest_can_be_named_by_its_file_and_paths_are_quoted_for_the_shell() {
    let dir = bundle();
    let file = flow().join("manifests/namespace.yaml");
    let (code, _, err) = run(dir.path(), &["create", "a b.tar", "--unsigned", "--manifests", file.to_str().unwrap()]);
    assert!(code == 0 && err.contains("mirror-bundle unpack 'a b.tar' "), "{err}");
    let (code, _, err) = run(dir.path(), &["create", "x.tar", "--unsigned", "--manifests", "b.tar"]);
    assert!(code == 41 && err.contains("is not a .yaml, .yml or .json file"), "{err}");
}

#[test]
fn a_platform_that_an_image_is_not_for_is_an_error_and_arm64_is_v8() {
    let dir = bundle();
    let layout = flow().join("layout");
    let create = |platform: &str| {
        let args =
            ["create", "p.tar", "--force", "--unsigned", "--from-layout", layout.to_str().unwrap(), "--platform"];
        run(dir.path(), &[&args[..], &[platform]].concat())
    };
    assert_eq!(create("linux/amd64").0, 0);
    let (code, _, err) = create("linux/arm64/v8");
    assert!(code == 50 && err.contains("is an image for linux/amd64 only, not for linux/arm64/v8"), "{err}");
    assert!(!err.contains("skopeo inspect"), "a hint about registries for a local source: {err}");
}

#[cfg(feature = "registry")]
#[test]
fn references_of_other_tools_are_accepted_and_what_is_assumed_is_said() {
    let dir = bundle();
    let create = |image: &str| {
        // No server listens on port 9.
        let args = ["create", "r.tar", "--unsigned", "--retries", "0", "--plain-http", "127.0.0.1:9", "--image"];
        run(dir.path(), &[&args[..], &[image]].concat()).2
    };
    let err = create("docker://127.0.0.1:9/a/b");
    assert!(err.contains("docker:// is not needed; taking 127.0.0.1:9/a/b"), "{err}");
    assert!(err.contains("127.0.0.1:9/a/b names no tag; taking 127.0.0.1:9/a/b:latest"), "{err}");
    assert!(!create("127.0.0.1:9/a/b:1").contains("Note"));
    assert!(create("https://quay.io/a/b").contains("is a web address"));
    assert!(create("oci-archive:x.tar").contains("--from-layout x.tar"));
}

#[test]
fn a_manual_page_is_shown_and_all_are_written() {
    let dir = bundle();
    let (code, text, _) = run(dir.path(), &["man", "verify"]);
    assert!(
        code == 0 && text.contains(".TH MIRROR\\-BUNDLE\\-VERIFY 1") || text.contains("MIRROR-BUNDLE-VERIFY"),
        "{text}"
    );
    assert_eq!(run(dir.path(), &["man", "--dir", "pages"]).0, 0);
    let pages = std::fs::read_dir(dir.path().join("pages")).unwrap().count();
    let (_, page, _) = run(dir.path(), &["man", "unpack"]);
    assert!(
        page.contains("partly") && page.contains(".SH SYNOPSIS\nmirror\\-bundle unpack [OPTIONS] <BUNDLE>..."),
        "{page}"
    );
    assert_eq!(pages, 29, "one for each command and one for the program; none for hidden ones");
    if !skip::have("man") {
        return;
    }
    for page in ["mirror-bundle", "mirror-bundle-verify", "mirror-bundle-create"] {
        let path = dir.path().join(format!("pages/{page}.1"));
        let out = program::tool("man", dir.path()).args(["--warnings", "-l", "-P", "cat"]).arg(path).output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success() && out.stderr.is_empty(), "{page}: {}", String::from_utf8_lossy(&out.stderr));
        for title in ["NAME", "SYNOPSIS", "OPTIONS", "EXAMPLES", "EXIT STATUS", "ENVIRONMENT", "FILES"] {
            assert!(text.lines().any(|line| line == title), "{page} {title}: {text}");
        }
    }
}

#[test]
fn a_file_of_another_kind_is_named_for_what_it_is() {
    let dir = bundle();
    let dir = dir.path();
    let put = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
    assert_eq!(run(dir, &["keygen", "k", "--no-passphrase"]).0, 0);
    assert_eq!(run(dir, &["recovery", "b.tar"]).0, 0);
    put("empty", "");
    put("page.tar", "<!DOCTYPE html><title>404</title>");
    put("trust.yaml", "signers: []\n");
    put("b2.tar.partial", "x");
    let layout = flow().join("layout").display().to_string();
    let transport = format!("oci:{layout}");
    let create = ["create", "n.tar", "--sign-key", "k"];
    let cases: &[(i32, &[&str], &str)] = &[
        (10, &["verify", "empty", "--signer", "k.pub"], "it is empty"),
        (10, &["verify", "page.tar", "--signer", "k.pub"], "it is a web page"),
        (10, &["verify", "k", "--signer", "k.pub"], "it is a key or a signature"),
        (10, &["verify", "b.tar.recovery", "--signer", "k.pub"], "it is recovery data"),
        (2, &["join", ".", "b.tar"], "the bundle to write comes first"),
        (2, &["keygen", "new.pub", "--no-passphrase"], "mirror-bundle keygen new"),
        (3, &["verify", "b2.tar", "--signer", "k.pub"], "`b2.tar.partial` exists"),
        (3, &["verify", "~/b.tar", "--signer", "k.pub"], "did not replace `~`"),
        (2, &["verify", "b.tar", "--signer", "k"], "is a private key"),
        (2, &["verify", "b.tar", "--signer", "trust.yaml"], "--trust trust.yaml"),
        (2, &["verify", "b.tar", "--trust", "k"], "is a private key, not a trust policy"),
        (2, &["verify", "b.tar", "--trust", "k.pub"], "--signer k.pub"),
        (2, &["verify", "b.tar", "--trust", "empty"], "is empty, not a trust policy"),
        (2, &["create", "n.tar", "--sign-key", "b.tar", "--from-layout", &layout], "is not an OpenSSH private key"),
        (2, &["create", "n.tar", "--sign-key", "k.pub", "--from-layout", &layout], "--sign-key k"),
        (3, &[&create[..], &["--from-layout", &transport]].concat(), "write the path alone: /"),
        (50, &[&create[..], &["--from-layout", "empty"]].concat(), "`empty` is empty"),
        (41, &[&create[..], &["--manifests", "b.tar"]].concat(), "images come with --image"),
    ];
    for (code, args, says) in cases {
        let (ended, out, err) = run(dir, args);
        assert!(ended == *code && (out + &err).contains(says), "{args:?}: {ended}, no {says:?} in {err}");
        assert!(!dir.join("n.tar").exists(), "{args:?}");
    }
}

#[cfg(feature = "registry")]
#[test]
fn an_image_that_is_no_reference_is_answered_with_what_to_write() {
    let dir = bundle();
    let dir = dir.path();
    for (option, image, says) in [
        ("--image", "b.tar", "--from-layout b.tar"),
        ("--image", "./some where", "--from-layout './some where'"),
        ("--image", "oci:/srv/layout", "--from-layout /srv/layout"),
        ("--image", "dir:/srv/layout", "--from-layout /srv/layout"),
        ("--image", "team/app:1", "docker.io/team/app:1"),
        ("--image", "localhost:5000", "localhost:5000/REPOSITORY:TAG"),
        ("--release", "4.16.37", "quay.io/openshift-release-dev/ocp-release:4.16.37-x86_64"),
    ] {
        let (code, _, err) = run(dir, &["create", "n.tar", "--unsigned", option, image]);
        assert!(code == 2 && err.contains(says), "{image}: {code}, no {says:?} in {err}");
    }
}

#[cfg(feature = "registry")]
#[test]
fn a_destination_of_the_wrong_kind_and_a_map_without_images_are_said() {
    let dir = bundle();
    let dir = dir.path();
    let unpack = |args: &[&str]| run(dir, &[&["unpack", "b.tar", "--allow-unsigned"], args].concat());
    for (to, says) in [
        ("./mirror", "--to-dir DIR"),
        ("dir:/srv/x", "--to-dir DIR"),
        ("https://r.example.com/x", "REGISTRY/REPOSITORY, without a tag"),
        ("r.example.com/x:1", "REGISTRY/REPOSITORY, without a tag"),
    ] {
        let (code, _, err) = unpack(&["--to", to]);
        assert!(code == 2 && err.contains(says) && !err.contains("--from-layout"), "{to}: {code} {err}");
    }
    let (code, _, err) = unpack(&["--to", "localhost:1/x", "--plain-http", "http://localhost:1"]);
    assert!(code == 2 && err.contains("hint:  --plain-http localhost:1\n"), "{err}");
    let (code, _, err) = unpack(&["--to-dir", "some where"]);
    assert!(code == 0 && err.contains("--from-dir 'some where' "), "{err}");
    let (code, _, err) = unpack(&["--to-dir", "localhost:5000/x"]);
    assert!(code == 0 && err.contains("is a folder on this host"), "{err}");
    let (code, _, err) = unpack(&["--to-dir", "out", "--map", "team/ap=x", "--map", "team/app=y"]);
    assert!(code == 0 && err.contains("from `team/ap`: --map team/ap=x has no effect"), "{err}");
    assert!(!err.contains("team/app=y") && dir.join("out/v2/y").is_dir(), "{err}");
}
