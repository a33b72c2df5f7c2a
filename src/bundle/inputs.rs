//! The inputs that a user names as one bundle: a file, several volumes or copies, folders of them, or a stream.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::carriage::Document;
use super::index::Index;
use super::limits;
use super::reader::Bundle;
use crate::error::{Code, Error, Result};
use crate::fs::dir;
use crate::fs::partial::allow_open_files;
use crate::oci::Digest;

/// The most entries of a folder that are read: a medium can list names without end.
const ENTRIES: usize = 100_000;
/// The most files that are read as one bundle.
const PARTS: usize = 2 * super::limits::VOLUMES as usize;
/// The most different bundles among them, since their indexes are held in memory.
const DIFFERENT: usize = 4;

/// The source of a bundle or its parts.
pub enum Inputs {
    /// Files, and folders whose bundles and volumes are all read.
    Paths(Vec<PathBuf>),
    /// A stream, and its name in messages.
    Stream(String, Box<dyn Read + Send>),
}

impl std::fmt::Debug for Inputs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.display())
    }
}

impl From<&Path> for Inputs {
    fn from(path: &Path) -> Inputs {
        Inputs::Paths(vec![path.to_owned()])
    }
}

impl Inputs {
    /// These paths; a single `-` is standard input.
    pub fn of(paths: &[PathBuf]) -> Result<Inputs> {
        match paths {
            [one] if one == Path::new("-") => Ok(Inputs::stream(Box::new(std::io::stdin()))),
            several if several.iter().any(|p| p == Path::new("-")) => {
                Err(Error::new(Code::Usage, "standard input cannot be read together with files")
                    .hint("give files and folders, or - alone"))
            }
            several => Ok(Inputs::Paths(several.to_vec())),
        }
    }

    /// A bundle or volume on standard input.
    pub fn stream(from: Box<dyn Read + Send>) -> Inputs {
        Inputs::Stream("standard input".to_owned(), from)
    }

    /// Whether it can be read only once.
    pub fn is_stream(&self) -> bool {
        matches!(self, Inputs::Stream(..))
    }

    /// Its name in messages and reports.
    pub fn display(&self) -> String {
        match self {
            Inputs::Stream(..) => "-".to_owned(),
            Inputs::Paths(paths) => {
                let all: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
                all.join(" ")
            }
        }
    }

    /// Opens all inputs. Other files in a folder are skipped. A named file, or one that looks like a bundle, that
    /// cannot be opened is returned as its error.
    ///
    /// # Errors
    /// The error of listing a folder; [`Code::NotABundle`] for a folder without any bundle.
    pub fn open(self) -> Result<Vec<(String, Result<Bundle>)>> {
        let paths = match self {
            Inputs::Stream(name, from) => return Ok(vec![("-".to_owned(), Bundle::stream(&name, from))]),
            Inputs::Paths(paths) => paths,
        };
        let mut found = OpenedFiles::default();
        allow_open_files(paths.len().min(PARTS));
        for path in &paths {
            match path.is_dir() {
                true => folder(path, &mut found)?,
                false => add(path, &mut found)?,
            }
        }
        Ok(found.all)
    }
}

/// The error for a file of another bundle: an older or newer one of the series, or an unrelated one.
pub fn foreign(bundle: &Bundle, path: &str, index: &Index, wanted: &Digest) -> Error {
    let text = match Index::parse(&bundle.head().index) {
        Ok(other) if other.name == index.name && other.sequence.is_some() && other.sequence < index.sequence => {
            format!("`{path}` is of an older bundle: {}, not {}", other.title(), index.title())
        }
        Ok(other) => format!("`{path}` belongs to another bundle: {}", other.title()),
        Err(_) => format!("`{path}` has another index than the others"),
    };
    Error::new(Code::UnlistedContent, text)
        .fact(format!("its index   {}", bundle.head().digest()))
        .fact(format!("the others' {wanted}"))
        .hint("leave it out")
}

/// Opens one file among several.
fn add(path: &Path, found: &mut OpenedFiles) -> Result<()> {
    let name = path.display().to_string();
    let mut opened = Bundle::open(path);
    if let Ok(bundle) = &mut opened {
        bundle.share(&mut found.known);
        found.heads += bundle.share_carriage(&mut found.carriages);
    }
    found.heads += opened.as_ref().map_or(0, |bundle| {
        let head = bundle.head();
        let removals = head.removals.iter().map(|one| one.statement.len() + one.signature.len()).sum::<usize>();
        head.volume.as_ref().map_or(0, Vec::len) + head.signature.as_ref().map_or(0, Vec::len) + removals
    });
    let too_many = match () {
        () if found.known.len() > DIFFERENT => format!("more than {DIFFERENT} different bundles are named as one"),
        () if found.all.len() == PARTS => format!("more than {PARTS} files are named as one bundle"),
        () if found.all.len() > 1 && found.heads > limits::HEADS => {
            format!("the descriptions of the volumes have more than {} bytes together", limits::HEADS)
        }
        () => {
            found.all.push((name, opened));
            return Ok(());
        }
    };
    Err(Error::new(Code::Usage, too_many)
        .hint("give the volumes or copies of one bundle, or only some of them with --partial"))
}

