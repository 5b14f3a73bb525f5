//! Following or observing: discovery, synchronization and broadcast as the learner sees them.
//!
//! The order that most data-loss bugs of the original broke is written once, here: history durable,
//! then currentEpoch durable, then ACK of NEWLEADER (ZOOKEEPER-3911, -4643, -4646, -4785).

use super::action::{Action, Reloaded, Service};
use super::history::Proposal;
use super::message::Message;
use super::room::Room;
use super::shared::{Ctx, Shared, Trust, Verdict, Wait};
use crate::ids::{LinkId, Sid};
use crate::mutants::{self, Mutant};
use crate::time::Millis;
use crate::wire::quorum::{LearnerInfo, PROTOCOL_VERSION};
use crate::zxid::{Epoch, Zxid};
use std::collections::VecDeque;

/// Waits between attempts to reach the leader's quorum port, in milliseconds: the first ones are
/// short, since a leader opens its port within the same round as its learners dial.
const DIAL_RETRY_MS: [u64; 5] = [5, 10, 20, 50, 100];

/// The wait before a leader is dialled again that proposes an epoch below our promise, in milliseconds.
const REFUSED_WAIT_MS: u64 = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Waiting for the link, or for the next attempt at it.
    Dialling,
    /// FOLLOWERINFO sent.
    Joining,
    /// acceptedEpoch on its way to disk.
    Promising,
    /// ACKEPOCH sent.
    Promised,
    /// A SNAP's stream is arriving.
    Loading(Zxid),
    /// The log is cut behind the tree, if it can be, and the tree is loaded again.
    Reloading,
    /// Proposals of the synchronization are arriving.
    Synchronizing,
    /// NEWLEADER came; history and currentEpoch are on their way to disk.
    Settling,
    /// NEWLEADER acknowledged.
    AwaitingUpToDate,
    /// In broadcast.
    Active,
}

/// A learner's side of one leader's reign.
#[derive(Debug)]
pub(super) struct Learner {
    leader: Sid,
    link: Option<LinkId>,
    stage: Stage,
    epoch: Epoch,
    leader_is_zkctl: bool,
    /// Decided by the leader, as far as we know.
    committed: Zxid,
    /// Acknowledged to the leader.
    acked: Zxid,
    /// The leader is given up then.
    deadline: Millis,
    attempts: usize,
    retry_at: Option<Millis>,
    held: VecDeque<Message>,
    /// Answers to syncs, each with what must be delivered before it is passed on.
    syncs: VecDeque<(Zxid, Message)>,
    /// The zxid of the SNAP that began this synchronization: an Apache leader may repeat what it holds.
    snapshot: Zxid,
}

impl Learner {
    /// Sets out for `leader`; not at once when we have just refused it.
    pub(super) fn begin(ctx: &mut Ctx<'_>, leader: Sid) -> Learner {
        let refused = ctx.shared.refused.filter(|(sid, until)| *sid == leader && *until > ctx.now);
        let retry_at = refused.map(|(_, until)| until);
        if retry_at.is_none() {
            ctx.out.push(Action::Dial(leader));
        }
        Learner {
            leader,
            link: None,
            stage: Stage::Dialling,
            epoch: Epoch(0),
            leader_is_zkctl: false,
            committed: ctx.shared.history.delivered(),
            acked: Zxid::ZERO,
            deadline: ctx.now + ctx.shared.cfg.init_ms(),
            attempts: 0,
            retry_at,
            held: VecDeque::new(),
            syncs: VecDeque::new(),
            snapshot: Zxid::ZERO,
        }
    }

    /// Whom we follow.
    pub(super) fn leader(&self) -> Sid {
        self.leader
    }

    /// Ends the link; the caller goes back to an election.
    pub(super) fn end(&self, ctx: &mut Ctx<'_>, reason: &str) {
        if let Some(link) = self.link {
            ctx.close(link, reason);
        }
    }

    /// Whether `link` is the one to our leader.
    pub(super) fn has(&self, link: LinkId) -> bool {
        self.link == Some(link)
    }

    /// Whether there is no link to the leader yet.
    pub(super) fn is_dialling(&self) -> bool {
        self.stage == Stage::Dialling
    }

    /// Whether we are in broadcast.
    pub(super) fn is_active(&self) -> bool {
        self.stage == Stage::Active
    }

