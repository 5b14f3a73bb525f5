//! A sequential ZooKeeper: what every request does and answers if requests come one after the other.
//!
//! Written for plainness, from the original's rules: one map from path to znode. Every change is also put
//! into a list of triggers, which `watches` holds events against. The root's own stat is not modelled:
//! what is below `/zookeeper` moves it.

use super::acl::{ADMIN, Acl, CREATE, DELETE, READ, WRITE, user};
use super::{Op, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use zkctl::wire::reply::Stat;

pub(crate) const NO_NODE: i32 = -101;
const NO_AUTH: i32 = -102;
const BAD_VERSION: i32 = -103;
const NO_CHILDREN_FOR_EPHEMERALS: i32 = -108;
const NODE_EXISTS: i32 = -110;
const NOT_EMPTY: i32 = -111;
const AUTH_FAILED: i32 = -115;
const RUNTIME_INCONSISTENCY: i32 = -2;
pub(crate) const UNIMPLEMENTED: i32 = -6;
pub(crate) const NO_WATCHER: i32 = -121;

/// No event: only who may hear of others changes.
pub(crate) const ACL_CHANGED: i32 = 0;
pub(crate) const CREATED: i32 = 1;
pub(crate) const DELETED: i32 = 2;
pub(crate) const DATA_CHANGED: i32 = 3;
pub(crate) const CHILDREN_CHANGED: i32 = 4;

#[derive(Clone, Debug)]
struct Znode {
    data: Vec<u8>,
    acl: Arc<Acl>,
    czxid: i64,
    mzxid: i64,
    pzxid: i64,
    ctime: i64,
    mtime: i64,
    version: i32,
    /// Children ever born: what sequence numbers count.
    births: i32,
    aversion: i32,
    owner: i64,
    children: BTreeSet<String>,
}

/// A change that watchers hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trigger {
    pub(crate) zxid: i64,
    pub(crate) path: String,
    pub(crate) kind: i32,
    /// Of the znode it is about, then: who may not read that does not hear.
    pub(crate) acl: Arc<Acl>,
}

#[derive(Clone, Debug)]
pub(crate) struct Model {
    znodes: BTreeMap<String, Znode>,
    /// Ephemerals by session.
    owned: BTreeMap<i64, BTreeSet<String>>,
    pub(crate) triggers: Vec<Trigger>,
    /// How to take back what the multi under way has done.
    undo: Option<Vec<Undo>>,
}

/// One change of one znode, to be taken back.
#[derive(Clone, Debug)]
enum Undo {
    /// It was made; what its parent counted and said before.
    Made(String, Above),
    Removed(String, Znode, Above),
    Changed(String, Content),
}

/// A parent's births and pzxid.
#[derive(Clone, Copy, Debug)]
struct Above(i32, i64);

#[derive(Clone, Debug)]
struct Content {
    data: Vec<u8>,
    version: i32,
    mzxid: i64,
    mtime: i64,
}

/// Where and when a txn stands, and who asked for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) zxid: i64,
    pub(crate) time: i64,
    pub(crate) session: i64,
    /// Ids of the scheme digest.
    pub(crate) who: &'a [String],
}

type Answer = Result<Outcome, i32>;

fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(at) => &path[..at],
    }
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

impl Znode {
    fn stat(&self) -> Stat {
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            cversion: self.births * 2 - self.children.len() as i32,
            aversion: self.aversion,
            ephemeral_owner: self.owner,
            data_length: self.data.len() as i32,
            num_children: self.children.len() as i32,
            pzxid: self.pzxid,
        }
    }

    fn new(data: &[u8], acl: Acl, owner: i64, at: Place<'_>) -> Znode {
        Znode {
            data: data.to_vec(),
            acl: Arc::new(acl),
            czxid: at.zxid,
            mzxid: at.zxid,
            pzxid: at.zxid,
            ctime: at.time,
            mtime: at.time,
            version: 0,
            births: 0,
            aversion: 0,
            owner,
            children: BTreeSet::new(),
        }
    }
}

