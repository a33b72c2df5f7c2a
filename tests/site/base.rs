//! What a base has: `select::base`, on files that the program wrote.

use mirror_bundle::Code;
use mirror_bundle::oci::Digest;
use mirror_bundle::select::base::{Bases, Kind, load};
use mirror_bundle::sign::read_public_key;
use mirror_bundle::site::Receivers;

use super::*;

impl Host {
    fn load(&self, names: &[&str]) -> mirror_bundle::Result<Bases> {
        let paths: Vec<PathBuf> = names.iter().map(|name| self.path(name)).collect();
        load(&paths, Receivers::Unknown)
    }

    /// The error, which names the file.
    #[track_caller]
    fn refused(&self, name: &str, code: Code, why: &str) {
        let err = self.load(&[name]).unwrap_err();
        let text = format!("{} {:?}", err.message(), err.facts());
        assert_eq!(err.code(), code, "{text}");
        assert!(text.contains(why) && text.contains(name.rsplit('/').next().unwrap()), "{text}");
    }

    /// The index of a bundle, in a file of its own.
    fn index_of(&self, bundle: &str, to: &str) {
        self.tool("sh", &["-c", &format!("tar -xOf {bundle} mirror-bundle/index.json > {to}")]).is(0);
    }

    /// A receipt for a bundle, signed by the site.
    fn receipt(&self, bundle: &str, sequence: u64, to: &str) {
        let line = format!("mbr1 {} {sequence} 2026-11-28T21:00:00Z reg.example/m\n", self.index(bundle));
        self.write("line", &line);
        let _ = std::fs::remove_file(self.path("line.sig"));
        self.tool("ssh-keygen", &["-q", "-Y", "sign", "-n", "mirror-bundle.v1.receiver", "-f", "site", "line"]).is(0);
        self.write(to, format!("{line}{}", self.text("line.sig")));
    }

    fn blobs(&self) -> Vec<(Digest, u64)> {
        let documents = self.images.iter().flat_map(Image::documents);
        documents
            .flat_map(|one| {
                let own = one.blobs.iter().map(|blob| (blob.digest(), blob.bytes.len() as u64));
                own.chain([(one.digest(), one.bytes.len() as u64)]).collect::<Vec<_>>()
            })
            .collect()
    }
}

#[test]
fn a_bundle_of_any_form_its_index_and_a_receipt_have_the_same() {
    let host = Host::new();
    host.index_of("b.tar", "app.index.json");
    host.receipt("b.tar", 7, "r.mbr1");
    host.run(&["split", "b.tar", "volumes", "--volume-size", "40000"]).is(0);
    let first = std::fs::read_dir(host.path("volumes")).unwrap().next().unwrap().unwrap().file_name();
    let first = format!("volumes/{}", first.to_str().unwrap());
    let index = host.index("b.tar");
    for (name, kind) in [
        ("b.tar", Kind::Bundle),
        ("app.index.json", Kind::Index),
        ("volumes", Kind::Bundle),
        // One volume says what all have.
        (first.as_str(), Kind::Bundle),
        ("r.mbr1", Kind::Receipt),
    ] {
        let bases = host.load(&[name]).unwrap();
        let [base] = &bases.all[..] else { panic!("{name}: {bases:?}") };
        assert_eq!((base.kind, base.sequence, base.title().as_str()), (kind, Some(7), "app #7"), "{name}");
        assert_eq!(base.index.unwrap().to_string(), index);
        for (digest, size) in host.blobs() {
            assert_eq!(bases.has(&digest), Some(size), "{name}");
        }
        assert_eq!(bases.has(&Digest::of(b"other")), None);
        let origin = host.origin.host();
        assert_eq!(bases.repositories(&host.images[1].digest())[0], format!("{origin}/team/two"));
        assert_eq!(bases.repositories(&host.images[0].blobs[1].digest()).len(), 2);
        assert!(bases.repositories(&Digest::of(b"other")).is_empty());
        assert_eq!(base.receipt.is_some(), kind == Kind::Receipt);
    }
    assert!(host.load(&["b.tar", "app.index.json"]).unwrap().all.len() == 1, "copies are one base");
}

