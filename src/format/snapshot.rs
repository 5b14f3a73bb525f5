//! Snapshots: the header, the records of the body, the seals and sections behind it.
//!
//! A snapshot is a header, a body (sessions, ACL table, znodes parents first, `"/"`), a seal, and two
//! optional sections with a seal each. The body alone is what a SNAP transfer carries. An Adler-32 runs
//! over the whole stream and is never reset. Deliberately absent: compression, file names, the tree.

use crate::jute::{self, Error, Reader};
use crate::wire::acl::AclList;
use crate::wire::txn::DIGEST_VERSION;
use crate::zxid::Zxid;
use simd_adler32::Adler32;
use thiserror::Error as ThisError;

/// `ZKSN`.
pub const MAGIC: i32 = 0x5a4b_534e;
/// The format's version.
pub const VERSION: i32 = 2;
/// The bytes of the header.
pub const HEADER_LEN: usize = 16;
/// The path behind the last znode, and behind every seal's checksum.
pub const END_PATH: &str = "/";
/// The last bytes of every complete, uncompressed snapshot: `"/"` as a string.
pub const END_MARK: [u8; 5] = [0, 0, 0, 1, b'/'];
/// Everything behind the body is at most this long.
pub const TAIL_MAX: usize = 3 * SEAL_LEN + 20 + 8;
/// The id of `world:anyone`, all permissions, which is not in the ACL table.
pub const OPEN_ACL_ID: i64 = -1;

const SEAL_LEN: usize = 8 + END_MARK.len();

/// Why a file is no whole snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum SnapshotError {
    /// Another file, or another version.
    #[error("not a snapshot of version 2")]
    Header,
    /// A seal's checksum is not that of the bytes before it.
    #[error("checksum {found:#x} where the bytes give {computed:#x}")]
    Checksum {
        /// In the file.
        found: i64,
        /// Of the bytes.
        computed: i64,
    },
    /// A record or seal that cannot be read.
    #[error("{0}")]
    Jute(#[from] Error),
}

/// Whether a file of which these are the last five bytes was written to its end.
pub fn is_complete(last: &[u8]) -> bool {
    last == END_MARK
}

/// A znode's stat as snapshots hold it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoredStat {
    /// The txn that made it.
    pub czxid: i64,
    /// The txn that last set its data.
    pub mzxid: i64,
    /// When it was made, in wall-clock milliseconds.
    pub ctime: i64,
    /// When its data was last set.
    pub mtime: i64,
    /// Counts changes of data.
    pub version: i32,
    /// Counts births of children.
    pub cversion: i32,
    /// Counts changes of the ACL.
    pub aversion: i32,
    /// The owning session, 0, or the mark of a container or TTL znode.
    pub owner: i64,
    /// The txn that last made or removed a child.
    pub pzxid: i64,
}

impl StoredStat {
    /// The bytes of a stored stat.
    pub const LEN: usize = 60;

    /// Reads it.
    pub fn read(reader: &mut Reader<'_>) -> Result<StoredStat, Error> {
        Ok(StoredStat {
            czxid: reader.i64()?,
            mzxid: reader.i64()?,
            ctime: reader.i64()?,
            mtime: reader.i64()?,
            version: reader.i32()?,
            cversion: reader.i32()?,
            aversion: reader.i32()?,
            owner: reader.i64()?,
            pzxid: reader.i64()?,
        })
    }

    /// Writes it.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut raw = [0; StoredStat::LEN];
        raw[0..8].copy_from_slice(&self.czxid.to_be_bytes());
        raw[8..16].copy_from_slice(&self.mzxid.to_be_bytes());
        raw[16..24].copy_from_slice(&self.ctime.to_be_bytes());
        raw[24..32].copy_from_slice(&self.mtime.to_be_bytes());
        raw[32..36].copy_from_slice(&self.version.to_be_bytes());
        raw[36..40].copy_from_slice(&self.cversion.to_be_bytes());
        raw[40..44].copy_from_slice(&self.aversion.to_be_bytes());
        raw[44..52].copy_from_slice(&self.owner.to_be_bytes());
        raw[52..60].copy_from_slice(&self.pzxid.to_be_bytes());
        out.extend_from_slice(&raw);
    }

    /// The bytes that enter the znode's digest: other order than on disk (`DigestCalculator`).
    pub fn digest_bytes(&self) -> [u8; StoredStat::LEN] {
        let mut raw = [0; StoredStat::LEN];
        raw[0..8].copy_from_slice(&self.czxid.to_be_bytes());
        raw[8..16].copy_from_slice(&self.mzxid.to_be_bytes());
        raw[16..24].copy_from_slice(&self.pzxid.to_be_bytes());
        raw[24..32].copy_from_slice(&self.ctime.to_be_bytes());
        raw[32..40].copy_from_slice(&self.mtime.to_be_bytes());
        raw[40..44].copy_from_slice(&self.version.to_be_bytes());
        raw[44..48].copy_from_slice(&self.cversion.to_be_bytes());
        raw[48..52].copy_from_slice(&self.aversion.to_be_bytes());
        raw[52..60].copy_from_slice(&self.owner.to_be_bytes());
        raw
    }
}

