//! Mutations of files with a carriage: of their bytes, of the carriage as text, and of what is carried.

use std::path::Path;

use mirror_bundle::bundle::carriage::{CARRIAGE, SIGNATURE};
use mirror_bundle::bundle::{layout, tar};
use mirror_bundle::oci::Digest;
use mirror_bundle::sign::{self, MessageHash, Namespace, SecretKey};

use super::{Random, mutate};

/// A file as members, and the key that signed it.
#[derive(Clone)]
pub(crate) struct Form {
    members: Vec<(String, Vec<u8>)>,
    time: u64,
    key: std::rc::Rc<SecretKey>,
}

/// The vectors of forms without a fault.
pub(crate) fn all(folder: &Path) -> Vec<Form> {
    let key = std::fs::read(folder.join("keys/builder")).unwrap();
    let key = SecretKey::load(&key, || panic!("it has no passphrase")).unwrap();
    let key = std::rc::Rc::new(key);
    let of = |name: &str| {
        let bytes = std::fs::read(folder.join(format!("{name}.tar"))).unwrap();
        let number = |at: usize| u64::from_str_radix(std::str::from_utf8(&bytes[at..at + 11]).unwrap(), 8).unwrap();
        let (mut at, mut members) = (0, Vec::new());
        while bytes[at] != 0 {
            let name = bytes[at..at + 100].split(|byte| *byte == 0).next().unwrap();
            let size = number(at + 124) as usize;
            members.push((String::from_utf8(name.to_vec()).unwrap(), bytes[at + 512..at + 512 + size].to_vec()));
            at += 512 + size.next_multiple_of(512);
        }
        Form { members, time: number(136), key: key.clone() }
    };
    ["encoded-zstd", "encoded-difference", "encoded-both", "carriage-absent", "carriage-named"].map(of).to_vec()
}

impl Form {
    fn of(&mut self, name: &str) -> &mut Vec<u8> {
        &mut self.members.iter_mut().find(|(member, _)| member == name).unwrap().1
    }

    /// Signs the carriage.
    fn sign(&mut self) {
        let hash = MessageHash::of(self.of(CARRIAGE));
        let signature = sign::sign(&self.key, Namespace::Index(sign::Role::Builder), &hash);
        *self.of(SIGNATURE) = signature.into_bytes();
    }

    /// Writes `SHA256SUMS` anew.
    fn sums(&mut self) {
        let others = self.members.iter().filter(|(name, _)| name != layout::SUMS);
        let there = self.members.iter().any(|(name, _)| name == layout::SUMS);
        let lines: String = others.map(|(name, bytes)| format!("{}  {name}\n", Digest::of(bytes).hex())).collect();
        if there {
            *self.of(layout::SUMS) = lines.into_bytes();
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, bytes) in &self.members {
            out.extend(tar::header(name, bytes.len() as u64, self.time));
            out.extend(bytes);
            out.resize(out.len().next_multiple_of(512), 0);
        }
        out.resize(out.len() + 1024, 0);
        out
    }
}

/// One mutated form, and what was done to it.
pub(crate) fn one(random: &mut Random, all: &[Form]) -> (String, Vec<u8>) {
    let mut form = random.pick(all).clone();
    let what = match random.below(10) {
        0..=2 => return mutate::damaged(random, form.bytes()),
        3 => {
            let at = random.below(form.members.len());
            let to = random.below(form.members.len());
            let member = form.members.remove(at);
            let what = format!("{} at {to}", member.0);
            form.members.insert(to, member);
            what
        }
        4 => {
            let at = random.below(form.members.len());
            let (name, mut bytes) = form.members[at].clone();
            match random.below(4) {
                0 => _ = form.members.remove(at),
                1 => form.members.insert(at, (name.clone(), bytes)),
                2 => bytes.push(0),
                _ if !bytes.is_empty() => {
                    let place = random.below(bytes.len());
                    bytes[place] ^= 1 << random.below(8);
                    form.members[at].1 = bytes;
                }
                _ => {}
            }
            format!("member {name}")
        }
        5 => {
            let at = form.members.iter().position(|(name, _)| name.starts_with("blobs/")).unwrap();
            let at = at + random.below(form.members.len() - at);
            let (name, _) = &mut form.members[at];
            *name = match name.strip_prefix("blobs/") {
                Some(rest) => format!("encoded/{rest}"),
                None => name.replacen("encoded/", "blobs/", 1),
            };
            format!("now {name}")
        }
        _ => {
            let text = String::from_utf8(form.of(CARRIAGE).clone()).unwrap();
            let (what, text) = if random.below(3) == 0 { values(random, &text) } else { mutate::lines(random, &text) };
            *form.of(CARRIAGE) = text.into_bytes();
            form.sign();
            what
        }
    };
    if random.below(8) > 0 {
        form.sums();
    }
    (what, form.bytes())
}

/// Another value that the format knows in one place.
fn values(random: &mut Random, text: &str) -> (String, String) {
    const PAIRS: &[(&str, &str)] = &[
        ("\"zstd\"", "\"delta-1\""),
        ("\"delta-1\"", "\"zstd\""),
        ("\"encoded\"", "\"absent\""),
        ("\"absent\"", "\"encoded\""),
        ("\"gzip\",", "\"pgzip\","),
        ("\"klauspost-b\"", "\"klauspost-a\""),
        ("\"klauspost-b\"", "\"go126\""),
        ("\"level\": 6", "\"level\": 5"),
        ("\"level\": 6", "\"level\": 1"),
        ("\"level\": 6", "\"level\": 9"),
        ("\"level\": 6", "\"level\": 6,\n        \"blockSize\": 1048576"),
        ("\"header\": \"1f8b0800", "\"header\": \"1f8b0804"),
        ("\"header\": \"1f8b0800", "\"header\": \"1f8b0802"),
        ("00ff\"", "00ff00\""),
        ("\"1f8b080000000000", "\"1f8b081000000000"),
        ("00ff\"", "00ff000200\""),
        ("\"references\": []", "\"references\": [\n    {}\n  ]"),
        ("\"sequence\": 6", "\"sequence\": 6000"),
        ("\"name\": \"", "\"name\": \"b"),
        ("\"index\": \"sha256:0", "\"index\": \"sha256:1"),
        ("\"digest\": \"sha256:", "\"digest\": \"sha256:00"),
    ];
    let found: Vec<_> = PAIRS.iter().filter(|(from, _)| text.contains(from)).collect();
    let (from, to) = **random.pick(&found);
    (format!("{from} is {to}"), text.replacen(from, to, 1))
}
