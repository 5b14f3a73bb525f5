//! What the clients do, mixed in one run: compare-and-set registers, unique ids, a counter, a queue, a lock
//! with ephemerals, watch chains, bank transfers by multi, sessions that move, sync then read.
//!
//! Registers, counters and id directories live for some hundred operations of all clients together (a generation) and
//! are then left, so that each has a history that the black-box search can take in.

use super::recorder::Recorder;
use crate::history::acl::Acl;
use crate::history::{History, Op, Outcome};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use zkctl::prng::Prng;

pub(crate) const ACCOUNTS: u64 = 6;
const BALANCE: i64 = 100;
/// Operations of all clients in one generation.
const GENERATION: u64 = 240;
/// Queue items beyond which nobody adds more.
const QUEUE_MAX: usize = 30;
const REST: Duration = Duration::from_millis(5);
/// The place in line that is asked for and not known yet.
const ASKED: &str = "/w/l/asked";

/// What the clients and their owner share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) over: AtomicBool,
    /// Operations asked for: what generations count.
    asked: AtomicU64,
    pub(crate) answered: AtomicU64,
    pub(crate) moved: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Worker {
    recorder: Recorder,
    prng: Prng,
    shared: Arc<Shared>,
    batch_max: u64,
    /// Versions as last heard.
    versions: BTreeMap<String, i32>,
    balances: BTreeMap<u64, (i64, i32)>,
    queued: Vec<String>,
    /// Its place in the lock's line, and the others'.
    place: Option<String>,
    line: Vec<String>,
    generation: u64,
    next_value: u64,
}

fn create(path: String, data: Vec<u8>, flags: i32) -> Op {
    let with_stat = data.last().is_some_and(|b| b % 2 == 1);
    Op::Create { path, data, flags, acl: Acl::anyone(31), with_stat }
}

pub(crate) fn account(n: u64) -> String {
    format!("/w/b{n}")
}

fn money(balance: i64, nonce: u64) -> Vec<u8> {
    [balance.to_be_bytes(), nonce.to_be_bytes()].concat()
}

/// The balance that an account's data say.
pub(crate) fn balance(data: &[u8]) -> i64 {
    data.first_chunk().map_or(0, |b| i64::from_be_bytes(*b))
}

pub(crate) fn all_accounts() -> Op {
    let read = |n| Op::GetData { path: account(n), watch: false };
    Op::MultiRead((0..ACCOUNTS).map(read).collect())
}

/// Makes what all work on.
pub(crate) fn prepare(recorder: &mut Recorder) {
    let mut ops = vec![create("/w".into(), vec![], 0)];
    ops.extend(["/w/q", "/w/l"].map(|p| create(p.into(), vec![], 0)));
    ops.extend((0..ACCOUNTS).map(|n| create(account(n), money(BALANCE, n), 0)));
    crate::state::until("the first znodes are made", || {
        let places = recorder.exchange(ops.clone(), 0);
        let answered = |place| recorder.answer(place).is_some();
        (!places.is_empty() && places.into_iter().all(answered)).then_some(())
    });
}

impl Worker {
    pub(crate) fn new(recorder: Recorder, prng: Prng, shared: Arc<Shared>, batch_max: u64) -> Worker {
        Worker {
            recorder,
            prng,
            shared,
            batch_max,
            versions: BTreeMap::new(),
            balances: BTreeMap::new(),
            queued: Vec::new(),
            place: None,
            line: Vec::new(),
            generation: 0,
            next_value: 1,
        }
    }

    /// Works until it is over, then closes its session.
    pub(crate) fn work(mut self) -> Recorder {
        while !self.shared.over.load(Ordering::SeqCst) {
            let mut ops = Vec::new();
            let size = self.prng.between(1, self.batch_max + 1);
            while (ops.len() as u64) < size {
                self.draw(&mut ops);
            }
            self.shared.asked.fetch_add(ops.len() as u64, Ordering::SeqCst);
            // Sometimes it goes elsewhere with requests under way.
            let moves = self.prng.chance(1, 150);
            let unread = if moves { self.prng.between(1, 4) as usize } else { 0 };
            self.shared.moved.fetch_add(u64::from(moves), Ordering::SeqCst);
            self.go(ops, unread);
        }
        crate::state::until("a session is closed", || {
            if self.recorder.session() == 0 {
                return Some(());
            }
            self.recorder.exchange(vec![Op::CloseSession], 0);
            None
        });
        self.recorder
    }

