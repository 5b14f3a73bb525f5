//! What may be deleted: everything that none of the kept snapshots needs.

use super::disk::{Dir, Disk, DiskError, FileRef};
use super::names;
use crate::format::files::superfluous;
use crate::format::snapshot;
use crate::mutants::{self, Mutant};

/// Deletes it. Snapshots that are not whole are not counted (ZOOKEEPER-3231) and, when
/// older than the oldest kept one, go too.
pub(super) fn purge(disk: &mut dyn Disk, retain: usize) -> Result<(), DiskError> {
    let mut found = Vec::new();
    for zxid in names::all(&disk.list(Dir::Data)?, "snapshot") {
        let file = FileRef::data(names::snapshot_name(zxid));
        let Some(len) = disk.len(&file)? else { continue };
        let mut tail = [0; snapshot::END_MARK.len()];
        let from = len.saturating_sub(tail.len() as u64);
        let read = match disk.read(&file, from, &mut tail) {
            Err(DiskError::Unreadable { .. }) => 0,
            read => read?,
        };
        found.push((zxid, snapshot::is_complete(&tail[..read])));
    }
    let logs = names::all(&disk.list(Dir::Log)?, "log");
    let (snapshots, mut segments) = superfluous(&found, &logs, retain);
    if let (true, Some((newest, _))) = (mutants::on(Mutant::PurgeDropsNeededLog), found.last()) {
        segments.extend(logs.iter().filter(|first| *first <= newest));
    }
    for zxid in snapshots {
        disk.remove(&FileRef::data(names::snapshot_name(zxid)))?;
    }
    for zxid in segments {
        disk.remove(&FileRef::log(names::log_name(zxid)))?;
    }
    Ok(())
}
