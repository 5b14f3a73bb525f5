//! TRUNC: a learner that holds what the ensemble has gone on without.

use crate::members::Members;
use crate::script::{INIT_MS, SETTLE_MS, SYNC_MS, Script, ZK1, ZK2, ZK3, ZK4, ZK5};
use crate::stalled_disk::live_without_zk3_s_disk;
use zkctl::ids::Sid;
use zkctl::zab::Trust;

/// zk3 led epoch 1, proposed 1:2 and 1:3, and died before anybody else had them; zk1 and zk2 went on.
fn overtaken() -> Script {
    let mut z = Script::established(&Members::voters(&[ZK1, ZK2, ZK3]), ZK3);
    z.proposes(ZK3, "1:1");
    z.run();
    z.proposes(ZK3, "1:2");
    z.proposes(ZK3, "1:3");
    z.disk(ZK3);
    z.crash(ZK3);
    z.settle();
    z.leads(ZK2, 2);
    z.keeps(ZK3, "1:1 1:2 1:3");
    z
}

/// As above; zk3 has come back, and its disk is about to cut.
fn about_to_cut() -> Script {
    let mut z = overtaken();
    z.start(ZK3);
    z.votes();
    z.messages();
    z.writes(ZK3, "acceptedEpoch 2");
    z.messages();
    z.awaits(ZK3, "truncate to 1:1");
    z
}

/// The learner joins again in an epoch that it has promised, and asks for all of the tree.
#[track_caller]
fn asks_for_the_tree(z: &mut Script, learner: Sid, leader: Sid, epoch: u32) {
    z.says(learner, leader, &format!("FOLLOWERINFO {epoch}"));
    z.says(leader, learner, &format!("LEADERINFO {epoch}"));
    z.says(learner, leader, "ACKEPOCH untrusted promised before");
}

#[test]
fn what_was_never_decided_is_cut() {
    let mut z = overtaken();
    z.start(ZK3);
    z.votes();
    z.says(ZK3, ZK2, "FOLLOWERINFO 1");
    z.says(ZK2, ZK3, "LEADERINFO 2");
    z.writes(ZK3, "acceptedEpoch 2");
    z.says(ZK3, ZK2, "ACKEPOCH 1:3 of epoch 1");
    z.says(ZK2, ZK3, "TRUNC 1:1");
    z.says(ZK2, ZK3, "NEWLEADER 2:0");
    z.writes(ZK3, "truncate to 1:1");
    z.is_silent(ZK3, ZK2);
    // What came behind the cut is taken up when the tree has been read back.
    z.writes(ZK3, "currentEpoch 2");
    z.says(ZK3, ZK2, "ACK 2:0");
    z.says(ZK2, ZK3, "UPTODATE");
    z.shows(ZK3, "1:1");
    z.keeps(ZK3, "1:1");
}

#[test]
fn what_is_decided_since_follows_the_cut() {
    let mut z = overtaken();
    z.proposes(ZK2, "2:1");
    z.run();
    z.start(ZK3);
    z.run();
    z.follows(ZK3, ZK2);
    z.shows(ZK3, "1:1 2:1");
    z.keeps(ZK3, "1:1 2:1");
}

/// ZOOKEEPER-5094: the cut reached the disk and the link ended; what is offered next is what the disk holds.
#[test]
fn a_power_cut_around_the_cut_leaves_one_history_or_the_other() {
    for done in [false, true] {
        let mut z = about_to_cut();
        if done {
            z.crash_after(ZK3, "truncate to 1:1");
            z.keeps(ZK3, "1:1");
        } else {
            z.crash_before(ZK3, "truncate to 1:1");
            z.keeps(ZK3, "1:1 1:2 1:3");
        }
        z.start(ZK3);
        z.run();
        z.follows(ZK3, ZK2);
        z.shows(ZK3, "1:1");
    }
}

#[test]
fn a_cut_link_between_trunc_and_newleader_is_joined_again() {
    let mut z = overtaken();
    z.proposes(ZK2, "2:1");
    z.run();
    z.start(ZK3);
    z.votes();
    z.messages();
    z.writes(ZK3, "acceptedEpoch 2");
    z.says(ZK3, ZK2, "ACKEPOCH 1:3 of epoch 1");
    z.says(ZK2, ZK3, "TRUNC 1:1");
    z.crash(ZK2);
    z.settle();
    // zk3's cut is done before it votes: it votes with 1:1 and learns the rest from zk1.
    z.leads(ZK1, 3);
    z.shows(ZK3, "1:1 2:1");
}

