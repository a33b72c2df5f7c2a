//! `mirror-bundle keygen`

use zeroize::Zeroizing;

use super::answer::{self, Table};
use super::args::{Global, Keygen, Output};
use super::passphrase::ask;
use super::term::Terminal;
use crate::error::{Code, Error, Result};
use crate::sign::{SecretKey, write_key_pair};

pub(super) fn run(args: &Keygen, global: &Global, term: &Terminal) -> Result<u8> {
    if args.file.extension().is_some_and(|e| e == "pub") {
        let private = super::answer::quoted(&args.file.with_extension("").display().to_string());
        return Err(Error::new(
            Code::Usage,
            format!("`{}` is the name of a public key; FILE is the private key", args.file.display()),
        )
        .state("no key was made")
        .hint(format!("mirror-bundle keygen {private}")));
    }
    let passphrase = if args.no_passphrase { None } else { Some(new_passphrase(term)?) };
    let key = SecretKey::generate(&args.comment)?;
    let public = write_key_pair(&args.file, &key, passphrase.as_ref().map(|p| p.as_str()))?;
    let fingerprint = key.public().fingerprint();
    match global.output {
        Output::Json | Output::Jsonl => answer::json(
            global,
            &answer::Object([
                ("schema", serde_json::json!("mirror-bundle/keygen/v1")),
                ("private_key", serde_json::json!(args.file.display().to_string())),
                ("public_key_file", serde_json::json!(public.display().to_string())),
                ("public_key", serde_json::json!(key.public().to_line())),
                ("fingerprint", serde_json::json!(fingerprint)),
            ]),
        ),
        Output::Text if global.quiet < 2 => {
            let mut table = Table::default();
            table.row("private", format!("{} (keep it on this host)", args.file.display()));
            table.row("public", public.display().to_string());
            table.row("key", key.public().to_line());
            table.row("fingerprint", &fingerprint);
            answer::text(&table.render());
        }
        Output::Text => {}
    }
    term.next(&[
        "take the public key to the receiving hosts separately from any bundle,".to_owned(),
        "and confirm the fingerprint by phone".to_owned(),
    ]);
    Ok(0)
}

fn new_passphrase(term: &Terminal) -> Result<Zeroizing<String>> {
    let first = ask("Passphrase for the new key: ", term)?;
    if first.is_empty() {
        return Err(Error::new(Code::Usage, "the passphrase is empty")
            .state("no key was made")
            .hint("to store the key unencrypted: --no-passphrase"));
    }
    if ask("The same passphrase again: ", term)? != first {
        return Err(Error::new(Code::Usage, "the two passphrases differ").state("no key was made"));
    }
    Ok(first)
}
