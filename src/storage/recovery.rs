//! Reading the database back: the newest whole snapshot, then the log behind it.
//!
//! Tells a torn tail (bytes that were never durable: cut, go on) from corruption (bytes that were:
//! refused with their position). Never serves an empty tree when log files exist (ZOOKEEPER-2325),
//! and never skips a gap that zxids tell of.

use super::disk::{Dir, Disk, DiskError, FileRef, TEMPORARY, read_all, replace};
use super::durable_mark::DurableMark;
use super::epochs;
use super::identity;
use super::log_reader::{End, LogReader, Record};
use super::names;
use super::received;
use super::recovery_error::RecoveryError;
use super::segment::Segment;
use super::snapshots::{self, Loaded, Newest};
use super::untrusted;
use crate::format::snapshot;
use crate::limits;
use crate::mutants::{self, Mutant};
use crate::session::SessionTable;
use crate::tree::{DigestCheck, Tree, TreeOptions};
use crate::wire::txn::{Txn, TxnRecord};
use crate::zab::{self, History, Proposal, Trust};
use crate::zxid::Zxid;
use std::collections::VecDeque;

/// How to read a database back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryOptions {
    /// The tree's hash seed.
    pub seed: u64,
    /// `extendedTypesEnabled`.
    pub extended_types: bool,
    /// An empty directory may become a database at once: standalone, or `db.autocreate=true` written.
    pub may_begin: bool,
    /// `snapshot.trust.empty`.
    pub trust_empty: bool,
}

/// What was read back.
pub struct Recovered {
    /// The tree at the last zxid.
    pub tree: Tree,
    /// The sessions alive there.
    pub sessions: SessionTable,
    /// What Zab needs.
    pub zab: zab::Recovered,
    /// Where appending goes on; `None` begins a new segment.
    pub segment: Option<Segment>,
    /// How far the log was marked durable.
    pub mark: Option<DurableMark>,
    /// Txns replayed behind the snapshot.
    pub replayed: u64,
    /// What operators should read.
    pub notes: Vec<String>,
}

impl std::fmt::Debug for Recovered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recovered")
            .field("zab", &self.zab)
            .field("notes", &self.notes)
            .finish_non_exhaustive()
    }
}

/// The txns kept for DIFF while the log is replayed.
#[derive(Default)]
struct Window {
    txns: VecDeque<Proposal>,
    bytes: usize,
}

impl Window {
    fn push(&mut self, proposal: Proposal) {
        self.bytes += proposal.bytes.len();
        self.txns.push_back(proposal);
        while self.txns.len() > limits::COMMITTED_WINDOW_TXNS || self.bytes > limits::COMMITTED_WINDOW_BYTES {
            let Some(oldest) = self.txns.pop_front() else { break };
            self.bytes -= oldest.bytes.len();
        }
    }
}

struct Replay {
    tree: Tree,
    sessions: SessionTable,
    window: Window,
    last: Option<Zxid>,
    replayed: u64,
    /// The log holds the txn with which the snapshot ends.
    bridged: bool,
    notes: Vec<String>,
    /// Snapshots behind the one that was loaded, oldest last: they cannot be read.
    damaged: Vec<Zxid>,
    /// The tree is what the last txn made it, by a digest.
    in_step: bool,
    /// That it was once, and is not any more, has been told.
    told: bool,
}

impl Replay {
    fn begin(newest: Newest, notes: Vec<String>) -> Replay {
        let Newest { loaded: Loaded { tree, sessions, exact }, damaged } = newest;
        Replay {
            tree,
            sessions,
            window: Window::default(),
            last: None,
            replayed: 0,
            bridged: false,
            notes,
            damaged,
            in_step: exact,
            told: false,
        }
    }

