//! What to write, sync, keep, recover and purge, as disk operations. Executes nothing.
//!
//! Two ordered lanes: the log lane carries records, epochs and everything that must stand in order
//! with them, one batch at a time, so that at most one batch is ever unsynced; the bulk lane carries
//! snapshots, segment preparation and purges. A failed operation is final: the server halts.
//! Deliberately absent: the meaning of txns and the decision when something may be acknowledged.

mod cut;
mod disk;
mod durable_mark;
mod epochs;
mod identity;
mod log_reader;
mod names;
mod purge;
mod received;
mod recovery;
mod recovery_error;
mod repair;
mod room;
mod segment;
mod snapshot_file;
mod snapshots;
mod untrusted;

pub use disk::{
    Batch, BatchDone, Dir, Disk, DiskError, DiskOp, FileRef, Found, Lane, Rest, TEMPORARY, execute, read_all,
    write_zeros,
};
pub use durable_mark::DurableMark;
pub use log_reader::{End, LogReader, Record};
pub use names::{log_name, parse as parse_name, snapshot_name};
pub use recovery::{Recovered, RecoveryOptions, initialise, recover};
pub use recovery_error::RecoveryError;
pub use repair::recover_repairable;
pub use room::{RoomMarks, Space, Spaces};
pub use segment::Segment;
pub use snapshot_file::SnapshotSink;

use crate::mutants::{self, Mutant};
use crate::prng::Prng;
use crate::time::Millis;
use crate::zab::{Proposal, Room, Ticket};
use crate::zxid::{Epoch, Zxid};
use room::{Pieces, RoomGauge};
use segment::LogEnd;
use std::collections::VecDeque;

/// The most record bytes of one log batch: a sync of this size takes about a millisecond.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// How often the durable mark is renewed while the log grows, in milliseconds.
const MARK_EVERY_MS: u64 = 1000;
/// Zeros written to a spare per bulk operation, so that it never holds the lane for long.
const ZERO_SLICE: u64 = 4 << 20;

/// The fixed parts of storage policy.
#[derive(Clone, Debug)]
pub struct StorageOptions {
    /// Txns between snapshots, about.
    pub snap_count: u64,
    /// Log bytes between snapshots, about.
    pub snap_bytes: u64,
    /// Log bytes after which a new segment begins; `None` is only when it is full or a snapshot is taken.
    pub log_bytes: Option<u64>,
    /// Length of pre-zeroed segments.
    pub prealloc_bytes: u64,
    /// Whether the log is synced at all (`forceSync=no` is for those who know).
    pub force_sync: bool,
    /// Snapshots kept by a purge, and milliseconds between purges; 0 is never.
    pub purge: (usize, u64),
    /// How to read the database back.
    pub recovery: RecoveryOptions,
    /// For the spread of snapshots over the servers.
    pub seed: u64,
}

/// Something for the log lane, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogItem {
    /// A record.
    Append(Proposal),
    /// `acceptedEpoch`.
    AcceptedEpoch(Epoch),
    /// `currentEpoch`.
    CurrentEpoch(Epoch),
    /// Drop what lies behind; read the database back when asked.
    Truncate {
        /// The last zxid to keep.
        to: Zxid,
        /// Read back.
        reload: bool,
    },
    /// Put the received snapshot in place.
    Install {
        /// Its zxid.
        zxid: Zxid,
        /// Mark the database as not to be voted with until `Trust`.
        untrusted: bool,
    },
    /// Make an empty directory a database.
    Initialise,
    /// The database may be trusted again.
    Trust,
}

/// What storage has to tell.
#[derive(Debug)]
pub enum StorageEvent {
    /// Everything up to this ticket is on disk.
    Done(Ticket),
    /// A truncation read the database back.
    Reloaded(Box<Recovered>),
    /// A snapshot is on disk.
    SnapshotWritten(Zxid),
    /// The room that is left on the disk.
    Measured(Spaces),
    /// The disk failed: stop, tell why, never try again.
    Failed(DiskError),
}

