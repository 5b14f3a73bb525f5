//! Power cuts around the write of acceptedEpoch, the promise to follow nobody older.

use crate::members::Members;
use crate::script::{Script, ZK1, ZK2, ZK3};

/// zk3 is elected; a quorum has said FOLLOWERINFO.
fn in_discovery() -> Script {
    let mut z = Script::new(&Members::voters(&[ZK1, ZK2, ZK3]));
    for sid in [ZK1, ZK2, ZK3] {
        z.holds(sid, 1, "1:1");
    }
    z.start_all();
    z.votes();
    z.messages();
    z
}

#[test]
fn of_a_follower() {
    for done in [false, true] {
        let mut z = in_discovery();
        z.writes(ZK3, "acceptedEpoch 2");
        z.says(ZK3, ZK1, "LEADERINFO 2");
        if done {
            z.crash_after(ZK1, "acceptedEpoch 2");
            z.epochs(ZK1, 2, 1);
        } else {
            z.crash_before(ZK1, "acceptedEpoch 2");
            z.epochs(ZK1, 1, 1);
        }
        z.run();
        z.leads(ZK3, 2);
        z.start(ZK1);
        z.run();
        z.follows(ZK1, ZK3);
        z.epochs(ZK1, 2, 2);
    }
}

#[test]
fn of_the_leader() {
    for done in [false, true] {
        let mut z = in_discovery();
        z.is_silent(ZK3, ZK1);
        z.is_silent(ZK3, ZK2);
        if done {
            z.crash_after(ZK3, "acceptedEpoch 2");
        } else {
            z.crash_before(ZK3, "acceptedEpoch 2");
        }
        z.settle();
        // Nobody heard of zk3's epoch 2: it is free for another.
        z.leads(ZK2, 2);
        z.start(ZK3);
        z.run();
        z.follows(ZK3, ZK2);
        z.epochs(ZK3, 2, 2);
    }
}

/// A promise that was written and not told cannot be counted when it is told after a restart: what else was
/// promised since is not known. The epoch is given up for the next.
#[test]
fn a_promise_is_not_counted_twice() {
    let mut z = Script::new(&Members::voters(&[ZK1, ZK2, ZK3]));
    z.start(ZK1);
    z.start(ZK3);
    z.votes();
    z.wait(200);
    z.votes();
    z.messages();
    z.writes(ZK3, "acceptedEpoch 1");
    z.says(ZK3, ZK1, "LEADERINFO 1");
    z.crash_after(ZK1, "acceptedEpoch 1");
    z.looks(ZK3);
    z.start(ZK1);
    z.settle();
    z.leads(ZK3, 2);
}
