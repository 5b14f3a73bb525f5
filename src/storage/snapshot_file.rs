//! One snapshot on its way into a file: header, body as it comes, trailer, sync.
//!
//! Deliberately absent: the rename that makes it a snapshot; a received one is installed in order
//! with the log, one of our own as soon as it is whole.

use super::disk::{DiskOp, FileRef};
use crate::format::snapshot::Writer;
use crate::mutants::{self, Mutant};
use crate::zxid::Zxid;

/// The file of a snapshot that we write.
pub(super) const OUTGOING: &str = "zkctl.snapshot.zkctl-tmp";
/// The file of a snapshot that we receive.
pub(super) const INCOMING: &str = "zkctl.incoming.zkctl-tmp";

/// A snapshot being written.
pub struct SnapshotSink {
    zxid: Zxid,
    file: FileRef,
    offset: u64,
    writer: Option<Writer>,
}

impl std::fmt::Debug for SnapshotSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SnapshotSink({}, {} bytes)", self.zxid, self.offset)
    }
}

impl SnapshotSink {
    /// Begins; returns the first operations.
    pub fn begin(zxid: Zxid, name: &str) -> (SnapshotSink, Vec<DiskOp>) {
        let file = FileRef::data(name);
        let mut header = Vec::new();
        let writer = Writer::begin(&mut header);
        let mut sink = SnapshotSink { zxid, file: file.clone(), offset: 0, writer: Some(writer) };
        let write = sink.write(header);
        (sink, vec![DiskOp::Remove(file), write])
    }

    /// Its zxid.
    pub fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// Whether all of it was handed over.
    pub fn is_ended(&self) -> bool {
        self.writer.is_none()
    }

    fn write(&mut self, bytes: Vec<u8>) -> DiskOp {
        let offset = self.offset;
        self.offset += bytes.len() as u64;
        DiskOp::Write { file: self.file.clone(), offset, bytes: bytes.into() }
    }

    /// More of the body.
    pub fn body(&mut self, bytes: Vec<u8>) -> Vec<DiskOp> {
        if let Some(writer) = &mut self.writer {
            writer.cover(&bytes);
        }
        if bytes.is_empty() { Vec::new() } else { vec![self.write(bytes)] }
    }

    /// The body is complete.
    pub fn end(&mut self, digest: u64) -> Vec<DiskOp> {
        let mut trailer = Vec::new();
        if let Some(writer) = self.writer.take() {
            writer.finish(&mut trailer, self.zxid, digest);
        }
        let mut ops = vec![self.write(trailer)];
        if !mutants::on(Mutant::SnapshotNotSynced) {
            ops.push(DiskOp::Sync(self.file.clone()));
        }
        ops
    }
}
