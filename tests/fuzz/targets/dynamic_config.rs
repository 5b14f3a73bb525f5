//! Member lists, as dynamic files and peers bring them: what we write of one is read to the same.

use super::{Target, draw};
use zkctl::config::{MemberList, text_of, version_of_file_name};
use zkctl::prng::Prng;

pub(crate) const TARGET: Target =
    Target { name: "dynamic_config", run, sample, memory: (4096, 1 << 16), runs: 60_000 };

pub(crate) fn run(data: &[u8]) {
    let text = text_of(data.to_vec());
    let _ = version_of_file_name(&text);
    let Ok(list) = MemberList::from_dynamic_text("a peer", &text) else { return };
    assert!(list.members.is_sorted_by(|a, b| a.sid < b.sid), "each id once");
    assert_eq!(list.voters().count() + list.observers().count(), list.members.len());
    let written = list.to_dynamic_text();
    let again = MemberList::from_dynamic_text("our own text", &written)
        .unwrap_or_else(|e| panic!("{written:?} of {text:?}: {e:?}"));
    assert_eq!(again.to_dynamic_text(), written);
    assert_eq!((again.version, again.members.len()), (list.version, list.members.len()));
    for (a, b) in list.members.iter().zip(&again.members) {
        assert_eq!((a.sid, a.role, a.addresses.len()), (b.sid, b.role, b.addresses.len()));
    }
}

fn sample(prng: &mut Prng) -> Vec<u8> {
    let mut out = String::new();
    for sid in 1..=prng.below(6) {
        let host =
            draw::of(prng, &["zk1", "10.0.0.1", "[::1]", "[fe80::1%eth0]", "a.b.c", "[::ffff:1.2.3.4]"]);
        let more = draw::of(prng, &["", "|other:4:5", "|[2001:db8::1]:1:2"]);
        let role = draw::of(prng, &["", ":participant", ":observer", ":PARTICIPANT"]);
        let client = draw::of(prng, &["", ";2181", ";0.0.0.0:2181", ";2181;2281", ";;[::1]:2281"]);
        out.push_str(&format!("server.{sid}={host}:2888:3888{more}{role}{client}\n"));
    }
    if prng.chance(1, 2) {
        out.push_str("version=100000003");
    }
    out.into_bytes()
}
