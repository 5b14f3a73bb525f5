//! One session of the load: its socket, what is to be sent, what is under way.

use super::replies::{Head, Replies};
use super::requests::handshake;
use crate::jute;
use crate::wire::connect::ConnectResponse;
use crate::wire::frame;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;

/// The timeout that every session asks for.
pub(super) const SESSION_MS: i32 = 30_000;
/// A handshake's answer is smaller.
const HANDSHAKE_MAX: usize = 1024;

/// What a request was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Issued {
    pub(super) kind: Kind,
    /// When it was sent, or was due when the rate is fixed; in nanoseconds of the run.
    pub(super) at: u64,
    pub(super) xid: i32,
}

/// What became of reading.
#[derive(Debug)]
pub(super) enum Got {
    /// Everything there was.
    All,
    /// The connection ended.
    End(String),
    /// Something no server of this protocol would say.
    Nonsense(String),
}

#[derive(Debug)]
enum State {
    /// No socket; another attempt at this time.
    Down { until: u64 },
    /// Waiting for TCP.
    Connecting(TcpStream),
    /// Waiting for the session; holds what came of its answer.
    Opening(TcpStream, Vec<u8>),
    /// In session.
    Open(TcpStream),
}

/// One session.
#[derive(Debug)]
pub(super) struct Connection {
    state: State,
    pub(super) server: SocketAddr,
    pub(super) out: Vec<u8>,
    sent: usize,
    blocked: bool,
    replies: Replies,
    pub(super) under_way: VecDeque<Issued>,
    /// Requests of a fixed rate that wait for room in the pipeline, by when they were due.
    pub(super) due: VecDeque<u64>,
    next_xid: i32,
    /// Creates sent so far: their keys are never used twice.
    pub(super) made: u64,
    /// When something was sent last.
    pub(super) last_sent: u64,
    /// Why the last attempt failed.
    pub(super) trouble: String,
}

impl Connection {
    /// One that has yet to be dialled.
    pub(super) fn new(server: SocketAddr) -> Connection {
        Connection {
            state: State::Down { until: 0 },
            server,
            out: Vec::new(),
            sent: 0,
            blocked: false,
            replies: Replies::default(),
            under_way: VecDeque::new(),
            due: VecDeque::new(),
            next_xid: 1,
            made: 0,
            last_sent: 0,
            trouble: String::from("no answer"),
        }
    }

    /// Whether the session stands.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Whether every request that fell to it was answered: none is under way, none waits for room or for a server.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_empty() && self.due.is_empty()
    }

    /// When to dial; `None` when it is not down.
    pub(super) fn down_until(&self) -> Option<u64> {
        match self.state {
            State::Down { until } => Some(until),
            _ => None,
        }
    }

    /// Begins to connect.
    pub(super) fn dial(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.server)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        self.state = State::Connecting(stream);
        Ok(())
    }

    /// Drops the socket and what was under way, which comes back; the next attempt is at `until`.
    pub(super) fn drop_link(&mut self, until: u64, trouble: String) -> usize {
        self.trouble = trouble;
        self.state = State::Down { until };
        self.out.clear();
        (self.sent, self.blocked, self.next_xid) = (0, false, 1);
        self.replies = Replies::default();
        std::mem::take(&mut self.under_way).len()
    }

    fn stream(&mut self) -> Option<&mut TcpStream> {
        match &mut self.state {
            State::Down { .. } => None,
            State::Connecting(stream) | State::Opening(stream, _) | State::Open(stream) => Some(stream),
        }
    }

    /// The next request's xid.
    pub(super) fn take_xid(&mut self) -> i32 {
        let xid = self.next_xid;
        self.next_xid = if xid == i32::MAX { 1 } else { xid + 1 };
        xid
    }

    /// The socket takes bytes: TCP stands, or a full socket has room again.
    pub(super) fn on_writable(&mut self) -> io::Result<()> {
        if let State::Connecting(stream) = &mut self.state {
            if let Some(error) = stream.take_error()? {
                return Err(error);
            }
            if stream.peer_addr().is_err() {
                return Ok(());
            }
            stream.set_nodelay(true)?;
            if let State::Connecting(stream) =
                std::mem::replace(&mut self.state, State::Down { until: u64::MAX })
            {
                self.state = State::Opening(stream, Vec::new());
            }
            self.out.extend_from_slice(&handshake(SESSION_MS));
        }
        self.blocked = false;
        self.flush()
    }

    /// Sends what waits.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if matches!(self.state, State::Connecting(_)) {
            return Ok(());
        }
        while self.sent < self.out.len() && !self.blocked {
            let (out, sent) = (std::mem::take(&mut self.out), self.sent);
            let wrote = match self.stream() {
                Some(stream) => stream.write(&out[sent..]),
                None => Ok(out.len() - sent),
            };
            self.out = out;
            match wrote {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.blocked = true,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        }
        Ok(())
    }

    /// Reads all there is; `each` is called for every reply's header.
    pub(super) fn read(&mut self, buffer: &mut [u8], mut each: impl FnMut(Head)) -> Got {
        loop {
            let Some(stream) = self.stream() else { return Got::All };
            let n = match stream.read(buffer) {
                Ok(0) => return Got::End("the server closed the connection".into()),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Got::All,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                // Not connected yet: a socket's first event may say readable.
                Err(e) if e.kind() == io::ErrorKind::NotConnected => return Got::All,
                Err(e) => return Got::End(e.to_string()),
            };
            let taken = match &mut self.state {
                State::Open(_) => self.replies.push(&buffer[..n], &mut each),
                State::Opening(_, answer) => {
                    answer.extend_from_slice(&buffer[..n]);
                    if let Some(refusal) = self.open() {
                        return refusal;
                    }
                    Ok(())
                }
                State::Down { .. } | State::Connecting(_) => Ok(()),
            };
            if let Err(bad) = taken {
                return Got::Nonsense(format!("a reply of length {}", bad.0));
            }
            if n < buffer.len() {
                return Got::All;
            }
        }
    }

    /// Looks whether the handshake's answer is whole; what is wrong with it comes back.
    fn open(&mut self) -> Option<Got> {
        let State::Opening(_, answer) = &self.state else { return None };
        let response = match frame::next(answer, HANDSHAKE_MAX) {
            Ok((payload, _)) => ConnectResponse::decode(payload),
            Err(jute::Error::Short(_)) => return None,
            Err(e) => Err(e),
        };
        match response {
            Err(e) => Some(Got::Nonsense(format!("its answer to the handshake is none: {e}"))),
            Ok(response) if response.timeout_ms <= 0 => Some(Got::End("the server opened no session".into())),
            Ok(_) => {
                if let State::Opening(stream, _) =
                    std::mem::replace(&mut self.state, State::Down { until: u64::MAX })
                {
                    self.state = State::Open(stream);
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_wait_for_a_server_are_not_done() {
        let mut connection = Connection::new(SocketAddr::from(([127, 0, 0, 1], 1)));
        assert!(connection.is_idle() && !connection.is_open());
        connection.due.push_back(5);
        assert!(!connection.is_idle());
    }
}
