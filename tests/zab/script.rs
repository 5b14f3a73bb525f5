//! A stage for scripts: named servers, each with its own pure `Zab`, a modelled disk, and wires.
//!
//! Nothing moves by itself. A vote is delivered by `vote` or `votes`, a message by `says`, a disk
//! operation completes by `writes`, time passes by `wait`; `run` does everything that can be done until
//! nothing is left. Every step is held against the laws of `laws.rs`, so that a script which only runs
//! proves something too.

use crate::disk::{Disk, Write};
use crate::laws;
use crate::members::Members;
use crate::text;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use zkctl::ids::{LinkId, Sid};
use zkctl::time::Millis;
use zkctl::wire::vote::{Notification, PeerState};
use zkctl::zab::{self, Action, Input, Message, Proposal, Reloaded, Room, Service, Ticket, Trust, Zab};
use zkctl::zxid::{Epoch, Zxid};

pub(crate) const ZK1: Sid = Sid(1);
pub(crate) const ZK2: Sid = Sid(2);
pub(crate) const ZK3: Sid = Sid(3);
pub(crate) const ZK4: Sid = Sid(4);
pub(crate) const ZK5: Sid = Sid(5);

/// `finalizeWait` of the scripts' servers.
pub(crate) const SETTLE_MS: u64 = 200;
/// The longest interval between repeated notifications.
pub(crate) const RESEND_MS: u64 = 2000;
/// `initLimit`, in milliseconds.
pub(crate) const INIT_MS: u64 = 2000;
/// `syncLimit`, in milliseconds.
pub(crate) const SYNC_MS: u64 = 1000;

/// What travels from a leader to a learner or back.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Message(Message),
    /// The stream behind SNAP.
    Tree(Vec<Proposal>),
}

/// One server: what dies with the process, and what stays.
pub(crate) struct Host {
    pub(crate) members: Members,
    pub(crate) disk: Disk,
    pub(crate) zab: Option<Zab>,
    pub(crate) service: Service,
    /// Disk operations under way, oldest first.
    pub(crate) pending: VecDeque<(Ticket, Write)>,
    /// The tree in memory, as the txns that made it.
    pub(crate) tree: Vec<Proposal>,
    /// What a SNAP brought and is not installed yet.
    received: Vec<Proposal>,
    /// The epoch that LEADERINFO asked it to promise.
    pub(crate) asked: Option<Epoch>,
    /// What the leader sent before NEWLEADER: owed to the disk before that is acknowledged.
    pub(crate) owed: Vec<Zxid>,
    synchronizing: bool,
    listening: bool,
    /// Wants a link to this leader, whose port is not open yet.
    dialling: Option<Sid>,
}

/// One end of a link between learner and leader.
struct End {
    owner: Sid,
    peer: Sid,
    other: LinkId,
    sent: VecDeque<Item>,
}

pub(crate) struct Script {
    now: Millis,
    pub(crate) hosts: BTreeMap<Sid, Host>,
    /// Inputs that follow at once from what was just done.
    next: VecDeque<(Sid, Input)>,
    /// The newest notification under way, per direction.
    votes: BTreeMap<(Sid, Sid), Notification>,
    mesh: BTreeSet<(Sid, Sid)>,
    ends: BTreeMap<LinkId, End>,
    next_link: u64,
    /// Everything that any server has shown to its clients.
    pub(crate) shown: BTreeMap<Zxid, Proposal>,
    /// Barriers that have passed, by who leads.
    pub(crate) passed: BTreeSet<(Sid, u64)>,
}

fn pair(a: Sid, b: Sid) -> (Sid, Sid) {
    (a.min(b), a.max(b))
}

impl Script {
    /// Servers that are stopped, with empty and trusted databases.
    pub(crate) fn new(members: &Members) -> Script {
        let host = || Host {
            members: members.clone(),
            disk: Disk::initialised(),
            zab: None,
            service: Service::Down,
            pending: VecDeque::new(),
            tree: Vec::new(),
            received: Vec::new(),
            asked: None,
            owed: Vec::new(),
            synchronizing: false,
            listening: false,
            dialling: None,
        };
        Script {
            now: Millis(0),
            hosts: members.all().map(|sid| (sid, host())).collect(),
            next: VecDeque::new(),
            votes: BTreeMap::new(),
            mesh: BTreeSet::new(),
            ends: BTreeMap::new(),
            next_link: 0,
            shown: BTreeMap::new(),
            passed: BTreeSet::new(),
        }
    }

