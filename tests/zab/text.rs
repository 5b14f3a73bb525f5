//! How scripts write zxids, messages and disk operations: `2:1` is counter 1 of epoch 2.

use crate::disk::Write;
use crate::script::Item;
use zkctl::wire::vote::{Notification, PeerState};
use zkctl::zab::{Message, Proposal};
use zkctl::zxid::{Epoch, Zxid};

pub(crate) fn of_zxid(zxid: Zxid) -> String {
    format!("{}:{}", zxid.epoch(), zxid.counter())
}

pub(crate) fn of_txns(txns: &[Proposal]) -> String {
    txns.iter().map(|p| of_zxid(p.zxid)).collect::<Vec<_>>().join(" ")
}

pub(crate) fn zxids(text: &str) -> Vec<Zxid> {
    let zxid = |word: &str| {
        let (epoch, counter) = word.split_once(':').unwrap();
        Zxid::new(Epoch(epoch.parse().unwrap()), counter.parse().unwrap())
    };
    text.split_whitespace().map(zxid).collect()
}

pub(crate) fn txn(zxid: Zxid) -> Proposal {
    Proposal { zxid, bytes: of_zxid(zxid).into_bytes().into() }
}

pub(crate) fn of_write(write: &Write) -> String {
    match write {
        Write::Append(p) => format!("append {}", of_zxid(p.zxid)),
        Write::AcceptedEpoch(epoch) => format!("acceptedEpoch {epoch}"),
        Write::CurrentEpoch(epoch) => format!("currentEpoch {epoch}"),
        Write::Truncate { to, .. } => format!("truncate to {}", of_zxid(*to)),
        Write::Install { zxid, .. } => format!("install {}", of_zxid(*zxid)),
        Write::Initialise => "initialise".into(),
        Write::Trust => "trust".into(),
    }
}

pub(crate) fn of_vote(n: &Notification) -> String {
    let state = match n.state {
        PeerState::Looking => "LOOKING",
        PeerState::Following => "FOLLOWING",
        PeerState::Leading => "LEADING",
        PeerState::Observing => "OBSERVING",
    };
    let what = match Zxid::from_wire(n.zxid) {
        _ if n.peer_epoch == i64::MIN => "no vote".into(),
        Some(zxid) => format!("zk{} at {} of epoch {}", n.leader, of_zxid(zxid), n.peer_epoch),
        None => format!("zk{} untrusted", n.leader),
    };
    format!("{state} {what}, round {}", n.round)
}

pub(crate) fn of_item(item: &Item) -> String {
    match item {
        Item::Message(message) => of_message(message),
        Item::Tree(tree) => format!("the tree of {}", of_txns(tree)),
    }
}

fn of_message(message: &Message) -> String {
    match message {
        Message::Info { accepted_epoch, observer: false, .. } => format!("FOLLOWERINFO {accepted_epoch}"),
        Message::Info { accepted_epoch, observer: true, .. } => format!("OBSERVERINFO {accepted_epoch}"),
        Message::LeaderInfo { epoch, .. } => format!("LEADERINFO {epoch}"),
        Message::AckEpoch { last, current_epoch } => {
            let last = last.map_or("untrusted".into(), of_zxid);
            let epoch = current_epoch.map_or("promised before".into(), |e| format!("of epoch {e}"));
            format!("ACKEPOCH {last} {epoch}")
        }
        Message::Diff(zxid) => format!("DIFF {}", of_zxid(*zxid)),
        Message::Trunc(zxid) => format!("TRUNC {}", of_zxid(*zxid)),
        Message::Snap(zxid) => format!("SNAP {}", of_zxid(*zxid)),
        Message::NewLeader { zxid, .. } => format!("NEWLEADER {}", of_zxid(*zxid)),
        Message::UpToDate => "UPTODATE".into(),
        Message::Propose(p) => format!("PROPOSE {}", of_zxid(p.zxid)),
        Message::Ack(zxid) => format!("ACK {}", of_zxid(*zxid)),
        Message::Commit(zxid) => format!("COMMIT {}", of_zxid(*zxid)),
        Message::Inform(p) => format!("INFORM {}", of_zxid(p.zxid)),
        Message::Ping { .. } => "PING".into(),
        other => format!("{other:?}"),
    }
}
