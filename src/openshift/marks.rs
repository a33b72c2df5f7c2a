//! Recognises an OpenShift release by its label, its payload and its names, whatever the bundle calls it.
//!
//! [`super::payload`] reads a release strictly. This module only recognises one, and leniently: other readers of tar,
//! compression and JSON accept more than a strict parser, and anything they take for a release must be found here. So
//! a layer is decompressed according to its bytes (not its media type), every block that can be a tar header is
//! examined, and a configuration is searched for the label as a member name. Normative text: MB-VER-14 and MB-VER-15.

use std::io::{self, Write};

use super::tags::{MULTI, arch_word};

/// The label that a release image carries in its configuration.
pub const LABEL: &str = "io.openshift.release";
/// The largest configuration that a container runtime reads (containers/image `iolimits.MaxConfigBodySize`).
pub const MAX_CONFIG: u64 = 4 << 20;
/// The largest layer that is searched, in stored bytes. The payload layer of a real release has a few hundred KiB.
pub const MAX_LAYER: u64 = 2 << 20;

const FOLDER: &[u8] = b"release-manifests";
const FILES: [&[u8]; 2] = [b"image-references", b"release-metadata"];
const BLOCK: usize = 512;
/// Bytes of an extension header that are kept.
const EXTENSION: usize = 1 << 20;
/// The largest zstd window, as a power of two: the default of decoders.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Whether a configuration has the label of a release as a member name, anywhere in it, with any value.
///
/// Every JSON reader delimits strings in the same way, however it treats duplicates, numbers, depth or broken UTF-8.
pub fn has_label(config: &[u8]) -> bool {
    let mut rest = config;
    while let Some(start) = rest.iter().position(|b| *b == b'"') {
        let (text, after) = string(&rest[start + 1..]);
        let follows = after.iter().find(|b| !b" \t\r\n".contains(b));
        if follows == Some(&b':') && text == LABEL.as_bytes() {
            return true;
        }
        rest = after;
    }
    false
}

/// The text of a JSON string after its opening quote (ASCII characters only), and what follows the string.
fn string(bytes: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut text = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (byte, bytes.get(at + 1)) {
            (b'"', _) => return (text, &bytes[at + 1..]),
            (b'\\', Some(b'u')) => {
                let digits = bytes.get(at + 2..at + 6).and_then(|d| std::str::from_utf8(d).ok());
                let code = digits.and_then(|d| u32::from_str_radix(d, 16).ok());
                text.push(code.and_then(|c| u8::try_from(c).ok()).unwrap_or(b'?'));
                at += 6;
                continue;
            }
            (b'\\', Some(next)) => {
                text.push(*next);
                at += 2;
                continue;
            }
            _ => text.push(*byte),
        }
        at += 1;
    }
    (text, &[])
}

/// The result of searching a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layer {
    /// No sign of a release.
    #[default]
    Other,
    /// A path of the release payload.
    Payload,
    /// The layer was not searched: unknown compression, or too much content.
    Opaque,
}

/// Searches the bytes of a layer for the release payload as they pass.
pub struct Probe {
    state: State,
    inflate: u64,
    /// The first bytes, until they reveal the compression.
    first: Vec<u8>,
}

enum State {
    Start,
    Plain(Headers),
    Gzip(Box<flate2::write::MultiGzDecoder<Headers>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Headers>>),
    Done(Layer, u64),
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Probe")
    }
}

impl Probe {
    /// A probe that decompresses at most `inflate` bytes.
    pub fn new(inflate: u64) -> Probe {
        Probe { state: State::Start, inflate, first: Vec::new() }
    }

    /// A fresh probe with the same settings.
    pub fn fresh(&self) -> Probe {
        Probe::new(self.inflate)
    }

    /// Adds the next bytes of the layer.
    pub fn send(&mut self, bytes: &[u8]) {
        if matches!(self.state, State::Start) {
            self.first.extend_from_slice(bytes);
            if self.first.len() < 6 {
                return;
            }
            self.begin();
            return;
        }
        self.feed(bytes);
    }

    /// The result, and the number of bytes decompressed.
    pub fn finish(mut self) -> (Layer, u64) {
        if matches!(self.state, State::Start) {
            self.begin();
        }
        let headers = match self.state {
            State::Done(found, cost) => return (found, cost),
            State::Start => return (Layer::Other, 0),
            State::Plain(headers) => headers,
            // The decoder returns its remaining output at the end; a truncated layer is not a payload.
            State::Gzip(mut decoder) => {
                let _ = decoder.try_finish();
                std::mem::take(decoder.get_mut())
            }
            State::Zstd(mut decoder) => {
                let _ = decoder.flush();
                std::mem::take(decoder.get_mut())
            }
        };
        (headers.found, headers.seen)
    }

