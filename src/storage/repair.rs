//! Setting damage aside, so that the others can bring back what it held.
//!
//! For a server whose ensemble has a majority without it: what cannot be read is renamed, never deleted,
//! and the database becomes untrusted until a leader has sent its own. The mark that says so is durable
//! before anything is moved, so no crash leaves a shortened history that is voted with; and whatever a
//! crash leaves behind is a database that can be read, or damage that is found again.

use super::disk::{Dir, Disk, DiskError, FileRef, TEMPORARY};
use super::epochs;
use super::identity;
use super::log_reader::LogReader;
use super::names;
use super::recovery::{self, Recovered, RecoveryOptions};
use super::recovery_error::{LogDirectory, RecoveryError};
use super::untrusted;
use crate::format::txn_log;
use crate::jute::Reader;
use crate::wire::txn::TxnHeader;
use crate::zxid::Zxid;

/// Bytes copied at a time.
const CHUNK: usize = 1 << 20;
/// A larger segment is not searched for what it held: it would all be in memory.
const SEARCH_MAX: u64 = 512 << 20;

/// What goes, and what the database ends with then.
#[derive(Debug, Default)]
struct Aside {
    /// In the order of renaming: of the log the newest segment first, so that no hole is ever left.
    files: Vec<FileRef>,
    /// A segment's sound beginning, which stays under its name.
    front: Option<(FileRef, u64)>,
    /// The last txn in that beginning.
    last: Option<Zxid>,
    /// The log directory is another one from now on.
    renews: bool,
    /// Nothing has to go: it is enough not to trust the database.
    only_distrusts: bool,
    /// The first that the log lost, when none of its segment is left.
    first: Option<Zxid>,
}

impl Aside {
    fn mends(&self) -> bool {
        self.renews || self.only_distrusts || !self.files.is_empty()
    }
}

/// Reads the database back as `recover` does; what is damaged is set aside, and the rest untrusted.
///
/// # Errors
/// What the disk says, and damage that setting aside does not mend.
pub fn recover_repairable(disk: &mut dyn Disk, options: &RecoveryOptions) -> Result<Recovered, DiskError> {
    let mut notes = Vec::new();
    loop {
        let error = match recovery::begin(disk, options) {
            Ok(mut recovered) => match epochs::contradiction(disk, recovered.zab.trust)? {
                None => {
                    recovery::settle(disk, &recovered.zab, options.seed)?;
                    notes.append(&mut recovered.notes);
                    recovered.notes = notes;
                    return Ok(recovered);
                }
                Some(error) => error,
            },
            Err(DiskError::Recovery(error)) => error,
            Err(other) => return Err(other),
        };
        let aside = plan(disk, &error)?;
        if !aside.mends() {
            return Err(error.into());
        }
        notes.push(set_aside(disk, &error, &aside)?);
        if aside.renews {
            identity::renew(disk, options.seed)?;
        }
    }
}

fn plan(disk: &mut dyn Disk, error: &RecoveryError) -> Result<Aside, DiskError> {
    match error {
        RecoveryError::Corrupt { file, .. } => from_segment(disk, file, |_| false),
        RecoveryError::Gap { file, got, .. } => from_segment(disk, file, |zxid| zxid == *got),
        // The mark that tells of it: without one the log ends where it ends, and is not trusted.
        RecoveryError::Missing { .. } => {
            Ok(Aside { files: vec![FileRef::log(names::DURABLE)], ..Aside::default() })
        }
        // What is left is the newest snapshot, and nobody knows what was logged behind it.
        RecoveryError::LogDirectory(LogDirectory::Lost | LogDirectory::DataLost) => {
            Ok(Aside { renews: true, ..Aside::default() })
        }
        RecoveryError::LogDirectory(LogDirectory::Older) => {
            let mut files = segments_from(disk, Zxid::ZERO)?;
            files.push(FileRef::log(names::DATABASE));
            Ok(Aside { files, renews: true, ..Aside::default() })
        }
        // Another database's log is not ours to touch.
        RecoveryError::LogDirectory(LogDirectory::Another) => Ok(Aside::default()),
        RecoveryError::Unbridged { last, .. } => behind(disk, *last),
        // No damage of this disk: a txn of a newer server, a snapshot of Apache's that lacks an ACL. Every
        // member finds the same, and if all moved it away nobody would be trusted. So it is refused.
        RecoveryError::Txn { .. } | RecoveryError::Acl { .. } => Ok(Aside::default()),
        // Likewise where there never was one: ZooKeeper 3.4, for which there is a setting.
        RecoveryError::NoSnapshot { .. } if snapshots_behind(disk, None)?.is_empty() => Ok(Aside::default()),
        RecoveryError::NoSnapshot { .. } => {
            let mut files = segments_from(disk, Zxid::ZERO)?;
            files.extend(snapshots_behind(disk, None)?);
            // It speaks of them.
            let received = FileRef::data(names::RECEIVED);
            files.extend(disk.len(&received)?.map(|_| received));
            Ok(Aside { files, first: Some(Zxid::ZERO), ..Aside::default() })
        }
        RecoveryError::Epoch { file, .. } => {
            Ok(Aside { files: vec![FileRef::data(file)], ..Aside::default() })
        }
        RecoveryError::Epochs { .. } => {
            let files = [names::CURRENT_EPOCH, names::ACCEPTED_EPOCH].map(FileRef::data).into();
            Ok(Aside { files, ..Aside::default() })
        }
        // It is gone. The promises of a database that is not trusted do not count.
        RecoveryError::NoPromise => Ok(Aside { only_distrusts: true, ..Aside::default() }),
    }
}

