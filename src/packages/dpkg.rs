//! dpkg: `var/lib/dpkg/status`, and a file for each package in `var/lib/dpkg/status.d` (distroless).

use super::{Kind, Package, Reading};

/// The packages of a `status` file: those whose `Status` says that they are installed.
pub fn status(data: &[u8]) -> Reading {
    read(data, false)
}

/// The package of a file in `status.d`, which has no `Status`.
pub fn part(data: &[u8]) -> Reading {
    read(data, true)
}

fn read(data: &[u8], without_status: bool) -> Reading {
    let mut reading = Reading::default();
    if data.contains(&0) {
        return Reading::unreadable("has zero bytes, and is no text");
    }
    let text = String::from_utf8_lossy(data);
    let mut fields = Fields::default();
    for line in text.lines() {
        if line.trim_end().is_empty() {
            std::mem::take(&mut fields).package(without_status, &mut reading);
            continue;
        }
        if line.starts_with([' ', '\t']) {
            continue;
        }
        let Some((name, value)) = line.split_once(':') else {
            reading.problem("has a line that is no field");
            continue;
        };
        fields.set(name, value.trim());
    }
    fields.package(without_status, &mut reading);
    reading
}

/// The fields of a paragraph that are used.
#[derive(Default)]
struct Fields<'a> {
    any: bool,
    name: Option<&'a str>,
    version: Option<&'a str>,
    arch: Option<&'a str>,
    source: Option<&'a str>,
    status: Option<&'a str>,
    maintainer: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn set(&mut self, name: &str, value: &'a str) {
        self.any = true;
        let slot = match name {
            _ if name.eq_ignore_ascii_case("Package") => &mut self.name,
            _ if name.eq_ignore_ascii_case("Version") => &mut self.version,
            _ if name.eq_ignore_ascii_case("Architecture") => &mut self.arch,
            _ if name.eq_ignore_ascii_case("Source") => &mut self.source,
            _ if name.eq_ignore_ascii_case("Status") => &mut self.status,
            _ if name.eq_ignore_ascii_case("Maintainer") => &mut self.maintainer,
            _ => return,
        };
        *slot = Some(value);
    }

    fn package(self, without_status: bool, reading: &mut Reading) {
        if !self.any {
            return;
        }
        let Some(name) = self.name.filter(|name| !name.is_empty()) else {
            return reading.problem("has a paragraph without a name of a package");
        };
        // The state is the third word; the first two say what is wanted, and whether it is whole.
        let installed = match self.status {
            Some(status) => status.split_whitespace().nth(2) == Some("installed"),
            None if without_status => true,
            None => return reading.problem(format!("has a package without a status ({name})")),
        };
        if !installed {
            return;
        }
        let Some(version) = self.version.filter(|version| !version.is_empty()) else {
            return reading.problem(format!("has a package without a version ({name})"));
        };
        // `Source: name`, or `name (version)` where the version differs.
        let source = self.source.filter(|source| !source.is_empty()).map(|source| {
            let (name, version) = source.split_once('(').unwrap_or((source, ""));
            match version.trim_end_matches(')').trim() {
                "" => name.trim().to_owned(),
                version => format!("{}@{version}", name.trim()),
            }
        });
        reading.push(Package {
            arch: self.arch.filter(|arch| !arch.is_empty()).map(str::to_owned),
            source,
            supplier: self.maintainer.filter(|who| !who.is_empty()).map(str::to_owned),
            ..Package::new(Kind::Deb, name, version)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Package: a\nStatus: install ok installed\nArchitecture: amd64\nSource: src (2:1.0)\nVersion: 2:1.0-1+b1\n\
        Description: x\n Package: not this\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
        package: half\nStatus: install reinstreq half-installed\nVersion: 1\n";

    #[test]
    fn only_installed_packages_count() {
        let reading = status(STATUS.as_bytes());
        let found: Vec<&Package> = reading.packages.iter().map(|f| &f.package).collect();
        assert_eq!(reading.problems, [""; 0]);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), found[0].version.as_str()), ("a", "2:1.0-1+b1"));
        assert_eq!((found[0].arch.as_deref(), found[0].source.as_deref()), (Some("amd64"), Some("src@2:1.0")));
    }

    #[test]
    fn a_part_of_distroless_needs_no_status() {
        let reading = part(b"Package: base-files\nVersion: 12.4\nArchitecture: arm64\n");
        assert_eq!(reading.packages.len(), 1);
        assert!(reading.problems.is_empty());
    }

    #[test]
    fn damaged_paragraphs_are_problems_and_no_silence() {
        for (text, problem) in [
            ("Version: 1\nStatus: install ok installed\n", "without a name"),
            ("Package: a\nStatus: install ok installed\n", "without a version"),
            ("Package: a\nVersion: 1\n", "without a status"),
            ("garbage\n", "no field"),
            ("Package: a\0\n", "no text"),
        ] {
            let reading = status(text.as_bytes());
            assert!(reading.problems.iter().any(|p| p.contains(problem)), "{text}: {:?}", reading.problems);
        }
    }
}
