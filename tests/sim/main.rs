//! Deterministic simulation: whole servers over simulated bytes of disk and network.
//!
//! A seed draws the options and every fault. First safety, with all faults; then everything heals and
//! the ensemble must elect, answer every client and converge. The ignored tests run one seed (`SIM_SEED=N
//! ... one_seed`), a range of them (`SIM_SEEDS=FROM..TO ... a_range`), or look for the fewest faults that a
//! failing seed needs (`SIM_SEED=N ... minimise`).

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![allow(clippy::print_stderr, reason = "a failing seed tells its story")]

#[path = "../history/mod.rs"]
mod history;
#[path = "../common/ledger.rs"]
mod ledger;
#[path = "../common/settings.rs"]
mod settings;

mod budget;
mod client;
mod disk;
mod faults;
mod invariants;
mod minimise;
#[cfg(feature = "mutants")]
mod mutants;
mod network;
mod options;
mod ranges;
mod world;

use invariants::{convergence, no_growth, nothing_lost};
use minimise::Cut;
use options::Newcomer;
use ranges::range;
use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use world::World;

/// As the product's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Virtual time within which a healed world must be well again, and then all servers at one zxid.
const HEAL_MS: u64 = 120_000;
/// Virtual time for which the clients then only keep their sessions: longer than any of these lasts.
const QUIET_MS: u64 = 7_500;
/// Virtual time after which nothing is under way any more of what a silence before the quiet brought about.
const CALM_MS: u64 = 1_000;

fn run(seed: u64) -> Result<World, (String, Box<World>)> {
    run_in(World::new(seed))
}

fn run_in(mut world: World) -> Result<World, (String, Box<World>)> {
    // An assertion of the product's own ends a server, and is a violation like any other.
    let driven = panic::catch_unwind(AssertUnwindSafe(|| drive(&mut world)));
    match driven.unwrap_or_else(|panic| Err(format!("Assertion: {}", text_of(&*panic)))) {
        Ok(()) => Ok(world),
        Err(e) => Err((e, Box::new(world))),
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    match panic.downcast_ref::<String>() {
        Some(text) => text,
        None => panic.downcast_ref::<&str>().copied().unwrap_or("a panic without words"),
    }
}

fn drive(world: &mut World) -> Result<(), String> {
    for _ in 0..world.options.steps {
        world.step()?;
        world.fault()?;
    }
    world.heal()?;
    let before: Vec<u64> = world.clients.values().map(|c| c.operations).collect();
    until(world, "a healed ensemble does not serve everybody", |world| convergence::serves(world, &before))?;
    world.quiet = true;
    let calm = world.now + CALM_MS;
    while world.now < calm {
        world.step()?;
    }
    until(world, "the servers do not become equal", convergence::is_equal)?;
    let (quiet, expiries) = (world.now + QUIET_MS, expiries(world));
    while world.now < quiet {
        world.step()?;
    }
    if self::expiries(world) > expiries {
        return Err("Sessions: a client that kept its session alive lost it".into());
    }
    until(world, "the servers do not stay equal", convergence::is_equal)?;
    if world.options.clients_go {
        world.clients_go()?;
        until(world, "what clients left behind stays", no_growth::holds)
            .map_err(|e| format!("{e}: {}", no_growth::left(world)))?;
    }
    nothing_lost::check(world)
}

fn expiries(world: &World) -> u64 {
    world.clients.values().map(|c| c.expiries).sum()
}

fn until(world: &mut World, what: &str, reached: impl Fn(&World) -> bool) -> Result<(), String> {
    let until = world.now + HEAL_MS;
    while !reached(world) {
        for _ in 0..100 {
            world.step()?;
        }
        if world.now > until {
            return Err(format!("Liveness: {what}"));
        }
    }
    Ok(())
}

fn report(seed: u64, error: &str, world: &World) -> String {
    let log: Vec<_> = world.log.iter().cloned().collect();
    let cut = Cut::of(world);
    format!(
        "{}\nseed {seed}: {error}\nsrc {}, {} events, {} faults; options: {:?}\n\
         replay: {cut}SIM_SEED={seed} cargo test --test sim one_seed -- --ignored --nocapture\n\
         fewer faults: SIM_SEED={seed} cargo test --release --test sim minimise -- --ignored --nocapture",
        log.join("\n"),
        ledger::src_hash(),
        world.events,
        world.chances.drawn,
        world.options
    )
}

#[test]
fn fixed_seeds_hold_every_invariant() {
    range(0, 300);
}

/// One more server, in its own member list only, below or above all others, with a vote by that list or as
/// an observer: it learns through all faults, and counts for nothing.
#[test]
fn a_server_that_nobody_lists_yet_joins() {
    for seed in 0..20 {
        for sid in [0, 9] {
            let newcomer = Newcomer { sid, votes: seed % 2 == 0 };
            if let Err((error, world)) = run_in(World::with_newcomer(seed, newcomer)) {
                panic!("{newcomer:?}: {}", report(seed, &error, &world));
            }
        }
    }
}

#[test]
fn a_seed_replays_exactly() {
    for seed in [3, 17, 23] {
        let trace = |w: Result<World, (String, Box<World>)>| w.map(|w| w.trace).map_err(|(e, _)| e);
        assert_eq!(trace(run(seed)), trace(run(seed)));
    }
}

#[test]
#[ignore = "replays the seed that SIM_SEED names"]
fn one_seed() {
    let seed: u64 = std::env::var("SIM_SEED").expect("SIM_SEED=N names the seed").parse().unwrap();
    match run_in(Cut::from_environment().apply(World::new(seed))) {
        Ok(world) => eprintln!("seed {seed} holds; trace {:#x}", world.trace),
        Err((error, world)) => panic!("{}", report(seed, &error, &world)),
    }
}
