//! Recovery data for something else, or made to do harm.

use std::fs::File;

use mirror_bundle::bundle::tar;
use mirror_bundle::oci::Digest;
use mirror_bundle::recovery::{Geometry, Protected, Sidecar, encode};

use crate::kit::{Kit, PROGRAM, of_size};

/// Recovery data that names `b.tar` and holds other bytes.
fn forge(kit: &Kit, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let blueprint = kit.blueprint();
    let mut bytes = kit.read("b.tar");
    change(&mut bytes);
    kit.write("forged.tar", &bytes);
    let file = File::open(kit.path("forged.tar")).unwrap();
    let end = blueprint.layout.end();
    let from = Protected {
        carriage: None,
        files: &[(&file, end)],
        index: &blueprint.head.index,
        signature: blueprint.head.signature.as_deref(),
        volumes: &[],
        removals: &[],
        mtime: 0,
        geometry: Geometry::new(&[end], 10).unwrap(),
    };
    kit.remove(name);
    encode(&File::create(kit.path(name)).unwrap(), &kit.path(name), &from, &mut |_| Ok(())).unwrap();
}

#[test]
fn recovery_data_of_another_bundle_is_refused_or_left_out() {
    let kit = Kit::new();
    kit.create("newer.tar", "newer", &["--sequence", "6"]);
    kit.run(&["recovery", "newer.tar", "--to", "b.tar.recovery"]).is(0);
    kit.zero("b.tar", 40_960, 4096);
    let before = kit.files("b.tar");
    kit.repair(&["--recovery", "b.tar.recovery"]).is(2).says("recovery data of another bundle").says("sha256:");
    // Found by its name only: otherwise treated as missing.
    kit.repair(&[]).is(31).says("it is not used");
    assert_eq!(kit.files("b.tar"), before);
    kit.repair(&["--from", "layout"]).is(0).says("it is not used");
}

#[test]
fn files_that_are_no_recovery_data_are_refused() {
    let kit = Kit::new();
    kit.zero("b.tar", 40_960, 4096);
    kit.write("empty", b"");
    kit.write("text", &b"no recovery data\n".repeat(1000));
    for name in ["empty", "text", "b.tar", "builder"] {
        kit.repair(&["--recovery", name]).is(2).says("cannot be used as recovery data");
    }
    kit.repair(&["--recovery", "nowhere"]).is(3);
    kit.repair(&["--recovery", "m"]).is(3);
    kit.write("b.tar.recovery", b"junk");
    kit.repair(&[]).is(31).says("it is not used");
}

#[test]
fn recovery_data_that_makes_other_bytes_does_not_get_them_into_the_bundle() {
    let kit = Kit::new();
    let (whole, blueprint) = (kit.read("b.tar"), kit.blueprint());
    let big = of_size(&blueprint, 4_500_000).clone();
    let small = of_size(&blueprint, 300_000).clone();
    // It claims that the blob is different.
    forge(&kit, "forged", |bytes| bytes[big.data() as usize + 50_000] ^= 1);
    kit.flip("b.tar", big.data() + 50_000 - 4096);
    kit.repair(&["--recovery", "forged"]).is(31);
    let after = kit.read("b.tar");
    let outside = |bytes: &[u8]| [&bytes[..big.data() as usize], &bytes[(big.data() + big.size) as usize..]].concat();
    assert!(outside(&after) == outside(&whole), "what was right is not written to");
    // The true recovery data still serves.
    kit.repair(&["--recovery", "r"]).is(0);
    assert!(kit.read("b.tar") == whole);
    // It claims that everything else is different: intact data in the bundle counts, not the claim.
    forge(&kit, "forged", |bytes| bytes[small.data() as usize..][..200_000].fill(1));
    kit.flip("b.tar", big.data() + 50_000);
    kit.repair(&["--recovery", "forged"]).is(31).says("it belongs to another bundle");
    assert!(outside(&kit.read("b.tar")) == outside(&whole));
    kit.repair(&["--recovery", "r"]).is(0);
    assert!(kit.read("b.tar") == whole);
}

