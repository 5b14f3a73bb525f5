//! Power cuts around the append of a proposal to the log.

use crate::members::Members;
use crate::script::{Script, ZK1, ZK2, ZK3};

/// zk3 leads and has proposed 1:1; nobody has written it.
fn proposed() -> Script {
    let mut z = Script::established(&Members::voters(&[ZK1, ZK2, ZK3]), ZK3);
    z.proposes(ZK3, "1:1");
    z.says(ZK3, ZK1, "PROPOSE 1:1");
    z.says(ZK3, ZK2, "PROPOSE 1:1");
    z
}

#[test]
fn an_ack_comes_behind_the_append_and_a_commit_behind_a_quorum() {
    let mut z = proposed();
    z.is_silent(ZK1, ZK3);
    z.writes(ZK1, "append 1:1");
    z.says(ZK1, ZK3, "ACK 1:1");
    z.is_silent(ZK3, ZK1);
    z.writes(ZK3, "append 1:1");
    z.shows(ZK3, "1:1");
    z.says(ZK3, ZK2, "COMMIT 1:1");
    // Decided, but not on zk2's own disk: not shown there (ZOOKEEPER-4882).
    z.shows(ZK2, "");
    z.writes(ZK2, "append 1:1");
    z.shows(ZK2, "1:1");
}

#[test]
fn of_a_follower() {
    for done in [false, true] {
        let mut z = proposed();
        if done {
            z.crash_after(ZK1, "append 1:1");
            z.keeps(ZK1, "1:1");
        } else {
            z.crash_before(ZK1, "append 1:1");
            z.keeps(ZK1, "");
        }
        z.run();
        z.shows(ZK3, "1:1");
        z.start(ZK1);
        z.run();
        z.shows(ZK1, "1:1");
    }
}

/// The followers are a quorum without the leader's disk: what they have is decided, and survives it.
#[test]
fn of_the_leader_behind_the_followers_acks() {
    for done in [false, true] {
        let mut z = proposed();
        z.writes(ZK1, "append 1:1");
        z.writes(ZK2, "append 1:1");
        z.says(ZK1, ZK3, "ACK 1:1");
        z.says(ZK2, ZK3, "ACK 1:1");
        z.shows(ZK3, "");
        z.says(ZK3, ZK1, "COMMIT 1:1");
        z.shows(ZK1, "1:1");
        if done {
            z.crash_after(ZK3, "append 1:1");
        } else {
            z.crash_before(ZK3, "append 1:1");
        }
        z.settle();
        z.leads(ZK2, 2);
        z.shows(ZK2, "1:1");
        z.start(ZK3);
        z.run();
        z.shows(ZK3, "1:1");
    }
}

#[test]
fn of_everybody_behind_the_commit() {
    let mut z = proposed();
    z.writes(ZK1, "append 1:1");
    z.writes(ZK3, "append 1:1");
    z.says(ZK1, ZK3, "ACK 1:1");
    z.shows(ZK3, "1:1");
    for sid in [ZK1, ZK2, ZK3] {
        z.crash(sid);
    }
    // zk3, which answered its client, stays away: whoever is left has it from zk1.
    z.start(ZK1);
    z.start(ZK2);
    z.settle();
    z.leads(ZK1, 2);
    z.shows(ZK2, "1:1");
}

#[test]
fn of_everybody_before_a_quorum_has_it() {
    let mut z = proposed();
    z.writes(ZK1, "append 1:1");
    z.says(ZK1, ZK3, "ACK 1:1");
    for sid in [ZK1, ZK2, ZK3] {
        z.crash(sid);
    }
    z.start(ZK2);
    z.start(ZK3);
    z.settle();
    z.leads(ZK3, 2);
    z.proposes(ZK3, "2:1");
    z.run();
    // Nobody was told of 1:1; zk1 gives it up.
    z.start(ZK1);
    z.run();
    z.shows(ZK1, "2:1");
    z.keeps(ZK1, "2:1");
}
