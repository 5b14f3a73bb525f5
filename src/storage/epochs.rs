//! `acceptedEpoch` and `currentEpoch`: what the two files and the log say together.

use super::disk::{Disk, DiskError, FileRef, replace};
use super::identity;
use super::names;
use super::recovery::read_small;
use super::recovery_error::RecoveryError;
use crate::zab::Trust;
use crate::zxid::{Epoch, Zxid};

fn read(disk: &mut dyn Disk, name: &str) -> Result<Option<Epoch>, DiskError> {
    let Some(bytes) = read_small(disk, &FileRef::data(name))? else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    // As Apache writes it, or somebody by hand: one line, of digits. A blank is none: in 10 it would make epoch 1.
    let line = text.lines().next().filter(|line| line.bytes().all(|b| b.is_ascii_digit()));
    match line.and_then(|line| line.parse::<u32>().ok()) {
        Some(epoch) => Ok(Some(Epoch(epoch))),
        None => Err(RecoveryError::Epoch { file: name.into(), text: text.into_owned() }.into()),
    }
}

/// The epochs, settled: a log that reaches into an epoch proves that this epoch was promised, whatever a crash
/// left in the files or out of them (ZOOKEEPER-2307, -1653, -2354). It counts as entered too, but only as long
/// as the log reaches there (`Shared::credentials`): what comes before NEWLEADER may be cut again, and the
/// epoch must not outlive its history. So a missing currentEpoch is none, not the log's.
pub(super) fn settled(disk: &mut dyn Disk, last: Zxid) -> Result<(Epoch, Epoch), DiskError> {
    let current = read(disk, names::CURRENT_EPOCH)?.unwrap_or_default();
    let accepted = read(disk, names::ACCEPTED_EPOCH)?.unwrap_or(current).max(current).max(last.epoch());
    Ok((accepted, current))
}

/// Writes `acceptedEpoch` where there is none. It is there before the database gets its number, so from then on a
/// missing one is damage.
pub(super) fn write_missing(disk: &mut dyn Disk, accepted: Epoch) -> Result<(), DiskError> {
    let file = FileRef::data(names::ACCEPTED_EPOCH);
    match disk.len(&file)? {
        Some(_) => Ok(()),
        None => replace(disk, &file, accepted.0.to_string().as_bytes()),
    }
}

/// Epoch files that contradict each other, or a promise that is gone from a database that may be voted with. Settled
/// by `settled` where nobody else could tell; a server that has others must not win an election by an epoch that it
/// never entered, nor promise another leader what it has promised one.
pub(super) fn contradiction(disk: &mut dyn Disk, trust: Trust) -> Result<Option<RecoveryError>, DiskError> {
    let current = read(disk, names::CURRENT_EPOCH)?;
    let Some(accepted) = read(disk, names::ACCEPTED_EPOCH)? else {
        let is_lost = trust == Trust::Trusted && identity::is_known(disk)?;
        return Ok(is_lost.then_some(RecoveryError::NoPromise));
    };
    let lesser = current.filter(|current| accepted < *current);
    Ok(lesser.map(|current| RecoveryError::Epochs { accepted, current }))
}
