//! Size and speed of the replicated state, measured; run by hand with optimised code:
//! `CARGO_PROFILE_TEST_OPT_LEVEL=3 cargo test --test scale -- --ignored --nocapture --test-threads 1`.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![allow(clippy::print_stdout, reason = "its figures are what it is for")]

use std::time::Instant;
use zkctl::auth::AuthRules;
use zkctl::ids::{ConnId, SessionId, Sid};
use zkctl::pipeline::{Prepare, ReadRequest, Reads, WriteRequest};
use zkctl::session::{SessionTable, SessionTracker};
use zkctl::time::{Millis, Now};
use zkctl::tree::{Loader, Tree, TreeOptions, WatchMode, WatchTable};
use zkctl::wire::acl::AclList;
use zkctl::wire::opcode::OpCode;
use zkctl::wire::reply::EventKind;
use zkctl::wire::request::{CreateRequest, SetDataRequest, WatchedRequest};
use zkctl::wire::txn::{CreateKind, CreateTxn, Txn, TxnHeader, TxnRecord};
use zkctl::zxid::Zxid;

const ZNODES: u64 = 1_000_000;

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn say(what: &str, count: u64, since: Instant) {
    let ns = since.elapsed().as_nanos() as u64;
    println!("{what}: {} ns each, {} ms in all", ns / count.max(1), ns / 1_000_000);
}

fn header(zxid: u64, op: OpCode) -> TxnHeader {
    TxnHeader { session: SessionId(1), cxid: 1, zxid: Zxid(zxid), time: 1, op }
}

fn grow(tree: &mut Tree) {
    let mut zxid = 1;
    let mut make = |tree: &mut Tree, path: &str| {
        let data = Some(&[7u8; 100][..]);
        let kind = CreateKind::Plain { ephemeral: false };
        let create = CreateTxn { path, data, acl: AclList::OPEN, kind, parent_cversion: -1 };
        tree.apply(&header(zxid, OpCode::Create), &Txn::Create(create), None, &mut |_| {});
        zxid += 1;
    };
    for dir in 0..ZNODES / 1000 {
        make(tree, &format!("/dir{dir:04}"));
        for leaf in 1..1000 {
            make(tree, &format!("/dir{dir:04}/node{leaf:07}"));
        }
    }
}

#[test]
#[ignore = "measures"]
fn a_million_znodes() {
    let before = resident_kb();
    let started = Instant::now();
    let mut tree = Tree::new(TreeOptions::default());
    grow(&mut tree);
    say("apply a create", ZNODES, started);
    let used = resident_kb() - before;
    println!(
        "resident: {} MB for the tree, {} MB in all",
        used * 1024 / 1_000_000,
        resident_kb() * 1024 / 1_000_000
    );

    let started = Instant::now();
    let cursor = tree.open_cursor(SessionTable::new().iter());
    let (mut image, mut longest) = (Vec::with_capacity(300 << 20), 0);
    loop {
        let slice = Instant::now();
        let done = tree.read_cursor(cursor, 256 << 10, &mut image);
        longest = longest.max(slice.elapsed().as_micros());
        if done {
            break;
        }
    }
    tree.close_cursor(cursor);
    say("write a znode into an image", ZNODES, started);
    println!("longest slice of 256 KB: {longest} us; image: {} MB", image.len() / 1_000_000);
    let digest = tree.digest();
    drop(tree);

    let started = Instant::now();
    let mut loader = Loader::new(TreeOptions::default(), image.len() as u64);
    let mut at = 0;
    while at < image.len() {
        let end = (at + (1 << 20)).min(image.len());
        at += loader.push(&image[at..end]).unwrap().consumed;
    }
    let (tree, _) = loader.finish(Zxid(1)).unwrap();
    say("load a znode", ZNODES, started);
    assert_eq!(tree.digest(), digest);
    assert!(used * 1024 < 260_000_000, "{used} KB");
}

#[test]
#[ignore = "measures"]
fn writes_of_a_kilobyte() {
    let mut tree = Tree::new(TreeOptions::default());
    let mut prepare = Prepare::new(AuthRules::default(), 1, &tree);
    let mut tracker = SessionTracker::new(1000, 1, &SessionTable::new(), Millis(0));
    tracker.track(SessionId(1), 10_000, Millis(0));
    let data = [9u8; 1024];
    let mut zxid = Zxid(1);
    let run = |tree: &mut Tree,
               prepare: &mut Prepare,
               tracker: &mut SessionTracker,
               zxid: &mut Zxid,
               op,
               body: &[u8]| {
        let request =
            WriteRequest { session: SessionId(1), cxid: 1, op, body, identities: &[], owner: Sid(1) };
        *zxid = Zxid(zxid.0 + 1);
        prepare.prepare(tree, tracker, &request, *zxid, Now::default())
    };
    let mut bodies = Vec::new();
    for i in 0..1000 {
        let path = format!("/node{i:05}");
        let mut body = Vec::new();
        CreateRequest { path: &path, data: None, acl: AclList::OPEN, flags: 0, ttl_ms: None }
            .encode(&mut body);
        let txn = run(&mut tree, &mut prepare, &mut tracker, &mut zxid, OpCode::Create, &body);
        let record = TxnRecord::decode(&txn).unwrap();
        tree.apply(&record.header, &record.txn, record.digest, &mut |_| {});
        prepare.committed(zxid);
        body.clear();
        SetDataRequest { path: &path, data: Some(&data), version: -1 }.encode(&mut body);
        bodies.push(body);
    }
    let mut txns = Vec::with_capacity(1000);
    let (mut preparing, mut applying) = (0, 0);
    for _ in 0..200 {
        let started = Instant::now();
        for body in &bodies {
            txns.push(run(&mut tree, &mut prepare, &mut tracker, &mut zxid, OpCode::SetData, body));
        }
        preparing += started.elapsed().as_nanos();
        let started = Instant::now();
        for txn in txns.drain(..) {
            let record = TxnRecord::decode(&txn).unwrap();
            tree.apply(&record.header, &record.txn, record.digest, &mut |_| {});
            prepare.committed(record.header.zxid);
        }
        applying += started.elapsed().as_nanos();
    }
    println!(
        "setData of 1 KB: prepare {} ns, decode, apply, commit {} ns",
        preparing / 200_000,
        applying / 200_000
    );

    let mut watches = WatchTable::new(1);
    let rules = AuthRules::default();
    let mut out = Vec::with_capacity(4 << 20);
    let mut body = Vec::new();
    WatchedRequest { path: "/node00500", watch: false }.encode(&mut body);
    let started = Instant::now();
    for xid in 0..200_000 {
        if out.len() > 2 << 20 {
            out.clear();
        }
        let mut reads = Reads { tree: &tree, watches: &mut watches, rules: &rules };
        let request = ReadRequest {
            xid,
            op: OpCode::GetData,
            body: &body,
            session: SessionId(1),
            conn: ConnId(1),
            identities: &[],
        };
        reads.answer(&request, &mut out);
    }
    say("getData of 1 KB", 200_000, started);

    let mut told = Vec::new();
    let started = Instant::now();
    for conn in 0..10_000 {
        watches.add(ConnId(conn), "/node00500", WatchMode::Data);
    }
    say("watch", 10_000, started);
    let started = Instant::now();
    watches.fire(EventKind::DataChanged, "/node00500", &mut told);
    say("fire", 10_000, started);
    assert_eq!(told.len(), 10_000);
}
