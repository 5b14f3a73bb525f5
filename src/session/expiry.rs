//! When sessions end: deadlines in buckets of a tick, as the original's ExpiryQueue.
//!
//! A deadline is now plus timeout, rounded up to the next multiple of tickTime, so that a session
//! never ends before its timeout and touching it costs one look-up.

use crate::ids::{SessionId, Sid};
use crate::jute::{self, Error, Reader};
use crate::keyed_map::KeyedMap;
use crate::time::Millis;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug)]
struct Tracked {
    deadline: Millis,
    timeout_ms: i32,
    owner: Sid,
}

/// The leader's watch over all global sessions.
#[derive(Debug)]
pub struct Expiry {
    tick_ms: u64,
    tracked: KeyedMap<SessionId, Tracked>,
    buckets: BTreeMap<Millis, BTreeSet<SessionId>>,
}

impl Expiry {
    /// Nothing tracked.
    pub fn new(tick_ms: u64, seed: u64) -> Expiry {
        Expiry { tick_ms: tick_ms.max(1), tracked: KeyedMap::new(seed), buckets: BTreeMap::new() }
    }

    fn deadline(&self, now: Millis, timeout_ms: i32) -> Millis {
        let at = now.0.saturating_add(u64::try_from(timeout_ms).unwrap_or(0));
        Millis((at / self.tick_ms + 1).saturating_mul(self.tick_ms))
    }

    /// Tracks a session that exists from now on (created, or found when a leader begins), as if it
    /// had been touched now by `owner`.
    pub fn track(&mut self, now: Millis, id: SessionId, timeout_ms: i32, owner: Sid) {
        self.forget(id);
        let deadline = self.deadline(now, timeout_ms);
        self.tracked.insert(id, Tracked { deadline, timeout_ms, owner });
        self.buckets.entry(deadline).or_default().insert(id);
    }

    /// The client was heard. False when no such session is tracked.
    pub fn touch(&mut self, now: Millis, id: SessionId) -> bool {
        let Some(tracked) = self.tracked.get(&id).copied() else { return false };
        let deadline = self.deadline(now, tracked.timeout_ms);
        if deadline > tracked.deadline {
            self.leave_bucket(tracked.deadline, id);
            self.buckets.entry(deadline).or_default().insert(id);
            self.tracked.insert(id, Tracked { deadline, ..tracked });
        }
        true
    }

    fn leave_bucket(&mut self, deadline: Millis, id: SessionId) {
        if let Some(bucket) = self.buckets.get_mut(&deadline) {
            bucket.remove(&id);
            if bucket.is_empty() {
                self.buckets.remove(&deadline);
            }
        }
    }

    /// The session has ended.
    pub fn forget(&mut self, id: SessionId) {
        if let Some(tracked) = self.tracked.remove(&id) {
            self.leave_bucket(tracked.deadline, id);
        }
    }

    /// The sessions whose time is up; each is told once, and stays tracked until `forget`.
    pub fn expired(&mut self, now: Millis) -> Vec<SessionId> {
        let mut out = Vec::new();
        while let Some((deadline, _)) = self.buckets.first_key_value() {
            if *deadline > now {
                break;
            }
            if let Some((_, bucket)) = self.buckets.pop_first() {
                out.extend(bucket);
            }
        }
        out
    }

    /// When `expired` has something to tell.
    pub fn next_deadline(&self) -> Option<Millis> {
        self.buckets.first_key_value().map(|(deadline, _)| *deadline)
    }

    /// The server whose client this session is.
    pub fn owner(&self, id: SessionId) -> Option<Sid> {
        self.tracked.get(&id).map(|t| t.owner)
    }

    /// The client moved to another server.
    pub fn set_owner(&mut self, id: SessionId, owner: Sid) {
        if let Some(tracked) = self.tracked.get_mut(&id) {
            tracked.owner = owner;
        }
    }
}

/// The sessions that a learner's clients were heard on since its last answer to a PING.
#[derive(Clone, Debug, Default)]
pub struct Touched {
    sessions: BTreeMap<SessionId, i32>,
}

impl Touched {
    /// A client was heard.
    pub fn touch(&mut self, id: SessionId, timeout_ms: i32) {
        self.sessions.insert(id, timeout_ms);
    }

    /// Takes them as the body of a PING's answer: repeated (long session, int timeout).
    pub fn take(&mut self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.sessions.len() * 12);
        for (id, timeout_ms) in std::mem::take(&mut self.sessions) {
            jute::put_i64(&mut out, id.0);
            jute::put_i32(&mut out, timeout_ms);
        }
        out
    }

    /// Reads such a body.
    pub fn decode(bytes: &[u8]) -> Result<Vec<(SessionId, i32)>, Error> {
        let mut reader = Reader::new(bytes);
        let mut out = Vec::new();
        while !reader.is_done() {
            out.push((SessionId(reader.i64()?), reader.i32()?));
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_early_and_at_most_a_tick_late() {
        let mut expiry = Expiry::new(1000, 1);
        expiry.track(Millis(1500), SessionId(7), 4000, Sid(1));
        assert!(expiry.expired(Millis(5500)).is_empty());
        assert_eq!(expiry.next_deadline(), Some(Millis(6000)));
        assert_eq!(expiry.expired(Millis(6000)), [SessionId(7)]);
        assert!(expiry.expired(Millis(9000)).is_empty(), "told once");
    }

    #[test]
    fn a_touch_moves_the_deadline() {
        let mut expiry = Expiry::new(1000, 1);
        expiry.track(Millis(0), SessionId(7), 4000, Sid(1));
        assert!(expiry.touch(Millis(4900), SessionId(7)));
        assert!(expiry.expired(Millis(8900)).is_empty());
        assert_eq!(expiry.expired(Millis(9000)).len(), 1);
        assert!(!expiry.touch(Millis(0), SessionId(8)));
    }

    #[test]
    fn touches_travel() {
        let mut touched = Touched::default();
        touched.touch(SessionId(2), 30);
        touched.touch(SessionId(1), 10);
        touched.touch(SessionId(2), 30);
        let body = touched.take();
        assert_eq!(Touched::decode(&body), Ok(vec![(SessionId(1), 10), (SessionId(2), 30)]));
        assert!(touched.take().is_empty());
    }
}
