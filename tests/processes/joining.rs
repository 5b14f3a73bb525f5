//! Servers that join before the others' member lists name them.

use crate::client::Client;
use crate::ensemble::Ensemble;
use crate::state::until;
use zkctl::wire::words::Mode;

fn joins(name: &str, role: &str, mode: Mode) {
    let mut ensemble = Ensemble::three(name, "");
    let mut client = Client::connect(&ensemble.addresses(), 0);
    client.create("/before", b"");
    let new = ensemble.join_unlisted(role);
    until("the new server serves", || (ensemble.servers[new].mode() == Some(mode)).then_some(()));
    client.set_many("/before", b"after", 100);
    client.close();
    let mut client = Client::of(ensemble.servers[new].address());
    until("the new server has it all", || (client.get("/before").1.version == 100).then_some(()));
    client.close();
}

#[test]
fn a_new_voter_learns_before_it_is_listed() {
    joins("new-voter", "participant", Mode::Follower);
}

#[test]
fn a_new_observer_learns_before_it_is_listed() {
    joins("new-observer", "observer", Mode::Observer);
}
