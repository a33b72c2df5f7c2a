//! Arguments in, answers out. The only module that prints.

mod answer;
pub mod args;
mod check_signature;
mod create;
mod escape;
mod explain;
mod inputs;
mod inspect;
mod keygen;
mod sign;
pub mod term;
mod unpack;
mod verify;

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

/// Says that this program has a bug; the panic itself was printed before.
pub fn bug(term: &Terminal) -> u8 {
    term.report(
        &Error::new(Code::Internal, "mirror-bundle has a bug and stopped")
            .state("nothing incomplete is under a final name or tag")
            .hint("please report it with the command, the lines above and `mirror-bundle --version`"),
    );
    Code::Internal.exit()
}
