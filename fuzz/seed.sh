#!/bin/bash
# Fills fuzz/corpus/<target> with seeds from testdata and fuzz/seeds. Harmless to repeat.
set -eu
cd "$(dirname "$0")"
T=../testdata C=corpus

# put TARGET PREFIX FILE...: each file behind a prefix (printf format), under the digest of the result.
put() {
    local target=$1 prefix=$2 file out
    shift 2
    mkdir -p "$C/$target"
    for file in "$@"; do
        [ -s "$file" ] && [ "$(stat -c %s "$file")" -le 131072 ] || continue
        out=$(mktemp)
        { printf "$prefix"; cat "$file"; } >"$out"
        mv "$out" "$C/$target/seed-$(sha1sum <"$out" | cut -c1-16)"
    done
}
# say TARGET PREFIX TEXT: the same for a text.
say() {
    local out
    out=$(mktemp)
    printf '%s' "$3" >"$out"
    put "$1" "$2" "$out"
    rm "$out"
}

# Bundles, made by the crate itself; that their verdicts agree is checked on the way.
FUZZ_SEED=$PWD/$C target/x86_64-unknown-linux-gnu/release/container

put volume '' seeds/volume/*
put carriage '' seeds/carriage/*
put signature '' test-key test-key.pub $T/signatures/*/*/* seeds/signature/*
put trust_file '' seeds/trust_file/*
put openpgp '\000' $T/signatures/*/*/* $T/vectors-generated/*.sig
put openpgp '\001' $T/keyrings/*/* $T/vectors-generated/keyrings/*
put openpgp '\002' seeds/claim/*
put kubernetes '' seeds/kubernetes/* $T/verification-configmaps/*/* $T/cluster-update-keys/manifests*/* $T/crds/*
put signature_map '' seeds/signature_map/* $T/verification-configmaps/*/*
put update_graph '' seeds/update_graph/* $T/update-graphs/*.json $T/update-graphs/graph-data/head/*/*.yaml
put oci_document '' $T/oci-layouts/*/index.json $T/oci-layouts/*/manifest.json
for blob in $T/oci-layouts/*/blobs/sha256/*; do
    head -c 1 "$blob" | grep -q '{' && put oci_document '' "$blob"
done
for name in quay.io/a/b:1 quay.io/a/b localhost:5000/a 'linux/arm64/v8' 'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' \
    'quay.io/a/b:t@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' '[::1]:5000/x/y' 1.2.3.4/x v1.0_x manifests/a.yaml; do
    say names '' "$name"
done

say scan '' '1: fd[10]: OK'
say scan '' '2: stream: Some.Name FOUND'
say scan '' 'ClamAV 1.4.3/27000/Thu Nov 26 08:00:00 2026'
A=$(mktemp -d)
echo member >"$A/m"
(cd "$A" && tar cf m.tar m && gzip -k m.tar && bzip2 -k m && xz -k m && zstd -q m && echo m | cpio -o -H newc >m.cpio 2>/dev/null && ar rc m.a m)
python3 -c 'import sys,zipfile; z = zipfile.ZipFile(sys.argv[1], "w", 8); z.write(sys.argv[2], "m"); z.close()' "$A/m.zip" "$A/m"
put scan '' "$A"/m.*
rm -r "$A"

# Small release layers: raw, gzip and zstd.
W=$(mktemp -d)
trap 'rm -rf "$W"' EXIT
mkdir -p "$W/release-manifests"
cp $T/release-payload/oc-mirror-4.12.0-x86_64/release-metadata "$W/release-manifests/"
printf '%s' '{"kind":"ImageStream","apiVersion":"image.openshift.io/v1","metadata":{"name":"4.12.0"},"spec":{"tags":[{"name":"cli","from":{"kind":"DockerImage","name":"quay.io/o/art@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}]}}' >"$W/release-manifests/image-references"
cp $T/verification-configmaps/cvo/loads-valid.yaml "$W/release-manifests/a.yaml"
: >"$W/.wh.x"; ln -s release-manifests "$W/link"; ln "$W/.wh.x" "$W/hard"
for format in ustar gnu pax; do
    tar -C "$W" --format=$format -cf "$W.$format" release-manifests .wh.x link hard
    put release_layer '\000' "$W.$format"
    gzip -kc "$W.$format" >"$W.z"; put release_layer '\001' "$W.z"
    zstd -qc "$W.$format" >"$W.z" && put release_layer '\002' "$W.z"
    put release_layer '\003' "$W.$format"
    put release_layer '\014' "$W.$format"
    for mode in '\000' '\001' '\002'; do put layer "$mode" "$W.$format"; done
done
cat "$W.ustar" "$W.gnu" >"$W.z"; put layer '\000' "$W.z"
cat "$W.ustar" "$W.gnu" >"$W.z"; put release_layer '\000' "$W.z"
gzip -c "$W.ustar" >"$W.z"; gzip -c </dev/null >>"$W.z"; put release_layer '\001' "$W.z"

# OCI archives.
for dir in $T/oci-layouts/*/; do
    [ -e "$dir/oci-layout" ] || continue
    for format in ustar gnu pax; do
        tar -C "$dir" --format=$format -cf "$W.$format" oci-layout index.json blobs
        put oci_archive '\000' "$W.$format"
    done
done
put oci_archive '\001' seeds/oci_archive/*
rm -f "$W".*

# Package databases; what does not fit is made by the mutations of smaller ones.
for file in $T/rpmdb/*.gz $T/packages/*.gz; do gzip -dc "$file" >"$W.z"; case $file in
    *sqlite.gz) put packages '\000' "$W.z" ;;
    *-wal.gz) put packages '\001\000\000' "$W.z" ;;
    *Packages.db.gz) head -c 65536 "$W.z" >"$W.y"; put packages '\002' "$W.y" ;;
    *Packages.gz) put packages '\003' "$W.z" ;;
    *buildinfo.gz) put packages '\013' "$W.z" ;;
esac; done
put packages '\013' $T/packages/*.dep-v0
head -c 65536 /bin/true >"$W.y"; put packages '\012' "$W.y"
printf 'Package: a\nStatus: install ok installed\nVersion: 1\n' >"$W.y"; put packages '\004' "$W.y"; put packages '\005' "$W.y"
printf 'P:a\nV:1\n' >"$W.y"; put packages '\006' "$W.y"
printf 'Name: a\nVersion: 1\n' >"$W.y"; put packages '\007' "$W.y"
printf '{"name":"@a/b","version":"1"}' >"$W.y"; put packages '\010' "$W.y"
mkdir -p "$W/META-INF/maven/a/b"; printf 'groupId=a\nartifactId=b\nversion=1\n' >"$W/META-INF/maven/a/b/pom.properties"
(cd "$W" && python3 -m zipfile -c "$W.jar" META-INF && python3 -m zipfile -c "$W.war" "$W.jar"); put packages '\011' "$W.jar" "$W.war"

put journal '\000' seeds/journal/*
put journal '\011' seeds/journal/*
put journal '\200' seeds/journal-full/*
for file in seeds/registry/*; do
    for mode in 000 001 002 003 004 005 006 007; do put registry_responses "\\$mode" "$file"; done
done