/// The segments that begin at `first` or later, the newest first.
fn segments_from(disk: &mut dyn Disk, first: Zxid) -> Result<Vec<FileRef>, DiskError> {
    let logs = names::all(&disk.list(Dir::Log)?, "log");
    Ok(logs.into_iter().rev().filter(|z| *z >= first).map(|z| FileRef::log(names::log_name(z))).collect())
}

/// The snapshots behind a zxid, or all.
fn snapshots_behind(disk: &mut dyn Disk, last: Option<Zxid>) -> Result<Vec<FileRef>, DiskError> {
    let all = names::all(&disk.list(Dir::Data)?, "snapshot");
    let gone = all.into_iter().filter(|z| last.is_none_or(|last| *z > last));
    Ok(gone.map(|z| FileRef::data(names::snapshot_name(z))).collect())
}

/// This segment and the later ones go; its records in front of the damage, or of the first that is bad, stay.
fn from_segment(disk: &mut dyn Disk, file: &str, bad: impl Fn(Zxid) -> bool) -> Result<Aside, DiskError> {
    let Some(first) = names::parse(file, "log") else { return Ok(Aside::default()) };
    let mut aside = Aside { files: segments_from(disk, first)?, first: Some(first), ..Aside::default() };
    let file = FileRef::log(file);
    let mut reader = LogReader::open(disk, file.clone())?;
    while let Some(record) = reader.next(disk)? {
        if bad(record.zxid) {
            break;
        }
        aside.front = Some((file.clone(), reader.offset()));
        aside.last = Some(record.zxid);
    }
    Ok(aside)
}

/// Everything behind `last` goes: a snapshot there cannot be read, and the log has a hole in its place.
fn behind(disk: &mut dyn Disk, last: Zxid) -> Result<Aside, DiskError> {
    let logs = names::all(&disk.list(Dir::Log)?, "log");
    let mut aside = Aside { last: Some(last), ..Aside::default() };
    for first in logs.iter().filter(|first| **first > last).rev() {
        aside.files.push(FileRef::log(names::log_name(*first)));
    }
    if let Some(holder) = logs.iter().rfind(|first| **first <= last) {
        let found = from_segment(disk, &names::log_name(*holder), |zxid| zxid > last)?;
        let file = FileRef::log(names::log_name(*holder));
        let kept = found.front.as_ref().map_or(0, |(_, len)| *len);
        // Nothing but zeros behind what is kept: the segment stays as it is.
        let mut reader = LogReader::open(disk, file.clone())?;
        while reader.next(disk)?.is_some() {}
        if reader.offset() > kept {
            aside.files.push(file);
            aside.front = found.front;
        }
    }
    // Last, since it is what tells of the hole.
    aside.files.extend(snapshots_behind(disk, Some(last))?);
    Ok(aside)
}

