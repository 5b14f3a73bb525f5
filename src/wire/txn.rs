//! Txns: the header, the change, and the tree's digest behind it, as they stand in logs, proposals and
//! INFORMs.
//!
//! Decoding borrows. It tolerates what older servers wrote: no digest, a closeSession without paths, a
//! create without the parent's version. Deliberately absent: what a txn does (`tree`), and framing of
//! log records (`format::txn_log`).

use super::acl::AclList;
use super::errcode::ErrorCode;
use super::opcode::OpCode;
use crate::ids::SessionId;
use crate::jute::{self, Error, Reader, Strings};
use crate::zxid::Zxid;

/// The version of digest that is kept here and by Apache since 3.7.
pub const DIGEST_VERSION: i32 = 2;

/// What every txn begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxnHeader {
    /// The session it was done for; of an ephemeral, its owner.
    pub session: SessionId,
    /// The client's xid.
    pub cxid: i32,
    /// Its place in the history.
    pub zxid: Zxid,
    /// The leader's wall clock in milliseconds.
    pub time: i64,
    /// What it does; decides how the rest is read.
    pub op: OpCode,
}

impl TxnHeader {
    /// The bytes of a header.
    pub const LEN: usize = 32;

    /// Reads it. A negative zxid and an unknown type are refused.
    pub fn read(reader: &mut Reader<'_>) -> Result<TxnHeader, Error> {
        let session = SessionId(reader.i64()?);
        let cxid = reader.i32()?;
        let zxid = reader.i64()?;
        let time = reader.i64()?;
        let op = reader.i32()?;
        Ok(TxnHeader {
            session,
            cxid,
            zxid: Zxid::from_wire(zxid).ok_or(Error::Value { field: "zxid", value: zxid })?,
            time,
            op: OpCode::from_wire(op).ok_or(Error::Value { field: "type", value: op.into() })?,
        })
    }

    /// Writes it.
    pub fn write(&self, out: &mut Vec<u8>) {
        jute::put_i64(out, self.session.0);
        jute::put_i32(out, self.cxid);
        jute::put_i64(out, self.zxid.wire());
        jute::put_i64(out, self.time);
        jute::put_i32(out, self.op.wire());
    }
}

/// The whole tree's digest behind a txn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxnDigest {
    /// How it was computed; only `DIGEST_VERSION` can be compared.
    pub version: i32,
    /// The sum over all znodes.
    pub tree: u64,
}

impl TxnDigest {
    /// A digest of the current version.
    pub fn new(tree: u64) -> TxnDigest {
        TxnDigest { version: DIGEST_VERSION, tree }
    }

    /// Writes it.
    pub fn write(&self, out: &mut Vec<u8>) {
        jute::put_i32(out, self.version);
        jute::put_i64(out, self.tree as i64);
    }
}

/// What kind of znode a create makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateKind {
    /// create and create2: persistent, or owned by the header's session.
    Plain {
        /// Whether the session owns it.
        ephemeral: bool,
    },
    /// createContainer.
    Container,
    /// createTTL.
    Ttl {
        /// The time to live.
        ms: i64,
    },
}

/// A create of any kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateTxn<'a> {
    /// The final path.
    pub path: &'a str,
    /// The data; may be null.
    pub data: Option<&'a [u8]>,
    /// The ACL, already fixed up.
    pub acl: AclList<'a>,
    /// Its kind.
    pub kind: CreateKind,
    /// The parent's stored cversion after it; -1 means "one more" and stands for a create by a 3.3 server.
    pub parent_cversion: i32,
}

