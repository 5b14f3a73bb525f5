//! The simulated world: servers, links of bytes, disks, clients, and one heap of events in virtual time.

use crate::budget;
use crate::client::SimClient;
use crate::disk::SimDisk;
use crate::history::{Arrival, History};
use crate::invariants::{Check, Invariants, Seen};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use zkctl::auth::AuthRules;
use zkctl::config::Whitelist;
use zkctl::ids::{ConnId, LinkId, Sid};
use zkctl::prng::Prng;
use zkctl::server::{
    Action, ConfFacts, Event, Level, PeerAddress, PeerPort, ProcessFacts, Server, ServerParts, Settings,
};
use zkctl::storage::{self, Batch, BatchDone, Dir, Disk, DiskOp, Lane, RecoveryOptions, StorageOptions};
use zkctl::time::{Millis, Now, WallMillis};
use zkctl::zab;

const ELECTION: u16 = 3888;
const QUORUM: u16 = 2888;

/// What a seed draws.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) voters: u64,
    pub(crate) observers: u64,
    pub(crate) clients: u64,
    pub(crate) steps: u64,
    pub(crate) crash_every: u64,
    pub(crate) cut_every: u64,
    pub(crate) power_cuts: bool,
    pub(crate) wipes: bool,
    pub(crate) slow_disk: bool,
    pub(crate) snap_count: u64,
    pub(crate) prealloc: u64,
    pub(crate) log_bytes: Option<u64>,
    /// Proposals and bytes that DIFF is served from.
    pub(crate) window: (usize, usize),
    /// A server that only its own member list names.
    pub(crate) newcomer: Option<Newcomer>,
    /// The directories begin with Apache's `initialize`; else the voters must find each other new.
    pub(crate) initialised: bool,
}

impl Options {
    pub(crate) fn draw(prng: &mut Prng) -> Options {
        let mut options = Options {
            voters: [1, 3, 3, 3, 5][prng.below(5) as usize],
            observers: [0, 0, 1, 2][prng.below(4) as usize],
            clients: prng.between(1, 4),
            steps: prng.between(2_000, 8_000),
            crash_every: [0, 300, 1000][prng.below(3) as usize],
            cut_every: [0, 300, 1000][prng.below(3) as usize],
            power_cuts: prng.chance(2, 3),
            wipes: prng.chance(1, 4),
            slow_disk: prng.chance(1, 3),
            snap_count: [4, 20, 100][prng.below(3) as usize],
            prealloc: [0, 1 << 10, 16 << 10][prng.below(3) as usize],
            log_bytes: None,
            window: [(3, 1 << 20), (20, 1 << 20), (100, 2000), (50_000, 16 << 20)][prng.below(4) as usize],
            newcomer: None,
            initialised: prng.chance(1, 2),
        };
        // Not drawn: what older seeds meet stays what it was.
        options.log_bytes = (options.clients == 2).then_some(3000);
        options
    }

    /// Whom the ensemble lists.
    fn listed(&self) -> impl Iterator<Item = u64> + use<> {
        1..=self.voters + self.observers
    }

    fn all(&self) -> Vec<u64> {
        let mut all: Vec<u64> = self.listed().chain(self.newcomer.map(|n| n.sid)).collect();
        all.sort_unstable();
        all
    }
}

/// A server that is about to join: new, and named by its own list only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newcomer {
    pub(crate) sid: u64,
    pub(crate) votes: bool,
}

