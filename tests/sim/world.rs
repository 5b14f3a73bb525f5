//! The simulated world: servers, links of bytes, disks, clients, and one heap of events in virtual time.

use crate::client::SimClient;
use crate::disk::SimDisk;
use crate::faults::Faults;
use crate::history::{Arrival, History, Outcome};
use crate::invariants::{Check, Contact, Invariants, Seen, no_false_alarm};
use crate::network::Wire;
use crate::options::{Newcomer, Options};
use crate::settings::{ELECTION, settings};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use zkctl::ids::{ConnId, LinkId};
use zkctl::prng::Prng;
use zkctl::server::{Action, Event, Level, PeerPort, ProcessFacts, Server, ServerParts, Settings};
use zkctl::storage::{
    self, Batch, BatchDone, Dir, Disk, DiskOp, Found, Lane, RecoveryOptions, RoomMarks, StorageOptions,
};
use zkctl::time::{Millis, Now, WallMillis};
use zkctl::wire::errcode::ErrorCode;
use zkctl::zab;
use zkctl::zxid::Zxid;

#[derive(Debug)]
pub(crate) enum Happening {
    Start(u64),
    Tick(u64, u64),
    Disk(u64, u64, Lane),
    Bytes(u64),
    Dialled {
        node: u64,
        life: u64,
        link: LinkId,
        to: u64,
        port: PeerPort,
    },
    Client(u64),
    ClientBytes {
        client: u64,
        conn: u64,
        to_server: bool,
    },
    HealCuts,
    /// What others had put on a server's disks goes.
    Emptied(u64),
    Cut(Vec<(u64, u64)>),
}

pub(crate) struct Node {
    pub(crate) sid: u64,
    pub(crate) server: Option<Server>,
    pub(crate) disk: SimDisk,
    /// Counts incarnations, so that what belongs to an older one is dropped.
    pub(crate) life: u64,
    lanes: BTreeMap<Lane, VecDeque<(Batch, VecDeque<DiskOp>)>>,
    pub(crate) listening: bool,
    tick_at: Option<u64>,
    began: u64,
    /// Its clock's milliseconds in a thousand of ours, and its wall clock's difference.
    rate: u64,
    pub(crate) wall_offset: i64,
    /// Nothing happens in it until then.
    pub(crate) paused_until: u64,
    /// It was told to stop.
    pub(crate) stopping: bool,
    /// Its next member list, and its own now, tell of the conversion.
    pub(crate) knows: bool,
    listed: bool,
    /// It lost memory that was durable, once.
    pub(crate) damaged: bool,
}

impl Node {
    /// The end of what a power cut would leave for certain, read back from its bytes.
    fn surviving(&self, options: &RecoveryOptions) -> Option<Zxid> {
        if self.damaged || self.disk.dead || self.disk.erred.is_some() || self.cut_under_way().is_some() {
            return None;
        }
        let recovered = storage::recover(&mut self.disk.surviving(), options);
        Some(recovered.map_or(Zxid::ZERO, |r| r.zab.last))
    }

    /// Where what its disk is being told cuts the history.
    fn cut_under_way(&self) -> Option<Zxid> {
        let ops = self.lanes.get(&Lane::Log).into_iter().flatten().flat_map(|(batch, _)| &batch.ops);
        let cuts =
            ops.filter_map(|op| if let DiskOp::CutBehind { after, .. } = op { Some(*after) } else { None });
        cuts.min()
    }
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
    pub(crate) wires: BTreeMap<u64, Wire>,
    pub(crate) by_link: BTreeMap<(u64, u64, LinkId), u64>,
    next_id: u64,
    pub(crate) cuts: BTreeSet<(u64, u64)>,
    /// They do not heal before then.
    pub(crate) cut_until: u64,
    /// What goes wrong, and when.
    pub(crate) chances: Faults,
    /// Who is still to be restarted, one by one.
    pub(crate) rolling: VecDeque<u64>,
    /// The clients have gone away for good.
    gone: bool,
    /// Clients only keep their sessions alive.
    pub(crate) quiet: bool,
    /// When the leader that a session's client is connected to last heard of it.
    contacts: BTreeMap<i64, Contact>,
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
    /// Writes that were refused for want of room.
    pub(crate) refused: u64,
    /// Answers and watch events that the model confirmed.
    pub(crate) judged: (u64, u64),
    pub(crate) events: u64,
    /// The options' steps are not the drawn ones.
    pub(crate) cut_short: bool,
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

