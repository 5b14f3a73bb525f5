//! SIGTERM: every server stops in order and comes back with the same data.

use crate::client::Client;
use crate::ensemble::Ensemble;
use crate::trees::{assert_equal, assert_same};
use std::time::Duration;

/// What a stop may take here, where other tests use the machine; alone it is a few milliseconds.
const STOP_MAX: Duration = Duration::from_secs(5);

#[track_caller]
fn stop(ensemble: &mut Ensemble, index: usize) {
    let (took, status) = ensemble.servers[index].stop();
    assert_eq!(status.code(), Some(0), "{}", ensemble.servers[index].said());
    assert!(took < STOP_MAX, "took {took:?}");
    eprintln!("SIGTERM to the end of the process: {took:?}");
}

#[test]
fn a_standalone_server_stops_in_order_and_keeps_its_data() {
    let mut ensemble = Ensemble::standalone("stop-one", "");
    let mut client = Client::of(ensemble.servers[0].address());
    client.create("/a", b"");
    client.set_many("/a", b"value", 1000);
    // The session stays open: a stop must not wait for clients.
    let before = assert_equal(&ensemble);
    stop(&mut ensemble, 0);
    ensemble.servers[0].start();
    ensemble.servers[0].wait_serving();
    assert_same("the trees before and after", &before, &assert_equal(&ensemble));
    assert_eq!(client.get("/a").1.version, 1000, "the session goes on");
    assert_eq!(client.expired, 0);
}

#[test]
fn every_server_of_three_stops_in_order_and_keeps_its_data() {
    let mut ensemble = Ensemble::three("stop-three", "");
    let mut client = Client::connect(&ensemble.addresses(), 0);
    client.create("/a", b"");
    client.set_many("/a", b"value", 1000);
    // One by one under a client, the leader last: each comes back before the next goes.
    let leader = ensemble.leader();
    for index in [(leader + 1) % 3, (leader + 2) % 3, leader] {
        stop(&mut ensemble, index);
        client.set("/a", b"meanwhile");
        ensemble.servers[index].start();
        ensemble.wait_serving();
    }
    let before = assert_equal(&ensemble);
    for index in 0..3 {
        stop(&mut ensemble, index);
    }
    for server in &mut ensemble.servers {
        server.start();
    }
    assert_same("the trees before and after", &before, &assert_equal(&ensemble));
    assert_eq!(client.get("/a").1.version, 1003);
}

#[test]
fn a_stop_during_writes_loses_nothing_acknowledged() {
    let mut ensemble = Ensemble::standalone("stop-loaded", "");
    let address = ensemble.servers[0].address();
    Client::of(address).create("/a", b"");
    let writer = std::thread::spawn(move || {
        let mut client = Client::of(address);
        let body = crate::client::set_body("/a", b"x");
        let batch = vec![(zkctl::wire::opcode::OpCode::SetData, body); 20];
        let mut acknowledged = 0;
        while let Ok(replies) = client.pipeline(&batch) {
            acknowledged += replies.len();
        }
        acknowledged
    });
    let mut reader = Client::of(address);
    crate::state::until("writes are under way", || (reader.get("/a").1.version > 200).then_some(()));
    stop(&mut ensemble, 0);
    let acknowledged = writer.join().unwrap();
    ensemble.servers[0].start();
    let found = reader.get("/a").1.version as usize;
    assert!(
        found >= acknowledged && found <= acknowledged + 20,
        "{found} found, {acknowledged} acknowledged"
    );
}