/// A decoded change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Txn<'a> {
    /// create, create2, createContainer, createTTL.
    Create(CreateTxn<'a>),
    /// delete, deleteContainer.
    Delete {
        /// The znode.
        path: &'a str,
    },
    /// setData, reconfig.
    SetData {
        /// The znode.
        path: &'a str,
        /// Its new data.
        data: Option<&'a [u8]>,
        /// Its new version.
        version: i32,
    },
    /// setACL.
    SetAcl {
        /// The znode.
        path: &'a str,
        /// Its new ACL.
        acl: AclList<'a>,
        /// Its new ACL version.
        version: i32,
    },
    /// check; inside a multi only.
    Check {
        /// The znode.
        path: &'a str,
        /// Its version plus one, as the original writes it.
        version: i32,
    },
    /// multi.
    Multi(MultiTxn<'a>),
    /// createSession.
    CreateSession {
        /// The session's timeout in milliseconds.
        timeout_ms: i32,
    },
    /// closeSession; `None` when its writer did not list the ephemerals.
    CloseSession {
        /// The ephemerals to remove.
        paths: Option<Strings<'a>>,
    },
    /// A request that failed: it changes nothing but takes its zxid.
    Error {
        /// Why.
        err: ErrorCode,
    },
}

impl<'a> Txn<'a> {
    fn read(op: OpCode, reader: &mut Reader<'a>) -> Result<Txn<'a>, Error> {
        Ok(match op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                Txn::Create(read_create(op, reader)?)
            }
            OpCode::Delete | OpCode::DeleteContainer => Txn::Delete { path: reader.string()? },
            OpCode::SetData | OpCode::Reconfig => {
                Txn::SetData { path: reader.string()?, data: reader.buffer()?, version: reader.i32()? }
            }
            OpCode::SetAcl => {
                Txn::SetAcl { path: reader.string()?, acl: AclList::read(reader)?, version: reader.i32()? }
            }
            OpCode::Check => Txn::Check { path: reader.string()?, version: reader.i32()? },
            OpCode::Multi => Txn::Multi(MultiTxn::read(reader)?),
            OpCode::CreateSession => Txn::CreateSession { timeout_ms: reader.i32()? },
            OpCode::CloseSession => Txn::CloseSession { paths: read_close(reader)? },
            OpCode::Error => Txn::Error { err: ErrorCode(reader.i32()?) },
            other => return Err(Error::Value { field: "type", value: other.wire().into() }),
        })
    }

    /// Writes it without header.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Txn::Create(create) => write_create(out, create),
            Txn::Delete { path } => jute::put_string(out, path),
            Txn::SetData { path, data, version } => {
                jute::put_string(out, path);
                jute::put_buffer_or_null(out, *data);
                jute::put_i32(out, *version);
            }
            Txn::SetAcl { path, acl, version } => {
                jute::put_string(out, path);
                out.extend_from_slice(acl.raw());
                jute::put_i32(out, *version);
            }
            Txn::Check { path, version } => {
                jute::put_string(out, path);
                jute::put_i32(out, *version);
            }
            Txn::Multi(multi) => out.extend_from_slice(multi.raw),
            Txn::CreateSession { timeout_ms } => jute::put_i32(out, *timeout_ms),
            Txn::CloseSession { paths: None } => {}
            Txn::CloseSession { paths: Some(paths) } => {
                jute::put_vec_len(out, paths.len());
                out.extend_from_slice(paths.raw());
            }
            Txn::Error { err } => jute::put_i32(out, err.0),
        }
    }
}

/// A create, of whatever age.
fn read_create<'a>(op: OpCode, reader: &mut Reader<'a>) -> Result<CreateTxn<'a>, Error> {
    let path = reader.string()?;
    let data = reader.buffer()?;
    let acl = AclList::read(reader)?;
    let (kind, parent_cversion) = match op {
        OpCode::CreateContainer => (CreateKind::Container, reader.i32()?),
        OpCode::CreateTtl => {
            let parent_cversion = reader.i32()?;
            (CreateKind::Ttl { ms: reader.i64()? }, parent_cversion)
        }
        _ => {
            let ephemeral = reader.bool()?;
            // A create by a server before 3.4 ends here.
            let old = op == OpCode::Create && reader.is_done();
            (CreateKind::Plain { ephemeral }, if old { -1 } else { reader.i32()? })
        }
    };
    Ok(CreateTxn { path, data, acl, kind, parent_cversion })
}

