//! A server that answers every frame at once with what a real one would: the price of the kernel and
//! of the generator, and nothing else.

use crate::jute;
use crate::wire::connect::{ConnectResponse, PASSWORD_LEN};
use crate::wire::errcode::ErrorCode;
use crate::wire::frame;
use crate::wire::opcode::OpCode;
use crate::wire::reply::{ReplyFrame, Stat};
use crate::wire::request::RequestHeader;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);
const FRAME_MAX: usize = 64 << 20;

/// The server's thread.
#[derive(Debug)]
pub(super) struct NullServer {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    waker: Arc<Waker>,
    thread: JoinHandle<()>,
}

impl NullServer {
    /// Starts it on a free port of the loopback.
    pub(super) fn start(value_bytes: usize) -> io::Result<NullServer> {
        let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = listener.local_addr()?;
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let thread = std::thread::Builder::new().name("null-server".into()).spawn(move || {
            let clients = HashMap::new();
            let mut server = Loop { poll, listener, clients, next: 0, answers: Answers::new(value_bytes) };
            while !stop.load(Ordering::Relaxed) && server.turn().is_ok() {}
        })?;
        Ok(NullServer { address, over, waker, thread })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it.
    pub(super) fn stop(self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.waker.wake();
        let _ = self.thread.join();
    }
}

/// Ready answers by operation; the xid is patched in.
struct Answers {
    get: Vec<u8>,
    set: Vec<u8>,
    other: Vec<u8>,
}

impl Answers {
    fn new(value_bytes: usize) -> Answers {
        let make = |body: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            let reply = ReplyFrame::begin(&mut out, 0);
            body(&mut out);
            reply.end(&mut out, 1, ErrorCode::OK);
            out
        };
        Answers {
            get: make(&|out| {
                jute::put_buffer(out, &vec![7; value_bytes]);
                Stat::default().write(out);
            }),
            set: make(&|out| Stat::default().write(out)),
            other: make(&|_| {}),
        }
    }

    fn put(&self, header: RequestHeader, out: &mut Vec<u8>) {
        let answer = match OpCode::from_wire(header.op) {
            Some(OpCode::GetData) => &self.get,
            Some(OpCode::SetData | OpCode::Create) => &self.set,
            _ => &self.other,
        };
        let at = out.len();
        out.extend_from_slice(answer);
        out[at + 4..at + 8].copy_from_slice(&header.xid.to_be_bytes());
    }
}

struct NullClient {
    stream: TcpStream,
    inbound: Vec<u8>,
    out: Vec<u8>,
    opened: bool,
}

struct Loop {
    poll: Poll,
    listener: TcpListener,
    clients: HashMap<usize, NullClient>,
    next: usize,
    answers: Answers,
}

impl Loop {
    fn turn(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        self.poll.poll(&mut events, None)?;
        for event in &events {
            match event.token() {
                LISTENER => self.accept()?,
                WAKER => {}
                Token(token) => {
                    let Some(client) = self.clients.get_mut(&token) else { continue };
                    if serve(client, &self.answers).is_err() {
                        self.clients.remove(&token);
                    }
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        while let Ok((mut stream, _)) = self.listener.accept() {
            stream.set_nodelay(true)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(self.next), interest)?;
            let client = NullClient { stream, inbound: Vec::new(), out: Vec::new(), opened: false };
            self.clients.insert(self.next, client);
            self.next += 1;
        }
        Ok(())
    }
}

/// Reads all there is, answers it in one piece.
fn serve(client: &mut NullClient, answers: &Answers) -> io::Result<()> {
    let mut buffer = [0; 64 << 10];
    loop {
        match client.stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                client.inbound.extend_from_slice(&buffer[..n]);
                answer(client, answers);
                if n < buffer.len() {
                    break;
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) => return Err(e),
        }
    }
    while !client.out.is_empty() {
        match client.stream.write(&client.out) {
            Ok(n) => drop(client.out.drain(..n)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn answer(client: &mut NullClient, answers: &Answers) {
    let mut used = 0;
    while let Ok((payload, n)) = frame::next(&client.inbound[used..], FRAME_MAX) {
        used += n;
        if !client.opened {
            client.opened = true;
            let response = ConnectResponse {
                timeout_ms: 30_000,
                session: 1,
                password: [0; PASSWORD_LEN],
                read_only: Some(false),
            };
            let open = frame::begin(&mut client.out);
            response.encode(&mut client.out);
            open.end(&mut client.out);
        } else if let Ok((header, _)) = RequestHeader::split(payload) {
            answers.put(header, &mut client.out);
        }
    }
    client.inbound.drain(..used);
}