#[test]
fn fifos_and_links_in_the_place_of_files_are_neither_waited_for_nor_followed() {
    let kit = Kit::new();
    kit.zero("b.tar", 40_960, 4096);
    let before = kit.read("b.tar");
    for name in ["b.tar.recovery", "b.tar.partial.journal", "fifo"] {
        assert!(std::process::Command::new("mkfifo").arg(kit.path(name)).status().unwrap().success());
    }
    for args in [&["--from", "fifo"][..], &["--recovery", "fifo"], &["--from", "layout"], &["--to", "fifo"]] {
        let ran = kit.repair(args);
        assert!(matches!(ran.code, 0 | 2 | 3 | 31 | 50 | 52), "{args:?}: {ran:?}");
        kit.write("b.tar", &before);
    }
    kit.run(&["recovery", "fifo"]).is(3);
    kit.run(&["repair", "fifo", "--signer", "builder.pub"]).is(3);
    // A link under a name of ours; a link that is the bundle.
    for name in ["b.tar.partial.journal", "b.tar.recovery"] {
        kit.remove(name);
    }
    kit.write("victim", b"precious");
    std::os::unix::fs::symlink("victim", kit.path("b.tar.partial")).unwrap();
    kit.repair(&["--recovery", "r"]).is(52).says("already exists");
    assert_eq!(kit.read("victim"), b"precious");
    kit.remove("b.tar.partial");
    std::os::unix::fs::symlink("b.tar", kit.path("link")).unwrap();
    kit.run(&["repair", "link", "--signer", "builder.pub", "--recovery", "r"]).is(0);
    assert!(kit.path("link").is_symlink());
    kit.verifies("b.tar");
    // Another name of the same file would be changed with it.
    std::fs::hard_link(kit.path("b.tar"), kit.path("other")).unwrap();
    kit.zero("b.tar", 40_960, 4096);
    kit.repair(&["--recovery", "r"]).is(52).says("second hard link").says("--to NEW");
}

/// Recovery data of the bundle whose table says that its slices are this large.
fn claim(kit: &Kit, slice: u64, files: Vec<u64>) {
    let mut table = Sidecar::open(&kit.path("r")).unwrap().table().clone();
    let slices: u64 = files.iter().map(|length| length.div_ceil(slice)).sum();
    (table.slice_size, table.files) = (slice, files);
    table.slices = (0..slices).map(|n| Digest::of(&n.to_le_bytes())).collect();
    table.recovery.truncate(1);
    let bytes = table.to_bytes().unwrap();
    let name = format!("mirror-bundle/recovery/{}.json", Digest::of(&bytes).hex());
    let mut all = tar::header(&name, bytes.len() as u64, 0).to_vec();
    all.extend(&bytes);
    all.resize(all.len().next_multiple_of(512) + 1024, 0);
    kit.write("claimed", &all);
}

#[test]
fn repair_does_no_work_for_lengths_that_recovery_data_only_claims() {
    let kit = Kit::new();
    let end = kit.blueprint().layout.end();
    kit.flip("b.tar", of_size(&kit.blueprint(), 4_500_000).data() + 5);
    let before = kit.read("b.tar");
    for (slice, files) in [
        (1 << 50, vec![end, 1 << 50]),
        (1 << 40, vec![end, 1 << 50]),
        (1 << 50, vec![1 << 50, end]),
        (end.next_multiple_of(4096), vec![end]),
        (end.next_multiple_of(4096), vec![end; 200]),
    ] {
        let many = files.len() > 2;
        claim(&kit, slice, files);
        if many {
            // As long as it says, and nothing in it; and the bundle, named again and again.
            File::options().write(true).open(kit.path("claimed")).unwrap().set_len(1 << 40).unwrap();
            kit.repair(&["--recovery", "claimed"]).is(31).says("its slices are larger than the bundle together");
        }
        let args = ["60", PROGRAM, "repair", "b.tar", "--signer", "builder.pub", "--recovery", "claimed"];
        kit.tool("timeout", &args).is(31);
        assert!(kit.read("b.tar") == before, "it has its name and its bytes");
        assert!(!kit.path("b.tar.partial").exists());
    }
}

