//! The znodes of a run: made before it, removed after it, through a plain blocking connection.

use super::requests::{creates_dir, framed, handshake, key_path, keys_dir, value};
use super::{BenchError, BenchOptions, Mix};
use crate::jute::{self, Reader};
use crate::wire::acl::AclList;
use crate::wire::connect::ConnectResponse;
use crate::wire::errcode::ErrorCode;
use crate::wire::frame;
use crate::wire::opcode::OpCode;
use crate::wire::reply::ReplyHeader;
use crate::wire::request::{CreateRequest, PathIntRequest, WatchedRequest};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Requests sent in one piece.
const PIECE: usize = 200;
/// Bytes sent in one piece, roughly.
const PIECE_BYTES: usize = 1 << 20;
/// A list of children may be this large.
const FRAME_MAX: usize = 1 << 30;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long servers may refuse before the run is given up.
const RETRY: Duration = Duration::from_secs(30);
const SESSION_MS: i32 = 30_000;

/// A session for errands.
#[derive(Debug)]
struct Errands {
    stream: TcpStream,
    inbound: Vec<u8>,
    next_xid: i32,
}

impl Errands {
    fn open(server: SocketAddr) -> io::Result<Errands> {
        let stream = TcpStream::connect_timeout(&server, Duration::from_secs(2))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut errands = Errands { stream, inbound: Vec::new(), next_xid: 1 };
        errands.stream.write_all(&handshake(SESSION_MS))?;
        let response = ConnectResponse::decode(&errands.frame()?).map_err(io::Error::other)?;
        if response.timeout_ms <= 0 {
            return Err(io::Error::other("the server opened no session"));
        }
        Ok(errands)
    }

    fn frame(&mut self) -> io::Result<Vec<u8>> {
        let mut buffer = [0; 64 << 10];
        loop {
            match frame::next(&self.inbound, FRAME_MAX) {
                Ok((payload, used)) => {
                    let payload = payload.to_vec();
                    self.inbound.drain(..used);
                    return Ok(payload);
                }
                Err(jute::Error::Short(_)) => match self.stream.read(&mut buffer)? {
                    0 => {
                        let reason =
                            "the server closed the connection (it is not serving, or it has too many)";
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
                    }
                    n => self.inbound.extend_from_slice(&buffer[..n]),
                },
                Err(e) => return Err(io::Error::other(e)),
            }
        }
    }

    /// Sends requests in one piece; returns each answer's error and body.
    fn ask(&mut self, requests: &[(OpCode, Vec<u8>)]) -> io::Result<Vec<(ErrorCode, Vec<u8>)>> {
        let mut out = Vec::new();
        for (op, body) in requests {
            framed(&mut out, self.next_xid, *op, |out| out.extend_from_slice(body));
            self.next_xid += 1;
        }
        self.stream.write_all(&out)?;
        let answer = |_| {
            let payload = self.frame()?;
            let mut reader = Reader::new(&payload);
            let header = ReplyHeader::read(&mut reader).map_err(io::Error::other)?;
            Ok((header.err, reader.rest().to_vec()))
        };
        (0..requests.len()).map(answer).collect()
    }

    fn close(mut self) {
        let _ = self.ask(&[(OpCode::CloseSession, Vec::new())]);
    }
}

