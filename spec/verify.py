#!/usr/bin/env python3
"""A second verifier for bundles, written from the documents beside it and from nothing else.

usage: verify.py BUNDLE --signer KEY.pub [--signer …] [--at TIME] [--allow-unsigned] | verify.py --batch … <paths
Prints VERIFIED, or FAILED, the exit code and what was found; exits with the code of verification.md (MB-VER-11)."""
import argparse, base64, collections, datetime, hashlib, ipaddress, json, os, re, subprocess, sys, tempfile

CODES = {"not-a-bundle": 10, "truncated": 11, "malformed": 12, "unsigned": 20, "bad-signature": 21, "untrusted": 22,
         "expired": 23, "blob-missing": 30, "blob-mismatch": 31, "unlisted-content": 32}
NOT_CHECKED = "not checked: release-signatures, release-payload, image-signatures, manifests, addenda, policy"
MIB, TIB, LAYOUT = 1 << 20, 1 << 40, b'{"imageLayoutVersion":"1.0.0"}'
INDEX, SIG, SUMS, ADDENDA = ["mirror-bundle/" + n for n in ("index.json", "index.json.sig", "SHA256SUMS", "addenda/")]
ROLES, KINDS = ["index", "manifest", "config", "layer"], ["release", "component", "additional", "signature", "referrer"]
OCI, DOCKER = "application/vnd.oci.image.", "application/vnd.docker.distribution.manifest."
DOCUMENTS = {OCI + "manifest.v1+json": "manifest", DOCKER + "v2+json": "manifest",
             OCI + "index.v1+json": "index", DOCKER + "list.v2+json": "index"}
CASED = {n.lower(): n for n in "schemaVersion mediaType artifactType config layers manifests subject annotations "
         "digest size urls data platform".split()}
NAME = r"[a-z0-9]+(([.]|__?|-+)[a-z0-9]+)*"
sys.set_int_max_str_digits(0)

class Stop(Exception): "found something after which nothing else is looked at: (code, message)"

def need(condition, message, code="malformed"):
    if not condition: raise Stop(code, message)
def match(pattern, value): return type(value) is str and re.fullmatch(pattern, value, re.ASCII) is not None
def sha(data): return "sha256:" + hashlib.sha256(data).hexdigest()
# --- the tar file
def path_ok(path): return len(path) <= 100 and all(re.fullmatch(r"[0-9a-z._=-]{1,72}", c) and c[-1] != "." and
                    not re.fullmatch(r"con|prn|aux|nul|(com|lpt)[0-9]", c.split(".")[0]) for c in path.split("/"))
def number(n): return b"%011o\0" % n if n < 1 << 33 else b"\x80\0\0\0" + n.to_bytes(8, "big")
def header(path, size, time):
    h = (path.encode().ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + number(size) + number(time) + b" " * 8
         + b"0" + bytes(100) + b"ustar\x0000" + bytes(64) + b"0000000\0" * 2).ljust(512, b"\0")
    return h[:148] + b"%06o\0 " % sum(h) + h[156:]
def parse_header(raw):
    "(path, size, time), or None if it is not a header of MB-FMT-02"
    nums = [int.from_bytes(n[4:], "big") if n[0] == 0x80 else int(n[:11], 8) if re.fullmatch(rb"[0-7]{11}\0", n) else None
            for n in (raw[124:136], raw[136:148])] if len(raw) == 512 else [None]
    path = raw[:100].rstrip(b"\0").decode("latin-1")
    return (path, *nums) if None not in nums and path_ok(path) and header(path, *nums) == raw else None
