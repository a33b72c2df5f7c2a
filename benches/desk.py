#!/usr/bin/env python3
"""benches/desk.py PROGRAM BUNDLE [RUNS]: CPU and memory of `ls --files` beside `gzip -dc` or `zstd -dc` piped to
`openssl dgst -sha256` over the same layers. The layers are written beside the bundle first; all of it is then in the page
cache. Alternating runs, medians."""
import json, os, statistics, subprocess, sys, tempfile


def measured(command, shell=False):
    """CPU seconds of a command and its children, and the most memory of one of them in MiB."""
    pid = os.fork()
    if pid == 0:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        words = ["bash", "-c", command] if shell else command
        os.execvp(words[0], words)
    _, status, usage = os.wait4(pid, 0)
    if status:
        sys.exit(f"{command}: status {status}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    program, bundle = sys.argv[1:3]
    runs = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    listed = subprocess.run([program, "ls", bundle, "--files", "-o", "json"], stdout=subprocess.PIPE, check=True)
    layers = [line for line in map(json.loads, listed.stdout.splitlines()) if line["type"] == "layer"]
    entries = json.loads(listed.stdout.splitlines()[-1])["entries"]
    with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(bundle))) as work:
        pipes = []
        for number, layer in enumerate(layers):
            path = os.path.join(work, str(number))
            with open(path, "wb") as to:
                subprocess.run([program, "cat", bundle, layer["layer"]], stdout=to, stderr=subprocess.DEVNULL, check=True)
            tool = "zstd" if "zstd" in layer["media_type"] else "gzip" if "gzip" in layer["media_type"] else "cat"
            pipes.append(f"{tool} {'-dc ' if tool != 'cat' else ''}<{path} | openssl dgst -sha256")
        size = sum(os.path.getsize(os.path.join(work, name)) for name in os.listdir(work)) >> 20
        ours, theirs = [], []
        for _ in range(runs):
            ours.append(measured([program, "ls", bundle, "--files"]))
            theirs.append(measured("; ".join(pipes), shell=True))
    of = lambda all, at: statistics.median(one[at] for one in all)
    print(f"{len(layers)} layers, {size} MiB stored, {entries} entries, {runs} runs")
    print(f"ls --files      CPU {of(ours, 0):.2f} s, {of(ours, 1):.0f} MiB")
    print(f"inflate, digest CPU {of(theirs, 0):.2f} s")
    print(f"ratio           {of(ours, 0) / of(theirs, 0):.2f}")


main()
