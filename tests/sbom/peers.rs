//! Databases that their own programs made, and those programs' lists of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use mirror_bundle::packages::{Package, Reading, dpkg, program, rpm};

use crate::support::skip::{have, skip};

#[track_caller]
fn output(command: &mut Command) -> String {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn rpm_line(package: &Package) -> String {
    let epoch = package.epoch.map_or_else(|| "(none)".to_owned(), |epoch| epoch.to_string());
    let text = |t: &Option<String>| t.clone().unwrap_or_else(|| "(none)".to_owned());
    format!("{}|{epoch}|{}|{}|{}", package.name, package.version, text(&package.arch), text(&package.licence))
}

fn lines(reading: &Reading, line: impl Fn(&Package) -> String) -> BTreeSet<String> {
    assert!(reading.problems.is_empty(), "{:?}", reading.problems);
    reading.packages.iter().map(|found| line(&found.package)).collect()
}

#[test]
fn a_database_that_rpm_made_has_the_packages_that_rpm_lists() {
    if !have("rpm") || !have("rpmbuild") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (top, db) = (dir.path().join("build"), dir.path().join("db"));
    let define = |name: &str, path: &Path| format!("{name} {}", path.display());
    let base = |command: &mut Command| {
        command.args(["--define", &define("_topdir", &top), "--define", &define("_dbpath", &db)]);
        command.args(["--define", "_db_backend sqlite", "--define", "debug_package %{nil}"]);
    };
    for n in 0..40 {
        let epoch = if n % 3 == 0 { format!("Epoch: {n}\n") } else { String::new() };
        // Long texts make headers longer than a page.
        let text = "All work and no play. ".repeat(n * 40);
        let spec = format!(
            "Name: p{n}\nVersion: {n}.0\nRelease: 1.el9\n{epoch}Summary: s\nLicense: MIT AND GPL-2.0-or-later\nBuildArch: noarch\n\
             %description\n{text}\n%files\n"
        );
        let file = dir.path().join(format!("p{n}.spec"));
        fs::write(&file, spec).unwrap();
        let mut build = Command::new("rpmbuild");
        base(&mut build);
        build.args(["-bb", "--quiet", "--target", "noarch"]).arg(&file);
        output(&mut build);
    }
    let built = |n: usize| top.join(format!("RPMS/noarch/p{n}-{n}.0-1.el9.noarch.rpm"));
    let rpm_with = |args: &[&str], files: &[std::path::PathBuf]| {
        let mut command = Command::new("rpm");
        base(&mut command);
        output(command.args(args).args(files))
    };
    rpm_with(
        &["-i", "--justdb", "--nodeps", "--nosignature", "--force-debian"],
        &(0..40).map(built).collect::<Vec<_>>(),
    );
    rpm_with(&["-e", "--justdb", "--nodeps", "p7"], &[]);
    let listed = rpm_with(&["-qa", "--qf", "%{NAME}|%{EPOCH}|%{VERSION}-%{RELEASE}|%{ARCH}|%{LICENSE}\\n"], &[]);
    let listed: BTreeSet<String> = listed.lines().map(str::to_owned).collect();
    let log = fs::read(db.join("rpmdb.sqlite-wal")).ok();
    let reading = rpm::sqlite(&fs::read(db.join("rpmdb.sqlite")).unwrap(), log.as_deref());
    assert_eq!(listed.len(), 39);
    assert_eq!(lines(&reading, rpm_line), listed);
}

#[test]
fn the_packages_of_this_host_are_those_that_dpkg_lists() {
    let Ok(status) = fs::read("/var/lib/dpkg/status") else { return skip("this host has no dpkg") };
    if !have("dpkg-query") {
        return;
    }
    let form = "${db:Status-Status}|${Package}|${Version}|${Architecture}|${source:Package}@${source:Version}\\n";
    let listed = output(Command::new("dpkg-query").args(["-W", "-f", form]));
    let listed: BTreeSet<String> =
        listed.lines().filter_map(|line| line.strip_prefix("installed|")).map(str::to_owned).collect();
    let line = |package: &Package| {
        let source = match package.source.as_deref() {
            None => format!("{}@{}", package.name, package.version),
            Some(source) if source.contains('@') => source.to_owned(),
            Some(source) => format!("{source}@{}", package.version),
        };
        format!("{}|{}|{}|{source}", package.name, package.version, package.arch.as_deref().unwrap_or_default())
    };
    assert_eq!(lines(&dpkg::status(&status), line), listed);
}

#[test]
fn programs_of_go_for_three_systems_have_the_modules_that_go_lists() {
    if !have("go") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(
        "go.mod",
        "module example.com/Main\n\ngo 1.18\n\nrequire example.com/Dep v1.2.3\n\nreplace example.com/Dep => ./dep\n",
    );
    write("main.go", "package main\n\nimport dep \"example.com/Dep\"\n\nfunc main() { println(dep.Name()) }\n");
    write("dep/go.mod", "module example.com/Dep\n\ngo 1.18\n");
    write("dep/dep.go", "package dep\n\nfunc Name() string { return \"dep\" }\n");
    for (system, arch) in [("linux", "amd64"), ("linux", "s390x"), ("windows", "amd64"), ("darwin", "arm64")] {
        let file = dir.path().join(format!("main-{system}-{arch}"));
        let mut go = Command::new("go");
        go.args(["build", "-trimpath", "-buildvcs=false", "-o"]).arg(&file).arg(".").current_dir(dir.path());
        go.envs([
            ("GOOS", system),
            ("GOARCH", arch),
            ("CGO_ENABLED", "0"),
            ("GOFLAGS", "-mod=mod"),
            ("GOPROXY", "off"),
        ]);
        go.env("GOCACHE", concat!(env!("CARGO_TARGET_TMPDIR"), "/go-cache")).env("GOTOOLCHAIN", "local");
        output(&mut go);
        let listed = output(Command::new("go").args(["version", "-m"]).arg(&file));
        let version = listed.lines().next().unwrap().rsplit_once(": go").unwrap().1.to_owned();
        let content = fs::read(&file).unwrap();
        assert!(program::is_program(&content));
        let reading = program::read(&content);
        let found = lines(&reading, |package| format!("{} {}", package.name, package.version));
        let wanted = ["example.com/Main ".to_owned(), "example.com/Dep ".to_owned(), format!("stdlib {version}")];
        assert_eq!(found, wanted.into(), "{system}/{arch}: {listed}");
        if system == "linux" {
            // The same for one that is too large to be held.
            let mut rest = &content[usize::try_from(program::head_size()).unwrap()..];
            let head = &content[..usize::try_from(program::head_size()).unwrap()];
            let large = program::large_elf(head, &mut rest).unwrap().unwrap();
            assert_eq!(large.packages, reading.packages, "{system}/{arch}");
        }
    }
}