# --- the signature: `signatures.md`
def judge(message, armored, signers, cache):
    "the code of MB-TRU-15, or None; every key of `signers` is a builder and one is enough"
    m = re.fullmatch(rb"-----BEGIN SSH SIGNATURE-----\n((?:[A-Za-z0-9+/=]{1,76}\n)+)-----END SSH SIGNATURE-----\n", armored)
    try:
        lines = m[1].decode().split("\n")[:-1]
        blob = base64.b64decode("".join(lines), validate=True)
        need(base64.b64encode(blob).decode() == "".join(lines) and all(len(l) == len(lines[0]) for l in lines[:-1])
             and len(lines[-1]) <= len(lines[0]) and blob[:10] == b"SSHSIG\0\0\0\1", "form")
        key, namespace, reserved, hashing, signature = fields(blob[10:], 5)
        need(not reserved and 1 <= len(namespace) <= 128 and not re.search(r"[\0-\x1f\x7f-\x9f]", namespace.decode()), "form")
        kind, algorithm = fields(key)[0].decode(), fields(signature)[0].decode()
    except (Stop, ValueError, IndexError, TypeError): return "bad-signature"
    kinds = {"ssh-ed25519": 0, "sk-ssh-ed25519@openssh.com": 0, "ecdsa-sha2-nistp256": 0, "ssh-rsa": 0}
    if hashing != b"sha512" or kind not in kinds or algorithm not in (["rsa-sha2-512", "rsa-sha2-256"] if kind == "ssh-rsa" else [kind]):
        return "untrusted"
    if kind == "ssh-rsa" and not 3072 <= int.from_bytes(fields(key)[2], "big").bit_length() <= 4096: return "untrusted"
    if kind[:2] == "sk" and not fields(key)[2].startswith(b"ssh:"): return "untrusted"
    if (message, armored) not in cache:
        cache.clear()
        with tempfile.TemporaryDirectory() as d:
            for name, data in ("sig", armored), ("allowed", b"builder " + kind.encode() + b" " + base64.b64encode(key) + b"\n"):
                with open(os.path.join(d, name), "wb") as f: f.write(data)
            cache[message, armored] = subprocess.run(["ssh-keygen", "-Y", "verify", "-f", d + "/allowed", "-I", "builder", "-n",
                namespace.decode(), "-s", d + "/sig"], input=message, capture_output=True).returncode == 0
    if not cache[message, armored] or kind[:2] == "sk" and not signature[-5] & 1: return "bad-signature"
    return None if namespace == b"mirror-bundle.v1.builder" and key in signers else "untrusted"
def fields(data, count=None):
    out = []
    while data:
        n = int.from_bytes(data[:4], "big")
        if len(data) < 4 + n and count is None: break  # what follows the strings in a token's signature
        need(len(data) >= 4 + n, "cut")
        out, data = out + [data[4:4 + n]], data[4 + n:]
    need(count is None or len(out) == count, "fields")
    return out
# --- the bundle index: MB-IDX
def text(v): return type(v) is str and len(v.encode()) <= 1024 and not re.search(r"[\0-\x1f\x7f-\x9f]", v)
def digest(v): return match(r"sha256:[0-9a-f]{64}", v)
def word(v): return text(v) and match(r"[A-Za-z0-9.\-_+]+", v)
def upto(n): return lambda v: type(v) is int and 0 <= v <= n
def tag(v): return match(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", v)
def rising(keys): return all(a < b for a, b in zip(keys, keys[1:]))
def listed(item, key=None): return lambda v: type(v) is list and all(map(item, v)) and (not key or rising([key(x) for x in v]))
def one_of(values): return lambda v: type(v) is str and v in values
def record(**members):
    "an object with these members in this order; those that end in _ are optional"
    order = [n.rstrip("_") for n in members]
    return lambda v: (type(v) is dict and list(v) == [n for n in order if n in v] and all(
        check(v[n.rstrip("_")]) if n.rstrip("_") in v else n[-1] == "_" for n, check in members.items()))
def instant(v):
    try: return match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", v) and datetime.datetime.strptime(v, "%Y-%m-%dT%H:%M:%SZ")
    except ValueError: return None
def repository(v):
    if not text(v): return False
    first, slash, rest = v.partition("/")
    if slash and (first == "localhost" or re.search(r"[.:\[]", first)):
        m = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
                         r"(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*)(:[0-9]{1,5})?", first)
        try: m and m[1] and ipaddress.IPv6Address(m[1])
        except ValueError: m = None
        if not m: return False
        v = rest
    return len(v) <= 255 and match(NAME + "(/" + NAME + ")*", v)
