//! Documents that parsers are known to read differently, mixed and broken at random; always the same for the same seed.

/// Manifests as people and programs write them. All of them must be accepted.
pub(crate) const REAL: &[&str] = &[
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  namespace: b\ndata:\n  k: \"1\"\n",
    "# a comment\n---\n# another\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: x\n---\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: yy, namespace: x, labels: {a: b, \"c/d\": 'e'}}\ndata: {}\n",
    "apiVersion: v1\ndata:\n  script.sh: |\n    #!/bin/sh\n    \tif [ -n \"$1\" ]; then\n    \t\techo $1 # c\n    fi\n\n    exit 0\n  folded: >-\n    one\n    two\n\n    three\n  keep: |+\n    x\n\n  strip: |-\n    y\nkind: ConfigMap\nmetadata:\n  creationTimestamp: null\n  name: scripts\n  annotations:\n  labels: {}\n",
    "apiVersion: config.openshift.io/v1\nkind: ImageDigestMirrorSet\nmetadata:\n  name: idms-release-0\nspec:\n  imageDigestMirrors:\n  - mirrors:\n    - \"mirror.example.com:5000/ocp/release\"\n    - mirror.example.com:5000/other\n    source: quay.io/openshift-release-dev/ocp-release\nstatus: {}\n",
    "apiVersion: operators.coreos.com/v1alpha1\nkind: CatalogSource\nmetadata:\n  name: cs-redhat-operator-index-v4-16\n  namespace: openshift-marketplace\nspec:\n  image: mirror.example.com/redhat/redhat-operator-index:v4.16\n  sourceType: grpc\n  priority: -100\n  grpcPodConfig: {securityContextConfig: restricted}\n  updateStrategy:\n    registryPoll:\n      interval: 20m\n",
    "{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"sha256-ab\",\"namespace\":\"openshift-config-managed\",\"labels\":{\"release.openshift.io/verification-signatures\":\"\"}},\"binaryData\":{\"sha256-ab-1\":\"YWI=\"}}\n",
    "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n  replicas: 3\n  paused: false\n  template:\n    spec:\n      containers:\n      - name: web\n        image: registry.example.com/web@sha256:abcd\n        args: [\"--v=2\", --port=8080, '-x']\n        command:\n        - /bin/sh\n        - -c\n        - exec web --addr=0.0.0.0:80 \\\n          --more\n        env:\n        - {name: A, value: \"true\"}\n        resources: {limits: {cpu: 0.5, memory: 128Mi}, requests: {cpu: 100m}}\n        ports:\n        - containerPort: 8080\n        livenessProbe:\n          httpGet: {path: /healthz, port: 8080}\n",
    "apiVersion: v1\r\nkind: ConfigMap\r\nmetadata:\r\n  name: crlf\r\ndata:\r\n  a: |\r\n    x\r\n    y\r\n",
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: text\n  annotations:\n    description: A long text that an older\n      client has folded, over\n      three lines.\n    version: 4.16.1\n    address: 10.0.0.1\n    network: 10.0.0.0/8\n    title: Grüße — 日本語 🙂\n    quoted: \"a\\tb\\u00e9\\\"\\\\ c\n      d \\\n      e\"\n    single: 'it''s\n      so'\n    url: https://example.com:8443/a?b=c&d=e#f\n",
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n    name: wide\ndata:\n    patch: '[{\"op\":\"add\",\"path\":\"/x\",\"value\":1}]'\n    two: |2-\n        x\n       y\n",
];

