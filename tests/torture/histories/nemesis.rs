//! What goes wrong in a run: faults drawn by seed, one after the other, each ended before the next begins.

use super::lan::Lan;
use super::network::Network;
use crate::ensemble::Ensemble;
use crate::leftovers::signal;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;
use zkctl::prng::Prng;

/// Faults by kind.
pub(crate) type Faults = BTreeMap<&'static str, u64>;

/// What is between the servers.
#[derive(Debug)]
pub(crate) enum Field {
    /// This process, byte by byte.
    Doors(Network),
    /// The kernel, packet by packet.
    Hosts(Lan),
}

impl Field {
    fn hold(&self, from: usize, to: usize) {
        match self {
            Field::Doors(network) => network.hold(from, to),
            Field::Hosts(lan) => lan.hold(from, to),
        }
    }

    fn heal(&self) {
        match self {
            Field::Doors(network) => network.heal(),
            Field::Hosts(lan) => lan.heal(),
        }
    }
}

pub(crate) struct Nemesis {
    prng: Prng,
    /// Servers 0 to here vote.
    voters: usize,
    pub(crate) faults: Faults,
}

impl Nemesis {
    pub(crate) fn new(prng: Prng, voters: usize) -> Nemesis {
        Nemesis { prng, voters, faults: Faults::new() }
    }

    fn count(&mut self, kind: &'static str, n: u64) {
        *self.faults.entry(kind).or_default() += n;
    }

    /// How long a fault lasts: longer than a server waits for another in one of three.
    fn last(&mut self) {
        let ms =
            if self.prng.chance(1, 3) { self.prng.between(1500, 3500) } else { self.prng.between(50, 800) };
        thread::sleep(Duration::from_millis(ms));
    }

    fn any(&mut self, ensemble: &Ensemble) -> usize {
        self.prng.below(ensemble.servers.len() as u64) as usize
    }

    /// One fault, from its beginning to its end. Servers that died are started again.
    pub(crate) fn strike(&mut self, ensemble: &mut Ensemble, field: &Field) {
        match (self.prng.below(12), field) {
            (0..=3, _) => self.kill(ensemble),
            (4 | 5, _) => self.pause(ensemble),
            (6, Field::Hosts(_)) => self.cut_clients(ensemble, field),
            (_, Field::Hosts(_)) => self.cut(ensemble, field),
            (_, Field::Doors(network)) if ensemble.servers.len() == 1 => {
                self.disturb_clients(ensemble, network);
            }
            (6, Field::Doors(network)) => self.disturb_clients(ensemble, network),
            (7 | 8, _) => self.cut(ensemble, field),
            (9, Field::Doors(network)) => self.delay(ensemble, network),
            (10, Field::Doors(network)) => self.reset(ensemble, network),
            (_, Field::Doors(network)) => self.cut_at_byte(ensemble, network),
        }
        field.heal();
    }

    /// All clients are cut off from one server, one way.
    fn cut_clients(&mut self, ensemble: &Ensemble, field: &Field) {
        let server = 1 + self.any(ensemble);
        self.count("clients cut one way", 1);
        let (from, to) = if self.prng.chance(1, 2) { (0, server) } else { (server, 0) };
        field.hold(from, to);
        self.last();
    }

    fn kill(&mut self, ensemble: &mut Ensemble) {
        let all = ensemble.servers.len();
        let any = self.any(ensemble);
        let (kind, victims) = match self.prng.below(10) {
            _ if all == 1 => ("kill -9 of all", vec![0]),
            0..=3 => ("kill -9 of one", vec![any]),
            4..=6 => ("kill -9 of the leader", vec![ensemble.leader()]),
            7 | 8 => {
                let first = self.prng.below(self.voters as u64) as usize;
                let majority = self.voters / 2 + 1;
                ("kill -9 of a majority", (first..first + majority).map(|v| v % self.voters).collect())
            }
            _ => ("kill -9 of all", (0..all).collect()),
        };
        self.count(kind, 1);
        for victim in &victims {
            ensemble.servers[*victim].kill();
        }
        if self.prng.chance(1, 2) {
            self.last();
        }
        for victim in &victims {
            ensemble.servers[*victim].start();
        }
    }

    fn pause(&mut self, ensemble: &mut Ensemble) {
        let victim = if self.prng.chance(1, 2) { ensemble.leader_or_alone() } else { self.any(ensemble) };
        self.count("SIGSTOP", 1);
        let pid = ensemble.servers[victim].pid();
        signal(pid, Signal::STOP);
        self.last();
        signal(pid, Signal::CONT);
    }

    /// One server, mostly the leader, is cut off from the others: both ways, one way, or from half of them.
    fn cut(&mut self, ensemble: &Ensemble, field: &Field) {
        let victim = 1 + if self.prng.chance(1, 2) { ensemble.leader() } else { self.any(ensemble) };
        let (kind, out, back) = match self.prng.below(4) {
            0 | 1 => ("cut both ways", true, true),
            2 => ("cut one way, out", true, false),
            _ => ("cut one way, in", false, true),
        };
        self.count(kind, 1);
        let all = self.prng.chance(2, 3);
        for other in 1..=ensemble.servers.len() {
            if other == victim || !(all || other % 2 == 0) {
                continue;
            }
            if out {
                field.hold(victim, other);
            }
            if back {
                field.hold(other, victim);
            }
        }
        self.last();
    }

    /// Every way between servers gets a delay of its own: connections overtake each other.
    fn delay(&mut self, ensemble: &Ensemble, network: &Network) {
        self.count("delays", 1);
        let places = 1..=ensemble.servers.len();
        for (a, b) in places.clone().flat_map(|a| places.clone().map(move |b| (a, b))) {
            let ms = if self.prng.chance(1, 2) { 0 } else { self.prng.below(60) };
            network.delay(a, b, ms);
        }
        self.last();
    }

    fn reset(&mut self, ensemble: &Ensemble, network: &Network) {
        let victim = 1 + self.any(ensemble);
        let resets: u64 = (1..=ensemble.servers.len()).map(|other| network.reset(victim, other)).sum();
        self.count("reset", resets);
    }

    fn cut_at_byte(&mut self, ensemble: &Ensemble, network: &Network) {
        let victim = 1 + if self.prng.chance(1, 2) { ensemble.leader() } else { self.any(ensemble) };
        let before = network.cuts();
        for other in (1..=ensemble.servers.len()).filter(|other| *other != victim) {
            network.cut_after(victim, other, self.prng.below(4000));
            network.cut_after(other, victim, self.prng.below(4000));
        }
        self.last();
        self.count("cut at byte N", network.cuts() - before);
    }

    /// Connections of clients: reset, cut at a byte, held one way.
    fn disturb_clients(&mut self, ensemble: &Ensemble, network: &Network) {
        let server = 1 + self.any(ensemble);
        match self.prng.below(3) {
            0 => {
                let resets = network.reset(0, server);
                self.count("clients reset", resets);
            }
            1 => {
                let before = network.cuts();
                let (a, b) = if self.prng.chance(1, 2) { (0, server) } else { (server, 0) };
                network.cut_after(a, b, self.prng.below(4000));
                self.last();
                self.count("clients cut at byte N", network.cuts() - before);
            }
            _ => {
                self.count("clients held one way", 1);
                network.hold(server, 0);
                self.last();
            }
        }
    }
}

impl Ensemble {
    /// Which server leads, or the only one.
    fn leader_or_alone(&self) -> usize {
        if self.servers.len() == 1 { 0 } else { self.leader() }
    }
}
