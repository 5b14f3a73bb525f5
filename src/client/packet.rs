//! The few packets a client sends and reads, on `jute`.

use super::error::ClientError;
use crate::jute::{self, Error, Reader};

pub(super) const OP_CREATE: i32 = 1;
pub(super) const OP_DELETE: i32 = 2;
pub(super) const OP_EXISTS: i32 = 3;
pub(super) const OP_GET_DATA: i32 = 4;
pub(super) const OP_SET_DATA: i32 = 5;
pub(super) const OP_GET_CHILDREN: i32 = 8;
pub(super) const OP_SYNC: i32 = 9;
pub(super) const OP_PING: i32 = 11;
pub(super) const OP_CLOSE: i32 = -11;
pub(super) const XID_PING: i32 = -2;
pub(super) const XID_EVENT: i32 = -1;

/// Kinds of znodes a client creates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateMode {
    /// Stays.
    Persistent = 0,
    /// Goes with the session.
    Ephemeral = 1,
    /// Stays, with a counter behind its name.
    PersistentSequential = 2,
    /// Goes with the session, with a counter behind its name.
    EphemeralSequential = 3,
}

/// A znode's metadata.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// The txn that created it.
    pub czxid: i64,
    /// The txn that changed its data last.
    pub mzxid: i64,
    /// Data version.
    pub version: i32,
    /// The session that owns it, if it is ephemeral.
    pub ephemeral_owner: i64,
    /// Length of its data.
    pub data_length: i32,
    /// Number of its children.
    pub num_children: i32,
}

impl Stat {
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Stat, Error> {
        let czxid = reader.i64()?;
        let mzxid = reader.i64()?;
        let _ctime = reader.i64()?;
        let _mtime = reader.i64()?;
        let version = reader.i32()?;
        let _cversion = reader.i32()?;
        let _aversion = reader.i32()?;
        let ephemeral_owner = reader.i64()?;
        let data_length = reader.i32()?;
        let num_children = reader.i32()?;
        let _pzxid = reader.i64()?;
        Ok(Stat { czxid, mzxid, version, ephemeral_owner, data_length, num_children })
    }
}

/// What opens or re-attaches a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) session: i64,
    pub(super) password: Vec<u8>,
    pub(super) last_zxid: i64,
}

/// A frame: length, then what `body` writes.
pub(super) fn frame(body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![0; 4];
    body(&mut out);
    let length = (out.len() - 4) as i32;
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}

pub(super) fn connect(identity: &Identity, timeout_ms: i32) -> Vec<u8> {
    frame(|out| {
        jute::put_i32(out, 0);
        jute::put_i64(out, identity.last_zxid);
        jute::put_i32(out, timeout_ms);
        jute::put_i64(out, identity.session);
        if identity.password.is_empty() {
            jute::put_buffer(out, &[0; 16]);
        } else {
            jute::put_buffer(out, &identity.password);
        }
        jute::put_bool(out, false);
    })
}

/// A server's answer to `connect`: granted timeout and the session.
pub(super) struct Connected {
    pub(super) timeout_ms: i32,
    pub(super) session: i64,
    pub(super) password: Vec<u8>,
}

pub(super) fn decode_connected(bytes: &[u8]) -> Result<Connected, Error> {
    let mut reader = Reader::new(bytes);
    let _protocol = reader.i32()?;
    let timeout_ms = reader.i32()?;
    let session = reader.i64()?;
    let password = reader.buffer()?.unwrap_or_default().to_vec();
    Ok(Connected { timeout_ms, session, password })
}

/// A reply's header.
pub(super) struct ReplyHeader {
    pub(super) xid: i32,
    pub(super) zxid: i64,
    pub(super) code: i32,
}

pub(super) fn decode_header(reader: &mut Reader<'_>) -> Result<ReplyHeader, Error> {
    Ok(ReplyHeader { xid: reader.i32()?, zxid: reader.i64()?, code: reader.i32()? })
}

/// A request's body behind xid and opcode.
pub(super) fn create_body(path: &str, data: &[u8], mode: CreateMode) -> Vec<u8> {
    const ALL: i32 = 31;
    let mut out = Vec::new();
    jute::put_string(&mut out, path);
    jute::put_buffer(&mut out, data);
    jute::put_vec_len(&mut out, 1);
    jute::put_i32(&mut out, ALL);
    jute::put_string(&mut out, "world");
    jute::put_string(&mut out, "anyone");
    jute::put_i32(&mut out, mode as i32);
    out
}

pub(super) fn path_body(path: &str) -> Vec<u8> {
    let mut out = Vec::new();
    jute::put_string(&mut out, path);
    out
}

pub(super) fn path_watch_body(path: &str) -> Vec<u8> {
    let mut out = path_body(path);
    jute::put_bool(&mut out, false);
    out
}

pub(super) fn path_version_body(path: &str, version: i32) -> Vec<u8> {
    let mut out = path_body(path);
    jute::put_i32(&mut out, version);
    out
}

pub(super) fn set_body(path: &str, data: &[u8], version: i32) -> Vec<u8> {
    let mut out = path_body(path);
    jute::put_buffer(&mut out, data);
    jute::put_i32(&mut out, version);
    out
}

impl From<Error> for ClientError {
    fn from(error: Error) -> ClientError {
        ClientError::Malformed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_request_has_the_original_s_length() {
        let bytes = connect(&Identity::default(), 4000);
        assert_eq!(bytes.len(), 4 + 45);
        assert_eq!(bytes[..4], 45i32.to_be_bytes());
    }
}
