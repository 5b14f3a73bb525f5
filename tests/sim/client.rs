//! Simulated clients: real client bytes, every operation the server has, sessions that move, sleep and end.
//!
//! All clients work below one parent, so that they are in each other's way. What they ask and are told goes
//! into the history, which is judged at the end; here only what a reply itself can break is checked.

use crate::history::acl::Acl;
use crate::history::{Arrival, History, NotOffered, Op, Outcome, Registered, WatcherType, codec};
use crate::invariants::client_fifo;
use crate::options::Options;
use std::collections::VecDeque;
use zkctl::auth::digest_id;
use zkctl::jute::Reader;
use zkctl::prng::Prng;
use zkctl::wire::connect::{ConnectRequest, ConnectResponse};
use zkctl::wire::frame;
use zkctl::wire::opcode::xid;
use zkctl::wire::reply::{ReplyHeader, WatcherEvent};

const TOP: &str = "/w";
const PATHS: [&str; 7] = ["/w", "/w/a", "/w/b", "/w/c", "/w/a/x", "/w/a/y", "/w/q"];
/// Below the first of these ACLs are anything: nothing else may depend on their being read or removed.
const PRIVATE: [&str; 5] = ["/p", "/p/a", "/p/a", "/p/b", "/p/a/x"];
/// Users and their passwords.
const PROOFS: [&str; 2] = ["ann:a", "bob:b"];

#[derive(Debug)]
pub(crate) struct SimClient {
    pub(crate) id: u64,
    pub(crate) session: i64,
    password: [u8; 16],
    timeout_ms: i32,
    last_zxid: i64,
    connected: bool,
    inbound: Vec<u8>,
    /// Places in the history of what was asked and not answered.
    doing: VecDeque<usize>,
    next_xid: i32,
    next_value: u64,
    registered: Registered,
    /// Sequential znodes that it made and may delete.
    made: Vec<String>,
    /// Sessions of its own that are over, with their passwords.
    past: Vec<(i64, [u8; 16])>,
    /// It asked for a session that it must not get.
    intruding: bool,
    intrudes: bool,
    /// It asked for its session's end.
    closing: bool,
    big: bool,
    /// It writes nothing, so that nothing but reads and syncs are ever under way.
    reads_only: bool,
    /// It asks for what is not for everybody, too.
    auth: bool,
    /// It asked for an identity that nobody can prove: the server closes the connection, and as in the original
    /// that is no sign of life.
    turned_away: bool,
    /// What it shows on every new connection.
    proofs: Vec<&'static str>,
    pub(crate) operations: u64,
    /// Sessions that it found over without having closed them.
    pub(crate) expiries: u64,
    prng: Prng,
}

impl SimClient {
    pub(crate) fn new(id: u64, options: &Options, mut prng: Prng) -> SimClient {
        let timeout_ms = prng.between(500, 6000) as i32;
        let reads_only = if options.one_writer { id > 1 } else { prng.chance(1, 5) };
        let held = if options.auth { prng.below(4) } else { 0 };
        SimClient {
            id,
            session: 0,
            password: [0; 16],
            timeout_ms,
            last_zxid: 0,
            connected: false,
            inbound: Vec::new(),
            doing: VecDeque::new(),
            next_xid: 1,
            next_value: 1,
            registered: Registered::default(),
            made: Vec::new(),
            past: Vec::new(),
            intruding: false,
            intrudes: options.intruders,
            closing: false,
            big: options.big,
            reads_only,
            auth: options.auth,
            turned_away: false,
            proofs: (0..2).filter(|nth| held >> nth & 1 == 1).map(|nth| PROOFS[nth]).collect(),
            operations: 0,
            expiries: 0,
            prng,
        }
    }

