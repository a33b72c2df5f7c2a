//! What reviewers may take out of a bundle, and everything that looks like it (MB-RMV).

use std::collections::{BTreeMap, BTreeSet};

use mirror_bundle::bundle::index::{Image, Index, Kind};
use mirror_bundle::bundle::layout;
use mirror_bundle::bundle::removal::{self, Removed};
use mirror_bundle::error::Code;
use mirror_bundle::graph::Closure;
use mirror_bundle::oci::{Digest, Role};

use super::super::archive::{Archive, Entry};
use super::super::draft::{Draft, LAYER};
use super::super::sshsig;
use super::Vectors;

const CREATED: &str = "2026-11-22T12:00:00Z";

fn arguments(policy: &str) -> Vec<String> {
    let path = format!("keys/trust-{policy}.yaml");
    ["--trust", &path, "--release-keyring", "keys/release.asc", "--at", "2026-11-23T00:00:00Z"]
        .map(str::to_owned)
        .to_vec()
}

/// A signature over a statement.
pub fn signed(seed: &[u8; 32], namespace: &str, statement: &[u8]) -> Vec<u8> {
    sshsig::Parts::made(seed, statement, namespace, b"", "sha512").armored()
}

/// A removal that is being made.
pub struct Take {
    pub index: Index,
    pub digest: Digest,
    pub removed: Removed,
    documents: BTreeMap<Digest, Vec<u8>>,
}

impl Take {
    pub fn of(draft: &Draft) -> Take {
        let index = draft.index();
        let digest = Digest::of(&index.to_bytes().unwrap());
        let documents = draft.blobs.iter().filter(|(_, (role, _))| matches!(role, Role::Index | Role::Manifest));
        let documents = documents.map(|(digest, (_, bytes))| (*digest, bytes.clone())).collect();
        Take { index, digest, removed: Removed::default(), documents }
    }

    /// Removes these images, and the blobs that nothing else needs.
    pub fn images(mut self, which: impl Fn(&Image) -> bool) -> Take {
        self.removed.images.extend((0..self.index.images.len()).filter(|at| which(&self.index.images[*at])));
        let mut closure = Closure::default();
        let mut read = |digest: &Digest| Ok(self.documents.get(digest));
        for (_, image) in self.index.images.iter().enumerate().filter(|(at, _)| !self.removed.images.contains(at)) {
            closure.add(&image.descriptor(), &mut read).unwrap();
        }
        let reached: BTreeSet<Digest> = closure.nodes().iter().map(|node| node.digest).collect();
        let blobs = self.index.blobs.iter().enumerate();
        self.removed.blobs = blobs.filter(|(_, b)| !reached.contains(&b.digest)).map(|(at, _)| at).collect();
        self
    }

    /// Removes files with these beginnings.
    pub fn files(mut self, starts: &[&str]) -> Take {
        let files = self.index.files.iter().enumerate();
        let gone = files.filter(|(_, file)| starts.iter().any(|start| file.path.starts_with(start)));
        self.removed.files.extend(gone.map(|(at, _)| at));
        self
    }

    pub fn statement(&self) -> Vec<u8> {
        removal::statement(&self.index, &self.digest, &self.removed, "EICAR, CHG-20417", CREATED).unwrap()
    }

    /// What the statement does not name already in another.
    pub fn without(mut self, other: &Take) -> Take {
        self.removed.images.retain(|at| !other.removed.images.contains(at));
        self.removed.files.retain(|at| !other.removed.files.contains(at));
        self.removed.blobs.retain(|at| !other.removed.blobs.contains(at));
        self
    }

    fn paths(&self) -> BTreeSet<String> {
        let files = self.removed.files.iter().map(|at| self.index.files[*at].path.clone());
        let blob = |at: &usize| format!("blobs/sha256/{}", self.index.blobs[*at].digest.hex());
        files.chain(self.removed.blobs.iter().map(blob)).collect()
    }

    /// Takes what is removed out of an archive.
    pub fn out_of(&self, mut archive: Archive) -> Archive {
        let paths = self.paths();
        archive.entries.retain(|entry| !paths.contains(&entry.name));
        archive
    }

