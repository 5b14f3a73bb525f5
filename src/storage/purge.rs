//! What may be deleted: everything that none of the kept snapshots needs.

use super::disk::{Dir, Disk, DiskError, FileRef};
use super::names;
use crate::format::snapshot;
use crate::zxid::Zxid;

/// Never fewer snapshots than these are kept, as the original insists.
pub const RETAIN_MIN: usize = 3;

/// What goes, given the valid snapshots and the log segments, both ascending: snapshots older than
/// the newest `retain` valid ones, and segments whose records all lie at or below the oldest kept one.
pub fn plan(valid: &[Zxid], logs: &[Zxid], retain: usize) -> (Vec<Zxid>, Vec<Zxid>) {
    let retain = retain.max(RETAIN_MIN);
    if valid.len() <= retain {
        return (Vec::new(), Vec::new());
    }
    let (old, kept) = valid.split_at(valid.len() - retain);
    let oldest = kept[0];
    // The segment that begins at or before the oldest kept snapshot may reach beyond it.
    let needed_from = logs.partition_point(|first| *first <= oldest).saturating_sub(1);
    (old.to_vec(), logs[..needed_from].to_vec())
}

/// Carries the plan out. Snapshots that are not whole are not counted (ZOOKEEPER-3231) and, when
/// older than the oldest kept one, go too.
pub(super) fn purge(disk: &mut dyn Disk, retain: usize) -> Result<(), DiskError> {
    let mut valid = Vec::new();
    for zxid in names::all(&disk.list(Dir::Data)?, "snapshot") {
        let file = FileRef::data(names::snapshot_name(zxid));
        let Some(len) = disk.len(&file)? else { continue };
        let mut tail = [0; snapshot::END_MARK.len()];
        let from = len.saturating_sub(tail.len() as u64);
        let read = disk.read(&file, from, &mut tail)?;
        if snapshot::is_complete(&tail[..read]) {
            valid.push(zxid);
        }
    }
    let logs = names::all(&disk.list(Dir::Log)?, "log");
    let (snapshots, segments) = plan(&valid, &logs, retain);
    for zxid in snapshots {
        disk.remove(&FileRef::data(names::snapshot_name(zxid)))?;
    }
    for zxid in segments {
        disk.remove(&FileRef::log(names::log_name(zxid)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn z(all: &[u64]) -> Vec<Zxid> {
        all.iter().copied().map(Zxid).collect()
    }

    #[test]
    fn every_log_that_a_kept_snapshot_needs_stays() {
        let (snapshots, logs) = plan(&z(&[10, 20, 30, 40]), &z(&[1, 9, 15, 25, 35]), 3);
        assert_eq!(snapshots, z(&[10]));
        assert_eq!(logs, z(&[1, 9]), "log.15 may reach beyond snapshot.20");
    }

    #[test]
    fn fewer_than_three_are_never_left() {
        assert_eq!(plan(&z(&[1, 2, 3]), &z(&[1]), 1), (vec![], vec![]));
        assert_eq!(plan(&z(&[1, 2, 3, 4]), &z(&[1]), 1), (z(&[1]), vec![]));
    }
}
