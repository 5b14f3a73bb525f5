//! Fast leader election: who should lead, decided by notifications among the voters.
//!
//! Owns one server's election: its round, its vote, what the others said. Deliberately absent:
//! links (the server's), what happens after (`leader`, `learner`), and the clock.
//! The rules are FastLeaderElection's; its fixed 200 ms wait for better votes ends early when every
//! voter was heard in this round or its link was refused or reset in this round, and no member is
//! known to be an Apache server. A voter that observes by its own list has no vote to wait for.

use super::quorum::Majority;
use crate::config::MemberList;
use crate::ids::Sid;
use crate::mutants::{self, Mutant};
use crate::time::Millis;
use crate::wire::vote::{NOTIFICATION_VERSION, Notification, PeerState};
use std::collections::{BTreeMap, BTreeSet};

/// A candidate and its credentials. The order is the protocol's: epoch, then zxid, then sid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Vote {
    /// The candidate's current epoch.
    pub(super) epoch: i64,
    /// Its last durable zxid; -1 when its database is not to be trusted.
    pub(super) zxid: i64,
    /// The candidate.
    pub(super) leader: Sid,
}

/// How long a server that took our hello may take to call back, in milliseconds.
const UNANSWERED_MS: u64 = 10;

/// Whether missing links are tried again before this interval is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EarlyTry {
    None,
    Due,
    Done,
}

/// What a server without a vote says: it proposes nobody.
const NO_VOTE: Vote = Vote { epoch: i64::MIN, zxid: i64::MIN, leader: Sid(i64::MIN) };

/// A notification's content that matters to counting.
#[derive(Clone, Copy, Debug)]
struct Heard {
    vote: Vote,
    round: i64,
    state: PeerState,
    version: i32,
}

impl Heard {
    fn of(n: &Notification) -> Heard {
        let vote = Vote { epoch: n.peer_epoch, zxid: n.zxid, leader: n.leader };
        Heard { vote, round: n.round, state: n.state, version: n.version }
    }

    /// `Vote.equals`: outside LOOKING zxid and round may differ, and very old servers only agree on the leader.
    fn agrees(&self, other: &Heard) -> bool {
        if self.state == PeerState::Looking && other.state == PeerState::Looking {
            return self.vote == other.vote && self.round == other.round;
        }
        let same_leader = self.vote.leader == other.vote.leader;
        if self.version > 0 && other.version > 0 {
            return same_leader && self.vote.epoch == other.vote.epoch;
        }
        same_leader
    }
}

/// What an election wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Send this to one server.
    Notify(Sid, Notification),
    /// Make sure a link to this server is being tried.
    Connect(Sid),
    /// Decided: this server leads, in this epoch of credentials and round.
    Elected(Sid),
    /// All voters have shown to be new: an empty database may be trusted.
    AllNew,
}

/// The fixed parts of an election.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    /// Our id.
    pub(super) me: Sid,
    /// Who votes.
    pub(super) quorum: Majority,
    /// Our member list as text, sent along.
    pub(super) config: String,
    /// How long to wait for better votes (`finalizeWait`), in milliseconds.
    pub(super) settle_ms: u64,
    /// First and last interval of repeating notifications, in milliseconds.
    pub(super) resend_ms: (u64, u64),
}

/// Our credentials when an election begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    /// Our current epoch.
    pub(super) epoch: i64,
    /// Our last durable zxid, or -1.
    pub(super) zxid: i64,
    /// Our disk holds no database yet.
    pub(super) is_new: bool,
    /// How long we leave it to others to stand, in milliseconds: our disk has little room.
    pub(super) yields_ms: u64,
}

