//! Sessions: which exist, who owns them, when they end.
//!
//! `Sessions` is replicated: it changes by txns only. `Expiry` is the leader's, `Touched` a learner's.
//! Deliberately absent: connections (`server`) and the clock.

mod expiry;
mod password;
mod table;

pub use expiry::{Expiry, Touched};
pub use password::{IdSource, PASSWORD_LEN, password, password_matches};
pub use table::Sessions;
