//! Arguments in, answers out. The only module that prints.

mod answer;
#[allow(rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags, reason = "help is plain text")]
pub mod args;
mod check_signature;
mod create;
mod escape;
mod explain;
mod inputs;
mod inspect;
mod keygen;
mod recovery;
mod repair;
mod sign;
mod size;
mod split;
pub mod term;
mod unpack;
mod verify;
mod volumes;

use std::io::Write;

use clap::CommandFactory;

pub use args::Args;
pub use term::Terminal;

use crate::error::{Code, Error, Result};
use crate::ops::Observer;
use args::Command;

/// Runs a command. The value is the exit code of a verdict; an error has its own.
pub fn run(args: &Args, term: &Terminal) -> Result<u8> {
    let global = &args.global;
    match &args.command {
        Command::Create(create) => create::run(create, global, term),
        Command::Verify(verify) => verify::run(verify, global, term),
        Command::Unpack(unpack) => unpack::run(unpack, global, term),
        Command::Inspect(inspect) => inspect::run(inspect, global),
        Command::Ls(ls) => inspect::ls(ls, global, &|text| term.say("Note", text)),
        Command::Sign(args) => sign::run(args, global, term),
        Command::Recovery(args) => recovery::run(args, global, term),
        Command::Repair(args) => repair::run(args, global, term),
        Command::Split(args) => split::run(args, global, term),
        Command::Join(args) => split::join(args, global, term),
        Command::Keygen(keygen) => keygen::run(keygen, global, term),
        Command::CheckSignature(check) => check_signature::run(check, global, term),
        Command::Explain(explain) => explain::run(&explain.code),
        Command::Completions(completions) => {
            let mut out = Vec::new();
            clap_complete::generate(completions.shell, &mut Args::command(), "mirror-bundle", &mut out);
            answer::text(&String::from_utf8_lossy(&out));
            Ok(0)
        }
        Command::Man(man) => {
            clap_mangen::generate_to(Args::command(), &man.dir).map_err(|e| Error::io("cannot write", &man.dir, e))?;
            Ok(0)
        }
        Command::Push(_) => {
            Err(Error::new(Code::Usage, "no command `push`")
                .hint("mirror-bundle unpack BUNDLE --to REGISTRY/REPOSITORY"))
        }
    }
}

/// Shows what clap says: help and version on standard output, else what is wrong with the arguments.
///
/// An argument can be the name of a file on a hostile medium (`verify *`): with one that could rule a terminal, the
/// message is shown without colours, and escaped (security E10).
pub fn wrong_arguments(err: &clap::Error) -> u8 {
    let args: Vec<String> = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    if !err.use_stderr() || args.iter().all(|arg| escape::escape(arg) == *arg) {
        let _ = err.print();
    } else {
        let mut text = err.render().to_string();
        // First whole arguments and values, in which a line break is none.
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

/// The exit code of an error: of an interruption, that of the signal, whoever noticed it.
pub fn exit_code(err: &Error, term: &Terminal) -> u8 {
    let signal = term.stopped().filter(|_| err.code() == Code::Interrupted);
    signal.unwrap_or(err.code()).exit()
}

/// Says that this program has a bug; the panic itself was printed before.
pub fn bug(term: &Terminal) -> u8 {
    term.report(
        &Error::new(Code::Internal, "mirror-bundle has a bug and stopped")
            .state("nothing incomplete is under a final name or tag")
            .hint("please report it with the command, the lines above and `mirror-bundle --version`"),
    );
    Code::Internal.exit()
}
