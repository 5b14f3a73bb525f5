//! A disk as Zab sees it: epoch files, a snapshot, a log, and whether all that may be voted with.

use zkctl::zab::{Proposal, Recovered, Trust};
use zkctl::zxid::{Epoch, Zxid};

/// A disk operation under way.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Append(Proposal),
    AcceptedEpoch(Epoch),
    CurrentEpoch(Epoch),
    Truncate { to: Zxid, reload: bool },
    Install { zxid: Zxid, tree: Vec<Proposal>, untrusted: bool },
    Initialise,
    Trust,
}

/// What survives a power cut.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    pub(crate) accepted_epoch: Epoch,
    pub(crate) current_epoch: Epoch,
    pub(crate) trust: Trust,
    /// The snapshot's tree, as the txns that made it.
    pub(crate) snapshot: Vec<Proposal>,
    log: Vec<Proposal>,
}

impl Disk {
    /// Nothing at all.
    pub(crate) fn empty() -> Disk {
        Disk {
            accepted_epoch: Epoch(0),
            current_epoch: Epoch(0),
            trust: Trust::New,
            snapshot: Vec::new(),
            log: Vec::new(),
        }
    }

    /// An empty database that is as it should be.
    pub(crate) fn initialised() -> Disk {
        Disk { trust: Trust::Trusted, ..Disk::empty() }
    }

    /// A database with a past.
    pub(crate) fn holding(epoch: Epoch, log: Vec<Proposal>) -> Disk {
        Disk { accepted_epoch: epoch, current_epoch: epoch, log, ..Disk::initialised() }
    }

    pub(crate) fn everything(&self) -> Vec<Proposal> {
        [self.snapshot.clone(), self.log.clone()].concat()
    }

    pub(crate) fn has(&self, zxid: Zxid) -> bool {
        self.snapshot.iter().chain(&self.log).any(|p| p.zxid == zxid)
    }

    pub(crate) fn recovered(&self) -> Recovered {
        Recovered {
            accepted_epoch: self.accepted_epoch,
            current_epoch: self.current_epoch,
            last: self.everything().last().map_or(Zxid::ZERO, |p| p.zxid),
            window: self.log.clone(),
            trust: self.trust,
        }
    }

    /// The operation is complete.
    pub(crate) fn perform(&mut self, write: Write) {
        match write {
            Write::Append(p) => self.log.push(p),
            Write::AcceptedEpoch(epoch) => self.accepted_epoch = epoch,
            Write::CurrentEpoch(epoch) => self.current_epoch = epoch,
            // Nothing leads up to a point in front of the snapshot.
            Write::Truncate { to, reload: true } if self.snapshot.last().is_some_and(|p| p.zxid > to) => {}
            Write::Truncate { to, reload } => {
                let holds = to == Zxid::ZERO || self.has(to);
                assert!(holds || reload, "memory is cut at {to}, which the disk does not hold");
                if holds {
                    self.log.retain(|p| p.zxid <= to);
                }
            }
            Write::Install { tree, untrusted, .. } => {
                self.snapshot = tree;
                self.log.clear();
                if untrusted {
                    self.trust = Trust::Lost;
                }
            }
            Write::Initialise | Write::Trust => self.trust = Trust::Trusted,
        }
    }
}
