//! Four-letter words: recognised at the server, their reports read by the operator's side.

use super::{Target, draw};
use zkctl::prng::Prng;
use zkctl::wire::words::{self, Latency, Mode, ServerReport};

pub(crate) const TARGET: Target = Target { name: "words", run, sample, memory: (64, 8192), runs: 100_000 };

pub(crate) fn run(data: &[u8]) {
    if let Some((word, used)) = words::recognise(data) {
        assert!((4..=6).contains(&used) && used <= data.len());
        assert_eq!(word.text().as_bytes(), &data[..4]);
    }
    let text = String::from_utf8_lossy(data);
    let Ok(report) = ServerReport::parse(&text) else { return };
    let written = report.text(None);
    let again = ServerReport::parse(&written).unwrap_or_else(|e| panic!("{written:?}: {e}"));
    assert_eq!((again.mode, again.zxid, again.received), (report.mode, report.zxid, report.received));
    assert_eq!(again.text(None), written);
}

fn sample(prng: &mut Prng) -> Vec<u8> {
    if prng.chance(1, 10) {
        return format!("{}\r\n", draw::of(prng, words::ALL).text()).into_bytes();
    }
    let report = ServerReport {
        version: "3.9.5-zkctl, built on x".into(),
        latency: Latency { min: 0, avg: 1.5, max: 99 },
        received: prng.below(1000) as i64,
        sent: 2,
        connections: 1,
        outstanding: 0,
        zxid: prng.next_u64() >> 8,
        mode: draw::of(prng, &[Mode::Leader, Mode::Follower, Mode::Standalone]),
        node_count: 5,
        proposal_sizes: draw::of(prng, &[None, Some([1, 2, 3])]),
    };
    report.text(None).into_bytes()
}
