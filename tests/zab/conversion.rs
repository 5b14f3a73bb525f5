//! A voter becomes an observer, as `add-observer zk3` does it: one restart after the other, lists unequal.

use crate::members::Members;
use crate::script::{INIT_MS, RESEND_MS, Script, ZK1, ZK2, ZK3};
use zkctl::ids::Sid;

fn old() -> Members {
    Members::voters(&[ZK1, ZK2, ZK3])
}

fn new() -> Members {
    Members::voters(&[ZK1, ZK2]).observers(&[ZK3])
}

fn restart(z: &mut Script, sid: Sid) {
    z.crash(sid);
    z.live(RESEND_MS);
    z.lists(sid, &new());
    z.start(sid);
    z.live(RESEND_MS);
}

/// zk3 first: it observes whoever leads. Then the leader, then the last voter.
fn convert(z: &mut Script) {
    restart(z, ZK3);
    z.observes(ZK3, ZK2);
    z.leads(ZK2, z.epoch(ZK2));

    restart(z, ZK2);
    z.leads(ZK2, z.epoch(ZK2));
    z.follows(ZK1, ZK2);
    z.observes(ZK3, ZK2);

    restart(z, ZK1);
    z.leads(ZK2, z.epoch(ZK2));
    z.follows(ZK1, ZK2);
    z.observes(ZK3, ZK2);
}

/// zk3 has no vote: it hears of a txn when the two others have it, and without zk1 nothing is decided.
fn zk3_has_no_vote(z: &mut Script) {
    let epoch = z.epoch(ZK2);
    z.proposes(ZK2, &format!("{epoch}:1"));
    z.disk(ZK2);
    z.is_silent(ZK2, ZK3);
    z.run();
    z.crash(ZK1);
    z.live(2 * INIT_MS);
    z.looks(ZK2);
    z.looks(ZK3);
}

#[test]
fn a_follower_is_converted() {
    let mut z = Script::established(&old(), ZK2);
    z.follows(ZK3, ZK2);
    z.proposes(ZK2, "1:1");
    z.run();
    convert(&mut z);
    z.shows(ZK3, "1:1");
    zk3_has_no_vote(&mut z);
}

#[test]
fn the_leader_is_converted() {
    let mut z = Script::established(&old(), ZK3);
    z.proposes(ZK3, "1:1");
    z.run();
    convert(&mut z);
    z.shows(ZK3, "1:1");
    zk3_has_no_vote(&mut z);
}

/// While zk1 still counts three voters, zk3 says of itself that it has no vote: the two are no majority.
#[test]
fn the_converted_one_is_not_counted_by_an_old_list() {
    let mut z = Script::established(&old(), ZK2);
    restart(&mut z, ZK3);
    z.crash(ZK2);
    z.live(2 * INIT_MS);
    z.looks(ZK1);
    z.looks(ZK3);
}

/// A leader with the old list does not take the observer's word for a vote either.
#[test]
fn a_leader_with_the_old_list_needs_the_other_voter() {
    let mut z = Script::established(&old(), ZK2);
    restart(&mut z, ZK3);
    z.proposes(ZK2, "1:1");
    z.disk(ZK2);
    z.is_silent(ZK2, ZK3);
    z.crash(ZK1);
    z.looks(ZK2);
}

/// The order that the article leaves open: zk1 before zk3. zk1 counts two voters and sees one that is
/// established, so it stays out until zk2 restarts too; nobody decides anything wrong meanwhile.
#[test]
fn in_the_wrong_order_a_follower_waits_outside() {
    let mut z = Script::established(&old(), ZK2);
    restart(&mut z, ZK1);
    z.looks(ZK1);
    z.leads(ZK2, 1);
    z.proposes(ZK2, "1:1");
    z.run();
    z.shows(ZK3, "1:1");
    restart(&mut z, ZK2);
    z.leads(ZK2, 2);
    z.follows(ZK1, ZK2);
    z.shows(ZK1, "1:1");
    // zk3 still believes in its vote, and follows; it is counted by nobody.
    z.live(RESEND_MS);
    z.follows(ZK3, ZK2);
    zk3_has_no_vote_though_it_follows(&mut z);
}

fn zk3_has_no_vote_though_it_follows(z: &mut Script) {
    z.proposes(ZK2, "2:1");
    z.disk(ZK2);
    z.says(ZK2, ZK3, "PROPOSE 2:1");
    z.writes(ZK3, "append 2:1");
    z.says(ZK3, ZK2, "ACK 2:1");
    z.is_silent(ZK2, ZK3);
    z.shows(ZK2, "1:1");
    z.run();
    z.shows(ZK2, "1:1 2:1");
}
