//! The replicated table: session id to timeout.

use crate::ids::SessionId;
use std::collections::BTreeMap;

/// Every global session and its timeout in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    timeouts: BTreeMap<SessionId, i32>,
}

impl Sessions {
    /// A createSession txn.
    pub fn create(&mut self, id: SessionId, timeout_ms: i32) {
        self.timeouts.insert(id, timeout_ms);
    }

    /// A closeSession txn. False when there was no such session, as replay over a snapshot may find.
    pub fn close(&mut self, id: SessionId) -> bool {
        self.timeouts.remove(&id).is_some()
    }

    /// A session's timeout in milliseconds; `None` when it does not exist.
    pub fn timeout(&self, id: SessionId) -> Option<i32> {
        self.timeouts.get(&id).copied()
    }

    /// All sessions, by id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (SessionId, i32)> {
        self.timeouts.iter().map(|(id, timeout)| (*id, *timeout))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.timeouts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.timeouts.is_empty()
    }
}