impl Default for Model {
    fn default() -> Model {
        let root = Znode::new(&[], Acl::anyone(31), 0, Place { zxid: 0, time: 0, session: 0, who: &[] });
        let znodes = [("/".to_owned(), root)].into();
        Model { znodes, owned: BTreeMap::new(), triggers: Vec::new(), undo: None }
    }
}

impl Model {
    /// Does a write. A refused one changes nothing.
    pub(crate) fn write(&mut self, op: &Op, at: Place<'_>) -> Outcome {
        match op {
            Op::Multi(ops) => Outcome::Many(self.multi(ops, at)),
            Op::CloseSession => {
                self.close(at);
                Outcome::Done
            }
            Op::NotOffered { .. } => Outcome::Failed(UNIMPLEMENTED),
            single => self.one(single, at).unwrap_or_else(Outcome::Failed),
        }
    }

    fn multi(&mut self, ops: &[Op], at: Place<'_>) -> Vec<Outcome> {
        let triggers = self.triggers.len();
        self.undo = Some(Vec::new());
        let mut out = Vec::new();
        for (nth, op) in ops.iter().enumerate() {
            match self.one(op, at) {
                Ok(done) => out.push(done),
                Err(code) => {
                    self.take_back();
                    self.triggers.truncate(triggers);
                    let of = |other: usize| match other.cmp(&nth) {
                        std::cmp::Ordering::Less => 0,
                        std::cmp::Ordering::Equal => code,
                        std::cmp::Ordering::Greater => RUNTIME_INCONSISTENCY,
                    };
                    return (0..ops.len()).map(|other| Outcome::Failed(of(other))).collect();
                }
            }
        }
        self.undo = None;
        out
    }

    fn take_back(&mut self) {
        for undo in self.undo.take().into_iter().flatten().rev() {
            match undo {
                Undo::Made(path, above) => {
                    self.detach(&path);
                    self.above(&path, above);
                }
                Undo::Removed(path, node, above) => {
                    self.attach(path.clone(), node);
                    self.above(&path, above);
                }
                Undo::Changed(path, Content { data, version, mzxid, mtime }) => {
                    if let Some(node) = self.znodes.get_mut(&path) {
                        (node.data, node.version, node.mzxid, node.mtime) = (data, version, mzxid, mtime);
                    }
                }
            }
        }
    }

    /// Sets what a path's parent counts and says.
    fn above(&mut self, path: &str, above: Above) {
        if let Some(node) = self.znodes.get_mut(parent(path)) {
            (node.births, node.pzxid) = (above.0, above.1);
        }
    }

    fn attach(&mut self, path: String, node: Znode) {
        if let Some(above) = self.znodes.get_mut(parent(&path)) {
            above.children.insert(name(&path).to_owned());
        }
        if node.owner != 0 {
            self.owned.entry(node.owner).or_default().insert(path.clone());
        }
        self.znodes.insert(path, node);
    }

    fn detach(&mut self, path: &str) -> Option<Znode> {
        let node = self.znodes.remove(path)?;
        if let Some(above) = self.znodes.get_mut(parent(path)) {
            above.children.remove(name(path));
        }
        if let Some(paths) = self.owned.get_mut(&node.owner) {
            paths.remove(path);
        }
        Some(node)
    }

    fn remember(&mut self, undo: impl FnOnce() -> Undo) {
        if let Some(list) = &mut self.undo {
            list.push(undo());
        }
    }

