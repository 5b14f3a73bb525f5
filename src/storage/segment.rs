//! The segment being written, and turning queued records into disk operations.
//!
//! A segment comes into being whole: header and first record are written into a pre-zeroed spare (or
//! a plain temporary file when none is ready), synced, and only then renamed to `log.<hex>`
//! (ZOOKEEPER-2332, -1621: no empty or half-headed log ever has a log's name).

use super::disk::{Dir, DiskOp, FileRef, TEMPORARY};
use super::durable_mark::DurableMark;
use super::names;
use crate::format::txn_log;
use crate::mutants::{self, Mutant};
use crate::zab::Proposal;
use crate::zxid::Zxid;

/// Where the next record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The zxid in its name.
    pub first: Zxid,
    /// Behind its last record.
    pub offset: u64,
    /// Its pre-zeroed length; `None` for a file that grows.
    pub zeroed: Option<u64>,
    /// The last record's checksum.
    pub checksum: u64,
}

impl Segment {
    fn has_room(&self, bytes: u64) -> bool {
        self.zeroed.is_none_or(|len| self.offset + bytes <= len)
    }

    /// The mark that everything written so far is durable.
    pub(super) fn mark(&self) -> DurableMark {
        DurableMark { segment: self.first, offset: self.offset, checksum: self.checksum }
    }
}

/// Records being gathered into one write.
#[derive(Debug, Default)]
pub(super) struct Gather {
    bytes: Vec<u8>,
    from: u64,
    is_new: bool,
}

/// The log's end while a batch is being made.
#[derive(Debug)]
pub(super) struct LogEnd {
    /// The segment being written.
    pub(super) segment: Option<Segment>,
    /// Name and length of the spare, when one is ready. No name is used twice: the lane that prepares
    /// the next one must never touch the file that this lane is renaming.
    pub(super) spare: Option<(String, u64)>,
    /// The spare that the segment being begun is made of.
    taken: Option<String>,
    /// Begin a new segment with the next record.
    pub(super) roll: bool,
    /// Sync what is written.
    pub(super) force_sync: bool,
    /// Begin a new segment behind this offset.
    bytes_max: Option<u64>,
    gather: Gather,
}

impl LogEnd {
    pub(super) fn new(segment: Option<Segment>, force_sync: bool, bytes_max: Option<u64>) -> LogEnd {
        let force_sync = force_sync && !mutants::on(Mutant::LogNotSynced);
        let (spare, taken, roll, gather) = (None, None, false, Gather::default());
        LogEnd { segment, spare, taken, roll, force_sync, bytes_max, gather }
    }

    /// Adds a record; operations for what was gathered before come first when a segment ends here.
    pub(super) fn append(&mut self, proposal: &Proposal, ops: &mut Vec<DiskOp>) {
        let size = (proposal.bytes.len() + txn_log::RECORD_OVERHEAD) as u64;
        // A file that grows pays the allocation on every sync: leave it for a spare that is ready.
        let slow = self.spare.is_some() && self.segment.is_some_and(|s| s.zeroed.is_none());
        let long = self.segment.is_some_and(|s| self.bytes_max.is_some_and(|max| s.offset >= max));
        if self.roll || slow || long || !self.segment.is_some_and(|s| s.has_room(size)) {
            self.finish(ops);
            self.begin(proposal.zxid);
        }
        let Some(segment) = &mut self.segment else { return };
        if self.gather.bytes.is_empty() {
            self.gather.from = segment.offset;
        }
        segment.checksum = txn_log::write_record(&mut self.gather.bytes, &proposal.bytes).into();
        segment.offset += size;
    }

    fn begin(&mut self, first: Zxid) {
        self.roll = false;
        let (taken, zeroed) = self.spare.take().unzip();
        self.taken = taken;
        self.segment = Some(Segment { first, offset: txn_log::HEADER_LEN as u64, zeroed, checksum: 0 });
        let mut bytes = Vec::new();
        txn_log::write_header(&mut bytes);
        self.gather = Gather { bytes, from: 0, is_new: true };
    }

    /// Operations that put everything gathered on disk.
    pub(super) fn finish(&mut self, ops: &mut Vec<DiskOp>) {
        let gather = std::mem::take(&mut self.gather);
        let Some(segment) = self.segment.filter(|_| !gather.bytes.is_empty()) else { return };
        let name = names::log_name(segment.first);
        if !gather.is_new {
            let file = FileRef::log(name);
            ops.push(DiskOp::Append { file: file.clone(), offset: gather.from, bytes: gather.bytes.into() });
            if self.force_sync {
                ops.push(DiskOp::Sync(file));
            }
            return;
        }
        // First: whatever is torn in a segment of ours was never durable, in another's it may have been.
        ops.push(DiskOp::Replace {
            file: FileRef::log(names::BEGUN),
            bytes: name.clone().into_bytes().into(),
        });
        let from = self.taken.take().unwrap_or_else(|| format!("{name}{TEMPORARY}"));
        let file = FileRef::log(from.clone());
        ops.push(DiskOp::Append { file: file.clone(), offset: 0, bytes: gather.bytes.into() });
        if self.force_sync {
            ops.push(DiskOp::Sync(file));
        }
        ops.push(DiskOp::Rename { dir: Dir::Log, from, to: name });
        if self.force_sync && !mutants::on(Mutant::SegmentNameNotSynced) {
            ops.push(DiskOp::SyncDir(Dir::Log));
        }
    }

    /// Bytes that are taken on the disk and not written yet.
    pub(super) fn ready(&self) -> u64 {
        let segment = self.segment.and_then(|s| Some(s.zeroed?.saturating_sub(s.offset)));
        segment.unwrap_or(0) + self.spare.as_ref().map_or(0, |(_, len)| *len)
    }

    /// The files behind a point were dropped: what comes next begins a segment.
    pub(super) fn close(&mut self, ops: &mut Vec<DiskOp>) {
        self.finish(ops);
        if !mutants::on(Mutant::AppendAtStaleOffset) {
            self.segment = None;
        }
    }
}
