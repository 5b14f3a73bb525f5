//! Digests: behind every txn the tree's digest is the one that the leader worked out before it. (Item 11.)

use super::{Check, Invariant, Seen};

#[derive(Default)]
pub(super) struct Digests;

impl Invariant for Digests {
    fn name(&self) -> &'static str {
        "Digests"
    }

    fn check(&mut self, seen: &Seen<'_>) -> Check {
        match seen.server.stats().digest_mismatches {
            0 => Ok(()),
            count => Err(format!("{} has {count} digests that are not the leader's", seen.sid)),
        }
    }
}
