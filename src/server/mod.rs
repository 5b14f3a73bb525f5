//! One server: Zab, tree, sessions, storage and client connections, without IO.
//!
//! Same contract as below: `handle(now, event, &mut actions)` and `next_deadline()`. Everything is
//! gathered per turn: one piece of bytes per connection and link, one log batch. Deliberately
//! absent: sockets, files, clocks, threads.

mod admin;
mod client;
mod clients;
mod deliver;
mod event;
mod links;
mod room;
mod settings;
mod stats;
mod transfer;
mod writes;

pub use admin::VERSION;
pub use event::{Action, Event, Intake, Level, PeerPort, ProcessFacts};
pub use links::PeerAddress;
pub use settings::{ConfFacts, ServerParts, Settings};
pub use stats::Stats;

use crate::ids::{ConnId, LinkId, SessionId, Sid};
use crate::keyed_map::KeyedMap;
use crate::mutants::{self, Mutant};
use crate::pipeline::Prepare;
use crate::session::password::SessionIds;
use crate::session::{SessionTable, SessionTracker, Touches};
use crate::storage::{Batch, BatchDone, LogItem, Recovered, Spaces, Storage, StorageEvent};
use crate::time::{Millis, Now};
use crate::tree::{CursorId, Tree, WatchTable};
use crate::wire::words::Word;
use crate::zab::{self, Input, Message, Reloaded, Service, Zab};
use bytes::Bytes;
use client::Client;
use links::{FromPeer, Links};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

/// Exit codes of the original that the core uses; others are the runtime's.
mod exit {
    /// The disk failed, or what it holds is broken.
    pub(super) const DISK: u8 = 1;
    /// A txn that cannot be applied.
    pub(super) const UNMATCHED: u8 = 12;
}

/// What only a leader (or a standalone server) has.
struct Reign {
    tracker: SessionTracker,
    prepare: Prepare,
    /// Who waits for which barrier.
    barriers: BTreeMap<u64, Behind>,
}

/// What is said only when a barrier has passed.
enum Behind {
    /// A sync of a client of ours.
    Sync(ConnId, i32),
    /// A sync of a learner's client.
    LearnerSync(LinkId),
    /// That a session is over, in a handshake of ours.
    Handshake { conn: ConnId, session: SessionId, timeout_ms: i32 },
    /// That a session is over, to a learner that asked for its client.
    Revalidation { link: LinkId, sid: Sid, session: SessionId, timeout_ms: i32 },
}

impl Behind {
    fn is_sync(&self) -> bool {
        matches!(self, Behind::Sync(..) | Behind::LearnerSync(_))
    }
}

/// What only a learner has.
#[derive(Default)]
struct Tenure {
    link: Option<LinkId>,
    touches: Touches,
    /// Syncs asked of the leader, in order: its answers carry no name.
    syncs: VecDeque<(ConnId, i32)>,
    /// Sessions asked about.
    revalidations: BTreeMap<SessionId, ConnId>,
}

/// One server.
pub struct Server {
    settings: Settings,
    zab: Zab,
    zab_out: Vec<zab::Action>,
    storage: Storage,
    links: Links,
    tree: Tree,
    sessions: SessionTable,
    watches: WatchTable,
    service: Service,
    reign: Option<Reign>,
    tenure: Tenure,
    session_ids: SessionIds,
    clients: BTreeMap<ConnId, Client>,
    by_session: KeyedMap<SessionId, ConnId>,
    per_ip: BTreeMap<IpAddr, usize>,
    dirty: Vec<ConnId>,
    outstanding: usize,
    /// Who has refused writes to be told of.
    refused: Vec<ConnId>,
    /// Learners that cannot be told of refused writes, and wait for them.
    unanswered: BTreeSet<LinkId>,
    /// As measured last.
    spaces: Option<Spaces>,
    snapshot_cursor: Option<CursorId>,
    batches: Vec<Batch>,
    facts: ProcessFacts,
    waiting_words: Vec<(ConnId, Word)>,
    stats: Stats,
    began: Millis,
    next_sweep: Millis,
    stopping: bool,
    marked_at_stop: bool,
    exited: bool,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("zab", &self.zab)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// A server over what its disk held.
    pub fn new(parts: ServerParts) -> Server {
        let ServerParts { settings, recovered } = parts;
        let storage = Storage::new(settings.storage.clone(), &recovered);
        let zab = Zab::new(settings.zab.clone(), recovered.zab);
        let seed = settings.seed;
        Server {
            zab,
            zab_out: Vec::new(),
            storage,
            links: Links::new(settings.me, settings.members.clone()),
            tree: recovered.tree,
            sessions: recovered.sessions,
            watches: WatchTable::new(seed),
            service: Service::Down,
            reign: None,
            tenure: Tenure::default(),
            session_ids: SessionIds::new(settings.me, settings.began_wall_ms as u64),
            clients: BTreeMap::new(),
            by_session: KeyedMap::new(seed),
            per_ip: BTreeMap::new(),
            dirty: Vec::new(),
            outstanding: 0,
            refused: Vec::new(),
            unanswered: BTreeSet::new(),
            spaces: None,
            snapshot_cursor: None,
            batches: Vec::new(),
            facts: ProcessFacts::default(),
            waiting_words: Vec::new(),
            stats: Stats::default(),
            began: Millis(0),
            next_sweep: Millis(0),
            stopping: false,
            marked_at_stop: false,
            exited: false,
            settings,
        }
    }

