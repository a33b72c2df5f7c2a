//! The verifier of this crate against `spec/verify.py`, which was written from the specification alone: on every
//! vector of `testdata/vectors`, and on mutations of a small bundle, raw and signed again.
//!
//! `cargo test --test second_verifier -- --ignored` runs 10,000 mutations. A file on which the two disagree is kept in
//! the folder for test output, and named.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod second;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mirror_bundle::sign::{Policy, read_public_key};
use mirror_bundle::verify::{Conditions, Resolved, Trust};

use second::{Random, SecondVerifier, forms, mutate, ours};

/// The folder for files on which the two disagree.
fn kept(name: &str, bundle: &Path) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("second-verifier");
    std::fs::create_dir_all(&folder).unwrap();
    let to = folder.join(format!("{name}.tar"));
    std::fs::copy(bundle, &to).unwrap();
    to
}

/// The arguments of a vector that both support, or `None` if the second verifier does not support them.
fn arguments(toml: &str) -> Option<Vec<String>> {
    let list = toml.lines().find_map(|line| line.strip_prefix("args = ["))?.trim_end_matches(']');
    let mut words = list.split(", ").map(|word| word.trim_matches('"').to_owned());
    let mut out = Vec::new();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--signer" | "--at" | "--allow-kind" => out.extend([word, words.next()?]),
            "--allow-unsigned" => out.push(word),
            "--trust" => out.extend(policy(&words.next()?)?),
            // About checks that are not compared.
            "--release-keyring" => _ = words.next()?,
            "--allow-unsigned-release" => {}
            _ => return None,
        }
    }
    Some(out)
}

/// What `verify.py` is given for one of the policies about removals.
fn policy(path: &str) -> Option<Vec<String>> {
    if path == "keys/trust-carrier.yaml" {
        let out = ["--signer", "keys/builder.pub", "--carrier", "keys/second.pub"];
        return Some(out.map(str::to_owned).to_vec());
    }
    let (of, two, more): (&[&str], bool, &[&str]) =
        match path.strip_prefix("keys/trust-removals")?.strip_suffix(".yaml")? {
            "" => (&["additional", "referrer", "manifests", "release"], false, &[]),
            "-none" => (&[], false, &[]),
            "-images" => (&["additional"], false, &[]),
            "-component" => (&["component:etcd"], false, &[]),
            "-review" => (&["additional"], false, &["--need-reviewer"]),
            "-two" => (&["additional"], true, &["--threshold", "2"]),
            "-both" => (&["additional"], true, &[]),
            _ => return None,
        };
    let mut out = vec!["--signer", "keys/builder.pub", "--reviewer", "keys/reviewer.pub"];
    if two {
        out.extend(["--reviewer", "keys/second.pub"]);
    }
    of.iter().for_each(|one| out.extend(["--removable", one]));
    out.extend(more);
    Some(out.into_iter().map(str::to_owned).collect())
}

fn settings(arguments: &[String], folder: &Path) -> (Trust, Conditions) {
    let mut conditions = Conditions::new(jiff::Timestamp::UNIX_EPOCH);
    let (mut keys, mut carriers) = (Vec::new(), Vec::new());
    let (mut reviewers, mut of, mut threshold, mut reviewed) = (Vec::new(), Vec::new(), 1, false);
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--signer" => keys.push(read_public_key(&folder.join(words.next().unwrap())).unwrap()),
            "--reviewer" => reviewers.push(read_public_key(&folder.join(words.next().unwrap())).unwrap()),
            "--carrier" => carriers.push(read_public_key(&folder.join(words.next().unwrap())).unwrap()),
            "--removable" => of.push(format!("'{}'", words.next().unwrap())),
            "--threshold" => threshold = words.next().unwrap().parse().unwrap(),
            "--need-reviewer" => reviewed = true,
            "--at" => conditions.now = words.next().unwrap().parse().unwrap(),
            "--allow-kind" => conditions.exceptions.kinds.push(words.next().unwrap().parse().unwrap()),
            _ => conditions.exceptions.unsigned = true,
        }
    }
    let trust = match keys.as_slice() {
        keys if !reviewers.is_empty() || !carriers.is_empty() => {
            let signers = keys.iter().map(|key| (key, "builder")).chain(reviewers.iter().map(|key| (key, "reviewer")));
            let signers = signers.chain(carriers.iter().map(|key| (key, "carrier")));
            let mut text = "signers:\n".to_owned();
            for (n, (key, role)) in signers.enumerate() {
                text += &format!("  - {{name: s{n}, roles: [{role}], key: \"{}\"}}\n", key.to_line().trim());
            }
            if !of.is_empty() {
                text += &format!("removals: {{threshold: {threshold}, of: [{}]}}\n", of.join(", "));
            }
            if reviewed {
                text += "require: [{role: builder, threshold: 1}, {role: reviewer, threshold: 1}]\n";
            }
            Trust::Policy(Resolved {
                policy: Policy::parse(text.as_bytes()).unwrap(),
                keyrings: vec![],
                image_keys: vec![],
                image_require: Default::default(),
            })
        }
        [] => Trust::Unsigned { keyrings: vec![] },
        keys => Trust::Policy(Resolved {
            policy: Policy::from_signer_keys(keys).unwrap(),
            keyrings: vec![],
            image_keys: vec![],
            image_require: Default::default(),
        }),
    };
    (trust, conditions)
}

