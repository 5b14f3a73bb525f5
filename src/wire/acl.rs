//! ACL lists as they stand in requests, txns and snapshots: borrowed, compared as bytes.
//!
//! Two lists are equal when their bytes are, which is the original's equality. Scheme and id are
//! bytes: files hold what clients once sent. Deliberately absent: who may do what (`auth`).

use crate::jute::{self, Error, Reader};

/// Permission bits.
pub mod perms {
    /// Data, children, ACL and stat may be read.
    pub const READ: i32 = 1;
    /// Data may be replaced.
    pub const WRITE: i32 = 2;
    /// Children may be made.
    pub const CREATE: i32 = 4;
    /// Children may be removed.
    pub const DELETE: i32 = 8;
    /// The ACL may be replaced.
    pub const ADMIN: i32 = 16;
    /// All of them.
    pub const ALL: i32 = 31;
}

/// `world:anyone` with all permissions, as a jute vector.
const OPEN: &[u8] = b"\0\0\0\x01\0\0\0\x1f\0\0\0\x05world\0\0\0\x06anyone";
/// `world:anyone` with READ, as a jute vector: the ACL of `/zookeeper/config`.
const READ_ONLY: &[u8] = b"\0\0\0\x01\0\0\0\x01\0\0\0\x05world\0\0\0\x06anyone";
/// `world:anyone` with no permission: nobody but super.
const CLOSED: &[u8] = b"\0\0\0\x01\0\0\0\0\0\0\0\x05world\0\0\0\x06anyone";
const NULL: &[u8] = b"\xff\xff\xff\xff";

/// One entry of an ACL list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AclEntry<'a> {
    /// Bits of `perms`.
    pub perms: i32,
    /// `world`, `digest` and so on; empty when null on the wire.
    pub scheme: &'a [u8],
    /// Who; empty when null on the wire.
    pub id: &'a [u8],
}

/// An ACL list: a jute vector whose structure has been checked. May be null or empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AclList<'a> {
    raw: &'a [u8],
}

impl<'a> AclList<'a> {
    /// `world:anyone`, all permissions.
    pub const OPEN: AclList<'static> = AclList { raw: OPEN };
    /// `world:anyone`, READ.
    pub const READ_ONLY: AclList<'static> = AclList { raw: READ_ONLY };
    /// `world:anyone`, nothing.
    pub const CLOSED: AclList<'static> = AclList { raw: CLOSED };
    /// Null.
    pub const NULL: AclList<'static> = AclList { raw: NULL };

    /// Reads a list; its bytes stay where they are.
    pub fn read(reader: &mut Reader<'a>) -> Result<AclList<'a>, Error> {
        let rest = reader.rest();
        let from = reader.position();
        for _ in 0..reader.vec_len()?.unwrap_or(0) {
            reader.i32()?;
            reader.buffer()?;
            reader.buffer()?;
        }
        Ok(AclList { raw: &rest[..reader.position() - from] })
    }

    /// A list over bytes that `read` once gave out with `raw`.
    pub fn from_checked(raw: &'a [u8]) -> AclList<'a> {
        AclList { raw }
    }

    /// The list as its jute vector, count included.
    pub fn raw(self) -> &'a [u8] {
        self.raw
    }

    /// Whether it is null.
    pub fn is_null(self) -> bool {
        self.raw == NULL
    }

    /// Whether it has no entry; null has none.
    pub fn is_empty(self) -> bool {
        self.is_null() || self.raw == [0; 4]
    }

    /// Its entries in order.
    pub fn entries(self) -> AclEntries<'a> {
        let mut reader = Reader::new(self.raw);
        let left = reader.i32().map_or(0, |n| n.max(0) as usize);
        AclEntries { reader, left }
    }
}

/// The entries of an `AclList`.
#[derive(Clone, Debug)]
pub struct AclEntries<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl<'a> Iterator for AclEntries<'a> {
    type Item = AclEntry<'a>;

    fn next(&mut self) -> Option<AclEntry<'a>> {
        self.left = self.left.checked_sub(1)?;
        let perms = self.reader.i32().ok()?;
        let scheme = self.reader.buffer().ok()?.unwrap_or_default();
        let id = self.reader.buffer().ok()?.unwrap_or_default();
        Some(AclEntry { perms, scheme, id })
    }
}

/// An ACL list being written: a count that is patched, and entries behind it.
#[derive(Debug, Default)]
pub struct AclBuf {
    raw: Vec<u8>,
    count: usize,
}

impl AclBuf {
    /// An empty list.
    pub fn new() -> AclBuf {
        AclBuf { raw: vec![0; 4], count: 0 }
    }

    /// Appends an entry.
    pub fn push(&mut self, entry: AclEntry<'_>) {
        put_entry(&mut self.raw, entry);
        self.count += 1;
        self.raw[..4].copy_from_slice(&(self.count as i32).to_be_bytes());
    }

    /// How many entries it has.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The list so far.
    pub fn list(&self) -> AclList<'_> {
        AclList { raw: &self.raw }
    }
}

/// Writes one entry.
pub fn put_entry(out: &mut Vec<u8>, entry: AclEntry<'_>) {
    jute::put_i32(out, entry.perms);
    jute::put_buffer(out, entry.scheme);
    jute::put_buffer(out, entry.id);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_in_place() {
        let mut buf = AclBuf::new();
        assert!(buf.list().is_empty());
        buf.push(AclEntry { perms: perms::ALL, scheme: b"world", id: b"anyone" });
        assert_eq!(buf.list(), AclList::OPEN);
        buf.push(AclEntry { perms: 1, scheme: b"ip", id: b"10.0.0.0/8" });
        let bytes = [buf.list().raw(), b"rest"].concat();
        let mut reader = Reader::new(&bytes);
        let list = AclList::read(&mut reader).unwrap();
        assert_eq!(reader.rest(), b"rest");
        assert_eq!(list.entries().count(), 2);
        assert_eq!(list.entries().nth(1).unwrap().id, b"10.0.0.0/8");
    }

    #[test]
    fn null_and_cut_lists() {
        assert!(AclList::NULL.is_null() && AclList::NULL.is_empty());
        assert_eq!(AclList::NULL.entries().count(), 0);
        for cut in 0..OPEN.len() {
            assert!(AclList::read(&mut Reader::new(&OPEN[..cut])).is_err(), "cut at {cut}");
        }
    }
}
