//! A client's bytes into a whole standalone server: replies come in the order of the requests, nobody else's
//! connection suffers, and what was logged can be replayed to the same tree.

use super::stage::{Stage, recovery_options};
use super::{Target, draw};
use zkctl::jute::Reader;
use zkctl::prng::Prng;
use zkctl::server::Event;
use zkctl::storage;
use zkctl::wire::connect::ConnectRequest;
use zkctl::wire::errcode::ErrorCode;
use zkctl::wire::frame;
use zkctl::wire::opcode::{OpCode, xid};
use zkctl::wire::reply::ReplyHeader;
use zkctl::wire::request::RequestHeader;
use zkctl::wire::words;

/// The constant is that of a server with its buffers of a megabyte; a few bytes may ask for the same data
/// again and again.
pub(crate) const TARGET: Target =
    Target { name: "client_stream", run, sample, memory: (8192, 96 << 20), runs: 600 };

const WITNESS: u64 = 1;
const STRANGER: u64 = 2;

pub(crate) fn run(data: &[u8]) {
    let Some((how, bytes)) = data.split_first() else { return };
    let mut stage = Stage::standalone();
    begin_witness(&mut stage, 1);
    stage.open_client(1, STRANGER);
    in_pieces(bytes, *how, |piece| {
        stage.client_says(1, STRANGER, piece);
        if how & 0x80 != 0 {
            stage.pass(20);
        }
    });
    check_replies(&stage, bytes);
    ask_witness(&mut stage, 1);
    let (digest, last, nodes) = {
        let tree = stage.server(1).tree();
        (tree.digest(), tree.last_zxid(), tree.node_count())
    };
    assert!(stage.exits.is_empty(), "{:?}", stage.exits);
    stage.give(1, Event::Stop);
    assert_eq!(stage.exits.get(&1).map(|e| e.0), Some(0));
    let recovered = storage::recover(&mut stage.take_disk(1), &recovery_options()).unwrap();
    let tree = &recovered.tree;
    assert_eq!((tree.digest(), tree.last_zxid(), tree.node_count()), (digest, last, nodes), "replayed");
    assert!(recovered.notes.is_empty(), "{:?}", recovered.notes);
}

/// Bytes arrive in pieces whose borders `how` draws.
pub(crate) fn in_pieces(mut bytes: &[u8], how: u8, mut each: impl FnMut(&[u8])) {
    let mut prng = Prng::new(how.into());
    let largest = if how & 1 == 0 { 400 } else { 12 };
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(prng.between(1, largest).min(bytes.len() as u64) as usize);
        each(piece);
        bytes = rest;
    }
}

pub(crate) fn hello(out: &mut Vec<u8>) {
    let open = frame::begin(out);
    ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: 0,
        timeout_ms: 8000,
        session: 0,
        password: &[0; 16],
        read_only: Some(false),
    }
    .encode(out);
    open.end(out);
}

/// A client opens a session that must not suffer.
pub(crate) fn begin_witness(stage: &mut Stage, sid: i64) {
    stage.open_client(sid, WITNESS);
    let mut bytes = Vec::new();
    hello(&mut bytes);
    stage.client_says(sid, WITNESS, &bytes);
    let heard = stage.clients.get_mut(&(sid, WITNESS)).unwrap();
    assert!(!heard.bytes.is_empty() && !heard.closed, "the witness has a session");
    heard.bytes.clear();
}

/// It is still answered, reads and writes.
pub(crate) fn ask_witness(stage: &mut Stage, sid: i64) {
    let mut bytes = Vec::new();
    let mut prng = Prng::new(1);
    for (n, op) in [OpCode::Exists, OpCode::Create, OpCode::Sync, OpCode::GetChildren].into_iter().enumerate()
    {
        let open = frame::begin(&mut bytes);
        RequestHeader { xid: n as i32 + 1, op: op.wire() }.encode(&mut bytes);
        draw::body(&mut prng, op, &mut bytes);
        open.end(&mut bytes);
    }
    stage.client_says(sid, WITNESS, &bytes);
    // A sync is answered when a quorum has said something after it.
    stage.pass(1);
    let heard = &stage.clients[&(sid, WITNESS)];
    assert!(!heard.closed, "the witness's connection is closed");
    let xids: Vec<i32> = replies(&heard.bytes).iter().map(|h| h.xid).collect();
    assert_eq!(xids, [1, 2, 3, 4], "the witness's answers");
}

