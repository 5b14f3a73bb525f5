//! Writes under way while something is operated: a process in the operator's namespace that creates one
//! znode after the other and, in the end, looks whether every acknowledged one is there.

use std::io::Read as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use zkctl::client::{Client, ClientError, CreateMode, Options};

use crate::world::{World, until};

const VARIABLE: &str = "ZKCTL_TEST_LOAD_STOP_FILE";
const SERVERS: &[&str] = &["192.168.10.126", "192.168.10.127", "192.168.10.128"];

/// What became of the writes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Writes {
    pub(crate) acknowledged: u64,
    pub(crate) lost: u64,
    pub(crate) longest_gap_ms: u64,
}

/// Gaps that are worth a line of the test's output, ms.
const NOTICED_MS: u64 = 100;

/// The running process.
pub(crate) struct Load {
    child: Child,
    stop: String,
}

impl Load {
    pub(crate) fn start(world: &World) -> Load {
        let stop = world.path("load.stop");
        let begun = begun_file(&stop);
        let _ = std::fs::remove_file(&stop);
        let _ = std::fs::remove_file(&begun);
        let me = std::env::current_exe().unwrap().display().to_string();
        let words = [me.as_str(), "load::the_load_itself", "--exact", "--ignored", "--nocapture"];
        let child =
            world.operator_command(&words).env(VARIABLE, &stop).stderr(Stdio::null()).spawn().unwrap();
        until("the load's first write is acknowledged", || std::path::Path::new(&begun).exists());
        Load { child, stop }
    }

    pub(crate) fn stop(mut self) -> Writes {
        std::fs::write(&self.stop, "").unwrap();
        let mut said = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        self.child.wait().unwrap();
        for gap in said.lines().filter_map(|l| l.split_once("GAP ")) {
            println!("{}", gap.1);
        }
        let line = said.lines().find_map(|l| l.split_once("LOAD ")).unwrap_or_else(|| panic!("{said}")).1;
        let numbers: Vec<u64> = line.split(' ').map(|n| n.parse().unwrap()).collect();
        Writes { acknowledged: numbers[0], lost: numbers[1], longest_gap_ms: numbers[2] }
    }
}

/// What tells that the first write is acknowledged.
fn begun_file(stop: &str) -> String {
    format!("{stop}.begun")
}

#[test]
#[ignore = "what Load starts, in a process of its own"]
fn the_load_itself() {
    let stop = std::env::var(VARIABLE).expect("Load starts it");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let writes = runtime.block_on(drive(&stop));
    println!("LOAD {} {} {}", writes.acknowledged, writes.lost, writes.longest_gap_ms);
}

async fn connect() -> Client {
    let servers = SERVERS.iter().map(|s| ((*s).to_owned(), 2181)).collect();
    let options =
        Options { open: Duration::from_secs(60), connect: Duration::from_millis(500), ..Options::default() };
    Client::connect(servers, options).await.unwrap()
}

async fn drive(stop: &str) -> Writes {
    let mut client = connect().await;
    let root = format!("/load-{}", std::process::id());
    client.create(&root, b"", CreateMode::Persistent).await.unwrap();
    let mut writes = Writes::default();
    let begun = Instant::now();
    let mut last = begun;
    let mut names = Vec::new();
    let mut number = 0u64;
    while !std::path::Path::new(stop).exists() {
        number += 1;
        let path = format!("{root}/{number}");
        let within = Duration::from_secs(2);
        match tokio::time::timeout(within, client.create(&path, b"x", CreateMode::Persistent)).await {
            Ok(Ok(_)) => {
                let gap_ms = last.elapsed().as_millis() as u64;
                if gap_ms > NOTICED_MS {
                    let at = begun.elapsed().as_millis();
                    println!(
                        "GAP no write was acknowledged for {gap_ms} ms, until {at} ms after the load began"
                    );
                }
                writes.longest_gap_ms = writes.longest_gap_ms.max(gap_ms);
                last = Instant::now();
                if names.is_empty() {
                    std::fs::write(begun_file(stop), "").unwrap();
                }
                names.push(number.to_string());
            }
            Ok(Err(ClientError::ConnectionLoss | ClientError::Server(_))) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // A server that took the connection and then lost its leader: another one may have one.
            _ => client = connect().await,
        }
    }
    writes.acknowledged = names.len() as u64;
    for _ in 0..200 {
        if client.sync(&root).await.is_ok()
            && let Ok(children) = client.children(&root).await
        {
            let there: std::collections::HashSet<String> = children.into_iter().collect();
            writes.lost = names.iter().filter(|n| !there.contains(*n)).count() as u64;
            return writes;
        }
        client = connect().await;
    }
    panic!("the znodes could not be read back");
}
