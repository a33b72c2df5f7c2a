//! The receipt of a site: one line, short enough to be typed, with its signature in one QR code (MB-SIT-01).

use std::fmt;

use super::{NAMESPACE, time};
use crate::error::{Code, Error, Result};
use crate::oci::{Digest, Repository};
use crate::sign::{MessageHash, SecretKey, sign};

/// The most bytes of a receipt with its signature.
pub const MAX_RECEIPT: usize = 700;
/// What it begins with.
pub const PREFIX: &str = "mbr1 ";

/// What the line says: every blob of that index is readable in that registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Digest of the index of the bundle.
    pub index: Digest,
    /// Its number in its series.
    pub sequence: Option<u64>,
    /// When it was so, `YYYY-MM-DDTHH:MM:SSZ`.
    pub created: String,
    /// The registry and repository that the bundle was unpacked to.
    pub registry: Repository,
    /// The armored signature, if it has one.
    pub signature: Option<Vec<u8>>,
}

impl fmt::Display for Receipt {
    /// The line, without its line feed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sequence = self.sequence.map_or_else(|| "-".to_owned(), |n| n.to_string());
        write!(f, "{PREFIX}{} {sequence} {} {}", self.index, self.created, self.registry)
    }
}

impl Receipt {
    /// The bytes that are signed: the line with its line feed.
    pub fn line(&self) -> Vec<u8> {
        format!("{self}\n").into_bytes()
    }

    /// Its digest: that of the line, whoever signed it.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.line())
    }

    /// The same, signed.
    ///
    /// # Errors
    /// [`Code::Usage`] when it would be too long, because of the name of the registry.
    pub fn sign(self, key: &SecretKey) -> Result<Receipt> {
        let armored = sign(key, NAMESPACE, &MessageHash::of(&self.line()));
        let signed = Receipt { signature: Some(armored.into_bytes()), ..self };
        match signed.to_bytes().len() {
            ..=MAX_RECEIPT => Ok(signed),
            n => Err(Error::new(Code::Usage, format!("the receipt would have {n} bytes; at most {MAX_RECEIPT} fit"))
                .fact(format!("for `{}`", signed.registry))),
        }
    }

    /// The whole: the line, then the signature.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.line();
        bytes.extend_from_slice(self.signature.as_deref().unwrap_or_default());
        bytes
    }

    /// Reads a receipt. Lines may end in CR LF, and empty lines may follow: it may have been typed, or come out of a QR
    /// code.
    ///
    /// # Errors
    /// [`Code::Malformed`] with what is wrong and where.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Receipt> {
        read(bytes).map_err(|why| Error::new(Code::Malformed, format!("the receipt `{name}` is damaged: {why}")))
    }
}