    /// Whether our leader has shown zkctl's mark.
    pub(super) fn leader_is_zkctl(&self) -> bool {
        self.leader_is_zkctl
    }

    /// Nobody needs an observer to go on, and an Apache leader cannot tell whether it needs us: without room we
    /// leave them. A zkctl leader knows, and lets us go.
    pub(super) fn leaves_without_room(&self, shared: &Shared) -> Verdict {
        let by_ourselves = !shared.is_voter() || !self.leader_is_zkctl;
        if shared.room == Room::Full && self.is_active() && by_ourselves {
            return Verdict::look("our disk has no room");
        }
        Verdict::Stay
    }

    pub(super) fn on_dialled(&mut self, ctx: &mut Ctx<'_>, link: LinkId) -> Verdict {
        if self.stage != Stage::Dialling {
            ctx.close(link, "a link that nobody waits for");
            return Verdict::Stay;
        }
        self.link = Some(link);
        self.retry_at = None;
        self.stage = Stage::Joining;
        let shared = &ctx.shared;
        let info = LearnerInfo {
            sid: shared.cfg.me,
            protocol: PROTOCOL_VERSION,
            config_version: shared.cfg.config_version,
            zkctl: true,
        };
        let (accepted_epoch, observer) = (shared.accepted_epoch, !shared.is_voter());
        ctx.send(link, Message::Info { accepted_epoch, info, observer });
        Verdict::Stay
    }

    pub(super) fn on_dial_failed(&mut self, now: Millis) {
        let wait = DIAL_RETRY_MS[self.attempts.min(DIAL_RETRY_MS.len() - 1)];
        self.attempts += 1;
        self.retry_at = Some(now + wait);
    }

    pub(super) fn on_tick(&mut self, ctx: &mut Ctx<'_>) -> Verdict {
        if ctx.now >= self.deadline {
            return Verdict::look(format!("leader {} is silent ({:?})", self.leader, self.stage));
        }
        if self.retry_at.is_some_and(|at| ctx.now >= at) {
            self.retry_at = None;
            ctx.out.push(Action::Dial(self.leader));
        }
        Verdict::Stay
    }

    pub(super) fn next_deadline(&self) -> Millis {
        self.retry_at.map_or(self.deadline, |at| at.min(self.deadline))
    }

    fn heard(&mut self, ctx: &Ctx<'_>) {
        let limit =
            if self.stage == Stage::Active { ctx.shared.cfg.sync_ms() } else { ctx.shared.cfg.init_ms() };
        self.deadline = ctx.now + limit;
    }

    pub(super) fn on_snapshot_progress(&mut self, ctx: &Ctx<'_>) {
        self.heard(ctx);
    }

    pub(super) fn on_message(&mut self, ctx: &mut Ctx<'_>, link: LinkId, message: Message) -> Verdict {
        assert_eq!(self.link, Some(link));
        self.heard(ctx);
        if self.stage == Stage::Reloading {
            self.held.push_back(message);
            return Verdict::Stay;
        }
        match (self.stage, message) {
            (Stage::Joining, Message::LeaderInfo { epoch, zkctl }) => {
                self.on_leader_info(ctx, link, epoch, zkctl)
            }
            (Stage::Promised, Message::Diff(_)) => {
                // What we hold is a prefix of what the leader holds: all of it is decided.
                self.committed = ctx.shared.history.last();
                self.stage = Stage::Synchronizing;
                Verdict::Stay
            }
            (Stage::Promised, Message::Trunc(to)) => self.on_trunc(ctx, to),
            (Stage::Promised, Message::Snap(zxid)) => {
                self.stage = Stage::Loading(zxid);
                Verdict::Stay
            }
            (Stage::Synchronizing | Stage::AwaitingUpToDate | Stage::Active, Message::Propose(p)) => {
                self.on_propose(ctx, p)
            }
            (Stage::Synchronizing | Stage::AwaitingUpToDate | Stage::Active, Message::Inform(p)) => {
                let zxid = p.zxid;
                match self.on_propose(ctx, p) {
                    Verdict::Stay => self.on_commit(ctx, zxid),
                    look => look,
                }
            }
            // The leader forwards from the moment of NEWLEADER on; it does not wait for our disk.
            (Stage::Settling, Message::Propose(p)) => self.on_propose(ctx, p),
            (Stage::Settling, Message::Inform(p)) => {
                self.committed = self.committed.max(p.zxid);
                self.on_propose(ctx, p)
            }
            (
                Stage::Synchronizing | Stage::Settling | Stage::AwaitingUpToDate | Stage::Active,
                Message::Commit(zxid),
            ) => self.on_commit(ctx, zxid),
            (Stage::Synchronizing, Message::NewLeader { zxid, .. }) => self.on_new_leader(ctx, zxid),
            (Stage::AwaitingUpToDate, Message::UpToDate) => self.on_up_to_date(ctx, link),
            (stage, Message::Ping { zxid, touched }) => {
                if matches!(stage, Stage::AwaitingUpToDate | Stage::Active) {
                    ctx.out.push(Action::Pong { link, zxid });
                }
                if stage == Stage::Active && self.leader_is_zkctl && !touched.is_empty() {
                    let message = Message::Ping { zxid, touched };
                    ctx.out.push(Action::Carried { link, learner: None, message });
                }
                self.leaves_without_room(ctx.shared)
            }
            (Stage::Active, message @ Message::Revalidate(_)) => {
                ctx.out.push(Action::Carried { link, learner: None, message });
                Verdict::Stay
            }
            (Stage::Active, message @ Message::Sync(_)) => {
                self.syncs.push_back((self.committed, message));
                self.deliver(ctx, link);
                Verdict::Stay
            }
            (stage, message) => Verdict::look(format!("unexpected {message:?} while {stage:?}")),
        }
    }

