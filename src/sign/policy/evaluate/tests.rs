#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::sign::{SecretKey, sign};

const INDEX: &[u8] = b"{\"index\":1}\n";
const NOW: &str = "2026-11-22T12:00:00Z";

fn secret(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32], "")
}

fn entry(name: &str, seed: u8, role: &str, more: &str) -> String {
    format!("  - {{name: {name}, roles: [{role}], key: \"{}\"{more}}}\n", secret(seed).public().to_line())
}

fn policy(signers: &[String], rest: &str) -> Policy {
    Policy::from_yaml(format!("signers:\n{}{rest}", signers.concat()).as_bytes()).unwrap()
}

/// A builder (1), a second builder (2) and a reviewer (3); two builders and a reviewer are required.
fn strict() -> Policy {
    policy(
        &[entry("b1", 1, "builder", ""), entry("b2", 2, "builder", ""), entry("r", 3, "reviewer", "")],
        "require:\n  - {role: builder, threshold: 2}\n  - {role: reviewer, threshold: 1}\n",
    )
}

fn simple() -> Policy {
    policy(&[entry("b1", 1, "builder", ""), entry("r", 3, "reviewer", "")], "")
}

fn by(seed: u8, role: Role) -> String {
    sign(&secret(seed), Namespace::Index(role), &MessageHash::of(INDEX))
}

fn over(seed: u8, message: &[u8]) -> String {
    sign(&secret(seed), Namespace::Index(Role::Builder), &MessageHash::of(message))
}

fn evaluate(policy: &Policy, signatures: &[String]) -> Evaluation {
    evaluate_at(policy, signatures, NOW)
}

fn evaluate_at(policy: &Policy, signatures: &[String], now: &str) -> Evaluation {
    let list: Vec<(&str, &[u8])> = signatures.iter().map(|text| ("here", text.as_bytes())).collect();
    policy.evaluate(&list, INDEX, now.parse().unwrap())
}

fn outcomes(evaluation: &Evaluation) -> Vec<Outcome> {
    evaluation.signatures.iter().map(|one| one.outcome).collect()
}

#[test]
fn enough_distinct_keys_in_each_role_are_accepted() {
    let all = [by(1, Role::Builder), by(2, Role::Builder), by(3, Role::Reviewer)];
    let evaluation = evaluate(&strict(), &all);
    assert_eq!(evaluation.verdict, Ok(()));
    assert_eq!(outcomes(&evaluation), [Outcome::Good; 3]);
    let need = |role, have, need| Need { role, have, need };
    assert_eq!(evaluation.satisfied, [need(Role::Builder, 2, 2), need(Role::Reviewer, 1, 1)]);
    assert_eq!(evaluation.signatures[0].signer.as_deref(), Some("b1"));
    assert!(evaluation.error("x").is_none());
    for missing in 0..3 {
        let mut some = all.to_vec();
        some.remove(missing);
        let evaluation = evaluate(&strict(), &some);
        assert_eq!(evaluation.verdict, Err(Code::Untrusted));
        assert!(evaluation.error("x").unwrap().message().contains("required signatures as"));
    }
}

#[test]
fn no_signature_is_unsigned() {
    let evaluation = evaluate(&simple(), &[]);
    assert_eq!(evaluation.verdict, Err(Code::Unsigned));
    assert_eq!(evaluation.error("b.tar").unwrap().message(), "`b.tar` has no signature");
}

#[test]
fn one_key_counts_once_however_often_it_signs_or_is_named() {
    let twice = policy(
        &[entry("one", 1, "builder", ""), entry("two", 1, "builder", ""), entry("b2", 2, "builder", "")],
        "require: [{role: builder, threshold: 2}]\n",
    );
    let evaluation = evaluate(&twice, &[by(1, Role::Builder), by(1, Role::Builder)]);
    assert_eq!(evaluation.verdict, Err(Code::Untrusted));
    assert_eq!(evaluation.satisfied[0].have, 1);
    assert_eq!(evaluate(&twice, &[by(1, Role::Builder), by(2, Role::Builder)]).verdict, Ok(()));
}

#[test]
fn a_strangers_signature_is_untrusted_and_named() {
    let evaluation = evaluate(&simple(), &[by(9, Role::Builder)]);
    assert_eq!(evaluation.verdict, Err(Code::Untrusted));
    assert_eq!(outcomes(&evaluation), [Outcome::UnknownKey]);
    let err = evaluation.error("b.tar").unwrap();
    assert_eq!(err.message(), "`b.tar` is signed, but not by a key you trust");
    assert!(err.facts()[0].contains(&secret(9).public().fingerprint()), "{err:?}");
    assert!(err.facts()[1].contains(&secret(1).public().fingerprint()), "{err:?}");
}

