//! What a server sends: reply headers, stats, watch events.
//!
//! Everything is appended to a connection's buffer; `ReplyFrame` reserves length and header and patches
//! them when the body is there. Deliberately absent: which body answers what (`pipeline::reply`).

use super::errcode::ErrorCode;
use super::frame;
use super::opcode::xid;
use crate::jute::{self, Error, Reader};

/// The bytes of a reply header.
pub const REPLY_HEADER_LEN: usize = 16;

/// The header of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHeader {
    /// The request's, or one of `xid`.
    pub xid: i32,
    /// The server's last applied zxid; 0 for answers to `addauth`.
    pub zxid: i64,
    /// What went wrong.
    pub err: ErrorCode,
}

impl ReplyHeader {
    /// Reads it off the front of a payload.
    pub fn read(reader: &mut Reader<'_>) -> Result<ReplyHeader, Error> {
        Ok(ReplyHeader { xid: reader.i32()?, zxid: reader.i64()?, err: ErrorCode(reader.i32()?) })
    }

    /// Writes it.
    pub fn write(&self, out: &mut Vec<u8>) {
        jute::put_i32(out, self.xid);
        jute::put_i64(out, self.zxid);
        jute::put_i32(out, self.err.0);
    }
}

/// A reply under construction: its length and header are reserved.
#[derive(Debug)]
#[must_use = "a reply that is not ended has no length"]
pub struct ReplyFrame {
    open: frame::Open,
    xid: i32,
}

impl ReplyFrame {
    /// Reserves a reply behind `out`; the body is appended next.
    pub fn begin(out: &mut Vec<u8>, xid: i32) -> ReplyFrame {
        let open = frame::begin(out);
        out.extend_from_slice(&[0; REPLY_HEADER_LEN]);
        ReplyFrame { open, xid }
    }

    /// Ends it. With an error, whatever was appended as body is dropped; a body whose length no int can
    /// say becomes an error.
    pub fn end(self, out: &mut Vec<u8>, zxid: i64, err: ErrorCode) {
        let at = self.open.payload_at();
        let too_long = out.len() - at > i32::MAX as usize;
        let err = if too_long { ErrorCode::MARSHALLINGERROR } else { err };
        if !err.is_ok() {
            out.truncate(at + REPLY_HEADER_LEN);
        }
        out[at..at + 4].copy_from_slice(&self.xid.to_be_bytes());
        out[at + 4..at + 12].copy_from_slice(&zxid.to_be_bytes());
        out[at + 12..at + 16].copy_from_slice(&err.0.to_be_bytes());
        self.open.end(out);
    }
}

/// Writes a reply without a body as one frame.
pub fn put_header_only(out: &mut Vec<u8>, header: ReplyHeader) {
    jute::put_i32(out, REPLY_HEADER_LEN as i32);
    header.write(out);
}

/// A znode's stat as clients see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
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
    /// Counts changes of children: twice the births minus those alive.
    pub cversion: i32,
    /// Counts changes of the ACL.
    pub aversion: i32,
    /// The session that owns it; 0 for everything that is not an ephemeral.
    pub ephemeral_owner: i64,
    /// Bytes of data; 0 for null.
    pub data_length: i32,
    /// Its children.
    pub num_children: i32,
    /// The txn that last made or removed a child.
    pub pzxid: i64,
}

impl Stat {
    /// The bytes of a stat.
    pub const LEN: usize = 68;

    /// Reads it.
    pub fn read(reader: &mut Reader<'_>) -> Result<Stat, Error> {
        Ok(Stat {
            czxid: reader.i64()?,
            mzxid: reader.i64()?,
            ctime: reader.i64()?,
            mtime: reader.i64()?,
            version: reader.i32()?,
            cversion: reader.i32()?,
            aversion: reader.i32()?,
            ephemeral_owner: reader.i64()?,
            data_length: reader.i32()?,
            num_children: reader.i32()?,
            pzxid: reader.i64()?,
        })
    }

    /// Writes it.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut raw = [0; Stat::LEN];
        raw[0..8].copy_from_slice(&self.czxid.to_be_bytes());
        raw[8..16].copy_from_slice(&self.mzxid.to_be_bytes());
        raw[16..24].copy_from_slice(&self.ctime.to_be_bytes());
        raw[24..32].copy_from_slice(&self.mtime.to_be_bytes());
        raw[32..36].copy_from_slice(&self.version.to_be_bytes());
        raw[36..40].copy_from_slice(&self.cversion.to_be_bytes());
        raw[40..44].copy_from_slice(&self.aversion.to_be_bytes());
        raw[44..52].copy_from_slice(&self.ephemeral_owner.to_be_bytes());
        raw[52..56].copy_from_slice(&self.data_length.to_be_bytes());
        raw[56..60].copy_from_slice(&self.num_children.to_be_bytes());
        raw[60..68].copy_from_slice(&self.pzxid.to_be_bytes());
        out.extend_from_slice(&raw);
    }
}