    fn go(&mut self, ops: Vec<Op>, unread: usize) {
        let session = self.recorder.session();
        let places = self.recorder.exchange(ops, unread);
        if places.is_empty() {
            thread::sleep(REST);
        }
        let mut answered = 0;
        for place in places {
            let Some(outcome) = self.recorder.answer(place).cloned() else { continue };
            answered += 1;
            let op = self.recorder.history.records[place].op.clone();
            self.learn(&op, &outcome);
        }
        self.shared.answered.fetch_add(answered, Ordering::SeqCst);
        if self.place.as_deref() == Some(ASKED) || self.recorder.session() != session {
            self.place = None;
        }
    }

    fn learn(&mut self, op: &Op, outcome: &Outcome) {
        match (op, outcome) {
            (Op::SetData { path, .. } | Op::Exists { path, .. }, Outcome::Stat(stat)) => {
                self.versions.insert(path.clone(), stat.version);
            }
            (Op::GetData { path, .. }, Outcome::Data { stat, .. }) => {
                self.versions.insert(path.clone(), stat.version);
            }
            (Op::Create { flags: 3, .. }, Outcome::Created { path, .. }) => self.place = Some(path.clone()),
            (Op::Create { flags: 0, path, .. }, Outcome::Created { .. }) => {
                self.versions.insert(path.clone(), 0);
            }
            (Op::GetChildren { path, .. }, Outcome::Children { names, .. }) => {
                let all = names.iter().map(|n| format!("{path}/{n}")).collect();
                *(if path == "/w/q" { &mut self.queued } else { &mut self.line }) = all;
            }
            (Op::MultiRead(_), Outcome::Many(parts)) => {
                for (n, part) in (0..).zip(parts) {
                    if let Outcome::Data { data, stat } = part {
                        self.balances.insert(n, (balance(data), stat.version));
                    }
                }
            }
            (Op::Multi(ops), Outcome::Many(_)) if outcome.error() == 0 => {
                for op in ops {
                    if let Op::SetData { path, data, version } = op {
                        let n = path.trim_start_matches("/w/b").parse().unwrap_or(u64::MAX);
                        self.balances.insert(n, (balance(data), version + 1));
                    }
                }
            }
            _ => {}
        }
    }

    fn value(&mut self) -> Vec<u8> {
        self.next_value += 1;
        (self.recorder.id << 40 | self.next_value).to_be_bytes().to_vec()
    }

    fn draw(&mut self, ops: &mut Vec<Op>) {
        let generation = self.shared.asked.load(Ordering::SeqCst) / GENERATION;
        if generation != self.generation {
            self.generation = generation;
            self.versions.clear();
            ops.push(create(self.ids(), vec![], 0));
            ops.push(create(self.counted(), vec![], 0));
        }
        match self.prng.below(100) {
            0..=29 => self.register(ops),
            30..=41 => {
                let path = self.register_path();
                ops.push(Op::Sync { path: "/".into() });
                ops.push(Op::GetData { path, watch: false });
            }
            42..=46 => {
                let path = self.register_path();
                ops.push(match self.prng.below(2) {
                    0 => Op::GetData { path, watch: true },
                    _ => Op::Exists { path, watch: true },
                });
            }
            47..=56 => {
                let value = self.value();
                ops.push(create(format!("{}/n-", self.ids()), value, 2));
            }
            57..=60 => self.counter(ops),
            61..=70 => self.queue(ops),
            71..=80 => self.lock(ops),
            81..=92 => self.bank(ops),
            _ => self.own(ops),
        }
    }

    fn ids(&self) -> String {
        format!("/w/s{}", self.generation)
    }

    fn counted(&self) -> String {
        format!("/w/c{}", self.generation)
    }

    fn register_path(&mut self) -> String {
        format!("/w/r{}-{}", self.generation, self.prng.below(2))
    }

    fn register(&mut self, ops: &mut Vec<Op>) {
        let path = self.register_path();
        let data = self.value();
        let known = self.versions.get(&path).copied();
        ops.push(match (known, self.prng.below(12)) {
            (None, 0..=7) | (_, 0) => create(path, data, 0),
            (Some(version), 1) => Op::Delete { path, version },
            (Some(version), 2..=9) => {
                // What follows in the batch expects it to be done.
                self.versions.insert(path.clone(), version + 1);
                Op::SetData { path, data, version }
            }
            (_, 10) => Op::SetData { path, data, version: -1 },
            _ => Op::GetData { path, watch: false },
        });
    }

    /// Read, add one, set if nobody was faster.
    fn counter(&mut self, ops: &mut Vec<Op>) {
        let path = self.counted();
        match self.versions.get(&path).copied() {
            Some(version) if self.prng.chance(1, 2) => {
                ops.push(Op::SetData { path, data: i64::from(version + 1).to_be_bytes().to_vec(), version });
            }
            _ => ops.push(Op::GetData { path, watch: false }),
        }
    }

