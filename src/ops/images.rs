//! Single images of a bundle that can be read more than once: their merged view, and single files.

use std::io::{self, Read, Write};
use std::sync::PoisonError;

use super::reading::Library;
use super::shelf::Member;
use crate::content::layer::{self, Bounds, FileEntry, Reading, Remarks};
use crate::content::{Found, Merged, Node};
use crate::error::{Code, Error, Result};
use crate::oci::{Descriptor, Digest, Platform};
use crate::ops::Observer;
use crate::report::Severity;

/// How much is copied at once.
const BUFFER: usize = 128 << 10;

impl Library<'_> {
    /// Calls `visit` for every entry of a layer, as container runtimes see it, and checks the layer to its end.
    ///
    /// # Errors
    /// Those of `visit`; [`Code::Malformed`] for a layer that is damaged or exceeds a limit.
    pub fn layer(
        &self,
        layer: &Descriptor,
        observer: &dyn Observer,
        visit: &mut dyn FnMut(&FileEntry, &mut dyn Read) -> Result<()>,
    ) -> Result<Remarks> {
        let mut remarks = Remarks::default();
        if !layer::is_layer(&layer.media_type) {
            return Ok(remarks);
        }
        let mut raw = Stoppable { inner: self.open(&layer.digest)?, observer };
        let bounds = Bounds::of(layer.size);
        let read = layer::files(&layer.media_type, Box::new(&mut raw), bounds, Reading::Runtime, &mut remarks, visit);
        // The last read says whether the content is what its digest says, which explains any other error.
        let checked = io::copy(&mut raw, &mut io::sink()).map_err(|e| layer::broken("an image", e));
        match (checked, read) {
            (Err(e), _) | (Ok(_), Err(e)) => Err(e.fact(format!("layer {}", layer.digest))),
            (Ok(_), Ok(_)) => {
                self.note(&layer.digest, &remarks);
                Ok(remarks)
            }
        }
    }

    /// Keeps what `remarks` say of a layer that was read as container runtimes do, if other tar readers see something
    /// else in it.
    fn note(&self, layer: &Digest, remarks: &Remarks) {
        let Some(carried) = self.shelf().get(layer).filter(|_| remarks.is_ambiguous()) else { return };
        let names = self.shelf().names(self.index(), carried);
        let mut findings = super::files::findings(carried, &names, remarks, None);
        findings.retain(|finding| finding.severity == Severity::Error);
        self.found.lock().unwrap_or_else(PoisonError::into_inner).insert(*layer, findings);
    }

    /// The merged view of an image.
    ///
    /// # Errors
    /// Those of its layers.
    pub fn merged(&self, member: &Member, observer: &dyn Observer) -> Result<Merged> {
        let mut merged = Merged::default();
        for layer in &member.layers {
            self.layer(layer, observer, &mut |entry, _| merged.add(entry))?;
            merged.end_layer();
        }
        Ok(merged)
    }
}

/// Ends with an interruption.
struct Stoppable<'o, R> {
    inner: R,
    observer: &'o dyn Observer,
}

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.observer.check()?;
        self.inner.read(buffer)
    }
}

/// What `cat` writes.
#[derive(Debug)]
pub struct Cat<'c> {
    /// A digest, the path of a member of the bundle, or `IMAGE:/path`.
    pub what: &'c str,
    /// Of an image this layer alone, instead of the merged view.
    pub layer: Option<Digest>,
    /// Of a list the image for this platform.
    pub platform: Option<&'c Platform>,
}

/// Writes one content to `to`. The last part is written only after everything was checked.
///
/// # Errors
/// [`Code::Usage`] when there is nothing of that name, or it has no content; [`Code::BlobMismatch`] when the content is
/// not what its digest says: then it is incomplete.
pub fn cat(library: &Library<'_>, cat: &Cat<'_>, to: &mut dyn Write, observer: &dyn Observer) -> Result<()> {
    let mut to = Held { to, kept: Vec::new() };
    if let Some((image, path)) = cat.what.split_once(":/") {
        file_of_image(library, cat, (image, path.as_bytes()), &mut to, observer)?;
        return to.end();
    }
    let usage = |text: String| Err(Error::new(Code::Usage, text));
    if cat.layer.is_some() {
        return usage(format!("`{}` is no file of an image, so --layer has no meaning", cat.what));
    }
    if let Ok(digest) = cat.what.parse::<Digest>() {
        blob(library, &digest, &mut to, observer)?;
    } else if let Some(bytes) = library.member(cat.what)? {
        to.write_all(&bytes).map_err(output)?;
    } else if let Some(digest) = cat.what.strip_prefix("blobs/sha256/").and_then(|hex| Digest::from_hex(hex).ok()) {
        blob(library, &digest, &mut to, observer)?;
    } else {
        let err = Error::new(Code::Usage, format!("the bundle has no `{}`", cat.what));
        return Err(err.hint("name a digest, the path of a member (tar -tf BUNDLE), or IMAGE:/path/in/image"));
    }
    to.end()
}

