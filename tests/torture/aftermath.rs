//! What must hold when a fault is over: all serve, are equal, and hold what was acknowledged.

use crate::ensemble::Ensemble;
use crate::ledger;
use crate::load::Writers;
use crate::trees::assert_equal;

/// All are back, hold what was acknowledged, and equal each other; the writers go on.
pub(crate) fn check(ensemble: &Ensemble, writers: &Writers) {
    ensemble.wait_serving();
    let written = writers.pause();
    let tree = assert_equal(ensemble);
    written.iter().for_each(|w| w.check(&tree));
    writers.go_on();
}

/// The same for good, and the run is written down.
pub(crate) fn finish(ensemble: &Ensemble, writers: Writers, fault: &str, count: u64) {
    // A server that was let go joins again.
    ensemble.wait_serving();
    let written = writers.end();
    let tree = assert_equal(ensemble);
    written.iter().for_each(|w| w.check(&tree));
    let writes = written.iter().map(|w| w.count()).sum();
    eprintln!("{fault}: {count} times, {writes} acknowledged writes, none lost");
    ledger::record("disk faults", "", [(fault, count), ("writes", writes), ("lost", 0)]);
}
