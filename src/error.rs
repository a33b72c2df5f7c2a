//! The one error type of the crate, and the stable codes of the command line.
//!
//! An [`Error`] means that an operation could not be done. A verdict about a bundle is not an error: see
//! [`crate::verify`].
//! Spec: `spec/verification.md`, "Codes".

use std::fmt;
use std::io;
use std::path::Path;

/// The stable name of a failure or finding, with its exit code. `explain CODE` takes the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// Invalid arguments.
    Usage,
    /// A local file system failure: a missing file, a full disk, a permission.
    Io,
    /// A bug in this program.
    Internal,
    /// Not a bundle, or a version or feature that this program does not know.
    NotABundle,
    /// The file is shorter than its own header or index says.
    Truncated,
    /// Bad index, unsafe path, duplicate name, over a limit.
    Malformed,
    /// A layer that tar readers read differently.
    AmbiguousLayer,
    /// No signature at all.
    Unsigned,
    /// A signature by a known key does not match.
    BadSignature,
    /// Valid signatures, but too few by trusted keys.
    Untrusted,
    /// A key, signature or bundle has expired, or a signature is dated in the future.
    Expired,
    /// Older than a bundle this host has accepted before, or a different bundle with the same sequence number.
    Rollback,
    /// Listed or referenced, but missing.
    BlobMissing,
    /// Digest or size differs.
    BlobMismatch,
    /// Something in the file that the index does not cover.
    UnlistedContent,
    /// Something was removed by keys that may not remove it on this host.
    Removed,
    /// A scanner found something in it.
    Found,
    /// OpenPGP release signature missing, bad, or by another key.
    ReleaseUnverified,
    /// Cosign image signature missing, bad, or by another key.
    ImageUnverified,
    /// A rule about content matched.
    Policy,
    /// Worth a look: a private key, a program for another system, a misleading name.
    RiskFact,
    /// A database of packages in an image cannot be read.
    PackagesUnreadable,
    /// No problem found, but a required check did not run.
    IncompleteCheck,
    /// The destination registry is unreachable or refused the data.
    Destination,
    /// The source is unreachable, or lacks what was requested.
    Source,
    /// A registry or cluster needs credentials, or rejected those it got.
    Auth,
    /// The destination exists with other content.
    Conflict,
    /// One or more manifests were not applied.
    ApplyFailed,
    /// All images and tags are there, and something attached to them was refused by the registry.
    PartlyUnpacked,
    /// Stopped by SIGINT.
    Interrupted,
    /// Stopped by SIGTERM.
    Terminated,
}

impl Code {
    /// Every code, in the order of exit codes.
    pub const ALL: &[Code] = &[
        Code::Usage,
        Code::Io,
        Code::Internal,
        Code::NotABundle,
        Code::Truncated,
        Code::Malformed,
        Code::AmbiguousLayer,
        Code::Unsigned,
        Code::BadSignature,
        Code::Untrusted,
        Code::Expired,
        Code::Rollback,
        Code::BlobMissing,
        Code::BlobMismatch,
        Code::UnlistedContent,
        Code::Removed,
        Code::Found,
        Code::ReleaseUnverified,
        Code::ImageUnverified,
        Code::Policy,
        Code::RiskFact,
        Code::PackagesUnreadable,
        Code::IncompleteCheck,
        Code::Destination,
        Code::Source,
        Code::Auth,
        Code::Conflict,
        Code::ApplyFailed,
        Code::PartlyUnpacked,
        Code::Interrupted,
        Code::Terminated,
    ];