    /// All servers started, `leader` leading epoch 1, everybody in step.
    pub(crate) fn established(members: &Members, leader: Sid) -> Script {
        let mut script = Script::new(members);
        // The largest id wins among equals: who is to lead is elected by those below it.
        let (first, rest): (Vec<_>, Vec<_>) = members.all().partition(|sid| *sid <= leader);
        for sid in first {
            script.start(sid);
        }
        script.settle();
        for sid in rest {
            script.start(sid);
            script.run();
        }
        script.leads(leader, 1);
        script
    }

    // --- what a script sets up ---

    /// `sid`'s disk: both epoch files, and a log.
    pub(crate) fn holds(&mut self, sid: Sid, epoch: u32, log: &str) {
        let log = text::zxids(log).into_iter().map(text::txn).collect();
        self.host(sid).disk = Disk::holding(Epoch(epoch), log);
    }

    /// As `holds`, with a snapshot before the log, so that its memory begins at the log.
    pub(crate) fn holds_snapshot(&mut self, sid: Sid, epoch: u32, snapshot: &str, log: &str) {
        self.holds(sid, epoch, log);
        self.host(sid).disk.snapshot = text::zxids(snapshot).into_iter().map(text::txn).collect();
    }

    /// `sid` has promised an epoch that it never entered.
    pub(crate) fn promised(&mut self, sid: Sid, epoch: u32) {
        self.host(sid).disk.accepted_epoch = Epoch(epoch);
    }

    /// `sid`'s directory is empty, and nothing says that this is as it should be.
    pub(crate) fn is_new(&mut self, sid: Sid) {
        self.host(sid).disk = Disk::empty();
    }

    /// `sid` will start with another member list.
    pub(crate) fn lists(&mut self, sid: Sid, members: &Members) {
        self.host(sid).members = members.clone();
    }

    /// One more server, stopped and new, with a list of its own.
    pub(crate) fn add(&mut self, sid: Sid, members: &Members) {
        let other = Script::new(members).hosts.remove(&sid).unwrap();
        self.hosts.insert(sid, other);
        self.is_new(sid);
    }

    // --- what a script lets happen ---

    pub(crate) fn start(&mut self, sid: Sid) {
        let now = self.now;
        let host = self.host(sid);
        assert!(host.zab.is_none(), "{sid} runs already");
        host.tree = host.disk.everything();
        let mut zab = Zab::new(host.members.config(sid), host.disk.recovered());
        let mut out = Vec::new();
        zab.start(now, &mut out);
        host.zab = Some(zab);
        self.carry_out(sid, out);
        self.follow_up();
    }

    /// `sid` is told to stop in order, and has not ended yet.
    pub(crate) fn stop(&mut self, sid: Sid) {
        let now = self.now;
        let mut out = Vec::new();
        let zab = self.host(sid).zab.as_mut().expect("it is running");
        zab.stop(now, &mut out);
        self.carry_out(sid, out);
        self.follow_up();
    }

    pub(crate) fn start_all(&mut self) {
        for sid in self.all() {
            self.start(sid);
        }
    }

    /// The power of `sid` goes: what is under way to its disk is lost.
    pub(crate) fn crash(&mut self, sid: Sid) {
        let host = self.host(sid);
        host.zab = None;
        host.service = Service::Down;
        host.pending.clear();
        host.listening = false;
        host.dialling = None;
        self.votes.retain(|(from, to), _| *from != sid && *to != sid);
        for other in self.all() {
            if self.mesh.remove(&pair(sid, other)) {
                self.next.push_back((other, Input::ElectionGone(sid)));
            }
            if self.host(other).dialling == Some(sid) {
                self.host(other).dialling = None;
                self.next.push_back((other, Input::DialFailed(sid)));
            }
        }
        let dead: Vec<LinkId> = self.ends.iter().filter(|(_, e)| e.owner == sid).map(|(l, _)| *l).collect();
        for link in dead {
            self.hang_up(link);
        }
        self.follow_up();
    }

