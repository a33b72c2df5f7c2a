//! The encoders against the real ones that this machine has: Go's own, and klauspost's as Debian packages them.
//! `tests/real-encoders/main.go` calls them. MIRROR_BUNDLE_COMPOSITIONS says how many inputs are compared; 200 usually.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/recipe.rs"]
mod recipe;
#[path = "support/skip.rs"]
mod skip;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use mirror_bundle::regzip::{BlockSize, Family, Gzip, Level, Method, Recipe, header_length};
use recipe::{Files, Mix};
use skip::{have, skip};

/// Where Debian has the sources of Go packages.
const SOURCES: &str = "/usr/share/gocode";
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real-encoders/main.go");

/// The real encoders.
struct Real {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Go = 0,
    Klauspost = 1,
    Pgzip = 2,
    PgzipQuarter = 3,
}

impl Real {
    /// Builds and starts the program; nothing where that is not possible.
    fn start(dir: &Path) -> Option<Self> {
        if !have("go") {
            return None;
        }
        if !Path::new(SOURCES).join("src/github.com/klauspost/pgzip").exists() {
            skip("no golang-github-klauspost-pgzip-dev on this machine");
            return None;
        }
        let program = dir.join("real-encoders");
        let built = Command::new("go")
            .args(["build", "-o"])
            .args([program.as_os_str(), Path::new(PROGRAM).as_os_str()])
            .env("GO111MODULE", "off")
            .env("GOPATH", SOURCES)
            .env("GOCACHE", dir.join("cache"))
            .env("GOFLAGS", "")
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let mut child = Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Some(Self { child, input, output })
    }

    fn encode(&mut self, what: What, level: i8, piece: u32, data: &[u8]) -> Vec<u8> {
        let mut head = vec![what as u8, level as u8];
        head.extend(piece.to_le_bytes());
        head.extend((data.len() as u32).to_le_bytes());
        self.input.write_all(&head).unwrap();
        self.input.write_all(data).unwrap();
        self.input.flush().unwrap();
        let mut size = [0; 4];
        self.output.read_exact(&mut size).unwrap();
        let mut out = vec![0; u32::from_le_bytes(size) as usize];
        self.output.read_exact(&mut out).unwrap();
        out
    }

    /// What this encoder gives, and what ours gives behind the same header.
    fn both(&mut self, what: What, level: i8, family: Family, data: &[u8], piece: u32) -> (Vec<u8>, Vec<u8>) {
        let real = self.encode(what, level, piece, data);
        let method = match what {
            What::Go | What::Klauspost => Method::Gzip,
            What::Pgzip => Method::Pgzip(BlockSize::MiB),
            What::PgzipQuarter => Method::Pgzip(BlockSize::QuarterMiB),
        };
        let level = match (level, what) {
            (1, _) => Level::L1,
            (6, _) | (-1, What::Go) => Level::L6,
            _ => Level::L5,
        };
        let header = &real[..header_length(&real).unwrap()];
        let mut ours = Gzip::new(&Recipe::new(family, level, method, header).unwrap(), Vec::new());
        ours.write_all(data).unwrap();
        (real, ours.finish().unwrap())
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An input: pieces of everything that recipes can make.
fn composition(mix: &mut Mix) -> String {
    let mut recipe = String::new();
    let mut size = 0;
    for _ in 0..1 + mix.below(7) {
        let n = match mix.below(4) {
            0 => 1 + mix.below(200),
            1 => 1 + mix.below(5_000),
            2 => 65_400 + mix.below(300),
            _ => 1 + mix.below(90_000),
        };
        let seed = mix.below(1 << 30);
        let operation = match mix.below(if size > 0 { 13 } else { 10 }) {
            0 => format!("z:{n}"),
            1 => format!("r:{seed}:{n}"),
            2 => format!("k:{seed}:{}:{n}", 2 + mix.below(220)),
            3 => format!("g:{seed}:{n}"),
            4 => format!("l:{seed}:{}:{n}", 1 + mix.below(256)),
            5 => format!("h:{seed}:{}:{n}", 1 + mix.below(40)),
            6 => format!("w:{seed}:{n}"),
            7 => format!("f:elf.bin:{}:{n}", mix.below(364_096 - n)),
            8 => format!("f:layer.tar:{}:{n}", mix.below(204_800 - n)),
            9 => format!("f:text.md:{}:{n}", mix.below(120_000 - n)),
            10 => format!("c:{}:{n}", 1 + mix.below(size.min(40_000))),
            _ => format!("m:{}:{n}:{}:{seed}", 1 + mix.below(size.min(40_000)), 2 + mix.below(100)),
        };
        size += n;
        recipe = format!("{recipe}+{operation}");
    }
    recipe
}

/// The klauspost level 1 of before 1.15.13 is another one.
fn has_known_level_1() -> bool {
    let query =
        Command::new("dpkg-query").args(["-W", "-f", "${Version}", "golang-github-klauspost-compress-dev"]).output();
    let version = query.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
    let numbers: Vec<u32> =
        version.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse().ok()).take(3).collect();
    numbers >= vec![1, 15, 13]
}

#[test]
fn random_compositions_give_the_bytes_of_the_real_encoders() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut real) = Real::start(dir.path()) else { return };
    let files = Files::load();
    // Which families they are, by an input that tells them apart.
    let probe = files.build("f:text.md:0:120000+f:elf.bin:0:364096");
    let mut family = |what, level, names: &[Family]| {
        let found = names.iter().copied().find(|f| {
            let (theirs, ours) = real.both(what, level, *f, &probe, 0);
            theirs == ours
        });
        found.unwrap_or_else(|| panic!("{what:?} of this machine is none of {names:?}"))
    };
    let go = family(What::Go, -1, &[Family::Go126, Family::B]);
    let klauspost = family(What::Klauspost, -1, &[Family::A, Family::B]);
    let mut cases = vec![
        (What::Go, -1, go),
        (What::Go, 1, go),
        (What::Klauspost, -1, klauspost),
        (What::Klauspost, 6, klauspost),
        (What::Pgzip, -1, klauspost),
        (What::PgzipQuarter, -1, klauspost),
    ];
    if has_known_level_1() {
        cases.extend([(What::Pgzip, 1, klauspost), (What::Klauspost, 1, klauspost)]);
    }
    let count: usize = std::env::var("MIRROR_BUNDLE_COMPOSITIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    let mut mix = Mix(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64);
    for i in 0..count {
        // Some are longer than a block of pgzip.
        let mut recipe = composition(&mut mix);
        while usize::is_multiple_of(i, 10) && files.build(&recipe).len() < 1_200_000 {
            recipe = format!("{recipe}{}", composition(&mut mix));
        }
        let input = files.build(&recipe);
        let piece = [0, 512, 4096, 65_536][mix.below(4)];
        for (what, level, family) in &cases {
            let (theirs, ours) = real.both(*what, *level, *family, &input, piece);
            assert!(theirs == ours, "{what:?} level {level} is not {family:?} for {recipe}");
        }
    }
}
