#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::table::{GRAIN, SLICES};
use super::*;
use crate::error::{Code, Result};
use crate::oci::Digest;

const INDEX: &[u8] = b"{\"index\":true}\n";
const SIGNATURE: &[u8] = b"signature";

/// Files, and a sidecar of them.
struct Lab {
    dir: tempfile::TempDir,
    files: Vec<Vec<u8>>,
    geometry: Geometry,
}

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..len).map(next).collect()
}

impl Lab {
    fn new(lengths: &[usize], geometry: Geometry) -> Lab {
        let files = lengths.iter().enumerate().map(|(n, len)| noise(*len, n as u64 + 1)).collect();
        let lab = Lab { dir: tempfile::tempdir().unwrap(), files, geometry };
        let files: Vec<File> = lab.files.iter().map(|bytes| lab.file(bytes)).collect();
        let files: Vec<(&File, u64)> = files.iter().zip(lengths).map(|(f, len)| (f, *len as u64)).collect();
        let from = Protected {
            files: &files,
            index: INDEX,
            signature: Some(SIGNATURE),
            volumes: &lab.volumes(),
            removals: &[],
            carriage: None,
            mtime: 7,
            geometry,
        };
        let out = File::create_new(lab.path()).unwrap();
        let slices = encode(&out, &lab.path(), &from, &mut |_| Ok(())).unwrap();
        assert_eq!(slices, lab.slices());
        lab
    }

    /// Two files stand for volumes.
    fn volumes(&self) -> Vec<Vec<u8>> {
        let all = self.files.len() > 1;
        self.files.iter().enumerate().filter(|_| all).map(|(n, _)| format!("volume {n}\n").into_bytes()).collect()
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("b.tar.recovery")
    }

