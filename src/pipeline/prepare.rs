//! The leader's turning of a write request into a txn.
//!
//! Always yields a txn: a request that fails becomes an error txn with its zxid, as in the original. What
//! is proposed can be applied: every path is valid, every version and parent is checked against the tree
//! and everything proposed before, and a txn is never longer than peers and logs accept. Deliberately
//! absent: zxids, quorums, the member lists of a reconfig, quotas.
//!
//! Not offered so far: createContainer, createTTL and create with a TTL flag answer with an error txn
//! UNIMPLEMENTED, which is what the original does for TTL while `extendedTypesEnabled` is off. A check
//! outside a multi and deleteContainer get the same error txn, where the original refuses the first
//! before it reaches the leader and lets anybody do the second.

use super::pending::{NodeState, Pending, PendingAcl};
use crate::auth::AuthRules;
use crate::ids::{SessionId, Sid};
use crate::jute;
use crate::limits;
use crate::mutants::{self, Mutant};
use crate::session::SessionTracker;
use crate::time::Now;
use crate::tree::{self, OwnerKind, Tree, new_stat, path};
use crate::wire::acl::{AclList, perms};
use crate::wire::errcode::ErrorCode;
use crate::wire::opcode::OpCode;
use crate::wire::quorum::AuthInfo;
use crate::wire::request::{
    self, CreateRequest, MultiOp, MultiOps, PathIntRequest, SetAclRequest, SetDataRequest,
};
use crate::wire::txn::{CreateKind, CreateTxn, Txn, TxnDigest, TxnHeader};
use crate::zxid::Zxid;

/// A write as it reaches the leader, from its own client or in a learner's REQUEST.
#[derive(Clone, Copy, Debug)]
pub struct WriteRequest<'a> {
    /// For whom.
    pub session: SessionId,
    /// The client's xid.
    pub cxid: i32,
    /// What; `OpCode::is_write` holds.
    pub op: OpCode,
    /// The request's body.
    pub body: &'a [u8],
    /// Who the client has proven to be.
    pub identities: &'a [AuthInfo],
    /// The server the client is connected to; another one than the session's owner gets SESSIONMOVED.
    pub owner: Sid,
}

/// Header, count and digest beside the paths of a closeSession.
const CLOSE_BYTES_BESIDE: usize = 64;

type Checked = Result<(), ErrorCode>;

/// The preparing half of a leader, for one reign.
pub struct Prepare {
    rules: AuthRules,
    pending: Pending,
    txn_max: usize,
}

/// One request under way.
struct Job<'a> {
    tree: &'a Tree,
    rules: &'a AuthRules,
    pending: &'a mut Pending,
    sessions: &'a mut SessionTracker,
    request: &'a WriteRequest<'a>,
    zxid: Zxid,
    now: Now,
    txn_max: usize,
}

impl Prepare {
    /// Nothing pending. `seed` is for its hash table; `tree` is the one it will work on.
    pub fn new(rules: AuthRules, seed: u64, tree: &Tree) -> Prepare {
        let pending = Pending::new(seed, tree.options().extended_types);
        Prepare { rules, pending, txn_max: limits::TXN_BYTES_MAX }
    }

    /// The same for txns of up to `txn_max` bytes (`jute.maxbuffer` and its extra size).
    #[must_use]
    pub fn with_txn_max(self, txn_max: usize) -> Prepare {
        Prepare { txn_max, ..self }
    }

    /// Turns a request into a serialised txn: header, change, and the digest the tree will have behind it
    /// (error txns carry none, as in the original). `zxid` follows the last one proposed.
    pub fn prepare(
        &mut self,
        tree: &Tree,
        sessions: &mut SessionTracker,
        request: &WriteRequest<'_>,
        zxid: Zxid,
        now: Now,
    ) -> Vec<u8> {
        self.run(tree, sessions, request, zxid, now, |job, out| job.dispatch(out))
    }

    /// As `prepare`, for a reconfig whose new member list the caller has worked out: its text, or why
    /// there is none. Session and ACL of `/zookeeper/config` are checked here.
    pub fn prepare_reconfig(
        &mut self,
        tree: &Tree,
        sessions: &mut SessionTracker,
        request: &WriteRequest<'_>,
        zxid: Zxid,
        now: Now,
        config: Result<&str, ErrorCode>,
    ) -> Vec<u8> {
        self.run(tree, sessions, request, zxid, now, |job, out| job.reconfig(out, config))
    }

