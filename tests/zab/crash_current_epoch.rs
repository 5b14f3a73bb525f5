//! Power cuts around the write of currentEpoch, which says that an epoch's history is on disk.

use crate::members::Members;
use crate::script::{Script, ZK1, ZK2, ZK3};

/// zk3, which alone holds 1:2, leads zk1 up to NEWLEADER; zk2 is down.
fn at_new_leader() -> Script {
    let mut z = Script::new(&Members::voters(&[ZK1, ZK2, ZK3]));
    z.holds(ZK1, 1, "1:1");
    z.holds(ZK2, 1, "1:1");
    z.holds(ZK3, 1, "1:1 1:2");
    z.start(ZK1);
    z.start(ZK3);
    z.votes();
    z.wait(200);
    z.votes();
    z.messages();
    z.writes(ZK3, "acceptedEpoch 2");
    z.messages();
    z.writes(ZK1, "acceptedEpoch 2");
    z.messages();
    z
}

/// ZOOKEEPER-4643: a high epoch over a short log would win an election and cut what others committed.
#[test]
fn of_a_follower_comes_behind_the_history() {
    for done in [false, true] {
        let mut z = at_new_leader();
        z.writes(ZK1, "append 1:2");
        z.is_silent(ZK1, ZK3);
        if done {
            z.crash_after(ZK1, "currentEpoch 2");
            z.epochs(ZK1, 2, 2);
        } else {
            z.crash_before(ZK1, "currentEpoch 2");
            z.epochs(ZK1, 2, 1);
        }
        z.keeps(ZK1, "1:1 1:2");
        z.looks(ZK3);

        z.crash(ZK3);
        z.start(ZK1);
        z.start(ZK2);
        z.settle();
        z.leads(ZK1, 3);
        z.shows(ZK2, "1:1 1:2");
    }
}

#[test]
fn of_a_follower_that_loses_power_before_the_history() {
    let mut z = at_new_leader();
    z.crash_before(ZK1, "append 1:2");
    z.epochs(ZK1, 2, 1);
    z.keeps(ZK1, "1:1");
    z.start(ZK1);
    z.start(ZK2);
    z.settle();
    z.leads(ZK3, 3);
    z.shows(ZK1, "1:1 1:2");
}

#[test]
fn of_the_leader() {
    for done in [false, true] {
        let mut z = at_new_leader();
        z.disk(ZK1);
        z.says(ZK1, ZK3, "ACK 2:0");
        // A quorum has it, but the leader's own disk has not.
        z.is_silent(ZK3, ZK1);
        if done {
            z.crash_after(ZK3, "currentEpoch 2");
            z.epochs(ZK3, 2, 2);
        } else {
            z.crash_before(ZK3, "currentEpoch 2");
            z.epochs(ZK3, 2, 1);
        }
        z.start(ZK2);
        z.settle();
        z.leads(ZK1, 3);
        z.start(ZK3);
        z.settle();
        z.follows(ZK3, ZK1);
        z.shows(ZK3, "1:1 1:2");
    }
}
