//! Which byte of which file is flipped: every kind of file in turn, small parts byte by byte, large ones
//! by sample.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use zkctl::prng::Prng;

/// A part of a server's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The newest log's header.
    LogHeader,
    /// The newest log's records.
    LogRecords,
    /// Any log's records.
    AnyLog,
    /// The zeros behind the newest log's records.
    LogRoom,
    /// The newest snapshot's header.
    SnapshotHeader,
    /// The newest snapshot's tree.
    SnapshotBody,
    /// The newest snapshot's checksums.
    SnapshotEnd,
    /// Any snapshot.
    AnySnapshot,
    /// `currentEpoch`.
    CurrentEpoch,
    /// `acceptedEpoch`.
    AcceptedEpoch,
    /// `myid`.
    MyId,
    /// `zoo.cfg`.
    ZooCfg,
    /// `zkctl.durable`.
    Durable,
    /// `zkctl.segment`.
    Segment,
    /// `zkctl.database`.
    Database,
    /// `zkctl.received`, where a leader has sent a snapshot; else as `Database`.
    Received,
}

const KINDS: [Kind; 16] = [
    Kind::LogRecords,
    Kind::SnapshotBody,
    Kind::CurrentEpoch,
    Kind::LogHeader,
    Kind::SnapshotHeader,
    Kind::AcceptedEpoch,
    Kind::AnyLog,
    Kind::Durable,
    Kind::SnapshotEnd,
    Kind::MyId,
    Kind::LogRoom,
    Kind::Segment,
    Kind::Database,
    Kind::AnySnapshot,
    Kind::Received,
    Kind::ZooCfg,
];

/// Bytes of a log's and of a snapshot's header, and of what follows a snapshot's tree.
const LOG_HEADER: usize = 16;
const SNAPSHOT_HEADER: usize = 24;
const SNAPSHOT_END: usize = 40;
/// Parts up to this size are flipped byte by byte.
const SMALL: usize = 64;

/// One byte, and how it changes.
#[derive(Debug)]
pub(crate) struct Flip {
    pub(crate) kind: Kind,
    file: PathBuf,
    at: usize,
    mask: u8,
}

impl fmt::Display for Flip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Flip { kind, file, at, mask } = self;
        let parts = file.iter().count();
        let shown: PathBuf = file.iter().skip(parts.saturating_sub(4)).collect();
        write!(f, "{kind:?}, {} at {at} by {mask:#04x}", shown.display())
    }
}

impl Flip {
    /// Makes it.
    pub(crate) fn make(&self) {
        let mut bytes = fs::read(&self.file).unwrap();
        bytes[self.at] ^= self.mask;
        fs::write(&self.file, bytes).unwrap();
    }
}

/// The flips of one stopped server.
#[derive(Debug)]
pub(crate) struct Flips {
    home: PathBuf,
    turn: usize,
}

impl Flips {
    /// Of the server whose zoo.cfg is here.
    pub(crate) fn of(home: &Path) -> Flips {
        Flips { home: home.to_path_buf(), turn: 0 }
    }

    /// Its logs or snapshots, the newest last.
    fn database(&self, prefix: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.home.join("data/version-2")).unwrap();
        let zxid = |p: &PathBuf| {
            let name = p.file_name()?.to_str()?.to_owned();
            u64::from_str_radix(name.strip_prefix(prefix)?, 16).ok()
        };
        let paths = entries.map(|e| e.unwrap().path());
        let mut found: Vec<_> = paths.filter_map(|p| Some((zxid(&p)?, p))).collect();
        found.sort();
        found.into_iter().map(|(_, path)| path).collect()
    }

    fn file(&self, kind: Kind, prng: &mut Prng) -> PathBuf {
        let any = |mut files: Vec<PathBuf>, prng: &mut Prng| {
            let index = prng.below(files.len() as u64) as usize;
            files.swap_remove(index)
        };
        let named = |name: &str| self.home.join(name);
        match kind {
            Kind::LogHeader | Kind::LogRecords | Kind::LogRoom => self.database("log.").pop().unwrap(),
            Kind::SnapshotHeader | Kind::SnapshotBody | Kind::SnapshotEnd => {
                self.database("snapshot.").pop().unwrap()
            }
            Kind::AnyLog => any(self.database("log."), prng),
            Kind::AnySnapshot => any(self.database("snapshot."), prng),
            Kind::CurrentEpoch => named("data/version-2/currentEpoch"),
            Kind::AcceptedEpoch => named("data/version-2/acceptedEpoch"),
            Kind::MyId => named("data/myid"),
            Kind::ZooCfg => named("zoo.cfg"),
            Kind::Durable => named("data/version-2/zkctl.durable"),
            Kind::Segment => named("data/version-2/zkctl.segment"),
            Kind::Received if named("data/version-2/zkctl.received").exists() => {
                named("data/version-2/zkctl.received")
            }
            Kind::Database | Kind::Received => named("data/version-2/zkctl.database"),
        }
    }

    /// The next one: the kinds take turns, and so do the bytes of what is small.
    pub(crate) fn next(&mut self, prng: &mut Prng) -> Flip {
        let kind = KINDS[self.turn % KINDS.len()];
        let round = self.turn / KINDS.len();
        self.turn += 1;
        let file = self.file(kind, prng);
        let (from, to) = range(kind, &fs::read(&file).unwrap());
        let len = to - from;
        let at = from + if len > SMALL { prng.below(len as u64) as usize } else { round % len };
        let bit = 1 << prng.below(8);
        // One bit of a letter never makes a separator: what a damaged path names stays in its directory.
        let one_bit = kind == Kind::ZooCfg || prng.chance(1, 2);
        let mask = if one_bit { bit } else { 1 + prng.below(255) as u8 };
        Flip { kind, file, at, mask }
    }
}

/// Where this kind's bytes are.
fn range(kind: Kind, bytes: &[u8]) -> (usize, usize) {
    let len = bytes.len();
    let end = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
    match kind {
        Kind::LogHeader => (0, LOG_HEADER),
        Kind::LogRoom if end < len => (end, len),
        Kind::LogRecords | Kind::AnyLog | Kind::LogRoom => (LOG_HEADER, end),
        Kind::SnapshotHeader => (0, SNAPSHOT_HEADER),
        Kind::SnapshotBody => (SNAPSHOT_HEADER, len.saturating_sub(SNAPSHOT_END).max(SNAPSHOT_HEADER + 1)),
        Kind::SnapshotEnd => (len.saturating_sub(SNAPSHOT_END), len),
        _ => (0, len),
    }
}
