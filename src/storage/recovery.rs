//! Reading the database back: the newest whole snapshot, then the log behind it.
//!
//! Tells a torn tail (bytes that were never durable: cut, go on) from corruption (bytes that were:
//! refused with their position). Never serves an empty tree when log files exist (ZOOKEEPER-2325),
//! and never skips a gap.

use super::disk::{Dir, Disk, DiskError, FileRef, TEMPORARY, piece, read_all, replace};
use super::durable_mark::DurableMark;
use super::identity;
use super::log_reader::{End, LogReader};
use super::names;
use super::received;
use super::segment::Segment;
use crate::format::snapshot::{self, TAIL_MAX, Verifier};
use crate::limits;
use crate::mutants::{self, Mutant};
use crate::session::SessionTable;
use crate::tree::{Loader, Tree, TreeOptions};
use crate::wire::txn::{Txn, TxnRecord};
use crate::zab::{self, History, Proposal, Trust};
use crate::zxid::{Epoch, Zxid};
use std::collections::VecDeque;
use thiserror::Error;

/// Why a database cannot be used as it lies there.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecoveryError {
    /// Bytes that were durable are damaged.
    #[error(
        "{file} is corrupt at offset {offset}: {why}. Everything up to offset {durable} was on disk, so this \
         is no torn tail; restore the file, or move the whole data directory away and let the server \
         synchronise from the others"
    )]
    Corrupt {
        /// The segment.
        file: String,
        /// Where.
        offset: u64,
        /// What is wrong.
        why: String,
        /// How far it was known to be durable.
        durable: u64,
    },
    /// A record is missing between two others.
    #[error(
        "{file}: zxid {got} follows {after}: a part of the log is missing; bring the deleted log files back, \
         or move the whole data directory away and let the server synchronise from the others"
    )]
    Gap {
        /// The segment.
        file: String,
        /// The last zxid before the gap.
        after: Zxid,
        /// The one behind it.
        got: Zxid,
    },
    /// Logs without any snapshot that can be read.
    #[error(
        "there are log files or snapshots, but no snapshot that can be read ({why}); bring one back, or set \
         snapshot.trust.empty=true if this database never had one (ZooKeeper 3.4)"
    )]
    NoSnapshot {
        /// What was wrong with those there are.
        why: String,
    },
    /// A snapshot that cannot be read, and a log that cannot stand in for it.
    #[error(
        "{file} cannot be read, and the log does not hold what led to it (its last zxid before is {last}); \
         restore the file, or move the whole data directory away and let the server synchronise from the others"
    )]
    Unbridged {
        /// The snapshot.
        file: String,
        /// The last zxid that can be read in front of it.
        last: Zxid,
    },
    /// The segment in which the log went on is not there any more.
    #[error(
        "{file} is missing, and the log was on disk up to offset {offset} of it; bring it back, or move the whole \
         data directory away and let the server synchronise from the others (remove zkctl.durable if another \
         server has cut the log on purpose)"
    )]
    Missing {
        /// The segment.
        file: String,
        /// How far it was durable.
        offset: u64,
    },
    /// Data directory and log directory do not belong together.
    #[error("{0}; {advice}", advice = .0.advice())]
    LogDirectory(LogDirectory),
    /// A record that no server would have written.
    #[error("{file}: the txn {zxid} cannot be applied: {why}")]
    Txn {
        /// The segment.
        file: String,
        /// Which txn.
        zxid: Zxid,
        /// Why.
        why: String,
    },
    /// A znode whose ACL no part of the history tells (ZOOKEEPER-4846, -4689).
    #[error(
        "{count} znodes have an ACL that the snapshot does not hold and the log does not bring; move the data \
         directory away and let the server synchronise from the others"
    )]
    Acl {
        /// How many.
        count: usize,
    },
    /// An epoch file that is none.
    #[error("{file} does not hold an epoch but {text:?}; write the right number into it")]
    Epoch {
        /// The file.
        file: String,
        /// Its content.
        text: String,
    },
    /// Epoch files that no server can have written both.
    #[error(
        "acceptedEpoch holds {accepted} and currentEpoch {current}, though an epoch is accepted before it is \
         entered; write the right numbers into them"
    )]
    Epochs {
        /// `acceptedEpoch`.
        accepted: Epoch,
        /// `currentEpoch`.
        current: Epoch,
    },
}

