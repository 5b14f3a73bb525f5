//! The targets: for each, what it does with bytes, and valid bytes to begin with. `fuzz/` includes this
//! module too.

#![allow(dead_code, reason = "each of the two users needs a part; the simulator's disk can more")]

#[path = "../../sim/disk.rs"]
mod disk;
#[path = "../../common/settings.rs"]
mod settings;

mod database;
mod draw;
mod stage;

pub(crate) mod client_stream;
pub(crate) mod dynamic_config;
pub(crate) mod election_stream;
pub(crate) mod inventory;
pub(crate) mod jute;
pub(crate) mod leader_stream;
pub(crate) mod learner_stream;
pub(crate) mod log_file;
pub(crate) mod operator_client;
pub(crate) mod paths_and_acls;
pub(crate) mod peer_messages;
pub(crate) mod recovery;
pub(crate) mod replies;
pub(crate) mod requests;
pub(crate) mod snapshot_file;
pub(crate) mod txns;
pub(crate) mod votes;
pub(crate) mod words;
pub(crate) mod zoo_cfg;

use zkctl::prng::Prng;

/// What is fuzzed.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// Panics when something is wrong.
    pub(crate) run: fn(&[u8]),
    /// A valid input.
    pub(crate) sample: fn(&mut Prng) -> Vec<u8>,
    /// Memory that an input may take at once: for each of its bytes, and in any case.
    pub(crate) memory: (usize, usize),
    /// Executions in the default tests.
    pub(crate) runs: u64,
}