    /// Segments that are missing in front of an epoch's first txn leave nothing that zxids tell of, since every epoch
    /// begins at 1: the tree is another one from there on. Only told: in the original a leader with another tree
    /// leaves the same, and its learners go on.
    fn compare(&mut self, digest: DigestCheck, file: &str, record: &TxnRecord<'_>) {
        // A failed txn has none and changes nothing.
        if matches!(record.txn, Txn::Error { .. }) && digest == DigestCheck::Absent {
            return;
        }
        if self.in_step && digest == DigestCheck::Mismatch && !std::mem::replace(&mut self.told, true) {
            self.notes.push(format!(
                "{file}: the tree behind {} is not the one that its leader had. If a segment in front of this one is \
                 missing, stop the server and bring it back, or move the whole data directory away and let the \
                 server synchronise from the others",
                record.header.zxid
            ));
        }
        self.in_step = digest == DigestCheck::Match;
    }

    /// A snapshot came from a log that holds its txn, or from the leader and stands in for one that does
    /// not. Fails when the log leads past an unreadable one without its txn: there is a hole. A snapshot
    /// at an epoch's beginning (Apache's) belongs to no txn.
    fn pass_damaged(&mut self, until: Option<Zxid>) -> Result<(), RecoveryError> {
        let last = self.tree.last_zxid();
        while let Some(damaged) = self.damaged.pop_if(|d| until.is_none_or(|until| *d < until)) {
            let bridged = damaged <= last || damaged.counter() == 0;
            if !bridged && !mutants::on(Mutant::EmptyTreeWithLogs) {
                return Err(RecoveryError::Unbridged { file: names::snapshot_name(damaged), last });
            }
        }
        Ok(())
    }
}

/// Reads the database back when a server starts: what a crash left unfinished is removed.
pub fn recover(disk: &mut dyn Disk, options: &RecoveryOptions) -> Result<Recovered, DiskError> {
    let recovered = begin(disk, options)?;
    settle(disk, &recovered.zab, options.seed)?;
    Ok(recovered)
}

/// The database is ours from now on: it gets what ours has beside an original's.
pub(super) fn settle(disk: &mut dyn Disk, zab: &zab::Recovered, seed: u64) -> Result<(), DiskError> {
    epochs::write_missing(disk, zab.accepted_epoch)?;
    identity::settle(disk, seed)
}

/// Reads the database back if its two directories belong together; what is another's is not touched.
pub(super) fn begin(disk: &mut dyn Disk, options: &RecoveryOptions) -> Result<Recovered, DiskError> {
    identity::check(disk, options)?;
    remove_temporaries(disk)?;
    read_back(disk, options, false)
}

/// Reads the database back in a running server. Unfinished files are left alone: the other lane may be
/// writing a spare segment or a snapshot. The log has no torn tail any more, so all damage is damage.
pub(super) fn reload(disk: &mut dyn Disk, options: &RecoveryOptions) -> Result<Recovered, DiskError> {
    if mutants::on(Mutant::ReloadSweepsFiles) {
        remove_temporaries(disk)?;
    }
    let result = read_back(disk, options, true);
    untrusted::remember(disk, result)
}

fn read_back(disk: &mut dyn Disk, options: &RecoveryOptions, running: bool) -> Result<Recovered, DiskError> {
    let logs = names::all(&disk.list(Dir::Log)?, "log");
    let snapshots = names::all(&disk.list(Dir::Data)?, "snapshot");
    let mut notes = Vec::new();
    let mut trust = Trust::Trusted;
    if let Some(reasons) = read_small(disk, &FileRef::data(names::UNTRUSTED))? {
        trust = Trust::Lost;
        notes.push(untrusted::describe(&reasons));
    } else if logs.is_empty() && snapshots.is_empty() {
        let allowed = options.may_begin
            || mutants::on(Mutant::WipedServerVotes)
            || disk.len(&FileRef { dir: Dir::Base, name: names::INITIALIZE.into() })?.is_some();
        if allowed {
            initialise(disk)?;
        } else {
            trust = Trust::New;
        }
    }
    let newest = snapshots::load_newest(disk, options, !logs.is_empty(), &mut notes)?;
    let mut replay = Replay::begin(newest, notes);
    let from = replay.tree.last_zxid();
    let marks = Marks { running, ..Marks::read(disk, logs.last().copied(), trust)? };
    let segment = replay_logs(disk, &logs, from, &marks, &mut replay)?;
    replay.pass_damaged(None)?;
    make_durable(disk, &logs)?;
    // Not before the snapshot's own name is durable.
    if !replay.bridged && from != Zxid::ZERO {
        received::notice(disk, from)?;
    }
    match replay.tree.unresolved_acls() {
        0 => {}
        count => return Err(RecoveryError::Acl { count }.into()),
    }
    let last = replay.tree.last_zxid();
    let (accepted_epoch, current_epoch) = epochs::settled(disk, last)?;
    // A window that does not reach the end (a snapshot newer than the log) is no window.
    let window: Vec<_> = replay.window.txns.into();
    let window = if window.last().is_some_and(|p| p.zxid == last) { window } else { Vec::new() };
    Ok(Recovered {
        tree: replay.tree,
        sessions: replay.sessions,
        zab: zab::Recovered { accepted_epoch, current_epoch, last, window, trust },
        segment,
        mark: marks.durable,
        replayed: replay.replayed,
        notes: replay.notes,
    })
}

