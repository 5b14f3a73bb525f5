//! AppliedIsDurable: what is applied while a server serves is on its own disk. (Item 10, ZOOKEEPER-4882.)

use super::{Check, Invariant, SAMPLE, Seen};
use std::collections::BTreeMap;
use zkctl::zab::Service;
use zkctl::zxid::Zxid;

/// Incarnation and last delivered zxid of each server.
#[derive(Default)]
pub(super) struct AppliedIsDurable {
    seen: BTreeMap<u64, (u64, Zxid)>,
    moves: u64,
}

impl Invariant for AppliedIsDurable {
    fn name(&self) -> &'static str {
        "AppliedIsDurable"
    }

    fn check(&mut self, seen: &Seen<'_>) -> Check {
        let zab = seen.server.zab();
        let (delivered, durable) = (zab.delivered(), zab.durable());
        let now = (seen.life, delivered);
        let moved = self.seen.insert(seen.sid, now) != Some(now);
        if moved && delivered > durable && seen.server.service() != Service::Down {
            return Err(format!("{} has applied {delivered}, on disk is {durable}", seen.sid));
        }
        self.moves += u64::from(moved);
        if moved && self.moves % SAMPLE == 1 && seen.server.service() != Service::Down {
            let end = (seen.surviving)(seen.sid);
            if let Some(end) = end.filter(|end| *end < delivered) {
                return Err(format!("{} has applied {delivered}, its disk ends at {end}", seen.sid));
            }
        }
        Ok(())
    }

    fn forget(&mut self, sid: u64) {
        self.seen.remove(&sid);
    }
}