/// One server's side of the elections.
#[derive(Debug)]
pub(super) struct Election {
    setup: Setup,
    round: i64,
    credentials: Credentials,
    vote: Vote,
    looking: bool,
    votes: BTreeMap<Sid, Heard>,
    established: BTreeMap<Sid, Heard>,
    gone: BTreeSet<Sid>,
    /// Voters of our list that said, when they were heard last, that they observe by their own.
    observing: BTreeSet<Sid>,
    new_voters: BTreeSet<Sid>,
    zkctl: BTreeMap<Sid, bool>,
    /// LOOKING notifications heard while we were not looking: the others noticed first. Their
    /// senders do not repeat them at once, so they are counted when our round begins.
    early: BTreeMap<Sid, Notification>,
    /// Whom the last election found, and the voters not known to have left that decision since.
    elected: Option<(Sid, BTreeSet<Sid>)>,
    settle_until: Option<Millis>,
    /// We do not stand ourselves before then.
    yields_until: Option<Millis>,
    resend_at: Millis,
    /// When missing links are tried next. Not `resend_at`: every vote puts that off, so a server that begins rounds
    /// faster than the intervals pass would keep the others from ever dialling each other.
    connect_at: Millis,
    early_try: EarlyTry,
    resend_every: u64,
}

impl Election {
    /// An election that has not begun.
    pub(super) fn new(setup: Setup) -> Election {
        let resend_every = setup.resend_ms.0;
        Election {
            setup,
            round: 0,
            credentials: Credentials { epoch: 0, zxid: 0, is_new: false, yields_ms: 0 },
            yields_until: None,
            vote: NO_VOTE,
            looking: false,
            votes: BTreeMap::new(),
            established: BTreeMap::new(),
            gone: BTreeSet::new(),
            observing: BTreeSet::new(),
            new_voters: BTreeSet::new(),
            zkctl: BTreeMap::new(),
            early: BTreeMap::new(),
            elected: None,
            settle_until: None,
            resend_at: Millis(0),
            connect_at: Millis(0),
            early_try: EarlyTry::None,
            resend_every,
        }
    }

    /// The round of the running or last election (`logicalclock`).
    pub(super) fn round(&self) -> i64 {
        self.round
    }

    /// Whether every voter is known to be a zkctl server.
    pub(super) fn all_zkctl(&self) -> bool {
        self.setup.quorum.voters().iter().all(|s| *s == self.setup.me || self.zkctl.get(s) == Some(&true))
    }

    fn is_voter(&self) -> bool {
        self.setup.quorum.is_voter(self.setup.me)
    }

    /// `validVoter`: only a voter of our list may lead. While a voter is being converted, votes for it go round
    /// as long as somebody is left who heard them, and it would be elected without being a voter itself.
    fn may_lead(&self, leader: Sid) -> bool {
        self.setup.quorum.is_voter(leader) && !self.observing.contains(&leader)
    }

    /// Whether we vote for somebody else who has said nothing in this round. With equal lists a majority elects
    /// it all the same, and looks again when it does not lead; with unequal ones neither may happen.
    fn candidate_is_silent(&self) -> bool {
        self.is_voter() && self.vote.leader != self.setup.me && !self.votes.contains_key(&self.vote.leader)
    }

    /// Takes the vote back: in another round, or it would come back from whoever heard it.
    fn begin_round(&mut self, now: Millis, steps: &mut Vec<Step>) {
        self.round += 1;
        self.votes.clear();
        self.vote = self.own_vote();
        self.settle_until = None;
        self.broadcast(now, steps);
    }

    fn own_vote(&self) -> Vote {
        if !self.is_voter() {
            return NO_VOTE;
        }
        let epoch = if mutants::on(Mutant::VoteIgnoresEpoch) { 0 } else { self.credentials.epoch };
        Vote { epoch, zxid: self.credentials.zxid, leader: self.setup.me }
    }

    /// While we yield we propose nobody, in a form that no server counts, Apache's included (zxid -1).
    fn opening_vote(&self) -> Vote {
        let own = self.own_vote();
        if self.yields_until.is_some() { Vote { zxid: -1, ..own } } else { own }
    }

    /// The better of a vote that was heard and what we would vote for without it. Whoever yields takes any
    /// that holds what we hold: among equals the greater sid is no merit.
    fn better(&self, mine: Vote, heard: Vote) -> Vote {
        let own = self.own_vote();
        if self.yields_until.is_some() && mine.zxid < 0 {
            let holds_all = (heard.epoch, heard.zxid) >= (own.epoch, own.zxid);
            return if holds_all { heard } else { mine };
        }
        mine.max(heard)
    }

    /// Nobody else stood with all that we hold: we do.
    fn stop_yielding(&mut self, now: Millis, steps: &mut Vec<Step>) {
        if self.yields_until.is_none_or(|until| now < until) {
            return;
        }
        self.yields_until = None;
        if self.vote.zxid < 0 {
            self.vote = self.own_vote();
            self.broadcast(now, steps);
        }
    }

