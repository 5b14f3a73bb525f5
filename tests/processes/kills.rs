//! kill -9 under load: nothing that was acknowledged is lost, and all servers end with one tree.
//!
//! `SOAK_KILLS`, `SOAK_CLIENTS`, `SOAK_WRITES` (acknowledged writes, at least) and `SOAK_SEED` make it
//! longer or other. A run whose writers did not get through between two kills is void and fails.

use crate::ensemble::Ensemble;
use crate::ledger;
use crate::load::Writers;
use crate::state::{setting, until};
use crate::trees::assert_equal;
use std::thread;
use std::time::{Duration, Instant};
use zkctl::prng::Prng;

/// Acknowledged writes per client between two faults.
const BETWEEN: u64 = 20;

/// Kills and restarts until `kills` processes have died.
struct Killer {
    ensemble: Ensemble,
    prng: Prng,
    writers: Writers,
    between: u64,
    killed: u64,
    longest_wait: Duration,
}

impl Killer {
    fn wait_for_writes(&mut self, more: u64) {
        let began = Instant::now();
        self.writers.wait_for(more);
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
        let (mut seen, mut since) = (self.writers.acknowledged(), Instant::now());
        while self.writers.acknowledged() < writes {
            if self.writers.acknowledged() > seen {
                (seen, since) = (self.writers.acknowledged(), Instant::now());
            }
            assert!(since.elapsed() < crate::state::DEADLINE, "writes go on after the last kill");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn no_acknowledged_write_is_lost_to_kill_9() {
    let clients = setting("SOAK_CLIENTS", 4);
    let kills = setting("SOAK_KILLS", 10);
    let writes = setting("SOAK_WRITES", 2000);
    let seed = setting("SOAK_SEED", 1);
    let ensemble = Ensemble::three("kills", "");
    let writers = Writers::start(&ensemble.addresses(), clients);
    let between = BETWEEN * clients;
    let prng = Prng::new(seed);
    let mut killer = Killer { ensemble, prng, writers, between, killed: 0, longest_wait: Duration::ZERO };
    killer.run(kills, writes);
    let Killer { ensemble, writers, killed, .. } = killer;
    let acknowledged = writers.acknowledged();
    let written = writers.end();
    let tree = assert_equal(&ensemble);
    written.iter().for_each(|w| w.check(&tree));
    let checked: u64 = written.iter().map(|w| w.count()).sum();
    let reconnects: u64 = written.iter().map(|w| w.reconnects).sum();
    assert!(checked >= acknowledged);
    assert!(checked >= writes.max(between * 2), "void: only {checked} writes were acknowledged");
    assert!(reconnects > 0, "void: no writer ever lost its connection");
    ledger::record(
        "kills",
        "",
        [("kills", killed), ("fault: kill -9", killed), ("writes", checked), ("lost", 0)],
    );
    eprintln!("{killed} kills, {checked} acknowledged writes, {reconnects} lost connections: none lost");
}
