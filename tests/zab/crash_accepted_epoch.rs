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

/// What zk1 did since it promised is not known: its promise is repeated, and not counted.
#[test]
fn a_promise_is_not_counted_twice() {
    let mut z = in_discovery();
    z.writes(ZK3, "acceptedEpoch 2");
    z.says(ZK3, ZK1, "LEADERINFO 2");
    z.crash_after(ZK1, "acceptedEpoch 2");
    z.start(ZK1);
    z.votes();
    z.says(ZK1, ZK3, "FOLLOWERINFO 2");
    z.says(ZK3, ZK1, "LEADERINFO 2");
    z.says(ZK1, ZK3, "ACKEPOCH 1:1 promised before");
    z.awaits(ZK3, "nothing");
    z.is_silent(ZK3, ZK1);

    z.says(ZK3, ZK2, "LEADERINFO 2");
    z.writes(ZK2, "acceptedEpoch 2");
    z.says(ZK2, ZK3, "ACKEPOCH 1:1 of epoch 1");
    z.awaits(ZK3, "currentEpoch 2");
    z.run();
    z.leads(ZK3, 2);
    z.follows(ZK1, ZK3);
}

/// With nobody else to promise, the epoch is given up for the next at once, not after initLimit.
#[test]
fn an_epoch_that_nobody_else_can_promise_is_given_up() {
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
