//! Servers over disks and links of memory, where everything is carried out at once; time moves when it is told.
//!
//! Links between servers on the stage are joined; any other end belongs to the target.

use super::disk::SimDisk;
use super::settings::{ELECTION, settings};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use zkctl::ids::{ConnId, LinkId};
use zkctl::server::{Action, Event, PeerPort, ProcessFacts, Server, ServerParts, Settings};
use zkctl::storage::{self, BatchDone, RecoveryOptions};
use zkctl::time::{Millis, Now, WallMillis};
use zkctl::zab;

pub(crate) fn recovery_options() -> RecoveryOptions {
    RecoveryOptions { seed: 7, extended_types: true, may_begin: true, trust_empty: false }
}

/// What a server sent to a client or an outside peer, and whether it has closed that.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) bytes: Vec<u8>,
    pub(crate) closed: bool,
}

/// What waits to be handed to a server.
enum Due {
    Disk(BatchDone),
    Accepted(LinkId, PeerPort),
    Dialled(LinkId),
    Refused(LinkId),
    Bytes(LinkId, Vec<u8>),
    Drained(LinkId),
    ClientDrained(ConnId),
    Closed(LinkId),
    Facts,
}

pub(crate) struct Stage {
    servers: BTreeMap<i64, (Server, SimDisk)>,
    now: u64,
    next: u64,
    due: VecDeque<(i64, Due)>,
    wires: BTreeMap<(i64, LinkId), (i64, LinkId)>,
    /// Ends of servers' links that are not on the stage.
    pub(crate) outside: BTreeMap<(i64, LinkId), Heard>,
    /// Server, its dialled link, whom it dialled: waits for `answer`.
    pub(crate) dialling: Vec<(i64, LinkId, i64, PeerPort)>,
    listening: BTreeSet<i64>,
    /// Who is played by the target: dials to it wait, others are refused.
    pub(crate) played: Option<i64>,
    pub(crate) clients: BTreeMap<(i64, u64), Heard>,
    /// Exit codes and reasons.
    pub(crate) exits: BTreeMap<i64, (u8, String)>,
}

impl Stage {
    fn empty(played: Option<i64>) -> Stage {
        Stage {
            servers: BTreeMap::new(),
            now: 1000,
            next: 1000,
            due: VecDeque::new(),
            wires: BTreeMap::new(),
            outside: BTreeMap::new(),
            dialling: Vec::new(),
            listening: BTreeSet::new(),
            played,
            clients: BTreeMap::new(),
            exits: BTreeMap::new(),
        }
    }

    /// One server that serves alone.
    pub(crate) fn standalone() -> Stage {
        let mut stage = Stage::empty(None);
        stage.begin(1, &[1], true);
        stage.start();
        stage
    }

    /// These servers of an ensemble of three, with clean disks.
    pub(crate) fn ensemble(on_stage: &[i64], played: Option<i64>) -> Stage {
        let mut stage = Stage::empty(played);
        for sid in on_stage {
            stage.begin(*sid, &[1, 2, 3], false);
        }
        stage.start();
        stage
    }

    fn begin(&mut self, sid: i64, voters: &[i64], standalone: bool) {
        let mut disk = SimDisk::new();
        let recovered = storage::recover(&mut disk, &recovery_options()).unwrap();
        let server =
            Server::new(ServerParts { settings: small_settings(sid, voters, standalone), recovered });
        self.servers.insert(sid, (server, disk));
    }

    /// All servers begin.
    fn start(&mut self) {
        let now = self.clock();
        for sid in self.servers.keys().copied().collect::<Vec<_>>() {
            let mut actions = Vec::new();
            self.servers.get_mut(&sid).unwrap().0.start(now, &mut actions);
            self.carry_out(sid, actions);
        }
        self.pump();
    }

    fn clock(&self) -> Now {
        Now { mono: Millis(self.now), wall: WallMillis(1_000_000 + self.now as i64) }
    }

    pub(crate) fn server(&self, sid: i64) -> &Server {
        &self.servers[&sid].0
    }

    /// The disk of a server that is over.
    pub(crate) fn take_disk(&mut self, sid: i64) -> SimDisk {
        self.servers.remove(&sid).unwrap().1
    }

    /// Hands in an event and carries out what follows from it, until nothing does.
    pub(crate) fn give(&mut self, sid: i64, event: Event<'_>) {
        self.hand(sid, event);
        self.pump();
    }

    fn hand(&mut self, sid: i64, event: Event<'_>) {
        let now = self.clock();
        let Some((server, _)) = self.servers.get_mut(&sid) else { return };
        let mut actions = Vec::new();
        server.handle(now, event, &mut actions);
        server.handle(now, Event::TurnEnd, &mut actions);
        self.carry_out(sid, actions);
    }

    fn pump(&mut self) {
        let mut steps = 0;
        while let Some((sid, due)) = self.due.pop_front() {
            steps += 1;
            assert!(steps < 200_000, "the servers never come to rest");
            match due {
                Due::Disk(done) => self.hand(sid, Event::Disk(done)),
                Due::Accepted(link, port) => self.hand(sid, Event::PeerAccepted { link, port }),
                Due::Dialled(link) => self.hand(sid, Event::PeerDialled(link)),
                Due::Refused(link) => self.hand(sid, Event::PeerDialFailed { link, refused: true }),
                Due::Bytes(link, bytes) => self.hand(sid, Event::PeerBytes { link, bytes: &bytes }),
                Due::Drained(link) => self.hand(sid, Event::PeerDrained(link)),
                Due::ClientDrained(conn) => self.hand(sid, Event::ClientDrained(conn)),
                Due::Closed(link) => self.hand(sid, Event::PeerClosed(link)),
                Due::Facts => self.hand(sid, Event::Facts(ProcessFacts::default())),
            }
        }
    }

