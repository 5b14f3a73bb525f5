//! Loading an image: the body of a snapshot or of a SNAP transfer, fed in whatever chunks it arrives.
//!
//! Takes our order and Apache's; fuzzy images too. A znode without its parent is refused. An ACL id that
//! the table does not hold allows nothing until replay repairs it (`Tree::unresolved_acls`). Deliberately
//! absent: header, seals and checksums (`format::snapshot`).

use super::arena::ROOT;
use super::{Tree, TreeOptions, content_crc, path};
use crate::format::snapshot::{self, NodeRecord};
use crate::ids::SessionId;
use crate::jute::{Error, Reader};
use crate::limits;
use crate::zxid::Zxid;
use thiserror::Error as ThisError;

/// Why an image cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum LoadError {
    /// A record that cannot be read.
    #[error("{0}")]
    Jute(#[from] Error),
    /// A znode whose parent has not come before it.
    #[error("znode {0} without its parent")]
    Orphan(String),
    /// A znode that comes twice.
    #[error("znode {0} twice")]
    Twice(String),
    /// A path that is none.
    #[error("{0:?} is no path")]
    Path(String),
    /// The image ended too early.
    #[error("the image ends too early")]
    Unfinished,
}

/// How far a chunk was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes used off the chunk's front; the rest must stand at the front of the next one.
    pub consumed: usize,
    /// Whether the image is complete; what follows `consumed` is not part of it.
    pub done: bool,
}

enum Stage {
    SessionCount,
    Sessions(usize),
    AclCount,
    Acls(usize),
    Nodes,
    Done,
}

/// A tree under construction.
pub struct Loader {
    tree: Tree,
    sessions: Vec<(SessionId, i32)>,
    stage: Stage,
    root_seen: bool,
    parent_path: String,
    parent: u32,
    size_hint: u64,
    node_bytes: u64,
}

/// After so many znodes the loader knows how big they are, and sizes the index for all of them.
const SAMPLE: usize = 1 << 14;

impl Loader {
    /// An empty one. `size_hint` is about how many bytes will come (a file's length), or 0; it only saves
    /// time.
    pub fn new(options: TreeOptions, size_hint: u64) -> Loader {
        Loader {
            size_hint,
            node_bytes: 0,
            tree: Tree::bare(options),
            sessions: Vec::new(),
            stage: Stage::SessionCount,
            root_seen: false,
            parent_path: String::new(),
            parent: ROOT,
        }
    }

    /// Uses as much of a chunk as holds whole records. To make progress a chunk must hold at least one
    /// record: at most `limits::RECORD_BYTES_MAX` bytes of data and its path.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Progress, LoadError> {
        let mut reader = Reader::with_field_max(bytes, limits::RECORD_BYTES_MAX);
        let mut consumed = 0;
        loop {
            if matches!(self.stage, Stage::Done) {
                return Ok(Progress { consumed, done: true });
            }
            match self.step(&mut reader) {
                Ok(()) => consumed = reader.position(),
                Err(LoadError::Jute(Error::Short(_))) => return Ok(Progress { consumed, done: false }),
                Err(error) => return Err(error),
            }
        }
    }

    fn step(&mut self, reader: &mut Reader<'_>) -> Result<(), LoadError> {
        match &mut self.stage {
            Stage::SessionCount => self.stage = Stage::Sessions(count(reader)?),
            Stage::Sessions(0) => self.stage = Stage::AclCount,
            Stage::Sessions(left) => {
                let (id, timeout_ms) = snapshot::read_session(reader)?;
                self.sessions.push((SessionId(id), timeout_ms));
                *left -= 1;
            }
            Stage::AclCount => self.stage = Stage::Acls(count(reader)?),
            Stage::Acls(0) => self.stage = Stage::Nodes,
            Stage::Acls(left) => {
                let (id, list) = snapshot::read_acl(reader)?;
                self.tree.acls.load(id, list);
                *left -= 1;
            }
            Stage::Nodes => {
                let from = reader.position();
                match NodeRecord::read(reader)? {
                    Some(record) => self.add(&record)?,
                    None => self.stage = Stage::Done,
                }
                self.node_bytes += (reader.position() - from) as u64;
                if self.tree.arena.live() == SAMPLE {
                    let rest = self.size_hint.saturating_sub(self.node_bytes);
                    let more = (rest / (self.node_bytes / SAMPLE as u64).max(1)) as usize;
                    self.tree.arena.reserve(more.min(limits::LOAD_RESERVE_ZNODES));
                }
            }
            Stage::Done => {}
        }
        Ok(())
    }

    fn add(&mut self, record: &NodeRecord<'_>) -> Result<(), LoadError> {
        let tree = &mut self.tree;
        if record.path.is_empty() {
            if std::mem::replace(&mut self.root_seen, true) {
                return Err(LoadError::Twice("/".into()));
            }
            let acl = tree.acls.use_id(record.acl_id);
            let root = tree.arena.node_mut(ROOT);
            root.set_data(record.data);
            root.set_stat(&record.stat);
            root.acl = acl;
            root.content_crc = content_crc(b"", record.data);
            tree.data_bytes += root.data_len() as u64;
            tree.digest = root.digest().into();
            return Ok(());
        }
        let (above, name) = match path::split(record.path) {
            Some((above, name)) if !name.is_empty() => (above, name),
            _ => return Err(LoadError::Path(record.path.into())),
        };
        let orphan = || LoadError::Orphan(record.path.into());
        if !self.root_seen {
            return Err(orphan());
        }
        if above != self.parent_path {
            self.parent = tree.arena.find(above.as_bytes()).ok_or_else(orphan)?;
            self.parent_path.clear();
            self.parent_path.push_str(above);
        }
        if tree.arena.child(self.parent, name.as_bytes()).is_some() {
            return Err(LoadError::Twice(record.path.into()));
        }
        let hidden = super::is_hidden(record.path);
        let acl = tree.acls.use_id(record.acl_id);
        let index = tree.arena.insert(self.parent, name.as_bytes(), record.data, &record.stat, hidden);
        tree.arena.node_mut(index).acl = acl;
        tree.count_in(index, record.path);
        Ok(())
    }

    /// The tree at `zxid` (of the snapshot's name or of the SNAP packet), and the sessions alive there.
    /// Lists that no znode uses are forgotten; `/zookeeper` and its two znodes are made if an old image
    /// lacks them.
    pub fn finish(mut self, zxid: Zxid) -> Result<(Tree, Vec<(SessionId, i32)>), LoadError> {
        if !matches!(self.stage, Stage::Done) || !self.root_seen {
            return Err(LoadError::Unfinished);
        }
        self.tree.acls.purge();
        self.tree.add_own_znodes();
        self.tree.set_last_zxid(zxid);
        Ok((self.tree, self.sessions))
    }
}

/// A map's count; a negative one is refused.
fn count(reader: &mut Reader<'_>) -> Result<usize, LoadError> {
    let count = reader.i32()?;
    usize::try_from(count).map_err(|_| LoadError::Jute(Error::Length(count)))
}
