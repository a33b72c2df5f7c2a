#!/usr/bin/env python3
"""Makes an OCI image layout the shape of an OpenShift release: many images that share layers.

usage: make-layout.py DIR [IMAGES] [MEGABYTES]

Defaults: 51 images, 2565 MB in 124 blobs (51 configurations, 73 layers; 25 MB at the median, 152 MB at most).
The same arguments give the same bytes. Content does not compress.
"""
import gzip, hashlib, json, os, random, sys

def main():
    out, images, megabytes = sys.argv[1], int((sys.argv[2:] or [51])[0]), int((sys.argv[3:] or [2565])[0])
    rng = random.Random(images * 1000003 + megabytes)
    blobs = os.path.join(out, "blobs", "sha256")
    os.makedirs(blobs, exist_ok=True)

    def put(data):
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(blobs, digest), "wb") as f:
            f.write(data)
        return {"digest": "sha256:" + digest, "size": len(data)}

    # Six shared base layers, then own layers with a long tail, scaled to the total.
    own = max(1, images * 67 // 51)
    weights = [8.0] * 6 + [rng.lognormvariate(0, 0.9) for _ in range(own)]
    scale = megabytes * 1_000_000 / sum(weights)
    # Stored, not compressed: valid gzip, so that no peer takes it for a plain layer and compresses it.
    layers = [put(gzip.compress(rng.randbytes(max(64, min(int(w * scale), 152_000_000))), 0, mtime=0)) for w in weights]
    manifests = []
    for n in range(images):
        mine = layers[: 2 + n % 5] + [layers[6 + k] for k in range(own) if k % images == n]
        config = put(json.dumps({"architecture": "amd64", "os": "linux", "config": {"Labels": {"n": str(n)}},
                                 "rootfs": {"type": "layers", "diff_ids": [l["digest"] for l in mine]}}).encode())
        doc = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
               "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config},
               "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **l} for l in mine]}
        entry = put(json.dumps(doc).encode())
        manifests.append({"mediaType": doc["mediaType"], **entry, "annotations":
                          {"org.opencontainers.image.ref.name": f"registry.example.com/bench/image-{n:03}:v1"}})
    with open(os.path.join(out, "index.json"), "w") as f:
        json.dump({"schemaVersion": 2, "manifests": manifests}, f)
    with open(os.path.join(out, "oci-layout"), "w") as f:
        f.write('{"imageLayoutVersion":"1.0.0"}')

main()