    fn file(&self, bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile_in(self.dir.path()).unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn sidecar(&self) -> Sidecar {
        Sidecar::open(&self.path()).unwrap()
    }

    /// Every slice with its zeros.
    fn padded(&self) -> Vec<Vec<u8>> {
        let size = self.geometry.slice as usize;
        let cut =
            |bytes: &Vec<u8>| bytes.chunks(size).map(|c| [c, &vec![0; size - c.len()]].concat()).collect::<Vec<_>>();
        self.files.iter().flat_map(cut).collect()
    }

    fn slices(&self) -> Vec<Digest> {
        self.padded().iter().map(|s| Digest::of(s)).collect()
    }

    /// Decodes with these slices lost and filled with garbage; gives back what was put where.
    fn lose(&self, lost: &[usize], sound: &[bool]) -> Result<(Decoded, Vec<Vec<u8>>)> {
        let sidecar = self.sidecar();
        let files: Vec<File> = self.files.iter().map(|bytes| self.file(bytes)).collect();
        let spans = sidecar.table().spans();
        let present: Vec<Option<SlicePlace<'_>>> = spans
            .iter()
            .enumerate()
            .map(|(n, s)| (!lost.contains(&n)).then(|| SlicePlace { file: &files[s.file], at: s.at }))
            .collect();
        for n in lost {
            files[spans[*n].file].write_all_at(&vec![0xee; spans[*n].length as usize], spans[*n].at).unwrap();
        }
        let mut made = vec![Vec::new(); spans.len()];
        let decoded = decode(
            &sidecar,
            sound,
            &present,
            &mut |n, at, bytes| {
                assert_eq!(at, made[n].len() as u64);
                made[n].extend_from_slice(bytes);
                Ok(())
            },
            &mut |_| Ok(()),
        )?;
        Ok((decoded, made))
    }

    fn makes_again(&self, lost: &[usize], sound: &[bool]) {
        let (decoded, made) = self.lose(lost, sound).unwrap();
        assert_eq!(decoded, Decoded::Right, "{lost:?}");
        let spans = self.sidecar().table().spans();
        for n in lost {
            let whole = &self.padded()[*n];
            assert_eq!(made[*n], &whole[..spans[*n].length as usize], "slice {n} of {lost:?}");
        }
    }
}

/// All sets of `of` numbers with exactly `size` members.
fn sets(of: usize, size: usize) -> Vec<Vec<usize>> {
    (0u32..1 << of)
        .filter(|bits| bits.count_ones() as usize == size)
        .map(|bits| (0..of).filter(|n| bits & (1 << n) != 0).collect())
        .collect()
}

#[test]
fn every_pattern_of_as_many_lost_slices_as_recovery_slices_is_repaired_and_one_more_is_refused() {
    // Three columns a slice, the last narrower; the last slice of each file is filled up.
    for (lengths, data, recovery) in
        [(&[20_000usize][..], 2, 1), (&[70_001], 6, 3), (&[30_000, 12_289], 5, 5), (&[12_288], 1, 1)]
    {
        let geometry = Geometry { slice: 3 * GRAIN, data, recovery };
        let lab = Lab::new(lengths, geometry);
        let all = vec![true; recovery];
        for lost in 1..=recovery {
            sets(data, lost).iter().for_each(|set| lab.makes_again(set, &all));
        }
        for set in sets(data, recovery + 1) {
            let refused = lab.lose(&set, &all).unwrap_err();
            assert_eq!(refused.code(), Code::BlobMismatch);
            assert_eq!(
                refused.message(),
                format!("{} slices are lost, and recovery data can reconstruct only {recovery}", recovery + 1)
            );
        }
    }
}

#[test]
fn any_recovery_slices_that_are_left_do() {
    let lab = Lab::new(&[60_000], Geometry { slice: 2 * GRAIN, data: 8, recovery: 4 });
    for gone in sets(4, 2) {
        let sound: Vec<bool> = (0..4).map(|n| !gone.contains(&n)).collect();
        sets(8, 2).iter().for_each(|set| lab.makes_again(set, &sound));
        assert!(lab.lose(&[0, 1, 2], &sound).is_err());
    }
}

#[test]
fn what_is_wrong_and_was_taken_for_whole_is_noticed() {
    let lab = Lab::new(&[60_000], Geometry { slice: 2 * GRAIN, data: 8, recovery: 4 });
    let mut other = Lab::new(&[60_000], Geometry { slice: 2 * GRAIN, data: 8, recovery: 4 });
    other.files[0][50_000] ^= 1;
    std::fs::copy(lab.path(), other.path()).unwrap();
    let (decoded, _) = other.lose(&[1, 2], &[true; 4]).unwrap();
    assert_eq!(decoded, Decoded::Wrong(vec![1, 2]));
    // A copy that ends too early.
    other.files[0].truncate(40_000);
    let sidecar = other.sidecar();
    let file = other.file(&other.files[0]);
    let spans = sidecar.table().spans();
    let present: Vec<_> = spans.iter().map(|s| (s.at > 0).then_some(SlicePlace { file: &file, at: s.at })).collect();
    let decoded = decode(&sidecar, &[true; 4], &present, &mut |_, _, _| Ok(()), &mut |_| Ok(())).unwrap();
    assert_eq!(decoded, Decoded::Unreadable(5));
}

/// The code is part of the format: recovery data of one version must serve the next.
#[test]
fn the_code_is_that_of_the_one_call_interface_and_never_changes() {
    let lab = Lab::new(&[40_960], Geometry { slice: GRAIN, data: 10, recovery: 3 });
    let theirs = reed_solomon_simd::encode(10, 3, lab.padded()).unwrap();
    let sidecar = lab.sidecar();
    let mut bytes = vec![0; GRAIN as usize];
    for (number, slice) in theirs.iter().enumerate() {
        sidecar.read(number, 0, &mut bytes).unwrap();
        assert_eq!(&bytes, slice);
    }
    let known = "a4a529f2506708afbc7a8904c5bd118d3909fcd4f3539a70b4e4d25b0ce45d61";
    assert_eq!(Digest::of(&theirs.concat()).hex(), known);
}

#[test]
fn a_sidecar_is_an_ordinary_tar_with_two_tables_and_either_is_enough() {
    let lab = Lab::new(&[60_000], Geometry { slice: 2 * GRAIN, data: 8, recovery: 2 });
    let whole = std::fs::read(lab.path()).unwrap();
    let mut names = Vec::new();
    for entry in ::tar::Archive::new(&whole[..]).entries().unwrap() {
        let entry = entry.unwrap();
        names.push((
            entry.path().unwrap().display().to_string(),
            entry.raw_file_position() as usize,
            entry.size() as usize,
        ));
    }
    let hex = Digest::of(&lab.sidecar().table().to_bytes().unwrap()).hex();
    let short: Vec<&str> = names.iter().map(|(n, _, _)| n.as_str()).collect();
    assert_eq!(
        short,
        [
            &format!("mirror-bundle/recovery/{hex}.json"),
            "mirror-bundle/index.json",
            "mirror-bundle/index.json.sig",
            "mirror-bundle/recovery/slice-0001",
            "mirror-bundle/recovery/slice-0002",
            &format!("mirror-bundle/recovery-copy/{hex}.json"),
            "mirror-bundle/recovery-copy/index.json",
            "mirror-bundle/recovery-copy/index.json.sig",
        ]
    );
    assert_eq!(lab.sidecar().lengths(), (whole.len() as u64, whole.len() as u64));
    let table = lab.sidecar().table().clone();
    let opened = |bytes: &[u8]| {
        std::fs::write(lab.path(), bytes).unwrap();
        let sidecar = lab.sidecar();
        assert_eq!(*sidecar.table(), table);
        let sound = sidecar.sound(&mut |_| Ok(())).unwrap();
        (sound, sidecar.documents().map(|(i, s)| (i.to_vec(), s.map(<[u8]>::to_vec))))
    };
    let documents = Some((INDEX.to_vec(), Some(SIGNATURE.to_vec())));
    // Each member damaged by itself: header, then content.
    for (at, (name, position, size)) in names.iter().enumerate() {
        for place in [position - 512 + 100, position + size / 2] {
            let mut bytes = whole.clone();
            bytes[place] ^= 4;
            let (sound, found) = opened(&bytes);
            assert_eq!(found, documents, "{name}");
            let hit = if place > *position { at.checked_sub(3).filter(|n| *n < 2) } else { None };
            assert_eq!(sound, (0..2).map(|n| Some(n) != hit).collect::<Vec<_>>(), "{name}");
        }
    }
    // Cut off behind the first documents: they still say what is protected.
    let first = names[3].1 - 512;
    assert_eq!(opened(&whole[..first]), (vec![false; 2], documents.clone()));
    assert_eq!(opened(&whole[..whole.len() - 2000]), (vec![true; 2], documents));
    // Both tables gone.
    let mut bytes = whole.clone();
    bytes[600] ^= 1;
    bytes[names[5].1] ^= 1;
    std::fs::write(lab.path(), bytes).unwrap();
    assert_eq!(Sidecar::open(&lab.path()).unwrap_err().code(), Code::Usage);
}

#[test]
fn any_flipped_bit_of_a_small_sidecar_leaves_it_usable() {
    let lab = Lab::new(&[4_000, 4_000], Geometry { slice: GRAIN, data: 2, recovery: 2 });
    let whole = std::fs::read(lab.path()).unwrap();
    let table = lab.sidecar().table().clone();
    for byte in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[byte] ^= 1 << (byte % 8);
        std::fs::write(lab.path(), bytes).unwrap();
        let sidecar = lab.sidecar();
        assert_eq!(*sidecar.table(), table, "{byte}");
        let sound = sidecar.sound(&mut |_| Ok(())).unwrap();
        assert!(sound.iter().filter(|s| !**s).count() <= 1, "{byte}");
        assert!((0..2).all(|n| sidecar.volume(n).as_ref() == lab.volumes().get(n)), "{byte}");
        if byte % 97 == 0 {
            lab.makes_again(&[byte % 2], &sound);
        }
    }
}