fn write_create(out: &mut Vec<u8>, create: &CreateTxn<'_>) {
    jute::put_string(out, create.path);
    jute::put_buffer_or_null(out, create.data);
    out.extend_from_slice(create.acl.raw());
    match create.kind {
        CreateKind::Plain { ephemeral } => {
            jute::put_bool(out, ephemeral);
            jute::put_i32(out, create.parent_cversion);
        }
        CreateKind::Container => jute::put_i32(out, create.parent_cversion),
        CreateKind::Ttl { ms } => {
            jute::put_i32(out, create.parent_cversion);
            jute::put_i64(out, ms);
        }
    }
}

/// closeSession's paths. Servers with `closeSessionTxn.enabled=false` write none: nothing follows, or a
/// digest follows directly, which cannot be a list (two paths do not fit in eight bytes).
fn read_close<'a>(reader: &mut Reader<'a>) -> Result<Option<Strings<'a>>, Error> {
    let rest = reader.rest();
    let digest_only = rest.len() == 12 && rest[..4] == DIGEST_VERSION.to_be_bytes();
    if rest.is_empty() || digest_only { Ok(None) } else { reader.strings().map(Some) }
}

/// The sub-txns of a multi: a jute vector of types and bodies, checked when read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MultiTxn<'a> {
    raw: &'a [u8],
    failed: bool,
}

impl<'a> MultiTxn<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<MultiTxn<'a>, Error> {
        let rest = reader.rest();
        let from = reader.position();
        let mut failed = false;
        for _ in 0..reader.vec_len()?.unwrap_or(0) {
            let number = reader.i32()?;
            let op = sub_op(number).ok_or(Error::Value { field: "type", value: number.into() })?;
            let body = reader.buffer()?.ok_or(Error::Length(-1))?;
            Txn::read(op, &mut Reader::new(body))?;
            failed |= op == OpCode::Error;
        }
        Ok(MultiTxn { raw: &rest[..reader.position() - from], failed })
    }

    /// How many sub-txns there are.
    pub fn len(self) -> usize {
        Reader::new(self.raw).i32().map_or(0, |n| n.max(0) as usize)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether it failed: then none of its sub-txns is done.
    pub fn failed(self) -> bool {
        self.failed
    }

    /// The sub-txns with their types, in order.
    pub fn iter(self) -> impl Iterator<Item = (OpCode, Txn<'a>)> {
        let mut reader = Reader::new(self.raw);
        let count = reader.i32().map_or(0, |n| n.max(0));
        (0..count).map_while(move |_| {
            let op = sub_op(reader.i32().ok()?)?;
            let body = reader.buffer().ok()??;
            Some((op, Txn::read(op, &mut Reader::new(body)).ok()?))
        })
    }
}

/// The types that may stand in a multi txn.
fn sub_op(number: i32) -> Option<OpCode> {
    use OpCode::*;
    OpCode::from_wire(number).filter(|op| {
        matches!(
            op,
            Create
                | Create2
                | CreateTtl
                | CreateContainer
                | Delete
                | DeleteContainer
                | SetData
                | Check
                | Error
        )
    })
}

/// A whole txn as logs and proposals hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxnRecord<'a> {
    /// Who, when, what.
    pub header: TxnHeader,
    /// The change.
    pub txn: Txn<'a>,
    /// The digest behind it, if its writer gave one.
    pub digest: Option<TxnDigest>,
}