#[test]
fn both_say_the_same_of_every_vector() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/vectors");
    let mut groups: BTreeMap<Vec<String>, Vec<PathBuf>> = BTreeMap::new();
    for entry in std::fs::read_dir(&folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "tar")
            && let Some(arguments) = arguments(&std::fs::read_to_string(path.with_extension("toml")).unwrap())
        {
            groups.entry(arguments).or_default().push(path);
        }
    }
    let mut differences = Vec::new();
    let mut compared = 0;
    for (arguments, mut bundles) in groups {
        bundles.sort();
        let settings = settings(&arguments, &folder);
        // Two at once: what takes long is starting ssh-keygen.
        std::thread::scope(|scope| {
            let halves = bundles.chunks(bundles.len().div_ceil(2)).map(|half| {
                let (arguments, settings, folder) = (&arguments, &settings, &folder);
                scope.spawn(move || {
                    let mut second = SecondVerifier::start(arguments, folder);
                    let answers = half.iter().map(|bundle| (bundle, second.ask(bundle), ours(bundle, settings)));
                    answers.filter(|(_, theirs, ours)| theirs.code != ours.code).map(difference).collect::<Vec<_>>()
                })
            });
            let halves: Vec<_> = halves.collect();
            differences.extend(halves.into_iter().flat_map(|half| half.join().unwrap()));
        });
        compared += bundles.len();
    }
    println!("{compared} vectors compared");
    assert!(differences.is_empty(), "{} of {compared} differ:\n{}", differences.len(), differences.join("\n"));
}

fn difference((bundle, theirs, ours): (&PathBuf, second::Verdict, second::Verdict)) -> String {
    format!(
        "{}: verify.py {} ({}), mirror-bundle {} ({})",
        bundle.display(),
        theirs.code,
        theirs.text,
        ours.code,
        ours.text
    )
}

fn compare_mutations(seed: u64, count: usize) {
    let scratch = tempfile::tempdir().unwrap();
    let key = mirror_bundle::sign::SecretKey::generate("second verifier").unwrap();
    let public = scratch.path().join("key.pub");
    std::fs::write(&public, key.public().to_line()).unwrap();
    let arguments = ["--signer", public.to_str().unwrap(), "--at", second::NOW].map(str::to_owned);
    let settings = settings(&arguments, scratch.path());
    let mut second = SecondVerifier::start(&arguments, scratch.path());
    let bundle = scratch.path().join("bundle.tar");

    std::fs::write(&bundle, second::model::good().archive(&key)).unwrap();
    assert_eq!((second.ask(&bundle).code, ours(&bundle, &settings).code), (0, 0), "the bundle itself is good");

    let mut random = Random(seed);
    let (mut differences, mut codes) = (Vec::new(), BTreeMap::<u8, usize>::new());
    for number in 0..count {
        let (what, bytes) = mutate::one(&mut random, &key);
        std::fs::write(&bundle, bytes).unwrap();
        second.send(&bundle);
        let ours = ours(&bundle, &settings);
        let theirs = second.hear();
        *codes.entry(ours.code).or_default() += 1;
        if theirs.code != ours.code {
            let kept = kept(&format!("{seed}-{number}"), &bundle);
            differences.push(format!("{what}: {}", difference((&kept, theirs, ours))));
        }
    }
    println!("{count} mutations: {codes:?}");
    assert!(differences.is_empty(), "{} of {count} differ:\n{}", differences.len(), differences.join("\n"));
    let accepted = codes.get(&0).copied().unwrap_or(0);
    assert!(accepted < count / 2 && codes.len() > 6, "the mutations are too tame: {codes:?}");
}

