//! Releases: wrong payloads, and signatures for other content.

use mirror_bundle::bundle::index::{Image, Index, Kind};
use mirror_bundle::error::Code;
use mirror_bundle::oci::{Digest, Role};

use super::super::draft::{Draft, LAYER, Payload, Stored, namespace, references};
use super::super::openpgp;
use super::Vectors;

/// Makes the layers of a release image, with their media types; is given the one component.
type Build<'a> = dyn Fn(&mut Draft, &Stored) -> Vec<(String, Stored)> + 'a;

/// A release with one component, whose payload was changed.
fn release(change: impl FnOnce(&mut Payload)) -> Draft {
    let (mut draft, cli) = base();
    draft.release("4.16.1", &[("cli", &cli)], change);
    draft
}

fn base() -> (Draft, Stored) {
    let mut draft = Draft::empty();
    let layer = draft.blob(Role::Layer, b"layer of cli");
    let cli = draft.image("amd64", &[(LAYER, layer)]);
    (draft, cli)
}

const REFERENCES: &str = "release-manifests/image-references";

pub fn list(out: &mut Vectors) {
    out.group("release");
    out.add("good", "good: a release with one component", ("", None, "MB-VER-06 MB-VER-07"), release(|_| {}).archive());
    payloads(out);
    layers(out);
    signatures(out);
    config_maps(out);
    disguises(out);
}

