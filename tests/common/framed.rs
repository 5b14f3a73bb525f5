//! A client's connection as whole frames, blocking, as every test client of real servers reads and writes it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use zkctl::jute;
use zkctl::wire::connect::{ConnectRequest, ConnectResponse};
use zkctl::wire::frame;

/// The largest frame that is read.
const FRAME_MAX: usize = 64 << 20;

#[derive(Debug)]
pub(crate) struct Framed {
    stream: TcpStream,
    inbound: Vec<u8>,
}

impl Framed {
    /// Dials; reads and writes may take as long as `patience`.
    pub(crate) fn dial(address: SocketAddr, dial: Duration, patience: Duration) -> io::Result<Framed> {
        let stream = TcpStream::connect_timeout(&address, dial)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Framed { stream, inbound: Vec::new() })
    }

    /// The session handshake; the answer's timeout (0 or less: the session is over), session and password.
    pub(crate) fn shake(&mut self, request: &ConnectRequest<'_>) -> io::Result<(i32, i64, [u8; 16])> {
        let mut out = Vec::new();
        let open = frame::begin(&mut out);
        request.encode(&mut out);
        open.end(&mut out);
        self.send(&out)?;
        let payload = self.frame()?;
        let response = ConnectResponse::decode(&payload).map_err(io::Error::other)?;
        Ok((response.timeout_ms, response.session, response.password))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next frame's payload.
    pub(crate) fn frame(&mut self) -> io::Result<Vec<u8>> {
        let mut buffer = [0; 64 << 10];
        loop {
            match frame::next(&self.inbound, FRAME_MAX) {
                Ok((payload, used)) => {
                    let payload = payload.to_vec();
                    self.inbound.drain(..used);
                    return Ok(payload);
                }
                Err(jute::Error::Short(_)) => {}
                Err(e) => return Err(io::Error::other(e)),
            }
            match self.stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => self.inbound.extend_from_slice(&buffer[..n]),
            }
        }
    }
}