    /// Whether this voter was heard looking for a leader, which we do not yet.
    pub(super) fn looks(&self, voter: Sid) -> bool {
        self.early.contains_key(&voter)
    }

    /// Whether the leader that was found last had been established before we asked.
    pub(super) fn found_established(&self) -> bool {
        let Some((leader, _)) = &self.elected else { return false };
        let heard = self.votes.get(leader).or(self.established.get(leader));
        heard.is_some_and(|h| h.state == PeerState::Leading)
    }

    /// Begins a new round with these credentials.
    pub(super) fn begin(&mut self, now: Millis, credentials: Credentials, steps: &mut Vec<Step>) {
        self.looking = true;
        self.round += 1;
        self.credentials = credentials;
        let yields = credentials.yields_ms > 0 && self.is_voter() && credentials.zxid >= 0;
        self.yields_until = yields.then(|| now + credentials.yields_ms);
        self.vote = self.opening_vote();
        self.votes.clear();
        self.established.clear();
        self.gone.clear();
        self.new_voters.clear();
        self.elected = None;
        self.settle_until = None;
        self.resend_every = self.setup.resend_ms.0;
        self.early_try = EarlyTry::None;
        self.connect(now, steps);
        self.broadcast(now, steps);
        self.look_for_all_new(steps);
        for (from, n) in std::mem::take(&mut self.early) {
            if self.looking && n.round >= self.round {
                self.on_looking(now, from, &n, steps);
            }
        }
        self.count(now, steps);
    }

    /// We look no more, and not because anybody was elected: we stop.
    pub(super) fn end(&mut self) {
        self.looking = false;
        self.settle_until = None;
    }

    /// Our database became trusted while looking: vote with it.
    pub(super) fn trusted(&mut self, now: Millis, credentials: Credentials, steps: &mut Vec<Step>) {
        self.credentials = credentials;
        if self.looking {
            self.vote = self.vote.max(self.own_vote());
            self.broadcast(now, steps);
            self.count(now, steps);
        }
    }

    fn others(&self) -> Vec<Sid> {
        self.setup.quorum.voters().iter().copied().filter(|s| *s != self.setup.me).collect()
    }

    fn notification(&self, state: PeerState, vote: Vote) -> Notification {
        Notification {
            state,
            leader: vote.leader,
            zxid: vote.zxid,
            round: self.round,
            peer_epoch: vote.epoch,
            version: NOTIFICATION_VERSION,
            config: self.setup.config.clone(),
            zkctl: true,
            is_new: self.credentials.is_new,
        }
    }

    fn connect(&mut self, now: Millis, steps: &mut Vec<Step>) {
        steps.extend(self.others().into_iter().map(Step::Connect));
        self.connect_at = now + self.resend_every;
    }

    fn broadcast(&mut self, now: Millis, steps: &mut Vec<Step>) {
        let notification = self.notification(PeerState::Looking, self.vote);
        if self.is_voter() && self.vote.zxid >= 0 {
            self.votes.insert(self.setup.me, Heard::of(&notification));
        }
        for to in self.others() {
            steps.push(Step::Notify(to, notification.clone()));
        }
        self.resend_at = now + self.resend_every;
    }

    /// A server's link was refused or reset.
    pub(super) fn on_gone(&mut self, now: Millis, peer: Sid, steps: &mut Vec<Step>) {
        self.early.remove(&peer);
        if !self.setup.quorum.is_voter(peer) {
            return;
        }
        if self.looking {
            self.gone.insert(peer);
            self.count(now, steps);
        } else if let Some((_, followers)) = &mut self.elected {
            followers.remove(&peer);
        }
    }

    /// A server took our hello and ended the link. It calls back at once if it lives, so it is tried
    /// again soon, once in an interval: the next time a dead one's port refuses.
    pub(super) fn on_unanswered(&mut self, now: Millis) {
        if self.looking && self.early_try == EarlyTry::None {
            self.early_try = EarlyTry::Due;
            self.connect_at = self.connect_at.min(now + UNANSWERED_MS);
        }
    }

