//! Txn logs: the file header, records with their checksums, and what the end of a log means.
//!
//! A log is a header, records, and zeros to the end of what was preallocated. A record is an Adler-32 of
//! its body (long), the body's length (int), the body, and the byte `B`. Deliberately absent: which
//! damage may be cut off (`storage` knows how far the log was durable), and the body (`wire::txn`).

use crate::jute::{self, Error, Reader};
use crate::limits;
use crate::mutants::{self, Mutant};
use crate::wire::txn::TxnHeader;

/// `ZKLG`.
pub const MAGIC: i32 = 0x5a4b_4c47;
/// The format's version.
pub const VERSION: i32 = 2;
/// The bytes of the header.
pub const HEADER_LEN: usize = 16;
/// The bytes of a record besides its body.
pub const RECORD_OVERHEAD: usize = RECORD_HEAD + 1;
/// What ends a record.
pub const RECORD_END: u8 = b'B';

const RECORD_HEAD: usize = 12;

/// Writes a log's header.
pub fn write_header(out: &mut Vec<u8>) {
    jute::put_i32(out, MAGIC);
    jute::put_i32(out, VERSION);
    jute::put_i64(out, 0);
}

/// Reads a log's header; returns its database id, which is 0.
pub fn read_header(bytes: &[u8]) -> Result<i64, Error> {
    let mut reader = Reader::new(bytes);
    for (field, expected) in [("magic", MAGIC), ("version", VERSION)] {
        let value = reader.i32()?;
        if value != expected {
            return Err(Error::Value { field, value: value.into() });
        }
    }
    reader.i64()
}

/// The checksum of a record's body.
fn checksum(body: &[u8]) -> u32 {
    simd_adler32::adler32(&body)
}

/// Writes a record around a serialised txn; returns its checksum.
///
/// # Panics
/// When the body is empty (it would read as the log's end) or longer than `limits::RECORD_BYTES_MAX`.
pub fn write_record(out: &mut Vec<u8>, body: &[u8]) -> u32 {
    assert!(!body.is_empty() && body.len() <= limits::RECORD_BYTES_MAX, "a txn of {} bytes", body.len());
    out.reserve(body.len() + RECORD_OVERHEAD);
    let checksum = checksum(body);
    jute::put_i64(out, i64::from(checksum));
    jute::put_buffer(out, body);
    out.push(RECORD_END);
    checksum
}

/// Why the records stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndKind {
    /// Zeros, or nothing: the log was written to here.
    Clean,
    /// The file ends within a record's checksum and length.
    ShortHead,
    /// The file ends within a record's body or before its end byte.
    ShortBody {
        /// What the record's length says.
        len: usize,
    },
    /// A length that no record can have.
    BadLength {
        /// What stands there.
        len: i32,
    },
    /// The length is 0, but bytes other than zero stand around it: the head of a record never reached the disk.
    Hole,
    /// The end byte is missing behind the body.
    NoEndByte {
        /// The body's length.
        len: usize,
    },
    /// The body does not have the checksum that stands before it.
    Checksum {
        /// The body's length.
        len: usize,
        /// What stands before it.
        found: i64,
        /// What its bytes give.
        computed: u32,
    },
}

/// What follows a record that could not be read, as far as bytes were at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// Nothing but zeros, or nothing.
    Nothing,
    /// A whole, valid record where the damaged one's length puts it: the damage is not at the log's end.
    ValidRecord {
        /// Its offset in the file.
        offset: u64,
    },
    /// Bytes that are no record.
    Bytes,
}

/// Where and why the records stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The offset in the file behind the last whole record: where appending would go on.
    pub offset: u64,
    /// Why.
    pub kind: EndKind,
    /// What stands behind.
    pub follows: Follows,
}

impl End {
    /// Whether this is how a log that was written and synced ends.
    pub fn is_clean(&self) -> bool {
        self.kind == EndKind::Clean
    }
}

/// One step through a log's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A whole record.
    Record {
        /// The serialised txn.
        body: &'a [u8],
        /// How many bytes the record takes.
        used: usize,
        /// The body's checksum.
        checksum: u32,
    },
    /// At least this many bytes more are needed to go on.
    More(usize),
    /// No record stands here.
    End(End),
}

