//! The room left on the disk: when it is measured, and what the measure means.
//!
//! Pure. Two marks for each file system: below the *soft* one another server had better lead and nothing big is
//! begun here; below the *hard* one only what was begun is ended. Deliberately absent: what an ensemble does then
//! (`zab`), and asking the system (the disk).

use crate::limits;
use crate::time::Millis;
use crate::zab::Room;

/// A file system's size, and how much of it we may still take, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total: u64,
    /// Free for us.
    pub free: u64,
}

/// What is left for a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spaces {
    /// Where the snapshots and epochs are.
    pub data: Space,
    /// Where the log is.
    pub log: Space,
    /// Both are one file system.
    pub shared: bool,
}

/// The marks as they are set; `None` is by what is written and by the disk's size, 0 is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomMarks {
    /// The soft one.
    pub soft: Option<u64>,
    /// The hard one.
    pub hard: Option<u64>,
}

/// What the server writes in big pieces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pieces {
    /// A log segment.
    pub(super) segment: u64,
    /// A snapshot, about.
    pub(super) snapshot: u64,
}

/// When to measure, and what was found.
#[derive(Debug)]
pub(super) struct RoomGauge {
    marks: RoomMarks,
    measuring: bool,
    next: Millis,
    /// Bytes that may be written before it is looked at again, whatever the time.
    allowance: u64,
    data: Room,
    log: Room,
    /// What the log may still take before it is at the reserve; `None` before it was measured.
    above: Option<u64>,
    /// The log's reserve, as of the last measure.
    hard: u64,
    fits_snapshot: bool,
    /// The last measure failed.
    unknown: bool,
    /// Bytes for the log that the last measure did not see, and those that one under way will not.
    spent: (u64, u64),
    /// What the log has in advance, as of the last measure, and of the one under way.
    ready: (u64, u64),
}

impl RoomGauge {
    pub(super) fn new(marks: RoomMarks) -> RoomGauge {
        let (data, log) = (Room::Ample, Room::Ample);
        let (spent, ready) = Default::default();
        RoomGauge {
            marks,
            measuring: false,
            next: Millis(0),
            allowance: 0,
            data,
            log,
            above: None,
            hard: 0,
            fits_snapshot: true,
            unknown: false,
            spent,
            ready,
        }
    }

    /// As measured last.
    pub(super) fn room(&self) -> Room {
        self.data.min(self.log)
    }

    /// So much goes to the log.
    pub(super) fn spend(&mut self, bytes: u64) {
        self.allowance = self.allowance.saturating_sub(bytes);
        self.spent = (self.spent.0 + bytes, self.spent.1 + bytes);
    }

    /// Whether so much was taken since the last measure that the log may be at the reserve: a burst is faster
    /// than any measure.
    pub(super) fn is_spent(&self) -> bool {
        self.marks.hard != Some(0) && self.above.is_some_and(|above| self.spent.0 > above + self.ready.0)
    }

    /// Whether half of the reserve is taken too, by what the last measure did not see.
    pub(super) fn is_reserve_going(&self) -> bool {
        self.is_spent() && self.above.is_some_and(|above| self.spent.0 > above + self.ready.0 + self.hard / 2)
    }

    /// Whether a snapshot fits in without touching the reserve, and lets go of log when it is there.
    pub(super) fn fits_snapshot(&self) -> bool {
        self.fits_snapshot
    }

    /// Nobody can tell: as if there were room, until somebody can.
    pub(super) fn fail(&mut self) {
        self.measuring = false;
        self.above = None;
        self.unknown = true;
        (self.spent, self.allowance, self.fits_snapshot) = ((0, 0), u64::MAX, true);
        (self.data, self.log) = (Room::Ample, Room::Ample);
    }

    /// A segment was begun: another will be made ready.
    pub(super) fn hurry(&mut self) {
        self.allowance = 0;
    }

    /// Whether it is time to measure.
    pub(super) fn is_due(&self, now: Millis) -> bool {
        !self.measuring && (now >= self.next || self.allowance == 0)
    }

    /// A measure is under way until `take`. It does not see `waiting` bytes for the log, nor that `ready` bytes
    /// of what it sees taken are the log's to fill.
    pub(super) fn begin(&mut self, now: Millis, waiting: u64, ready: u64) {
        self.spent.1 = waiting;
        self.ready.1 = ready;
        self.measuring = true;
        self.next = now + limits::ROOM_EVERY_MS;
        // Until it is known: what comes in meanwhile does not ask again.
        self.allowance = u64::MAX;
    }

    /// When `begin` is wanted though nothing is written.
    pub(super) fn next_deadline(&self) -> Option<Millis> {
        (!self.measuring).then_some(self.next)
    }

