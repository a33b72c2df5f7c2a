//! The receipt of a site.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use support::skip::have;

#[test]
fn unpack_ends_with_a_receipt_that_the_site_signed_and_that_its_registry_confirms() {
    let (host, registry) = (Host::new(), Registry::start());
    let to = format!("{}/m", registry.host());
    let ran = host.unpack(&to, &["--site-receipt", "r.mbr1", "--sign-key", "site", "-o", "json"]).is(0);
    let answer = ran.json();
    fits(&answer, "unpack.json");
    let text = host.text("r.mbr1");
    assert!(text.len() <= 700, "{}", text.len());
    let line = text.lines().next().unwrap();
    let fields: Vec<&str> = line.split(' ').collect();
    assert_eq!(fields[..3], ["mbr1", &host.index("b.tar"), "7"]);
    assert_eq!(fields[4], to);
    let said = &answer["unpacked"]["site_receipt"];
    assert_eq!((said["line"].as_str(), said["text"].as_str()), (Some(line), Some(text.as_str())));
    // Printed too, also without a file; and OpenSSH accepts the signature.
    let printed = host.unpack(&to, &["--sign-key", "site"]).is(0);
    let begin = printed.out.find("mbr1 ").expect("it is printed");
    assert!(printed.out[begin..].contains("-----END SSH SIGNATURE-----\n"));
    let signature = text.split_once('\n').unwrap().1;
    host.write("r.sig", signature);
    host.write("line", format!("{line}\n"));
    host.write("allowed", format!("site namespaces=\"mirror-bundle.v1.receiver\" {}", host.text("site.pub")));
    let script = "ssh-keygen -Y verify -f allowed -I site -n mirror-bundle.v1.receiver -s r.sig < line";
    host.tool("sh", &["-c", script]).is(0);

    let checked = host.ask("r.mbr1", &to, &["-o", "json"]).is(0).json();
    fits(&checked, "site-check.json");
    assert_eq!(checked["name"], "site");
    let blobs = host.run(&["ls", "b.tar", "--blobs"]).is(0).out.lines().count();
    assert_eq!(checked["at_registry"]["blobs"].as_u64(), Some(blobs as u64));
    host.check("r.mbr1", &[]).is(0).says("not asked");
    host.check("r.mbr1", &["--index", "."]).is(0).says("bundle    app #7");
    // `receipt verify` is the same; the index alone is enough.
    host.tool("tar", &["-xf", "b.tar", "mirror-bundle/index.json"]).is(0);
    host.tool("mv", &["mirror-bundle/index.json", "index.json"]).is(0);
    host.write("elsewhere/r.mbr1", &text);
    host.ask("elsewhere/r.mbr1", &to, &[]).is(2).says("is not at hand");
    host.ask("elsewhere/r.mbr1", &to, &["--index", "index.json"]).is(0);
    let args = ["receipt", "verify", "r.mbr1", "--signer", "site.pub"];
    assert_eq!(host.run(&args).is(0).out, host.check("r.mbr1", &[]).out);
}

#[test]
fn without_a_key_the_line_is_printed_and_says_that_it_is_not_signed() {
    let (host, registry) = (Host::new(), Registry::start());
    let to = format!("{}/m", registry.host());
    host.unpack(&to, &[]).is(0).says("not signed (--sign-key)").says("\nmbr1 sha256:");
    host.unpack(&to, &["--site-receipt", "r.mbr1"]).is(0);
    assert_eq!(host.text("r.mbr1").lines().count(), 1);
    host.check("r.mbr1", &[]).is(20).says("`r.mbr1` has no signature");
    host.run(&["receipt", "--check", "r.mbr1", "--allow-unsigned"]).is(0).says("anyone could have written it");
    // Never replaced.
    host.unpack(&to, &["--site-receipt", "r.mbr1"]).is(52).says("already exists").says("nothing was done");
    // Where nothing of all is unpacked there is none.
    host.unpack(&to, &["--dry-run", "--qr"]).is(2).says("--dry-run writes nothing");
    host.unpack(&to, &["--partial", "--qr"]).is(2).says("--partial does not unpack everything");
    host.unpack(&to, &["--qr", "-o", "json"]).is(2).says("--qr draws in a terminal");
    let args = ["unpack", "b.tar", "--signer", "builder.pub", "--to-dir", "d", "--sign-key", "site"];
    host.run(&args).is(2).says("--sign-key signs receipts, and there is none");
}