    fn queue(&mut self, ops: &mut Vec<Op>) {
        let full = self.queued.len() > QUEUE_MAX;
        match self.prng.below(6) {
            0 | 1 if !full => {
                let value = self.value();
                ops.push(create("/w/q/i-".into(), value, 2));
            }
            0..=3 if !self.queued.is_empty() => {
                let near = self.queued.len().min(4) as u64;
                let item = self.queued.remove(self.prng.below(near) as usize);
                ops.push(Op::Delete { path: item, version: 0 });
            }
            _ => {
                let (watch, with_stat) = (self.prng.chance(1, 4), self.prng.chance(1, 2));
                ops.push(Op::GetChildren { path: "/w/q".into(), watch, with_stat });
            }
        }
    }

    /// Stands in line, watches the one before it, goes away.
    fn lock(&mut self, ops: &mut Vec<Op>) {
        let Some(mine) = self.place.clone() else {
            let value = self.value();
            ops.push(create("/w/l/x-".into(), value, 3));
            self.place = Some(ASKED.into());
            return;
        };
        match self.prng.below(4) {
            0 if mine != ASKED => {
                self.place = None;
                ops.push(Op::Delete { path: mine, version: -1 });
            }
            1 => {
                let before = self.line.iter().filter(|p| **p < mine).max().cloned();
                let path = before.unwrap_or(mine);
                ops.push(Op::Exists { path, watch: true });
            }
            2 if self.prng.chance(1, 40) => {
                ops.push(Op::AddWatch { path: "/w/l".into(), recursive: self.prng.chance(1, 2) });
            }
            _ => {
                let watch = self.prng.chance(1, 3);
                ops.push(Op::GetChildren { path: "/w/l".into(), watch, with_stat: false });
            }
        }
    }

    fn bank(&mut self, ops: &mut Vec<Op>) {
        let (from, to) = (self.prng.below(ACCOUNTS), self.prng.below(ACCOUNTS));
        let known = self.balances.get(&from).zip(self.balances.get(&to));
        let (Some(((a, va), (b, vb))), true) = (known, from != to && self.prng.chance(2, 3)) else {
            ops.push(all_accounts());
            return;
        };
        let (a, va, b, vb) = (*a, *va, *b, *vb);
        let amount = self.prng.below(10) as i64;
        let nonce = self.recorder.id << 40 | self.next_value;
        self.next_value += 1;
        let set =
            |n, balance, version| Op::SetData { path: account(n), data: money(balance, nonce), version };
        let mut parts = vec![set(from, a - amount, va), set(to, b + amount, vb)];
        if self.prng.chance(1, 4) {
            parts.push(Op::Check { path: self.counted(), version: self.prng.below(3) as i32 - 1 });
        }
        ops.push(Op::Multi(parts));
    }

    /// Ephemerals of its own, which move with the session.
    fn own(&mut self, ops: &mut Vec<Op>) {
        let path = format!("/w/e{}", self.recorder.id);
        ops.push(match self.prng.below(5) {
            0 | 1 => {
                let value = self.value();
                create(path, value, 1)
            }
            2 => Op::Delete { path, version: -1 },
            3 => Op::GetEphemerals { prefix: "/w".into() },
            _ => Op::Exists { path, watch: true },
        });
    }
}

/// What holds without any order: accounts are always read with the same sum, an item leaves a queue once, an
/// id is given once. Returns how many answers were looked at.
///
/// # Errors
/// The first broken promise, by name.
pub(crate) fn check(history: &History) -> Result<u64, String> {
    let mut seen = 0;
    let mut deleted = std::collections::BTreeSet::new();
    let mut given = std::collections::BTreeSet::new();
    for record in &history.records {
        match (&record.op, record.returned.as_ref().map(|back| &back.outcome)) {
            (Op::MultiRead(_), Some(Outcome::Many(parts))) => {
                seen += 1;
                let of =
                    |part: &Outcome| if let Outcome::Data { data, .. } = part { balance(data) } else { 0 };
                let sum: i64 = parts.iter().map(of).sum();
                if sum != BALANCE * ACCOUNTS as i64 {
                    return Err(format!("MoneyIsKept: client {} read {parts:?}", record.client));
                }
            }
            (Op::Delete { path, .. }, Some(Outcome::Done)) if path.starts_with("/w/q/") => {
                seen += 1;
                if !deleted.insert(path) {
                    return Err(format!("TakenOnce: {path} was taken twice from the queue"));
                }
            }
            (Op::Create { flags: 2 | 3, .. }, Some(Outcome::Created { path, .. })) => {
                seen += 1;
                if !given.insert(path) {
                    return Err(format!("UniqueIds: {path} was given twice"));
                }
            }
            _ => {}
        }
    }
    Ok(seen)
}