#[derive(Debug)]
struct LogFlight {
    id: u64,
    ticket: Ticket,
    /// Of records.
    bytes: u64,
    mark: Option<DurableMark>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bulk {
    /// Bytes zeroed so far.
    Spare(u64),
    Snapshot,
    SnapshotEnd(Zxid),
    Incoming,
    /// Of which stream.
    IncomingEnd(u64),
    Mark,
    Purge,
    Measure,
}

/// Storage policy of one server.
#[derive(Debug)]
pub struct Storage {
    options: StorageOptions,
    queue: VecDeque<(Ticket, LogItem)>,
    log: LogEnd,
    log_flight: Option<LogFlight>,
    /// The log lane is dropping files: the other lane begins nothing.
    cutting: bool,
    next_log_id: u64,
    durable: Option<DurableMark>,
    marked: Option<DurableMark>,
    next_mark: Millis,
    bulk_queue: VecDeque<(Bulk, Vec<DiskOp>)>,
    bulk_flight: VecDeque<(u64, Bulk)>,
    next_bulk_id: u64,
    preparing: bool,
    spares: u64,
    /// The length of the spare being prepared.
    spare_len: u64,
    /// Nobody asks when there is none.
    gauge: Option<RoomGauge>,
    snapshot: Option<SnapshotSink>,
    incoming: Option<SnapshotSink>,
    incoming_ready: bool,
    /// Counts SNAP streams, so that the end of an abandoned one is not taken for the next one's.
    incoming_count: u64,
    txns_since_snapshot: u64,
    bytes_since_snapshot: u64,
    snapshot_due: (u64, u64),
    next_purge: Millis,
    prng: Prng,
}

impl Storage {
    /// Storage over what recovery found.
    pub fn new(options: StorageOptions, recovered: &Recovered) -> Storage {
        let mut prng = Prng::new(options.seed);
        let snapshot_due = due(&options, &mut prng);
        let next_purge = Millis(options.purge.1);
        Storage {
            log: LogEnd::new(recovered.segment, options.force_sync, options.log_bytes),
            queue: VecDeque::new(),
            log_flight: None,
            cutting: false,
            next_log_id: 1,
            durable: recovered.segment.map(|s| s.mark()),
            marked: recovered.mark,
            next_mark: Millis(0),
            bulk_queue: VecDeque::new(),
            bulk_flight: VecDeque::new(),
            next_bulk_id: 1,
            preparing: false,
            spares: 0,
            spare_len: 0,
            gauge: None,
            snapshot: None,
            incoming: None,
            incoming_ready: false,
            incoming_count: 0,
            txns_since_snapshot: recovered.replayed,
            bytes_since_snapshot: 0,
            snapshot_due,
            next_purge,
            prng,
            options,
        }
    }

    /// Queues something for the log lane under `ticket`; tickets grow.
    pub fn submit(&mut self, ticket: Ticket, item: LogItem) {
        if let LogItem::Append(proposal) = &item {
            self.txns_since_snapshot += 1;
            self.bytes_since_snapshot += proposal.bytes.len() as u64;
            if let Some(gauge) = &mut self.gauge {
                gauge.spend(proposal.bytes.len() as u64);
            }
        }
        self.queue.push_back((ticket, item));
    }

    /// Whether nothing waits for or is on the log lane.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.log_flight.is_none()
    }

    /// Hands out what may be executed now.
    pub fn flush(&mut self, now: Millis, out: &mut Vec<Batch>) {
        if self.log_flight.is_none() && !self.queue.is_empty() {
            self.flush_log(out);
        }
        self.prepare_spare();
        if now >= self.next_mark && self.durable != self.marked {
            self.next_mark = now + MARK_EVERY_MS;
            self.queue_mark();
        }
        if self.options.purge.1 > 0 && now >= self.next_purge {
            self.next_purge = now + self.options.purge.1;
            self.bulk_queue.push_back((Bulk::Purge, vec![DiskOp::Purge { retain: self.options.purge.0 }]));
        }
        self.measure(now);
        if self.cutting {
            return;
        }
        // A few at once keep the disk busy; more would only take memory.
        while self.bulk_flight.len() < 2 {
            let Some((what, ops)) = self.bulk_queue.pop_front() else { break };
            let id = self.next_bulk_id;
            self.next_bulk_id += 1;
            self.bulk_flight.push_back((id, what));
            out.push(Batch { lane: Lane::Bulk, id, ops });
        }
    }

