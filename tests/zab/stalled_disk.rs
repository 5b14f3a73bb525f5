//! A disk that stalls: its leader hands over, its follower leaves, and neither votes before it has answered.

use crate::members::Members;
use crate::script::{SYNC_MS, Script, ZK1, ZK2, ZK3};

/// zk3 leads.
fn established() -> Script {
    Script::established(&Members::voters(&[ZK1, ZK2, ZK3]), ZK3)
}

/// Time passes, and everything works but the disk of zk3.
pub(crate) fn live_without_zk3_s_disk(z: &mut Script, ms: u64) {
    for _ in 0..ms / 50 {
        z.wait(50);
        for _ in 0..20 {
            z.votes();
            z.messages();
            z.disk(ZK1);
            z.disk(ZK2);
        }
    }
}

#[test]
fn a_leader_whose_disk_stalls_hands_over() {
    let mut z = established();
    z.proposes(ZK3, "1:1");
    live_without_zk3_s_disk(&mut z, SYNC_MS - 100);
    z.leads(ZK3, 1);
    // Decided by the others' disks; not shown by the leader, whose own has not got it.
    z.shows(ZK1, "1:1");
    z.shows(ZK3, "");
    live_without_zk3_s_disk(&mut z, 1000);
    z.looks(ZK3);
    z.leads(ZK2, 2);
    z.follows(ZK1, ZK2);
    z.proposes(ZK2, "2:1");
    // It has no vote and joins nobody as long as nobody knows what it holds.
    live_without_zk3_s_disk(&mut z, 3 * SYNC_MS);
    z.looks(ZK3);
    z.awaits(ZK3, "append 1:1");
    z.shows(ZK1, "1:1 2:1");
    z.writes(ZK3, "append 1:1");
    z.live(5000);
    z.follows(ZK3, ZK2);
    z.shows(ZK3, "1:1 2:1");
}

#[test]
fn a_follower_whose_disk_stalls_leaves_and_comes_back() {
    let mut z = Script::established(&Members::voters(&[ZK1, ZK2, ZK3]), ZK2);
    z.follows(ZK3, ZK2);
    z.proposes(ZK2, "1:1");
    live_without_zk3_s_disk(&mut z, SYNC_MS + 200);
    z.looks(ZK3);
    z.leads(ZK2, 1);
    z.proposes(ZK2, "1:2");
    live_without_zk3_s_disk(&mut z, 1000);
    z.shows(ZK1, "1:1 1:2");
    z.disk(ZK3);
    z.live(5000);
    z.follows(ZK3, ZK2);
    z.shows(ZK3, "1:1 1:2");
}

#[test]
fn a_slow_disk_that_answers_in_time_stays() {
    let mut z = established();
    z.proposes(ZK3, "1:1");
    for zxid in ["1:2", "1:3", "1:4"] {
        z.proposes(ZK3, zxid);
        live_without_zk3_s_disk(&mut z, SYNC_MS / 3);
        // One of many, at a time: each is younger than the limit when its turn comes.
        let next = z.hosts[&ZK3].pending.front().map(|(_, w)| crate::text::of_write(w)).unwrap();
        z.writes(ZK3, &next);
    }
    z.leads(ZK3, 1);
}

/// A backlog that takes longer than the limit is no stall while each of its parts is answered in time.
#[test]
fn a_disk_that_is_far_behind_and_answers_stays() {
    let mut z = established();
    for zxid in ["1:1", "1:2", "1:3", "1:4", "1:5"] {
        z.proposes(ZK3, zxid);
    }
    for zxid in ["1:1", "1:2", "1:3", "1:4", "1:5"] {
        live_without_zk3_s_disk(&mut z, SYNC_MS - 200);
        z.writes(ZK3, &format!("append {zxid}"));
    }
    z.leads(ZK3, 1);
}
