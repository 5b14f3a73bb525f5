//! OwnWrites: a client reads what was acknowledged to it, or what it wrote since without an answer. (Item 8.)

use super::Check;
use crate::client::SimClient;

/// A write to a path that was acknowledged to this client cannot miss it.
pub(crate) fn finds(client: u64, path: &str, err: i32) -> Check {
    if err == 0 {
        return Ok(());
    }
    Err(format!("OwnWrites: client {client}: {path} was acknowledged and answers {err}"))
}

/// Looks at a value that was read, or found in a tree.
pub(crate) fn reads(client: &SimClient, path: &str, value: u64) -> Check {
    let Some(acked) = client.acked.get(path) else { return Ok(()) };
    let unknown = client.unknown.get(path).is_some_and(|u| u.contains(&value));
    if value == *acked || unknown {
        return Ok(());
    }
    Err(format!("OwnWrites: client {}: {path} holds {value}, acknowledged was {acked}", client.id))
}