/// A leader that died before it was established sent zk3, which is down, a snapshot that goes further than what was
/// decided: nothing on its disk leads up to the point where zk2, who leads now, will want it cut.
fn away_with_too_much() -> Script {
    let mut z = Script::new(&Members::voters(&[ZK1, ZK2, ZK3]));
    z.holds(ZK1, 1, "1:1");
    z.holds(ZK2, 1, "1:1");
    z.holds_snapshot(ZK3, 1, "1:1 1:2 1:3", "");
    z.start(ZK1);
    z.start(ZK2);
    z.settle();
    z.leads(ZK2, 2);
    z
}

/// As above; zk3 has come back, and is told to cut.
fn sent_too_much() -> Script {
    let mut z = away_with_too_much();
    z.start(ZK3);
    z.votes();
    z.says(ZK3, ZK2, "FOLLOWERINFO 1");
    z.says(ZK2, ZK3, "LEADERINFO 2");
    z.writes(ZK3, "acceptedEpoch 2");
    z.says(ZK3, ZK2, "ACKEPOCH 1:3 of epoch 1");
    z.says(ZK2, ZK3, "TRUNC 1:1");
    z
}

/// What lies in front of the snapshot may be less than what zk3 has acknowledged, so it keeps all, and is given the
/// whole tree.
#[test]
fn a_cut_in_front_of_a_received_snapshot_becomes_a_snap() {
    let mut z = sent_too_much();
    z.writes(ZK3, "truncate to 1:1");
    z.keeps(ZK3, "1:1 1:2 1:3");
    asks_for_the_tree(&mut z, ZK3, ZK2, 2);
    z.says_all(ZK2, ZK3, &["SNAP 1:1", "the tree of 1:1", "NEWLEADER 2:0"]);
    z.crash_after(ZK3, "install 1:1");
    assert_eq!(
        z.trust(ZK3),
        Trust::Trusted,
        "the tree reaches the point up to which it may have acknowledged"
    );
    z.start(ZK3);
    z.run();
    z.follows(ZK3, ZK2);
    z.shows(ZK3, "1:1");
}

/// It has promised the epoch before it was told to cut, and what was decided meanwhile comes with the tree.
#[test]
fn a_snap_in_place_of_a_cut_brings_what_was_decided_meanwhile() {
    let mut z = away_with_too_much();
    z.promised(ZK3, 2);
    z.proposes(ZK2, "2:1");
    z.run();
    z.start(ZK3);
    z.run();
    z.follows(ZK3, ZK2);
    z.shows(ZK3, "1:1 2:1");
    assert_eq!(z.trust(ZK3), Trust::Trusted);
}

/// An Apache leader's snapshot may end at counter 0 of its epoch, where no log has a record: who has gone on from
/// there, and has none of it on disk, cannot be cut back to it.
#[test]
fn nobody_is_cut_at_the_beginning_of_an_epoch() {
    let mut z = Script::new(&Members::voters(&[ZK1, ZK2, ZK3]));
    z.holds(ZK1, 3, "2:9");
    z.holds_snapshot(ZK2, 3, "2:9 3:0", "");
    z.holds(ZK3, 3, "2:9 3:1");
    z.start(ZK1);
    z.start(ZK2);
    z.settle();
    z.leads(ZK2, 4);
    z.start(ZK3);
    z.votes();
    z.says(ZK3, ZK2, "FOLLOWERINFO 3");
    z.says(ZK2, ZK3, "LEADERINFO 4");
    z.writes(ZK3, "acceptedEpoch 4");
    z.says(ZK3, ZK2, "ACKEPOCH 3:1 of epoch 3");
    z.says(ZK2, ZK3, "SNAP 3:0");
    z.run();
    z.follows(ZK3, ZK2);
    z.shows(ZK3, "2:9 3:0");
}

#[test]
fn behind_that_snap_it_joins_with_what_it_holds() {
    let mut z = sent_too_much();
    z.run();
    z.follows(ZK3, ZK2);
    z.proposes(ZK2, "2:1");
    live_without_zk3_s_disk(&mut z, SYNC_MS + 200);
    z.looks(ZK3);
    z.leads(ZK2, 2);
    z.disk(ZK3);
    z.votes();
    z.says(ZK3, ZK2, "FOLLOWERINFO 2");
    z.says(ZK2, ZK3, "LEADERINFO 2");
    z.says(ZK3, ZK2, "ACKEPOCH 2:1 promised before");
}

/// The link ends while the files are read back: who joins again asks for the tree all the same.
#[test]
fn a_link_that_ends_during_the_reload_does_not_lead_to_the_same_cut_again() {
    let mut z = sent_too_much();
    z.awaits(ZK3, "truncate to 1:1");
    z.loses_link(ZK3, ZK2);
    z.looks(ZK3);
    z.disk(ZK3);
    z.votes();
    asks_for_the_tree(&mut z, ZK3, ZK2, 2);
    z.run();
    z.follows(ZK3, ZK2);
}

