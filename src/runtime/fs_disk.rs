//! `Disk` on the file system. Keeps files open; decides nothing.

use crate::storage::{Dir, Disk, DiskError, FileRef};
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
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
}

/// Open files are few (segment, snapshot, spare); beyond this the cache is dropped.
const OPEN_MAX: usize = 16;

impl FsDisk {
    pub(super) fn new(dirs: Directories) -> FsDisk {
        FsDisk { dirs, open: HashMap::new() }
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
}

fn failed(what: &str, path: &Path, error: &io::Error) -> DiskError {
    DiskError::Io { what: format!("{what} {}", path.display()), why: error.to_string() }
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
        self.with(file, "read", false, |f| {
            loop {
                match f.read_at(buffer, offset) {
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    other => return other,
                }
            }
        })
    }

    fn write(&mut self, file: &FileRef, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.with(file, "write", true, |f| f.write_all_at(bytes, offset))
    }

    fn sync(&mut self, file: &FileRef) -> Result<(), DiskError> {
        self.with(file, "fdatasync", false, File::sync_data)
    }

    fn sync_dir(&mut self, dir: Dir) -> Result<(), DiskError> {
        let path = self.dir(dir).to_path_buf();
        File::open(&path).and_then(|d| d.sync_all()).map_err(|e| failed("fsync directory", &path, &e))
    }

    fn rename(&mut self, dir: Dir, from: &str, to: &str) -> Result<(), DiskError> {
        let (old, new) = (self.dir(dir).join(from), self.dir(dir).join(to));
        fs::rename(&old, &new).map_err(|e| failed("rename", &old, &e))?;
        self.open.remove(&(dir, to.to_owned()));
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
        let path = self.path(file);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path, &e)),
            _ => Ok(()),
        }
    }

    fn set_len(&mut self, file: &FileRef, len: u64) -> Result<(), DiskError> {
        self.with(file, "cut", false, |f| f.set_len(len))
    }
}
