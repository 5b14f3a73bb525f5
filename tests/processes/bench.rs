//! `zkctl bench` against real servers: what it counts is what happened, and it leaves nothing behind.

use crate::client::Client;
use crate::ensemble::Ensemble;
use crate::trees::dump;
use std::process::Command;
use std::thread;
use std::time::Duration;
use zkctl::tools::bench::{BenchOptions, BenchReport, Length, Mix, run};

fn options(ensemble: &Ensemble, mix: Mix) -> BenchOptions {
    BenchOptions {
        servers: ensemble.addresses().iter().map(ToString::to_string).collect(),
        connections: 6,
        pipeline: 8,
        mix,
        value_bytes: 100,
        warm_up: Duration::from_millis(50),
        length: Length::Operations(2000),
        server_pids: ensemble.servers.iter().map(|s| s.pid()).collect(),
        ..BenchOptions::default()
    }
}

#[track_caller]
fn assert_clean(ensemble: &Ensemble) {
    let tree = dump(&mut Client::of(ensemble.servers[0].address()));
    let left: Vec<_> = tree.keys().filter(|p| p.starts_with("/zkctl-bench")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn every_mix_counts_what_happened_and_cleans_up() {
    let ensemble = Ensemble::three("bench", "");
    for mix in [Mix::Set, Mix::Get, Mix::Create, Mix::Mixed] {
        let report = run(&options(&ensemble, mix)).unwrap();
        assert!(report.errors.is_empty(), "{mix:?}: {:?}", report.errors);
        // Those under way when measuring began count too.
        assert!((2000..=2048).contains(&report.operations), "{mix:?}: {}", report.operations);
        let reads = report.reads.count as f64 / report.operations as f64;
        let expected = match mix {
            Mix::Get => 1.0..=1.0,
            Mix::Set | Mix::Create => 0.0..=0.0,
            Mix::Mixed => 0.85..=0.95,
        };
        assert!(expected.contains(&reads), "{mix:?}: {reads} of them are reads");
        assert_eq!(report.servers.len(), 3);
        assert_clean(&ensemble);
    }
    crate::trees::assert_equal(&ensemble);
}

#[test]
fn a_fixed_rate_is_kept() {
    let ensemble = Ensemble::standalone("bench-rate", "");
    let length = Length::Time(Duration::from_secs(1));
    let report = run(&BenchOptions { rate: Some(500), length, ..options(&ensemble, Mix::Get) }).unwrap();
    assert!((400..=600).contains(&report.operations), "{}", report.operations);
}

#[test]
fn a_load_outlives_a_killed_leader() {
    let mut ensemble = Ensemble::three("bench-kill", "");
    let leader = ensemble.leader();
    let length = Length::Operations(100_000);
    let options = BenchOptions { length, server_pids: Vec::new(), ..options(&ensemble, Mix::Set) };
    let bench = thread::spawn(move || run(&options));
    // More txns than making the keys takes: the load itself is under way.
    let txns = || Some(ensemble.servers[leader].report()?.zxid & 0xffff_ffff);
    crate::state::until("the load runs", || (txns()? > 5000).then_some(()));
    ensemble.servers[leader].kill();
    let report: BenchReport = bench.join().unwrap().unwrap();
    let errors = &report.errors;
    assert!(errors.keys().all(|e| e == "CONNECTIONLOSS"), "{errors:?}");
    let lost: u64 = errors.values().sum();
    assert!(lost > 0 && report.operations + lost >= 100_000, "{} and {lost}", report.operations);
    ensemble.servers[leader].start();
    ensemble.wait_serving();
    assert_clean(&ensemble);
}

#[test]
fn the_program_prints_json_and_refuses_nonsense() {
    let ensemble = Ensemble::standalone("bench-cli", "");
    let bench = |arguments: &[&str]| {
        let address = ensemble.servers[0].address().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_zkctl"));
        command.args(["bench", "--warm-up", "0", "-n", "100"]).args(arguments).arg(address).output().unwrap()
    };
    let done = bench(&["-o", "json", "--mix", "set"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((report["mix"].as_str(), report["errors"].as_object().unwrap().len()), (Some("set"), 0));
    let table = bench(&["--null"]);
    assert!(String::from_utf8_lossy(&table.stdout).contains("null server"), "{table:?}");
    for nonsense in [["-c", "0"], ["-p", "0"], ["--keys", "0"], ["--size", "2000000"], ["--rate", "0"]] {
        let refused = bench(&nonsense);
        assert_eq!(refused.status.code(), Some(1), "{nonsense:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).starts_with("zkctl bench: "), "{nonsense:?}");
    }
    assert_clean(&ensemble);
}
