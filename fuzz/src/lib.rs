//! What the fuzz targets share: a host that trusts one key, inputs as files without a disk, and bundles made from
//! a text of parts, so that what lies behind signatures and digests is reached too.

pub mod parts;

use std::fs::File;
use std::io::{Cursor, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::OnceLock;

use mirror_bundle::bundle::{Bundle, Index, layout, limits, reader::Contents, tar, writer::Plan};
use mirror_bundle::openshift::openpgp::Keyring;
use mirror_bundle::ops::Silent;
use mirror_bundle::ops::verify::{Options, verify};
use mirror_bundle::sign::{Policy, PublicKey, SecretKey};
use mirror_bundle::verify::{Conditions, Report, Resolved, Trust, Verdict, cosign::ImageKey};

/// Folder of the seeds that are kept, `fuzz/seeds`.
pub const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/seeds");
/// Folder of the project's test data.
pub const TESTDATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata");

/// A test data file.
pub fn testdata(path: &str) -> Vec<u8> {
    std::fs::read(format!("{TESTDATA}/{path}")).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The key that signs what the targets make.
pub fn key() -> &'static SecretKey {
    static KEY: OnceLock<SecretKey> = OnceLock::new();
    KEY.get_or_init(|| SecretKey::load(include_bytes!("../test-key"), || unreachable!()).unwrap())
}

/// Its public half.
pub fn public() -> PublicKey {
    PublicKey::parse(include_str!("../test-key.pub")).unwrap()
}

/// The time at which everything is judged: 2026-11-01T00:00:00Z.
pub const NOW: i64 = 1_793_491_200;

/// Whom a receiving host trusts, and under which conditions.
pub type Host = (Trust, Conditions);

/// The settings of a receiving host. Bit 0: trusts nobody and takes unsigned bundles and releases; bit 1: has keys
/// for images and keyrings.
pub fn settings(mode: u8) -> &'static Host {
    static ALL: [OnceLock<Host>; 4] = [const { OnceLock::new() }; 4];
    let mode = mode & 3;
    ALL[usize::from(mode)].get_or_init(|| {
        let lax = mode & 1 == 1;
        let keys = mode & 2 == 2;
        let pem =
            |scope: &str, file: &str| ImageKey::new(scope, None, &String::from_utf8(testdata(file)).unwrap()).unwrap();
        let mut conditions = Conditions::new(jiff::Timestamp::from_second(NOW).unwrap());
        conditions.exceptions.unsigned = lax;
        conditions.exceptions.unsigned_release = lax;
        let policy = Policy::from_signer_keys(&[public()]).unwrap();
        let trust = match (lax, keys) {
            (true, false) => Trust::Unsigned { keyrings: vec![] },
            (false, false) => {
                let image_require = Default::default();
                Trust::Policy(Resolved { policy, keyrings: vec![], image_keys: vec![], image_require })
            }
            (_, true) => Trust::Policy(Resolved {
                policy,
                keyrings: vec![keyring("vectors-generated/keyrings/A.asc"), Keyring::redhat().unwrap()],
                image_require: Default::default(),
                image_keys: vec![
                    pem("quay.io/rh_ee_aguidi", "keyrings/derived/cosign-single-arch-empty-image.pub"),
                    pem("quay.io/o", "keyrings/derived/redhat-sigstore-release-key.pem"),
                ],
            }),
        };
        (trust, conditions)
    })
}