#[derive(Debug)]
enum Happening {
    Start(u64),
    Tick(u64, u64),
    Disk(u64, u64, Lane),
    Bytes(u64),
    Dialled { node: u64, life: u64, link: LinkId, to: u64, port: PeerPort },
    Client(u64),
    ClientBytes { client: u64, conn: u64, to_server: bool },
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Pipe {
    bytes: VecDeque<Vec<u8>>,
    closed: bool,
}

/// A connection between two servers.
#[derive(Debug)]
struct Wire {
    ends: [(u64, u64, LinkId); 2],
    pipes: [Pipe; 2],
}

pub(crate) struct Node {
    pub(crate) sid: u64,
    pub(crate) server: Option<Server>,
    pub(crate) disk: SimDisk,
    /// Counts incarnations, so that what belongs to an older one is dropped.
    pub(crate) life: u64,
    lanes: BTreeMap<Lane, VecDeque<(Batch, VecDeque<DiskOp>)>>,
    listening: bool,
    tick_at: Option<u64>,
    began: u64,
    pub(crate) wiped: bool,
}

struct Conn {
    client: u64,
    node: u64,
    life: u64,
    to_server: VecDeque<Vec<u8>>,
    to_client: VecDeque<Vec<u8>>,
    open: bool,
}

pub(crate) struct World {
    pub(crate) now: u64,
    heap: BinaryHeap<Reverse<(u64, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    next_event: u64,
    /// Events since time last moved.
    at_once: u64,
    pub(crate) nodes: BTreeMap<u64, Node>,
    wires: BTreeMap<u64, Wire>,
    by_link: BTreeMap<(u64, u64, LinkId), u64>,
    next_id: u64,
    cuts: BTreeSet<(u64, u64)>,
    pub(crate) clients: BTreeMap<u64, SimClient>,
    conns: BTreeMap<u64, Conn>,
    current: BTreeMap<u64, u64>,
    pub(crate) prng: Prng,
    pub(crate) options: Options,
    pub(crate) healed: bool,
    pub(crate) invariants: Invariants,
    pub(crate) history: History,
    /// The last zxid of a write that any client was told of.
    acknowledged: i64,
    /// Answers and watch events that the model confirmed.
    pub(crate) judged: (u64, u64),
    pub(crate) trace: u64,
    pub(crate) log: VecDeque<String>,
    pub(crate) faults: BTreeMap<&'static str, u64>,
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        let mut prng = Prng::new(seed);
        let options = Options::draw(&mut prng);
        World::with(options, prng)
    }

    /// A world with one more server, which is in its own member list only.
    pub(crate) fn with_newcomer(seed: u64, newcomer: Newcomer) -> World {
        let mut prng = Prng::new(seed);
        let mut options = Options::draw(&mut prng);
        options.voters = options.voters.max(3);
        options.newcomer = Some(newcomer);
        World::with(options, prng)
    }

    fn with(options: Options, prng: Prng) -> World {
        let mut world = World {
            now: 0,
            heap: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            next_event: 0,
            at_once: 0,
            nodes: BTreeMap::new(),
            wires: BTreeMap::new(),
            by_link: BTreeMap::new(),
            next_id: 1000,
            cuts: BTreeSet::new(),
            clients: BTreeMap::new(),
            conns: BTreeMap::new(),
            current: BTreeMap::new(),
            options: options.clone(),
            healed: false,
            invariants: Invariants::new(),
            history: History::default(),
            acknowledged: 0,
            judged: (0, 0),
            trace: 0,
            log: VecDeque::new(),
            faults: BTreeMap::new(),
            prng,
        };
        for sid in options.all() {
            let mut disk = SimDisk::new();
            if options.initialised && options.newcomer.is_none_or(|n| n.sid != sid) {
                disk.touch_initialize();
            }
            let node = Node {
                sid,
                server: None,
                disk,
                life: 0,
                lanes: BTreeMap::new(),
                listening: false,
                tick_at: None,
                began: 0,
                wiped: false,
            };
            world.nodes.insert(sid, node);
            let at = world.prng.below(300);
            world.at(at, Happening::Start(sid));
        }
        for id in 1..=options.clients {
            let client = SimClient::new(id, world.prng.split());
            world.clients.insert(id, client);
            world.at(500 + id, Happening::Client(id));
        }
        world
    }

    fn at(&mut self, when: u64, happening: Happening) {
        self.next_event += 1;
        self.heap.push(Reverse((when.max(self.now), self.next_event)));
        self.happenings.insert(self.next_event, happening);
    }

