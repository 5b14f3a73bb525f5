//! An ensemble on this machine without SSH, as README's first command makes it; the client against it;
//! and the same under a recording systemctl.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use zkctl::client::{Client, ClientError, Code, CreateMode, Options, four_letter_word};

/// A directory with an inventory; what runs below it is stopped and removed with the value.
struct Place {
    path: PathBuf,
    ports: [u16; 3],
}

impl Place {
    /// Three servers whose ports begin at `base`; the shipped inventory has the well-known ones, which
    /// something else may use while tests run. `base` is below the ports that outgoing connections get.
    fn new(name: &str, base: u16, service: &str) -> Place {
        let path = std::env::temp_dir().join(format!("zkctl-operate-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("inventories")).unwrap();
        let shipped = include_str!("../inventories/local.yaml");
        let mut text = shipped.replace("manager: process", service);
        for (i, from) in [2181u16, 2281, 2381].iter().enumerate() {
            for offset in 0..3 {
                let to = base + (i as u16) * 10 + offset;
                text = text.replace(&format!("_port: {}", from + offset), &format!("_port: {to}"));
            }
        }
        fs::write(path.join("inventories/local.yaml"), text).unwrap();
        Place { path, ports: [base, base + 10, base + 20] }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zkctl"));
        command
            .args(line.split(' '))
            .current_dir(&self.path)
            .env_remove("ZKCTL_INVENTORY")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    #[track_caller]
    fn expect(&self, line: &str, code: i32) -> String {
        let output = self.run(line);
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "zkctl {line}\n{said}");
        said
    }

    fn servers(&self) -> Vec<(String, u16)> {
        self.ports.iter().map(|p| ("127.0.0.1".to_owned(), *p)).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.run("stop --yes --force -i inventories/local.yaml");
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn the_first_command_brings_up_three_servers_and_the_client_works() {
    let place = Place::new("local", 23_100, "manager: process");
    for verb in ["start", "restart"] {
        let said = place.expect(verb, 8);
        assert!(
            said.contains("zk1, zk2, zk3 are not deployed yet") && said.contains("zkctl deploy"),
            "{said}"
        );
    }
    assert!(place.expect("status", 11).contains("nothing is deployed yet; `zkctl deploy` does it"));
    let said = place.expect("deploy inventories/local.yaml --yes", 0);
    assert!(said.contains("healthy: 3 of 3 voters serve"), "{said}");
    assert!(place.path.join(".zkctl/local/zk1/data/myid").is_file());
    let current = fs::read_to_string(place.path.join(".zkctl/current")).unwrap();
    assert!(current.starts_with('/') && current.ends_with("/inventories/local.yaml\n"), "{current}");
    assert!(place.expect("deploy --yes", 0).contains("nothing to change"));

    block_on(client_operations(&place));

    let said = place.expect("restart --dry-run --exit-code", 7);
    assert!(said.contains("steps:\n  1. restart zk") && said.contains("\n  3. restart zk"), "{said}");
    let said = place.expect("restart", 0);
    assert!(said.contains("healthy"), "{said}");
    assert!(place.expect("stop -l zk1,zk2,zk1 --yes", 5).contains("without zk1, zk2, "));
    let dry = place.run("stop --dry-run -o json");
    let json: serde_json::Value = serde_json::from_slice(&dry.stdout).unwrap();
    assert_eq!(
        (json["plan"]["verb"].as_str(), json["done"].as_bool()),
        (Some("stop"), Some(false)),
        "{json}"
    );
    assert_eq!(json["plan"]["steps"].as_array().unwrap().len(), 3, "{json}");
    assert!(place.expect("stop -l zk1 --yes", 0).contains("zk1: stopped"));
    assert!(place.expect("status", 10).contains("degraded: 2 of 3 voters serve"));
    assert!(place.expect("stop -l zk2 --yes", 5).contains("--force"));
    assert!(place.expect("start", 0).contains("healthy"));
    // What was written at the beginning has outlived all that.
    block_on(async {
        let client = Client::connect(place.servers(), Options::default()).await.unwrap();
        assert_eq!(client.get("/kept").await.unwrap().0, b"2");
    });
    // All is whatever still runs.
    place.expect("stop -l zk1 --yes", 0);
    place.expect("stop --yes", 0);
    place.expect("status", 11);
}

async fn client_operations(place: &Place) {
    let options = Options { session: Duration::from_secs(8), ..Options::default() };
    let client = Client::connect(place.servers(), options).await.unwrap();
    assert_eq!(client.create("/kept", b"1", CreateMode::Persistent).await.unwrap(), "/kept");
    let again = client.create("/kept", b"", CreateMode::Persistent).await;
    assert_eq!(again, Err(ClientError::Server(Code::NODE_EXISTS)));
    let stat = client.set("/kept", b"2", 0).await.unwrap();
    assert_eq!((stat.version, client.get("/kept").await.unwrap().0), (1, b"2".to_vec()));
    assert_eq!(client.set("/kept", b"3", 0).await, Err(ClientError::Server(Code::BAD_VERSION)));
    assert_eq!(client.exists("/none").await.unwrap(), None);
    let name = client.create("/kept/s-", b"", CreateMode::EphemeralSequential).await.unwrap();
    assert_eq!(name, "/kept/s-0000000000");
    assert_eq!(client.children("/kept").await.unwrap(), ["s-0000000000"]);
    assert_eq!(client.delete("/kept", -1).await, Err(ClientError::Server(Code::NOT_EMPTY)));
    client.sync("/kept").await.unwrap();

    // Pipelined: all in flight at once, answered in order.
    let many = (0..200).map(|i| {
        let client = client.clone();
        tokio::spawn(async move { client.create(&format!("/kept/n{i}"), b"", CreateMode::Persistent).await })
    });
    for task in many.collect::<Vec<_>>() {
        task.await.unwrap().unwrap();
    }
    assert_eq!(client.children("/kept").await.unwrap().len(), 201);

    // The session outlives the server it is on.
    let session = client.session();
    let stop = place.expect("restart", 0);
    assert!(stop.contains("healthy"));
    let begun = Instant::now();
    let stat = loop {
        match client.exists("/kept/s-0000000000").await {
            Ok(stat) => break stat.unwrap(),
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(8), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(stat.ephemeral_owner, session);
    client.close().await.unwrap();
    let other = Client::connect(place.servers(), Options::default()).await.unwrap();
    assert_eq!(other.exists("/kept/s-0000000000").await.unwrap(), None);
    other.close().await.unwrap();

    let answer = four_letter_word("127.0.0.1", place.ports[0], "srvr", Duration::from_secs(2)).await.unwrap();
    assert!(answer.contains("Mode: "), "{answer}");
    let refused = four_letter_word("127.0.0.1", 1, "srvr", Duration::from_secs(2)).await;
    assert!(refused.unwrap_err().to_string().contains("nobody listens"));
}

#[test]
fn an_interrupt_ends_a_verb_between_two_steps() {
    use std::io::BufRead as _;
    let place = Place::new("interrupt", 23_200, "manager: process");
    place.expect("deploy inventories/local.yaml --yes", 0);
    let text = fs::read_to_string(place.path.join("inventories/local.yaml")).unwrap();
    fs::write(place.path.join("inventories/local.yaml"), format!("{text}\nconfig: {{ syncLimit: 7 }}\n"))
        .unwrap();
    let mut child =
        place.command("deploy --yes").stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut said = String::new();
    for line in std::io::BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.starts_with("[1/3]") {
            let pid = child.id().to_string();
            assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        }
        said.push_str(&line);
        said.push('\n');
    }
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    assert!(said.contains("interrupted between two steps"), "{said}");
    assert!(said.contains("still acknowledges writes; not yet done: "), "{said}");
    let plan = place.expect("deploy --dry-run --exit-code", 7);
    assert!(plan.contains("2. restart") && !plan.contains("3. restart"), "{plan}");
    assert!(place.expect("deploy --yes", 0).contains("healthy"));
    assert!(place.expect("deploy --yes", 0).contains("nothing to change"));
}

#[test]
fn quorum_ports_of_a_running_ensemble_change_without_stranding_anyone() {
    let place = Place::new("ports", 24_400, "manager: process");
    place.expect("deploy inventories/local.yaml --yes", 0);
    let file = place.path.join("inventories/local.yaml");
    let change = |from: u16, to: u16| {
        let text = fs::read_to_string(&file).unwrap();
        let (old, new) = (format!("_port: {from}"), format!("_port: {to}"));
        assert!(text.contains(&old), "{text}");
        fs::write(&file, text.replace(&old, &new)).unwrap();
    };
    // The node with the greatest id dials the others itself: it goes first.
    change(24_421, 24_425);
    change(24_422, 24_426);
    let plan = place.expect("deploy --dry-run", 0);
    assert!(plan.contains("steps:\n  1. restart zk3 ("), "{plan}");
    // What was not deployed is neither stopped nor started.
    assert!(place.expect("restart --yes", 8).contains("are not what was deployed; run `zkctl deploy`"));
    assert!(place.expect("deploy --yes", 0).contains("healthy: 3 of 3 voters serve"));
    // Nobody would find the one with the least.
    change(24_401, 24_405);
    change(24_402, 24_406);
    let plan = place.expect("deploy --dry-run", 0);
    assert!(
        plan.contains("restarted at once: writes stop") && plan.contains("zk1, zk2, zk3 at once"),
        "{plan}"
    );
    assert!(place.expect("deploy --yes", 0).contains("healthy: 3 of 3 voters serve"));
    assert!(place.expect("deploy --yes", 0).contains("nothing to change"));
}

#[test]
fn a_server_that_cannot_start_is_shown_with_what_it_said() {
    let place = Place::new("broken", 23_300, "manager: process");
    place.expect("deploy inventories/local.yaml --yes", 0);
    place.expect("stop --yes", 0);
    // A snapshot where the logs belong: refused at start, naming both directories.
    let misplaced = place.path.join(".zkctl/local/zk2/txlog/version-2/snapshot.5");
    fs::write(&misplaced, "").unwrap();
    let said = place.expect("start", 4);
    for part in ["zk2: it did not start", "the server ended at once (exit status: 3)", "dataLogDir", "next: "]
    {
        assert!(said.contains(part), "{part} in\n{said}");
    }
    let begun = Instant::now();
    while place.run("status").status.code() == Some(11) && begun.elapsed() < Duration::from_secs(20) {}
    assert!(place.expect("status", 10).contains("degraded: 2 of 3 voters serve"));
    fs::remove_file(misplaced).unwrap();
    assert!(place.expect("start", 0).contains("healthy"));
}

/// Records what it is told and does what systemd would: units are started from their ExecStart line.
const SYSTEMCTL: &str = r#"#!/bin/bash
dir=$(dirname "$0")
echo "$*" >>"$dir/calls"
[ "$1" = --user ] && shift
unit="$HOME/.config/systemd/user/$2"
[ -f "$unit" ] || unit="$dir/gone/$2"
run() {
  command=$(sed -n 's/^ExecStart=//p' "$unit")
  (cd / && INVOCATION_ID=x exec setsid bash -c "exec $command") </dev/null >/dev/null 2>&1 &
}
case "$1" in
  start) run ;;
  disable) mkdir -p "$dir/gone"; cp "$unit" "$dir/gone/" ;;
  stop) kill "$(grep -o '"pid": [0-9]*' "$(sed -n 's/^.*--state-file \([^ ]*\).*/\1/p' "$unit")" | tr -dc 0-9)" ;;
esac
"#;

/// Says that nobody lingers until that is enabled, which works unless `refuses` is there.
const LOGINCTL: &str = r#"#!/bin/bash
dir=$(dirname "$0")
echo "$*" >>"$dir/logins"
case "$1" in
  show-user) [ -e "$dir/lingers" ] && echo Linger=yes || echo Linger=no ;;
  enable-linger)
    [ -e "$dir/refuses" ] && { echo 'Access denied' >&2; exit 1; }
    touch "$dir/lingers" ;;
