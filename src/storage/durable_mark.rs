//! `zkctl.durable`: how far the log was known to be on disk, so that a torn tail can be told from
//! corruption. A name that Apache ignores; void when Apache wrote the log since.

use crate::jute::{self, Reader};
use crate::zxid::Zxid;

/// The first bytes of the file.
const MAGIC: &[u8; 8] = b"zkctldm1";

/// A point in the log behind which nothing was known to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurableMark {
    /// The segment `log.<first>`.
    pub segment: Zxid,
    /// The offset behind its last durable record.
    pub offset: u64,
    /// That record's checksum; 0 when the segment has none yet.
    pub checksum: u64,
}

impl DurableMark {
    /// Its bytes, with a checksum of their own.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        jute::put_i64(&mut out, self.segment.wire());
        jute::put_i64(&mut out, self.offset as i64);
        jute::put_i64(&mut out, self.checksum as i64);
        let sum = crc32fast::hash(&out);
        jute::put_i64(&mut out, sum.into());
        out
    }

    /// Reads it; `None` when it is not whole, which voids it.
    pub fn decode(bytes: &[u8]) -> Option<DurableMark> {
        let mut reader = Reader::new(bytes);
        if reader.take(MAGIC.len()).ok()? != MAGIC {
            return None;
        }
        let segment = Zxid::from_wire(reader.i64().ok()?)?;
        let offset = u64::try_from(reader.i64().ok()?).ok()?;
        let checksum = reader.i64().ok()? as u64;
        let sum = crc32fast::hash(&bytes[..reader.position()]);
        (reader.i64().ok()? == i64::from(sum)).then_some(DurableMark { segment, offset, checksum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_mark_is_void() {
        let mark = DurableMark { segment: Zxid(1), offset: 99, checksum: 7 };
        let bytes = mark.encode();
        assert_eq!(DurableMark::decode(&bytes), Some(mark));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(DurableMark::decode(&damaged), None, "flip at {at}");
        }
        assert_eq!(DurableMark::decode(&bytes[..20]), None);
    }
}