#[test]
fn what_was_scrubbed_is_not_there() {
    let host = Host::new();
    let one = format!("{}/team/one:1", host.origin.host());
    let scrub = |args: &[&str]| {
        let why = ["--reason", "not needed", "--sign-key", "other", "--signer", "builder.pub"];
        host.run(&[&["scrub"], args, &[&one], &why].concat()).is(0)
    };
    scrub(&["b.tar", "c.tar", "--remove"]);
    let bases = host.load(&["c.tar"]).unwrap();
    assert_eq!(bases.has(&host.images[0].digest()), None);
    assert_eq!(bases.has(&host.images[0].blobs[2].digest()), None);
    assert!(bases.has(&host.images[0].blobs[1].digest()).is_some(), "the other image has it");
    assert!(bases.has(&host.images[1].digest()).is_some());
    // Together with the whole: nobody knows which of them the site unpacked.
    assert_eq!(host.load(&["b.tar", "c.tar"]).unwrap().has(&host.images[0].digest()), None);
    // Beside the bundle.
    scrub(&["b.tar", "--detach", "--exclude"]);
    assert_eq!(host.load(&["b.tar"]).unwrap().has(&host.images[0].digest()), None);
    for name in std::fs::read_dir(host.dir.path()).unwrap().map(|entry| entry.unwrap().path()) {
        if name.to_str().unwrap().contains(".removal-") {
            std::fs::remove_file(name).unwrap();
        }
    }
    assert!(host.load(&["b.tar"]).unwrap().has(&host.images[0].digest()).is_some());
    // The members are there, and a statement behind them says that they do not count.
    scrub(&["b.tar", "--exclude"]);
    let bases = host.load(&["b.tar"]).unwrap();
    assert_eq!((bases.has(&host.images[0].digest()), bases.has(&host.images[0].blobs[2].digest())), (None, None));
}

#[test]
fn a_receipt_needs_the_index_that_it_names() {
    let host = Host::new();
    host.bundle("newer.tar", 8, &["team/one:1"]);
    host.write("r/x", "nothing");
    host.receipt("b.tar", 7, "r/r.mbr1");
    host.refused("r/r.mbr1", Code::Usage, "the index that");
    // Among the other bases; beside it, whatever else lies there; in the folder.
    let bases = host.load(&["r/r.mbr1", "b.tar"]).unwrap();
    assert_eq!(bases.all.iter().map(|base| base.kind).collect::<Vec<_>>(), [Kind::Receipt, Kind::Bundle]);
    host.index_of("newer.tar", "r/newer.index.json");
    host.index_of("b.tar", "r/app.index.json");
    host.write("r/broken.tar", &host.read("b.tar")[..2000]);
    assert_eq!(host.load(&["r/r.mbr1"]).unwrap().all.len(), 1);
    std::fs::remove_file(host.path("r/broken.tar")).unwrap();
    // In a folder with receipts only what they name counts: no site has confirmed the newer one.
    let bases = host.load(&["r"]).unwrap();
    let [base] = &bases.all[..] else { panic!("{bases:?}") };
    assert_eq!((base.kind, base.sequence, base.registry.as_deref()), (Kind::Receipt, Some(7), Some("reg.example/m")));
    // Without receipts, everything.
    std::fs::remove_file(host.path("r/r.mbr1")).unwrap();
    assert_eq!(host.load(&["r"]).unwrap().all.len(), 2);
    host.receipt("b.tar", 9, "r/r.mbr1");
    host.refused("r/r.mbr1", Code::Malformed, "contradicts its index");
}