esac
"#;

/// Runs commands with the two recording programs instead of the host's.
struct Recorded {
    place: Place,
    tools: PathBuf,
    path: String,
}

impl Recorded {
    fn new(name: &str, base: u16) -> Recorded {
        let place = Place::new(name, base, "manager: systemd\n  scope: user");
        let tools = place.path.join("tools");
        fs::create_dir_all(&tools).unwrap();
        for (name, text) in [("systemctl", SYSTEMCTL), ("loginctl", LOGINCTL)] {
            fs::write(tools.join(name), text).unwrap();
            fs::set_permissions(tools.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
        Recorded { place, tools, path }
    }

    fn output(&self, command: &mut Command) -> (Option<i32>, String) {
        // As below a runner that is a service itself.
        let command = command.env("PATH", &self.path).env("HOME", &self.place.path).env("INVOCATION_ID", "y");
        let output = command.output().unwrap();
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code(), said)
    }

    fn run(&self, line: &str) -> (Option<i32>, String) {
        self.output(&mut self.place.command(line))
    }

    fn zk_server(&self, node: &str, verb: &str) -> (Option<i32>, String) {
        let script = self.place.path.join(format!(".zkctl/local/{node}/bin/zkServer.sh"));
        self.output(Command::new(script).arg(verb).env_remove("ZOOCFGDIR").env_remove("ZOO_LOG_DIR"))
    }

    /// What systemctl was told since the last time this was asked.
    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.tools.join("calls")).unwrap_or_default();
        let _ = fs::remove_file(self.tools.join("calls"));
        text.lines().map(str::to_owned).collect()
    }

    fn replace_in_inventory(&self, from: &str, to: &str) {
        let path = self.place.path.join("inventories/local.yaml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let _ = self.run("stop --yes --force -i inventories/local.yaml");
    }
}

