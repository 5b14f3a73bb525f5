//! One learner as its leader sees it (the state of the original's LearnerHandler, without its thread).

use super::room::Room;
use crate::ids::Sid;
use crate::mutants::{self, Mutant};
use crate::time::Millis;
use crate::zxid::{Epoch, Zxid};

/// How far a learner has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Connected; nothing said.
    Silent,
    /// FOLLOWERINFO came; the epoch is not decided.
    Waiting,
    /// LEADERINFO sent.
    Asked,
    /// ACKEPOCH came; a quorum of them is awaited.
    Promised,
    /// History and NEWLEADER sent.
    Synchronizing,
    /// NEWLEADER acknowledged; a quorum of that is awaited.
    Synchronized,
    /// UPTODATE sent.
    Active,
}

/// What a learner counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Gets proposals, acknowledges, and counts if the member list says so.
    Follower,
    /// Gets decided txns only.
    Observer,
}

/// A learner's progress.
#[derive(Debug)]
pub(super) struct LearnerProgress {
    pub(super) sid: Sid,
    pub(super) kind: Kind,
    pub(super) zkctl: bool,
    pub(super) stage: Stage,
    pub(super) accepted_epoch: Epoch,
    /// Its ACKEPOCH counts towards the quorum of promises.
    pub(super) promise_counts: bool,
    /// Its last zxid as ACKEPOCH stated it; `None` when it has no trusted database.
    pub(super) last: Option<Zxid>,
    /// On its disk.
    pub(super) acked: Zxid,
    /// It is cut off when silent until then.
    pub(super) deadline: Millis,
    pub(super) pings: u64,
    pub(super) pongs: u64,
    /// What it told of its disk.
    pub(super) room: Option<Room>,
    /// What it had been sent when NEWLEADER was, all of which its ACK says is on its disk.
    pub(super) given: Zxid,
}

impl LearnerProgress {
    pub(super) fn new(deadline: Millis) -> LearnerProgress {
        LearnerProgress {
            sid: Sid(-1),
            kind: Kind::Follower,
            zkctl: false,
            stage: Stage::Silent,
            accepted_epoch: Epoch(0),
            promise_counts: false,
            last: None,
            acked: Zxid::ZERO,
            deadline,
            pings: 0,
            pongs: 0,
            room: None,
            given: Zxid::ZERO,
        }
    }

    /// Whether new proposals and decisions are sent to it.
    pub(super) fn is_forwarding(&self) -> bool {
        let synchronizing = self.stage == Stage::Synchronizing && !mutants::on(Mutant::ForwardedAfterAck);
        synchronizing || matches!(self.stage, Stage::Synchronized | Stage::Active)
    }
}