    /// When `flush` is wanted though nothing happens.
    pub fn next_deadline(&self) -> Option<Millis> {
        let mark = (self.durable != self.marked).then_some(self.next_mark);
        let purge = (self.options.purge.1 > 0).then_some(self.next_purge);
        let measure = self.gauge.as_ref().and_then(RoomGauge::next_deadline);
        mark.into_iter().chain(purge).chain(measure).min()
    }

    fn flush_log(&mut self, out: &mut Vec<Batch>) {
        let mut ops = Vec::new();
        let mut bytes = 0;
        let mut last = None;
        let began = self.log.segment.map(|s| s.first);
        while bytes < BATCH_BYTES_MAX {
            if self.queue.front().is_some_and(|(_, item)| self.must_wait(item)) {
                break;
            }
            let Some((ticket, item)) = self.queue.pop_front() else { break };
            last = Some(ticket);
            if let LogItem::Append(proposal) = &item {
                bytes += proposal.bytes.len();
            }
            self.translate(item, &mut ops);
        }
        let Some(ticket) = last else { return };
        self.log.finish(&mut ops);
        if self.log.segment.map(|s| s.first) != began
            && let Some(gauge) = &mut self.gauge
        {
            gauge.hurry();
        }
        let id = self.next_log_id;
        self.next_log_id += 1;
        self.log_flight =
            Some(LogFlight { id, ticket, bytes: bytes as u64, mark: self.log.segment.map(|s| s.mark()) });
        out.push(Batch { lane: Lane::Log, id, ops });
    }

    /// A snapshot is installed only when all of it is in its file; and no snapshot of our own may be
    /// named behind a cut that it does not know of (ZOOKEEPER-4837).
    fn must_wait(&self, item: &LogItem) -> bool {
        let install = matches!(item, LogItem::Install { .. });
        let cuts = install || matches!(item, LogItem::Truncate { .. });
        let unnamed = self.snapshot.as_ref().is_some_and(SnapshotSink::is_ended);
        // A mark under way would be named behind the cut, a purge would count what is being cut.
        let racing = self.bulk_flight.iter().any(|(_, what)| matches!(what, Bulk::Mark | Bulk::Purge));
        (cuts && (unnamed || racing)) || (install && !self.incoming_ready)
    }

    fn translate(&mut self, item: LogItem, ops: &mut Vec<DiskOp>) {
        let epoch_file = |name: &str, epoch: Epoch| DiskOp::Replace {
            file: FileRef::data(name),
            bytes: epoch.to_string().into_bytes().into(),
        };
        let early = matches!(item, LogItem::CurrentEpoch(_)) && mutants::on(Mutant::EpochBeforeHistory);
        if !matches!(item, LogItem::Append(_)) && !early {
            self.log.finish(ops);
        }
        match item {
            LogItem::Append(proposal) => self.log.append(&proposal, ops),
            LogItem::AcceptedEpoch(_) if mutants::on(Mutant::AcceptedEpochNotWritten) => {}
            LogItem::AcceptedEpoch(epoch) => ops.push(epoch_file(names::ACCEPTED_EPOCH, epoch)),
            LogItem::CurrentEpoch(epoch) => ops.push(epoch_file(names::CURRENT_EPOCH, epoch)),
            LogItem::Truncate { to, reload } => {
                let seed = self.options.recovery.seed;
                self.cut(to, if reload { Rest::ReadBack { seed } } else { Rest::History }, ops);
                if reload {
                    ops.push(DiskOp::Recover(self.options.recovery.clone()));
                }
            }
            LogItem::Install { zxid, untrusted } => {
                if untrusted {
                    ops.push(DiskOp::Distrust);
                }
                self.cut(zxid, Rest::Replaced, ops);
                let sink = self.incoming.take();
                assert!(sink.is_some_and(|s| s.zxid() == zxid), "the snapshot that arrived is installed");
                self.incoming_ready = false;
                if !mutants::on(Mutant::SnapNotInstalled) {
                    ops.push(DiskOp::Rename {
                        dir: Dir::Data,
                        from: snapshot_file::INCOMING.into(),
                        to: snapshot_name(zxid),
                    });
                }
                ops.push(DiskOp::SyncDir(Dir::Data));
                ops.push(received::remember(zxid));
                ops.push(DiskOp::Settle { seed: self.options.recovery.seed });
                self.count_from_snapshot();
            }
            LogItem::Initialise => ops.push(DiskOp::Initialise { seed: self.options.recovery.seed }),
            LogItem::Trust => {
                ops.push(DiskOp::Remove(FileRef::data(names::UNTRUSTED)));
                ops.push(DiskOp::SyncDir(Dir::Data));
            }
        }
    }

