//! `mirror-bundle unpack`

#[cfg(feature = "registry")]
use std::sync::Arc;
use std::time::Instant;

use serde_json::Map;

use super::answer::{self, Table};
#[cfg(feature = "registry")]
use super::args::SourcePolicy;
use super::args::{Global, MirrorSet, Output, Placement, Unpack};
use super::escape::name as named;
#[cfg(feature = "registry")]
use super::site;
use super::term::Terminal;
use super::{create, inputs, proof, verify};
use crate::bundle::Inputs;
use crate::error::{Code, Error, Result};
use crate::kubernetes::MirrorSetKind;
#[cfg(feature = "registry")]
use crate::oci::Repository;
#[cfg(feature = "registry")]
use crate::openshift::mirror_set;
#[cfg(feature = "registry")]
use crate::openshift::tags::Pattern;
use crate::ops::receipt::Books;
use crate::ops::unpack::{MirrorSets, Options, Outcome, Summary, unpack};
use crate::ops::{Observer, observer};
#[cfg(feature = "registry")]
use crate::sign::SecretKey;
use crate::sink::destination::RELEASE;
use crate::sink::placement::Placing;
#[cfg(feature = "registry")]
use crate::sink::placement::ReleaseImage;
use crate::verify::{Conditions, Report, Trust};

pub(super) fn run(args: &Unpack, global: &Global, term: &Terminal) -> Result<u8> {
    let started = Instant::now();
    #[cfg(feature = "registry")]
    let to = args.to.is_some();
    #[cfg(not(feature = "registry"))]
    let to = false;
    if !(to || args.to_dir.is_some() || args.to_layout.is_some() || args.manifests_to_dir.is_some() || args.dry_run) {
        return Err(nowhere());
    }
    #[cfg(feature = "cluster")]
    if !args.cluster.apply_manifests
        && (args.cluster.cluster.kubeconfig.is_some() || args.cluster.cluster.context.is_some())
    {
        return Err(Error::new(Code::Usage, "--kubeconfig and --context have no effect without --apply-manifests"));
    }
    let trust = inputs::trust(&args.trust)?;
    let conditions = inputs::conditions(&args.trust, &args.bundle, args.partial)?;
    let options = options(args, global, term)?;
    #[cfg(feature = "registry")]
    let conditions =
        crate::verify::Conditions { target: options.registry.as_ref().map(|(target, _)| target.clone()), ..conditions };
    let memory = crate::host::memory::folder();
    if !options.dry_run {
        crate::host::memory::ready(&memory)?;
    }
    if args.proof.sign_key.is_some() && !to && args.proof.proof.receipt.is_none() {
        return Err(Error::new(Code::Usage, "--sign-key signs receipts, and there is none")
            .hint("give --receipt FILE, or unpack to a registry with --to"));
    }
    #[cfg(feature = "registry")]
    site::ready(args, global.output)?;
    let key = proof::key(args.proof.sign_key.as_deref(), term)?;
    let books = proof::open("unpack", &args.proof.proof, key.clone(), &trust, args.dry_run)?;
    let run = Run {
        args,
        global,
        term,
        started,
        books: &books,
        memory: &memory,
        #[cfg(feature = "registry")]
        key,
    };
    run.carry(&trust, &conditions, &options).map_err(|e| proof::failed(&books, e, &args.bundle, term))
}

/// One run.
struct Run<'a> {
    args: &'a Unpack,
    global: &'a Global,
    term: &'a Terminal,
    started: Instant,
    books: &'a Books,
    memory: &'a std::path::Path,
    /// The key that signs receipts.
    #[cfg(feature = "registry")]
    key: Option<Arc<SecretKey>>,
}

