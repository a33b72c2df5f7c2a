//! Bars as SVG, by presentation attributes: a policy without inline style lets them through.

use super::block::{Bar, Fill, Picture};
use super::plain::escaped;
use crate::report::size;

/// The width of all, of names, and where bars begin and end at most.
const WIDTH: u64 = 640;
const NAMES: u64 = 256;
const FROM: u64 = 282;
const LONGEST: u64 = 280;
/// The height of a row.
const ROW: u64 = 15;
/// The longest name, in characters.
const NAME: usize = 46;

/// The end of a name: what tells images apart is there.
fn short(name: &str) -> String {
    let shown = crate::escape::name(name);
    let count = shown.chars().count();
    match count > NAME {
        true => format!("…{}", shown.chars().skip(count - NAME + 1).collect::<String>()),
        false => shown,
    }
}

fn fill(fill: Fill, id: char) -> String {
    match fill {
        Fill::White => "#fff".to_owned(),
        Fill::Dark => "#444".to_owned(),
        Fill::Stripes => format!("url(#{id}s)"),
        Fill::Dots => format!("url(#{id}d)"),
    }
}

/// Tenths of a unit, without floating point: the same on every machine.
fn tenths(n: u64) -> String {
    format!("{}.{}", n / 10, n % 10)
}

fn total(bar: &Bar) -> u64 {
    bar.parts.iter().map(|(_, bytes)| *bytes).fold(0, u64::saturating_add)
}

/// Writes a picture.
pub(super) fn svg(picture: &Picture, out: &mut dyn FnMut(&str)) {
    let (id, bars) = (picture.id, &picture.bars);
    let height = bars.len() as u64 * ROW + 8;
    out(&format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"{id}t\"><title id=\"{id}t\">{}</title>\
         <defs><pattern id=\"{id}s\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" \
         patternTransform=\"rotate(45)\"><rect width=\"5\" height=\"5\" fill=\"#fff\"/>\
         <rect width=\"2.4\" height=\"5\" fill=\"#111\"/></pattern>\
         <pattern id=\"{id}d\" width=\"4\" height=\"4\" patternUnits=\"userSpaceOnUse\">\
         <rect width=\"4\" height=\"4\" fill=\"#fff\"/><circle cx=\"2\" cy=\"2\" r=\".9\" fill=\"#111\"/></pattern></defs>\
         <g font-family=\"Liberation Sans,Arial,sans-serif\" font-size=\"9\" fill=\"#111\">\n",
        escaped(picture.title)
    ));
    let most = bars.iter().map(total).max().unwrap_or(0).max(1);
    for (at, bar) in (0u64..).zip(bars) {
        let (y, base) = (at * ROW + 4, at * ROW + 13);
        out(&format!("<text x=\"{NAMES}\" y=\"{base}\" text-anchor=\"end\">{}</text>", escaped(&short(&bar.name))));
        if !bar.mark.is_empty() {
            out(&format!("<text x=\"264\" y=\"{base}\" font-weight=\"700\">{}</text>", escaped(bar.mark)));
        }
        let mut x = FROM * 10;
        for (how, bytes) in &bar.parts {
            let width = u64::try_from(u128::from(*bytes) * u128::from(LONGEST * 10) / u128::from(most)).unwrap_or(0);
            if *bytes == 0 {
                continue;
            }
            let (from, wide) = (tenths(x), tenths(width.max(6)));
            out(&format!(
                "<rect x=\"{from}\" y=\"{y}\" width=\"{wide}\" height=\"11\" fill=\"{}\" stroke=\"#111\" \
                 stroke-width=\".7\"/>",
                fill(*how, id)
            ));
            x += width.max(6);
        }
        out(&format!("<text x=\"{}\" y=\"{base}\">{}</text>\n", tenths(x + 50), size(total(bar))));
    }
    out("</g></svg>");
}