#[test]
fn a_registry_that_lost_a_blob_is_found_out_with_the_blob_and_its_image() {
    let (host, registry) = (Host::new(), Registry::start());
    let to = format!("{}/m", registry.host());
    host.unpack(&to, &["--site-receipt", "r.mbr1", "--sign-key", "site"]).is(0);
    let lost = host.images[0].blobs[2].digest();
    let hex = lost.hex();
    let data = format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
    std::fs::remove_file(registry.storage().join(data)).unwrap();
    let ran = host.ask("r.mbr1", &to, &[]).is(30);
    let ran = ran.says(&format!("{lost} in {to}/team/one: ")).says("team/one:1");
    assert!(ran.err.contains("1 blob not as it should be"), "{}", ran.err);
    // A manifest.
    let manifest = host.images[1].digest();
    let link =
        format!("docker/registry/v2/repositories/m/team/two/_manifests/revisions/sha256/{}/link", manifest.hex());
    std::fs::remove_file(registry.storage().join(link)).unwrap();
    host.ask("r.mbr1", &to, &[]).is(30).says(&format!("{manifest} in {to}/team/two: it is not there"));
}

/// A registry that lies from the moment on that `lies` is set.
fn liar(
    lies: &Arc<AtomicBool>,
    lie: impl Fn(&support::stub::Request) -> Option<Answer> + Send + Sync + 'static,
) -> Stub {
    let lies = Arc::clone(lies);
    let rule: Rule = Box::new(move |request, _| match lies.load(Ordering::SeqCst) && request.reads() {
        true => lie(request),
        false => None,
    });
    Stub::start(true, vec![rule])
}

#[test]
fn a_registry_that_lies_about_one_blob_is_refused_with_the_exact_reason() {
    let host = Host::new();
    let blob = host.images[0].blobs[1].clone();
    let (digest, size) = (blob.digest().to_string(), blob.bytes.len());
    type Lie = fn(&support::stub::Request) -> Option<Answer>;
    let size_differs: Lie = |request| {
        let long = vec![("Content-Range", "bytes 0-0/999999".to_owned())];
        Some(if request.method == "HEAD" {
            Answer(200, vec![("Content-Length", "999999".to_owned())], Vec::new())
        } else {
            Answer(206, long, vec![0])
        })
    };
    let gone: Lie = |_| Some(Answer::error(404, "BLOB_UNKNOWN"));
    let refused: Lie = |_| Some(Answer::error(401, "UNAUTHORIZED"));
    // Its cache says yes, its storage no.
    let cached: Lie = |request| (request.method == "GET").then(|| Answer::error(404, "BLOB_UNKNOWN"));
    let broken: Lie = |_| Some(Answer::error(500, "UNKNOWN"));
    for (lie, code, why) in [
        (size_differs, 30, format!("it has 999999 bytes there, not {size}")),
        (gone, 30, "it is not there".to_owned()),
        (cached, 30, "it is listed there, and not served".to_owned()),
        (refused, 51, "refused the pull from".to_owned()),
        (broken, 50, "HTTP 500".to_owned()),
    ] {
        let lies = Arc::new(AtomicBool::new(false));
        let about = digest.clone();
        let stub = liar(&lies, move |request| match request.below("blobs") {
            Some(("m/team/one", what)) if what == about => lie(request),
            _ => None,
        });
        let to = format!("{}/m", stub.host());
        let file = format!("r{}-{}.mbr1", code, stub.port);
        host.unpack(&to, &["--site-receipt", &file, "--sign-key", "site"]).is(0);
        host.ask(&file, &to, &[]).is(0);
        lies.store(true, Ordering::SeqCst);
        let ran = host.ask(&file, &to, &[]).is(code).says(&why);
        if code == 30 {
            ran.says(&format!("{digest} in {to}/team/one: {why}")).says("is not right any more");
        }
    }
}

