//! Liveness: a healed ensemble elects, serves everybody and becomes equal. (The second phase of a seed.)

use crate::world::World;
use std::collections::BTreeSet;
use zkctl::server::Server;
use zkctl::zab::Service;

/// Whether all servers serve, and every client has made progress since `before`.
pub(crate) fn serves(world: &World, before: &[u64]) -> bool {
    let progress = world.clients.values().zip(before).all(|(c, b)| c.operations > b + 5);
    progress && world.nodes.values().all(|n| n.server.as_ref().is_some_and(|s| s.service() != Service::Down))
}

/// Whether all servers are up, serve, and have one tree, up to one zxid.
pub(crate) fn is_equal(world: &World) -> bool {
    let servers: Vec<&Server> = world.nodes.values().filter_map(|n| n.server.as_ref()).collect();
    let all_up = servers.len() == world.nodes.len();
    let serving = servers.iter().all(|s| s.service() != Service::Down);
    let one = |f: &dyn Fn(&Server) -> u64| servers.iter().map(|s| f(s)).collect::<BTreeSet<_>>().len() == 1;
    all_up && serving && one(&|s| s.tree().digest()) && one(&|s| s.tree().last_zxid().0)
}
