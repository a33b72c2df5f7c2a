//! Who signs for a removal, and what a host remembers of it.

use super::*;

#[test]
fn a_second_reviewer_signs_for_the_same_removal_where_a_host_wants_two() {
    let desk = Desk::with_bundle();
    let scrub = |from: &str, to: &str, key: &str, what: &[&str]| {
        let mut args = vec!["scrub", from, to, "--reason", WHY, "--sign-key", key];
        what.iter().for_each(|one| args.extend(["--remove", one]));
        desk.with("removals-two", &args)
    };
    let verify = |bundle: &str| desk.with("removals-two", &["verify", bundle]);
    scrub("b.tar", "one.tar", "reviewer", &["app:1.0", "tiny"]).is(0);
    verify("one.tar").is(33).says("1 of 2 required keys");
    scrub("one.tar", "no.tar", "reviewer", &["app:1.0", "tiny"]).is(2).says("this key has removed it already");
    scrub("one.tar", "no.tar", "second", &["app:1.0"]).is(2).says("removes more than what you named").says("tiny");
    scrub("one.tar", "no.tar", "stranger", &["app:1.0", "tiny"]).is(0);
    verify("no.tar").is(33);
    assert!(fs::remove_file(desk.path("no.tar")).is_ok());
    scrub("one.tar", "two.tar", "second", &["app:1.0", "tiny"]).is(0);
    verify("two.tar").is(0).says("removed by review-desk").says("removed by second-desk");
    let bytes = fs::read(desk.path("two.tar")).unwrap();
    let first = member(&bytes, "mirror-bundle/removal-1.json");
    assert_eq!(first, member(&fs::read(desk.path("one.tar")).unwrap(), "mirror-bundle/removal-1.json"));
    // The other order, and something that only the second removes and the first signs for later.
    scrub("one.tar", "more.tar", "second", &["app:1.0", "tiny", "other:1.0"]).is(2);
    scrub("b.tar", "a.tar", "second", &["tiny"]).is(0);
    scrub("a.tar", "ab.tar", "reviewer", &["tiny", "app:1.0"]).is(0);
    verify("ab.tar").is(33).says("1 of 2 required keys");
    scrub("ab.tar", "abc.tar", "second", &["app:1.0"]).is(2).says("tiny");
}

#[test]
fn a_key_that_signed_without_condition_cannot_exclude() {
    let desk = Desk::with_bundle();
    fs::copy(desk.path("b.tar"), desk.path("c.tar")).unwrap();
    desk.with("removals", &["sign", "c.tar", "--sign-key", "reviewer"]).is(0);
    desk.exclude("c.tar", "app:1.0", &[]).is(2).says("without condition").says("scrub BUNDLE OUT");
    desk.scrub("c.tar", "out.tar", &["app:1.0"]).is(0);
    // And the other way round.
    desk.exclude("b.tar", "app:1.0", &[]).is(0);
    desk.with("removals", &["sign", "b.tar", "--sign-key", "reviewer"]).is(2).says("counts as its signature");
}

#[test]
fn a_key_that_signed_beside_the_bundle_cannot_exclude_whatever_the_bundle_is_called() {
    let desk = Desk::with_bundle();
    fs::rename(desk.path("b.tar"), desk.path("removal-b.tar")).unwrap();
    desk.with("removals", &["sign", "removal-b.tar", "--sign-key", "reviewer", "--detach"]).is(0);
    desk.exclude("removal-b.tar", "app:1.0", &["--detach"]).is(2).says("without condition");
}

#[test]
fn a_host_remembers_what_was_removed() {
    let desk = Desk::with_bundle();
    let unpack = |bundle: &str, more: &[&str]| {
        desk.with("removals", &[&["unpack", bundle, "-q", "--to-dir", "d", "--overwrite"], more].concat())
    };
    desk.scrub("b.tar", "out.tar", &["app:1.0"]).is(0);
    unpack("b.tar", &[]).is(0);
    unpack("out.tar", &[]).is(0);
    desk.verify("b.tar").is(23).says("rollback");
    unpack("b.tar", &[]).is(23).says("without something that was removed");
    desk.verify("out.tar").is(0);
    unpack("b.tar", &["--allow-rollback"]).is(0);
    desk.verify("b.tar").is(0);
}
