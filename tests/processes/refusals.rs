//! What `serve` refuses, each with one clear message and its exit code.

use crate::client::Client;
use crate::ensemble::{COMMON, Ensemble, three_servers};
use crate::leftovers::fresh_dir;
use crate::server::{Ended, Server, free_port};
use crate::state::until;
use std::fs;
use std::net::TcpListener;
use zkctl::runtime::exit_code;

/// The code and everything that the one message must name.
#[track_caller]
fn assert_refused(ended: &Ended, code: u8, named: &[&str]) {
    assert_eq!(ended.code, Some(code.into()), "{}", ended.said);
    let refusal = ended.refusal();
    for name in named {
        assert!(refusal.contains(name), "`{name}` is missing: {refusal}");
    }
    assert_eq!(ended.said.matches("zkctl serve: ").count(), 1, "one message: {}", ended.said);
    assert!(!ended.said.contains("panicked"), "{}", ended.said);
}

fn alone(name: &str) -> Server {
    Server::new(fresh_dir(name).join("1"), free_port(), COMMON)
}

#[test]
fn a_client_port_in_use() {
    let mut server = alone("client-port");
    let port = server.port.to_string();
    let _taken = TcpListener::bind(("0.0.0.0", server.port)).unwrap();
    assert_refused(&server.start_in_vain(), exit_code::CLIENT_PORT, &["client port", &port]);
}

#[test]
fn an_election_port_in_use() {
    let mut servers = three_servers(&fresh_dir("election-port"), "");
    let port = peer_port(&servers[0], 2);
    let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let ended = servers[0].start_in_vain();
    assert_refused(&ended, exit_code::PEER_PORT, &["election port", &port.to_string()]);
}

/// It is bound while leading only, as by the original.
#[test]
fn a_quorum_port_in_use() {
    let mut servers = three_servers(&fresh_dir("quorum-port"), "");
    let ports: Vec<_> = servers.iter().map(|s| peer_port(s, 1)).collect();
    let _taken: Vec<_> = ports.iter().map(|p| TcpListener::bind(("127.0.0.1", *p)).unwrap()).collect();
    servers.iter_mut().for_each(Server::start);
    let (index, status) = until("the one that is elected gives up", || {
        servers.iter_mut().enumerate().find_map(|(i, s)| Some((i, s.ended()?)))
    });
    let ended = Ended { code: status.code(), said: servers[index].said() };
    assert_refused(&ended, exit_code::PEER_PORT, &["quorum port", &ports[index].to_string()]);
}

/// A port of the server's own line in its zoo.cfg: 1 is the quorum port, 2 the election port.
fn peer_port(server: &Server, field: usize) -> u16 {
    let config = fs::read_to_string(server.data().parent().unwrap().join("zoo.cfg")).unwrap();
    let sid = fs::read_to_string(server.data().join("myid")).unwrap();
    let line = format!("server.{}=", sid.trim());
    let members = config.lines().find_map(|l| l.strip_prefix(&line)).unwrap();
    members.split(':').nth(field).unwrap().parse().unwrap()
}

#[test]
fn a_data_directory_that_cannot_be_made() {
    let mut server = alone("no-directory");
    let file = server.data().join("file");
    fs::write(&file, "").unwrap();
    let below = file.join("data");
    server.configure(&format!("clientPort={}\ndataDir={}\n{COMMON}", server.port, below.display()));
    let ended = server.start_in_vain();
    assert_refused(&ended, exit_code::DATA_DIR, &["cannot make", &below.display().to_string()]);
}

#[test]
fn a_directory_in_which_nothing_can_be_written() {
    let mut server = alone("unwritable");
    server.configure(&format!("clientPort={}\ndataDir=/proc/self\n{COMMON}", server.port));
    assert_refused(&server.start_in_vain(), exit_code::DATA_DIR, &["/proc/self/version-2"]);
}

#[test]
fn a_missing_myid() {
    let mut servers = three_servers(&fresh_dir("no-myid"), "");
    fs::remove_file(servers[0].data().join("myid")).unwrap();
    let myid = servers[0].data().join("myid").display().to_string();
    assert_refused(&servers[0].start_in_vain(), exit_code::CONFIG, &["myid", &myid]);
}

#[test]
fn a_myid_that_is_no_number_or_no_member() {
    let mut servers = three_servers(&fresh_dir("wrong-myid"), "");
    for (text, named) in [("one\n", "one"), ("7\n", "7"), ("\n", "myid")] {
        fs::write(servers[0].data().join("myid"), text).unwrap();
        assert_refused(&servers[0].start_in_vain(), exit_code::CONFIG, &["myid", named]);
    }
}

#[test]
fn a_configuration_that_is_missing_or_wrong() {
    let mut server = alone("no-config");
    server.configure(&format!("clientPort=abc\ndataDir={}\n", server.data().display()));
    assert_refused(&server.start_in_vain(), exit_code::CONFIG, &["zoo.cfg", "clientPort", "abc"]);
    fs::remove_file(server.data().parent().unwrap().join("zoo.cfg")).unwrap();
    assert_refused(&server.start_in_vain(), exit_code::CONFIG, &["zoo.cfg"]);
}

#[test]
fn a_second_server_on_the_same_directory() {
    let ensemble = Ensemble::standalone("in-use", "");
    let data = ensemble.servers[0].data();
    let mut second = alone("in-use-second");
    second.configure(&format!("clientPort={}\ndataDir={}\n{COMMON}", second.port, data.display()));
    let ended = second.start_in_vain();
    assert_refused(&ended, exit_code::IN_USE, &["another", &data.display().to_string()]);
    Client::of(ensemble.servers[0].address()).create("/unharmed", b"");
}

#[test]
fn logs_in_the_snapshots_directory_when_they_belong_elsewhere() {
    let mut ensemble = Ensemble::standalone("moved-logs", "");
    let server = &mut ensemble.servers[0];
    Client::of(server.address()).create("/a", b"");
    server.stop();
    let (data, elsewhere) = (server.data(), server.data().with_file_name("logs"));
    let dirs = format!("dataDir={}\ndataLogDir={}\n", data.display(), elsewhere.display());
    server.configure(&format!("clientPort={}\n{dirs}{COMMON}", server.port));
    let ended = server.start_in_vain();
    assert_refused(&ended, exit_code::DATA_DIR, &["log.", &data.display().to_string(), "dataLogDir"]);
}