/// Reads the record at the front of `bytes`, which begin at `offset` in the file. `at_eof` says that the
/// file ends with them; otherwise a record that goes beyond them asks for more.
pub fn step(bytes: &[u8], offset: u64, at_eof: bool) -> Step<'_> {
    let Some(head) = bytes.get(..RECORD_HEAD) else {
        return match at_eof {
            false => Step::More(RECORD_HEAD - bytes.len()),
            true if is_zero(bytes) => end(bytes, offset, EndKind::Clean, bytes.len()),
            true => end(bytes, offset, EndKind::ShortHead, bytes.len()),
        };
    };
    let mut reader = Reader::new(head);
    let (Ok(found), Ok(len)) = (reader.i64(), reader.i32()) else {
        return end(bytes, offset, EndKind::ShortHead, bytes.len());
    };
    if len == 0 {
        let kind = if is_zero(bytes) { EndKind::Clean } else { EndKind::Hole };
        return end(bytes, offset, kind, RECORD_HEAD);
    }
    let body_len = match usize::try_from(len) {
        Ok(n) if n <= limits::RECORD_BYTES_MAX => n,
        _ => return end(bytes, offset, EndKind::BadLength { len }, RECORD_HEAD),
    };
    let used = body_len + RECORD_OVERHEAD;
    if bytes.len() < used {
        return match at_eof {
            false => Step::More(used - bytes.len()),
            true => end(bytes, offset, EndKind::ShortBody { len: body_len }, bytes.len()),
        };
    }
    let body = &bytes[RECORD_HEAD..RECORD_HEAD + body_len];
    let computed = checksum(body);
    if bytes[used - 1] != RECORD_END {
        return end(bytes, offset, EndKind::NoEndByte { len: body_len }, used);
    }
    if found != i64::from(computed) && !mutants::on(Mutant::LogChecksumIgnored) {
        return end(bytes, offset, EndKind::Checksum { len: body_len, found, computed }, used);
    }
    Step::Record { body, used, checksum: computed }
}

fn end(bytes: &[u8], offset: u64, kind: EndKind, next: usize) -> Step<'static> {
    let behind = bytes.get(next..).unwrap_or_default();
    let follows = if is_zero(behind) {
        Follows::Nothing
    } else if is_record(behind) {
        Follows::ValidRecord { offset: offset + next as u64 }
    } else {
        Follows::Bytes
    };
    Step::End(End { offset, kind, follows })
}

fn is_record(bytes: &[u8]) -> bool {
    let mut reader = Reader::with_field_max(bytes, limits::RECORD_BYTES_MAX);
    let (Ok(found), Ok(Some(body))) = (reader.i64(), reader.buffer()) else { return false };
    !body.is_empty() && reader.u8() == Ok(RECORD_END) && found == i64::from(checksum(body))
}

/// Where a whole, valid record begins in bytes that begin anywhere: whether what was lost stood at the
/// log's end.
pub fn find_record(bytes: &[u8]) -> Option<usize> {
    let at_least = RECORD_OVERHEAD + TxnHeader::LEN;
    let candidates = 0..(bytes.len() + 1).saturating_sub(at_least);
    // The checksum's upper half is zero, its lower never: most places fail at once.
    candidates.filter(|&at| bytes[at..at + 4] == [0; 4] && bytes[at + 4..at + 8] != [0; 4]).find(|&at| {
        let len = u32::from_be_bytes([bytes[at + 8], bytes[at + 9], bytes[at + 10], bytes[at + 11]]) as usize;
        let end = at + RECORD_HEAD + len;
        len >= TxnHeader::LEN && bytes.get(end) == Some(&RECORD_END) && is_record(&bytes[at..=end])
    })
}

/// Whether there is nothing but zeros.
pub fn is_zero(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<64>();
    blocks.iter().all(|b| b == &[0; 64]) && rest.iter().all(|&b| b == 0)
}

/// The records of a log that is in memory from its first record to its end.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
    base: u64,
    end: Option<End>,
}

