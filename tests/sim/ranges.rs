//! Ranges of seeds: run on all cores, counted, written down. A run in which hardly anything happened is void.

use crate::{ledger, report, run};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// What seeds looked at, added up.
#[derive(Default)]
struct Totals {
    seeds: u64,
    events: u64,
    checks: u64,
    operations: u64,
    answers: u64,
    refused: u64,
    watch_events: u64,
    faults: BTreeMap<String, u64>,
    /// Failing seeds, each with its first line, and the story of the smallest.
    failed: BTreeMap<u64, String>,
    story: Option<(u64, String)>,
}

fn one(seed: u64, totals: &Mutex<Totals>) {
    let outcome = run(seed);
    let mut totals = totals.lock().unwrap();
    totals.seeds += 1;
    match outcome {
        Ok(world) => {
            totals.events += world.events;
            totals.checks += world.invariants.checks;
            totals.operations += world.clients.values().map(|c| c.operations).sum::<u64>();
            totals.answers += world.judged.0;
            totals.refused += world.refused;
            totals.watch_events += world.judged.1;
            for (kind, n) in world.faults {
                *totals.faults.entry(format!("fault: {kind}")).or_default() += n;
            }
        }
        Err((error, world)) => {
            let line = error.lines().next().unwrap_or_default();
            eprintln!("seed {seed} fails: {line}");
            if totals.story.as_ref().is_none_or(|(other, _)| seed < *other) {
                totals.story = Some((seed, report(seed, &error, &world)));
            }
            totals.failed.insert(seed, line.to_owned());
        }
    }
}

/// A run that has found so many violations ends early.
const VIOLATIONS_MAX: usize = 20;

/// Runs the seeds; panics with the story of the smallest that failed, at the end.
pub(crate) fn range(from: u64, to: u64) {
    // Now, while the sources are what this program was built of.
    let src = ledger::src_hash();
    let next = AtomicU64::new(from);
    let totals = Mutex::new(Totals::default());
    let worker = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= to || totals.lock().unwrap().failed.len() >= VIOLATIONS_MAX {
            break;
        }
        one(seed, &totals);
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, |n| n.get()) {
            scope.spawn(worker);
        }
    });
    let totals = totals.into_inner().unwrap();
    let counts = [
        ("seeds", totals.seeds),
        ("events", totals.events),
        ("checked steps", totals.checks),
        ("client operations", totals.operations),
        ("answers as the model's", totals.answers),
        ("watch events as the model's", totals.watch_events),
        ("writes refused for want of room", totals.refused),
        ("violations", totals.failed.len() as u64),
    ];
    let faults = totals.faults.iter().map(|(kind, n)| (kind.as_str(), *n));
    eprintln!("seeds {from}..{to} of src {src}: {counts:?}, {:?}", totals.faults);
    ledger::record("simulation", &format!("{from}..{to}"), counts.into_iter().chain(faults));
    if let Some((_, story)) = totals.story {
        panic!("{story}\nfailing seeds: {:#?}", totals.failed);
    }
    let seeds = totals.seeds;
    assert!(totals.operations > seeds * 50, "the clients hardly did anything: the run is void");
    assert!(totals.faults.values().sum::<u64>() > seeds * 5, "hardly anything went wrong: the run is void");
}

#[test]
#[ignore = "runs the seeds that SIM_SEEDS names, for as long as that takes"]
fn a_range_of_seeds() {
    let seeds = std::env::var("SIM_SEEDS").expect("SIM_SEEDS=FROM..TO names the seeds");
    let (from, to) = seeds.split_once("..").unwrap();
    range(from.parse().unwrap(), to.parse().unwrap());
}
