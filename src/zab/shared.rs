//! What every role works on: the configuration, the history, and what the disk is known to hold.

use super::action::{Action, Reloaded, Ticket};
use super::election::Credentials;
use super::history::{History, Proposal};
use super::quorum::Majority;
use crate::ids::{LinkId, Sid};
use crate::limits;
use crate::mutants::{self, Mutant};
use crate::time::Millis;
use crate::zxid::{Epoch, Zxid};
use bytes::Bytes;
use std::collections::VecDeque;

use super::message::Message;
use super::room::Room;

/// The fixed parts of one server's Zab.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our id.
    pub me: Sid,
    /// Who votes.
    pub quorum: Majority,
    /// No ensemble at all: one server that serves alone.
    pub standalone: bool,
    /// The member list as its text, sent in notifications and NEWLEADER.
    pub config_text: String,
    /// Its version.
    pub config_version: i64,
    /// The base unit of time, in milliseconds.
    pub tick_ms: u64,
    /// Ticks that joining may take.
    pub init_limit: u64,
    /// Ticks that silence may last.
    pub sync_limit: u64,
    /// `finalizeWait`, in milliseconds.
    pub settle_ms: u64,
    /// Interval of repeated notifications, first and last, in milliseconds.
    pub resend_ms: (u64, u64),
    /// Delivered proposals kept in memory for DIFF, and their bytes.
    pub window: (usize, usize),
    /// The last counter that an epoch may use: `Zxid::COUNTER_MAX`, smaller only to try what comes then.
    pub counter_max: u32,
}

impl Config {
    /// Milliseconds that joining may take.
    pub(super) fn init_ms(&self) -> u64 {
        self.tick_ms * self.init_limit
    }

    /// Milliseconds that silence may last.
    pub(super) fn sync_ms(&self) -> u64 {
        self.tick_ms * self.sync_limit
    }
}

/// What the database on disk is worth when a server starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It is what this server acknowledged.
    Trusted,
    /// Nothing is there yet, and nobody said that this is as it should be.
    New,
    /// Something was lost.
    Lost,
}

/// What recovery tells Zab.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// `acceptedEpoch`.
    pub accepted_epoch: Epoch,
    /// `currentEpoch`.
    pub current_epoch: Epoch,
    /// The last zxid on disk.
    pub last: Zxid,
    /// The last txns, ending at `last`.
    pub window: Vec<Proposal>,
    /// Whether it may be voted with.
    pub trust: Trust,
}

/// A disk action that has not completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    Append(Zxid),
    AcceptedEpoch(Epoch),
    CurrentEpoch(Epoch),
    Truncate { to: Zxid, reload: bool },
    Install(Zxid),
    Initialise,
    Trust,
}

/// One of them, and since when it is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    ticket: Ticket,
    wait: Wait,
    since: Millis,
}

/// State under every role.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) cfg: Config,
    pub(super) history: History,
    pub(super) accepted_epoch: Epoch,
    pub(super) current_epoch: Epoch,
    /// Everything accepted up to here is on disk.
    pub(super) durable: Zxid,
    pub(super) trust: Trust,
    /// The leader of this epoch wants us to cut here, and our files are not known to lead there: it has to send its
    /// tree when they have been read back and do not, and so has a later one that wants the same.
    pub(super) uncuttable: Option<(Epoch, Zxid)>,
    /// Who proposed an epoch below our promise, and is not dialled again before then.
    pub(super) refused: Option<(Sid, Millis)>,
    pub(super) waits: VecDeque<Pending>,
    /// Of our disk, as far as we know.
    pub(super) room: Room,
    /// When the disk last completed anything.
    answered: Millis,
    next_ticket: u64,
}

impl Shared {
    pub(super) fn new(cfg: Config, recovered: Recovered) -> Shared {
        assert!(recovered.accepted_epoch >= recovered.current_epoch, "recovery settles the epochs");
        Shared {
            history: History::recovered(recovered.last, recovered.window).with_window(cfg.window),
            cfg,
            accepted_epoch: recovered.accepted_epoch,
            current_epoch: recovered.current_epoch,
            durable: recovered.last,
            trust: recovered.trust,
            uncuttable: None,
            refused: None,
            waits: VecDeque::new(),
            room: Room::Ample,
            answered: Millis(0),
            next_ticket: 1,
        }
    }

    pub(super) fn is_voter(&self) -> bool {
        self.cfg.quorum.is_voter(self.cfg.me)
    }

    /// The disk was read back.
    pub(super) fn reloaded(&mut self, reloaded: Reloaded) {
        self.history = History::recovered(reloaded.last, reloaded.window).with_window(self.cfg.window);
        self.durable = reloaded.last;
        self.uncuttable = self.uncuttable.filter(|(_, to)| *to != reloaded.last);
    }