    /// Nothing is known to be durable any more; a cut that is made takes the mark with it.
    fn cut(&mut self, after: Zxid, rest: Rest, ops: &mut Vec<DiskOp>) {
        self.log.close(ops);
        self.durable = None;
        self.marked = None;
        self.bulk_queue.retain(|(what, _)| !matches!(what, Bulk::Mark | Bulk::Purge));
        self.cutting = true;
        ops.push(DiskOp::CutBehind { after, rest });
    }

    fn queue_mark(&mut self) {
        // Without syncs nothing is known to be durable.
        let Some(mark) = self.durable.filter(|_| self.options.force_sync) else {
            self.marked = self.durable;
            return;
        };
        let written = self.log.segment.map(|s| s.mark());
        let mark = written.filter(|_| mutants::on(Mutant::MarkAheadOfDisk)).unwrap_or(mark);
        self.marked = Some(mark);
        let op = DiskOp::Replace { file: FileRef::log(names::DURABLE), bytes: mark.encode().into() };
        self.bulk_queue.push_back((Bulk::Mark, vec![op]));
    }

    /// The server stops in order: record how far the log is durable.
    pub fn stop(&mut self, out: &mut Vec<Batch>) {
        assert!(self.is_idle(), "the log is flushed before the end");
        if self.durable != self.marked {
            self.queue_mark();
        }
        // What is dropped here of a snapshot must be missed: its end, handed over later, would give it its name.
        if self.bulk_queue.iter().any(|(what, _)| *what == Bulk::Snapshot) {
            self.abandon_snapshot();
        }
        while let Some((what, ops)) = self.bulk_queue.pop_front() {
            if what == Bulk::Mark {
                let id = self.next_bulk_id;
                self.next_bulk_id += 1;
                self.bulk_flight.push_back((id, what));
                out.push(Batch { lane: Lane::Bulk, id, ops });
            }
        }
    }

    /// Whether bulk work is still under way.
    pub fn bulk_is_idle(&self) -> bool {
        self.bulk_flight.is_empty()
    }

    fn prepare_spare(&mut self) {
        if self.preparing || self.log.spare.is_some() || self.options.prealloc_bytes == 0 {
            return;
        }
        let all = self.options.prealloc_bytes;
        let len = self.gauge.as_ref().map_or(Some(all), |g| g.segment(all));
        let Some(len) = len else { return };
        self.preparing = true;
        self.spare_len = len;
        self.spares += u64::from(!mutants::on(Mutant::SpareNameReused));
        self.spare_slice(0);
    }

    fn spare_slice(&mut self, done: u64) {
        let name = names::spare_name(self.spares);
        if done > 0 && done < self.spare_len && self.room() == Room::Full {
            // It ends here, to be used as it is.
            self.spare_len = done;
            self.bulk_queue.push_back((Bulk::Spare(done), vec![DiskOp::Sync(FileRef::log(name))]));
            return;
        }
        let all = self.spare_len;
        if done == all {
            self.preparing = false;
            self.log.spare = Some((name, all));
            return;
        }
        let file = FileRef::log(name);
        let len = ZERO_SLICE.min(all - done);
        let mut ops = vec![DiskOp::Zero { file: file.clone(), offset: done, len }];
        if done + len == all {
            ops.push(DiskOp::Sync(file));
        }
        self.bulk_queue.push_back((Bulk::Spare(done + len), ops));
    }