    /// What it says first on a new connection.
    pub(crate) fn hello(&mut self) -> Vec<u8> {
        self.connected = false;
        self.turned_away = false;
        self.inbound.clear();
        let (session, password) = self.credentials();
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.last_zxid,
            timeout_ms: self.timeout_ms,
            session,
            password: &password,
            read_only: Some(false),
        };
        let mut out = Vec::new();
        let open = frame::begin(&mut out);
        request.encode(&mut out);
        open.end(&mut out);
        out
    }

    /// Its session and password; now and then those of a session that is over, or a wrong password.
    fn credentials(&mut self) -> (i64, [u8; 16]) {
        self.intruding = self.intrudes && self.prng.chance(1, 4);
        match self.past.last() {
            Some(past) if self.intruding && self.prng.chance(1, 2) => *past,
            _ if self.intruding && self.session != 0 => {
                let mut wrong = self.password;
                wrong[self.prng.below(16) as usize] ^= 1;
                (self.session, wrong)
            }
            _ => {
                self.intruding = false;
                (self.session, self.password)
            }
        }
    }

    pub(crate) fn timeout_ms(&self) -> u64 {
        self.timeout_ms as u64
    }

    /// Whether what it says now keeps its session alive.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected && !self.turned_away
    }

    /// The connection is gone: what was under way has an unknown fate.
    pub(crate) fn lost(&mut self) {
        self.connected = false;
        self.doing.clear();
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.connected && self.doing.is_empty()
    }

    /// Up to a few requests in one piece.
    pub(crate) fn act(&mut self, history: &mut History, now: u64, quiet: bool) -> Vec<u8> {
        let mut out = Vec::new();
        if quiet {
            return self.ask(Op::Ping, history, now);
        }
        // Not with watches: when it hears what it may hear only now, nobody could say.
        if self.auth && self.registered.is_empty() && self.prng.chance(1, 20) {
            let op = self.draw_auth();
            out.extend(self.ask(op, history, now));
        }
        for _ in 0..self.prng.between(1, 4) {
            let op = self.draw();
            let last = op == Op::CloseSession;
            out.extend(self.ask(op, history, now));
            if last {
                // Behind a close nothing of the session may come into being.
                let late = Op::Create {
                    path: format!("{TOP}/l-"),
                    data: self.data(),
                    flags: 3,
                    acl: Acl::anyone(31),
                    with_stat: false,
                };
                out.extend(self.ask(late, history, now));
                break;
            }
        }
        out
    }

    fn ask(&mut self, op: Op, history: &mut History, now: u64) -> Vec<u8> {
        self.closing |= op == Op::CloseSession;
        let xid = self.next_xid;
        self.next_xid += 1;
        let bytes = codec::request(&op, xid);
        self.doing.push_back(history.invoke(self.id, self.session, xid, op, now));
        bytes
    }

    fn path(&mut self) -> String {
        if self.auth && self.prng.chance(1, 3) {
            return PRIVATE[self.prng.below(PRIVATE.len() as u64) as usize].to_owned();
        }
        match self.prng.below(10) {
            0 => format!("{TOP}/e{}", self.prng.between(1, 4)),
            _ => PATHS[self.prng.below(PATHS.len() as u64) as usize].to_owned(),
        }
    }

    fn version(&mut self) -> i32 {
        if self.prng.chance(2, 3) { -1 } else { self.prng.below(4) as i32 }
    }

    fn data(&mut self) -> Vec<u8> {
        self.next_value += 1;
        let mut data = (self.id << 32 | self.next_value).to_be_bytes().to_vec();
        let large = if self.big { 100_000 } else { 700 };
        data.resize(8 + [0, 0, 0, 40, large][self.prng.below(5) as usize], 7);
        data
    }

    fn draw(&mut self) -> Op {
        if self.reads_only {
            return match self.prng.below(4) {
                0 => Op::Sync { path: "/".into() },
                _ => self.draw_read(),
            };
        }
        match self.prng.below(100) {
            0..=44 => self.draw_write(),
            45..=52 => self.draw_multi(),
            53..=56 => Op::Sync { path: "/".into() },
            57 | 58 => Op::Ping,
            59 => self.draw_not_offered(),
            60 if self.prng.chance(1, 4) => Op::CloseSession,
            60..=62 => Op::AddWatch { path: self.path(), recursive: self.prng.chance(1, 2) },
            _ => self.draw_read(),
        }
    }

    fn draw_write(&mut self) -> Op {
        match self.prng.below(20) {
            0..=6 => self.draw_create(),
            7..=9 => Op::Delete { path: self.path(), version: self.version() },
            10 => match self.made.pop() {
                Some(path) => Op::Delete { path, version: -1 },
                None => self.draw_create(),
            },
            11 => {
                let path = self.path();
                let perms = [31, 31, 17, 31 - 2, 31 - 4, 31 - 8][self.prng.below(6) as usize];
                let acl = self.acl(&path, perms);
                Op::SetAcl { path, acl, version: self.version() }
            }
            _ => Op::SetData { path: self.path(), data: self.data(), version: self.version() },
        }
    }

    fn draw_create(&mut self) -> Op {
        let (path, flags) = match self.prng.below(8) {
            0 => (format!("{TOP}/e{}", self.id), 1),
            1 => (format!("{TOP}/l-"), 3),
            2 => (format!("{TOP}/q/s-"), 2),
            3 if self.auth => (PRIVATE[0].to_owned(), 0),
            4 if self.auth => {
                (PRIVATE[self.prng.between(1, 4) as usize].to_owned(), self.prng.below(2) as i32)
            }
            _ => (self.path(), 0),
        };
        let acl = self.acl(&path, 31);
        Op::Create { path, data: self.data(), flags, acl, with_stat: self.prng.chance(1, 2) }
    }

    fn draw_multi(&mut self) -> Op {
        let count = self.prng.between(1, 4);
        let ops = (0..count).map(|_| match self.prng.below(4) {
            0 => Op::Check { path: self.path(), version: self.version() },
            1 => Op::Delete { path: self.path(), version: -1 },
            2 => self.draw_create(),
            _ => Op::SetData { path: self.path(), data: self.data(), version: self.version() },
        });
        Op::Multi(ops.collect())
    }

    fn draw_read(&mut self) -> Op {
        let watch = self.prng.chance(1, 3);
        let path = self.path();
        match self.prng.below(15) {
            0..=3 => Op::GetData { path, watch },
            4..=6 => Op::Exists { path, watch },
            7 | 8 => Op::GetChildren { path, watch, with_stat: self.prng.chance(1, 2) },
            9 => Op::GetEphemerals { prefix: TOP.into() },
            10 => match self.prng.below(2) {
                0 => Op::CountBelow { path },
                _ => Op::GetAcl { path },
            },
            11 | 12 => self.draw_about_watches(),
            13 => Op::WhoAmI { address: format!("127.0.0.{}", self.id) },
            _ => Op::MultiRead(vec![
                Op::GetData { path, watch: false },
                Op::GetChildren { path: self.path(), watch: false, with_stat: false },
            ]),
        }
    }

    /// Anything below the private znode. Elsewhere `perms` for everybody, in which READ and ADMIN always are:
    /// nothing becomes hidden or final.
    fn acl(&mut self, path: &str, perms: i32) -> Acl {
        if !path.starts_with("/p/") {
            return Acl::anyone(perms);
        }
        let users = PROOFS.map(digest_id);
        let first = self.prng.below(2) as usize;
        let (one, other) = (&users[first], &users[1 - first]);
        let owned = Acl::of(31, "digest", one);
        let mine = Acl::of(31, "auth", "");
        match self.prng.below(11) {
            0..=2 => owned,
            3 => owned.and(Acl::anyone(1)),
            4 | 5 => owned.and(Acl::anyone(self.prng.below(16) as i32)),
            6 => owned.and(Acl::of(3, "digest", other)),
            7 => mine.clone().and(Acl::anyone(1)).and(mine),
            8 => mine,
            9 => Acl::anyone(16).and(owned),
            _ => Acl::anyone(31),
        }
    }

    fn draw_auth(&mut self) -> Op {
        let proof = PROOFS[self.prng.below(2) as usize];
        let scheme = match self.prng.below(8) {
            0 => "sasl",
            1 => "ip",
            _ => "digest",
        };
        self.turned_away = scheme == "sasl";
        if scheme == "digest" && !self.proofs.contains(&proof) {
            self.proofs.push(proof);
        }
        Op::AddAuth { scheme: scheme.into(), proof: proof.into() }
    }

    /// Mostly about watches that there are.
    fn draw_about_watches(&mut self) -> Op {
        let mut path = self.path();
        let watched = self.registered.paths();
        if !watched.is_empty() && self.prng.chance(3, 4) {
            path.clone_from(watched[self.prng.below(watched.len() as u64) as usize]);
        }
        let kind = WatcherType::ALL[self.prng.below(5) as usize];
        match self.prng.below(2) {
            0 => Op::CheckWatches { path, kind },
            _ => Op::RemoveWatches { path, kind },
        }
    }

    fn draw_not_offered(&mut self) -> Op {
        let all = [NotOffered::Check, NotOffered::Container, NotOffered::Ttl, NotOffered::Reconfig];
        Op::NotOffered { what: all[self.prng.below(4) as usize], path: self.path() }
    }

    /// Takes in bytes; says what is wrong with them, if anything. What it returns is to be sent at once.
    pub(crate) fn receive(
        &mut self,
        bytes: &[u8],
        history: &mut History,
        now: u64,
    ) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        let mut inbound = std::mem::take(&mut self.inbound);
        inbound.extend_from_slice(bytes);
        let mut at = 0;
        while let Ok((payload, used)) = frame::next(&inbound[at..], 1 << 20) {
            at += used;
            if self.connected {
                self.on_reply(payload, history, now)?;
            } else {
                out.extend(self.on_connected(payload, history, now)?);
            }
        }
        inbound.drain(..at);
        self.inbound = inbound;
        Ok(out)
    }

    fn on_connected(&mut self, payload: &[u8], history: &mut History, now: u64) -> Result<Vec<u8>, String> {
        let response = ConnectResponse::decode(payload).map_err(|e| e.to_string())?;
        if std::mem::take(&mut self.intruding) {
            let taken = format!("Sessions: client {} got a session that it had no right to", self.id);
            return if response.session == 0 { Ok(Vec::new()) } else { Err(taken) };
        }
        if response.session == 0 {
            self.expiries += u64::from(!self.closing);
            self.forget();
            return Ok(Vec::new());
        }
        if self.session != 0 && self.session != response.session {
            return Err(format!("client {}: asked for session {:#x}, got another", self.id, self.session));
        }
        self.session = response.session;
        self.password = response.password;
        self.connected = true;
        history.arrived(self.id, Arrival::Connected);
        let mut out = Vec::new();
        for proof in self.proofs.clone() {
            let op = Op::AddAuth { scheme: "digest".into(), proof: proof.into() };
            out.extend(self.ask(op, history, now));
        }
        if self.registered.is_empty() {
            return Ok(out);
        }
        let watches = Registered { since: self.last_zxid, ..std::mem::take(&mut self.registered) };
        // One-shot ones come back as events or stay registered: known when the answer is there.
        self.registered = watches.clone();
        out.extend(self.ask(Op::SetWatches(watches), history, now));
        Ok(out)
    }

    fn forget(&mut self) {
        self.past.push((self.session, self.password));
        self.session = 0;
        self.closing = false;
        self.password = [0; 16];
        self.registered = Registered::default();
        self.made.clear();
    }

    fn on_reply(&mut self, payload: &[u8], history: &mut History, now: u64) -> Result<(), String> {
        let mut reader = Reader::new(payload);
        let mut header = ReplyHeader::read(&mut reader).map_err(|e| e.to_string())?;
        if header.xid == xid::AUTH && header.zxid == 0 {
            // The one answer that does not say what the server has seen.
            header.zxid = self.last_zxid;
        }
        if header.xid == xid::NOTIFICATION {
            let event = WatcherEvent::read(&mut reader).map_err(|e| e.to_string())?;
            self.registered.heard(event.kind, event.path);
            let (kind, path) = (event.kind, event.path.to_owned());
            history.arrived(self.id, Arrival::Event { kind, path, zxid: header.zxid });
            return Ok(());
        }
        let place = self.doing.front().copied();
        let due = place.map(|p| &history.records[p]).map(|r| codec::answered_xid(&r.op, r.xid));
        client_fifo::check(self.id, &header, due, self.last_zxid)?;
        let Some(place) = self.doing.pop_front() else { return Ok(()) };
        self.last_zxid = header.zxid;
        self.operations += 1;
        let op = history.records[place].op.clone();
        let outcome = codec::outcome(&op, header.err.0, &mut reader)
            .map_err(|e| format!("client {}: a reply to {op:?} that cannot be read: {e}", self.id))?;
        self.learn(&op, &outcome);
        history.returned(place, now, header.zxid, outcome);
        Ok(())
    }

    /// What it remembers of an answer.
    fn learn(&mut self, op: &Op, outcome: &Outcome) {
        match (op, outcome) {
            (Op::CloseSession, Outcome::Done) => self.forget(),
            (Op::Create { flags: 2, .. }, Outcome::Created { path, .. }) => self.made.push(path.clone()),
            _ => self.registered.learn(op, outcome),
        }
    }
}