#[test]
fn both_say_the_same_of_mutated_bundles() {
    compare_mutations(1, 300);
}

#[test]
#[ignore = "takes minutes"]
fn both_say_the_same_of_ten_thousand_mutated_bundles() {
    compare_mutations(2, 10_000);
}

fn compare_forms(seed: u64, count: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/vectors");
    let arguments = ["--signer", "keys/builder.pub", "--at", second::NOW].map(str::to_owned);
    let settings = settings(&arguments, &folder);
    let mut second = SecondVerifier::start(&arguments, &folder);
    let scratch = tempfile::tempdir().unwrap();
    let bundle = scratch.path().join("bundle.tar");
    let all = forms::all(&folder);
    for form in &all {
        std::fs::write(&bundle, form.bytes()).unwrap();
        assert_eq!(
            (second.ask(&bundle).code, ours(&bundle, &settings).code),
            (42, 42),
            "the forms themselves are good"
        );
    }
    let mut random = Random(seed);
    let (mut differences, mut codes) = (Vec::new(), BTreeMap::<u8, usize>::new());
    for number in 0..count {
        let (what, bytes) = forms::one(&mut random, &all);
        std::fs::write(&bundle, bytes).unwrap();
        second.send(&bundle);
        let ours = ours(&bundle, &settings);
        let theirs = second.hear();
        *codes.entry(ours.code).or_default() += 1;
        if theirs.code != ours.code {
            let kept = kept(&format!("form-{seed}-{number}"), &bundle);
            differences.push(format!("{what}: {}", difference((&kept, theirs, ours))));
        }
    }
    println!("{count} mutations of forms: {codes:?}");
    assert!(differences.is_empty(), "{} of {count} differ:\n{}", differences.len(), differences.join("\n"));
    assert!(codes.get(&42).is_some_and(|n| *n < count / 2) && codes.len() > 6, "the mutations are too tame: {codes:?}");
}

#[test]
fn both_say_the_same_of_mutated_forms() {
    compare_forms(3, 200);
}

#[test]
#[ignore = "takes minutes"]
fn both_say_the_same_of_five_thousand_mutated_forms() {
    compare_forms(4, 5_000);
}

/// The disagreements found so far, each in its smallest form: both results, and the code that the specification
/// requires.
#[test]
fn what_the_comparison_found_stays_as_the_specification_says() {
    let scratch = tempfile::tempdir().unwrap();
    let key = mirror_bundle::sign::SecretKey::generate("second verifier").unwrap();
    let public = scratch.path().join("key.pub");
    std::fs::write(&public, key.public().to_line()).unwrap();
    let arguments = ["--signer", public.to_str().unwrap(), "--at", second::NOW].map(str::to_owned);
    let settings = settings(&arguments, scratch.path());
    let mut second = SecondVerifier::start(&arguments, scratch.path());
    let bundle = scratch.path().join("bundle.tar");
    let mut check = |what: &str, bytes: &[u8], code: u8| {
        std::fs::write(&bundle, bytes).unwrap();
        let (theirs, ours) = (second.ask(&bundle), ours(&bundle, &settings));
        assert_eq!((theirs.code, ours.code), (code, code), "{what}: {} | {}", theirs.text, ours.text);
    };
    let edited = |edit: &dyn Fn(&mut second::model::Model)| {
        let mut model = second::model::good();
        edit(&mut model);
        model.archive(&key)
    };
    let text = |from: &str, to: &str| {
        edited(&|model| {
            let good = String::from_utf8(model.index_bytes()).unwrap();
            assert!(good.contains(from));
            model.text = Some(good.replacen(from, to, 1).into_bytes());
        })
    };

    check("another size of oci-layout", &edited(&|m| m.index.files[0].size = 31), 12);
    check("a later format without what this one has", &text("\"format\": 1", "\"format\": 2, \"more\": {}"), 10);
    check(
        "a feature beside an unknown list",
        &text("\"incompatible\": []", "\"incompatible\": [\"x\"], \"y\": []"),
        10,
    );
    check("a format beyond 32 bits", &text("\"format\": 1", "\"format\": 4294967297"), 10);
    check("a format that is below zero and is not", &text("\"format\": 1", "\"format\": -0"), 12);
    check("a year that not everyone can hold", &text("2027-11-22", "9999-01-01"), 12);
    check("the last year", &text("2027-11-22", "9998-12-31"), 0);
    check("an image of another size", &edited(&|m| m.index.images[0].size += 1), 12);
    let unknown = |m: &mut second::model::Model| m.index.images[0].media_type = "text/plain".into();
    check("an image of another media type", &edited(&unknown), 12);
    let gone = |m: &mut second::model::Model| {
        let about = m.index.blobs.iter().position(|b| b.size == 700).unwrap();
        m.index.blobs.remove(about);
    };
    check("a layer that is gone", &edited(&gone), 30);

    // Padding of one blob and content of another: each is reported, and the lower code counts.
    let mut bytes = edited(&|_| {});
    let layer = bytes.windows(700).position(|w| w == [7; 700]).unwrap();
    bytes[layer + 700] = 1;
    check("padding", &bytes, 32);
    let config = bytes.windows(5).position(|w| w == b"arm64").unwrap();
    let config = bytes.windows(37).position(|w| w == br#"{"architecture":"arm64","os":"linux"}"#).unwrap_or(config);
    bytes[config] ^= 1;
    check("padding, and another blob", &bytes, 31);
    bytes[layer] ^= 1;
    check("padding and content of one blob", &bytes, 31);
}

/// Every place in a JSON value, with `other` in it.
fn everywhere(value: &serde_json::Value, other: &serde_json::Value) -> Vec<serde_json::Value> {
    use serde_json::Value;
    let mut out = Vec::new();
    let mut put = |key: &dyn Fn(&mut Value) -> Option<&mut Value>, inner: &Value| {
        for new in std::iter::once(other.clone()).chain(everywhere(inner, other)) {
            let mut all = value.clone();
            *key(&mut all).unwrap() = new;
            out.push(all);
        }
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, inner)| put(&|v| v.get_mut(name), inner)),
        Value::Array(items) => items.iter().enumerate().for_each(|(at, inner)| put(&|v| v.get_mut(at), inner)),
        _ => {}
    }
    out
}

