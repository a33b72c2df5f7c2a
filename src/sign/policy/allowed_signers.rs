//! OpenSSH `allowed_signers` files (`ssh-keygen(1)`, "ALLOWED SIGNERS").
//!
//! `PRINCIPALS [OPTIONS] TYPE KEY [COMMENT]`. The principals are the signer's name; the namespaces decide the roles. A
//! line whose namespaces leave no role is for other programs and is skipped. Lines are refused if they would widen
//! trust in ways unknown to this project (certificate authorities), or mean different things on different hosts (local
//! times).

use super::pattern::list_matches;
use super::{Signer, Validity, bad, check_name, time};
use crate::error::Result;
use crate::sign::{Namespace, PublicKey, Role, within};

/// Whether the first line with content is in this format.
pub(super) fn looks_like(bytes: &[u8]) -> bool {
    let content = bytes.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let first = content.map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let Some(first) = first else { return false };
    if first.starts_with(['{', '-']) || first.split_whitespace().next().is_some_and(|word| word.ends_with(':')) {
        return false;
    }
    let words: Vec<&str> = first.split_whitespace().collect();
    words.windows(2).skip(1).any(|pair| is_key_type(pair[0]) && pair[1].starts_with("AAAA"))
}

/// Every signer that may sign in a namespace of this project.
pub(super) fn parse(text: &str) -> Result<Vec<Signer>> {
    let mut signers = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_matches([' ', '\t', '\r']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let signer =
            parse_line(line).map_err(|err| within(&format!("line {} of the allowed signers file", number + 1), err))?;
        signers.extend(signer);
    }
    Ok(signers)
}

fn parse_line(line: &str) -> Result<Option<Signer>> {
    let (name, rest) = principals(line)?;
    check_name(name)?;
    if name.split(',').any(|principal| principal.starts_with('!')) {
        return Err(bad("negated principals are not supported"));
    }
    let (first, _) = word(rest)?;
    let (options, key) = if is_key_type(first) { (Options::default(), rest) } else { Options::read(rest)? };
    let allowed = |role: &Role| {
        let name = Namespace::Index(*role).as_str();
        let Some(list) = &options.namespaces else { return *role != Role::Carrier };
        // A carrier has to be named: a pattern that was written before there were any means none.
        list_matches(list, name) && (*role != Role::Carrier || list.split(',').any(|one| one == name))
    };
    let roles: Vec<Role> = Role::ALL.into_iter().chain([Role::Carrier]).filter(allowed).collect();
    if roles.is_empty() {
        return Ok(None);
    }
    if options.authority {
        return Err(bad("`cert-authority` is not supported: name each key"));
    }
    let key = PublicKey::parse(key)?;
    let valid = Validity { from: options.after, until: options.until };
    Ok(Some(Signer { name: name.to_owned(), key, roles, valid }))
}

#[derive(Default)]
struct Options {
    namespaces: Option<String>,
    after: Option<jiff::Timestamp>,
    until: Option<jiff::Timestamp>,
    authority: bool,
}

impl Options {
    /// Reads the options word and returns what follows it.
    fn read(line: &str) -> Result<(Options, &str)> {
        let (list, rest) = word(line)?;
        let mut options = Options::default();
        let mut left = list;
        while !left.is_empty() {
            let end = left.find(['=', ',']).unwrap_or(left.len());
            let (name, after) = left.split_at(end);
            let (value, after) = match after.strip_prefix('=') {
                Some(quoted) => {
                    let (value, after) = quoted_value(quoted)?;
                    (Some(value), after)
                }
                None => (None, after),
            };
            options.set(name, value)?;
            left = match after.strip_prefix(',') {
                Some(more) if !more.is_empty() => more,
                None if after.is_empty() => after,
                _ => return Err(bad(format!("cannot read the options `{list}`"))),
            };
        }
        Ok((options, rest))
    }

    fn set(&mut self, name: &str, value: Option<String>) -> Result<()> {
        let twice = || bad(format!("the option `{name}` appears twice"));
        match (name.to_ascii_lowercase().as_str(), value) {
            ("cert-authority", None) => self.authority = true,
            ("namespaces", Some(list)) => {
                if self.namespaces.replace(list).is_some() {
                    return Err(twice());
                }
            }
            ("valid-after", Some(text)) => {
                if self.after.replace(instant(name, &text)?).is_some() {
                    return Err(twice());
                }
            }
            ("valid-before", Some(text)) => {
                // OpenSSH refuses a key only after this second.
                let until = time::second_after(instant(name, &text)?);
                if self.until.is_some() || until.is_none() {
                    return Err(twice());
                }
                self.until = until;
            }
            _ => return Err(bad(format!("`{name}` is not an option of allowed signers"))),
        }
        Ok(())
    }
}

fn instant(name: &str, text: &str) -> Result<jiff::Timestamp> {
    time::ssh(text).ok_or_else(|| {
        bad(format!("`{name}` must be a UTC time like 20270630Z or 202706301200Z, not `{text}`"))
            .hint("without the Z it would be a time of each host's own time zone")
    })
}