    /// Begins.
    pub fn start(&mut self, now: Now, out: &mut Vec<Action>) {
        self.began = now.mono;
        self.zab.start(now.mono, &mut self.zab_out);
        self.drain(now, out);
        self.flush(now, out);
    }

    /// Something happened.
    pub fn handle(&mut self, now: Now, event: Event<'_>, out: &mut Vec<Action>) {
        if self.exited {
            return;
        }
        match event {
            Event::ClientOpened { conn, ip, port } => self.on_client_opened(now, conn, ip, port, out),
            Event::ClientBytes { conn, bytes } => self.on_client_bytes(now, conn, bytes, out),
            Event::ClientClosed(conn) => self.forget_client(conn),
            Event::PeerAccepted { link, port } => {
                let from = self.links.on_accepted(now.mono, link, port, out);
                self.on_peer(now, from);
            }
            Event::PeerDialled(link) => {
                self.tell(link, "stands", out);
                let from = self.links.on_dialled(link, out);
                self.on_peer(now, from);
            }
            Event::PeerDialFailed { link, refused } => {
                self.tell(link, if refused { "was refused" } else { "could not be made" }, out);
                let from = self.links.on_dial_failed(link, refused);
                self.on_peer(now, from);
            }
            Event::PeerBytes { link, bytes } => self.on_peer_bytes(now, link, bytes, out),
            Event::PeerDrained(link) => self.on_drained(now, link),
            Event::PeerClosed(link) => {
                self.tell(link, "ended", out);
                let (from, cursor) = self.links.on_closed(link);
                if let Some(cursor) = cursor {
                    self.tree.close_cursor(cursor);
                }
                self.on_peer(now, from);
            }
            Event::ClientDrained(conn) => self.on_client_drained(now, conn, out),
            Event::Disk(done) => self.on_disk(now, done, out),
            Event::Tick => self.on_tick(now, out),
            Event::TurnEnd => {
                self.drain(now, out);
                self.flush(now, out);
                return;
            }
            Event::Facts(facts) => self.on_facts(now, facts, out),
            Event::Stop => {
                self.stopping = true;
                self.zab.stop(now.mono, &mut self.zab_out);
                self.close_clients(out);
            }
        }
        self.drain(now, out);
    }

    /// When `Event::Tick` is wanted next.
    pub fn next_deadline(&self) -> Option<Millis> {
        // Nobody expires into a full disk.
        let reign = self.reign.as_ref().filter(|_| !self.zab.refuses_writes());
        let reign = reign.and_then(|r| r.tracker.next_deadline());
        let sweep = (!self.clients.is_empty()).then_some(self.next_sweep);
        let below = [self.zab.next_deadline(), self.storage.next_deadline(), self.links.next_deadline()];
        let own = below.into_iter().chain([reign, sweep]);
        own.flatten().min()
    }

    /// Whether too many requests are in flight to take more.
    fn is_full(&self) -> bool {
        self.outstanding >= self.settings.outstanding_max.max(1)
    }

    fn zab_input(&mut self, now: Now, input: Input) {
        self.zab.handle(now.mono, input, &mut self.zab_out);
    }

    /// For whoever asks why an election took its time.
    fn tell(&mut self, link: LinkId, what: &str, out: &mut Vec<Action>) {
        if let Some(entry) = self.links.get_mut(link) {
            out.push(Action::Log(Level::Debug, format!("{:?} {what}", entry.kind)));
        }
    }

    fn on_peer(&mut self, now: Now, from: Option<FromPeer>) {
        let Some(from) = from else { return };
        let input = match from {
            FromPeer::ElectionUp(peer) => Input::ElectionUp(peer),
            FromPeer::ElectionGone(peer) => Input::ElectionGone(peer),
            FromPeer::ElectionUnanswered(peer) => Input::ElectionUnanswered(peer),
            FromPeer::Notified(from, notification) => Input::Notified { from, notification },
            FromPeer::Dialled(leader, link) => Input::Dialled { leader, link },
            FromPeer::DialFailed(leader) => Input::DialFailed(leader),
            FromPeer::Accepted(link) => Input::Accepted(link),
            FromPeer::QuorumDown(link) => Input::LinkDown(link),
        };
        self.zab_input(now, input);
    }

