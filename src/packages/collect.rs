//! Which files of an image say something about packages, and what each of them says.

use super::language::{self, is_archive};
use super::{Reading, System, apk, dpkg, program, rpm};

/// The kind of a file that says something about packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// `rpmdb.sqlite`
    RpmSqlite,
    /// Its write-ahead log, `rpmdb.sqlite-wal`
    RpmLog,
    /// Its rollback journal, `rpmdb.sqlite-journal`
    RpmJournal,
    /// `Packages.db`
    RpmNdb,
    /// `Packages`
    RpmBdb,
    /// `var/lib/dpkg/status`
    Dpkg,
    /// A file in `var/lib/dpkg/status.d`
    DpkgPart,
    /// `lib/apk/db/installed`
    Apk,
    /// `os-release`
    Release,
    /// `METADATA` or `PKG-INFO`
    Python,
    /// `package.json`
    Npm,
    /// A jar, war or ear
    Java,
    /// A program
    Program,
}

/// The folders that rpm keeps its database in.
const RPM: [&[u8]; 3] = [b"var/lib/rpm/", b"usr/lib/sysimage/rpm/", b"usr/share/rpm/"];

/// The paths of databases, which may also be reached through symbolic links.
pub const DATABASES: [&str; 12] = [
    "var/lib/rpm/rpmdb.sqlite",
    "var/lib/rpm/Packages.db",
    "var/lib/rpm/Packages",
    "usr/lib/sysimage/rpm/rpmdb.sqlite",
    "usr/lib/sysimage/rpm/Packages.db",
    "usr/lib/sysimage/rpm/Packages",
    "usr/share/rpm/rpmdb.sqlite",
    "usr/share/rpm/Packages.db",
    "usr/share/rpm/Packages",
    "var/lib/dpkg/status",
    "lib/apk/db/installed",
    "usr/lib/apk/db/installed",
];

/// Where a system says which one it is; the first counts.
pub const SYSTEM: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];

/// How a rollback journal of SQLite begins.
const JOURNAL: &[u8] = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7";

/// Where ostree keeps the content of files, which the rest of the image names by hard links.
const OSTREE: &[u8] = b"ostree/repo/objects/";

impl Source {
    /// The kind of a file with this path in an image, if its name says it.
    pub fn named(path: &[u8]) -> Option<Source> {
        for folder in RPM {
            match path.strip_prefix(folder) {
                Some(b"rpmdb.sqlite") => return Some(Source::RpmSqlite),
                Some(b"rpmdb.sqlite-wal") => return Some(Source::RpmLog),
                Some(b"rpmdb.sqlite-journal") => return Some(Source::RpmJournal),
                Some(b"Packages.db") => return Some(Source::RpmNdb),
                Some(b"Packages") => return Some(Source::RpmBdb),
                _ => {}
            }
        }
        if let Some(name) = path.strip_prefix(b"var/lib/dpkg/status.d/") {
            return (!name.ends_with(b".md5sums") && !name.contains(&b'/')).then_some(Source::DpkgPart);
        }
        let mut names = path.rsplit(|b| *b == b'/');
        let (name, folder) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
        match path {
            b"var/lib/dpkg/status" => Some(Source::Dpkg),
            b"lib/apk/db/installed" | b"usr/lib/apk/db/installed" => Some(Source::Apk),
            b"etc/os-release" | b"usr/lib/os-release" => Some(Source::Release),
            _ => match name {
                b"METADATA" if folder.ends_with(b".dist-info") => Some(Source::Python),
                b"PKG-INFO" if folder.ends_with(b".egg-info") || folder == b"EGG-INFO" => Some(Source::Python),
                b"package.json" => Some(Source::Npm),
                _ if name.ends_with(b".egg-info") => Some(Source::Python),
                _ if is_archive(name) => Some(Source::Java),
                _ => None,
            },
        }
    }

    /// Whether it is a database of a whole system, without which packages of the system are not known.
    pub fn is_database(self) -> bool {
        use Source::{Apk, Dpkg, DpkgPart, RpmBdb, RpmJournal, RpmLog, RpmNdb, RpmSqlite};
        matches!(self, RpmSqlite | RpmLog | RpmJournal | RpmNdb | RpmBdb | Dpkg | DpkgPart | Apk)
    }