/// The principals and the rest of the line. Quotes must begin and end the word: OpenSSH ends the word at any other
/// quote, earlier than a person would, so those are refused.
fn principals(line: &str) -> Result<(&str, &str)> {
    let unreadable = || bad("a quote in the principals must begin or end them");
    let (name, rest) = match line.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').ok_or_else(|| bad("it ends too early"))?,
        None => line.split_at(line.find([' ', '\t']).unwrap_or(line.len())),
    };
    if name.is_empty() || name.contains('"') || !(rest.is_empty() || rest.starts_with([' ', '\t'])) {
        return Err(unreadable());
    }
    Ok((name, rest.trim_start_matches([' ', '\t'])))
}

/// The options word, in which quoted spaces do not end it, and the rest of the line.
fn word(text: &str) -> Result<(&str, &str)> {
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if text.as_bytes().get(at + 1) == Some(&b'"') => escaped = true,
            b'"' => quoted = !quoted,
            b' ' | b'\t' if !quoted => return Ok((&text[..at], text[at..].trim_start())),
            _ => {}
        }
    }
    if quoted || text.is_empty() { Err(bad("it ends too early")) } else { Ok((text, "")) }
}

/// A quoted value (`\"` is a quote), and the rest.
fn quoted_value(text: &str) -> Result<(String, &str)> {
    let unreadable = || bad("the value of an option must be in quotes");
    let body = text.strip_prefix('"').ok_or_else(unreadable)?;
    let mut value = String::new();
    let mut chars = body.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if matches!(chars.peek(), Some((_, '"'))) => {
                value.push('"');
                chars.next();
            }
            '"' => return Ok((value, &body[at + 1..])),
            _ => value.push(c),
        }
    }
    Err(unreadable())
}

fn is_key_type(word: &str) -> bool {
    ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|prefix| word.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::sign::SecretKey;

    fn line() -> String {
        SecretKey::from_seed(&[1; 32], "c").public().to_line()
    }

    fn one(prefix: &str) -> Signer {
        parse(&format!("{prefix} {}\n", line())).unwrap().pop().unwrap()
    }

    #[test]
    fn principals_namespaces_and_times_become_name_roles_and_validity() {
        let signer = one("alice@example.com");
        assert_eq!((signer.name.as_str(), signer.roles.as_slice()), ("alice@example.com", &Role::ALL[..]));
        assert_eq!(signer.valid, Validity::default());
        let signer = one("\"Alice A\" namespaces=\"git,mirror-bundle.v1.reviewer\",valid-after=\"20260101Z\"");
        assert_eq!((signer.name.as_str(), signer.roles.as_slice()), ("Alice A", &[Role::Reviewer][..]));
        assert_eq!(signer.valid.from.unwrap().to_string(), "2026-01-01T00:00:00Z");
        let signer = one("a,b NAMESPACES=\"mirror-bundle.v1.*,!*.receiver\",Valid-Before=\"20270101120000Z\"");
        assert_eq!(signer.roles, [Role::Builder, Role::Reviewer]);
        assert_eq!(signer.valid.until.unwrap().to_string(), "2027-01-01T12:00:01Z", "the second itself is valid");
        assert_eq!(one("c namespaces=\"mirror-bundle.v1.carrier,git\"").roles, [Role::Carrier]);
    }

    #[test]
    fn lines_for_other_programs_are_passed_over() {
        let file = format!(
            "# comment\n\nbob namespaces=\"git\" {0}\nca cert-authority,namespaces=\"file\" {0}\n\
             old namespaces=\"git\" ssh-dss AAAAB3NzaC1kc3M=\n",
            line()
        );
        assert_eq!(parse(&file).unwrap(), []);
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_with_its_line() {
        for bad in [
            "alice cert-authority",
            "alice cert-authority,namespaces=\"mirror-bundle.v1.builder\"",
            "!alice",
            "a,!b",
            "alice valid-before=\"20270101\"",
            "alice valid-before=20270101Z",
            "alice valid-before=\"20270101Z\",valid-before=\"20280101Z\"",
            "alice namespaces=\"*\",namespaces=\"*\"",
            "alice namespaces=\"*\" valid-after=\"20270101Z\"",
            "alice namespaces=\"*\",",
            "alice ,namespaces=\"*\"",
            "alice namespaces=\"*\"x",
            "alice namespaces",
            "alice namespaces=\"*",
            "alice no-touch-required",
            "\"alice",
            "al\"ice",
            "al\"ice b\"",
            "\"alice\"b",
            "\"alice\\\" b\" c",
            "\"\"",
        ] {
            let err = parse(&format!("# one\n{bad} {}\n", line())).unwrap_err();
            assert!(err.message().starts_with("line 2 "), "{bad}: {err:?}");
        }
        for bad in ["alice", "alice ssh-ed25519", "alice ssh-dss AAAAB3NzaC1kc3M=", "alice ssh-ed25519 AAAA"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
