//! Properties of prepare, apply, images and replay together, over random requests on a small tree.

use super::*;
use crate::auth::{AuthRules, identities_of};
use crate::format::snapshot::{NodeRecord, read_acl, read_session};
use crate::ids::{SessionId, Sid};
use crate::jute::Reader;
use crate::session::{SessionTable, SessionTracker};
use crate::time::{Millis, Now, WallMillis};
use crate::tree::{CursorId, DigestCheck, Loader, Tree, TreeOptions};
use crate::wire::acl::AclList;
use crate::wire::errcode::ErrorCode;
use crate::wire::opcode::OpCode;
use crate::wire::reply::put_multi_end;
use crate::wire::request::{CreateRequest, MultiOp, PathIntRequest, SetAclRequest, SetDataRequest};
use crate::wire::txn::{Txn, TxnRecord};
use crate::zxid::Zxid;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const ME: Sid = Sid(1);
const OPTIONS: TreeOptions = TreeOptions { seed: 3, extended_types: false };

/// One write of a client.
#[derive(Clone, Debug)]
enum Write {
    Create(String, i32, bool),
    Delete(String, i32),
    SetData(String, u8, i32),
    SetAcl(String, bool),
    Check(String, i32),
}

#[derive(Clone, Debug)]
enum Act {
    One(u8, Write),
    Multi(u8, Vec<Write>),
    OpenSession(u8),
    CloseSession(u8),
    /// Apply that many proposals.
    Apply(u8),
    OpenCursor,
    ReadCursors(usize),
    KeepImage,
    SetConfig,
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        9 => "(/[abc]){1,3}",
        1 => prop_oneof![Just("/".to_owned()), Just("/zookeeper".into()), Just("/a/".into()),
            Just("/zookeeper/quota/q".into()), Just("//".into()), Just("/zookeeper/config".into())],
    ]
}

fn version() -> impl Strategy<Value = i32> {
    prop_oneof![4 => Just(-1), 1 => 0..3]
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        6 => (path(), 0..5, any::<bool>()).prop_map(|(p, f, a)| Write::Create(p, f, a)),
        3 => (path(), version()).prop_map(|(p, v)| Write::Delete(p, v)),
        3 => (path(), 0..40u8, version()).prop_map(|(p, n, v)| Write::SetData(p, n, v)),
        1 => (path(), any::<bool>()).prop_map(|(p, a)| Write::SetAcl(p, a)),
        1 => (path(), version()).prop_map(|(p, v)| Write::Check(p, v)),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => (1..4u8, write()).prop_map(|(s, w)| Act::One(s, w)),
        3 => (1..4u8, prop::collection::vec(write(), 0..5)).prop_map(|(s, w)| Act::Multi(s, w)),
        1 => (1..4u8).prop_map(Act::OpenSession),
        1 => (1..4u8).prop_map(Act::CloseSession),
        5 => (1..6u8).prop_map(Act::Apply),
        1 => Just(Act::OpenCursor),
        2 => (1..400usize).prop_map(Act::ReadCursors),
        1 => Just(Act::KeepImage),
        1 => Just(Act::SetConfig),
    ]
}

fn acl(read_only: bool) -> AclList<'static> {
    if read_only {
        AclList::from_checked(b"\0\0\0\x01\0\0\0\x0f\0\0\0\x05world\0\0\0\x06anyone")
    } else {
        AclList::OPEN
    }
}

struct World {
    tree: Tree,
    table: SessionTable,
    tracker: SessionTracker,
    prepare: Prepare,
    zxid: Zxid,
    proposed: VecDeque<Vec<u8>>,
    log: Vec<Vec<u8>>,
    cursors: Vec<(CursorId, Vec<u8>, Vec<u8>)>,
    images: Vec<(Zxid, u64, Vec<u8>)>,
}

impl World {
    fn new() -> World {
        let tree = Tree::new(OPTIONS);
        let table = SessionTable::new();
        World {
            prepare: Prepare::new(AuthRules::default(), 1, &tree),
            tracker: SessionTracker::new(1000, 1, &table, Millis(0)),
            tree,
            table,
            zxid: Zxid(0x1_0000_0000),
            proposed: VecDeque::new(),
            log: Vec::new(),
            cursors: Vec::new(),
            images: Vec::new(),
        }
    }

