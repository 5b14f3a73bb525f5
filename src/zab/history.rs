//! The accepted sequence: its end in memory, and how far it has been delivered.
//!
//! The bytes of the whole sequence are the txn log's; this is the suffix that DIFF is served from.
//! Relations, asserted: `base < window < last`, zxids grow, and within an epoch counters have no
//! gap (ZOOKEEPER-4925).

use crate::limits;
use crate::zxid::Zxid;
use bytes::Bytes;
use std::collections::VecDeque;

/// A txn as it is logged, sent and delivered: the same bytes everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Its zxid, as in the header inside `bytes`.
    pub zxid: Zxid,
    /// TxnHeader, txn and, when there, TxnDigest.
    pub bytes: Bytes,
}

/// Why a proposal cannot follow what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last accepted zxid.
    pub after: Zxid,
    /// The one that does not follow.
    pub got: Zxid,
}

/// The accepted sequence's end.
#[derive(Clone, Debug)]
pub struct History {
    window: VecDeque<Proposal>,
    window_bytes: usize,
    /// What DIFF may keep in memory of what is delivered: proposals, and their bytes.
    window_max: (usize, usize),
    base: Zxid,
    last: Zxid,
    delivered: Zxid,
}

impl History {
    /// What recovery found: everything up to `last` is applied; `window` ends at `last`.
    pub fn recovered(last: Zxid, window: Vec<Proposal>) -> History {
        if let Some(end) = window.last() {
            assert_eq!(end.zxid, last, "the window must end at the last zxid");
        }
        // Without the txn before the window its zxid is unknown: the window's first is the base.
        let mut window: VecDeque<_> = window.into();
        let base = window.pop_front().map_or(last, |p| p.zxid);
        let window_bytes = window.iter().map(|p| p.bytes.len()).sum();
        let window_max = (limits::COMMITTED_WINDOW_TXNS, limits::COMMITTED_WINDOW_BYTES);
        History { window, window_bytes, window_max, base, last, delivered: last }
    }

    /// The same that keeps so many delivered proposals, and so many bytes of them.
    #[must_use]
    pub fn with_window(mut self, window_max: (usize, usize)) -> History {
        self.window_max = window_max;
        self.shrink();
        self
    }

    /// The last accepted zxid.
    pub fn last(&self) -> Zxid {
        self.last
    }

    /// The last delivered zxid.
    pub fn delivered(&self) -> Zxid {
        self.delivered
    }

    /// Everything behind this zxid is in memory.
    pub fn base(&self) -> Zxid {
        self.base
    }

    /// Whether `next` may follow `after`: the next counter of its epoch, or the first of a later one.
    pub fn follows(after: Zxid, next: Zxid) -> bool {
        if next.epoch() == after.epoch() {
            after.successor() == Some(next)
        } else {
            next.epoch() > after.epoch() && next.counter() == 1
        }
    }

    /// Accepts the next proposal, or says why it is not the next. The very last one again is
    /// tolerated and answered with `Ok(false)`.
    pub fn accept(&mut self, proposal: Proposal) -> Result<bool, Gap> {
        if proposal.zxid == self.last {
            return Ok(false);
        }
        if !Self::follows(self.last, proposal.zxid) {
            return Err(Gap { after: self.last, got: proposal.zxid });
        }
        self.last = proposal.zxid;
        self.window_bytes += proposal.bytes.len();
        self.window.push_back(proposal);
        Ok(true)
    }

    /// The proposals behind `after`, in order. `after` must not be below `base`.
    pub fn behind(&self, after: Zxid) -> impl Iterator<Item = &Proposal> {
        assert!(after >= self.base, "{after} is no longer in memory (base {})", self.base);
        let from = self.window.partition_point(|p| p.zxid <= after);
        self.window.range(from..)
    }

    /// The largest zxid in memory that is not above `zxid`; `None` below `base`.
    pub fn at_or_before(&self, zxid: Zxid) -> Option<Zxid> {
        if zxid < self.base {
            return None;
        }
        match self.window.partition_point(|p| p.zxid <= zxid) {
            0 => Some(self.base),
            n => Some(self.window[n - 1].zxid),
        }
    }

