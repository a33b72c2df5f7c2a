//! `mirror-bundle completions`: what a shell offers after the program's name and after each command.
//!
//! bash has its own script: the one from `clap_complete` does not find the commands of a program with a hyphen in its
//! name, and offers placeholders such as `<BUNDLE>` as words.

use std::fmt::Write;

use clap::builder::PossibleValuesParser;
use clap::{Arg, Command, CommandFactory, ValueHint};
use clap_complete::Shell;

use super::answer;
use super::args::{Args, COMMANDS};

pub(super) fn run(shell: Shell) -> u8 {
    let mut command = shown();
    let text = if shell == Shell::Bash {
        command.build();
        bash(&command)
    } else {
        let mut out = Vec::new();
        clap_complete::generate(shell, &mut command, "mirror-bundle", &mut out);
        let text = String::from_utf8_lossy(&out).into_owned();
        match shell {
            Shell::Fish => text + &fish(&command),
            // With two colons, zsh offers only files after the first file, and no more options.
            Shell::Zsh => text.replace("'*::", "'*:"),
            _ => text,
        }
    };
    answer::text(&text);
    0
}

/// The program without hidden commands, and with `help` as a command that takes one.
fn shown() -> Command {
    let whole = Args::command();
    let help = Command::new("help")
        .about("Show the help of a command")
        .arg(Arg::new("COMMAND").value_parser(PossibleValuesParser::new(COMMANDS)));
    Command::new("mirror-bundle")
        .disable_help_subcommand(true)
        .version(env!("CARGO_PKG_VERSION"))
        .args(whole.get_arguments().cloned())
        .subcommands(whole.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned())
        .subcommand(help)
}

/// The values of positional arguments, which the script of `clap_complete` leaves out.
fn fish(command: &Command) -> String {
    let line = |sub: &Command| {
        let values = sub.get_positionals().flat_map(values).collect::<Vec<_>>().join(" ");
        let name = sub.get_name();
        format!("complete -c mirror-bundle -n \"__fish_mirror_bundle_using_subcommand {name}\" -f -a \"{values}\"\n")
    };
    command.get_subcommands().filter(|sub| sub.get_positionals().any(|arg| !values(arg).is_empty())).map(line).collect()
}

const HEAD: &str = r#"# bash completion for mirror-bundle; made by `mirror-bundle completions bash`
_mirror_bundle() {
    local cur="${COMP_WORDS[COMP_CWORD]}" prev="" verb="" words="" i
    ((COMP_CWORD > 0)) && prev="${COMP_WORDS[COMP_CWORD - 1]}"
    # To bash, --option=value is three words.
    if [[ $cur == "=" ]]; then
        cur=""
    elif [[ $prev == "=" ]] && ((COMP_CWORD > 1)); then
        prev="${COMP_WORDS[COMP_CWORD - 2]}"
    fi
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "${COMP_WORDS[i]}" in
"#;

const TAIL: &str = r#"    esac
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o bashdefault -o default -F _mirror_bundle mirror-bundle
"#;

fn bash(command: &Command) -> String {
    let mut out = HEAD.to_owned();
    let valued = flags(command.get_arguments().filter(|arg| takes_value(arg))).join("|");
    let verbs: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
    // Writing to a string never fails.
    let _ = write!(
        out,
        "            {valued}) ((i++)) ;;\n            {}) verb=\"${{COMP_WORDS[i]}}\"; break ;;\n",
        verbs.join("|")
    );
    out.push_str("        esac\n    done\n    case \"$verb $prev\" in\n");
    for one in std::iter::once(command).chain(command.get_subcommands()) {
        let verb = if std::ptr::eq(one, command) { "" } else { one.get_name() };
        // Hidden options are not offered, and neither are their values.
        for arg in one.get_arguments().filter(|arg| takes_value(arg) && !arg.is_hide_set()) {
            let pattern: Vec<String> = flags(std::iter::once(arg)).iter().map(|f| format!("\"{verb} {f}\"")).collect();
            let values = values(arg);
            let act = match arg.get_value_hint() {
                _ if !values.is_empty() => format!("words=\"{}\"", values.join(" ")),
                // -o default completes file names.
                ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath => "return".to_owned(),
                _ => "compopt +o default +o bashdefault 2>/dev/null; return".to_owned(),
            };
            let _ = writeln!(out, "        {}) {act} ;;", pattern.join("|"));
        }
    }
    out.push_str("        *) case \"$verb\" in\n");
    for one in std::iter::once(command).chain(command.get_subcommands()) {
        let options = flags(one.get_arguments().filter(|arg| !arg.is_positional())).join(" ");
        let (verb, words) = match std::ptr::eq(one, command) {
            true => ("\"\"", verbs.join(" ")),
            false => (one.get_name(), one.get_positionals().flat_map(values).collect::<Vec<_>>().join(" ")),
        };
        let _ = writeln!(
            out,
            "            {verb}) if [[ $cur == -* ]]; then words=\"{options}\"; else words=\"{words}\"; fi ;;"
        );
    }
    out + "        esac ;;\n" + TAIL
}

fn takes_value(arg: &Arg) -> bool {
    !arg.is_positional() && arg.get_action().takes_values()
}

fn values(arg: &Arg) -> Vec<String> {
    arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect()
}

/// The ways to write each of these options: `--output`, `-o`.
fn flags<'a>(args: impl Iterator<Item = &'a Arg>) -> Vec<String> {
    let shown = args.filter(|arg| !arg.is_hide_set());
    shown
        .flat_map(|arg| {
            let long = arg.get_long().map(|long| format!("--{long}"));
            [long, arg.get_short().map(|short| format!("-{short}"))].into_iter().flatten()
        })
        .collect()
}
