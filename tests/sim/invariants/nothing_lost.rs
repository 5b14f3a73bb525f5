//! NothingLost and the clients' promises: the whole history against the model, when everything has healed.
//!
//! Items 8 and 12 to 17 as clients see them: `history::replay` and `history::watches`. At last the model must
//! be the tree, znode by znode: what was recovered, installed and replayed is what was acknowledged.

use super::Check;
use crate::history::{replay, watches};
use crate::world::World;
use zkctl::tree::Tree;

pub(crate) fn check(world: &mut World) -> Check {
    let sequence = world.invariants.sequence.witnesses();
    let (model, checked) = replay::check(&world.history, &sequence)?;
    let events = watches::check(&world.history, &model.triggers)?;
    world.judged.0 += checked.reads + checked.writes + checked.placed;
    world.judged.1 += events;
    for node in world.nodes.values() {
        let tree = node.server.as_ref().ok_or("NothingLost: a server is down")?.tree();
        same(tree, &model).map_err(|what| format!("NothingLost: server {}: {what}", node.sid))?;
    }
    Ok(())
}

fn same(tree: &Tree, model: &crate::history::model::Model) -> Check {
    let mut count = 0;
    for (path, data, acl, stat) in model.all() {
        count += 1;
        let Some(znode) = tree.find(path) else { return Err(format!("{path} is missing")) };
        if znode.acl() != acl.bytes().list() {
            return Err(format!("{path} has the ACL {:?}, due is {acl:?}", znode.acl()));
        }
        if znode.data().unwrap_or_default() != data || znode.stat() != stat {
            return Err(format!("{path} is {:?}, due is {stat:?}", znode.stat()));
        }
    }
    // The count is the original's: the root twice, and the three of /zookeeper, are not the model's.
    let more = tree.node_count() - count - 5;
    if more == 0 { Ok(()) } else { Err(format!("{more} znodes that nobody made")) }
}
