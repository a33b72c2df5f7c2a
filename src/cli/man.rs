//! `mirror-bundle man`: a manual page for the program and for each command, generated from the argument definitions.

use std::io::{IsTerminal, Write};
use std::process::{Command as Process, Stdio};

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::args::{self, Args};
use super::{answer, explain};
use crate::error::{Code, Error, Result};

pub(super) fn run(args: &args::Man) -> Result<u8> {
    let mut whole = Args::command().disable_help_subcommand(true);
    whole.build();
    if let Some(dir) = &args.dir {
        std::fs::create_dir_all(dir).map_err(|e| Error::io("cannot make", dir, e))?;
        for (name, command) in pages(&whole) {
            let path = dir.join(format!("{name}.1"));
            std::fs::write(&path, page(&name, command, &whole)?).map_err(|e| Error::io("cannot write", &path, e))?;
        }
        return Ok(0);
    }
    let wanted = match &args.command {
        Some(command) => format!("mirror-bundle-{command}"),
        None => "mirror-bundle".to_owned(),
    };
    let Some((name, command)) = pages(&whole).into_iter().find(|(name, _)| *name == wanted) else {
        return Err(Error::new(Code::Usage, format!("there is no manual page `{wanted}`"))
            .hint("mirror-bundle -h lists the commands"));
    };
    let text = page(&name, command, &whole)?;
    if !(std::io::stdout().is_terminal() && formatted(&text)) {
        answer::text(&text);
    }
    Ok(0)
}

/// Shows a page with `man`. Returns false if `man` is not installed.
fn formatted(text: &str) -> bool {
    let Ok(mut man) = Process::new("man").args(["-l", "-"]).stdin(Stdio::piped()).spawn() else { return false };
    if let Some(mut input) = man.stdin.take() {
        // A reader that exits early closes the pipe.
        let _ = input.write_all(text.as_bytes());
    }
    man.wait().is_ok_and(|status| status.success())
}

/// The program and every command in the help.
fn pages(whole: &Command) -> Vec<(String, &Command)> {
    let shown = whole.get_subcommands().filter(|sub| !sub.is_hide_set());
    let mut out = vec![("mirror-bundle".to_owned(), whole)];
    out.extend(shown.map(|sub| (format!("mirror-bundle-{}", sub.get_name()), sub)));
    out
}

fn page(name: &str, command: &Command, whole: &Command) -> Result<String> {
    let verb = name.strip_prefix("mirror-bundle-").unwrap_or("");
    let usage = if verb.is_empty() { "mirror-bundle".to_owned() } else { format!("mirror-bundle {verb}") };
    // Unlike the help, a manual page has sections.
    let mut plain = command.clone().bin_name(usage).display_name(name).help_template("");
    let usage = plain.render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage);
    let source = concat!("mirror-bundle ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(plain).title(name.to_uppercase()).section("1").source(source).manual("mirror-bundle");
    let mut out = Vec::new();
    let failed = |e| Error::new(Code::Internal, format!("cannot make a manual page: {e}"));
    man.render_title(&mut out).map_err(failed)?;
    man.render_name_section(&mut out).map_err(failed)?;
    out.extend_from_slice(format!(".SH SYNOPSIS\n{}\n", roff(usage)).as_bytes());
    man.render_description_section(&mut out).map_err(failed)?;
    man.render_options_section(&mut out).map_err(failed)?;
    let mut out = String::from_utf8_lossy(&out).into_owned();
    if verb.is_empty() {
        out.push_str(".SH COMMANDS\n");
        for (page, sub) in pages(whole).into_iter().skip(1) {
            let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
            out.push_str(&format!(".TP\n\\fB{}\\fR(1)\n{}\n", roff(&page), roff(&about)));
        }
    }
    let examples: Vec<&str> =
        EXAMPLES.iter().filter(|(of, _)| verb.is_empty() || *of == verb).map(|(_, text)| *text).collect();
    section(&mut out, "EXAMPLES", &examples.join("\n"));
    section(&mut out, "EXIT STATUS", &explain::exit_status(codes(verb)));
    section(&mut out, "ENVIRONMENT", explain::ENVIRONMENT);
    section(&mut out, "FILES", FILES);
    let others: Vec<String> =
        pages(whole).into_iter().filter(|(page, _)| page != name).map(|(page, _)| format!("{page}(1)")).collect();
    out.push_str(&format!(".SH SEE ALSO\n{}\n", roff(&others.join(", "))));
    Ok(out)
}

