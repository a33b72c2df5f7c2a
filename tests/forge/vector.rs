//! A vector: a bundle, and the expected finding.

use mirror_bundle::error::Code;

use super::archive::Archive;

/// The arguments that every vector is verified with, unless it says otherwise. Paths are relative to the folder.
pub const ARGS: &[&str] =
    &["--signer", "keys/builder.pub", "--release-keyring", "keys/release.asc", "--at", "2026-11-23T00:00:00Z"];

/// One vector.
pub struct Vector {
    pub name: String,
    pub bytes: Vec<u8>,
    pub what: String,
    /// Attacks and faults of the threat model that it covers.
    pub ids: Vec<String>,
    /// The expected finding; `None` for a good bundle.
    pub code: Option<Code>,
    /// Requirements of the specification that it tests.
    pub requires: Vec<String>,
    pub args: Vec<String>,
    /// The code when the bundle is read as a stream, where that sees another fault first.
    pub stream: Option<Code>,
    /// The code when a stream of it is unpacked, where that is another one: what comes last cannot be waited for
    /// (MB-ADD-04).
    pub unpacked: Option<Code>,
    /// The fault is in the content of a configuration or layer, or in what a stream meets after it: `unpack` finds it
    /// while forwarding, and may have stored other, complete blobs by then.
    pub late: bool,
    /// The arguments make it bad, and `unpack` does not have them.
    pub verify_only: bool,
}

impl Vector {
    /// The text of `NAME.toml`.
    pub fn toml(&self) -> String {
        let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let list = |items: &[String]| items.iter().map(|i| quoted(i)).collect::<Vec<_>>().join(", ");
        let mut out = format!("what = {}\nids = [{}]\n", quoted(&self.what), list(&self.ids));
        out += &format!("code = {}\n", quoted(self.code.map_or("ok", Code::as_str)));
        out += &format!("exit = {}\n", self.code.map_or(0, Code::exit));
        if let Some(stream) = self.stream {
            out += &format!("stream-code = {}\nstream-exit = {}\n", quoted(stream.as_str()), stream.exit());
        }
        if let Some(code) = self.unpacked {
            out += &format!("unpack-stream-exit = {}\n", code.exit());
        }
        out += &format!("requires = [{}]\nargs = [{}]\n", list(&self.requires), list(&self.args));
        for (set, word) in [(self.late, "late"), (self.verify_only, "verify-only")] {
            if set {
                out += &format!("{word} = true\n");
            }
        }
        out
    }
}

/// The list of vectors while it is made.
#[derive(Default)]
pub struct Vectors {
    pub all: Vec<Vector>,
    group: &'static str,
}

/// The subject of a case: attacks, expected code, requirements; each list is separated by blanks.
pub type Is = (&'static str, Option<Code>, &'static str);

impl Vectors {
    /// The first part of the names that follow.
    pub fn group(&mut self, group: &'static str) {
        self.group = group;
    }

    pub fn add(&mut self, name: &str, what: &str, is: Is, bundle: impl Into<Bytes>) -> &mut Vector {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        self.all.push(Vector {
            name: format!("{}-{name}", self.group),
            bytes: bundle.into().0,
            what: what.to_owned(),
            ids: words(is.0),
            code: is.1,
            requires: words(is.2),
            args: ARGS.iter().map(|a| (*a).to_owned()).collect(),
            stream: None,
            unpacked: None,
            late: false,
            verify_only: false,
        });
        self.all.last_mut().unwrap()
    }
}

impl Vector {
    pub fn late(&mut self) -> &mut Vector {
        self.late = true;
        self
    }

    pub fn stream(&mut self, code: Code) -> &mut Vector {
        self.stream = Some(code);
        self
    }

    /// Other arguments than the usual ones.
    pub fn args(&mut self, args: &[&str]) -> &mut Vector {
        self.args = args.iter().map(|a| (*a).to_owned()).collect();
        self
    }

    /// More arguments.
    pub fn and(&mut self, args: &[&str]) -> &mut Vector {
        self.args.extend(args.iter().map(|a| (*a).to_owned()));
        self
    }
}

/// The bytes of a bundle, from an archive or as they are.
pub struct Bytes(pub Vec<u8>);

impl From<Archive> for Bytes {
    fn from(archive: Archive) -> Bytes {
        Bytes(archive.bytes())
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        Bytes(bytes)
    }
}
