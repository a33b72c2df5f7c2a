"""A second verifier for bundles, written from the documents in this folder. BUNDLE|--batch --signer KEY.pub ... [--at TIME] [--allow-unsigned]"""
import argparse, base64, datetime, hashlib, json, math, mmap, pathlib, re, subprocess, sys, tempfile, zlib
CODES = {"not-a-bundle": 10, "truncated": 11, "malformed": 12, "unsigned": 20, "bad-signature": 21, "untrusted": 22, "expired": 23,
         "policy": 41, "blob-missing": 30, "blob-mismatch": 31, "unlisted-content": 32, "removed": 33, "release-unverified": 40,
         "incomplete-check": 42}
INDEX, SIG, SUMS, ADDENDA = ["mirror-bundle/" + n for n in ("index.json", "index.json.sig", "SHA256SUMS", "addenda/")]
KINDS, ROLES = ["release", "component", "additional", "signature", "referrer", "graph-data"], ["index", "manifest", "config", "layer"]
OCI, DOCKER, MIB = "application/vnd.oci.image.", "application/vnd.docker.distribution.manifest.", 1 << 20
DOCUMENTS = {OCI + f"{n}.v1+json": n for n in ROLES[:2]} | {DOCKER + "v2+json": "manifest", DOCKER + "list.v2+json": "index"}
CASED = {n.lower(): n for n in "schemaVersion mediaType artifactType config layers manifests subject annotations digest size urls data platform".split()}
class Stop(Exception): "(code, message): nothing more is checked after this"
def need(condition, message, code="malformed"):
    if not condition: raise Stop(code, message)
string, match = lambda v: type(v) is str, lambda pattern, v: string(v) and re.fullmatch(pattern, v, re.ASCII) is not None
form, upto = lambda pattern: lambda v: match(pattern, v), lambda n: lambda v: type(v) is int and 0 <= v <= n
sha, padded = lambda data: "sha256:" + hashlib.sha256(data).hexdigest(), lambda n: n + -n % 512  # The tar file: MB-FMT
path_ok = form(r"(?=.{1,100}$)C(/C)*".replace("C", r"(?!(con|prn|aux|nul|(com|lpt)\d)(\.|/|$))[0-9a-z._=-]{0,71}[0-9a-z_=-]"))
def number(n): return b"%011o\0" % n if n < 1 << 33 else b"\x80\0\0\0" + n.to_bytes(8, "big")
def header(path, size, time):
    h = (path.encode().ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + number(size) + number(time) + b" " * 8 + b"0" + bytes(100)
         + b"ustar\x0000" + bytes(64) + b"0000000\0" * 2).ljust(512, b"\0")
    return h[:148] + b"%06o\0 " % sum(h) + h[156:]
def parse_header(raw):
    try: h = [raw[:100].rstrip(b"\0").decode()] + [int.from_bytes(n[4:], "big") if n[0] == 0x80 else int(n[:11], 8)
                                                   for n in (raw[124:136], raw[136:148])]
    except (ValueError, IndexError): h = [""]
    return h if h[0] and min(h[1:]) >= 0 and header(*h) == raw else (None, None, None)
def strings(data, count, *out):  # Signatures over the index: signatures.md
    end = 4 + int.from_bytes(data[:4], "big"); need(len(out) == count or len(data) >= end, "cut short")
    return [*out, data] if len(out) == count else strings(data[end:], count, *out, data[4:end])
def outcome(message, armored, signers, cache, wanted=b"mirror-bundle.v1.builder"):  # the outcome of MB-TRU-11; `known`: bad, by a key of `signers`
    try:
        m = re.fullmatch(rb"-----BEGIN SSH SIGNATURE-----\n((.{1,76}\n)+)-----END SSH SIGNATURE-----\n", armored)
        lines = m[1].decode("ascii").split("\n")[:-1]; body, blob = "".join(lines), base64.b64decode("".join(lines), validate=True)
        need(base64.b64encode(blob).decode() == body and lines == re.findall(".{1,%d}" % len(lines[0]), body), "armor")
        key, namespace, reserved, hashing, signature, rest = strings(blob[10:], 5)
        need(blob[:10] == b"SSHSIG\0\0\0\1" and not (reserved or rest) and 0 < len(namespace) <= 128, "form")
        kind, (algorithm, raw, token) = strings(key, 1)[0].decode() * text(namespace.decode(), ""), strings(signature, 2)
    except (Stop, ValueError, TypeError): return "malformed"
    if hashing != b"sha512" or not (kind in ("ssh-ed25519", "ecdsa-sha2-nistp256") or kind == "ssh-rsa" and algorithm != b"ssh-rsa" or kind ==
            "sk-ssh-ed25519@openssh.com" and token[:1] and token[0] & 1): return "unknown-key" if kind else "malformed"
    if (message, armored) not in cache:
        with tempfile.TemporaryDirectory() as d:
            _ = pathlib.Path(d, "sig").write_bytes(armored), pathlib.Path(d, "keys").write_text(f"x {kind} {base64.b64encode(key).decode()}\n")
            good = not subprocess.run(["ssh-keygen", "-Y", "verify", "-f", d + "/keys", "-I", "x", "-s", d + "/sig", "-n", namespace],
                                      input=message, capture_output=True).returncode
        cache[message, armored] = good and ("ed25519" not in kind or  # MB-SIG-12: S below the group order
            int.from_bytes(raw[32:], "little") < (1 << 252) + 27742317777372353535851937790883648493)
    if not cache[message, armored]: return "known" if key in signers else "bad"
    return "unknown-key" if key not in signers else "good" if namespace == wanted else "wrong-role"
def judge(message, signatures, args, cache, reviewed=False):  # the code of MB-TRU-15, or None; every given key is a builder's, and one suffices
    if not signatures or not args.keys: return None if args.allow_unsigned else "untrusted" if reviewed else "unsigned"
    found = {outcome(message, s, args.keys, cache) for s in signatures[:16]}
    return ("malformed" if len(signatures) > 16 else None if "good" in found and (reviewed or not args.need_reviewer) else
            "bad-signature" if "known" in found or found <= {"bad", "malformed"} else "untrusted")
def text(v, hidden="\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"):  # The bundle index: MB-IDX. Checkers return whether a value is valid
    return string(v) and len(v.encode()) <= 1024 and not re.search(f"[\0-\x1f\x7f-\x9f{hidden}]", v)
def listed(item, by=None): return lambda v: type(v) is list and all(map(item, v)) and (not by or all(map(lambda a, b: by(a) < by(b), v, v[1:])))
def loose(**members):  # an object with at least these members; names that end in _ are optional
    return lambda v: type(v) is dict and all(n[-1] == "_" if v.get(m := n.rstrip("_")) is None else ok(v[m]) for n, ok in members.items())
