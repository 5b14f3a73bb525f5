//! InitialHistory: whoever has entered an epoch holds the history with which its leader began it.
//!
//! The lemma on which Zab's PrimaryIntegrity stands: whoever enters an epoch first accepts its initial history, and
//! both reach the disk in this order (ZOOKEEPER-4643). A database that is not trusted has lost it and does not vote.

use super::{Check, Invariant, Seen};
use std::collections::BTreeMap;
use zkctl::zab::{Service, Trust};
use zkctl::zxid::{Epoch, Zxid};

/// The end of each epoch's initial history.
#[derive(Default)]
pub(super) struct InitialHistory(BTreeMap<Epoch, Zxid>);

impl Invariant for InitialHistory {
    fn name(&self) -> &'static str {
        "InitialHistory"
    }

    fn check(&mut self, seen: &Seen<'_>) -> Check {
        let zab = seen.server.zab();
        if let Service::Leading(epoch) = seen.server.service()
            && !self.0.contains_key(&epoch)
            && let Some(end) = zab.history().at_or_before(epoch.first_zxid())
        {
            self.0.insert(epoch, end);
        }
        let (current, durable) = (zab.epochs().0, zab.durable());
        let Some(end) = self.0.get(&current).filter(|end| durable < **end) else { return Ok(()) };
        if zab.trust() != Trust::Trusted {
            return Ok(());
        }
        Err(format!(
            "{} has entered epoch {current}, which began with {end}; its disk ends at {durable}",
            seen.sid
        ))
    }
}