/// Whether what is left by a cut behind `to` can be read back up to there: nothing is missing between the newest
/// snapshot and `to`, and nothing is damaged.
pub(super) fn leads_to(disk: &mut dyn Disk, to: Zxid, seed: u64) -> Result<bool, DiskError> {
    let received = received::last(disk)?;
    let bound = received.filter(|bound| *bound <= to).unwrap_or_default();
    let snapshots = names::all(&disk.list(Dir::Data)?, "snapshot");
    let Some(from) = snapshots.into_iter().rfind(|z| bound <= *z && *z <= to) else { return Ok(false) };
    let loaded = match snapshots::load(disk, from, TreeOptions { seed, ..TreeOptions::default() }, received) {
        Err(DiskError::Unreadable { .. }) | Ok(Err(_)) => return Ok(false),
        Err(other) => return Err(other),
        Ok(Ok(loaded)) => loaded,
    };
    let mut replay = Replay::begin(Newest { loaded, damaged: Vec::new() }, Vec::new());
    let logs = names::all(&disk.list(Dir::Log)?, "log");
    for first in reaching(&logs, from).iter().filter(|first| **first <= to) {
        let name = names::log_name(*first);
        let mut reader = LogReader::open(disk, FileRef::log(&name))?;
        while let Some(Record { zxid, bytes, .. }) = reader.next(disk)?.filter(|record| record.zxid <= to) {
            if replay_one(&mut replay, &name, Proposal { zxid, bytes }, from).is_err() {
                return Ok(false);
            }
        }
        let ends = replay.tree.last_zxid();
        if ends < to && reader.end().is_some_and(|end| end.damage.is_some()) {
            return Ok(false);
        }
    }
    Ok(replay.tree.last_zxid() == to && replay.tree.unresolved_acls() == 0)
}

/// The segments in which something behind a snapshot's zxid may stand.
fn reaching(logs: &[Zxid], from: Zxid) -> &[Zxid] {
    &logs[logs.partition_point(|first| *first <= from).saturating_sub(1)..]
}

/// What was read may so far be in the page cache only, if the process was killed before its sync:
/// it will be voted with and acknowledged, so it must survive a power cut from now on.
fn make_durable(disk: &mut dyn Disk, logs: &[Zxid]) -> Result<(), DiskError> {
    if let Some(newest) = logs.last().map(|first| FileRef::log(names::log_name(*first)))
        && disk.len(&newest)?.is_some()
        && !mutants::on(Mutant::RecoveredNotSynced)
    {
        disk.sync(&newest)?;
    }
    disk.sync_dir(Dir::Log)?;
    disk.sync_dir(Dir::Data)
}

/// A small file's bytes; of one that the disk cannot read, none: to its reader it is damaged.
pub(super) fn read_small(disk: &mut dyn Disk, file: &FileRef) -> Result<Option<Vec<u8>>, DiskError> {
    match read_all(disk, file) {
        Err(DiskError::Unreadable { .. }) => Ok(Some(Vec::new())),
        other => other,
    }
}

