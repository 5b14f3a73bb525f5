//! DIFF, TRUNC or SNAP: a pure choice (LearnerHandler.syncFollower).

use super::history::History;
use crate::mutants::{self, Mutant};
use crate::zxid::Zxid;

/// How a learner gets the leader's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPlan {
    /// It has a prefix; send what is behind this zxid.
    Diff(Zxid),
    /// It has more than, or other than, the leader: cut to this zxid, then send what is behind it.
    Trunc(Zxid),
    /// Send the whole tree.
    Snap,
}

/// Chooses for a learner whose last zxid is `learner` (`None`: no trusted database), given the
/// leader's history, of which everything up to `committed` is decided.
pub fn plan(learner: Option<Zxid>, history: &History, committed: Zxid) -> SyncPlan {
    let Some(learner) = learner else { return SyncPlan::Snap };
    if learner == committed {
        return SyncPlan::Diff(learner);
    }
    // Counter 0: elected and nothing written. It has everything of the epochs before.
    let bare_epoch = learner.counter() == 0;
    if learner > committed && !bare_epoch {
        if mutants::on(Mutant::AheadLearnerGetsDiff) {
            return SyncPlan::Diff(committed);
        }
        return trunc(committed);
    }
    let Some(before) = history.at_or_before(learner.min(committed)) else { return SyncPlan::Snap };
    if before == learner || bare_epoch || mutants::on(Mutant::DivergedLearnerGetsDiff) {
        SyncPlan::Diff(before)
    } else if before.epoch() == learner.epoch() {
        trunc(before)
    } else {
        SyncPlan::Snap
    }
}

/// No log holds a record of counter 0, which Apache's leaders give to their snapshots: nobody could cut there, and
/// Apache's learners would keep the record behind it.
fn trunc(to: Zxid) -> SyncPlan {
    if to.counter() == 0 { SyncPlan::Snap } else { SyncPlan::Trunc(to) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zab::history::Proposal;
    use crate::zxid::Epoch;
    use bytes::Bytes;

    fn z(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(Epoch(epoch), counter)
    }

    fn history() -> History {
        let all = [(1, 3), (1, 4), (1, 5), (3, 1), (3, 2)];
        let window = all.map(|(e, c)| Proposal { zxid: z(e, c), bytes: Bytes::new() });
        History::recovered(z(3, 2), window.to_vec())
    }

    #[test]
    fn every_case_of_the_original() {
        let cases = [
            ("in step", Some(z(3, 2)), SyncPlan::Diff(z(3, 2))),
            ("behind, in memory", Some(z(1, 4)), SyncPlan::Diff(z(1, 4))),
            ("at the base", Some(z(1, 3)), SyncPlan::Diff(z(1, 3))),
            ("ahead", Some(z(3, 9)), SyncPlan::Trunc(z(3, 2))),
            ("diverged in an old epoch", Some(z(1, 7)), SyncPlan::Trunc(z(1, 5))),
            ("an epoch the leader never had", Some(z(2, 4)), SyncPlan::Snap),
            ("elected, nothing written", Some(z(2, 0)), SyncPlan::Diff(z(1, 5))),
            ("this epoch, nothing written", Some(z(3, 0)), SyncPlan::Diff(z(1, 5))),
            ("too far behind", Some(z(1, 1)), SyncPlan::Snap),
            ("not trusted", None, SyncPlan::Snap),
        ];
        for (name, learner, want) in cases {
            assert_eq!(plan(learner, &history(), z(3, 2)), want, "{name}");
        }
    }

    #[test]
    fn a_later_bare_epoch_is_a_diff() {
        assert_eq!(plan(Some(z(4, 0)), &history(), z(3, 2)), SyncPlan::Diff(z(3, 2)));
    }

    #[test]
    fn nobody_is_cut_at_a_counter_of_0() {
        for end in [z(3, 0), Zxid::ZERO] {
            let bare = History::recovered(end, Vec::new());
            assert_eq!(plan(Some(z(3, 1)), &bare, end), SyncPlan::Snap, "{end}");
        }
    }

    #[test]
    fn what_is_proposed_but_not_decided_may_stay_with_the_learner() {
        // The learner holds (3,2), the leader has decided (3,1) only: it is cut and sent again.
        assert_eq!(plan(Some(z(3, 2)), &history(), z(3, 1)), SyncPlan::Trunc(z(3, 1)));
    }
}
