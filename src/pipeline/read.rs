//! Reads: from the tree straight into a connection's buffer, leaving watches behind.
//!
//! The rules are FinalRequestProcessor's: READ is needed for everything but sync and whoAmI, for exists
//! when the znode is there (ZOOKEEPER-2590); getACL wants READ or ADMIN. One is ours: setWatches does not
//! tell of changes of a znode that the client may not READ; it just registers the watch. Deliberately
//! absent: waiting for the session's earlier writes, and for the leader in a sync (`server`).

use super::reply::After;
use crate::auth::{self, AuthRules};
use crate::ids::{ConnId, SessionId};
use crate::jute;
use crate::limits;
use crate::mutants::{self, Mutant};
use crate::tree::{Tree, WatchMode, WatchTable, WatcherType, Znode};
use crate::wire::acl::perms;
use crate::wire::errcode::ErrorCode;
use crate::wire::opcode::{OpCode, xid};
use crate::wire::quorum::AuthInfo;
use crate::wire::reply::{self, EventKind, ReplyFrame};
use crate::wire::request::{self, MultiOp, MultiOps, PathIntRequest, SetWatches, WatchedRequest};

/// A request that makes no txn.
#[derive(Clone, Copy, Debug)]
pub struct ReadRequest<'a> {
    /// The client's xid.
    pub xid: i32,
    /// What.
    pub op: OpCode,
    /// The request's body.
    pub body: &'a [u8],
    /// For whom.
    pub session: SessionId,
    /// On which connection: watches belong to it.
    pub conn: ConnId,
    /// Who the client has proven to be.
    pub identities: &'a [AuthInfo],
}

/// What reads are answered from.
pub struct Reads<'a> {
    /// The tree.
    pub tree: &'a Tree,
    /// This server's watches.
    pub watches: &'a mut WatchTable,
    /// How ACLs are checked.
    pub rules: &'a AuthRules,
}

type Answered = Result<(), ErrorCode>;

fn marshalling(_: jute::Error) -> ErrorCode {
    ErrorCode::MARSHALLINGERROR
}