impl Run<'_> {
    /// The report with what this run leaves on this host.
    fn prove(&self, report: &Report, summary: Option<&Summary>, code: u8) -> Result<Report> {
        let unpacked = serde_json::to_value(summary)
            .map_err(|e| Error::new(Code::Internal, "cannot write the receipt").source(e))?;
        let more = Map::from_iter([("unpacked".to_owned(), unpacked)]);
        let proof = proof::close(self.books, report, code, more)?;
        Ok(Report { proof, ..report.clone() })
    }

    fn carry(&self, trust: &Trust, conditions: &Conditions, options: &Options) -> Result<u8> {
        let Run { args, global, term, started, .. } = *self;
        let outcome = unpack(Inputs::of(&args.bundle)?, trust, conditions, options, term)?;
        #[cfg(feature = "registry")]
        options.registry.iter().for_each(|(_, client)| inputs::late_notices(client, term));
        match outcome {
            Outcome::Refused(report, state) => {
                let report = self.prove(&report, None, report.exit_code)?;
                if global.quiet < 2 || global.output != Output::Text {
                    verify::problems(&report, term, Some(&state));
                }
                if global.output == Output::Text && global.quiet == 1 {
                    answer::text(&verify::verdict_line(&report, true));
                }
                if global.output == Output::Text && global.quiet < 2 {
                    answer::text(&proof::lines(&report.proof));
                }
                if global.output != Output::Text {
                    answer::verified::<Summary>(global, "unpack", "unpacked", None, Some(&report), report.exit_code);
                }
                Ok(report.exit_code)
            }
            Outcome::Begun(report, summary) => {
                let report = self.prove(&report, Some(&summary), report.exit_code)?;
                finished(&report, &summary, report.exit_code, global, term, started);
                verify::still_missing(&report, term);
                Ok(report.exit_code)
            }
            Outcome::Tried(report, summary) => {
                let code = applied(&summary, term).unwrap_or(report.exit_code);
                finished(&report, &summary, code, global, term, started);
                Ok(code)
            }
            Outcome::Unpacked(verified, summary) => {
                crate::host::memory::remember(self.memory, &verified, args.trust.allow_rollback)
                    .map_err(|e| e.state("everything is unpacked, but this host could not record that"))?;
                let code = match verified.report().exit_code {
                    0 if !summary.refused.is_empty() && !without(args) => Code::PartlyUnpacked.exit(),
                    code => code,
                };
                for refused in &summary.refused {
                    let kind = refused.kind.as_str();
                    let of = refused.subject.map(|subject| format!(" of {subject}")).unwrap_or_default();
                    term.warn(&format!(
                        "the {kind} {}{of} was refused for {}: {}",
                        refused.digest, refused.repository, refused.why
                    ));
                }
                #[cfg(feature = "registry")]
                if summary.update_service.is_some() && !args.registry.plain_http.is_empty() {
                    term.warn("an update service speaks HTTPS only: it cannot read a registry that needs --plain-http");
                }
                let code = applied(&summary, term).unwrap_or(code);
                #[cfg(feature = "registry")]
                let mut summary = summary;
                #[cfg(feature = "registry")]
                let code = {
                    let failed = site::attest(args, &verified, options, self.key.as_deref(), &mut summary, term);
                    site::code(failed.as_ref(), code, term)
                };
                let report = self.prove(verified.report(), Some(&summary), code)?;
                finished(&report, &summary, code, global, term, started);
                #[cfg(feature = "registry")]
                if global.output == Output::Text && global.quiet < 2 {
                    site::print(args, &summary, term);
                }
                next(&summary, &report, term);
                Ok(code)
            }
        }
    }
}

/// Shows what failed at the cluster. The exit code for it, if something is not as the manifests have it.
#[cfg(feature = "cluster")]
fn applied(summary: &Summary, term: &Terminal) -> Option<u8> {
    let applied = summary.applied.as_ref()?;
    super::apply::problems(applied, term);
    applied.code().map(Code::exit)
}
#[cfg(not(feature = "cluster"))]
fn applied(_: &Summary, _: &Terminal) -> Option<u8> {
    None
}

/// Whether the manifests still are to be applied.
fn to_apply(summary: &Summary) -> bool {
    #[cfg(feature = "cluster")]
    if summary.applied.as_ref().is_some_and(|applied| applied.code().is_none()) {
        return false;
    }
    summary.manifests.is_some()
}

/// Whether attachments of images are unwanted, so that a registry may refuse some of them.
#[cfg(feature = "registry")]
fn without(args: &Unpack) -> bool {
    args.without_referrers
}
#[cfg(not(feature = "registry"))]
fn without(_: &Unpack) -> bool {
    false
}

fn finished(report: &Report, summary: &Summary, code: u8, global: &Global, term: &Terminal, started: Instant) {
    term.say("Finished", &format!("in {}", create::elapsed(started)));
    match global.output {
        Output::Json | Output::Jsonl => {
            answer::verified(global, "unpack", "unpacked", Some(summary), Some(report), code);
        }
        Output::Text if global.quiet < 2 => {
            answer::text(&(render(summary, &report.exceptions) + &proof::lines(&report.proof)));
        }
        Output::Text => {}
    }
}