UTF8, U64 = (lambda s: s.encode()), upto(2**64 - 1)
OBJECT = record(apiVersion=text, kind=text, namespace_=text, name=text)
TOP = record(format=lambda v: v == 1, features=record(compatible=listed(text, UTF8), incompatible=lambda v: v == []),
    name=lambda v: v and text(v), sequence=U64, created=instant, expires_=instant, sourceDateEpoch_=upto(2**33 - 1),
    exceptions=listed(text, UTF8), releases=listed(record(version=word, architecture=word, digest=digest,
        trust=one_of(["openpgp", "none"]), signers=listed(word)), lambda r: (r["version"], r["architecture"], r["digest"])),
    images=listed(record(repository_=repository, tag_=tag, digest=digest, mediaType=one_of(DOCUMENTS), size=U64,
        platforms=listed(lambda v: text(v) and match(r"[^/]+/[^/]+(/[^/]+)?", v)), kind=one_of(KINDS), component_=text,
        release_=digest, subject_=digest, requestedBy=text), lambda i: (KINDS.index(i["kind"]),
        *(i.get(n, "") for n in ("repository", "tag", "component", "digest", "release", "subject")))),
    files=listed(record(path=lambda v: text(v) and path_ok(v), size=upto(16 * MIB), digest=digest,
        objects_=lambda v: v and listed(OBJECT)(v))),
    blobs=listed(record(digest=digest, size=upto(16 * TIB), role=one_of(ROLES)),
        lambda b: (max(ROLES.index(b["role"]), 1), b["digest"])), missing=listed(record(reference=text, reason=text)))
def parse_index(raw):
    try: x = json.loads(raw.decode())
    except (ValueError, RecursionError): raise Stop("malformed", "the index is not JSON")
    need(type(x) is dict, "the index is no object")
    features = x.get("features")
    need(type(x.get("format")) is not int or x["format"] == 1, "unknown format", "not-a-bundle")
    need(not (type(features) is dict and features.get("incompatible")), "unknown incompatible feature", "not-a-bundle")
    need(TOP(x) and raw.decode() == json.dumps(x, indent=2, ensure_ascii=False) + "\n", "the index is not in its one form")
    files, blobs, releases = x["files"], x["blobs"], {r["digest"] for r in x["releases"]}
    need("expires" not in x or x["expires"] > x["created"], "expires before it is created")
    paths = [f["path"] for f in files]
    need(paths[:2] == ["oci-layout", "index.json"] and (files[0]["size"], files[0]["digest"]) == (30, sha(LAYOUT)), "first files")
    need(all(re.match("manifests/|signatures/", p) for p in paths[2:]) and rising(paths[2:]), "paths")
    need(not any(("/".join(p.split("/")[:n]) in paths) for p in paths for n in range(1, p.count("/") + 1)), "a file as folder")
    for f in files:
        limit = MIB if f["path"].startswith("manifests/") else 1 << 16 if f["path"].startswith("signatures/") else 16 * MIB
        need(f["size"] <= limit and ("objects" not in f or f["path"].startswith("manifests/")), "file " + f["path"])
    docs = [b["size"] for b in blobs if b["role"] in ROLES[:2]]
    need(sum(f["size"] for f in files) <= 16 * MIB and sum(b["size"] for b in blobs) <= 1 << 50 and
         sum(docs) <= 32 * MIB and all(n <= 8 * MIB for n in docs), "limits")
    need(len({b["digest"] for b in blobs}) == len(blobs), "a blob twice")
    for i in x["images"]:
        kind, own = i["kind"], {"component", "release", "subject"} & set(i)
        need({"release": own == {"release"} and i.get("release") == i["digest"], "component": own == {"component", "release"},
              "additional": not own}.get(kind, own in ({"subject"}, {"subject", "release"})), "members of an image")
        need("release" not in i or i["release"] in releases, "an image of no release")
        need(kind != "signature" or i.get("tag") == f"sha256-{i['subject'][7:]}.sig", "tag of a signature")
    need(releases <= {i["digest"] for i in x["images"] if i["kind"] == "release"}, "a release without image")
    return x
