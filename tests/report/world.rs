//! A review desk: keys, a trust policy, and bundles to report on.

use std::fs;
use std::path::Path;

use crate::lab::Lab;
use crate::support::program::{Ran, program, ran};

/// The time of every report here.
pub(crate) const AT: &str = "2026-12-01T12:00:00Z";

pub(crate) const MANIFEST: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: openshift-config-managed}\n\
                                   data: {password: x}\n";

/// A desk.
pub(crate) struct Desk {
    pub(crate) lab: Lab,
}

impl Desk {
    pub(crate) fn new() -> Desk {
        let desk = Desk { lab: Lab::new() };
        for name in ["builder", "reviewer"] {
            let key = format!("{name}.key");
            desk.run(&["keygen", &key, "--no-passphrase", "--comment", name]).is(0);
        }
        let key =
            |name: &str| fs::read_to_string(desk.path().join(format!("{name}.key.pub"))).unwrap().trim().to_owned();
        let policy = format!(
            "require: [{{role: builder, threshold: 1}}, {{role: reviewer, threshold: 1}}]\n\
             removals: {{threshold: 1, of: [manifests, additional]}}\n\
             signers:\n  - {{name: build-host, key: '{}', roles: [builder]}}\n\
             \x20 - {{name: review-desk, key: '{}', roles: [reviewer]}}\n",
            key("builder"),
            key("reviewer")
        );
        fs::write(desk.path().join("trust.yaml"), policy).unwrap();
        desk
    }

    pub(crate) fn path(&self) -> &Path {
        self.lab.path()
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        ran(program(self.path()).args(args))
    }

    /// A bundle with an image `reg.example/app:1` of these files, and a manifest, signed by the builder.
    pub(crate) fn bundle(&self, name: &str, files: &[(&str, Vec<u8>)]) -> String {
        let bundle = self.lab.bundle(name, &[("reg.example/app:1", &[files])], Some(MANIFEST));
        self.run(&[
            "sign",
            &bundle,
            "--allow-unsigned",
            "--sign-key",
            "builder.key",
            "--role",
            "builder",
            "-q",
            "--allow-kind",
            "ConfigMap",
        ])
        .is(0);
        bundle
    }

    /// Makes a report at a fixed time.
    pub(crate) fn report(&self, bundle: &str, args: &[&str]) -> Ran {
        let fixed = ["report", bundle, "--at", AT, "--trust", "trust.yaml", "--allow-kind", "ConfigMap"];
        ran(program(self.path()).args(fixed).args(args))
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }
}

/// The part of a page that is printed first.
pub(crate) fn first(html: &str) -> &str {
    html.split_once("class=\"brk\"").unwrap().0
}
