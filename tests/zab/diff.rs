//! DIFF: a learner whose history is a prefix of the leader's.

use crate::members::Members;
use crate::script::{Script, ZK1, ZK2, ZK3};

/// zk2 leads with zk3; zk1, which is behind, has heard so and is about to join.
fn behind() -> Script {
    let mut z = Script::new(&Members::voters(&[ZK1, ZK2, ZK3]));
    z.holds(ZK1, 1, "1:1 1:2");
    z.holds(ZK2, 1, "1:1 1:2 1:3");
    z.holds(ZK3, 1, "1:1 1:2");
    z.start(ZK2);
    z.start(ZK3);
    z.settle();
    z.leads(ZK2, 2);
    z.start(ZK1);
    z.votes();
    z
}

/// The whole way of a learner into the ensemble, step by step.
#[test]
fn a_learner_that_is_behind_gets_what_it_lacks() {
    let mut z = behind();
    z.says(ZK1, ZK2, "FOLLOWERINFO 1");
    z.says(ZK2, ZK1, "LEADERINFO 2");
    z.is_silent(ZK1, ZK2);
    z.writes(ZK1, "acceptedEpoch 2");
    z.says(ZK1, ZK2, "ACKEPOCH 1:2 of epoch 1");
    z.says_all(ZK2, ZK1, &["DIFF 1:3", "PROPOSE 1:3", "COMMIT 1:3", "NEWLEADER 2:0"]);
    z.writes(ZK1, "append 1:3");
    z.is_silent(ZK1, ZK2);
    z.writes(ZK1, "currentEpoch 2");
    z.says(ZK1, ZK2, "ACK 2:0");
    z.shows(ZK1, "1:1 1:2");
    z.says(ZK2, ZK1, "UPTODATE");
    z.follows(ZK1, ZK2);
    z.shows(ZK1, "1:1 1:2 1:3");
}

#[test]
fn a_learner_in_step_gets_an_empty_one() {
    let mut z = Script::established(&Members::voters(&[ZK1, ZK2, ZK3]), ZK3);
    z.proposes(ZK3, "1:1");
    z.run();
    z.crash(ZK1);
    z.start(ZK1);
    z.votes();
    z.says(ZK1, ZK3, "FOLLOWERINFO 1");
    z.says(ZK3, ZK1, "LEADERINFO 1");
    // It has promised this epoch already; its promise is not counted twice.
    z.says(ZK1, ZK3, "ACKEPOCH 1:1 promised before");
    z.says_all(ZK3, ZK1, &["DIFF 1:1", "NEWLEADER 1:0"]);
    z.run();
    z.shows(ZK1, "1:1");
}

/// What is proposed while a learner synchronises reaches it behind its history (ZOOKEEPER-3104, -4925).
#[test]
fn what_is_proposed_during_the_synchronization_follows_it() {
    let mut z = behind();
    z.says(ZK1, ZK2, "FOLLOWERINFO 1");
    z.says(ZK2, ZK1, "LEADERINFO 2");
    z.writes(ZK1, "acceptedEpoch 2");
    z.proposes(ZK2, "2:1");
    z.says(ZK1, ZK2, "ACKEPOCH 1:2 of epoch 1");
    z.proposes(ZK2, "2:2");
    z.says_all(ZK2, ZK1, &["DIFF 1:3", "PROPOSE 1:3", "COMMIT 1:3", "PROPOSE 2:1", "NEWLEADER 2:0"]);
    z.says(ZK2, ZK1, "PROPOSE 2:2");
    z.writes(ZK1, "append 1:3");
    z.writes(ZK1, "append 2:1");
    z.writes(ZK1, "currentEpoch 2");
    z.says_all(ZK1, ZK2, &["ACK 2:0", "ACK 2:1"]);
    z.is_silent(ZK1, ZK2);
    z.writes(ZK1, "append 2:2");
    z.says(ZK1, ZK2, "ACK 2:2");
    z.run();
    z.shows(ZK1, "1:1 1:2 1:3 2:1 2:2");
}

#[test]
fn a_txn_of_one_server_only_is_decided_by_the_epoch_that_finds_it() {
    let mut z = Script::new(&Members::voters(&[ZK1, ZK2, ZK3]));
    z.holds(ZK1, 1, "1:1 1:2");
    z.holds(ZK2, 1, "1:1");
    z.holds(ZK3, 1, "1:1");
    z.start_all();
    z.votes();
    z.messages();
    z.disk(ZK1);
    z.messages();
    z.disk(ZK2);
    z.says_all(ZK2, ZK1, &["ACKEPOCH 1:1 of epoch 1"]);
    z.says_all(ZK1, ZK2, &["DIFF 1:2", "PROPOSE 1:2", "COMMIT 1:2", "NEWLEADER 2:0"]);
    // Decided it is, shown it is not: not before a quorum has it and the leader says so.
    z.shows(ZK2, "1:1");
    z.run();
    z.leads(ZK1, 2);
    z.shows(ZK3, "1:1 1:2");
}
