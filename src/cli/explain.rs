//! `mirror-bundle explain`: describes a code and the remedy, without looking anything up online.

use serde_json::json;

use super::answer;
use super::args::{Global, Output};
use crate::error::{Code, Error, Result};
use crate::policy::EXAMPLE;

pub(super) fn run(what: &str, global: &Global) -> Result<u8> {
    let topic = match what {
        "exit-codes" => Some(exit_codes()),
        "environment" => Some(ENVIRONMENT.to_owned()),
        "trust" => Some(TRUST.to_owned()),
        "receipts" => Some(RECEIPTS.to_owned()),
        "rules" => Some(EXAMPLE.to_owned()),
        _ => None,
    };
    if let Some(topic) = topic {
        match global.output {
            Output::Text => answer::text(&topic),
            Output::Json | Output::Jsonl => {
                let codes: &[Code] = if what == "exit-codes" { Code::ALL } else { &[] };
                document(global, Some((what, &topic)), codes);
            }
        }
        return Ok(0);
    }
    let name = what.to_ascii_lowercase().replace('_', "-");
    if matches!(name.as_str(), "0" | "ok") && global.output == Output::Text {
        answer::text("ok (exit code 0)\n\nDone, and everything required was checked and passed.\n");
        return Ok(0);
    }
    let codes: Vec<Code> = match what.parse::<u8>() {
        Ok(exit) => Code::ALL.iter().copied().filter(|c| c.exit() == exit).collect(),
        Err(_) => Code::parse(&name).into_iter().collect(),
    };
    if codes.is_empty() {
        return Err(Error::new(Code::Usage, format!("there is no code `{what}`"))
            .hint("mirror-bundle explain exit-codes lists them all"));
    }
    if global.output != Output::Text {
        document(global, None, &codes);
        return Ok(0);
    }
    for code in codes {
        answer::text(&format!("{code} (exit code {})\n\n{}\n", code.exit(), text(code)));
    }
    Ok(0)
}

/// The JSON document: a topic with its text, or codes.
fn document(global: &Global, topic: Option<(&str, &str)>, codes: &[Code]) {
    let one = |code: &Code| json!({ "code": code.as_str(), "exit_code": code.exit(), "text": text(*code) });
    answer::json(
        global,
        &answer::Object([
            ("schema", json!("mirror-bundle/explain/v1")),
            ("topic", json!(topic.map(|(name, _)| name))),
            ("text", json!(topic.map(|(_, text)| text))),
            ("codes", json!(codes.iter().map(one).collect::<Vec<_>>())),
        ]),
    );
}

pub(super) const ENVIRONMENT: &str = "\
MIRROR_BUNDLE_TRUST   trust policy, when neither --signer nor --trust is given
MIRROR_BUNDLE_STATE   folder that records the newest bundles this host has unpacked, and what scanners found clean
                      [XDG_STATE_HOME/mirror-bundle, ~/.local/state/mirror-bundle]
MIRROR_BUNDLE_LOG     file to log to, when --log-file is not given
XDG_CONFIG_HOME       where mirror-bundle/trust.yaml is looked for next [~/.config], then in /etc
SOURCE_DATE_EPOCH     seconds: the creation time of a bundle and of every member in it
REGISTRY_AUTH_FILE    credentials, when --authfile is not given; then XDG_RUNTIME_DIR, XDG_CONFIG_HOME,
                      HOME and DOCKER_CONFIG as podman and docker use them
KUBECONFIG HOME       kubeconfig files, when --kubeconfig is not given: for apply, and unpack --apply-manifests
HTTPS_PROXY HTTP_PROXY ALL_PROXY NO_PROXY
                      proxies for registries, signature stores and clusters, in either case; NO_PROXY
                      knows CIDR
SSL_CERT_FILE SSL_CERT_DIR
                      certificates trusted instead of the system's
NO_COLOR TERM=dumb    no colour, no bar

A flag wins over the environment. verify uses no network and no proxy.
";

