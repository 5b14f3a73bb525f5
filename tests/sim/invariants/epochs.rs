//! Leadership2: acceptedEpoch and currentEpoch never go down on a server's disk. (Item 1.)

use super::{Check, Invariant, Seen};
use std::collections::BTreeMap;
use zkctl::zxid::Epoch;

/// currentEpoch and acceptedEpoch as each disk had them.
#[derive(Default)]
pub(super) struct Epochs(BTreeMap<u64, (Epoch, Epoch)>);

impl Invariant for Epochs {
    fn name(&self) -> &'static str {
        "Leadership2"
    }

    fn check(&mut self, seen: &Seen<'_>) -> Check {
        let (current, accepted) = seen.server.zab().epochs();
        let (old_current, old_accepted) = self.0.insert(seen.sid, (current, accepted)).unwrap_or_default();
        if current < old_current || accepted < old_accepted {
            let sid = seen.sid;
            return Err(format!("{sid} went from {old_current}/{old_accepted} to {current}/{accepted}"));
        }
        Ok(())
    }

    fn forget(&mut self, sid: u64) {
        self.0.remove(&sid);
    }
}
