//! The sequence: Integrity, PrefixConsistency, TotalOrder, LocalPrimaryOrder, GlobalPrimaryOrder and
//! PrimaryIntegrity, over the very bytes that are proposed and delivered. (Items 2 to 7.)
//!
//! Every proposal is first seen at the primary that broadcasts it, and is the same bytes wherever it is seen
//! again. Whoever delivers a txn has delivered the same one before it; a snapshot instead of txns is left to
//! `Agreement`. The oracle keeps the sequence for the judgement of the clients' history.

use super::{Check, Invariant, Seen};
use crate::history::Witness;
use std::collections::BTreeMap;
use zkctl::zab::{Proposal, Service};
use zkctl::zxid::{Epoch, Zxid};

struct Known {
    bytes: Vec<u8>,
    /// What stood before it at its primary.
    before: Zxid,
}

#[derive(Clone, Copy, Default)]
struct Cursor {
    life: u64,
    accepted: Zxid,
    delivered: Zxid,
    /// What it led before this step, in which its reign may have ended behind a proposal.
    led: Option<Epoch>,
}

#[derive(Default)]
pub(crate) struct Sequence {
    known: BTreeMap<Zxid, Known>,
    cursors: BTreeMap<u64, Cursor>,
    newest: Zxid,
    /// The last that anybody delivered of each epoch.
    delivered: BTreeMap<Epoch, Zxid>,
    /// What was first seen in the last step.
    fresh: Vec<Witness>,
}

impl Sequence {
    /// The sequence that ends with the last delivered txn. What was proposed and lost its way is not in it.
    pub(crate) fn witnesses(&self) -> Vec<Witness> {
        let chain = std::iter::successors(self.known.get(&self.newest), |k| self.known.get(&k.before));
        let mut witnesses: Vec<_> = chain.map(|k| witness(&k.bytes)).collect();
        witnesses.reverse();
        witnesses
    }

    /// What the last step's primary broadcast.
    pub(super) fn fresh(&self) -> &[Witness] {
        &self.fresh
    }

    fn propose(&mut self, seen: &Seen<'_>, before: Zxid, proposal: &Proposal) -> Check {
        let (zxid, sid) = (proposal.zxid, seen.sid);
        if let Some(known) = self.known.get(&zxid) {
            if known.bytes == proposal.bytes {
                return Ok(());
            }
            return Err(format!("Integrity: {zxid} at {sid} is not what its primary broadcast"));
        }
        let led = self.cursors.get(&seen.sid).filter(|c| c.life == seen.life).and_then(|c| c.led);
        if ![seen.server.zab().reign(), led].contains(&Some(zxid.epoch())) {
            return Err(format!("Integrity: {sid} has {zxid}, which no primary broadcast"));
        }
        // An old primary that does not know of its end may go on; what it owes are the epochs before its own.
        let owed = self.delivered.range(..zxid.epoch()).next_back().map_or(Zxid::ZERO, |(_, last)| *last);
        if before < owed {
            return Err(format!(
                "PrimaryIntegrity: {sid} broadcasts {zxid} behind {before}, delivered is {owed}"
            ));
        }
        if zxid.epoch() == before.epoch() && zxid.counter() != before.counter() + 1 {
            return Err(format!("LocalPrimaryOrder: {sid} broadcasts {zxid} behind {before}"));
        }
        self.fresh.push(witness(&proposal.bytes));
        self.known.insert(zxid, Known { bytes: proposal.bytes.to_vec(), before });
        Ok(())
    }

    fn deliver(&mut self, sid: u64, before: Zxid, zxid: Zxid) -> Check {
        self.newest = self.newest.max(zxid);
        let last = self.delivered.entry(zxid.epoch()).or_default();
        *last = zxid.max(*last);
        if zxid.epoch() < before.epoch() {
            return Err(format!("GlobalPrimaryOrder: {sid} delivers {zxid} behind {before}"));
        }
        let Some(known) = self.known.get(&zxid) else {
            return Err(format!("Integrity: {sid} delivers {zxid}, which nobody broadcast"));
        };
        if known.before != before {
            return Err(format!(
                "TotalOrder: {sid} delivers {zxid} behind {before}, due behind {}",
                known.before
            ));
        }
        let gap = zxid.epoch() == before.epoch() && zxid.counter() != before.counter() + 1;
        if gap { Err(format!("LocalPrimaryOrder: {sid} delivers {zxid} behind {before}")) } else { Ok(()) }
    }
}

impl Invariant for Sequence {
    fn name(&self) -> &'static str {
        "Broadcast"
    }

    fn check(&mut self, seen: &Seen<'_>) -> Check {
        self.fresh.clear();
        let history = seen.server.zab().history();
        let mut cursor = self.cursors.get(&seen.sid).copied().unwrap_or_default();
        if cursor.life != seen.life {
            // What recovery read is compared from its window's beginning; what it applied stays to Agreement.
            let (accepted, delivered) = (history.base(), history.delivered());
            cursor = Cursor { life: seen.life, accepted, delivered, led: None };
        }
        if history.last() != cursor.accepted {
            let mut before = cursor.accepted.min(history.last()).max(history.base());
            if history.at_or_before(before) != Some(before) {
                before = history.base();
            }
            for proposal in history.behind(before) {
                self.propose(seen, before, proposal)?;
                before = proposal.zxid;
            }
            cursor.accepted = history.last();
        }
        if history.delivered() != cursor.delivered {
            let mut before = cursor.delivered;
            // What a SNAP or TRUNC jumped over, or memory dropped, cannot be counted.
            if before < history.base() || before > history.delivered() {
                before = history.base();
            }
            for proposal in history.behind(before).take_while(|p| p.zxid <= history.delivered()) {
                self.deliver(seen.sid, before, proposal.zxid)?;
                before = proposal.zxid;
            }
            cursor.delivered = history.delivered();
        }
        // What recovery brought back and a server serves is decided, be anything delivered behind it or not.
        let serves = seen.server.service() != Service::Down;
        if serves && cursor.delivered > self.newest && self.known.contains_key(&cursor.delivered) {
            self.newest = cursor.delivered;
        }
        cursor.led = seen.server.zab().reign();
        self.cursors.insert(seen.sid, cursor);
        Ok(())
    }

    fn forget(&mut self, sid: u64) {
        self.cursors.remove(&sid);
    }
}

fn witness(bytes: &[u8]) -> Witness {
    Witness::of(bytes).expect("what was proposed can be read")
}
