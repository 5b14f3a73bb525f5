//! A server whose disk has no room: when it takes part again, and that it refuses writes meanwhile.
//!
//! A follower that has left for want of room stays away until there is room, as a process that nobody has to start
//! again. It is never silent for good: it comes back at once when those who look for a leader leave no quorum of
//! others, and asks again after ever longer waits. A leader that the others have without it is left alone.

use super::action::Action;
use super::room::Room;
use super::shared::Ctx;
use super::{Role, Zab};
use crate::ids::LinkId;
use crate::time::Millis;
use bytes::Bytes;

/// The longest wait between two attempts without room, in ticks.
const WAIT_TICKS_MAX: u64 = 64;

/// Whether we stay away, and how often we have.
#[derive(Debug, Default)]
pub(super) struct Absence {
    /// Others' elections are joined from then on.
    until: Option<Millis>,
    /// Since there was room.
    count: u32,
}

impl Absence {
    pub(super) fn is_running(&self) -> bool {
        self.until.is_some()
    }
}

impl Zab {
    /// Our disk has this much room now.
    pub(super) fn on_room(&mut self, now: Millis, room: Room, out: &mut Vec<Action>) {
        let before = std::mem::replace(&mut self.shared.room, room);
        if room > Room::Full {
            self.absence = Absence::default();
        }
        let verdict = match &mut self.role {
            Role::Leading(leader) => leader.weigh_room(&mut Ctx { now, shared: &mut self.shared, out }),
            Role::Learning(learner) => learner.leaves_without_room(&self.shared),
            Role::Standalone => {
                if (before == Room::Full) != (room == Room::Full) {
                    let what =
                        if room == Room::Full { "refused: the disk has no room" } else { "taken again" };
                    out.push(Action::Note(format!("writes are {what}")));
                }
                return;
            }
            Role::Settling => return self.settle(now, out),
            Role::Looking => return,
        };
        self.follow(now, verdict, out);
    }

    /// We have no leader any more: without room we do not come back at once, unless we are needed.
    pub(super) fn stay_away(&mut self, now: Millis, out: &mut Vec<Action>) {
        if self.shared.room > Room::Full || self.is_needed() {
            return;
        }
        let ticks = WAIT_TICKS_MAX.min(1 << self.absence.count.min(6));
        self.absence.count += 1;
        self.absence.until = Some(now + ticks * self.shared.cfg.tick_ms);
        out.push(Action::Note(
            "our disk has no room: staying away until it has, or until others need us".into(),
        ));
    }

    /// Whether those who look for a leader leave no quorum of others.
    fn is_needed(&self) -> bool {
        let (me, quorum) = (self.shared.cfg.me, &self.shared.cfg.quorum);
        let others = quorum.voters().iter().filter(|v| **v != me && !self.election.looks(**v));
        self.shared.is_voter() && !quorum.is_quorum(others.copied())
    }

    /// A voter looks for a leader, or time has passed.
    pub(super) fn reconsider_absence(&mut self, now: Millis, out: &mut Vec<Action>) {
        let Some(until) = self.absence.until.filter(|_| matches!(self.role, Role::Settling)) else { return };
        if !self.shared.is_voter() || (now < until && !self.is_needed()) {
            return;
        }
        self.absence.until = None;
        out.push(Action::Note("looking for a leader without room: others may need us".into()));
        self.settle(now, out);
    }

    /// When `reconsider_absence` is wanted. Nobody needs an observer.
    pub(super) fn absence_deadline(&self) -> Option<Millis> {
        self.absence.until.filter(|_| self.shared.is_voter() && !self.stopped)
    }

    /// Whether a leader that others have found already is to be left alone: they do without us.
    pub(super) fn leaves_alone(&self) -> bool {
        self.shared.room == Room::Full && self.absence.count > 0 && self.election.found_established()
    }

    /// Our disk's reserve is being written to, faster than anybody is told: leave before it is gone.
    pub fn reserve_is_going(&mut self, now: Millis, out: &mut Vec<Action>) {
        if matches!(&self.role, Role::Learning(learner) if learner.is_active()) {
            self.shared.room = Room::Full;
            self.look(now, "the reserve of our disk is being used up", out);
        }
    }

    /// A learner waits for an answer that it cannot be given: it must join anew.
    pub fn send_away(&mut self, now: Millis, link: LinkId, why: &str, out: &mut Vec<Action>) {
        if let Role::Leading(leader) = &mut self.role {
            leader.send_away(&mut Ctx { now, shared: &mut self.shared, out }, link, why);
        }
    }

    /// Whether writes must be answered with an error now: no quorum has room for them.
    pub fn refuses_writes(&self) -> bool {
        match &self.role {
            Role::Leading(leader) => leader.refuses_writes(),
            Role::Standalone => self.shared.room == Room::Full,
            Role::Settling | Role::Looking | Role::Learning(_) => false,
        }
    }

    /// Whether we stay away for want of room.
    pub fn is_away(&self) -> bool {
        self.absence.is_running()
    }

    /// The room of our own disk, as we were told.
    pub fn room(&self) -> Room {
        self.shared.room
    }

    /// Whether we follow a zkctl server.
    pub fn leader_is_zkctl(&self) -> bool {
        matches!(&self.role, Role::Learning(learner) if learner.leader_is_zkctl())
    }

    /// Tells a learner, by a PING, something that only a zkctl server reads; `false` when this one would not.
    pub fn ping_with(&mut self, now: Millis, link: LinkId, body: Bytes, out: &mut Vec<Action>) -> bool {
        let mut ctx = Ctx { now, shared: &mut self.shared, out };
        match &mut self.role {
            Role::Leading(leader) => leader.ping_with(&mut ctx, link, body),
            _ => false,
        }
    }
}
