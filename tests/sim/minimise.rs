//! The fewest faults, events and clients with which a seed still breaks the same invariant.
//!
//! Faults are left out in halves, quarters and so on, then one by one, as long as the seed goes on failing by
//! the same name; the phase of faults is cut short likewise.

use crate::world::World;
use crate::{report, run_in};
use std::collections::BTreeSet;
use std::fmt;

/// What is left out of a seed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Numbers of faults.
    skip: BTreeSet<u64>,
    /// Events before everything heals, if not the drawn number.
    steps: Option<u64>,
}

impl Cut {
    pub(crate) fn of(world: &World) -> Cut {
        Cut { skip: world.chances.skip.clone(), steps: world.cut_short.then_some(world.options.steps) }
    }

    /// `SIM_SKIP` (numbers with commas between) and `SIM_STEPS`.
    pub(crate) fn from_environment() -> Cut {
        let skip = std::env::var("SIM_SKIP").unwrap_or_default();
        let skip = skip.split(',').filter(|n| !n.is_empty()).map(|n| n.parse().unwrap()).collect();
        Cut { skip, steps: std::env::var("SIM_STEPS").ok().map(|n| n.parse().unwrap()) }
    }

    pub(crate) fn apply(&self, mut world: World) -> World {
        world.chances.skip = self.skip.clone();
        if let Some(steps) = self.steps {
            world.options.steps = steps;
            world.cut_short = true;
        }
        world
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.skip.is_empty() {
            let numbers: Vec<_> = self.skip.iter().map(u64::to_string).collect();
            write!(f, "SIM_SKIP={} ", numbers.join(","))?;
        }
        match self.steps {
            Some(steps) => write!(f, "SIM_STEPS={steps} "),
            None => Ok(()),
        }
    }
}

/// The name that a violation begins with.
fn name(error: &str) -> String {
    error.split(':').next().unwrap_or_default().to_owned()
}

/// The world in which `cut` of a seed fails by that name; `None` if it does not.
fn fails(seed: u64, cut: &Cut, by: Option<&str>) -> Option<(String, Box<World>)> {
    let (error, world) = run_in(cut.apply(World::new(seed))).err()?;
    by.is_none_or(|by| name(&error) == by).then_some((error, world))
}

fn minimise(seed: u64) -> Option<(Cut, String, Box<World>)> {
    let mut cut = Cut::default();
    let (mut error, mut world) = fails(seed, &cut, None)?;
    let by = name(&error);
    let mut attempt = |cut: &mut Cut, next: Cut| {
        let Some(found) = fails(seed, &next, Some(&by)) else { return false };
        *cut = next;
        (error, world) = found;
        true
    };
    // Steps first: every fault behind them is gone at once.
    let (mut low, mut high) = (0, crate::options::STEPS_MAX);
    while high - low > 20 {
        let middle = (low + high) / 2;
        if attempt(&mut cut, Cut { steps: Some(middle), ..Cut::default() }) {
            high = middle
        } else {
            low = middle
        }
    }
    let drawn = fails(seed, &cut, Some(&by))?.1.chances.drawn;
    let mut size = drawn.max(1).div_ceil(2);
    while size > 0 {
        let mut from = 1;
        while from <= drawn {
            let mut next = cut.clone();
            next.skip.extend(from..(from + size).min(drawn + 1));
            if next != cut {
                attempt(&mut cut, next);
            }
            from += size;
        }
        size /= 2;
    }
    Some((cut, error, world))
}

#[test]
#[ignore = "looks for the fewest faults with which the seed that SIM_SEED names fails"]
fn minimise_a_seed() {
    let seed = std::env::var("SIM_SEED").expect("SIM_SEED=N names the seed").parse().unwrap();
    match minimise(seed) {
        None => eprintln!("seed {seed} holds"),
        Some((cut, error, world)) => {
            let left = world.chances.drawn - cut.skip.len().min(world.chances.drawn as usize) as u64;
            panic!(
                "{}\nonly {left} of {} faults are left",
                report(seed, &error, &world),
                world.chances.drawn
            );
        }
    }
}
