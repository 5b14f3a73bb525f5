//! Bytes of strangers against everything that reads them: seeded runs of the targets that `fuzz/` runs
//! with coverage.
//!
//! `FUZZ_RUNS` and `FUZZ_SEED` ask for more or other inputs; a failing one is printed with the command that
//! replays it, and is kept under `regressions`.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![allow(clippy::print_stderr, reason = "a run tells its speed, and a failure how to replay it")]

#[path = "../common/ledger.rs"]
mod ledger;

mod harness;
mod mutate;
mod targets;

use std::fs;
use std::path::Path;
use targets::Target;

macro_rules! tests {
    ($($name:ident)*) => {
        const ALL: &[&Target] = &[$(&targets::$name::TARGET,)*];
        $(mod $name {
            use super::{harness, targets};

            #[test]
            fn seeded() {
                harness::run(&targets::$name::TARGET);
            }

            #[test]
            #[ignore = "replays FUZZ_INPUT"]
            fn one_input() {
                harness::one_input(&targets::$name::TARGET);
            }
        })*
    };
}

tests! {
    jute requests replies txns peer_messages votes client_stream leader_stream learner_stream election_stream
    zoo_cfg dynamic_config log_file snapshot_file recovery paths_and_acls inventory words operator_client
}

#[test]
fn the_list_of_targets_is_whole() {
    let mut files: Vec<String> =
        fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/targets"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|p| fs::read_to_string(p).unwrap().contains("pub(crate) const TARGET: Target"))
            .map(|p| p.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
    files.sort();
    let mut named: Vec<&str> = ALL.iter().map(|t| t.name).collect();
    named.sort_unstable();
    assert_eq!(files, named);
}

/// Inputs that once failed: `regressions/TARGET.WHAT`, in hex.
#[test]
fn regressions() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/regressions");
    let mut found = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let target = ALL.iter().find(|t| name.split('.').next() == Some(t.name));
        let target = target.unwrap_or_else(|| panic!("{name} names no target"));
        eprintln!("{name}");
        harness::execute(target, &harness::bytes_of(&fs::read_to_string(&path).unwrap()));
        found += 1;
    }
    assert!(found > 0, "no regression was found");
}

/// Writes valid inputs for `fuzz/` to begin with to `FUZZ_CORPUS/TARGET`.
#[test]
#[ignore = "writes a corpus"]
fn corpus() {
    let Some(root) = std::env::var_os("FUZZ_CORPUS") else { panic!("FUZZ_CORPUS names the directory") };
    for target in ALL {
        let dir = Path::new(&root).join(target.name);
        fs::create_dir_all(&dir).unwrap();
        for n in 0..64 {
            let bytes = (target.sample)(&mut zkctl::prng::Prng::new(n));
            fs::write(dir.join(format!("sample{n}")), bytes).unwrap();
        }
    }
}