/// Writes the snapshot of an empty tree, and takes Apache's mark away.
pub fn initialise(disk: &mut dyn Disk) -> Result<(), DiskError> {
    received::forget(disk)?;
    // First: a number may be left of what was here before, and without a database this counts for nothing.
    let (accepted_epoch, _) = epochs::settled(disk, Zxid::ZERO)?;
    epochs::write_missing(disk, accepted_epoch)?;
    let mut tree = Tree::new(TreeOptions::default());
    let digest = tree.digest();
    let mut file = Vec::new();
    let mut writer = snapshot::Writer::begin(&mut file);
    let from = file.len();
    let cursor = tree.open_cursor(std::iter::empty());
    while !tree.read_cursor(cursor, usize::MAX >> 8, &mut file) {}
    writer.cover(&file[from..]);
    writer.finish(&mut file, Zxid::ZERO, digest);
    replace(disk, &FileRef::data(names::snapshot_name(Zxid::ZERO)), &file)?;
    disk.remove(&FileRef { dir: Dir::Base, name: names::INITIALIZE.into() })
}

/// Removes what a crash left unfinished.
pub(super) fn remove_temporaries(disk: &mut dyn Disk) -> Result<(), DiskError> {
    for dir in [Dir::Data, Dir::Log] {
        for name in disk.list(dir)?.into_iter().filter(|n| n.ends_with(TEMPORARY)) {
            disk.remove(&FileRef { dir, name })?;
        }
    }
    Ok(())
}

/// What our own files tell about the log.
struct Marks {
    /// How far it was known to be durable.
    durable: Option<DurableMark>,
    /// The name of the segment that we began last.
    begun: Option<Vec<u8>>,
    /// The server runs: no crash can have left a torn tail.
    running: bool,
}

impl Marks {
    /// Reads them, for a log whose newest segment begins at `newest`; a void one is removed, so that it never
    /// speaks of a later log.
    fn read(disk: &mut dyn Disk, newest: Option<Zxid>, trust: Trust) -> Result<Marks, DiskError> {
        let file = FileRef::log(names::DURABLE);
        let durable = read_small(disk, &file)?.and_then(|b| DurableMark::decode(&b));
        let begun = read_small(disk, &FileRef::log(names::BEGUN))?;
        // Cuts of our own take the mark with them; what was set aside is accounted for.
        let gone = durable.filter(|m| trust != Trust::Lost && newest.is_none_or(|newest| newest < m.segment));
        if let Some(DurableMark { segment, offset, .. }) = gone {
            return Err(RecoveryError::Missing { file: names::log_name(segment), offset }.into());
        }
        let name = newest.map(names::log_name);
        let foreign = name.is_some_and(|name| begun.as_deref() != Some(name.as_bytes()));
        // Another server has logged since, and may have cut what the mark speaks of. Not while damage is being
        // set aside: the newest segments are gone, and the one in front of them has no torn tail.
        let void = durable.is_some_and(|m| foreign && Some(m.segment) != newest && trust != Trust::Lost);
        if void {
            disk.remove(&file)?;
            disk.sync_dir(Dir::Log)?;
        }
        Ok(Marks { durable: durable.filter(|_| !void), begun, running: false })
    }
}

