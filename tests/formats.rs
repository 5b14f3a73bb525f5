//! Files and dialogues made by the original: read, written back byte for byte, and lived through again.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use zkctl::auth::{AuthRules, digest_id, identities_of};
use zkctl::format::{snapshot, txn_log};
use zkctl::ids::{ConnId, SessionId, Sid};
use zkctl::jute::{self, Reader};
use zkctl::pipeline::{After, Prepare, ReadRequest, Reads, WriteRequest, answer};
use zkctl::session::{SessionTable, SessionTracker, password};
use zkctl::time::{Millis, Now, WallMillis};
use zkctl::tree::{DigestCheck, Loader, Tree, TreeOptions, Trigger, WatchTable};
use zkctl::wire::connect::{ConnectRequest, ConnectResponse};
use zkctl::wire::opcode::OpCode;
use zkctl::wire::quorum::AuthInfo;
use zkctl::wire::reply::{ReplyHeader, put_event, put_header_only};
use zkctl::wire::request::{AuthPacket, MultiOps, RequestHeader, SetWatches};
use zkctl::wire::txn::{Txn, TxnRecord};
use zkctl::wire::words::{self, Mode, ServerReport};
use zkctl::wire::{errcode::ErrorCode, frame};
use zkctl::zxid::{Epoch, Zxid};

const LOGS: [&str; 2] = ["log.100000001", "log.200000001"];
const SNAPSHOTS: [(&str, u64); 3] =
    [("snapshot.0", 0), ("snapshot.100000035", 0x1_0000_0035), ("snapshot.200000008", 0x2_0000_0008)];
const OPTIONS: TreeOptions = TreeOptions { seed: 7, extended_types: true };

fn golden(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)).unwrap()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

/// The serialised txns of both logs.
fn txns() -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for name in LOGS {
        let file = golden(name);
        let mut records = txn_log::Records::new(&file[txn_log::HEADER_LEN..], txn_log::HEADER_LEN as u64);
        out.extend(records.by_ref().map(|(_, body)| body.to_vec()));
        assert!(records.end().unwrap().is_clean());
    }
    out
}

/// Applies a txn without watchers.
fn replay(tree: &mut Tree, sessions: &mut SessionTable, body: &[u8]) -> DigestCheck {
    let record = TxnRecord::decode(body).unwrap();
    sessions.apply(&record.header, &record.txn);
    tree.apply(&record.header, &record.txn, record.digest, &mut |_| {}).digest
}

/// A snapshot's tree and sessions, fed in chunks of `chunk` bytes, seals checked.
fn load(file: &[u8], zxid: u64, chunk: usize) -> (Tree, SessionTable, snapshot::Tail) {
    let mut verifier = snapshot::Verifier::begin(&file[..snapshot::HEADER_LEN]).unwrap();
    let mut loader = Loader::new(OPTIONS, 0);
    let (mut from, mut to) = (snapshot::HEADER_LEN, snapshot::HEADER_LEN);
    let body_end = loop {
        to = (to + chunk).min(file.len());
        let progress = loader.push(&file[from..to]).unwrap();
        from += progress.consumed;
        if progress.done {
            break from;
        }
        assert!(to < file.len(), "the body ends within the file");
    };
    verifier.cover(&file[snapshot::HEADER_LEN..body_end]);
    let tail = verifier.tail(&file[body_end..]).unwrap();
    let (tree, sessions) = loader.finish(Zxid(zxid)).unwrap();
    (tree, SessionTable::from_loaded(sessions), tail)
}

/// The image of a tree as a cursor gives it.
fn image(tree: &mut Tree, sessions: &SessionTable, budget: usize) -> Vec<u8> {
    let cursor = tree.open_cursor(sessions.iter());
    let mut out = Vec::new();
    while !tree.read_cursor(cursor, budget, &mut out) {}
    tree.close_cursor(cursor);
    out
}

