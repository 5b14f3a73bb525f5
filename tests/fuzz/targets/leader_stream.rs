//! A learner's bytes into a leader that serves: only that link may close.

use super::client_stream::{ask_witness, begin_witness, in_pieces};
use super::peer_messages::message;
use super::stage::Stage;
use super::{Target, draw};
use zkctl::ids::Sid;
use zkctl::prng::Prng;
use zkctl::server::PeerPort;
use zkctl::wire::quorum::{LearnerInfo, PROTOCOL_VERSION};
use zkctl::zab::{Message, Service};
use zkctl::zxid::{Epoch, Zxid};

pub(crate) const TARGET: Target =
    Target { name: "leader_stream", run, sample, memory: (8192, 96 << 20), runs: 300 };

pub(crate) fn run(data: &[u8]) {
    let Some((how, bytes)) = data.split_first() else { return };
    if let Ok((Message::Info { info, accepted_epoch, .. }, _)) = Message::decode(bytes, 1 << 16) {
        // Who says that it is server 1 takes server 1's place, as after a restart; and a voter that has promised
        // a later epoch makes the leader step down, since it could never join this one.
        let ahead = accepted_epoch > Epoch(1);
        if info.sid == Sid(1) || (info.sid == Sid(3) && ahead) {
            return;
        }
    }
    let mut stage = serving();
    let link = stage.open_peer(2, PeerPort::Quorum);
    in_pieces(bytes, *how, |piece| {
        stage.peer_says(2, link, piece);
        if how & 0x80 != 0 {
            stage.pass(10);
        }
    });
    goes_on(&mut stage);
}

/// Server 2 leads, 1 follows, a client of each has a session; 3 is away.
pub(crate) fn serving() -> Stage {
    let mut stage = Stage::ensemble(&[1, 2], None);
    stage.pass(3000);
    check(&stage);
    begin_witness(&mut stage, 1);
    begin_witness(&mut stage, 2);
    stage
}

fn check(stage: &Stage) {
    assert!(stage.exits.is_empty(), "{:?}", stage.exits);
    let services = [1, 2].map(|sid| stage.server(sid).service());
    assert!(matches!(services, [Service::Following { .. }, Service::Leading(_)]), "{services:?}");
}

/// Both still serve, and in time too.
pub(crate) fn goes_on(stage: &mut Stage) {
    check(stage);
    stage.pass(500);
    check(stage);
    ask_witness(stage, 2);
    ask_witness(stage, 1);
    let digests = [1, 2].map(|sid| stage.server(sid).tree().digest());
    assert_eq!(digests[0], digests[1]);
}

fn sample(prng: &mut Prng) -> Vec<u8> {
    let mut out = vec![prng.next_u64() as u8];
    let info = LearnerInfo {
        sid: Sid(draw::of(prng, &[3, 3, 3, 2, 9])),
        protocol: PROTOCOL_VERSION,
        config_version: 0,
        zkctl: prng.chance(1, 2),
    };
    let accepted_epoch = Epoch(draw::of(prng, &[0, 0, 1, 2, 100]));
    Message::Info { accepted_epoch, info, observer: prng.chance(1, 4) }.encode(&mut out);
    if prng.chance(7, 8) {
        let last =
            draw::of(prng, &[Some(Zxid(0)), Some(Zxid(0x1_0000_0001)), None, Some(Zxid(0x7_0000_0000))]);
        let current_epoch = draw::of(prng, &[Some(Epoch(0)), Some(Epoch(1)), None]);
        Message::AckEpoch { last, current_epoch }.encode(&mut out);
    }
    if prng.chance(7, 8) {
        Message::Ack(Epoch(1).first_zxid()).encode(&mut out);
    }
    for _ in 0..prng.below(8) {
        message(prng, Zxid(0x1_0000_0002)).encode(&mut out);
    }
    out
}
