//! The receipt of a site at the end of `unpack`, and its QR code.

use super::args::{Output, Unpack};
use super::term::Terminal;
use super::{answer, exit_code};
use crate::error::{Code, Error, Result};
use crate::ops::unpack::{Options, Summary};
use crate::ops::{Observer, site};
use crate::sign::SecretKey;
use crate::verify::Verified;

/// Refuses options that cannot be met, before anything is done.
pub(super) fn ready(args: &Unpack, output: Output) -> Result<()> {
    let asked = args.proof.site_receipt.is_some() || args.proof.qr;
    let usage = |text: &str, hint: &str| Err(Error::new(Code::Usage, text).hint(hint));
    if asked && args.dry_run {
        return usage(
            "--dry-run writes nothing, so there is no receipt of this site",
            "leave out --site-receipt and --qr",
        );
    }
    if asked && args.partial {
        return usage(
            "--partial does not unpack everything, so there is no receipt of this site",
            "leave out --site-receipt and --qr until the last volume is here",
        );
    }
    if asked && args.without_referrers {
        return usage(
            "--without-referrers leaves something out, so this registry will not have everything of the bundle",
            "leave it out for a receipt of this site; or describe the registry with mirror-bundle inventory",
        );
    }
    if args.proof.qr && output != Output::Text {
        return usage("--qr draws in a terminal, and -o asks for JSON", "leave out one of them");
    }
    args.proof.site_receipt.as_deref().map_or(Ok(()), |path| site::ready(path, false))
}

/// Looks up everything of the bundle in the registry, and writes the receipt that says that it is there. The error, if
/// there is none although one was asked for.
pub(super) fn attest(
    args: &Unpack,
    verified: &Verified<'_>,
    options: &Options,
    key: Option<&SecretKey>,
    summary: &mut Summary,
    term: &Terminal,
) -> Option<Error> {
    let (target, _) = options.registry.as_ref()?;
    let asked =
        args.proof.site_receipt.is_some() || args.proof.qr || key.is_some() && args.proof.proof.receipt.is_none();
    match made(args, verified, options, key, summary, term) {
        Ok(receipt) => {
            summary.site_receipt = Some(receipt);
            None
        }
        Err(e) if asked || matches!(e.code(), Code::Interrupted | Code::Terminated) => {
            Some(e.state(format!("everything is unpacked to {target}; there is no receipt of this site")))
        }
        Err(e) => {
            term.say("Note", &format!("there is no receipt of this site: {}", e.message()));
            None
        }
    }
}

fn made(
    args: &Unpack,
    verified: &Verified<'_>,
    options: &Options,
    key: Option<&SecretKey>,
    summary: &Summary,
    term: &Terminal,
) -> Result<crate::ops::unpack::SiteReceipt> {
    let Some((target, client)) = &options.registry else {
        return Err(Error::new(Code::Internal, "there is no registry"));
    };
    let hint = "mirror-bundle inventory describes a registry that does not have everything of a bundle";
    let not_all = |what: &str| Err(Error::new(Code::BlobMissing, what.to_owned()).hint(hint));
    if !verified.removed().is_empty() {
        return not_all(
            "something was removed from this bundle, so the registry does not have everything of its index",
        );
    }
    if args.without_referrers && verified.index().images.iter().any(|image| image.subject.is_some()) {
        return not_all("--without-referrers left out attachments, so the registry does not have everything");
    }
    if !summary.refused.is_empty() {
        return not_all("the registry refused attachments, so it does not have everything");
    }
    let index = verified.index();
    let places = site::places(index, target, &options.placing, options.ways.max_nested_paths)?;
    let lacks = site::lacking(client, index, &places, &options.pace, term)?;
    if !lacks.is_empty() {
        return Err(site::missing(&lacks, target).hint("unpack again, and look at the storage of the registry"));
    }
    let digest = summary.index.parse().map_err(|e: crate::oci::Invalid| Error::new(Code::Internal, e.to_string()))?;
    let receipt = site::receipt(index, digest, target, jiff::Timestamp::now(), key)?;
    let bytes = receipt.to_bytes();
    if let Some(path) = &args.proof.site_receipt {
        site::write(path, &bytes, false)?;
    }
    Ok(crate::ops::unpack::SiteReceipt {
        line: receipt.to_string(),
        key: key.map(|key| key.public().fingerprint()),
        text: String::from_utf8_lossy(&bytes).into_owned(),
        file: args.proof.site_receipt.clone(),
    })
}

