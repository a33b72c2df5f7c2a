//! What a lenient reading noticed: where tar readers see different things.

/// The most remarks that are kept of a layer.
const KEPT: usize = 32;

/// One place where a layer is unusual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The number of the entry.
    pub number: u64,
    /// Its path, as this reading sees it; empty if it has none.
    pub path: Vec<u8>,
    /// What it is: completes "a layer …".
    pub what: String,
    /// Whether readers see different files or contents because of it; else it is only unusual.
    pub ambiguous: bool,
}

/// The remarks about a layer. They stay when the reading fails.
#[derive(Clone, Debug, Default)]
pub struct Remarks {
    list: Vec<Remark>,
    more: u64,
    number: u64,
    /// Those about the entry that is being read have no path yet.
    open: usize,
}

impl Remarks {
    /// The remarks, in the order of the entries.
    pub fn list(&self) -> &[Remark] {
        &self.list
    }

    /// How many more there were.
    pub fn more(&self) -> u64 {
        self.more
    }

    /// Whether readers see different files or contents.
    pub fn is_ambiguous(&self) -> bool {
        self.list.iter().any(|remark| remark.ambiguous)
    }

    pub(super) fn ambiguous(&mut self, what: impl Into<String>) {
        self.add(what.into(), true);
    }

    pub(super) fn notice(&mut self, what: impl Into<String>) {
        self.add(what.into(), false);
    }

    fn add(&mut self, what: String, ambiguous: bool) {
        // One that is ambiguous is always kept.
        if self.list.len() >= KEPT && (!ambiguous || self.is_ambiguous()) {
            self.more += 1;
            return;
        }
        self.list.push(Remark { number: self.number, path: Vec::new(), what, ambiguous });
    }

    /// The entry that the remarks since the last call are about.
    pub(super) fn about(&mut self, number: u64, path: &[u8]) {
        for remark in self.list.iter_mut().skip(self.open) {
            (remark.number, remark.path) = (number, path.iter().copied().take(4096).collect());
        }
        self.open = self.list.len();
        self.number = number + 1;
    }
}
