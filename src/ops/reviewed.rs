//! `sign --report`: what a reviewer's record says of the report that was reviewed (MB-RVW-05).

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::bundle::limits;
use crate::error::{Code, Error, Result};
use crate::host::log::seconds;
use crate::oci::{Digest, json};

/// The largest report, in bytes.
pub const LIMIT: u64 = 16 << 20;
/// The most scanners, policies or evidence files that a record names.
const LISTED: usize = 256;
/// How far ahead of this host's clock a report may be.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// Which reports may be signed.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The oldest report that is accepted.
    pub max_age: SignedDuration,
    /// Why a report with open errors is signed all the same.
    pub despite: Option<String>,
    /// The clock of this host.
    pub now: Timestamp,
}

/// A report that may be signed.
#[derive(Clone, Debug)]
pub struct Reviewed {
    /// The index that it is about.
    pub index: Digest,
    /// The statements by which something was not there when it was reviewed.
    pub removals: BTreeSet<String>,
    /// The details of the record.
    pub details: json::Object,
}

/// Reads the JSON of `verify -o json` or `scan -o json`.
///
/// # Errors
/// [`Code::Usage`]: it is not such a report, is too old, or has open errors.
pub fn read(bytes: &[u8], name: &str, rules: &Rules) -> Result<Reviewed> {
    let refused = |why: String| Error::new(Code::Usage, format!("`{name}` {why}")).state("nothing was signed");
    json::check(bytes, &[]).map_err(|e| refused(format!("is not a report: {e}")))?;
    let whole: Value = serde_json::from_slice(bytes).map_err(|e| refused(format!("is not a report: {e}")))?;
    // With `-o jsonl` the document is the last line, and has a type.
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let schema = text(&whole, "schema").unwrap_or_default();
    let (time, verdict) = match schema.as_str() {
        "mirror-bundle/report/v1" => ("checked_at", text(&whole, "verdict")),
        "mirror-bundle/scan/v1" => ("scanned_at", None),
        _ => {
            return Err(refused("is not a report".to_owned())
                .hint("give what verify -o json or scan -o json wrote for this bundle"));
        }
    };
    let not_one = |what: &str| refused(format!("is not a report: its `{what}` is missing or not usable"));
    let index = whole.get("bundle").and_then(|b| text(b, "index")).and_then(|i| i.parse().ok());
    let index: Digest = index.ok_or_else(|| not_one("bundle"))?;
    let exit_code = whole.get("exit_code").and_then(Value::as_u64).ok_or_else(|| not_one("exit_code"))?;
    let made: Timestamp = text(&whole, time).and_then(|t| t.parse().ok()).ok_or_else(|| not_one(time))?;
    let age = rules.now.duration_since(made);
    if age > rules.max_age || age < -AHEAD {
        let made = seconds(made);
        let when = if age < -AHEAD { "in the future" } else { "too long ago" };
        return Err(refused(format!("was made {when}: {made}"))
            .fact(format!("now {}, and it may be {} h old (--max-age)", seconds(rules.now), rules.max_age.as_hours()))
            .hint("verify or scan the bundle again, and sign that report"));
    }
    let (counts, open) = count(&whole, exit_code);
    if !open.is_empty() && rules.despite.is_none() {
        let all = counts.get("open").and_then(Value::as_u64).unwrap_or_default();
        let mut err = refused(if all == 1 { "has 1 open error".to_owned() } else { format!("has {all} open errors") });
        for one in open.iter().take(8) {
            err = err.fact(one.clone());
        }
        return Err(err.hint("to sign it all the same, and have that recorded: --despite REASON"));
    }
    let mut details = Map::new();
    details
        .insert("report".into(), json!({ "schema": schema, "sha256": Digest::of(bytes).hex(), "made": seconds(made) }));
    let verdict = verdict.unwrap_or_else(|| scanned(exit_code).to_owned());
    details.insert("verdict".into(), verdict.into());
    details.insert("exit_code".into(), exit_code.into());
    details.insert("counts".into(), counts);
    let scan = whole.get("scan").filter(|scan| scan.is_object()).unwrap_or(&whole);
    details.insert("scanners".into(), picked(scan, "scanners", &["name", "version", "database", "database_time"]));
    details.insert("policies".into(), policies(&whole));
    let evidence = ["file", "sha256", "format", "tool", "version", "created", "database", "counts"];
    details.insert("evidence".into(), picked(&whole, "evidence", &evidence));
    if let (Some(reason), false) = (&rules.despite, open.is_empty()) {
        if reason.trim().is_empty() || reason.len() > limits::TEXT || reason.chars().any(char::is_control) {
            let text = format!("a reason is one line of at most {} bytes", limits::TEXT);
            return Err(Error::new(Code::Usage, text).state("nothing was signed"));
        }
        details.insert("despite".into(), reason.clone().into());
    }
    let internal = |e: String| Error::new(Code::Internal, format!("cannot write the record: {e}"));
    let bytes = serde_json::to_vec(&details).map_err(|e| internal(e.to_string()))?;
    let details = json::Object::parse(&bytes).map_err(|e| internal(e.to_string()))?;
    Ok(Reviewed { index, removals: removals(&whole), details })
}

