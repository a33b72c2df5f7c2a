//! Volume sizes for common media (MB-VOL-09).

/// A medium for volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// A FAT32 file system: a file has at most 4 GiB - 1 byte.
    Fat32,
    /// A single-layer DVD of the smaller type (DVD+R: 2,295,104 sectors of 2048 bytes).
    Dvd,
    /// A single-layer Blu-ray disc.
    Bd25,
    /// A dual-layer Blu-ray disc.
    Bd50,
    /// A triple-layer BDXL disc.
    Bd100,
}

/// Bytes left free in every volume for countersignatures and records.
const RESERVE: u64 = 1 << 20;

impl Media {
    /// All media.
    pub const ALL: [Media; 5] = [Media::Fat32, Media::Dvd, Media::Bd25, Media::Bd50, Media::Bd100];

    /// The name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Media::Fat32 => "fat32",
            Media::Dvd => "dvd",
            Media::Bd25 => "bd25",
            Media::Bd50 => "bd50",
            Media::Bd100 => "bd100",
        }
    }

    /// The size of a volume for it, in bytes: what it holds, less 1 % for the file system of a disc, less
    /// `RESERVE`.
    pub fn volume(self) -> u64 {
        let disc = |bytes: u64| bytes - bytes.div_ceil(100);
        let room = match self {
            Media::Fat32 => (4 << 30) - 1,
            Media::Dvd => disc(4_700_372_992),
            Media::Bd25 => disc(25_025_314_816),
            Media::Bd50 => disc(50_050_629_632),
            Media::Bd100 => disc(100_103_356_416),
        };
        room - RESERVE
    }
}
