//! Mutants: known bugs are put back one at a time, and the simulator must see every one.
//!
//! `mutants.txt` names a seed that kills each; the short form runs just that seed. The long form, `hunt`, looks
//! for the seeds. Its settings, all optional: `MUTANT` (names with commas between, or `survivors`), `MUTANT_FROM`
//! and `MUTANT_SEEDS` (first seed, how many at most), `MUTANT_TABLE` (the file to write what was found to).

use crate::ledger;
use crate::run;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once};
use std::{env, fs, thread};
use zkctl::mutants::{self, Mutant};

/// What the bar asks for.
const AT_LEAST: usize = 30;

/// A line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    /// The seed that kills the mutant; `None` while it survives.
    seed: Option<u64>,
    /// How many seeds were tried until then.
    tried: u64,
    /// What saw it.
    killer: String,
}

type Table = BTreeMap<Mutant, Row>;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn table() -> Table {
    let text = fs::read_to_string(file("tests/sim/mutants.txt")).unwrap();
    let lines = text.lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            let mut word = || words.next().unwrap_or_else(|| panic!("mutants.txt: {line:?} is too short"));
            let (name, seed, tried) = (word(), word(), word());
            let killer = words.collect::<Vec<_>>().join(" ");
            let row = Row { seed: seed.parse().ok(), tried: tried.parse().unwrap(), killer };
            (name.parse().unwrap_or_else(|e| panic!("mutants.txt: {e}")), row)
        })
        .collect()
}

fn written(table: &Table) -> String {
    let mut out = String::from(
        "# What kills each mutant; written by `make mutants`. Seeds hold for this state of tests/sim only.\n\
         # name, killing seed, seeds tried, what saw it\n",
    );
    for (mutant, row) in table {
        let seed = row.seed.map_or("-".to_owned(), |s| s.to_string());
        writeln!(out, "{:<28} {seed:>6} {:>6}  {}", mutant.name(), row.tried, row.killer).unwrap();
    }
    out
}

thread_local! {
    /// Where panics of this thread are told instead of on the terminal: they are expected here.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics of a thread that asked for it are kept; all others are told as ever.
fn keep_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let as_ever = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let kept = PANIC.with_borrow_mut(|kept| {
                let Some(kept) = kept else { return false };
                let payload = info.payload();
                let text = payload.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| payload.downcast_ref().copied()).unwrap_or("a panic");
                let at = info.location().map_or("", |l| l.file());
                *kept = format!("assertion in {at}: {}", text.lines().next().unwrap_or_default());
                true
            });
            if !kept {
                as_ever(info);
            }
        }));
    });
}

/// Runs a seed with a mutant; what was seen of it, if anything.
fn seen(mutant: Option<Mutant>, seed: u64) -> Option<String> {
    keep_panics();
    PANIC.set(Some(String::new()));
    mutants::choose(mutant);
    let result = panic::catch_unwind(AssertUnwindSafe(|| run(seed).map(drop).map_err(|(e, _)| e)));
    mutants::choose(None);
    let panic = PANIC.take();
    match result {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error),
        Err(_) => panic,
    }
}

/// The name of what saw a mutant: an invariant's, the assertion's that fired, or how a server ended.
fn killer(error: &str) -> String {
    let line = error.lines().next().unwrap_or_default();
    let short: String = match line {
        l if l.contains(" cannot start") => "a server cannot start".into(),
        l if l.contains(" exits with") => "a server exits".into(),
        l if l.starts_with("assertion") => l.chars().take(90).collect(),
        l => l.split(':').next().unwrap_or_default().into(),
    };
    short.trim_end().to_owned()
}

/// Tries seeds from `from` on, at most `count`.
fn hunt_one(mutant: Mutant, from: u64, count: u64) -> Row {
    for seed in from..from + count {
        if let Some(error) = seen(Some(mutant), seed) {
            return Row { seed: Some(seed), tried: seed - from + 1, killer: killer(&error) };
        }
    }
    Row { seed: None, tried: count, killer: "survives".into() }
}

/// Does something for each mutant, on all cores.
fn for_each<T: Send>(list: &[Mutant], work: impl Fn(Mutant) -> T + Sync) -> Vec<(Mutant, T)> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(mutant) = list.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = work(*mutant);
                    results.lock().unwrap().push((*mutant, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(mutant, _)| *mutant);
    results
}

fn how_to_hunt(names: &[&str]) -> String {
    format!(
        "MUTANT={} MUTANT_TABLE=tests/sim/mutants.txt make mutants",
        if names.is_empty() { "survivors".to_owned() } else { names.join(",") }
    )
}

fn median_and_worst(table: &Table) -> (u64, u64) {
    let mut tried: Vec<u64> = table.values().filter(|r| r.seed.is_some()).map(|r| r.tried).collect();
    tried.sort_unstable();
    (tried.get(tried.len() / 2).copied().unwrap_or(0), tried.last().copied().unwrap_or(0))
}

