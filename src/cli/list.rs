//! `mirror-bundle list`: what an update graph has.

use super::answer;
use super::args::{Global, List, Listed, Output};
use super::escape::escape;
use super::term::Terminal;
use crate::error::Result;
use crate::ops::list::{Listing, list};
use crate::ops::observer;
use crate::source::Network;

pub(super) fn run(args: &List, global: &Global, term: &Terminal) -> Result<u8> {
    let Listed::Releases = args.what;
    #[cfg(feature = "registry")]
    let client = super::inputs::client(&args.registry, crate::registry::Side::Source, term)?;
    #[cfg(feature = "registry")]
    let network: Option<&dyn Network> = Some(&client);
    #[cfg(not(feature = "registry"))]
    let network: Option<&dyn Network> = None;
    let listing = list(&args.updates(), network, term)?;
    match global.output {
        Output::Json | Output::Jsonl => answer::json(global, &listing),
        Output::Text if global.quiet < 2 => answer::text(&render(&listing)),
        Output::Text => {}
    }
    Ok(0)
}

/// One channel or release per line, its name first.
fn render(listing: &Listing) -> String {
    let mut out = String::new();
    let wide = listing.channels.iter().map(|c| c.name.len()).chain(listing.releases.iter().map(|r| r.version.len()));
    let wide = wide.max().unwrap_or(0);
    for channel in &listing.channels {
        let line = format!("{:wide$}  {}", escape(&channel.name), observer::count(channel.releases, "release"));
        out.push_str(&format!("{line}\n"));
    }
    for release in &listing.releases {
        let more = match &release.reached {
            None => escape(release.url.as_deref().or(release.payload.as_deref()).unwrap_or_default()),
            Some(way) => {
                let how = format!("{}, via {}", observer::count(way.updates, "update"), escape(&way.via));
                let risks: Vec<String> = way.risks.iter().map(|risk| escape(&risk.name)).collect();
                if risks.is_empty() { how } else { format!("{how}; risks: {}", risks.join(", ")) }
            }
        };
        out.push_str(format!("{:wide$}  {more}", escape(&release.version)).trim_end());
        out.push('\n');
    }
    let risks: std::collections::BTreeSet<String> = listing
        .releases
        .iter()
        .filter_map(|release| release.reached.as_ref())
        .flat_map(|way| &way.risks)
        .map(|risk| escape(&risk.sentence()))
        .collect();
    if !risks.is_empty() {
        out.push('\n');
        risks.iter().for_each(|risk| out.push_str(&format!("{risk}\n")));
    }
    out
}
