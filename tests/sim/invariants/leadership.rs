//! Leadership1: at most one established leader per epoch. (Item 1.)

use super::{Check, Invariant, Seen};
use std::collections::BTreeMap;
use zkctl::zab::Service;
use zkctl::zxid::Epoch;

/// Who led each epoch.
#[derive(Default)]
pub(super) struct Leadership(BTreeMap<Epoch, u64>);

impl Invariant for Leadership {
    fn name(&self) -> &'static str {
        "Leadership1"
    }

    fn check(&mut self, seen: &Seen<'_>) -> Check {
        let Service::Leading(epoch) = seen.server.service() else { return Ok(()) };
        match *self.0.entry(epoch).or_insert(seen.sid) {
            leader if leader == seen.sid => Ok(()),
            other => Err(format!("{other} and {} both lead epoch {epoch}", seen.sid)),
        }
    }
}
