//! A blocking client that writes down everything it asks and is told, by one clock that all clients share.
//!
//! Requests go out in batches and their answers are read in order. A connection that is lost leaves what was
//! under way unknown; the next one, to the next server, takes up the session and sets its watches again, as
//! the original's client does.

use crate::framed::Framed;
use crate::history::{Arrival, History, Op, Outcome, Registered, codec};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use zkctl::jute::Reader;
use zkctl::wire::connect::ConnectRequest;
use zkctl::wire::opcode::xid;
use zkctl::wire::reply::{ReplyHeader, WatcherEvent};

/// How long an answer may take before the connection counts as lost.
const PATIENCE: Duration = Duration::from_millis(2500);
const DIAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) id: u64,
    servers: Vec<SocketAddr>,
    next_server: usize,
    stream: Option<Framed>,
    session: i64,
    password: [u8; 16],
    timeout_ms: i32,
    last_zxid: i64,
    next_xid: i32,
    /// Places in the history of what was asked and not answered.
    doing: VecDeque<usize>,
    registered: Registered,
    clock: Instant,
    pub(crate) history: History,
    pub(crate) connections: u64,
    pub(crate) expiries: u64,
}

impl Recorder {
    /// A client of these servers, which tries the `first` of them first.
    pub(crate) fn new(id: u64, servers: &[SocketAddr], first: usize, clock: Instant) -> Recorder {
        Recorder {
            id,
            servers: servers.to_vec(),
            next_server: first,
            stream: None,
            session: 0,
            password: [0; 16],
            // Some are patient; the others' sessions end in the longer faults.
            timeout_ms: if id.is_multiple_of(2) { 6000 } else { 1000 },
            last_zxid: 0,
            next_xid: 1,
            doing: VecDeque::new(),
            registered: Registered::default(),
            clock,
            history: History::default(),
            connections: 0,
            expiries: 0,
        }
    }

    fn now(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    pub(crate) fn session(&self) -> i64 {
        self.session
    }

    /// Leaves the server it is at, whatever is under way, for the next.
    pub(crate) fn leave(&mut self) {
        self.stream = None;
        self.doing.clear();
    }

    /// Connects once, if it is not; says whether it is.
    pub(crate) fn attach(&mut self) -> bool {
        if self.stream.is_some() {
            return true;
        }
        let done = self.handshake();
        if done.is_err() {
            self.leave();
        }
        done.is_ok()
    }

    fn handshake(&mut self) -> io::Result<()> {
        let address = self.servers[self.next_server % self.servers.len()];
        self.next_server += 1;
        let mut stream = Framed::dial(address, DIAL, PATIENCE)?;
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.last_zxid,
            timeout_ms: self.timeout_ms,
            session: self.session,
            password: &self.password,
            read_only: Some(false),
        };
        let (_, session, password) = stream.shake(&request)?;
        self.stream = Some(stream);
        if session == 0 {
            self.expiries += 1;
            self.forget();
            return Err(io::Error::other("the session is over"));
        }
        let same = self.session == 0 || self.session == session;
        assert!(same, "Sessions: client {} asked for {:#x} and got another", self.id, self.session);
        (self.session, self.password) = (session, password);
        self.connections += 1;
        self.history.arrived(self.id, Arrival::Connected);
        if !self.registered.is_empty() {
            let watches = Registered { since: self.last_zxid, ..self.registered.clone() };
            let bytes = self.ask(Op::SetWatches(watches));
            self.stream()?.send(&bytes)?;
            self.answers(0)?;
        }
        Ok(())
    }

    fn forget(&mut self) {
        self.session = 0;
        self.password = [0; 16];
        self.registered = Registered::default();
    }

    fn ask(&mut self, op: Op) -> Vec<u8> {
        let xid = self.next_xid;
        self.next_xid += 1;
        let bytes = codec::request(&op, xid);
        let now = self.now();
        self.doing.push_back(self.history.invoke(self.id, self.session, xid, op, now));
        bytes
    }

    /// Asks all of this at once and reads the answers, of which `unread` are not waited for: then the client
    /// leaves its server. The places of the requests in the history; none when there was no connection.
    pub(crate) fn exchange(&mut self, ops: Vec<Op>, unread: usize) -> std::ops::Range<usize> {
        let first = self.history.records.len();
        if !self.attach() {
            return first..first;
        }
        let first = self.history.records.len();
        let mut out = Vec::new();
        let last = ops.len();
        for op in ops {
            out.extend(self.ask(op));
        }
        let done =
            self.stream().and_then(|stream| stream.send(&out)).and_then(|()| self.answers(unread.min(last)));
        if done.is_err() || unread > 0 {
            self.leave();
        }
        first..first + last
    }

    /// The answer to the request at this place.
    pub(crate) fn answer(&self, place: usize) -> Option<&Outcome> {
        self.history.records[place].returned.as_ref().map(|back| &back.outcome)
    }

    fn stream(&mut self) -> io::Result<&mut Framed> {
        Ok(self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?)
    }

    /// Reads until no more than `unread` requests are unanswered.
    fn answers(&mut self, unread: usize) -> io::Result<()> {
        while self.doing.len() > unread {
            let payload = self.stream()?.frame()?;
            self.take(&payload)?;
        }
        Ok(())
    }

    fn take(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut reader = Reader::new(payload);
        let header = ReplyHeader::read(&mut reader).map_err(io::Error::other)?;
        if header.xid == xid::NOTIFICATION {
            let event = WatcherEvent::read(&mut reader).map_err(io::Error::other)?;
            let (kind, path) = (event.kind, event.path.to_owned());
            self.registered.heard(kind, &path);
            self.history.arrived(self.id, Arrival::Event { kind, path, zxid: header.zxid });
            return Ok(());
        }
        let place = self.doing.pop_front().expect("ClientFifo: a reply to a request");
        let record = &self.history.records[place];
        let due = codec::answered_xid(&record.op, record.xid);
        assert_eq!(header.xid, due, "ClientFifo: client {}: answers come in order", self.id);
        let (zxid, last) = (header.zxid, self.last_zxid);
        assert!(zxid >= last, "ClientFifo: client {}: zxid {zxid:#x} behind {last:#x}", self.id);
        self.last_zxid = zxid;
        let op = record.op.clone();
        let outcome = codec::outcome(&op, header.err.0, &mut reader).map_err(io::Error::other)?;
        match (&op, &outcome) {
            (Op::CloseSession, Outcome::Done) => self.forget(),
            _ => self.registered.learn(&op, &outcome),
        }
        let now = self.now();
        self.history.returned(place, now, zxid, outcome);
        Ok(())
    }
}
