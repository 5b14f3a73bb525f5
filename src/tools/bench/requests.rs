//! The bytes of every request, made once: a copy gets its xid and its key's digits patched in.

use super::BenchOptions;
use crate::wire::acl::AclList;
use crate::wire::connect::ConnectRequest;
use crate::wire::frame;
use crate::wire::opcode::{OpCode, xid};
use crate::wire::request::{CreateRequest, RequestHeader, SetDataRequest, WatchedRequest};

/// Digits of a key in its path.
const DIGITS: usize = 9;
/// So many keys have that many digits.
pub(super) const KEYS_MAX: u64 = 10u64.pow(DIGITS as u32);
/// Where a frame's xid stands, behind the length.
const XID_AT: usize = 4;

/// The path of a key below `dir`.
pub(super) fn key_path(dir: &str, key: u64) -> String {
    format!("{dir}/{key:0width$}", width = DIGITS)
}

/// Where get and set find their keys.
pub(super) fn keys_dir(root: &str) -> String {
    format!("{root}/keys")
}

/// Where a session's creates go.
pub(super) fn creates_dir(root: &str, connection: usize) -> String {
    format!("{root}/made-{connection:05}")
}

/// One frame around a header and a body.
pub(super) fn framed(out: &mut Vec<u8>, request_xid: i32, op: OpCode, body: impl FnOnce(&mut Vec<u8>)) {
    let open = frame::begin(out);
    RequestHeader { xid: request_xid, op: op.wire() }.encode(out);
    body(out);
    open.end(out);
}

/// A handshake that asks for a new session.
pub(super) fn handshake(timeout_ms: i32) -> Vec<u8> {
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: 0,
        timeout_ms,
        session: 0,
        password: &[0; 16],
        read_only: Some(false),
    };
    let mut out = Vec::new();
    let open = frame::begin(&mut out);
    request.encode(&mut out);
    open.end(&mut out);
    out
}

/// A ping.
pub(super) fn ping(out: &mut Vec<u8>) {
    framed(out, xid::PING, OpCode::Ping, |_| {});
}

/// The end of a session.
pub(super) fn close(out: &mut Vec<u8>, request_xid: i32) {
    framed(out, request_xid, OpCode::CloseSession, |_| {});
}

/// A request with a key left open.
#[derive(Clone, Debug)]
struct Template {
    bytes: Vec<u8>,
    key_at: usize,
}

impl Template {
    fn new(op: OpCode, dir: &str, body: impl FnOnce(&str, &mut Vec<u8>)) -> Template {
        let path = key_path(dir, 0);
        let mut bytes = Vec::new();
        framed(&mut bytes, 0, op, |out| body(&path, out));
        // The path is every request's first field: header and its length stand before it.
        let key_at = XID_AT + 8 + 4 + path.len() - DIGITS;
        Template { bytes, key_at }
    }

    fn put(&self, out: &mut Vec<u8>, request_xid: i32, key: u64) {
        let at = out.len();
        out.extend_from_slice(&self.bytes);
        out[at + XID_AT..at + XID_AT + 4].copy_from_slice(&request_xid.to_be_bytes());
        let digits = &mut out[at + self.key_at..at + self.key_at + DIGITS];
        let mut rest = key;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }
}

/// The templates of a run.
#[derive(Clone, Debug)]
pub(super) struct Templates {
    get: Template,
    set: Template,
    create: Vec<Template>,
}

/// Data that does not compress to nothing.
pub(super) fn value(bytes: usize) -> Vec<u8> {
    let mut prng = crate::prng::Prng::new(bytes as u64);
    (0..bytes).map(|_| prng.next_u64() as u8).collect()
}

impl Templates {
    /// Those of a run below `root`.
    pub(super) fn new(options: &BenchOptions, root: &str) -> Templates {
        let data = value(options.value_bytes);
        let keys = keys_dir(root);
        let create = |connection| {
            let dir = creates_dir(root, connection);
            Template::new(OpCode::Create, &dir, |path, out| {
                let (acl, data) = (AclList::OPEN, Some(&data[..]));
                CreateRequest { path, data, acl, flags: 0, ttl_ms: None }.encode(out);
            })
        };
        let makes = options.mix == super::Mix::Create;
        Templates {
            get: Template::new(OpCode::GetData, &keys, |path, out| {
                WatchedRequest { path, watch: false }.encode(out);
            }),
            set: Template::new(OpCode::SetData, &keys, |path, out| {
                SetDataRequest { path, data: Some(&data), version: -1 }.encode(out);
            }),
            create: if makes { (0..options.connections).map(create).collect() } else { Vec::new() },
        }
    }

    /// Appends a getData.
    pub(super) fn get(&self, out: &mut Vec<u8>, request_xid: i32, key: u64) {
        self.get.put(out, request_xid, key);
    }

    /// Appends a setData.
    pub(super) fn set(&self, out: &mut Vec<u8>, request_xid: i32, key: u64) {
        self.set.put(out, request_xid, key);
    }

    /// Appends a create below the connection's own directory.
    pub(super) fn create(&self, out: &mut Vec<u8>, request_xid: i32, connection: usize, key: u64) {
        self.create[connection].put(out, request_xid, key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::bench::Mix;

    #[test]
    fn patched_requests_are_what_their_codecs_read() {
        let options = BenchOptions { mix: Mix::Create, connections: 2, value_bytes: 3, ..Default::default() };
        let templates = Templates::new(&options, "/bench");
        let mut out = Vec::new();
        templates.set(&mut out, 7, 42);
        templates.get(&mut out, 8, KEYS_MAX - 1);
        templates.create(&mut out, 9, 1, 123_456);
        let mut at = 0;
        let mut next = || {
            let (payload, used) = frame::next(&out[at..], 1000).unwrap();
            at += used;
            RequestHeader::split(payload).unwrap()
        };
        let (header, body) = next();
        assert_eq!((header.xid, header.op), (7, OpCode::SetData.wire()));
        let set = SetDataRequest::decode(body).unwrap();
        assert_eq!((set.path, set.data.unwrap().len()), ("/bench/keys/000000042", 3));
        let (header, body) = next();
        assert_eq!((header.xid, header.op), (8, OpCode::GetData.wire()));
        assert_eq!(WatchedRequest::decode(body).unwrap().path, "/bench/keys/999999999");
        let (header, body) = next();
        assert_eq!((header.xid, header.op), (9, OpCode::Create.wire()));
        let create = CreateRequest::decode(OpCode::Create, body).unwrap();
        assert_eq!(create.path, "/bench/made-00001/000123456");
        assert_eq!(create.acl, AclList::OPEN);
    }
}
