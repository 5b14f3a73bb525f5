//! What must hold after every step, named after the paper's and the TLA+ specification's properties.

use std::collections::BTreeMap;
use zkctl::server::Server;
use zkctl::zab::Service;
use zkctl::zxid::{Epoch, Zxid};

/// What has been seen so far.
#[derive(Debug, Default)]
pub(crate) struct Invariants {
    /// The tree's digest behind each zxid, by whoever got there first.
    digests: BTreeMap<Zxid, (u64, u64)>,
    /// Who led each epoch.
    leaders: BTreeMap<Epoch, u64>,
    /// Epochs as each server's disk had them.
    epochs: BTreeMap<u64, (Epoch, Epoch)>,
    last: BTreeMap<u64, (u64, Zxid)>,
    pub(crate) checks: u64,
}

impl Invariants {
    pub(crate) fn after_step(&mut self, sid: u64, life: u64, server: &Server) -> Result<(), String> {
        self.checks += 1;
        self.leadership(sid, server)?;
        self.agreement(sid, server)?;
        self.applied_is_durable(sid, life, server)?;
        self.epochs_only_grow(sid, server)?;
        self.ephemerals_have_owners(sid, server)
    }

    /// Leadership1: at most one established leader per epoch.
    fn leadership(&mut self, sid: u64, server: &Server) -> Result<(), String> {
        let Service::Leading(epoch) = server.service() else { return Ok(()) };
        match *self.leaders.entry(epoch).or_insert(sid) {
            leader if leader == sid => Ok(()),
            other => Err(format!("Leadership1: {other} and {sid} both lead epoch {epoch}")),
        }
    }

    /// Integrity, Agreement, TotalOrder, PrefixConsistency in one: a zxid is one txn behind one
    /// history, so the tree's digest behind it is the same wherever and whenever it is reached.
    fn agreement(&mut self, sid: u64, server: &Server) -> Result<(), String> {
        let zxid = server.tree().last_zxid();
        if zxid == Zxid::ZERO {
            return Ok(());
        }
        let digest = server.tree().digest();
        let (first, who) = *self.digests.entry(zxid).or_insert((digest, sid));
        if first == digest {
            return Ok(());
        }
        Err(format!("Agreement: behind {zxid} the tree of {who} is {first:#x}, of {sid} {digest:#x}"))
    }

    /// What is applied while a server lives is on its own disk.
    fn applied_is_durable(&mut self, sid: u64, life: u64, server: &Server) -> Result<(), String> {
        let (delivered, durable) = (server.zab().delivered(), server.zab().durable());
        let before = self.last.insert(sid, (life, delivered));
        let moved = before != Some((life, delivered));
        if moved && delivered > durable && server.service() != Service::Down {
            return Err(format!("Durability: {sid} has applied {delivered}, on disk is {durable}"));
        }
        Ok(())
    }

    fn epochs_only_grow(&mut self, sid: u64, server: &Server) -> Result<(), String> {
        let (current, accepted) = server.zab().epochs();
        let (old_current, old_accepted) = self.epochs.insert(sid, (current, accepted)).unwrap_or_default();
        if current < old_current || accepted < old_accepted {
            return Err(format!(
                "Epochs: {sid} went from {old_current}/{old_accepted} to {current}/{accepted}"
            ));
        }
        Ok(())
    }

    /// Every ephemeral's owner is a live session.
    fn ephemerals_have_owners(&self, sid: u64, server: &Server) -> Result<(), String> {
        match server.tree().owning_sessions().find(|s| !server.sessions().contains(*s)) {
            None => Ok(()),
            Some(session) => Err(format!("Ephemerals: {sid} has some of {session}, which is no session")),
        }
    }

    /// A wiped server has lost its past.
    pub(crate) fn forget(&mut self, sid: u64) {
        self.epochs.remove(&sid);
        self.last.remove(&sid);
    }
}