    fn on_peer_bytes(&mut self, now: Now, link: LinkId, bytes: &[u8], out: &mut Vec<Action>) {
        let Some(entry) = self.links.get_mut(link) else { return };
        entry.inbound.extend_from_slice(bytes);
        match entry.kind {
            links::LinkKind::Quorum => self.on_quorum_bytes(now, link, out),
            links::LinkKind::QuorumDialling(_) => {}
            _ => {
                let mut from = Vec::new();
                self.links.on_election_bytes(link, out, &mut from);
                for from in from {
                    if let FromPeer::Notified(sid, n) = &from {
                        let text = format!(
                            "server {sid} is {:?} with a vote for {} at {:#x} in round {}",
                            n.state, n.leader, n.zxid, n.round
                        );
                        out.push(Action::Log(Level::Debug, text));
                    }
                    self.on_peer(now, Some(from));
                }
            }
        }
    }

    /// Carries out what Zab wants, until it wants nothing more.
    pub(super) fn drain(&mut self, now: Now, out: &mut Vec<Action>) {
        while !self.zab_out.is_empty() {
            for action in std::mem::take(&mut self.zab_out) {
                self.carry_out(now, action, out);
            }
        }
    }

    fn carry_out(&mut self, now: Now, action: zab::Action, out: &mut Vec<Action>) {
        use zab::Action as Z;
        match action {
            Z::Notify { to, notification } => self.links.notify(to, &notification),
            Z::Connect(peer) => self.links.connect(peer, out),
            Z::Listen => out.push(Action::Listen),
            Z::StopListening => out.push(Action::StopListening),
            Z::Dial(leader) => {
                if !self.links.dial_leader(leader, out) {
                    self.zab_input(now, Input::DialFailed(leader));
                }
            }
            Z::Send { link, message } => self.links.send(link, &message),
            Z::SendSnapshot(link) => self.begin_sending(link),
            Z::Pong { link, zxid } => {
                let touched = self.take_touched();
                self.links.send(link, &Message::Ping { zxid, touched });
            }
            Z::CloseLink { link, reason } => {
                out.push(Action::Log(Level::Debug, format!("link closed: {reason}")));
                if let Some(cursor) = self.links.close(link, out) {
                    self.tree.close_cursor(cursor);
                }
            }
            Z::Append { ticket, proposal } => self.storage.submit(ticket, LogItem::Append(proposal)),
            Z::WriteAcceptedEpoch { ticket, epoch } => {
                self.storage.submit(ticket, LogItem::AcceptedEpoch(epoch));
            }
            Z::WriteCurrentEpoch { ticket, epoch } => {
                self.storage.submit(ticket, LogItem::CurrentEpoch(epoch));
            }
            Z::Truncate { ticket, to, reload } => {
                if reload {
                    self.abandon_snapshot();
                }
                self.storage.submit(ticket, LogItem::Truncate { to, reload });
            }
            Z::InstallSnapshot { ticket, zxid, untrusted } => {
                self.storage.submit(ticket, LogItem::Install { zxid, untrusted });
            }
            Z::Initialise { ticket } => self.storage.submit(ticket, LogItem::Initialise),
            Z::Trust { ticket } => self.storage.submit(ticket, LogItem::Trust),
            Z::Deliver(proposal) => self.deliver(now, &proposal, out),
            Z::Serve(service) => self.on_service(now, service, out),
            Z::BarrierPassed(id) => self.on_barrier(now, id, out),
            Z::Carried { link, learner, message } => self.on_carried(now, link, learner, message, out),
            Z::Note(text) => out.push(Action::Log(Level::Info, text)),
        }
    }

    fn take_touched(&mut self) -> Bytes {
        let mut body = Vec::new();
        if self.storage.watches_room() && self.zab.leader_is_zkctl() {
            self.put_room(&mut body);
        }
        let touched = self.tenure.touches.take();
        for (session, timeout_ms) in touched.into_iter().filter(|_| !mutants::on(Mutant::TouchesNotRelayed)) {
            crate::jute::put_i64(&mut body, session.0);
            crate::jute::put_i32(&mut body, timeout_ms);
        }
        body.into()
    }

