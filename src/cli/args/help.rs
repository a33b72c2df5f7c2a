//! The help of the program.

/// What `mirror-bundle` alone, `-h` and `--help` print.
pub(super) fn text() -> String {
    const APPLY: &str = "  apply            Verify, then apply the manifests to a cluster\n";
    const INVENTORY: &str = "  inventory        Write down what a registry has, for `create --base`\n";
    let text = if cfg!(feature = "cluster") { HELP.to_owned() } else { HELP.replace(APPLY, "") };
    if cfg!(feature = "registry") { text } else { text.replace(INVENTORY, "") }
}

/// `every_command_is_in_the_help` keeps it complete.
pub(super) const HELP: &str = "\
{about}.

Usage: mirror-bundle COMMAND [BUNDLE] [OPTIONS]

  create           Build a bundle from a release, images or manifests
  verify           Check a bundle: every byte, every signature
  unpack           Verify, then write to a registry or a directory
  apply            Verify, then apply the manifests to a cluster

Look inside:
  inspect          Show what a bundle says it contains
  ls               List its images, blobs, manifests or files, one per line
  cat              Print one file of a bundle, or of an image in it
  diff             Compare two bundles, or a bundle with a registry
  extract          Write the files of one image, or one image as an archive
  sbom             Write an SBOM of the packages in its images
  scan             Hand everything in it to virus scanners
  report           Write one sheet about it, for a reviewer to file

Choose releases:
  list             List the channels and releases of an update graph

Only what is new (explain receipts):
  inventory        Write down what a registry has, for `create --base`
  shrink           Leave out of a bundle what its receiver has
  expand           Write the full bundle of one that leaves things out

Several media:
  split            Divide a bundle into volumes of a given size
  join             Put volumes back together

Trust:
  keygen           Make a signing key
  sign             Verify, then add a signature or a review record
  scrub            Take something out of a bundle, as its reviewer
  check-signature  Check one OpenShift release signature file
  receipt          Check a receipt of a run, or of a site
  log              Check the log of this host

Repair:
  recovery         Create recovery data, to repair damage in transit
  repair           Repair a bundle from recovery data, another copy or a registry

More:
  COMMAND -h       The options of a command
  explain CODE     What an error code means, and what to do
  explain exit-codes | environment | trust | receipts | rules
  man [COMMAND]    Show the manual page; --dir DIR writes all of them
  completions      Print completions for bash, zsh, fish, elvish or powershell

Examples:
  mirror-bundle keygen builder.key
  mirror-bundle create ocp.tar --sign-key builder.key \\
      --release quay.io/openshift-release-dev/ocp-release:4.16.37-x86_64
  mirror-bundle verify ocp.tar --signer builder.key.pub
  mirror-bundle unpack ocp.tar --signer builder.key.pub --to registry.example.com/ocp/release
";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::{Args, COMMANDS};
    use super::*;

    #[test]
    fn every_command_is_in_the_help() {
        let mut command = Args::command();
        command.build();
        command.clone().debug_assert();
        for sub in command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help") {
            let line = format!("\n  {} ", sub.get_name());
            let most = 1 + usize::from(sub.get_name() == "explain");
            let times = HELP.matches(&line).count();
            assert!((1..=most).contains(&times) && COMMANDS.contains(&sub.get_name()), "{line}");
        }
    }
}
