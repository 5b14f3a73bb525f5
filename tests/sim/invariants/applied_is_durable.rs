//! AppliedIsDurable: what is applied while a server serves is on its own disk. (Item 10, ZOOKEEPER-4882.)

use super::{Check, Invariant, Seen};
use std::collections::BTreeMap;
use zkctl::zab::Service;
use zkctl::zxid::Zxid;

/// Incarnation and last delivered zxid of each server.
#[derive(Default)]
pub(super) struct AppliedIsDurable(BTreeMap<u64, (u64, Zxid)>);

impl Invariant for AppliedIsDurable {
    fn name(&self) -> &'static str {
        "AppliedIsDurable"
    }

    fn check(&mut self, seen: &Seen<'_>) -> Check {
        let zab = seen.server.zab();
        let (delivered, durable) = (zab.delivered(), zab.durable());
        let now = (seen.life, delivered);
        let moved = self.0.insert(seen.sid, now) != Some(now);
        if moved && delivered > durable && seen.server.service() != Service::Down {
            return Err(format!("{} has applied {delivered}, on disk is {durable}", seen.sid));
        }
        Ok(())
    }

    fn forget(&mut self, sid: u64) {
        self.0.remove(&sid);
    }
}