    fn with(options: Options, mut prng: Prng) -> World {
        let chances = Faults::new(prng.split());
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
            cut_until: 0,
            chances,
            rolling: VecDeque::new(),
            gone: false,
            quiet: false,
            contacts: BTreeMap::new(),
            clients: BTreeMap::new(),
            conns: BTreeMap::new(),
            current: BTreeMap::new(),
            options: options.clone(),
            healed: false,
            invariants: Invariants::new(),
            history: History::default(),
            acknowledged: 0,
            refused: 0,
            judged: (0, 0),
            events: 0,
            cut_short: false,
            trace: 0,
            log: VecDeque::new(),
            faults: BTreeMap::new(),
            prng,
        };
        for sid in options.all() {
            let mut disk = SimDisk::new();
            disk.share(options.one_volume);
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
                rate: if options.skew { world.prng.between(900, 1100) } else { 1000 },
                wall_offset: 0,
                paused_until: 0,
                stopping: false,
                knows: false,
                listed: false,
                damaged: false,
            };
            world.nodes.insert(sid, node);
            let at = world.prng.below(300);
            world.at(at, Happening::Start(sid));
        }
        for id in 1..=options.clients {
            let client = SimClient::new(id, &options, world.prng.split());
            world.clients.insert(id, client);
            world.at(500 + id, Happening::Client(id));
        }
        world
    }

    pub(crate) fn at(&mut self, when: u64, happening: Happening) {
        self.next_event += 1;
        self.heap.push(Reverse((when.max(self.now), self.next_event)));
        self.happenings.insert(self.next_event, happening);
    }

    pub(crate) fn after(&mut self, delay: u64, happening: Happening) {
        self.at(self.now + delay, happening);
    }

    /// The trace: FNV-1a over every event's time and number, what is noted, and what peers and clients are sent.
    pub(crate) fn hash(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.trace = (self.trace ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    pub(crate) fn note(&mut self, text: String) {
        self.hash(text.as_bytes());
        if self.log.len() >= 400 {
            self.log.pop_front();
        }
        self.log.push_back(format!("{:>8} {text}", self.now));
    }

    pub(crate) fn delay(&mut self) -> u64 {
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
        self.hash(&when.to_be_bytes());
        self.hash(&id.to_be_bytes());
        self.events += 1;
        if let Some(until) = self.asleep(&happening) {
            // What waited for it is taken in any order, but for the order within a connection.
            let late = self.prng.below(5);
            self.at(until + late, happening);
            return Ok(true);
        }
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
            Happening::HealCuts => self.heal_cuts(),
            Happening::Emptied(sid) => self.empty(sid),
            Happening::Cut(links) => self.cut_links(links),
        }
        Ok(true)
    }

    /// Until when the server that this would happen to is paused.
    fn asleep(&self, happening: &Happening) -> Option<u64> {
        let sid = match happening {
            Happening::Tick(sid, _) | Happening::Disk(sid, _, _) => *sid,
            Happening::Dialled { node, to, .. } => {
                return [node, to].into_iter().find_map(|sid| self.paused(*sid));
            }
            Happening::ClientBytes { conn, to_server: true, .. } => self.conns.get(conn)?.node,
            _ => return None,
        };
        self.paused(sid)
    }

    fn paused(&self, sid: u64) -> Option<u64> {
        self.nodes.get(&sid).map(|n| n.paused_until).filter(|until| *until > self.now)
    }

    fn settings(&self, sid: u64) -> Settings {
        let newcomer = self.options.newcomer.filter(|n| n.sid == sid);
        let listed = self.options.listed().chain(newcomer.map(|n| n.sid));
        let voters = self.options.voters_of(sid, self.nodes[&sid].listed);
        let wide = |all: Vec<u64>| all.into_iter().map(|n| n as i64);
        let base = settings(sid as i64, wide(listed.collect()), wide(voters), self.recovery(sid));
        Settings {
            slice: self.options.slice,
            began_wall_ms: 1_000_000 + self.now as i64,
            storage: StorageOptions {
                snap_count: self.options.snap_count,
                log_bytes: self.options.log_bytes,
                prealloc_bytes: self.options.prealloc,
                purge: (3, 400),
                seed: sid + self.now,
                ..base.storage
            },
            zab: zab::Config {
                window: self.options.window,
                counter_max: self.options.counter_max,
                init_limit: self.options.limits.0,
                sync_limit: self.options.limits.1,
                ..base.zab
            },
            ..base
        }
    }

    fn recovery(&self, sid: u64) -> RecoveryOptions {
        RecoveryOptions { seed: sid, extended_types: false, may_begin: false, trust_empty: false }
    }

    fn clock(&self, sid: u64) -> Now {
        let node = &self.nodes[&sid];
        let wall = 40_000_000_000 + self.now as i64 + node.wall_offset;
        Now { mono: Millis((self.now - node.began) * node.rate / 1000), wall: WallMillis(wall) }
    }

    /// Whether the others are a majority, so that they can bring back what a server has lost.
    fn can_be_repaired(&self, sid: u64) -> bool {
        let voters = self.options.voters_of(sid, self.nodes[&sid].listed);
        voters.iter().filter(|v| **v != sid).count() * 2 > voters.len()
    }

    fn start(&mut self, sid: u64) -> Check {
        let options = self.recovery(sid);
        let now = self.now;
        let node = self.nodes.get_mut(&sid).unwrap();
        if node.server.is_some() {
            return Ok(());
        }
        (node.listed, node.stopping, node.paused_until) = (node.knows, false, 0);
        let settings = self.settings(sid);
        let repairable = self.can_be_repaired(sid);
        let node = self.nodes.get_mut(&sid).unwrap();
        let recovered = match repairable {
            true => storage::recover_repairable(&mut node.disk, &options),
            false => storage::recover(&mut node.disk, &options),
        };
        let recovered = match recovered {
            Ok(recovered) => recovered,
            Err(e) if node.disk.explains(&e.to_string()) => {
                node.disk.kill();
                self.count("disk failed while starting");
                self.after(50, Happening::Start(sid));
                return Ok(());
            }
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
        no_false_alarm::check(sid, node.damaged, &mut node.disk, &recovered.notes)?;
        node.life += 1;
        node.began = now;
        node.lanes = [(Lane::Log, VecDeque::new()), (Lane::Bulk, VecDeque::new())].into();
        node.tick_at = None;
        node.listening = false;
        let trust = recovered.zab.trust;
        let last = recovered.zab.last;
        let notes = recovered.notes.join("; ");
        let (soft, hard) = self.options.marks;
        let marks = RoomMarks { soft: Some(soft), hard: Some(hard) };
        let mut server = Server::new(ServerParts { settings, recovered }).watching_room(marks);
        let mut actions = Vec::new();
        server.start(self.clock(sid), &mut actions);
        self.nodes.get_mut(&sid).unwrap().server = Some(server);
        self.note(format!("{sid} starts at {last}, {trust:?} {notes}"));
        self.carry_out(sid, actions)?;
        self.settle(sid)
    }

    /// Hands an event to a server and carries out what it wants.
    pub(crate) fn give(&mut self, sid: u64, event: Event<'_>) -> Check {
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
        let (life, began, rate) = (node.life, node.began, node.rate);
        if let Some(at) = server.next_deadline().map(|m| (m.0 * 1000).div_ceil(rate) + began)
            && node.tick_at.is_none_or(|t| at < t || t <= self.now)
        {
            node.tick_at = Some(at);
            self.at(at + 1, Happening::Tick(sid, life));
        }
        let node = &self.nodes[&sid];
        let server = node.server.as_ref().unwrap();
        let (nodes, options) = (&self.nodes, self.recovery(sid));
        let seen = Seen {
            surviving: &|of| nodes[&of].surviving(&options),
            sid,
            life: node.life,
            server,
            cutting: node.cut_under_way(),
            voters: &self.options.voters_of(sid, node.listed),
            now: (self.now - node.began, node.rate),
            contacts: &self.contacts,
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
                Action::ClientClose(conn) => self.drop_conn(conn.0, false)?,
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
                    let node = &self.nodes[&sid];
                    if node.disk.dead || node.disk.explains(&reason) || (node.stopping && code == 0) {
                        let power = node.disk.dead;
                        self.stop(sid, power);
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
        let first = queue.len() == 1;
        if let Some(to) = node.cut_under_way() {
            self.invariants.cut(sid, to);
        }
        if first {
            self.schedule_disk(sid, life, lane);
        }
    }

    fn schedule_disk(&mut self, sid: u64, life: u64, lane: Lane) {
        let rate = if self.healed { 0 } else { self.options.slow_disk };
        let slow = rate > 0 && self.prng.chance(1, rate);
        let delay = match slow {
            true if self.prng.chance(1, 20) => self.prng.between(400, 3000),
            true => self.prng.between(10, 400),
            false => self.prng.below(2),
        };
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
            if matches!(done.result, Ok(Some(Found::Database(_)))) {
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
        self.give(sid, Event::Disk(done))?;
        if failed && self.nodes[&sid].server.is_some() {
            return Err(format!("FailStop: {sid} goes on though its disk failed"));
        }
        Ok(())
    }

    pub(crate) fn is_cut(&self, from: u64, to: u64) -> bool {
        self.cuts.contains(&(from, to))
    }

    pub(crate) fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    // --- clients ---

    /// All clients go away without a word.
    pub(crate) fn clients_go(&mut self) -> Check {
        self.gone = true;
        for conn in self.conns.keys().copied().collect::<Vec<_>>() {
            self.drop_conn(conn, true)?;
        }
        Ok(())
    }

    fn client_turn(&mut self, id: u64) -> Check {
        if self.gone {
            return Ok(());
        }
        let mut pause = self.prng.between(1, 120);
        let client = &self.clients[&id];
        if self.options.naps && !self.healed && self.prng.chance(1, 60) {
            pause = self.prng.between(1, client.timeout_ms() * 3);
            self.count("nap");
        }
        self.after(pause, Happening::Client(id));
        let conn = self.current.get(&id).copied().filter(|c| self.conns.get(c).is_some_and(|c| c.open));
        let Some(conn) = conn else { return self.client_connect(id) };
        let client = self.clients.get_mut(&id).unwrap();
        if client.is_idle() {
            let bytes = client.act(&mut self.history, self.now, self.quiet);
            self.conns.get_mut(&conn).unwrap().to_server.push_back(bytes);
            let delay = self.delay();
            self.after(delay, Happening::ClientBytes { client: id, conn, to_server: true });
        } else if !self.healed && self.prng.chance(1, 40) {
            self.drop_conn(conn, true)?;
        }
        Ok(())
    }

    fn client_connect(&mut self, id: u64) -> Check {
        let mut prng = self.prng.split();
        let node = self.any_server(&mut prng);
        if self.nodes[&node].server.is_none() || self.paused(node).is_some() {
            return Ok(());
        }
        let conn = self.new_id();
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
        self.hash(&bytes);
        let Some(c) = self.conns.get_mut(&conn) else { return };
        c.to_client.push_back(bytes);
        let client = c.client;
        let delay = self.delay();
        self.after(delay, Happening::ClientBytes { client, conn, to_server: false });
    }

    fn drop_conn(&mut self, conn: u64, by_client: bool) -> Check {
        let Some(c) = self.conns.get_mut(&conn) else { return Ok(()) };
        c.open = false;
        let (client, node, life) = (c.client, c.node, c.life);
        if by_client {
            self.conns.remove(&conn);
            if self.current.get(&client) == Some(&conn) {
                self.clients.get_mut(&client).unwrap().lost();
            }
            if self.nodes[&node].life == life {
                self.give(node, Event::ClientClosed(ConnId(conn)))?;
            }
        } else if c.to_client.is_empty() {
            self.conns.remove(&conn);
        }
        Ok(())
    }

    fn client_bytes(&mut self, id: u64, conn: u64, to_server: bool) -> Check {
        let Some(c) = self.conns.get_mut(&conn) else { return Ok(()) };
        if to_server {
            let (node, life, open) = (c.node, c.life, c.open);
            while let Some(bytes) = self.conns.get_mut(&conn).and_then(|c| c.to_server.pop_front()) {
                if open && self.nodes[&node].life == life {
                    self.contact(id, node);
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

    /// A leader hears of a client of its own.
    fn contact(&mut self, client: u64, sid: u64) {
        let node = &self.nodes[&sid];
        let leads = node.server.as_ref().is_some_and(|s| s.zab().reign().is_some());
        let client = &self.clients[&client];
        if leads && client.is_connected() {
            let contact =
                Contact { at: self.now - node.began, sid, life: node.life, timeout: client.timeout_ms() };
            self.contacts.insert(client.session, contact);
        }
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
                if back.outcome == Outcome::Failed(ErrorCode::OPERATIONTIMEOUT.0) {
                    self.refused += 1;
                    if self.options.fill_every == 0 {
                        return Err(format!(
                            "Liveness: client {id} is refused a write, and all disks have room"
                        ));
                    }
                }
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
        let silently = self.options.half_open && !self.healed && prng.chance(1, 3);
        self.end_links_of(sid, silently, &mut prng);
        let gone: Vec<u64> = self.conns.iter().filter(|(_, c)| c.node == sid).map(|(id, _)| *id).collect();
        for id in gone {
            if let Some(c) = self.conns.get_mut(&id) {
                c.open = false;
            }
        }
        let rest = if prng.chance(1, 3) { 200 } else { 3000 };
        self.after(prng.between(10, rest), Happening::Start(sid));
    }
}

fn queue_pop(node: &mut Node, lane: Lane) {
    if let Some(queue) = node.lanes.get_mut(&lane) {
        queue.pop_front();
    }
}
