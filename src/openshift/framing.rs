//! OpenPGP packet framing of a release signature: the shape filter and the length normaliser.
//!
//! First step of [`super::openpgp::verify`]. It accepts one shape of file, `[compressed] -> one-pass signature ->
//! literal -> signature`, so that nothing else ever reaches the OpenPGP library. It also joins partial body lengths:
//! Go's writer starts with chunks of two bytes, which RFC 9580 forbids and OpenPGP libraries refuse, but `gpg` and the
//! cluster accept (RFC 9580 section 4.2; MB-REL-02 to MB-REL-05). It checks no signature.

use std::borrow::Cow;

use crate::oci::Invalid;

/// The largest signature file and the largest content of one, in bytes (MB-REL-01).
pub const MAX_SIGNATURE_BYTES: usize = 64 << 10;

/// The parts of a signed message, still unverified.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) one_pass: OnePass,
    /// The signed content, without the literal packet's own (unsigned) file name and date.
    pub(super) content: Vec<u8>,
    /// The body of the signature packet.
    pub(super) signature: Vec<u8>,
}

/// The one-pass packet before the content; the cluster takes the key and the hash from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OnePass {
    pub(super) kind: u8,
    pub(super) hash: u8,
    pub(super) algorithm: u8,
    pub(super) key_id: [u8; 8],
}

const SIGNATURE: u8 = 2;
const ONE_PASS: u8 = 4;
const COMPRESSED: u8 = 8;
const LITERAL: u8 = 11;

/// Splits a file into its parts. Everything but the one allowed shape is refused, with a reason.
pub(super) fn read(file: &[u8]) -> Result<Message, Invalid> {
    if file.len() > MAX_SIGNATURE_BYTES {
        return Err(Invalid::new(format!("longer than {MAX_SIGNATURE_BYTES} bytes")));
    }
    match file.first() {
        None => return Err(Invalid::new("the file is empty")),
        Some(first) if first & 0x80 == 0 => {
            return Err(Invalid::new("not a binary OpenPGP message (armor and cleartext signatures are not accepted)"));
        }
        Some(_) => {}
    }
    let outer = packets(file)?;
    match outer.as_slice() {
        [Packet { tag: COMPRESSED, body }] => {
            let inner = decompress(body)?;
            message(packets(&inner)?)
        }
        _ => message(outer),
    }
}

fn message(packets: Vec<Packet<'_>>) -> Result<Message, Invalid> {
    let tags: Vec<u8> = packets.iter().map(|p| p.tag).collect();
    if tags != [ONE_PASS, LITERAL, SIGNATURE] {
        return Err(Invalid::new(shape(&tags)));
    }
    let mut bodies = packets.into_iter().map(|p| p.body);
    match (bodies.next(), bodies.next(), bodies.next()) {
        (Some(one_pass), Some(literal), Some(signature)) => Ok(Message {
            one_pass: one_pass_signature(&one_pass)?,
            content: literal_content(&literal)?.to_vec(),
            signature: signature.into_owned(),
        }),
        _ => Err(Invalid::new(shape(&tags))),
    }
}

/// Explains why a sequence of packets is not the allowed one.
fn shape(tags: &[u8]) -> String {
    let count = |tag| tags.iter().filter(|t| **t == tag).count();
    if count(SIGNATURE) == 0 && count(ONE_PASS) == 0 {
        "the message is not signed".to_owned()
    } else if count(SIGNATURE) > 1 || count(ONE_PASS) > 1 {
        "more than one signature in one file".to_owned()
    } else if count(COMPRESSED) > 0 {
        "compressed data inside or beside a message".to_owned()
    } else if tags.starts_with(&[ONE_PASS, LITERAL, SIGNATURE]) {
        "data after the signature".to_owned()
    } else {
        format!("packets {tags:?} instead of one-pass signature, literal, signature")
    }
}

struct Packet<'a> {
    tag: u8,
    body: Cow<'a, [u8]>,
}

/// More packets than an acceptable file can have; it limits the cost of a hostile file.
const MAX_PACKETS: usize = 16;

/// Splits `bytes` into packets, to the last byte.
fn packets(bytes: &[u8]) -> Result<Vec<Packet<'_>>, Invalid> {
    let mut cursor = Cursor { rest: bytes };
    let mut out = Vec::new();
    while !cursor.rest.is_empty() {
        if out.len() == MAX_PACKETS {
            return Err(Invalid::new(format!("more than {MAX_PACKETS} packets")));
        }
        out.push(cursor.packet()?);
    }
    Ok(out)
}

struct Cursor<'a> {
    rest: &'a [u8],
}

/// One body length: all of it, or a first part of it.
enum Length {
    Whole(usize),
    Partial(usize),
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Invalid> {
        let (head, tail) = self.rest.split_at_checked(count).ok_or_else(|| Invalid::new("the message is cut short"))?;
        self.rest = tail;
        Ok(head)
    }

    fn number(&mut self, octets: usize) -> Result<usize, Invalid> {
        Ok(self.take(octets)?.iter().fold(0usize, |n, b| n << 8 | usize::from(*b)))
    }