/// The headers of a stream of replies.
fn replies(mut bytes: &[u8]) -> Vec<ReplyHeader> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let (payload, used) = frame::next(bytes, 1 << 27).unwrap();
        out.push(ReplyHeader::read(&mut Reader::new(payload)).unwrap());
        bytes = &bytes[used..];
    }
    out
}

/// What the stranger was told, against what it asked.
fn check_replies(stage: &Stage, asked: &[u8]) {
    let heard = &stage.clients[&(1, STRANGER)];
    if words::recognise(asked).is_some() {
        // A word's answer has no frames, and ends the connection.
        assert!(heard.closed || heard.bytes.is_empty());
        return;
    }
    let Ok((_, used)) = frame::next(asked, 1 << 16) else {
        assert!(heard.bytes.is_empty());
        return;
    };
    if heard.bytes.is_empty() {
        assert!(heard.closed, "a handshake without an answer");
        return;
    }
    let (_, answer) = frame::next(&heard.bytes, 1 << 16).unwrap();
    let (expected, whole) = expected_xids(&asked[used..]);
    let Some(expected) = expected else { return };
    let mut answers = replies(&heard.bytes[answer..]);
    // As in the original an operation that is not offered is answered at once, and ends the connection.
    if heard.closed && answers.last().is_some_and(|h| h.err == ErrorCode::UNIMPLEMENTED) {
        answers.pop();
    }
    answers.retain(|h| h.xid != xid::NOTIFICATION && h.xid != xid::AUTH);
    let xids: Vec<i32> = answers.iter().map(|h| h.xid).collect();
    assert!(expected.starts_with(&xids), "asked {expected:?}, answered {xids:?}");
    assert!(heard.closed || (xids.len() == expected.len() && whole), "{xids:?} of {expected:?}");
    let zxids: Vec<i64> = answers.iter().map(|h| h.zxid).filter(|z| *z > 0).collect();
    assert!(zxids.is_sorted(), "time goes back: {zxids:?}");
}

/// The xids that answers must have, and whether all frames were possible. None when a request took the xid
/// of an event, or of `addauth`, whose answer waits for nothing.
fn expected_xids(mut bytes: &[u8]) -> (Option<Vec<i32>>, bool) {
    let mut out = Vec::new();
    loop {
        match frame::next(bytes, 1 << 16) {
            Ok((payload, used)) => {
                bytes = &bytes[used..];
                let Ok((header, _)) = RequestHeader::split(payload) else { return (Some(out), false) };
                match (OpCode::from_wire(header.op), header.xid) {
                    (Some(OpCode::Auth), xid::AUTH) => {}
                    (Some(OpCode::Ping), _) => out.push(xid::PING),
                    (Some(OpCode::Auth), _) | (_, xid::AUTH | xid::NOTIFICATION) => return (None, true),
                    _ => out.push(header.xid),
                }
            }
            Err(zkctl::jute::Error::Short(_)) => return (Some(out), true),
            Err(_) => return (Some(out), false),
        }
    }
}

fn sample(prng: &mut Prng) -> Vec<u8> {
    let mut out = vec![prng.next_u64() as u8];
    if prng.chance(1, 12) {
        out.extend_from_slice(draw::of(prng, words::ALL).text().as_bytes());
        return out;
    }
    hello(&mut out);
    for n in 0..prng.between(1, 12) {
        draw::request(prng, n as i32 + 1, &mut out);
    }
    out
}