/// The records of a snapshot's body as a set: order and ACL ids of two writers differ.
fn contents(body: &[u8]) -> BTreeSet<String> {
    let mut reader = Reader::new(body);
    let mut out = BTreeSet::new();
    for _ in 0..reader.i32().unwrap() {
        out.insert(format!("{:?}", snapshot::read_session(&mut reader).unwrap()));
    }
    let mut acls = BTreeMap::from([(-1, "open".to_owned())]);
    for _ in 0..reader.i32().unwrap() {
        let (id, list) = snapshot::read_acl(&mut reader).unwrap();
        acls.insert(id, format!("{:?}", list.entries().collect::<Vec<_>>()));
    }
    while let Some(node) = snapshot::NodeRecord::read(&mut reader).unwrap() {
        out.insert(format!("{:?} {:?} {} {:?}", node.path, node.data, acls[&node.acl_id], node.stat));
    }
    out
}

#[test]
fn logs_are_read_and_written_back_byte_for_byte() {
    for name in LOGS {
        let file = golden(name);
        assert_eq!(txn_log::read_header(&file), Ok(0));
        let mut written = Vec::new();
        txn_log::write_header(&mut written);
        let mut kinds = BTreeSet::new();
        for (_, body) in txn_log::Records::new(&file[txn_log::HEADER_LEN..], txn_log::HEADER_LEN as u64) {
            let record = TxnRecord::decode(body).unwrap();
            kinds.insert(record.header.op);
            let mut encoded = Vec::new();
            record.encode(&mut encoded);
            assert_eq!(encoded, body, "{record:?}");
            txn_log::write_record(&mut written, &encoded);
        }
        assert_eq!(written, file);
        if name == LOGS[0] {
            assert!(kinds.contains(&OpCode::Reconfig) && kinds.contains(&OpCode::Error));
        }
    }
}

#[test]
fn every_txn_brings_the_tree_to_the_digest_behind_it() {
    let (mut tree, mut sessions) = (Tree::new(OPTIONS), SessionTable::new());
    let mut compared = 0;
    for body in txns() {
        match replay(&mut tree, &mut sessions, &body) {
            DigestCheck::Match => compared += 1,
            DigestCheck::Absent => {
                assert_eq!(TxnRecord::decode(&body).unwrap().header.op, OpCode::Error);
            }
            DigestCheck::Mismatch => panic!("{:?}", TxnRecord::decode(&body)),
        }
    }
    assert!(compared > 30, "{compared} digests compared");
}

#[test]
fn snapshots_are_verified_loaded_and_written_back() {
    for (name, zxid) in SNAPSHOTS {
        let file = golden(name);
        assert!(snapshot::is_complete(&file[file.len() - 5..]));
        let (mut tree, sessions, tail) = load(&file, zxid, file.len());
        assert_eq!(tree.unresolved_acls(), 0);
        // The snapshot of an empty database holds an empty digest, which counts as none.
        assert_eq!(tail.digest.is_some(), zxid != 0);
        if let Some((at, digest)) = tail.digest
            && at as u64 == zxid
        {
            assert_eq!(digest, tree.digest(), "{name}");
        }
        let body_end = file.len() - snapshot::TAIL_MAX;
        let ours = image(&mut tree, &sessions, 100);
        assert_eq!(contents(&ours), contents(&file[snapshot::HEADER_LEN..body_end]), "{name}");

        // The file as we would have written it around the original's body, seals included.
        let mut written = Vec::new();
        let mut writer = snapshot::Writer::begin(&mut written);
        let from = written.len();
        written.extend_from_slice(&file[snapshot::HEADER_LEN..body_end]);
        writer.cover(&written[from..]);
        if let Some((at, digest)) = tail.digest
            && tail.last_zxid == Some(at)
        {
            writer.finish(&mut written, Zxid(at as u64), digest);
            assert_eq!(written, file, "{name}");
        }
        for chunk in [200, 777] {
            assert_eq!(load(&file, zxid, chunk).0.digest(), tree.digest());
        }
    }
}

