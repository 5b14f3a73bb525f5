//! NoFalseAlarm: what no fault has damaged is never called damaged, however its server ended. A server that gives
//! up its vote for nothing may be the one that a majority lacks. (The other side of item 20.)

use super::Check;
use crate::disk::SimDisk;
use zkctl::storage::{FileRef, read_all};

/// Looks at what a server has just read back: its mark tells what it believes to have lost, and its notes whether
/// it believes that something is missing.
pub(crate) fn check(sid: u64, damaged: bool, disk: &mut SimDisk, notes: &[String]) -> Check {
    // A mark without words stands while a leader's snapshot replaces the database.
    let reasons = read_all(disk, &FileRef::data("zkctl.untrusted")).ok().flatten().unwrap_or_default();
    let missing = notes.iter().find(|note| note.contains("is not the one that its leader had"));
    if let Some(note) = missing.filter(|_| !damaged) {
        return Err(format!("NoFalseAlarm: {sid} believes that something is missing: {note}"));
    }
    if damaged || reasons.is_empty() {
        return Ok(());
    }
    Err(format!("NoFalseAlarm: {sid} believes that it lost something: {}", String::from_utf8_lossy(&reasons)))
}
