//! What goes into Zab and what comes out: two closed enums.
//!
//! Every action that touches the disk carries a `Ticket`; its completion comes back as
//! `Input::DiskDone`. Nothing is acknowledged, voted with or counted before that, and no code
//! outside this module could do so, since only this module makes acknowledgements.

use super::history::Proposal;
use super::message::Message;
use super::room::Room;
use crate::ids::{LinkId, Sid};
use crate::wire::vote::Notification;
use crate::zxid::{Epoch, Zxid};

/// Names one disk action; completions are cumulative in ticket order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What the server's state became, for whoever serves clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// In an election, or joining: serve nobody.
    Down,
    /// Established leader of this epoch.
    Leading(Epoch),
    /// In sync with the leader; participant without or with vote.
    Following {
        /// The leader.
        leader: Sid,
        /// The link to it.
        link: LinkId,
    },
    /// In sync with the leader, without a vote.
    Observing {
        /// The leader.
        leader: Sid,
        /// The link to it.
        link: LinkId,
    },
    /// No ensemble.
    Standalone,
}

/// What a reload from disk found after a TRUNC behind what was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// The last zxid on disk now.
    pub last: Zxid,
    /// The txns in memory now, ending at `last`.
    pub window: Vec<Proposal>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Time passed; deadlines are looked at.
    Tick,
    /// An election link to `peer` works in both directions.
    ElectionUp(Sid),
    /// Dialling `peer`'s election port was refused, or its link was reset.
    ElectionGone(Sid),
    /// A peer ended the link on which we said who we are, and has not called back yet.
    ElectionUnanswered(Sid),
    /// A notification arrived.
    Notified {
        /// Who sent it.
        from: Sid,
        /// What it said.
        notification: Notification,
    },
    /// A link that `Action::Dial` asked for stands.
    Dialled {
        /// Who was dialled: another leader may be wanted by now.
        leader: Sid,
        /// The link.
        link: LinkId,
    },
    /// A link to this leader that `Action::Dial` asked for could not be made.
    DialFailed(Sid),
    /// A learner opened a link to our quorum port.
    Accepted(LinkId),
    /// A link ended.
    LinkDown(LinkId),
    /// A message arrived on a link.
    Received {
        /// Where.
        link: LinkId,
        /// What.
        message: Message,
    },
    /// More of a SNAP's stream arrived: the leader lives.
    SnapshotProgress(LinkId),
    /// The tree that a SNAP brought is complete and checked; its bytes wait in a file to be installed.
    SnapshotLoaded(LinkId),
    /// Everything up to this ticket is on disk.
    DiskDone(Ticket),
    /// Our disk has this much room now.
    Room(Room),
    /// A learner of ours has told how much room its disk has.
    LearnerRoom {
        /// Its link.
        link: LinkId,
        /// How much.
        room: Room,
    },
    /// A TRUNC is on disk and made a reload necessary; this is what it found.
    Reloaded(Reloaded),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Put a notification on the election link to `to`; a newer one replaces an unsent one.
    Notify {
        /// For whom.
        to: Sid,
        /// What to say.
        notification: Notification,
    },
    /// Make sure that an election link to this peer stands or is being tried.
    Connect(Sid),
    /// Open our quorum port.
    Listen,
    /// Close our quorum port.
    StopListening,
    /// Open a link to this server's quorum port.
    Dial(Sid),
    /// Send a message on a link.
    Send {
        /// Where.
        link: LinkId,
        /// What.
        message: Message,
    },
    /// Stream the tree as it is now; messages sent later follow behind it.
    SendSnapshot(LinkId),
    /// Answer a PING with the sessions touched since the last one.
    Pong {
        /// Where.
        link: LinkId,
        /// The zxid to echo.
        zxid: i64,
    },
    /// End a link.
    CloseLink {
        /// Which.
        link: LinkId,
        /// Why, for the log.
        reason: String,
    },
    /// Append to the log.
    Append {
        /// Completion's name.
        ticket: Ticket,
        /// What.
        proposal: Proposal,
    },
    /// Write `acceptedEpoch`.
    WriteAcceptedEpoch {
        /// Completion's name.
        ticket: Ticket,
        /// The value.
        epoch: Epoch,
    },
    /// Write `currentEpoch`, behind everything appended so far.
    WriteCurrentEpoch {
        /// Completion's name.
        ticket: Ticket,
        /// The value.
        epoch: Epoch,
    },
    /// Cut the log behind `to`.
    Truncate {
        /// Completion's name.
        ticket: Ticket,
        /// The last zxid to keep.
        to: Zxid,
        /// Whether the tree is ahead of `to` and must be loaded again: answered by `Input::Reloaded`.
        reload: bool,
    },
    /// Make the received snapshot the database: its file durable, the log behind it cut.
    InstallSnapshot {
        /// Completion's name.
        ticket: Ticket,
        /// The snapshot's zxid.
        zxid: Zxid,
        /// What follows it is needed before this database may be voted with: mark it until `Trust`.
        untrusted: bool,
    },
    /// Make an empty directory a trusted, empty database (snapshot.0).
    Initialise {
        /// Completion's name.
        ticket: Ticket,
    },
    /// This server has synchronised: its database may be trusted again.
    Trust {
        /// Completion's name.
        ticket: Ticket,
    },
    /// Apply a committed txn.
    Deliver(Proposal),
    /// The service changed.
    Serve(Service),
    /// A barrier that `Zab::barrier` began has passed: the quorum confirmed this leader since.
    BarrierPassed(u64),
    /// A message of a learner's clients, or its answer: Zab only carries it.
    Carried {
        /// Where it came from.
        link: LinkId,
        /// Which learner; `None` from our leader.
        learner: Option<Sid>,
        /// What.
        message: Message,
    },
    /// Say something in the log.
    Note(String),
}
