//! A medium that returns different bytes from the second read on (F11, I1): a preloaded library then changes one byte
//! of the bundle. Whichever byte it is, either the pushed content is the verified content, or the run ends with a
//! mismatch; no tag is ever wrong.

use std::path::PathBuf;
use std::process::Command;

use crate::lab::{Lab, each};
use crate::support::proxy::{Fault, Proxy};
use crate::support::registry::Registry;

/// Counts how many times byte `EQUIVOCATE_AT` of the file `b.tar` is read, and flips it from the second time on.
/// Records that in the file `EQUIVOCATE_LOG`.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long seen;
static void change(int fd, char *buf, ssize_t n, off64_t from) {
    char link[64], path[4096];
    const char *text = getenv("EQUIVOCATE_AT");
    if (n <= 0 || !text) return;
    off64_t at = atoll(text);
    if (at < from || at >= from + n) return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    if (len < 6 || strncmp(path + len - 6, "/b.tar", 6)) return;
    pthread_mutex_lock(&lock);
    if (++seen > 1) {
        buf[at - from] ^= 1;
        int log = open(getenv("EQUIVOCATE_LOG"), O_WRONLY | O_CREAT | O_APPEND, 0600);
        if (log >= 0) { if (write(log, "x", 1) < 0) {} close(log); }
    }
    pthread_mutex_unlock(&lock);
}
ssize_t pread64(int fd, void *buf, size_t count, off64_t from) {
    static ssize_t (*real)(int, void *, size_t, off64_t);
    if (!real) real = dlsym(RTLD_NEXT, "pread64");
    ssize_t n = real(fd, buf, count, from);
    change(fd, buf, n, from);
    return n;
}
ssize_t read(int fd, void *buf, size_t count) {
    static ssize_t (*real)(int, void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "read");
    off64_t from = lseek64(fd, 0, SEEK_CUR);
    ssize_t n = real(fd, buf, count);
    if (from >= 0) change(fd, buf, n, from);
    return n;
}
"#;

fn shim(lab: &Lab) -> PathBuf {
    let (source, library) = (lab.path("shim.c"), lab.path("shim.so"));
    std::fs::write(&source, SHIM).unwrap();
    let mut made = Command::new("cc");
    made.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).args(["-ldl", "-lpthread"]);
    assert!(made.status().expect("the C compiler that links Rust is installed").success());
    library
}

/// Each member of the bundle by name, with positions: one in its header, and the first, a middle and the last byte of
/// its content.
fn places(lab: &Lab) -> Vec<(String, u64)> {
    let bytes = std::fs::read(lab.path("b.tar")).unwrap();
    let (mut at, mut out) = (0usize, Vec::new());
    while bytes[at] != 0 {
        let size = std::str::from_utf8(&bytes[at + 124..at + 135]).unwrap();
        let size = usize::from_str_radix(size.trim_matches(['\0', ' ']), 8).unwrap();
        let name = std::str::from_utf8(&bytes[at..at + 100]).unwrap().trim_end_matches('\0');
        out.push((name.to_owned(), at as u64 + 10));
        if size > 0 {
            out.extend([0, size / 2, size - 1].map(|n| (name.to_owned(), (at + 512 + n) as u64)));
        }
        at += 512 + size.div_ceil(512) * 512;
    }
    out
}

/// F11, I1: for every member of the bundle, including the index and its signature, and with broken uploads, so that
/// each blob must be read again.
#[test]
fn a_medium_that_equivocates_is_caught_or_not_believed() {
    let lab = Lab::new();
    let library = shim(&lab);
    let places = places(&lab);
    assert!(places.len() > 30, "{}", places.len());
    let registry = Registry::start();
    let caught = std::sync::atomic::AtomicUsize::new(0);
    each(&places, |(name, at)| {
        let proxy = Proxy::start(Some(registry.port));
        // A blob is sent a second time, from its start.
        if let Some(hex) = name.strip_prefix("blobs/sha256/") {
            proxy.on("PUT", format!("digest=sha256%3A{hex}"), 1, Fault::CutRequest(1));
        }
        let log = lab.path(&format!("log-{at}"));
        let env = [
            format!("LD_PRELOAD={}", library.display()),
            format!("EQUIVOCATE_AT={at}"),
            format!("EQUIVOCATE_LOG={}", log.display()),
            format!("MIRROR_BUNDLE_STATE={}", lab.path(&format!("state-{at}")).display()),
        ];
        let wrap: Vec<&str> = ["/usr/bin/time", "env"].into_iter().chain(env.iter().map(String::as_str)).collect();
        let to = format!("{}/m{at}", proxy.host());
        let args = ["unpack", "b.tar", "--signer", "key.pub", "--to", &to, "--plain-http", "127.0.0.1"];
        let more = ["--mirror-set", "none", "--retries", "2", "-j", "2"];
        let ran = lab.wrapped(&wrap, &[&args[..], &more].concat()).wait();
        // 12: the header of a member.
        ran.ends(&[0, 12, 31]);
        let lied = log.exists();
        assert!(ran.code == 0 || lied, "byte {at}: {}", ran.err);
        caught.fetch_add(usize::from(ran.code != 0), std::sync::atomic::Ordering::Relaxed);
        lab.is_whole_or_absent(&registry.host(), &format!("m{at}"), ran.code == 0);
    });
    assert!(caught.into_inner() >= 12, "the shim does not work");
}
