//! Java: jars, wars and ears, also those inside others.

use std::io::Read;

use crate::archive::{BEHIND, Budget, Limits, Member, Reason, Stop, Trouble, open_zip};
use crate::packages::{Kind, Package, Reading};

/// The most archives inside each other.
const MAX_DEPTH: usize = 6;
/// The most bytes that are inflated of one file, all archives in it together.
const MAX_INFLATED: u64 = 256 << 20;
/// The most members of all archives of one file.
const MAX_MEMBERS: u64 = 200_000;
/// The largest manifest or properties file.
const MAX_TEXT: u64 = 1 << 20;

/// Whether a name is that of an archive which Java loads.
pub(in crate::packages) fn is_archive(name: &[u8]) -> bool {
    [&b".jar"[..], b".war", b".ear"]
        .iter()
        .any(|end| name.len() > end.len() && name[name.len() - end.len()..].eq_ignore_ascii_case(end))
}

/// The artifacts of an archive whose file is called `name`.
pub fn read(name: &str, data: &[u8]) -> Reading {
    let mut reading = Reading::default();
    // Jars hardly compress what is read here; a bomb is stopped at a fixed multiple, however many jars there are.
    let inflated = (64 << 10) + (data.len() as u64).saturating_mul(50).min(MAX_INFLATED);
    let budget = Budget::new(Limits { depth: MAX_DEPTH, inflated, members: MAX_MEMBERS, ratio: u64::MAX });
    archive(name, data, None, 1, &budget, &mut reading);
    reading
}

/// What a member is, by its name.
enum Role {
    Properties,
    Manifest,
    Archive,
}

impl Role {
    fn of(member: &str) -> Option<Role> {
        match member {
            _ if member.starts_with("META-INF/maven/") && member.ends_with("/pom.properties") => Some(Role::Properties),
            _ if member.eq_ignore_ascii_case("META-INF/MANIFEST.MF") => Some(Role::Manifest),
            _ if is_archive(member.as_bytes()) => Some(Role::Archive),
            _ => None,
        }
    }
}

fn archive(name: &str, data: &[u8], within: Option<&str>, depth: usize, budget: &Budget, reading: &mut Reading) {
    let inner = |reason: String| match within {
        Some(member) => format!("{reason}, in {member}"),
        None => reason,
    };
    let (mut manifest, mut artifacts) = (None, Vec::new());
    let mut visit = |member: &[u8], what: Member<'_>| -> Result<(), Stop> {
        let shown = String::from_utf8_lossy(member);
        let role = Role::of(&shown);
        let content = match what {
            Member::Content(content) => content,
            // Java goes by the directory; others read what it does not list.
            Member::Closed(trouble) => {
                if role.is_some() || member == BEHIND {
                    reading.problem(inner(format!("has a member that cannot be read ({trouble}: {shown})")));
                }
                return Ok(());
            }
        };
        // What is not read is not inflated.
        let Some(role) = role else { return Ok(()) };
        if matches!(role, Role::Archive) {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes)?;
            if depth >= MAX_DEPTH {
                reading.problem(inner(format!("has archives more than {MAX_DEPTH} deep")));
            } else {
                let place = within.map_or_else(|| shown.clone().into_owned(), |outer| format!("{outer}!{shown}"));
                let file = shown.rsplit('/').next().unwrap_or(&shown);
                archive(file, &bytes, Some(&place), depth + 1, budget, reading);
            }
            return Ok(());
        }
        let mut text = Vec::new();
        content.take(MAX_TEXT + 1).read_to_end(&mut text)?;
        match role {
            _ if text.len() as u64 > MAX_TEXT => {
                reading.problem(inner(format!("has a member of more than {MAX_TEXT} bytes ({shown})")));
            }
            Role::Properties => artifacts.extend(pom(&text)),
            _ => manifest = Some(Manifest::parse(&text)),
        }
        Ok(())
    };
    let ended = open_zip(&data, budget, &mut visit);
    if let Err(stop) = ended {
        reading.problem(inner(match stop {
            Stop::Trouble(Trouble { reason: Reason::Damaged, text }) => {
                format!("is no zip archive that can be read ({text})")
            }
            Stop::Trouble(trouble) => trouble.text,
            Stop::Fatal(error) => format!("cannot be read ({error})"),
        }));
    } else if artifacts.is_empty() {
        artifacts.extend(manifest.unwrap_or_default().artifact(name));
    }
    artifacts.into_iter().for_each(|package| reading.push_member(package, within.map(str::to_owned)));
}

