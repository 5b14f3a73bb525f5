//! A small blocking client: one connection, one session that survives it, requests in pieces.

use crate::framed::Framed;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use zkctl::jute::{self, Reader};
use zkctl::wire::acl::AclList;
use zkctl::wire::connect::ConnectRequest;
use zkctl::wire::errcode::ErrorCode;
use zkctl::wire::frame;
use zkctl::wire::opcode::OpCode;
use zkctl::wire::reply::{ReplyHeader, Stat};
use zkctl::wire::request::{CreateRequest, RequestHeader, SetDataRequest, WatchedRequest};

/// How long an answer may take before the connection counts as lost.
const PATIENCE: Duration = Duration::from_secs(20);
/// The session timeout that is asked for.
const SESSION_MS: i32 = 30_000;

/// One answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) err: ErrorCode,
    pub(crate) body: Vec<u8>,
}

/// A client; `None` as stream means that it is between two connections.
#[derive(Debug)]
pub(crate) struct Client {
    servers: Vec<SocketAddr>,
    next_server: usize,
    stream: Option<Framed>,
    session: i64,
    password: [u8; 16],
    last_zxid: i64,
    next_xid: i32,
    /// Sessions that the servers no longer knew.
    pub(crate) expired: u64,
}

impl Client {
    /// A client of these servers, beginning with the `first` of them, in session.
    #[track_caller]
    pub(crate) fn connect(servers: &[SocketAddr], first: usize) -> Client {
        let mut client = Client {
            servers: servers.to_vec(),
            next_server: first,
            stream: None,
            session: 0,
            password: [0; 16],
            last_zxid: 0,
            next_xid: 1,
            expired: 0,
        };
        crate::state::until("a session is opened", || client.attach().ok());
        client
    }

    /// A client of one server alone.
    #[track_caller]
    pub(crate) fn of(server: SocketAddr) -> Client {
        Client::connect(&[server], 0)
    }

