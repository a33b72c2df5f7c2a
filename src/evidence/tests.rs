#![allow(clippy::unwrap_used)]
use super::*;

const NOW: &str = "2026-11-28T00:00:00Z";

fn digest(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

/// Two images: `a`, a list with the manifests `a1` and `a2` and their configurations `ac` and `a2c`; and `b`.
fn images() -> Vec<Image> {
    let member =
        |manifest: &str, config: Option<&str>| Member { manifest: digest(manifest), config: config.map(digest) };
    let image =
        |name: &str, members: Vec<Member>| Image { name: format!("quay.io/x/{name}:1"), digest: digest(name), members };
    let list = vec![member("a", None), member("a1", Some("ac")), member("a2", Some("a2c"))];
    vec![image("a", list), image("b", vec![member("b", Some("bc"))])]
}

fn evidence(text: &str, named: Option<&str>) -> Result<Evidence, String> {
    parse(text.as_bytes())?.evidence(("f", &digest(text)), &images(), named, NOW.parse().unwrap())
}

fn grype(manifest: &str, config: &str) -> String {
    format!(
        "{{\"matches\":[{{\"vulnerability\":{{\"id\":\"CVE-1\",\"severity\":\"Critical\",\"description\":\"a\\nb\"}}}},\
         {{\"vulnerability\":{{\"id\":\"CVE-2\",\"severity\":\"Low\"}}}},{{\"vulnerability\":{{\"id\":\"CVE-3\",\"severity\":\"Odd\"}}}}],\
         \"source\":{{\"type\":\"image\",\"target\":{{\"manifestDigest\":\"{}\",\"imageID\":\"{}\"}}}},\
         \"descriptor\":{{\"name\":\"grype\",\"version\":\"0.104.0\",\"timestamp\":\"2026-11-27T12:00:00Z\",\"db\":{{\"status\":{{\"built\":\"2026-11-20T00:00:00Z\"}}}}}}}}",
        digest(manifest),
        digest(config)
    )
}

fn trivy(config: &str, repo: &str) -> String {
    format!(
        "{{\"SchemaVersion\":2,\"Trivy\":{{\"Version\":\"0.67.2\"}},\"CreatedAt\":\"2026-11-26T00:00:00.5Z\",\"ArtifactType\":\"container_image\",\
         \"Metadata\":{{\"ImageID\":\"{}\",\"RepoDigests\":[\"quay.io/x/a@{}\"]}},\
         \"Results\":[{{\"Target\":\"t\",\"Vulnerabilities\":[{{\"VulnerabilityID\":\"CVE-1\",\"Severity\":\"HIGH\"}}]}},{{\"Target\":\"u\",\
         \"Misconfigurations\":[{{\"Severity\":\"HIGH\",\"Status\":\"PASS\"}},{{\"Severity\":\"LOW\",\"Status\":\"FAIL\"}}]}}]}}",
        digest(config),
        digest(repo)
    )
}

fn openvex(product: &str) -> String {
    format!(
        "{{\"@context\":\"https://openvex.dev/ns/v0.2.0\",\"@id\":\"x\",\"author\":\"Team\",\"timestamp\":\"2026-11-01T00:00:00Z\",\"version\":3,\
         \"statements\":[{{\"vulnerability\":{{\"name\":\"CVE-1\"}},\"products\":[{product}],\"status\":\"not_affected\"}},\
         {{\"vulnerability\":{{\"name\":\"CVE-2\"}},\"products\":[],\"status\":\"fixed\"}}]}}"
    )
}

fn csaf(helper: &str, named: &str) -> String {
    format!(
        "{{\"document\":{{\"category\":\"csaf_vex\",\"csaf_version\":\"2.0\",\"publisher\":{{\"name\":\"Vendor\"}},\
         \"tracking\":{{\"id\":\"V-1\",\"version\":\"2\",\"current_release_date\":\"2026-11-18T00:00:00+00:00\"}}}},\
         \"product_tree\":{{\"branches\":[{{\"category\":\"vendor\",\"branches\":[{{\"product\":{{\"product_id\":\"img\",\"product_identification_helper\":{helper}}}}}]}}],\
         \"relationships\":[{{\"product_reference\":\"img\",\"relates_to_product_reference\":\"ocp\",\"full_product_name\":{{\"product_id\":\"ocp:img\"}}}}]}},\
         \"vulnerabilities\":[{{\"cve\":\"CVE-1\",\"product_status\":{{\"known_not_affected\":[\"{named}\"],\"fixed\":[\"y\",\"z\"]}}}}]}}"
    )
}

const SARIF: &str = "{\"version\":\"2.1.0\",\"runs\":[{\"tool\":{\"driver\":{\"name\":\"Semgrep\",\"semanticVersion\":\"1.9.0\"}},\
    \"results\":[{\"ruleId\":\"a\",\"level\":\"error\"},{\"ruleId\":\"b\"},{\"ruleId\":\"c\",\"level\":\"error\",\"kind\":\"pass\"}]}]}";

fn counts(of: &Evidence) -> Vec<(&str, u64)> {
    of.counts.iter().map(|(word, n)| (word.as_str(), *n)).collect()
}

#[test]
fn grype_is_bound_by_manifest_or_configuration_and_its_database_has_an_age() {
    let one = evidence(&grype("a1", "ac"), None).unwrap();
    assert_eq!((one.format, one.tool.as_str(), one.version.as_deref()), ("grype", "grype", Some("0.104.0")));
    assert_eq!(one.age_days, Some(8));
    assert_eq!(counts(&one), [("critical", 1), ("low", 1), ("unknown", 1)]);
    assert_eq!((one.images[0].image.as_str(), one.images[0].by), ("quay.io/x/a:1", "manifest"));
    assert_eq!(one.images[0].digest, digest("a1").to_string());
    let by_config = evidence(&grype("converted", "bc"), None).unwrap();
    assert_eq!((by_config.images[0].image.as_str(), by_config.images[0].by), ("quay.io/x/b:1", "config"));
    let before = grype("a1", "ac")
        .replace("{\"status\":{\"built\":\"2026-11-20T00:00:00Z\"}}", "{\"built\":\"2026-11-26T00:00:00Z\"}");
    assert_eq!(evidence(&before, None).unwrap().age_days, Some(2));
}

#[test]
fn trivy_is_bound_by_configuration_or_repository_digest() {
    let one = evidence(&trivy("ac", "nowhere"), None).unwrap();
    assert_eq!((one.format, one.version.as_deref(), one.age_days), ("trivy", Some("0.67.2"), Some(1)));
    assert_eq!(counts(&one), [("high", 1), ("low", 1)]);
    assert_eq!(one.images[0].by, "config");
    assert_eq!(evidence(&trivy("nothing", "a"), None).unwrap().images[0].by, "manifest");
    assert!(evidence(&trivy("ac", "a").replace("\"SchemaVersion\":2", "\"SchemaVersion\":1"), None).is_err());
}

#[test]
fn sarif_needs_the_name_of_an_image_that_is_in_the_bundle() {
    assert!(evidence(SARIF, None).unwrap_err().contains("--for"));
    assert!(evidence(SARIF, Some("quay.io/x/c:1")).unwrap_err().contains("not in the bundle"));
    for name in ["quay.io/x/a:1".to_owned(), digest("a1").to_string(), digest("ac").to_string()] {
        let one = evidence(SARIF, Some(&name)).unwrap();
        assert_eq!((one.images[0].image.as_str(), one.images[0].by), ("quay.io/x/a:1", "named"), "{name}");
        assert_eq!(counts(&one), [("error", 1), ("none", 1), ("warning", 1)]);
    }
    let two = SARIF.replacen("[{\"tool\"", "[{\"tool\":{\"driver\":{\"name\":\"x\"}}},{\"tool\"", 1);
    assert!(evidence(&two, Some("quay.io/x/a:1")).unwrap_err().contains("2 runs"));
}

#[test]
fn vex_of_both_forms_is_bound_by_the_digest_of_a_product() {
    let hex = digest("a1").hex();
    for product in [
        format!("{{\"@id\":\"pkg:oci/a@sha256%3A{hex}?arch=amd64\"}}"),
        format!("{{\"@id\":\"pkg:oci/a@sha256:{hex}\"}}"),
        format!("{{\"@id\":\"x\",\"hashes\":{{\"sha-256\":\"{hex}\"}}}}"),
        format!("{{\"@id\":\"x\",\"identifiers\":{{\"purl\":\"pkg:oci/a@sha256:{hex}\"}}}}"),
        format!("\"pkg:oci/a@sha256:{hex}\""),
    ] {
        let one = evidence(&openvex(&product), None).unwrap();
        assert_eq!((one.tool.as_str(), one.version.as_deref(), one.age_days), ("Team", Some("3"), Some(27)));
        assert_eq!(counts(&one), [("fixed", 1), ("not_affected", 1)]);
        assert_eq!(one.images[0].image, "quay.io/x/a:1", "{product}");
    }
    for (helper, named) in [
        (format!("{{\"purl\":\"pkg:oci/a@sha256:{hex}?tag=1\"}}"), "img"),
        (format!("{{\"purl\":\"pkg:oci/a@sha256:{hex}\"}}"), "ocp:img"),
        (format!("{{\"hashes\":[{{\"file_hashes\":[{{\"algorithm\":\"sha256\",\"value\":\"{hex}\"}}]}}]}}"), "img"),
    ] {
        let one = evidence(&csaf(&helper, named), None).unwrap();
        assert_eq!((one.format, one.tool.as_str(), one.age_days), ("csaf-vex", "Vendor", Some(10)));
        assert_eq!(counts(&one), [("fixed", 2), ("not_affected", 1)]);
    }
    let known = format!("{{\"purl\":\"pkg:oci/a@sha256:{hex}\"}}");
    assert!(evidence(&csaf(&known, "other"), None).is_err(), "no statement is about that product");
    assert!(evidence(&openvex("{\"@id\":\"pkg:rpm/redhat/bash@5\"}"), None).unwrap_err().contains("by its digest"));
}

#[test]
fn evidence_about_another_image_or_about_two_is_refused() {
    assert!(evidence(&grype("c", "cc"), None).unwrap_err().contains(&digest("c").to_string()));
    assert!(evidence(&trivy("cc", "c"), None).unwrap_err().contains("not in the bundle"));
    assert!(evidence(&grype("a1", "bc"), None).unwrap_err().contains("one image and the configuration of another"));
    assert!(evidence("{\"descriptor\":{\"name\":\"syft\"}}", None).unwrap_err().contains("none of these"));
    let folder = grype("a", "a").replace("manifestDigest", "x").replace("imageID", "y");
    assert!(evidence(&folder, None).unwrap_err().contains("by its digest"));
}

#[test]
fn repeated_members_and_control_characters_are_refused_with_their_line() {
    let good =
        grype("a1", "ac").replacen("{\"matches\"", "{\n\"matches\"", 1).replacen("\"source\"", "\n\"source\"", 1);
    assert!(evidence(&good, None).is_ok());
    for (old, new) in [
        ("\"type\":\"image\"", "\"type\":\"image\",\"type\":\"x\""),
        ("0.104.0", "0.\\u001b[2J"),
        ("0.104.0", "0.\u{1b}[2J"),
        ("0.104.0", "0.\\b"),
        ("0.104.0", "0.\u{9b}"),
        ("0.104.0", "0.\\u0000"),
    ] {
        let why = evidence(&good.replacen(old, new, 1), None).unwrap_err();
        assert!(why.contains("line 3"), "{new}: {why}");
    }
    assert!(parse(&vec![b' '; usize::try_from(LIMIT).unwrap() + 1]).unwrap_err().contains("larger"));
    assert!(evidence(&good.replace("0.104.0", &"1".repeat(300)), None).unwrap_err().contains("version"));
    assert!(evidence(&good.replace("0.104.0", ""), None).is_err());
}

/// Evidence of all files, with what VEX closes.
fn together(files: &[&str]) -> Vec<Evidence> {
    let parsed: Vec<Parsed> = files.iter().map(|text| parse(text.as_bytes()).unwrap()).collect();
    let one = |(parsed, text): (&Parsed, &&str)| {
        parsed.evidence(("f", &digest(text)), &images(), None, NOW.parse().unwrap()).unwrap()
    };
    let mut bound: Vec<Evidence> = parsed.iter().zip(files).map(one).collect();
    let named: Vec<(&str, &Parsed)> = parsed.iter().map(|parsed| ("file", parsed)).collect();
    close(&named, &mut bound, &images());
    bound
}

/// The ids that are closed.
fn closed(files: &[&str]) -> Vec<String> {
    together(files)[0].closed.iter().map(|one| one.id.clone()).collect()
}

const BASH: &str = "pkg:rpm/redhat/bash@5.1-2?arch=x86_64&distro=rhel-9";

/// As grype writes it: a vulnerability of bash and one without package, in the platform `a1`.
fn matches() -> String {
    let matches = format!(
        "{{\"matches\":[{{\"vulnerability\":{{\"id\":\"GHSA-1\",\"severity\":\"High\"}},\
         \"relatedVulnerabilities\":[{{\"id\":\"CVE-1\"}}],\"artifact\":{{\"purl\":\"{BASH}\"}}}},\
         {{\"vulnerability\":{{\"id\":\"CVE-2\",\"severity\":\"High\"}},\"artifact\":{{\"name\":\"x\"}}}}],"
    );
    let rest = grype("a1", "ac");
    matches + &rest[rest.find("\"source\"").unwrap()..]
}

/// An OpenVEX file with these statements: id, status, time and products.
fn says(author: &str, statements: &[(&str, &str, &str, &str)]) -> String {
    let one = |(id, status, time, products): &(&str, &str, &str, &str)| {
        format!(
            "{{\"vulnerability\":{{\"name\":\"{id}\"}},\"status\":\"{status}\",\"timestamp\":\"2026-11-{time}T00:00:00Z\",\"products\":[{products}]}}"
        )
    };
    let all: Vec<String> = statements.iter().map(one).collect();
    format!(
        "{{\"@context\":\"https://openvex.dev/ns/v0.2.0\",\"author\":\"{author}\",\"version\":1,\"statements\":[{}]}}",
        all.join(",")
    )
}

#[test]
fn vex_closes_what_it_names_in_the_image_and_package_that_it_names() {
    let image = |name: &str, parts: &str| format!("{{\"@id\":\"pkg:oci/x@{}\"{parts}}}", digest(name));
    let parts = |purl: &str| format!(",\"subcomponents\":[{{\"@id\":\"{purl}\"}}]");
    let about_a = format!(",{}", image("a", ""));
    for (id, product, closes) in [
        ("CVE-1", image("a", ""), true),
        ("CVE-1", image("a1", ""), true),
        ("CVE-1", image("ac", ""), true),
        ("GHSA-1", image("a1", ""), true),
        ("CVE-9", image("a1", ""), false),
        ("CVE-1", image("a2", ""), false),
        ("CVE-1", image("b", ""), false),
        ("CVE-2", image("a1", ""), true),
        ("CVE-2", image("a1", &parts(BASH)), false),
        ("CVE-1", image("a1", &parts("pkg:rpm/redhat/bash")), true),
        ("CVE-1", image("a1", &parts("pkg:rpm/redhat/bash@5.1-2")), true),
        ("CVE-1", image("a1", &parts("pkg:rpm/redhat/bash@5.1-2?distro=rhel-9")), true),
        ("CVE-1", image("a1", &parts("pkg:rpm/redhat/bash@5.1-2?distro=rhel-8")), false),
        ("CVE-1", image("a1", &parts("pkg:rpm/redhat/bash@5.1-1")), false),
        ("CVE-1", image("a1", &parts("pkg:deb/redhat/bash@5.1-2")), false),
        ("CVE-1", image("a1", &parts("bash")), false),
        ("CVE-1", format!("{{\"@id\":\"{BASH}\"}}{about_a}"), true),
        ("CVE-1", format!("{{\"@id\":\"pkg:oci/other\"{}}}", parts(BASH)), false),
    ] {
        // Another statement binds the file to the image.
        let vex = says("Team", &[(id, "not_affected", "01", &product), ("CVE-0", "fixed", "01", &image("a", ""))]);
        let found = closed(&[&matches(), &vex]);
        assert_eq!(found.len(), usize::from(closes), "{id} {product}: {found:?}");
    }
    let both = together(&[&matches(), &says("Team", &[("CVE-1", "fixed", "01", &image("a", ""))])]);
    assert_eq!(
        (counts(&both[0]), both[0].open.clone().unwrap()),
        (vec![("high", 2)], BTreeMap::from([("high".to_owned(), 1)]))
    );
    assert_eq!((both[0].closed[0].author.as_str(), both[0].closed[0].status), ("Team", "fixed"));
    assert!(both[1].open.is_none() && together(&[&matches()])[0].open.is_none());
    let trivy = trivy("ac", "nowhere");
    assert_eq!(closed(&[&trivy, &says("Team", &[("CVE-1", "fixed", "01", &image("a1", ""))])]), ["CVE-1"]);
    let by_csaf = |helper: &str| closed(&[&trivy, &csaf(helper, "ocp:img")]);
    assert_eq!(by_csaf(&format!("{{\"purl\":\"pkg:oci/a@{}\"}}", digest("a1"))), ["CVE-1"]);
    let other = csaf(&format!("{{\"purl\":\"pkg:oci/a@{}\"}}", digest("a2")), "ocp:img");
    assert!(closed(&[&trivy, &other]).is_empty());
}

#[test]
fn of_each_author_the_last_word_counts_and_who_says_affected_keeps_it_open() {
    let a = format!("{{\"@id\":\"pkg:oci/x@{}\"}}", digest("a"));
    let says = |author: &str, words: &[(&str, &str)]| {
        let all: Vec<(&str, &str, &str, &str)> =
            words.iter().map(|(status, day)| ("CVE-2", *status, *day, a.as_str())).collect();
        says(author, &all)
    };
    let found = matches();
    let closes = |files: &[String]| {
        let all: Vec<&str> = std::iter::once(&found).chain(files).map(String::as_str).collect();
        closed(&all) == ["CVE-2"]
    };
    assert!(closes(&[says("A", &[("affected", "01"), ("fixed", "02")])]));
    assert!(closes(&[says("A", &[("fixed", "02"), ("affected", "01")])]));
    assert!(!closes(&[says("A", &[("fixed", "01"), ("affected", "02")])]));
    assert!(!closes(&[says("A", &[("fixed", "01"), ("affected", "01")])]));
    assert!(!closes(&[says("A", &[("fixed", "01"), ("under_investigation", "02")])]));
    assert!(!closes(&[says("A", &[("fixed", "03")]), says("B", &[("affected", "01")])]));
    assert!(closes(&[says("A", &[("fixed", "03")]), says("A", &[("affected", "01")])]), "two files of one author");
    assert!(closes(&[says("A", &[("fixed", "03")]), says("B", &[("not_affected", "01")])]));
}
