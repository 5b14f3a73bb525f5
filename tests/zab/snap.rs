//! SNAP: a learner that the leader's memory does not reach back to, or whose database is not trusted.

use crate::members::Members;
use crate::script::{Script, ZK1, ZK2, ZK3};
use zkctl::zab::Trust;

/// zk3 leads zk2 and has forgotten the txns before 1:3; zk1 holds the first only.
fn far_behind() -> Script {
    let mut z = Script::new(&Members::voters(&[ZK1, ZK2, ZK3]));
    z.holds(ZK1, 1, "1:1");
    z.holds_snapshot(ZK2, 1, "1:1 1:2 1:3", "1:4");
    z.holds_snapshot(ZK3, 1, "1:1 1:2 1:3", "1:4");
    z.start(ZK2);
    z.start(ZK3);
    z.settle();
    z.leads(ZK3, 2);
    z
}

fn up_to_the_stream(z: &mut Script) {
    z.start(ZK1);
    z.votes();
    z.says(ZK1, ZK3, "FOLLOWERINFO 1");
    z.says(ZK3, ZK1, "LEADERINFO 2");
    z.writes(ZK1, "acceptedEpoch 2");
    z.says(ZK1, ZK3, "ACKEPOCH 1:1 of epoch 1");
    z.says(ZK3, ZK1, "SNAP 1:4");
}

#[test]
fn a_learner_too_far_behind_gets_the_whole_tree() {
    let mut z = far_behind();
    up_to_the_stream(&mut z);
    z.says(ZK3, ZK1, "the tree of 1:1 1:2 1:3 1:4");
    z.says(ZK3, ZK1, "NEWLEADER 2:0");
    z.keeps(ZK1, "1:1");
    z.writes(ZK1, "install 1:4");
    z.is_silent(ZK1, ZK3);
    z.writes(ZK1, "currentEpoch 2");
    z.says(ZK1, ZK3, "ACK 2:0");
    z.says(ZK3, ZK1, "UPTODATE");
    z.shows(ZK1, "1:1 1:2 1:3 1:4");
    z.keeps(ZK1, "1:1 1:2 1:3 1:4");
}

#[test]
fn what_is_proposed_while_the_tree_travels_follows_it() {
    let mut z = far_behind();
    up_to_the_stream(&mut z);
    z.proposes(ZK3, "2:1");
    z.disk(ZK2);
    z.disk(ZK3);
    z.says_all(ZK3, ZK2, &["PROPOSE 2:1"]);
    z.disk(ZK2);
    z.says(ZK2, ZK3, "ACK 2:1");
    z.says_all(ZK3, ZK1, &["the tree of 1:1 1:2 1:3 1:4", "NEWLEADER 2:0", "PROPOSE 2:1", "COMMIT 2:1"]);
    z.run();
    z.follows(ZK1, ZK3);
    z.shows(ZK1, "1:1 1:2 1:3 1:4 2:1");
}

/// The tree is what is decided; what is not travels behind it as proposals.
#[test]
fn what_is_proposed_and_not_decided_is_not_in_the_tree() {
    let mut z = far_behind();
    z.proposes(ZK3, "2:1");
    up_to_the_stream(&mut z);
    z.says_all(ZK3, ZK1, &["the tree of 1:1 1:2 1:3 1:4", "PROPOSE 2:1", "NEWLEADER 2:0"]);
    z.run();
    z.follows(ZK1, ZK3);
    z.shows(ZK1, "1:1 1:2 1:3 1:4 2:1");
}

/// ZOOKEEPER-3642: the leader dies behind the stream; what is in memory only is offered to nobody.
#[test]
fn a_tree_in_memory_only_is_never_offered() {
    let mut z = far_behind();
    up_to_the_stream(&mut z);
    z.says(ZK3, ZK1, "the tree of 1:1 1:2 1:3 1:4");
    z.crash(ZK3);
    z.votes();
    // Its disk is not quiet: it takes no part in the election.
    z.awaits(ZK1, "install 1:4");
    z.writes(ZK1, "install 1:4");
    // What it has now is whole, but of epoch 1: it votes for zk2, which has entered epoch 2.
    z.vote(ZK1, ZK2, "LOOKING zk2 at 1:4 of epoch 2, round 2");
    z.settle();
    z.leads(ZK2, 3);
    z.shows(ZK1, "1:1 1:2 1:3 1:4");
}

/// A wiped voter is synchronised, and not trusted before that is complete.
#[test]
fn a_wiped_voter_is_trusted_behind_newleader_only() {
    let mut z = far_behind();
    z.is_new(ZK1);
    z.start(ZK1);
    z.vote(ZK1, ZK2, "LOOKING zk1 untrusted, round 1");
    z.votes();
    z.says(ZK1, ZK3, "FOLLOWERINFO 0");
    z.says(ZK3, ZK1, "LEADERINFO 2");
    z.writes(ZK1, "acceptedEpoch 2");
    z.says(ZK1, ZK3, "ACKEPOCH untrusted of epoch 0");
    z.says_all(ZK3, ZK1, &["SNAP 1:4", "the tree of 1:1 1:2 1:3 1:4", "NEWLEADER 2:0"]);
    z.writes(ZK1, "install 1:4");
    assert_eq!(z.trust(ZK1), Trust::Lost);
    z.writes(ZK1, "currentEpoch 2");
    z.is_silent(ZK1, ZK3);
    z.writes(ZK1, "trust");
    z.says(ZK1, ZK3, "ACK 2:0");
    z.run();
    z.follows(ZK1, ZK3);
    assert_eq!(z.trust(ZK1), Trust::Trusted);
}
