//! Four-letter words through the programs that people type them into.
//!
//! `WORD_ROUNDS` asks more often than the default run. No answer may be lost to a reset, however the
//! program ends its line and whenever it closes.

use crate::ensemble::Ensemble;
use crate::state::{DEADLINE, setting, until, within};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

/// What is asked in turn, and how the answer begins and ends on a leader.
const ASKED: [(&str, &str, &str); 7] = [
    ("ruok", "imok", "imok"),
    ("srvr", "Zookeeper version: 3.9.5-zkctl.", "\n"),
    ("stat", "Zookeeper version: 3.9.5-zkctl.", "\n"),
    ("mntr", "zk_version\t3.9.5-zkctl.", "\n"),
    ("conf", "clientPort=", "\n"),
    ("envi", "Environment:\n", "\n"),
    ("isro", "rw", "rw"),
];

/// Asks through a program whose stdin stays open until the server closes, as at a terminal, or ends
/// right behind the word, as in a pipe.
fn ask(program: &[&str], port: u16, line: &str, at_terminal: bool) -> String {
    let mut child = Command::new(program[0])
        .args(&program[1..])
        .args(["127.0.0.1", &port.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|e| panic!("{}: {e}; run tests/install-deps", program[0]));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(line.as_bytes()).unwrap();
    let held = at_terminal.then_some(stdin);
    let mut stdout = child.stdout.take().unwrap();
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut answer = Vec::new();
        let _ = stdout.read_to_end(&mut answer);
        let _ = send.send(answer);
    });
    let answer = receive.recv_timeout(DEADLINE);
    drop(held);
    let _ = child.kill();
    let _ = child.wait();
    let answer = answer.unwrap_or_else(|_| panic!("{program:?} with {line:?}: the connection stays open"));
    String::from_utf8_lossy(&answer).into_owned()
}

fn ask_all(program: &[&str], at_terminal: bool) {
    let ensemble = Ensemble::standalone("words", "");
    let port = ensemble.servers[0].port;
    for round in 0..setting("WORD_ROUNDS", 200) as usize {
        let (word, begin, end) = ASKED[round % ASKED.len()];
        for line_end in ["\n", "\r\n"] {
            let answer = ask(program, port, &format!("{word}{line_end}"), at_terminal);
            // telnet speaks itself first.
            let body = answer.rsplit("Escape character is '^]'.\r\n").next().unwrap();
            let body = body.rsplit("Escape character is '^]'.\n").next().unwrap();
            assert!(body.starts_with(begin), "round {round}: {program:?} {word}{line_end:?}: {answer:?}");
            assert!(body.ends_with(end), "round {round}: {program:?} {word}{line_end:?}: {answer:?}");
        }
    }
}

#[test]
fn through_nc_traditional() {
    ask_all(&["nc.traditional"], false);
}

#[test]
fn through_nc_openbsd() {
    ask_all(&["nc.openbsd"], false);
}

/// With -N the client's side of the connection is closed right behind the word.
#[test]
fn through_nc_openbsd_that_closes_early() {
    ask_all(&["nc.openbsd", "-N"], false);
}

#[test]
fn through_telnet() {
    ask_all(&["telnet"], true);
}

#[test]
fn a_leader_counts_its_followers_and_a_silent_ensemble_says_so() {
    let mut ensemble = Ensemble::three("mntr", "");
    let leader = ensemble.leader();
    let of_leader = |key: &str| ensemble.servers[leader].metric(key);
    until("both followers are counted", || (of_leader("zk_followers")? == "2").then_some(()));
    until("both are synchronised", || (of_leader("zk_synced_followers")? == "2").then_some(()));
    let follower = ensemble.follower();
    assert_eq!(ensemble.servers[follower].metric("zk_server_state").as_deref(), Some("follower"));
    assert_eq!(ensemble.servers[follower].metric("zk_followers"), None);
    assert_eq!(of_leader("zk_server_state").as_deref(), Some("leader"));

    for index in (0..3).filter(|i| *i != leader) {
        ensemble.servers[index].kill();
    }
    let silent = within(DEADLINE, || {
        let answer = ensemble.servers[leader].word("srvr")?;
        (answer == zkctl::wire::words::NOT_SERVING).then_some(())
    });
    assert!(silent.is_some(), "a leader without a quorum stops serving");
    assert_eq!(ensemble.servers[leader].word("ruok").as_deref(), Some("imok"));
}

#[test]
fn a_word_that_is_not_allowed_is_refused_and_srvr_always_answers() {
    let ensemble = Ensemble::standalone("whitelist", "4lw.commands.whitelist=isro\n");
    let server = &ensemble.servers[0];
    let refused = "ruok is not executed because it is not in the whitelist.\n";
    assert_eq!(server.word("ruok").as_deref(), Some(refused));
    assert_eq!(server.word("isro").as_deref(), Some("rw"));
    assert!(server.report().is_some());
}