    /// The archive without what is removed, and with the statement in its head.
    pub fn scrubbed(&self, archive: Archive) -> Archive {
        let statement = self.statement();
        with(self.out_of(archive), &statement, &signed(&sshsig::REVIEWER, NAMESPACE, &statement))
    }
}

pub const NAMESPACE: &str = "mirror-bundle.v1.removal";

/// Puts a statement into the head of an archive, behind those that are there.
pub fn with(mut archive: Archive, statement: &[u8], signature: &[u8]) -> Archive {
    let there = archive.entries.iter().filter(|e| e.name.starts_with("mirror-bundle/removal-")).count() / 2;
    let at = archive.at(layout::SUMS);
    let path = removal::path(there + 1);
    archive.entries.insert(at, Entry::new(&format!("{path}.sig"), signature));
    archive.entries.insert(at, Entry::new(&path, statement));
    archive.sums_again();
    archive
}

/// Appends a statement as an addendum.
fn excluding(archive: Archive, statement: &[u8], signature: &[u8]) -> Archive {
    let name = format!("removal-{}.json", &Digest::of(statement).hex()[..16]);
    archive.with_addendum(&name, statement).with_addendum(&format!("{name}.sig"), signature)
}

fn app(image: &Image) -> bool {
    image.repository.as_deref() == Some("registry.example.com/app")
}

fn tiny(image: &Image) -> bool {
    image.repository.as_deref() == Some("registry.example.com/tiny")
}

/// Images that share a layer, one of them under two tags.
pub fn shared() -> Draft {
    let mut draft = Draft::tiny();
    let common = draft.blob(Role::Layer, b"a layer of two images");
    for name in ["one", "two"] {
        let own = draft.blob(Role::Layer, name.as_bytes());
        let image = draft.image("amd64", &[(LAYER, common.clone()), (LAYER, own)]);
        draft.top(Kind::Additional, &format!("registry.example.com/{name}"), Some("1"), &image);
        if name == "two" {
            draft.top(Kind::Additional, "registry.example.com/two", Some("latest"), &image);
        }
    }
    draft
}

pub fn list(out: &mut Vectors) {
    out.group("removal");
    let mut add =
        |name: &str, what: &str, code: Option<Code>, requires: &'static str, policy: &str, archive: Archive| {
            let vector = out.add(name, what, ("", code, requires), archive);
            vector.args = arguments(policy);
            vector.stream = None;
        };
    good(&mut add);
    head(&mut add);
    statements(&mut add);
    units(&mut add);
    excluded(&mut add);
    for vector in &mut out.all {
        vector.late |= vector.name == "removal-excluded-changed";
        // The reviewer whom this host requires has signed behind the last member only.
        if matches!(vector.name.as_str(), "removal-excluded" | "removal-excluded-changed") {
            vector.unpacked = Some(Code::Untrusted);
        }
        vector.stream = match vector.name.as_str() {
            // A stream shows only at its end how long it is.
            "removal-kept" | "removal-named-only" | "removal-stripped" | "removal-more-gone" => Some(Code::Malformed),
            // In a stream a statement behind the last member comes too late.
            "removal-excluded" | "removal-excluded-two" | "removal-excluded-signature" => Some(Code::Removed),
            _ => continue,
        };
    }
}

type Add<'a> = dyn FnMut(&str, &str, Option<Code>, &'static str, &str, Archive) + 'a;

