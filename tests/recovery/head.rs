//! A damaged head: index, signature, headers. It is restored from recovery data or another copy only if a trusted key
//! signed it and the rest of the bundle shows that it belongs to it.

use mirror_bundle::bundle::layout;

use crate::kit::Kit;

#[test]
fn every_block_of_a_damaged_head_is_repaired_from_recovery_data_and_from_a_copy() {
    let kit = Kit::new();
    kit.copy("b.tar", "copy.tar");
    let (whole, blueprint) = (kit.read("b.tar"), kit.blueprint());
    let head = blueprint.layout.members().iter().find(|m| m.path == layout::SUMS).unwrap().end();
    for (n, block) in (0..head).step_by(512).enumerate() {
        kit.write("b.tar", &whole);
        kit.damage("b.tar", |bytes| bytes[block as usize..][..512].fill(0xa5));
        let from = if n % 2 == 0 { ["--recovery", "r"] } else { ["--from", "copy.tar"] };
        kit.repair(&from).is(0).says("VERIFIED");
        assert!(kit.read("b.tar") == whole, "{block}");
    }
    // All of it at once, and more.
    for (from, n) in [(["--recovery", "r"], head as usize + 9000), (["--from", "copy.tar"], 400_000)] {
        kit.zero("b.tar", 0, n);
        let answer = kit.repair(&[&from[..], &["-o", "json"]].concat()).is(0).json()["repaired"].clone();
        assert_eq!(answer["head_from"], from[1]);
        assert!(kit.read("b.tar") == whole);
    }
}

#[test]
fn without_help_a_damaged_head_is_refused_as_verify_refuses_it() {
    let kit = Kit::new();
    let (whole, blueprint) = (kit.read("b.tar"), kit.blueprint());
    let index = &blueprint.layout.members()[1];
    for (at, code) in [(3, 10), (index.header + 3, 12), (index.data() + 40, 21)] {
        kit.write("b.tar", &whole);
        kit.flip("b.tar", at);
        let before = kit.files("b.tar");
        kit.repair(&[]).is(code).says("nothing was changed");
        assert_eq!(kit.files("b.tar"), before);
    }
}

#[test]
fn trust_is_asked_for_as_verify_asks_for_it() {
    let kit = Kit::new();
    kit.zero("b.tar", 40_960, 4096);
    let before = kit.files("b.tar");
    kit.run(&["repair", "b.tar", "--recovery", "r"]).is(2).says("no trusted key");
    kit.run(&["repair", "b.tar", "--recovery", "r", "--signer", "reviewer.pub"]).is(22);
    assert_eq!(kit.files("b.tar"), before);
    // An index without a trusted signature is not restored from anywhere either.
    kit.flip("b.tar", 1024 + 512 + 100);
    let before = kit.files("b.tar");
    let ran = kit.run(&["repair", "b.tar", "--recovery", "r", "--signer", "reviewer.pub"]);
    assert!(matches!(ran.code, 21 | 22), "{ran:?}");
    assert_eq!(kit.files("b.tar"), before);
}

#[test]
fn the_head_of_another_bundle_is_not_put_in_the_place_of_a_damaged_one() {
    let kit = Kit::new();
    kit.create("newer.tar", "newer", &["--sequence", "6"]);
    kit.run(&["recovery", "newer.tar"]).is(0);
    kit.copy("b.tar", "whole.tar");
    kit.zero("b.tar", 0, 2000);
    let before = kit.files("b.tar");
    for from in [["--recovery", "newer.tar.recovery"], ["--from", "newer.tar"]] {
        kit.repair(&from).is(2).says("do not show that it is the bundle of");
    }
    // Nothing identifying is left.
    kit.damage("b.tar", |bytes| bytes.iter_mut().step_by(7).for_each(|b| *b ^= 1));
    kit.repair(&["--recovery", "r"]).is(2).says("--expect-index");
    kit.write("b.tar", &before["b.tar"]);
    let index = kit.run(&["inspect", "whole.tar", "-o", "json"]).is(0).json()["index"].as_str().map(str::to_owned);
    let index = index.unwrap_or_else(|| {
        mirror_bundle::bundle::Bundle::open(&kit.path("whole.tar")).unwrap().head().digest().to_string()
    });
    kit.damage("b.tar", |bytes| bytes[..60_000].fill(0x20));
    kit.repair(&["--from", "whole.tar", "--expect-index", &index]).is(0);
    assert_eq!(kit.read("b.tar"), kit.read("whole.tar"));
}

#[test]
fn of_an_unsigned_bundle_a_damaged_index_is_not_believed() {
    let kit = Kit::new();
    kit.remove("b.tar");
    kit.run(&["create", "b.tar", "-q", "--unsigned", "--from-layout", "layout", "--recovery", "10"]).is(0);
    let whole = kit.read("b.tar");
    // A digit of a digest: the index still reads like one.
    let index = kit.blueprint().layout.members()[1].clone();
    let at = whole[index.data() as usize..].windows(7).rposition(|w| w == b"sha256:").unwrap();
    let text = String::from_utf8_lossy(&whole[index.data() as usize..][..index.size as usize]).into_owned();
    let digit = text.rfind("sha256:").unwrap() + 20;
    assert!(at > digit);
    kit.damage("b.tar", |bytes| {
        let byte = &mut bytes[index.data() as usize + digit];
        *byte = if *byte == b'0' { b'1' } else { b'0' };
    });
    kit.run(&["repair", "b.tar", "--allow-unsigned"]).is(0).says("from b.tar.recovery");
    assert!(kit.read("b.tar") == whole);
}