impl RecoveryError {
    /// What is wrong, without what to do about it.
    pub(super) fn damage(&self) -> String {
        match self {
            RecoveryError::Corrupt { file, offset, why, .. } => {
                format!("{file} is corrupt at offset {offset}: {why}")
            }
            RecoveryError::Gap { file, after, got } => {
                format!("{file}: zxid {got} follows {after}: a part of the log is missing")
            }
            RecoveryError::NoSnapshot { why } => format!("no snapshot can be read ({why})"),
            RecoveryError::Missing { file, .. } => format!("{file}, the end of the log, is missing"),
            RecoveryError::LogDirectory(what) => what.to_string(),
            RecoveryError::Unbridged { file, last } => {
                format!("{file} cannot be read, and the log goes to {last} only before it")
            }
            RecoveryError::Txn { file, zxid, why } => {
                format!("{file}: the txn {zxid} cannot be applied: {why}")
            }
            RecoveryError::Acl { count } => format!("{count} znodes have an ACL that nothing tells"),
            RecoveryError::Epoch { file, text } => format!("{file} does not hold an epoch but {text:?}"),
            RecoveryError::Epochs { accepted, current } => {
                format!("acceptedEpoch holds {accepted}, less than currentEpoch's {current}")
            }
        }
    }
}

/// How a log directory does not belong to its data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LogDirectory {
    /// It has none of the log behind the newest snapshot.
    #[error("the log directory (dataLogDir) was wiped, or is not the one that this database was used with")]
    Lost,
    /// It was lost once, and the database has been received anew since.
    #[error("the log directory (dataLogDir) is an older one of this database, which went on without it")]
    Older,
    /// It is another database's.
    #[error("the log directory (dataLogDir) belongs to another database than the data directory (dataDir)")]
    Another,
    /// There is a log directory, and nothing else.
    #[error(
        "the data directory (dataDir) is empty, and the log directory (dataLogDir) belongs to a database"
    )]
    DataLost,
}

impl LogDirectory {
    fn advice(self) -> &'static str {
        match self {
            LogDirectory::Lost | LogDirectory::Older => {
                "mount or bring back the one that was used last. If it is lost, and no other server has the \
                 database: remove zkctl.database from both; this server then knows nothing behind its newest snapshot"
            }
            LogDirectory::Another => {
                "set dataDir and dataLogDir to two that belong together, or move both away and let the server \
                 synchronise from the others"
            }
            LogDirectory::DataLost => {
                "mount or bring back the data directory. If it is lost, move the log directory away as well and let \
                 the server synchronise from the others"
            }
        }
    }
}

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
}

impl Replay {
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
    identity::settle(disk, options.seed)?;
    Ok(recovered)
}

/// Reads the database back if its two directories belong together; what is another's is not touched.
pub(super) fn begin(disk: &mut dyn Disk, options: &RecoveryOptions) -> Result<Recovered, DiskError> {
    identity::check(disk, options)?;
    remove_temporaries(disk)?;
    reload(disk, options)
}

