//! Packets: client requests and replies, txns, quorum packets, votes, four-letter words.
//!
//! Deliberately absent: sockets, state, and any decision.

pub mod quorum;
pub mod vote;
