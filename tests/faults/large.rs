//! F1 at random times, with several workers, on a bundle of 200 MiB in 400 blobs: nothing wrong is left, the next run
//! ends like an uninterrupted one, and no worker transfers more than one blob twice.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use mirror_bundle::oci::Digest;

use crate::crash::Dice;
use crate::lab::{Lab, Snapshot, args, snapshot, temporary, write_layout};
use crate::support::image::{Image, layer};
use crate::support::noise;
use crate::support::proxy::Proxy;
use crate::verbs::{VERBS, Verb};

/// A lab whose bundle has about this many blobs of this size.
fn large(images: usize, layers: usize, size: usize) -> Lab {
    let lab = Lab::new();
    fs::remove_dir_all(lab.path("layout")).unwrap();
    let layer = |at: usize| layer(&[("data", &noise(size, at as u64 + 100))]);
    let image = |at: usize| Image::oci("amd64", &(0..layers).map(|n| layer(at * layers + n)).collect::<Vec<_>>());
    write_layout(&lab.path("layout"), &(0..images).map(image).collect::<Vec<_>>());
    let place = lab.place();
    lab.run(&place, &lab.create("b.tar")).is(0, "bundle");
    fs::rename(place.join("b.tar"), lab.path("b.tar")).unwrap();
    fs::remove_dir_all(place).unwrap();
    lab
}

/// Names, lengths and times of files, so that only changed files of the 200 MiB are read again.
fn final_names(place: &Path, known: &Snapshot) {
    for entry in walkdir::WalkDir::new(place).min_depth(1) {
        let entry = entry.unwrap();
        let path = entry.path().strip_prefix(place).unwrap();
        let (is_file, is_ours) = (entry.file_type().is_file(), temporary(path));
        let is_help = entry.file_name().to_string_lossy().contains(".index.json");
        if is_file && !is_ours && !is_help {
            let digest = Digest::of(&fs::read(entry.path()).unwrap());
            let Some(crate::lab::Entry::File(_, wanted)) = known.get(path) else { panic!("{}", path.display()) };
            assert_eq!(digest, *wanted, "{}", path.display());
        }
    }
}

fn killed_after(mut child: Child, after: Duration) -> bool {
    // Only the moment is random.
    std::thread::sleep(after);
    let running = child.try_wait().unwrap().is_none();
    let _ = child.kill();
    let _ = child.wait_with_output();
    running
}

/// Kills `verb` `times` times at random moments of its run. Returns how often it was still running.
fn kills(lab: &Lab, verb: &Verb, times: u64, seed: u64) -> u64 {
    let start = |jobs: usize| {
        let place = verb.place(lab);
        let child = lab.command(&place, &[], &verb.words(lab, &place, jobs)).spawn().unwrap();
        (place, child)
    };
    let began = Instant::now();
    let (reference, child) = start(4);
    assert!(child.wait_with_output().unwrap().status.success());
    let length = began.elapsed().as_micros() as u64;
    let wanted = snapshot(&reference);
    let mut dice = Dice::new(seed);
    let mut killed = 0;
    for _ in 0..times {
        let jobs = 2 + (dice.next() % 7) as usize;
        let (place, child) = start(jobs);
        killed += u64::from(killed_after(child, Duration::from_micros(dice.next() % length)));
        final_names(&place, &wanted);
        let there = blobs(&place);
        let run = lab.run(&place, &[verb.words(lab, &place, jobs), args!["-o", "json"]].concat());
        assert!(verb.again.contains(&run.code), "{}: {run:?}", verb.name);
        assert_eq!(snapshot(&place), wanted, "{}", verb.name);
        // Files with a final name were not written again.
        if let Ok(answer) = serde_json::from_str::<serde_json::Value>(&run.out)
            && let Some(new) = answer["unpacked"]["new_blobs"].as_u64()
        {
            let all = blobs(&place);
            assert!(new as usize <= all - there, "{}: {new} new, {there} of {all} there", verb.name);
        }
        fs::remove_dir_all(place).unwrap();
    }
    fs::remove_dir_all(reference).unwrap();
    killed
}

/// How many files with the name of a digest are below a place.
fn blobs(place: &Path) -> usize {
    let mut seen = std::collections::BTreeSet::new();
    for entry in walkdir::WalkDir::new(place).into_iter().flatten().filter(|e| e.file_type().is_file()) {
        let name = entry.file_name().to_str().unwrap();
        let hex = name.strip_prefix("sha256:").unwrap_or(name);
        if Digest::from_hex(hex).is_ok() {
            seen.insert(hex.to_owned());
        }
    }
    seen.len()
}

/// The verbs that move blobs without a registry, which has its own test below.
fn movers() -> impl Iterator<Item = &'static Verb> {
    VERBS.iter().filter(|v| ["create", "unpack --to-dir", "unpack --to-layout"].contains(&v.name))
}

