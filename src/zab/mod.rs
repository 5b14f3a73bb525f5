//! Zab: election, discovery, synchronization, broadcast. Pure: events in, actions out.
//!
//! `Zab` is one server's side of the protocol. It owns the order of durable things and every
//! acknowledgement. Deliberately absent: sockets, files, clocks, bytes on the wire, what a txn means.

mod absence;
mod action;
mod election;
mod history;
mod leader;
mod learner;
mod message;
mod progress;
mod quorum;
mod room;
mod shared;
mod sync_plan;

pub use action::{Action, Input, Reloaded, Service, Ticket};
pub use history::{Gap, History, Proposal};
pub use message::Message;
pub use quorum::Majority;
pub use room::Room;
pub use shared::{Config, Recovered, Trust};
pub use sync_plan::{SyncPlan, plan};

use crate::ids::{LinkId, Sid};
use crate::mutants::{self, Mutant};
use crate::time::Millis;
use crate::wire::vote::{Notification, PeerState};
use crate::zxid::{Epoch, Zxid};
use absence::Absence;
use election::{Election, Setup, Step, Vote};
use leader::Leader;
use learner::Learner;
use shared::{Ctx, Shared, Verdict, Wait};

#[derive(Debug)]
enum Role {
    /// Waiting for the disk, so that the election is fought with durable facts only.
    Settling,
    Looking,
    Leading(Box<Leader>),
    Learning(Box<Learner>),
    /// No ensemble: what is durable is decided.
    Standalone,
}

/// One server's side of the protocol.
#[derive(Debug)]
pub struct Zab {
    shared: Shared,
    election: Election,
    role: Role,
    initialising: bool,
    serving: bool,
    stopped: bool,
    absence: Absence,
}

impl Zab {
    /// A server that has recovered from its disk. It does nothing until `start`.
    pub fn new(config: Config, recovered: Recovered) -> Zab {
        let setup = Setup {
            me: config.me,
            quorum: config.quorum.clone(),
            config: config.config_text.clone(),
            settle_ms: config.settle_ms,
            resend_ms: config.resend_ms,
        };
        Zab {
            shared: Shared::new(config, recovered),
            election: Election::new(setup),
            role: Role::Settling,
            initialising: false,
            serving: false,
            stopped: false,
            absence: Absence::default(),
        }
    }

    /// Begins: an election, or standalone service.
    pub fn start(&mut self, now: Millis, out: &mut Vec<Action>) {
        if !self.shared.cfg.standalone {
            self.look(now, "start", out);
            return;
        }
        self.role = Role::Standalone;
        if self.shared.trust == Trust::New {
            let ticket = self.shared.wait(now, Wait::Initialise);
            out.push(Action::Initialise { ticket });
        } else {
            self.serve(Service::Standalone, out);
        }
    }

    /// Something happened.
    pub fn handle(&mut self, now: Millis, input: Input, out: &mut Vec<Action>) {
        let mut ctx = Ctx { now, shared: &mut self.shared, out };
        let verdict = match input {
            Input::Tick => return self.on_tick(now, out),
            Input::ElectionUp(peer) => {
                return self.elect(now, out, |election, steps| election.on_up(peer, steps));
            }
            Input::ElectionUnanswered(_) => return self.election.on_unanswered(now),
            Input::ElectionGone(peer) => {
                self.elect(now, out, |election, steps| election.on_gone(now, peer, steps));
                return self.reconsider(now, out);
            }
            Input::Notified { from, notification } => return self.on_notified(now, from, &notification, out),
            Input::DiskDone(ticket) => return self.on_disk_done(now, ticket, out),
            Input::Room(room) => return self.on_room(now, room, out),
            Input::LearnerRoom { link, room } => match &mut self.role {
                Role::Leading(leader) => leader.on_learner_room(&mut ctx, link, room),
                _ => Verdict::Stay,
            },
            Input::Dialled { leader, link } => match &mut self.role {
                Role::Learning(learner) if learner.leader() == leader => learner.on_dialled(&mut ctx, link),
                _ => {
                    ctx.close(link, "a link that nobody waits for");
                    Verdict::Stay
                }
            },
            Input::DialFailed(leader) => {
                if let Role::Learning(learner) = &mut self.role
                    && learner.leader() == leader
                {
                    learner.on_dial_failed(now);
                }
                Verdict::Stay
            }
            Input::Accepted(link) => {
                match &mut self.role {
                    Role::Leading(leader) => leader.on_accepted(&mut ctx, link),
                    _ => ctx.close(link, "not leading"),
                }
                Verdict::Stay
            }
            Input::LinkDown(link) => return self.on_link_down(now, link, out),
            Input::Received { link, message } => match &mut self.role {
                Role::Leading(leader) if leader.has(link) => leader.on_message(&mut ctx, link, message),
                Role::Learning(learner) if learner.has(link) => learner.on_message(&mut ctx, link, message),
                _ => Verdict::Stay,
            },
            Input::SnapshotProgress(link) => {
                match &mut self.role {
                    Role::Learning(learner) if learner.has(link) => learner.on_snapshot_progress(&ctx),
                    Role::Leading(leader) => leader.on_snapshot_progress(&ctx, link),
                    _ => {}
                }
                Verdict::Stay
            }
            Input::SnapshotLoaded(link) => match &mut self.role {
                Role::Learning(learner) if learner.has(link) => learner.on_snapshot_loaded(&mut ctx),
                _ => Verdict::Stay,
            },
            Input::Reloaded(reloaded) => match &mut self.role {
                Role::Learning(learner) => learner.on_reloaded(&mut ctx, reloaded),
                _ => {
                    ctx.shared.reloaded(reloaded);
                    Verdict::Stay
                }
            },
        };
        self.follow(now, verdict, out);
    }