    fn run(
        &mut self,
        tree: &Tree,
        sessions: &mut SessionTracker,
        request: &WriteRequest<'_>,
        zxid: Zxid,
        now: Now,
        write: impl FnOnce(&mut Job<'_>, &mut Vec<u8>) -> Checked,
    ) -> Vec<u8> {
        let header = TxnHeader {
            session: request.session,
            cxid: request.cxid,
            zxid,
            time: now.wall.0,
            op: request.op,
        };
        let mut out = Vec::with_capacity(TxnHeader::LEN + request.body.len() + 96);
        header.write(&mut out);
        self.pending.begin();
        let (rules, pending, txn_max) = (&self.rules, &mut self.pending, self.txn_max);
        let mut job = Job { tree, rules, pending, sessions, request, zxid, now, txn_max };
        let mut result = write(&mut job, &mut out);
        TxnDigest::new(self.pending.tree_digest(tree)).write(&mut out);
        if result.is_ok() && out.len() > self.txn_max {
            result = Err(ErrorCode::MARSHALLINGERROR);
        }
        if let Err(err) = result {
            self.pending.roll_back();
            out.clear();
            TxnHeader { op: OpCode::Error, ..header }.write(&mut out);
            Txn::Error { err }.write(&mut out);
        }
        out
    }

    /// Everything up to `zxid` has been applied to the tree. To be called before the next `prepare`.
    pub fn committed(&mut self, zxid: Zxid) {
        self.pending.committed(zxid);
    }

    /// Forgets everything proposed.
    pub fn clear(&mut self) {
        self.pending.clear();
    }

    /// How many changes are proposed and not yet applied.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }
}

fn marshalling(_: jute::Error) -> ErrorCode {
    ErrorCode::MARSHALLINGERROR
}

/// The version after a change, when the expected one (-1: any) is the current one. It never becomes -1,
/// which could not be expected (ZOOKEEPER-4743).
fn next_version(current: i32, expected: i32) -> Result<i32, ErrorCode> {
    if expected != -1 && expected != current && !mutants::on(Mutant::ExpectedVersionIgnored) {
        return Err(ErrorCode::BADVERSION);
    }
    Ok(match current.wrapping_add(1) {
        -1 => 0,
        next => next,
    })
}

impl Job<'_> {
    fn dispatch(&mut self, out: &mut Vec<u8>) -> Checked {
        let body = self.request.body;
        match self.request.op {
            op @ (OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl) => {
                self.create(out, op, &CreateRequest::decode(op, body).map_err(marshalling)?)
            }
            OpCode::Delete => self.delete(out, &PathIntRequest::decode(body).map_err(marshalling)?),
            OpCode::SetData => self.set_data(out, &SetDataRequest::decode(body).map_err(marshalling)?),
            OpCode::SetAcl => self.set_acl(out, &SetAclRequest::decode(body).map_err(marshalling)?),
            OpCode::Multi => self.multi(out),
            OpCode::CreateSession => {
                self.create_session(out, request::decode_create_session(body).map_err(marshalling)?)
            }
            OpCode::CloseSession => self.close_session(out),
            _ => Err(ErrorCode::UNIMPLEMENTED),
        }
    }

    fn check_session(&mut self) -> Checked {
        self.sessions.check(self.request.session, self.request.owner)
    }

    fn check_acl(&self, acl: AclList<'_>, wanted: i32) -> Checked {
        let allowed = self.rules.allows(acl, wanted, self.request.identities);
        if allowed { Ok(()) } else { Err(ErrorCode::NOAUTH) }
    }

    fn node(&self, path: &str) -> Result<NodeState, ErrorCode> {
        self.pending.get(self.tree, path).ok_or(ErrorCode::NONODE)
    }

    /// Proposes a new state of a znode that exists; `before` is its digest until then.
    fn update(&mut self, path: &str, mut state: NodeState) {
        let before = state.digest;
        state.refresh(tree::is_hidden(path));
        self.pending.put(self.tree, path, self.zxid, Some(state), before);
    }

