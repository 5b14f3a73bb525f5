//! Followers that come back: a little behind, far behind, or with nothing at all.

use crate::client::Client;
use crate::ensemble::Ensemble;
use crate::server::Server;
use crate::state::{until, within};
use crate::trees::assert_equal;
use std::time::Duration;
use zkctl::limits;

/// What the leader's log says about the last synchronization of the server with this index.
fn last_sync(ensemble: &Ensemble, index: usize) -> Option<String> {
    let leader = ensemble.leader();
    let said = ensemble.servers[leader].said();
    let about = format!("learner {} at ", index + 1);
    said.lines().rev().find_map(|l| Some(l[l.find(&about)?..].to_owned()))
}

/// Stops a follower, writes, starts it again; returns how the leader brought it up to date.
fn missed(name: &str, value: usize, count: usize) -> String {
    let mut ensemble = Ensemble::three(name, "");
    let follower = ensemble.follower();
    let leader = ensemble.leader();
    let mut client = Client::of(ensemble.servers[leader].address());
    client.create("/missed", b"");
    ensemble.servers[follower].stop();
    client.set_many("/missed", &vec![7; value], count);
    ensemble.servers[follower].start();
    ensemble.wait_serving();
    let (_, stat) = client.get("/missed");
    assert_eq!(stat.version as usize, count);
    client.close();
    assert_equal(&ensemble);
    last_sync(&ensemble, follower).unwrap()
}

#[test]
fn a_follower_a_little_behind_gets_the_difference() {
    let how = missed("diff", 100, 3000);
    assert!(how.contains("Diff("), "{how}");
}

#[test]
fn a_follower_behind_too_many_writes_gets_a_snapshot() {
    let how = missed("snap-by-count", 1, limits::COMMITTED_WINDOW_TXNS + 1000);
    assert!(how.contains(": Snap,"), "{how}");
}

#[test]
fn a_follower_behind_too_many_bytes_gets_a_snapshot() {
    let value = 200_000;
    let how = missed("snap-by-bytes", value, limits::COMMITTED_WINDOW_BYTES / value + 20);
    assert!(how.contains(": Snap,"), "{how}");
}

/// With one voter down, a wiped one must not complete the quorum: what it once acknowledged is gone.
#[test]
fn a_wiped_follower_does_not_vote_and_comes_back_by_a_snapshot() {
    let mut ensemble = Ensemble::three("wiped", "");
    let mut client = Client::connect(&ensemble.addresses(), 0);
    client.create("/kept", b"");
    client.set_many("/kept", b"kept", 500);
    client.close();
    let wiped = ensemble.follower();
    let leader = ensemble.leader();
    let third = 3 - wiped - leader;
    ensemble.servers.iter_mut().for_each(Server::kill);
    ensemble.servers[wiped].wipe();
    ensemble.servers[wiped].start();
    ensemble.servers[leader].start();
    // They meet and hold elections; longer than any election takes, none of them may serve.
    let served = within(Duration::from_secs(5), || {
        [wiped, leader].into_iter().find(|i| ensemble.servers[*i].mode().is_some())
    });
    assert_eq!(served, None, "a quorum that counts a wiped server");
    for index in [wiped, leader] {
        assert!(ensemble.servers[index].word("ruok").is_some(), "server {index} lives and waits");
    }

    ensemble.servers[third].start();
    ensemble.wait_serving();
    let how = until("the wiped server is synchronised", || last_sync(&ensemble, wiped));
    assert!(how.contains("at None: Snap,"), "{how}");
    let tree = assert_equal(&ensemble);
    assert_eq!(crate::trees::data_of(&tree, "/kept"), Some(&b"kept"[..]));

    // Now that it has everything it counts: the third may go.
    ensemble.servers[third].kill();
    ensemble.wait_serving();
    let mut client = Client::connect(&ensemble.addresses(), wiped);
    client.set("/kept", b"again");
    assert_eq!(client.get("/kept").0, b"again");
}
