//! The validity dates of an X.509 certificate (RFC 5280, 4.1.2.5), parsed only as deep as needed. Only for certificates
//! that the user trusts explicitly: see [`super::tls`].

/// The first and last second (Unix time) at which the certificate is valid; `None` if the dates cannot be parsed.
pub(super) fn of(certificate: &[u8]) -> Option<(u64, u64)> {
    let (0x30, whole, _) = element(certificate)? else { return None };
    let (0x30, mut inside, _) = element(whole)? else { return None };
    // version [0] (optional), serial number, signature algorithm, issuer; then the validity.
    if let (0xa0, _, rest) = element(inside)? {
        inside = rest;
    }
    for expected in [0x02, 0x30, 0x30] {
        let (tag, _, rest) = element(inside)?;
        if tag != expected {
            return None;
        }
        inside = rest;
    }
    let (0x30, validity, _) = element(inside)? else { return None };
    let (from_tag, from, rest) = element(validity)?;
    let (until_tag, until, _) = element(rest)?;
    Some((time(from_tag, from)?, time(until_tag, until)?))
}

/// One DER element: tag, content, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 3 {
            return None;
        }
        let (digits, after) = rest.split_at_checked(count)?;
        length = digits.iter().fold(0, |n, digit| n << 8 | usize::from(*digit));
        rest = after;
    }
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

/// UTCTime `YYMMDDHHMMSSZ` or GeneralizedTime `YYYYMMDDHHMMSSZ`.
fn time(tag: u8, text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (year, rest): (i16, &str) = match (tag, text.len()) {
        (0x17, 12) => {
            let short: i16 = text[..2].parse().ok()?;
            (if short < 50 { 2000 + short } else { 1900 + short }, &text[2..])
        }
        (0x18, 14) => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let part = |at: usize| rest[at..at + 2].parse::<i8>().ok();
    let moment = jiff::civil::DateTime::new(year, part(0)?, part(2)?, part(4)?, part(6)?, part(8)?, 0).ok()?;
    let since = moment.duration_since(jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0));
    Some(since.as_secs().max(0).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_time_are_read() {
        assert_eq!(time(0x17, b"700101000000Z"), Some(0));
        assert_eq!(time(0x17, b"491231235959Z"), Some(2_524_607_999));
        assert_eq!(time(0x18, b"20500101000000Z"), Some(2_524_608_000));
        assert_eq!(time(0x18, b"99991231235959Z"), Some(253_402_300_799));
        for bad in [&b"7001010000Z"[..], b"700101000000", b"701301000000Z", b"70010100000xZ", b"700101000000+0100"] {
            assert_eq!(time(0x17, bad), None);
        }
    }

    #[test]
    fn damaged_certificates_have_no_dates() {
        for bad in
            [&b""[..], b"\x30", b"\x30\x80", b"\x30\x05\x30\x03\x02\x01\x01", b"\x30\x84\xff\xff\xff\xff", b"0000"]
        {
            assert_eq!(of(bad), None);
        }
    }
}
