//! What rules found, and what of it is accepted.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Accept, By, Policy};
use crate::error::Code;
use crate::report::{Accepted, Check, CheckId, Decision, Finding, Severity};

/// The most open findings that are kept before the worst are chosen; at least one of each rule is.
const KEPT: usize = 20_000;
/// The most findings of one rule that are kept.
const OF_RULE: usize = 512;
/// How many closed findings an entry of `accept` names.
const NAMED: usize = 8;

/// Gathers what rules find in one bundle.
#[derive(Clone, Debug)]
pub struct Findings<'p> {
    policy: &'p Policy,
    now: Timestamp,
    open: Vec<(usize, Finding)>,
    /// By rule: how many are open, and how many of them are not kept.
    counts: BTreeMap<usize, (u64, u64)>,
    /// By entry of `accept`: how many findings it closes, and the first of them.
    closed: BTreeMap<usize, (u64, Vec<String>)>,
    /// Entries that match something, and no longer count.
    expired: BTreeMap<usize, u64>,
    /// Whether scanners ran, so that entries about them can match.
    scanned: bool,
}

/// Something that a rule found.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// What it is about, for a person.
    pub(super) subject: String,
    /// The rest of the sentence.
    pub(super) what: String,
    pub(super) facts: Vec<String>,
    /// The subjects by which it can be accepted, the narrowest first.
    pub(super) keys: Vec<String>,
}

impl<'p> Findings<'p> {
    /// For a run at this time.
    pub fn new(policy: &'p Policy, now: Timestamp) -> Findings<'p> {
        Findings {
            policy,
            now,
            open: Vec::new(),
            counts: BTreeMap::new(),
            closed: BTreeMap::new(),
            expired: BTreeMap::new(),
            scanned: false,
        }
    }

    /// The entry that is about one of these subjects. One that has expired does not hide one that counts.
    fn entry(&self, by: &By, keys: &[String]) -> Option<(usize, &'p Accept)> {
        let policy = self.policy;
        let of = |key: &String| policy.accepted.get(&(by.clone(), key.clone())).map(|at| (*at, &policy.accept[*at]));
        let mut all = keys.iter().filter_map(of).collect::<Vec<_>>();
        all.sort_by_key(|(at, one)| (one.end <= self.now, *at));
        all.into_iter().next()
    }

    /// Closes a finding, if it is accepted. Else: when that ended.
    fn close(&mut self, by: &By, keys: &[String], said: &str) -> Result<Decision, Option<&'p Decision>> {
        match self.entry(by, keys) {
            Some((at, one)) if one.end > self.now => {
                let (count, named) = self.closed.entry(at).or_default();
                *count += 1;
                if named.len() < NAMED {
                    named.push(said.chars().take(400).collect());
                }
                Ok(one.decision.clone())
            }
            Some((at, one)) => {
                *self.expired.entry(at).or_default() += 1;
                Err(Some(&one.decision))
            }
            None => Err(None),
        }
    }

    /// A rule found something.
    pub(super) fn find(&mut self, rule: usize, found: Found) {
        let of = &self.policy.rules[rule];
        let message = format!("rule `{}`: `{}` {}", of.id, found.subject, found.what);
        let expired = match self.close(&By::Rule(rule), &found.keys, &message) {
            Ok(_) => return,
            Err(expired) => expired,
        };
        let (open, dropped) = self.counts.entry(rule).or_default();
        *open += 1;
        if *open > 1 && (self.open.len() >= KEPT || *open > OF_RULE as u64) {
            *dropped += 1;
            return;
        }
        let mut finding = Finding { severity: of.severity, ..Finding::new(Code::Policy, found.subject, message) };
        finding = finding.fact(format!("reason {}", of.reason));
        if let Some(decision) = expired {
            finding = finding.fact(format!("accepted until {} by {}: this has expired", decision.until, decision.by));
        }
        finding.facts.extend(found.facts);
        if let Some(key) = found.keys.first().filter(|_| of.severity != Severity::Notice) {
            let text = format!(
                "remove it, or accept it in the policy (rule {}, subject {}) with a reason",
                of.id,
                as_yaml(key)
            );
            finding = finding.hint(text);
        }
        finding.rule = Some(of.id.clone());
        self.open.push((rule, finding));
    }

