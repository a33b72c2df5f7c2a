//! One run of the program under observation.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::program::program;

/// After this a run counts as hung. No fault of the table needs a tenth of it.
const HUNG: Duration = Duration::from_secs(120);

/// A run in the making.
pub struct Run {
    dir: PathBuf,
    args: Vec<String>,
    state: PathBuf,
}

/// How it ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Run {
    pub fn new(dir: &Path, verb: &str) -> Run {
        Run { dir: dir.to_owned(), args: vec![verb.to_owned()], state: dir.join("state") }
    }

    pub fn args(mut self, args: &[&str]) -> Run {
        self.args.extend(args.iter().map(|a| (*a).to_owned()));
        self
    }

    /// The memory of the host: separate for each destination, as on separate hosts.
    pub fn state(mut self, name: &str) -> Run {
        self.state = self.dir.join(name);
        self
    }

    /// Runs it to its end; one that hangs is killed, and fails the test.
    pub fn go(self) -> Ran {
        let (out, err) = (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
        let stdio = |file: &tempfile::NamedTempFile| -> Stdio { file.reopen().map(|f: File| f.into()).unwrap() };
        let mut child = program(&self.dir)
            .args(&self.args)
            .env("MIRROR_BUNDLE_STATE", &self.state)
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .stdout(stdio(&out))
            .stderr(stdio(&err))
            .spawn()
            .unwrap();
        let since = Instant::now();
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None if since.elapsed() > HUNG => {
                    let _ = child.kill();
                    let _ = child.wait();
                    panic!("it hangs: {:?}\n{}", self.args, std::fs::read_to_string(err.path()).unwrap());
                }
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        let text = |file: &tempfile::NamedTempFile| std::fs::read_to_string(file.path()).unwrap();
        Ran { code: status.code().unwrap_or(-1), out: text(&out), err: text(&err) }
    }
}

impl Ran {
    /// Checks a failed run with `-o json`: one error, which names one of these hosts, the resulting state and the
    /// remedy; or what was refused.
    #[track_caller]
    pub fn explains_itself(&self, hosts: &[String]) {
        // Everything was unpacked but attachments, which the answer names.
        if self.code == 54 {
            let answer: Value = serde_json::from_str(&self.out).unwrap();
            let refused = answer["unpacked"]["refused"].as_array().unwrap();
            let named = |one: &Value| hosts.iter().any(|host| one["why"].as_str().unwrap().contains(host));
            assert!(!refused.is_empty() && refused.iter().all(named), "{self:?}");
            return;
        }
        let lines: Vec<Value> = self.err.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
        let errors: Vec<&Value> = lines.iter().filter(|l| l["type"] == "error").collect();
        assert_eq!(errors.len(), 1, "{self:?}");
        let error = errors[0];
        let message = format!("{} {}", error["message"], error["facts"]);
        assert!(hosts.iter().any(|host| message.contains(host)), "no host: {error}");
        assert!(error["state"].is_string(), "no state: {error}");
        assert!(error["hint"].is_string(), "no hint: {error}");
        assert_eq!(error["exit_code"], self.code, "{error}");
    }
}
