//! What faults may cost together: never so much that halting would be right, so that a halt is always a bug.

use crate::world::Node;

/// Whether `sid`'s directory may be wiped: once per seed, and only while a majority of the voters keeps its
/// memory without it. A voter that lost power in its first snapshot has none, like a wiped one.
pub(crate) fn may_wipe<'a>(nodes: impl Iterator<Item = &'a Node> + Clone, voters: u64, sid: u64) -> bool {
    if nodes.clone().any(|n| n.wiped) {
        return false;
    }
    let votes = |sid: u64| (1..=voters).contains(&sid);
    let remember = nodes.filter(|n| votes(n.sid) && n.sid != sid && n.disk.keeps_a_trusted_database());
    !votes(sid) || remember.count() as u64 > voters / 2
}