/// What happened to a watched znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum EventKind {
    /// It was made.
    Created = 1,
    /// It was removed.
    Deleted = 2,
    /// Its data was set.
    DataChanged = 3,
    /// A child was made or removed.
    ChildrenChanged = 4,
}

impl EventKind {
    /// The kind of a number on the wire.
    pub fn from_wire(number: i32) -> Option<EventKind> {
        match number {
            1 => Some(EventKind::Created),
            2 => Some(EventKind::Deleted),
            3 => Some(EventKind::DataChanged),
            4 => Some(EventKind::ChildrenChanged),
            _ => None,
        }
    }
}

/// The keeper state in every event of a znode: SyncConnected.
pub const STATE_CONNECTED: i32 = 3;

/// A watch event's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatcherEvent<'a> {
    /// An `EventKind` as its number, or one that only clients make.
    pub kind: i32,
    /// The keeper state.
    pub state: i32,
    /// The znode.
    pub path: &'a str,
}

impl<'a> WatcherEvent<'a> {
    /// Reads it behind its reply header.
    pub fn read(reader: &mut Reader<'a>) -> Result<WatcherEvent<'a>, Error> {
        Ok(WatcherEvent { kind: reader.i32()?, state: reader.i32()?, path: reader.string()? })
    }
}

/// Writes a watch event as one frame. `zxid` is that of the txn which caused it (since 3.9.0,
/// ZOOKEEPER-4655), or -1 for an event made by setWatches.
pub fn put_event(out: &mut Vec<u8>, kind: EventKind, path: &str, zxid: i64) {
    let open = frame::begin(out);
    ReplyHeader { xid: xid::NOTIFICATION, zxid, err: ErrorCode::OK }.write(out);
    jute::put_i32(out, kind as i32);
    jute::put_i32(out, STATE_CONNECTED);
    jute::put_string(out, path);
    open.end(out);
}

/// Writes the header of one result in a multi's reply.
pub fn put_multi_header(out: &mut Vec<u8>, kind: i32, done: bool, err: ErrorCode) {
    jute::put_i32(out, kind);
    jute::put_bool(out, done);
    jute::put_i32(out, err.0);
}

/// Writes what ends a multi's results.
pub fn put_multi_end(out: &mut Vec<u8>) {
    put_multi_header(out, -1, true, ErrorCode(-1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_patched_and_an_error_drops_the_body() {
        let mut out = Vec::new();
        let reply = ReplyFrame::begin(&mut out, 9);
        jute::put_string(&mut out, "/a");
        reply.end(&mut out, 77, ErrorCode::OK);
        let reply = ReplyFrame::begin(&mut out, 10);
        jute::put_string(&mut out, "/b");
        reply.end(&mut out, 78, ErrorCode::NONODE);

        let (first, used) = frame::next(&out, 100).unwrap();
        let mut reader = Reader::new(first);
        let header = ReplyHeader::read(&mut reader).unwrap();
        assert_eq!(header, ReplyHeader { xid: 9, zxid: 77, err: ErrorCode::OK });
        assert_eq!(reader.string(), Ok("/a"));
        let (second, _) = frame::next(&out[used..], 100).unwrap();
        assert_eq!(second.len(), REPLY_HEADER_LEN);
    }

    #[test]
    fn stat_and_event_survive() {
        let stat = Stat { czxid: 1, pzxid: 2, num_children: 3, cversion: -4, ..Stat::default() };
        let mut out = Vec::new();
        stat.write(&mut out);
        assert_eq!(Stat::read(&mut Reader::new(&out)), Ok(stat));

        let mut out = Vec::new();
        put_event(&mut out, EventKind::Deleted, "/x", 5);
        let mut reader = Reader::new(&out[4..]);
        assert_eq!(ReplyHeader::read(&mut reader).unwrap().xid, -1);
        let event = WatcherEvent::read(&mut reader).unwrap();
        assert_eq!((EventKind::from_wire(event.kind), event.path), (Some(EventKind::Deleted), "/x"));
    }
}
