//! Requests to bytes and replies back, with the product's codecs, which golden dialogues prove.

use super::acl::Acl;
use super::{NotOffered, Op, Outcome, Registered};
use std::collections::BTreeSet;
use zkctl::jute::{self, Reader};
use zkctl::wire::acl::AclList;
use zkctl::wire::frame;
use zkctl::wire::opcode::{OpCode, xid};
use zkctl::wire::reply::Stat;
use zkctl::wire::request::{
    AuthPacket, CreateRequest, MultiOp, PathIntRequest, ReconfigRequest, SetAclRequest, SetDataRequest,
    WatchedRequest,
};

/// The xid that an operation's answer bears.
pub(crate) fn answered_xid(op: &Op, xid: i32) -> i32 {
    match op {
        Op::Ping => xid::PING,
        Op::AddAuth { .. } => xid::AUTH,
        Op::SetWatches(_) => xid::SET_WATCHES,
        _ => xid,
    }
}

fn code(op: &Op) -> OpCode {
    match op {
        Op::Create { with_stat: false, .. } => OpCode::Create,
        Op::Create { with_stat: true, .. } => OpCode::Create2,
        Op::Delete { .. } => OpCode::Delete,
        Op::SetData { .. } => OpCode::SetData,
        Op::SetAcl { .. } => OpCode::SetAcl,
        Op::Check { .. } => OpCode::Check,
        Op::Multi(_) => OpCode::Multi,
        Op::Exists { .. } => OpCode::Exists,
        Op::GetData { .. } => OpCode::GetData,
        Op::GetChildren { with_stat: false, .. } => OpCode::GetChildren,
        Op::GetChildren { with_stat: true, .. } => OpCode::GetChildren2,
        Op::GetAcl { .. } => OpCode::GetAcl,
        Op::MultiRead(_) => OpCode::MultiRead,
        Op::GetEphemerals { .. } => OpCode::GetEphemerals,
        Op::CountBelow { .. } => OpCode::GetAllChildrenNumber,
        Op::Sync { .. } => OpCode::Sync,
        Op::Ping => OpCode::Ping,
        Op::AddWatch { .. } => OpCode::AddWatch,
        Op::CheckWatches { .. } => OpCode::CheckWatches,
        Op::RemoveWatches { .. } => OpCode::RemoveWatches,
        // As the original's client does.
        Op::SetWatches(w) if w.persistent.is_empty() && w.recursive.is_empty() => OpCode::SetWatches,
        Op::SetWatches(_) => OpCode::SetWatches2,
        Op::WhoAmI { .. } => OpCode::WhoAmI,
        Op::NotOffered { what, .. } => match what {
            NotOffered::Check => OpCode::Check,
            NotOffered::Container => OpCode::CreateContainer,
            NotOffered::Ttl => OpCode::CreateTtl,
            NotOffered::Reconfig => OpCode::Reconfig,
        },
        Op::AddAuth { .. } => OpCode::Auth,
        Op::CloseSession => OpCode::CloseSession,
    }
}

/// A request as one frame.
pub(crate) fn request(op: &Op, xid: i32) -> Vec<u8> {
    let mut out = Vec::new();
    let open = frame::begin(&mut out);
    jute::put_i32(&mut out, answered_xid(op, xid));
    jute::put_i32(&mut out, code(op).wire());
    body(op, &mut out);
    open.end(&mut out);
    out
}

fn body(op: &Op, out: &mut Vec<u8>) {
    match op {
        Op::Create { path, data, flags, acl, .. } => {
            let acl = acl.bytes();
            let create =
                CreateRequest { path, data: Some(data), acl: acl.list(), flags: *flags, ttl_ms: None };
            create.encode(out);
        }
        Op::SetAcl { path, acl, version } => {
            SetAclRequest { path, acl: acl.bytes().list(), version: *version }.encode(out);
        }
        Op::Delete { path, version } | Op::Check { path, version } => {
            PathIntRequest { path, value: *version }.encode(out);
        }
        Op::AddWatch { path, recursive } => PathIntRequest { path, value: i32::from(*recursive) }.encode(out),
        Op::CheckWatches { path, kind } | Op::RemoveWatches { path, kind } => {
            PathIntRequest { path, value: *kind as i32 }.encode(out);
        }
        Op::SetData { path, data, version } => {
            SetDataRequest { path, data: Some(data), version: *version }.encode(out);
        }
        Op::Exists { path, watch } | Op::GetData { path, watch } | Op::GetChildren { path, watch, .. } => {
            WatchedRequest { path, watch: *watch }.encode(out);
        }
        Op::Multi(ops) | Op::MultiRead(ops) => multi(ops, out),
        Op::GetAcl { path } | Op::CountBelow { path } | Op::Sync { path } => jute::put_string(out, path),
        Op::GetEphemerals { prefix } => jute::put_string(out, prefix),
        Op::SetWatches(watches) => set_watches(watches, out),
        Op::AddAuth { scheme, proof } => AuthPacket { scheme, auth: proof.as_bytes() }.encode(out),
        Op::NotOffered { what, path } => not_offered(*what, path, out),
        Op::Ping | Op::WhoAmI { .. } | Op::CloseSession => {}
    }
}