#[test]
fn unpack_to_a_registry_that_does_not_serve_everything_writes_no_receipt() {
    let host = Host::new();
    let digest = host.images[0].blobs[1].digest().to_string();
    // From the moment on when the tag is there, one blob is not.
    let stub = Stub::start(
        true,
        vec![Box::new(move |request, state| {
            let tagged = state.repositories.get("m/team/one").is_some_and(|one| !one.tags.is_empty());
            let about = request.below("blobs").is_some_and(|(name, what)| name == "m/team/one" && what == digest);
            (tagged && about && request.reads()).then(|| Answer::error(404, "BLOB_UNKNOWN"))
        })],
    );
    let to = format!("{}/m", stub.host());
    // Nobody asked for one: a note.
    host.unpack(&to, &["--receipt", "run.json"]).is(0).says("there is no receipt of this site");
    stub.with(|state| state.repositories.clear());
    let ran = host.unpack(&to, &["--site-receipt", "r.mbr1", "--sign-key", "site", "--receipt", "run2.json"]).is(30);
    let ran =
        ran.says("it is not there").says(&format!("everything is unpacked to {to}; there is no receipt of this site"));
    assert!(!ran.out.contains("mbr1"), "{}", ran.out);
    assert!(!exists(host.dir.path(), "r.mbr1"));
    let run: Value = serde_json::from_slice(&host.read("run2.json")).unwrap();
    assert_eq!(run["predicate"]["details"]["exit_code"], 30);
}

#[test]
fn a_receipt_of_a_registry_that_does_not_have_everything_of_the_bundle_is_not_written() {
    let (host, registry) = (Host::empty(), Registry::start());
    let pusher = Pusher::new(&host.origin.host());
    pusher.refer("team/one", &host.images[0], &Image::referrer(&host.images[0]));
    host.bundle("b.tar", 7, &["team/one:1"]);
    let to = format!("{}/m", registry.host());
    host.unpack(&to, &["--without-referrers", "--qr"]).is(2).says("--without-referrers leaves something out");
    host.unpack(&to, &["--without-referrers"]).is(0).says("there is no receipt of this site: --without-referrers");
    host.unpack(&to, &["--site-receipt", "r.mbr1", "--sign-key", "site"]).is(0);
    host.ask("r.mbr1", &to, &[]).is(0);
}

#[test]
fn nothing_is_claimed_of_a_bundle_from_which_something_was_removed() {
    let (host, registry) = (Host::new(), Registry::start());
    let to = format!("{}/m", registry.host());
    let one = format!("{}/team/one:1", host.origin.host());
    let key = |name: &str| host.text(&format!("{name}.pub")).trim().to_owned();
    let signer = |name: &str, role: &str| format!("  - {{name: {name}, roles: [{role}], key: \"{}\"}}\n", key(name));
    let removals = "removals: {threshold: 1, of: [additional]}\n";
    host.write(
        "t.yaml",
        format!("signers:\n{}{}{removals}", signer("builder", "builder"), signer("other", "reviewer")),
    );
    let why = ["--reason", "x", "--sign-key", "other", "--signer", "builder.pub"];
    host.run(&[&["scrub", "b.tar", "c.tar", "--remove", &one], &why[..]].concat()).is(0);
    let args = ["unpack", "c.tar", "--trust", "t.yaml", "--to", &to];
    host.run(&[&args[..], &PLAIN].concat()).is(0).says("there is no receipt of this site: something was removed");
    let ran = host.run(&[&args[..], &PLAIN, &["--site-receipt", "r.mbr1", "--sign-key", "site"]].concat()).is(30);
    ran.says("everything is unpacked").says("mirror-bundle inventory");
    assert!(!exists(host.dir.path(), "r.mbr1"));
}

#[test]
fn a_site_is_asked_where_unpack_put_things() {
    let (host, registry) = (Host::new(), Registry::start());
    let to = format!("{}/m", registry.host());
    for (n, place) in [&["--placement", "host"][..], &["--map", "team/one=x/y/one"], &["--max-nested-paths", "2"]]
        .into_iter()
        .enumerate()
    {
        let registry = Registry::start();
        let to = format!("{}/m", registry.host());
        let file = format!("r{n}.mbr1");
        host.unpack(&to, &[&["--site-receipt", &file, "--sign-key", "site"], place].concat()).is(0);
        host.ask(&file, &to, place).is(0);
        host.ask(&file, &to, &[]).is(30).says("give them here too");
    }
    host.unpack(&to, &["--site-receipt", "r.mbr1", "--sign-key", "site"]).is(0);
    host.ask("r.mbr1", &to, &[]).is(0);
}

