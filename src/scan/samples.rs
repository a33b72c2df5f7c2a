//! Contents with which a scanner proves itself: what it has to find, in each form of archive, made here.

use std::io::{self, Read, Write};

use crate::archive::Form;

/// The test file of EICAR with one bit of each byte flipped: in clear, scanners would take this program for it.
#[rustfmt::skip]
const HIDDEN: [u8; 68] = [
    0x59, 0x34, 0x4e, 0x20, 0x51, 0x24, 0x41, 0x40, 0x51, 0x5a, 0x35, 0x5d, 0x51, 0x5b, 0x59, 0x34, 0x35, 0x29, 0x51, 0x5f, 0x28, 0x36, 0x42, 0x42, 0x28, 0x36, 0x7c, 0x25, 0x44, 0x48, 0x42, 0x40, 0x53, 0x2c, 0x52, 0x55, 0x40, 0x4f, 0x45, 0x40, 0x53, 0x45, 0x2c, 0x40, 0x4f, 0x55, 0x48, 0x57, 0x48, 0x53, 0x54, 0x52, 0x2c, 0x55, 0x44, 0x52, 0x55, 0x2c, 0x47, 0x48, 0x4d, 0x44, 0x20, 0x25, 0x49, 0x2a, 0x49, 0x2b,
];

/// The test file of EICAR, which every virus scanner finds and which does nothing.
pub fn eicar() -> Vec<u8> {
    HIDDEN.iter().map(|byte| byte ^ 1).collect()
}

/// Text in which there is nothing to find.
pub(super) fn text() -> Vec<u8> {
    b"There is nothing to find in this line of plain text.\n".repeat(1238)
}

/// Whether a form stores its members as they are.
pub(super) fn stores(form: Form) -> bool {
    matches!(form, Form::Tar | Form::Cpio | Form::Ar)
}

/// An archive of this form with one member.
pub(super) fn wrap(form: Form, content: &[u8]) -> io::Result<Vec<u8>> {
    const NAME: &[u8] = b"sample.com";
    Ok(match form {
        Form::Gzip => hidden(content, |content| {
            let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            to.write_all(content)?;
            to.finish()
        })?,
        Form::Bzip2 => hidden(content, |content| {
            let mut to = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            to.write_all(content)?;
            to.finish()
        })?,
        Form::Xz => hidden(content, |content| {
            let mut to = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(0))?;
            to.write_all(content)?;
            to.finish()
        })?,
        Form::Zstd => hidden(content, |content| zstd::encode_all(content, 1))?,
        Form::Tar => {
            let mut out = tar_header(NAME, content.len() as u64).to_vec();
            out.extend_from_slice(content);
            out.resize(out.len().next_multiple_of(512) + 1024, 0);
            out
        }
        Form::Zip => zip(NAME, content)?,
        Form::Cpio => [cpio(NAME, content), cpio(b"TRAILER!!!", b"")].concat(),
        Form::Ar => {
            let head = format!(
                "!<arch>\n{:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
                "sample.com/",
                0,
                0,
                0,
                100_644,
                content.len()
            );
            let mut out = head.into_bytes();
            out.extend_from_slice(content);
            out.resize(out.len().next_multiple_of(2), b'\n');
            out
        }
        Form::Rpm => rpm(&[cpio(NAME, content), cpio(b"TRAILER!!!", b"")].concat())?,
        Form::Other(_) => return Err(io::ErrorKind::Unsupported.into()),
    })
}

/// Compresses a content in two parts, one after the other: not every reader goes on behind the first. What does not get smaller is stored as it is, and a scanner could find it without opening
/// anything, also by a part of what it looks for: then small pieces are compressed one after the other.
fn hidden(content: &[u8], pack: impl Fn(&[u8]) -> io::Result<Vec<u8>>) -> io::Result<Vec<u8>> {
    let (first, second) = content.split_at(content.len() / 2);
    let whole = [pack(first)?, pack(second)?].concat();
    if memchr::memmem::find(&whole, &content[..content.len().min(24)]).is_none() {
        return Ok(whole);
    }
    let pieces: io::Result<Vec<_>> = content.chunks(3.max(content.len().div_ceil(23))).map(pack).collect();
    Ok(pieces?.concat())
}

