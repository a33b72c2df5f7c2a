//! The output of `strace`: which system calls a verb makes, and how often.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::lab::{Lab, ended};
use crate::verbs::Verb;

/// The calls that can be made to fail: all calls about files, descriptors and sockets.
const CALLS: &str = "trace=%file,%desc,%network";

/// A call to inject a fault into: its name, and which one it is, from 1, counted within a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) call: String,
    pub(crate) number: usize,
}

/// Every call of an undisturbed run with one worker. Of each kind, the thread counts that makes it most.
pub(crate) fn points(lab: &Lab, verb: &Verb) -> Vec<Point> {
    let place = verb.place(lab);
    let log = lab.path(&format!("trace-{}", place.file_name().unwrap().to_str().unwrap()));
    let wrapper = ["strace", "-f", "-qq", "-o", log.to_str().unwrap(), "-e", CALLS];
    ended(&mut lab.command(&place, &wrapper, &verb.words(lab, &place, 1))).is(0, verb.name);
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for line in fs::read_to_string(&log).unwrap().lines() {
        let mut words = line.split_whitespace();
        let (Some(thread), Some(call)) = (words.next(), words.next()) else { continue };
        if let Some((name, _)) = call.split_once('(')
            && name != "execve"
        {
            *counts.entry((thread.to_owned(), name.to_owned())).or_default() += 1;
        }
    }
    remove(&place, &log);
    let mut most: BTreeMap<String, usize> = BTreeMap::new();
    for ((_, name), count) in counts {
        let slot = most.entry(name).or_default();
        *slot = count.max(*slot);
    }
    let all = most.into_iter().flat_map(|(call, n)| (1..=n).map(move |number| Point { call: call.clone(), number }));
    all.collect()
}

fn remove(place: &Path, log: &Path) {
    fs::remove_dir_all(place).unwrap();
    fs::remove_file(log).unwrap();
}

/// `strace` that does `fault` (`signal=KILL`, `error=EIO`) to the call of a point, and to later ones if it `lasts`.
pub(crate) fn inject(point: &Point, fault: &str, lasts: bool) -> [String; 8] {
    let Point { call, number } = point;
    let (trace, on) = (format!("trace={call}"), if lasts { "+" } else { "" });
    let inject = format!("--inject={call}:{fault}:when={number}{on}");
    ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, &inject].map(str::to_owned)
}