const VALUES: &[&str] = &[
    "foo",
    "3",
    "-3",
    "0",
    "-0",
    "true",
    "True",
    "TRUE",
    "tRUE",
    "false",
    "yes",
    "no",
    "on",
    "off",
    "y",
    "n",
    "Y",
    "N",
    "null",
    "Null",
    "NULL",
    "~",
    "",
    "=",
    "<<",
    "1e3",
    "1E+3",
    "1e-7",
    "0x1F",
    "+1",
    "1.",
    ".5",
    "1.5",
    "-1.25",
    "1.20",
    "0.000001",
    "0.0000001",
    "12e03",
    "0o7",
    "0777",
    "08",
    "09",
    "0_1",
    "1_000",
    "190:20:30",
    "1:30",
    "2001-01-01",
    "2001-12-14t21:59:43.10-05:00",
    "2001-12-14 21:59",
    "4.16.1",
    "10.0.0.1",
    ".inf",
    "-.INF",
    ".nan",
    "NaN",
    "inf",
    "9007199254740993",
    "9223372036854775807",
    "18446744073709551616",
    "999999999999999",
    "1000000000000000",
    "123456789.123456",
    "0.1234567",
    "0b101",
    "0b2",
    "0x",
    "1e",
    "e1",
    "1a",
    "a1",
    "1.e3",
    "1..2",
    "--1",
    "+-1",
    "-",
    "- a",
    "--flag",
    "-flag",
    "+",
    ".",
    "..",
    "...",
    "---",
    "?a",
    "? a",
    ":a",
    ": a",
    "a:",
    "a: b",
    "a:b",
    "a#b",
    "a #b",
    "#a",
    "@a",
    "`a",
    "%a",
    "!a",
    "! a",
    "!!str a",
    "!!binary YQ==",
    "!!int 3",
    "!<tag:yaml.org,2002:str> 3",
    "!null x",
    "&a b",
    "*a",
    "&a",
    "|",
    ">",
    "|-\n    x",
    "|+\n    x\n\n",
    ">\n    x\n    y\n\n    z\n",
    "|2\n     x\n   y",
    "|\n    \tx",
    "|\n\n    x",
    "|\n   \n    x",
    "|\n      \n    x",
    "|\n    x\n      \n    y",
    "|  # c\n    x",
    "|1\n   x",
    ">-\n    x\n     y\n    z",
    "|\n",
    "|\n\n",
    ">+\n\n",
    "|\n    x\n   # c\n",
    "'a'",
    "'it''s'",
    "\"a\"",
    "\"a\\tb\"",
    "\"a\\/b\"",
    "\"\\x41\"",
    "\"\\u00e9\"",
    "\"\\U0001F642\"",
    "\"\\ud83d\\ude42\"",
    "\"\\ud83d\"",
    "\"\\e\"",
    "\"\\0\"",
    "\"\\a\"",
    "\"\\N\"",
    "\"\\_\"",
    "\"\\L\"",
    "\"\\P\"",
    "\"\\v\"",
    "\"\\ \"",
    "\"\\\t\"",
    "\"a\\\n    b\"",
    "\"a\n    b\"",
    "\"a\n\n    b\"",
    "\"a  \n    b\"",
    "\"a\\\n    \\ b\"",
    "'a\n    b'",
    "'a\n\n    b '",
    "\" a\"",
    "\"a\"b",
    "'a'b",
    "\"a\" #c",
    "\"a\"#c",
    "a\tb",
    "\ta",
    "a\t",
    "a \t# c",
    "\"a\tb\"",
    "a\n    b",
    "a\n\n    b",
    "a\n    b: c",
    "a\n    - b",
    "a\n    # c",
    "a # c\n    b",
    "é",
    "日本",
    "🙂",
    "\u{a0}a",
    "a\u{2028}b",
    "a\u{85}b",
    "a\u{feff}b",
    "\"\u{200b}\"",
    "\u{e9}\u{301}",
    "[]",
    "{}",
    "[a, b]",
    "[a,b]",
    "[ a , b, ]",
    "[a:b]",
    "[a: b]",
    "[a:1, \"b\":2]",
    "{a: b}",
    "{a:b}",
    "{\"a\":b}",
    "{\"a\": 1, 'b': \"x\"}",
    "{a: , b: c}",
    "{a, b: c}",
    "{?a: b}",
    "{? a: b}",
    "{!!str a: b}",
    "{a: !!str b}",
    "[-a]",
    "[-1]",
    "[- a]",
    "[a #b\n    ]",
    "[a\n    ,b]",
    "[a\n    b]",
    "{a: b\n    }",
    "[[a], {b: [c]}]",
    "[,]",
    "[a,,b]",
    "{a: 1, A: 2}",
    "{<<: {a: b}}",
    "{\"<<\": {a: b}}",
    "[yes]",
    "[1e3]",
    "[http://a/b:c]",
    "[a?b]",
    "[a!b]",
    "[a&b]",
    "[*a]",
    "[a%b]",
    "[a|b]",
    "[\"a\"b]",
    "[a]b",
    "{a: [b}",
    "[~]",
    "[null, true]",
    "[{a: b}, c]",
    "[a: b, c: d]",
    "{[a]: b}",
    "{{a: b}: c}",
    "[::]",
    "[a::b]",
    "[a:]",
    "{a:}",
    "{a::b}",
    "{a :b}",
    "{a : b}",
    "[a, # c\n    b]",
    "[\n    a\n  ]",
    "[\n    a\n]",
    "\n  - a\n  - b",
    "\n  -  a\n  -\n    b",
    "\n  - - a\n    - b\n  - c",
    "\n  - a: b\n    c: d",
    "\n  -a",
    "\n  - [a]",
    "\n    x: y\n    z: w",
    "\n    x:\n    - y",
    "\n    ? x\n    : y",
    "\n    x : y",
    "\n    \"x\": y",
    "\n    'x' : y",
    "\n    \"x\":y",
    "\n    x: y\n    x: z",
    "\n    x: y\n    X: z",
    "\n    1: y",
    "\n    true: y",
    "\n    on: y",
    "\n    ~: y",
    "\n    : y",
    "\n    \"\": y",
    "\n    - a\n   - b",
    "\n  - |\n    x\n  - >-\n    y\n     z",
    "\n    x: y\n   z: w",
    "\n\tx: y",
    "\n    x:\ty",
    "\n  -\ta",
    "\n    x:  \n      y",
    "a, b",
    "a]",
    "a}",
    "a]b",
    "{a",
    "[",
    "a\\b",
    "a\"b",
    "a'b",
    "$a",
    "$(a)",
    "(a)",
    "<a>",
    ";a",
    "^a",
    "/a",
    "=a",
    "~a",
    "*",
    "&",
    "!",
    "%",
    "@",
    "`",
    "a: ",
    "a:\n      b: c",
    "a -b",
    "a ?b",
    "a !b",
    "a &b",
    "a: 'b",
    "'a",
    "\"a",
    "a |",
    "a >",
    "| a",
    "> a",
    "|a",
];

