//! Writers whose every acknowledged write is remembered: znodes made once and registers counted up.
//!
//! Each writer insists on a batch until all of it is acknowledged, so what the servers hold at a pause is
//! known exactly: nothing less, and nothing more.

use crate::client::{Client, create_body, set_body};
use crate::state::until;
use crate::trees::{Dump, data_of};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use zkctl::wire::errcode::ErrorCode;
use zkctl::wire::opcode::OpCode;

/// Writes that one writer has under way at once.
const PIPELINE: u64 = 8;
/// Znodes under one parent.
const SHARD: u64 = 1000;
/// How often a writer that pauses looks whether it may go on.
const REST: Duration = Duration::from_millis(2);

/// What one writer was told is done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written {
    writer: u64,
    /// Znodes 0 to here.
    znodes: u64,
    /// The last value of its register.
    register: u64,
    /// Connections lost on the way.
    pub(crate) reconnects: u64,
    expired: u64,
}

impl Written {
    /// Acknowledged writes.
    pub(crate) fn count(&self) -> u64 {
        self.znodes + self.register
    }

    /// Whether a tree lacks some of it.
    pub(crate) fn is_missing_in(&self, tree: &Dump) -> bool {
        let lacks = |n| data_of(tree, &znode(self.writer, n)) != Some(value(self.writer, n).as_bytes());
        let found = data_of(tree, &register(self.writer));
        let found: Option<u64> = found.and_then(|b| std::str::from_utf8(b).ok()?.parse().ok());
        found.is_none_or(|found| found < self.register) || (0..self.znodes).any(lacks)
    }

    /// Fails unless a tree holds all of it.
    #[track_caller]
    pub(crate) fn check(&self, tree: &Dump) {
        let writer = self.writer;
        for n in 0..self.znodes {
            let path = znode(writer, n);
            let expected = value(writer, n);
            assert_eq!(data_of(tree, &path), Some(expected.as_bytes()), "{path} was acknowledged");
        }
        let last = self.register.to_string();
        let found = data_of(tree, &register(writer));
        assert_eq!(found, Some(last.as_bytes()), "the register of writer {writer}");
        assert_eq!(self.expired, 0, "the session of writer {writer} expired");
    }
}

fn znode(writer: u64, n: u64) -> String {
    format!("/load/w{writer}/{}/{n}", n / SHARD)
}

fn register(writer: u64) -> String {
    format!("/load/r{writer}")
}

fn value(writer: u64, n: u64) -> String {
    format!("{writer}:{n}")
}

/// What the writers and their owner share.
#[derive(Debug, Default)]
struct Shared {
    acknowledged: AtomicU64,
    over: AtomicBool,
    paused: AtomicBool,
    parked: AtomicU64,
    /// Writes that may be acknowledged before the writers wait for more to be allowed; 0 is any number.
    allowed: AtomicU64,
    written: Mutex<Vec<Written>>,
}

impl Shared {
    fn is_spent(&self) -> bool {
        let allowed = self.allowed.load(Ordering::SeqCst);
        allowed > 0 && self.acknowledged.load(Ordering::SeqCst) >= allowed
    }