#[derive(Default)]
struct OpenedFiles {
    all: Vec<(String, Result<Bundle>)>,
    known: Vec<Arc<Vec<u8>>>,
    carriages: Vec<Arc<Document>>,
    /// Bytes of descriptions and signatures; all of them are held in memory.
    heads: usize,
}

/// Every bundle and volume in a folder, by name.
fn folder(path: &Path, found: &mut OpenedFiles) -> Result<()> {
    let err = |e| Error::io("cannot list", path, e);
    let mut files = Vec::new();
    for (name, _) in dir::list(path, ENTRIES).map_err(err)? {
        let file = path.join(name);
        // A volume whose writing was interrupted has no final name yet.
        if file.is_file() && file.extension().is_none_or(|e| e != "partial") {
            files.push(file);
        }
    }
    files.sort();
    let before = found.all.len();
    allow_open_files((before + files.len()).min(PARTS));
    for file in files {
        add(&file, found)?;
        if matches!(found.all.last(), Some((_, Err(e))) if e.code() == Code::NotABundle) {
            found.all.pop();
        }
    }
    if found.all.len() == before {
        let name = path.display();
        let there = |file: &str| path.join(file).exists();
        let other = match () {
            () if there("oci-layout") => Some(("an OCI image layout", "--from-layout")),
            () if there("v2") => Some(("a mirror directory of oc", "--from-dir")),
            () if there("manifest.json") && there("version") => Some(("a dir: directory of skopeo", "--from-layout")),
            () => None,
        };
        return Err(match other {
            Some((what, flag)) => Error::new(Code::NotABundle, format!("`{name}` is {what}, not a mirror-bundle"))
                .hint(format!("to make a bundle of its images: mirror-bundle create BUNDLE {flag} DIR")),
            None => Error::new(Code::NotABundle, format!("`{name}` contains no bundle and no volume"))
                .hint("name the folder with the .tar files, or the files themselves"),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::bundle::volume::VOLUME;
    use crate::bundle::{layout, tar};

    /// A file that begins like a volume of a bundle with this index.
    fn head(path: &Path, index: &[u8], description: usize) {
        let (marker, spaces) = (layout::OCI_LAYOUT_JSON, vec![b' '; description]);
        let mut bytes = Vec::new();
        for (name, content) in
            [(layout::OCI_LAYOUT, marker), (layout::INDEX, index), (VOLUME, &spaces), (layout::SUMS, b"")]
        {
            bytes.extend(tar::header(name, content.len() as u64, 1));
            bytes.extend(content);
            bytes.resize(bytes.len().next_multiple_of(tar::BLOCK as usize), 0);
        }
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn descriptions_and_bundles_of_many_files_are_held_to_a_bound() {
        let refused = |dir: &Path| {
            let err = Inputs::from(dir).open().unwrap_err();
            assert_eq!(err.code(), Code::Usage);
            err.message().to_owned()
        };
        let dir = tempfile::tempdir().unwrap();
        for n in 0..8 {
            head(&dir.path().join(n.to_string()), b"index", 1 << 20);
        }
        assert_eq!(Inputs::from(dir.path()).open().unwrap().len(), 8);
        head(&dir.path().join("8"), b"index", 1);
        assert!(refused(dir.path()).contains("8388608 bytes"));

        let dir = tempfile::tempdir().unwrap();
        for n in 0..4u8 {
            head(&dir.path().join(n.to_string()), &[n], 1);
        }
        assert_eq!(Inputs::from(dir.path()).open().unwrap().len(), 4);
        head(&dir.path().join("4"), &[4], 1);
        assert!(refused(dir.path()).contains("more than 4 different bundles"));

        // More files than a process may open by default.
        let dir = tempfile::tempdir().unwrap();
        let first = dir.path().join("0");
        head(&first, b"index", 1);
        for n in 1..PARTS {
            std::fs::hard_link(&first, dir.path().join(n.to_string())).unwrap();
        }
        let opened = Inputs::from(dir.path()).open().unwrap();
        assert!(opened.len() == PARTS && opened.iter().all(|(_, bundle)| bundle.is_ok()));
        drop(opened);
        std::fs::hard_link(&first, dir.path().join(PARTS.to_string())).unwrap();
        assert!(refused(dir.path()).contains("more than 1998 files"));
    }

    #[test]
    fn a_folder_without_bundles_and_standard_input_among_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("notes.txt"), "nothing").unwrap();
        let err = Inputs::from(dir.path()).open().unwrap_err();
        assert_eq!(err.code(), Code::NotABundle);
        assert_eq!(Inputs::of(&["-".into(), "x".into()]).unwrap_err().code(), Code::Usage);
        assert!(Inputs::of(&["-".into()]).unwrap().is_stream());
    }
}