#[test]
fn a_copy_that_is_only_long_costs_no_more_than_the_bundle() {
    let kit = Kit::new();
    let blueprint = kit.blueprint();
    let member = of_size(&blueprint, 4_500_000);
    kit.flip("b.tar", member.data() + 5);
    let mut long = kit.read("b.tar");
    long[usize::try_from(member.header).unwrap()] ^= 1;
    kit.write("long", &long);
    File::options().write(true).open(kit.path("long")).unwrap().set_len(1 << 43).unwrap();
    for (bundle, option, from, code) in
        [("b.tar", "--from", "long", 31), ("long", "--from", "b.tar", 31), ("long", "--recovery", "r", 0)]
    {
        let args = ["120", PROGRAM, "repair", "--signer", "builder.pub", bundle, option, from];
        kit.tool("timeout", &args).is(code);
    }
    kit.verifies("long");
}

#[test]
fn what_was_planted_under_the_name_of_a_fetched_blob_is_not_written_through() {
    let kit = Kit::new();
    let whole = kit.read("b.tar");
    kit.write("victim", b"precious");
    for symbolic in [false, true] {
        kit.flip("b.tar", of_size(&kit.blueprint(), 4_500_000).data() + 5);
        let name = kit.path("b.tar.partial.blob");
        match symbolic {
            true => std::os::unix::fs::symlink("victim", name).unwrap(),
            false => std::fs::hard_link(kit.path("victim"), name).unwrap(),
        }
        kit.repair(&["--from", "layout"]).is(0);
        assert_eq!(kit.read("victim"), b"precious");
        assert!(kit.read("b.tar") == whole && !kit.path("b.tar.partial.blob").is_symlink());
    }
}

#[test]
fn a_fifo_device_or_folder_is_never_waited_for_as_any_small_file() {
    let kit = Kit::new();
    assert!(std::process::Command::new("mkfifo").arg(kit.path("fifo")).status().unwrap().success());
    kit.write("policy", b"signers: []\n");
    kit.write(
        "images.yaml",
        format!(
            "signers:\n  - name: b\n    key: {}\n    roles: [builder]\nimages:\n  keys:\n    - keyFile: @\n      scope: '*'\n",
            String::from_utf8(kit.read("builder.pub")).unwrap().trim()
        )
        .as_bytes(),
    );
    let policy = String::from_utf8(kit.read("images.yaml")).unwrap();
    for odd in ["fifo", "/dev/zero", "."] {
        kit.write("images.yaml", policy.replace('@', odd).as_bytes());
        let ran = kit.tool("timeout", &["20", PROGRAM, "verify", "b.tar", "--trust", "images.yaml"]);
        assert!(!matches!(ran.code, 0 | 4 | 124 | 101) && ran.err.contains("egular"), "{odd}: {ran:?}");
    }
    let table: [&[&str]; 14] = [
        &["create", "n.tar", "--image", "localhost:1/x:1", "--unsigned", "--authfile", "@"],
        &["create", "n.tar", "--release", "4.16.1", "--unsigned", "--release-keyring", "@"],
        &["create", "n.tar", "--from-layout", "layout", "--sign-key", "@"],
        &["sign", "b.tar", "--signer", "builder.pub", "--attach", "@", "--role", "reviewer"],
        &["verify", "b.tar", "--trust", "@"],
        &["verify", "b.tar", "--signer", "@"],
        &["verify", "b.tar", "--signer", "builder.pub", "--release-keyring", "@"],
        &["verify", "b.tar", "--signer", "builder.pub", "--signature", "@"],
        &["sign", "b.tar", "--signer", "builder.pub", "--sign-key", "@"],
        &["repair", "b.tar", "--signer", "builder.pub", "--recovery", "@"],
        &["recovery", "@"],
        &["inspect", "@"],
        &["create", "n.tar", "--manifests", "@", "--sign-key", "builder", "--name", "n", "--sequence", "1"],
        &["unpack", "b.tar", "--signer", "builder.pub", "--to", "localhost:1/x", "--ca-file", "@"],
    ];
    for args in table {
        for odd in ["fifo", "/dev/zero", "."] {
            // A folder of manifests, or of bundles, is none of these.
            if odd == "." && matches!(args[0], "create" | "inspect") {
                continue;
            }
            let args = args.iter().map(|arg| if *arg == "@" { odd } else { arg });
            let args: Vec<&str> = ["20", PROGRAM].into_iter().chain(args).collect();
            let ran = kit.tool("timeout", &args);
            assert!(!matches!(ran.code, 0 | 4 | 124 | 101), "{args:?}: {ran:?}");
        }
    }
}