/// Printed before the bundle is opened.
fn nowhere() -> Error {
    Error::new(Code::Usage, "nowhere to unpack to").hint("name a destination with --to, --to-dir or --to-layout")
}

#[cfg(feature = "registry")]
const REPOSITORY: &str = "write --to REGISTRY/REPOSITORY, without a tag";

/// Warns about a new folder that is named like a repository.
fn like_a_repository(dir: &std::path::Path, term: &Terminal) {
    let first = dir.to_str().and_then(|text| text.split_once('/')).map_or("", |(first, _)| first);
    let port = first.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if port && !crate::fs::dir::exists(dir) {
        term.warn(&format!("`{}` is a folder on this host; to push to a registry: --to", dir.display()));
    }
}

fn options(args: &Unpack, global: &Global, term: &Terminal) -> Result<Options> {
    args.to_dir.iter().chain(&args.to_layout).for_each(|dir| like_a_repository(dir, term));
    #[cfg(feature = "registry")]
    let (registry, tags) = match &args.to {
        Some(to) => {
            let (target, tags) = target(to, term)?;
            (Some((target, inputs::client(&args.registry, crate::registry::Side::Destination, term)?)), tags)
        }
        None => (None, None),
    };
    #[cfg(feature = "registry")]
    let release_image = args.to_release_image.as_deref().map(release_image).transpose()?;
    #[cfg(feature = "registry")]
    let (install_config, registries_d) = (args.install_config.clone(), args.registries_d.clone());
    #[cfg(feature = "registry")]
    let source_policy = args.mirror_source_policy.map(|policy| match policy {
        SourcePolicy::AllowContactingSource => mirror_set::SourcePolicy::Allow,
        SourcePolicy::NeverContactSource => mirror_set::SourcePolicy::Never,
    });
    #[cfg(not(feature = "registry"))]
    let (tags, release_image, install_config, registries_d, source_policy) = (None, None, None, None, None);
    let options = Options {
        #[cfg(feature = "registry")]
        registry,
        dir: args.to_dir.clone(),
        layout: args.to_layout.clone(),
        manifests: args.manifests_to_dir.clone(),
        mirror_sets: mirror_sets(&args.mirror_set)?,
        mapping: args.mapping.clone(),
        source_policy,
        install_config,
        registries_d,
        placing: Placing {
            release_image,
            tags,
            by_host: args.placement == Placement::Host,
            maps: args
                .map
                .iter()
                .map(|map| map.parse())
                .collect::<Result<_, crate::oci::Invalid>>()
                .map_err(|e| Error::new(Code::Usage, e.to_string()))?,
        },
        overwrite: args.overwrite,
        dry_run: args.dry_run,
        #[cfg(feature = "cluster")]
        apply: args.cluster.apply_manifests.then(|| crate::ops::apply::Options {
            cluster: super::apply::options(&args.cluster.cluster, term),
            overwrite: args.overwrite,
            mirror_sets: args.cluster.apply_mirror_sets,
            go_on: false,
            dry_run: args.dry_run,
            jobs: inputs::processors(global.jobs),
        }),
        #[cfg(feature = "registry")]
        ways: crate::sink::destination::Ways {
            max_nested_paths: args.max_nested_paths.map(usize::from),
            without_referrers: args.without_referrers,
        },
        pace: inputs::transfers(global.jobs),
    };
    if args.to_dir.is_some() && args.to_layout.is_some() {
        return Err(Error::new(Code::Usage, "--to-dir and --to-layout cannot be given together"));
    }
    Ok(options)
}

/// The value of `--to`: a repository, and after it the pattern of tags that `oc` takes there.
#[cfg(feature = "registry")]
fn target(to: &str, term: &Terminal) -> Result<(Repository, Option<Pattern>)> {
    let bare = inputs::bare(to, term).map_err(|err| {
        let local = err.hint_text().is_some_and(|hint| hint.contains("--from-layout"));
        let hint = if local { "for a local folder: --to-dir DIR, or --to-layout DIR" } else { REPOSITORY };
        err.hint(hint)
    });
    let to = bare?.trim_end_matches('/');
    let (to, pattern) = match to.split_once("${") {
        None => (to, None),
        Some((before, _)) => {
            let colon = before.rfind(':').filter(|colon| !before[*colon..].contains('/'));
            let Some(at) = colon else {
                return Err(Error::new(Code::Usage, format!("`{to}` has a variable in the name of the repository"))
                    .fact(
                        "as with oc, ${component} and ${version} may be in the tag only: a release has one repository",
                    )
                    .hint("--to 'REGISTRY/REPOSITORY:${version}-${component}'"));
            };
            let pattern = to[at + 1..].parse().map_err(|e: crate::oci::Invalid| {
                Error::new(Code::Usage, e.to_string()).hint("--to 'REGISTRY/REPOSITORY:${version}-${component}'")
            })?;
            (&to[..at], Some(pattern))
        }
    };
    let target = to.parse().map_err(|e: crate::oci::Invalid| {
        let why = if to.contains('/') { e.to_string() } else { format!("`{to}` does not name a repository") };
        Error::new(Code::Usage, why).hint(REPOSITORY)
    })?;
    Ok((target, pattern))
}

