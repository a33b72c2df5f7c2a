//! The text form of OpenSSH signatures and private keys: base64 between a BEGIN and an END line.
//!
//! Written as `ssh-keygen` writes it (70 columns). Read strictly: one BEGIN line first, one END line last, LF line
//! ends, full lines of one width (at most 76), canonical base64, nothing else (MB-SIG-05). Part of [`crate::sign`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Columns that `ssh-keygen` writes.
const WRITTEN_WIDTH: usize = 70;

/// The widest line that is read (RFC 7468 text has 64, MIME 76).
const MAX_WIDTH: usize = 76;

/// `bytes` as text between the two lines with this label.
pub(super) fn encode(label: &str, bytes: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(bytes));
    let mut out = String::with_capacity(body.len() + body.len() / WRITTEN_WIDTH + 2 * label.len() + 40);
    out.push_str("-----BEGIN ");
    out.push_str(label);
    out.push_str("-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(WRITTEN_WIDTH));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out.push_str("-----END ");
    out.push_str(label);
    out.push_str("-----\n");
    Zeroizing::new(out)
}

/// The bytes in `text`, or the reason why it is refused. The caller has limited the length of `text`.
pub(super) fn decode(label: &str, text: &[u8]) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    if text.contains(&b'\r') {
        return Err("it has CR line ends, so it was changed in transfer");
    }
    let body = text
        .strip_prefix(b"-----BEGIN ")
        .and_then(|rest| rest.strip_prefix(label.as_bytes()))
        .and_then(|rest| rest.strip_prefix(b"-----\n"))
        .ok_or("it does not start with its BEGIN line")?;
    let body = body
        .strip_suffix(b"-----\n")
        .and_then(|rest| rest.strip_suffix(label.as_bytes()))
        .and_then(|rest| rest.strip_suffix(b"-----END "))
        .ok_or("it does not end with its END line")?;
    let body = body.strip_suffix(b"\n").ok_or("it has no content")?;
    let lines: Vec<&[u8]> = body.split(|byte| *byte == b'\n').collect();
    let width = lines.first().map_or(0, |line| line.len());
    let (last, full) = lines.split_last().ok_or("it has no content")?;
    if width == 0 || width > MAX_WIDTH || last.is_empty() || last.len() > width {
        return Err("its lines are empty, too long or of different widths");
    }
    if full.iter().any(|line| line.len() != width) {
        return Err("its lines are empty, too long or of different widths");
    }
    let joined = Zeroizing::new(lines.concat());
    // The decoder requires padding and refuses non-zero bits after the last byte.
    STANDARD.decode(joined.as_slice()).map(Zeroizing::new).map_err(|_| "it is not canonical base64")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text() -> String {
        encode("X", &[7; 100]).to_string()
    }

    #[test]
    fn what_is_written_is_read_at_every_length() {
        for length in 1..300 {
            let bytes: Vec<u8> = (0..length).map(|n| n as u8).collect();
            assert_eq!(decode("X", encode("X", &bytes).as_bytes()).unwrap().as_slice(), bytes);
        }
    }

    #[test]
    fn other_widths_up_to_76_are_read() {
        let body = STANDARD.encode([7; 100]);
        for (width, good) in [(64, true), (76, true), (77, false)] {
            let lines: Vec<&str> =
                body.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap()).collect();
            let text = format!("-----BEGIN X-----\n{}\n-----END X-----\n", lines.join("\n"));
            assert_eq!(decode("X", text.as_bytes()).is_ok(), good, "{width}");
        }
    }

    #[test]
    fn anything_but_the_one_form_is_refused() {
        let good = text();
        assert!(decode("X", good.as_bytes()).is_ok());
        let one_line = STANDARD.encode([7; 100]);
        for bad in [
            String::new(),
            format!("\n{good}"),
            format!(" {good}"),
            format!("\u{feff}{good}"),
            format!("{good}\n"),
            format!("{good}x"),
            format!("{good}{good}"),
            good.trim_end().to_owned(),
            good.replace('\n', "\r\n"),
            good.replace("BEGIN X", "BEGIN Y"),
            good.replace("END X", "END Y"),
            good.replace("Bw\nc", "Bw \nc"),
            good.replace("-----\nBw", "-----\n\nBw"),
            good.replace("-----\nBw", "-----\nComment: x\n\nBw"),
            good.replacen("Bw", "B\nw", 1),
            good.replace("Bw==", "Bw="),
            good.replace("Bw==", "Bw"),
            good.replace("Bw==", "Bx=="),
            good.replacen("Bwc", "B-c", 1),
            "-----BEGIN X-----\n-----END X-----\n".to_owned(),
            "-----BEGIN X-----\n\n-----END X-----\n".to_owned(),
            format!("-----BEGIN X-----\n{one_line}\n-----END X-----\n"),
        ] {
            assert_ne!(bad, good);
            assert!(decode("X", bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
