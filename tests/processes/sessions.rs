//! Sessions whose end is proposed, and not decided: nobody is told that they are over.

use crate::ensemble::Ensemble;
use crate::framed::Framed;
use crate::leftovers::signal;
use crate::state::until;
use rustix::process::Signal;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use zkctl::wire::connect::ConnectRequest;
use zkctl::wire::frame;

const PATIENCE: Duration = Duration::from_secs(60);
/// How long a server is listened to that should say nothing.
const SILENCE: Duration = Duration::from_millis(300);
const SESSION_MS: i32 = 4000;
/// Sessions end soon, and a leader is patient with followers that are silent.
const LINES: &str = "tickTime=200\nsyncLimit=600\n";

/// A session's id and password.
#[derive(Clone, Copy)]
struct Session(i64, [u8; 16]);

fn hello(session: &Session) -> ConnectRequest<'_> {
    ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: 0,
        timeout_ms: SESSION_MS,
        session: session.0,
        password: &session.1,
        read_only: Some(false),
    }
}

/// What a server answers to a session that is shown; 0: it is over.
fn attach(server: SocketAddr, session: &Session) -> io::Result<Session> {
    let mut stream = Framed::dial(server, PATIENCE, PATIENCE)?;
    let (_, id, password) = stream.shake(&hello(session))?;
    Ok(Session(id, password))
}

/// A leader that has proposed a session's end, and whose followers do not answer: ensemble, leader, session.
fn undecided(name: &str) -> (Ensemble, usize, Session) {
    let ensemble = Ensemble::three(name, LINES);
    let leader = ensemble.leader();
    let server = &ensemble.servers[leader];
    let session = attach(server.address(), &Session(0, [0; 16])).unwrap();
    followers(leader).for_each(|f| signal(ensemble.servers[f].pid(), Signal::STOP));
    until("the session's end is proposed", || {
        (server.metric("zk_stale_sessions_expired")? == "1").then_some(())
    });
    (ensemble, leader, session)
}

fn followers(leader: usize) -> impl Iterator<Item = usize> {
    (0..3).filter(move |i| *i != leader)
}

/// Shows the session to a leader that does not know whether it is over: it says nothing.
fn asks_in_vain(ensemble: &Ensemble, leader: usize, session: &Session) -> Framed {
    let mut stream = Framed::dial(ensemble.servers[leader].address(), PATIENCE, SILENCE).unwrap();
    let mut out = Vec::new();
    let open = frame::begin(&mut out);
    hello(session).encode(&mut out);
    open.end(&mut out);
    stream.send(&out).unwrap();
    let error = stream.frame().unwrap_err();
    assert!(matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{error}");
    stream
}

#[test]
fn a_session_is_over_once_its_end_is_decided() {
    let (ensemble, leader, session) = undecided("session-decided");
    let mut waiting = asks_in_vain(&ensemble, leader, &session);
    followers(leader).for_each(|f| signal(ensemble.servers[f].pid(), Signal::CONT));
    let payload = until("the handshake is answered", || waiting.frame().ok());
    let answer = zkctl::wire::connect::ConnectResponse::decode(&payload).unwrap();
    assert_eq!((answer.session, answer.timeout_ms), (0, 0), "the session is over");
}

#[test]
fn a_server_alone_says_at_once_what_is_over() {
    let ensemble = Ensemble::standalone("session-alone", "tickTime=200\n");
    let server = &ensemble.servers[0];
    let session = attach(server.address(), &Session(0, [0; 16])).unwrap();
    assert_eq!(attach(server.address(), &session).unwrap().0, session.0, "it goes on");
    until("it expires", || (server.metric("zk_stale_sessions_expired")? == "1").then_some(()));
    assert_eq!(attach(server.address(), &session).unwrap().0, 0, "it is over");
}

/// Seed 22901 of the simulator: a leader without its quorum said that a session was over whose end it had only
/// proposed, and its successor gave the session back.
#[test]
fn a_session_whose_end_was_only_proposed_goes_on() {
    let (mut ensemble, leader, session) = undecided("session-undecided");
    asks_in_vain(&ensemble, leader, &session);
    // With them dies what the leader has sent and they have not read.
    ensemble.servers.iter_mut().for_each(crate::server::Server::kill);
    followers(leader).for_each(|f| ensemble.servers[f].start());
    let again = until("a successor answers", || {
        followers(leader).find_map(|f| attach(ensemble.servers[f].address(), &session).ok())
    });
    assert_eq!(again.0, session.0, "the session goes on");
}
