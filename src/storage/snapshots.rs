//! Which snapshot a database begins with, and loading it.

use super::disk::{Dir, Disk, DiskError, FileRef, piece};
use super::names;
use super::received;
use super::recovery::RecoveryOptions;
use super::recovery_error::RecoveryError;
use crate::format::snapshot::{self, TAIL_MAX, Tail, Verifier};
use crate::mutants::{self, Mutant};
use crate::session::SessionTable;
use crate::tree::{Loader, Tree, TreeOptions};
use crate::zxid::Zxid;

/// One snapshot, loaded.
pub(super) struct Loaded {
    pub(super) tree: Tree,
    pub(super) sessions: SessionTable,
    /// The tree is what its zxid made it: its digest says so, or it is the first. An original's image may already hold
    /// some of what follows, also one that it sent.
    pub(super) exact: bool,
}

/// The newest snapshot that can be read, or an empty tree, and the newer ones that cannot, oldest last.
pub(super) struct Newest {
    pub(super) loaded: Loaded,
    pub(super) damaged: Vec<Zxid>,
}

pub(super) fn load_newest(
    disk: &mut dyn Disk,
    options: &RecoveryOptions,
    has_logs: bool,
    notes: &mut Vec<String>,
) -> Result<Newest, DiskError> {
    let tree_options = TreeOptions { seed: options.seed, extended_types: options.extended_types };
    let mut why = "there is none".to_owned();
    let mut damaged = Vec::new();
    let received = received::last(disk)?;
    let bound = received.unwrap_or(Zxid::ZERO);
    for zxid in names::all(&disk.list(Dir::Data)?, "snapshot").into_iter().rev() {
        if zxid < bound {
            damaged.push(zxid);
            why = format!(
                "{} is older than the database that a leader sent at {bound}, and nothing leads from one to the \
                 other; if it is a backup brought back on purpose, remove {}",
                names::snapshot_name(zxid),
                names::RECEIVED
            );
            notes.push(why.clone());
            continue;
        }
        let loaded = match load(disk, zxid, tree_options, received) {
            Err(DiskError::Unreadable { why, .. }) => Err(why),
            other => other?,
        };
        match loaded {
            Ok(loaded) => return Ok(Newest { loaded, damaged }),
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
    let loaded = Loaded { tree: Tree::new(tree_options), sessions: SessionTable::new(), exact: true };
    Ok(Newest { loaded, damaged })
}

/// Loads one snapshot; the inner error says why it is none. A leader sent the one at `received`.
pub(super) fn load(
    disk: &mut dyn Disk,
    zxid: Zxid,
    options: TreeOptions,
    received: Option<Zxid>,
) -> Result<Result<Loaded, String>, DiskError> {
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
    let tail = match verifier.tail(&buffer) {
        Ok(tail) => tail,
        Err(_) if mutants::on(Mutant::SnapshotChecksumIgnored) => Tail::default(),
        Err(e) => return Ok(Err(e.to_string())),
    };
    // An original's tree may be ahead of its name, and never behind.
    if let Some(last) = tail.last_zxid.filter(|last| *last < zxid.wire()) {
        return Ok(Err(format!("it holds the tree of zxid {last:#x}, another snapshot's")));
    }
    Ok(loader.finish(zxid).map_err(|e| e.to_string()).map(|(tree, alive)| {
        let tells = zxid == Zxid::ZERO || tail.digest == Some((zxid.wire(), tree.digest()));
        let exact = tells && received != Some(zxid);
        Loaded { tree, sessions: SessionTable::from_loaded(alive), exact }
    }))
}
