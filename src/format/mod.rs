//! Files: txn log records and snapshots, as bytes to typed records and back; their names.
//!
//! Deliberately absent: reading and writing files (`runtime`), when to do so (`storage`), and what a
//! znode is (`tree`).

pub mod files;
pub mod snapshot;
pub mod txn_log;