    /// A link that `sid` asked for when it had set out for another leader stands at last.
    pub(crate) fn dialled_late(&mut self, sid: Sid, leader: Sid) {
        self.link(sid, leader);
        self.follow_up();
    }

    /// The link between a learner and its leader ends; both are told.
    #[track_caller]
    pub(crate) fn loses_link(&mut self, learner: Sid, leader: Sid) {
        let link = self.ends.iter().find(|(_, e)| e.owner == learner && e.peer == leader).map(|(l, _)| *l);
        let link = link.expect("there is one");
        self.next.push_back((learner, Input::LinkDown(link)));
        self.hang_up(link);
        self.follow_up();
    }

    /// The power of `sid` goes just before this disk operation, its next one, completes.
    pub(crate) fn crash_before(&mut self, sid: Sid, write: &str) {
        self.awaits(sid, write);
        self.crash(sid);
    }

    /// The power of `sid` goes when this disk operation, its next one, is done and nobody knows it yet.
    pub(crate) fn crash_after(&mut self, sid: Sid, write: &str) {
        self.awaits(sid, write);
        let (_, write) = self.host(sid).pending.pop_front().unwrap();
        self.host(sid).disk.perform(write);
        self.crash(sid);
    }

    /// The next message on the wire from `from` to `to` is this one; it arrives.
    #[track_caller]
    pub(crate) fn says(&mut self, from: Sid, to: Sid, what: &str) {
        assert_eq!(self.on_wire(from, to), what, "from {from} to {to}");
        self.deliver_one(from, to);
    }

    /// All of these messages arrive, one after the other.
    #[track_caller]
    pub(crate) fn says_all(&mut self, from: Sid, to: Sid, what: &[&str]) {
        for one in what {
            self.says(from, to, one);
        }
    }

    /// The next disk operation of `sid` is this one; it completes, and `sid` hears of it.
    #[track_caller]
    pub(crate) fn writes(&mut self, sid: Sid, what: &str) {
        self.awaits(sid, what);
        self.complete_one(sid);
    }

    /// The notification under way from `from` to `to` is this one; it arrives.
    #[track_caller]
    pub(crate) fn vote(&mut self, from: Sid, to: Sid, what: &str) {
        let notification = self.votes.get(&(from, to)).map_or("nothing".into(), text::of_vote);
        assert_eq!(notification, what, "from {from} to {to}");
        self.deliver_vote(from, to);
    }

    /// Notifications arrive until none is under way.
    pub(crate) fn votes(&mut self) {
        for _ in 0..1000 {
            let Some((from, to)) = self.votes.keys().next().copied() else { return };
            self.deliver_vote(from, to);
        }
        panic!("the servers notify each other for ever");
    }

    /// Messages arrive until none is under way; no disk operation completes.
    pub(crate) fn messages(&mut self) {
        while let Some((from, to)) =
            self.ends.values().find(|e| !e.sent.is_empty()).map(|e| (e.owner, e.peer))
        {
            self.deliver_one(from, to);
        }
    }

    /// Every disk operation of `sid` completes.
    pub(crate) fn disk(&mut self, sid: Sid) {
        while !self.hosts[&sid].pending.is_empty() {
            self.complete_one(sid);
        }
    }

    /// Votes, messages and disk operations, until nothing is left to happen but time.
    pub(crate) fn run(&mut self) {
        for _ in 0..1000 {
            self.votes();
            self.messages();
            for sid in self.all() {
                self.disk(sid);
            }
            if self.votes.is_empty() && self.ends.values().all(|e| e.sent.is_empty()) {
                return;
            }
        }
        panic!("this never ends");
    }

    /// As `run`, and an election that waits for voters who were never heard waits no longer.
    pub(crate) fn settle(&mut self) {
        self.run();
        self.wait(SETTLE_MS);
        self.run();
    }

    /// Time passes; every deadline that it reaches is looked at, and nothing else happens.
    pub(crate) fn wait(&mut self, ms: u64) {
        self.now = self.now + ms;
        for sid in self.all() {
            let due = self.hosts[&sid].zab.as_ref().and_then(Zab::next_deadline);
            if due.is_some_and(|d| d <= self.now) {
                self.next.push_back((sid, Input::Tick));
            }
        }
        self.follow_up();
    }