/// Preformatted lines.
fn section(out: &mut String, title: &str, text: &str) {
    out.push_str(&format!(".SH \"{title}\"\n.nf\n{}\n.fi\n", roff(text.trim_end())));
}

fn roff(text: &str) -> String {
    let line = |line: &str| {
        let line = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
        if line.starts_with('.') { format!("\\&{line}") } else { line }
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Whether a command can end with this code.
fn codes(verb: &str) -> impl Fn(Code) -> bool + '_ {
    let reads = matches!(
        verb,
        "" | "verify"
            | "unpack"
            | "apply"
            | "inspect"
            | "ls"
            | "sign"
            | "scrub"
            | "recovery"
            | "repair"
            | "split"
            | "join"
            | "expand"
            | "shrink"
    );
    let verifies = matches!(verb, "" | "verify" | "unpack" | "apply" | "sign" | "scrub" | "repair");
    let network = matches!(verb, "" | "create" | "list" | "unpack" | "apply" | "repair");
    let writes = matches!(
        verb,
        "" | "create"
            | "unpack"
            | "apply"
            | "sign"
            | "scrub"
            | "recovery"
            | "repair"
            | "split"
            | "join"
            | "expand"
            | "shrink"
            | "keygen"
    );
    move |code| match code.exit() {
        2..=4 | 130 | 143 => true,
        33 => verifies || verb == "join",
        10..=12 | 30..=32 => reads || verb == "create",
        20..=23 | 42 => verifies,
        40 => verifies || verb == "create" || verb == "check-signature",
        41 => verifies || verb == "create",
        50 | 51 => network,
        52 => writes,
        53 => matches!(verb, "" | "unpack" | "apply"),
        54 => matches!(verb, "" | "unpack"),
        _ => false,
    }
}

/// At least one for each command; `every_example_is_a_command_line_that_parses` checks them.
const EXAMPLES: &[(&str, &str)] = &[
    ("keygen", "mirror-bundle keygen builder.key"),
    (
        "create",
        "mirror-bundle create ocp.tar --sign-key builder.key --release quay.io/openshift-release-dev/ocp-release:4.16.37-x86_64",
    ),
    (
        "create",
        "mirror-bundle create app.tar --sign-key builder.key --image quay.io/team/app:1.2 --manifests deploy/ --platform linux/amd64",
    ),
    ("create", "mirror-bundle create ocp.tar --sign-key builder.key --from-layout layout/ --media fat32"),
    ("create", "mirror-bundle create ocp.tar --sign-key builder.key --channel stable-4.18 --from 4.17.3 --to 4.18.9"),
    ("list", "mirror-bundle list releases --channel stable-4.18 --from 4.17.3"),
    ("verify", "mirror-bundle verify ocp.tar --signer builder.key.pub"),
    ("verify", "mirror-bundle verify /media/usb1 /media/usb2 --trust trust.yaml -o json"),
    ("unpack", "mirror-bundle unpack ocp.tar --signer builder.key.pub --to registry.example.com/ocp/release"),
    ("unpack", "mirror-bundle unpack ocp.tar --signer builder.key.pub --to-dir /srv/mirror"),
    (
        "unpack",
        "mirror-bundle unpack ocp.tar --signer builder.key.pub --to registry.example.com/ocp/release --apply-manifests",
    ),
    ("apply", "mirror-bundle apply ocp.tar --signer builder.key.pub --dry-run"),
    ("apply", "mirror-bundle apply ocp.tar --signer builder.key.pub --context cluster-b"),
    ("inspect", "mirror-bundle inspect ocp.tar"),
    ("ls", "mirror-bundle ls ocp.tar --images"),
    (
        "scrub",
        "mirror-bundle scrub ocp.tar reviewed.tar --trust trust.yaml --sign-key reviewer.key --remove quay.io/team/app:1.0 --reason CHG-20417",
    ),
    (
        "sign",
        "mirror-bundle sign ocp.tar --signer builder.key.pub --sign-key reviewer.key --role reviewer --note CHG-20417",
    ),
    ("recovery", "mirror-bundle recovery ocp.tar --percent 10%"),
    ("repair", "mirror-bundle repair ocp.tar --signer builder.key.pub --from registry.example.com/ocp/release"),
    ("split", "mirror-bundle split ocp.tar /media/usb --media dvd"),
    ("join", "mirror-bundle join ocp.tar /media/usb1 /media/usb2"),
    ("expand", "mirror-bundle expand update.tar full.tar --base ocp.tar"),
    ("shrink", "mirror-bundle shrink full.tar update.tar --base ocp.index.json --sign-key carrier.key"),
    ("create", "mirror-bundle create update.tar --sign-key builder.key --base ocp.index.json --from-layout layout/"),
    ("verify", "mirror-bundle verify update.tar --signer builder.key.pub --base ocp.tar"),
    (
        "check-signature",
        "mirror-bundle check-signature signature-1 --digest sha256:3a516480dfd68e0f87f702b4d7bdd6f6a0acfdac5cd2e9767b838ceede34d70d",
    ),
    ("explain", "mirror-bundle explain blob-missing"),
    ("completions", "mirror-bundle completions bash"),
    ("man", "mirror-bundle man verify"),
    ("man", "mirror-bundle man --dir /usr/local/share/man/man1"),
];

const FILES: &str = "\
~/.config/mirror-bundle/trust.yaml, /etc/mirror-bundle/trust.yaml
      the trust policy, when no flag and no variable names one; see mirror-bundle explain trust
~/.local/state/mirror-bundle/
      what this host has unpacked, so that an older bundle is refused
BUNDLE.partial
      an unfinished bundle; the same command resumes it
BUNDLE.ROLE-KEY.sig, BUNDLE.recovery
      detached signatures, and recovery data, beside a bundle
~/.kube/config
      the clusters for apply, and for unpack --apply-manifests, when no flag and no variable names others
$XDG_RUNTIME_DIR/containers/auth.json, ~/.config/containers/auth.json, ~/.docker/config.json
      credentials of registries, as podman, oc and docker keep them
";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    #[cfg(feature = "cluster")]
    use clap::Parser;

    use super::super::args::COMMANDS;
    use super::*;

    #[cfg(feature = "cluster")]
    #[test]
    fn every_example_is_a_command_line_that_parses() {
        for (verb, line) in EXAMPLES {
            let args = Args::try_parse_from(line.split(' '));
            assert!(args.is_ok() && line.contains(verb), "{line}: {}", args.err().unwrap());
        }
    }

    #[test]
    fn every_command_has_a_page_with_all_sections() {
        let mut whole = Args::command().disable_help_subcommand(true);
        whole.build();
        let pages = pages(&whole);
        for verb in COMMANDS {
            let (name, command) = pages.iter().find(|(name, _)| name.ends_with(&format!("-{verb}"))).unwrap();
            let text = page(name, command, &whole).unwrap();
            for title in ["NAME", "SYNOPSIS", "OPTIONS", "EXAMPLES", "EXIT STATUS", "ENVIRONMENT", "FILES"] {
                assert!(
                    text.contains(&format!(".SH {title}")) || text.contains(&format!(".SH \"{title}\"")),
                    "{verb} {title}"
                );
            }
            assert!(text.contains(&format!("mirror\\-bundle {}", verb.replace('-', "\\-"))), "{verb}: {text}");
        }
    }
}