/// Releases listed as something else, and other images with names of releases.
fn disguises(out: &mut Vectors) {
    let payload = || {
        let (mut draft, cli) = base();
        draft.top(Kind::Additional, "quay.io/team/cli", Some("1.2.3"), &cli);
        let layer = draft.blob(Role::Layer, &Payload::new("4.16.1", &[]).layer());
        let image = draft.image("amd64", &[(LAYER, layer)]);
        (draft, image)
    };
    let is = ("A14", Some(Code::ReleaseUnverified), "MB-VER-14");
    let (mut draft, image) = payload();
    draft.top(Kind::Additional, "quay.io/team/app", Some("1"), &image);
    out.add("as-additional", "a release listed as an additional image: its payload shows it", is, draft.archive())
        .late();
    let (mut draft, image) = payload();
    let list = draft.list(&[(&image, "amd64")]);
    draft.top(Kind::Additional, "quay.io/team/app", Some("1"), &list);
    out.add("in-a-list", "a release in a list of an additional image", is, draft.archive()).late();
    // Attached to a release that is listed, or in the place of one of its components.
    let evil = |draft: &mut Draft| {
        let layer = draft.blob(Role::Layer, &Payload::new("4.17.0", &[]).layer());
        let release = draft.images[0].clone();
        let subject = Stored { digest: release.digest, size: release.size, media_type: release.media_type };
        let config = draft.config("amd64", 1);
        let image = draft.document(Role::Manifest, mirror_bundle::oci::media_type::OCI_MANIFEST, |_| {
            let (config, layer) = (config.json("application/vnd.oci.image.config.v1+json"), layer.json(LAYER));
            let subject = subject.json(&subject.media_type);
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}],"subject":{subject}}}"#)
        });
        (image, subject.digest)
    };
    let mut draft = release(|_| {});
    let (image, subject) = evil(&mut draft);
    draft.top(Kind::Referrer, "quay.io/team/app", None, &image);
    let entry = draft.images.last_mut().unwrap();
    (entry.subject, entry.release) = (Some(subject), Some(subject));
    out.add("as-referrer", "a release attached to another one", is, draft.archive()).late();
    let mut draft = release(|_| {});
    let (image, subject) = evil(&mut draft);
    draft.top(Kind::Component, "quay.io/openshift-release-dev/ocp-v4.0-art-dev", None, &image);
    let entry = draft.images.last_mut().unwrap();
    (entry.component, entry.release) = (Some("evil".into()), Some(subject));
    let unlisted = ("A14", Some(Code::UnlistedContent), "MB-VER-06");
    out.add("as-component", "a release listed as a component of another one", unlisted, draft.archive());
    let mut draft = Draft::empty();
    let layer = draft.blob(Role::Layer, b"no payload");
    let config = draft.blob(
        Role::Config,
        br#"{"architecture":"amd64","os":"linux","config":{"Labels":{"io.openshift.release":""}}}"#,
    );
    let image = draft.document(Role::Manifest, mirror_bundle::oci::media_type::OCI_MANIFEST, |_| {
        let (config, layer) = (config.json("application/vnd.oci.image.config.v1+json"), layer.json(LAYER));
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]}}"#)
    });
    draft.top(Kind::Additional, "quay.io/team/app", Some("1"), &image);
    out.add("label-only", "an additional image with the label of a release, without value", is, draft.archive()).late();
    let is = ("A15", Some(Code::ReleaseUnverified), "MB-VER-15");
    for (name, repository, tag) in [
        ("name-release", "quay.io/openshift/release", "4.16.1-X86_64"),
        ("name-component", "quay.io/openshift/release", "4.16.1-x86_64-etcd"),
        ("name-images", "quay.io/openshift-release-dev/ocp-release", "latest"),
    ] {
        let (mut draft, cli) = base();
        draft.top(Kind::Additional, repository, Some(tag), &cli);
        out.add(name, "another image under the name of a release", is, draft.archive());
    }
    const RELEASES: &str = "quay.io/openshift-release-dev/ocp-release";
    const COMPONENTS: &str = "quay.io/openshift-release-dev/ocp-v4.0-art-dev";
    type Change = fn(&mut Draft);
    let cases: &[(&str, &str, Change)] = &[
        ("name-of-another", "a component under the tag of another release", |d| {
            d.images[1].tag = Some("4.17.0-x86_64-cli".into());
        }),
        ("name-of-another-component", "a component under the tag of another one", |d| {
            d.images[1].tag = Some("4.16.1-x86_64-etcd".into());
        }),
        ("name-component-as-release", "a component under the tag of its release", |d| {
            d.images[1].tag = Some("4.16.1-x86_64".into());
        }),
        ("name-two-tags", "a release that has the tag of another one, too", |d| {
            let copy = d.images[0].clone();
            d.images.push(Image { kind: Kind::Additional, tag: Some("4.17.0-x86_64".into()), release: None, ..copy });
        }),
        ("name-attached", "an image attached to a release, under its version", |d| {
            let (release, cli) = (d.images[0].clone(), d.images[1].clone());
            let subject = Stored { digest: release.digest, size: release.size, media_type: release.media_type };
            let config = d.config("amd64", 0);
            let referrer = d.document(Role::Manifest, mirror_bundle::oci::media_type::OCI_MANIFEST, |_| {
                let kind = "application/vnd.oci.image.config.v1+json";
                let subject = subject.json(&subject.media_type);
                format!(r#"{{"schemaVersion":2,"config":{},"layers":[],"subject":{subject}}}"#, config.json(kind))
            });
            d.top(Kind::Referrer, COMPONENTS, Some("4.16.1"), &referrer);
            let entry = d.images.last_mut().unwrap();
            (entry.subject, entry.release) = (Some(subject.digest), cli.release);
        }),
    ];
    for (name, what, change) in cases {
        let mut draft = release(|_| {});
        draft.images[1].repository = Some(COMPONENTS.into());
        change(&mut draft);
        out.add(name, what, is, draft.archive());
    }
    let mut draft = release(|_| {});
    draft.images[1].tag = Some("4.16.1-x86_64-cli".into());
    let copy = draft.images[0].clone();
    for tag in ["4.16.1", "latest"] {
        let release = Image { kind: Kind::Additional, tag: Some(tag.into()), release: None, ..copy.clone() };
        draft.images.push(release);
    }
    out.add(
        "name-own",
        "good: a release and its component under their own names",
        ("", None, "MB-VER-15"),
        draft.archive(),
    );
    for (name, repository) in
        [("name-dots", "quay.io/a/../openshift/release"), ("name-dot", "quay.io/./openshift/release")]
    {
        let (mut draft, cli) = base();
        draft.top(Kind::Additional, repository, Some("4.16.1-x86_64"), &cli);
        let is = ("A15", Some(Code::Malformed), "MB-IDX-05");
        out.add(name, "a repository with a folder that is none", is, draft.archive());
    }
    let (mut draft, cli) = base();
    draft.top(Kind::Additional, "quay.io/open.shift/release", Some("4.16.1-x86_64"), &cli);
    draft.top(Kind::Additional, RELEASES, None, &cli);
    draft.top(Kind::Additional, "quay.io/team/app", Some("4.16.1-x86_64"), &cli);
    draft.top(Kind::Additional, "quay.io/openshift/release", Some("4.16"), &cli);
    out.add("name-ordinary", "good: tags of other images", ("", None, "MB-VER-15"), draft.archive());
}

