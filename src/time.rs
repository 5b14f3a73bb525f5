//! Time as values: milliseconds of a monotonic clock that only the runtime or the simulator reads.

use std::ops::{Add, Sub};

/// A moment, in milliseconds since the process (or the simulated world) began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl Add<u64> for Millis {
    type Output = Millis;
    fn add(self, ms: u64) -> Millis {
        Millis(self.0.saturating_add(ms))
    }
}

impl Sub<Millis> for Millis {
    type Output = u64;
    fn sub(self, earlier: Millis) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A wall-clock time in milliseconds since 1970. It reaches Stat and logs only, never a decision
/// (ZOOKEEPER-1366).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallMillis(pub i64);

/// What the runtime hands to the core with each event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic, for every decision.
    pub mono: Millis,
    /// Wall clock, for Stat and logs.
    pub wall: WallMillis,
}
