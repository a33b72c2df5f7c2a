//! The real clamd.

use mirror_bundle::scan::eicar;

use crate::lab::{DEBIAN, Daemon, GZIP, Lab, OTHER, PLAIN, WIDE, gzip, tar, through};
use crate::support::{noise, schemas, skip};

/// A file with the probe behind so many bytes.
fn behind(bytes: usize) -> Vec<u8> {
    [vec![b'.'; bytes], eicar()].concat()
}

#[test]
fn what_is_bad_is_found_wherever_it_lies_and_all_images_that_have_it_are_named() {
    let Some(daemon) = Daemon::start(WIDE) else { return };
    let lab = Lab::new();
    let mut deep = eicar();
    for _ in 0..4 {
        deep = through(
            "python3 -c \"import sys,zipfile;z=zipfile.ZipFile(sys.stdout.buffer,'w',8);z.writestr('m',sys.stdin.buffer.read());z.close()\"",
            &deep,
        );
    }
    let low = [
        ("bin/plain", eicar()),
        ("bin/shadowed", behind(1)),
        ("bin/deleted", behind(2)),
        ("far", behind(30 << 20)),
        ("larger", [noise(40 << 20, 1), eicar()].concat()),
        ("deep.zip", deep),
        ("fine", b"nothing to find\n".to_vec()),
        ("name\n0 clean\x1b[2J", behind(3)),
    ];
    let high = [("bin/shadowed", b"other".to_vec()), ("bin/.wh.deleted", vec![])];
    let other = [("elsewhere", eicar())];
    let manifest = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c, namespace: openshift-config-managed}}\ndata:\n  a: '{}'\n",
        String::from_utf8(eicar()).unwrap()
    );
    let images: &[(&str, &[&[_]])] = &[("reg.example/a:1", &[&low, &high]), ("reg.example/b:1", &[&other])];
    let bundle = lab.bundle("b", images, Some(&manifest));
    let answer = lab.scan(&bundle, &["--clamd", &daemon.address()]);
    assert_eq!(answer.code, 35, "{}", answer.errors);
    let found = answer.paths("found");
    for path in ["bin/plain", "bin/shadowed", "bin/deleted", "far", "larger", "deep.zip", "deep.zip!m!m!m!m", "!data/a"]
    {
        assert!(found.iter().any(|f| f == path), "{path}: {found:?}");
    }
    assert!(!found.iter().any(|f| f == "fine"));
    let twice = answer.at("bin/plain");
    assert_eq!(twice["images"], serde_json::json!(["reg.example/a:1", "reg.example/b:1"]));
    let places: Vec<_> = twice["places"].as_array().unwrap().iter().map(|place| place["path"].clone()).collect();
    assert!(places.contains(&"elsewhere".into()), "{places:?}");
    assert_eq!(twice["names"][0], "Desk.Test.UNOFFICIAL");
    let kubernetes = answer.at("!data/a");
    assert_eq!(kubernetes["places"][0]["kind"], "file");
    let mut wrong = Vec::new();
    schemas::violations(&answer.json, &schemas::schema("scan.json"), "scan", &mut wrong);
    assert_eq!(wrong, Vec::<String>::new());
    // The lines of the answer keep their form.
    let text = lab.command(&bundle, &["--clamd", &daemon.address()]).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("name\\u{a}0 clean\\u{1b}[2J") && !text.contains('\x1b'), "{text}");
}