impl<'a> Records<'a> {
    /// `bytes` stand at `offset` in the file, at a record's border, and reach to its end.
    pub fn new(bytes: &'a [u8], offset: u64) -> Records<'a> {
        Records { bytes, at: 0, base: offset, end: None }
    }

    /// Where and why the records stopped; `None` until the iterator has ended.
    pub fn end(&self) -> Option<End> {
        self.end
    }
}

impl<'a> Iterator for Records<'a> {
    /// A record's offset in the file, and its body.
    type Item = (u64, &'a [u8]);

    fn next(&mut self) -> Option<(u64, &'a [u8])> {
        if self.end.is_some() {
            return None;
        }
        let offset = self.base + self.at as u64;
        match step(&self.bytes[self.at..], offset, true) {
            Step::Record { body, used, .. } => {
                self.at += used;
                Some((offset, body))
            }
            Step::End(end) => {
                self.end = Some(end);
                None
            }
            Step::More(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(bodies: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for body in bodies {
            write_record(&mut out, body);
        }
        out
    }

    fn scan(bytes: &[u8]) -> (usize, End) {
        let mut records = Records::new(bytes, 16);
        let count = records.by_ref().count();
        (count, records.end().unwrap())
    }

    #[test]
    fn the_header_is_read_and_others_refused() {
        let mut out = Vec::new();
        write_header(&mut out);
        assert_eq!(out.len(), HEADER_LEN);
        assert_eq!(read_header(&out), Ok(0));
        assert!(read_header(&out[..15]).is_err());
        out[7] = 3;
        assert!(matches!(read_header(&out), Err(Error::Value { field: "version", .. })));
    }

    #[test]
    fn clean_ends() {
        let mut bytes = log(&[b"one", b"three"]);
        let end = 16 + bytes.len() as u64;
        assert_eq!(scan(&bytes), (2, End { offset: end, kind: EndKind::Clean, follows: Follows::Nothing }));
        for zeros in [1, 11, 12, 500] {
            bytes.resize(end as usize - 16 + zeros, 0);
            assert_eq!(scan(&bytes).1.kind, EndKind::Clean, "{zeros} zeros");
        }
    }

    #[test]
    fn every_cut_is_a_torn_tail() {
        let first = log(&[b"one"]).len();
        let bytes = log(&[b"one", b"three"]);
        for cut in first + 1..bytes.len() {
            let (count, end) = scan(&bytes[..cut]);
            assert_eq!((count, end.offset), (1, 16 + first as u64), "cut at {cut}");
            // The checksum's leading zeros alone look like padding.
            if cut - first > 4 {
                assert!(matches!(end.kind, EndKind::ShortHead | EndKind::ShortBody { .. }), "cut at {cut}");
            }
            assert!(matches!(step(&bytes[first..cut], 0, false), Step::More(_)));
        }
    }

    #[test]
    fn damage_before_a_valid_record_is_told_from_damage_at_the_end() {
        let first = log(&[b"one"]).len();
        let mut bytes = log(&[b"one", b"three", b"four"]);
        bytes[first + 13] ^= 1;
        let (count, end) = scan(&bytes);
        let third = 16 + log(&[b"one", b"three"]).len() as u64;
        assert_eq!(count, 1);
        assert!(matches!(end.kind, EndKind::Checksum { len: 5, .. }));
        assert_eq!(end.follows, Follows::ValidRecord { offset: third });

        bytes.truncate(third as usize - 16);
        assert_eq!(scan(&bytes).1.follows, Follows::Nothing);
        let end_byte = bytes.len() - 1;
        bytes[end_byte] = 0;
        assert_eq!(scan(&bytes).1.kind, EndKind::NoEndByte { len: 5 });
    }

    #[test]
    fn holes_and_absurd_lengths() {
        let first = log(&[b"one"]).len();
        let mut bytes = log(&[b"one", b"three"]);
        bytes[first..first + 12].fill(0);
        assert_eq!(scan(&bytes).1.kind, EndKind::Hole);
        bytes[first + 8..first + 12].copy_from_slice(&(-5i32).to_be_bytes());
        assert_eq!(scan(&bytes).1.kind, EndKind::BadLength { len: -5 });
        bytes[first + 8..first + 12].copy_from_slice(&i32::MAX.to_be_bytes());
        assert_eq!(scan(&bytes).1.kind, EndKind::BadLength { len: i32::MAX });
    }
}