    /// Keeps count of who stands by the decision of the last election.
    fn note_follower(&mut self, from: Sid, n: &Notification) {
        let Some((leader, followers)) = &mut self.elected else { return };
        // Whoever came back without a database that may be voted with stands by nobody, itself included.
        let still_counting = n.round == self.round && n.zxid != -1;
        if n.leader == *leader && (n.state != PeerState::Looking || still_counting) {
            followers.insert(from);
        } else {
            followers.remove(&from);
        }
    }

    /// Whether the leader that was elected is known to be gone or to be looking for another itself.
    pub(super) fn leader_left(&self) -> bool {
        self.elected.as_ref().is_some_and(|(leader, followers)| !followers.contains(leader))
    }

    /// Whether so many voters died or voted otherwise since we were elected that, those `connected` to us
    /// apart, no quorum is left that could follow us.
    pub(super) fn deserted(&self, connected: impl Iterator<Item = Sid>) -> bool {
        let Some((_, followers)) = &self.elected else { return false };
        let all = followers.iter().copied().chain(connected).chain([self.setup.me]);
        !self.setup.quorum.is_quorum(all)
    }

    /// A link to a server came up: it has not heard us yet.
    pub(super) fn on_up(&mut self, peer: Sid, steps: &mut Vec<Step>) {
        if self.looking && self.setup.quorum.is_voter(peer) {
            steps.push(Step::Notify(peer, self.notification(PeerState::Looking, self.vote)));
        }
    }

    /// A notification arrived. `settled` is our state and vote when we are not looking.
    pub(super) fn on_notification(
        &mut self,
        now: Millis,
        from: Sid,
        n: &Notification,
        settled: Option<(PeerState, Vote)>,
        steps: &mut Vec<Step>,
    ) {
        let answer = match settled {
            Some((state, vote)) => self.notification(state, vote),
            None => self.notification(PeerState::Looking, self.vote),
        };
        let listed = self.setup.quorum.is_voter(from);
        if listed {
            self.gone.remove(&from);
            self.zkctl.insert(from, n.zkctl);
        }
        if !listed || observes_by_its_own_list(from, &n.config) {
            // Who does not vote by our list learns the leader from our answer, and never influences the
            // vote. One that has found its leader asks nothing. One that looks in a later round than we
            // do drops our vote and, if it believes in its own, answers it: the two would never end.
            let worth_telling = settled.is_some() || (self.looking && n.round <= self.round);
            if n.state == PeerState::Looking && worth_telling {
                steps.push(Step::Notify(from, answer));
            }
            if listed {
                self.on_observer(now, from, steps);
            }
            return;
        }
        self.observing.remove(&from);
        if !self.looking {
            self.note_follower(from, n);
            self.early.remove(&from);
            if n.state == PeerState::Looking {
                self.early.insert(from, n.clone());
                // While we wait for our disk we have no vote to tell.
                if settled.is_some() {
                    steps.push(Step::Notify(from, answer));
                }
            }
            return;
        }
        match n.state {
            PeerState::Looking => {
                // Only a voter's: a server without a vote would be answered, and answer, for ever.
                if n.round < self.round && self.is_voter() {
                    steps.push(Step::Notify(from, answer));
                }
                self.on_looking(now, from, n, steps);
            }
            PeerState::Following | PeerState::Leading => self.on_established(from, n, steps),
            PeerState::Observing => {}
        }
    }

    /// A server without a vote was heard: nobody counts on it, and nobody waits for its vote.
    fn on_observer(&mut self, now: Millis, from: Sid, steps: &mut Vec<Step>) {
        if let Some((_, followers)) = &mut self.elected {
            followers.remove(&from);
        }
        self.early.remove(&from);
        if self.observing.insert(from) {
            self.votes.remove(&from);
            if self.looking && self.is_voter() && self.vote.leader == from {
                self.begin_round(now, steps);
            }
            self.count(now, steps);
        }
    }

    /// When every voter's disk is empty there is nothing that could have been lost.
    fn look_for_all_new(&self, steps: &mut Vec<Step>) {
        let undecided = self.is_voter() && self.credentials.is_new && self.credentials.zxid < 0;
        if undecided && self.others().iter().all(|s| self.new_voters.contains(s)) {
            steps.push(Step::AllNew);
        }
    }

