//! Alpine's `lib/apk/db/installed`: paragraphs of one-letter fields.

use super::{Kind, Package, Reading};

/// The packages of an `installed` file.
pub fn installed(data: &[u8]) -> Reading {
    let mut reading = Reading::default();
    if data.contains(&0) {
        return Reading::unreadable("has zero bytes, and is no text");
    }
    let text = String::from_utf8_lossy(data);
    let mut package: Option<Package> = None;
    let close = |package: Option<Package>, reading: &mut Reading| match package {
        Some(package) if package.name.is_empty() => reading.problem("has a paragraph without a name of a package"),
        Some(package) if package.version.is_empty() => {
            reading.problem(format!("has a package without a version ({})", package.name));
        }
        Some(package) => reading.push(package),
        None => {}
    };
    for line in text.lines() {
        if line.trim_end().is_empty() {
            close(package.take(), &mut reading);
            continue;
        }
        let Some((field, value)) = line.split_once(':') else {
            reading.problem("has a line that is no field");
            continue;
        };
        let package = package.get_or_insert_with(|| Package::new(Kind::Apk, "", ""));
        let value = || Some(value.to_owned()).filter(|value| !value.is_empty());
        match field {
            "P" => package.name = value().unwrap_or_default(),
            "V" => package.version = value().unwrap_or_default(),
            "A" => package.arch = value(),
            "L" => package.licence = value(),
            "o" => package.source = value(),
            "m" => package.supplier = value(),
            _ => {}
        }
    }
    close(package, &mut reading);
    reading
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_paragraph_is_a_package() {
        let text = "C:Q1x=\nP:musl\nV:1.2.4-r2\nA:x86_64\nL:MIT\no:musl\nF:lib\nR:ld-musl-x86_64.so.1\na:0:0:755\n\n\
                    P:busybox\nV:1.36.1-r5\nA:x86_64\nL:GPL-2.0-only\no:busybox\n";
        let reading = installed(text.as_bytes());
        assert!(reading.problems.is_empty(), "{:?}", reading.problems);
        let found: Vec<_> = reading.packages.iter().map(|f| (&*f.package.name, &*f.package.version)).collect();
        assert_eq!(found, [("musl", "1.2.4-r2"), ("busybox", "1.36.1-r5")]);
        assert_eq!(reading.packages[0].package.licence.as_deref(), Some("MIT"));
    }

    #[test]
    fn damaged_paragraphs_are_problems_and_no_silence() {
        for (text, problem) in [("V:1\n", "without a name"), ("P:a\n", "without a version"), ("x\n", "no field")] {
            let reading = installed(text.as_bytes());
            assert!(reading.problems.iter().any(|p| p.contains(problem)), "{text}: {:?}", reading.problems);
        }
    }
}