const TRUST: &str = "\
# trust.yaml: whom this host trusts. It never comes from a bundle. Only signers is required.
signers:
  - name: build-host
    roles: [builder]            # also reviewer, receiver; carrier: may leave out what this host has (shrink)
    key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKRXzz9JeRqFADtXeWCSD/r9jCpIZTX0UcLmo5UClnPf
    validFrom: 2026-01-01       # UTC
    validUntil: 2027-06-30      # that day included
revoked: []                     # fingerprints SHA256:... or key lines, which never count
require:                        # number of different keys, for each role
  - {role: builder, threshold: 1}
maxAge: 90d                     # since the bundle was created
bundle:
  name: ocp-4.16-x86_64         # the series that this host accepts
release:
  keyrings: [redhat]            # redhat is built in; others are files beside this one
  architectures: [amd64]
  versions: [4.16.*]
images:                         # cosign keys: images in a scope (* is all others) need a good signature,
                                # a .sig image or a Sigstore bundle (cosign 3)
  require: scoped               # or releases, or all: whether a key covers them or not
  keys:
    - {scope: registry.example.com/team, keyFile: team.pub}
    # signedIdentity: REPOSITORY  the name that signatures must have; cosign 3 signs none
rollback:
  maxStep: 2000000              # the maximum step of the sequence number
# log: /var/log/mirror-bundle.log # each run of verify, unpack, scrub and scan appends a line to it, as with --log
allowKinds: []                  # manifests beyond the default list: apps/v1/Deployment, ConfigMap:openshift-config/*
# removals:                     # what reviewers may remove (scrub); without it nothing
#   threshold: 1                # number of different keys for each thing
#   of: [additional, manifests] # also referrer, graph-data, release, component:NAME
# manifests:                    # instead of allowKinds and the default list: all that this host accepts
#   allow:
#     - {kind: ConfigMap, namespace: openshift-config-managed, name: sha256-*}
#     - {kind: ImageDigestMirrorSet}
#     - {kind: example.com/v1/Widget, scope: Cluster}

# Instead, an OpenSSH allowed_signers file is accepted too.
";

const RECEIPTS: &str = "\
A bundle for a site that has an older one need not carry what is there already. The site says what it has:

  receipt     one line and a signature, at most 700 bytes: on paper, on a stick, or as a QR code
  inventory   a list of everything in a registry that other tools filled

At the site, every month (a key of the site: mirror-bundle keygen site.key):
  mirror-bundle unpack BUNDLE --signer builder.key.pub --to REGISTRY/REPO \\
      --sign-key site.key --site-receipt site.mbr1 --qr

Where the next bundle is made, with NAME.index.json of the last one beside the receipt:
  mirror-bundle receipt --check site.mbr1 --signer site.key.pub
  mirror-bundle create NEXT --sign-key builder.key --release ... --base site.mbr1

The line:
  mbr1 INDEX-DIGEST SEQUENCE TIME REGISTRY/REPO
says: every blob of the bundle with this index was readable in this registry then. The registry was asked for each of them,
after everything was unpacked. The line alone can be typed; without the signature anyone could have written it.

Does the registry still have everything?
  mirror-bundle receipt --check site.mbr1 --signer site.key.pub --to REGISTRY/REPO

A registry that was never unpacked to, or not of a whole bundle:
  mirror-bundle inventory REGISTRY[/PATH] --sign-key site.key -o site.json
What could not be looked at is named, and not claimed. An inventory tells all that a site has: it is for the maker of the bundles only.

Whose receipts count: --signer KEY.pub, or role receiver in the trust policy (mirror-bundle explain trust).
A false or old receipt can do no harm to content: what is then missing at the site is found before anything is written there.
For the receipts of a run (--receipt), which say what was checked: docs/reviewer.md.
";

/// One line for each of these exit codes.
pub(super) fn exit_status(which: impl Fn(Code) -> bool) -> String {
    let mut out = "0    ok                  done, and everything required was checked and passed\n".to_owned();
    for code in Code::ALL.iter().filter(|code| which(**code)) {
        let first = text(*code).split(['.', '\n']).next().unwrap_or_default().to_owned();
        out.push_str(&format!("{:<4} {:<19} {first}\n", code.exit(), code.as_str()));
    }
    out
}

