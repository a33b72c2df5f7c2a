//! Files that go where the user says: the mapping, and the text that `install-config.yaml` or a host needs.

use std::path::{Path, PathBuf};

use super::places::{self, Mirrors};
use super::{Options, Summary};
use crate::error::{Code, Error, Result};
use crate::fs::{AtomicFile, dir, small};
use crate::kubernetes::MirrorSetKind;
use crate::oci::{Digest, Repository};
use crate::openshift::mirror_set;
use crate::sink::destination::Placed;

/// The largest existing file that is compared, in bytes.
const LARGEST: u64 = 16 << 20;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Mapping,
    InstallConfig,
    RegistriesD,
}

impl Purpose {
    /// The name in messages, and the flag.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Purpose::Mapping => ("the mapping", "--mapping FILE"),
            Purpose::InstallConfig => ("the snippet for install-config.yaml", "--install-config FILE"),
            Purpose::RegistriesD => ("the snippet for registries.d", "--registries-d FILE"),
        }
    }
}

/// A file, and what will be in it.
pub(super) struct Snippet {
    purpose: Purpose,
    to: PathBuf,
    text: Vec<u8>,
}

/// The files that the options ask for.
pub(super) fn snippets(
    options: &Options,
    mirrors: Option<&Mirrors<'_>>,
    placed: &[Placed<'_>],
) -> Result<Vec<Snippet>> {
    let mut out = Vec::new();
    let mut add = |purpose, to: &Path, text: Vec<u8>| out.push(Snippet { purpose, to: to.to_owned(), text });
    if let Some(to) = &options.mapping {
        add(Purpose::Mapping, to, places::mapping(placed));
    }
    if let (Some(to), Some(mirrors)) = (&options.install_config, mirrors) {
        let pairs: Vec<_> = [true, false].iter().flat_map(|r| mirrors.pairs(MirrorSetKind::Digest, *r)).collect();
        let text = mirror_set::install_config(&pairs, options.source_policy).map_err(|e| {
            Error::new(Code::Usage, format!("no imageDigestSources can be written: {e}"))
                .hint("leave out --install-config")
        })?;
        add(Purpose::InstallConfig, to, text.into_bytes());
    }
    if let (Some(to), Some(mirrors)) = (&options.registries_d, mirrors) {
        let to = if to.is_dir() { to.join(file_name(mirrors.target)) } else { to.clone() };
        if to.extension().is_none_or(|end| end != "yaml") {
            let text =
                format!("hosts do not read `{}`: in registries.d they read files that end in .yaml", to.display());
            return Err(Error::new(Code::Usage, text).hint("for example --registries-d mirror.yaml"));
        }
        add(Purpose::RegistriesD, &to, attachments(mirrors.target, placed).into_bytes());
    }
    Ok(out)
}

/// The name of the file for a mirror in a folder such as `/etc/containers/registries.d`: the same for the same mirror,
/// because two files there must not name one repository.
fn file_name(target: &Repository) -> String {
    let hex = Digest::of(target.to_string().as_bytes()).hex();
    format!("mirror-bundle-{}-{}.yaml", mirror_set::word(target.path()), &hex[..8])
}

/// The file for containers-registries.d(5) that makes hosts read the cosign signatures of the mirror. A repository
/// covers those below it.
fn attachments(target: &Repository, placed: &[Placed<'_>]) -> String {
    let mut all = vec![target.to_string()];
    for placed in placed.iter().filter(|placed| placed.at_registry()) {
        let covered = |over: &String| placed.repository == *over || placed.repository.starts_with(&format!("{over}/"));
        if !all.iter().any(covered) {
            all.push(placed.repository.clone());
        }
    }
    all.sort();
    let entry = |repository: &String| format!("  \"{repository}\":\n    use-sigstore-attachments: true\n");
    format!("docker:\n{}", all.iter().map(entry).collect::<String>())
}

impl Snippet {
    /// Checks whether [`Snippet::write`] would fail, as far as possible in advance.
    pub(super) fn check(&self, overwrite: bool) -> Result<()> {
        let ((what, flag), to) = (self.purpose.names(), &self.to);
        let folder = dir::folder_of(to);
        if to.is_dir() || !folder.is_dir() {
            return Err(Error::new(Code::Usage, format!("{what} cannot be written to `{}`", to.display()))
                .hint(format!("name a file in a folder that exists: {flag}")));
        }
        crate::fs::space::writable(folder).map_err(|e| Error::io("cannot write in", folder, e))?;
        if !overwrite && dir::exists(to) && !small::read(to, LARGEST).is_ok_and(|there| there == self.text) {
            return Err(Error::new(Code::Conflict, format!("`{}` exists with other content", to.display()))
                .hint("compare them; --overwrite replaces it"));
        }
        Ok(())
    }

    /// Writes the file, replacing an existing one, and says so in the summary.
    pub(super) fn write(self, summary: &mut Summary) -> Result<()> {
        let mut temporary = self.to.as_os_str().to_owned();
        temporary.push(".partial");
        let done = AtomicFile::begin(Path::new(&temporary)).and_then(|file| file.commit(&self.text, &self.to, true));
        done.map_err(|e| Error::io("cannot write", &self.to, e))?;
        let place = match self.purpose {
            Purpose::Mapping => &mut summary.mapping,
            Purpose::InstallConfig => &mut summary.install_config,
            Purpose::RegistriesD => &mut summary.registries_d,
        };
        *place = Some(self.to);
        Ok(())
    }
}
