//! A leader's bytes into a learner: it may leave that leader and nothing worse, and its disk stays readable.

use super::client_stream::in_pieces;
use super::peer_messages::message;
use super::stage::{Stage, recovery_options};
use super::{Target, draw};
use zkctl::ids::Sid;
use zkctl::prng::Prng;
use zkctl::server::PeerPort;
use zkctl::storage;
use zkctl::wire::vote::{Hello, Notification, PeerState};
use zkctl::zab::Message;
use zkctl::zxid::{Epoch, Zxid};

pub(crate) const TARGET: Target =
    Target { name: "learner_stream", run, sample, memory: (8192, 96 << 20), runs: 400 };

const LEADER: i64 = 3;

pub(crate) fn run(data: &[u8]) {
    let Some((how, bytes)) = data.split_first() else { return };
    let mut stage = Stage::ensemble(&[1], Some(LEADER));
    for (sid, state) in [(LEADER, PeerState::Leading), (2, PeerState::Following)] {
        let mut said = Hello { sid: Sid(sid), addresses: vec!["3:3888".into()] }.encode();
        vote(state).encode(&mut said);
        stage.votes(1, &said);
    }
    stage.pass(300);
    let link = stage.answer_dial(PeerPort::Quorum).expect("the learner dials its leader");
    in_pieces(bytes, *how, |piece| {
        stage.peer_says(1, link, piece);
        if how & 0x80 != 0 {
            stage.pass(10);
        }
    });
    stage.pass(500);
    assert!(stage.exits.is_empty(), "{:?}", stage.exits);
    storage::recover(&mut stage.take_disk(1), &recovery_options()).unwrap();
}

fn vote(state: PeerState) -> Notification {
    Notification {
        state,
        leader: Sid(LEADER),
        zxid: 0,
        round: 1,
        peer_epoch: 0,
        version: 2,
        config: "version=0".into(),
        zkctl: true,
        is_new: false,
    }
}

fn sample(prng: &mut Prng) -> Vec<u8> {
    let mut out = vec![prng.next_u64() as u8];
    Message::LeaderInfo { epoch: Epoch(1), zkctl: prng.chance(1, 2) }.encode(&mut out);
    let zero = Zxid(0);
    match prng.below(4) {
        0 => Message::Snap(zero).encode(&mut out),
        1 => Message::Trunc(zero).encode(&mut out),
        _ => Message::Diff(zero).encode(&mut out),
    }
    if prng.chance(7, 8) {
        let config = b"version=0".to_vec().into();
        Message::NewLeader { zxid: Epoch(1).first_zxid(), config }.encode(&mut out);
        Message::UpToDate.encode(&mut out);
    }
    let mut zxid = Zxid(0x1_0000_0001);
    for _ in 0..prng.below(8) {
        if prng.chance(1, 2) {
            let mut bytes = Vec::new();
            // A session first: what follows may belong to it.
            super::txns::record(prng, zxid, &mut bytes);
            let proposal = zkctl::zab::Proposal { zxid, bytes: bytes.into() };
            Message::Propose(proposal).encode(&mut out);
            Message::Commit(draw::of(prng, &[zxid, zxid, zxid, Zxid(zxid.0 + 1)])).encode(&mut out);
            zxid = Zxid(zxid.0 + 1);
        } else {
            message(prng, zxid).encode(&mut out);
        }
    }
    out
}