fn good(add: &mut Add<'_>) {
    let full = Draft::full();
    let image = Take::of(&full).images(app);
    let release = |image: &Image| image.release.is_some();
    let release = Take::of(&full).images(release).files(&["manifests/release.yaml", "signatures/"]);
    let file = Take::of(&full).files(&["manifests/map.yaml"]);
    let is = "MB-RMV-01 MB-RMV-03 MB-RMV-04";
    add(
        "image",
        "good: an image with its signature and referrer",
        None,
        is,
        "removals",
        image.scrubbed(full.archive()),
    );
    add("release", "good: a whole release", None, is, "removals", release.scrubbed(full.archive()));
    add("file", "good: a Kubernetes file", None, is, "removals", file.scrubbed(full.archive()));
    let two = Take::of(&full).images(|i| app(i) || tiny(i)).without(&image);
    let both = two.scrubbed(image.scrubbed(full.archive()));
    add("second", "good: a second statement takes out more", None, "MB-RMV-01", "removals", both);
    let referrer = Take::of(&full).images(|i| i.kind == Kind::Referrer);
    add(
        "referrer",
        "good: a referrer without its image",
        None,
        "MB-RMV-06",
        "removals",
        referrer.scrubbed(full.archive()),
    );
    let counts = Take::of(&full).images(app).scrubbed(full.archive());
    let what = "good: the signature over the statement is that of the reviewer whom the host requires";
    add("counts", what, None, "MB-RMV-09", "removals-review", counts);
    let etcd = Take::of(&full).images(|i| i.component.as_deref() == Some("etcd"));
    let what = "good: a component that may be removed by its name";
    add("component-named", what, None, "MB-RMV-06", "removals-component", etcd.scrubbed(full.archive()));
    let list = Take::of(&shared()).images(|i| i.repository.as_deref() == Some("registry.example.com/one"));
    add(
        "shared",
        "good: a layer that another image has stays",
        None,
        "MB-RMV-04",
        "removals",
        list.scrubbed(shared().archive()),
    );
    let graph = Draft::with_graph(false, |_| {});
    let base = Take::of(&graph).images(|_| true);
    add(
        "base",
        "good: a base, and the graph-data image on it",
        None,
        "MB-RMV-06",
        "removals",
        base.scrubbed(graph.archive()),
    );
    let mut many = Draft::tiny();
    for n in 0..10 {
        let layer = many.blob(Role::Layer, format!("layer {n}").as_bytes());
        let image = many.image("amd64", &[(LAYER, layer)]);
        many.top(Kind::Additional, &format!("registry.example.com/n{n}"), Some("1"), &image);
    }
    let (mut archive, mut before) = (many.archive(), Take::of(&many));
    for n in 0..10 {
        let gone = |i: &Image| (0..=n).any(|n| i.repository.as_deref() == Some(&format!("registry.example.com/n{n}")));
        let all = Take::of(&many).images(gone);
        let one = Take::of(&many).images(gone).without(&before);
        archive = one.scrubbed(archive);
        before = all;
        if n == 8 {
            add("nine", "good: nine statements", None, "MB-RMV-01", "removals", archive.clone());
        }
    }
    add("ten", "ten statements", Some(Code::Malformed), "MB-RMV-01", "removals", archive);
}

