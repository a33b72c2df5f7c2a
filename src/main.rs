//! The `mirror-bundle` program: parse, run, exit code.

use std::process::ExitCode;

use mirror_bundle::cli::{self, Terminal};

fn main() -> ExitCode {
    let args = match cli::arguments() {
        Ok(args) => args,
        Err(err) => return cli::wrong_arguments(&err).into(),
    };
    let term = Terminal::new(&args.global);
    let code = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cli::run(&args, &term))) {
        Ok(Ok(code)) => code,
        Ok(Err(err)) => {
            term.report(&err);
            cli::exit_code(&err, &term)
        }
        Err(_) => cli::bug(&term),
    };
    term.ended(code);
    code.into()
}