    /// How much of a segment of `len` bytes may be made ready in advance: whole blocks, which the runtime can
    /// write past its cache.
    pub(super) fn segment(&self, len: u64) -> Option<u64> {
        let wanted = match self.room() {
            Room::Ample => len,
            Room::Low => len / limits::ROOM_SEGMENT_PART,
            Room::Full => 0,
        };
        if self.unknown {
            return Some(len);
        }
        let block = limits::ROOM_SEGMENT_BLOCK;
        let len = if wanted <= self.above? / 2 { wanted } else { self.above? / 2 / block * block };
        (len > 0).then_some(len)
    }

    /// What was measured.
    pub(super) fn take(&mut self, spaces: &Spaces, pieces: Pieces) {
        self.measuring = false;
        self.unknown = false;
        (self.spent.0, self.ready.0) = (self.spent.1, self.ready.1);
        let segments = 2 * pieces.segment;
        let (for_data, for_log) = match spaces.shared {
            true => (segments + pieces.snapshot, segments + pieces.snapshot),
            false => (pieces.snapshot, segments),
        };
        let data = self.marks_of(spaces.data, for_data);
        let log = self.marks_of(spaces.log, for_log);
        self.data = level(spaces.data.free, data, self.data);
        self.log = level(spaces.log.free, log, self.log);
        let above = spaces.log.free.saturating_sub(log.hard);
        let beside = if spaces.shared { pieces.segment } else { 0 };
        self.fits_snapshot = spaces.data.free.saturating_sub(data.hard) >= pieces.snapshot + beside;
        self.hard = log.hard;
        self.above = Some(above);
        self.allowance = (above / 2).max(limits::ROOM_BYTES_MIN);
    }

    fn marks_of(&self, space: Space, pieces: u64) -> Marks {
        let hard = limits::ROOM_HARD_BYTES.min(space.total / limits::ROOM_HARD_SHARE);
        let hard = self.marks.hard.unwrap_or(hard);
        let soft = (pieces + hard).min(space.total / limits::ROOM_SOFT_SHARE);
        Marks { soft: self.marks.soft.unwrap_or(soft).max(hard), hard }
    }
}

/// A file system's marks, in bytes.
#[derive(Clone, Copy, Debug)]
struct Marks {
    soft: u64,
    hard: u64,
}

