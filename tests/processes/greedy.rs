//! Clients that ask for more than anybody can hold, and those whose end never arrives.

use crate::client::{Client, create_body, get_body, set_body};
use crate::ensemble::Ensemble;
use crate::server::Server;
use crate::state::until;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use zkctl::wire::connect::{ConnectRequest, ConnectResponse};
use zkctl::wire::errcode::ErrorCode;
use zkctl::wire::frame;
use zkctl::wire::opcode::OpCode;
use zkctl::wire::reply::put_multi_end;
use zkctl::wire::request::{MultiOp, RequestHeader, WatchedRequest};

/// As much as a znode may hold.
const BIG: usize = 1_000_000;
/// What a server may need while somebody asks for gigabytes.
const RESIDENT_MAX: u64 = 250 << 20;

fn with_big_znode(name: &str, lines: &str) -> (Ensemble, Client) {
    let ensemble = Ensemble::standalone(name, lines);
    let mut client = Client::of(ensemble.servers[0].address());
    let made = client.call(OpCode::Create, create_body("/a", &vec![7; BIG])).unwrap();
    assert!(made.err.is_ok());
    (ensemble, client)
}

fn resident(server: &Server) -> u64 {
    until("its memory is known", || server.metric("zk_resident_bytes")).parse().unwrap()
}

#[test]
fn a_multi_read_of_gigabytes_is_refused() {
    let (ensemble, mut client) = with_big_znode("greedy-multi", "");
    let mut body = Vec::new();
    for _ in 0..2_100 {
        MultiOp::GetData(WatchedRequest { path: "/a", watch: false }).encode(&mut body);
    }
    put_multi_end(&mut body);
    let reply = client.call(OpCode::MultiRead, body).unwrap();
    assert_eq!(reply.err, ErrorCode::MARSHALLINGERROR);
    assert_eq!(client.get("/a").0.len(), BIG);
    assert!(resident(&ensemble.servers[0]) < RESIDENT_MAX);
}

/// The requests of 3 GB of answers take 60 KB, and come before anybody reads.
#[test]
fn answers_are_made_as_they_are_taken() {
    let (ensemble, _keeps) = with_big_znode("greedy-reader", "");
    let server = &ensemble.servers[0];
    let (mut stream, _) = attach(server.address(), 0, [0; 16]);
    let mut asked = Vec::new();
    let count = 3_000;
    for xid in 1..=count {
        let open = frame::begin(&mut asked);
        RequestHeader { xid, op: OpCode::GetData.wire() }.encode(&mut asked);
        asked.extend_from_slice(&get_body("/a"));
        open.end(&mut asked);
    }
    stream.write_all(&asked).unwrap();
    until("it has begun to answer", || (stream.peek(&mut [0; 1]).unwrap() > 0).then_some(()));
    assert!(resident(server) < RESIDENT_MAX, "{} MB", resident(server) >> 20);
    for xid in 1..=count {
        let payload = read_frame(&mut stream).unwrap();
        assert_eq!(payload[..4], xid.to_be_bytes(), "answers come in the order of the requests");
        assert!(payload.len() > BIG);
    }
    assert!(resident(server) < RESIDENT_MAX, "{} MB", resident(server) >> 20);
}

/// A read sees what its own connection wrote before it and nothing that it wrote after, also when the
/// answers before it are more than are kept for a client that does not read.
#[test]
fn a_paused_client_reads_what_it_had_written_by_then() {
    let (_ensemble, mut client) = with_big_znode("greedy-order", "");
    client.create("/s", b"v0");
    let big = |_| (OpCode::GetData, get_body("/a"));
    let mut requests = vec![(OpCode::SetData, set_body("/s", b"v1"))];
    requests.extend((0..12).map(big));
    requests.push((OpCode::GetData, get_body("/s")));
    requests.push((OpCode::SetData, set_body("/s", b"v2")));
    // More than may wait between two writes that are both being decided.
    requests.extend((0..100).map(big));
    requests.push((OpCode::GetData, get_body("/s")));
    requests.push((OpCode::SetData, set_body("/s", b"v3")));
    requests.push((OpCode::GetData, get_body("/s")));
    let replies = client.pipeline(&requests).unwrap();
    let values: Vec<&[u8]> = [13, 115, 117].map(|at: usize| &replies[at].body[4..6]).to_vec();
    assert_eq!(values, [b"v1", b"v2", b"v3"]);
}

