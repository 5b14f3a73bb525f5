//! Which sets of servers decide.

use crate::ids::Sid;
use crate::mutants::{self, Mutant};
use std::collections::BTreeSet;

/// A majority of the voters (QuorumMaj).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Majority {
    voters: BTreeSet<Sid>,
}

impl Majority {
    /// The quorum system of these voters.
    pub fn new(voters: BTreeSet<Sid>) -> Majority {
        Majority { voters }
    }

    /// Who votes.
    pub fn voters(&self) -> &BTreeSet<Sid> {
        &self.voters
    }

    /// Whether `sid` votes.
    pub fn is_voter(&self, sid: Sid) -> bool {
        self.voters.contains(&sid)
    }

    /// Whether these servers are a quorum; non-voters and repetitions do not count.
    pub fn is_quorum(&self, servers: impl Iterator<Item = Sid>) -> bool {
        let observers_too = mutants::on(Mutant::ObserversCounted);
        let counted: BTreeSet<Sid> = servers.filter(|s| self.voters.contains(s) || observers_too).collect();
        let missing_one = usize::from(mutants::on(Mutant::MinorityIsQuorum) && !counted.is_empty());
        (counted.len() + missing_one) * 2 > self.voters.len()
    }

    /// The largest value that a quorum has reached, given each voter's; voters not named have reached none.
    pub fn reached<T: Ord + Copy>(&self, values: impl Iterator<Item = (Sid, T)>) -> Option<T> {
        let mut reached: Vec<T> = values.filter(|(sid, _)| self.is_voter(*sid)).map(|(_, v)| v).collect();
        assert!(reached.len() <= self.voters.len(), "a voter was counted twice");
        reached.sort_unstable();
        let missing_one = usize::from(mutants::on(Mutant::MinorityDecides) && self.voters.len() > 1);
        let needed = self.voters.len() / 2 + 1 - missing_one;
        reached.len().checked_sub(needed).map(|i| reached[i])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn majority(n: i64) -> Majority {
        Majority::new((1..=n).map(Sid).collect())
    }

    #[test]
    fn half_is_not_a_quorum() {
        for (n, have, want) in [(1, 1, true), (2, 1, false), (3, 2, true), (4, 2, false), (5, 3, true)] {
            assert_eq!(majority(n).is_quorum((1..=have).map(Sid)), want, "{have} of {n}");
        }
        assert!(!majority(3).is_quorum([Sid(1), Sid(1), Sid(9)].into_iter()));
    }

    #[test]
    fn reached_is_what_a_quorum_has_at_least() {
        let m = majority(3);
        assert_eq!(m.reached([(Sid(1), 9), (Sid(2), 4), (Sid(3), 2)].into_iter()), Some(4));
        assert_eq!(m.reached([(Sid(1), 9), (Sid(7), 9)].into_iter()), None);
        assert_eq!(m.reached([(Sid(1), 9), (Sid(2), 4)].into_iter()), Some(4));
    }
}
