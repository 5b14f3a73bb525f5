//! DurableMemory: what a server had on its disk it has when it starts again, or it does not vote. (Item 9.)
//!
//! What it knew of its disk's end is compared with what recovery finds. Only a leader's TRUNC or SNAP may have cut
//! it in between; a disk that lost what was durable makes an untrusted database, never a shorter one.

use super::{Check, Invariant, Seen};
use std::collections::BTreeMap;
use zkctl::zab::Trust;
use zkctl::zxid::Zxid;

/// Incarnation, and how far its disk reached, of each server when it was last seen.
#[derive(Default)]
pub(super) struct DurableMemory(BTreeMap<u64, (u64, Zxid)>);

impl DurableMemory {
    /// A batch that cuts behind this is on its way to its disk.
    pub(super) fn cut(&mut self, sid: u64, to: Zxid) {
        if let Some((_, durable)) = self.0.get_mut(&sid) {
            *durable = to.min(*durable);
        }
    }
}

impl Invariant for DurableMemory {
    fn name(&self) -> &'static str {
        "DurableMemory"
    }

    fn check(&mut self, seen: &Seen<'_>) -> Check {
        let zab = seen.server.zab();
        let reaches = zab.durable().min(zab.history().last());
        let durable = seen.cutting.map_or(reaches, |to| reaches.min(to));
        if let Some((life, before)) = self.0.get(&seen.sid).copied() {
            let forgot = life != seen.life && zab.trust() == Trust::Trusted && durable < before;
            if forgot {
                return Err(format!("{} had {before} on disk, and starts at {durable}", seen.sid));
            }
        }
        self.0.insert(seen.sid, (seen.life, durable));
        Ok(())
    }
}
