//! What the tests of `apply` share: objects, folders of manifests, runs of the program.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::*;
use crate::support::apiserver::{How, Server, Who};
use crate::support::schemas::valid;

/// A namespace on the shared server, and a folder, for one test.
pub(crate) struct Ground {
    pub(crate) server: &'static Server,
    pub(crate) space: String,
    dir: tempfile::TempDir,
}

/// What a run of `apply` did.
pub(crate) struct Applied {
    pub(crate) run: Run,
    /// Standard output; null if there was none.
    pub(crate) document: Value,
}

impl Ground {
    /// None where there is no server.
    pub(crate) fn new() -> Option<Ground> {
        let server = Server::shared()?;
        Some(Ground { server, space: server.namespace(), dir: folder() })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A ConfigMap in the test's namespace.
    pub(crate) fn map(&self, name: &str, data: Value) -> Value {
        map(&self.space, name, data)
    }

    /// Where the server has a ConfigMap of the test's namespace.
    pub(crate) fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.maps())
    }

    /// Where the server has the ConfigMaps of the test's namespace.
    pub(crate) fn maps(&self) -> String {
        format!("/api/v1/namespaces/{}/configmaps", self.space)
    }

    /// The data of a ConfigMap on the server.
    pub(crate) fn data(&self, name: &str) -> Value {
        self.server.get(&self.at(name))["data"].clone()
    }

    pub(crate) fn is_there(&self, name: &str) -> bool {
        self.server.request("GET", &self.at(name), None).0 == 200
    }

    /// A new folder with one file for each object, in this order.
    pub(crate) fn folder(&self, objects: &[Value]) -> PathBuf {
        let dir = tempfile::tempdir_in(self.path()).unwrap().keep();
        for (n, object) in objects.iter().enumerate() {
            std::fs::write(dir.join(format!("{n:02}.yaml")), object.to_string()).unwrap();
        }
        dir
    }

    /// `apply` of these objects by the administrator.
    pub(crate) fn apply(&self, code: i32, objects: &[Value], more: &[&str]) -> Applied {
        self.apply_as(code, Who::Admin, objects, more)
    }

    /// `apply` of these objects by a user.
    pub(crate) fn apply_as(&self, code: i32, who: Who, objects: &[Value], more: &[&str]) -> Applied {
        apply(code, &self.server.kubeconfig(who, How::Token), &self.folder(objects), more)
    }

    /// The real kubectl as the administrator, with an object on its standard input.
    pub(crate) fn kubectl(&self, args: &[&str], object: &Value) {
        let out = self.server.kubectl(Who::Admin, args, object.to_string().as_bytes());
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
}

/// A ConfigMap.
pub(crate) fn map(space: &str, name: &str, data: Value) -> Value {
    let metadata = json!({ "name": name, "namespace": space });
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data })
}

/// The arguments of `apply` for a folder with ConfigMaps anywhere.
pub(crate) fn arguments(config: &Path, folder: &Path, more: &[&str]) -> Vec<OsString> {
    let mut out = args!["apply", folder, "--kubeconfig", config, "--allow-unsigned", "--allow-kind", "ConfigMap"];
    out.extend(more.iter().map(OsString::from));
    out
}

/// `apply` of a folder. It ends with this code, and with one document or one error, as their schemas say.
pub(crate) fn apply(code: i32, config: &Path, folder: &Path, more: &[&str]) -> Applied {
    let mut all = arguments(config, folder, more);
    all.extend(args!["-o", "json"]);
    checked(code, finish(&mut command(&all)))
}

/// A run with `-o json` that ended with this code.
pub(crate) fn checked(code: i32, run: Run) -> Applied {
    assert_eq!(run.code, code, "{}\n{}", run.text(), run.stderr);
    let document = match run.stdout.is_empty() {
        true => {
            assert_eq!(valid("error", run.stderr.trim_end().lines().last().unwrap())["exit_code"], code);
            Value::Null
        }
        false => valid("apply", &run.text()),
    };
    assert!(document.is_null() || document["exit_code"] == code, "{document}");
    no_debug(&run);
    Applied { run, document }
}

/// Nothing that a person reads is a Debug dump of the client.
fn no_debug(run: &Run) {
    let said = format!("{}{}", run.text(), run.stderr);
    for dump in ["Some(", "ErrorResponse", "Status {", "hyper", "Api(", "ListMeta", "Kind("] {
        assert!(!said.contains(dump), "{dump}: {said}");
    }
}

impl Applied {
    /// The outcomes by the objects' names, in their order.
    pub(crate) fn outcomes(&self) -> String {
        let mut out = String::new();
        for object in self.document["applied"]["objects"].as_array().unwrap_or_else(|| panic!("{}", self.said())) {
            let _ = write!(
                out,
                "{}{} {}",
                if out.is_empty() { "" } else { ", " },
                text(&object["name"]),
                text(&object["outcome"])
            );
        }
        out
    }

    pub(crate) fn object(&self, name: &str) -> &Value {
        let all = self.document["applied"]["objects"].as_array().unwrap();
        all.iter().find(|object| object["name"] == name).unwrap()
    }

    /// All that was said on both streams, with quotation marks as a person sees them.
    pub(crate) fn said(&self) -> String {
        format!("{}{}", self.run.text(), self.run.stderr).replace("\\\"", "\"")
    }

    /// Fails unless all of these were said.
    pub(crate) fn says(&self, what: &[&str]) {
        for what in what {
            assert!(self.said().contains(what), "{what}: {}", self.said());
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
