//! Acknowledged: whoever becomes leader holds every write that any client was told of. (Item 8.)

use super::{Check, Invariant, Seen, nothing_lost};
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
        nothing_lost::holds_everything(seen.sid, seen.server.tree(), seen.clients)
    }
}
