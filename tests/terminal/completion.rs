//! Completion as in the shell: the script is loaded, and the shell is queried.

use std::path::Path;

use crate::{program, run, skip};

fn script(dir: &Path, shell: &str) {
    let (code, text, _) = run(dir, &["completions", shell]);
    assert_eq!(code, 0);
    std::fs::write(dir.join("script"), text).unwrap();
}

fn output(dir: &Path, shell: &str, args: &[&str]) -> String {
    let out = program::tool(shell, dir).args(args).env("TERM", "dumb").output().unwrap();
    String::from_utf8(out.stdout).unwrap()
}

/// What each shell must offer after these words, and must not.
const CASES: [(&str, &[&str], &[&str]); 9] = [
    ("", &["create", "verify", "check-signature", "man", "help"], &["push"]),
    ("ver", &["verify"], &["unpack"]),
    ("verify --al", &["--allow-unsigned", "--allow-rollback", "--allow-kind"], &["--quick"]),
    ("verify b.tar --al", &["--allow-unsigned"], &[]),
    ("unpack --mirror-set ", &["idms", "icsp", "none"], &[]),
    ("create b.tar --media ", &["fat32", "bd100"], &[]),
    ("-o json verify --qu", &["--quick", "--quiet"], &["--partial"]),
    ("verify -o js", &["json", "jsonl"], &["text"]),
    ("man ver", &["verify"], &[]),
];

fn check(shell: &str, line: &str, offered: &str) {
    let (_, wanted, unwanted) = CASES.iter().find(|(typed, ..)| *typed == line).unwrap();
    let words: Vec<&str> = offered.split_whitespace().collect();
    for word in *wanted {
        assert!(words.contains(word), "{shell}: `{line}` does not offer {word}: {offered}");
    }
    for word in *unwanted {
        assert!(!words.contains(word), "{shell}: `{line}` offers {word}: {offered}");
    }
}

#[test]
fn bash_completes_commands_options_and_values_after_the_command() {
    if !skip::have("bash") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    script(dir.path(), "bash");
    // Like readline: splits the words, and calls the function that `complete` registered.
    let ask = r#"source ./script
        words="$1"; COMP_LINE="mirror-bundle $words"; COMP_POINT=${#COMP_LINE}
        read -ra COMP_WORDS <<< "$COMP_LINE"; [[ $COMP_LINE == *" " ]] && COMP_WORDS+=("")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        function=$(complete -p mirror-bundle | sed 's/.*-F \([^ ]*\) .*/\1/')
        "$function" mirror-bundle "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    for (line, ..) in CASES {
        check("bash", line, &output(dir.path(), "bash", &["--norc", "-c", ask, "bash", line]));
    }
    // For a bundle, readline completes file names: no words are offered.
    assert_eq!(output(dir.path(), "bash", &["--norc", "-c", ask, "bash", "verify "]).trim(), "");
    // `--option=value` is three words to readline.
    let split =
        ask.replace(r#"read -ra COMP_WORDS <<< "$COMP_LINE""#, "COMP_WORDS=(mirror-bundle unpack --mirror-set = i)");
    let offered = output(dir.path(), "bash", &["--norc", "-c", &split, "bash", "unpack --mirror-set=i"]);
    assert_eq!(offered.split_whitespace().collect::<Vec<_>>(), ["idms", "itms", "icsp"]);
}

#[test]
fn fish_completes_commands_options_and_values_after_the_command() {
    if !skip::have("fish") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    script(dir.path(), "fish");
    for (line, ..) in CASES {
        let ask = format!("source ./script; complete -C 'mirror-bundle {line}' | string replace -r '\\t.*' ''");
        let out = program::tool("fish", dir.path()).args(["--no-config", "-c", &ask]).env("HOME", dir.path()).output();
        check("fish", line, &String::from_utf8(out.unwrap().stdout).unwrap());
    }
}

#[test]
fn zsh_completes_commands_options_and_values_after_the_command() {
    if !skip::have("zsh") || !skip::have("python3") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    script(dir.path(), "zsh");
    // zsh completes only on a terminal: this types a line and Tab, and prints the listed words.
    let typist = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/terminal/zsh.py");
    // A line that completes to one word shows no list.
    for (line, ..) in CASES.iter().filter(|(line, ..)| !line.ends_with("ver")) {
        check("zsh", line, &output(dir.path(), "python3", &[typist.to_str().unwrap(), line]));
    }
}