#[test]
fn a_known_keys_signature_over_other_bytes_is_a_bad_signature() {
    let evaluation = evaluate(&simple(), &[over(1, b"{\"index\":2}\n")]);
    assert_eq!(evaluation.verdict, Err(Code::BadSignature));
    assert_eq!(outcomes(&evaluation), [Outcome::Bad]);
    let err = evaluation.error("b.tar").unwrap();
    assert_eq!(err.message(), "the index of `b.tar` does not match its signature by b1");
    // Together with a stranger's valid signature it is still the most basic problem.
    assert_eq!(evaluate(&simple(), &[by(9, Role::Builder), over(1, b"x")]).verdict, Err(Code::BadSignature));
}

#[test]
fn a_bad_signature_is_reported_and_does_not_undo_a_threshold_that_others_meet() {
    let evaluation = evaluate(&simple(), &[over(1, b"x"), by(1, Role::Builder), over(9, b"x"), "junk".to_owned()]);
    assert_eq!(evaluation.verdict, Ok(()));
    assert_eq!(outcomes(&evaluation), [Outcome::Bad, Outcome::Good, Outcome::Bad, Outcome::Malformed]);
}

#[test]
fn only_damaged_signatures_are_a_bad_signature() {
    for list in [vec!["junk".to_owned()], vec![over(9, b"x")], vec![String::new(), over(9, b"x")]] {
        let evaluation = evaluate(&simple(), &list);
        assert_eq!(evaluation.verdict, Err(Code::BadSignature));
        assert_eq!(evaluation.error("b.tar").unwrap().message(), "no signature of `b.tar` is intact");
    }
    assert_eq!(evaluate(&simple(), &["junk".to_owned(), by(9, Role::Builder)]).verdict, Err(Code::Untrusted));
}

#[test]
fn a_signature_in_a_role_that_its_key_does_not_have_does_not_count() {
    for role in [Role::Reviewer, Role::Receiver] {
        let evaluation = evaluate(&simple(), &[by(1, role)]);
        assert_eq!(outcomes(&evaluation), [Outcome::WrongRole]);
        assert_eq!(evaluation.verdict, Err(Code::Untrusted));
    }
    assert_eq!(outcomes(&evaluate(&simple(), &[by(3, Role::Builder)])), [Outcome::WrongRole]);
}

#[test]
fn a_signature_for_a_review_record_is_none_over_the_index_and_the_other_way_round() {
    let hash = MessageHash::of(INDEX);
    let record = sign(&secret(1), Namespace::Record, &hash);
    let evaluation = evaluate(&simple(), std::slice::from_ref(&record));
    assert_eq!(outcomes(&evaluation), [Outcome::WrongRole]);
    assert_eq!(evaluation.verdict, Err(Code::Untrusted));
    let now = NOW.parse().unwrap();
    let policy = simple();
    let as_record = |text: &str, role| policy.evaluate_record("r", text.as_bytes(), &hash, role, now).outcome;
    assert_eq!(as_record(&record, Role::Builder), Outcome::Good);
    assert_eq!(as_record(&record, Role::Reviewer), Outcome::WrongRole);
    assert_eq!(as_record(&by(1, Role::Builder), Role::Builder), Outcome::WrongRole);
}

#[test]
fn a_revoked_key_does_not_count_by_fingerprint_or_by_line() {
    let keys = [entry("b1", 1, "builder", ""), entry("b2", 2, "builder", "")];
    for revoked in [secret(1).public().fingerprint(), secret(1).public().to_line()] {
        let policy = policy(&keys, &format!("revoked: [\"{revoked}\"]\n"));
        let evaluation = evaluate(&policy, &[by(1, Role::Builder)]);
        assert_eq!(outcomes(&evaluation), [Outcome::Revoked]);
        assert_eq!(evaluation.verdict, Err(Code::Untrusted));
        assert_eq!(evaluate(&policy, &[by(1, Role::Builder), by(2, Role::Builder)]).verdict, Ok(()));
    }
}

#[test]
fn a_key_counts_from_its_first_to_just_before_its_last_instant() {
    let times = ", validFrom: 2026-01-01, validUntil: 2026-10-31";
    let policy = policy(&[entry("b1", 1, "builder", times)], "");
    for (now, outcome, verdict) in [
        ("2025-12-31T23:59:59Z", Outcome::NotYetValid, Err(Code::Expired)),
        ("2026-01-01T00:00:00Z", Outcome::Good, Ok(())),
        ("2026-10-31T23:59:59Z", Outcome::Good, Ok(())),
        ("2026-11-01T00:00:00Z", Outcome::Expired, Err(Code::Expired)),
        ("1970-01-01T00:00:00Z", Outcome::NotYetValid, Err(Code::Expired)),
    ] {
        let evaluation = evaluate_at(&policy, &[by(1, Role::Builder)], now);
        assert_eq!((outcomes(&evaluation).as_slice(), evaluation.verdict), (&[outcome][..], verdict), "{now}");
    }
    let err = evaluate(&policy, &[by(1, Role::Builder)]).error("x").unwrap();
    assert_eq!(err.message(), "the key of b1 expired on 2026-10-31 (22 days ago)");
}