    fn on_looking(&mut self, now: Millis, from: Sid, n: &Notification, steps: &mut Vec<Step>) {
        if n.is_new && n.zkctl {
            self.new_voters.insert(from);
        }
        self.look_for_all_new(steps);
        // A database that is not trusted is not voted for, and its holder decides nothing: it waits
        // until the others have an established leader.
        let untrusted = self.is_voter() && self.credentials.zxid < 0;
        if untrusted || n.zxid == -1 || n.round < self.round || !self.may_lead(n.leader) {
            return;
        }
        let vote = Heard::of(n).vote;
        if n.round > self.round {
            self.round = n.round;
            self.votes.clear();
            self.gone.clear();
            self.vote = self.better(self.opening_vote(), vote);
            self.settle_until = None;
            self.broadcast(now, steps);
        } else if self.better(self.vote, vote) != self.vote {
            self.vote = vote;
            self.settle_until = None;
            self.broadcast(now, steps);
        }
        self.votes.insert(from, Heard::of(n));
        self.count(now, steps);
    }

    /// An election that others have finished: join it if a quorum agrees and the leader says so itself.
    fn on_established(&mut self, from: Sid, n: &Notification, steps: &mut Vec<Step>) {
        if !self.may_lead(n.leader) {
            return;
        }
        let heard = Heard::of(n);
        if n.round == self.round {
            self.votes.insert(from, heard);
            if self.agreed(&self.votes, &heard) && self.confirmed(&self.votes, &heard) {
                let followers = Election::agreeing(&self.votes, &heard);
                self.finish(heard.vote.leader, followers, steps);
                return;
            }
        }
        self.established.insert(from, heard);
        if self.agreed(&self.established, &heard) && self.confirmed(&self.established, &heard) {
            self.round = n.round;
            let followers = Election::agreeing(&self.established, &heard);
            self.finish(heard.vote.leader, followers, steps);
        }
    }

    fn agreeing(votes: &BTreeMap<Sid, Heard>, with: &Heard) -> BTreeSet<Sid> {
        votes.iter().filter(|(_, h)| with.agrees(h)).map(|(sid, _)| *sid).collect()
    }

    fn agreed(&self, votes: &BTreeMap<Sid, Heard>, with: &Heard) -> bool {
        self.setup.quorum.is_quorum(Election::agreeing(votes, with).into_iter())
    }

    /// `checkLeader`: another server leads only if it says so itself; we lead only in our own round, and with a
    /// database that may be voted with: whoever voted for us may have known another one (FOLLOWING is said of a
    /// leader that has died since, was wiped and came back in time).
    fn confirmed(&self, votes: &BTreeMap<Sid, Heard>, heard: &Heard) -> bool {
        let leader = heard.vote.leader;
        if leader == self.setup.me {
            return self.round == heard.round && self.credentials.zxid >= 0;
        }
        votes.get(&leader).is_some_and(|h| h.state == PeerState::Leading)
    }

    /// Looks whether a quorum shares our vote, and finishes when no better vote can be waited for.
    fn count(&mut self, now: Millis, steps: &mut Vec<Step>) {
        if !self.looking || self.vote.zxid < 0 {
            return;
        }
        let mine = Heard {
            vote: self.vote,
            round: self.round,
            state: PeerState::Looking,
            version: NOTIFICATION_VERSION,
        };
        if !self.agreed(&self.votes, &mine) {
            self.settle_until = None;
            return;
        }
        let until = *self.settle_until.get_or_insert(now + self.setup.settle_ms);
        let heard = |s: &Sid| self.votes.get(s).is_some_and(|h| h.round == self.round);
        let silent = |s: &Sid| self.gone.contains(s) || self.observing.contains(s);
        let all_heard = self.others().iter().all(|s| silent(s) || heard(s));
        let original_present = self.others().iter().any(|s| self.zkctl.get(s) != Some(&true));
        if now >= until || (all_heard && !original_present) {
            let followers = Election::agreeing(&self.votes, &mine);
            self.finish(self.vote.leader, followers, steps);
        }
    }

    fn finish(&mut self, leader: Sid, mut followers: BTreeSet<Sid>, steps: &mut Vec<Step>) {
        // Its own vote may have reached the others only; what died in this round leads nobody.
        if self.gone.contains(&leader) {
            followers.remove(&leader);
        } else {
            followers.insert(leader);
        }
        self.looking = false;
        self.elected = Some((leader, followers));
        self.settle_until = None;
        steps.push(Step::Elected(leader));
    }

