#!/usr/bin/env python3
"""How cost grows: with the number of images, and with bytes. Medians of CPU seconds, and a fitted slope.

usage: scaling.py WORKDIR [--runs N] [--bin PATH]

The slope is that of log(CPU) over log(n), by least squares, without what the program costs with nothing to do:
1 is linear. Writes a table to standard output; needs about 25 GB for a moment.
"""
import argparse, hashlib, json, math, os, shutil, statistics, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("work")
    p.add_argument("--runs", type=int, default=3)
    p.add_argument("--bin", default=os.path.join(HERE, "../target/release/mirror-bundle"))
    a = p.parse_args()
    mb, work = os.path.abspath(a.bin), os.path.abspath(a.work)
    os.makedirs(work, exist_ok=True)
    env = dict(os.environ, SOURCE_DATE_EPOCH="1700000000", MIRROR_BUNDLE_STATE=os.path.join(work, "state"))
    key, bundle, layout = (os.path.join(work, n) for n in ("key", "bundle.tar", "layout"))
    if not os.path.exists(key):
        subprocess.check_call([mb, "keygen", key, "--no-passphrase"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def cpu(*command):
        """CPU seconds and peak MiB, medians."""
        runs = []
        for _ in range(a.runs):
            if command[0] == "create":
                for name in os.listdir(work):
                    if name.startswith("bundle.tar"):
                        os.remove(os.path.join(work, name))
            line = ["/usr/bin/time", "-f", "%U %S %M", "-o", "/tmp/scaling.time", mb] + list(command)
            subprocess.run(line, check=True, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            u, s, m = open("/tmp/scaling.time").read().split()[-3:]
            runs.append((float(u) + float(s), int(m) / 1024))
        return tuple(statistics.median(r[i] for r in runs) for i in (0, 1))

    create = ("create", bundle, "--from-layout", layout, "--sign-key", key, "-qq")
    verify = ("verify", bundle, "--signer", key + ".pub", "-qq")
    inspect = ("inspect", bundle, "-qq")
    for what, points in [("images", [(10, 1), (100, 10), (1000, 100)]), ("bytes", [(10, 1000), (10, 3000), (10, 10000)])]:
        print(f"| {what} | create CPU s | peak MiB | verify CPU s | peak MiB | inspect CPU s |\n|---|---|---|---|---|---|")
        rows = []
        for images, megabytes in points:
            shutil.rmtree(layout, ignore_errors=True)
            make(layout, images, megabytes)
            c, v, i = cpu(*create), cpu(*verify), cpu(*inspect)
            label = f"{images}" if what == "images" else f"{megabytes / 1000:.0f} GB"
            print(f"| {label} | {c[0]:.2f} | {c[1]:.0f} | {v[0]:.2f} | {v[1]:.0f} | {i[0]:.3f} |", flush=True)
            rows.append((images if what == "images" else megabytes, c[0], v[0]))
        for at, verb in ((1, "create"), (2, "verify")):
            print(f"slope of {verb}: {slope([(r[0], max(r[at], 0.005)) for r in rows]):.2f}")
        print()
    shutil.rmtree(layout, ignore_errors=True)


def slope(points):
    xs, ys = [math.log(n) for n, _ in points], [math.log(t) for _, t in points]
    mx, my = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - mx) * (y - my) for x, y in zip(xs, ys)) / sum((x - mx) ** 2 for x in xs)


def make(out, images, megabytes):
    """Images with four layers of their own; content that is quick to make and different everywhere."""
    blobs = os.path.join(out, "blobs", "sha256")
    os.makedirs(blobs)

    def put(data):
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(blobs, digest), "wb") as f:
            f.write(data)
        return {"digest": "sha256:" + digest, "size": len(data)}

    size, noise = megabytes * 1_000_000 // images // 4, os.urandom(1 << 20)
    manifests = []
    for n in range(images):
        layers = [put((f"{n} {k} ".encode() + noise * (size // len(noise) + 1))[:size]) for k in range(4)]
        config = put(json.dumps({"architecture": "amd64", "os": "linux", "config": {"Labels": {"n": str(n)}}, "rootfs": {}}).encode())
        doc = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
               "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config},
               "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", **l} for l in layers]}
        manifests.append({"mediaType": doc["mediaType"], **put(json.dumps(doc).encode()), "annotations":
                          {"org.opencontainers.image.ref.name": f"registry.example.com/scale/image-{n:04}:v1"}})
    with open(os.path.join(out, "index.json"), "w") as f:
        json.dump({"schemaVersion": 2, "manifests": manifests}, f)
    with open(os.path.join(out, "oci-layout"), "w") as f:
        f.write('{"imageLayoutVersion": "1.0.0"}')


main()