/// The value of `--to-release-image`.
#[cfg(feature = "registry")]
fn release_image(text: &str) -> Result<ReleaseImage> {
    let usage = |why: String| Error::new(Code::Usage, why).hint("--to-release-image REGISTRY/REPOSITORY:TAG");
    let tagged = text.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'));
    let (repository, tag) = tagged.map_or((text, None), |(repository, tag)| (repository, Some(tag)));
    Ok(ReleaseImage {
        repository: repository.parse().map_err(|e: crate::oci::Invalid| usage(e.to_string()))?,
        tag: tag.map(str::parse).transpose().map_err(|e: crate::oci::Invalid| usage(e.to_string()))?,
    })
}

/// The value of `--mirror-set`.
fn mirror_sets(given: &[MirrorSet]) -> Result<MirrorSets> {
    let usage = |text: &str, hint: &str| Err(Error::new(Code::Usage, text).hint(hint));
    if given.len() > 1 && given.contains(&MirrorSet::None) {
        return usage("--mirror-set none goes with no other kind", "leave it out, or the others");
    }
    if given.len() > 1 && given.contains(&MirrorSet::Icsp) {
        return usage(
            "--mirror-set icsp goes with no other kind: a cluster takes the old kind or the new ones",
            "for clusters before 4.13 icsp, for others idms,itms",
        );
    }
    if given.is_empty() {
        return Ok(MirrorSets::AsNeeded);
    }
    let kind = |given: &MirrorSet| match given {
        MirrorSet::Idms => Some(MirrorSetKind::Digest),
        MirrorSet::Itms => Some(MirrorSetKind::Tag),
        MirrorSet::Icsp => Some(MirrorSetKind::ContentSourcePolicy),
        MirrorSet::None => None,
    };
    Ok(MirrorSets::Kinds(given.iter().filter_map(kind).collect()))
}

fn count(n: u64, what: &str) -> String {
    observer::count(usize::try_from(n).unwrap_or(usize::MAX), what)
}

fn render(summary: &Summary, exceptions: &[String]) -> String {
    let mut table = Table::default();
    let verb = match (summary.dry_run, summary.incomplete) {
        (true, _) => "would write",
        (false, Some(_)) => "partial",
        (false, None) => "unpacked",
    };
    table.row(
        verb,
        format!(
            "{}, {} to {}",
            observer::count(summary.images, "image"),
            observer::count(summary.blobs, "blob"),
            summary.destinations.join(" and ")
        ),
    );
    if summary.dry_run && !summary.destinations.is_empty() {
        table.row("there", format!("{} ({})", count(summary.there.blobs, "blob"), observer::size(summary.there.bytes)));
        table.row("to move", format!("{} ({})", count(summary.new_blobs, "blob"), observer::size(summary.new_bytes)));
    }
    if !summary.dry_run {
        table.row(
            "new",
            format!(
                "{} ({}), {}, {}",
                count(summary.new_blobs, "blob"),
                observer::size(summary.new_bytes),
                count(summary.new_documents, "manifest"),
                count(summary.new_tags, "tag")
            ),
        );
    }
    if let Some(incomplete) = summary.incomplete {
        let text = observer::count(incomplete.blobs, "blob");
        table.row(
            "missing",
            format!("{text} ({}); no manifests and no tags were written", observer::size(incomplete.bytes)),
        );
    }
    if !summary.refused.is_empty() {
        let text = "attached to images, which are complete (see the warnings; --without-referrers leaves it out)";
        table.row("refused", format!("{} {text}", observer::count(summary.refused.len(), "manifest")));
    }
    if let Some(manifests) = &summary.manifests {
        table.row(
            "manifests",
            format!(
                "{} ({} to apply{})",
                manifests.display(),
                observer::count(summary.manifest_files, "file"),
                match summary.manifests_beside.len() {
                    0 => String::new(),
                    n => format!("; beside {} of other bundles", observer::count(n, "folder")),
                }
            ),
        );
    }
    if let Some(sets) = &summary.mirror_sets {
        table.row(
            "mirrors",
            format!(
                "{} (applying these can restart nodes{})",
                set_list(sets, &summary.mirror_set_files),
                match summary.mirror_sets_beside {
                    0 => String::new(),
                    n => format!("; beside {} of other bundles or targets", observer::count(n, "set")),
                }
            ),
        );
    }
    if let Some(service) = &summary.update_service {
        table.row("updates", format!("{} (for the one cluster that serves the update graph)", service.file.display()));
    }
    let files = [("mapping", &summary.mapping), ("install", &summary.install_config), ("hosts", &summary.registries_d)];
    for (name, file) in files {
        if let Some(file) = file {
            table.row(name, file.display().to_string());
        }
    }
    #[cfg(feature = "cluster")]
    if let Some(applied) = &summary.applied {
        super::apply::rows(applied, &mut table);
    }
    for exception in exceptions {
        table.row("exception", named(exception));
    }
    table.render()
}

