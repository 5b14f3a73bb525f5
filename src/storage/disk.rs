//! The disk as storage sees it: typed operations in two ordered lanes, and what executes them.
//!
//! `Disk` is the narrow thing that the runtime implements on files and the simulator on simulated
//! bytes; `execute` runs one operation on it. Neither decides anything. A failed operation is never
//! tried again: after a failed fsync the page cache may claim what the disk does not hold
//! (Rebello et al., ATC'20).

use super::cut;
use super::identity;
use super::purge;
use super::recovery::{self, Recovered, RecoveryOptions};
use super::recovery_error::RecoveryError;
use super::room::Spaces;
use super::untrusted;
use crate::mutants::{self, Mutant};
use crate::zxid::Zxid;
use bytes::Bytes;
use thiserror::Error;

/// One of the two directories of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dir {
    /// `dataDir/version-2`: snapshots, epochs.
    Data,
    /// `dataLogDir/version-2`: the txn log.
    Log,
    /// `dataDir` itself: `initialize`.
    Base,
}

/// A file of a server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileRef {
    /// Where.
    pub dir: Dir,
    /// Its name, without separators.
    pub name: String,
}

impl FileRef {
    /// A file in the data directory.
    pub fn data(name: impl Into<String>) -> FileRef {
        FileRef { dir: Dir::Data, name: name.into() }
    }

    /// A file in the log directory.
    pub fn log(name: impl Into<String>) -> FileRef {
        FileRef { dir: Dir::Log, name: name.into() }
    }
}

/// What went wrong, in words that name the file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DiskError {
    /// The system refused an operation.
    #[error("{what}: {why}")]
    Io {
        /// The operation and the path.
        what: String,
        /// The system's words.
        why: String,
    },
    /// The disk cannot read a place any more (EIO): what was there is lost, like bytes that are damaged.
    #[error("{what}: {why}")]
    Unreadable {
        /// The operation and the path.
        what: String,
        /// The system's words.
        why: String,
    },
    /// What is on disk cannot be used.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
}

