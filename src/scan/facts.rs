//! Facts about contents and names that need no scanner.

use serde::Serialize;

/// A kind of fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fact {
    /// A private key in PEM.
    PrivateKey,
    /// A program for another system than Linux.
    ForeignProgram,
    /// A name with control or reordering characters.
    OddName,
    /// A link that leads out of the image.
    LeavingLink,
}

impl Fact {
    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Fact::PrivateKey => "private-key",
            Fact::ForeignProgram => "foreign-program",
            Fact::OddName => "odd-name",
            Fact::LeavingLink => "leaving-link",
        }
    }

    /// In words.
    pub fn title(self) -> &'static str {
        match self {
            Fact::PrivateKey => "private keys",
            Fact::ForeignProgram => "programs for other systems",
            Fact::OddName => "names with control or reordering characters",
            Fact::LeavingLink => "links that leave the image",
        }
    }
}

/// Facts about a content that begins with `head`.
pub(super) fn of(head: &[u8]) -> Option<(Fact, String)> {
    if let Some(kind) = private_key(head) {
        return Some((Fact::PrivateKey, kind));
    }
    foreign(head).map(|system| (Fact::ForeignProgram, system.to_owned()))
}

/// `-----BEGIN ... PRIVATE KEY-----` at the beginning of a line.
fn private_key(head: &[u8]) -> Option<String> {
    memchr::memmem::find_iter(head, b"-----BEGIN ").find_map(|at| {
        let line = head[at + 11..].split(|b| *b == b'\n').next()?;
        let line = std::str::from_utf8(line.get(..line.len().min(64))?).ok()?;
        let kind = line.trim_end().strip_suffix("PRIVATE KEY-----")?;
        // With something behind it: the name alone stands in many programs.
        let body = &head[at + 11 + line.len()..];
        let lines = body.iter().filter(|b| **b == b'\n').count();
        let plain = kind.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b' ');
        (plain && lines > 1 && (at == 0 || head[at - 1] == b'\n'))
            .then(|| format!("{kind}PRIVATE KEY").trim().to_owned())
    })
}

/// The system of a program that is not for Linux.
fn foreign(head: &[u8]) -> Option<&'static str> {
    let four = |at: usize| head.get(at..at + 4).and_then(|f| f.first_chunk::<4>());
    match head {
        [b'M', b'Z', ..] => {
            let at = usize::try_from(u32::from_le_bytes(*four(0x3c)?)).ok()?;
            (four(at)? == b"PE\0\0").then_some("Windows (PE)")
        }
        [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] | [0xfe, 0xed, 0xfa, 0xcf | 0xce, ..] => Some("macOS (Mach-O)"),
        // A Java class begins like a Mach-O with several parts; those have few.
        [0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 1..=20, ..] => Some("macOS (Mach-O)"),
        _ => None,
    }
}

/// Whether a name has control or reordering characters.
pub(super) fn is_odd(name: &[u8]) -> bool {
    if name.is_ascii() {
        return name.iter().any(|b| b.is_ascii_control());
    }
    String::from_utf8_lossy(name).chars().any(|c| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    })
}

/// Whether a symbolic link at `path` with this target leads out of the root.
pub(super) fn leaves(path: &[u8], target: &[u8]) -> bool {
    let mut depth = match target.first() {
        Some(b'/') => 0,
        _ => path.split(|b| *b == b'/').filter(|p| !p.is_empty()).count().saturating_sub(1),
    };
    for part in target.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." if depth == 0 => return true,
            b".." => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_programs_names_and_links_are_noticed_and_what_only_looks_like_them_is_not() {
        let key = [b"-----BEGIN OPENSSH PRIVATE".as_slice(), b" KEY-----\nb3BlbnNz\naaaa\n"].concat();
        assert_eq!(of(&key), Some((Fact::PrivateKey, "OPENSSH PRIVATE KEY".into())));
        assert_eq!(of(b"-----BEGIN PUBLIC KEY-----\nx\ny\n"), None);
        assert_eq!(of(b"see -----BEGIN RSA PRIVATE KEY-----\nx\ny\n"), None);
        let mut pe = vec![0; 256];
        pe[..2].copy_from_slice(b"MZ");
        pe[0x3c] = 128;
        assert_eq!(of(&pe), None);
        pe[128..132].copy_from_slice(b"PE\0\0");
        assert_eq!(of(&pe).map(|f| f.0), Some(Fact::ForeignProgram));
        assert_eq!(of(b"\xca\xfe\xba\xbe\0\0\0\x34"), None);
        assert!(is_odd(b"a\nb") && is_odd("a\u{202e}b".as_bytes()) && !is_odd("größe".as_bytes()));
        assert!(leaves(b"a/b", b"../../etc") && leaves(b"a", b"/../x"));
        assert!(!leaves(b"a/b", b"../etc") && !leaves(b"a", b"/etc/../x"));
    }
}
