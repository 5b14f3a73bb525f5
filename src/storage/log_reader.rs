//! Reading one segment record by record, in bounded memory, and telling how it ends.

use super::disk::{Disk, DiskError, FileRef, piece};
use super::names;
use crate::format::txn_log::{self, EndKind, Step};
use crate::jute::Reader;
use crate::zxid::Zxid;
use bytes::Bytes;

/// How a segment's records end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Behind the last whole record.
    pub offset: u64,
    /// `None`: zeros or the end of the file. Else what is wrong with the bytes there.
    pub damage: Option<String>,
    /// Whether a whole record stands anywhere behind the damage.
    pub record_behind: bool,
    /// No crash leaves this: a place that the disk cannot read any more, or another segment's records.
    pub unreadable: bool,
}

impl End {
    fn unreadable(offset: u64, why: &str) -> End {
        let damage = Some(format!("the disk cannot read what is there ({why})"));
        End { offset, damage, record_behind: true, unreadable: true }
    }
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its zxid.
    pub zxid: Zxid,
    /// Header, txn, digest.
    pub bytes: Bytes,
    /// Its checksum.
    pub checksum: u64,
}

/// A cursor over a segment.
#[derive(Debug)]
pub struct LogReader {
    file: FileRef,
    /// The zxid that the first record must have: the segment's name. `None` behind it.
    first: Option<Zxid>,
    buffer: Vec<u8>,
    /// Where `buffer` begins in the file.
    base: u64,
    /// Where the next record begins, relative to `base`.
    at: usize,
    eof: bool,
    end: Option<End>,
}

/// More than this behind damage is no torn tail, whatever it is: it is not searched.
const BEHIND_MAX: u64 = 512 << 20;

impl LogReader {
    /// Opens a segment and checks its header. Without one it is an empty, damaged segment.
    pub fn open(disk: &mut dyn Disk, file: FileRef) -> Result<LogReader, DiskError> {
        let first = names::parse(&file.name, "log");
        let mut reader = LogReader { file, first, buffer: Vec::new(), base: 0, at: 0, eof: false, end: None };
        reader.fill(disk)?;
        if reader.end.is_some() {
            return Ok(reader);
        }
        match txn_log::read_header(&reader.buffer) {
            Ok(_) => reader.at = txn_log::HEADER_LEN,
            Err(_) => {
                let damage = Some("the file does not begin with a log header".to_owned());
                reader.end = Some(reader.end_with(disk, 0, damage)?);
            }
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

    /// Reads on; where the disk cannot, the records end.
    fn fill(&mut self, disk: &mut dyn Disk) -> Result<(), DiskError> {
        self.buffer.drain(..self.at);
        self.base += self.at as u64;
        self.at = 0;
        let had = self.buffer.len();
        let offset = self.base + had as u64;
        self.buffer.resize(had + piece(disk, &self.file, offset)?, 0);
        let read = match disk.read(&self.file, offset, &mut self.buffer[had..]) {
            Err(DiskError::Unreadable { why, .. }) => {
                self.end = Some(End::unreadable(self.offset(), &why));
                0
            }
            read => read?,
        };
        self.buffer.truncate(had + read);
        self.eof = read == 0;
        Ok(())
    }

    /// The end at `offset`, and what stands behind it.
    fn end_with(&self, disk: &mut dyn Disk, offset: u64, damage: Option<String>) -> Result<End, DiskError> {
        let record_behind = damage.is_some() && self.record_behind(disk, offset)?;
        Ok(End { offset, damage, record_behind, unreadable: false })
    }

    /// How the records end where `txn_log::step` says that they do.
    fn judge(&self, disk: &mut dyn Disk, end: txn_log::End) -> Result<End, DiskError> {
        let damage = match end.kind {
            // What was read ends in zeros; so must the file.
            EndKind::Clean if self.is_zero_behind(disk)? => None,
            EndKind::Clean => Some(describe(EndKind::Hole)),
            other => Some(describe(other)),
        };
        self.end_with(disk, end.offset, damage)
    }

    /// Whether nothing but zeros stands behind what has been read.
    fn is_zero_behind(&self, disk: &mut dyn Disk) -> Result<bool, DiskError> {
        let mut offset = self.base + self.buffer.len() as u64;
        let mut chunk = vec![0; piece(disk, &self.file, offset)?];
        loop {
            let read = disk.read(&self.file, offset, &mut chunk)?;
            if read == 0 || !txn_log::is_zero(&chunk[..read]) {
                return Ok(read == 0);
            }
            offset += read as u64;
        }
    }

    /// Whether a whole record stands behind `offset`, where none does.
    fn record_behind(&self, disk: &mut dyn Disk, offset: u64) -> Result<bool, DiskError> {
        let len = disk.len(&self.file)?.unwrap_or(0);
        let behind = len.saturating_sub(offset + 1);
        if behind > BEHIND_MAX {
            return Ok(true);
        }
        let mut bytes = vec![0; behind as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            match disk.read(&self.file, offset + 1 + filled as u64, &mut bytes[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                // Nobody can tell any more; no torn tail looks like that.
                Err(DiskError::Unreadable { .. }) => return Ok(true),
                Err(other) => return Err(other),
            }
        }
        Ok(txn_log::find_record(&bytes[..filled]).is_some())
    }

    /// The next record; `None` at the end, whose kind `end` tells.
    pub fn next(&mut self, disk: &mut dyn Disk) -> Result<Option<Record>, DiskError> {
        loop {
            if self.end.is_some() {
                return Ok(None);
            }
            let offset = self.offset();
            match txn_log::step(&self.buffer[self.at..], offset, self.eof) {
                Step::Record { body, used, checksum } => {
                    let mut header = Reader::new(body);
                    let zxid = header.take(12).and_then(|_| header.i64()).ok().and_then(Zxid::from_wire);
                    let Some(zxid) = zxid else {
                        let damage = Some("a record without a txn header".to_owned());
                        // Its checksum is right, so it was written like this: no crash does that.
                        self.end = Some(End { offset, damage, record_behind: true, unreadable: false });
                        return Ok(None);
                    };
                    if self.first.take().is_some_and(|first| first != zxid) {
                        let damage = Some(format!("it begins with zxid {zxid}, as another segment does"));
                        self.end = Some(End { offset, damage, record_behind: true, unreadable: true });
                        return Ok(None);
                    }
                    let bytes = Bytes::copy_from_slice(body);
                    let record = Record { zxid, bytes, checksum: checksum.into() };
                    self.at += used;
                    return Ok(Some(record));
                }
                Step::More(_) => self.fill(disk)?,
                Step::End(end) => {
                    let at = end.offset;
                    self.end = Some(match self.judge(disk, end) {
                        Err(DiskError::Unreadable { why, .. }) => End::unreadable(at, &why),
                        judged => judged?,
                    });
                }
            }
        }
    }
}

fn describe(kind: EndKind) -> String {
    match kind {
        EndKind::Clean => "nothing".into(),
        EndKind::ShortHead => "the file ends within a record's head".into(),
        EndKind::ShortBody { len } => format!("the file ends within a record of {len} bytes"),
        EndKind::BadLength { len } => format!("a record of {len} bytes"),
        EndKind::Hole => "a record without its head".into(),
        EndKind::NoEndByte { len } => format!("a record of {len} bytes without its end byte"),
        EndKind::Checksum { len, found, computed } => {
            format!("a record of {len} bytes has checksum {computed:#x}, and {found:#x} is stored")
        }
    }
}
