//! Disks that fill up to their reserve and are emptied again: no server ends, nothing acknowledged is lost.
//!
//! Each server has a file system of its own, which a file of the wanted length fills.
//! `DISK_FAULT_ROUNDS` repeats the whole on one ensemble.

use crate::aftermath::{self, check};
use crate::ballast::fill;
use crate::client::{Client, create_body, get_body, set_body};
use crate::ensemble::{COMMON, Ensemble};
use crate::framed::Framed;
use crate::images::Image;
use crate::load::Writers;
use crate::rig::Rig;
use crate::server::{Server, free_port};
use crate::state::{setting, until};
use std::cell::RefCell;
use std::fs;
use zkctl::wire::connect::ConnectRequest;
use zkctl::wire::errcode::ErrorCode;
use zkctl::wire::opcode::OpCode;
use zkctl::wire::words::Mode;

const WRITERS: u64 = 3;
/// Acknowledged writes that show that an ensemble goes on.
const GOES_ON: u64 = 60;
/// Writes beyond those that are waited for: logs and snapshots of many rounds must leave the disks room.
const SLACK: u64 = 1000;
const MB: u64 = 1 << 20;
/// Short ticks, and marks far from each other.
const LINES: &str = "tickTime=200\ninitLimit=25\nsyncLimit=50\nmaxSessionTimeout=60000\nsnapCount=100000\n\
                     zkctl.disk.softMb=60\nzkctl.disk.hardMb=20\n";
/// Free bytes between the marks, and below both.
const LITTLE: u64 = 40 * MB;
const NONE: u64 = 10 * MB;

fn rounds() -> u64 {
    setting("DISK_FAULT_ROUNDS", 1)
}

/// Leaves so much on a server's file system.
fn leave(server: &Server, bytes: u64) {
    fill(&server.data(), bytes);
}

fn empty(server: &Server) {
    fs::remove_file(server.data().join("ballast")).unwrap();
}

fn metric_is(server: &Server, key: &str, value: &str) -> Option<()> {
    (server.metric(key)? == value).then_some(())
}

fn leads(ensemble: &Ensemble, among: impl Fn(usize) -> bool) -> Option<usize> {
    (0..ensemble.servers.len())
        .find(|i| among(*i) && matches!(ensemble.servers[*i].mode(), Some(Mode::Leader | Mode::Standalone)))
}

/// All have been emptied and know it, so that nobody hands over any more.
fn wait_ample(ensemble: &Ensemble) {
    for server in &ensemble.servers {
        until("it has room", || metric_is(server, "zk_disk_room", "ample"));
    }
}

/// As `aftermath::finish`, and no server has ended.
fn finish(ensemble: &mut Ensemble, writers: Writers, fault: &str, count: u64) {
    aftermath::finish(ensemble, writers, fault, count);
    let ended = ensemble.servers.iter_mut().filter_map(Server::ended).count();
    assert_eq!(ended, 0, "no server ended");
}

/// A write is answered with the error, a read behind it on the same connection with the data.
fn assert_refuses(server: &Server, client: &mut Client) {
    let write = (OpCode::Create, create_body("/never", b""));
    let replies = until("a write and a read are answered", || {
        client.pipeline(&[write.clone(), (OpCode::GetData, get_body("/load"))]).ok()
    });
    let errors: Vec<_> = replies.iter().map(|r| r.err).collect();
    assert_eq!(errors, [ErrorCode::OPERATIONTIMEOUT, ErrorCode::OK], "{}", server.said());
}