    /// The word used in JSON, in `explain`, and in the spec.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Usage => "usage",
            Code::Io => "io",
            Code::Internal => "internal",
            Code::NotABundle => "not-a-bundle",
            Code::Truncated => "truncated",
            Code::Malformed => "malformed",
            Code::AmbiguousLayer => "ambiguous-layer",
            Code::Unsigned => "unsigned",
            Code::BadSignature => "bad-signature",
            Code::Untrusted => "untrusted",
            Code::Expired => "expired",
            Code::Rollback => "rollback",
            Code::BlobMissing => "blob-missing",
            Code::BlobMismatch => "blob-mismatch",
            Code::UnlistedContent => "unlisted-content",
            Code::Removed => "removed",
            Code::Found => "found",
            Code::ReleaseUnverified => "release-unverified",
            Code::ImageUnverified => "image-unverified",
            Code::Policy => "policy",
            Code::RiskFact => "risk-fact",
            Code::PackagesUnreadable => "packages-unreadable",
            Code::IncompleteCheck => "incomplete-check",
            Code::Destination => "destination",
            Code::Source => "source",
            Code::Auth => "auth",
            Code::Conflict => "conflict",
            Code::ApplyFailed => "apply-failed",
            Code::PartlyUnpacked => "partly-unpacked",
            Code::Interrupted => "interrupted",
            Code::Terminated => "terminated",
        }
    }

    /// The exit code of the process. Success is 0 and has no `Code`.
    pub fn exit(self) -> u8 {
        match self {
            Code::Usage => 2,
            Code::Io => 3,
            Code::Internal => 4,
            Code::NotABundle => 10,
            Code::Truncated => 11,
            Code::Malformed | Code::AmbiguousLayer => 12,
            Code::Unsigned => 20,
            Code::BadSignature => 21,
            Code::Untrusted => 22,
            Code::Expired | Code::Rollback => 23,
            Code::BlobMissing => 30,
            Code::BlobMismatch => 31,
            Code::UnlistedContent => 32,
            Code::Removed => 33,
            Code::Found => 35,
            Code::ReleaseUnverified | Code::ImageUnverified => 40,
            Code::Policy | Code::RiskFact => 41,
            Code::PackagesUnreadable | Code::IncompleteCheck => 42,
            Code::Destination | Code::Source => 50,
            Code::Auth => 51,
            Code::Conflict => 52,
            Code::ApplyFailed => 53,
            Code::PartlyUnpacked => 54,
            Code::Interrupted => 130,
            Code::Terminated => 143,
        }
    }

    /// Whether the code means that a bundle is bad or not fully checked (exit codes 10 to 49), rather than that an
    /// operation failed.
    pub fn is_verdict(self) -> bool {
        (10..50).contains(&self.exit())
    }

    /// The code with this name, or `None`.
    pub fn parse(name: &str) -> Option<Code> {
        Code::ALL.iter().copied().find(|c| c.as_str() == name)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an operation failed: one sentence, the facts, the resulting state, and what to do.
///
/// The sentence is lower case without a full stop. Untrusted names are quoted in backticks; they are escaped where the
/// error is shown, not here.
pub struct Error(Box<Inner>);

struct Inner {
    code: Code,
    message: String,
    facts: Vec<String>,
    state: Option<String>,
    hint: Option<String>,
    transient: bool,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of everything that can fail in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Creates an error from its one sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            code,
            message: message.into(),
            facts: Vec::new(),
            state: None,
            hint: None,
            transient: false,
            source: None,
        }))
    }

    /// A local I/O failure: the operation (`cannot read`), and the path.
    pub fn io(what: &str, path: impl AsRef<Path>, source: io::Error) -> Error {
        match Error::try_from(source) {
            Ok(inner) => inner,
            Err(source) => {
                let full = source.raw_os_error() == Some(28);
                let missing = source.kind() == io::ErrorKind::NotFound;
                let err = Error::new(Code::Io, format!("{what} `{}`: {}", path.as_ref().display(), plain(&source)))
                    .source(source);
                match missing.then(|| mistaken(path.as_ref())).flatten() {
                    Some(hint) => err.hint(hint),
                    None if full => err.hint("free some space there and run the same command again"),
                    None => err,
                }
            }
        }
    }

    /// Adds one indented line of fact (expected, found, where).
    pub fn fact(mut self, fact: impl Into<String>) -> Error {
        self.0.facts.push(fact.into());
        self
    }

    /// Sets the resulting state ("nothing was written").
    pub fn state(mut self, state: impl Into<String>) -> Error {
        self.0.state = Some(state.into());
        self
    }

    /// Sets the state of an interruption that has none yet.
    pub fn interrupted(self, state: impl Into<String>) -> Error {
        let has_state = self.0.state.is_some() || !matches!(self.0.code, Code::Interrupted | Code::Terminated);
        if has_state { self } else { self.state(state) }
    }

    /// Sets the hint: what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hint = Some(hint.into());
        self
    }

    /// Sets the cause.
    pub fn source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        self.0.source = Some(source.into());
        self
    }

    /// Marks a temporary failure, which a retry may fix (a reset connection, a 503).
    pub fn transient(mut self) -> Error {
        self.0.transient = true;
        self
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The one sentence.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The indented facts.
    pub fn facts(&self) -> &[String] {
        &self.0.facts
    }

    /// The resulting state, if set.
    pub fn state_text(&self) -> Option<&str> {
        self.0.state.as_deref()
    }

    /// What to do, if set.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Whether a retry may succeed.
    pub fn is_transient(&self) -> bool {
        self.0.transient
    }
}

