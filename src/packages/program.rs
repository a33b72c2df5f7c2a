//! Programs (ELF, PE, Mach-O): the modules that Go's linker writes into them, and the crates of `cargo auditable`.

use std::io::Read;

use object::read::macho::{FatArch, MachOFatFile32, MachOFatFile64};
use object::{File, Object, ObjectSection, ObjectSegment, SegmentFlags};
use serde::Deserialize;

use super::{Kind, Package, Reading, Unreadable};

/// The first bytes of Go's build information.
const GO: &[u8] = b"\xff Go buildinf:";
/// The largest list of crates after decompression, as cargo-audit has it.
const MAX_CRATES: u64 = 8 << 20;
/// The most architectures of a universal binary.
const MAX_ARCHES: usize = 16;

/// Whether a file that begins so is a program.
pub fn is_program(first: &[u8]) -> bool {
    let magic = first.get(..4).unwrap_or_default();
    matches!(
        magic,
        b"\x7fELF"
            | b"\xfe\xed\xfa\xce"
            | b"\xfe\xed\xfa\xcf"
            | b"\xce\xfa\xed\xfe"
            | b"\xcf\xfa\xed\xfe"
    ) || magic.starts_with(b"MZ")
        // A universal binary, which shares its mark with Java classes: those have a version above 30 here.
        || (matches!(magic, b"\xca\xfe\xba\xbe" | b"\xca\xfe\xba\xbf")
            && super::bytes::be32(first, 4).is_some_and(|arches| arches <= 30))
}

/// The packages that are linked into a program. A program without such data has none.
pub fn read(data: &[u8]) -> Reading {
    let mut reading = Reading::default();
    match data.get(..4) {
        Some(b"\xca\xfe\xba\xbe") => match MachOFatFile32::parse(data) {
            Ok(fat) => fat.arches().iter().take(MAX_ARCHES).for_each(|arch| part(arch.data(data), &mut reading)),
            Err(_) => reading.problem("is a damaged universal binary"),
        },
        Some(b"\xca\xfe\xba\xbf") => match MachOFatFile64::parse(data) {
            Ok(fat) => fat.arches().iter().take(MAX_ARCHES).for_each(|arch| part(arch.data(data), &mut reading)),
            Err(_) => reading.problem("is a damaged universal binary"),
        },
        _ => part(Ok(data), &mut reading),
    }
    reading
}

fn part(data: object::Result<&[u8]>, reading: &mut Reading) {
    // What is no sound program has no data that a linker wrote; MZ alone begins many other files.
    let Some(file) = data.ok().and_then(|data| File::parse(data).ok()) else { return };
    if let Some(info) = go_section(&file) {
        match go(info) {
            Ok(more) => reading.extend(more),
            Err(Unreadable(reason)) => reading.problem(reason),
        }
    }
    if let Some(section) = file.section_by_name(".dep-v0") {
        match section.data().map_err(|_| Unreadable::new("has a list of crates outside of the file")).and_then(crates) {
            Ok(more) => reading.extend(more),
            Err(Unreadable(reason)) => reading.problem(reason),
        }
    }
}

/// Go's build information: in a section of its own, or (PE, programs without sections) in the first data that can be
/// written, at a multiple of 16.
fn go_section<'a>(file: &File<'a, &'a [u8]>) -> Option<&'a [u8]> {
    let named = [".go.buildinfo", "__go_buildinfo"].into_iter().find_map(|name| file.section_by_name(name));
    let named = named.and_then(|section| section.data().ok()).filter(|data| data.starts_with(GO));
    named.or_else(|| file.segments().filter(|s| writable(s.flags())).find_map(|s| search(s.data().ok()?)))
}

fn writable(flags: SegmentFlags) -> bool {
    match flags {
        SegmentFlags::Elf { p_flags, .. } => p_flags.0 & object::elf::PF_W.0 != 0,
        SegmentFlags::Coff { characteristics } => characteristics.0 & object::pe::IMAGE_SCN_MEM_WRITE.0 != 0,
        _ => false,
    }
}