    /// Time passes while everything works: messages are delivered and disks write as it goes.
    pub(crate) fn live(&mut self, ms: u64) {
        for _ in 0..ms / 50 {
            self.wait(50);
            self.run();
        }
    }

    /// Somebody wants a sync: `sid` asks whether it still leads.
    pub(crate) fn barrier(&mut self, sid: Sid) -> u64 {
        let now = self.now;
        let mut out = Vec::new();
        let zab = self.host(sid).zab.as_mut().unwrap();
        let id = zab.barrier(now, &mut out).expect("it leads");
        zab.on_turn_end();
        self.carry_out(sid, out);
        self.follow_up();
        id
    }

    /// The leader `sid` proposes one txn.
    #[track_caller]
    pub(crate) fn proposes(&mut self, sid: Sid, zxid: &str) {
        let now = self.now;
        let zab = self.host(sid).zab.as_mut().unwrap();
        let next = zab.next_zxid(now).expect("it cannot propose now");
        assert_eq!(text::of_zxid(next), zxid, "the next zxid of {sid}");
        let mut out = Vec::new();
        zab.propose(now, text::txn(next), &mut out);
        self.carry_out(sid, out);
        self.follow_up();
    }

    /// This is how much room the disk of `sid` has from now on.
    pub(crate) fn has_room(&mut self, sid: Sid, room: Room) {
        self.give(sid, Input::Room(room));
    }

    // --- what a script expects ---

    /// Whether its clients' writes are answered with an error.
    pub(crate) fn refuses(&self, sid: Sid) -> bool {
        self.hosts[&sid].zab.as_ref().is_some_and(Zab::refuses_writes)
    }

    #[track_caller]
    pub(crate) fn leads(&self, sid: Sid, epoch: u32) {
        assert_eq!(self.hosts[&sid].service, Service::Leading(Epoch(epoch)), "{sid}");
    }

    #[track_caller]
    pub(crate) fn follows(&self, sid: Sid, whom: Sid) {
        let service = self.hosts[&sid].service;
        assert!(
            matches!(service, Service::Following { leader, .. } if leader == whom),
            "{sid} is {service:?}"
        );
    }

    #[track_caller]
    pub(crate) fn observes(&self, sid: Sid, whom: Sid) {
        let service = self.hosts[&sid].service;
        assert!(
            matches!(service, Service::Observing { leader, .. } if leader == whom),
            "{sid} is {service:?}"
        );
    }

    /// It is in an election, and serves nobody.
    #[track_caller]
    pub(crate) fn looks(&self, sid: Sid) {
        assert_eq!((self.state(sid), self.hosts[&sid].service), (PeerState::Looking, Service::Down), "{sid}");
    }

    /// What it tells the others it is, served or not.
    pub(crate) fn state(&self, sid: Sid) -> PeerState {
        self.hosts[&sid].zab.as_ref().expect("it is stopped").state()
    }

    /// What its clients can read.
    #[track_caller]
    pub(crate) fn shows(&self, sid: Sid, txns: &str) {
        assert_eq!(text::of_txns(&self.hosts[&sid].tree), txns, "what {sid} shows");
    }

    /// What survives a power cut of it.
    #[track_caller]
    pub(crate) fn keeps(&self, sid: Sid, txns: &str) {
        assert_eq!(text::of_txns(&self.hosts[&sid].disk.everything()), txns, "what {sid} keeps");
    }

    /// The epoch it leads or follows in.
    pub(crate) fn epoch(&self, sid: Sid) -> u32 {
        self.hosts[&sid].disk.current_epoch.0
    }

    /// acceptedEpoch and currentEpoch as they survive a power cut.
    #[track_caller]
    pub(crate) fn epochs(&self, sid: Sid, accepted: u32, current: u32) {
        let disk = &self.hosts[&sid].disk;
        assert_eq!((disk.accepted_epoch.0, disk.current_epoch.0), (accepted, current), "epochs of {sid}");
    }