    /// A batch was executed.
    pub fn on_done(&mut self, done: BatchDone, events: &mut Vec<StorageEvent>) {
        let found = match done.result {
            Ok(found) => found,
            Err(error) => return events.push(StorageEvent::Failed(error)),
        };
        match done.lane {
            Lane::Log => {
                let Some(flight) = self.log_flight.take() else { return };
                self.cutting = false;
                assert_eq!(flight.id, done.id, "log batches complete in order");
                self.durable = flight.mark;
                if let Some(Found::Database(recovered)) = found {
                    self.log.segment = recovered.segment;
                    self.durable = recovered.segment.map(|s| s.mark());
                    self.marked = recovered.mark;
                    self.txns_since_snapshot = recovered.replayed;
                    events.push(StorageEvent::Reloaded(recovered));
                }
                events.push(StorageEvent::Done(flight.ticket));
            }
            Lane::Bulk => {
                let Some((id, what)) = self.bulk_flight.pop_front() else { return };
                assert_eq!(id, done.id, "bulk batches complete in order");
                match what {
                    Bulk::Spare(zeroed) => self.spare_slice(zeroed),
                    Bulk::SnapshotEnd(zxid) => {
                        self.snapshot = None;
                        events.push(StorageEvent::SnapshotWritten(zxid));
                    }
                    Bulk::IncomingEnd(count) => {
                        self.incoming_ready = self.incoming.is_some()
                            && (count == self.incoming_count || mutants::on(Mutant::StaleIncomingEnd));
                    }
                    Bulk::Measure => match (found, &mut self.gauge) {
                        (Some(Found::Spaces(spaces)), _) => events.push(StorageEvent::Measured(spaces)),
                        (_, Some(gauge)) => gauge.fail(),
                        (_, None) => {}
                    },
                    Bulk::Snapshot | Bulk::Incoming | Bulk::Mark | Bulk::Purge => {}
                }
            }
        }
    }

    // --- room ---

    /// Watches the disk's room by these marks from now on.
    pub fn watch_room(&mut self, marks: RoomMarks) {
        self.gauge = Some(RoomGauge::new(marks));
    }

    /// Whether the log took so much in so short a time that it may be at the reserve.
    pub fn is_out_of_room(&self) -> bool {
        self.gauge.as_ref().is_some_and(RoomGauge::is_spent)
    }

    /// Whether the log has taken a good part of the reserve since the room was measured last.
    pub fn is_reserve_going(&self) -> bool {
        self.gauge.as_ref().is_some_and(RoomGauge::is_reserve_going)
    }

    /// Whether `watch_room` was called.
    pub fn watches_room(&self) -> bool {
        self.gauge.is_some()
    }

    /// As measured last.
    pub fn room(&self) -> Room {
        self.gauge.as_ref().map_or(Room::Ample, RoomGauge::room)
    }

    fn measure(&mut self, now: Millis) {
        let waiting = || {
            let bytes = |item: &LogItem| match item {
                LogItem::Append(proposal) => proposal.bytes.len() as u64,
                _ => 0,
            };
            let under_way = self.log_flight.as_ref().map_or(0, |flight| flight.bytes);
            self.queue.iter().map(|(_, item)| bytes(item)).sum::<u64>() + under_way
        };
        if let Some(gauge) = self.gauge.as_mut().filter(|g| g.is_due(now)) {
            gauge.begin(now, waiting(), self.log.ready());
            self.bulk_queue.push_back((Bulk::Measure, vec![DiskOp::Measure]));
        }
    }

    /// Judges what was measured, when a snapshot would take about `snapshot` bytes.
    pub fn judge_room(&mut self, spaces: &Spaces, snapshot: u64) -> Room {
        let pieces = Pieces { segment: self.options.prealloc_bytes, snapshot };
        if let Some(gauge) = &mut self.gauge {
            gauge.take(spaces, pieces);
        }
        let room = self.room();
        if room == Room::Full {
            self.give_back_room();
        }
        room
    }

    /// What was begun and is not needed: a snapshot is written again when there is room.
    fn give_back_room(&mut self) {
        if self.snapshot.as_ref().is_some_and(|s| !s.is_ended()) {
            self.snapshot = None;
            self.bulk_queue.retain(|(what, _)| *what != Bulk::Snapshot);
            let unfinished = DiskOp::Remove(FileRef::data(snapshot_file::OUTGOING));
            self.bulk_queue.push_back((Bulk::Snapshot, vec![unfinished]));
            self.txns_since_snapshot = self.txns_since_snapshot.max(self.snapshot_due.0);
        }
    }

