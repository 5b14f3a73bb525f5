//! The one thread for sockets and core together: readiness in, events to the server, its actions out.
//!
//! A turn: collect what is readable, hand it in, end the turn, carry out the actions, look at the
//! disk; only then sleep. Decides nothing but the order of reading.

use super::disk_thread::DiskThreads;
use super::fs_disk::Directories;
use super::logging;
use super::sockets::{Got, Stream, Wrote};
use crate::ids::{ConnId, LinkId};
use crate::limits;
use crate::server::{Action, Event, Intake, PeerPort, ProcessFacts, Server};
use crate::time::{Millis, Now, WallMillis};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::process::{Resource, getrlimit};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const WAKER: Token = Token(0);
const CLIENTS: Token = Token(1);
const ELECTION: Token = Token(2);
const QUORUM: Token = Token(3);
const FIRST_STREAM: usize = 16;
/// File descriptors that clients leave: the log, snapshots, listeners, peers.
const FILES_RESERVED: usize = 48;
/// When a listener that could not accept is asked again.
const ACCEPT_RETRY: Duration = Duration::from_millis(250);
/// Bytes read from one stream before the others have their turn.
const READ_SLICE: usize = 256 << 10;
/// How long a closed stream may take to hear of its end.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// How long a closed stream may take its last answer.
const FLUSH_WAIT: Duration = Duration::from_secs(10);
/// Streams read in one turn before the disk is looked at again.
const STREAMS_PER_TURN: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Client(ConnId),
    Peer(LinkId),
    Dialling(LinkId),
}

/// Where the server listens.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) client: Option<std::net::TcpListener>,
    pub(super) election: Option<std::net::TcpListener>,
    /// Bound by the loop while leading.
    pub(super) quorum: Option<Vec<SocketAddr>>,
}

/// Makes the waker through which other threads call the loop.
pub(super) fn poll_and_waker() -> io::Result<(Poll, Arc<Waker>)> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    Ok((poll, waker))
}

/// The loop's state.
#[derive(Debug)]
pub(super) struct HotLoop {
    poll: Poll,
    waker: Arc<Waker>,
    server: Server,
    disk: DiskThreads,
    client_listener: Option<TcpListener>,
    election_listener: Option<TcpListener>,
    quorum_listener: Option<TcpListener>,
    quorum_addresses: Option<Vec<SocketAddr>>,
    streams: HashMap<usize, (Who, Stream)>,
    conns: HashMap<ConnId, usize>,
    links: HashMap<LinkId, usize>,
    ready: VecDeque<usize>,
    next_token: usize,
    next_id: u64,
    began: Instant,
    stop: Arc<AtomicBool>,
    stopping: bool,
    resolved: Receiver<(LinkId, Option<SocketAddr>)>,
    resolver: Sender<(LinkId, Option<SocketAddr>)>,
    /// When dials and closing streams are given up, and listeners asked again.
    deadlines: BTreeSet<(Instant, usize)>,
    /// Clients that are not read while too many requests are in flight, and whether each had a turn since.
    waiting: Vec<(usize, bool)>,
    /// A drain was told: the turn goes on.
    drained: bool,
    dial_timeout: Duration,
    dirs: Directories,
    exit: Option<(u8, String)>,
    buffer: Vec<u8>,
}

/// What the loop is made from.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) poll: Poll,
    pub(super) waker: Arc<Waker>,
    pub(super) server: Server,
    pub(super) disk: DiskThreads,
    pub(super) listeners: Listeners,
    pub(super) began: Instant,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) dial_timeout: Duration,
    pub(super) dirs: Directories,
}

