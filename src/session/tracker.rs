//! The leader's view of sessions: deadlines in buckets of a tick, owners, and those that are closing; and
//! the learner's list of signs of life.
//!
//! A tracker lives as long as a reign: a new leader starts one from the replicated table, with all
//! deadlines counted from that moment. Only monotonic time is used (ZOOKEEPER-1366).

use crate::ids::{SessionId, Sid};
use crate::keyed_map::KeyedMap;
use crate::mutants::{self, Mutant};
use crate::session::SessionTable;
use crate::time::Millis;
use crate::wire::errcode::ErrorCode;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
struct Tracked {
    deadline: Millis,
    timeout_ms: i32,
    closing: bool,
    owner: Option<Sid>,
}

/// The sessions of a reign.
#[derive(Debug)]
pub struct SessionTracker {
    tick_ms: u64,
    sessions: KeyedMap<SessionId, Tracked>,
    buckets: BTreeMap<Millis, BTreeSet<SessionId>>,
}

impl SessionTracker {
    /// The tracker of a new reign, `tickTime` in milliseconds, hashing under `seed`.
    pub fn new(tick_ms: u64, seed: u64, table: &SessionTable, now: Millis) -> SessionTracker {
        let mut tracker = SessionTracker {
            tick_ms: tick_ms.max(1),
            sessions: KeyedMap::new(seed),
            buckets: BTreeMap::new(),
        };
        for (session, timeout_ms) in table.iter() {
            tracker.track(session, timeout_ms, now);
        }
        tracker
    }

    /// The deadline of a sign of life: rounded up to the next border of a tick, never down.
    fn deadline(&self, now: Millis, timeout_ms: i32) -> Millis {
        let halved = u32::from(mutants::on(Mutant::SessionExpiresEarly));
        let at = now + (timeout_ms.max(0) as u64 >> halved);
        Millis((at.0 / self.tick_ms).saturating_add(1).saturating_mul(self.tick_ms))
    }

    /// Begins to track a session, or takes a sign of life of one that is tracked.
    pub fn track(&mut self, session: SessionId, timeout_ms: i32, now: Millis) {
        let deadline = self.deadline(now, timeout_ms);
        if !self.sessions.contains(&session) {
            self.sessions.insert(session, Tracked { deadline, timeout_ms, closing: false, owner: None });
            self.buckets.entry(deadline).or_default().insert(session);
        } else {
            self.move_to(session, deadline);
        }
    }

    /// Takes a sign of life; says whether the session is alive: unknown and closing ones are not.
    pub fn touch(&mut self, session: SessionId, timeout_ms: i32, now: Millis) -> bool {
        match self.sessions.get(&session) {
            Some(tracked) if !tracked.closing => {
                let deadline = self.deadline(now, timeout_ms);
                if deadline != tracked.deadline {
                    self.move_to(session, deadline);
                }
                true
            }
            _ => false,
        }
    }

    fn move_to(&mut self, session: SessionId, deadline: Millis) {
        let Some(tracked) = self.sessions.get_mut(&session) else { return };
        let old = std::mem::replace(&mut tracked.deadline, deadline);
        self.leave_bucket(session, old);
        self.buckets.entry(deadline).or_default().insert(session);
    }

    fn leave_bucket(&mut self, session: SessionId, deadline: Millis) {
        if let Some(bucket) = self.buckets.get_mut(&deadline) {
            bucket.remove(&session);
            if bucket.is_empty() {
                self.buckets.remove(&deadline);
            }
        }
    }

    /// When the next session may expire; `None` when there is none.
    pub fn next_deadline(&self) -> Option<Millis> {
        self.buckets.keys().next().copied()
    }

    /// Sessions whose deadline has passed, at most `limit` of them, now marked as closing: the caller
    /// proposes a closeSession for each. A closing session is not yielded again.
    pub fn expired(&mut self, now: Millis, limit: usize) -> Vec<SessionId> {
        let mut expired = Vec::new();
        while expired.len() < limit {
            let Some(mut bucket) = self.buckets.first_entry() else { break };
            if *bucket.key() > now {
                break;
            }
            let Some(session) = bucket.get_mut().pop_first() else {
                bucket.remove();
                continue;
            };
            if bucket.get().is_empty() {
                bucket.remove();
            }
            if let Some(tracked) = self.sessions.get_mut(&session)
                && !std::mem::replace(&mut tracked.closing, true)
            {
                expired.push(session);
            }
        }
        expired
    }

    /// Whether `owner`, the server a client is connected to, may write for a session: `SESSIONEXPIRED`
    /// when it does not exist or is closing, `SESSIONMOVED` when another server owns it. The first to ask
    /// becomes the owner.
    pub fn check(&mut self, session: SessionId, owner: Sid) -> Result<(), ErrorCode> {
        match self.sessions.get_mut(&session) {
            Some(tracked) if !tracked.closing || mutants::on(Mutant::ClosingSessionMayWrite) => {
                match *tracked.owner.get_or_insert(owner) {
                    current if current == owner => Ok(()),
                    _ => Err(ErrorCode::SESSIONMOVED),
                }
            }
            _ => Err(ErrorCode::SESSIONEXPIRED),
        }
    }

