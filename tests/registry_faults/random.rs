//! Faults at random requests: reproducible by seed.

use crate::place::Worker;
use crate::support::proxy::{Fault, status, status_with};
use crate::table::{Case, EVER, Rule, Script};

/// A small generator of numbers (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// One to three faults, each at a random request, for one side.
pub fn schedule(worker: &Worker<'_>, seed: u64) -> Case {
    let mut dice = Dice(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    (0..8).for_each(|_| _ = dice.below(2));
    let mut rules: Vec<Rule> = Vec::new();
    for _ in 0..1 + dice.below(3) {
        let method = *dice.of(&["*", "*", "GET", "GET", "HEAD", "POST", "PUT"]);
        let path = (*dice.of(&["", "", "blobs/", "manifests/", "uploads/", "v1", "referrers/"])).to_owned();
        let before = dice.below(20);
        let times = *dice.of(&[1, 1, 1, 1, 2, 3, EVER]);
        if before > 0 {
            rules.push((method, path.clone(), before, Fault::Pass));
        }
        rules.push((method, path, times, fault(&mut dice, worker)));
    }
    let absent = |rule: &Rule| matches!(rule.3, Fault::Answer(404 | 405, ..) | Fault::Status(404));
    let script = Script {
        hides: rules.iter().any(absent),
        rules,
        // Never "internal", never "usage", never a local failure.
        codes: vec![0, 12, 30, 31, 50, 51],
        args: vec!["--timeout", "2", "--retries", *dice.of(&["0", "1", "2", "3"])],
        filled: dice.below(5) == 0,
        ..Script::default()
    };
    let token = dice.below(8) == 0;
    let (pull, push) = if dice.below(2) == 0 { (Some(script), None) } else { (None, Some(script)) };
    Case { name: format!("random-{seed}"), token, pull, push }
}

fn fault(dice: &mut Dice, worker: &Worker<'_>) -> Fault {
    let size = worker.place.large().bytes.len();
    let at = match dice.below(3) {
        0 => dice.below(2000),
        1 => *dice.of(&[0, 1, 65_535, 65_536, 1 << 20, size - 1]),
        _ => dice.below(size),
    };
    let header = |name: &str, value: &str| Fault::Header(name.to_owned(), value.to_owned());
    match dice.below(30) {
        0 => status(*dice.of(&[400, 403, 404, 405, 409, 410, 413, 416, 418])),
        1 | 2 => status(*dice.of(&[408, 425, 429, 500, 502, 503, 504])),
        3 => status_with(429, "Retry-After", *dice.of(&["0", "1", "x", "999999"])),
        4 => status_with(401, "WWW-Authenticate", *dice.of(&["Basic realm=\"x\"", "Bearer", "x y z"])),
        5 => status(*dice.of(&[200, 201, 202, 204, 206])),
        6 => Fault::Swallow(*dice.of(&[200, 201, 202, 204]), Vec::new()),
        7 => Fault::Status(*dice.of(&[200, 201, 202, 206, 404, 500])),
        8 | 9 => Fault::CutBody(at),
        10 => Fault::ResetBody(at),
        11 | 12 => Fault::CutRequest(at),
        13 => Fault::LoseAnswer,
        14 => Fault::Reset,
        15 => Fault::CutHead(dice.below(400)),
        16 => Fault::FlipByte(at),
        17 => Fault::LieLength(at as u64),
        18 => Fault::Longer(1 + dice.below(1000)),
        19 => Fault::Stall(at),
        20 => Fault::Silence,
        21 => Fault::Chunked(dice.below(2) == 0),
        22 => Fault::Gzip,
        23 => Fault::HangUp,
        24 => Fault::IgnoreRange,
        25 => {
            let range: &str = dice.of::<&str>(&["0-0", "0-1000", "0-99999999", "x"]);
            header("Range", range)
        }
        26 => header("Docker-Content-Digest", "sha256:x"),
        27 => header("Location", &format!("http://{}/x", worker.elsewhere_host())),
        28 => status_with(307, "Location", *dice.of(&["", "/v2/", "https://127.0.0.2/x", "file:///x"])),
        _ => Fault::After(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx".to_vec()),
    }
}
