//! The command line as people and programs meet it: help, errors, exit codes, rendered files, lint.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory of its own per test, removed with its value.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let path = std::env::temp_dir().join(format!("zkctl-cli-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Place(path)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_zkctl"))
            .args(arguments)
            .current_dir(&self.0)
            .env_remove("ZKCTL_INVENTORY")
            .output()
            .unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn shipped(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("inventories").join(name)).unwrap()
}

#[test]
fn versions_and_help() {
    let place = Place::new("help");
    let output = place.run(&["--version"]);
    assert_eq!(code(&output), 0);
    let text = stdout(&output);
    assert!(text.starts_with(&format!("zkctl {}\n", env!("CARGO_PKG_VERSION"))), "{text}");
    assert!(text.contains("client protocol 0, quorum protocol 0x10000"), "{text}");
    for arguments in [&["--help"][..], &["help", "deploy"], &["status", "--help"], &["serve", "-h"]] {
        let output = place.run(arguments);
        assert_eq!(code(&output), 0, "{arguments:?}");
        assert!(stdout(&output).contains("Examples\n"), "{arguments:?}");
        assert!(stdout(&output).lines().all(|l| l.chars().count() <= 80), "{arguments:?}");
    }
    let output = place.run(&["statsu"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("'status'"), "{}", stderr(&output));
    assert_eq!(code(&place.run(&[])), 2);
}

#[test]
fn which_inventory() {
    let place = Place::new("which");
    let output = place.run(&["status"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("no inventory: name one with -i FILE"), "{}", stderr(&output));
    place.write("inventories/a.yaml", "cluster: a\n");
    let output = place.run(&["render"]);
    assert_eq!(code(&output), 3);
    let text = stderr(&output);
    assert!(text.contains("inventory: inventories/a.yaml (the only one in inventories/)"), "{text}");
    assert!(text.contains("there are no nodes"), "{text}");
    place.write("inventories/b.yaml", "cluster: b\n");
    let output = place.run(&["render"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("inventories/a.yaml, inventories/b.yaml"), "{}", stderr(&output));
    let output = place.run(&["render", "inventories/a.yaml", "-i", "inventories/b.yaml"]);
    assert!(stderr(&output).contains("two inventories are named"), "{}", stderr(&output));
}

#[test]
fn a_wrong_inventory_is_shown_with_every_problem() {
    let place = Place::new("wrong");
    place.write("inv.yaml", "cluster: c\nnods: []\nnodes:\n  - { name: zk1, id: 1, hots: h }\n");
    let output = place.run(&["deploy", "inv.yaml", "--yes"]);
    assert_eq!(code(&output), 3);
    let text = stderr(&output);
    for part in [
        "inv.yaml:2:1: unknown key `nods`",
        " 2 | nods: []",
        "   | ^^^^",
        "   = did you mean `nodes`?",
        "inv.yaml:4:5: this node has no host",
        "inv.yaml:4:25: unknown key `hots`",
        "   = did you mean `host`?",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let output = place.run(&["-o", "json", "status", "-i", "inv.yaml"]);
    assert_eq!(code(&output), 3);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((json["schema"].as_i64(), json["error"]["exit"].as_i64()), (Some(1), Some(3)));
}

#[test]
fn rendered_files_are_written_and_pass_lint() {
    let place = Place::new("render");
    place.write("inventories/prod.yaml", &shipped("prod.yaml"));
    let output = place.run(&["render", "--to", "files"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let written = stdout(&output);
    let names: Vec<&str> = written.lines().collect();
    assert_eq!(names.len(), 9);
    assert_eq!(names[..2], ["files/zk1/zoo.cfg", "files/zk1/myid"]);
    assert_eq!(fs::read_to_string(place.0.join("files/zk3/myid")).unwrap(), "3\n");
    let output = place.run(&["lint", "files/zk1/zoo.cfg", "files/zk2/zoo.cfg", "files/zk3/zoo.cfg"]);
    assert_eq!((code(&output), stdout(&output).as_str()), (0, "3 files: 0 errors, 0 warnings\n"));
    let shown = stdout(&place.run(&["render"]));
    assert!(shown.contains("==> zk2/zoo.cfg <==") && shown.contains("server.2=192.168.10.127:2182:2183"));
}

/// Runs `systemd-analyze` on the unit that was rendered for a node; what it says.
fn verified(place: &Place, scope: &str, base: &str) -> String {
    let inventory = shipped("prod.yaml")
        .replace("base: /data/server", &format!("base: \"{base}\""))
        .replace("cluster: prod", &format!("cluster: prod\nservice: {{ {scope} }}"));
    place.write("inventories/prod.yaml", &inventory);
    let done = place.run(&["render", "--to", "files"]);
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    // The program is where the unit expects it, so that there is nothing to complain about.
    let program = Path::new(base).join("zk1/bin/zkctl");
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_zkctl"), program).unwrap();
    let output = Command::new("systemd-analyze")
        .args(["verify", "--recursive-errors=no", "files/zk1/zkctl-prod-zk1.service"])
        .current_dir(&place.0)
        .output()
        .unwrap_or_else(|e| panic!("systemd-analyze: {e}; run tests/install-deps as root"));
    let said = format!("{}{}", stdout(&output), stderr(&output));
    assert!(output.status.success() && said.is_empty(), "{}: {said}", output.status);
    fs::read_to_string(place.0.join("files/zk1/zkctl-prod-zk1.service")).unwrap()
}

#[test]
fn the_unit_is_what_systemd_takes() {
    let place = Place::new("unit");
    let base = place.0.join("server").display().to_string();
    let unit = verified(&place, "user: daemon", &base);
    for directive in [
        "User=daemon",
        "KillSignal=SIGTERM",
        "Restart=on-failure",
        "LimitNOFILE=1048576",
        "NoNewPrivileges=yes",
        "PrivateTmp=yes",
        "PrivateDevices=yes",
        "ProtectSystem=strict",
        "ProtectHome=read-only",
        "ProtectKernelTunables=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelLogs=yes",
        "ProtectControlGroups=yes",
        "ProtectClock=yes",
        "ProtectHostname=yes",
        "RestrictNamespaces=yes",
        "RestrictSUIDSGID=yes",
        "RestrictRealtime=yes",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
        "LockPersonality=yes",
        "MemoryDenyWriteExecute=yes",
        "SystemCallArchitectures=native",
        "WantedBy=multi-user.target",
    ] {
        assert!(unit.lines().any(|l| l == directive), "{directive} in\n{unit}");
    }
    let writable = unit.lines().find_map(|l| l.strip_prefix("ReadWritePaths=")).unwrap();
    assert!(writable.split(' ').all(|path| path.starts_with(&base)), "{writable}");
    // What systemd reads otherwise than it is written.
    let odd = place.0.join("a b%h$HOME").display().to_string();
    verified(&place, "scope: system", &odd);
}

#[test]
fn lint_finds_what_a_file_and_what_an_ensemble_has_wrong() {
    let place = Place::new("lint");
    let base = "tickTime=2000\ninitLimit=10\nsyncLimit=5\nclientPort=2181\n";
    place.write(
        "1.cfg",
        &format!("{base}dataDir=/d/1\nserver.1=a:2182:2183\nserver.2=b:2182:2183\nserver.3=c:2182:2183\n"),
    );
    place.write(
        "2.cfg",
        &format!("{base}dataDir=/d/2\nserver.1=a:2182:2183\nserver.2=b:2182:2183\nserver.n:c:2182:2183\n"),
    );
    place.write(
        "3.cfg",
        &format!("{base}dataDir=/d/3\nserver.1=a:2182:2183\nserver.2=b:2282:2183\nserver.3=c:2182:2183\n"),
    );
    let output = place.run(&["lint", "1.cfg"]);
    assert_eq!((code(&output), stdout(&output).as_str()), (0, "1 file: 0 errors, 0 warnings\n"));
    let output = place.run(&["lint", "1.cfg", "2.cfg", "3.cfg"]);
    assert_eq!(code(&output), 3);
    let text = stdout(&output);
    assert!(text.contains("error: 2.cfg:8: server.n: `n` is no server id"), "{text}");
    assert!(
        text.contains("error: 3.cfg: server.2: is `b:2282:2183:participant` here, but `b:2182"),
        "{text}"
    );
    assert_eq!(code(&place.run(&["lint", "missing.cfg"])), 2);
}

#[test]
fn a_plan_changes_nothing_and_nothing_prompts_without_a_terminal() {
    let place = Place::new("plan");
    let text = "cluster: t\nconnection: local\nservice: { manager: process }\npaths: { base: ../run }\nnodes:\n\
        - { name: zk1, id: 1, client_port: 41181, quorum_port: 41182, election_port: 41183 }\n";
    place.write("inventories/t.yaml", text);
    let output = place.run(&["deploy", "--dry-run", "--exit-code"]);
    assert_eq!(code(&output), 7, "{}", stderr(&output));
    let plan = stdout(&output);
    assert!(plan.contains("zk1: to be started (it is new); gets the program"), "{plan}");
    assert!(plan.contains("steps:\n  1. upload zkctl to zk1\n  2. configure and start zk1\n"), "{plan}");
    let output = place.run(&["deploy", "--dry-run", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["plan"]["steps"][1]["step"], "start-together");
    assert_eq!(json["done"], false);
    assert!(stderr(&output).ends_with("dry run: nothing was changed\n"), "{}", stderr(&output));
    let output = place.run(&["deploy", "-o", "json"]);
    assert_eq!(code(&output), 9);
    assert!(stderr(&output).contains("steps:\n  1. upload"), "{}", stderr(&output));
    let output = place.run(&["deploy"]);
    assert_eq!(code(&output), 9);
    assert!(stderr(&output).contains("pass --yes"), "{}", stderr(&output));
    assert!(!place.0.join("run").exists());
    assert!(!stderr(&output).contains('\x1b'));
}

#[test]
fn a_refused_plan_is_shown_and_in_json() {
    let place = Place::new("refused");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let text = format!(
        "cluster: t\nconnection: local\nservice: {{ manager: process }}\npaths: {{ base: ../run }}\nnodes:\n\
         - {{ name: zk1, id: 1, client_port: {port}, quorum_port: 41185, election_port: 41186 }}\n"
    );
    place.write("inventories/t.yaml", &text);
    let output = place.run(&["deploy", "--dry-run"]);
    assert_eq!(code(&output), 8, "{}", stderr(&output));
    assert!(stdout(&output).contains("zk1: to be started (it is new)"), "{}", stdout(&output));
    assert!(stderr(&output).contains(&format!("port {port}")), "{}", stderr(&output));
    for verb in ["deploy", "start"] {
        let output = place.run(&[verb, "--dry-run", "-o", "json"]);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((code(&output), json["error"]["exit"].as_i64()), (8, Some(8)), "{json}");
        assert_eq!(json["plan"]["refusals"][0]["exit"], 8, "{json}");
    }
}

#[test]
fn render_and_lint_keep_the_form_that_was_asked_for() {
    let place = Place::new("forms");
    place.write("inventories/prod.yaml", &shipped("prod.yaml"));
    let of = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_slice(&place.run(arguments).stdout).unwrap()
    };
    let json = of(&["render", "-o", "json"]);
    assert_eq!(json["files"].as_array().unwrap().len(), 9);
    assert!(json["files"][0]["content"].as_str().unwrap().contains("server.1="), "{json}");
    place.write("zoo.cfg", "tickTime=0\n");
    let json = of(&["lint", "zoo.cfg", "-o", "json"]);
    assert!(!json["errors"].as_array().unwrap().is_empty() && json["schema"] == 1, "{json}");
}

#[test]
fn unknown_nodes_come_with_a_suggestion() {
    let place = Place::new("nodes");
    place.write("inventories/prod.yaml", &shipped("prod.yaml"));
    for arguments in [&["stop", "-l", "kz2", "--yes"][..], &["promote", "kz2"], &["add-observer", "kz2"]] {
        let output = place.run(arguments);
        assert_eq!(code(&output), 2, "{arguments:?}");
        assert!(stderr(&output).contains("did you mean zk2?"), "{}", stderr(&output));
    }
    // Another number is no slip: it is a node that is not there yet.
    let said = stderr(&place.run(&["add-observer", "zk4"]));
    assert!(said.contains("nodes: zk1, zk2, zk3; to add it: zkctl add-observer zk4 --host HOST"), "{said}");
    assert!(!said.contains("did you mean"), "{said}");
    let said = stderr(&place.run(&["promote", "zk4"]));
    assert!(said.ends_with("nodes: zk1, zk2, zk3\n\n") || said.ends_with("nodes: zk1, zk2, zk3\n"), "{said}");
}

#[test]
fn serve_says_what_is_missing() {
    let place = Place::new("serve");
    let output = place.run(&["serve", "none.cfg"]);
    assert_ne!(code(&output), 0);
    assert!(stderr(&output).contains("none.cfg"), "{}", stderr(&output));
    let output = place.run(&["serve", "-D", "novalue"]);
    assert_eq!(code(&output), 2);
}
