//! The replicated sessions: id and timeout, created and closed by txns, part of every snapshot.

use crate::ids::SessionId;
use crate::wire::txn::{Txn, TxnHeader};
use std::collections::BTreeMap;

/// All sessions of the ensemble as of the last applied txn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionTable {
    timeouts: BTreeMap<SessionId, i32>,
}

impl SessionTable {
    /// The table of an empty database.
    pub fn new() -> SessionTable {
        SessionTable::default()
    }

    /// The table of a loaded snapshot.
    pub fn from_loaded(sessions: impl IntoIterator<Item = (SessionId, i32)>) -> SessionTable {
        SessionTable { timeouts: sessions.into_iter().collect() }
    }

    /// Applies a txn: only createSession and closeSession change anything. Idempotent.
    pub fn apply(&mut self, header: &TxnHeader, txn: &Txn<'_>) {
        match txn {
            Txn::CreateSession { timeout_ms } => {
                self.timeouts.insert(header.session, *timeout_ms);
            }
            Txn::CloseSession { .. } => {
                self.timeouts.remove(&header.session);
            }
            _ => {}
        }
    }

    /// A session's timeout in milliseconds; `None` when it does not exist.
    pub fn timeout_ms(&self, session: SessionId) -> Option<i32> {
        self.timeouts.get(&session).copied()
    }

    /// Whether the session exists.
    pub fn contains(&self, session: SessionId) -> bool {
        self.timeouts.contains_key(&session)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.timeouts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.timeouts.is_empty()
    }

    /// All sessions with their timeouts, by id: what `Tree::open_cursor` asks for.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (SessionId, i32)> {
        self.timeouts.iter().map(|(&id, &timeout_ms)| (id, timeout_ms))
    }
}