    fn propose(&mut self, session: u8, op: OpCode, body: &[u8]) {
        self.zxid = self.zxid.successor().unwrap();
        let ids = identities_of("10.0.0.1".parse().unwrap());
        let request = WriteRequest {
            session: SessionId(session.into()),
            cxid: 1,
            op,
            body,
            identities: &ids,
            owner: ME,
        };
        let wall = WallMillis(1000 + self.zxid.counter() as i64);
        let now = Now { mono: Millis(0), wall };
        let txn = self.prepare.prepare(&self.tree, &mut self.tracker, &request, self.zxid, now);
        self.proposed.push_back(txn);
    }

    fn apply_one(&mut self) {
        let Some(txn) = self.proposed.pop_front() else { return };
        let record = TxnRecord::decode(&txn).unwrap();
        self.table.apply(&record.header, &record.txn);
        let outcome = self.tree.apply(&record.header, &record.txn, record.digest, &mut |_| {});
        assert_ne!(outcome.digest, DigestCheck::Mismatch, "predicted wrongly: {record:?}");
        match record.txn {
            Txn::Error { err } => assert_eq!(outcome.err, err),
            Txn::Multi(multi) => assert_eq!(outcome.err.is_ok(), !multi.failed(), "{record:?}"),
            _ => assert_eq!(outcome.err, ErrorCode::OK, "proposed what cannot be applied: {record:?}"),
        }
        if record.header.op == OpCode::CloseSession {
            self.tracker.remove(record.header.session);
            assert_eq!(self.tree.ephemerals(record.header.session).count(), 0);
        }
        self.prepare.committed(record.header.zxid);
        self.log.push(txn);
    }

    fn image(&mut self) -> Vec<u8> {
        let cursor = self.tree.open_cursor(self.table.iter());
        let mut out = Vec::new();
        while !self.tree.read_cursor(cursor, 1 << 20, &mut out) {}
        self.tree.close_cursor(cursor);
        out
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::One(session, write) => {
                let (op, body) = encode(write);
                self.propose(*session, op, &body);
            }
            Act::Multi(session, writes) => {
                let mut body = Vec::new();
                for write in writes {
                    encode_part(write, &mut body);
                }
                put_multi_end(&mut body);
                self.propose(*session, OpCode::Multi, &body);
            }
            Act::OpenSession(session) => {
                self.propose(*session, OpCode::CreateSession, &4000i32.to_be_bytes());
            }
            Act::CloseSession(session) => self.propose(*session, OpCode::CloseSession, &[]),
            Act::Apply(count) => (0..*count).for_each(|_| self.apply_one()),
            Act::OpenCursor => {
                let whole = self.image();
                let cursor = self.tree.open_cursor(self.table.iter());
                self.cursors.push((cursor, whole, Vec::new()));
            }
            Act::ReadCursors(budget) => {
                for (cursor, _, out) in &mut self.cursors {
                    self.tree.read_cursor(*cursor, *budget, out);
                }
            }
            Act::KeepImage => {
                let image = self.image();
                self.images.push((self.tree.last_zxid(), self.tree.digest(), image));
            }
            Act::SetConfig => self.tree.set_config(b"server.1=x", 7, self.zxid.0 as i64),
        }
    }

    /// Drains everything, then checks cursors, images and replays.
    fn finish(mut self) {
        while !self.proposed.is_empty() {
            self.apply_one();
        }
        assert_eq!(self.prepare.pending(), 0);
        self.tree.audit();
        for (cursor, whole, mut out) in std::mem::take(&mut self.cursors) {
            while !self.tree.read_cursor(cursor, 64, &mut out) {}
            assert_eq!(out, whole, "an image read in slices");
            self.tree.close_cursor(cursor);
        }
        let last = self.image();
        for (zxid, digest, image) in &self.images {
            self.replay(image, *zxid, *digest, *zxid, &last);
            // Over an image that holds the log's first half already, as a fuzzy one may.
            self.replay(image, *zxid, *digest, Zxid(zxid.0 - zxid.counter() as u64 / 2), &last);
            self.replay(image, *zxid, *digest, Zxid::ZERO, &last);
        }
    }

    fn replay(&self, image: &[u8], zxid: Zxid, digest: u64, from: Zxid, last: &[u8]) {
        let mut loader = Loader::new(OPTIONS, 0);
        let mut at = 0;
        for end in (0..image.len() + 97).step_by(97) {
            at += loader.push(&image[at..end.min(image.len())]).unwrap().consumed;
        }
        assert_eq!(at, image.len());
        let (mut tree, sessions) = loader.finish(zxid).unwrap();
        let mut table = SessionTable::from_loaded(sessions);
        tree.audit();
        assert_eq!(tree.digest(), digest, "a loaded image");
        for txn in &self.log {
            let record = TxnRecord::decode(txn).unwrap();
            if record.header.zxid > from {
                tree.apply(&record.header, &record.txn, record.digest, &mut |_| {});
                table.apply(&record.header, &record.txn);
            }
        }
        tree.audit();
        assert_eq!(tree.digest(), self.tree.digest(), "replayed from {from} over {zxid}");
        let mut out = Vec::new();
        let cursor = tree.open_cursor(table.iter());
        while !tree.read_cursor(cursor, 1 << 20, &mut out) {}
        assert_eq!(contents(&out), contents(last));
    }
}