def derived_index(x):
    manifests, seen = [], set()
    for i in x["images"]:
        r, t = i.get("repository"), i.get("tag")
        ref = r + (":" + t if t else "@" + i["digest"]) if r else t
        if (ref, i["digest"]) not in seen:
            manifests.append({n: i[n] for n in ("mediaType", "digest", "size")}
                             | ({"annotations": {"org.opencontainers.image.ref.name": ref}} if ref else {}))
        seen.add((ref, i["digest"]))
    x = {"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": manifests}
    return (json.dumps(x, indent=2, ensure_ascii=False) + "\n").encode()
# --- the images: MB-OCI
def document(raw, media):
    "the descriptors of a document, each with its role, and its subject"
    def pairs(members):
        need(len({n for n, _ in members}) == len(members), "a member twice")
        need(all(CASED.get(n.lower() if n.isascii() else n, n) == n for n, _ in members), "a member in other case")
        return dict(members)
    def nested(v, level=0):  # also counts
        need(level + isinstance(v, (dict, list)) <= 127 and not (type(v) is str and v.encode() is None), "nested too deeply")
        return 1 + sum(nested(c, level + 1) for c in (v.values() if type(v) is dict else v if type(v) is list else ()))
    def constant(_): raise ValueError
    def described(d):
        need(type(d) is dict and digest(d.get("digest")) and upto(16 * TIB)(d.get("size")) and text(d.get("mediaType")), "descriptor")
        return d
    try:
        x = json.loads(raw.decode(), object_pairs_hook=pairs, parse_constant=constant)
        need(nested(x) <= 2_000_000, "too many values")
    except (ValueError, RecursionError): raise Stop("malformed", "not a JSON document")
    need(type(x) is dict and type(x.get("schemaVersion")) is int and x["schemaVersion"] == 2, "no document of version 2")
    need(x.get("mediaType", media) == media, "another media type")
    index = DOCUMENTS[media] == "index"
    need(({"config", "layers", "manifests"} & set(x)) == ({"manifests"} if index else {"config", "layers"}), "kind of document")
    many = x["manifests" if index else "layers"]
    need(type(many) is list and len(many) <= 100_000, "list of descriptors")
    subject = described(x["subject"])["digest"] if "subject" in x else None
    return subject, [(described(d), DOCUMENTS.get(d["mediaType"], "layer") if index else "layer") for d in many] + (
        [] if index else [(described(x["config"]), "config")])
def graph(x, docs, report):
    blobs, used, types, subjects, seen = {b["digest"]: b for b in x["blobs"]}, {}, {}, {}, set()
    todo = collections.deque((i, DOCUMENTS[i["mediaType"]], 0) for i in x["images"])
    while todo:
        d, role, level = todo.popleft()
        name, media = d["digest"], d["mediaType"]
        if name not in blobs: report("blob-missing", name); continue
        if d["size"] != blobs[name]["size"]: report("malformed", "two sizes of " + name)
        used[name] = min(used.get(name, 9), ROLES.index(role))
        if role not in ROLES[:2] or (name, level) in seen: continue
        seen.add((name, level))
        if types.setdefault(name, media) != media: report("malformed", "two media types of " + name); continue
        if level > 4: report("malformed", "documents nested too deeply"); continue
        if name not in docs: continue  # not what its digest says, or not listed as a document: reported elsewhere
        try: subjects[name], children = document(docs[name], media)
        except Stop as e: report(e.args[0], f"{name}: {e.args[1]}"); continue
        todo.extend((c, r, level + 1) for c, r in children)
    for name, b in blobs.items():
        if name not in used: report("unlisted-content", name)
        elif ROLES[used[name]] != b["role"]: report("malformed", "role of " + name)
    for i in x["images"]:
        if "subject" in i and blobs.get(i["subject"], {}).get("role") not in ROLES[:2]: report("blob-missing", i["subject"])
        if i["kind"] == "referrer" and subjects.get(i["digest"], i["subject"]) != i["subject"]: report("malformed", "subject")
