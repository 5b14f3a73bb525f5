//! `zkctl.received`: the zxid of the snapshot that a leader sent last.
//!
//! What is older on this disk does not lead up to it: between the two lies a hole that this server never had.
//! When that snapshot cannot be read any more, none of the older ones may stand in for it, though the log
//! behind it may look as if it followed theirs (a new epoch begins at 1 whatever the last one ended with).

use super::disk::{Disk, DiskError, DiskOp, FileRef};
use super::names;
use super::recovery::read_small;
use crate::zxid::Zxid;

/// Writes it down; behind the snapshot's own name, or a crash would leave a bound and nothing above it.
pub(super) fn remember(zxid: Zxid) -> DiskOp {
    let text = format!("{:x}\n", zxid.wire());
    DiskOp::Replace { file: FileRef::data(names::RECEIVED), bytes: text.into_bytes().into() }
}

/// The zxid; `None` when there is none, or it cannot be read.
pub(super) fn last(disk: &mut dyn Disk) -> Result<Option<Zxid>, DiskError> {
    let bytes = read_small(disk, &FileRef::data(names::RECEIVED))?.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    Ok(i64::from_str_radix(text.trim(), 16).ok().and_then(Zxid::from_wire))
}

/// The history is cut behind `after`: a snapshot further on goes, and so does what it says.
pub(super) fn cut_behind(disk: &mut dyn Disk, after: Zxid) -> Result<(), DiskError> {
    if last(disk)?.is_some_and(|zxid| zxid > after) {
        disk.remove(&FileRef::data(names::RECEIVED))?;
        disk.sync_dir(super::disk::Dir::Data)?;
    }
    Ok(())
}
