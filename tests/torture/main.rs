//! Real processes, real faults: power cuts, failing and full disks, damaged files; and histories of clients under
//! kills, pauses and a broken network, judged.
//!
//! Needs root, for loop devices and mounts, and strace; fails where these are lacking. As in
//! `tests/processes`, everything waits for a state, and what an aborted run left behind is ended by the
//! next one. Seeds are fixed; the environment asks for other and longer runs.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![allow(clippy::print_stderr, reason = "a long run says how far it is")]
#![allow(dead_code, reason = "helpers shared with tests/processes, of which not all are needed here")]

#[path = "../processes/client.rs"]
mod client;
#[path = "../processes/ensemble.rs"]
mod ensemble;
#[path = "../common/framed.rs"]
mod framed;
#[path = "../history/mod.rs"]
mod history;
#[allow(unreachable_pub, reason = "shared by test programs")]
#[path = "../common/ledger.rs"]
mod ledger;
#[path = "../processes/leftovers.rs"]
mod leftovers;
#[path = "../processes/load.rs"]
mod load;
#[path = "../processes/server.rs"]
mod server;
#[path = "../processes/state.rs"]
mod state;
#[path = "../processes/trees.rs"]
mod trees;

mod aftermath;
mod ballast;
mod flips;
mod images;
mod power_switch;
mod rig;
mod strace;

mod corruption;
mod disk_faults;
mod full_disk;
mod histories;
mod power;