#[test]
fn under_systemd_units_are_written_enabled_and_started() {
    let world = Recorded::new("systemd", 23_400);
    let (place, tools) = (&world.place, &world.tools);
    let run = |line: &str| world.run(line);
    fs::write(tools.join("refuses"), "").unwrap();
    let (code, said) = run("deploy inventories/local.yaml --yes");
    assert!(code != Some(0) && said.contains("run `loginctl enable-linger "), "{code:?} {said}");
    fs::remove_file(tools.join("refuses")).unwrap();
    let (code, said) = run("deploy inventories/local.yaml --yes");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("new zkctl-local-zk1.service"), "{said}");
    let unit = place.path.join(".config/systemd/user/zkctl-local-zk1.service");
    let text = fs::read_to_string(&unit).unwrap();
    assert!(text.contains("WantedBy=default.target") && !text.contains("\nUser="), "{text}");
    let calls = fs::read_to_string(tools.join("calls")).unwrap();
    for node in ["zk1", "zk2", "zk3"] {
        let of_node: Vec<&str> = calls.lines().filter(|l| l.contains(node)).collect();
        let unit = format!("zkctl-local-{node}.service");
        assert_eq!(of_node, [format!("--user enable {unit}"), format!("--user start {unit}")], "{calls}");
    }
    assert_eq!(calls.matches("--user daemon-reload").count(), 3, "{calls}");
    let (code, said) = run("deploy --yes");
    assert!(code == Some(0) && said.contains("nothing to change"), "{said}");
    let (code, said) = run("stop --yes");
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn what_systemd_started_its_unit_stops_and_starts_under_any_name() {
    let world = Recorded::new("kept", 24_100);
    world.replace_in_inventory("{ name: zk1,", "{ name: zk1, paths: { logs: ./elsewhere/zk1 },");
    let (code, said) = world.run("deploy inventories/local.yaml --yes");
    assert_eq!(code, Some(0), "{said}");
    world.calls();

    // zkServer.sh leaves it to systemd, even after the server has gone.
    let unit = "zkctl-local-zk1.service";
    let (code, said) = world.zk_server("zk1", "stop");
    assert!(code == Some(0) && said.contains("STOPPED"), "{said}");
    let (code, said) = world.zk_server("zk1", "start");
    assert!(code == Some(0) && said.contains("STARTED"), "{said}");
    let (code, said) = world.zk_server("zk1", "restart");
    assert_eq!(code, Some(0), "{said}");
    let (stop, start) = (format!("--user stop {unit}"), format!("--user start {unit}"));
    assert_eq!(world.calls(), [&stop, &start, &stop, &start].map(String::as_str));
    let (_, said) = world.zk_server("zk1", "print-cmd");
    assert!(said.contains("/elsewhere/zk1\"") && !said.contains("/zk1/logs"), "{said}");

    // Another name of the ensemble is another unit; the old one does not stay enabled beside it.
    world.replace_in_inventory("cluster: local", "cluster: other");
    let (code, said) = world.run("deploy --yes");
    assert!(code == Some(0) && said.contains("new zkctl-other-zk1.service"), "{said}");
    let calls = world.calls();
    let of_node: Vec<&str> = calls.iter().map(String::as_str).filter(|l| l.contains("zk1")).collect();
    let new = "zkctl-other-zk1.service";
    let expected = [
        format!("--user enable {new}"),
        format!("--user disable {unit}"),
        stop,
        format!("--user start {new}"),
    ];
    assert_eq!(of_node, expected, "{calls:?}");
    let units = world.place.path.join(".config/systemd/user");
    assert!(!units.join(unit).exists() && units.join(new).exists());
    let (code, said) = world.run("deploy --yes");
    assert!(code == Some(0) && said.contains("nothing to change"), "{said}");
}

