//! `zkctl purge`: deletes what none of the kept snapshots needs, by the rule of a server's own purging. A
//! server may run on the same directories.
//!
//! Deliberately absent: deleting by age, which does not ask what a snapshot needs.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::format::files::{RETAIN_MIN, parse, superfluous};
use crate::format::snapshot;
use crate::zxid::Zxid;

/// Why nothing, or no more, was deleted.
#[derive(Debug, Error)]
pub enum PurgeError {
    /// Too few were to be kept.
    #[error("{0} snapshots are too few to keep; at least {RETAIN_MIN} are needed")]
    TooFew(usize),
    /// Neither the directory nor `version-2` in it can be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The same name in two directories: which one counts cannot be known.
    #[error("{} and {} have the same name; which of them counts cannot be known", one.display(), other.display())]
    Twice {
        /// One of them.
        one: PathBuf,
        /// The other one.
        other: PathBuf,
    },
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, PurgeError> {
    result.map_err(|error| PurgeError::Io { path: path.to_owned(), error })
}

type Files = BTreeMap<Zxid, PathBuf>;

/// What would be deleted from dataDir and dataLogDir (in any order, or one for both), keeping the newest
/// `retain` snapshots: snapshots first, each kind from the oldest on, so that an end in between leaves no gap.
pub fn find(directories: &[PathBuf], retain: usize) -> Result<Vec<PathBuf>, PurgeError> {
    if retain < RETAIN_MIN {
        return Err(PurgeError::TooFew(retain));
    }
    let (mut snapshots, mut logs) = (Files::new(), Files::new());
    let mut seen = Vec::new();
    for directory in directories {
        let directory = at(directory, fs::canonicalize(directory.join("version-2")))?;
        if seen.contains(&directory) {
            continue;
        }
        collect(&directory, &mut snapshots, &mut logs)?;
        seen.push(directory);
    }
    let mut found = Vec::new();
    for (zxid, path) in &snapshots {
        // One that is gone meanwhile is not there to be kept: the server purges as well.
        match is_whole(path) {
            Err(PurgeError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {}
            whole => found.push((*zxid, whole?)),
        }
    }
    let segments: Vec<Zxid> = logs.keys().copied().collect();
    let (old, unneeded) = superfluous(&found, &segments, retain);
    let of = |files: &Files, zxids: Vec<Zxid>| -> Vec<PathBuf> {
        zxids.iter().filter_map(|zxid| files.get(zxid).cloned()).collect()
    };
    Ok([of(&snapshots, old), of(&logs, unneeded)].concat())
}

fn collect(directory: &Path, snapshots: &mut Files, logs: &mut Files) -> Result<(), PurgeError> {
    for entry in at(directory, fs::read_dir(directory))? {
        let path = at(directory, entry)?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        for (prefix, files) in [("snapshot", &mut *snapshots), ("log", &mut *logs)] {
            let Some(zxid) = parse(&name, prefix) else { continue };
            if let Some(one) = files.insert(zxid, path.clone()) {
                return Err(PurgeError::Twice { one, other: path });
            }
        }
    }
    Ok(())
}

/// Snapshots that were not written to their end do not count.
fn is_whole(path: &Path) -> Result<bool, PurgeError> {
    let mut file = at(path, fs::File::open(path))?;
    let length = at(path, file.metadata())?.len();
    let mut tail = Vec::new();
    at(path, file.seek(SeekFrom::Start(length.saturating_sub(snapshot::END_MARK.len() as u64))))?;
    at(path, file.read_to_end(&mut tail))?;
    Ok(snapshot::is_complete(&tail))
}

/// Deletes one; when it was written last, in seconds since 1970 (0 when it is gone already).
pub fn remove(path: &Path) -> Result<u64, PurgeError> {
    let modified = match fs::metadata(path).and_then(|m| m.modified()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => at(path, other)?,
    };
    match fs::remove_file(path) {
        // The server's own purging was quicker.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => at(path, other)?,
    }
    Ok(modified.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// dataDir and dataLogDir with snapshots (one of them cut short) and logs.
    fn place(name: &str) -> (PathBuf, Vec<PathBuf>) {
        let root = std::env::temp_dir().join(format!("zkctl-purge-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let directories = vec![root.join("data"), root.join("txlog")];
        for directory in &directories {
            fs::create_dir_all(directory.join("version-2")).unwrap();
        }
        for zxid in ["a", "14", "1e", "28"] {
            fs::write(root.join(format!("data/version-2/snapshot.{zxid}")), snapshot::END_MARK).unwrap();
        }
        for zxid in ["5", "19"] {
            fs::write(root.join(format!("data/version-2/snapshot.{zxid}")), "cut").unwrap();
        }
        for zxid in ["1", "9", "f", "19", "23"] {
            fs::write(root.join(format!("txlog/version-2/log.{zxid}")), "").unwrap();
        }
        (root, directories)
    }

    fn names(found: &[PathBuf]) -> Vec<&str> {
        found.iter().map(|p| p.file_name().unwrap().to_str().unwrap()).collect()
    }

    #[test]
    fn what_a_kept_snapshot_needs_stays_and_one_that_is_not_whole_does_not_count() {
        let (root, mut directories) = place("rule");
        let found = find(&directories, 3).unwrap();
        let gone = ["snapshot.5", "snapshot.a", "log.1", "log.9"];
        assert_eq!(names(&found), gone, "log.f may reach beyond snapshot.14");
        directories.reverse();
        assert_eq!(find(&directories, 3).unwrap(), found);
        assert_eq!(names(&find(&directories, 4).unwrap()), ["snapshot.5", "log.1"]);
        assert_eq!(find(&directories, 5).unwrap(), Vec::<PathBuf>::new());
        for file in &found {
            assert!(remove(file).unwrap() > 0);
        }
        assert_eq!(find(&directories, 3).unwrap(), Vec::<PathBuf>::new());
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn nothing_is_deleted_where_it_is_not_clear_what_to_keep() {
        let (root, directories) = place("unclear");
        let text = |directories: &[PathBuf], retain| find(directories, retain).unwrap_err().to_string();
        assert!(text(&directories, 2).starts_with("2 snapshots are too few to keep"));
        assert!(text(std::slice::from_ref(&root), 3).contains("No such file"));
        fs::write(root.join("data/version-2/log.9"), "").unwrap();
        assert!(text(&directories, 3).contains("have the same name"));
        fs::remove_dir_all(root).unwrap();
    }
}