/// The disk's primitives. Every method names its file in its error.
pub trait Disk {
    /// The names in a directory, in no particular order.
    fn list(&mut self, dir: Dir) -> Result<Vec<String>, DiskError>;
    /// A file's length; `None` when there is no such file.
    fn len(&mut self, file: &FileRef) -> Result<Option<u64>, DiskError>;
    /// Fills `buffer` from `offset` on as far as the file goes; returns how many bytes. A place that the disk
    /// has lost is `Unreadable`.
    fn read(&mut self, file: &FileRef, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError>;
    /// Writes at `offset`; makes the file if it is missing.
    fn write(&mut self, file: &FileRef, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;
    /// Writes at the end of a log: the file ends there, or holds zeros from there on, which an
    /// implementation may write again.
    fn append(&mut self, file: &FileRef, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.write(file, offset, bytes)
    }
    /// Writes zeros at `offset`; makes the file if it is missing.
    fn zero(&mut self, file: &FileRef, offset: u64, len: u64) -> Result<(), DiskError>;
    /// Makes a file's bytes (and what is needed to find them) durable.
    fn sync(&mut self, file: &FileRef) -> Result<(), DiskError>;
    /// Makes a directory's entries durable.
    fn sync_dir(&mut self, dir: Dir) -> Result<(), DiskError>;
    /// Renames within a directory, replacing.
    fn rename(&mut self, dir: Dir, from: &str, to: &str) -> Result<(), DiskError>;
    /// Removes a file; a missing one is no error.
    fn remove(&mut self, file: &FileRef) -> Result<(), DiskError>;
    /// Cuts or extends a file.
    fn set_len(&mut self, file: &FileRef, len: u64) -> Result<(), DiskError>;
    /// The room that is left; `None`: as much as one likes, or nobody can tell.
    fn spaces(&mut self) -> Option<Spaces> {
        None
    }
}

/// The two lanes: each is executed in order; they do not wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// The txn log, the epochs, and whatever must stand in order with them.
    Log,
    /// Snapshots, preparation of segments, purge.
    Bulk,
}

/// What becomes of what a cut leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It is the history, and what is in memory has been cut likewise.
    History,
    /// It is the history, and is read back: where the files do not lead up to the point, nothing is cut.
    ReadBack {
        /// Of the tree that is made to find that out.
        seed: u64,
    },
    /// A snapshot replaces it.
    Replaced,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskOp {
    /// Write bytes.
    Write {
        /// Where.
        file: FileRef,
        /// From here.
        offset: u64,
        /// What.
        bytes: Bytes,
    },
    /// Write bytes at the end of a log, where the file ends or only zeros follow.
    Append {
        /// Which log.
        file: FileRef,
        /// From here.
        offset: u64,
        /// What.
        bytes: Bytes,
    },
    /// Write zeros.
    Zero {
        /// Where.
        file: FileRef,
        /// From here.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// Make a file durable.
    Sync(FileRef),
    /// Make a directory durable.
    SyncDir(Dir),
    /// Rename within a directory.
    Rename {
        /// Where.
        dir: Dir,
        /// The old name.
        from: String,
        /// The new name.
        to: String,
    },
    /// Remove a file.
    Remove(FileRef),
    /// Replace a small file: temporary name, fsync, rename, directory fsync.
    Replace {
        /// Which.
        file: FileRef,
        /// Its new content.
        bytes: Bytes,
    },
    /// Drop everything behind a zxid from logs and snapshots.
    CutBehind {
        /// The last that stays.
        after: Zxid,
        /// What becomes of what stays.
        rest: Rest,
    },
    /// Read the database back.
    Recover(RecoveryOptions),
    /// Mark the database as not to be voted with; what a mark that is there tells is kept.
    Distrust,
    /// Make an empty directory a trusted, empty database.
    Initialise {
        /// For its number.
        seed: u64,
    },
    /// Give both directories one number.
    Settle {
        /// For a new one.
        seed: u64,
    },
    /// Drop what no kept snapshot needs.
    Purge {
        /// How many snapshots to keep.
        retain: usize,
    },
    /// Measure the room that is left.
    Measure,
}

/// What an operation found.
#[derive(Debug)]
pub enum Found {
    /// The database.
    Database(Box<Recovered>),
    /// Room.
    Spaces(Spaces),
}

/// Operations executed together, in order; the first failure ends the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its lane.
    pub lane: Lane,
    /// Its name in the completion; grows within a lane.
    pub id: u64,
    /// What to do.
    pub ops: Vec<DiskOp>,
}

/// A batch is done.
#[derive(Debug)]
pub struct BatchDone {
    /// Its lane.
    pub lane: Lane,
    /// Its name.
    pub id: u64,
    /// What a `Recover` or `Measure` in it found, or why the batch ended.
    pub result: Result<Option<Found>, DiskError>,
}

/// Suffix of files that a crash may leave behind; recovery removes them. Apache does not take such
/// a name for a log or a snapshot.
pub const TEMPORARY: &str = ".zkctl-tmp";

static ZEROS: [u8; 256 << 10] = [0; 256 << 10];

/// Executes a batch.
pub fn execute(disk: &mut dyn Disk, batch: Batch) -> BatchDone {
    let mut last = None;
    for op in batch.ops {
        match execute_op(disk, op) {
            Ok(None) => {}
            Ok(found) => last = found,
            Err(error) => return BatchDone { lane: batch.lane, id: batch.id, result: Err(error) },
        }
    }
    BatchDone { lane: batch.lane, id: batch.id, result: Ok(last) }
}

fn execute_op(disk: &mut dyn Disk, op: DiskOp) -> Result<Option<Found>, DiskError> {
    match op {
        DiskOp::Write { file, offset, bytes } => disk.write(&file, offset, &bytes)?,
        DiskOp::Append { file, offset, bytes } => disk.append(&file, offset, &bytes)?,
        DiskOp::Zero { file, offset, len } => disk.zero(&file, offset, len)?,
        DiskOp::Sync(file) if mutants::on(Mutant::FailedSyncRetried) => {
            disk.sync(&file).or_else(|_| disk.sync(&file))?;
        }
        DiskOp::Sync(file) => disk.sync(&file)?,
        DiskOp::SyncDir(dir) => disk.sync_dir(dir)?,
        DiskOp::Rename { dir, from, to } => disk.rename(dir, &from, &to)?,
        DiskOp::Remove(file) => disk.remove(&file)?,
        DiskOp::Replace { file, bytes } => replace(disk, &file, &bytes)?,
        DiskOp::CutBehind { after, rest } => {
            let cut = cut::cut_behind(disk, after, rest);
            match untrusted::remember(disk, cut) {
                Err(_) if mutants::on(Mutant::FailedCutIgnored) => {}
                cut => cut?,
            }
        }
        DiskOp::Recover(options) => {
            return Ok(Some(Found::Database(Box::new(recovery::reload(disk, &options)?))));
        }
        DiskOp::Distrust => untrusted::add(disk, &[])?,
        DiskOp::Initialise { seed } => {
            recovery::initialise(disk)?;
            identity::settle(disk, seed)?;
        }
        DiskOp::Settle { seed } => identity::settle(disk, seed)?,
        DiskOp::Purge { retain } => purge::purge(disk, retain)?,
        DiskOp::Measure => return Ok(disk.spaces().map(Found::Spaces)),
    }
    Ok(None)
}

/// Writes zeros the plain way, for disks that know no other.
///
/// # Errors
/// What `Disk::write` says.
pub fn write_zeros(disk: &mut dyn Disk, file: &FileRef, offset: u64, len: u64) -> Result<(), DiskError> {
    let mut at = offset;
    while at < offset + len {
        let chunk = ZEROS.len().min((offset + len - at) as usize);
        disk.write(file, at, &ZEROS[..chunk])?;
        at += chunk as u64;
    }
    Ok(())
}

/// Replaces a small file so that a crash leaves the old or the new content.
pub(super) fn replace(disk: &mut dyn Disk, file: &FileRef, bytes: &[u8]) -> Result<(), DiskError> {
    let temporary = FileRef { dir: file.dir, name: format!("{}{TEMPORARY}", file.name) };
    disk.remove(&temporary)?;
    disk.write(&temporary, 0, bytes)?;
    if !mutants::on(Mutant::EpochNotSynced) {
        disk.sync(&temporary)?;
    }
    disk.rename(file.dir, &temporary.name, &file.name)?;
    if mutants::on(Mutant::EpochNameNotSynced) {
        return Ok(());
    }
    disk.sync_dir(file.dir)
}

/// How much to read at `offset`, a megabyte at most: a small file is not given more than it fills. Never nothing,
/// so that the file's end shows.
pub(super) fn piece(disk: &mut dyn Disk, file: &FileRef, offset: u64) -> Result<usize, DiskError> {
    let left = disk.len(file)?.unwrap_or(0).saturating_sub(offset);
    Ok(left.clamp(1, 1 << 20) as usize)
}

/// Reads a whole file; `None` when there is none.
pub fn read_all(disk: &mut dyn Disk, file: &FileRef) -> Result<Option<Vec<u8>>, DiskError> {
    let Some(len) = disk.len(file)? else { return Ok(None) };
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    let mut filled = 0;
    while filled < bytes.len() {
        match disk.read(file, filled as u64, &mut bytes[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    bytes.truncate(filled);
    Ok(Some(bytes))
}
