//! Facts about a file that need no scanner: what a reviewer looks at first.

use super::layer::{FileEntry, FileKind};

/// The most bytes of a content that [`of_content`] looks at.
pub const FIRST: usize = 4096;
/// The longest name that file systems take, in bytes.
const NAME: usize = 255;

/// One fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// It runs with the rights of its owner.
    Setuid,
    /// It runs with the rights of its group.
    Setgid,
    /// It has file capabilities.
    Capabilities,
    /// Everybody may write it.
    WorldWritable,
    /// It is a device.
    Device,
    /// A name in its path has control characters.
    ControlInName,
    /// A name in its path has characters that reorder or hide text.
    ReorderedName,
    /// A name in its path is longer than file systems take.
    LongName,
    /// It is a link that leads out of the image.
    LeavingLink,
    /// It is a private key.
    PrivateKey,
    /// It is a program for Windows.
    WindowsProgram,
    /// It is a program for macOS.
    MacProgram,
}

impl Fact {
    /// The word for lists and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Fact::Setuid => "setuid",
            Fact::Setgid => "setgid",
            Fact::Capabilities => "capabilities",
            Fact::WorldWritable => "world-writable",
            Fact::Device => "device",
            Fact::ControlInName => "control-in-name",
            Fact::ReorderedName => "reordered-name",
            Fact::LongName => "long-name",
            Fact::LeavingLink => "leaving-link",
            Fact::PrivateKey => "private-key",
            Fact::WindowsProgram => "windows-program",
            Fact::MacProgram => "macos-program",
        }
    }

    /// Whether it is a finding, of severity notice, rather than only a mark in lists.
    pub fn is_finding(self) -> bool {
        !matches!(self, Fact::Setuid | Fact::Setgid | Fact::Capabilities | Fact::WorldWritable | Fact::Device)
    }

    /// What it is, for a sentence about a path.
    pub fn sentence(self) -> &'static str {
        match self {
            Fact::Setuid => "runs with the rights of its owner",
            Fact::Setgid => "runs with the rights of its group",
            Fact::Capabilities => "has file capabilities",
            Fact::WorldWritable => "may be written by everybody",
            Fact::Device => "is a device",
            Fact::ControlInName => "has control characters in its name",
            Fact::ReorderedName => "has characters in its name that reorder or hide text",
            Fact::LongName => "has a name longer than file systems take",
            Fact::LeavingLink => "is a link that leads out of the image",
            Fact::PrivateKey => "is a private key",
            Fact::WindowsProgram => "is a program for Windows",
            Fact::MacProgram => "is a program for macOS",
        }
    }
}

/// The facts that an entry shows without its content.
pub fn of_entry(entry: &FileEntry) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut note = |is: bool, fact: Fact| {
        if is {
            facts.push(fact);
        }
    };
    let file = entry.kind == FileKind::File;
    note(file && entry.mode & 0o4000 != 0, Fact::Setuid);
    note(file && entry.mode & 0o2000 != 0, Fact::Setgid);
    note(entry.capabilities(), Fact::Capabilities);
    // A folder with the sticky bit is like /tmp.
    let open = file || entry.kind == FileKind::Dir && entry.mode & 0o1000 == 0;
    note(open && entry.mode & 0o002 != 0, Fact::WorldWritable);
    note(matches!(entry.kind, FileKind::Char | FileKind::Block) && entry.whiteout.is_none(), Fact::Device);
    if entry.kind != FileKind::Behind {
        let names = entry.hidden_path.iter().chain([&entry.path]).chain(&entry.target);
        let (mut control, mut reordered) = (false, false);
        for text in names.map(|name| String::from_utf8_lossy(name)) {
            control |= text.chars().any(char::is_control);
            reordered |= text.chars().any(reorders);
        }
        note(control, Fact::ControlInName);
        note(reordered, Fact::ReorderedName);
        note(entry.path.split(|b| *b == b'/').any(|name| name.len() > NAME), Fact::LongName);
        let target = entry.target.as_deref().filter(|_| entry.kind == FileKind::Symlink);
        note(target.is_some_and(|target| leaves(&entry.path, target)), Fact::LeavingLink);
    }
    facts
}

/// The facts that the first [`FIRST`] bytes of a content show.
pub fn of_content(first: &[u8]) -> Vec<Fact> {
    let mut facts = Vec::new();
    if private_key(first) {
        facts.push(Fact::PrivateKey);
    }
    if windows_program(first) {
        facts.push(Fact::WindowsProgram);
    }
    if mac_program(first) {
        facts.push(Fact::MacProgram);
    }
    facts
}

/// Direction marks, overrides and isolates, and characters that have no width.
fn reorders(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{061c}' | '\u{feff}')
        || matches!(c, '\u{e0000}'..='\u{e007f}')
}