#[test]
fn a_snapshot_and_the_log_behind_it_give_what_the_whole_log_gives() {
    let (mut whole, mut whole_sessions) = (Tree::new(OPTIONS), SessionTable::new());
    let all = txns();
    for body in &all {
        replay(&mut whole, &mut whole_sessions, body);
    }
    for (name, zxid) in SNAPSHOTS {
        let (mut tree, mut sessions, _) = load(&golden(name), zxid, 4096);
        for body in &all {
            if TxnRecord::decode(body).unwrap().header.zxid.0 > zxid {
                assert_ne!(replay(&mut tree, &mut sessions, body), DigestCheck::Mismatch);
            }
        }
        assert_eq!((tree.digest(), &sessions), (whole.digest(), &whole_sessions), "{name}");
        // Twice over a snapshot that already holds them: a fuzzy one.
        for body in &all {
            replay(&mut tree, &mut sessions, body);
        }
        assert_eq!((tree.digest(), &sessions), (whole.digest(), &whole_sessions), "{name} replayed");
    }
}

/// Whole files against their ends: every cut and a damaged byte are told apart.
#[test]
fn damaged_logs_stop_where_the_damage_is() {
    let file = golden(LOGS[0]);
    let body = &file[txn_log::HEADER_LEN..];
    let offsets: Vec<u64> = txn_log::Records::new(body, 16).map(|r| r.0).collect();
    for cut in (0..body.len()).step_by(7) {
        let mut records = txn_log::Records::new(&body[..cut], 16);
        let whole = records.by_ref().count();
        let expected = offsets.iter().filter(|&&o| o < 16 + cut as u64).count();
        assert!(whole == expected || whole + 1 == expected);
        assert_eq!(records.end().unwrap().offset, offsets.get(whole).copied().unwrap_or(16));
    }
    let mut damaged = body.to_vec();
    let middle = offsets[20] as usize;
    damaged[middle] ^= 1;
    let mut records = txn_log::Records::new(&damaged, 16);
    assert_eq!(records.by_ref().count(), 20);
    let follows = records.end().unwrap().follows;
    assert_eq!(follows, txn_log::Follows::ValidRecord { offset: offsets[21] });
}

#[test]
fn four_letter_words_are_answered_as_the_original_does() {
    let text = String::from_utf8(golden("dialogue.txt")).unwrap();
    let line = text.lines().find(|l| l.starts_with("words ")).unwrap();
    let answers: Vec<String> =
        line.split(' ').skip(1).map(|hex| String::from_utf8(unhex(hex)).unwrap()).collect();
    let report = ServerReport::parse(&answers[0]).unwrap();
    assert_eq!((report.mode, report.zxid), (Mode::Leader, 0x1_0000_0035));
    assert_eq!(report.text(None), answers[0]);
    assert_eq!((words::IMOK, words::isro(Some(false))), (&*answers[1], &*answers[2]));
    assert!(answers[3].contains("membership: \nserver.1="));
}

/// A server made of the pieces under test, on a leader that is its own quorum.
struct Replayed {
    tree: Tree,
    table: SessionTable,
    tracker: SessionTracker,
    prepare: Prepare,
    watches: WatchTable,
    rules: AuthRules,
    conns: BTreeMap<u64, Conn>,
    log: VecDeque<Vec<u8>>,
    offered: bool,
}

#[derive(Default)]
struct Conn {
    session: SessionId,
    ids: Vec<AuthInfo>,
    out: Vec<u8>,
    expected: Vec<u8>,
    greeted: bool,
}

const ME: Sid = Sid(1);
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

impl Replayed {
    fn new() -> Replayed {
        let rules = AuthRules { super_digest: Some(digest_id("super:test")), ..AuthRules::default() };
        let tree = Tree::new(OPTIONS);
        let table = SessionTable::new();
        Replayed {
            prepare: Prepare::new(rules.clone(), 1, &tree),
            tracker: SessionTracker::new(200, 1, &table, Millis(0)),
            watches: WatchTable::new(1),
            conns: BTreeMap::new(),
            log: txns().into(),
            offered: true,
            tree,
            table,
            rules,
        }
    }