    fn packet(&mut self) -> Result<Packet<'a>, Invalid> {
        let header = self.number(1)?;
        if header & 0x80 == 0 {
            return Err(Invalid::new("bytes that are not an OpenPGP packet"));
        }
        if header & 0x40 != 0 {
            return self.new_format((header & 0x3f) as u8);
        }
        let tag = (header >> 2 & 0x0f) as u8;
        let length = match header & 3 {
            0 => self.number(1)?,
            1 => self.number(2)?,
            2 => self.number(4)?,
            _ if tag == COMPRESSED => self.rest.len(),
            _ => return Err(Invalid::new("indeterminate length outside compressed data")),
        };
        Ok(Packet { tag, body: Cow::Borrowed(self.take(length)?) })
    }

    fn new_format(&mut self, tag: u8) -> Result<Packet<'a>, Invalid> {
        let mut joined = match self.length()? {
            Length::Whole(length) => return Ok(Packet { tag, body: Cow::Borrowed(self.take(length)?) }),
            Length::Partial(_) if !matches!(tag, COMPRESSED | LITERAL) => {
                return Err(Invalid::new("partial lengths outside literal or compressed data"));
            }
            Length::Partial(length) => self.take(length)?.to_vec(),
        };
        loop {
            let (length, last) = match self.length()? {
                Length::Whole(length) => (length, true),
                Length::Partial(length) => (length, false),
            };
            joined.extend_from_slice(self.take(length)?);
            if last {
                return Ok(Packet { tag, body: Cow::Owned(joined) });
            }
        }
    }

    fn length(&mut self) -> Result<Length, Invalid> {
        Ok(match self.number(1)? {
            one @ ..192 => Length::Whole(one),
            two @ 192..224 => Length::Whole(((two - 192) << 8) + self.number(1)? + 192),
            partial @ 224..255 => Length::Partial(1 << (partial & 0x1f)),
            _ => Length::Whole(self.number(4)?),
        })
    }
}

fn one_pass_signature(body: &[u8]) -> Result<OnePass, Invalid> {
    match *body {
        [3, kind, hash, algorithm, a, b, c, d, e, f, g, h, last] => {
            if last == 0 {
                return Err(Invalid::new("a nested signature"));
            }
            Ok(OnePass { kind, hash, algorithm, key_id: [a, b, c, d, e, f, g, h] })
        }
        _ => Err(Invalid::new("a one-pass signature packet that is not version 3")),
    }
}

/// The content of a literal packet, after its format, file name and date, which are not signed.
fn literal_content(body: &[u8]) -> Result<&[u8], Invalid> {
    let cut = || Invalid::new("a literal packet that is cut short");
    match body {
        [b'b' | b't' | b'u', name, rest @ ..] => rest.get(usize::from(*name) + 4..).ok_or_else(cut),
        [_, _, ..] => Err(Invalid::new("a literal packet of an unknown format")),
        _ => Err(cut()),
    }
}

/// Decompresses a packet's body into at most [`MAX_SIGNATURE_BYTES`]; every byte of it must be used.
fn decompress(body: &[u8]) -> Result<Vec<u8>, Invalid> {
    let (algorithm, data) = body.split_first().ok_or_else(|| Invalid::new("an empty compressed packet"))?;
    let (out, used) = match algorithm {
        1 => inflate(data, false)?,
        2 => inflate(data, true)?,
        3 => bunzip2(data)?,
        other => return Err(Invalid::new(format!("compression algorithm {other} is not accepted"))),
    };
    if used != data.len() as u64 {
        return Err(Invalid::new("data after the compressed message"));
    }
    Ok(out)
}

fn inflate(data: &[u8], zlib: bool) -> Result<(Vec<u8>, u64), Invalid> {
    let mut out = Vec::with_capacity(MAX_SIGNATURE_BYTES + 1);
    let mut stream = flate2::Decompress::new(zlib);
    let status = stream.decompress_vec(data, &mut out, flate2::FlushDecompress::Finish);
    let ended = matches!(status, Ok(flate2::Status::StreamEnd));
    finished(out, ended, stream.total_in())
}

fn bunzip2(data: &[u8]) -> Result<(Vec<u8>, u64), Invalid> {
    let mut out = Vec::with_capacity(MAX_SIGNATURE_BYTES + 1);
    let mut stream = bzip2::Decompress::new(false);
    loop {
        let (input, output) = (stream.total_in(), out.len());
        let rest = data.get(input as usize..).unwrap_or_default();
        let ended = match stream.decompress_vec(rest, &mut out) {
            Ok(bzip2::Status::StreamEnd) => true,
            // Continue while there is progress: it stops when the input or the space for output is used up.
            Ok(_) if stream.total_in() > input || out.len() > output => continue,
            _ => false,
        };
        return finished(out, ended, stream.total_in());
    }
}

