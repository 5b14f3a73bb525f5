//! Elections: who leads, and when nobody may.

use crate::members::Members;
use crate::script::{INIT_MS, RESEND_MS, SETTLE_MS, Script, ZK1, ZK2, ZK3, ZK4, ZK5};
use zkctl::wire::vote::PeerState;

fn three() -> Script {
    Script::new(&Members::voters(&[ZK1, ZK2, ZK3]))
}

#[test]
fn equals_elect_the_largest_id() {
    let mut z = three();
    z.start_all();
    z.vote(ZK1, ZK3, "LOOKING zk1 at 0:0 of epoch 0, round 1");
    z.run();
    z.leads(ZK3, 1);
    z.follows(ZK1, ZK3);
    z.follows(ZK2, ZK3);
}

#[test]
fn the_highest_zxid_wins_over_the_largest_id() {
    let mut z = three();
    z.holds(ZK1, 1, "1:1 1:2");
    z.holds(ZK2, 1, "1:1");
    z.holds(ZK3, 1, "1:1");
    z.start_all();
    z.run();
    z.leads(ZK1, 2);
    z.shows(ZK3, "1:1 1:2");
}

#[test]
fn the_highest_epoch_wins_over_the_highest_zxid() {
    let mut z = three();
    z.holds(ZK1, 2, "1:1");
    z.holds(ZK2, 1, "1:1 1:2 1:3");
    z.holds(ZK3, 1, "1:1 1:2 1:3");
    z.start_all();
    z.run();
    z.leads(ZK1, 3);
    // What only zk2 and zk3 held was never acknowledged by a quorum that zk1's epoch knew of.
    z.shows(ZK2, "1:1");
    z.keeps(ZK3, "1:1");
}

#[test]
fn a_log_that_reaches_into_an_epoch_counts_as_having_entered_it() {
    let mut z = three();
    z.holds(ZK1, 1, "1:1 2:1");
    z.holds(ZK2, 2, "1:1");
    z.holds(ZK3, 2, "1:1");
    z.start_all();
    z.run();
    z.leads(ZK1, 3);
    z.shows(ZK3, "1:1 2:1");
}

#[test]
fn a_late_joiner_finds_the_leader_that_is_there() {
    let mut z = three();
    z.start(ZK1);
    z.start(ZK2);
    z.settle();
    z.leads(ZK2, 1);

    z.start(ZK3);
    z.vote(ZK3, ZK1, "LOOKING zk3 at 0:0 of epoch 0, round 1");
    z.vote(ZK3, ZK2, "LOOKING zk3 at 0:0 of epoch 0, round 1");
    z.vote(ZK1, ZK3, "FOLLOWING zk2 at 0:0 of epoch 1, round 1");
    z.looks(ZK3);
    z.vote(ZK2, ZK3, "LEADING zk2 at 0:0 of epoch 1, round 1");
    z.run();
    z.follows(ZK3, ZK2);
    z.leads(ZK2, 1);
}

#[test]
fn followers_who_name_a_leader_are_not_believed_without_its_own_word() {
    let mut z = Script::new(&Members::voters(&[ZK1, ZK2, ZK3, ZK4, ZK5]));
    for sid in [ZK1, ZK2, ZK3, ZK4] {
        z.start(sid);
    }
    z.settle();
    z.leads(ZK4, 1);
    z.start(ZK5);
    for other in [ZK1, ZK2, ZK3, ZK4] {
        z.vote(ZK5, other, "LOOKING zk5 at 0:0 of epoch 0, round 1");
    }
    for follower in [ZK1, ZK2, ZK3] {
        z.vote(follower, ZK5, "FOLLOWING zk4 at 0:0 of epoch 1, round 1");
    }
    // A majority names zk4, which may have died since.
    z.looks(ZK5);
    z.vote(ZK4, ZK5, "LEADING zk4 at 0:0 of epoch 1, round 1");
    z.run();
    z.follows(ZK5, ZK4);
}

#[test]
fn without_a_majority_nobody_leads() {
    let mut z = Script::new(&Members::voters(&[ZK1, ZK2, ZK3, ZK4, ZK5]));
    z.start(ZK4);
    z.start(ZK5);
    z.live(5 * INIT_MS);
    z.looks(ZK4);
    z.looks(ZK5);

    z.start(ZK1);
    z.settle();
    z.leads(ZK5, 1);
}