#[test]
fn a_leader_with_little_room_hands_over_and_without_any_stays_away_until_there_is_some() {
    let mut rig = Rig::three("little-room", LINES);
    let writers = Writers::start(&rig.ensemble.addresses(), WRITERS).hold_back(SLACK);
    for _ in 0..rounds() {
        writers.wait_for(GOES_ON);
        let leader = rig.ensemble.leader();
        let server = &rig.ensemble.servers[leader];
        until("its room is measured", || metric_is(server, "zk_disk_room", "ample"));
        leave(server, LITTLE);
        until("another leads", || leads(&rig.ensemble, |i| i != leader));
        until("it follows", || (server.mode() == Some(Mode::Follower)).then_some(()));
        until("it says so", || metric_is(server, "zk_disk_room", "low"));
        writers.wait_for(GOES_ON);
        leave(server, NONE);
        until("it leaves", || server.said().contains("staying away").then_some(()));
        until("it serves nobody", || server.mode().is_none().then_some(()));
        assert!(server.word("ruok").is_some(), "it lives");
        writers.wait_for(GOES_ON);
        empty(server);
        wait_ample(&rig.ensemble);
        rig.wait_serving();
        check(&rig.ensemble, &writers);
    }
    finish(&mut rig.ensemble, writers, "fault: leader's disk almost full", rounds());
}

#[test]
fn with_all_disks_full_reads_are_served_and_writes_refused_until_there_is_room() {
    let mut rig = Rig::three("no-room", LINES);
    let writers = Writers::start(&rig.ensemble.addresses(), WRITERS).hold_back(SLACK);
    for _ in 0..rounds() {
        writers.wait_for(GOES_ON);
        let mut clients: Vec<_> = rig.ensemble.addresses().into_iter().map(Client::of).collect();
        rig.ensemble.servers.iter().for_each(|s| leave(s, NONE));
        let servers = &rig.ensemble.servers;
        let refusing = |i: usize| metric_is(&servers[i], "zk_writes_refused", "1").is_some();
        let leader = until("the leader refuses writes", || leads(&rig.ensemble, refusing));
        let follower = rig.ensemble.follower();
        for index in [leader, follower] {
            assert_refuses(&servers[index], &mut clients[index]);
        }
        servers.iter().for_each(empty);
        wait_ample(&rig.ensemble);
        writers.wait_for(GOES_ON);
        rig.wait_serving();
        check(&rig.ensemble, &writers);
    }
    finish(&mut rig.ensemble, writers, "fault: all disks almost full", rounds());
}

#[test]
fn followers_without_room_leave_one_by_one_and_the_last_stays() {
    let mut rig = Rig::three("followers-room", LINES);
    let writers = Writers::start(&rig.ensemble.addresses(), WRITERS).hold_back(SLACK);
    writers.wait_for(GOES_ON);
    let leader = rig.ensemble.leader();
    let (first, second) = ((leader + 1) % 3, (leader + 2) % 3);
    let servers = &rig.ensemble.servers;
    // A session cannot be made where none can be written.
    let mut client = Client::of(servers[second].address());
    leave(&servers[first], NONE);
    until("the quorum does without the first", || servers[first].mode().is_none().then_some(()));
    writers.wait_for(GOES_ON);
    leave(&servers[second], NONE);
    until("there is no quorum with room", || metric_is(&servers[leader], "zk_writes_refused", "1"));
    until("the second stays", || (servers[second].mode() == Some(Mode::Follower)).then_some(()));
    assert_refuses(&servers[second], &mut client);
    empty(&servers[first]);
    writers.wait_for(GOES_ON);
    empty(&servers[second]);
    wait_ample(&rig.ensemble);
    rig.wait_serving();
    finish(&mut rig.ensemble, writers, "fault: followers' disks almost full", 1);
}

/// Short sessions, so that some would expire while nothing can be written.
const ALONE: &str = "tickTime=100\nmaxSessionTimeout=1000\nzkctl.disk.softMb=30\nzkctl.disk.hardMb=20\n";
/// Longer than a session there may be silent.
const SILENCE_MS: u64 = 3000;

fn number(server: &Server, key: &str) -> u64 {
    until(key, || server.metric(key)?.parse().ok())
}

fn opens_session(server: &Server) -> bool {
    let wait = std::time::Duration::from_secs(5);
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: 0,
        timeout_ms: 1000,
        session: 0,
        password: &[0; 16],
        read_only: Some(false),
    };
    let mut stream = Framed::dial(server.address(), wait, wait).unwrap();
    stream.shake(&request).is_ok()
}

