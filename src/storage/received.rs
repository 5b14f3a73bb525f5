//! `zkctl.received`: the zxid of the snapshot that a leader sent last.
//!
//! What is older on this disk does not lead up to it: between the two lies a hole that this server never had.
//! When that snapshot cannot be read any more, none of the older ones may stand in for it, though the log
//! behind it may look as if it followed theirs (a new epoch begins at 1 whatever the last one ended with).

use super::disk::{Dir, Disk, DiskError, DiskOp, FileRef, replace};
use super::names;
use super::recovery::read_small;
use crate::zxid::Zxid;

fn encode(zxid: Zxid) -> Vec<u8> {
    let text = format!("{:016x}", zxid.wire());
    format!("{text} {:08x}\n", crc32fast::hash(text.as_bytes())).into_bytes()
}

/// The zxid; `None` when the bytes are damaged.
fn decode(bytes: &[u8]) -> Option<Zxid> {
    let text = std::str::from_utf8(bytes).ok()?.split(' ').next()?;
    let zxid = Zxid::from_wire(i64::from_str_radix(text, 16).ok()?)?;
    (encode(zxid) == bytes).then_some(zxid)
}

/// Writes it down; behind the snapshot's own name, or a crash would leave a bound and nothing above it.
pub(super) fn remember(zxid: Zxid) -> DiskOp {
    DiskOp::Replace { file: FileRef::data(names::RECEIVED), bytes: encode(zxid).into() }
}

/// Writes it down when a database is read back whose newest snapshot's txn is in no log: a leader sent it, and the
/// server ended before `remember`, or was Apache's.
pub(super) fn notice(disk: &mut dyn Disk, zxid: Zxid) -> Result<(), DiskError> {
    if last(disk)?.is_some_and(|known| known >= zxid) {
        return Ok(());
    }
    replace(disk, &FileRef::data(names::RECEIVED), &encode(zxid))
}

/// The zxid; `None` when there is none, or it cannot be read.
pub(super) fn last(disk: &mut dyn Disk) -> Result<Option<Zxid>, DiskError> {
    let bytes = read_small(disk, &FileRef::data(names::RECEIVED))?;
    Ok(bytes.and_then(|bytes| decode(&bytes)))
}

/// The history is cut behind `after`: a snapshot further on goes. Whether a leader sent the newest that stays is
/// not known any more, so that one is the bound from now on.
pub(super) fn cut_behind(disk: &mut dyn Disk, after: Zxid, snapshots: &[Zxid]) -> Result<(), DiskError> {
    if last(disk)?.is_none_or(|zxid| zxid <= after) {
        return Ok(());
    }
    match snapshots.iter().rfind(|z| **z <= after) {
        Some(newest) => replace(disk, &FileRef::data(names::RECEIVED), &encode(*newest)),
        None => forget(disk),
    }
}

/// Another database begins.
pub(super) fn forget(disk: &mut dyn Disk) -> Result<(), DiskError> {
    disk.remove(&FileRef::data(names::RECEIVED))?;
    disk.sync_dir(Dir::Data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_bound_is_none() {
        let zxid = Zxid(0x5_0000_0007);
        let bytes = encode(zxid);
        assert_eq!(decode(&bytes), Some(zxid));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(decode(&damaged), None, "flip at {at}");
            assert_eq!(decode(&bytes[..at]), None, "cut at {at}");
        }
    }
}
