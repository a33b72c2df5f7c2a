//! The five forms, and what is read of each.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::vex::{Found, Statement as Said};
use super::{About, Parsed, short};
use crate::oci::Digest;

/// The form that names no image.
pub(super) const SARIF: &str = "sarif";

/// Severities of vulnerabilities.
const SEVERITIES: [&str; 6] = ["critical", "high", "medium", "low", "negligible", "unknown"];
/// Levels of SARIF.
const LEVELS: [&str; 4] = ["error", "warning", "note", "none"];
/// Statuses of OpenVEX.
const STATUSES: [&str; 4] = ["not_affected", "affected", "fixed", "under_investigation"];
/// Statuses of CSAF, and the same as OpenVEX has it.
const CSAF: [(&str, &str); 9] = [
    ("known_not_affected", "not_affected"),
    ("known_affected", "affected"),
    ("first_affected", "affected"),
    ("last_affected", "affected"),
    ("fixed", "fixed"),
    ("first_fixed", "fixed"),
    ("under_investigation", "under_investigation"),
    ("recommended", "recommended"),
    ("unknown", "unknown"),
];

/// What tells the forms apart.
#[derive(Deserialize)]
struct Probe {
    descriptor: Option<Value>,
    #[serde(rename = "SchemaVersion")]
    schema_version: Option<Value>,
    runs: Option<serde::de::IgnoredAny>,
    #[serde(rename = "@context")]
    context: Option<Value>,
    document: Option<Value>,
}

pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, String> {
    let probe: Probe = read(bytes)?;
    if let Some(Value::Object(document)) = &probe.document
        && document.get("category").is_some_and(|c| c == "csaf_vex")
    {
        return csaf(bytes);
    }
    if probe.context.as_ref().and_then(Value::as_str).is_some_and(|c| c.starts_with("https://openvex.dev/ns")) {
        return openvex(bytes);
    }
    if probe.descriptor.as_ref().and_then(|d| d.get("name")).is_some_and(|name| name == "grype") {
        return grype(bytes);
    }
    if probe.schema_version.is_some() {
        return trivy(bytes);
    }
    if probe.runs.is_some() {
        return sarif(bytes);
    }
    Err("is none of these: JSON of grype or trivy, SARIF, OpenVEX, CSAF VEX".to_owned())
}

fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|e| format!("cannot be used: {e}"))
}

/// Counts a word that is in a list, else as the last of it; returns it.
fn count(counts: &mut BTreeMap<String, u64>, words: &[&str], word: &str) -> String {
    let word = word.to_ascii_lowercase();
    let known = words.iter().find(|known| **known == word).or(words.last()).copied().unwrap_or_default();
    *counts.entry(known.to_owned()).or_default() += 1;
    known.to_owned()
}

/// A text of a finding that is listed, if it is no longer than a name.
fn listed(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty() && text.len() <= super::NAME)
}

/// All SHA-256 digests in a text, as `sha256:…` or escaped as in a purl.
fn digests(text: &str) -> impl Iterator<Item = Digest> + '_ {
    let starts = ["sha256:", "sha256%3A", "sha256%3a"]
        .into_iter()
        .flat_map(|start| text.match_indices(start).map(|(at, found)| at + found.len()).collect::<Vec<_>>());
    starts.filter_map(|at| Digest::from_hex(text.get(at..at + 64)?).ok())
}

fn time(text: Option<&str>) -> Option<Timestamp> {
    text.and_then(|text| text.parse().ok())
}