/// MB-POL-32.
#[test]
fn what_clamd_found_is_accepted_by_its_name_and_where_it_is() {
    let Some(daemon) = Daemon::start(WIDE) else { return };
    let lab = Lab::new();
    let bundle = lab.bundle("b", &[("reg.example/a:1", &[&[("opt/test", eicar())]])], None);
    let policy = lab.path().join("policy.yaml");
    let rules = |scanner: &str| {
        let until = jiff::Zoned::now().date().checked_add(jiff::Span::new().days(9)).unwrap();
        let entry = format!("scanner: {scanner}, subject: /opt/test, reason: CHG-1, by: J. Doe, until: {until}");
        std::fs::write(&policy, format!("accept:\n- {{{entry}}}\n")).unwrap();
        lab.scan(&bundle, &["--clamd", &daemon.address(), "--policy", policy.to_str().unwrap()])
    };
    let answer = rules("clamd");
    assert_eq!((answer.code, answer.json["contents"]["found"].as_u64()), (0, Some(1)), "{}", answer.errors);
    assert_eq!(answer.at("opt/test")["accepted"]["by"], "J. Doe");
    let answer = rules("another");
    assert_eq!((answer.code, answer.at("opt/test")["accepted"].is_null()), (35, true), "{}", answer.errors);
}

