#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;

use base64::Engine as _;

use super::*;
use crate::bundle::index::Kind;
use crate::error::Code;
use crate::oci::Digest;
use crate::policy::facts::{ImageFacts, LayerFacts, ObjectFacts, PackageFacts};
use crate::report::signature::Outcome as Good;
use crate::report::{
    Accepted, Check, CheckId, Decision, Finding, PolicyUsed, Severity, SignatureOutcome, Standing, Subject,
};
use crate::scan::{self, Origin, Outcome, Spot};

/// Texts that want to be more than text.
const HOSTILE: [&str; 14] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' style='display:none",
    "</style><style>*{display:none}</style>",
    "</title></head><body onload=x>",
    "<!-- ",
    "a|b | c",
    "`code` ``",
    "[x](http://evil.example/) ![y](https://evil.example/z.png)",
    "</code></pre>\n# VERIFIED\n\n- x",
    "a\u{202e}b\u{200b}c\u{1b}[2Jd\u{9b}",
    "&lt;b&gt; &#60;",
    "* _x_ ~~y~~ <https://evil.example> www.evil.example",
    "x                                        VERIFIED AND SCANNED",
];

fn digest(n: usize) -> Digest {
    Digest::of(n.to_string().as_bytes())
}

struct World {
    report: Report,
    index: Index,
    facts: Facts,
    scan: Summary,
}

fn signature(role: &str, name: &str) -> SignatureOutcome {
    SignatureOutcome {
        origin: "mirror-bundle/index.json.sig".into(),
        name: Some(name.into()),
        role: Some(role.into()),
        key: Some("SHA256:uJsgdkr180Tk/U0cGg08wShJUiZ2wiIi8skreRV2JQI".into()),
        outcome: Standing::Evaluated(Good::Good),
        detail: None,
    }
}

impl World {
    /// A verified bundle with this many images.
    fn new(images: usize, name: &dyn Fn(usize) -> String) -> World {
        let subject = Subject {
            path: "ocp.tar".into(),
            index: digest(0).to_string(),
            bytes: 1 << 30,
            name: Some(name(0)),
            sequence: Some(42),
            created: Some("2026-11-28T11:24:00Z".into()),
        };
        let mut report = Report::new(subject, "2026-11-28T11:31:02Z".into());
        for id in [CheckId::Format, CheckId::BundleSignature, CheckId::BlobDigests, CheckId::Manifests] {
            report.add(Check { examined: 9, of: 9, details: vec![name(1)], ..Check::new(id) });
        }
        report.signatures.push(signature("builder", "build-host"));
        report.conclude();
        let mut index = crate::bundle::index::tests::sample();
        index.images = (0..images)
            .map(|n| Image {
                repository: Some(name(n)),
                tag: Some("1".into()),
                digest: digest(n),
                media_type: crate::oci::media_type::OCI_MANIFEST.into(),
                size: 1,
                platforms: vec![],
                kind: Kind::Additional,
                component: None,
                release: None,
                subject: None,
                derived: None,
                requested_by: String::new(),
            })
            .collect();
        index.releases.clear();
        let image = |n: usize| ImageFacts {
            names: vec![format!("{}:1", name(n))],
            digest: digest(n).to_string(),
            listed: vec![digest(n).to_string()],
            runs: true,
            platform: Some("linux/amd64".into()),
            user: name(n),
            size: 40 << 20,
            newest_layer: Some("2026-11-09T00:00:00Z".into()),
            layers: (0..5).map(|l| LayerFacts { digest: digest(l).to_string(), size: 8 << 20, shared: 2 }).collect(),
            system: Some(name(n)),
            packages: Some(
                (0..100)
                    .map(|p| PackageFacts {
                        purl: format!("pkg:rpm/p{p}@{n}"),
                        license: Some(name(p)),
                        ..PackageFacts::default()
                    })
                    .collect(),
            ),
            ..ImageFacts::default()
        };
        let facts = Facts {
            images: (0..images).map(image).collect(),
            objects: vec![ObjectFacts::default()],
            ..Facts::default()
        };
        World { report, index, facts, scan: Summary { contents: 9, clean: 9, ..Summary::default() } }
    }

    fn find(&mut self, finding: Finding) {
        self.report.checks[3].find(finding);
        self.report.conclude();
    }

    fn found(&mut self, names: &[&str], path: &str, images: Vec<String>) {
        let origin = Origin { kind: "layer", what: digest(1).to_string(), images };
        self.scan.found += 1;
        self.scan.findings.push(scan::Finding {
            outcome: Outcome::Found,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            reason: None,
            why: None,
            scanner: Some("clamd".into()),
            sha256: Some("ab".repeat(32)),
            size: Some(68),
            places: vec![Spot { origin, path: path.to_owned() }],
            more_places: 0,
            accepted: None,
        });
    }

