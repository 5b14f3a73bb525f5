//! What must hold, one idea per file, named after the paper's and the TLA+ specification's properties.
//!
//! After every step of a server each of `every_step` looks at it; clients check what they are owed with
//! `client_fifo` and `own_writes`; `nothing_lost` and `convergence` judge the healed world. A violation
//! begins with the invariant's name.

mod acknowledged;
mod agreement;
mod applied_is_durable;
pub(crate) mod client_fifo;
pub(crate) mod convergence;
mod ephemerals;
mod epochs;
mod leadership;
pub(crate) mod nothing_lost;
pub(crate) mod own_writes;
mod quorum_durability;

use crate::client::SimClient;
use std::collections::BTreeMap;
use zkctl::server::Server;

pub(crate) type Check = Result<(), String>;

/// What an invariant is shown: a server that has just moved.
pub(crate) struct Seen<'a> {
    pub(crate) sid: u64,
    /// Its incarnation.
    pub(crate) life: u64,
    pub(crate) server: &'a Server,
    /// How many voters there are by the ensemble's list, and whether this is one.
    pub(crate) voters: u64,
    pub(crate) votes: bool,
    pub(crate) clients: &'a BTreeMap<u64, SimClient>,
}

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
    pub(crate) checks: u64,
}

impl Invariants {
    pub(crate) fn new() -> Invariants {
        let every_step: Vec<Box<dyn Invariant>> = vec![
            Box::<leadership::Leadership>::default(),
            Box::<epochs::Epochs>::default(),
            Box::<agreement::Agreement>::default(),
            Box::<acknowledged::Acknowledged>::default(),
            Box::<quorum_durability::QuorumDurability>::default(),
            Box::<applied_is_durable::AppliedIsDurable>::default(),
            Box::<ephemerals::Ephemerals>::default(),
        ];
        Invariants { every_step, checks: 0 }
    }

    pub(crate) fn after_step(&mut self, seen: &Seen<'_>) -> Check {
        self.checks += 1;
        for invariant in &mut self.every_step {
            invariant.check(seen).map_err(|what| format!("{}: {what}", invariant.name()))?;
        }
        Ok(())
    }

    pub(crate) fn forget(&mut self, sid: u64) {
        for invariant in &mut self.every_step {
            invariant.forget(sid);
        }
    }
}
