#!/usr/bin/env bash
# Runs all tests. Installs with apt or dnf what they need and this machine lacks; asks before it calls sudo. Where
# nobody can be asked, it calls sudo only if CI is set.
# Further arguments go to `cargo test`.
# With MIRROR_BUNDLE_TESTS=complete a test that cannot run here fails.
# The first run builds a real kube-apiserver outside the clone (tests/kube-apiserver/README.md), where Go 1.26 is.
set -euo pipefail
cd "$(dirname "$0")/.."

# command:package of Debian:package of Fedora
needed=(docker-registry:docker-registry:docker-distribution skopeo:skopeo:skopeo umoci:umoci:umoci
  ssh-keygen:openssh-client:openssh gpg:gnupg:gnupg2 strace:strace:strace curl:curl:curl openssl:openssl:openssl
  python3:python3:python3 tar:tar:tar sha256sum:coreutils:coreutils cc:gcc:gcc mkfs.vfat:dosfstools:dosfstools
  mcopy:mtools:mtools xorriso:xorriso:xorriso fuseiso:fuseiso:fuseiso ntfs-3g:ntfs-3g:ntfs-3g
  mkfs.exfat:exfatprogs:exfatprogs mount.exfat-fuse:exfat-fuse:fuse-exfat mkfs.ext4:e2fsprogs:e2fsprogs
  losetup:mount:util-linux busybox:busybox-static:busybox zsh:zsh:zsh fish:fish:fish man:man-db:man-db
  rpm:rpm:rpm rpmbuild:rpm:rpm-build jsonschema:python3-jsonschema:python3-jsonschema
  clamd:clamav-daemon:clamd clamdscan:clamdscan:clamav yara:yara:yara cpio:cpio:cpio 7z:p7zip-full:p7zip-plugins
  musl-gcc:musl-tools:musl-gcc go:golang-go:golang zbarimg:zbar-tools:zbar
  chromium:chromium:chromium pdftotext:poppler-utils:poppler-utils zstd:zstd:zstd)
field=2 manager=apt-get
if ! command -v apt-get >/dev/null && command -v dnf >/dev/null; then field=3 manager=dnf; fi
missing=()
# Of an ordinary user's path the folders of root may be missing.
export PATH="$PATH:/usr/sbin:/sbin"
for entry in "${needed[@]}"; do
  command -v "${entry%%:*}" >/dev/null || missing+=("$(cut -d: -f$field <<<"$entry")")
done
# Its files are no commands.
[ -d /usr/share/clamav-testfiles ] || [ $manager = dnf ] || missing+=(clamav-testfiles)
# Sources of Go packages, for tests/real_encoders.rs.
[ -d /usr/share/gocode/src/github.com/klauspost/pgzip ] || [ $manager = dnf ] ||
  missing+=(golang-github-klauspost-compress-dev golang-github-klauspost-pgzip-dev)
# Modules of the system's Python, for the orders of versions.
[ $manager = dnf ] || /usr/bin/python3 -c 'import rpm, packaging' 2>/dev/null || missing+=(python3-rpm python3-packaging)
# kubectl has a package of this name in some releases of Debian only.
if ! command -v kubectl >/dev/null && command -v apt-cache >/dev/null &&
  apt-cache policy kubernetes-client 2>/dev/null | grep -q 'Candidate: [0-9]'; then
  missing+=(kubernetes-client)
fi
if [ ${#missing[@]} -gt 0 ]; then
  command -v "$manager" >/dev/null || { echo "tests/run.sh: please install: ${missing[*]}" >&2; exit 1; }
  sudo=() install=yes
  if [ "$(id -u)" -ne 0 ]; then
    sudo=(sudo)
    if ! command -v sudo >/dev/null; then
      install=no
    elif [ -t 0 ]; then
      read -rp "tests/run.sh: install with sudo $manager: ${missing[*]}? [y/N] " answer || answer=n
      case "$answer" in [yY]*) ;; *) install=no ;; esac
    elif [ -z "${CI:-}" ]; then
      install=no
    fi
  fi
  if [ $install = no ]; then
    echo "not installed: ${missing[*]}; tests that need them are skipped"
  elif [ $manager = dnf ]; then
    echo "installing ${missing[*]}"
    # Not every release of Fedora has all of them.
    "${sudo[@]}" dnf install -y -q --setopt=strict=0 --setopt=install_weak_deps=False "${missing[@]}"
  else
    echo "installing ${missing[*]}"
    "${sudo[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  fi
fi
command -v kubectl >/dev/null || echo "note: no kubectl here; tests that need it are skipped"

export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}"
work=$(mktemp -d)
# The memory of this host (what was unpacked) is not for tests to change.
export XDG_STATE_HOME="$work/state"
mkdir "$XDG_STATE_HOME"
log=$work/log
# The first run makes a real API server, while cargo downloads and builds. A run of other tests does not need it.
making=
case " $* " in
  *" cluster "*) making=yes ;;
  *" --test "* | *" --lib "* | *" --doc "* | *" --bench "*) ;;
  *) making=yes ;;
esac
if [ -n "$making" ]; then
  setsid nice tests/kube-apiserver/programs >"$work/assets" 2>"$work/why" &
  making=$!
fi
trap '[ -z "$making" ] || kill -- "-$making" 2>/dev/null || true; rm -rf "$work"' EXIT
status=0
cargo test --locked --no-run "$@" || exit
if [ -n "$making" ]; then
  [ -s "$work/assets" ] || echo "waiting for kube-apiserver and etcd, which the first run makes"
  if wait "$making"; then
    KUBEBUILDER_ASSETS=$(cat "$work/assets")
    export KUBEBUILDER_ASSETS
  else
    # tests/support/apiserver.rs repeats it where it skips.
    MIRROR_BUNDLE_NO_APISERVER=$(grep . "$work/why" | tail -n 1)
    export MIRROR_BUNDLE_NO_APISERVER
  fi
  making=
fi
cargo test --locked --no-fail-fast "$@" 2>&1 | tee "$log" || status=$?
echo
echo "tests: the closing line of each binary"
grep -E '^(     Running|   Doc-tests|test result:)' "$log" || true
# What tests/support/skip.rs says; never at the start of a line for certain.
grep -oE 'SKIPPED [^ ]+: .*' "$log" | sort -u || true
echo "tests skipped: $(grep -oE 'SKIPPED [^ ]+: ' "$log" | sort -u | wc -l)"
exit "$status"
