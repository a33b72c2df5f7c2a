//! Debian: `[EPOCH:]UPSTREAM[-REVISION]`, as `dpkg --compare-versions` compares (Debian policy 5.6.12).

use std::cmp::Ordering;

use super::numbers;

#[derive(Clone, Debug)]
pub(super) struct Version {
    epoch: String,
    upstream: String,
    revision: String,
}

impl Version {
    pub(super) fn parse(text: &str) -> Version {
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) if !epoch.is_empty() && epoch.bytes().all(|b| b.is_ascii_digit()) => (epoch, rest),
            _ => ("", text),
        };
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Version { epoch: epoch.to_owned(), upstream: upstream.to_owned(), revision: revision.to_owned() }
    }

    pub(super) fn order(&self, other: &Version) -> Ordering {
        numbers(&self.epoch, &other.epoch)
            .then_with(|| compare(&self.upstream, &other.upstream))
            .then_with(|| compare(&self.revision, &other.revision))
    }
}

/// The weight of a character that is no digit; that of the end and of digits is 0.
fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        None => 0,
        Some(byte) if byte.is_ascii_digit() => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(b'~') => -1,
        Some(byte) => i32::from(*byte) + 256,
    }
}

/// `verrevcmp` of dpkg: texts and numbers in turns.
fn compare(one: &str, two: &str) -> Ordering {
    let (mut a, mut b) = (one.as_bytes(), two.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        let text = |of: &[u8]| of.first().is_some_and(|byte| !byte.is_ascii_digit());
        while text(a) || text(b) {
            let order = weight(a.first()).cmp(&weight(b.first()));
            if order.is_ne() {
                return order;
            }
            a = a.get(1..).unwrap_or_default();
            b = b.get(1..).unwrap_or_default();
        }
        let digits = |of: &[u8]| of.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (x, y) = (digits(a), digits(b));
        let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
        let order = numbers(&text(&a[..x]), &text(&b[..y]));
        if order.is_ne() {
            return order;
        }
        (a, b) = (&a[x..], &b[y..]);
    }
    Ordering::Equal
}
