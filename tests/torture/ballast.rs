//! A file that takes the room on a file system.

use std::fs::File;
use std::path::{Path, PathBuf};

/// Leaves so many bytes free where `place` is, by a file that is made or grows; returns it. Its blocks are
/// reserved, not written: whoever fills the rest must not be done before it stands.
#[track_caller]
pub(crate) fn fill(place: &Path, leave: u64) -> PathBuf {
    let path = place.join("ballast");
    let file = File::options().create(true).truncate(false).write(true).open(&path).unwrap();
    let stat = rustix::fs::statvfs(place).unwrap();
    let free = stat.f_bavail * stat.f_frsize;
    let len = file.metadata().unwrap().len() + free.saturating_sub(leave);
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, len).unwrap();
    file.sync_all().unwrap();
    path
}
