//! The page in a real browser, on paper.

use std::path::Path;
use std::process::Command;

use crate::support::program::{clean, ran};
use crate::support::skip::have;
use crate::world::Desk;

/// What pdftotext reads on each page of paper.
fn pages(desk: &Desk, html: &str) -> Vec<String> {
    let at = desk.path();
    let mut chromium = Command::new("chromium");
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-pdf-header-footer"]);
    chromium.arg(format!("--user-data-dir={}", at.join("browser").display()));
    chromium.arg(format!("--print-to-pdf={}", at.join("page.pdf").display()));
    chromium.arg(format!("file://{}", at.join(html).display()));
    clean(&mut chromium, at);
    let browsed = ran(&mut chromium);
    assert!(at.join("page.pdf").exists(), "{}", browsed.err);
    assert!(!browsed.err.contains("Content Security Policy"), "{}", browsed.err);
    let text = text(&at.join("page.pdf"));
    text.split('\u{c}').map(str::to_owned).filter(|page| !page.trim().is_empty()).collect()
}

fn text(pdf: &Path) -> String {
    let mut command = Command::new("pdftotext");
    command.arg("-layout").arg(pdf).arg("-");
    ran(&mut command).is(0).out
}

#[test]
fn a_browser_prints_a_first_page_that_is_complete_and_names_the_index_on_each() {
    if !have("chromium") || !have("pdftotext") {
        return;
    }
    let desk = Desk::new();
    let bundle = desk.bundle("app", &[("bin/app", b"hello".to_vec())]);
    desk.report(&bundle, &["--html", "r.html", "--log", "import.log"]).is(0);
    let pages = pages(&desk, "r.html");
    assert!((2..=4).contains(&pages.len()), "{} pages", pages.len());
    for words in [
        "VERIFIED; CONTENT NOT SCANNED",
        "reviewer: not yet",
        "Decision",
        "Second person",
        "log 1 ",
        "What was not done, and why",
    ] {
        assert!(pages[0].contains(words), "no `{words}` on\n{}", pages[0]);
    }
    assert!(pages[1].trim_start().starts_with("Findings, worst first"), "{}", pages[1]);
    let hex = pages[0].split("index sha256:").nth(1).unwrap().get(..8).unwrap().to_owned();
    for (n, page) in (1..).zip(&pages) {
        assert!(page.contains(&format!("index {hex} ")), "the foot of\n{page}");
        assert!(page.replace(' ', "").contains(&format!("{n}/{}", pages.len())), "the number of\n{page}");
    }
}

#[test]
fn a_browser_shows_the_sheet_as_its_policy_lets_it_and_nothing_that_was_put_in() {
    if !have("chromium") {
        return;
    }
    let desk = Desk::new();
    let bundle = desk.bundle("app", &[("bin/app", b"hello".to_vec())]);
    desk.report(&bundle, &["--html", "r.html"]).is(0);
    let dump = |name: &str| {
        let mut chromium = Command::new("chromium");
        chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"]);
        chromium.args(["--enable-logging=stderr", "--v=0"]);
        chromium.arg(format!("--user-data-dir={}", desk.path().join("browser").display()));
        chromium.arg(format!("file://{}", desk.path().join(name).display()));
        clean(&mut chromium, desk.path());
        ran(&mut chromium)
    };
    let plain = dump("r.html");
    assert!(!plain.err.contains("Content Security Policy"), "{}", plain.err);
    assert!(plain.out.contains("VERIFIED; CONTENT NOT SCANNED"), "{}", plain.err);
    // Whoever changes the file: what its policy forbids does not run.
    let script = "<script>document.title='changed'</script></body>";
    std::fs::write(desk.path().join("x.html"), desk.read("r.html").replace("</body>", script)).unwrap();
    let changed = dump("x.html");
    assert!(!changed.out.contains("<title>changed"), "{}", changed.out);
}