def record(**members): return lambda v: loose(**members)(v) and None not in v.values() and list(v) == [n.rstrip("_") for n in members if n.rstrip("_") in v]  # exactly these
def instant(v):
    try: return match(r"(?!1[0-8]|19[0-6]|9999|0)[\d-]{10}T[\d:]{8}Z", v) and datetime.datetime.strptime(v, "%Y-%m-%dT%H:%M:%SZ")
    except ValueError: return None
HOST = r"((?=localhost[/:]|[^/]*[.:])(\[[0-9A-Fa-f:.]+\]|(?=[^:/]{1,253}[:/])L(\.L)*)(:\d{1,5})?/)?(?=.{1,255}$)C(/C)*"  # IPv6 and ports: not exact
repository = form(HOST.replace("L", "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?").replace("C", "[a-z0-9]+(([.]|__?|-+)[a-z0-9]+)*"))
U64, TEXTS, digest, word = upto(2**64 - 1), listed(text, str), form(r"sha256:[0-9a-f]{64}"), form(r"[A-Za-z0-9._+-]{1,1024}")
EXCEPTION = form(r"kind:P(/P){0,2}(:([a-z0-9*?-]{1,253}/)?[A-Za-z0-9._:@+=~*?-]{1,253})?|missing-image-signature|unsigned-release".replace("P",
    "[A-Za-z0-9.-]{1,253}"))
EXCEPTIONS = lambda v: listed(EXCEPTION, str)(v) and len(v) <= 256
BUNDLE = record(format=U64, features=record(compatible=lambda v: v == [], incompatible=TEXTS), name=lambda v: v and text(v), sequence_=U64,
    created=instant, expires_=instant, sourceDateEpoch_=upto(2**33 - 1), exceptions=EXCEPTIONS, releases=listed(record(version=word,
        architecture=word, digest=digest, trust=form("openpgp|none"), signers=listed(word)), lambda r: (r["version"], r["architecture"])),
    images=listed(record(repository_=repository, tag_=form(r"\w[\w.-]{0,127}"), digest=digest, mediaType=form("|".join(map(re.escape,
        DOCUMENTS))), size=U64, platforms=listed(form(r"[\w.-]+(/[\w.-]+){1,2}")), kind=form("|".join(KINDS)), component_=text,
        release_=digest, subject_=digest, derived_=record(base=digest, input=digest), requestedBy=text), lambda i: (KINDS.index(i["kind"]),
        *map(i.get, ("repository", "tag", "component", "digest", "release", "subject"), [""] * 6))),
    files=listed(record(path=path_ok, size=U64, digest=digest, objects_=lambda v: v and listed(record(apiVersion=text, kind=text, namespace_=text,
        name=text))(v))),
    blobs=listed(record(digest=digest, size=upto(1 << 44), role=form("|".join(ROLES))), lambda b: (max(ROLES.index(b["role"]), 1),
        b["digest"])), missing=listed(record(reference=text, reason=text)))
FILES = r"manifests/(.*/)?[^/]+\.(ya?ml|json)|signatures/sha256=[0-9a-f]{64}/signature-([1-9]|1[0-6])"
OWN = dict(zip(KINDS, ("release", "component release", "", "(release )?subject", "(release )?subject", "derived")))
def parse_index(raw):
    try:
        x = json.loads(raw.decode(), parse_int=numeral)
        known = type(x) is dict and U64(x.get("format")) and (x["format"] != 1 or loose(incompatible=listed(string))(x.get("features")))
        need(not known or x["format"] == 1 and {*x["features"]["incompatible"]} <= {"graph-data"}, "unknown format or feature", "not-a-bundle")
        need(BUNDLE(x) and raw.decode() == json.dumps(x, indent=2, ensure_ascii=False) + "\n", "the form of the index")
    except (ValueError, RecursionError): raise Stop("malformed", "the form of the index")
    files, blobs, images, releases = x["files"], x["blobs"], x["images"], {r["digest"] for r in x["releases"]}
    paths, docs = [f["path"] for f in files], [b["size"] for b in blobs if b["role"] in ROLES[:2]]
    need(x.get("expires", "9") > x["created"] and paths[:2] == ["oci-layout", "index.json"] and listed(string, str)(paths[2:]) and all(match(FILES, p)
         for p in paths[2:]) and not {p[:m.start()] for p in paths for m in re.finditer("/", p)} & set(paths), "order and paths")
    need(all(f["size"] <= (n := {"m": 3 * MIB, "s": 1 << 16}.get(f["path"][0], 6 * MIB)) and (n == 3 * MIB or "objects" not in f) for f in files) and
         max(docs + [0]) <= 4 * MIB and sum(docs) <= 16 * MIB and sum(f["size"] for f in files) <= 8 * MIB and
         sum(b["size"] for b in blobs) <= 1 << 50, "limits")
    tags = {(i.get("repository"), i["tag"], i["digest"]) for i in images if "tag" in i}
    need(len({b["digest"] for b in blobs}) == len(blobs) and len({t[:2] for t in tags}) == len(tags), "something twice")
    need(all(match(OWN[i["kind"]], " ".join(n for n in ("component", "release", "subject", "derived") if n in i)) and i.get("release", "") in (
        [i["digest"]] if i["kind"] == "release" else releases | {""}) for i in images), "members of an image")
    graphs = [i.get("repository") for i in images if i["kind"] == "graph-data"]
    need(graphs in ([], ["graph-data"]) and x["features"]["incompatible"] == graphs, "the graph-data image")
    need(releases == {i["digest"] for i in images if i["kind"] == "release"}, "releases and their images"); return x
def derived_index(x):
    named = [(i.get("repository"), i.get("tag"), i) for i in x["images"]]
    named = [(r + (":" + t if t else "@" + i["digest"]) if r else t, {n: i[n] for n in ("mediaType", "digest", "size")}) for r, t, i in named]
    found = {(r, d["digest"]): d | ({"annotations": {"org.opencontainers.image.ref.name": r}} if r else {}) for r, d in named}
    return (json.dumps({"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": [*found.values()]}, indent=2) + "\n").encode()
STRINGS, MAP = listed(string), lambda v: type(v) is dict and all(map(string, v.values()))  # The images: MB-OCI
DESCRIPTOR = loose(mediaType=string, digest=digest, size=U64, urls_=STRINGS, annotations_=MAP, artifactType_=string, data_=string,
                   platform_=loose(architecture_=string, os_=string, variant_=string, features_=STRINGS))
COMMON = dict(schemaVersion=lambda v: type(v) is int and v == 2, artifactType_=string, annotations_=MAP, subject_=DESCRIPTOR)
MANY, NO = lambda v: listed(DESCRIPTOR)(v) and len(v) <= 100_000, lambda v: False
FORMS = {"manifest": loose(**COMMON, config=DESCRIPTOR, layers_=MANY, manifests_=NO),
         "index": loose(**COMMON, manifests_=MANY, config_=NO, layers_=NO)}