/// Marks the database untrusted and moves what `aside` names; returns what was done.
fn set_aside(disk: &mut dyn Disk, error: &RecoveryError, aside: &Aside) -> Result<String, DiskError> {
    let text = describe(disk, error, aside)?;
    untrusted::add(disk, format!("{text}\n").as_bytes())?;
    let front = match &aside.front {
        Some((file, len)) => Some(copy_front(disk, file, *len)?),
        None => None,
    };
    for file in &aside.files {
        let name = free_name(disk, file)?;
        disk.rename(file.dir, &file.name, &name)?;
        // One by one: what is moved first must not come back while what is moved later is gone.
        disk.sync_dir(file.dir)?;
    }
    if aside.files.iter().any(|f| f.dir == Dir::Log) {
        // They speak of what is gone. Not earlier: until then they tell damage from a torn tail.
        disk.remove(&FileRef::log(names::DURABLE))?;
        disk.remove(&FileRef::log(names::BEGUN))?;
        disk.sync_dir(Dir::Log)?;
    }
    if let (Some(copy), Some((file, _))) = (front, &aside.front) {
        disk.rename(Dir::Log, &copy.name, &file.name)?;
        disk.sync_dir(Dir::Log)?;
    }
    Ok(text)
}

/// Copies a segment's beginning into a temporary file.
fn copy_front(disk: &mut dyn Disk, file: &FileRef, len: u64) -> Result<FileRef, DiskError> {
    let copy = FileRef::log(format!("{}{TEMPORARY}", file.name));
    disk.remove(&copy)?;
    let mut buffer = vec![0; CHUNK];
    let mut done = 0;
    while done < len {
        let want = CHUNK.min((len - done) as usize);
        let read = disk.read(file, done, &mut buffer[..want])?;
        if read == 0 {
            break;
        }
        disk.write(&copy, done, &buffer[..read])?;
        done += read as u64;
    }
    disk.sync(&copy)?;
    Ok(copy)
}

/// A name that neither server takes for a log, a snapshot or an epoch, and that nothing has yet.
fn free_name(disk: &mut dyn Disk, file: &FileRef) -> Result<String, DiskError> {
    let taken = disk.list(file.dir)?;
    let name = |n: u32| {
        let number = if n == 1 { String::new() } else { format!("{n}.") };
        format!("{}{number}{}", names::DAMAGED, file.name)
    };
    Ok((1..).map(name).find(|name| !taken.contains(name)).unwrap_or_else(|| name(u32::MAX)))
}

/// What was found, which txns this server has lost with it as far as can be told, and where the files are.
fn describe(disk: &mut dyn Disk, error: &RecoveryError, aside: &Aside) -> Result<String, DiskError> {
    let mut up_to: Option<Zxid> = None;
    for file in aside.files.iter().filter(|f| f.dir == Dir::Log) {
        up_to = up_to.max(last_record(disk, file)?);
    }
    let end = up_to.map_or_else(String::new, |end| format!(" to {end}"));
    let lost = match (aside.last, aside.first) {
        (Some(last), _) => format!("; lost are the zxids behind {last}{end}"),
        (None, Some(first)) => format!("; lost are the zxids from {first}{end}"),
        (None, None) => String::new(),
    };
    if aside.files.is_empty() {
        return Ok(error.damage() + &lost);
    }
    let names: Vec<_> = aside.files.iter().map(|f| f.name.as_str()).collect();
    Ok(format!("{}{lost}. Set aside: {} (as {}*)", error.damage(), names.join(", "), names::DAMAGED))
}

/// The largest zxid of any whole record in a segment, behind damage too.
fn last_record(disk: &mut dyn Disk, file: &FileRef) -> Result<Option<Zxid>, DiskError> {
    if disk.len(file)?.is_none_or(|len| len > SEARCH_MAX) {
        return Ok(None);
    }
    let bytes = recovery::read_small(disk, file)?.unwrap_or_default();
    let mut last = None;
    let mut at = 0;
    while let Some(found) = txn_log::find_record(&bytes[at..]) {
        at += found;
        let mut used = 0;
        for (offset, body) in txn_log::Records::new(&bytes[at..], 0) {
            used = offset as usize + txn_log::RECORD_OVERHEAD + body.len();
            last = last.max(TxnHeader::read(&mut Reader::new(body)).ok().map(|h| h.zxid));
        }
        at += used.max(1);
    }
    Ok(last)
}