impl<'a> TxnRecord<'a> {
    /// Reads a record. What stands behind the digest is ignored, as in the original.
    pub fn decode(bytes: &'a [u8]) -> Result<TxnRecord<'a>, Error> {
        let mut reader = Reader::new(bytes);
        let header = TxnHeader::read(&mut reader)?;
        let txn = Txn::read(header.op, &mut reader)?;
        let digest = match (reader.i32(), reader.i64()) {
            (Ok(version), Ok(tree)) => Some(TxnDigest { version, tree: tree as u64 }),
            _ => None,
        };
        Ok(TxnRecord { header, txn, digest })
    }

    /// Writes it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.header.write(out);
        self.txn.write(out);
        if let Some(digest) = self.digest {
            digest.write(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(op: OpCode) -> TxnHeader {
        TxnHeader { session: SessionId(5), cxid: 1, zxid: Zxid(0x1_0000_0002), time: 1000, op }
    }

    fn create(ephemeral: bool) -> Txn<'static> {
        Txn::Create(CreateTxn {
            path: "/a",
            data: Some(b"x"),
            acl: AclList::OPEN,
            kind: CreateKind::Plain { ephemeral },
            parent_cversion: 4,
        })
    }

    fn round_trip(op: OpCode, txn: Txn<'_>) {
        for digest in [None, Some(TxnDigest::new(77))] {
            let record = TxnRecord { header: header(op), txn, digest };
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            assert_eq!(TxnRecord::decode(&bytes), Ok(record));
        }
    }

    #[test]
    fn all_kinds_survive_with_and_without_digest() {
        round_trip(OpCode::Create2, create(true));
        round_trip(OpCode::Delete, Txn::Delete { path: "/a" });
        round_trip(OpCode::SetData, Txn::SetData { path: "/a", data: None, version: 3 });
        round_trip(OpCode::SetAcl, Txn::SetAcl { path: "/a", acl: AclList::OPEN, version: 3 });
        round_trip(OpCode::CreateSession, Txn::CreateSession { timeout_ms: 4000 });
        round_trip(OpCode::Error, Txn::Error { err: ErrorCode::NONODE });
        round_trip(OpCode::CloseSession, Txn::CloseSession { paths: None });
        round_trip(OpCode::CloseSession, Txn::CloseSession { paths: Some(Strings::default()) });
    }

    #[test]
    fn a_create_of_a_3_3_server_is_read() {
        let mut bytes = Vec::new();
        TxnRecord { header: header(OpCode::Create), txn: create(false), digest: None }.encode(&mut bytes);
        bytes.truncate(bytes.len() - 4);
        let Txn::Create(read) = TxnRecord::decode(&bytes).unwrap().txn else { panic!("a create") };
        assert_eq!(read.parent_cversion, -1);
    }

    #[test]
    fn a_multi_knows_its_parts_and_whether_it_failed() {
        let mut body = Vec::new();
        jute::put_vec_len(&mut body, 2);
        for (op, txn) in
            [(OpCode::Create, create(false)), (OpCode::Error, Txn::Error { err: ErrorCode::NONODE })]
        {
            let mut sub = Vec::new();
            txn.write(&mut sub);
            jute::put_i32(&mut body, op.wire());
            jute::put_buffer(&mut body, &sub);
        }
        let mut bytes = Vec::new();
        header(OpCode::Multi).write(&mut bytes);
        bytes.extend_from_slice(&body);
        let record = TxnRecord::decode(&bytes).unwrap();
        let Txn::Multi(multi) = record.txn else { panic!("a multi") };
        assert!(multi.failed());
        assert_eq!(multi.len(), 2);
        assert_eq!(multi.iter().map(|s| s.0).collect::<Vec<_>>(), [OpCode::Create, OpCode::Error]);
        for cut in 0..bytes.len() {
            assert!(TxnRecord::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_type_that_is_no_txn_is_refused() {
        let mut bytes = Vec::new();
        header(OpCode::GetData).write(&mut bytes);
        assert!(matches!(TxnRecord::decode(&bytes), Err(Error::Value { field: "type", .. })));
    }
}