#[derive(Deserialize)]
struct Grype {
    #[serde(default)]
    matches: Vec<Match>,
    source: GrypeSource,
    descriptor: Descriptor,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Match {
    vulnerability: Vulnerability,
    #[serde(default)]
    related_vulnerabilities: Vec<Vulnerability>,
    artifact: Option<Artifact>,
}

#[derive(Deserialize)]
struct Vulnerability {
    #[serde(default)]
    id: String,
    #[serde(default)]
    severity: Option<String>,
}

#[derive(Deserialize)]
struct Artifact {
    purl: Option<String>,
}

#[derive(Deserialize)]
struct GrypeSource {
    #[serde(default)]
    target: Value,
}

#[derive(Deserialize)]
struct Descriptor {
    #[serde(default)]
    version: String,
    timestamp: Option<String>,
    db: Option<Value>,
}

fn grype(bytes: &[u8]) -> Result<Parsed, String> {
    let grype: Grype = read(bytes)?;
    let mut about = About::default();
    let member = |name: &str| grype.source.target.get(name).and_then(Value::as_str);
    about.manifests.extend(member("manifestDigest").into_iter().flat_map(digests));
    about.configs.extend(member("imageID").into_iter().flat_map(digests));
    let mut counts = BTreeMap::new();
    let mut found = Vec::new();
    for one in grype.matches {
        let severity = count(&mut counts, &SEVERITIES, one.vulnerability.severity.as_deref().unwrap_or_default());
        let ids =
            std::iter::once(one.vulnerability).chain(one.related_vulnerabilities).filter_map(|v| listed(Some(v.id)));
        let purl = listed(one.artifact.and_then(|artifact| artifact.purl));
        found.push(Found { ids: ids.collect(), purl, severity });
    }
    // Until 0.87 `db.built`, then `db.status.built`.
    let built = grype.descriptor.db.as_ref().and_then(|db| {
        let inside = db.get("status").and_then(|status| status.get("built"));
        inside.or(db.get("built")).and_then(Value::as_str).map(str::to_owned)
    });
    Ok(Parsed {
        format: "grype",
        tool: "grype".to_owned(),
        version: Some(short("version", &grype.descriptor.version)?),
        created: time(grype.descriptor.timestamp.as_deref()),
        database: time(built.as_deref()),
        counts,
        about,
        found,
        statements: vec![],
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Trivy {
    schema_version: u64,
    created_at: Option<String>,
    trivy: Option<TrivyVersion>,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    results: Option<Vec<TrivyResult>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TrivyVersion {
    version: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    #[serde(rename = "ImageID")]
    image_id: Option<String>,
    repo_digests: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TrivyResult {
    vulnerabilities: Option<Vec<TrivyFinding>>,
    misconfigurations: Option<Vec<TrivyFinding>>,
    secrets: Option<Vec<TrivyFinding>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TrivyFinding {
    #[serde(rename = "VulnerabilityID")]
    vulnerability_id: Option<String>,
    pkg_identifier: Option<PkgIdentifier>,
    severity: Option<String>,
    /// Of misconfigurations: those that passed are listed on request.
    status: Option<String>,
}

#[derive(Deserialize)]
struct PkgIdentifier {
    #[serde(rename = "PURL")]
    purl: Option<String>,
}

fn trivy(bytes: &[u8]) -> Result<Parsed, String> {
    let trivy: Trivy = read(bytes)?;
    if trivy.schema_version != 2 {
        return Err(format!("has the schema version {} of trivy, not 2", trivy.schema_version));
    }
    let mut about = About::default();
    about.configs.extend(trivy.metadata.image_id.as_deref().into_iter().flat_map(digests));
    let names = trivy.metadata.repo_digests.unwrap_or_default();
    about.manifests.extend(names.iter().flat_map(|name| digests(name)));
    let mut counts = BTreeMap::new();
    let mut found = Vec::new();
    for result in trivy.results.unwrap_or_default() {
        let all = [result.vulnerabilities, result.misconfigurations, result.secrets].into_iter().flatten().flatten();
        for one in all.filter(|one| one.status.as_deref() != Some("PASS")) {
            let severity = count(&mut counts, &SEVERITIES, one.severity.as_deref().unwrap_or_default());
            if let Some(id) = listed(one.vulnerability_id) {
                let purl = listed(one.pkg_identifier.and_then(|package| package.purl));
                found.push(Found { ids: vec![id], purl, severity });
            }
        }
    }
    let version = trivy.trivy.and_then(|trivy| trivy.version);
    Ok(Parsed {
        format: "trivy",
        tool: "trivy".to_owned(),
        version: version.map(|text| short("version", &text)).transpose()?,
        created: time(trivy.created_at.as_deref()),
        database: None,
        counts,
        about,
        found,
        statements: vec![],
    })
}

#[derive(Deserialize)]
struct Sarif {
    version: String,
    runs: Vec<SarifRun>,
}

#[derive(Deserialize)]
struct SarifRun {
    tool: SarifTool,
    results: Option<Vec<SarifResult>>,
    #[serde(default)]
    invocations: Vec<Invocation>,
}

#[derive(Deserialize)]
struct SarifTool {
    driver: Driver,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Driver {
    name: String,
    version: Option<String>,
    semantic_version: Option<String>,
}

#[derive(Deserialize)]
struct SarifResult {
    level: Option<String>,
    kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    end_time_utc: Option<String>,
}

fn sarif(bytes: &[u8]) -> Result<Parsed, String> {
    let sarif: Sarif = read(bytes)?;
    if !sarif.version.starts_with("2.1") {
        return Err("is not SARIF 2.1".to_owned());
    }
    let [run] = sarif.runs.as_slice() else {
        return Err(format!("has {} runs: give a file for each", sarif.runs.len()));
    };
    let mut counts = BTreeMap::new();
    // Without a level it is a warning; a result of another kind than `fail` is none.
    for one in run.results.as_deref().unwrap_or_default() {
        let level = match one.kind.as_deref() {
            None | Some("fail") => one.level.as_deref().unwrap_or("warning"),
            Some(_) => "none",
        };
        count(&mut counts, &LEVELS, level);
    }
    let driver = &run.tool.driver;
    let version = driver.semantic_version.as_deref().or(driver.version.as_deref());
    Ok(Parsed {
        format: SARIF,
        tool: short("name of a tool", &driver.name)?,
        version: version.map(|text| short("version", text)).transpose()?,
        created: time(run.invocations.first().and_then(|i| i.end_time_utc.as_deref())),
        database: None,
        counts,
        about: About::default(),
        found: vec![],
        statements: vec![],
    })
}

#[derive(Deserialize)]
struct OpenVex {
    author: String,
    version: Option<Value>,
    timestamp: Option<String>,
    last_updated: Option<String>,
    statements: Vec<Statement>,
}

#[derive(Deserialize)]
struct Statement {
    status: String,
    #[serde(default)]
    vulnerability: Value,
    timestamp: Option<String>,
    last_updated: Option<String>,
    #[serde(default)]
    products: Vec<Value>,
    /// Before 0.2, here.
    #[serde(default)]
    subcomponents: Vec<Value>,
}

/// The names of a product or component of OpenVEX. Before 0.2 it is only its name.
fn names(product: &Value) -> impl Iterator<Item = &str> {
    let names = [Some(product), product.get("@id"), product.get("identifiers").and_then(|i| i.get("purl"))];
    names.into_iter().flatten().filter_map(Value::as_str)
}

/// The digests by which a product is named.
fn hashes(product: &Value) -> BTreeSet<Digest> {
    let hash = product.get("hashes").and_then(|h| h.get("sha-256")).and_then(Value::as_str);
    names(product).flat_map(digests).chain(hash.and_then(|hex| Digest::from_hex(hex).ok())).collect()
}

/// The packages among names.
fn purls<'n>(names: impl Iterator<Item = &'n str>) -> Vec<String> {
    let mut out: Vec<String> =
        names.filter(|name| name.starts_with("pkg:") && name.len() <= super::NAME).map(str::to_owned).collect();
    out.dedup();
    out
}

fn openvex(bytes: &[u8]) -> Result<Parsed, String> {
    let vex: OpenVex = read(bytes)?;
    let mut about = About { several: true, ..About::default() };
    let mut counts = BTreeMap::new();
    let mut statements = Vec::new();
    let made = time(vex.last_updated.as_deref().or(vex.timestamp.as_deref()));
    for one in &vex.statements {
        let Some(status) = STATUSES.into_iter().find(|known| *known == one.status) else {
            return Err("has a statement with an unknown status".to_owned());
        };
        count(&mut counts, &STATUSES, status);
        let said = |of: &str| one.vulnerability.get(of).and_then(Value::as_str);
        let aliases = one.vulnerability.get("aliases").and_then(Value::as_array).into_iter().flatten();
        let ids = [one.vulnerability.as_str(), said("name"), said("@id")].into_iter().flatten();
        let ids: BTreeSet<String> = ids.chain(aliases.filter_map(Value::as_str)).map(str::to_owned).collect();
        let own = time(one.last_updated.as_deref().or(one.timestamp.as_deref()));
        for product in &one.products {
            let images = hashes(product);
            about.both(images.iter().copied());
            let parts = product.get("subcomponents").and_then(Value::as_array).into_iter().flatten();
            let parts: Vec<&Value> = parts.chain(&one.subcomponents).collect();
            // Without parts the product itself: an image with all of its packages, or a package.
            let packages = match (parts.is_empty(), images.is_empty()) {
                (true, true) => purls(names(product)),
                (true, false) => Vec::new(),
                (false, false) => purls(parts.iter().flat_map(|part| names(part))),
                // Parts of nobody knows what.
                (false, true) => continue,
            };
            if (!parts.is_empty() || images.is_empty()) && packages.is_empty() {
                continue;
            }
            let time = own.or(made);
            statements.push(Said { ids: ids.clone(), status, time, images, packages });
        }
    }
    let version = vex.version.as_ref().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
    Ok(Parsed {
        format: "openvex",
        tool: short("author", &vex.author)?,
        version: version.map(|text| short("version", &text)).transpose()?,
        created: made,
        database: None,
        counts,
        about,
        found: vec![],
        statements,
    })
}

impl About {
    /// Digests that may be of either.
    fn both(&mut self, digests: impl IntoIterator<Item = Digest>) {
        for digest in digests {
            self.manifests.insert(digest);
            self.configs.insert(digest);
        }
    }
}

#[derive(Deserialize)]
struct Csaf {
    document: CsafDocument,
    #[serde(default)]
    product_tree: Value,
    #[serde(default)]
    vulnerabilities: Vec<CsafVulnerability>,
}

#[derive(Deserialize)]
struct CsafDocument {
    publisher: Publisher,
    tracking: Tracking,
}

#[derive(Deserialize)]
struct Publisher {
    name: String,
}

#[derive(Deserialize)]
struct Tracking {
    version: Option<String>,
    current_release_date: Option<String>,
}

#[derive(Deserialize)]
struct CsafVulnerability {
    cve: Option<String>,
    #[serde(default)]
    ids: Vec<CsafId>,
    #[serde(default)]
    product_status: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct CsafId {
    text: String,
}

/// What identifies a product.
#[derive(Clone, Debug, Default)]
struct Product {
    digests: BTreeSet<Digest>,
    purls: BTreeSet<String>,
}

/// A component as part of a product, or of a module, and that of a product: so many levels.
const DEPTH: usize = 4;

fn csaf(bytes: &[u8]) -> Result<Parsed, String> {
    let csaf: Csaf = read(bytes)?;
    let mut about = About { several: true, ..About::default() };
    let mut counts = BTreeMap::new();
    let mut products = BTreeMap::new();
    helpers(&csaf.product_tree, &mut products);
    let pairs = csaf.product_tree.get("relationships").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut parts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for pair in pairs {
        let text = |name: &str| pair.get(name).and_then(Value::as_str);
        if let Some(whole) = pair.get("full_product_name").and_then(|n| n.get("product_id")).and_then(Value::as_str) {
            let of = ["product_reference", "relates_to_product_reference"];
            parts.entry(whole).or_default().extend(of.into_iter().filter_map(text));
        }
    }
    let made = time(csaf.document.tracking.current_release_date.as_deref());
    let mut statements = Vec::new();
    for one in csaf.vulnerabilities {
        let ids: BTreeSet<String> = one.cve.into_iter().chain(one.ids.into_iter().map(|id| id.text)).collect();
        for (status, named) in &one.product_status {
            let same = CSAF.iter().find(|(theirs, _)| theirs == status).map(|(_, ours)| *ours);
            let status = same.ok_or("has an unknown product status")?;
            *counts.entry(status.to_owned()).or_default() += named.len() as u64;
            for id in named {
                let product = whole(id, &parts, &products);
                about.both(product.digests.iter().copied());
                let image = |purl: &&String| purl.starts_with("pkg:oci/") || purl.starts_with("pkg:docker/");
                let unknown = product.digests.is_empty() && product.purls.iter().any(|purl| image(&purl));
                let packages: Vec<String> = product.purls.iter().filter(|purl| !image(purl)).cloned().collect();
                if unknown || product.digests.is_empty() && packages.is_empty() {
                    continue;
                }
                statements.push(Said { ids: ids.clone(), status, time: made, images: product.digests, packages });
            }
        }
    }
    Ok(Parsed {
        format: "csaf-vex",
        tool: short("publisher", &csaf.document.publisher.name)?,
        version: csaf.document.tracking.version.map(|text| short("version", &text)).transpose()?,
        created: made,
        database: None,
        counts,
        about,
        found: vec![],
        statements,
    })
}

/// A product with what it is made of.
fn whole(id: &str, parts: &BTreeMap<&str, Vec<&str>>, products: &BTreeMap<String, Product>) -> Product {
    let mut ids = BTreeSet::from([id]);
    for _ in 0..DEPTH {
        let more: Vec<&str> = ids.iter().filter_map(|id| parts.get(id)).flatten().copied().collect();
        ids.extend(more);
    }
    let mut out = Product::default();
    for product in ids.into_iter().filter_map(|id| products.get(id)) {
        out.digests.extend(product.digests.iter().copied());
        out.purls.extend(product.purls.iter().cloned());
    }
    out
}

/// What identifies each product of a tree, by its id. JSON that was checked is not deep.
fn helpers(at: &Value, out: &mut BTreeMap<String, Product>) {
    let Value::Object(members) = at else {
        if let Value::Array(list) = at {
            list.iter().for_each(|one| helpers(one, out));
        }
        return;
    };
    if let (Some(Value::String(id)), Some(helper)) =
        (members.get("product_id"), members.get("product_identification_helper"))
    {
        let found = out.entry(id.clone()).or_default();
        let purls =
            helper.get("purl").into_iter().chain(helper.get("purls").and_then(Value::as_array).into_iter().flatten());
        for purl in purls.filter_map(Value::as_str) {
            found.digests.extend(digests(purl));
            found.purls.extend(listed(Some(purl.to_owned())));
        }
        let hashes = helper.get("hashes").and_then(Value::as_array).into_iter().flatten();
        let each = hashes.flat_map(|h| h.get("file_hashes").and_then(Value::as_array).into_iter().flatten());
        let sha256 = each.filter(|hash| hash.get("algorithm").is_some_and(|a| a == "sha256"));
        found.digests.extend(sha256.filter_map(|hash| Digest::from_hex(hash.get("value")?.as_str()?).ok()));
    }
    members.values().for_each(|one| helpers(one, out));
}
