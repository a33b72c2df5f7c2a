#!/usr/bin/env python3
"""Side by side with peers, in one run on one machine: medians of wall and CPU seconds, peak memory.

usage: compare.py WORKDIR [--runs N] [--images N] [--megabytes N] [--bin PATH] [--all]

Needs docker-registry, skopeo, curl, openssl and GNU time; oras and crane are measured when they are there.
Everything is synthetic (make-layout.py) and on loopback; files are in the page cache. Writes a table to
standard output. Close other programs: the load average at the start is printed with it.
"""
import argparse, json, os, shutil, socket, statistics, subprocess, sys, time

HERE = os.path.dirname(os.path.abspath(__file__))


def args():
    p = argparse.ArgumentParser()
    p.add_argument("work")
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--images", type=int, default=51)
    p.add_argument("--megabytes", type=int, default=2565)
    p.add_argument("--all", action="store_true", help="also crane push, which takes minutes")
    p.add_argument("--bin", default=os.path.join(HERE, "../target/release/mirror-bundle"))
    return p.parse_args()


class Registry:
    def __init__(self, work, name):
        self.root, self.name, self.work = os.path.join(work, name), name, work
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.host, self.process = f"127.0.0.1:{self.port}", None
        self.start()

    def start(self):
        os.makedirs(self.root, exist_ok=True)
        config = os.path.join(self.work, self.name + ".yml")
        with open(config, "w") as f:
            f.write(f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
                    f"storage: {{filesystem: {{rootdirectory: {self.root}, maxthreads: 100}}, delete: {{enabled: true}}}}\n"
                    f"http: {{addr: {self.host}}}\n")
        self.process = subprocess.Popen(["docker-registry", "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                time.sleep(0.05)
        sys.exit("docker-registry did not start")

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def empty(self):
        self.stop()
        shutil.rmtree(self.root, ignore_errors=True)
        self.start()


def run(command, shell=False):
    """Wall seconds, CPU seconds, peak KB of a command that must succeed."""
    line = ["/usr/bin/time", "-f", "%e %U %S %M", "-o", "/tmp/compare.time"] + (["bash", "-c", command] if shell else command)
    done = subprocess.run(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=ENV)
    if done.returncode != 0:
        sys.exit(f"failed: {command}\n{done.stderr.decode()[-2000:]}")
    e, u, s, m = open("/tmp/compare.time").read().split()[-4:]
    return float(e), float(u) + float(s), int(m)


def measure(what, runs, command, before=None, shell=False):
    results = []
    for _ in range(runs):
        if before:
            before()
        results.append(run(command, shell))
    wall, cpu, memory = (statistics.median(r[i] for r in results) for i in range(3))
    TABLE[what] = (wall, cpu)
    print(f"| {what} | {wall:.2f} | {cpu:.2f} | {memory / 1024:.0f} |", flush=True)


TABLE = {}
ENV = dict(os.environ, SOURCE_DATE_EPOCH="1700000000")


def main():
    a = args()
    mb, work = os.path.abspath(a.bin), os.path.abspath(a.work)
    os.makedirs(work, exist_ok=True)
    ENV["MIRROR_BUNDLE_STATE"] = os.path.join(work, "state")
    layout, bundle, key = (os.path.join(work, n) for n in ("layout", "bundle.tar", "key"))
    if not os.path.exists(os.path.join(layout, "index.json")):
        subprocess.check_call([sys.executable, os.path.join(HERE, "make-layout.py"), layout, str(a.images), str(a.megabytes)])
    if not os.path.exists(key):
        subprocess.check_call([mb, "keygen", key, "--no-passphrase"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    names = [m["annotations"]["org.opencontainers.image.ref.name"] for m in json.load(open(os.path.join(layout, "index.json")))["manifests"]]
    paths = [n.split("/", 1)[1] for n in names]
    source, target = Registry(work, "source"), Registry(work, "target")
    plain = lambda r: ["--plain-http", r.host]
    rm = lambda *files: lambda: [shutil.rmtree(f) if os.path.isdir(f) else os.path.exists(f) and os.remove(f) for f in files]
    try:
        rm(bundle)()
        subprocess.check_call([mb, "create", bundle, "--from-layout", layout, "--sign-key", key, "-qq"], env=ENV)
        unpack = [mb, "unpack", bundle, "--signer", key + ".pub", "--mirror-set", "none", "-qq"]
        subprocess.check_call(unpack + ["--to", f"{source.host}/m"] + plain(source), env=ENV)
        images = [f"{source.host}/m/{p}" for p in paths]
        blobs = sum(e.stat().st_size for e in os.scandir(os.path.join(layout, "blobs/sha256")))
        print(f"\nbundle over the distinct blobs: {(os.path.getsize(bundle) / blobs - 1) * 100:.4f} % (wanted at most 0.1)")
        print(f"{os.path.getsize(bundle) / 1e6:.0f} MB, {len(names)} images, load {os.getloadavg()[0]:.1f}, {a.runs} runs, medians\n")
        print("| what | wall s | CPU s | peak MiB |\n|---|---|---|---|")
        out = os.path.join(work, "out")
        # mirror-bundle says that it is done after its last fsync; the others get a sync, to be as durable.
        synced = f" && sync -f {work}"
        create = [mb, "create", out + ".tar", "--sign-key", key, "-qq"] + plain(source) + [w for i in images for w in ("--image", i)]
        measure("mirror-bundle create, from registry", a.runs, create, rm(out + ".tar"))
        measure("mirror-bundle create, from layout", a.runs, [mb, "create", out + ".tar", "--from-layout", layout, "--sign-key", key, "-qq"], rm(out + ".tar"))
        measure("cat all blobs to one file, openssl over them", a.runs,
                f"cat {layout}/blobs/sha256/* > {out}.cat && openssl dgst -sha256 {layout}/blobs/sha256/*" + synced, rm(out + ".cat"), shell=True)
        blobs = [f"http://{source.host}/v2/m/{p.split(':')[0]}/blobs/sha256:{d}" for p, d in each_blob(layout, paths)]
        urls = os.path.join(work, "urls")
        with open(urls, "w") as f:
            f.writelines(f"{u}\n" for u in blobs)
        measure("curl, 4 parallel, to a file, then openssl", a.runs,
                f"mkdir -p {out}.curl && cd {out}.curl && xargs -P4 -n8 curl -sf --remote-name-all < {urls} && cat * | openssl dgst -sha256 && sync -f .", rm(out + ".curl"), shell=True)
        measure("skopeo copy to one oci: layout", a.runs,
                " && ".join(f"skopeo copy -q --src-tls-verify=false docker://{i} oci:{out}.sk:{n}" for n, i in enumerate(images)) + synced, rm(out + ".sk"), shell=True)
        if shutil.which("crane"):
            measure("crane pull --format=oci", a.runs, " ".join(["crane", "pull", "--insecure", "--format=oci"] + images + [out + ".crane"]) + synced, rm(out + ".crane"), shell=True)
        if shutil.which("oras"):
            measure("oras backup", a.runs, " && ".join(f"oras backup --plain-http --output {out}.oras {i}" for i in images) + synced, rm(out + ".oras"), shell=True)
        measure("mirror-bundle verify", a.runs, [mb, "verify", bundle, "--signer", key + ".pub", "-qq"])
        measure("mirror-bundle verify, from stdin", a.runs, f"{mb} verify - --signer {key}.pub -qq < {bundle}", shell=True)
        measure("openssl dgst -sha256", a.runs, ["openssl", "dgst", "-sha256", bundle])
        to = unpack + ["--to", f"{target.host}/m"] + plain(target)
        measure("mirror-bundle unpack to registry", a.runs, to, target.empty)
        measure("mirror-bundle unpack again", a.runs, to)
        push = os.path.join(work, "push.sh")
        with open(push, "w") as f:
            f.write('l=$(curl -sf -X POST -D - -o /dev/null "$3/v2/$1/blobs/uploads/" | tr -d "\\r" | sed -n "s/^Location: //p")\n'
                    'curl -sf -X PUT -H "Content-Type: application/octet-stream" -T "$2/blobs/sha256/$4" "$l&digest=sha256:$4" -o /dev/null\n')
        unique = sorted({(d, p) for p, d in each_blob(layout, paths)})
        jobs = os.path.join(work, "jobs")
        with open(jobs, "w") as f:
            f.writelines(f"m/{p.split(':')[0]} {layout} http://{target.host} {d}\n" for d, p in unique)
        measure("curl POST and PUT, 4 parallel", a.runs, f"xargs -P4 -n4 bash {push} < {jobs}", target.empty, shell=True)
        measure("skopeo copy from oci:", a.runs,
                " && ".join(f"skopeo copy -q --dest-tls-verify=false oci:{layout}:{n} docker://{target.host}/m/{p}" for n, p in zip(names, paths)), target.empty, shell=True)
        if a.all and shutil.which("crane"):
            measure("crane push, image by image", a.runs, " && ".join(
                f"crane push --insecure {layout}.one/{n} {target.host}/m/{p}" for n, p in enumerate(paths)),
                lambda: (one_by_one(layout, len(paths)), target.empty()), shell=True)
        ratios()
    finally:
        source.stop()
        target.stop()


def one_by_one(layout, count):
    """The same layout with one image in each index.json, as `crane push` wants it."""
    index = json.load(open(os.path.join(layout, "index.json")))
    for n in range(count):
        here = f"{layout}.one/{n}"
        if not os.path.exists(here):
            os.makedirs(here)
            os.symlink(os.path.join(layout, "blobs"), os.path.join(here, "blobs"))
            shutil.copy(os.path.join(layout, "oci-layout"), here)
            with open(os.path.join(here, "index.json"), "w") as f:
                json.dump(dict(index, manifests=[index["manifests"][n]]), f)


def ratios():
    """What issue 5 asks for, as far as both sides were measured."""
    def ratio(what, value, over, limit):
        if over is not None:
            print(f"{what}: {value / over:.2f} (wanted {limit})")
    wall, cpu = ({k: v[i] for k, v in TABLE.items()} for i in (0, 1))
    create, openssl = "mirror-bundle create, from registry", "openssl dgst -sha256"
    print()
    for peer, wanted in [("skopeo copy to one oci: layout", 3), ("crane pull --format=oci", 2), ("oras backup", 2)]:
        if peer in wall:
            print(f"create, wall: {wall[peer] / wall[create]:.2f} x faster than {peer} (wanted {wanted})")
    ratio("create, CPU over curl and openssl", cpu[create], cpu["curl, 4 parallel, to a file, then openssl"], "at most 1.3")
    ratio("create from layout, wall over cat and openssl", wall["mirror-bundle create, from layout"], wall["cat all blobs to one file, openssl over them"], "about 1")
    ratio("verify, CPU over openssl", cpu["mirror-bundle verify"], cpu[openssl], "at most 1.15")
    ratio("verify, wall over openssl", wall["mirror-bundle verify"], wall[openssl], "at most 0.6")
    ratio("verify from stdin, wall over openssl", wall["mirror-bundle verify, from stdin"], wall[openssl], "at most 1.2")
    push, curl = "mirror-bundle unpack to registry", "curl POST and PUT, 4 parallel"
    ratio("unpack, wall over curl", wall[push], wall[curl], "at most 1.1")
    ratio("unpack, CPU over curl", cpu[push], cpu[curl], "at most 1")
    ours = wall[create] + wall["mirror-bundle verify"] + wall[push]
    theirs = wall["skopeo copy to one oci: layout"] + wall["skopeo copy from oci:"]
    ratio("create + verify + unpack over skopeo there and back, wall", ours, theirs, "at most 0.45")


def each_blob(layout, paths):
    """Each distinct blob (configurations and layers) once, with a repository that has it."""
    seen, index = set(), json.load(open(os.path.join(layout, "index.json")))
    for path, entry in zip(paths, index["manifests"]):
        manifest = json.load(open(os.path.join(layout, "blobs/sha256", entry["digest"][7:])))
        for blob in [manifest["config"]] + manifest["layers"]:
            digest = blob["digest"][7:]
            if digest not in seen:
                seen.add(digest)
                yield path, digest


main()
