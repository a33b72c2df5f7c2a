#!/usr/bin/env python3
"""Makes the Sigstore bundles in this folder with the real cosign 3, and the registry of crane.

Needs `cosign` (go install github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3) and `crane` (go-containerregistry) on PATH.
Writes `layout/` (an OCI layout: an image, and what cosign attached to it), `*.pub` (the public keys) and `provenance.txt`.
The private keys are made anew each time and dropped, so each run gives other bytes.
"""
import base64, hashlib, json, os, pathlib, subprocess, sys, tempfile, time, urllib.request

HERE = pathlib.Path(__file__).resolve().parent
PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 5055
HOST, REPO = f"localhost:{PORT}", "team/app"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ENV = dict(os.environ, COSIGN_PASSWORD="", COSIGN_YES="true")
LOG = []


def run(*args, **more):
    LOG.append(" ".join(args))
    return subprocess.run(args, check=True, env=ENV, cwd=WORK, capture_output=True, text=True, **more).stdout


def get(path, accept=MANIFEST):
    request = urllib.request.Request(f"http://{HOST}/v2/{REPO}/{path}", headers={"Accept": accept})
    return urllib.request.urlopen(request).read()


def put(path, data, kind):
    request = urllib.request.Request(f"http://{HOST}/v2/{REPO}/{path}", data=data, method="PUT", headers={"Content-Type": kind})
    urllib.request.urlopen(request).read()


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def blob(data):
    where = urllib.request.urlopen(urllib.request.Request(f"http://{HOST}/v2/{REPO}/blobs/uploads/", data=b"", method="POST")).headers["Location"]
    where = where if where.startswith("http") else f"http://{HOST}{where}"
    urllib.request.urlopen(urllib.request.Request(f"{where}?digest={digest(data)}", data=data, method="PUT")).read()
    return {"digest": digest(data), "size": len(data)}


def keep(data):
    path = HERE / "layout/blobs/sha256" / digest(data)[7:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {"mediaType": MANIFEST, "digest": digest(data), "size": len(data)}


def carry(name):
    """Keeps a manifest and everything below it."""
    data = get(f"manifests/{name}")
    manifest = json.loads(data)
    for child in [manifest["config"], *manifest["layers"]]:
        keep(get(f"blobs/{child['digest']}"))
    return keep(data), data


def main():
    run("crane", "append", "--oci-empty-base", "-f", "layer.tar", "-t", f"{HOST}/{REPO}:1")
    image, manifest = carry("1")
    name = f"{HOST}/{REPO}@{image['digest']}"
    # Without transparency log and time stamps: the key alone is what an offline host has.
    off = ["--signing-config=off.json"]
    run("cosign", "signing-config", "create", "--out", "off.json")
    run("cosign", "generate-key-pair")
    for kind, make in [("rsa", ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"]), ("ed25519", ["-algorithm", "ed25519"])]:
        run("openssl", "genpkey", "-quiet", *make, "-out", f"{kind}.pem")
        run("cosign", "import-key-pair", "--key", f"{kind}.pem", "--output-key-prefix", kind)
    os.rename(WORK / "cosign.pub", WORK / "p256.pub")
    os.rename(WORK / "cosign.key", WORK / "p256.key")
    for kind in ["p256", "rsa", "ed25519"]:
        run("cosign", "sign", "--key", f"{kind}.key", *off, name)
        (HERE / f"{kind}.pub").write_bytes((WORK / f"{kind}.pub").read_bytes())
    for kind, predicate in PREDICATES.items():
        (WORK / f"{kind}.json").write_text(json.dumps(predicate))
        run("cosign", "attest", "--key", "p256.key", *off, "--type", kind, "--predicate", f"{kind}.json", name)
    # A message signature over the manifest: cosign makes those of files, so it is attached by hand.
    (WORK / "manifest").write_bytes(manifest)
    run("cosign", "sign-blob", "--key", "p256.key", "--signing-config=off.json", "--bundle", "message.json", "manifest")
    bundle = (WORK / "message.json").read_bytes()
    attached = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": BUNDLE,
                "config": {"mediaType": "application/vnd.oci.empty.v1+json", **blob(b"{}")},
                "layers": [{"mediaType": BUNDLE, **blob(bundle)}], "subject": image}
    attached = json.dumps(attached).encode()
    put(f"manifests/{digest(attached)}", attached, MANIFEST)

    # This registry has no referrers API: cosign lists what it attaches under the fallback tag.
    listed = json.loads(get(f"manifests/{image['digest'].replace(':', '-')}", "application/vnd.oci.image.index.v1+json"))
    entries = [carry(one)[0] for one in [*(one["digest"] for one in listed["manifests"]), digest(attached)]]
    image["annotations"] = {"org.opencontainers.image.ref.name": f"registry.example.com/{REPO}:1"}
    (HERE / "layout/oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (HERE / "layout/index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [image, *entries]}))
    version = [line for line in run("cosign", "version").splitlines() if "GitVersion" in line]
    (HERE / "provenance.txt").write_text("Made by make.py with:\n" + "\n".join([*version, *LOG]) + "\n")


PREDICATES = {
    "spdxjson": {"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT", "name": "app", "dataLicense": "CC0-1.0"},
    "vuln": {"invocation": {}, "scanner": {"uri": "example", "version": "1", "db": {}, "result": {}}, "metadata": {}},
    "custom": {"reviewed": True},
}

with tempfile.TemporaryDirectory() as folder:
    WORK = pathlib.Path(folder)
    (WORK / "etc").mkdir()
    (WORK / "etc/app").write_text("app\n")
    subprocess.run(["tar", "-cf", "layer.tar", "etc/app"], cwd=WORK, check=True)
    registry = subprocess.Popen(["crane", "registry", "serve", "--address", f"localhost:{PORT}"], stderr=subprocess.DEVNULL)
    try:
        time.sleep(1)
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error.cmd}\n{error.stderr}")
    finally:
        registry.kill()
