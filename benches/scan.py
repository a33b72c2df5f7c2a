#!/usr/bin/env python3
"""`scan` with clamd beside `tar x` and `clamdscan --fdpass -m`, over the same contents, in one run.

    benches/scan.py PROGRAM BUNDLE WORK

PROGRAM is a release build, BUNDLE a bundle of one image with layers in gzip, WORK an empty folder on a disk. CPU is that of
the programs, and of clamd by /proc. clamd has a database of one signature, and no cache.
"""
import os, resource, socket, subprocess, sys, time

program, bundle, work = sys.argv[1:]
program, bundle, work = (os.path.abspath(path) for path in (program, bundle, work))
os.makedirs(work + "/db", exist_ok=True)
# The test file of virus scanners with one bit of each byte flipped: clamd has to find it, and nothing else.
hidden = (
    "59344e2051244140515a355d515b59343529515f2836424228367c2544484240532c"
    "5255404f454053452c404f554857485354522c554452552c47484d442025492a492b"
)
signature = bytes(byte ^ 1 for byte in bytes.fromhex(hidden)).hex()
open(work + "/db/test.ndb", "w").write("Bench.Test:0:*:" + signature + "\n")


def cpu_of(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measured(what, daemon, command, ok=(0,)):
    before, theirs, began = children(), cpu_of(daemon), time.time()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, shell=isinstance(command, str), env=env)
    wall, own, theirs = time.time() - began, children() - before, cpu_of(daemon) - theirs
    assert done.returncode in ok, (what, done.returncode, done.stderr[-500:])
    print(f"{what:34} own {own:6.2f} s  clamd {theirs:6.2f} s  wall {wall:6.2f} s", flush=True)
    return own, theirs, wall


env = dict(os.environ, MIRROR_BUNDLE_STATE=work + "/state")
conf = f"""LocalSocket {work}/s
DatabaseDirectory {work}/db
TemporaryDirectory {work}
Foreground yes
User root
MaxThreads 2
StreamMaxLength 4000M
MaxScanSize 4000M
MaxFileSize 2000M
AlertExceedsMax no
DisableCache yes
"""
open(work + "/clamd.conf", "w").write(conf)
log = open(work + "/log", "w")
clamd = subprocess.Popen(["clamd", "-c", work + "/clamd.conf"], stdout=log, stderr=log)
try:
    for _ in range(600):
        try:
            socket.socket(socket.AF_UNIX).connect(work + "/s")
            break
        except OSError:
            time.sleep(0.1)
    # The layers as files, for what is compared.
    subprocess.run(["tar", "-xf", bundle, "-C", work, "blobs"], check=True)
    blobs = [f"{work}/blobs/sha256/{name}" for name in os.listdir(work + "/blobs/sha256")]
    layers = [path for path in blobs if open(path, "rb").read(2) == b"\x1f\x8b"]
    ours, theirs, second = [], [], []
    for turn in range(2):
        ours.append(measured("scan", clamd.pid, [program, "scan", bundle, "--clamd", work + "/s", "--rescan", "-q"], (0, 42)))
        second.append(measured("scan again", clamd.pid, [program, "scan", bundle, "--clamd", work + "/s", "-q"], (0, 42)))
        subprocess.run(["rm", "-rf", work + "/x"])
        unpack = f"mkdir {work}/x && for l in {' '.join(layers)}; do tar -xf $l -C {work}/x; done"
        one = measured("tar x", clamd.pid, unpack)
        two = measured("clamdscan --fdpass -m", clamd.pid,
                       ["clamdscan", "-c", work + "/clamd.conf", "--fdpass", "-m", "--no-summary", "-i", work + "/x"], (0, 1, 2))
        theirs.append(tuple(a + b for a, b in zip(one, two)))
    best = lambda runs: min(runs, key=lambda run: run[0] + run[1])
    a, b, c = best(ours), best(theirs), best(second)
    print(f"CPU of both beside theirs {(a[0] + a[1]) / (b[0] + b[1]):.2f}; own part {a[0] / (a[0] + a[1]):.1%}; "
          f"wall {a[2] / b[2]:.2f}; second run {(c[0] + c[1]) / (a[0] + a[1]):.3f} of the first")
finally:
    clamd.kill()