#[test]
fn the_test_files_of_clamav_are_all_found() {
    let folder = std::path::Path::new("/usr/share/clamav-testfiles");
    let Ok(entries) = std::fs::read_dir(folder) else { return skip::skip("no clamav-testfiles on this machine") };
    let Some(daemon) = Daemon::start(WIDE) else { return };
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let files: Vec<_> = names.iter().map(|n| (n.as_str(), std::fs::read(folder.join(n)).unwrap())).collect();
    let lab = Lab::new();
    let bundle = lab.bundle("b", &[("reg.example/t:1", &[&files])], None);
    let answer = lab.scan(&bundle, &["--clamd", &daemon.address()]);
    assert_eq!(answer.code, 35);
    let found = answer.paths("found");
    assert!(names.len() >= 44, "{}", names.len());
    assert_eq!(names.iter().filter(|name| !found.contains(name)).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn beyond_the_size_that_a_daemon_proves_no_ok_counts() {
    let Some(daemon) = Daemon::start(DEBIAN) else { return };
    let lab = Lab::new();
    let files = [("small", b"fine".to_vec()), ("far", behind(30 << 20)), ("large", noise(27 << 20, 5))];
    let bundle = lab.bundle("b", &[("reg.example/a:1", &[&files])], None);
    let answer = lab.scan(&bundle, &["--clamd", &daemon.address()]);
    assert_eq!(answer.code, 42, "{}", answer.errors);
    assert_eq!(answer.json["scanners"][0]["proof"]["size"], 25 << 20);
    assert_eq!(answer.paths("not-opened"), ["far", "large"]);
    // As a stream it is refused for its size: that is no answer.
    let over_tcp = lab.scan(&bundle, &["--rescan", "--clamd", &format!("127.0.0.1:{}", daemon.port)]);
    assert_eq!(
        (over_tcp.code, over_tcp.json["contents"]["clean"].as_u64()),
        (42, answer.json["contents"]["clean"].as_u64())
    );
}

#[test]
fn blobs_that_are_no_layers_and_bytes_behind_an_end_are_scanned() {
    let Some(daemon) = Daemon::start(WIDE) else { return };
    let lab = Lab::new();
    let blob = lab.raw("blob", &behind(9), OTHER);
    let answer = lab.scan(&blob, &["--clamd", &daemon.address()]);
    assert_eq!((answer.code, answer.at("")["places"][0]["kind"].as_str()), (35, Some("blob")), "{}", answer.errors);
    let fine = tar(&[("a", b"fine".to_vec())]);
    for (name, layer, media_type) in [
        ("tar", [fine.clone(), vec![0; 2048], behind(512)].concat(), PLAIN),
        ("gzip", [fine.clone(), behind(512)].concat(), GZIP),
    ] {
        let bundle = lab.raw(name, &layer, media_type);
        let answer = lab.scan(&bundle, &["--clamd", &daemon.address()]);
        assert!(!answer.paths("found").is_empty(), "{name}: {} {:#}", answer.errors, answer.json);
        // Tar readers see different things: that is the most basic problem.
        assert_eq!(
            (answer.code, &answer.json["layers"]["findings"][0]["code"]),
            (12, &"ambiguous-layer".into()),
            "{name}"
        );
    }
}

#[test]
fn over_tcp_and_from_standard_input_it_is_the_same() {
    let Some(daemon) = Daemon::start(WIDE) else { return };
    let lab = Lab::new();
    let bundle = lab.bundle("b", &[("reg.example/a:1", &[&[("x", eicar()), ("y", b"fine".to_vec())]])], None);
    let address = format!("127.0.0.1:{}", daemon.port);
    let answer = lab.scan(&bundle, &["--clamd", &address]);
    assert_eq!((answer.code, answer.paths("found")), (35, vec!["x".to_owned()]));
    let mut command = lab.command("-", &["--clamd", &daemon.address(), "-q"]);
    let done = command.stdin(std::fs::File::open(lab.path().join(&bundle)).unwrap()).output().unwrap();
    assert_eq!((done.status.code(), String::from_utf8_lossy(&done.stdout).contains("FOUND")), (Some(35), true));
}

#[test]
fn a_second_run_asks_only_about_what_is_new_and_says_so() {
    let Some(daemon) = Daemon::start(WIDE) else { return };
    let lab = Lab::new();
    let files = [("a", b"one".to_vec()), ("b", b"two".to_vec()), ("c.gz", gzip(b"three"))];
    let first = lab.bundle("first", &[("reg.example/a:1", &[&files])], None);
    let answer = lab.scan(&first, &["--clamd", &daemon.address()]);
    assert_eq!((answer.code, answer.json["earlier"]["verdicts"].as_u64()), (0, Some(0)), "{}", answer.errors);
    let answer = lab.scan(&first, &["--clamd", &daemon.address()]);
    assert_eq!(
        (answer.code, answer.json["earlier"]["verdicts"].as_u64()),
        (0, answer.json["contents"]["different"].as_u64())
    );
    assert_eq!(answer.json["scanners"][0]["proof"], serde_json::Value::Null);
    assert!(answer.json["earlier"]["from"].is_string());
    // The same files beside a bad one.
    let more: Vec<_> = files.iter().cloned().chain([("d", eicar())]).collect();
    let second = lab.bundle("second", &[("reg.example/a:2", &[&more])], None);
    let answer = lab.scan(&second, &["--clamd", &daemon.address()]);
    assert_eq!((answer.code, answer.json["earlier"]["verdicts"].as_u64() >= Some(3)), (35, true));
    let again = lab.scan(&second, &["--clamd", &daemon.address(), "--rescan"]);
    assert_eq!((again.code, again.json["earlier"]["verdicts"].as_u64()), (35, Some(0)));
    // Another daemon may have another database: this one has no version.
    drop(daemon);
    let Some(daemon) = Daemon::start(WIDE) else { return };
    let answer = lab.scan(&first, &["--clamd", &daemon.address()]);
    assert_eq!((answer.code, answer.json["earlier"]["verdicts"].as_u64()), (0, Some(0)));
}

#[test]
fn encrypted_content_is_not_opened_and_no_malware() {
    let Some(daemon) = Daemon::start(WIDE) else { return };
    if !skip::have("7z") {
        return;
    }
    let lab = Lab::new();
    let run = std::process::Command::new("7z")
        .args(["a", "-tzip", "-psecret", "e.zip", "-sim"])
        .current_dir(lab.path())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let _ = run;
    std::fs::write(lab.path().join("m"), "text").unwrap();
    let run = std::process::Command::new("7z")
        .args(["a", "-tzip", "-psecret", "f.zip", "m"])
        .current_dir(lab.path())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(run.status.success());
    let bytes = std::fs::read(lab.path().join("f.zip")).unwrap();
    let bundle = lab.bundle("b", &[("reg.example/a:1", &[&[("f.zip", bytes)]])], None);
    let answer = lab.scan(&bundle, &["--clamd", &daemon.address()]);
    assert_eq!((answer.code, answer.paths("found").len()), (42, 0), "{:#}", answer.json["findings"]);
    assert!(answer.paths("not-opened").iter().any(|path| path == "f.zip!m"));
}

/// A scanner opens one way of a form, and not every other: what it did not prove goes to it on its own.
#[test]
fn archives_that_are_not_of_the_plain_kind_are_not_left_to_the_scanner() {
    let Some(daemon) = Daemon::start(WIDE) else { return };
    if !skip::have("python3") || !skip::have("ar") || !skip::have("7z") {
        return;
    }
    let lab = Lab::new();
    let secret = [eicar(), b"\n".to_vec(), eicar()].concat();
    std::fs::write(lab.path().join("secret"), &secret).unwrap();
    let made = |name: &str, script: &str| {
        let text = format!(
            "import sys,io,bz2,gzip,lzma,zipfile,tarfile,subprocess\ns=open('secret','rb').read()\nt=b'text '*400\ng=gzip.compress(s)\no=sys.stdout.buffer\n{script}"
        );
        let run = std::process::Command::new("python3").args(["-c", &text]).current_dir(lab.path()).output().unwrap();
        assert!(run.status.success() && !run.stdout.is_empty(), "{name}: {}", String::from_utf8_lossy(&run.stderr));
        run.stdout
    };
    let zip = |method: &str, more: &str| {
        format!(
            "b=io.BytesIO()\nz=zipfile.ZipFile(b,'w',{method})\nf=z.open('m','w'{more})\nf.write(s)\nf.close()\nz.close()\no.write(b.getvalue())"
        )
    };
    let tar = |change: &str| {
        format!(
            "b=io.BytesIO()\nw=tarfile.open(fileobj=b,mode='w',format=tarfile.GNU_FORMAT)\nfor n,c in(('a',t),('m',g)):\n i=tarfile.TarInfo(n)\n i.size=len(c)\n w.addfile(i,io.BytesIO(c))\nw.close()\nv=bytearray(b.getvalue())\nk=2560\n{change}\nv[k+148:k+156]=b' '*8\nv[k+148:k+156]=b'%06o\\0 '%sum(v[k:k+512])\no.write(bytes(v))"
        )
    };
    let cases = [
        ("two.bz2", "o.write(bz2.compress(t)+bz2.compress(s))".to_owned()),
        ("zeros.gz", "o.write(gzip.compress(t)+b'\\0'*100+g)".to_owned()),
        ("lzma.zip", zip("14", "")),
        ("long.zip", zip("8", ",force_zip64=True")),
        ("binary.tar", tar("v[k+124:k+136]=b'\\x80'+len(g).to_bytes(11,'big')")),
        ("twice.tar", tar("v=v[:k]+bytes(512)+v[:512]+t.ljust(2048,b'\\0')+v[k:]\nk=5632")),
        ("m.ar", "open('m.gz','wb').write(g)\nsubprocess.run('ar rc m.ar m.gz',shell=True,check=True)\no.write(open('m.ar','rb').read())".to_owned()),
    ];
    let mut files: Vec<_> = cases.iter().map(|(name, script)| (*name, made(name, script))).collect();
    let other = "subprocess.run('7z a -m0=BZip2 m.7z secret >/dev/null',shell=True,check=True)\no.write(open('m.7z','rb').read())";
    files.push(("other.7z", made("other.7z", other)));
    let bundle = lab.bundle("b", &[("reg.example/a:1", &[&files])], None);
    let answer = lab.scan(&bundle, &["--clamd", &daemon.address()]);
    assert_eq!(answer.code, 35, "{}", answer.errors);
    let found = answer.paths("found");
    for (name, _) in &cases {
        assert!(found.iter().any(|path| path.starts_with(name)), "{name}: {found:?}");
    }
    assert_eq!(answer.paths("not-opened"), ["other.7z"]);
}
