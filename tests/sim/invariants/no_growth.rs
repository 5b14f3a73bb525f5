//! NoGrowth: when all clients have gone and their sessions ended, no server keeps anything of them. (Item 19.)

use crate::world::World;
use zkctl::server::Server;

/// Whether queues and tables are empty everywhere, and all trees equal.
pub(crate) fn holds(world: &World) -> bool {
    let empty = |kept: &[(&str, usize)]| kept.iter().all(|(_, count)| *count == 0);
    let servers = || world.nodes.values().filter_map(|n| n.server.as_ref());
    servers().all(|server| empty(&server.kept_for_clients())) && super::convergence::is_equal(world)
}

/// What is still kept, by server.
pub(crate) fn left(world: &World) -> String {
    let kept = |server: &Server| {
        let kept = server.kept_for_clients();
        kept.into_iter().filter(|(_, count)| *count > 0).collect::<Vec<_>>()
    };
    let servers = world.nodes.iter().filter_map(|(sid, n)| Some((sid, n.server.as_ref()?)));
    let all = servers.map(|(sid, server)| format!("{sid} {:?}", kept(server)));
    all.collect::<Vec<_>>().join(", ")
}