    fn one(&mut self, op: &Op, at: Place<'_>) -> Answer {
        match op {
            Op::Create { path, data, flags, acl, with_stat } => {
                self.create(path, data, (*flags, acl, *with_stat), at)
            }
            Op::Delete { path, version } => self.delete(path, *version, at),
            Op::SetData { path, data, version } => {
                let node = self.changeable(path, WRITE, at)?;
                expect(node.version, *version)?;
                let (mzxid, mtime) = (node.mzxid, node.mtime);
                let before = Content { data: node.data.clone(), version: node.version, mzxid, mtime };
                node.version += 1;
                node.data.clone_from(data);
                (node.mzxid, node.mtime) = (at.zxid, at.time);
                let (stat, acl) = (node.stat(), node.acl.clone());
                self.remember(|| Undo::Changed(path.clone(), before));
                self.trigger(at, path, DATA_CHANGED, acl);
                Ok(Outcome::Stat(stat))
            }
            Op::SetAcl { path, acl, version } => {
                let acl = Arc::new(acl.stored(at.who)?);
                let node = self.changeable(path, ADMIN, at)?;
                expect(node.aversion, *version)?;
                node.aversion += 1;
                node.acl = acl.clone();
                let stat = node.stat();
                self.trigger(at, path, ACL_CHANGED, acl);
                Ok(Outcome::Stat(stat))
            }
            Op::Check { path, version } => {
                let node = self.changeable(path, READ, at)?;
                expect(node.version, *version)?;
                Ok(Outcome::Done)
            }
            other => panic!("{other:?} is no write"),
        }
    }

    fn changeable(&mut self, path: &str, perm: i32, at: Place<'_>) -> Result<&mut Znode, i32> {
        let node = self.znodes.get_mut(path).ok_or(NO_NODE)?;
        if node.acl.allows(perm, at.who) { Ok(node) } else { Err(NO_AUTH) }
    }

    fn create(&mut self, path: &str, data: &[u8], how: (i32, &Acl, bool), at: Place<'_>) -> Answer {
        let (flags, acl, with_stat) = how;
        let acl = acl.stored(at.who)?;
        let above = parent(path).to_owned();
        let births = self.changeable(&above, CREATE, at)?.births;
        let path = if flags & 2 != 0 { format!("{path}{births:010}") } else { path.to_owned() };
        if self.znodes.contains_key(&path) {
            return Err(NODE_EXISTS);
        }
        let above_node = self.changeable(&above, CREATE, at)?;
        if above_node.owner != 0 {
            return Err(NO_CHILDREN_FOR_EPHEMERALS);
        }
        let before = Above(above_node.births, above_node.pzxid);
        above_node.births += 1;
        above_node.pzxid = at.zxid;
        let owner = if flags & 1 != 0 { at.session } else { 0 };
        let node = Znode::new(data, acl, owner, at);
        let (stat, acl) = (with_stat.then(|| node.stat()), node.acl.clone());
        self.attach(path.clone(), node);
        self.remember(|| Undo::Made(path.clone(), before));
        self.trigger(at, &path, CREATED, acl);
        self.tell_above(at, &path);
        Ok(Outcome::Created { path, stat })
    }

    fn delete(&mut self, path: &str, version: i32, at: Place<'_>) -> Answer {
        let above = parent(path).to_owned();
        self.changeable(&above, DELETE, at)?;
        let node = self.znodes.get(path).ok_or(NO_NODE)?;
        expect(node.version, version)?;
        if !node.children.is_empty() {
            return Err(NOT_EMPTY);
        }
        self.remove(path, at);
        Ok(Outcome::Done)
    }

    fn remove(&mut self, path: &str, at: Place<'_>) {
        let above = parent(path).to_owned();
        let Some(node) = self.detach(path) else { return };
        let acl = node.acl.clone();
        if let Some(parent) = self.znodes.get_mut(&above) {
            let before = Above(parent.births, parent.pzxid);
            parent.pzxid = at.zxid;
            self.remember(|| Undo::Removed(path.to_owned(), node, before));
        }
        self.trigger(at, path, DELETED, acl);
        self.tell_above(at, path);
    }

    /// A session ends: its ephemerals go.
    pub(crate) fn close(&mut self, at: Place<'_>) {
        for path in self.ephemerals(at.session) {
            self.remove(&path, at);
        }
    }

    fn trigger(&mut self, at: Place<'_>, path: &str, kind: i32, acl: Arc<Acl>) {
        self.triggers.push(Trigger { zxid: at.zxid, path: path.to_owned(), kind, acl });
    }