#[test]
fn tables_over_a_limit_or_that_contradict_themselves_are_refused() {
    let lab = Lab::new(&[60_000], Geometry { slice: 2 * GRAIN, data: 8, recovery: 2 });
    let good: serde_json::Value = serde_json::from_slice(&lab.sidecar().table().to_bytes().unwrap()).unwrap();
    let zero = Digest::of(b"").to_string();
    let digests = |n: usize| serde_json::Value::from(vec![zero.clone(); n]);
    let cases: Vec<(&str, serde_json::Value)> = vec![
        ("format", 2.into()),
        ("sliceSize", 0.into()),
        ("sliceSize", 8191.into()),
        ("sliceSize", (1u64 << 63).into()),
        ("sliceSize", (1u64 << 40).into()),
        ("files", serde_json::json!([])),
        ("files", serde_json::json!([0])),
        ("files", serde_json::json!([u64::MAX, 60_000])),
        ("files", serde_json::json!([60_000, 60_000])),
        ("files", serde_json::json!(vec![1; 257])),
        ("slices", digests(0)),
        ("slices", digests(7)),
        ("recovery", digests(0)),
        ("recovery", digests(9)),
        ("recovery", serde_json::json!(["sha256:00"])),
        ("index", serde_json::json!({"digest": zero, "size": 9 << 20})),
        ("signature", serde_json::json!({"digest": zero, "size": 1 << 20})),
        ("volumes", serde_json::json!([{"digest": zero, "size": 1}, {"digest": zero, "size": 1}])),
        ("volumes", serde_json::json!([{"digest": zero, "size": 2 << 20}])),
        ("more", 1.into()),
    ];
    for (member, value) in cases {
        let mut bad = good.clone();
        bad[member] = value;
        assert!(Table::parse(&serde_json::to_vec(&bad).unwrap()).is_err(), "{member}: {}", bad[member]);
    }
    let many = serde_json::json!({"format": 1, "index": {"digest": zero, "size": 1}, "sliceSize": 4096,
        "files": [4096 * 2047], "slices": digests(2047), "recovery": digests(2)});
    assert!(Table::parse(&serde_json::to_vec(&many).unwrap()).unwrap_err().contains("number of slices"));
    let twice = br#"{"format":1,"format":1}"#;
    assert!(Table::parse(twice).is_err());
    assert!(Table::parse(&serde_json::to_vec(&good).unwrap()).is_ok());
}