    fn follow(&mut self, now: Millis, verdict: Verdict, out: &mut Vec<Action>) {
        let verdict = match (&mut self.role, verdict) {
            // Whoever hands over goes as soon as what was begun is decided.
            (Role::Leading(leader), Verdict::Stay) if leader.is_handing_over() => {
                leader.weigh_room(&mut Ctx { now, shared: &mut self.shared, out })
            }
            (_, verdict) => verdict,
        };
        match verdict {
            Verdict::Stay => {}
            Verdict::Look(reason) => self.look(now, &reason, out),
        }
    }

    fn serve(&mut self, service: Service, out: &mut Vec<Action>) {
        self.serving = service != Service::Down;
        out.push(Action::Serve(service));
    }

    /// Leaves whatever role there is for an election, once the disk is quiet.
    fn look(&mut self, now: Millis, reason: &str, out: &mut Vec<Action>) {
        let mut ctx = Ctx { now, shared: &mut self.shared, out };
        let was_active = matches!(&self.role, Role::Learning(learner) if learner.is_active());
        match &self.role {
            Role::Leading(leader) => leader.end(&mut ctx, reason),
            Role::Learning(learner) => learner.end(&mut ctx, reason),
            Role::Settling | Role::Looking | Role::Standalone => {}
        }
        out.push(Action::Note(format!("looking for a leader: {reason}")));
        self.serve(Service::Down, out);
        self.role = Role::Settling;
        if was_active {
            self.stay_away(now, out);
        }
        self.settle(now, out);
    }

    fn settle(&mut self, now: Millis, out: &mut Vec<Action>) {
        let quiet = self.shared.waits.is_empty() || mutants::on(Mutant::ElectionBeforeDisk);
        let away = self.absence.is_running();
        if self.stopped || !matches!(self.role, Role::Settling) || !quiet || away {
            return;
        }
        self.role = Role::Looking;
        let credentials = self.shared.credentials();
        self.elect(now, out, |election, steps| election.begin(now, credentials, steps));
    }

    /// The server stops: leave the ensemble, and take part in nothing any more.
    pub fn stop(&mut self, now: Millis, out: &mut Vec<Action>) {
        self.stopped = true;
        self.election.end();
        if !matches!(self.role, Role::Standalone) {
            self.look(now, "stop", out);
        }
    }

    /// Runs the election and carries out what it wants.
    fn elect(&mut self, now: Millis, out: &mut Vec<Action>, run: impl FnOnce(&mut Election, &mut Vec<Step>)) {
        let mut steps = Vec::new();
        run(&mut self.election, &mut steps);
        let looking = matches!(self.role, Role::Looking);
        for step in steps {
            match step {
                Step::Notify(to, notification) => out.push(Action::Notify { to, notification }),
                Step::Connect(peer) => out.push(Action::Connect(peer)),
                Step::AllNew if !self.initialising && looking => {
                    self.initialising = true;
                    let ticket = self.shared.wait(now, Wait::Initialise);
                    out.push(Action::Initialise { ticket });
                }
                Step::AllNew => {}
                Step::Elected(leader) => {
                    assert!(looking, "an election ends only while looking");
                    self.on_elected(now, leader, out);
                }
            }
        }
    }

    fn on_elected(&mut self, now: Millis, leader: Sid, out: &mut Vec<Action>) {
        out.push(Action::Note(format!("round {}: {leader} is elected", self.election.round())));
        if leader != self.shared.cfg.me && self.leaves_alone() {
            self.role = Role::Settling;
            self.stay_away(now, out);
            return self.settle(now, out);
        }
        let mut ctx = Ctx { now, shared: &mut self.shared, out };
        let verdict = if leader == ctx.shared.cfg.me {
            let (leader, verdict) = Leader::begin(&mut ctx);
            self.role = Role::Leading(Box::new(leader));
            verdict
        } else {
            self.role = Role::Learning(Box::new(Learner::begin(&mut ctx, leader)));
            Verdict::Stay
        };
        self.follow(now, verdict, out);
    }

