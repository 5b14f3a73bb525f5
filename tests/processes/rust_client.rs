//! The crate `zookeeper-client`: somebody else's client, written from the protocol.

use crate::ensemble::Ensemble;
use crate::state::DEADLINE;
use std::future::Future;
use zookeeper_client as zk;

fn run(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE, work).await.expect("within the deadline") });
}

fn open(mode: zk::CreateMode) -> zk::CreateOptions<'static> {
    mode.with_acls(zk::Acls::anyone_all())
}

async fn znodes(client: &zk::Client) {
    let persistent = open(zk::CreateMode::Persistent);
    let (stat, _) = client.create("/crate", b"one", &persistent).await.unwrap();
    assert_eq!((stat.version, stat.czxid), (0, stat.mzxid));
    assert_eq!(client.get_data("/crate").await.unwrap().0, b"one");
    let stat = client.set_data("/crate", b"two", Some(0)).await.unwrap();
    assert_eq!(stat.version, 1);
    assert_eq!(client.set_data("/crate", b"no", Some(0)).await.unwrap_err(), zk::Error::BadVersion);
    assert_eq!(client.create("/crate", b"", &persistent).await.unwrap_err(), zk::Error::NodeExists);
    assert_eq!(client.get_data("/none").await.unwrap_err(), zk::Error::NoNode);
    assert_eq!(client.check_stat("/none").await.unwrap(), None);

    let sequential = open(zk::CreateMode::PersistentSequential);
    for n in 0..3 {
        let (_, sequence) = client.create("/crate/item-", b"", &sequential).await.unwrap();
        assert_eq!(sequence.into_i64(), n);
    }
    let mut children = client.list_children("/crate").await.unwrap();
    children.sort();
    assert_eq!(children, ["item-0000000000", "item-0000000001", "item-0000000002"]);
    assert_eq!(client.delete("/crate", None).await.unwrap_err(), zk::Error::NotEmpty);
    for child in children {
        client.delete(&format!("/crate/{child}"), None).await.unwrap();
    }
    let (acl, _) = client.get_acl("/crate").await.unwrap();
    assert_eq!(acl, zk::Acls::anyone_all().iter().cloned().collect::<Vec<_>>());
    client.sync("/").await.unwrap();
}

async fn watches(client: &zk::Client) {
    let (_, born) = client.check_and_watch_stat("/watched").await.unwrap();
    client.create("/watched", b"", &open(zk::CreateMode::Persistent)).await.unwrap();
    let event = born.changed().await;
    assert_eq!((event.event_type, event.path.as_str()), (zk::EventType::NodeCreated, "/watched"));
    let (_, _, data) = client.get_and_watch_data("/watched").await.unwrap();
    let (_, _, children) = client.get_and_watch_children("/watched").await.unwrap();
    client.set_data("/watched", b"x", None).await.unwrap();
    assert_eq!(data.changed().await.event_type, zk::EventType::NodeDataChanged);
    client.create("/watched/child", b"", &open(zk::CreateMode::Persistent)).await.unwrap();
    assert_eq!(children.changed().await.event_type, zk::EventType::NodeChildrenChanged);
}

async fn transactions(client: &zk::Client) {
    let persistent = open(zk::CreateMode::Persistent);
    let mut good = client.new_multi_writer();
    good.add_create("/multi", b"a", &persistent).unwrap();
    good.add_set_data("/multi", b"b", Some(0)).unwrap();
    good.add_check_version("/multi", 1).unwrap();
    assert_eq!(good.commit().await.unwrap().len(), 3);
    assert_eq!(client.get_data("/multi").await.unwrap().0, b"b");
    let mut bad = client.new_multi_writer();
    bad.add_set_data("/multi", b"c", None).unwrap();
    bad.add_delete("/none", None).unwrap();
    bad.commit().await.unwrap_err();
    assert_eq!(client.get_data("/multi").await.unwrap().0, b"b", "all or none");
}

async fn ephemerals(hosts: &str, client: &zk::Client) {
    let other = zk::Client::connect(hosts).await.unwrap();
    other.create("/ephemeral", b"", &open(zk::CreateMode::Ephemeral)).await.unwrap();
    client.sync("/").await.unwrap();
    let (stat, gone) = client.check_and_watch_stat("/ephemeral").await.unwrap();
    assert_eq!(stat.unwrap().ephemeral_owner, other.session_id().0);
    drop(other);
    assert_eq!(gone.changed().await.event_type, zk::EventType::NodeDeleted);
}

async fn in_order(client: &zk::Client) {
    client.create("/order", b"", &open(zk::CreateMode::Persistent)).await.unwrap();
    let sets: Vec<_> = (0..500).map(|n: i32| client.set_data("/order", &n.to_be_bytes(), None)).collect();
    for (n, set) in sets.into_iter().enumerate() {
        assert_eq!(set.await.unwrap().version as usize, n + 1);
    }
}

fn everything(ensemble: &Ensemble) {
    let hosts = ensemble.connect_string();
    run(async {
        let client = zk::Client::connect(&hosts).await.unwrap();
        znodes(&client).await;
        watches(&client).await;
        transactions(&client).await;
        in_order(&client).await;
        ephemerals(&hosts, &client).await;
    });
}

#[test]
fn the_basics_on_a_standalone_server() {
    everything(&Ensemble::standalone("crate-one", ""));
}

#[test]
fn the_basics_on_three_servers() {
    let ensemble = Ensemble::three("crate-three", "");
    everything(&ensemble);
    crate::trees::assert_equal(&ensemble);
}