    fn on_leader_info(&mut self, ctx: &mut Ctx<'_>, link: LinkId, epoch: Epoch, zkctl: bool) -> Verdict {
        self.epoch = epoch;
        self.leader_is_zkctl = zkctl;
        // An observer's promise was made when it was a voter. It binds its acknowledgements, and it makes none; with
        // nobody to step down for it, it would stay outside until the others come to that epoch.
        let entered = ctx.shared.current_epoch.max(ctx.shared.history.last().epoch());
        let promised = if ctx.shared.is_voter() { ctx.shared.accepted_epoch } else { entered };
        if epoch < promised {
            // As long as the ensemble does without us it would go on like this, as fast as the network allows.
            ctx.shared.refused = Some((self.leader, ctx.now + REFUSED_WAIT_MS));
            return Verdict::look(format!(
                "leader {} proposes epoch {epoch}, below the promised {promised}",
                self.leader
            ));
        }
        if epoch > ctx.shared.accepted_epoch {
            self.stage = Stage::Promising;
            ctx.write_accepted_epoch(epoch);
        } else {
            // Promised in an earlier attempt: that promise must not be counted twice.
            let counts = mutants::on(Mutant::PromiseCountedTwice).then_some(ctx.shared.current_epoch);
            self.ack_epoch(ctx, link, counts);
        }
        Verdict::Stay
    }

    fn ack_epoch(&mut self, ctx: &mut Ctx<'_>, link: LinkId, current_epoch: Option<Epoch>) {
        assert_eq!(ctx.shared.durable, ctx.shared.history.last(), "an ACKEPOCH states durable facts");
        let wants_all = ctx.shared.trust != Trust::Trusted || self.uncuttable(ctx.shared).is_some();
        let last = (!wants_all).then_some(ctx.shared.durable);
        self.stage = Stage::Promised;
        ctx.send(link, Message::AckEpoch { last, current_epoch });
    }

    fn on_trunc(&mut self, ctx: &mut Ctx<'_>, to: Zxid) -> Verdict {
        let held = ctx.shared.history.at_or_before(to) == Some(to);
        // A point that is not ours to cut at is looked for in the files, which are left alone without it.
        let reload = !(held && ctx.shared.history.truncate(to));
        if let Some((epoch, _)) = ctx.shared.uncuttable.filter(|(_, known)| reload && *known == to) {
            // It was found under an earlier leader, which could not wait for as long as that took.
            return match epoch == self.epoch {
                false => self.ask_for_all(ctx, to),
                true => Verdict::look(format!("TRUNC {to} instead of the snapshot that was asked for")),
            };
        }
        let ticket = ctx.shared.wait(ctx.now, Wait::Truncate { to, reload });
        ctx.out.push(Action::Truncate { ticket, to, reload });
        self.committed = to;
        self.stage = if reload { Stage::Reloading } else { Stage::Synchronizing };
        if reload {
            // Until they have been read back: if the link ends before, we must not be told to cut once more.
            ctx.shared.uncuttable = Some((self.epoch, to));
        }
        Verdict::Stay
    }

