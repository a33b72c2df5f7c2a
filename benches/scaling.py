#!/usr/bin/env python3
"""How cost grows: with the number of images, and with bytes. Medians of CPU seconds, and a fitted slope.

usage: scaling.py WORKDIR [--runs N] [--bin PATH]

The slope is that of log(CPU) over log(n), by least squares: 1 is linear, less is a fixed cost that shows. With
images, each has four layers of 1 kB, so that the bytes cost nothing. With bytes, ten images have layers of zeros in
sparse files, so that 100 GB fit anywhere: `create` writes them to a pipe, of which a sparse bundle is made, which
`verify` reads. Writes tables to standard output. 100 GB take six minutes and are run once.
"""
import argparse, hashlib, json, math, os, shutil, statistics, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))
LAYERS = 4


def main():
    p = argparse.ArgumentParser()
    p.add_argument("work")
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--bin", default=os.path.join(HERE, "../target/release/mirror-bundle"))
    a = p.parse_args()
    mb, work = os.path.abspath(a.bin), os.path.abspath(a.work)
    os.makedirs(work, exist_ok=True)
    env = dict(os.environ, SOURCE_DATE_EPOCH="1700000000", MIRROR_BUNDLE_STATE=os.path.join(work, "state"))
    key, bundle, layout, peak = (os.path.join(work, n) for n in ("key", "bundle.tar", "layout", "peak"))
    if not os.path.exists(key):
        subprocess.check_call([mb, "keygen", key, "--no-passphrase"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def remove():
        for name in os.listdir(work):
            if name.startswith("bundle.tar"):
                os.remove(os.path.join(work, name))

    def cpu(runs, *command, before=lambda: None, to=subprocess.DEVNULL):
        """CPU seconds and peak MiB, medians."""
        results = []
        for _ in range(runs):
            before()
            # The peak is from `time`, since that of a child of Python begins with Python's own.
            line = ["/usr/bin/time", "-f", "%M", "-o", peak, mb] + list(command)
            process = subprocess.Popen(line, env=env, stdout=to, stderr=subprocess.DEVNULL)
            _, status, used = os.wait4(process.pid, 0)
            if status != 0:
                sys.exit(f"{command} ended with {os.waitstatus_to_exitcode(status)}")
            results.append((used.ru_utime + used.ru_stime, int(open(peak).read()) / 1024))
        return tuple(statistics.median(r[i] for r in results) for i in (0, 1))

    create = lambda to: ("create", to, "--from-layout", layout, "--sign-key", key, "-qq")
    verify = ("verify", bundle, "--signer", key + ".pub", "-qq", "-j8")
    inspect, tree = ("inspect", bundle), ("unpack", bundle, "--signer", key + ".pub", "--to-layout", os.path.join(work, "tree"), "-qq", "-j8")
    clean = lambda: [shutil.rmtree(os.path.join(work, n), ignore_errors=True) for n in ("tree", "state")]

    print("| images | create CPU s | peak MiB | verify CPU s | peak MiB | inspect CPU s | unpack --to-layout CPU s | peak MiB | over the blobs |\n|---|---|---|---|---|---|---|---|---|")
    rows = []
    for images in (10, 100, 1000):
        blobs = small(layout, images)
        c = cpu(a.runs, *create(bundle), before=remove)
        v, i, u = cpu(a.runs, *verify, before=clean), cpu(a.runs, *inspect), cpu(a.runs, *tree, before=clean)
        over = os.path.getsize(bundle) - blobs
        print(f"| {images} | {c[0]:.3f} | {c[1]:.0f} | {v[0]:.3f} | {v[1]:.0f} | {i[0]:.4f} | {u[0]:.3f} | {u[1]:.0f} | {over / images / (LAYERS + 2):.0f} B for each |", flush=True)
        rows.append((images, c[0], v[0], i[0], u[0]))
    slopes(rows, "create", "verify", "inspect", "unpack")

    print("\n| GB | create to a pipe CPU s | peak MiB | verify CPU s | peak MiB | bundle over the blobs |\n|---|---|---|---|---|---|")
    rows = []
    for gigabytes in (1, 10, 100):
        blobs = zeros(layout, gigabytes * 1_000_000_000)
        remove()
        runs = a.runs if gigabytes < 100 else 1
        c = cpu(runs, *create("-"))
        sparse = subprocess.Popen(["dd", "of=" + bundle, "bs=1M", "iflag=fullblock", "conv=sparse", "status=none"], stdin=subprocess.PIPE)
        cpu(1, *create("-"), to=sparse.stdin)
        sparse.stdin.close()
        sparse.wait()
        v = cpu(runs, *verify, before=clean)
        print(f"| {gigabytes} | {c[0]:.2f} | {c[1]:.0f} | {v[0]:.2f} | {v[1]:.0f} | {(os.path.getsize(bundle) / blobs - 1) * 100:.5f} % |", flush=True)
        rows.append((gigabytes, c[0], v[0]))
    slopes(rows, "create", "verify")
    shutil.rmtree(layout, ignore_errors=True)
    clean()
    remove()


def slopes(rows, *verbs):
    print("\nslopes: " + ", ".join(f"{verb} {slope([(r[0], max(r[n], 0.001)) for r in rows]):.2f}" for n, verb in enumerate(verbs, 1)))


def slope(points):
    xs, ys = [math.log(n) for n, _ in points], [math.log(t) for _, t in points]
    mx, my = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - mx) * (y - my) for x, y in zip(xs, ys)) / sum((x - mx) ** 2 for x in xs)