/// The removals that count in a report, as [`statement`] names them.
fn removals(whole: &Value) -> BTreeSet<String> {
    let lists = [Some(whole), whole.get("report")].into_iter().flatten().filter_map(|one| one.get("removals"));
    let all = lists.filter_map(Value::as_array).flatten();
    let text = |one: &Value, name: &str| one.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    all.filter(|one| one.get("obeyed") == Some(&Value::Bool(true)))
        .map(|one| statement(&text(one, "key"), &text(one, "created"), &text(one, "reason")))
        .collect()
}

/// What a statement of a removal is told apart by: its key, its time and its reason.
pub fn statement(key: &str, created: &str, reason: &str) -> String {
    format!("{key}, {created}: {reason}")
}

/// The verdict of a scan in one word, as its answer has it.
fn scanned(exit_code: u64) -> &'static str {
    match exit_code {
        0 => "clean",
        35 => "found",
        42 => "not-fully-scanned",
        _ => "fail",
    }
}

/// The findings by severity, and those that are open errors. A threshold that is not met yet is none: this signature is
/// what is missing.
fn count(whole: &Value, exit_code: u64) -> (Value, Vec<String>) {
    let list = |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut findings = list(whole, "findings");
    // Of a scan: what is wrong with layers, and with the bundle if it was verified in the same reading.
    findings.extend(whole.get("layers").map(|layers| list(layers, "findings")).unwrap_or_default());
    // `report` has the findings of scanners under `scan`; a scan without trust has those of rules under `rules`.
    let scan = whole.get("scan").filter(|scan| scan.is_object());
    findings.extend(scan.map(|scan| list(scan, "findings")).unwrap_or_default());
    let reports = [Some(whole), whole.get("report"), whole.get("rules")];
    let reports: Vec<&Value> = reports.into_iter().flatten().filter(|one| one.is_object()).collect();
    let of_all = |name: &str| reports.iter().flat_map(|report| list(report, name)).collect::<Vec<Value>>();
    findings.extend(of_all("checks").iter().flat_map(|check| list(check, "findings")));
    let is = |finding: &Value, name: &str, word: &str| finding.get(name).and_then(Value::as_str) == Some(word);
    let number = |severity: &str| findings.iter().filter(|f| is(f, "severity", severity)).count();
    // What a policy accepts is closed, and counted as that.
    let accepted = |f: &Value| f.get("accepted").is_some_and(|decision| !decision.is_null());
    let closed: u64 = list(whole, "accepted").iter().filter_map(|one| one.get("findings")?.as_u64()).sum();
    let errors: Vec<&Value> = findings.iter().filter(|f| is(f, "severity", "error") && !accepted(f)).collect();
    let say = |f: &&Value| {
        let first = |names: &[&str]| {
            names.iter().find_map(|name| match f.get(*name) {
                Some(Value::String(text)) => Some(text.clone()),
                Some(Value::Array(list)) => list.first().and_then(Value::as_str).map(str::to_owned),
                _ => None,
            })
        };
        first(&["message", "names", "why"]).unwrap_or_else(|| "an error".to_owned())
    };
    let mut open: Vec<String> = errors.iter().filter(|f| !is(f, "code", "untrusted")).map(say).collect();
    // A scan that ended early, whatever else is to be said about the bundle.
    let scans: Vec<&Value> = [Some(whole), scan].into_iter().flatten().collect();
    let left = scans.iter().any(|one| one.get("contents").and_then(|c| c.get("left")).is_some_and(|left| left != 0));
    let ended = scans.iter().any(|one| one.get("ended").is_some_and(|why| !why.is_null()));
    if left || ended {
        open.push("not everything was scanned".to_owned());
    }
    let not_checked = of_all("not_checked");
    let missing = not_checked.iter().filter(|n| n.get("required") == Some(&Value::Bool(true))).count();
    if missing > 0 && open.is_empty() {
        let checks = if missing == 1 { "1 required check".to_owned() } else { format!("{missing} required checks") };
        open.push(format!("{checks} did not run"));
    }
    if open.is_empty() && errors.is_empty() && exit_code != 0 {
        open.push(format!("its exit code is {exit_code}: not everything that is required was checked"));
    }
    // Of many findings of one kind, a report names the first and counts the others.
    let unnamed: u64 = of_all("checks").iter().filter_map(|check| check.get("more_errors")?.as_u64()).sum();
    let counts = json!({
        "error": errors.len() as u64 + unnamed, "open": open.len() as u64 + unnamed, "accepted": closed, "warning": number("warning"), "notice": number("notice"),
        "not_checked": not_checked.len(),
    });
    (counts, open)
}

