//! `kazoo`, the Python client: `kazoo_basic.py` does the checking, this starts servers and kills one.
//!
//! The script asks on its stdout (`kill HOST:PORT`) and is answered on its stdin; its last line is `ok`.

use crate::ensemble::Ensemble;
use crate::state::until;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

fn run(ensemble: &mut Ensemble) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/test-venv/bin/python");
    assert!(python.exists(), "{} is missing: run tests/install-deps", python.display());
    let mut child = Command::new(python)
        .arg(root.join("tests/processes/kazoo_basic.py"))
        .arg(ensemble.connect_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut answers = child.stdin.take().unwrap();
    let asked = BufReader::new(child.stdout.take().unwrap());
    let mut last = String::new();
    for line in asked.lines() {
        last = line.unwrap();
        if let Some(address) = last.strip_prefix("kill ") {
            let at = |s: &crate::server::Server| s.address().to_string() == address;
            ensemble.servers.iter_mut().find(|s| at(s)).unwrap().kill();
            writeln!(answers, "killed").unwrap();
        }
    }
    let status = until("kazoo_basic.py ends", || child.try_wait().unwrap());
    assert!(status.success() && last == "ok", "kazoo_basic.py: {status}, last said {last:?}");
}

#[test]
fn a_standalone_server_serves_kazoo() {
    run(&mut Ensemble::standalone("kazoo-one", ""));
}

#[test]
fn three_servers_serve_kazoo() {
    let mut ensemble = Ensemble::three("kazoo-three", "");
    run(&mut ensemble);
    crate::trees::assert_equal(&ensemble);
}
