//! The fault registry (F10 of the project's fault programme): named faults between the program and a real
//! `docker-registry`, each on `create` (pull) and on `unpack --to` (push) where it can occur.
//!
//! After each faulted run: an exit code that fits the fault, one error that names the host, the state and the remedy;
//! no bundle, or the right one; behind the proxy every tag leads to a complete image. Then the fault is removed and
//! the same command runs again: it completes with the same bytes, without repeating transfers. Only the registry and
//! its token server see logins. No time is asserted: a run that hangs is killed after two minutes and fails.
//!
//! `table` holds the faults, `place` the registries, `audit` reads what is really stored. The long programme draws
//! faults at random requests (`FAULT_SCHEDULES` of them, from `FAULT_SEED` on):
//!
//! ```text
//! FAULT_SCHEDULES=1000 cargo test --test registry_faults -- --ignored --nocapture
//! ```
#![cfg(feature = "registry")]
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod support;

#[path = "registry_faults/audit.rs"]
mod audit;
#[path = "registry_faults/place.rs"]
mod place;
#[path = "registry_faults/random.rs"]
mod random;
#[path = "registry_faults/run.rs"]
mod run;
#[path = "registry_faults/table.rs"]
mod table;
#[path = "registry_faults/tls.rs"]
mod tls;

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use mirror_bundle::oci::Digest;
use place::{Place, Worker};
use run::Ran;
use support::proxy::Proxy;
use table::{Case, Rule, Script};

/// How many cases run at once: they mostly wait.
const WORKERS: usize = 24;

/// What a worker does next: a row of the table, or a random schedule.
#[derive(Clone, Copy, Debug)]
enum Job {
    Row(usize),
    Seed(u64),
}

#[test]
fn every_fault_of_the_table_is_survived_or_ends_well() {
    let place = Place::new();
    let table = table::table(&Worker::new(&place));
    let names: std::collections::BTreeSet<&str> = table.iter().map(|c| c.name.as_str()).collect();
    assert!(names.len() == table.len() && table.len() >= 60, "{} of {}", names.len(), table.len());
    assert!(table::MORE.iter().all(|name| names.contains(name)));
    let rows = table.iter().enumerate().filter(|(_, case)| !table::MORE.contains(&case.name.as_str()));
    run_all(&place, rows.map(|(row, _)| Job::Row(row)).chain((0..8).map(Job::Seed)).collect());
}

/// The rows that the test above skips, because each is a small variation of another one.
#[test]
#[ignore = "long"]
fn the_rest_of_the_table_is_survived_or_ends_well() {
    let place = Place::new();
    let table = table::table(&Worker::new(&place));
    let rows = table.iter().enumerate().filter(|(_, case)| table::MORE.contains(&case.name.as_str()));
    run_all(&place, rows.map(|(row, _)| Job::Row(row)).collect());
}

#[test]
#[ignore = "long"]
fn random_schedules_of_faults_are_survived_or_end_well() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |n| n.parse().unwrap());
    let (from, count) = (number("FAULT_SEED", 1000), number("FAULT_SCHEDULES", 1000));
    run_all(&Place::new(), (from..from + count).map(Job::Seed).collect());
}

