//! Cutting the history behind a zxid: what TRUNC and SNAP do to the files.
//!
//! The order keeps every crash harmless: snapshots behind the point go first (what is left still
//! replays to the same history), then whole segments from the newest on, then the tail of the one
//! that holds the point (ZOOKEEPER-4837, -1154, -1156).

use super::disk::{Dir, Disk, DiskError, FileRef};
use super::log_reader::LogReader;
use super::names;
use super::received;
use super::recovery::RecoveryError;
use crate::mutants::{self, Mutant};
use crate::zxid::Zxid;

/// Drops every snapshot and every record behind `after`.
///
/// # Errors
/// `Corrupt`, with nothing changed, when what must stay (`keeps_history`: nothing replaces it) cannot be read up to
/// there: a log that ends earlier than the history would be voted with.
pub(super) fn cut_behind(disk: &mut dyn Disk, after: Zxid, keeps_history: bool) -> Result<(), DiskError> {
    let logs = names::all(&disk.list(Dir::Log)?, "log");
    let kept = match logs.iter().rev().find(|z| **z <= after) {
        Some(holder) => Some(end_of_kept(disk, *holder, after, keeps_history)?),
        None => None,
    };
    received::cut_behind(disk, after)?;
    let snapshots = names::all(&disk.list(Dir::Data)?, "snapshot");
    let stays = |z: Zxid| z <= after || mutants::on(Mutant::TruncKeepsNewerSnapshot);
    for zxid in snapshots.into_iter().filter(|z| !stays(*z)) {
        disk.remove(&FileRef::data(names::snapshot_name(zxid)))?;
    }
    disk.sync_dir(Dir::Data)?;
    for first in logs.iter().rev().filter(|z| **z > after) {
        disk.remove(&FileRef::log(names::log_name(*first)))?;
        disk.sync_dir(Dir::Log)?;
    }
    if let Some((file, keep)) = kept {
        disk.set_len(&file, keep)?;
        disk.sync(&file)?;
    }
    disk.sync_dir(Dir::Log)
}

/// The segment that holds `after`, and how much of it stays.
fn end_of_kept(
    disk: &mut dyn Disk,
    holder: Zxid,
    after: Zxid,
    keeps_history: bool,
) -> Result<(FileRef, u64), DiskError> {
    let file = FileRef::log(names::log_name(holder));
    let mut reader = LogReader::open(disk, file.clone())?;
    let mut keep = reader.offset();
    while let Some(record) = reader.next(disk)? {
        let behind = record.zxid > after;
        let last_cut = record.zxid == after && mutants::on(Mutant::TruncOneTooMany);
        if last_cut || (behind && !mutants::on(Mutant::TruncOneTooFew)) {
            break;
        }
        keep = reader.offset();
        if behind {
            break;
        }
    }
    // Torn tails are cut at start: in a running server damage is damage.
    if let Some(why) = reader.end().and_then(|end| end.damage.clone()).filter(|_| keeps_history) {
        return Err(RecoveryError::Corrupt { file: file.name, offset: keep, why, durable: keep }.into());
    }
    Ok((file, keep))
}