    fn after(&mut self, delay: u64, happening: Happening) {
        self.at(self.now + delay, happening);
    }

    pub(crate) fn note(&mut self, text: String) {
        // The trace hash: FNV-1a over everything that is noted.
        for byte in text.bytes() {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        if self.log.len() >= 400 {
            self.log.pop_front();
        }
        self.log.push_back(format!("{:>8} {text}", self.now));
    }

    fn delay(&mut self) -> u64 {
        if self.prng.chance(1, 50) { self.prng.between(20, 200) } else { self.prng.below(4) }
    }

    /// One event. False when nothing is left to happen.
    pub(crate) fn step(&mut self) -> Result<bool, String> {
        let Some(Reverse((when, id))) = self.heap.pop() else { return Ok(false) };
        let Some(happening) = self.happenings.remove(&id) else { return Ok(true) };
        self.at_once = if when > self.now { 0 } else { self.at_once + 1 };
        if self.at_once > 20_000 {
            let wire = match &happening {
                Happening::Bytes(id) => format!("{:?}", self.wires.get(id)),
                _ => String::new(),
            };
            return Err(format!("time stands still: {happening:?} {wire}"));
        }
        self.now = self.now.max(when);
        match happening {
            Happening::Start(sid) => self.start(sid)?,
            Happening::Tick(sid, life) => self.tick(sid, life)?,
            Happening::Disk(sid, life, lane) => self.disk_step(sid, life, lane)?,
            Happening::Bytes(wire) => self.deliver(wire)?,
            Happening::Dialled { node, life, link, to, port } => self.dialled(node, life, link, to, port)?,
            Happening::Client(id) => self.client_turn(id)?,
            Happening::ClientBytes { client, conn, to_server } => {
                self.client_bytes(client, conn, to_server)?
            }
        }
        Ok(true)
    }

    fn settings(&self, sid: u64) -> Settings {
        let newcomer = self.options.newcomer.filter(|n| n.sid == sid);
        let listed = self.options.listed().chain(newcomer.map(|n| n.sid));
        let peer = |n: u64| PeerAddress { host: n.to_string(), quorum_port: QUORUM, election_port: ELECTION };
        let voting = newcomer.filter(|n| n.votes).map(|n| n.sid);
        let voters = (1..=self.options.voters).chain(voting).map(|n| Sid(n as i64)).collect();
        Settings {
            me: Sid(sid as i64),
            members: listed.map(|n| (Sid(n as i64), peer(n))).collect(),
            tick_ms: 200,
            session_ms: (400, 8000),
            connections_per_ip: 0,
            connections: 0,
            outstanding_max: 1000,
            sessionless_ms: 10_000,
            frame_max: 1 << 20,
            txn_max: 2 << 20,
            leader_serves: true,
            rules: AuthRules::default(),
            whitelist: Whitelist::All,
            conf: ConfFacts::default(),
            version_line: String::new(),
            environment: Vec::new(),
            config_text: ("version=0".into(), 0),
            seed: sid,
            began_wall_ms: 1_000_000 + self.now as i64,
            storage: StorageOptions {
                snap_count: self.options.snap_count,
                snap_bytes: u64::MAX,
                log_bytes: self.options.log_bytes,
                prealloc_bytes: self.options.prealloc,
                force_sync: true,
                purge: (3, 5000),
                recovery: self.recovery(sid),
                seed: sid + self.now,
            },
            zab: zab::Config {
                me: Sid(sid as i64),
                quorum: zab::Majority::new(voters),
                standalone: false,
                config_text: "version=0".into(),
                config_version: 0,
                tick_ms: 200,
                init_limit: 10,
                sync_limit: 5,
                settle_ms: 200,
                resend_ms: (200, 2000),
                window: self.options.window,
            },
        }
    }

    fn recovery(&self, sid: u64) -> RecoveryOptions {
        RecoveryOptions { seed: sid, extended_types: false, may_begin: false, trust_empty: false }
    }

    fn clock(&self, sid: u64) -> Now {
        let began = self.nodes[&sid].began;
        Now { mono: Millis(self.now - began), wall: WallMillis(1_000_000 + self.now as i64) }
    }

    fn start(&mut self, sid: u64) -> Check {
        let options = self.recovery(sid);
        let settings = self.settings(sid);
        let now = self.now;
        let node = self.nodes.get_mut(&sid).unwrap();
        if node.server.is_some() {
            return Ok(());
        }
        let recovered = match storage::recover(&mut node.disk, &options) {
            Ok(recovered) => recovered,
            Err(_) if node.disk.dead => {
                let mut prng = self.prng.split();
                self.nodes.get_mut(&sid).unwrap().disk.crash(&mut prng);
                *self.faults.entry("power cut while starting").or_default() += 1;
                self.after(50, Happening::Start(sid));
                return Ok(());
            }
            Err(e) => {
                let files: Vec<_> =
                    [Dir::Data, Dir::Log].map(|d| node.disk.list(d).unwrap_or_default()).concat();
                return Err(format!("server {sid} cannot start: {e}\nfiles: {files:?}"));
            }
        };
        node.life += 1;
        node.began = now;
        node.lanes = [(Lane::Log, VecDeque::new()), (Lane::Bulk, VecDeque::new())].into();
        node.tick_at = None;
        node.listening = false;
        let trust = recovered.zab.trust;
        let last = recovered.zab.last;
        let mut server = Server::new(ServerParts { settings, recovered });
        let mut actions = Vec::new();
        server.start(self.clock(sid), &mut actions);
        self.nodes.get_mut(&sid).unwrap().server = Some(server);
        self.note(format!("{sid} starts at {last}, {trust:?}"));
        self.carry_out(sid, actions)?;
        self.settle(sid)
    }

    /// Hands an event to a server and carries out what it wants.
    fn give(&mut self, sid: u64, event: Event<'_>) -> Check {
        let now = self.clock(sid);
        let node = self.nodes.get_mut(&sid).unwrap();
        let Some(server) = &mut node.server else { return Ok(()) };
        let mut actions = Vec::new();
        server.handle(now, event, &mut actions);
        server.handle(now, Event::TurnEnd, &mut actions);
        self.carry_out(sid, actions)?;
        self.settle(sid)
    }

    /// After a server moved: its next tick, and what must hold.
    fn settle(&mut self, sid: u64) -> Check {
        let node = self.nodes.get_mut(&sid).unwrap();
        let Some(server) = &node.server else { return Ok(()) };
        let (life, began) = (node.life, node.began);
        if let Some(at) = server.next_deadline().map(|m| m.0 + began)
            && node.tick_at.is_none_or(|t| at < t || t <= self.now)
        {
            node.tick_at = Some(at);
            self.at(at + 1, Happening::Tick(sid, life));
        }
        let node = &self.nodes[&sid];
        let server = node.server.as_ref().unwrap();
        let seen = Seen {
            sid,
            life: node.life,
            server,
            voters: self.options.voters,
            votes: (1..=self.options.voters).contains(&sid),
            acknowledged: self.acknowledged,
        };
        self.invariants.after_step(&seen)
    }

    fn tick(&mut self, sid: u64, life: u64) -> Check {
        let node = self.nodes.get_mut(&sid).unwrap();
        if node.life != life || node.server.is_none() {
            return Ok(());
        }
        node.tick_at = None;
        self.give(sid, Event::Tick)
    }

    fn carry_out(&mut self, sid: u64, actions: Vec<Action>) -> Check {
        let life = self.nodes[&sid].life;
        for action in actions {
            match action {
                Action::ClientSend { conn, bytes, tell } => {
                    self.send_to_client(conn.0, bytes);
                    if tell {
                        self.give(sid, Event::ClientDrained(conn))?;
                    }
                }
                Action::ClientClose(conn) => self.drop_conn(conn.0, false),
                Action::PeerDial { link, host, port } => {
                    let to = host.parse().unwrap();
                    let port = if port == ELECTION { PeerPort::Election } else { PeerPort::Quorum };
                    let delay = self.delay();
                    self.after(delay, Happening::Dialled { node: sid, life, link, to, port });
                }
                Action::PeerSend { link, bytes, tell } => {
                    self.peer_send(sid, life, link, bytes);
                    if tell {
                        self.give(sid, Event::PeerDrained(link))?;
                    }
                }
                Action::PeerClose(link) => self.close_wire(sid, life, link),
                Action::Listen => self.nodes.get_mut(&sid).unwrap().listening = true,
                Action::StopListening => self.nodes.get_mut(&sid).unwrap().listening = false,
                Action::Disk(batch) => self.queue_batch(sid, life, batch),
                Action::GatherFacts => self.give(sid, Event::Facts(ProcessFacts::default()))?,
                Action::Log(Level::Debug, _) => {}
                Action::Log(_, text) => self.note(format!("{sid} {text}")),
                Action::Exit { code, reason } => {
                    if self.nodes[&sid].disk.dead {
                        self.stop(sid, true);
                    } else {
                        return Err(format!("server {sid} exits with {code}: {reason}"));
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    // --- disk ---

    fn queue_batch(&mut self, sid: u64, life: u64, batch: Batch) {
        let lane = batch.lane;
        let ops = batch.ops.clone().into();
        let node = self.nodes.get_mut(&sid).unwrap();
        let queue = node.lanes.get_mut(&lane).unwrap();
        queue.push_back((batch, ops));
        if queue.len() == 1 {
            self.schedule_disk(sid, life, lane);
        }
    }

    fn schedule_disk(&mut self, sid: u64, life: u64, lane: Lane) {
        let slow = self.options.slow_disk && !self.healed && self.prng.chance(1, 20);
        let delay = if slow { self.prng.between(10, 400) } else { self.prng.below(2) };
        self.after(delay, Happening::Disk(sid, life, lane));
    }

    /// One operation of a lane's first batch: the lanes interleave, and a crash may come between any two.
    fn disk_step(&mut self, sid: u64, life: u64, lane: Lane) -> Check {
        let node = self.nodes.get_mut(&sid).unwrap();
        if node.life != life || node.server.is_none() {
            return Ok(());
        }
        let queue = node.lanes.get_mut(&lane).unwrap();
        let Some((batch, ops)) = queue.front_mut() else { return Ok(()) };
        let id = batch.id;
        let (mut done, more) = match ops.pop_front() {
            Some(op) => {
                let single = Batch { lane, id, ops: vec![op] };
                let done = storage::execute(&mut node.disk, single);
                (done, !ops.is_empty())
            }
            None => (BatchDone { lane, id, result: Ok(None) }, false),
        };
        let failed = done.result.is_err();
        if node.disk.dead {
            self.note(format!("{sid} loses power inside a disk operation"));
            *self.faults.entry("power cut inside an operation").or_default() += 1;
            self.stop(sid, true);
            return Ok(());
        }
        // A Recover stands last in its batch, so its find is the batch's.
        if more && !failed {
            if matches!(done.result, Ok(Some(_))) {
                return Err("a Recover that is not the last of its batch".into());
            }
            self.schedule_disk(sid, life, lane);
            return Ok(());
        }
        queue_pop(node, lane);
        done.id = id;
        if !self.nodes[&sid].lanes[&lane].is_empty() {
            self.schedule_disk(sid, life, lane);
        }
        self.give(sid, Event::Disk(done))
    }

    // --- network ---

    fn is_cut(&self, from: u64, to: u64) -> bool {
        self.cuts.contains(&(from, to))
    }

    fn dialled(&mut self, sid: u64, life: u64, link: LinkId, to: u64, port: PeerPort) -> Check {
        if self.nodes[&sid].life != life || self.nodes[&sid].server.is_none() {
            return Ok(());
        }
        if self.is_cut(sid, to) || self.is_cut(to, sid) {
            return self.give(sid, Event::PeerDialFailed { link, refused: false });
        }
        let Some(other) = self.nodes.get(&to) else { return Ok(()) };
        let open = other.server.is_some() && (port == PeerPort::Election || other.listening);
        if !open {
            return self.give(sid, Event::PeerDialFailed { link, refused: true });
        }
        self.next_id += 1;
        let theirs = LinkId(self.next_id << 1);
        self.next_id += 1;
        let wire = self.next_id;
        let ends = [(sid, life, link), (to, other.life, theirs)];
        self.wires.insert(wire, Wire { ends, pipes: [Pipe::default(), Pipe::default()] });
        self.by_link.insert(ends[0], wire);
        self.by_link.insert(ends[1], wire);
        self.give(to, Event::PeerAccepted { link: theirs, port })?;
        self.give(sid, Event::PeerDialled(link))
    }

    fn peer_send(&mut self, sid: u64, life: u64, link: LinkId, bytes: Vec<u8>) {
        let Some(id) = self.by_link.get(&(sid, life, link)).copied() else { return };
        let wire = self.wires.get_mut(&id).unwrap();
        let side = usize::from(wire.ends[0] != (sid, life, link));
        wire.pipes[side].bytes.push_back(bytes);
        let delay = self.delay();
        self.after(delay, Happening::Bytes(id));
    }

    fn close_wire(&mut self, sid: u64, life: u64, link: LinkId) {
        let Some(id) = self.by_link.remove(&(sid, life, link)) else { return };
        let Some(wire) = self.wires.get_mut(&id) else { return };
        let side = usize::from(wire.ends[0] != (sid, life, link));
        wire.pipes[side].closed = true;
        let delay = self.delay();
        self.after(delay, Happening::Bytes(id));
    }

    fn deliver(&mut self, id: u64) -> Check {
        for side in 0..2 {
            loop {
                let Some(wire) = self.wires.get_mut(&id) else { return Ok(()) };
                let (from, to) = (wire.ends[side], wire.ends[1 - side]);
                if self.cuts.contains(&(from.0, to.0)) {
                    break;
                }
                let pipe = &mut wire.pipes[side];
                let Some(bytes) = pipe.bytes.pop_front() else {
                    if pipe.closed {
                        self.wires.remove(&id);
                        self.by_link.remove(&from);
                        if self.by_link.remove(&to).is_some() && self.nodes[&to.0].life == to.1 {
                            self.give(to.0, Event::PeerClosed(to.2))?;
                        }
                        return Ok(());
                    }
                    break;
                };
                if self.nodes[&to.0].life != to.1 {
                    break;
                }
                // Bytes arrive in whatever pieces the network makes of them.
                let split = self.prng.below(bytes.len() as u64 + 1) as usize;
                for part in [&bytes[..split], &bytes[split..]] {
                    if !part.is_empty() {
                        self.give(to.0, Event::PeerBytes { link: to.2, bytes: part })?;
                    }
                }
            }
        }
        Ok(())
    }

    // --- clients ---

    fn client_turn(&mut self, id: u64) -> Check {
        let pause = self.prng.between(1, 120);
        self.after(pause, Happening::Client(id));
        let conn = self.current.get(&id).copied().filter(|c| self.conns.get(c).is_some_and(|c| c.open));
        let Some(conn) = conn else { return self.client_connect(id) };
        let client = self.clients.get_mut(&id).unwrap();
        if client.is_idle() {
            let bytes = client.act(&mut self.history, self.now);
            self.conns.get_mut(&conn).unwrap().to_server.push_back(bytes);
            let delay = self.delay();
            self.after(delay, Happening::ClientBytes { client: id, conn, to_server: true });
        } else if !self.healed && self.prng.chance(1, 40) {
            self.drop_conn(conn, true);
        }
        Ok(())
    }

    fn client_connect(&mut self, id: u64) -> Check {
        let node = self.any_server();
        if self.nodes[&node].server.is_none() {
            return Ok(());
        }
        self.next_id += 1;
        let conn = self.next_id;
        let client = self.clients.get_mut(&id).unwrap();
        client.lost();
        let hello = client.hello();
        let life = self.nodes[&node].life;
        let to_server = [hello].into();
        let new = Conn { client: id, node, life, to_server, to_client: VecDeque::new(), open: true };
        self.conns.insert(conn, new);
        self.current.insert(id, conn);
        let ip = IpAddr::V4(Ipv4Addr::new(127, 0, 0, id as u8));
        self.give(node, Event::ClientOpened { conn: ConnId(conn), ip, port: 1 })?;
        self.after(1, Happening::ClientBytes { client: id, conn, to_server: true });
        Ok(())
    }

    fn send_to_client(&mut self, conn: u64, bytes: Vec<u8>) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        c.to_client.push_back(bytes);
        let client = c.client;
        let delay = self.delay();
        self.after(delay, Happening::ClientBytes { client, conn, to_server: false });
    }

    fn drop_conn(&mut self, conn: u64, by_client: bool) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        c.open = false;
        let (client, node, life) = (c.client, c.node, c.life);
        if by_client {
            self.conns.remove(&conn);
            if self.nodes[&node].life == life {
                // The server hears of it at its leisure; an error of this call is found by the next.
                let _ = self.give(node, Event::ClientClosed(ConnId(conn)));
            }
        } else if c.to_client.is_empty() {
            self.conns.remove(&conn);
        }
        if by_client && self.current.get(&client) == Some(&conn) {
            self.clients.get_mut(&client).unwrap().lost();
        }
    }

    fn client_bytes(&mut self, id: u64, conn: u64, to_server: bool) -> Check {
        let Some(c) = self.conns.get_mut(&conn) else { return Ok(()) };
        if to_server {
            let (node, life, open) = (c.node, c.life, c.open);
            while let Some(bytes) = self.conns.get_mut(&conn).and_then(|c| c.to_server.pop_front()) {
                if open && self.nodes[&node].life == life {
                    self.give(node, Event::ClientBytes { conn: ConnId(conn), bytes: &bytes })?;
                }
            }
            return Ok(());
        }
        while let Some(bytes) = self.conns.get_mut(&conn).and_then(|c| c.to_client.pop_front()) {
            if self.current.get(&id) == Some(&conn) {
                self.client_receives(id, conn, &bytes)?;
            }
        }
        if self.conns.get(&conn).is_some_and(|c| !c.open) {
            self.conns.remove(&conn);
        }
        Ok(())
    }

    fn client_receives(&mut self, id: u64, conn: u64, bytes: &[u8]) -> Check {
        let known = self.history.arrivals.get(&id).map_or(0, Vec::len);
        let client = self.clients.get_mut(&id).unwrap();
        let more = client.receive(bytes, &mut self.history, self.now)?;
        for arrival in self.history.arrivals.get(&id).into_iter().flat_map(|a| &a[known..]) {
            let Arrival::Reply(place) = arrival else { continue };
            let record = &self.history.records[*place];
            if let Some(back) = record.returned.as_ref().filter(|_| record.op.is_write()) {
                self.acknowledged = self.acknowledged.max(back.zxid);
            }
        }
        if !more.is_empty() {
            self.conns.get_mut(&conn).unwrap().to_server.push_back(more);
            let delay = self.delay();
            self.after(delay, Happening::ClientBytes { client: id, conn, to_server: true });
        }
        Ok(())
    }

    // --- faults ---

    /// A server stops at once: killed, or with the power of its machine.
    pub(crate) fn stop(&mut self, sid: u64, power: bool) {
        let mut prng = self.prng.split();
        let node = self.nodes.get_mut(&sid).unwrap();
        if node.server.take().is_none() {
            return;
        }
        node.life += 1;
        node.listening = false;
        node.lanes.clear();
        if power {
            node.disk.crash(&mut prng);
        } else {
            node.disk.kill();
        }
        self.note(format!("{sid} is stopped, power cut: {power}"));
        let dead: Vec<u64> =
            self.wires.iter().filter(|(_, w)| w.ends.iter().any(|e| e.0 == sid)).map(|(id, _)| *id).collect();
        for id in dead {
            let wire = &mut self.wires.get_mut(&id).unwrap();
            let side = usize::from(wire.ends[0].0 != sid);
            wire.pipes[side].bytes.clear();
            wire.pipes[side].closed = true;
            let end = wire.ends[side];
            self.by_link.remove(&end);
            self.after(1, Happening::Bytes(id));
        }
        let gone: Vec<u64> = self.conns.iter().filter(|(_, c)| c.node == sid).map(|(id, _)| *id).collect();
        for id in gone {
            if let Some(c) = self.conns.get_mut(&id) {
                c.open = false;
            }
        }
        let rest = self.prng.between(10, 3000);
        self.after(rest, Happening::Start(sid));
    }

    fn any_server(&mut self) -> u64 {
        let nth = self.prng.between(1, self.nodes.len() as u64) as usize - 1;
        *self.nodes.keys().nth(nth).unwrap()
    }

    /// One fault, as the options allow.
    pub(crate) fn fault(&mut self) -> Check {
        let options = self.options.clone();
        if options.crash_every > 0 && self.prng.chance(1, options.crash_every) {
            let sid = self.any_server();
            let power = options.power_cuts && self.prng.chance(1, 2);
            if power && self.prng.chance(1, 2) {
                self.nodes.get_mut(&sid).unwrap().disk.fuse = Some(self.prng.below(12));
            } else {
                *self.faults.entry(if power { "power cut" } else { "kill" }).or_default() += 1;
                self.stop(sid, power);
            }
            if options.wipes && options.voters > 1 && self.prng.chance(1, 10) {
                self.wipe();
            }
        }
        if options.cut_every > 0 && self.prng.chance(1, options.cut_every) {
            let (a, b) = (self.any_server(), self.any_server());
            if a != b {
                *self.faults.entry("one-way cut").or_default() += 1;
                self.note(format!("cut {a} -> {b}"));
                self.cuts.insert((a, b));
                if self.prng.chance(1, 2) {
                    self.cuts.insert((b, a));
                }
            }
        }
        if !self.cuts.is_empty() && self.prng.chance(1, 300) {
            self.note("cuts heal".into());
            self.heal_cuts();
        }
        if self.prng.chance(1, 2000) && !self.wires.is_empty() {
            let nth = self.prng.below(self.wires.len() as u64) as usize;
            let end = self.wires.values().nth(nth).unwrap().ends[0];
            *self.faults.entry("reset").or_default() += 1;
            self.close_wire(end.0, end.1, end.2);
            if self.nodes[&end.0].life == end.1 {
                self.give(end.0, Event::PeerClosed(end.2))?;
            }
        }
        Ok(())
    }

    /// A stopped server's directory is wiped, if the budget allows.
    fn wipe(&mut self) {
        let stopped = self.nodes.values().find(|n| n.server.is_none() && n.life > 1).map(|n| n.sid);
        let Some(sid) = stopped else { return };
        if !budget::may_wipe(self.nodes.values(), self.options.voters, sid) {
            return;
        }
        if let Some(node) = self.nodes.get_mut(&sid) {
            node.disk.wipe();
            node.wiped = true;
            self.invariants.forget(sid);
            *self.faults.entry("wiped directory").or_default() += 1;
            self.note(format!("{sid} is wiped"));
        }
    }

    fn heal_cuts(&mut self) {
        self.cuts.clear();
        for id in self.wires.keys().copied().collect::<Vec<_>>() {
            self.after(1, Happening::Bytes(id));
        }
    }

    /// The end of all faults.
    pub(crate) fn heal(&mut self) {
        self.healed = true;
        self.note("everything heals".into());
        self.heal_cuts();
        for node in self.nodes.values_mut() {
            node.disk.fuse = None;
        }
    }
}

fn queue_pop(node: &mut Node, lane: Lane) {
    if let Some(queue) = node.lanes.get_mut(&lane) {
        queue.pop_front();
    }
}