#[test]
fn a_plain_process_belongs_to_no_unit_and_a_second_server_leaves_its_record() {
    let place = Place::new("plain", 24_200, "manager: process");
    let deploy = place.command("deploy inventories/local.yaml --yes").env("INVOCATION_ID", "x").output();
    let deploy = deploy.unwrap();
    assert!(deploy.status.success(), "{}", String::from_utf8_lossy(&deploy.stderr));
    let dir = place.path.join(".zkctl/local/zk1");
    let record = dir.join("run/server.json");
    let before = fs::read_to_string(&record).unwrap();
    assert!(before.contains("\"unit\": null"), "{before}");
    let serve = "serve -c .zkctl/local/zk1/conf/zoo.cfg --state-file .zkctl/local/zk1/run/server.json";
    let output = place.run(serve);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("another zkctl server uses"), "{said}");
    assert_eq!(fs::read_to_string(&record).unwrap(), before);

    // Of two that start it at once, one does.
    place.expect("stop -l zk1 --yes", 0);
    let script = dir.join("bin/zkServer.sh");
    let start = || Command::new(&script).arg("start").stdout(Stdio::piped()).spawn().unwrap();
    let said: Vec<String> = [start(), start()]
        .map(|child| child.wait_with_output().unwrap())
        .iter()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .collect();
    let count = |word: &str| said.iter().filter(|text| text.contains(word)).count();
    assert_eq!((count("STARTED"), count("already running as process")), (1, 1), "{said:?}");
    assert!(place.expect("status", 0).contains("healthy"));
}

