//! From the arguments of a vector to a report of the library.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use mirror_bundle::bundle::Inputs;
use mirror_bundle::error::{Code, Error};
use mirror_bundle::openshift::openpgp::Keyring;
use mirror_bundle::ops::{self, Silent};
use mirror_bundle::sign::{Policy, read_public_key};
use mirror_bundle::verify::{Conditions, Report, Resolved, Trust};

/// A verifying host: its trust and conditions.
pub struct Host {
    pub trust: Trust,
    pub conditions: Conditions,
}

/// The host that these arguments of `verify` describe, and whether they include `--quick`.
pub fn settings(args: &[String], folder: &Path) -> (Host, bool) {
    let mut conditions = Conditions::new(jiff::Timestamp::UNIX_EPOCH);
    let (mut policy, mut keyrings, mut keys, mut quick) = (None, vec![], vec![], false);
    let mut rest = args.iter().map(String::as_str);
    while let Some(flag) = rest.next() {
        match flag {
            "--allow-unsigned" => conditions.exceptions.unsigned = true,
            "--allow-unsigned-release" => conditions.exceptions.unsigned_release = true,
            "--quick" => quick = true,
            _ => {
                let value = rest.next().unwrap();
                match flag {
                    "--signer" => keys.push(read_public_key(&folder.join(value)).unwrap()),
                    "--trust" => {
                        policy = Some(Policy::parse(&std::fs::read(folder.join(value)).unwrap()).unwrap());
                    }
                    "--release-keyring" => {
                        let bytes = std::fs::read(folder.join(value)).unwrap();
                        keyrings.push(Keyring::parse(value, &bytes).unwrap());
                    }
                    "--allow-kind" => conditions.exceptions.kinds.push(value.parse().unwrap()),
                    "--at" => conditions.now = value.parse().unwrap(),
                    other => panic!("{other}"),
                }
            }
        }
    }
    if !keys.is_empty() {
        policy = Some(Policy::from_signer_keys(&keys).unwrap());
    }
    let trust = match policy {
        Some(policy) => {
            Trust::Policy(Resolved { policy, keyrings, image_keys: vec![], image_require: Default::default() })
        }
        None => Trust::Unsigned { keyrings },
    };
    (Host { trust, conditions }, quick)
}

/// The host of most vectors.
pub fn usual() -> Host {
    let args: Vec<String> = super::vector::ARGS.iter().map(|a| (*a).to_owned()).collect();
    settings(&args, &super::folder()).0
}

/// The report of `verify` about a file.
pub fn file(path: &Path, host: &Host, quick: bool, jobs: usize) -> Result<Report, Error> {
    ops::verify::verify(path.into(), &host.trust, &host.conditions, &ops::verify::Options { quick, jobs }, &Silent)
}

/// The report of `verify` about a stream.
pub fn stream(from: impl Read + Send + 'static, host: &Host) -> Result<Report, Error> {
    ops::verify::verify(
        Inputs::stream(Box::new(from)),
        &host.trust,
        &host.conditions,
        &ops::verify::Options { quick: false, jobs: 1 },
        &Silent,
    )
}

/// The codes of all errors in a report.
pub fn codes(report: &Report) -> BTreeSet<Code> {
    report.errors().map(|f| f.code).collect()
}