    fn begin(&mut self) {
        let first = std::mem::take(&mut self.first);
        let headers = Headers { left: self.inflate, ..Headers::default() };
        self.state = match first.as_slice() {
            [0x1f, 0x8b, ..] => State::Gzip(Box::new(flate2::write::MultiGzDecoder::new(headers))),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => zstd_decoder(headers),
            [b'B', b'Z', b'h', ..] | [0xfd, b'7', b'z', b'X', b'Z', ..] => State::Done(Layer::Opaque, 0),
            _ => State::Plain(headers),
        };
        self.feed(&first);
    }

    fn feed(&mut self, bytes: &[u8]) {
        let (ended, headers) = match &mut self.state {
            State::Plain(headers) => (headers.write_all(bytes), headers),
            State::Gzip(decoder) => (decoder.write_all(bytes), decoder.get_mut()),
            State::Zstd(decoder) => (decoder.write_all(bytes), decoder.get_mut()),
            State::Start | State::Done(..) => return,
        };
        // Another decoder may read on where this one stops: a reserved flag of gzip, a larger window of zstd.
        if ended.is_err() && headers.found == Layer::Other {
            headers.found = Layer::Opaque;
        }
        if headers.found != Layer::Other {
            self.state = State::Done(headers.found, headers.seen);
        }
    }
}

fn zstd_decoder(headers: Headers) -> State {
    match zstd::stream::write::Decoder::new(headers) {
        Ok(mut decoder) => match decoder.window_log_max(ZSTD_WINDOW_LOG) {
            Ok(()) => State::Zstd(Box::new(decoder)),
            Err(_) => State::Done(Layer::Opaque, 0),
        },
        Err(_) => State::Done(Layer::Opaque, 0),
    }
}

/// Examines every block that can be a tar header, and the content of extension headers.
#[derive(Default)]
struct Headers {
    found: Layer,
    left: u64,
    seen: u64,
    block: Vec<u8>,
    /// The kept content of an extension header, and how much of it is still to come.
    extension: Vec<u8>,
    to_come: u64,
}

impl Write for Headers {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let enough = || io::Error::other("nothing more is looked at");
        if self.found != Layer::Other {
            return Err(enough());
        }
        let count = bytes.len() as u64;
        self.seen += count;
        let Some(left) = self.left.checked_sub(count) else {
            self.found = Layer::Opaque;
            return Err(enough());
        };
        self.left = left;
        let mut rest = bytes;
        if !self.block.is_empty() {
            let (head, tail) = rest.split_at(rest.len().min(BLOCK - self.block.len()));
            self.block.extend_from_slice(head);
            rest = tail;
            if self.block.len() < BLOCK {
                return Ok(bytes.len());
            }
            let block = std::mem::take(&mut self.block);
            self.take(&block);
        }
        let whole = rest.chunks_exact(BLOCK);
        self.block.extend_from_slice(whole.remainder());
        for block in whole {
            self.take(block);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Headers {
    fn take(&mut self, block: &[u8]) {
        let inside = self.to_come > 0;
        if inside {
            let part = usize::try_from(self.to_come).unwrap_or(BLOCK).min(BLOCK);
            self.to_come -= part as u64;
            self.extension.extend_from_slice(&block[..part]);
            if self.to_come == 0 {
                let extension = std::mem::take(&mut self.extension);
                // A long name ends at a zero byte; a PAX record is a line `path=...`.
                let mut texts = extension.split(|b| matches!(b, b'\n' | b'=' | 0));
                if texts.any(|text| is_payload(text, true)) {
                    self.found = Layer::Payload;
                }
            }
        }
        if self.found != Layer::Other || !is_header(block) {
            return;
        }
        if inside {
            // One of the two headers is content that looks like one; readers that skip it read on elsewhere.
            self.found = Layer::Opaque;
        }
        let kind = block[156];
        if matches!(kind, b'x' | b'L' | b'K' | b'g' | b'X') {
            (self.to_come, self.extension) = (size(&block[124..136]), Vec::new());
            if self.to_come > EXTENSION as u64 {
                self.found = Layer::Opaque;
            }
            return;
        }
        let until_zero = |field: &'static [usize; 2]| {
            let bytes = &block[field[0]..field[1]];
            bytes.split(|b| *b == 0).next().unwrap_or_default().to_vec()
        };
        let name = until_zero(&[0, 100]);
        let prefix = until_zero(&[345, 500]);
        let whole = [prefix.as_slice(), name.as_slice()].join(&b'/');
        let linked = !matches!(kind, b'0' | 0 | b'5' | b'7');
        if is_payload(&name, linked) || is_payload(&whole, linked) {
            self.found = Layer::Payload;
        }
    }
}

/// Whether a block has the checksum of a tar header (either way of summing that readers accept).
///
/// The field is octal between blanks and zero bytes, as Go reads it, or at least begins with three octal digits, as
/// readers accept it that ignore what follows. Anything more lenient finds headers in compressed content by chance.
fn is_header(block: &[u8]) -> bool {
    let blank = |b: &u8| matches!(b, b' ' | 0);
    let octal = |b: &u8| (b'0'..=b'7').contains(b);
    let field: Vec<u8> = block[148..156].iter().copied().skip_while(|b| blank(b)).collect();
    let digits = field.iter().take_while(|b| octal(b)).count();
    if digits < 3 && !field[digits..].iter().all(blank) {
        return false;
    }
    let stored = field[..digits].iter().fold(0i64, |sum, digit| sum * 8 + i64::from(digit - b'0'));
    let outside = || block[..148].iter().chain(&block[156..BLOCK]);
    let unsigned: i64 = 256 + outside().map(|b| i64::from(*b)).sum::<i64>();
    let signed: i64 = 256 + outside().map(|b| i64::from(b.cast_signed())).sum::<i64>();
    stored == unsigned || stored == signed
}

fn size(field: &[u8]) -> u64 {
    if field[0] & 0x80 != 0 {
        return field[4..].iter().fold(0, |sum, b| sum << 8 | u64::from(*b));
    }
    let digits = field.iter().copied().skip_while(|b| matches!(b, b' ' | 0)).take_while(|b| (b'0'..=b'7').contains(b));
    digits.fold(0, |sum, digit| sum << 3 | u64::from(digit - b'0'))
}

/// Whether a path is in the release payload or leads to it: below `release-manifests` at the root, one of its two
/// files in a folder of that name anywhere (which a link may lead to), or a link of that name.
fn is_payload(path: &[u8], link: bool) -> bool {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    parts.first() == Some(&FOLDER)
        || parts.windows(2).any(|pair| pair[0] == FOLDER && FILES.contains(&pair[1]))
        || link && parts.last() == Some(&FOLDER)
}

/// Repositories that hold release images and nothing else: the end of their path.
const RELEASES: [&str; 3] =
    ["openshift/release-images", "openshift-release-dev/ocp-release", "openshift-release-dev/ocp-release-nightly"];
/// Repositories that hold releases or their components next to other images.
const COMPONENTS: [&str; 2] = ["openshift/release", "openshift-release-dev/ocp-v4.0-art-dev"];

/// The type of repository that an image is in, regarding releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseHome {
    /// A repository that holds only releases.
    Releases,
    /// A repository where `unpack` or other tools put releases next to other images.
    Beside,
    /// Any other repository.
    Elsewhere,
}