    fn create(&mut self, out: &mut Vec<u8>, op: OpCode, create: &CreateRequest<'_>) -> Checked {
        let (ephemeral, sequential) = match create.flags {
            // The original makes a plain znode of mode 4 (container) when it comes with a plain create.
            0 | 4 => (false, false),
            1 => (true, false),
            2 => (false, true),
            3 => (true, true),
            5 | 6 => return Err(ErrorCode::UNIMPLEMENTED),
            _ => return Err(ErrorCode::BADARGUMENTS),
        };
        if matches!(op, OpCode::CreateContainer | OpCode::CreateTtl) {
            return Err(ErrorCode::UNIMPLEMENTED);
        }
        self.check_session()?;
        let above = match path::split(create.path) {
            Some((above, _)) if !create.path.contains('\0') => above,
            _ => return Err(ErrorCode::BADARGUMENTS),
        };
        let acl = self.rules.fix_up(create.acl, self.request.identities)?;
        let mut parent = self.node(above)?;
        self.check_acl(parent.acl.list(), perms::CREATE)?;
        let mut sequenced = String::new();
        let path = if sequential {
            sequenced.reserve_exact(create.path.len() + 11);
            sequenced.push_str(create.path);
            let by_count = mutants::on(Mutant::SequenceNameReused);
            let number = if by_count { parent.children as i32 } else { parent.stat.cversion };
            path::push_sequence(&mut sequenced, number);
            sequenced.as_str()
        } else {
            create.path
        };
        if !path::is_valid(path) {
            return Err(ErrorCode::BADARGUMENTS);
        }
        if self.pending.get(self.tree, path).is_some() {
            return Err(ErrorCode::NODEEXISTS);
        }
        let extended_types = self.tree.options().extended_types;
        if matches!(OwnerKind::of(parent.stat.owner, extended_types), OwnerKind::Session(_)) {
            return Err(ErrorCode::NOCHILDRENFOREPHEMERALS);
        }
        let session = self.request.session;
        let owner = if ephemeral { OwnerKind::Session(session) } else { OwnerKind::Nobody };
        let parent_cversion = parent.stat.cversion.wrapping_add(1);
        let kind = CreateKind::Plain { ephemeral };
        Txn::Create(CreateTxn { path, data: create.data, acl: acl.list(), kind, parent_cversion }).write(out);

        // As apply does it: never down.
        if parent_cversion > parent.stat.cversion {
            parent.stat.cversion = parent_cversion;
            parent.stat.pzxid = self.zxid.wire();
        }
        parent.children += 1;
        self.update(above, parent);
        let hidden = tree::is_hidden(path);
        let mut state = NodeState {
            stat: new_stat(self.zxid, self.now.wall.0, owner),
            children: 0,
            acl: PendingAcl::of(acl.list()),
            content_crc: if hidden { 0 } else { tree::content_crc(path.as_bytes(), create.data) },
            digest: 0,
        };
        state.refresh(hidden);
        self.pending.put(self.tree, path, self.zxid, Some(state), 0);
        Ok(())
    }

    fn delete(&mut self, out: &mut Vec<u8>, delete: &PathIntRequest<'_>) -> Checked {
        self.check_session()?;
        let path = delete.path;
        let above = match path::split(path) {
            Some((above, _)) if !path.contains('\0') && !path::is_special(path) => above,
            _ => return Err(ErrorCode::BADARGUMENTS),
        };
        let parent = self.node(above)?;
        self.check_acl(parent.acl.list(), perms::DELETE)?;
        let node = self.node(path)?;
        next_version(node.stat.version, delete.value)?;
        if node.children > 0 {
            return Err(ErrorCode::NOTEMPTY);
        }
        Txn::Delete { path }.write(out);
        self.remove(above, parent, path, &node);
        Ok(())
    }

    /// Proposes that a znode goes: its parent loses a child.
    fn remove(&mut self, above: &str, mut parent: NodeState, path: &str, node: &NodeState) {
        parent.children = parent.children.saturating_sub(1);
        parent.stat.pzxid = parent.stat.pzxid.max(self.zxid.wire());
        self.update(above, parent);
        self.pending.put(self.tree, path, self.zxid, None, node.digest);
    }

    fn set_data(&mut self, out: &mut Vec<u8>, set: &SetDataRequest<'_>) -> Checked {
        self.check_session()?;
        if !path::is_valid(set.path) {
            return Err(ErrorCode::BADARGUMENTS);
        }
        let mut node = self.node(set.path)?;
        self.check_acl(node.acl.list(), perms::WRITE)?;
        let version = next_version(node.stat.version, set.version)?;
        Txn::SetData { path: set.path, data: set.data, version }.write(out);
        self.change_data(set.path, &mut node, set.data, version);
        self.update(set.path, node);
        Ok(())
    }

    fn change_data(&self, path: &str, node: &mut NodeState, data: Option<&[u8]>, version: i32) {
        node.stat.version = version;
        node.stat.mtime = self.now.wall.0;
        node.stat.mzxid = self.zxid.wire();
        if !tree::is_hidden(path) {
            let digested = if path == "/" { "" } else { path };
            node.content_crc = tree::content_crc(digested.as_bytes(), data);
        }
    }