/// `<(command)`: what the shell puts in place of a file is read, so that secrets need none.
#[test]
fn pipes_of_the_shell_are_read_as_small_files() {
    let kit = Kit::new();
    for command in [
        "verify b.tar --signer <(cat builder.pub)",
        "verify b.tar --trust <(printf 'builder namespaces=\"mirror-bundle.v1.*\" %s\\n' \"$(cat builder.pub)\")",
        "verify b.tar --signer builder.pub --release-keyring <(cat keyring)",
        "create n.tar --from-layout layout --name n --sign-key <(cat builder)",
        "verify b.tar --signer /dev/stdin < <(cat builder.pub)",
        "unpack b.tar --signer builder.pub --to-dir out --manifests-to-dir man --mirror-set none",
    ] {
        std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/vectors/keys/release.asc"), kit.path("keyring"))
            .unwrap();
        kit.tool("timeout", &["60", "bash", "-c", &format!("{PROGRAM} {command}")]).is(0);
    }
    // Nothing answers at port 1; the logins were read before.
    let command = format!(
        "{PROGRAM} create p.tar --image localhost:1/x:1 --unsigned --retries 0 --authfile <(echo '{{\"auths\":[')"
    );
    kit.tool("timeout", &["60", "bash", "-c", &command]).is(3).says("not an auth file");
    let command = format!("{PROGRAM} verify b.tar --signer <(head -c 99999999 /dev/zero)");
    assert!(!matches!(kit.tool("timeout", &["60", "bash", "-c", &command]).code, 0 | 4 | 101 | 124));
}

/// Ctrl-C while `repair` reads a large bundle: it ends within a moment, and the bundle has its name.
#[test]
fn an_interrupted_repair_ends_at_once_and_the_bundle_has_its_name() {
    let kit = Kit::new();
    let before = {
        kit.flip("b.tar", of_size(&kit.blueprint(), 4_500_000).data() + 5);
        kit.read("b.tar")
    };
    // Every read takes a tenth of a second, so that the work is under way when the signal comes.
    for wait in [300, 700, 1500] {
        let log = kit.path("strace");
        let args = [
            "-f",
            "-qq",
            "-o",
            log.to_str().unwrap(),
            "-e",
            "trace=pread64,pwrite64",
            "-e",
            "inject=pread64,pwrite64:delay_enter=100000",
        ];
        let args = [&args[..], &[PROGRAM, "repair", "b.tar", "--signer", "builder.pub", "--recovery", "r"]].concat();
        let child = kit.command("strace", &args).stderr(std::process::Stdio::piped()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(wait));
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let program = std::fs::read_to_string(children).unwrap();
        let program = program.split_whitespace().next().expect("it runs").to_owned();
        let since = std::time::Instant::now();
        assert!(std::process::Command::new("kill").args(["-INT", &program]).status().unwrap().success());
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(130), "{}", String::from_utf8_lossy(&ended.stderr));
        assert!(since.elapsed() < std::time::Duration::from_secs(30), "a bound against hanging, not a measure");
        assert!(kit.path("b.tar").exists(), "after {wait} ms: {:?}", kit.files("b.tar").keys());
        assert_eq!(kit.read("b.tar").len(), before.len());
    }
    kit.repair(&["--recovery", "r"]).is(0);
    kit.verifies("b.tar");
}
