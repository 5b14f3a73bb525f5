//! Disks that fail, fill up, are slow or stall: nothing acknowledged is lost, and the others go on.
//!
//! `DISK_FAULT_ROUNDS` repeats each fault on one ensemble.

use crate::aftermath::{check, finish};
use crate::ballast::fill;
use crate::ensemble::Ensemble;
use crate::load::Writers;
use crate::rig::Rig;
use crate::server::Server;
use crate::state::{setting, until};
use crate::strace::Strace;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use zkctl::wire::words::Mode;

const WRITERS: u64 = 3;
/// Acknowledged writes that show that an ensemble goes on.
const GOES_ON: u64 = 60;
/// Writes that fill what little room is left.
const SLACK: u64 = 2000;
/// What the core ends a server with whose disk failed.
const DISK_FAILED: i32 = 1;

/// A fault, and what the server says of it.
#[derive(Clone, Copy, Debug)]
struct Fault {
    name: &'static str,
    /// Which system calls fail.
    calls: &'static str,
    how: &'static str,
    words: &'static str,
}

const EIO: Fault =
    Fault { name: "fault: fdatasync EIO", calls: "fdatasync", how: "error=EIO", words: "Input/output error" };
const ENOSPC: Fault = Fault {
    name: "fault: write ENOSPC",
    calls: "pwrite64",
    how: "error=ENOSPC",
    words: "No space left on device",
};

fn rounds() -> u64 {
    setting("DISK_FAULT_ROUNDS", 1)
}

/// Where strace writes what it sees of a server.
fn trace_file(server: &Server) -> PathBuf {
    server.data().with_file_name("strace")
}

/// The server ends by itself, saying which file and why.
fn assert_ends(server: &mut Server, words: &str, said_before: usize) {
    let status = until("the server whose disk failed ends", || server.ended());
    let said = server.said()[said_before..].to_owned();
    assert_eq!(status.code(), Some(DISK_FAILED), "{said}");
    let reason = said.lines().find(|l| l.starts_with("zkctl serve: ")).unwrap_or_else(|| panic!("{said}"));
    let directory = server.data().display().to_string();
    assert!(reason.contains(words) && reason.contains(&directory), "{reason}");
    assert!(reason.contains("not trying again"), "{reason}");
}

/// After a failure the same file is not tried a second time: the page cache may claim what the disk lacks.
fn assert_not_retried(strace: &Strace) {
    let mut failed: BTreeMap<String, u64> = BTreeMap::new();
    for line in strace.lines() {
        let Some(path) = line.split(['<', '>']).nth(1).map(str::to_owned) else { continue };
        if line.contains("(INJECTED)") || failed.contains_key(&path) {
            *failed.entry(path).or_default() += 1;
        }
    }
    assert!(!failed.is_empty(), "void: nothing failed");
    assert!(failed.values().all(|count| *count == 1), "tried again: {failed:?}");
}

fn strike(ensemble: &mut Ensemble, writers: &Writers, victim: usize, fault: Fault) {
    let server = &mut ensemble.servers[victim];
    let before = server.said().len();
    let strace = Strace::of_process(server.pid(), fault.calls, fault.how, &trace_file(server));
    assert_ends(server, fault.words, before);
    assert_not_retried(&strace);
    drop(strace);
    writers.wait_for(GOES_ON);
    ensemble.servers[victim].start();
    check(ensemble, writers);
}

fn failing(name: &str, fault: Fault) {
    let mut ensemble = Ensemble::three(name, "");
    let writers = Writers::start(&ensemble.addresses(), WRITERS);
    for _ in 0..rounds() {
        writers.wait_for(GOES_ON);
        let leader = ensemble.leader();
        strike(&mut ensemble, &writers, leader, fault);
        let follower = ensemble.follower();
        strike(&mut ensemble, &writers, follower, fault);
    }
    finish(&ensemble, writers, fault.name, 2 * rounds());
}

#[test]
fn a_failed_sync_ends_the_server_and_is_never_retried() {
    failing("eio", EIO);
}

#[test]
fn a_write_without_room_ends_the_server() {
    failing("enospc", ENOSPC);
}