/// An image's sessions and znodes, without order and ACL ids; the member list's local copy left out.
fn contents(image: &[u8]) -> BTreeSet<String> {
    let mut reader = Reader::new(image);
    let mut out = BTreeSet::new();
    for _ in 0..reader.i32().unwrap() {
        out.insert(format!("{:?}", read_session(&mut reader).unwrap()));
    }
    let mut acls = BTreeMap::from([(-1, AclList::NULL)]);
    for _ in 0..reader.i32().unwrap() {
        let (id, list) = read_acl(&mut reader).unwrap();
        acls.insert(id, list);
    }
    while let Some(node) = NodeRecord::read(&mut reader).unwrap() {
        if node.path != crate::tree::path::CONFIG {
            out.insert(format!("{:?} {:?} {:?} {:?}", node.path, node.data, acls[&node.acl_id], node.stat));
        }
    }
    out
}

fn encode(write: &Write) -> (OpCode, Vec<u8>) {
    let mut out = Vec::new();
    let data = [7; 64];
    let op = match write {
        Write::Create(path, flags, read_only) => {
            let data = (*flags != 2).then_some(&data[..*flags as usize]);
            let create = CreateRequest { path, data, acl: acl(*read_only), flags: *flags, ttl_ms: None };
            create.encode(&mut out);
            if *read_only { OpCode::Create } else { OpCode::Create2 }
        }
        Write::Delete(path, value) => {
            PathIntRequest { path, value: *value }.encode(&mut out);
            OpCode::Delete
        }
        Write::SetData(path, len, version) => {
            let data = (*len > 0).then_some(&data[..*len as usize]);
            SetDataRequest { path, data, version: *version }.encode(&mut out);
            OpCode::SetData
        }
        Write::SetAcl(path, read_only) => {
            SetAclRequest { path, acl: acl(*read_only), version: -1 }.encode(&mut out);
            OpCode::SetAcl
        }
        Write::Check(path, value) => {
            PathIntRequest { path, value: *value }.encode(&mut out);
            OpCode::Check
        }
    };
    (op, out)
}

fn encode_part(write: &Write, out: &mut Vec<u8>) {
    let (op, body) = encode(write);
    let part = match op {
        OpCode::Create | OpCode::Create2 => MultiOp::Create(op, CreateRequest::decode(op, &body).unwrap()),
        OpCode::Delete => MultiOp::Delete(PathIntRequest::decode(&body).unwrap()),
        OpCode::SetData => MultiOp::SetData(SetDataRequest::decode(&body).unwrap()),
        OpCode::Check => MultiOp::Check(PathIntRequest::decode(&body).unwrap()),
        // setACL may not stand in a multi.
        _ => return,
    };
    part.encode(out);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_proposed_applies_as_predicted_and_images_and_replays_agree(
        acts in prop::collection::vec(act(), 1..120)
    ) {
        let mut world = World::new();
        for session in 1..4 {
            world.act(&Act::OpenSession(session));
        }
        for act in &acts {
            world.act(act);
        }
        world.finish();
    }

    #[test]
    fn no_body_makes_prepare_panic_or_propose_what_cannot_be_read(
        op in prop::sample::select(vec![OpCode::Create, OpCode::Create2, OpCode::Delete, OpCode::SetData,
            OpCode::SetAcl, OpCode::Multi, OpCode::CreateSession, OpCode::CloseSession, OpCode::Check,
            OpCode::CreateTtl, OpCode::CreateContainer, OpCode::DeleteContainer, OpCode::Reconfig]),
        body in prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(14), Just(b'/'), any::<u8>()], 0..80)
    ) {
        let mut world = World::new();
        world.act(&Act::OpenSession(1));
        world.propose(1, op, &body);
        world.finish();
    }
}
