//! One TCP stream of the hot loop: what is readable, what waits to be written.

use mio::net::TcpStream;
use std::io::{self, Read, Write};

/// What writing came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrote {
    /// Everything is with the system.
    All,
    /// The rest waits for the socket.
    Waits,
    /// The stream is broken.
    Broken,
}

/// What reading came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Got {
    /// So many bytes; there may be more.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// The other side has finished, or the stream is broken.
    End,
}

/// A stream with its unsent bytes.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) tcp: TcpStream,
    unsent: Vec<u8>,
    sent: usize,
    /// Close once everything is sent.
    pub(super) closing: bool,
    /// The other side has finished: read to the end, no event will tell of it again.
    pub(super) ended: bool,
    /// Not read until its unsent bytes are with the system.
    pub(super) held: bool,
    /// Queued in the loop's list of readable streams.
    pub(super) queued: bool,
    /// Tell when everything is sent.
    pub(super) tell: bool,
    /// Writing was refused: wait for the event.
    blocked: bool,
}

impl Stream {
    pub(super) fn new(tcp: TcpStream) -> Stream {
        Stream {
            tcp,
            unsent: Vec::new(),
            sent: 0,
            closing: false,
            ended: false,
            held: false,
            queued: false,
            tell: false,
            blocked: false,
        }
    }

    /// How many bytes wait.
    pub(super) fn backlog(&self) -> usize {
        self.unsent.len() - self.sent
    }

    /// Sends, behind what waits.
    pub(super) fn send(&mut self, bytes: Vec<u8>) -> Wrote {
        if self.backlog() == 0 {
            self.unsent = bytes;
            self.sent = 0;
        } else {
            // Moved only when it pays, or a slow peer's megabytes are moved with every message.
            if self.sent > self.unsent.len() / 2 {
                self.unsent.drain(..self.sent);
                self.sent = 0;
            }
            self.unsent.extend_from_slice(&bytes);
        }
        if self.blocked { Wrote::Waits } else { self.push() }
    }

    /// The socket takes bytes again.
    pub(super) fn on_writable(&mut self) -> Wrote {
        self.blocked = false;
        self.push()
    }

    fn push(&mut self) -> Wrote {
        while self.sent < self.unsent.len() {
            match self.tcp.write(&self.unsent[self.sent..]) {
                Ok(0) => return Wrote::Broken,
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Wrote::Waits;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Wrote::Broken,
            }
        }
        // An idle connection keeps no buffer.
        self.unsent = Vec::new();
        self.sent = 0;
        Wrote::All
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Got {
        loop {
            match self.tcp.read(buffer) {
                Ok(0) => return Got::End,
                Ok(n) => return Got::Bytes(n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Got::Nothing,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Got::End,
            }
        }
    }
}