fn search(data: &[u8]) -> Option<&[u8]> {
    data.chunks(16).position(|chunk| chunk.starts_with(GO)).map(|n| &data[n * 16..])
}

/// The modules of Go's build information: a head of 32 bytes, then the version and the modules, each with its length.
pub fn go(data: &[u8]) -> Result<Reading, Unreadable> {
    let bad = || Unreadable::new("has damaged build information of Go");
    let flags = data.strip_prefix(GO).and_then(|rest| rest.get(1)).copied().ok_or_else(bad)?;
    if flags & 2 == 0 {
        let text = "has build information of Go before 1.18, which points to its memory and cannot be read";
        return Err(Unreadable::new(text));
    }
    let (version, rest) = counted(data.get(32..).ok_or_else(bad)?).ok_or_else(bad)?;
    let (modules, _) = counted(rest).ok_or_else(bad)?;
    // The modules stand between marks of 16 bytes, which Go itself does not look at either.
    let modules = match modules.len() {
        0 => &[][..],
        33.. if modules[modules.len() - 17] == b'\n' => &modules[16..modules.len() - 16],
        _ => return Err(bad()),
    };
    let text = std::str::from_utf8(modules).map_err(|_| bad())?;
    let mut reading = Reading::default();
    let mut last: Option<Package> = None;
    for line in text.lines() {
        let mut words = line.split('\t');
        let (word, path, version) = (words.next(), words.next(), words.next());
        let version = Some(version.unwrap_or_default()).filter(|v| *v != "(devel)").unwrap_or_default();
        match (word, path) {
            (Some("mod" | "dep"), Some(path)) => {
                last.take().into_iter().for_each(|package| reading.push(package));
                last = Some(Package::new(Kind::Go, path, version));
            }
            // The module before was replaced by this one. A folder is no name of a module: then it keeps its own.
            (Some("=>"), Some(path)) => {
                let folder = path.starts_with(['.', '/']) || version.is_empty();
                last = match last.take() {
                    Some(package) if folder => Some(Package { version: String::new(), ..package }),
                    _ => Some(Package::new(Kind::Go, path, version)),
                };
            }
            _ => {}
        }
    }
    last.into_iter().for_each(|package| reading.push(package));
    // `go1.22.1 X:boringcrypto`: experiments follow.
    let version = String::from_utf8_lossy(version);
    let version = version.split_whitespace().next().unwrap_or_default();
    reading.push(Package::new(Kind::Go, "stdlib", version.strip_prefix("go").unwrap_or(version)));
    Ok(reading)
}

/// Bytes behind their length, and what follows.
fn counted(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0_usize;
    for (n, byte) in data.iter().take(5).enumerate() {
        length |= usize::from(byte & 0x7f).checked_shl(u32::try_from(7 * n).ok()?)?;
        if byte & 0x80 == 0 {
            return data[n + 1..].split_at_checked(length);
        }
    }
    None
}

#[derive(Deserialize)]
struct Crates {
    packages: Vec<Crate>,
}

#[derive(Deserialize)]
struct Crate {
    name: String,
    version: String,
    kind: Option<String>,
}

/// The crates of section `.dep-v0`: JSON, compressed.
pub fn crates(data: &[u8]) -> Result<Reading, Unreadable> {
    let mut text = Vec::new();
    let inflated = flate2::read::ZlibDecoder::new(data).take(MAX_CRATES + 1).read_to_end(&mut text);
    if inflated.is_err() || text.len() as u64 > MAX_CRATES {
        return Err(Unreadable::new("has a list of crates that is damaged or too long"));
    }
    let listed: Crates = serde_json::from_slice(&text)
        .map_err(|_| Unreadable::new("has a list of crates that is not acceptable JSON"))?;
    let mut reading = Reading::default();
    // Crates that only built it are not in it.
    for listed in listed.packages.into_iter().filter(|listed| listed.kind.as_deref() != Some("build")) {
        reading.push(Package::new(Kind::Cargo, listed.name, listed.version));
    }
    Ok(reading)
}
