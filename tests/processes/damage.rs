//! Damaged files: what was durable is refused with its position, a torn tail is cut.

use crate::client::Client;
use crate::ensemble::{Ensemble, three_servers};
use crate::server::Server;
use std::fs;
use zkctl::runtime::exit_code;

/// A standalone server that has written some, stopped in order: all of it is durable.
fn written(name: &str) -> Ensemble {
    let mut ensemble = Ensemble::standalone(name, "");
    let mut client = Client::of(ensemble.servers[0].address());
    client.create("/a", b"");
    client.set_many("/a", &[0x55; 100], 200);
    client.close();
    ensemble.servers[0].stop();
    ensemble
}

/// Where the value that was written stands in a file.
fn values(bytes: &[u8]) -> Vec<usize> {
    let windows = bytes.windows(100).enumerate();
    windows.filter(|(_, w)| w.iter().all(|b| *b == 0x55)).map(|(at, _)| at).collect()
}

/// Flips a bit of a value, in the newest of the files that hold the most of them; returns its name.
fn flip(server: &Server, prefix: &str) -> String {
    let files = server.files(prefix);
    let file = files.into_iter().max_by_key(|f| values(&fs::read(f).unwrap()).len()).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let found = values(&bytes);
    bytes[found[found.len() / 2]] ^= 0x40;
    fs::write(&file, bytes).unwrap();
    file.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn a_damaged_record_below_the_durable_mark() {
    let mut ensemble = written("damaged-log");
    let server = &mut ensemble.servers[0];
    let name = flip(server, "log.");
    for _ in 0..2 {
        let ended = server.start_in_vain();
        assert_eq!(ended.code, Some(exit_code::DAMAGED.into()), "{}", ended.said);
        let refusal = ended.refusal();
        assert!(refusal.contains(&name) && refusal.contains("corrupt at offset"), "{refusal}");
    }
}

/// As when a server that waited for its leader is made a standalone one.
#[test]
fn an_untrusted_database_is_not_served_alone() {
    let mut ensemble = written("untrusted-alone");
    let server = &mut ensemble.servers[0];
    let mark = server.database().join("zkctl.untrusted");
    fs::write(&mark, b"log.1 is corrupt at offset 99; lost are the zxids behind 0x1\n").unwrap();
    let ended = server.start_in_vain();
    assert_eq!(ended.code, Some(exit_code::DAMAGED.into()), "{}", ended.said);
    for part in ["log.1 is corrupt at offset 99", "remove zkctl.untrusted"] {
        assert!(ended.refusal().contains(part), "{}", ended.said);
    }
    fs::remove_file(mark).unwrap();
    server.start();
    server.wait_serving();
    assert_eq!(Client::of(server.address()).get("/a").1.version, 200);
}

/// A log directory that is not mounted after a boot looks like an empty one.
#[test]
fn a_lost_log_directory_is_not_voted_with() {
    let mut ensemble = Ensemble::start("lost-log-dir", |dir| {
        let servers = three_servers(dir, "snapCount=100\n");
        for server in &servers {
            let home = server.data().parent().unwrap().to_owned();
            let zoo_cfg = fs::read_to_string(home.join("zoo.cfg")).unwrap();
            server.configure(&format!("{zoo_cfg}dataLogDir={}\n", home.join("txlog").display()));
        }
        servers
    });
    let mut client = Client::connect(&ensemble.addresses(), 0);
    client.create("/a", b"");
    client.set_many("/a", b"x", 300);
    let lost = ensemble.follower();
    let server = &mut ensemble.servers[lost];
    crate::state::until("it has a snapshot", || (server.files("snapshot.").len() > 1).then_some(()));
    server.stop();
    let log_dir = server.data().with_file_name("txlog");
    fs::rename(&log_dir, log_dir.with_file_name("elsewhere")).unwrap();
    fs::create_dir(&log_dir).unwrap();
    server.start();
    server.wait_serving();
    let said = server.said();
    assert!(said.contains("dataLogDir") && said.contains("not trusted"), "{said}");
    assert!(!server.database().join("zkctl.untrusted").exists(), "a leader has sent its database");
    assert_eq!(Client::of(server.address()).get("/a").1.version, 300);
    // Alone nobody could tell what was lost.
    let mut alone = written("lost-log-dir-alone");
    let server = &mut alone.servers[0];
    let zoo_cfg = server.data().with_file_name("zoo.cfg");
    let text = fs::read_to_string(&zoo_cfg).unwrap();
    let other = server.data().with_file_name("other");
    server.configure(&format!("{text}dataLogDir={}\n", other.display()));
    for file in server.files("log.") {
        fs::remove_file(file).unwrap();
    }
    let ended = server.start_in_vain();
    assert_eq!(ended.code, Some(exit_code::DAMAGED.into()), "{}", ended.said);
    assert!(ended.refusal().contains("remove zkctl.database"), "{}", ended.said);
    fs::remove_file(server.database().join("zkctl.database")).unwrap();
    server.start();
    server.wait_serving();
}

#[test]
fn a_torn_record_behind_the_durable_mark_is_cut() {
    let mut ensemble = written("torn-log");
    let server = &mut ensemble.servers[0];
    let file = server.files("log.").pop().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let end = bytes.iter().rposition(|b| *b != 0).unwrap() + 1;
    // Preallocated or not: the first segment may be begun before there is a spare.
    bytes.resize(bytes.len().max(end + 64), 0);
    // The beginning of a record that no power cut spared the end of.
    bytes[end..end + 16].copy_from_slice(&[0, 0, 0, 0, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 100, 1, 2, 3, 4]);
    fs::write(&file, bytes).unwrap();
    server.start();
    server.wait_serving();
    assert!(server.said().contains("torn tail"), "{}", server.said());
    assert_eq!(Client::of(server.address()).get("/a").1.version, 200);
}

#[test]
fn a_damaged_snapshot_is_never_served() {
    let mut ensemble = Ensemble::standalone("damaged-snapshot", "snapCount=100\n");
    let mut client = Client::of(ensemble.servers[0].address());
    client.create("/a", b"");
    client.set_many("/a", &[0x55; 100], 1000);
    let server = &mut ensemble.servers[0];
    crate::state::until("some snapshots are written", || (server.files("snapshot.").len() > 2).then_some(()));
    server.stop();
    let name = flip(server, "snapshot.");
    server.start();
    server.wait_serving();
    // An older one and the log behind it give the same tree.
    assert!(server.said().contains(&name), "{}", server.said());
    assert_eq!(client.get("/a").1.version, 1000);
}

/// As if Apache had written the log: our own marks are gone.
fn without_marks(server: &Server) {
    for name in ["zkctl.durable", "zkctl.segment"] {
        fs::remove_file(server.database().join(name)).unwrap();
    }
}

/// A length that no record can have says nothing about what stands behind it.
#[test]
fn a_damaged_length_in_another_server_s_log_is_not_a_torn_tail() {
    for damaged in [[0x7f, 0, 0, 0], [0, 0x10, 0, 0], [0, 0, 0, 1]] {
        let mut ensemble = written("damaged-length");
        let server = &mut ensemble.servers[0];
        without_marks(server);
        let file = server.files("log.").pop().unwrap();
        let mut bytes = fs::read(&file).unwrap();
        let before = bytes.len();
        let found = values(&bytes);
        // Checksum and length stand before the txn's header, path and the value's own length.
        let head = found[found.len() / 2] - 4 - 6 - TXN_HEADER - 4;
        bytes[head..head + 4].copy_from_slice(&damaged);
        fs::write(&file, &bytes).unwrap();
        let ended = server.start_in_vain();
        assert_eq!(ended.code, Some(exit_code::DAMAGED.into()), "{}", ended.said);
        assert!(ended.refusal().contains("whole records follow"), "{}", ended.said);
        assert_eq!(fs::read(&file).unwrap().len(), before, "nothing is cut");
    }
}

/// session, cxid, zxid, time, operation.
const TXN_HEADER: usize = 8 + 4 + 8 + 8 + 4;

/// What was acknowledged under a larger `jute.maxbuffer` is read under a smaller one.
#[test]
fn records_larger_than_the_setting_are_read_back() {
    let mut ensemble = Ensemble::standalone("large-record", "jute.maxbuffer=4194304\n");
    let server = &mut ensemble.servers[0];
    let mut client = Client::of(server.address());
    client.create("/big", &vec![0x55; 3 << 20]);
    client.create("/after", b"x");
    server.stop();
    without_marks(server);
    let zoo_cfg = server.data().join("../zoo.cfg");
    let text = fs::read_to_string(&zoo_cfg).unwrap().replace("jute.maxbuffer=4194304\n", "");
    server.configure(&text);
    server.start();
    server.wait_serving();
    assert_eq!(client.get("/big").0.len(), 3 << 20);
    assert_eq!(client.get("/after").0, b"x");
}

/// Later blocks of a batch may reach the disk before earlier ones: zeros, then bytes, far behind the end.
#[test]
fn bytes_far_behind_the_end_are_a_torn_tail_too() {
    let mut ensemble = written("torn-far");
    let server = &mut ensemble.servers[0];
    let file = server.files("log.").pop().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    bytes.resize(bytes.len().max(4 << 20), 0);
    bytes[3 << 20..][..4].copy_from_slice(&[1, 2, 3, 4]);
    fs::write(&file, bytes).unwrap();
    server.start();
    server.wait_serving();
    assert!(server.said().contains("torn tail"), "{}", server.said());
    assert_eq!(Client::of(server.address()).get("/a").1.version, 200);
}
