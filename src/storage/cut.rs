//! Cutting the history behind a zxid: what TRUNC and SNAP do to the files.
//!
//! The order keeps every crash harmless: snapshots behind the point go first (what is left still
//! replays to the same history), then whole segments from the newest on, then the tail of the one
//! that holds the point (ZOOKEEPER-4837, -1154, -1156).

use super::disk::{Dir, Disk, DiskError, FileRef};
use super::log_reader::LogReader;
use super::names;
use super::received;
use crate::mutants::{self, Mutant};
use crate::zxid::Zxid;

/// Drops every snapshot and every record behind `after`.
pub(super) fn cut_behind(disk: &mut dyn Disk, after: Zxid) -> Result<(), DiskError> {
    received::cut_behind(disk, after)?;
    let snapshots = names::all(&disk.list(Dir::Data)?, "snapshot");
    let stays = |z: Zxid| z <= after || mutants::on(Mutant::TruncKeepsNewerSnapshot);
    for zxid in snapshots.into_iter().filter(|z| !stays(*z)) {
        disk.remove(&FileRef::data(names::snapshot_name(zxid)))?;
    }
    disk.sync_dir(Dir::Data)?;
    let logs = names::all(&disk.list(Dir::Log)?, "log");
    for first in logs.iter().rev().filter(|z| **z > after) {
        disk.remove(&FileRef::log(names::log_name(*first)))?;
        disk.sync_dir(Dir::Log)?;
    }
    if let Some(holder) = logs.into_iter().rev().find(|z| *z <= after) {
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
        disk.set_len(&file, keep)?;
        disk.sync(&file)?;
    }
    disk.sync_dir(Dir::Log)
}