    /// More of what a rule found, which was counted and not kept.
    pub fn more(&mut self, rule: usize, count: u64) {
        let (open, dropped) = self.counts.entry(rule).or_default();
        *open += count;
        *dropped += count;
    }

    /// Scanners ran: entries about them count.
    pub fn scanned(&mut self) {
        self.scanned = true;
    }

    /// Whether what a scanner found is accepted. `keys` are subjects that all of its places have.
    pub fn of_scanner(&mut self, scanner: &str, keys: &[String], said: &str) -> Option<Decision> {
        self.close(&By::Scanner(scanner.to_owned()), keys, said).ok()
    }

    /// The check, the worst findings first, and what was accepted.
    pub fn finish(self) -> (Check, Vec<Accepted>) {
        let Findings { policy, mut open, counts, closed, expired, scanned, .. } = self;
        let mut check = Check::new(CheckId::Policy);
        check.of = policy.rules.len() as u64;
        check.examined = check.of;
        open.sort_by(|(a, one), (b, two)| {
            two.severity.cmp(&one.severity).then_with(|| a.cmp(b)).then_with(|| one.subject.cmp(&two.subject))
        });
        open.into_iter().for_each(|(_, finding)| check.find(finding));
        for (rule, (_, dropped)) in &counts {
            check.more += dropped;
            check.more_errors += if policy.rules[*rule].severity == Severity::Error { *dropped } else { 0 };
        }
        let number = |severity: Severity| {
            let of = |(rule, _): &(&usize, &(u64, u64))| policy.rules[**rule].severity == severity;
            counts.iter().filter(of).map(|(_, (open, _))| open).sum::<u64>()
        };
        let accepted: u64 = closed.values().map(|(count, _)| count).sum();
        let words = [
            (number(Severity::Error), "open error", "s"),
            (number(Severity::Warning), "warning", "s"),
            (number(Severity::Notice), "notice", "s"),
            (accepted, "accepted", ""),
        ];
        let said = |(n, word, s): &(u64, &str, &str)| format!("{n} {word}{}", if *n == 1 { "" } else { s });
        let words = words.iter().filter(|(n, ..)| *n > 0).map(said).collect::<Vec<_>>();
        check.details.extend((!words.is_empty()).then(|| words.join(", ")));
        for (at, one) in policy.accept.iter().enumerate() {
            if closed.contains_key(&at) || expired.contains_key(&at) || !scanned && matches!(one.by, By::Scanner(_)) {
                continue;
            }
            let by = one.of(policy);
            let text = format!("what the policy accepts of {by}, `{}`, matches nothing", one.subject);
            check.find(Finding::notice(Code::Policy, &one.subject, text).fact(format!("by {}", one.decision.by)));
        }
        let listed = closed.into_iter().map(|(at, (findings, named))| {
            let one = &policy.accept[at];
            let (rule, scanner) = match &one.by {
                By::Rule(rule) => (Some(policy.rules[*rule].id.clone()), None),
                By::Scanner(name) => (None, Some(name.clone())),
            };
            let (subject, decision) = (one.subject.clone(), one.decision.clone());
            Accepted { rule, scanner, subject, decision, findings, closed: named }
        });
        (check, listed.collect())
    }
}

/// A subject as it is written under `accept`: names with odd characters in quotes, as YAML has them.
fn as_yaml(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+~@%=,:^()".contains(c);
    if text.chars().all(plain) && !text.ends_with(':') && crate::escape::name(text) == text {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        let one = c.to_string();
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            _ if crate::escape::name(&one) == one => out.push(c),
            _ if u32::from(c) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

impl Accept {
    fn of(&self, policy: &Policy) -> String {
        match &self.by {
            By::Rule(rule) => format!("the rule `{}`", policy.rules[*rule].id),
            By::Scanner(name) => format!("the scanner `{name}`"),
        }
    }
}
