//! A disk of bytes: what is synced stays, what is not may be lost or torn by sector at a crash.
//!
//! A file's bytes become durable by `sync`, its name by `sync_dir`; a crash keeps a random part of
//! the rest: any subset of unsynced 512-byte sectors, and a prefix of the unsynced directory changes. A sync
//! that fails leaves its pages clean in memory and not on disk: the next one says yes and does nothing
//! (Rebello et al., ATC'20), and they are gone with the process. What is written beyond the room that others leave
//! is written as far as it goes.

use std::collections::BTreeMap;
use zkctl::prng::Prng;
use zkctl::storage::{self, Dir, Disk, DiskError, DurableMark, FileRef, Space, Spaces, write_zeros};

const SECTOR: usize = 512;
/// The small files of a server.
const SMALL: [(Dir, &str); 7] = [
    (Dir::Data, "acceptedEpoch"),
    (Dir::Data, "currentEpoch"),
    (Dir::Data, "zkctl.database"),
    (Dir::Data, "zkctl.received"),
    (Dir::Log, "zkctl.database"),
    (Dir::Log, "zkctl.durable"),
    (Dir::Log, "zkctl.segment"),
];
/// A file system's size: a number to tell, since the marks are set.
const TOTAL: u64 = 1 << 40;

#[derive(Clone, Debug, Default)]
struct File {
    synced: Vec<u8>,
    now: Vec<u8>,
    /// A sync of it failed.
    lost: bool,
}

const MARK: &str = "zkctl.durable";

/// What can be done to a disk, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Write,
    Sync,
    SyncDir,
    Rename,
    Remove,
    SetLen,
}

impl Kind {
    /// Those that are rare, and at which files begin, end and change their names.
    const RARE: [Kind; 5] = [Kind::SetLen, Kind::SetLen, Kind::SyncDir, Kind::Rename, Kind::Remove];

    /// One of them, or none in particular: what is rare would hardly ever be hit by counting all alike.
    pub(crate) fn draw(prng: &mut Prng) -> Option<Kind> {
        Kind::RARE.get(prng.below(8) as usize).copied()
    }
}

/// When the power goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fuse {
    /// Not before one of this kind.
    pub(crate) behind: Option<Kind>,
    /// Operations that still succeed then.
    pub(crate) left: u64,
}

/// What a disk does wrong while its power is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskFault {
    /// One operation fails, of this kind if it must be one.
    Error(Option<Kind>),
    /// From one write on, all fail.
    Full,
    /// One sync of a file fails.
    Sync,
}

#[derive(Clone, Debug)]
enum Change {
    Enter(String, u64),
    Leave(String),
}

#[derive(Clone, Debug, Default)]
struct Directory {
    now: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    changes: Vec<Change>,
}

/// The file systems of a server, the data's and the log's, and how much of them others leave to it.
#[derive(Clone, Copy, Debug, Default)]
struct Volumes {
    /// There is only one.
    shared: bool,
    /// Bytes that all its files may take there; `None` is as many as one likes.
    capacity: [Option<u64>; 2],
    /// Nobody can tell how much is left.
    blind: bool,
}

impl Volumes {
    fn of(self, dir: Dir) -> usize {
        usize::from(dir == Dir::Log && !self.shared)
    }
}

#[derive(Debug)]
pub(crate) struct SimDisk {
    files: BTreeMap<u64, File>,
    dirs: BTreeMap<Dir, Directory>,
    next_file: u64,
    volumes: Volumes,
    pub(crate) fuse: Option<Fuse>,
    /// The power went in the middle of something.
    pub(crate) dead: bool,
    /// What will go wrong, after so many operations that it could hit.
    pub(crate) fault: Option<(u64, DiskFault)>,
    /// What went wrong, as the server was told.
    pub(crate) erred: Option<String>,
}