/// A keyring of the test data.
pub fn keyring(path: &str) -> Keyring {
    Keyring::parse(path, &testdata(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Bytes as a regular file that has a path and no disk.
pub struct Memory {
    file: File,
}

impl Memory {
    pub fn new(bytes: &[u8]) -> Memory {
        let fd = rustix::fs::memfd_create("fuzz", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let mut file = File::from(fd);
        file.write_all(bytes).unwrap();
        Memory { file }
    }

    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }
}

/// Verifies `bundle` as a file and as a stream; both must come to the same verdict, and what is verified must be
/// exactly what its index demands, byte for byte.
pub fn verify_both_ways(bundle: &[u8], (trust, conditions): &Host) {
    let memory = Memory::new(bundle);
    let of_file =
        verify(memory.path().as_path().into(), trust, conditions, &Options { quick: false, jobs: 1 }, &Silent);
    let stream = Box::new(Cursor::new(bundle.to_vec()));
    let of_stream = verify(
        mirror_bundle::bundle::Inputs::stream(stream),
        trust,
        conditions,
        &Options { quick: false, jobs: 1 },
        &Silent,
    );
    if std::env::var_os("FUZZ_SHOW").is_some() {
        eprintln!("file:   {}\nstream: {}", show(&of_file), show(&of_stream));
    }
    match (&of_file, &of_stream) {
        (Ok(file), Ok(stream)) => {
            assert_eq!(file.verdict, stream.verdict, "file: {}\nstream: {}", show(&of_file), show(&of_stream));
            if file.verdict == Verdict::Verified {
                assert_eq!(canonical(&memory).as_deref(), Some(bundle), "verified, and not what its index demands");
            }
        }
        (Err(_), Err(_)) => {}
        _ => panic!("file: {}\nstream: {}", show(&of_file), show(&of_stream)),
    }
}

fn show(outcome: &mirror_bundle::Result<Report>) -> String {
    match outcome {
        Ok(report) => {
            let mut out = format!("{:?} {}", report.verdict, report.exit_code);
            for finding in report.findings() {
                out +=
                    &format!("\n  {:?} {:?} {}: {}", finding.severity, finding.code, finding.subject, finding.message);
            }
            for skipped in &report.not_checked {
                out += &format!("\n  not checked: {}: {}", skipped.id.as_str(), skipped.reason);
            }
            out
        }
        Err(e) => format!("error {:?} {e}", e.code()),
    }
}

/// The bundle as it has to be, put together anew from its index and contents.
fn canonical(memory: &Memory) -> Option<Vec<u8>> {
    let bundle = Bundle::open(&memory.path()).ok()?;
    let index = Index::parse(&bundle.head().index).ok()?;
    let signature = bundle.head().signature.clone();
    let contents = bundle.contents(std::sync::Arc::new(index.clone())).ok()?;
    let read = |contents: &Contents, at: usize| contents.read(&contents.layout().members()[at], limits::BLOB).ok();
    let blobs = contents.layout().blob_range();
    let marker = layout::OCI_LAYOUT_JSON.to_vec();
    let mut files = vec![marker];
    for at in contents.first()..blobs.start {
        files.push(read(&contents, at)?);
    }
    let plan = Plan::new(index, files, signature).ok()?;
    let mut out = plan.head(&plan.archives()[0].layout).concat();
    for at in blobs {
        let member = &plan.archives()[0].layout.members()[at];
        push(&mut out, &member.path, plan.archives()[0].layout.mtime(), &read(&contents, at)?);
    }
    for addendum in contents.addenda() {
        let entry = tar::parse(memory_block(memory, out.len()).as_ref()?)?;
        push(&mut out, &format!("{}{}", layout::ADDENDA, addendum.name), entry.mtime, &addendum.bytes);
    }
    out.resize(out.len() + 1024, 0);
    Some(out)
}

fn memory_block(memory: &Memory, at: usize) -> Option<[u8; 512]> {
    use std::os::unix::fs::FileExt;
    let mut block = [0; 512];
    memory.file.read_exact_at(&mut block, at as u64).ok()?;
    Some(block)
}

/// Appends a tar member.
pub fn push(out: &mut Vec<u8>, path: &str, mtime: u64, content: &[u8]) {
    out.extend_from_slice(&tar::header(path, content.len() as u64, mtime));
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(512), 0);
}

/// The text of parts `fuzz/seeds/parts/<name>`.
pub fn part(name: &str) -> Vec<u8> {
    std::fs::read(format!("{SEEDS}/parts/{name}")).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The bundle that other targets start from.
pub fn made() -> &'static parts::Made {
    static MADE: OnceLock<parts::Made> = OnceLock::new();
    MADE.get_or_init(|| parts::bundle(&part("small.txt"), true).expect("small.txt makes a bundle"))
}

/// Its bytes.
pub fn good() -> &'static [u8] {
    &made().bytes
}

/// With `FUZZ_SEED=DIR`: writes the seeds that are bundles or parts of bundles below DIR, and ends.
pub fn seed() {
    let Some(dir) = std::env::var_os("FUZZ_SEED").map(PathBuf::from) else { return };
    let write = |target: &str, name: &str, mode: &[u8], bytes: &[u8]| {
        let folder = dir.join(target);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), [mode, bytes].concat()).unwrap();
    };
    for entry in std::fs::read_dir(format!("{SEEDS}/parts")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let text = part(&name);
        for mode in 0..4u8 {
            write("content", &format!("{name}-{mode}"), &[mode], &text);
        }
        write("content", &format!("{name}-7"), &[7], &text);
        for signed in [true, false] {
            let Some(made) = parts::bundle(&text, signed) else { panic!("{name} makes no bundle") };
            for mode in if signed { [0, 3] } else { [1, 3] } {
                verify_both_ways(&made.bytes, settings(mode));
                write("container", &format!("{name}-{signed}-{mode}"), &[mode], &made.bytes);
            }
            write("index", &name, &[], &made.plan.index_bytes);
            if let Some(signature) = &made.plan.signature {
                write("signature", &name, &[], signature);
            }
            let tail = &made.bytes[usize::try_from(made.plan.archives()[0].layout.end()).unwrap()..];
            write("addenda", &format!("{name}-{signed}"), &[0], tail);
            write("names", &format!("{name}-{signed}"), &[], &made.bytes[..512]);
        }
    }
    std::process::exit(0);
}