def pairs(v): return need(len(dict(v)) == len(v) <= 100_000, "names") or dict(v)
def cased(v, free=False):  # names of annotations are free text
    for n, c in v.items() if type(v) is dict else (("", c) for c in v if type(v) is list):
        need(free or CASED.get(n.replace("\u017f", "s").lower(), n) == n, "names"); _ = isinstance(c, (dict, list)) and cased(c, n == "annotations")
def numeral(v): return need(v[-1].isdigit() and math.isfinite(float(v)), "a number") or (int(v) if v.isdigit() else float(v))
def values(v, level=0): return need(level + isinstance(v, (dict, list)) < 128, "nested too deeply") or 1 + sum(
    values(c, level + 1) for c in (v.values() if type(v) is dict else v if type(v) is list else ()))
def annotations(v, named=False): return len(v) * named + sum(annotations(c, n == "annotations") for n, c in v.items()) if type(v) is dict else sum(
    map(annotations, v)) if type(v) is list else 0
def document(raw, media):  # its subject, and its descriptors with their roles
    try:
        x = json.loads(raw.decode(), object_pairs_hook=pairs, parse_constant=numeral, parse_int=numeral, parse_float=numeral)
        need(values(x) <= 2_000_000 and not cased(x) and annotations(x) <= 100_000 and json.dumps(x, ensure_ascii=False).encode(), "too many values")
    except (ValueError, RecursionError): raise Stop("malformed", "not a JSON document")
    need(FORMS[DOCUMENTS[media]](x) and x.get("mediaType") in (None, media), "not a document of its media type")
    return (x.get("subject") or {}).get("digest"), [(d, DOCUMENTS.get(d["mediaType"], "layer")) for d in x.get("manifests") or ()] + [
        (d, "layer") for d in x.get("layers") or ()] + [(d, "config") for d in [x.get("config")] if d]
FOREIGN = r"application/vnd\.(docker\.image\.rootfs\.foreign\.diff|oci\.image\.layer\.nondistributable\.v1)\.tar([.+](gzip|zstd))?"
def graph(x, docs, bad, report):
    blobs, used, types, subjects, seen = {b["digest"]: b for b in x["blobs"]}, {}, {}, {}, set()
    uses = {n: (b["size"], b["role"] in ROLES[:2]) for n, b in blobs.items()}; todo = [(i, DOCUMENTS[i["mediaType"]], 0) for i in x["images"]]
    for d, role, level in todo:  # `todo` grows
        name, media, is_doc, b = d["digest"], d["mediaType"], role in ROLES[:2], blobs.get(d["digest"])
        if d["size"] > (4 * MIB if is_doc else 1 << 44) or b and uses[name] != (d["size"], is_doc): report("malformed", "use of " + name)
        elif not b: role == "layer" and match(FOREIGN, media) and {"reference": name, "reason": "foreign-layer"} in x["missing"] or report("blob-missing", name)
        else: used[name] = min(used.get(name, 9), ROLES.index(role))
        if not is_doc or name not in docs or (name, level, media) in seen: continue
        try:
            need(not seen.add((name, level, media)) and level <= 4 and types.setdefault(name, media) == media, "levels or media types")
            subjects[name], children = document(docs[name], media); todo += [(*child, level + 1) for child in children]
        except Stop as e: report(e.args[0], f"{name}: {e.args[1]}")
    for name, b in blobs.items():
        if name not in used: bad or report("unlisted-content", name)
        elif ROLES[used[name]] != b["role"]: report("malformed", "role of " + name)
    for i, s in [(i, i["subject"]) for i in x["images"] if "subject" in i]:
        if blobs.get(s, {}).get("role") not in ROLES[:2]: report("blob-missing", s)
        agrees = i.get("tag") in [f"sha256-{s[7:]}.{e}" for e in ("sig", "att", "sbom")] if i["kind"] == "signature" else subjects.get(i["digest"], s) == s
        if not agrees: report("malformed", "subject " + s)
TOP, META = "apiVersion kind metadata spec status data binaryData stringData immutable type".split(), ("name generateName namespace selfLink uid "  # MB-MAN
    "resourceVersion generation creationTimestamp deletionTimestamp deletionGracePeriodSeconds labels annotations ownerReferences finalizers "
    "managedFields clusterName").split()
HIDDEN = ("[\x7f-\x9f\xad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff"
          "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]")
def scopes(t): return {(g * (g != "v1"), k) for g, *kinds in map(str.split, t.split(";")) for k in kinds}  # group and kind: MB-MAN-08
CLUSTER = scopes("v1 ComponentStatus Namespace Node PersistentVolume; admissionregistration.k8s.io MutatingAdmissionPolicy MutatingAdmissionPolicyBinding "
    "MutatingWebhookConfiguration ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration; apiextensions.k8s.io "
    "CustomResourceDefinition; apiregistration.k8s.io APIService; certificates.k8s.io CertificateSigningRequest ClusterTrustBundle; "
    "config.openshift.io APIServer Authentication Build ClusterImagePolicy ClusterOperator ClusterVersion Console DNS FeatureGate Image "
    "ImageContentPolicy ImageDigestMirrorSet ImageTagMirrorSet Infrastructure Ingress Network Node OAuth OperatorHub Project Proxy Scheduler; "
    "flowcontrol.apiserver.k8s.io FlowSchema PriorityLevelConfiguration; machineconfiguration.openshift.io ContainerRuntimeConfig "
    "ControllerConfig KubeletConfig MachineConfig MachineConfigPool; networking.k8s.io IPAddress IngressClass ServiceCIDR; node.k8s.io "
    "RuntimeClass; olm.operatorframework.io ClusterCatalog ClusterExtension; operator.openshift.io ImageContentSourcePolicy; operators.coreos.com "
    "OLMConfig Operator; policy PodSecurityPolicy; rbac.authorization.k8s.io ClusterRole ClusterRoleBinding; scheduling.k8s.io PriorityClass; "
    "security.openshift.io SecurityContextConstraints; storage.k8s.io CSIDriver CSINode StorageClass VolumeAttachment VolumeAttributesClass")
NAMESPACED = scopes("v1 Binding ConfigMap Endpoints Event LimitRange PersistentVolumeClaim Pod PodTemplate ReplicationController ResourceQuota Secret Service "
    "ServiceAccount; apps ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet; autoscaling HorizontalPodAutoscaler; batch CronJob Job; "
    "config.openshift.io ImagePolicy; coordination.k8s.io Lease; discovery.k8s.io EndpointSlice; events.k8s.io Event; networking.k8s.io Ingress "
    "NetworkPolicy; operator.openshift.io IngressController; operators.coreos.com CatalogSource ClusterServiceVersion InstallPlan "
    "OperatorCondition OperatorGroup Subscription; policy PodDisruptionBudget; rbac.authorization.k8s.io Role RoleBinding; route.openshift.io "
    "Route; storage.k8s.io CSIStorageCapacity; updateservice.operator.openshift.io UpdateService")