#[test]
fn kills_at_random_times_leave_nothing_wrong_and_the_next_run_completes_it() {
    let lab = large(4, 5, 1 << 20);
    for (at, verb) in movers().enumerate() {
        kills(&lab, verb, 2, at as u64 + 1);
    }
}

#[test]
#[ignore = "half an hour"]
fn a_thousand_kills_at_random_times_on_200_mib_leave_nothing_wrong() {
    let lab = large(20, 20, 512 << 10);
    assert!(fs::metadata(lab.path("b.tar")).unwrap().len() > 200 << 20);
    let (verbs, mut killed): (Vec<_>, _) = (movers().collect(), 0);
    let wanted = std::env::var("FAULTS_KILLS").map_or(1000, |n| n.parse::<u64>().unwrap());
    let (mut runs, mut round) = (0, 0);
    while runs < wanted {
        for (at, verb) in verbs.iter().enumerate() {
            killed += kills(&lab, verb, 10, round * 10 + at as u64);
            runs += 10;
        }
        round += 1;
        eprintln!("{killed} of {runs} runs were killed before their end");
    }
    assert!(killed * 10 > runs * 7);
}

/// How often each blob was transferred, counted by a request that only a transfer makes.
fn transfers(proxy: &Proxy, method: &str) -> BTreeMap<String, usize> {
    let mut out: BTreeMap<String, usize> = BTreeMap::new();
    for seen in proxy.seen().iter().filter(|s| s.method == method) {
        let digest = match method {
            "GET" => seen.target.split_once("/blobs/").map(|(_, digest)| digest.to_owned()),
            _ => seen.target.split_once("digest=").map(|(_, d)| d.split('&').next().unwrap().replace("%3A", ":")),
        };
        if let Some(digest) = digest.filter(|d| d.starts_with("sha256:")) {
            *out.entry(digest).or_default() += 1;
        }
    }
    out
}

#[test]
fn of_a_killed_run_with_a_registry_each_worker_transfers_one_blob_again_at_most() {
    let lab = large(3, 8, 30_000);
    let source = lab.path("layout");
    let target = |host: &str, place: &Path| format!("{host}/{}/mirror", place.file_name().unwrap().to_str().unwrap());
    let layers: Vec<String> = {
        let names = fs::read_dir(source.join("blobs/sha256")).unwrap().map(|e| e.unwrap());
        let large = names.filter(|e| e.metadata().unwrap().len() > 20_000);
        large.map(|e| format!("sha256:{}", e.file_name().to_str().unwrap())).collect()
    };
    assert_eq!(layers.len(), 24);
    // Filled by an unpack, to create from.
    let filled = lab.place();
    let push = |host: &str, place: &Path, jobs: usize| {
        let words = args!["unpack", lab.path("b.tar"), "--to", target(host, place), "--plain-http", "127.0.0.1"];
        [words, lab.trust(), args!["--manifests-to-dir", "m", format!("-j{jobs}")]].concat()
    };
    lab.run(&filled, &push(&lab.target().host(), &filled, 4)).is(0, "fill");
    let pull = |host: &str, jobs: usize| {
        let mut words = args!["create", "b.tar", "--unsigned", "--plain-http", "127.0.0.1", format!("-j{jobs}")];
        for at in 0..3 {
            words.extend(args!["--image", format!("{}/tools/i{at}:1", target(host, &filled))]);
        }
        words
    };
    for (jobs, stop) in [(1, 7), (4, 16)] {
        {
            for (method, request) in [("GET", "/blobs/"), ("PUT", "digest=")] {
                let (proxy, place) = (Proxy::start(Some(lab.target().port)), lab.place());
                let words = if method == "GET" { pull(&proxy.host(), jobs) } else { push(&proxy.host(), &place, jobs) };
                let mut child = lab.command(&place, &[], &words).spawn().unwrap();
                let of_layers = |all: &BTreeMap<String, usize>| layers.iter().filter_map(|l| all.get(l)).sum::<usize>();
                while of_layers(&transfers(&proxy, method)) < stop {
                    assert!(child.try_wait().unwrap().is_none(), "{request}: ended early");
                    std::thread::yield_now();
                }
                child.kill().unwrap();
                child.wait().unwrap();
                lab.run(&place, &words).is(0, "again");
                let all = transfers(&proxy, method);
                let twice = of_layers(&all) - layers.len();
                assert!(twice <= jobs, "{method} with {jobs} workers, stopped at {stop}: {twice} blobs twice");
                if method == "GET" {
                    fs::rename(place.join("b.tar"), place.join("continued.tar")).unwrap();
                    lab.run(&place, &words).is(0, "undisturbed");
                    assert!(fs::read(place.join("continued.tar")).unwrap() == fs::read(place.join("b.tar")).unwrap());
                }
                fs::remove_dir_all(place).unwrap();
            }
        }
    }
}
