//! Ephemerals: every ephemeral's owner is a live session. (Item 13.)

use super::{Check, Invariant, Seen};

#[derive(Default)]
pub(super) struct Ephemerals;

impl Invariant for Ephemerals {
    fn name(&self) -> &'static str {
        "Ephemerals"
    }

    fn check(&mut self, seen: &Seen<'_>) -> Check {
        let sessions = seen.server.sessions();
        match seen.server.tree().owning_sessions().find(|s| !sessions.contains(*s)) {
            None => Ok(()),
            Some(session) => Err(format!("{} has some of {session}, which is no session", seen.sid)),
        }
    }
}
