//! A new server that the others' lists do not name yet: it is answered, it learns, it never counts.

use crate::members::Members;
use crate::script::{INIT_MS, Script, ZK1, ZK2, ZK3, ZK4};

fn three() -> Members {
    Members::voters(&[ZK1, ZK2, ZK3])
}

/// zk3 leads zk1 and zk2, whose lists know of three; zk4 starts with this list.
fn joined_by(list: &Members) -> Script {
    let mut z = Script::established(&three(), ZK3);
    z.proposes(ZK3, "1:1");
    z.run();
    z.add(ZK4, list);
    z.start(ZK4);
    z
}

#[test]
fn a_new_voter_finds_the_leader() {
    let mut z = joined_by(&Members::voters(&[ZK1, ZK2, ZK3, ZK4]));
    z.vote(ZK4, ZK1, "LOOKING zk4 untrusted, round 1");
    z.vote(ZK1, ZK4, "FOLLOWING zk3 at 0:0 of epoch 1, round 1");
    z.run();
    z.follows(ZK4, ZK3);
    z.shows(ZK4, "1:1");
}

#[test]
fn a_new_observer_finds_the_leader() {
    let mut z = joined_by(&three().observers(&[ZK4]));
    z.run();
    z.observes(ZK4, ZK3);
    z.shows(ZK4, "1:1");
}

#[test]
fn a_new_voters_acks_decide_nothing() {
    let mut z = joined_by(&Members::voters(&[ZK1, ZK2, ZK3, ZK4]));
    z.run();
    z.proposes(ZK3, "1:2");
    z.disk(ZK3);
    z.says(ZK3, ZK4, "PROPOSE 1:2");
    z.writes(ZK4, "append 1:2");
    z.says(ZK4, ZK3, "ACK 1:2");
    z.shows(ZK3, "1:1");
    z.is_silent(ZK3, ZK4);
    z.run();
    z.shows(ZK3, "1:1 1:2");
}

#[test]
fn a_new_voter_does_not_keep_a_leader_in_office() {
    let mut z = joined_by(&Members::voters(&[ZK1, ZK2, ZK3, ZK4]));
    z.run();
    z.follows(ZK4, ZK3);
    z.crash(ZK1);
    z.crash(ZK2);
    z.looks(ZK3);
}

/// Its vote is better than all others (it has the largest id and the same history) and elects nobody.
#[test]
fn a_new_voters_vote_elects_nobody() {
    let mut z = joined_by(&Members::voters(&[ZK1, ZK2, ZK3, ZK4]));
    z.run();
    z.crash(ZK2);
    z.crash(ZK3);
    z.live(2 * INIT_MS);
    z.looks(ZK1);
    z.looks(ZK4);

    z.start(ZK2);
    z.live(INIT_MS);
    z.leads(ZK2, 2);
}