/// A header of tar for a file.
pub(super) fn tar_header(name: &[u8], size: u64) -> [u8; 512] {
    let mut out = [0; 512];
    out[..name.len()].copy_from_slice(name);
    out[100..108].copy_from_slice(b"0000644\0");
    out[108..116].copy_from_slice(b"0000000\0");
    out[116..124].copy_from_slice(b"0000000\0");
    match size < 1 << 33 {
        true => out[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes()),
        false => {
            out[124] = 0x80;
            out[128..136].copy_from_slice(&size.to_be_bytes());
        }
    }
    out[136..148].copy_from_slice(b"00000000000\0");
    out[156] = b'0';
    out[257..265].copy_from_slice(b"ustar\x0000");
    out[148..156].copy_from_slice(b"        ");
    let sum: u64 = out.iter().map(|b| u64::from(*b)).sum();
    out[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out
}

/// A tar of this size whose last member is `probe`, as a stream: before it lies a member of zeros.
pub(super) fn last_of(probe: &[u8], size: u64) -> impl Read {
    let end = (probe.len() as u64).next_multiple_of(512) + 512 + 1024;
    let filler = (size.saturating_sub(end + 512) / 512) * 512;
    let mut tail = tar_header(b"last.com", probe.len() as u64).to_vec();
    tail.extend_from_slice(probe);
    tail.resize(usize::try_from(end).unwrap_or(0), 0);
    let head = io::Cursor::new(tar_header(b"filler", filler).to_vec());
    head.chain(io::repeat(0).take(filler)).chain(io::Cursor::new(tail))
}

/// A tar with so many members, of which the last is `probe`.
pub(super) fn many(probe: &[u8], members: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for number in 1..members {
        let name = format!("{number}");
        out.extend_from_slice(&tar_header(name.as_bytes(), name.len() as u64));
        out.extend_from_slice(name.as_bytes());
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.extend_from_slice(&tar_header(b"last.com", probe.len() as u64));
    out.extend_from_slice(probe);
    out.resize(out.len().next_multiple_of(512) + 1024, 0);
    out
}

fn cpio(name: &[u8], content: &[u8]) -> Vec<u8> {
    let numbers = [1, 0o100_644, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
    let mut out = b"070701".to_vec();
    numbers.iter().for_each(|n| out.extend_from_slice(format!("{n:08x}").as_bytes()));
    out.extend_from_slice(name);
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

fn sum(bytes: &[u8]) -> [u8; 4] {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum().to_le_bytes()
}

fn zip(name: &[u8], content: &[u8]) -> io::Result<Vec<u8>> {
    let mut to = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    to.write_all(content)?;
    let packed = to.finish()?;
    let four = |n: usize| u32::try_from(n).unwrap_or(0).to_le_bytes();
    // Version, flags, method, time, date, sum, sizes, lengths of name and extra field.
    let mut fields = vec![20, 0, 0, 0, 8, 0, 0, 0, 0x21, 0x50];
    fields.extend_from_slice(&sum(content));
    fields.extend_from_slice(&four(packed.len()));
    fields.extend_from_slice(&four(content.len()));
    fields.extend_from_slice(&[u8::try_from(name.len()).unwrap_or(0), 0, 0, 0]);
    let local = [b"PK\x03\x04", fields.as_slice(), name, &packed].concat();
    let entry = [b"PK\x01\x02\x14\0", fields.as_slice(), &[0; 14], name].concat();
    let end = [b"PK\x05\x06\0\0\0\0\x01\0\x01\0", &four(entry.len())[..], &four(local.len()), &[0, 0]].concat();
    Ok([local, entry, end].concat())
}

fn rpm(cpio: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = b"\xed\xab\xee\xdb\x03\0\0\0\0\x01sample-1-1".to_vec();
    out.resize(76, 0);
    out.extend_from_slice(&[0, 1, 0, 5]);
    out.resize(96, 0);
    let empty = b"\x8e\xad\xe8\x01\0\0\0\0\0\0\0\0\0\0\0\0";
    out.extend_from_slice(empty);
    out.extend_from_slice(empty);
    out.extend_from_slice(&wrap(Form::Gzip, cpio)?);
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::archive::{Budget, Limits, Member, detect, open, open_zip};

    #[test]
    fn every_sample_is_what_it_says_and_opens_again() {
        for form in Form::OPENED {
            let sample = wrap(form, b"what is in it").unwrap();
            assert_eq!(detect(&sample), Some(form), "{}", form.title());
            let stored = stores(form);
            let probe = wrap(form, &eicar()).unwrap();
            assert_eq!(memchr::memmem::find(&probe, &eicar()).is_some(), stored, "{}", form.title());
            let mut seen = Vec::new();
            let mut visit = |_: &[u8], member: Member<'_>| {
                let Member::Content(stream) = member else { panic!("closed") };
                stream.read_to_end(&mut seen).map(drop)?;
                Ok(())
            };
            match form {
                Form::Zip => open_zip(&sample.as_slice(), &Budget::new(Limits::default()), &mut visit).unwrap(),
                _ => open(form, &mut sample.as_slice(), &Budget::new(Limits::default()), &mut visit).unwrap(),
            }
            let seen = if form == Form::Rpm {
                let mut out = Vec::new();
                flate2::read::MultiGzDecoder::new(seen.as_slice()).read_to_end(&mut out).unwrap();
                out
            } else {
                seen
            };
            assert!(seen.windows(13).any(|w| w == b"what is in it"), "{}", form.title());
        }
        let mut tar = Vec::new();
        last_of(b"probe", 1 << 20).read_to_end(&mut tar).unwrap();
        assert_eq!((tar.len(), detect(&tar)), (1 << 20, Some(Form::Tar)));
        assert_eq!(detect(&many(b"probe", 100)), Some(Form::Tar));
    }
}
