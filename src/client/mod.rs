//! An async ZooKeeper client for the operator half: sessions, basic operations, four-letter words.
//!
//! Requests are pipelined on one connection and answered in order. A lost connection is replaced, the
//! session re-attached, and requests that were in flight fail with `ConnectionLoss`, since nobody knows
//! what became of them. Deliberately absent: watches, auth, chroot, multi.

mod connection;
mod error;
mod packet;
mod session;
mod word;

pub use error::{ClientError, Code};
pub use packet::{CreateMode, Stat};
pub use session::{Client, Options};
pub use word::{WordError, four_letter_word};