    fn park(&self) {
        self.parked.fetch_add(1, Ordering::SeqCst);
        while self.paused.load(Ordering::SeqCst) && !self.over.load(Ordering::SeqCst) {
            thread::sleep(REST);
        }
        self.parked.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Sends a batch until every request of it is acknowledged: made now, or found made by an attempt whose
/// answer was lost. Only this writer makes these znodes, and one session's writes never overtake each
/// other, so the register holds the last value acknowledged.
fn acknowledge(client: &mut Client, batch: &[(OpCode, Vec<u8>)], reconnects: &mut u64) {
    until("a batch of writes is acknowledged", || match client.pipeline(batch) {
        // No quorum had room for some of these: all are tried again.
        Ok(replies) if replies.iter().any(|r| r.err == ErrorCode::OPERATIONTIMEOUT) => None,
        Ok(replies) => {
            for ((op, _), reply) in batch.iter().zip(&replies) {
                let done = reply.err.is_ok() || (*op == OpCode::Create && reply.err == ErrorCode::NODEEXISTS);
                assert!(done, "{}: {}", op.name(), reply.err);
            }
            Some(())
        }
        Err(_) => {
            *reconnects += 1;
            None
        }
    });
}

fn write(writer: u64, servers: &[SocketAddr], shared: &Shared) {
    let mut client = Client::connect(servers, writer as usize);
    let mut written = Written { writer, ..Written::default() };
    client.create(&format!("/load/w{writer}"), b"");
    client.create(&register(writer), b"0");
    while !shared.over.load(Ordering::SeqCst) {
        if shared.paused.load(Ordering::SeqCst) {
            shared.park();
            continue;
        }
        if shared.is_spent() {
            thread::sleep(REST);
            continue;
        }
        if written.znodes.is_multiple_of(SHARD) {
            client.create(&format!("/load/w{writer}/{}", written.znodes / SHARD), b"");
        }
        // A batch ends at its shard's border.
        let end = (written.znodes + PIPELINE - 1).min(written.znodes / SHARD * SHARD + SHARD);
        let make = |n| (OpCode::Create, create_body(&znode(writer, n), value(writer, n).as_bytes()));
        let mut batch: Vec<_> = (written.znodes..end).map(make).collect();
        let next = (written.register + 1).to_string();
        batch.push((OpCode::SetData, set_body(&register(writer), next.as_bytes())));
        acknowledge(&mut client, &batch, &mut written.reconnects);
        written.znodes = end;
        written.register += 1;
        written.expired = client.expired;
        shared.written.lock().unwrap()[writer as usize] = written.clone();
        shared.acknowledged.fetch_add(batch.len() as u64, Ordering::SeqCst);
    }
    client.close();
}

/// Writers at work.
#[derive(Debug)]
pub(crate) struct Writers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Writes beyond those that are waited for.
    slack: u64,
}

impl Writers {
    /// Starts `count` writers, the first servers of which are spread.
    #[track_caller]
    pub(crate) fn start(servers: &[SocketAddr], count: u64) -> Writers {
        Client::connect(servers, 0).create("/load", b"");
        let shared = Arc::new(Shared::default());
        *shared.written.lock().unwrap() =
            (0..count).map(|w| Written { writer: w, ..Written::default() }).collect();
        let begin = |writer| {
            let (servers, shared) = (servers.to_vec(), Arc::clone(&shared));
            thread::spawn(move || write(writer, &servers, &shared))
        };
        let threads = (0..count).map(begin).collect();
        Writers { shared, threads, slack: 0 }
    }

    /// From now on only so many writes are made beyond those that are waited for: a server on a small disk
    /// that takes many snapshots would fill it while another starts.
    pub(crate) fn hold_back(mut self, slack: u64) -> Writers {
        self.slack = slack;
        self.shared.allowed.store(self.acknowledged() + slack, Ordering::SeqCst);
        self
    }

    /// Writes acknowledged so far.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::SeqCst)
    }

    fn assert_alive(&self) {
        assert!(!self.threads.iter().any(JoinHandle::is_finished), "a writer has failed");
    }

    /// Waits until this many more writes are acknowledged.
    #[track_caller]
    pub(crate) fn wait_for(&self, more: u64) {
        let target = self.acknowledged() + more;
        if self.slack > 0 {
            self.shared.allowed.store(target + self.slack, Ordering::SeqCst);
        }
        until("more writes are acknowledged", || {
            self.assert_alive();
            (self.acknowledged() >= target).then_some(())
        });
    }

    /// Waits until every writer has all its writes acknowledged and rests; returns them.
    #[track_caller]
    pub(crate) fn pause(&self) -> Vec<Written> {
        self.shared.paused.store(true, Ordering::SeqCst);
        until("every write under way is acknowledged", || {
            self.assert_alive();
            (self.shared.parked.load(Ordering::SeqCst) == self.threads.len() as u64).then_some(())
        });
        self.shared.written.lock().unwrap().clone()
    }

    /// Ends a pause.
    #[track_caller]
    pub(crate) fn go_on(&self) {
        self.shared.paused.store(false, Ordering::SeqCst);
        until("the writers go on", || (self.shared.parked.load(Ordering::SeqCst) == 0).then_some(()));
    }

    /// Ends the writers; returns what each was told.
    #[track_caller]
    pub(crate) fn end(mut self) -> Vec<Written> {
        self.shared.over.store(true, Ordering::SeqCst);
        for thread in std::mem::take(&mut self.threads) {
            thread.join().unwrap();
        }
        self.shared.written.lock().unwrap().clone()
    }
}

impl Drop for Writers {
    /// Of a test that failed.
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
    }
}