const LINES: &[&str] = &[
    "x: y\n",
    "Kind: Secret\n",
    "KIND: Secret\n",
    "items: []\n",
    "ITEMS: [{apiVersion: v1, kind: Secret, metadata: {name: s}}]\n",
    "iteMs:\n",
    "\u{212a}ind: Secret\n",
    "item\u{17f}: []\n",
    "<<: {kind: Secret}\n",
    "\"<<\": {kind: Secret}\n",
    "! <<: {kind: Secret}\n",
    "!!merge <<: {kind: Secret}\n",
    "!binary a2luZA==: Secret\n",
    "!!binary a2luZA==: Secret\n",
    "!!bin%61ry a2luZA==: Secret\n",
    "? kind\n: Secret\n",
    "?kind: Secret\n",
    "kind: Secret\n",
    "\"kind\": Secret\n",
    "\"kin\\x64\": Secret\n",
    "---\n",
    "--- \n",
    "--- # c\n",
    "---#\n",
    "--- x: y\n",
    "---\t\n",
    "...\n",
    "... # c\n",
    "%YAML 1.1\n",
    "%TAG ! tag:x\n",
    "# c\n",
    "  # c\n",
    "#\n",
    "\n",
    "  \n",
    "\t\n",
    "\t# c\n",
    "apiVersion: v1\n",
    "METADATA: {name: b}\n",
    "status: {}\n",
    "spec:\n",
    "&a x: y\n",
    "*a : y\n",
    "z: &a [b]\n",
    "w: *a\n",
    "- a\n",
    "{}\n",
    "null\n",
    "~\n",
    "\u{feff}",
    "\u{85}",
    "\u{2028}",
    "\r",
    "\r\n",
    "zz: |\n",
    "zz: >\n  a\n",
    "zz: \"a\n",
    "zz:\n- a\n",
    "zz: 'a\n",
    "  namespace: c\n",
    "  Namespace: c\n",
    "  NAME: c\n",
    "  namespace: !null c\n",
    "  namespace: null\n",
    "  namespace:\n",
    "data: {a: b}\n",
    "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: nn}\n",
    "--- # c\napiVersion: v1\nkind: Namespace\nmetadata: {name: nn}\n",
];