fn payloads(out: &mut Vectors) {
    let is = |ids, code| (ids, Some(code), "MB-VER-06");
    let mut draft = release(|_| {});
    draft.releases[0].version = "4.16.2".into();
    out.add(
        "other-version",
        "the index names another version than the payload",
        is("A10", Code::Malformed),
        draft.archive(),
    )
    .late = false;
    let mut draft = release(|_| {});
    draft.releases[0].architecture = "arm64".into();
    out.add(
        "other-architecture",
        "the index names another architecture than the release image",
        is("A10", Code::Malformed),
        draft.archive(),
    );
    let (mut draft, cli) = base();
    let metadata = br#"{"kind":"cincinnati-metadata-v0","version":"4.16.1","metadata":{"release.openshift.io/architecture":"multi"}}"#;
    draft.release("4.16.1", &[("cli", &cli)], |p| p.entries[2].2 = metadata.to_vec());
    out.add(
        "metadata-architecture",
        "the payload names another architecture",
        is("A10", Code::Malformed),
        draft.archive(),
    );
    out.add(
        "metadata-version",
        "image-references and release-metadata contradict each other",
        is("A10", Code::Malformed),
        release(|p| {
            p.entries[2].2 = br#"{"kind":"cincinnati-metadata-v0","version":"4.16.2"}"#.to_vec();
        })
        .archive(),
    );

    // One component replaced, missing, too many, renamed. The right image stays, as an additional one.
    let with_cli = || {
        let mut draft = release(|_| {});
        let cli = draft.images[1].clone();
        let stored = Stored { digest: cli.digest, size: cli.size, media_type: cli.media_type };
        draft.top(Kind::Additional, "registry.example.com/cli", Some("1"), &stored);
        draft
    };
    let mut draft = with_cli();
    let evil = draft.image("arm64", &[]);
    (draft.images[1].digest, draft.images[1].size) = (evil.digest, evil.size);
    let replaced = is("P13", Code::BlobMissing);
    out.add("component-replaced", "the image of a component is another one", replaced, draft.archive());
    let mut draft = with_cli();
    draft.images.remove(1);
    out.add("component-missing", "a component is not listed as one", is("P13 B9", Code::BlobMissing), draft.archive());
    let mut draft = release(|_| {});
    let evil = draft.image("arm64", &[]);
    draft.top(Kind::Component, "quay.io/openshift-release-dev/ocp-v4.0-art-dev", None, &evil);
    let release_digest = draft.release_digest();
    let extra = draft.images.last_mut().unwrap();
    (extra.component, extra.release) = (Some("evil".into()), Some(release_digest));
    out.add(
        "component-extra",
        "a component that the payload does not name",
        is("P13 A3", Code::UnlistedContent),
        draft.archive(),
    );
    let mut draft = release(|_| {});
    draft.images[1].component = Some("etcd".into());
    out.add("component-renamed", "a component under another name", is("P13", Code::BlobMissing), draft.archive());
    let mut draft = release(|_| {});
    let second = draft.clone();
    draft.releases[0].digest = second.images[1].digest;
    draft.images[0].release = Some(second.images[1].digest);
    out.add(
        "not-the-image",
        "a release whose digest is that of a component",
        ("A10", Some(Code::Malformed), "MB-IDX-05"),
        draft.archive(),
    );

    // Two releases that would get one tag.
    let (mut draft, cli) = base();
    draft.release("4.16.1", &[("cli", &cli)], |_| {});
    let map = draft.files.remove("manifests/release.yaml").unwrap();
    draft.files.insert("manifests/first.yaml".into(), map);
    draft.release("4.16.1", &[("cli", &cli)], |p| p.file("etc/other", b"x"));
    for image in draft.images.iter_mut().filter(|i| i.kind == Kind::Release) {
        image.tag = None;
    }
    out.add(
        "two-of-one-version",
        "two different releases of one version and architecture",
        ("A10", Some(Code::Malformed), "MB-IDX-05"),
        draft.archive(),
    );
}