fn read(bytes: &[u8]) -> Result<Receipt, String> {
    if bytes.len() > MAX_RECEIPT + 64 {
        return Err(format!("it has more than {MAX_RECEIPT} bytes"));
    }
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.is_ascii()).ok_or("it is not ASCII text")?;
    let text = text.replace("\r\n", "\n");
    let text = text.trim_end_matches('\n');
    if text.len() + 1 > MAX_RECEIPT {
        return Err(format!("it has {} bytes, over {MAX_RECEIPT}", text.len() + 1));
    }
    let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
    let fields: Vec<&str> = line.split(' ').collect();
    let [version, index, sequence, created, registry] = fields[..] else {
        return Err(format!("line 1 has {} fields, not 5", fields.len()));
    };
    if version != PREFIX.trim_end() {
        return Err("line 1 does not begin with mbr1".to_owned());
    }
    let index = index.parse().map_err(|e: crate::oci::Invalid| format!("field 2, the index: {e}"))?;
    let sequence = match sequence {
        "-" => None,
        text => Some(
            text.parse::<u64>()
                .ok()
                .filter(|n| n.to_string() == text)
                .ok_or_else(|| "field 3, the sequence, is neither a number nor -".to_owned())?,
        ),
    };
    time(created).ok_or("field 4, the time, is not written like 2026-11-28T21:00:00Z")?;
    let repository: Repository =
        registry.parse().map_err(|e: crate::oci::Invalid| format!("field 5, the registry: {e}"))?;
    let receipt = Receipt { index, sequence, created: created.to_owned(), registry: repository, signature: None };
    if receipt.to_string() != line {
        return Err("line 1 is not in its one form".to_owned());
    }
    let rest = rest.trim_matches('\n');
    let signature = (!rest.is_empty()).then(|| format!("{rest}\n").into_bytes());
    if let Some(armored) = &signature {
        crate::sign::Signature::parse(armored).map_err(|e| format!("its signature, from line 2: {e}"))?;
    }
    Ok(Receipt { signature, ..receipt })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::site::{Receivers, check};

    fn receipt(registry: &str) -> Receipt {
        Receipt {
            index: Digest::of(b"index"),
            sequence: Some(u64::MAX),
            created: "2026-11-28T21:00:00Z".into(),
            registry: registry.parse().unwrap(),
            signature: None,
        }
    }

    fn key() -> SecretKey {
        SecretKey::from_seed(&[7; 32], "site")
    }

    #[test]
    fn a_receipt_is_one_line_and_its_signature_within_700_bytes() {
        let signed = receipt("registry.example:5000/ocp").sign(&key()).unwrap();
        let bytes = signed.to_bytes();
        assert!(bytes.len() < 500, "{}", bytes.len());
        let text = String::from_utf8(bytes.clone()).unwrap();
        let first = format!(
            "mbr1 {} 18446744073709551615 2026-11-28T21:00:00Z registry.example:5000/ocp\n-----BEGIN SSH SIGNATURE-----\n",
            Digest::of(b"index")
        );
        assert!(text.starts_with(&first), "{text}");
        assert_eq!(Receipt::parse("r", &bytes).unwrap(), signed);
        // As typed on another system, or without the last line feed.
        for same in [text.replace('\n', "\r\n"), text.trim_end().to_owned(), format!("{text}\n\n")] {
            assert_eq!(Receipt::parse("r", same.as_bytes()).unwrap(), signed, "{same}");
        }
        let line = receipt("registry.example:5000/ocp");
        assert_eq!(Receipt::parse("r", &line.line()).unwrap(), line);
        assert_eq!(line.digest(), signed.digest());
        let none = Receipt { sequence: None, ..line };
        assert!(none.to_string().contains(" - 2026"));
        assert_eq!(Receipt::parse("r", &none.line()).unwrap(), none);
    }

    #[test]
    fn a_name_of_a_registry_that_does_not_fit_is_refused_when_written_and_a_longer_receipt_when_read() {
        let named = |n: usize| receipt(&format!("{}.example:65535/{}", "host-".repeat(12) + "x", "a".repeat(n)));
        let fits = (1..=255).take_while(|n| named(*n).sign(&key()).is_ok()).last().unwrap();
        assert!(fits < 255, "the longest names do not fit");
        let longest = named(fits).sign(&key()).unwrap().to_bytes();
        assert_eq!(longest.len(), MAX_RECEIPT);
        let err = named(fits + 1).sign(&key()).unwrap_err();
        assert_eq!((err.code(), err.message()), (Code::Usage, "the receipt would have 701 bytes; at most 700 fit"));
        assert!(Receipt::parse("r", &longest).is_ok());
        let long = format!("{}{}", String::from_utf8(longest).unwrap(), "x".repeat(MAX_RECEIPT));
        let err = Receipt::parse("r", long.as_bytes()).unwrap_err();
        assert_eq!(
            (err.code(), err.message()),
            (Code::Malformed, "the receipt `r` is damaged: it has more than 700 bytes")
        );
    }

    #[test]
    fn every_damaged_field_is_named_and_every_changed_bit_is_noticed() {
        let good = receipt("reg.example/ocp").to_string();
        for (bad, why) in [
            (good.replace("mbr1", "mbr2"), "does not begin with mbr1"),
            (good.replace("sha256:", "sha512:"), "field 2, the index"),
            (good.replace(" 18446744073709551615 ", " 007 "), "field 3, the sequence"),
            (good.replace(" 18446744073709551615 ", " 18446744073709551616 "), "field 3, the sequence"),
            (good.replace("21:00:00Z", "21:00Z"), "field 4, the time"),
            (good.replace("2026-11-28T", "2026-13-28T"), "field 4, the time"),
            (good.replace("reg.example/ocp", "REG/../x"), "field 5, the registry"),
            (good.replace("reg.example/ocp", ""), "field 5, the registry"),
            (format!("{good} more"), "line 1 has 6 fields, not 5"),
            (good.replace(' ', "  "), "fields, not 5"),
            (format!("{good}\nnot a signature"), "its signature, from line 2"),
            ("mbr1 \u{e9}".to_owned(), "not ASCII"),
            (String::new(), "1 fields"),
        ] {
            let err = Receipt::parse("r", bad.as_bytes()).unwrap_err();
            assert_eq!(err.code(), Code::Malformed);
            assert!(err.message().contains(why), "{bad}: {}", err.message());
        }
        let bytes = receipt("reg.example/ocp").sign(&key()).unwrap().to_bytes();
        let keys = [key().public().clone()];
        let holds = |bytes: &[u8]| {
            let read = Receipt::parse("r", bytes)?;
            check("r", &read.line(), read.signature.as_deref(), Receivers::Keys(&keys))
        };
        assert!(holds(&bytes).unwrap().trusted);
        for at in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[at / 8] ^= 1 << (at % 8);
            assert!(holds(&bad).is_err(), "bit {at}");
        }
    }
}