    /// Its next disk operation.
    #[track_caller]
    pub(crate) fn awaits(&self, sid: Sid, what: &str) {
        let next = self.hosts[&sid].pending.front().map_or("nothing".into(), |(_, w)| text::of_write(w));
        assert_eq!(next, what, "the next disk operation of {sid}");
    }

    /// Nothing is on the wire from `from` to `to`.
    #[track_caller]
    pub(crate) fn is_silent(&self, from: Sid, to: Sid) {
        assert_eq!(self.on_wire(from, to), "nothing", "from {from} to {to}");
    }

    // --- the stage's own machinery ---

    fn all(&self) -> Vec<Sid> {
        self.hosts.keys().copied().collect()
    }

    fn host(&mut self, sid: Sid) -> &mut Host {
        self.hosts.get_mut(&sid).unwrap()
    }

    pub(crate) fn is_up(&self, sid: Sid) -> bool {
        self.hosts.get(&sid).is_some_and(|h| h.zab.is_some())
    }

    fn on_wire(&self, from: Sid, to: Sid) -> String {
        let end = self.ends.values().find(|e| e.owner == from && e.peer == to);
        end.and_then(|e| e.sent.front()).map_or("nothing".into(), text::of_item)
    }

    fn deliver_vote(&mut self, from: Sid, to: Sid) {
        let Some(notification) = self.votes.remove(&(from, to)) else { return };
        self.give(to, Input::Notified { from, notification });
    }

    fn deliver_one(&mut self, from: Sid, to: Sid) {
        let end = self.ends.values_mut().find(|e| e.owner == from && e.peer == to).unwrap();
        let link = end.other;
        match end.sent.pop_front().unwrap() {
            Item::Message(message) => {
                self.note_owed(to, &message);
                self.give(to, Input::Received { link, message });
            }
            Item::Tree(tree) => {
                self.host(to).tree = tree.clone();
                self.host(to).received = tree;
                self.give(to, Input::SnapshotLoaded(link));
            }
        }
    }

    /// Remembers what a learner owes to its disk when it acknowledges NEWLEADER.
    fn note_owed(&mut self, to: Sid, message: &Message) {
        let host = self.host(to);
        match message {
            Message::LeaderInfo { epoch, .. } => {
                host.asked = Some(*epoch);
                host.owed.clear();
                host.synchronizing = true;
            }
            Message::Snap(zxid) if *zxid != Zxid::ZERO => host.owed.push(*zxid),
            Message::Propose(p) | Message::Inform(p) if host.synchronizing => host.owed.push(p.zxid),
            Message::NewLeader { .. } => host.synchronizing = false,
            _ => {}
        }
    }

    fn complete_one(&mut self, sid: Sid) {
        let Some((ticket, write)) = self.host(sid).pending.pop_front() else { return };
        let reload = matches!(write, Write::Truncate { reload: true, .. });
        self.host(sid).disk.perform(write);
        self.give(sid, Input::DiskDone(ticket));
        if reload {
            let host = self.host(sid);
            host.tree = host.disk.everything();
            let zab::Recovered { last, window, .. } = host.disk.recovered();
            self.give(sid, Input::Reloaded(Reloaded { last, window }));
        }
    }

    fn give(&mut self, sid: Sid, input: Input) {
        self.next.push_back((sid, input));
        self.follow_up();
    }

    fn follow_up(&mut self) {
        while let Some((sid, input)) = self.next.pop_front() {
            let now = self.now;
            let Some(zab) = &mut self.host(sid).zab else { continue };
            let mut out = Vec::new();
            zab.handle(now, input, &mut out);
            self.carry_out(sid, out);
        }
    }