    /// Our state and vote when the election is over; `None` while it goes on.
    fn settled(&self) -> Option<(PeerState, Vote)> {
        match &self.role {
            Role::Leading(leader) => {
                let epoch = if leader.is_established() { leader.epoch() } else { self.shared.current_epoch };
                let vote = Vote { epoch: epoch.0.into(), ..self.election.vote() };
                Some((PeerState::Leading, vote))
            }
            Role::Learning(learner) => {
                let state = if self.shared.is_voter() { PeerState::Following } else { PeerState::Observing };
                let vote = self.election.vote_for(learner.leader(), self.shared.current_epoch.0.into());
                Some((state, vote))
            }
            Role::Settling | Role::Looking | Role::Standalone => None,
        }
    }

    fn on_notified(&mut self, now: Millis, from: Sid, n: &Notification, out: &mut Vec<Action>) {
        let settled = self.settled();
        self.elect(now, out, |election, steps| election.on_notification(now, from, n, settled, steps));
        if n.state == PeerState::Looking {
            self.reconsider_absence(now, out);
        }
        self.reconsider(now, out);
    }

    fn on_link_down(&mut self, now: Millis, link: LinkId, out: &mut Vec<Action>) {
        let mut ctx = Ctx { now, shared: &mut self.shared, out };
        let verdict = match &mut self.role {
            Role::Leading(leader) => leader.on_link_down(&mut ctx, link),
            Role::Learning(learner) if learner.has(link) => Verdict::look("the link to the leader ended"),
            _ => Verdict::Stay,
        };
        self.follow(now, verdict, out);
        // Its election link may have told already; a learner counts as with us while either stands.
        self.reconsider(now, out);
    }

    /// An election that came to nothing is held again at once, not after initLimit: we are elected but
    /// those who voted for us died or changed their mind, or whom we set out to join did.
    fn reconsider(&mut self, now: Millis, out: &mut Vec<Action>) {
        let reason = match &self.role {
            Role::Leading(leader)
                if !leader.is_established() && self.election.deserted(leader.followers()) =>
            {
                "those who elected us left"
            }
            Role::Learning(learner) if learner.is_dialling() && self.election.leader_left() => {
                "the elected leader left"
            }
            _ => return,
        };
        self.look(now, reason, out);
    }

    fn on_disk_done(&mut self, now: Millis, ticket: Ticket, out: &mut Vec<Action>) {
        let done = self.shared.done(now, ticket);
        if done.is_empty() {
            return;
        }
        let mut ctx = Ctx { now, shared: &mut self.shared, out };
        let verdict = match &mut self.role {
            Role::Leading(leader) => leader.on_durable(&mut ctx, &done),
            Role::Learning(learner) => learner.on_durable(&mut ctx, &done),
            Role::Standalone => {
                let durable = ctx.shared.durable;
                ctx.deliver(durable);
                if done.contains(&Wait::Initialise) {
                    self.serve(Service::Standalone, out);
                }
                return;
            }
            Role::Looking => {
                if done.contains(&Wait::Initialise) {
                    let credentials = self.shared.credentials();
                    self.elect(now, out, |election, steps| election.trusted(now, credentials, steps));
                }
                return;
            }
            Role::Settling => return self.settle(now, out),
        };
        self.follow(now, verdict, out);
    }

    /// When a server in broadcast gives up on its own disk. A leader whose disk stalls answers pings and
    /// decides nothing that it could apply; a follower's clients would read what is long past. It leaves,
    /// and takes part in elections again when the disk has answered (`settle`).
    fn disk_deadline(&self) -> Option<Millis> {
        let serves = match &self.role {
            Role::Leading(leader) => leader.is_established(),
            Role::Learning(learner) => learner.is_active(),
            Role::Settling | Role::Looking | Role::Standalone => false,
        };
        self.shared.disk_deadline().filter(|_| serves)
    }

    fn on_tick(&mut self, now: Millis, out: &mut Vec<Action>) {
        if self.disk_deadline().is_some_and(|at| now >= at) {
            return self.look(now, "our disk has not answered within syncLimit", out);
        }
        let mut ctx = Ctx { now, shared: &mut self.shared, out };
        let verdict = match &mut self.role {
            Role::Leading(leader) => leader.on_tick(&mut ctx),
            Role::Learning(learner) => learner.on_tick(&mut ctx),
            Role::Looking => {
                self.elect(now, out, |election, steps| election.on_tick(now, steps));
                return self.reconsider(now, out);
            }
            Role::Settling => return self.reconsider_absence(now, out),
            Role::Standalone => Verdict::Stay,
        };
        self.follow(now, verdict, out);
    }