    fn carry_out(&mut self, sid: i64, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::ClientSend { conn, bytes, tell } => {
                    self.clients.entry((sid, conn.0)).or_default().bytes.extend(bytes);
                    if tell {
                        self.due.push_back((sid, Due::ClientDrained(conn)));
                    }
                }
                Action::ClientClose(conn) => self.clients.entry((sid, conn.0)).or_default().closed = true,
                Action::PeerDial { link, host, port } => self.dial(sid, link, &host, port),
                Action::PeerSend { link, bytes, tell } => {
                    match self.wires.get(&(sid, link)).copied() {
                        Some((to, theirs)) => self.due.push_back((to, Due::Bytes(theirs, bytes))),
                        None => self.outside.entry((sid, link)).or_default().bytes.extend(bytes),
                    }
                    if tell {
                        self.due.push_back((sid, Due::Drained(link)));
                    }
                }
                Action::PeerClose(link) => match self.wires.remove(&(sid, link)) {
                    Some(end) => {
                        self.wires.remove(&end);
                        self.due.push_back((end.0, Due::Closed(end.1)));
                    }
                    None => self.outside.entry((sid, link)).or_default().closed = true,
                },
                Action::Disk(batch) => {
                    let Some((_, disk)) = self.servers.get_mut(&sid) else { continue };
                    let done = storage::execute(disk, batch);
                    self.due.push_back((sid, Due::Disk(done)));
                }
                Action::GatherFacts => self.due.push_back((sid, Due::Facts)),
                Action::Exit { code, reason } => drop(self.exits.insert(sid, (code, reason))),
                Action::Listen => drop(self.listening.insert(sid)),
                Action::StopListening => drop(self.listening.remove(&sid)),
                Action::Log(..) => {}
            }
        }
    }

    fn dial(&mut self, sid: i64, link: LinkId, host: &str, port: u16) {
        let kind = if port == ELECTION { PeerPort::Election } else { PeerPort::Quorum };
        let to = host.parse::<i64>().unwrap_or(-1);
        let open = kind == PeerPort::Election || self.listening.contains(&to);
        if self.servers.contains_key(&to) && to != sid && open {
            let theirs = self.link();
            self.wires.insert((sid, link), (to, theirs));
            self.wires.insert((to, theirs), (sid, link));
            self.due.push_back((to, Due::Accepted(theirs, kind)));
            self.due.push_back((sid, Due::Dialled(link)));
        } else if self.played == Some(to) {
            self.dialling.push((sid, link, to, kind));
        } else {
            self.due.push_back((sid, Due::Refused(link)));
        }
    }

    /// A link's name as the runtime gives them.
    pub(crate) fn link(&mut self) -> LinkId {
        self.next += 1;
        LinkId(self.next << 1)
    }

    /// Moves time on, through every deadline.
    pub(crate) fn pass(&mut self, ms: u64) {
        let until = self.now + ms;
        let mut at_once = 0;
        loop {
            let due =
                self.servers.iter().filter_map(|(s, (server, _))| Some((server.next_deadline()?.0, *s)));
            let due = due.filter(|(at, sid)| *at <= until && !self.exits.contains_key(sid)).min();
            let Some((at, sid)) = due else { break };
            at_once = if at > self.now { 0 } else { at_once + 1 };
            assert!(at_once < 10_000, "time stands still");
            self.now = self.now.max(at);
            self.give(sid, Event::Tick);
        }
        self.now = until;
    }

    /// A client connects and sends what it sends.
    pub(crate) fn open_client(&mut self, sid: i64, conn: u64) {
        let ip = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
        self.clients.insert((sid, conn), Heard::default());
        self.give(sid, Event::ClientOpened { conn: ConnId(conn), ip, port: 1 });
    }

    pub(crate) fn client_says(&mut self, sid: i64, conn: u64, bytes: &[u8]) {
        if !self.clients[&(sid, conn)].closed {
            self.give(sid, Event::ClientBytes { conn: ConnId(conn), bytes });
        }
    }

    /// A peer that is not on the stage connects.
    pub(crate) fn open_peer(&mut self, sid: i64, port: PeerPort) -> LinkId {
        let link = self.link();
        self.outside.insert((sid, link), Heard::default());
        self.give(sid, Event::PeerAccepted { link, port });
        link
    }

    pub(crate) fn peer_says(&mut self, sid: i64, link: LinkId, bytes: &[u8]) {
        if self.outside.get(&(sid, link)).is_none_or(|h| !h.closed) {
            self.give(sid, Event::PeerBytes { link, bytes });
        }
    }
}

fn small_settings(sid: i64, voters: &[i64], standalone: bool) -> Settings {
    let all = || voters.iter().copied();
    let base = settings(sid, all(), all(), recovery_options());
    let zab = zab::Config { standalone, ..base.zab };
    Settings { frame_max: 1 << 16, txn_max: 2 << 16, seed: 7, zab, ..base }
}

impl Stage {
    /// The played server answers the first dial to a port of its own; the link.
    pub(crate) fn answer_dial(&mut self, port: PeerPort) -> Option<LinkId> {
        let at = self.dialling.iter().position(|d| d.3 == port)?;
        let (sid, link, _, _) = self.dialling.remove(at);
        self.give(sid, Event::PeerDialled(link));
        Some(link)
    }

    /// Sends all that `bytes` holds on a new election link of the played server.
    pub(crate) fn votes(&mut self, sid: i64, bytes: &[u8]) -> LinkId {
        let link = self.open_peer(sid, PeerPort::Election);
        self.peer_says(sid, link, bytes);
        link
    }
}
