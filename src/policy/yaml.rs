//! Reads a policy file strictly: what is unknown, empty, doubled or can match nothing is refused with its line.

mod accept;

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use self::accept::RawAccept;
use super::{Checks, Files, Images, Manifests, Packages, Policy, Rule, What, Without, purl};
use crate::content::facts::Fact;
use crate::error::{Code, Error, Result};
use crate::oci::Digest;
use crate::packages::version::Range;
use crate::report::Severity;

/// The largest file, in bytes.
pub const LIMIT: u64 = 16 << 20;
/// The most rules.
const RULES: usize = 10_000;
/// The longest reason, in bytes.
const TEXT: usize = 1024;
/// The most scanners of a run.
const SCANNERS: i64 = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rules: Option<Spanned<Vec<Spanned<RawRule>>>>,
    accept: Option<Spanned<Vec<Spanned<RawAccept>>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    id: String,
    severity: RawSeverity,
    reason: String,
    images: Option<RawImages>,
    files: Option<RawFiles>,
    packages: Option<RawPackages>,
    manifests: Option<RawManifests>,
    checks: Option<RawChecks>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawSeverity {
    Error,
    Warning,
    Notice,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawImages {
    outside: Option<Many>,
    within: Option<Many>,
    digest: Option<Many>,
    architecture: Option<Many>,
    kinds: Option<Many>,
    unsigned: Option<bool>,
    without: Option<Many>,
    newest_layer_older_than: Option<String>,
    #[serde(alias = "newerThan")]
    newest_layer_newer_than: Option<String>,
    size_over: Option<String>,
    user: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFiles {
    path: Option<Many>,
    mode: Option<Many>,
    sha256: Option<Many>,
    class: Option<Many>,
    except: Option<Many>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPackages {
    purl: Option<Many>,
    versions: Option<Many>,
    license: Option<Many>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawManifests {
    kinds: Option<Many>,
    cluster_scoped: Option<bool>,
    namespaces: Option<Many>,
    images_not_carried: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawChecks {
    scanners: Option<i64>,
    database_not_older_than: Option<String>,
    vulnerabilities: Option<bool>,
}

/// One text, or a list of them.
struct Many(Vec<String>);

impl<'de> Deserialize<'de> for Many {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Many, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Many;
            fn expecting(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                to.write_str("a text or a list of texts")
            }
            fn visit_str<E>(self, text: &str) -> std::result::Result<Many, E> {
                Ok(Many(vec![text.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> std::result::Result<Many, A::Error> {
                let mut out = Vec::new();
                while let Some(text) = from.next_element()? {
                    out.push(text);
                }
                Ok(Many(out))
            }
        }
        from.deserialize_any(Texts)
    }
}

/// Why a part of the file is not acceptable; completes a sentence.
type Read<T> = std::result::Result<T, String>;

pub(super) fn parse(bytes: &[u8], now: Timestamp) -> Result<Policy> {
    if bytes.len() as u64 > LIMIT {
        return Err(refused(&format!("it is larger than {} MiB", LIMIT >> 20)));
    }
    let text = text(bytes)?;
    let file: File = serde_saphyr::from_str_with_options(text, options()).map_err(|e| {
        let cause = e.without_snippet().to_string();
        refused(cause.lines().next().unwrap_or_default())
    })?;
    let mut rules: Vec<Rule> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    if file.rules.is_none() && file.accept.is_none() {
        return Err(refused("it has no rules"));
    }
    for list in file.rules.into_iter() {
        if list.value.is_empty() || list.value.len() > RULES {
            let why = format!("`rules` has {} entries, not 1 to {RULES}", list.value.len());
            return Err(at(list.referenced.line(), &why));
        }
        for raw in list.value {
            let line = raw.referenced.line();
            let id = raw.value.id.clone();
            let rule = raw.value.rule().map_err(|why| at(line, &format!("rule `{id}` {why}")))?;
            if places.insert(id.clone(), rules.len()).is_some() {
                return Err(at(line, &format!("there are two rules `{id}`")));
            }
            rules.push(rule);
        }
    }
    let (mut accept, mut accepted) = (Vec::new(), HashMap::new());
    for list in file.accept.into_iter() {
        if list.value.is_empty() {
            return Err(at(list.referenced.line(), "`accept` is an empty list"));
        }
        for raw in list.value {
            let line = raw.referenced.line();
            let (one, key) = raw
                .value
                .accept(&rules, &places, now)
                .map_err(|why| at(line, &format!("an entry of `accept` {why}")))?;
            if accepted.insert((one.by.clone(), key), accept.len()).is_some() {
                return Err(at(line, &format!("`{}` is accepted twice", one.subject)));
            }
            accept.push(one);
        }
    }
    Ok(Policy { rules, accept, accepted, sha256: Digest::of(bytes) })
}

fn refused(why: &str) -> Error {
    Error::new(Code::Usage, "the policy is not acceptable")
        .fact(why)
        .hint("mirror-bundle explain rules shows an example with all kinds of rules")
}

fn at(line: u64, why: &str) -> Error {
    refused(&format!("line {line}: {why}"))
}

/// UTF-8 without characters that hide or reorder what a person reads.
fn text(bytes: &[u8]) -> Result<&str> {
    let line = |upto: &[u8]| 1 + upto.iter().filter(|byte| **byte == b'\n').count() as u64;
    let text = std::str::from_utf8(bytes).map_err(|e| at(line(&bytes[..e.valid_up_to()]), "it is not UTF-8"))?;
    let odd = text.char_indices().find(|(place, c)| match c {
        '\n' | '\t' => false,
        '\r' => !text[place + 1..].starts_with('\n'),
        _ => {
            c.is_control()
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{200b}'..='\u{200f}')
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        }
    });
    match odd {
        Some((place, c)) => {
            Err(at(line(&bytes[..place]), &format!("it has the control character U+{:04X}", u32::from(c))))
        }
        None => Ok(text),
    }
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_aliases: 0,
            max_anchors: 0,
            max_depth: 16,
            max_documents: 1,
            max_events: 4_000_000,
            max_nodes: 2_000_000,
        },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        merge_keys: serde_saphyr::MergeKeyPolicy::Error,
        strict_booleans: true,
        // What is written is what counts.
        ignore_binary_tag_for_string: true,
        reject_unsupported_tags: true,
        reject_tagged_field_names: true,
        with_snippet: false,
    }
}

impl RawRule {
    fn rule(self) -> Read<Rule> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if self.id.is_empty() || self.id.len() > 64 || !self.id.chars().all(plain) {
            return Err("has an id that is not 1 to 64 letters, digits, `.`, `_` and `-`".to_owned());
        }
        sentence("reason", &self.reason)?;
        let mut parts: Vec<What> = Vec::new();
        parts.extend(self.images.map(RawImages::read).transpose()?.map(What::Images));
        parts.extend(self.files.map(RawFiles::read).transpose()?.map(What::Files));
        parts.extend(self.packages.map(RawPackages::read).transpose()?.map(What::Packages));
        parts.extend(self.manifests.map(RawManifests::read).transpose()?.map(What::Manifests));
        parts.extend(self.checks.map(RawChecks::read).transpose()?.map(What::Checks));
        let (Some(what), true) = (parts.pop(), parts.is_empty()) else {
            return Err("must have exactly one of images, files, packages, manifests and checks".to_owned());
        };
        let severity = match self.severity {
            RawSeverity::Error => Severity::Error,
            RawSeverity::Warning => Severity::Warning,
            RawSeverity::Notice => Severity::Notice,
        };
        Ok(Rule { id: self.id, severity, reason: self.reason, what })
    }
}

/// A line for people.
fn sentence(field: &str, text: &str) -> Read<()> {
    match text.trim().is_empty() || text.len() > TEXT || text.contains(['\n', '\r']) {
        true => Err(format!("must have a `{field}` of one line and at most {TEXT} bytes")),
        false => Ok(()),
    }
}

/// The texts of a list: at least one, none twice, none empty.
fn list(field: &str, many: Option<Many>) -> Read<Vec<String>> {
    let Some(Many(texts)) = many else { return Ok(Vec::new()) };
    if texts.is_empty() {
        return Err(format!("has an empty list `{field}`"));
    }
    let different: BTreeSet<&String> = texts.iter().collect();
    if different.len() != texts.len() || texts.iter().any(String::is_empty) {
        return Err(format!("has an empty or doubled entry in `{field}`"));
    }
    Ok(texts)
}

/// Texts of a list that are all among known words.
fn words<T: Copy + Ord>(field: &str, many: Option<Many>, known: &[(&str, T)]) -> Read<BTreeSet<T>> {
    let of = |text: &String| {
        known.iter().find(|(word, _)| word == text).map(|(_, value)| *value).ok_or_else(|| {
            let all: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
            format!("can match nothing: `{text}` in `{field}` is not one of {}", all.join(", "))
        })
    };
    list(field, many)?.iter().map(of).collect()
}

/// A switch is on, or left out.
fn on(field: &str, switch: Option<bool>) -> Read<bool> {
    match switch {
        Some(false) => Err(format!("says nothing by `{field}: false`: leave it out")),
        other => Ok(other.unwrap_or(false)),
    }
}

/// `12h`, `7d`, `4w`, in seconds.
fn age(field: &str, text: Option<String>) -> Read<Option<i64>> {
    let Some(text) = text else { return Ok(None) };
    let seconds = |text: &str| {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let unit = match unit {
            "h" => 3600,
            "d" => 86_400,
            "w" => 7 * 86_400,
            _ => return None,
        };
        let plain = !number.is_empty() && number.len() <= 6 && number.bytes().all(|b| b.is_ascii_digit());
        number.parse::<i64>().ok().filter(|number| plain && *number > 0).map(|number| number * unit)
    };
    seconds(&text).map(Some).ok_or_else(|| format!("has a `{field}` that is not an age like 12h, 7d or 4w: `{text}`"))
}

/// `500MB`, `2GiB`, a number of bytes.
fn size(field: &str, text: Option<String>) -> Read<Option<u64>> {
    let Some(text) = text else { return Ok(None) };
    const UNITS: [(&str, u64); 9] = [
        ("", 1),
        ("kB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
    ];
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit = UNITS.iter().find(|(unit, _)| *unit == text[digits..].trim());
    let bytes = text[..digits].parse::<u64>().ok().and_then(|number| number.checked_mul(unit?.1));
    bytes.map(Some).ok_or_else(|| format!("has a `{field}` that is not a size like 500MB or 2GiB: `{text}`"))
}

fn digest(text: &str) -> Read<Digest> {
    let digest = if text.starts_with("sha256:") { text.parse() } else { Digest::from_hex(text) };
    digest.map_err(|e| format!("can match nothing: {e}"))
}

impl RawImages {
    fn read(self) -> Read<Images> {
        const KINDS: [(&str, &str); 6] = [
            ("release", "release"),
            ("component", "component"),
            ("additional", "additional"),
            ("signature", "signature"),
            ("referrer", "referrer"),
            ("graph-data", "graph-data"),
        ];
        const ARCHITECTURES: [&str; 14] = [
            "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le",
            "riscv64", "s390x", "wasm",
        ];
        let (outside, within) = (list("outside", self.outside)?, list("within", self.within)?);
        for pattern in outside.iter().chain(&within) {
            // Repositories have no tag and no digest, and are in lower case.
            let name = pattern.rsplit('/').next().unwrap_or_default();
            if name.contains([':', '@']) || pattern.contains("//") || pattern.chars().any(|c| c.is_ascii_uppercase()) {
                return Err(format!("can match nothing: `{pattern}` is no pattern of repositories, which have no tag"));
            }
        }
        if !within.is_empty() && within.iter().all(|pattern| outside.iter().any(|o| o == pattern || o == "*")) {
            return Err("can match nothing: what is `within` is not `outside`".to_owned());
        }
        let architectures: Vec<(&str, &str)> = ARCHITECTURES.iter().map(|word| (*word, *word)).collect();
        let text = |set: BTreeSet<&str>| set.into_iter().map(str::to_owned).collect::<BTreeSet<String>>();
        let without = list("without", self.without)?;
        let without = without.iter().map(|text| match text.split_once(' ') {
            None if text == "sbom" => Ok(Without::Sbom),
            Some(("attestation", of)) if !of.trim().is_empty() => Ok(Without::Attestation(of.trim().to_owned())),
            _ => Err(format!("has `without: {text}`: write sbom, or attestation and a predicate type")),
        });
        let images = Images {
            outside: outside.iter().collect(),
            within: within.iter().collect(),
            digest: list("digest", self.digest)?.iter().map(|d| Ok(digest(d)?.to_string())).collect::<Read<_>>()?,
            architecture: text(words("architecture", self.architecture, &architectures)?),
            kinds: text(words("kinds", self.kinds, &KINDS)?),
            unsigned: on("unsigned", self.unsigned)?,
            without: without.collect::<Read<_>>()?,
            older_than: age("newestLayerOlderThan", self.newest_layer_older_than)?,
            newer_than: age("newestLayerNewerThan", self.newest_layer_newer_than)?,
            size_over: size("sizeOver", self.size_over)?,
            root: match self.user.as_deref() {
                None => false,
                Some("root") => true,
                Some(_) => return Err("has a `user` that is not root: other users are not told apart".to_owned()),
            },
        };
        if images.is_all() {
            return Err("has an empty `images`: `outside`, `kinds` or another member says which".to_owned());
        }
        if let (Some(older), Some(newer)) = (images.older_than, images.newer_than)
            && older >= newer
        {
            return Err("can match nothing: no layer is older and newer than this".to_owned());
        }
        let attached = |kind: &String| kind == "signature" || kind == "referrer";
        if images.needs_runs() && !images.kinds.is_empty() && images.kinds.iter().all(attached) {
            return Err("can match nothing: signatures and referrers are no images that run".to_owned());
        }
        Ok(images)
    }
}

impl RawFiles {
    fn read(self) -> Read<Files> {
        const MODES: [(&str, Fact); 5] = [
            ("setuid", Fact::Setuid),
            ("setgid", Fact::Setgid),
            ("capabilities", Fact::Capabilities),
            ("world-writable", Fact::WorldWritable),
            ("device", Fact::Device),
        ];
        let (path, except) = (list("path", self.path)?, list("except", self.except)?);
        for pattern in path.iter().chain(&except) {
            let steps = pattern.split('/').any(|step| step == "." || step == "..");
            if !pattern.starts_with(['/', '*']) || pattern.contains("//") || pattern.ends_with('/') || steps {
                return Err(format!("can match nothing: `{pattern}` is no pattern of paths, which begin with /"));
            }
        }
        let wide = |one: &String| matches!(one.as_str(), "*" | "/*");
        let out = |one: &String| {
            let exact = !one.contains(['*', '?']);
            except.iter().any(|pattern| pattern == one || exact && crate::pattern::matches(pattern, one))
        };
        if except.iter().any(wide) || !path.is_empty() && path.iter().all(out) {
            return Err("can match nothing: all of it is in `except`".to_owned());
        }
        let mut class = BTreeSet::new();
        for word in words("class", self.class, &[("private-key", 0), ("foreign-program", 1)])? {
            match word {
                0 => _ = class.insert(Fact::PrivateKey),
                _ => class.extend([Fact::WindowsProgram, Fact::MacProgram]),
            }
        }
        let sha256 =
            list("sha256", self.sha256)?.iter().map(|text| digest(text)).collect::<Read<BTreeSet<Digest>>>()?;
        let mode = words("mode", self.mode, &MODES)?;
        if path.is_empty() && mode.is_empty() && sha256.is_empty() && class.is_empty() {
            return Err("has an empty `files`: `path`, `mode`, `sha256` or `class` says which".to_owned());
        }
        if mode.iter().all(|fact| *fact == Fact::Device)
            && !mode.is_empty()
            && (!sha256.is_empty() || !class.is_empty())
        {
            return Err("can match nothing: devices have no content".to_owned());
        }
        Ok(Files { path, except: except.iter().collect(), mode, sha256, class })
    }
}

impl RawPackages {
    fn read(self) -> Read<Packages> {
        let purls = list("purl", self.purl)?;
        let mut kinds = BTreeSet::new();
        let mut bases = Vec::new();
        for text in &purls {
            if text.contains(['?', '#']) {
                let wild = text.contains('?');
                let hint = if wild { ": `*` stands for any text, and qualifiers are not compared" } else { "" };
                return Err(format!("has qualifiers in `{text}`{hint}"));
            }
            let (base, version) = purl::split(text);
            if version.is_some() {
                return Err(format!("has a version in `{text}`: write it under `versions`"));
            }
            kinds.insert(purl::kind(&base)?);
            bases.push(base);
        }
        let versions = list("versions", self.versions)?;
        let kind = kinds.first().copied();
        let range = match (versions.is_empty(), kind, kinds.len()) {
            (true, ..) => None,
            (false, Some(kind), 1) => {
                let range = Range::parse(kind, &versions).map_err(|why| format!("can match nothing: {why}"))?;
                Some((kind, range))
            }
            (false, None, _) => {
                return Err("has `versions` and no `purl`, whose type says how they are ordered".to_owned());
            }
            _ => return Err("has `versions`, and purls of several types, which are ordered differently".to_owned()),
        };
        let license = list("license", self.license)?;
        if bases.is_empty() && license.is_empty() {
            return Err("has an empty `packages`: `purl` or `license` says which".to_owned());
        }
        Ok(Packages { purl: bases, range, license })
    }
}

impl RawManifests {
    fn read(self) -> Read<Manifests> {
        let (kinds, namespaces) = (list("kinds", self.kinds)?, list("namespaces", self.namespaces)?);
        for kind in &kinds {
            let parts: Vec<&str> = kind.split('/').collect();
            let name = parts.last().copied().unwrap_or_default();
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '*' | '?');
            let sound = parts.len() <= 3 && parts.iter().all(|part| !part.is_empty()) && name.chars().all(plain);
            if !sound || parts.len() == 1 && !kind.contains('*') {
                return Err(format!(
                    "can match nothing: `{kind}` in `kinds` is not like apps/v1/Deployment, v1/Secret or */Secret"
                ));
            }
        }
        for namespace in &namespaces {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '*' | '?');
            if !namespace.chars().all(plain) {
                return Err(format!("can match nothing: `{namespace}` is no pattern of namespaces"));
            }
        }
        let out = Manifests {
            cluster_scoped: on("clusterScoped", self.cluster_scoped)?,
            images_not_carried: on("imagesNotCarried", self.images_not_carried)?,
            kinds: kinds.iter().collect(),
            namespaces: namespaces.iter().collect(),
        };
        if out.cluster_scoped && !namespaces.is_empty() {
            return Err("can match nothing: what is cluster-wide has no namespace".to_owned());
        }
        match kinds.is_empty() && namespaces.is_empty() && !out.cluster_scoped && !out.images_not_carried {
            true => Err("has an empty `manifests`: `kinds: \"*\"` stands for all".to_owned()),
            false => Ok(out),
        }
    }
}

impl RawChecks {
    fn read(self) -> Read<Checks> {
        let scanners = match self.scanners {
            None => None,
            Some(n @ 1..=SCANNERS) => usize::try_from(n).ok(),
            Some(n) => return Err(format!("asks for {n} scanners, not 1 to {SCANNERS}")),
        };
        let database = age("databaseNotOlderThan", self.database_not_older_than)?;
        let vulnerabilities = on("vulnerabilities", self.vulnerabilities)?;
        match scanners.is_none() && database.is_none() && !vulnerabilities {
            true => Err("has an empty `checks`".to_owned()),
            false => Ok(Checks { scanners, database, vulnerabilities }),
        }
    }
}
