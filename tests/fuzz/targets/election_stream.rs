//! Anybody's bytes on the election ports of servers that serve: they go on.

use super::client_stream::in_pieces;
use super::leader_stream::{goes_on, serving};
use super::{Target, votes};
use zkctl::prng::Prng;
use zkctl::server::PeerPort;

pub(crate) const TARGET: Target =
    Target { name: "election_stream", run, sample, memory: (8192, 96 << 20), runs: 300 };

pub(crate) fn run(data: &[u8]) {
    let Some((how, bytes)) = data.split_first() else { return };
    let mut stage = serving();
    let to = 1 + i64::from(how >> 6 & 1);
    let link = stage.open_peer(to, PeerPort::Election);
    in_pieces(bytes, *how, |piece| {
        stage.peer_says(to, link, piece);
        if how & 0x80 != 0 {
            stage.pass(10);
        }
    });
    goes_on(&mut stage);
}

fn sample(prng: &mut Prng) -> Vec<u8> {
    let mut out = vec![prng.next_u64() as u8];
    out.extend(votes::sample(prng));
    out
}
