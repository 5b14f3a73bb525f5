//! Packets of the quorum port and what they mean.

use super::{Target, draw, txns};
use zkctl::ids::{SessionId, Sid};
use zkctl::jute::Error;
use zkctl::prng::Prng;
use zkctl::wire::quorum::{self, AuthInfo, LearnerInfo, PROTOCOL_VERSION, QuorumPacket};
use zkctl::zab::{Message, Proposal};
use zkctl::zxid::{Epoch, Zxid};

pub(crate) const TARGET: Target =
    Target { name: "peer_messages", run, sample, memory: (64, 4096), runs: 200_000 };

const BODY_MAX: usize = 1 << 16;

pub(crate) fn run(data: &[u8]) {
    let mut bytes = data;
    loop {
        match quorum::decode(bytes, BODY_MAX) {
            Ok((packet, used)) => {
                check_packet(&packet, &bytes[..used]);
                match Message::decode(bytes, BODY_MAX) {
                    Ok((message, used_too)) => {
                        assert_eq!(used, used_too);
                        check_message(&message);
                    }
                    Err(error) => assert!(!matches!(error, Error::Short(_)), "waits for what never comes"),
                }
                bytes = &bytes[used..];
            }
            Err(Error::Short(missing)) => {
                assert!(missing > 0);
                return;
            }
            Err(_) => return,
        }
    }
}

fn check_packet(packet: &QuorumPacket<'_>, raw: &[u8]) {
    let mut out = Vec::new();
    quorum::encode(&mut out, packet);
    let (again, used) = quorum::decode(&out, BODY_MAX).unwrap();
    assert_eq!((again, used), (*packet, out.len()));
    // An empty list of identities is written as null.
    assert!(out == raw || packet.auth.is_empty());
    if let Ok(auth) = quorum::decode_auth(packet.auth) {
        assert_eq!(quorum::decode_auth(&quorum::encode_auth(&auth)), Ok(auth));
    }
    if let Some(Ok(info)) = packet.data.map(LearnerInfo::decode) {
        assert_eq!(LearnerInfo::decode(&info.encode()), Ok(info));
    }
}

fn check_message(message: &Message) {
    let mut out = Vec::new();
    message.encode(&mut out);
    let (again, used) = Message::decode(&out, BODY_MAX).unwrap();
    assert_eq!((&again, used), (message, out.len()));
}

fn proposal(prng: &mut Prng, zxid: Zxid) -> Proposal {
    let mut bytes = Vec::new();
    txns::record(prng, zxid, &mut bytes);
    Proposal { zxid, bytes: bytes.into() }
}

/// A message that makes some sense around `zxid`.
pub(crate) fn message(prng: &mut Prng, zxid: Zxid) -> Message {
    let zxid = Zxid(zxid.0 + prng.below(3));
    let epoch = zxid.epoch();
    let info = LearnerInfo {
        sid: Sid(prng.between(1, 4) as i64),
        protocol: PROTOCOL_VERSION,
        config_version: 0,
        zkctl: prng.chance(1, 2),
    };
    match prng.below(18) {
        0 => Message::Info { accepted_epoch: epoch, info, observer: prng.chance(1, 2) },
        1 => Message::LeaderInfo { epoch: Epoch(epoch.0 + 1), zkctl: info.zkctl },
        2 => Message::AckEpoch { last: Some(zxid), current_epoch: Some(epoch) },
        3 => Message::Diff(zxid),
        4 => Message::Trunc(zxid),
        5 => Message::Snap(zxid),
        6 => Message::NewLeader { zxid: epoch.first_zxid(), config: b"version=0".to_vec().into() },
        7 => Message::UpToDate,
        8 | 9 => Message::Propose(proposal(prng, zxid)),
        10 => Message::Ack(zxid),
        11 => Message::Commit(zxid),
        12 => Message::Inform(proposal(prng, zxid)),
        13 => Message::Ping { zxid: zxid.wire(), touched: vec![0; 12 * prng.below(3) as usize].into() },
        14 => Message::Revalidate(vec![0; prng.between(8, 13) as usize].into()),
        15 => Message::Sync(b"\0\0\0\x02/a".to_vec().into()),
        _ => {
            let op = draw::op(prng);
            let mut body = Vec::new();
            draw::body(prng, op, &mut body);
            let auth = quorum::encode_auth(&[AuthInfo { scheme: "ip".into(), id: "127.0.0.1".into() }]);
            let session = SessionId(prng.below(3) as i64);
            Message::Request { session, cxid: 1, opcode: op.wire(), body: body.into(), auth: auth.into() }
        }
    }
}

fn sample(prng: &mut Prng) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..prng.between(1, 4) {
        message(prng, Zxid(0x1_0000_0002)).encode(&mut out);
    }
    out
}