#[test]
fn expired_is_the_reason_only_when_time_alone_prevents_it() {
    let policy = policy(
        &[entry("b1", 1, "builder", ", validUntil: 2026-10-31"), entry("r", 3, "reviewer", "")],
        "require: [{role: builder, threshold: 1}, {role: reviewer, threshold: 1}]\n",
    );
    let late = by(1, Role::Builder);
    assert_eq!(evaluate(&policy, &[late.clone(), by(3, Role::Reviewer)]).verdict, Err(Code::Expired));
    assert_eq!(evaluate(&policy, std::slice::from_ref(&late)).verdict, Err(Code::Untrusted), "the reviewer is missing");
    assert_eq!(evaluate(&policy, &[late, over(1, b"x"), by(3, Role::Reviewer)]).verdict, Err(Code::BadSignature));
}

#[test]
fn a_key_with_two_periods_is_evaluated_by_both() {
    let policy = policy(
        &[
            entry("old", 1, "builder", ", validUntil: 2026-01-31"),
            entry("new", 1, "builder", ", validFrom: 2026-11-01, validUntil: 2026-12-31"),
        ],
        "",
    );
    let evaluation = evaluate(&policy, &[by(1, Role::Builder)]);
    assert_eq!(evaluation.signatures[0].signer.as_deref(), Some("new"));
    assert_eq!(evaluation.verdict, Ok(()));
    assert_eq!(
        outcomes(&evaluate_at(&policy, &[by(1, Role::Builder)], "2026-06-01T00:00:00Z")),
        [Outcome::NotYetValid]
    );
    assert_eq!(outcomes(&evaluate_at(&policy, &[by(1, Role::Builder)], "2027-06-01T00:00:00Z")), [Outcome::Expired]);
}

#[test]
fn more_than_sixteen_signatures_are_malformed_and_not_evaluated() {
    let good = by(1, Role::Builder);
    assert_eq!(evaluate(&simple(), &vec![good.clone(); MAX_SIGNATURES]).verdict, Ok(()));
    let evaluation = evaluate(&simple(), &vec![good; MAX_SIGNATURES + 1]);
    assert_eq!(evaluation.verdict, Err(Code::Malformed));
    assert!(evaluation.signatures.is_empty());
    assert_eq!(evaluation.error("x").unwrap().code(), Code::Malformed);
}

#[test]
fn keys_of_signer_flags_and_allowed_signers_are_evaluated_the_same_way() {
    let keys = [secret(1).public().clone(), secret(2).public().clone()];
    let flags = Policy::from_signer_keys(&keys).unwrap();
    assert_eq!(evaluate(&flags, &[by(2, Role::Builder)]).verdict, Ok(()), "any one of them is enough");
    assert_eq!(evaluate(&flags, &[by(2, Role::Reviewer)]).verdict, Err(Code::Untrusted));
    assert_eq!(evaluate(&flags, &[by(3, Role::Builder)]).verdict, Err(Code::Untrusted));
    let file = format!("alice valid-before=\"20261031Z\" {}\n", secret(1).public().to_line());
    let file = Policy::parse(file.as_bytes()).unwrap();
    assert_eq!(evaluate(&file, &[by(1, Role::Builder)]).verdict, Err(Code::Expired));
    assert_eq!(evaluate_at(&file, &[by(1, Role::Builder)], "2026-10-01T00:00:00Z").verdict, Ok(()));
}

#[test]
fn a_revoked_key_is_named_as_such_even_when_its_signature_is_of_a_kind_that_is_not_accepted() {
    use crate::sign::armor;
    let blob = armor::decode("SSH SIGNATURE", by(1, Role::Builder).as_bytes()).unwrap();
    let at = blob.windows(6).position(|window| window == b"sha512").unwrap();
    let mut other = blob.to_vec();
    other[at..at + 6].copy_from_slice(b"sha256");
    let weak = armor::encode("SSH SIGNATURE", &other).to_string();
    let keys = [entry("b1", 1, "builder", ""), entry("b2", 2, "builder", "")];
    let revoked = format!("revoked: [\"{}\"]\n", secret(1).public().fingerprint());
    for (rest, outcome) in [("", Outcome::UnknownKey), (revoked.as_str(), Outcome::Revoked)] {
        let evaluation = evaluate(&policy(&keys, rest), std::slice::from_ref(&weak));
        assert_eq!(outcomes(&evaluation), [outcome]);
        assert_eq!(evaluation.signatures[0].signer.as_deref(), Some("b1"));
        assert_eq!(evaluation.verdict, Err(Code::Untrusted));
    }
}
