//! `zkctl.database`: one random number in both directories, which tells that they belong together, and how often
//! the log directory was lost.
//!
//! A log directory that was wiped, or is not mounted, looks like that of a server which has just received a
//! snapshot: without the number it would be believed that nothing was logged behind the newest snapshot. When it
//! was lost, the next one has a higher generation: the old one, mounted again, is no log of this database any
//! more. A name that Apache ignores. The log's copy is durable before the other one is written.

use super::disk::{Dir, Disk, DiskError, FileRef, replace};
use super::log_reader::LogReader;
use super::names;
use super::recovery::{RecoveryOptions, read_small};
use super::recovery_error::{LogDirectory, RecoveryError};
use crate::prng::Prng;

/// The first word of the file.
const MAGIC: &str = "zkctldb1";

/// A database, and which of its log directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Id {
    number: u64,
    generation: u32,
}

impl Id {
    fn encode(self) -> Vec<u8> {
        let text = format!("{MAGIC} {:016x} {}", self.number, self.generation);
        format!("{text} {:08x}\n", crc32fast::hash(text.as_bytes())).into_bytes()
    }

    /// `None` when the bytes are damaged.
    fn decode(bytes: &[u8]) -> Option<Id> {
        let mut words = std::str::from_utf8(bytes).ok()?.split(' ').skip(1);
        let number = u64::from_str_radix(words.next()?, 16).ok()?;
        let id = Id { number, generation: words.next()?.parse().ok()? };
        (id.encode() == bytes).then_some(id)
    }
}

/// What one directory says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copy {
    Missing,
    Damaged,
    Whole(Id),
}

fn read(disk: &mut dyn Disk, file: &FileRef) -> Result<Copy, DiskError> {
    Ok(match read_small(disk, file)? {
        None => Copy::Missing,
        Some(bytes) => Id::decode(&bytes).map_or(Copy::Damaged, Copy::Whole),
    })
}

fn both(disk: &mut dyn Disk) -> Result<(Copy, Copy), DiskError> {
    Ok((read(disk, &FileRef::data(names::DATABASE))?, read(disk, &FileRef::log(names::DATABASE))?))
}

/// Whether the two directories belong together, as far as they say.
///
/// # Errors
/// `LogDirectory` when the log directory is not the one that this database was used with, or there is such a
/// directory for an empty one.
pub(super) fn check(disk: &mut dyn Disk, options: &RecoveryOptions) -> Result<(), DiskError> {
    let what = match both(disk)? {
        (Copy::Whole(data), Copy::Whole(log)) if data.number != log.number => LogDirectory::Another,
        (Copy::Whole(data), Copy::Whole(log)) if log.generation < data.generation => LogDirectory::Older,
        (Copy::Whole(_) | Copy::Damaged, Copy::Missing) if !was_moved(disk)? => LogDirectory::Lost,
        (Copy::Missing, Copy::Whole(_)) if is_empty(disk)? && !may_begin(disk, options)? => {
            LogDirectory::DataLost
        }
        _ => return Ok(()),
    };
    Err(RecoveryError::LogDirectory(what).into())
}

/// Whether a server of ours has used this database before: one of the directories has a number, be it damaged.
pub(super) fn is_known(disk: &mut dyn Disk) -> Result<bool, DiskError> {
    Ok(both(disk)? != (Copy::Missing, Copy::Missing))
}

/// Whether there is no database at all.
fn is_empty(disk: &mut dyn Disk) -> Result<bool, DiskError> {
    let logs = names::all(&disk.list(Dir::Log)?, "log");
    let snapshots = names::all(&disk.list(Dir::Data)?, "snapshot");
    Ok(logs.is_empty() && snapshots.is_empty())
}

/// Whether an empty directory may become a database.
fn may_begin(disk: &mut dyn Disk, options: &RecoveryOptions) -> Result<bool, DiskError> {
    let initialize = FileRef { dir: Dir::Base, name: names::INITIALIZE.into() };
    Ok(options.may_begin || disk.len(&initialize)?.is_some())
}

/// Whether a log directory without a number holds what was logged behind the newest snapshot all the same: its
/// files were moved by hand. What was there before under a mount point does not reach that far. Nothing is
/// missing either where nothing was ever written.
fn was_moved(disk: &mut dyn Disk) -> Result<bool, DiskError> {
    let logs = names::all(&disk.list(Dir::Log)?, "log");
    let Some(newest) = names::all(&disk.list(Dir::Data)?, "snapshot").pop() else {
        return Ok(logs.is_empty());
    };
    let Some(last) = logs.last() else { return Ok(false) };
    if *last > newest {
        return Ok(true);
    }
    let mut reader = LogReader::open(disk, FileRef::log(names::log_name(*last)))?;
    let mut reached = None;
    while let Some(record) = reader.next(disk)? {
        reached = Some(record.zxid);
    }
    Ok(reached.is_some_and(|reached| reached >= newest))
}

/// Gives both directories of a database the number that one has, or a new one made of `seed`. Without a database
/// there is none: a crash between the two copies would look like a lost data directory.
pub(super) fn settle(disk: &mut dyn Disk, seed: u64) -> Result<(), DiskError> {
    if is_empty(disk)? {
        return Ok(());
    }
    let id = match both(disk)? {
        (_, Copy::Whole(id)) | (Copy::Whole(id), _) => id,
        _ => Id { number: Prng::new(seed).next_u64(), generation: 1 },
    };
    write(disk, id)
}

/// The log directory was lost, and everybody knows: from now on it is another one.
pub(super) fn renew(disk: &mut dyn Disk, seed: u64) -> Result<(), DiskError> {
    let id = match both(disk)? {
        (Copy::Whole(id), _) => Id { generation: id.generation.saturating_add(1), ..id },
        _ => Id { number: Prng::new(seed).next_u64(), generation: 1 },
    };
    write(disk, id)
}

fn write(disk: &mut dyn Disk, id: Id) -> Result<(), DiskError> {
    // The log's first: a crash leaves no log directory that seems lost or older.
    for file in [FileRef::log(names::DATABASE), FileRef::data(names::DATABASE)] {
        if read(disk, &file)? != Copy::Whole(id) {
            replace(disk, &file, &id.encode())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_number_is_none() {
        let id = Id { number: 0x0123_4567_89ab_cdef, generation: 2 };
        let bytes = id.encode();
        assert!(bytes.starts_with(b"zkctldb1 0123456789abcdef 2 "));
        assert_eq!(Id::decode(&bytes), Some(id));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert_eq!(Id::decode(&damaged), None, "bit {bit} at {at}");
            }
            assert_eq!(Id::decode(&bytes[..at]), None, "cut at {at}");
        }
    }
}
