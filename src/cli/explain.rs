//! `mirror-bundle explain`: what a code means and what to do, without looking anything up online.

use super::answer;
use crate::error::{Code, Error, Result};

pub(super) fn run(what: &str) -> Result<u8> {
    if what == "exit-codes" {
        answer::text(&exit_codes());
        return Ok(0);
    }
    let codes: Vec<Code> = match what.parse::<u8>() {
        Ok(exit) => Code::ALL.iter().copied().filter(|c| c.exit() == exit).collect(),
        Err(_) => Code::parse(what).into_iter().collect(),
    };
    if codes.is_empty() {
        return Err(Error::new(Code::Usage, format!("there is no code `{what}`"))
            .hint("mirror-bundle explain exit-codes lists them"));
    }
    for code in codes {
        answer::text(&format!("{code} (exit code {})\n\n{}\n", code.exit(), text(code)));
    }
    Ok(0)
}

fn exit_codes() -> String {
    let mut out = "0    ok                  done, and everything required was checked and passed\n".to_owned();
    for code in Code::ALL {
        let first = text(*code).split(['.', '\n']).next().unwrap_or_default().to_owned();
        out.push_str(&format!("{:<4} {:<19} {first}\n", code.exit(), code.as_str()));
    }
    out.push_str("\nA script needs three cases: 0, go on; 10 to 49, do not use this bundle; anything else, it could not be told, try again.\n");
    out.push_str("When several of 10 to 49 apply, the lowest is given: it is the most basic problem.\n");
    out
}

fn text(code: Code) -> &'static str {
    match code {
        Code::Usage => "The arguments, or a file that they name, cannot be used. Nothing was done.",
        Code::Io => {
            "A local file could not be read or written: a missing path, a permission, a full disk, a bad medium.\nWhat was finished before stays; run the same command again when the cause is gone."
        }
        Code::Internal => {
            "A bug in mirror-bundle. Nothing that was written is under a final name or tag unless it was complete.\nPlease report it with the command, the version (mirror-bundle --version) and the message."
        }
        Code::NotABundle => {
            "The file is not a mirror-bundle, or is of a version or needs a feature that this program does not know.\nBring a newer mirror-bundle across together with the bundle."
        }
        Code::Truncated => {
            "The file is shorter than its index says. The copy to the medium did not finish.\nCopy it again and compare sizes; lengths are compared before anything is hashed or written."
        }
        Code::Malformed => {
            "Something in the bundle is not as its format demands: an unsafe path, a name twice, a size over a limit, a document that contradicts another.\nA bundle made by this program is never like that: it was damaged or made by somebody else. Do not use it."
        }
        Code::Unsigned => {
            "The bundle carries no signature, so anyone could have made it.\nAsk the builder for a signed one (create --sign-key), or accept it with --allow-unsigned, which the report records."
        }
        Code::BadSignature => {
            "The index does not match its signature: it was changed after it was signed, or damaged.\nDo not use this copy. Compare the digest of the index with the builder by another way before asking for another."
        }
        Code::Untrusted => {
            "The signatures are intact, but not enough of them are by keys that this host trusts.\nIf a signer has a new key, get its public half by another way than this medium, and add it with --signer or to the trust policy."
        }
        Code::Expired => {
            "A key, a signature or the bundle is past its time, or claims a time in the future.\nCheck this host's clock, or give the time with --at. A fresh signature does not need the blobs to be copied again."
        }
        Code::Rollback => {
            "This host has accepted a newer bundle of the same name, or another one with the same number: somebody may be replaying an old bundle.\nA lower number is accepted with --allow-rollback, which the report records; two bundles with one number never are."
        }
        Code::BlobMissing => {
            "Something that an image needs is not in the bundle.\nThe bundle was made or changed wrongly; ask for another."
        }
        Code::BlobMismatch => {
            "Content does not match the digest that names it.\nOne damaged blob is usually the medium: copy the bundle again. Many, or a wrong signature as well, is not."
        }
        Code::UnlistedContent => {
            "The file holds something that the signed index does not account for.\nSomebody added it after the bundle was made. Do not use this copy."
        }
        Code::ReleaseUnverified => {
            "A release image has no good OpenPGP signature by a key pinned on this host, or lacks the cosign signature image that clusters demand.\nThe built-in key is the vendor's release key; name others with --release-keyring. The exceptions are --allow-unsigned-release and, when creating, --allow-missing-image-signature."
        }
        Code::ImageUnverified => {
            "The trust policy has a key for the signatures of an image, and the bundle holds no good one by it.\nCarry the image's sha256-<hex>.sig tag, or correct the key or its scope in the policy."
        }
        Code::Policy => {
            "A rule of this host forbids something in the bundle: a kind of manifest, a version, an architecture, a name.\nThe message names the rule; --allow-kind accepts a kind of manifest."
        }
        Code::IncompleteCheck => {
            "Nothing wrong was found, but a check that is required did not run (for example with --quick).\nThis is never a pass: run the full verification."
        }
        Code::Destination => {
            "The registry that is written to is unreachable or refused the data.\nWhat arrived stays there; no tag points at anything incomplete. Run the same command again to continue."
        }
        Code::Source => {
            "A registry or directory that is read from is unreachable or does not have what was asked for.\nWhat was fetched stays in NAME.partial; run the same command again to continue."
        }
        Code::Auth => {
            "A registry wants credentials, or other ones.\nLog in with podman login --authfile FILE REGISTRY and pass --authfile FILE."
        }
        Code::Conflict => {
            "Something exists there with other content and was left as it is.\n--force (create) or --overwrite (unpack) replaces it."
        }
        Code::ApplyFailed => {
            "One or more manifests were not applied to the cluster.\nThe others were; run the same command again after mending the cause."
        }
        Code::Interrupted => "Stopped by Ctrl-C.\nRun the same command again to continue.",
        Code::Terminated => "Stopped by a signal.\nRun the same command again to continue.",
    }
}
