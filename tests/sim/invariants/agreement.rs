//! Agreement: behind a zxid the tree is the same wherever and whenever it is reached.
//!
//! A zxid is one txn behind one history, so this one comparison of digests is Integrity, Agreement,
//! PrefixConsistency, TotalOrder and the primary orders in one, over restarts and snapshots too.
//! (Items 2 to 7 and 11.)

use super::{Check, Invariant, Seen};
use std::collections::BTreeMap;
use zkctl::zxid::Zxid;

/// The tree's digest behind each zxid, and who got there first.
#[derive(Default)]
pub(super) struct Agreement(BTreeMap<Zxid, (u64, u64)>);

impl Invariant for Agreement {
    fn name(&self) -> &'static str {
        "Agreement"
    }

    fn check(&mut self, seen: &Seen<'_>) -> Check {
        let zxid = seen.server.tree().last_zxid();
        if zxid == Zxid::ZERO {
            return Ok(());
        }
        let digest = seen.server.tree().digest();
        let (first, who) = *self.0.entry(zxid).or_insert((digest, seen.sid));
        if first == digest {
            return Ok(());
        }
        Err(format!("behind {zxid} the tree of {who} is {first:#x}, of {} {digest:#x}", seen.sid))
    }
}
