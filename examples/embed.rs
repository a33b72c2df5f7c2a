//! Another program verifies a bundle with a trust policy and unpacks it into an OCI layout:
//! `cargo run --example embed -- BUNDLE.tar trust.yaml LAYOUT`
//!
//! No step can be left out: `unpack` needs a `Trust`, and only a good verdict gives a `Verified`.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mirror_bundle::Result;
use mirror_bundle::bundle::Inputs;
use mirror_bundle::host::memory;
use mirror_bundle::host::trust::{self, Named};
use mirror_bundle::ops::Silent;
use mirror_bundle::ops::unpack::{Options, Outcome, unpack};
use mirror_bundle::verify::Conditions;

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [bundle, policy, layout] = arguments.as_slice() else {
        eprintln!("usage: embed BUNDLE.tar trust.yaml LAYOUT");
        return ExitCode::from(2);
    };
    match run(bundle, policy, layout) {
        Ok(code) => code.into(),
        Err(e) => {
            eprintln!("could not do it: {e}");
            e.code().exit().into()
        }
    }
}

/// Returns the exit code of the verdict.
fn run(bundle: &Path, policy: &Path, layout: &Path) -> Result<u8> {
    // Reads the policy and the keys that it names.
    let trust = trust::read(&Named { policy: Some(policy), ..Named::default() })?;
    let memory = memory::folder();
    let mut conditions = Conditions::new(jiff::Timestamp::now());
    conditions.seen = memory::load(&memory)?;
    let options = Options { layout: Some(layout.to_owned()), ..Options::default() };
    match unpack(Inputs::from(bundle), &trust, &conditions, &options, &Silent)? {
        Outcome::Unpacked(verified, summary) => {
            // From now on an older bundle is refused.
            memory::remember(&memory, &verified, false)?;
            println!("{} images in {}", summary.images, layout.display());
            Ok(verified.report().exit_code)
        }
        Outcome::Refused(report, _) | Outcome::Begun(report, _) | Outcome::Tried(report, _) => {
            for finding in report.errors() {
                eprintln!("{}: {}", finding.code, finding.message);
            }
            Ok(report.exit_code)
        }
    }
}