/// These members of the objects in a list.
fn picked(whole: &Value, list: &str, members: &[&str]) -> Value {
    let list = whole.get(list).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let one = |of: &Value| {
        let known = members.iter().filter_map(|name| Some(((*name).to_owned(), of.get(*name)?.clone())));
        Value::Object(known.collect())
    };
    list.iter().take(LISTED).map(one).collect()
}

/// The policies with their SHA-256. A scan has that of the bundle in the report of the same reading.
fn policies(whole: &Value) -> Value {
    let trust = [Some(whole), whole.get("report")].into_iter().flatten().filter_map(|one| one.get("trust_policy"));
    let of = |digest: &str| json!({ "kind": "trust", "sha256": digest.trim_start_matches("sha256:") });
    let mut out: Vec<Value> = trust.filter_map(Value::as_str).map(of).collect();
    let rules = whole.get("policy").filter(|policy| policy.is_object());
    out.extend(rules.map(|policy| {
        let member = |name: &str| policy.get(name).cloned().unwrap_or_default();
        json!({ "kind": "rules", "file": member("file"), "sha256": member("sha256"), "rules": member("rules") })
    }));
    out.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn report(rest: &str) -> String {
        format!(
            "{{\"schema\":\"mirror-bundle/report/v1\",\"checked_at\":\"2026-11-28T12:00:00Z\",\"bundle\":{{\"index\":\"{}\"}},{rest}}}",
            Digest::of(b"index")
        )
    }

    fn rules(despite: Option<&str>) -> Rules {
        Rules {
            max_age: SignedDuration::from_hours(24),
            despite: despite.map(str::to_owned),
            now: "2026-11-28T13:00:00Z".parse().unwrap(),
        }
    }

    fn details(text: &str, despite: Option<&str>) -> Result<Value> {
        let read = read(text.as_bytes(), "r.json", &rules(despite))?;
        Ok(serde_json::from_slice(&serde_json::to_vec(&read.details).unwrap()).unwrap())
    }

    #[test]
    fn the_record_names_the_report_its_verdict_scanners_policies_and_evidence() {
        let text = report(
            "\"verdict\":\"verified\",\"exit_code\":0,\"trust_policy\":\"sha256:aa\",\
             \"evidence\":[{\"tool\":\"grype\",\"sha256\":\"bb\",\"images\":[]}],\
             \"checks\":[{\"findings\":[{\"severity\":\"notice\",\"message\":\"m\"}]}],\
             \"scanners\":[{\"name\":\"clamd\",\"version\":\"1.4\",\"proof\":{}}]",
        );
        let details = details(&text, Some("no reason")).unwrap();
        assert_eq!(details["report"]["sha256"], Digest::of(text.as_bytes()).hex());
        assert_eq!((&details["verdict"], &details["counts"]["notice"]), (&"verified".into(), &1.into()));
        assert_eq!(details["policies"], json!([{ "kind": "trust", "sha256": "aa" }]));
        assert_eq!(details["evidence"], json!([{ "tool": "grype", "sha256": "bb" }]));
        assert_eq!(details["scanners"], json!([{ "name": "clamd", "version": "1.4" }]));
        assert!(details.get("despite").is_none(), "there was nothing to overlook");
    }

    #[test]
    fn open_errors_are_refused_unless_a_reason_is_given_and_a_missing_signature_is_none() {
        let bad = report(
            "\"verdict\":\"fail\",\"exit_code\":41,\"checks\":[{\"findings\":[{\"severity\":\"error\",\"code\":\"policy\",\"message\":\"no\"}]}]",
        );
        assert_eq!(details(&bad, None).unwrap_err().code(), Code::Usage);
        assert_eq!(details(&bad, Some("CHG-1")).unwrap()["despite"], "CHG-1");
        assert!(details(&bad, Some("a\nb")).is_err() && details(&bad, Some(" ")).is_err());
        assert!(details(&bad.replace("\"policy\"", "\"untrusted\""), None).is_ok());
        let partly = report("\"verdict\":\"not-fully-checked\",\"exit_code\":42,\"checks\":[]");
        assert!(details(&partly, None).is_err() && details(&partly, Some("x")).is_ok());
        let both = bad.replace(
            "[{\"findings\"",
            "[{\"findings\":[{\"severity\":\"error\",\"code\":\"untrusted\"}]},{\"findings\"",
        );
        assert!(details(&both, None).is_err());
    }

    #[test]
    fn a_scan_is_a_report_too() {
        let scan =
            report("\"verdict\":1,\"exit_code\":35,\"findings\":[{\"severity\":\"error\",\"names\":[\"Eicar\"]}]")
                .replace("report/v1", "scan/v1")
                .replace("checked_at", "scanned_at");
        let refused = details(&scan, None).unwrap_err();
        assert!(refused.facts().iter().any(|f| f == "Eicar"), "{refused:?}");
        assert_eq!(details(&scan, Some("known")).unwrap()["verdict"], "found");
        // What is accepted is closed; `report` has all in one document.
        let closed = scan.replace("\"severity\"", "\"accepted\":{\"by\":\"b\"},\"severity\"").replace(":35", ":0");
        assert_eq!(details(&closed, None).unwrap()["counts"]["open"], 0);
        let one = report(
            "\"verdict\":\"fail\",\"exit_code\":35,\"checks\":[],\"policy\":{\"file\":\"p\",\"sha256\":\"cc\",\"rules\":3},\"scan\":\
             {\"scanners\":[{\"name\":\"s\"}],\"findings\":[{\"severity\":\"error\",\"names\":[\"Eicar\"]}]}",
        );
        assert!(details(&one, None).is_err());
        let details_of_one = details(&one, Some("known")).unwrap();
        assert_eq!(details_of_one["policies"], json!([{ "kind": "rules", "file": "p", "sha256": "cc", "rules": 3 }]));
        assert_eq!(details_of_one["scanners"], json!([{ "name": "s" }]));
        // What was not scanned is open, also where the threshold is not met yet.
        let early = report(
            "\"exit_code\":22,\"contents\":{\"left\":7},\"ended\":\"it was silent\",\"findings\":[],\"report\":\
             {\"trust_policy\":\"sha256:aa\",\"checks\":[{\"findings\":[{\"severity\":\"error\",\"code\":\"untrusted\"}]}]}",
        )
        .replace("report/v1", "scan/v1")
        .replace("checked_at", "scanned_at");
        assert_eq!(details(&early, None).unwrap_err().code(), Code::Usage);
        let all = early.replace("\"left\":7", "\"left\":0").replace("\"it was silent\"", "null");
        assert_eq!(details(&all, None).unwrap()["policies"], json!([{ "kind": "trust", "sha256": "aa" }]));
        let missing = all.replace("\"checks\"", "\"not_checked\":[{\"required\":true}],\"checks\"");
        assert!(details(&missing, None).is_err() && details(&missing, Some("x")).is_ok());
        // A path in an image may have any character; the report has it escaped.
        let path = scan.replace("\"names\"", "\"path\":\"a\\u001b[2J\",\"names\"");
        assert_eq!(details(&path, Some("known")).unwrap()["verdict"], "found");
    }

    #[test]
    fn what_is_too_old_from_the_future_or_no_report_is_refused() {
        let good = report("\"verdict\":\"verified\",\"exit_code\":0");
        assert!(details(&good, None).is_ok());
        for (old, new) in [
            ("2026-11-28T12", "2026-11-27T12"),
            ("2026-11-28T12", "2026-11-28T14"),
            ("2026-11-28T12:00:00Z", "today"),
            ("report/v1", "ls/v1"),
            ("\"exit_code\":0", "\"exit_code\":0,\"exit_code\":0"),
            ("\"exit_code\":0", "\"exit_code\":\"0\""),
            ("sha256:", "sha512:"),
            ("{", "[{"),
        ] {
            let bad = good.replacen(old, new, 1);
            assert_eq!(details(&bad, Some("x")).unwrap_err().code(), Code::Usage, "{new}");
        }
    }
}
