//! How a txn changes the tree: all kinds, live or replayed.
//!
//! Every rule is idempotent in the sense of the original, so that a log may be replayed over a fuzzy
//! snapshot that already holds some of its txns: a parent's cversion only moves up, with its pzxid; a
//! create of what exists repairs parent and ACL; a delete of what is gone still moves the parent's pzxid.
//! One rule is ours: a replayed delete of a znode that has children already takes them with it (later
//! txns of the log make them again), where the original leaves them without a parent.

use super::arena::ROOT;
use super::{OwnerKind, Tree, client_stat, content_crc, path};
use crate::format::snapshot::StoredStat;
use crate::ids::SessionId;
use crate::jute::Strings;
use crate::mutants::{self, Mutant};
use crate::wire::acl::AclList;
use crate::wire::errcode::ErrorCode;
use crate::wire::opcode::OpCode;
use crate::wire::reply::{EventKind, Stat};
use crate::wire::txn::{CreateKind, CreateTxn, DIGEST_VERSION, MultiTxn, Txn, TxnDigest, TxnHeader};
use crate::zxid::Zxid;

/// A change that watchers may want to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trigger<'a> {
    /// What happened.
    pub kind: EventKind,
    /// To which znode; the root is `/`.
    pub path: &'a str,
    /// By which txn.
    pub zxid: Zxid,
    /// The ACL of that znode, of a deleted one the last it had: only who may READ is told.
    pub acl: AclList<'a>,
}

/// How the tree's digest compares with the one behind the txn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestCheck {
    /// The txn had none, or one of another version.
    Absent,
    /// They agree.
    Match,
    /// They do not. Expected while replaying over a fuzzy snapshot, a divergence otherwise.
    Mismatch,
}

/// What became of a txn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The error of an error txn or of the first failed part of a multi; what replay ran into otherwise.
    pub err: ErrorCode,
    /// The znode's stat after create, setData and setACL; zeros otherwise.
    pub stat: Stat,
    /// One for each part of a multi; empty otherwise.
    pub subs: Vec<SubOutcome>,
    /// How the digests compare.
    pub digest: DigestCheck,
}

/// What became of a part of a multi.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubOutcome {
    /// The part's type; `Error` for every part of a failed multi.
    pub op: OpCode,
    /// The culprit's error; OK before it, RUNTIMEINCONSISTENCY behind it.
    pub err: ErrorCode,
    /// As in `Outcome`.
    pub stat: Stat,
}

