//! The architecture follows the table in `src/lib.rs`: which module uses which, which prints, and which reads the
//! environment and the clock.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Modules that may print, and read the environment.
const OUTSIDE: [&str; 3] = ["main", "cli", "host"];

/// Modules that may read a clock: a registry client and a scanner need timeouts.
const CLOCKS: [&str; 6] = ["main", "cli", "host", "registry", "parallel", "scan"];

/// The most lines of a file.
const LONGEST: usize = 600;

/// One file of `src/`.
struct Source {
    /// Path below `src/`.
    path: PathBuf,
    /// The top-level module it belongs to.
    module: String,
    /// The number of `super` from it to the root.
    depth: usize,
    /// Its text without comments and tests.
    code: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(below: &str) -> Vec<PathBuf> {
    let found = walkdir::WalkDir::new(root().join(below)).sort_by_file_name().into_iter().map(Result::unwrap);
    found.map(|e| e.into_path()).filter(|p| p.extension().is_some_and(|e| e == "rs")).collect()
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let files = rust_files("src").into_iter().map(|file| {
        let path = file.strip_prefix(&src).unwrap().to_owned();
        let mut names: Vec<String> = path.with_extension("").iter().map(|n| n.to_str().unwrap().to_owned()).collect();
        names.retain(|name| name != "mod");
        Source { module: names[0].clone(), depth: names.len(), code: code(&fs::read_to_string(file).unwrap()), path }
    });
    files.filter(|s| !s.path.iter().any(|name| name == "tests" || name == "tests.rs")).collect()
}

/// Rust text without comments, up to its tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.map(|line| line.split(" // ").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The table of `src/lib.rs`, in order: each module and the modules it may use.
fn table() -> Vec<(String, BTreeSet<String>)> {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let rows = text.lines().skip_while(|line| *line != "//! | module | what it is | uses |").skip(2);
    let rows = rows.map_while(|line| line.strip_prefix("//! | "));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_end_matches('|').split('|').collect();
        let [module, _, uses] = cells[..] else { panic!("not a row of the table: {row}") };
        (quoted(module).next().unwrap().to_owned(), quoted(uses).map(str::to_owned).collect())
    })
    .collect()
}

/// The text between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The names after `crate::`, or after as many `super::` as lead to the root, in any form of path or `use`.
fn used(source: &Source) -> BTreeSet<String> {
    let up = "super::".repeat(source.depth);
    let mut out = BTreeSet::new();
    for from in ["crate::", &up] {
        for (at, _) in source.code.match_indices(from) {
            // `crate` of `pub(in crate::…)` counts; `mycrate::` and a longer row of `super` do not begin here.
            let before = source.code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let rest = &source.code[at + from.len()..];
            match rest.strip_prefix('{') {
                Some(group) => out.extend(heads(group)),
                None => out.extend(name(rest)),
            }
        }
    }
    out
}

fn name(text: &str) -> Option<String> {
    let name: String = text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    name.starts_with(|c: char| c.is_lowercase()).then_some(name)
}

/// The first name of each path in a group whose opening brace was consumed.
fn heads(group: &str) -> Vec<String> {
    let (mut depth, mut part, mut parts) = (1, String::new(), Vec::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => parts.push(std::mem::take(&mut part)),
            _ => part.push(c),
        }
        if depth == 0 {
            break;
        }
    }
    parts.push(part);
    parts.iter().filter_map(|part| name(part)).collect()
}

/// Every dependency between top-level modules, with a file that has it.
fn arrows() -> BTreeMap<(String, String), PathBuf> {
    let sources = sources();
    let modules: BTreeSet<&str> = sources.iter().map(|s| s.module.as_str()).collect();
    let mut out = BTreeMap::new();
    for source in sources.iter().filter(|s| s.module != "lib" && s.module != "main") {
        for to in used(source).iter().filter(|name| modules.contains(name.as_str())) {
            if source.module != *to {
                out.insert((source.module.clone(), to.clone()), source.path.clone());
            }
        }
    }
    out
}

