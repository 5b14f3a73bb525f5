//! The election port's bytes: a hello, then notifications of every age.

use super::{Target, draw};
use zkctl::ids::Sid;
use zkctl::prng::Prng;
use zkctl::wire::vote::{self, Hello, Notification, PeerState};

pub(crate) const TARGET: Target = Target { name: "votes", run, sample, memory: (128, 4096), runs: 200_000 };

pub(crate) fn run(data: &[u8]) {
    let mut bytes = data;
    if let Ok((hello, used)) = Hello::decode(data) {
        bytes = &data[used..];
        if let [address] = &hello.addresses[..] {
            // The form of several addresses is written as that of one.
            assert!(used == 8 || hello.encode()[8..] == data[8..used], "{address}");
        }
    }
    while let Ok((payload, used)) = vote::next_message(bytes) {
        assert_eq!(payload.len() + 4, used);
        if let Ok(notification) = Notification::decode(payload) {
            check(&notification);
        }
        bytes = &bytes[used..];
    }
}

fn check(notification: &Notification) {
    let mut out = Vec::new();
    notification.encode(&mut out);
    let (payload, used) = vote::next_message(&out).unwrap();
    assert_eq!(used, out.len());
    let again = Notification::decode(payload).unwrap();
    // What only a newer form holds is not read back from an older one.
    if notification.version >= 2 {
        assert_eq!(&again, notification);
    } else {
        assert_eq!(
            (again.leader, again.zxid, again.round),
            (notification.leader, notification.zxid, notification.round)
        );
    }
}

pub(crate) fn notification(prng: &mut Prng) -> Notification {
    Notification {
        state: draw::of(
            prng,
            &[PeerState::Looking, PeerState::Following, PeerState::Leading, PeerState::Observing],
        ),
        leader: Sid(prng.between(1, 4) as i64),
        zxid: draw::of(prng, &[-1, 0, 1, 0x1_0000_0003, i64::MAX]),
        round: draw::of(prng, &[0, 1, 2, 5, i64::MAX]),
        peer_epoch: draw::of(prng, &[0, 1, 2, i64::from(u32::MAX), -1]),
        version: draw::of(prng, &[2, 2, 2, 1, 0]),
        config: draw::of(prng, &["", "version=0", "server.1=a:2:3\nversion=0"]).into(),
        zkctl: prng.chance(1, 2),
        is_new: prng.chance(1, 3),
    }
}

pub(crate) fn sample(prng: &mut Prng) -> Vec<u8> {
    let sid = prng.below(6) as i64;
    let mut out = match prng.below(3) {
        0 => sid.to_be_bytes().to_vec(),
        _ => Hello { sid: Sid(sid), addresses: vec!["zk:3888".into()] }.encode(),
    };
    if prng.chance(1, 6) && out.len() > 8 {
        out[..8].copy_from_slice(&vote::HELLO_V2.to_be_bytes());
    }
    for _ in 0..prng.below(4) {
        let from = out.len();
        notification(prng).encode(&mut out);
        // Older servers end earlier.
        if prng.chance(1, 4) {
            let len = draw::of(prng, &[28, 36, 40]);
            out.truncate(from + 4 + len);
            out[from..from + 4].copy_from_slice(&(len as i32).to_be_bytes());
        }
    }
    out
}