    /// Deadlines.
    pub(super) fn on_tick(&mut self, now: Millis, steps: &mut Vec<Step>) {
        if !self.looking {
            return;
        }
        self.stop_yielding(now, steps);
        self.count(now, steps);
        if self.looking && now >= self.resend_at {
            if self.resend_every == self.setup.resend_ms.1 && self.candidate_is_silent() {
                self.begin_round(now, steps);
            }
            self.resend_every = (self.resend_every * 2).min(self.setup.resend_ms.1);
            self.broadcast(now, steps);
        }
        if self.looking && now >= self.connect_at {
            let was_early = self.early_try == EarlyTry::Due;
            self.early_try = if was_early { EarlyTry::Done } else { EarlyTry::None };
            self.connect(now, steps);
        }
    }

    /// When `on_tick` is wanted next.
    pub(super) fn next_deadline(&self) -> Option<Millis> {
        if !self.looking {
            return None;
        }
        let times = [self.settle_until, self.yields_until, Some(self.connect_at)];
        Some(times.into_iter().flatten().fold(self.resend_at, Millis::min))
    }

    /// The vote that our notifications carry once the election is over.
    pub(super) fn vote(&self) -> Vote {
        self.vote
    }

    /// The vote for `leader` as a joiner of an established ensemble states it.
    pub(super) fn vote_for(&self, leader: Sid, epoch: i64) -> Vote {
        let heard = self.votes.get(&leader).or(self.established.get(&leader));
        let zxid = heard.map_or(self.vote.zxid, |h| h.vote.zxid);
        Vote { epoch, zxid, leader }
    }
}

