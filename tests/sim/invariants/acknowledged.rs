//! Acknowledged: whoever becomes leader holds every write that any client was told of. (Item 8.)
//!
//! Told by zxid: that it is the same txn is `Broadcast`'s and `Agreement`'s.

use super::{Check, Invariant, Seen};
use zkctl::zab::Service;
use zkctl::zxid::Epoch;

/// The last epoch whose leader was looked at.
#[derive(Default)]
pub(super) struct Acknowledged(Epoch);

impl Invariant for Acknowledged {
    fn name(&self) -> &'static str {
        "Acknowledged"
    }

    fn check(&mut self, seen: &Seen<'_>) -> Check {
        let Service::Leading(epoch) = seen.server.service() else { return Ok(()) };
        if epoch <= self.0 {
            return Ok(());
        }
        self.0 = epoch;
        let last = seen.server.tree().last_zxid();
        if last.wire() >= seen.acknowledged {
            return Ok(());
        }
        Err(format!(
            "{} leads epoch {epoch} from {last}; {:#x} was acknowledged",
            seen.sid, seen.acknowledged
        ))
    }
}
