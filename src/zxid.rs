//! Transaction ids: an epoch in the high half, a counter in the low half.
//!
//! Owns the arithmetic; a counter never overflows into the epoch here (ZOOKEEPER-1277).

use std::fmt;

/// The high half of a zxid: the reign of one leader. Not the election's round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The next epoch, or `None` at the end of the space.
    pub fn successor(self) -> Option<Epoch> {
        self.0.checked_add(1).map(Epoch)
    }

    /// The zxid with counter 0 in this epoch: NEWLEADER's zxid.
    pub fn first_zxid(self) -> Zxid {
        Zxid::new(self, 0)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A transaction id: epoch and counter, ordered as the 64-bit number on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zxid(pub u64);

impl Zxid {
    /// Before the first transaction.
    pub const ZERO: Zxid = Zxid(0);
    /// The last counter an epoch may use; the leader gives up its reign before it.
    pub const COUNTER_MAX: u32 = u32::MAX;

    /// Joins the halves.
    pub const fn new(epoch: Epoch, counter: u32) -> Zxid {
        Zxid(((epoch.0 as u64) << 32) | counter as u64)
    }

    /// The high half.
    pub const fn epoch(self) -> Epoch {
        Epoch((self.0 >> 32) as u32)
    }

    /// The low half.
    pub const fn counter(self) -> u32 {
        (self.0 & 0xffff_ffff) as u32
    }

    /// The next zxid of the same epoch, or `None` when the counter is used up.
    pub fn successor(self) -> Option<Zxid> {
        (self.counter() != Self::COUNTER_MAX).then(|| Zxid(self.0 + 1))
    }

    /// As the signed number that jute carries.
    pub const fn wire(self) -> i64 {
        self.0 as i64
    }

    /// From the signed number that jute carries; negative numbers (such as -1, "no database") are `None`.
    pub fn from_wire(raw: i64) -> Option<Zxid> {
        u64::try_from(raw).ok().map(Zxid)
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_join_and_part() {
        let zxid = Zxid::new(Epoch(5), 0x19);
        assert_eq!(zxid.0, 0x5_0000_0019);
        assert_eq!((zxid.epoch(), zxid.counter()), (Epoch(5), 0x19));
        assert_eq!(zxid.to_string(), "0x500000019");
    }

    #[test]
    fn counter_never_wraps_into_the_epoch() {
        assert_eq!(Zxid::new(Epoch(1), u32::MAX).successor(), None);
        assert_eq!(Zxid::new(Epoch(1), 7).successor(), Some(Zxid::new(Epoch(1), 8)));
    }

    #[test]
    fn minus_one_is_no_zxid() {
        assert_eq!(Zxid::from_wire(-1), None);
        assert_eq!(Zxid::from_wire(3), Some(Zxid(3)));
    }
}
