//! Liveness: a healed ensemble elects, serves everybody and becomes equal. (The second phase of a seed.)

use crate::world::World;
use std::collections::BTreeSet;
use zkctl::server::Server;
use zkctl::zab::Service;

/// Whether it has: all servers up and serving, one tree, and progress of every client since `before`.
pub(crate) fn reached(world: &World, before: &[u64]) -> bool {
    let served = world.clients.values().zip(before).all(|(c, b)| c.operations > b + 5);
    served && servers_agree(world)
}

fn servers_agree(world: &World) -> bool {
    let servers: Vec<&Server> = world.nodes.values().filter_map(|n| n.server.as_ref()).collect();
    let all_up = servers.len() == world.nodes.len();
    let serving = servers.iter().all(|s| s.service() != Service::Down);
    let one = |f: &dyn Fn(&Server) -> u64| servers.iter().map(|s| f(s)).collect::<BTreeSet<_>>().len() == 1;
    all_up && serving && one(&|s| s.tree().digest()) && one(&|s| s.tree().last_zxid().0)
}