#[test]
fn a_link_that_ends_during_a_cut_that_is_made_is_joined_again_with_what_is_left() {
    let mut z = about_to_cut();
    z.loses_link(ZK3, ZK2);
    z.disk(ZK3);
    z.votes();
    z.says(ZK3, ZK2, "FOLLOWERINFO 2");
    z.says(ZK2, ZK3, "LEADERINFO 2");
    z.says(ZK3, ZK2, "ACKEPOCH 1:1 promised before");
}

/// zk5 leads with 1:2, which nobody has decided yet, so its tree ends at 1:1: who may have acknowledged 1:2 and gets
/// that tree holds less than it may have acknowledged, until all of it has come.
#[test]
fn a_tree_that_ends_before_the_cut_is_not_trusted() {
    let mut z = Script::established(&Members::voters(&[ZK1, ZK2, ZK3, ZK4, ZK5]), ZK3);
    z.proposes(ZK3, "1:1");
    z.run();
    z.proposes(ZK3, "1:2");
    z.messages();
    for sid in [ZK2, ZK4, ZK5] {
        z.disk(sid);
    }
    z.crash(ZK3);
    z.crash(ZK1);
    z.holds_snapshot(ZK1, 1, "1:1 1:2 1:3", "");
    z.votes();
    z.wait(SETTLE_MS);
    z.votes();
    for sid in [ZK5, ZK2, ZK4] {
        z.messages();
        z.writes(sid, "acceptedEpoch 2");
    }
    z.messages();
    z.shows(ZK5, "1:1");
    z.start(ZK1);
    z.votes();
    z.says(ZK1, ZK5, "FOLLOWERINFO 1");
    z.says(ZK5, ZK1, "LEADERINFO 2");
    z.writes(ZK1, "acceptedEpoch 2");
    z.says(ZK1, ZK5, "ACKEPOCH 1:3 of epoch 1");
    z.says(ZK5, ZK1, "TRUNC 1:2");
    z.writes(ZK1, "truncate to 1:2");
    asks_for_the_tree(&mut z, ZK1, ZK5, 2);
    z.says_all(ZK5, ZK1, &["SNAP 1:1", "the tree of 1:1"]);
    z.writes(ZK1, "install 1:1");
    assert_eq!(z.trust(ZK1), Trust::Lost);
    z.run();
    z.follows(ZK1, ZK5);
    z.keeps(ZK1, "1:1 1:2");
    assert_eq!(z.trust(ZK1), Trust::Trusted);
}

/// zk2 has entered an epoch in which nothing was written, and nobody is there to follow it but zk3, which has more and
/// nothing but a snapshot of it.
fn needs_who_cannot_cut() -> Script {
    let mut z = Script::new(&Members::voters(&[ZK1, ZK2, ZK3]));
    z.holds(ZK2, 2, "1:1");
    z.holds_snapshot(ZK3, 1, "1:1 1:2 1:3", "");
    z.start(ZK2);
    z.start(ZK3);
    z
}

/// Seed 18000757 of the simulator, Liveness: zk3 went through an election each time, and each reign began with the same
/// cut.
#[test]
fn a_leader_that_needs_who_cannot_cut_is_not_given_up() {
    let mut z = needs_who_cannot_cut();
    z.settle();
    z.leads(ZK2, 3);
    z.follows(ZK3, ZK2);
    z.keeps(ZK3, "1:1");
    assert_eq!(z.trust(ZK3), Trust::Trusted);
}

/// Reading the files back to find out takes longer than the leader waits for a quorum: each of its reigns would begin
/// with the same cut.
#[test]
fn a_cut_that_was_found_impossible_is_not_looked_for_again() {
    let mut z = needs_who_cannot_cut();
    z.votes();
    z.wait(SETTLE_MS);
    z.votes();
    z.messages();
    z.writes(ZK2, "acceptedEpoch 3");
    z.messages();
    z.writes(ZK3, "acceptedEpoch 3");
    z.messages();
    z.writes(ZK2, "currentEpoch 3");
    z.messages();
    z.awaits(ZK3, "truncate to 1:1");
    z.wait(INIT_MS);
    z.looks(ZK2);
    z.writes(ZK3, "truncate to 1:1");
    z.votes();
    z.wait(SETTLE_MS);
    z.votes();
    z.messages();
    z.writes(ZK2, "acceptedEpoch 4");
    z.messages();
    z.writes(ZK3, "acceptedEpoch 4");
    z.says(ZK3, ZK2, "ACKEPOCH 1:3 of epoch 1");
    z.writes(ZK2, "currentEpoch 4");
    z.says(ZK2, ZK3, "TRUNC 1:1");
    asks_for_the_tree(&mut z, ZK3, ZK2, 4);
    z.run();
    z.follows(ZK3, ZK2);
    z.keeps(ZK3, "1:1");
}
