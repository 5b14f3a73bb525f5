//! A session over one connection at a time, and the requests in flight on it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::connection::{Handshake, handshake, read_frame};
use super::error::{ClientError, Code};
use super::packet::{self, CreateMode, Identity, Stat};
use crate::jute::Reader;

/// How a client behaves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The session timeout asked for.
    pub session: Duration,
    /// How long one connection attempt may take.
    pub connect: Duration,
    /// The pause between attempts.
    pub retry: Duration,
    /// How long the first session may take to open.
    pub open: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            session: Duration::from_secs(10),
            connect: Duration::from_secs(2),
            retry: Duration::from_millis(5),
            open: Duration::from_secs(10),
        }
    }
}

type Answer = Result<Vec<u8>, ClientError>;

/// A request on its way to the connection.
struct Request {
    opcode: i32,
    body: Vec<u8>,
    answer: oneshot::Sender<Answer>,
}

/// Requests waiting for the connection; more make callers wait.
const QUEUE: usize = 1024;

/// A client with one session.
#[derive(Clone, Debug)]
pub struct Client {
    requests: mpsc::Sender<Request>,
    session: i64,
}

impl Client {
    /// Opens a session on the first server that grants one. That is a write: a quorum has agreed to it.
    pub async fn connect(servers: Vec<(String, u16)>, options: Options) -> Result<Client, ClientError> {
        let mut driver =
            Driver { servers, options, next: 0, identity: Identity::default(), granted: 0, xid: 0 };
        let mut last = String::from("nothing was tried");
        let stream = match timeout(options.open, driver.attach(&mut last)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(ClientError::TimedOut { ms: options.open.as_millis() as u64, last }),
        };
        let (requests, queue) = mpsc::channel(QUEUE);
        let session = driver.identity.session;
        tokio::spawn(driver.run(stream, queue));
        Ok(Client { requests, session })
    }

    /// The session's id.
    pub fn session(&self) -> i64 {
        self.session
    }

    async fn ask(&self, opcode: i32, body: Vec<u8>) -> Answer {
        let (answer, wait) = oneshot::channel();
        self.requests.send(Request { opcode, body, answer }).await.map_err(|_| ClientError::Closed)?;
        wait.await.map_err(|_| ClientError::Closed)?
    }

    /// Creates a znode, open to everyone; answers its path.
    pub async fn create(&self, path: &str, data: &[u8], mode: CreateMode) -> Result<String, ClientError> {
        let body = self.ask(packet::OP_CREATE, packet::create_body(path, data, mode)).await?;
        Ok(Reader::new(&body).string()?.to_owned())
    }

    /// Deletes a znode; version -1 is any.
    pub async fn delete(&self, path: &str, version: i32) -> Result<(), ClientError> {
        self.ask(packet::OP_DELETE, packet::path_version_body(path, version)).await.map(|_| ())
    }

    /// A znode's data.
    pub async fn get(&self, path: &str) -> Result<(Vec<u8>, Stat), ClientError> {
        let body = self.ask(packet::OP_GET_DATA, packet::path_watch_body(path)).await?;
        let mut reader = Reader::new(&body);
        let data = reader.buffer()?.unwrap_or_default().to_vec();
        Ok((data, Stat::decode(&mut reader)?))
    }

    /// Replaces a znode's data; version -1 is any.
    pub async fn set(&self, path: &str, data: &[u8], version: i32) -> Result<Stat, ClientError> {
        let body = self.ask(packet::OP_SET_DATA, packet::set_body(path, data, version)).await?;
        Ok(Stat::decode(&mut Reader::new(&body))?)
    }