impl HotLoop {
    pub(super) fn new(parts: Parts) -> io::Result<HotLoop> {
        let mut client_listener = parts.listeners.client.map(TcpListener::from_std);
        let mut election_listener = parts.listeners.election.map(TcpListener::from_std);
        let registry = parts.poll.registry();
        if let Some(listener) = &mut client_listener {
            registry.register(listener, CLIENTS, Interest::READABLE)?;
        }
        if let Some(listener) = &mut election_listener {
            registry.register(listener, ELECTION, Interest::READABLE)?;
        }
        let (resolver, resolved) = channel();
        Ok(HotLoop {
            poll: parts.poll,
            waker: parts.waker,
            server: parts.server,
            disk: parts.disk,
            client_listener,
            election_listener,
            quorum_listener: None,
            quorum_addresses: parts.listeners.quorum,
            streams: HashMap::new(),
            conns: HashMap::new(),
            links: HashMap::new(),
            ready: VecDeque::new(),
            next_token: FIRST_STREAM,
            next_id: 1,
            began: parts.began,
            stop: parts.stop,
            stopping: false,
            resolved,
            resolver,
            deadlines: BTreeSet::new(),
            waiting: Vec::new(),
            drained: false,
            dial_timeout: parts.dial_timeout,
            dirs: parts.dirs,
            exit: None,
            buffer: vec![0; 64 << 10],
        })
    }

    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
        Now { mono: Millis(self.began.elapsed().as_millis() as u64), wall: WallMillis(wall) }
    }

    /// Runs until the server exits; returns its exit code and reason.
    pub(super) fn run(mut self) -> io::Result<(u8, String)> {
        let mut events = Events::with_capacity(1024);
        let mut actions = Vec::new();
        self.server.start(self.now(), &mut actions);
        self.carry_out(&mut actions);
        loop {
            let timeout = self.sleep();
            match self.poll.poll(&mut events, timeout) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => other?,
            }
            self.collect(&events, &mut actions);
            self.turn(&mut actions);
            if let Some(exit) = self.exit.take() {
                return Ok(exit);
            }
        }
    }

    fn sleep(&self) -> Option<Duration> {
        if !self.ready.is_empty() || self.waiting.iter().any(|(token, _)| self.is_admitted(*token)) {
            return Some(Duration::ZERO);
        }
        let server = self.server.next_deadline().map(|at| {
            let now = self.began.elapsed();
            // A whole millisecond later, so that the deadline has passed when it is looked at.
            Duration::from_millis(at.0 + 1).saturating_sub(now)
        });
        let dial = self.deadlines.first().map(|(at, _)| at.saturating_duration_since(Instant::now()));
        server.into_iter().chain(dial).min()
    }

    fn collect(&mut self, events: &Events, actions: &mut Vec<Action>) {
        for event in events {
            match event.token() {
                WAKER => self.on_wake(actions),
                CLIENTS | ELECTION | QUORUM => self.accept(event.token(), actions),
                Token(token) => {
                    if event.is_writable() {
                        self.on_writable(token, actions);
                    }
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        let ended = event.is_read_closed() || event.is_error();
                        self.mark_readable(token, ended);
                    }
                }
            }
        }
    }

    /// Whether a client that had to wait may go on, or is gone.
    fn is_admitted(&self, token: usize) -> bool {
        match self.streams.get(&token) {
            Some((Who::Client(conn), _)) => self.server.intake(*conn) != Intake::Full,
            _ => true,
        }
    }

    fn mark_readable(&mut self, token: usize, ended: bool) {
        if let Some((_, stream)) = self.streams.get_mut(&token) {
            stream.ended |= ended;
            if !stream.queued {
                stream.queued = true;
                self.ready.push_back(token);
            }
        }
    }

    fn turn(&mut self, actions: &mut Vec<Action>) {
        let now = self.now();
        if self.stop.load(Ordering::Relaxed) && !self.stopping {
            self.stopping = true;
            self.server.handle(now, Event::Stop, actions);
        }
        self.expire(actions);
        if !self.waiting.is_empty() {
            let waiting = std::mem::take(&mut self.waiting);
            let (admitted, rest): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|(token, _)| self.is_admitted(*token));
            self.waiting = rest;
            // Those who had no turn since they had to wait come first.
            let (served, hungry): (Vec<_>, Vec<_>) = admitted.into_iter().partition(|(_, served)| *served);
            self.ready.extend(hungry.into_iter().chain(served).map(|(token, _)| token));
        }
        let rounds = self.ready.len().min(STREAMS_PER_TURN);
        for _ in 0..rounds {
            let Some(token) = self.ready.pop_front() else { break };
            self.read(token, now, actions);
        }
        if self.server.next_deadline().is_some_and(|at| at <= now.mono) {
            self.server.handle(now, Event::Tick, actions);
        }
        // A batch executed right here completes within the turn, and may allow the next.
        loop {
            self.server.handle(now, Event::TurnEnd, actions);
            if !self.carry_out(actions) || self.exit.is_some() {
                break;
            }
        }
        if self.disk.is_broken() && self.exit.is_none() {
            self.exit = Some((1, "a disk thread died".into()));
        }
    }

    fn on_wake(&mut self, actions: &mut Vec<Action>) {
        while let Some(done) = self.disk.take_done() {
            self.server.handle(self.now(), Event::Disk(done), actions);
        }
        while let Ok((link, address)) = self.resolved.try_recv() {
            match address {
                Some(address) => self.dial(link, address, actions),
                None => self.dial_failed(link, false, actions),
            }
        }
    }

    fn accept(&mut self, token: Token, actions: &mut Vec<Action>) {
        loop {
            let listener = match token {
                CLIENTS => &self.client_listener,
                ELECTION => &self.election_listener,
                _ => &self.quorum_listener,
            };
            let Some(listener) = listener else { return };
            if token == CLIENTS && self.is_out_of_files() {
                return self.accept_later(token, "the limit of open files is near");
            }
            let (tcp, address) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(e) => {
                    return self.accept_later(token, &e.to_string());
                }
            };
            let _ = tcp.set_nodelay(true);
            self.next_id += 1;
            let (who, event) = match token {
                CLIENTS => {
                    let conn = ConnId(self.next_id);
                    (Who::Client(conn), Event::ClientOpened { conn, ip: address.ip(), port: address.port() })
                }
                other => {
                    let link = LinkId(self.next_id << 1);
                    let port = if other == ELECTION { PeerPort::Election } else { PeerPort::Quorum };
                    (Who::Peer(link), Event::PeerAccepted { link, port })
                }
            };
            if self.register(who, tcp).is_some() {
                self.server.handle(self.now(), event, actions);
            }
        }
    }

    /// Clients leave some file descriptors to the disk and to the peers.
    fn is_out_of_files(&self) -> bool {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        (self.streams.len() + FILES_RESERVED) as u64 >= limit
    }

    /// No event will tell of who waits already.
    fn accept_later(&mut self, token: Token, why: &str) {
        if !self.deadlines.iter().any(|(_, waiting)| *waiting == token.0) {
            logging::warn(&format!("cannot accept a connection: {why}; trying again"));
            self.deadlines.insert((Instant::now() + ACCEPT_RETRY, token.0));
        }
    }

    fn register(&mut self, who: Who, mut tcp: TcpStream) -> Option<usize> {
        let token = self.next_token;
        self.next_token += 1;
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(e) = self.poll.registry().register(&mut tcp, Token(token), interest) {
            logging::warn(&format!("register a socket: {e}"));
            return None;
        }
        match who {
            Who::Client(conn) => self.conns.insert(conn, token),
            Who::Peer(link) | Who::Dialling(link) => self.links.insert(link, token),
        };
        self.streams.insert(token, (who, Stream::new(tcp)));
        Some(token)
    }

    fn forget(&mut self, token: usize) {
        if let Some((who, mut stream)) = self.streams.remove(&token) {
            let _ = self.poll.registry().deregister(&mut stream.tcp);
            match who {
                Who::Client(conn) => self.conns.remove(&conn),
                Who::Peer(link) | Who::Dialling(link) => self.links.remove(&link),
            };
        }
    }

    /// A stream is gone: tell the server, unless it asked for that itself.
    fn lost(&mut self, token: usize, actions: &mut Vec<Action>) {
        let Some((who, stream)) = self.streams.get(&token) else { return };
        let (who, closing) = (*who, stream.closing);
        self.forget(token);
        if closing {
            return;
        }
        let event = match who {
            Who::Client(conn) => Event::ClientClosed(conn),
            Who::Peer(link) => Event::PeerClosed(link),
            Who::Dialling(link) => Event::PeerDialFailed { link, refused: false },
        };
        self.server.handle(self.now(), event, actions);
    }

    fn read(&mut self, token: usize, now: Now, actions: &mut Vec<Action>) {
        let mut taken = 0;
        loop {
            let Some((who, stream)) = self.streams.get_mut(&token) else { return };
            stream.queued = false;
            let who = *who;
            if let (Who::Client(conn), false) = (who, stream.closing) {
                let unread = stream.backlog() > limits::CLIENT_OUT_BYTES_MAX;
                match self.server.intake(conn) {
                    Intake::Open if !unread => {}
                    Intake::Full => {
                        stream.queued = true;
                        self.waiting.push((token, taken > 0));
                        return;
                    }
                    // It does not read its answers: taken up again when they are with the system.
                    Intake::Open | Intake::Paused => {
                        stream.held = true;
                        return;
                    }
                }
            }
            if taken >= READ_SLICE {
                stream.queued = true;
                self.ready.push_back(token);
                return;
            }
            match stream.read(&mut self.buffer) {
                // What comes behind the end of a conversation is of no interest.
                Got::Bytes(n) if stream.closing => taken += n,
                Got::Bytes(n) => {
                    taken += n;
                    let bytes = &self.buffer[..n];
                    let event = match who {
                        Who::Client(conn) => Event::ClientBytes { conn, bytes },
                        Who::Peer(link) | Who::Dialling(link) => Event::PeerBytes { link, bytes },
                    };
                    self.server.handle(now, event, actions);
                    // A short read means that the socket is empty and the next bytes bring an event;
                    // but an end that came along with these bytes brings none.
                    let ended = self.streams.get(&token).is_some_and(|(_, s)| s.ended);
                    if n < self.buffer.len() && !ended {
                        return;
                    }
                }
                Got::Nothing => return,
                // What was said right before the end (`echo ruok | nc -N`) is answered first.
                Got::End if taken > 0 => return self.mark_readable(token, true),
                Got::End => return self.lost(token, actions),
            }
        }
    }

    fn on_writable(&mut self, token: usize, actions: &mut Vec<Action>) {
        let Some((who, stream)) = self.streams.get_mut(&token) else { return };
        if let Who::Dialling(link) = *who {
            let error = stream.tcp.take_error().ok().flatten();
            if error.is_some() || stream.tcp.peer_addr().is_err() {
                let refused = error.is_some_and(|e| {
                    matches!(e.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset)
                });
                self.forget(token);
                return self.dial_failed(link, refused, actions);
            }
            let _ = stream.tcp.set_nodelay(true);
            *who = Who::Peer(link);
            self.deadlines.retain(|(_, t)| *t != token);
            self.server.handle(self.now(), Event::PeerDialled(link), actions);
            return;
        }
        let wrote = stream.on_writable();
        self.after_write(token, wrote, actions);
    }

    fn after_write(&mut self, token: usize, wrote: Wrote, actions: &mut Vec<Action>) {
        let Some((who, stream)) = self.streams.get_mut(&token) else { return };
        match wrote {
            Wrote::Waits => {}
            Wrote::Broken => self.lost(token, actions),
            Wrote::All => {
                let (who, closing) = (*who, stream.closing);
                let tell = std::mem::take(&mut stream.tell) && !closing;
                let held = std::mem::take(&mut stream.held);
                if closing {
                    self.finish(token);
                } else if held {
                    self.mark_readable(token, false);
                }
                let event = match who {
                    Who::Peer(link) if tell => Event::PeerDrained(link),
                    Who::Client(conn) if tell => Event::ClientDrained(conn),
                    _ => return,
                };
                self.drained = true;
                self.server.handle(self.now(), event, actions);
            }
        }
    }

    /// Ends a stream that has been answered. What the other side still has in flight must not turn
    /// into a reset that takes our answer away: say that we are done, and wait for its end.
    fn finish(&mut self, token: usize) {
        if let Some((_, stream)) = self.streams.get_mut(&token) {
            let _ = stream.tcp.shutdown(std::net::Shutdown::Write);
            stream.closing = true;
            self.deadlines.insert((Instant::now() + CLOSE_WAIT, token));
            self.mark_readable(token, false);
        }
    }

    fn close(&mut self, token: usize) {
        let Some((_, stream)) = self.streams.get_mut(&token) else { return };
        stream.closing = true;
        if stream.backlog() == 0 {
            self.finish(token);
        } else {
            // Whoever does not take its last answer loses it.
            self.deadlines.insert((Instant::now() + FLUSH_WAIT, token));
        }
    }

    /// Carries out what the server wants. True when a disk batch was completed on the way.
    fn carry_out(&mut self, actions: &mut Vec<Action>) -> bool {
        let mut completed = false;
        let mut again = Vec::new();
        // Sends first: the peers' disks work while ours does.
        let mut batches = Vec::new();
        for action in actions.drain(..) {
            match action {
                Action::ClientSend { conn, bytes, tell } => {
                    if let Some(token) = self.conns.get(&conn).copied() {
                        self.send(token, bytes, tell, &mut again);
                    }
                }
                Action::PeerSend { link, bytes, tell } => {
                    if let Some(token) = self.links.get(&link).copied() {
                        self.send(token, bytes, tell, &mut again);
                    }
                }
                Action::ClientClose(conn) => {
                    if let Some(token) = self.conns.get(&conn).copied() {
                        self.close(token);
                    }
                }
                Action::PeerClose(link) => {
                    if let Some(token) = self.links.get(&link).copied() {
                        self.close(token);
                    }
                }
                Action::PeerDial { link, host, port } => self.resolve(link, host, port, &mut again),
                Action::Listen => self.listen(),
                Action::StopListening => {
                    if let Some(mut listener) = self.quorum_listener.take() {
                        let _ = self.poll.registry().deregister(&mut listener);
                    }
                }
                Action::Disk(batch) => batches.push(batch),
                Action::GatherFacts => {
                    let facts = self.facts();
                    self.server.handle(self.now(), Event::Facts(facts), &mut again);
                }
                Action::Log(level, text) => logging::log(level, &text),
                Action::Exit { code, reason } => self.exit = Some((code, reason)),
            }
        }
        for batch in batches {
            let idle = self.ready.is_empty();
            if let Some(done) = self.disk.submit(batch, idle) {
                completed = true;
                self.server.handle(self.now(), Event::Disk(done), &mut again);
            }
        }
        let more = !again.is_empty();
        actions.append(&mut again);
        completed || more || std::mem::take(&mut self.drained)
    }

    fn facts(&self) -> ProcessFacts {
        let size = |dir: &std::path::Path| {
            let entries = std::fs::read_dir(dir).into_iter().flatten();
            entries.filter_map(|e| e.ok()?.metadata().ok()).map(|m| m.len()).sum()
        };
        let pages: u64 = std::fs::read_to_string("/proc/self/statm")
            .ok()
            .and_then(|s| s.split(' ').nth(1)?.parse().ok())
            .unwrap_or(0);
        ProcessFacts {
            open_files: std::fs::read_dir("/proc/self/fd").map_or(0, |d| d.count() as u64),
            max_files: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
            data_bytes: size(&self.dirs.data),
            log_bytes: size(&self.dirs.log),
            resident_bytes: pages * rustix::param::page_size() as u64,
        }
    }

    fn send(&mut self, token: usize, bytes: Vec<u8>, tell: bool, actions: &mut Vec<Action>) {
        let Some((who, stream)) = self.streams.get_mut(&token) else { return };
        if stream.closing {
            return;
        }
        stream.tell |= tell;
        let over = matches!(who, Who::Peer(_)) && stream.backlog() > limits::PEER_OUT_BYTES_MAX;
        let wrote = if over { Wrote::Broken } else { stream.send(bytes) };
        self.after_write(token, wrote, actions);
    }

    fn listen(&mut self) {
        for address in self.quorum_addresses.clone().unwrap_or_default() {
            let bound = super::listen(address, limits::LISTEN_BACKLOG).map(TcpListener::from_std);
            match bound {
                Ok(mut listener) => {
                    if let Err(e) = self.poll.registry().register(&mut listener, QUORUM, Interest::READABLE) {
                        self.exit = Some((14, format!("quorum port {address}: {e}")));
                    }
                    self.quorum_listener = Some(listener);
                }
                Err(e) => {
                    self.exit = Some((14, format!("cannot bind the quorum port {address}: {e}")));
                }
            }
        }
    }

    fn resolve(&mut self, link: LinkId, host: String, port: u16, actions: &mut Vec<Action>) {
        if let Ok(ip) = host.parse() {
            return self.dial(link, SocketAddr::new(ip, port), actions);
        }
        // A name server may take its time: not in this thread. Asked anew each time, so that a
        // changed address is found (ZOOKEEPER-1506).
        let (send, waker) = (self.resolver.clone(), Arc::clone(&self.waker));
        let spawned = thread::Builder::new().name("resolve".into()).spawn(move || {
            let address = (host.as_str(), port).to_socket_addrs().ok().and_then(|mut all| all.next());
            let _ = send.send((link, address));
            let _ = waker.wake();
        });
        if spawned.is_err() {
            self.dial_failed(link, false, actions);
        }
    }

    fn dial(&mut self, link: LinkId, address: SocketAddr, actions: &mut Vec<Action>) {
        match TcpStream::connect(address) {
            Ok(tcp) => match self.register(Who::Dialling(link), tcp) {
                Some(token) => {
                    self.deadlines.insert((Instant::now() + self.dial_timeout, token));
                }
                None => self.dial_failed(link, false, actions),
            },
            Err(e) => self.dial_failed(link, e.kind() == io::ErrorKind::ConnectionRefused, actions),
        }
    }

    fn dial_failed(&mut self, link: LinkId, refused: bool, actions: &mut Vec<Action>) {
        self.server.handle(self.now(), Event::PeerDialFailed { link, refused }, actions);
    }

    fn expire(&mut self, actions: &mut Vec<Action>) {
        let now = Instant::now();
        while self.deadlines.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, token)) = self.deadlines.pop_first() else { break };
            if token < FIRST_STREAM {
                self.accept(Token(token), actions);
                continue;
            }
            let dialling = match self.streams.get(&token) {
                Some((Who::Dialling(link), _)) => Some(*link),
                Some((_, stream)) if stream.closing => None,
                _ => continue,
            };
            self.forget(token);
            if let Some(link) = dialling {
                self.dial_failed(link, false, actions);
            }
        }
    }
}
