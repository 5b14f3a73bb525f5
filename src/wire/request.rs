//! Client requests: the header, and one borrowed record per operation.
//!
//! Each record has `decode`, which reads its body (the payload behind the header), and `encode`, which
//! clients use. Bytes behind a record are ignored, as in the original. Deliberately absent: checks of
//! paths, flags and versions (`pipeline`).

use super::acl::AclList;
use super::errcode::ErrorCode;
use super::opcode::OpCode;
use crate::jute::{self, Error, Reader, Strings};

/// What precedes every request but the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// The client's counter, or one of `opcode::xid`.
    pub xid: i32,
    /// The operation's number; `OpCode::from_wire` knows the legal ones.
    pub op: i32,
}

impl RequestHeader {
    /// Splits a frame's payload into header and body.
    pub fn split(payload: &[u8]) -> Result<(RequestHeader, &[u8]), Error> {
        let mut reader = Reader::new(payload);
        let header = RequestHeader { xid: reader.i32()?, op: reader.i32()? };
        Ok((header, reader.rest()))
    }

    /// Writes it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        jute::put_i32(out, self.xid);
        jute::put_i32(out, self.op);
    }
}

/// create, create2, createContainer and createTTL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateRequest<'a> {
    /// Where.
    pub path: &'a str,
    /// The data; may be null.
    pub data: Option<&'a [u8]>,
    /// The ACL; null and empty are refused later.
    pub acl: AclList<'a>,
    /// The create mode's number.
    pub flags: i32,
    /// Of createTTL only: the time to live in milliseconds.
    pub ttl_ms: Option<i64>,
}

impl<'a> CreateRequest<'a> {
    fn read(reader: &mut Reader<'a>, with_ttl: bool) -> Result<CreateRequest<'a>, Error> {
        Ok(CreateRequest {
            path: reader.string()?,
            data: reader.buffer()?,
            acl: AclList::read(reader)?,
            flags: reader.i32()?,
            ttl_ms: if with_ttl { Some(reader.i64()?) } else { None },
        })
    }

    /// Reads a body of `op`.
    pub fn decode(op: OpCode, body: &'a [u8]) -> Result<CreateRequest<'a>, Error> {
        CreateRequest::read(&mut Reader::new(body), op == OpCode::CreateTtl)
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        jute::put_string(out, self.path);
        jute::put_buffer_or_null(out, self.data);
        out.extend_from_slice(self.acl.raw());
        jute::put_i32(out, self.flags);
        if let Some(ttl_ms) = self.ttl_ms {
            jute::put_i64(out, ttl_ms);
        }
    }
}

/// A path and an int: delete and check (expected version, -1 for any), addWatch (mode), checkWatches and
/// removeWatches (watcher type).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathIntRequest<'a> {
    /// The znode.
    pub path: &'a str,
    /// The number.
    pub value: i32,
}

impl<'a> PathIntRequest<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<PathIntRequest<'a>, Error> {
        Ok(PathIntRequest { path: reader.string()?, value: reader.i32()? })
    }

    /// Reads a body.
    pub fn decode(body: &'a [u8]) -> Result<PathIntRequest<'a>, Error> {
        PathIntRequest::read(&mut Reader::new(body))
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        jute::put_string(out, self.path);
        jute::put_i32(out, self.value);
    }
}

/// exists, getData, getChildren and getChildren2: a path, and whether to watch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchedRequest<'a> {
    /// The znode.
    pub path: &'a str,
    /// Whether a watch is left behind.
    pub watch: bool,
}

impl<'a> WatchedRequest<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<WatchedRequest<'a>, Error> {
        Ok(WatchedRequest { path: reader.string()?, watch: reader.bool()? })
    }

    /// Reads a body.
    pub fn decode(body: &'a [u8]) -> Result<WatchedRequest<'a>, Error> {
        WatchedRequest::read(&mut Reader::new(body))
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        jute::put_string(out, self.path);
        jute::put_bool(out, self.watch);
    }
}

/// A path alone: getACL, sync, getAllChildrenNumber; getEphemerals' prefix, which may be null.
pub fn decode_path_or_null(body: &[u8]) -> Result<Option<&str>, Error> {
    Reader::new(body).string_or_null()
}

/// A path alone, null refused.
pub fn decode_path(body: &[u8]) -> Result<&str, Error> {
    Reader::new(body).string()
}

/// setData.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetDataRequest<'a> {
    /// The znode.
    pub path: &'a str,
    /// The new data; may be null.
    pub data: Option<&'a [u8]>,
    /// The expected version; -1 for any.
    pub version: i32,
}

impl<'a> SetDataRequest<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<SetDataRequest<'a>, Error> {
        Ok(SetDataRequest { path: reader.string()?, data: reader.buffer()?, version: reader.i32()? })
    }

    /// Reads a body.
    pub fn decode(body: &'a [u8]) -> Result<SetDataRequest<'a>, Error> {
        SetDataRequest::read(&mut Reader::new(body))
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        jute::put_string(out, self.path);
        jute::put_buffer_or_null(out, self.data);
        jute::put_i32(out, self.version);
    }
}

