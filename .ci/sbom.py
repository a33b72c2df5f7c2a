#!/usr/bin/env python3
"""Writes a CycloneDX 1.6 SBOM of what is linked into the program.

    cargo metadata --locked --format-version 1 --filter-platform TARGET | .ci/sbom.py Cargo.lock
"""

import json
import sys
import tomllib
from urllib.parse import quote

metadata = json.load(sys.stdin)
with open(sys.argv[1], "rb") as file:
    locked = {(p["name"], p["version"]): p.get("checksum") for p in tomllib.load(file)["package"]}
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
root = metadata["resolve"]["root"]


def needs(node):
    """What is linked, or runs at build time: everything but tests."""
    return [d["pkg"] for d in nodes[node]["deps"] if any(k["kind"] != "dev" for k in d["dep_kinds"])]


linked, todo = set(), [root]
while todo:
    node = todo.pop()
    if node not in linked:
        linked.add(node)
        todo += needs(node)


def purl(node):
    # A `+` in a version is data, which the rules for purl want escaped.
    return f"pkg:cargo/{packages[node]['name']}@{quote(packages[node]['version'], safe='')}"


def component(node):
    package = packages[node]
    out = {
        "type": "application" if node == root else "library",
        "bom-ref": purl(node),
        "name": package["name"],
        "version": package["version"],
        "purl": purl(node),
    }
    if package.get("license"):
        # Cargo's old spelling of OR is none of SPDX.
        out["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if checksum := locked.get((package["name"], package["version"])):
        out["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    elif node != root:
        sys.exit(f"sbom: no checksum for {purl(node)}")
    return out


order = sorted(linked, key=purl)
document = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
    "version": 1,
    "metadata": {"component": component(root)},
    "components": [component(node) for node in order if node != root],
    "dependencies": [
        {"ref": purl(node), "dependsOn": sorted({purl(n) for n in needs(node)})} for node in order
    ],
}
json.dump(document, sys.stdout, indent=1)
print()