fn exit_codes() -> String {
    let mut out = exit_status(|_| true);
    out.push_str("\nA script needs three cases: 0, continue; 10 to 49, do not use this bundle; anything else: the\ncheck could not be completed; fix the cause and try again. ");
    out.push_str("When several of 10 to 49\napply, the exit code is the lowest: it is the most basic problem.\n");
    out
}

fn text(code: Code) -> &'static str {
    match code {
        Code::Usage => "The arguments, or a file that they name, cannot be used. Nothing was done.",
        Code::Io => {
            "A local file could not be read or written.\nA missing path, a permission, a full disk, a bad medium. What was finished stays; fix the cause and run the same command again."
        }
        Code::Internal => {
            "A bug in mirror-bundle. Only complete files and images have their final names and tags.\nPlease report it with the command, the version (mirror-bundle --version) and the message."
        }
        Code::NotABundle => {
            "The file is not a mirror-bundle, or not one that this version can read.\nIt may have a later format, or need a feature that this program does not know. Bring a newer mirror-bundle across together with the bundle."
        }
        Code::Truncated => {
            "The file is shorter than its index says. The copy to the medium did not finish.\nCopy it again and compare sizes; lengths are compared before anything is hashed or written. Or repair it from recovery data, another copy or a registry: mirror-bundle repair BUNDLE."
        }
        Code::Malformed => {
            "Something in the bundle violates its format.\nAn unsafe path, a name twice, a size over a limit, a document that contradicts another.\nThis program never makes such a bundle: it was damaged, or made by something else. Do not use it.\nFor a receipt or a log: it is not as it was written. The message names the line; compare with filed sheets and other receipts."
        }
        Code::AmbiguousLayer => {
            "A layer is an archive that tar readers see different files or contents in.\nSomeone may hide files from a scanner or a reviewer this way. Both readings are shown and scanned: ls --files marks those of the second with other-reading. Do not use the image unless its maker explains it."
        }
        Code::Unsigned => {
            "The bundle has no signature, so anyone could have made it.\nAsk the builder for a signed one (create --sign-key), or accept it with --allow-unsigned, which the report records."
        }
        Code::BadSignature => {
            "The index was changed after it was signed, or damaged.\nDo not use this copy. Compare the digest of the index with the builder over another channel before you ask for another copy."
        }
        Code::Untrusted => {
            "The signatures are valid, but too few are by keys that this host trusts.\nIf a signer has a new key, get its public key separately from this medium, and add it with --signer or to the trust policy."
        }
        Code::Expired => {
            "A key, a signature or the bundle has expired, or is dated in the future.\nCheck this host's clock, or give the time with --at. Otherwise ask the builder for a newer bundle."
        }
        Code::Rollback => {
            "This host unpacked a newer bundle of this series, or one with its number.\nSomeone may be replaying an old bundle. --allow-rollback accepts a lower number, and the report records it; two bundles with the same number are never accepted.\nWhen a host serves several clusters that are upgraded at different times, give each a memory of its own: MIRROR_BUNDLE_STATE=DIR."
        }
        Code::BlobMissing => {
            "Something that an image needs is not in the bundle.\nIf the bundle leaves out what the receiver has (inspect shows it): unpack the bundle before it first, or give that with --base. Otherwise get it from recovery data, another copy or a registry: mirror-bundle repair BUNDLE. Or ask for another bundle."
        }
        Code::BlobMismatch => {
            "Content does not match the digest that names it.\nOne damaged blob is usually the medium: copy the bundle again, or repair it: mirror-bundle repair BUNDLE. Many, or a bad signature as well, are usually not."
        }
        Code::UnlistedContent => {
            "The file contains something that its index does not list.\nSomeone added it after the bundle was made. Do not use this copy."
        }
        Code::Removed => {
            "Something was removed by keys that may not remove it on this host.\nThe message names the statement and its signer. If you expect the removal, give the key the role reviewer in the trust policy, and say under removals what may be removed. Otherwise ask for the whole bundle."
        }
        Code::Found => {
            "A scanner found something in the bundle.\nThe answer of scan names each content with its images, path, layer and digest. Do not unpack the bundle: ask the builder what it is, and for another bundle without it."
        }
        Code::ReleaseUnverified => {
            "A release has no good signature by a key that this host accepts.\nOr, at create, it lacks the cosign signature image that clusters require from 4.21 on.\nThe built-in key is the vendor's release key; name others with --release-keyring. The exceptions are --allow-unsigned-release and, at create, --allow-missing-image-signature."
        }
        Code::ImageUnverified => {
            "An image has no good signature by its key in the trust policy.\nCarry the image's signature (its sha256-<hex>.sig tag; with cosign 3, its referrers), or correct the key or its scope in the policy."
        }
        Code::Policy => {
            "A rule of this host forbids something in the bundle.\nA kind of manifest, a version, an architecture, a name. The message names the rule; --allow-kind accepts a kind of manifest. A finding of a rule of --policy is open until it is removed, or accepted in that file for a time; mirror-bundle explain rules shows how."
        }
        Code::RiskFact => {
            "Something in an image is worth a look; it is a notice, and no error.\nA private key, a program for Windows or macOS, a name with control or reordering characters, a link that leads out of the image."
        }
        Code::PackagesUnreadable => {
            "A package database of an image cannot be read: its list is incomplete.\nThe message names the file, its layer and the reason; the SBOM lists it under what is not known. sbom ends with 42 for it. Look at the image with the tools of its distribution, or ask its maker."
        }
        Code::IncompleteCheck => {
            "Nothing wrong was found, but a required check did not run.\nFor example because of --quick, or because the bundle leaves out what the receiver has and no --base has it. This is never a pass: run the full verification, or unpack it where the rest is."
        }
        Code::Destination => {
            "The destination registry or cluster is unreachable, or refused the data.\nWhat arrived stays there; no tag points at anything incomplete. When the cause is fixed, run the same command again to resume."
        }
        Code::Source => {
            "The source is unreachable, or lacks what was requested.\nWhat was fetched stays in NAME.partial; run the same command again to resume."
        }
        Code::Auth => {
            "A registry or a cluster needs credentials, or rejected those it got.\nRegistry: log in with podman login --authfile FILE REGISTRY and pass --authfile FILE. Cluster: log in with oc login, or have the rights granted that the message names (docs/apply.md lists all)."
        }
        Code::Conflict => {
            "Something already exists with other content, and was left as it is.\n--force (create) or --overwrite (unpack) replaces it. On a cluster: apply --dry-run shows what differs and who owns it, --overwrite changes it, and what others have added stays."
        }
        Code::PartlyUnpacked => {
            "Images and tags are complete; the registry refused an attachment.\nA signature, an attestation or another referrer; the warnings name each with the registry's answer. If they are not needed, --without-referrers leaves them out, and the exit code is 0."
        }
        Code::ApplyFailed => {
            "One or more manifests were not applied to the cluster.\nThe messages name each with the answer of the cluster, and the last line says what state the cluster is in. If the content is refused, correct the manifest where it is written, and make the bundle again. In all other cases remove the cause and run the same command again: what is there already is left alone, and the rest is done. --continue-on-error applies the rest now."
        }
        Code::Interrupted => "Stopped by Ctrl-C.\nRun the same command again to resume.",
        Code::Terminated => "Stopped by a signal.\nRun the same command again to resume.",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_example_of_a_trust_policy_is_one() {
        let policy = crate::sign::policy::Policy::parse(TRUST.as_bytes()).unwrap();
        assert_eq!(policy.signers().len(), 1);
    }

    #[test]
    fn the_table_of_exit_codes_fits_a_terminal() {
        for line in exit_codes().lines().take(Code::ALL.len() + 1) {
            assert!(line.len() <= 100, "{line}");
        }
    }
}
