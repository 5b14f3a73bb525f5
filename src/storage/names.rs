//! The names of files: `log.<hex>`, `snapshot.<hex>`, and ours, which Apache ignores.

pub(super) use crate::format::files::all;
pub use crate::format::files::{log_name, parse, snapshot_name};

/// `acceptedEpoch`, in the data directory.
pub(super) const ACCEPTED_EPOCH: &str = "acceptedEpoch";
/// `currentEpoch`, in the data directory.
pub(super) const CURRENT_EPOCH: &str = "currentEpoch";
/// Apache's mark of a directory that may begin empty (`zkServer-initialize.sh`), in the data directory's parent.
pub(super) const INITIALIZE: &str = "initialize";
/// Our record of how far the log is known to be durable, in the log directory.
pub(super) const DURABLE: &str = "zkctl.durable";
/// Our record of which segment we began last, in the log directory: a newer one was written by Apache.
pub(super) const BEGUN: &str = "zkctl.segment";
/// Our number of the database, in both directories.
pub(super) const DATABASE: &str = "zkctl.database";
/// Our record of the snapshot that a leader sent last, in the data directory.
pub(super) const RECEIVED: &str = "zkctl.received";
/// Our mark of a database that lost something, in the data directory.
pub(super) const UNTRUSTED: &str = "zkctl.untrusted";
/// What was damaged is kept under its name behind this.
pub(super) const DAMAGED: &str = "zkctl.damaged.";
/// A pre-zeroed segment that waits for its first record, in the log directory.
pub(super) fn spare_name(number: u64) -> String {
    format!("zkctl.spare.{number}.zkctl-tmp")
}