/// With one request allowed in flight, whoever writes without end is always at the limit.
#[test]
fn who_fills_the_server_does_not_silence_the_others() {
    let (ensemble, mut greedy) = with_big_znode("greedy-writer", "globalOutstandingLimit=1\n");
    let server = &ensemble.servers[0];
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || greedy.set_many("/a", b"x", 20_000));
        let mut others: Vec<_> = (0..8).map(|_| Client::of(server.address())).collect();
        let mut rounds = 0;
        while !writer.is_finished() || rounds == 0 {
            assert!(server.word("ruok").is_some());
            for other in &mut others {
                assert!(other.call(OpCode::Exists, get_body("/b")).is_ok());
            }
            rounds += 1;
        }
        writer.join().unwrap();
    });
}

/// Its client went on with another server and never said so here: the connection is closed after the
/// session's timeout, though the session lives.
#[test]
fn a_connection_whose_end_never_arrived_is_closed() {
    let ensemble = Ensemble::three("half-open", "minSessionTimeout=1000\n");
    let (mut left, response) = attach(ensemble.servers[0].address(), 0, [0; 16]);
    let (mut moved, again) = attach(ensemble.servers[1].address(), response.0, response.1);
    assert_eq!(again.0, response.0, "the session moved");
    left.set_nonblocking(true).unwrap();
    until("the forsaken connection is closed", || {
        let mut ping = Vec::new();
        let open = frame::begin(&mut ping);
        RequestHeader { xid: -2, op: OpCode::Ping.wire() }.encode(&mut ping);
        open.end(&mut ping);
        moved.write_all(&ping).unwrap();
        read_frame(&mut moved).expect("the session lives");
        matches!(left.read(&mut [0; 16]), Ok(0)).then_some(())
    });
}

/// Whoever waits in the backlog while the server has no file descriptor left is served when it has.
#[test]
fn a_server_out_of_file_descriptors_accepts_again() {
    let ensemble = Ensemble::standalone("descriptors", "");
    let server = &ensemble.servers[0];
    let mut writer = Client::of(server.address());
    let limit = 60;
    let pid = rustix::process::Pid::from_raw(server.pid() as i32);
    let limits = rustix::process::Rlimit { current: Some(limit), maximum: Some(limit) };
    rustix::process::prlimit(pid, rustix::process::Resource::Nofile, limits).unwrap();
    let idle: Vec<_> = (0..30).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    let mut last = TcpStream::connect(server.address()).unwrap();
    last.write_all(b"ruok").unwrap();
    until("it says that it cannot accept", || server.said().contains("trying again").then_some(()));
    // What the disk needs is left: the log, its mark, a directory's sync.
    writer.create("/meanwhile", b"x");
    until("the mark is renewed", || server.database().join("zkctl.durable").exists().then_some(()));
    drop(idle);
    last.set_read_timeout(Some(crate::state::DEADLINE)).unwrap();
    let mut answer = String::new();
    last.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "imok");
}

fn read_frame(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let mut payload = vec![0; i32::from_be_bytes(len) as usize];
    stream.read_exact(&mut payload)?;
    Ok(payload)
}

/// A bare connection in session, and the session with its password.
fn attach(server: SocketAddr, session: i64, password: [u8; 16]) -> (TcpStream, (i64, [u8; 16])) {
    until("a session is opened", || {
        let mut stream = TcpStream::connect(server).ok()?;
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout_ms: 1000,
            session,
            password: &password,
            read_only: None,
        };
        let mut out = Vec::new();
        let open = frame::begin(&mut out);
        request.encode(&mut out);
        open.end(&mut out);
        stream.write_all(&out).ok()?;
        let payload = read_frame(&mut stream).ok()?;
        let response = ConnectResponse::decode(&payload).unwrap();
        (response.timeout_ms > 0).then_some((stream, (response.session, response.password)))
    })
}