    /// Gives a session to the server its client has re-attached to (REVALIDATE). `SESSIONEXPIRED` when it
    /// does not exist or is closing.
    pub fn set_owner(&mut self, session: SessionId, owner: Sid) -> Result<(), ErrorCode> {
        match self.sessions.get_mut(&session) {
            Some(tracked) if !tracked.closing => {
                tracked.owner = Some(owner);
                Ok(())
            }
            _ => Err(ErrorCode::SESSIONEXPIRED),
        }
    }

    /// Marks a session as closing: its closeSession is proposed, so nothing more may be.
    pub fn set_closing(&mut self, session: SessionId) {
        if let Some(tracked) = self.sessions.get_mut(&session) {
            tracked.closing = true;
        }
    }

    /// Whether a session exists, closing or not.
    pub fn is_tracked(&self, session: SessionId) -> bool {
        self.sessions.contains(&session)
    }

    /// Whether a session exists and is not closing.
    pub fn is_alive(&self, session: SessionId) -> bool {
        self.sessions.get(&session).is_some_and(|t| !t.closing)
    }

    /// The timeout a session was tracked with, in milliseconds.
    pub fn timeout_ms(&self, session: SessionId) -> Option<i32> {
        self.sessions.get(&session).map(|t| t.timeout_ms)
    }

    /// Forgets a session: its closeSession is applied.
    pub fn remove(&mut self, session: SessionId) {
        if let Some(tracked) = self.sessions.remove(&session) {
            self.leave_bucket(session, tracked.deadline);
        }
    }

    /// How many sessions are tracked, closing ones included.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether none is tracked.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }
}

/// A learner's signs of life since its last PING reply.
#[derive(Debug, Default)]
pub struct Touches {
    sessions: BTreeMap<SessionId, i32>,
}

impl Touches {
    /// A client of this server was heard; `timeout_ms` is its session's.
    pub fn touch(&mut self, session: SessionId, timeout_ms: i32) {
        self.sessions.insert(session, timeout_ms);
    }

    /// A session has ended here.
    pub fn forget(&mut self, session: SessionId) {
        self.sessions.remove(&session);
    }

    /// Takes everything, as pairs of id and timeout: the body of a PING reply (`wire::quorum`).
    pub fn take(&mut self) -> BTreeMap<SessionId, i32> {
        std::mem::take(&mut self.sessions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SessionId = SessionId(1);
    const B: SessionId = SessionId(2);

    fn tracker(now: u64) -> SessionTracker {
        SessionTracker::new(2000, 1, &SessionTable::from_loaded([(A, 4000)]), Millis(now))
    }

    #[test]
    fn deadlines_are_rounded_up_to_the_next_tick() {
        let mut tracker = tracker(1);
        assert_eq!(tracker.next_deadline(), Some(Millis(6000)));
        assert!(tracker.expired(Millis(5999), 10).is_empty());
        assert!(tracker.touch(A, 4000, Millis(2000)));
        assert_eq!(tracker.next_deadline(), Some(Millis(8000)));
        assert_eq!(tracker.expired(Millis(8000), 10), [A]);
        assert!(tracker.expired(Millis(80_000), 10).is_empty());
        assert!(!tracker.touch(A, 4000, Millis(8001)));
        assert_eq!(tracker.check(A, Sid(1)), Err(ErrorCode::SESSIONEXPIRED));
        tracker.remove(A);
        assert!(tracker.is_empty());
    }

    #[test]
    fn a_storm_of_expiries_comes_in_slices() {
        let mut tracker = tracker(0);
        for id in 2..100 {
            tracker.track(SessionId(id), 1000, Millis(0));
        }
        let first = tracker.expired(Millis(2000), 60);
        let second = tracker.expired(Millis(2000), 60);
        assert_eq!((first.len(), second.len()), (60, 38));
        assert_eq!(tracker.next_deadline(), Some(Millis(6000)));
    }

    #[test]
    fn owners_move_by_revalidation_only() {
        let mut tracker = tracker(0);
        assert_eq!(tracker.check(A, Sid(1)), Ok(()));
        assert_eq!(tracker.check(A, Sid(2)), Err(ErrorCode::SESSIONMOVED));
        assert_eq!(tracker.set_owner(A, Sid(2)), Ok(()));
        assert_eq!(tracker.check(A, Sid(2)), Ok(()));
        assert_eq!(tracker.check(B, Sid(2)), Err(ErrorCode::SESSIONEXPIRED));
        tracker.set_closing(A);
        assert_eq!(tracker.set_owner(A, Sid(2)), Err(ErrorCode::SESSIONEXPIRED));
    }

    #[test]
    fn touches_are_taken_once() {
        let mut touches = Touches::default();
        touches.touch(A, 10);
        touches.touch(A, 10);
        touches.touch(B, 20);
        touches.forget(B);
        assert_eq!(touches.take(), BTreeMap::from([(A, 10)]));
        assert!(touches.take().is_empty());
    }
}
