//! `--apply-manifests`: the cluster is asked before the first blob is sent, and changed when all images are complete.

use crate::cluster::{self, Entry, Item, Outcome as Did};
use crate::error::{Code, Error, Result};
use crate::ops::Observer;
use crate::ops::apply::{Applied, Applying, Options, differs, items};
use crate::verify::Admitted;

/// What is to be applied, and what that would do.
#[derive(Debug)]
pub(super) struct Planned<'o> {
    options: &'o Options,
    items: Vec<Item>,
    compared: Applied,
}

/// What this program derives from a bundle for a cluster.
pub(super) struct Derived {
    /// Mirror sets.
    pub(super) sets: Vec<(String, Vec<u8>)>,
    /// The update service, for a cluster that has its operator.
    pub(super) service: Option<(String, Vec<u8>)>,
}

/// Compares the manifests, and the mirror sets that are written for the target if those are to be applied, with the
/// cluster. `None`: there are none.
///
/// # Errors
/// If the cluster cannot be asked, or, unless this is a dry run, if applying would not succeed.
pub(super) fn plan<'o>(
    options: &'o Options,
    admitted: &Admitted<'_>,
    derived: &Derived,
    observer: &dyn Observer,
) -> Result<Option<Planned<'o>>> {
    let mut all = items(admitted.files("manifests/"))?;
    if options.mirror_sets {
        all.extend(items(derived.sets.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())))?);
    }
    let service = items(derived.service.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())))?;
    all.extend(service.into_iter().map(|item| Item { needs: Some(OPERATOR), ..item }));
    if all.is_empty() {
        observer.say("Note", "there are no manifests to apply");
        return Ok(None);
    }
    let comparing = Applying::connect(&Options { dry_run: true, ..options.clone() }, all.clone(), observer)?;
    let plan = comparing.plan()?;
    let compared = match options.dry_run {
        true => comparing.planned(plan, observer),
        false => {
            acceptable(&plan)?;
            comparing.planned(plan, &crate::ops::Silent)
        }
    };
    Ok(Some(Planned { options, items: all, compared }))
}

/// What brings the kind of the update service.
const OPERATOR: &str = "the operator of the update service (package cincinnati-operator)";

/// The error of a plan that would not succeed.
fn acceptable(plan: &[Entry]) -> Result<()> {
    let bad: Vec<&Entry> = plan.iter().filter(|entry| entry.code().is_some()).collect();
    let Some(code) = cluster::worst(bad.iter().filter_map(|entry| entry.code())) else { return Ok(()) };
    let facts = bad.iter().take(20).flat_map(|entry| match &entry.error {
        Some(error) => std::iter::once(error.message().to_owned()).chain(error.facts().to_vec()).collect::<Vec<_>>(),
        None => vec![differs(entry)],
    });
    let text = format!("{} of {} manifests cannot be applied", bad.len(), plan.len());
    let error = facts.fold(Error::new(code, text), Error::fact);
    let own = bad.iter().filter(|entry| entry.code() == Some(code)).find_map(|entry| entry.error.as_ref()?.hint_text());
    Err(match own {
        Some(hint) => error.hint(hint),
        None if code == Code::Conflict => {
            error.hint("compare them with `mirror-bundle apply BUNDLE --dry-run`; --overwrite changes them")
        }
        None => error,
    })
}

impl Planned<'_> {
    /// The answer of a dry run.
    pub(super) fn tried(self) -> Applied {
        self.compared
    }

    /// Compares again, since the transfer may have taken hours, and applies. The images are complete: whatever happens
    /// now is part of the answer.
    pub(super) fn run(self, observer: &dyn Observer) -> Applied {
        let Planned { options, items, compared } = self;
        let connected = Applying::connect(options, items, observer);
        let planned = connected.and_then(|applying| applying.plan().map(|plan| (applying, plan)));
        match planned {
            Ok((applying, plan)) => applying.run(plan, observer),
            Err(error) => {
                let mut lost = Applied { dry_run: false, ..compared };
                for entry in lost.objects.iter_mut().filter(|entry| entry.outcome != Did::LeftOut) {
                    entry.outcome = Did::NotApplied;
                }
                lost.state =
                    "the images are complete, and no manifest was applied; mirror-bundle apply BUNDLE does that".into();
                lost.error = Some(error.state(lost.state.clone()));
                lost
            }
        }
    }
}