#[test]
fn a_user_of_its_own_gets_what_root_left_behind() {
    use std::os::unix::fs::MetadataExt as _;
    assert!(rustix::process::geteuid().is_root(), "only root can give files away: run this as root");
    let place = Place::new("owner", 24_300, "manager: process");
    // Root's own umask is nobody's business but root's.
    let deploy = "umask 077; exec \"$0\" deploy inventories/local.yaml --yes";
    let mut command = Command::new("sh");
    command.args(["-c", deploy, env!("CARGO_BIN_EXE_zkctl")]).current_dir(&place.path);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let base = place.path.join(".zkctl/local");
    let shut = |path: PathBuf| fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
    shut(base.join("zk2"));
    let path = place.path.join("inventories/local.yaml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("manager: process", "manager: process\n  user: daemon")).unwrap();
    let said = place.expect("deploy --yes", 0);
    assert!(said.contains("its user, logs or unit change") && said.contains("healthy"), "{said}");
    let owner = |path: &str| fs::metadata(base.join(path)).unwrap().uid();
    let daemon = owner("zk2/run");
    assert_ne!(daemon, 0);
    for path in
        ["zk1/data/version-2", "zk1/data/myid", "zk1/txlog/version-2", "zk1/logs/zkctl.log", "zk1/run"]
    {
        assert_eq!(owner(path), daemon, "{path}");
    }
    // What root executes and believes stays root's.
    for path in ["zk1", "zk1/releases", "zk1/conf/zoo.cfg", "zk1/conf/zkctl-node.json"] {
        assert_eq!(owner(path), 0, "{path}");
    }
    assert_eq!(fs::metadata(base.join("zk2")).unwrap().mode() & 0o777, 0o755);
    let state = fs::read_to_string(base.join("zk1/run/server.json")).unwrap();
    let pid = state.lines().find_map(|l| l.trim().strip_prefix("\"pid\": ")).unwrap().trim_end_matches(',');
    assert_eq!(fs::metadata(format!("/proc/{pid}")).unwrap().uid(), daemon);
    assert!(place.expect("deploy --yes", 0).contains("nothing to change"));
}