/// The exit code of a run whose receipt failed.
pub(super) fn code(failed: Option<&Error>, code: u8, term: &Terminal) -> u8 {
    let Some(e) = failed else { return code };
    term.report(e);
    if code == 0 { exit_code(e, term) } else { code }
}

/// What is printed at the end: the receipt itself, as it can be copied into a file.
pub(super) fn print(args: &Unpack, summary: &Summary, term: &Terminal) {
    let Some(receipt) = &summary.site_receipt else { return };
    let unsigned = if receipt.key.is_none() { ", not signed (--sign-key)" } else { "" };
    // Not folded: it is copied.
    answer::document(&format!("\nreceipt of this site, for create --base{unsigned}:\n{}", receipt.text));
    if args.proof.qr {
        match draw(receipt.text.as_bytes(), term.is_colourful()) {
            Some(picture) => answer::document(&picture),
            None => term.warn("the receipt does not fit into a QR code"),
        }
    }
}

/// A QR code as text: two modules in each character, with the margin of four modules that readers need.
///
/// `colours`: black on white, whatever the colours of the terminal are. Without, light modules are drawn, as it is right
/// on a dark terminal; readers of today take both.
pub(super) fn draw(bytes: &[u8], colours: bool) -> Option<String> {
    const MARGIN: usize = 4;
    let code = qrcode::QrCode::with_error_correction_level(bytes, qrcode::EcLevel::L).ok()?;
    let width = code.width();
    let dark = code.to_colors();
    let is_light = |x: usize, y: usize| {
        let inside = |at: usize| at.checked_sub(MARGIN).filter(|at| *at < width);
        let module = inside(x).zip(inside(y)).and_then(|(x, y)| dark.get(y * width + x));
        module.is_none_or(|colour| *colour == qrcode::Color::Light)
    };
    let side = width + 2 * MARGIN;
    let mut out = String::new();
    for y in (0..side).step_by(2) {
        if colours {
            out.push_str("\x1b[97;40m");
        }
        for x in 0..side {
            out.push(match (is_light(x, y), is_light(x, y + 1)) {
                (true, true) => '\u{2588}',
                (true, false) => '\u{2580}',
                (false, true) => '\u{2584}',
                (false, false) => ' ',
            });
        }
        out.push_str(if colours { "\x1b[0m\n" } else { "\n" });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_largest_receipt_fits_into_a_code_whose_modules_are_drawn_two_in_a_character() {
        let bytes = vec![b'x'; crate::site::MAX_RECEIPT];
        let picture = draw(&bytes, false).unwrap();
        let lines: Vec<&str> = picture.lines().collect();
        let width = lines[0].chars().count();
        assert!(lines.iter().all(|line| line.chars().count() == width));
        assert_eq!(lines.len(), width.div_ceil(2));
        assert!(width <= 97, "{width}");
        // The margin, and the corner of a finder pattern: seven dark modules.
        assert!(lines[..2].iter().all(|line| line.chars().all(|c| c == '\u{2588}')));
        let corner: String = lines[2].chars().take(12).collect();
        assert_eq!(corner, "\u{2588}\u{2588}\u{2588}\u{2588} \u{2584}\u{2584}\u{2584}\u{2584}\u{2584} \u{2588}");
        assert!(
            draw(&bytes, true)
                .unwrap()
                .lines()
                .all(|line| line.starts_with("\x1b[97;40m") && line.ends_with("\x1b[0m"))
        );
        assert!(draw(&[0; 3000], false).is_none());
    }
}
