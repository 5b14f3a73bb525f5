//! A server whose disk has no room: when it takes part again, and that it refuses writes meanwhile.
//!
//! A follower that its leader let go stays away until there is room, as a process that nobody has to start again.
//! It comes back for an election without room, since others may need it to have any leader; but each time later,
//! since the leader it finds may not need it either.

use super::action::Action;
use super::room::Room;
use super::shared::Ctx;
use super::{Role, Zab};
use crate::ids::{LinkId, Sid};
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

    /// We were in broadcast and are not any more: without room we do not come back at once, unless others look
    /// for a leader too.
    pub(super) fn stay_away(&mut self, now: Millis, out: &mut Vec<Action>) {
        let needed = self.absence.count == 0 && self.election.others_look();
        if self.shared.room > Room::Full || needed {
            return;
        }
        let ticks = match self.absence.count {
            0 => 0,
            n => WAIT_TICKS_MAX.min(1 << n.min(6)),
        };
        self.absence.count += 1;
        self.absence.until = Some(now + ticks * self.shared.cfg.tick_ms);
        out.push(Action::Note(
            "our disk has no room: staying away until it has, or until others elect".into(),
        ));
    }

    /// A voter looks for a leader: it may need us.
    pub(super) fn come_back_for(&mut self, now: Millis, from: Sid, out: &mut Vec<Action>) {
        let due = self.absence.until.is_some_and(|at| now >= at);
        let voters = &self.shared.cfg.quorum;
        if due && self.shared.is_voter() && voters.is_voter(from) && matches!(self.role, Role::Settling) {
            self.absence.until = None;
            out.push(Action::Note(format!("server {from} looks for a leader: taking part without room")));
            self.settle(now, out);
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
