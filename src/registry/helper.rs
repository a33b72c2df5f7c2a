//! Credential helpers: `docker-credential-NAME get`, with the server on standard input (protocol:
//! docker/docker-credential-helpers). Output and time are limited.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::login::{LoginKind, Secret, password};
use crate::error::{Code, Error, Result};

/// How long a helper may take; it may have to prompt the user.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// The longest answer, in bytes.
const MAX_ANSWER: u64 = 64 * 1024;

/// The answer of a helper.
#[derive(serde::Deserialize)]
struct Answer {
    #[serde(rename = "Username")]
    user: String,
    #[serde(rename = "Secret")]
    secret: Secret,
}

/// Gets the login for `server` from a helper; `None` if it has none.
pub(super) fn get(name: &str, server: &str, patience: Duration) -> Result<Option<LoginKind>> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        return Err(Error::new(Code::Io, format!("`{name}` is not the name of a credential helper")));
    }
    let program = format!("docker-credential-{name}");
    let failed = |why: String| {
        Error::new(Code::Auth, format!("the credential helper `{program}` gave no login for `{server}`"))
            .fact(why)
            .hint("use --authfile with a file that `podman login --authfile` wrote")
    };
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| failed(format!("it could not be started: {}", e.kind())))?;
    let outcome = talk(&mut child, server, patience);
    if outcome.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let (answer, success) = outcome.map_err(|why| failed(why.to_owned()))?;
    if !success {
        let text = String::from_utf8_lossy(&answer);
        if text.contains("credentials not found") {
            return Ok(None);
        }
        return Err(failed("it reported a failure".to_owned()));
    }
    let answer: Answer =
        serde_json::from_slice(&answer).map_err(|_| failed("its answer is not the JSON it should be".to_owned()))?;
    Ok(Some(password(&answer.user, answer.secret.reveal())))
}

fn talk(child: &mut Child, server: &str, patience: Duration) -> Result<(Zeroizing<Vec<u8>>, bool), &'static str> {
    let end = Instant::now() + patience;
    if let Some(mut input) = child.stdin.take() {
        // A helper that does not read its input may still answer.
        let _ = input.write_all(server.as_bytes());
    }
    let output = child.stdout.take().ok_or("it has no output")?;
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut bytes = Zeroizing::new(Vec::new());
        let read = output.take(MAX_ANSWER + 1).read_to_end(&mut bytes);
        let _ = sender.send(read.map(|_| bytes));
    });
    let answer = match receiver.recv_timeout(patience) {
        Ok(Ok(bytes)) if bytes.len() as u64 <= MAX_ANSWER => bytes,
        Ok(Ok(_)) => return Err("its answer is too long"),
        Ok(Err(_)) => return Err("its answer could not be read"),
        Err(_) => return Err("it took too long"),
    };
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok((answer, status.success())),
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) => return Err("it took too long"),
            Err(_) => return Err("it was lost"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// The path of a helper script. Helper names with slashes are refused, so the test runs the script directly.
    fn script(body: &str) -> (tempfile::TempDir, Child) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("helper");
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let child = loop {
            let mut command = Command::new(&path);
            // Another test thread may have forked while the script was open for writing (ETXTBSY).
            match command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn() {
                Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy => continue,
                other => break other.unwrap(),
            }
        };
        (dir, child)
    }

    #[test]
    fn a_helper_gets_the_host_and_its_answer_is_read() {
        let (_dir, mut child) = script(r#"read -r h; printf '{"ServerURL":"x","Username":"%s","Secret":"s"}' "$h""#);
        let (answer, success) = talk(&mut child, "r.example\n", Duration::from_secs(10)).unwrap();
        assert!(success);
        let answer: Answer = serde_json::from_slice(&answer).unwrap();
        assert_eq!((answer.user.as_str(), answer.secret.reveal()), ("r.example", "s"));
    }

    #[test]
    fn endless_and_silent_helpers_are_given_up() {
        let (_dir, mut child) = script("yes");
        assert_eq!(talk(&mut child, "h", Duration::from_secs(10)).err(), Some("its answer is too long"));
        let _ = (child.kill(), child.wait());
        let (_dir, mut child) = script("exec sleep 100");
        assert_eq!(talk(&mut child, "h", Duration::from_millis(50)).err(), Some("it took too long"));
        let _ = (child.kill(), child.wait());
    }

    #[test]
    fn names_that_are_paths_and_helpers_that_are_absent_are_errors() {
        assert!(get("../x", "h", PATIENCE).is_err());
        assert!(get("", "h", PATIENCE).is_err());
        let err = get("mirror-bundle-test-absent", "h", PATIENCE).unwrap_err();
        assert_eq!(err.code(), Code::Auth);
    }
}