    /// What this server offers in an election: durable facts only.
    pub(super) fn credentials(&self) -> Credentials {
        assert_eq!(self.durable, self.history.last(), "an election waits for the disk");
        let zxid = if self.trust == Trust::Trusted { self.durable.wire() } else { -1 };
        // A log that reaches into an epoch proves that this epoch's leader was followed.
        let epoch = self.current_epoch.max(self.durable.epoch());
        // Whoever has promised no epoch has acknowledged nothing, be its first snapshot written or not:
        // a crash between the voters' first snapshots must not leave them waiting for each other.
        let holds_nothing = self.durable == Zxid::ZERO && self.accepted_epoch == Epoch(0);
        let is_new = self.trust == Trust::New
            || (self.trust == Trust::Trusted && holds_nothing && !mutants::on(Mutant::FirstSnapshotEndsNew));
        let yields_ms = match self.room {
            Room::Ample => 0,
            Room::Low => limits::ROOM_YIELD_MS,
            Room::Full => 2 * limits::ROOM_YIELD_MS,
        };
        Credentials { epoch: epoch.0.into(), zxid, is_new, yields_ms }
    }

    /// When a disk that has not answered by then no longer counts as one to work with. One that is slow and
    /// answers is none of these, however much it has yet to do.
    pub(super) fn disk_deadline(&self) -> Option<Millis> {
        self.waits.front().map(|oldest| oldest.since.max(self.answered) + self.cfg.sync_ms())
    }

    pub(super) fn wait(&mut self, since: Millis, wait: Wait) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.waits.push_back(Pending { ticket, wait, since });
        ticket
    }

    /// Takes what is complete up to `ticket` and records it.
    pub(super) fn done(&mut self, now: Millis, ticket: Ticket) -> Vec<Wait> {
        self.answered = now;
        let mut out = Vec::new();
        while self.waits.front().is_some_and(|p| p.ticket <= ticket) {
            let Some(Pending { wait, .. }) = self.waits.pop_front() else { break };
            match wait {
                // A truncation accepted later may already have dropped what was appended before it.
                Wait::Append(zxid) => self.durable = zxid,
                Wait::AcceptedEpoch(epoch) => self.accepted_epoch = epoch,
                Wait::CurrentEpoch(epoch) => self.current_epoch = epoch,
                Wait::Truncate { to, reload: false } => self.durable = self.durable.min(to),
                Wait::Truncate { reload: true, .. } => {}
                Wait::Install(zxid) => self.durable = zxid,
                Wait::Initialise => self.trust = Trust::Trusted,
                Wait::Trust => self.trust = Trust::Trusted,
            }
            out.push(wait);
        }
        out
    }
}

/// One call's surroundings.
pub(super) struct Ctx<'a> {
    pub(super) now: Millis,
    pub(super) shared: &'a mut Shared,
    pub(super) out: &'a mut Vec<Action>,
}

impl Ctx<'_> {
    pub(super) fn send(&mut self, link: LinkId, message: Message) {
        self.out.push(Action::Send { link, message });
    }

    pub(super) fn close(&mut self, link: LinkId, reason: impl Into<String>) {
        self.out.push(Action::CloseLink { link, reason: reason.into() });
    }

    pub(super) fn append(&mut self, proposal: Proposal) {
        let ticket = self.shared.wait(self.now, Wait::Append(proposal.zxid));
        self.out.push(Action::Append { ticket, proposal });
    }

    pub(super) fn write_accepted_epoch(&mut self, epoch: Epoch) {
        assert!(epoch > self.shared.accepted_epoch, "acceptedEpoch only grows");
        let ticket = self.shared.wait(self.now, Wait::AcceptedEpoch(epoch));
        self.out.push(Action::WriteAcceptedEpoch { ticket, epoch });
    }

    pub(super) fn write_current_epoch(&mut self, epoch: Epoch) {
        assert!(epoch >= self.shared.current_epoch, "currentEpoch only grows");
        assert!(epoch <= self.shared.accepted_epoch, "an epoch is promised before it is entered");
        let ticket = self.shared.wait(self.now, Wait::CurrentEpoch(epoch));
        self.out.push(Action::WriteCurrentEpoch { ticket, epoch });
    }

    /// Delivers what is both committed and on our own disk (invariants `applied <= committed`,
    /// `applied <= durable`; ZOOKEEPER-4882).
    pub(super) fn deliver(&mut self, committed: Zxid) {
        let upto = match committed.min(self.shared.durable) {
            _ if mutants::on(Mutant::AppliedAheadOfDisk) => committed,
            _ if mutants::on(Mutant::AppliedAheadOfDecision) => self.shared.durable,
            both => both,
        };
        for proposal in self.shared.history.deliver(upto) {
            self.out.push(Action::Deliver(proposal));
        }
    }

    /// Our member list as NEWLEADER carries it.
    pub(super) fn config_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(self.shared.cfg.config_text.as_bytes())
    }
}

/// Whether a role goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It does.
    Stay,
    /// Back to an election, for this reason.
    Look(String),
}

impl Verdict {
    pub(super) fn look(reason: impl Into<String>) -> Verdict {
        Verdict::Look(reason.into())
    }
}