SIGNATURES, OF_SERVER = "release.openshift.io/verification-signatures", ("generateName selfLink uid resourceVersion generation creationTimestamp "
    "deletionTimestamp deletionGracePeriodSeconds ownerReferences finalizers managedFields clusterName").split()
PLACES = {"v1/ConfigMap": "openshift-config-managed", "operators.coreos.com/v1alpha1/CatalogSource": "openshift-marketplace",  # MB-MAN-04
    "updateservice.operator.openshift.io/v1/UpdateService": "openshift-update-service"} | dict.fromkeys(["v1/Namespace", "config.openshift.io/v1/"
    "ImageDigestMirrorSet", "config.openshift.io/v1/ImageTagMirrorSet", "olm.operatorframework.io/v1/ClusterCatalog",
    "operator.openshift.io/v1alpha1/ImageContentSourcePolicy"])
NEVER = ("config.openshift.io", "ClusterImagePolicy", "openshift"), ("", "ConfigMap", "signatures-managed"), ("", "ConfigMap", "mirrored-release-signatures")
RIGHTS = r"(pod-security\.kubernetes\.io/|security\.openshift\.io/|openshift\.io/sa\.scc\.).*"
def glob(pattern, name): return re.fullmatch("".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in pattern), name) is not None
def named(rule, api, kind, namespace, name):  # whether a rule of MB-MAN-09 names the object, and whether it says that it is cluster-wide
    of, colon, rest = rule.partition(":"); place, slash, last = rest.rpartition("/")
    return of in (kind, api + "/" + kind) and (not colon or glob(last, name) and (glob(place, namespace or "") and namespace is not None if slash
        else namespace is None)), bool(colon and not slash)
