#!/usr/bin/env bash
# Runs all tests. Installs from apt what they need and this machine lacks. Further arguments go to `cargo test`.
# With MIRROR_BUNDLE_TESTS=complete a test that cannot run here fails.
set -euo pipefail
cd "$(dirname "$0")/.."

# command:package
needed=(docker-registry:docker-registry skopeo:skopeo umoci:umoci ssh-keygen:openssh-client gpg:gnupg strace:strace
  curl:curl openssl:openssl python3:python3 tar:tar sha256sum:coreutils cc:gcc mkfs.vfat:dosfstools mcopy:mtools xorriso:xorriso fuseiso:fuseiso
  ntfs-3g:ntfs-3g mkfs.exfat:exfatprogs mount.exfat-fuse:exfat-fuse mkfs.ext4:e2fsprogs losetup:mount)
missing=()
# Of an ordinary user's path the folders of root may be missing.
export PATH="$PATH:/usr/sbin:/sbin"
for entry in "${needed[@]}"; do
  command -v "${entry%%:*}" >/dev/null || missing+=("${entry##*:}")
done
# kubectl has a package of this name in some releases of Debian only.
if ! command -v kubectl >/dev/null && command -v apt-cache >/dev/null &&
  apt-cache policy kubernetes-client 2>/dev/null | grep -q 'Candidate: [0-9]'; then
  missing+=(kubernetes-client)
fi
if [ ${#missing[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || { echo "tests/run.sh: please install: ${missing[*]}" >&2; exit 1; }
  sudo=()
  [ "$(id -u)" -eq 0 ] || sudo=(sudo)
  echo "installing ${missing[*]}"
  "${sudo[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
command -v kubectl >/dev/null || echo "note: no kubectl here; tests that need it are skipped"

export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}"
# The memory of this host (what was unpacked) is not for tests to change.
XDG_STATE_HOME=$(mktemp -d)
export XDG_STATE_HOME
log=$(mktemp)
trap 'rm -rf "$log" "$XDG_STATE_HOME"' EXIT
status=0
cargo test --locked --no-fail-fast "$@" 2>&1 | tee "$log" || status=$?
echo
echo "tests: the closing line of each binary"
grep -E '^(     Running|   Doc-tests|test result:)' "$log" || true
# What tests/support/skip.rs says; never at the start of a line for certain.
grep -oE 'SKIPPED [^ ]+: .*' "$log" | sort -u || true
echo "tests skipped: $(grep -oE 'SKIPPED [^ ]+: ' "$log" | sort -u | wc -l)"
exit "$status"