fn not_offered(what: NotOffered, path: &str, out: &mut Vec<u8>) {
    let acl = AclList::OPEN;
    match what {
        NotOffered::Check => PathIntRequest { path, value: -1 }.encode(out),
        NotOffered::Container => CreateRequest { path, data: None, acl, flags: 4, ttl_ms: None }.encode(out),
        NotOffered::Ttl => CreateRequest { path, data: None, acl, flags: 5, ttl_ms: Some(100) }.encode(out),
        NotOffered::Reconfig => {
            let leaving = Some("1");
            ReconfigRequest { joining: None, leaving, members: None, from_version: -1 }.encode(out);
        }
    }
}

fn set_watches(watches: &Registered, out: &mut Vec<u8>) {
    jute::put_i64(out, watches.since);
    let mut lists = vec![&watches.data, &watches.exist, &watches.child];
    if !watches.persistent.is_empty() || !watches.recursive.is_empty() {
        lists.extend([&watches.persistent, &watches.recursive]);
    }
    for list in lists {
        jute::put_strings(out, list.iter().map(String::as_str));
    }
}

fn multi(ops: &[Op], out: &mut Vec<u8>) {
    for op in ops {
        let kind = code(op);
        match op {
            Op::Create { path, data, flags, acl, .. } => {
                let acl = acl.bytes();
                let create =
                    CreateRequest { path, data: Some(data), acl: acl.list(), flags: *flags, ttl_ms: None };
                MultiOp::Create(kind, create).encode(out);
            }
            Op::Delete { path, version } => {
                MultiOp::Delete(PathIntRequest { path, value: *version }).encode(out);
            }
            Op::Check { path, version } => {
                MultiOp::Check(PathIntRequest { path, value: *version }).encode(out)
            }
            Op::SetData { path, data, version } => {
                MultiOp::SetData(SetDataRequest { path, data: Some(data), version: *version }).encode(out);
            }
            Op::GetData { path, .. } => MultiOp::GetData(WatchedRequest { path, watch: false }).encode(out),
            Op::GetChildren { path, .. } => {
                MultiOp::GetChildren(WatchedRequest { path, watch: false }).encode(out);
            }
            other => panic!("{other:?} cannot stand in a multi"),
        }
    }
    zkctl::wire::reply::put_multi_end(out);
}

/// A reply's body behind its header.
pub(crate) fn outcome(op: &Op, err: i32, reader: &mut Reader<'_>) -> Result<Outcome, jute::Error> {
    if err != 0 {
        return Ok(Outcome::Failed(err));
    }
    Ok(match op {
        Op::Multi(ops) | Op::MultiRead(ops) => Outcome::Many(many(ops, reader)?),
        single => one(single, reader)?,
    })
}

fn one(op: &Op, reader: &mut Reader<'_>) -> Result<Outcome, jute::Error> {
    Ok(match op {
        Op::Create { with_stat, .. } => {
            let path = reader.string()?.to_owned();
            let stat = if *with_stat { Some(Stat::read(reader)?) } else { None };
            Outcome::Created { path, stat }
        }
        Op::SetData { .. } | Op::SetAcl { .. } | Op::Exists { .. } => Outcome::Stat(Stat::read(reader)?),
        Op::GetData { .. } => {
            let data = reader.buffer()?.unwrap_or_default().to_vec();
            Outcome::Data { data, stat: Stat::read(reader)? }
        }
        Op::GetChildren { with_stat, .. } => {
            let names = strings(reader)?;
            let stat = if *with_stat { Some(Stat::read(reader)?) } else { None };
            Outcome::Children { names, stat }
        }
        Op::GetAcl { .. } => {
            let list = AclList::read(reader)?;
            Outcome::Acl { acl: Acl::read(list), stat: Stat::read(reader)? }
        }
        Op::GetEphemerals { .. } => Outcome::Paths(strings(reader)?),
        Op::CountBelow { .. } => Outcome::Count(reader.i32()?),
        Op::WhoAmI { .. } => {
            let count = reader.vec_len()?.unwrap_or(0);
            let one = |_| Ok((reader.string()?.to_owned(), reader.string()?.to_owned()));
            Outcome::Identities((0..count).map(one).collect::<Result<_, jute::Error>>()?)
        }
        _ => Outcome::Done,
    })
}

fn strings(reader: &mut Reader<'_>) -> Result<BTreeSet<String>, jute::Error> {
    Ok(reader.strings()?.iter().map(str::to_owned).collect())
}

fn many(ops: &[Op], reader: &mut Reader<'_>) -> Result<Vec<Outcome>, jute::Error> {
    let mut out = Vec::new();
    for op in ops {
        let kind = reader.i32()?;
        reader.bool()?;
        reader.i32()?;
        if kind == OpCode::Error.wire() {
            out.push(Outcome::Failed(reader.i32()?));
            continue;
        }
        // In a multiRead data come with their stat, children without.
        let op = match op {
            Op::GetChildren { path, .. } => {
                &Op::GetChildren { path: path.clone(), watch: false, with_stat: false }
            }
            other => other,
        };
        out.push(one(op, reader)?);
    }
    Ok(out)
}
