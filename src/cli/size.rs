//! Sizes as people write them: `700MB`, `4GiB`, `4.7GB`, `4700372992`.

/// Decimal units end in `B`; binary units end in `iB` or, as in GNU `split`, have no suffix.
const UNITS: [(&str, u64); 17] = [
    ("", 1),
    ("b", 1),
    ("k", 1 << 10),
    ("kib", 1 << 10),
    ("kb", 1_000),
    ("m", 1 << 20),
    ("mib", 1 << 20),
    ("mb", 1_000_000),
    ("g", 1 << 30),
    ("gib", 1 << 30),
    ("gb", 1_000_000_000),
    ("t", 1 << 40),
    ("tib", 1 << 40),
    ("tb", 1_000_000_000_000),
    ("p", 1 << 50),
    ("pib", 1 << 50),
    ("pb", 1_000_000_000_000_000),
];

/// The exact size in bytes, rounded down to whole bytes.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    let not = || format!("`{text}` is not a size; write 4GiB, 4.7GB or a number of bytes");
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start().to_ascii_lowercase();
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor).ok_or_else(not)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 18 || (number.contains('.') && (fraction.is_empty() || factor == 1)) {
        return Err(not());
    }
    let digits: u128 = format!("{whole}{fraction}").parse().map_err(|_| not())?;
    let bytes = digits.checked_mul(u128::from(factor)).ok_or_else(not)? / 10u128.pow(fraction.len() as u32);
    match u64::try_from(bytes) {
        Ok(0) | Err(_) => Err(not()),
        Ok(bytes) => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::parse;

    #[test]
    fn decimal_and_binary_sizes_are_exact_in_any_case() {
        for (text, bytes) in [
            ("1", 1),
            ("4294967295", 4_294_967_295),
            ("700MB", 700_000_000),
            ("4GiB", 4 << 30),
            ("4gib", 4 << 30),
            ("4 GiB", 4 << 30),
            ("4G", 4 << 30),
            ("4.7GB", 4_700_000_000),
            ("4.7Gb", 4_700_000_000),
            ("1.5kB", 1500),
            ("0.5KiB", 512),
            ("1.0005kB", 1000),
            ("2TB", 2_000_000_000_000),
        ] {
            assert_eq!(parse(text).unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "0",
            "0GiB",
            "-1",
            "GiB",
            ".5GiB",
            "5.GiB",
            "1.5",
            "1.5B",
            "4GG",
            "4XB",
            "1e9",
            "1.2.3GB",
            "99999999999PB",
            "٤GB",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
