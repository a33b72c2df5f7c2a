//! Programs (ELF, PE, Mach-O): the modules that Go's linker writes into them, and the crates of `cargo auditable`.

use std::io::{self, Read};

use object::elf::{FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use object::read::macho::{FatArch, MachOFatFile32, MachOFatFile64};
use object::{Endianness, File, Object, ObjectSection, ObjectSegment, SegmentFlags};
use serde::Deserialize;

use super::{Kind, Package, Reading, Unreadable};

/// The first bytes of Go's build information.
const GO: &[u8] = b"\xff Go buildinf:";
/// The name of the section with a list of crates.
const CRATES: &[u8] = b".dep-v0\0";
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
            Ok(fat) => parts(fat.arches(), data, &mut reading),
            Err(_) => reading.problem("is a damaged universal binary"),
        },
        Some(b"\xca\xfe\xba\xbf") => match MachOFatFile64::parse(data) {
            Ok(fat) => parts(fat.arches(), data, &mut reading),
            Err(_) => reading.problem("is a damaged universal binary"),
        },
        _ => part(Ok(data), &mut reading),
    }
    reading
}

fn parts<A: FatArch>(arches: &[A], data: &[u8], reading: &mut Reading) {
    arches.iter().take(MAX_ARCHES).for_each(|arch| part(arch.data(data), reading));
    if arches.len() > MAX_ARCHES {
        reading.problem(format!("is a universal binary with more than {MAX_ARCHES} programs"));
    }
}

/// The largest program that is held whole for itself.
pub const MAX_HELD: u64 = 32 << 20;
/// The bytes of a large program that hold the list of its parts.
const HEAD: u64 = 64 << 10;

/// The same for a large ELF program, of which only the data that can be written is held: Go's linker puts its
/// information there. `None` if it is of another format, or damaged; `content` is then read up to some place.
///
/// # Errors
/// Those of `content`.
pub fn large_elf(head: &[u8], content: &mut dyn Read) -> io::Result<Option<Reading>> {
    let Some((from, size, names_from)) = writable_elf(head) else { return Ok(None) };
    let mut reading = Reading::default();
    let mut data = Vec::new();
    match from.checked_sub(head.len() as u64) {
        Some(gap) => {
            io::copy(&mut content.take(gap), &mut io::sink())?;
            content.take(size.min(MAX_HELD)).read_to_end(&mut data)?;
        }
        None => {
            data.extend_from_slice(usize::try_from(from).ok().and_then(|from| head.get(from..)).unwrap_or_default());
            content.take(size.saturating_sub(data.len() as u64).min(MAX_HELD)).read_to_end(&mut data)?;
        }
    }
    match search(&data).map(go) {
        Some(Ok(more)) => reading.extend(more),
        Some(Err(Unreadable(reason))) => reading.problem(reason),
        None => {}
    }
    let read = head.len().max(usize::try_from(from).unwrap_or(usize::MAX).saturating_add(data.len())) as u64;
    drop(data);
    if names_crates(names_from, read, content)? {
        reading.problem("is a large program with a list of crates, which is not read");
    }
    Ok(Some(reading))
}

/// How many of the first bytes of a large program [`large_elf`] needs.
pub fn head_size() -> u64 {
    HEAD
}

/// Whether the names of sections, which linkers write just before the table of sections at `table`, have that of a list
/// of crates. `content` goes on behind `read` bytes.
fn names_crates(table: u64, read: u64, content: &mut dyn Read) -> io::Result<bool> {
    const NAMES: u64 = 1 << 20;
    let gap = table.saturating_sub(NAMES).saturating_sub(read);
    io::copy(&mut content.take(gap), &mut io::sink())?;
    let mut names = Vec::new();
    content.take(2 * NAMES).read_to_end(&mut names)?;
    Ok(names.windows(CRATES.len()).any(|part| part == CRATES))
}

