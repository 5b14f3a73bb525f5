//! Observers: they learn what is decided, and decide nothing.

use crate::members::Members;
use crate::script::{INIT_MS, RESEND_MS, Script, ZK1, ZK2, ZK3, ZK4};
use zkctl::wire::vote::PeerState;

fn members() -> Members {
    Members::voters(&[ZK1, ZK2, ZK3]).observers(&[ZK4])
}

/// zk3 leads zk1 and zk2; zk4 observes.
fn observed() -> Script {
    let z = Script::established(&members(), ZK3);
    z.observes(ZK4, ZK3);
    z
}

#[test]
fn an_observer_joins_as_a_follower_does() {
    let mut z = Script::new(&members());
    for sid in [ZK1, ZK2, ZK3] {
        z.holds(sid, 1, "1:1");
        z.start(sid);
    }
    z.settle();
    z.start(ZK4);
    z.vote(ZK4, ZK3, "LOOKING no vote, round 1");
    z.votes();
    z.says(ZK4, ZK3, "OBSERVERINFO 0");
    z.says(ZK3, ZK4, "LEADERINFO 2");
    z.writes(ZK4, "acceptedEpoch 2");
    z.says(ZK4, ZK3, "ACKEPOCH 0:0 of epoch 0");
    z.says_all(ZK3, ZK4, &["SNAP 1:1", "the tree of 1:1", "NEWLEADER 2:0"]);
    z.writes(ZK4, "install 1:1");
    z.is_silent(ZK4, ZK3);
    z.writes(ZK4, "currentEpoch 2");
    z.says(ZK4, ZK3, "ACK 2:0");
    z.says(ZK3, ZK4, "UPTODATE");
    z.observes(ZK4, ZK3);
    z.shows(ZK4, "1:1");
}

#[test]
fn it_hears_what_is_decided_and_answers_nothing() {
    let mut z = observed();
    z.proposes(ZK3, "1:1");
    z.is_silent(ZK3, ZK4);
    z.disk(ZK3);
    z.says(ZK3, ZK1, "PROPOSE 1:1");
    z.writes(ZK1, "append 1:1");
    z.is_silent(ZK3, ZK4);
    z.says(ZK1, ZK3, "ACK 1:1");
    z.says(ZK3, ZK4, "INFORM 1:1");
    z.shows(ZK4, "");
    z.writes(ZK4, "append 1:1");
    z.shows(ZK4, "1:1");
    z.is_silent(ZK4, ZK3);
}

#[test]
fn it_does_not_help_to_elect() {
    let mut z = Script::new(&members());
    z.start(ZK1);
    z.start(ZK4);
    z.live(3 * INIT_MS);
    z.looks(ZK1);
    z.looks(ZK4);
}

#[test]
fn it_does_not_help_to_begin_a_reign() {
    let mut z = Script::new(&members());
    z.start(ZK2);
    z.start(ZK3);
    z.start(ZK4);
    z.votes();
    z.wait(200);
    z.votes();
    z.says(ZK2, ZK3, "FOLLOWERINFO 0");
    z.writes(ZK3, "acceptedEpoch 1");
    z.wait(200);
    z.votes();
    z.says(ZK4, ZK3, "OBSERVERINFO 0");
    z.says(ZK3, ZK4, "LEADERINFO 1");
    z.writes(ZK4, "acceptedEpoch 1");
    z.says(ZK4, ZK3, "ACKEPOCH 0:0 of epoch 0");
    // zk2's promise is missing: zk4's is none.
    z.is_silent(ZK3, ZK4);
    z.awaits(ZK3, "nothing");
    z.says(ZK3, ZK2, "LEADERINFO 1");
    z.writes(ZK2, "acceptedEpoch 1");
    z.says(ZK2, ZK3, "ACKEPOCH 0:0 of epoch 0");
    z.says_all(ZK3, ZK4, &["DIFF 0:0", "NEWLEADER 1:0"]);
    z.writes(ZK4, "currentEpoch 1");
    z.writes(ZK3, "currentEpoch 1");
    z.says(ZK4, ZK3, "ACK 1:0");
    // Nor is its acknowledgement of NEWLEADER.
    z.is_silent(ZK3, ZK4);
    z.run();
    z.leads(ZK3, 1);
    z.observes(ZK4, ZK3);
}

#[test]
fn it_does_not_keep_a_leader_in_office() {
    let mut z = observed();
    z.crash(ZK1);
    z.crash(ZK2);
    z.looks(ZK3);
    z.live(RESEND_MS);
    z.looks(ZK4);
}

#[test]
fn it_finds_the_next_leader() {
    let mut z = observed();
    z.proposes(ZK3, "1:1");
    z.run();
    z.crash(ZK3);
    z.live(RESEND_MS);
    z.leads(ZK2, 2);
    z.observes(ZK4, ZK2);
    z.proposes(ZK2, "2:1");
    z.run();
    z.shows(ZK4, "1:1 2:1");
}

/// zk3 leads epoch 2 by the voters' list; zk4, by its own an observer, is down, holds this log and has promised epoch 5.
fn led_by_less_than_promised(list: &Members, log: &str) -> Script {
    let mut z = Script::new(list);
    z.lists(ZK4, &members());
    z.holds(ZK4, 1, log);
    z.promised(ZK4, 5);
    for sid in [ZK1, ZK2, ZK3] {
        z.holds(sid, 1, "1:1");
        z.start(sid);
    }
    z.settle();
    z.leads(ZK3, 2);
    z
}

/// As a voter it promised epoch 5 to a candidate that never led, and was converted: nobody steps down for it, and
/// its promise binds nobody's acknowledgement any more. (Seed 4025246 of the simulator, Liveness.)
#[test]
fn an_observer_that_promised_a_later_epoch_is_not_shut_out() {
    let mut z = led_by_less_than_promised(&members(), "1:1");
    z.start(ZK4);
    z.votes();
    z.says(ZK4, ZK3, "OBSERVERINFO 5");
    z.says(ZK3, ZK4, "LEADERINFO 2");
    z.says(ZK4, ZK3, "ACKEPOCH 1:1 promised before");
    z.run();
    z.observes(ZK4, ZK3);
    z.leads(ZK3, 2);
    z.epochs(ZK4, 5, 2);
}

/// The leader may still list it as a voter: it says itself that it is none, and nobody steps down for it.
#[test]
fn nobody_steps_down_for_who_has_become_an_observer() {
    let mut z = led_by_less_than_promised(&Members::voters(&[ZK1, ZK2, ZK3, ZK4]), "1:1");
    z.start(ZK4);
    z.run();
    z.observes(ZK4, ZK3);
    z.leads(ZK3, 2);
}

/// What it entered it does not leave for less: its log may hold what it acknowledged there.
#[test]
fn an_observer_does_not_follow_an_epoch_below_its_log_s() {
    let mut z = led_by_less_than_promised(&members(), "1:1 5:1");
    z.start(ZK4);
    z.votes();
    z.says(ZK4, ZK3, "OBSERVERINFO 5");
    z.says(ZK3, ZK4, "LEADERINFO 2");
    z.looks(ZK4);
    z.keeps(ZK4, "1:1 5:1");
    // It finds the same leader at once, and does not ask again as fast as the network allows.
    z.run();
    z.is_silent(ZK4, ZK3);
    assert_eq!(z.state(ZK4), PeerState::Observing);
    z.wait(200);
    z.says(ZK4, ZK3, "OBSERVERINFO 5");
}
