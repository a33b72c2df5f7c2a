#!/bin/sh
# Shows the main task on a machine with Rust: builds mirror-bundle, creates a signed bundle from two small images and a
# manifest of this repository, verifies it, and unpacks it. Needs no registry, no root, and no network except cargo's.
# With MIRROR_BUNDLE=/path/to/mirror-bundle it builds nothing.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
if [ -z "${MIRROR_BUNDLE:-}" ]; then
  cargo build --release --locked
  MIRROR_BUNDLE=$root/target/release/mirror-bundle
fi
export MIRROR_BUNDLE

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -R testdata/oci-layouts/noo-bundle-image-dir "$work/operator-bundle"
cp -R testdata/oci-layouts/single-arch-empty-image "$work/image"
mkdir "$work/manifests"
cat > "$work/manifests/namespace.yaml" <<'YAML'
apiVersion: v1
kind: Namespace
metadata:
  name: demo
YAML
cd "$work"
# unpack remembers each bundle, to refuse an older one later. The demo keeps this memory in its own folder.
export MIRROR_BUNDLE_STATE="$work/state"

# Shows a command, then runs it.
run() {
  printf '\n$ %s\n' "$*"
  "$@"
}
mirror_bundle() { "$MIRROR_BUNDLE" "$@"; }
show() {
  printf '\n$ mirror-bundle %s\n' "$*"
  mirror_bundle "$@" 2>&1
}

show keygen builder.key --comment build-host --no-passphrase -q
show create demo.tar --from-layout operator-bundle --from-layout image --manifests manifests --sign-key builder.key -q
show verify demo.tar --signer builder.key.pub
show unpack demo.tar --signer builder.key.pub --to-dir out -q
run find out -type f

# verify must detect one changed byte.
cp demo.tar changed.tar
size=$(wc -c < changed.tar)
printf X | dd of=changed.tar bs=1 seek=$((size - 5000)) conv=notrunc 2>/dev/null
printf '\n$ mirror-bundle verify changed.tar --signer builder.key.pub -q\n'
code=0
mirror_bundle verify changed.tar --signer builder.key.pub -q || code=$?
echo "exit code $code"
if [ "$code" -ne 31 ]; then
  echo "demo: a changed byte was not noticed" >&2
  exit 1
fi
printf '\ndemo: all went well\n'