def stored(x, api, kind):  # bytes of the values in a cluster: MB-MAN-10
    def size(member, base64): return sum((max(0, len(t := re.sub("[\r\n]", "", v)) // 4 * 3 - t.count("=")) if base64 else len(v.encode("utf-8", "surrogatepass")))
        for v in (x[member].values() if type(x.get(member)) is dict else ()) if string(v))
    return {"v1/ConfigMap": lambda: size("data", False) + size("binaryData", True), "v1/Secret": lambda: size("data", True) + size("stringData", False)
        }.get(api + "/" + kind, lambda: 0)()
def nothing(v): return v is None or v == "" or type(v) in (dict, list) and all(map(nothing, v.values() if type(v) is dict else v))
def admitted(x, meta, api, kind, name, rules):  # the code of MB-MAN-04, -08 and -10, or None
    group, namespace, labels = api.rpartition("/")[0], meta.get("namespace"), [meta.get(n) or {} for n in ("labels", "annotations")]
    cluster, spaced = [(group, kind) in known for known in (CLUSTER, NAMESPACED)]
    if spaced and namespace is None or cluster and namespace is not None or stored(x, api, kind) > MIB: return "malformed"
    if (group, kind, name) in NEVER: return "policy"
    if fits := [wide for fit, wide in (named(r, api, kind, namespace, name) for r in rules) if fit]:
        return None if cluster or spaced or namespace is not None or True in fits else "policy"
    good = api + "/" + kind in PLACES and PLACES[api + "/" + kind] in (None, namespace)
    if kind == "Namespace": good = good and not any(match(RIGHTS, n) for l in labels for n in l) and nothing(x.get("spec"))
    return None if good and (kind != "ConfigMap" or SIGNATURES in labels[0]) else "policy"
class Number(float):  # keeps its text
    def __new__(cls, v):
        need(match(r"-?(0|[1-9]\d*)(\.\d{0,5}[1-9])?", v) and v != "-0" and sum(map(str.isdigit, v)) <= 15, "a number")
        self = float.__new__(cls, v); self.text = v; return self
    def __repr__(self): return self.text
def keys(v):
    need(all(match("[ -~]{1,512}", n) and n not in ("<<", "=") for n, _ in v) and len({n.lower() for n, _ in v}) == len(v), "keys"); return dict(v)
def levels(v): return 1 + max(map(levels, v.values() if type(v) is dict else v), default=0) if type(v) in (dict, list) else 0
def escaped(v): return re.sub(HIDDEN, lambda c: "".join("\\u%04x" % u for u in memoryview(c[0].encode("utf-16-le")).cast("H")), v)
def plain(x, names): return all(match(r"[a-z][A-Za-z0-9]*", n) and n.lower() not in {k.lower() for k in names if k != n} for n in x)
def written(x, pretty, at="\n"):
    step, between = (at + "  " if pretty else ""), ": " if pretty else ":"; inner = step or at
    if type(x) in (dict, list):
        parts = [json.dumps(n) + between + written(v, pretty, inner) for n, v in x.items()] if type(x) is dict else [written(v, pretty, inner) for v in x]
        opening, end = "{}" if type(x) is dict else "[]"
        return opening + (step + ("," + step).join(parts) + (at if pretty else "") if parts else "") + end
    return x.text if type(x) is Number else escaped(json.dumps(x, ensure_ascii=False))
def manifest(raw, path, entry, args, report):
    try:
        x = json.loads(raw.decode(), object_pairs_hook=keys, parse_constant=Number, parse_int=Number, parse_float=Number)
        need(type(x) is dict and values(x) <= 200_000 and levels(x) <= 65, "values"); meta = x.get("metadata")
        need(raw.decode() in (written(x, True) + "\n", written(x, False) + "\n") and "\0" not in raw.decode() and not re.search(
            r"(?<!\\)(\\\\)*\\u0000", raw.decode()), "the form")
        need(type(meta) is dict and plain(x, TOP) and plain(meta, META) and "items" not in {n.lower() for n in x}, "members")
        kind, api, name = x.get("kind"), x.get("apiVersion"), meta.get("name")
        need(match("[A-Za-z0-9]{1,253}", kind) and kind.lower() != "list" and not kind.endswith("List") and match("(?=.{1,253}$)[A-Za-z0-9.-]+(/[A-Za-z0-9.-]+)?", api) and match(
            "[A-Za-z0-9._:@+=~-]{1,253}", name) and ("namespace" not in meta or match("[a-z0-9-]{1,253}", meta["namespace"])), "names")
        need(all(meta.get(n) is None or MAP(meta[n]) for n in ("labels", "annotations")) and "status" not in x and not set(OF_SERVER) & set(meta),
             "labels, or what belongs to one cluster")
    except (ValueError, RecursionError) as e: return report("malformed", path + ": not a manifest")
    except Stop as e: return report(e.args[0], f"{path}: {e.args[1]}")
    said = {"apiVersion": api, "kind": kind} | ({"namespace": meta["namespace"]} if "namespace" in meta else {}) | {"name": name}
    if entry.get("objects") != [said]: report("malformed", path + ": objects")
    if code := admitted(x, meta, api, kind, name, args.allow_kind or ()): report(code, path + ": " + kind)
ALONE, BESIDE = [r"(.*/)?(%s)" % n for n in ("openshift/release-images|openshift-release-dev/ocp-release(-nightly)?",  # Names of releases: MB-VER-15
                 "openshift/release|openshift-release-dev/ocp-v4.0-art-dev")]
ARCHES = {"amd64": "x86_64", "arm64": "aarch64"}
FOLDER = "var/lib/cincinnati-graph-data"  # The graph-data image: MB-GRD
def graph_header(prefix, name, size):  # of a folder, if there is no size
    h = bytearray(header(name, size or 0, 0)); h[100:156] = b"%07o\0" % (0o755 if size is None else 0o644) + h[108:148] + b" " * 8
    h[156:157], h[345:345 + len(prefix)] = b"5" if size is None else b"0", prefix.encode(); return bytes(h[:148] + b"%06o\0 " % sum(h) + h[156:])
def graph_tar(files):
    all = dict.fromkeys(["blocked-edges/", "channels/"]) | {p[:m.end()]: None for p in files for m in re.finditer("/", p)} | files
    return graph_header("", FOLDER + "/", None) + b"".join(graph_header(FOLDER, p, None if c is None else len(c)) + (c or b"") + bytes(
        padded(len(c or b"")) - len(c or b"")) for p, c in sorted(all.items(), key=lambda e: e[0].encode())) + bytes(1024)
def graph_layer(tar):  # a gzip frame of stored blocks
    parts = [tar[n:n + 65535] for n in range(0, len(tar), 65535)]; last = len(parts) - 1
    blocks = b"".join(bytes([n == last]) + len(p).to_bytes(2, "little") + (len(p) ^ 65535).to_bytes(2, "little") + p for n, p in enumerate(parts))
    return bytes.fromhex("1f8b08000000000000ff") + blocks + zlib.crc32(tar).to_bytes(4, "little") + len(tar).to_bytes(4, "little")
def graph_files(layer):
    tar, at, last, files = b"", 10, 0, {}
    while not last: last, size = layer[at], int.from_bytes(layer[at + 1:at + 3], "little"); tar += layer[at + 5:at + 5 + size]; at += 5 + size
    at = 512
    while tar[at]:
        path, size = tar[at:at + 100].rstrip(b"\0").decode(), int(tar[at + 124:at + 135], 8)
        if tar[at + 156] == 48: files[path] = tar[at + 512:at + 512 + size]
        at += 512 + padded(size)
    good = 0 < len(files) <= 20_000 and all(p.split("/") and not {"", ".", ".."} & {*p.split("/")} and not re.search(r"[\0-\x1f\\]", p) for p in files)
    need(good and graph_layer(graph_tar(files)) == layer, "the form of the graph"); return graph_tar(files)
def graph_data(x, docs, blob, report):
    i = next((i for i in x["images"] if "derived" in i), None)
    if not i: return
    try:
        compact = lambda v: json.dumps(v, separators=(",", ":"), ensure_ascii=False).encode()
        plain = lambda kind, data: {"mediaType": kind, "digest": sha(data), "size": len(data)}
        base = next(b for b in x["images"] if b["digest"] == i["derived"]["base"] and "derived" not in b)
        tops = lambda d: [(e, json.loads(docs[e["digest"]])) for e in d["manifests"]] if "manifests" in d else [(None, d)]
        top, root = json.loads(docs[i["digest"]]), json.loads(docs[base["digest"]])
        layer = blob(tops(top)[0][1]["layers"][-1]["digest"]); need(len(layer) <= 8 * MIB, "the size of the graph"); tar = graph_files(layer)
        def made(manifest, kind):
            docker = kind == DOCKER + "v2+json"
            c, g = json.loads(blob(manifest["config"]["digest"])), "application/vnd.docker.image.rootfs.diff.tar.gzip" if docker else OCI + "layer.v1.tar+gzip"
            need(manifest["config"]["mediaType"] == ("application/vnd.docker.container.image.v1+json" if docker else OCI + "config.v1+json"), "the base")
            need(len(c["rootfs"]["diff_ids"]) == len(manifest["layers"]) and manifest["config"]["size"] <= MIB, "the base"); run = c.get("config") or {}
            run = {n: run[n] for n in ("User", "Env") if run.get(n)} | {"Cmd": ["/bin/sh", "-c", f"exec cp -r /{FOLDER}/. /var/lib/cincinnati/graph-data"]} | {
                n: run[n] for n in ["WorkingDir"] if run.get(n)} | {"Labels": {"org.opencontainers.image.base.digest": base["digest"],
                "org.opencontainers.image.title": "OpenShift update graph"}}
            new = {"architecture": c["architecture"]} | {n: c[n] for n in ["created"] if c.get(n)} | {"os": c["os"]} | {n: c[n] for n in ["variant"] if c.get(n)}
            new |= {"config": run, "rootfs": {"type": c["rootfs"]["type"], "diff_ids": c["rootfs"]["diff_ids"] + [sha(tar)]}}
            layers = [{n: l[n] for n in ("mediaType", "digest", "size")} for l in manifest["layers"]] + [plain(g, layer)]
            return compact({"schemaVersion": 2, "mediaType": kind, "config": plain(manifest["config"]["mediaType"], compact(new)), "layers": layers})
        if "manifests" in root:
            named = lambda p: {n: p[n] for n in ("os", "architecture", "variant") if p.get(n)}
            entries = [plain(e["mediaType"], made(d, e["mediaType"])) | {"platform": named(e["platform"])} for e, d in tops(root)
                       if e.get("platform") and e["platform"]["os"] != "unknown"]
            again = compact({"schemaVersion": 2, "mediaType": base["mediaType"], "manifests": entries}); need(entries, "the base")
        else: again = made(root, base["mediaType"])
        need((sha(again), sha(tar)) == (i["digest"], i["derived"]["input"]), "another image than the one of its base and its graph")
    except (Stop, StopIteration, ValueError, KeyError, IndexError, TypeError, RecursionError): report("malformed", "the graph-data image")
NAMES, REMOVAL = ("repository", "tag", "digest", "kind", "component", "release", "subject"), "mirror-bundle/removal-%d.json"  # Removals: MB-RMV
STATEMENT = record(_type=form(re.escape("https://in-toto.io/Statement/v1")), subject=listed(record(name=text, digest=record(sha256=string))),
    predicateType=form("urn:mirror-bundle:removal:v1"), predicate=record(role=form("reviewer"), reason=lambda v: text(v) and v.strip(), created=instant,
        images=listed(lambda v: type(v) is dict), files=listed(string), blobs=listed(digest, str)))
def things(x, named): return {n: [json.dumps({m: e[m] for m in NAMES if m in e}) if n == "images" else e["path" if n == "files" else "digest"] for e in x[n]] for n in named}
def removal(raw, x, identity):  # what a statement names: positions in the lists of the index
    try: s = json.loads(raw.decode())
    except (ValueError, RecursionError): raise Stop("malformed", "a statement is not JSON")
    need(len(raw) <= 1 << 18 and STATEMENT(s) and raw.decode() == json.dumps(s, separators=(",", ":"), ensure_ascii=False) + "\n", "the form of a statement")
    p, out = s["predicate"], {}; need([e["digest"]["sha256"] for e in s["subject"]] == [identity[7:]] and (p["images"] or p["files"]), "another subject, or nothing")
    for n, all in things(x, ("images", "files", "blobs")).items():
        places = {e: at for at, e in enumerate(all)}; at = [places.get(json.dumps(e) if n == "images" else e, -1) for e in p[n]]
        need(min(at + [2 if n == "files" else 0]) >= (2 if n == "files" else 0) and (n == "blobs" or all_ascend(at)), "what a statement names"); out[n] = set(at)
    return out
def all_ascend(v): return all(map(lambda a, b: a < b, v, v[1:]))
def union(*all): return {n: set().union(*(one[n] for one in all)) for n in ("images", "files", "blobs")}
def rest_of(x, gone):
    r = x | {n: [e for at, e in enumerate(x[n]) if at not in gone[n]] for n in gone}; left = {i["digest"] for i in r["images"] if i["kind"] == "release"}
    return r | {"releases": [e for e in x["releases"] if e["digest"] in left]}
def reached(x, docs):
    out, todo = set(), [(i["digest"], i["mediaType"]) for i in x["images"]]
    for name, media in todo:
        if (name, media) in out: continue
        out.add((name, media))
        try: todo += [(d["digest"], d["mediaType"]) for d, _ in document(docs[name], media)[1]] if name in docs and media in DOCUMENTS else []
        except Stop: pass
    return {name for name, _ in out}
def obeyed(found, x, args, cache, report):  # found: (path, statement, signature, what it names, in the head)
    keys = lambda f: {k for k in args.reviewers if outcome(f[1], f[2], [k], cache, b"mirror-bundle.v1.removal") == "good"}
    signed = [(f, keys(f)) for f in found]; by = {}; out = []
    for f, k in signed: [by.setdefault((n, at), set()).update(k) for n in ("images", "files") for at in f[3][n]]
    for f, k in signed:
        few = min(len(by[n, at]) for n in ("images", "files") for at in f[3][n]) < args.threshold
        if k and args.removable and not few: out.append(f)
        elif f[4]: report("removed", f[0])
    return out
def units(x, gone, args, report):  # MB-RMV-06
    r, may = rest_of(x, gone), set(args.removable or ()); there = {b["digest"] for b in r["blobs"] if b["role"] in ROLES[:2]}
    images = [i for at, i in enumerate(x["images"]) if at in gone["images"]]; left, digests = {e["digest"] for e in r["releases"]}, {i["digest"] for i in images}
    for i in images:
        kind, alone = i["kind"], "subject" in i and i["subject"] in there; base = [e for e in r["images"] if e["digest"] == i.get("derived", {}).get("base")]
        ok = {"release": "release" in may, "component": i.get("release") not in left or "component:" + i.get("component", "") in may, "additional": "additional" in may,
              "signature": not alone, "referrer": not alone or "referrer" in may, "graph-data": not base or "graph-data" in may}[kind]
        again = kind in ("additional", "release", "graph-data") and i["digest"] in {e["digest"] for e in r["images"]}
        if not ok or again: report("policy", "removal of " + i["digest"])
    for i in r["images"]: i.get("release") in {e["digest"] for e in images if e["kind"] == "release"} and report("policy", "of a removed release: " + i["digest"])
    for f in [f for at, f in enumerate(x["files"]) if at in gone["files"]]:
        of = lambda all: any(o["kind"] == "ConfigMap" and o.get("namespace") == "openshift-config-managed" and o["name"].startswith("sha256-" + d[7:23]) for o in f.get(
            "objects", ()) for d in all)
        if "sha256:" + f["path"][18:82] in there if f["path"].startswith("signatures/") else of(there) or not (of(digests) or "manifests" in may): report("policy", f["path"])
CARRIAGE, CARRIED = "mirror-bundle/carriage.json", ("mirror-bundle/carriage.json", "mirror-bundle/carriage.json.sig")  # How blobs are carried: MB-CAR
HINTS, TAR = lambda v: listed(text, str)(v) and len(v) <= 8 and "" not in v, record(digest=digest, size=U64)
HOW = record(blob=upto(2**32 - 1), **{"as": form("absent|encoded")}, repositories_=lambda v: v and HINTS(v), size_=U64, digest_=digest, tar_=TAR, gzip_=record(
    method=form("pgzip|gzip"), encoder=form("klauspost-[ab]|go126"), level=upto(255), blockSize_=upto(2**32 - 1), header=string),
    content_=record(method=form("zstd|delta-1"), reference_=upto(2**32 - 1)))
FORM = record(format=U64, features=record(compatible=lambda v: v == [], incompatible=lambda v: v == []), index=digest, bases=lambda v: listed(record(
    index=digest, name=text, sequence_=U64), lambda b: b["index"])(v) and len(v) <= 64, receipt_=digest, references=lambda v: listed(record(digest=digest,
    size=U64, tar=TAR, repositories=HINTS), lambda r: r["digest"])(v) and len(v) <= 1 << 14, blobs=lambda v: v and listed(HOW, lambda e: e["blob"])(v))
def gzip_header(h):  # whether it is exactly one (RFC 1952)
    at = 12 + int.from_bytes(h[10:12], "little") if h[3] & 4 else 10
    for flag in 8, 16: at = h.find(0, at) + 1 or 999 if h[3] & flag else at
    return h[:3] == b"\x1f\x8b\x08" and h[3] < 32 and at + (h[3] & 2) == len(h)
def carriage(raw, x, identity):  # the positions of the blobs that are absent, and of those that are restored from members, with these
    try:
        c = json.loads(raw.decode(), object_pairs_hook=pairs, parse_int=numeral); known = type(c) is dict and U64(c.get("format"))
        known = known and (c["format"] != 1 or loose(incompatible=listed(string))(c.get("features")))
        need(not known or c["format"] == 1 and c["features"]["incompatible"] == [], "the format of the carriage, or a feature", "not-a-bundle")
        need(FORM(c) and raw.decode() == json.dumps(c, indent=2, ensure_ascii=False) + "\n", "the form of the carriage")
    except (ValueError, RecursionError, AttributeError): raise Stop("malformed", "the form of the carriage")
    need(c["index"] == identity and identity not in [b["index"] for b in c["bases"]], "another bundle")
    fits = lambda tar, size: 0 < tar["size"] <= min(1032 * size + (1 << 16), 16 << 30); used = set()
    need(all(0 < r["size"] <= 1 << 44 and fits(r["tar"], r["size"]) for r in c["references"]), "a reference")
    for e in c["blobs"]:
        b = x["blobs"][e["blob"]] if e["blob"] < len(x["blobs"]) else {"role": ""}; rest, z, k = {*e} - {"blob", "as", "repositories"}, e.get("gzip"), e.get("content", {})
        need(b["role"] == "layer" and b["size"] > 4096, "what may not be left out")
        if e["as"] == "absent": need(not rest, "an absent blob with a member"); continue
        need(rest == {"size", "digest", "tar", "gzip", "content"} and "repositories" not in e and 0 < e["size"] <= b["size"] and fits(e["tar"], b["size"]), "sizes")
        need(z["level"] in ((1, 6) if z["encoder"] == "go126" else (1, 5, 6)) and match("([0-9a-f]{2}){10,256}", z["header"]) and z.get("blockSize") in (
            (1 << 20, 1 << 18) if z["method"] == "pgzip" else (None,)) and (k["method"] == "zstd") == ("reference" not in k), "how a blob is made")
        need((z["encoder"], z["method"]) != ("go126", "pgzip") and gzip_header(bytes.fromhex(z["header"])), "encoder, or header")
        if "reference" in k: need(k["reference"] < len(c["references"]) and c["references"][k["reference"]]["digest"] != b["digest"], "a reference"); used.add(k["reference"])
    absent, encoded = ({e["blob"]: {n: e[n] for n in ("digest", "size") if n in e} for e in c["blobs"] if e["as"] == n} for n in ("absent", "encoded"))
    need(used == {*range(len(c["references"]))} and not {r["digest"] for r in c["references"]} & {b["digest"] for at, b in enumerate(x["blobs"]) if at not in absent}, "references")
    return {*absent}, encoded
def carrier(raw, signature, encoded, args, cache):  # the code of MB-CAR-08, or None
    if encoded and (signature is None or not args.keys): return "unsigned"
    if signature is None: return None if args.allow_unsigned else "unsigned"
    if not args.keys: return None
    known, roles = args.keys + args.carriers, ((b"mirror-bundle.v1.builder", args.keys), (b"mirror-bundle.v1.carrier", args.carriers))
    found = {outcome(raw, signature, known, cache, wanted) for wanted, _ in roles}
    good = any(outcome(raw, signature, keys, cache, wanted) == "good" for wanted, keys in roles)
    return None if good else "bad-signature" if found & {"bad", "known", "malformed"} else "untrusted"
def place(image, homes):  # 2: among releases; 1: beside them; 0: elsewhere
    path = without_registry(image); low = path and path.lower()
    return 1 if path is None else 2 if match(ALONE, low) else 1 if match(BESIDE, low) or path in homes else 0
def without_registry(image):
    first, slash, rest = image.get("repository", "").partition("/")
    return rest if slash and (first == "localhost" or re.search(r"[.:]|^\[", first)) else image.get("repository")
def release_tag(where, tag):
    m = re.match(r"v?0*(\d*)\.\d+\.\d(.*)", tag.lower(), re.ASCII); m = m if match(r"v?\d.*", tag.lower()) else None
    words = m and m[2].split("-")[1:]
    return where and not re.match("sha256-[0-9a-f]{64}", tag.lower()) and bool(where == 2 or m and (m[1] not in ("", "1", "2", "3") or
        {"x86_64", "aarch64", "ppc64le", "s390x", "amd64", "arm64", "multi"} & set(words)))
def own_tag(image, release, tag):
    rest, arch = tag.removeprefix("v"), release["architecture"]
    version = rest.startswith(release["version"]) and match(f"(-({re.escape(arch)}|{re.escape(ARCHES.get(arch, arch))})(-.*)?)?", rest[len(release["version"]):])
    return (version and rest.endswith("-" + image["component"] if "component" in image else "") or image["digest"] == release["digest"] and not release_tag(1, tag) or "component" in image and
            tag == f"{release['version']}-{image['component']}")
def false_names(x, report):
    releases = {r["digest"]: r for r in x["releases"]}; homes = {without_registry(i) for i in x["images"] if i["kind"] == "release" and "repository" in i}
    for i in [i for i in x["images"] if "tag" in i]:
        where, release = place(i, homes), releases.get(i.get("release") if i["kind"] == "component" else i["digest"])
        if release_tag(where, i["tag"]) and not (release and own_tag(i, release, i["tag"])) and not (
                i["kind"] == "component" and where == 2 and not release_tag(1, i["tag"])): report("release-unverified", "name of " + i["digest"])
def verify(m, args, cache, found):  # The whole: MB-VER
    def report(*finding): found.append(finding)
    def head_at(at): return need(len(m) >= at + 512, "the file ends early", "truncated") or parse_header(m[at:at + 512])
    def content(at, size):
        need(len(m) >= at + padded(size), "the file ends early", "truncated")
        need(not any(m[at + size:at + padded(size)]), "padding", "unlisted-content"); return m[at:at + size]
    path, size, time = parse_header(m[:512]); need((path, size) == ("oci-layout", 30), "the first member", "not-a-bundle")
    head, start, layout = {path: content(512, 30)}, 1024, b'{"imageLayoutVersion":"1.0.0"}'
    while SUMS not in head:
        path, size, t = head_at(start); need(t == time, "header of a member")
        need(INDEX in head or path == INDEX, "the second member", "not-a-bundle")
        n = sum(p.startswith("mirror-bundle/removal-") for p in head); extra = INDEX in head and path == (REMOVAL % (n // 2 + 1) + ".sig" * (n % 2)) and n < 18
        how = [p for p in CARRIED if p in head]; carried = INDEX in head and n == 0 and path == (CARRIED + ("",))[len(how)]
        need(extra or carried or path not in head and path in (INDEX, SUMS, SIG) and not (path == SIG and (n or how) or n % 2), "members")
        need(size <= (1 << 18 if extra and n % 2 == 0 else 1 << 16 if extra or path in (SIG, CARRIED[1]) else 6 * MIB), "size of a member of the head")
        head[path], start = content(start + 512, size), start + 512 + padded(size)
    raw, signatures = head[INDEX], [head[SIG]] if SIG in head else []
    if code := judge(raw, signatures, args, cache): report(code, SIG)
    if code in ("bad-signature", "malformed"): return
    x = parse_index(raw); late = x.get("expires", "9998-12-31T23:59:59Z")
    if instant(x["created"]) > args.at + datetime.timedelta(days=1) or instant(late) <= args.at: report("expired", "created, expires")
    said = [(p, head[p], head[p + ".sig"], removal(head[p], x, sha(raw)), True) for p in head if p.startswith("mirror-bundle/removal-") and p.endswith(".json")]
    whole, gone = x, union(*(f[3] for f in said)); absent, encoded = carriage(head[CARRIAGE], x, sha(raw)) if CARRIAGE in head else (set(), {})
    if CARRIAGE in head and (code := carrier(head[CARRIAGE], head.get(CARRIED[1]), encoded, args, cache)): report(code, CARRIAGE)
    members = [(e["path"], e) for at, e in enumerate(x["files"])] + [("encoded/sha256/" + e["digest"][7:], e | encoded[at]) if at in encoded else
        ("blobs/sha256/" + e["digest"][7:], e) for at, e in enumerate(x["blobs"])]
    missing = {p for at, (p, _) in enumerate(members) if at in gone["files"] or at - len(x["files"]) in gone["blobs"] | absent}; members = [m for m in members if m[0] not in missing]
    inner = [(p, {"digest": sha(head[p]), "size": len(head[p])}) for p in head if p in (INDEX, SIG, *CARRIED) or p.startswith("mirror-bundle/removal-")]
    sums = "".join(f"{e['digest'][7:]}  {p}\n" for p, e in members[:1] + inner + members[1:]).encode()
    end, addenda, docs, bad, places = sum(512 + padded(n) for n in [len(sums)] + [e["size"] for _, e in members + inner]), {}, {}, False, {}
    at = start - 512 - padded(len(head[SUMS]))
    while missing and len(m) > end + 1024 and at + 512 <= len(m) and (one := parse_header(m[at:at + 512]))[0]:
        need(one[0].split(".p")[0] not in missing, "removed, and there", "unlisted-content"); at += 512 + padded(one[1])
    need(len(m) >= end + 1024, "shorter than it says", "truncated")
    need((time, head[SUMS], head["oci-layout"], members[0][1]) == (x.get("sourceDateEpoch", 0), sums, layout, {
        "path": "oci-layout", "size": 30, "digest": sha(layout)}), "time, SHA256SUMS or oci-layout")
    while any(m[end:end + 512]):
        path, size, _ = head_at(end); need(path_ok(path) and path.startswith(ADDENDA), "something behind the last member", "unlisted-content")
        need(size <= min(MIB, 4 * MIB - sum(map(len, addenda.values()))) and len(addenda) < 64 and path.count("/") == 2, "limits of addenda")
        need(path not in addenda, "an addendum twice"); addenda[path], end = content(end + 512, size), end + 512 + padded(size)
    need(head_at(end + 512) and m[end:] == bytes(1024), "something behind the end", "unlisted-content")
    names = ADDENDA + "signature-(builder|reviewer|receiver)-[0-9a-f]{16}", ADDENDA + r"record-[0-9a-f]{16}\.json(\.sig)?", ADDENDA + r"removal-[0-9a-f]{16}\.json(\.sig)?"
    for path, data in addenda.items():
        if match(names[2], path) and path.endswith(".json"):
            try:
                need(path == ADDENDA + f"removal-{sha(data)[7:23]}.json" and path + ".sig" in addenda, "a statement without its name or signature")
                said.append((path, data, addenda[path + ".sig"], removal(data, x, sha(raw)), False))
            except Stop as e: report(e.args[0], f"{path}: {e.args[1]}")
    counts = obeyed(said, x, args, cache, report); outside = [f for f in counts if not f[4]]; gone = union(gone, *(f[3] for f in outside)); x = rest_of(whole, gone)
    code = judge(raw, signatures + [a for p, a in addenda.items() if match(names[0], p)], args, cache, counts)
    found[:] = [one for one in found if one[1] != SIG] + [(code, SIG)] * bool(code)  # this evaluation replaces the first
    if not all(match("|".join(names), p) for p in addenda): report("unlisted-content", "name of an addendum")
    for path, e in members[1:]:
        data, padding = [memoryview(m)[start + 512:start + 512 + n] for n in (e["size"], padded(e["size"]))]
        places[e["digest"]] = start + 512, start + 512 + e["size"]
        wrong = ("malformed" if m[start:start + 512] != header(path, e["size"], time) else "blob-mismatch" if sha(data) != e["digest"]
                 else "unlisted-content" if any(padding[e["size"]:]) else None)
        if wrong: report(wrong, path)
        elif path != "index.json" and e not in x["blobs" if "role" in e else "files"]: pass
        elif e.get("role") in ROLES[:2] or path == "index.json": docs["role" in e and e["digest"]] = bytes(data)
        elif path.startswith("manifests/"): manifest(bytes(data), path, e, args, report)
        bad, start = bad or wrong, start + 512 + padded(e["size"])
    if docs.pop(False, derived_index(whole)) != derived_index(whole): report("malformed", "index.json")
    if bool(set(head) - {INDEX, SIG, SUMS, "oci-layout", *CARRIED}) + len(outside) > 1:  # made one without the other: what nothing needs any more
        needed = reached(x, docs); gone["blobs"] |= {at for at, b in enumerate(whole["blobs"]) if b["digest"] not in needed}; x = rest_of(whole, gone)
        docs = {d: docs[d] for d in docs if d in needed}
    if args.removable and any(gone.values()): units(whole, gone, args, report)
    graph(x, docs, bad, report); false_names(x, report)
    left, restored = ({whole["blobs"][at]["digest"] for at in some} & {b["digest"] for b in x["blobs"]} for some in (absent, encoded))
    said = [f"{len(all)} of {len(x['blobs'])} blobs are {how}" for all, how in ((restored, "carried as members that they are restored from, and these are the ones that "
        "are signed"), (left, "not carried: the receiver has them")) if all]
    if said and not found: report("incomplete-check", ", and ".join(said) + "; their content is checked when the bundle is unpacked")
    if not bad: graph_data(x, docs, lambda d: bytes(m[slice(*places[d])]), report)
if __name__ == "__main__":
    p, cache, code = argparse.ArgumentParser(usage=__doc__), {}, 0
    for n, act in ("signer", "append"), ("reviewer", "append"), ("removable", "append"), ("carrier", "append"), ("threshold", "store"), ("need-reviewer", "store_true"), ("allow-kind", "append"), ("at", "store"), ("allow-unsigned", "store_true"), ("batch", "store_true"): p.add_argument("--" + n, action=act)
    args, more = p.parse_known_args(); args.keys = [base64.b64decode(open(k).read().split()[1], validate=True) for k in args.signer or []]
    args.carriers = [base64.b64decode(open(k).read().split()[1], validate=True) for k in args.carrier or []]
    args.reviewers = [base64.b64decode(open(k).read().split()[1], validate=True) for k in args.reviewer or []]; args.threshold = int(args.threshold or 1)
    args.at = instant(args.at) if args.at else datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    if not args.at or len(more) != (not args.batch) or not args.keys and not args.allow_unsigned: p.error("see above")
    for path in map(str.strip, sys.stdin) if args.batch else more:
        found = []
        try:
            with open(path, "rb") as f: verify(f.seek(0, 2) and mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) or b"", args, cache, found)
        except Stop as e: found.append(e.args)
        code = min((CODES[c] for c, _ in found), default=0)
        print(f"FAILED {code} " + "; ".join(f"{c} {m!r}" for c, m in found[:8]) if found else "VERIFIED", flush=True)
    args.batch or print("not checked: OpenPGP, release payloads, releases listed as other images, cosign, signature ConfigMaps, records, policies"); sys.exit(code)
