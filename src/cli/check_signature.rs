//! `mirror-bundle check-signature`

use super::answer::{self, Table};
use super::args::{CheckSignature, Global, Output};
use super::inputs;
use super::term::Terminal;
use crate::error::{Code, Error, Result};
use crate::oci::Digest;
use crate::openshift::openpgp::{self, Rejected, Verified};
use crate::ops::Observer;

pub(super) fn run(args: &CheckSignature, global: &Global, term: &Terminal) -> Result<u8> {
    let digest: Digest =
        args.digest.parse().map_err(|e: crate::oci::Invalid| Error::new(Code::Usage, format!("--digest: {e}")))?;
    let keyrings = crate::host::trust::keyrings(&args.release_keyring)?;
    let now = inputs::moment(args.at.as_deref())?.as_second();
    let bytes = match inputs::read(&args.file, openpgp::MAX_SIGNATURE_BYTES as u64) {
        Err(e) if e.code() == Code::Usage => {
            Err(Rejected::NotASignature("the file is larger than a release signature may be".to_owned()))
        }
        other => Ok(other?),
    };
    let check = |bytes: Vec<u8>| {
        let each = keyrings.iter().map(|keyring| openpgp::verify(&bytes, keyring, &digest, now));
        each.reduce(Result::or)
    };
    let result = match bytes {
        Ok(bytes) => check(bytes),
        Err(rejected) => Some(Err(rejected)),
    };
    match result {
        Some(Ok(verified)) => {
            verified.notices.iter().for_each(|notice| term.warn(notice));
            show(args, global, &verified);
            Ok(0)
        }
        Some(Err(rejected)) => {
            let err = Error::from(rejected);
            if global.output != Output::Text {
                refused(global, &digest, &err);
            }
            Err(err)
        }
        None => Err(Error::new(Code::Internal, "no keyring")),
    }
}

/// The document of a signature that is not good; the same members as for a good one.
fn refused(global: &Global, digest: &Digest, err: &Error) {
    let none = serde_json::Value::Null;
    answer::json(
        global,
        &answer::Object([
            ("schema", serde_json::json!("mirror-bundle/check-signature/v1")),
            ("exit_code", serde_json::json!(err.code().exit())),
            ("outcome", serde_json::json!("bad")),
            ("reason", serde_json::json!(err.message())),
            ("digest", serde_json::json!(digest)),
            ("docker_reference", none.clone()),
            ("key", none.clone()),
            ("user_id", none.clone()),
            ("signed_at", none),
            ("notices", serde_json::json!([])),
        ]),
    );
}

fn show(args: &CheckSignature, global: &Global, verified: &Verified) {
    let signed_at = jiff::Timestamp::from_second(verified.signed_at).map(|t| t.to_string()).unwrap_or_default();
    let reference = verified.claim.docker_reference.to_string();
    match global.output {
        Output::Json | Output::Jsonl => answer::json(
            global,
            &answer::Object([
                ("schema", serde_json::json!("mirror-bundle/check-signature/v1")),
                ("exit_code", serde_json::json!(0)),
                ("outcome", serde_json::json!("good")),
                ("reason", serde_json::Value::Null),
                ("digest", serde_json::json!(verified.claim.digest)),
                ("docker_reference", serde_json::json!(reference)),
                ("key", serde_json::json!(verified.fingerprint)),
                ("user_id", serde_json::json!(verified.user_id)),
                ("signed_at", serde_json::json!(signed_at)),
                ("notices", serde_json::json!(verified.notices)),
            ]),
        ),
        Output::Text if global.quiet < 2 => {
            let mut table = Table::default();
            table.row("good", args.file.display().to_string());
            table.row("digest", verified.claim.digest.to_string());
            table.row("for", reference);
            table.row("signed", format!("{signed_at} by {}", verified.user_id.as_deref().unwrap_or("an unnamed key")));
            table.row("key", &verified.fingerprint);
            answer::text(&table.render());
        }
        Output::Text => {}
    }
}