/// Coming back takes more than was missing, so that a server does not come and go with each file.
fn level(free: u64, marks: Marks, before: Room) -> Room {
    let back = |mark: u64, part: u64, was_below: bool| if was_below { mark + mark / part } else { mark };
    if free < back(marks.hard, 1, before == Room::Full) {
        Room::Full
    } else if free < back(marks.soft, 4, before < Room::Ample) {
        Room::Low
    } else {
        Room::Ample
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;
    const PIECES: Pieces = Pieces { segment: 64 * MB, snapshot: 100 * MB };

    fn one_disk(total: u64, free: u64) -> Spaces {
        let space = Space { total, free };
        Spaces { data: space, log: space, shared: true }
    }

    /// The rooms that a gauge finds on a disk of `total` MB whose free MB are these, one after the other.
    fn rooms(marks: RoomMarks, total: u64, free: &[u64]) -> Vec<Room> {
        let mut gauge = RoomGauge::new(marks);
        let mut measured = |free: &u64| {
            gauge.take(&one_disk(total * MB, free * MB), PIECES);
            gauge.room()
        };
        free.iter().map(&mut measured).collect()
    }

    #[test]
    fn rooms_by_table() {
        use Room::{Ample, Full, Low};
        let own = RoomMarks::default();
        let set = |soft, hard| RoomMarks { soft: Some(soft * MB), hard: Some(hard * MB) };
        let table: &[(RoomMarks, u64, &[u64], &[Room])] = &[
            // A big disk: two segments, a snapshot and the reserve; then the reserve; back with a quarter more,
            // and with twice the reserve.
            (own, 100_000, &[244, 243, 300, 305], &[Ample, Low, Low, Ample]),
            (own, 100_000, &[16, 15, 31, 32, 15, 400], &[Low, Full, Full, Low, Full, Ample]),
            // A small one is of use all the same.
            (own, 40, &[4, 3, 1, 0, 1, 2, 5], &[Ample, Low, Low, Full, Full, Low, Ample]),
            (set(20, 10), 40, &[20, 19, 9, 19, 20, 25], &[Ample, Low, Full, Full, Low, Ample]),
            (set(0, 10), 40, &[10, 9, 20], &[Ample, Full, Ample]),
            (set(20, 0), 40, &[20, 0, 25], &[Ample, Low, Ample]),
            (set(0, 0), 40, &[0], &[Ample]),
        ];
        for (marks, total, free, expected) in table {
            assert_eq!(rooms(*marks, *total, free), *expected, "{marks:?} on {total} MB: {free:?}");
        }
    }

    #[test]
    fn the_worse_of_two_disks_counts_each_by_what_it_takes() {
        let mut gauge = RoomGauge::new(RoomMarks::default());
        let big = |free| Space { total: 100_000 * MB, free: free * MB };
        let mut measured = |data, log| {
            gauge.take(&Spaces { data: big(data), log: big(log), shared: false }, PIECES);
            gauge.room()
        };
        assert_eq!(measured(116, 144), Room::Ample);
        assert_eq!(measured(115, 144), Room::Low);
        assert_eq!(measured(1000, 143), Room::Low);
        assert_eq!(measured(15, 1000), Room::Full);
        assert_eq!(measured(1000, 1000), Room::Ample);
    }

    #[test]
    fn a_segment_made_ready_leaves_the_reserve() {
        let mut gauge = RoomGauge::new(RoomMarks::default());
        assert_eq!(gauge.segment(64 * MB), None, "not measured yet");
        let mut segment = |total, free| {
            gauge.take(&one_disk(total * MB, free * MB), PIECES);
            gauge.segment(64 * MB)
        };
        assert_eq!(segment(100_000, 300), Some(64 * MB));
        assert_eq!(segment(100_000, 243), Some(8 * MB), "low");
        assert_eq!(segment(100_000, 24), Some(4 * MB), "low, and next to the reserve");
        assert_eq!(segment(100_000, 15), None);
        assert_eq!(segment(40, 21), Some(10 * MB), "a small disk");
    }

    #[test]
    fn it_is_measured_each_second_and_when_much_was_written() {
        let mut gauge = RoomGauge::new(RoomMarks::default());
        let measure = |gauge: &mut RoomGauge, at: u64| {
            gauge.begin(Millis(at), 0, 0);
            assert!(!gauge.is_due(Millis(at + 5000)), "one at a time");
            gauge.take(&one_disk(100_000 * MB, 36 * MB), PIECES);
        };
        assert!(gauge.is_due(Millis(0)), "at the start");
        measure(&mut gauge, 0);
        assert!(!gauge.is_due(Millis(999)));
        assert_eq!(gauge.next_deadline(), Some(Millis(1000)));
        gauge.spend(9 * MB);
        assert!(!gauge.is_due(Millis(999)));
        gauge.spend(MB);
        assert!(gauge.is_due(Millis(999)), "half of what was left above the reserve");
        measure(&mut gauge, 999);
        assert!(gauge.is_due(Millis(1999)));
        measure(&mut gauge, 1999);
        gauge.hurry();
        assert!(gauge.is_due(Millis(2000)), "a segment was begun");
    }

    /// A file system that cannot be asked, once or ever, is none that is full.
    #[test]
    fn what_cannot_be_measured_is_taken_for_room() {
        let mut gauge = RoomGauge::new(RoomMarks::default());
        gauge.begin(Millis(0), 0, 0);
        gauge.take(&one_disk(100_000 * MB, 10 * MB), PIECES);
        assert_eq!(gauge.room(), Room::Full);
        gauge.spend(1);
        assert!(gauge.is_spent() && !gauge.fits_snapshot());
        gauge.begin(Millis(1000), 0, 0);
        gauge.fail();
        gauge.spend(1000 * MB);
        assert!(gauge.room() == Room::Ample && !gauge.is_spent() && gauge.fits_snapshot());
        assert_eq!(gauge.segment(64 * MB), Some(64 * MB));
        assert!(gauge.is_due(Millis(2000)), "it is asked again");
    }

    /// A snapshot lets go of log, so it is written while it fits, however low the room is otherwise.
    #[test]
    fn a_snapshot_is_begun_where_it_fits_beside_the_reserve() {
        let mut gauge = RoomGauge::new(RoomMarks::default());
        for (total, free, fits) in
            [(100_000, 180, true), (100_000, 179, false), (1000, 200, true), (1000, 150, false)]
        {
            gauge.take(&one_disk(total * MB, free * MB), PIECES);
            assert_eq!(gauge.fits_snapshot(), fits, "{free} of {total}");
        }
    }

    #[test]
    fn half_of_the_reserve_is_the_last_that_a_burst_takes() {
        let mut gauge = RoomGauge::new(RoomMarks::default());
        gauge.take(&one_disk(100_000 * MB, 36 * MB), PIECES);
        gauge.spend(28 * MB);
        assert!(gauge.is_spent() && !gauge.is_reserve_going());
        gauge.spend(1);
        assert!(gauge.is_reserve_going());
    }

    #[test]
    fn a_burst_stops_at_the_reserve_before_it_is_measured() {
        let mut gauge = RoomGauge::new(RoomMarks::default());
        gauge.spend(1000 * MB);
        assert!(!gauge.is_spent(), "nothing is known yet");
        // Of the 20 MB above the reserve and 5 in a segment, 3 are waiting to be written.
        gauge.begin(Millis(0), 3 * MB, 5 * MB);
        gauge.spend(2 * MB);
        gauge.take(&one_disk(100_000 * MB, 36 * MB), PIECES);
        gauge.spend(20 * MB);
        assert!(!gauge.is_spent());
        gauge.spend(1);
        assert!(gauge.is_spent());
        gauge.begin(Millis(0), 0, 0);
        assert!(gauge.is_spent(), "until it is measured");
        gauge.take(&one_disk(100_000 * MB, 36 * MB), PIECES);
        assert!(!gauge.is_spent());
    }
}
