//! rpm: `[EPOCH:]VERSION[-RELEASE]`, with `~` (before) and `^` (after), as `rpmvercmp` and `rpmdev-vercmp` compare.

use std::cmp::Ordering;

use super::numbers;

#[derive(Clone, Debug)]
pub(super) struct Evr {
    epoch: String,
    version: String,
    release: Option<String>,
}

impl Evr {
    pub(super) fn parse(text: &str) -> Evr {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (epoch, rest) = match text[digits..].strip_prefix(':') {
            Some(rest) => (&text[..digits], rest),
            None => ("", text),
        };
        let (version, release) = match rest.rsplit_once('-') {
            Some((version, release)) => (version, Some(release.to_owned())),
            None => (rest, None),
        };
        Evr { epoch: epoch.to_owned(), version: version.to_owned(), release }
    }

    pub(super) fn has_release(&self) -> bool {
        self.release.is_some()
    }

    fn head(&self, other: &Evr) -> Ordering {
        numbers(&self.epoch, &other.epoch).then_with(|| compare(&self.version, &other.version))
    }

    pub(super) fn order(&self, other: &Evr) -> Ordering {
        self.head(other).then_with(|| match (&self.release, &other.release) {
            (Some(one), Some(two)) => compare(one, two),
            (one, two) => one.is_some().cmp(&two.is_some()),
        })
    }

    /// Without a release on one side, only the rest counts.
    pub(super) fn against(&self, bound: &Evr) -> Ordering {
        self.head(bound).then_with(|| match (&self.release, &bound.release) {
            (Some(one), Some(two)) => compare(one, two),
            _ => Ordering::Equal,
        })
    }
}

/// `rpmvercmp`
fn compare(one: &str, two: &str) -> Ordering {
    let (mut a, mut b) = (one.as_bytes(), two.as_bytes());
    let noise = |byte: &u8| !byte.is_ascii_alphanumeric() && !matches!(byte, b'~' | b'^');
    let skip = |text: &mut &[u8]| *text = &text[text.iter().take_while(|byte| noise(byte)).count()..];
    while !a.is_empty() || !b.is_empty() {
        skip(&mut a);
        skip(&mut b);
        match (a.first(), b.first()) {
            (Some(b'~'), Some(b'~')) | (Some(b'^'), Some(b'^')) => {
                (a, b) = (&a[1..], &b[1..]);
                continue;
            }
            (Some(b'~'), _) => return Ordering::Less,
            (_, Some(b'~')) => return Ordering::Greater,
            // A caret is after the end, and before anything else.
            (None, Some(b'^')) => return Ordering::Less,
            (Some(b'^'), None) => return Ordering::Greater,
            (Some(b'^'), _) => return Ordering::Less,
            (_, Some(b'^')) => return Ordering::Greater,
            (None, _) | (_, None) => break,
            (Some(first), _) => {
                let number = first.is_ascii_digit();
                let same = |byte: &u8| if number { byte.is_ascii_digit() } else { byte.is_ascii_alphabetic() };
                let take = |text: &[u8]| text.iter().take_while(|byte| same(byte)).count();
                let (x, y) = (take(a), take(b));
                if y == 0 {
                    return if number { Ordering::Greater } else { Ordering::Less };
                }
                let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
                let order = match number {
                    true => numbers(&text(&a[..x]), &text(&b[..y])),
                    false => a[..x].cmp(&b[..y]),
                };
                if order.is_ne() {
                    return order;
                }
                (a, b) = (&a[x..], &b[y..]);
            }
        }
    }
    a.is_empty().cmp(&b.is_empty()).reverse()
}
