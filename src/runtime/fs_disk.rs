//! `Disk` on the file system. Keeps files open; decides nothing.

use super::direct_log::{self, DirectLog};
use crate::storage::{Dir, Disk, DiskError, FileRef, Space, Spaces, TEMPORARY, write_zeros};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A server's directories.
#[derive(Clone, Debug)]
pub(super) struct Directories {
    /// `dataDir`.
    pub(super) base: PathBuf,
    /// `dataDir/version-2`.
    pub(super) data: PathBuf,
    /// `dataLogDir/version-2`.
    pub(super) log: PathBuf,
}

/// One lane's view of the files.
#[derive(Debug)]
pub(super) struct FsDisk {
    dirs: Directories,
    open: HashMap<(Dir, String), File>,
    /// The segment being appended to; without a `DirectLog` when it has no room for direct writes.
    appending: Option<(FileRef, Option<DirectLog>)>,
    /// Direct writes are refused by the file system, or of no use.
    cached_only: bool,
}

/// Open files are few (segment, snapshot, spare); beyond this the cache is dropped.
const OPEN_MAX: usize = 16;

impl FsDisk {
    /// `direct`: the log is written past the page cache where the file system takes that.
    pub(super) fn new(dirs: Directories, direct: bool) -> FsDisk {
        FsDisk { dirs, open: HashMap::new(), appending: None, cached_only: !direct }
    }

    fn dir(&self, dir: Dir) -> &Path {
        match dir {
            Dir::Data => &self.dirs.data,
            Dir::Log => &self.dirs.log,
            Dir::Base => &self.dirs.base,
        }
    }

    fn path(&self, file: &FileRef) -> PathBuf {
        self.dir(file.dir).join(&file.name)
    }

    fn with<T>(
        &mut self,
        file: &FileRef,
        what: &str,
        create: bool,
        act: impl FnOnce(&File) -> io::Result<T>,
    ) -> Result<T, DiskError> {
        let path = self.path(file);
        let key = (file.dir, file.name.clone());
        if !self.open.contains_key(&key) {
            if self.open.len() >= OPEN_MAX {
                self.open.clear();
            }
            let opened = OpenOptions::new().read(true).write(true).create(create).mode(0o640).open(&path);
            let opened = match opened {
                // Reading does not need the right to write.
                Err(e) if !create && e.kind() == io::ErrorKind::PermissionDenied => File::open(&path),
                other => other,
            };
            self.open.insert(key.clone(), opened.map_err(|e| failed(what, &path, &e))?);
        }
        act(&self.open[&key]).map_err(|e| failed(what, &path, &e))
    }

    fn forget_appending(&mut self, file: &FileRef) {
        self.appending.take_if(|(name, _)| name == file);
    }

    /// Appends past the page cache; `false`: nothing was written, and it must go through the cache.
    fn append_direct(&mut self, file: &FileRef, offset: u64, bytes: &[u8]) -> io::Result<bool> {
        if self.cached_only {
            return Ok(false);
        }
        if self.appending.as_ref().is_none_or(|(name, _)| name != file) {
            match DirectLog::open(&self.path(file)) {
                Ok(log) => self.appending = Some((file.clone(), Some(log))),
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(_) => {
                    self.cached_only = true;
                    return Ok(false);
                }
            }
        }
        let Some((_, log)) = &mut self.appending else { return Ok(false) };
        match log.as_mut().filter(|log| log.has_room(offset, bytes.len())) {
            Some(log) => log.append(offset, bytes).map(|()| true),
            None => {
                *log = None;
                Ok(false)
            }
        }
    }
}

/// What a user without privileges may still take: root would be told of the file system's own reserve.
fn space_of(dir: &Path) -> Option<Space> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    // A file system without a size (ramfs, some of FUSE) cannot be full by its own account.
    (stat.f_blocks > 0).then(|| Space { total: bytes(stat.f_blocks), free: bytes(stat.f_bavail) })
}

/// What reading is called in errors.
const READ: &str = "read";

fn failed(what: &str, path: &Path, error: &io::Error) -> DiskError {
    // A bad sector: EIO; EUCLEAN and EBADMSG of file systems that verify what they read, when they open too.
    let medium = [Errno::IO, Errno::UCLEAN, Errno::BADMSG];
    let lost = what == READ && medium.iter().any(|e| error.raw_os_error() == Some(e.raw_os_error()));
    let (what, why) = (format!("{what} {}", path.display()), error.to_string());
    if lost { DiskError::Unreadable { what, why } } else { DiskError::Io { what, why } }
}

