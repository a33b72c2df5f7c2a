#!/usr/bin/env python3
"""differential.py PROGRAM WORKDIR [--size MB] [--runs N] [--registry HOST:PORT] [--images N N1]... [--jobs J]

What a month's update costs as differences: bytes, seconds and memory of `create --base`, `create --compact`,
`unpack`, `verify --base` and `expand`, each restored bundle compared with the full one (`cmp`).

Without --images: makes two images of files of this machine (default 200 MB each), the second rebuilt: new times
everywhere, 8 bytes changed in every 64 KiB of a tenth of the files, one file in a hundred replaced. `skopeo` compresses
them (pgzip, as most images are). With --images: pairs of image references on a plain HTTP registry on loopback.
With --registry: also unpacks N, then N+1 from differences to what is there. Empty registry, plain HTTP, loopback.
"""
import argparse, hashlib, io, json, os, shutil, statistics, subprocess, tarfile, time
from pathlib import Path

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("program"); ap.add_argument("workdir", type=Path)
ap.add_argument("--size", type=int, default=200); ap.add_argument("--runs", type=int, default=3)
ap.add_argument("--registry"); ap.add_argument("--images", nargs=2, action="append", default=[])
ap.add_argument("--create-runs", type=int, default=1); ap.add_argument("--prefix", default="r")
a = ap.parse_args()
W = a.workdir.resolve()
W.mkdir(parents=True, exist_ok=True)
P = [str(Path(a.program).resolve())]


def layer(path, most, rebuilt):
    """A tar of files of this machine, or the same rebuilt."""
    when, total, n = (1791500000 if rebuilt else 1790000000), 0, 0
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as out:
        for folder, dirs, names in os.walk("/usr"):
            dirs.sort()
            for name in sorted(names):
                p = os.path.join(folder, name)
                if os.path.islink(p) or not os.path.isfile(p) or total > most:
                    continue
                data, n = open(p, "rb").read(), n + 1
                total += len(data)
                if rebuilt and n % 100 == 7:
                    data = hashlib.shake_128(p.encode()).digest(min(len(data), 1 << 20))
                elif rebuilt and n % 10 == 3:
                    data = bytearray(data)
                    for at in range(100, len(data) - 8, 1 << 16):
                        data[at:at + 8] = hashlib.md5(b"%d" % at).digest()[:8]
                ti = tarfile.TarInfo(p[1:]); ti.size, ti.mtime, ti.mode = len(data), when, 0o644
                out.addfile(ti, io.BytesIO(data))


def layout(name, tar):
    """An OCI layout of one image of one layer, compressed by skopeo."""
    raw = W / "raw"
    shutil.rmtree(raw, ignore_errors=True); (raw / "blobs/sha256").mkdir(parents=True)

    def put(data):
        h = hashlib.sha256(data).hexdigest()
        (raw / "blobs/sha256" / h).write_bytes(data)
        return {"digest": "sha256:" + h, "size": len(data)}
    kind = "application/vnd.oci.image."
    one = put(tar.read_bytes())
    config = put(json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [one["digest"]]}}).encode())
    manifest = put(json.dumps({"schemaVersion": 2, "mediaType": kind + "manifest.v1+json", "config": {"mediaType": kind + "config.v1+json", **config},
                               "layers": [{"mediaType": kind + "layer.v1.tar", **one}]}).encode())
    (raw / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (raw / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [
        {"mediaType": kind + "manifest.v1+json", **manifest, "annotations": {"org.opencontainers.image.ref.name": "x"}}]}))
    shutil.rmtree(W / name, ignore_errors=True)
    subprocess.run(["skopeo", "copy", "-q", "--insecure-policy", f"oci:{raw}:x", f"oci:{W / name}:registry.example.com/bench/layer:1"], check=True)
    shutil.rmtree(raw); tar.unlink()