/// The type of the repository with this path (without registry). `None`: where `unpack` puts releases.
pub fn place(path: Option<&str>) -> ReleaseHome {
    let Some(path) = path else { return ReleaseHome::Beside };
    let path = path.to_ascii_lowercase();
    let ends = |end: &str| path.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'));
    match path.as_str() {
        _ if RELEASES.iter().any(|end| ends(end)) => ReleaseHome::Releases,
        _ if COMPONENTS.iter().any(|end| ends(end)) => ReleaseHome::Beside,
        _ => ReleaseHome::Elsewhere,
    }
}

/// Whether a tag in this type of repository is one that a release or component has or could have.
///
/// In a repository of releases that is every tag, except those made of a digest. In one with other images it is a
/// version (`4.16.37`, with or without `v` and any suffix); a version below 4 only with an architecture suffix
/// (`1.2.3-x86_64`).
pub fn is_release_tag(place: ReleaseHome, tag: &str) -> bool {
    let tag = tag.to_ascii_lowercase();
    if tag.strip_prefix("sha256-").and_then(|t| t.get(..64)).is_some_and(|h| h.bytes().all(|b| b.is_ascii_hexdigit())) {
        return false;
    }
    match place {
        ReleaseHome::Releases => true,
        ReleaseHome::Elsewhere => false,
        ReleaseHome::Beside => is_version(tag.strip_prefix('v').unwrap_or(&tag)),
    }
}

fn is_version(tag: &str) -> bool {
    let mut parts = tag.splitn(3, '.');
    let number = |part: Option<&str>| part.is_some_and(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    let major = parts.next();
    if !number(major) || !number(parts.next()) {
        return false;
    }
    let Some(rest) = parts.next().filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) else { return false };
    let old = major.is_some_and(|m| matches!(m.trim_start_matches('0'), "" | "1" | "2" | "3"));
    let arch = |word: &str| ["x86_64", "aarch64", "ppc64le", "s390x", "amd64", "arm64", MULTI].contains(&word);
    !old || rest.split('-').skip(1).any(arch)
}

/// Whether a release of this version and architecture (Go's name), or a component of it, may have this tag.
pub fn is_tag_of(version: &str, architecture: &str, tag: &str) -> bool {
    let Some(rest) = tag.strip_prefix('v').unwrap_or(tag).strip_prefix(version) else { return false };
    let Some(rest) = rest.strip_prefix('-') else { return rest.is_empty() };
    let behind = |word: &str| rest.strip_prefix(word).is_some_and(|end| end.is_empty() || end.starts_with('-'));
    behind(architecture) || behind(arch_word(architecture))
}

#[cfg(test)]
mod tests;
