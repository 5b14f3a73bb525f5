//! Cutting the history behind a zxid: what TRUNC and SNAP do to the files.
//!
//! The order keeps every crash harmless: snapshots behind the point go first (what is left still
//! replays to the same history), then whole segments from the newest on, then the tail of the one
//! that holds the point (ZOOKEEPER-4837, -1154, -1156).

use super::disk::{Dir, Disk, DiskError, FileRef, Rest};
use super::log_reader::LogReader;
use super::names;
use super::received;
use super::recovery;
use super::recovery_error::RecoveryError;
use crate::mutants::{self, Mutant};
use crate::zxid::Zxid;

/// Drops every snapshot and every record behind `after`. Changes nothing when the rest is to be read back and does
/// not lead up to `after`: in front of a snapshot that a leader sent lies a hole, and a history that ends before it
/// may be shorter than what was acknowledged.
///
/// # Errors
/// `Corrupt`, with nothing changed, when what is in memory has been cut and the log does not hold it.
pub(super) fn cut_behind(disk: &mut dyn Disk, after: Zxid, rest: Rest) -> Result<(), DiskError> {
    if let Rest::ReadBack { seed } = rest
        && !recovery::leads_to(disk, after, seed)?
    {
        return Ok(());
    }
    let logs = names::all(&disk.list(Dir::Log)?, "log");
    let kept = match logs.iter().rev().find(|z| **z <= after) {
        Some(holder) => Some(end_of_kept(disk, *holder, after, rest)?),
        None => None,
    };
    let snapshots = names::all(&disk.list(Dir::Data)?, "snapshot");
    let holds = snapshots.contains(&after) || kept.as_ref().is_some_and(|kept| kept.reaches);
    if rest == Rest::History && !holds {
        return Err(not_held(after, kept));
    }
    // They go first: below a mark damage would be taken for corruption.
    if !mutants::on(Mutant::MarkOutlivesCut) {
        disk.remove(&FileRef::log(names::DURABLE))?;
    }
    disk.remove(&FileRef::log(names::BEGUN))?;
    disk.sync_dir(Dir::Log)?;
    received::cut_behind(disk, after, &snapshots)?;
    let stays = |z: Zxid| z <= after || mutants::on(Mutant::TruncKeepsNewerSnapshot);
    for zxid in snapshots.into_iter().filter(|z| !stays(*z)) {
        disk.remove(&FileRef::data(names::snapshot_name(zxid)))?;
    }
    disk.sync_dir(Dir::Data)?;
    for first in logs.iter().rev().filter(|z| **z > after) {
        disk.remove(&FileRef::log(names::log_name(*first)))?;
        disk.sync_dir(Dir::Log)?;
    }
    if let Some(Kept { file, len, .. }) = kept {
        disk.set_len(&file, len)?;
        disk.sync(&file)?;
    }
    disk.sync_dir(Dir::Log)
}

fn not_held(after: Zxid, kept: Option<Kept>) -> DiskError {
    let (file, offset) = kept.map_or((names::log_name(after), 0), |kept| (kept.file.name, kept.len));
    let why = format!("it does not hold {after}, the last txn that must stay");
    RecoveryError::Corrupt { file, offset, why, durable: offset }.into()
}

/// The segment that is cut.
struct Kept {
    file: FileRef,
    /// How much of it stays.
    len: u64,
    /// It holds the last txn that stays.
    reaches: bool,
}

/// The segment that holds `after`, and how much of it stays.
fn end_of_kept(disk: &mut dyn Disk, holder: Zxid, after: Zxid, rest: Rest) -> Result<Kept, DiskError> {
    let file = FileRef::log(names::log_name(holder));
    let mut reader = LogReader::open(disk, file.clone())?;
    let mut keep = reader.offset();
    let mut reaches = false;
    while let Some(record) = reader.next(disk)? {
        let behind = record.zxid > after;
        reaches |= record.zxid == after;
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
    let damage = reader.end().and_then(|end| end.damage.clone());
    if let Some(why) = damage.filter(|_| rest == Rest::History && !reaches) {
        return Err(RecoveryError::Corrupt { file: file.name, offset: keep, why, durable: keep }.into());
    }
    Ok(Kept { file, len: keep, reaches })
}