fn layers(out: &mut Vectors) {
    let is = ("C15", Some(Code::Malformed), "MB-VER-06");
    let other =
        |p: &Payload| String::from_utf8(p.entries[1].2.clone()).unwrap().replace("\"cli\"", "\"evil\"").into_bytes();
    type Change = fn(&mut Payload);
    let file = tar::EntryType::Regular;
    let cases: &[(&str, &str, Change)] = &[
        ("references-link", "image-references as a hard link", |p| {
            let bytes = std::mem::take(&mut p.entries[1].2);
            p.entries.insert(1, (tar::EntryType::Regular, "release-manifests/x".into(), bytes));
            p.entries[2].0 = tar::EntryType::Link;
            p.entries[2].2 = b"release-manifests/x".to_vec();
        }),
        ("references-symlink", "image-references as a symbolic link", |p| {
            p.entries[1].0 = tar::EntryType::Symlink;
            p.entries[1].2 = b"x".to_vec();
        }),
        ("references-linked", "a hard link to image-references", |p| {
            p.entries.push((tar::EntryType::Link, "x".into(), REFERENCES.into()))
        }),
        ("references-whiteout", "image-references there and whited out", |p| {
            p.file("release-manifests/.wh.image-references", b"")
        }),
        ("folder-whiteout", "release-manifests there and whited out", |p| p.file(".wh.release-manifests", b"")),
        ("folder-link", "release-manifests as a link", |p| {
            p.entries[0] = (tar::EntryType::Symlink, "release-manifests".into(), b"x".to_vec())
        }),
        ("references-gone", "no image-references", |p| _ = p.entries.remove(1)),
        ("references-dots", "another image-references through ..", |p| {
            let bytes = p.entries[1].2.clone();
            p.file("x/../release-manifests/image-references", &bytes);
        }),
        ("references-json", "image-references with a member twice", |p| {
            let text = String::from_utf8(p.entries[1].2.clone()).unwrap();
            p.entries[1].2 = text.replacen("{\"name\"", "{\"name\":\"evil\",\"name\"", 1).into_bytes();
        }),
        ("references-tag", "a component by tag instead of digest", |p| {
            let text = String::from_utf8(p.entries[1].2.clone()).unwrap();
            let at = text.find("@sha256:").unwrap();
            p.entries[1].2 = format!("{}:latest{}", &text[..at], &text[at + 72..]).into_bytes();
        }),
        ("sparse", "a sparse file", |p| p.entries.push((tar::EntryType::GNUSparse, "x".into(), vec![]))),
        ("device-with-content", "a device with content", |p| {
            p.entries.push((tar::EntryType::Char, "x".into(), vec![0; 10]))
        }),
        ("pax-global", "a global PAX header", |p| {
            p.entries.insert(0, (tar::EntryType::XGlobalHeader, "g".into(), b"13 comment=x\n".to_vec()))
        }),
        ("pax-path", "a PAX path that makes another file of it", |p| {
            p.entries.push((
                tar::EntryType::XHeader,
                "x".into(),
                b"43 path=release-manifests/image-references\n".to_vec(),
            ));
            p.file("etc/x", b"{}");
        }),
        ("gnu-long-name", "a GNU long name that makes another file of it", |p| {
            p.entries.push((
                tar::EntryType::GNULongName,
                "././@LongLink".into(),
                b"release-manifests/image-references\0".to_vec(),
            ));
            p.file("etc/x", b"{}");
        }),
    ];
    for (name, what, change) in cases {
        out.add(name, what, is, release(change).archive());
    }
    let twice = release(|p| {
        let bytes = other(p);
        p.entries.push((file, REFERENCES.into(), bytes));
    });
    out.add("references-twice", "image-references twice in one layer", is, twice.archive());

    // Release images made of several layers, or of odd ones.
    let mut made = |name: &str, what: &str, code: Option<Code>, build: &Build<'_>| {
        let (mut draft, cli) = base();
        let layers = build(&mut draft, &cli);
        let layers: Vec<(&str, Stored)> = layers.iter().map(|(kind, layer)| (kind.as_str(), layer.clone())).collect();
        let image = draft.image("amd64", &layers);
        draft.release_of("4.16.1", &image, &[("cli", &cli)]);
        out.add(name, what, ("C15 D1", code, "MB-VER-06"), draft.archive());
    };
    let one = |d: &mut Draft, p: &Payload| (LAYER.to_owned(), d.blob(Role::Layer, &p.layer()));
    made("lower-layer", "good: the payload is in a lower layer", None, &|d, cli| {
        let lower = one(d, &Payload::new("4.16.1", &[("cli", cli)]));
        let upper = one(d, &Payload { entries: vec![(file, "etc/x".into(), b"x".to_vec())] });
        vec![lower, upper]
    });
    made("upper-hides", "an upper layer hides the payload", Some(Code::Malformed), &|d, cli| {
        let lower = one(d, &Payload::new("4.16.1", &[("cli", cli)]));
        let upper = one(d, &Payload { entries: vec![(file, "release-manifests/.wh..wh..opq".into(), vec![])] });
        vec![lower, upper]
    });
    made("upper-replaces", "an upper layer has another payload", Some(Code::BlobMissing), &|d, cli| {
        let lower = one(d, &Payload::new("4.16.1", &[("cli", cli)]));
        let mut upper = Payload::new("4.16.1", &[("cli", cli)]);
        upper.entries[1].2 = references("4.16.1", &[("evil", cli)]).into_bytes();
        vec![lower, one(d, &upper)]
    });
    made("layer-type", "a layer of a type that cannot be read", Some(Code::Malformed), &|d, cli| {
        let (_, layer) = one(d, &Payload::new("4.16.1", &[("cli", cli)]));
        vec![("application/vnd.example.layer".to_owned(), layer)]
    });
    made("layer-not-gzip", "a plain layer called gzip", Some(Code::Malformed), &|d, cli| {
        let (_, layer) = one(d, &Payload::new("4.16.1", &[("cli", cli)]));
        vec![(format!("{LAYER}+gzip"), layer)]
    });
    made("layer-cut", "a layer that ends early", Some(Code::Malformed), &|d, cli| {
        let bytes = Payload::new("4.16.1", &[("cli", cli)]).layer();
        vec![(LAYER.to_owned(), d.blob(Role::Layer, &bytes[..1200]))]
    });
    made("zstd-bomb", "image-references of 20 MiB in 700 bytes", Some(Code::Malformed), &|d, _| {
        let mut header = tar::Header::new_ustar();
        header.set_size(20 << 20);
        header.as_mut_bytes()[..REFERENCES.len()].copy_from_slice(REFERENCES.as_bytes());
        header.set_cksum();
        vec![(format!("{LAYER}+zstd"), d.blob(Role::Layer, &zstd_zeros(header.as_bytes(), 20 << 20, 17)))]
    });
    made("zstd-window", "a zstd frame with a window of 128 MiB", Some(Code::Malformed), &|d, _| {
        vec![(format!("{LAYER}+zstd"), d.blob(Role::Layer, &zstd_zeros(&[0; 512], 1 << 20, 27)))]
    });
    made("repeated-layer", "one layer 30 times, without a payload", Some(Code::Malformed), &|d, _| {
        let layer = one(d, &Payload { entries: vec![(file, "etc/x".into(), b"x".to_vec())] });
        vec![layer; 30]
    });
    made("no-layers", "no layer at all", Some(Code::Malformed), &|_, _| vec![]);
}

