//! `spec/restore.py`, which shares no code with this program, restores what it encodes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/recipe.rs"]
mod recipe;
#[path = "support/skip.rs"]
mod skip;

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;
use std::process::{Command, Output};

use mirror_bundle::delta::{Options, Part, encode};
use mirror_bundle::regzip::{BlockSize, Family, Gzip, Level, Method, Recipe};
use recipe::Files;
use sha2::{Digest, Sha256};
use skip::have;

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/spec/restore.py");
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 9, 0x6e, 0x88, 0, 0xff];

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

/// A blob that is carried encoded, as files in a folder.
struct Case {
    recipe: Recipe,
    tar: Vec<u8>,
    member: Vec<u8>,
    reference: Option<Vec<u8>>,
}

impl Case {
    fn blob(&self) -> Vec<u8> {
        let mut gzip = Gzip::new(&self.recipe, Vec::new());
        gzip.write_all(&self.tar).unwrap();
        gzip.finish().unwrap()
    }

    fn entry(&self) -> String {
        let (method, block) = match self.recipe.method() {
            Method::Gzip => ("gzip", String::new()),
            Method::Pgzip(size) => ("pgzip", format!(r#","blockSize":{}"#, size.bytes())),
        };
        let content = match self.reference {
            Some(_) => r#""content":"delta-1","reference":0"#,
            None => r#""content":"zstd""#,
        };
        format!(
            r#"{{"blob":0,"as":"encoded","size":{},"digest":"{}","tar":{{"digest":"{}","size":{}}},"gzip":{{"method":"{method}","encoder":"{}","level":{}{block},"header":"{}"}},{content}}}"#,
            self.member.len(),
            digest(&self.member),
            digest(&self.tar),
            self.tar.len(),
            self.recipe.family().name(),
            self.recipe.level().number(),
            self.recipe.header().iter().map(|b| format!("{b:02x}")).collect::<String>(),
        )
    }

    fn restore(&self, dir: &Path, expected: &str) -> Output {
        let at = |name: &str| dir.join(name);
        fs::write(at("entry.json"), self.entry()).unwrap();
        fs::write(at("member"), &self.member).unwrap();
        let mut command = Command::new("python3");
        command.arg(PROGRAM).args([at("entry.json"), at("member"), at("blob")]).args(["--digest", expected]);
        if let Some(reference) = &self.reference {
            fs::write(at("reference"), reference).unwrap();
            command.arg("--reference").arg(at("reference"));
        }
        command.output().unwrap()
    }
}

fn recipes() -> Vec<Recipe> {
    use Family::{A, B, Go126};
    let mut all = Vec::new();
    for family in [A, B] {
        for level in [Level::L1, Level::L5, Level::L6] {
            for method in [Method::Gzip, Method::Pgzip(BlockSize::QuarterMiB)] {
                all.push(Recipe::new(family, level, method, &HEADER).unwrap());
            }
        }
    }
    all.extend([Level::L1, Level::L6].map(|level| Recipe::new(Go126, level, Method::Gzip, &HEADER).unwrap()));
    all
}

fn case(recipe: Recipe, tar: Vec<u8>, reference: Option<Vec<u8>>) -> Case {
    let member = match &reference {
        None => zstd::bulk::compress(&tar, 3).unwrap(),
        Some(old) => {
            let mut out = Cursor::new(Vec::new());
            let parts = (Part::whole(old, old.len() as u64), Part::whole(&tar, tar.len() as u64));
            encode(parts.0, parts.1, &Options::default(), &mut out).unwrap();
            out.into_inner()
        }
    };
    Case { recipe, tar, member, reference }
}

/// MB-ENC and MB-DLT, for each encoder.
#[test]
fn the_second_restorer_restores_the_same_blobs() {
    if !have("python3") || !have("zstd") {
        return;
    }
    let files = Files::load();
    let old = files.build("f:layer.tar:0:60000+w:8:9000+f:elf.bin:50000:40000");
    let dir = tempfile::tempdir().unwrap();
    // Chunks of every kind, more than one of them, and what lies in the last 64 KiB twice.
    let input = "f:layer.tar:0:62000+r:5:900+f:elf.bin:50000:30000+m:30000:20000:40:7+w:1:9000+z:700+k:4:90:300";
    for (i, recipe) in recipes().into_iter().enumerate() {
        let mut tar = files.build(input);
        if let Method::Pgzip(_) = recipe.method() {
            // A second block.
            tar = files.build(&format!("z:100000+w:3:40000+{input}"));
        }
        let reference = (i % 2 == 0).then(|| old.clone());
        let case = case(recipe, tar, reference);
        let blob = case.blob();
        let out = case.restore(dir.path(), &digest(&blob));
        let errors = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{:?}: {errors}", case.recipe);
        assert!(fs::read(dir.path().join("blob")).unwrap() == blob, "{:?}", case.recipe);
    }
}

#[test]
fn the_second_restorer_refuses_what_is_not_as_the_entry_says() {
    if !have("python3") || !have("zstd") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let refused = |case: &Case, why: &str| {
        let out = case.restore(dir.path(), &digest(&case.blob()));
        let errors = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(1) && errors.contains(why), "{why}: {errors}");
    };
    let recipe = || recipes().remove(0);
    let tar = b"content of a layer ".repeat(20);
    // A delta for another reference, and one that ends in the middle.
    let mut other = case(recipe(), tar.clone(), Some(tar[5..].to_vec()));
    other.reference = Some(tar[9..].to_vec());
    refused(&other, "tar: digest");
    other.reference = Some(tar[..30].to_vec());
    refused(&other, "outside");
    let mut cut = case(recipe(), tar.clone(), Some(tar[5..].to_vec()));
    cut.member.push(0);
    refused(&cut, "lengths");
    // A content that is not the one of the entry.
    let mut longer = case(recipe(), tar.clone(), None);
    longer.member = zstd::bulk::compress(&[&tar[..], b"x"].concat(), 3).unwrap();
    refused(&longer, "size");
    // The right content by a wrong encoder.
    let wrong = case(recipe(), tar, None);
    let out = wrong.restore(dir.path(), &digest(b"another blob"));
    assert!(!out.status.success() && String::from_utf8_lossy(&out.stderr).contains("another digest"));
}