#[test]
fn signatures_are_checked_where_receivers_are_known_and_else_it_is_said_that_they_were_not() {
    let host = Host::new();
    host.receipt("b.tar", 7, "r.mbr1");
    let notices = host.load(&["r.mbr1"]).unwrap().notices();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].contains("was not checked (--base-signer, --base-trust)"), "{notices:?}");
    let with = |name: &str, key: &str| {
        let key = read_public_key(&host.path(key)).unwrap();
        load(&[host.path(name)], Receivers::Keys(std::slice::from_ref(&key)))
    };
    let base = with("r.mbr1", "site.pub").unwrap();
    assert!(base.notices().is_empty() && base.all[0].signed.as_ref().unwrap().trusted);
    assert_eq!(with("r.mbr1", "other.pub").unwrap_err().code(), Code::Untrusted);
    let text = host.text("r.mbr1");
    host.write("line.mbr1", text.lines().next().unwrap());
    assert_eq!(with("line.mbr1", "site.pub").unwrap_err().code(), Code::Unsigned);
    assert!(host.load(&["line.mbr1"]).unwrap().notices()[0].contains("has no signature"));
    // A signature that does not hold is refused, whoever is known.
    host.write("bad.mbr1", text.replacen("21:00:00", "21:00:01", 1));
    host.refused("bad.mbr1", Code::BadSignature, "does not hold");
}

#[test]
fn hostile_bases_are_refused_with_what_and_where() {
    let host = Host::new();
    host.index_of("b.tar", "app.index.json");
    let index = host.text("app.index.json");
    host.write("x/cut.index.json", &index[..index.len() / 2]);
    host.write("x/more.index.json", format!("{index} "));
    host.write("x/changed.index.json", index.replacen("\"size\": ", "\"size\":  ", 1));
    host.write("x/cut.tar", &host.read("b.tar")[..1500]);
    host.write("x/long.mbr1", format!("mbr1 {}", "x".repeat(5000)));
    host.write("x/text", "hello");
    host.write("x/empty", "");
    host.write("x/other.json", "{\"a\": 1}");
    host.tool("mkfifo", &["x/fifo"]).is(0);
    host.refused("x/cut.index.json", Code::Malformed, "the bundle index is not acceptable");
    host.refused("x/more.index.json", Code::Malformed, "canonical form");
    host.refused("x/changed.index.json", Code::Malformed, "canonical form");
    host.refused("x/cut.tar", Code::Truncated, "ends");
    host.refused("x/long.mbr1", Code::Malformed, "more than 700 bytes");
    for name in ["x/text", "x/empty", "x/other.json"] {
        host.refused(name, Code::Usage, "is no base");
    }
    host.refused("x/fifo", Code::Usage, "is not a regular file");
    assert_eq!(host.load(&["x/missing"]).unwrap_err().code(), Code::Io);
    // A folder of nothing; a device; an index over the limit, in constant time.
    host.write("nothing/text", "hello");
    host.refused("nothing", Code::Usage, "contains no base");
    assert!(load(&["/dev/zero".into()], Receivers::Unknown).is_err());
    let mut long = index.into_bytes();
    long.resize(7 << 20, b' ');
    host.write("x/long.index.json", long);
    host.refused("x/long.index.json", Code::Malformed, "is larger than 6291456 bytes");
    // The receipt of a run is another thing.
    let args = ["verify", "b.tar", "--signer", "builder.pub", "--receipt", "run.json"];
    host.run(&args).is(0);
    host.refused("run.json", Code::Usage, "is no base");
    // More than a carriage lists.
    for n in 0..65 {
        host.write(
            &format!("many/{n}.mbr1"),
            format!("mbr1 {} {n} 2026-11-28T21:00:00Z r.example/m\n", Digest::of(b"x")),
        );
    }
    let err = host.load(&["many"]).unwrap_err();
    assert!(err.message().contains("more than 64 bases"), "{}", err.message());
}