/// Replays what lies behind `from`; returns where appending goes on.
fn replay_logs(
    disk: &mut dyn Disk,
    logs: &[Zxid],
    from: Zxid,
    marks: &Marks,
    replay: &mut Replay,
) -> Result<Option<Segment>, DiskError> {
    let mut segment = None;
    for first in reaching(logs, from) {
        let name = names::log_name(*first);
        let file = FileRef::log(name.clone());
        let mut reader = LogReader::open(disk, file.clone())?;
        let mut checksum = 0;
        let mut marked = None;
        while let Some(record) = reader.next(disk)? {
            checksum = record.checksum;
            if marks.durable.is_some_and(|m| m.segment == *first && m.offset == reader.offset()) {
                marked = Some(checksum);
            }
            replay_one(replay, &name, Proposal { zxid: record.zxid, bytes: record.bytes }, from)?;
        }
        let Some(end) = reader.end().cloned() else { continue };
        let newest = logs.last() == Some(first);
        let ours = marks.begun.as_deref() == Some(name.as_bytes());
        judge(&name, (*first, newest, ours), &end, marks, marked)?;
        if let Some(damage) = &end.damage
            && !mutants::on(Mutant::TornTailKept)
        {
            cut_tail(disk, &file, &end)?;
            let at = end.offset;
            replay
                .notes
                .push(format!("{name}: cut a torn tail at offset {at} ({damage}); it was never durable"));
        }
        let len = disk.len(&file)?.unwrap_or(0);
        // A tail that is on disk as zeros is as good as a new segment's; a cut file begins a new one.
        // Another's is left alone: what we append must be ours to judge.
        let usable = newest && ours && end.damage.is_none() && len > end.offset;
        segment =
            usable.then_some(Segment { first: *first, offset: end.offset, zeroed: Some(len), checksum });
    }
    Ok(segment)
}

/// Is damage at the end of a segment a torn tail? In one that we wrote, above what was durable; in one
/// that Apache wrote, and where nothing is known of what was durable, only at the very end.
fn judge(
    name: &str,
    (first, newest, ours): (Zxid, bool, bool),
    end: &End,
    marks: &Marks,
    marked: Option<u64>,
) -> Result<(), RecoveryError> {
    let corrupt = |why: String, durable: u64| {
        Err(RecoveryError::Corrupt { file: name.to_owned(), offset: end.offset, why, durable })
    };
    let mut void = false;
    if let Some(mark) = marks.durable.filter(|m| m.segment == first) {
        if end.offset < mark.offset && !mutants::on(Mutant::CorruptionCutAsTorn) {
            let why = end.damage.clone().unwrap_or("the records end here".into());
            return corrupt(why, mark.offset);
        }
        // The same length with another content: another server wrote it since.
        void = marked.is_some_and(|checksum| checksum != mark.checksum);
    }
    let Some(why) = end.damage.clone() else { return Ok(()) };
    let below = marks.durable.is_some_and(|m| first < m.segment);
    if below || !newest || marks.running {
        return corrupt(why, end.offset);
    }
    // No crash leaves a place that cannot be read.
    if end.unreadable {
        return corrupt(why, end.offset);
    }
    if (void || !ours) && end.record_behind {
        return corrupt(format!("{why}, and whole records follow"), end.offset);
    }
    Ok(())
}

/// Removes bytes that are no record, so that they can never be taken for one behind later appends.
fn cut_tail(disk: &mut dyn Disk, file: &FileRef, end: &End) -> Result<(), DiskError> {
    if end.offset == 0 {
        disk.remove(file)?;
        return disk.sync_dir(Dir::Log);
    }
    disk.set_len(file, end.offset)?;
    disk.sync(file)
}