/// Whether a symbolic link at `path` has more `..` than there are folders above it.
fn leaves(path: &[u8], target: &[u8]) -> bool {
    let absolute = target.starts_with(b"/");
    let parts = |text: &[u8]| text.split(|b| *b == b'/').filter(|p| !matches!(*p, b"" | b".")).count();
    let mut depth = if absolute { 0 } else { parts(path).saturating_sub(1) };
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

/// A PEM block of a private key, with key material behind its first line.
fn private_key(first: &[u8]) -> bool {
    const BEGIN: &[u8] = b"-----BEGIN ";
    const END: &[u8] = b"PRIVATE KEY-----";
    // Programs that can read keys have such lines, too.
    if first.iter().take(512).any(|b| *b == 0) {
        return false;
    }
    let mut rest = first;
    while let Some(at) = memchr::memmem::find(rest, BEGIN) {
        rest = &rest[at + BEGIN.len()..];
        let line = rest.split(|b| matches!(b, b'\n' | b'\r')).next().unwrap_or_default();
        let begins = at_line_start(first, rest);
        if begins && line.len() < 64 && line.ends_with(END) {
            let body = &rest[line.len()..];
            let material = body
                .iter()
                .filter(|b| !b.is_ascii_whitespace())
                .take(16)
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b':' | b'-' | b','));
            if material && body.len() > 16 {
                return true;
            }
        }
    }
    false
}

/// Whether the mark before `rest`, which is the end of `all`, begins a line.
fn at_line_start(all: &[u8], rest: &[u8]) -> bool {
    let at = all.len() - rest.len() - b"-----BEGIN ".len();
    at == 0 || matches!(all[at - 1], b'\n' | b'\r' | b' ' | b'\t' | b'"' | b'\'')
}

/// `MZ`, and `PE` where its header says.
fn windows_program(first: &[u8]) -> bool {
    let Some(at) = first.get(60..64).and_then(|b| <[u8; 4]>::try_from(b).ok()) else { return false };
    let at = u32::from_le_bytes(at) as usize;
    first.starts_with(b"MZ") && first.get(at..at.saturating_add(4)) == Some(b"PE\0\0")
}

/// Mach-O of 32 or 64 bits in either order, or a file of several; Java classes begin alike.
fn mac_program(first: &[u8]) -> bool {
    match first {
        [0xfe, 0xed, 0xfa, 0xce | 0xcf, ..] | [0xce | 0xcf, 0xfa, 0xed, 0xfe, ..] => first.len() >= 28,
        [0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, count, ..] => (1..20).contains(count) && first.len() >= 28,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_keys_are_found_and_programs_that_mention_them_are_not() {
        let pem = |kind: &str| format!("-----BEGIN {kind}PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n");
        for kind in ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "] {
            assert_eq!(of_content(pem(kind).as_bytes()), [Fact::PrivateKey], "{kind}");
            assert_eq!(of_content(format!("# note\n{}", pem(kind)).as_bytes()), [Fact::PrivateKey], "{kind}");
        }
        assert!(of_content(b"-----BEGIN PUBLIC KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n").is_empty());
        assert!(of_content(b"\0-----BEGIN RSA PRIVATE KEY-----\0-----END RSA PRIVATE KEY-----\0and so on").is_empty());
    }

    #[test]
    fn programs_of_other_systems_are_told_from_their_first_bytes() {
        let mut pe = vec![0; 256];
        pe[..2].copy_from_slice(b"MZ");
        pe[60] = 128;
        assert!(of_content(&pe).is_empty(), "DOS");
        pe[128..132].copy_from_slice(b"PE\0\0");
        assert_eq!(of_content(&pe), [Fact::WindowsProgram]);
        let mut mac = vec![0; 64];
        mac[..4].copy_from_slice(&[0xcf, 0xfa, 0xed, 0xfe]);
        assert_eq!(of_content(&mac), [Fact::MacProgram]);
        mac[..8].copy_from_slice(&[0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 2]);
        assert_eq!(of_content(&mac), [Fact::MacProgram]);
        mac[..8].copy_from_slice(&[0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 52]);
        assert!(of_content(&mac).is_empty(), "Java");
        assert!(of_content(b"\x7fELF").is_empty());
    }

    #[test]
    fn links_leave_the_image_only_when_they_lead_above_its_root() {
        for (path, target, out) in [
            ("a/b", "../c", false),
            ("a/b", "../../c", true),
            ("a/b", "/etc/x", false),
            ("a/b", "/../etc", true),
            ("b", "..", true),
            ("a/b/c", "x/../../../..", true),
        ] {
            assert_eq!(leaves(path.as_bytes(), target.as_bytes()), out, "{path} {target}");
        }
    }
}
