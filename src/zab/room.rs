//! How much room a server's disk has, as far as the ensemble must know, and what a leader makes of it.
//!
//! Pure, and without bytes: `storage` measures, `server` carries the word. A leader takes writes while a quorum
//! of voters can put them on disk; whoever is not needed for that and has no room is let go; a leader with less
//! room than one of its followers hands over. Nothing here is needed for safety.

use super::quorum::Majority;
use crate::ids::{LinkId, Sid};

/// How much room a disk has; more is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Only the reserve is left: enough to end what was begun.
    Full,
    /// It goes on; another had better lead.
    Low,
    /// Enough.
    Ample,
}

impl Room {
    /// As a learner tells its leader.
    pub fn wire(self) -> i32 {
        match self {
            Room::Full => 0,
            Room::Low => 1,
            Room::Ample => 2,
        }
    }

    /// What a learner told; a word of a later release is none.
    pub fn from_wire(value: i32) -> Option<Room> {
        [Room::Full, Room::Low, Room::Ample].into_iter().find(|r| r.wire() == value)
    }

    /// One word for reports.
    pub fn text(self) -> &'static str {
        match self {
            Room::Full => "full",
            Room::Low => "low",
            Room::Ample => "ample",
        }
    }
}

/// A voter in broadcast, as its leader sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Voter {
    pub(super) link: LinkId,
    pub(super) sid: Sid,
    /// A zkctl server: it tells, if only with its first answer to a PING.
    pub(super) tells: bool,
    /// What it told.
    pub(super) room: Option<Room>,
    /// Its disk holds everything that was proposed.
    pub(super) caught_up: bool,
}

impl Voter {
    /// Whether it is in a better position to lead. An Apache server does not tell: it is tried before writes
    /// are refused for good, as it would be if our disk were so full that we ended.
    fn is_better_than(&self, own: Room) -> bool {
        match self.room {
            Some(room) => room > own,
            None => own == Room::Full && !self.tells,
        }
    }
}

/// What a leader is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    /// No quorum of voters can take another write.
    pub(super) refuses: bool,
    /// Who had better lead, and could, once it has caught up.
    pub(super) better: Option<(Sid, bool)>,
    /// Those without room whom the quorum does not need.
    pub(super) lets_go: Vec<LinkId>,
}

/// Judges by our own room and that of the voters in broadcast.
pub(super) fn judge(me: Sid, own: Room, voters: &[Voter], quorum: &Majority) -> Judgement {
    let us = || (own > Room::Full).then_some(me).into_iter();
    let hopeful = voters.iter().filter(|v| v.room != Some(Room::Full)).map(|v| v.sid);
    let certain = voters.iter().filter(|v| v.room.is_some_and(|r| r > Room::Full) || !v.tells).map(|v| v.sid);
    // A quorum that is not connected is another matter.
    let somebody_full = own == Room::Full || voters.iter().any(|v| v.room == Some(Room::Full));
    let goes_on = !somebody_full || quorum.is_quorum(us().chain(hopeful));
    let lets_go = match quorum.is_quorum(us().chain(certain)) {
        true => voters.iter().filter(|v| v.room == Some(Room::Full)).map(|v| v.link).collect(),
        false => Vec::new(),
    };
    // Handing over is of use only if the writes go on behind it.
    let better = voters.iter().filter(|v| goes_on && own < Room::Ample && v.is_better_than(own));
    let best = better.max_by_key(|v| (v.caught_up, v.room, v.sid));
    Judgement { refuses: own == Room::Full || !goes_on, better: best.map(|v| (v.sid, v.caught_up)), lets_go }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `A`mple, `L`ow, `F`ull, `?` not told yet, `J` an Apache server; small letters have not caught up.
    fn voters(text: &str) -> Vec<Voter> {
        let voter = |(n, c): (usize, char)| Voter {
            link: LinkId(n as u64 + 2),
            sid: Sid(n as i64 + 2),
            tells: !c.eq_ignore_ascii_case(&'j'),
            room: match c.to_ascii_uppercase() {
                'A' => Some(Room::Ample),
                'L' => Some(Room::Low),
                'F' => Some(Room::Full),
                _ => None,
            },
            caught_up: c.is_uppercase(),
        };
        text.chars().enumerate().map(voter).collect()
    }

    /// Refused; who is better, and whether it has caught up; who may go.
    type Judged = (bool, Option<(i64, bool)>, Vec<u64>);

    fn judged(own: Room, of: i64, others: &str) -> Judged {
        let quorum = Majority::new((1..=of).map(Sid).collect());
        let j = judge(Sid(1), own, &voters(others), &quorum);
        (j.refuses, j.better.map(|(s, c)| (s.0, c)), j.lets_go.iter().map(|l| l.0).collect())
    }

    #[test]
    fn what_a_leader_does_by_table() {
        use Room::{Ample, Full, Low};
        let nothing = (false, None, vec![]);
        let table: &[(Room, i64, &str, Judged)] = &[
            (Ample, 1, "", nothing.clone()),
            (Full, 1, "", (true, None, vec![])),
            (Ample, 3, "AA", nothing.clone()),
            (Ample, 3, "", nothing.clone()),
            (Ample, 3, "LL", nothing.clone()),
            (Ample, 3, "??", nothing.clone()),
            // It hands over to whoever has more, best to one that has everything.
            (Low, 3, "AA", (false, Some((3, true)), vec![])),
            (Low, 3, "Aa", (false, Some((2, true)), vec![])),
            (Low, 3, "La", (false, Some((3, false)), vec![])),
            (Full, 3, "AL", (true, Some((2, true)), vec![])),
            (Full, 3, "LL", (true, Some((3, true)), vec![])),
            // Nobody has more, or is known to.
            (Low, 3, "LL", nothing.clone()),
            (Low, 3, "??", nothing.clone()),
            (Low, 3, "JJ", nothing.clone()),
            (Full, 3, "JJ", (true, Some((3, true)), vec![])),
            (Full, 3, "??", (true, None, vec![])),
            // Whom nobody needs may go; whom the quorum needs stays, and nothing is written.
            (Ample, 3, "AF", (false, None, vec![3])),
            (Ample, 3, "JF", (false, None, vec![3])),
            (Ample, 3, "?F", (false, None, vec![])),
            (Ample, 3, "FF", (true, None, vec![])),
            (Ample, 3, "F", (true, None, vec![])),
            (Full, 3, "FF", (true, None, vec![])),
            (Full, 3, "AF", (true, None, vec![])),
            (Full, 5, "AAAF", (true, Some((4, true)), vec![5])),
            (Low, 5, "AAFF", (false, Some((3, true)), vec![4, 5])),
            (Full, 5, "AAFF", (true, None, vec![])),
        ];
        for (own, of, others, expected) in table {
            assert_eq!(judged(*own, *of, others), *expected, "{own:?} of {of} beside {others}");
        }
    }

    #[test]
    fn a_word_survives_the_wire() {
        for room in [Room::Full, Room::Low, Room::Ample] {
            assert_eq!(Room::from_wire(room.wire()), Some(room));
        }
        assert_eq!(Room::from_wire(7), None);
        assert!(Room::Full < Room::Low && Room::Low < Room::Ample);
    }
}