#[test]
fn a_leader_that_loses_its_majority_serves_nobody() {
    let mut z = Script::established(&Members::voters(&[ZK1, ZK2, ZK3]), ZK3);
    z.crash(ZK1);
    z.leads(ZK3, 1);
    z.crash(ZK2);
    z.looks(ZK3);
}

#[test]
fn a_voter_that_may_still_have_a_better_vote_is_waited_for() {
    let mut z = three();
    z.holds(ZK3, 1, "1:1");
    z.start_all();
    z.vote(ZK1, ZK2, "LOOKING zk1 at 0:0 of epoch 0, round 1");
    z.vote(ZK2, ZK1, "LOOKING zk2 at 0:0 of epoch 0, round 1");
    // zk1 and zk2 agree on zk2; zk3 is connected and silent.
    z.looks(ZK1);
    z.wait(SETTLE_MS / 2);
    z.looks(ZK1);
    z.run();
    z.leads(ZK3, 2);
}

#[test]
fn a_silent_voter_is_not_waited_for_longer_than_finalize_wait() {
    let mut z = three();
    z.start_all();
    z.vote(ZK2, ZK1, "LOOKING zk2 at 0:0 of epoch 0, round 1");
    z.vote(ZK1, ZK2, "LOOKING zk2 at 0:0 of epoch 0, round 1");
    z.looks(ZK2);
    z.wait(SETTLE_MS);
    z.messages();
    assert_eq!(z.state(ZK2), PeerState::Leading);
}

#[test]
fn empty_directories_begin_only_when_all_voters_are_empty() {
    let mut z = three();
    for sid in [ZK1, ZK2, ZK3] {
        z.is_new(sid);
    }
    z.start(ZK1);
    z.start(ZK2);
    z.run();
    z.looks(ZK1);
    z.looks(ZK2);
    z.start(ZK3);
    z.vote(ZK3, ZK1, "LOOKING zk3 untrusted, round 1");
    z.votes();
    z.awaits(ZK1, "initialise");
    z.run();
    z.leads(ZK3, 1);
}

#[test]
fn a_voter_that_lost_its_disk_does_not_vote() {
    let mut z = three();
    z.holds(ZK1, 1, "1:1");
    z.holds(ZK2, 1, "1:1");
    z.is_new(ZK3);
    // zk1 alone knows 1:1, and two of three run: the empty one must not help it, nor outvote it.
    z.start(ZK1);
    z.start(ZK3);
    z.live(5 * INIT_MS);
    z.looks(ZK1);
    z.looks(ZK3);

    z.start(ZK2);
    z.settle();
    z.leads(ZK2, 2);
    // It asks again, and now there is somebody to learn from.
    z.live(RESEND_MS);
    z.follows(ZK3, ZK2);
    z.shows(ZK3, "1:1");
}

/// Found by the simulator: votes that were on their way elected a leader in a server that was about to end,
/// which is an assertion.
#[test]
fn a_server_that_is_stopped_while_it_looks_elects_nobody() {
    let mut z = three();
    z.start_all();
    z.stop(ZK2);
    z.run();
    z.looks(ZK2);
    z.leads(ZK3, 1);
    z.follows(ZK1, ZK3);
}

/// Seed 14027903 of the simulator, Liveness: a server followed whom it had set out for before, and told everybody that it
/// follows another; a third, which believed it, found no leader for ever.
#[test]
fn a_late_link_to_another_leader_is_not_followed() {
    let mut z = three();
    z.start(ZK1);
    z.start(ZK2);
    z.vote(ZK2, ZK1, "LOOKING zk2 at 0:0 of epoch 0, round 1");
    z.wait(SETTLE_MS);
    assert_eq!((z.state(ZK1), z.state(ZK2)), (PeerState::Following, PeerState::Looking));
    z.start(ZK3);
    z.dialled_late(ZK1, ZK3);
    // Before, zk2 found zk1 following zk3.
    z.run();
    z.leads(ZK2, 1);
    z.follows(ZK1, ZK2);
}
