//! Packets: client requests and replies, txns, quorum packets, votes, four-letter words.
//!
//! Deliberately absent: sockets, state, and any decision.

pub mod acl;
pub mod connect;
pub mod errcode;
pub mod frame;
pub mod opcode;
pub mod quorum;
pub mod reply;
pub mod request;
pub mod txn;
pub mod vote;
pub mod words;