impl Disk for FsDisk {
    fn list(&mut self, dir: Dir) -> Result<Vec<String>, DiskError> {
        let path = self.dir(dir).to_path_buf();
        let entries = fs::read_dir(&path).map_err(|e| failed("list", &path, &e))?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| failed("list", &path, &e))?;
            if let Ok(name) = entry.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn len(&mut self, file: &FileRef) -> Result<Option<u64>, DiskError> {
        let path = self.path(file);
        match fs::metadata(&path) {
            Ok(meta) => Ok(Some(meta.len())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed("look at", &path, &e)),
        }
    }

    fn read(&mut self, file: &FileRef, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        self.with(file, READ, false, |f| {
            loop {
                match f.read_at(buffer, offset) {
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    other => return other,
                }
            }
        })
    }

    fn write(&mut self, file: &FileRef, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.forget_appending(file);
        self.with(file, "write", true, |f| f.write_all_at(bytes, offset))
    }

    fn append(&mut self, file: &FileRef, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        match self.append_direct(file, offset, bytes) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(e) if direct_log::is_refusal(&e) => self.cached_only = true,
            Err(e) => return Err(failed("append to", &self.path(file), &e)),
        }
        self.with(file, "append to", true, |f| f.write_all_at(bytes, offset))
    }

    fn zero(&mut self, file: &FileRef, offset: u64, len: u64) -> Result<(), DiskError> {
        if !self.cached_only {
            let path = self.path(file);
            match direct_log::zero(&path, offset, len) {
                Ok(()) => return Ok(()),
                Err(e) if direct_log::is_refusal(&e) => self.cached_only = true,
                Err(e) => return Err(failed("write zeros to", &path, &e)),
            }
        }
        write_zeros(self, file, offset, len)
    }

    fn sync(&mut self, file: &FileRef) -> Result<(), DiskError> {
        self.with(file, "fdatasync", false, File::sync_data)?;
        if file.name.ends_with(TEMPORARY) {
            // It gets its name next, maybe from the other lane: a handle would outlive its removal.
            self.open.remove(&(file.dir, file.name.clone()));
        }
        Ok(())
    }

    fn sync_dir(&mut self, dir: Dir) -> Result<(), DiskError> {
        let path = self.dir(dir).to_path_buf();
        File::open(&path).and_then(|d| d.sync_all()).map_err(|e| failed("fsync directory", &path, &e))
    }

    fn rename(&mut self, dir: Dir, from: &str, to: &str) -> Result<(), DiskError> {
        let (old, new) = (self.dir(dir).join(from), self.dir(dir).join(to));
        fs::rename(&old, &new).map_err(|e| failed("rename", &old, &e))?;
        self.open.remove(&(dir, to.to_owned()));
        self.forget_appending(&FileRef { dir, name: to.to_owned() });
        if let Some((file, _)) = self.appending.as_mut().filter(|(f, _)| f.dir == dir && f.name == from) {
            to.clone_into(&mut file.name);
        }
        if dir == Dir::Log {
            // A new segment: the finished one's handle would keep its blocks when it is purged.
            self.open.retain(|(d, name), _| *d != Dir::Log || !name.starts_with("log."));
        }
        if let Some(file) = self.open.remove(&(dir, from.to_owned())) {
            self.open.insert((dir, to.to_owned()), file);
        }
        Ok(())
    }

    fn remove(&mut self, file: &FileRef) -> Result<(), DiskError> {
        self.open.remove(&(file.dir, file.name.clone()));
        self.forget_appending(file);
        let path = self.path(file);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path, &e)),
            _ => Ok(()),
        }
    }

    fn set_len(&mut self, file: &FileRef, len: u64) -> Result<(), DiskError> {
        self.forget_appending(file);
        self.with(file, "cut", false, |f| f.set_len(len))
    }

    fn spaces(&mut self) -> Option<Spaces> {
        let (data, log) = (&self.dirs.data, &self.dirs.log);
        let device = |dir: &Path| fs::metadata(dir).map(|m| m.dev()).ok();
        Some(Spaces { data: space_of(data)?, log: space_of(log)?, shared: device(data) == device(log) })
    }
}