/// Opens a session on whichever server takes one, for some time, or until it is to stop where that counts.
fn open_any(servers: &[SocketAddr], stop: Option<&AtomicBool>) -> Result<Errands, BenchError> {
    let began = Instant::now();
    let mut turn = 0;
    loop {
        let server = servers[turn % servers.len()];
        turn += 1;
        match Errands::open(server) {
            Ok(errands) => return Ok(errands),
            Err(_) if stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) => {
                return Err(BenchError::Interrupted);
            }
            Err(error) if began.elapsed() >= RETRY => {
                return Err(BenchError::NoSession {
                    server,
                    seconds: RETRY.as_secs(),
                    reason: error.to_string(),
                });
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn create(path: &str, data: &[u8]) -> (OpCode, Vec<u8>) {
    let mut body = Vec::new();
    CreateRequest { path, data: Some(data), acl: AclList::OPEN, flags: 0, ttl_ms: None }.encode(&mut body);
    (OpCode::Create, body)
}

fn delete(path: &str) -> (OpCode, Vec<u8>) {
    let mut body = Vec::new();
    PathIntRequest { path, value: -1 }.encode(&mut body);
    (OpCode::Delete, body)
}

fn sync() -> (OpCode, Vec<u8>) {
    let mut body = Vec::new();
    jute::put_string(&mut body, "/");
    (OpCode::Sync, body)
}

/// A run's own part of the tree.
#[derive(Debug)]
pub(super) struct Subtree {
    root: String,
    servers: Vec<SocketAddr>,
}

impl Subtree {
    /// Makes it, and waits until every server has it.
    pub(super) fn make(options: &BenchOptions, servers: &[SocketAddr]) -> Result<Subtree, BenchError> {
        let root = format!("/zkctl-bench-{}", std::process::id());
        let subtree = Subtree { root, servers: servers.to_vec() };
        let made = subtree.fill(options);
        // Interrupted it is only before anything was made.
        if !matches!(made, Ok(()) | Err(BenchError::Interrupted)) {
            let _ = subtree.remove();
        }
        made.map(|()| subtree)
    }

    /// Its uppermost znode.
    pub(super) fn root(&self) -> &str {
        &self.root
    }

    fn failed(&self, what: &str, reason: impl ToString) -> BenchError {
        BenchError::Subtree { what: format!("{what} {}", self.root), reason: reason.to_string() }
    }

    fn fill(&self, options: &BenchOptions) -> Result<(), BenchError> {
        let mut errands = open_any(&self.servers, Some(&options.stop))?;
        let keys = keys_dir(&self.root);
        self.make_all(&mut errands, [self.root.clone(), keys.clone()].into_iter(), b"")?;
        if options.mix == Mix::Create {
            let dirs = (0..options.connections).map(|c| creates_dir(&self.root, c));
            self.make_all(&mut errands, dirs, b"")?;
        } else {
            let data = value(options.value_bytes);
            self.make_all(&mut errands, (0..options.keys).map(|k| key_path(&keys, k)), &data)?;
        }
        errands.close();
        // A follower may lag a little: nobody may find the keys missing.
        let mut distinct = self.servers.clone();
        distinct.sort_unstable();
        distinct.dedup();
        for server in distinct {
            let mut errands = open_any(&[server], None)?;
            errands.ask(&[sync()]).map_err(|e| self.failed("cannot sync", e))?;
            errands.close();
        }
        Ok(())
    }

    fn make_all(
        &self,
        errands: &mut Errands,
        mut paths: impl Iterator<Item = String>,
        data: &[u8],
    ) -> Result<(), BenchError> {
        let piece = (PIECE_BYTES / (data.len() + 100)).clamp(1, PIECE);
        loop {
            let requests: Vec<_> = paths.by_ref().take(piece).map(|p| create(&p, data)).collect();
            if requests.is_empty() {
                return Ok(());
            }
            let answers = errands.ask(&requests).map_err(|e| self.failed("cannot make", e))?;
            if let Some((err, _)) = answers.iter().find(|(e, _)| !e.is_ok()) {
                return Err(self.failed("cannot make", err));
            }
        }
    }

    /// Removes it. Begins again on another server when one goes away meanwhile.
    pub(super) fn remove(&self) -> Result<(), BenchError> {
        let began = Instant::now();
        loop {
            let mut errands = open_any(&self.servers, None)?;
            match self.empty(&mut errands) {
                Ok(()) => {
                    errands.close();
                    return Ok(());
                }
                Err(error) if began.elapsed() >= RETRY => return Err(self.failed("cannot remove", error)),
                Err(_) => {}
            }
        }
    }

    fn empty(&self, errands: &mut Errands) -> io::Result<()> {
        errands.ask(&[sync()])?;
        // Parents come before their children; they go in the opposite order.
        let mut all = vec![self.root.clone()];
        let mut unread = vec![self.root.clone()];
        while let Some(path) = unread.pop() {
            let mut body = Vec::new();
            WatchedRequest { path: &path, watch: false }.encode(&mut body);
            let (err, children) = errands.ask(&[(OpCode::GetChildren, body)])?.remove(0);
            if err == ErrorCode::NONODE {
                continue;
            }
            let leaves = path != self.root;
            for child in Reader::new(&children).strings().map_err(io::Error::other)?.iter() {
                let child = format!("{path}/{child}");
                if !leaves {
                    unread.push(child.clone());
                }
                all.push(child);
            }
        }
        for piece in all.rchunks(PIECE) {
            let requests: Vec<_> = piece.iter().rev().map(|p| delete(p)).collect();
            let answers = errands.ask(&requests)?;
            let bad = answers.iter().find(|(e, _)| !e.is_ok() && *e != ErrorCode::NONODE);
            if let Some((err, _)) = bad {
                return Err(io::Error::other(err.to_string()));
            }
        }
        Ok(())
    }
}
