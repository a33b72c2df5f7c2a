//! Licences: which texts are SPDX expressions. What is none is passed on as it is.

/// Identifiers that package databases use and that SPDX lists. A licence that is missing here is still named, as text.
const IDS: &[&str] = &[
    "0BSD",
    "AFL-2.1",
    "AGPL-3.0-only",
    "AGPL-3.0-or-later",
    "Apache-1.1",
    "Apache-2.0",
    "Artistic-1.0",
    "Artistic-1.0-Perl",
    "Artistic-2.0",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-2-Clause-Patent",
    "BSD-3-Clause",
    "BSD-4-Clause",
    "BSD-4-Clause-UC",
    "BSL-1.0",
    "BlueOak-1.0.0",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "CC-BY-SA-4.0",
    "CC0-1.0",
    "CDDL-1.0",
    "CDDL-1.1",
    "CPL-1.0",
    "EPL-1.0",
    "EPL-2.0",
    "FSFAP",
    "FSFUL",
    "FSFULLR",
    "FTL",
    "GFDL-1.2-or-later",
    "GFDL-1.3-or-later",
    "GPL-1.0-only",
    "GPL-1.0-or-later",
    "GPL-2.0-only",
    "GPL-2.0-or-later",
    "GPL-3.0-only",
    "GPL-3.0-or-later",
    "HPND",
    "ICU",
    "IJG",
    "IPL-1.0",
    "ISC",
    "JSON",
    "LGPL-2.0-only",
    "LGPL-2.0-or-later",
    "LGPL-2.1-only",
    "LGPL-2.1-or-later",
    "LGPL-3.0-only",
    "LGPL-3.0-or-later",
    "LPPL-1.3c",
    "Libpng",
    "MIT",
    "MIT-0",
    "MPL-1.1",
    "MPL-2.0",
    "MS-PL",
    "NCSA",
    "NTP",
    "OFL-1.1",
    "OLDAP-2.8",
    "OpenSSL",
    "PHP-3.01",
    "PSF-2.0",
    "PostgreSQL",
    "Python-2.0",
    "Ruby",
    "SGI-B-2.0",
    "SMLNJ",
    "TCL",
    "UPL-1.0",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "Unlicense",
    "Vim",
    "W3C",
    "WTFPL",
    "X11",
    "ZPL-2.1",
    "Zlib",
    "bzip2-1.0.6",
    "curl",
    "libpng-2.0",
    "libtiff",
    "zlib-acknowledgement",
];

/// Exceptions behind `WITH`.
const EXCEPTIONS: &[&str] = &[
    "Autoconf-exception-2.0",
    "Autoconf-exception-3.0",
    "Bison-exception-2.2",
    "Classpath-exception-2.0",
    "GCC-exception-2.0",
    "GCC-exception-3.1",
    "LLVM-exception",
    "Libtool-exception",
    "Linux-syscall-note",
    "OpenJDK-assembly-exception-1.0",
    "Font-exception-2.0",
    "openvpn-openssl-exception",
    "u-boot-exception-2.0",
];

/// The deepest parentheses.
const MAX_DEPTH: usize = 16;
/// The longest expression.
const MAX_LENGTH: usize = 2048;

/// What the text of a licence is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Licence<'a> {
    /// One identifier of SPDX.
    Id(&'a str),
    /// An expression of such identifiers.
    Expression(&'a str),
    /// Anything else.
    Text(&'a str),
}

/// Reads the text of a licence.
pub(super) fn read(text: &str) -> Licence<'_> {
    let text = text.trim();
    if IDS.contains(&text) {
        return Licence::Id(text);
    }
    let words = text.replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = words.split_whitespace().collect();
    let mut at = 0;
    match text.len() <= MAX_LENGTH && expression(&words, &mut at, 0) && at == words.len() {
        true => Licence::Expression(text),
        false => Licence::Text(text),
    }
}

fn expression(words: &[&str], at: &mut usize, depth: usize) -> bool {
    loop {
        if !term(words, at, depth) {
            return false;
        }
        match words.get(*at) {
            Some(&"AND" | &"OR") => *at += 1,
            _ => return true,
        }
    }
}

fn term(words: &[&str], at: &mut usize, depth: usize) -> bool {
    match words.get(*at) {
        Some(&"(") if depth < MAX_DEPTH => {
            *at += 1;
            let inner = expression(words, at, depth + 1) && words.get(*at) == Some(&")");
            *at += 1;
            inner
        }
        Some(id) if IDS.contains(id) => {
            *at += 1;
            if words.get(*at) == Some(&"WITH") {
                let known = words.get(*at + 1).is_some_and(|name| EXCEPTIONS.contains(name));
                *at += 2;
                return known;
            }
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_of_spdx_are_told_from_other_texts() {
        assert_eq!(read(" MIT "), Licence::Id("MIT"));
        for text in ["MIT AND (BSD-3-Clause OR Zlib)", "GPL-3.0-or-later WITH GCC-exception-3.1 AND MIT", "(MIT)"] {
            assert_eq!(read(text), Licence::Expression(text));
        }
        for text in ["GPLv2+", "MIT AND", "MIT OR (Zlib", "MIT)", "MIT and BSD", "", "MIT WITH x", "AND", "MIT MIT"] {
            assert_eq!(read(text), Licence::Text(text));
        }
        let deep = format!("{}MIT{}", "(".repeat(100), ")".repeat(100));
        assert_eq!(read(&deep), Licence::Text(&deep));
    }
}
