//! Values for samples, drawn from a seed.

use zkctl::prng::Prng;
use zkctl::wire::acl::AclList;
use zkctl::wire::opcode::OpCode;
use zkctl::wire::request::{
    AuthPacket, CreateRequest, MultiOp, PathIntRequest, ReconfigRequest, RequestHeader, SetAclRequest,
    SetDataRequest, WatchedRequest,
};

const PATHS: [&str; 10] =
    ["/", "/a", "/a/b", "/a/b/c", "/q-", "/zookeeper/config", "/zookeeper", "/a/\u{e9}", "/b", "bad//path/"];
const DATA: [Option<&[u8]>; 4] = [None, Some(b""), Some(b"x"), Some(&[7; 100])];

pub(crate) fn of<T: Copy>(prng: &mut Prng, from: &[T]) -> T {
    from[prng.below(from.len() as u64) as usize]
}

pub(crate) fn path(prng: &mut Prng) -> &'static str {
    of(prng, &PATHS)
}

pub(crate) fn data(prng: &mut Prng) -> Option<&'static [u8]> {
    of(prng, &DATA)
}

pub(crate) fn acl(prng: &mut Prng) -> AclList<'static> {
    of(
        prng,
        &[AclList::OPEN, AclList::OPEN, AclList::OPEN, AclList::READ_ONLY, AclList::CLOSED, AclList::NULL],
    )
}

pub(crate) fn create(prng: &mut Prng, op: OpCode) -> CreateRequest<'static> {
    let flags = match op {
        OpCode::CreateContainer => 4,
        OpCode::CreateTtl => prng.between(5, 6) as i32,
        _ => prng.below(4) as i32,
    };
    let ttl_ms = (op == OpCode::CreateTtl).then(|| prng.below(100_000) as i64);
    CreateRequest { path: path(prng), data: data(prng), acl: acl(prng), flags, ttl_ms }
}

const CREATES: [OpCode; 4] = [OpCode::Create, OpCode::Create2, OpCode::CreateContainer, OpCode::CreateTtl];

pub(crate) fn multi_op(prng: &mut Prng, reads: bool) -> MultiOp<'static> {
    let version = PathIntRequest { path: path(prng), value: prng.below(3) as i32 - 1 };
    let watched = WatchedRequest { path: version.path, watch: prng.chance(1, 2) };
    match (reads, prng.below(4)) {
        (true, 0 | 1) => MultiOp::GetData(watched),
        (true, _) => MultiOp::GetChildren(watched),
        (_, 0) => MultiOp::Delete(version),
        (_, 1) => {
            MultiOp::SetData(SetDataRequest { path: version.path, data: data(prng), version: version.value })
        }
        (_, 2) => MultiOp::Check(version),
        _ => {
            let op = of(prng, &CREATES);
            MultiOp::Create(op, create(prng, op))
        }
    }
}

/// The body of a request of `op`.
pub(crate) fn body(prng: &mut Prng, op: OpCode, out: &mut Vec<u8>) {
    let version = PathIntRequest { path: path(prng), value: prng.below(4) as i32 - 1 };
    match op {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
            create(prng, op).encode(out);
        }
        OpCode::Delete
        | OpCode::Check
        | OpCode::AddWatch
        | OpCode::CheckWatches
        | OpCode::RemoveWatches
        | OpCode::DeleteContainer => version.encode(out),
        OpCode::SetData => {
            SetDataRequest { path: version.path, data: data(prng), version: version.value }.encode(out);
        }
        OpCode::SetAcl => {
            SetAclRequest { path: version.path, acl: acl(prng), version: version.value }.encode(out);
        }
        OpCode::Exists | OpCode::GetData | OpCode::GetChildren | OpCode::GetChildren2 => {
            WatchedRequest { path: version.path, watch: prng.chance(1, 2) }.encode(out);
        }
        OpCode::Multi | OpCode::MultiRead => {
            for _ in 0..prng.below(5) {
                multi_op(prng, op == OpCode::MultiRead).encode(out);
            }
            zkctl::wire::reply::put_multi_end(out);
        }
        OpCode::Reconfig => {
            let members = Some("server.1=a:2:3:participant;4");
            ReconfigRequest { joining: None, leaving: Some("2"), members, from_version: -1 }.encode(out);
        }
        OpCode::Auth => AuthPacket { scheme: of(prng, &["digest", "ip", "x"]), auth: b"u:p" }.encode(out),
        OpCode::SetWatches | OpCode::SetWatches2 => {
            zkctl::jute::put_i64(out, prng.below(9) as i64);
            for _ in 0..if op == OpCode::SetWatches { 3 } else { 5 } {
                zkctl::jute::put_strings(out, [path(prng), version.path].into_iter());
            }
        }
        OpCode::CreateSession => zkctl::jute::put_i32(out, 4000),
        OpCode::Ping | OpCode::CloseSession | OpCode::WhoAmI => {}
        _ => zkctl::jute::put_string(out, version.path),
    }
}

/// An operation that a client may ask for, rarely one that it may not.
pub(crate) fn op(prng: &mut Prng) -> OpCode {
    loop {
        let number =
            if prng.chance(1, 3) { prng.between(100, 107) as i32 } else { prng.between(1, 22) as i32 };
        let number = if prng.chance(1, 60) { of(prng, &[-10, -11, -1, 0]) } else { number };
        if let Some(op) = OpCode::from_wire(number) {
            // Answers of these end the connection.
            let ends = matches!(op, OpCode::Sasl | OpCode::DeleteContainer);
            if !ends || prng.chance(1, 20) {
                return op;
            }
        }
    }
}

/// A request as one frame.
pub(crate) fn request(prng: &mut Prng, xid: i32, out: &mut Vec<u8>) {
    let op = op(prng);
    let open = zkctl::wire::frame::begin(out);
    let xid = match op {
        OpCode::Ping => -2,
        OpCode::Auth => -4,
        _ => xid,
    };
    RequestHeader { xid, op: op.wire() }.encode(out);
    body(prng, op, out);
    open.end(out);
}