/// A zstd frame: `head` as it is, then so many zeros, with a window of 2^`window`.
fn zstd_zeros(head: &[u8], zeros: usize, window: u8) -> Vec<u8> {
    let block = |kind: u32, size: usize, last: bool| {
        (u32::from(last) | kind << 1 | (size as u32) << 3).to_le_bytes()[..3].to_vec()
    };
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd, 0, (window - 10) << 3];
    out.extend(block(0, head.len(), false));
    out.extend_from_slice(head);
    let mut left = zeros;
    while left > 0 {
        let size = left.min(1 << 16);
        left -= size;
        out.extend(block(1, size, left == 0));
        out.push(0);
    }
    out
}

fn signatures(out: &mut Vectors) {
    let is = |ids| (ids, Some(Code::ReleaseUnverified), "MB-VER-07 MB-REL");
    let path = |draft: &Draft, n: usize| format!("signatures/sha256={}/signature-{n}", draft.release_digest().hex());
    let mut with = |name: &str, what: &str, ids: &'static str, make: &dyn Fn(&Digest) -> Vec<u8>| {
        let mut draft = release(|_| {});
        draft.files.remove("manifests/release.yaml");
        let digest = draft.release_digest();
        draft.signature(&digest, 1, &make(&digest));
        out.add(name, what, is(ids), draft.archive());
    };
    with("signature-other-digest", "a good release signature for another digest", "P13", &|_| {
        openpgp::sign(&Digest::of(b"other"))
    });
    with("signature-garbage", "no OpenPGP at all", "P1", &|_| b"\x99garbage".to_vec());
    with("signature-armor", "an armored signature", "P4", &|_| {
        b"-----BEGIN PGP MESSAGE-----\n\nowEB\n-----END PGP MESSAGE-----\n".to_vec()
    });
    with("signature-twice", "two messages in one file", "P3 P6", &|d| [openpgp::sign(d), openpgp::sign(d)].concat());
    with("signature-trailing", "a byte behind the message", "P3", &|d| [openpgp::sign(d), vec![0]].concat());
    with("signature-unsigned", "a claim that nobody signed", "P1", &|d| {
        let whole = openpgp::sign(d);
        let start = usize::from(whole[1]) + 2;
        let end = whole.len() - 3;
        let literal = &whole[start..end];
        literal[..literal.len().min(3 + ((usize::from(literal[1]) - 192) << 8) + usize::from(literal[2]) + 192)]
            .to_vec()
    });
    with("signature-content", "a claim that was changed after it was signed", "P2", &|d| {
        let text = openpgp::sign(&Digest::of(b"other"));
        let other = Digest::of(b"other").to_string();
        let at = text.windows(other.len()).position(|w| w == other.as_bytes()).unwrap();
        let mut text = text;
        text[at..at + other.len()].copy_from_slice(d.to_string().as_bytes());
        text
    });
    with("signature-duplicate", "a claim with its digest twice", "P10", &|d| {
        let other = format!("\"image\":{{\"docker-manifest-digest\":\"{}\",", Digest::of(b"other"));
        openpgp::sign_text(openpgp::claim(d).replacen("\"image\":{", &other, 1).as_bytes())
    });
    with("signature-type", "a claim of another type", "P10", &|d| {
        openpgp::sign_text(openpgp::claim(d).replace("atomic container", "cosign container").as_bytes())
    });
    with("signature-future", "made in the future", "P7", &|d| {
        openpgp::sign_with(openpgp::claim(d).as_bytes(), 1_900_000_000, 8)
    });
    with("signature-before-key", "made before the key was", "P7", &|d| {
        openpgp::sign_with(openpgp::claim(d).as_bytes(), 1_600_000_000, 8)
    });
    with("signature-sha1", "SHA-1", "P8", &|d| openpgp::sign_with(openpgp::claim(d).as_bytes(), 1_793_491_200, 2));

    let mut draft = release(|_| {});
    draft.files.clear();
    out.add("unsigned", "no release signature", is("P1"), draft.archive());
    let allowed = out.add(
        "unsigned-allowed",
        "good: no release signature, with --allow-unsigned-release",
        ("P1", None, "MB-VER-07"),
        draft.archive(),
    );
    allowed.and(&["--allow-unsigned-release"]);
    let stranger = release(|_| {}).archive();
    out.add("other-keyring", "signed by a release key that is not pinned here", is("P9"), stranger).args(&[
        "--signer",
        "keys/builder.pub",
        "--at",
        "2026-11-23T00:00:00Z",
    ]);
    let mut draft = release(|_| {});
    let second = path(&draft, 2);
    draft.files.insert(second, b"\x99garbage".to_vec());
    out.add(
        "signature-second-bad",
        "good: one of two signatures is no signature",
        ("P6", None, "MB-VER-07"),
        draft.archive(),
    );
    let mut draft = release(|_| {});
    let (digest, other) = (draft.release_digest(), Digest::of(b"gone"));
    draft.signature(&other, 1, &openpgp::sign(&other));
    assert_ne!(digest, other);
    out.add(
        "signature-of-nothing",
        "a release signature for something that is not in the bundle",
        ("A3 P13", Some(Code::UnlistedContent), "MB-VER-07"),
        draft.archive(),
    );
    let mut draft = release(|_| {});
    draft.releases[0].trust = mirror_bundle::bundle::index::Trust::None;
    out.add(
        "trust-none",
        "good: a release that was not verified at creation and is now",
        ("P1", None, "MB-VER-07"),
        draft.archive(),
    );
    let change = |i: &mut Index| i.releases[0].signers = vec!["\u{1b}[2J".into()];
    out.add(
        "signers-escapes",
        "fingerprints with terminal escapes",
        ("E10", Some(Code::Malformed), "MB-IDX-05"),
        release(|_| {}).archive_of(change),
    );
}

