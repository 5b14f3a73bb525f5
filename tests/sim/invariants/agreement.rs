//! Agreement: behind a zxid the tree and the sessions are the same wherever and whenever it is reached.
//!
//! A zxid is one txn behind one history, so this one comparison of digests is Integrity, Agreement,
//! PrefixConsistency, TotalOrder and the primary orders in one, over restarts and snapshots too.
//! (Items 2 to 7 and 11.)

use super::{Check, Invariant, Seen};
use std::collections::BTreeMap;
use zkctl::server::Server;
use zkctl::zxid::Zxid;

/// The tree's digest and the sessions' behind each zxid, and who got there first.
#[derive(Default)]
pub(super) struct Agreement(BTreeMap<Zxid, ((u64, u64), u64)>);

impl Invariant for Agreement {
    fn name(&self) -> &'static str {
        "Agreement"
    }

    fn check(&mut self, seen: &Seen<'_>) -> Check {
        let zxid = seen.server.tree().last_zxid();
        if zxid == Zxid::ZERO {
            return Ok(());
        }
        let state = (seen.server.tree().digest(), sessions(seen.server));
        let (first, who) = *self.0.entry(zxid).or_insert((state, seen.sid));
        if first == state {
            return Ok(());
        }
        Err(format!("behind {zxid} tree and sessions of {who} are {first:x?}, of {} {state:x?}", seen.sid))
    }
}

/// FNV-1a over the sessions and their timeouts, which no digest holds.
fn sessions(server: &Server) -> u64 {
    let words = server.sessions().iter().flat_map(|(id, timeout_ms)| [id.0 as u64, timeout_ms as u64]);
    words.fold(0xcbf2_9ce4_8422_2325, |sum, word| (sum ^ word).wrapping_mul(0x100_0000_01b3))
}