    /// Connects to the next server, and opens or re-attaches the session there.
    fn attach(&mut self) -> io::Result<()> {
        if self.stream.is_some() {
            return Ok(());
        }
        let address = self.servers[self.next_server % self.servers.len()];
        self.next_server += 1;
        let mut stream = Framed::dial(address, Duration::from_secs(1), PATIENCE)?;
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.last_zxid,
            timeout_ms: SESSION_MS,
            session: self.session,
            password: &self.password,
            read_only: Some(false),
        };
        let (timeout_ms, session, password) = stream.shake(&request)?;
        if timeout_ms <= 0 {
            self.expired += 1;
            (self.session, self.password) = (0, [0; 16]);
            return Err(io::Error::other("the session is over"));
        }
        (self.session, self.password) = (session, password);
        self.stream = Some(stream);
        Ok(())
    }

    fn stream(&mut self) -> io::Result<&mut Framed> {
        Ok(self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?)
    }

    fn reply(&mut self, xid: i32) -> io::Result<Reply> {
        loop {
            let payload = self.stream()?.frame()?;
            let mut reader = Reader::new(&payload);
            let header = ReplyHeader::read(&mut reader).map_err(io::Error::other)?;
            if header.xid < 0 {
                continue;
            }
            assert_eq!(header.xid, xid, "answers come in the order of the requests");
            assert!(
                header.zxid >= self.last_zxid,
                "a client never sees an older state: {:#x} after {:#x}",
                header.zxid,
                self.last_zxid
            );
            self.last_zxid = header.zxid;
            return Ok(Reply { err: header.err, body: reader.rest().to_vec() });
        }
    }

    /// Sends all of these at once and reads their answers. An error is a lost connection: which of them
    /// were done is unknown.
    pub(crate) fn pipeline(&mut self, requests: &[(OpCode, Vec<u8>)]) -> io::Result<Vec<Reply>> {
        let done = self.attach().and_then(|()| self.exchange(requests));
        if done.is_err() {
            self.stream = None;
        }
        done
    }

    fn exchange(&mut self, requests: &[(OpCode, Vec<u8>)]) -> io::Result<Vec<Reply>> {
        let first = self.next_xid;
        let mut out = Vec::new();
        for (op, body) in requests {
            let open = frame::begin(&mut out);
            RequestHeader { xid: self.next_xid, op: op.wire() }.encode(&mut out);
            out.extend_from_slice(body);
            open.end(&mut out);
            self.next_xid += 1;
        }
        self.stream()?.send(&out)?;
        (first..self.next_xid).map(|xid| self.reply(xid)).collect()
    }

    /// One request, once.
    pub(crate) fn call(&mut self, op: OpCode, body: Vec<u8>) -> io::Result<Reply> {
        let mut replies = self.pipeline(&[(op, body)])?;
        Ok(replies.remove(0))
    }

    /// One request, until it is answered. Whoever sends a write this way must not mind doing it twice.
    #[track_caller]
    pub(crate) fn insist(&mut self, op: OpCode, body: &[u8]) -> Reply {
        crate::state::until(op.name(), || self.call(op, body.to_vec()).ok())
    }

    /// Makes a znode, or finds that it is there.
    #[track_caller]
    pub(crate) fn create(&mut self, path: &str, data: &[u8]) {
        let reply = self.insist(OpCode::Create, &create_body(path, data));
        assert!(reply.err.is_ok() || reply.err == ErrorCode::NODEEXISTS, "create {path}: {}", reply.err);
    }

    /// Sets a znode's data.
    #[track_caller]
    pub(crate) fn set(&mut self, path: &str, data: &[u8]) {
        let reply = self.insist(OpCode::SetData, &set_body(path, data));
        assert!(reply.err.is_ok(), "set {path}: {}", reply.err);
    }

    /// A znode's data and stat.
    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> (Vec<u8>, Stat) {
        let reply = self.insist(OpCode::GetData, &get_body(path));
        assert!(reply.err.is_ok(), "get {path}: {}", reply.err);
        let mut reader = Reader::new(&reply.body);
        let data = reader.buffer().unwrap().unwrap_or_default().to_vec();
        (data, Stat::read(&mut reader).unwrap())
    }

    /// Makes the server catch up with the leader.
    #[track_caller]
    pub(crate) fn sync(&mut self) {
        let mut body = Vec::new();
        jute::put_string(&mut body, "/");
        assert!(self.insist(OpCode::Sync, &body).err.is_ok());
    }

    /// Ends the session.
    pub(crate) fn close(mut self) {
        let _ = self.call(OpCode::CloseSession, Vec::new());
    }

    /// Writes as fast as the pipeline goes, every write acknowledged: `count` sets of `data`.
    #[track_caller]
    pub(crate) fn set_many(&mut self, path: &str, data: &[u8], count: usize) {
        let began = Instant::now();
        let mut left = count;
        while left > 0 {
            let batch: Vec<_> = (0..left.min(500)).map(|_| (OpCode::SetData, set_body(path, data))).collect();
            if let Ok(replies) = self.pipeline(&batch) {
                assert!(replies.iter().all(|r| r.err.is_ok()));
                left -= batch.len();
            }
            assert!(began.elapsed() < 4 * crate::state::DEADLINE, "{left} of {count} sets are left");
        }
    }
}

/// create's body: persistent, open to all.
pub(crate) fn create_body(path: &str, data: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    CreateRequest { path, data: Some(data), acl: AclList::OPEN, flags: 0, ttl_ms: None }.encode(&mut body);
    body
}

/// setData's body, any version.
pub(crate) fn set_body(path: &str, data: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    SetDataRequest { path, data: Some(data), version: -1 }.encode(&mut body);
    body
}

/// The body of getData and getChildren2, without a watch.
pub(crate) fn get_body(path: &str) -> Vec<u8> {
    let mut body = Vec::new();
    WatchedRequest { path, watch: false }.encode(&mut body);
    body
}