#[test]
fn a_receipt_that_is_not_of_this_is_refused_with_its_reason() {
    let (host, registry) = (Host::new(), Registry::start());
    let to = format!("{}/m", registry.host());
    host.unpack(&to, &["--site-receipt", "r.mbr1", "--sign-key", "site"]).is(0);
    let text = host.text("r.mbr1");
    // Of another registry, or of another place in it.
    let other = format!("{}/n", registry.host());
    host.ask("r.mbr1", &other, &[])
        .is(41)
        .says("is the receipt of another registry")
        .says(&format!("asked for {other}"));
    // By another key; for another purpose; changed after it was signed.
    host.run(&["receipt", "--check", "r.mbr1", "--signer", "other.pub"]).is(22).says("it is by another key");
    let (line, _) = text.split_once('\n').unwrap();
    host.write("line", format!("{line}\n"));
    host.tool("ssh-keygen", &["-q", "-Y", "sign", "-n", "mirror-bundle.v1.record", "-f", "site", "line"]).is(0);
    host.write("record.mbr1", format!("{line}\n{}", host.text("line.sig")));
    host.check("record.mbr1", &[]).is(21).says("it was made for `mirror-bundle.v1.record`");
    host.write("changed.mbr1", text.replacen(" 7 ", " 8 ", 1));
    host.check("changed.mbr1", &[]).is(21).says("the signature of `changed.mbr1` does not hold");
    // Damaged, too long.
    host.write("cut.mbr1", &text[..text.len() - 40]);
    host.check("cut.mbr1", &[]).is(12).says("the receipt `cut.mbr1` is damaged: its signature, from line 2");
    host.write("fields.mbr1", text.replacen(" 7 ", " ", 1));
    host.check("fields.mbr1", &[]).is(12).says("line 1 has 4 fields, not 5");
    host.write("long.mbr1", format!("{line}{}\n", "x".repeat(700)));
    host.check("long.mbr1", &[]).is(12).says("it has more than 700 bytes");
    // Replayed: of the month before. The number in its series belongs to what is signed.
    host.bundle("c.tar", 8, &["team/one:1"]);
    let args =
        ["unpack", "c.tar", "--signer", "builder.pub", "--to", &to, "--site-receipt", "c.mbr1", "--sign-key", "site"];
    host.run(&[&args[..], &PLAIN].concat()).is(0);
    let newer = host.index("c.tar");
    host.check("r.mbr1", &["--expect-index", &newer]).is(41).says("is about another bundle");
    host.check("c.mbr1", &["--expect-index", &newer]).is(0);
    host.check("r.mbr1", &["--max-age", "30d", "--at", "2027-12-31"]).is(23).says("is older than 30d");
    host.check("r.mbr1", &["--max-age", "30d"]).is(0);
    host.check("r.mbr1", &["--at", "2020-01-01"]).is(23).says("is dated in the future");
    // A number that its index does not have.
    let made_up = line.replacen(" 7 ", " 9 ", 1);
    host.write("line", format!("{made_up}\n"));
    std::fs::remove_file(host.path("line.sig")).unwrap();
    host.tool("ssh-keygen", &["-q", "-Y", "sign", "-n", "mirror-bundle.v1.receiver", "-f", "site", "line"]).is(0);
    host.write("made-up.mbr1", format!("{made_up}\n{}", host.text("line.sig")));
    host.check("made-up.mbr1", &[]).is(0);
    host.ask("made-up.mbr1", &to, &[]).is(12).says("contradicts its index").says("the receipt says 9");
}

#[test]
fn a_policy_says_whose_receipts_count() {
    let (host, registry) = (Host::new(), Registry::start());
    let to = format!("{}/m", registry.host());
    host.unpack(&to, &["--site-receipt", "r.mbr1", "--sign-key", "site"]).is(0);
    let key = |name: &str| host.text(&format!("{name}.pub")).trim().to_owned();
    let policy = |role: &str, valid: &str| {
        format!(
            "signers:\n  - {{name: b, roles: [builder], key: \"{}\"}}\n  - {{name: depot, roles: [{role}], key: \"{}\"{valid}}}\n",
            key("builder"),
            key("site")
        )
    };
    host.write("t.yaml", policy("receiver", ""));
    host.run(&["receipt", "--check", "r.mbr1", "--trust", "t.yaml"]).is(0).says("by depot SHA256:");
    host.write("t.yaml", policy("reviewer", ""));
    host.run(&["receipt", "--check", "r.mbr1", "--trust", "t.yaml"]).is(22).says("its key is not trusted as receiver");
    host.write("t.yaml", policy("receiver", ", validUntil: \"2024-01-01\""));
    host.run(&["receipt", "--check", "r.mbr1", "--trust", "t.yaml"]).is(23).says("its key expired");
}

