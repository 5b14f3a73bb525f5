//! Numbers behind `srvr`, `stat` and `mntr`.

use crate::time::Millis;

/// Counters of one server since it began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Requests received.
    pub received: u64,
    /// Replies and events sent.
    pub sent: u64,
    /// Requests answered, and their latency in milliseconds.
    pub answered: u64,
    /// Sum of latencies.
    pub latency_sum: u64,
    /// Least.
    pub latency_min: u64,
    /// Greatest.
    pub latency_max: u64,
    /// The last, least and greatest size of a proposal.
    pub proposal: Option<(usize, usize, usize)>,
    /// Txns whose digest was not the leader's.
    pub digest_mismatches: u64,
    /// Elections begun.
    pub looking: u64,
    /// Snapshots written.
    pub snapshots: u64,
    /// Sessions that expired.
    pub expired: u64,
    /// Writes refused for want of room.
    pub refused: u64,
}

impl Stats {
    pub(super) fn on_answer(&mut self, since: Millis, now: Millis) {
        let latency = now - since;
        self.latency_min = if self.answered == 0 { latency } else { self.latency_min.min(latency) };
        self.latency_max = self.latency_max.max(latency);
        self.latency_sum += latency;
        self.answered += 1;
        self.sent += 1;
    }

    pub(super) fn on_proposal(&mut self, bytes: usize) {
        let (_, least, greatest) = self.proposal.unwrap_or((bytes, bytes, bytes));
        self.proposal = Some((bytes, least.min(bytes), greatest.max(bytes)));
    }

    /// Average latency in milliseconds.
    pub fn latency_avg(&self) -> f64 {
        if self.answered == 0 { 0.0 } else { self.latency_sum as f64 / self.answered as f64 }
    }
}