    fn carry_out(&mut self, sid: Sid, actions: Vec<Action>) {
        for action in actions {
            laws::hold(self, sid, &action);
            match action {
                Action::Notify { to, notification } => {
                    if self.mesh.contains(&pair(sid, to)) {
                        self.votes.insert((sid, to), notification);
                    }
                }
                Action::Connect(peer) => self.connect(sid, peer),
                Action::Listen => self.listen(sid),
                Action::StopListening => self.host(sid).listening = false,
                Action::Dial(leader) => self.dial(sid, leader),
                Action::Send { link, message } => self.put(link, Item::Message(message)),
                Action::SendSnapshot(link) => self.put(link, Item::Tree(self.hosts[&sid].tree.clone())),
                Action::Pong { link, zxid } => {
                    self.put(link, Item::Message(Message::Ping { zxid, touched: Default::default() }));
                }
                Action::CloseLink { link, .. } => self.hang_up(link),
                Action::Deliver(p) => {
                    self.shown.insert(p.zxid, p.clone());
                    self.host(sid).tree.push(p);
                }
                Action::Serve(service) => {
                    self.host(sid).service = service;
                    if service == Service::Down {
                        self.host(sid).dialling = None;
                    }
                }
                Action::BarrierPassed(id) => {
                    self.passed.insert((sid, id));
                }
                Action::Carried { link, learner: Some(learner), message: Message::Ping { .. } } => {
                    let room = self.hosts[&learner].zab.as_ref().map(Zab::room);
                    self.next.extend(room.map(|room| (sid, Input::LearnerRoom { link, room })));
                }
                Action::Carried { .. } => {}
                Action::Note(text) => eprintln!("{:>6} {sid}: {text}", self.now.0),
                write => self.submit(sid, write),
            }
        }
    }

    fn submit(&mut self, sid: Sid, action: Action) {
        let host = self.host(sid);
        let (ticket, write) = match action {
            Action::Append { ticket, proposal } => (ticket, Write::Append(proposal)),
            Action::WriteAcceptedEpoch { ticket, epoch } => (ticket, Write::AcceptedEpoch(epoch)),
            Action::WriteCurrentEpoch { ticket, epoch } => (ticket, Write::CurrentEpoch(epoch)),
            Action::Truncate { ticket, to, reload } => (ticket, Write::Truncate { to, reload }),
            Action::InstallSnapshot { ticket, zxid, untrusted } => {
                let tree = std::mem::take(&mut host.received);
                (ticket, Write::Install { zxid, tree, untrusted })
            }
            Action::Initialise { ticket } => (ticket, Write::Initialise),
            Action::Trust { ticket } => (ticket, Write::Trust),
            other => panic!("{other:?} is no disk operation"),
        };
        host.pending.push_back((ticket, write));
    }

    fn connect(&mut self, sid: Sid, peer: Sid) {
        if !self.is_up(peer) {
            self.next.push_back((sid, Input::ElectionGone(peer)));
        } else if self.mesh.insert(pair(sid, peer)) {
            self.next.push_back((sid, Input::ElectionUp(peer)));
            self.next.push_back((peer, Input::ElectionUp(sid)));
        }
    }

    fn listen(&mut self, sid: Sid) {
        self.host(sid).listening = true;
        for other in self.all() {
            if self.host(other).dialling.take_if(|l| *l == sid).is_some() {
                self.dial(other, sid);
            }
        }
    }

    fn dial(&mut self, sid: Sid, leader: Sid) {
        if !self.is_up(leader) {
            self.next.push_back((sid, Input::DialFailed(leader)));
            return;
        }
        if !self.hosts[&leader].listening {
            self.host(sid).dialling = Some(leader);
            return;
        }
        self.link(sid, leader);
    }

    fn link(&mut self, sid: Sid, leader: Sid) {
        let (ours, theirs) = (LinkId(self.next_link + 1), LinkId(self.next_link + 2));
        self.next_link += 2;
        let end = |owner, peer, other| End { owner, peer, other, sent: VecDeque::new() };
        self.ends.insert(ours, end(sid, leader, theirs));
        self.ends.insert(theirs, end(leader, sid, ours));
        self.next.push_back((leader, Input::Accepted(theirs)));
        self.next.push_back((sid, Input::Dialled { leader, link: ours }));
    }

    fn put(&mut self, link: LinkId, item: Item) {
        if let Some(end) = self.ends.get_mut(&link) {
            end.sent.push_back(item);
        }
    }

    fn hang_up(&mut self, link: LinkId) {
        let Some(end) = self.ends.remove(&link) else { return };
        if let Some(other) = self.ends.remove(&end.other) {
            self.next.push_back((other.owner, Input::LinkDown(end.other)));
        }
    }

    /// Trust as recovery would find it.
    pub(crate) fn trust(&self, sid: Sid) -> Trust {
        self.hosts[&sid].disk.trust
    }
}