#[test]
fn the_table_names_every_mutant() {
    let named: Vec<Mutant> = table().into_keys().collect();
    let mut all = Mutant::ALL.to_vec();
    all.sort_unstable();
    assert_eq!(named, all, "hunt what is missing: {}", how_to_hunt(&[]));
    assert!(all.len() >= AT_LEAST);
    for mutant in all {
        assert_eq!(mutant.name().parse(), Ok(mutant), "a name belongs to one mutant");
    }
}

#[test]
fn every_mutant_is_killed() {
    let table = table();
    let killed: Vec<Mutant> = table.iter().filter(|(_, r)| r.seed.is_some()).map(|(m, _)| *m).collect();
    let results = for_each(&killed, |mutant| table[&mutant].seed.and_then(|seed| seen(Some(mutant), seed)));
    let missed: Vec<&str> = results.iter().filter(|(_, e)| e.is_none()).map(|(m, _)| m.name()).collect();
    assert!(
        missed.is_empty(),
        "their seeds do not kill these any more: {missed:?}\nhunt them again: {}",
        how_to_hunt(&missed)
    );
}

#[test]
fn no_mutant_survives() {
    let alive = table().into_iter().filter(|(_, r)| r.seed.is_none()).map(|(m, _)| m.name());
    let alive: Vec<&str> = alive.collect();
    assert!(alive.is_empty(), "no seed is known that kills {alive:?}\nhunt them: {}", how_to_hunt(&[]));
}

#[test]
fn without_a_mutant_the_same_build_holds() {
    let killing = table().into_values().filter_map(|row| row.seed);
    let all: BTreeSet<u64> = (0..50).chain(killing).collect();
    let seeds: Vec<(u64, String)> =
        all.into_iter().filter_map(|seed| seen(None, seed).map(|error| (seed, error))).collect();
    assert!(seeds.is_empty(), "{seeds:?}");
}

/// `MUTANT_PAGE=1` writes the page's table instead of comparing it.
#[test]
fn the_page_tells_what_the_table_holds() {
    let table = table();
    let (median, worst) = median_and_worst(&table);
    let killed = table.values().filter(|r| r.seed.is_some()).count();
    let mut page = format!(
        "{} mutants, {killed} killed; seeds to kill: median {median}, worst {worst}.\n\n\
         | mutant | whose bug | seeds | what saw it |\n|---|---|---|---|\n",
        table.len()
    );
    for (mutant, row) in &table {
        let killer = row.killer.replace('|', "\\|");
        writeln!(page, "| `{}` | {} | {} | {killer} |", mutant.name(), mutant.origin(), row.tried).unwrap();
    }
    let path = file("docs/testing.md");
    let text = fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- mutants: begin -->\n", "<!-- mutants: end -->");
    let (before, rest) = text.split_once(begin).unwrap();
    let (found, after) = rest.split_once(end).unwrap();
    if env::var_os("MUTANT_PAGE").is_some() {
        fs::write(&path, format!("{before}{begin}{page}{end}{after}")).unwrap();
        return;
    }
    assert!(found == page, "docs/testing.md tells another table: make mutants-page");
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text:?}")))
}

fn chosen(old: &Table) -> Vec<Mutant> {
    let is_dead = |m: &Mutant| old.get(m).is_some_and(|r| r.seed.is_some());
    match env::var("MUTANT").ok().filter(|names| !names.is_empty()).as_deref() {
        None => Mutant::ALL.to_vec(),
        Some("survivors") => Mutant::ALL.iter().copied().filter(|m| !is_dead(m)).collect(),
        Some(names) => names.split(',').map(|name| name.parse().unwrap_or_else(|e| panic!("{e}"))).collect(),
    }
}

#[test]
#[ignore = "looks for the seeds that kill, for as long as that takes"]
fn hunt() {
    let mut table = table();
    let from = number("MUTANT_FROM").unwrap_or(0);
    let count = number("MUTANT_SEEDS").unwrap_or(20_000);
    for_each(&chosen(&table), |mutant| {
        let row = hunt_one(mutant, from, count);
        eprintln!("{:<28} {:>6} seeds: {}", mutant.name(), row.tried, row.killer);
        let outcome = if row.seed.is_some() { "seeds to kill" } else { "seeds survived" };
        ledger::record("mutant", mutant.name(), [(outcome, row.tried)]);
        row
    })
    .into_iter()
    .for_each(|(mutant, mut row)| {
        // A hunt that goes on where the last one gave up counts on.
        if table.get(&mutant).is_some_and(|old| old.seed.is_none() && old.tried == from) {
            row.tried += from;
        }
        table.insert(mutant, row);
    });
    let (median, worst) = median_and_worst(&table);
    let alive = table.values().filter(|r| r.seed.is_none()).count();
    eprintln!("{} mutants, {alive} survive; seeds to kill: median {median}, worst {worst}", table.len());
    if let Some(path) = env::var_os("MUTANT_TABLE") {
        fs::write(file("").join(path), written(&table)).unwrap();
    }
}
