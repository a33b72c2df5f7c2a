//! `os-release`: which distribution an image is.

/// The distribution of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct System {
    /// `ID`: `rhel`, `debian`.
    pub id: String,
    /// `VERSION_ID`, if there is one.
    pub version: Option<String>,
    /// `PRETTY_NAME`, if there is one.
    pub name: Option<String>,
}

/// The longest value that is kept.
const MAX_VALUE: usize = 256;

impl System {
    /// Reads an `os-release` file; `None` if it has no `ID`.
    pub fn parse(data: &[u8]) -> Option<System> {
        let text = String::from_utf8_lossy(data);
        let mut out = System::default();
        for line in text.lines() {
            let Some((name, value)) = line.trim().split_once('=') else { continue };
            let value = unquoted(value);
            match name {
                "ID" => out.id = value,
                "VERSION_ID" => out.version = Some(value).filter(|v| !v.is_empty()),
                "PRETTY_NAME" => out.name = Some(value).filter(|v| !v.is_empty()),
                _ => {}
            }
        }
        (!out.id.is_empty()).then_some(out)
    }

    /// `ID-VERSION_ID`, as purls have it.
    pub fn distro(&self) -> String {
        match &self.version {
            Some(version) => format!("{}-{version}", self.id),
            None => self.id.clone(),
        }
    }
}

/// A value as a shell reads it: in quotes of either kind, with `\` before special characters.
fn unquoted(value: &str) -> String {
    let value = value.trim();
    let inner = ['"', '\''].iter().find_map(|q| value.strip_prefix(*q)?.strip_suffix(*q)).unwrap_or(value);
    let mut out = String::new();
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        let c = if c == '\\' { characters.next().unwrap_or(c) } else { c };
        if out.len() + c.len_utf8() <= MAX_VALUE {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_are_read_as_a_shell_reads_them() {
        let system =
            System::parse(b"# x\nNAME=\"x\"\nID=\"rhel\"\nVERSION_ID='9.2'\nPRETTY_NAME=\"a \\\"b\\\"\"\n").unwrap();
        assert_eq!(system.distro(), "rhel-9.2");
        assert_eq!(system.name.unwrap(), "a \"b\"");
        assert_eq!(System::parse(b"ID=arch\n").unwrap().distro(), "arch");
        assert_eq!(System::parse(b"NAME=x\n"), None);
    }
}