fn replay_one(replay: &mut Replay, file: &str, proposal: Proposal, from: Zxid) -> Result<(), RecoveryError> {
    let zxid = proposal.zxid;
    // What lies at or below the snapshot is not applied, so holes there (left by a SNAP) do not
    // matter; the first record behind it must follow the snapshot, each later one its predecessor.
    let after = replay.last.unwrap_or_default().max(from);
    let begins = after == Zxid::ZERO && mutants::on(Mutant::MissingBeginningIgnored);
    let continues = match zxid <= from {
        true => replay.last.is_none_or(|last| zxid > last),
        false => History::follows(after, zxid) || begins,
    };
    if !continues {
        return Err(RecoveryError::Gap { file: file.to_owned(), after, got: zxid });
    }
    // A hole below the snapshot must not become one in a DIFF (ZOOKEEPER-4925). A SNAP's is where the
    // log passes the snapshot without its txn, and looks like an ordinary change of epoch.
    let hole = |last: Zxid| {
        !History::follows(last, zxid)
            || (last < from && zxid > from && !mutants::on(Mutant::WindowOverSnapHole))
    };
    if replay.last.is_none_or(hole) {
        replay.window = Window::default();
    }
    replay.last = Some(zxid);
    replay.bridged |= zxid == from;
    if zxid > from {
        replay.pass_damaged(Some(zxid))?;
        let bad = |why: String| RecoveryError::Txn { file: file.to_owned(), zxid, why };
        let record = TxnRecord::decode(&proposal.bytes).map_err(|e| bad(e.to_string()))?;
        if !(matches!(record.txn, Txn::Error { .. }) && mutants::on(Mutant::ErrorTxnNotReplayed)) {
            let outcome = replay.tree.apply(&record.header, &record.txn, record.digest, &mut |_| {});
            replay.compare(outcome.digest, file, &record);
        }
        replay.sessions.apply(&record.header, &record.txn);
        replay.replayed += 1;
    }
    replay.window.push(proposal);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SessionId;
    use crate::wire::errcode::ErrorCode;
    use crate::wire::opcode::OpCode;
    use crate::wire::txn::TxnHeader;
    use crate::zxid::Epoch;

    fn z(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(Epoch(epoch), counter)
    }

    /// Replays error txns of these zxids behind an empty snapshot at `from`.
    fn replayed(from: Zxid, damaged: &[Zxid], log: &[Zxid]) -> Result<Replay, RecoveryError> {
        let tree = Tree::new(TreeOptions::default());
        let loaded = Loaded { tree, sessions: SessionTable::new(), exact: true };
        let mut replay = Replay::begin(Newest { loaded, damaged: damaged.to_vec() }, Vec::new());
        for zxid in log {
            let header =
                TxnHeader { session: SessionId(1), cxid: 1, zxid: *zxid, time: 1, op: OpCode::Error };
            let txn = Txn::Error { err: ErrorCode::NONODE };
            let mut bytes = Vec::new();
            TxnRecord { header, txn, digest: None }.encode(&mut bytes);
            replay_one(&mut replay, "log.1", Proposal { zxid: *zxid, bytes: bytes.into() }, from)?;
        }
        replay.pass_damaged(None)?;
        Ok(replay)
    }

    fn window(replay: &Replay) -> Vec<Zxid> {
        replay.window.txns.iter().map(|p| p.zxid).collect()
    }

    #[test]
    fn the_hole_that_a_snap_left_is_not_in_the_window() {
        // Epochs 3 to 5 came with the snapshot: what is in front of it does not lead to what is behind it.
        let log = [z(2, 43), z(2, 44), z(6, 1), z(6, 2)];
        assert_eq!(window(&replayed(z(5, 37), &[], &log).unwrap()), [z(6, 1), z(6, 2)]);
        // A snapshot of our own: its txn is in the log.
        assert_eq!(window(&replayed(z(2, 44), &[], &log).unwrap()), log);
        assert_eq!(window(&replayed(z(2, 43), &[], &log).unwrap()), log);
    }

    /// A database begins with the first txn of an epoch. (Seed 5000680 of the simulator, Agreement: a server whose
    /// first segment was removed served a tree without it.)
    #[test]
    fn a_log_whose_beginning_is_missing_is_no_log_of_an_empty_tree() {
        for (first, begins) in
            [(z(0, 1), true), (z(1, 1), true), (z(7, 1), true), (z(0, 2), false), (z(1, 6), false)]
        {
            let result = replayed(Zxid::ZERO, &[], &[first]);
            assert_eq!(result.is_ok(), begins, "{first}");
        }
    }

    #[test]
    fn a_damaged_snapshot_is_bridged_by_its_own_txn_only() {
        let log = [z(1, 1), z(1, 2), z(2, 1)];
        for (damaged, bridged) in [
            (vec![z(1, 2)], true),
            (vec![z(2, 1), z(1, 1)], true),
            (vec![z(2, 0)], true),
            (vec![z(1, 3)], false),
            (vec![z(2, 2)], false),
            (vec![z(2, 1), z(1, 9)], false),
        ] {
            let result = replayed(Zxid::ZERO, &damaged, &log);
            assert_eq!(result.is_ok(), bridged, "{damaged:?}");
        }
    }
}