/// One znode of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeRecord<'a> {
    /// Its path; the root's is empty.
    pub path: &'a str,
    /// Its data; may be null.
    pub data: Option<&'a [u8]>,
    /// Its ACL's id in the ACL table.
    pub acl_id: i64,
    /// Its stat.
    pub stat: StoredStat,
}

impl<'a> NodeRecord<'a> {
    /// Reads a znode; `None` is the end of the body.
    pub fn read(reader: &mut Reader<'a>) -> Result<Option<NodeRecord<'a>>, Error> {
        let path = reader.string()?;
        if path == END_PATH {
            return Ok(None);
        }
        let data = reader.buffer()?;
        Ok(Some(NodeRecord { path, data, acl_id: reader.i64()?, stat: StoredStat::read(reader)? }))
    }

    /// Writes it.
    pub fn write(&self, out: &mut Vec<u8>) {
        jute::put_string(out, self.path);
        jute::put_buffer_or_null(out, self.data);
        jute::put_i64(out, self.acl_id);
        self.stat.write(out);
    }
}

/// Reads one entry of the session section: id and timeout in milliseconds.
pub fn read_session(reader: &mut Reader<'_>) -> Result<(i64, i32), Error> {
    Ok((reader.i64()?, reader.i32()?))
}

/// Writes one entry of the session section.
pub fn write_session(out: &mut Vec<u8>, session: i64, timeout_ms: i32) {
    jute::put_i64(out, session);
    jute::put_i32(out, timeout_ms);
}

/// Reads one entry of the ACL table.
pub fn read_acl<'a>(reader: &mut Reader<'a>) -> Result<(i64, AclList<'a>), Error> {
    Ok((reader.i64()?, AclList::read(reader)?))
}

/// Writes one entry of the ACL table.
pub fn write_acl(out: &mut Vec<u8>, id: i64, acl: AclList<'_>) {
    jute::put_i64(out, id);
    out.extend_from_slice(acl.raw());
}

/// The running checksum of a snapshot being written, and the pieces around its body.
///
/// Use: `begin`; body bytes through `cover`; `finish`.
#[derive(Clone)]
pub struct Writer {
    adler: Adler32,
}

impl Writer {
    /// Writes the header behind `out`.
    pub fn begin(out: &mut Vec<u8>) -> Writer {
        let from = out.len();
        jute::put_i32(out, MAGIC);
        jute::put_i32(out, VERSION);
        jute::put_i64(out, -1);
        let mut writer = Writer { adler: Adler32::new() };
        writer.cover(&out[from..]);
        writer
    }

    /// Counts body bytes in; every byte of the file must pass here once, in order.
    pub fn cover(&mut self, bytes: &[u8]) {
        self.adler.write(bytes);
    }

    /// Writes seals and sections behind the body: the tree's digest at `zxid`, and `zxid` itself.
    pub fn finish(mut self, out: &mut Vec<u8>, zxid: Zxid, digest: u64) {
        self.seal(out);
        let from = out.len();
        jute::put_i64(out, zxid.wire());
        jute::put_i32(out, DIGEST_VERSION);
        jute::put_i64(out, digest as i64);
        self.cover(&out[from..]);
        self.seal(out);
        let from = out.len();
        jute::put_i64(out, zxid.wire());
        self.cover(&out[from..]);
        self.seal(out);
    }

    fn seal(&mut self, out: &mut Vec<u8>) {
        let from = out.len();
        jute::put_i64(out, i64::from(self.adler.finish()));
        out.extend_from_slice(&END_MARK);
        self.cover(&out[from..]);
    }
}

/// What stands behind a snapshot's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// The zxid and digest of the tree, when the writer kept digests of version 2. Zxid 0 stands for "none
    /// yet". The original's digest may be of an earlier or later txn than the file's name: see its zxid.
    pub digest: Option<(i64, u64)>,
    /// The last processed zxid, when the writer added it. The original's tree may be ahead of its name, whose zxid is
    /// the one to go on from, and is never behind it.
    pub last_zxid: Option<i64>,
}

/// The running checksum of a snapshot being read.
///
/// Use: `begin` on the header; body bytes through `cover`; `tail` on all the rest.
#[derive(Clone)]
pub struct Verifier {
    adler: Adler32,
}