    fn sheet(&self, exit_code: u8) -> Sheet<'_> {
        Sheet {
            made: Made {
                version: "0.2.0",
                host: "review-7".into(),
                at: "2026-11-28T11:31:02Z".into(),
                given: true,
                document: "cd".repeat(32),
                bundle: "ocp.tar".into(),
                trust: "--trust trust.yaml".into(),
            },
            report: &self.report,
            exit_code,
            refused: false,
            index: Some(&self.index),
            facts: Some(&self.facts),
            scan: Some(&self.scan),
            trusted: Trusted {
                required: vec![("builder", 1)],
                reviewers: vec![("review-desk".into(), "SHA256:HnUAfpeuNp1lfA5ImwYX/4icsmX6psDLcuUZ91wwG5s".into())],
            },
            effects: Vec::new(),
            since: None,
        }
    }
}

/// Everything hostile at every place that has text from outside.
fn hostile() -> World {
    let name = |n: usize| HOSTILE[n % HOSTILE.len()].to_owned();
    let mut world = World::new(HOSTILE.len(), &name);
    for text in HOSTILE {
        world.find(Finding::new(Code::Policy, text, format!("found {text}")).fact(text).hint(text));
        world.find(Finding::notice(Code::RiskFact, text, format!("noted {text}")));
        world.found(&[text], text, vec![text.to_owned(), format!("{text}:1")]);
        world.report.exceptions.push(text.to_owned());
        world.report.skip(CheckId::ImageSignatures, false, text);
        world.report.signatures.push(SignatureOutcome { origin: text.into(), ..signature(text, text) });
    }
    let accepted = |text: &&str| Accepted {
        rule: Some((*text).to_owned()),
        scanner: None,
        subject: (*text).to_owned(),
        decision: Decision { reason: (*text).to_owned(), by: (*text).to_owned(), until: (*text).to_owned() },
        findings: 2,
        closed: vec![(*text).to_owned()],
    };
    world.report.accepted = HOSTILE.iter().map(accepted).collect();
    let (file, sha256) = (HOSTILE[0].to_owned(), HOSTILE[1].to_owned());
    world.report.policy = Some(PolicyUsed { file, sha256, rules: 8, accept: 1 });
    world.report.bundle.path = HOSTILE[0].into();
    world
}

fn hostile_sheet(world: &World) -> Sheet<'_> {
    let mut sheet = world.sheet(41);
    sheet.made.host = HOSTILE[1].into();
    sheet.made.bundle = HOSTILE[2].into();
    sheet.since = Some(Since {
        title: HOSTILE[0].into(),
        index: digest(3).to_string(),
        releases: vec![HOSTILE[1].into()],
        standing: HOSTILE[9].into(),
        images: HOSTILE
            .iter()
            .flat_map(|text| {
                ["new", "changed", "gone"].map(|what| Change {
                    name: (*text).into(),
                    what,
                    bytes: 7,
                    digests: vec![digest(1).to_string()],
                })
            })
            .collect(),
        objects: HOSTILE.iter().map(|text| ("new", (*text).to_owned())).collect(),
        ..Since::default()
    });
    sheet.effects = HOSTILE
        .iter()
        .filter_map(|text| {
            let object = serde_json::json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": text, "namespace": text},
                "spec": {"containers": [{"image": text}], "serviceAccountName": text}
            });
            effects::of(text, object.to_string().as_bytes())
        })
        .collect();
    sheet
}

/// The tags of a page in order, each with its attributes; fails where they are not nested.
fn tags(html: &str) -> Vec<(String, Vec<(String, String)>)> {
    const VOID: [&str; 3] = ["meta", "br", "!DOCTYPE"];
    let (mut out, mut open): (Vec<_>, Vec<String>) = (Vec::new(), Vec::new());
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        assert!(
            !rest[..at].contains('>') || open.last().is_some_and(|tag| tag == "style"),
            "a stray > in {}",
            &rest[..at]
        );
        let end = at + rest[at..].find('>').expect("a tag ends");
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "nesting before {}", &rest[..rest.len().min(80)]);
            continue;
        }
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        let closed = attributes.ends_with('/') || name.ends_with('/');
        let name = name.trim_end_matches('/').to_owned();
        let mut parsed = Vec::new();
        let mut left = attributes.trim_end_matches('/').trim();
        while let Some((key, after)) = left.split_once("=\"") {
            let (value, next) = after.split_once('"').expect("an attribute ends");
            parsed.push((key.trim().to_owned(), value.to_owned()));
            left = next.trim();
        }
        if !closed && !VOID.contains(&name.as_str()) {
            open.push(name.clone());
        }
        out.push((name, parsed));
    }
    assert!(open.is_empty(), "{open:?}");
    out
}