    /// The largest file of this kind that is read, in bytes.
    pub fn limit(self) -> u64 {
        match self {
            Source::RpmSqlite | Source::RpmLog | Source::RpmNdb | Source::RpmBdb => 512 << 20,
            Source::Dpkg | Source::Apk => 64 << 20,
            Source::Java => 512 << 20,
            Source::Program => 1 << 40,
            Source::RpmJournal | Source::DpkgPart | Source::Release | Source::Python | Source::Npm => 1 << 20,
        }
    }

    /// By the first bytes of a file whose name says nothing.
    fn of_content(first: &[u8]) -> Option<Source> {
        let starts = |mark: &[u8]| first.starts_with(mark);
        Some(match first {
            _ if starts(b"SQLite format 3\0") => Source::RpmSqlite,
            [0x37, 0x7f, 0x06, 0x82 | 0x83, ..] => Source::RpmLog,
            _ if starts(JOURNAL) => Source::RpmJournal,
            _ if starts(b"RpmP") => Source::RpmNdb,
            _ if [b"\x61\x15\x06\0", b"\0\x06\x15\x61"].iter().any(|m| first.get(12..16) == Some(&m[..])) => {
                Source::RpmBdb
            }
            _ if starts(b"PK\x03\x04") => Source::Java,
            _ if starts(b"Metadata-Version:") => Source::Python,
            _ if starts(b"Package: ") => Source::Dpkg,
            _ if starts(b"C:Q1") || starts(b"P:") => Source::Apk,
            _ if [&b"NAME="[..], b"ID=", b"PRETTY_NAME=", b"VERSION"].into_iter().any(starts) => Source::Release,
            _ if starts(b"{") => Source::Npm,
            _ => return None,
        })
    }
}

/// Whether a file is content that ostree keeps: it counts where the image names it.
pub fn is_object(path: &[u8]) -> bool {
    path.windows(OSTREE.len()).any(|part| part == OSTREE)
}

/// How many of the first bytes of a file [`wants`] needs.
pub const FIRST: usize = 64;

/// What a file is read as, by its path in the image and its first bytes.
pub fn wants(path: &[u8], first: &[u8]) -> Option<Source> {
    let named = Source::named(path).or_else(|| is_object(path).then(|| Source::of_content(first)).flatten());
    named.or_else(|| program::is_program(first).then_some(Source::Program))
}

/// What a file says.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// These packages.
    Packages(Source, Reading),
    /// A SQLite database of rpm: the packages without a write-ahead log, and the whole of it.
    Sqlite(Reading, Kept),
    /// A write-ahead log.
    Log(Kept),
    /// Which system it is; `None` if it does not say.
    System(Option<System>),
}

impl Fact {
    /// The kind of file that it is from.
    pub fn source(&self) -> Source {
        match self {
            Fact::Packages(source, _) => *source,
            Fact::Sqlite(..) => Source::RpmSqlite,
            Fact::Log(_) => Source::RpmLog,
            Fact::System(_) => Source::Release,
        }
    }
}

/// A file that is kept, compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// An empty file.
    Empty,
    /// Its content.
    Whole(Vec<u8>),
    /// There was no room for it.
    Dropped,
}