#[test]
fn a_server_alone_without_room_keeps_its_sessions() {
    let image = RefCell::new(None);
    let mut ensemble = Ensemble::start("alone-full", |dir| {
        image.replace(Some(Image::fresh(dir.join("1.ext4"), dir.join("1/data"), 128 * MB)));
        vec![Server::new(dir.join("1"), free_port(), &format!("{COMMON}{ALONE}"))]
    });
    let server = &ensemble.servers[0];
    let mut client = Client::of(server.address());
    client.create("/load", b"x");
    let silent = Client::of(server.address());
    let mut ending = Client::of(server.address());
    leave(server, NONE);
    until("it refuses writes", || metric_is(server, "zk_writes_refused", "1"));
    assert_refuses(server, &mut client);
    let end = ending.call(OpCode::CloseSession, Vec::new()).unwrap();
    assert_eq!(end.err, ErrorCode::OPERATIONTIMEOUT, "its session is not over yet");
    assert!(!opens_session(server), "there is no room for another session");
    let (began, expired) = (number(server, "zk_uptime"), number(server, "zk_stale_sessions_expired"));
    until("sessions should have expired", || {
        (number(server, "zk_uptime") > began + SILENCE_MS).then_some(())
    });
    assert_eq!(number(server, "zk_stale_sessions_expired"), expired, "{}", server.said());
    assert_eq!((client.get("/load").0, client.expired), (b"x".to_vec(), 0), "its session goes on");
    empty(server);
    until("what is silent expires when there is room", || {
        (number(server, "zk_stale_sessions_expired") >= expired + 2).then_some(())
    });
    Client::of(server.address()).create("/after", b"");
    drop(silent);
    assert!(ensemble.servers[0].ended().is_none(), "it never ended");
    ensemble.servers[0].kill();
    drop(image.take());
}

/// Nobody fills this disk but the writes themselves, as fast as they go, by the marks that nobody set: the
/// server notices before the last byte.
#[test]
fn a_server_that_fills_its_disk_itself_does_not_end() {
    let image = RefCell::new(None);
    let mut ensemble = Ensemble::start("fills-itself", |dir| {
        image.replace(Some(Image::fresh(dir.join("1.ext4"), dir.join("1/data"), 128 * MB)));
        let lines = "preAllocSize=16384\nsnapCount=1000\n";
        vec![Server::new(dir.join("1"), free_port(), &format!("{COMMON}{lines}"))]
    });
    let server = &ensemble.servers[0];
    let mut client = Client::of(server.address());
    client.create("/load", b"x");
    leave(server, 50 * MB);
    let data = vec![7; 100_000];
    let mut done = 0;
    until("the disk is full", || {
        // What is in flight at once is more than the reserve.
        let burst: Vec<_> = (0..200).map(|_| (OpCode::SetData, set_body("/load", &data))).collect();
        let replies = client.pipeline(&burst).unwrap_or_else(|e| panic!("{e}: {}", server.said()));
        let ok = replies.iter().filter(|r| r.err.is_ok()).count();
        assert!(replies.iter().all(|r| r.err.is_ok() || r.err == ErrorCode::OPERATIONTIMEOUT));
        done += ok;
        (ok == 0 && metric_is(server, "zk_writes_refused", "1").is_some()).then_some(())
    });
    assert!(done > 100, "void: {done} writes");
    assert_eq!(client.get("/load").0, data);
    eprintln!("full by {done} writes of 100 kB; refused {}", number(server, "zk_refused_writes_count"));
    empty(server);
    until("it goes on", || {
        client.call(OpCode::SetData, set_body("/load", &data)).is_ok_and(|r| r.err.is_ok()).then_some(())
    });
    drop(client);
    ensemble.servers[0].kill();
    ensemble.servers[0].start();
    ensemble.servers[0].wait_serving();
    assert_eq!(Client::of(ensemble.servers[0].address()).get("/load").0, data);
    ensemble.servers[0].kill();
    drop(image.take());
}