/// The folder of mirror sets; or the files, if the folder may hold those of other bundles.
fn set_list(folder: &std::path::Path, files: &[std::path::PathBuf]) -> String {
    let names: Vec<_> = files.iter().filter_map(|f| f.file_name()).map(|n| n.to_string_lossy()).collect();
    format!("{}: {}", folder.display(), names.join(", "))
}

/// Whether mirror sets were applied to a cluster in the same run.
#[cfg(feature = "cluster")]
fn sets_applied(summary: &Summary) -> bool {
    let done = |entry: &crate::cluster::Entry| entry.outcome.is_done() && MirrorSetKind::of(&entry.object).is_some();
    summary.applied.as_ref().is_some_and(|applied| applied.objects.iter().any(done))
}
#[cfg(not(feature = "cluster"))]
fn sets_applied(_: &Summary) -> bool {
    false
}

fn next(summary: &Summary, report: &Report, term: &Terminal) {
    let mut lines = Vec::new();
    let large = report.findings().any(|finding| finding.message.ends_with(crate::kubernetes::LARGE));
    if let Some(manifests) = summary.manifests.as_ref().filter(|_| to_apply(summary)) {
        lines.push("apply the manifests with".to_owned());
        lines.push(format!(
            "  oc apply{} -Rf {}",
            if large { " --server-side" } else { "" },
            answer::quoted(&manifests.display().to_string())
        ));
    }
    if !summary.mirror_set_files.is_empty() && !sets_applied(summary) {
        lines.push("redirect the cluster to the mirror with".to_owned());
        for file in &summary.mirror_set_files {
            lines.push(format!("  oc apply -f {}", answer::quoted(&file.display().to_string())));
        }
        lines.push(
            "  (every node gets a new configuration, one after the other; an ImageTagMirrorSet also drains it)"
                .to_owned(),
        );
    }
    if let Some(service) = &summary.update_service {
        lines.push("serve the update graph from one cluster, which needs the operator cincinnati-operator".to_owned());
        lines.push(format!("  oc apply -f {}", answer::quoted(&service.file.display().to_string())));
        for step in &service.steps {
            lines.push(format!("  # {}", step.what));
            lines.extend(step.commands.iter().map(|command| format!("  {command}")));
        }
    }
    if let Some(dir) = &summary.tree {
        lines.push("push the images with oc".to_owned());
        lines.extend(summary.tree_repositories.iter().map(|repository| {
            let below = if repository == RELEASE { String::new() } else { format!("/{repository}") };
            format!(
                "  oc image mirror --keep-manifest-list --from-dir {} 'file://{repository}:*' REGISTRY/REPOSITORY{below}",
                answer::quoted(&dir.display().to_string())
            )
        }));
    }
    if !summary.upgrades.is_empty() {
        lines.push(match summary.upgrades.len() {
            1 => "start the upgrade with".to_owned(),
            _ => "start an upgrade with one of these".to_owned(),
        });
        let command = |image: &String| format!("  oc adm upgrade --allow-explicit-upgrade --to-image {image}");
        lines.extend(summary.upgrades.iter().map(command));
        lines.push(
            "  (oc requires --allow-explicit-upgrade for an image that is not among the cluster's available".to_owned(),
        );
        lines.push("  updates, and calls it dangerous: check that the cluster may upgrade to this version)".to_owned());
    }
    if !lines.is_empty() {
        term.next(&lines);
    }
}
