//! `mirror-bundle keygen`, and passphrases.

use std::io::IsTerminal;

use zeroize::Zeroizing;

use super::answer::{self, Table};
use super::args::{Global, Keygen, Output};
use super::term::Terminal;
use crate::error::{Code, Error, Result};
use crate::sign::{SecretKey, write_key_pair};

pub(super) fn run(args: &Keygen, global: &Global, term: &Terminal) -> Result<u8> {
    let passphrase = if args.no_passphrase { None } else { Some(new_passphrase()?) };
    let key = SecretKey::generate(&args.comment)?;
    let public = write_key_pair(&args.file, &key, passphrase.as_ref().map(|p| p.as_str()))?;
    let fingerprint = key.public().fingerprint();
    match global.output {
        Output::Json => answer::json(&serde_json::json!({
            "schema": "mirror-bundle/keygen/v1", "private_key": args.file.display().to_string(),
            "public_key_file": public.display().to_string(), "public_key": key.public().to_line(), "fingerprint": fingerprint,
        })),
        Output::Text => {
            let mut table = Table::default();
            table.row("private", format!("{} (keep it on this host)", args.file.display()));
            table.row("public", public.display().to_string());
            table.row("key", key.public().to_line());
            table.row("fingerprint", &fingerprint);
            answer::text(&table.render());
        }
    }
    term.next(&[
        "bring the public key to the receiving hosts by another way than the bundles,".to_owned(),
        "and read the fingerprint out to whoever installs it".to_owned(),
    ]);
    Ok(0)
}

fn new_passphrase() -> Result<Zeroizing<String>> {
    let first = passphrase("Passphrase for the new key: ")?;
    if first.is_empty() {
        return Err(Error::new(Code::Usage, "the passphrase is empty")
            .state("no key was made")
            .hint("to store the key in the clear: --no-passphrase"));
    }
    if passphrase("The same passphrase again: ")? != first {
        return Err(Error::new(Code::Usage, "the two passphrases differ").state("no key was made"));
    }
    Ok(first)
}

/// Asks on the terminal. Without one there is nobody to ask.
pub(super) fn passphrase(prompt: &str) -> Result<Zeroizing<String>> {
    if !std::io::stderr().is_terminal() && !std::io::stdin().is_terminal() {
        return Err(Error::new(Code::Usage, "a passphrase is needed, and there is no terminal to ask on")
            .hint("run this on a terminal, or use a key without passphrase that only this host can read"));
    }
    rpassword::prompt_password(prompt)
        .map(Zeroizing::new)
        .map_err(|e| Error::io("cannot read a passphrase from", "the terminal", e))
}