fn head(add: &mut Add<'_>) {
    let full = Draft::full();
    let take = Take::of(&full).images(app);
    let statement = take.statement();
    let whole = || full.archive();
    let mut stripped = take.scrubbed(whole());
    stripped.entries.retain(|e| !e.name.starts_with("mirror-bundle/removal-"));
    stripped.sums_again();
    add("stripped", "the statement is not there", Some(Code::Truncated), "MB-RMV-03", "removals", stripped);
    let by =
        |seed: &[u8; 32], namespace: &str| with(take.out_of(whole()), &statement, &signed(seed, namespace, &statement));
    let removed = Some(Code::Removed);
    let is = "MB-RMV-05";
    add("stranger", "by a key that nobody knows", removed, is, "removals", by(&sshsig::STRANGER, NAMESPACE));
    add("builder", "by the builder, who is no reviewer", removed, is, "removals", by(&sshsig::BUILDER, NAMESPACE));
    let record = by(&sshsig::REVIEWER, "mirror-bundle.v1.record");
    add("namespace", "signed as a review record", removed, is, "removals", record);
    let other = with(take.out_of(whole()), &statement, &signed(&sshsig::REVIEWER, NAMESPACE, b"another statement"));
    add("signature", "a signature over something else", removed, is, "removals", other);
    let broken = with(take.out_of(whole()), &statement, b"no signature");
    add("no-signature", "no signature", removed, is, "removals", broken);
    let good = || take.scrubbed(whole());
    add("nobody", "a host that lets nobody remove anything", removed, is, "removals-none", good());
    add("threshold", "one signature where the host wants two", removed, is, "removals-two", good());
    let again = with(good(), &statement, &signed(&sshsig::SECOND, NAMESPACE, &statement));
    add("threshold-met", "good: two reviewers name the same", None, is, "removals-two", again);
    let twice = with(good(), &statement, &signed(&sshsig::REVIEWER, NAMESPACE, &statement));
    add("threshold-twice", "one reviewer names it twice", removed, is, "removals-two", twice);
    let mut missing = good();
    let at = missing.at("mirror-bundle/removal-1.json.sig");
    missing.entries.remove(at);
    missing.sums_again();
    add("unsigned", "a statement without a signature file", Some(Code::Malformed), "MB-RMV-01", "removals", missing);
    let mut second = good();
    for end in ["", ".sig"] {
        let name = second.entry("mirror-bundle/removal-1.json").name.replace("1.json", &format!("2.json{end}"));
        second.entry("mirror-bundle/removal-1.json").name = name;
    }
    second.sums_again();
    add("number", "the first statement is the second", Some(Code::Malformed), "MB-RMV-01", "removals", second);
    let mut unsigned = good();
    let at = unsigned.at("mirror-bundle/index.json.sig");
    unsigned.entries.remove(at);
    unsigned.sums_again();
    add("builder-gone", "the builder's signature is gone", Some(Code::Untrusted), "MB-RMV-01", "removals", unsigned);

    let layer = take.index.blobs[*take.removed.blobs.last().unwrap()].digest;
    let mut kept = take.out_of(whole());
    let entry = whole().entry(&format!("blobs/sha256/{}", layer.hex())).clone();
    kept.entries.push(entry);
    let kept = with(kept, &statement, &signed(&sshsig::REVIEWER, NAMESPACE, &statement));
    add(
        "kept",
        "a blob that the statement removes is there",
        Some(Code::UnlistedContent),
        "MB-RMV-03",
        "removals",
        kept,
    );
    let there = with(whole(), &statement, &signed(&sshsig::REVIEWER, NAMESPACE, &statement));
    add(
        "named-only",
        "everything that the statement removes is there",
        Some(Code::UnlistedContent),
        "MB-RMV-03",
        "removals",
        there,
    );
    let mut more = good();
    more.entries.pop();
    more.sums_again();
    add(
        "more-gone",
        "a blob more is gone than the statement names",
        Some(Code::Truncated),
        "MB-RMV-03",
        "removals",
        more,
    );
    let mut listed = good();
    let sums = whole().entry(layout::SUMS).bytes.clone();
    *listed.entry(layout::SUMS) = Entry::new(layout::SUMS, &sums);
    add("still-listed", "SHA256SUMS lists what was removed", Some(Code::Malformed), "MB-RMV-03", "removals", listed);
    let mut other = Draft::full();
    other.name = "other".into();
    let theirs = Take::of(&other).images(app).statement();
    let other = with(take.out_of(whole()), &theirs, &signed(&sshsig::REVIEWER, NAMESPACE, &theirs));
    add("other-index", "a statement about another bundle", Some(Code::Malformed), "MB-RMV-02", "removals", other);
}