type Events<'e> = &'e mut dyn FnMut(Trigger<'_>);
type Change = Result<Stat, ErrorCode>;

impl Tree {
    /// Applies a txn. Watch triggers go to `events` in the original's order, each when its change is made.
    /// The last zxid moves up when the whole txn is done, a failed one included.
    pub fn apply(
        &mut self,
        header: &TxnHeader,
        txn: &Txn<'_>,
        digest: Option<TxnDigest>,
        events: Events<'_>,
    ) -> Outcome {
        let mut outcome = Outcome {
            err: ErrorCode::OK,
            stat: Stat::default(),
            subs: Vec::new(),
            digest: DigestCheck::Absent,
        };
        match txn {
            Txn::Multi(multi) => {
                outcome.subs = self.apply_multi(header, *multi, events);
                if let Some(failed) = outcome.subs.iter().find(|s| !s.err.is_ok()) {
                    outcome.err = failed.err;
                }
            }
            single => match self.apply_one(header, single, events) {
                Ok(stat) => outcome.stat = stat,
                Err(err) => outcome.err = err,
            },
        }
        self.last_zxid = self.last_zxid.max(header.zxid);
        if let Some(digest) = digest
            && digest.version == DIGEST_VERSION
        {
            let same = digest.tree == self.digest;
            outcome.digest = if same { DigestCheck::Match } else { DigestCheck::Mismatch };
        }
        outcome
    }

    fn apply_multi(
        &mut self,
        header: &TxnHeader,
        multi: MultiTxn<'_>,
        events: Events<'_>,
    ) -> Vec<SubOutcome> {
        let mut subs = Vec::with_capacity(multi.len());
        let mut behind_culprit = false;
        for (op, txn) in multi.iter() {
            let sub = match (multi.failed(), &txn) {
                (true, Txn::Error { err }) => {
                    behind_culprit = true;
                    SubOutcome { op: OpCode::Error, err: *err, stat: Stat::default() }
                }
                (true, txn) => {
                    if !behind_culprit && mutants::on(Mutant::FailedMultiHalfApplied) {
                        let _ = self.apply_one(header, txn, events);
                    }
                    let err = if behind_culprit { ErrorCode::RUNTIMEINCONSISTENCY } else { ErrorCode::OK };
                    SubOutcome { op: OpCode::Error, err, stat: Stat::default() }
                }
                (false, txn) => {
                    let change = self.apply_one(header, txn, events);
                    let err = change.err().unwrap_or_default();
                    SubOutcome { op, err, stat: change.unwrap_or_default() }
                }
            };
            subs.push(sub);
        }
        subs
    }

    fn apply_one(&mut self, header: &TxnHeader, txn: &Txn<'_>, events: Events<'_>) -> Change {
        match txn {
            Txn::Create(create) => self.apply_create(header, create, events),
            Txn::Delete { path } => self.apply_delete(path, header.zxid, events),
            Txn::SetData { path, data, version } => {
                self.apply_set_data(header, path, *data, *version, events)
            }
            Txn::SetAcl { path, acl, version } => self.apply_set_acl(path, *acl, *version),
            Txn::CloseSession { paths } => {
                self.apply_close(header.session, header.zxid, *paths, events);
                Ok(Stat::default())
            }
            Txn::Error { err } => Err(*err),
            Txn::Check { .. } | Txn::CreateSession { .. } => Ok(Stat::default()),
            // A multi within a multi is refused when txns are read.
            Txn::Multi(_) => Err(ErrorCode::MARSHALLINGERROR),
        }
    }

    fn apply_create(&mut self, header: &TxnHeader, create: &CreateTxn<'_>, events: Events<'_>) -> Change {
        let (above, name) = path::split(create.path).ok_or(ErrorCode::NONODE)?;
        let parent = self.arena.find(above.as_bytes()).ok_or(ErrorCode::NONODE)?;
        let existing = match name {
            "" if create.path == "/" => Some(ROOT),
            "" => return Err(ErrorCode::BADARGUMENTS),
            _ => self.arena.child(parent, name.as_bytes()),
        };
        let acl = self.acls.intern(create.acl);
        if let Some(existing) = existing {
            self.save_before(existing);
            let old = std::mem::replace(&mut self.arena.node_mut(existing).acl, acl);
            self.acls.release(old);
            self.raise_cversion(parent, create.parent_cversion, header.zxid);
            return Err(ErrorCode::NODEEXISTS);
        }
        self.raise_cversion(parent, create.parent_cversion, header.zxid);

        let owner = match create.kind {
            CreateKind::Plain { ephemeral: false } => OwnerKind::Nobody,
            CreateKind::Plain { ephemeral: true } => OwnerKind::Session(header.session),
            CreateKind::Container => OwnerKind::Container,
            CreateKind::Ttl { ms } => OwnerKind::Ttl(ms),
        };
        let stat = new_stat(header.zxid, header.time, owner);
        let above_node = self.arena.node(parent);
        let hidden = above_node.is_hidden() || (above == path::ZOOKEEPER);
        let parent_acl = above_node.acl;
        let index = self.arena.insert(parent, name.as_bytes(), create.data, &stat, hidden);
        self.arena.node_mut(index).acl = acl;
        self.mark_new(index);
        self.count_in(index, create.path);

        let zxid = header.zxid;
        events(Trigger { kind: EventKind::Created, path: create.path, zxid, acl: self.acls.list(acl) });
        self.tell_parent(create.path, zxid, parent_acl, events);
        Ok(client_stat(&stat, create.data.map_or(0, <[u8]>::len), 0, self.options))
    }

    /// Moves a parent's cversion up, with its pzxid; never down. -1 stands for "one more".
    fn raise_cversion(&mut self, parent: u32, cversion: i32, zxid: Zxid) {
        let stat = self.arena.node(parent).stat();
        let cversion = if cversion == -1 { stat.cversion.wrapping_add(1) } else { cversion };
        if cversion > stat.cversion {
            self.save_before(parent);
            self.change_stat(parent, &StoredStat { cversion, pzxid: zxid.wire(), ..stat });
        }
    }

    fn tell_parent(&mut self, path: &str, zxid: Zxid, acl: super::acl_table::AclSlot, events: Events<'_>) {
        let path = path::watched_parent(path);
        events(Trigger { kind: EventKind::ChildrenChanged, path, zxid, acl: self.acls.list(acl) });
    }

    fn apply_delete(&mut self, path: &str, zxid: Zxid, events: Events<'_>) -> Change {
        let (above, name) = path::split(path).ok_or(ErrorCode::NONODE)?;
        let parent = self.arena.find(above.as_bytes()).ok_or(ErrorCode::NONODE)?;
        let stat = self.arena.node(parent).stat();
        if zxid.wire() > stat.pzxid && !mutants::on(Mutant::DeleteKeepsPzxid) {
            self.save_before(parent);
            self.change_stat(parent, &StoredStat { pzxid: zxid.wire(), ..stat });
        }
        let index = self.arena.child(parent, name.as_bytes()).ok_or(ErrorCode::NONODE)?;
        self.remove_descendants(index, path.len());
        let acl = self.remove_leaf(index, path.len());
        events(Trigger { kind: EventKind::Deleted, path, zxid, acl: self.acls.list(acl) });
        self.acls.release(acl);
        let parent_acl = self.arena.node(parent).acl;
        if !mutants::on(Mutant::ChildWatchMissesDelete) {
            self.tell_parent(path, zxid, parent_acl, events);
        }
        Ok(Stat::default())
    }

    /// Takes a znode without children out; the caller releases its ACL.
    fn remove_leaf(&mut self, index: u32, path_len: usize) -> super::acl_table::AclSlot {
        self.save_before(index);
        self.count_out(index, path_len);
        let acl = self.arena.node(index).acl;
        self.arena.remove(index);
        acl
    }

    /// Takes everything below a znode out: only a replay over a fuzzy snapshot finds any.
    fn remove_descendants(&mut self, top: u32, top_len: usize) {
        let mut stack = vec![(top, top_len)];
        while let Some(&(at, len)) = stack.last() {
            let child = self.arena.children(at).next();
            match child {
                Some(child) => stack.push((child, len + 1 + self.arena.node(child).name().len())),
                None => {
                    stack.pop();
                    if at != top {
                        let acl = self.remove_leaf(at, len);
                        self.acls.release(acl);
                    }
                }
            }
        }
    }

    fn apply_set_data(
        &mut self,
        header: &TxnHeader,
        path: &str,
        data: Option<&[u8]>,
        version: i32,
        events: Events<'_>,
    ) -> Change {
        let index = self.arena.find(path.as_bytes()).ok_or(ErrorCode::NONODE)?;
        self.save_before(index);
        let node = self.arena.node_mut(index);
        let (digest, len_before) = (node.digest(), node.data_len() as u64);
        let stat = StoredStat { version, mzxid: header.zxid.wire(), mtime: header.time, ..node.stat() };
        node.set_data(data);
        node.set_stat(&stat);
        if !node.is_hidden() {
            let digested = if index == ROOT { "" } else { path };
            node.content_crc = content_crc(digested.as_bytes(), data);
        }
        let (acl, children, len) = (node.acl, node.children, node.data_len());
        let digest_after = node.digest();
        self.exchange(digest, digest_after);
        self.data_bytes = self.data_bytes - len_before + len as u64;
        let kind = EventKind::DataChanged;
        events(Trigger { kind, path, zxid: header.zxid, acl: self.acls.list(acl) });
        Ok(client_stat(&stat, len, children, self.options))
    }

    fn apply_set_acl(&mut self, path: &str, acl: AclList<'_>, version: i32) -> Change {
        let index = self.arena.find(path.as_bytes()).ok_or(ErrorCode::NONODE)?;
        self.save_before(index);
        let slot = self.acls.intern(acl);
        let node = self.arena.node_mut(index);
        let old = std::mem::replace(&mut node.acl, slot);
        let stat = StoredStat { aversion: version, ..node.stat() };
        let (children, len) = (node.children, node.data_len());
        self.acls.release(old);
        self.change_stat(index, &stat);
        Ok(client_stat(&stat, len, children, self.options))
    }

    /// Ends a session: the paths its txn lists go, whoever owns them now (a later txn of the same log made
    /// them), then whatever else the session owns here.
    fn apply_close(
        &mut self,
        session: SessionId,
        zxid: Zxid,
        listed: Option<Strings<'_>>,
        events: Events<'_>,
    ) {
        if mutants::on(Mutant::CloseKeepsEphemerals) {
            return;
        }
        for path in listed.unwrap_or_default().iter() {
            // A path that is gone already still moves its parent's pzxid, and is no error.
            let _ = self.apply_delete(path, zxid, events);
        }
        let left: Vec<String> = self.ephemerals(session).collect();
        for path in left {
            let _ = self.apply_delete(&path, zxid, events);
        }
    }
}

/// The stat of a znode that a txn makes.
pub(crate) fn new_stat(zxid: Zxid, time: i64, owner: OwnerKind) -> StoredStat {
    StoredStat {
        czxid: zxid.wire(),
        mzxid: zxid.wire(),
        pzxid: zxid.wire(),
        ctime: time,
        mtime: time,
        owner: owner.stored(),
        ..StoredStat::default()
    }
}