/// Reads the database back in a running server. Unfinished files are left alone: the other lane may be
/// writing a spare segment or a snapshot.
pub(super) fn reload(disk: &mut dyn Disk, options: &RecoveryOptions) -> Result<Recovered, DiskError> {
    if mutants::on(Mutant::ReloadSweepsFiles) {
        remove_temporaries(disk)?;
    }
    let logs = names::all(&disk.list(Dir::Log)?, "log");
    let snapshots = names::all(&disk.list(Dir::Data)?, "snapshot");
    let mut notes = Vec::new();
    let mut trust = Trust::Trusted;
    if let Some(reasons) = read_small(disk, &FileRef::data(names::UNTRUSTED))? {
        trust = Trust::Lost;
        notes.push(untrusted(&reasons));
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
    let Newest { tree, sessions, damaged } = load_newest(disk, options, !logs.is_empty(), &mut notes)?;
    let from = tree.last_zxid();
    let window = Window::default();
    let mut replay =
        Replay { tree, sessions, window, last: None, replayed: 0, bridged: false, notes, damaged };
    let Marks { durable, begun } = Marks::read(disk, logs.last().copied(), trust)?;
    let segment = replay_logs(disk, &logs, from, (durable, begun.as_deref()), &mut replay)?;
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
    let (accepted_epoch, current_epoch) = read_epochs(disk, last)?;
    // A window that does not reach the end (a snapshot newer than the log) is no window.
    let window: Vec<_> = replay.window.txns.into();
    let window = if window.last().is_some_and(|p| p.zxid == last) { window } else { Vec::new() };
    Ok(Recovered {
        tree: replay.tree,
        sessions: replay.sessions,
        zab: zab::Recovered { accepted_epoch, current_epoch, last, window, trust },
        segment,
        mark: durable,
        replayed: replay.replayed,
        notes: replay.notes,
    })
}

/// Whether the newest snapshot up to a zxid and the log behind it lead there, without a hole or damage: what is
/// left by a cut there can be read back.
pub(super) fn leads_to(disk: &mut dyn Disk, to: Zxid) -> Result<bool, DiskError> {
    let bound = received::last(disk)?.filter(|bound| *bound <= to).unwrap_or_default();
    let snapshots = names::all(&disk.list(Dir::Data)?, "snapshot");
    let Some(newest) = snapshots.into_iter().rfind(|z| bound <= *z && *z <= to) else { return Ok(false) };
    match load(disk, newest, TreeOptions::default()) {
        Err(DiskError::Unreadable { .. }) | Ok(Err(_)) => return Ok(false),
        loaded => loaded?.map(drop).unwrap_or_default(),
    }
    let mut last = newest;
    let logs = names::all(&disk.list(Dir::Log)?, "log");
    let begin = logs.partition_point(|first| *first <= newest).saturating_sub(1);
    for first in logs.into_iter().skip(begin).filter(|first| *first <= to) {
        let mut reader = LogReader::open(disk, FileRef::log(names::log_name(first)))?;
        while let Some(record) = reader.next(disk)?.filter(|record| record.zxid <= to) {
            if record.zxid > last && !History::follows(last, record.zxid) {
                return Ok(false);
            }
            last = last.max(record.zxid);
        }
        if last < to && reader.end().is_some_and(|end| end.damage.is_some()) {
            return Ok(false);
        }
    }
    Ok(last == to)
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

/// Marks the database as not to be voted with, and adds to why.
pub(super) fn distrust(disk: &mut dyn Disk, why: &[u8]) -> Result<(), DiskError> {
    let marker = FileRef::data(names::UNTRUSTED);
    let known = read_small(disk, &marker)?;
    if known.is_some() && why.is_empty() {
        return Ok(());
    }
    let mut reasons = known.unwrap_or_default();
    reasons.extend_from_slice(why);
    replace(disk, &marker, &reasons)
}

/// Writes the snapshot of an empty tree, and takes Apache's mark away.
pub fn initialise(disk: &mut dyn Disk) -> Result<(), DiskError> {
    received::forget(disk)?;
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

/// The newest snapshot that can be read, or an empty tree, and the newer ones that cannot.
struct Newest {
    tree: Tree,
    sessions: SessionTable,
    damaged: Vec<Zxid>,
}

fn load_newest(
    disk: &mut dyn Disk,
    options: &RecoveryOptions,
    has_logs: bool,
    notes: &mut Vec<String>,
) -> Result<Newest, DiskError> {
    let tree_options = TreeOptions { seed: options.seed, extended_types: options.extended_types };
    let mut why = "there is none".to_owned();
    let mut damaged = Vec::new();
    let received = received::last(disk)?.unwrap_or(Zxid::ZERO);
    for zxid in names::all(&disk.list(Dir::Data)?, "snapshot").into_iter().rev() {
        if zxid < received {
            damaged.push(zxid);
            why = format!(
                "{} is older than the database that a leader sent at {received}, and nothing leads from one to the \
                 other; if it is a backup brought back on purpose, remove {}",
                names::snapshot_name(zxid),
                names::RECEIVED
            );
            notes.push(why.clone());
            continue;
        }
        let loaded = match load(disk, zxid, tree_options) {
            Err(DiskError::Unreadable { why, .. }) => Err(why),
            other => other?,
        };
        match loaded {
            Ok((tree, sessions)) => return Ok(Newest { tree, sessions, damaged }),
            Err(reason) => {
                damaged.push(zxid);
                why = format!("{}: {reason}", names::snapshot_name(zxid));
                notes.push(format!("{why}; trying an older snapshot"));
            }
        }
    }
    // A directory that held snapshots only, as a SNAP leaves it, was not empty either.
    let held = has_logs || !damaged.is_empty();
    if held && !options.trust_empty && !mutants::on(Mutant::EmptyTreeWithLogs) {
        return Err(RecoveryError::NoSnapshot { why }.into());
    }
    Ok(Newest { tree: Tree::new(tree_options), sessions: SessionTable::new(), damaged })
}

/// Loads one snapshot; the inner error says why it is none.
fn load(
    disk: &mut dyn Disk,
    zxid: Zxid,
    options: TreeOptions,
) -> Result<Result<(Tree, SessionTable), String>, DiskError> {
    let file = FileRef::data(names::snapshot_name(zxid));
    let mut buffer = vec![0; snapshot::HEADER_LEN];
    let mut offset = disk.read(&file, 0, &mut buffer)? as u64;
    let mut verifier = match Verifier::begin(&buffer[..offset as usize]) {
        Ok(verifier) => verifier,
        Err(e) => return Ok(Err(e.to_string())),
    };
    buffer.clear();
    let size = disk.len(&file)?.unwrap_or(0);
    let mut loader = Loader::new(options, size);
    loop {
        let had = buffer.len();
        buffer.resize(had + piece(disk, &file, offset)?, 0);
        let read = disk.read(&file, offset, &mut buffer[had..])?;
        buffer.truncate(had + read);
        offset += read as u64;
        let progress = match loader.push(&buffer) {
            Ok(progress) => progress,
            Err(e) => return Ok(Err(e.to_string())),
        };
        verifier.cover(&buffer[..progress.consumed]);
        buffer.drain(..progress.consumed);
        if progress.done {
            break;
        }
        if read == 0 {
            return Ok(Err("the file ends within the tree".into()));
        }
    }
    let had = buffer.len();
    buffer.resize(had + TAIL_MAX, 0);
    let read = disk.read(&file, offset, &mut buffer[had..])?;
    buffer.truncate(had + read);
    if let Err(e) = verifier.tail(&buffer)
        && !mutants::on(Mutant::SnapshotChecksumIgnored)
    {
        return Ok(Err(e.to_string()));
    }
    Ok(loader
        .finish(zxid)
        .map_err(|e| e.to_string())
        .map(|(tree, alive)| (tree, SessionTable::from_loaded(alive))))
}

/// What our own files tell about the log.
struct Marks {
    /// How far it was known to be durable.
    durable: Option<DurableMark>,
    /// The name of the segment that we began last.
    begun: Option<Vec<u8>>,
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
        Ok(Marks { durable: durable.filter(|_| !void), begun })
    }
}

/// Replays what lies behind `from`; returns where appending goes on.
fn replay_logs(
    disk: &mut dyn Disk,
    logs: &[Zxid],
    from: Zxid,
    (mark, begun): (Option<DurableMark>, Option<&[u8]>),
    replay: &mut Replay,
) -> Result<Option<Segment>, DiskError> {
    let begin = logs.partition_point(|first| *first <= from).saturating_sub(1);
    let mut segment = None;
    for (index, first) in logs.iter().enumerate().skip(begin) {
        let name = names::log_name(*first);
        let file = FileRef::log(name.clone());
        let mut reader = LogReader::open(disk, file.clone())?;
        let mut checksum = 0;
        let mut marked = None;
        while let Some(record) = reader.next(disk)? {
            checksum = record.checksum;
            if mark.is_some_and(|m| m.segment == *first && m.offset == reader.offset()) {
                marked = Some(checksum);
            }
            replay_one(replay, &name, Proposal { zxid: record.zxid, bytes: record.bytes }, from)?;
        }
        let Some(end) = reader.end().cloned() else { continue };
        let newest = index + 1 == logs.len();
        let ours = begun == Some(name.as_bytes());
        judge(&name, (*first, newest, ours), &end, mark, marked)?;
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
    mark: Option<DurableMark>,
    marked: Option<u64>,
) -> Result<(), RecoveryError> {
    let corrupt = |why: String, durable: u64| {
        Err(RecoveryError::Corrupt { file: name.to_owned(), offset: end.offset, why, durable })
    };
    let mut void = false;
    if let Some(mark) = mark.filter(|m| m.segment == first) {
        if end.offset < mark.offset && !mutants::on(Mutant::CorruptionCutAsTorn) {
            let why = end.damage.clone().unwrap_or("the records end here".into());
            return corrupt(why, mark.offset);
        }
        // The same length with another content: another server wrote it since.
        void = marked.is_some_and(|checksum| checksum != mark.checksum);
    }
    let Some(why) = end.damage.clone() else { return Ok(()) };
    let below = mark.is_some_and(|m| first < m.segment);
    if below || !newest {
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
            replay.tree.apply(&record.header, &record.txn, record.digest, &mut |_| {});
        }
        replay.sessions.apply(&record.header, &record.txn);
        replay.replayed += 1;
    }
    replay.window.push(proposal);
    Ok(())
}

fn read_epoch(disk: &mut dyn Disk, name: &str) -> Result<Option<Epoch>, DiskError> {
    let Some(bytes) = read_small(disk, &FileRef::data(name))? else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    // As Apache writes it, or somebody by hand: one line, of digits. A blank is none: in 10 it would make epoch 1.
    let line = text.lines().next().filter(|line| line.bytes().all(|b| b.is_ascii_digit()));
    match line.and_then(|line| line.parse::<u32>().ok()) {
        Some(epoch) => Ok(Some(Epoch(epoch))),
        None => Err(RecoveryError::Epoch { file: name.into(), text: text.into_owned() }.into()),
    }
}

/// The epochs, settled: a log that reaches into an epoch proves that this epoch was promised, whatever a crash
/// left in the files or out of them (ZOOKEEPER-2307, -1653, -2354). It counts as entered too, but only as long
/// as the log reaches there (`Shared::credentials`): what comes before NEWLEADER may be cut again, and the
/// epoch must not outlive its history. So a missing currentEpoch is none, not the log's.
fn read_epochs(disk: &mut dyn Disk, last: Zxid) -> Result<(Epoch, Epoch), DiskError> {
    let current = read_epoch(disk, names::CURRENT_EPOCH)?.unwrap_or_default();
    let accepted = read_epoch(disk, names::ACCEPTED_EPOCH)?.unwrap_or(current).max(current).max(last.epoch());
    Ok((accepted, current))
}

/// Epoch files that contradict each other. Settled by `read_epochs` where nobody else could tell; a server
/// that has others must not win an election by an epoch that it never entered.
pub(super) fn contradiction(disk: &mut dyn Disk) -> Result<Option<RecoveryError>, DiskError> {
    let current = read_epoch(disk, names::CURRENT_EPOCH)?;
    let accepted = read_epoch(disk, names::ACCEPTED_EPOCH)?;
    let both = accepted.zip(current).filter(|(accepted, current)| accepted < current);
    Ok(both.map(|(accepted, current)| RecoveryError::Epochs { accepted, current }))
}

/// What operators should know of a database that is not trusted, and what they can do.
fn untrusted(reasons: &[u8]) -> String {
    let reasons = String::from_utf8_lossy(reasons);
    let why = match reasons.trim() {
        "" => "it was empty, or being replaced, when the server stopped",
        reasons => reasons,
    };
    format!(
        "this database is not trusted: {why}. The server does not vote with it and serves nobody until it has \
         taken the database of a leader that the others elect. If they cannot, for want of a majority with \
         trusted databases: bring back what is missing, or accept its loss; then remove {} from the data \
         directory and start the server again",
        names::UNTRUSTED
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SessionId;
    use crate::wire::errcode::ErrorCode;
    use crate::wire::opcode::OpCode;
    use crate::wire::txn::TxnHeader;

    fn z(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(Epoch(epoch), counter)
    }

    /// Replays error txns of these zxids behind an empty snapshot at `from`.
    fn replayed(from: Zxid, damaged: &[Zxid], log: &[Zxid]) -> Result<Replay, RecoveryError> {
        let tree = Tree::new(TreeOptions::default());
        let mut replay = Replay {
            tree,
            sessions: SessionTable::new(),
            window: Window::default(),
            last: None,
            replayed: 0,
            bridged: false,
            notes: Vec::new(),
            damaged: damaged.to_vec(),
        };
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
