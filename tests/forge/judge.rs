//! From the arguments of a vector to a report of the library.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use mirror_bundle::bundle::Inputs;
use mirror_bundle::error::{Code, Error};
use mirror_bundle::openshift::openpgp::Keyring;
use mirror_bundle::ops::{self, Silent};
use mirror_bundle::sign::{Policy, read_public_key};
use mirror_bundle::verify::{Report, Settings};

/// The settings that these arguments of `verify` mean, and whether they say `--quick`.
pub fn settings(args: &[String], folder: &Path) -> (Settings, bool) {
    let mut settings = Settings::new(jiff::Timestamp::UNIX_EPOCH);
    let (mut keys, mut quick) = (vec![], false);
    let mut rest = args.iter().map(String::as_str);
    while let Some(flag) = rest.next() {
        match flag {
            "--allow-unsigned" => settings.allow_unsigned = true,
            "--allow-unsigned-release" => settings.allow_unsigned_release = true,
            "--quick" => quick = true,
            _ => {
                let value = rest.next().unwrap();
                match flag {
                    "--signer" => keys.push(read_public_key(&folder.join(value)).unwrap()),
                    "--trust" => {
                        settings.policy = Some(Policy::parse(&std::fs::read(folder.join(value)).unwrap()).unwrap());
                    }
                    "--release-keyring" => {
                        let bytes = std::fs::read(folder.join(value)).unwrap();
                        settings.keyrings.push(Keyring::parse(value, &bytes).unwrap());
                    }
                    "--allow-kind" => settings.allow_kinds.push(value.to_owned()),
                    "--at" => settings.now = value.parse().unwrap(),
                    other => panic!("{other}"),
                }
            }
        }
    }
    if !keys.is_empty() {
        settings.policy = Some(Policy::from_signer_keys(&keys).unwrap());
    }
    (settings, quick)
}

/// The settings of most vectors.
pub fn usual() -> Settings {
    let args: Vec<String> = super::vector::ARGS.iter().map(|a| (*a).to_owned()).collect();
    settings(&args, &super::folder()).0
}

/// What `verify` says of a file.
pub fn file(path: &Path, settings: &Settings, quick: bool, jobs: usize) -> Result<Report, Error> {
    ops::verify::verify(path.into(), settings, quick, jobs, &Silent)
}

/// What `verify` says of a stream.
pub fn stream(from: impl Read + Send + 'static, settings: &Settings) -> Result<Report, Error> {
    ops::verify::verify(Inputs::stream(Box::new(from)), settings, false, 1, &Silent)
}

/// The codes of all errors in a report.
pub fn codes(report: &Report) -> BTreeSet<Code> {
    report.errors().map(|f| f.code).collect()
}
