//! `zkctl.database`: one random number in both directories, which tells that they belong together.
//!
//! A log directory that was wiped, or is not mounted, looks like that of a server which has just received a
//! snapshot: without the number it would be believed that nothing was logged behind the newest snapshot. A name
//! that Apache ignores. The log's copy is durable before the other one is written, so a crash leaves no
//! directory that seems lost.

use super::disk::{Disk, DiskError, FileRef, replace};
use super::names;
use super::recovery::{RecoveryError, read_small};
use crate::prng::Prng;

/// The first word of the file.
const MAGIC: &str = "zkctldb1";

fn encode(id: u64) -> Vec<u8> {
    let text = format!("{MAGIC} {id:016x}");
    format!("{text} {:08x}\n", crc32fast::hash(text.as_bytes())).into_bytes()
}

/// The number; `None` when the bytes are damaged.
fn decode(bytes: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let id = u64::from_str_radix(text.get(MAGIC.len() + 1..MAGIC.len() + 17)?, 16).ok()?;
    (encode(id) == bytes).then_some(id)
}

/// What one directory says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copy {
    Missing,
    Damaged,
    Whole(u64),
}

fn read(disk: &mut dyn Disk, file: &FileRef) -> Result<Copy, DiskError> {
    Ok(match read_small(disk, file)? {
        None => Copy::Missing,
        Some(bytes) => decode(&bytes).map_or(Copy::Damaged, Copy::Whole),
    })
}

/// Whether the two directories belong together, as far as they say.
///
/// # Errors
/// `LogDirectory` when the log directory is not the one that this database was used with.
pub(super) fn check(disk: &mut dyn Disk) -> Result<(), DiskError> {
    let data = read(disk, &FileRef::data(names::DATABASE))?;
    let log = read(disk, &FileRef::log(names::DATABASE))?;
    let other = match (data, log) {
        (Copy::Whole(data), Copy::Whole(log)) if data != log => true,
        (Copy::Whole(_) | Copy::Damaged, Copy::Missing) => false,
        _ => return Ok(()),
    };
    Err(RecoveryError::LogDirectory { other }.into())
}

/// Gives both directories the number that one has, or a new one made of `seed`.
pub(super) fn settle(disk: &mut dyn Disk, seed: u64) -> Result<(), DiskError> {
    // The log's first: see above.
    let (log, data) = (FileRef::log(names::DATABASE), FileRef::data(names::DATABASE));
    let id = match (read(disk, &log)?, read(disk, &data)?) {
        (Copy::Whole(id), _) | (_, Copy::Whole(id)) => id,
        _ => Prng::new(seed).next_u64(),
    };
    for file in [log, data] {
        if read(disk, &file)? != Copy::Whole(id) {
            replace(disk, &file, &encode(id))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_number_is_none() {
        let bytes = encode(0x0123_4567_89ab_cdef);
        assert_eq!(bytes, b"zkctldb1 0123456789abcdef c5e9e0d9\n");
        assert_eq!(decode(&bytes), Some(0x0123_4567_89ab_cdef));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert_eq!(decode(&damaged), None, "bit {bit} at {at}");
            }
            assert_eq!(decode(&bytes[..at]), None, "cut at {at}");
        }
    }
}
