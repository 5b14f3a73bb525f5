//! Power cuts around the acknowledgement of NEWLEADER, with which a reign begins.

use crate::members::Members;
use crate::script::{Script, ZK1, ZK2, ZK3};

/// zk3, which alone held 1:2, has zk1's acknowledgement of NEWLEADER on the wire; zk2 is down.
fn acknowledged() -> Script {
    let mut z = Script::new(&Members::voters(&[ZK1, ZK2, ZK3]));
    z.holds(ZK1, 1, "1:1");
    z.holds(ZK2, 1, "1:1");
    z.holds(ZK3, 1, "1:1 1:2");
    z.start(ZK1);
    z.start(ZK3);
    z.votes();
    z.wait(200);
    z.votes();
    z.messages();
    z.writes(ZK3, "acceptedEpoch 2");
    z.messages();
    z.writes(ZK1, "acceptedEpoch 2");
    z.messages();
    z.writes(ZK1, "append 1:2");
    z.writes(ZK1, "currentEpoch 2");
    z
}

/// zk1 has it, nobody knows; zk1 and zk2 are enough to find it again.
#[test]
fn of_a_follower_whose_ack_is_lost() {
    let mut z = acknowledged();
    z.crash(ZK1);
    z.looks(ZK3);
    z.crash(ZK3);
    z.start(ZK1);
    z.start(ZK2);
    z.settle();
    z.leads(ZK1, 3);
    z.shows(ZK2, "1:1 1:2");
}

/// ZOOKEEPER-3911: the leader served by zk1's word; all lose power, and zk3 stays away.
#[test]
fn of_everybody_behind_the_reigns_beginning() {
    let mut z = acknowledged();
    z.writes(ZK3, "currentEpoch 2");
    z.says(ZK1, ZK3, "ACK 2:0");
    z.leads(ZK3, 2);
    z.shows(ZK3, "1:1 1:2");
    z.crash(ZK1);
    z.crash(ZK3);
    z.start(ZK1);
    z.start(ZK2);
    z.settle();
    z.leads(ZK1, 3);
    z.shows(ZK2, "1:1 1:2");
}

#[test]
fn of_the_leader_between_the_ack_and_uptodate() {
    let mut z = acknowledged();
    z.writes(ZK3, "currentEpoch 2");
    z.says(ZK1, ZK3, "ACK 2:0");
    z.crash(ZK3);
    z.looks(ZK1);
    z.start(ZK2);
    z.settle();
    z.leads(ZK1, 3);
    z.start(ZK3);
    z.run();
    z.follows(ZK3, ZK1);
}

/// A follower that joins the leader of its own epoch again has that currentEpoch already: it says nothing about the
/// history that comes with this NEWLEADER. (Found by the simulator, seed 3028250, Leadership2: NEWLEADER was
/// acknowledged with the first thing that reached the disk.)
#[test]
fn newleader_of_the_epoch_one_is_in_waits_for_its_history_too() {
    let mut z = Script::established(&Members::voters(&[ZK1, ZK2, ZK3]), ZK3);
    z.proposes(ZK3, "1:1");
    z.run();
    z.crash(ZK1);
    z.proposes(ZK3, "1:2");
    z.proposes(ZK3, "1:3");
    z.run();
    z.start(ZK1);
    z.votes();
    z.messages();
    z.writes(ZK1, "append 1:2");
    z.is_silent(ZK1, ZK3);
    z.writes(ZK1, "append 1:3");
    z.is_silent(ZK1, ZK3);
    z.writes(ZK1, "currentEpoch 1");
    z.says(ZK1, ZK3, "ACK 1:0");
}