#[test]
fn a_follower_with_a_slow_disk_holds_up_nobody() {
    let ensemble = Ensemble::three("slow", "");
    let writers = Writers::start(&ensemble.addresses(), WRITERS);
    let follower = &ensemble.servers[ensemble.follower()];
    let strace = Strace::of_process(follower.pid(), "fdatasync", "delay_enter=300000", &trace_file(follower));
    until("its disk is slow", || strace.lines().first().cloned());
    // Three hundred writes would take it minutes, were each waited for.
    writers.wait_for(300);
    assert_eq!(follower.mode(), Some(Mode::Follower));
    drop(strace);
    finish(&ensemble, writers, "fault: slow sync", 1);
}

/// Short ticks: syncLimit is a second.
const SHORT_TICKS: &str = "tickTime=200\ninitLimit=25\nsyncLimit=5\nmaxSessionTimeout=60000\n";
/// Longer than any test waits.
const FOR_EVER: &str = "delay_enter=600000000";

/// The lane of the log is a thread of its own, beside which everything else goes on: pings are answered.
#[test]
fn a_leader_whose_disk_stalls_hands_over() {
    let ensemble = Ensemble::three("stall", SHORT_TICKS);
    let writers = Writers::start(&ensemble.addresses(), WRITERS);
    writers.wait_for(GOES_ON);
    for _ in 0..rounds() {
        let leader = ensemble.leader();
        let server = &ensemble.servers[leader];
        let before = server.said().len();
        let strace = Strace::of_thread(server.pid(), "disk-log", "fdatasync", FOR_EVER, &trace_file(server));
        let others = || (0..3).filter(|i| *i != leader);
        until("another leads", || others().find(|i| ensemble.servers[*i].mode() == Some(Mode::Leader)));
        writers.wait_for(GOES_ON);
        // It answers, and serves nobody what it cannot keep up with.
        assert_eq!(server.mode(), None, "it neither leads nor follows");
        assert!(server.said()[before..].contains("our disk has not answered"), "{}", server.said());
        assert!(server.word("ruok").is_some(), "it lives");
        drop(strace);
        until("it follows when its disk has answered", || {
            (server.mode() == Some(Mode::Follower)).then_some(())
        });
        check(&ensemble, &writers);
    }
    finish(&ensemble, writers, "fault: stalled leader", rounds());
}

/// With the loop itself in the sync, as it is while the disk is fast and little is to be done, not even
/// pings are answered: the others notice.
#[test]
fn a_leader_that_stalls_whole_is_replaced() {
    let rig = Rig::three("stall-whole", SHORT_TICKS);
    let ensemble = &rig.ensemble;
    let leader = ensemble.leader();
    let server = &ensemble.servers[leader];
    // A client that asks the stalled one would wait for its answer.
    let mut addresses = ensemble.addresses();
    addresses.remove(leader);
    let writers = Writers::start(&addresses, 1);
    writers.wait_for(GOES_ON);
    let strace = Strace::of_thread(server.pid(), "zkctl", "fdatasync", FOR_EVER, &trace_file(server));
    let others = || (0..3).filter(|i| *i != leader);
    until("another leads", || others().find(|i| ensemble.servers[*i].mode() == Some(Mode::Leader)));
    writers.wait_for(GOES_ON);
    assert!(server.word("ruok").is_none(), "void: the loop goes on");
    drop(strace);
    until("it follows when its disk has answered", || (server.mode() == Some(Mode::Follower)).then_some(()));
    finish(ensemble, writers, "fault: stalled leader", 1);
}

#[test]
fn a_full_disk_ends_the_server_and_room_brings_it_back() {
    // Nobody looks at the room that is left: it comes as it does between two looks.
    let blind = "zkctl.disk.softMb=0\nzkctl.disk.hardMb=0\n";
    let mut rig = Rig::three("full", &format!("snapCount=100\npreAllocSize=64\n{blind}"));
    let writers = Writers::start(&rig.ensemble.addresses(), WRITERS).hold_back(SLACK);
    for round in 0..rounds() {
        writers.wait_for(GOES_ON);
        let victim = if round % 2 == 0 { rig.ensemble.follower() } else { rig.ensemble.leader() };
        let before = rig.ensemble.servers[victim].said().len();
        let ballast = fill(&rig.ensemble.servers[victim].data(), 200 << 10);
        assert_ends(&mut rig.ensemble.servers[victim], "No space left on device", before);
        writers.wait_for(GOES_ON);
        fs::remove_file(ballast).unwrap();
        rig.ensemble.servers[victim].start();
        rig.wait_serving();
        check(&rig.ensemble, &writers);
    }
    finish(&rig.ensemble, writers, "fault: disk full", rounds());
}
