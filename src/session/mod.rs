//! Sessions: which exist, who owns them, when they end; their ids and passwords.
//!
//! `SessionTable` is replicated and changes by txns only. `SessionTracker` is the leader's: deadlines,
//! owners, and what is proposed but not yet decided. `Touches` is a learner's: who gave a sign of life.
//! Deliberately absent: connections, and local sessions.

pub mod password;
mod table;
mod tracker;

pub use table::SessionTable;
pub use tracker::{SessionTracker, Touches};
