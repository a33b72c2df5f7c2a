//! Rules about files, evaluated for each entry of a layer as it streams by. The content is read only for rules that
//! could match the entry and look at its content.

use std::collections::{BTreeMap, HashMap};

use super::findings::{Findings, Found};
use super::globs::Globs;
use super::{Files, Policy, What};
use crate::content::facts::Fact;
use crate::oci::Digest;

/// The most findings of one rule in one layer that are kept.
const OF_RULE: u64 = 512;

/// The rules of a policy that are about files.
#[derive(Debug)]
pub struct FileRules<'p> {
    rules: Vec<(usize, &'p Files)>,
    globs: Globs,
    /// Of those without paths: those with a mode; by content; by class.
    modes: Vec<u32>,
    contents: HashMap<Digest, Vec<u32>>,
    classes: Vec<u32>,
}

/// The rules that could match an entry.
#[derive(Clone, Debug, Default)]
pub struct Candidates {
    sure: Vec<u32>,
    open: Vec<u32>,
    /// The digest of the content is needed.
    pub sha256: bool,
    /// Its first bytes are needed.
    pub first: bool,
}

/// What rules found in one layer.
#[derive(Clone, Debug, Default)]
pub struct Matched {
    found: Vec<(usize, Vec<u8>, String, Option<Digest>)>,
    counts: BTreeMap<usize, u64>,
}

impl<'p> FileRules<'p> {
    /// Compiles the rules of a policy.
    pub fn new(policy: &'p Policy) -> FileRules<'p> {
        let mut out = FileRules {
            rules: Vec::new(),
            globs: Globs::default(),
            modes: Vec::new(),
            contents: HashMap::new(),
            classes: Vec::new(),
        };
        for (rule, of) in policy.rules() {
            let What::Files(files) = &of.what else { continue };
            let number = u32::try_from(out.rules.len()).unwrap_or(u32::MAX);
            out.rules.push((rule, files));
            files.path.iter().for_each(|pattern| out.globs.add(pattern, number));
            if !files.path.is_empty() {
                continue;
            }
            if !files.mode.is_empty() {
                out.modes.push(number);
            } else if !files.sha256.is_empty() {
                files.sha256.iter().for_each(|digest| out.contents.entry(*digest).or_default().push(number));
            } else {
                out.classes.push(number);
            }
        }
        out
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules that could match an entry at this path, which begins with `/`.
    pub fn begin(&self, path: &[u8], folder: bool, content: bool, facts: &[Fact]) -> Candidates {
        let mut out = Candidates::default();
        let mut numbers = Vec::new();
        self.globs.matches(path, &mut |number| numbers.push(number));
        if !facts.is_empty() {
            numbers.extend(&self.modes);
        }
        if content {
            numbers.extend(&self.classes);
            out.sha256 = !self.contents.is_empty();
        }
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            let files = self.rules[number as usize].1;
            let modes = files.mode.is_empty() && !folder || files.mode.iter().any(|fact| facts.contains(fact));
            let by_content = !files.sha256.is_empty() || !files.class.is_empty();
            if !modes || by_content && !content || excepted(files, path) {
                continue;
            }
            out.sha256 |= !files.sha256.is_empty();
            out.first |= !files.class.is_empty();
            if by_content { out.open.push(number) } else { out.sure.push(number) }
        }
        out
    }

    /// Which of them match. `digest` and `class` are those of the content, where they were asked for.
    pub fn end(
        &self,
        candidates: &Candidates,
        path: &[u8],
        facts: &[Fact],
        (digest, class): (Option<Digest>, &[Fact]),
        into: &mut Matched,
    ) {
        let by_digest = digest.as_ref().and_then(|digest| self.contents.get(digest)).map(Vec::as_slice);
        let mut all: Vec<u32> = by_digest.unwrap_or_default().to_vec();
        all.extend(&candidates.open);
        all.retain(|number| {
            let files = self.rules[*number as usize].1;
            let content =
                files.sha256.is_empty() || digest.as_ref().is_some_and(|digest| files.sha256.contains(digest));
            content
                && (files.class.is_empty() || files.class.iter().any(|fact| class.contains(fact)))
                && !excepted(files, path)
        });
        all.extend(&candidates.sure);
        all.sort_unstable();
        all.dedup();
        for number in all {
            let (rule, files) = self.rules[number as usize];
            let count = into.counts.entry(rule).or_default();
            *count += 1;
            if *count > OF_RULE {
                continue;
            }
            let mut what: Vec<String> = Vec::new();
            let known = files.mode.iter().chain(&files.class).filter(|f| facts.contains(f) || class.contains(f));
            what.extend(known.map(|fact| fact.sentence().to_owned()));
            if !files.sha256.is_empty() {
                what.extend(digest.map(|digest| format!("has the content {digest}")));
            }
            if what.is_empty() {
                what.push("is there".to_owned());
            }
            into.found.push((rule, path.to_vec(), what.join(", "), digest));
        }
    }
}

fn excepted(files: &Files, path: &[u8]) -> bool {
    let mut any = false;
    files.except.matches(path, &mut |_| any = true);
    any
}

impl Matched {
    /// Hands over what was found in a layer of these images: names, and digests by which they are accepted.
    pub fn report(self, layer: &Digest, names: &[String], images: &[String], into: &mut Findings<'_>) {
        let mut kept: BTreeMap<usize, u64> = BTreeMap::new();
        for (rule, path, what, digest) in self.found {
            *kept.entry(rule).or_default() += 1;
            let path = String::from_utf8_lossy(&path).into_owned();
            let subject = match names.first() {
                Some(image) => format!("{image}:{path}"),
                None => path.clone(),
            };
            let mut facts = vec![format!("layer {layer}")];
            facts.extend(names.iter().skip(1).take(16).map(|name| format!("also in {name}")));
            let mut keys = vec![path];
            keys.extend(digest.map(|digest| digest.to_string()));
            keys.push(layer.to_string());
            // An image is accepted, not the others that share the layer.
            keys.extend(images.first().filter(|_| images.len() == 1).cloned());
            into.find(rule, Found { subject, what, facts, keys });
        }
        for (rule, count) in self.counts {
            into.more(rule, count - kept.get(&rule).copied().unwrap_or_default());
        }
    }
}
