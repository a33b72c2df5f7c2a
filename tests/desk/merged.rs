//! For random layers, the merged image is what `umoci unpack` makes of them.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use mirror_bundle::content::layer::{Bounds, FileKind, Reading, Remarks, files};
use mirror_bundle::content::{Found, Merged, Place};

use crate::layout::{GZIP, Layout, TAR};
use crate::support::skip::have;
use crate::tar::{dir, entry, file, gzip, link, tar};

/// Path to kind and content or target.
type Tree = BTreeMap<Vec<u8>, (char, Vec<u8>)>;

/// What we make of layers.
fn ours(layers: &[Vec<u8>]) -> Tree {
    let (mut merged, mut contents) = (Merged::default(), BTreeMap::new());
    for (layer, number) in layers.iter().zip(0..) {
        let bounds = Bounds::of(layer.len() as u64);
        files(
            TAR,
            Box::new(layer.as_slice()),
            bounds,
            Reading::Runtime,
            &mut Remarks::default(),
            &mut |entry, content| {
                merged.add(entry)?;
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes).unwrap();
                contents.insert(Place { layer: number, entry: u32::try_from(entry.number).unwrap() }, bytes);
                Ok(())
            },
        )
        .unwrap();
        merged.end_layer();
    }
    let mut out = Tree::new();
    merged
        .visit(&mut |path, _, node| {
            let (kind, what) = match node.kind {
                FileKind::Dir => ('d', Vec::new()),
                FileKind::Symlink => ('l', node.target.as_deref().unwrap_or_default().to_vec()),
                _ => ('f', contents[&node.place.unwrap()].clone()),
            };
            out.insert(path.to_vec(), (kind, what));
            Ok(())
        })
        .unwrap();
    out
}

fn theirs(root: &Path) -> Tree {
    let mut out = Tree::new();
    for found in walkdir::WalkDir::new(root).min_depth(1) {
        let found = found.unwrap();
        let path = found.path().strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        let what = match found.file_type() {
            t if t.is_dir() => ('d', Vec::new()),
            t if t.is_symlink() => ('l', std::fs::read_link(found.path()).unwrap().as_os_str().as_bytes().to_vec()),
            _ => ('f', std::fs::read(found.path()).unwrap()),
        };
        out.insert(path, what);
    }
    out
}

/// Random numbers that are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn path(&mut self) -> String {
        let names = ["a", "b", "c", "dir", "x"];
        let depth = 1 + self.below(3);
        (0..depth).map(|_| names[usize::try_from(self.below(5)).unwrap()]).collect::<Vec<_>>().join("/")
    }

    fn layer(&mut self) -> Vec<u8> {
        let mut entries = Vec::new();
        for number in 0..1 + self.below(10) {
            let path = self.path();
            let (folder, name) =
                path.rsplit_once('/').map_or((String::new(), path.as_str()), |(f, n)| (format!("{f}/"), n));
            entries.push(match self.below(12) {
                0..=3 => file(&path, format!("{number} {}", self.0).as_bytes()),
                4..=6 => dir(&format!("{path}/")),
                7 => {
                    let target = if self.below(2) == 0 { self.path() } else { format!("/{}", self.path()) };
                    link(b'2', &path, &target)
                }
                8 => link(b'1', &path, &self.path()),
                9 => entry(b'0', &format!("{folder}.wh.{name}")),
                10 => entry(b'0', &format!("{folder}.wh..wh..opq")),
                _ => link(b'2', &path, "../b"),
            });
        }
        tar(&entries)
    }
}

#[test]
fn the_merged_image_is_what_umoci_makes_of_random_layers() {
    if !have("umoci") {
        return;
    }
    let (mut dice, mut compared) = (Dice(0x9e37_79b9_7f4a_7c15), 0);
    for case in 0..220 {
        let layers: Vec<Vec<u8>> = (0..1 + dice.below(4)).map(|_| dice.layer()).collect();
        let temp = tempfile::tempdir().unwrap();
        let mut layout = Layout::new(temp.path().join("layout"));
        let stored: Vec<_> = layers.iter().map(|layer| layout.layer(GZIP, &gzip(layer), layer)).collect();
        layout.image("one", &stored);
        layout.end();
        let root = temp.path().join("root");
        let image = format!("{}:one", temp.path().join("layout").display());
        let unpacked = Command::new("umoci").args(["raw", "unpack", "--image", &image]).arg(&root).output().unwrap();
        // A file on the way, or a hard link to nothing, is an error for umoci.
        if unpacked.status.success() {
            compared += 1;
            assert_eq!(ours(&layers), theirs(&root), "case {case}");
        }
    }
    assert!(compared > 40, "umoci unpacked only {compared}");
}

fn merge(layers: &[&[crate::tar::Raw]]) -> Tree {
    ours(&layers.iter().map(|entries| tar(entries)).collect::<Vec<_>>())
}

fn paths(tree: &Tree) -> Vec<&str> {
    tree.keys().map(|path| std::str::from_utf8(path).unwrap()).collect()
}

#[test]
fn whiteouts_delete_what_is_below_and_nothing_of_their_own_layer() {
    let below: &[_] = &[dir("a"), file("a/old", b"1"), file("b", b"1"), dir("c"), file("c/x", b"1")];
    let above: &[_] = &[
        file("a/new", b"2"),
        entry(b'0', "a/.wh..wh..opq"),
        entry(b'0', ".wh.b"),
        entry(b'0', ".wh.c"),
        file("c", b"2"),
    ];
    assert_eq!(paths(&merge(&[below, above])), ["a", "a/new", "c"]);
}

#[test]
fn what_is_below_a_path_that_is_no_folder_any_more_is_gone() {
    let tree = merge(&[&[dir("a"), file("a/x", b"1")], &[file("a", b"2")], &[dir("a"), file("a/y", b"3")]]);
    assert_eq!(paths(&tree), ["a", "a/y"]);
}

#[test]
fn a_hard_link_has_the_content_of_its_target_also_of_a_later_one() {
    let tree = merge(&[&[link(b'1', "early", "late"), file("late", b"1"), link(b'1', "self", "self")]]);
    assert_eq!(tree[&b"early"[..]], ('f', b"1".to_vec()));
    // The target is replaced, and the link keeps what it had.
    let tree = merge(&[&[file("a", b"1"), link(b'1', "b", "a")], &[file("a", b"2")]]);
    assert_eq!(tree[&b"b"[..]].1, b"1");
}

#[test]
fn links_on_the_way_are_followed_within_the_image() {
    let lib = [link(b'2', "lib", "../../../usr/lib"), link(b'2', "loop", "loop"), dir("usr"), dir("usr/lib")];
    let tree = merge(&[&lib, &[file("lib/x", b"1"), file("loop/x", b"2")]]);
    assert_eq!(tree[&b"usr/lib/x"[..]].1, b"1");
    assert!(!tree.contains_key(&b"loop/x"[..]));
    let mut merged = Merged::default();
    let layer = tar(&lib);
    files(TAR, Box::new(layer.as_slice()), Bounds::of(1), Reading::Runtime, &mut Remarks::default(), &mut |e, _| {
        merged.add(e)
    })
    .unwrap();
    assert_eq!(merged.find(b"loop", true), Found::Loop);
}
