//! Log segments written past the page cache.
//!
//! A page that the cache has not held yet costs more than the bytes in it, and a pre-zeroed log asks
//! for two such pages: one for the zeros, one for the records. Direct writes need whole blocks at block
//! borders, so the block that the log ends in is kept here and written again with the next record,
//! which is what the cache does as well. Decides nothing; who cannot write so writes through the cache.

use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Every common device and file system takes direct writes of this alignment.
const BLOCK: usize = 4096;
/// The most bytes of one write.
const STAGE: usize = 1 << 20;

fn block_of(offset: u64) -> u64 {
    offset & !(BLOCK as u64 - 1)
}

/// A buffer that begins at a block border in memory.
#[derive(Debug)]
struct Aligned {
    raw: Vec<u8>,
    start: usize,
}

impl Aligned {
    fn zeroed(len: usize) -> Aligned {
        let raw = vec![0; len + BLOCK];
        let start = raw.as_ptr().align_offset(BLOCK).min(BLOCK);
        Aligned { raw, start }
    }

    fn bytes(&mut self, len: usize) -> &mut [u8] {
        &mut self.raw[self.start..self.start + len]
    }
}

fn open(path: &Path, create: bool) -> io::Result<File> {
    let direct = OFlags::DIRECT.bits() as i32;
    OpenOptions::new().read(true).write(true).create(create).mode(0o640).custom_flags(direct).open(path)
}

/// Whether the file system refuses direct writes, which it does before it has written anything.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error())
}

/// Writes zeros from one block border to another.
///
/// # Errors
/// `is_refusal` when the caller must go through the cache.
pub(super) fn zero(path: &Path, offset: u64, len: u64) -> io::Result<()> {
    if block_of(offset) != offset || block_of(len) != len {
        return Err(rustix::io::Errno::INVAL.into());
    }
    let file = open(path, true)?;
    let mut zeros = Aligned::zeroed(STAGE.min(len as usize));
    let mut done = 0;
    while done < len {
        let chunk = STAGE.min((len - done) as usize);
        file.write_all_at(zeros.bytes(chunk), offset + done)?;
        done += chunk as u64;
    }
    Ok(())
}

/// The segment being appended to.
#[derive(Debug)]
pub(super) struct DirectLog {
    file: File,
    /// Behind its last whole block; the file does not grow.
    room: u64,
    stage: Aligned,
    /// The block at the front of `stage`, as the file holds it, is the one at this offset.
    held: Option<u64>,
}

impl DirectLog {
    pub(super) fn open(path: &Path) -> io::Result<DirectLog> {
        let file = open(path, false)?;
        let room = block_of(file.metadata()?.len());
        Ok(DirectLog { file, room, stage: Aligned::zeroed(STAGE), held: None })
    }

    /// Whether the bytes lie in blocks that the file has already.
    pub(super) fn has_room(&self, offset: u64, len: usize) -> bool {
        offset + len as u64 <= self.room
    }

    /// Writes at `offset`; the file holds zeros behind what is written.
    pub(super) fn append(&mut self, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let block = block_of(offset);
            let head = (offset - block) as usize;
            if head > 0 && self.held != Some(block) {
                self.file.read_exact_at(self.stage.bytes(BLOCK), block)?;
            }
            self.held = None;
            let take = bytes.len().min(STAGE - head);
            let end = head + take;
            let whole = end.next_multiple_of(BLOCK);
            let staged = self.stage.bytes(whole);
            staged[head..end].copy_from_slice(&bytes[..take]);
            staged[end..].fill(0);
            self.file.write_all_at(staged, block)?;
            if end < whole {
                staged.copy_within(whole - BLOCK.., 0);
                self.held = Some(block + (whole - BLOCK) as u64);
            }
            offset += take as u64;
            bytes = &bytes[take..];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::path::PathBuf;

    /// Beside this very program: the directory for temporary files may be on a file system that refuses.
    fn place(name: &str) -> PathBuf {
        let name = format!("zkctl-direct-{name}-{}", std::process::id());
        let path = std::env::current_exe().unwrap().with_file_name(name);
        let _ = fs::remove_file(&path);
        path
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn what_is_appended_is_what_the_file_holds(
            start in 0_usize..9000,
            sizes in proptest::collection::vec(prop_oneof![1_usize..9000, Just(BLOCK), Just(STAGE + 5)], 1..12),
            reopen in 0_usize..12,
        ) {
            let path = place("append");
            let before = vec![7; start];
            let mut expected = vec![0; 20 << 20];
            expected[..start].copy_from_slice(&before);
            fs::write(&path, &expected).unwrap();
            let mut log = DirectLog::open(&path).expect("this file system takes direct writes");
            let mut at = start;
            for (turn, size) in sizes.iter().enumerate() {
                if turn == reopen {
                    log = DirectLog::open(&path).unwrap();
                }
                let bytes: Vec<u8> = (0..*size).map(|n| (n * 31 + turn) as u8 | 1).collect();
                prop_assert!(log.has_room(at as u64, *size));
                log.append(at as u64, &bytes).unwrap();
                expected[at..at + size].copy_from_slice(&bytes);
                at += size;
            }
            prop_assert!(!log.has_room(at as u64, 20 << 20));
            prop_assert!(fs::read(&path).unwrap() == expected);
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn zeros_are_written_in_whole_blocks_only() {
        let path = place("zero");
        assert!(is_refusal(&zero(&path, 0, 100).unwrap_err()));
        assert!(is_refusal(&zero(&path, 100, 4096).unwrap_err()));
        zero(&path, 0, 3 << 20).expect("this file system takes direct writes");
        assert!(fs::read(&path).unwrap() == vec![0; 3 << 20]);
        fs::remove_file(&path).unwrap();
    }
}
