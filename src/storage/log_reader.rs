//! Reading one segment record by record, in bounded memory, and telling how it ends.

use super::disk::{Disk, DiskError, FileRef};
use crate::format::txn_log::{self, Parsed};
use crate::limits;
use crate::zxid::Zxid;
use bytes::Bytes;

/// How a segment's records end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Zeros or the end of the file behind the last record.
    Clean,
    /// Bytes that are no record.
    Damaged {
        /// What is wrong with them.
        why: String,
    },
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its zxid.
    pub zxid: Zxid,
    /// Header, txn, digest.
    pub bytes: Bytes,
    /// Its checksum as stored.
    pub checksum: u64,
}

/// A cursor over a segment.
#[derive(Debug)]
pub struct LogReader {
    file: FileRef,
    buffer: Vec<u8>,
    /// Where `buffer` begins in the file.
    base: u64,
    /// Where the next record begins, relative to `base`.
    at: usize,
    eof: bool,
    end: Option<End>,
}

const CHUNK: usize = 4 << 20;

impl LogReader {
    /// Opens a segment and checks its header. A file too short for one is an empty, damaged segment.
    pub fn open(disk: &mut dyn Disk, file: FileRef) -> Result<LogReader, DiskError> {
        let mut reader = LogReader { file, buffer: Vec::new(), base: 0, at: 0, eof: false, end: None };
        reader.fill(disk)?;
        match txn_log::check_header(&reader.buffer) {
            Ok(()) => reader.at = txn_log::HEADER_LEN,
            Err(why) => reader.end = Some(End::Damaged { why: why.to_string() }),
        }
        Ok(reader)
    }

    /// Where the next record begins: behind the last one read.
    pub fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// How the records ended, once `next` has returned `None`.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    fn fill(&mut self, disk: &mut dyn Disk) -> Result<(), DiskError> {
        self.buffer.drain(..self.at);
        self.base += self.at as u64;
        self.at = 0;
        let had = self.buffer.len();
        self.buffer.resize(had + CHUNK, 0);
        let read = disk.read(&self.file, self.base + had as u64, &mut self.buffer[had..])?;
        self.buffer.truncate(had + read);
        self.eof = read == 0;
        Ok(())
    }

    /// The next record; `None` at the end, whose kind `end` tells.
    pub fn next(&mut self, disk: &mut dyn Disk) -> Result<Option<Record>, DiskError> {
        loop {
            if self.end.is_some() {
                return Ok(None);
            }
            let end = match txn_log::parse_record(&self.buffer[self.at..], limits::TXN_BYTES_MAX) {
                Parsed::Record { body, used, checksum, zxid } => {
                    let record = Record { zxid, bytes: Bytes::copy_from_slice(body), checksum };
                    self.at += used;
                    return Ok(Some(record));
                }
                Parsed::Short if !self.eof => {
                    self.fill(disk)?;
                    continue;
                }
                Parsed::Short if self.buffer.len() == self.at => End::Clean,
                Parsed::Short => End::Damaged { why: "the file ends within a record".into() },
                Parsed::Padding => End::Clean,
                Parsed::Bad(why) => End::Damaged { why },
            };
            self.end = Some(end);
        }
    }

    /// Whether any bytes but zeros lie behind the end.
    pub fn has_bytes_behind_end(&mut self, disk: &mut dyn Disk) -> Result<bool, DiskError> {
        loop {
            if self.buffer[self.at..].iter().any(|b| *b != 0) {
                return Ok(true);
            }
            self.at = self.buffer.len();
            self.fill(disk)?;
            if self.eof {
                return Ok(false);
            }
        }
    }
}