    /// Prepares a request, compares with the original's txn, and applies it.
    fn write(&mut self, session: SessionId, cxid: i32, op: OpCode, body: &[u8], ids: &[AuthInfo]) -> Vec<u8> {
        let logged = self.log.pop_front().expect("the original logged a txn");
        let theirs = TxnRecord::decode(&logged).unwrap();
        let now = Now { mono: Millis(0), wall: WallMillis(theirs.header.time) };
        let request = WriteRequest { session, cxid, op, body, identities: ids, owner: ME };
        let zxid = theirs.header.zxid;
        if self.offered {
            let ours = match (op, theirs.txn) {
                (OpCode::Reconfig, Txn::SetData { data, .. }) => {
                    let text = std::str::from_utf8(data.unwrap()).unwrap();
                    let (tree, tracker) = (&self.tree, &mut self.tracker);
                    self.prepare.prepare_reconfig(tree, tracker, &request, zxid, now, Ok(text))
                }
                _ => self.prepare.prepare(&self.tree, &mut self.tracker, &request, zxid, now),
            };
            let ours_read = TxnRecord::decode(&ours).unwrap();
            assert_eq!(ours_read, theirs, "for {op:?} {:?}", String::from_utf8_lossy(body));
            assert_eq!(ours, logged);
        }
        self.table.apply(&theirs.header, &theirs.txn);
        logged
    }