#[test]
fn the_cut_keeps_to_the_limits_and_the_share_for_every_size() {
    for percent in [1, 2, 5, 10, 33, 50, 99, 100] {
        for lengths in
            [&[1u64][..], &[4096], &[10_000], &[1 << 20; 3], &[6_335_076_761], &[1 << 50], &[1, 1 << 40], &[5; 256]]
        {
            let g = Geometry::new(lengths, percent).unwrap();
            assert!(g.slice.is_multiple_of(GRAIN) && g.data + g.recovery.next_power_of_two() <= SLICES);
            assert_eq!(g.data as u64, lengths.iter().map(|l| l.div_ceil(g.slice)).sum::<u64>());
            assert_eq!(g.recovery, (g.data * usize::from(percent)).div_ceil(100));
            assert!(column(&g) * (SLICES as u64) <= WORK.max(GRAIN * SLICES as u64));
        }
    }
    let release = Geometry::new(&[6_335_076_761], 5).unwrap();
    assert_eq!((release.data, release.recovery, release.slice), (1919, 96, 3_301_376));
    for bad in [0, 101] {
        assert_eq!(Geometry::new(&[1], bad).unwrap_err().code(), Code::Usage);
    }
    assert!(Geometry::new(&[], 5).is_err() && Geometry::new(&[0], 5).is_err());
}