    fn on_service(&mut self, now: Now, service: Service, out: &mut Vec<Action>) {
        out.push(Action::Log(Level::Info, format!("service: {service:?}")));
        self.service = service;
        self.reign = None;
        self.tenure = Tenure::default();
        match service {
            Service::Down => {
                self.stats.looking += 1;
                self.close_clients(out);
                return;
            }
            Service::Leading(_) | Service::Standalone => {
                let seed = self.settings.seed;
                self.reign = Some(Reign {
                    tracker: SessionTracker::new(self.settings.tick_ms, seed, &self.sessions, now.mono),
                    prepare: Prepare::new(self.settings.rules.clone(), seed, &self.tree)
                        .with_txn_max(self.settings.txn_max),
                    barriers: BTreeMap::new(),
                });
            }
            Service::Following { link, .. } | Service::Observing { link, .. } => {
                self.tenure.link = Some(link);
            }
        }
        if service != Service::Standalone {
            let (text, version) = &self.settings.config_text;
            self.tree.set_config(text.as_bytes(), *version, now.wall.0);
        }
    }

    fn on_disk(&mut self, now: Now, done: BatchDone, out: &mut Vec<Action>) {
        let mut events = Vec::new();
        self.storage.on_done(done, &mut events);
        for event in events {
            match event {
                StorageEvent::Done(ticket) => self.zab_input(now, Input::DiskDone(ticket)),
                StorageEvent::Reloaded(recovered) => self.on_reloaded(now, *recovered),
                StorageEvent::SnapshotWritten(zxid) => {
                    self.stats.snapshots += 1;
                    out.push(Action::Log(Level::Info, format!("snapshot {zxid} is on disk")));
                }
                StorageEvent::Measured(spaces) => self.on_measured(now, spaces, out),
                StorageEvent::Failed(_) if mutants::on(Mutant::DiskFailureIgnored) => {}
                StorageEvent::Failed(error) => {
                    self.exit(exit::DISK, format!("the disk failed: {error}; not trying again"), out);
                }
            }
        }
    }

    fn on_reloaded(&mut self, now: Now, recovered: Recovered) {
        self.abandon_snapshot();
        if !mutants::on(Mutant::TruncKeepsTree) {
            self.tree = recovered.tree;
            self.sessions = recovered.sessions;
        }
        let zab::Recovered { last, window, .. } = recovered.zab;
        self.zab_input(now, Input::Reloaded(Reloaded { last, window }));
    }

    fn exit(&mut self, code: u8, reason: String, out: &mut Vec<Action>) {
        self.exited = true;
        out.push(Action::Exit { code, reason });
    }

    fn on_tick(&mut self, now: Now, out: &mut Vec<Action>) {
        self.links.on_tick(now.mono, out);
        self.zab_input(now, Input::Tick);
        self.drain(now, out);
        self.expire_sessions(now);
        if now.mono >= self.next_sweep {
            // After a stall much that was said has not been read yet.
            let on_time = now.mono - self.next_sweep < 1000;
            self.next_sweep = now.mono + 1000;
            if on_time {
                self.sweep_clients(now, out);
            }
        }
    }

    /// The end of a turn: everything gathered leaves at once.
    fn flush(&mut self, now: Now, out: &mut Vec<Action>) {
        self.mind_room(now);
        self.drain(now, out);
        self.zab.on_turn_end();
        self.pump_transfers(now, out);
        self.links.flush(out);
        self.answer_refused(now, out);
        self.flush_clients(out);
        self.storage.flush(now.mono, &mut self.batches);
        if self.stopping && self.storage.is_idle() {
            if !std::mem::replace(&mut self.marked_at_stop, true) {
                self.storage.stop(&mut self.batches);
            }
            if self.batches.is_empty() && self.storage.bulk_is_idle() {
                self.exit(0, String::new(), out);
            }
        }
        out.extend(self.batches.drain(..).map(Action::Disk));
    }

    /// Zab's view, for tests and invariants.
    pub fn zab(&self) -> &Zab {
        &self.zab
    }

    /// The tree, for tests and invariants.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// What it has counted since its start.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What is kept on behalf of clients, by its name: all of it goes with their connections and sessions.
    pub fn kept_for_clients(&self) -> [(&'static str, usize); 12] {
        let reign = self.reign.as_ref();
        [
            ("sessions", self.sessions.len()),
            ("tracked sessions", reign.map_or(0, |r| r.tracker.len())),
            ("ephemerals", self.tree.ephemeral_count()),
            ("connections", self.clients.len()),
            ("connections by session", self.by_session.len()),
            ("addresses", self.per_ip.len()),
            ("watches", self.watches.watch_count()),
            ("watched paths", self.watches.path_count()),
            ("requests", self.outstanding),
            ("barriers", reign.map_or(0, |r| r.barriers.len())),
            ("syncs of a learner", self.tenure.syncs.len()),
            ("sessions asked about", self.tenure.revalidations.len()),
        ]
    }

    /// The replicated sessions, for tests and invariants.
    pub fn sessions(&self) -> &SessionTable {
        &self.sessions
    }

    /// What is served now.
    pub fn service(&self) -> Service {
        self.service
    }
}