    /// When `Input::Tick` is wanted next.
    pub fn next_deadline(&self) -> Option<Millis> {
        let role = match &self.role {
            Role::Leading(leader) => Some(leader.next_deadline()),
            Role::Learning(learner) => Some(learner.next_deadline()),
            Role::Looking => self.election.next_deadline(),
            Role::Settling => self.absence_deadline(),
            Role::Standalone => None,
        };
        role.into_iter().chain(self.disk_deadline()).min()
    }

    /// The zxid that the next proposal must carry; `None` when this server cannot propose now.
    pub fn next_zxid(&mut self, now: Millis) -> Option<Zxid> {
        let mut unused = Vec::new();
        let ctx = Ctx { now, shared: &mut self.shared, out: &mut unused };
        match &self.role {
            Role::Leading(leader) if leader.is_established() => leader.next_zxid(&ctx),
            Role::Standalone if self.serving => self.shared.history.last().successor(),
            _ => None,
        }
    }

    /// Proposes a txn under the zxid that `next_zxid` gave.
    pub fn propose(&mut self, now: Millis, proposal: Proposal, out: &mut Vec<Action>) {
        let mut ctx = Ctx { now, shared: &mut self.shared, out };
        match &mut self.role {
            Role::Leading(leader) => leader.propose(&mut ctx, proposal),
            Role::Standalone => {
                let accepted = ctx.shared.history.accept(proposal.clone());
                assert_eq!(accepted, Ok(true), "our own proposals follow each other");
                ctx.append(proposal);
            }
            role => panic!("proposing while {role:?}"),
        }
    }

    /// The counter of this reign is used up: begin another.
    pub fn end_of_counter(&mut self, now: Millis, out: &mut Vec<Action>) {
        // What came in with the end of a reign finds no leader any more, and is no reason for another round.
        if matches!(self.role, Role::Leading(_)) {
            self.look(now, "the epoch's counter is used up", out);
        }
    }

    /// Asks the quorum whether this server still leads; `Action::BarrierPassed` with the returned id
    /// follows, behind everything proposed so far. `None` when this server cannot answer a sync.
    pub fn barrier(&mut self, now: Millis, out: &mut Vec<Action>) -> Option<u64> {
        let mut ctx = Ctx { now, shared: &mut self.shared, out };
        match &mut self.role {
            Role::Leading(leader) if leader.is_established() => Some(leader.barrier(&mut ctx)),
            _ => None,
        }
    }

    /// The turn of the loop is over.
    pub fn on_turn_end(&mut self) {
        if let Role::Leading(leader) = &mut self.role {
            leader.on_turn_end();
        }
    }

    /// Everything accepted up to here is on this server's disk.
    pub fn durable(&self) -> Zxid {
        self.shared.durable
    }

    /// The accepted sequence's end, as far as it is in memory.
    pub fn history(&self) -> &History {
        &self.shared.history
    }

    /// The last delivered zxid.
    pub fn delivered(&self) -> Zxid {
        self.shared.history.delivered()
    }

    /// The last zxid that the leader we are, or the disk of a standalone server, has decided.
    pub fn committed(&self) -> Zxid {
        match &self.role {
            Role::Leading(leader) => leader.committed(),
            _ => self.shared.history.delivered(),
        }
    }

    /// `currentEpoch` and `acceptedEpoch` as the disk holds them.
    pub fn epochs(&self) -> (Epoch, Epoch) {
        (self.shared.current_epoch, self.shared.accepted_epoch)
    }

    /// What the database on disk is worth now.
    pub fn trust(&self) -> Trust {
        self.shared.trust
    }

    /// The epoch this server leads, once established.
    pub fn reign(&self) -> Option<Epoch> {
        match &self.role {
            Role::Leading(leader) if leader.is_established() => Some(leader.epoch()),
            _ => None,
        }
    }

    /// The state that notifications and `srvr` tell.
    pub fn state(&self) -> PeerState {
        self.settled().map_or(PeerState::Looking, |(state, _)| state)
    }

    /// Whether every voter has shown zkctl's mark.
    pub fn all_zkctl(&self) -> bool {
        self.election.all_zkctl()
    }

    /// Of a leader: followers in broadcast, those among them that vote, observers.
    pub fn learner_counts(&self) -> Option<(usize, usize, usize)> {
        match &self.role {
            Role::Leading(leader) => Some(leader.counts(|sid| self.shared.cfg.quorum.is_voter(sid))),
            _ => None,
        }
    }
}