fn blob(library: &Library<'_>, digest: &Digest, to: &mut dyn Write, observer: &dyn Observer) -> Result<()> {
    let mut from = Stoppable { inner: library.open(digest)?, observer };
    copy(&mut from, to)
}

fn file_of_image(
    library: &Library<'_>,
    cat: &Cat<'_>,
    (image, path): (&str, &[u8]),
    to: &mut dyn Write,
    observer: &dyn Observer,
) -> Result<()> {
    let member = library.shelf().one(library.index(), image, cat.platform)?;
    let nothing = || Error::new(Code::Usage, format!("`{image}` has no file `/{}`", String::from_utf8_lossy(path)));
    let (layer, wanted) = match cat.layer {
        Some(digest) => {
            let none = || Error::new(Code::Usage, format!("`{image}` has no layer {digest}"));
            let layer = member.layers.iter().find(|layer| layer.digest == digest).ok_or_else(none)?;
            (layer, last_of(library, layer, path, observer)?.ok_or_else(nothing)?)
        }
        None => {
            let merged = library.merged(member, observer)?;
            let found = match merged.find(path, true) {
                Found::Node(at) => merged.node(at),
                Found::Nothing => None,
                Found::Loop => {
                    let text = format!("`/{}` leads through too many links", String::from_utf8_lossy(path));
                    return Err(Error::new(Code::Usage, text));
                }
            };
            let node = found.ok_or_else(nothing)?;
            let place = node.place.filter(|_| is_content(node)).ok_or_else(|| {
                let text =
                    format!("`/{}` is no file: it is of kind {}", String::from_utf8_lossy(path), node.kind.as_str());
                Error::new(Code::Usage, text).hint("mirror-bundle ls BUNDLE --files IMAGE lists what is in it")
            })?;
            (&member.layers[place.layer as usize], u64::from(place.entry))
        }
    };
    library.layer(layer, observer, &mut |entry, content| match entry.number == wanted {
        true => copy(content, to),
        false => Ok(()),
    })?;
    Ok(())
}

/// Whether a node has bytes.
pub(super) fn is_content(node: &Node) -> bool {
    matches!(node.kind, layer::FileKind::File | layer::FileKind::Other(_))
}

/// The last entry of a layer at a path; a hard link leads to its target.
fn last_of(library: &Library<'_>, layer: &Descriptor, path: &[u8], observer: &dyn Observer) -> Result<Option<u64>> {
    let clean = |path: &[u8]| -> Vec<u8> {
        let parts: Vec<&[u8]> = path.split(|b| *b == b'/').filter(|p| !matches!(*p, b"" | b".")).collect();
        parts.join(&b'/')
    };
    let mut wanted = clean(path);
    for _ in 0..8 {
        let (mut found, mut link) = (None, None);
        library.layer(layer, observer, &mut |entry, _| {
            if entry.path == wanted {
                found = Some(entry.number);
                link = entry.target.clone().filter(|_| entry.kind == layer::FileKind::HardLink);
            }
            Ok(())
        })?;
        match link {
            Some(target) => wanted = target,
            None => return Ok(found),
        }
    }
    Ok(None)
}

/// Copies a content; an error of the output is told from one of the input.
pub(super) fn copy(from: &mut dyn Read, to: &mut dyn Write) -> Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => to.write_all(&buffer[..n]).map_err(output)?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(layer::broken("an image", e)),
        }
    }
}

pub(super) fn output(e: io::Error) -> Error {
    Error::io("cannot write", "standard output", e)
}

/// Holds the last bytes back.
struct Held<'t> {
    to: &'t mut dyn Write,
    kept: Vec<u8>,
}

impl Held<'_> {
    /// Writes what was held back: all checks have passed.
    fn end(self) -> Result<()> {
        self.to.write_all(&self.kept).and_then(|()| self.to.flush()).map_err(output)
    }
}

impl Write for Held<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !bytes.is_empty() {
            self.to.write_all(&self.kept)?;
            self.kept.clear();
            self.kept.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