/// `FAULT=part-of-a-name` runs only these, `FAULT_SHOW=1` shows how each run ended.
fn run_all(place: &Place, jobs: Vec<Job>) {
    let tags = complete(place);
    let only = std::env::var("FAULT").unwrap_or_default();
    let (next, failed, runs) = (AtomicUsize::new(0), Mutex::new(Vec::new()), AtomicUsize::new(0));
    let work = || {
        let worker = Worker::new(place);
        let table = table::table(&worker);
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let drawn;
            let case = match *job {
                Job::Row(row) => &table[row],
                Job::Seed(seed) => {
                    drawn = random::schedule(&worker, seed);
                    &drawn
                }
            };
            if !case.name.contains(&only) {
                continue;
            }
            for (side, script) in [("pull", &case.pull), ("push", &case.push)] {
                let Some(script) = script else { continue };
                let run =
                    || if side == "pull" { pull(&worker, case, script) } else { push(&worker, case, script, &tags) };
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {
                    failed.lock().unwrap().push(format!("{} {side}", case.name));
                }
                reset(&worker);
                runs.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| (0..WORKERS).for_each(|_| _ = scope.spawn(work)));
    let (failed, runs) = (failed.into_inner().unwrap(), runs.into_inner());
    assert!(failed.is_empty(), "{} of {runs} failed: {failed:#?}", failed.len());
    let blobs = audit::contents(&place.path("data"));
    eprintln!("{} faults, {runs} sides, {blobs} blobs stored, all as their names say", jobs.len());
}

/// What a push without faults leaves at its destination.
fn complete(place: &Place) -> BTreeMap<String, Digest> {
    let ran = place.unpack(&format!("{}/complete", place.open.host())).args(&["--authfile", "/dev/null"]).go();
    assert_eq!(ran.code, 0, "{}", ran.err);
    let tags = audit::tags(&place.open, "complete");
    assert_eq!(tags.len(), 4, "{tags:?}");
    tags
}

fn script(proxy: &Proxy, rules: &[Rule]) {
    for (method, path, times, fault) in rules {
        proxy.on(method, path.clone(), *times, fault.clone());
    }
}

fn reset(worker: &Worker<'_>) {
    for proxy in [&worker.password, &worker.token, &worker.realm, &worker.elsewhere] {
        proxy.clear();
    }
}

/// Lets the fault in.
fn set(worker: &Worker<'_>, case: &Case, side: &Script) {
    script(worker.proxy(case.token), &side.rules);
    script(&worker.elsewhere, &side.elsewhere);
    script(&worker.realm, &side.realm);
}

/// What holds after every run.
#[track_caller]
fn check_outcome(worker: &Worker<'_>, case: &Case, side: &Script, ran: &Ran, requests: usize) {
    if std::env::var_os("FAULT_SHOW").is_some() {
        eprintln!("== {} {} requests, {}\n{}\n{:?}", case.name, requests, ran.code, ran.err, side.rules);
    }
    assert!(side.codes.contains(&ran.code), "{}: {:?}\n{ran:?}", case.name, side.codes);
    assert!(!ran.err.contains("panicked"), "{ran:?}");
    if ran.code != 0 {
        let hosts = [worker.proxy(case.token).host(), worker.realm.host(), worker.elsewhere_host()];
        ran.explains_itself(&hosts);
    }
    assert!(requests < 1000, "{}: {requests} requests", case.name);
    worker.logins_are_at_home();
}

fn args(side: &Script) -> Vec<&str> {
    let mut args = vec!["-j", "3"];
    args.extend(&side.args);
    for (name, value) in [("--retries", "2"), ("--timeout", "20")] {
        if !args.contains(&name) {
            args.extend([name, value]);
        }
    }
    args
}

fn pull(worker: &Worker<'_>, case: &Case, side: &Script) {
    let place = worker.place;
    let reference = worker.reference(case.token);
    let proxy = worker.proxy(case.token);
    let bundle = format!("{}-{}.tar", case.name, proxy.port);
    let again = || place.create(&bundle, &proxy.host()).args(&["-o", "json"]);
    set(worker, case, side);
    let before = proxy.total();
    let ran = worker.finish(again().args(&args(side)));
    check_outcome(worker, case, side, &ran, proxy.total() - before);
    let path = place.path(&bundle);
    assert_eq!(path.exists(), ran.code == 0, "{}", case.name);
    reset(worker);
    if ran.code != 0 {
        let journal = fs::read_to_string(place.path(&format!("{bundle}.partial.journal"))).unwrap_or_default();
        let mut done: Vec<&str> = journal.lines().filter_map(|l| l.strip_prefix("done ")).collect();
        let before = proxy.total();
        let again = worker.finish(again());
        assert_eq!(again.code, 0, "{}: {again:?}", case.name);
        let index: serde_json::Value = serde_json::from_str(&again.out).unwrap();
        if side.hides && !journal.contains(&format!("index {}\n", index["index"].as_str().unwrap())) {
            // It was to be another bundle.
            done.clear();
        }
        let layers: Vec<_> = place.app.children.iter().chain([&place.other]).flat_map(|i| &i.blobs[1..]).collect();
        for layer in layers.iter().map(|l| l.digest().to_string()).filter(|d| done.contains(&&**d)) {
            let twice = proxy.since(before).iter().any(|s| s.target.ends_with(&layer));
            assert!(!twice, "{}: {layer} was fetched again", case.name);
        }
        worker.logins_are_at_home();
    }
    if fs::read(&path).unwrap() != reference {
        assert!(side.hides && ran.code == 0, "{}: another bundle", case.name);
        let verified = place.verify(&bundle).go();
        assert_eq!(verified.code, 0, "{}: {verified:?}", case.name);
    }
    for left in ["", ".partial", ".partial.journal"] {
        assert_eq!(fs::remove_file(place.path(&format!("{bundle}{left}"))).is_ok(), left.is_empty(), "{bundle}{left}");
    }
}

fn push(worker: &Worker<'_>, case: &Case, side: &Script, tags: &BTreeMap<String, Digest>) {
    let place = worker.place;
    let proxy = worker.proxy(case.token);
    let to = format!("{}/{}", proxy.host(), case.name);
    let run = || place.unpack(&to).args(&["-o", "json"]).state(&format!("state-{}", case.name));
    if side.filled {
        assert_eq!(worker.finish(run()).code, 0);
    }
    set(worker, case, side);
    let before = proxy.total();
    let ran = worker.finish(run().args(&args(side)));
    check_outcome(worker, case, side, &ran, proxy.total() - before);
    let there = audit::tags(&place.open, &case.name);
    assert!(there.iter().all(|(tag, digest)| tags.get(tag) == Some(digest)), "{}: {there:?}", case.name);
    assert!(ran.code != 0 || there == *tags, "{}: {there:?}", case.name);
    reset(worker);
    if ran.code == 0 {
        return;
    }

    let images = place.app.children.iter().map(|i| ("src/app", i)).chain([("src/other", &place.other)]);
    let blobs = images.flat_map(|(path, image)| image.blobs.iter().map(move |b| (path, b.digest())));
    let done: Vec<(String, Digest)> = blobs
        .map(|(path, digest)| (format!("{}/{path}", case.name), digest))
        .filter(|(repository, digest)| audit::has_blob(&place.open, repository, digest))
        .collect();
    let before = proxy.total();
    let again = worker.finish(run());
    assert_eq!(again.code, 0, "{}: {again:?}", case.name);
    assert_eq!(audit::tags(&place.open, &case.name), *tags, "{}", case.name);
    for (repository, digest) in done {
        let sent = |s: &support::proxy::Seen| {
            s.method != "HEAD"
                && s.target.contains(&repository)
                && s.target.contains(&digest.hex())
                && s.method != "GET"
        };
        assert!(!proxy.since(before).iter().any(sent), "{}: {digest} was sent again", case.name);
    }
    worker.logins_are_at_home();
}