/// The form of the statement, and what it names.
fn statements(add: &mut Add<'_>) {
    let full = Draft::full();
    let take = Take::of(&full).images(app);
    let good = String::from_utf8(take.statement()).unwrap();
    let mut bad = |name: &str, what: &str, text: String, code: Code| {
        assert_ne!(text, good, "{name}");
        let archive = take.out_of(full.archive());
        let signature = signed(&sshsig::REVIEWER, NAMESPACE, text.as_bytes());
        let is = "MB-RMV-02";
        add(&format!("form-{name}"), what, Some(code), is, "removals", with(archive, text.as_bytes(), &signature));
    };
    let malformed = Code::Malformed;
    bad("blanks", "another form of the same", good.replace("\":", "\": "), malformed);
    bad("no-end", "no line feed at the end", good.trim_end().to_owned(), malformed);
    bad("repeated", "a member twice", good.replace("\"role\":", "\"role\":\"reviewer\",\"role\":"), malformed);
    bad("member", "an unknown member", good.replace("\"role\":", "\"more\":1,\"role\":"), malformed);
    bad("role", "in the role of the builder", good.replace("reviewer", "builder"), malformed);
    bad("reason", "a reason with a control character", good.replace("EICAR", "EICAR\\n"), malformed);
    bad("no-reason", "no reason", good.replace("EICAR, CHG-20417", ""), malformed);
    bad("time", "a time that is none", good.replace("12:00:00Z", "12:00Z"), malformed);
    bad("type", "a review record", good.replace("removal:v1", "review:v1"), malformed);
    bad("size", "more than 256 KiB", good.replace("EICAR", &"x".repeat(256 << 10)), malformed);
    let blobs = &good[good.find("\"blobs\":[").unwrap() + 9..good.rfind(']').unwrap()];
    let mut order: Vec<&str> = blobs.split(',').collect();
    order.reverse();
    bad("order", "blobs out of order", good.replace(blobs, &order.join(",")), malformed);
    let first = order.last().unwrap();
    bad("twice", "a blob twice", good.replace(first, &format!("{first},{first}")), malformed);
    bad(
        "stranger",
        "a blob that the index does not list",
        good.replace(blobs, &format!("\"{}\"", Digest::of(b""))),
        malformed,
    );
    let name = "\"repository\":\"registry.example.com/app\",\"tag\":\"1.0\"";
    bad(
        "name",
        "an image by a name that the index does not have",
        good.replace(name, &name.replace("1.0", "1.1")),
        malformed,
    );
    let images = &good[good.find("\"images\":[").unwrap()..good.find(",\"files\"").unwrap()];
    bad("nothing", "names blobs and nothing else", good.replace(images, "\"images\":[]"), malformed);
    bad("index-json", "names index.json", good.replace("\"files\":[]", "\"files\":[\"index.json\"]"), malformed);

    let mut unnamed = Take::of(&full).images(app);
    unnamed.removed.images.retain(|at| unnamed.index.images[*at].kind != Kind::Referrer);
    let is = "MB-RMV-04";
    add(
        "unnamed",
        "an image is gone that no statement names",
        Some(Code::BlobMissing),
        is,
        "removals",
        unnamed.scrubbed(full.archive()),
    );
    let two = |image: &Image| image.repository.as_deref() == Some("registry.example.com/one");
    let mut needed = Take::of(&shared()).images(two);
    let common = Digest::of(b"a layer of two images");
    needed.removed.blobs.extend(needed.index.blobs.iter().position(|blob| blob.digest == common));
    add(
        "needed-layer",
        "a layer that another image needs",
        Some(Code::BlobMissing),
        is,
        "removals",
        needed.scrubbed(shared().archive()),
    );
    let mut fewer = Take::of(&full).images(app);
    fewer.removed.blobs.pop_last();
    add(
        "fewer-blobs",
        "a blob that no image needs any more is there",
        Some(Code::UnlistedContent),
        is,
        "removals",
        fewer.scrubbed(full.archive()),
    );
}

