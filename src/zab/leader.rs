//! Leading: discovery, synchronization and broadcast as the leader sees them.
//!
//! Owns the learners' progress and the decisions. Our own acknowledgement is a disk completion like
//! everybody's. Deliberately absent: clients, txn contents, bytes.

use super::action::{Action, Service};
use super::history::Proposal;
use super::message::Message;
use super::progress::{Kind, LearnerProgress, Stage};
use super::room::{self, Room, Voter};
use super::shared::{Ctx, Trust, Verdict, Wait};
use super::sync_plan::{SyncPlan, plan};
use crate::ids::{LinkId, Sid};
use crate::limits;
use crate::mutants::{self, Mutant};
use crate::time::Millis;
use crate::wire::quorum::LearnerInfo;
use crate::zxid::{Epoch, Zxid};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A reign is ended at a quiet moment once this part of its counters is left, so that it hardly ever has to
/// end in the middle of writes (ZOOKEEPER-1277).
const COUNTERS_LEFT: u32 = 16;

/// How long a reign lasts before it is handed over, in ticks: an election that went against the disks' room
/// must not be followed by the next one at once.
const REIGN_TICKS_MIN: u64 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Collecting FOLLOWERINFOs.
    Discovery,
    /// Our promise of the new epoch is on its way to disk.
    Promising,
    /// Collecting ACKEPOCHs.
    Promises,
    /// Collecting ACKs of NEWLEADER.
    Synchronization,
    /// Serving.
    Broadcast,
}

/// A question put to the quorum: is this leader still the leader?
#[derive(Debug)]
struct Barrier {
    id: u64,
    /// Everything proposed before the question must be decided first.
    behind: Zxid,
    /// Per learner link, the PING whose answer counts.
    pings: BTreeMap<LinkId, u64>,
}

/// A leader's reign.
#[derive(Debug)]
pub(super) struct Leader {
    phase: Phase,
    epoch: Epoch,
    learners: BTreeMap<LinkId, LearnerProgress>,
    committed: Zxid,
    /// Our own entering of the epoch is on disk.
    entered: bool,
    phase_deadline: Millis,
    next_ping: Millis,
    next_check: Millis,
    barriers: VecDeque<Barrier>,
    next_barrier: u64,
    pinged_for_barrier: bool,
    /// No quorum has room for more writes, or another is about to lead.
    refuses: bool,
    /// We have little room, another voter has more, and we go when all is decided.
    handing_over: bool,
    /// Not before then: a reign must have been of use.
    may_hand_over: Millis,
    /// Since when another voter has more room.
    outdone: Option<Millis>,
}

