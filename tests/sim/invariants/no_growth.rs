//! NoGrowth: when all clients have gone and their sessions ended, no server keeps anything of them. (Item 19.)

use crate::world::World;

/// Whether queues and tables are empty everywhere, and all trees equal.
pub(crate) fn holds(world: &World) -> bool {
    let empty = |kept: &[(&str, usize)]| kept.iter().all(|(_, count)| *count == 0);
    let servers = || world.nodes.values().filter_map(|n| n.server.as_ref());
    servers().all(|server| empty(&server.kept_for_clients())) && super::convergence::is_equal(world)
}