    /// Applies a txn, tells the watchers, and answers its client, if it is connected.
    fn apply(&mut self, logged: &[u8], client: Option<(u64, i32, OpCode)>) {
        let record = TxnRecord::decode(logged).unwrap();
        let (watches, conns) = (&mut self.watches, &mut self.conns);
        let rules = &self.rules;
        let mut told = Vec::new();
        let outcome = self.tree.apply(&record.header, &record.txn, record.digest, &mut |t: Trigger<'_>| {
            told.clear();
            watches.fire(t.kind, t.path, &mut told);
            for id in &told {
                let conn = conns.get_mut(&id.0).unwrap();
                if zkctl::auth::may_hear(rules, t.acl, &conn.ids) {
                    put_event(&mut conn.out, t.kind, t.path, t.zxid.wire());
                }
            }
        });
        assert_ne!(outcome.digest, DigestCheck::Mismatch, "{record:?}");
        self.prepare.committed(record.header.zxid);
        assert_eq!(self.prepare.pending(), 0);
        if record.header.op == OpCode::CloseSession {
            self.tracker.remove(record.header.session);
        }
        if let Some((id, xid, op)) = client {
            let conn = self.conns.get_mut(&id).unwrap();
            let zxid = self.tree.last_zxid().wire();
            let after = answer(&mut conn.out, xid, zxid, op, &record, &outcome);
            assert_eq!(after == After::Close, op == OpCode::CloseSession);
        }
    }

    fn greet(&mut self, id: u64, payload: &[u8]) {
        let request = ConnectRequest::decode(payload).unwrap();
        let mut response = ConnectResponse::expired(request.read_only.map(|_| false));
        let session = SessionId(request.session);
        if session.0 == 0 {
            let created = TxnRecord::decode(self.log.front().unwrap()).unwrap().header.session;
            response.session = created.0;
            // Between 2 and 20 ticks of 200 ms.
            response.timeout_ms = request.timeout_ms.clamp(400, 4000);
            let body = response.timeout_ms.to_be_bytes();
            let logged = self.write(created, 0, OpCode::CreateSession, &body, &[]);
            self.apply(&logged, None);
        } else if password::is_right(session, request.password) {
            self.tracker.set_owner(session, ME).unwrap();
            response.session = session.0;
            response.timeout_ms = self.table.timeout_ms(session).unwrap();
        }
        if response.session != 0 {
            response.password = password::of(SessionId(response.session));
        }
        let conn = self.conns.get_mut(&id).unwrap();
        conn.greeted = true;
        conn.session = SessionId(response.session);
        let open = frame::begin(&mut conn.out);
        response.encode(&mut conn.out);
        open.end(&mut conn.out);
    }

    fn request(&mut self, id: u64, payload: &[u8]) {
        if !self.conns[&id].greeted {
            return self.greet(id, payload);
        }
        let (header, body) = RequestHeader::split(payload).unwrap();
        let op = OpCode::from_wire(header.op).unwrap();
        let ids = self.conns[&id].ids.clone();
        let session = self.conns[&id].session;
        if op == OpCode::Auth {
            let packet = AuthPacket::decode(body).unwrap();
            let conn = self.conns.get_mut(&id).unwrap();
            self.rules.add_auth(&mut conn.ids, PEER, packet.scheme, packet.auth).unwrap();
            put_header_only(&mut conn.out, ReplyHeader { xid: header.xid, zxid: 0, err: ErrorCode::OK });
        } else if op.is_write() {
            let logged = self.write(session, header.xid, op, body, &ids);
            self.apply(&logged, Some((id, header.xid, op)));
        } else {
            let mut reads = Reads { tree: &self.tree, watches: &mut self.watches, rules: &self.rules };
            let conn = ConnId(id);
            let request = ReadRequest { xid: header.xid, op, body, session, conn, identities: &ids };
            let out = &mut self.conns.get_mut(&id).unwrap().out;
            assert_eq!(reads.answer(&request, out), After::Keep);
        }
    }

    fn restart(&mut self) {
        self.tree.set_last_zxid(Epoch(2).first_zxid());
        self.tracker = SessionTracker::new(200, 1, &self.table, Millis(0));
        self.watches = WatchTable::new(2);
        self.prepare.clear();
    }

    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let id = words.get(1).and_then(|w| w.parse().ok()).unwrap_or(0);
        match words[0] {
            "open" => {
                self.conns.insert(id, Conn { ids: identities_of(PEER), ..Conn::default() });
            }
            ">" => {
                let bytes = unhex(words[2]);
                let (payload, used) = frame::next(&bytes, 1 << 20).unwrap();
                assert_eq!(used, bytes.len());
                self.request(id, payload);
            }
            "<" => {
                let conn = self.conns.get_mut(&id).unwrap();
                conn.expected.extend(unhex(words[2]));
                let got = &conn.out[..conn.expected.len().min(conn.out.len())];
                assert_eq!(got, conn.expected, "on connection {id}, the original sent {}", words[2]);
            }
            "expired" => {
                let session = self.conns[&id].session;
                self.watches.remove_conn(ConnId(id));
                let logged = self.write(session, 0, OpCode::CloseSession, &[], &[]);
                self.apply(&logged, None);
            }
            "close" => self.watches.remove_conn(ConnId(id)),
            "restart" => self.restart(),
            "unoffered" => self.offered = false,
            "words" => {}
            other => panic!("a line begins with {other}"),
        }
    }
}