impl Leader {
    /// Opens the quorum port and waits for learners.
    pub(super) fn begin(ctx: &mut Ctx<'_>) -> (Leader, Verdict) {
        assert_eq!(ctx.shared.trust, Trust::Trusted, "who may have lost something does not lead");
        ctx.out.push(Action::Listen);
        let cfg = &ctx.shared.cfg;
        let mut leader = Leader {
            phase: Phase::Discovery,
            epoch: Epoch(0),
            learners: BTreeMap::new(),
            // Everything in our history at this point is decided once we are established.
            committed: ctx.shared.history.last(),
            entered: false,
            phase_deadline: ctx.now + cfg.init_ms(),
            next_ping: ctx.now + cfg.tick_ms / 2,
            next_check: ctx.now + cfg.tick_ms,
            barriers: VecDeque::new(),
            next_barrier: 1,
            pinged_for_barrier: false,
            refuses: false,
            handing_over: false,
            may_hand_over: Millis(0),
            outdone: None,
        };
        let verdict = leader.discover(ctx);
        (leader, verdict)
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(super) fn committed(&self) -> Zxid {
        self.committed
    }

    pub(super) fn is_established(&self) -> bool {
        self.phase == Phase::Broadcast
    }

    pub(super) fn has(&self, link: LinkId) -> bool {
        self.learners.contains_key(&link)
    }

    /// Learners in broadcast: (followers in all, followers that vote, observers), for `mntr`.
    pub(super) fn counts(&self, ctx_voter: impl Fn(Sid) -> bool) -> (usize, usize, usize) {
        let active = || self.learners.values().filter(|l| l.stage == Stage::Active);
        let followers = active().filter(|l| l.kind == Kind::Follower).count();
        let voting = active().filter(|l| l.kind == Kind::Follower && ctx_voter(l.sid)).count();
        (followers, voting, active().count() - followers)
    }

    /// Ends every link; the caller goes back to an election.
    pub(super) fn end(&self, ctx: &mut Ctx<'_>, reason: &str) {
        for link in self.learners.keys() {
            ctx.close(*link, reason);
        }
        ctx.out.push(Action::StopListening);
    }

    pub(super) fn on_accepted(&mut self, ctx: &mut Ctx<'_>, link: LinkId) {
        let limit = ctx.shared.cfg.init_ms() + ctx.shared.cfg.sync_ms();
        self.learners.insert(link, LearnerProgress::new(ctx.now + limit));
    }

    /// Without a quorum nothing can be decided and nobody can join us any more: the followers, one of
    /// which may be back already, are waiting for an election.
    pub(super) fn on_link_down(&mut self, ctx: &mut Ctx<'_>, link: LinkId) -> Verdict {
        self.learners.remove(&link);
        let quorum = &ctx.shared.cfg.quorum;
        let connected =
            quorum.is_quorum(self.with_us(ctx, |s| matches!(s, Stage::Synchronized | Stage::Active)));
        let lost = self.phase == Phase::Broadcast && !connected;
        if lost && !mutants::on(Mutant::LeaderWithoutQuorumStays) {
            return Verdict::look("a quorum of followers is no longer connected");
        }
        self.weigh_room(ctx)
    }

    /// Ends a learner's link, if it is still there.
    pub(super) fn send_away(&mut self, ctx: &mut Ctx<'_>, link: LinkId, why: &str) {
        if self.has(link) {
            self.drop_learner(ctx, link, why);
        }
    }

    /// The followers that have said who they are.
    pub(super) fn followers(&self) -> impl Iterator<Item = Sid> {
        let known = self.learners.values().filter(|l| l.stage != Stage::Silent && l.kind == Kind::Follower);
        known.map(|l| l.sid)
    }

    /// A learner takes in its SNAP: a big tree may take longer than any limit.
    pub(super) fn on_snapshot_progress(&mut self, ctx: &Ctx<'_>, link: LinkId) {
        let limit = ctx.shared.cfg.init_ms() + ctx.shared.cfg.sync_ms();
        if let Some(learner) = self.learners.get_mut(&link) {
            learner.deadline = learner.deadline.max(ctx.now + limit);
        }
    }

    fn drop_learner(&mut self, ctx: &mut Ctx<'_>, link: LinkId, reason: impl Into<String>) {
        self.learners.remove(&link);
        ctx.close(link, reason);
    }

    /// Ourselves and the learners at `stage` or further.
    fn with_us<'a>(&'a self, ctx: &Ctx<'_>, at_least: fn(Stage) -> bool) -> impl Iterator<Item = Sid> + 'a {
        let me = ctx.shared.cfg.me;
        let counts = |l: &LearnerProgress| l.kind == Kind::Follower || mutants::on(Mutant::ObserversCounted);
        let others = self.learners.values().filter(move |l| counts(l) && at_least(l.stage));
        std::iter::once(me).chain(others.map(|l| l.sid))
    }

    pub(super) fn on_message(&mut self, ctx: &mut Ctx<'_>, link: LinkId, message: Message) -> Verdict {
        let Some(learner) = self.learners.get_mut(&link) else { return Verdict::Stay };
        if learner.stage == Stage::Active {
            learner.deadline = ctx.now + ctx.shared.cfg.sync_ms();
        }
        let (stage, sid) = (learner.stage, learner.sid);
        match (stage, message) {
            (Stage::Silent, Message::Info { accepted_epoch, info, observer }) => {
                self.on_info(ctx, link, accepted_epoch, info, observer)
            }
            (Stage::Asked, Message::AckEpoch { last, current_epoch }) => {
                self.on_ack_epoch(ctx, link, last, current_epoch)
            }
            (Stage::Synchronizing, Message::Ack(zxid)) => self.on_new_leader_ack(ctx, link, zxid),
            (Stage::Synchronized | Stage::Active, Message::Ack(zxid)) => {
                // Counter 0: an Apache follower's second ACK of NEWLEADER, behind UPTODATE.
                if zxid.counter() != 0 {
                    learner.acked = learner.acked.max(zxid);
                    self.decide(ctx);
                }
                Verdict::Stay
            }
            (Stage::Active, Message::Ping { touched, zxid }) => {
                learner.pongs += 1;
                let message = Message::Ping { zxid, touched };
                ctx.out.push(Action::Carried { link, learner: Some(sid), message });
                self.pass_barriers(ctx);
                Verdict::Stay
            }
            (Stage::Active, message @ (Message::Request { .. } | Message::Revalidate(_))) => {
                ctx.out.push(Action::Carried { link, learner: Some(sid), message });
                Verdict::Stay
            }
            (stage, message) => {
                let reason = format!("learner {sid}: unexpected {message:?} while {stage:?}");
                self.drop_learner(ctx, link, reason);
                Verdict::Stay
            }
        }
    }

    fn on_info(
        &mut self,
        ctx: &mut Ctx<'_>,
        link: LinkId,
        accepted_epoch: Epoch,
        info: LearnerInfo,
        observer: bool,
    ) -> Verdict {
        if info.config_version > ctx.shared.cfg.config_version {
            self.drop_learner(ctx, link, format!("learner {} has a newer member list", info.sid));
            return Verdict::Stay;
        }
        if info.sid == ctx.shared.cfg.me {
            self.drop_learner(ctx, link, "a learner says that it is us");
            return Verdict::Stay;
        }
        // A learner that connects again replaces its older link.
        let older = self.learners.iter().find(|(l, p)| **l != link && p.sid == info.sid).map(|(l, _)| *l);
        if let Some(older) = older {
            self.drop_learner(ctx, older, format!("learner {} connected again", info.sid));
        }
        let Some(learner) = self.learners.get_mut(&link) else { return Verdict::Stay };
        learner.sid = info.sid;
        learner.kind = if observer { Kind::Observer } else { Kind::Follower };
        learner.zkctl = info.zkctl;
        learner.accepted_epoch = accepted_epoch;
        learner.stage = Stage::Waiting;
        match self.phase {
            Phase::Discovery => self.discover(ctx),
            Phase::Promising => Verdict::Stay,
            _ if accepted_epoch > self.epoch && ctx.shared.cfg.quorum.is_voter(info.sid) && !observer => {
                // It has promised a later epoch and could never join this one.
                Verdict::look(format!("voter {} has promised epoch {accepted_epoch}", info.sid))
            }
            _ => {
                self.ask(ctx, link);
                Verdict::Stay
            }
        }
    }

    /// With a quorum of FOLLOWERINFOs the new epoch is one above all they have promised.
    fn discover(&mut self, ctx: &mut Ctx<'_>) -> Verdict {
        if !ctx.shared.cfg.quorum.is_quorum(self.with_us(ctx, |s| s != Stage::Silent)) {
            return Verdict::Stay;
        }
        let asked = self.learners.values().filter(|_| !mutants::on(Mutant::PromiseCountedTwice));
        let promised = asked.map(|l| l.accepted_epoch).max().unwrap_or_default();
        let Some(epoch) = promised.max(ctx.shared.accepted_epoch).successor() else {
            return Verdict::look("the epochs are used up");
        };
        self.epoch = epoch;
        self.phase = Phase::Promising;
        self.phase_deadline = ctx.now + ctx.shared.cfg.init_ms();
        ctx.write_accepted_epoch(epoch);
        Verdict::Stay
    }

    fn ask(&mut self, ctx: &mut Ctx<'_>, link: LinkId) {
        let epoch = self.epoch;
        if let Some(learner) = self.learners.get_mut(&link) {
            learner.stage = Stage::Asked;
            let zkctl = learner.zkctl;
            ctx.send(link, Message::LeaderInfo { epoch, zkctl });
        }
    }

    fn links_at(&self, stage: Stage) -> Vec<LinkId> {
        self.learners.iter().filter(|(_, l)| l.stage == stage).map(|(link, _)| *link).collect()
    }

    fn on_ack_epoch(
        &mut self,
        ctx: &mut Ctx<'_>,
        link: LinkId,
        last: Option<Zxid>,
        current_epoch: Option<Epoch>,
    ) -> Verdict {
        let ours = (ctx.shared.current_epoch.max(ctx.shared.durable.epoch()), ctx.shared.durable);
        if let (Some(epoch), Some(last), Phase::Promises) = (current_epoch, last, self.phase)
            && (epoch, last) > ours
        {
            return Verdict::look(format!("a learner is ahead: epoch {epoch}, zxid {last}; we {ours:?}"));
        }
        let Some(learner) = self.learners.get_mut(&link) else { return Verdict::Stay };
        learner.stage = Stage::Promised;
        learner.last = last;
        // A promise made twice, or by a server without a trusted database, does not count.
        learner.promise_counts = last.is_some() && current_epoch.is_some();
        match self.phase {
            Phase::Promises => self.count_promises(ctx),
            Phase::Synchronization | Phase::Broadcast => self.synchronize(ctx, link),
            Phase::Discovery | Phase::Promising => {}
        }
        Verdict::Stay
    }

    fn count_promises(&mut self, ctx: &mut Ctx<'_>) {
        let epoch = self.epoch;
        let promised = self
            .learners
            .values()
            .filter(|l| l.stage == Stage::Promised && l.kind == Kind::Follower && l.promise_counts)
            .map(|l| l.sid)
            .chain(std::iter::once(ctx.shared.cfg.me));
        if !ctx.shared.cfg.quorum.is_quorum(promised) && !mutants::on(Mutant::PromisesNotAwaited) {
            return;
        }
        self.phase = Phase::Synchronization;
        self.phase_deadline = ctx.now + ctx.shared.cfg.init_ms();
        ctx.write_current_epoch(epoch);
        for link in self.links_at(Stage::Promised) {
            self.synchronize(ctx, link);
        }
    }

    /// Sends the history and NEWLEADER. From this moment the learner gets everything new: the point
    /// of synchronization and the registration are one (ZOOKEEPER-3104).
    fn synchronize(&mut self, ctx: &mut Ctx<'_>, link: LinkId) {
        let Some(learner) = self.learners.get_mut(&link) else { return };
        let history = &ctx.shared.history;
        // The tree is what a SNAP sends, so the rest must follow from where the tree is.
        let mut chosen = plan(learner.last, history, self.committed);
        let from = match chosen {
            SyncPlan::Diff(from) | SyncPlan::Trunc(from) => from,
            SyncPlan::Snap if mutants::on(Mutant::SnapPointAheadOfTree) => self.committed,
            SyncPlan::Snap => history.delivered(),
        };
        if from < history.base() {
            chosen = SyncPlan::Snap;
        }
        let first = match chosen {
            SyncPlan::Diff(_) => Message::Diff(self.committed),
            SyncPlan::Trunc(to) => Message::Trunc(to),
            SyncPlan::Snap => Message::Snap(from),
        };
        let note = format!("learner {} at {:?}: {chosen:?}, then behind {from}", learner.sid, learner.last);
        let observer = learner.kind == Kind::Observer;
        learner.stage = Stage::Synchronizing;
        learner.acked = Zxid::ZERO;
        learner.given = history.last();
        let mut messages = Vec::new();
        let left_out = usize::from(mutants::on(Mutant::DiffWithHole));
        for proposal in history.behind(from).skip(left_out) {
            if proposal.zxid <= self.committed {
                messages.push(Message::Propose(proposal.clone()));
                messages.push(Message::Commit(proposal.zxid));
            } else if !observer {
                messages.push(Message::Propose(proposal.clone()));
            }
        }
        messages.push(Message::NewLeader { zxid: self.epoch.first_zxid(), config: ctx.config_bytes() });
        ctx.out.push(Action::Note(note));
        ctx.send(link, first);
        if chosen == SyncPlan::Snap {
            ctx.out.push(Action::SendSnapshot(link));
        }
        for message in messages {
            ctx.send(link, message);
        }
    }

    fn on_new_leader_ack(&mut self, ctx: &mut Ctx<'_>, link: LinkId, zxid: Zxid) -> Verdict {
        if zxid != self.epoch.first_zxid() {
            self.drop_learner(ctx, link, format!("ACK of {zxid} instead of NEWLEADER's"));
            return Verdict::Stay;
        }
        let Some(learner) = self.learners.get_mut(&link) else { return Verdict::Stay };
        learner.stage = Stage::Synchronized;
        if self.phase == Phase::Broadcast {
            self.activate(ctx, link);
        } else {
            self.establish(ctx);
        }
        Verdict::Stay
    }

    fn activate(&mut self, ctx: &mut Ctx<'_>, link: LinkId) {
        if let Some(learner) = self.learners.get_mut(&link) {
            learner.stage = Stage::Active;
            learner.deadline = ctx.now + ctx.shared.cfg.sync_ms();
            ctx.send(link, Message::UpToDate);
        }
    }

    /// With a quorum that has our whole history on disk, ourselves included, the reign begins.
    fn establish(&mut self, ctx: &mut Ctx<'_>) {
        let quorum = ctx.shared.cfg.quorum.is_quorum(self.with_us(ctx, |s| s == Stage::Synchronized))
            || mutants::on(Mutant::NewLeaderAcksNotAwaited);
        if self.phase != Phase::Synchronization || !self.entered || !quorum {
            return;
        }
        self.phase = Phase::Broadcast;
        self.next_check = ctx.now + ctx.shared.cfg.tick_ms;
        self.may_hand_over = ctx.now + REIGN_TICKS_MIN * ctx.shared.cfg.tick_ms;
        ctx.deliver(self.committed);
        assert_eq!(ctx.shared.history.delivered(), self.committed, "a leader has delivered its history");
        for link in self.links_at(Stage::Synchronized) {
            self.activate(ctx, link);
        }
        ctx.out.push(Action::Serve(Service::Leading(self.epoch)));
    }

    /// The zxid that the next proposal must carry; `None` when this reign can make no more.
    pub(super) fn next_zxid(&self, ctx: &Ctx<'_>) -> Option<Zxid> {
        let last = ctx.shared.history.last();
        if last.epoch() == self.epoch {
            let used_up = last.counter() >= ctx.shared.cfg.counter_max;
            let wrapped = || {
                let wraps = mutants::on(Mutant::CounterWrapsIntoEpoch);
                self.epoch.successor().filter(|_| wraps).map(Epoch::first_zxid)
            };
            last.successor().filter(|_| !used_up).or_else(wrapped)
        } else {
            self.epoch.first_zxid().successor()
        }
    }

    pub(super) fn propose(&mut self, ctx: &mut Ctx<'_>, proposal: Proposal) {
        assert_eq!(self.phase, Phase::Broadcast, "only an established leader proposes");
        assert_eq!(Some(proposal.zxid), self.next_zxid(ctx));
        let accepted = ctx.shared.history.accept(proposal.clone());
        assert_eq!(accepted, Ok(true), "our own proposals follow each other");
        for (link, learner) in &self.learners {
            if learner.is_forwarding() && learner.kind == Kind::Follower {
                ctx.out.push(Action::Send { link: *link, message: Message::Propose(proposal.clone()) });
            }
        }
        ctx.append(proposal);
    }

    /// Decides what a quorum has on disk.
    fn decide(&mut self, ctx: &mut Ctx<'_>) {
        if self.phase != Phase::Broadcast {
            return;
        }
        let unsynced = mutants::on(Mutant::LeaderCountsUnsynced);
        let ours = if unsynced { ctx.shared.history.last() } else { ctx.shared.durable };
        let me = (ctx.shared.cfg.me, ours);
        let followers = self
            .learners
            .values()
            .filter(|l| l.kind == Kind::Follower && matches!(l.stage, Stage::Synchronized | Stage::Active));
        let acked: BTreeMap<Sid, Zxid> = followers.map(|l| (l.sid, l.acked)).chain([me]).collect();
        let reached = ctx.shared.cfg.quorum.reached(acked.into_iter());
        let Some(reached) = reached.filter(|z| *z > self.committed) else {
            ctx.deliver(self.committed);
            self.pass_barriers(ctx);
            return;
        };
        let decided: Vec<Proposal> =
            ctx.shared.history.behind(self.committed).take_while(|p| p.zxid <= reached).cloned().collect();
        self.committed = reached.min(ctx.shared.history.last());
        for (link, learner) in self.learners.iter().filter(|(_, l)| l.is_forwarding()) {
            match (learner.kind, learner.zkctl) {
                (Kind::Observer, _) => {
                    for proposal in &decided {
                        let message = Message::Inform(proposal.clone());
                        ctx.out.push(Action::Send { link: *link, message });
                    }
                }
                (Kind::Follower, true) => ctx.send(*link, Message::Commit(self.committed)),
                (Kind::Follower, false) => {
                    for proposal in &decided {
                        ctx.send(*link, Message::Commit(proposal.zxid));
                    }
                }
            }
        }
        ctx.deliver(self.committed);
        self.pass_barriers(ctx);
    }

    pub(super) fn on_durable(&mut self, ctx: &mut Ctx<'_>, done: &[Wait]) -> Verdict {
        if self.phase == Phase::Promising && done.contains(&Wait::AcceptedEpoch(self.epoch)) {
            self.phase = Phase::Promises;
            self.phase_deadline = ctx.now + ctx.shared.cfg.init_ms();
            for link in self.links_at(Stage::Waiting) {
                self.ask(ctx, link);
            }
            self.count_promises(ctx);
        }
        if done.contains(&Wait::CurrentEpoch(self.epoch)) {
            self.entered = true;
            self.establish(ctx);
        }
        if done.iter().any(|w| matches!(w, Wait::Append(_))) {
            self.decide(ctx);
        }
        Verdict::Stay
    }

    /// Asks the quorum whether we still lead, and orders the answer behind all that is proposed.
    pub(super) fn barrier(&mut self, ctx: &mut Ctx<'_>) -> u64 {
        let id = self.next_barrier;
        self.next_barrier += 1;
        if !self.pinged_for_barrier {
            self.ping(ctx);
            self.pinged_for_barrier = true;
        }
        let active = self.learners.iter().filter(|(_, l)| l.stage == Stage::Active);
        let pings = active.map(|(link, l)| (*link, l.pings)).collect();
        self.barriers.push_back(Barrier { id, behind: ctx.shared.history.last(), pings });
        self.pass_barriers(ctx);
        id
    }

    /// The turn is over: barriers of the next one need PINGs of their own.
    pub(super) fn on_turn_end(&mut self) {
        self.pinged_for_barrier = false;
    }

    fn pass_barriers(&mut self, ctx: &mut Ctx<'_>) {
        while let Some(barrier) = self.barriers.front() {
            // A follower that came since was pinged since: its first answer counts. Only those that were here
            // would block every later sync when their links are replaced and the quorum stays.
            let asked = |link| barrier.pings.get(link).copied().unwrap_or(1);
            let followers = self.learners.iter().filter(|(_, l)| l.kind == Kind::Follower);
            let confirmed = followers.filter(|(link, l)| l.pongs >= asked(*link)).map(|(_, l)| l.sid);
            let confirmed: BTreeSet<Sid> = confirmed.chain([ctx.shared.cfg.me]).collect();
            let quorum = ctx.shared.cfg.quorum.is_quorum(confirmed.into_iter())
                || mutants::on(Mutant::SyncWithoutQuorum);
            if !quorum || barrier.behind > ctx.shared.history.delivered() {
                return;
            }
            ctx.out.push(Action::BarrierPassed(barrier.id));
            self.barriers.pop_front();
        }
    }

    fn ping(&mut self, ctx: &mut Ctx<'_>) {
        let zxid = ctx.shared.history.last().wire();
        for (link, learner) in self.learners.iter_mut().filter(|(_, l)| l.stage == Stage::Active) {
            learner.pings += 1;
            let message = Message::Ping { zxid, touched: Bytes::new() };
            ctx.out.push(Action::Send { link: *link, message });
        }
    }

    pub(super) fn on_tick(&mut self, ctx: &mut Ctx<'_>) -> Verdict {
        let now = ctx.now;
        if self.phase < Phase::Broadcast && now >= self.phase_deadline {
            return Verdict::look(format!("no quorum in {:?} within initLimit", self.phase));
        }
        let silent: Vec<_> =
            self.learners.iter().filter(|(_, l)| now >= l.deadline).map(|(l, _)| *l).collect();
        for link in silent {
            self.drop_learner(ctx, link, "the learner is silent");
        }
        if now >= self.next_ping {
            self.next_ping = now + ctx.shared.cfg.tick_ms / 2;
            self.ping(ctx);
        }
        if self.phase == Phase::Broadcast && now >= self.next_check {
            self.next_check = now + ctx.shared.cfg.tick_ms;
            let lost = !ctx.shared.cfg.quorum.is_quorum(self.with_us(ctx, |s| s == Stage::Active));
            if lost && !mutants::on(Mutant::LeaderWithoutQuorumStays) {
                return Verdict::look("a quorum of followers is no longer connected");
            }
            let last = ctx.shared.history.last();
            let quiet = last == self.committed && last.epoch() == self.epoch;
            let counter_max = ctx.shared.cfg.counter_max;
            if quiet && last.counter() >= counter_max - counter_max / COUNTERS_LEFT {
                return Verdict::look("the epoch's counter is nearly used up; a new epoch begins");
            }
            return self.weigh_room(ctx);
        }
        Verdict::Stay
    }

    pub(super) fn refuses_writes(&self) -> bool {
        self.refuses
    }

    pub(super) fn is_handing_over(&self) -> bool {
        self.handing_over
    }

    pub(super) fn on_learner_room(&mut self, ctx: &mut Ctx<'_>, link: LinkId, room: Room) -> Verdict {
        let Some(learner) = self.learners.get_mut(&link) else { return Verdict::Stay };
        if learner.room.replace(room) == Some(room) {
            return Verdict::Stay;
        }
        self.weigh_room(ctx)
    }

    /// Whose disks have room, and what follows from it.
    pub(super) fn weigh_room(&mut self, ctx: &mut Ctx<'_>) -> Verdict {
        if self.phase != Phase::Broadcast {
            return Verdict::Stay;
        }
        let (shared, last) = (&ctx.shared, ctx.shared.history.last());
        let is_voter = |l: &LearnerProgress| l.kind == Kind::Follower && shared.cfg.quorum.is_voter(l.sid);
        let active = self.learners.iter().filter(|(_, l)| l.stage == Stage::Active && is_voter(l));
        let voter = |(link, l): (&LinkId, &LearnerProgress)| Voter {
            link: *link,
            sid: l.sid,
            tells: l.zkctl,
            room: l.room,
            caught_up: l.acked.max(l.given) >= last,
        };
        let voters: Vec<Voter> = active.map(voter).collect();
        let judgement = room::judge(shared.cfg.me, shared.room, &voters, &shared.cfg.quorum);
        let outdone = judgement.better.map(|_| self.outdone.unwrap_or(ctx.now));
        // Disks that are alike fill up and are emptied together, and each server tells of its own when it has
        // measured and was pinged: until then some words are old.
        let words_ms = limits::ROOM_EVERY_MS + ctx.shared.cfg.tick_ms;
        let sure = outdone.is_some_and(|since| ctx.now >= since + words_ms);
        self.outdone = outdone;
        self.handing_over = sure && ctx.now >= self.may_hand_over;
        if let (true, Some((sid, true)), true) = (self.handing_over, judgement.better, last == self.committed)
        {
            return Verdict::look(format!("our disk is {}, that of server {sid} is not", shared.room.text()));
        }
        let refuses = judgement.refuses || self.handing_over;
        if std::mem::replace(&mut self.refuses, refuses) != refuses {
            let text = match (refuses, self.handing_over) {
                (false, _) => "writes are taken again",
                (true, true) => "our disk has little room: handing over",
                (true, false) => "writes are refused: no quorum of voters has room on its disk",
            };
            ctx.out.push(Action::Note(text.into()));
        }
        for link in judgement.lets_go {
            self.drop_learner(ctx, link, "its disk has no room, and the quorum does without it");
        }
        Verdict::Stay
    }

    /// A PING with something to read.
    pub(super) fn ping_with(&mut self, ctx: &mut Ctx<'_>, link: LinkId, touched: Bytes) -> bool {
        let zxid = ctx.shared.history.last().wire();
        let Some(learner) = self.learners.get_mut(&link).filter(|l| l.zkctl && l.stage == Stage::Active)
        else {
            return false;
        };
        learner.pings += 1;
        ctx.send(link, Message::Ping { zxid, touched });
        true
    }

    pub(super) fn next_deadline(&self) -> Millis {
        let phase = if self.phase < Phase::Broadcast { self.phase_deadline } else { self.next_check };
        let next = self.next_ping.min(phase);
        self.learners.values().map(|l| l.deadline).fold(next, Millis::min)
    }
}