/// Where the first data that can be written is in an ELF file, its size, and where the table of sections is.
fn writable_elf(head: &[u8]) -> Option<(u64, u64, u64)> {
    fn of<E: FileHeader<Endian = Endianness>>(head: &[u8]) -> Option<(u64, u64, u64)> {
        let header = E::parse(head).ok()?;
        let endian = header.endian().ok()?;
        let mut parts = header.program_headers(endian, head).ok()?.iter();
        let load = |part: &&E::ProgramHeader| {
            part.p_type(endian) == object::elf::PT_LOAD && part.p_flags(endian).0 & object::elf::PF_W.0 != 0
        };
        let part = parts.find(load)?;
        Some((part.p_offset(endian).into(), part.p_filesz(endian).into(), header.e_shoff(endian).into()))
    }
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    match head.get(4) {
        Some(1) => of::<FileHeader32<Endianness>>(head),
        _ => of::<FileHeader64<Endianness>>(head),
    }
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
    let (mut last, mut program): (Option<Package>, _) = (None, None);
    for line in text.lines() {
        let mut words = line.split('\t');
        let (word, path, version) = (words.next(), words.next(), words.next());
        let version = Some(version.unwrap_or_default()).filter(|v| *v != "(devel)").unwrap_or_default();
        match (word, path) {
            (Some("path"), Some(path)) => program = Some(path),
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
    // Built without modules: only the path of the program is known. Those of Go itself have no host in it.
    let host = |path: &&str| path.split('/').next().is_some_and(|host| host.contains('.'));
    if reading.packages.is_empty()
        && let Some(path) = program.filter(host)
    {
        reading.push(Package::new(Kind::Go, path, ""));
    }
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
    // Such lists are a tenth of their size; a bomb is stopped at a fixed multiple, however many programs there are.
    let most = (64 << 10) + (data.len() as u64).saturating_mul(50).min(MAX_CRATES);
    let inflated = flate2::read::ZlibDecoder::new(data).take(most + 1).read_to_end(&mut text);
    if inflated.is_err() || text.len() as u64 > most {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn stored(name: &str) -> Vec<u8> {
        let path = format!("{}/testdata/packages/{name}.gz", env!("CARGO_MANIFEST_DIR"));
        let mut out = Vec::new();
        flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_end(&mut out).unwrap();
        out
    }

    fn names(reading: &Reading) -> Vec<(String, String)> {
        reading.packages.iter().map(|f| (f.package.name.clone(), f.package.version.clone())).collect()
    }

    /// Build information with these modules.
    fn info(version: &str, modules: &str) -> Vec<u8> {
        let mut out = [GO, &[8, 2], &[0; 16]].concat();
        let modules = format!("{}{modules}{}", "0".repeat(16), "1".repeat(16));
        for text in [version, &modules] {
            let mut length = text.len();
            while length > 0x7f {
                out.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
                length >>= 7;
            }
            out.push(u8::try_from(length).unwrap());
            out.extend(text.bytes());
        }
        out
    }

    #[test]
    fn modules_are_those_that_go_itself_lists() {
        let reading = go(&stored("go-syft.buildinfo")).unwrap();
        let text = String::from_utf8(stored("go-syft.txt")).unwrap();
        let mut wanted = Vec::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split('\t').collect();
            if let ["", "mod" | "dep", path, version, ..] = words[..] {
                wanted.push((path.to_owned(), version.to_owned()));
            }
        }
        let version = text.lines().next().unwrap().rsplit_once(": go").unwrap().1;
        wanted.push(("stdlib".to_owned(), version.to_owned()));
        assert_eq!(names(&reading), wanted);
        assert!(wanted.iter().any(|(path, _)| path == "github.com/CycloneDX/cyclonedx-go"), "case is kept");
    }

    #[test]
    fn a_replacement_is_what_was_linked_and_a_folder_is_no_version() {
        let modules = "path\tx\nmod\texample.com/main\t(devel)\t\ndep\ta.b/Old\tv1.0.0\n=>\ta.b/New\tv1.0.1\th1:x=\n\
                       dep\ta.b/local\tv2.0.0\n=>\t./local\t(devel)\t\nbuild\tGOOS=linux\n";
        let reading = go(&info("go1.22.1 X:boringcrypto", modules)).unwrap();
        let pairs = [("example.com/main", ""), ("a.b/New", "v1.0.1"), ("a.b/local", ""), ("stdlib", "1.22.1")];
        assert_eq!(names(&reading), pairs.map(|(n, v)| (n.to_owned(), v.to_owned())));
    }

    #[test]
    fn a_program_without_modules_is_known_by_its_path_and_one_of_go_itself_by_its_version() {
        let reading = |modules| names(&go(&info("go1.19.8", modules)).unwrap());
        let pair = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        assert_eq!(reading("path\ta.b/c/cmd/d\nbuild\tx=y\n"), [pair("a.b/c/cmd/d", ""), pair("stdlib", "1.19.8")]);
        assert_eq!(reading("path\tcmd/go\n"), [pair("stdlib", "1.19.8")]);
    }

    #[test]
    fn the_form_of_old_go_and_damage_are_problems() {
        let mut old = info("go1.17", "x");
        old[15] = 0;
        assert!(go(&old).unwrap_err().0.contains("before 1.18"));
        for damaged in [&info("go1.20", "mod\tx\n")[..60], GO, &[0xff; 40], &info("go1.20", "no end")[..]] {
            assert!(go(damaged).unwrap_err().0.contains("damaged"), "{damaged:?}");
        }
        let mut endless = info("", "");
        endless.truncate(32);
        endless.extend([0xff; 12]);
        assert!(go(&endless).is_err());
    }

    #[test]
    fn crates_that_only_built_a_program_are_not_in_it() {
        let text = br#"{"packages":[{"name":"a","version":"1.0.0","source":"crates.io","kind":"build"},
            {"name":"b","version":"2.0.0","source":"crates.io","dependencies":[0]},
            {"name":"c","version":"0.1.0","source":"local","root":true}]}"#;
        let mut zlib = flate2::read::ZlibEncoder::new(&text[..], flate2::Compression::best());
        let mut data = Vec::new();
        zlib.read_to_end(&mut data).unwrap();
        let reading = crates(&data).unwrap();
        assert_eq!(names(&reading), [("b", "2.0.0"), ("c", "0.1.0")].map(|(n, v)| (n.to_owned(), v.to_owned())));
        assert!(crates(&data[..data.len() - 8]).is_err());
        assert!(crates(b"").is_err());
        // A bomb: 8 MiB of blanks in 8 KiB.
        let blanks = vec![b' '; usize::try_from(MAX_CRATES).unwrap() + 1];
        let mut bomb = Vec::new();
        flate2::read::ZlibEncoder::new(&blanks[..], flate2::Compression::fast()).read_to_end(&mut bomb).unwrap();
        assert!(crates(&bomb).unwrap_err().0.contains("too long"));
    }

    #[test]
    fn crates_are_those_that_cargo_auditable_wrote() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/packages/rust-audited.dep-v0");
        let reading = crates(&std::fs::read(path).unwrap()).unwrap();
        let wanted = [("audited", "0.3.0"), ("hex", "0.4.3"), ("itoa", "1.0.19")];
        assert_eq!(names(&reading), wanted.map(|(n, v)| (n.to_owned(), v.to_owned())));
    }

    #[test]
    fn a_large_program_with_a_list_of_crates_is_said_to_have_one() {
        // A head with one part that can be written, whose table of sections is far behind it.
        let program = |name: &[u8]| {
            let table = 3_u64 << 20;
            let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0\0\0\0\0\0\0\0\0".to_vec();
            out.extend([64_u64.to_le_bytes(), table.to_le_bytes()].concat());
            out.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
            out.extend([1, 0, 0, 0, 6, 0, 0, 0]);
            out.extend([128_u64, 0, 0, 64, 64, 16].map(u64::to_le_bytes).concat());
            out.resize(usize::try_from(table).unwrap() - name.len(), 0);
            out.extend(name);
            out
        };
        let read = |name: &[u8]| {
            let data = program(name);
            large_elf(&data[..4096], &mut &data[4096..]).unwrap().unwrap()
        };
        assert_eq!(read(b"\0.text\0"), Reading::default());
        assert!(read(b"\0.dep-v0\0").problems[0].contains("list of crates"));
        assert!(large_elf(b"MZ", &mut &b""[..]).unwrap().is_none());
    }

    #[test]
    fn a_universal_binary_with_more_programs_than_are_read_is_a_problem() {
        let binary = |count: u32| {
            let mut out = [&b"\xca\xfe\xba\xbe"[..], &count.to_be_bytes()].concat();
            out.resize(4096, 0);
            read(&out).problems
        };
        assert_eq!(binary(16), [""; 0]);
        assert!(binary(17)[0].contains("more than 16 programs"));
    }

    #[test]
    fn what_only_begins_like_a_program_has_no_packages() {
        for data in [&b"MZ is a text"[..], b"\x7fELF", b"\xca\xfe\xba\xbe\0\0\0\x02", b"\xfe\xed\xfa\xcf", b""] {
            assert_eq!(read(data).packages, []);
        }
        assert!(is_program(b"\x7fELF\x02") && is_program(b"MZ\x90\0") && is_program(b"\xca\xfe\xba\xbe\0\0\0\x02"));
        // A Java class of version 52.
        assert!(!is_program(b"\xca\xfe\xba\xbe\0\0\0\x34") && !is_program(b"#!/bin/sh") && !is_program(b""));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig {
            cases: 64, failure_persistence: None, ..Default::default()
        })]

        #[test]
        fn a_changed_program_is_read_or_is_a_problem(
            changes in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), 0..=255_u8), 1..20),
            cut in proptest::prelude::any::<proptest::sample::Index>(),
        ) {
            let mut data = stored("go-syft.buildinfo");
            for (at, value) in &changes {
                let at = at.index(data.len());
                data[at] = *value;
            }
            let _ = go(&data);
            data.truncate(cut.index(data.len()));
            let _ = go(&data);
            // This program itself begins with what a linker wrote.
            let mut program = std::fs::read("/proc/self/exe").map(|mut all| { all.truncate(1 << 16); all }).unwrap_or_default();
            for (at, value) in &changes {
                if !program.is_empty() {
                    let at = at.index(program.len().min(512));
                    program[at] = *value;
                }
            }
            let _ = read(&program);
        }
    }
}
