//! Archives within files, where the scanner opens none.

use mirror_bundle::scan::eicar;

use crate::lab::{Lab, gzip, tar, through};
use crate::support::{noise, skip};

/// A scanner that finds the probe where it stands in clear.
pub(crate) fn finder() -> String {
    let hex: String = eicar()[28..44].iter().map(|byte| format!("\\x{byte:02x}")).collect();
    format!("x=sh -c 'LC_ALL=C grep -qaP \"{hex}\" {{}} && exit 1; exit 0'")
}

#[test]
fn each_form_of_archive_is_opened_also_at_depth_four() {
    let lab = Lab::new();
    let zip = "python3 -c \"import sys,zipfile;z=zipfile.ZipFile(sys.stdout.buffer,'w',8);z.writestr('m',sys.stdin.buffer.read());z.close()\"";
    let cpio = "d=$(mktemp -d); cat >$d/m; cd $d; echo m | cpio -o -H newc 2>/dev/null; rm -r $d";
    let forms = [
        ("gzip", "gzip -9n", "gzip"),
        ("bzip2", "bzip2", "bzip2"),
        ("xz", "xz", "xz"),
        ("zstd", "zstd -qc -19", "zstd"),
        ("zip", zip, "python3"),
        ("cpio", cpio, "cpio"),
        ("tar", "d=$(mktemp -d); cat >$d/m; tar -C $d -cf - m; rm -r $d", "tar"),
    ];
    let secret = [b"some text that compresses ".repeat(40), eicar()].concat();
    let mut files = Vec::new();
    for (name, command, program) in forms {
        if !skip::have(program) {
            continue;
        }
        let mut content = secret.clone();
        for depth in 1..=4 {
            content = through(command, &content);
            files.push((format!("{name}-{depth}"), content.clone()));
        }
    }
    let entries: Vec<_> = files.iter().map(|(name, content)| (name.as_str(), content.clone())).collect();
    let bundle = lab.bundle("b", &[("reg.example/a:1", &[&entries])], None);
    let answer = lab.scan(&bundle, &["--scanner", &finder()]);
    assert_eq!(answer.code, 35, "{}", answer.errors);
    let found = answer.paths("found");
    for (name, _) in &files {
        assert!(found.iter().any(|path| path == name || path.starts_with(&format!("{name}!"))), "{name}: {found:?}");
    }
}

#[test]
fn bombs_deep_nests_and_forms_that_nobody_opens_are_not_opened_and_the_others_go_on() {
    let lab = Lab::new();
    let mut deep = b"deep down".to_vec();
    (0..10).for_each(|_| deep = gzip(&deep));
    let mut broken = gzip(&b"a long text, a long text, a long text".repeat(100));
    broken.truncate(broken.len() - 12);
    let files = [
        ("bomb.gz", gzip(&vec![0; 16 << 20])),
        ("deep.gz", deep),
        ("broken.gz", broken),
        ("a.rar", b"Rar!\x1a\x07\x01\x00 and so on".to_vec()),
        ("many.tar", tar(&(0..50).map(|_| ("m", b"x".to_vec())).collect::<Vec<_>>())),
        ("fine.gz", gzip(b"fine")),
    ];
    let bundle = lab.bundle("b", &[("reg.example/a:1", &[&files])], None);
    let answer = lab.scan(&bundle, &["--scanner", &finder(), "--max-members", "20"]);
    assert_eq!(answer.code, 42, "{}", answer.errors);
    let reason = |path: &str| answer.at(path)["reason"].as_str().unwrap().to_owned();
    assert_eq!(reason("bomb.gz"), "too-large");
    let nested = format!("deep.gz{}", "!(content)".repeat(8));
    assert_eq!(reason(&nested), "too-deep");
    assert_eq!(reason("broken.gz"), "damaged");
    assert_eq!(reason("a.rar"), "unknown-form");
    assert_eq!(reason("many.tar"), "too-large");
    assert!(!answer.paths("not-opened").iter().any(|path| path.starts_with("fine")));
    // With other limits they are opened.
    let wide = ["--scanner", &finder(), "--depth", "12", "--max-ratio", "100000"];
    let answer = lab.scan(&bundle, &wide);
    assert_eq!(answer.paths("not-opened"), ["a.rar", "broken.gz"]);
}

#[test]
fn what_stands_behind_the_end_of_an_archive_is_scanned() {
    let lab = Lab::new();
    // The scanner sees it in the whole file too, so the whole is hidden once more.
    let behind = |archive: Vec<u8>| gzip(&[archive, eicar()].concat());
    let files = [("a", behind(gzip(b"fine"))), ("b", behind(tar(&[("m", b"fine".to_vec())])))];
    let bundle = lab.bundle("b", &[("reg.example/a:1", &[&files])], None);
    let answer = lab.scan(&bundle, &["--scanner", &finder()]);
    assert_eq!(answer.code, 35);
    let found = answer.paths("found");
    assert!(found.iter().any(|path| path.starts_with("a!(content)")), "{found:?}");
    assert!(found.iter().any(|path| path.starts_with("b!(content)")), "{found:?}");
}

#[test]
fn a_zip_behind_other_bytes_in_a_large_member_is_never_passed_over() {
    let lab = Lab::new();
    let zip = "python3 -c \"import sys,zipfile;z=zipfile.ZipFile(sys.stdout.buffer,'w',8);z.writestr('m',sys.stdin.buffer.read());z.close()\"";
    if !skip::have("python3") || !skip::have("bzip2") {
        return;
    }
    let secret = [b"some text that compresses ".repeat(40), eicar()].concat();
    let program = [noise(2 << 20, 8), through(zip, &secret)].concat();
    // The scanner opens bzip2, but no zip.
    let hex: String = eicar()[28..44].iter().map(|byte| format!("\\x{byte:02x}")).collect();
    let open = "d=$(mktemp -d); f={}; for n in 1 2 3 4; do bzip2 -dc <$f >$d/$n 2>/dev/null || break; f=$d/$n; done";
    let scanner = format!("x=sh -c '{open}; LC_ALL=C grep -qaP \"{hex}\" $f; e=$?; rm -r $d; [ $e = 1 ]'");
    let bundle = lab.bundle("b", &[("reg.example/a:1", &[&[("x.bz2", through("bzip2", &program))]])], None);
    let answer = lab.scan(&bundle, &["--scanner", &scanner]);
    assert_eq!(answer.json["scanners"][0]["proof"]["forms"]["bzip2"], 4, "{} {:#}", answer.errors, answer.json);
    assert_eq!(answer.json["scanners"][0]["proof"]["forms"]["zip"], serde_json::Value::Null);
    assert_eq!((answer.code, answer.at("x.bz2!(content)")["reason"].as_str()), (42, Some("too-large")));
}

#[test]
fn a_member_that_several_archives_have_leaves_none_of_them_uncounted() {
    let lab = Lab::new();
    let same = b"the same in each ".repeat(100);
    let names: Vec<String> = (0..6).map(|n| format!("{n}.tar")).collect();
    let files: Vec<_> = names
        .iter()
        .map(|name| {
            (name.as_str(), tar(&[("a", same.clone()), ("b", same.clone()), (name, name.clone().into_bytes())]))
        })
        .collect();
    let bundle = lab.bundle("b", &[("reg.example/a:1", &[&files])], None);
    let answer = lab.scan(&bundle, &["--scanner", &finder()]);
    assert_eq!(answer.code, 0, "{}", answer.errors);
    let contents = &answer.json["contents"];
    assert_eq!((&contents["clean"], &contents["members"]), (&contents["different"], &7.into()), "{contents}");
}
