//! Zab by readable scripts: the pure `Zab` of every server, driven by hand, one file per scenario.
//!
//! `script.rs` is the stage and its words, `laws.rs` what holds at every step, `text.rs` how things are
//! written: zxid `2:1` is counter 1 of epoch 2.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![allow(clippy::print_stderr, reason = "a failing script tells its story")]

mod disk;
mod laws;
mod members;
mod script;
mod text;

mod barriers;
mod conversion;
mod crash_accepted_epoch;
mod crash_append;
mod crash_current_epoch;
mod crash_install;
mod crash_new_leader;
mod diff;
mod elections;
mod full_disk;
mod observers;
mod snap;
mod stalled_disk;
mod trunc;
mod unlisted;