impl Reads<'_> {
    /// Writes the reply as one frame behind `out`, setWatches' events in frames of their own before it.
    /// An operation that is no read is answered with UNIMPLEMENTED, and the connection is closed.
    pub fn answer(&mut self, request: &ReadRequest<'_>, out: &mut Vec<u8>) -> After {
        if matches!(request.op, OpCode::SetWatches | OpCode::SetWatches2) {
            let result = self.set_watches(request, out);
            ReplyFrame::begin(out, request.xid).end(
                out,
                self.tree.last_zxid().wire(),
                result.err().unwrap_or_default(),
            );
            return After::Keep;
        }
        let xid = if request.op == OpCode::Ping { xid::PING } else { request.xid };
        let frame = ReplyFrame::begin(out, xid);
        let err = self.body(request, out).err().unwrap_or_default();
        frame.end(out, self.tree.last_zxid().wire(), err);
        if err == ErrorCode::UNIMPLEMENTED { After::Close } else { After::Keep }
    }

    fn body(&mut self, request: &ReadRequest<'_>, out: &mut Vec<u8>) -> Answered {
        let watched = || WatchedRequest::decode(request.body).map_err(marshalling);
        match request.op {
            OpCode::GetData => self.get_data(request, &watched()?, out),
            OpCode::Exists => self.exists(request, &watched()?, out),
            OpCode::GetChildren => self.get_children(request, &watched()?, false, out),
            OpCode::GetChildren2 => self.get_children(request, &watched()?, true, out),
            OpCode::GetAcl => self.get_acl(request, out),
            OpCode::MultiRead => self.multi_read(request, out),
            OpCode::GetEphemerals => self.get_ephemerals(request, out),
            OpCode::GetAllChildrenNumber => {
                let path = request::decode_path(request.body).map_err(marshalling)?;
                let node = self.readable(request, path)?;
                jute::put_i32(out, self.tree.descendants(node) as i32);
                Ok(())
            }
            OpCode::Sync => {
                let path = request::decode_path_or_null(request.body).map_err(marshalling)?;
                jute::put_buffer_or_null(out, path.map(str::as_bytes));
                Ok(())
            }
            OpCode::WhoAmI => {
                jute::put_vec_len(out, request.identities.len());
                for identity in request.identities {
                    jute::put_string(out, &identity.scheme);
                    jute::put_string(out, auth::user_of(identity));
                }
                Ok(())
            }
            OpCode::CheckWatches | OpCode::RemoveWatches => self.own_watches(request),
            OpCode::AddWatch => self.add_watch(request, out),
            OpCode::Ping => Ok(()),
            _ => Err(ErrorCode::UNIMPLEMENTED),
        }
    }

    /// The znode of a path that the client may READ.
    fn readable(&self, request: &ReadRequest<'_>, path: &str) -> Result<Znode<'_>, ErrorCode> {
        let node = self.tree.find(path).ok_or(ErrorCode::NONODE)?;
        if !self.rules.allows(node.acl(), perms::READ, request.identities) {
            return Err(ErrorCode::NOAUTH);
        }
        Ok(node)
    }

    fn get_data(
        &mut self,
        request: &ReadRequest<'_>,
        get: &WatchedRequest<'_>,
        out: &mut Vec<u8>,
    ) -> Answered {
        let node = self.readable(request, get.path)?;
        jute::put_buffer_or_null(out, node.data());
        node.stat().write(out);
        if get.watch {
            self.watches.add(request.conn, get.path, WatchMode::Data);
        }
        Ok(())
    }

    fn exists(&mut self, request: &ReadRequest<'_>, get: &WatchedRequest<'_>, out: &mut Vec<u8>) -> Answered {
        if get.path.contains('\0') {
            return Err(ErrorCode::BADARGUMENTS);
        }
        let found = match self.readable(request, get.path) {
            Ok(node) => {
                node.stat().write(out);
                Ok(())
            }
            // The watch for its birth is left all the same.
            Err(ErrorCode::NONODE) => Err(ErrorCode::NONODE),
            Err(err) => return Err(err),
        };
        if get.watch {
            self.watches.add(request.conn, get.path, WatchMode::Data);
        }
        found
    }

    fn get_children(
        &mut self,
        request: &ReadRequest<'_>,
        get: &WatchedRequest<'_>,
        with_stat: bool,
        out: &mut Vec<u8>,
    ) -> Answered {
        let node = self.readable(request, get.path)?;
        put_children(out, node);
        if with_stat {
            node.stat().write(out);
        }
        if get.watch {
            self.watches.add(request.conn, get.path, WatchMode::Child);
        }
        Ok(())
    }

    fn get_acl(&self, request: &ReadRequest<'_>, out: &mut Vec<u8>) -> Answered {
        let path = request::decode_path(request.body).map_err(marshalling)?;
        let node = self.tree.find(path).ok_or(ErrorCode::NONODE)?;
        let acl = node.acl();
        if !self.rules.allows(acl, perms::READ | perms::ADMIN, request.identities) {
            return Err(ErrorCode::NOAUTH);
        }
        if self.rules.allows(acl, perms::ADMIN, request.identities) {
            out.extend_from_slice(acl.raw());
        } else {
            out.extend_from_slice(auth::masked(acl).list().raw());
        }
        node.stat().write(out);
        Ok(())
    }

    fn multi_read(&self, request: &ReadRequest<'_>, out: &mut Vec<u8>) -> Answered {
        let from = out.len();
        for op in MultiOps::new(request.body) {
            let op = op.map_err(marshalling)?;
            if out.len() - from > limits::MULTI_READ_BYTES_MAX {
                return Err(ErrorCode::MARSHALLINGERROR);
            }
            let (MultiOp::GetData(get) | MultiOp::GetChildren(get)) = &op else {
                return Err(ErrorCode::MARSHALLINGERROR);
            };
            match self.readable(request, get.path) {
                Ok(node) => {
                    reply::put_multi_header(out, op.op().wire(), false, ErrorCode::OK);
                    if op.op() == OpCode::GetData {
                        jute::put_buffer_or_null(out, node.data());
                        node.stat().write(out);
                    } else {
                        put_children(out, node);
                    }
                }
                Err(err) => {
                    reply::put_multi_header(out, OpCode::Error.wire(), false, err);
                    jute::put_i32(out, err.0);
                }
            }
        }
        reply::put_multi_end(out);
        Ok(())
    }

    fn get_ephemerals(&self, request: &ReadRequest<'_>, out: &mut Vec<u8>) -> Answered {
        let prefix = request::decode_path_or_null(request.body).map_err(marshalling)?.unwrap_or("");
        let all = matches!(prefix.trim(), "" | "/");
        let paths: Vec<String> =
            self.tree.ephemerals(request.session).filter(|path| all || path.starts_with(prefix)).collect();
        jute::put_strings(out, paths.iter().map(String::as_str));
        Ok(())
    }

    fn own_watches(&mut self, request: &ReadRequest<'_>) -> Answered {
        let asked = PathIntRequest::decode(request.body).map_err(marshalling)?;
        let kind = WatcherType::from_wire(asked.value).ok_or(ErrorCode::MARSHALLINGERROR)?;
        let found = if request.op == OpCode::CheckWatches {
            self.watches.contains(request.conn, asked.path, kind)
        } else {
            self.watches.remove(request.conn, asked.path, kind)
        };
        if found { Ok(()) } else { Err(ErrorCode::NOWATCHER) }
    }

    fn add_watch(&mut self, request: &ReadRequest<'_>, out: &mut Vec<u8>) -> Answered {
        let asked = PathIntRequest::decode(request.body).map_err(marshalling)?;
        let mode = match asked.value {
            0 => WatchMode::Persistent,
            1 => WatchMode::Recursive,
            _ => return Err(ErrorCode::MARSHALLINGERROR),
        };
        self.watches.add(request.conn, asked.path, mode);
        jute::put_i32(out, 0);
        Ok(())
    }

    /// Sets watches again after a reconnect; what has changed since is told at once instead.
    fn set_watches(&mut self, request: &ReadRequest<'_>, out: &mut Vec<u8>) -> Answered {
        let set = SetWatches::decode(request.op, request.body).map_err(marshalling)?;
        let since = if mutants::on(Mutant::SetWatchesMissesChange) { i64::MAX } else { set.relative_zxid };
        let lists =
            [(set.data, WatchMode::Data), (set.exist, WatchMode::Data), (set.child, WatchMode::Child)];
        for (which, (paths, mode)) in lists.into_iter().enumerate() {
            for path in paths.iter() {
                let node = self.tree.find(path);
                let may_read = |n: Znode<'_>| self.rules.allows(n.acl(), perms::READ, request.identities);
                let hidden = node.is_some_and(|n| !may_read(n)) && !mutants::on(Mutant::HiddenChangeTold);
                let event = match (which, node.map(Znode::stored)) {
                    (0 | 2, None) => Some(EventKind::Deleted),
                    (0, Some(stat)) if stat.mzxid > since => Some(EventKind::DataChanged),
                    (1, Some(_)) => Some(EventKind::Created),
                    (2, Some(stat)) if stat.pzxid > since => Some(EventKind::ChildrenChanged),
                    _ => None,
                };
                match event {
                    Some(kind) if !hidden => reply::put_event(out, kind, path, -1),
                    _ => self.watches.add(request.conn, path, mode),
                }
            }
        }
        for path in set.persistent.iter() {
            self.watches.add(request.conn, path, WatchMode::Persistent);
        }
        for path in set.recursive.iter() {
            self.watches.add(request.conn, path, WatchMode::Recursive);
        }
        Ok(())
    }
}

fn put_children(out: &mut Vec<u8>, node: Znode<'_>) {
    jute::put_vec_len(out, node.child_count());
    for name in node.children() {
        jute::put_buffer(out, name);
    }
}