    /// Takes the proposals up to `upto` that were not delivered yet, and counts them as delivered.
    pub fn deliver(&mut self, upto: Zxid) -> Vec<Proposal> {
        assert!(upto <= self.last, "delivering {upto} beyond the accepted {}", self.last);
        if upto <= self.delivered {
            return Vec::new();
        }
        let from = self.window.partition_point(|p| p.zxid <= self.delivered);
        let to = self.window.partition_point(|p| p.zxid <= upto);
        let out: Vec<_> = self.window.range(from..to).cloned().collect();
        if let Some(end) = out.last() {
            self.delivered = end.zxid;
        }
        self.shrink();
        out
    }

    /// Drops delivered proposals beyond what memory is given to DIFF.
    fn shrink(&mut self) {
        while let Some(first) = self.window.front() {
            let (txns, bytes) = self.window_max;
            let over = self.window.len() > txns || self.window_bytes > bytes;
            if !over || first.zxid > self.delivered {
                break;
            }
            self.base = first.zxid;
            self.window_bytes -= first.bytes.len();
            self.window.pop_front();
        }
    }

    /// Forgets everything behind `to`. False when the tree is ahead of it and must be loaded again.
    pub fn truncate(&mut self, to: Zxid) -> bool {
        if to < self.delivered || to < self.base {
            return false;
        }
        while self.window.back().is_some_and(|p| p.zxid > to) {
            if let Some(dropped) = self.window.pop_back() {
                self.window_bytes -= dropped.bytes.len();
            }
        }
        self.last = self.window.back().map_or(self.base, |p| p.zxid);
        assert!(self.delivered <= self.last);
        true
    }

    /// A snapshot replaced everything.
    pub fn restart_at(&mut self, zxid: Zxid) {
        *self = History::recovered(zxid, Vec::new()).with_window(self.window_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zxid::Epoch;

    pub(super) fn p(epoch: u32, counter: u32) -> Proposal {
        Proposal { zxid: Zxid::new(Epoch(epoch), counter), bytes: Bytes::from_static(b"x") }
    }

    #[test]
    fn a_gap_is_refused_and_a_new_epoch_begins_at_one() {
        let mut h = History::recovered(Zxid::ZERO, Vec::new());
        assert_eq!(h.accept(p(1, 1)), Ok(true));
        assert_eq!(h.accept(p(1, 2)), Ok(true));
        assert_eq!(h.accept(p(1, 2)), Ok(false));
        assert!(h.accept(p(1, 4)).is_err());
        assert!(h.accept(p(2, 2)).is_err());
        assert_eq!(h.accept(p(2, 1)), Ok(true));
        assert!(h.accept(p(1, 3)).is_err());
    }

    #[test]
    fn delivery_is_in_order_and_once() {
        let mut h = History::recovered(Zxid::ZERO, Vec::new());
        for c in 1..=4 {
            h.accept(p(1, c)).unwrap();
        }
        assert_eq!(h.deliver(p(1, 3).zxid).len(), 3);
        assert_eq!(h.deliver(p(1, 3).zxid).len(), 0);
        assert_eq!(h.behind(p(1, 1).zxid).count(), 3);
        assert!(h.truncate(p(1, 3).zxid));
        assert_eq!(h.last(), p(1, 3).zxid);
        assert!(!h.truncate(p(1, 2).zxid), "the tree is ahead");
    }

    #[test]
    fn a_recovered_window_knows_its_base() {
        let h = History::recovered(p(1, 3).zxid, vec![p(1, 1), p(1, 2), p(1, 3)]);
        assert_eq!(h.base(), p(1, 1).zxid);
        assert_eq!(h.at_or_before(p(1, 9).zxid), Some(p(1, 3).zxid));
        assert_eq!(h.at_or_before(Zxid::ZERO), None);
    }
}
