//! Requests to txns, txns to replies, and reads.
//!
//! A write is prepared on the leader against tree and proposed changes (`prepare`, `pending`), applied by
//! `tree::Tree::apply` everywhere, and answered where its client is (`reply`). A read goes straight from
//! the tree into the connection's buffer (`read`). Deliberately absent: order and batching of requests,
//! and which session may wait for what (`server`).

mod pending;
pub mod prepare;
pub mod read;
pub mod reply;

pub use prepare::{Prepare, WriteRequest};
pub use read::{ReadRequest, Reads};
pub use reply::{After, answer};

#[cfg(test)]
mod tests;
