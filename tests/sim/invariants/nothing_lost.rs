//! NothingLost: at the end every server holds every acknowledged write. (Item 8.)

use super::{Check, own_writes};
use crate::client::SimClient;
use crate::world::World;
use std::collections::BTreeMap;
use zkctl::tree::Tree;

pub(crate) fn check(world: &World) -> Check {
    for node in world.nodes.values() {
        let tree = node.server.as_ref().ok_or("NothingLost: a server is down")?.tree();
        holds_everything(node.sid, tree, &world.clients).map_err(|what| format!("NothingLost: {what}"))?;
    }
    Ok(())
}

/// Whether a tree holds every acknowledged value, or a later one of the same client.
pub(super) fn holds_everything(sid: u64, tree: &Tree, clients: &BTreeMap<u64, SimClient>) -> Check {
    for client in clients.values() {
        for (path, acked) in &client.acked {
            let Some(znode) = tree.find(path) else {
                return Err(format!("{path} was acknowledged; server {sid} lacks it"));
            };
            let found = u64::from_be_bytes(znode.data().unwrap_or_default().try_into().unwrap());
            if found < *acked {
                own_writes::reads(client, path, found).map_err(|what| format!("server {sid}: {what}"))?;
            }
        }
    }
    Ok(())
}