    /// A znode's metadata; `None` when it is not there.
    pub async fn exists(&self, path: &str) -> Result<Option<Stat>, ClientError> {
        match self.ask(packet::OP_EXISTS, packet::path_watch_body(path)).await {
            Ok(body) => Ok(Some(Stat::decode(&mut Reader::new(&body))?)),
            Err(ClientError::Server(Code::NO_NODE)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The names of a znode's children.
    pub async fn children(&self, path: &str) -> Result<Vec<String>, ClientError> {
        let body = self.ask(packet::OP_GET_CHILDREN, packet::path_watch_body(path)).await?;
        let mut reader = Reader::new(&body);
        let count = reader.vec_len()?.unwrap_or(0);
        (0..count).map(|_| Ok(reader.string()?.to_owned())).collect()
    }

    /// Makes the server catch up with the leader; a read behind it sees every write before it.
    pub async fn sync(&self, path: &str) -> Result<(), ClientError> {
        self.ask(packet::OP_SYNC, packet::path_body(path)).await.map(|_| ())
    }

    /// Ends the session; its ephemerals go with it.
    pub async fn close(self) -> Result<(), ClientError> {
        self.ask(packet::OP_CLOSE, Vec::new()).await.map(|_| ())
    }
}

/// Owns the connection.
struct Driver {
    servers: Vec<(String, u16)>,
    options: Options,
    next: usize,
    identity: Identity,
    granted: i32,
    xid: i32,
}

/// Why a connection is no longer used.
enum End {
    Lost,
    Closed,
}

struct InFlight {
    xid: i32,
    opcode: i32,
    answer: oneshot::Sender<Answer>,
}

impl Driver {
    /// Tries one server after the other until one takes the session.
    async fn attach(&mut self, last: &mut String) -> Result<TcpStream, ClientError> {
        let wanted = i32::try_from(self.options.session.as_millis()).unwrap_or(i32::MAX);
        if self.servers.is_empty() {
            return Err(ClientError::Malformed("no servers to connect to".into()));
        }
        loop {
            let server = &self.servers[self.next % self.servers.len()];
            self.next = self.next.wrapping_add(1);
            match handshake(server, &self.identity, wanted, self.options.connect).await {
                Ok(Handshake::Attached(stream, connected)) => {
                    self.identity.session = connected.session;
                    self.identity.password = connected.password;
                    self.granted = connected.timeout_ms;
                    return Ok(stream);
                }
                Ok(Handshake::Expired) => return Err(ClientError::Expired),
                Err(reason) => *last = reason,
            }
            sleep(self.options.retry).await;
        }
    }

    async fn run(mut self, mut stream: TcpStream, mut queue: mpsc::Receiver<Request>) {
        loop {
            let mut in_flight = VecDeque::new();
            let end = self.serve(stream, &mut queue, &mut in_flight).await;
            for lost in in_flight {
                let answer = match (lost.opcode, &end) {
                    (packet::OP_CLOSE, _) => Ok(Vec::new()),
                    _ => Err(ClientError::ConnectionLoss),
                };
                let _ = lost.answer.send(answer);
            }
            if matches!(end, End::Closed) {
                return;
            }
            let limit = Duration::from_millis(self.granted.max(0) as u64 * 2);
            let mut last = String::new();
            stream = match timeout(limit, self.attach(&mut last)).await {
                Ok(Ok(stream)) => stream,
                _ => return expire(queue).await,
            };
        }
    }

    /// Uses one connection until it is lost or the session closed.
    async fn serve(
        &mut self,
        stream: TcpStream,
        queue: &mut mpsc::Receiver<Request>,
        in_flight: &mut VecDeque<InFlight>,
    ) -> End {
        let (mut reader, mut writer) = stream.into_split();
        let (frames_in, mut frames) = mpsc::channel(QUEUE);
        let pump = tokio::spawn(async move {
            while let Ok(frame) = read_frame(&mut reader).await {
                if frames_in.send(frame).await.is_err() {
                    return;
                }
            }
        });
        let third = Duration::from_millis((self.granted.max(3) / 3) as u64);
        let mut ping_at = Instant::now() + third;
        let mut heard = Instant::now();
        let end = loop {
            tokio::select! {
                frame = frames.recv() => match frame {
                    None => break End::Lost,
                    Some(frame) => {
                        heard = Instant::now();
                        match self.take(&frame, in_flight) {
                            Some(end) => break end,
                            None => continue,
                        }
                    }
                },
                request = queue.recv() => match request {
                    None => break End::Closed,
                    Some(request) => {
                        let bytes = self.send(request, in_flight);
                        ping_at = Instant::now() + third;
                        if writer.write_all(&bytes).await.is_err() {
                            break End::Lost;
                        }
                    }
                },
                () = sleep_until(ping_at) => {
                    let ping = packet::frame(|out| {
                        crate::jute::put_i32(out, packet::XID_PING);
                        crate::jute::put_i32(out, packet::OP_PING);
                    });
                    ping_at = Instant::now() + third;
                    if heard.elapsed() > third * 2 || writer.write_all(&ping).await.is_err() {
                        break End::Lost;
                    }
                }
            }
        };
        pump.abort();
        end
    }

    fn send(&mut self, request: Request, in_flight: &mut VecDeque<InFlight>) -> Vec<u8> {
        self.xid = if self.xid == i32::MAX { 1 } else { self.xid + 1 };
        let bytes = packet::frame(|out| {
            crate::jute::put_i32(out, self.xid);
            crate::jute::put_i32(out, request.opcode);
            out.extend_from_slice(&request.body);
        });
        in_flight.push_back(InFlight { xid: self.xid, opcode: request.opcode, answer: request.answer });
        bytes
    }

    /// Takes one frame; an end when the connection is of no more use.
    fn take(&mut self, frame: &[u8], in_flight: &mut VecDeque<InFlight>) -> Option<End> {
        let mut reader = Reader::new(frame);
        let Ok(header) = packet::decode_header(&mut reader) else { return Some(End::Lost) };
        if header.xid == packet::XID_PING || header.xid == packet::XID_EVENT {
            return None;
        }
        if header.zxid > 0 {
            self.identity.last_zxid = header.zxid;
        }
        match in_flight.front() {
            Some(first) if first.xid == header.xid => {}
            _ => return Some(End::Lost),
        }
        let first = in_flight.pop_front()?;
        let closing = first.opcode == packet::OP_CLOSE;
        let answer = match header.code {
            0 => Ok(reader.rest().to_vec()),
            code => Err(ClientError::Server(Code(code))),
        };
        let _ = first.answer.send(answer);
        closing.then_some(End::Closed)
    }
}

/// Answers everything that still comes with `Expired`.
async fn expire(mut queue: mpsc::Receiver<Request>) {
    while let Some(request) = queue.recv().await {
        let _ = request.answer.send(Err(ClientError::Expired));
    }
}