/// setACL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetAclRequest<'a> {
    /// The znode.
    pub path: &'a str,
    /// The new ACL.
    pub acl: AclList<'a>,
    /// The expected ACL version; -1 for any.
    pub version: i32,
}

impl<'a> SetAclRequest<'a> {
    /// Reads a body.
    pub fn decode(body: &'a [u8]) -> Result<SetAclRequest<'a>, Error> {
        let mut reader = Reader::new(body);
        Ok(SetAclRequest { path: reader.string()?, acl: AclList::read(&mut reader)?, version: reader.i32()? })
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        jute::put_string(out, self.path);
        out.extend_from_slice(self.acl.raw());
        jute::put_i32(out, self.version);
    }
}

/// reconfig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReconfigRequest<'a> {
    /// Servers to add, `server.N=...` divided by commas.
    pub joining: Option<&'a str>,
    /// Ids to remove, divided by commas.
    pub leaving: Option<&'a str>,
    /// The whole new list; excludes the other two.
    pub members: Option<&'a str>,
    /// The configuration version it builds on; -1 for any.
    pub from_version: i64,
}

impl<'a> ReconfigRequest<'a> {
    /// Reads a body.
    pub fn decode(body: &'a [u8]) -> Result<ReconfigRequest<'a>, Error> {
        let mut reader = Reader::new(body);
        Ok(ReconfigRequest {
            joining: reader.string_or_null()?,
            leaving: reader.string_or_null()?,
            members: reader.string_or_null()?,
            from_version: reader.i64()?,
        })
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for text in [self.joining, self.leaving, self.members] {
            jute::put_buffer_or_null(out, text.map(str::as_bytes));
        }
        jute::put_i64(out, self.from_version);
    }
}

/// auth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthPacket<'a> {
    /// `digest`, `ip` and so on.
    pub scheme: &'a str,
    /// What the scheme asks for.
    pub auth: &'a [u8],
}

impl<'a> AuthPacket<'a> {
    /// Reads a body.
    pub fn decode(body: &'a [u8]) -> Result<AuthPacket<'a>, Error> {
        let mut reader = Reader::new(body);
        reader.i32()?;
        Ok(AuthPacket { scheme: reader.string()?, auth: reader.buffer()?.unwrap_or_default() })
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        jute::put_i32(out, 0);
        jute::put_string(out, self.scheme);
        jute::put_buffer(out, self.auth);
    }
}

/// setWatches and setWatches2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetWatches<'a> {
    /// The newest zxid the client had seen when it lost its connection.
    pub relative_zxid: i64,
    /// Watches left by getData, and by exists on what was there.
    pub data: Strings<'a>,
    /// Watches left by exists on what was not there.
    pub exist: Strings<'a>,
    /// Watches left by getChildren.
    pub child: Strings<'a>,
    /// Persistent ones; empty in setWatches.
    pub persistent: Strings<'a>,
    /// Persistent recursive ones; empty in setWatches.
    pub recursive: Strings<'a>,
}

