//! What faults may cost together: never so much that halting would be right, so that a halt is always a bug.

use crate::world::World;

/// Whether `sid` may lose its directory, or a part of it: one server a seed, and only while a majority of the
/// voters, by the old list and the new, keeps its memory without it. A voter that lost power in its first
/// snapshot has none, like a wiped one.
pub(crate) fn may_lose(world: &World, sid: u64) -> bool {
    let voters = |converted| world.options.voters_of(0, converted);
    if world.options.voters == 1 || world.nodes.values().any(|n| n.damaged) {
        return false;
    }
    [voters(false), voters(true)].iter().all(|voters| {
        let remembers = |v: &&u64| **v != sid && world.nodes[v].disk.keeps_a_trusted_database();
        !voters.contains(&sid) || voters.iter().filter(remembers).count() > voters.len() / 2
    })
}

/// Whether a majority of the voters, by the old list or the new, keeps its memory.
pub(crate) fn remember(world: &World, converted: bool) -> bool {
    let voters = world.options.voters_of(0, converted);
    let remembers = |v: &&u64| world.nodes[v].disk.keeps_a_trusted_database();
    voters.iter().filter(remembers).count() > voters.len() / 2
}
