//! The command line: arguments in, results out. The only module that prints.

mod answer;
#[cfg(feature = "cluster")]
mod apply;
#[allow(rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags, reason = "help is plain text")]
pub mod args;
mod check_signature;
mod completions;
mod create;
mod desk;
mod diff;
mod escape;
mod explain;
mod files;
mod form;
mod inputs;
mod inspect;
#[cfg(feature = "registry")]
mod inventory;
mod keygen;
mod list;
mod man;
mod passphrase;
mod progress;
mod proof;
mod recovery;
mod repair;
mod report;
mod sbom;
mod scan;
mod scrub;
mod sign;
#[cfg(feature = "registry")]
mod site;
mod site_check;
mod size;
mod split;
pub mod term;
mod unpack;
mod verify;
mod volumes;

use std::io::Write;

pub use args::Args;
pub use term::Terminal;

use crate::error::{Code, Error, Result};
use crate::ops::Observer;
use args::Command;

/// The arguments of this process.
///
/// As a plugin (`kubectl-mirror_bundle`, `oc-mirror_bundle`) the program calls itself what the user typed:
/// `kubectl mirror-bundle`.
pub fn arguments() -> std::result::Result<Args, clap::Error> {
    use clap::{CommandFactory, FromArgMatches};
    let mut command = Args::command();
    let called = std::env::args_os().next().unwrap_or_default();
    let called = std::path::Path::new(&called).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if let Some(host) = ["kubectl", "oc"].into_iter().find(|host| called == format!("{host}-mirror_bundle")) {
        command = command.bin_name(format!("{host} mirror-bundle"));
    }
    let matches = command.try_get_matches_from_mut(scrub::spelled(std::env::args_os().collect()))?;
    Args::from_arg_matches(&matches).map_err(|err| err.format(&mut command))
}

/// Runs a command. Returns the exit code of a verdict; an error has its own.
pub fn run(args: &Args, term: &Terminal) -> Result<u8> {
    let global = &args.global;
    term.ready()?;
    let code = dispatch(args, global, term)?;
    // Half an answer is not taken for all of it.
    match answer::lost().filter(|_| code == 0) {
        None => Ok(code),
        Some(e) => Err(Error::io("cannot write", std::path::Path::new("standard output"), e)
            .state("the command was done; its answer is not complete")),
    }
}

fn dispatch(args: &Args, global: &args::Global, term: &Terminal) -> Result<u8> {
    match &args.command {
        Command::Create(create) => create::run(create, global, term),
        Command::Verify(verify) => verify::run(verify, global, term),
        Command::Unpack(unpack) => unpack::run(unpack, global, term),
        #[cfg(feature = "cluster")]
        Command::Apply(apply) => apply::run(apply, global, term),
        Command::Inspect(inspect) => inspect::run(inspect, global),
        Command::Ls(ls) if ls.files.is_some() => files::run(ls, global, term),
        Command::Ls(ls) => inspect::ls(ls, global, &|text| term.unverified(text)),
        Command::Cat(cat) => desk::cat(cat, term),
        Command::Diff(diff) => diff::run(diff, global, term),
        Command::Extract(extract) => desk::extract(extract, global, term),
        Command::Sbom(args) => sbom::run(args, global, term),
        Command::Scan(args) => scan::run(args, global, term),
        Command::Report(args) => report::run(args, global, term),
        Command::List(args) => list::run(args, global, term),
        Command::Sign(args) => sign::run(args, global, term),
        Command::Scrub(args) => scrub::run(args, global, term),
        Command::Recovery(args) => recovery::run(args, global, term),
        Command::Repair(args) => repair::run(args, global, term),
        Command::Split(args) => split::run(args, global, term),
        Command::Join(args) => split::join(args, global, term),
        Command::Expand(args) => form::expanded(args, global, term),
        Command::Shrink(args) => form::shrunk(args, global, term),
        Command::Keygen(keygen) => keygen::run(keygen, global, term),
        Command::CheckSignature(check) => check_signature::run(check, global, term),
        Command::Receipt(args) => proof::receipt(args, global, term),
        #[cfg(feature = "registry")]
        Command::Inventory(args) => inventory::run(args, global, term),
        Command::Log(args) => proof::log(args, global),
        Command::Explain(explain) => explain::run(&explain.code, global),
        Command::Completions(_) | Command::Man(_) if global.output != args::Output::Text => {
            Err(Error::new(Code::Usage, "completions and manual pages have no JSON form").hint("leave out -o"))
        }
        Command::Completions(completions) => Ok(completions::run(completions.shell)),
        Command::Man(man) => man::run(man),
        Command::Push(_) => {
            Err(Error::new(Code::Usage, "no command `push`")
                .hint("mirror-bundle unpack BUNDLE --to REGISTRY/REPOSITORY"))
        }
    }
}

/// Shows clap's messages: help and version on standard output, errors in the arguments on standard error.
///
/// An argument can be a file name from a hostile medium (`verify *`): if it could control a terminal, the message is
/// shown without colours, and escaped (security E10).
pub fn wrong_arguments(err: &clap::Error) -> u8 {
    if err.use_stderr() && wants_json() {
        let _ = writeln!(std::io::stderr(), "{}", usage_error(err));
        return u8::try_from(err.exit_code()).unwrap_or(2);
    }
    let args: Vec<String> = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    if !err.use_stderr() || args.iter().all(|arg| escape::escape(arg) == *arg) {
        let _ = err.print();
    } else {
        let mut text = err.render().to_string();
        // First replace whole arguments and values, in which a line break is not a separator.
        for part in args.iter().flat_map(|arg| [Some(arg.as_str()), arg.split_once('=').map(|(_, value)| value)]) {
            let part = part.unwrap_or_default();
            if !part.is_empty() {
                text = text.replace(part, &escape::escape(part));
            }
        }
        let lines: Vec<String> = text.lines().map(escape::escape).collect();
        let _ = writeln!(std::io::stderr(), "{}", lines.join("\n"));
    }
    u8::try_from(err.exit_code()).unwrap_or(2)
}

/// Whether JSON was requested, in arguments that cannot be parsed.
fn wants_json() -> bool {
    let args: Vec<String> = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let json = |value: &str| matches!(value, "json" | "jsonl");
    args.windows(2).any(|two| matches!(two[0].as_str(), "-o" | "--output") && json(&two[1]))
        || args.iter().filter_map(|arg| arg.strip_prefix("--output=").or(arg.strip_prefix("-o"))).any(json)
}

/// Converts clap's message into the one-line form of other errors.
fn usage_error(err: &clap::Error) -> String {
    let text = err.render().to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let message = lines.next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let (help, facts): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with("For more information"));
    let facts: Vec<String> = facts.into_iter().map(str::to_owned).collect();
    answer::failure(Code::Usage, &message, &facts, None, help.first().copied())
}

/// The exit code of an error; for an interruption, that of the signal, wherever it was noticed.
pub fn exit_code(err: &Error, term: &Terminal) -> u8 {
    let signal = term.stopped().filter(|_| err.code() == Code::Interrupted);
    signal.unwrap_or(err.code()).exit()
}

/// Reports a bug in this program; the panic itself was printed before.
pub fn bug(term: &Terminal) -> u8 {
    term.report(
        &Error::new(Code::Internal, "mirror-bundle has a bug and stopped")
            .state("nothing incomplete is under a final name or tag")
            .hint("please report it with the command, the lines above and `mirror-bundle --version`"),
    );
    Code::Internal.exit()
}