/// Whether a server says of itself, in the member list it sends along, that it has no vote. Ours may be
/// older: while a voter is being converted, its voice would make a majority that cannot acknowledge.
fn observes_by_its_own_list(from: Sid, config: &str) -> bool {
    MemberList::from_dynamic_text("", config).is_ok_and(|list| list.get(from).is_some_and(|m| !m.votes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_took_our_hello_and_does_not_call_is_tried_again_once_and_soon() {
        let mut election = election(1);
        let mut steps = Vec::new();
        election.on_unanswered(Millis(3));
        assert_eq!(election.next_deadline(), Some(Millis(13)));
        election.on_tick(Millis(13), &mut steps);
        assert!(steps.contains(&Step::Connect(Sid(3))), "{steps:?}");
        // Its port may go on taking calls that nobody reads: the ordinary intervals count again.
        election.on_unanswered(Millis(14));
        assert_eq!((election.next_deadline(), election.connect_at), (Some(Millis(200)), Millis(213)));
        steps.clear();
        election.on_tick(Millis(200), &mut steps);
        assert!(!steps.contains(&Step::Connect(Sid(3))), "{steps:?}");
        election.on_tick(Millis(213), &mut steps);
        assert!(steps.contains(&Step::Connect(Sid(3))), "{steps:?}");
        assert_eq!((election.next_deadline(), election.connect_at), (Some(Millis(600)), Millis(613)));
    }

    /// Seed 19096002 of the simulator, Liveness: a server that elected itself over and over began its rounds faster than
    /// the intervals pass, and the others never dialled each other, whose links had ended.
    #[test]
    fn missing_links_are_tried_however_often_a_round_begins() {
        let mut first = election_of(4, 1);
        let mut tried = Vec::new();
        for round in 2..60 {
            let now = Millis(100 * (round as u64 - 1));
            let mut steps = Vec::new();
            if first.next_deadline().is_some_and(|due| due <= now) {
                first.on_tick(now, &mut steps);
            }
            assert!(first.resend_at > now, "the interval never ends");
            let (from, n) = says(4, 4, 40, round);
            first.on_notification(now, from, &n, None, &mut steps);
            tried.extend(steps.contains(&Step::Connect(Sid(2))).then_some(now));
        }
        let every_interval: Vec<_> = (1..=29).map(|n| Millis(200 * n)).collect();
        assert_eq!(tried, every_interval);
    }

    fn election(me: i64) -> Election {
        election_of(3, me)
    }

    fn election_of(voters: i64, me: i64) -> Election {
        let quorum = Majority::new((1..=voters).map(Sid).collect());
        let setup =
            Setup { me: Sid(me), quorum, config: String::new(), settle_ms: 200, resend_ms: (200, 60_000) };
        let mut election = Election::new(setup);
        let credentials = Credentials { epoch: 1, zxid: 10 * me, is_new: false, yields_ms: 0 };
        election.begin(Millis(0), credentials, &mut Vec::new());
        election
    }

    fn says(from: i64, leader: i64, zxid: i64, round: i64) -> (Sid, Notification) {
        let notification = Notification {
            state: PeerState::Looking,
            leader: Sid(leader),
            zxid,
            round,
            peer_epoch: 1,
            version: NOTIFICATION_VERSION,
            config: String::new(),
            zkctl: true,
            is_new: false,
        };
        (Sid(from), notification)
    }

    fn hear(election: &mut Election, (from, n): (Sid, Notification)) -> Option<Sid> {
        let settled = (!election.looking).then(|| (PeerState::Leading, election.vote()));
        let mut steps = Vec::new();
        election.on_notification(Millis(1), from, &n, settled, &mut steps);
        steps.into_iter().find_map(|s| if let Step::Elected(leader) = s { Some(leader) } else { None })
    }

    /// Server 2 is elected by server 1 while 3, which would be better, is down for a moment.
    fn second_elected() -> Election {
        let mut second = election(2);
        hear(&mut second, says(3, 3, 20, 0));
        second.on_gone(Millis(1), Sid(3), &mut Vec::new());
        assert_eq!(hear(&mut second, says(1, 2, 20, 1)), Some(Sid(2)));
        assert!(!second.deserted(std::iter::empty()));
        second
    }

    #[test]
    fn a_leader_whose_voter_changes_its_mind_is_deserted() {
        let mut second = second_elected();
        hear(&mut second, says(3, 3, 30, 1));
        assert!(!second.deserted(std::iter::empty()), "who never voted for us changes nothing");
        hear(&mut second, says(1, 3, 30, 1));
        assert!(second.deserted(std::iter::empty()));
        assert!(!second.deserted([Sid(1)].into_iter()), "a learner that is connected follows all the same");
        hear(&mut second, says(1, 2, 20, 1));
        assert!(!second.deserted(std::iter::empty()), "it came back");
    }

    #[test]
    fn a_voter_that_observes_by_its_own_list_is_not_waited_for() {
        // By parts: rustc 1.95 frees what a closure takes by value, changes and returns twice (rust-lang/rust#155241),
        // with optimisation.
        let converted = |(from, said): (Sid, Notification), role: &str| {
            let config = format!("server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2{role}\n");
            (from, Notification { config, ..said })
        };
        let mut first = election(1);
        assert_eq!(hear(&mut first, converted(says(3, 3, 30, 1), ":observer")), None);
        assert_eq!(hear(&mut first, says(2, 2, 20, 1)), Some(Sid(2)), "at once");
        // In whichever order they are heard.
        let mut first = election(1);
        assert_eq!(hear(&mut first, says(2, 2, 20, 1)), None);
        assert_eq!(hear(&mut first, converted(says(3, 3, 30, 1), ":observer")), Some(Sid(2)));
        // Promoted again, it is.
        let mut first = election(1);
        hear(&mut first, converted(says(3, 3, 30, 1), ":observer"));
        hear(&mut first, converted(says(3, 3, 5, 0), ""));
        assert_eq!(hear(&mut first, says(2, 2, 20, 1)), None);
    }

    /// Seed 1000047 of the simulator: a stale vote for a converted voter won, it led without being a voter, and
    /// a server that began later could not find it.
    #[test]
    fn who_has_no_vote_by_our_list_is_not_elected() {
        let mut first = election(1);
        assert_eq!(hear(&mut first, says(2, 4, 90, 7)), None);
        assert_eq!(hear(&mut first, says(3, 4, 90, 7)), None);
        assert_eq!((first.vote().leader, first.round), (Sid(1), 1), "neither vote nor round are taken over");
        for from in [2, 3] {
            let (sid, said) = says(from, 4, 90, 7);
            let said = Notification { state: PeerState::Following, ..said };
            assert_eq!(hear(&mut first, (sid, said)), None);
        }
        // The converted one itself hears the voters' votes for it.
        let mut fourth = election(4);
        for from in [1, 2, 3] {
            assert_eq!(hear(&mut fourth, says(from, 4, 40, 1)), None);
        }
        assert_eq!(hear(&mut fourth, says(1, 3, 30, 1)), None);
        assert_eq!(hear(&mut fourth, says(2, 3, 30, 1)), None);
        assert_eq!(hear(&mut fourth, says(3, 3, 30, 1)), Some(Sid(3)), "it finds the leader of the others");
    }

    /// Seed 4023386 of the simulator: it died when it was elected, was wiped, and came back in the round in which the
    /// others follow it. It would have led with less than it had acknowledged.
    #[test]
    fn who_may_have_lost_something_is_not_elected_by_votes_of_before() {
        for (zxid, elected) in [(30, Some(Sid(3))), (-1, None)] {
            let mut third = election(3);
            let credentials = Credentials { zxid, ..third.credentials };
            third.round = 0;
            third.begin(Millis(0), credentials, &mut Vec::new());
            let mut found = None;
            for from in [1, 2] {
                let (sid, said) = says(from, 3, 30, 1);
                found =
                    found.or(hear(&mut third, (sid, Notification { state: PeerState::Following, ..said })));
            }
            assert_eq!(found, elected, "zxid {zxid}");
        }
        let mut first = election(1);
        hear(&mut first, says(2, 3, 30, 1));
        assert_eq!(hear(&mut first, says(3, 3, 30, 1)), Some(Sid(3)));
        hear(&mut first, says(3, 3, -1, 1));
        assert!(first.leader_left(), "nobody waits for it");
    }

    /// A vote for who is being converted, or is gone, would keep those who hold it out of everybody's majority as
    /// long as lists differ: they ignore each other's rounds.
    #[test]
    fn a_vote_for_who_cannot_lead_is_taken_back() {
        let observes = |(from, said): (Sid, Notification)| {
            let config = "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2:observer\n".to_owned();
            (from, Notification { config, ..said })
        };
        let mut first = election(1);
        hear(&mut first, says(2, 3, 30, 4));
        assert_eq!((first.vote().leader, first.round), (Sid(3), 4));
        hear(&mut first, observes(says(3, 3, 30, 1)));
        assert_eq!((first.vote().leader, first.round), (Sid(1), 5), "at once when it says so");
        hear(&mut first, says(2, 3, 30, 5));
        assert_eq!(first.vote().leader, Sid(1), "and not again");

        let mut first = election_of(5, 1);
        hear(&mut first, says(2, 3, 30, 4));
        let mut now = Millis(2);
        for _ in 0..20 {
            if first.vote().leader == Sid(1) || !first.looking {
                break;
            }
            now = first.next_deadline().unwrap();
            first.on_tick(now, &mut Vec::new());
        }
        assert_eq!((first.vote().leader, first.round), (Sid(1), 5), "after the longest interval");
        assert!(now > Millis(60_000), "{now:?}");
    }

    #[test]
    fn a_leader_whose_voter_dies_or_begins_anew_is_deserted() {
        let mut second = second_elected();
        second.on_gone(Millis(2), Sid(1), &mut Vec::new());
        assert!(second.deserted(std::iter::empty()));
        let mut second = second_elected();
        hear(&mut second, says(1, 2, 20, 2));
        assert!(second.deserted(std::iter::empty()), "its vote of another round is not for this reign");
    }

    #[test]
    fn a_leader_that_dies_or_begins_anew_has_left() {
        let elected = || {
            let mut first = election(1);
            hear(&mut first, says(2, 3, 30, 1));
            assert_eq!(hear(&mut first, says(3, 3, 30, 1)), Some(Sid(3)));
            assert!(!first.leader_left());
            first
        };
        let mut first = elected();
        hear(&mut first, says(3, 3, 30, 1));
        assert!(!first.leader_left(), "it has not finished counting");
        hear(&mut first, says(3, 3, 30, 2));
        assert!(first.leader_left());
        let mut first = elected();
        first.on_gone(Millis(2), Sid(3), &mut Vec::new());
        assert!(first.leader_left());
    }
}
