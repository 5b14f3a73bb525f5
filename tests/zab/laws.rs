//! What must hold at every step of every script.
//!
//! Each law looks at one action as it leaves a server, and at the disks as they are at that moment.

use crate::script::{Host, Script};
use crate::text::{of_txns, of_zxid};
use zkctl::ids::Sid;
use zkctl::zab::{Action, Message, Proposal, Service};
use zkctl::zxid::{Epoch, Zxid};

/// Called before the action is carried out.
pub(crate) fn hold(script: &Script, sid: Sid, action: &Action) {
    let host = &script.hosts[&sid];
    match action {
        Action::Send { message: Message::AckEpoch { .. }, .. } => a_promise_is_on_disk(host, sid),
        Action::Send { message: Message::LeaderInfo { epoch, .. }, .. } => {
            a_leader_promises_first(host, sid, *epoch);
        }
        Action::Send { message: Message::Ack(zxid), .. } if zxid.counter() == 0 => {
            new_leader_is_acknowledged_from_disk(host, sid, *zxid);
        }
        Action::Send { message: Message::Ack(zxid), .. } => an_ack_is_from_disk(host, sid, *zxid),
        Action::Send { message: Message::Commit(zxid), .. } => {
            what_is_decided_is_on_a_quorum_of_disks(script, sid, *zxid);
        }
        Action::Send { message: Message::Inform(p), .. } => {
            what_is_decided_is_on_a_quorum_of_disks(script, sid, p.zxid);
        }
        Action::Deliver(p) => what_is_shown_is_on_disk_and_the_same_everywhere(script, sid, p),
        Action::Serve(Service::Leading(_)) => a_leader_holds_everything_that_was_shown(script, sid),
        Action::Serve(_) => {}
        _ => {}
    }
}

/// ACKEPOCH goes out behind acceptedEpoch.
fn a_promise_is_on_disk(host: &Host, sid: Sid) {
    let asked = host.asked.expect("ACKEPOCH before LEADERINFO");
    assert!(host.disk.accepted_epoch >= asked, "{sid} promises epoch {asked} ahead of its disk");
}

/// LEADERINFO goes out behind the leader's own promise.
fn a_leader_promises_first(host: &Host, sid: Sid, epoch: Epoch) {
    assert!(host.disk.accepted_epoch >= epoch, "{sid} asks for epoch {epoch} ahead of its own disk");
}

/// ACK of NEWLEADER goes out behind the history, and behind currentEpoch (ZOOKEEPER-3911, -4643, -4646).
fn new_leader_is_acknowledged_from_disk(host: &Host, sid: Sid, zxid: Zxid) {
    assert_eq!(host.disk.current_epoch, zxid.epoch(), "{sid} acknowledges NEWLEADER ahead of currentEpoch");
    let missing: Vec<_> = host.owed.iter().filter(|z| !host.disk.has(**z)).map(|z| of_zxid(*z)).collect();
    assert!(missing.is_empty(), "{sid} acknowledges NEWLEADER without {missing:?} on its disk");
}

/// ACK of a proposal goes out behind its append, and only from who votes by its own list.
fn an_ack_is_from_disk(host: &Host, sid: Sid, zxid: Zxid) {
    assert!(host.disk.has(zxid), "{sid} acknowledges {} ahead of its disk", of_zxid(zxid));
    assert!(host.members.quorum().is_voter(sid), "{sid} has no vote and acknowledges {}", of_zxid(zxid));
}

/// COMMIT and INFORM of an established leader: a quorum of disks holds it. (What it sends of its history
/// before it is established becomes decided with NEWLEADER.)
fn what_is_decided_is_on_a_quorum_of_disks(script: &Script, leader: Sid, zxid: Zxid) {
    let host = &script.hosts[&leader];
    if matches!(host.service, Service::Leading(_)) {
        let holders = script.hosts.iter().filter(|(_, h)| h.disk.has(zxid)).map(|(sid, _)| *sid);
        assert!(
            host.members.quorum().is_quorum(holders),
            "{leader} decides {} without a quorum of disks",
            of_zxid(zxid)
        );
    }
}

/// A txn is applied behind its append, once, in order, and as everybody else has it.
fn what_is_shown_is_on_disk_and_the_same_everywhere(script: &Script, sid: Sid, p: &Proposal) {
    let host = &script.hosts[&sid];
    assert!(host.disk.has(p.zxid), "{sid} shows {} ahead of its disk", of_zxid(p.zxid));
    assert!(
        host.tree.last().is_none_or(|last| last.zxid < p.zxid),
        "{sid} shows {} out of order",
        of_zxid(p.zxid)
    );
    if let Some(first) = script.shown.get(&p.zxid) {
        assert_eq!(first, p, "{sid} shows another {}", of_zxid(p.zxid));
    }
}

/// Nothing that a client saw or was told is lost.
fn a_leader_holds_everything_that_was_shown(script: &Script, sid: Sid) {
    let tree = &script.hosts[&sid].tree;
    for p in script.shown.values() {
        assert!(tree.contains(p), "{sid} leads with {} and lacks {}", of_txns(tree), of_zxid(p.zxid));
    }
}