const PIECES: &[&str] = &[
    " ", "  ", "\t", "\n", "\n\n", "\r\n", "\r", ":", ": ", " :", "-", "- ", "?", "? ", "#", " #", "!", "! ", "!!",
    "&a ", "*a", "|", ">", "|-", "'", "\"", "\\", "[", "]", "{", "}", ",", ", ", "%", "@", "`", "~", "=", "<<", "0",
    "1", "_", ".", "e", "+", "x", "\u{a0}", "\u{ad}", "\u{2028}", "\u{2029}", "\u{feff}", "\u{fffd}", "\u{212a}",
    "\u{17f}", "é", "🙂", "---", "...", "\\u0041", "\\x41", "\\\n", "null", "true", "yes",
];

pub(crate) struct Corpus(u64);

impl Corpus {
    pub(crate) fn new(seed: u64) -> Corpus {
        Corpus(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % n as u64).unwrap()
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// One document.
    pub(crate) fn document(&mut self) -> Vec<u8> {
        let mut text = match self.below(10) {
            0 => self.of(REAL).to_owned(),
            1..=5 => self.slots(),
            6 => self.json(),
            _ => self.lines(),
        };
        // Most have one change or none, so that many are accepted.
        for _ in 0..[0, 0, 0, 1, 1, 2, 4][self.below(7)] {
            text = self.change(text);
        }
        self.encode(text)
    }

    fn slots(&mut self) -> String {
        let (a, b) = (self.of(VALUES), self.of(VALUES));
        let key = if self.below(6) == 0 { self.of(VALUES) } else { "k" };
        let name = if self.below(8) == 0 { self.of(VALUES) } else { "nn" };
        match self.below(4) {
            0 => format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  {key}: {a}\n"),
            1 => {
                format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\nspec:\n  {key}: {a}\n  o: {b}\n")
            }
            2 => format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, annotations: {{k: x}}}}\nspec:\n- {a}\n- {b}\n"
            ),
            _ => format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\nspec: {{{key}: {a}, l: [{b}, x]}}\n"
            ),
        }
    }

    fn lines(&mut self) -> String {
        let base = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  namespace: b\ndata:\n  k: v\n";
        let mut lines: Vec<String> = base.split_inclusive('\n').map(str::to_owned).collect();
        for _ in 0..=self.below(2) {
            let at = self.below(lines.len() + 1);
            lines.insert(at, self.of(LINES).to_owned());
        }
        if self.below(4) == 0 {
            let (a, b) = (self.below(lines.len()), self.below(lines.len()));
            lines.swap(a, b);
        }
        lines.concat()
    }

    fn json(&mut self) -> String {
        let value = self.of(VALUES);
        let extra = self.of(&["", " ", "\n", "{}", "# c", ",", "\n---\n", "\0"]);
        let head = self.of(&["", "", " \n", "# c\n", "---\n"]);
        format!(
            "{head}{{\"apiVersion\": \"v1\", \"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"j\"}},\"spec\":[{value}]}}{extra}"
        )
    }

    fn change(&mut self, mut text: String) -> String {
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let (a, b) = (self.of(&places), self.of(&places));
        let (a, b) = (a.min(b), a.max(b));
        match self.below(5) {
            0 | 1 => text.insert_str(a, self.of(PIECES)),
            2 => drop((a < b).then(|| text.remove(a))),
            3 if b - a < 40 => {
                let part = text[a..b].to_owned();
                text.insert_str(b, &part);
            }
            _ => {
                let at = text[a..].find('\n').map_or(a, |n| a + n + 1);
                text.insert_str(at, self.of(LINES));
            }
        }
        text
    }

    fn encode(&mut self, text: String) -> Vec<u8> {
        match self.below(40) {
            0 => text.replace('\n', "\r\n").into_bytes(),
            1 => format!("\u{feff}{text}").into_bytes(),
            2 => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            3 => text.trim_end().to_owned().into_bytes(),
            4 => [text.as_bytes(), &[0xff]].concat(),
            _ => text.into_bytes(),
        }
    }
}
