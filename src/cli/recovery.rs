//! `mirror-bundle recovery`

use super::answer::{self, Table};
use super::args::{Global, Output, Recovery};
use super::term::Terminal;
use crate::error::Result;
use crate::ops::observer;
use crate::ops::recovery::{Options, Summary, recovery};

pub(super) fn run(args: &Recovery, global: &Global, term: &Terminal) -> Result<u8> {
    let options = Options { percent: args.percent, to: args.to.clone(), force: args.force };
    let summary = recovery(&args.bundle, &options, term)?;
    match global.output {
        Output::Json | Output::Jsonl => answer::json(global, &summary),
        Output::Text if global.quiet < 2 => answer::text(&render(&summary)),
        Output::Text => {}
    }
    Ok(0)
}

fn render(summary: &Summary) -> String {
    let mut table = Table::default();
    table.row("index", &summary.index);
    line(&mut table, summary);
    table.render()
}

/// The line about recovery data, also used by `create`.
pub(super) fn line(table: &mut Table, summary: &Summary) {
    let (slices, slice) = (observer::count(summary.recovery_slices, "slice"), observer::size(summary.slice_size));
    let text = format!("{}, {}: repairs up to {slices} of {slice}", summary.recovery, observer::size(summary.bytes));
    table.row("recovery", text);
}