impl Verifier {
    /// Checks the header: the file's first `HEADER_LEN` bytes.
    pub fn begin(header: &[u8]) -> Result<Verifier, SnapshotError> {
        let mut reader = Reader::new(header);
        if reader.i32()? != MAGIC || reader.i32()? != VERSION {
            return Err(SnapshotError::Header);
        }
        reader.i64()?;
        let mut verifier = Verifier { adler: Adler32::new() };
        verifier.cover(&header[..HEADER_LEN]);
        Ok(verifier)
    }

    /// Counts body bytes in.
    pub fn cover(&mut self, bytes: &[u8]) {
        self.adler.write(bytes);
    }

    /// Checks everything behind the body up to the file's end. The sections may be absent; a seal may not.
    pub fn tail(mut self, bytes: &[u8]) -> Result<Tail, SnapshotError> {
        let mut reader = Reader::new(bytes);
        let mut tail = Tail::default();
        self.seal(&mut reader)?;
        if reader.is_done() {
            return Ok(tail);
        }
        // A writer with digests off may still add the last zxid: 8 bytes and a seal.
        if reader.rest().len() != 8 + SEAL_LEN {
            let (zxid, version, digest) = self.covered(&mut reader, |r| {
                let (zxid, version) = (r.i64()?, r.i32()?);
                // Before version 2 the digest was a hexadecimal string.
                let digest = if version < DIGEST_VERSION {
                    r.string_or_null()?;
                    0
                } else {
                    r.i64()?
                };
                Ok((zxid, version, digest as u64))
            })?;
            tail.digest = (version == DIGEST_VERSION && zxid > 0).then_some((zxid, digest));
            self.seal(&mut reader)?;
        }
        if !reader.is_done() {
            tail.last_zxid = Some(self.covered(&mut reader, |r| r.i64())?);
            self.seal(&mut reader)?;
        }
        reader.finish()?;
        Ok(tail)
    }

    fn covered<'a, T>(
        &mut self,
        reader: &mut Reader<'a>,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let before = reader.rest();
        let from = reader.position();
        let value = read(reader)?;
        self.cover(&before[..reader.position() - from]);
        Ok(value)
    }

    fn seal(&mut self, reader: &mut Reader<'_>) -> Result<(), SnapshotError> {
        let computed = i64::from(self.adler.finish());
        let (found, mark) = self.covered(reader, |r| Ok((r.i64()?, r.string()? == END_PATH)))?;
        if found != computed {
            return Err(SnapshotError::Checksum { found, computed });
        }
        if !mark {
            return Err(SnapshotError::Jute(Error::Value { field: "path", value: 0 }));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::begin(&mut out);
        let from = out.len();
        out.extend_from_slice(b"body");
        writer.cover(&out[from..]);
        writer.finish(&mut out, Zxid(9), 77);
        out
    }

    fn read(file: &[u8]) -> Result<Tail, SnapshotError> {
        let mut verifier = Verifier::begin(&file[..HEADER_LEN])?;
        verifier.cover(&file[HEADER_LEN..HEADER_LEN + 4]);
        verifier.tail(&file[HEADER_LEN + 4..])
    }

    #[test]
    fn a_whole_file_is_verified() {
        let file = file();
        assert!(is_complete(&file[file.len() - 5..]));
        assert_eq!(file.len() - HEADER_LEN - 4, TAIL_MAX);
        assert_eq!(read(&file), Ok(Tail { digest: Some((9, 77)), last_zxid: Some(9) }));
    }

    #[test]
    fn sections_may_be_absent_but_nothing_may_be_cut_or_changed() {
        let file = file();
        let body_end = HEADER_LEN + 4;
        let whole = [body_end + SEAL_LEN, body_end + 2 * SEAL_LEN + 20, file.len()];
        for cut in body_end..=file.len() {
            assert_eq!(read(&file[..cut]).is_ok(), whole.contains(&cut), "cut at {cut}");
        }
        for at in 0..file.len() {
            let mut bad = file.clone();
            bad[at] ^= 1;
            assert!(read(&bad).is_err(), "flipped at {at}");
        }
    }

    #[test]
    fn records_survive() {
        let stat = StoredStat { czxid: 1, mzxid: 2, pzxid: 3, version: 4, ..StoredStat::default() };
        let node = NodeRecord { path: "/a", data: Some(b"x"), acl_id: 5, stat };
        let mut out = Vec::new();
        node.write(&mut out);
        jute::put_string(&mut out, END_PATH);
        let mut reader = Reader::new(&out);
        assert_eq!(NodeRecord::read(&mut reader), Ok(Some(node)));
        assert_eq!(NodeRecord::read(&mut reader), Ok(None));
    }
}
