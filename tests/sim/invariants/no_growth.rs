//! NoGrowth: when all clients have gone and their sessions ended, no server keeps anything of them. (Item 19.)

use crate::world::World;
use zkctl::server::Server;

/// Whether queues and tables are empty everywhere, and all trees equal.
pub(crate) fn holds(world: &World) -> bool {
    left(world).is_empty() && super::convergence::is_equal(world)
}

/// What is still kept, by server.
pub(crate) fn left(world: &World) -> String {
    let kept = |server: &Server| {
        let kept = server.kept_for_clients();
        kept.into_iter().filter(|(_, count)| *count > 0).collect::<Vec<_>>()
    };
    let servers = world.nodes.iter().filter_map(|(sid, n)| Some((sid, kept(n.server.as_ref()?))));
    let some = servers.filter(|(_, kept)| !kept.is_empty());
    some.map(|(sid, kept)| format!("{sid} {kept:?}")).collect::<Vec<_>>().join(", ")
}
