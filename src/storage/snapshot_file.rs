//! One snapshot on its way into a file: header, body as it comes, trailer, sync.
//!
//! Deliberately absent: the rename that makes it a snapshot; a received one is installed in order
//! with the log, one of our own as soon as it is whole.

use super::disk::{DiskOp, FileRef};
use crate::format::snapshot::{self, Checksum};
use crate::zxid::Zxid;

/// The file of a snapshot that we write.
pub(super) const OUTGOING: &str = "zkctl.snapshot.zkctl-tmp";
/// The file of a snapshot that we receive.
pub(super) const INCOMING: &str = "zkctl.incoming.zkctl-tmp";

/// A snapshot being written.
#[derive(Debug)]
pub struct SnapshotSink {
    zxid: Zxid,
    file: FileRef,
    offset: u64,
    checksum: Checksum,
    ended: bool,
}

impl SnapshotSink {
    /// Begins; returns the first operations.
    pub fn begin(zxid: Zxid, name: &str) -> (SnapshotSink, Vec<DiskOp>) {
        let file = FileRef::data(name);
        let mut checksum = Checksum::default();
        checksum.update(&snapshot::HEADER);
        let ops = vec![
            DiskOp::Remove(file.clone()),
            DiskOp::Write { file: file.clone(), offset: 0, bytes: snapshot::HEADER.to_vec().into() },
        ];
        let offset = snapshot::HEADER.len() as u64;
        (SnapshotSink { zxid, file, offset, checksum, ended: false }, ops)
    }

    /// Its zxid.
    pub fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// Whether all of it was handed over.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    fn write(&mut self, bytes: Vec<u8>) -> DiskOp {
        let offset = self.offset;
        self.offset += bytes.len() as u64;
        DiskOp::Write { file: self.file.clone(), offset, bytes: bytes.into() }
    }

    /// More of the body.
    pub fn body(&mut self, bytes: Vec<u8>) -> Vec<DiskOp> {
        self.checksum.update(&bytes);
        if bytes.is_empty() { Vec::new() } else { vec![self.write(bytes)] }
    }

    /// The body is complete.
    pub fn end(&mut self, digest: u64) -> Vec<DiskOp> {
        self.ended = true;
        let mut trailer = Vec::new();
        snapshot::put_trailer(&mut trailer, &mut self.checksum, self.zxid.wire(), digest);
        vec![self.write(trailer), DiskOp::Sync(self.file.clone())]
    }
}