def run(label, args, runs=1, before=None, megabytes=None, code=0):
    """Runs it, prints the medians."""
    rows = []
    for _ in range(runs):
        if before:
            before()
        t = time.monotonic()
        p = subprocess.Popen(P + args + ["-q"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=W)
        said = p.stderr.read()
        _, status, ru = os.wait4(p.pid, 0)
        got = os.waitstatus_to_exitcode(status)
        if got != code:
            raise SystemExit(f"{label}: exit code {got}\n{said.decode()}")
        rows.append((time.monotonic() - t, ru.ru_utime + ru.ru_stime, ru.ru_maxrss / 1024))
    wall, cpu, rss = (statistics.median(r[0] for r in rows), statistics.median(r[1] for r in rows), max(r[2] for r in rows))
    rate = f"{megabytes / wall:8.1f} {megabytes / cpu:8.1f}" if megabytes else " " * 17
    print(f"{label:44} {wall:8.2f} {cpu:8.2f} {rate} {rss:6.0f}   {runs}  load {os.getloadavg()[0]:.1f}", flush=True)


def size(name):
    return (W / name).stat().st_size


def gone(*names):
    def do():
        for name in names:
            p = W / name
            shutil.rmtree(p) if p.is_dir() else p.unlink(missing_ok=True)
            shutil.rmtree(W / (name + ".partial.work"), ignore_errors=True)
    return do


os.environ["MIRROR_BUNDLE_STATE"] = str(W / "state")
if not (W / "builder").exists():
    subprocess.run(P + ["keygen", "builder", "--no-passphrase", "-q"], cwd=W, check=True)
if a.images:
    # references with the same name at both sides: the registry's tags are told apart by it
    hosts = {ref.split("/")[0] for pair in a.images for ref in pair}
    plain = [x for h in hosts for x in ("--plain-http", h)]
    source = [[x for pair in a.images for x in ("--image", pair[i])] + plain for i in (0, 1)]
else:
    for name, rebuilt in (("n", False), ("n1", True)):
        layer(W / "layer.tar", a.size * 10**6, rebuilt)
        layout(name, W / "layer.tar")
    source = [["--from-layout", name] for name in ("n", "n1")]
sign, trust = ["--sign-key", "builder", "--name", "bench"], ["--signer", "builder.pub"]
print(f"{'what':44} {'wall s':>8} {'CPU s':>8} {'gz MB/s':>8} {'/CPU s':>8} {'MiB':>6} runs")
for at, name in enumerate(("N.tar", "N1.tar")):
    gone(name)()
    run(f"create {name}", ["create", name, *source[at], *sign, "--sequence", str(at + 1), "--force"])
full = size("N1.tar") / 1e6
for name, more in (("D.tar", ["--base", "N.tar"]), ("C.tar", ["--compact"])):
    run(f"shrink {name} {' '.join(more)}", ["shrink", "N1.tar", name, *more, "--sign-key", "builder"], a.create_runs, gone(name), full)
print(f"bytes: full {size('N1.tar')}, differences {size('D.tar')} ({100 * size('D.tar') / size('N1.tar'):.2f} %), "
      f"compact {size('C.tar')} ({100 * size('C.tar') / size('N1.tar'):.2f} %)", flush=True)
run("verify N1.tar", ["verify", "N1.tar", *trust], a.runs, None, full)
for name, more in (("D.tar", ["--base", "N.tar"]), ("C.tar", [])):
    run(f"verify {name} {' '.join(more)}", ["verify", name, *more, *trust], a.runs, None, full)
    run(f"expand {name}", ["expand", name, "X.tar", *more, *trust], a.runs, gone("X.tar"), full)
    subprocess.run(["cmp", W / "X.tar", W / "N1.tar"], check=True)
    gone("X.tar")()
    run(f"unpack {name} --to-layout", ["unpack", name, *more, *trust, "--to-layout", "out"], a.runs, gone("out", "state"), full)
    gone("out")()
run("unpack N1.tar --to-layout", ["unpack", "N1.tar", *trust, "--to-layout", "out"], a.runs, gone("out", "state"), full)
gone("out")()
if a.registry:
    for i in range(a.runs):
        to = ["--to", f"{a.registry}/{a.prefix}{i}", "--plain-http", a.registry]
        gone("state")()
        run("unpack N.tar --to REGISTRY", ["unpack", "N.tar", *trust, *to], 1, None, size("N.tar") / 1e6)
        run("unpack D.tar --to REGISTRY", ["unpack", "D.tar", *trust, *to], 1, None, full)
