//! `recovery` and `repair` killed at their system calls: no final name holds anything that does not verify, no intact
//! data is lost, and the same command ends like an uninterrupted run.

use std::collections::BTreeMap;

use crate::kit::{Kit, PROGRAM, Ran, of_size};

/// The calls that change something.
const WRITING: [&str; 10] =
    ["pwrite64", "write", "fsync", "ftruncate", "fallocate", "flock", "rename", "renameat2", "unlink", "unlinkat"];

fn strace(kit: &Kit, options: &[&str], args: &[&str]) -> Ran {
    kit.tool("strace", &[&["-f", "-o", "trace"], options, &[PROGRAM], args].concat())
}

/// How often each call is made, by the thread that makes it most.
fn calls(kit: &Kit, args: &[&str]) -> BTreeMap<String, usize> {
    strace(kit, &[], args).is(0);
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for line in String::from_utf8_lossy(&kit.read("trace")).lines() {
        let mut words = line.split_whitespace();
        let (Some(thread), Some(call)) = (words.next(), words.next()) else { continue };
        if let Some((name, _)) = call.split_once('(') {
            *counts.entry((thread.to_owned(), name.to_owned())).or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((_, name), count) in counts {
        let slot = most.entry(name).or_default();
        *slot = count.max(*slot);
    }
    most
}

/// Kills `args` at every `stride`th call of each kind that is `wanted`, with `before` as the files `prefix*`.
fn sweep(
    kit: &Kit,
    args: &[&str],
    prefix: &str,
    stride: usize,
    wanted: impl Fn(&str) -> bool,
    killed: impl Fn(&Kit, &str),
) -> usize {
    let before = kit.files(prefix);
    let fresh = || {
        kit.files(prefix).keys().for_each(|name| kit.remove(name));
        before.iter().for_each(|(name, bytes)| kit.write(name, bytes));
    };
    let calls = calls(kit, args);
    let after = kit.files(prefix);
    let mut kills = 0;
    for (call, count) in calls.iter().filter(|(call, _)| wanted(call)) {
        // The first and the last ones, where names change, and some between.
        let points = (1..=*count).filter(|n| *n <= 2 || count - n < 3 || n % stride == 0);
        for n in points {
            fresh();
            let inject = format!("inject={call}:signal=KILL:when={n}");
            kills += usize::from(strace(kit, &["-e", &inject], args).code != 0);
            killed(kit, &inject);
            // `recovery` that was killed after its renaming is finished.
            let again = kit.run(args);
            assert!(again.code == 0 || (args[0] == "recovery" && again.code == 52), "{inject}: {again:?}");
            assert!(kit.files(prefix) == after, "{inject}: the second run ends as if there had been one");
        }
    }
    kills
}

fn repair_in_place(stride: usize, wanted: impl Fn(&str) -> bool) -> usize {
    let kit = Kit::new();
    let (whole, blueprint) = (kit.read("b.tar"), kit.blueprint());
    let small = of_size(&blueprint, 300_000).clone();
    kit.zero("b.tar", small.data() + 3, 20_000);
    kit.flip("b.tar", 40);
    let args = ["repair", "b.tar", "--signer", "builder.pub", "--recovery", "r", "-j1"];
    let inside = (small.header as usize)..(small.end() as usize);
    sweep(&kit, &args, "b.tar", stride, wanted, |kit, inject| {
        let files = kit.files("b.tar");
        assert!(files.contains_key("b.tar") != files.contains_key("b.tar.partial"), "{inject}: {:?}", files.keys());
        let bytes = files.get("b.tar").or(files.get("b.tar.partial")).unwrap();
        assert_eq!(bytes.len(), whole.len(), "{inject}");
        assert!(
            bytes[512..inside.start] == whole[512..inside.start] && bytes[inside.end..] == whole[inside.end..],
            "{inject}"
        );
    })
}

fn repair_elsewhere(stride: usize, wanted: impl Fn(&str) -> bool) -> usize {
    let kit = Kit::new();
    let (whole, blueprint) = (kit.read("b.tar"), kit.blueprint());
    kit.zero("b.tar", of_size(&blueprint, 300_000).data() + 3, 20_000);
    let before = kit.read("b.tar");
    let args = ["repair", "b.tar", "--signer", "builder.pub", "--recovery", "r", "--to", "n.tar", "-j1"];
    // The second run finds a copy that is finished already.
    sweep_to(&kit, &args, stride, wanted, |kit, inject| {
        assert!(kit.read("b.tar") == before, "{inject}");
        if kit.path("n.tar").exists() {
            assert!(kit.read("n.tar") == whole, "{inject}");
        }
    })
}

/// As [`sweep`], where an existing result is refused.
fn sweep_to(
    kit: &Kit,
    args: &[&str],
    stride: usize,
    wanted: impl Fn(&str) -> bool,
    killed: impl Fn(&Kit, &str),
) -> usize {
    let calls = calls(kit, args);
    let after = kit.read("n.tar");
    let mut kills = 0;
    for (call, count) in calls.iter().filter(|(call, _)| wanted(call)) {
        for n in (1..=*count).filter(|n| *n <= 2 || count - n < 3 || n % stride == 0) {
            kit.files("n.tar").keys().for_each(|name| kit.remove(name));
            let inject = format!("inject={call}:signal=KILL:when={n}");
            kills += usize::from(strace(kit, &["-e", &inject], args).code != 0);
            killed(kit, &inject);
            let again = kit.run(args);
            assert!(matches!(again.code, 0 | 52), "{inject}: {again:?}");
            assert!(kit.read("n.tar") == after, "{inject}");
            assert!(kit.files("n.tar").keys().all(|name| name == "n.tar" || again.code == 52), "{inject}");
        }
    }
    kills
}

fn recovery(stride: usize, wanted: impl Fn(&str) -> bool) -> usize {
    let kit = Kit::new();
    let whole = kit.read("r");
    let args = ["recovery", "b.tar", "--percent", "10", "--to", "s"];
    sweep(&kit, &args, "s", stride, wanted, |kit, inject| {
        if kit.path("s").exists() {
            assert!(kit.read("s") == whole, "{inject}");
        }
    })
}

#[test]
fn a_killed_repair_is_continued_and_nothing_that_was_right_is_touched() {
    assert!(repair_in_place(100, |call| WRITING.contains(&call)) > 20);
}

#[test]
fn a_killed_repair_to_another_place_is_continued_and_the_original_is_not_touched() {
    assert!(repair_elsewhere(1000, |call| WRITING.contains(&call)) > 15);
}

#[test]
fn recovery_data_of_a_killed_run_is_whole_or_not_there() {
    assert!(recovery(100, |call| WRITING.contains(&call)) > 10);
}

#[test]
#[ignore = "minutes"]
fn repair_and_recovery_killed_at_every_writing_call_and_every_opening() {
    let wanted = |call: &str| WRITING.contains(&call) || call == "openat";
    assert!(repair_in_place(1, wanted) > 20);
    assert!(repair_elsewhere(1, wanted) > 20);
    assert!(recovery(1, wanted) > 20);
}

#[test]
fn an_interrupted_repair_gives_the_bundle_its_name_back_and_is_continued() {
    use crate::support::proxy::{Fault, Proxy};
    use crate::support::registry::Registry;
    let kit = Kit::new();
    let (whole, blueprint) = (kit.read("b.tar"), kit.blueprint());
    let big = of_size(&blueprint, 4_500_000).clone();
    let registry = Registry::start();
    let proxy = Proxy::start(Some(registry.port));
    let (host, to) = (proxy.host(), format!("{}/in", proxy.host()));
    let args =
        ["unpack", "b.tar", "--signer", "builder.pub", "--to", &to, "--plain-http", &host, "--mirror-set", "none"];
    kit.run(&[&args[..], &["--manifests-to-dir", "out"]].concat()).is(0);
    kit.zero("b.tar", big.header, 5000);
    let path = format!("/blobs/{}", big.digest.unwrap());
    proxy.on("GET", path.clone(), 1, Fault::Stall(1 << 20));
    let args = ["repair", "b.tar", "--signer", "builder.pub", "--from", &to, "--plain-http", &host];
    let before = proxy.count("GET", &path);
    let mut child = kit.command(PROGRAM, &args).stderr(std::process::Stdio::piped()).spawn().unwrap();
    while proxy.count("GET", &path) == before {
        std::thread::yield_now();
    }
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(kit.files("b.tar").keys().collect::<Vec<_>>(), ["b.tar"]);
    kit.run(&args).is(0);
    assert!(kit.read("b.tar") == whole);
}