impl<'a> SetWatches<'a> {
    /// Reads a body of `op`, one of the two.
    pub fn decode(op: OpCode, body: &'a [u8]) -> Result<SetWatches<'a>, Error> {
        let mut reader = Reader::new(body);
        let mut watches = SetWatches {
            relative_zxid: reader.i64()?,
            data: reader.strings()?,
            exist: reader.strings()?,
            child: reader.strings()?,
            ..SetWatches::default()
        };
        if op == OpCode::SetWatches2 {
            watches.persistent = reader.strings()?;
            watches.recursive = reader.strings()?;
        }
        Ok(watches)
    }
}

/// createSession's body as a learner forwards it.
pub fn decode_create_session(body: &[u8]) -> Result<i32, Error> {
    Reader::new(body).i32()
}

/// One operation of a multi or a multiRead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MultiOp<'a> {
    /// create, create2, createContainer or createTTL.
    Create(OpCode, CreateRequest<'a>),
    /// delete.
    Delete(PathIntRequest<'a>),
    /// setData.
    SetData(SetDataRequest<'a>),
    /// check.
    Check(PathIntRequest<'a>),
    /// getData.
    GetData(WatchedRequest<'a>),
    /// getChildren.
    GetChildren(WatchedRequest<'a>),
}

impl MultiOp<'_> {
    /// Its operation.
    pub fn op(&self) -> OpCode {
        match self {
            MultiOp::Create(op, _) => *op,
            MultiOp::Delete(_) => OpCode::Delete,
            MultiOp::SetData(_) => OpCode::SetData,
            MultiOp::Check(_) => OpCode::Check,
            MultiOp::GetData(_) => OpCode::GetData,
            MultiOp::GetChildren(_) => OpCode::GetChildren,
        }
    }

    /// Whether it only reads.
    pub fn is_read(&self) -> bool {
        matches!(self, MultiOp::GetData(_) | MultiOp::GetChildren(_))
    }

    /// Writes it with its header.
    pub fn encode(&self, out: &mut Vec<u8>) {
        super::reply::put_multi_header(out, self.op().wire(), false, ErrorCode(-1));
        match self {
            MultiOp::Create(_, request) => request.encode(out),
            MultiOp::Delete(request) | MultiOp::Check(request) => request.encode(out),
            MultiOp::SetData(request) => request.encode(out),
            MultiOp::GetData(request) | MultiOp::GetChildren(request) => request.encode(out),
        }
    }
}

/// The operations of a multi or multiRead, read one by one. Yields an error once and then ends, when an
/// operation is none that may stand here, when reads and writes are mixed, or when bytes are missing.
#[derive(Clone, Debug)]
pub struct MultiOps<'a> {
    reader: Reader<'a>,
    reads: Option<bool>,
    ended: bool,
}

impl<'a> MultiOps<'a> {
    /// The operations of a body.
    pub fn new(body: &'a [u8]) -> MultiOps<'a> {
        MultiOps { reader: Reader::new(body), reads: None, ended: false }
    }

    fn step(&mut self) -> Result<Option<MultiOp<'a>>, Error> {
        let reader = &mut self.reader;
        let number = reader.i32()?;
        let done = reader.bool()?;
        reader.i32()?;
        if done {
            return Ok(None);
        }
        let unknown = Error::Value { field: "type", value: number.into() };
        let op = match OpCode::from_wire(number) {
            Some(op @ (OpCode::Create | OpCode::Create2 | OpCode::CreateContainer)) => {
                MultiOp::Create(op, CreateRequest::read(reader, false)?)
            }
            Some(op @ OpCode::CreateTtl) => MultiOp::Create(op, CreateRequest::read(reader, true)?),
            Some(OpCode::Delete) => MultiOp::Delete(PathIntRequest::read(reader)?),
            Some(OpCode::SetData) => MultiOp::SetData(SetDataRequest::read(reader)?),
            Some(OpCode::Check) => MultiOp::Check(PathIntRequest::read(reader)?),
            Some(OpCode::GetData) => MultiOp::GetData(WatchedRequest::read(reader)?),
            Some(OpCode::GetChildren) => MultiOp::GetChildren(WatchedRequest::read(reader)?),
            _ => return Err(unknown),
        };
        if let MultiOp::Create(_, request) = &op
            && !(0..=6).contains(&request.flags)
        {
            return Err(Error::Value { field: "flags", value: request.flags.into() });
        }
        if *self.reads.get_or_insert(op.is_read()) != op.is_read() {
            return Err(unknown);
        }
        Ok(Some(op))
    }
}

impl<'a> Iterator for MultiOps<'a> {
    type Item = Result<MultiOp<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let step = self.step();
        self.ended = !matches!(step, Ok(Some(_)));
        step.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive() {
        let create = CreateRequest { path: "/a", data: None, acl: AclList::OPEN, flags: 3, ttl_ms: None };
        let mut bytes = Vec::new();
        create.encode(&mut bytes);
        assert_eq!(CreateRequest::decode(OpCode::Create, &bytes), Ok(create));
        assert!(CreateRequest::decode(OpCode::CreateTtl, &bytes).is_err());

        let set = SetDataRequest { path: "/a", data: Some(b"x"), version: -1 };
        let mut bytes = Vec::new();
        set.encode(&mut bytes);
        assert_eq!(SetDataRequest::decode(&bytes), Ok(set));
        for cut in 0..bytes.len() {
            assert!(SetDataRequest::decode(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn a_multi_is_read_op_by_op_and_kinds_do_not_mix() {
        let check = MultiOp::Check(PathIntRequest { path: "/a", value: 3 });
        let delete = MultiOp::Delete(PathIntRequest { path: "/a", value: -1 });
        let read = MultiOp::GetData(WatchedRequest { path: "/a", watch: false });
        let mut bytes = Vec::new();
        check.encode(&mut bytes);
        delete.encode(&mut bytes);
        let mut mixed = bytes.clone();
        crate::wire::reply::put_multi_end(&mut bytes);
        let ops: Result<Vec<_>, _> = MultiOps::new(&bytes).collect();
        assert_eq!(ops, Ok(vec![check, delete]));

        read.encode(&mut mixed);
        crate::wire::reply::put_multi_end(&mut mixed);
        assert!(MultiOps::new(&mixed).last().unwrap().is_err());
        assert!(MultiOps::new(&bytes[..20]).last().unwrap().is_err());
    }

    #[test]
    fn watches_of_both_ages() {
        let mut bytes = Vec::new();
        jute::put_i64(&mut bytes, 7);
        jute::put_strings(&mut bytes, ["/a", "/b"].into_iter());
        jute::put_null(&mut bytes);
        jute::put_strings(&mut bytes, std::iter::empty());
        let watches = SetWatches::decode(OpCode::SetWatches, &bytes).unwrap();
        assert_eq!((watches.relative_zxid, watches.data.len(), watches.exist.len()), (7, 2, 0));
        assert!(SetWatches::decode(OpCode::SetWatches2, &bytes).is_err());
    }
}
