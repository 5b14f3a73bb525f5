//! kill -9 under load: nothing that was acknowledged is lost, and all servers end with one tree.
//!
//! `SOAK_KILLS`, `SOAK_CLIENTS`, `SOAK_WRITES` (acknowledged writes, at least) and `SOAK_SEED` make it
//! longer or other. A run whose writers did not get through between two kills is void and fails.

use crate::client::{Client, create_body, set_body};
use crate::ensemble::Ensemble;
use crate::state::{setting, until};
use crate::trees::{Dump, assert_equal, data_of};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use zkctl::prng::Prng;
use zkctl::wire::errcode::ErrorCode;
use zkctl::wire::opcode::OpCode;

/// Writes that one client has under way at once.
const PIPELINE: u64 = 8;
/// Znodes under one parent.
const SHARD: u64 = 1000;
/// Acknowledged writes per client between two faults.
const BETWEEN: u64 = 20;

/// What the writers and the killer share.
#[derive(Debug, Default)]
struct Load {
    acknowledged: AtomicU64,
    over: AtomicBool,
}

/// What one writer was told is done.
#[derive(Debug)]
struct Written {
    writer: u64,
    /// Znodes 0 to here.
    znodes: u64,
    /// The last value of its register.
    register: u64,
    reconnects: u64,
    expired: u64,
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

/// Sends a batch until every request of it is acknowledged: made now, or found made by an attempt whose
/// answer was lost. Only this writer makes these znodes, and one session's writes never overtake each
/// other, so the register holds the last value acknowledged.
fn acknowledge(client: &mut Client, batch: &[(OpCode, Vec<u8>)], reconnects: &mut u64) {
    until("a batch of writes is acknowledged", || match client.pipeline(batch) {
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

fn write(writer: u64, servers: &[SocketAddr], load: &Load) -> Written {
    let mut client = Client::connect(servers, writer as usize);
    let mut written = Written { writer, znodes: 0, register: 0, reconnects: 0, expired: 0 };
    client.create(&format!("/load/w{writer}"), b"");
    client.create(&register(writer), b"0");
    while !load.over.load(Ordering::Relaxed) {
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
        load.acknowledged.fetch_add(batch.len() as u64, Ordering::Relaxed);
    }
    written.expired = client.expired;
    client.close();
    written
}

/// Kills and restarts until `kills` processes have died.
struct Killer {
    ensemble: Ensemble,
    prng: Prng,
    load: Arc<Load>,
    between: u64,
    killed: u64,
    longest_wait: Duration,
}

impl Killer {
    fn acknowledged(&self) -> u64 {
        self.load.acknowledged.load(Ordering::Relaxed)
    }

    fn wait_for_writes(&mut self, more: u64) {
        let (from, began) = (self.acknowledged(), Instant::now());
        until("writes are acknowledged between two kills", || {
            (self.acknowledged() >= from + more).then_some(())
        });
        self.longest_wait = self.longest_wait.max(began.elapsed());
    }

    /// Which servers die together: mostly one, sometimes the leader, two or all.
    fn victims(&mut self) -> Vec<usize> {
        let any = self.prng.below(3) as usize;
        match self.prng.below(10) {
            0..=5 => vec![any],
            6 | 7 => vec![self.ensemble.leader()],
            8 => vec![any, (any + 1) % 3],
            _ => vec![0, 1, 2],
        }
    }

    fn strike(&mut self) {
        let victims = self.victims();
        for victim in &victims {
            self.ensemble.servers[*victim].kill();
            self.killed += 1;
        }
        // Half of the time the others go on alone, and the victim comes back behind them.
        if victims.len() == 1 && self.prng.chance(1, 2) {
            self.wait_for_writes(self.between);
        }
        for victim in &victims {
            self.ensemble.servers[*victim].start();
        }
        // Sometimes it dies again at a drawn moment of its start.
        if self.prng.chance(1, 4) {
            thread::sleep(Duration::from_millis(self.prng.below(300)));
            let server = &mut self.ensemble.servers[victims[0]];
            server.kill();
            self.killed += 1;
            server.start();
        }
    }

    fn run(&mut self, kills: u64, writes: u64) {
        while self.killed < kills {
            self.wait_for_writes(self.between);
            self.strike();
        }
        until("every server is back", || self.ensemble.all_serve().then_some(()));
        let (mut seen, mut since) = (self.acknowledged(), Instant::now());
        while self.acknowledged() < writes {
            if self.acknowledged() > seen {
                (seen, since) = (self.acknowledged(), Instant::now());
            }
            assert!(since.elapsed() < crate::state::DEADLINE, "writes go on after the last kill");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn check(written: &Written, tree: &Dump) -> u64 {
    let writer = written.writer;
    for n in 0..written.znodes {
        let path = znode(writer, n);
        assert_eq!(data_of(tree, &path), Some(value(writer, n).as_bytes()), "{path} was acknowledged");
    }
    let last = written.register.to_string();
    assert_eq!(data_of(tree, &register(writer)), Some(last.as_bytes()), "the register of writer {writer}");
    assert_eq!(written.expired, 0, "the session of writer {writer} expired");
    written.znodes + written.register
}

#[test]
fn no_acknowledged_write_is_lost_to_kill_9() {
    let clients = setting("SOAK_CLIENTS", 4);
    let kills = setting("SOAK_KILLS", 10);
    let writes = setting("SOAK_WRITES", 2000);
    let seed = setting("SOAK_SEED", 1);
    let ensemble = Ensemble::three("kills", "");
    let servers = ensemble.addresses();
    Client::connect(&servers, 0).create("/load", b"");
    let load = Arc::new(Load::default());
    let writers: Vec<_> = (0..clients)
        .map(|writer| {
            let (servers, load) = (servers.clone(), Arc::clone(&load));
            thread::spawn(move || write(writer, &servers, &load))
        })
        .collect();
    let between = BETWEEN * clients;
    let mut killer = Killer {
        ensemble,
        prng: Prng::new(seed),
        load: Arc::clone(&load),
        between,
        killed: 0,
        longest_wait: Duration::ZERO,
    };
    killer.run(kills, writes);
    load.over.store(true, Ordering::Relaxed);
    let written: Vec<_> = writers.into_iter().map(|w| w.join().unwrap()).collect();
    let tree = assert_equal(&killer.ensemble);
    let checked: u64 = written.iter().map(|w| check(w, &tree)).sum();
    let reconnects: u64 = written.iter().map(|w| w.reconnects).sum();
    assert_eq!(checked, killer.acknowledged());
    assert!(checked >= writes.max(between * 2), "void: only {checked} writes were acknowledged");
    assert!(reconnects > 0, "void: no writer ever lost its connection");
    eprintln!(
        "{} kills, {checked} acknowledged writes, {reconnects} lost connections: none lost",
        killer.killed
    );
}