    // --- snapshots ---

    fn count_from_snapshot(&mut self) {
        self.txns_since_snapshot = 0;
        self.bytes_since_snapshot = 0;
        self.snapshot_due = due(&self.options, &mut self.prng);
    }

    /// Whether it is time for a snapshot, none is being written, and there is room for one.
    pub fn wants_snapshot(&self) -> bool {
        let (txns, bytes) = self.snapshot_due;
        let may = self.snapshot.is_none() && self.gauge.as_ref().is_none_or(RoomGauge::fits_snapshot);
        may && (self.txns_since_snapshot >= txns || self.bytes_since_snapshot >= bytes)
    }

    /// Begins a snapshot at `zxid`; the log rolls with it.
    pub fn begin_snapshot(&mut self, zxid: Zxid) {
        assert!(self.snapshot.is_none(), "one snapshot at a time");
        self.count_from_snapshot();
        self.log.roll = true;
        let (sink, ops) = SnapshotSink::begin(zxid, snapshot_file::OUTGOING);
        self.snapshot = Some(sink);
        self.bulk_queue.push_back((Bulk::Snapshot, ops));
    }

    /// Whether a snapshot is being written and more of its bytes are welcome now.
    pub fn snapshot_has_room(&self) -> bool {
        self.snapshot.as_ref().is_some_and(|s| !s.is_ended()) && self.bulk_queue.len() < 2
    }

    /// More of the snapshot's body; with `end`, the tree's digest, all of it.
    pub fn snapshot_bytes(&mut self, body: Vec<u8>, end: Option<u64>) {
        let Some(sink) = &mut self.snapshot else { return };
        let mut ops = sink.body(body);
        let Some(digest) = end else {
            self.bulk_queue.push_back((Bulk::Snapshot, ops));
            return;
        };
        let zxid = sink.zxid();
        ops.extend(sink.end(digest));
        ops.push(DiskOp::Rename {
            dir: Dir::Data,
            from: snapshot_file::OUTGOING.into(),
            to: snapshot_name(zxid),
        });
        if !mutants::on(Mutant::SnapshotNameNotSynced) {
            ops.push(DiskOp::SyncDir(Dir::Data));
        }
        self.bulk_queue.push_back((Bulk::SnapshotEnd(zxid), ops));
    }

    /// The tree was replaced while a snapshot of it was being written: drop the rest.
    pub fn abandon_snapshot(&mut self) {
        if self.snapshot.as_ref().is_some_and(|s| !s.is_ended()) {
            self.snapshot = None;
        }
    }

    /// A SNAP's stream begins.
    pub fn begin_incoming(&mut self, zxid: Zxid) {
        let (sink, ops) = SnapshotSink::begin(zxid, snapshot_file::INCOMING);
        self.incoming = Some(sink);
        self.incoming_ready = false;
        self.incoming_count += 1;
        self.bulk_queue.retain(|(what, _)| !matches!(what, Bulk::Incoming | Bulk::IncomingEnd(_)));
        self.bulk_queue.push_back((Bulk::Incoming, ops));
    }

    /// More of it; with `end`, the loaded tree's digest, all of it.
    pub fn incoming_bytes(&mut self, body: Vec<u8>, end: Option<u64>) {
        let Some(sink) = &mut self.incoming else { return };
        let mut ops = sink.body(body);
        let what = match end {
            None => Bulk::Incoming,
            Some(digest) => {
                ops.extend(sink.end(digest));
                Bulk::IncomingEnd(self.incoming_count)
            }
        };
        self.bulk_queue.push_back((what, ops));
    }
}

/// When the next snapshot is due: after half the count and a random part of the other half, so that
/// the servers of an ensemble do not all write theirs at once.
fn due(options: &StorageOptions, prng: &mut Prng) -> (u64, u64) {
    let half = (options.snap_count / 2).max(1);
    let half_bytes = (options.snap_bytes / 2).max(1);
    (half + prng.below(half), half_bytes + prng.below(half_bytes))
}
