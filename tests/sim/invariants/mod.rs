//! What must hold, one idea per file, named after the paper's and the TLA+ specification's properties.
//!
//! After every step of a server each of `every_step` looks at it; `client_fifo` looks at every reply;
//! `convergence` and `nothing_lost` judge the healed world and the whole history. A violation begins with
//! the invariant's name.

mod acknowledged;
mod agreement;
mod applied_is_durable;
pub(crate) mod client_fifo;
pub(crate) mod convergence;
mod digests;
mod durable_memory;
mod ephemerals;
mod epochs;
mod initial_history;
mod leadership;
pub(crate) mod no_false_alarm;
pub(crate) mod no_growth;
pub(crate) mod nothing_lost;
mod quorum_durability;
mod sequence;
mod sessions;

use durable_memory::DurableMemory;
use quorum_durability::QuorumDurability;
use sequence::Sequence;
use std::collections::BTreeMap;
use zkctl::server::Server;
use zkctl::zxid::Zxid;

pub(crate) type Check = Result<(), String>;

/// What an invariant is shown: a server that has just moved.
pub(crate) struct Seen<'a> {
    pub(crate) sid: u64,
    /// Its incarnation.
    pub(crate) life: u64,
    pub(crate) server: &'a Server,
    /// Its disk is dropping what lies behind this.
    pub(crate) cutting: Option<Zxid>,
    /// How far a server's history would reach behind a power cut now, by the bytes of its disk; `None` if that
    /// cannot be asked: it is being cut, or was damaged.
    pub(crate) surviving: &'a dyn Fn(u64) -> Option<Zxid>,
    /// Who votes by its own list.
    pub(crate) voters: &'a [u64],
    /// Time since it started, by ours, and its clock's milliseconds in a thousand of ours.
    pub(crate) now: (u64, u64),
    pub(crate) contacts: &'a BTreeMap<i64, Contact>,
    /// The last zxid of a write that any client was told of.
    pub(crate) acknowledged: i64,
}

/// When a leader last heard of a session whose client is connected to itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contact {
    /// Since that server's start.
    pub(crate) at: u64,
    pub(crate) sid: u64,
    pub(crate) life: u64,
    /// What the session was promised, in milliseconds.
    pub(crate) timeout: u64,
}

/// One in so many decisions and deliveries is looked for in the bytes of the disks: reading them back is dear.
const SAMPLE: u64 = 40;

pub(crate) trait Invariant {
    /// What a violation is called.
    fn name(&self) -> &'static str;
    fn check(&mut self, seen: &Seen<'_>) -> Check;
    /// A wiped server has lost its past.
    fn forget(&mut self, _sid: u64) {}
}

/// All invariants of a step.
pub(crate) struct Invariants {
    every_step: Vec<Box<dyn Invariant>>,
    pub(crate) sequence: Sequence,
    memory: DurableMemory,
    quorum: QuorumDurability,
    pub(crate) checks: u64,
}

impl Invariants {
    pub(crate) fn new() -> Invariants {
        let every_step: Vec<Box<dyn Invariant>> = vec![
            Box::<leadership::Leadership>::default(),
            Box::<epochs::Epochs>::default(),
            Box::<agreement::Agreement>::default(),
            Box::<acknowledged::Acknowledged>::default(),
            Box::<applied_is_durable::AppliedIsDurable>::default(),
            Box::<ephemerals::Ephemerals>::default(),
            Box::<digests::Digests>::default(),
            Box::<initial_history::InitialHistory>::default(),
        ];
        Invariants {
            every_step,
            sequence: Sequence::default(),
            memory: DurableMemory::default(),
            quorum: QuorumDurability::default(),
            checks: 0,
        }
    }

    pub(crate) fn after_step(&mut self, seen: &Seen<'_>) -> Check {
        self.checks += 1;
        let kept: [&mut dyn Invariant; 3] = [&mut self.sequence, &mut self.memory, &mut self.quorum];
        for invariant in kept.into_iter().chain(self.every_step.iter_mut().map(|i| &mut **i)) {
            invariant.check(seen).map_err(|what| format!("{}: {what}", invariant.name()))?;
        }
        sessions::check(seen, self.sequence.fresh())
    }

    /// A batch that cuts behind this is on its way to a server's disk, and may be done when its server ends.
    pub(crate) fn cut(&mut self, sid: u64, to: Zxid) {
        self.memory.cut(sid, to);
        self.quorum.cut(sid, to);
    }

    pub(crate) fn forget(&mut self, sid: u64) {
        self.sequence.forget(sid);
        for invariant in &mut self.every_step {
            invariant.forget(sid);
        }
    }
}