/// The artifact of a `pom.properties`.
fn pom(content: &[u8]) -> Option<Package> {
    let text = String::from_utf8_lossy(content);
    let find = |key: &str| {
        let mut lines = text.lines().filter_map(|line| line.trim().split_once(['=', ':']));
        let value = lines.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned());
        value.filter(|value| !value.is_empty())
    };
    let version = find("version").unwrap_or_default();
    Some(Package { namespace: find("groupId"), ..Package::new(Kind::Maven, find("artifactId")?, version) })
}

/// The main section of `MANIFEST.MF`.
#[derive(Default)]
struct Manifest {
    fields: Vec<(String, String)>,
}

impl Manifest {
    fn parse(content: &[u8]) -> Manifest {
        let text = String::from_utf8_lossy(content);
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in text.lines().take_while(|line| !line.trim_end().is_empty()) {
            // A line of more than 72 bytes goes on after a blank.
            match (line.strip_prefix(' '), fields.last_mut()) {
                (Some(more), Some((_, value))) => value.push_str(more.trim_end()),
                _ => fields.extend(line.split_once(':').map(|(n, v)| (n.to_owned(), v.trim().to_owned()))),
            }
        }
        Manifest { fields }
    }

    fn get(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
        field.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// The artifact of an archive without Maven's data: by the name of its file where that has a version, else by the
    /// manifest. An archive always counts as one.
    fn artifact(&self, file: &str) -> Option<Package> {
        let stem = if is_archive(file.as_bytes()) { &file[..file.len() - 4] } else { file };
        let (stem, of_name) = divided(stem);
        let version = ["Implementation-Version", "Bundle-Version", "Specification-Version"];
        let version = version.iter().find_map(|field| self.get(field)).or(of_name).unwrap_or_default();
        let symbolic = self.get("Bundle-SymbolicName").and_then(|name| name.split(';').next()).map(str::trim);
        let name = if of_name.is_some() { Some(stem) } else { None };
        let name = name.or_else(|| self.get("Implementation-Title").filter(|t| !t.contains(' '))).or(symbolic);
        let name = name.unwrap_or(stem);
        let group = self.get("Implementation-Vendor-Id").filter(|id| !id.contains(' ')).map(str::to_owned);
        (!name.is_empty())
            .then(|| Package { namespace: group, ..Package::new(Kind::Maven, name, of_name.unwrap_or(version)) })
    }
}

/// `name-1.2.3` as name and version.
fn divided(stem: &str) -> (&str, Option<&str>) {
    let at = stem.match_indices('-').map(|(at, _)| at);
    let at = at.into_iter().find(|at| stem[at + 1..].starts_with(|c: char| c.is_ascii_digit()) && *at > 0);
    at.map_or((stem, None), |at| (&stem[..at], Some(&stem[at + 1..])))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A zip archive of stored members, as the format has it.
    pub(crate) fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
        let (mut out, mut directory) = (Vec::new(), Vec::new());
        for (name, content) in members {
            let mut crc = flate2::Crc::new();
            crc.update(content);
            let size = u32::try_from(content.len()).unwrap().to_le_bytes();
            let common = [&[20, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &crc.sum().to_le_bytes(), &size, &size].concat();
            let length = u16::try_from(name.len()).unwrap().to_le_bytes();
            let at = u32::try_from(out.len()).unwrap().to_le_bytes();
            directory.extend([b"PK\x01\x02\x14\0", &common[..], &length, &[0; 12], &at, name.as_bytes()].concat());
            out.extend([b"PK\x03\x04", &common[..], &length, &[0, 0], name.as_bytes(), content].concat());
        }
        let at = u32::try_from(out.len()).unwrap().to_le_bytes();
        let count = u16::try_from(members.len()).unwrap().to_le_bytes();
        let size = u32::try_from(directory.len()).unwrap().to_le_bytes();
        out.extend(directory);
        out.extend([b"PK\x05\x06\0\0\0\0", &count[..], &count, &size, &at, &[0, 0]].concat());
        out
    }

    fn listed(reading: &Reading) -> Vec<String> {
        let line = |found: &crate::packages::Found| {
            let Package { namespace, name, version, .. } = &found.package;
            format!(
                "{}:{name}:{version} {}",
                namespace.as_deref().unwrap_or("-"),
                found.member.as_deref().unwrap_or("-")
            )
        };
        reading.packages.iter().map(line).collect()
    }

    const POM: &[u8] = b"#x\nversion=1.2\ngroupId=org.a\nartifactId=b\n";

    #[test]
    fn artifacts_are_found_by_maven_by_manifest_by_name_and_in_archives_inside() {
        let maven = zip(&[("META-INF/maven/org.a/b/pom.properties", POM)]);
        let manifest = b"Manifest-Version: 1.0\r\nImplementation-Title: title\r\nImplementation-Version: 3.\r\n 1\r\n\r\nName: x\r\n";
        let described = zip(&[("META-INF/MANIFEST.MF", manifest)]);
        let nothing = zip(&[("a.class", b"x")]);
        let war =
            zip(&[("WEB-INF/lib/b.jar", &maven), ("x/inner.JAR", &described), ("lib/log4j-core-2.14.1.jar", &nothing)]);
        assert_eq!(listed(&read("b-1.2.jar", &maven)), ["org.a:b:1.2 -"]);
        assert_eq!(listed(&read("x.jar", &described)), ["-:title:3.1 -"]);
        assert_eq!(listed(&read("commons-io-2.11.0.jar", &nothing)), ["-:commons-io:2.11.0 -"]);
        assert_eq!(listed(&read("plain.jar", &nothing)), ["-:plain: -"]);
        assert_eq!(
            listed(&read("app.war", &war)),
            [
                "org.a:b:1.2 WEB-INF/lib/b.jar",
                "-:title:3.1 x/inner.JAR",
                "-:log4j-core:2.14.1 lib/log4j-core-2.14.1.jar",
                "-:app: -"
            ]
        );
        let ear = zip(&[("app.war", &war)]);
        assert!(listed(&read("e.ear", &ear)).contains(&"org.a:b:1.2 app.war!WEB-INF/lib/b.jar".to_owned()));
    }

    #[test]
    fn damage_and_depth_are_problems() {
        assert!(read("a.jar", b"no zip").problems[0].contains("no zip archive"));
        let mut jar = zip(&[("META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\n")]);
        let at = jar.len() - 30;
        jar.truncate(at);
        assert!(!read("a.jar", &jar).problems.is_empty());
        let mut inner = zip(&[("META-INF/maven/org.a/b/pom.properties", POM)]);
        for _ in 0..MAX_DEPTH {
            inner = zip(&[("a.jar", &inner)]);
        }
        assert!(read("a.jar", &inner).problems[0].contains("deep"));
        let mut wrong = zip(&[("META-INF/maven/org.a/b/pom.properties", POM)]);
        let at = wrong.windows(POM.len()).position(|w| w == POM).unwrap();
        wrong[at] ^= 1;
        assert!(read("a.jar", &wrong).problems[0].contains("checksum"), "{:?}", read("a.jar", &wrong).problems);
    }

    #[test]
    fn what_is_encrypted_or_not_listed_is_a_problem_only_where_it_could_name_an_artifact() {
        let pom = "META-INF/maven/org.a/b/pom.properties";
        for (name, problems) in [(pom, 1), ("a.class", 0)] {
            let mut jar = zip(&[(name, POM)]);
            let directory = jar.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
            jar[6] |= 1;
            jar[directory + 8] |= 1;
            let reading = read("a.jar", &jar);
            assert_eq!(reading.problems.len(), problems, "{reading:?}");
        }
        // Two members, and a directory with the second one.
        let (first, both) = (zip(&[(pom, POM)]), zip(&[(pom, POM), ("a.class", b"x")]));
        let entry = 46 + pom.len();
        let directory = both.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
        assert_eq!(first.len() - 22 - entry, 30 + pom.len() + POM.len());
        let mut hidden = both;
        hidden.drain(directory..directory + entry);
        let end = hidden.len() - 22;
        (hidden[end + 8], hidden[end + 10]) = (1, 1);
        let length = u32::from(hidden[end + 12]) | u32::from(hidden[end + 13]) << 8;
        hidden[end + 12..end + 16].copy_from_slice(&(length - u32::try_from(entry).unwrap()).to_le_bytes());
        let reading = read("a.jar", &hidden);
        assert!(reading.problems[0].contains("does not list"), "{reading:?}");
        // What nobody reads is not inflated: its damage is not seen.
        let mut broken = zip(&[("a.class", b"content"), (pom, POM)]);
        let at = broken.windows(7).position(|w| w == b"content").unwrap();
        broken[at] ^= 1;
        assert_eq!(listed(&read("a.jar", &broken)), ["org.a:b:1.2 -"]);
        assert_eq!(read("a.jar", &broken).problems, [""; 0]);
    }

    #[test]
    fn a_member_that_inflates_beyond_the_limit_is_a_problem_and_so_is_a_bomb() {
        use std::io::Write;
        let large = vec![0; usize::try_from(MAX_TEXT).unwrap() + 1];
        let mut deflated = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        deflated.write_all(&large).unwrap();
        let deflated = deflated.finish().unwrap();
        // The directory says that it is small.
        let mut jar = zip(&[("META-INF/MANIFEST.MF", &deflated)]);
        let directory = jar.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
        jar[8] = 8;
        jar[directory + 10] = 8;
        let reading = read("a.jar", &jar);
        assert!(!reading.problems.is_empty(), "{reading:?}");
        // It says the truth: 200 times its size.
        let mut bomb = zip(&[("META-INF/MANIFEST.MF", &deflated)]);
        bomb[8] = 8;
        bomb[directory + 10] = 8;
        let size = (1_u32 << 20).to_le_bytes();
        bomb[22..26].copy_from_slice(&size);
        bomb[directory + 24..directory + 28].copy_from_slice(&size);
        assert!(read("a.jar", &bomb).problems[0].contains("more than"), "{:?}", read("a.jar", &bomb).problems);
        let plain = zip(&[("META-INF/MANIFEST.MF", &large)]);
        assert!(read("a.jar", &plain).problems[0].contains("more than"));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig {
            cases: 128, failure_persistence: None, ..Default::default()
        })]

        #[test]
        fn a_changed_archive_gives_artifacts_or_problems(
            changes in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), 0..=255_u8), 1..10),
        ) {
            let jar = zip(&[("META-INF/maven/org.a/b/pom.properties", POM), ("META-INF/MANIFEST.MF", b"A: b\n")]);
            let mut outer = zip(&[("lib/b.jar", &jar)]);
            for (at, value) in changes {
                let at = at.index(outer.len());
                outer[at] = value;
            }
            let reading = read("o.jar", &outer);
            assert!(!(reading.packages.is_empty() && reading.problems.is_empty()));
        }
    }
}