/// What a name that does not exist most likely is. Only for messages.
fn mistaken(path: &Path) -> Option<String> {
    const TRANSPORTS: [&str; 4] = ["oci:", "oci-archive:", "docker-archive:", "dir:"];
    let text = path.to_str()?;
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let drive = |bytes: &[u8]| bytes.len() > 2 && bytes[0].is_ascii_alphabetic() && bytes[1..].starts_with(b":\\");
    let local = TRANSPORTS.iter().find_map(|transport| text.strip_prefix(transport));
    let host = || text.split_once('/').is_some_and(|(host, rest)| host.contains(':') && !rest.is_empty());
    Some(match text {
        _ if Path::new(&partial).is_file() => {
            format!("`{text}.partial` exists: it is not finished; run the command that writes it again")
        }
        _ if text.starts_with('~') => "the shell did not replace `~`: leave out the quotes, or write $HOME".to_owned(),
        _ if drive(text.as_bytes()) || text.starts_with("\\\\") => {
            "this is a path of Windows; name the file by its path on this host".to_owned()
        }
        _ if text.starts_with("http://") || text.starts_with("https://") => {
            "this is a web address: download the file first, and name the file".to_owned()
        }
        _ if text.starts_with("ssh-") => {
            "this is the text of a key: write it to a file, and name the file".to_owned()
        }
        _ if text.starts_with("SHA256:") => {
            "this is the fingerprint of a key: name the .pub file instead, and compare its fingerprint with ssh-keygen -lf".to_owned()
        }
        _ if local.is_some() => format!("write the path alone: {}", local.unwrap_or_default()),
        _ if text.starts_with("docker://") || host() => {
            "this looks like an image in a registry; mirror-bundle create BUNDLE --image REF takes it".to_owned()
        }
        _ => return None,
    })
}

/// The text of an `io::Error` without "(os error 2)".
fn plain(err: &io::Error) -> String {
    let text = err.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_lowercase(),
        None => text,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.0.code, self.0.message)?;
        for fact in &self.0.facts {
            write!(f, "; {fact}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|e| e as _)
    }
}

/// Lets a reader over a registry return its error through `Read`; [`Error::io`] takes it out again.
impl From<Error> for io::Error {
    fn from(err: Error) -> io::Error {
        io::Error::other(err)
    }
}

/// Takes the [`Error`] out of an `io::Error` that carries one.
impl TryFrom<io::Error> for Error {
    type Error = io::Error;

    fn try_from(err: io::Error) -> Result<Error, io::Error> {
        if err.get_ref().is_some_and(|inner| inner.is::<Error>()) {
            let inner = err.into_inner().and_then(|inner| inner.downcast::<Error>().ok());
            return inner.map(|boxed| *boxed).ok_or_else(|| io::Error::other("lost error"));
        }
        Err(err)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn codes_have_distinct_names_that_parse_back() {
        for code in Code::ALL {
            assert_eq!(Code::parse(code.as_str()), Some(*code));
        }
    }

    #[test]
    fn a_name_that_is_no_path_gets_a_hint_that_says_what_it_is() {
        let missing = |path: &str| Error::io("cannot open", path, io::ErrorKind::NotFound.into());
        for (path, hint) in [
            ("~/b.tar", "did not replace `~`"),
            ("C:\\Users\\me\\b.tar", "a path of Windows"),
            ("\\\\server\\share\\b.tar", "a path of Windows"),
            ("https://example.com/b.tar", "download the file first"),
            ("ssh-ed25519 AAAA me", "write it to a file"),
            ("SHA256:abc", "fingerprint"),
            ("oci:/x/layout", "write the path alone: /x/layout"),
            ("docker://quay.io/a/b:1", "--image"),
            ("localhost:5000/a/b:1", "--image"),
        ] {
            assert!(missing(path).hint_text().unwrap_or_default().contains(hint), "{path}: {:?}", missing(path));
        }
        assert_eq!(missing("missing/b.tar").hint_text(), None);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("b.tar.partial"), "").unwrap();
        let of = dir.path().join("b.tar").display().to_string();
        assert!(missing(&of).hint_text().unwrap_or_default().contains("b.tar.partial` exists"));
        let other = Error::io("cannot open", "~/b.tar", io::ErrorKind::PermissionDenied.into());
        assert_eq!(other.hint_text(), None);
    }

    #[test]
    fn an_error_survives_a_trip_through_io_error() {
        let io: io::Error = Error::new(Code::Auth, "no").transient().into();
        let back = Error::io("cannot read", "x", io);
        assert_eq!(back.code(), Code::Auth);
        assert!(back.is_transient());
    }
}
