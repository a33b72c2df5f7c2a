//! The example that `explain rules` prints.

/// Eight rules, of all kinds, and two entries that accept something.
pub const EXAMPLE: &str = "\
# A policy for verify, scan and report (--policy FILE). An open finding of severity error: exit code 41; a check that is
# asked for and did not run: 42. Patterns: * is any text, ? any character. Every list may be a single text.
rules:
- id: our-registries
  severity: error                       # error, warning or notice
  reason: images come from places that we have approved
  images:                               # all members that are given must fit
    outside: ['quay.io/openshift-release-dev/*', 'registry.redhat.io/*']
    # also: within, digest, architecture, kinds (release, component, additional, signature, referrer, graph-data),
    # without (sbom, or attestation TYPE), newestLayerOlderThan (90d), newestLayerNewerThan (3d), sizeOver (2GiB)
- id: signed
  severity: error
  reason: additional images are signed by a key of the trust policy
  images: {kinds: additional, unsigned: true}
- id: not-as-root
  severity: warning
  reason: containers do not run as root
  images: {user: root}
- id: no-setuid
  severity: error
  reason: programs with more rights than their user are reviewed one by one
  files:                                # files of all layers, also those that a later layer deletes
    mode: [setuid, setgid, capabilities]   # also: world-writable, device
    except: ['/usr/bin/passwd']
- id: no-keys
  severity: error
  reason: private keys never cross
  files: {class: private-key}           # also: foreign-program; path: [PATTERN], sha256: [DIGEST]
- id: log4shell
  severity: error
  reason: CVE-2021-44228 and those after it
  packages:
    purl: pkg:maven/org.apache.logging.log4j/log4j-core   # without version; * stands for any text
    versions: ['>= 2.0, < 2.17.1']      # one of these; in the order of the type of the purl
    # also: license: ['AGPL*'], with or without a purl
- id: nothing-cluster-wide
  severity: error
  reason: operators of the cluster apply such objects by hand
  manifests: {clusterScoped: true}      # also: kinds ('apps/v1/Deployment', '*/Secret'), namespaces, imagesNotCarried
- id: two-scanners
  severity: error
  reason: two independent scanners with fresh data (ISM-0657)
  checks: {scanners: 2, databaseNotOlderThan: 7d}   # also: vulnerabilities: true (--evidence for each image)

# Accepted for a time: what a rule or a scanner found, by digest, purl or path. It is shown in every report.
accept:
- rule: no-setuid
  subject: /usr/bin/sudo
  reason: needed by the support image, CHG-20417
  by: review desk, J. Doe
  until: 2026-12-31                     # at most a year ahead; afterwards it counts as open
- scanner: clamd
  subject: sha256:0000000000000000000000000000000000000000000000000000000000000000
  reason: test file of a scanner
  by: review desk, J. Doe
  until: 2026-12-31
";