#[test]
fn a_page_has_only_the_tags_of_this_program_whatever_the_names_are() {
    let world = hostile();
    let html = html(&hostile_sheet(&world));
    let plain = World::new(3, &|n| format!("reg.example/app{n}"));
    let tags = tags(&html);
    let allowed = [
        "!DOCTYPE",
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "h2",
        "h3",
        "p",
        "b",
        "code",
        "span",
        "br",
        "div",
        "dl",
        "dt",
        "dd",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "figure",
        "figcaption",
        "pre",
        "svg",
        "defs",
        "pattern",
        "rect",
        "circle",
        "g",
        "text",
    ];
    for (name, attributes) in &tags {
        assert!(allowed.contains(&name.as_str()), "{name}");
        for (key, value) in attributes {
            assert!(key != "style" && key != "href" && key != "src" && !key.starts_with("on"), "{name} {key}");
            assert!(!value.contains("evil") && !value.contains("alert"), "{name} {key}={value}");
        }
    }
    assert!(!html.to_lowercase().contains("<script") && !html.contains("style=\""));
    assert_eq!(html.matches("<style>").count(), 1);
    for c in ['\u{202e}', '\u{200b}', '\u{1b}', '\u{9b}'] {
        assert!(!html.contains(c), "{:?}", c.escape_unicode());
    }
    assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    let kinds = |html: &str| super::tests::tags(html).into_iter().map(|(name, _)| name).collect::<BTreeSet<_>>();
    assert!(kinds(&super::html(&plain.sheet(0))).is_subset(&kinds(&html)));
}

#[test]
fn the_policy_of_a_page_names_its_one_style_and_allows_nothing_else() {
    let world = World::new(2, &|n| format!("reg.example/app{n}"));
    let html = html(&world.sheet(0));
    let style = html.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    let hash: Vec<u8> = Digest::of(style.as_bytes())
        .hex()
        .as_bytes()
        .chunks(2)
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
        .collect();
    let hash = base64::engine::general_purpose::STANDARD.encode(hash);
    let policy =
        format!("content=\"default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'\"");
    assert!(html.contains(&policy), "{policy}");
    assert!(!style.contains("url(") && !style.contains("@import"));
    assert!(html.find("Content-Security-Policy").unwrap() < html.find("<style>").unwrap());
}

#[test]
fn markdown_has_no_markup_that_is_not_of_this_program() {
    let world = hostile();
    let text = markdown(&hostile_sheet(&world));
    let mut rest = text.as_str();
    while let Some(at) = rest.find('<') {
        rest = &rest[at..];
        let ours = ["<b>", "</b>", "<code>", "</code>", "<br>", "<pre>", "</pre>"];
        assert!(ours.iter().any(|tag| rest.starts_with(tag)), "{}", &rest[..rest.len().min(60)]);
        rest = &rest[1..];
    }
    assert!(!text.contains('`') && !text.contains("](") && !text.contains("http:") && !text.contains("https:"));
    assert!(!text.contains("www.") && !text.contains("~~") && !text.contains('\u{202e}') && !text.contains('\u{1b}'));
    let mut columns = None;
    for line in text.lines() {
        assert!(!line.starts_with("# VERIFIED") && !line.starts_with("- ") && !line.starts_with("    "), "{line}");
        let pipes = line.matches('|').count();
        match (line.starts_with('|'), columns) {
            (true, Some(wanted)) => assert_eq!(pipes, wanted, "{line}"),
            (true, None) => columns = Some(pipes),
            (false, _) => {
                assert_eq!(pipes, 0, "{line}");
                columns = None;
            }
        }
    }
    for heading in text.lines().filter(|line| line.starts_with('#')) {
        assert!(!heading.contains("script>"), "{heading}");
    }
}

#[test]
fn a_release_of_190_images_makes_a_page_of_at_most_a_mebibyte() {
    let name = |n: usize| format!("quay.io/openshift-release-dev/ocp-v4.0-art-dev/component-with-a-long-name-{n}");
    let mut world = World::new(190, &name);
    for n in 0..2000 {
        world.found(
            &["Desk.Test"],
            &format!("usr/share/doc/some/longer/path/file-{n}.zip"),
            vec![format!("{}:1", name(n % 190))],
        );
        world.find(Finding::new(
            Code::Policy,
            digest(n % 190).to_string(),
            format!("rule {n} found something in a file"),
        ));
    }
    let mut sheet = world.sheet(35);
    let object = |n: usize| {
        let object = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("c{n}"), "namespace": "n"}});
        effects::of(&format!("manifests/c{n}.json"), object.to_string().as_bytes())
    };
    sheet.effects = (0..1000).filter_map(object).collect();
    let (html, text) = (html(&sheet), markdown(&sheet));
    assert!(html.len() < 1 << 20, "{}", html.len());
    assert!(text.len() < 1 << 20, "{}", text.len());
    for n in 0..190 {
        assert!(html.contains(&digest(n).to_string()), "image {n}");
    }
    assert!(html.contains("more findings are not on this page."), "what is left out is counted");
    assert_eq!(html, super::html(&sheet));
}