/// Every request of the dialogue goes through prepare, tree, watches and replies, with the original's
/// zxids and times: each txn must be the logged one, each byte sent the original's.
#[test]
fn the_originals_dialogue_is_repeated_byte_for_byte() {
    let mut replayed = Replayed::new();
    for line in String::from_utf8(golden("dialogue.txt")).unwrap().lines() {
        replayed.line(line);
    }
    for (id, conn) in &replayed.conns {
        assert_eq!(conn.out, conn.expected, "connection {id} was sent more than the original sends");
    }
    assert!(replayed.log.is_empty(), "{} logged txns were not asked for", replayed.log.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Damaged txns are refused or applied, and never anything worse.
    #[test]
    fn damaged_txns_do_no_more_than_fail(which in 0..60usize, at in 0..400usize, byte: u8, cut in 0..400usize) {
        let (mut tree, mut sessions) = (Tree::new(OPTIONS), SessionTable::new());
        for (i, body) in txns().iter().enumerate() {
            let mut body = body.clone();
            if i % 60 == which {
                let len = body.len();
                body[at % len] = byte;
                body.truncate(if cut < len { cut } else { len });
            }
            if TxnRecord::decode(&body).is_ok() {
                replay(&mut tree, &mut sessions, &body);
            }
        }
        let cursor = tree.open_cursor(sessions.iter());
        let mut out = Vec::new();
        while !tree.read_cursor(cursor, 64, &mut out) {}
        let mut loader = Loader::new(OPTIONS, 0);
        prop_assert!(loader.push(&out).unwrap().done);
        prop_assert_eq!(loader.finish(tree.last_zxid()).unwrap().0.digest(), tree.digest());
    }

    /// Damaged images are refused by the loader or by their checksum.
    #[test]
    fn damaged_snapshots_are_never_taken_for_whole(at in 0..3000usize, flip in 1..=255u8, hint: u64) {
        let mut file = golden(SNAPSHOTS[1].0);
        let at = at % file.len();
        file[at] ^= flip;
        let Ok(mut verifier) = snapshot::Verifier::begin(&file[..snapshot::HEADER_LEN]) else { return Ok(()) };
        let mut loader = Loader::new(OPTIONS, hint);
        let Ok(progress) = loader.push(&file[snapshot::HEADER_LEN..]) else { return Ok(()) };
        if progress.done {
            let end = snapshot::HEADER_LEN + progress.consumed;
            verifier.cover(&file[snapshot::HEADER_LEN..end]);
            prop_assert!(verifier.tail(&file[end..]).is_err());
        }
    }

    /// Whatever a client or a server sends, decoding it comes to an end.
    #[test]
    fn arbitrary_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = ConnectRequest::decode(&bytes);
        let _ = ConnectResponse::decode(&bytes);
        let _ = TxnRecord::decode(&bytes);
        let _ = MultiOps::new(&bytes).count();
        let _ = SetWatches::decode(OpCode::SetWatches2, &bytes);
        let _ = ServerReport::parse(&String::from_utf8_lossy(&bytes));
        let _ = words::recognise(&bytes);
        let _ = Loader::new(OPTIONS, 0).push(&bytes);
        let _ = txn_log::Records::new(&bytes, 0).count();
        let tree = Tree::new(OPTIONS);
        let rules = AuthRules::default();
        for op in (0..110).filter_map(OpCode::from_wire) {
            let mut reads = Reads { tree: &tree, watches: &mut WatchTable::new(1), rules: &rules };
            let (session, conn) = (SessionId(1), ConnId(1));
            let request = ReadRequest { xid: 1, op, body: &bytes, session, conn, identities: &[] };
            let mut out = Vec::new();
            reads.answer(&request, &mut out);
            prop_assert!(frame::next(&out, 1 << 20).is_ok());
        }
    }
}

/// A body that is no jute never gets further than its error.
#[test]
fn a_cut_request_becomes_a_marshalling_error() {
    let tree = Tree::new(OPTIONS);
    let mut prepare = Prepare::new(AuthRules::default(), 1, &tree);
    let mut tracker = SessionTracker::new(200, 1, &SessionTable::new(), Millis(0));
    tracker.track(SessionId(5), 1000, Millis(0));
    let mut body = Vec::new();
    jute::put_string(&mut body, "/a");
    for op in [OpCode::Create, OpCode::Delete, OpCode::SetData, OpCode::SetAcl, OpCode::Multi] {
        let request =
            WriteRequest { session: SessionId(5), cxid: 1, op, body: &body, identities: &[], owner: ME };
        let txn = prepare.prepare(&tree, &mut tracker, &request, Zxid(1), Now::default());
        let record = TxnRecord::decode(&txn).unwrap();
        assert_eq!(record.txn, Txn::Error { err: ErrorCode::MARSHALLINGERROR }, "{op:?}");
        assert_eq!(record.header.op, OpCode::Error);
    }
}
