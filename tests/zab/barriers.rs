//! Syncs: a leader shows them its history when a quorum has confirmed since that it still leads.

use crate::members::Members;
use crate::script::{Script, ZK1, ZK2, ZK3};

fn established() -> Script {
    Script::established(&Members::voters(&[ZK1, ZK2, ZK3]), ZK3)
}

#[test]
fn a_barrier_waits_for_one_follower_s_answer() {
    let mut z = established();
    let sync = z.barrier(ZK3);
    assert!(!z.passed.contains(&(ZK3, sync)));
    z.says(ZK3, ZK1, "PING");
    assert!(!z.passed.contains(&(ZK3, sync)));
    z.says(ZK1, ZK3, "PING");
    assert!(z.passed.contains(&(ZK3, sync)));
}

/// Found by histories of real servers: the one follower that was asked lost its link before it answered, when
/// another had come. The leader stayed, and waited for an answer on a link that was gone, with every later sync
/// behind.
#[test]
fn a_barrier_is_confirmed_by_followers_that_came_later() {
    let mut z = established();
    z.crash(ZK1);
    z.proposes(ZK3, "1:1");
    z.run();
    z.start(ZK1);
    for _ in 0..20 {
        z.votes();
        z.messages();
    }
    z.awaits(ZK1, "append 1:1");
    let lost = z.barrier(ZK3);
    z.disk(ZK1);
    z.says(ZK1, ZK3, "ACK 1:0");
    z.crash(ZK2);
    z.start(ZK2);
    z.run();
    assert!(!z.passed.contains(&(ZK3, lost)), "nobody was asked and has answered since");
    let next = z.barrier(ZK3);
    z.live(2000);
    z.leads(ZK3, 1);
    assert!(z.passed.contains(&(ZK3, next)) && z.passed.contains(&(ZK3, lost)), "{:?}", z.passed);
}