/// What kind of file this is.
fn stem(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

impl SimDisk {
    pub(crate) fn new() -> SimDisk {
        let dirs = [Dir::Data, Dir::Log, Dir::Base].map(|d| (d, Directory::default())).into();
        SimDisk {
            files: BTreeMap::new(),
            dirs,
            next_file: 1,
            volumes: Volumes::default(),
            fuse: None,
            dead: false,
            fault: None,
            erred: None,
        }
    }

    fn step(&mut self, what: Kind) -> Result<(), DiskError> {
        let error = |why: String| DiskError::Io { what: format!("{what:?}"), why };
        if let Some(fuse) = &mut self.fuse {
            if fuse.behind == Some(what) {
                fuse.behind = None;
            }
            match (fuse.behind, fuse.left) {
                (Some(_), _) => {}
                (None, 0) => self.dead = true,
                (None, _) => fuse.left -= 1,
            }
        }
        if self.dead {
            return Err(error("the power is gone".to_owned()));
        }
        let Some((left, fault)) = self.fault else { return Ok(()) };
        let hit = match fault {
            DiskFault::Error(kind) => kind.is_none_or(|kind| kind == what),
            DiskFault::Full => what == Kind::Write,
            DiskFault::Sync => what == Kind::Sync,
        };
        match (hit, left) {
            (false, _) => return Ok(()),
            (true, 0) => {}
            (true, left) => {
                self.fault = Some((left - 1, fault));
                return Ok(());
            }
        }
        if fault != DiskFault::Full {
            self.fault = None;
        }
        let error = error(format!("{fault:?}"));
        self.erred = Some(error.to_string());
        Err(error)
    }

    /// Whether this is about what went wrong here.
    pub(crate) fn explains(&self, reason: &str) -> bool {
        !self.dead && self.erred.as_ref().is_some_and(|why| reason.contains(why.as_str()))
    }

    /// The process is gone, and what went wrong with it.
    fn restart(&mut self) {
        for file in self.files.values_mut().filter(|f| f.lost) {
            file.now = file.synced.clone();
            file.lost = false;
        }
        (self.fuse, self.dead, self.fault, self.erred) = (None, false, None, None);
    }

    fn find(&self, file: &FileRef) -> Option<u64> {
        self.dirs[&file.dir].now.get(&file.name).copied()
    }

    fn dir(&mut self, dir: Dir) -> &mut Directory {
        self.dirs.get_mut(&dir).unwrap()
    }

    fn missing<T>(file: &FileRef) -> Result<T, DiskError> {
        Err(DiskError::Io { what: format!("{file:?}"), why: "no such file".to_owned() })
    }

    /// The power goes: what survives is decided here.
    pub(crate) fn crash(&mut self, prng: &mut Prng) {
        self.restart();
        for directory in self.dirs.values_mut() {
            let keep = prng.below(directory.changes.len() as u64 + 1) as usize;
            for change in directory.changes.drain(..).take(keep) {
                match change {
                    Change::Enter(name, id) => directory.durable.insert(name, id),
                    Change::Leave(name) => directory.durable.remove(&name),
                };
            }
            directory.now = directory.durable.clone();
        }
        for file in self.files.values_mut() {
            if file.now == file.synced {
                continue;
            }
            let mut image = file.synced.clone();
            // The length may or may not have grown.
            if file.now.len() > image.len() && prng.chance(1, 2) {
                image.resize(file.now.len(), 0);
            } else if file.now.len() < image.len() && prng.chance(1, 2) {
                image.truncate(file.now.len());
            }
            let mut at = 0;
            while at < image.len().min(file.now.len()) {
                let end = (at + SECTOR).min(image.len()).min(file.now.len());
                match prng.below(4) {
                    0 => {
                        let torn = at + prng.below((end - at) as u64 + 1) as usize;
                        image[at..torn].copy_from_slice(&file.now[at..torn]);
                    }
                    1 | 2 => image[at..end].copy_from_slice(&file.now[at..end]),
                    _ => {}
                }
                at = end;
            }
            file.now = image.clone();
            file.synced = image;
        }
    }

    /// What a power cut now would leave for certain: what is synced, under the names that are.
    pub(crate) fn surviving(&self) -> SimDisk {
        let mut left = SimDisk::new();
        for (dir, directory) in &self.dirs {
            for (name, id) in &directory.durable {
                let synced = &self.files[id].synced;
                left.files.insert(*id, File { synced: synced.clone(), now: synced.clone(), lost: false });
                let names = left.dir(*dir);
                names.durable.insert(name.clone(), *id);
                names.now.insert(name.clone(), *id);
            }
        }
        left.next_file = self.next_file;
        left
    }

    /// The process dies, the machine does not: the page cache survives.
    pub(crate) fn kill(&mut self) {
        self.restart();
    }

    /// Files whose bytes were durable, each with how far: the log below its mark, and snapshots.
    fn durable_files(&self, dir: Dir) -> Option<Vec<(String, u64, usize)>> {
        let mark = self.durable_mark()?;
        let prefix = if dir == Dir::Log { "log" } else { "snapshot" };
        let mut places = Vec::new();
        for (name, id) in &self.dirs[&dir].now {
            let Some(first) = storage::parse_name(name, prefix) else { continue };
            let len = self.files[id].now.len();
            let end = match dir {
                Dir::Log if first > mark.segment => continue,
                Dir::Log if first == mark.segment => len.min(mark.offset as usize),
                _ => len,
            };
            if end > 0 {
                places.push((name.clone(), *id, end));
            }
        }
        Some(places)
    }

    /// What was durable changes: a bit of a file of the log or a snapshot, a bit of each file of one of these
    /// directories, or a sector that was never written or holds another's bytes. Says what, if anything could.
    pub(crate) fn rot(&mut self, prng: &mut Prng) -> Option<String> {
        let dir = if prng.chance(1, 2) { Dir::Log } else { Dir::Data };
        let mut files = self.durable_files(dir).filter(|files| !files.is_empty())?;
        let one = files[prng.below(files.len() as u64) as usize].clone();
        let kind = prng.below(8);
        // A whole directory, all logs or all snapshots, or one file.
        match kind {
            0 => {}
            1 => files.retain(|(name, ..)| stem(name) == stem(&one.0)),
            _ => files = vec![one],
        }
        let mut told = Vec::new();
        for (name, id, end) in files {
            let at = prng.below(end as u64) as usize;
            let sector = at - at % SECTOR..(at - at % SECTOR + SECTOR).min(end);
            let mut bytes = self.files[&id].now[sector.clone()].to_vec();
            match kind {
                6 => bytes.fill(0),
                7 => self.misdirect(prng, &mut bytes),
                _ => bytes[at - sector.start] ^= 1 << prng.below(8),
            }
            let file = self.files.get_mut(&id)?;
            for (offset, byte) in sector.zip(bytes) {
                file.now[offset] = byte;
                if let Some(synced) = file.synced.get_mut(offset) {
                    *synced = byte;
                }
            }
            told.push(format!("{name} at {at}"));
        }
        Some(format!(
            "{} ({})",
            told.join(", "),
            ["a bit", "zeros", "misdirected"][kind.saturating_sub(5) as usize]
        ))
    }

    /// One of the small files rots: a bit of it, or all of it becomes zeros. In an epoch file, whose form is Apache's
    /// and has no checksum, a digit that becomes another digit can be noticed by nobody: there only a byte that is
    /// none comes to be.
    pub(crate) fn rot_small(&mut self, prng: &mut Prng) -> Option<String> {
        let (file, id) = self.one_of(prng, &SMALL)?;
        let bytes = &mut self.files.get_mut(&id)?.now;
        let at = prng.below(bytes.len().max(1) as u64) as usize;
        let byte = bytes.get_mut(at)?;
        match prng.below(4) {
            0 => bytes.fill(0),
            _ => {
                let changed = *byte ^ 1 << prng.below(8);
                let is_epoch = file.name.ends_with("Epoch");
                *byte = if is_epoch && changed.is_ascii_digit() { *byte | 0x80 } else { changed };
            }
        }
        let rotten = self.files.get_mut(&id)?;
        rotten.synced.clone_from(&rotten.now);
        Some(format!("{} at {at}", file.name))
    }

    /// Somebody removes a file, or all of the log directory. What nobody can notice is left out:
    ///
    /// - a segment behind the durable mark: that it was begun is no proof that it ever came to be;
    /// - a segment in front of one that begins an epoch: nothing but digests tells of it, and they refuse
    ///   nothing;
    /// - `zkctl.untrusted`, whose removal is how an operator accepts a loss.
    ///
    /// Without any snapshot beside a log the server refuses to start: it could be ZooKeeper 3.4's, and all of them.
    pub(crate) fn delete(&mut self, prng: &mut Prng) -> Option<String> {
        let file = match prng.below(8) {
            0 => {
                let names: Vec<String> = self.dirs[&Dir::Log].now.keys().cloned().collect();
                names.iter().for_each(|name| self.vanish(&FileRef::log(name)));
                return (!names.is_empty()).then(|| names.join(", "));
            }
            1..=3 => self.one_segment(prng).map(FileRef::log)?,
            4 | 5 => self.one_snapshot(prng).map(FileRef::data)?,
            _ => self.one_of(prng, &SMALL)?.0,
        };
        self.vanish(&file);
        Some(file.name)
    }

    fn vanish(&mut self, file: &FileRef) {
        let directory = self.dir(file.dir);
        directory.now.remove(&file.name);
        directory.durable.remove(&file.name);
        directory.changes.retain(|change| match change {
            Change::Enter(name, _) | Change::Leave(name) => *name != file.name,
        });
    }

    /// How far the log was certainly durable. A power cut may bring an older mark back, so the lesser of the two.
    fn durable_mark(&self) -> Option<DurableMark> {
        let names = &self.dirs[&Dir::Log];
        let now = DurableMark::decode(&self.files[names.now.get(MARK)?].now)?;
        let durable = DurableMark::decode(&self.files[names.durable.get(MARK)?].synced)?;
        Some(if (now.segment, now.offset) < (durable.segment, durable.offset) { now } else { durable })
    }

    fn one_segment(&self, prng: &mut Prng) -> Option<String> {
        let mark = self.durable_mark()?;
        let mut all: Vec<_> =
            self.dirs[&Dir::Log].now.keys().filter_map(|name| storage::parse_name(name, "log")).collect();
        all.sort_unstable();
        let next = |first| all.iter().find(|other| **other > first).is_none_or(|next| next.counter() != 1);
        let may_go: Vec<_> =
            all.iter().filter(|first| **first <= mark.segment && next(**first)).copied().collect();
        let nth = prng.below(may_go.len().max(1) as u64) as usize;
        may_go.get(nth).map(|first| storage::log_name(*first))
    }

    fn one_snapshot(&self, prng: &mut Prng) -> Option<String> {
        let names = self.dirs[&Dir::Data].now.keys();
        let all: Vec<_> = names.filter_map(|name| storage::parse_name(name, "snapshot")).collect();
        let has_log = self.dirs[&Dir::Log].now.keys().any(|name| storage::parse_name(name, "log").is_some());
        if all.len() < 2 && has_log {
            return None;
        }
        let nth = prng.below(all.len().max(1) as u64) as usize;
        all.get(nth).map(|zxid| storage::snapshot_name(*zxid))
    }

    /// One of these that is there.
    fn one_of(&self, prng: &mut Prng, names: &[(Dir, &str)]) -> Option<(FileRef, u64)> {
        let files = names.iter().map(|(dir, name)| FileRef { dir: *dir, name: (*name).to_owned() });
        let mut there: Vec<_> = files.filter_map(|file| self.find(&file).map(|id| (file, id))).collect();
        (!there.is_empty()).then(|| there.swap_remove(prng.below(there.len() as u64) as usize))
    }

    /// What stands in some other place instead.
    fn misdirect(&self, prng: &mut Prng, bytes: &mut [u8]) {
        let nth = prng.below(self.files.len() as u64) as usize;
        let Some(from) = self.files.values().nth(nth).map(|f| &f.now) else { return };
        let at = prng.below(from.len() as u64 / SECTOR as u64 + 1) as usize * SECTOR;
        for (byte, other) in bytes.iter_mut().zip(from.get(at..).unwrap_or_default()) {
            *byte = *other;
        }
    }

    pub(crate) fn wipe(&mut self) {
        *self = SimDisk { volumes: self.volumes, ..SimDisk::new() };
    }

    /// Data and log share a file system, or not.
    pub(crate) fn share(&mut self, shared: bool) {
        self.volumes.shared = shared;
    }

    /// Others' files take all but so many bytes of the data's and of the log's file system.
    pub(crate) fn fill(&mut self, leave: [Option<u64>; 2], blind: bool) {
        self.volumes.blind = blind;
        for (volume, leave) in leave.into_iter().enumerate() {
            self.volumes.capacity[volume] = leave.map(|free| self.used(volume) + free);
        }
    }

    /// What our own files take of a file system.
    fn used(&self, volume: usize) -> u64 {
        let here = self.dirs.iter().filter(|(dir, _)| self.volumes.of(**dir) == volume);
        here.flat_map(|(_, directory)| directory.now.values()).map(|id| self.files[id].now.len() as u64).sum()
    }

    fn free(&self, volume: usize) -> u64 {
        self.volumes.capacity[volume].unwrap_or(TOTAL).saturating_sub(self.used(volume))
    }

    /// How many of `len` bytes at `offset` there is room for: what the file has already takes none.
    fn fitting(&self, file: &FileRef, offset: u64, len: usize) -> usize {
        let volume = self.volumes.of(file.dir);
        if self.volumes.capacity[volume].is_none() {
            return len;
        }
        let had = self.find(file).map_or(0, |id| self.files[&id].now.len() as u64);
        let end = had + self.free(volume);
        len.min(end.saturating_sub(offset) as usize)
    }

    /// Whether a power cut now would leave a database that may be voted with: a snapshot's name becomes
    /// durable behind its bytes, and the mark of a database that was lost lies beside it.
    pub(crate) fn keeps_a_trusted_database(&self) -> bool {
        let data = &self.dirs[&Dir::Data];
        let marked = [&data.durable, &data.now].iter().any(|d| d.contains_key("zkctl.untrusted"));
        data.durable.keys().any(|name| storage::parse_name(name, "snapshot").is_some()) && !marked
    }

    pub(crate) fn touch_initialize(&mut self) {
        let file = FileRef { dir: Dir::Base, name: "initialize".into() };
        self.write(&file, 0, b"").unwrap();
        self.sync_dir(Dir::Base).unwrap();
    }
}

impl Disk for SimDisk {
    fn list(&mut self, dir: Dir) -> Result<Vec<String>, DiskError> {
        Ok(self.dirs[&dir].now.keys().cloned().collect())
    }

    fn len(&mut self, file: &FileRef) -> Result<Option<u64>, DiskError> {
        Ok(self.find(file).map(|id| self.files[&id].now.len() as u64))
    }

    fn read(&mut self, file: &FileRef, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let Some(id) = self.find(file) else { return Self::missing(file) };
        let bytes = &self.files[&id].now;
        let from = (offset as usize).min(bytes.len());
        let n = buffer.len().min(bytes.len() - from);
        buffer[..n].copy_from_slice(&bytes[from..from + n]);
        Ok(n)
    }

    fn write(&mut self, file: &FileRef, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.step(Kind::Write)?;
        let fitting = self.fitting(file, offset, bytes.len());
        let id = match self.find(file) {
            Some(id) => id,
            None => {
                let id = self.next_file;
                self.next_file += 1;
                self.files.insert(id, File::default());
                let directory = self.dir(file.dir);
                directory.now.insert(file.name.clone(), id);
                directory.changes.push(Change::Enter(file.name.clone(), id));
                id
            }
        };
        let now = &mut self.files.get_mut(&id).unwrap().now;
        let end = offset as usize + fitting;
        if now.len() < end && fitting > 0 {
            now.resize(end, 0);
        }
        if fitting > 0 {
            now[offset as usize..end].copy_from_slice(&bytes[..fitting]);
        }
        if fitting == bytes.len() {
            return Ok(());
        }
        let error = DiskError::Io { what: format!("{file:?}"), why: "no space left on device".to_owned() };
        self.erred = Some(error.to_string());
        Err(error)
    }

    fn append(&mut self, file: &FileRef, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        if let Some(id) = self.find(file) {
            let now = &self.files[&id].now;
            let behind = now.get(offset as usize..).unwrap_or_default();
            assert!(behind.iter().all(|b| *b == 0), "{file:?} has bytes behind {offset}");
        }
        self.write(file, offset, bytes)
    }

    fn zero(&mut self, file: &FileRef, offset: u64, len: u64) -> Result<(), DiskError> {
        write_zeros(self, file, offset, len)
    }

    fn sync(&mut self, file: &FileRef) -> Result<(), DiskError> {
        let Some(id) = self.find(file) else { return Self::missing(file) };
        let answer = self.step(Kind::Sync);
        let file = self.files.get_mut(&id).unwrap();
        file.lost |= answer.is_err();
        if !file.lost {
            file.synced.clone_from(&file.now);
        }
        answer
    }

    fn sync_dir(&mut self, dir: Dir) -> Result<(), DiskError> {
        self.step(Kind::SyncDir)?;
        let directory = self.dir(dir);
        directory.changes.clear();
        directory.durable = directory.now.clone();
        Ok(())
    }

    fn rename(&mut self, dir: Dir, from: &str, to: &str) -> Result<(), DiskError> {
        self.step(Kind::Rename)?;
        let directory = self.dir(dir);
        let Some(id) = directory.now.remove(from) else {
            return Self::missing(&FileRef { dir, name: from.to_owned() });
        };
        directory.now.insert(to.to_owned(), id);
        // One change: a crash never leaves neither name.
        directory.changes.push(Change::Enter(to.to_owned(), id));
        directory.changes.push(Change::Leave(from.to_owned()));
        Ok(())
    }

    fn remove(&mut self, file: &FileRef) -> Result<(), DiskError> {
        self.step(Kind::Remove)?;
        let directory = self.dir(file.dir);
        if directory.now.remove(&file.name).is_some() {
            directory.changes.push(Change::Leave(file.name.clone()));
        }
        Ok(())
    }

    fn set_len(&mut self, file: &FileRef, len: u64) -> Result<(), DiskError> {
        self.step(Kind::SetLen)?;
        let Some(id) = self.find(file) else { return Self::missing(file) };
        self.files.get_mut(&id).unwrap().now.resize(len as usize, 0);
        Ok(())
    }

    fn spaces(&mut self) -> Option<Spaces> {
        let space = |dir| Space { total: TOTAL, free: self.free(self.volumes.of(dir)) };
        let spaces = Spaces { data: space(Dir::Data), log: space(Dir::Log), shared: self.volumes.shared };
        (!self.volumes.blind).then_some(spaces)
    }
}