fn finished(out: Vec<u8>, ended: bool, used: u64) -> Result<(Vec<u8>, u64), Invalid> {
    if out.len() > MAX_SIGNATURE_BYTES {
        return Err(Invalid::new(format!("longer than {MAX_SIGNATURE_BYTES} bytes when decompressed")));
    }
    if !ended {
        return Err(Invalid::new("damaged or truncated compressed data"));
    }
    Ok((out, used))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::io::Write;

    use super::*;

    const OPS: &[u8] = &[0xc4, 13, 3, 0, 8, 1, 1, 2, 3, 4, 5, 6, 7, 8, 1];
    const SIG: &[u8] = &[0xc2, 3, 4, 0, 1];

    fn packet(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![0xc0 | tag, 0xff];
        out.extend_from_slice(&(body.len() as u32).to_be_bytes());
        out.extend_from_slice(body);
        out
    }

    fn literal(content: &[u8]) -> Vec<u8> {
        [b"b\x01x\0\0\0\0", content].concat()
    }

    fn good() -> Vec<u8> {
        [OPS, &packet(LITERAL, &literal(b"content")), SIG].concat()
    }

    fn zip(data: &[u8]) -> Vec<u8> {
        let mut to = flate2::write::DeflateEncoder::new(vec![1], flate2::Compression::default());
        to.write_all(data).unwrap();
        to.finish().unwrap()
    }

    fn refusal(file: &[u8]) -> String {
        read(file).expect_err("must be refused").0
    }

    #[test]
    fn the_allowed_shape_is_taken_apart_plain_and_compressed() {
        for file in [good(), packet(COMPRESSED, &zip(&good())), [&[0xa3][..], &zip(&good())].concat()] {
            let message = read(&file).unwrap();
            assert_eq!(message.content, b"content");
            assert_eq!(message.signature, [4, 0, 1]);
            assert_eq!(message.one_pass.key_id, [1, 2, 3, 4, 5, 6, 7, 8]);
        }
    }

    #[test]
    fn partial_lengths_of_any_size_are_joined() {
        let body = literal(b"content");
        let mut chunks = vec![0xc0 | LITERAL, 225];
        chunks.extend_from_slice(&body[..2]);
        chunks.push(224);
        chunks.extend_from_slice(&body[2..3]);
        chunks.push(226);
        chunks.extend_from_slice(&body[3..7]);
        chunks.push((body.len() - 7) as u8);
        chunks.extend_from_slice(&body[7..]);
        assert_eq!(read(&[OPS, &chunks, SIG].concat()).unwrap().content, b"content");
        let huge = [OPS, &[0xc0 | LITERAL, 254, 0, 0], SIG].concat();
        assert!(refusal(&huge).contains("cut short"));
        let partial_signature = [OPS, &packet(LITERAL, &literal(b"x")), &[0xc2, 224, 4, 2, 0, 1]].concat();
        assert!(refusal(&partial_signature).contains("partial"));
    }

    #[test]
    fn every_truncation_and_every_extension_is_refused() {
        for file in [good(), packet(COMPRESSED, &zip(&good()))] {
            for length in 0..file.len() {
                refusal(&file[..length]);
            }
            refusal(&[file.as_slice(), b"\n"].concat());
            refusal(&[file.as_slice(), &file].concat());
            refusal(&[&packet(10, b"PGP"), file.as_slice()].concat());
        }
        let indeterminate = [&[0xa3][..], &zip(&good()), b"tail"].concat();
        assert!(refusal(&indeterminate).contains("after the compressed"));
    }

    #[test]
    fn other_shapes_are_refused_with_a_reason() {
        let lit = packet(LITERAL, &literal(b"x"));
        for (file, word) in [
            (b"-----BEGIN PGP MESSAGE-----".to_vec(), "armor"),
            (Vec::new(), "empty"),
            (lit.clone(), "not signed"),
            ([SIG, &lit].concat(), "packets"),
            ([OPS, OPS, &lit, SIG, SIG].concat(), "more than one"),
            ([OPS, &lit, SIG, &lit].concat(), "after the signature"),
            ([OPS, &packet(COMPRESSED, &zip(&lit)), SIG].concat(), "compressed"),
            (packet(COMPRESSED, &zip(&packet(COMPRESSED, &zip(&good())))), "not signed"),
            ([&OPS[..14], &[0][..], &lit, SIG].concat(), "nested"),
            (vec![0x80; 70_000], "longer"),
            ([OPS, &[0xaf][..], &literal(b"x")].concat(), "indeterminate"),
        ] {
            let text = refusal(&file);
            assert!(text.contains(word), "{text} has no {word}");
        }
    }

    #[test]
    fn a_decompression_bomb_stops_at_the_limit() {
        let zeros = vec![0; 20 << 20];
        assert!(refusal(&packet(COMPRESSED, &zip(&zeros))).contains("decompressed"));
        let mut bz = bzip2::write::BzEncoder::new(vec![3], bzip2::Compression::best());
        bz.write_all(&zeros).unwrap();
        assert!(refusal(&packet(COMPRESSED, &bz.finish().unwrap())).contains("decompressed"));
    }

    proptest::proptest! {
        #[test]
        fn no_input_makes_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let _ = read(&[OPS, &bytes].concat());
        }
    }
}
