//! Real processes on loopback: `zkctl serve` as users run it, and the clients they use.
//!
//! Nothing here waits for a time to pass: everything waits for a state, with a generous deadline.
//! Every process is ended by its id, also when a test fails; what an aborted run left behind is
//! ended by the next one (`leftovers`).

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![allow(clippy::print_stderr, reason = "a failing test tells its story")]

mod client;
mod ensemble;
#[path = "../common/framed.rs"]
mod framed;
#[allow(unreachable_pub, reason = "shared by test programs")]
#[path = "../common/ledger.rs"]
mod ledger;
mod leftovers;
#[allow(dead_code, reason = "tests/torture asks more of the writers")]
mod load;
mod server;
mod state;
mod trees;

mod bench;
mod damage;
mod greedy;
mod joining;
mod kazoo;
mod kills;
mod lagging;
mod refusals;
mod rust_client;
mod sessions;
mod stops;
mod words;