# --- the whole
def verify(f, args, cache, report):
    def read(n):
        data = f.read(n)
        need(len(data) == n, "the file ends early", "truncated")
        return data
    def content(size): return read(size), need(not any(read(-size % 512)), "padding", "unlisted-content")
    first = parse_header(f.read(512))
    need(first and first[:2] == ("oci-layout", 30), "the first member", "not-a-bundle")
    time, layout = first[2], content(30)[0]
    def member(code, *limits):
        h = parse_header(read(512))
        need(h and h[0] in limits[::2], "another member", code)
        need(h[2] == time and h[1] <= limits[limits.index(h[0]) + 1], f"time or size of {h[0]}")
        return h[0], content(h[1])[0]
    raw = member("not-a-bundle", INDEX, 16 * MIB)[1]
    name, signature = member("malformed", SIG, 1 << 16, SUMS, 16 * MIB)
    name, sums = (name, signature) if name == SUMS else member("malformed", SUMS, 16 * MIB)
    signature = None if sums is signature else signature
    code = "unsigned" * (not args.allow_unsigned) if signature is None else args.keys and judge(raw, signature, args.keys, cache)
    if code: report(code, "the signature over the index")
    if code == "bad-signature": return
    x = parse_index(raw)
    created, expires = instant(x["created"]), instant(x.get("expires", "9999-12-31T23:59:59Z"))
    if created > args.at + datetime.timedelta(days=1) or expires <= args.at: report("expired", "created, expires")
    if time != x.get("sourceDateEpoch", 0): report("malformed", "the time of the members")
    entries = [(e["path"], e) for e in x["files"][1:]] + [("blobs/sha256/" + e["digest"][7:], e) for e in x["blobs"]]
    start, length = f.tell(), os.fstat(f.fileno()).st_size
    need(length >= start + sum(512 + e["size"] + -e["size"] % 512 for _, e in entries) + 1024, "shorter than it says", "truncated")
    want = [("oci-layout", sha(layout)), (INDEX, sha(raw))] + ([(SIG, sha(signature))] if signature is not None else [])
    want += [(p, e["digest"]) for p, e in entries]
    if sums != "".join(f"{d[7:]}  {p}\n" for p, d in want).encode(): report("malformed", SUMS)
    if layout != LAYOUT: report("malformed", "oci-layout")
    docs = {}
    for path, e in entries:
        if read(512) != header(path, e["size"], time): report("malformed", "header of " + path)
        keep, left, hashed = path == "index.json" or e.get("role") in ROLES[:2], e["size"], hashlib.sha256()
        while left:
            part = read(min(left, 16 * MIB))
            left -= len(part)
            hashed.update(part)
        data = part if keep and e["size"] else b""
        if any(read(-e["size"] % 512)): report("unlisted-content", "padding of " + path)
        if "sha256:" + hashed.hexdigest() != e["digest"]: report("blob-mismatch", path)
        elif path != "index.json" and keep: docs[e["digest"]] = data
        if path == "index.json" and data != derived_index(x): report("malformed", "index.json")
    graph(x, docs, report)
    seen = set()
    while any(block := read(512)):
        h = parse_header(block)
        need(h and re.fullmatch(ADDENDA + "[^/]+", h[0]), "something behind the last member", "unlisted-content")
        seen.add(h[0])
        need(h[1] <= MIB and len(seen) <= 64, "an addendum over the limits")
        content(h[1])
    need(not any(read(512)) and not f.read(1), "something behind the end", "unlisted-content")
def main():
    p = argparse.ArgumentParser()
    p.add_argument("bundle", nargs="?")
    for name, action in ("signer", "append"), ("at", "store"), ("allow-unsigned", "store_true"), ("batch", "store_true"):
        p.add_argument("--" + name, action=action)
    args, cache, code = p.parse_args(), {}, 0
    args.keys = [base64.b64decode(open(k).read().split()[1], validate=True) for k in args.signer or []]
    args.at = instant(args.at) if args.at else datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    if not args.at or bool(args.bundle) == args.batch or not args.keys and not args.allow_unsigned: p.error("see --help")
    for path in (line.rstrip("\n") for line in sys.stdin) if args.batch else [args.bundle]:
        found = []
        try:
            with open(path, "rb") as f: verify(f, args, cache, lambda *finding: found.append(finding))
        except Stop as e: found.append(e.args)
        code = min((CODES[c] for c, _ in found), default=0)
        print(f"FAILED {code} " + "; ".join(f"{c}: {m}" for c, m in found[:8]) if found else "VERIFIED", flush=True)
    if not args.batch: print(NOT_CHECKED)
    return code
if __name__ == "__main__": sys.exit(main())