    /// Where our leader wants us to cut, and our files are not known to lead.
    fn uncuttable(&self, shared: &Shared) -> Option<Zxid> {
        shared.uncuttable.filter(|(epoch, _)| *epoch == self.epoch).map(|(_, to)| to)
    }

    /// Without the point of the cut nothing leads up to it, as in front of a snapshot that another leader sent. The
    /// files were left alone then, since what they hold before it may be less than what we have acknowledged; we
    /// join again and ask this leader for all of its tree. Without an election: a leader that is not established
    /// and needs us would give up, and its next reign would begin with the same cut.
    fn ask_for_all(&mut self, ctx: &mut Ctx<'_>, to: Zxid) -> Verdict {
        ctx.shared.uncuttable = Some((self.epoch, to));
        let last = ctx.shared.history.last();
        let reason = format!("the log cannot be cut to {to} (it ends at {last}); asking for a snapshot");
        self.end(ctx, &reason);
        ctx.out.push(Action::Note(reason));
        *self = Learner::begin(ctx, self.leader);
        Verdict::Stay
    }

    pub(super) fn on_reloaded(&mut self, ctx: &mut Ctx<'_>, reloaded: Reloaded) -> Verdict {
        ctx.shared.reloaded(reloaded);
        if self.stage != Stage::Reloading {
            return Verdict::Stay;
        }
        if let Some(to) = self.uncuttable(ctx.shared) {
            return self.ask_for_all(ctx, to);
        }
        self.stage = Stage::Synchronizing;
        let Some(link) = self.link else { return Verdict::Stay };
        for message in std::mem::take(&mut self.held) {
            match self.on_message(ctx, link, message) {
                Verdict::Stay => {}
                look => return look,
            }
        }
        Verdict::Stay
    }

    pub(super) fn on_snapshot_loaded(&mut self, ctx: &mut Ctx<'_>) -> Verdict {
        let Stage::Loading(zxid) = self.stage else {
            return Verdict::look(format!("a snapshot while {:?}", self.stage));
        };
        self.heard(ctx);
        ctx.shared.history.restart_at(zxid);
        self.committed = zxid;
        self.snapshot = zxid;
        if self.uncuttable(ctx.shared).is_some_and(|to| zxid < to) {
            // What we have acknowledged may reach that point, and the leader has yet to send what leads there.
            ctx.shared.trust = Trust::Lost;
        }
        let ticket = ctx.shared.wait(ctx.now, Wait::Install(zxid));
        let untrusted = ctx.shared.trust != Trust::Trusted;
        ctx.out.push(Action::InstallSnapshot { ticket, zxid, untrusted });
        self.stage = Stage::Synchronizing;
        Verdict::Stay
    }

    fn on_propose(&mut self, ctx: &mut Ctx<'_>, proposal: Proposal) -> Verdict {
        if proposal.zxid <= self.snapshot {
            return Verdict::Stay;
        }
        match ctx.shared.history.accept(proposal.clone()) {
            Ok(true) => {
                ctx.append(proposal);
                if let (true, Stage::Active, Some(link)) =
                    (mutants::on(Mutant::AckBeforeFsync), self.stage, self.link)
                {
                    self.acknowledge(ctx, link);
                }
                Verdict::Stay
            }
            Ok(false) => Verdict::Stay,
            Err(gap) => Verdict::look(format!("the leader sent {} behind {}: a gap", gap.got, gap.after)),
        }
    }

    fn on_commit(&mut self, ctx: &mut Ctx<'_>, zxid: Zxid) -> Verdict {
        if zxid > ctx.shared.history.last() {
            return Verdict::look(format!(
                "COMMIT of {zxid}, which was never proposed to us (last {})",
                ctx.shared.history.last()
            ));
        }
        if self.stage == Stage::Settling && mutants::on(Mutant::CommitWhileSettlingLost) {
            return Verdict::Stay;
        }
        self.committed = self.committed.max(zxid);
        if let (Stage::Active, Some(link)) = (self.stage, self.link) {
            self.deliver(ctx, link);
        }
        Verdict::Stay
    }