#[test]
fn both_say_the_same_of_null_and_empty_members_everywhere() {
    let scratch = tempfile::tempdir().unwrap();
    let key = mirror_bundle::sign::SecretKey::generate("second verifier").unwrap();
    let public = scratch.path().join("key.pub");
    std::fs::write(&public, key.public().to_line()).unwrap();
    let arguments = ["--signer", public.to_str().unwrap(), "--at", second::NOW].map(str::to_owned);
    let settings = settings(&arguments, scratch.path());
    let mut second = SecondVerifier::start(&arguments, scratch.path());
    let bundle = scratch.path().join("bundle.tar");
    let (mut differences, mut compared) = (Vec::new(), 0);
    let mut compare = |what: String, bytes: &[u8]| {
        std::fs::write(&bundle, bytes).unwrap();
        second.send(&bundle);
        let ours = ours(&bundle, &settings);
        let theirs = second.hear();
        compared += 1;
        if theirs.code != ours.code {
            differences.push(format!("{what}: {}", difference((&bundle, theirs, ours))));
        }
    };
    let others = ["null", "\"\"", "{}", "[]"];
    let good = String::from_utf8(second::model::good().index_bytes()).unwrap();
    for (at, line) in good.lines().enumerate() {
        let Some((name, value)) = line.split_once(": ").filter(|(_, value)| !value.ends_with(['{', '['])) else {
            continue;
        };
        for other in others {
            let comma = if value.ends_with(',') { "," } else { "" };
            let mut lines: Vec<String> = good.lines().map(str::to_owned).collect();
            lines[at] = format!("{name}: {other}{comma}");
            let mut model = second::model::good();
            (model.text, model.derive) = (Some((lines.join("\n") + "\n").into_bytes()), false);
            compare(format!("index: {}", lines[at]), &model.archive(&key));
        }
    }
    for name in ["amd64", "inner", "signature", "referrer"] {
        for other in others {
            let other: serde_json::Value = serde_json::from_str(other).unwrap();
            let mut count = 1;
            let mut at = 0;
            while at < count {
                let mut text = String::new();
                let model = second::model::with_documents(&mut |this, good| {
                    if this != name {
                        return good;
                    }
                    let all = everywhere(&serde_json::from_str(&good).unwrap(), &other);
                    count = all.len();
                    text = all[at].to_string();
                    text.clone()
                });
                compare(format!("{name}: {text}"), &model.archive(&key));
                at += 1;
            }
        }
    }
    println!("{compared} compared");
    assert!(compared > 200 && differences.is_empty(), "of {compared} differ:\n{}", differences.join("\n"));
}