impl Kept {
    fn of(content: &[u8]) -> Kept {
        match content {
            [] => Kept::Empty,
            _ => zstd::bulk::compress(content, 1).map_or(Kept::Dropped, Kept::Whole),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Kept::Empty
    }

    /// The bytes that it takes.
    pub fn size(&self) -> usize {
        match self {
            Kept::Whole(bytes) => bytes.len(),
            Kept::Empty | Kept::Dropped => 0,
        }
    }

    /// The content.
    pub(super) fn content(&self) -> Option<Vec<u8>> {
        match self {
            Kept::Whole(bytes) => zstd::stream::decode_all(&bytes[..]).ok(),
            Kept::Empty => Some(Vec::new()),
            Kept::Dropped => None,
        }
    }
}

/// Reads a file of an image.
pub fn read(source: Source, path: &[u8], content: &[u8]) -> Fact {
    if source == Source::RpmSqlite {
        return Fact::Sqlite(rpm::sqlite(content, None), Kept::of(content));
    }
    let reading = match source {
        Source::RpmSqlite => Reading::default(),
        Source::RpmLog => return Fact::Log(Kept::of(content)),
        Source::Release => return Fact::System(System::parse(content)),
        Source::RpmJournal => journal(content),
        Source::RpmNdb => rpm::ndb(content),
        Source::RpmBdb => rpm::bdb(content),
        Source::Dpkg => dpkg::status(content),
        Source::DpkgPart => dpkg::part(content),
        Source::Apk => apk::installed(content),
        Source::Python => language::python(content),
        Source::Npm => npm(path, content),
        Source::Java => language::java(&file_name(path), content),
        Source::Program => program::read(content),
    };
    Fact::Packages(source, reading)
}

/// A file that is too large to be read.
pub fn too_large(source: Source) -> Fact {
    Fact::Packages(source, Reading::unreadable(format!("is larger than {} MiB", source.limit() >> 20)))
}

fn file_name(path: &[u8]) -> String {
    String::from_utf8_lossy(path.rsplit(|b| *b == b'/').next().unwrap_or_default()).into_owned()
}

/// A journal with a head means that the last change was not finished, and that rpm undoes it when it reads next.
fn journal(content: &[u8]) -> Reading {
    match content.starts_with(JOURNAL) {
        true => {
            Reading::unreadable("is a rollback journal: the last change of the database beside it was not finished")
        }
        false => Reading::default(),
    }
}

/// Only where npm installs a package it must be one; elsewhere are examples and tests of others.
fn npm(path: &[u8], content: &[u8]) -> Reading {
    let mut reading = language::npm(content);
    let mut names = path.rsplit(|b| *b == b'/').skip(2);
    let (above, higher) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
    if above != b"node_modules" && !(above.starts_with(b"@") && higher == b"node_modules") {
        reading.problems.clear();
    }
    reading
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_wanted_by_their_place_and_programs_by_their_content() {
        for (path, source) in [
            ("var/lib/rpm/rpmdb.sqlite", Some(Source::RpmSqlite)),
            ("usr/lib/sysimage/rpm/rpmdb.sqlite-wal", Some(Source::RpmLog)),
            ("usr/share/rpm/Packages", Some(Source::RpmBdb)),
            ("home/rpmdb.sqlite", None),
            ("var/lib/dpkg/status.d/base", Some(Source::DpkgPart)),
            ("var/lib/dpkg/status.d/base.md5sums", None),
            ("var/lib/dpkg/status-old", None),
            ("etc/os-release", Some(Source::Release)),
            ("a/x-1.0.dist-info/METADATA", Some(Source::Python)),
            ("a/METADATA", None),
            ("a/x.egg-info", Some(Source::Python)),
            ("package.json", Some(Source::Npm)),
            ("a/b.JAR", Some(Source::Java)),
            (".jar", None),
        ] {
            assert_eq!(wants(path.as_bytes(), b"x"), source, "{path}");
        }
        assert_eq!(wants(b"bin/x", b"\x7fELF\x02\x01"), Some(Source::Program));
        let object = b"sysroot/ostree/repo/objects/0a/bc.file";
        assert_eq!(wants(object, b"SQLite format 3\0"), Some(Source::RpmSqlite));
        assert_eq!(wants(object, b"\x37\x7f\x06\x82\0\x2d\xe2\x18"), Some(Source::RpmLog));
        assert_eq!(wants(object, b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"), Some(Source::RpmJournal));
        assert_eq!(wants(b"var/x", b"SQLite format 3\0"), None);
        for path in DATABASES {
            assert!(Source::named(path.as_bytes()).is_some_and(Source::is_database));
        }
    }

    #[test]
    fn a_broken_package_json_is_a_problem_only_where_npm_installs() {
        let problems = |path: &[u8]| match read(Source::Npm, path, b"{") {
            Fact::Packages(_, reading) => reading.problems.len(),
            _ => 0,
        };
        assert_eq!(problems(b"a/node_modules/x/package.json"), 1);
        assert_eq!(problems(b"a/node_modules/@s/x/package.json"), 1);
        assert_eq!(problems(b"a/node_modules/x/test/package.json"), 0);
    }
}