    /// Delivers what may be, and passes on the syncs whose time has come: a read behind a sync must
    /// see everything decided before it, even when our own disk is the last to have it.
    fn deliver(&mut self, ctx: &mut Ctx<'_>, link: LinkId) {
        ctx.deliver(self.committed);
        while self.syncs.front().is_some_and(|(behind, _)| *behind <= ctx.shared.history.delivered()) {
            let Some((_, message)) = self.syncs.pop_front() else { break };
            ctx.out.push(Action::Carried { link, learner: None, message });
        }
    }

    fn on_new_leader(&mut self, ctx: &mut Ctx<'_>, zxid: Zxid) -> Verdict {
        if zxid != self.epoch.first_zxid() {
            return Verdict::look(format!("NEWLEADER {zxid} does not belong to epoch {}", self.epoch));
        }
        self.stage = Stage::Settling;
        ctx.write_current_epoch(self.epoch);
        if ctx.shared.trust != Trust::Trusted {
            let ticket = ctx.shared.wait(ctx.now, Wait::Trust);
            ctx.out.push(Action::Trust { ticket });
        }
        if let (true, Some(link)) = (mutants::on(Mutant::NewLeaderAckedEarly), self.link) {
            self.ack_new_leader(ctx, link);
        }
        Verdict::Stay
    }

    fn on_up_to_date(&mut self, ctx: &mut Ctx<'_>, link: LinkId) -> Verdict {
        self.stage = Stage::Active;
        self.heard(ctx);
        if !self.leader_is_zkctl {
            ctx.send(link, Message::Ack(self.epoch.first_zxid()));
        }
        let leader = self.leader;
        let service = if ctx.shared.is_voter() {
            Service::Following { leader, link }
        } else {
            Service::Observing { leader, link }
        };
        ctx.deliver(self.committed);
        ctx.out.push(Action::Serve(service));
        Verdict::Stay
    }

    /// Something reached the disk.
    pub(super) fn on_durable(&mut self, ctx: &mut Ctx<'_>, done: &[Wait]) -> Verdict {
        let Some(link) = self.link else { return Verdict::Stay };
        if self.stage == Stage::Promising && done.contains(&Wait::AcceptedEpoch(self.epoch)) {
            let current = ctx.shared.current_epoch.max(ctx.shared.durable.epoch());
            self.ack_epoch(ctx, link, Some(current));
        }
        // The write behind NEWLEADER, and with it all that came before: our epoch may have been this one already,
        // and then says nothing about them.
        let written = done.contains(&Wait::CurrentEpoch(self.epoch)) || done.contains(&Wait::Trust);
        let entered = written && ctx.shared.trust == Trust::Trusted;
        if self.stage == Stage::Settling && entered {
            self.ack_new_leader(ctx, link);
        }
        if matches!(self.stage, Stage::AwaitingUpToDate | Stage::Active) {
            self.acknowledge(ctx, link);
        }
        if self.stage == Stage::Active {
            self.deliver(ctx, link);
        }
        Verdict::Stay
    }

    fn ack_new_leader(&mut self, ctx: &mut Ctx<'_>, link: LinkId) {
        self.stage = Stage::AwaitingUpToDate;
        ctx.shared.uncuttable = None;
        self.acked = self.committed;
        self.heard(ctx);
        ctx.send(link, Message::Ack(self.epoch.first_zxid()));
    }

    /// ACKs what is durable and not acknowledged yet. A zkctl leader takes the last one for all.
    fn acknowledge(&mut self, ctx: &mut Ctx<'_>, link: LinkId) {
        let early = mutants::on(Mutant::AckBeforeFsync);
        let durable = if early { ctx.shared.history.last() } else { ctx.shared.durable };
        if !ctx.shared.is_voter() || durable <= self.acked {
            return;
        }
        if self.leader_is_zkctl {
            ctx.send(link, Message::Ack(durable));
        } else {
            let due: Vec<Zxid> =
                ctx.shared.history.behind(self.acked).map(|p| p.zxid).take_while(|z| *z <= durable).collect();
            for zxid in due {
                ctx.send(link, Message::Ack(zxid));
            }
        }
        self.acked = durable;
    }
}