    fn set_acl(&mut self, out: &mut Vec<u8>, set: &SetAclRequest<'_>) -> Checked {
        self.check_session()?;
        if !path::is_valid(set.path) {
            return Err(ErrorCode::BADARGUMENTS);
        }
        let acl = self.rules.fix_up(set.acl, self.request.identities)?;
        let mut node = self.node(set.path)?;
        self.check_acl(node.acl.list(), perms::ADMIN)?;
        let version = next_version(node.stat.aversion, set.version)?;
        Txn::SetAcl { path: set.path, acl: acl.list(), version }.write(out);
        node.stat.aversion = version;
        node.acl = PendingAcl::of(acl.list());
        self.update(set.path, node);
        Ok(())
    }

    fn check(&mut self, out: &mut Vec<u8>, check: &PathIntRequest<'_>) -> Checked {
        self.check_session()?;
        if !path::is_valid(check.path) {
            return Err(ErrorCode::BADARGUMENTS);
        }
        let node = self.node(check.path)?;
        self.check_acl(node.acl.list(), perms::READ)?;
        let version = next_version(node.stat.version, check.value)?;
        Txn::Check { path: check.path, version }.write(out);
        Ok(())
    }

    /// A multi: parts up to the culprit as they are, the culprit's error, RUNTIMEINCONSISTENCY behind it.
    fn multi(&mut self, out: &mut Vec<u8>) -> Checked {
        let ops = MultiOps::new(self.request.body);
        let mut count = 0;
        for op in ops.clone() {
            if op.map_err(marshalling)?.is_read() {
                return Err(ErrorCode::MARSHALLINGERROR);
            }
            count += 1;
        }
        jute::put_vec_len(out, count);
        let mut failed = false;
        for op in ops {
            let op = op.map_err(marshalling)?;
            let at = out.len();
            jute::put_i32(out, op.op().wire());
            jute::put_i32(out, 0);
            let result = match &op {
                _ if failed => Err(ErrorCode::RUNTIMEINCONSISTENCY),
                MultiOp::Create(op, create) => self.create(out, *op, create),
                MultiOp::Delete(delete) => self.delete(out, delete),
                MultiOp::SetData(set) => self.set_data(out, set),
                MultiOp::Check(check) => self.check(out, check),
                MultiOp::GetData(_) | MultiOp::GetChildren(_) => Err(ErrorCode::MARSHALLINGERROR),
            };
            if let Err(err) = result {
                if !failed {
                    self.pending.roll_back();
                }
                failed = true;
                out.truncate(at);
                jute::put_i32(out, OpCode::Error.wire());
                jute::put_i32(out, 0);
                Txn::Error { err }.write(out);
            }
            let len = (out.len() - at - 8) as i32;
            out[at + 4..at + 8].copy_from_slice(&len.to_be_bytes());
        }
        Ok(())
    }

    fn create_session(&mut self, out: &mut Vec<u8>, timeout_ms: i32) -> Checked {
        self.sessions.track(self.request.session, timeout_ms, self.now.mono);
        self.sessions.set_owner(self.request.session, self.request.owner)?;
        Txn::CreateSession { timeout_ms }.write(out);
        Ok(())
    }

    /// A closeSession lists the ephemerals the session will have by then, as many as fit (ZOOKEEPER-4306); applying it
    /// removes all that the session owns in any case. Not checked for owner or life: the leader closes
    /// expired sessions itself, and a second close changes nothing.
    fn close_session(&mut self, out: &mut Vec<u8>) -> Checked {
        let session = self.request.session;
        let paths = self.pending.ephemerals(self.tree, session);
        let mut bytes = 0;
        let fits = |path: &&String| -> bool {
            bytes += path.len() + 4;
            bytes + CLOSE_BYTES_BESIDE <= self.txn_max
        };
        let listed = paths.iter().take_while(fits).count();
        jute::put_strings(out, paths[..listed].iter().map(String::as_str));
        for path in &paths {
            let Some((above, _)) = path::split(path) else { continue };
            if let (Ok(parent), Ok(node)) = (self.node(above), self.node(path)) {
                self.remove(above, parent, path, &node);
            }
        }
        self.sessions.set_closing(session);
        Ok(())
    }

    fn reconfig(&mut self, out: &mut Vec<u8>, config: Result<&str, ErrorCode>) -> Checked {
        self.check_session()?;
        let text = config?;
        let mut node = self.node(path::CONFIG)?;
        self.check_acl(node.acl.list(), perms::WRITE)?;
        let data = Some(text.as_bytes());
        Txn::SetData { path: path::CONFIG, data, version: -1 }.write(out);
        self.change_data(path::CONFIG, &mut node, data, -1);
        self.update(path::CONFIG, node);
        Ok(())
    }
}