#[test]
fn a_reviewer_who_has_not_signed_is_not_yet_there_and_no_failure() {
    let world = World::new(2, &|n| format!("reg.example/app{n}"));
    let html = html(&world.sheet(0));
    assert!(html.contains("VERIFIED AND SCANNED: NOTHING FOUND"));
    assert!(html.contains("1 of 1 builder, reviewer: not yet"));
    assert!(html.contains("<td>not yet</td>") && html.contains("review-desk"));
}

#[test]
fn no_approval_of_a_reviewer_stands_beside_do_not_import() {
    let mut world = World::new(2, &|n| format!("reg.example/app{n}"));
    world.report.signatures.push(signature("reviewer", "review-desk"));
    let first = |world: &World, code| html(&world.sheet(code)).split_once("class=\"brk\"").unwrap().0.to_owned();
    let good = first(&world, 0);
    assert!(good.contains("<td>reviewer</td><td>review-desk</td>"), "beside a good verdict it is there");
    world.found(&["Desk.Test"], "tmp/eicar.com", vec!["reg.example/app1:1".into()]);
    let bad = first(&world, 35);
    assert!(
        bad.contains("DO NOT IMPORT") && !bad.contains("<td>reviewer</td>") && !bad.contains("1 of 1 reviewer"),
        "{bad}"
    );
    assert!(bad.contains("no approval of what it says"));
    let all = html(&world.sheet(35));
    assert!(all.contains("--remove reg.example/app1:1"), "the command that removes it");
}

#[test]
fn a_sheet_never_says_more_than_the_exit_code() {
    let mut world = World::new(1, &|n| format!("reg.example/app{n}"));
    assert_eq!(world.sheet(0).saying(), Saying::Clean);
    let scanned = world.scan.clone();
    assert_eq!(Sheet { scan: None, ..world.sheet(0) }.saying(), Saying::NotScanned);
    assert_eq!(world.sheet(42).saying(), Saying::Incomplete);
    for code in [10, 12, 21, 33, 35, 40, 41] {
        assert_eq!(world.sheet(code).saying(), Saying::Against, "{code}");
    }
    assert_eq!(Sheet { refused: true, ..world.sheet(22) }.saying(), Saying::Refused);
    // What is accepted, or a warning, is not nothing.
    world.report.accepted.push(Accepted {
        rule: None,
        scanner: Some("clamd".into()),
        subject: "sha256:00".into(),
        decision: Decision { reason: "r".into(), by: "b".into(), until: "2027-01-01".into() },
        findings: 1,
        closed: Vec::new(),
    });
    assert_eq!(world.sheet(0).saying(), Saying::Accepted);
    world.find(Finding { severity: Severity::Warning, ..Finding::new(Code::Policy, "x", "a rule") });
    world.report.verdict = Verdict::Verified;
    assert_eq!(world.sheet(0).saying(), Saying::Warned);
    world.report.verdict = Verdict::Failed;
    // An error that the exit code does not know.
    world.scan = scanned;
    world.find(Finding::new(Code::Policy, "x", "a rule"));
    assert_eq!(world.sheet(0).saying(), Saying::Incomplete);
    world.report.verdict = Verdict::Verified;
    assert_eq!(world.sheet(0).saying(), Saying::Against);
    assert_eq!(world.sheet(42).saying(), Saying::Against);
}

#[test]
fn what_is_not_here_was_not_read() {
    let mut world = World::new(1, &|n| format!("reg.example/app{n}"));
    world.report.skip(CheckId::RestoredBlobs, false, "3 blobs are not carried".to_owned());
    let text = markdown(&world.sheet(0));
    assert!(text.contains("NOT ALL IS HERE") && !text.contains("every byte was read"), "{text}");
    let trusted = Trusted { required: Vec::new(), ..world.sheet(0).trusted };
    let text = markdown(&Sheet { trusted, ..world.sheet(0) });
    assert!(text.contains("no signature is required here"), "{text}");
}

#[test]
fn the_place_in_the_log_stands_on_the_first_page() {
    let mut world = World::new(1, &|n| format!("reg.example/app{n}"));
    world.report.proof.log = Some(crate::report::Place { n: 41, sha256: "0123456789abcdef".repeat(4) });
    for page in [html(&world.sheet(0)), markdown(&world.sheet(0))] {
        let first = page.split("Findings, worst first").next().unwrap();
        assert_eq!(first.matches("log 41 0123456789abcdef").count(), 2, "{first}");
    }
}