#[test]
fn every_module_is_in_the_table_and_uses_only_modules_above_it() {
    let table = table();
    let mut above = BTreeSet::new();
    for (module, uses) in &table {
        for used in uses {
            assert!(above.contains(used), "`{module}` uses `{used}`, which is not above it in the table of src/lib.rs");
        }
        assert!(above.insert(module.clone()), "`{module}` is in the table twice");
    }
    for source in sources().iter().filter(|s| s.module != "lib" && s.module != "main") {
        assert!(above.contains(&source.module), "src/{} is in no row", source.path.display());
    }
    let there: BTreeSet<String> = sources().into_iter().map(|s| s.module).collect();
    for (module, _) in &table {
        assert!(there.contains(module), "the table has a row for `{module}`, and src/ has no such module");
    }
}

#[test]
fn no_arrow_is_drawn_that_the_table_does_not_have() {
    let table: BTreeMap<String, BTreeSet<String>> = table().into_iter().collect();
    let mut wrong = Vec::new();
    for ((from, to), file) in arrows() {
        let allowed = table.get(&from).is_some_and(|uses| uses.contains(&to));
        if !allowed {
            wrong.push(format!("(\"{from}\", \"{to}\"), // src/{}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "the table in src/lib.rs forbids:\n{}", wrong.join("\n"));
}

#[test]
fn modules_use_each_other_in_no_circle() {
    let arrows = arrows();
    let mut left: BTreeSet<&str> = arrows.keys().flat_map(|(from, to)| [from.as_str(), to.as_str()]).collect();
    // A module that uses none of the remaining ones is in no cycle.
    loop {
        let free = left.iter().copied().find(|module| {
            let mut from_here = arrows.keys().filter(|(from, _)| from == module);
            from_here.all(|(_, to)| !left.contains(to.as_str()))
        });
        match free {
            Some(module) => left.remove(module),
            None => break,
        };
    }
    assert!(left.is_empty(), "a circle among {left:?}");
}

/// The module in a file of `src/`, as names from the root.
fn module_of(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = path.with_extension("").iter().map(|n| n.to_str().unwrap().to_owned()).collect();
    names.retain(|name| name != "mod");
    names
}

/// The paths that begin with `crate::`, `super::` or `self::`, in any form, as names from the root.
fn paths(code: &str, module: &[String]) -> Vec<Vec<String>> {
    let mut out = Vec::new();
    for word in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(word) {
            if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let mut base = if word == "crate::" { Vec::new() } else { module.to_vec() };
            let mut rest = &code[at..];
            while let Some(more) = rest.strip_prefix("super::") {
                base.pop();
                rest = more;
            }
            let rest = rest.strip_prefix("crate::").or_else(|| rest.strip_prefix("self::")).unwrap_or(rest);
            follow(rest, base, &mut out);
        }
    }
    out
}

/// Adds the path that continues here, or each path of a group. Returns the rest.
fn follow<'t>(text: &'t str, mut base: Vec<String>, out: &mut Vec<Vec<String>>) -> &'t str {
    let mut text = text.trim_start();
    if let Some(mut group) = text.strip_prefix('{') {
        loop {
            group = follow(group, base.clone(), out).trim_start();
            match group.chars().next() {
                Some(',') => group = &group[1..],
                Some(_) if !group.starts_with('}') => group = &group[1..],
                end => return if end.is_some() { &group[1..] } else { group },
            }
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    if end > 0 {
        base.push(text[..end].to_owned());
        text = &text[end..];
        if let Some(rest) = text.strip_prefix("::") {
            return follow(rest, base, out);
        }
    }
    out.push(base);
    text
}

#[test]
fn modules_beside_each_other_inside_a_module_form_no_circle() {
    let sources = sources();
    let modules: BTreeSet<Vec<String>> = sources.iter().map(|s| module_of(&s.path)).collect();
    // Below each module, which of its modules names which.
    let mut arrows: BTreeMap<Vec<String>, BTreeSet<(String, String)>> = BTreeMap::new();
    for source in &sources {
        let from = module_of(&source.path);
        for to in paths(&source.code, &from) {
            let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            if let (1.., Some(a), Some(b)) = (shared, from.get(shared), to.get(shared))
                && modules.contains(&to[..=shared])
            {
                arrows.entry(from[..shared].to_vec()).or_default().insert((a.clone(), b.clone()));
            }
        }
    }
    assert!(arrows.contains_key(&vec!["registry".to_owned()]), "no arrow is found");
    let mut circles = Vec::new();
    for (parent, arrows) in arrows {
        let mut left: BTreeSet<&str> = arrows.iter().flat_map(|(from, to)| [from.as_str(), to.as_str()]).collect();
        // A module that uses none of the remaining ones, or is used by none, is in no cycle.
        loop {
            let inside = |(from, to): &&(String, String)| left.contains(from.as_str()) && left.contains(to.as_str());
            let free = left.iter().copied().find(|module| {
                let used = arrows.iter().filter(inside).any(|(_, to)| to == module);
                let uses = arrows.iter().filter(inside).any(|(from, _)| from == module);
                !used || !uses
            });
            match free {
                Some(module) => left.remove(module),
                None => break,
            };
        }
        if !left.is_empty() {
            let inside = arrows.iter().filter(|(from, to)| left.contains(from.as_str()) && left.contains(to.as_str()));
            circles.push(format!("{}: {:?}", parent.join("::"), inside.collect::<Vec<_>>()));
        }
    }
    assert!(circles.is_empty(), "circles:\n{}", circles.join("\n"));
}

#[test]
fn paths_of_siblings_are_found_in_every_form() {
    let module: Vec<String> = ["a", "b"].map(str::to_owned).to_vec();
    let text = "use super::{c, d::{self, E, f}};\nuse crate::g::H;\nfn x() -> super::super::i::J { self::k() }";
    let found: Vec<String> = paths(text, &module).iter().map(|path| path.join("::")).collect();
    assert_eq!(found, ["g::H", "a::c", "a::d::self", "a::d::E", "a::d::f", "i::J", "a::b::k"]);
}

#[test]
fn only_the_command_line_prints() {
    for source in sources().iter().filter(|s| !OUTSIDE.contains(&s.module.as_str())) {
        for word in ["print!(", "println!(", "dbg!(", "io::stdout()", "io::stderr()"] {
            assert!(!source.code.contains(word), "src/{}: {word}", source.path.display());
        }
    }
}

fn reads_environment(code: &str) -> bool {
    code.contains("std::env") || code.contains(" env::")
}

#[test]
fn only_the_outermost_modules_read_the_environment_and_the_clock() {
    for source in &sources() {
        let module = source.module.as_str();
        assert!(
            OUTSIDE.contains(&module) || !reads_environment(&source.code),
            "src/{}: std::env",
            source.path.display()
        );
        for clock in ["SystemTime::now", "Instant::now", "Timestamp::now", "Zoned::now"] {
            let allowed = CLOCKS.contains(&module) || !source.code.contains(clock);
            assert!(allowed, "src/{}: {clock}", source.path.display());
        }
    }
}

#[test]
fn no_file_is_longer_than_what_one_reads_at_once() {
    for file in ["src", "tests"].into_iter().flat_map(rust_files) {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= LONGEST, "{}: {lines} lines", file.display());
    }
}

#[test]
fn imports_are_found_in_every_form() {
    let text = "use crate::oci::{Digest, json};\nuse crate::{Error, sign::{self, key}, verify};\n// crate::sink\n\
                /// [`crate::cli`]\nfn f() -> crate::error::Result<()> { super::super::graph::walk() } // crate::select\n\
                #[cfg(test)]\nmod tests {\n    use crate::ops;\n}\n";
    let source = Source { path: "a/b.rs".into(), module: "a".into(), depth: 2, code: code(text) };
    let found: Vec<String> = used(&source).into_iter().collect();
    assert_eq!(found, ["error", "graph", "oci", "sign", "verify"]);
}