#[test]
fn the_qr_code_holds_the_receipt_as_it_was_signed() {
    if !have("zbarimg") {
        return;
    }
    let (host, registry) = (Host::new(), Registry::start());
    let to = format!("{}/m", registry.host());
    let ran = host.unpack(&to, &["--site-receipt", "r.mbr1", "--sign-key", "site", "--qr"]).is(0);
    let lines: Vec<Vec<char>> =
        ran.out.lines().filter(|l| l.starts_with('\u{2588}')).map(|line| line.chars().collect()).collect();
    // Four pixels for a module; the lower half of a character is a row of its own.
    let mut rows: Vec<Vec<u8>> = Vec::new();
    for line in &lines {
        for half in 0..2 {
            let light = |c: &char| match c {
                '\u{2588}' => true,
                '\u{2580}' => half == 0,
                '\u{2584}' => half == 1,
                _ => false,
            };
            let row: Vec<u8> = line.iter().flat_map(|c| [if light(c) { 255u8 } else { 0 }; 4]).collect();
            rows.extend(std::iter::repeat_n(row, 4));
        }
    }
    let mut picture = format!("P5 {} {} 255\n", rows[0].len(), rows.len()).into_bytes();
    rows.iter().for_each(|row| picture.extend(row));
    host.write("qr.pgm", picture);
    let read = host.tool("zbarimg", &["-q", "--raw", "qr.pgm"]).is(0).out;
    assert_eq!(read.trim_end(), host.text("r.mbr1").trim_end());
    // What a phone gives is accepted as it is.
    host.write("phone.mbr1", read.replace('\n', "\r\n"));
    host.ask("phone.mbr1", &to, &[]).is(0);
}

#[test]
fn three_months_go_from_receipt_to_receipt_and_each_brings_only_what_is_new() {
    if !have("skopeo") {
        return;
    }
    let (host, registry) = (Host::empty(), Registry::start());
    let to = format!("{}/m", registry.host());
    let pusher = Pusher::new(&host.origin.host());
    let shared = layer(&[("base", &support::noise(200_000, 1))]);
    let mut before: Option<String> = None;
    for month in 1..=3u64 {
        let own = layer(&[("own", &support::noise(20_000, 100 + month))]);
        let image = Image::oci("amd64", &[shared.clone(), own]);
        let tag = month.to_string();
        pusher.push("team/app", &image, Some(&tag));
        let (bundle, receipt) = (format!("n{month}.tar"), format!("n{month}.mbr1"));
        let reference = format!("{}/team/app:{tag}", host.origin.host());
        let mut args = vec!["create", &bundle, "--name", "app", "--sequence", &tag, "--sign-key", "builder"];
        args.extend(["--image", &reference, "-q"]);
        if let Some(before) = &before {
            args.extend(["--base", before, "--base-signer", "site.pub"]);
        }
        host.run(&[&args[..], &PLAIN].concat()).is(0);
        let size = std::fs::metadata(host.path(&bundle)).unwrap().len();
        assert_eq!(size > 200_000, month == 1, "month {month}: {size} bytes");
        // The index, which `create` leaves beside the bundle, is all that the next one needs.
        let args = ["unpack", &bundle, "--signer", "builder.pub", "--to", &to, "--site-receipt", &receipt];
        host.run(&[&args[..], &["--sign-key", "site"], &PLAIN].concat()).is(0);
        host.ask(&receipt, &to, &["--index", "."]).is(0).says(&format!("bundle    app #{month}"));
        std::fs::remove_file(host.path(&bundle)).unwrap();
        let image = format!("docker://{to}/team/app:{tag}");
        let seen = host.tool("skopeo", &["inspect", "--tls-verify=false", &image]).is(0).json();
        assert_eq!(seen["Layers"].as_array().unwrap().len(), 2);
        let copy = format!("dir:{}", host.path(&format!("copy{month}")).display());
        host.tool("skopeo", &["--insecure-policy", "copy", "-q", "--src-tls-verify=false", &image, &copy]).is(0);
        before = Some(receipt);
    }
    // By another key than the site's, nothing is made.
    let reference = format!("{}/team/app:3", host.origin.host());
    let args =
        ["create", "x.tar", "--image", &reference, "--unsigned", "--base", "n3.mbr1", "--base-signer", "other.pub"];
    host.run(&[&args[..], &PLAIN].concat()).is(22).says("nothing was written");
    let args = ["create", "x.tar", "--image", &reference, "--unsigned", "--base", "n3.mbr1"];
    host.run(&[&args[..], &PLAIN].concat()).is(0).says("the signature of `n3.mbr1` was not checked");
}
