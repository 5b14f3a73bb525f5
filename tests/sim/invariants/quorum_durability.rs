//! QuorumDurability: what a leader decides is on the disks of a majority of the voters. (Item 9.)
//!
//! What each server knows of its disk's end is compared at every step. Of some decisions the disks themselves are
//! read back, as a power cut would leave them: what a server said it has must be there.

use super::{Check, Invariant, SAMPLE, Seen};
use std::collections::BTreeMap;
use zkctl::zab::{Service, Trust};
use zkctl::zxid::Zxid;

#[derive(Default)]
pub(super) struct QuorumDurability {
    /// How far each server's disk reached when it was last seen. One that is stopped keeps it, and one that is wiped
    /// behind its acknowledgement too: that is what a majority is for, and `budget` sees to it.
    durable: BTreeMap<u64, Zxid>,
    /// What each leader had decided when it was last seen.
    decided: BTreeMap<(u64, u64), Zxid>,
    decisions: u64,
}

impl QuorumDurability {
    /// A batch that cuts behind this is on its way to its disk.
    pub(super) fn cut(&mut self, sid: u64, to: Zxid) {
        if let Some(durable) = self.durable.get_mut(&sid) {
            *durable = to.min(*durable);
        }
    }
}

impl Invariant for QuorumDurability {
    fn name(&self) -> &'static str {
        "QuorumDurability"
    }

    fn check(&mut self, seen: &Seen<'_>) -> Check {
        let zab = seen.server.zab();
        // Who has lost what it acknowledged, or was wiped, acknowledges nothing until it is whole again; what it said
        // before may still be on its way.
        if zab.trust() == Trust::Trusted {
            let durable = seen.cutting.map_or(zab.durable(), |to| zab.durable().min(to));
            self.durable.insert(seen.sid, durable);
        }
        let Service::Leading(epoch) = seen.server.service() else { return Ok(()) };
        let committed = zab.committed();
        if self.decided.insert((seen.sid, seen.life), committed) == Some(committed) {
            return Ok(());
        }
        let holds = |voter: &&u64| self.durable.get(voter).is_some_and(|d| *d >= committed);
        if seen.voters.iter().filter(holds).count() * 2 > seen.voters.len() {
            self.decisions += 1;
            let sampled = seen.voters.iter().filter(holds).filter(|_| self.decisions % SAMPLE == 1);
            for (voter, end) in sampled.filter_map(|voter| (seen.surviving)(*voter).map(|end| (voter, end))) {
                if end < committed {
                    return Err(format!(
                        "{committed} is decided; {voter}'s disk, which held it, ends at {end}"
                    ));
                }
            }
            return Ok(());
        }
        let disks = &self.durable;
        Err(format!("{} leads epoch {epoch} and has decided {committed}; disks reach {disks:?}", seen.sid))
    }
}
