//! The threads that execute disk batches, one per lane.

use super::fs_disk::FsDisk;
use crate::storage::{Batch, BatchDone, DiskOp, Lane, execute};
use mio::Waker;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A sync slower than this is not waited for in the hot loop.
const SLOW: Duration = Duration::from_millis(5);
/// A larger write is not waited for either.
const INLINE_BYTES_MAX: usize = 256 << 10;
/// After a slow one so many batches go to the thread before the loop tries again itself.
const AVOID: u32 = 64;

/// A lane's thread, and the right to execute in its stead.
#[derive(Debug)]
struct LaneThread {
    send: Sender<Batch>,
    disk: Arc<Mutex<FsDisk>>,
}

/// Both lanes.
#[derive(Debug)]
pub(super) struct DiskThreads {
    log: LaneThread,
    bulk: LaneThread,
    done: Receiver<BatchDone>,
    avoid_inline: u32,
}

fn lane(name: &str, disk: FsDisk, done: Sender<BatchDone>, waker: Arc<Waker>) -> io::Result<LaneThread> {
    let disk = Arc::new(Mutex::new(disk));
    let (send, receive) = channel::<Batch>();
    let lane_disk = Arc::clone(&disk);
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        while let Ok(batch) = receive.recv() {
            let Ok(mut disk) = lane_disk.lock() else { return };
            let result = execute(&mut *disk, batch);
            drop(disk);
            if done.send(result).is_err() || waker.wake().is_err() {
                return;
            }
        }
    })?;
    Ok(LaneThread { send, disk })
}

/// Whether a batch is the everyday kind: a small write and its sync.
fn is_quick(batch: &Batch) -> bool {
    batch.ops.iter().all(|op| match op {
        DiskOp::Write { bytes, .. } | DiskOp::Append { bytes, .. } | DiskOp::Replace { bytes, .. } => {
            bytes.len() <= INLINE_BYTES_MAX
        }
        DiskOp::Sync(_) | DiskOp::SyncDir(_) | DiskOp::Rename { .. } | DiskOp::Remove(_) => true,
        DiskOp::Zero { .. }
        | DiskOp::CutBehind { .. }
        | DiskOp::Recover(_)
        | DiskOp::Initialise { .. }
        | DiskOp::Settle { .. }
        | DiskOp::Distrust
        | DiskOp::Purge { .. }
        | DiskOp::Measure => false,
    })
}

impl DiskThreads {
    pub(super) fn start(log: FsDisk, bulk: FsDisk, waker: &Arc<Waker>) -> io::Result<DiskThreads> {
        let (send, done) = channel();
        Ok(DiskThreads {
            log: lane("disk-log", log, send.clone(), Arc::clone(waker))?,
            bulk: lane("disk-bulk", bulk, send, Arc::clone(waker))?,
            done,
            avoid_inline: 0,
        })
    }

    /// Executes a log batch right here when the loop has nothing else to do: two hand-offs to
    /// another thread cost more than the sync of a small batch. `None`: it went to its thread.
    pub(super) fn submit(&mut self, batch: Batch, idle: bool) -> Option<BatchDone> {
        let lane = match batch.lane {
            Lane::Log => &self.log,
            Lane::Bulk => &self.bulk,
        };
        let inline = idle && batch.lane == Lane::Log && self.avoid_inline == 0 && is_quick(&batch);
        if batch.lane == Lane::Log {
            self.avoid_inline = self.avoid_inline.saturating_sub(1);
        }
        if !inline {
            // The thread ends only with the process.
            let _ = lane.send.send(batch);
            return None;
        }
        let mut disk = lane.disk.lock().ok()?;
        let from = Instant::now();
        let done = execute(&mut *disk, batch);
        if from.elapsed() > SLOW {
            self.avoid_inline = AVOID;
        }
        Some(done)
    }

    /// What the threads have finished.
    pub(super) fn take_done(&self) -> Option<BatchDone> {
        self.done.try_recv().ok()
    }

    /// Whether a thread died: without its disk a server must not live on (ZOOKEEPER-2247).
    pub(super) fn is_broken(&self) -> bool {
        self.log.disk.is_poisoned() || self.bulk.disk.is_poisoned()
    }
}
