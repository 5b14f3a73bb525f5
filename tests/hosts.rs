//! Operating three real hosts: network namespaces with sshd, the addresses of the shipped inventory, and
//! the operator's commands typed as they are.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![allow(clippy::print_stdout, reason = "a failed test shows what was done")]

#[path = "hosts/load.rs"]
mod load;
#[path = "hosts/page.rs"]
mod page;
#[path = "hosts/world.rs"]
mod world;

use std::path::Path;
use std::time::{Duration, Instant};

use load::Load;
use world::{World, until};

const HOSTS: [(&str, &str, u32); 3] =
    [("zk1", "192.168.10.126", 2000), ("zk2", "192.168.10.127", 2000), ("zk3", "192.168.10.128", 2000)];

fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("inventories").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// Three fresh hosts and the shipped inventory, unedited.
fn prod() -> World {
    let world = World::new(&HOSTS);
    world.write("inventories/prod.yaml", &shipped("prod.yaml"));
    world
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// A field of `srvr`.
fn field(answer: &str, name: &str) -> String {
    let line = answer.lines().find_map(|l| l.strip_prefix(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("{name} in {answer}")).to_owned()
}

#[test]
fn the_operator_s_day() {
    let world = prod();
    let first = world.zkctl("deploy inventories/prod.yaml --yes").expect(0);
    first.says("healthy: 3 of 3 voters serve");
    assert!(first.took < Duration::from_secs(60));

    let again = world.zkctl("deploy inventories/prod.yaml --yes").expect(0);
    again.says("nothing to change: every node is as the inventory says");

    status_is_what_srvr_says(&world);
    world.zkctl("status --wide").expect(0).says("2182").says("2183");

    let load = Load::start(&world);
    world
        .zkctl("add-observer zk3 --yes")
        .expect(0)
        .says("after:  2 voters and 1 observer: a majority is 2, no failure");
    let writes = load.stop();
    println!("conversion under load: {writes:?}");
    assert!(writes.acknowledged > 0 && writes.lost == 0, "{writes:?}");
    // Far below initLimit, which a false majority with the new observer costs.
    assert!(writes.longest_gap_ms < 10_000, "{writes:?}");
    assert_eq!(
        world.read("inventories/prod.yaml"),
        shipped("prod.yaml").replace("192.168.10.128 }", "192.168.10.128, role: observer }")
    );
    let status = json(&world.zkctl("status -o json").expect(0).stdout);
    let modes: Vec<&str> = (0..3).map(|i| status["nodes"][i]["mode"].as_str().unwrap()).collect();
    assert_eq!(modes[2], "observer");
    assert_eq!(modes.iter().filter(|m| **m == "leader").count(), 1);
    assert_eq!(modes.iter().filter(|m| **m == "follower").count(), 1);

    world.zkctl("stop -l zk2 --yes").expect(5).says("writes would stop").says("--force");
    world.zkctl("stop -l zk2 --yes --force").expect(0);
    world.zkctl("status").expect(11).says("NO QUORUM: ");
    world.zkctl("start -l zk2").expect(0);
    world.zkctl("status").expect(0);

    world
        .zkctl("promote zk3 --yes")
        .expect(0)
        .says("after:  3 voters: a majority is 2, 1 failure is tolerated");
    world.zkctl("restart").expect(0).says("healthy: 3 of 3 voters serve");
    world.zkctl("stop --yes").expect(0);
    world.zkctl("status").expect(11).says("stopped");
    world.zkctl("start").expect(0).says("healthy");
}

fn status_is_what_srvr_says(world: &World) {
    let done = world.zkctl("status -o json").expect(0);
    let status = json(&done.stdout);
    assert_eq!(status["health"], "healthy");
    for (i, (name, address, _)) in HOSTS.iter().enumerate() {
        let row = &status["nodes"][i];
        let srvr = world.word(name, "srvr");
        assert_eq!((row["node"].as_str(), row["host"].as_str()), (Some(*name), Some(*address)));
        assert_eq!(row["mode"].as_str(), Some(field(&srvr, "Mode").as_str()));
        let version = field(&srvr, "Zookeeper version");
        assert_eq!(row["version"].as_str(), version.split(',').next());
        assert_eq!((row["state"].as_str(), row["writes"].as_bool()), (Some("serving"), Some(true)));
        assert_eq!(row["client_port"], 2181);
    }
}

#[test]
fn a_changed_setting_rolls_and_a_new_node_joins() {
    let mut world = prod();
    world.zkctl("deploy --yes").expect(0);
    world.write("inventories/prod.yaml", &shipped("prod.yaml").replace("syncLimit: 5", "syncLimit: 6"));
    world.zkctl("deploy --dry-run --exit-code").expect(7).says("-syncLimit=5").says("+syncLimit=6");
    let load = Load::start(&world);
    let done = world.zkctl("deploy --yes").expect(0);
    let writes = load.stop();
    println!("rolling change under load: {writes:?}");
    assert!(writes.acknowledged > 0 && writes.lost == 0, "{writes:?}");
    assert_eq!(done.stderr.matches(": restarting").count(), 3, "{}", done.both());
    assert!(world.on("zk2", "cat /data/server/zk2/conf/zoo.cfg").contains("syncLimit=6"));

    world.add_host("zk4", "192.168.10.129", 2000);
    world.zkctl("add-observer zk4 --host 192.168.10.129 --yes").expect(0).says("zk4");
    assert!(
        world
            .read("inventories/prod.yaml")
            .contains("{ name: zk4, id: 4, host: 192.168.10.129, role: observer }")
    );
    assert_eq!(field(&world.word("zk4", "srvr"), "Mode"), "observer");
    world.zkctl("status").expect(0).says("healthy: 3 of 3 voters");
    world.zkctl("deploy --yes").expect(0).says("nothing to change");

    // A live member left out of the inventory stops the plan.
    world.write("inventories/prod.yaml", &shipped("prod.yaml").replace("syncLimit: 5", "syncLimit: 6"));
    world
        .zkctl("deploy --yes")
        .expect(1)
        .says("server 4 (192.168.10.129) is a member of the running ensemble");
    // So does a node that would become another one.
    let moved = shipped("prod.yaml").replace("192.168.10.128", "192.168.10.129");
    world.write("inventories/prod.yaml", &moved);
    world.zkctl("deploy --yes").expect(1);
}

#[test]
fn an_interrupted_conversion_is_completed_by_the_next_run() {
    let world = prod();
    world.zkctl("deploy --yes").expect(0);
    // Killed after each of its first steps in turn; the last run goes through.
    for wait_for in ["[1/3]", "[2/3]", "[1/", "[1/"] {
        use std::io::BufRead as _;
        let program = world::program();
        let words = [program.as_str(), "add-observer", "zk3", "--yes"];
        let mut child = world.operator_command(&words).spawn().unwrap();
        let stderr = std::io::BufReader::new(child.stderr.take().unwrap());
        for line in stderr.lines() {
            if line.unwrap().starts_with(wait_for) {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    // What the killed run held lets go by itself.
    let mut done = world.zkctl("add-observer zk3 --yes");
    until("the killed run's lock is free", || {
        let held = done.code == 6;
        if held {
            done = world.zkctl("add-observer zk3 --yes");
        }
        !held
    });
    done.expect(0);
    let status = json(&world.zkctl("status -o json").expect(0).stdout);
    assert_eq!(status["nodes"][2]["mode"], "observer");
    world.zkctl("add-observer zk3 --yes").expect(0).says("nothing to change");
}

#[test]
fn the_leader_itself_is_converted() {
    let world = prod();
    world.zkctl("deploy --yes").expect(0);
    let status = json(&world.zkctl("status -o json").expect(0).stdout);
    let leads = |row: &&serde_json::Value| row["mode"] == "leader";
    let leader =
        status["nodes"].as_array().unwrap().iter().find(leads).unwrap()["node"].as_str().unwrap().to_owned();
    world.zkctl(&format!("add-observer {leader} --yes")).expect(0);
    let status = json(&world.zkctl("status -o json").expect(0).stdout);
    let row = |row: &&serde_json::Value| row["node"] == leader.as_str();
    assert_eq!(status["nodes"].as_array().unwrap().iter().find(row).unwrap()["mode"], "observer");
}

#[test]
fn hosts_that_cannot_be_reached_say_why() {
    let mut world = prod();
    world.zkctl("deploy --yes").expect(0);

    // Cut off: told apart from stopped, and the others go on, once they have noticed if it led.
    world.cut("zk3", true);
    let begun = Instant::now();
    let done = loop {
        let done = world.zkctl("status");
        assert!(done.took < Duration::from_secs(20), "{:?}", done.took);
        // While they elect, one may serve already and the other not yet.
        let settled = done.stdout.contains("degraded: 2 of 3 voters serve");
        if settled || begun.elapsed() > Duration::from_secs(60) {
            break done.expect(10);
        }
    };
    done.says("unreachable").says("degraded: 2 of 3 voters serve");
    println!("a dead host: status took {} ms", done.took.as_millis());
    world.zkctl("deploy --yes").expect(4).says("zk3 cannot be reached").says("nothing was changed");
    world.cut("zk3", false);

    // No sshd: refused at once.
    world.stop_sshd("zk3");
    world.zkctl("status").expect(10).says("connection refused; is sshd running there?");
    // In the way of its own node only.
    world.zkctl("start").expect(4).says("zk3 cannot be reached");
    world.zkctl("restart -l zk1 --yes").expect(0).says("zk3 cannot be reached and is not locked");

    // Another key than the known one.
    world.new_host_key("zk3");
    world.start_sshd("zk3");
    world.zkctl("status").expect(10).says("its host key has CHANGED").says("ssh-keygen -R 192.168.10.128");

    // No key of ours is accepted.
    world.forget_key("zk2");
    world.zkctl("status").expect(10).says("the login was refused: no key of yours is accepted there");
    world.zkctl("stop -l zk2 --yes").expect(4).says("the login was refused");
}

/// The shipped inventory with other ssh settings, for hosts whose addresses begin with `net`.
fn prod_with(ssh: &str, net: &str, more: &str) -> String {
    let ours = "  user: root              # everything else comes from your own ~/.ssh/config and agent\n";
    assert!(shipped("prod.yaml").contains(ours));
    format!("{}{more}", shipped("prod.yaml").replace("192.168.10.", net).replace(ours, ssh))
}

#[test]
fn hosts_behind_a_jump_host_are_operated_through_it() {
    let mut world = World::new(&[("gate", "192.168.10.5", 50)]);
    let behind = HOSTS.map(|(name, address, mb)| (name, address.replace(".10.", ".20."), mb));
    let behind: Vec<(&str, &str, u32)> = behind.iter().map(|(n, a, mb)| (*n, a.as_str(), *mb)).collect();
    world.add_hosts_behind("gate", "192.168.20.1/24", &behind);
    // Key and known hosts are where only the inventory says; the jump host needs both.
    world.move_key();
    let ssh =
        "  user: root\n  jump: root@192.168.10.5\n  key: ../keys/deploy\n  known_hosts: ../known_hosts\n";
    world.write("inventories/prod.yaml", &prod_with(ssh, "192.168.20.", ""));
    world.zkctl("deploy --yes").expect(0).says("healthy: 3 of 3 voters serve");
    assert_eq!(world.read("known_hosts").lines().filter(|l| l.contains("ssh-ed25519")).count(), 4);
    world.zkctl("deploy --yes").expect(0).says("nothing to change");
    world.zkctl("restart -l zk1").expect(0);

    // Behind the jump host, and the jump host itself.
    world.stop_sshd("zk3");
    world
        .zkctl("status")
        .expect(10)
        .says("zk3: 192.168.20.128: ssh says through root@192.168.10.5: channel 0: ");
    world.cut("gate", true);
    world.zkctl("status").expect(11).says("reachable through root@192.168.10.5?");
    world.cut("gate", false);
    world.forget_key("gate");
    world
        .zkctl("status")
        .expect(11)
        .says("the login was refused")
        .says("root@192.168.10.5: Permission denied");
}

#[test]
fn an_ordinary_user_operates_with_sudo_and_servers_run_as_their_own_user() {
    let world = prod();
    for (name, _, _) in HOSTS {
        world.add_accounts(name, "deploy", &["zookeeper"]);
    }
    let own_user = "service:\n  user: zookeeper\n";
    let ssh = "  user: deploy\n";
    // Without root nothing is half done: a user of one's own cannot be had.
    world.write("inventories/prod.yaml", &prod_with(ssh, "192.168.10.", own_user));
    let said = world.zkctl("deploy --yes").expect(8);
    said.says("run as user 4242, and root is needed to run its server as `zookeeper`")
        .says("nothing was changed");
    world.write(
        "inventories/prod.yaml",
        &prod_with("  user: deploy\n  become: sudo\n", "192.168.10.", own_user),
    );
    world.zkctl("deploy --yes").expect(0).says("healthy: 3 of 3 voters serve");
    world.zkctl("deploy --yes").expect(0).says("nothing to change");
    world.zkctl("restart").expect(0).says("healthy");
    for (name, _, _) in HOSTS {
        let pid =
            format!("$(sed -n 's/.*\"pid\": \\([0-9]*\\).*/\\1/p' /data/server/{name}/run/server.json)");
        assert_eq!(world.on(name, &format!("ps -o user:20= -p {pid}")).trim(), "zookeeper");
        let owners = world
            .on(name, &format!("stat -c %U /data/server/{name}/{{data/version-2,txlog/version-2,logs}}"));
        assert_eq!(owners, "zookeeper\nzookeeper\nzookeeper\n");
    }
    let said = world.zkctl("add-observer zk3 --yes").expect(0);
    said.says("after:  2 voters and 1 observer");
    world.zkctl("stop --yes").expect(0);
}

#[test]
fn a_taken_port_and_a_full_disk_are_named() {
    let mut hosts = HOSTS;
    hosts[1].2 = 40;
    let mut world = World::new(&hosts);
    world.write("inventories/prod.yaml", &shipped("prod.yaml"));
    world.start_on("zk3", "exec python3 -c 'import socket,time; s=socket.socket(); s.bind((\"\",2182)); s.listen(); time.sleep(600)'");
    until("the port is taken", || world.listens("zk3", 2182));
    let done = world.zkctl("deploy --yes").expect(8);
    done.says("zk2: only ").says("are free on 192.168.10.127");
    done.says("zk3: port 2182 on 192.168.10.128 is taken").says("nothing was changed");
}

#[test]
fn one_operator_at_a_time() {
    let mut world = prod();
    world.zkctl("deploy --yes").expect(0);
    world.start_on("zk2", "exec 9>>/data/server/zk2/.zkctl.lock; flock 9; echo eve >/data/server/zk2/.zkctl.lock; exec sleep 600");
    until("eve holds the lock", || world.on("zk2", "cat /data/server/zk2/.zkctl.lock").starts_with("eve"));
    world.zkctl("restart").expect(6).says("somebody else is operating zk2: held by eve");
    world.zkctl("status").expect(0);
}

#[test]
fn the_article_s_scripts_go_on_working() {
    let world = prod();
    world.zkctl("deploy --yes").expect(0);
    let script = |verb: &str| {
        world.on("zk1", &format!("/data/server/zk1/bin/zkServer.sh {verb} 2>&1; echo \"code $?\""))
    };
    let status = script("status");
    assert!(
        status.contains("ZooKeeper JMX enabled by default\nUsing config: /data/server/zk1/conf/zoo.cfg\n"),
        "{status}"
    );
    assert!(
        status.contains("\nMode: follower\ncode 0") || status.contains("\nMode: leader\ncode 0"),
        "{status}"
    );
    assert!(script("stop").ends_with("Stopping zookeeper ... STOPPED\ncode 0\n"));
    assert!(script("stop").contains("Stopping zookeeper ... no zookeeper to stop (could not find file "));
    assert!(script("status").ends_with("Error contacting service. It is probably not running.\ncode 1\n"));
    assert!(script("start").ends_with("Starting zookeeper ... STARTED\ncode 0\n"));
    assert!(script("start").contains("Starting zookeeper ... already running as process "));
    // Cleaning up keeps what it is told to keep, and what that needs.
    let clean = |arguments: &str| {
        world.on("zk1", &format!("/data/server/zk1/bin/zkCleanup.sh {arguments} 2>&1; echo \"code $?\""))
    };
    assert!(clean("-n 2").ends_with("value should be greater than or equal to 3\ncode 1\n"));
    let data = "/data/server/zk1/data/version-2";
    world.on(
        "zk1",
        &format!("cd {data} && ls -d snapshot.0 && for z in 1 2 3; do cp snapshot.0 snapshot.$z; done"),
    );
    let said = clean("/data/server/zk1/txlog /data/server/zk1/data -n 4");
    assert_eq!(said, "code 0\n");
    let said = clean("-n 3");
    assert!(
        said.starts_with("Removing file: 20")
            && said.ends_with("Z\t/data/server/zk1/data/version-2/snapshot.0\ncode 0\n"),
        "{said}"
    );
    assert_eq!(clean("-n 3"), "code 0\n");
    // The script that loops over hosts with ssh, as it stands in the article.
    world.write(
        "zk.sh",
        "for host in 192.168.10.126 192.168.10.127 192.168.10.128\ndo\n  n=zk$((${host##*.}-125))\n  \
        ssh -o StrictHostKeyChecking=accept-new $host \"/data/server/$n/bin/zkServer.sh $1\"\ndone\n",
    );
    let output = world.operator_command(&["bash", "zk.sh", "restart"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said.matches("STARTED").count(), 3, "{said}");
    let done = world.zkctl("status");
    assert!(done.code == 0 || done.code == 10 || done.code == 11, "{}", done.both());
}

#[test]
fn the_page_beside_the_article_is_true() {
    let text = include_str!("../docs/from-the-article.md");
    let (english, chinese) = text.split_once("## 中文").unwrap();
    assert_eq!(page::blocks(english), page::blocks(chinese), "both languages show the same commands");
    let world = prod();
    for shown in page::blocks(english).iter().flat_map(|b| page::commands(b)) {
        let said = page::run(&world, &shown.command);
        let lines: Vec<&str> = said.lines().collect();
        assert!(
            page::fits(&shown.expected, &lines),
            "{}\n{}\n{said}",
            shown.command,
            shown.expected.join("\n")
        );
    }
}