fn config_maps(out: &mut Vectors) {
    let mut with = |name: &str, what: &str, code: Option<Code>, make: &dyn Fn(&Draft) -> Vec<u8>| {
        let mut draft = release(|_| {});
        let map = make(&draft);
        draft.files.insert("manifests/release.yaml".into(), map);
        out.add(name, what, ("G6 P13", code, "MB-VER-09"), draft.archive());
    };
    let text = |d: &Draft| String::from_utf8(d.files["manifests/release.yaml"].clone()).unwrap();
    let malformed = Some(Code::Malformed);
    let other = Digest::of(b"other");
    with("map-other-digest", "the ConfigMap is for a digest that is not here", malformed, &|d| {
        d.signature_map(&other, &openpgp::sign(&other))
    });
    with(
        "map-other-signature",
        "the ConfigMap has a signature for another digest",
        Some(Code::ReleaseUnverified),
        &|d| d.signature_map(&d.release_digest(), &openpgp::sign(&other)),
    );
    with("map-garbage", "the ConfigMap has no signature but garbage", Some(Code::ReleaseUnverified), &|d| {
        d.signature_map(&d.release_digest(), b"\x99garbage")
    });
    with("map-component", "the ConfigMap is for a component", Some(Code::ReleaseUnverified), &|d| {
        d.signature_map(&d.images[1].digest, &openpgp::sign(&d.release_digest()))
    });
    with("map-namespace", "the ConfigMap is in another namespace", malformed, &|d| {
        text(d).replace("openshift-config-managed", "default").into_bytes()
    });
    with("map-kind", "signatures in a Secret", Some(Code::Policy), &|d| {
        text(d).replace("ConfigMap", "Secret").into_bytes()
    });
    with("map-base64", "the ConfigMap has something that is not base64", malformed, &|d| {
        text(d).replace("-1\":\"", "-1\":\"*").into_bytes()
    });
    with("map-key", "the ConfigMap has a key that names no digest", malformed, &|d| {
        let hex = d.release_digest().hex();
        text(d).replace(&format!("\"sha256-{hex}-1\""), "\"sha256-1\"").into_bytes()
    });
    with("map-extra", "the ConfigMap has plain data, too", malformed, &|d| {
        text(d).replace("\"binaryData\"", "\"data\":{\"x\":\"y\"},\"binaryData\"").into_bytes()
    });
    with("map-two-documents", "the ConfigMap and another object in one file", malformed, &|d| {
        format!("{}---\n{}", namespace("other"), text(d)).into_bytes()
    });
    with("map-absent", "good: no ConfigMap", None, &|_| namespace("release").into_bytes());
}