    fn tell_above(&mut self, at: Place<'_>, path: &str) {
        if let Some(acl) = self.znodes.get(parent(path)).map(|node| node.acl.clone()) {
            self.trigger(at, parent(path), CHILDREN_CHANGED, acl);
        }
    }

    pub(crate) fn ephemerals(&self, session: i64) -> Vec<String> {
        self.owned.get(&session).into_iter().flatten().cloned().collect()
    }

    /// What a read answers now; `None` where the model knows nothing about it.
    pub(crate) fn read(&self, op: &Op, session: i64, who: &[String]) -> Option<Outcome> {
        let answer = match op {
            Op::MultiRead(ops) => Ok(Outcome::Many(
                ops.iter()
                    .map(|op| self.read_one(op, (session, who), false).unwrap_or_else(Outcome::Failed))
                    .collect(),
            )),
            Op::Exists { path, .. } | Op::GetData { path, .. } if path == "/" => return None,
            Op::Sync { .. } | Op::Ping | Op::SetWatches(_) | Op::AddWatch { .. } => return None,
            // What is watched, the checker of watches knows.
            Op::CheckWatches { .. } | Op::RemoveWatches { .. } => return None,
            Op::AddAuth { scheme, .. } => match scheme.as_str() {
                "digest" | "ip" => Ok(Outcome::Done),
                _ => Err(AUTH_FAILED),
            },
            other => self.read_one(other, (session, who), true),
        };
        Some(answer.unwrap_or_else(Outcome::Failed))
    }

    fn allowing(&self, path: &str, perms: i32, who: &[String]) -> Result<&Znode, i32> {
        let node = self.znodes.get(path).ok_or(NO_NODE)?;
        if node.acl.allows(perms, who) { Ok(node) } else { Err(NO_AUTH) }
    }

    fn read_one(&self, op: &Op, (session, who): (i64, &[String]), alone: bool) -> Answer {
        let readable = |path: &str| self.allowing(path, READ, who);
        Ok(match op {
            Op::Exists { path, .. } => Outcome::Stat(readable(path)?.stat()),
            Op::GetData { path, .. } => {
                let node = readable(path)?;
                Outcome::Data { data: node.data.clone(), stat: node.stat() }
            }
            Op::GetChildren { path, with_stat, .. } => {
                let node = readable(path)?;
                let stat = (*with_stat && alone).then(|| node.stat());
                Outcome::Children { names: node.children.clone(), stat }
            }
            Op::GetAcl { path } => {
                let node = self.allowing(path, READ | ADMIN, who)?;
                Outcome::Acl { acl: node.acl.shown(who), stat: node.stat() }
            }
            Op::GetEphemerals { prefix } => {
                let all = self.ephemerals(session).into_iter().filter(|p| p.starts_with(prefix.as_str()));
                Outcome::Paths(all.collect())
            }
            Op::CountBelow { path } => {
                readable(path)?;
                let below = format!("{path}/");
                let paths = self.znodes.range(below.clone()..).take_while(|(p, _)| p.starts_with(&below));
                Outcome::Count(paths.count() as i32)
            }
            Op::WhoAmI { address } => {
                let users = who.iter().map(|id| ("digest".to_owned(), user(id).to_owned()));
                Outcome::Identities([("ip".to_owned(), address.clone())].into_iter().chain(users).collect())
            }
            other => panic!("{other:?} is no read"),
        })
    }

    /// All znodes but the root: path, data, ACL, and stat.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &[u8], &Acl, Stat)> {
        let below = self.znodes.iter().filter(|(p, _)| *p != "/");
        below.map(|(p, n)| (p.as_str(), n.data.as_slice(), &*n.acl, n.stat()))
    }
}

fn expect(version: i32, expected: i32) -> Result<(), i32> {
    if expected == -1 || expected == version { Ok(()) } else { Err(BAD_VERSION) }
}