/// What can be removed, and what this host lets reviewers remove.
fn units(add: &mut Add<'_>) {
    let full = Draft::full();
    let is = "MB-RMV-06";
    let mut deny = |name: &str, what: &str, policy: &str, take: Take, draft: &Draft| {
        add(name, what, Some(Code::Policy), is, policy, take.scrubbed(draft.archive()));
    };
    let signature = |i: &Image| i.kind == Kind::Signature;
    deny("signature-alone", "a signature without what it signs", "removals", Take::of(&full).images(signature), &full);
    let etcd = |i: &Image| i.component.as_deref() == Some("etcd");
    deny("component-alone", "a component without its release", "removals", Take::of(&full).images(etcd), &full);
    let other = Take::of(&full).images(|i| i.component.as_deref() == Some("cli"));
    deny("component-other", "another component than the one that is named", "removals-component", other, &full);
    let release = Take::of(&full).images(|i| i.kind == Kind::Release).files(&["manifests/release.yaml", "signatures/"]);
    deny("release-alone", "a release without its components", "removals", release, &full);
    let map = Take::of(&full).files(&["manifests/release.yaml"]);
    deny("release-map", "the ConfigMap of a release without it", "removals", map, &full);
    let file = Take::of(&full).files(&["manifests/map.yaml"]);
    deny("file-not", "a Kubernetes file where only images may go", "removals-images", file, &full);
    let all = Take::of(&full).images(|i| i.release.is_some()).files(&["manifests/release.yaml", "signatures/"]);
    deny("release-not", "a release where only images may go", "removals-images", all, &full);
    let sbom = Take::of(&full).images(|i| i.kind == Kind::Referrer);
    deny("referrer-not", "a referrer without its image where only images may go", "removals-images", sbom, &full);
    let what = "the signature of a release without it";
    let openpgp = Take::of(&full).files(&["signatures/"]).scrubbed(full.archive());
    let tag = |i: &Image| i.tag.as_deref() == Some("latest");
    deny("two-tags", "one of two tags of an image", "removals", Take::of(&shared()).images(tag), &shared());
    add("release-signature", what, Some(Code::ReleaseUnverified), is, "removals", openpgp);
}

/// Statements behind the last member: what they name is there, and does not count.
fn excluded(add: &mut Add<'_>) {
    let full = Draft::full();
    let statement = |take: &Take| take.statement();
    let signed_by = |seed: &[u8; 32], statement: &[u8]| signed(seed, NAMESPACE, statement);
    let take = Take::of(&full).images(app);
    let text = statement(&take);
    let good = excluding(full.archive(), &text, &signed_by(&sshsig::REVIEWER, &text));
    let is = "MB-RMV-08";
    add("excluded", "good: a statement excludes an image", None, is, "removals-review", good.clone());
    let stranger = excluding(full.archive(), &text, &signed_by(&sshsig::STRANGER, &text));
    add("ignored-stranger", "good: a stranger excludes nothing", None, is, "removals", stranger.clone());
    let what = "a stranger's statement is no signature of the reviewer whom the host requires";
    add("excluded-not-counted", what, Some(Code::Untrusted), "MB-RMV-09", "removals-review", stranger);
    let mut changed = good.clone();
    let layer = take.index.blobs[*take.removed.blobs.last().unwrap()].digest;
    changed.entry(&format!("blobs/sha256/{}", layer.hex())).bytes[0] ^= 1;
    add(
        "excluded-changed",
        "an excluded layer is another one",
        Some(Code::BlobMismatch),
        is,
        "removals-review",
        changed,
    );
    let unsigned = full.archive().with_addendum(&format!("removal-{}.json", &Digest::of(&text).hex()[..16]), &text);
    add("excluded-unsigned", "a statement without a signature", Some(Code::Malformed), is, "removals", unsigned);
    let named = full.archive().with_addendum("removal-0123456789abcdef.json", &text);
    add("excluded-name", "a statement under another name", Some(Code::Malformed), is, "removals", named);
    let alone = Take::of(&full).images(|i| i.kind == Kind::Signature);
    let text = statement(&alone);
    let alone = excluding(full.archive(), &text, &signed_by(&sshsig::REVIEWER, &text));
    add("excluded-signature", "a signature is excluded without its image", Some(Code::Policy), is, "removals", alone);
    // Two statements, one made without the other: what both images shared counts no more.
    let (one, two) = (
        Take::of(&shared()).images(|i| i.repository.as_deref() == Some("registry.example.com/one")),
        Take::of(&shared()).images(|i| i.repository.as_deref() == Some("registry.example.com/two")),
    );
    let (one, two) = (statement(&one), statement(&two));
    let both = excluding(shared().archive(), &one, &signed_by(&sshsig::REVIEWER, &one));
    let both = excluding(both, &two, &signed_by(&sshsig::SECOND, &two));
    add("excluded-two", "good: two statements, each made without the other", None, is, "removals-both", both);
}