def small(out, images):
    """Images with small layers of their own. Returns the bytes of all blobs."""
    layers = lambda blobs, n: [put(blobs, hashlib.sha512(f"{n} {k}".encode()).digest() * 16) for k in range(LAYERS)]
    return make(out, images, layers)


def zeros(out, total):
    """Ten images with layers of zeros, in sparse files, each a block longer than the one before."""
    count, hasher, done, found = 10 * LAYERS, hashlib.sha256(), 0, []
    chunk = bytes(1 << 20)
    for n in range(count):
        size = total // count + n * 512
        while done < size:
            step = min(len(chunk), size - done)
            hasher.update(chunk[:step])
            done += step
        found.append((hasher.copy().hexdigest(), size))

    def layers(blobs, n):
        for digest, size in found[n * LAYERS:][:LAYERS]:
            with open(os.path.join(blobs, digest), "wb") as f:
                f.truncate(size)
            yield {"digest": "sha256:" + digest, "size": size}

    return make(out, 10, layers)


def put(blobs, data):
    digest = hashlib.sha256(data).hexdigest()
    with open(os.path.join(blobs, digest), "wb") as f:
        f.write(data)
    return {"digest": "sha256:" + digest, "size": len(data)}


def make(out, images, layers):
    shutil.rmtree(out, ignore_errors=True)
    blobs = os.path.join(out, "blobs", "sha256")
    os.makedirs(blobs)
    manifests = []
    for n in range(images):
        config = put(blobs, json.dumps({"architecture": "amd64", "os": "linux", "config": {"Labels": {"n": str(n)}}, "rootfs": {}}).encode())
        doc = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
               "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config},
               "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", **l} for l in layers(blobs, n)]}
        manifests.append({"mediaType": doc["mediaType"], **put(blobs, json.dumps(doc).encode()), "annotations":
                          {"org.opencontainers.image.ref.name": f"registry.example.com/scale/image-{n:04}:v1"}})
    with open(os.path.join(out, "index.json"), "w") as f:
        json.dump({"schemaVersion": 2, "manifests": manifests}, f)
    with open(os.path.join(out, "oci-layout"), "w") as f:
        f.write('{"imageLayoutVersion": "1.0.0"}')
    return sum(e.stat().st_size for e in os.scandir(blobs))


main()
